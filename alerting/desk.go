package alerting

import (
	"cmp"
	"context"
	"sync"
	"time"
)

// desk knows, for each channel, which incidents its messages are behind of in nothing but the count, which the budget kept
// from it, and of which it is told again. It is made from the incidents, so nothing of it is written: who is killed looks again.
type desk struct {
	mu    sync.Mutex
	stale map[string]map[string]pending // by channel and key of the incident
	held  map[string]map[string]pending
	again map[string]map[string]pending
	news  map[string]bool // channels that have something new to look at
}

// pending is what a channel may be shown when nothing else is to be done.
type pending struct {
	rank int
	// since is when the message was brought up to date, the incident was held, or people were told, ns, and pause how long
	// it is from then on, 0 for what the channel's limits say.
	since int64
	pause time.Duration
	// goesOn is true when it has happened again since the flood, rule when this rule can end it.
	goesOn bool
	rule   string
}

// takeNews returns the channels that have something new to look at, once.
func (k *desk) takeNews() map[string]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	news := k.news
	k.news = nil
	return news
}

// note looks at an incident as it is stored now.
func (k *desk) note(key string, inc *incident, window time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stale == nil {
		k.stale, k.held, k.again = map[string]map[string]pending{}, map[string]map[string]pending{}, map[string]map[string]pending{}
	}
	set := func(m map[string]map[string]pending, channel string, p pending, there bool) {
		old, was := m[channel][key]
		switch {
		case !there && was:
			delete(m[channel], key)
		case there:
			if m[channel] == nil {
				m[channel] = map[string]pending{}
			}
			m[channel][key] = p
			if !was || p.goesOn && !old.goesOn || p.since+int64(p.pause) < old.since+int64(old.pause) {
				if k.news == nil {
					k.news = map[string]bool{}
				}
				k.news[channel] = true
			}
		}
	}
	for i := range inc.To {
		d := &inc.To[i]
		p := pending{rank: rank(inc.Severity), since: d.CountedAt}
		set(k.stale, d.Channel, p, d.stale(inc))
		p.since, p.goesOn = d.Held, inc.Last-d.Held > int64(window)
		if named(inc.Fingerprint) {
			p.rule = inc.Rule
		}
		set(k.held, d.Channel, p, d.waits(inc) && (p.goesOn || p.rule != ""))
		set(k.again, d.Channel, pending{rank: rank(inc.Severity), since: d.RangAt, pause: time.Duration(d.Every)}, d.reminds(inc))
	}
}

// forget drops an incident.
func (k *desk) forget(key string, inc *incident) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, d := range inc.To {
		delete(k.stale[d.Channel], key)
		delete(k.held[d.Channel], key)
		delete(k.again[d.Channel], key)
	}
}

// nextStale returns the incident whose count is edited next in a channel, the worst first, then the one that was not for
// longest, and in how long that is due; there may be none.
func (k *desk) nextStale(channel string, pause time.Duration, now int64) (key string, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return first(k.stale[channel], now, pause, func(pending) bool { return true })
}

// nextHeld is the incident that the budget kept from a channel and that still goes on, as nextStale.
func (k *desk) nextHeld(channel string, window time.Duration, now int64, takes func(rank int) bool, resolves func(rule string) bool) (key string, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return first(k.held[channel], now, window, func(p pending) bool {
		return takes(p.rank) && (p.goesOn || p.rule != "" && resolves(p.rule))
	})
}

// nextAgain is the incident of which a channel is told again, as nextStale.
func (k *desk) nextAgain(channel string, now int64) (key string, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return first(k.again[channel], now, 0, func(pending) bool { return true })
}

func first(m map[string]pending, now int64, pause time.Duration, ok func(pending) bool) (key string, wait time.Duration) {
	var best pending
	wait = idle
	for k, p := range m {
		if !ok(p) {
			continue
		}
		if left := remains(cmp.Or(p.pause, pause), p.since, now); left > 0 {
			wait = min(wait, left)
			continue
		}
		if key == "" || cmp.Or(cmp.Compare(p.rank, best.rank), cmp.Compare(p.since, best.since), cmp.Compare(k, key)) < 0 {
			key, best = k, p
		}
	}
	return key, wait
}

// stale tells whether the message shows how things stand, but not how often it has happened by now. Only messages with a
// thread are edited for that: others would come anew.
func (d *destination) stale(inc *incident) bool {
	return d.Receipt.Thread && !d.Fixed && inc.State != Resolved && inc.Muted == nil && inc.Count > d.Counted && d.next(inc) == nothing
}

// waits tells whether the budget kept it from being told, and it would be told now.
func (d *destination) waits(inc *incident) bool {
	return d.Held != 0 && d.Told == 0 && inc.State == Firing && inc.Muted == nil
}

// revive tells this channel of an incident that the budget kept from it.
func (s *sender) revive(ctx context.Context, key string) error {
	return s.ring(ctx, "telling what was held", key, func(_ *application, inc *incident, d *destination) {
		if d.waits(inc) {
			d.Held, d.Ring = 0, max(inc.Rev, 1)
		}
	})
}

// remind tells this channel again of an incident that nobody has acknowledged.
func (s *sender) remind(ctx context.Context, key string) error {
	return s.ring(ctx, "telling again what nobody has acknowledged", key, func(a *application, inc *incident, d *destination) {
		if d.reminds(inc) {
			d.remind(inc)
			a.reminded++
		}
	})
}

func (s *sender) ring(ctx context.Context, what, key string, change func(*application, *incident, *destination)) error {
	return s.e.change(ctx, what, func(a *application) error {
		inc := a.incident([]byte(key))
		if inc == nil {
			return nil
		}
		if d := inc.to(s.channel); d != nil {
			change(a, inc, d)
			a.settleRing(inc, []string{s.channel})
		}
		return a.queue(inc)
	})
}
