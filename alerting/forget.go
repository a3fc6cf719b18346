package alerting

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// forgotten is what an incident shows in the place of a text that was deleted.
const forgotten = "(deleted)"

// Forget removes what the state keeps of the events of a scope, which the store holds no more: samples of incidents, lines that
// wait to be sent, marks, and what a batch that was read before would still bring. That incidents happened, and how often, stays. Of an
// event only a text is kept: where that does not tell whether the event was one of the scope, it is removed; dead letters are removed
// all. Messages that were sent stay where they are. It may be called again for the same scope.
func (e *Engine) Forget(ctx context.Context, scope *query.DeleteScope) error {
	e.addScope(scope)
	e.modes.mu.Lock()
	err := e.update(ctx, "forgetting deleted events", func(tx *bbolt.Tx) error {
		return errors.Join(e.forgetSamples(tx, scope), e.forgetLines(tx, scope), forgetMarksOf(tx, scope), e.modes.forgetFirsts(tx), clearBucket(tx, bucketDead))
	})
	e.modes.mu.Unlock()
	if err != nil {
		return err
	}
	if err := e.overwriteFree(ctx); err != nil {
		return fmt.Errorf("overwriting what the state's file has free: %w", err)
	}
	return nil
}

// Forget is [Engine.Forget] for a state file that no engine has open.
func Forget(ctx context.Context, db *bbolt.DB, scope *query.DeleteScope) error {
	known := false
	err := db.View(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if known = meta != nil; !known {
			return nil
		}
		if was, _, err := getNumber(meta, keyFormat); err != nil || was != format {
			return fmt.Errorf("the state has format %d, this lookout forgets in %d only: start it once with rules, which brings it up to date (%w)", was, format, err)
		}
		return nil
	})
	if err != nil || !known {
		return err
	}
	e := &Engine{db: db, clock: systemClock{}, log: slog.New(slog.DiscardHandler), senders: map[string]*sender{}}
	e.limits.fill()
	e.rules.Store(&[]*rule{})
	e.asker = newAsker(e)
	if err := e.readIncidents(); err != nil {
		return err
	}
	return e.Forget(ctx, scope)
}

// addScope has events of the scope passed over that were read before they were deleted, until the engine is behind them.
func (e *Engine) addScope(scope *query.DeleteScope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var scopes []*query.DeleteScope
	if old := e.deleted.Load(); old != nil {
		for _, s := range *old {
			if s.MaxSeq > e.position.Load() {
				scopes = append(scopes, s)
			}
		}
	}
	scopes = append(scopes, scope)
	e.deleted.Store(&scopes)
}

// isDeleted tells whether an event that was read has been deleted meanwhile.
func (e *Engine) isDeleted(ev *event.Event) bool {
	scopes := e.deleted.Load()
	if scopes == nil {
		return false
	}
	for _, s := range *scopes {
		if s.Match(ev) {
			return true
		}
	}
	return false
}

// kept is a text that is kept of an event.
type kept struct {
	seq     uint64 // 0 when it is not known
	time    int64  // the event's, 0 when it is not known
	service string // empty when it is not known
	text    string
	whole   bool // the text has all of the event's message and fields
}

// may tells whether the text may be of an event of the scope.
func (k *kept) may(scope *query.DeleteScope) bool {
	q := scope.Query
	switch {
	case k.seq > scope.MaxSeq, k.time != 0 && !scope.InRange(k.time):
		return false
	case q == nil:
		return true
	case k.service != "" && k.whole && !q.MayMatchService([]byte(k.service)):
		return false
	case !k.whole || q.Names("env", "host", "container", "stream", "id"):
		return true
	}
	for _, n := range q.Needles() {
		if verbatim(n.Text) && n.Index([]byte(k.text)) < 0 {
			return false
		}
	}
	return true
}

// verbatim tells whether a literal stands in a text for people as it stands in the event: without spaces, which are taken together,
// quotes, which are escaped, and what is not ASCII.
func verbatim(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' })
}

