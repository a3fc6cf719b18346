package index

import (
	"fmt"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// A search says how far it has come: never backwards, and at its end that it has come to the end, whatever was read and ruled out.
func TestProgress(t *testing.T) {
	s := openByHand(t)
	const events = 7*100 + 100
	for n := range 8 {
		var b event.Batch
		for i := range 100 {
			line(&b, []string{"a", "b"}[i%2], fmt.Sprintf("user %d logged in", 100*n+i), int64(100*n+i))
		}
		if n == 3 {
			line(&b, "a", "needle", 350)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if n < 7 { // the last are in memory
			seal(t, s)
		}
	}
	for _, q := range []string{"*", "user", "needle", "service:b", "service:none", `~"r [0-9]*7 l"`} {
		var done, total int64
		told := 0
		progress := func(d, all int64) {
			if d < done || d > all || told > 0 && all != total {
				t.Errorf("%s: %d of %d behind %d of %d", q, d, all, done, total)
			}
			done, total = d, all
			told++
		}
		stats := statsRequest(t, q, "service", "count")
		stats.Progress = progress
		for name, run := range map[string]func() error{
			"rows": func() error {
				_, err := s.Search(t.Context(), query.Request{Query: parse(t, q), Progress: progress}, func(query.Row) error { return nil })
				return err
			},
			"context": func() error {
				_, err := s.Search(t.Context(), query.Request{Query: parse(t, q), After: 1, Progress: progress}, func(query.Row) error { return nil })
				return err
			},
			"count": func() error {
				_, err := s.Search(t.Context(), query.Request{Query: parse(t, q), CountOnly: true, Progress: progress}, nil)
				return err
			},
			"stats": func() error {
				_, err := s.Aggregate(t.Context(), stats)
				return err
			},
		} {
			done, total, told = 0, 0, 0
			if err := run(); err != nil {
				t.Fatal(err)
			}
			if done != total || total > events+1 || total < events-100 || told < 7 {
				t.Errorf("%s, %s: %d of %d at the end, told %d times", q, name, done, total, told)
			}
		}
	}
}
