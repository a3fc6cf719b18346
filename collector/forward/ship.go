package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/wal"
)

const (
	// A request ends at the first of these: bytes of lines, and events. The server makes one batch, and so one fsync, of either.
	batchBytes  = 2 << 20
	batchEvents = 8192
	minPacked   = 512 // a smaller body is sent as it is

	// When all is sent, requests are at least so far apart: what comes meanwhile goes together.
	linger = 100 * time.Millisecond

	requestTimeout = time.Minute
	maxAnswer      = 1 << 20

	backoffFirst = time.Second
	backoffMost  = time.Minute
	retryDenied  = 30 * time.Second // the token is wrong: a person has to act
	retryMost    = 5 * time.Minute  // whatever Retry-After says
	sayEvery     = time.Minute      // how often the same trouble is logged
	regrow       = 64               // requests after which a smaller limit is tried at twice its size
)

// The causes of retries, as [Stats].Retries has them.
const (
	causeNetwork      = "network"      // no answer, or a connection that broke
	causeUnauthorized = "unauthorized" // 401, 403
	causeBusy         = "busy"         // 429
	causeFull         = "full"         // 503
	causeServer       = "server"       // another 5xx, 408
	causeTooLarge     = "too_large"    // 413
	causeUnexpected   = "unexpected"   // whatever else is not an answer of this API

	causeDisk = "disk" // no retry, but said as seldom as they are
)

var causes = [...]string{causeNetwork, causeUnauthorized, causeBusy, causeFull, causeServer, causeTooLarge, causeUnexpected}

func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost, t.MaxConnsPerHost = 1, 1
		t.ResponseHeaderTimeout = requestTimeout
		t.DisableCompression = true
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
		transport = t
	}
	return &http.Client{
		Transport: transport, Timeout: requestTimeout,
		// Another server must not see the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// load is events on their way, as lines. The first done of them are dealt with.
type load struct {
	first    uint64 // the sequence of the first that is left
	done     int
	lines    []byte
	ends     []int   // where in lines each event ends
	received []int64 // when each was received
}

func (l *load) reset() {
	l.done, l.lines, l.ends, l.received = 0, l.lines[:0], l.ends[:0], l.received[:0]
}

// left is how many events are left.
func (l *load) left() int { return len(l.ends) - l.done }

// text is the lines of the first n events that are left.
func (l *load) text(n int) []byte {
	start := 0
	if l.done > 0 {
		start = l.ends[l.done-1]
	}
	return l.lines[start:l.ends[l.done+n-1]]
}

// fitting is how many of the events that are left have at most limit bytes together, at least 1. Without a limit it is all.
func (l *load) fitting(limit int) int {
	if limit == 0 {
		return l.left()
	}
	n := 1
	for n < l.left() && len(l.text(n+1)) <= limit {
		n++
	}
	return n
}

// shipper is what one Run works with.
type shipper struct {
	q      *Queue
	r      *wal.Reader
	enc    encoder
	event  event.Event
	packed []byte

	// The rest of the entry that was read last, and when it was received.
	rest     []byte
	received int64
	next     uint64 // the sequence of the next event to take; all before it were taken, or are lost

	load  load
	end   bool // the log's end was reached
	limit int  // bytes of lines a request may have, after one was too large; 0: what the load has
	good  int  // requests that went well since the limit was changed
	began time.Time
	wait  time.Duration // the last backoff
	since time.Time     // when trouble began; zero when there is none
	told  bool          // it was logged
}

// Run ships what is queued, and what is appended, until ctx ends or the queue is closed. It returns [ErrLoop] when the queue forwards
// to itself, otherwise nil: whatever the server or the network does is tried again. One Run may be under way at a time.
func (q *Queue) Run(ctx context.Context) error {
	q.mu.Lock()
	s := &shipper{q: q, r: q.log.Reader(q.position), next: q.position + 1}
	q.mu.Unlock()
	defer s.r.Close()
	for {
		err := s.fill(ctx)
		if err == nil {
			err = s.ship(ctx)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, wal.ErrClosed):
			return nil
		default:
			return err
		}
	}
}

// fill makes a load of the events behind the last one, as many as there are. It waits for the first.
func (s *shipper) fill(ctx context.Context) error {
	if s.end { // all was sent: let some gather
		if err := sleep(ctx, linger-time.Since(s.began)); err != nil {
			return err
		}
	}
	l := &s.load
	l.reset()
	s.end = false
	for {
		if len(s.rest) == 0 {
			ok, err := s.read(ctx)
			if s.end = !ok; err != nil || !ok {
				return err
			}
		}
		if l.left() == 0 {
			l.first = s.next
		} else if s.next != l.first+uint64(l.left()) {
			return nil // behind events that are lost: a request counts without gaps
		}
		if s.take() {
			return nil
		}
	}
}

