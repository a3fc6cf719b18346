package alerting

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// maxSeries is how many series of a rule are kept apart; events of others are counted and left out.
	maxSeries = 1000
	// maxValue is how much of a field's value parts series, in bytes.
	maxValue = 100
	// giveUp is when a series that is silent is forgotten.
	giveUp = 15 * 24 * time.Hour
)

// ruleRecord is what is kept of a rule itself.
type ruleRecord struct {
	// Meaning is what the state was made by: another one has another state.
	Meaning string `json:"meaning"`
	Since   int64  `json:"since,omitempty"`  // when the rule began to look, ns; 0 while it has not
	Left    int64  `json:"left,omitempty"`   // events that were left out, since there were too many series or kinds
	Pruned  int64  `json:"pruned,omitempty"` // the day, since the Unix epoch, on which what is old was last forgotten
}

// ruleState is what a rule of another mode than match knows.
type ruleState struct {
	m    *modes
	rule *rule
	ruleRecord
	dirty bool

	by     []string
	series map[string]*series // by key
	gone   []string           // fingerprints of series that are to be deleted
	key    []byte
	mark   []byte

	seen     map[uint64]sight // of new
	sighted  map[uint64]bool  // what of it has changed
	expected *expectedList    // of unexpected
}

// series is what is known of the events that have the same values in the fields of Rule.By. Times are Received, ns, or by the
// clock that stands still while lookout does not run.
type series struct {
	Key   []byte `json:"key"` // the values, each with a zero byte behind it
	Began int64  `json:"began"`
	Last  int64  `json:"last"`

	Firing bool  `json:"firing,omitempty"`
	Low    bool  `json:"low,omitempty"`  // of rate: by below
	Peak   int64 `json:"peak,omitempty"` // the farthest from what is allowed
	Back   int64 `json:"back,omitempty"` // since when it is within limits again

	// Counts are events by step, the step of number Head last; of spike those of the windows before it, which has Current.
	Head    int64   `json:"head,omitempty"`
	Counts  []int64 `json:"counts,omitempty"`
	Current int64   `json:"current,omitempty"`
	Hits    int     `json:"hits,omitempty"` // windows running that were over

	Born    int64    `json:"born,omitempty"`  // of absent: the first and the last event by the running clock
	Heard   int64    `json:"heard,omitempty"` //
	Gaps    []dayGap `json:"gaps,omitempty"`
	Stopped bool     `json:"stopped,omitempty"`
	Excused int64    `json:"excused,omitempty"` // until when it may be silent, by the running clock

	Kinds    int      `json:"-"` // of new: how many kinds of lines the service has
	First    []string `json:"first,omitempty"`
	Firsts   int      `json:"firsts,omitempty"` // kinds of its first day
	Told     bool     `json:"told,omitempty"`   // its first day is over
	Exploded bool     `json:"exploded,omitempty"`

	changed bool
}

// fingerprint is that of a series' incidents.
func (s *series) fingerprint() string { return seriesPrint + strconv.FormatUint(s.hash(), 16) }

func (s *series) hash() uint64 { return xxhash.Sum64(s.Key) }

// values are what a series' key was made of.
func (s *series) values() []string {
	parts := bytes.Split(bytes.TrimSuffix(s.Key, []byte{0}), []byte{0})
	values := make([]string, len(parts))
	for i, p := range parts {
		values[i] = short(p)
	}
	return values
}

// meaning is what of a rule its state depends on.
func (r *rule) meaning() string {
	switch r.Mode {
	case ModeRate, ModeSpike:
		return fmt.Sprintf("%s %s by %q: %s", r.Mode, r.window(), r.By, r.text)
	case ModeAbsent:
		return fmt.Sprintf("%s by %q: %s", r.Mode, r.By, r.text)
	case ModeNew:
		return fmt.Sprintf("%s: %s", r.Mode, r.text)
	}
	return string(r.Mode)
}

// ready makes what follows from the rule, which may have changed in what is not its meaning.
func (s *ruleState) ready() {
	s.by = s.rule.By
	if s.rule.Mode == ModeNew || s.rule.Mode == ModeAbsent && len(s.by) == 0 {
		s.by = []string{"service"}
	}
	if s.series == nil {
		s.series = map[string]*series{}
	}
	if s.seen == nil {
		s.seen, s.sighted = map[uint64]sight{}, map[uint64]bool{}
	}
	if s.rule.Mode == ModeUnexpected {
		if s.expected == nil {
			s.expected = &expectedList{}
		}
		s.expected.put(s.rule.Expect, s.m.Now)
	}
	s.rule.matched.left.Store(s.Left)
}

// leaveOut counts an event that is left out, since there are too many series or kinds.
func (s *ruleState) leaveOut() {
	s.Left++
	s.dirty = true
	s.rule.matched.left.Store(s.Left)
}

