//go:build planted

package planted

// Built says whether this program was built with planted bugs.
const Built = true

// active is the bug of this process. It is set before a simulation and read by the code under test.
var active Bug

// On reports whether a bug is planted.
func On(b Bug) bool { return b == active }

// Plant makes b the only bug of this process; None removes it. It returns true.
func Plant(b Bug) bool {
	active = b
	return true
}
