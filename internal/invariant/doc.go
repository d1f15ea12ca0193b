// Package invariant holds the assertions that stay on in release builds, and the register of rare
// lines that tests and simulation must reach.
//
// A failed Check is a bug in this program, never the world's or a client's fault: it panics, so
// that a wrong replica stops instead of spreading what it holds.
//
// It is pure: no I/O, clock, goroutines or locks. The register is one atomic pointer to an immutable
// set, so that a line that was reached before costs one map look-up.
package invariant
