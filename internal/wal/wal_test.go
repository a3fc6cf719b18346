package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
	"github.com/lookoutlog/lookout/internal/vfs"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

var ctx = context.Background()

// lines makes an entry of one event a message.
func lines(messages ...string) *Entry {
	e := &Entry{Count: len(messages)}
	for _, s := range messages {
		e.Data = event.AppendEvent(e.Data, &event.Event{Message: []byte(s)})
	}
	return e
}

// counted is lines by a producer that counts the first message as first; its cursor is the last message.
func counted(producer string, first uint64, messages ...string) *Entry {
	e := lines(messages...)
	e.Producer, e.ProducerSeq, e.Cursor = producer, first, []byte(messages[len(messages)-1])
	return e
}

func texts(t testing.TB, e *Entry) []string {
	t.Helper()
	var out []string
	for data := e.Data; len(data) > 0; {
		var ev event.Event
		var err error
		if data, err = event.Decode(data, &ev); err != nil {
			t.Fatal(err)
		}
		out = append(out, string(ev.Message))
	}
	if len(out) != e.Count {
		t.Fatalf("an entry of %d events holds %d", e.Count, len(out))
	}
	return out
}

func memory() *vfs.Crash {
	fs := vfs.NewCrash(1)
	if err := errors.Join(fs.MkdirAll("/d", 0o700), fs.SyncDir("/")); err != nil {
		panic(err)
	}
	return fs
}

