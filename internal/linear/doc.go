// Package linear checks histories of accounts: is there, for every account, one order of its transfers and strong
// reads that fits what clients were told and when? The search is Porcupine's; the model is here.
//
// An account is two sums, credited and debited so far. A read shows both. A committed transfer adds to one of them
// at some instant between its submission and the first answer that tells of it; a transfer of unknown outcome at any
// instant after its submission, or never. Histories are checked account by account and are kept short, since the
// search grows exponentially with what is under way at once (Bounds).
//
// Beside the search there are checks that need none: what each client saw (Sessions), and whether a refusal for
// insufficient funds can have been true (CheckRefusals).
//
// The package takes recorded events and returns verdicts. It does no I/O of its own and reads no clock; times are
// numbers of the caller's.
//
// Read model.go first, then evidence.go (what is shown of a violation), refusals.go and event.go (the form of a kept history).
package linear