// see takes an event in that the rule's query matches.
func (s *ruleState) see(ev *event.Event) {
	s.begin()
	switch s.rule.Mode {
	case ModeUnexpected:
		s.expect(ev)
	case ModeNew:
		s.meet(ev)
	default:
		if isLate(ev) {
			return
		}
		switch s.rule.Mode {
		case ModeRate:
			s.countRate(ev)
		case ModeSpike:
			s.countSpike(ev)
		case ModeAbsent:
			s.hear(ev)
		}
	}
}

// tick evaluates the rule at a time.
func (s *ruleState) tick(at int64) {
	s.begin()
	before := len(s.m.matches)
	switch s.rule.Mode {
	case ModeUnexpected:
		s.tickUnexpected(at)
	case ModeNew:
		s.tickNew(at)
	case ModeRate:
		s.tickRate(at)
	case ModeSpike:
		s.each(func(x *series) { s.tickSpike(x, at) })
	case ModeAbsent:
		s.each(func(x *series) { s.tickAbsent(x, at) })
	}
	// A map has no order, but what is told does.
	slices.SortFunc(s.m.matches[before:], func(a, b match) int { return cmp.Compare(a.fp, b.fp) })
}

func (s *ruleState) each(do func(*series)) {
	for _, x := range s.series {
		do(x)
	}
}

func (s *ruleState) begin() {
	if s.Since == 0 {
		s.Since, s.dirty = s.m.Now, true
	}
}

// since is when the rule began to look, or lookout began to run again.
func (s *ruleState) since() int64 { return max(s.Since, s.m.ClockSince) }

// forgetWindows drops what was counted by another clock.
func (s *ruleState) forgetWindows() {
	if s == nil {
		return
	}
	for _, x := range s.series {
		x.Head, x.Counts, x.Current, x.Hits = 0, nil, 0, 0
		x.Began, x.Last, x.Back = min(x.Began, s.m.Now), min(x.Last, s.m.Now), 0
		x.changed = true
	}
	s.Since, s.dirty = min(s.Since, s.m.Now), true
}

// keyOf is the key of an event's series, valid until the next call.
func (s *ruleState) keyOf(ev *event.Event) []byte {
	s.key = s.key[:0]
	for _, name := range s.by {
		v := valueOf(ev, name)
		s.key = append(s.key, v[:min(len(v), maxValue)]...)
		s.key = append(s.key, 0)
	}
	return s.key
}

// of returns the series of an event; nil when there are too many, or it is one of none.
func (s *ruleState) of(ev *event.Event) *series {
	x := s.series[string(s.keyOf(ev))]
	if x == nil {
		if len(s.series) >= maxSeries {
			s.leaveOut()
			return nil
		}
		x = &series{Key: bytes.Clone(s.key), Began: s.m.Now}
		s.series[string(s.key)] = x
	}
	x.Last, x.changed = s.m.Now, true
	return x
}

func (s *ruleState) forget(x *series) {
	delete(s.series, string(x.Key))
	s.gone = append(s.gone, x.fingerprint())
}

// valueOf is an event's value in a field, empty when it has none.
func valueOf(ev *event.Event, name string) []byte {
	switch name {
	case "service":
		return ev.Service
	case "env":
		return ev.Env
	case "host":
		return ev.Host
	case "container":
		return ev.Container
	case "stream":
		return ev.Stream
	case "level":
		return []byte(ev.Level.String())
	}
	if f := ev.Field(name); f != nil {
		return f.Value
	}
	return nil
}

// tell has a series' state told: text says what it is, from is where the events behind it begin.
func (s *ruleState) tell(x *series, at, from int64, text string) {
	s.m.matches = append(s.m.matches, match{rule: s.rule, event: s.event(x, at, from, text), fp: x.fingerprint()})
}

// end has it told that a series' state is over.
func (s *ruleState) end(x *series, at int64, text string) {
	x.Firing, x.Back, x.Peak, x.Low, x.changed = false, 0, 0, false, true
	s.m.matches = append(s.m.matches, match{rule: s.rule, event: s.event(x, at, at, text), fp: x.fingerprint(), resolves: true})
}

// event is a series' state as an event: it has the series' values where its events have them.
func (s *ruleState) event(x *series, at, from int64, text string) *event.Event {
	ev := &event.Event{Time: from, Received: at, Level: levelOf(s.rule.Severity), Message: []byte(text)}
	for i, v := range x.values()[:len(s.by)] {
		value := []byte(v)
		switch name := s.by[i]; name {
		case "service":
			ev.Service = value
		case "env":
			ev.Env = value
		case "host":
			ev.Host = value
		case "container":
			ev.Container = value
		case "stream":
			ev.Stream = value
		default:
			ev.Fields = append(ev.Fields, event.Field{Name: []byte(name), Value: value})
		}
	}
	return ev
}