// start opens a log that the test closes at its end, if it did not do so itself.
func start(t testing.TB, o Options) *Log {
	o.Compress = true
	t.Helper()
	if o.Dir == "" {
		o.Dir = "/d/wal"
	}
	if o.FS == nil {
		o.FS = memory()
	}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func add(t testing.TB, l *Log, e *Entry) uint64 {
	t.Helper()
	first, kept, err := l.Append(ctx, e)
	if err != nil || kept != e.Count {
		t.Fatalf("first %d, kept %d of %d, %v", first, kept, e.Count, err)
	}
	return first
}

// all reads what the log holds behind a sequence: "1:a b" is an entry with the messages a and b, errors stand among them.
func all(t testing.TB, l *Log, after uint64) []string {
	t.Helper()
	r := l.Reader(after)
	defer r.Close()
	return rest(t, r)
}

func rest(t testing.TB, r *Reader) (out []string) {
	t.Helper()
	for {
		e, ok, err := r.TryNext()
		var trimmed *TrimmedError
		var corrupt *CorruptError
		switch {
		case errors.As(err, &trimmed):
			out = append(out, fmt.Sprintf("trimmed to %d", trimmed.Oldest))
		case errors.As(err, &corrupt):
			out = append(out, fmt.Sprintf("lost %d-%d", corrupt.From, corrupt.To))
		case err != nil:
			t.Fatal(err)
		case !ok:
			return out
		default:
			out = append(out, fmt.Sprintf("%d:%s", e.First, strings.Join(texts(t, e), " ")))
		}
		if len(out) > 100_000 {
			t.Fatal("reading does not end")
		}
	}
}

func equal(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestAppendAndRead(t *testing.T) {
	mem := memory()
	var committed []string
	o := Options{
		FS: mem, Now: func() time.Time { return time.Unix(7, 0) },
		OnCommit: func(e *Entry) {
			committed = append(committed, fmt.Sprintf("%d %s/%d/%s %d:%s", e.Received, e.Producer, e.ProducerSeq, e.Cursor, e.First, strings.Join(texts(t, e), " ")))
		},
	}
	l := start(t, o)
	if l.Last() != 0 || l.Oldest() != 1 {
		t.Fatal(l.Last(), l.Oldest())
	}
	long := strings.Repeat("long ", 1000)
	e := lines("a", "b")
	add(t, l, e)
	if e.First != 1 || e.Last() != 2 || e.Received != 7e9 {
		t.Fatal(e.First, e.Received)
	}
	add(t, l, counted("p", 10, long))
	e = lines("c")
	e.Received, e.ProducerSeq, e.Cursor = 5, 3, []byte("x") // without a producer these two mean nothing
	add(t, l, e)
	equal(t, committed, "7000000000 /0/ 1:a b", "7000000000 p/10/"+long+" 3:"+long, "5 /0/ 4:c")
	if l.Last() != 4 || l.Oldest() != 1 {
		t.Fatal(l.Last(), l.Oldest())
	}
	if s := l.Stats(); s.Records != 3 || s.Events != 4 || s.Segments != 1 || s.Producers != 1 || s.Bytes == 0 || s.Bytes > 7000 {
		t.Errorf("%+v", s)
	}
	for range 3 { // the same after every reopening
		want := []string{"1:a b", "3:" + long, "4:c"}
		equal(t, all(t, l, 0), want...)
		equal(t, all(t, l, 1), append([]string{"2:b"}, want[1:]...)...)
		equal(t, all(t, l, 2), want[1:]...)
		equal(t, all(t, l, 4))
		equal(t, all(t, l, 9))
		r := l.Reader(2)
		got, err := r.Next(ctx)
		if err != nil || got.Producer != "p" || got.ProducerSeq != 10 || string(got.Cursor) != long || got.Received != 7e9 {
			t.Fatalf("%+v, %v", got, err)
		}
		if r.Position() != 3 {
			t.Error(r.Position())
		}
		r.Close()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = start(t, o)
	}
	if s := l.Stats(); s.Records != 0 || s.Repaired != 0 || s.Corrupt != 0 {
		t.Errorf("%+v", s)
	}
	if first := add(t, l, lines("d")); first != 5 {
		t.Fatal(first)
	}
}

func TestAppendRefuses(t *testing.T) {
	l := start(t, Options{})
	two := lines("a", "b")
	for _, c := range []struct {
		name string
		e    Entry
		want string
	}{
		{"no events", Entry{}, "a batch of 0 events"},
		{"negative", Entry{Count: -1, Data: two.Data}, "a batch of -1 events"},
		{"fewer than said", Entry{Count: 3, Data: two.Data}, "corrupt event"},
		{"more than said", Entry{Count: 1, Data: two.Data}, "bytes behind the last one"},
		{"cut off", Entry{Count: 2, Data: two.Data[:len(two.Data)-1]}, "corrupt event"},
		{"too long", Entry{Count: 1, Data: make([]byte, MaxData+1)}, "split it"},
		{"long producer", Entry{Count: 2, Data: two.Data, Producer: strings.Repeat("x", MaxProducer+1)}, "name of 1025 bytes"},
		{"long cursor", Entry{Count: 2, Data: two.Data, Producer: "p", Cursor: make([]byte, MaxCursor+1)}, "cursor of 65537 bytes"},
		{"count overflows", Entry{Count: 2, Data: two.Data, Producer: "p", ProducerSeq: math.MaxUint64 - 1}, "64 bits"},
	} {
		if _, _, err := l.Append(ctx, &c.e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := l.Append(ended, two); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if l.Last() != 0 || l.Stats().Segments != 0 {
		t.Error("something was written")
	}
	l.Close()
	if _, _, err := l.Append(ctx, two); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	for _, o := range []Options{{}, {Dir: "x", SegmentBytes: -1}, {Dir: "x", SegmentBytes: 1<<30 + 1}, {Dir: "x", MaxPending: -1}, {Dir: "x", MaxPending: 1<<30 + 1}} {
		o.FS = memory()
		if l, err := Open(o); err == nil {
			l.Close()
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestProducers(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 400})
	if _, _, ok := l.Producer("p"); ok {
		t.Fatal("an unknown producer is known")
	}
	for _, c := range []struct {
		name        string
		e           *Entry
		first, kept int
		next        uint64
		cursor      string
	}{
		{"any start", counted("p", 40, "a", "b"), 1, 2, 42, "b"},
		{"the same again", counted("p", 40, "a", "b"), 0, 0, 42, "b"},
		{"a part of it", counted("p", 41, "b"), 0, 0, 42, "b"},
		{"older", counted("p", 0, "x"), 0, 0, 42, "b"},
		{"overlapping", counted("p", 41, "b", "c", "d"), 3, 2, 44, "d"},
		{"overlapping more", counted("p", 40, "a", "b", "c", "d", strings.Repeat("e", 600)), 5, 1, 45, strings.Repeat("e", 600)},
		{"another one", counted("q", 44, "x"), 6, 1, 45, "x"},
		{"a gap", counted("p", 50, "f"), 7, 1, 51, "f"},
		{"into the gap", counted("p", 49, "y", "f"), 0, 0, 51, "f"},
	} {
		first, kept, err := l.Append(ctx, c.e)
		next, cursor, ok := l.Producer(c.e.Producer)
		if err != nil || int(first) != c.first || kept != c.kept || next != c.next || string(cursor) != c.cursor || !ok {
			t.Errorf("%s: first %d, kept %d, %v; next %d, cursor %q", c.name, first, kept, err, next, cursor)
		}
	}
	want := []string{"1:a b", "3:c d", "5:" + strings.Repeat("e", 600), "6:x", "7:f"}
	equal(t, all(t, l, 0), want...)
	if s := l.Stats(); s.Duplicates != 2+1+1+1+4+2 {
		t.Errorf("%d duplicates", s.Duplicates)
	}
	// A reader that starts inside an entry gets the count of the event it starts with.
	r := l.Reader(1)
	defer r.Close()
	if e, _, err := r.TryNext(); err != nil || e.First != 2 || e.ProducerSeq != 41 || e.Count != 1 {
		t.Fatalf("%+v, %v", e, err)
	}
	// The returned cursor is a copy.
	_, cursor, _ := l.Producer("p")
	cursor[0] = '!'
	if _, cursor, _ := l.Producer("p"); string(cursor) != "f" {
		t.Error("the cursor was changed from outside")
	}
	// Marks survive trimming and reopening.
	if err := l.Trim(7); err != nil {
		t.Fatal(err)
	}
	if l.Stats().Segments != 1 || l.Oldest() == 1 {
		t.Fatal("nothing was trimmed")
	}
	l.Close()
	l = start(t, Options{FS: mem.Crash(), SegmentBytes: 400})
	for name, want := range map[string]uint64{"p": 51, "q": 45} {
		if next, cursor, ok := l.Producer(name); next != want || len(cursor) != 1 || !ok {
			t.Errorf("%s: %d %q", name, next, cursor)
		}
	}
	if _, kept, err := l.Append(ctx, counted("q", 44, "x")); kept != 0 || err != nil {
		t.Error(kept, err)
	}
}

// gate lets a test hold the log's fsyncs and decide how each ends.
type gate struct {
	vfs.FS
	began chan struct{}
	end   chan error
}

type gateFile struct {
	vfs.File
	g *gate
}

func newGate() *gate {
	return &gate{FS: memory(), began: make(chan struct{}), end: make(chan error)}
}

func (g *gate) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	f, err := g.FS.OpenFile(name, flag, perm)
	if err != nil || flag&os.O_WRONLY == 0 {
		return f, err
	}
	return gateFile{f, g}, nil
}

func (f gateFile) Sync() error {
	f.g.began <- struct{}{}
	if err := <-f.g.end; err != nil {
		return err
	}
	return f.File.Sync()
}

type answer struct {
	first uint64
	kept  int
	err   error
}

// later appends in the background, and returns once the batch waits.
func later(l *Log, e *Entry) chan answer { return laterCtx(ctx, l, e) }

func laterCtx(ctx context.Context, l *Log, e *Entry) chan answer {
	c := make(chan answer, 1)
	l.mu.Lock()
	before := l.waiting
	l.mu.Unlock()
	go func() {
		first, kept, err := l.Append(ctx, e)
		c <- answer{first, kept, err}
	}()
	for {
		l.mu.Lock()
		waits := l.waiting > before
		l.mu.Unlock()
		if waits {
			return c
		}
	}
}

func TestNothingIsSeenBeforeItsFsync(t *testing.T) {
	g := newGate()
	commits := 0
	l := start(t, Options{FS: g, OnCommit: func(*Entry) { commits++ }})
	for i := range 3 {
		a := later(l, counted("p", uint64(i), fmt.Sprint(i)))
		<-g.began
		if next, _, ok := l.Producer("p"); int(l.Last()) != i || commits != i || ok != (i > 0) || int(next) != i {
			t.Fatal(i, l.Last(), commits, next)
		}
		if got := all(t, l, 0); len(got) != i {
			t.Fatalf("%d: %q", i, got)
		}
		select {
		case got := <-a:
			t.Fatalf("answered before the fsync: %+v", got)
		default:
		}
		g.end <- nil
		if got := <-a; got != (answer{uint64(i + 1), 1, nil}) {
			t.Fatal(got)
		}
		if commits != i+1 || len(all(t, l, 0)) != i+1 {
			t.Fatal(commits)
		}
	}
}

func TestGroupCommit(t *testing.T) {
	g := newGate()
	var order []uint64
	l := start(t, Options{FS: g, OnCommit: func(e *Entry) { order = append(order, e.First) }})
	first := later(l, lines("first"))
	<-g.began
	var waiting []chan answer
	for i := range 20 {
		waiting = append(waiting, later(l, lines(fmt.Sprint(i), "x")))
	}
	// Repeats of what only waits must wait as well.
	orig := later(l, counted("p", 5, "a", "b"))
	repeat := later(l, counted("p", 5, "a", "b"))
	overlap := later(l, counted("p", 6, "b", "c"))
	g.end <- nil
	<-first
	<-g.began // one fsync for all
	for _, c := range []chan answer{orig, repeat, overlap} {
		select {
		case got := <-c:
			t.Fatalf("answered before the fsync: %+v", got)
		default:
		}
	}
	g.end <- nil
	for i, c := range waiting {
		if got := <-c; got != (answer{uint64(2 + 2*i), 2, nil}) {
			t.Fatal(i, got)
		}
	}
	for i, c := range []chan answer{orig, repeat, overlap} {
		if got, want := <-c, []answer{{42, 2, nil}, {0, 0, nil}, {44, 1, nil}}[i]; got != want {
			t.Errorf("%d: got %+v, want %+v", i, got, want)
		}
	}
	if !slices.IsSorted(order) || len(order) != 23 {
		t.Error(order)
	}
	if s := l.Stats(); s.Syncs != 1+2+1 || s.LastSync <= 0 { // the folder on opening; the first segment and the folder; one more
		t.Errorf("%+v", s)
	}
	if got := all(t, l, 41); !slices.Equal(got, []string{"42:a b", "44:c"}) {
		t.Error(got)
	}
}

func TestRepeatOfARefusedBatch(t *testing.T) {
	g := newGate()
	l := start(t, Options{FS: g})
	durable := later(l, counted("p", 0, "a"))
	<-g.began
	orig := later(l, counted("p", 1, "b"))
	repeat := later(l, counted("p", 1, "b"))
	old := later(l, counted("p", 0, "a"))
	g.end <- nil
	<-durable
	for range 3 { // the file, a new one, and once more
		<-g.began
		g.end <- syscall.EIO
	}
	for i, c := range []chan answer{orig, repeat} {
		var pressure *PressureError
		if got := <-c; !errors.As(got.err, &pressure) || pressure.Full() || got.kept != 0 || got.first != 0 {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if got := <-old; got != (answer{}) {
		t.Errorf("what is durable already was refused: %+v", got)
	}
	if next, _, _ := l.Producer("p"); next != 1 || l.Last() != 1 {
		t.Error(next, l.Last())
	}
	again := later(l, counted("p", 1, "b"))
	<-g.began
	g.end <- nil
	if got := <-again; got != (answer{2, 1, nil}) {
		t.Error(got)
	}
}

func TestContextEnds(t *testing.T) {
	g := newGate()
	l := start(t, Options{FS: g})
	taken, cancelTaken := context.WithCancel(ctx)
	first := laterCtx(taken, l, lines("taken"))
	<-g.began
	cancelTaken() // too late: the disk has it
	behind := later(l, lines("behind"))
	queued, cancelQueued := context.WithCancel(ctx)
	done := laterCtx(queued, l, lines("withdrawn"))
	cancelQueued()
	if got := <-done; !errors.Is(got.err, context.Canceled) {
		t.Fatal(got)
	}
	g.end <- nil
	if got := <-first; got != (answer{1, 1, nil}) {
		t.Fatal(got)
	}
	<-g.began
	g.end <- nil
	if got := <-behind; got != (answer{2, 1, nil}) {
		t.Fatal(got)
	}
	equal(t, all(t, l, 0), "1:taken", "2:behind")
	if l.waiting != 0 {
		t.Errorf("%d bytes are still counted as waiting", l.waiting)
	}
}

func TestPendingIsBounded(t *testing.T) {
	g := newGate()
	l := start(t, Options{FS: g, MaxPending: 1000})
	big := make([]byte, 3000) // noise, so that it stays big
	noise := rand.NewChaCha8([32]byte{1})
	noise.Read(big) // never fails
	alone := later(l, lines(string(big)))
	<-g.began
	var pressure *PressureError
	_, _, err := l.Append(ctx, lines("x"))
	if !errors.As(err, &pressure) || pressure.Full() || pressure.RetryAfter() <= 0 || pressure.RetryAfter() > time.Second {
		t.Fatal(err)
	}
	g.end <- nil
	if got := <-alone; got.err != nil {
		t.Fatal(got)
	}
	small := later(l, lines("a"))
	<-g.began
	more := later(l, lines(string(big[:700])))
	if _, _, err := l.Append(ctx, lines(string(big[:700]))); !errors.As(err, &pressure) {
		t.Fatal(err)
	}
	g.end <- nil
	<-small
	<-g.began
	g.end <- nil
	<-more
	last := later(l, lines(string(big[:900]))) // all that waited is free again
	<-g.began
	g.end <- nil
	if got := <-last; got.err != nil {
		t.Fatal(got)
	}
}

func TestReaderWaits(t *testing.T) {
	l := start(t, Options{SegmentBytes: 300})
	r := l.Reader(0)
	defer r.Close()
	got := make(chan string)
	reading := make(chan error, 1)
	go func() {
		for {
			e, err := r.Next(ctx)
			if err != nil {
				reading <- err
				return
			}
			got <- fmt.Sprint(e.First)
		}
	}()
	for i := range 10 { // over several segments
		add(t, l, lines("x"))
		if s := <-got; s != fmt.Sprint(i+1) {
			t.Fatal(s)
		}
	}
	if l.Stats().Segments < 3 {
		t.Fatal("too few segments")
	}
	l.Close()
	if err := <-reading; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}

	l = start(t, Options{})
	ended, cancel := context.WithCancel(ctx)
	r2 := l.Reader(0)
	go func() {
		_, err := r2.Next(ended)
		reading <- err
	}()
	cancel()
	if err := <-reading; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	r2.Close()
	if _, _, err := r2.TryNext(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestReaderAhead: a reader may start behind the log's end; it waits for what comes there.
func TestReaderAhead(t *testing.T) {
	l := start(t, Options{SegmentBytes: 200})
	r := l.Reader(3)
	defer r.Close()
	for i := range 6 {
		add(t, l, lines(fmt.Sprint(i+1)))
		want := []string(nil)
		if i >= 3 {
			want = []string{fmt.Sprintf("%d:%d", i+1, i+1)}
		}
		equal(t, rest(t, r), want...)
	}
}

func TestTrim(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 350}) // three entries a segment
	for i := range 12 {
		add(t, l, lines(fmt.Sprint(i+1)))
	}
	if s := l.Stats().Segments; s != 4 {
		t.Fatalf("%d segments", s)
	}
	inside, behind := l.Reader(0), l.Reader(0)
	defer inside.Close()
	defer behind.Close()
	if e, _, err := inside.TryNext(); err != nil || e.First != 1 {
		t.Fatal(err)
	}
	for _, c := range []struct {
		upTo, oldest uint64
	}{{0, 1}, {2, 1}, {3, 4}, {5, 4}, {1, 4}, {8, 7}} {
		if err := l.Trim(c.upTo); err != nil || l.Oldest() != c.oldest {
			t.Errorf("Trim(%d): oldest %d, %v; want %d", c.upTo, l.Oldest(), err, c.oldest)
		}
	}
	equal(t, rest(t, inside), "2:2", "3:3", "trimmed to 7", "7:7", "8:8", "9:9", "10:10", "11:11", "12:12")
	equal(t, rest(t, behind), "trimmed to 7", "7:7", "8:8", "9:9", "10:10", "11:11", "12:12")
	equal(t, all(t, l, 6), "7:7", "8:8", "9:9", "10:10", "11:11", "12:12")
	if err := l.Trim(math.MaxUint64); err != nil || l.Oldest() != 10 || l.Last() != 12 {
		t.Error(l.Oldest(), l.Last(), err)
	}
	if names, _ := mem.ReadDir("/d/wal"); len(names) != 1 {
		t.Error(names)
	}
	if first := add(t, l, lines("13")); first != 13 {
		t.Error(first)
	}
	l.Close()
	l = start(t, Options{FS: mem})
	equal(t, all(t, l, 10), "11:11", "12:12", "13:13")
}

// After Roll and Trim no file holds an event; readers, producers and sequences go on, over a restart too.
func TestRoll(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem})
	roll := func(want uint64) {
		t.Helper()
		last, err := l.Roll()
		if err != nil || last != want {
			t.Fatalf("rolled over at %d, %v; want %d", last, err, want)
		}
	}
	files := func(want ...string) {
		t.Helper()
		if names, _ := mem.ReadDir("/d/wal"); !slices.Equal(names, want) {
			t.Errorf("%q, want %q", names, want)
		}
	}
	roll(0)
	files()
	add(t, l, counted("p", 7, "a", "b"))
	inside := l.Reader(0)
	defer inside.Close()
	if e, _, err := inside.TryNext(); err != nil || e.First != 1 {
		t.Fatal(err)
	}
	roll(2)
	roll(2)
	if err := l.Trim(1); err != nil || l.Oldest() != 1 {
		t.Errorf("trimmed what holds event 2: %v", err)
	}
	if err := l.Trim(2); err != nil || l.Oldest() != 3 || l.Stats().Segments != 0 || l.Stats().Bytes != 0 {
		t.Errorf("oldest %d, %+v, %v", l.Oldest(), l.Stats(), err)
	}
	files(segmentName(3))
	equal(t, all(t, l, 0), "trimmed to 3")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Roll(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	mem = mem.Crash()
	l = start(t, Options{FS: mem})
	if st := l.Stats(); st.Repaired != 0 || l.Last() != 2 {
		t.Errorf("last %d, %+v", l.Last(), st)
	}
	roll(2)
	// The file that alone knows the producer is replaced by one whose name does not become durable.
	mem.FailSyncs(2, -1)
	if _, _, err := l.Append(ctx, counted("p", 9, "c")); err == nil {
		t.Fatal("a batch was kept without a durable name")
	}
	mem.Inject(nil)
	l.Close()
	l = start(t, Options{FS: mem.Kill()})
	if next, _, ok := l.Producer("p"); !ok || next != 10 { // 10: a refused batch may be there
		t.Errorf("the log expects %d next, %v", next, ok)
	}
	if first, kept, err := l.Append(ctx, counted("p", 8, "b", "c", "d")); err != nil || first+uint64(kept) != 5 {
		t.Error(first, kept, err)
	}
	equal(t, all(t, l, 2), "3:c", "4:d")
}

// A reader at the end of a file that is trimmed away goes on in the next one.
func TestRollUnderAReader(t *testing.T) {
	l := start(t, Options{FS: memory()})
	add(t, l, lines("1"))
	r := l.Reader(0)
	defer r.Close()
	equal(t, rest(t, r), "1:1")
	if _, err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if err := l.Trim(1); err != nil {
		t.Fatal(err)
	}
	equal(t, rest(t, r))
	add(t, l, lines("2"))
	equal(t, rest(t, r), "2:2")
}

// TestTrimTriesAgain: what could not be removed is not readable, and goes with the next Trim, oldest first.
func TestTrimTriesAgain(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 200})
	for i := range 5 {
		add(t, l, lines(fmt.Sprint(i+1)))
	}
	for _, kind := range []string{"remove", "syncdir"} {
		mem.Inject(func(op vfs.Op) error {
			if op.Kind == kind {
				return syscall.EIO
			}
			return nil
		})
		if err := l.Trim(3); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		equal(t, all(t, l, 0), "trimmed to 4", "4:4", "5:5")
	}
	mem.Inject(nil)
	if err := l.Trim(0); err != nil {
		t.Fatal(err)
	}
	if names, _ := mem.ReadDir("/d/wal"); len(names) != 2 {
		t.Error(names)
	}
}

func TestStart(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, Start: 100})
	if l.Last() != 100 || l.Oldest() != 101 {
		t.Fatal(l.Last(), l.Oldest())
	}
	equal(t, all(t, l, 50), "trimmed to 101")
	add(t, l, lines("a"))
	add(t, l, lines("b"))
	l.Close()
	l = start(t, Options{FS: mem, Start: 50})
	if first := add(t, l, lines("c")); first != 103 {
		t.Fatal(first)
	}
	l.Close()
	// The log's newest files were lost, as its owner knows.
	l = start(t, Options{FS: mem, Start: 200})
	if first := add(t, l, lines("d")); first != 201 {
		t.Fatal(first)
	}
	equal(t, all(t, l, 0), "trimmed to 101", "101:a", "102:b", "103:c", "lost 104-200", "201:d")
}

