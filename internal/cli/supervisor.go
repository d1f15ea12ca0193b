package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// stopWait bounds how long a child may take to end after its pipe closed, before it is killed.
const stopWait = 3 * time.Second

// supervisor runs the demo's servers as child processes. Each child holds the reading end of a
// pipe as standard input and ends when the pipe closes, so that none outlives this process however
// it dies; each is its own process group, so that Ctrl-C on the terminal does not reach it.
type supervisor struct {
	executable string
	// args are the arguments of server n.
	args func(n int) []string
	// env is the children's environment.
	env []string
	// logs is the directory for what the children print.
	logs string

	mu sync.Mutex // guards what follows
	// starts hands work to the thread that makes the children: where the system can tell a child
	// that its parent died, it means the thread, so that this one stays until all have ended.
	starts chan func()
	// children has the last process of every server that was ever started.
	children map[int]*child
}

// child is one process of a server.
type child struct {
	cmd    *exec.Cmd
	pipe   io.Closer
	paused bool          // guarded by supervisor.mu
	done   chan struct{} // closed when the process has ended
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

var errNotRunning = errors.New("is not running")

// start runs server n. Error: it runs already, or the process cannot be made.
func (s *supervisor) start(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.children[n]; c != nil && !c.ended() {
		return fmt.Errorf("server %d is running", n)
	}
	log, err := os.OpenFile(s.logPath(n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of server %d: %w", n, err)
	}
	defer func() { _ = log.Close() }() // the child has its own handle
	cmd := exec.Command(s.executable, s.args(n)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, log, log
	setProcessGroup(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("pipe to server %d: %w", n, err)
	}
	if err := s.onOwnThread(cmd.Start); err != nil {
		_ = pipe.Close()
		return fmt.Errorf("start server %d: %w", n, err)
	}
	c := &child{cmd: cmd, pipe: pipe, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended stands in ProcessState
		close(c.done)
	}()
	if s.children == nil {
		s.children = map[int]*child{}
	}
	s.children[n] = c
	return nil
}

// onOwnThread calls start on the supervisor's thread. The caller holds mu.
func (s *supervisor) onOwnThread(start func() error) error {
	if s.starts == nil {
		s.starts = make(chan func())
		go func(starts <-chan func()) {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			for f := range starts {
				f()
			}
		}(s.starts)
	}
	result := make(chan error)
	s.starts <- func() { result <- start() }
	return <-result
}

// kill ends server n at once and waits until it is gone.
func (s *supervisor) kill(n int) error {
	c, err := s.child(n)
	if err != nil {
		return err
	}
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill server %d: %w", n, err)
	}
	<-c.done
	_ = c.pipe.Close()
	return nil
}

// pause stops server n in its tracks.
func (s *supervisor) pause(n int) error { return s.signal(n, true) }

// resume lets a paused server go on.
func (s *supervisor) resume(n int) error { return s.signal(n, false) }

func (s *supervisor) signal(n int, pause bool) error {
	c, err := s.child(n)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.paused == pause {
		return fmt.Errorf("server %d is %s", n, map[bool]string{true: "paused already", false: "not paused"}[pause])
	}
	send := resumeProcess
	if pause {
		send = pauseProcess
	}
	if err := send(c.cmd.Process); err != nil {
		return fmt.Errorf("server %d: %w", n, err)
	}
	c.paused = pause
	return nil
}

// child returns the running process of server n.
func (s *supervisor) child(n int) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.children[n]
	if c == nil || c.ended() {
		return nil, fmt.Errorf("server %d %w", n, errNotRunning)
	}
	return c, nil
}

// state says whether server n is dead, paused, or, with serverAny, neither.
func (s *supervisor) state(n int) serverState {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c := s.children[n]; {
	case c == nil || c.ended():
		return serverDead
	case c.paused:
		return serverPaused
	}
	return serverAny
}

// serving reports whether server n runs and is not paused.
func (s *supervisor) serving(n int) bool { return s.state(n) == serverAny }

// stopAll ends every server and waits for all: the pipes close, and who lingers is killed.
func (s *supervisor) stopAll() {
	s.mu.Lock()
	running := make([]*child, 0, len(s.children))
	for _, c := range s.children {
		if c.paused && !c.ended() {
			_ = resumeProcess(c.cmd.Process) // killed below if this failed
		}
		_ = c.pipe.Close()
		running = append(running, c)
	}
	s.mu.Unlock()
	late := time.After(stopWait)
	for _, c := range running {
		select {
		case <-c.done:
		case <-late:
			late = closedClock() // the bound holds for all together
			_ = c.cmd.Process.Kill()
			<-c.done
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starts != nil {
		close(s.starts)
		s.starts = nil
	}
}

// closedClock returns a channel that is always ready.
func closedClock() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}

func (s *supervisor) logPath(n int) string {
	return filepath.Join(s.logs, fmt.Sprintf("server-%d.log", n))
}

// lastWords returns the last lines that server n printed, for the error of a server that ended.
func (s *supervisor) lastWords(n, lines int) string {
	b, err := os.ReadFile(s.logPath(n))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// environWithout returns the environment without the variables that begin with prefix: a child's
// settings come from its flags alone.
func environWithout(environ []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, prefix) })
}
