package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/internal/auth"
)

// gate lets so many searches run and so many wait, of which one client has a part only: a client is a token at an address.
// The next to run is of the client that has the fewest running, and of these the one that has waited longest.
type gate struct {
	most, queue int // that run, and that wait
	each        int // that wait of one client

	mu      sync.Mutex
	total   int // that run
	running map[string]int
	waiting []*waiter
}

// waiter is a search that waits; turn is closed when it is to run.
type waiter struct {
	client string
	turn   chan struct{}
}

func newGate(most, queue int) *gate {
	return &gate{most: most, queue: queue, each: max(queue-queue/4, 1), running: map[string]int{}}
}

// enter waits for a place; leave gives it back. The error is an *apiError at once when too many wait, or ctx's.
func (g *gate) enter(ctx context.Context, client string) (leave func(), err error) {
	leave = func() { g.leave(client) }
	w, err := g.line(client)
	if w == nil {
		return leave, err
	}
	select {
	case <-w.turn:
		return leave, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.waiting, w)
	if i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
	}
	g.mu.Unlock()
	if i < 0 { // its turn came at the same moment
		leave()
	}
	return nil, ctx.Err()
}

// line takes a place, or one in the queue.
func (g *gate) line(client string) (*waiter, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total < g.most {
		g.total++
		g.running[client]++
		return nil, nil
	}
	mine := 0
	for _, w := range g.waiting {
		if w.client == client {
			mine++
		}
	}
	switch {
	case len(g.waiting) >= g.queue:
		return nil, tooMany(fmt.Sprintf("%d searches run and %d wait, which is the most", g.total, len(g.waiting)))
	case mine >= g.each:
		return nil, tooMany(fmt.Sprintf("%d searches of this client run and %d wait, which is the most", g.running[client], mine))
	}
	w := &waiter{client: client, turn: make(chan struct{})}
	g.waiting = append(g.waiting, w)
	return w, nil
}

// leave gives a place back, to one that waits.
func (g *gate) leave(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.running[client]--; g.running[client] == 0 {
		delete(g.running, client)
	}
	if len(g.waiting) == 0 {
		return
	}
	next := 0
	for i, w := range g.waiting {
		if g.running[w.client] < g.running[g.waiting[next].client] {
			next = i
		}
	}
	w := g.waiting[next]
	g.waiting = slices.Delete(g.waiting, next, next+1)
	g.total++
	g.running[w.client]++
	close(w.turn)
}

// counts are how many run and how many wait.
func (g *gate) counts() (running, waiting int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total, len(g.waiting)
}

func tooMany(message string) *apiError {
	return &apiError{Status: http.StatusTooManyRequests, Code: "busy", Message: message, Mend: "try again in a moment, or raise limits.searches or limits.queue", RetryAfter: time.Second}
}

// addressKey is where the context of a request has the client's address.
type addressKey struct{}

// withAddress notes where a request comes from.
func withAddress(r *http.Request) *http.Request {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return r.WithContext(context.WithValue(r.Context(), addressKey{}, host))
}

// clientOf tells who asks: the token's name and the address.
func clientOf(ctx context.Context) string {
	host, _ := ctx.Value(addressKey{}).(string)
	return auth.From(ctx).Name + "@" + host
}
