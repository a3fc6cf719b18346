package index

import "syscall"

// letGo lets other threads have the core, if any wait for it: a thread that the network wakes would wait for up to 4 ms, the kernel's tick, until it is
// taken from what computes (docs/adr/0012-shorter-searches.md).
func letGo() { syscall.RawSyscall(syscall.SYS_SCHED_YIELD, 0, 0, 0) }
