package index

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

// Aggregate computes aggregates of the events that match, by group. All cores take blocks and runs of heads' rows, each into a
// tally of its own; the tallies are merged at the end:
//
//	footers: counts by service, level and bucket ─┐
//	blocks ─► what the search leaves ─► columns ──┼─► tallies ─► merge ─► answer
//	heads, plain blocks ─► events ────────────────┘
//
// The answer holds what could be read, and its summary says what could not. The error is ctx's, or wraps
// [query.ErrStatsMemory].
func (s *Store) Aggregate(ctx context.Context, r query.StatsRequest) (*query.Stats, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })()

	a := s.newAggregate(ctx, cancel, r)
	defer a.release()
	a.run()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return a.answer()
}

// aggregate is one request for aggregates at work.
type aggregate struct {
	s       *Store
	ctx     context.Context
	cancel  context.CancelCauseFunc
	r       query.StatsRequest
	all     bool
	needles []query.Needle
	budget  *query.Budget

	segments []*segment.Segment
	release  func() // of the segments
	views    []headView
	last     uint64

	tasks   []task
	next    atomic.Int64
	tallies []*query.Tally

	events, bytes, blocks, pruned atomic.Int64

	mu      sync.Mutex
	reasons []string
}

// task is a block, or a run of a head's rows, with a range of time.
type task struct {
	since, until int64
	entry        *segment.Entry
	view         *headView
	rows         []rowRef
}

func (s *Store) newAggregate(ctx context.Context, cancel context.CancelCauseFunc, r query.StatsRequest) *aggregate {
	a := &aggregate{s: s, ctx: ctx, cancel: cancel, r: r, all: r.Query == nil || r.Query.Everything(), budget: query.NewBudget(query.StatsMemory)}
	if a.r.Until == 0 {
		a.r.Until = math.MaxInt64
	}
	if a.r.Since == 0 {
		a.r.Since = math.MinInt64
	}
	if !a.all {
		a.needles = r.Query.Needles()
	}
	a.tallies = []*query.Tally{query.NewTally(&a.r, a.budget)}

	s.mu.RLock()
	a.segments, a.release = s.snapshot()
	a.views = s.views(r.Query)
	a.last = s.last
	for _, err := range s.damage {
		a.reasons = append(a.reasons, err.Error())
	}
	s.mu.RUnlock()

	for _, seg := range a.segments {
		a.addSegment(seg)
	}
	for i := range a.views {
		a.addHead(&a.views[i])
	}
	return a
}

// addSegment takes from a segment's footer what it answers, and makes tasks of the blocks that must be read.
func (a *aggregate) addSegment(seg *segment.Segment) {
	for _, e := range seg.Blocks {
		if e.MaxTime < a.r.Since || e.MinTime >= a.r.Until || a.r.Query != nil && !a.r.Query.MayMatchService([]byte(e.Service)) {
			a.pruned.Add(1)
			continue
		}
		a.tasks = append(a.tasks, task{since: a.r.Since, until: a.r.Until, entry: e})
	}
}

// headTask is how many rows of a head make one task.
const headTask = 8 * headUnit

func (a *aggregate) addHead(v *headView) {
	for rows := range slices.Chunk(v.rows, headTask) {
		a.tasks = append(a.tasks, task{since: a.r.Since, until: a.r.Until, view: v, rows: rows})
	}
}

// run has all cores work on the tasks.
func (a *aggregate) run() {
	var workers sync.WaitGroup
	for i := range min(runtime.GOMAXPROCS(0), len(a.tasks)) {
		if i > 0 {
			a.tallies = append(a.tallies, query.NewTally(&a.r, a.budget))
		}
		w := statsWorker{aggregate: a, tally: a.tallies[i]}
		workers.Go(w.run)
	}
	workers.Wait()
}

