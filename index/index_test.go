package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// plenty is a disk of which nobody knows how full it is: how full the machine's is, is no matter of these tests.
func plenty() (free, total uint64, err error) { return 0, 0, nil }

func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Free == nil {
		o.Free = plenty
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// sealActive seals what is in memory and waits for it.
func sealActive(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	if s.frozen == nil && s.active.bytes > 0 {
		s.freeze()
	}
	s.mu.Unlock()
	for {
		s.mu.RLock()
		done, changed := s.frozen == nil, s.changed
		s.mu.RUnlock()
		if done {
			return
		}
		<-changed
	}
}

func parse(t testing.TB, text string) *query.Query {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

// corpus draws events whose words, ids and fields overlap enough for queries to match some of them.
type corpus struct{ rng *rand.Rand }

var words = strings.Fields("error Error timeout connection refused Connection user login Kelvin straße ſtop a-b x=1 GET /api/v1/items 0500 500 cafe 3fa9 [warn] \"quoted\"")

func (c corpus) event(b *event.Batch) *event.Event {
	e := b.Add()
	pick := func(list ...string) []byte { return b.CopyString(list[c.rng.IntN(len(list))]) }
	e.Time = int64(c.rng.IntN(50)) * int64(time.Second)
	if c.rng.IntN(20) == 0 { // a stray, hours off
		e.Time += int64(c.rng.IntN(10)-5) * int64(time.Hour)
	}
	e.Level = event.Level(c.rng.IntN(9))
	e.Service, e.Host = pick("pay", "shop", "web-1", "", "Über"), pick("h1", "h2", "")
	e.Env, e.Container, e.Stream = pick("", "prod"), pick("", "c1", "c2"), pick("", "stdout", "stderr")
	var m []byte
	for range c.rng.IntN(6) {
		m = append(append(m, pick(words...)...), " "[:c.rng.IntN(2)]...)
	}
	e.Message = b.Copy(m)
	for range c.rng.IntN(3) {
		b.AddField(e, event.Field{Name: pick("status", "user", "path", "req.id"), Value: pick(append(words, "", "42", "1e3")...), Kind: event.Kind(c.rng.IntN(2))})
	}
	return e
}

var queries = strings.Split(`*
error
Error
timeout -error
"connection refused"
~"(?i)kelvin"
~"err|tim"
stop
service:pay
service:(pay, web*) level>=warning
-service:shop
level<=4 OR user:*
status:500
status:400..1500
user:Connection
user:connection
user=GET
NOT path:*
host:h1 cafe
env:prod container:c? stream=stderr
message:login
req.id:3fa9 OR straße
nosuchword
nosuch.field:1
"user login" OR (refused -level>=error)`, "\n")

// inRange tells whether an event is in a request's range of time and sequence, and behind its place.
func inRange(e *event.Event, r query.Request) bool {
	if at := (query.Place{Time: e.Time, Seq: e.Seq}); r.Behind != nil && (r.Newest && !at.Less(*r.Behind) || !r.Newest && !r.Behind.Less(at)) {
		return false
	}
	return (r.Since == 0 || e.Time >= r.Since) && (r.Until == 0 || e.Time < r.Until) && e.Seq >= r.MinSeq && (r.MaxSeq == 0 || e.Seq <= r.MaxSeq)
}

// brute answers a request by looking at every event.
func brute(all []event.Event, r query.Request) []event.Event {
	var out []event.Event
	for i := range all {
		if e := &all[i]; inRange(e, r) && (r.Query == nil || r.Query.Match(e)) {
			out = append(out, *e)
		}
	}
	slices.SortFunc(out, func(a, b event.Event) int {
		if a.Time < b.Time || a.Time == b.Time && a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	if r.Newest {
		slices.Reverse(out)
	}
	if r.Limit > 0 && len(out) > r.Limit {
		out = out[:r.Limit]
	}
	return out
}

func show(e *event.Event) string {
	return fmt.Sprintf("%d %d %q", e.Seq, e.Time, event.AppendEvent(nil, e))
}

// The engine's first test: every search equals brute force, whatever the corpus, the query, and the points where the store
// seals and restarts.
func TestSearchEqualsBruteForce(t *testing.T) {
	rounds := 12
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 0))
			c := corpus{rng}
			o := Options{Dir: t.TempDir(), logSegment: 4096}
			s := open(t, o)
			defer func() { s.Close(context.Background()) }()
			var all []event.Event
			var b event.Batch
			for range 30 {
				switch rng.IntN(10) {
				case 0, 1:
					sealActive(t, s)
				case 2:
					if err := s.Close(context.Background()); err != nil {
						t.Fatal(err)
					}
					s = open(t, o)
				case 3: // without sealing: the next start reads the log
					ended, cancel := context.WithCancel(context.Background())
					cancel()
					if err := s.Close(ended); err != nil {
						t.Fatal(err)
					}
					s = open(t, o)
				default:
					b.Reset()
					for range rng.IntN(200) {
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
				compare(t, s, all, rng)
			}
			follow(t, s, all, rng)
		})
	}
}

func compare(t *testing.T, s *Store, all []event.Event, rng *rand.Rand) {
	t.Helper()
	for range 5 {
		text := queries[rng.IntN(len(queries))]
		r := query.Request{Query: parse(t, text), Newest: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			r.Since = int64(rng.IntN(60)-5) * int64(time.Second)
			r.Until = r.Since + int64(rng.IntN(60))*int64(time.Second)
		}
		if rng.IntN(3) == 0 {
			r.Limit = 1 + rng.IntN(20)
		}
		if rng.IntN(4) == 0 && len(all) > 0 {
			r.MaxSeq = uint64(1 + rng.IntN(len(all)))
		}
		if rng.IntN(4) == 0 && len(all) > 0 {
			r.MinSeq = uint64(1 + rng.IntN(len(all)))
			if rng.IntN(2) == 0 { // one event
				r.MaxSeq = r.MinSeq
			}
		}
		var got, want []string
		sum, err := s.Search(t.Context(), r, func(row query.Row) error {
			got = append(got, show(row.Event))
			return nil
		})
		if err != nil || !sum.Complete {
			t.Fatalf("%s: %v, %+v", text, err, sum)
		}
		expected := brute(all, r)
		for i := range expected {
			want = append(want, show(&expected[i]))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s %+v\n%s", text, r, diff)
		}
		if int(sum.Matched) != len(want) {
			t.Fatalf("%s: %d matched, %d rows", text, sum.Matched, len(want))
		}
		r.Limit, r.CountOnly = 0, true
		expected = brute(all, r)
		services := map[string]int64{}
		for i := range expected {
			services[string(expected[i].Service)]++
		}
		sum, err = s.Search(t.Context(), r, nil)
		if err != nil || int(sum.Matched) != len(expected) || !cmp.Equal(sum.Services, services) {
			t.Fatalf("count of %s %+v: %+v, %v; want %d, %v", text, r, sum, err, len(expected), services)
		}
	}
}

// follow checks that a follower from any position delivers every event behind it once, in order.
func follow(t *testing.T, s *Store, all []event.Event, rng *rand.Rand) {
	t.Helper()
	if len(all) == 0 {
		return
	}
	after := rng.IntN(len(all))
	f := s.Follow(uint64(after))
	defer f.Close()
	for want := after; want < len(all); {
		events, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			if got, want := show(&events[i]), show(&all[want]); got != want {
				t.Fatalf("got %s\nwant %s", got, want)
			}
			if events[i].Received == 0 {
				t.Fatal("no received time")
			}
			want++
		}
		if f.Position() != uint64(want) {
			t.Fatalf("position %d after event %d", f.Position(), want)
		}
	}
}

