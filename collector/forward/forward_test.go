package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
	"github.com/lookoutlog/lookout/internal/vfs"
	"github.com/lookoutlog/lookout/internal/wal"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

const token = "lkt_canary-0123456789-canary"

// bubble runs a test on a clock of its own. The collections empty package wal's pool, whose channels belong to one bubble or to none.
func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	for range 2 {
		runtime.GC()
		defer runtime.GC()
	}
	synctest.Test(t, fn)
}

// counted is a server's store: it drops what a producer has sent before.
type counted struct {
	mu     sync.Mutex
	events []event.Event
	marks  map[string]uint64
}

func (s *counted) Append(_ context.Context, b *event.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Events {
		if n := b.FirstSeq + uint64(i); n > s.marks[b.Producer] {
			s.marks[b.Producer] = n
			s.events = append(s.events, b.Events[i].Clone())
		}
	}
	return nil
}

func (s *counted) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var m []string
	for _, e := range s.events {
		m = append(m, string(e.Message))
	}
	return m
}

// seen is a request as the server saw it.
type seen struct {
	at       time.Time
	producer string
	first    uint64
	lines    int
	encoding string
	status   int
}

// server is the real handler behind a wire that fails as it is told. It is an http.RoundTripper.
type server struct {
	t     *testing.T
	store *counted
	h     http.Handler

	mu sync.Mutex
	// fail answers the n-th request (from 1) instead of the handler, when it returns something; lost lets the handler work and the answer
	// get lost.
	fail     func(n int, lines int) *http.Response
	lost     func(n int) bool
	requests []seen
}

func newServer(t *testing.T) *server {
	s := &server{t: t, store: &counted{marks: map[string]uint64{}}}
	s.h = native.New(native.Options{Sink: s.store})
	return s
}

var errLost = errors.New("connection reset")

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	if got := r.Header.Get("Authorization"); got != "Bearer "+token {
		s.t.Errorf("Authorization %q", got)
	}
	if r.URL.Host != "lookout:7171" || r.URL.Path != "/api/v1/events" || r.Method != "POST" {
		s.t.Errorf("%s %s", r.Method, r.URL)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Error(err)
	}
	rec := httptest.NewRecorder()
	k := &keeper{} // counts the lines
	in := r.Clone(r.Context())
	in.Body = io.NopCloser(bytes.NewReader(body))
	native.New(native.Options{Sink: k}).ServeHTTP(httptest.NewRecorder(), in)
	first, err := strconv.ParseUint(r.Header.Get("Lookout-First-Sequence"), 10, 64)
	if err != nil {
		s.t.Error(err)
	}
	s.mu.Lock()
	now := seen{time.Now(), r.Header.Get("Lookout-Producer"), first, len(k.events), r.Header.Get("Content-Encoding"), 0}
	s.requests = append(s.requests, now)
	n := len(s.requests)
	fail, lost := s.fail, s.lost
	s.mu.Unlock()
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if fail != nil {
		if resp := fail(n, len(k.events)); resp != nil {
			s.note(n, resp.StatusCode)
			return resp, nil
		}
	}
	in.Body = io.NopCloser(bytes.NewReader(body))
	s.h.ServeHTTP(rec, in)
	if lost != nil && lost(n) {
		return nil, errLost
	}
	s.note(n, rec.Code)
	return rec.Result(), nil
}

func (s *server) note(n, status int) {
	s.mu.Lock()
	s.requests[n-1].status = status
	s.mu.Unlock()
}

func (s *server) seen() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.requests...)
}

func (s *server) behave(fail func(n, lines int) *http.Response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// respond makes an answer; headers come in pairs.
func respond(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

// journal is a log to look at.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// agent is a queue with what it needs, in a bubble.
type agent struct {
	*Queue
	t    *testing.T
	o    Options
	log  *journal
	stop func()
}

func newAgent(t *testing.T, s http.RoundTripper, change func(*Options)) *agent {
	t.Helper()
	a := &agent{t: t, log: &journal{}, stop: func() {}}
	a.o = Options{Dir: "/agent", URL: "http://lookout:7171", Token: token, FS: vfs.NewCrash(1), transport: s, Log: slog.New(slog.NewTextHandler(a.log, nil))}
	if change != nil {
		change(&a.o)
	}
	a.open()
	t.Cleanup(func() {
		a.close()
		if strings.Contains(a.log.String(), "canary") {
			t.Errorf("the token is in the log:\n%s", a.log)
		}
		if t.Failed() {
			t.Log(a.log)
		}
	})
	return a
}

func (a *agent) open() {
	a.t.Helper()
	q, err := Open(a.o)
	if err != nil {
		a.t.Fatal(err)
	}
	a.Queue = q
}

// run ships until halt, or close.
func (a *agent) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	q := a.Queue
	go func() { done <- q.Run(ctx) }()
	a.stop = func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Errorf("Run: %v", err)
		}
		a.stop = func() {}
	}
}

