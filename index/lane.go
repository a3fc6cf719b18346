package index

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// laneQuiet is how long nothing may have been appended before long searches have all cores.
const laneQuiet = time.Second

// lane lets no more workers of long searches work at once than there are cores, and while events come in one less; they take turns, job by
// job. More of them would take the places that Go has beside the cores too (docs/adr/0008-places.md), and then what waits for the network
// or the disk, ingest and tails first, is seen to each 10 ms only, at each step that a request takes (docs/adr/0011-a-lane.md).
type lane struct {
	cores    int          // 0: as many as searches have
	appended atomic.Int64 // when events last came, ns

	mu      sync.Mutex
	working int
	waiting []chan struct{} // closed when the worker may work; first come, first served
}

// enter waits until one more worker may work, and is false when its search has ended before. leave has to be called after true.
func (l *lane) enter(q *search) bool {
	turn := make(chan struct{})
	l.mu.Lock()
	l.waiting = append(l.waiting, turn)
	l.next()
	l.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-q.ctx.Done():
	case <-q.over:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return false
	}
	return true // its turn came at the same moment
}

// leave ends a worker's turn.
func (l *lane) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.working--
	l.next()
}

// next lets in who may work now.
func (l *lane) next() {
	places := cmp.Or(l.cores, cores)
	if time.Since(time.Unix(0, l.appended.Load())) < laneQuiet {
		places = max(1, places-1)
	}
	for l.working < places && len(l.waiting) > 0 {
		close(l.waiting[0])
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.working++
	}
}
