package index

import (
	"slices"
	"sort"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// planJob finds the blocks of a segment that may hold matches.
type planJob struct {
	seg    *segment.Segment
	pieces []piece
}

func (t *planJob) run(q *search, j *job, w *worker) {
	if v := q.visitor; v != nil {
		done, err := v.segment(w.n, &q.plan, t.seg)
		if err != nil { // what the footer says the blocks say as well
			q.s.o.Log.Warn("the footer of a segment cannot be read; its blocks are searched", "error", err)
		} else if done {
			n := len(t.seg.Blocks)
			j.tally.scan.Add(query.Scan{Segments: 1, Blocks: n, Counted: n})
			return
		}
	}
	t.pieces = q.pieces(t.seg, &j.tally.scan, func(err error) {
		q.s.o.Log.Warn("part of a segment's footer cannot be read; its blocks are searched without", "error", err)
	})
	if v := q.visitor; v != nil {
		n := len(t.pieces)
		t.pieces = slices.DeleteFunc(t.pieces, func(pc piece) bool { return v.piece(w.n, &pc) })
		j.tally.scan.Counted += n - len(t.pieces)
	}
}

func (t *planJob) join(q *search, _ *job) {
	for i := range t.pieces {
		pc := &t.pieces[i]
		b := &job{key: q.key(pc.entry.MinTime, pc.entry.MaxTime), cost: pc.entry.Bytes}
		if pc.entry.Columnar() {
			b.work = &blockJob{piece: pc}
		} else {
			b.work = &plainJob{piece: pc}
		}
		q.waiting.push(b)
	}
}

// blockJob finds the rows of a pattern block that are asked for.
type blockJob struct {
	piece  *piece
	cursor *cursor // nil when there are none
}

func (t *blockJob) run(q *search, j *job, w *worker) {
	j.tally.scan.Opened++
	o, err := q.s.tables.open(t.piece.entry)
	if err == nil {
		defer q.s.tables.done(o)
		err = t.find(q, j, w, o)
	}
	if err != nil {
		q.spoiled(t.piece.entry, err)
	}
}

func (t *blockJob) find(q *search, j *job, w *worker, o *openTable) error {
	rows, looked, err := q.rows(t.piece, o.table, w.set)
	if err != nil {
		return err
	}
	w.set = rows
	t.count(j, looked)
	switch {
	case rows.Empty():
		return nil
	case q.visitor != nil:
		return q.visitor.rows(w.n, t.piece, o.table, rows)
	}
	t.cursor, err = newCursor(q, t.piece.entry, o, rows.Clone())
	return err
}

// count notes that rows of the block were looked at.
func (t *blockJob) count(j *job, rows int) {
	m := &t.piece.entry.Meta
	j.tally.events += int64(rows)
	j.tally.bytes += m.Bytes * int64(rows) / int64(max(m.Rows, 1))
}

func (t *blockJob) join(q *search, _ *job) {
	if c := t.cursor; c != nil {
		q.hold(c, c.table)
		q.waiting.push(c.chunk(q))
	}
}

// cursor walks over the rows of a pattern block that are handed out. They are rebuilt a chunk at a time.
type cursor struct {
	entry *segment.Entry
	rows  bitset.Set
	times []int64
	next  int // the next row to be rebuilt, -1 when there is none
	size  int // rows of the next chunk

	table   *openTable // nil when the search holds too many
	held    int64      // what the table counts for in the search's held
	running int        // chunks that are being rebuilt
}

const (
	firstRows = 64 // of a block: an answer of a hundred events from twenty services need not rebuild more
	chunkRows = 1024
	leastRows = 16

	mergeBytes = 32 << 20 // of rebuilt rows that wait for their turn, unless each service's leastRows are more
	// heldBytes bounds the memory of the tables that a merge holds on to. As many blocks are open as overlap in time, one or
	// two for each service; beyond this they share the cache, and a chunk may have to parse its block again.
	heldBytes = 96 << 20
)

func newCursor(q *search, e *segment.Entry, o *openTable, rows bitset.Set) (*cursor, error) {
	times, err := o.table.Times()
	if err != nil {
		return nil, err
	}
	c := &cursor{entry: e, rows: rows, times: times, size: firstRows, table: o}
	if q.r.Newest {
		c.next = rows.Prev(len(times) - 1)
	} else {
		c.next = rows.Next(0)
	}
	return c, nil
}

// step returns the row behind one in the search's order, -1 when there is none.
func (c *cursor) step(newest bool, row int) int {
	if newest {
		return c.rows.Prev(row - 1)
	}
	return c.rows.Next(row + 1)
}

// hold keeps the cursor's table for its next chunks, if it may, and as long as there are any.
func (q *search) hold(c *cursor, t *openTable) {
	size := int64(0)
	if t != nil && (c.next >= 0 || c.running > 0) {
		size = int64(t.table.MemSize())
	}
	if q.held -= c.held; size == 0 || q.held+size > heldBytes {
		t, size = nil, 0
	}
	q.held += size
	c.table, c.held = t, size
}

// chunk returns the job that rebuilds the next rows.
func (c *cursor) chunk(q *search) *job {
	q.chunks++
	at := c.times[c.next]
	return &job{key: q.key(at, at), work: &chunkJob{cursor: c}}
}

// chunkJob rebuilds some rows.
type chunkJob struct {
	cursor *cursor
	table  *openTable
	first  int // row
	rows   int // number
	out    *stream
}

// begin is called before the task is given to a worker: it settles which rows are its own, so that the chunk behind it can be
// rebuilt at the same time.
func (t *chunkJob) begin(q *search) {
	c := t.cursor
	t.first, t.out, t.table = c.next, q.stream(c.entry.Service), c.table
	c.running++
	// Blocks of many services may overlap in time: the more of them, the shorter the chunks.
	size := mergeBytes / (q.chunks + len(q.active.streams)) / max(int(c.entry.Bytes)/max(c.entry.Rows, 1), 1)
	size = min(c.size, max(size, leastRows))
	for t.rows < size && c.next >= 0 {
		t.rows++
		c.next = c.step(q.r.Newest, c.next)
	}
	c.size = min(4*c.size, chunkRows)
	if c.next >= 0 {
		q.waiting.push(c.chunk(q))
	}
}

func (t *chunkJob) run(q *search, _ *job, _ *worker) {
	var err error
	if t.table == nil {
		t.table, err = q.s.tables.open(t.cursor.entry)
	}
	if err == nil {
		err = t.rebuild(q, t.table)
		q.s.tables.done(t.table)
	}
	if err != nil {
		q.spoiled(t.cursor.entry, err)
	}
}

func (t *chunkJob) rebuild(q *search, o *openTable) error {
	c, out := t.cursor, t.out
	seqs, err := o.table.Seqs()
	if err != nil {
		return err
	}
	if out.buf == nil { // growing step by step costs more than the rows
		out.buf = make([]byte, 0, int(c.entry.Bytes)/max(c.entry.Rows, 1)*t.rows*9/8)
	}
	out.rows = slices.Grow(out.rows, t.rows)
	for row, n := t.first, t.rows; n > 0; n-- {
		start := len(out.buf)
		if out.buf, err = o.table.AppendRow(out.buf, row); err != nil {
			break
		}
		out.rows = append(out.rows, match{
			time: c.times[row], seq: seqs[row], received: o.block.Received(seqs[row]), size: len(out.buf) - start})
		row = c.step(q.r.Newest, row)
	}
	// Only now the memory does not move any more.
	at := 0
	for i := range out.rows {
		m := &out.rows[i]
		m.data = out.buf[at : at+m.size : at+m.size]
		at += m.size
	}
	return err
}

func (t *chunkJob) join(q *search, _ *job) {
	q.chunks--
	t.cursor.running--
	q.hold(t.cursor, t.table)
	q.add(t.out)
}

// plainJob opens a block of plain rows.
type plainJob struct {
	piece *piece
	block *block.Block
}

func (t *plainJob) run(q *search, j *job, _ *worker) {
	j.tally.scan.Opened++
	var err error
	if t.block, err = t.piece.entry.Open(); err != nil {
		q.spoiled(t.piece.entry, err)
	}
}

func (t *plainJob) join(q *search, _ *job) {
	if t.block == nil {
		return
	}
	for i := range t.block.Frames {
		if f := &t.block.Frames[i]; f.MaxTime >= q.since && f.MinTime < q.until {
			q.waiting.push(&job{key: q.key(f.MinTime, f.MaxTime), cost: int64(f.Rows) * eventBytes, work: &frameJob{plainJob: t, frame: i}})
		}
	}
}

// frameJob finds the matches in a frame of plain rows.
type frameJob struct {
	*plainJob
	frame int
	out   *stream
}

func (t *frameJob) run(q *search, j *job, w *worker) {
	t.out = &stream{service: t.piece.entry.Service}
	if err := t.read(q, j, w); err != nil {
		q.spoiled(t.piece.entry, err)
		t.out.rows = nil
		return
	}
	if q.r.Newest {
		slices.Reverse(t.out.rows)
	}
}

func (t *frameJob) join(q *search, _ *job) { q.add(t.out) }

func (t *frameJob) read(q *search, j *job, w *worker) error {
	if err := t.block.Frame(t.frame, &w.frame); err != nil {
		return err
	}
	data, seqs := w.frame.Data, w.frame.Seqs
	j.tally.events += int64(len(seqs))
	j.tally.bytes += int64(len(data))
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
		if !q.has(rowTime(row), seq) {
			continue
		}
		kept, err := q.take(w, t.out, row, seq, 0, true)
		if err != nil {
			return err
		}
		if kept {
			t.out.rows[len(t.out.rows)-1].received = t.block.Received(seq)
		}
	}
	return nil
}