// read makes the log's next entry the rest. It waits for one while the load is empty, otherwise it reports false at the log's end.
func (s *shipper) read(ctx context.Context) (bool, error) {
	for {
		e, ok, err := s.r.TryNext()
		if !ok && err == nil && s.load.left() == 0 {
			e, err = s.await(ctx)
			ok = e != nil
		}
		var trimmed *wal.TrimmedError
		var bad *wal.CorruptError
		switch {
		case ok:
			s.skip(e.First)
			s.rest, s.received = e.Data, e.Received
			return true, nil
		case err == nil:
			if s.load.left() > 0 {
				return false, nil
			}
		case errors.As(err, &trimmed), errors.As(err, &bad): // the reader goes on behind it
			s.skip(s.r.Position() + 1)
		case ctx.Err() != nil, errors.Is(err, wal.ErrClosed):
			return false, err
		default:
			s.q.complain(causeDisk, "the queue cannot be read; it is tried again", err)
			if err := sleep(ctx, backoffFirst); err != nil {
				return false, err
			}
		}
	}
}

// skip goes on at a sequence; the events before it that were not taken are lost.
func (s *shipper) skip(to uint64) {
	if to > s.next {
		s.q.lost.Add(int64(to - s.next))
		s.q.o.Log.Error("events of the queue cannot be read; they are lost", "from", s.next, "to", to-1)
		s.next = to
	}
}

// await waits for the log's next entry, everything before it having been confirmed. It returns nil when there is something else to do.
func (s *shipper) await(ctx context.Context) (*wal.Entry, error) {
	now := time.Now()
	s.skip(s.r.Position() + 1)
	s.q.confirm(s.next-1, now.UnixNano())
	due := s.q.settle(now)
	if due.IsZero() {
		return s.r.Next(ctx)
	}
	until, cancel := context.WithDeadline(ctx, due)
	defer cancel()
	e, err := s.r.Next(until)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil, nil
	}
	return e, err
}

// take moves events of the rest into the load, and reports whether it is full.
func (s *shipper) take() bool {
	l := &s.load
	for len(s.rest) > 0 {
		if len(l.ends) >= s.q.o.batchMax || len(l.lines) >= s.q.o.batchBytes {
			return true
		}
		rest, err := event.Decode(s.rest, &s.event)
		if err != nil { // its checksum was right: what follows in the entry is skipped as lost
			s.q.o.Log.Error("an event of the queue does not decode", "sequence", s.next, "error", err)
			s.rest = nil
			return false
		}
		var cut bool
		if l.lines, cut = s.enc.line(l.lines, &s.event, s.received); cut {
			s.q.cut.Add(1)
		}
		l.ends = append(l.ends, len(l.lines))
		l.received = append(l.received, s.received)
		s.rest = rest
		s.next++
	}
	return false
}

