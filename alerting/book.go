package alerting

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// listedAfter is how long a resolved incident is still listed.
const listedAfter = 24 * time.Hour

// book knows which incidents are open or were resolved lately, so that nobody has to read through all of them.
type book struct {
	mu sync.Mutex
	m  map[string]standing        // by key
	of map[string]map[string]bool // keys by rule
	// open are the keys of what is not resolved, by service.
	open map[string]map[string]bool
	// agenda has what is due, by the time of the events.
	agenda agenda
}

type standing struct {
	id    uint64
	state State
	// service is that of the incident.
	service string
	until   int64  // when it leaves the list, ns
	rule    string // while this rule can resolve it, it stays; empty for none
	look    int64  // when the watcher has to look at it, ns; 0 for never
	muted   muteKind
	waits   bool // for the end of quiet hours
	// parent is true for one that suppresses others while it is open.
	parent bool
	// due is when it has to be looked at, 0 for never, damped when that is not for its end, and planned when it will be: not
	// later.
	due, damped, planned int64
}

// note takes an incident up. changed tells whether it has begun to fire, or ceased; due whether the watcher has to look at it some time.
func (b *book) note(key string, inc *incident, parent bool) (changed, due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m, b.of, b.open = map[string]standing{}, map[string]map[string]bool{}, map[string]map[string]bool{}
	}
	if b.of[inc.Rule] == nil {
		b.of[inc.Rule] = map[string]bool{}
	}
	b.of[inc.Rule][key] = true
	was, there := b.m[key]
	s := standing{id: inc.ID, state: inc.State, service: inc.Sample.Service, until: inc.Last + int64(inc.quiet())}
	switch {
	case inc.State == Resolved:
		s.until = inc.Resolved + int64(listedAfter)
	case named(inc.Fingerprint):
		s.rule = inc.Rule
	}
	if inc.Muted != nil {
		s.muted = inc.Muted.Kind
	}
	s.parent = parent && inc.State != Resolved
	switch {
	case s.muted != "" && inc.State == Resolved:
		s.look = 1 // there is nothing left to mute
	case s.muted == byHold:
		s.look = inc.Muted.Until
	case s.muted != "", s.parent:
		s.look = s.until + 1 // by then it may be over without anything resolving it
	}
	if waking := inc.waking(); waking != 0 && (s.look == 0 || waking < s.look) {
		s.look = waking
	}
	s.waits = inc.waking() != 0
	s.due, s.damped, s.planned = inc.due(), inc.Damped, b.m[key].planned
	b.plan(key, &s)
	b.m[key] = s
	if was.service != s.service {
		b.isOpen(key, &was, false)
	}
	b.isOpen(key, &s, true)
	return !there || (was.state == Resolved) != (s.state == Resolved), s.look != 0
}

// isOpen takes an incident up among those that are open of its service, or out. The caller holds the lock.
func (b *book) isOpen(key string, s *standing, is bool) {
	switch keys := b.open[s.service]; {
	case s.service == "":
	case !is || s.state == Resolved:
		if delete(keys, key); len(keys) == 0 {
			delete(b.open, s.service)
		}
	case keys == nil:
		b.open[s.service] = map[string]bool{key: true}
	default:
		keys[key] = true
	}
}

// openOf returns the incidents of a service that are not resolved, at most so many, the newest first.
func (b *book) openOf(service string, most int) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(b.open[service]), func(x, y string) int { return cmp.Compare(b.m[y].id, b.m[x].id) })
	return keys[:min(len(keys), most)]
}

// find returns the key of the incident that has this number.
func (b *book) find(id uint64) (key string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, s := range b.m {
		if s.id == id {
			return key, true
		}
	}
	return "", false
}

func (b *book) remove(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(key)
}

// drop needs the lock.
func (b *book) drop(key string) {
	if s, known := b.m[key]; known {
		b.isOpen(key, &s, false)
	}
	delete(b.m, key)
	if rule, _, ok := strings.Cut(key, "|"); ok {
		delete(b.of[rule], key)
	}
}

// ofRule returns the incidents of a rule.
func (b *book) ofRule(rule string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.of[rule]))
}

