//go:build unix && !linux

package main

import "syscall"

// dieWithParent does nothing where the kernel cannot: a killed run then leaves its servers behind.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}
