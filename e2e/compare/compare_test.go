package main

import (
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFactsOf(t *testing.T) {
	corpus := `{"time":"2026-11-19T00:00:00.5Z","message":"first"}
{"time":"2026-11-19T01:00:00Z","message":"this line is long, so that the middle is in it, and what follows is the second half"}
{"time":"2026-11-19T02:00:00Z","message":"blk_-1111111111 twice","request_id":"abc"}
{"time":"2026-11-19T03:00:00Z","message":"blk_-1111111111 blk_2222222222"}
{"time":"2026-11-19T23:59:59Z","message":"blk_-3333333333 once"}
`
	got, err := factsOf([]byte(corpus))
	if err != nil {
		t.Fatal(err)
	}
	want := facts{5, time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC), "abc", "3333333333"}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := factsOf([]byte(`{"time":"2026-11-19T00:00:00Z","message":"no needle"}`)); err == nil {
		t.Error("a corpus without needles is none")
	}
}

func TestRead(t *testing.T) {
	const summary = `{"summary":{"matched":7,"complete":true}}` + "\n"
	for _, c := range []struct {
		name string
		read func(*tally) (answer, error)
		body string
		want answer
	}{
		{"count", readSummary, summary, answer{matched: 7}},
		{"rows", readRows, `{"event":{"time":"1970-01-01T00:00:02Z"}}` + "\n" + `{"event":{"time":"1970-01-01T00:00:01Z","message":"\"time\":\"1970-01-01T00:00:00Z\""}}` + "\n" + summary,
			answer{matched: 2, oldest: 1e9}},
		{"VictoriaLogs' rows", readVLRows, `{"_time":"1970-01-01T00:00:03Z"}` + "\n" + `{"_time":"1970-01-01T00:00:02Z"}` + "\n", answer{matched: 2, oldest: 2e9}},
		{"VictoriaLogs' nothing", readVLRows, "", answer{}},
		{"VictoriaLogs' groups", readVLStats, `{"service":"a","c":"3"}` + "\n" + `{"service":"b","c":"4"}`, answer{matched: 7, groups: 2}},
		{"groups", readStats, `{"groups":[{"by":{"service":"a"},"count":3},` + "\n" + `{"by":{"service":"b"},"count":4}],"other":{"groups":1,"values":[{"count":9}]},"summary":{"matched":16}}`,
			answer{matched: 7, groups: 2}},
		{"groups of a quantile", readStats, `{"groups":[{"by":{"service":"a"},"p99(duration_ms)":3.5}]}`, answer{groups: 1}},
	} {
		tally, err := drain(iotest.OneByteReader(strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.read(tally)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := readRows(&tally{last: []byte(`{"error":{"code":"x"}}`)}); err == nil {
		t.Error("an answer without a summary is complete")
	}
}

func TestDrain(t *testing.T) {
	line := strings.Repeat("x", 99) + "\n"
	body := strings.Repeat(line, keep/len(line)+2) + "the last"
	for _, chunk := range []int{1 << 10, 100, 256 << 10} {
		got, err := drain(&chunks{body, chunk})
		if err != nil {
			t.Fatal(err)
		}
		want := &tally{bytes: int64(len(body)), lines: int64(strings.Count(body, "\n") + 1), last: []byte("the last")}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(tally{})); diff != "" {
			t.Errorf("chunks of %d: %s", chunk, diff)
		}
	}
}

// chunks reads a text in parts of one length.
type chunks struct {
	text string
	size int
}

func (c *chunks) Read(b []byte) (int, error) {
	n, err := strings.NewReader(c.text).Read(b[:min(c.size, len(b))])
	c.text = c.text[n:]
	return n, err
}

func TestRows(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rows(facts{since: time.Now(), until: time.Now(), requestID: "a", token: "0123456789012"}) {
		if names[r.name] || r.goal <= 0 || r.lookout.read == nil || r.vl.read == nil {
			t.Errorf("%q has a name of another row, no goal or no reader", r.name)
		}
		names[r.name] = true
	}
}
