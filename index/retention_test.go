package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// aging is a store with a clock and a time that goes on evenly, both of which the test moves.
type aging struct {
	t    *testing.T
	o    Options
	s    *Store
	c    *compactor
	wall time.Time
	mono int64
	said bytes.Buffer
}

func newAging(t *testing.T, r Retention, change ...func(*Options)) *aging {
	a := &aging{t: t, wall: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	a.o = Options{
		Dir: "/store", FS: vfs.NewCrash(1), byHand: true, CompactShare: 1, Retention: r, logSegment: 4096, Classify: byName,
		Now: func() time.Time { return a.wall }, mono: func() int64 { return a.mono }, Log: slog.New(slog.NewTextHandler(&a.said, nil)),
	}
	for _, fn := range change {
		fn(&a.o)
	}
	a.open()
	return a
}

// onDisk has the store in a real folder, for a test that looks into its files.
func onDisk(t *testing.T) func(*Options) {
	return func(o *Options) { o.FS, o.Dir = vfs.OS, t.TempDir() }
}

// byName takes a service's name for its class.
func byName(service string) (string, func(*event.Event) string) { return service, nil }

func (a *aging) open() {
	a.t.Helper()
	a.s = open(a.t, a.o)
	a.c = newCompactor(a.s)
}

func (a *aging) reopen() {
	a.t.Helper()
	if err := a.s.Close(context.Background()); err != nil {
		a.t.Fatal(err)
	}
	a.open()
}

// pass lets time pass, and retention look each hour.
func (a *aging) pass(d time.Duration) {
	a.t.Helper()
	for ; d > 0; d -= time.Hour {
		step := min(d, time.Hour)
		a.wall, a.mono = a.wall.Add(step), a.mono+int64(step)
		a.look()
	}
}

// jump puts the clock forward, and nothing else.
func (a *aging) jump(d time.Duration) { a.wall = a.wall.Add(d) }

func (a *aging) look() {
	a.t.Helper()
	if err := a.c.retain(); err != nil {
		a.t.Fatal(err)
	}
}

// say appends an event of a service and seals it.
func (a *aging) say(service string, text ...string) {
	a.t.Helper()
	var b event.Batch
	line(&b, service, strings.Join(append(text, fmt.Sprint("event ", a.s.LastSeq()+1)), " "), a.wall.UnixNano())
	if err := a.s.Append(a.t.Context(), &b); err != nil {
		a.t.Fatal(err)
	}
	seal(a.t, a.s)
}

// want compares the sequences that are left, by search, by Follow and by Services.
func (a *aging) want(sequences ...uint64) {
	a.t.Helper()
	a.check(a.s, sequences)
}

func (a *aging) check(s *Store, want []uint64) {
	a.t.Helper()
	var got []uint64
	sum, err := s.Search(a.t.Context(), query.Request{}, func(r query.Row) error {
		got = append(got, r.Event.Seq)
		return nil
	})
	if err != nil || !sum.Complete {
		a.t.Errorf("%+v, %v", sum, err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		a.t.Errorf("sequences that are left:\n%s%s", diff, &a.said)
	}
	n := int64(0)
	for _, info := range s.Services() {
		n += info.Events
	}
	if n != int64(len(want)) {
		a.t.Errorf("services say %d events, %d are left", n, len(want))
	}
	ranges(a.t, s)
}

const days = 24 * time.Hour

func TestRetentionByAgeOfClasses(t *testing.T) {
	a := newAging(t, Retention{Age: 3 * days, Classes: map[string]ClassRetention{"audit": {Age: 6 * days}, "always": {}}})
	say := func() {
		for _, service := range []string{"default", "audit", "always", "rollup"} {
			a.say(service)
		}
	}
	say()
	a.pass(3*days - time.Hour)
	say()
	a.want(1, 2, 3, 4, 5, 6, 7, 8)
	a.pass(time.Hour)
	a.want(2, 3, 4, 5, 6, 7, 8)
	a.pass(3*days - time.Hour)
	a.want(2, 3, 4, 6, 7, 8)
	a.pass(time.Hour)
	a.want(3, 4, 6, 7, 8)
	a.reopen()
	a.want(3, 4, 6, 7, 8)
	a.pass(393 * days)
	a.want(3, 4, 7, 8)
	a.pass(2 * days)
	a.want(3, 7, 8)
	a.pass(3 * days)
	a.want(3, 7)
	st := a.s.Stats()
	if st.ExpiredEvents != 3 || st.ExpiredByAge == 0 || st.ExpiredBySize != 0 || st.ExpiredBytes == 0 || st.RetentionErrors != 0 || st.ClassBytes["always"] == 0 {
		t.Errorf("%+v", st)
	}
	// Another configuration: classes that are no longer named are kept as the default one is.
	a.o.Retention = Retention{Age: days}
	a.reopen()
	a.look()
	a.want()
	a.say("default")
	a.want(9)
}

// Other rules of a store that is open, as a reload of the configuration sets them.
func TestSetRetention(t *testing.T) {
	a := newAging(t, Retention{}, func(o *Options) { o.Classify = nil })
	a.say("shop")
	a.say("audit")
	a.pass(10 * days) // of which nothing watches the clock
	a.say("shop")
	a.want(1, 2, 3)
	a.s.SetRetention(Retention{Age: 2 * days, Classes: map[string]ClassRetention{"audit": {Age: 4 * days}}}, byName)
	if info := a.s.Retention(); len(info.Classes) != 2 || info.Classes[0].Age != 2*days || info.Classes[1].Age != 4*days {
		t.Errorf("%+v", info)
	}
	a.look()
	a.want(3)
	a.say("audit") // by its service's class from now on
	a.say("shop")
	a.pass(3 * days)
	a.want(4)
	a.s.SetRetention(Retention{Age: 30 * days}, nil) // the class stays, its rules are gone
	a.pass(20 * days)
	a.want(4)
	a.say("audit")
	if info := a.s.Retention(); info.Classes[0].Name != segment.DefaultClass || info.Classes[0].Events != 1 {
		t.Errorf("%+v", info)
	}
	a.s.SetRetention(Retention{MaxBytes: 1}, nil)
	a.look()
	a.want()
	a.s.SetRetention(Retention{}, nil)
	a.say("shop")
	a.pass(400 * days)
	a.want(7)
}

// A clock that jumps before retention by age is turned on, and afterwards.
func TestSetRetentionWithAWrongClock(t *testing.T) {
	a := newAging(t, Retention{})
	a.say("default")
	a.jump(365 * days)
	a.look()
	a.s.SetRetention(Retention{Age: 30 * days}, nil)
	a.look()
	if got := a.s.Retention().PausedFor; got != days {
		t.Errorf("paused for %v", got)
	}
	a.want(1)
	a.jump(-365 * days)
	a.pass(3 * days)
	a.want(1)
	a.pass(30 * days)
	a.want()
}

// The clock is put a year forward and back, at once or in turns, running or stopped: nothing is removed by it, and what is due is
// removed a day after.
func TestClockJumps(t *testing.T) {
	const year = 365 * days
	for _, c := range []struct {
		name  string
		moves []time.Duration // of the clock; between them half a day passes and an event comes
		stops bool            // the store is stopped meanwhile
	}{
		{"forward and back", []time.Duration{year, -year}, false},
		{"back and forward", []time.Duration{-year, year}, false},
		{"forward, forward, back", []time.Duration{year, year, -2 * year}, false},
		{"forward and back while stopped", []time.Duration{year, -year}, true},
		{"back and forward while stopped", []time.Duration{-year, year}, true},
		{"a little more than an hour", []time.Duration{61 * time.Minute, -61 * time.Minute}, false},
		{"wrong at the start", []time.Duration{-56 * year, 56 * year}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAging(t, Retention{Age: 10 * days, Classes: map[string]ClassRetention{"audit": {Age: 20 * days}}})
			var all []uint64
			say := func(service string) {
				a.say(service)
				all = append(all, a.s.LastSeq())
			}
			for range 3 {
				say("default")
				a.pass(days)
			}
			say("audit")
			for _, d := range c.moves {
				if c.stops {
					if err := a.s.Close(context.Background()); err != nil {
						t.Fatal(err)
					}
					a.jump(d)
					a.mono = 0
					a.open()
				} else {
					a.jump(d)
				}
				a.look()
				a.want(all...)
				if info := a.s.Retention(); !strings.Contains(info.Paused, "clock") || info.PausedFor != steadyFor {
					t.Errorf("%+v", info)
				}
				say("default")
				a.pass(12 * time.Hour)
				a.want(all...)
			}
			if !strings.Contains(a.said.String(), "the clock has jumped") {
				t.Errorf("nothing was said: %s", &a.said)
			}
			a.pass(13 * time.Hour)
			if info := a.s.Retention(); info.Paused != "" || a.s.Stats().RetentionPaused != 0 {
				t.Errorf("still paused: %+v", info)
			}
			a.want(all...)
			// Ten days after it came the first event goes.
			passed := 3*days + time.Duration(len(c.moves))*12*time.Hour + 13*time.Hour
			a.pass(10*days - passed - 2*time.Hour)
			a.want(all...)
			a.pass(4 * time.Hour)
			a.want(all[1:]...)
			a.pass(40 * days)
			a.want()
		})
	}
}

// A clock that jumps is noticed with the next event, and what comes before anybody has looked is not taken for old.
func TestClockJumpsBetweenLooks(t *testing.T) {
	a := newAging(t, Retention{Age: 10 * days})
	a.say("default")
	a.look()
	a.jump(365 * days)
	a.say("default")
	a.jump(-365 * days)
	a.say("default")
	a.look()
	a.want(1, 2, 3)
	a.pass(9 * days)
	a.want(1, 2, 3)
	if st := a.s.Stats(); st.ClockJumps != 2 {
		t.Errorf("%+v", st)
	}
	a.pass(2 * days)
	a.want()
}

// A jump that no longer matters to any event is forgotten.
func TestOldJumpsAreForgotten(t *testing.T) {
	a := newAging(t, Retention{Age: 2 * days})
	a.say("default")
	a.look()
	a.jump(5 * time.Hour)
	a.look()
	a.say("default")
	if len(a.s.state.Jumps) != 1 {
		t.Fatalf("%+v", a.s.state)
	}
	a.pass(3 * days)
	a.want()
	if len(a.s.state.Jumps) != 0 {
		t.Errorf("%+v", a.s.state)
	}
}

// A store that was stopped for long has its events for a day, and then as long as they are kept: a stop is no jump.
func TestLongStop(t *testing.T) {
	a := newAging(t, Retention{Age: 10 * days})
	a.say("default")
	a.pass(days)
	a.say("default")
	a.s.Close(context.Background())
	a.wall = a.wall.Add(8*days + time.Hour)
	a.open()
	a.look()
	a.want(1, 2)
	a.pass(23 * time.Hour)
	a.want(1, 2)
	a.pass(2 * time.Hour)
	a.want(2)
	// The pause goes on over another start.
	a.s.Close(context.Background())
	a.wall = a.wall.Add(20 * days)
	a.open()
	a.pass(12 * time.Hour)
	a.reopen()
	a.pass(11 * time.Hour)
	a.want(2)
	a.pass(2 * time.Hour)
	a.want()
}

// A store from before there was retention has no look to compare with: its newest event will do.
func TestFirstStartWithAWrongClock(t *testing.T) {
	a := newAging(t, Retention{})
	a.say("default")
	a.s.Close(context.Background())
	a.o.Retention = Retention{Age: 10 * days}
	a.jump(365 * days)
	a.open()
	a.pass(20 * time.Hour)
	a.want(1)
	a.s.Close(context.Background())
	a.jump(-365 * days)
	a.open()
	a.pass(5 * days)
	a.want(1)
	a.pass(5 * days)
	a.want()
}

func TestRetentionByBytes(t *testing.T) {
	text := strings.Repeat("some text that takes place ", 40)
	size := func(a *aging) (n int64) {
		for _, seg := range a.s.segments {
			n = max(n, seg.Size())
		}
		return n
	}
	t.Run("total", func(t *testing.T) {
		a := newAging(t, Retention{MaxBytes: -1, Classes: map[string]ClassRetention{"audit": {Age: days}}})
		for range 4 {
			a.say("default", text)
			a.say("audit", text)
		}
		a.look()
		a.want(1, 2, 3, 4, 5, 6, 7, 8)
		total := a.s.Retention().Bytes
		a.o.Retention.MaxBytes = total
		a.reopen()
		a.look()
		a.want(1, 2, 3, 4, 5, 6, 7, 8)
		a.o.Retention.MaxBytes = total - 1 // the oldest goes first, whatever its class
		a.reopen()
		a.look()
		a.want(2, 3, 4, 5, 6, 7, 8)
		a.o.Retention.MaxBytes = 2 * size(a)
		a.reopen()
		a.look()
		if got := a.s.Retention().Bytes; got > 2*size(a) || got == 0 {
			t.Errorf("%d bytes", got)
		}
		if st := a.s.Stats(); st.ExpiredBySize == 0 || st.ExpiredByAge != 0 {
			t.Errorf("%+v", st)
		}
		a.o.Retention.MaxBytes = 1
		a.reopen()
		a.look()
		a.want()
		// Sequences go on where they were, and nothing of the log comes back.
		a.o.Retention.MaxBytes = -1
		a.reopen()
		a.want()
		a.say("default")
		a.want(9)
	})
	t.Run("a class", func(t *testing.T) {
		a := newAging(t, Retention{MaxBytes: -1, Classes: map[string]ClassRetention{"audit": {MaxBytes: 1}}})
		for range 2 {
			a.say("default", text)
			a.say("audit", text)
		}
		a.look()
		a.want(1, 3)
	})
	t.Run("a class with a limit of its own has its share", func(t *testing.T) {
		a := newAging(t, Retention{MaxBytes: -1, Classes: map[string]ClassRetention{"audit": {MaxBytes: 1 << 20}}})
		for range 2 {
			a.say("audit", text)
			a.say("default", text)
		}
		a.o.Retention.MaxBytes = a.s.Retention().Bytes - 100 // more than a segment without events
		a.reopen()
		a.look()
		a.want(1, 3, 4)
		a.o.Retention.MaxBytes = 2 * size(a) // the default class has nothing left to give
		a.reopen()
		a.look()
		a.want(1, 3)
		a.o.Retention.MaxBytes = size(a)
		a.reopen()
		a.look()
		a.want(3)
	})
	t.Run("half of the file system", func(t *testing.T) {
		disk := uint64(1 << 40)
		a := newAging(t, Retention{}, func(o *Options) { o.Free = func() (uint64, uint64, error) { return disk, disk, nil } })
		a.say("default", text)
		a.say("default", text)
		a.look()
		a.want(1, 2)
		disk = 2 * uint64(size(a)+10)
		a.s.lookAtSpace()
		a.look()
		a.want(2)
	})
}

// Nothing is removed that not everybody has read who must.
func TestRetentionWaitsForReaders(t *testing.T) {
	passed := uint64(0)
	a := newAging(t, Retention{Age: days, Classes: map[string]ClassRetention{"audit": {MaxBytes: 1, Age: days}}}, func(o *Options) { o.Passed = func() uint64 { return passed } })
	for range 3 {
		a.say("default")
		a.say("audit")
	}
	a.pass(3 * days)
	a.want(1, 2, 3, 4, 5, 6)
	if info := a.s.Retention(); info.Waiting < 6 {
		t.Errorf("%+v", info)
	}
	passed = 2
	a.look()
	a.want(3, 4, 5, 6)
	passed = 5
	a.look()
	a.want(6)
	passed = 6
	a.look()
	a.want()
	if info := a.s.Retention(); info.Waiting != 0 {
		t.Errorf("%+v", info)
	}
}

// A segment that cannot be read is as old as what follows it, and takes what it made incomplete with it.
func TestDamagedSegmentsExpire(t *testing.T) {
	a := newAging(t, Retention{Age: 3 * days}, onDisk(t))
	for i := range 3 {
		if a.say("default"); i < 2 {
			a.pass(days)
		}
	}
	victim := filepath.Join(a.s.segmentDir(), segment.Name(0, 1, segment.DefaultClass))
	a.s.Close(context.Background())
	data, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("LKB"))+24] ^= 1
	data[len(data)-12] ^= 1
	if err := os.WriteFile(victim, data, 0o600); err != nil {
		t.Fatal(err)
	}
	a.open()
	if n := a.s.Stats().Damaged; n == 0 {
		t.Fatal("nothing is damaged")
	}
	a.pass(days + time.Hour) // the first is due, but does not say so
	if got := ranges(t, a.s); len(got) != 3 {
		t.Errorf("%q", got)
	}
	a.pass(days)
	a.want(3)
	if n := a.s.Stats().Damaged; n != 0 {
		t.Errorf("%d parts are damaged", n)
	}
}

