package index

import (
	"cmp"
	"slices"
	"sort"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// shelves are all the places of a search's snapshot where neighbours may lie: blocks, and heads in memory. It belongs to the
// goroutine that merges.
//
// The neighbours of a row are looked for outwards from it. A block is opened only when it may hold one that is nearer than
// what was found already; then its columns are looked at in windows that grow until there are enough.
type shelves struct {
	q     *search
	lists map[string]*shelfList // by service; of all under the name allServices
	open  []*shelf              // that hold something which takes memory, the one used last at the end
	set   bitset.Set
	buf   []byte
	event event.Event
	name  []byte
	at    int64 // the match's place in the search's order
	bytes int64 // of events looked at farther off than in the first window
	over  bool  // more than the search may
}

// Variables, so that tests come to what lies behind them.
var (
	// shelfBytes bounds the memory of the blocks that are kept open for the next match.
	shelfBytes int64 = 64 << 20
	// indexFrom is the number of rows in memory that may be looked at for one match before they are indexed by key.
	indexFrom = 2048
)

const (
	// allServices stands in lists for all services; where it does, no service does.
	allServices = "*"
	// leastWindow is how many rows of a block are looked at at once at least.
	leastWindow = 64
)

// ref is a row's place.
type ref struct {
	time  int64
	seq   uint64
	shelf *shelf
	row   int
}

func (r *ref) compare(time int64, seq uint64) int {
	return cmp.Or(cmp.Compare(r.time, time), cmp.Compare(r.seq, seq))
}

// precedes tells whether a comes before b in the search's order.
func (q *search) precedes(a, b ref) bool {
	if q.r.Newest {
		a, b = b, a
	}
	return a.compare(b.time, b.seq) < 0
}

// shelf is one place: a block of a segment, or a head.
type shelf struct {
	minTime, maxTime int64
	seg              *segment.Segment // nil for a head
	block            int              // in the segment
	view             *headView        // of a head

	table *openTable // of a pattern block that is open
	rows  []memoryRow
	plain *block.Block // whose rows these are; nil for a head
	byKey map[string][]int
}

// memoryRow is a row of a head or of a block of plain rows, in order of (time, sequence).
type memoryRow struct {
	time int64
	seq  uint64
	data []byte
}

func (s *shelf) entry() *segment.Entry { return s.seg.Blocks[s.block] }

// shelfList is some shelves in both orders. Of each in byMin, latest is the latest time of it and those before it; of each in
// byMax, earliest is the earliest of it and those behind it: so it is known when no further one can have anything near.
type shelfList struct {
	byMin, byMax     []*shelf
	latest, earliest []int64
}

func newShelfList(all []*shelf) *shelfList {
	l := &shelfList{byMin: slices.Clone(all), byMax: slices.Clone(all), latest: make([]int64, len(all)), earliest: make([]int64, len(all))}
	slices.SortFunc(l.byMin, func(a, b *shelf) int { return cmp.Compare(a.minTime, b.minTime) })
	slices.SortFunc(l.byMax, func(a, b *shelf) int { return cmp.Compare(a.maxTime, b.maxTime) })
	for i, s := range l.byMin {
		l.latest[i] = s.maxTime
		if i > 0 {
			l.latest[i] = max(l.latest[i-1], s.maxTime)
		}
	}
	for i, s := range slices.Backward(l.byMax) {
		l.earliest[i] = s.minTime
		if i+1 < len(all) {
			l.earliest[i] = min(l.earliest[i+1], s.minTime)
		}
	}
	return l
}

func newShelves(q *search) *shelves { return &shelves{q: q} }

// list returns the shelves of a service, or of all.
func (s *shelves) list(service string) *shelfList {
	if s.lists == nil {
		s.lists = map[string]*shelfList{}
		services := map[string][]*shelf{}
		add := func(service string, sh *shelf) {
			if !s.q.r.ContextBy.OneService() {
				service = allServices
			}
			services[service] = append(services[service], sh)
		}
		for _, seg := range s.q.segments {
			for i, e := range seg.Blocks {
				if s.q.touches(&e.Meta) {
					add(e.Service, &shelf{minTime: e.MinTime, maxTime: e.MaxTime, seg: seg, block: i})
				}
			}
		}
		for i := range s.q.views {
			v := &s.q.views[i]
			add(v.service, &shelf{minTime: v.minTime, maxTime: v.maxTime, view: v})
		}
		for service, all := range services {
			s.lists[service] = newShelfList(all)
		}
	}
	return s.lists[service]
}

// contextKey is what the neighbours of one trail have in common.
type contextKey struct {
	name    string // see query.ContextBy.AppendKey
	service string // whose shelves they lie on, or allServices
	query   *query.Query
	exact   bool // nothing else matches the query
	blocks  map[*segment.Segment]bitset.Set
}

func newContextKey(q *search, e *event.Event, name []byte) *contextKey {
	k := &contextKey{name: string(name), service: allServices, blocks: map[*segment.Segment]bitset.Set{}}
	if q.r.ContextBy.OneService() {
		k.service = string(e.Service)
	}
	k.query, k.exact = q.r.ContextBy.Query(e)
	return k
}

// may tells whether a shelf may hold rows of the key.
func (s *shelves) may(k *contextKey, sh *shelf) bool {
	if sh.seg == nil || k.query == nil {
		return true
	}
	set, known := k.blocks[sh.seg]
	if !known {
		if sh.table != nil {
			return true // a look at it costs less than one at the footer
		}
		set = bitset.New(len(sh.seg.Blocks))
		for i, e := range sh.seg.Blocks {
			if k.query.MayMatchService([]byte(e.Service)) {
				if _, most := k.query.Bounds(metaFacts{&e.Meta}); most > 0 {
					set.Add(i)
				}
			}
		}
		if err := sh.seg.Candidates(k.query.FilterKeys(), set); err != nil {
			s.q.s.o.Log.Warn("part of a segment's footer cannot be read; its blocks are searched without", "error", err)
		}
		k.blocks[sh.seg] = set
	}
	return set.Has(sh.block)
}

// beside returns at most n neighbours of a place, the nearest first: those before it in time, or those after it.
func (s *shelves) beside(k *contextKey, at ref, earlier bool, n int) []ref {
	if k == nil || n == 0 {
		return nil
	}
	l := s.list(k.service)
	if l == nil {
		return nil
	}
	var found []ref
	look := func(sh *shelf) {
		if s.q.ctx.Err() != nil || s.tooMuch() || !s.may(k, sh) {
			return
		}
		w := walk{key: k, at: at, earlier: earlier, n: n}
		if len(found) == n {
			w.limit = &found[n-1]
		}
		more := s.search(sh, &w)
		if len(more) == 0 {
			return
		}
		if found == nil {
			found = more
			return
		}
		if found = append(found, more...); len(found) > len(more) {
			slices.SortFunc(found, func(a, b ref) int {
				c := a.compare(b.time, b.seq)
				if earlier {
					return -c
				}
				return c
			})
		}
		found = found[:min(len(found), n)]
	}
	if earlier {
		i := sort.Search(len(l.byMin), func(i int) bool { return l.byMin[i].minTime > at.time }) - 1
		for ; i >= 0; i-- {
			if full := len(found) == n; full && l.latest[i] < found[n-1].time {
				break
			} else if sh := l.byMin[i]; !full || sh.maxTime >= found[n-1].time {
				look(sh)
			}
		}
		return found
	}
	i := sort.Search(len(l.byMax), func(i int) bool { return l.byMax[i].maxTime >= at.time })
	for ; i < len(l.byMax); i++ {
		if full := len(found) == n; full && l.earliest[i] > found[n-1].time {
			break
		} else if sh := l.byMax[i]; !full || sh.minTime <= found[n-1].time {
			look(sh)
		}
	}
	return found
}

// tooMuch tells whether the search has looked at as many bytes as it may; then it ends at the match.
func (s *shelves) tooMuch() bool {
	if limit := s.q.r.MaxBytes; limit > 0 && !s.over && s.q.total.bytes+s.bytes > limit && s.bytes > 0 {
		s.over = true
		s.q.total.bytes += s.bytes
		s.q.stop(s.at)
	}
	return s.over
}

// walk is one look at a shelf.
type walk struct {
	key     *contextKey
	at      ref
	earlier bool
	n       int
	limit   *ref // what lies farther off is not wanted; nil for no limit
}

// beyond tells whether a row is farther off than the limit.
func (w *walk) beyond(time int64) bool {
	if w.limit == nil {
		return false
	}
	if w.earlier {
		return time < w.limit.time
	}
	return time > w.limit.time
}

// search returns at most n rows of a shelf, the nearest first.
func (s *shelves) search(sh *shelf, w *walk) []ref {
	var found []ref
	err := s.fetch(sh)
	switch {
	case err == nil && sh.table != nil:
		found, err = s.inTable(sh, w)
	case err == nil:
		found, err = s.inMemory(sh, w)
	}
	if err != nil {
		s.failed(sh, err)
	}
	return found
}

func (s *shelves) failed(sh *shelf, err error) {
	if sh.seg != nil {
		s.q.spoiled(sh.entry(), err)
	} else {
		s.q.unreadable(err)
	}
}

// fetch opens a shelf, and closes the one that was not used for longest when there are too many.
func (s *shelves) fetch(sh *shelf) error {
	if i := slices.Index(s.open, sh); i >= 0 {
		s.open = append(slices.Delete(s.open, i, i+1), sh)
		return nil
	}
	switch {
	case sh.seg == nil:
		if sh.rows == nil {
			v := sh.view
			sh.rows = make([]memoryRow, len(v.rows))
			for i, r := range v.rows {
				sh.rows[i] = memoryRow{r.time, r.seq, v.row(r)}
			}
			sh.sort()
		}
		return nil // it is there as long as the search
	case sh.entry().Columnar():
		o, err := s.q.s.tables.open(sh.entry())
		if err != nil {
			return err
		}
		sh.table = o
	default:
		if err := sh.readPlain(); err != nil {
			return err
		}
	}
	s.open = append(s.open, sh)
	size := int64(0)
	for i, o := range slices.Backward(s.open) {
		if size += o.size(); size > shelfBytes && i < len(s.open)-1 {
			for _, o := range s.open[:i+1] {
				s.drop(o)
			}
			s.open = slices.Delete(s.open, 0, i+1)
			break
		}
	}
	return nil
}

// size returns roughly how many bytes an open shelf takes.
func (s *shelf) size() int64 {
	if s.table != nil {
		return int64(s.table.table.MemSize())
	}
	return s.entry().Bytes + int64(len(s.rows))*40
}

// rowBytes is about how long a row is, encoded.
func (s *shelf) rowBytes(row int) int {
	if s.table == nil {
		return len(s.rows[row].data)
	}
	e := s.entry()
	return int(e.Bytes) / max(e.Rows, 1) * 5 / 4
}

// readPlain reads the rows of a plain block.
func (s *shelf) readPlain() error {
	b, err := s.entry().Open()
	if err != nil {
		return err
	}
	var rows []memoryRow
	for i := range b.Frames {
		var frame block.Rows // its memory is the rows'
		if err := b.Frame(i, &frame); err != nil {
			return err
		}
		data := frame.Data
		for _, seq := range frame.Seqs {
			size, err := event.Size(data)
			if err != nil {
				return err
			}
			rows = append(rows, memoryRow{rowTime(data), seq, data[:size:size]})
			data = data[size:]
		}
	}
	s.rows, s.plain = rows, b
	s.sort()
	return nil
}

func (s *shelf) sort() {
	slices.SortFunc(s.rows, func(a, b memoryRow) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.seq, b.seq)) })
}

