package shard

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// Limits of a topology. With them the sum of all opening balances is below 2^89, far below the
// ledger's bound of 2^127-1.
const (
	MaxAccounts       = 1 << 26   // per bank
	MaxClusters       = 1024      // per bank
	MaxOpeningBalance = 1<<63 - 1 // minor units per account: the largest integer of TOML
)

// Validate reports every problem of the topology, one line each; nil if a bank can open with it.
func (t *Topology) Validate() error {
	if len(t.Clusters) == 0 {
		return errors.New("no cluster: a bank needs at least one")
	}
	var problems []error
	if len(t.Clusters) > MaxClusters {
		problems = append(problems, fmt.Errorf("%d clusters: at most %d per bank", len(t.Clusters), MaxClusters))
	}
	problems = append(problems, t.checkShards()...)
	problems = append(problems, t.checkRanges()...)
	problems = append(problems, t.checkServers()...)
	if n := t.accounts(); n.Cmp(big.NewInt(MaxAccounts)) > 0 {
		problems = append(problems, fmt.Errorf("%s accounts: at most %d per bank", n, MaxAccounts))
	}
	if t.OpeningBalance > MaxOpeningBalance {
		problems = append(problems, fmt.Errorf("opening balance %d: at most %d per account", t.OpeningBalance, uint64(MaxOpeningBalance)))
	}
	return errors.Join(problems...)
}

// checkShards finds shard numbers that are zero or used twice.
func (t *Topology) checkShards() []error {
	var problems []error
	seen := map[ID]bool{}
	for i := range t.Clusters {
		switch id := t.Clusters[i].Shard; {
		case id == 0:
			problems = append(problems, fmt.Errorf("cluster %d: shard number must be 1 or more", i+1))
		case seen[id]:
			problems = append(problems, fmt.Errorf("shard %d: more than one cluster has this number", id))
		default:
			seen[id] = true
		}
	}
	return problems
}

// checkRanges finds empty ranges, overlaps and gaps, in account order.
func (t *Topology) checkRanges() []error {
	var problems []error
	var sorted []Assignment
	for i := range t.Clusters {
		c := &t.Clusters[i]
		switch r := c.Range; {
		case r.First == 0:
			problems = append(problems, fmt.Errorf("%s: accounts %s: account numbers start at 1", c.Shard, r))
		case r.Last < r.First:
			problems = append(problems, fmt.Errorf("%s: accounts %s: the range is reversed", c.Shard, r))
		case r.Last >= EquityBase:
			problems = append(problems, fmt.Errorf("%s: accounts %s: numbers from %d belong to the bank itself", c.Shard, r, EquityBase))
		default:
			sorted = append(sorted, Assignment{Shard: c.Shard, Range: r})
		}
	}
	slices.SortStableFunc(sorted, func(a, b Assignment) int {
		switch {
		case a.Range.First < b.Range.First:
			return -1
		case a.Range.First > b.Range.First:
			return 1
		}
		return int(a.Shard) - int(b.Shard)
	})
	for i := 1; i < len(sorted); i++ {
		// last is the part before that reaches furthest: ranges may lie inside others.
		last := slices.MaxFunc(sorted[:i], func(a, b Assignment) int {
			if a.Range.Last < b.Range.Last {
				return -1
			}
			return 1
		})
		p := sorted[i]
		switch {
		case p.Range.First <= last.Range.Last:
			problems = append(problems, fmt.Errorf("accounts %s belong to both %s and %s",
				Range{p.Range.First, min(p.Range.Last, last.Range.Last)}, last.Shard, p.Shard))
		case p.Range.First > last.Range.Last+1:
			problems = append(problems, fmt.Errorf("accounts %s belong to no cluster: %s ends at %d, %s begins at %d",
				Range{last.Range.Last + 1, p.Range.First - 1}, last.Shard, last.Range.Last, p.Shard, p.Range.First))
		}
	}
	return problems
}

// checkServers finds wrong numbers of replicas, ids or addresses used twice, and bad addresses.
func (t *Topology) checkServers() []error {
	var problems []error
	ids := map[ServerID]ID{}
	addrs := map[string]ServerID{}
	for i := range t.Clusters {
		c := &t.Clusters[i]
		if n := len(c.Servers); n != 1 && n != 3 && n != 5 {
			problems = append(problems, fmt.Errorf("%s has %d servers: a cluster has 1, 3 or 5", c.Shard, n))
		}
		for _, s := range c.Servers {
			switch other, taken := ids[s.ID]; {
			case s.ID == 0:
				problems = append(problems, fmt.Errorf("%s: server id must be 1 or more", c.Shard))
			case taken && other == c.Shard:
				problems = append(problems, fmt.Errorf("server %d stands twice in %s", s.ID, c.Shard))
			case taken:
				problems = append(problems, fmt.Errorf("server %d stands in both %s and %s", s.ID, other, c.Shard))
			default:
				ids[s.ID] = c.Shard
			}
			key, err := canonicalAddr(s.Addr)
			if err != nil {
				problems = append(problems, fmt.Errorf("server %d of %s: %w", s.ID, c.Shard, err))
				continue
			}
			if other, taken := addrs[key]; taken && other != s.ID {
				problems = append(problems, fmt.Errorf("servers %d and %d have the same address %s", other, s.ID, s.Addr))
				continue
			}
			addrs[key] = s.ID
		}
	}
	return problems
}

// canonicalAddr checks host:port and returns it in a form under which equal addresses are equal.
func canonicalAddr(addr string) (string, error) {
	bad := func(why string) (string, error) {
		return "", fmt.Errorf("address %q: %s; want host:port, for example 127.0.0.1:9001", addr, why)
	}
	colon := strings.LastIndexByte(addr, ':')
	if addr == "" {
		return bad("empty")
	}
	if colon < 0 {
		return bad("no port")
	}
	host, port := addr[:colon], addr[colon+1:]
	bracketed := strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
	switch {
	case host == "" || host == "[]":
		return bad("no host")
	case strings.ContainsAny(host, " \t/@"):
		return bad("not a host name")
	case !bracketed && strings.ContainsAny(host, ":[]"):
		return bad("an IPv6 host stands in brackets")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return bad("port must be a number from 1 to 65535")
	}
	host = strings.ToLower(host)
	if host == "localhost" || host == "[::1]" {
		host = "127.0.0.1"
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}
