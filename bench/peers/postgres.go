package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"raftbank/internal/bench"
	"raftbank/internal/shard"
)

// postgresUser is the superuser that initdb makes.
const postgresUser = "bank"

// commonSettings are those of every server. Everything that makes an acknowledged commit durable keeps
// its default: fsync, full_page_writes and synchronous_commit are on.
var commonSettings = []string{
	"shared_buffers=512MB", "max_wal_size=8GB", "checkpoint_timeout=15min", "wal_buffers=64MB", "jit=off",
	"max_connections=400", "max_prepared_transactions=400", "listen_addresses=", "wal_compression=lz4", "random_page_cost=1.1",
}

// schema: a table of balances that leaves room for updates in place, the history with the id as its key,
// and the transfer as one function, which touches the accounts in their order so that two cannot
// deadlock.
//
// A batch writes its history, which holds up nobody, locks the rows of its accounts in their order, and then, if every payer could pay all of its transfers without
// what comes in, updates every account once: no transfer can be refused then, in whatever order. Else it takes them
// one by one, and returns the places of those it refused.
const schema = `
CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 30);
CREATE TABLE transfers (id uuid PRIMARY KEY, payer bigint NOT NULL, payee bigint NOT NULL, amount bigint NOT NULL);
CREATE FUNCTION withdraw(transfer_id uuid, from_account bigint, to_account bigint, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO transfers VALUES (transfer_id, from_account, to_account, amount);
  UPDATE accounts SET balance = balance - amount WHERE id = from_account AND balance >= amount;
  IF NOT FOUND THEN RAISE EXCEPTION 'insufficient funds' USING ERRCODE = 'RB001'; END IF;
END $$;
CREATE FUNCTION deposit(transfer_id uuid, from_account bigint, to_account bigint, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO transfers VALUES (transfer_id, from_account, to_account, amount);
  UPDATE accounts SET balance = balance + amount WHERE id = to_account;
END $$;
CREATE FUNCTION transfer(transfer_id uuid, from_account bigint, to_account bigint, amount bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO transfers VALUES (transfer_id, from_account, to_account, amount);
  IF from_account < to_account THEN
    UPDATE accounts SET balance = balance - amount WHERE id = from_account AND balance >= amount;
    IF NOT FOUND THEN RAISE EXCEPTION 'insufficient funds' USING ERRCODE = 'RB001'; END IF;
    UPDATE accounts SET balance = balance + amount WHERE id = to_account;
  ELSE
    UPDATE accounts SET balance = balance + amount WHERE id = to_account;
    UPDATE accounts SET balance = balance - amount WHERE id = from_account AND balance >= amount;
    IF NOT FOUND THEN RAISE EXCEPTION 'insufficient funds' USING ERRCODE = 'RB001'; END IF;
  END IF;
END $$;
CREATE FUNCTION transfer_batch(ids uuid[], payers bigint[], payees bigint[], amounts bigint[]) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE refused int[] := '{}';
BEGIN
  INSERT INTO transfers SELECT * FROM unnest(ids, payers, payees, amounts);
  PERFORM 1 FROM accounts WHERE id = ANY(payers || payees) ORDER BY id FOR UPDATE;
  IF NOT EXISTS (SELECT 1 FROM (SELECT p, sum(m) AS due FROM unnest(payers, amounts) AS x(p, m) GROUP BY p) d
      JOIN accounts a ON a.id = d.p WHERE a.balance < d.due) THEN
    UPDATE accounts a SET balance = a.balance + d.change FROM (SELECT account, sum(m)::bigint AS change
      FROM (SELECT p, -m FROM unnest(payers, amounts) AS x(p, m) UNION ALL SELECT * FROM unnest(payees, amounts)) AS both_sides(account, m)
      GROUP BY account) d WHERE a.id = d.account;
    RETURN refused;
  END IF;
  FOR i IN 1 .. cardinality(ids) LOOP
    UPDATE accounts SET balance = balance - amounts[i] WHERE id = payers[i] AND balance >= amounts[i];
    IF FOUND THEN
      UPDATE accounts SET balance = balance + amounts[i] WHERE id = payees[i];
    ELSE
      DELETE FROM transfers WHERE id = ids[i];
      refused := refused || i;
    END IF;
  END LOOP;
  RETURN refused;
END $$;
`

// postgres is one PostgreSQL server, or several.
type postgres struct {
	bin, dir   string // programs; data, sockets and logs
	credential *syscall.Credential
	release    string
	ports      []int // of servers that take transfers, then of standbys
	servers    []*server
	accounts   uint64
	text       string
}

// findPostgres returns the directory of PostgreSQL's programs.
func findPostgres(named string) (string, error) {
	candidates := []string{named}
	if named == "" {
		candidates, _ = filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is right
		slices.Sort(candidates)
		slices.Reverse(candidates)
		if path, err := exec.LookPath("postgres"); err == nil {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				candidates = append(candidates, filepath.Dir(real))
			}
		}
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL %w: no initdb in %s", errNotHere, strings.Join(candidates, ", "))
}

func newPostgres(o *options, dir string, t *shard.Topology) (*postgres, error) {
	bin, err := findPostgres(o.postgres)
	if err != nil {
		return nil, err
	}
	p := &postgres{bin: bin, dir: dir, accounts: o.Accounts}
	if p.credential, err = unprivileged(); err != nil {
		return nil, err
	}
	if c := p.credential; c != nil {
		if err := os.Chown(dir, int(c.Uid), int(c.Gid)); err != nil {
			return nil, err
		}
	}
	version, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	p.release = strings.TrimSpace(strings.TrimPrefix(string(version), "postgres (PostgreSQL)"))
	return p, err
}

