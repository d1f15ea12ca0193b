//go:build unix

package cli

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const helperEnv = "CLI_TEST_HELPER"

// TestHelperProcess is no test: it is the child of the others.
func TestHelperProcess(t *testing.T) {
	switch os.Getenv(helperEnv) {
	case "":
		t.Skip("only as a child")
	case "server": // ends with its pipe, like a server of the demo
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "demo": // starts two servers, pauses one, prints their ids, and waits to be killed
		s := helperSupervisor(os.Getenv("CLI_TEST_DIR"))
		for n := 1; n <= 2; n++ {
			if err := s.start(n); err != nil {
				panic(err)
			}
		}
		if err := s.pause(2); err != nil {
			panic(err)
		}
		println(s.children[1].cmd.Process.Pid, s.children[2].cmd.Process.Pid)
		select {}
	}
}

func helperSupervisor(dir string) *supervisor {
	return &supervisor{
		executable: os.Args[0],
		args:       func(int) []string { return []string{"-test.run=^TestHelperProcess$"} },
		env:        append(environWithout(os.Environ(), helperEnv), helperEnv+"=server"),
		logs:       dir,
	}
}

func TestSupervisor(t *testing.T) {
	s := helperSupervisor(t.TempDir())
	defer s.stopAll()
	for n := 1; n <= 3; n++ {
		if err := s.start(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.start(1); err == nil {
		t.Error("server 1 was started twice")
	}
	if err := s.kill(1); err != nil || s.serving(1) {
		t.Errorf("kill: %v, serving %v", err, s.serving(1))
	}
	if err := s.kill(1); !errors.Is(err, errNotRunning) {
		t.Errorf("second kill: %v, want errNotRunning", err)
	}
	if err := s.start(1); err != nil || !s.serving(1) {
		t.Errorf("restart: %v, serving %v", err, s.serving(1))
	}
	if err := s.pause(2); err != nil || s.serving(2) {
		t.Errorf("pause: %v, serving %v", err, s.serving(2))
	}
	if err := s.pause(2); err == nil {
		t.Error("paused twice")
	}
	if err := s.resume(2); err != nil || !s.serving(2) {
		t.Errorf("resume: %v, serving %v", err, s.serving(2))
	}
	if err := s.resume(2); err == nil {
		t.Error("resumed twice")
	}
	if err := s.pause(3); err != nil {
		t.Error(err)
	}
	s.stopAll() // a paused one too
	for n := 1; n <= 3; n++ {
		if s.serving(n) {
			t.Errorf("server %d outlives stopAll", n)
		}
	}
}

// A kill -9 of the parent leaves no server, not even a paused one.
func TestChildrenEndWithTheirParent(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperProcess$")
	cmd.Env = append(os.Environ(), helperEnv+"=demo", "CLI_TEST_DIR="+t.TempDir())
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, word := range strings.Fields(line) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		deadline := time.Now().Add(10 * time.Second)
		tick := time.NewTicker(10 * time.Millisecond)
		for !processEnded(pid) {
			if <-tick.C; time.Now().After(deadline) {
				t.Fatalf("process %d outlives its parent", pid)
			}
		}
		tick.Stop()
	}
}

// processEnded reports whether a process is gone, or a zombie whose parent has not noticed.
func processEnded(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil || p.Signal(syscall.Signal(0)) != nil {
		return true
	}
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && strings.Contains(string(stat), ") Z ")
}
