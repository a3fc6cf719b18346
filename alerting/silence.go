package alerting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// silencesKept is how many silences there may be that are not over, and silenceKept how long one that is over is kept.
	silencesKept = 1000
	silenceKept  = 5 * 24 * time.Hour
	// maxSilence is the longest a silence may last.
	maxSilence = 366 * 24 * time.Hour

	maxComment = 1000 // bytes
	maxBy      = 200
)

// Silence is a time in which incidents that match are told to nobody. Their counts go on; what still fires when it ends is
// told then.
type Silence struct {
	ID       string    `json:"id"` // given by AddSilence
	Matchers Matchers  `json:"matchers"`
	From     time.Time `json:"from"`
	Until    time.Time `json:"until"`
	By       string    `json:"by"`
	Comment  string    `json:"comment"`
	Created  time.Time `json:"created"`
	// EndedBy is who ended it before its time; Until is when.
	EndedBy string `json:"ended_by,omitempty"`
}

// SilenceState is how a silence stands.
type SilenceState string

// The states of a silence.
const (
	SilencePending SilenceState = "pending" // it is to come
	SilenceActive  SilenceState = "active"
	SilenceExpired SilenceState = "expired"
)

// State tells how it stands at a time.
func (s *Silence) State(now time.Time) SilenceState {
	switch {
	case !now.Before(s.Until):
		return SilenceExpired
	case now.Before(s.From):
		return SilencePending
	}
	return SilenceActive
}

// SilenceError says what is wrong with a silence that was to be added.
type SilenceError struct{ Message, Mend string }

func (e *SilenceError) Error() string { return e.Message + ": " + e.Mend }

func (s *Silence) check(now time.Time) error {
	selects := func(m Matcher) bool { return !m.Matches("") }
	switch {
	case len(s.Matchers) == 0:
		return &SilenceError{"a silence without matchers would silence everything", `say what to silence, such as service="shop"`}
	case !slices.ContainsFunc(s.Matchers, selects):
		return &SilenceError{"these matchers match what has none of their labels, so nearly everything", `add one that asks for a value, such as service="shop" or severity=~".+"`}
	case !s.Until.After(s.From):
		return &SilenceError{"the silence ends before it begins", "give an end that lies after the beginning"}
	case !s.Until.After(now):
		return &SilenceError{"the silence is over already", "give an end that is still to come"}
	case s.Until.Sub(s.From) > maxSilence:
		return &SilenceError{"the silence is longer than a year", "make it shorter; what never matters is better left out of the rule"}
	case len(s.Comment) > maxComment:
		return &SilenceError{"the comment is too long", fmt.Sprintf("the most is %d bytes", maxComment)}
	case len(s.By) > maxBy:
		return &SilenceError{"the name is too long", fmt.Sprintf("the most is %d bytes", maxBy)}
	}
	return nil
}

// AddSilence keeps a silence, durable when it returns, and gives it an ID. One that has an ID takes the place of the
// silence of that ID. Without From it begins now. The error is a *[SilenceError], or wraps [ErrNotFound] for an ID there is not.
func (e *Engine) AddSilence(ctx context.Context, s Silence) (Silence, error) {
	now := e.clock.Now().UTC()
	if s.From.IsZero() {
		s.From = now
	}
	s.From, s.Until = s.From.UTC(), s.Until.UTC()
	s.Created, s.EndedBy = now, ""
	s.By, s.Comment = oneLine(clean([]byte(s.By))), strings.TrimSpace(clean([]byte(s.Comment)))
	if err := s.check(now); err != nil {
		return Silence{}, err
	}
	err := e.changeSilences(ctx, "keeping a silence", func(tx *bbolt.Tx, all []Silence) ([]Silence, error) {
		at := slices.IndexFunc(all, func(o Silence) bool { return o.ID == s.ID })
		switch {
		case s.ID != "" && at < 0:
			return nil, noSilence(s.ID)
		case at >= 0:
			all[at] = s
			return all, putSilence(tx, &s)
		}
		live := 0
		for _, o := range all {
			if o.State(now) != SilenceExpired {
				live++
			}
		}
		if live >= silencesKept {
			return nil, &SilenceError{fmt.Sprintf("there are %d silences already", live), "end some, or write one with a wider matcher"}
		}
		n, err := tx.Bucket(bucketSilence).NextSequence()
		if err != nil {
			return nil, fmt.Errorf("numbering a silence: %w", err)
		}
		s.ID = strconv.FormatUint(n, 10)
		return append(all, s), putSilence(tx, &s)
	})
	if err != nil {
		return Silence{}, err
	}
	return s, nil
}

