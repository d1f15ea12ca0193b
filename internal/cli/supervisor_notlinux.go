//go:build unix && !linux

package cli

import "syscall"

// dieWithParent does nothing where the system cannot. A paused child then ends by its orphaned
// process group: the kernel sends that SIGHUP and SIGCONT.
func dieWithParent(*syscall.SysProcAttr) {}
