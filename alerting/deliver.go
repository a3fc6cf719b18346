package alerting

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
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
	if !s.lane.enter(ctx) {
		return Receipt{}, &DeliveryError{Class: Transient, Unsent: true, Err: ctx.Err()}
	}
	defer s.lane.leave()
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
	told := ""
	err := e.update(ctx, "noting a delivered alert", func(tx *bbolt.Tx) error {
		state := e.channelState(tx, s.channel)
		now := e.clock.Now().UnixNano()
		was, state.Parked = state.Parked, nil
		var err error
		if told, err = s.noteBack(tx, state, now); err != nil {
			return err
		}
		if err := p.delivered(tx, state, now, c.how, receipt); err != nil {
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
	if told != "" {
		e.wake(map[string]bool{told: true})
	}
	if was != nil {
		e.log.Info("a channel takes alerts again", "channel", s.channel, "refused since", at(was.Since))
	}
	repeat := len(c.message.Notes) > 0 && c.message.Notes[0] == noteAgain
	e.c.count(s.channel, func(n *channelCounts) { n.delivered(c.how, repeat) })
	switch c.how {
	case edit:
		e.c.edited.Add(1)
		return nil
	case note:
		e.c.noted.Add(1)
		return nil
	}
	e.c.sent.Add(1)
	if repeat {
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
	parks, told := false, ""
	switch class {
	case Wait:
		pause = jitter(defaultWait)
		if failure.RetryAfter > 0 {
			pause = jitter(min(failure.RetryAfter, maxWait))
		}
		s.lane.ask(e.clock.Now(), pause)
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
		}
		var err error
		if told, err = s.noteOut(tx, state, class, now, failure); err != nil {
			return err
		}
		return put(tx.Bucket(bucketChannel), []byte(s.channel), state)
	})
	if err != nil {
		return err
	}
	e.c.fail(class)
	e.c.count(s.channel, func(n *channelCounts) { n.failed(class) })
	if told != "" {
		e.wake(map[string]bool{told: true})
	}
	s.notBefore = e.clock.Now().Add(pause)
	switch {
	case dead:
		s.buried(ruleOf(p))
		e.log.Error("an alert became a dead letter", "channel", s.channel, "title", m.Title, "error", failure)
	case parks:
		e.log.Error("a channel refuses alerts; they are kept and tried again", "channel", s.channel, "error", failure, "every", pause)
	default:
		e.log.Warn("an alert could not be delivered", "channel", s.channel, "error", failure, "pause", pause)
	}
	return nil
}

// ruleOf is the rule whose message a parcel is, empty for an overview.
func ruleOf(p parcel) string {
	switch p := p.(type) {
	case *entryParcel:
		return p.q.Rule
	case *incidentParcel:
		return p.q.Rule
	case *refreshParcel:
		rule, _, _ := strings.Cut(string(p.key), "|")
		return rule
	}
	return ""
}

// jitter lengthens a pause by up to a tenth, so that channels do not come back all at once.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/10+1) }
