package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRetentionText(t *testing.T) {
	for _, c := range []struct {
		name, answer, want string
	}{
		{"age", `{"classes":[{"name":"default","kept_for_seconds":2592000,"segments":41,"events":81000000,"bytes":9100000000,"oldest":"2026-10-22T00:00:03.2Z","bytes_per_day":310000000},
			{"name":"always","max_bytes":50000000000,"segments":0,"events":0,"bytes":0}],"bytes":9100000000,"max_bytes":200000000000,"bytes_per_day":310000000,
			"disk":{"free":91000000000,"size":250000000000,"reserve":12500000000,"full":false}}`, `
CLASS    KEPT FOR  LIMIT   EVENTS      BYTES   A DAY   OLDEST
default  30d       -       81,000,000  9.1 GB  310 MB  2026-10-22 00:00:03
always   ever      50 GB   0           0 B     -       -
all      -         200 GB  81,000,000  9.1 GB  310 MB  -
Forecast: what is removed by age makes room for what comes
Disk: 91 GB of 250 GB free, 12 GB are kept in reserve
`},
		{"bytes", `{"classes":[],"bytes":5,"max_bytes":200,"bytes_per_day":10,"full_in_seconds":1036800,"disk":{"free":91,"size":250,"reserve":12,"full_in_seconds":7200}}`, `
CLASS  KEPT FOR  LIMIT  EVENTS  BYTES  A DAY  OLDEST
all    -         200 B  0       5 B    10 B   -
Forecast: the limit is reached in 12d at this rate; then the oldest events go
Disk: full in 2h at this rate: 91 B of 250 B free, 12 B are kept in reserve
`},
		{"full and paused", `{"classes":[],"bytes":199,"max_bytes":200,"bytes_per_day":10,"waiting_segments":2,"paused":{"reason":"the \u001bclock","seconds":86400},"disk":{"free":9,"size":250,"reserve":12,"full":true}}`, `
CLASS  KEPT FOR  LIMIT  EVENTS  BYTES  A DAY  OLDEST
all    -         200 B  0       199 B  10 B   -
Forecast: the limit is reached; the oldest events go
Disk: full: 9 B of 250 B free, 12 B are kept in reserve: events are refused until there is space
Paused: nothing is removed by age for 1d: the \x1bclock
Waiting: 2 segments due, but alerting has not read all of their events yet
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k keptJSON
			if err := json.Unmarshal([]byte(c.answer), &k); err != nil {
				t.Fatal(err)
			}
			p := &program{}
			if diff := cmp.Diff(strings.TrimPrefix(c.want, "\n"), string(p.retentionText(&k, false, time.UTC))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
