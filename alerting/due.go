package alerting

import (
	"container/heap"
	"context"
	"maps"
	"time"
)

// dueGrace is how long after a moment nothing is expected any more that was received before it.
const dueGrace = 2 * time.Second

// dueBatch is how many incidents are dealt with in one transaction.
const dueBatch = 200

// due does what time alone brings: incidents that are quiet for long enough end, those that flap are noticed again, and the
// week has its digest. It returns how long it is until the next. Time is what the events were received at, and the clock while the store has no
// more of them: an engine that lags behind ends nothing that goes on in what it is still to read.
func (e *Engine) due(ctx context.Context) (time.Duration, error) {
	for {
		now := e.evaluated()
		keys, wait := e.book.due(now, dueBatch, e.resolves)
		if len(keys) == 0 {
			e.wakeNews()
			e.wake(e.toWake)
			clear(e.toWake)
			// The clock comes to that moment later than the events do: it is dueGrace behind them.
			wait += time.Duration(max(0, now-e.clock.Now().Add(-dueGrace).UnixNano()))
			digest, err := e.digest(ctx)
			return min(wait, idle, max(digest, time.Millisecond)), err
		}
		channels, err := e.changeQuietly(ctx, "doing what is due", func(a *application) error {
			for _, key := range keys {
				if err := a.due(key, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		maps.Copy(e.toWake, channels)
	}
}

// evaluated is the time up to which all events are held against the rules, ns.
func (e *Engine) evaluated() int64 {
	now := e.received
	if e.position.Load() >= e.source.LastSeq() {
		now = max(now, e.clock.Now().Add(-dueGrace).UnixNano())
	}
	return now
}

// due does what is due for one incident.
func (a *application) due(key string, now int64) error {
	inc := a.incident([]byte(key))
	if inc == nil {
		a.e.book.remove(key)
		return nil
	}
	if a.lapse(inc, now, a.e.resolvable(inc)) {
		return a.queue(inc)
	}
	if inc.Damped != 0 && now >= inc.Damped {
		inc.rang(inc.Damped)
		a.ring(inc, inc.DampedTo)
		inc.Damped, inc.DampedTo = 0, nil
		return a.queue(inc)
	}
	return nil
}

// lapse ends an incident that nothing resolves and that was quiet for long enough before now.
func (a *application) lapse(inc *incident, now int64, resolvable bool) bool {
	end := inc.Last + int64(inc.quiet())
	if inc.State == Resolved || resolvable || now <= end {
		return false
	}
	inc.lapse(end)
	if inc.Rule != Service {
		a.tallies[tally{kind: tallyQuiet, rule: inc.Rule}]++
	}
	return true
}

// agenda is a queue of keys by time. A key may be in it several times: what counts is what the book says of it.
type agenda []appointment

type appointment struct {
	at  int64
	key string
}

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].key < a[j].key
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(appointment)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// due takes out the keys that are due at a time, at most so many, and tells how long it is until the next: idle at most.
func (b *book) due(now int64, most int, resolves func(rule string) bool) (keys []string, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.agenda) > 0 && len(keys) < most {
		first := b.agenda[0]
		s, known := b.m[first.key]
		switch {
		case !known || s.due == 0:
			heap.Pop(&b.agenda)
			if known {
				s.planned = 0
				b.m[first.key] = s
			}
		case first.at != s.planned: // an appointment that was moved forward
			heap.Pop(&b.agenda)
		case s.due > s.planned: // put off meanwhile
			s.planned = s.due
			b.m[first.key] = s
			b.agenda[0].at = s.due
			heap.Fix(&b.agenda, 0)
		case s.planned >= now:
			return keys, time.Duration(min(s.planned-now+1, int64(idle)))
		case s.rule != "" && resolves(s.rule) && (s.damped == 0 || s.damped >= now):
			// Its end is an event's; but the rule may change.
			s.due = now + int64(forgetEvery)
			if s.damped != 0 {
				s.due = s.damped
			}
			s.planned = s.due
			b.m[first.key] = s
			b.agenda[0].at = s.due
			heap.Fix(&b.agenda, 0)
		default:
			heap.Pop(&b.agenda)
			s.planned = 0
			b.m[first.key] = s
			keys = append(keys, first.key)
		}
	}
	return keys, idle
}

// plan notes when an incident has to be looked at. The caller holds the lock.
func (b *book) plan(key string, s *standing) {
	if s.due == 0 || s.planned != 0 && s.planned <= s.due {
		return // the appointment that is there comes first, and looks again
	}
	s.planned = s.due
	heap.Push(&b.agenda, appointment{s.due, key})
}
