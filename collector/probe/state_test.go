package probe

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var begin = time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)

// play checks each five seconds, g for good and b for bad; r restarts the prober before the next check. It returns a sign a
// check: what changed, or the state in lower case where nothing did.
func play(t *testing.T, s *state, checks string, p periods) string {
	t.Helper()
	var out strings.Builder
	at := begin
	for _, c := range checks {
		if c == 'r' {
			stored, _, err := decodeCursor("x", s.encode(&target{}))
			if err != nil {
				t.Fatal(err)
			}
			*s = stored
			continue
		}
		changed := s.step(at, c == 'g', p)
		if changed == cameUp {
			s.settle()
		}
		if changed != noChange {
			out.WriteByte(" DU"[changed])
		} else {
			out.WriteByte("?ud"[s.status])
		}
		at = at.Add(5 * time.Second)
	}
	return out.String()
}

func TestStep(t *testing.T) {
	sec := time.Second
	for _, c := range []struct {
		confirm, recover time.Duration
		checks, want     string
	}{
		{10 * sec, 30 * sec, "ggg", "uuu"},
		{10 * sec, 30 * sec, "gbggggggggg", "uuuuuuuuuuu"},             // one bad check is not down
		{10 * sec, 30 * sec, "gbbg", "uuuu"},                           // nor are two: 5 s
		{10 * sec, 30 * sec, "gbbb", "uuuD"},                           // 10 s
		{10 * sec, 30 * sec, "bbb", "??D"},                             // from the start
		{10 * sec, 30 * sec, "bg", "?u"},                               // good at once
		{0, 30 * sec, "gbbb", "uDdd"},                                  // confirmed at once
		{10 * sec, 0, "bbbgbbbg", "??DUuuDU"},                          // recovered at once
		{0, 0, "bgbg", "DUDU"},                                         //
		{10 * sec, 30 * sec, "bbbggggggg", "??DddddddU"},               // good for 30 s
		{10 * sec, 30 * sec, "bbbggggggbggggggg", "??DdddddddddddddU"}, // the recovery begins anew
		{10 * sec, 30 * sec, "gbgbgbgbgb", "uuuuuDdddd"},               // flapping: down once
		{10 * sec, 30 * sec, "bbbgbgbgbgbgbggbgggbggggggg", "??D" + strings.Repeat("d", 23) + "U"},
		{10 * sec, 15 * sec, "gbggggbggggbgggg", strings.Repeat("u", 16)}, // between two blips it has recovered: 15 s good
		{10 * sec, 20 * sec, "gbgggbgggbggg", "uuuuuuuuuDddd"},            // it has not
		{10 * sec, 30 * sec, "bbbrbb", "??Ddd"},                           // down is not told again
		{10 * sec, 30 * sec, "bbbrggggggg", "??DddddddU"},                 // and up is told
		{10 * sec, 30 * sec, "bbbggggrggggggg", "??DddddddddddU"},         // the recovery begins anew: nobody watched
		{10 * sec, 30 * sec, "gbbrbb", "uuuuD"},                           // the failing time is kept, the gap not counted
		{10 * sec, 30 * sec, "gbrb", "uuu"},
		{10 * sec, 30 * sec, "grgbbb", "uuuuD"},
	} {
		var s state
		if got := play(t, &s, c.checks, periods{c.confirm, c.recover, time.Minute}); got != c.want {
			t.Errorf("confirm %v recover %v: %s gives %s, want %s", c.confirm, c.recover, c.checks, got, c.want)
		}
	}
}

// Time in which the prober did not run counts for nothing.
func TestStepAfterSuspension(t *testing.T) {
	p := periods{confirm: 10 * time.Second, recover: 30 * time.Second, most: 7 * time.Second}
	var s state
	at := begin
	for i, c := range []struct {
		after time.Duration
		ok    bool
		want  change
	}{
		{0, false, noChange}, {time.Hour, false, noChange}, {5 * time.Second, false, wentDown},
		{5 * time.Second, true, noChange}, {24 * time.Hour, true, noChange}, {24 * time.Hour, true, noChange}, {-time.Hour, true, noChange},
		{time.Hour, true, noChange}, {time.Hour, true, noChange}, {time.Hour, true, cameUp},
	} {
		at = at.Add(c.after)
		if got := s.step(at, c.ok, p); got != c.want {
			t.Errorf("check %d: %v, want %v", i, got, c.want)
		}
	}
}

type step struct {
	after   time.Duration // since the check before
	ok      bool
	restart bool // before it
}

