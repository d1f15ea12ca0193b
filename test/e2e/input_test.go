//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"raftbank/internal/api"
	"raftbank/internal/config"
)

// TestInputTransfers sends the boundary cases of a transfer. Nothing of it may move money but what
// says committed.
func TestInputTransfers(t *testing.T) {
	b := newRunningBank(t)
	const huge = "170141183460469231731687303715884105728" // 2^127
	cases := []struct {
		from, to, amount string
		code             int
		outcome, reason  string
	}{
		{"0", "1", "1", 3, "aborted", "no_account"},
		{"1", "0", "1", 3, "aborted", "no_account"},
		{"1", "1000", "1", 0, "committed", ""},
		{"1000", "1001", "1", 0, "committed", ""},
		{"1001", "2000", "1", 0, "committed", ""},
		{"2000", "2001", "1", 0, "committed", ""},
		{"2001", "3000", "1", 0, "committed", ""},
		{"3000", "1", "1", 0, "committed", ""},
		{"3000", "3001", "1", 3, "aborted", "no_account"},
		{"3001", "3000", "1", 3, "aborted", "no_account"},
		{"-1", "5", "1", 3, "aborted", "no_account"},
		{"9223372036854775809", "5", "1", 3, "aborted", "no_account"},     // the bank's own account
		{"99999999999999999999999", "5", "1", 3, "aborted", "no_account"}, // beyond 64 bits
		{"7", "7", "1", 3, "aborted", "same_account"},
		{"7", "8", "0", 3, "aborted", "bad_amount"},
		{"7", "8", "-4", 3, "aborted", "bad_amount"},
		{"7", "8", huge, 3, "aborted", "bad_amount"},
		{"7", "8", "10", 0, "committed", ""},                    // all that it has
		{"7", "8", "1", 3, "aborted", "insufficient_funds"},     // and no more
		{"9", "10", "11", 3, "aborted", "insufficient_funds"},   // larger than the balance
		{"9", "2010", "11", 3, "aborted", "insufficient_funds"}, // the same between shards
		{"9", "10", "170141183460469231731687303715884105727", 3, "aborted", "insufficient_funds"},
		{"x", "8", "1", 2, "", ""},
		{"7", "8", "1.5", 2, "", ""},
		{"7", "8", "", 2, "", ""},
		{"7", "8", "1e3", 2, "", ""},
	}
	for _, c := range cases {
		v, code := b.transfer(c.from, c.to, c.amount)
		switch {
		case code != c.code:
			t.Errorf("%s -> %s: %s: exit %d, want %d: %+v %v", c.from, c.to, c.amount, code, c.code, v, v.Error)
		case code == 2:
			if v.Error == nil || v.Error.Code != "usage" {
				t.Errorf("%s -> %s: %s: %+v; want the error code usage", c.from, c.to, c.amount, v)
			}
		case v.Outcome != c.outcome || v.Reason != c.reason || (code != 0) != (v.Error != nil):
			t.Errorf("%s -> %s: %s: %+v %v; want %s %s", c.from, c.to, c.amount, v, v.Error, c.outcome, c.reason)
		}
	}
	want := b.opened()
	for _, m := range [][3]int{{1, 1000, 1}, {1000, 1001, 1}, {1001, 2000, 1}, {2000, 2001, 1}, {2001, 3000, 1}, {3000, 1, 1}, {7, 8, 10}} {
		addLine(t, want, api.Transfer{From: fmt.Sprint(m[0]), To: fmt.Sprint(m[1]), Amount: fmt.Sprint(m[2])})
	}
	mustEqual(t, "balances", b.balances(), want)

	for _, args := range [][]string{{"transfer"}, {"transfer", "1"}, {"transfer", "1", "2"}, {"transfer", "1", "2", "3", "4"},
		{"balance"}, {"balance", "1", "2"}, {"balance", "x"}, {"resolve"}, {"resolve", "no-id"}, {"explain", "no-id"},
		{"check", "nothing"}, {"no-such-command"}, {"transfer", "1", "2", "3", "--no-such-flag"}, {"status", "-o", "xml"}} {
		wantCode(t, b.run(args...), 2)
	}
	for _, account := range []string{"0", "3001", "-1"} {
		o := b.run("balance", account)
		wantCode(t, o, 3)
		wantText(t, o, "account "+account+" does not exist: this bank holds 1-3000")
	}
	wantText(t, b.run("transfer", "1", "2", "-4"), "amount must be positive: -4")
	b.checkBadFile()
	mustEqual(t, "balances after all that", b.balances(), want)
	b.mustConserve()
}