func line(b *event.Batch, service, message string, at int64) {
	e := b.Add()
	e.Service, e.Message, e.Time = []byte(service), []byte(message), at
}

func TestContext(t *testing.T) {
	for _, c := range []struct {
		name, lines   string // service letter and text
		before, after int
		limit         int
		newest        bool
		want          string
	}{
		{"one match", "a1 a2 aX3 a4 a5", 1, 1, 0, false, "1:-a2 1:aX3 1:-a4"},
		{"at the ends", "aX1 a2 a3 aX4", 1, 1, 0, false, "1:aX1 1:-a2 1:-a3 1:aX4"},
		{"two groups", "aX1 a2 a3 a4 a5 aX6", 1, 1, 0, false, "1:aX1 1:-a2 2:-a5 2:aX6"},
		{"touching groups are one", "aX1 a2 a3 aX4", 1, 1, 0, false, "1:aX1 1:-a2 1:-a3 1:aX4"},
		{"overlapping", "aX1 a2 aX3", 2, 2, 0, false, "1:aX1 1:-a2 1:aX3"},
		{"other sources between", "a1 b1 aX2 b2 bX3 a3", 1, 1, 0, false, "1:-a1 1:aX2 1:-a3 2:-b2 2:bX3"},
		{"only before", "a1 aX2 a3", 1, 0, 0, false, "1:-a1 1:aX2"},
		{"only after", "a1 aX2 a3", 0, 1, 0, false, "1:aX2 1:-a3"},
		{"limit keeps its context", "a1 aX2 a3 aX4 a5", 1, 1, 1, false, "1:-a1 1:aX2 1:-a3"},
		{"newest first", "a1 aX2 a3 a4 a5 aX6", 1, 0, 0, true, "1:aX6 1:-a5 2:aX2 2:-a1"},
	} {
		for _, sealed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s sealed=%v", c.name, sealed), func(t *testing.T) {
				s := open(t, Options{})
				var b event.Batch
				for i, l := range strings.Fields(c.lines) {
					line(&b, l[:1], l[1:], int64(i))
				}
				if err := s.Append(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
				if sealed {
					sealActive(t, s)
				}
				var got []string
				sum, err := s.Search(t.Context(), query.Request{Query: parse(t, "X"), Before: c.before, After: c.after, Limit: c.limit, Newest: c.newest},
					func(r query.Row) error {
						mark := ""
						if r.Context {
							mark = "-"
						}
						got = append(got, fmt.Sprintf("%d:%s%s%s", r.Group, mark, r.Event.Service, r.Event.Message))
						return nil
					})
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
					t.Error(diff)
				}
				if want := strings.Count(strings.Join(got, " "), "X"); int(sum.Matched) != want {
					t.Errorf("matched %d, want %d", sum.Matched, want)
				}
			})
		}
	}
}