// naive says from the whole history what step must have said, one entry a check.
func naive(history []step, p periods) []change {
	var out []change
	from, isDown := 0, false // the first check after the last recovery
	for n := range history {
		gap := func(i int) time.Duration { // watched time between check i-1 and i
			if history[i].restart {
				return 0
			}
			return min(history[i].after, p.most)
		}
		first := -1 // failed check since from
		var failed time.Duration
		for i := from; i <= n; i++ {
			if first >= 0 && !history[i-1].ok {
				failed += gap(i)
			}
			if first < 0 && !history[i].ok {
				first = i
			}
		}
		c := noChange
		if first >= 0 {
			if !history[n].ok {
				if !isDown && failed >= p.confirm {
					isDown, c = true, wentDown
				}
			} else {
				var good time.Duration
				for i := n; history[i-1].ok && !history[i].restart; i-- {
					good += gap(i)
				}
				if good >= p.recover {
					if isDown {
						isDown, c = false, cameUp
					}
					from = n + 1
				}
			}
		}
		out = append(out, c)
	}
	return out
}

func TestStepAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(most int, name string) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Second
		}
		p := periods{seconds(20, "confirm"), seconds(30, "recover"), seconds(14, "most") + time.Second}
		bias := rapid.IntRange(1, 9).Draw(t, "bias")
		history := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			return step{
				after: time.Duration(rapid.IntRange(1, 20).Draw(t, "after")) * time.Second,
				ok:    rapid.IntRange(0, 9).Draw(t, "ok") < bias, restart: rapid.IntRange(0, 9).Draw(t, "restart") == 0,
			}
		}), 1, 60).Draw(t, "history")
		var s state
		var got []change
		at := begin
		var downAt, goodAt time.Time
		last := cameUp
		for i, h := range history {
			at = at.Add(h.after)
			if h.restart && i > 0 {
				stored, gone, err := decodeCursor("x", s.encode(&target{}))
				if err != nil || (gone != nil) != (s.status == down) {
					t.Fatalf("stored %+v: %v %v", s, gone, err)
				}
				s = stored
			}
			c := s.step(at, h.ok, p)
			got = append(got, c)
			switch c {
			case wentDown:
				if last == wentDown || h.ok || s.failing.After(at) {
					t.Fatalf("down at check %d: %+v", i, s)
				}
				downAt = at
			case cameUp:
				if last != wentDown || !h.ok || s.good.Before(downAt) || s.failing.After(s.good) {
					t.Fatalf("up at check %d: %+v", i, s)
				}
				s.settle()
			}
			if c != noChange {
				last = c
			}
			if !h.ok {
				goodAt = time.Time{}
			} else if goodAt.IsZero() {
				goodAt = at
			}
			if c == cameUp && at.Sub(goodAt) < p.recover {
				t.Fatalf("up at check %d after %v of good ones", i, at.Sub(goodAt))
			}
		}
		if want := naive(history, p); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v\ngot  %v\nwant %v", p, history, got, want)
		}
	})
}

func TestCursorKeepsTheState(t *testing.T) {
	s := state{status: down, since: begin, failing: begin.Add(-time.Minute), failed: 17 * time.Second, lastOK: true, last: begin}
	who := &target{Target: Target{Name: "sales", Service: "shop", Env: "prod", Container: "sales-1", Page: true}, shown: "http://sales/"}
	got, gone, err := decodeCursor("sales", s.encode(who))
	if err != nil {
		t.Fatal(err)
	}
	if got.status != down || !got.since.Equal(s.since) || !got.failing.Equal(s.failing) || got.failed != s.failed || !got.last.IsZero() {
		t.Errorf("%+v", got)
	}
	if !reflect.DeepEqual(gone, who) {
		t.Errorf("%+v", gone)
	}
}

func TestCursorsThatAreNotRead(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `the stored state of probe "x"`,
		"\x00":                   `the stored state of probe "x"`,
		`{"v":2,"state":"up"}`:   "has version 2; this lookout knows 1",
		`{"v":1,"state":"gone"}`: `is "gone"`,
	} {
		if s, gone, err := decodeCursor("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) || gone != nil || s.status != unknown {
			t.Errorf("%q: %+v %v %v", text, s, gone, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"v":1,"state":"down","since":1,"failing":1,"failed":-5,"gone":{"service":"a","url":"b"}}`))
	f.Add([]byte(`{"v":1,"state":"down"}`))
	f.Add([]byte(`{"v":1,"targets":{"a":["b"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, gone, err := decodeCursor("x", data); err == nil {
			if (gone != nil) != (s.status == down) || s.failed < 0 || s.status == down && fmt.Sprint(gone.Name) != "x" {
				t.Fatalf("%+v %+v", s, gone)
			}
			s.step(begin, true, periods{})
		}
		_, _ = decodeRoster(data)
	})
}
