package query

import (
	"fmt"
	"slices"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
	"pgregory.net/rapid"
)

// A set says of each event what its queries say one by one.
func TestSetLikeMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var events []event.Event
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			events = append(events, genEvent(t))
		}
		var queries []*Query
		for range rapid.IntRange(1, 8).Draw(t, "queries") {
			q, err := Parse(genQuery(t, &events[0], 3))
			if err != nil {
				q = nil
			}
			queries = append(queries, q)
		}
		set := NewSet(queries)
		var got []int
		for i := range 2 * len(events) { // the second time each source is known
			e := &events[i%len(events)]
			var want []int
			for i, q := range queries {
				if q != nil && q.Match(e) {
					want = append(want, i)
				}
			}
			if got = set.Match(got[:0], e); !slices.Equal(got, want) {
				t.Fatalf("queries %v, want %v, for %q of %q %v", got, want, e.Message, queries, e)
			}
		}
	})
}

// What a set finds depends on no order of events and on no literal that is part of another.
func TestSetOfLiterals(t *testing.T) {
	texts := []string{"he", "she", "hers", "his", "HERS", "usher", "~'h[ei]s'", "level:error", "level>=warning she", "service:(a, b) his", "-he", "x OR his OR service:a", "a:his", "message:USHERS", "zz", "~'(?i)Kelvin|his'"}
	var queries []*Query
	for _, text := range texts {
		q, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		queries = append(queries, q)
	}
	set := NewSet(queries)
	for i := range 3 * maxSources {
		e := event.Event{Level: event.Level(i % 9), Service: []byte([]string{"a", "b", fmt.Sprint(i)}[i%3]), Message: []byte([]string{"ushers", "UsHERS and his", "t his", "", "\u212aelvin"}[i%5])}
		if i%7 == 0 {
			e.Fields = []event.Field{{Name: []byte("a"), Value: []byte("his")}}
		}
		got := set.Match(nil, &e)
		for j, q := range queries {
			if q.Match(&e) != slices.Contains(got, j) {
				t.Fatalf("event %d: query %s: %v, the set has %v", i, texts[j], q.Match(&e), got)
			}
		}
	}
	if len(set.sources) > maxSources {
		t.Errorf("%d sources are remembered", len(set.sources))
	}
}
