//go:build !planted

package planted

// Built says whether this program was built with planted bugs.
const Built = false

// On reports whether a bug is planted: never in this build.
func On(Bug) bool { return false }

// Plant does nothing in this build, and says so by returning false.
func Plant(Bug) bool { return false }
