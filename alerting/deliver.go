package alerting

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// defaultWait is the pause when a destination asks for one and does not say how long; maxWait is the longest it gets.
	defaultWait = 30 * time.Second
	maxWait     = time.Hour
)

// parcel is what is on its way: an entry of the outbox, or the overview. Its methods change records inside a transaction
// that may be tried again, state being the channel's, which the caller writes back.
type parcel interface {
	// mark notes that it is being sent and returns what to send; a receipt that is not empty names a message to edit.
	// It is false when there is nothing to send any more.
	mark(tx *bbolt.Tx, state *channelState, now int64) (Message, Receipt, bool, error)
	delivered(tx *bbolt.Tx, state *channelState, now int64, r Receipt) error
	// refused notes that the destination certainly has not taken it: the next try is as next says.
	refused(tx *bbolt.Tx, state *channelState, next nextTry) error
	// dead gives it up and returns its key.
	dead(tx *bbolt.Tx, state *channelState, now int64) (string, error)
}

// nextTry is how a refused parcel is tried again.
type nextTry int

const (
	asItWas nextTry = iota
	asPlain         // as short plain text
	asNew           // as a new message, since it cannot be edited
)

// deliver marks a parcel, sends it, and writes what came of it.
func (s *sender) deliver(ctx, sendCtx context.Context, p parcel) error {
	e := s.e
	var m Message
	var edit Receipt
	var there bool
	err := e.update(ctx, "marking an alert", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		var err error
		if m, edit, there, err = p.mark(tx, state, e.clock.Now().UnixNano()); err != nil || !there {
			return err
		}
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err != nil || !there {
		return err
	}
	if err := e.at("marked"); err != nil {
		return err
	}
	receipt, failure := s.call(sendCtx, m, edit)
	if err := e.at("sent"); err != nil {
		return err
	}
	if failure == nil {
		err = s.succeed(ctx, p, m, edit, receipt)
	} else {
		err = s.fail(ctx, p, m, edit, failure)
	}
	if err != nil {
		return err
	}
	return e.at("done")
}

// call is one call of the notifier. An error without a class is transient.
func (s *sender) call(ctx context.Context, m Message, edit Receipt) (Receipt, *DeliveryError) {
	ctx, cancel := context.WithTimeout(ctx, s.e.limits.SendTimeout)
	defer cancel()
	var receipt Receipt
	var err error
	if edit != (Receipt{}) {
		receipt, err = s.e.notifier.Edit(ctx, edit, m)
	} else {
		receipt, err = s.e.notifier.Send(ctx, s.channel, m)
	}
	if err == nil {
		return receipt, nil
	}
	var failure *DeliveryError
	if !errors.As(err, &failure) {
		failure = &DeliveryError{Class: Transient, Err: err}
	}
	return Receipt{}, failure
}

func (s *sender) succeed(ctx context.Context, p parcel, m Message, edit, receipt Receipt) error {
	e := s.e
	var was *parked
	err := e.update(ctx, "noting a delivered alert", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		was, state.Parked = state.Parked, nil
		if err := p.delivered(tx, state, e.clock.Now().UnixNano(), receipt); err != nil {
			return err
		}
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err != nil {
		return err
	}
	s.backoff = 0
	if was != nil {
		e.log.Info("a channel takes alerts again", "channel", s.channel, "refused since", at(was.Since))
	}
	switch {
	case edit != (Receipt{}):
		e.c.edited.Add(1)
	default:
		e.c.sent.Add(1)
		if len(m.Notes) > 0 && m.Notes[0] == noteAgain {
			e.c.repeats.Add(1)
		}
	}
	return nil
}

// fail does what a failure's class asks for.
func (s *sender) fail(ctx context.Context, p parcel, m Message, edit Receipt, failure *DeliveryError) error {
	e := s.e
	class := failure.Class
	if class == EditRefused && edit == (Receipt{}) {
		class = Fault // there was nothing to edit
	}
	var pause time.Duration
	next, refused, dead, tell := asItWas, true, false, false
	switch class {
	case Wait:
		pause = jitter(defaultWait)
		if failure.RetryAfter > 0 {
			pause = jitter(min(failure.RetryAfter, maxWait))
		}
	case Broken:
		pause = e.limits.Park
	case Fault:
		next, refused, dead = asPlain, !m.Plain, m.Plain
	case EditRefused:
		next = asNew
	default:
		class = Transient
		refused = failure.Unsent
		s.backoff = min(max(2*s.backoff, e.limits.Backoff), e.limits.MaxBackoff)
		pause = jitter(s.backoff)
	}
	err := e.update(ctx, "noting a failed delivery", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		now := e.clock.Now().UnixNano()
		tell = false
		if refused {
			if err := p.refused(tx, state, next); err != nil {
				return err
			}
		}
		if dead {
			key, err := p.dead(tx, state, now)
			if err != nil {
				return err
			}
			letter := DeadLetter{Time: now, Key: key, Channel: s.channel, Title: m.Title, Error: failure.Error(), Text: m.Text()}
			if err := keepDead(tx, letter); err != nil {
				return err
			}
		}
		if class == Broken && state.Parked == nil {
			state.Parked = &parked{Since: now, Reason: failure.Err.Error()}
			tell = true
			if err := s.tellFallback(tx, now, failure); err != nil {
				return err
			}
		}
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err != nil {
		return err
	}
	e.c.fail(class)
	s.notBefore = e.clock.Now().Add(pause)
	switch {
	case dead:
		e.c.dead.Add(1)
		e.log.Error("an alert became a dead letter", "channel", s.channel, "title", m.Title, "error", failure)
	case tell:
		e.log.Error("a channel refuses alerts; they are kept and tried again", "channel", s.channel, "error", failure, "every", pause)
		if e.fallback != "" {
			e.wake(map[string]bool{e.fallback: true})
		}
	default:
		e.log.Warn("an alert could not be delivered", "channel", s.channel, "error", failure, "pause", pause)
	}
	return nil
}

// tellFallback queues a notice about this channel for the fallback, unless it is the fallback.
func (s *sender) tellFallback(tx *bbolt.Tx, now int64, failure *DeliveryError) error {
	to := s.e.fallback
	if to == "" || to == s.channel {
		return nil
	}
	return enqueue(tx, fmt.Sprintf("%s|parked:%s|%d", Service, s.channel, now), &entry{
		Kind: kindNotice, Channel: to, Created: now, Rule: Service, Severity: Error,
		Title: "lookout: alerts for " + s.channel + " cannot be delivered",
		Text: fmt.Sprintf("%v. The alerts are kept and tried again every %s; mend the channel, the token or the app's rights there.",
			failure.Err, s.e.limits.Park),
	})
}

// jitter lengthens a pause by up to a tenth, so that channels do not come back all at once.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/10+1) }

// entryParcel is an entry of the outbox.
type entryParcel struct {
	s *sender
	q queued
}

func (p *entryParcel) mark(tx *bbolt.Tx, _ *channelState, now int64) (Message, Receipt, bool, error) {
	q := queued{key: p.q.key}
	ok, err := get(tx.Bucket(bucketOutbox), []byte(q.key), &q.entry)
	if !ok || err != nil {
		return Message{}, Receipt{}, false, err
	}
	q.MayRepeat = q.MayRepeat || q.Sending
	q.Sending = true
	p.q = q
	return p.s.e.render(tx, &q, now), Receipt{}, true, p.put(tx)
}

func (p *entryParcel) put(tx *bbolt.Tx) error {
	return put(tx.Bucket(bucketOutbox), []byte(p.q.key), &p.q.entry)
}

func (p *entryParcel) delivered(tx *bbolt.Tx, state *channelState, now int64, r Receipt) error {
	state.Posts = append(state.Posts, now)
	if p.q.Kind == kindEach {
		state.LastEach = now
	}
	if err := dequeue(tx, p.q.key, &p.q.entry); err != nil {
		return err
	}
	return p.s.changeIncident(tx, &p.q, func(inc *incident) { inc.Told, inc.Receipt = now, r })
}

func (p *entryParcel) refused(tx *bbolt.Tx, _ *channelState, next nextTry) error {
	p.q.Sending = false
	p.q.Plain = p.q.Plain || next == asPlain
	return p.put(tx)
}

func (p *entryParcel) dead(tx *bbolt.Tx, _ *channelState, now int64) (string, error) {
	if err := dequeue(tx, p.q.key, &p.q.entry); err != nil {
		return "", err
	}
	// The incident counts as told, so that it can speak again when it reopens.
	return p.q.key, p.s.changeIncident(tx, &p.q, func(inc *incident) { inc.Told = now })
}

// overviewParcel is the overview of a channel.
type overviewParcel struct {
	s     *sender
	total int64 // what the message on its way says
}

func (p *overviewParcel) mark(_ *bbolt.Tx, state *channelState, _ int64) (Message, Receipt, bool, error) {
	o := state.Overview
	if o == nil {
		return Message{}, Receipt{}, false, nil
	}
	// An edit that arrives twice is no repeat.
	if o.Receipt == (Receipt{}) {
		o.MayRepeat = o.MayRepeat || o.Sending
		o.Sending = true
	}
	p.total = o.total()
	return renderOverview(o, &p.s.e.limits), o.Receipt, true, nil
}

func (p *overviewParcel) delivered(_ *bbolt.Tx, state *channelState, now int64, r Receipt) error {
	if o := state.Overview; o != nil {
		o.Receipt, o.Shown, o.ShownAt = r, p.total, now
		o.Sending = false
	}
	return nil
}

func (p *overviewParcel) refused(_ *bbolt.Tx, state *channelState, next nextTry) error {
	o := state.Overview
	if o == nil {
		return nil
	}
	o.Sending = false
	o.Plain = o.Plain || next == asPlain
	if next == asNew {
		o.Receipt = Receipt{}
	}
	return nil
}

func (p *overviewParcel) dead(_ *bbolt.Tx, state *channelState, now int64) (string, error) {
	if o := state.Overview; o != nil {
		o.Shown, o.ShownAt, o.Sending = p.total, now, false
	}
	return "overview|" + p.s.channel, nil
}
