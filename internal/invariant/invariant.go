package invariant

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
)

// Check panics with msg, formatted with args, unless cond holds. On hot paths pass no args: they
// are evaluated and boxed even if cond holds; use an if and Fail there.
func Check(cond bool, msg string, args ...any) {
	if !cond {
		Fail(msg, args...)
	}
}

// Fail panics: an invariant does not hold.
func Fail(msg string, args ...any) {
	panic("invariant violated: " + fmt.Sprintf(msg, args...))
}

// reached is replaced, never changed, so that readers need no lock.
var reached atomic.Pointer[map[string]struct{}]

// Sometimes notes that a rare line was reached. The name says what happened there and is unique
// in the program. Any goroutine may call it.
func Sometimes(name string) {
	for {
		old := reached.Load()
		if old != nil {
			if _, ok := (*old)[name]; ok {
				return
			}
		}
		next := map[string]struct{}{name: {}}
		if old != nil {
			maps.Copy(next, *old)
		}
		if reached.CompareAndSwap(old, &next) {
			return
		}
	}
}

// Reached returns the names that Sometimes has noted since the process started or since Forget, sorted.
func Reached() []string {
	old := reached.Load()
	if old == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*old))
}

// Forget empties the register, so that a test can tell what its own run reached.
func Forget() { reached.Store(nil) }