// drop gives an open shelf's memory back.
func (s *shelves) drop(sh *shelf) {
	if sh.table != nil {
		s.q.s.tables.done(sh.table)
	}
	sh.table, sh.rows, sh.plain, sh.byKey = nil, nil, nil, nil
}

func (s *shelves) close() {
	for _, sh := range s.open {
		s.drop(sh)
	}
	s.open = nil
}

// inTable looks at a pattern block.
func (s *shelves) inTable(sh *shelf, w *walk) ([]ref, error) {
	t := sh.table.table
	times, err := t.Times()
	if err != nil {
		return nil, err
	}
	seqs, err := t.Seqs()
	if err != nil {
		return nil, err
	}
	// The rows in range on that side of the place.
	lo, hi := 0, len(times)
	if m := &t.Meta; m.MinTime < s.q.since || m.MaxTime >= s.q.until {
		lo = sort.Search(hi, func(i int) bool { return times[i] >= s.q.since })
		hi = max(lo, sort.Search(hi, func(i int) bool { return times[i] >= s.q.until }))
	}
	at := sort.Search(len(times), func(i int) bool {
		return times[i] > w.at.time || times[i] == w.at.time && seqs[i] >= w.at.seq
	})
	if w.earlier {
		hi = min(hi, at)
	} else {
		if at < len(seqs) && seqs[at] == w.at.seq {
			at++
		}
		lo = max(lo, at)
	}
	var found []ref
	if words := (len(times) + 63) / 64; cap(s.set) < words {
		s.set = bitset.New(len(times))
	}
	set := s.set[:(len(times)+63)/64]
	first := max(leastWindow, 2*w.n)
	for size := first; lo < hi; size *= 4 {
		from, to := lo, min(lo+size, hi)
		if w.earlier {
			from, to = max(hi-size, lo), hi
		}
		if s.tooMuch() || w.earlier && w.beyond(times[to-1]) || !w.earlier && w.beyond(times[from]) {
			break
		}
		set.Clear()
		set.AddRange(from, to)
		if size > first {
			s.bytes += t.Meta.Bytes * int64(to-from) / int64(max(t.Meta.Rows, 1))
		}
		for _, q := range []*query.Query{w.key.query, s.q.r.Beside} {
			if q != nil {
				if err := t.Select(q, nil, set); err != nil {
					return found, err
				}
			}
		}
		next := func(row int) int { return set.Next(row + 1) }
		row := set.Next(from)
		if w.earlier {
			next = func(row int) int { return set.Prev(row - 1) }
			row = set.Prev(to - 1)
		}
		for ; row >= 0; row = next(row) {
			if !s.q.has(times[row], seqs[row]) {
				continue
			}
			r := ref{times[row], seqs[row], sh, row}
			if !w.key.exact {
				m, ok := s.read(r, s.buf)
				if !ok {
					return found, nil
				}
				s.buf = m.data
				if ok, err := s.isOf(w.key, m.data, m.seq, nil); err != nil || !ok {
					if err != nil {
						return found, err
					}
					continue
				}
			}
			if found = append(found, r); len(found) == w.n {
				return found, nil
			}
		}
		if w.earlier {
			hi = from
		} else {
			lo = to
		}
	}
	return found, nil
}

