package alerting

import (
	"sync"
	"time"
)

// limiter is a token bucket: burst at once, then one each every.
type limiter struct {
	every time.Duration
	burst int

	mu   sync.Mutex
	next time.Time // when the bucket is full again
}

// reserve takes a token and returns how long to wait for it.
func (l *limiter) reserve(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Nobody holds a minute of tokens: the clock was set back.
	if l.next.Before(now) || l.next.Sub(now) > time.Duration(l.burst)*l.every+time.Minute {
		l.next = now
	}
	wait := l.next.Sub(now) - time.Duration(l.burst-1)*l.every
	l.next = l.next.Add(l.every)
	return max(wait, 0)
}
