// Package tidy checks the repository's own structure: the direction of dependencies, the purity of
// the core, documentation of every exported name, and a few words that must not stand in the source.
// It has no users but its tests, and `go test ./internal/tidy` fails the build if a rule is broken.
//
// Sizes of functions, structs and parameter lists are a report and fail nothing:
// go test -v -run TestSizes ./internal/tidy. A file over 800 lines fails.
//
// Every rule is shown to fire on the planted tree in testdata, so that a rule that has gone blind
// is noticed.
//
// Read first: the table of packages in rules.go, then Load in tree.go.
package tidy
