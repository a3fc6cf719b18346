package tail

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
)

// source is a store in memory whose followers use their events' memory again, as the store's do.
type source struct {
	mu     sync.Mutex
	events []event.Event
	gaps   []query.GapError // in place of events, once the follower comes to them
	failed error
	grown  chan struct{}
	open   int
}

func newSource() *source { return &source{grown: make(chan struct{})} }

func (s *source) append(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		seq := uint64(len(s.events) + 1)
		s.events = append(s.events, event.Event{Seq: seq, Service: []byte("shop"), Message: fmt.Appendf(nil, "event %d", seq),
			Fields: []event.Field{{Name: []byte("n"), Value: fmt.Append(nil, seq), Kind: event.Number}}})
	}
	s.wake()
}

func (s *source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
	s.wake()
}

func (s *source) wake() {
	close(s.grown)
	s.grown = make(chan struct{})
}

func (s *source) LastSeq() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return uint64(len(s.events))
}

func (s *source) followers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

func (s *source) Follow(after uint64) query.Follower {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	return &follower{s: s, at: after}
}

type follower struct {
	s   *source
	at  uint64
	buf []event.Event
}

func (f *follower) Position() uint64 { return f.at }

func (f *follower) Close() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.s.open--
}

func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	for {
		f.s.mu.Lock()
		events, gaps, failed, grown := f.s.events, f.s.gaps, f.s.failed, f.s.grown
		f.s.mu.Unlock()
		end := uint64(len(events))
		for i := range gaps {
			switch g := &gaps[i]; {
			case f.at+1 >= g.From && f.at < g.To && end >= g.To:
				f.at = g.To
				return nil, g
			case f.at < g.From:
				end = min(end, g.From-1)
			}
		}
		if f.at < end {
			for i := range f.buf { // what was handed out is not valid any more
				for k := range f.buf[i].Message {
					f.buf[i].Message[k] = '!'
				}
			}
			f.buf = f.buf[:0]
			for _, e := range events[f.at:min(f.at+7, end)] {
				f.buf = append(f.buf, e.Clone())
			}
			f.at += uint64(len(f.buf))
			return f.buf, nil
		}
		if failed != nil {
			return nil, failed
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// taken is all that a tail got: its sequences, and the ranges it did not get.
type taken struct {
	sequences []uint64
	skipped   []SkippedError
}

// take calls Next once and checks what comes.
func (k *taken) take(t testing.TB, tail *Tail, ctx context.Context) error {
	t.Helper()
	at := tail.Position()
	b, err := tail.Next(ctx)
	var skipped *SkippedError
	switch {
	case errors.As(err, &skipped):
		if skipped.After != at || skipped.To <= at || tail.Position() != skipped.To {
			t.Fatalf("at %d, now %d: %v", at, tail.Position(), err)
		}
		k.skipped = append(k.skipped, *skipped)
		return nil
	case err != nil:
		return err
	}
	for i := range b.Events {
		e := &b.Events[i]
		if at++; e.Seq != at || string(e.Message) != fmt.Sprint("event ", at) || string(e.Fields[0].Value) != fmt.Sprint(at) {
			t.Fatalf("got event %d, %q; want %d", e.Seq, e.Message, at)
		}
		k.sequences = append(k.sequences, e.Seq)
	}
	if len(b.Events) == 0 || tail.Position() != at {
		t.Fatalf("%d events, position %d, want %d", len(b.Events), tail.Position(), at)
	}
	return nil
}

func (k *taken) until(t testing.TB, tail *Tail, end uint64) {
	t.Helper()
	for tail.Position() < end {
		if err := k.take(t, tail, t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func numbers(from, to uint64) (all []uint64) {
	for ; from <= to; from++ {
		all = append(all, from)
	}
	return all
}

// While events pour in, tails that begin anywhere and stop anywhere get each event once, and the two kinds of slow ones
// account for every event.
func TestNothingIsLost(t *testing.T) {
	s := newSource()
	s.append(50)
	h := New(Options{Source: s, QueueEvents: 60})
	const total = 4000
	// One takes nothing before all has come: it is too slow, however the others get on.
	stuck := h.Open(s.LastSeq(), true)
	var all sync.WaitGroup
	all.Go(func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for n := 50; n < total; {
			more := min(1+rng.IntN(40), total-n)
			s.append(more)
			n += more
			runtime.Gosched()
		}
	})
	var skips atomic.Int64
	for i := range 24 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			skip := i%2 == 0
			after := rng.Uint64N(s.LastSeq() + 1)
			tail := h.Open(after, skip)
			defer tail.Close()
			var k taken
			for tail.Position() < total {
				if err := k.take(t, tail, t.Context()); err != nil {
					t.Error(err)
					return
				}
				if i%3 > 0 && rng.IntN(4) == 0 { // a slow one: until so many more have come
					for want := min(s.LastSeq()+uint64(rng.IntN(200)), total); s.LastSeq() < want; {
						runtime.Gosched()
					}
				}
			}
			var got []uint64
			got = append(got, k.sequences...)
			for _, r := range k.skipped {
				got = append(got, numbers(r.After+1, r.To)...)
			}
			slices.Sort(got)
			if !slices.Equal(got, numbers(after+1, total)) {
				t.Errorf("tail %d, skip %v, behind %d: %d events, %d ranges", i, skip, after, len(k.sequences), len(k.skipped))
			}
			if !skip && len(k.skipped) > 0 {
				t.Errorf("tail %d waits and was told to skip %v", i, k.skipped)
			}
			skips.Add(int64(len(k.skipped)))
		})
	}
	all.Wait()
	for end := uint64(0); end < total; runtime.Gosched() {
		h.mu.Lock()
		end = h.newest.end
		h.mu.Unlock()
	}
	var k taken
	k.until(t, stuck, total)
	if want := []SkippedError{{50, total}}; !slices.Equal(k.skipped, want) {
		t.Errorf("the one that was stuck skipped %v, want %v", k.skipped, want)
	}
	stuck.Close()
	if s.followers() != 0 {
		t.Errorf("%d followers are open", s.followers())
	}
	t.Logf("the others skipped %d times", skips.Load())
}

// A tail that loses its place reads what it has missed from the store, and takes its place in the chain again.
func TestWaitFallsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		h := New(Options{Source: s, QueueEvents: 10})
		slow, other := h.Open(0, false), h.Open(0, true)
		var k, o taken
		for range 5 {
			s.append(4)
			synctest.Wait()
			o.until(t, other, s.LastSeq())
		}
		if got := h.Stats(); got != (Stats{Behind: 1, Lag: 20}) || s.followers() != 1 {
			t.Errorf("%+v, %d followers", got, s.followers())
		}
		k.until(t, slow, 20)
		s.append(1)
		synctest.Wait()
		k.until(t, slow, 21)
		if got := h.Stats(); got != (Stats{Lag: 1}) || s.followers() != 1 || !slices.Equal(k.sequences, numbers(1, 21)) {
			t.Errorf("%+v, %d followers, got %v", got, s.followers(), k.sequences)
		}
		o.until(t, other, 21)
		if len(o.skipped) > 0 || !slices.Equal(o.sequences, k.sequences) {
			t.Errorf("the other tail got %v, skipped %v", o.sequences, o.skipped)
		}
		slow.Close()
		other.Close()
		if s.followers() != 0 {
			t.Errorf("%d followers are open", s.followers())
		}
	})
}

