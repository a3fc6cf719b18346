package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// holdBatch is how many messages of a flood are counted away in one transaction.
	holdBatch = 500
	// idle is how long a sender sleeps with nothing to do, if nothing wakes it.
	idle = time.Hour
)

// sender delivers what waits for one channel, one message at a time.
type sender struct {
	e       *Engine
	channel string
	lane    *lane
	edits   *limiter // of all channels of its way
	woken   chan struct{}
	retried atomic.Bool // somebody asked for a try at once

	// Only the sender's goroutine uses these.
	notBefore time.Time
	backoff   time.Duration
	turn      time.Time // of its next call, when one is reserved
	reserved  bool
}

func newSender(e *Engine, channel string) *sender {
	return &sender{
		e: e, channel: channel, woken: make(chan struct{}, 1),
		edits: e.editsOf(channel),
		lane:  e.lanes.of(channel),
	}
}

func (s *sender) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// retry ends a pause.
func (s *sender) retry() {
	s.retried.Store(true)
	s.wake()
}

// run delivers until ctx ends; sendCtx ends somewhat later, for the message on its way.
func (s *sender) run(ctx, sendCtx context.Context) {
	for ctx.Err() == nil {
		wait, err := s.step(ctx, sendCtx)
		var stop *stopError
		switch {
		case errors.As(err, &stop):
			return
		case err != nil && ctx.Err() == nil:
			s.e.c.stateErrors.Add(1)
			s.e.log.Error("sending alerts stumbled over its state; it tries again", "channel", s.channel, "error", err)
			wait = s.e.limits.Park
		}
		if wait <= 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-s.woken:
		case <-s.e.clock.After(wait):
		}
	}
}

// plan is what a sender does next.
type plan struct {
	send     *queued       // an entry
	overview *overview     // or an overview
	critical bool          // which is that of what is critical
	refresh  string        // or brings the count of this incident up to date
	revive   string        // or tells this incident, which was held
	remind   string        // or tells this one again
	edit     bool          // which is an edit
	hold     bool          // or count away what the budget does not let through
	bury     *queued       // or take out what cannot be read
	why      error         // for bury
	wait     time.Duration // or wait, unless woken
}

