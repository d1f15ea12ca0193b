package cli

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"raftbank/client"
	"raftbank/internal/api"
	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// request is one transfer as it was typed: three integers, of any size and sign.
type request struct {
	from, to, amount string
}

// errNotInteger is wrapped by parseRequest's errors.
var errNotInteger = errors.New("not an integer")

// parseRequest checks that three words are integers. Error: which one is not.
func parseRequest(from, to, amount string) (request, error) {
	r := request{}
	for _, w := range []struct {
		name, text string
		into       *string
	}{{"payer", from, &r.from}, {"payee", to, &r.to}, {"amount", amount, &r.amount}} {
		canonical, ok := integer(w.text)
		if !ok {
			return request{}, fmt.Errorf("%s is %w: %q", w.name, errNotInteger, w.text)
		}
		*w.into = canonical
	}
	return r, nil
}

// integer reads a decimal integer of any size and returns it without leading zeros or a plus.
func integer(s string) (string, bool) {
	digits := s
	if digits != "" && (digits[0] == '-' || digits[0] == '+') {
		digits = digits[1:]
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return "0", true
	}
	if s[0] == '-' {
		return "-" + digits, true
	}
	return digits, true
}

// refusal is what the rules of the ledger say to a request before any server is asked.
type refusal struct {
	reason   ledger.Reason
	sentence string
}

// decide turns a request into a transfer, or says why the ledger refuses it. Only what no server
// could answer otherwise is decided here: accounts that no shard holds, amounts that are not
// positive or too large, and an account paying itself.
func (r request) decide(t *shard.Topology) (client.Transfer, *refusal) {
	var accounts [2]shard.Account
	for i, word := range []string{r.from, r.to} {
		account, ok := accountOf(t, word)
		if !ok {
			return client.Transfer{}, &refusal{ledger.ReasonNoAccount, noAccount(t, word)}
		}
		accounts[i] = account
	}
	if r.amount == "0" || strings.HasPrefix(r.amount, "-") {
		return client.Transfer{}, &refusal{ledger.ReasonBadAmount, "amount must be positive: " + r.amount}
	}
	amount, err := ledger.ParseAmount(r.amount)
	if err != nil {
		return client.Transfer{}, &refusal{ledger.ReasonBadAmount,
			fmt.Sprintf("amount %s is larger than the largest, 2^127-1", r.amount)}
	}
	if accounts[0] == accounts[1] {
		return client.Transfer{}, &refusal{ledger.ReasonSameAccount,
			fmt.Sprintf("account %s cannot pay itself", r.from)}
	}
	return client.Transfer{From: accounts[0], To: accounts[1], Amount: amount}, nil
}

// accountOf returns the account of a canonical integer, and whether a shard holds it.
func accountOf(t *shard.Topology, word string) (shard.Account, bool) {
	n, ok := new(big.Int).SetString(word, 10)
	if !ok || !n.IsUint64() {
		return 0, false
	}
	account := shard.Account(n.Uint64())
	_, held := t.ShardOf(account)
	return account, held
}

// parseAccount reads the account of a command. Errors: usage if it is not an integer, refused if no
// shard holds it.
func parseAccount(t *shard.Topology, word string) (shard.Account, error) {
	canonical, ok := integer(word)
	if !ok {
		return 0, usageError("account is not an integer: %q", word)
	}
	account, ok := accountOf(t, canonical)
	if !ok {
		return 0, failure(codeRefused, "%s", noAccount(t, canonical))
	}
	return account, nil
}

// parseID reads the id of a transfer.
func parseID(word string) (client.ID, error) {
	id, err := ledger.ParseTransferID(word)
	if err != nil {
		return id, usageError("%v", err)
	}
	return id, nil
}

// refusedTransfer is the outcome of a request that the rules refuse.
func (r request) refusedTransfer(id client.ID, why *refusal) api.Transfer {
	return api.Transfer{
		ID: id.String(), From: r.from, To: r.to, Amount: r.amount,
		Outcome: api.OutcomeAborted, Reason: why.reason.String(), Detail: why.sentence,
		Error: &api.Error{Code: codeRefused, Message: why.sentence, ID: id.String()},
	}
}

// result is a refusal as the Recorder counts it.
func (why *refusal) result() client.Result {
	return client.Result{Outcome: client.Aborted, Reason: why.reason}
}
