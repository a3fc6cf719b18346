package peer

import (
	"time"

	"golang.org/x/sys/unix"
)

// processCPU reads the CPU clock of another process, which clock_getcpuclockid(3) would name: /proc/PID/stat has steps of
// 10 ms, more than most searches take.
func processCPU(pid int) time.Duration {
	const sched = 2 // CPUCLOCK_SCHED of linux/posix-timers.h: user and kernel time, in nanoseconds
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
