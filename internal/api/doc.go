// Package api holds the types that leave the program as JSON: what every command prints with
// -o json and what the public API will serve. Field names are stable and documented in docs/CLI.md.
//
// Ids, accounts, amounts and balances are strings; indexes, server numbers and latencies are
// numbers; a leader is a server number or null. The package has no behaviour and no dependencies
// but encoding/json.
package api
