package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Aggregate computes aggregates of the events that match, by group. It is a scan: each worker fills a tally of its own from
// what is the cheapest to read, and the tallies are merged at the end:
//
//	footers: counts by service, level and bucket ─┐
//	pattern blocks ─► matching rows ─► columns ───┼─► tallies ─► merge ─► answer
//	heads, plain blocks ─► events ────────────────┘
//
// The answer holds what could be read, and its summary says what could not; when the request's limit of bytes or memory is
// reached it is of what was read until then. The error is ctx's.
func (s *Store) Aggregate(ctx context.Context, r query.StatsRequest) (*query.Stats, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a := newAggregate(r, cancel)
	sum, err := s.scan(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MinSeq: r.MinSeq, MaxSeq: r.MaxSeq, MaxBytes: r.MaxBytes}, a)
	if err != nil && !errors.Is(err, query.ErrStatsMemory) {
		return nil, err
	}
	return a.answer(sum), nil
}

// aggregate is the visitor of a scan that computes aggregates.
type aggregate struct {
	r        query.StatsRequest
	cancel   context.CancelCauseFunc
	byCounts bool // a segment's counts answer, but for buckets that are partly in range
	byLevels bool // the numbers of events of a service and level answer, wherever they are known
	byNumber bool // the number of events of a service answers
	workers  []statsWorker

	mu sync.Mutex
	// edges are the blocks of which the buckets that are wholly in range have been counted.
	edges map[*segment.Entry]bool
}

// statsWorker is one worker's part.
type statsWorker struct {
	tally   *query.Tally
	counted map[*segment.Entry]bool // blocks of the segment at hand that the counts have answered
	_       [64]byte                // workers write to neighbours
}

func newAggregate(r query.StatsRequest, cancel context.CancelCauseFunc) *aggregate {
	a := &aggregate{r: r, cancel: cancel, workers: make([]statsWorker, scanWorkers()), edges: map[*segment.Entry]bool{}}
	budget := query.NewBudget(query.Memory(r.MaxMemory))
	for i := range a.workers {
		a.workers[i] = statsWorker{tally: query.NewTally(&a.r, budget), counted: map[*segment.Entry]bool{}}
	}
	a.byCounts = r.ByCounts(block.BucketLen)
	a.byLevels = a.byCounts && r.Every == 0
	a.byNumber = r.ByNumber()
	return a
}

// answer merges the tallies. What they hold together is no more than they held before, so the limit of memory is not asked again.
func (a *aggregate) answer(sum query.Summary) *query.Stats {
	full := false
	for i := range a.workers {
		full = full || a.workers[i].tally.Err() != nil
	}
	tally := a.workers[0].tally
	for i := range a.workers[1:] {
		tally.Merge(a.workers[i+1].tally)
		a.workers[i+1].tally = nil // its memory is needed
	}
	s := tally.Stats()
	sum.Matched = s.Summary.Matched
	sum.Reasons = append(slices.Clip(sum.Reasons), s.Summary.Reasons...)
	if full {
		sum.Budget = query.BudgetMemory
		sum.Reasons = append(sum.Reasons, fmt.Sprintf("the groups need more than %s, as much as they may: events behind that are not counted; group by less, compute less at once, "+
			"search a shorter range or one service, or raise limits.query_memory", sizeText(query.Memory(a.r.MaxMemory))))
	}
	sum.Complete = len(sum.Reasons) == 0
	s.Summary = sum
	return s
}