// step does one thing and returns how long to wait for the next.
func (s *sender) step(ctx, sendCtx context.Context) (time.Duration, error) {
	if s.retried.Swap(false) {
		s.notBefore = time.Time{}
	}
	if wait := s.notBefore.Sub(s.e.clock.Now()); wait > 0 && wait <= 2*maxWait { // longer: the clock was set back
		return wait, nil
	}
	var p plan
	err := s.e.db.View(func(tx *bbolt.Tx) error {
		p = s.plan(tx, s.e.clock.Now().UnixNano())
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("reading the outbox: %w", err)
	case p.bury != nil:
		return 0, s.bury(ctx, p.bury, p.why)
	case p.hold:
		return 0, s.hold(ctx)
	case p.revive != "":
		return 0, s.revive(ctx, p.revive)
	case p.remind != "":
		return 0, s.remind(ctx, p.remind)
	case p.send == nil && p.overview == nil && p.refresh == "":
		return p.wait, nil
	}
	if wait := s.reserve(s.e.clock.Now()); wait > 0 {
		return wait, nil
	}
	if p.edit {
		if wait := s.edits.take(s.e.clock.Now()); wait > 0 {
			return wait, nil // another channel was faster; the place among the calls is kept
		}
	}
	s.reserved = false
	var parcel parcel
	switch {
	case p.overview != nil:
		parcel = &overviewParcel{s: s, critical: p.critical}
	case p.refresh != "":
		parcel = &refreshParcel{s: s, key: []byte(p.refresh)}
	case p.send.Kind == kindIncident:
		parcel = &incidentParcel{entryParcel: entryParcel{s: s, q: queued{key: p.send.key}}}
	default:
		parcel = &entryParcel{s: s, q: queued{key: p.send.key}}
	}
	return 0, s.deliver(ctx, sendCtx, parcel)
}

// reserve takes a place among the calls, unless it has one, and returns how long to wait for it. That is before an entry is
// marked: a kill while waiting makes no repeat. What is sent then is planned anew.
func (s *sender) reserve(now time.Time) time.Duration {
	if !s.reserved {
		s.turn, s.reserved = now.Add(max(s.lane.pace.reserve(now), s.e.workspace.reserve(now))), true
	}
	wait := s.turn.Sub(now)
	if wait > 2*maxWait { // the clock was set back
		return 0
	}
	return wait
}

// plan looks at the queue. What was begun is finished first, whatever the budget; then the worse or the older of the first
// alert and the first gathered message that is due; then what was held and goes on; then edits, the overviews, and counts.
func (s *sender) plan(tx *bbolt.Tx, now int64) plan {
	l := &s.e.limits
	alert, err := head(tx, s.channel, laneAlert)
	if err != nil {
		return plan{bury: alert, why: err}
	}
	each, err := head(tx, s.channel, laneEach)
	if err != nil {
		return plan{bury: each, why: err}
	}
	update, err := head(tx, s.channel, laneUpdate)
	if err != nil {
		return plan{bury: update, why: err}
	}
	for _, q := range [...]*queued{alert, each} {
		if q != nil && q.begun() {
			return plan{send: q}
		}
	}
	state := s.e.channelState(tx, s.channel)
	wait := idle
	later := func(d time.Duration) bool { // notes when something becomes due, and tells whether that is still to come
		if d > 0 {
			wait = min(wait, d)
		}
		return d > 0
	}
	var alertFree, eachFree bool
	var freeIn time.Duration
	if alert != nil {
		alertFree, _ = state.of(alert.Severity).free(l, now)
	}
	if each != nil {
		eachFree, freeIn = state.of(each.Severity).free(l, now)
	}
	switch {
	case alert != nil && !alertFree && state.Parked == nil && s.mayHold(tx, alert):
		return plan{hold: true}
	case each != nil && !eachFree && later(freeIn), each != nil && later(eachDue(tx, each, state, l, now)):
		each = nil
	}
	switch {
	case alert != nil && (each == nil || rank(alert.Severity) < rank(each.Severity) || alert.Created <= each.Created):
		return plan{send: alert}
	case each != nil:
		return plan{send: each}
	}
	takes := func(rank int) bool {
		b := &state.budget
		if rank == 0 {
			b = &state.Critical
		}
		free, in := b.free(l, now)
		return free || !later(in)
	}
	if alert == nil && state.Parked == nil {
		key, due := s.e.desk.nextHeld(s.channel, l.Window, now, takes, s.e.resolves)
		if key != "" {
			return plan{revive: key}
		}
		later(due)
		if key, due = s.e.desk.nextAgain(s.channel, now); key != "" {
			return plan{remind: key}
		}
		later(due)
	}
	noEdit := s.edits.peek(time.Unix(0, now))
	if update != nil {
		edits := s.needsEdit(tx, update)
		if !edits || !later(noEdit) {
			return plan{send: update, edit: edits}
		}
	}
	for _, critical := range [...]bool{true, false} {
		o := state.overviewOf(critical)
		if o != nil && o.total() > o.Shown && !later(remains(l.Overview, o.ShownAt, now)) {
			if edits := o.Receipt != (Receipt{}); !edits || !later(noEdit) {
				return plan{overview: o, critical: critical, edit: edits}
			}
		}
	}
	if update == nil {
		key, due := s.e.desk.nextStale(s.channel, l.Refresh, now)
		if key != "" && !later(noEdit) {
			return plan{refresh: key, edit: true}
		}
		later(due)
	}
	return plan{wait: wait}
}

// remains is what is left of a pause that began at a time, none when that lies in the future: then the clock was set
// back, and nothing must wait for it to come round again.
func remains(pause time.Duration, since, now int64) time.Duration {
	if since > now {
		return 0
	}
	return max(0, pause-time.Duration(now-since))
}

// eachDue is how long a gathered message still waits: for its time to gather, unless it is full and another is begun, and
// for its distance from the last one.
func eachDue(tx *bbolt.Tx, q *queued, state *channelState, l *Limits, now int64) time.Duration {
	distance := max(remains(l.Gather, state.LastEach, now), time.Duration(q.NotBefore-now))
	if length(tx, q.Channel, laneEach, 2) > 1 {
		return distance
	}
	return max(distance, remains(l.Gather, q.Created, now))
}

// free tells whether a new message may be posted now, and if not, in how long.
func (c *budget) free(l *Limits, now int64) (bool, time.Duration) {
	c.Posts = slices.DeleteFunc(c.Posts, func(t int64) bool { return remains(l.Window, t, now) == 0 })
	if len(c.Posts) < l.Budget {
		return true, 0
	}
	return false, remains(l.Window, c.Posts[len(c.Posts)-l.Budget], now)
}

// hold counts one more that is not shown, in a new overview when the last one is over and tells all.
func (c *budget) hold(rule string, now int64, window time.Duration) {
	o := c.Overview
	if o == nil || remains(window, o.Last, now) == 0 && o.Shown == o.total() {
		o = &overview{First: now, Held: map[string]int64{}}
		c.Overview = o
	}
	o.Last = now
	o.Held[rule]++
}

// mayHold tells whether an alert needs a new message that the budget may refuse: not an edit, and not one that replaces
// a message that is there no more.
func (s *sender) mayHold(tx *bbolt.Tx, q *queued) bool {
	if q.Kind == kindQuiet {
		return false // it is what keeps the channel readable
	}
	if q.Kind != kindIncident {
		return true
	}
	inc, d := s.find(tx, q)
	if d == nil {
		return true
	}
	how := d.next(inc)
	return how == reply || how == send && d.Told == 0
}

// needsEdit tells whether bringing a message up to date begins with an edit, not with a reply.
func (s *sender) needsEdit(tx *bbolt.Tx, q *queued) bool {
	inc, d := s.find(tx, q)
	return d != nil && d.next(inc) == edit
}

// find returns the incident that an entry is about, and this channel's view of it; nil when there is none.
func (s *sender) find(tx *bbolt.Tx, q *queued) (*incident, *destination) {
	inc := s.e.incident(tx, incidentKey(q.Rule, q.Fingerprint))
	if inc == nil {
		return nil, nil
	}
	return inc, inc.to(s.channel)
}

// settle puts an entry where it belongs now: among the alerts, among the edits, or away when all is told.
func (s *sender) settle(tx *bbolt.Tx, q *queued, inc *incident, d *destination) error {
	how := d.next(inc)
	update := how.quiet()
	if how != nothing && update == q.Update {
		return put(tx.Bucket(bucketOutbox), []byte(q.key), &q.entry)
	}
	if err := dequeue(tx, q.key, &q.entry); err != nil || how == nothing {
		return err
	}
	q.Update = update
	return enqueue(tx, q.key, &q.entry)
}

// hold takes alerts out of the queue that the budget does not let through, and counts them.
func (s *sender) hold(ctx context.Context) error {
	var held uint64
	err := s.e.update(ctx, "holding alerts back", func(tx *bbolt.Tx) error {
		now := s.e.clock.Now().UnixNano()
		state := s.e.channelState(tx, s.channel)
		n, told := uint64(0), map[tally]int64{}
		for ; n < holdBatch; n++ {
			q, err := head(tx, s.channel, laneAlert)
			if err != nil || q == nil || q.begun() || !s.mayHold(tx, q) {
				break // the next plan sees to it
			}
			b := state.of(q.Severity)
			if free, _ := b.free(&s.e.limits, now); free {
				break // the budget of what is critical is another one
			}
			if err := s.holdOne(tx, q, now); err != nil {
				return err
			}
			b.hold(q.Rule, now, s.e.limits.Window)
			told[tally{kind: tallyHeld, rule: q.Rule, channel: s.channel}]++
		}
		if err := s.e.addTallies(tx, now, told); err != nil {
			return err
		}
		held = n
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err == nil {
		s.e.c.held.Add(held)
		s.e.c.count(s.channel, func(c *channelCounts) { c.held += held })
	}
	return err
}

func (s *sender) holdOne(tx *bbolt.Tx, q *queued, now int64) error {
	inc, d := s.find(tx, q)
	if q.Kind != kindIncident || d == nil {
		return dequeue(tx, q.key, &q.entry)
	}
	d.hold(inc, now)
	if err := s.settle(tx, q, inc, d); err != nil {
		return err
	}
	return s.e.putIncident(tx, incidentKey(q.Rule, q.Fingerprint), inc)
}

// bury moves an entry that cannot be read to the dead letters: it must not block the others, nor keep its incident from
// speaking again.
func (s *sender) bury(ctx context.Context, q *queued, why error) error {
	err := s.e.update(ctx, "keeping a dead letter", func(tx *bbolt.Tx) error {
		lost := string(tx.Bucket(bucketOutbox).Get([]byte(q.key)))
		if err := dequeue(tx, q.key, &q.entry); err != nil {
			return err
		}
		now := s.e.clock.Now().UnixNano()
		key := []byte(strings.TrimSuffix(q.key, "|"+s.channel)) // of its incident, if it is about one
		if inc := s.e.incident(tx, key); inc != nil {
			if d := inc.to(s.channel); d != nil {
				d.came(inc, send, inc.view(), now, d.Receipt)
				if err := s.e.putIncident(tx, key, inc); err != nil {
					return err
				}
			}
		}
		return keepDead(tx, DeadLetter{
			Time: now, Key: q.key, Channel: s.channel, Title: "unreadable", Error: why.Error(), Text: lost,
		})
	})
	if err == nil {
		s.buried(q.Rule)
		s.e.log.Error("an alert became a dead letter", "channel", s.channel, "key", q.key, "error", why)
	}
	return err
}

// buried counts a message that became a dead letter.
func (s *sender) buried(rule string) {
	s.e.c.dead.Add(1)
	if s.e.isOwn(rule) {
		s.e.c.ownDead.Add(1)
	}
	s.e.c.count(s.channel, func(c *channelCounts) { c.dead++ })
}

func keepDead(tx *bbolt.Tx, d DeadLetter) error {
	b := tx.Bucket(bucketDead)
	n, err := b.NextSequence()
	if err != nil {
		return fmt.Errorf("numbering a dead letter: %w", err)
	}
	if n > maxDead {
		if err := b.Delete(orderKey(n - maxDead)); err != nil {
			return err
		}
	}
	return put(b, orderKey(n), d)
}