// startPostgres starts one server without standbys.
func startPostgres(ctx context.Context, o *options, dir string, t *shard.Topology) (peer, error) {
	p, err := newPostgres(o, dir, t)
	if err != nil {
		return nil, err
	}
	p.text = "one server, not replicated; " + calls + settingsText("wal_level=minimal")
	if err := p.primary(ctx, t.Clusters[0].Range, "wal_level=minimal", "max_wal_senders=0"); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// calls says how transfers reach the servers.
const calls = "one function call per transfer or batch, prepared, over Unix sockets, accounts in their order; "

func settingsText(more ...string) string {
	return "fsync, full_page_writes and synchronous_commit on, " + strings.Join(append(slices.Clone(commonSettings), more...), ", ")
}

// startPostgresSync starts a server with two standbys, of which one must have synced before a commit is
// acknowledged: like a majority of three.
func startPostgresSync(ctx context.Context, o *options, dir string, t *shard.Topology) (peer, error) {
	p, err := newPostgres(o, dir, t)
	if err != nil {
		return nil, err
	}
	const any1 = "synchronous_standby_names=ANY 1 (s1, s2)"
	p.text = "one server and two standbys; " + calls + settingsText(any1)
	if err := p.withStandbys(ctx, t.Clusters[0].Range); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *postgres) withStandbys(ctx context.Context, accounts shard.Range) error {
	if err := p.primary(ctx, accounts, "wal_level=replica", "hot_standby=on"); err != nil {
		return err
	}
	for _, name := range []string{"s1", "s2"} {
		data := filepath.Join(p.dir, name)
		source := fmt.Sprintf("host=%s port=%d user=%s application_name=%s", p.dir, p.ports[0], postgresUser, name)
		if err := p.tool(ctx, "pg_basebackup", "-d", source, "-D", data, "-R", "-X", "stream", "-c", "fast"); err != nil {
			return err
		}
		if err := p.serve(ctx, data, "hot_standby=on"); err != nil {
			return err
		}
	}
	c, err := p.connect(ctx, 0)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (s1, s2)'", "SELECT pg_reload_conf()"} {
		if _, err := c.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return await(ctx, "two synchronous standbys", p.servers, func(ctx context.Context) error {
		var n int
		if err := c.QueryRow(ctx, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum' AND state = 'streaming'").Scan(&n); err != nil {
			return err
		}
		if n != 2 {
			return fmt.Errorf("%d of 2 standbys follow", n)
		}
		return nil
	})
}

// primary makes and starts a server that holds a range of accounts.
func (p *postgres) primary(ctx context.Context, accounts shard.Range, settings ...string) error {
	data := filepath.Join(p.dir, "primary"+strconv.Itoa(len(p.servers)))
	if err := p.tool(ctx, "initdb", "-D", data, "-U", postgresUser, "-A", "trust", "-E", "UTF8", "--locale=C"); err != nil {
		return err
	}
	if err := p.serve(ctx, data, settings...); err != nil {
		return err
	}
	c, err := p.connect(ctx, len(p.ports)-1)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, schema); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	fill := fmt.Sprintf("INSERT INTO accounts SELECT n, %d FROM generate_series(%d, %d) n", int64(opening), accounts.First, accounts.Last)
	for _, statement := range []string{fill, "VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := c.Exec(ctx, statement); err != nil {
			return fmt.Errorf("fill the tables: %w", err)
		}
	}
	return nil
}

// tool runs one of PostgreSQL's programs to its end.
func (p *postgres) tool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// serve starts a server on a data directory and waits until it takes connections.
func (p *postgres) serve(ctx context.Context, data string, settings ...string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	args := []string{"-D", data, "-p", strconv.Itoa(ports[0]), "-k", p.dir}
	for _, s := range append(slices.Clone(commonSettings), settings...) {
		args = append(args, "-c", s)
	}
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.credential}
	s, err := startServer(cmd, data+".log", syscall.SIGINT) // a fast shutdown
	if err != nil {
		return err
	}
	p.servers, p.ports = append(p.servers, s), append(p.ports, ports[0])
	n := len(p.ports) - 1
	return await(ctx, "connect to PostgreSQL", p.servers, func(ctx context.Context) error {
		c, err := p.connect(ctx, n)
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// connect opens a connection to the n-th server.
func (p *postgres) connect(ctx context.Context, n int) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", p.dir, p.ports[n], postgresUser))
}

func (p *postgres) settings() string { return p.text }

// version is the number alone; versions has what the package adds to it.
func (p *postgres) version() string {
	number, _, _ := strings.Cut(p.release, " ")
	return "PostgreSQL " + number
}

func (p *postgres) versions() map[string]string {
	return map[string]string{"postgres": p.release + ", as it stands in " + p.bin}
}

// Usage implements bench.Target.
func (p *postgres) Usage(context.Context) (map[string]uint64, error) {
	return bench.ProcessUsage(pids(p.servers)...)
}

// stop ends all servers, standbys first: a primary waits for them.
func (p *postgres) stop() {
	for i := len(p.servers) - 1; i >= 0; i-- {
		p.servers[i].stop()
	}
}

// check sums the balances of the first n servers.
func (p *postgres) sum(ctx context.Context, n int) (bool, error) {
	var sum int64
	for i := range n {
		c, err := p.connect(ctx, i)
		if err != nil {
			return false, err
		}
		defer c.Close(ctx)
		var part int64
		if err := c.QueryRow(ctx, "SELECT sum(balance)::bigint FROM accounts").Scan(&part); err != nil {
			return false, err
		}
		sum += part
	}
	return sum == int64(p.accounts)*opening, nil
}

func (p *postgres) check(ctx context.Context) (bool, error) { return p.sum(ctx, 1) }