// A follower passes over what was removed, without a word, and gets what other classes have of the same time. What was not removed on
// purpose is a gap.
func TestFollowingBehindRetention(t *testing.T) {
	a := newAging(t, Retention{Age: days, MaxBytes: -1, Classes: map[string]ClassRetention{"audit": {}}}, onDisk(t))
	pad := strings.Repeat("and so on ", 200) // the log forgets
	for i := range 12 {
		a.say([]string{"default", "default", "audit"}[i%3], pad)
		if i == 8 {
			a.pass(2 * days)
		}
	}
	a.want(3, 6, 9, 10, 11, 12)
	follow := func(after uint64) (got []uint64, gaps []string) {
		f := a.s.Follow(after)
		defer f.Close()
		for f.Position() < a.s.LastSeq() {
			events, err := f.Next(t.Context())
			var gap *query.GapError
			if errors.As(err, &gap) {
				gaps = append(gaps, fmt.Sprint(gap.From, "-", gap.To))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := range events {
				got = append(got, events[i].Seq)
			}
		}
		return got, gaps
	}
	for _, c := range []struct {
		after uint64
		want  []uint64
	}{{0, []uint64{3, 6, 9, 10, 11, 12}}, {3, []uint64{6, 9, 10, 11, 12}}, {4, []uint64{6, 9, 10, 11, 12}}, {9, []uint64{10, 11, 12}}} {
		if got, gaps := follow(c.after); !cmp.Equal(got, c.want) || gaps != nil {
			t.Errorf("after %d: %d, gaps %q; want %d", c.after, got, gaps, c.want)
		}
	}
	if n := a.s.Stats().PassedOver; n == 0 {
		t.Error("nothing is counted")
	}
	// Somebody takes a segment away.
	a.s.Close(context.Background())
	if err := os.Remove(filepath.Join(a.o.Dir, "segments", segment.Name(9, 10, segment.DefaultClass))); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(a.o.Dir, "wal")); err != nil {
		t.Fatal(err)
	}
	a.open()
	if got, gaps := follow(0); !cmp.Equal(got, []uint64{3, 6, 9, 11, 12}) || !cmp.Equal(gaps, []string{"10-10"}) {
		t.Errorf("%d, gaps %q", got, gaps)
	}
}

