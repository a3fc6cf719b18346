// Package fleet knows what runs now: the newest result of each probe, the newest measurement of each container, and how
// many events each service has sent. All of it comes from the events themselves, as they become durable: the pipe that
// brings logs brings the rest too, from this machine and from agents.
//
// # Use
//
//	f := fleet.New(fleet.Options{})
//	f.Prime(recent...)      // the last minutes' events of stream probe and stats, so that a restart shows the fleet at once
//	sink := f.Sink(store)   // what inputs append to
//	registry.MustRegister(f)
//	f.Probes(); f.Containers()
//
// # What it guarantees
//
// Only what the next sink has accepted is counted and shown; what a producer sends again is counted once. Memory is
// bounded whatever the events say: services beyond a limit count as "other", probes and containers beyond one are left
// out, long values are cut, values that are no sane numbers are left out; each is counted. Counting an event costs some
// nanoseconds and no allocation.
package fleet

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// Options may all be left out.
type Options struct {
	Clock    func() time.Time // nil: the system's
	Services int              // counted by name; further ones are "other" [10,000]
	Probes   int              // kept [10,000]
	Targets  int              // containers kept [10,000]
}

// Stale is how old the newest measurement of a container, or result of a probe, may be: then the container is forgotten
// and the probe's state is unknown. A probe that runs more rarely has three of its intervals.
const Stale = 5 * time.Minute

const (
	// forget is when a probe without results goes: its machine is off, or it was taken away while it was up, which nothing
	// tells. One that runs rarely has four of its intervals.
	forget = time.Hour
	// ahead is how far the time of an event may lie in the future and still be believed when an older one follows.
	ahead = time.Minute
)

// Fleet is safe for concurrent use.
type Fleet struct {
	now    func() time.Time
	counts counts

	mu         sync.Mutex
	probes     map[key]*probe
	containers map[key]*container
	maxProbes  int
	maxTargets int

	badValues, tooMany, nameless atomic.Uint64
}

// key names a probe or a container: two machines may have one of the same name.
type key struct{ host, name string }

// New returns an empty fleet.
func New(o Options) *Fleet {
	f := &Fleet{now: o.Clock, probes: map[key]*probe{}, containers: map[key]*container{}, maxProbes: o.Probes, maxTargets: o.Targets}
	if f.now == nil {
		f.now = time.Now
	}
	for _, n := range [...]*int{&o.Services, &f.maxProbes, &f.maxTargets} {
		if *n <= 0 {
			*n = 10_000
		}
	}
	f.counts.init(o.Services)
	return f
}

// Sink returns a sink that counts and looks at what next has accepted.
func (f *Fleet) Sink(next collector.Counted) collector.Counted { return &sink{f, next} }

type sink struct {
	f    *Fleet
	next collector.Counted
}

func (s *sink) Append(ctx context.Context, b *event.Batch) error {
	skip := 0
	if b.Producer != "" {
		// The next sink drops what it has already.
		if next, _, ok := s.next.Producer(b.Producer); ok && next > b.FirstSeq {
			skip = int(min(next-b.FirstSeq, uint64(len(b.Events))))
		}
	}
	if err := s.next.Append(ctx, b); err != nil {
		return err
	}
	events := b.Events[skip:]
	s.f.counts.add(events)
	for i := range events {
		if stream := events[i].Stream; len(stream) == 5 && isFleet(stream) {
			s.f.observe(&events[i], s.f.now().UnixNano())
		}
	}
	return nil
}

func (s *sink) Producer(name string) (next uint64, cursor []byte, ok bool) {
	return s.next.Producer(name)
}

func isFleet(stream []byte) bool { return string(stream) == "probe" || string(stream) == "stats" }

// Prime looks at events that were stored before, in any order. It counts none.
func (f *Fleet) Prime(events ...event.Event) {
	for i := range events {
		e := &events[i]
		if isFleet(e.Stream) {
			received := e.Received
			if received == 0 {
				received = f.now().UnixNano()
			}
			f.observe(e, received)
		}
	}
}

// observe takes what a probe or a container said about itself; received is in ns since the Unix epoch.
func (f *Fleet) observe(e *event.Event, received int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if string(e.Stream) == "stats" {
		f.measured(e, received)
		return
	}
	f.probed(e, received)
}

// seen is when an event is taken to have happened: not after it was received.
func seen(e *event.Event, received int64) int64 { return min(e.Time, received) }

// outdated tells whether an event of a time comes behind a newer one. A newer one that lies in the future is not believed:
// that clock has been put right since.
func (f *Fleet) outdated(time, newest int64) bool {
	return time < newest && newest <= f.now().Add(ahead).UnixNano()
}