// answer merges the tallies.
func (a *aggregate) answer() (*query.Stats, error) {
	sum := a.tallies[0]
	for _, t := range a.tallies[1:] {
		sum.Merge(t)
		if err := sum.Err(); err != nil {
			return nil, err
		}
	}
	s := sum.Stats()
	s.Summary.Events, s.Summary.Bytes = a.events.Load(), a.bytes.Load()
	s.Summary.Blocks, s.Summary.Pruned = int(a.blocks.Load()), int(a.pruned.Load())
	s.Summary.Sequence = a.last
	s.Summary.Reasons = append(a.reasons, s.Summary.Reasons...)
	s.Summary.Complete = len(s.Summary.Reasons) == 0
	if s.Summary.Matched == 0 && a.r.Query != nil {
		s.Summary.UnknownFields = a.unknown()
	}
	return s, nil
}

// unknown returns the fields of the query that no event in range has.
func (a *aggregate) unknown() []string {
	fields := slices.Clone(a.r.Query.Fields())
	for _, seg := range a.segments {
		for _, e := range seg.Blocks {
			if e.MaxTime >= a.r.Since && e.MinTime < a.r.Until && a.r.Query.MayMatchService([]byte(e.Service)) {
				fields = slices.DeleteFunc(fields, func(f query.FieldRef) bool { return e.HasField(f.Name) })
			}
		}
	}
	return missing(fields, a.views)
}

func (a *aggregate) unreadable(err error) {
	a.s.o.Log.Error("part of the store cannot be read; the answer is marked incomplete", "error", err)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.reasons, err.Error()) {
		a.reasons = append(a.reasons, err.Error())
	}
}

// statsWorker is one core's part.
type statsWorker struct {
	*aggregate
	tally *query.Tally
	event event.Event
	rows  block.Rows
}

func (w *statsWorker) run() {
	for {
		i := int(w.next.Add(1)) - 1
		if i >= len(w.tasks) || w.ctx.Err() != nil {
			return
		}
		t := &w.tasks[i]
		if t.view != nil {
			w.head(t)
		} else if err := w.block(t); err != nil {
			w.unreadable(err)
		}
		if err := w.tally.Err(); err != nil {
			w.cancel(err)
			return
		}
	}
}

func (w *statsWorker) head(t *task) {
	events, size := 0, 0
	for _, r := range t.rows {
		if r.time < t.since || r.time >= t.until {
			continue
		}
		row := t.view.row(r)
		events++
		size += len(row)
		w.row(row, r.seq)
	}
	w.events.Add(int64(events))
	w.bytes.Add(int64(size))
}

// row counts an encoded event if it matches.
func (w *statsWorker) row(row []byte, seq uint64) {
	for i := range w.needles {
		if w.needles[i].Index(row) < 0 {
			return
		}
	}
	if _, err := event.Decode(row, &w.event); err != nil {
		w.unreadable(err)
		return
	}
	if w.event.Seq = seq; w.all || w.r.Query.Match(&w.event) {
		w.tally.Add(&w.event)
	}
}

func (w *statsWorker) block(t *task) error {
	b, err := t.entry.Open()
	if err != nil {
		return err
	}
	w.blocks.Add(1)
	for i := range b.Frames {
		if f := &b.Frames[i]; f.MaxTime < t.since || f.MinTime >= t.until {
			continue
		}
		if w.ctx.Err() != nil {
			return nil
		}
		if err := b.Frame(i, &w.rows); err != nil {
			w.unreadable(t.entry.Corrupt(err)) // the other frames may be whole
			continue
		}
		data := w.rows.Data
		w.events.Add(int64(len(w.rows.Seqs)))
		w.bytes.Add(int64(len(data)))
		for _, seq := range w.rows.Seqs {
			size, err := event.Size(data)
			if err != nil {
				return t.entry.Corrupt(err)
			}
			row := data[:size]
			data = data[size:]
			if at := rowTime(row); at >= t.since && at < t.until {
				w.row(row, seq)
			}
		}
	}
	return nil
}