func TestAged(t *testing.T) {
	segments, _ := agedSegments(t, 10, 20, math.MaxInt64, 30, -1, 40)
	for _, c := range []struct {
		now, age int64
		want     int
	}{
		{9, 0, 0}, {10, 0, 1}, {19, 0, 1}, {20, 0, 2}, {29, 0, 2}, {30, 0, 4}, {39, 0, 4}, {40, 0, 6}, {100, 0, 6}, {40, 10, 4}, {1000, 980, 2}, {1000, 1e6, 0},
	} {
		if got := aged(segments, &state{}, c.now, c.age); got != c.want {
			t.Errorf("now %d, age %d: %d, want %d", c.now, c.age, got, c.want)
		}
	}
}

// agedSegments are segments with one event each, received when it says; -1 is one without an event.
func agedSegments(t *testing.T, received ...int64) (segments []*segment.Segment, dir string) {
	dir = t.TempDir()
	builder, err := block.NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	for i, at := range received {
		w, err := segment.NewWriter(vfs.OS, dir, uint64(i), uint64(i+1), segment.DefaultClass)
		if err != nil {
			t.Fatal(err)
		}
		if at >= 0 {
			row := block.Row{Seq: uint64(i + 1), Data: event.AppendEvent(nil, &event.Event{Message: []byte("x")})}
			data, info, err := builder.Append(nil, []block.Row{row}, []block.ReceivedRun{{Seq: row.Seq, Received: at}})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Add(data, info); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		seg, err := segment.Open(vfs.OS, dir, segment.Name(uint64(i), uint64(i+1), segment.DefaultClass))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { seg.Close() })
		segments = append(segments, seg)
	}
	return segments, dir
}

