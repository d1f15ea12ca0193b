package cli

import (
	"strings"
	"testing"
)

// TestReplace follows a replacement to its end, and tells a refusal, a wrong number and the end of its time.
func TestReplace(t *testing.T) {
	b := newFakeBank("")
	code, out, errs := runFake(b, "", nil, "replace", "3")
	if code != exitOK || out != "server 3: promoted: it takes part\n" {
		t.Errorf("exit %d, %q", code, out)
	}
	for _, want := range []string{"waiting for its new process", "removed", "streaming 60 %", "learner, 80 % of the log"} {
		if !strings.Contains(errs, want) {
			t.Errorf("progress lacks %q: %s", want, errs)
		}
	}
	if code, out, _ = runFake(b, "", nil, "replace", "3", "-o", "json"); code != exitOK || !strings.Contains(out, `"phase":"promoted"`) {
		t.Errorf("json: exit %d, %q", code, out)
	}
	if len(b.attempts) != 2 {
		t.Errorf("two commands, and %d attempts: each draws a number, and keeps it", len(b.attempts))
	}
	if code, _, errs = runFake(b, "", nil, "replace", "9"); code != exitRefused || !strings.Contains(errs, "nothing to replace") {
		t.Errorf("a refusal: exit %d, %q", code, errs)
	}
	if code, _, errs = runFake(b, "", nil, "replace", "x"); code != exitUsage {
		t.Errorf("no number: exit %d, %q", code, errs)
	}
	b.replaced = 0
	if code, _, errs = runFake(b, "", nil, "replace", "3", "--timeout", "1ms"); code != exitUnavailable || !strings.Contains(errs, "raftbank replace 3") {
		t.Errorf("no time: exit %d, %q", code, errs)
	}
}
