package gelf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

// sock is an input on a port of its own, and a client of it.
type sock struct {
	*Input
	net.Conn
	sink *memory
	ctx  context.Context
	end  func()
	done chan error
}

func listen(t *testing.T, o Options) *sock {
	t.Helper()
	s := &sock{sink: &memory{}, done: make(chan error, 1)}
	o.Addr = "127.0.0.1:0"
	if o.Sink == nil {
		o.Sink = s.sink
	}
	s.Input = New(o)
	s.drainRead = time.Hour // it ends when nothing is left, however slow the machine is
	if s.Addr() != nil {
		t.Error("an address before Listen")
	}
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	s.ctx, s.end = context.WithCancel(t.Context())
	var err error
	if s.Conn, err = net.Dial("udp", s.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Conn.Close() })
	return s
}

func (s *sock) start() {
	go func() { s.done <- s.Run(s.ctx) }()
}

// finish ends the input and returns its counters.
func (s *sock) finish(t *testing.T) Stats {
	t.Helper()
	s.end()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	st := s.Stats()
	checkSum(t, st)
	return st
}

func (s *sock) send(t *testing.T, p ...[]byte) {
	t.Helper()
	for _, p := range p {
		if _, err := s.Write(p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSocket(t *testing.T) {
	s := listen(t, Options{})
	s.start()
	const n = 5000
	for i := range n {
		s.send(t, docker(i))
		if i%50 == 49 { // a moderate rate
			for s.Stats().Received+s.Stats().Kernel < int64(i-200) {
				runtime.Gosched()
			}
		}
	}
	st := s.finish(t)
	if st.Received+st.Kernel != n {
		t.Errorf("sent %d: %+v", n, st)
	}
	if st.Events != st.Received || int64(len(s.sink.events)) != st.Events {
		t.Errorf("%d stored: %+v", len(s.sink.events), st)
	}
	if e := &s.sink.events[0]; !strings.HasPrefix(string(e.Message), "GET /api/v1/orders/0 ") || string(e.Service) != "shop-orders-1" {
		t.Errorf("the first is %s", describe(e))
	}
}

// What the kernel has received before the end is read; what it had no room for is counted.
func TestSocketDrainsAndCountsKernelDrops(t *testing.T) {
	s := listen(t, Options{ReadBuffer: 64 << 10})
	const n = 2000
	for i := range n {
		s.send(t, docker(i))
	}
	s.send(t, chunk(1, 0, 2, "{"))
	s.end() // before Run
	s.start()
	st := s.finish(t)
	if st.Received == 0 {
		t.Error("nothing was read")
	}
	if runtime.GOOS == "linux" && (st.Received+st.Kernel != n+1 || st.Kernel == 0) {
		t.Errorf("sent %d: %+v", n+1, st)
	}
	if st.Pending != 0 {
		t.Errorf("chunks are pending after the end: %+v", st)
	}
	if again := s.Stats(); again != st {
		t.Errorf("the counters change after the end: %+v, %+v", st, again)
	}
}

func TestSocketChunksAreExpiredAtTheEnd(t *testing.T) {
	s := listen(t, Options{})
	s.send(t, chunk(1, 0, 3, "{"), chunk(1, 1, 3, "}"), docker(1))
	s.end()
	s.start()
	if st := s.finish(t); st.Expired != 2 || st.Events != 1 {
		t.Errorf("%+v", st)
	}
}

func TestSocketErrors(t *testing.T) {
	s := listen(t, Options{})
	taken := New(Options{Addr: s.Addr().String(), Sink: &memory{}})
	if err := taken.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `listening on "127.0.0.1:`) {
		t.Errorf("a port that is taken: %v", err)
	}
	if err := New(Options{Addr: "nonsense"}).Listen(); err == nil {
		t.Error("no error for an address that is none")
	}
	s.start()
	s.finish(t)
}

func TestReadBufferClampIsSaid(t *testing.T) {
	var log strings.Builder
	s := listen(t, Options{ReadBuffer: math.MaxInt32, Log: slog.New(slog.NewTextHandler(&log, nil))})
	s.start()
	s.finish(t)
	want := "smaller than asked"
	if runtime.GOOS != "linux" {
		want = "receive buffer"
	}
	if strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), want) ||
		runtime.GOOS == "linux" && !strings.Contains(log.String(), `mend="sysctl -w net.core.rmem_max=2147483647"`) {
		t.Errorf("log: %s", &log)
	}
}

func TestKernelDropsWrap(t *testing.T) {
	k := kernelDrops{last: math.MaxUint32 - 1, total: math.MaxUint32 - 1}
	k.add(3)
	if k.total != math.MaxUint32+4 {
		t.Errorf("%d", k.total)
	}
}

