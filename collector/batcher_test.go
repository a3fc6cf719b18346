package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
)

// fakeSink keeps the messages of each append. enter, when set, is called first: it may block, or fail.
type fakeSink struct {
	enter func(ctx context.Context) error

	mu      sync.Mutex
	batches [][]string
	calls   []time.Time
}

func (s *fakeSink) Append(ctx context.Context, b *event.Batch) error {
	s.mu.Lock()
	s.calls = append(s.calls, time.Now())
	s.mu.Unlock()
	if s.enter != nil {
		if err := s.enter(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = append(s.batches, messages(b))
	return nil
}

func messages(b *event.Batch) []string {
	var m []string
	for i := range b.Events {
		m = append(m, string(b.Events[i].Message))
	}
	return m
}

func (s *fakeSink) got(t *testing.T, want ...[]string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := cmp.Diff(want, s.batches); d != "" {
		t.Errorf("appended (-want +got):\n%s", d)
	}
}

type pressure struct{ wait time.Duration }

func (p pressure) Error() string             { return "full" }
func (p pressure) RetryAfter() time.Duration { return p.wait }
func (p pressure) Full() bool                { return true }

// stage appends a mark to each message.
type stage string

func (s stage) Process(b *event.Batch) {
	for i := range b.Events {
		b.Events[i].Message = b.Copy(append(append([]byte{}, b.Events[i].Message...), s...))
	}
}

// holder is a joiner that merges all that comes within hold into one message; with a prefix, only what begins with it.
type holder struct {
	name   string
	hold   time.Duration
	prefix string
	held   []string
	due    int64
}

func (h *holder) Join(b *event.Batch, now int64) {
	if len(h.held) == 0 {
		h.due = now + int64(h.hold)
	}
	rest := b.Events[:0]
	for _, e := range b.Events {
		if strings.HasPrefix(string(e.Message), h.prefix) {
			h.held = append(h.held, string(e.Message))
		} else {
			rest = append(rest, e)
		}
	}
	b.Events = rest
}

func (h *holder) Flush(b *event.Batch, now int64, all bool) int64 {
	if len(h.held) == 0 {
		return 0
	}
	if now < h.due && !all {
		return h.due
	}
	b.Add().Message = b.CopyString(h.name + "(" + strings.Join(h.held, "+") + ")")
	h.held = nil
	return 0
}

func add(b *Batcher, texts ...string) {
	for _, text := range texts {
		if batch, _, ok := b.Begin(); ok {
			e := batch.Add()
			e.Message = batch.CopyString(text)
			batch.AddField(e, event.Field{})
			b.End(len(text))
		}
	}
}

// start runs b and returns what ends it and waits for it.
func start(b *Batcher) (stop func()) {
	return startContext(context.Background(), b)
}

func startContext(ctx context.Context, b *Batcher) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	return func() {
		b.Close()
		<-done
	}
}

func checkStats(t *testing.T, b *Batcher, want BatcherStats) {
	t.Helper()
	if d := cmp.Diff(want, b.Stats()); d != "" {
		t.Errorf("stats (-want +got):\n%s", d)
	}
}

// atOnce returns a batcher that does not wait between appends.
func atOnce(o BatcherOptions) *Batcher {
	b := NewBatcher(o)
	b.pace = 0
	return b
}

func TestBatcherPacesAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{}
		b := NewBatcher(BatcherOptions{Sink: s})
		defer start(b)()
		add(b, "a")
		synctest.Wait()
		s.got(t, []string{"a"}) // alone: at once
		add(b, "b")
		synctest.Wait()
		time.Sleep(pace - time.Microsecond) // the bubble's clock
		add(b, "c")
		synctest.Wait()
		s.got(t, []string{"a"})
		time.Sleep(time.Microsecond)
		synctest.Wait()
		s.got(t, []string{"a"}, []string{"b", "c"})
		time.Sleep(pace)
		add(b, "d")
		synctest.Wait()
		s.got(t, []string{"a"}, []string{"b", "c"}, []string{"d"})
	})
}

func TestBatcherAppendsAtOnceAndGathersMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &fakeSink{enter: func(context.Context) error { <-gate; return nil }}
		b := atOnce(BatcherOptions{Sink: s, Stages: []Stage{stage("1"), stage("2")}})
		stop := start(b)
		begun := time.Now()
		add(b, "a")
		synctest.Wait() // a is with the sink
		add(b, "b", "c")
		synctest.Wait()
		s.got(t)
		gate <- struct{}{}
		synctest.Wait()
		s.got(t, []string{"a12"})
		add(b, "d") // b and c are with the sink
		gate <- struct{}{}
		synctest.Wait()
		s.got(t, []string{"a12"}, []string{"b12", "c12"})
		gate <- struct{}{}
		synctest.Wait()
		s.got(t, []string{"a12"}, []string{"b12", "c12"}, []string{"d12"})
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("waited %v for a timer", waited)
		}
		stop()
		checkStats(t, b, BatcherStats{Added: 4, Appended: 4})
	})
}