func TestForecast(t *testing.T) {
	const gb = 1e9
	for _, c := range []struct {
		name    string
		classes []growing
		limit   float64
		want    time.Duration // 0: never
	}{
		{"nothing comes", []growing{{bytes: 5 * gb, most: 5 * gb}}, 10 * gb, 0},
		{"in five days", []growing{{5 * gb, gb, math.Inf(1)}}, 10 * gb, 5 * days},
		{"age removes before", []growing{{5 * gb, gb, 9 * gb}}, 10 * gb, 0},
		{"two classes, one of which stays as it is", []growing{{5 * gb, gb, 6 * gb}, {0, gb, math.Inf(1)}}, 10 * gb, 4 * days},
		{"more than it will be", []growing{{8 * gb, gb, 4 * gb}}, 10 * gb, 0},
		{"full", []growing{{10 * gb, gb, 30 * gb}}, 10 * gb, 0},
		{"in eleven years", []growing{{0, gb, math.Inf(1)}}, 11 * 365 * gb, 0},
	} {
		if got := reaches(c.classes, c.limit); (got - c.want).Abs() > 3*time.Minute {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	// A store that gets a segment an hour for three days.
	a := newAging(t, Retention{Age: 30 * days, MaxBytes: 1 << 30, Classes: map[string]ClassRetention{"audit": {Age: 365 * days, MaxBytes: 1 << 20}}}, func(o *Options) {
		o.Free = func() (uint64, uint64, error) { return 1 << 40, 2 << 40, nil }
	})
	for range 72 {
		a.say("default")
		a.pass(time.Hour)
	}
	info := a.s.Retention()
	perDay := info.Bytes / 3
	if d := info.BytesPerDay - perDay; d < -perDay/50 || d > perDay/50 {
		t.Errorf("%d bytes a day, want about %d: %+v", info.BytesPerDay, perDay, info)
	}
	if len(info.Classes) != 2 || info.Classes[0].Name != "default" || info.Classes[0].Events != 72 || info.Classes[0].Segments != 72 || info.Classes[0].Age != 30*days ||
		!info.Classes[0].Oldest.Equal(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) || info.Classes[1].Name != "audit" || info.Classes[1].MaxBytes != 1<<20 {
		t.Errorf("%+v", info.Classes)
	}
	if info.MaxBytes != 1<<30 || info.FullIn != 0 || info.DiskFullIn != 0 || info.DiskTotal != 2<<40 || info.DiskReserve != (2<<40)/20 {
		t.Errorf("%+v", info)
	}
}

// Power is taken away at every operation of the disk while events come, age and go: what is to be kept is there once, and what
// a search has not shown any more never returns, neither from a file nor from the log.
func TestRetentionCrash(t *testing.T) {
	removed, emptied, points := 0, 0, 0
	for seed := range uint64(3) {
		for at := 1; at <= 120; at++ {
			w := &retentionWorld{fs: vfs.NewCrash(seed), rng: rand.New(rand.NewPCG(seed, uint64(at))), wall: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), gone: map[uint64]bool{}, kept: map[uint64]string{}}
			if err := errors.Join(w.fs.MkdirAll("/data", 0o700), w.fs.SyncDir("/")); err != nil {
				t.Fatal(err)
			}
			stop := at
			for life := range 4 {
				if life < 3 {
					w.fs.StopAt(w.fs.Ops() + stop)
				}
				if w.live(t); w.broken != nil {
					t.Fatalf("seed %d, power cut at operation %d, life %d: %v\n%s", seed, at, life, w.broken, w.fs.Dump())
				}
				if life < 3 {
					if w.rng.IntN(4) == 0 { // only the process dies
						w.fs = w.fs.Kill()
					} else {
						w.fs = w.fs.Crash()
					}
					stop = 1 + w.rng.IntN(60)
				}
			}
			removed, emptied, points = removed+len(w.gone), emptied+w.emptied, points+1
		}
	}
	if removed == 0 || emptied == 0 {
		t.Errorf("%d events removed, everything %d times: the test did nothing", removed, emptied)
	}
	t.Logf("%d worlds of three power cuts or kills each, %d events removed, everything %d times", points, removed, emptied)
}

// retentionWorld outlives the store's crashes.
type retentionWorld struct {
	fs      *vfs.Crash
	rng     *rand.Rand
	wall    time.Time
	mono    int64
	kept    map[uint64]string // acknowledged, and seen since
	gone    map[uint64]bool   // once there, and then not shown by a search after retention had been at work
	next    int               // number of the next event
	emptied int
	broken  error
}

func (w *retentionWorld) live(t *testing.T) {
	s, err := Open(Options{
		Dir: "/data/store", FS: w.fs, logSegment: 2048, byHand: true, Now: func() time.Time { return w.wall }, mono: func() int64 { return w.mono },
		Classify: byName, Retention: Retention{Age: 4 * time.Hour, MaxBytes: 20_000, Classes: map[string]ClassRetention{"audit": {Age: 8 * time.Hour, MaxBytes: 5000}}},
	})
	if err != nil {
		return
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ended)
	}()
	c := newCompactor(s)
	w.look(t, s)
	for range 12 {
		if w.broken != nil {
			return
		}
		switch w.rng.IntN(5) {
		case 0, 1:
			var b event.Batch
			for range 1 + w.rng.IntN(8) {
				line(&b, []string{"default", "audit"}[w.rng.IntN(2)], fmt.Sprint("event ", w.next), int64(w.next))
				w.next++
			}
			first := s.LastSeq() + 1
			if s.Append(t.Context(), &b) != nil {
				return // it may be there, or not
			}
			for i := range b.Events {
				w.kept[first+uint64(i)] = string(b.Events[i].Message)
			}
		case 2:
			s.mu.Lock()
			var g *generation
			if s.active.bytes > 0 {
				s.freeze()
				g = s.frozen
			}
			s.mu.Unlock()
			if g != nil && s.seal(g) != nil {
				return
			}
		case 3:
			d := time.Duration(w.rng.IntN(3)) * time.Hour
			if w.rng.IntN(6) == 0 {
				d = 10 * time.Hour // everything is due
			}
			w.wall, w.mono = w.wall.Add(d), w.mono+int64(d)
			err := c.retain()
			w.look(t, s)
			if err != nil {
				return
			}
		case 4:
			class := []string{segment.DefaultClass, "audit"}[w.rng.IntN(2)]
			if n := len(byClass(s.segments)[class]); n > 1 && mergeClass(s, class, 0, 2+w.rng.IntN(n-1)) != nil {
				return
			}
		}
	}
	w.look(t, s)
}

