package alerting

import (
	"context"
	"fmt"
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
	// unusedAfter is when an entry that matched nothing is reported.
	unusedAfter = 30 * 24 * time.Hour
	unusedEvery = time.Hour
	// maxAdded is how many entries [Engine.Expect] may add to a rule.
	maxAdded = 1000
)

// expectedRecord is what is kept of an entry of a rule's expect list.
type expectedRecord struct {
	Text    string    `json:"query"`
	Author  string    `json:"author,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	// Added is true for one that Engine.Expect added: it is in no file.
	Added bool  `json:"added,omitempty"`
	Since int64 `json:"since"` // when it was first in force, ns
	Hits  int64 `json:"hits,omitempty"`
	Last  int64 `json:"last,omitempty"` // Received of the last event it covered, ns
	// Reported is true when it was said that it is not used.
	Reported bool `json:"reported,omitempty"`
}

type expected struct {
	expectedRecord
	query   *query.Query
	changed bool
}

func (x *expected) expired(at int64) bool { return !x.Expires.IsZero() && at >= x.Expires.UnixNano() }

func (x *expected) key(rule string) []byte {
	return fmt.Appendf(nil, "%s|%016x", rule, xxhash.Sum64String(x.Text))
}

// expectedList is a rule's expect list.
type expectedList struct {
	list []*expected
	set  *query.Set // of list
	gone []*expected
	hit  []int
}

// put puts a rule's own entries in force beside those that were added. What is known of an entry goes on.
func (l *expectedList) put(own []Expectation, now int64) {
	old := map[string]*expected{}
	for _, x := range l.list {
		old[x.Text] = x
	}
	l.list = nil
	for _, o := range own {
		text := o.Query.String()
		x := old[text]
		if x == nil {
			x = &expected{expectedRecord: expectedRecord{Text: text, Since: now}}
		} else if slices.Contains(l.list, x) {
			continue
		}
		delete(old, text)
		x.query, x.Author, x.Reason, x.Expires, x.Added, x.changed = o.Query, o.Author, o.Reason, o.Expires, false, true
		l.list = append(l.list, x)
	}
	var added []*expected
	for _, x := range old {
		if x.Added {
			added = append(added, x)
		} else {
			l.gone = append(l.gone, x)
		}
	}
	slices.SortFunc(added, func(a, b *expected) int { return strings.Compare(a.Text, b.Text) })
	l.list = append(l.list, added...)
	l.compile()
}

func (l *expectedList) compile() {
	queries := make([]*query.Query, len(l.list))
	for i, x := range l.list {
		queries[i] = x.query
	}
	l.set = query.NewSet(queries)
}

func (l *expectedList) write(b *bbolt.Bucket, rule string) error {
	for _, x := range l.gone {
		if err := b.Delete(x.key(rule)); err != nil {
			return err
		}
	}
	for _, x := range l.list {
		if x.changed {
			if err := put(b, x.key(rule), &x.expectedRecord); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *expectedList) written() {
	l.gone = nil
	for _, x := range l.list {
		x.changed = false
	}
}

// expect tells an event that no entry covers.
func (s *ruleState) expect(ev *event.Event) {
	l, covered := s.expected, false
	l.hit = l.set.Match(l.hit[:0], ev)
	for _, i := range l.hit {
		if x := l.list[i]; !x.expired(s.m.Now) {
			x.Hits++
			x.Last, x.Reported, x.changed, covered = s.m.Now, false, true, true
		}
	}
	if !covered {
		s.m.matches = append(s.m.matches, match{rule: s.rule, event: ev, what: "unexpected"})
	}
}

// tickUnexpected reports entries that nothing has needed for long.
func (s *ruleState) tickUnexpected(at int64) {
	if at%int64(unusedEvery) != 0 {
		return
	}
	var unused []string
	for _, x := range s.expected.list {
		if x.Since == 0 {
			x.Since, x.changed = at, true // it was in force before the clock began
		}
		if !x.Reported && !x.expired(at) && at-max(x.Since, x.Last) >= int64(unusedAfter) {
			x.Reported, x.changed = true, true
			unused = append(unused, Cut(x.Text, 200))
		}
	}
	if len(unused) == 0 {
		return
	}
	text := fmt.Sprintf("%s matched nothing for %s: take it out if it is not needed any more\n%s",
		count(int64(len(unused)), "expected pattern"), days(unusedAfter), strings.Join(unused, "\n"))
	s.m.matches = append(s.m.matches, match{
		rule: s.rule, event: &event.Event{Time: at, Received: at, Level: event.Info, Message: []byte(text)},
		fp: unusedPrint + strconv.FormatInt(at, 16), severity: Info,
	})
}

// ExpectationInfo is an entry of a rule's expect list as people see it.
type ExpectationInfo struct {
	Query   string    `json:"query"`
	Author  string    `json:"author,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Added   bool      `json:"added"` // at run time: it is in no file
	Since   time.Time `json:"since,omitzero"`
	Hits    int64     `json:"hits"`
	Last    time.Time `json:"last,omitzero"`
	Unused  bool      `json:"unused"` // it matched nothing for 30 days
}