func TestBatcherBounds(t *testing.T) {
	for _, c := range []struct {
		name string
		o    BatcherOptions
		want []string // of eight that come while one is appended
	}{
		{"events", BatcherOptions{MaxEvents: 3}, []string{"00", "11", "22"}},
		{"bytes", BatcherOptions{MaxBytes: 4*(eventSize+fieldSize+2) + 1}, []string{"00", "11", "22", "33", "44"}},
		{"neither", BatcherOptions{}, []string{"00", "11", "22", "33", "44", "55", "66", "77"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			s := &fakeSink{enter: func(context.Context) error { <-gate; return nil }}
			c.o.Sink = s
			b := atOnce(c.o)
			stop := start(b)
			add(b, "first")
			synctest.Wait()
			for i := range 8 {
				add(b, fmt.Sprint(i, i)[:1]+strconv.Itoa(i))
			}
			close(gate)
			synctest.Wait()
			add(b, "last") // there is room again
			synctest.Wait()
			s.got(t, []string{"first"}, c.want, []string{"last"})
			stop()
			n := int64(len(c.want))
			checkStats(t, b, BatcherStats{Added: 2 + n, Appended: 2 + n, Overflow: 8 - n})
		})
	}
}

func TestBatcherPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := []time.Duration{2 * time.Second, 5 * time.Second, 0, time.Hour}
		s := &fakeSink{}
		s.enter = func(context.Context) error {
			if n := len(s.calls); n <= len(waits) {
				return fmt.Errorf("appending: %w", pressure{waits[n-1]})
			}
			return nil
		}
		var log strings.Builder
		b := atOnce(BatcherOptions{Sink: s, Stages: []Stage{stage("!")}, MaxEvents: 2, Name: "test", Log: slog.New(slog.NewTextHandler(&log, nil))})
		stop := start(b)
		begun := time.Now()
		add(b, "a")
		synctest.Wait()
		add(b, "b", "c", "d", "e")
		time.Sleep(time.Hour) // in the bubble
		s.got(t, []string{"a!"}, []string{"b!", "c!"})
		var at []time.Duration
		for _, c := range s.calls {
			at = append(at, c.Sub(begun))
		}
		sec, ms := time.Second, time.Millisecond
		if d := cmp.Diff([]time.Duration{0, 2 * sec, 7 * sec, 7*sec + ms, 67*sec + ms, 67*sec + ms}, at); d != "" {
			t.Errorf("calls (-want +got):\n%s", d)
		}
		stop()
		checkStats(t, b, BatcherStats{Added: 3, Appended: 3, Pressure: 2})
		if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "input=test dropped=2") {
			t.Errorf("log:\n%s", &log)
		}
	})
}

func TestBatcherOverflowAfterPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &fakeSink{}
		s.enter = func(context.Context) error {
			switch len(s.calls) {
			case 1:
				return pressure{time.Second}
			case 3:
				<-gate
			}
			return nil
		}
		b := atOnce(BatcherOptions{Sink: s, MaxEvents: 1})
		stop := start(b)
		add(b, "a")
		synctest.Wait()
		time.Sleep(2 * time.Second)
		add(b, "b")
		synctest.Wait()
		add(b, "c", "d") // the sink is slow now, no longer under pressure
		close(gate)
		stop()
		s.got(t, []string{"a"}, []string{"b"}, []string{"c"})
		checkStats(t, b, BatcherStats{Added: 3, Appended: 3, Overflow: 1})
	})
}

func TestBatcherOverflowAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &fakeSink{}
		s.enter = func(context.Context) error {
			switch n := len(s.calls); {
			case n == 1:
				return pressure{time.Second}
			case n <= 1+attempts:
				return errors.New("disk on fire")
			}
			<-gate
			return nil
		}
		b := atOnce(BatcherOptions{Sink: s, MaxEvents: 1})
		stop := start(b)
		add(b, "a")
		synctest.Wait()
		time.Sleep(10 * time.Second) // a is given up
		add(b, "b")
		synctest.Wait()
		add(b, "c", "d") // the sink is slow with b
		close(gate)
		stop()
		s.got(t, []string{"b"}, []string{"c"})
		checkStats(t, b, BatcherStats{Added: 3, Appended: 2, Overflow: 1, Failed: 1})
	})
}