func (a *agent) close() {
	a.stop()
	if a.Queue != nil {
		if err := a.Queue.Close(); err != nil {
			a.t.Error(err)
		}
		a.Queue = nil
	}
}

// add appends events with these messages.
func (a *agent) add(messages ...string) {
	a.t.Helper()
	if err := a.Append(context.Background(), batchOf(messages...)); err != nil {
		a.t.Fatal(err)
	}
}

func batchOf(messages ...string) *event.Batch {
	b := &event.Batch{}
	for _, m := range messages {
		e := b.Add()
		e.Time, e.Message = 1.8e18, []byte(m)
	}
	return b
}

func numbers(from, to int) []string {
	var m []string
	for i := from; i <= to; i++ {
		m = append(m, fmt.Sprint(i))
	}
	return m
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Fatalf("got %d: %.400s\nwant %d: %.400s", len(got), g, len(want), w)
	}
}

func TestShips(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, func(o *Options) { o.Name = "vm-7" })
		a.add("1", "2")
		a.add("3")
		if st := a.Stats(); st.QueuedEvents != 3 || st.Appended != 3 || st.QueuedBytes == 0 || st.MaxBytes != DefaultMaxBytes || len(st.Retries) != len(causes) {
			t.Errorf("%+v", st)
		}
		time.Sleep(5 * time.Second)
		if st := a.Stats(); st.Oldest != 5*time.Second {
			t.Errorf("the oldest is %v old", st.Oldest)
		}
		a.close()
		a.open()
		if st := a.Stats(); st.Oldest != 5*time.Second || st.QueuedEvents != 3 {
			t.Errorf("opened again: %+v", st)
		}
		a.run()
		synctest.Wait()
		equal(t, s.store.messages(), []string{"1", "2", "3"})
		if st := a.Stats(); st.QueuedEvents != 0 || st.Oldest != 0 || st.Sent != 3 || st.Acknowledged != 3 || st.Requests != 1 || st.SentBytes == 0 {
			t.Errorf("%+v", st)
		}

		// What comes in quick succession goes together; the first after a rest goes at once.
		time.Sleep(time.Second)
		for i := 4; i <= 63; i++ {
			a.add(fmt.Sprint(i))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		equal(t, s.store.messages(), numbers(1, 63))
		requests := s.seen()
		if n := len(requests); n < 7 || n > 9 || requests[1].lines != 1 {
			t.Errorf("%d requests: %+v", n, requests)
		}
		for i, r := range requests {
			if !strings.HasPrefix(r.producer, "vm-7-") || r.producer != a.Name() || len(r.producer) > 60 {
				t.Errorf("producer %q", r.producer)
			}
			if i > 1 && r.at.Sub(requests[i-1].at) < linger {
				t.Errorf("a request %v after the one before", r.at.Sub(requests[i-1].at))
			}
		}

		// Large ones are compressed.
		a.add(strings.Repeat("x", 100_000))
		time.Sleep(time.Second)
		if st, r := a.Stats(), s.seen(); st.SentBytes > 20_000 || r[len(r)-1].encoding != "zstd" || r[0].encoding != "" {
			t.Errorf("%d bytes sent, %q", st.SentBytes, r[len(r)-1].encoding)
		}
	})
}

// Requests are bounded in events and bytes, and follow each other without a pause.
func TestBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, func(o *Options) { o.batchMax, o.batchBytes = 10, 2000 })
		a.add(numbers(1, 95)...)
		for range 4 {
			a.add(strings.Repeat("x", 900))
		}
		a.run()
		synctest.Wait()
		var lines []int
		for _, r := range s.seen() {
			lines = append(lines, r.lines)
		}
		if fmt.Sprint(lines) != "[10 10 10 10 10 10 10 10 10 7 2]" || time.Since(s.seen()[0].at) > 0 {
			t.Errorf("requests of %v lines", lines)
		}
		if len(s.store.messages()) != 99 {
			t.Errorf("%d arrived", len(s.store.messages()))
		}
	})
}

