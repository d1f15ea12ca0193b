package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// demoKilled is the cluster whose leader the demo kills.
const demoKilled = shard.ID(1)

// runActs starts the bank and shows the acts.
func (d *demo) runActs(ctx context.Context) error {
	if !d.args.Acts {
		return d.actStart(ctx, "\nStart")
	}
	acts := []struct {
		title string
		run   func(context.Context, string) error
	}{
		{"Start", d.actStart},
		{"Three transfers, step by step", d.actTransfers},
		{"FileTransfer " + transactionsFile, d.actFile},
		{"kill -9 the leader of " + demoKilled.String() + " while transfers run", d.actKillLeader},
		{"Kill the coordinator after every shard voted YES, before it told them so", d.actCrash},
		{"PrintDatastore 3", d.actDatastore},
		{"Check", d.actCheck},
	}
	for i, act := range acts {
		heading := fmt.Sprintf("\n[%d/%d] %s", i+1, len(acts), act.title)
		if err := act.run(ctx, heading); err != nil {
			return err
		}
	}
	d.printf("\nDone in %.1f s. Try:  Kill 5   Partition 4|5,6   CrashClient 2   help\n", time.Since(d.begin).Seconds())
	d.printf("and follow the transfer of the killed client:  Explain %s\n", d.report.crashed)
	return nil
}

// heading prints an act's heading, with a remark at the right if there is one.
func (d *demo) heading(title, remark string) {
	lead, title, _ := strings.Cut(title, "\n")
	line := title
	if remark != "" {
		line = fmt.Sprintf("%-78s%s", title, remark)
	}
	d.printf("%s\n%s\n", lead, d.bold(line))
}

// actStart starts the servers and shows who leads.
func (d *demo) actStart(ctx context.Context, title string) error {
	begin := time.Now()
	status, err := d.bank.startAll(ctx)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	d.report.StartMs = took.Milliseconds()
	d.heading(title, fmt.Sprintf("%.1f s", took.Seconds()))
	for _, c := range status.Shards {
		line := fmt.Sprintf("  %s  accounts %9s  ", c.Cluster, c.First+"-"+c.Last)
		for i, s := range c.Servers {
			word := ""
			if i == 0 {
				word = "server "
			}
			role := s.Role
			if role == "leader" {
				role = "LEADER"
			}
			line += fmt.Sprintf(" %s%d %-10s", word, s.Server, role)
		}
		d.printf("%sterm %d\n", line, c.LeadingServer().Term)
	}
	return nil
}

// actTransfers shows one transfer inside a shard, one across shards, and one that is refused.
func (d *demo) actTransfers(ctx context.Context, title string) error {
	d.heading(title, "")
	for _, t := range []struct {
		from, to, amount uint64
		remark           string
	}{
		{1, 2, 1, "same shard: one Raft entry"},
		{3, 1003, 4, "two shards: two-phase commit, the client coordinates"},
		{5, 6, 99, "more than there is"},
	} {
		if err := d.showTransfer(ctx, t.from, t.to, t.amount, t.remark); err != nil {
			return err
		}
	}
	return nil
}

// showTransfer carries out one transfer and prints its steps and what it moved.
func (d *demo) showTransfer(ctx context.Context, from, to, amount uint64, remark string) error {
	accounts := []shard.Account{shard.Account(from), shard.Account(to)}
	before, err := d.balances(ctx, accounts)
	if err != nil {
		return err
	}
	d.printf("  %-24s %s\n", fmt.Sprintf("> Transfer %d %d %d", from, to, amount), remark)
	r, err := d.bank.client.Transfer(ctx, client.Transfer{ID: client.NewID(), From: accounts[0], To: accounts[1], Amount: ledger.Units(amount)})
	if err != nil {
		return err
	}
	d.app.Recorder.Observe(r)
	after, err := d.balances(ctx, accounts)
	if err != nil {
		return err
	}
	d.showSteps(r)
	moved := ""
	for i, a := range accounts {
		moved += fmt.Sprintf("   %s: %s -> %s", a, before[i], after[i])
	}
	at := fmt.Sprintf("  %8.2f ms  ", r.Latency.Seconds()*1000)
	switch r.Outcome {
	case client.Committed:
		d.printf("%s%-36s%s\n", at, "COMMITTED "+kindName(r.Kind), moved)
		return d.showLog(ctx, r.Transfer.ID)
	case client.Aborted:
		d.printf("%sABORTED %s: %s. Nothing moved\n", at, strings.ReplaceAll(r.Reason.String(), "_", " "),
			reasonSentence(d.app.Topology, r))
		if before[0] != after[0] || before[1] != after[1] {
			d.fail("a refused transfer moved money: %s", moved)
		}
	default:
		d.fail("transfer %s is %s on a bank without faults: %s", r.Transfer.ID, outcomeName(r.Outcome), r.Detail)
	}
	return nil
}

