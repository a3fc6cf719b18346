package alerting

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Rules of other modes than match have a state, and a clock: the time up to which events have been received. Their clock
// ticks at the multiples of Tick since the Unix epoch. The tick at b is evaluated when all events that were received before b
// are decided and none after: before the first event that was received at b or later, or when the store is silent and the
// Clock is past b by TickGrace. So the same events give the same outcomes, however they are cut into batches.
const (
	// Tick is how far apart the moments are at which rate, spike and absent are evaluated.
	Tick = 5 * time.Second
	// TickGrace is how long after a tick an event that was received before it may take to become readable.
	TickGrace = 2 * time.Second

	// clockBack is how far Received may step back before it counts as a clock that was set back; clockAhead how far it may
	// step forward before it counts as a clock that was set forward. Neither is a time in which anybody was silent.
	clockBack  = time.Hour
	clockAhead = 25 * time.Hour
	// tooLate is how late an event may be and still count for rate, spike and absent; in an incident it is said.
	tooLate = time.Hour

	maxPauses = 1000
)

// isLate tells whether an event came long after it happened. What a rule itself tells is not late, whenever it began.
func isLate(e *event.Event) bool { return e.Seq != 0 && e.Received-e.Time > int64(tooLate) }

// Pause is a time in which lookout did not run.
type Pause struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// modes is what rules of other modes than match know. It changes in memory as events are decided, and is written with the
// position that it belongs to.
type modes struct {
	e  *Engine
	mu sync.Mutex // guards all that follows; taken before Engine.writing

	ruleset *[]*rule
	set     *query.Set // of each rule what resolves it at 2i, and its query at 2i+1
	states  []*ruleState
	ticking bool // some rule is evaluated at ticks

	clockRecord
	pauses  []Pause  // when lookout did not run, oldest first
	paused  bool     // pauses has changed
	dirty   bool     // the clock has ticked
	dropped []string // rules whose states are to be deleted

	// firsts says from where on each rule in force is held against events; nil while that is not known of any.
	firsts map[string]inForce
	began  bool // firsts has changed

	meeting  bool             // some rule is of mode new
	services map[string]int64 // when each service was first seen while one was, Received, ns
	met      bool             // services has changed

	matched []int
	matches []match
}

// clockRecord is the clock of the rules, in ns.
type clockRecord struct {
	At         int64 `json:"at"`     // the last tick that is evaluated, 0 before the first event: it starts the clock
	Now        int64 `json:"now"`    // when the last event was received, or At if that is later
	Paused     int64 `json:"paused"` // how much of the time up to Now did not count
	ClockSince int64 `json:"since"`  // the end of the last time that did not count
}

// inForce is from where on a rule has meant what it means.
type inForce struct {
	After   uint64 `json:"after"`        // it is held against events behind this sequence
	At      int64  `json:"at,omitempty"` // since when, ns by the Clock; 0 when it was so before this was noted
	Meaning string `json:"meaning"`
}

// begin notes from where on the rules in force are held against events.
func (m *modes) begin(rules []*rule) {
	firsts := make(map[string]inForce, len(rules))
	for _, r := range rules {
		meaning := string(cmp.Or(r.Mode, ModeMatch)) + ": " + r.text
		f, known := m.firsts[r.Name]
		switch {
		case known && f.Meaning == meaning:
			f.After = min(f.After, m.e.position.Load()) // the store may have been put back
		case m.firsts == nil:
			f = inForce{Meaning: meaning}
		default:
			f = inForce{After: m.e.position.Load(), At: m.e.clock.Now().UnixNano(), Meaning: meaning}
		}
		firsts[r.Name] = f
	}
	m.began = m.began || m.firsts == nil || !maps.Equal(firsts, m.firsts)
	m.firsts = firsts
}

// pass tells what time it is; what is due until then has been evaluated.
func (m *modes) pass(to int64) {
	switch {
	case m.At == 0, to-m.Now > int64(clockAhead):
		m.jump(to)
	case m.Now-to > int64(clockBack):
		m.jump(to)
		for _, s := range m.states {
			s.forgetWindows()
		}
	case to > m.Now:
		m.ticks(to)
		m.Now = max(m.Now, to)
	}
}