func TestCauses(t *testing.T) {
	object := func(s string) []byte { return []byte(`{"short_message":"` + s + `"}`) }
	bomb := compress(t, "gzip", make([]byte, MaxSize+1))
	data := strings.Repeat(" ", 60_000)
	var tooLarge [][]byte
	for i := range MaxSize/len(data) + 1 {
		tooLarge = append(tooLarge, chunk(9, i, 128, data))
	}
	for _, c := range []struct {
		name string
		in   [][]byte
		want Stats // without Received, Bytes and the batcher's
	}{
		{"plain", [][]byte{object("a")}, Stats{Decoded: 1, Events: 1}},
		{"chunks", [][]byte{chunk(1, 0, 2, `{"a":`), chunk(1, 1, 2, `1}`)}, Stats{Decoded: 2, Events: 1}},
		{"one of one", [][]byte{chunk(1, 0, 1, "{}")}, Stats{Decoded: 1, Events: 1}},
		{"half a message", [][]byte{chunk(1, 0, 2, `{"a":`)}, Stats{Pending: 1}},
		{"bad chunks", [][]byte{chunk(1, 0, 0, ""), chunk(1, 0, 129, ""), chunk(1, 2, 2, "")[:5]}, Stats{BadChunk: 3}},
		{"duplicate", [][]byte{chunk(1, 0, 2, "{"), chunk(1, 0, 2, "{"), chunk(1, 1, 2, "}")}, Stats{Duplicate: 1, Decoded: 2, Events: 1}},
		{"too large", tooLarge, Stats{TooLarge: int64(len(tooLarge))}},
		{"bomb", [][]byte{bomb, chunk(1, 0, 2, string(bomb[:99])), chunk(1, 1, 2, string(bomb[99:]))}, Stats{Bomb: 3}},
		{"bad compression", [][]byte{bomb[:len(bomb)/2]}, Stats{BadCompression: 1}},
		{"bad JSON", [][]byte{[]byte("{"), chunk(1, 0, 2, `{"a":`), chunk(1, 1, 2, `}`)}, Stats{BadJSON: 3}},
		{"not an object", [][]byte{[]byte("hello"), {}, []byte("[]")}, Stats{NotAnObject: 3}},
		{"truncated", [][]byte{compress(t, "gzip", object(strings.Repeat("x", event.MaxMessage+1)))}, Stats{Decoded: 1, Events: 1, Truncated: 1}},
		{"the rest goes on", [][]byte{object("a"), bomb, []byte("{"), object("b")}, Stats{Decoded: 2, Events: 2, Bomb: 1, BadJSON: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := feed(t, Options{}, c.in...)
			got.Received, got.Bytes, got.Batcher = 0, 0, collector.BatcherStats{}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// Chunks expire also when nothing comes any more.
func TestStatsExpireChunks(t *testing.T) {
	now := receipt
	in := New(Options{Sink: &memory{}, Now: func() time.Time { return now }})
	in.handle(chunk(1, 0, 2, ""), sender(0))
	now = now.Add(setLife)
	if st := in.Stats(); st.Pending != 1 || st.Expired != 0 {
		t.Errorf("%+v", st)
	}
	now = now.Add(time.Millisecond)
	if st := in.Stats(); st.Pending != 0 || st.Expired != 1 {
		t.Errorf("%+v", st)
	}
}

func TestRefused(t *testing.T) {
	only, err := collector.ParseAllowList([]string{"192.0.2.0/24"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		allow collector.AllowList
		from  string
		want  bool
	}{
		{collector.AllowList{}, "127.0.0.1:1", true},
		{collector.AllowList{}, "[::ffff:10.0.0.1]:1", true},
		{collector.AllowList{}, "8.8.8.8:1", false},
		{only, "127.0.0.1:1", false},
		{only, "192.0.2.9:1", true},
	} {
		in := New(Options{Allow: c.allow, Sink: &memory{}})
		good := netip.MustParseAddrPort("127.0.0.1:1")
		in.handle([]byte("{}"), good) // another sender before and after
		in.handle([]byte("{}"), netip.MustParseAddrPort(c.from))
		in.handle(chunk(1, 0, 2, ""), netip.MustParseAddrPort(c.from))
		in.handle([]byte("{}"), good)
		before := int64(2)
		if !c.allow.IsZero() {
			before = 0
		}
		st := in.Stats()
		if got := st.Events-before == 1 && st.Pending == 1; got != c.want || st.Refused != 4-st.Events-st.Pending {
			t.Errorf("%s: %+v", c.from, st)
		}
	}
}

// Two senders with one id on a real socket.
func TestSocketSendersDoNotMix(t *testing.T) {
	s := listen(t, Options{})
	other, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	write := func(c net.Conn, p []byte) {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	write(s, chunk(7, 0, 2, `{"short_message":"one `))
	write(other, chunk(7, 1, 2, `and two"}`))
	write(other, chunk(7, 0, 2, `{"short_message":"two `))
	write(s, chunk(7, 1, 2, `and one"}`))
	s.end()
	s.start()
	s.finish(t)
	var got []string
	for i := range s.sink.events {
		got = append(got, string(s.sink.events[i].Message))
	}
	if d := cmp.Diff([]string{"two and two", "one and one"}, got); d != "" {
		t.Error(d)
	}
}

// gate is a sink that answers with what it is told.
type gate struct {
	answers chan error
	memory
}

func (g *gate) Append(ctx context.Context, b *event.Batch) error {
	select {
	case err := <-g.answers:
		if err != nil {
			return err
		}
	case <-ctx.Done():
		return ctx.Err()
	}
	return g.memory.Append(ctx, b)
}

type full struct{}

func (full) Error() string             { return "disk full" }
func (full) RetryAfter() time.Duration { return time.Second }
func (full) Full() bool                { return true }

func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{answers: make(chan error)}
		in := New(Options{Sink: g, MaxEvents: 2})
		var wg sync.WaitGroup
		wg.Go(func() { in.batcher.Run(t.Context()) })
		send := func(n int) {
			for range n {
				in.handle([]byte("{}"), sender(0))
			}
			synctest.Wait()
		}
		send(1) // with the sink
		send(3)
		in.handle(chunk(1, 0, 2, "{"), sender(0))
		in.handle(chunk(1, 1, 2, "}"), sender(0))
		st := in.Stats()
		if st.Overflow != 3 || st.Pressure != 0 || st.Batcher.Overflow != 2 {
			t.Errorf("slow: %+v", st)
		}
		g.answers <- full{}
		synctest.Wait()
		send(4)
		if st = in.Stats(); st.Overflow != 3 || st.Pressure != 4 {
			t.Errorf("under pressure: %+v", st)
		}
		close(g.answers)
		time.Sleep(time.Second)
		synctest.Wait()
		send(1)
		in.batcher.Close()
		wg.Wait()
		st = in.Stats()
		if st.Events != 4 || len(g.events) != 4 || st.Overflow != 3 || st.Pressure != 4 {
			t.Errorf("%d stored: %+v", len(g.events), st)
		}
		checkSum(t, st)
	})
}

// A sink that never answers does not keep the input from ending, and what it did not take is counted.
func TestEndOfASinkThatHangs(t *testing.T) {
	g := &gate{answers: make(chan error)}
	s := listen(t, Options{Sink: g})
	s.drainAppend = 10 * time.Millisecond
	s.send(t, docker(1), docker(2), docker(3))
	s.end()
	s.start()
	st := s.finish(t)
	if st.Batcher.Shutdown != 3 || st.Batcher.Appended != 0 {
		t.Errorf("%+v", st)
	}
}

// joinAll is a joiner that holds everything to the end; it proves the order fragments, joiner, stages.
type joinAll struct{ held []string }

func (j *joinAll) Join(b *event.Batch, _ int64) {
	for i := range b.Events {
		j.held = append(j.held, brief(&b.Events[i]))
	}
	b.Events = b.Events[:0]
}

func (j *joinAll) Flush(b *event.Batch, _ int64, all bool) int64 {
	if all {
		b.Add().Message = b.CopyString(strings.Join(j.held, " "))
	}
	return 0
}

type stage struct{}

func (stage) Process(b *event.Batch) {
	for i := range b.Events {
		b.Events[i].Service = []byte(fmt.Sprintf("staged %d", len(b.Events[i].Message)))
	}
}

func TestOrderOfJoinersAndStages(t *testing.T) {
	part := func(text string, n int) []byte {
		return fmt.Appendf(nil, `{"timestamp":1795235808.7,"level":6,"_container_id":"a","short_message":"%s"}`, text+strings.Repeat(".", n-len(text)))
	}
	events, st := feed(t, Options{Joiner: &joinAll{}, Stages: []collector.Stage{stage{}}},
		part("x", 1), part("y", fragmentSize), part("z", 100), part("!", 1), part("?", fragmentSize))
	if len(events) != 1 || string(events[0].Message) != "x yz(16484) ! ?(16384)" || string(events[0].Service) != "staged 22" || st.Joined != 1 {
		t.Errorf("%d events: %s; %+v", len(events), describe(&events[0]), st)
	}
}

// A line of the log a minute for each cause, on one line whatever was sent.
func TestComplaints(t *testing.T) {
	var log strings.Builder
	now := receipt
	in := New(Options{Sink: &memory{}, Now: func() time.Time { return now }, Log: slog.New(slog.NewTextHandler(&log, nil))})
	lines := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want {
			t.Errorf("%d lines, want %d:\n%s", n, want, &log)
		}
	}
	for range 10 {
		in.handle([]byte("{\n\x1b[31m level=ERROR"), sender(0))
		in.handle([]byte("hello"), sender(0))
	}
	lines(2)
	now = now.Add(59 * time.Second)
	in.handle([]byte("{"), sender(0))
	lines(2)
	now = now.Add(time.Second)
	in.handle([]byte("{"), sender(2))
	lines(3)
	if !strings.Contains(log.String(), "from=10.0.0.2:1000") || !strings.Contains(log.String(), "dropped_so_far=12") {
		t.Errorf("log:\n%s", &log)
	}
	in.handle(chunk(1, 0, 2, ""), sender(0))
	in.handle(chunk(1, 0, 2, ""), sender(0)) // a duplicate is nobody's fault
	lines(3)
	if strings.Contains(log.String(), "\x1b") {
		t.Error("an escape sequence got into our log")
	}
}

// The reader rests while datagrams come fast, as long as the kernel's buffer has room for them.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		name   string
		buffer int
		n      int // datagrams of 1 KiB, so 2 KiB in the buffer
		past   time.Duration
		want   time.Duration
	}{
		{"an event alone", 8 << 20, 1, time.Second, 0},
		{"slow", 8 << 20, 3, 5 * time.Millisecond, 0},
		{"just fast enough", 8 << 20, 4, 5 * time.Millisecond, longestRest},
		{"the second of a stream", 8 << 20, 1, 25 * time.Microsecond, longestRest},
		{"after a rest", 8 << 20, 200, 5 * time.Millisecond, longestRest},
		{"as much as fits", 8 << 20, 1024, 5 * time.Millisecond, longestRest},
		{"twice as much", 8 << 20, 2048, 5 * time.Millisecond, longestRest / 2},
		{"a small buffer", 64 << 10, 80, 5 * time.Millisecond, longestRest / 10},
		{"a tiny buffer", 31 << 10, 80, 5 * time.Millisecond, 0},
		{"an unknown buffer", 0, 200, 5 * time.Millisecond, 0},
		{"no time has passed", 8 << 20, 1, 0, 0},
		{"nothing has come", 8 << 20, 0, time.Millisecond, 0},
	} {
		begin := time.Unix(1, 0)
		s := stream{buffer: c.buffer, empty: begin}
		for range c.n {
			s.add(1 << 10)
		}
		if got := s.drained(begin.Add(c.past)); got != c.want {
			t.Errorf("%s: rests %v, want %v", c.name, got, c.want)
		}
		if got := s.drained(begin.Add(c.past + time.Millisecond)); got != 0 {
			t.Errorf("%s: rests %v when nothing has come since", c.name, got)
		}
	}
}

