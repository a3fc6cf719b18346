// Package tailsoak follows a real server with many live tails while events pour in, most of them read too slowly, and the
// server is stopped and killed meanwhile. Every tail must get, or be told that it does not get, each event that matches its
// query: exactly once, in order.
//
// Event i has sequence i+1 and is made so that arithmetic tells which queries it matches: nothing that the server says is
// taken for what it ought to say.
package tailsoak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
	"github.com/lookoutlog/lookout/sdk"
)

// Options configure a soak. All are needed but Report.
type Options struct {
	Binary, Dir string
	For         time.Duration // how long events come in, at the rate
	Rate        int           // events a second
	Tails       int
	Report      func(name, format string, args ...any)
}

// Result is what a soak that held its promises has seen.
type Result struct {
	Events        uint64
	Got, Skipped  uint64 // by all tails
	Ranges        int    // of what was skipped
	Checked       int    // ranges that a search was asked for
	Reconnects    int64
	CPU           time.Duration // of the server, while events came in
	Load          time.Duration // how long they came in
	Drain         time.Duration // until the last tail had caught up
	RSSAnon       int64         // the most, in bytes
	Lag           uint64        // the most, in events
	Behind, Slow  int           // the most tails that read the store; tails that read slowly
	Stops, Kills  int
	SkippingTails int
}

// A class is a query with the events that match it: those whose number modulo every is rest.
type class struct {
	query       string
	every, rest uint64
}

var classes = []class{{"*", 1, 0}, {"k:3", 10, 3}, {"service:s1", 20, 1}, {"level>=error", 50, 0}, {"needle", 100, 7}}

// count returns how many of the sequences above after up to to match.
func (c class) count(after, to uint64) uint64 {
	if to <= after {
		return 0
	}
	upTo := func(n uint64) uint64 { return (n + c.every - 1 - c.rest) / c.every } // of the events 0 to n-1
	return upTo(to) - upTo(after)
}

func (c class) has(seq uint64) bool { return (seq-1)%c.every == c.rest }

// appendEvent appends event i as a line.
func appendEvent(dst []byte, i uint64) []byte {
	level, word := "info", "request"
	if i%50 == 0 {
		level = "error"
	}
	if i%100 == 7 {
		word = "needle"
	}
	return fmt.Appendf(dst, `{"service":"s%d","level":"%s","host":"web-%d","k":%d,"status":%d,"message":"%s %d of customer %d took %d ms, upstream /api/orders/%x answered"}`+"\n",
		i%20, level, i%8, i%10, 200+i%3, word, i, i*7919%100_000, i*31%900, i*2654435761)
}

// account is what a tail got.
type account struct {
	class
	at            atomic.Uint64 // everything up to here is accounted for
	got, skipped  uint64
	ranges        []sdk.Skipped
	name          string
	reconnections atomic.Int64
}

// reach says that nothing that matches is between the last place and this one.
func (a *account) reach(seq uint64, what string) error {
	at := a.at.Load()
	if n := a.count(at, seq); n > 0 {
		return fmt.Errorf("%s: %d events between %d and %s %d are missing", a.name, n, at, what, seq)
	}
	if seq > at {
		a.at.Store(seq)
	}
	return nil
}

func (a *account) event(seq uint64) error {
	if at := a.at.Load(); seq <= at {
		return fmt.Errorf("%s: event %d came, and the place was %d", a.name, seq, at)
	}
	if !a.has(seq) {
		return fmt.Errorf("%s: event %d does not match %s", a.name, seq, a.query)
	}
	if err := a.reach(seq-1, "event"); err != nil {
		return err
	}
	a.got++
	a.at.Store(seq)
	return nil
}

func (a *account) skip(s sdk.Skipped) error {
	if at := a.at.Load(); s.After < at {
		return fmt.Errorf("%s: %+v was skipped, and the place was %d", a.name, s, at)
	}
	if err := a.reach(s.After, "what was skipped from"); err != nil {
		return err
	}
	if want := a.count(s.After, s.To); uint64(s.Events) != want || s.Incomplete {
		return fmt.Errorf("%s: %+v was skipped, these are %d events", a.name, s, want)
	}
	a.skipped += uint64(s.Events)
	a.ranges = append(a.ranges, s)
	a.at.Store(s.To)
	return nil
}

// slowly is a connection that is read a bit at a time, with pauses, until free is set.
type slowly struct {
	net.Conn
	burst, left int
	pause       time.Duration
	free        *atomic.Bool
}

