package main

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pieces notes what is written at once.
type pieces struct {
	mu  sync.Mutex // the writer's timer writes on a goroutine of its own
	got []string
	err error
}

func (p *pieces) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, string(b))
	return len(b), p.err
}

// A line shows at once when none has shown for a moment; those close behind it show together, 20 ms later at most.
func TestSoonWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pieces
		w := newSoonWriter(t.Context(), &p, func() { t.Error("failed") })
		want := func(what ...string) {
			t.Helper()
			synctest.Wait()
			p.mu.Lock()
			defer p.mu.Unlock()
			if !slices.Equal(p.got, what) {
				t.Errorf("%q, want %q", p.got, what)
			}
		}
		w.Write([]byte("a"))
		want("a")
		w.Write([]byte("b"))
		<-time.After(soon / 2)
		w.Write([]byte("c"))
		want("a")
		<-time.After(soon / 2)
		want("a", "bc")
		<-time.After(time.Hour)
		w.Write([]byte("d"))
		want("a", "bc", "d")
		w.Write([]byte("e"))
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
		want("a", "bc", "d", "e")
	})
}

func TestSoonWriterFails(t *testing.T) {
	broken := errors.New("closed pipe")
	failed := 0
	w := newSoonWriter(t.Context(), &pieces{err: broken}, func() { failed++ })
	if _, err := w.Write([]byte("a")); err != broken || failed != 1 {
		t.Errorf("%v, told %d times", err, failed)
	}
	if _, err := w.Write([]byte("b")); err != broken || w.Flush() != broken || failed != 1 {
		t.Errorf("%v, told %d times", err, failed)
	}
}
