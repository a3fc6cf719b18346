package api

import (
	"context"
	"slices"
	"sync"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// memory is a store in memory that looks at every event, each time.
type memory struct {
	mu     sync.Mutex
	events []event.Event // Seq i+1 at i, unless a test sets it
	grown  chan struct{} // closed and made anew by each append

	hook   func(ctx context.Context, r query.Request) error // runs before a search
	gap    *query.GapError                                  // what a follower meets in place of the events that it names
	info   []query.ServiceInfo
	scan   query.Summary // what a search says beside its counts
	opened int           // followers that are not closed
}

func newMemory() *memory { return &memory{grown: make(chan struct{})} }

func (m *memory) append(events ...event.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range events {
		e.Seq = uint64(len(m.events) + 1)
		e.Received = e.Time + 1
		m.events = append(m.events, e)
	}
	close(m.grown)
	m.grown = make(chan struct{})
}

func (m *memory) LastSeq() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.events))
}

func (m *memory) Services() []query.ServiceInfo { return m.info }

func (m *memory) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	if m.hook != nil {
		if err := m.hook(ctx, r); err != nil {
			return query.Summary{}, err
		}
	}
	m.mu.Lock()
	events := slices.Clone(m.events)
	m.mu.Unlock()
	s := m.scan
	s.Complete, s.Sequence, s.Services = len(s.Reasons) == 0, uint64(len(events)), map[string]int64{}
	if r.MaxSeq > 0 {
		s.Sequence = min(s.Sequence, r.MaxSeq)
		events = events[:s.Sequence]
	}
	events = events[min(max(r.MinSeq, 1)-1, uint64(len(events))):]
	slices.SortStableFunc(events, func(a, b event.Event) int { return int(a.Time - b.Time) })
	if r.Newest {
		slices.Reverse(events)
	}
	for i := range events {
		e := &events[i]
		s.Events++
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if r.Since != 0 && e.Time < r.Since || r.Until != 0 && e.Time >= r.Until || !behind(e, r) || r.Query != nil && !r.Query.Match(e) {
			continue
		}
		s.Matched++
		s.Services[string(e.Service)]++
		if !r.CountOnly {
			group := 0
			if r.Before > 0 || r.After > 0 {
				group = int(s.Matched)
			}
			if r.Before > 0 && i > 0 {
				if err := fn(query.Row{Event: &events[i-1], Context: true, Group: group}); err != nil {
					return s, err
				}
			}
			if err := fn(query.Row{Event: e, Group: group}); err != nil {
				return s, err
			}
		}
		if r.Limit > 0 && s.Matched == int64(r.Limit) {
			break
		}
	}
	return s, nil
}

// behind tells whether an event is behind the place of a request.
func behind(e *event.Event, r query.Request) bool {
	at := query.Place{Time: e.Time, Seq: e.Seq}
	return r.Behind == nil || r.Newest && at.Less(*r.Behind) || !r.Newest && r.Behind.Less(at)
}

func (m *memory) Aggregate(ctx context.Context, r query.StatsRequest) (*query.Stats, error) {
	tally := query.NewTally(&r, query.NewBudget(query.DefaultMemory))
	summary, err := m.Search(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MinSeq: r.MinSeq, MaxSeq: r.MaxSeq, MaxBytes: r.MaxBytes, MaxMemory: r.MaxMemory}, func(row query.Row) error {
		tally.Add(row.Event)
		return tally.Err()
	})
	if err != nil {
		return nil, err
	}
	s := tally.Stats()
	summary.Reasons = append(summary.Reasons, s.Summary.Reasons...)
	summary.Complete = len(summary.Reasons) == 0
	s.Summary = summary
	return s, nil
}

func (m *memory) Explain(ctx context.Context, r query.Request) (query.Reading, error) {
	s, err := m.Search(ctx, r, func(query.Row) error { return nil })
	return query.Reading{Segments: 3, Blocks: 9, Open: 2, Memory: s.Events, Complete: s.Complete, Reasons: s.Reasons, UnknownFields: s.UnknownFields}, err
}

func (m *memory) Follow(after uint64) query.Follower {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	return &memoryFollower{m: m, at: after}
}

type memoryFollower struct {
	m  *memory
	at uint64
}

func (f *memoryFollower) Position() uint64 { return f.at }

func (f *memoryFollower) Close() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.m.opened--
}

func (f *memoryFollower) Next(ctx context.Context) ([]event.Event, error) {
	for {
		f.m.mu.Lock()
		events, grown, gap := f.m.events, f.m.grown, f.m.gap
		f.m.mu.Unlock()
		if gap != nil && f.at+1 >= gap.From && f.at < gap.To {
			f.at = gap.To
			return nil, gap
		}
		if f.at < uint64(len(events)) {
			few := events[f.at:min(f.at+3, uint64(len(events)))]
			f.at += uint64(len(few))
			return few, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
