package docker

import (
	"bytes"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func anyPosition(t *rapid.T) position {
	at := rapid.Int64Range(0, math.MaxInt64/2).Draw(t, "time")
	return position{time: at, count: rapid.Uint32().Draw(t, "count"), hash: rapid.Uint32().Draw(t, "hash"),
		high: at + rapid.Int64Range(0, 1<<61).Draw(t, "later")}
}

func TestCursorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cursor{anyPosition(t), anyPosition(t)}
		b := c.encode()
		if got, err := decodeCursor(b); err != nil || got != c {
			t.Fatalf("%+v came back as %+v, %v", c, got, err)
		}
		for n := range b {
			if _, err := decodeCursor(b[:n]); err == nil {
				t.Fatalf("cut to %d of %d bytes it is accepted", n, len(b))
			}
		}
		b[0]++
		if _, err := decodeCursor(b); err == nil {
			t.Fatal("another version is accepted")
		}
	})
}

// The bytes of version 1 stay readable.
func TestCursorGolden(t *testing.T) {
	golden := []byte("\x01\x00\x9a\x7d\x24\x7a\x45\xa2\x17\x02\x04\x03\x02\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x08\x07\x06\x05\xac\x02")
	want := cursor{{time: 1703000000000006656, count: 2, hash: 0x01020304, high: 1703000000000006656}, {time: 1, count: 1, hash: 0x05060708, high: 301}}
	if got, err := decodeCursor(golden); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if !bytes.Equal(want.encode(), golden) {
		t.Errorf("% x", want.encode())
	}
}

func FuzzCursor(f *testing.F) {
	f.Add((&cursor{{time: 5, count: 1, hash: 7, high: 9}}).encode())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCursor(b)
		if err != nil {
			return
		}
		if again, err := decodeCursor(c.encode()); err != nil || again != c {
			t.Fatalf("%+v came back as %+v, %v", c, again, err)
		}
	})
}

func TestSince(t *testing.T) {
	at := func(seconds int64) position { return position{time: seconds * 1e9, count: 1, high: seconds * 1e9} }
	back := position{time: 100e9, count: 1, high: 5000e9}
	for _, c := range []struct {
		name string
		c    cursor
		tty  bool
		want int64
	}{
		{"nothing was read", cursor{}, false, 0},
		{"a terminal", cursor{at(700), {}}, true, 700e9},
		{"one stream", cursor{at(700), {}}, false, 690e9}, // the other may have said something before that
		{"the other", cursor{{}, at(700)}, false, 690e9},
		{"just begun", cursor{at(7), {}}, false, 1},
		{"the one behind", cursor{at(15), at(7)}, false, 7e9},
		{"one that is silent for long", cursor{at(3), at(1000)}, false, 990e9},
		{"a clock that went back", cursor{back, at(5000)}, false, 100e9},
		{"a clock that went back, one stream", cursor{{}, back}, false, 100e9},
	} {
		if got := c.c.since(c.tty); got != c.want {
			t.Errorf("%s: %d", c.name, got)
		}
	}
}

func TestAPITime(t *testing.T) {
	for ns, want := range map[int64]string{1: "0.000000001", 1_700_000_000_123_456_789: "1700000000.123456789", 5e9: "5.000000000", 999: "0.000000999"} {
		if got := apiTime(ns); got != want {
			t.Errorf("%d is %s", ns, got)
		}
	}
}

func TestSkipper(t *testing.T) {
	type r struct {
		at   int64
		hash uint32
		want verdict
	}
	p := func(at int64, count, hash uint32) position { return position{at, count, hash, at} }
	for _, c := range []struct {
		name string
		to   position
		rows []r
		fix  uint32 // the count to go on with after isAnother
	}{
		{"no position", position{}, []r{{1, 1, isNew}}, 0},
		{"one row", p(5, 1, 9), []r{{4, 1, isOld}, {5, 9, isOld}, {5, 9, isNew}, {6, 1, isNew}}, 0},
		{"two of three equal rows", p(5, 2, 9), []r{{5, 9, isOld}, {5, 9, isOld}, {5, 9, isNew}}, 0},
		{"two of one time", p(5, 2, 9), []r{{5, 8, isOld}, {5, 9, isOld}, {5, 7, isNew}}, 0},
		{"none of its time", p(5, 0, 0), []r{{4, 1, isOld}, {5, 9, isNew}}, 0},
		{"the row is gone", p(5, 1, 9), []r{{6, 1, isLost}, {7, 1, isNew}}, 0},
		{"another has its place", p(5, 1, 9), []r{{5, 8, isAnother}}, 0},
		{"the first of two is gone", p(5, 2, 9), []r{{5, 9, isOld}, {5, 7, isAnother}}, 1},
		{"the first of two is gone, and no more come", p(5, 2, 9), []r{{5, 9, isOld}, {6, 7, isNew}}, 0},
		{"the second of two is gone", p(5, 2, 9), []r{{5, 8, isOld}, {6, 7, isAnother}}, 0},
		{"the clock went back", position{5, 1, 9, 8}, []r{{6, 1, isOld}, {8, 1, isOld}, {5, 9, isOld}, {6, 2, isNew}}, 0},
		{"the clock went back, and the row is gone", position{5, 1, 9, 8}, []r{{6, 1, isOld}, {9, 2, isLost}, {6, 2, isNew}}, 0},
	} {
		s := newSkipper(c.to)
		for i, r := range c.rows {
			if got := s.row(r.at, r.hash); got != r.want {
				t.Errorf("%s: row %d is %d, want %d", c.name, i, got, r.want)
			}
			if r.want == isAnother && s.correct().count != c.fix {
				t.Errorf("%s: goes on behind %d rows", c.name, s.correct().count)
			}
		}
	}
}

