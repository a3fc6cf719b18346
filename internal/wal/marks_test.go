package wal

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// names lists the marks, least recently used first, as name=next/cursor.
func (s *marks) names() string {
	var out []string
	bytes := 0
	for p := s.oldest; p != nil; p = p.newer {
		out = append(out, fmt.Sprintf("%s=%d/%s", p.name, p.next, p.cursor))
		bytes += len(p.name) + len(p.cursor)
	}
	var back []string
	for p := s.newest; p != nil; p = p.older {
		back = append(back, fmt.Sprintf("%s=%d/%s", p.name, p.next, p.cursor))
	}
	slices.Reverse(back)
	if !slices.Equal(out, back) || len(out) != len(s.m) || bytes != s.bytes {
		return fmt.Sprintf("broken: %q, back %q, %d in the map, %d bytes instead of %d", out, back, len(s.m), s.bytes, bytes)
	}
	return strings.Join(out, " ")
}

func TestMarksGo(t *testing.T) {
	const hour = int64(time.Hour)
	set := func(s *marks, name string, next uint64) { s.set([]byte(name), next, []byte("c")) }
	for _, c := range []struct {
		name string
		do   func(s *marks)
		want string
	}{
		{"order of use", func(s *marks) { set(s, "a", 1); set(s, "b", 2); set(s, "a", 3) }, "b=2/c a=3/c"},
		{"a touch is a use", func(s *marks) { set(s, "a", 1); set(s, "b", 2); s.touch("a"); s.touch("none") }, "b=2/c a=1/c"},
		{"the oldest goes when there are too many", func(s *marks) {
			for i, n := range []string{"a", "b", "c", "a", "d"} {
				set(s, n, uint64(i))
			}
		}, "c=2/c a=3/c d=4/c"},
		{"or when they are too long", func(s *marks) {
			set(s, "a", 1)
			s.set([]byte("b"), 2, make([]byte, maxMarkBytes))
			set(s, "c", 3)
		}, "c=3/c"},
		{"one alone may be long", func(s *marks) {
			s.set([]byte("b"), 2, nil)
			s.bytes += maxMarkBytes
			set(s, "b", 3)
			s.bytes -= maxMarkBytes
		}, "b=3/c"},
		{"unused for the time to live", func(s *marks) {
			for h := range int64(12) {
				s.tick(1 + h*hour)
				if h == 0 {
					set(s, "a", 1)
				}
				if h < 2 {
					set(s, "b", 2)
				}
			}
		}, "b=2/c"},
		{"a second less", func(s *marks) {
			set(s, "a", 1)
			for h := range int64(11) {
				s.tick(1 + h*hour)
			}
		}, "a=1/c"},
		{"a used one stays", func(s *marks) {
			set(s, "a", 1)
			for h := range int64(100) {
				s.tick(1 + h*hour)
				s.touch("a")
			}
		}, "a=1/c"},
		{"the clock jumps a year", func(s *marks) {
			s.tick(1)
			set(s, "a", 1)
			s.tick(1 + 365*24*hour)
			s.tick(1)
			s.tick(1 + 365*24*hour)
		}, "a=1/c"},
		{"the clock jumps back", func(s *marks) {
			s.tick(1 + 365*24*hour)
			set(s, "a", 1)
			s.tick(1)
			set(s, "b", 2)
			for h := range int64(9) {
				s.tick(1 + h*hour)
			}
			kept := s.append(nil)
			*s = *newMarks(10 * time.Hour)
			if err := s.load(kept, 2); err != nil {
				panic(err)
			}
			s.tick(1)
			s.tick(1 + hour)
			set(s, "c", 3)
			s.tick(1 + 3*hour)
			s.tick(1 + 4*hour)
		}, "c=3/c"},
		{"age is kept over a restart", func(s *marks) {
			set(s, "a", 1)
			for h := range int64(8) {
				s.tick(1 + h*hour)
			}
			set(s, "b", 2)
			kept := s.append(nil)
			*s = *newMarks(10 * time.Hour)
			if err := s.load(kept, 2); err != nil {
				panic(err)
			}
			for h := range int64(5) {
				s.tick(100*hour + h*hour)
			}
		}, "b=2/c"},
	} {
		s := newMarks(10 * time.Hour)
		s.limit = 3
		c.do(s)
		if got := s.names(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// TestMarksModel holds the marks against a map, and their binary form against themselves.
func TestMarksModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, model := newMarks(time.Hour), map[string]string{}
		for range rapid.IntRange(0, 40).Draw(t, "n") {
			name := rapid.StringN(1, 3, 6).Draw(t, "name")
			next := rapid.Uint64().Draw(t, "next")
			cursor := rapid.StringN(0, 5, 20).Draw(t, "cursor")
			s.set([]byte(name), next, []byte(cursor))
			model[name] = fmt.Sprint(next, cursor)
		}
		b := s.append(nil)
		again := newMarks(time.Hour)
		if err := again.load(b, len(s.m)); err != nil {
			t.Fatal(err)
		}
		if s.names() != again.names() {
			t.Fatalf("wrote %s, read %s", s.names(), again.names())
		}
		got := map[string]string{}
		for name, m := range again.m {
			got[name] = fmt.Sprint(m.next, string(m.cursor))
		}
		if !maps.Equal(got, model) {
			t.Fatalf("got %v, want %v", got, model)
		}
		if len(b) > 0 {
			if newMarks(time.Hour).load(b[:len(b)-1], len(s.m)) == nil {
				t.Fatal("cut marks were read")
			}
		}
		if newMarks(time.Hour).load(append(b, 0), len(s.m)) == nil || newMarks(time.Hour).load(b, len(s.m)+1) == nil {
			t.Fatal("a wrong number of marks was read")
		}
	})
}

// TestMarksExpireInTheLog: the log's clock drives it.
func TestMarksExpireInTheLog(t *testing.T) {
	now := time.Unix(1e9, 0)
	l := start(t, Options{Now: func() time.Time { return now }, ProducerTTL: 90 * time.Minute})
	add(t, l, counted("p", 5, "a"))
	for range 3 { // a repeat is a use
		now = now.Add(time.Hour)
		if _, kept, err := l.Append(ctx, counted("p", 5, "a")); kept != 0 || err != nil {
			t.Fatal(kept, err)
		}
	}
	for range 2 {
		now = now.Add(time.Hour)
		if _, _, ok := l.Producer("p"); !ok {
			t.Fatal("expired too early")
		}
		add(t, l, lines("b"))
	}
	if _, _, ok := l.Producer("p"); ok {
		t.Fatal("still there")
	}
	add(t, l, counted("p", 5, "a")) // counts anew
}
