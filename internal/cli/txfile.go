package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of a transaction file.
const (
	lineBytesMax = 4096     // of one line, comment excluded
	linesMax     = 10000000 // transfers in one file
)

// txLine is one transfer of a transaction file.
type txLine struct {
	number int // of the line in the file, from 1
	request
}

// badLine is a line that is not three integers.
type badLine struct {
	number int
	what   string
}

// readTransactions reads a transaction file: one transfer per line as (x,y,amt), x,y,amt or
// x y amt; blank lines and comments, which begin with # or //, also behind a transfer, count for
// nothing. It reads to the end: every bad line is returned. Error: the input cannot be read, or it
// has more than linesMax transfers.
func readTransactions(in io.Reader) ([]txLine, []badLine, error) {
	r := bufio.NewReaderSize(in, 64<<10)
	if bom, _ := r.Peek(3); bytes.Equal(bom, []byte("\xef\xbb\xbf")) {
		_, _ = r.Discard(3)
	}
	var lines []txLine
	var bad []badLine
	for number := 1; ; number++ {
		text, cut, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		switch req, ok, what := parseLine(text, cut); {
		case what != nil:
			bad = append(bad, badLine{number, what.Error()})
		case ok && len(lines) == linesMax:
			return nil, nil, fmt.Errorf("line %d: more than %d transfers; split the file", number, linesMax)
		case ok:
			lines = append(lines, txLine{number, req})
		}
		if err != nil {
			return lines, bad, nil
		}
	}
}

// readLine returns the next line without its end. cut says that it was longer than lineBytesMax
// and the rest was skipped. io.EOF comes with the last line.
func readLine(r *bufio.Reader) (line string, cut bool, err error) {
	var b []byte
	for {
		part, err := r.ReadSlice('\n')
		room := lineBytesMax + 1 - len(b)
		b = append(b, part[:min(room, len(part))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		b = bytes.TrimSuffix(b, []byte("\n"))
		if len(b) > lineBytesMax {
			return string(b[:lineBytesMax]), true, err
		}
		return string(b), false, err
	}
}

// parseLine reads one line: ok is false for a blank line. Errors: it is not three integers.
func parseLine(text string, cut bool) (r request, ok bool, err error) {
	body, commented := stripComment(text)
	body = strings.TrimSpace(body)
	switch {
	case cut && !commented:
		return r, false, fmt.Errorf("longer than %d bytes", lineBytesMax)
	case body == "":
		return r, false, nil
	}
	words, err := splitLine(body)
	if err != nil {
		return r, false, err
	}
	r, err = parseRequest(words[0], words[1], words[2])
	return r, err == nil, err
}

// stripComment cuts a line at the first # or //.
func stripComment(s string) (body string, commented bool) {
	hash := strings.IndexByte(s, '#')
	slashes := strings.Index(s, "//")
	switch {
	case hash < 0 && slashes < 0:
		return s, false
	case hash < 0 || slashes >= 0 && slashes < hash:
		return s[:slashes], true
	}
	return s[:hash], true
}

// splitLine splits (x,y,amt), x,y,amt or x y amt into its three words.
func splitLine(s string) (words [3]string, err error) {
	body := strings.TrimSpace(s)
	opened, closed := strings.HasPrefix(body, "("), strings.HasSuffix(body, ")")
	switch {
	case opened && !closed:
		return words, fmt.Errorf("missing ) in %s", quote(s))
	case closed && !opened:
		return words, fmt.Errorf("missing ( in %s", quote(s))
	case opened:
		body = body[1 : len(body)-1]
	}
	var fields []string
	if strings.Contains(body, ",") {
		fields = strings.Split(body, ",")
	} else {
		fields = strings.Fields(body)
	}
	if len(fields) != len(words) {
		return words, fmt.Errorf("want three integers (payer,payee,amount), got %s", quote(s))
	}
	for i, f := range fields {
		words[i] = strings.TrimSpace(f)
	}
	return words, nil
}

// quote shows a piece of a line in an error, shortened.
func quote(s string) string {
	const most = 60
	if len(s) > most {
		return fmt.Sprintf("%q...", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