// checkBadFile runs files with bad lines: nothing is sent, every bad line is named.
func (b *bank) checkBadFile() {
	b.t.Helper()
	path := b.writeFile("bad.txt", "(11,12,1)\n11,12\n# a comment\n11 12 x\n(11,12,1\n\n11,12,1 // fine\n11,12,1,1\n")
	o := b.run("file-transfer", path, "-o", "json")
	wantCode(b.t, o, 2)
	v := decode[api.FileTransfer](b.t, o)
	if len(v.BadLines) != 4 || v.Committed != 0 || v.Error == nil {
		b.t.Errorf("a file with four bad lines\n%s", o)
	}
	for i, line := range []int{2, 4, 5, 8} {
		if i < len(v.BadLines) && !strings.HasPrefix(v.BadLines[i], fmt.Sprintf("%s:%d: ", path, line)) {
			b.t.Errorf("bad line %d is reported as %q", line, v.BadLines[i])
		}
	}
	o = b.run("file-transfer", path)
	wantCode(b.t, o, 2)
	wantText(b.t, o, path+":4: ")
	wantText(b.t, o, "nothing was sent")
	wantCode(b.t, b.run("file-transfer", filepath.Join(b.Dir, "missing.txt")), 2)
	wantCode(b.t, b.run("file-transfer", b.Dir), 2)
	empty := b.run("file-transfer", b.writeFile("empty.txt", "# nothing\n\n"), "-o", "json")
	wantCode(b.t, empty, 0)
}

