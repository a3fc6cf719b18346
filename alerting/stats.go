package alerting

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// counters count since the start.
type counters struct {
	sent, edited, noted, repeats, held, gaps, readErrors, stateErrors, dead atomic.Uint64
	unwritten, asked, askErrors, acknowledged, expired                      atomic.Uint64

	templateErrors atomic.Uint64

	mu     sync.Mutex
	rules  map[string]*matches
	muted  map[string]uint64
	failed map[Class]uint64
}

// matches counts the events that a rule matched, and knows when the last one was received, ns.
type matches struct {
	atomic.Uint64
	last atomic.Int64
}

// rule returns a rule's counter, which outlives a reload.
func (c *counters) rule(name string) *matches {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rules == nil {
		c.rules = map[string]*matches{}
	}
	n := c.rules[name]
	if n == nil {
		n = new(matches)
		c.rules[name] = n
	}
	return n
}

func (c *counters) fail(class Class) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = map[Class]uint64{}
	}
	c.failed[class]++
}

// suppress counts what was never told, by what muted it.
func (c *counters) suppress(more map[muteKind]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.muted == nil {
		c.muted = map[string]uint64{}
	}
	for kind, n := range more {
		c.muted[string(kind)] += n
	}
}

// Stats is a snapshot for metrics and the status page. Counts are since the start unless said otherwise.
type Stats struct {
	Rules   int               // in force
	Matched map[string]uint64 // matches by rule, those of rules that are gone included

	Position uint64 // sequence of the last event that was decided
	Lag      uint64 // events of the store behind it

	// Open are the incidents by State; what no event resolves is open while it is not quiet for too long.
	Open map[State]int

	Outbox            int           // messages waiting now
	OldestUndelivered time.Duration // age of the oldest of them, 0 when there is none
	Parked            []string      // channels that refuse everything now, sorted
	DeadLetters       int           // kept now

	Sent    uint64 // new messages
	Edited  uint64
	Noted   uint64 // replies that added history to a message's thread
	Repeats uint64 // of Sent: those that said they may be a repeat
	Held    uint64 // incidents and events that were counted in an overview instead of being shown
	Failed  map[Class]uint64
	Dead    uint64 // messages that became dead letters

	Asked        uint64 // questions whether a message was acknowledged
	AskErrors    uint64 // of them: those without an answer
	Acknowledged uint64 // incidents that somebody acknowledged, by a message that rang or by hand
	Expired      uint64 // messages that rang in vain, and were sent again

	Silences   int               // active now
	Muted      map[string]int    // incidents that are not told now, by why: silence, maintenance, parent, hold
	Suppressed map[string]uint64 // incidents and events that were over before they could be told, by the same

	TemplateErrors uint64 // messages whose template failed, and that had their usual form

	Gaps        uint64 // ranges of events that could not be read
	Unwritten   uint64 // records of the history that were dropped: too many waited
	ReadErrors  uint64 // failed reads of the store
	StateErrors uint64 // failed writes and unreadable records of the state
}

// Stats returns the figures of now. It reads the outbox.
func (e *Engine) Stats() (Stats, error) {
	s := Stats{
		Rules: len(*e.rules.Load()), Matched: map[string]uint64{}, Position: e.position.Load(),
		Sent: e.c.sent.Load(), Edited: e.c.edited.Load(), Noted: e.c.noted.Load(), Repeats: e.c.repeats.Load(), Held: e.c.held.Load(),
		Asked: e.c.asked.Load(), AskErrors: e.c.askErrors.Load(), Acknowledged: e.c.acknowledged.Load(), Expired: e.c.expired.Load(),
		Open: map[State]int{Firing: 0, Acknowledged: 0}, Dead: e.c.dead.Load(), Gaps: e.c.gaps.Load(), Unwritten: e.c.unwritten.Load(), ReadErrors: e.c.readErrors.Load(), StateErrors: e.c.stateErrors.Load(),
	}
	if last := e.source.LastSeq(); last > s.Position {
		s.Lag = last - s.Position
	}
	for _, state := range e.book.at(e.clock.Now().UnixNano(), e.resolves) {
		if state != Resolved {
			s.Open[state]++
		}
	}
	now := e.clock.Now()
	for _, one := range *e.silences.Load() {
		if one.State(now) == SilenceActive {
			s.Silences++
		}
	}
	s.Muted = e.book.muted()
	s.TemplateErrors = e.c.templateErrors.Load()
	e.c.mu.Lock()
	s.Suppressed = maps.Clone(e.c.muted)
	for name, n := range e.c.rules {
		s.Matched[name] = n.Load()
	}
	s.Failed = maps.Clone(e.c.failed)
	e.c.mu.Unlock()

	err := e.db.View(func(tx *bbolt.Tx) error {
		oldest := int64(0)
		queue := tx.Bucket(bucketQueue).Cursor()
		lane := ""
		for k, v := queue.First(); k != nil; k, v = queue.Next() {
			s.Outbox++
			// A lane is in order of severity, then of age.
			if l := string(k[:len(k)-7]); l != lane {
				lane = l
				q, err := load(tx, nil, k, v)
				if err == nil && (oldest == 0 || q.Created < oldest) {
					oldest = q.Created
				}
			}
		}
		if oldest != 0 {
			s.OldestUndelivered = max(0, time.Duration(e.clock.Now().UnixNano()-oldest))
		}
		s.DeadLetters = tx.Bucket(bucketDead).Stats().KeyN
		return tx.Bucket(bucketChannel).ForEach(func(k, v []byte) error {
			var c channelState
			if decode(k, v, &c) == nil && c.Parked != nil {
				s.Parked = append(s.Parked, string(k))
			}
			return nil
		})
	})
	if err != nil {
		return s, fmt.Errorf("reading the outbox: %w", err)
	}
	return s, nil
}

// DeadLetters returns the messages that were refused for good, newest first.
func (e *Engine) DeadLetters() ([]DeadLetter, error) {
	var letters []DeadLetter
	err := e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketDead).ForEach(func(k, v []byte) error {
			var d DeadLetter
			if err := decode(k, v, &d); err != nil {
				return err
			}
			letters = append(letters, d)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", err)
	}
	slices.Reverse(letters)
	return letters, nil
}
