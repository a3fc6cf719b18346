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

// take takes a token if there is one, and otherwise returns how long to wait until there may be.
func (l *limiter) take(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.wait(now)
	if wait == 0 {
		l.next = l.next.Add(l.every)
	}
	return wait
}

// peek is how long it takes until there is a token.
func (l *limiter) peek(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait(now)
}

// wait is peek, under the lock.
func (l *limiter) wait(now time.Time) time.Duration {
	// Nobody holds a minute of tokens: the clock was set back.
	if l.next.Before(now) || l.next.Sub(now) > time.Duration(l.burst)*l.every+time.Minute {
		l.next = now
	}
	return max(l.next.Sub(now)-time.Duration(l.burst-1)*l.every, 0)
}

// reserve takes a token and returns how long to wait for it.
func (l *limiter) reserve(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := l.wait(now)
	l.next = l.next.Add(l.every)
	return wait
}