// look finds the first broken promise. What may go is what retention has just removed: then what is missing must be old, or the
// oldest.
func (w *retentionWorld) look(t *testing.T, s *Store) {
	there := map[uint64]bool{}
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		seq := r.Event.Seq
		switch text, known := w.kept[seq]; {
		case w.gone[seq]:
			return fmt.Errorf("event %d is back", seq)
		case there[seq]:
			return fmt.Errorf("event %d is there twice", seq)
		case known && text != string(r.Event.Message):
			return fmt.Errorf("event %d was %q, now %q", seq, text, r.Event.Message)
		}
		there[seq] = true
		w.kept[seq] = string(r.Event.Message)
		return nil
	})
	if err == nil && !sum.Complete {
		err = fmt.Errorf("incomplete: %q", sum.Reasons)
	}
	expired := s.state.Expired
	for seq := range w.kept {
		if err != nil || there[seq] || w.gone[seq] {
			continue
		}
		if seq > max(expired["default"], expired["audit"]) {
			err = fmt.Errorf("event %d is lost: %v", seq, expired)
		}
		// A removal that was durable when the power went is seen by the start.
		w.gone[seq] = true
	}
	if err == nil && len(there) == 0 && len(w.gone) > 0 {
		w.emptied++
	}
	if err == nil {
		err = w.follow(t, s, there)
	}
	if _, dead := w.fs.ReadDir("/"); dead == nil {
		w.broken = err
	}
}

