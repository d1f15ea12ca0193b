// Package chaos runs a bank of nine real server processes under mixed faults drawn from a seed, with several clients
// at work, and checks afterwards what everybody was told against what the bank holds: see docs/TESTING.md.
//
// The faults stay within what the bank promises to bear: one server of each cluster at a time, or all servers of a
// cluster or of the bank killed and started again. It runs on Linux, with the build tag chaos:
//
//	go test -tags chaos -count=1 -timeout 30m -v ./test/chaos -duration 5m -seed 1
//
// The seed draws the plan; processes and clocks are real, so that a seed does not repeat a run exactly.
package chaos
