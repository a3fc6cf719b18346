package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

// costlySearches are what must not hold others up. Nothing rules out a block for them.
var costlySearches = []struct{ name, path string }{
	{"regex", "/api/v1/query?count=true&q=" + url.QueryEscape(`~"[a-f]+[0-9]+[a-f]+[0-9]*[xyz]"`)},
	{"groups", "/api/v1/stats?by=request_id&agg=count&top=10"},
	{"export", "/api/v1/query?order=oldest"},
}

// spans are the parts of a run: before, beside costly searches, after.
var spans = []string{"before", "costly", "after"}

// costly: searches that read everything, beside ingest and a tail.
func (b *bench) costly(dir string, n int, span time.Duration, clients, rate int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
		return err
	}
	if err := s.Restart(b.ctx); err != nil { // sealed
		return err
	}
	if err := s.Idle(b.ctx); err != nil {
		return err
	}
	events.rate = rate
	var acks, tails [3][]time.Duration
	for i, name := range spans {
		others := otherPrograms(s)
		stop := func() (map[string]int64, error) { return nil, nil }
		if name == "costly" {
			stop = b.searching(s, clients)
		}
		used := s.CPU()
		if acks[i], tails[i], err = b.beside(s, events, name, span); err != nil {
			return err
		}
		done, err := stop()
		if err != nil {
			return err
		}
		b.lines.Line("Costly/ack/span="+name, len(acks[i]), "p50-ns", float64(quantile(acks[i], 0.5)), "p99-ns", float64(quantile(acks[i], 0.99)))
		b.lines.Line("Costly/tail/span="+name, len(tails[i]), "p50-ns", float64(quantile(tails[i], 0.5)), "p99-ns", float64(quantile(tails[i], 0.99)))
		b.report("costly: "+name, "ack p50 %.1f ms, p99 %.1f ms, of %d bodies; tail p50 %.1f ms, p99 %.1f ms, of %d events; %.0f %% of a core, %.0f %% of the machine by other programs; searches %v",
			ms(quantile(acks[i], 0.5)), ms(quantile(acks[i], 0.99)), len(acks[i]), ms(quantile(tails[i], 0.5)), ms(quantile(tails[i], 0.99)), len(tails[i]),
			100*(s.CPU()-used).Seconds()/span.Seconds(), others(), done)
	}
	ratio := func(walls [3][]time.Duration, q float64) float64 {
		return float64(quantile(walls[1], q)) / float64(max(quantile(walls[0], q), quantile(walls[2], q), 1))
	}
	b.report("costly: ratio", "to the worse of before and after: ack p50 %.2f, p99 %.2f (goal 2), tail p50 %.2f, p99 %.2f (goal 2)",
		ratio(acks, 0.5), ratio(acks, 0.99), ratio(tails, 0.5), ratio(tails, 0.99))
	return nil
}

// beside measures the answers to bodies at the feed's rate, and a tail, for a span.
func (b *bench) beside(s *peer.Lookout, events *feed, name string, span time.Duration) (acks, tails []time.Duration, err error) {
	var over atomic.Bool
	var sendErr error
	var sending sync.WaitGroup
	sending.Go(func() { acks, sendErr = b.paced(s, events, &over) })
	begin := time.Now()
	tails, err = b.latencies(s, name, func(int) bool { return time.Since(begin) < span })
	over.Store(true)
	sending.Wait()
	return acks, tails, errors.Join(err, sendErr)
}

// searching has so many clients search without pause; stop ends them, and says how many searches of each kind came to their end and how
// many were told to come again.
func (b *bench) searching(s *peer.Lookout, clients int) (stop func() (map[string]int64, error)) {
	ctx, cancel := context.WithCancel(b.ctx)
	var mu sync.Mutex
	done := map[string]int64{}
	var failed error
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for k := i; ctx.Err() == nil; k++ {
				c := &costlySearches[k%len(costlySearches)]
				what, err := b.searchOnce(ctx, s, c.path)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				if err != nil {
					failed = errors.Join(failed, fmt.Errorf("%s: %w", c.name, err))
					mu.Unlock()
					return
				}
				done[c.name+what]++
				mu.Unlock()
			}
		})
	}
	return func() (map[string]int64, error) {
		cancel()
		all.Wait()
		return done, failed
	}
}

// searchOnce reads the answer to a search to its end. A refusal, and an end by a deadline, are what is to be expected.
func (b *bench) searchOnce(ctx context.Context, s *peer.Lookout, path string) (what string, err error) {
	resp, err := s.Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return "", nil
	case http.StatusTooManyRequests, http.StatusGatewayTimeout:
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		return " " + resp.Status, nil
	}
	return "", errors.New(resp.Status)
}

// firsts is how often each first byte is measured.
const firsts = 20

// first: how soon an answer begins.
func (b *bench) first(dir string, n int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	needle := ""
	events.edit = func(i int64, body []byte, at int) []byte {
		if needle == "" && i >= int64(n)/2 {
			if id := requestID.FindSubmatch(body[at:]); id != nil {
				needle = string(id[1])
			}
		}
		return body
	}
	if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
		return err
	}
	if needle == "" {
		return errors.New("no event behind the middle has a request_id")
	}
	if err := s.Restart(b.ctx); err != nil {
		return err
	}
	if err := s.Idle(b.ctx); err != nil {
		return err
	}
	for _, q := range []struct{ name, query string }{{"a common word", "error"}, {"everything", "*"}, {"a needle", needle}, {"a needle by field", "request_id:" + needle}} {
		for _, order := range []string{"oldest", "newest"} {
			var grep, request []time.Duration
			for range firsts {
				args := []string{"grep", "--all", "-o", "raw", q.query}
				if order == "newest" {
					args = append(args, "-r")
				}
				wall, err := b.firstOfGrep(s, args)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", q.name, order, err)
				}
				grep = append(grep, wall)
				if wall, err = b.firstOfRequest(s, "/api/v1/query?order="+order+"&q="+url.QueryEscape(q.query)); err != nil {
					return fmt.Errorf("%s, %s: %w", q.name, order, err)
				}
				request = append(request, wall)
			}
			b.lines.Line("First/grep/"+q.name+"/"+order, 1, "ns/op", float64(quantile(grep, 0.5)))
			b.lines.Line("First/http/"+q.name+"/"+order, 1, "ns/op", float64(quantile(request, 0.5)))
			b.report("first byte: "+q.name+", "+order, "grep %.1f ms, at most %.1f (goal 50); HTTP %.1f ms, at most %.1f; of %d events", ms(quantile(grep, 0.5)), ms(quantile(grep, 1)),
				ms(quantile(request, 0.5)), ms(quantile(request, 1)), n)
		}
	}
	return nil
}

// firstOfGrep is the time from the start of a command to the first byte of its output. The command is ended then.
func (b *bench) firstOfGrep(s *peer.Lookout, args []string) (time.Duration, error) {
	cmd := s.Command(b.ctx, args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = io.ReadFull(out, make([]byte, 1))
	wall := time.Since(begin)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	return wall, err
}

// firstOfRequest is the time from dialling to the first byte of an answer's body.
func (b *bench) firstOfRequest(s *peer.Lookout, path string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL()+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+s.Token())
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	begin := time.Now()
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, errors.New(resp.Status)
	}
	_, err = io.ReadFull(resp.Body, make([]byte, 1))
	return time.Since(begin), err
}
