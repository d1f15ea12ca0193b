//go:build unix

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// setProcessGroup makes the command the leader of its own process group.
func setProcessGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// A stopped process does not see its pipe close. If this process dies meanwhile, the kernel sends
// the orphaned group SIGHUP and SIGCONT, which ends it too.
func pauseProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
