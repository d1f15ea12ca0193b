package cli

import (
	"encoding/json"
	"io"
)

// Format is how data is printed.
type Format string

// The formats of -o.
const (
	FormatTable Format = "table" // for people; the default on a terminal
	FormatPlain Format = "plain" // for awk: a header line, then fields separated by tabs
	FormatJSON  Format = "json"  // one value
	FormatJSONL Format = "jsonl" // one value per line
)

// parseFormat reads the value of -o.
func parseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case FormatTable, FormatPlain, FormatJSON, FormatJSONL:
		return f, nil
	}
	return "", usageError("output format %q: want table, plain, json or jsonl", s)
}

// json reports whether the format is for programs that read JSON.
func (f Format) json() bool { return f == FormatJSON || f == FormatJSONL }

// print writes v with a JSON format, and calls table otherwise.
func (a *App) print(v any, table func(w io.Writer)) error {
	if !a.Format.json() {
		table(a.Out)
		return nil
	}
	enc := json.NewEncoder(a.Out)
	enc.SetEscapeHTML(false) // it is read by people too
	if err := enc.Encode(v); err != nil {
		return failure(codeInternal, "write the output: %v", err)
	}
	return nil
}
