package cli

import (
	"fmt"
	"strings"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// reasonSentence says why a transfer was aborted, with the numbers and what to do.
func reasonSentence(t *shard.Topology, r client.Result) string {
	asked := r.Transfer.Amount
	switch r.Reason {
	case ledger.ReasonInsufficientFunds:
		return fmt.Sprintf("account %s has %s available, %s asked", r.Account, r.Available, asked)
	case ledger.ReasonNoAccount:
		return noAccount(t, unknownAccount(t, r).String())
	case ledger.ReasonSameAccount:
		return fmt.Sprintf("account %s cannot pay itself", r.Transfer.From)
	case ledger.ReasonBadAmount:
		if asked.IsZero() {
			return "amount must be positive: 0"
		}
		return fmt.Sprintf("amount %s is larger than the largest, 2^127-1", asked)
	case ledger.ReasonOverflow:
		return fmt.Sprintf("account %s would exceed the largest balance, 2^127-1", r.Account)
	case ledger.ReasonAccountClosed:
		return fmt.Sprintf("account %s is closed", r.Account)
	case ledger.ReasonIDConflict:
		return "this id belongs to another transfer; use a new one"
	case ledger.ReasonCancelled:
		return "it was cancelled before every shard had voted"
	case ledger.ReasonTimedOut:
		return "it was given up before every shard had voted; try again with a new id"
	}
	return strings.ReplaceAll(r.Reason.String(), "_", " ")
}

// unknownAccount returns the account that a no_account refusal is about.
func unknownAccount(t *shard.Topology, r client.Result) shard.Account {
	if r.Account != 0 || t == nil {
		return r.Account
	}
	for _, account := range []shard.Account{r.Transfer.From, r.Transfer.To} {
		if _, ok := t.ShardOf(account); !ok {
			return account
		}
	}
	return r.Account
}

// noAccount says that no shard holds an account.
func noAccount(t *shard.Topology, account string) string {
	return fmt.Sprintf("account %s does not exist: this bank holds %s", account, t.Accounts())
}

// noServer says that no server of a cluster answers, and how to start one.
func noServer(t *shard.Topology, id shard.ID) *api.Error {
	e := &api.Error{
		Code: codeUnavailable, Shard: int(id), Retryable: true,
		Message: fmt.Sprintf("no server of %s answers", id),
	}
	c := t.Cluster(id)
	if c == nil || len(c.Servers) == 0 {
		return e
	}
	first := c.Servers[0]
	e.Message += " (" + strings.Join(shortAddrs(c), ", ") + ")"
	e.Hint = fmt.Sprintf("start one: raftbank server %s %s, or try: raftbank demo", first.ID, portOf(first.Addr))
	return e
}

// shortAddrs lists a cluster's addresses; one with the host of the one before shows its port alone.
func shortAddrs(c *shard.Cluster) []string {
	var list []string
	host := ""
	for _, s := range c.Servers {
		port := portOf(s.Addr)
		h := strings.TrimSuffix(s.Addr, ":"+port)
		if h == host {
			list = append(list, port)
		} else {
			list = append(list, s.Addr)
		}
		host = h
	}
	return list
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