// EndSilence ends a silence now, durable when it returns; one that is over stays as it is. An ID there is not is an error
// that wraps [ErrNotFound].
func (e *Engine) EndSilence(ctx context.Context, id string, by string) error {
	now := e.clock.Now().UTC()
	return e.changeSilences(ctx, "ending a silence", func(tx *bbolt.Tx, all []Silence) ([]Silence, error) {
		at := slices.IndexFunc(all, func(o Silence) bool { return o.ID == id })
		switch {
		case at < 0:
			return nil, noSilence(id)
		case all[at].State(now) == SilenceExpired:
			return all, nil
		}
		all[at].Until, all[at].EndedBy = now, Cut(oneLine(clean([]byte(by))), maxBy)
		return all, putSilence(tx, &all[at])
	})
}

func noSilence(id string) error {
	return fmt.Errorf("silence %.40q: %w", id, ErrNotFound)
}

// Silences returns all that are kept: to come, active and over within five days, the newest first.
func (e *Engine) Silences() ([]Silence, error) {
	all := slices.Clone(*e.silences.Load())
	slices.Reverse(all)
	if all == nil {
		all = []Silence{}
	}
	return all, nil
}

// changeSilences changes the list of silences, and what follows from it for the incidents that are open, in one transaction.
func (e *Engine) changeSilences(ctx context.Context, what string, change func(tx *bbolt.Tx, all []Silence) ([]Silence, error)) error {
	var refused error
	err := e.change(ctx, what, func(a *application) error {
		var all []Silence
		if all, refused = change(a.tx, slices.Clone(*e.silences.Load())); refused != nil {
			return nil // nothing was written
		}
		a.silences = all
		a.tx.OnCommit(func() { e.silences.Store(&all) })
		return a.considerAll(e.book.all())
	})
	if err == nil && refused == nil {
		e.watcher.all.Store(true)
		e.watcher.wake()
	}
	return errors.Join(refused, err)
}

func putSilence(tx *bbolt.Tx, s *Silence) error {
	n, err := strconv.ParseUint(s.ID, 10, 64)
	if err != nil {
		return fmt.Errorf("silence %q: %w", s.ID, err)
	}
	return put(tx.Bucket(bucketSilence), orderKey(n), s)
}

// readSilences fills the list in memory, oldest first.
func (e *Engine) readSilences() error {
	var all []Silence
	err := e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketSilence).ForEach(func(k, v []byte) error {
			var s Silence
			if err := decode(k, v, &s); err != nil {
				e.unreadable(err)
				return nil
			}
			all = append(all, s)
			return nil
		})
	})
	e.silences.Store(&all)
	return err
}

// forgetSilences drops those that have been over for some days.
func (e *Engine) forgetSilences(ctx context.Context, now time.Time) error {
	old := func(s Silence) bool { return now.Sub(s.Until) > silenceKept }
	if !slices.ContainsFunc(*e.silences.Load(), old) {
		return nil
	}
	return e.update(ctx, "forgetting silences", func(tx *bbolt.Tx) error {
		kept := slices.Clone(*e.silences.Load())
		var errs error
		kept = slices.DeleteFunc(kept, func(s Silence) bool {
			if !old(s) {
				return false
			}
			n, err := strconv.ParseUint(s.ID, 10, 64)
			errs = errors.Join(errs, err, tx.Bucket(bucketSilence).Delete(orderKey(n)))
			return true
		})
		tx.OnCommit(func() { e.silences.Store(&kept) })
		return errs
	})
}
