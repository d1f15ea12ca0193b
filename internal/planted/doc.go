// Package planted names small bugs that can be switched on in the code under test, so that it can be
// shown that the simulator's checkers fail when they should. See docs/TESTING.md.
//
// A hook is a condition in the real code:
//
//	if planted.On(planted.NoTombstone) { ... }
//
// Invariants:
//
//   - Without the build tag "planted" On is constantly false and Plant does not exist in effect: the
//     compiler drops every hook, and nothing at run time can bring one back. CI looks at the binary.
//   - With the tag one bug at most is planted at a time, by Plant, before the code under test runs.
//   - No other package keeps state for a bug, and a bug that is not planted changes nothing.
//
// Read first: the list in bugs.go.
package planted
