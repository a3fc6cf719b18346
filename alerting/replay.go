package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Replay is an engine that holds events of the past against rules, with a clock that runs by the events' Received times: what it
// would have told, and when, comes out at once. It is the very [Engine], with its senders stepped one after the other in the place
// of goroutines, so that the same events give the same notifications each time. It is for one goroutine.
//
// Deliveries take no time and never fail, and nobody acknowledges anything.
type Replay struct {
	e        *Engine
	clock    *replayClock
	senders  []*sender
	due      map[*sender]int64 // when each has something to do, ns
	look     int64             // when the watcher has
	engine   int64             // and when the engine has, ns
	last     int64             // Received of the last event
	draining bool
	forgot   time.Time
}

// Notification is what a replay would have had delivered.
type Notification struct {
	At      time.Time
	Channel string
	Kind    NotificationKind
	Message Message
}

// NotificationKind is what people see of a notification.
type NotificationKind string

// The kinds of notifications.
const (
	Posted  NotificationKind = "message"
	Replied NotificationKind = "reply" // below a message, seen in the channel too
	Edited  NotificationKind = "edit"  // of a message: nobody is told
	Noted   NotificationKind = "note"  // in a message's thread: nobody is told
)

// NewReplay takes the options of an engine. DB is a state file of its own, which is empty; Source and Clock are not used. Of the
// Notifier it only asks which channels have threads. take gets every notification, in the order of time; of several at once those
// of one channel come in their order, and the channels by name.
func NewReplay(o Options, take func(Notification)) (*Replay, error) {
	r := &Replay{clock: &replayClock{}, due: map[*sender]int64{}}
	o.Notifier = &recording{of: o.Notifier, clock: r.clock, take: take}
	o.Clock, o.Source, o.Journal = r.clock, noEvents{}, nil
	e, err := New(o)
	if err != nil {
		return nil, err
	}
	e.oneTry = true
	e.start = func(s *sender) { r.senders = append(r.senders, s) }
	r.e = e
	return r, nil
}

// start sets the clock before the first event.
func (r *Replay) start(at time.Time) {
	r.clock.set(at.UnixNano())
	r.last = r.clock.now
}

