package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"raftbank/internal/api"
	"raftbank/internal/bench"
)

// writable makes sure before a measurement that its files can be written after it, and leaves them as they were.
// An empty name is no file.
func writable(names ...string) error {
	for _, name := range names {
		if name == "" {
			continue
		}
		if err := probe(name); err != nil {
			return usageError("the result could not be written: %v", err).hint("nothing was measured; name a file in a directory that you may write to")
		}
	}
	return nil
}

// probe opens a file that is there, or makes one and removes it. Pipes and devices are left alone, since opening one may
// wait or begin something, and so is a link to nothing: what it names is not there to be left as it was.
func probe(name string) error {
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		err = f.Close()
		_ = os.Remove(name) // an empty file is no result; if it stays, it is written later
		return err
	}
	is, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !is.Mode().IsRegular() && !is.IsDir(): // a directory tells by itself that it is none
		return nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// benchEnd is the end of a command whose output is out: with what failed in it, if anything did, and what came of
// printing and of writing files.
func (a *App) benchEnd(failed *api.Error, printed, written error) error {
	end := asOneExit(printed, written)
	if failed == nil && end == nil {
		return nil
	}
	if failed == nil {
		if a.Format.json() { // the value is out: the rest goes to people
			a.complain(end.err)
			end.printed = true
		}
		return end
	}
	if end != nil {
		a.complain(end.err)
	}
	end = withError(failed)
	end.printed = a.Format.json()
	return end
}

// asOneExit is asExit for errors that all have to be told: with the code and the hint of the first, and the words of each.
func asOneExit(errs ...error) *exitError {
	var all *exitError
	for _, err := range errs {
		var e *exitError
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			e = asOneExit(joined.Unwrap()...)
		} else {
			e = asExit(err)
		}
		switch {
		case e == nil:
		case all == nil:
			told := *e.err
			all = &exitError{code: e.code, err: &told, printed: e.printed}
		default:
			all.err.Message += "; " + e.err.Message
		}
	}
	return all
}

// writeBench writes the files that were asked for.
func writeBench(p benchArgs, result *api.Bench) error {
	var errs []error
	if p.JSON != "" {
		errs = append(errs, writeJSON(p.JSON, result))
	}
	if p.Report != "" {
		page, err := bench.Report(result)
		if err == nil {
			err = os.WriteFile(p.Report, page, 0o644)
		}
		if err != nil {
			errs = append(errs, usageError("report: %v", err))
		}
	}
	return errors.Join(errs...)
}

// writeJSON writes a value to a file, indented. An empty name is no file.
func writeJSON(name string, v any) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err == nil {
		err = os.WriteFile(name, append(b, '\n'), 0o644)
	}
	if err != nil {
		return usageError("write the result: %v", err)
	}
	return nil
}
