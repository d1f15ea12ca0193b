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
		_, missing := os.Stat(name)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			return usageError("the result could not be written: %v", err).hint("nothing was measured; name a file in a directory that you may write to")
		}
		if errors.Is(missing, fs.ErrNotExist) {
			_ = os.Remove(name) // an empty file is no result; if it stays, it is written later
		}
	}
	return nil
}

// benchEnd is the end of a command whose output is out: with what failed in it, if anything did, and what came of
// printing and of writing files.
func (a *App) benchEnd(failed *api.Error, printed, written error) error {
	end := asExit(errors.Join(printed, written))
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
