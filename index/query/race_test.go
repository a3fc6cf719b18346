//go:build race

package query

// raceEnabled: the race detector drops what is in pools at random, so that memory is allocated again.
const raceEnabled = true