// What the server may answer, and what comes of it: when the second request is made, and what is said of it.
func TestAnswers(t *testing.T) {
	html := "<html>canary</html>"
	failure := func(code string) string {
		return `{"error":{"code":"` + code + `","message":"the message of ` + token + `","mend":"the mend"},"accepted":0,"rejected":0,"errors":[]}`
	}
	for _, c := range []struct {
		name     string
		resp     func() *http.Response
		least    time.Duration // until the next try
		most     time.Duration
		cause    string
		says     string
		rejected int64
	}{
		{"401", func() *http.Response { return respond(401, failure("unauthorized")) }, 30 * time.Second, 33 * time.Second, causeUnauthorized, "a token of this server that may write", 0},
		{"403", func() *http.Response { return respond(403, failure("forbidden")) }, 30 * time.Second, 33 * time.Second, causeUnauthorized, "403 Forbidden: the message of [token]; the mend", 0},
		{"429", func() *http.Response { return respond(429, failure("overloaded"), "Retry-After", "7") }, 7 * time.Second, 7700 * time.Millisecond, causeBusy, "429", 0},
		{"429 without more", func() *http.Response { return respond(429, html) }, 500 * time.Millisecond, time.Second, causeBusy, "429", 0},
		{"503", func() *http.Response { return respond(503, failure("disk_full"), "Retry-After", "30") }, 30 * time.Second, 33 * time.Second, causeFull, "503", 0},
		{"503 for long", func() *http.Response { return respond(503, html, "Retry-After", "99999999999999999") }, 5 * time.Minute, 330 * time.Second, causeFull, "503", 0},
		{"503 until", func() *http.Response {
			return respond(503, html, "Retry-After", time.Now().Add(20*time.Second).UTC().Format(http.TimeFormat))
		}, 20 * time.Second, 22 * time.Second, causeFull, "503", 0},
		{"503 since", func() *http.Response { return respond(503, html, "Retry-After", "-5") }, 500 * time.Millisecond, time.Second, causeFull, "503", 0},
		{"500", func() *http.Response { return respond(500, failure("not_stored")) }, 500 * time.Millisecond, time.Second, causeServer, "500", 0},
		{"502", func() *http.Response { return respond(502, html) }, 500 * time.Millisecond, time.Second, causeServer, "502 Bad Gateway", 0},
		{"408", func() *http.Response { return respond(408, failure("too_slow")) }, 500 * time.Millisecond, time.Second, causeServer, "408", 0},
		{"404", func() *http.Response { return respond(404, html) }, 500 * time.Millisecond, time.Second, causeUnexpected, "is this a lookout server's address?", 0},
		{"400", func() *http.Response { return respond(400, failure("bad_header")) }, 500 * time.Millisecond, time.Second, causeUnexpected, "400 Bad Request: the message", 0},
		{"302", func() *http.Response { return respond(302, "", "Location", "http://elsewhere/login") }, 500 * time.Millisecond, time.Second, causeUnexpected, "elsewhere/login", 0},
		{"307", func() *http.Response { return respond(307, "", "Location", "http://elsewhere/") }, 500 * time.Millisecond, time.Second, causeUnexpected, "is not followed", 0},
		{"200 of a portal", func() *http.Response { return respond(200, html) }, 500 * time.Millisecond, time.Second, causeUnexpected, "is not what lookout answers", 0},
		{"200 of an API", func() *http.Response { return respond(200, `{"ok":true}`) }, 500 * time.Millisecond, time.Second, causeUnexpected, "is not what lookout answers", 0},
		{"200 of too many", func() *http.Response { return respond(200, `{"accepted":9,"rejected":0}`) }, 500 * time.Millisecond, time.Second, causeUnexpected, "is not what lookout answers", 0},
		{"200 of less than none", func() *http.Response { return respond(200, `{"accepted":4,"rejected":-1}`) }, 500 * time.Millisecond, time.Second, causeUnexpected, "is not what lookout answers", 0},
	} {
		bubble(t, func(t *testing.T) {
			s := newServer(t)
			a := newAgent(t, s, nil)
			s.behave(func(n, lines int) *http.Response {
				if n == 1 {
					return c.resp()
				}
				return nil
			})
			a.add("1", "2", "3")
			a.run()
			time.Sleep(10 * time.Minute)
			requests := s.seen()
			if len(requests) != 2 || requests[1].first != 1 {
				t.Fatalf("%s: %+v", c.name, requests)
			}
			equal(t, s.store.messages(), numbers(1, 3))
			if wait := requests[1].at.Sub(requests[0].at); wait < c.least || wait > c.most {
				t.Errorf("%s: tried again after %v, want %v to %v", c.name, wait, c.least, c.most)
			}
			if st := a.Stats(); st.Retries[c.cause] != 1 || st.Rejected != c.rejected || st.Acknowledged != 3 || st.Sent != 6 {
				t.Errorf("%s: %+v", c.name, st)
			}
			if text := a.log.String(); !strings.Contains(text, c.says) || !strings.Contains(text, "takes events again") || strings.Count(text, "\n") != 2 {
				t.Errorf("%s: the log says\n%s", c.name, text)
			}
		})
	}
}

