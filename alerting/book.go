package alerting

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// listedAfter is how long a resolved incident is still listed.
const listedAfter = 24 * time.Hour

// book knows which incidents are open or were resolved lately, so that nobody has to read through all of them.
type book struct {
	mu sync.Mutex
	m  map[string]standing // by key
}

type standing struct {
	id    uint64
	state State
	until int64  // when it leaves the list, ns
	rule  string // while this rule can resolve it, it stays; empty for none
}

func (b *book) note(key string, inc *incident) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[string]standing{}
	}
	s := standing{id: inc.ID, state: inc.State, until: inc.Last + int64(inc.quiet())}
	switch {
	case inc.State == Resolved:
		s.until = inc.Resolved + int64(listedAfter)
	case named(inc.Fingerprint):
		s.rule = inc.Rule
	}
	b.m[key] = s
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
	delete(b.m, key)
}

// at returns what is listed at a time, and drops what is over.
func (b *book) at(now int64, resolves func(rule string) bool) map[string]State {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := map[string]State{}
	for key, s := range b.m {
		if s.until < now && (s.rule == "" || !resolves(s.rule)) {
			delete(b.m, key)
			continue
		}
		list[key] = s.state
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

	Count int64     `json:"count"` // events
	Fired int64     `json:"fired"` // how often it began to fire; above 1 it flaps
	First time.Time `json:"first"` // its first and its last event
	Last  time.Time `json:"last"`
	Since time.Time `json:"since"` // it fires, or fired last

	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
	Resolved     time.Time `json:"resolved,omitzero"`
	ResolvedBy   string    `json:"resolved_by,omitempty"` // who did by hand
	Link         string    `json:"link,omitempty"`        // the search behind it
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
		Count: inc.Count, Fired: inc.Fired, By: inc.By, ResolvedBy: inc.ResolvedBy, Link: e.linkOf(inc),
		First: timeOf(inc.First), Last: timeOf(inc.Last), Since: timeOf(inc.Since), Acknowledged: timeOf(inc.Acked), Resolved: timeOf(inc.Resolved),
	}
	for _, d := range inc.To {
		i.Channels = append(i.Channels, d.Channel)
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
