package ledger

import (
	"math/big"

	"raftbank/internal/shard"
)

// HashPoint is what replicas compare: equal index means equal state hash and equal chain.
type HashPoint struct {
	Index uint64
	State uint64
	Chain [32]byte
}

// State is the replicated state of one shard.
type State struct{ id shard.ID }

// New returns the state of a shard before its first entry.
func New(id shard.ID) *State { return &State{id: id} }

func (s *State) Apply(index, term uint64, e *Entry) []Result { panic("wip") }

// ApplyEncoded is Apply for a caller that has the entry's bytes at hand: data must be the encoding of e.
func (s *State) ApplyEncoded(index, term uint64, e *Entry, data []byte) []Result { panic("wip") }
func (s *State) Applied() (index, term uint64)                                  { panic("wip") }
func (s *State) Skip(index, term uint64)                                        { panic("wip") }
func (s *State) Shard() shard.ID                                                { return s.id }
func (s *State) Genesis() *Genesis                                              { panic("wip") }
func (s *State) Lookup(id TransferID) (Outcome, bool)                           { panic("wip") }
func (s *State) Account(a shard.Account) (Account, bool)                        { panic("wip") }
func (s *State) Participants(r *Record) ([]shard.ID, bool)                      { panic("wip") }
func (s *State) PreparedCount() int                                             { panic("wip") }
func (s *State) Prepared() []TransferID                                         { panic("wip") }
func (s *State) PreparedOn(a shard.Account) []TransferID                        { panic("wip") }
func (s *State) Rows(from uint64, n int) []Row                                  { panic("wip") }
func (s *State) RowCount() uint64                                               { panic("wip") }
func (s *State) RowsOf(id TransferID) []Row                                     { panic("wip") }
func (s *State) Hash() uint64                                                   { panic("wip") }
func (s *State) Chain() (crc uint32, sum [32]byte)                              { panic("wip") }
func (s *State) Hashes() []HashPoint                                            { panic("wip") }
func (s *State) Total() *big.Int                                                { panic("wip") }
func (s *State) Negative() int                                                  { panic("wip") }
func (s *State) Encode() []byte                                                 { panic("wip") }

// Decode reads what Encode wrote.
func Decode(b []byte) (*State, error) { panic("wip") }

// Spendable returns what the account may still spend.
func (a Account) Spendable() Amount { panic("wip") }

// Balance returns credits posted - debits posted.
func (a Account) Balance() *big.Int { panic("wip") }

// EncodeEntry encodes.
func EncodeEntry(e *Entry) []byte { panic("wip") }

// DecodeEntry decodes.
func DecodeEntry(b []byte) (*Entry, error) { panic("wip") }
