package index

import (
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// A search cuts the candidate rows into units that are read and matched by all cores, a few ahead of the place where their
// rows are merged in order:
//
//	blocks by time ─► filter ─► frames ┐
//	                                   ├─► units in order of time ─► workers ─► merge by (time, sequence) ─► fn
//	heads ─► runs of 512 rows ─────────┘
//
// Only units whose time overlaps are held at once, so that a search over everything needs as little memory as a small one.

// headUnit is the number of a head's rows that make one unit.
const headUnit = 512

// Search calls fn for each event of the answer, in order, and returns what it looked at. It ends early when fn returns an
// error, which it returns, or when ctx ends. What cannot be read is left out and said in the summary.
func (s *Store) Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error) {
	if err := s.enter(); err != nil {
		return query.Summary{}, err
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })()

	q := s.newSearch(ctx, r)
	defer q.finish()
	var err error
	switch {
	case r.CountOnly:
		err = q.count()
	case r.Before > 0 || r.After > 0:
		err = q.mergeContext(fn)
	default:
		err = q.merge(fn)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	q.finish()
	return q.summary(), err
}

type search struct {
	s       *Store
	ctx     context.Context
	r       query.Request
	all     bool // the query matches every event
	keepAll bool // rows that do not match are wanted too, for context
	needles []query.Needle
	keys    []uint64

	pending sources
	work    chan *unit
	workers sync.WaitGroup
	once    sync.Once
	over    atomic.Bool // nobody waits for units any more

	bytes, events, matched atomic.Int64
	blocks, pruned         int
	services               map[string]int64
	unknown                []string

	mu      sync.Mutex
	reasons []string
}

// unit is one piece of work: a frame of a block, or a run of a head's rows.
type unit struct {
	key     int64 // no row of it comes before this place in the order
	service string
	blk     *block.Block
	entry   *segment.Entry
	frame   int
	view    *headView
	rows    []rowRef

	done chan struct{}
	out  []match
	buf  []byte
	next int
}

// match is one row of an answer. data is the encoded event.
type match struct {
	time     int64
	seq      uint64
	received int64
	data     []byte
	context  bool
}

// A source is what is still to be turned into units: a block, or a unit itself.
type source struct {
	key   int64
	entry *segment.Entry
	unit  *unit
}

type sources []source

func (h sources) Len() int           { return len(h) }
func (h sources) Less(i, j int) bool { return h[i].key < h[j].key }
func (h sources) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *sources) Push(x any)        { *h = append(*h, x.(source)) }
func (h *sources) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = source{}
	*h = old[:len(old)-1]
	return x
}

// rowTime returns the time of an encoded event (see event.AppendEvent for its place).
func rowTime(data []byte) int64 { return int64(binary.LittleEndian.Uint64(data[4:])) }

func (s *Store) newSearch(ctx context.Context, r query.Request) *search {
	q := &search{s: s, ctx: ctx, r: r, services: map[string]int64{}, all: r.Query == nil || r.Query.Everything()}
	if q.r.Until == 0 {
		q.r.Until = math.MaxInt64
	}
	if q.r.Since == 0 {
		q.r.Since = math.MinInt64
	}
	q.keepAll = (r.Before > 0 || r.After > 0) && !r.CountOnly
	if r.Query != nil && !q.keepAll {
		q.needles, q.keys = r.Query.Needles(), r.Query.FilterKeys()
	}

	s.mu.RLock()
	segments, views := s.segments, s.views(r.Query)
	if q.r.MaxSeq == 0 || q.r.MaxSeq > s.last {
		q.r.MaxSeq = s.last
	}
	for _, err := range s.damage {
		q.reasons = append(q.reasons, err.Error())
	}
	s.mu.RUnlock()

	var fields []query.FieldRef
	if r.Query != nil {
		fields = slices.Clone(r.Query.Fields())
	}
	for _, seg := range segments {
		for _, e := range seg.Blocks {
			if e.MaxTime < q.r.Since || e.MinTime >= q.r.Until || e.MinSeq > q.r.MaxSeq || e.MaxSeq < q.r.MinSeq ||
				r.Query != nil && !r.Query.MayMatchService([]byte(e.Service)) {
				q.pruned++
				continue
			}
			fields = slices.DeleteFunc(fields, func(f query.FieldRef) bool { return e.HasField(f.Name) })
			q.pending = append(q.pending, source{key: q.key(e.MinTime, e.MaxTime), entry: e})
		}
	}
	for i := range views {
		q.addHead(&views[i])
	}
	heap.Init(&q.pending)
	q.unknown = missing(fields, views)
	q.start()
	return q
}

