//go:build !unix

package cli

import (
	"errors"
	"os"
	"os/exec"
)

var errNoPause = errors.New("this operating system cannot pause a process")

func setProcessGroup(*exec.Cmd) {}

func pauseProcess(*os.Process) error { return errNoPause }

func resumeProcess(*os.Process) error { return errNoPause }