// Backoff grows to a minute, trouble is said once a minute, and nothing is lost meanwhile.
func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		down := true
		s.lost = func(int) bool { return down }
		s.h = http.NotFoundHandler()
		a := newAgent(t, s, nil)
		a.run()
		a.add("1")
		time.Sleep(10 * time.Minute)
		a.add("2")
		requests := s.seen()
		for i := 1; i < len(requests); i++ {
			most := min(time.Second<<(i-1), time.Minute)
			if wait := requests[i].at.Sub(requests[i-1].at); wait < most/2 || wait > most {
				t.Errorf("try %d came after %v", i+1, wait)
			}
		}
		if n := len(requests); n < 15 || n > 26 {
			t.Errorf("%d tries in 10 min", n)
		}
		says := 0
		var last time.Time
		for _, r := range requests {
			if says == 0 || r.at.Sub(last) >= time.Minute {
				says, last = says+1, r.at
			}
		}
		if n := strings.Count(a.log.String(), "connection reset"); n != says {
			t.Errorf("said %d times in 10 min, want %d", n, says)
		}
		if st := a.Stats(); st.Oldest != 10*time.Minute || st.QueuedEvents != 2 || st.Retries[causeNetwork] != int64(len(requests)) {
			t.Errorf("%+v", st)
		}
		s.mu.Lock()
		down, s.h = false, native.New(native.Options{Sink: s.store})
		s.mu.Unlock()
		time.Sleep(backoffMost + linger) // until the next try at the latest, and the second event goes behind the first
		synctest.Wait()
		equal(t, s.store.messages(), numbers(1, 2))

		// The next trouble begins with a second again.
		n := len(s.seen())
		s.behave(func(i, _ int) *http.Response {
			if i == n+1 {
				return respond(500, "")
			}
			return nil
		})
		a.add("3")
		time.Sleep(linger + backoffFirst)
		synctest.Wait()
		equal(t, s.store.messages(), numbers(1, 3))
	})
}

// Agents that fail together do not come back together.
func TestJitter(t *testing.T) {
	waits := map[time.Duration]bool{}
	for range 20 {
		s := &shipper{wait: backoffMost}
		waits[s.pause(&trouble{})] = true
		waits[s.pause(&trouble{wait: 30 * time.Second})] = true
	}
	if len(waits) < 30 {
		t.Errorf("%d different waits of 40", len(waits))
	}
}

// An answer that gets lost is not a request that got lost: the server has the events once.
func TestLostAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		s.lost = func(n int) bool { return n%3 != 0 }
		a := newAgent(t, s, nil)
		a.run()
		for i := 1; i <= 20; i++ {
			a.add(fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		equal(t, s.store.messages(), numbers(1, 20))
		if st := a.Stats(); st.QueuedEvents != 0 || st.Retries[causeNetwork] == 0 {
			t.Errorf("%+v", st)
		}
	})
}

// An answer that is an error may have taken a part: that is not sent again.
func TestPartialAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, nil)
		s.behave(func(n, lines int) *http.Response {
			switch n {
			case 1:
				return respond(429, `{"error":{"code":"overloaded"},"accepted":2,"rejected":1,"errors":[{"line":3,"message":"why `+token+`"}]}`, "Retry-After", "1")
			case 2:
				return respond(200, `{"accepted":1,"rejected":1,"errors":[{"line":1,"message":"no"}]}`) // of four: no answer of lookout's, but what it says counts
			case 3:
				return respond(400, `{"error":{"code":"no_events"},"accepted":0,"rejected":2,"errors":[{"line":1,"message":"bad"}]}`)
			}
			return nil
		})
		a.add(numbers(1, 7)...)
		a.run()
		time.Sleep(time.Minute)
		a.add("8")
		time.Sleep(time.Minute)
		var firsts []uint64
		for _, r := range s.seen() {
			firsts = append(firsts, r.first)
		}
		if fmt.Sprint(firsts) != "[1 4 6 8]" {
			t.Errorf("requests begin at %v", firsts)
		}
		equal(t, s.store.messages(), []string{"8"})
		if st := a.Stats(); st.Rejected != 4 || st.Acknowledged != 8 || st.QueuedEvents != 0 {
			t.Errorf("%+v", st)
		}
		if text := a.log.String(); !strings.Contains(text, "first=3") || !strings.Contains(text, "why [token]") || !strings.Contains(text, "first=6 error=bad") {
			t.Errorf("the log says\n%s", text)
		}
	})
}

