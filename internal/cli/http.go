package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"raftbank/client"
	"raftbank/internal/api"
)

// Ports of the client servers.
const (
	clientPort       = 9000
	secondClientPort = 8999
)

// clientServer is the port of a client: health, metrics, and the session's figures.
type clientServer struct {
	addr     string
	recorder *Recorder
	registry *prometheus.Registry
	results  *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	server   *http.Server
	done     chan struct{}
}

// newClientServer returns a client server that reports what recorder counts; it serves nothing yet.
func newClientServer(recorder *Recorder, version string) *clientServer {
	s := &clientServer{
		recorder: recorder,
		registry: prometheus.NewRegistry(),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "raftbank_transfers_total",
			Help: "Transfers by kind, outcome and reason of an abort.",
		}, []string{"kind", "outcome", "reason"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "raftbank_transfer_seconds",
			Help:    "Latency of answered transfers, from the client's initiation to the answer.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}, []string{"kind"}),
		done: make(chan struct{}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "raftbank_build_info", Help: "Version of this client server, as a label.",
	}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	s.registry.MustRegister(s.results, s.latency, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	recorder.Also = s.observe
	return s
}

// observe counts one result for /metrics.
func (s *clientServer) observe(r client.Result) {
	kind, reason := kindRefused, ""
	if r.Kind != 0 {
		kind = kindName(r.Kind)
	}
	if r.Outcome == client.Aborted {
		reason = r.Reason.String()
	}
	s.results.WithLabelValues(kind, outcomeName(r.Outcome), reason).Inc()
	if r.Kind != 0 && (r.Outcome == client.Committed || r.Outcome == client.Aborted) {
		s.latency.WithLabelValues(kind).Observe(r.Latency.Seconds())
	}
}

func outcomeName(o client.Outcome) string {
	switch o {
	case client.Committed:
		return api.OutcomeCommitted
	case client.Aborted:
		return api.OutcomeAborted
	case client.Unavailable:
		return api.OutcomeUnavailable
	case client.Unknown:
		return api.OutcomeUnknown
	}
	panic("unreachable: outcome of a result")
}

// handler serves /healthz, /metrics and /performance.
func (s *clientServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /performance", func(w http.ResponseWriter, _ *http.Request) {
		p := s.recorder.Snapshot()
		p.Client = s.addr
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p) // a reader that went away is no error of ours
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "raftbank client server: /healthz /metrics /performance")
	})
	return mux
}

// start listens on host:port and serves until close. Error: the port is taken.
func (s *clientServer) start(host string, port int) error {
	addr := net.JoinHostPort(host, fmt.Sprint(port))
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	s.addr = listener.Addr().String()
	s.server = &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(listener) // ends with ErrServerClosed
	}()
	return nil
}

// close stops serving and waits for the listener's goroutine.
func (s *clientServer) close() {
	if s.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	<-s.done
}
