package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// A search is cut into jobs that all cores work on, a few ahead of the place where their rows are merged in order:
//
//	segment ─► plan: blocks that may match ─┬─► pattern block: its matching rows ─► chunks of rows, rebuilt ─┐
//	                                        └─► block of plain rows ─► frames ───────────────────────────────┼─► merge ─► fn
//	head in memory ─► runs of rows ──────────────────────────────────────────────────────────────────────────┘
//
// Every job has a key: no row it leads to comes before that place in the order. So what is not needed yet is not looked at,
// an answer that has its limit leaves the rest alone, and only what overlaps in time is held at once.

// cores is how many goroutines work on a search. It is taken once, when the program starts: the runtime may change its mind while a
// search is under way, and a server adds places that are no cores (cmd/lookout/serve.go).
var cores = runtime.GOMAXPROCS(0)

const (
	leastUnit  = 512  // rows of a head that make one job, at least if there are as many
	mostUnit   = 4096 // and at most
	eventBytes = 256  // an event's encoded length, where a guess is enough
)

// Search calls fn for each event of the answer, in order, and returns what it looked at. It ends early when fn returns an
// error, which it returns, or when ctx ends. What cannot be read is left out and said in the summary.
func (s *Store) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	if r.CountOnly {
		c := make(counter, scanWorkers())
		sum, err := s.scan(ctx, r, c)
		sum.Services = map[string]int64{}
		for i := range c {
			c[i].flush()
			for service, n := range c[i].services {
				sum.Services[service] += n
				sum.Matched += n
			}
		}
		return sum, err
	}
	return s.search(ctx, r, nil, func(q *search) error {
		if r.Before > 0 || r.After > 0 {
			return q.mergeContext(fn)
		}
		return q.merge(fn)
	})
}

// search runs a search; answer drives it.
func (s *Store) search(ctx context.Context, r query.Request, v visitor, answer func(*search) error) (query.Summary, error) {
	if err := s.enter(); err != nil {
		return query.Summary{}, err
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })()

	defer s.searches.begin()()
	q := s.newSearch(ctx, r, v)
	defer q.release()
	defer q.finish()
	err := answer(q)
	if err == nil {
		err = context.Cause(ctx)
	}
	q.finish()
	return q.summary(), err
}

// search is one search under way. What is not said to be the workers' belongs to the goroutine that merges.
type search struct {
	plan
	s        *Store
	ctx      context.Context
	begun    time.Time
	r        query.Request
	visitor  visitor            // of a scan; nil when rows are merged
	segments []*segment.Segment // with context: all there are, and the heads
	views    []headView
	passed   func(place int64) error // is told that no row to come lies before a place, unless nil
	release  func()                  // of the segments

	waiting  jobs
	running  []*job
	active   merger
	started  int   // jobs that have ended
	chunks   int   // chunks of rows that were found and are not rebuilt yet
	held     int64 // memory of the tables that cursors hold, in bytes
	underway int64 // bytes of events that running jobs may look at
	cut      int64 // what lies here and behind is left out, when wasCut: the budget is used up
	wasCut   bool
	cutAt    int64  // when it is said that events were left out, from where on
	budget   string // the limit that was reached
	todo     chan *job
	results  chan *job
	workers  sync.WaitGroup
	finished bool
	over     chan struct{} // closed when nobody waits for results any more
	spare    []*stream

	matched  int64
	total    tally
	services map[string]int64
	unknown  []string

	mu      sync.Mutex // for reasons, which the workers add to
	reasons []string
}

// tally counts what a job looked at.
type tally struct {
	events, bytes int64
	scan          query.Scan
}

