package process

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// echo answers every line with itself and tells which lines came.
func echo(t *testing.T) (addr string, came <-chan string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	lines := make(chan string, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					s, err := r.ReadString('\n')
					if err != nil {
						return
					}
					lines <- s
					if _, err := io.WriteString(c, s); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

// soon fails the test if nothing comes within a generous bound.
func soon(t *testing.T, what string, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not come", what)
		return ""
	}
}

// TestProxy sends lines through each fault.
func TestProxy(t *testing.T) {
	target, came := echo(t)
	p, err := NewProxy(target)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	dial := func() (net.Conn, <-chan string) {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		answers := make(chan string, 100)
		go func() {
			r := bufio.NewReader(c)
			for {
				s, err := r.ReadString('\n')
				if err != nil {
					answers <- "end after " + s
					return
				}
				answers <- s
			}
		}()
		return c, answers
	}
	send := func(c net.Conn, s string) {
		t.Helper()
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatal(err)
		}
	}
	c, answers := dial()
	send(c, "plain\n")
	if soon(t, "the line", came) != "plain\n" || soon(t, "its answer", answers) != "plain\n" {
		t.Error("another line came")
	}
	start := time.Now()
	p.Set(LinkFaults{Delay: 30 * time.Millisecond})
	send(c, "slow\n")
	soon(t, "the answer", answers)
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("two directions of 30 ms took %s", took)
	}
	soon(t, "the line", came)

	p.Set(LinkFaults{HoldAnswers: true})
	send(c, "one way\n")
	soon(t, "the line", came)
	p.Set(LinkFaults{HoldRequests: true})
	soon(t, "the answer that was held", answers)
	send(c, "held\n")
	if len(came) > 0 || len(answers) > 0 {
		t.Error("a held line came")
	}
	p.Set(LinkFaults{})
	soon(t, "the line that was held", came)
	soon(t, "its answer", answers)

	p.Set(LinkFaults{CutAfter: 12})
	send(c, strings.Repeat("x", 9)+"\n")
	if got := soon(t, "the end", answers); got != "end after xx" {
		t.Errorf("cut after 12 bytes, 10 of them sent: %q", got)
	}
	soon(t, "the line", came)
	p.Set(LinkFaults{})
	c, answers = dial()
	send(c, "again\n")
	soon(t, "the answer of a new connection", answers)
	p.Close()
	if got := soon(t, "the end", answers); got != "end after " {
		t.Errorf("closed: %q", got)
	}
	dead, err := NewProxy(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	if c, err = net.Dial("tcp", dead.Addr()); err == nil {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a dead server says something")
		}
		_ = c.Close()
	}
}
