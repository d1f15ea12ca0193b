// Package bench puts load on a bank, or on another system behind the same interface, and measures it.
//
// The transfers are drawn from a seed: the same seed and options give every slot of every client the
// same sequence of accounts and amounts, whatever the system answers. Their ids are drawn anew, so that
// a running bank can be loaded again.
//
// What the figures mean: in a closed loop (no Rate) everything counts that was answered in the measured
// window. In an open loop everything counts that was due in the window, and a latency runs from the
// moment at which the request was due, not from when a slot was free to send it: a system that stalls
// cannot hide the requests that would have come meanwhile.
//
// It imports the public client alone, as any user's program would. What must not happen here: a figure
// that was not measured shown as 0; it is nil instead.
//
// Read first: Options, Target, Run.
package bench
