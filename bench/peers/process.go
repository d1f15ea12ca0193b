package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopWait bounds how long a server may take to end before it is killed.
const stopWait = 10 * time.Second

// starts hands work to one thread that never ends before the process: the kernel tells a child that its
// parent died when the thread dies that made it.
var starts = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// server is a child process that ends with this one.
type server struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	end  syscall.Signal // asks it to end in order
}

// startServer starts a program. Its output goes to a file in the directory.
func startServer(cmd *exec.Cmd, log string, end syscall.Signal) (*server, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own handle
	cmd.Stdout, cmd.Stderr = out, out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr, end)
	result := make(chan error)
	starts() <- func() { result <- cmd.Start() }
	if err := <-result; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	s := &server{cmd: cmd, log: log, done: make(chan struct{}), end: end}
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(s.done)
	}()
	return s, nil
}

// stop ends the process and waits for it.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(s.end) // if it has ended, done tells
	select {
	case <-s.done:
	case <-time.After(stopWait):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// died returns the process's last words if it has ended, else nil.
func (s *server) died() error {
	select {
	case <-s.done:
	default:
		return nil
	}
	b, err := os.ReadFile(s.log)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return fmt.Errorf("%s has ended: %s", filepath.Base(s.cmd.Path), strings.Join(lines[max(0, len(lines)-3):], "\n"))
}

func pids(servers []*server) []int {
	var out []int
	for _, s := range servers {
		out = append(out, s.cmd.Process.Pid)
	}
	return out
}

// await asks until ok, a server has ended, or 30 s are over.
func await(ctx context.Context, what string, servers []*server, ok func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		for _, s := range servers {
			if died := s.died(); died != nil {
				return died
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freePorts returns ports that nobody listened on a moment ago.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all stay open until the last is known
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// unprivileged is the user to run PostgreSQL as, which refuses to run as root: nil if this process is
// not root's, else the user postgres, or nobody.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no user postgres or nobody: %w", errNotHere)
}