// segment takes what a segment's counts answer: all of the blocks that are wholly in range, and of the others the buckets
// that are.
func (a *aggregate) segment(w int, p *plan, seg *segment.Segment) (done bool, err error) {
	if !a.byCounts {
		return false, nil
	}
	me := &a.workers[w]
	clear(me.counted)
	blocks := bitset.New(len(seg.Blocks))
	var service string
	may := p.all || p.query.MayMatchService(nil)
	left := 0
	for i, e := range seg.Blocks {
		if !p.all && e.Service != service {
			service, may = e.Service, p.query.MayMatchService([]byte(e.Service))
		}
		switch {
		case !may || !p.touches(&e.Meta):
		case e.MinSeq < p.minSeq || e.MaxSeq > p.maxSeq:
			left++
		case a.byLevels && p.inside(&e.Meta):
			a.addLevels(me.tally, e)
			me.counted[e] = true
		default:
			blocks.Add(i)
		}
	}
	if blocks.Empty() {
		return left == 0, nil
	}
	sum := countSum{a: a, tally: me.tally, levels: levelSet{query: a.r.Query}}
	edges := map[*segment.Entry]bool{}
	ok, err := seg.CountsOf(blocks, func(i int, c block.Count) bool {
		e := seg.Blocks[i]
		switch {
		case !sum.levels.has(e.Service, c.Level):
		case p.inside(&e.Meta), p.wholeBucket(c.Bucket):
			sum.add(e, c)
		case p.partOfBucket(c.Bucket):
			edges[e] = true
		}
		return true
	})
	sum.flush()
	if !ok || err != nil {
		return false, err
	}
	for i := blocks.Next(0); i >= 0; i = blocks.Next(i + 1) {
		if e := seg.Blocks[i]; !edges[e] {
			me.counted[e] = true
		}
	}
	if len(edges) == 0 {
		return left == 0, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := range edges {
		a.edges[e] = true
	}
	return false, nil
}

// countSum adds up a block's counts of one step of time, before they go into a tally.
type countSum struct {
	a      *aggregate
	tally  *query.Tally
	levels levelSet
	entry  *segment.Entry // nil when there is nothing
	start  int64          // of the step
	end    int64
	rows   [event.Debug + 1]int64
}

func (s *countSum) add(e *segment.Entry, c block.Count) {
	if at := bucketStart(c.Bucket); e != s.entry || s.a.r.Every > 0 && (at < s.start || at >= s.end) {
		s.flush()
		if s.entry = e; s.a.r.Every > 0 {
			s.start = s.a.r.StepStart(at)
			s.end = max(s.start+s.a.r.Every, s.start) // an overflow ends every step after one bucket
		}
	}
	s.rows[c.Level] += int64(c.Rows)
}

func (s *countSum) flush() {
	if s.entry == nil {
		return
	}
	for l, n := range s.rows {
		if n > 0 {
			s.tally.AddCount([]byte(s.entry.Service), event.Level(l), s.start, n)
		}
	}
	s.entry, s.rows = nil, [event.Debug + 1]int64{}
}

// levelSet tells which levels of a service match a query that only asks for services and levels.
type levelSet struct {
	query   *query.Query // nil for everything
	service string
	set     uint16
	known   bool
}

func (l *levelSet) has(service string, level uint8) bool {
	if l.query == nil {
		return true
	}
	if !l.known || l.service != service {
		l.service, l.set, l.known = service, 0, true
		for v := event.None; v <= event.Debug; v++ {
			if l.query.Match(&event.Event{Service: []byte(service), Level: v}) {
				l.set |= 1 << v
			}
		}
	}
	return l.set>>level&1 != 0
}

// bucketStart is when a bucket begins; the one in which int64 begins, with it.
func bucketStart(bucket int64) int64 {
	if bucket <= block.Bucket(math.MinInt64) {
		return math.MinInt64
	}
	return bucket * block.BucketLen
}

// wholeBucket tells whether all times of a bucket are in range.
func (p *plan) wholeBucket(bucket int64) bool {
	return (p.since == math.MinInt64 || bucketStart(bucket) >= p.since) && (p.until == math.MaxInt64 || bucket < block.Bucket(p.until))
}

// partOfBucket tells whether some times of a bucket are in range.
func (p *plan) partOfBucket(bucket int64) bool {
	return bucket >= block.Bucket(p.since) && bucketStart(bucket) < p.until
}

func (a *aggregate) piece(w int, p *piece) bool {
	me := &a.workers[w]
	e := p.entry
	switch {
	case me.counted[e]:
		return true
	case a.isEdge(e):
		return false
	case a.byNumber && p.counted():
		me.tally.AddCount([]byte(e.Service), event.None, 0, int64(p.least))
		return true
	case a.byLevels && p.inside:
		a.addLevels(me.tally, e)
		return true
	}
	return false
}

// addLevels counts all events of a block by what its meta says of their levels.
func (a *aggregate) addLevels(tally *query.Tally, e *segment.Entry) {
	levels := levelSet{query: a.r.Query}
	for l, n := range e.Levels {
		if n > 0 && levels.has(e.Service, uint8(l)) {
			tally.AddCount([]byte(e.Service), event.Level(l), 0, n)
		}
	}
}

func (a *aggregate) isEdge(e *segment.Entry) bool {
	if !a.byCounts {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.edges[e]
}

func (a *aggregate) head(w int, service string, rows int) bool {
	if a.byNumber {
		a.workers[w].tally.AddCount([]byte(service), event.None, 0, int64(rows))
	}
	return a.byNumber
}

func (a *aggregate) rows(w int, p *piece, t *block.Table, rows bitset.Set) error {
	if a.isEdge(p.entry) {
		if err := a.dropWhole(t, rows); err != nil {
			return err
		}
	}
	tally := a.workers[w].tally
	err := tally.AddTable(columns{t}, rows)
	if full := tally.Err(); full != nil {
		a.cancel(full)
	}
	return err
}

// dropWhole takes the rows out of a set that are in buckets wholly in range.
func (a *aggregate) dropWhole(t *block.Table, rows bitset.Set) error {
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if a.r.Since != 0 {
		b := block.Bucket(a.r.Since)
		if from = bucketStart(b); from < a.r.Since {
			from = bucketStart(b + 1)
		}
	}
	if a.r.Until != 0 {
		to = bucketStart(block.Bucket(a.r.Until))
	}
	lo, hi, err := t.Between(from, to)
	if err != nil {
		return err
	}
	for row := rows.Next(lo); row >= 0 && row < hi; row = rows.Next(row + 1) {
		rows.Remove(row)
	}
	return nil
}

func (a *aggregate) event(w int, e *event.Event) {
	tally := a.workers[w].tally
	if err := tally.Err(); err != nil {
		a.cancel(err)
		return
	}
	tally.Add(e)
}

// columns are a block's columns as a tally wants them.
type columns struct{ *block.Table }

// Values implements [query.StatsTable].
func (c columns) Values(field string, rows bitset.Set, fn func(row int, value []byte)) error {
	for _, column := range c.Column(field) {
		err := column.Each(rows, func(row int, value []byte) error {
			fn(row, value)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Feed implements [query.StatsTable].
func (c columns) Feed(field string, rows bitset.Set, sink *query.ValueSink) error {
	for _, column := range c.Column(field) {
		if err := column.Feed(rows, sink); err != nil {
			return err
		}
	}
	return nil
}

// Numbers implements [query.StatsTable].
func (c columns) Numbers(field string, rows bitset.Set, fn func(row int, v float64)) error {
	for _, column := range c.Column(field) {
		if err := column.Numbers(rows, fn); err != nil {
			return err
		}
	}
	return nil
}
