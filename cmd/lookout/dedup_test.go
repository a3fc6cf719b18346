package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/sdk"
)

// Rows that come live are held for a second at most, each anew.
func TestDedupLive(t *testing.T) {
	var out bytes.Buffer
	l := look{form: formAuto, zone: time.UTC, dedup: "message"}
	p := l.printer(&out)
	var due []func()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row := func(message string) {
		t.Helper()
		at = at.Add(100 * time.Millisecond)
		if err := p.row(&sdk.Row{Event: sdk.Event{Time: at, Service: "web", Message: message}}); err != nil {
			t.Fatal(err)
		}
	}
	printed := func(want string) {
		t.Helper()
		if out.String() != want {
			t.Errorf("printed %q, want %q", out.String(), want)
		}
		out.Reset()
	}
	row("a")
	p.repeats.live(func(d time.Duration, f func()) {
		if d > time.Second {
			t.Errorf("a row is held for %v", d)
		}
		due = append(due, f)
	})
	row("a")
	printed("")
	due[0]() // a second has passed
	printed("2026-01-02 03:04:05.100 web: a ×2 until 03:04:05.200\n")
	row("a") // a repeat goes on on a line of its own
	row("b")
	printed("2026-01-02 03:04:05.300 web: a\n")
	due[1]() // of a row that is printed
	printed("")
	row("b")
	due[2]()
	printed("2026-01-02 03:04:05.400 web: b ×2 until 03:04:05.500\n")
	row("c")
	if err := p.flush(); err != nil {
		t.Fatal(err)
	}
	printed("2026-01-02 03:04:05.600 web: c\n")
}
