package cli

import (
	"strings"
	"testing"

	"raftbank/internal/api"
)

func TestGrowthRows(t *testing.T) {
	rows, err := chosenRows(benchSuiteArgs{Growth: true, Runs: 1, Seed: 9, Rows: []string{"load", "accounts"}})
	if err != nil || len(rows) != 7 || rows[0].Name != "accounts-3000" || rows[6].Name != "load-95" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	suite := &api.BenchSuite{Rows: make([]api.BenchRow, len(rows))}
	suite.Rows[3].Runs = []api.Bench{{TPS: 1}, {TPS: 1000.5}}
	args := benchArgs{Load: rows[4].Options, Bank: benchBankArgs{Accounts: 30, Replicas: 3}}
	if growthArgs(&args, rows, 4, suite); args.Load.Rate != 500 || args.Bank.Accounts != 30 {
		t.Errorf("half of 1000.5/s are %+v", args)
	}
	if growthArgs(&args, rows, 2, suite); args.Bank.Accounts != 3_000_000 || args.Bank.Replicas != 3 {
		t.Errorf("three million accounts are %+v", args.Bank)
	}
	if _, err := chosenRows(benchSuiteArgs{Growth: true, Runs: 1, Rows: []string{"load-50"}}); err == nil || !strings.Contains(err.Error(), "the table has accounts, shards, cross") {
		t.Errorf("a row without the one that it is held against: %v", err)
	}
}

func TestGrowthTable(t *testing.T) {
	var out strings.Builder
	a := NewApp(nil, &out, &out)
	a.Format, a.NoColor = FormatTable, true
	slow, failed := *benchSample(), *benchSample()
	slow.TPS, failed.TPS, failed.Error = 617, 9, &api.Error{}
	a.growthTable(&out, &api.BenchSuite{Rows: []api.BenchRow{
		{Name: "shards-1", Group: "shards", Load: "shards 1", Unit: "1/s", Values: []float64{1234.5}, Median: 1234.5, Runs: []api.Bench{*benchSample(), failed}},
		{Name: "shards-2", Group: "shards", Load: "shards 2", Unit: "1/s", Values: []float64{617}, Median: 617, Runs: []api.Bench{slow}},
		{Name: "history-2", Group: "history", Load: "window 2", Unit: "1/s", Values: []float64{500}, Median: 500},
		{Name: "history-3", Group: "history"},
	}})
	const want = `  row        load      median  unit  of the first    tps  p50 us  p99 us  servers' CPU us  client's CPU us  servers' MiB
  shards-1   shards 1   1,234  1/s           1.00  1,234     790   2,500              7.8                            300
  shards-2   shards 2     617  1/s           0.50    617     790   2,500              7.8                            300
  history-2  window 2     500  1/s           1.00
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
