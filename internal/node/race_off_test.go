//go:build !race

package node

// underRace says that the race detector looks.
const underRace = false
