package index

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/lookoutlog/lookout/internal/event"
)

// MaxServices is how many services have events of their own. It protects memory and the answers against a sender that puts
// an id into the service's name.
const MaxServices = 10_000

// TooManyServices is the service of the events of further ones; the name they came with is in their field service_.
const TooManyServices = "too-many-services"

// names is the set of services. Every event asks, so that what is known is read without a lock; new names wait in fresh
// until it is worth to copy the set.
type names struct {
	known atomic.Pointer[map[string]struct{}]
	mu    sync.Mutex
	fresh map[string]struct{}
}

// admit tells whether a service is in the set, which takes it in while there is room.
func (n *names) admit(service []byte) bool {
	if known := n.known.Load(); known != nil {
		if _, ok := (*known)[string(service)]; ok {
			return true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := map[string]struct{}{}
	if p := n.known.Load(); p != nil {
		known = *p
	}
	_, old := known[string(service)]
	_, fresh := n.fresh[string(service)]
	switch {
	case old || fresh:
		return true
	case len(known)+len(n.fresh) >= MaxServices:
		return string(service) == TooManyServices
	case n.fresh == nil:
		n.fresh = map[string]struct{}{}
	}
	n.fresh[string(service)] = struct{}{}
	if len(known) < 1000 || len(n.fresh) > len(known)/8 {
		merged := maps.Clone(known)
		maps.Copy(merged, n.fresh)
		n.known.Store(&merged)
		clear(n.fresh)
	}
	return true
}

// overflow files an event under [TooManyServices] and says so, once.
func (s *Store) overflow(b *event.Batch, e *event.Event) {
	if s.stats.overflowed.Add(1) == 1 {
		s.o.Log.Error("there are too many services; the events of further ones are filed under one name", "limit", MaxServices,
			"service", TooManyServices, "first", string(e.Service))
	}
	b.AddField(e, event.Field{Name: []byte("service_"), Value: e.Service})
	e.Service = []byte(TooManyServices)
}
