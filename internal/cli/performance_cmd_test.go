package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"raftbank/client"
	"raftbank/internal/api"
)

func samplePerformance() api.Performance {
	intra := api.KindPerformance{Kind: "intra", Committed: 668, Aborted: map[string]int{"insufficient_funds": 32},
		TPS: 2100, LatencyUs: api.LatencyUs{Mean: 1400.2, P50: 1200, P95: 3000, P99: 5100, P999: 7000, Max: 9000}}
	cross := api.KindPerformance{Kind: "cross", Committed: 281, Aborted: map[string]int{"insufficient_funds": 18, "timed_out": 1},
		Unknown: 2, TPS: 1100, LatencyUs: api.LatencyUs{Mean: 2300, P50: 2000, P95: 4400, P99: 7900, P999: 9000, Max: 12000}}
	total := intra
	total.Kind, total.Committed, total.TPS, total.Unknown = "total", 949, 3200, 2
	total.Aborted = map[string]int{"insufficient_funds": 50, "timed_out": 1}
	return api.Performance{Client: "127.0.0.1:9000", Loop: "closed", SinceMs: 61500, BusyMs: 310,
		Kinds: []api.KindPerformance{intra, cross}, Total: total, Reachable: true}
}

func TestPerformanceAsksAClientServer(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /performance", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(samplePerformance())
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	addr := strings.TrimPrefix(server.URL, "http://")

	code, out, errs := runFake(nil, "", nil, "performance", "--client", addr, "-o", "table")
	const table = `127.0.0.1:9000: 61.5 s since the start or the last reset, 0.3 s with transfers in flight
  kind   committed  aborted  unavailable  unknown    mean     p50     p95     p99   p99.9      max
  intra        668       32            0        0  1.4 ms  1.2 ms  3.0 ms  5.1 ms  7.0 ms   9.0 ms
  cross        281       19            0        2  2.3 ms  2.0 ms  4.4 ms  7.9 ms  9.0 ms  12.0 ms
  total        949       51            0        2  1.4 ms  1.2 ms  3.0 ms  5.1 ms  7.0 ms   9.0 ms
aborted: 50 insufficient funds, 1 timed out
1,000 answered, 3,200 per second (closed loop)
`
	if code != exitOK || out != table {
		t.Errorf("exit %d\n%s%swant\n%s", code, out, errs, table)
	}

	code, out, _ = runFake(nil, "", nil, "performance", "--client", addr)
	const plain = "client\tloop\ttps\tkind\tcommitted\taborted\tunavailable\tunknown\tmean_us\tp50_us\tp95_us\tp99_us\tp999_us\tmax_us\n" +
		"127.0.0.1:9000\tclosed\t2100.0\tintra\t668\t32\t0\t0\t1400\t1200\t3000\t5100\t7000\t9000\n" +
		"127.0.0.1:9000\tclosed\t1100.0\tcross\t281\t19\t0\t2\t2300\t2000\t4400\t7900\t9000\t12000\n" +
		"127.0.0.1:9000\tclosed\t3200.0\ttotal\t949\t51\t0\t2\t1400\t1200\t3000\t5100\t7000\t9000\n"
	if code != exitOK || out != plain {
		t.Errorf("exit %d\n%swant\n%s", code, out, plain)
	}

	code, out, _ = runFake(nil, "", nil, "performance", "--client", addr, "-o", "json")
	var v api.Performances
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if len(v.Clients) != 1 || v.Clients[0].Total.Committed != 949 {
		t.Errorf("got %+v", v)
	}
}

func TestPerformanceWithoutAClientServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	addr := strings.TrimPrefix(server.URL, "http://")
	code, _, errs := runFake(nil, "", nil, "performance", "--client", addr)
	if code != exitUnavailable || !strings.Contains(errs, "not a raftbank client server?") {
		t.Errorf("another server: exit %d, %s", code, errs)
	}
	server.Close()
	code, out, _ := runFake(nil, "", nil, "performance", "--client", addr, "-o", "json")
	var v api.Performances
	if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitUnavailable || v.Error == nil || v.Clients == nil {
		t.Errorf("no server: exit %d, %v: %s", code, err, out)
	}
}

// --watch ends with the interruption, which is no failure.
func TestStatusWatchUntilInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	b := newFakeBank("")
	var out bytes.Buffer
	a := NewApp(strings.NewReader(""), &out, &bytes.Buffer{})
	a.Getenv = func(string) string { return "" }
	a.connect = func(client.Options) (bank, error) { return &endingBank{fakeBank: b, end: cancel}, nil }
	if code := a.main(ctx, []string{"status", "--watch", "-o", "jsonl"}); code != exitOK {
		t.Errorf("exit %d", code)
	}
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d looks, want 1", n)
	}
}

// endingBank ends the run while the first status is taken.
type endingBank struct {
	*fakeBank
	end context.CancelFunc
}

func (b *endingBank) Status(ctx context.Context) (api.Status, error) {
	b.end()
	return b.fakeBank.Status(ctx)
}
