// Package cli is the command line of raftbank: one file per command, the shell, the demo and their
// output.
//
// Every command is a run function on App that does the work, prints it in the App's Format and
// returns nil or an error that carries an exit code; the cobra command, the shell and the demo call
// the same function. Data goes to Out, notes and progress to Err. With JSON output a run prints
// exactly one value on Out, failures too (jsonl: one value per line).
//
// Invariants: a command never hides an outcome that it does not know: unknown stays unknown, with
// the id and the command that settles it. Nothing here decides anything about money.
//
// Read first: App in app.go, Main in root.go, the exit codes in errors.go, transfer.go.
package cli