// Feed holds the next events against the rules, in order of sequence, and delivers what becomes due before and with them.
// Received times that go backwards, after a clock that was set back, count as those before.
func (r *Replay) Feed(ctx context.Context, events []event.Event) error {
	for len(events) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		// What came together is held against the rules together, as it is live.
		n := 1
		for n < len(events) && events[n].Received == events[0].Received {
			n++
		}
		if r.last == 0 {
			r.start(time.Unix(0, events[0].Received))
		}
		r.last = max(r.last, events[0].Received)
		if err := r.pass(ctx, r.last); err != nil {
			return err
		}
		if err := r.e.decide(ctx, events[:n]); err != nil {
			return err
		}
		if err := r.tick(ctx, r.last); err != nil {
			return err
		}
		if r.e.elapsed(r.forgot, forgetEvery) {
			r.forgot = r.clock.Now()
			if err := r.e.forgetOld(ctx, r.last); err != nil {
				return err
			}
		}
		if err := r.pass(ctx, r.last); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

// Gap notes that events could not be read.
func (r *Replay) Gap(ctx context.Context, g *query.GapError) error {
	if err := r.e.skip(ctx, g); err != nil {
		return err
	}
	if err := r.tick(ctx, r.last); err != nil {
		return err
	}
	return r.pass(ctx, r.last)
}

// Until lets the time go on without events, with all that becomes due in it.
func (r *Replay) Until(ctx context.Context, t time.Time) error { return r.pass(ctx, t.UnixNano()) }

// Drain ends the replay: what is queued by now is delivered as it would be within d, and nothing else happens in it.
func (r *Replay) Drain(ctx context.Context, d time.Duration) error {
	r.draining = true
	return r.pass(ctx, r.clock.now+int64(d))
}

// Stats are those of the engine behind it.
func (r *Replay) Stats() (Stats, error) { return r.e.Stats() }

// pass lets the clock go on to a time, and does on the way what is due.
func (r *Replay) pass(ctx context.Context, to int64) error {
	r.wake()
	for {
		var next *sender
		for _, s := range r.senders {
			if due := r.due[s]; due <= to && (next == nil || due < r.due[next] || due == r.due[next] && strings.Compare(s.channel, next.channel) < 0) {
				next = s
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if tick := r.e.modes.nextTick(); !r.draining && tick <= to && tick <= r.look && tick <= r.engine && (next == nil || tick <= r.due[next]) {
			r.clock.set(tick)
			if err := r.e.tick(ctx); err != nil {
				return err
			}
			if err := r.tick(ctx, r.clock.now); err != nil {
				return err
			}
			continue
		}
		if at := r.engine; !r.draining && at <= to && at <= r.look && (next == nil || at <= r.due[next]) {
			if err := r.tick(ctx, at); err != nil {
				return err
			}
			continue
		}
		if !r.draining && r.look <= to && (next == nil || r.look <= r.due[next]) {
			r.clock.set(r.look)
			wait, err := r.e.watch(ctx)
			if err != nil {
				return fmt.Errorf("looking at what is silenced: %w", err)
			}
			r.look = r.clock.now + int64(max(wait, time.Second))
			r.wake()
			continue
		}
		if next == nil {
			r.clock.set(to)
			return nil
		}
		r.clock.set(r.due[next])
		wait, err := next.step(ctx, ctx)
		if err != nil {
			return fmt.Errorf("channel %s: %w", next.channel, err)
		}
		r.due[next] = r.clock.now + int64(max(wait, 0))
		r.wake()
	}
}

// tick has the engine do what is due at a time.
func (r *Replay) tick(ctx context.Context, at int64) error {
	r.clock.set(at)
	wait, err := r.e.due(ctx)
	r.engine = r.clock.now + int64(wait)
	r.wake()
	return err
}

// wake has those senders look for work at once who were told of some.
func (r *Replay) wake() {
	select {
	case <-r.e.watcher.woken:
		r.look = r.clock.now
	default:
	}
	for _, s := range r.senders {
		select {
		case <-s.woken:
			r.due[s] = r.clock.now
		default:
		}
	}
}

// replayClock stands still until it is set.
type replayClock struct{ now int64 }

func (c *replayClock) set(to int64) { c.now = max(c.now, to) }

func (c *replayClock) Now() time.Time { return time.Unix(0, c.now) }

// After ends at once: who asks for it in a replay would wait for a clock that it holds up itself.
func (c *replayClock) After(time.Duration) <-chan time.Time {
	over := make(chan time.Time, 1)
	over <- c.Now()
	return over
}

// noEvents is the source of an engine that is fed.
type noEvents struct{}

func (noEvents) LastSeq() uint64              { return 0 }
func (noEvents) Follow(uint64) query.Follower { panic("alerting: a replay is fed") }

// recording is the way out of a replay.
type recording struct {
	of    Notifier
	clock *replayClock
	take  func(Notification)
	sent  uint64
}

func (n *recording) note(kind NotificationKind, channel string, m Message) {
	m.Lines, m.Facts, m.Notes = slices.Clone(m.Lines), slices.Clone(m.Facts), slices.Clone(m.Notes)
	n.take(Notification{At: n.clock.Now(), Channel: channel, Kind: kind, Message: m})
}

// way is what a channel's messages go by.
func (n *recording) way(channel string) Notifier {
	if mux, ok := n.of.(interface{ Of(channel string) Notifier }); ok {
		return mux.Of(channel)
	}
	return n.of
}

// Send takes a message.
func (n *recording) Send(_ context.Context, channel string, m Message) (Receipt, error) {
	n.note(Posted, channel, m)
	n.sent++
	_, thread := n.way(channel).(Historian)
	return Receipt{Channel: channel, ID: fmt.Sprint(n.sent), Thread: thread}, nil
}

// Edit takes an edit. What has no threads, such as a pager, cannot edit what fires.
func (n *recording) Edit(_ context.Context, r Receipt, m Message) (Receipt, error) {
	if _, threads := n.way(r.Channel).(Replier); m.State == Firing && !threads {
		return r, errNoEdit
	}
	n.note(Edited, r.Channel, m)
	return r, nil
}

// Reply takes a reply, where there are threads.
func (n *recording) Reply(_ context.Context, r Receipt, m Message) error {
	if _, threads := n.way(r.Channel).(Replier); !threads {
		return errNoReply
	}
	n.note(Replied, r.Channel, m)
	return nil
}

// Note takes lines of history, which nobody is told.
func (n *recording) Note(_ context.Context, r Receipt, m Message) error {
	n.note(Noted, r.Channel, m)
	return nil
}

var errNoEdit = &DeliveryError{Class: EditRefused, Err: errors.New("the notifier cannot edit what fires")}