// One event is found by its sequence without a look at the other segments, and a range of sequences is counted.
func TestSequences(t *testing.T) {
	s := openByHand(t) // or the end of the day seals as well
	for range 3 {
		var b event.Batch
		for range 3 {
			line(&b, "a", "x", 1)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if s.LastSeq() < 9 {
			seal(t, s)
		}
	}
	for seq := uint64(1); seq <= 10; seq++ {
		var got []uint64
		sum, err := s.Search(t.Context(), query.Request{MinSeq: seq, MaxSeq: seq}, func(r query.Row) error {
			got = append(got, r.Event.Seq)
			return nil
		})
		want, blocks := []uint64{seq}, 1
		if seq > 6 { // in memory
			blocks = 0
		}
		if seq == 10 { // not there
			want = nil
		}
		if err != nil || !cmp.Equal(got, want) || sum.Blocks != blocks || sum.Events > 3 {
			t.Errorf("sequence %d: %v, %+v, %v", seq, got, sum, err)
		}
		for last := uint64(0); last <= 9; last++ {
			want := int64(9)
			if last > 0 {
				want = int64(last)
			}
			want = max(want-int64(seq)+1, 0)
			if sum, err := s.Search(t.Context(), query.Request{MinSeq: seq, MaxSeq: last, CountOnly: true}, nil); err != nil || sum.Matched != want {
				t.Errorf("%d to %d: %d, want %d, %v", seq, last, sum.Matched, want, err)
			}
		}
	}
}

func TestUnknownFieldsAreNamed(t *testing.T) {
	s := open(t, Options{})
	var b event.Batch
	line(&b, "a", "x", 1)
	b.AddField(&b.Events[0], event.Field{Name: []byte("status"), Value: []byte("1")})
	line(&b, "a", "main.go:42", 2)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []bool{false, true} {
		if sealed {
			sealActive(t, s)
		}
		sum, err := s.Search(t.Context(), query.Request{Query: parse(t, "main.go:42 OR status:1")}, func(query.Row) error { return nil })
		if err != nil || !cmp.Equal(sum.UnknownFields, []string{"main.go"}) {
			t.Errorf("sealed %v: %q, %v", sealed, sum.UnknownFields, err)
		}
	}
}

func TestRepeatsOfAProducerAreDropped(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	send := func(first uint64, messages ...string) {
		t.Helper()
		b := event.Batch{Producer: "agent", FirstSeq: first, Cursor: []byte(fmt.Sprint("behind ", first))}
		for _, m := range messages {
			line(&b, "a", m, 1)
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	send(1, "1", "2")
	send(1, "1", "2", "3") // an answer was lost; the batch has grown
	sealActive(t, s)
	send(3, "3", "4")
	s.Close(context.Background())
	s = open(t, o)
	send(4, "4")
	send(5, "5")
	var got []string
	if _, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		got = append(got, string(r.Event.Message))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if strings.Join(got, "") != "12345" {
		t.Errorf("%q", got)
	}
	if next, cursor, ok := s.Producer("agent"); next != 6 || string(cursor) != "behind 5" || !ok {
		t.Errorf("producer goes on at %d, %q", next, cursor)
	}
}

// failing fails segment writes while it is told to.
type failing struct {
	vfs.FS
	fail chan bool // holds one value
}

func (f failing) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	bad := <-f.fail
	f.fail <- bad
	if bad && strings.HasSuffix(name, ".seg.tmp") {
		return nil, errors.New("no space left on device")
	}
	return f.FS.OpenFile(name, flag, perm)
}

func TestPressureWhenNothingCanBeSealed(t *testing.T) {
	fsys := failing{vfs.OS, make(chan bool, 1)}
	fsys.fail <- true
	s := open(t, Options{FS: fsys, HeadBytes: 1 << 20})
	var b event.Batch
	for range 100 {
		line(&b, "a", strings.Repeat("x", 1000), 1)
	}
	accepted := 0
	for i := 0; ; i++ {
		err := s.Append(t.Context(), &b)
		if err == nil {
			accepted++
			continue
		}
		var p interface {
			RetryAfter() time.Duration
			Full() bool
		}
		if !errors.As(err, &p) || p.RetryAfter() <= 0 {
			t.Fatal(err)
		}
		break
	}
	for s.Stats().SealErrors == 0 { // the sealer may not have had its turn
		runtime.Gosched()
	}
	if st := s.Stats(); st.HeadBytes > 3<<20 || st.Refused == 0 {
		t.Errorf("%+v", st)
	}
	<-fsys.fail
	fsys.fail <- false
	sealActive(t, s) // the sealer tries again by itself
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatalf("after space has returned: %v", err)
	}
	sum, err := s.Search(t.Context(), query.Request{CountOnly: true}, nil)
	if err != nil || sum.Matched != int64(100*(accepted+1)) {
		t.Errorf("%d events, want %d: %v", sum.Matched, 100*(accepted+1), err)
	}
}

func TestSearchStops(t *testing.T) {
	s := open(t, Options{})
	var b event.Batch
	for i := range 5000 {
		line(&b, "a", "x", int64(i))
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	_, err := s.Search(ctx, query.Request{}, func(query.Row) error {
		if n++; n == 10 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 10 {
		t.Errorf("%d rows, %v", n, err)
	}
	boom := errors.New("boom")
	if _, err := s.Search(t.Context(), query.Request{}, func(query.Row) error { return boom }); err != boom {
		t.Errorf("%v", err)
	}
}

func TestCloseEndsFollowersAndRefusesTheRest(t *testing.T) {
	s := open(t, Options{})
	f := s.Follow(0)
	defer f.Close()
	got := make(chan error)
	go func() {
		_, err := f.Next(context.Background())
		got <- err
	}()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("follower: %v", err)
	}
	var b event.Batch
	line(&b, "a", "x", 1)
	if err := s.Append(t.Context(), &b); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, err := s.Search(t.Context(), query.Request{}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("search: %v", err)
	}
}

func TestDamageIsSaidAndTheRestServed(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	var b event.Batch
	line(&b, "a", "one", 1)
	line(&b, "b", "two", 2)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	s.Close(context.Background())
	files, err := filepath.Glob(filepath.Join(o.Dir, "segments", "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.Index(data, []byte("LKB"))+30] ^= 1 // in the first block's header
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.Dir, "wal")); err != nil { // so that following needs the segment
		t.Fatal(err)
	}
	s = open(t, o)
	var got []string
	sum, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		got = append(got, string(r.Event.Message))
		return nil
	})
	if err != nil || sum.Complete || len(sum.Reasons) != 1 || !cmp.Equal(got, []string{"two"}) {
		t.Errorf("%q, %+v, %v", got, sum, err)
	}
	f := s.Follow(0)
	defer f.Close()
	var gap *query.GapError
	if _, err := f.Next(t.Context()); !errors.As(err, &gap) || gap.From != 1 || gap.To != 2 {
		t.Errorf("follower: %v", err)
	}
}

func TestServices(t *testing.T) {
	s := open(t, Options{})
	for round := range 2 {
		var b event.Batch
		line(&b, "b", "x", int64(10+round))
		line(&b, "a", "y", int64(20+round))
		b.Events[1].Host, b.Events[1].Level = []byte(fmt.Sprint("h", round)), event.Error
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			sealActive(t, s)
		}
	}
	got := s.Services()
	if len(got) != 2 || got[0].Name != "a" || got[0].Events != 2 || got[0].FirstSeen != 20 || got[0].LastSeen != 21 ||
		got[0].Levels[event.Error] != 2 || !cmp.Equal(got[0].Hosts, []string{"h0", "h1"}) || got[1].Name != "b" {
		t.Errorf("%+v", got)
	}
}