// watch keeps the changing calls. Files that the log makes are called A, B, … in the order it first touches them: a file
// keeps its letter when it is renamed.
func watch(mem *vfs.Crash, fail func(vfs.Op) error) func() []string {
	var ops, names []string
	mem.Inject(func(op vfs.Op) error {
		name := op.Name[strings.LastIndexByte(op.Name, '/')+1:]
		if strings.HasSuffix(name, tmpSuffix) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			name = string(rune('A' + slices.Index(names, name)))
		}
		ops = append(ops, op.Kind+" "+strings.TrimLeft(name, "0"))
		return fail(op)
	})
	return func() []string { return ops }
}

func TestFailedFsync(t *testing.T) {
	times := func(n int, kind string, err error) func(vfs.Op) error {
		return func(op vfs.Op) error {
			if op.Kind == kind && n != 0 {
				n--
				return err
			}
			return nil
		}
	}
	made := func(name string) []string {
		return []string{"create " + name, "write " + name, "write " + name, "sync " + name, "rename 2.wal", "syncdir wal"}
	}
	failed := func(name string) []string {
		return []string{"create " + name, "write " + name, "write " + name, "sync " + name, "remove " + name}
	}
	const never = -1
	for _, c := range []struct {
		name string
		fail func(vfs.Op) error
		ops  []string
		full bool
		ok   bool
	}{
		{"fsync once", times(1, "sync", syscall.EIO), slices.Concat([]string{"write A", "sync A", "truncate A"}, made("B")), false, true},
		{"write once", times(1, "write", syscall.EIO), slices.Concat([]string{"write A", "truncate A"}, made("B")), false, true},
		{"fsync twice", times(2, "sync", syscall.EIO), slices.Concat([]string{"write A", "sync A", "truncate A"}, failed("B"), made("C")), false, true},
		{"fsync for good", times(never, "sync", syscall.EIO), slices.Concat([]string{"write A", "sync A", "truncate A"}, failed("B"), failed("C")), false, false},
		{"folder once", func() func(vfs.Op) error {
			first := times(1, "sync", syscall.EIO)
			folder := times(1, "syncdir", syscall.EIO)
			return func(op vfs.Op) error { return errors.Join(first(op), folder(op)) }
		}(), slices.Concat([]string{"write A", "sync A", "truncate A"}, made("B"), []string{"remove 2.wal"}, made("C")), false, true},
		{"full", times(never, "write", syscall.ENOSPC), []string{"write A", "truncate A", "create B", "write B", "remove B"}, true, false},
		{"quota", times(never, "write", syscall.EDQUOT), []string{"write A", "truncate A", "create B", "write B", "remove B"}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory()
			l := start(t, Options{FS: mem})
			add(t, l, lines("a"))
			ops := watch(mem, c.fail)
			_, kept, err := l.Append(ctx, lines("b"))
			if got := ops(); !slices.Equal(got, c.ops) {
				t.Errorf("got  %q\nwant %q", got, c.ops)
			}
			var pressure interface {
				error
				RetryAfter() time.Duration
				Full() bool
			}
			if ok := err == nil; ok != c.ok || ok != (kept == 1) {
				t.Fatal(kept, err)
			} else if !ok {
				if !errors.As(err, &pressure) || pressure.Full() != c.full || pressure.RetryAfter() <= 0 {
					t.Fatalf("%v is not the pressure expected", err)
				}
				equal(t, all(t, l, 0), "1:a")
				mem.Inject(nil)
				add(t, l, lines("b")) // it has healed
			}
			add(t, l, lines("c"))
			if s := l.Stats(); s.CommitErrors == 0 || s.Segments != 2 {
				t.Errorf("%+v", s)
			}
			want := []string{"1:a", "2:b", "3:c"}
			equal(t, all(t, l, 0), want...)
			l.Close()
			mem.Inject(nil)
			equal(t, all(t, start(t, Options{FS: mem.Crash()}), 0), want...)
		})
	}
}