// all returns what there is to look at when anything may have changed.
func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for key, s := range b.m {
		if s.state != Resolved || s.muted != "" || s.waits {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// takeDue returns what the watcher has to look at by now, once, and whether that suppresses others.
func (b *book) takeDue(now int64) (keys []string, parents bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, s := range b.m {
		if s.look != 0 && s.look <= now {
			keys = append(keys, key)
			parents = parents || s.parent
			s.look = 0
			b.m[key] = s
		}
	}
	slices.Sort(keys)
	return keys, parents
}

// again has the watcher look at it at a time.
func (b *book) again(key string, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.m[key]; ok {
		s.look = at
		b.m[key] = s
	}
}

// nextDue is when the watcher has to look at something next, 0 for never.
func (b *book) nextDue() (next int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.m {
		if s.look != 0 && (next == 0 || s.look < next) {
			next = s.look
		}
	}
	return next
}

// muted counts what is not told, by why.
func (b *book) muted() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := map[string]int{string(bySilence): 0, string(byMaintenance): 0, string(byParent): 0, string(byHold): 0}
	for _, s := range b.m {
		if s.muted != "" {
			n[string(s.muted)]++
		}
	}
	return n
}

// at returns what is listed at a time, and drops what is over.
func (b *book) at(now int64, resolves func(rule string) bool) map[string]State {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := map[string]State{}
	for key, s := range b.m {
		switch {
		case s.until >= now || s.rule != "" && resolves(s.rule):
			list[key] = s.state
		case s.state == Resolved && s.look == 0 && s.muted == "" && !s.waits:
			b.drop(key)
		default: // it is over, and is about to be resolved
		}
	}
	return list
}

// IncidentInfo is an incident as people see it.
type IncidentInfo struct {
	ID       uint64   `json:"id"` // another one each time it opens anew
	Rule     string   `json:"rule"`
	Service  string   `json:"service"`
	Title    string   `json:"title"`
	Severity Severity `json:"severity"`
	State    State    `json:"state"`
	Channels []string `json:"channels"`

	Count int64     `json:"count"`          // events
	Late  int64     `json:"late,omitempty"` // of these, those that happened more than an hour before they came
	Fired int64     `json:"fired"`          // how often it began to fire; above 1 it flaps
	First time.Time `json:"first"`          // its first and its last event
	Last  time.Time `json:"last"`
	Since time.Time `json:"since"` // it fires, or fired last
	// Muted is why it is told to nobody now: silence, maintenance, parent or hold (it waits for its parents); Why says it in words.
	Muted  string `json:"muted,omitempty"`
	Why    string `json:"why,omitempty"`
	Labels Labels `json:"labels,omitempty"`

	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
	Resolved     time.Time `json:"resolved,omitzero"`
	ResolvedBy   string    `json:"resolved_by,omitempty"` // who did by hand
	Link         string    `json:"link,omitempty"`        // the search behind it
	// Marks are what was said about the service shortly before it fired and since then, the newest first.
	Marks []IncidentMark `json:"marks,omitempty"`
}

// IncidentMark is a mark beside an incident.
type IncidentMark struct {
	Mark
	Says string `json:"says"` // deploy v2 by ann, 4 min before
}

// changed is when something last happened to it.
func (i *IncidentInfo) changed() time.Time {
	return slices.MaxFunc([]time.Time{i.Last, i.Acknowledged, i.Resolved}, time.Time.Compare)
}

// Incidents returns the incidents that are open and those that were resolved within a day, last changed first. What no
// event resolves is open while it is not quiet for too long.
func (e *Engine) Incidents() ([]IncidentInfo, error) {
	infos := []IncidentInfo{}
	err := e.db.View(func(tx *bbolt.Tx) error {
		for key := range e.book.at(e.clock.Now().UnixNano(), e.resolves) {
			if inc := e.incident(tx, []byte(key)); inc != nil {
				infos = append(infos, e.info(inc))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading incidents: %w", err)
	}
	slices.SortFunc(infos, func(a, b IncidentInfo) int {
		return cmp.Or(b.changed().Compare(a.changed()), cmp.Compare(b.ID, a.ID))
	})
	return infos, nil
}

func (e *Engine) info(inc *incident) IncidentInfo {
	i := IncidentInfo{
		ID: inc.ID, Rule: inc.Rule, Service: inc.Sample.Service, Title: e.titleOf(inc), Severity: inc.Severity, State: inc.State,
		Count: inc.Count, Late: inc.Late, Fired: inc.Fired, By: inc.By, ResolvedBy: inc.ResolvedBy, Link: e.linkOf(inc),
		First: timeOf(inc.First), Last: timeOf(inc.Last), Since: timeOf(inc.Since), Acknowledged: timeOf(inc.Acked), Resolved: timeOf(inc.Resolved),
	}
	i.Channels, i.Labels = inc.channels(), inc.labels()
	for _, m := range slices.Backward(inc.Marks) {
		i.Marks = append(i.Marks, IncidentMark{*m.says(i.Service), m.beside(inc.Since)})
	}
	if m := inc.Muted; m != nil && inc.State != Resolved {
		i.Muted, i.Why = string(m.Kind), m.fact()
		if m.shown() && i.State == Firing {
			i.State = Silenced
		}
	}
	return i
}

// timeOf is the time of ns, zero for 0.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
