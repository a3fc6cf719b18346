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

	templateErrors, ownTemplateErrors, ownDead, decided, damped, reminded atomic.Uint64

	mu       sync.Mutex
	rules    map[string]*matches
	muted    map[string]uint64
	failed   map[Class]uint64
	channels map[string]*channelCounts
}

// matches counts the events that a rule matched and knows when the last one was received, ns, and how many it left out.
type matches struct {
	atomic.Uint64
	last, left atomic.Int64
}

// channelCounts count what became of a channel's messages.
type channelCounts struct {
	outcomes   map[Outcome]uint64
	held, dead uint64
}

func (c *channelCounts) add(o Outcome) {
	if c.outcomes == nil {
		c.outcomes = map[Outcome]uint64{}
	}
	c.outcomes[o]++
}

func (c *channelCounts) delivered(how how, repeat bool) {
	switch {
	case how == edit:
		c.add(OutcomeEdited)
	case how == note:
		c.add(OutcomeNoted)
	case repeat:
		c.add(OutcomeRepeat)
	default:
		c.add(OutcomeSent)
	}
}

func (c *channelCounts) failed(class Class) { c.add(outcomesOf[class]) }

// Outcome is what became of one try to deliver something. All of them together are the tries.
type Outcome string

// The outcomes.
const (
	OutcomeSent        Outcome = "sent"   // a new message, or a reply that people notice
	OutcomeRepeat      Outcome = "repeat" // one that says that it may be there already
	OutcomeEdited      Outcome = "edited"
	OutcomeNoted       Outcome = "noted" // history in a message's thread
	OutcomeWait        Outcome = "wait"
	OutcomeTransient   Outcome = "transient"
	OutcomeBroken      Outcome = "broken"
	OutcomeFault       Outcome = "fault"
	OutcomeEditRefused Outcome = "edit_refused"
)

var outcomesOf = map[Class]Outcome{
	Wait: OutcomeWait, Transient: OutcomeTransient, Broken: OutcomeBroken, Fault: OutcomeFault, EditRefused: OutcomeEditRefused,
}

// count counts something of a channel.
func (c *counters) count(channel string, what func(*channelCounts)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.channels == nil {
		c.channels = map[string]*channelCounts{}
	}
	n := c.channels[channel]
	if n == nil {
		n = new(channelCounts)
		c.channels[channel] = n
	}
	what(n)
}

// forgetRules drops the counters of rules that are not in force.
func (c *counters) forgetRules(inForce []*rule) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.rules, func(name string, _ *matches) bool {
		return !slices.ContainsFunc(inForce, func(r *rule) bool { return r.Name == name })
	})
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
	Decided uint64            // events that were held against them
	Matched map[string]uint64 // matches by rule in force
	// LeftOut are events that a rule in force left out since it knew too many series or kinds, over restarts.
	LeftOut map[string]int64

	Position uint64 // sequence of the last event that was decided
	Lag      uint64 // events of the store behind it

	// Open are the incidents by State; what no event resolves is open while it is not quiet for too long.
	Open map[State]int

	Outbox            int           // messages waiting now
	OldestUndelivered time.Duration // age of the oldest of them, 0 when there is none
	Parked            []string      // channels that refuse everything now, sorted
	DeadLetters       int           // kept now
	// Channels are those of the rules, routes and fallbacks, and others for which something waits.
	Channels map[string]ChannelStats

	Sent    uint64 // new messages
	Edited  uint64
	Noted   uint64 // replies that added history to a message's thread
	Repeats uint64 // of Sent: those that said they may be a repeat
	Held    uint64 // incidents and events that were counted in an overview instead of being shown
	Failed  map[Class]uint64
	Dead    uint64 // messages that became dead letters
	OwnDead uint64 // of Dead: those about lookout itself
	// Reminded are the times that people were told again of what nobody acknowledged, Damped what came back too soon to ring.
	Reminded, Damped uint64

	Asked        uint64 // questions whether a message was acknowledged
	AskErrors    uint64 // of them: those without an answer
	Acknowledged uint64 // incidents that somebody acknowledged, by a message that rang or by hand
	Expired      uint64 // messages that rang in vain, and were sent again

	Silences   int               // active now
	Muted      map[string]int    // incidents that are not told now, by why: silence, maintenance, parent, hold
	Suppressed map[string]uint64 // incidents and events that were over before they could be told, by the same

	TemplateErrors    uint64 // messages whose template failed, and that had their usual form
	OwnTemplateErrors uint64 // of them: those about lookout itself

	Gaps        uint64 // ranges of events that could not be read
	Unwritten   uint64 // records of the history that were dropped: too many waited
	ReadErrors  uint64 // failed reads of the store
	StateErrors uint64 // failed writes and unreadable records of the state
}

