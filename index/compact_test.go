package index

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// seal seals what is in memory of a store without a sealer.
func seal(t testing.TB, s *Store) {
	t.Helper()
	if err := sealByHand(s); err != nil {
		t.Fatal(err)
	}
}

// mergeByHand merges the default class's segments from lo up to, without, hi.
func mergeByHand(s *Store, lo, hi int) error { return mergeClass(s, segment.DefaultClass, lo, hi) }

func mergeClass(s *Store, class string, lo, hi int) error {
	s.mu.RLock()
	segments, release := s.snapshot()
	s.mu.RUnlock()
	defer release()
	return newCompactor(s).merge(context.Background(), byClass(segments)[class][lo:hi])
}

// compactByHand merges some of the segments; which, depends on how many events there are.
func compactByHand(s *Store) error {
	k := int(s.LastSeq())
	for class, segments := range byClass(s.segments) {
		n := len(segments)
		if n < 2 {
			continue
		}
		lo := k % (n - 1)
		if err := mergeClass(s, class, lo, lo+2+k/n%(n-lo-1)); err != nil {
			return err
		}
	}
	return nil
}

// classified is a way of giving classes that has all there is: services of one, of the default one, and of several.
func classified(service string) (class string, each func(*event.Event) string) {
	switch sum := len(service) + int(append([]byte(service), 0)[0]); sum % 3 {
	case 0:
		return "audit", nil
	case 1:
		return segment.DefaultClass, nil
	}
	return "", func(e *event.Event) string {
		return []string{"audit", "Not a class", "x-1"}[(len(e.Message)+len(e.Host))%3]
	}
}

// ranges are the store's segments, as on disk and as in memory.
func ranges(t testing.TB, s *Store) []string {
	t.Helper()
	names, err := s.o.FS.ReadDir(s.segmentDir())
	if err != nil {
		t.Fatal(err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	var open, list []string
	for _, seg := range s.segments {
		open = append(open, seg.Name())
		name := fmt.Sprintf("%d-%d", seg.Lo, seg.Hi)
		if seg.Class != segment.DefaultClass {
			name += "." + seg.Class
		}
		list = append(list, name)
	}
	slices.Sort(open) // by name a longer range may come first
	if diff := cmp.Diff(open, names, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("in memory and on disk:\n%s", diff)
	}
	return list
}

// everything is all events of a store with the times they were received, in order.
func everything(t testing.TB, s *Store) []string {
	t.Helper()
	var rows []string
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		rows = append(rows, fmt.Sprintf("%s received %d", show(r.Event), r.Event.Received))
		return nil
	})
	if err != nil || !sum.Complete {
		t.Fatalf("%+v, %v", sum, err)
	}
	return rows
}

// Whatever is merged, in whatever order: every search equals brute force, before and after and over a restart.
func TestMergedSearchEqualsBruteForce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			c := corpus{rng}
			now := time.Unix(1e9, 0)
			o := Options{Dir: t.TempDir(), logSegment: 4096, byHand: true, Now: func() time.Time { return now }}
			if seed%2 == 1 {
				o.Classify = classified
			}
			s := open(t, o)
			var all []event.Event
			var b event.Batch
			for range 40 {
				now = now.Add(time.Duration(rng.IntN(1e9)))
				class := segment.DefaultClass
				if len(s.segments) > 0 {
					class = s.segments[rng.IntN(len(s.segments))].Class
				}
				switch n := len(byClass(s.segments)[class]); {
				case rng.IntN(4) == 0 && n > 1:
					lo := rng.IntN(n - 1)
					hi := lo + 2 + rng.IntN(n-lo-1)
					before := everything(t, s)
					if err := mergeClass(s, class, lo, hi); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(before, everything(t, s)); diff != "" {
						t.Fatal(diff)
					}
				case rng.IntN(8) == 0:
					if err := s.Close(context.Background()); err != nil {
						t.Fatal(err)
					}
					s = open(t, o)
				default:
					for range 1 + rng.IntN(3) {
						b.Reset()
						for range rng.IntN(100) {
							c.event(&b)
						}
						if err := s.Append(t.Context(), &b); err != nil {
							t.Fatal(err)
						}
						for i := range b.Events {
							e := b.Events[i].Clone()
							e.Seq = uint64(len(all) + 1)
							all = append(all, e)
						}
					}
					seal(t, s)
				}
				ranges(t, s)
				compare(t, s, all, rng)
				follow(t, s, all, rng)
			}
		})
	}
}