// jump goes on at another time; that between does not count.
func (m *modes) jump(to int64) {
	if m.At != 0 {
		m.Paused += to - m.Now
	}
	m.At, m.Now, m.ClockSince = to-to%int64(Tick), to, to
	m.dirty = true
}

// ticks evaluates all ticks up to a time.
func (m *modes) ticks(to int64) {
	for next := m.At + int64(Tick); next <= to; next = m.At + int64(Tick) {
		m.dirty = true
		if p := m.pause(next); p != nil {
			end := min(p.To.UnixNano(), to)
			m.Paused += max(0, end-max(m.Now, p.From.UnixNano()))
			m.At, m.Now = end-end%int64(Tick), max(m.Now, end)
			m.ClockSince = m.Now
			continue
		}
		m.At, m.Now = next, max(m.Now, next)
		for _, s := range m.states {
			if s != nil {
				s.tick(next)
			}
		}
	}
}

// pause is the one that a tick falls into, nil for none.
func (m *modes) pause(tick int64) *Pause {
	i, _ := slices.BinarySearchFunc(m.pauses, tick, func(p Pause, tick int64) int {
		if p.To.UnixNano() < tick {
			return -1
		}
		return 1
	})
	if i < len(m.pauses) && m.pauses[i].From.UnixNano() < tick && tick <= m.pauses[i].To.UnixNano() {
		return &m.pauses[i]
	}
	return nil
}

// running is the time by a clock that stands still while lookout does not run.
func (m *modes) running(at int64) int64 { return at - m.Paused }

// resume notes that lookout did not run since it last wrote its state.
func (m *modes) resume(now int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// While it runs and is silent, the clock is written at each tick, TickGrace late.
	if m.At == 0 || now-m.Now < 2*int64(Tick) || now-m.Now > int64(clockAhead) {
		return // of no account, or a jump
	}
	if n := len(m.pauses); n > 0 && m.pauses[n-1].To.UnixNano() >= m.Now {
		return
	}
	m.pauses = append(m.pauses, Pause{time.Unix(0, m.Now).UTC(), time.Unix(0, now).UTC()})
	m.pauses = m.pauses[max(0, len(m.pauses)-maxPauses):]
	m.paused = true
}

// Pauses returns the times in which lookout did not run, oldest first: for [Options.Pauses] of a replay.
func (e *Engine) Pauses() []Pause {
	e.modes.mu.Lock()
	defer e.modes.mu.Unlock()
	return slices.Clone(e.modes.pauses)
}

// decide holds events against the rules.
func (m *modes) decide(events []event.Event) []match {
	m.adopt()
	m.matches = m.matches[:0]
	for i := range events {
		ev := &events[i]
		m.pass(ev.Received)
		m.matched = m.set.Match(m.matched[:0], ev)
		own, said := string(ev.Service) == Service, string(ev.Stream) == markStream
		if m.meeting && !said {
			m.meet(ev)
		}
		resolved := -1
		for _, x := range m.matched {
			i := x / 2
			r := (*m.ruleset)[i]
			switch s := m.states[i]; {
			case own && !r.own, resolved == i, said && !r.hears(x%2 == 0):
			case x%2 == 0:
				m.matches = append(m.matches, match{rule: r, event: ev, resolves: true})
				resolved = i
			case s == nil:
				m.matches = append(m.matches, match{rule: r, event: ev})
			default:
				s.see(ev)
			}
		}
		if said {
			m.matches = append(m.matches, match{event: ev, mark: true})
		}
		if len(ev.Stream) > 0 {
			m.excuse(ev)
		}
	}
	return m.matches
}

// maxServices is how many services are remembered; the first day of others begins with the first event that a rule matches.
const maxServices = 10_000

// meet notes when a service was first seen.
func (m *modes) meet(ev *event.Event) {
	if _, known := m.services[string(ev.Service)]; known || len(m.services) >= maxServices {
		return
	}
	if m.services == nil {
		m.services = map[string]int64{}
	}
	m.services[string(ev.Service)], m.met = m.Now, true
}

// silent evaluates what is due when no event was received up to a time.
func (m *modes) silent(to int64) []match {
	m.matches = m.matches[:0]
	m.pass(to)
	return m.matches
}