func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		h := New(Options{Source: s, QueueEvents: 10})
		tail := h.Open(0, true)
		defer tail.Close()
		var k taken
		s.append(5)
		synctest.Wait()
		k.until(t, tail, 5)
		s.append(30)
		synctest.Wait()
		if !tail.Ready() {
			t.Error("a tail with something to say is not ready")
		}
		k.until(t, tail, 35)
		if tail.Ready() {
			t.Error("a tail without anything is ready")
		}
		s.append(5)
		synctest.Wait()
		k.until(t, tail, 40)
		if want := []SkippedError{{5, 35}}; !slices.Equal(k.skipped, want) || !slices.Equal(k.sequences, append(numbers(1, 5), numbers(36, 40)...)) {
			t.Errorf("got %v, skipped %v, want %v", k.sequences, k.skipped, want)
		}
	})
}

// History and what arrives meet at any place, also where the tail has read the store beyond the chain.
func TestSeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		s.append(20)
		h := New(Options{Source: s})
		for after := range uint64(s.LastSeq()) {
			tail := h.Open(after, after%2 == 0)
			var k taken
			for i := 0; tail.Position() < s.LastSeq(); i++ {
				if i < 3 {
					s.append(int(after % 3))
				}
				if err := k.take(t, tail, t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(k.sequences, numbers(after+1, s.LastSeq())) {
				t.Errorf("behind %d: %v", after, k.sequences)
			}
			tail.Close()
		}
	})
}