func (c *slowly) Read(p []byte) (int, error) {
	if !c.free.Load() {
		if c.left <= 0 {
			for end := time.Now().Add(c.pause); time.Now().Before(end) && !c.free.Load(); {
				time.Sleep(20 * time.Millisecond)
			}
			c.left = c.burst
		}
		p = p[:min(len(p), max(c.left, 1))]
	}
	n, err := c.Conn.Read(p)
	c.left -= n
	return n, err
}

type soak struct {
	Options
	url, token string
	s          *peer.Lookout
	accounts   []*account
	free       atomic.Bool
	mu         sync.Mutex
	base       time.Duration // CPU time of the processes that have ended
}

// Run soaks, and returns an error for the first promise that was broken.
func Run(parent context.Context, o Options) (r Result, err error) {
	if o.Report == nil {
		o.Report = func(string, string, ...any) {}
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	ports, err := peer.FreePorts(1) // one that stays when the server is started again
	if err != nil {
		return r, err
	}
	s, err := peer.StartLookout(ctx, o.Binary, filepath.Join(o.Dir, "soak"), "LOOKOUT_HTTP=127.0.0.1:"+ports[0])
	if err != nil {
		return r, err
	}
	defer s.Stop()
	k := &soak{Options: o, s: s, url: s.URL(), token: s.Token()}

	var tails sync.WaitGroup
	tailing, stopTails := context.WithCancel(ctx)
	defer tails.Wait()
	defer stopTails()
	for i := range o.Tails {
		a, follow := k.tail(i, &r)
		k.accounts = append(k.accounts, a)
		tails.Go(func() {
			if err := follow(tailing); err != nil && tailing.Err() == nil {
				cancel(fmt.Errorf("%s: %w", a.name, err))
			}
		})
	}
	var watch sync.WaitGroup
	watching, stopWatch := context.WithCancel(ctx)
	defer watch.Wait()
	defer stopWatch()
	watch.Go(func() { k.watch(watching, &r) })

	begin := time.Now()
	made, err := k.load(ctx, &r)
	if err != nil {
		return r, errors.Join(err, context.Cause(ctx))
	}
	r.Events, r.Load = made, time.Since(begin)
	k.mu.Lock()
	r.CPU = k.base + k.s.CPU()
	k.mu.Unlock()
	o.Report("tail soak: load", "%d events in %.0f s, server %.1f CPU-s (%.0f %% of a core)", made, r.Load.Seconds(), r.CPU.Seconds(), 100*r.CPU.Seconds()/r.Load.Seconds())

	k.free.Store(true)
	begin = time.Now()
	last, moved := uint64(0), begin
	for {
		var behind []string
		sum := uint64(0)
		for _, a := range k.accounts {
			at := a.at.Load()
			if sum += at; a.count(at, made) > 0 {
				behind = append(behind, fmt.Sprintf("%s at %d of %d", a.name, at, made))
			}
		}
		if len(behind) == 0 {
			break
		}
		if sum > last {
			last, moved = sum, time.Now()
		}
		if time.Since(moved) > stuck {
			return r, fmt.Errorf("nothing came for %s, and events are missing: %s", stuck, strings.Join(behind, "; "))
		}
		select {
		case <-ctx.Done():
			return r, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.Drain = time.Since(begin)
	stopTails()
	tails.Wait()
	stopWatch()
	watch.Wait()
	return r, k.check(ctx, &r)
}

// stuck is for how long nothing may come while something is missing: longer than connections are given up for, and made again.
const stuck = time.Minute

// tail makes the tail of a number: one of three reads as fast as it can, every second over a WebSocket, every fourth two skip, and
// each class of queries in turn.
func (k *soak) tail(i int, r *Result) (*account, func(context.Context) error) {
	a := &account{class: classes[i%len(classes)]}
	socket, skip, slow := i%2 == 1, i/2%2 == 1, i%3 > 0
	a.name = fmt.Sprintf("tail %d (%s, socket %v, skip %v, slow %v)", i, a.query, socket, skip, slow)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil || !slow {
			return conn, err
		}
		_ = conn.(*net.TCPConn).SetReadBuffer(256 << 10) // much less, and TCP itself is what is slow
		pause := time.Duration(300+i*53%1700) * time.Millisecond
		bytes := 330 * float64(k.Rate) / float64(a.every) // a second, of what matches
		share := 0.85
		if skip {
			share = 0.2
		}
		return &slowly{Conn: conn, burst: 1 + int(share*bytes*pause.Seconds()), pause: pause, free: &k.free}, nil
	}
	if slow {
		r.Slow++
	}
	if socket {
		return a, func(ctx context.Context) error { return k.socket(ctx, a, skip, dial) }
	}
	return a, func(ctx context.Context) error { return k.lines(ctx, a, skip, dial) }
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// lines follows with the SDK.
func (k *soak) lines(ctx context.Context, a *account, skip bool, dial dialer) error {
	c, err := sdk.New(sdk.Options{URL: k.url, Token: k.token, HTTP: &http.Client{Transport: &http.Transport{DialContext: dial, ReadBufferSize: 32 << 10}}})
	if err != nil {
		return err
	}
	var failed error
	request := sdk.TailRequest{Query: a.query, After: new(uint64), OnReconnect: func(error, time.Duration) { a.reconnections.Add(1) }}
	if skip {
		request.OnSkip = func(s sdk.Skipped) { failed = firstOf(failed, a.skip(s)) }
	}
	for row, err := range c.Tail(ctx, request) {
		if err != nil {
			return err
		}
		seq, err := strconv.ParseUint(row.ID, 10, 64)
		if err == nil {
			err = a.event(seq)
		}
		if err = firstOf(failed, err); err != nil {
			return err
		}
	}
	return nil
}

func firstOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// socket follows over a WebSocket, as the page does, and connects again when it is lost.
func (k *soak) socket(ctx context.Context, a *account, skip bool, dial dialer) error {
	d := websocket.Dialer{NetDialContext: dial, ReadBufferSize: 32 << 10}
	slow := map[bool]string{false: "wait", true: "skip"}[skip]
	for ctx.Err() == nil {
		params := url.Values{"q": {a.query}, "slow": {slow}, "after": {strconv.FormatUint(a.at.Load(), 10)}}
		conn, resp, err := d.DialContext(ctx, "ws"+strings.TrimPrefix(k.url, "http")+"/api/v1/tail?"+params.Encode(), http.Header{"Authorization": {"Bearer " + k.token}})
		if err == nil {
			err = k.messages(ctx, a, conn)
		} else if resp != nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("%s: %w", resp.Status, err)
		} else {
			err = nil // the server is away
		}
		if err != nil {
			return err
		}
		a.reconnections.Add(1)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// messages reads a connection to its end; an error is a broken promise.
func (k *soak) messages(ctx context.Context, a *account, conn *websocket.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return nil
		}
		number := func(name string) uint64 {
			_, rest, _ := bytes.Cut(text, []byte(name))
			n := 0
			for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
				n++
			}
			v, _ := strconv.ParseUint(string(rest[:n]), 10, 64)
			return v
		}
		switch {
		case bytes.HasPrefix(text, []byte(`{"event":`)):
			err = a.event(number(`"id":"`))
		case bytes.HasPrefix(text, []byte(`{"position":`)):
			err = a.reach(number(`"sequence":`), "position")
		case bytes.HasPrefix(text, []byte(`{"skipped":`)):
			err = a.skip(sdk.Skipped{Events: int64(number(`"events":`)), After: number(`"after":`), To: number(`"to":`), Incomplete: bytes.Contains(text, []byte("complete"))})
		case bytes.Contains(text, []byte(`"stopping"`)):
		default:
			err = fmt.Errorf("%s: %s", a.name, text)
		}
		if err != nil {
			return err
		}
	}
}

// load sends events at the rate, or as fast as they are answered, in order, over one connection, as a producer that counts; what is
// not answered is sent again. Behind two fifths of them the server is stopped, behind seven tenths it is killed.
func (k *soak) load(ctx context.Context, r *Result) (made uint64, err error) {
	begin := time.Now()
	var lost []string
	var body []byte
	var down sync.WaitGroup
	defer down.Wait()
	var restarted error
	total := uint64(float64(k.Rate) * k.For.Seconds())
	for made < total {
		n := min(max(1, uint64(k.Rate/100)), total-made)
		due := begin.Add(time.Duration(float64(made+n) / float64(k.Rate) * float64(time.Second)))
		select {
		case <-ctx.Done():
			return made, context.Cause(ctx)
		case <-time.After(time.Until(due)):
		}
		body = body[:0]
		for i := range n {
			body = appendEvent(body, made+i)
		}
		switch {
		case r.Stops == 0 && made > total*2/5:
			r.Stops++
			down.Go(func() { restarted = k.restart(func() error { return k.s.Restart(ctx) }) })
		case r.Kills == 0 && made > total*7/10:
			r.Kills++
			down.Go(func() { restarted = k.restart(func() error { return k.s.Crash(ctx) }) })
		}
		for try := 0; ; try++ {
			if failed := k.send(ctx, body, made+1); failed == nil {
				break
			} else if ctx.Err() != nil || try > 600 {
				return made, errors.Join(failed, context.Cause(ctx))
			} else if len(lost) < 5 {
				lost = append(lost, failed.Error())
			}
			time.Sleep(50 * time.Millisecond)
		}
		down.Wait()
		if restarted != nil {
			return made, fmt.Errorf("starting the server again: %w", restarted)
		}
		made += n
	}
	k.Report("tail soak: restarts", "%d by SIGTERM, %d by SIGKILL; the loader met: %s", r.Stops, r.Kills, strings.Join(lost, "; "))
	return made, nil
}

func (k *soak) restart(restart func() error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.base += k.s.CPU()
	return restart()
}

var loader = &http.Client{Transport: &http.Transport{}, Timeout: 30 * time.Second}

func (k *soak) send(ctx context.Context, body []byte, first uint64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/api/v1/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+k.token)
	req.Header.Set("Lookout-Producer", "soak")
	req.Header.Set("Lookout-First-Sequence", strconv.FormatUint(first, 10))
	resp, err := loader.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, text)
	}
	return err
}