// isOf tells whether an encoded event has the key, and matches a query unless that is nil.
func (s *shelves) isOf(k *contextKey, data []byte, seq uint64, beside *query.Query) (bool, error) {
	if _, err := event.Decode(data, &s.event); err != nil {
		return false, errPart(seq, err)
	}
	s.event.Seq = seq
	var ok bool
	s.name, ok = s.q.r.ContextBy.AppendKey(s.name[:0], &s.event)
	return ok && (k == nil || string(s.name) == k.name) && (beside == nil || beside.Match(&s.event)), nil
}

// inMemory looks at rows in memory.
func (s *shelves) inMemory(sh *shelf, w *walk) ([]ref, error) {
	if sh.byKey != nil {
		return s.inIndex(sh, w, sh.byKey[w.key.name])
	}
	var found []ref
	i, step := s.begin(sh, w, len(sh.rows), func(i int) int { return i })
	for looked := 0; i >= 0 && i < len(sh.rows); i += step {
		r := &sh.rows[i]
		if w.beyond(r.time) || s.tooMuch() {
			break
		}
		if looked++; looked > indexFrom && w.key.query != nil {
			if err := s.index(sh); err != nil {
				return found, err
			}
			return s.inIndex(sh, w, sh.byKey[w.key.name])
		}
		if looked > leastWindow {
			s.bytes += int64(len(r.data))
		}
		if !s.q.has(r.time, r.seq) {
			continue
		}
		ok, err := s.isOf(w.key, r.data, r.seq, s.q.r.Beside)
		if err != nil {
			return found, err
		}
		if ok {
			if found = append(found, ref{r.time, r.seq, sh, i}); len(found) == w.n {
				break
			}
		}
	}
	return found, nil
}