func TestBatcherGivesUpABatchThatFails(t *testing.T) {
	for _, c := range []struct {
		fail    int // so many calls fail
		batches [][]string
		want    BatcherStats
	}{
		{2, [][]string{{"a"}, {"b", "c"}}, BatcherStats{Added: 3, Appended: 3}},
		{3, [][]string{{"b", "c"}}, BatcherStats{Added: 3, Appended: 2, Failed: 1}},
		{6, nil, BatcherStats{Added: 3, Failed: 3}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeSink{}
			s.enter = func(context.Context) error {
				if len(s.calls) <= c.fail {
					return errors.New("disk on fire")
				}
				return nil
			}
			b := atOnce(BatcherOptions{Sink: s})
			stop := start(b)
			add(b, "a")
			synctest.Wait()
			add(b, "b", "c")
			stop()
			s.got(t, c.batches...)
			checkStats(t, b, c.want)
		})
	}
}

func TestBatcherJoiners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{}
		b := atOnce(BatcherOptions{Sink: s, Stages: []Stage{stage("!")}, Joiners: []Joiner{
			&holder{name: "x", hold: time.Second}, &holder{name: "y", hold: 3 * time.Second},
		}})
		stop := start(b)
		begun := time.Now()
		add(b, "a")
		synctest.Wait()
		time.Sleep(999 * time.Millisecond)
		add(b, "b") // x has a: due at 1 s
		synctest.Wait()
		time.Sleep(time.Second) // x has flushed into y, due at 4 s
		add(b, "c")             // x has c: due at 2.999 s
		synctest.Wait()
		time.Sleep(2 * time.Second)
		s.got(t)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		s.got(t, []string{"y(x(a+b)+x(c))!"})
		if at := s.calls[0].Sub(begun); at != 4*time.Second {
			t.Errorf("appended at %v", at)
		}
		add(b, "d")
		synctest.Wait()
		checkStats(t, b, BatcherStats{Added: 4, Appended: 1, Merged: 3}) // d is held
		stop()
		s.got(t, []string{"y(x(a+b)+x(c))!"}, []string{"y(x(d))!"})
		checkStats(t, b, BatcherStats{Added: 4, Appended: 2, Merged: 2})
	})
}

// Each joiner is called when it wants to be, whichever comes first.
func TestBatcherDeadlines(t *testing.T) {
	for _, order := range []string{"xy", "yx"} {
		synctest.Test(t, func(t *testing.T) {
			s := &fakeSink{}
			joiners := map[byte]Joiner{
				'x': &holder{name: "x", hold: time.Second, prefix: "x"}, 'y': &holder{name: "y", hold: 3 * time.Second, prefix: "y"},
			}
			b := atOnce(BatcherOptions{Sink: s, Joiners: []Joiner{joiners[order[0]], joiners[order[1]]}})
			stop := start(b)
			begun := time.Now()
			add(b, "y1", "x1", "z")
			time.Sleep(5 * time.Second)
			s.got(t, []string{"z"}, []string{"x(x1)"}, []string{"y(y1)"})
			for i, want := range []time.Duration{0, time.Second, 3 * time.Second} {
				if at := s.calls[i].Sub(begun); at != want {
					t.Errorf("%s: append %d at %v, want %v", order, i, at, want)
				}
			}
			stop()
		})
	}
}

func TestBatcherDrainsWithinContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{enter: func(context.Context) error { return pressure{time.Second} }}
		b := atOnce(BatcherOptions{Sink: s, Joiners: []Joiner{&holder{name: "h", hold: 0}}})
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		stop := startContext(ctx, b)
		add(b, "a")
		synctest.Wait()
		add(b, "b", "c")
		begun := time.Now()
		stop()
		if took := time.Since(begun); took != 5500*time.Millisecond {
			t.Errorf("returned after %v", took)
		}
		add(b, "late")
		s.got(t)
		// b and c became one event in the last flush.
		checkStats(t, b, BatcherStats{Added: 3, Merged: 1, Shutdown: 3})
	})
}

func TestBatcherEndsWithItsContext(t *testing.T) {
	for range 20 { // Run meets two reasons to go on, in any order
		s := &fakeSink{enter: func(ctx context.Context) error { return ctx.Err() }}
		b := atOnce(BatcherOptions{Sink: s, Joiners: []Joiner{&holder{name: "h", hold: time.Hour, prefix: "x"}}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		add(b, "a", "b", "x")
		b.Run(ctx)
		add(b, "late")
		checkStats(t, b, BatcherStats{Added: 3, Shutdown: 4})
	}
}

// What cannot be decoded leaves bytes without an event: it must not fill the batch for good, nor grow it without bound.
func TestBatcherBytesWithoutEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		s := &fakeSink{enter: func(context.Context) error { <-gate; return nil }}
		b := atOnce(BatcherOptions{Sink: s, MaxBytes: eventSize + fieldSize + 10})
		junk := func() bool {
			batch, _, ok := b.Begin()
			if ok {
				batch.CopyString("junk!")
				b.End(5)
			}
			return ok
		}
		stop := start(b)
		for range 100 {
			if !junk() {
				t.Fatal("junk filled an idle batch")
			}
		}
		add(b, "a")
		synctest.Wait()
		add(b, "b") // 1 byte; a is with the sink
		junk()
		junk()
		add(b, "c") // 11 bytes wait
		close(gate)
		stop()
		s.got(t, []string{"a"}, []string{"b"})
		checkStats(t, b, BatcherStats{Added: 2, Appended: 2, Overflow: 1})
	})
}

