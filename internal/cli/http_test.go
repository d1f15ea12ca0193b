package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/freeport"
)

func TestClientServerHandlers(t *testing.T) {
	r := NewRecorder()
	s := newClientServer(r, "0.0.1")
	srv := httptest.NewServer(s.handler())
	defer srv.Close()
	r.Observe(client.Result{Kind: client.Cross, Outcome: client.Committed, Latency: 2 * time.Millisecond})
	r.Observe(client.Result{Kind: client.Intra, Outcome: client.Unknown, Latency: 3 * time.Second})

	get := func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	_, body := get("/metrics")
	for _, want := range []string{
		`raftbank_transfers_total{kind="cross",outcome="committed",reason=""} 1`,
		`raftbank_transfers_total{kind="intra",outcome="unknown",reason=""} 1`,
		`raftbank_transfer_seconds_count{kind="cross"} 1`,
		`raftbank_build_info{version="0.0.1"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	_, body = get("/performance")
	var p api.Performance
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("/performance: %v in %s", err, body)
	}
	if p.Total.Committed != 1 || p.Total.Unknown != 1 || !p.Reachable {
		t.Errorf("/performance: %+v", p)
	}
	if code, _ := get("/nothing"); code != 404 {
		t.Errorf("/nothing: %d, want 404", code)
	}
}

func TestClientServerPortInUse(t *testing.T) {
	first, second := newClientServer(NewRecorder(), ""), newClientServer(NewRecorder(), "")
	if err := first.start("127.0.0.1", 0); err != nil {
		t.Fatal(err)
	}
	defer first.close()
	var port int
	if _, p, ok := strings.Cut(first.addr, ":"); ok {
		for _, c := range p {
			port = port*10 + int(c-'0')
		}
	}
	if err := second.start("127.0.0.1", port); err == nil {
		second.close()
		t.Error("two client servers share a port")
	}
	second.close() // of one that never started
}

// TestServe runs a client server without a shell until its context ends.
func TestServe(t *testing.T) {
	var out, errs bytes.Buffer
	a := NewApp(strings.NewReader(""), &out, &errs)
	a.Getenv = func(string) string { return "" }
	ctx, stop := context.WithCancel(t.Context())
	a.connect = func(client.Options) (bank, error) {
		stop() // as a signal would, once it serves
		return newFakeBank(""), nil
	}
	free, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	port := free[0]
	if code := a.main(ctx, []string{"client", "--serve", "--port", fmt.Sprint(port)}); code != 0 {
		t.Errorf("exit %d", code)
	}
	if want := fmt.Sprintf("client on 127.0.0.1:%d", port); !strings.Contains(errs.String(), want) {
		t.Errorf("stderr lacks %q:\n%s", want, errs.String())
	}
}