// follow checks that reading by sequence finds all that is there, and nothing that is gone unless the log still has it.
func (w *retentionWorld) follow(t *testing.T, s *Store, there map[uint64]bool) error {
	f := s.Follow(0)
	defer f.Close()
	found, last := 0, uint64(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // for what is lost a follower would wait
	defer cancel()
	for found < len(there) {
		events, err := f.Next(ctx)
		if err != nil {
			return fmt.Errorf("following: %w", err)
		}
		for i := range events {
			seq := events[i].Seq
			if seq <= last {
				return fmt.Errorf("following: event %d after event %d", seq, last)
			}
			if last = seq; there[seq] {
				found++
			} else if seq < s.log.Oldest() {
				return fmt.Errorf("following: event %d is back", seq)
			}
		}
	}
	return nil
}

// While segments are sealed, merged and removed beneath them, searches show all from one event on, a later one each time, and followers
// go on over what is gone.
func TestSearchesAndFollowersDuringRetention(t *testing.T) {
	s := open(t, Options{logSegment: 16 << 10, HeadBytes: 64 << 10, CompactShare: 1, SegmentBytes: 64 << 10, Retention: Retention{Age: 30 * days, MaxBytes: 100_000}})
	const batches, size = 300, 40
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for oldest := uint64(1); ctx.Err() == nil; {
				last, first, next := s.LastSeq(), uint64(0), uint64(0)
				sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
					if seq := r.Event.Seq; next == 0 {
						first = seq
					} else if seq != next {
						return fmt.Errorf("event %d where %d belongs", seq, next)
					}
					next = r.Event.Seq + 1
					return nil
				})
				if err != nil || !sum.Complete || last > 0 && next <= last || first > 0 && first < oldest {
					t.Errorf("events %d to %d, the oldest was %d and the last %d: %+v, %v", first, next, oldest, last, sum, err)
					return
				}
				oldest = max(first, oldest)
			}
		})
	}
	readers.Go(func() {
		for ctx.Err() == nil {
			f := s.Follow(0)
			for last := uint64(0); last < s.LastSeq() && ctx.Err() == nil; {
				events, err := f.Next(ctx)
				if err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				for i := range events {
					if events[i].Seq <= last {
						t.Errorf("follower: event %d behind %d", events[i].Seq, last)
						return
					}
					last = events[i].Seq
				}
			}
			f.Close()
		}
	})
	rng := rand.New(rand.NewPCG(1, 2))
	var b event.Batch
	for i := range batches {
		b.Reset()
		for k := range size {
			line(&b, "a", fmt.Sprintf("%x%x", rng.Uint64(), rng.Uint64()), int64(i*size+k))
		}
		for s.Append(t.Context(), &b) != nil { // under pressure
			if t.Failed() {
				break
			}
		}
	}
	sealActive(t, s)
	cancel()
	readers.Wait()
	untilMerged(t, s)
	for st := s.Stats(); st.ExpiredBySize == 0; st = s.Stats() {
		if st.RetentionErrors > 0 {
			t.Fatalf("%+v", st)
		}
		runtime.Gosched()
	}
}