// 413: requests become smaller until they fit, and grow again after a while; a single event that does not fit is given up.
func TestTooLarge(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		var most atomic.Int64
		most.Store(3)
		s.behave(func(n, lines int) *http.Response {
			if int64(lines) > most.Load() || lines == 0 {
				return respond(413, "<html>")
			}
			return nil
		})
		a := newAgent(t, s, func(o *Options) { o.batchMax = 10 })
		a.add(numbers(1, 100)...)
		a.run()
		synctest.Wait()
		equal(t, s.store.messages(), numbers(1, 100))
		before := len(s.seen())
		if st := a.Stats(); st.Retries[causeTooLarge] > 5 || st.Rejected != 0 || before > 60 {
			t.Errorf("%d requests, %+v", before, st)
		}
		most.Store(100)
		for range 3 * regrow {
			a.add(numbers(1, 10)...)
			time.Sleep(time.Second)
		}
		requests := s.seen()
		if last := requests[len(requests)-1]; last.lines != 10 {
			t.Errorf("a request of %d lines after a while", last.lines)
		}

		most.Store(0)
		n := len(s.store.messages())
		a.add("too large")
		time.Sleep(time.Second)
		most.Store(1)
		a.add("fits")
		time.Sleep(time.Second)
		if m := s.store.messages(); len(m) != n+1 || m[n] != "fits" {
			t.Errorf("%d arrived", len(m)-n)
		}
		if st := a.Stats(); st.Rejected != 1 || st.QueuedEvents != 0 || !strings.Contains(a.log.String(), "limits.body") {
			t.Errorf("%+v", st)
		}
	})
}

// The real server says 413 beyond its own limit.
func TestServersLimit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		s.h = native.New(native.Options{Sink: s.store, MaxBody: 20_000})
		a := newAgent(t, s, nil)
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprintf("%d %0*d", i, i*100, 0))
		}
		a.add(want...)
		a.add(strings.Repeat("y", 60_000))
		a.add("end")
		a.run()
		time.Sleep(time.Minute)
		equal(t, s.store.messages(), append(want, "end"))
		if st := a.Stats(); st.Rejected != 1 || st.Acknowledged != 52 {
			t.Errorf("%+v", st)
		}
	})
}

func TestPressure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		down := func(int, int) *http.Response { return respond(503, "") }
		s.behave(down)
		a := newAgent(t, s, func(o *Options) { o.MaxBytes, o.segment = 40_000, 8_000 })
		a.run()
		n := 0
		noise := func() string { // does not compress
			b := make([]byte, 1500)
			for i := range b {
				n = n*1103515245 + 12345
				b[i] = byte(n >> 16)
			}
			return string(b)
		}
		var kept []string
		var err error
		for err == nil && len(kept) < 1000 {
			m := noise()
			if err = a.Append(context.Background(), batchOf(m)); err == nil {
				kept = append(kept, m)
			}
		}
		var p collector.Pressure
		if !errors.As(err, &p) || !p.Full() || p.RetryAfter() != time.Second || !strings.Contains(err.Error(), "1 MiB full") {
			t.Fatalf("%v after %d events", err, len(kept))
		}
		if st := a.Stats(); st.QueuedBytes > 40_000 || st.QueuedBytes < 35_000 || st.Refused != 1 {
			t.Errorf("%+v", st)
		}
		s.behave(nil)
		time.Sleep(time.Minute)
		equal(t, s.store.messages(), kept)
		if st := a.Stats(); st.QueuedBytes > 8_000 {
			t.Errorf("%d bytes are left of what has arrived", st.QueuedBytes)
		}
		// What is larger than the whole queue passes when nothing else waits, or it would never.
		large := strings.Repeat(noise(), 30)
		a.add(large)
		time.Sleep(time.Minute)
		a.add("end")
		time.Sleep(time.Minute)
		equal(t, s.store.messages(), append(kept, large, "end"))
	})
}

// Inputs that count find their cursors again, and what they send twice is there once.
func TestProducers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, nil)
		if _, _, ok := a.Producer("c"); ok {
			t.Error("a producer that was never seen")
		}
		b := batchOf(numbers(1, 3)...)
		b.Producer, b.FirstSeq, b.Cursor = "c", 1, []byte("at 3")
		for range 2 {
			if err := a.Append(context.Background(), b); err != nil {
				t.Fatal(err)
			}
			a.close()
			a.open()
		}
		b = batchOf(numbers(2, 5)...)
		b.Producer, b.FirstSeq, b.Cursor = "c", 2, []byte("at 5")
		if err := a.Append(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		if err := a.Append(context.Background(), &event.Batch{Producer: "c", FirstSeq: 6}); err != nil {
			t.Fatal(err)
		}
		a.run()
		time.Sleep(time.Minute)
		equal(t, s.store.messages(), numbers(1, 5))
		if next, cursor, ok := a.Producer("c"); next != 6 || string(cursor) != "at 5" || !ok {
			t.Errorf("%d %q %v", next, cursor, ok)
		}
		if st := a.Stats(); st.Appended != 2 { // since it was opened
			t.Errorf("%+v", st)
		}
	})
}

