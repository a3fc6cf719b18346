package alerting

import "testing"

func TestSaid(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"2015-07-29 19:14:07,653 - WARN  [SendWorker:18@688] - Send worker leaving", "[SendWorker:18@688] - Send worker leaving"},
		{"[Sun Dec 04 04:51:55 2005] [error] mod_jk child workerEnv in error state 6", "mod_jk child workerEnv in error state 6"},
		{"081109 214529 2747 WARN dfs.DataNode: 10.251.123.132:50010: exception", "dfs.DataNode: 10.251.123.132:50010: exception"},
		{"Dec 10 09:12:12 LabSZ sshd[24475]: error: Received disconnect", "LabSZ sshd[24475]: error: Received disconnect"},
		{"2016-09-28 04:30:30, Info                  CBS    Loaded", "CBS    Loaded"},
		{"17/06/09 20:10:40 INFO executor.Backend: Registered", "executor.Backend: Registered"},
		{"2026-11-22T10:00:00.123Z ERROR no stock", "no stock"},
		{"10:00:00.123 | ERROR | no stock", "no stock"},
		{"22-Nov-2026 06:00:01.123 SEVERE [main] no stock", "[main] no stock"},
		{"22/Nov/2026:06:00:01 no stock", "no stock"},
		{"ERROR: no stock", "no stock"},
		{"[warn] no stock", "no stock"},
		{"ERROR cannot reach db", "cannot reach db"},
		{"PANIC at the disco", "PANIC at the disco"},
		// What looks like it, and is what happened.
		{"Error reading file", "Error reading file"},
		{"error", "error"},
		{"panic: runtime error", "panic: runtime error"},
		{"fatal error: all goroutines are asleep", "fatal error: all goroutines are asleep"},
		{"404 not found", "404 not found"},
		{"3 errors in 10:00:00", "3 errors in 10:00:00"},
		{"10.251.123.132:50010: exception", "10.251.123.132:50010: exception"},
		{"march of time", "march of time"},
		{"container shop-1 was killed: out of memory", "container shop-1 was killed: out of memory"},
		// The last word stays, whatever it is.
		{"2026-11-22 10:00:00 ERROR", "ERROR"},
		{"2026-11-22 10:00:00", "10:00:00"},
		{"[error] ", "[error] "},
		{"", ""},
		{"  ", "  "},
	} {
		if got := said(c.line); got != c.want {
			t.Errorf("%q: %q, want %q", c.line, got, c.want)
		}
	}
}
