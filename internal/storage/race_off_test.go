//go:build !race

package storage

// underRace says that the race detector looks.
const underRace = false
