package client

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Times of the conservation check.
const (
	checkPause = 250 * time.Millisecond // between two passes
	checkBound = 10 * time.Second
	// hopelessPasses is after how many passes a cluster without majority ends the check.
	hopelessPasses = 4
)

// noteRunning is the check's answer while transfers run.
const noteRunning = "not comparable while transfers run"

func parseAccount(text string) (Account, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	return Account(n), err
}

// CheckConservation compares hashes and totals over all replicas, retrying for up to 10 s (or ctx)
// until nothing is prepared and indexes stand still over two passes.
//
// OK is false only for a proven violation: two replicas with different hashes at one index, an
// account below its floor, or a wrong total while nothing moved. It is nil if neither holds and the
// total could not be compared. A cluster with servers down is checked from those that are up, as
// long as they are a majority; Note says so.
// Errors: ErrClosed.
func (c *Client) CheckConservation(ctx context.Context) (api.Check, error) {
	end := time.Now().Add(checkBound)
	var out api.Check
	var before *pass
	minority := 0
	for {
		now, err := c.checkPass(ctx)
		if err != nil {
			return api.Check{}, err
		}
		if ctx.Err() != nil && before != nil {
			return out, nil // this pass was cut short
		}
		out = now.judge(before)
		if out.OK != nil || time.Now().After(end) {
			return out, nil
		}
		if now.minority {
			minority++
		}
		before = now
		select {
		case <-time.After(checkPause):
			if minority < hopelessPasses {
				continue
			}
		case <-ctx.Done():
		}
		return out, nil
	}
}

// leaderless names the first cluster without a leader; "": all have one.
func (p *pass) leaderless() string {
	for i := range p.shards {
		if p.shards[i].authority == nil {
			return p.shards[i].check.Cluster
		}
	}
	return ""
}

// pass is what all servers said at about one time.
type pass struct {
	shards   []shardPass
	down     int
	minority bool // of some cluster no majority answered
	silent   *api.Error
}

// shardPass is one cluster's part of a pass.
type shardPass struct {
	check api.ShardCheck
	// authority is the leader of the highest term, if a majority answered; its total counts.
	authority *api.ServerCheck
	up        int
	violation string
}

func (c *Client) checkPass(ctx context.Context) (*pass, error) {
	answers, err := survey[api.ServerCheck](ctx, c, wire.AdminCheck, nil)
	if err != nil {
		return nil, err
	}
	p := &pass{silent: silent(c, answers, wire.AdminCheck)}
	for i := range c.o.Topology.Clusters {
		cluster := &c.o.Topology.Clusters[i]
		s := shardPass{check: api.ShardCheck{Shard: int(cluster.Shard), Cluster: cluster.Shard.String(), Total: "0"}}
		for j := range answers {
			a := &answers[j]
			if a.cluster != cluster {
				continue
			}
			v := a.value
			v.Server, v.Shard = int(a.server.ID), int(cluster.Shard)
			if v.Up = a.err == nil; v.Up {
				s.up++
			} else {
				p.down++
			}
			s.check.Servers = append(s.check.Servers, v)
		}
		s.inspect(cluster)
		p.minority = p.minority || s.up <= len(cluster.Servers)/2
		p.shards = append(p.shards, s)
	}
	return p, nil
}

// inspect compares the cluster's replicas with each other.
func (s *shardPass) inspect(cluster *shard.Cluster) {
	s.compareHashes()
	for i := range s.check.Servers {
		v := &s.check.Servers[i]
		if !v.Up {
			continue
		}
		if v.Negative > 0 {
			s.violation = fmt.Sprintf("server %d of %s: %d accounts are below their floor at index %d",
				v.Server, s.check.Cluster, v.Negative, v.Applied)
		}
		if v.Leader && (s.authority == nil || v.Term > s.authority.Term) {
			s.authority = v
		}
	}
	switch {
	case s.up == 0:
		s.check.Note = "no server answers"
	case s.up <= len(cluster.Servers)/2:
		s.authority = nil
		s.check.Note = fmt.Sprintf("%d of %d servers answer: no majority", s.up, len(cluster.Servers))
	case s.authority == nil:
		s.check.Note = "no leader"
	case s.up < len(cluster.Servers):
		s.check.Note = fmt.Sprintf("%d of %d servers answer", s.up, len(cluster.Servers))
	}
	if s.authority != nil {
		s.check.Total, s.check.InFlight = s.authority.Total, s.authority.Prepared
	}
}