// missing returns the names of the fields that no row of the heads has.
func missing(fields []query.FieldRef, views []headView) []string {
	var e event.Event
	for i := range views {
		for _, r := range views[i].rows {
			if len(fields) == 0 {
				return nil
			}
			if _, err := event.Decode(views[i].row(r), &e); err == nil {
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

func (q *search) addHead(v *headView) {
	for i := 0; i < len(v.rows); i += headUnit {
		rows := v.rows[i:min(i+headUnit, len(v.rows))]
		lo, hi := rows[0].time, rows[0].time
		for _, r := range rows {
			lo, hi = min(lo, r.time), max(hi, r.time)
		}
		first, last := rows[0].seq, rows[len(rows)-1].seq
		if hi < q.r.Since || lo >= q.r.Until || first > q.r.MaxSeq || last < q.r.MinSeq {
			continue
		}
		if q.r.CountOnly && q.wants(v.service) && lo >= q.r.Since && hi < q.r.Until && first >= q.r.MinSeq && last <= q.r.MaxSeq {
			q.countWhole(v.service, len(rows))
			continue
		}
		key := q.key(lo, hi)
		q.pending = append(q.pending, source{key: key, unit: &unit{key: key, service: v.service, view: v, rows: rows}})
	}
}

// nextUnit returns the next unit in order, nil when there is none. It opens blocks as they are reached.
func (q *search) nextUnit() *unit {
	for len(q.pending) > 0 && q.ctx.Err() == nil {
		src := heap.Pop(&q.pending).(source)
		if src.unit != nil {
			return src.unit
		}
		q.expand(src.entry)
	}
	return nil
}

// expand turns a block into units, unless its filter rules it out.
func (q *search) expand(e *segment.Entry) {
	if q.r.CountOnly && q.wants(e.Service) && e.MinTime >= q.r.Since && e.MaxTime < q.r.Until && e.MinSeq >= q.r.MinSeq && e.MaxSeq <= q.r.MaxSeq {
		q.countWhole(e.Service, e.Rows) // the footer knows
		q.pruned++
		return
	}
	b, err := e.Open()
	if err != nil {
		q.unreadable(err)
		return
	}
	q.blocks++
	for i := range b.Frames {
		f := &b.Frames[i]
		if f.MaxTime < q.r.Since || f.MinTime >= q.r.Until {
			continue
		}
		key := q.key(f.MinTime, f.MaxTime)
		heap.Push(&q.pending, source{key: key, unit: &unit{key: key, service: e.Service, blk: b, entry: e, frame: i}})
	}
}

// wants tells whether every event of the service matches.
func (q *search) wants(service string) bool {
	return q.all || q.r.Query.MatchesAllOf([]byte(service))
}

// countWhole counts rows that all match, without a look at them.
func (q *search) countWhole(service string, rows int) {
	q.matched.Add(int64(rows))
	q.services[service] += int64(rows)
}

func (q *search) unreadable(err error) {
	q.s.o.Log.Error("part of the store cannot be read; the answer is marked incomplete", "error", err)
	q.mu.Lock()
	defer q.mu.Unlock()
	if !slices.Contains(q.reasons, err.Error()) {
		q.reasons = append(q.reasons, err.Error())
	}
}

// ahead is how many units are in work before the merge needs them.
func ahead() int { return 2 * runtime.GOMAXPROCS(0) }

func (q *search) start() {
	q.work = make(chan *unit, ahead())
	for range runtime.GOMAXPROCS(0) {
		q.workers.Go(q.worker)
	}
}

// finish ends the workers and waits for them.
func (q *search) finish() {
	q.over.Store(true)
	q.once.Do(func() { close(q.work) })
	q.workers.Wait()
}

type scratch struct {
	rows  block.Rows
	event event.Event
}

func (q *search) worker() {
	var sc scratch
	for u := range q.work {
		if q.ctx.Err() == nil && !q.over.Load() {
			q.read(u, &sc)
		}
		close(u.done)
	}
}

// read fills u.out with the unit's matches, in order.
func (q *search) read(u *unit, sc *scratch) {
	if u.blk == nil {
		q.readHead(u, sc)
	} else if err := q.readFrame(u, sc); err != nil {
		q.unreadable(u.entry.Corrupt(err))
		return
	}
	if !q.r.CountOnly && (u.blk == nil || q.r.Newest) {
		slices.SortFunc(u.out, func(a, b match) int {
			if q.less(&a, &b) {
				return -1
			}
			return 1
		})
	}
}

func (q *search) readHead(u *unit, sc *scratch) {
	for _, r := range u.rows {
		if r.time < q.r.Since || r.time >= q.r.Until || r.seq < q.r.MinSeq || r.seq > q.r.MaxSeq {
			continue
		}
		data := u.view.row(r)
		q.events.Add(1)
		q.bytes.Add(int64(len(data)))
		keep, beside := q.judge(data, r.seq, sc)
		if keep {
			u.out = append(u.out, match{time: r.time, seq: r.seq, received: block.ReceivedAt(u.view.received, r.seq), data: data, context: beside})
		}
	}
}

func (q *search) readFrame(u *unit, sc *scratch) error {
	if err := u.blk.Frame(u.frame, &sc.rows); err != nil {
		return err
	}
	data, seqs := sc.rows.Data, sc.rows.Seqs
	q.events.Add(int64(len(seqs)))
	q.bytes.Add(int64(len(data)))
	// Rows without the first literal are stepped over: candidate is where it occurs next.
	var first *query.Needle
	candidate := 0
	if len(q.needles) > 0 {
		first, candidate = &q.needles[0], -1
	}
	at := 0
	for _, seq := range seqs {
		size, err := event.Size(data[at:])
		if err != nil {
			return err
		}
		start := at
		at += size
		if first != nil {
			if candidate < start {
				i := first.Index(data[start:])
				if i < 0 {
					return nil
				}
				candidate = start + i
			}
			if candidate >= at {
				continue
			}
		}
		row := data[start:at]
		if t := rowTime(row); t < q.r.Since || t >= q.r.Until || seq < q.r.MinSeq || seq > q.r.MaxSeq {
			continue
		}
		keep, beside := q.judge(row, seq, sc)
		if !keep {
			continue
		}
		m := match{time: rowTime(row), seq: seq, received: u.blk.Received(seq), context: beside}
		if !q.r.CountOnly {
			if u.buf == nil {
				u.buf = make([]byte, 0, min(len(data)-start, 16<<10))
			}
			// Growing moves the buffer; the rows before keep the old one.
			n := len(u.buf)
			u.buf = append(u.buf, row...)
			m.data = u.buf[n:len(u.buf):len(u.buf)]
		}
		u.out = append(u.out, m)
	}
	return nil
}

// judge tells whether a row is wanted, and whether only as context.
func (q *search) judge(row []byte, seq uint64, sc *scratch) (keep, beside bool) {
	if q.all {
		return true, false
	}
	for i := range q.needles {
		if q.needles[i].Index(row) < 0 {
			return false, false
		}
	}
	if _, err := event.Decode(row, &sc.event); err != nil {
		q.unreadable(fmt.Errorf("event %d: %w", seq, err))
		return false, false
	}
	sc.event.Seq = seq
	if q.r.Query.Match(&sc.event) {
		return true, false
	}
	return q.keepAll, true
}

// dispatch gives a unit to the workers. There is room: no more units are in work than the channel holds.
func (q *search) dispatch(u *unit) {
	u.done = make(chan struct{})
	q.work <- u
}

// count counts the matches by service.
func (q *search) count() error {
	var queue []*unit
	take := func() {
		u := queue[0]
		queue = queue[1:]
		<-u.done
		q.matched.Add(int64(len(u.out)))
		if len(u.out) > 0 {
			q.services[u.service] += int64(len(u.out))
		}
	}
	for {
		u := q.nextUnit()
		if u == nil {
			break
		}
		q.dispatch(u)
		if queue = append(queue, u); len(queue) == ahead() {
			take()
		}
	}
	for len(queue) > 0 {
		take()
	}
	return nil
}

// merger is the heap of the units whose rows are being merged, by each one's next row.
type merger struct {
	q     *search
	units []*unit
}

func (h *merger) Len() int { return len(h.units) }
func (h *merger) Less(i, j int) bool {
	a, b := h.units[i], h.units[j]
	return h.q.less(&a.out[a.next], &b.out[b.next])
}
func (h *merger) Swap(i, j int) { h.units[i], h.units[j] = h.units[j], h.units[i] }
func (h *merger) Push(x any)    { h.units = append(h.units, x.(*unit)) }
func (h *merger) Pop() any {
	u := h.units[len(h.units)-1]
	h.units[len(h.units)-1] = nil
	h.units = h.units[:len(h.units)-1]
	return u
}

var errStop = errors.New("enough")

// rows calls fn for every row in order until it returns an error; errStop ends without one. The match is valid during the
// call.
func (q *search) rows(fn func(u *unit, m *match) error) error {
	active := &merger{q: q}
	var queue []*unit
	for {
		for len(queue) < ahead() {
			u := q.nextUnit()
			if u == nil {
				break
			}
			q.dispatch(u)
			queue = append(queue, u)
		}
		// Whatever may hold a row before the next one joins the merge first.
		if len(queue) > 0 && (active.Len() == 0 || queue[0].key <= q.place(active.units[0])) {
			u := queue[0]
			queue = queue[1:]
			<-u.done
			if len(u.out) > 0 {
				heap.Push(active, u)
			}
			continue
		}
		if active.Len() == 0 || q.ctx.Err() != nil {
			return nil
		}
		u := active.units[0]
		m := &u.out[u.next]
		if err := fn(u, m); err != nil {
			if err == errStop {
				return nil
			}
			return err
		}
		if u.next++; u.next == len(u.out) {
			heap.Pop(active)
			u.out, u.buf = nil, nil
		} else {
			heap.Fix(active, 0)
		}
	}
}

func (q *search) place(u *unit) int64 {
	t := u.out[u.next].time
	return q.key(t, t)
}

func (q *search) merge(fn func(query.Row) error) error {
	var e event.Event
	return q.rows(func(u *unit, m *match) error {
		if err := m.decode(&e); err != nil {
			return err
		}
		if err := fn(query.Row{Event: &e}); err != nil {
			return err
		}
		q.services[u.service]++
		if n := q.matched.Add(1); q.r.Limit > 0 && n == int64(q.r.Limit) {
			return errStop
		}
		return nil
	})
}

func (m *match) decode(e *event.Event) error {
	if _, err := event.Decode(m.data, e); err != nil {
		return fmt.Errorf("event %d: %w", m.seq, err)
	}
	e.Seq, e.Received = m.seq, m.received
	return nil
}

func (q *search) summary() query.Summary {
	return query.Summary{
		Matched: q.matched.Load(), Events: q.events.Load(), Bytes: q.bytes.Load(), Blocks: q.blocks, Pruned: q.pruned,
		Complete: len(q.reasons) == 0, Reasons: q.reasons, Sequence: q.r.MaxSeq, Services: q.services,
		UnknownFields: q.unknown,
	}
}
