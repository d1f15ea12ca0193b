package shard

import "strconv"

// ID names a shard, from 1. The cluster that serves shard 1 is called C1.
type ID uint32

// String returns the cluster's name, for example "C1".
func (id ID) String() string { return "C" + strconv.FormatUint(uint64(id), 10) }

// ServerID names a server process, from 1, as it stands in the configuration.
type ServerID uint32

// String returns the decimal number.
func (id ServerID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Account names an account. Its range names its shard. Ids at or above EquityBase belong to the
// bank itself and can be neither named nor reached by a client.
type Account uint64

// EquityBase is the first id of the bank's own accounts: shard s owns EquityBase + s.
const EquityBase Account = 1 << 63

// String returns the decimal number.
func (a Account) String() string { return strconv.FormatUint(uint64(a), 10) }

// Equity returns the account from which the shard's opening balances were paid.
func (id ID) Equity() Account { return EquityBase + Account(id) }
