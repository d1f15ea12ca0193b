//go:build unix

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// setProcessGroup makes the command the leader of its own process group, and asks the system to
// kill it when its parent dies, where the system can.
func setProcessGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
}

func pauseProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resumeProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