// take hands a row in range on when it is wanted; kept when it is out's last row now. The first known literals are in it.
// With copied the row's memory is used again.
func (q *search) take(w *worker, out *stream, row []byte, seq uint64, known int, copied bool) (kept bool, err error) {
	e := &w.event
	ok, err := q.match(row, seq, e, known)
	switch {
	case err != nil:
		return false, errPart(seq, err)
	case q.visitor != nil:
		if ok {
			q.visitor.event(w.n, e)
		}
		return false, nil
	case !ok:
		return false, nil
	}
	if copied {
		if out.buf == nil {
			out.buf = make([]byte, 0, 16<<10)
		}
		// Growing moves the buffer; the rows before keep the old one.
		n := len(out.buf)
		out.buf = append(out.buf, row...)
		row = out.buf[n:len(out.buf):len(out.buf)]
	}
	out.rows = append(out.rows, match{time: rowTime(row), seq: seq, data: row})
	return true, nil
}

// headJob finds the matches in a run of a head's rows.
type headJob struct {
	view   *headView
	rows   []rowRef
	inside bool // all rows are in range of time and sequence
	whole  bool // and all match
	out    *stream
}

func (t *headJob) run(q *search, j *job, w *worker) {
	if t.whole && q.visitor != nil && q.visitor.head(w.n, t.view.service, len(t.rows)) {
		return
	}
	t.out = &stream{service: t.view.service}
	for rows := t.rows; len(rows) > 0; {
		// The rows of one chunk lie one behind the other.
		n := sort.Search(len(rows), func(i int) bool { return rows[i].chunk() > rows[0].chunk() })
		t.read(q, j, w, rows[:n])
		rows = rows[n:]
	}
	slices.SortFunc(t.out.rows, func(a, b match) int {
		if q.less(&a, &b) {
			return -1
		}
		return 1
	})
}