func (e *Engine) forgetSamples(tx *bbolt.Tx, scope *query.DeleteScope) error {
	b := tx.Bucket(bucketIncident)
	var gone [][]byte
	changed := map[string]*incident{}
	err := b.ForEach(func(key, v []byte) error {
		inc := new(incident)
		if decode(key, v, inc) != nil {
			gone = append(gone, bytes.Clone(key)) // nobody can say what it holds
			return nil
		}
		s := &inc.Sample
		k := kept{seq: s.Seq, time: s.Time, service: s.Service, text: strings.Join([]string{s.Service, s.Message, s.Fields}, "\n"), whole: s.Whole}
		if s.Message != forgotten && k.may(scope) {
			*s = sample{Seq: s.Seq, Time: s.Time, Level: s.Level, Service: s.Service, Message: forgotten, Whole: true}
			inc.Labels = e.labelsOfRule(inc) // the others are values of its events
			changed[string(key)] = inc
		}
		if inc.forgetMarks(scope) {
			changed[string(key)] = inc
		}
		// Its words are another event's, of the same service.
		o := kept{text: inc.Outcome}
		if inc.Outcome != "" && inc.Outcome != forgotten && o.may(scope) {
			inc.Outcome = forgotten
			changed[string(key)] = inc
		}
		return nil
	})
	for _, key := range gone {
		err = errors.Join(err, b.Delete(key))
	}
	for key, inc := range changed {
		err = errors.Join(err, e.putIncident(tx, []byte(key), inc))
	}
	return err
}

// labelsOfRule are those of an incident's labels that its rule gives to all.
func (e *Engine) labelsOfRule(inc *incident) Labels {
	for _, r := range *e.rules.Load() {
		if r.Name == inc.Rule {
			return maps.Clone(r.Labels)
		}
	}
	return nil
}

// forgetLines takes lines out of what waits to be sent; a message without any left goes.
func (e *Engine) forgetLines(tx *bbolt.Tx, scope *query.DeleteScope) error {
	b := tx.Bucket(bucketOutbox)
	changed := map[string]*entry{}
	var gone [][]byte
	err := b.ForEach(func(key, v []byte) error {
		q := new(entry)
		if decode(key, v, q) != nil {
			gone = append(gone, bytes.Clone(key))
			return nil
		}
		var left []line
		weight := 0
		for _, l := range q.Lines {
			k := kept{seq: l.Seq, time: l.Time, text: l.Text, whole: l.Whole}
			if !k.may(scope) {
				left, weight = append(left, l), weight+Weight(l.Text)+lineOverhead
			}
		}
		if len(left) < len(q.Lines) {
			q.Lines, q.Weight = left, weight
			changed[string(key)] = q
		}
		return nil
	})
	for _, key := range gone {
		err = errors.Join(err, b.Delete(key)) // its sender takes it out of the queue
	}
	for key, q := range changed {
		if len(q.Lines) == 0 {
			err = errors.Join(err, dequeue(tx, key, q))
		} else {
			err = errors.Join(err, put(b, []byte(key), q))
		}
	}
	return err
}

func clearBucket(tx *bbolt.Tx, name []byte) error {
	if err := tx.DeleteBucket(name); err != nil {
		return err
	}
	_, err := tx.CreateBucket(name)
	return err
}

// bucketFiller is there for moments only.
var bucketFiller = []byte("alerting/filler")

const mostFiller = 64 << 20 // bytes

// overwriteFree fills the pages that the state's file has free, so that what was deleted is not in them either. Pages that a
// transaction frees can be used from the next but one on.
func (e *Engine) overwriteFree(ctx context.Context) error {
	for range 2 {
		if err := ctx.Err(); err != nil {
			return err
		}
		page := e.db.Info().PageSize
		filler := make([]byte, page*3/4) // one fits into a page, two do not
		stats := e.db.Stats()
		n := min(stats.FreePageN+stats.PendingPageN+16, mostFiller/page)
		err := e.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucketFiller)
			for i := 0; err == nil && i < n; i++ {
				err = b.Put(orderKey(uint64(i)), filler)
			}
			return err
		})
		if err == nil {
			err = e.db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketFiller) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}
