package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
)

// crash is what a coordinator that died left behind, and what became of it.
type crash struct {
	id               client.ID
	from, to, amount string
	point            int
	said             string // the outcome that it had told before it died, or ""
	// left is what the shards held right after the death, settled is how it ended.
	left, settled api.Explain
	took          time.Duration
	// second is what came of the late copy (point 7) or of the second incarnation (point 8).
	second string
}

// crashWhere says where in the protocol each crash point lies.
func crashWhere(point int) string {
	return map[int]string{
		1: "before sending anything",
		2: "after some PREPAREs",
		3: "after all PREPAREs, before any reply",
		4: "after every shard voted YES, before any FINISH",
		5: "after some FINISH",
		6: "after one NO",
		7: "after one PREPARE, with a copy of the other still on its way",
		8: "after all PREPAREs, while a second incarnation runs",
	}[point]
}

// CrashClient kills a coordinator at a crash point and returns how the bank settled its transfer.
func (b *demoBank) CrashClient(ctx context.Context, point int, args []string) (string, error) {
	if point == crashLiar {
		return b.lie(ctx, args)
	}
	c, err := b.crashClient(ctx, point, args)
	if err != nil {
		return "", err
	}
	var t strings.Builder
	fmt.Fprintf(&t, "client killed %s. Transfer %s: %s -> %s, %s\n", crashWhere(point), c.id, c.from, c.to, c.amount)
	if c.said != "" {
		fmt.Fprintf(&t, "  it had said: %s\n", strings.ToUpper(c.said))
	}
	fmt.Fprintf(&t, "  it left:     %s\n", describeShards(c.left))
	if prepared(c.left) {
		fmt.Fprintf(&t, "  after %s:  %s\n", roughly(c.took), describeShards(c.settled))
	}
	if c.second != "" {
		fmt.Fprintf(&t, "  %s\n", c.second)
	}
	switch c.settled.Outcome {
	case "not-found":
		fmt.Fprintf(&t, "  nothing had happened, nothing is held")
	default:
		fmt.Fprintf(&t, "  %s. No operator, nothing blocked", strings.ToUpper(c.settled.Outcome))
	}
	return t.String(), nil
}

// crashClient runs a transfer in a process that dies at the crash point, and waits until no shard
// holds anything for it.
func (b *demoBank) crashClient(ctx context.Context, point int, args []string) (*crash, error) {
	c := &crash{id: client.NewID(), point: point}
	c.from, c.to, c.amount = b.crashTransfer(args)
	if point == crashAfterNo && len(args) == 0 {
		c.amount = "1000000" // a NO needs more than the account has
	}
	second := func() error { return nil }
	if point == crashTwoClients {
		second = b.startSecond(ctx, c)
	}
	if err := errors.Join(b.runCrash(ctx, c), second()); err != nil {
		return nil, err
	}
	begin := time.Now()
	left, err := b.client.Explain(ctx, c.id)
	if err != nil {
		return nil, asExit(err)
	}
	c.left, c.settled = left, left
	bound, cancel := context.WithTimeout(ctx, demoFollowWait)
	defer cancel()
	for !b.settled(c, time.Since(begin)) {
		select {
		case <-bound.Done():
			return nil, failure(codeUnknown, "transfer %s is not settled after %s: %s", c.id, demoFollowWait, describeShards(c.settled)).
				hint("Explain %s, or Resolve %s", c.id, c.id)
		case <-time.After(demoPoll):
		}
		if now, err := b.client.Explain(bound, c.id); err == nil {
			c.settled = now
		}
		if prepared(c.settled) && !prepared(c.left) {
			c.left = c.settled // its frames were still on their way
		}
	}
	c.took = time.Since(begin)
	if point == crashLateCopy {
		return c, b.deliverLate(ctx, c)
	}
	return c, nil
}

// crashUnseen is how long a transfer that no shard knows may still be on its way.
const crashUnseen = 500 * time.Millisecond

func (b *demoBank) settled(c *crash, since time.Duration) bool {
	if prepared(c.settled) {
		return false
	}
	return c.settled.Outcome != "not-found" || since > crashUnseen
}

// runCrash runs the child to its death.
func (b *demoBank) runCrash(ctx context.Context, c *crash) error {
	ctx, cancel := context.WithTimeout(ctx, demoFollowWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.sup.executable, "transfer", c.from, c.to, c.amount,
		"--id", c.id.String(), "--crash-point", fmt.Sprint(c.point), "--config", b.config, "-o", "json")
	cmd.Env = b.sup.env
	setProcessGroup(cmd)
	out, err := cmd.Output()
	var t api.Transfer
	said := strings.TrimSpace(string(out))
	if json.Unmarshal(out, &t) == nil {
		if said = t.Outcome; t.Error != nil {
			said += ": " + t.Error.Message
		}
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return failure(codeInternal, "the client did not reach crash point %d within %s", c.point, demoFollowWait)
	case err == nil:
		return failure(codeRefused, "the client ended well before crash point %d: %s", c.point, said).
			hint("crash points are for transfers between two shards, for example: CrashClient 4 7 2007 1")
	case !errors.As(err, &exit):
		return failure(codeInternal, "run the client: %v", err)
	case exit.ExitCode() >= 0 && exit.ExitCode() <= exitViolation:
		return failure(codeRefused, "the client failed before crash point %d: %s", c.point, said)
	}
	c.said = t.Outcome
	return nil
}

// prepared reports whether any shard still holds something for the transfer.
func prepared(e api.Explain) bool {
	for _, s := range e.Servers {
		if s.State == "prepared" && s.Role == "leader" {
			return true
		}
	}
	return e.Outcome == "in-doubt"
}

// describeShards says what each shard's leader knows: "C1 prepared, C3 committed".
func describeShards(e api.Explain) string {
	var parts []string
	for _, s := range e.Servers {
		if s.Role != "leader" || s.State == "none" || s.State == "" {
			continue
		}
		text := fmt.Sprintf("%s %s", s.Cluster, s.State)
		if s.Reason != "" {
			text += " (" + strings.ReplaceAll(s.Reason, "_", " ") + ")"
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return "no shard knows of it"
	}
	return strings.Join(parts, ", ")
}