func TestRing(t *testing.T) {
	var g ring
	if _, ok := g.oldest(); ok || g.find(ringRow{}) != 0 || g.newest() != (ringRow{}) {
		t.Error("an empty ring has rows")
	}
	for i := range int64(3 * ringRows / 2) {
		g.add(ringRow{time: i})
		if g.newest() != (ringRow{time: i}) || g.find(ringRow{time: i}) != 1 {
			t.Fatalf("row %d is not the newest", i)
		}
	}
	if at, _ := g.oldest(); at != ringRows/2 {
		t.Errorf("the oldest is %d", at)
	}
	if g.find(ringRow{time: ringRows / 2}) != ringRows || g.find(ringRow{time: ringRows/2 - 1}) != 0 {
		t.Error("it remembers more or less than it has")
	}
}

func TestBefore(t *testing.T) {
	mk := func(at int64) ringRow { return ringRow{time: at, hash: uint32(at)} }
	var rotating rotation
	for i := int64(10); i <= 20; i++ {
		rotating.rows.add(mk(i))
	}
	at := position{time: 20, count: 1, high: 20}
	now := int64(100)
	for _, c := range []struct {
		name         string
		r            ringRow
		at           position
		open, filler bool
		now          int64
		old, replay  bool
	}{
		{"a new row", mk(21), at, false, false, now, false, false},
		{"the first of all", mk(5), position{}, false, false, now, false, false},
		{"the last one again", mk(20), at, false, false, now, true, false},
		{"another of its time", ringRow{time: 20, hash: 1}, at, false, false, now, false, false},
		{"a piece again", mk(20), at, true, false, now, true, false},
		{"a piece that may be equal", mk(20), at, true, true, now, false, false},
		{"one before", mk(15), at, false, false, now, true, true},
		{"the oldest remembered", mk(10), at, false, false, now, true, true},
		{"older than remembered", mk(3), at, false, false, now, true, true},
		{"older, but the clock went back", mk(3), at, false, false, 7, false, false},
		{"it would be remembered: the clock went back", ringRow{time: 15, hash: 1}, at, false, false, now, false, false},
		{"the clock went back before", mk(30), position{time: 20, count: 1, high: 40}, false, false, now, false, false},
	} {
		old, replay := rotating.before(c.r, c.at, &cursor{c.at}, c.open, c.filler, c.now)
		if old != c.old || replay != c.replay {
			t.Errorf("%s: %v, %v", c.name, old, replay)
		}
	}
}

func TestJumped(t *testing.T) {
	const ms = int64(time.Millisecond)
	// 100 rows of 136 bytes and rowSize beside them fill half a file of 40,000 bytes: 200 rows a file, one a millisecond.
	steady := func(waits bool, age time.Duration) *rotation {
		r := &rotation{size: 40_000, waits: waits}
		for i := range int64(100) {
			r.add(i*ms, 136, time.Unix(0, i*ms).Add(age))
		}
		return r
	}
	for _, c := range []struct {
		name string
		r    *rotation
		gap  int64
		want bool
	}{
		{"the next row", steady(false, time.Second), ms, false},
		{"a short pause", steady(false, time.Second), 40 * ms, false},
		{"a file's time, and that much behind", steady(false, time.Second), 200 * ms, true},
		{"a file's time, and up to date", steady(false, 10*time.Millisecond), 200 * ms, false},
		{"a file's time with a driver that waits", steady(true, 10*time.Millisecond), 200 * ms, true},
		{"too little was written to tell", &rotation{size: 40_000, waits: true, last: 5, bytes: 100}, 1e12, false},
	} {
		if got := c.r.jumped(c.r.last + c.gap); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	r := steady(true, 0)
	r.looked(nothingMissing, r.last+200*ms)
	if r.jumped(r.last + 300*ms) {
		t.Error("what was looked at in vain is looked at again")
	}
	r = steady(true, 0)
	r.looked(allGone, r.last+200*ms)
	if !r.jumped(r.last + 300*ms) {
		t.Error("after a loss the next one is not looked for")
	}
}

func TestFiller(t *testing.T) {
	for text, want := range map[string]bool{"xxxx": true, "abab": true, "abba": false, "abcd": false} {
		if filler([]byte(text)) != want {
			t.Error(text)
		}
	}
}