// showSteps prints what the client saw, the outcome excepted, which follows.
func (d *demo) showSteps(r client.Result) {
	for i, s := range r.Steps {
		if i == len(r.Steps)-1 && s.Actor == "client" {
			continue
		}
		text := s.Text
		if s.Actor == "client" {
			text = "-> " + text
		}
		if r.Kind == client.Intra { // nobody votes where one shard decides
			text = strings.Replace(text, "voted NO", "refused", 1)
		}
		d.printf("  %8.2f ms  %-7s  %s\n", s.At.Seconds()*1000, s.Actor, strings.ReplaceAll(text, "_", " "))
	}
}

// showLog prints where a transfer stands in the logs, once all replicas that run have applied it.
func (d *demo) showLog(ctx context.Context, id client.ID) error {
	ctx, cancel := context.WithTimeout(ctx, demoFollowWait)
	defer cancel()
	for {
		e, err := d.bank.client.Explain(ctx, id)
		if err != nil {
			return err
		}
		if everywhere(e, d.app.Topology) {
			for _, line := range logLines(e) {
				d.printf("              %s\n", line)
			}
			return nil
		}
		select {
		case <-time.After(demoPoll):
		case <-ctx.Done():
			return fmt.Errorf("transfer %s does not reach every replica: %w", id, ctx.Err())
		}
	}
}

// everywhere reports whether all replicas of the transfer's shards have applied its end.
func everywhere(e api.Explain, t *shard.Topology) bool {
	if e.Outcome != api.OutcomeCommitted && e.Outcome != api.OutcomeAborted {
		return false
	}
	for _, ev := range e.Events {
		for _, c := range t.Clusters {
			if c.Shard.String() == ev.Cluster && len(ev.Servers) < len(c.Servers) {
				return false
			}
		}
	}
	for _, s := range e.Servers {
		if s.State == "prepared" {
			return false
		}
	}
	return len(e.Events) > 0
}

// logLines says per cluster at which index the entries of a transfer stand, and where.
func logLines(e api.Explain) []string {
	type place struct {
		entries []string
		servers []int
	}
	places := map[string]*place{}
	var order []string
	for _, ev := range e.Events {
		p := places[ev.Cluster]
		if p == nil {
			p = &place{}
			places[ev.Cluster] = p
			order = append(order, ev.Cluster)
		}
		p.entries = append(p.entries, fmt.Sprintf("%s at index %d", ev.Kind, ev.Index))
		p.servers = ev.Servers
	}
	slices.Sort(order)
	var lines []string
	for _, cluster := range order {
		p := places[cluster]
		lines = append(lines, fmt.Sprintf("%-7s  log: %s, on servers %s", cluster, strings.Join(p.entries, ", "), numbers(p.servers)))
	}
	return lines
}

func (d *demo) balances(ctx context.Context, accounts []shard.Account) ([]string, error) {
	var all []string
	for _, a := range accounts {
		b, err := d.bank.client.Balance(ctx, a)
		if err != nil {
			return nil, err
		}
		all = append(all, b.Balance)
	}
	return all, nil
}

// actFile runs a file of transfers, as FileTransfer does.
func (d *demo) actFile(ctx context.Context, title string) error {
	a := *d.app
	var out, notes bytes.Buffer
	a.Out, a.Err, a.Format = &out, &notes, FormatJSON
	failed := a.runFileTransfer(ctx, fileTransferArgs{File: filepath.Join(d.bank.dir, transactionsFile)})
	var f api.FileTransfer
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return fmt.Errorf("file transfer: %w (%v)", err, failed)
	}
	d.report.File = &f
	d.heading(title, "")
	d.printf("  %s lines, batch %s\n", thousands(fmt.Sprint(f.Total)), f.Batch)
	d.printf("           committed  aborted  unknown       mean        p50        p95        p99\n")
	for _, k := range f.Kinds {
		if k.Kind == kindRefused {
			continue
		}
		l := k.LatencyUs
		d.printf("  %-7s %10s %8s %8s", k.Kind, thousands(fmt.Sprint(k.Committed)), thousands(fmt.Sprint(sum(k.Aborted))), thousands(fmt.Sprint(k.Unknown)))
		for _, us := range []float64{l.Mean, float64(l.P50), float64(l.P95), float64(l.P99)} {
			d.printf(" %7.1f ms", us/1000)
		}
		d.printf("\n")
	}
	d.printf("%s", indent(reasonsLine(f.Aborted)))
	d.printf("  %s in %.2f s, %s per second (closed loop, %d at once)\n", thousands(fmt.Sprint(f.Total)),
		float64(f.ElapsedMs)/1000, thousands(fmt.Sprintf("%.0f", f.TPS)), defaultConcurrency)
	if failed != nil {
		d.fail("%s: %v", transactionsFile, failed)
	}
	return ctx.Err()
}