// ship sends the load, until all of it is confirmed.
func (s *shipper) ship(ctx context.Context) error {
	q, l := s.q, &s.load
	for l.left() > 0 {
		n := l.fitting(s.limit)
		s.began = time.Now()
		done, bad := s.post(ctx, n)
		if q.looped.Load() {
			return ErrLoop
		}
		if done > 0 {
			s.wait = 0
			s.confirm(done)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		q.settle(time.Now())
		if bad == nil {
			s.recovered()
			continue
		}
		q.retry(bad.cause)
		if bad.cause == causeTooLarge {
			s.halve(n, done, bad.err)
			continue
		}
		if s.since.IsZero() {
			s.since = time.Now()
		}
		if q.complain(bad.cause, "events cannot be forwarded; they are kept, and sent again", bad.err) {
			s.told = true
		}
		if err := sleep(ctx, s.pause(bad)); err != nil {
			return err
		}
	}
	return nil
}

// confirm notes that the server is done with the first n events of the load.
func (s *shipper) confirm(n int) {
	l := &s.load
	l.done += n
	l.first += uint64(n)
	s.q.acknowledged.Add(int64(n))
	s.q.confirm(l.first-1, l.received[l.done-1])
}

// recovered notes that a request went well.
func (s *shipper) recovered() {
	if s.good++; s.limit > 0 && s.good >= regrow {
		if s.good, s.limit = 0, 2*s.limit; s.limit > s.q.o.batchBytes {
			s.limit = 0
		}
	}
	if s.told {
		s.q.o.Log.Info("the server takes events again", "url", s.q.endpoint, "after", time.Since(s.since).Round(time.Second), "queued", s.q.queued())
	}
	s.since, s.told = time.Time{}, false
}

// halve makes requests smaller after one of n events was too large. A single event that is, is given up.
func (s *shipper) halve(n, done int, err error) {
	l := &s.load
	if done > 0 { // the rest is smaller already
		return
	}
	size := len(l.text(n))
	if n > 1 {
		s.limit, s.good = max(size/2, 1), 0
		return
	}
	s.q.rejected.Add(1)
	s.q.o.Log.Error("the server refuses an event as too large; it is lost. Raise limits.body there, or what a proxy before it allows",
		"sequence", l.first, "bytes", size, "error", s.q.redact(err))
	s.confirm(1)
}

// pause is how long to wait after trouble.
func (s *shipper) pause(bad *trouble) time.Duration {
	wait := bad.wait
	if wait == 0 {
		s.wait = min(max(2*s.wait, backoffFirst), backoffMost)
		return s.wait/2 + rand.N(s.wait/2+1) // many agents must not come back together
	}
	return wait + rand.N(wait/10+1)
}

// trouble is why a request must be made again.
type trouble struct {
	cause string
	err   error
	wait  time.Duration // as the answer says; 0: backoff
}

// answer is what the API answers.
type answer struct {
	Accepted, Rejected int64
	Errors             []struct {
		Line    int64
		Message string
	}
	Error struct{ Code, Message, Mend string }
}

// post sends the first n events of the load. done is how many of them, from the first, the server is done with.
func (s *shipper) post(ctx context.Context, n int) (done int, bad *trouble) {
	q, l := s.q, &s.load
	lines := l.text(n)
	encoding := ""
	if len(lines) >= minPacked {
		encoding = "zstd"
		s.packed = q.packer.EncodeAll(lines, s.packed[:0])
	} else {
		s.packed = append(s.packed[:0], lines...)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, q.endpoint, bytes.NewReader(s.packed))
	if err != nil {
		return 0, &trouble{cause: causeUnexpected, err: err}
	}
	r.Header.Set("Authorization", "Bearer "+q.o.Token)
	r.Header.Set("Content-Type", "application/x-ndjson")
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	r.Header.Set("User-Agent", "lookout-forward")
	r.Header.Set("Lookout-Producer", q.producer)
	r.Header.Set("Lookout-First-Sequence", strconv.FormatUint(l.first, 10))
	r.Header["Idempotency-Key"] = nil // is not sent: package http may repeat the request on another connection
	q.requests.Add(1)
	q.sent.Add(int64(n))
	q.sentBytes.Add(int64(len(s.packed)))
	status, header, body, err := q.do(r)
	if status != http.StatusOK {
		s.packed = nil // package http may still be reading it
	}
	if err != nil {
		return 0, &trouble{cause: causeNetwork, err: err}
	}
	return s.judge(n, status, header, body)
}

// do makes a request and reads its answer.
func (q *Queue) do(r *http.Request) (status int, header http.Header, body []byte, err error) {
	resp, err := q.client.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, nil, fmt.Errorf("reading the answer of %s: %w", q.endpoint, err)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// judge says what an answer to n events means.
func (s *shipper) judge(n, status int, header http.Header, body []byte) (done int, bad *trouble) {
	q := s.q
	var a answer
	ours := json.Unmarshal(body, &a) == nil && a.Accepted >= 0 && a.Rejected >= 0 && a.Accepted <= int64(n) && a.Rejected <= int64(n) &&
		a.Accepted+a.Rejected <= int64(n) && (status == http.StatusOK || a.Error.Code != "")
	if ours {
		done = int(a.Accepted + a.Rejected)
		if a.Rejected > 0 {
			s.reject(&a)
		}
	}
	if done == n { // also 400: none of the lines could be read
		return done, nil
	}
	said := fmt.Sprintf("%s answers %d %s", q.endpoint, status, http.StatusText(status))
	if ours && a.Error.Message != "" {
		said += ": " + a.Error.Message
		if a.Error.Mend != "" {
			said += "; " + a.Error.Mend
		}
	}
	err := errors.New(said)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return done, &trouble{causeUnauthorized, fmt.Errorf("%w; give the agent a token of this server that may write", err), retryDenied}
	case status == http.StatusRequestEntityTooLarge:
		return done, &trouble{cause: causeTooLarge, err: err}
	case status == http.StatusTooManyRequests:
		return done, &trouble{causeBusy, err, retryAfter(header)}
	case status == http.StatusServiceUnavailable:
		return done, &trouble{causeFull, err, retryAfter(header)}
	case status >= 500, status == http.StatusRequestTimeout:
		return done, &trouble{causeServer, err, retryAfter(header)}
	case status >= 300 && status < 400:
		err = fmt.Errorf("%w to %q, which is not followed: the token is for this address alone; set the URL to the server's own", err, header.Get("Location"))
	case !ours || status == http.StatusOK:
		err = fmt.Errorf("%w, which is not what lookout answers; is this a lookout server's address?", err)
	}
	return done, &trouble{cause: causeUnexpected, err: err}
}

// reject counts the lines that the server could not read.
func (s *shipper) reject(a *answer) {
	s.q.rejected.Add(a.Rejected)
	why, at := "", s.load.first
	if len(a.Errors) > 0 {
		why = a.Errors[0].Message
		at += uint64(max(a.Errors[0].Line, 1)) - 1
	}
	s.q.o.Log.Error("the server could not read some events; they are lost", "events", a.Rejected, "first", at, "error", s.q.redact(errors.New(why)))
}

// retryAfter is what the header asks for: seconds, or a date. 0 when it asks for nothing.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), int(retryMost/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), retryMost)
	}
	return 0
}

// sleep waits, not at all when d is not positive.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
