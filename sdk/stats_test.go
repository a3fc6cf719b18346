package sdk

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStats(t *testing.T) {
	const answer = `{"groups":[{"by":{"service":"pay","user":null},"time":"2026-11-21T11:20:00Z","count":2,"avg(d)":null},{"by":{"service":"","user":"x"},"time":"2026-11-21T11:25:00Z","count":1,"avg(d)":1.5}],` +
		`"other":{"groups":3,"values":[{"time":"2026-11-21T11:20:00Z","count":7,"avg(d)":2}]},"estimated":["avg(d)"],` +
		`"summary":{"searched":{"events":3,"bytes":40,"blocks":2,"pruned":6,"segments":4,"range":1,"filter":2,"forms":3,"counted":0},"matched":10,"complete":true,"sequence":9,"took_ms":1.5,"warnings":["w"]}}`
	c, seen := script(t, answer, `{"groups":[],"summary":{"complete":false,"reasons":["r"]}}`, `{"groups":[]}`, `400 {"error":{"code":"bad_parameter","message":"m","text":"a(","position":1,"end":2}}`)
	at := time.Date(2026, 11, 21, 11, 20, 0, 0, time.UTC)
	r := StatsRequest{Query: "x", Since: at, NoReports: true, AfterSequence: 3, MaxSequence: 8, By: []string{"service", "user, name"}, Every: 5 * time.Minute, Aggs: []string{"count", "avg(d)"}, Top: 2}
	got, err := c.Stats(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	pay, empty, x := "pay", "", "x"
	want := &Stats{
		Groups: []Group{
			{By: map[string]*string{"service": &pay, "user": nil}, Time: at, Values: map[string]float64{"count": 2}},
			{By: map[string]*string{"service": &empty, "user": &x}, Time: at.Add(5 * time.Minute), Values: map[string]float64{"count": 1, "avg(d)": 1.5}},
		},
		Other: []Group{{Time: at, Values: map[string]float64{"count": 7, "avg(d)": 2}}}, LeftOut: 3, Estimated: []string{"avg(d)"},
		Summary: Summary{Matched: 10, Events: 3, Bytes: 40, Blocks: 2, Pruned: 6, Scan: Scan{Segments: 4, Range: 1, Filter: 2, Forms: 3}, Sequence: 9, Took: 1500 * time.Microsecond, Warnings: []string{"w"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	buf := make([]byte, 1000)
	n, _ := (*seen)[0].Body.Read(buf)
	sent, _ := url.ParseQuery(string(buf[:n]))
	if diff := cmp.Diff(url.Values{"q": {"x"}, "since": {"2026-11-21T11:20:00Z"}, "reports": {"false"}, "after_sequence": {"3"}, "sequence": {"8"}, "by": {`service,"user, name"`}, "every": {"5m0s"}, "agg": {"count,avg(d)"}, "top": {"2"}}, sent); diff != "" {
		t.Error(diff)
	}
	var incomplete *IncompleteError
	if s, err := c.Stats(t.Context(), r); !errors.As(err, &incomplete) || incomplete.Reasons[0] != "r" || s == nil {
		t.Errorf("%v, %v", s, err)
	}
	var e *Error
	if _, err := c.Stats(t.Context(), r); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	if _, err := c.Stats(t.Context(), r); !errors.As(err, &e) || e.Text != "a(" || e.Position != 1 {
		t.Error(err)
	}
}

func TestQuoteName(t *testing.T) {
	for name, want := range map[string]string{"user.id": "user.id", "a b": `"a b"`, `a"b`: `'a"b'`, `a"'b`: "`a\"'b`", "": `""`} {
		if got := quoteName(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}