// Memory beside a batch is the input's again when that batch is empty: nobody reads what is beside the other one meanwhile.
func TestBatcherBufferIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var beside [Buffers][]byte
		s := &fakeSink{}
		b := atOnce(BatcherOptions{Sink: s})
		stop := start(b)
		var want []string
		for i := range 1000 {
			batch, buffer, ok := b.Begin()
			if !ok {
				t.Fatal("no room")
			}
			if len(batch.Events) == 0 {
				beside[buffer] = beside[buffer][:0]
			}
			n := len(beside[buffer])
			beside[buffer] = strconv.AppendInt(beside[buffer], int64(i), 10)
			batch.Add().Message = beside[buffer][n:]
			b.End(1)
			want = append(want, strconv.Itoa(i))
		}
		stop()
		var got []string
		for _, batch := range s.batches {
			got = append(got, batch...)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// Several readers, a sink that is slow, asks to wait and fails by turns: every event is in the sink once, in the order of
// its reader, or counted.
func TestBatcherCountsEverything(t *testing.T) {
	const readers, each = 4, 2000
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSink{}
		n := 0
		s.enter = func(context.Context) error {
			n++
			time.Sleep(10 * time.Millisecond)
			switch {
			case n%5 == 0:
				return pressure{30 * time.Millisecond}
			case n%11 > 8:
				return errors.New("broken")
			}
			return nil
		}
		b := atOnce(BatcherOptions{Sink: s, MaxEvents: 64})
		stop := start(b)
		var wg sync.WaitGroup
		for r := range readers {
			wg.Go(func() {
				for i := range each {
					add(b, fmt.Sprintf("%d %d", r, i))
					if i%7 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		wg.Wait()
		stop()
		last := map[int]int{}
		stored := int64(0)
		for _, batch := range s.batches {
			if len(batch) > 64 {
				t.Errorf("a batch of %d", len(batch))
			}
			for _, m := range batch {
				var r, i int
				if _, err := fmt.Sscanf(m, "%d %d", &r, &i); err != nil {
					t.Fatal(err)
				}
				if l, ok := last[r]; ok && i <= l {
					t.Fatalf("reader %d: %d after %d", r, i, l)
				}
				last[r] = i
				stored++
			}
		}
		st := b.Stats()
		if stored != st.Appended {
			t.Errorf("%d stored, %d counted", stored, st.Appended)
		}
		if st.Added+st.Overflow+st.Pressure != readers*each || st.Appended+st.Failed != st.Added || st.Shutdown != 0 {
			t.Errorf("%+v of %d", st, readers*each)
		}
		if st.Overflow == 0 || st.Pressure == 0 || st.Appended == 0 {
			t.Errorf("%+v: not every case was met", st)
		}
	})
}

func TestBatcherAllocatesNothingPerEvent(t *testing.T) {
	b := atOnce(BatcherOptions{Sink: &fakeSink{}, MaxEvents: 1 << 20})
	text := []byte("a line")
	fill := func() {
		for range 1000 {
			batch, _, ok := b.Begin()
			if !ok {
				t.Fatal("no room")
			}
			batch.Add().Message = batch.Copy(text)
			b.End(len(text))
		}
		b.swap()
	}
	fill()
	fill()
	if n := testing.AllocsPerRun(10, fill); n > 1 {
		t.Errorf("%v allocations for 1000 events", n)
	}
}

func BenchmarkBatcher(b *testing.B) {
	bt := atOnce(BatcherOptions{Sink: nullSink{}})
	stop := start(bt)
	text := []byte("a line")
	b.ReportAllocs()
	for b.Loop() {
		if batch, _, ok := bt.Begin(); ok {
			batch.Add().Message = batch.Copy(text)
			bt.End(len(text))
		}
	}
	stop()
	st := bt.Stats()
	b.ReportMetric(float64(st.Overflow)/float64(b.N), "drops/op")
}

type nullSink struct{}

func (nullSink) Append(context.Context, *event.Batch) error { return nil }
