package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime/debug"

	"raftbank/internal/sim"
)

// plantedWorkerFlag makes the command a worker: one job per line on its input, each the options of a run, one
// report per line on its output.
const plantedWorkerFlag = "planted-worker"

// simChild is a worker process of this program.
type simChild struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func (a *App) startSimChild(ctx context.Context) (*simChild, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, failure(codeInternal, "find this program: %v", err)
	}
	c := &simChild{cmd: exec.CommandContext(ctx, exe, "sim", "--"+plantedWorkerFlag)}
	c.cmd.Stderr = a.Err
	in, inErr := c.cmd.StdinPipe()
	out, outErr := c.cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr); err != nil {
		return nil, failure(codeInternal, "start a worker: %v", err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, failure(codeInternal, "start a worker: %v", err)
	}
	c.in, c.out = in, json.NewDecoder(out)
	return c, nil
}

// run lets the worker run one job.
func (c *simChild) run(o sim.Options) (*sim.Report, error) {
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		return nil, failure(codeInternal, "give a worker a job: %v", err)
	}
	var r sim.Report
	if err := c.out.Decode(&r); err != nil {
		return nil, failure(codeInternal, "a worker ended with %s: %v", o.Line(), err)
	}
	return &r, nil
}

// end ends the worker. What it has to say about its end does not matter any more: every job was answered.
func (c *simChild) end() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// simJobs is such a worker.
func (a *App) simJobs(ctx context.Context) error {
	debug.SetGCPercent(simGCPercent)
	lines := bufio.NewScanner(a.In)
	out := json.NewEncoder(a.Out)
	for lines.Scan() && ctx.Err() == nil {
		var o sim.Options
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return usageError("not a job: %v", err)
		}
		if err := o.Validate(); err != nil {
			return usageError("%v", err)
		}
		if err := out.Encode(sim.Run(o, nil)); err != nil {
			return failure(codeInternal, "write a report: %v", err)
		}
	}
	return nil // if it was interrupted, its parent says so
}
