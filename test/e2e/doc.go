// Package e2e holds the end-to-end test: nine real server processes, real clients, real kill -9.
//
//	go test -tags e2e -count=1 -timeout 15m ./test/e2e/...
//
// The test builds the binary once, gives every test a bank of its own on free ports with its data in
// a temporary directory, and ends every process that it started. Without the build tag the package
// is empty, so that go test ./... stays quick.
//
// With E2E_RACE=1 in the environment the program is built with the race detector.
//
// Rules: every wait polls with a generous bound and its measured time is logged; nothing asserts a
// tight time (the core does that, in ticks). What transfers did is judged by an oracle that is not
// the program's own: the outcomes as the clients reported them, added up account by account, must be
// the balances that a strong read finds.
//
// Read first: bank_test.go, then item1_test.go to item7_test.go, which follow the list of promises.
package e2e
