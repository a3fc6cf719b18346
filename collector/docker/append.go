package docker

import (
	"context"
	"errors"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	firstWait = 100 * time.Millisecond
	longWait  = 10 * time.Second
	// complainEvery is the least time between two lines of our log about the same trouble.
	complainEvery = time.Minute
)

// append offers a batch until the sink has it: nobody else has its events, or its count. The error is ctx's.
func (in *Input) append(ctx context.Context, b *event.Batch) error {
	wait := firstWait
	for {
		err := in.o.Sink.Append(ctx, b)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		in.stats.waits.Add(1)
		pause := wait
		var p collector.Pressure
		if errors.As(err, &p) {
			pause = min(max(p.RetryAfter(), 10*time.Millisecond), longWait)
		} else {
			wait = min(2*wait, longWait)
			in.complain("sink", "docker: the events could not be stored; they are offered again", "error", err)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// complain logs a warning unless one of the same kind was logged lately.
func (in *Input) complain(kind, message string, args ...any) {
	now := time.Now()
	in.mu.Lock()
	last, ok := in.complained[kind]
	if ok = !ok || now.Sub(last).Abs() >= complainEvery; ok {
		in.complained[kind] = now
	}
	in.mu.Unlock()
	if ok {
		in.o.Log.Warn(message, args...)
	}
}

// sleep waits and reports false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backoff grows from one wait to the next.
type backoff struct{ wait, first, longest time.Duration }

func (b *backoff) next() time.Duration {
	b.wait = min(max(2*b.wait, b.first), b.longest)
	return b.wait
}

func (b *backoff) reset() { b.wait = 0 }
