package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"raftbank/internal/replica"
	"raftbank/internal/shard"
	"raftbank/internal/storage"
	"raftbank/internal/transport"
)

func TestFindServer(t *testing.T) {
	a := NewApp(nil, &bytes.Buffer{}, &bytes.Buffer{})
	a.Topology = shard.DefaultTopology()
	for _, c := range []struct{ id, port, want string }{
		{"8", "9001", "server 8 is at port 9008 in this config; got 9001"},
		{"12", "", "this config has no server 12: it has 1, 2, 3 (C1), 4, 5, 6 (C2), 7, 8, 9 (C3)"},
		{"one", "", `not a server number: "one"`},
		{"-1", "", `not a server number: "-1"`},
	} {
		_, _, err := a.findServer(c.id, c.port)
		var e *exitError
		if !errors.As(err, &e) || e.code != exitUsage || e.err.Message != c.want {
			t.Errorf("server %s %s: %v, want %q", c.id, c.port, err, c.want)
		}
	}
	for _, port := range []string{"", "9008"} {
		if me, cluster, err := a.findServer("8", port); err != nil || me.Addr != "127.0.0.1:9008" || cluster.Shard != 3 {
			t.Errorf("server 8 %s: %+v %v", port, me, err)
		}
	}
}

func TestNewLogger(t *testing.T) {
	var out bytes.Buffer
	for _, c := range []struct{ level, format string }{{"loud", "text"}, {"info", "xml"}} {
		if _, err := newLogger(&out, c.level, c.format); asExit(err) == nil || asExit(err).code != exitUsage {
			t.Errorf("%+v: %v, want a usage error", c, err)
		}
	}
	l, err := newLogger(&out, "WARN", "json")
	if err != nil {
		t.Fatal(err)
	}
	l.Info("quiet")
	l.Warn("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, `"msg":"loud"`) {
		t.Errorf("log: %s", got)
	}
}

func TestServerFailure(t *testing.T) {
	me := shard.Server{ID: 2, Addr: "127.0.0.1:9002"}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{fmt.Errorf("x: %w", storage.ErrForeignDir), exitUsage, "server 2: x: data directory is foreign"},
		{fmt.Errorf("server 2: %w, but", replica.ErrEmptied), exitInternal, "server 2: data directory is empty, but"},
		{transport.ErrPortInUse, exitUsage, "server 2: port is in use"},
		{errors.New("fsync: input/output error"), exitInternal, "server 2: fsync: input/output error"},
	} {
		e := asExit(serverFailure(me, c.err))
		if e == nil || e.code != c.code || e.err.Message != c.text || e.err.Hint == "" {
			t.Errorf("%v: %+v", c.err, e)
		}
	}
	if err := serverFailure(me, nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}
