package invariant

import (
	"slices"
	"testing"
)

func TestCheck(t *testing.T) {
	Check(true, "fine")
	defer func() {
		if got, want := recover(), "invariant violated: 3 apples, want 4"; got != want {
			t.Errorf("panic %v, want %q", got, want)
		}
	}()
	Check(false, "%d apples, want %d", 3, 4)
}

func TestSometimes(t *testing.T) {
	Forget()
	done := make(chan bool)
	for range 4 {
		go func() {
			for _, name := range []string{"b", "a", "b", "c"} {
				Sometimes(name)
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	if got := Reached(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("reached %v", got)
	}
	Forget()
	if got := Reached(); got != nil {
		t.Errorf("reached after Forget: %v", got)
	}
}
