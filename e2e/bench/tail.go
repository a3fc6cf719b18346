package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
	"github.com/lookoutlog/lookout/e2e/internal/tailsoak"
)

// tail: how soon after its answer an event is on the screen.
func (b *bench) tail(dir string) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	others := otherPrograms(s)
	if err := b.latency(s, "idle", 500); err != nil {
		return err
	}
	events := newFeed(longLoad)
	events.rate = 20_000
	ctx, stop := context.WithCancel(b.ctx)
	defer stop()
	loaded := make(chan error, 1)
	go func() { loaded <- s.InsertFrom(ctx, events.until(1<<40), 2) }()
	err = b.latency(s, "beside 20,000 events/s", 500)
	stop()
	if loadErr := <-loaded; err == nil && !errors.Is(loadErr, context.Canceled) {
		err = loadErr
	}
	b.report("tail: other programs", "took %.0f %% of the machine", others())
	return err
}

// latency sends so many events, one request each, and says how soon each was a line of a lookout tail.
func (b *bench) latency(s *peer.Lookout, when string, n int) error {
	walls, err := b.latencies(s, when, func(sent int) bool { return sent < n })
	if err != nil {
		return err
	}
	p50, p99 := quantile(walls, 0.5), quantile(walls, 0.99)
	for _, w := range walls {
		b.lines.Line("Tail/when="+when, 1, "ns/op", float64(w))
	}
	b.report("tail: answer to line, "+when, "p50 %.1f ms (goal 20), p99 %.1f ms (goal 100), at most %.1f ms, of %d events", ms(p50), ms(p99), ms(quantile(walls, 1)), n)
	return nil
}

// latencies sends events, one request each, as long as more says so of how many were sent, and returns how long after its answer
// each was a line of a lookout tail.
func (b *bench) latencies(s *peer.Lookout, when string, more func(sent int) bool) (walls []time.Duration, err error) {
	cmd := s.Command(b.ctx, "tail", "-n", "0", "-q", "service:latency", "-o", "raw")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // it follows until then
		_ = cmd.Wait()
	}()
	type shown struct {
		text string
		at   time.Time
	}
	lines := make(chan shown, 100)
	go func() {
		defer close(lines)
		for r := bufio.NewScanner(out); r.Scan(); {
			lines <- shown{r.Text(), time.Now()}
		}
	}()
	send := func(text string) (answered time.Time, err error) {
		resp, err := s.Do(b.ctx, http.MethodPost, "/api/v1/events", fmt.Appendf(nil, `{"service":"latency","message":"%s"}`, text))
		if err != nil {
			return answered, err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return answered, fmt.Errorf("%s: %w", resp.Status, err)
		}
		return time.Now(), nil
	}
	// The tail has begun when it shows something.
	for begun := false; !begun; {
		if _, err := send("begin"); err != nil {
			return nil, err
		}
		select {
		case <-lines:
			begun = true
		case <-time.After(200 * time.Millisecond):
		}
	}
	for i := 0; more(i); i++ {
		time.Sleep(5*time.Millisecond + rand.N(30*time.Millisecond))
		text := fmt.Sprintf("event %d of %s", i, when)
		answered, err := send(text)
		if err != nil {
			return nil, err
		}
		for {
			l, ok := <-lines
			if !ok {
				return nil, errors.New("lookout tail has ended")
			}
			if strings.Contains(l.text, text) {
				walls = append(walls, max(0, l.at.Sub(answered)))
				break
			}
		}
	}
	return walls, nil
}

// tailSoak: nothing is lost silently.
func (b *bench) tailSoak(dir string, d time.Duration, tails, rate int) error {
	r, err := tailsoak.Run(b.ctx, tailsoak.Options{Binary: b.binary, Dir: filepath.Join(dir, "tails"), For: d, Rate: rate, Tails: tails, Report: b.report})
	if err != nil {
		return err
	}
	b.report("tail soak: tails", "%d, %d of them slow; %d skipped, at most %d read the store; %d connections made again", tails, r.Slow, r.SkippingTails, r.Behind, r.Reconnects)
	b.report("tail soak: sums", "%d events came, %d were told as skipped in %d ranges: all that match, each once and in order; %d ranges searched, all exact", r.Got, r.Skipped, r.Ranges, r.Checked)
	b.report("tail soak: lag", "at most %d events; caught up %.1f s after the last event", r.Lag, r.Drain.Seconds())
	b.report("tail soak: memory", "RssAnon at most %d MB (goal 300)", r.RSSAnon/1_000_000)
	b.lines.Line("TailSoak", int(r.Events), "cpu-ns/op", float64(r.CPU)/float64(r.Events), "peak-anon-B", float64(r.RSSAnon))
	return nil
}
