package index

import "golang.org/x/sys/unix"

// monotonic returns a time in ns that goes on evenly whatever happens to the clock, also while the machine sleeps.
func monotonic() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return sinceStart()
	}
	return ts.Nano()
}
