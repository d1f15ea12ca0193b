package client

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"raftbank/internal/api"
	"raftbank/internal/session"
)

// phaseAudit names an audit in errors.
const phaseAudit = "audit"

// Audit adds up the whole bank at one cut through all clusters' logs while transfers run
// (docs/PROTOCOL.md, section 9): everything that was acknowledged, or seen by a finished read, before the call
// is in the total; nothing is that begins after it; and no transfer is in it by half. For about one round trip every
// cluster withholds its answers. A number that proves nothing (a cluster lost patience) is tried again with the
// next one, for up to 10 s or until ctx ends.
//
// OK is false only if a total was taken at one cut and is not what was opened. It is nil if no cut could be had;
// Error says what kept it from coming about.
// Errors: ErrClosed.
func (c *Client) Audit(ctx context.Context) (api.Audit, error) {
	start := time.Now()
	r, err := c.do(ctx, &call{kind: callAudit})
	if err != nil {
		return api.Audit{}, err
	}
	var out api.Audit
	if r.Audit != nil {
		out = judgeAudit(r.Audit)
	} else {
		out = api.Audit{Error: c.noCut(ctx, &r)}
	}
	if out.Shards == nil {
		out.Shards = []api.ShardAudit{}
	}
	out.DurationUs = time.Since(start).Microseconds()
	return out, nil
}

// noCut says why an audit came to nothing, and what to do.
func (c *Client) noCut(ctx context.Context, r *session.Result) *api.Error {
	e := c.unavailable(r, phaseAudit)
	what := "no cut could be had: "
	if ctx.Err() != nil {
		what = "the audit was given up before its end: "
	}
	e.Message = what + e.Message
	if e.Hint == "" {
		e.Hint = "who leads, who is down: raftbank status"
	}
	return e
}

// judgeAudit adds up the clusters' parts.
func judgeAudit(a *session.Audit) api.Audit {
	out := api.Audit{Epoch: a.Number, Retries: a.Retries}
	total, posted, opened := new(big.Int), new(big.Int), new(big.Int)
	for _, body := range a.Parts {
		var s api.ShardAudit
		if err := json.Unmarshal(body, &s); err != nil {
			out.Error = &api.Error{Code: codeInternal, Phase: phaseAudit, Message: fmt.Sprintf("a cluster's part of the audit is no JSON: %v", err)}
			return out
		}
		out.Shards = append(out.Shards, s)
		out.Accounts += s.Accounts
		out.Unfinished += s.Unfinished
		for sum, text := range map[*big.Int]string{total: s.Total, posted: s.Posted, opened: s.Opened} {
			if n, ok := new(big.Int).SetString(text, 10); ok {
				sum.Add(sum, n)
				continue
			}
			out.Error = &api.Error{
				Code: codeInternal, Phase: phaseAudit, Shard: s.Shard,
				Message: fmt.Sprintf("%s's part of the audit holds %q, which is no number", s.Cluster, text),
			}
			return out
		}
	}
	ok := total.Cmp(opened) == 0
	out.OK, out.Total, out.Expected, out.Posted = &ok, total.String(), opened.String(), posted.String()
	out.InFlight = new(big.Int).Sub(total, posted).String()
	if !ok {
		out.Error = &api.Error{
			Code: "violation", Phase: phaseAudit,
			Message: fmt.Sprintf("the total at cut %d is %s, opened were %s", a.Number, total, opened),
		}
	}
	return out
}