// indent moves every line of a text two columns to the right.
func indent(text string) string {
	if text == "" {
		return ""
	}
	return "  " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n  ") + "\n"
}

// actCrash kills a coordinator between the votes and the first FINISH.
func (d *demo) actCrash(ctx context.Context, title string) error {
	d.heading(title, "")
	d.printf("  > CrashClient 4 7 2007 5\n")
	c, err := d.bank.crashClient(ctx, 4, []string{"7", "2007", "5"})
	if err != nil {
		return err
	}
	d.report.crashed, d.report.RecoveryMs = c.id.String(), c.took.Milliseconds()
	told := "Nobody was told the outcome"
	if c.said != "" {
		told = "Its user was told " + strings.ToUpper(c.said) + ", the shards were not"
	}
	d.printf("  0.00 s  client process killed. %s\n", told)
	d.printf("          left behind: %s (textbook two-phase commit blocks here)\n", describeShards(c.left))
	d.printf("  %.2f s  the shards asked each other: %s\n", c.took.Seconds(), describeShards(c.settled))
	d.printf("          %s. No operator, no blocking\n", strings.ToUpper(c.settled.Outcome))
	if c.settled.Outcome != api.OutcomeCommitted {
		d.fail("transfer %s had every YES and ended %s", c.id, c.settled.Outcome)
	}
	return nil
}

// actDatastore shows the newest rows of one server.
func (d *demo) actDatastore(ctx context.Context, title string) error {
	const server, rows = 3, 3
	all, err := d.bank.client.Datastore(ctx, server, api.DatastoreQuery{Limit: rows})
	if err != nil {
		return err
	}
	for _, s := range all.Servers {
		if s.Server != server {
			continue
		}
		d.heading(title, "")
		d.printf("  the last %d of %s rows that server %d has committed; all nine: PrintDatastore\n",
			len(s.Entries), thousands(fmt.Sprint(s.Total)), server)
		d.printf("   %7s  %4s  %-10s %-26s %6s %6s  %6s  %s\n", "index", "term", "kind", "id", "from", "to", "amount", "outcome")
		for _, e := range s.Entries {
			d.printf("   %7s  %4d  %-10s %-26s %6s %6s  %6s  %s\n", thousands(fmt.Sprint(e.Index)), e.Term, e.Kind, e.ID, e.From, e.To, e.Amount,
				strings.TrimSpace(e.Outcome+" "+strings.ReplaceAll(e.Reason, "_", " ")))
		}
	}
	return nil
}

// actCheck compares all replicas and adds up all money.
func (d *demo) actCheck(ctx context.Context, title string) error {
	check, err := d.bank.client.CheckConservation(ctx)
	if err != nil {
		return err
	}
	d.report.Check = &check
	d.heading(title, "")
	replicas, verdict := 0, "NOT COMPARABLE: "+check.Note
	for _, s := range check.Shards {
		for _, r := range s.Servers {
			if r.Up {
				replicas++
			}
		}
	}
	hashes := "equal hashes in each cluster"
	for _, s := range check.Shards {
		if s.HashesOK == nil || !*s.HashesOK {
			hashes = "hashes of " + s.Cluster + " not shown to be equal: " + s.Note
		}
	}
	ok := check.OK != nil && *check.OK && replicas == len(d.app.Topology.Servers())
	switch {
	case ok:
		verdict = d.bold("OK")
	case check.OK != nil:
		verdict = "VIOLATION"
	}
	d.printf("  total %s of %s   in flight %d   %d replicas, %s   %s\n", thousands(check.Total), thousands(check.Expected),
		check.InFlight, replicas, hashes, verdict)
	if !ok {
		d.fail("the final check is not OK: %s %s", verdict, check.Note)
	}
	return nil
}
