// Package process runs the raftbank program as real processes, for the tests on real processes: it builds it, finds
// free ports for a bank, starts servers that cannot outlive the test, looks at them, troubles their clients' network, and ends them.
//
// A process gets its settings from its flags alone: the environment's RAFTBANK_ variables are taken away.
package process
