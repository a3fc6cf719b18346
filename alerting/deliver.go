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

// errNoReply stands for a notifier that is no [Replier].
var errNoReply = &DeliveryError{Class: EditRefused, Err: errors.New("the notifier cannot reply")}

// call is one call of the notifier.
type call struct {
	how     how
	message Message
	to      Receipt // the message to edit, or to reply to
}

// deliver marks a parcel, sends it, and writes what came of it.
func (s *sender) deliver(ctx, sendCtx context.Context, p parcel) error {
	e := s.e
	var c call
	err := e.update(ctx, "marking an alert", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		var err error
		if c, err = p.mark(tx, state, e.clock.Now().UnixNano()); err != nil || c.how == nothing {
			return err
		}
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err != nil || c.how == nothing {
		return err
	}
	if err := e.at("marked"); err != nil {
		return err
	}
	receipt, failure := s.call(sendCtx, &c)
	if err := e.at("sent"); err != nil {
		return err
	}
	if failure == nil {
		err = s.succeed(ctx, p, c, receipt)
	} else {
		err = s.fail(ctx, p, c, failure)
	}
	if err != nil {
		return err
	}
	return e.at("done")
}

// call calls the notifier. What cannot reply sends a new message instead. An error without a class is transient.
func (s *sender) call(ctx context.Context, c *call) (Receipt, *DeliveryError) {
	ctx, cancel := context.WithTimeout(ctx, s.e.limits.SendTimeout)
	defer cancel()
	if c.how == reply {
		failure := errNoReply
		if replier, ok := s.e.notifier.(Replier); ok {
			failure = failureOf(replier.Reply(ctx, c.to, c.message))
		}
		if failure == nil || failure.Class != EditRefused {
			return c.to, failure
		}
		c.how = send
	}
	if c.how == note {
		historian, ok := s.e.notifier.(Historian)
		if !ok {
			return c.to, nil
		}
		failure := failureOf(historian.Note(ctx, c.to, c.message))
		if failure != nil && failure.Class == EditRefused {
			failure = nil // the thread is gone, and nobody misses its history
		}
		return c.to, failure
	}
	if c.how == edit {
		receipt, err := s.e.notifier.Edit(ctx, c.to, c.message)
		return receipt, failureOf(err)
	}
	receipt, err := s.e.notifier.Send(ctx, s.channel, c.message)
	return receipt, failureOf(err)
}

func failureOf(err error) *DeliveryError {
	if err == nil {
		return nil
	}
	var failure *DeliveryError
	if !errors.As(err, &failure) {
		failure = &DeliveryError{Class: Transient, Err: err}
	}
	return failure
}

func (s *sender) succeed(ctx context.Context, p parcel, c call, receipt Receipt) error {
	e := s.e
	var was *parked
	err := e.update(ctx, "noting a delivered alert", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		was, state.Parked = state.Parked, nil
		if err := p.delivered(tx, state, e.clock.Now().UnixNano(), c.how, receipt); err != nil {
			return err
		}
		if err := s.journalMessage(tx, p, &c, outcomeDelivered); err != nil {
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
	switch c.how {
	case edit:
		e.c.edited.Add(1)
		return nil
	case note:
		e.c.noted.Add(1)
		return nil
	}
	e.c.sent.Add(1)
	if len(c.message.Notes) > 0 && c.message.Notes[0] == noteAgain {
		e.c.repeats.Add(1)
	}
	return nil
}

// fail does what a failure's class asks for.
func (s *sender) fail(ctx context.Context, p parcel, c call, failure *DeliveryError) error {
	e, m := s.e, c.message
	class := failure.Class
	if class == EditRefused && c.how != edit {
		class = Fault // there was nothing to edit
	}
	var pause time.Duration
	next, refused, dead := asItWas, true, false
	parks, fallback := false, ""
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
		parks = class == Broken && state.Parked == nil
		if refused {
			if err := p.refused(tx, state, next); err != nil {
				return err
			}
		}
		if dead {
			key, err := p.dead(tx, state, now, c.how)
			if err != nil {
				return err
			}
			letter := DeadLetter{Time: now, Key: key, Channel: s.channel, Title: m.Title, Error: failure.Error(), Text: m.Text()}
			if err := keepDead(tx, letter); err != nil {
				return err
			}
			if err := s.journalMessage(tx, p, &c, outcomeDead); err != nil {
				return err
			}
		}
		if parks {
			if err := s.journalMessage(tx, p, &c, outcomeRefused); err != nil {
				return err
			}
			state.Parked = &parked{Since: now, Reason: failure.Err.Error()}
			fallback = e.fallback(s.channel)
			if err := s.tellFallback(tx, fallback, now, failure); err != nil {
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
	case parks:
		e.log.Error("a channel refuses alerts; they are kept and tried again", "channel", s.channel, "error", failure, "every", pause)
		if fallback != "" {
			e.wake(map[string]bool{fallback: true})
		}
	default:
		e.log.Warn("an alert could not be delivered", "channel", s.channel, "error", failure, "pause", pause)
	}
	return nil
}

// tellFallback queues a notice about this channel for another one, if there is one.
func (s *sender) tellFallback(tx *bbolt.Tx, to string, now int64, failure *DeliveryError) error {
	if to == "" {
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