// begin returns the first of n places to look at, where row is the row at a place, and the step to the next.
func (s *shelves) begin(sh *shelf, w *walk, n int, row func(i int) int) (i, step int) {
	i = sort.Search(n, func(i int) bool {
		r := &sh.rows[row(i)]
		return r.time > w.at.time || r.time == w.at.time && r.seq >= w.at.seq
	})
	if w.earlier {
		return i - 1, -1
	}
	if i < n && sh.rows[row(i)].seq == w.at.seq {
		i++
	}
	return i, 1
}

// index files the rows in memory by key.
func (s *shelves) index(sh *shelf) error {
	sh.byKey = map[string][]int{}
	for i := range sh.rows {
		r := &sh.rows[i]
		ok, err := s.isOf(nil, r.data, r.seq, s.q.r.Beside)
		if err != nil {
			sh.byKey = nil
			return err
		}
		if ok && s.q.has(r.time, r.seq) {
			sh.byKey[string(s.name)] = append(sh.byKey[string(s.name)], i)
		}
	}
	return nil
}

// inIndex looks at the rows of a key, which have been found before.
func (s *shelves) inIndex(sh *shelf, w *walk, rows []int) ([]ref, error) {
	var found []ref
	i, step := s.begin(sh, w, len(rows), func(i int) int { return rows[i] })
	for ; i >= 0 && i < len(rows) && len(found) < w.n; i += step {
		r := &sh.rows[rows[i]]
		if w.beyond(r.time) {
			break
		}
		found = append(found, ref{r.time, r.seq, sh, rows[i]})
	}
	return found, nil
}

// read returns a row, in buf's memory. What cannot be read is said to be missing.
func (s *shelves) read(r ref, buf []byte) (m match, ok bool) {
	sh := r.shelf
	err := s.fetch(sh)
	if buf == nil && err == nil { // growing step by step costs more than the row
		buf = make([]byte, 0, sh.rowBytes(r.row))
	}
	m = match{time: r.time, seq: r.seq}
	switch {
	case err != nil:
	case sh.table != nil:
		m.data, err = sh.table.table.AppendRow(buf[:0], r.row)
		m.received = sh.table.block.Received(r.seq)
	case sh.plain != nil:
		m.data, m.received = append(buf[:0], sh.rows[r.row].data...), sh.plain.Received(r.seq)
	default:
		m.data, m.received = append(buf[:0], sh.rows[r.row].data...), block.ReceivedAt(sh.view.received, r.seq)
	}
	if err != nil {
		s.failed(sh, err)
		return m, false
	}
	m.size = len(m.data)
	return m, true
}
