package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

func TestFeedMakesEachEventOnce(t *testing.T) {
	const n = 12345
	want, g := []byte(nil), loadgen.New(longLoad)
	for range n {
		want = g.NDJSON(want)
	}
	var got []byte
	f := newFeed(longLoad)
	seen := int64(0)
	f.edit = func(i int64, events []byte, at int) []byte {
		if i != seen || at > 0 && events[at-1] != '\n' {
			t.Fatalf("edit is called for event %d at %d, want event %d at a line's begin", i, at, seen)
		}
		seen++
		return events
	}
	for _, until := range []int{0, 100, 100, n} {
		next := f.until(until)
		for b := next(); b != nil; b = next() {
			got = append(got, b...)
		}
		if f.made.Load() != int64(until) {
			t.Fatalf("%d events are made, want %d", f.made.Load(), until)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("the bodies are not what loadgen makes")
	}
}

func TestQuantile(t *testing.T) {
	var walls []time.Duration
	for i := range 200 {
		walls = append(walls, time.Duration(200-i))
	}
	for _, c := range []struct {
		walls []time.Duration
		q     float64
		want  time.Duration
	}{{nil, 0.99, 0}, {walls[:1], 0.99, 200}, {walls, 0.5, 101}, {walls, 0.99, 199}, {walls, 1, 200}} {
		if got := quantile(c.walls, c.q); got != c.want {
			t.Errorf("quantile %v of %d = %d, want %d", c.q, len(c.walls), got, c.want)
		}
	}
}

// The rules that are measured are a hundred different ones of all modes, and ask for services that the load has.
func TestRealRules(t *testing.T) {
	modes, names, meanings := map[string]int{}, map[string]bool{}, map[string]bool{}
	for _, r := range realRules(100) {
		if _, err := query.Parse(r["query"].(string)); err != nil {
			t.Errorf("%v: %v", r, err)
		}
		mode, _ := r["mode"].(string)
		modes[mode]++
		names[fmt.Sprint(r["name"])] = true
		delete(r, "name")
		delete(r, "channel")
		meanings[fmt.Sprint(r)] = true
	}
	for _, mode := range []string{"", "unexpected", "new", "rate", "spike", "absent"} {
		if modes[mode] < 5 {
			t.Errorf("%d rules of mode %q", modes[mode], mode)
		}
	}
	if len(names) != 100 || len(meanings) != 100 {
		t.Errorf("%d names and %d meanings of 100 rules", len(names), len(meanings))
	}
	services := map[string]bool{}
	for line := range bytes.Lines(newFeed(longLoad).until(5000)()) {
		var e struct{ Service string }
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		services[e.Service] = true
	}
	if got := slices.Sorted(maps.Keys(services)); !slices.Equal(got, loadServices) {
		t.Errorf("the load has the services %q", got)
	}
}
