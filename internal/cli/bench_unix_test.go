//go:build unix

package cli

import (
	"io"
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

// TestPeersTellLastWords runs a program that fails: the last thing that it said is told, and it is all there once it was waited for.
func TestPeersTellLastWords(t *testing.T) {
	program := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec >&-\necho 'peers: first words' >&2\necho 'peers: last words' >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	a := NewApp(nil, io.Discard, io.Discard)
	v, err := a.peersRun(t.Context(), benchPeersArgs{}, program, "raftbank")
	if v != nil || err == nil || err.Error() != "exit status 3: last words" {
		t.Errorf("got %+v, %v", v, err)
	}
}
