package probe

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// apply makes the running targets the wanted ones. p.mu is held.
func (p *Prober) apply(wanted map[string]*target) {
	if p.ctx == nil || p.ended {
		return
	}
	for name, r := range p.runners {
		if wanted[name] == nil {
			r.remove()
		}
	}
	for name, t := range wanted {
		r := p.runners[name]
		if r == nil {
			r = p.newRunner(name)
		}
		r.set(t)
	}
	p.roster.settle(wanted)
}

// start begins with the targets that were Set before Run. p.mu is held.
func (p *Prober) start() {
	p.writers.Go(p.roster.run)
	wanted := map[string]*target{}
	for _, s := range p.sources {
		for _, t := range s.targets {
			if wanted[t.Name] == nil {
				wanted[t.Name] = t
			}
		}
	}
	p.apply(wanted)
}

// runner is all that goes on for one name: one goroutine checks, one stores. It lives from the first Set with its name until
// its last event after its removal is stored, so that two never count for one producer.
type runner struct {
	p        *Prober
	name     string
	producer string

	mu      sync.Mutex
	target  *target // nil when it is not to be probed any more
	stop    context.CancelFunc
	stopped chan struct{} // closed when the goroutine that checks has ended
	state   state
	events  []event.Event // that wait to be stored
	changes int64         // of these, changes of state
	cursor  []byte        // the state behind them
	closed  bool

	wake chan struct{} // cap 1, for the writer
}

// newRunner goes on where the name's last event was stored. p.mu is held.
func (p *Prober) newRunner(name string) *runner {
	r := &runner{p: p, name: name, producer: "probe/" + name, stop: func() {}, stopped: make(chan struct{}), wake: make(chan struct{}, 1)}
	close(r.stopped)
	next, stored, ok := p.o.Sink.Producer(r.producer)
	if !ok {
		next = 1
	}
	if len(stored) > 0 {
		st, _, err := decodeCursor(name, stored)
		if err != nil {
			p.log.Warn("a probe begins anew", "error", err)
		}
		r.state = st
	}
	p.runners[name] = r
	p.writers.Go(func() { r.write(max(next, 1)) })
	return r
}

// set makes t what is probed. p.mu is held.
func (r *runner) set(t *target) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target != nil && r.target.same(t) {
		return
	}
	r.stop() // a check of the old target that is under way comes to nothing
	ctx, cancel := context.WithCancel(r.p.ctx)
	before, stopped := r.stopped, make(chan struct{})
	r.target, r.stop, r.stopped = t, cancel, stopped
	soon := r.state.undecided()
	r.p.probing.Go(func() {
		defer close(stopped)
		defer cancel()
		<-before
		r.probe(ctx, t, soon)
	})
}

// remove ends the probing; a target that was down is told as gone. p.mu is held.
func (r *runner) remove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target == nil {
		return
	}
	r.stop()
	r.gone(r.target)
	r.target = nil
	r.kick()
}

// gone tells that a target that was down is not probed any more, and forgets its state. r.mu is held.
func (r *runner) gone(t *target) {
	was := r.state
	r.state = state{}
	if was.status == down {
		e := changeEvent(r.p.o.Host, t, wentGone, time.Now(), &was, nil)
		r.put(e, true, t)
	}
}

func (r *runner) status() status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.status
}

// offset spreads the first checks of targets over their interval.
func offset(name string, every time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(name))
	return time.Duration(h.Sum64() % uint64(every))
}

// probe checks the target until ctx ends. soon is for a target whose state is to be decided.
func (r *runner) probe(ctx context.Context, t *target, soon bool) {
	within := min(t.Every, maxOffset)
	if soon {
		within = t.recheck()
	}
	due := time.Now().Add(offset(t.Name, within))
	phase := due
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case r.p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		r.p.lag.Add(int64(max(begin.Sub(due), 0)))
		r.p.inFlight.Add(1)
		res := r.p.check(ctx, t)
		r.p.inFlight.Add(-1)
		<-r.p.slots
		undecided, ok := r.checked(ctx, t, begin, res)
		if !ok {
			return
		}
		now := time.Now()
		if undecided {
			due = begin.Add(t.recheck())
			if due.Before(now) {
				due = now
			}
		} else {
			// The phase is kept, whatever re-checks were between.
			next := phase.Add((now.Sub(phase)/t.Every + 1) * t.Every)
			r.p.skipped.Add(int64(max(next.Sub(begin)-1, 0) / t.Every))
			due = next
		}
		timer.Reset(due.Sub(now))
	}
}