func TestFullDisk(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 4096})
	add(t, l, lines("a"))
	add(t, l, lines("b"))
	mem.SetSpace(100)
	for range 5 {
		var pressure *PressureError
		if _, _, err := l.Append(ctx, lines(strings.Repeat("x", 300))); !errors.As(err, &pressure) || !pressure.Full() || !strings.Contains(err.Error(), "free space") {
			t.Fatal(err)
		}
	}
	if names, _ := mem.ReadDir("/d/wal"); len(names) != 1 {
		t.Errorf("vain attempts left %q", names)
	}
	l.Close()
	mem = mem.Kill() // the disk is as full for the next process
	mem.SetSpace(0)
	l = start(t, Options{FS: mem})
	equal(t, all(t, l, 0), "1:a", "2:b")
	if _, _, err := l.Append(ctx, lines("c")); err == nil {
		t.Fatal("written to a full disk")
	}
	mem.SetSpace(4096)
	add(t, l, lines("c"))
	l.Close()
	equal(t, all(t, start(t, Options{FS: mem.Crash()}), 0), "1:a", "2:b", "3:c")
}

// TestOpenRewrites: what a killed process had only written is made durable before it is believed.
func TestOpenRewrites(t *testing.T) {
	for _, full := range []bool{false, true} {
		mem := memory()
		l := start(t, Options{FS: mem, NoSync: true}) // as if killed before its fsync
		add(t, l, counted("p", 0, "a"))
		add(t, l, counted("p", 1, "b"))
		l.Close()
		if err := mem.SyncDir("/d"); err != nil {
			t.Fatal(err)
		}
		mem = mem.Kill()
		if full {
			mem.SetSpace(0)
		}
		l = start(t, Options{FS: mem})
		if _, kept, err := l.Append(ctx, counted("p", 1, "b")); kept != 0 || err != nil {
			t.Fatal(kept, err)
		}
		l.Close()
		if full { // then the file itself was fsynced, all of it
			equal(t, all(t, start(t, Options{FS: mem.Crash()}), 0), "1:a", "2:b")
			continue
		}
		// Without an fsync the first commit may be lost; here only the second matters.
		if got := all(t, start(t, Options{FS: mem.Crash()}), 1); !slices.Equal(got, []string{"2:b"}) && !slices.Equal(got, []string{"trimmed to 2", "2:b"}) {
			t.Error(got)
		}
	}
}

