package main

import (
	"bytes"
	"testing"
	"time"

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