// TestInputServers starts servers as they must not be started. All of it ends with a clear error, and
// the bank that is running does not notice.
func TestInputServers(t *testing.T) {
	o := command(t, "", "server", "8", "9001")
	wantCode(t, o, 2)
	wantText(t, o, "server 8 is at port 9008 in this config; got 9001")

	b := newRunningBank(t)
	b.mustCommit(units(1, 2, 1))
	for _, id := range []string{"10", "0", "-1", "x", "99999999999"} {
		o := b.serve(id, b.DataDir(1))
		wantCode(t, o, 2)
		t.Logf("server %s: %s", id, firstWith(o.Err, "raftbank:"))
	}
	b.wantRefused("port in use", b.serve("1", filepath.Join(b.Dir, "elsewhere")), 2, "is in use")
	b.wantRefused("directory in use", b.serve("1", b.DataDir(1)), 0, "is in use by another process")

	held, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.Ports[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	o = b.run("client", "--port", fmt.Sprint(b.Ports[0]))
	b.wantRefused("client port in use", o, 2, fmt.Sprintf("port %d is in use. Another client server? Start this one with --second (8999) or --port N", b.Ports[0]))

	b.kill(1, 2)
	b.wantRefused("directory of another server", b.serve("1", b.DataDir(2)), 0, "belongs to server 2 of C1, not to server 1 of C1")
	b.checkOtherBank()
	b.checkNewerFormat()
	b.checkGenesisDisagrees()
	b.checkUnreadableConfig()

	b.restart(1)
	b.restart(2)
	b.mustCommit(units(2, 1, 1))
	b.mustConserve()
}

// serve runs a server in the foreground until it ends by itself.
func (b *bank) serve(id, dataDir string, flags ...string) output {
	b.t.Helper()
	return b.run(append([]string{"server", id, "--data-dir", dataDir, "--key-file", filepath.Join(b.Dir, "bank.key")}, flags...)...)
}

// wantRefused checks exit code (0: any failure) and text, and logs what was said.
func (b *bank) wantRefused(what string, o output, code int, text string) {
	b.t.Helper()
	if o.Code <= 0 || (code != 0 && o.Code != code) || !strings.Contains(o.Err, text) {
		b.t.Errorf("%s: want exit %d (0: any failure) and %q\n%s", what, code, text, o)
		return
	}
	b.t.Logf("%s: exit %d: %s", what, o.Code, firstWith(o.Err, "raftbank:"))
}

// checkOtherBank starts a server with the key file of another bank on this bank's directory.
func (b *bank) checkOtherBank() {
	b.t.Helper()
	other := filepath.Join(b.Dir, "other")
	p := startProcess(b.t, filepath.Join(b.Dir, "other.log"), "server", "1", "--config", b.Config,
		"--data-dir", filepath.Join(other, "1"), "--exit-with-stdin")
	key := filepath.Join(other, "bank.key")
	await(b.t, leadBound, "another bank's key is made", func() (bool, string) {
		_, err := os.Stat(key)
		return err == nil && len(b.cluster(1).Servers) > 0, fmt.Sprint(err)
	})
	p.Kill()
	o := b.run("server", "1", "--data-dir", b.DataDir(1), "--key-file", key)
	b.wantRefused("another bank's key", o, 0, "belongs to bank ")
	o = b.run("server", "1", "--data-dir", b.DataDir(1), "--key-file", filepath.Join(other, "missing.key"))
	b.wantRefused("missing key file", o, 0, "missing.key")
}

// checkNewerFormat writes a higher version into a directory's identity.
func (b *bank) checkNewerFormat() {
	b.t.Helper()
	path := filepath.Join(b.DataDir(1), "IDENTITY")
	good, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	newer := append([]byte{}, good...)
	newer[8] = 99 // the version follows eight bytes of magic
	b.write(path, newer)
	b.wantRefused("newer format", b.serve("1", b.DataDir(1)), 0, "99")
	damaged := append([]byte{}, good...)
	damaged[len(damaged)-1] ^= 1
	b.write(path, damaged)
	b.wantRefused("damaged identity", b.serve("1", b.DataDir(1)), 0, "IDENTITY")
	b.write(path, good)
}

func (b *bank) write(path string, content []byte) {
	b.t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// checkGenesisDisagrees starts a server with another opening balance, and with other ranges, than the
// bank was opened with.
func (b *bank) checkGenesisDisagrees() {
	b.t.Helper()
	text := config.Format(b.Topology)
	for name, changed := range map[string]string{
		"opening": strings.Replace(text, "opening_balance = 10", "opening_balance = 11", 1),
		"ranges":  strings.Replace(strings.Replace(text, `"1-1000"`, `"1-999"`, 1), `"1001-2000"`, `"1000-2000"`, 1),
	} {
		path := b.writeFile(name+".toml", changed)
		o := command(b.t, "", "server", "1", "--data-dir", b.DataDir(1), "--config", path, "--key-file", filepath.Join(b.Dir, "bank.key"))
		b.wantRefused("config that disagrees with GENESIS: "+name, o, 0, "but C1 was opened with")
	}
}

// checkUnreadableConfig uses configurations that cannot be read or are no bank.
func (b *bank) checkUnreadableConfig() {
	b.t.Helper()
	text := config.Format(b.Topology)
	paths := map[string]string{
		"missing":   filepath.Join(b.Dir, "missing.toml"),
		"directory": b.Dir,
		"no TOML":   b.writeFile("garbage.toml", "opening_balance = = 1\n"),
		"overlap":   b.writeFile("overlap.toml", strings.Replace(text, `"1-1000"`, `"1-1001"`, 1)),
		"gap":       b.writeFile("gap.toml", strings.Replace(text, `"1-1000"`, `"1-900"`, 1)),
		"same id":   b.writeFile("ids.toml", strings.Replace(text, "id = 2\n", "id = 1\n", 1)),
		"same port": b.writeFile("ports.toml", strings.Replace(text, b.Topology.Clusters[0].Servers[1].Addr, b.Topology.Clusters[0].Servers[0].Addr, 1)),
	}
	for what, path := range paths {
		b.wantRefused("config: "+what, command(b.t, "", "status", "--config", path), 2, path)
		b.wantRefused("config of a server: "+what, command(b.t, "", "server", "1", "--config", path,
			"--data-dir", b.DataDir(1), "--key-file", filepath.Join(b.Dir, "bank.key")), 2, path)
	}
}