// TestOpenDoesNotTrustTheCache: an fsync fails, the kernel drops the pages and goes on showing them as clean, and the process
// dies before it can do anything about it. The next one must not believe what it reads, and no fsync would tell it.
func TestOpenDoesNotTrustTheCache(t *testing.T) {
	for seed := range uint64(40) {
		mem := vfs.NewCrash(seed)
		if err := errors.Join(mem.MkdirAll("/d", 0o700), mem.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		l := start(t, Options{FS: mem})
		add(t, l, counted("p", 0, "a"))
		mem.Inject(func(op vfs.Op) error {
			if op.Kind == "write" {
				return nil
			}
			return syscall.EIO
		})
		if _, _, err := l.Append(ctx, counted("p", 1, "b")); err == nil {
			t.Fatal("acknowledged without an fsync")
		}
		l.Close()
		mem = mem.Kill()
		mem.Inject(nil)
		l = start(t, Options{FS: mem})
		if _, _, err := l.Append(ctx, counted("p", 1, "b")); err != nil {
			t.Fatal(err)
		}
		l.Close()
		equal(t, all(t, start(t, Options{FS: mem.Crash()}), 0), "1:a", "2:b")
	}
}

func TestClose(t *testing.T) {
	g := newGate()
	l := start(t, Options{FS: g})
	a := later(l, lines("a"))
	<-g.began
	b := later(l, lines("b"))
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	g.end <- nil
	<-g.began // what was accepted is written
	g.end <- nil
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if x, y := <-a, <-b; x.err != nil || y.err != nil {
		t.Fatal(x, y)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestConcurrent has appenders with and without counts, readers and trimming at work at once, on the real file system.
func TestConcurrent(t *testing.T) {
	const appenders, batches = 8, 60
	dir := t.TempDir()
	var committed atomic.Uint64
	l := start(t, Options{FS: vfs.OS, Dir: dir + "/wal", SegmentBytes: 8 << 10, OnCommit: func(e *Entry) {
		if e.First != committed.Load()+1 {
			t.Errorf("commit of %d after %d", e.First, committed.Load())
		}
		committed.Store(e.Last())
	}})
	var total atomic.Int64
	var writers, readers sync.WaitGroup
	for a := range appenders {
		writers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(a), 0))
			next := uint64(0)
			for range batches {
				n := 1 + rng.IntN(5)
				back := min(next, uint64(rng.IntN(3)))
				var m []string
				for i := range n {
					m = append(m, fmt.Sprintf("%d:%d %s", a, next-back+uint64(i), strings.Repeat("x", rng.IntN(200))))
				}
				_, kept, err := l.Append(ctx, counted(fmt.Sprint(a), next-back, m...))
				if err != nil || kept != max(n-int(back), 0) {
					t.Error(kept, err)
					return
				}
				total.Add(int64(kept))
				next = max(next, next-back+uint64(n))
			}
		})
	}
	stop := make(chan struct{})
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if err := l.Trim(committed.Load() / 2); err != nil {
					t.Error(err)
				}
				l.Stats()
				l.Producer("1")
			}
		}
	})
	for i := range 3 {
		readers.Go(func() {
			at := uint64(i * 10)
			r := l.Reader(at)
			defer r.Close()
			counts := map[string]uint64{}
			for {
				e, err := r.Next(ctx)
				var trimmed *TrimmedError
				if errors.As(err, &trimmed) {
					at = trimmed.Oldest - 1
					clear(counts)
					continue
				}
				if err != nil || e.Producer == "end" {
					if err != nil || e.First != at+1 {
						t.Error(e.First, at, err)
					}
					return
				}
				if e.First != at+1 {
					t.Errorf("%d follows %d", e.First, at)
				}
				at = e.Last()
				if n, ok := counts[e.Producer]; ok && e.ProducerSeq != n {
					t.Errorf("producer %s: %d follows %d", e.Producer, e.ProducerSeq, n-1)
				}
				counts[e.Producer] = e.ProducerSeq + uint64(e.Count)
			}
		})
	}
	writers.Wait()
	close(stop)
	if last := add(t, l, counted("end", 0, "end")); int64(last) != total.Load()+1 {
		t.Errorf("the last event is %d, %d were kept", last, total.Load())
	}
	readers.Wait()
}
