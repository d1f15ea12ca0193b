package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"raftbank/internal/shard"
)

// Faults makes and heals faults of the demo's own servers. Every method waits for what follows and
// returns it as text.
type Faults interface {
	// Kill ends server n as kill -9 does.
	Kill(ctx context.Context, n int) (string, error)
	// Restart starts a server that does not run.
	Restart(ctx context.Context, n int) (string, error)
	// Pause stops server n in its tracks.
	Pause(ctx context.Context, n int) (string, error)
	// Resume lets a paused server go on.
	Resume(ctx context.Context, n int) (string, error)
	// Partition cuts the network between groups of servers; one that no group names sees all.
	Partition(ctx context.Context, groups [][]int) (string, error)
	// Leader returns who leads a cluster.
	Leader(ctx context.Context, id shard.ID) (int, error)
	// Servers returns a cluster's servers that are in a state, in order.
	Servers(id shard.ID, in serverState) ([]int, error)
	// Heal ends every partition.
	Heal(ctx context.Context) (string, error)
	// CrashClient kills a coordinator at a crash point of docs/PROTOCOL.md, section 11; args are
	// the transfer's accounts and amount, or nothing.
	CrashClient(ctx context.Context, point int, args []string) (string, error)
}

// serverState is what the demo has made of a server's process.
type serverState int

const (
	serverAny serverState = iota
	serverDead
	serverPaused
)

// The crash points of docs/PROTOCOL.md, section 11. 1 to 6 are deaths of one client; the last three
// need more: a late copy, a second incarnation, a liar.
const (
	crashAfterNo    = 6
	crashLateCopy   = 7
	crashTwoClients = 8
	crashLiar       = 9
)

// hostCommands are the commands of server, client and demo.
func hostCommands(a *App) []*cobra.Command {
	return []*cobra.Command{newServerCmd(a), newClientCmd(a), newDemoCmd(a)}
}

// faultAnswer is a fault in JSON.
type faultAnswer struct {
	Fault string   `json:"fault"`
	Args  []string `json:"args,omitempty"`
	Text  string   `json:"text"`
}

// runFault runs a fault command and returns its exit code.
func (a *App) runFault(ctx context.Context, l shellLine) int {
	if a.Faults == nil {
		return a.report(usageError("%s works in the demo alone, on the servers that the demo started", l.command.name).
			hint("start it with: raftbank demo"))
	}
	text, err := callFault(ctx, a.Faults, l)
	if err != nil {
		return a.report(err)
	}
	answer := faultAnswer{Fault: strings.ToLower(l.command.name), Args: l.args, Text: text}
	return a.report(a.print(answer, func(w io.Writer) { _, _ = fmt.Fprintln(w, text) }))
}

// callFault parses the arguments and calls the fault.
func callFault(ctx context.Context, f Faults, l shellLine) (string, error) {
	switch l.command.name {
	case "Kill":
		return callOnLeader(ctx, f, l, f.Kill)
	case "Pause":
		return callOnLeader(ctx, f, l, f.Pause)
	case "Restart":
		return callOnAll(ctx, f, l, serverDead, f.Restart)
	case "Resume":
		return callOnAll(ctx, f, l, serverPaused, f.Resume)
	case "Partition":
		groups, err := partitionGroups(ctx, f, l.args)
		if err != nil {
			return "", err
		}
		return f.Partition(ctx, groups)
	case "Heal":
		return f.Heal(ctx)
	case "CrashClient":
		point, args, err := parseCrash(l.args)
		if err != nil {
			return "", err
		}
		return f.CrashClient(ctx, point, args)
	}
	panic("unreachable: fault " + l.command.name)
}

// callOnLeader makes a fault of the server that the line names; of a cluster that is its leader.
func callOnLeader(ctx context.Context, f Faults, l shellLine, call func(context.Context, int) (string, error)) (string, error) {
	t, err := parseTarget(l.args)
	if err != nil {
		return "", asExit(err).hint("for example: %s 2, or %s C1", l.command.name, l.command.name)
	}
	if t.cluster != 0 {
		if t.server, err = f.Leader(ctx, t.cluster); err != nil {
			return "", err
		}
	}
	return call(ctx, t.server)
}

// callOnAll brings back the server that the line names; of a cluster all that are in the state.
func callOnAll(ctx context.Context, f Faults, l shellLine, in serverState, call func(context.Context, int) (string, error)) (string, error) {
	t, err := parseTarget(l.args)
	if err != nil {
		return "", asExit(err).hint("for example: %s 2, or %s C1", l.command.name, l.command.name)
	}
	if t.cluster == 0 {
		return call(ctx, t.server)
	}
	servers, err := f.Servers(t.cluster, in)
	if err != nil {
		return "", err
	}
	if len(servers) == 0 {
		return "", failure(codeRefused, "%s: nothing to do for %s", l.command.name, t.cluster)
	}
	var texts []string
	for _, n := range servers {
		text, err := call(ctx, n)
		if err != nil {
			return "", err
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "\n"), nil
}

// partitionGroups reads "1,2|3", or "C1": its leader against the rest of the cluster.
func partitionGroups(ctx context.Context, f Faults, args []string) ([][]int, error) {
	t, err := parseTarget(args)
	if err != nil || t.cluster == 0 {
		return parseGroups(strings.Join(args, " "))
	}
	leader, err := f.Leader(ctx, t.cluster)
	if err != nil {
		return nil, err
	}
	all, err := f.Servers(t.cluster, serverAny)
	if err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(all, func(n int) bool { return n == leader })
	if len(rest) == 0 {
		return nil, failure(codeRefused, "%s has one server: there is nothing to cut", t.cluster)
	}
	return [][]int{{leader}, rest}, nil
}

// parseCrash reads POINT [X Y AMT].
func parseCrash(args []string) (point int, transfer []string, err error) {
	const example = "for example: CrashClient 4 7 2007 1"
	if len(args) != 1 && len(args) != 4 {
		return 0, nil, usageError("want POINT or POINT X Y AMT, got %d arguments", len(args)).hint(example)
	}
	point, err = strconv.Atoi(args[0])
	if err != nil || point < 1 || point > crashLiar {
		return 0, nil, usageError("crash point is 1 to %d: %q", crashLiar, args[0]).hint(example)
	}
	return point, args[1:], nil
}