// What is confirmed is not sent again after a proper end, and little of it after a kill.
func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, nil)
		a.run()
		a.add(numbers(1, 10)...)
		synctest.Wait()
		a.close()
		a.o.Name = "renamed" // too late: the server knows the queue by its first name
		a.open()
		a.run()
		a.add("11")
		time.Sleep(10 * time.Second)
		// The position is written soon after, also when nothing else comes.
		fs := a.o.FS.(*vfs.Crash)
		a.stop()
		dead := a.Queue
		a.o.FS = fs.Kill()
		if err := dead.log.Close(); err != nil && !errors.Is(err, vfs.ErrStopped) {
			t.Fatal(err)
		}
		a.open()
		a.run()
		a.add("12")
		time.Sleep(10 * time.Second)
		var firsts []uint64
		producers := map[string]bool{}
		for _, r := range s.seen() {
			firsts = append(firsts, r.first)
			producers[r.producer] = true
		}
		if fmt.Sprint(firsts) != "[1 11 12]" || len(producers) != 1 || !strings.HasPrefix(a.Name(), "agent-") {
			t.Errorf("requests begin at %v, of %v", firsts, producers)
		}
		equal(t, s.store.messages(), numbers(1, 12))
	})
}

// The folder's files are lost, damaged, or another version's.
func TestFolder(t *testing.T) {
	write := func(fsys vfs.FS, name, text string) {
		f, err := fsys.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.WriteString(f, text)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		do     func(fsys vfs.FS, old state)
		again  int    // events that arrive twice
		anew   bool   // the producer is another one
		errors string // Open's
		says   string
	}{
		{name: "untouched", do: func(vfs.FS, state) {}},
		{name: "no state", do: func(f vfs.FS, _ state) { f.Remove("/agent/state") }, again: 5, anew: true},
		{name: "a damaged state", do: func(f vfs.FS, s state) { write(f, "/agent/state", strings.Replace(s.encode(), " 5 ", " 7 ", 1)) }, again: 5, anew: true, says: "cannot be read"},
		{name: "an empty state", do: func(f vfs.FS, _ state) { write(f, "/agent/state", "") }, again: 5, anew: true, says: "cannot be read"},
		{name: "a state of tomorrow", do: func(f vfs.FS, s state) {
			text := fmt.Sprintf("%s 2 %s 5 more", stateMagic, s.producer)
			write(f, "/agent/state", fmt.Sprintf("%s %08x\n", text, crc(text)))
		}, errors: "another version"},
		{name: "no log", do: func(f vfs.FS, _ state) { f.Remove("/agent/wal/00000000000000000001.wal") }, anew: true},
		{name: "an older position", do: func(f vfs.FS, s state) { s.position = 3; write(f, "/agent/state", s.encode()) }},
	} {
		bubble(t, func(t *testing.T) {
			s := newServer(t)
			a := newAgent(t, s, nil)
			a.run()
			a.add(numbers(1, 5)...)
			time.Sleep(time.Minute)
			old := state{a.Name(), 5}
			a.close()
			if text, _ := fs.ReadFile(readable{a.o.FS}, "/agent/state"); string(text) != old.encode() {
				t.Errorf("%s: the state is %q", c.name, text)
			}
			c.do(a.o.FS, old)
			q, err := Open(a.o)
			if c.errors != "" {
				if err == nil || !strings.Contains(err.Error(), c.errors) {
					t.Errorf("%s: %v", c.name, err)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			a.Queue = q
			a.run()
			a.add("6", "7")
			time.Sleep(time.Minute)
			want := append(numbers(1, 5), numbers(6-c.again, 5)...)
			equal(t, s.store.messages(), append(want, "6", "7"))
			if (a.Name() != old.producer) != c.anew || !strings.Contains(a.log.String(), c.says) || c.says == "" && a.log.String() != "" {
				t.Errorf("%s: %s, the log says\n%s", c.name, a.Name(), a.log)
			}
		})
	}
}

func crc(text string) uint32 { return crc32.Checksum([]byte(text), castagnoli) }

// readable makes fs.ReadFile work on a vfs.FS.
type readable struct{ vfs.FS }

func (r readable) Open(string) (fs.File, error) { return nil, fs.ErrInvalid }

func (r readable) ReadFile(name string) ([]byte, error) {
	f, err := r.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
}

// Damage costs what it touches: it is counted, and the rest arrives.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		hit  int // the batch
		want []string
	}{
		{"in the middle", 2, []string{"1", "2", "5", "6"}},
		{"the first", 1, []string{"3", "4", "5", "6"}},
		{"the last but for the next", 3, []string{"1", "2", "3", "4"}},
	} {
		bubble(t, func(t *testing.T) {
			s := newServer(t)
			a := newAgent(t, s, func(o *Options) { o.segment = 1 }) // a segment each
			for i := 1; i <= 5; i += 2 {
				a.add(fmt.Sprint(i), fmt.Sprint(i+1))
			}
			a.add("end")
			name := fmt.Sprintf("/agent/wal/%020d.wal", 2*c.hit-1)
			text, err := fs.ReadFile(readable{a.o.FS}, name)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)-3] ^= 1
			f, err := a.o.FS.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(text); err != nil {
				t.Fatal(err)
			}
			f.Close()
			a.run()
			time.Sleep(time.Minute)
			equal(t, s.store.messages(), append(c.want, "end"))
			if st := a.Stats(); st.Lost != 2 || st.QueuedEvents != 0 || st.Acknowledged != 5 {
				t.Errorf("%s: %+v", c.name, st)
			}
			if n := s.store.marks[a.Name()]; n != 7 {
				t.Errorf("%s: the server counts %d events: the ones behind the gap have other numbers than here", c.name, n)
			}
			if !strings.Contains(a.log.String(), fmt.Sprintf("they are lost\" from=%d to=%d", 2*c.hit-1, 2*c.hit)) {
				t.Errorf("%s: %s", c.name, a.log)
			}
		})
	}
}

