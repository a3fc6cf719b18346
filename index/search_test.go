package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// openByHand opens a store that seals and merges only when it is told to.
func openByHand(t testing.TB) *Store { return open(t, Options{byHand: true}) }

// inSegments fills a store with segments of so many events each, a nanosecond apart, the message "event n".
func inSegments(t testing.TB, s *Store, segments, events int) {
	t.Helper()
	n := int64(s.LastSeq())
	for range segments {
		var b event.Batch
		for range events {
			n++
			line(&b, "a", fmt.Sprint("event ", n), n)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if err := sealByHand(s); err != nil {
			t.Fatal(err)
		}
	}
}

// messages runs a search and returns the messages of its answer.
func messages(t testing.TB, s *Store, r query.Request) ([]string, query.Summary) {
	t.Helper()
	var got []string
	sum, err := s.Search(t.Context(), r, func(row query.Row) error {
		got = append(got, string(row.Event.Message))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, sum
}

// An answer that has its limit leaves the other segments alone: not even their footers are judged.
func TestLimitLeavesTheRestAlone(t *testing.T) {
	s := openByHand(t)
	most := 2*cores + 1 // while the first one is slow, as many are begun as are in work at most
	inSegments(t, s, 4*most, 50)
	for _, newest := range []bool{false, true} {
		want := []string{"event 1", "event 2", "event 3"}
		if newest {
			n := 4 * most * 50
			want = []string{fmt.Sprint("event ", n), fmt.Sprint("event ", n-1), fmt.Sprint("event ", n-2)}
		}
		got, sum := messages(t, s, query.Request{Query: parse(t, "event"), Limit: 3, Newest: newest})
		if !cmp.Equal(got, want) || sum.Scan.Segments > most || sum.Scan.Opened > most || !sum.Complete {
			t.Errorf("newest %v: %q, %+v", newest, got, sum)
		}
	}
}

// A search that has looked at as much as it may ends, says so, and what it has delivered has no holes.
func TestBudget(t *testing.T) {
	s := openByHand(t)
	inSegments(t, s, 10, 100)
	var size int64
	for _, info := range s.Services() {
		size += info.Bytes
	}
	all, _ := messages(t, s, query.Request{})
	for _, newest := range []bool{false, true} {
		if newest {
			slices.Reverse(all)
		}
		for _, budget := range []int64{1, size / 10, size / 2, size - 1, size * 2} {
			got, sum := messages(t, s, query.Request{MaxBytes: budget, Newest: newest})
			if len(got) > len(all) || !slices.Equal(got, all[:len(got)]) {
				t.Fatalf("budget %d of %d: the %d events are not the first of the answer", budget, size, len(got))
			}
			if budget <= size/2 && sum.Complete || sum.Complete != (len(got) == len(all)) {
				t.Errorf("budget %d of %d: %d events, %+v", budget, size, len(got), sum)
			}
			if sum.Bytes > budget+size/9 { // a block more
				t.Errorf("budget %d of %d: looked at %d", budget, size, sum.Bytes)
			}
			if (sum.Budget == query.BudgetScan) == sum.Complete || (sum.Cut == 0) != sum.Complete {
				t.Errorf("budget %d of %d: %q, cut at %d", budget, size, sum.Budget, sum.Cut)
			}
			if sum.Cut != 0 { // what is left out begins there
				rest := query.Request{Since: sum.Cut}
				if newest {
					rest = query.Request{Until: sum.Cut + 1, Newest: true}
				}
				if more, _ := messages(t, s, rest); !cmp.Equal(append(slices.Clip(got), more...), all) {
					t.Errorf("newest %v, budget %d of %d: cut at %d, behind %d events: %d more of %d", newest, budget, size, sum.Cut, len(got), len(more), len(all))
				}
			}
			if !sum.Complete && (len(sum.Reasons) != 1 || !strings.Contains(sum.Reasons[0], "search a shorter range or one service, or raise limits.query_scan")) {
				t.Errorf("%q", sum.Reasons)
			}
		}
	}
	sum, err := s.Search(t.Context(), query.Request{Query: parse(t, "event 1"), CountOnly: true, MaxBytes: 1}, nil)
	if err != nil || sum.Complete || sum.Matched >= int64(len(all)) {
		t.Errorf("count: %+v, %v", sum, err)
	}
}

// What the footers answer is counted without reading a block.
func TestCountsFromFooters(t *testing.T) {
	s := openByHand(t)
	for round := range 3 {
		var b event.Batch
		for i := range 40 {
			line(&b, "a", fmt.Sprint("request ", i, " done"), int64(100*round+i))
			b.Events[i].Level = event.Level(1 + i%4)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if err := sealByHand(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		text         string
		since        int64
		matched      int64
		opened, left int // blocks read, and blocks ruled out
	}{
		{"*", 0, 120, 0, 0},
		{"*", 20, 100, 1, 0},
		{"*", 100, 80, 0, 1},
		{"service:a", 0, 120, 0, 0},
		{"service:b", 0, 0, 0, 3},
		{"level:error", 0, 30, 0, 0},
		{"level:debug", 0, 0, 0, 3},
		{"nosuchfield:*", 0, 0, 0, 3},
		{"host:h1", 0, 0, 0, 3},
		{"12345678", 0, 0, 0, 0},
	} {
		sum, err := s.Search(t.Context(), query.Request{Query: parse(t, c.text), Since: c.since, CountOnly: true}, nil)
		sc := sum.Scan
		if err != nil || sum.Matched != c.matched || sc.Blocks != 3 || sc.Range+sc.Filter+sc.Forms+sc.Counted+sc.Opened != 3 || sum.Blocks != sc.Opened {
			t.Errorf("%s since %d: %+v, %v", c.text, c.since, sum, err)
		}
		if c.text != "12345678" && (sc.Opened != c.opened || sc.Range+sc.Filter+sc.Forms != c.left) {
			t.Errorf("%s since %d: %+v", c.text, c.since, sc)
		}
	}
}

// A search and an export of sealed events end with their context, and when they are told to.
func TestSearchOfSegmentsStops(t *testing.T) {
	s := openByHand(t)
	inSegments(t, s, 3, 3000)
	for _, r := range []query.Request{{}, {Newest: true}, {Before: 1, Query: parse(t, "5")}} {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		_, err := s.Search(ctx, r, func(query.Row) error {
			if n++; n == 10 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) || n < 10 || n > 10 && r.Before == 0 {
			t.Errorf("%d rows, %v", n, err)
		}
		boom := errors.New("boom")
		if _, err := s.Search(t.Context(), r, func(query.Row) error { return boom }); err != boom {
			t.Errorf("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Search(ctx, query.Request{CountOnly: true, Query: parse(t, "5")}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("count: %v", err)
	}
}

// A damaged block is said in every answer that needed it, logged once, and costs the others nothing.
func TestDamagedBlockIsQuarantined(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true}
	s := open(t, o)
	inSegments(t, s, 2, 500)
	s.Close(context.Background())
	files, err := filepath.Glob(filepath.Join(o.Dir, "segments", "*.seg"))
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	seg, err := segment.Open(vfs.OS, filepath.Dir(files[0]), filepath.Base(files[0]))
	if err != nil {
		t.Fatal(err)
	}
	at, length := seg.Blocks[0].Offset, seg.Blocks[0].Length
	seg.Close()
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := at + length/2; i < at+length; i++ { // all that is not the header
		data[i] ^= 0x55
	}
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	s = open(t, o)
	for range 3 {
		for _, r := range []query.Request{{Query: parse(t, "event")}, {Query: parse(t, "event"), Newest: true}, {Query: parse(t, "event"), Before: 1}} {
			got, sum := messages(t, s, r)
			if len(got) != 500 || sum.Complete || len(sum.Reasons) != 1 || !strings.Contains(sum.Reasons[0], filepath.Base(files[0])) {
				t.Errorf("%d events, %+v", len(got), sum)
			}
		}
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	// What does not need the block is complete.
	if got, sum := messages(t, s, query.Request{Since: 501}); len(got) != 500 || !sum.Complete {
		t.Errorf("%d events, %+v", len(got), sum)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Searches beside appends and seals see a prefix of the events, each once.
func TestSearchWhileSealing(t *testing.T) {
	s := openByHand(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			for ctx.Err() == nil {
				next := uint64(1)
				sum, err := s.Search(t.Context(), query.Request{CountOnly: i == 2, Query: parse(t, "event")}, func(r query.Row) error {
					if r.Event.Seq != next {
						return fmt.Errorf("event %d where %d belongs", r.Event.Seq, next)
					}
					next++
					return nil
				})
				if err != nil || sum.Matched != int64(sum.Sequence) {
					t.Errorf("%d of %d events: %v", sum.Matched, sum.Sequence, err)
					return
				}
			}
		})
	}
	inSegments(t, s, 30, 40)
	cancel()
	wg.Wait()
}

func TestTableCache(t *testing.T) {
	s := openByHand(t)
	inSegments(t, s, 8, 300)
	entries := func() (list []*segment.Entry) {
		for _, seg := range s.segments {
			list = append(list, seg.Blocks...)
		}
		return list
	}()
	s.tables = tableCache{limit: 1 << 40}
	use := func(e *segment.Entry) *openTable {
		o, err := s.tables.open(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.table.Times(); err != nil {
			t.Fatal(err)
		}
		s.tables.done(o)
		return o
	}
	var one int64
	for i, e := range entries {
		o := use(e)
		one = max(one, o.size)
		if again := use(e); again != o || s.tables.size < one || len(s.tables.tables) != i+1 {
			t.Fatalf("table %d: %d tables of %d bytes", i, len(s.tables.tables), s.tables.size)
		}
	}
	s.tables.limit = 3 * one
	first := s.tables.tables[entries[0]]
	use(entries[1]) // used last now
	if s.tables.size > 3*one || len(s.tables.tables) > 4 || s.tables.tables[entries[1]] == nil || s.tables.tables[entries[0]] != nil {
		t.Errorf("%d tables of %d bytes are kept", len(s.tables.tables), s.tables.size)
	}
	s.tables.done(first) // dropped while it was used
	for _, seg := range s.segments {
		s.tables.drop(seg)
	}
	if s.tables.size != 0 || len(s.tables.tables) != 0 || s.tables.order.next != &s.tables.order {
		t.Errorf("%d bytes are kept of no table", s.tables.size)
	}
}

// An export merges as many blocks as there are services, and holds a part of each only.
func TestMergeHoldsLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("makes 80 MB of events")
	}
	s := open(t, Options{HeadBytes: 128 << 20, byHand: true})
	const services, rows = 200, 200
	text := strings.Repeat("lorem ipsum ", 170)
	for first := 0; first < rows; first += 50 {
		var b event.Batch
		for i := first; i < first+50; i++ {
			for k := range services {
				line(&b, fmt.Sprint("service-", k), fmt.Sprint(i, " ", text), int64(i*services+k))
			}
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if first == 50 || first == 100 {
			continue
		}
		if err := sealByHand(s); err != nil {
			t.Fatal(err)
		}
	}
	most, n, last := 0, 0, int64(-1)
	_, err := s.search(t.Context(), query.Request{}, nil, func(q *search) error {
		return q.merged(func(_ *stream, m *match) error {
			if n++; m.time != last+1 {
				return fmt.Errorf("time %d behind %d", m.time, last)
			}
			last = m.time
			held := 0
			for _, st := range q.active.streams {
				held += len(st.buf)
			}
			most = max(most, held)
			return nil
		})
	})
	if err != nil || n != services*rows || most > mergeBytes*5/4 {
		t.Errorf("%d rows, at most %d MiB of them held: %v", n, most>>20, err)
	}
	t.Logf("at most %d MiB held of %d", most>>20, n*len(text)>>20)
}

// TestDroppedTablesLetGo: a table that a search still holds after the cache has dropped it must not keep its former
// neighbours alive, or an answer over everything holds every block.
func TestDroppedTablesLetGo(t *testing.T) {
	s := openByHand(t)
	for i := range 3 {
		b := &event.Batch{}
		e := b.Add()
		e.Time, e.Service, e.Message = int64(i)*int64(time.Hour), []byte("s"), []byte("hello")
		if err := s.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if err := s.sealNow(); err != nil {
			t.Fatal(err)
		}
	}
	c := tableCache{limit: 1}
	for _, seg := range s.segments {
		o, err := c.open(seg.Blocks[0])
		if err != nil {
			t.Fatal(err)
		}
		c.done(o)
		if o.prev != nil || o.next != nil || len(c.tables) != 0 {
			t.Fatalf("a dropped table still has neighbours %p and %p; %d are kept", o.prev, o.next, len(c.tables))
		}
	}
}