// name is the rule's name, for a series with what other fields than those a title shows have.
func (s *ruleState) name(x *series) string {
	var parts []string
	for i, v := range x.values()[:len(s.by)] {
		if s.by[i] != "service" && v != "" {
			parts = append(parts, s.by[i]+" "+v)
		}
	}
	if len(parts) == 0 {
		return s.rule.Name
	}
	return s.rule.Name + " (" + strings.Join(parts, ", ") + ")"
}

// write writes what has changed.
func (s *ruleState) write(tx *bbolt.Tx) error {
	name := s.rule.Name
	if s.dirty {
		if err := put(tx.Bucket(bucketMode), ruleKey(name), &s.ruleRecord); err != nil {
			return err
		}
	}
	b := tx.Bucket(bucketSeries)
	for _, fp := range s.gone {
		if err := b.Delete(incidentKey(name, fp)); err != nil {
			return err
		}
	}
	for _, x := range s.series {
		if x.changed {
			if err := put(b, incidentKey(name, x.fingerprint()), x); err != nil {
				return err
			}
		}
	}
	if err := s.writeSeen(tx.Bucket(bucketSeen)); err != nil || s.expected == nil {
		return err
	}
	return s.expected.write(tx.Bucket(bucketExpected), name)
}

func (s *ruleState) written() {
	s.dirty, s.gone = false, nil
	for _, x := range s.series {
		x.changed = false
	}
	clear(s.sighted)
	if s.expected != nil {
		s.expected.written()
	}
}

func ruleKey(name string) []byte { return []byte("rule|" + name) }

// dropState deletes all that is kept of a rule.
func dropState(tx *bbolt.Tx, name string) error {
	err := tx.Bucket(bucketMode).Delete(ruleKey(name))
	prefix := []byte(name + "|")
	for _, b := range [...][]byte{bucketSeries, bucketSeen, bucketExpected} {
		c := tx.Bucket(b).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
			err = errors.Join(err, c.Delete())
		}
	}
	return err
}

// load reads the states that an earlier run left.
func (m *modes) load(db *bbolt.DB) error {
	states := map[string]*ruleState{}
	of := func(key []byte) (*ruleState, []byte) {
		name, rest, _ := bytes.Cut(key, []byte("|"))
		return states[string(name)], rest
	}
	err := db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketMode)
		for _, r := range [...]struct {
			key []byte
			to  any
		}{{keyClock, &m.clockRecord}, {keyPauses, &m.pauses}, {keyServices, &m.services}, {keyRules, &m.firsts}} {
			if _, err := get(b, r.key, r.to); err != nil {
				m.e.unreadable(err)
			}
		}
		prefix := ruleKey("")
		c := b.Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
			s := &ruleState{m: m, rule: &rule{Rule: Rule{Name: string(k[len(prefix):])}}, series: map[string]*series{}, seen: map[uint64]sight{}, sighted: map[uint64]bool{}}
			if err := decode(k, v, &s.ruleRecord); err != nil {
				m.e.unreadable(err)
			}
			states[s.rule.Name] = s
		}
		byHash := map[string]map[uint64]*series{}
		err := tx.Bucket(bucketSeries).ForEach(func(k, v []byte) error {
			s, _ := of(k)
			x := new(series)
			if err := decode(k, v, x); err != nil || s == nil {
				if err != nil {
					m.e.unreadable(err)
				}
				return nil
			}
			s.series[string(x.Key)] = x
			if byHash[s.rule.Name] == nil {
				byHash[s.rule.Name] = map[uint64]*series{}
			}
			byHash[s.rule.Name][x.hash()] = x
			return nil
		})
		err = errors.Join(err, tx.Bucket(bucketSeen).ForEach(func(k, v []byte) error {
			s, hash := of(k)
			if s == nil || len(hash) != 8 || len(v) != 13 || v[0] != recordVersion {
				return nil
			}
			x := byHash[s.rule.Name][binary.BigEndian.Uint64(v[5:])]
			if x == nil {
				return nil // its service's record could not be read: it is new again
			}
			x.Kinds++
			s.seen[binary.BigEndian.Uint64(hash)] = sight{int32(binary.BigEndian.Uint32(v[1:])), x}
			return nil
		}))
		return errors.Join(err, tx.Bucket(bucketExpected).ForEach(func(k, v []byte) error {
			s, _ := of(k)
			x := new(expected)
			if err := decode(k, v, &x.expectedRecord); err != nil || s == nil {
				if err != nil {
					m.e.unreadable(err)
				}
				return nil
			}
			q, err := query.Parse(x.Text)
			if err != nil {
				m.e.unreadable(fmt.Errorf("state record %q: %w", k, err))
				return nil
			}
			if s.expected == nil {
				s.expected = &expectedList{}
			}
			x.query = q
			s.expected.list = append(s.expected.list, x)
			return nil
		}))
	})
	for _, name := range slices.Sorted(maps.Keys(states)) {
		m.states = append(m.states, states[name])
	}
	return err
}
