package alerting

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// asker asks the ways that ring whether somebody has acknowledged. What it asks about stands in the incidents; the list
// here only says when.
type asker struct {
	e     *Engine
	woken chan struct{}

	mu   sync.Mutex
	turn map[question]*turn
}

// question is about the message of an incident in a channel.
type question struct{ incident, channel string }

// turn is when a question is asked next, and the pause if that fails.
type turn struct {
	next  time.Time
	pause time.Duration
}

func newAsker(e *Engine) *asker {
	return &asker{e: e, woken: make(chan struct{}, 1), turn: map[question]*turn{}}
}

// add begins to ask, unless it does already.
func (a *asker) add(q question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turn[q] != nil {
		return
	}
	a.turn[q] = &turn{next: a.e.clock.Now().Add(a.e.limits.Poll), pause: a.e.limits.Poll}
	select {
	case a.woken <- struct{}{}:
	default:
	}
}

func (a *asker) drop(q question) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.turn, q)
}

// later puts a question off after an answer, or after a failure for longer each time.
func (a *asker) later(q question, err error) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.turn[q]
	if t == nil {
		return 0
	}
	poll := a.e.limits.Poll
	t.pause = min(2*t.pause, max(poll, a.e.limits.MaxBackoff))
	if err == nil {
		t.pause = poll
	}
	wait := t.pause
	var failure *DeliveryError
	if errors.As(err, &failure) && failure.Class == Wait {
		wait = max(wait, min(failure.RetryAfter, maxWait))
	}
	t.next = a.e.clock.Now().Add(wait)
	return wait
}

// due returns the question that is asked next, and in how long.
func (a *asker) due(now time.Time) (next question, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait = idle
	for q, t := range a.turn {
		left := t.next.Sub(now)
		if left > 2*maxWait { // the clock was set back
			left = 0
		}
		if left < wait {
			next, wait = q, left
		}
	}
	return next, wait
}

// run asks until ctx ends, one question at a time: a way that rings is called seldom.
func (a *asker) run(ctx context.Context) {
	for ctx.Err() == nil {
		q, wait := a.due(a.e.clock.Now())
		if wait > 0 {
			select {
			case <-ctx.Done():
			case <-a.woken:
			case <-a.e.clock.After(wait):
			}
			continue
		}
		if err := a.ask(ctx, q); err != nil {
			return // the state is closed, or ctx has ended
		}
	}
}

// ask asks once, and notes what came of it.
func (a *asker) ask(ctx context.Context, q question) error {
	e := a.e
	var receipt Receipt
	ringing := false
	err := e.db.View(func(tx *bbolt.Tx) error {
		if inc := e.incident(tx, []byte(q.incident)); inc != nil {
			if d := inc.to(q.channel); d != nil {
				receipt, ringing = d.Receipt, d.Ringing
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	acknowledger, ok := e.notifier.(Acknowledger)
	if !ringing || !ok {
		a.drop(q)
		return nil
	}
	short, cancel := context.WithTimeout(ctx, e.limits.SendTimeout)
	defer cancel()
	ack, err := acknowledger.Acknowledgement(short, receipt)
	if stop := e.at("asked"); stop != nil {
		return stop
	}
	e.c.asked.Add(1)
	wait := a.later(q, err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		e.c.askErrors.Add(1)
		e.log.Warn("lookout could not ask who has acknowledged an alert; it asks again", "channel", q.channel, "error", err, "in", wait)
		return nil
	case ack.At.IsZero() && !ack.Expired:
		return nil
	}
	return e.change(ctx, "noting an acknowledgement", func(a *application) error { return a.acknowledge(q, receipt, ack) })
}
