package client

import (
	"fmt"
	"strings"

	"raftbank/internal/api"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Codes of api.Error.
const (
	codeUsage       = "usage"
	codeRefused     = "refused"
	codeUnavailable = "unavailable"
	codeUnknown     = "unknown"
	codeInternal    = "internal"
)

// unavailable says that a cluster or a server did not answer a question, and what to do.
func (c *Client) unavailable(r *session.Result, phase string) *api.Error {
	e := &api.Error{Code: codeUnavailable, Message: r.Detail, Shard: int(r.Shard), Phase: phase, Retryable: true}
	if strings.HasPrefix(r.Detail, "no server of ") {
		e.Hint = c.startHint(r.Shard)
	}
	return e
}

// startHint says how to start the first server of a cluster.
func (c *Client) startHint(id shard.ID) string {
	cluster := c.o.Topology.Cluster(id)
	if cluster == nil || len(cluster.Servers) == 0 {
		return ""
	}
	s := cluster.Servers[0]
	port := s.Addr[strings.LastIndexByte(s.Addr, ':')+1:]
	return fmt.Sprintf("start one: raftbank server %s %s, or try: raftbank demo", s.ID, port)
}

// silentCluster says that no server of a cluster answers.
func (c *Client) silentCluster(cluster *shard.Cluster, phase string) *api.Error {
	host, list := "", make([]string, len(cluster.Servers))
	for i, s := range cluster.Servers {
		cut := strings.LastIndexByte(s.Addr, ':')
		list[i] = s.Addr
		if cut >= 0 && s.Addr[:cut] == host {
			list[i] = s.Addr[cut+1:]
		}
		host = s.Addr[:max(cut, 0)]
	}
	return &api.Error{
		Code: codeUnavailable, Shard: int(cluster.Shard), Phase: phase, Retryable: true,
		Message: fmt.Sprintf("no server of %s answers (%s)", cluster.Shard, strings.Join(list, ", ")),
		Hint:    c.startHint(cluster.Shard),
	}
}

// noAccount says that the bank does not hold an account.
func (c *Client) noAccount(a Account) *api.Error {
	return &api.Error{
		Code: codeRefused, Phase: "route",
		Message: fmt.Sprintf("account %s does not exist: this bank holds %s", a, c.o.Topology.Accounts()),
	}
}

// refusal turns a status other than OK into an error.
func refusal(r *session.Result, phase string) *api.Error {
	e := &api.Error{Phase: phase, Shard: int(r.Shard)}
	from := fmt.Sprintf("server %s", r.Server)
	switch r.Reply.Status {
	case wire.StatusBadRequest:
		e.Code, e.Message = codeRefused, from+" refuses: "+r.Reply.Text
	case wire.StatusWrongShard:
		e.Code, e.Message = codeUsage, from+" has another configuration: "+r.Reply.Text
		e.Hint = "raftbank config"
	case wire.StatusNotLeader:
		e.Code, e.Message, e.Retryable = codeUnavailable, from+" does not lead", true
	default:
		e.Code, e.Message, e.Retryable = codeUnavailable, from+" does not serve: "+r.Reply.Text, true
	}
	return e
}
