package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// world is what outlives the store's crashes: the disk, and a producer that sends again what was not acknowledged.
type world struct {
	fs    *vfs.Crash
	clock ticks
	rng   *rand.Rand
	acked uint64            // events of the producer that were acknowledged
	seen  map[uint64]uint64 // sequence → the event's number, of all that a search has ever shown
	lost  error             // the first broken promise

	merges, leftovers int // made, and files that starts have cleared away
	halves            int // of these, whole ones of a class
}

// ticks is a clock that goes on by a millisecond with each look: what is written, and so what a crash may leave of it, is the same each time.
type ticks struct{ atomic.Int64 }

func (t *ticks) now() time.Time { return time.UnixMilli(1_790_000_000_000 + t.Add(1)) }

// options are a life's: which classes there are changes from one to the next.
func (w *world) options(noSync bool) Options {
	o := Options{Dir: "/data/store", FS: w.fs, NoSync: noSync, logSegment: 2048, byHand: true, Now: w.clock.now}
	if w.rng.IntN(4) > 0 {
		other := []string{"audit", "rollup"}[w.rng.IntN(2)]
		o.Classify = func(service string) (string, func(*event.Event) string) {
			switch service {
			case "a":
				return other, nil
			case "b":
				return "", func(e *event.Event) string { return []string{"audit", segment.DefaultClass}[e.Time%2] }
			}
			return segment.DefaultClass, nil
		}
	}
	return o
}

// live runs the store until the disk stops it, or a while: appends, seals, checks.
func (w *world) live(t *testing.T, noSync bool) {
	before, _ := w.fs.ReadDir("/data/store/segments")
	s, err := Open(w.options(noSync))
	if err != nil {
		return // the disk has stopped it, or failed
	}
	w.leftovers += max(len(before)-len(s.segments), 0)
	for _, name := range before {
		if _, _, class, ok := segment.ParseName(name); ok && class != segment.DefaultClass && !slices.ContainsFunc(s.segments, func(seg *segment.Segment) bool { return seg.Name() == name }) {
			w.halves++
		}
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.Close(ended)
	}()
	if w.check(t, s); w.lost != nil {
		return
	}
	for range 6 {
		b := event.Batch{Producer: "p", FirstSeq: w.acked}
		for i := range 1 + w.rng.IntN(20) {
			e := b.Add()
			e.Service = []byte([]string{"a", "b", "c"}[w.rng.IntN(3)])
			e.Time = int64(w.rng.IntN(1000))
			e.Message = fmt.Appendf(nil, "%d", w.acked+uint64(i))
		}
		if s.Append(t.Context(), &b) != nil {
			return
		}
		w.acked += uint64(len(b.Events))
		if w.rng.IntN(3) == 0 {
			s.mu.Lock()
			s.freeze()
			g := s.frozen
			s.mu.Unlock()
			if s.seal(g) != nil {
				break
			}
		}
		if len(s.segments) > 0 && w.rng.IntN(3) == 0 {
			class := s.segments[w.rng.IntN(len(s.segments))].Class
			if n := len(byClass(s.segments)[class]); n > 1 {
				lo := w.rng.IntN(n - 1)
				if mergeClass(s, class, lo, lo+2+w.rng.IntN(n-lo-1)) != nil {
					break
				}
				w.merges++
			}
		}
	}
	w.check(t, s)
}

// check finds the first broken promise: an acknowledged event lost, doubled or with another sequence than before.
func (w *world) check(t *testing.T, s *Store) {
	count := map[uint64]int{}
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		var n uint64
		if _, err := fmt.Sscan(string(r.Event.Message), &n); err != nil {
			return err
		}
		if was, ok := w.seen[r.Event.Seq]; ok && was != n {
			return fmt.Errorf("sequence %d was event %d, now %d", r.Event.Seq, was, n)
		}
		w.seen[r.Event.Seq] = n
		count[n]++
		return nil
	})
	if err == nil && !sum.Complete {
		err = fmt.Errorf("incomplete: %q", sum.Reasons)
	}
	for n := range w.acked {
		if err == nil && count[n] != 1 {
			err = fmt.Errorf("event %d of %d acknowledged is there %d times", n, w.acked, count[n])
		}
	}
	// At most what was under way may be there too, once.
	for n, c := range count {
		if err == nil && c != 1 {
			err = fmt.Errorf("event %d is there %d times", n, c)
		}
	}
	if err == nil && w.acked > 0 {
		err = w.follow(t, s)
	}
	if _, dead := w.fs.ReadDir("/"); dead == nil { // what a dead process reads is nobody's answer
		w.lost = err
	}
}