// An entry whose events do not decode, though its checksums are right, holds up nothing.
func TestUndecodable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, nil)
		good := event.Event{Time: 1.8e18, Message: []byte("1")}
		bad := event.AppendEvent(nil, &good)
		bad[12] = 200 // the level
		data := append(event.AppendEvent(nil, &good), append(bad, bad...)...)
		for range 2 {
			if _, _, err := a.Queue.log.Append(context.Background(), &wal.Entry{Count: 3, Data: data}); err != nil {
				t.Fatal(err)
			}
		}
		a.run()
		time.Sleep(time.Second)
		if st := a.Stats(); st.Lost != 4 || st.QueuedEvents != 0 || len(s.store.messages()) != 2 {
			t.Errorf("%+v, %v", st, s.store.messages())
		}
		a.add("end")
		time.Sleep(time.Second)
		equal(t, s.store.messages(), []string{"1", "1", "end"})
	})
}

// late reads the first request's body when the second one comes, as package http may.
type late struct {
	h     http.Handler
	first *http.Request
}

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	if l.first == nil {
		l.first = r
		return respond(429, `{"error":{"code":"overloaded"},"accepted":1,"rejected":0}`), nil
	}
	l.h.ServeHTTP(rec, l.first)
	l.h.ServeHTTP(rec, r)
	return rec.Result(), nil
}

func TestBodyOfARequestStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := &counted{marks: map[string]uint64{}}
		a := newAgent(t, &late{h: native.New(native.Options{Sink: store})}, nil)
		a.add("1", "2")
		a.run()
		time.Sleep(time.Minute)
		equal(t, store.messages(), []string{"1", "2"})
	})
}

// loopback is a server whose store is the queue itself.
type loopback struct{ q **Queue }

func (l loopback) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	native.New(native.Options{Sink: *l.q}).ServeHTTP(rec, r)
	return rec.Result(), nil
}

func TestLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var q *Queue
		a := newAgent(t, loopback{&q}, nil)
		q = a.Queue
		a.add("1")
		if err := a.Run(context.Background()); !errors.Is(err, ErrLoop) {
			t.Errorf("%v", err)
		}
		if st := a.Stats(); st.QueuedEvents != 1 || st.Appended != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		err    string
	}{
		{func(o *Options) {}, ""},
		{func(o *Options) { o.URL = "https://lookout.example.com/prefix/" }, ""},
		{func(o *Options) { o.Dir = "" }, "no folder"},
		{func(o *Options) { o.Token = "" }, "no token"},
		{func(o *Options) { o.Token = "canary\nX-Other: 1" }, "the token may only have"},
		{func(o *Options) { o.Name = "a b" }, "the name may only have"},
		{func(o *Options) { o.Name = strings.Repeat("n", 201) }, "201 bytes"},
		{func(o *Options) { o.MaxBytes = -1 }, "-1 bytes"},
		{func(o *Options) { o.URL = "" }, `"" is not a server's address`},
		{func(o *Options) { o.URL = "lookout:7171" }, "is not a server's address"},
		{func(o *Options) { o.URL = "ftp://lookout" }, "is not a server's address"},
		{func(o *Options) { o.URL = "http:///x" }, "is not a server's address"},
		{func(o *Options) { o.URL = "http://lookout/?a=b" }, "is not a server's address"},
		{func(o *Options) { o.URL = "http://name:canary@lookout" }, "without a name or password"},
		{func(o *Options) { o.URL = "http://name:canary@look out" }, "without a name or password"},
	} {
		o := Options{Dir: "/agent", URL: "http://lookout:7171", Token: token, FS: vfs.NewCrash(1)}
		c.change(&o)
		q, err := Open(o)
		if err == nil {
			q.Close()
		}
		if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%v, want %q", err, c.err)
		}
	}
	if e, err := endpointOf("https://h:1/prefix/"); e != "https://h:1/prefix/api/v1/events" || err != nil {
		t.Error(e, err)
	}
	fsys := vfs.NewCrash(1)
	fsys.StopAt(1)
	if _, err := Open(Options{Dir: "/agent", URL: "http://h", Token: token, FS: fsys}); !errors.Is(err, vfs.ErrStopped) {
		t.Error(err)
	}
}

