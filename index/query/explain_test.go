package query

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"*", "everything"},
		{`"connection refused" -healthz`, `message and fields: contain "connection refused" in any case; bytes "connection refu" in any case
			not message and fields: contain "healthz" in any case`},
		{`~"panic|fatal"`, `message and fields: match "panic|fatal", that is contain "panic" or "fatal"`},
		{`~"x\d+ id 4711x,"`, `message and fields: match "x\d+ id 4711x,", with " id 4711x,"; bytes " id 4711x,"; filter 4711x`},
		{`~"\d+" OR level>=error`, "message and fields: match \"\\d+\", which has no literal\nlevel: emergency, alert, critical, error"},
		{"service:pay* host=db-1", `service: like "pay*" in any case; bytes "pay" in any case
			host: is "db-1"; bytes "db-1"; filter host=db-1`},
		{"status:500..599 duration_ms>1.5s", `field status: a number from 500 to 599; bytes "status"
			field duration_ms: a duration > 1.5s, taken as a duration by its name; bytes "duration_ms"`},
		{`id_x=4F2a9c1e77 n:50000 user!=Bob`, "field id_x: is \"4F2a9c1e77\"; bytes \"id_x 4F2a9c1e77\"; filter 4f2a9c1e77\n" +
			`field n: 50000 as text or a number; filter 50000
			field user: there, and not is "Bob"; bytes "user"`},
		{"ip:(10.0.0.0/8, *) message:é a a", `message: contain "é" in any case
			field ip: an address in 10.0.0.0/8 or anything; bytes "ip"
			message and fields: contain "a" in any case`},
		{"-level:* level:error -level:error", "not level: emergency, alert, critical, error, warning, notice, info, debug\nlevel: error\nnot level: error"},
	} {
		got := strings.Split(strings.Join(mustParse(t, c.query).Explain(), "\n"), "\n")
		want := strings.Split(strings.ReplaceAll(c.want, "\t", ""), "\n")
		for _, w := range want {
			found := false
			for _, g := range got {
				found = found || g == w
			}
			if !found || len(got) != len(want) {
				t.Errorf("%s: %q is not in\n%s", c.query, w, strings.Join(got, "\n"))
				break
			}
		}
	}
}
