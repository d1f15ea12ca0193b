package shard

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDefaultTopology(t *testing.T) {
	d := DefaultTopology()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	if got, want := d.Map().String(), "C1 1-1000, C2 1001-2000, C3 2001-3000"; got != want {
		t.Errorf("map %q, want %q", got, want)
	}
	if d.Accounts() != "1-3000" || d.Total().Int64() != 30000 || d.Map().Epoch() != 1 || len(d.Servers()) != 9 {
		t.Errorf("accounts %s, total %s, %d servers", d.Accounts(), d.Total(), len(d.Servers()))
	}
	for a, want := range map[Account]ID{
		0: 0, 1: 1, 1000: 1, 1001: 2, 2000: 2, 2001: 3, 3000: 3, 3001: 0, EquityBase: 0, ID(1).Equity(): 0, ^Account(0): 0,
	} {
		got, ok := d.ShardOf(a)
		if got != want || ok != (want != 0) {
			t.Errorf("ShardOf(%d) = %s %t, want %s", a, got, ok, want)
		}
		if byMap, okMap := d.Map().Shard(a); byMap != got || okMap != ok {
			t.Errorf("Map().Shard(%d) = %s %t", a, byMap, okMap)
		}
	}
	s, c, ok := d.Server(8)
	if !ok || s.Addr != "127.0.0.1:9008" || c.Shard != 3 || c.Range != (Range{2001, 3000}) {
		t.Errorf("server 8: %+v of %+v", s, c)
	}
	if _, _, ok := d.Server(10); ok {
		t.Error("server 10 exists")
	}
	if d.Cluster(2).Servers[0].ID != 4 || d.Cluster(4) != nil {
		t.Error("clusters")
	}
	if r, ok := d.Map().Range(2); !ok || r.Len() != 1000 {
		t.Errorf("range of C2: %s", r)
	}
	if _, ok := d.Map().Range(4); ok {
		t.Error("range of C4")
	}
}

func TestEquity(t *testing.T) {
	if got := ID(3).Equity().String(); got != "9223372036854775811" {
		t.Errorf("equity of C3 is %s", got)
	}
}

// valid is a small topology for the cases to spoil.
func valid() *Topology {
	return &Topology{OpeningBalance: 10, Clusters: []Cluster{
		{Shard: 1, Range: Range{1, 10}, Servers: []Server{{1, "a:1"}}},
		{Shard: 2, Range: Range{11, 20}, Servers: []Server{{2, "a:2"}, {3, "a:3"}, {4, "[::1]:4"}}},
	}}
}