func (s *Store) newSearch(ctx context.Context, r query.Request, v visitor) *search {
	q := &search{s: s, ctx: ctx, begun: time.Now(), over: make(chan struct{}), r: r, visitor: v, services: map[string]int64{}}
	context := (r.Before > 0 || r.After > 0) && v == nil

	s.mu.RLock()
	segments, release := s.snapshot()
	views := s.views(r.Query)
	if context {
		q.segments, q.views = segments, s.views(nil)
	}
	q.plan = newPlan(&r, s.last)
	for _, err := range s.damaged() {
		q.reasons = append(q.reasons, err.Error())
	}
	s.mu.RUnlock()
	q.release = release
	q.active.newest = r.Newest
	for _, seg := range segments {
		var j *job
		for _, e := range seg.Blocks {
			if !q.touches(&e.Meta) {
				continue
			}
			if key := q.key(e.MinTime, e.MaxTime); j == nil {
				j = &job{key: key, work: &planJob{seg: seg}}
			} else {
				j.key = min(j.key, key)
			}
		}
		if j != nil {
			q.waiting.push(j)
		} else {
			q.total.scan.Add(query.Scan{Segments: 1, Blocks: len(seg.Blocks), Range: len(seg.Blocks)})
		}
	}
	for i := range views {
		q.addHead(&views[i])
	}
	if r.Query != nil && len(r.Query.Fields()) > 0 {
		q.unknown = q.missing(segments, views)
	}
	q.todo, q.results = make(chan *job, q.window()), make(chan *job, q.window())
	for i := range min(cores, len(q.waiting)+1) {
		q.workers.Go(func() { q.worker(i) })
	}
	return q
}

// missing returns the names of the query's fields that no block in range and no row in memory has.
func (q *search) missing(segments []*segment.Segment, views []headView) []string {
	fields := slices.Clone(q.query.Fields())
	for _, seg := range segments {
		for _, e := range seg.Blocks {
			if len(fields) == 0 {
				return nil
			}
			if q.touches(&e.Meta) && q.query.MayMatchService([]byte(e.Service)) {
				fields = slices.DeleteFunc(fields, func(f query.FieldRef) bool { return e.HasField(f.Name) })
			}
		}
	}
	return missing(fields, views)
}

// missing returns the names of the fields that no row of the heads has.
func missing(fields []query.FieldRef, views []headView) []string {
	var e event.Event
	for i := range views {
		for _, r := range views[i].rows {
			if len(fields) == 0 {
				return nil
			}
			row := views[i].row(r)
			// Most rows have none of the names anywhere.
			if !slices.ContainsFunc(fields, func(f query.FieldRef) bool { return bytes.Contains(row, []byte(f.Name)) }) {
				continue
			}
			if _, err := event.Decode(row, &e); err == nil {
				fields = slices.DeleteFunc(fields, func(f query.FieldRef) bool { return e.Field(f.Name) != nil })
			}
		}
	}
	var names []string
	for _, f := range fields {
		names = append(names, f.Name)
	}
	return names
}

// key turns a range of times into a place in the search's order: ascending for oldest first, and mirrored for newest.
func (q *search) key(minTime, maxTime int64) int64 {
	if q.r.Newest {
		return ^maxTime // a negation that cannot overflow
	}
	return minTime
}

func (q *search) less(a, b *match) bool {
	if q.r.Newest {
		a, b = b, a
	}
	return a.time < b.time || a.time == b.time && a.seq < b.seq
}

// addHead makes the jobs of a head: short ones for the rows that come first in the search's order, which may be all that is wanted.
func (q *search) addHead(v *headView) {
	unit := leastUnit
	if q.visitor != nil {
		unit = mostUnit
	}
	for rest := v.rows; len(rest) > 0; unit = min(2*unit, mostUnit) {
		var rows []rowRef
		if n := min(unit, len(rest)); q.r.Newest {
			rest, rows = rest[:len(rest)-n], rest[len(rest)-n:]
		} else {
			rows, rest = rest[:n], rest[n:]
		}
		lo, hi := v.minTime, v.maxTime
		if q.visitor == nil || lo < q.since || hi >= q.until { // else there is no order to keep, and nothing to leave out
			lo, hi = rows[0].time, rows[0].time
			for _, r := range rows {
				lo, hi = min(lo, r.time), max(hi, r.time)
			}
		}
		first, last := rows[0].seq, rows[len(rows)-1].seq
		if hi < q.since || lo >= q.until || first > q.maxSeq || last < q.minSeq {
			continue
		}
		inside := lo >= q.since && hi < q.until && first >= q.minSeq && last <= q.maxSeq &&
			q.between(query.Place{Time: lo, Seq: first}, query.Place{Time: hi, Seq: last})
		q.waiting.push(&job{key: q.key(lo, hi), cost: int64(len(rows)) * eventBytes, work: &headJob{view: v, rows: rows, inside: inside, whole: inside && q.allOf(v.service)}})
	}
}

