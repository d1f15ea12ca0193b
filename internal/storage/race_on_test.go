//go:build race

package storage

// underRace says that the race detector looks: one goroutine's work is then many times slower, and gains nothing from it.
const underRace = true