func TestValidate(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*Topology)
		want  []string
	}{
		{"fine", func(*Topology) {}, nil},
		{"ranges in another order than shards", func(t *Topology) {
			t.Clusters[0].Range, t.Clusters[1].Range = t.Clusters[1].Range, t.Clusters[0].Range
		}, nil},
		{"begins elsewhere than at 1", func(t *Topology) { t.Clusters[0].Range.First = 5 }, nil},
		{"empty", func(t *Topology) { t.Clusters = nil }, []string{"no cluster: a bank needs at least one"}},
		{"shard 0", func(t *Topology) { t.Clusters[1].Shard = 0 }, []string{"cluster 2: shard number must be 1 or more"}},
		{"shard twice", func(t *Topology) { t.Clusters[1].Shard = 1 }, []string{"shard 1: more than one cluster has this number"}},
		{"gap", func(t *Topology) { t.Clusters[1].Range.First = 13 },
			[]string{"accounts 11-12 belong to no cluster: C1 ends at 10, C2 begins at 13"}},
		{"overlap", func(t *Topology) { t.Clusters[1].Range.First = 9 }, []string{"accounts 9-10 belong to both C1 and C2"}},
		{"inside", func(t *Topology) { t.Clusters[1].Range = Range{3, 4} }, []string{"accounts 3-4 belong to both C1 and C2"}},
		{"same range", func(t *Topology) { t.Clusters[1].Range = Range{1, 10} }, []string{"accounts 1-10 belong to both C1 and C2"}},
		{"account 0", func(t *Topology) { t.Clusters[0].Range.First = 0 }, []string{"C1: accounts 0-10: account numbers start at 1"}},
		{"reversed", func(t *Topology) { t.Clusters[1].Range.Last = 5 }, []string{"C2: accounts 11-5: the range is reversed"}},
		{"equity", func(t *Topology) { t.Clusters[1].Range.Last = EquityBase }, []string{
			"C2: accounts 11-9223372036854775808: numbers from 9223372036854775808 belong to the bank itself",
			"9223372036854775808 accounts: at most 67108864 per bank",
		}},
		{"too many accounts", func(t *Topology) { t.Clusters[1].Range.Last = 1<<26 + 1 },
			[]string{"67108865 accounts: at most 67108864 per bank"}},
		{"just not too many accounts", func(t *Topology) { t.Clusters[1].Range.Last = 1 << 26 }, nil},
		{"opening balance", func(t *Topology) { t.OpeningBalance = 1 << 63 },
			[]string{"opening balance 9223372036854775808: at most 9223372036854775807 per account"}},
		{"largest opening balance", func(t *Topology) { t.OpeningBalance = 1<<63 - 1 }, nil},
		{"too many clusters", func(t *Topology) {
			for i := len(t.Clusters); i < 1025; i++ {
				last := t.Clusters[i-1].Range.Last
				id := ID(i + 1)
				t.Clusters = append(t.Clusters, Cluster{id, Range{last + 1, last + 1}, []Server{{ServerID(id) + 10, "h" + id.String() + ":1"}}})
			}
		}, []string{"1025 clusters: at most 1024 per bank"}},
		{"replicas", func(t *Topology) {
			t.Clusters[0].Servers = nil
			t.Clusters[1].Servers = t.Clusters[1].Servers[:2]
		}, []string{"C1 has 0 servers: a cluster has 1, 3 or 5", "C2 has 2 servers: a cluster has 1, 3 or 5"}},
		{"server 0", func(t *Topology) { t.Clusters[0].Servers[0].ID = 0 }, []string{"C1: server id must be 1 or more"}},
		{"server twice", func(t *Topology) { t.Clusters[1].Servers[1].ID = 2 }, []string{"server 2 stands twice in C2"}},
		{"server in two", func(t *Topology) { t.Clusters[1].Servers[1].ID = 1 }, []string{"server 1 stands in both C1 and C2"}},
		{"address twice", func(t *Topology) { t.Clusters[1].Servers[1].Addr = "A:1" },
			[]string{"servers 1 and 3 have the same address A:1"}},
		{"loopback twice", func(t *Topology) {
			t.Clusters[1].Servers[1].Addr = "localhost:4"
			t.Clusters[1].Servers[2].Addr = "127.0.0.1:04"
		},
			[]string{"servers 3 and 4 have the same address 127.0.0.1:04"}},
		{"several at once", func(t *Topology) {
			t.Clusters[1].Range.First = 13
			t.Clusters[1].Servers[1].ID = 1
			t.Clusters[1].Servers[2].Addr = "a"
		}, []string{
			"accounts 11-12 belong to no cluster: C1 ends at 10, C2 begins at 13",
			"server 1 stands in both C1 and C2",
			`server 4 of C2: address "a": no port; want host:port, for example 127.0.0.1:9001`,
		}},
	}
	for _, c := range cases {
		topology := valid()
		c.spoil(topology)
		got, err := "", topology.Validate()
		if err != nil {
			got = err.Error()
		}
		if want := strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.name, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:9001":    "",
		"bank-1.local:1":    "",
		"[fe80::1%eth0]:80": "",
		"":                  "empty",
		"host":              "no port",
		":9001":             "no host",
		"[]:9001":           "no host",
		"host:":             "port must be a number from 1 to 65535",
		"host:0":            "port must be a number from 1 to 65535",
		"host:65536":        "port must be a number from 1 to 65535",
		"host:http":         "port must be a number from 1 to 65535",
		"ho st:1":           "not a host name",
		"http://host:1":     "not a host name",
		"::1:9001":          "an IPv6 host stands in brackets",
	} {
		_, err := canonicalAddr(addr)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
	}
}

func TestNewMapRefuses(t *testing.T) {
	for want, parts := range map[string][]Assignment{
		"accounts 5-10 belong to both C1 and C2":                                                      {{2, Range{5, 20}}, {1, Range{1, 10}}},
		"shard C1 has more than one range":                                                            {{1, Range{1, 10}}, {1, Range{11, 20}}},
		"accounts 1-10: shard number must be 1 or more":                                               {{0, Range{1, 10}}},
		"shard C1: range 10-1 is empty, reversed or starts at 0":                                      {{1, Range{10, 1}}},
		"shard C1: range 1-9223372036854775808 reaches the bank's own ids (from 9223372036854775808)": {{1, Range{1, EquityBase}}},
	} {
		if _, err := NewMap(1, parts); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestValidTopologiesHaveMaps: whatever Validate accepts, Map accepts, and both route alike.
func TestValidTopologiesHaveMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topology := &Topology{}
		server := ServerID(1)
		for range rapid.IntRange(0, 4).Draw(t, "clusters") {
			c := Cluster{Shard: ID(rapid.IntRange(0, 4).Draw(t, "shard"))}
			c.Range.First = Account(rapid.IntRange(0, 12).Draw(t, "first"))
			c.Range.Last = c.Range.First + Account(rapid.IntRange(-1, 6).Draw(t, "length"))
			c.Servers = []Server{{server, "h:" + server.String()}}
			server++
			topology.Clusters = append(topology.Clusters, c)
		}
		if topology.Validate() != nil {
			return
		}
		m := topology.Map()
		n := int64(0)
		for a := Account(0); a < 30; a++ {
			id, ok := topology.ShardOf(a)
			byMap, okMap := m.Shard(a)
			if id != byMap || ok != okMap {
				t.Fatalf("account %d: %s %t by ShardOf, %s %t by Map", a, id, ok, byMap, okMap)
			}
			if ok {
				n++
			}
		}
		if topology.accounts().Cmp(big.NewInt(n)) != 0 {
			t.Fatalf("%d accounts, want %d", topology.accounts(), n)
		}
	})
}

func TestAccountsOfNothing(t *testing.T) {
	if got := (&Topology{}).Accounts(); got != "no accounts" {
		t.Errorf("%q", got)
	}
}