// watch notes what the server takes.
func (k *soak) watch(ctx context.Context, r *Result) {
	for i := 0; ctx.Err() == nil; i++ {
		if k.mu.TryLock() { // else it is being restarted
			r.RSSAnon = max(r.RSSAnon, k.s.RSSAnon())
			if i%10 == 0 {
				if m, err := k.s.Metrics(ctx); err == nil {
					r.Lag, r.Behind = max(r.Lag, uint64(m["lookout_tail_lag_events"])), max(r.Behind, int(m["lookout_tails_behind"]))
				}
			}
			k.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// checkedRanges is for how many ranges of a tail a search is asked; of the first one it is asked for the rows, too.
const checkedRanges = 20

// check compares the sums, and asks for what was skipped.
func (k *soak) check(ctx context.Context, r *Result) error {
	for _, a := range k.accounts {
		if want := a.count(0, r.Events); a.got+a.skipped != want {
			return fmt.Errorf("%s: %d came and %d were skipped, %d match", a.name, a.got, a.skipped, want)
		}
		r.Got, r.Skipped, r.Ranges, r.Reconnects = r.Got+a.got, r.Skipped+a.skipped, r.Ranges+len(a.ranges), r.Reconnects+a.reconnections.Load()
		if len(a.ranges) > 0 {
			r.SkippingTails++
		}
	}
	if n, err := k.s.Search(ctx, "*", "count=true"); err != nil || uint64(n) != r.Events {
		return fmt.Errorf("%d events were answered, %d are found: %w", r.Events, n, err)
	}
	c, err := sdk.New(sdk.Options{URL: k.url, Token: k.token})
	if err != nil {
		return err
	}
	for _, a := range k.accounts {
		step := max(1, len(a.ranges)/checkedRanges)
		for i := 0; i < len(a.ranges); i += step {
			s := a.ranges[i]
			q := sdk.QueryRequest{Query: a.query, AfterSequence: s.After, MaxSequence: s.To}
			sum, err := c.Count(ctx, q)
			if err != nil || sum.Matched != s.Events {
				return fmt.Errorf("%s: %+v was skipped, a search counts %d: %w", a.name, s, sum.Matched, err)
			}
			r.Checked++
			if i > 0 {
				continue
			}
			rows, err := c.Query(ctx, q)
			if err != nil {
				return err
			}
			var seqs []uint64
			for rows.Next() {
				seq, _ := strconv.ParseUint(rows.Row().ID, 10, 64)
				if seq <= s.After || seq > s.To || !a.has(seq) {
					return fmt.Errorf("%s: %+v was skipped, a search finds event %d", a.name, s, seq)
				}
				seqs = append(seqs, seq)
			}
			slices.Sort(seqs)
			if n := len(slices.Compact(seqs)); rows.Err() != nil || int64(n) != s.Events {
				return fmt.Errorf("%s: %+v was skipped, a search finds %d: %w", a.name, s, n, rows.Err())
			}
		}
	}
	return nil
}