// Expectations returns the expect list of a rule of [ModeUnexpected], those that were added last. The error wraps
// [ErrNotFound] when there is no such rule.
func (e *Engine) Expectations(rule string) ([]ExpectationInfo, error) {
	m := &e.modes
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.unexpected(rule)
	if err != nil {
		return nil, err
	}
	list := make([]ExpectationInfo, len(s.expected.list))
	for i, x := range s.expected.list {
		list[i] = x.info()
	}
	return list, nil
}

func (x *expected) info() ExpectationInfo {
	return ExpectationInfo{
		Query: x.Text, Author: x.Author, Reason: x.Reason, Expires: x.Expires, Added: x.Added,
		Since: timeOf(x.Since), Hits: x.Hits, Last: timeOf(x.Last), Unused: x.Reported,
	}
}

// Expect adds an entry to a rule of [ModeUnexpected]: what it matches is no news from the next batch on. It is durable when
// Expect returns, and stays over restarts and reloads. The same query again changes the entry. The error wraps [ErrNotFound] when
// there is no such rule.
func (e *Engine) Expect(ctx context.Context, rule string, x Expectation) error {
	if x.Query == nil || x.Query.Everything() {
		return fmt.Errorf("expecting for rule %q: the query is everything, and nothing would be unexpected any more: narrow it", rule)
	}
	m := &e.modes
	m.mu.Lock()
	defer m.mu.Unlock()
	s, err := m.unexpected(rule)
	if err != nil {
		return err
	}
	l, text := s.expected, x.Query.String()
	i := slices.IndexFunc(l.list, func(o *expected) bool { return o.Text == text })
	var old *expected
	entry := &expected{expectedRecord: expectedRecord{Text: text, Since: m.Now, Added: true}, query: x.Query}
	if i >= 0 {
		old = l.list[i]
		*entry = *old
	} else if added := len(l.list) - len(s.rule.Expect); added >= maxAdded {
		return fmt.Errorf("expecting for rule %q: it has %d entries that were added: write them into its expect list, with fewer queries", rule, added)
	}
	entry.Author, entry.Reason, entry.Expires = x.Author, x.Reason, x.Expires
	err = e.update(ctx, "adding what is expected", func(tx *bbolt.Tx) error {
		// The rule's own record must be there, or the next start takes the entry for nobody's.
		if slices.Contains(m.dropped, rule) {
			if err := dropState(tx, rule); err != nil {
				return err
			}
		}
		if err := put(tx.Bucket(bucketMode), ruleKey(rule), &s.ruleRecord); err != nil {
			return err
		}
		return put(tx.Bucket(bucketExpected), entry.key(rule), &entry.expectedRecord)
	})
	if err != nil {
		return err
	}
	m.dropped = slices.DeleteFunc(m.dropped, func(name string) bool { return name == rule })
	if old != nil {
		l.list[i] = entry
	} else {
		l.list = append(l.list, entry)
	}
	l.compile()
	return nil
}

// unexpected returns the state of a rule of that mode.
func (m *modes) unexpected(rule string) (*ruleState, error) {
	m.adopt()
	for _, s := range m.states {
		if s != nil && s.rule.Name == rule && s.expected != nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("there is no rule %q with mode unexpected: name one (%w)", rule, ErrNotFound)
}

// unusedExpectations are the entries of the rules in force that nothing has needed for long, each as "rule: query".
func (e *Engine) unusedExpectations() (unused []string) {
	m := &e.modes
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt()
	for _, s := range m.states {
		if s == nil || s.expected == nil {
			continue
		}
		for _, x := range s.expected.list {
			if x.Reported && !x.expired(m.Now) {
				unused = append(unused, s.rule.Name+": "+Cut(x.Text, 200))
			}
		}
	}
	return unused
}