func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		s.gaps = []query.GapError{{From: 4, To: 6, Err: errors.New("rotten")}}
		h := New(Options{Source: s})
		live, late := h.Open(0, false), (*Tail)(nil)
		s.append(9)
		synctest.Wait()
		late = h.Open(1, true)
		for _, tail := range []*Tail{live, late} {
			var k taken
			var gap *query.GapError
			k.until(t, tail, 3)
			if err := k.take(t, tail, t.Context()); !errors.As(err, &gap) || gap.From != 4 || gap.To != 6 || tail.Position() != 6 {
				t.Errorf("%v at %d", err, tail.Position())
			}
			k.until(t, tail, 9)
			if !slices.Equal(k.sequences[len(k.sequences)-4:], []uint64{3, 7, 8, 9}) {
				t.Errorf("%v", k.sequences)
			}
			tail.Close()
		}
	})
}

// What ends the reader ends its tails; the next one begins anew.
func TestReaderFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		h := New(Options{Source: s})
		old := h.Open(0, false)
		s.append(3)
		synctest.Wait()
		broken := errors.New("broken")
		s.fail(broken)
		synctest.Wait()
		var k taken
		k.until(t, old, 3)
		if err := k.take(t, old, t.Context()); err != broken {
			t.Errorf("%v", err)
		}
		s.fail(nil)
		tail := h.Open(3, true)
		s.append(2)
		synctest.Wait()
		k.until(t, tail, 5)
		if !slices.Equal(k.sequences, numbers(1, 5)) {
			t.Errorf("%v", k.sequences)
		}
		old.Close()
		tail.Close()
	})
}

func TestNextEnds(t *testing.T) {
	s := newSource()
	h := New(Options{Source: s})
	tail := h.Open(0, false)
	defer tail.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if b, err := tail.Next(ctx); b != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", b, err)
	}
}

// A long event is one batch; many short ones are some. Each line is made once, whoever asks first.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource()
		h := New(Options{Source: s, QueueBytes: 8 << 20})
		a, b := h.Open(0, false), h.Open(0, false)
		defer a.Close()
		defer b.Close()
		s.mu.Lock()
		s.events = append(s.events, event.Event{Seq: 1, Message: []byte(strings.Repeat("x", 1<<20))})
		s.mu.Unlock()
		s.append(6)
		synctest.Wait()
		made := 0
		encode := func(dst []byte, e *event.Event) []byte {
			made++
			return eventjson.AppendEvent(dst, e)
		}
		for _, tail := range []*Tail{a, b} {
			var sizes []int
			for tail.Position() < 7 {
				batch, err := tail.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				sizes = append(sizes, len(batch.Events))
				for i := range batch.Events {
					got := batch.AppendLine([]byte("> "), i, encode)
					if want := eventjson.AppendEvent([]byte("> "), &batch.Events[i]); string(got) != string(want) {
						t.Errorf("%.100s, want %.100s", got, want)
					}
				}
			}
			if !slices.Equal(sizes, []int{1, 6}) {
				t.Errorf("batches of %v events", sizes)
			}
		}
		if made != 7 {
			t.Errorf("%d lines were made of 7 events", made)
		}
	})
}

// The chain holds nothing that every tail has taken.
func TestChainIsFreed(t *testing.T) {
	s := newSource()
	h := New(Options{Source: s})
	tail := h.Open(0, false)
	defer tail.Close()
	var k taken
	s.append(1)
	k.until(t, tail, 1)
	freed := make(chan struct{})
	h.mu.Lock()
	runtime.AddCleanup(h.newest.batch, func(struct{}) { close(freed) }, struct{}{})
	h.mu.Unlock()
	s.append(1)
	k.until(t, tail, 2)
	for {
		runtime.GC()
		select {
		case <-freed:
			return
		default:
			runtime.Gosched()
		}
	}
}

func BenchmarkHub(b *testing.B) {
	q, err := query.Parse("level<=4 shop")
	if err != nil {
		b.Fatal(err)
	}
	for _, tails := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("tails=%d", tails), func(b *testing.B) {
			s := newSource()
			h := New(Options{Source: s, QueueEvents: 1 << 40, QueueBytes: 1 << 50})
			var all sync.WaitGroup
			for range tails {
				tail := h.Open(0, false)
				all.Go(func() {
					defer tail.Close()
					var buf []byte
					for tail.Position() < uint64(b.N) {
						batch, err := tail.Next(context.Background())
						if err != nil {
							b.Error(err)
							return
						}
						for i := range batch.Events {
							q.Match(&batch.Events[i])
							buf = batch.AppendLine(buf[:0], i, eventjson.AppendEvent)
						}
					}
				})
			}
			b.ResetTimer()
			for n := 0; n < b.N; {
				more := min(200, b.N-n)
				s.append(more)
				n += more
			}
			all.Wait()
		})
	}
}
