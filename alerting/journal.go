package alerting

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// Record is a line of alerting's history: an incident that changed how it stands, or a message that was delivered or given up. It has
// no log text.
type Record struct {
	// ID is the same when a record comes again, after a kill between its delivery and the note of that.
	ID       uint64    `json:"id"`
	At       time.Time `json:"at"`
	Incident uint64    `json:"incident,omitempty"` // 0 for what is about none
	Rule     string    `json:"rule,omitempty"`
	Service  string    `json:"service,omitempty"` // the incident's
	Severity Severity  `json:"severity,omitempty"`
	State    State     `json:"state,omitempty"`
	Count    int64     `json:"count,omitempty"` // events of the incident so far
	By       string    `json:"by,omitempty"`
	// Channel and Outcome are of a message: delivered, refused (the channel takes nothing), dead letter.
	Channel string `json:"channel,omitempty"`
	Outcome string `json:"outcome,omitempty"`
}

// The outcomes of messages.
const (
	outcomeDelivered = "delivered"
	outcomeRefused   = "refused"
	outcomeDead      = "dead letter"
)

const (
	// maxJournal is how many records wait at most; of more the oldest are dropped and counted.
	maxJournal = 10_000
	// journalBatch is how many are handed over at once.
	journalBatch = 500
)

// bucketJournal has the records that were not handed over yet: order → Record.
var bucketJournal = []byte("alerting/journal")

// journalize writes a record down, in the transaction of what it tells.
func (e *Engine) journalize(tx *bbolt.Tx, r Record) error {
	if e.journal == nil || e.asksForOwn(r.Rule) { // a rule about alerts would hear of its own for ever
		return nil
	}
	b := tx.Bucket(bucketJournal)
	n, err := b.NextSequence()
	if err != nil {
		return fmt.Errorf("numbering a record of history: %w", err)
	}
	if n > maxJournal {
		if old := orderKey(n - maxJournal); b.Get(old) != nil {
			if err := b.Delete(old); err != nil {
				return err
			}
			tx.OnCommit(func() { e.c.unwritten.Add(1) })
		}
	}
	r.ID = n
	if r.At.IsZero() {
		r.At = e.clock.Now()
	}
	tx.OnCommit(func() {
		select {
		case e.journalWoken <- struct{}{}:
		default:
		}
	})
	return put(b, orderKey(n), r)
}

// asksForOwn tells whether a rule in force asks for lookout's own events.
func (e *Engine) asksForOwn(name string) bool {
	return slices.ContainsFunc(*e.rules.Load(), func(r *rule) bool { return r.Name == name && r.own })
}

// journalState writes down how an incident stands, when that has changed.
func (e *Engine) journalState(tx *bbolt.Tx, inc *incident) error {
	state := inc.shownState()
	now := fmt.Sprintf("%d %s %d", inc.ID, state, inc.Fired)
	if e.journal == nil || inc.Journaled == now {
		return nil
	}
	inc.Journaled = now
	by := inc.By
	if state == Resolved {
		by = inc.ResolvedBy
	}
	return e.journalize(tx, Record{Incident: inc.ID, Rule: inc.Rule, Service: inc.Sample.Service, Severity: inc.Severity, State: state, Count: inc.Count, By: by})
}

// journalMessage writes down what became of a message. Edits are not: they tell nobody.
func (s *sender) journalMessage(tx *bbolt.Tx, p parcel, c *call, outcome string) error {
	if c.how == edit || c.how == note {
		return nil
	}
	m := &c.message
	r := Record{Incident: m.ID, Rule: m.Labels["rule"], Service: m.Labels["service"], Severity: m.Severity, State: m.State, Channel: s.channel, Outcome: outcome}
	if one, ok := p.(*entryParcel); ok && r.Rule == "" {
		if r.Rule = one.q.Rule; slices.ContainsFunc(one.q.Lines, func(l line) bool { return s.e.asksForOwn(l.Rule) }) {
			return nil
		}
	}
	return s.e.journalize(tx, r)
}

// runJournal hands records over until ctx ends; with an error they are handed over again.
func (e *Engine) runJournal(ctx context.Context) {
	pause := e.limits.Backoff
	for ctx.Err() == nil {
		n, err := e.writeJournal(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			e.log.Warn("the history of alerts cannot be written; it is tried again", "error", err, "in", pause)
			if !e.sleep(ctx, pause) {
				return
			}
			pause = min(2*pause, e.limits.MaxBackoff)
			continue
		}
		pause = e.limits.Backoff
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-e.journalWoken:
		}
	}
}

// writeJournal hands the oldest records over, and returns how many.
func (e *Engine) writeJournal(ctx context.Context) (int, error) {
	var list []Record
	err := e.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketJournal).Cursor()
		for k, v := c.First(); k != nil && len(list) < journalBatch; k, v = c.Next() {
			r := Record{}
			if err := decode(k, v, &r); err != nil {
				e.unreadable(err)
			}
			r.ID = binary.BigEndian.Uint64(k)
			list = append(list, r)
		}
		return nil
	})
	if err != nil || len(list) == 0 {
		return 0, err
	}
	if err := e.journal(ctx, list); err != nil {
		return 0, err
	}
	err = e.update(ctx, "noting what of the history is written", func(tx *bbolt.Tx) error {
		for _, r := range list {
			if err := tx.Bucket(bucketJournal).Delete(orderKey(r.ID)); err != nil {
				return err
			}
		}
		return nil
	})
	return len(list), err
}
