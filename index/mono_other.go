//go:build !linux

package index

// monotonic returns a time in ns that goes on evenly whatever happens to the clock.
func monotonic() int64 { return sinceStart() }