// unreadable says that rows are missing from the answer. A worker may call it.
func (q *search) unreadable(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.reasons, err.Error()) {
		q.reasons = append(q.reasons, err.Error())
		q.s.o.Log.Error("part of the store cannot be read; the answer is marked incomplete", "error", err)
	}
}

// spoiled says that a block cannot be read, and keeps it from being tried again: it is logged once. A worker may call it.
func (q *search) spoiled(e *segment.Entry, err error) {
	var known *segment.CorruptError
	if !errors.As(err, &known) {
		err = e.Corrupt(err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if text := err.Error(); !slices.Contains(q.reasons, text) {
		q.reasons = append(q.reasons, text)
	}
	q.s.quarantine(e, err)
}

// quarantine keeps a block that cannot be read from being tried again and again.
func (s *Store) quarantine(e *segment.Entry, err error) {
	if e.Damaged() == nil {
		s.o.Log.Error("a block cannot be read; answers that need it are marked incomplete, the rest is served", "error", err)
	}
	e.Quarantine(err)
}

func (q *search) summary() query.Summary {
	scan := q.total.scan
	return query.Summary{
		Matched: q.matched, Events: q.total.events, Bytes: q.total.bytes, Blocks: scan.Opened, Pruned: scan.Range + scan.Filter + scan.Forms + scan.Counted, Scan: scan,
		Complete: len(q.reasons) == 0, Reasons: q.reasons, Budget: q.budget, Cut: q.cutAt, Sequence: q.maxSeq, Services: q.services, UnknownFields: q.unknown,
	}
}

// A job is one piece of work. Its run is called by a worker, and then its join by the goroutine that merges.
type job struct {
	key   int64 // no row that it leads to comes before this place in the order
	cost  int64 // bytes of events that it may look at, roughly
	tally tally
	work  work
}

type work interface {
	run(q *search, j *job, w *worker)
	join(q *search, j *job)
}

// worker is what a worker keeps from job to job.
type worker struct {
	n     int // its number
	frame block.Rows
	event event.Event
	set   bitset.Set
}

var workers = sync.Pool{New: func() any { return new(worker) }}

func (q *search) worker(n int) {
	w := workers.Get().(*worker)
	defer workers.Put(w)
	w.n = n
	for j := range q.todo {
		if q.ctx.Err() == nil && !q.left() {
			q.work(j, w)
		}
		q.results <- j // there is room for all that are running
	}
}

// work does a job, in turn with other long searches.
func (q *search) work(j *job, w *worker) {
	if time.Since(q.begun) < wayTime {
		j.work.run(q, j, w)
		return
	}
	if !q.s.long.enter(q) {
		return
	}
	defer q.s.long.leave()
	j.work.run(q, j, w)
}

// left tells whether nobody waits for results any more.
func (q *search) left() bool {
	select {
	case <-q.over:
		return true
	default:
		return false
	}
}

// finish ends the workers and waits for them.
func (q *search) finish() {
	if !q.finished {
		q.finished = true
		close(q.over)
		close(q.todo)
		q.workers.Wait()
	}
}

// window is how many jobs are in work at most. A scan has no order to keep and no rows to hold.
func (q *search) window() int {
	if q.visitor != nil {
		return 8 * cores
	}
	return 2 * cores
}

// dispatch gives the next jobs to the workers: those without which the merge cannot go on, and some more, but not more than
// the merge has been able to use.
func (q *search) dispatch() {
	window := q.window()
	spare := window - q.active.fresh
	if q.r.Limit > 0 {
		// What is found first may be all that is wanted.
		spare = min(spare-q.chunks, 1+q.started)
	}
	for len(q.waiting) > 0 && len(q.running) < window {
		j := q.waiting[0]
		if len(q.running) >= spare && !(len(q.active.streams) == 0 && len(q.running) == 0) && !q.needs(j.key) {
			return
		}
		chunk, chunked := j.work.(*chunkJob)
		if q.r.MaxBytes > 0 && !chunked { // a chunk's rows were looked at before
			if j.cost > 0 && q.planning(j.key) {
				return // or what comes first would find the bytes used up
			}
			if q.total.bytes+q.underway >= q.r.MaxBytes && q.underway > 0 {
				return // until it is known how much it was
			}
			if q.total.bytes >= q.r.MaxBytes {
				q.stop(j.key)
			}
		}
		q.waiting.pop()
		if q.wasCut && j.key >= q.cut {
			continue
		}
		if chunked {
			chunk.begin(q)
		}
		q.underway += j.cost
		q.running = append(q.running, j)
		q.todo <- j
	}
}

// planning tells whether it is still being found what rows of a segment that begins before a place there are.
func (q *search) planning(key int64) bool {
	return q.visitor == nil && slices.ContainsFunc(q.running, func(j *job) bool {
		_, plan := j.work.(*planJob)
		return plan && j.key < key
	})
}

// needs tells whether a job of this key may have a row before the next one of the merge.
func (q *search) needs(key int64) bool {
	return len(q.active.streams) > 0 && key <= q.place(q.active.streams[0])
}

// bound is the first place that the merge has to wait for.
func (q *search) bound() (key int64, any bool) {
	for i, j := range q.running {
		if i == 0 || j.key < key {
			key, any = j.key, true
		}
	}
	if len(q.waiting) > 0 && (!any || q.waiting[0].key < key) {
		key, any = q.waiting[0].key, true
	}
	return key, any
}

// await waits until a job has ended.
func (q *search) await() {
	j := <-q.results
	i := slices.Index(q.running, j)
	last := len(q.running) - 1
	q.running[i] = q.running[last]
	q.running = q.running[:last]
	q.started++
	q.underway -= j.cost
	q.total.events += j.tally.events
	q.total.bytes += j.tally.bytes
	q.total.scan.Add(j.tally.scan)
	j.work.join(q, j)
}

// stop leaves out what lies at the place and behind it.
func (q *search) stop(key int64) {
	if q.wasCut {
		q.cut = min(q.cut, key)
		return
	}
	q.wasCut, q.cut = true, key
}

// jobs is a heap by key.
type jobs []*job

func (h *jobs) push(j *job) {
	*h = append(*h, j)
	l := *h
	for i := len(l) - 1; i > 0; {
		up := (i - 1) / 2
		if l[up].key <= l[i].key {
			return
		}
		l[up], l[i] = l[i], l[up]
		i = up
	}
}

func (h *jobs) pop() *job {
	l := *h
	top, n := l[0], len(l)-1
	l[0] = l[n]
	l[n] = nil
	l = l[:n]
	*h = l
	for i := 0; ; {
		k := 2*i + 1
		if k >= n {
			return top
		}
		if k+1 < n && l[k+1].key < l[k].key {
			k++
		}
		if l[i].key <= l[k].key {
			return top
		}
		l[i], l[k] = l[k], l[i]
		i = k
	}
}

var errStop = errors.New("enough")

// errPart wraps what is wrong with an event.
func errPart(seq uint64, err error) error { return fmt.Errorf("event %d: %w", seq, err) }