// checked takes a result into account. ok is false when the target was taken away meanwhile: its result counts for nothing.
func (r *runner) checked(ctx context.Context, t *target, begin time.Time, res *result) (undecided, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return false, false
	}
	r.p.checks.Add(1)
	if !res.ok {
		r.p.failures.Add(1)
	}
	c := r.state.step(begin, res.ok, t.periods())
	was := r.state
	if c == cameUp {
		r.state.settle()
	}
	if r.p.pending.Load() < int64(r.p.o.MaxPending) {
		r.put(resultEvent(r.p.o.Host, t, begin, &r.state, res), false, t)
		if r.p.dropping.CompareAndSwap(true, false) {
			r.p.log.Info("results of probes are stored again", "dropped", r.p.dropped.Load())
		}
	} else {
		r.p.dropped.Add(1)
		if r.p.dropping.CompareAndSwap(false, true) {
			r.p.log.Warn("the store takes no more results of probes: they are dropped, changes of state are kept", "waiting", r.p.o.MaxPending)
		}
	}
	if c != noChange {
		r.put(changeEvent(r.p.o.Host, t, c, begin, &was, res), true, t)
	}
	return r.state.undecided(), true
}

// put adds an event to those that wait. r.mu is held.
func (r *runner) put(e event.Event, isChange bool, t *target) {
	r.events = append(r.events, e)
	if isChange {
		r.changes++
	}
	r.p.pending.Add(1)
	r.cursor = r.state.encode(t)
	r.kick()
}

func (r *runner) kick() {
	select {
	case r.wake <- struct{}{}:
	default: // it has been told already
	}
}

// close ends the writer when all is stored.
func (r *runner) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.kick()
}

// write stores what was put, until the runner is closed or its target is gone and all is stored.
func (r *runner) write(next uint64) {
	for range r.wake {
		for {
			r.mu.Lock()
			batch := event.Batch{Producer: r.producer, FirstSeq: next, Cursor: r.cursor, Events: r.events}
			changes := r.changes
			r.events, r.changes = nil, 0
			closed := r.closed
			r.mu.Unlock()
			n := len(batch.Events)
			if n == 0 {
				if closed || r.p.forget(r) {
					return
				}
				break
			}
			if err := store(r.p, &batch); err != nil { // the time for draining is over
				r.mu.Lock()
				n += len(r.events)
				changes += r.changes
				r.mu.Unlock()
				r.p.pending.Add(-int64(n))
				r.p.dropped.Add(int64(n) - changes)
				r.p.log.Error("stopped with results of a probe not stored", "probe", r.name, "results", n, "error", err)
				return
			}
			r.p.pending.Add(-int64(n))
			next += uint64(n)
			r.p.transitions.Add(changes)
		}
	}
}

// forget lets a runner go whose target is gone and whose events are all stored.
func (p *Prober) forget(r *runner) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.target != nil || len(r.events) > 0 {
		return false
	}
	delete(p.runners, r.name)
	p.roster.kick()
	return true
}

// longest is the longest wait before a batch is offered again, whatever the sink asks for.
const longest = time.Minute

// store offers a counted batch until the sink has it or the time for draining is over. Offering it again does no harm,
// whether the sink has kept it or not.
func store(p *Prober, b *event.Batch) error {
	wait := 50 * time.Millisecond
	for {
		err := p.o.Sink.Append(p.drain, b)
		if err == nil || p.drain.Err() != nil {
			return err
		}
		pause := wait
		var pressure collector.Pressure
		if errors.As(err, &pressure) {
			pause = min(max(pressure.RetryAfter(), time.Millisecond), longest)
		} else {
			p.log.Warn("results of a probe could not be stored and are offered again", "producer", b.Producer, "wait", wait, "error", err)
			wait = min(2*wait, longest)
		}
		select {
		case <-time.After(pause):
		case <-p.drain.Done():
			return err
		}
	}
}