// Datagrams come whole, in order and with their senders, however many wait.
func TestReceiver(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		in := New(Options{Addr: net.JoinHostPort(host, "0"), Sink: &memory{}})
		if err := in.Listen(); err != nil {
			if host == "::1" {
				t.Log("no IPv6 here:", err)
				continue
			}
			t.Fatal(err)
		}
		client, err := net.Dial("udp", in.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		r, err := in.takeSocket()
		if err != nil {
			t.Fatal(err)
		}
		defer in.close(r)
		want := client.LocalAddr().(*net.UDPAddr).AddrPort()
		for round := range 3 { // a receive that has to wait begins each
			size := func(i int) int { return []int{i, 0, 1 << 12, 65507}[i%4] }
			const n = 2*receiveBatch + 5
			sent, taken := make(chan error, 1), make(chan int, n)
			// No more waits than the kernel surely has room for: it drops the rest when the reader is late.
			takes := func(i int) int { return 2*size(i) + 4<<10 }
			go func() {
				waiting := 0
				for i := range n {
					for waiting > 0 && waiting+takes(i) > in.buffer {
						waiting -= <-taken
					}
					waiting += takes(i)
					if _, err := client.Write(bytes.Repeat([]byte{byte(i + round)}, size(i))); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for got := 0; got < n; {
				k, err := r.receive()
				if err != nil {
					t.Fatal(err)
				}
				for i := range k {
					p, from := r.datagram(i)
					if len(p) != size(got) || len(p) > 0 && (p[0] != byte(got+round) || p[len(p)-1] != byte(got+round)) {
						t.Fatalf("%s: datagram %d has %d bytes", host, got, len(p))
					}
					if from != want {
						t.Fatalf("from %v, want %v", from, want)
					}
					taken <- takes(got)
					got++
				}
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		r.setDeadline(time.Unix(1, 0))
		if n, err := r.receive(); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after the deadline: %d, %v", n, err)
		}
	}
}
