package peer

import (
	"os"
	"strconv"
	"strings"
	"time"
)

// OtherCPU tells how busy the machine is with what is not measured: the returned function returns the CPU time that all
// programs but this one and the servers have used since, in steps of 10 ms; 0 where there is no /proc/stat.
func OtherCPU(servers ...interface{ CPU() time.Duration }) func() time.Duration {
	now := func() time.Duration {
		other := machineCPU() - processCPU(os.Getpid())
		for _, s := range servers {
			other -= s.CPU()
		}
		return other
	}
	before := now()
	return func() time.Duration { return max(0, now()-before) }
}

// machineCPU returns the CPU time that all programs have used since boot, and other machines on the same cores (steal).
func machineCPU() (used time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(first) { // cpu user nice system idle iowait irq softirq steal …
		if i >= 1 && i <= 8 && i != 4 && i != 5 {
			n, _ := strconv.ParseInt(f, 10, 64)
			used += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return used
}
