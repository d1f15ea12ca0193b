package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"raftbank/internal/shard"
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