// While segments are sealed and merged beneath them, searches show every event once, and followers deliver each in order.
func TestSearchesAndFollowersDuringMerges(t *testing.T) {
	s := open(t, Options{logSegment: 16 << 10, HeadBytes: 64 << 10, CompactShare: 1, SegmentBytes: 256 << 10, Classify: classified})
	const batches, size = 300, 40
	done, appended := make(chan struct{}), make(chan struct{})
	var readers sync.WaitGroup
	search := func() error {
		first := s.LastSeq() // all of these must be there
		next := uint64(1)
		sum, err := s.Search(context.Background(), query.Request{Newest: false}, func(r query.Row) error {
			if r.Event.Seq != next { // times go up with sequences
				return fmt.Errorf("event %d where %d belongs", r.Event.Seq, next)
			}
			next++
			return nil
		})
		if err == nil && (!sum.Complete || next <= first) {
			err = fmt.Errorf("%d events, there were %d before: %+v", next-1, first, sum)
		}
		return err
	}
	for range 3 {
		readers.Go(func() {
			for last := false; !last; {
				select {
				case <-done:
					last = true
				default:
				}
				if err := search(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	readers.Go(func() { // from the start, again and again
		for {
			f := s.Follow(0)
			for next := uint64(1); next < batches*size; {
				events, err := f.Next(context.Background())
				if err != nil {
					t.Error(err)
					break
				}
				for i := range events {
					if events[i].Seq != next || string(events[i].Message) != fmt.Sprint("event ", next, " says the same as ever") {
						t.Errorf("follower: event %d %q where %d belongs", events[i].Seq, events[i].Message, next)
						return
					}
					next++
				}
			}
			f.Close()
			select {
			case <-done:
				return
			default:
			}
		}
	})
	go func() {
		defer close(appended)
		var b event.Batch
		for i := range batches {
			b.Reset()
			for k := range size {
				seq := i*size + k + 1
				line(&b, []string{"a", "b"}[seq%2], fmt.Sprint("event ", seq, " says the same as ever"), int64(seq))
			}
			for s.Append(context.Background(), &b) != nil { // under pressure
				if t.Failed() {
					return
				}
			}
		}
	}()
	<-appended
	sealActive(t, s)
	close(done)
	readers.Wait()
	untilMerged(t, s)
	st := s.Stats()
	t.Logf("%d seals, %d merges, %d segments", st.Seals, st.Compactions, st.Segments)
}

// untilMerged waits for the compactor, which may not have had its turn while readers and appends had theirs: what was sealed is enough
// for a merge.
func untilMerged(t *testing.T, s *Store) {
	t.Helper()
	for {
		st := s.Stats()
		if st.CompactErrors > 0 || st.RetentionErrors > 0 {
			t.Fatalf("%+v", st)
		}
		if st.Compactions > 0 {
			return
		}
		runtime.Gosched()
	}
}

// daily returns a store whose clock the test moves, with n segments of one event each on each of some days.
func daily(t *testing.T, now *time.Time, o Options, days, n int) *Store {
	t.Helper()
	o.byHand, o.Now = true, func() time.Time { return *now }
	s := open(t, o)
	for range days {
		for i := range n {
			var b event.Batch
			line(&b, "a", fmt.Sprint("event ", i), now.UnixNano())
			if err := s.Append(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			seal(t, s)
			*now = now.Add(time.Minute)
		}
		*now = now.Add(24 * time.Hour).Truncate(24 * time.Hour).Add(time.Hour)
	}
	return s
}

// workAll lets the compactor do all there is to do.
func workAll(t testing.TB, c *compactor) (merges int) {
	t.Helper()
	for {
		merged, err := c.next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !merged {
			return merges
		}
		merges++
	}
}

// A day's segments become one, and never with another day's; today's wait until there are enough.
func TestDaysStayApart(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	s := daily(t, &now, Options{CompactShare: 1}, 3, 5)
	now = now.Add(-12 * time.Hour) // the third day goes on
	c := newCompactor(s)
	before := everything(t, s)
	workAll(t, c)
	if diff := cmp.Diff([]string{"0-5", "5-10", "10-11", "11-12", "12-13", "13-14", "14-15"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	now = now.Add(12 * time.Hour)
	workAll(t, c)
	if diff := cmp.Diff([]string{"0-5", "5-10", "10-15"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	if n := workAll(t, c); n > 0 {
		t.Errorf("%d merges of what is merged", n)
	}
	st := s.Stats()
	if st.Segments != 3 || st.Compactions != 3 || st.CompactedIn == 0 || st.CompactedOut == 0 || st.Rebuilt != 15 || st.CompactErrors != 0 || st.CompactTime == 0 {
		t.Errorf("%+v", st)
	}
	if infos := s.Services(); len(infos) != 1 || infos[0].Events != 15 {
		t.Errorf("%+v", infos)
	}
}

// A generation is sealed when the day ends, so that no segment is of two days.
func TestDaysEndSeals(t *testing.T) {
	now := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	s := open(t, Options{byHand: true, Now: func() time.Time { return now }})
	var b event.Batch
	line(&b, "a", "x", 1)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	if s.freezeOld(); s.frozen != nil {
		t.Fatal("frozen before the day has ended")
	}
	now = now.Add(time.Second)
	if s.freezeOld(); s.frozen == nil {
		t.Fatal("not frozen at the day's end")
	}
}

// Segments of eight about as large as each other are merged, and eight of these again: an event is rewritten twice.
func TestTiers(t *testing.T) {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	s := daily(t, &now, Options{CompactShare: 1}, 1, 7)
	now = time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC)
	c := newCompactor(s)
	if n := workAll(t, c); n > 0 {
		t.Errorf("%d merges of seven segments", n)
	}
	most := 0
	for range 150 {
		var b event.Batch
		line(&b, "a", "event 1", now.UnixNano())
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		seal(t, s)
		workAll(t, c)
		most = max(most, len(s.segments))
	}
	if most > 20 {
		t.Errorf("%d segments at once", most)
	}
}

// While generations are sealed merging waits, unless many segments do.
func TestMergingGivesWay(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		segments int
		quiet    bool // for long enough
		want     bool
	}{{5, false, false}, {5, true, true}, {manySegments, false, true}} {
		s := daily(t, &now, Options{CompactShare: 0.99}, 1, c.segments)
		k := newCompactor(s)
		if c.quiet {
			k.seals = s.stats.seals.Load()
		}
		if merged, err := k.next(t.Context()); merged != c.want || err != nil {
			t.Errorf("%+v: %v, %v", c, merged, err)
		}
		if waiting := s.Stats().CompactWaiting; waiting != int64(c.segments) {
			t.Errorf("%+v: %d wait", c, waiting)
		}
	}
}

// Small blocks are built into full ones, full ones copied, and nothing else is built twice.
func TestFullBlocksAreCopied(t *testing.T) {
	s := open(t, Options{byHand: true, HeadBytes: 1 << 30, CompactShare: 1})
	at := int64(0)
	fill := func(service string, bytes int) {
		t.Helper()
		var b event.Batch
		for size := 0; size < bytes; size += 1050 {
			at += int64(time.Millisecond)
			line(&b, service, strings.Repeat("word ", 200)+fmt.Sprint(at), at)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		fill("large", block.MaxBytes*3/4)
		fill("small", block.MaxBytes/8)
		seal(t, s)
	}
	blocks := func() (large, small int, rows int64) {
		for _, seg := range s.segments {
			for _, e := range seg.Blocks {
				if e.Service == "large" {
					large++
				} else {
					small, rows = small+1, rows+int64(e.Rows)
				}
			}
		}
		return large, small, rows
	}
	before := everything(t, s)
	large, small, rows := blocks()
	if large != 4 || small != 4 {
		t.Fatalf("%d and %d blocks", large, small)
	}
	if err := mergeByHand(s, 0, 4); err != nil {
		t.Fatal(err)
	}
	large, small, _ = blocks()
	if st := s.Stats(); large != 4 || small != 1 || st.Rebuilt != rows {
		t.Errorf("%d and %d blocks, %d of %d events built anew", large, small, st.Rebuilt, rows)
	}
	if !slices.Equal(before, everything(t, s)) {
		t.Error("other events than before")
	}
}

// What a crash leaves of a merge, both the new segment and old ones, is settled at the next start.
func TestLeftoversOfAMerge(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage bool     // of the merged segment
		back   []int    // of the three old segments
		want   []string // what is used
		left   int      // files
		whole  bool
	}{
		{"all old ones are there", false, []int{0, 1, 2}, []string{"0-3"}, 1, true},
		{"some are", false, []int{1}, []string{"0-3"}, 1, true},
		{"the merged one is damaged", true, []int{0, 1, 2}, []string{"0-1", "1-2", "2-3"}, 4, true},
		{"and some are gone", true, []int{0, 2}, []string{"0-3"}, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
			o := Options{Dir: t.TempDir(), CompactShare: 1}
			s := daily(t, &now, o, 1, 3)
			before := everything(t, s)
			old := map[string][]byte{}
			var names []string
			for _, seg := range s.segments {
				name := filepath.Join(s.segmentDir(), segment.Name(seg.Lo, seg.Hi, segment.DefaultClass))
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				names, old[name] = append(names, name), data
			}
			if err := mergeByHand(s, 0, 3); err != nil {
				t.Fatal(err)
			}
			s.Close(context.Background())
			for _, i := range c.back {
				if err := os.WriteFile(names[i], old[names[i]], 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if c.damage {
				name := filepath.Join(o.Dir, "segments", segment.Name(0, 3, segment.DefaultClass))
				data, err := os.ReadFile(name)
				if err != nil {
					t.Fatal(err)
				}
				data[len(data)-12] ^= 1 // in the trailer's checksum
				if err := os.WriteFile(name, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			o.byHand, o.Now = true, func() time.Time { return now }
			s = open(t, o)
			var got []string
			for _, seg := range s.segments {
				got = append(got, fmt.Sprintf("%d-%d", seg.Lo, seg.Hi))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if files, _ := os.ReadDir(s.segmentDir()); len(files) != c.left {
				t.Errorf("%d files, want %d", len(files), c.left)
			}
			sum, err := s.Search(t.Context(), query.Request{CountOnly: true}, nil)
			if err != nil || sum.Complete != c.whole || sum.Matched != 3 {
				t.Errorf("%+v, %v", sum, err)
			}
			if !c.whole {
				return
			}
			if diff := cmp.Diff(before, everything(t, s)); diff != "" {
				t.Error(diff)
			}
			// A damaged one is in nobody's way: the next merge takes its place.
			if c.damage {
				if err := mergeByHand(s, 0, 3); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"0-3"}, ranges(t, s)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(before, everything(t, s)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestSettle(t *testing.T) {
	for _, c := range []struct{ name, files, want string }{
		{"nothing", "", "use done unused"},
		{"side by side", "0-5 5-9", "use 0-5 5-9 done unused"},
		{"a gap is no matter of settling", "0-5 7-9", "use 0-5 7-9 done unused"},
		{"a merge", "0-5 5-9 0-9", "use 0-9 done 0-5 5-9 unused"},
		{"a merge of merges", "0-2 2-5 0-5 5-9 0-9 9-12", "use 0-9 9-12 done 0-5 0-2 2-5 5-9 unused"},
		{"a damaged merge", "0-5 5-9 0-9!", "use 0-5 5-9 done unused 0-9"},
		{"a damaged merge and not all of the old ones", "0-5 6-9 0-9!", "use 0-9 done unused 0-5 6-9"},
		{"a damaged merge and damaged old ones", "0-5 5-9! 0-9!", "use 0-9 done unused 0-5 5-9"},
		{"a damaged merge of a merge", "0-2 2-5 0-5 5-9 0-9!", "use 0-5 5-9 done 0-2 2-5 unused 0-9"},
		{"damage within a whole merge", "0-5! 5-9 0-9", "use 0-9 done 0-5 5-9 unused"},
		{"damage alone", "0-5! 5-9", "use 0-5 5-9 done unused"},
		{"contradiction", "0-5 3-9", "use 0-5 3-9 done unused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var segments []*segment.Segment
			for _, f := range strings.Fields(c.files) {
				seg := &segment.Segment{}
				fmt.Sscanf(f, "%d-%d", &seg.Lo, &seg.Hi)
				if strings.HasSuffix(f, "!") {
					seg.Damage = []error{errors.New("damaged")}
				}
				segments = append(segments, seg)
			}
			text := func(name string, list []*segment.Segment) string {
				for _, seg := range list {
					name += fmt.Sprintf(" %d-%d", seg.Lo, seg.Hi)
				}
				return name
			}
			use, done, unused := settle(segments)
			if got := text("use", use) + text(" done", done) + text(" unused", unused); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// What cannot be read is left alone, which is said once, and the others are merged around it.
func TestDamagedSegmentsAreLeftAlone(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	var said bytes.Buffer
	o := Options{Dir: t.TempDir(), CompactShare: 1}
	s := daily(t, &now, o, 1, 7)
	victim := filepath.Join(s.segmentDir(), segment.Name(3, 4, segment.DefaultClass))
	s.Close(context.Background())
	data, err := os.ReadFile(victim)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("LKB"))+24] ^= 1 // in the only block
	if err := os.WriteFile(victim, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o.byHand, o.Now, o.Log = true, func() time.Time { return now }, slog.New(slog.NewTextHandler(&said, nil))
	s = open(t, o)
	c := newCompactor(s)
	workAll(t, c)
	workAll(t, c)
	if diff := cmp.Diff([]string{"0-3", "3-4", "4-7"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(said.String(), "not merged"); n != 1 {
		t.Errorf("said %d times:\n%s", n, &said)
	}
	after, err := os.ReadFile(victim)
	if err != nil || !bytes.Equal(data, after) {
		t.Errorf("the damaged file was touched: %v", err)
	}
	sum, err := s.Search(t.Context(), query.Request{}, func(query.Row) error { return nil })
	if err != nil || sum.Complete || sum.Matched != 6 {
		t.Errorf("%+v, %v", sum, err)
	}
}

// Close ends a merge, which leaves nothing behind; the next start merges.
func TestCloseEndsAMerge(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	o := Options{Dir: t.TempDir()}
	s := daily(t, &now, o, 2, 5)
	before := everything(t, s)
	s.Close(context.Background())
	o.Now, o.CompactShare = func() time.Time { return now }, 1e-9 // it works for a moment and rests for hours
	began := make(chan struct{})
	var once sync.Once
	o.FS = watching{s.o.FS, func(name string) {
		if segment.IsTemporary(name) {
			once.Do(func() { close(began) })
		}
	}}
	s = open(t, o)
	<-began
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	o.byHand = true
	s = open(t, o)
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	if got := ranges(t, s); len(got) != 10 {
		t.Errorf("%q", got)
	}
}

// watching tells of every file that is opened.
type watching struct {
	vfs.FS
	opened func(name string)
}

func (w watching) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	w.opened(name)
	return w.FS.OpenFile(name, flag, perm)
}

// A disk that is full costs nothing but the merge, which is made when there is room.
func TestMergeOnAFullDisk(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	disk := vfs.NewCrash(1)
	s := daily(t, &now, Options{Dir: "/store", FS: disk, CompactShare: 1}, 1, 5)
	before, c := everything(t, s), newCompactor(s)
	for _, space := range []int64{0, 10, 300} {
		disk.SetSpace(space)
		if merged, err := c.next(t.Context()); merged || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("with room for %d bytes: merged %v, %v", space, merged, err)
		}
		if got := ranges(t, s); len(got) != 5 {
			t.Errorf("%q", got)
		}
		if diff := cmp.Diff(before, everything(t, s)); diff != "" {
			t.Error(diff)
		}
	}
	disk.SetSpace(-1)
	if n := workAll(t, c); n != 1 {
		t.Errorf("%d merges", n)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
}

// However much comes, and whatever it is: a segment is never much larger than what it is merged up to, or than the memory for events.
func TestSegmentsAreBounded(t *testing.T) {
	const head, target, batch = 1 << 20, 2 << 20, 300 << 10
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, byHand: true, HeadBytes: head, SegmentBytes: target, CompactShare: 1, NoSync: true})
	noise := rand.NewChaCha8([32]byte{7})
	most, merged := int64(0), false
	for i := range 24 {
		var b event.Batch
		for range batch / 8192 {
			pad := make([]byte, 4096)
			noise.Read(pad) // never fails; it does not shrink
			line(&b, "noise", hex.EncodeToString(pad), int64(i))
		}
		if err := s.Append(t.Context(), &b); err != nil {
			seal(t, s) // memory is full
			if err := s.Append(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
		if i%3 < 2 {
			continue
		}
		seal(t, s)
		for c := newCompactor(s); ; merged = true {
			if more, err := c.next(t.Context()); err != nil {
				t.Fatal(err)
			} else if !more {
				break
			}
		}
		for _, seg := range s.segments {
			most = max(most, seg.Size())
		}
	}
	t.Logf("the largest segment has %d bytes", most)
	if most > target+head+batch || most < head/4 || !merged {
		t.Errorf("the largest segment has %d bytes, merged: %v", most, merged)
	}
}