// read finds the matches in rows of one chunk.
func (t *headJob) read(q *search, j *job, w *worker, rows []rowRef) {
	last := rows[len(rows)-1]
	data := t.view.chunks[last.chunk()][:last.off()+last.size()]
	if t.inside {
		j.tally.events += int64(len(rows))
		j.tally.bytes += int64(len(data) - rows[0].off())
	}
	var first *query.Needle
	candidate := -1 // where the first literal occurs next: rows without it are stepped over
	if len(q.needles) > 0 {
		first = &q.needles[0]
	}
	for i := 0; i < len(rows); i++ {
		r := rows[i]
		start, end := r.off(), len(data)
		if i+1 < len(rows) {
			end = rows[i+1].off()
		}
		if !t.inside {
			if !q.has(r.time, r.seq) {
				continue
			}
			j.tally.events++
			j.tally.bytes += int64(end - start)
		}
		known := 0
		if first != nil {
			if candidate < start {
				k := first.Index(data[start:])
				if candidate = start + k; k < 0 {
					if t.inside {
						return
					}
					candidate = len(data)
				}
			}
			if candidate >= end {
				if t.inside { // the others need not be counted
					i += rowsUntil(rows[i+1:], candidate)
				}
				continue
			}
			if candidate+len(first.Text) <= end {
				known = 1
			}
		}
		kept, err := q.take(w, t.out, data[start:end:end], r.seq, known, false)
		if err != nil {
			q.unreadable(err)
		}
		if kept {
			t.out.rows[len(t.out.rows)-1].received = block.ReceivedAt(t.view.received, r.seq)
		}
	}
}

// rowsUntil returns how many of the rows of a chunk come before the one that has the byte at the offset.
func rowsUntil(rows []rowRef, off int) int {
	// It is seldom far.
	n := 1
	for n < len(rows) && rows[n].off() <= off {
		n *= 2
	}
	low := n / 2
	return low + sort.Search(min(n, len(rows))-low, func(i int) bool { return rows[low+i].off() > off }) - 1
}

func (t *headJob) join(q *search, _ *job) {
	if t.out != nil {
		q.add(t.out)
	}
}