// compareHashes compares every index at which two replicas gave a hash. The hashes agree if every
// replica could be compared with the first one that is up.
func (s *shardPass) compareHashes() {
	type point struct {
		server int
		hash   api.HashAt
	}
	seen := map[uint64]point{}
	compared := 0
	first := 0
	for i := range s.check.Servers {
		v := &s.check.Servers[i]
		if !v.Up {
			continue
		}
		if first == 0 {
			first = v.Server
		}
		met := v.Server == first
		for _, h := range append(v.Hashes[:len(v.Hashes):len(v.Hashes)], v.Hash) {
			p, known := seen[h.Index]
			if !known {
				seen[h.Index] = point{server: v.Server, hash: h}
				continue
			}
			met = met || p.server != v.Server
			if p.hash.State != h.State || p.hash.Chain != h.Chain {
				s.violation = fmt.Sprintf("servers %d and %d of %s differ at index %d: state %s and %s",
					p.server, v.Server, s.check.Cluster, h.Index, p.hash.State, h.State)
			}
		}
		if met {
			compared++
		}
	}
	ok := s.violation == ""
	if !ok || (s.up > 1 && compared == s.up) {
		s.check.HashesOK = &ok
	}
}

// judge says what this pass and the one before prove.
func (p *pass) judge(before *pass) api.Check {
	out := api.Check{Shards: []api.ShardCheck{}}
	total, expected := new(big.Int), new(big.Int)
	violation := ""
	exact := before != nil && !p.minority
	for i := range p.shards {
		s := &p.shards[i]
		out.Shards = append(out.Shards, s.check)
		out.InFlight += s.check.InFlight
		if s.violation != "" {
			violation = s.violation
		}
		if s.authority == nil {
			exact = false
			continue
		}
		addDecimal(total, s.authority.Total)
		addDecimal(expected, s.authority.Expected)
		exact = exact && s.still(before.shards[i].authority)
	}
	out.Total, out.Expected = total.String(), expected.String()
	wrong := exact && total.Cmp(expected) != 0
	if wrong && violation == "" {
		violation = fmt.Sprintf("the total is %s, opened were %s", total, expected)
	}
	switch {
	case violation != "":
		out.OK, out.Note = new(bool), violation
		out.Error = &api.Error{Code: "violation", Message: violation, Phase: wire.AdminCheck}
	case exact:
		ok := true
		out.OK, out.Note = &ok, p.downNote()
	case p.silent != nil:
		out.Note, out.Error = p.silent.Message, p.silent
	case p.minority || p.leaderless() != "":
		out.Note = "not comparable: a cluster has no majority"
		if !p.minority {
			out.Note = fmt.Sprintf("not comparable: %s has no leader", p.leaderless())
		}
		out.Error = &api.Error{Code: codeUnavailable, Message: out.Note, Phase: wire.AdminCheck, Retryable: true, Hint: "raftbank status"}
	default:
		out.Note = noteRunning
		out.Error = &api.Error{Code: codeUnavailable, Message: noteRunning, Phase: wire.AdminCheck, Retryable: true}
	}
	return out
}

// still reports whether the cluster is at rest: nothing is prepared, everything committed is
// applied, and the same leader is where it was a pass ago.
func (s *shardPass) still(before *api.ServerCheck) bool {
	a := s.authority
	return before != nil && before.Server == a.Server && before.Term == a.Term && before.Applied == a.Applied &&
		a.Prepared == 0 && a.Applied == a.Commit
}

func (p *pass) downNote() string {
	if p.down == 0 {
		return ""
	}
	return fmt.Sprintf("%d servers do not answer and were not checked", p.down)
}

func addDecimal(sum *big.Int, text string) {
	if n, ok := new(big.Int).SetString(text, 10); ok {
		sum.Add(sum, n)
	}
}
