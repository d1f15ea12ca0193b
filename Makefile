# What a person needs; CI is .ci/run.

.PHONY: build test race lint fuzz e2e planted models demo bench ci chaos

build:
	go build -o raftbank ./cmd/raftbank

test:
	go test ./...

race:
	go test -race ./...

lint:
	go vet ./...
	go test -count=1 ./internal/tidy

fuzz:
	go test -run '^$$' -fuzz '^$(NAME)$$' -fuzztime 60s $(PKG)

e2e:
	go test -tags e2e -count=1 -timeout 15m ./test/e2e/...

# Faults for five minutes; CHAOS="-duration 2h -seed 7" for more, or the same again.
chaos:
	go test -tags chaos -count=1 -timeout 0 -v ./test/chaos $(CHAOS)

# Plants every bug in turn and looks for the first seed that catches it; CI replays what this writes.
planted:
	go build -tags planted -o raftbank-planted ./cmd/raftbank
	./raftbank-planted sim --planted --duration 20s --record internal/sim/testdata/planted.txt

models:
	models/run.sh

demo:
	go run ./cmd/raftbank demo

bench:
	go run ./cmd/raftbank bench suite --quick

ci:
	.ci/run
