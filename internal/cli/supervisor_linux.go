package cli

import "syscall"

// dieWithParent makes the kernel kill the child when the thread that made it ends. The closing pipe
// would do for a child that runs; this reaches a paused one too.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
