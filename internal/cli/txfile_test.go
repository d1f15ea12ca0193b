package cli

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestReadTransactions(t *testing.T) {
	long := strings.Repeat("9", lineBytesMax+1)
	for _, c := range []struct {
		name, text string
		lines, bad string
	}{
		{"empty", "", "", ""},
		{"every form", "(1,2,3)\n4,5,6\n7 8 9\n", "1:1,2,3 2:4,5,6 3:7,8,9", ""},
		{"blanks inside", " ( 1 , 2 , 3 ) \n4 ,5, 6\n\t7\t8  9", "1:1,2,3 2:4,5,6 3:7,8,9", ""},
		{"comments", "# one\n// two\n1 2 3 # x\n4 5 6 // y\n7 8 9//z#\n", "3:1,2,3 4:4,5,6 5:7,8,9", ""},
		{"carriage returns and byte order mark", "\ufeff1 2 3\r\n\r\n4 5 6\r\n", "1:1,2,3 3:4,5,6", ""},
		{"signs and zeros", "+1 -2 0003\n-0 0 00", "1:1,-2,3 2:0,0,0", ""},
		{"no end of line", "1 2 3", "1:1,2,3", ""},
		{"not integers", "a 2 3\n1 2.0 3\n1 2 0x3\n1 2 -\n1,,3", "", "1 2 3 4 5"},
		{"wrong number of words", "1 2\n1,2,3,4\n(1,2,3),\n()\nhello\n(1,2,3", "", "1 2 3 4 5 6"},
		{"too long", "1 2 " + long + "\n4 5 6", "2:4,5,6", "1"},
		{"a long comment is none of ours", "1 2 3 #" + long + "\n4 5 6", "1:1,2,3 2:4,5,6", ""},
		{"longer than a buffer", "#" + strings.Repeat("x", 1<<17) + "\n4 5 6", "2:4,5,6", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			lines, bad, err := readTransactions(strings.NewReader(c.text))
			if err != nil {
				t.Fatal(err)
			}
			var good, wrong []string
			for _, l := range lines {
				good = append(good, fmt.Sprintf("%d:%s,%s,%s", l.number, l.from, l.to, l.amount))
			}
			for _, b := range bad {
				wrong = append(wrong, fmt.Sprint(b.number))
			}
			if got := strings.Join(good, " "); got != c.lines {
				t.Errorf("lines %q, want %q", got, c.lines)
			}
			if got := strings.Join(wrong, " "); got != c.bad {
				t.Errorf("bad lines %q, want %q", got, c.bad)
			}
		})
	}
}

// FuzzReadTransactions holds that any input is read to its end, every line counts once, and what is
// read can be written and read again.
func FuzzReadTransactions(f *testing.F) {
	for _, seed := range []string{"", "(1,2,3)\n", "1,2,3 # x\r\n", "1 2\n\n-1 +2 03", "\xef\xbb\xbf1 2 3", "(((", "//\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		lines, bad, err := readTransactions(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if most := strings.Count(text, "\n") + 1; len(lines)+len(bad) > most {
			t.Fatalf("%d lines and %d bad ones from %d", len(lines), len(bad), most)
		}
		var again strings.Builder
		for _, l := range lines {
			fmt.Fprintf(&again, "(%s,%s,%s)\n", l.from, l.to, l.amount)
		}
		second, bad, err := readTransactions(strings.NewReader(again.String()))
		if err != nil || len(bad) > 0 || len(second) != len(lines) {
			t.Fatalf("%q reads again as %d lines, %d bad, error %v", again.String(), len(second), len(bad), err)
		}
		for i := range second {
			if second[i].request != lines[i].request {
				t.Fatalf("line %d: %v became %v", i, lines[i], second[i])
			}
		}
	})
}

func TestShellWordKeepsTheWord(t *testing.T) {
	for word, want := range map[string]string{
		"a.txt": "a.txt", "my file.txt": "'my file.txt'", "": "''", "it's": `'it'\''s'`, "$HOME": "'$HOME'",
	} {
		if got := shellWord(word); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", word, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "0": "0", "999": "999", "1204": "1,204", "-30000": "-30,000", "1234567": "1,234,567", "1.5": "1.5", "-": "-", "x1234": "x1234",
	} {
		if got := thousands(in); got != want {
			t.Errorf("thousands(%q) = %q, want %q", in, got, want)
		}
	}
}

// Every integer is read as math would have it, whatever its size.
func TestIntegerIsCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		zeros := strings.Repeat("0", rapid.IntRange(0, 5).Draw(t, "zeros"))
		text := fmt.Sprint(n)
		typed := zeros + text
		if n < 0 {
			typed = "-" + zeros + text[1:]
		}
		if got, ok := integer(typed); !ok || got != text {
			t.Fatalf("integer(%q) = %q, %v", typed, got, ok)
		}
	})
}
