package main

import (
	"strings"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		done, total, did int64
		unit             string
		took             time.Duration
		width            int
		want             string
	}{
		{0, 2e9, 0, "bytes", 0, 60, "copying   0% [..............................] 0 B of 2.0 GB"},
		{5e8, 2e9, 5e8, "bytes", 5 * time.Second, 80, "copying  25% [#######.....................] 500 MB of 2.0 GB, 100 MB/s, 15s left"},
		{15e8, 2e9, 5e8, "bytes", 5 * time.Second, 70, "copying  75% [##############.....] 1.5 GB of 2.0 GB, 100 MB/s, 5s left"},
		{2e9, 2e9, 2e9, "bytes", 8 * time.Second, 60, "copying 100% [##################] 2.0 GB of 2.0 GB, 250 MB/s"},
		{1234567, 0, 1234567, "events", 10 * time.Second, 80, "copying 1,234,567 events, 123,456/s"},
		{50, 100, 50, "blocks", 0, 30, "copying  50% 50 of 100 blocks"},
		{50, 100, 50, "blocks", 0, 12, "copying  50%"},
		{120, 100, 50, "blocks", 0, 41, "copying 100% [########] 120 of 100 blocks"},
		{50, 100, 50, "blocks", 0, 0, ""},
	} {
		got := progressLine("copying", c.done, c.total, c.did, c.unit, c.took, c.width)
		if got != c.want || len(got) > c.width {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
	}
}

// Off a terminal nothing is written.
func TestProgressElsewhere(t *testing.T) {
	var out strings.Builder
	p := &program{stderr: &out, now: time.Now}
	b := p.progress("copying")
	b.set(1, 2, "bytes")
	b.end()
	if out.Len() > 0 {
		t.Errorf("%q", out.String())
	}
}
