package main

import "syscall"

// dieWithParent makes the kernel send a signal to the child when this process is gone.
func dieWithParent(a *syscall.SysProcAttr, signal syscall.Signal) { a.Pdeathsig = signal }
