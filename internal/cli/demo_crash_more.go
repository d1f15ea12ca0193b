package cli

import (
	"context"
	"fmt"
	"strings"

	"raftbank/client"
	"raftbank/internal/ledger"
)

// crashTransfer returns the transfer of a dying client: what was asked for, or one unit from the
// seventh account of the first shard to that of the last.
func (b *demoBank) crashTransfer(args []string) (from, to, amount string) {
	if len(args) == 3 {
		return args[0], args[1], args[2]
	}
	first, last := b.topology.Clusters[0].Range.First, b.topology.Clusters[len(b.topology.Clusters)-1].Range.First
	return (first + 6).String(), (last + 6).String(), "1"
}

// sameTransfer is the crash's transfer as a client of this process sends it.
func (b *demoBank) sameTransfer(c *crash) (client.Transfer, error) {
	r, err := parseRequest(c.from, c.to, c.amount)
	if err != nil {
		return client.Transfer{}, usageError("%v", err)
	}
	t, why := r.decide(b.topology)
	if why != nil {
		return client.Transfer{}, failure(codeRefused, "%s", reasonSentence(b.topology, why.result()))
	}
	t.ID = c.id
	return t, nil
}

// another opens a client that shares nothing with the demo's own.
func (b *demoBank) another() (*client.Client, error) {
	return client.Open(client.Options{Topology: b.topology})
}

// startSecond sends the same transfer under the same id from a second client, at the same time. The
// function that it returns waits for the answer.
func (b *demoBank) startSecond(ctx context.Context, c *crash) func() error {
	done := make(chan error, 1)
	go func() { done <- b.runSecond(ctx, c) }()
	return func() error { return <-done }
}

func (b *demoBank) runSecond(ctx context.Context, c *crash) error {
	t, err := b.sameTransfer(c)
	if err != nil {
		return err
	}
	second, err := b.another()
	if err != nil {
		return asExit(err)
	}
	defer func() { _ = second.Close() }()
	r, err := second.Transfer(ctx, t)
	if err != nil {
		return asExit(err)
	}
	c.second = "the second incarnation was told: " + strings.ToUpper(outcomeName(r.Outcome))
	return nil
}

// deliverLate delivers the copy of the PREPARE that the dead client's other shard never got.
func (b *demoBank) deliverLate(ctx context.Context, c *crash) error {
	t, err := b.sameTransfer(c)
	if err != nil {
		return err
	}
	late, err := b.another()
	if err != nil {
		return asExit(err)
	}
	defer func() { _ = late.Close() }()
	a, err := late.SendLatePrepare(ctx, t)
	if err != nil {
		return asExit(err)
	}
	c.second = fmt.Sprintf("the late PREPARE reaches %s now: %s", a.Shard, answerWords(a))
	return nil
}

// lie plays a client that breaks the protocol, and tells what the shards held before and after.
func (b *demoBank) lie(ctx context.Context, args []string) (string, error) {
	c := &crash{id: client.NewID(), point: crashLiar}
	c.from, c.to, c.amount = b.crashTransfer(args)
	t, err := b.sameTransfer(c)
	if err != nil {
		return "", err
	}
	liar, err := b.another()
	if err != nil {
		return "", asExit(err)
	}
	defer func() { _ = liar.Close() }()
	report, err := liar.Lie(ctx, t)
	if err != nil {
		return "", asExit(err)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "a client lies about transfer %s: %s -> %s, %s, two contents under one id\n", c.id, c.from, c.to, c.amount)
	fmt.Fprintf(&out, "  each shard voted on one:               %s\n", answersWords(report.Prepared))
	fmt.Fprintf(&out, "  forged FINISHes and a cancel changed:  %s\n", answersWords(report.After))
	r, err := liar.Resolve(ctx, c.id)
	if err != nil {
		return "", asExit(err)
	}
	fmt.Fprintf(&out, "  resolved:                              %s (%s). No money moved on a lie",
		strings.ToUpper(outcomeName(r.Outcome)), strings.ReplaceAll(r.Reason.String(), "_", " "))
	return out.String(), nil
}

func answersWords(as []client.ShardAnswer) string {
	words := make([]string, len(as))
	for i, a := range as {
		words[i] = a.Shard.String() + " " + answerWords(a)
	}
	return strings.Join(words, ", ")
}

// answerWords says what a shard holds: "prepared", "aborted (timed out)".
func answerWords(a client.ShardAnswer) string {
	switch {
	case a.Conflict:
		return "id conflict"
	case a.Reason != ledger.ReasonNone:
		return a.State.String() + " (" + strings.ReplaceAll(a.Reason.String(), "_", " ") + ")"
	}
	return a.State.String()
}
