package examples

import "embed"

// Files are transactions.txt, conflict.txt and lessons/*.txt. Package examples/gen writes the first.
//
//go:embed transactions.txt conflict.txt lessons/*.txt
var Files embed.FS
