package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"raftbank/internal/api"
)

// Exit codes of every command.
const (
	exitOK           = 0
	exitInternal     = 1   // a bug or a fault of this machine
	exitUsage        = 2   // cannot be parsed; wrong configuration
	exitRefused      = 3   // parsed, and refused by the rules of the ledger
	exitUnavailable  = 4   // surely not applied
	exitUnknown      = 5   // outcome unknown; nothing is lost
	exitUnauthorised = 6   // not allowed
	exitViolation    = 7   // a check proved a violation
	exitInterrupted  = 130 // by the user
)

// Codes of api.Error.
const (
	codeInternal     = "internal"
	codeUsage        = "usage"
	codeRefused      = "refused"
	codeUnavailable  = "unavailable"
	codeUnknown      = "unknown"
	codeUnauthorised = "unauthorised"
	codeViolation    = "violation"
	codeInterrupted  = "interrupted"
)

// exitError is a failure with its exit code.
type exitError struct {
	code int
	err  *api.Error
	// printed says that the output already tells the failure in the current format; report then
	// only returns the code.
	printed bool
}

// Error returns the message.
func (e *exitError) Error() string { return e.err.Message }

// Unwrap gives the api.Error to errors.As.
func (e *exitError) Unwrap() error { return e.err }

// exitCodeOf maps the code of an api.Error to an exit code.
func exitCodeOf(code string) int {
	switch code {
	case codeUsage:
		return exitUsage
	case codeRefused:
		return exitRefused
	case codeUnavailable:
		return exitUnavailable
	case codeUnknown:
		return exitUnknown
	case codeUnauthorised:
		return exitUnauthorised
	case codeViolation:
		return exitViolation
	case codeInterrupted:
		return exitInterrupted
	}
	return exitInternal
}

// failure builds the error of a code and a message.
func failure(code, format string, args ...any) *exitError {
	return withError(&api.Error{Code: code, Message: fmt.Sprintf(format, args...)})
}

// usageError says that the input cannot be parsed.
func usageError(format string, args ...any) *exitError { return failure(codeUsage, format, args...) }

// withError wraps an api.Error with its exit code.
func withError(e *api.Error) *exitError { return &exitError{code: exitCodeOf(e.Code), err: e} }

// hint adds the next command to the error.
func (e *exitError) hint(format string, args ...any) *exitError {
	e.err.Hint = fmt.Sprintf(format, args...)
	return e
}

// asExit gives every error an exit code: one that has none is internal, the end of the context is
// an interruption.
func asExit(err error) *exitError {
	var e *exitError
	var a *api.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.As(err, &a):
		return withError(a)
	case errors.Is(err, context.Canceled):
		return failure(codeInterrupted, "interrupted")
	}
	return failure(codeInternal, "%v", err)
}

// report tells a failure in the App's format, unless the command did, and returns the exit code.
// nil is success.
func (a *App) report(err error) int {
	e := asExit(err)
	if e == nil {
		return exitOK
	}
	if e.printed {
		return e.code
	}
	if a.Format.json() {
		_ = a.print(struct { // if the output cannot be written, the code still tells
			Error *api.Error `json:"error"`
		}{e.err}, nil)
		return e.code
	}
	a.complain(e.err)
	return e.code
}

// complain writes an error for people, in one line: what, then the next step.
func (a *App) complain(e *api.Error) {
	line := e.Message
	if e.Hint != "" && !strings.Contains(line, e.Hint) {
		line += ". " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:]
	}
	if !a.InShell {
		line = "raftbank: " + line
	}
	_, _ = fmt.Fprintln(a.Err, line)
}
