// Package ledger has a package comment.
package ledger

import (
	_ "github.com/oklog/ulid/v2"
	_ "github.com/spf13/cobra" // want dependency
	_ "hash/maphash"
	_ "net/http"                  // want purity
	_ "raftbank/internal/replica" // want dependency
	_ "raftbank/internal/shard"
)
