package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// column describes one column of a grid.
type column struct {
	name   string
	right  bool // right aligned
	number bool // thousands separators in a table
}

// columns builds columns: a name with a leading "#" is a number, with a leading ">" right aligned.
func columns(names ...string) []column {
	cols := make([]column, len(names))
	for i, name := range names {
		cols[i] = column{name: strings.TrimLeft(name, "#>"), number: name[0] == '#', right: name[0] == '#' || name[0] == '>'}
	}
	return cols
}

// grid writes rows as a table for people, or plain: a header line, then fields separated by tabs,
// an empty one as "-", so that awk finds the same field everywhere.
func (a *App) grid(w io.Writer, cols []column, rows [][]string) {
	if a.Format == FormatTable {
		a.tableGrid(w, cols, rows)
		return
	}
	names := make([]string, len(cols))
	for i, c := range cols {
		names[i] = strings.ReplaceAll(c.name, " ", "_")
	}
	_, _ = fmt.Fprintln(w, strings.Join(names, "\t"))
	for _, row := range rows {
		fields := make([]string, len(row))
		for i, cell := range row {
			fields[i] = plainCell(cell)
		}
		_, _ = fmt.Fprintln(w, strings.Join(fields, "\t"))
	}
}

// plainCell makes one field of awk's of a cell.
func plainCell(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Join(strings.Fields(s), "_")
}

func (a *App) tableGrid(w io.Writer, cols []column, rows [][]string) {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "  ", ""
	t.SetStyle(style)
	header := make(table.Row, len(cols))
	configs := make([]table.ColumnConfig, len(cols))
	for i, c := range cols {
		header[i] = c.name
		configs[i] = table.ColumnConfig{Number: i + 1}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t.SetColumnConfigs(configs)
	t.AppendHeader(header)
	for _, row := range rows {
		cells := make(table.Row, len(row))
		for i, cell := range row {
			if cols[i].number {
				cell = thousands(cell)
			}
			cells[i] = a.tint(cell)
		}
		t.AppendRow(cells)
	}
	for _, line := range strings.Split(t.Render(), "\n") {
		_, _ = fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// thousands groups the digits of a whole number: 1204 is 1,204. Other text stays as it is.
func thousands(s string) string {
	digits := strings.TrimPrefix(s, "-")
	for _, c := range digits {
		if c < '0' || c > '9' {
			return s
		}
	}
	sign := s[:len(s)-len(digits)]
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// tint colours the words that matter: who leads, what is down, how it ended.
func (a *App) tint(s string) string {
	if a.NoColor || a.Format != FormatTable {
		return s
	}
	switch strings.ToLower(s) {
	case "leader", "committed", "ok", "yes":
		return text.FgGreen.Sprint(s)
	case "down", "unknown", "violation":
		return text.FgRed.Sprint(s)
	case "aborted", "unavailable", "no":
		return text.FgYellow.Sprint(s)
	}
	return s
}
