//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestBenchDoesNotOpenPipes probes a pipe that nobody reads: opening it would wait.
func TestBenchDoesNotOpenPipes(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- writable(pipe) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for somebody to read")
		if f, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil { // lets it go on
			<-ended
			_ = f.Close()
		}
	}
	if is, err := os.Lstat(pipe); err != nil || is.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe is %v, %v", is, err)
	}
}