// follow checks that reading by sequence finds every acknowledged event once.
func (w *world) follow(t *testing.T, s *Store) error {
	f := s.Follow(0)
	defer f.Close()
	seen := map[string]bool{}
	for last := s.LastSeq(); f.Position() < last; {
		events, err := f.Next(t.Context())
		if err != nil {
			return fmt.Errorf("following: %w", err)
		}
		for i := range events {
			if seen[string(events[i].Message)] {
				return fmt.Errorf("following shows event %s twice", events[i].Message)
			}
			seen[string(events[i].Message)] = true
		}
	}
	if uint64(len(seen)) < w.acked {
		return fmt.Errorf("following finds %d events, %d were acknowledged", len(seen), w.acked)
	}
	return nil
}

// lives runs a world through some crashes, each at an operation of the disk's own choosing, and returns the first broken
// promise.
func lives(t *testing.T, seed uint64, at int, noSync bool) (*world, error) {
	w := &world{fs: vfs.NewCrash(seed), rng: rand.New(rand.NewPCG(seed, uint64(at))), seen: map[uint64]uint64{}}
	if err := w.fs.MkdirAll("/data", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	stop := at
	for range 3 {
		w.fs.StopAt(stop)
		w.live(t, noSync)
		if w.lost != nil {
			return w, w.lost
		}
		w.fs = w.fs.Crash()
		stop = 1 + w.rng.IntN(60)
	}
	w.live(t, noSync)
	return w, w.lost
}

// Power is taken away at every operation of the disk, for several disks, also while it seals and merges: nothing acknowledged
// is lost or doubled, and no sequence is ever given to another event.
func TestCrash(t *testing.T) {
	points, merges, leftovers, halves := 0, 0, 0, 0
	for seed := range uint64(4) {
		for at := 1; at <= 140; at++ {
			w, err := lives(t, seed, at, false)
			if err != nil {
				t.Fatalf("seed %d, power cut at operation %d: %v", seed, at, err)
			}
			points, merges, leftovers = points+1, merges+w.merges, leftovers+w.leftovers
			halves += w.halves
		}
	}
	if merges == 0 || leftovers == 0 || halves == 0 {
		t.Errorf("%d merges, %d files left by crashes, %d of them of a class: the test did nothing", merges, leftovers, halves)
	}
	t.Logf("%d worlds of three power cuts each, %d merges, %d files left by crashes, %d of them of a class", points, merges, leftovers, halves)
}

// The control: without fsync the same test must find losses, or it would find none anywhere.
func TestCrashWithoutSyncLoses(t *testing.T) {
	lost := 0
	for seed := range uint64(4) {
		for at := 1; at <= 90; at++ {
			if _, err := lives(t, seed, at, true); err != nil {
				lost++
			}
		}
	}
	if lost == 0 {
		t.Fatal("the log does not fsync and nothing was lost: the crash model is broken")
	}
	t.Logf("losses in %d of 360 worlds", lost)
}

// A failed fsync of the log, once and then for good: no acknowledgement without durability.
func TestFailedSync(t *testing.T) {
	for k := 1; k < 40; k++ {
		for _, n := range []int{1, 2, -1} {
			w := &world{fs: vfs.NewCrash(uint64(k)), rng: rand.New(rand.NewPCG(uint64(k), 1)), seen: map[uint64]uint64{}}
			if err := w.fs.MkdirAll("/data", 0o700); err != nil {
				t.Fatal(err)
			}
			if err := w.fs.SyncDir("/"); err != nil {
				t.Fatal(err)
			}
			w.fs.FailSyncs(k, n)
			w.live(t, false)
			w.fs = w.fs.Crash()
			if w.lost == nil {
				w.live(t, false)
			}
			if w.lost != nil {
				t.Fatalf("fsync %d fails %d times: %v", k, n, w.lost)
			}
		}
	}
}