// What the position is written to may fail: shipping goes on, and the space is given back.
func TestFullDisk(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, func(o *Options) { o.segment = 1 })
		fsys := a.o.FS.(*vfs.Crash)
		fsys.Inject(func(op vfs.Op) error {
			if strings.Contains(op.Name, stateFile) {
				return errors.New("no space left")
			}
			return nil
		})
		a.run()
		for i := 1; i <= 10; i++ {
			a.add(fmt.Sprint(i))
			time.Sleep(time.Second)
		}
		equal(t, s.store.messages(), numbers(1, 10))
		if st := a.Stats(); st.QueuedBytes > 2000 || strings.Count(a.log.String(), "cannot be tidied up") != 1 {
			t.Errorf("%+v\n%s", st, a.log)
		}
		// A kill now: what is gone was confirmed, and the rest is sent again.
		a.stop()
		dead := a.Queue
		fsys.Inject(nil)
		a.o.FS = fsys.Kill()
		dead.log.Close()
		a.open()
		a.run()
		a.add("11")
		time.Sleep(time.Second)
		equal(t, s.store.messages(), numbers(1, 11))
		if st := a.Stats(); st.Lost != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Over a real connection, with a real redirect: the other server sees nothing.
func TestRedirectOverHTTP(t *testing.T) {
	var stolen []string
	var mu sync.Mutex
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		stolen = append(stolen, r.Header.Get("Authorization"))
		mu.Unlock()
	}))
	defer thief.Close()
	store := &counted{marks: map[string]uint64{}}
	h := native.New(native.Options{Sink: store})
	again := make(chan struct{}, 10)
	calls := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 1 {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
			return
		}
		h.ServeHTTP(w, r)
		again <- struct{}{}
	}))
	defer srv.Close()
	q, err := Open(Options{Dir: t.TempDir(), URL: srv.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	if err := q.Append(ctx, batchOf(strings.Repeat("x", 1000), "2")); err != nil {
		t.Fatal(err)
	}
	<-again
	cancel()
	if err := errors.Join(<-done, q.Close()); err != nil {
		t.Error(err)
	}
	if len(stolen) != 0 || len(store.messages()) != 2 {
		t.Errorf("%d requests went elsewhere, %d events arrived", len(stolen), len(store.messages()))
	}
	if err := q.Append(context.Background(), batchOf("3")); err == nil {
		t.Error("a closed queue takes events")
	}
}

// Many append while it ships.
func TestConcurrent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newServer(t)
		a := newAgent(t, s, func(o *Options) { o.segment = 4000 })
		a.run()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					b := batchOf(fmt.Sprintf("%d/%02d", w, i))
					b.Producer, b.FirstSeq = fmt.Sprint("p", w), uint64(i+1)
					if err := a.Append(context.Background(), b); err != nil {
						t.Error(err)
					}
					_ = a.Stats()
					time.Sleep(time.Duration(w) * 10 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		next := map[string]int{}
		for _, m := range s.store.messages() {
			w, i, _ := strings.Cut(m, "/")
			if i != fmt.Sprintf("%02d", next[w]) {
				t.Fatalf("%s where %d belongs", m, next[w])
			}
			next[w]++
		}
		if n := len(s.store.messages()); n != 400 {
			t.Errorf("%d arrived", n)
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(state{"agent-abc", 17}.encode())
	f.Add("lookout-forward 1 x 1 00000000\n")
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseState(text)
		if err != nil {
			return
		}
		if again, err := parseState(s.encode()); err != nil || again != s {
			t.Errorf("%+v, %v", again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(200, "", `{"accepted":3,"rejected":0,"errors":[]}`)
	f.Add(429, "9", `{"error":{"code":"x"},"accepted":1,"rejected":1,"errors":[{"line":-9223372036854775808}]}`)
	f.Add(413, "Mon, 02 Jan 2006 15:04:05 GMT", "[")
	f.Fuzz(func(t *testing.T, status int, retry, body string) {
		s := &shipper{q: &Queue{o: Options{Token: token, Log: slog.New(slog.DiscardHandler)}}}
		done, bad := s.judge(5, status, http.Header{"Retry-After": {retry}}, []byte(body))
		if done < 0 || done > 5 || (bad == nil) != (done == 5) {
			t.Fatalf("%d %+v", done, bad)
		}
		if bad != nil && (bad.wait < 0 || bad.wait > retryMost || bad.err == nil) {
			t.Fatalf("%+v", bad)
		}
	})
}