// tick evaluates what is due by the clock when the store is silent.
func (e *Engine) tick(ctx context.Context) error {
	m := &e.modes
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt()
	if !m.ticking || m.At == 0 || e.source.LastSeq() > e.position.Load() {
		return nil
	}
	to := e.clock.Now().Add(-TickGrace).UnixNano()
	if to -= to % int64(Tick); to == m.At {
		return nil
	}
	if matches := m.silent(to); m.dirty && !e.oneTry || len(matches) > 0 {
		return e.outcome(ctx, e.position.Load(), matches)
	}
	return nil
}

// never is longer than anything takes.
const never = time.Duration(math.MaxInt64)

// untilTick is how long until a tick is due.
func (e *Engine) untilTick() time.Duration {
	if !slices.ContainsFunc(*e.rules.Load(), func(r *rule) bool { return r.Mode != "" && r.Mode != ModeMatch }) {
		return never
	}
	return Tick - time.Duration(e.clock.Now().Add(-TickGrace).UnixNano()%int64(Tick))
}

// nextTick is when the clock makes the next tick due, if the store is silent; ns. A replay asks.
func (m *modes) nextTick() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt()
	if !m.ticking || m.At == 0 {
		return math.MaxInt64
	}
	return m.At + int64(Tick+TickGrace)
}

// outcome writes what follows from events together with the position behind them.
func (e *Engine) outcome(ctx context.Context, position uint64, matches []match) error {
	if err := e.at("matched"); err != nil {
		return err
	}
	err := e.commit(ctx, position, func(a *application) error {
		for _, m := range matches {
			if err := a.match(m); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		for _, m := range matches {
			if !m.resolves && !m.mark {
				m.rule.matched.Add(1)
				m.rule.matched.last.Store(m.event.Received)
			}
		}
	}
	return err
}

// adopt makes states for the rules that are in force now. A rule that means what it meant keeps its state.
func (m *modes) adopt() {
	now := m.e.rules.Load()
	if now == m.ruleset {
		return
	}
	old := map[string]*ruleState{}
	for _, s := range m.states {
		if s != nil {
			old[s.rule.Name] = s
		}
	}
	queries := make([]*query.Query, 0, 2*len(*now))
	m.states = make([]*ruleState, len(*now))
	m.ticking, m.meeting = false, false
	for i, r := range *now {
		queries = append(queries, r.Resolve, r.Query)
		if r.Mode == "" || r.Mode == ModeMatch {
			continue
		}
		m.ticking, m.meeting = true, m.meeting || r.Mode == ModeNew
		s := old[r.Name]
		if s != nil && s.Meaning == r.meaning() {
			delete(old, r.Name)
			s.rule = r
		} else {
			s = &ruleState{m: m, rule: r, ruleRecord: ruleRecord{Meaning: r.meaning()}, dirty: true}
		}
		s.ready()
		m.states[i] = s
	}
	for name := range old {
		m.dropped = append(m.dropped, name)
	}
	slices.Sort(m.dropped)
	m.set = query.NewSet(queries)
	m.begin(*now)
	m.ruleset = now
}

// write writes what has changed.
func (m *modes) write(tx *bbolt.Tx) error {
	for _, name := range m.dropped {
		if err := dropState(tx, name); err != nil {
			return err
		}
	}
	for _, s := range m.states {
		if s != nil {
			if err := s.write(tx); err != nil {
				return err
			}
		}
	}
	if m.paused {
		if err := put(tx.Bucket(bucketMode), keyPauses, m.pauses); err != nil {
			return err
		}
	}
	if m.began {
		if err := put(tx.Bucket(bucketMode), keyRules, m.firsts); err != nil {
			return err
		}
	}
	if m.met {
		if err := put(tx.Bucket(bucketMode), keyServices, m.services); err != nil {
			return err
		}
	}
	if m.At == 0 || !m.ticking {
		return nil
	}
	return put(tx.Bucket(bucketMode), keyClock, &m.clockRecord)
}

// written notes that all that had changed is in the state.
func (m *modes) written() {
	m.dropped, m.dirty, m.paused, m.met, m.began = nil, false, false, false, false
	for _, s := range m.states {
		if s != nil {
			s.written()
		}
	}
}
