// Package examples holds the files that the documentation and the demo use: transfers to run and
// lessons for a class. It has no code.
package examples

import "embed"

// Files are transactions.txt, conflict.txt and lessons/*.txt. Package examples/gen writes the first.
//
//go:embed transactions.txt conflict.txt lessons/*.txt
var Files embed.FS