// ChannelStats is how one channel does. Counts are since the start.
type ChannelStats struct {
	Waiting  int           // messages in its queue
	Oldest   time.Duration // age of the oldest of them, 0 when there is none
	Parked   bool          // it refuses everything
	Held     uint64        // incidents and events that were counted in its overview
	Dead     uint64        // messages that became dead letters
	Outcomes map[Outcome]uint64
}

// configured are the channels of rules, routes and fallbacks.
func (e *Engine) configured() map[string]bool {
	all := map[string]bool{}
	add := func(channels []string) {
		for _, c := range channels {
			all[c] = true
		}
	}
	for _, r := range *e.rules.Load() {
		add(r.Channels)
		add(r.Also)
	}
	for _, r := range e.policy.Load().Routes {
		add(r.Channels)
	}
	add(*e.fallbacks.Load())
	return all
}

// Stats returns the figures of now. It reads the outbox.
func (e *Engine) Stats() (Stats, error) {
	s := Stats{
		Rules: len(*e.rules.Load()), Decided: e.c.decided.Load(), Matched: map[string]uint64{}, LeftOut: map[string]int64{}, Position: e.position.Load(),
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
	s.TemplateErrors, s.OwnTemplateErrors, s.OwnDead = e.c.templateErrors.Load(), e.c.ownTemplateErrors.Load(), e.c.ownDead.Load()
	s.Reminded, s.Damped = e.c.reminded.Load(), e.c.damped.Load()
	s.Channels = map[string]ChannelStats{}
	for name := range e.configured() {
		s.Channels[name] = ChannelStats{}
	}
	e.c.mu.Lock()
	s.Suppressed = maps.Clone(e.c.muted)
	for name, n := range e.c.rules {
		s.Matched[name] = n.Load()
		if left := n.left.Load(); left > 0 {
			s.LeftOut[name] = left
		}
	}
	s.Failed = maps.Clone(e.c.failed)
	counts := map[string]channelCounts{}
	for name, n := range e.c.channels {
		counts[name] = channelCounts{maps.Clone(n.outcomes), n.held, n.dead}
	}
	e.c.mu.Unlock()

	oldest := map[string]int64{}
	err := e.db.View(func(tx *bbolt.Tx) error {
		queue := tx.Bucket(bucketQueue).Cursor()
		lane := ""
		for k, v := queue.First(); k != nil; k, v = queue.Next() {
			s.Outbox++
			channel := channelOf(k)
			c := s.Channels[channel]
			c.Waiting++
			s.Channels[channel] = c
			// A lane is in order of severity, then of age.
			if l := string(k[:len(k)-7]); l != lane {
				lane = l
				q, err := load(tx, nil, k, v)
				if first := oldest[channel]; err == nil && (first == 0 || q.Created < first) {
					oldest[channel] = q.Created
				}
			}
		}
		s.DeadLetters = tx.Bucket(bucketDead).Stats().KeyN
		return tx.Bucket(bucketChannel).ForEach(func(k, v []byte) error {
			var c channelState
			if decode(k, v, &c) == nil && c.Parked != nil {
				s.Parked = append(s.Parked, string(k))
				if one, known := s.Channels[string(k)]; known {
					one.Parked = true
					s.Channels[string(k)] = one
				}
			}
			return nil
		})
	})
	if err != nil {
		return s, fmt.Errorf("reading the outbox: %w", err)
	}
	now = e.clock.Now()
	for name, c := range s.Channels {
		if first := oldest[name]; first != 0 {
			c.Oldest = max(0, time.Duration(now.UnixNano()-first))
			s.OldestUndelivered = max(s.OldestUndelivered, c.Oldest)
		}
		n := counts[name]
		c.Outcomes, c.Held, c.Dead = n.outcomes, n.held, n.dead
		s.Channels[name] = c
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