func TestTooManyServices(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	var b event.Batch
	for i := range MaxServices + 50 {
		line(&b, fmt.Sprint("s", i), "x", int64(i))
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, restart := range []bool{false, true} {
		if restart { // what is known is known again
			s.Close(context.Background())
			s = open(t, o)
		}
		b.Reset()
		line(&b, "s7", "y", 1)
		line(&b, "one-more", "y", 1)
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]int64{"service:" + TooManyServices: 52, "service_:one-more": 2, "service:s7": 3, "*": MaxServices + 54} {
		sum, err := s.Search(t.Context(), query.Request{Query: parse(t, text), CountOnly: true}, nil)
		if err != nil || sum.Matched != want {
			t.Errorf("%s: %d, want %d: %v", text, sum.Matched, want, err)
		}
	}
	if got := len(s.Services()); got != MaxServices+1 {
		t.Errorf("%d services", got)
	}
	if n := s.Stats().Overflowed; n != 1 {
		t.Errorf("%d counted after the restart", n)
	}
}

// A refused format leaves every file as it was, also what a crash has left; an accepted one clears that away.
func TestRefusalTouchesNothing(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	s := open(t, o)
	var b event.Batch
	line(&b, "a", "x", 1)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	s.Close(context.Background())
	files, err := filepath.Glob(filepath.Join(o.Dir, "segments", "*.seg"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	leftover := filepath.Join(o.Dir, "segments", "0.seg.tmp")
	if err := os.WriteFile(leftover, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	later := bytes.Clone(data)
	later[7] = 0xFF // the version
	for _, c := range []struct {
		bytes   []byte
		refused bool
	}{{later, true}, {data, false}} {
		if err := os.WriteFile(files[0], c.bytes, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(o)
		if (err != nil) != c.refused {
			t.Fatalf("refused %v: %v", c.refused, err)
		}
		if !c.refused {
			s.Close(context.Background())
		}
		if _, err := os.Stat(leftover); (err == nil) != c.refused {
			t.Errorf("refused %v: the leftover: %v", c.refused, err)
		}
	}
}
