package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
)

type retained query.RetentionInfo

func (r *retained) Retention() query.RetentionInfo { return query.RetentionInfo(*r) }

func TestRetention(t *testing.T) {
	r := &retained{}
	f := newFixture(t, func(o *Options) { o.Retainer = r })
	ask := func() string {
		t.Helper()
		resp := f.do("GET", "/api/v1/retention", "")
		if resp.Code != http.StatusOK {
			t.Fatalf("%d %s", resp.Code, resp.Body)
		}
		return resp.Body.String()
	}
	if diff := cmp.Diff(`{"classes":[],"bytes":0}`+"\n", ask()); diff != "" {
		t.Error(diff)
	}
	*r = retained{
		Classes: []query.ClassInfo{
			{Name: "default", Age: 720 * time.Hour, Segments: 3, Events: 4, Bytes: 5, Oldest: time.Unix(1_700_000_000, 0), BytesPerDay: 6},
			{Name: "audit", MaxBytes: 7},
		},
		Bytes: 8, MaxBytes: 9, BytesPerDay: 10, FullIn: 1500 * time.Millisecond, DiskFree: 11, DiskTotal: 1200, DiskReserve: 60, DiskFullIn: time.Minute,
		Paused: "the clock has jumped", PausedFor: time.Hour, Waiting: 13,
	}
	want := `{"classes":[{"name":"default","kept_for_seconds":2592000,"segments":3,"events":4,"bytes":5,"oldest":"2023-11-14T22:13:20.000000000Z","bytes_per_day":6},` +
		`{"name":"audit","max_bytes":7,"segments":0,"events":0,"bytes":0}],"bytes":8,"max_bytes":9,"bytes_per_day":10,"full_in_seconds":2,` +
		`"disk":{"free":11,"size":1200,"reserve":60,"full":true,"full_in_seconds":60},"paused":{"reason":"the clock has jumped","seconds":3600},"waiting_segments":13}` + "\n"
	if diff := cmp.Diff(want, ask()); diff != "" {
		t.Error(diff)
	}
}
