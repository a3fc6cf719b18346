package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// merging is one merge. It writes the blocks of some segments into one, service by service in order of time. Blocks of at least a quarter of
// a full one's size are copied as they are; of the others as many as fill a block are joined column by column, and where that cannot be,
// as with plain rows, read, sorted and built anew. So an event is built anew about once, however often its segment is merged, and what
// is held in memory is two blocks.
type merging struct {
	c     *compactor
	ctx   context.Context
	w     *segment.Writer
	small []mergeBlock // wait to be built into one
	bytes int64        // of these
	rows  int
	until int64 // their greatest time

	since  time.Time     // of the work since the last rest
	waited time.Duration // what the compactor had waited for searches then
	worked time.Duration
	size   int64 // of the segments' files
	all    int64 // rows of the segments
	built  int64 // rows built anew
}

// mergeBlock is a block that takes part in a merge.
type mergeBlock struct {
	*segment.Entry
	seg *segment.Segment
}

// full tells whether a block is copied. A quarter: with a half the corpus takes 1 % less on disk and a third more CPU time to
// merge, with an eighth 2 % more.
func (b *mergeBlock) full() bool {
	return b.Columnar() && (b.Bytes >= block.MaxBytes/4 || b.Rows >= block.MaxRows/4)
}

// write writes everything but the footer.
func (m *merging) write(segs []*segment.Segment) error {
	var blocks []mergeBlock
	for _, seg := range segs {
		m.size += seg.Size()
		for _, e := range seg.Blocks {
			blocks = append(blocks, mergeBlock{e, seg})
			m.all += int64(e.Rows)
		}
	}
	slices.SortFunc(blocks, func(a, b mergeBlock) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.MinTime, b.MinTime), cmp.Compare(a.MinSeq, b.MinSeq))
	})
	for i, b := range blocks {
		if i > 0 && b.Service != blocks[i-1].Service {
			if err := m.flush(); err != nil {
				return err
			}
		}
		if err := m.add(b); err != nil {
			return err
		}
	}
	return m.flush()
}

// add copies a block or lets it wait for others of its service.
func (m *merging) add(b mergeBlock) error {
	if b.full() {
		return m.copy(b)
	}
	if len(m.small) > 0 && (m.bytes+b.Bytes > block.MaxBytes || m.rows+b.Rows > block.MaxRows || m.parted(b)) {
		if err := m.flush(); err != nil {
			return err
		}
	}
	m.small = append(m.small, b)
	m.bytes, m.rows, m.until = m.bytes+b.Bytes, m.rows+b.Rows, max(m.until, b.MaxTime)
	return nil
}

// parted tells whether cut would part a block from those that wait: they need not be built together then, and one that is left
// alone is copied. So it is with small blocks that have large ones between them.
func (m *merging) parted(b mergeBlock) bool {
	if b.MinTime <= m.until {
		return false
	}
	gap := uint64(b.MinTime) - uint64(m.until)
	return gap > uint64(farGap) || gap > uint64(strayGap) && (m.bytes >= fewBytes || b.Bytes >= fewBytes)
}

func (m *merging) copy(b mergeBlock) error {
	if err := m.w.Copy(b.Entry); err != nil {
		return m.failed(b, err)
	}
	return m.rest()
}

// failed tells a block that cannot be read from a disk that cannot be written.
func (m *merging) failed(b mergeBlock, err error) error {
	if errors.Is(err, block.ErrCorrupt) || errors.Is(err, block.ErrVersion) {
		return &unreadable{b.seg, err}
	}
	return err
}

// flush builds what waits.
func (m *merging) flush() error {
	blocks, size := m.small, m.bytes
	m.small, m.bytes, m.rows, m.until = m.small[:0], 0, 0, math.MinInt64
	if len(blocks) == 0 {
		return nil
	}
	if len(blocks) == 1 && blocks[0].Columnar() {
		return m.copy(blocks[0])
	}
	if joined, err := m.join(blocks); err != nil {
		return err
	} else if joined {
		return m.rest()
	}
	l := &m.c.loaded
	l.reset(int(size))
	for _, b := range blocks {
		if err := l.load(b.Entry); err != nil {
			return m.failed(b, b.Corrupt(err))
		}
	}
	rows, received := l.sorted()
	m.built += int64(len(rows))
	if err := m.c.builder.add(m.w, rows, received); err != nil {
		return err
	}
	return m.rest()
}

// check tells whether the new segment holds what the old ones did.
func (m *merging) check(merged *segment.Segment) error {
	rows := int64(0)
	for _, e := range merged.Blocks {
		rows += int64(e.Rows)
	}
	if rows != m.all {
		return fmt.Errorf("%d events where %d belong", rows, m.all)
	}
	return errors.Join(merged.Damage...)
}

// rest leaves the cores to others after a piece of work, and ends the merge with the store.
func (m *merging) rest() error {
	worked := m.lasted()
	m.worked += worked
	err := m.c.rest(m.ctx, worked)
	m.begin()
	return err
}

// begin notes that work begins, and lasted tells how long it went on since, without what searches were waited for.
func (m *merging) begin() { m.since, m.waited = time.Now(), m.c.polite.waited }

func (m *merging) lasted() time.Duration {
	return time.Since(m.since) - (m.c.polite.waited - m.waited)
}

// loaded is the rows of some blocks of one service.
type loaded struct {
	data []byte // encoded events
	ends []int  // in data, of each row
	seqs []uint64
	runs []block.ReceivedRun // one a row, of its own sequence
	rows []block.Row
	page block.Rows
}

// reset makes room for so many bytes of encoded events.
func (l *loaded) reset(size int) {
	l.data = slices.Grow(l.data[:0], size)
	l.ends, l.seqs, l.runs, l.rows = l.ends[:0], l.seqs[:0], l.runs[:0], l.rows[:0]
}

// load appends a block's rows.
func (l *loaded) load(e *segment.Entry) error {
	b, err := e.Open()
	if err != nil {
		return err
	}
	first := len(l.seqs)
	if b.Columnar() {
		err = l.columns(b)
	} else {
		err = l.frames(b)
	}
	if err != nil {
		return err
	}
	if n := len(l.seqs) - first; n != e.Rows {
		return fmt.Errorf("%w: %d rows, %d are announced", block.ErrCorrupt, n, e.Rows)
	}
	l.receive(b, l.seqs[first:])
	return nil
}

// receive notes when a block's rows were received.
func (l *loaded) receive(b *block.Block, seqs []uint64) {
	for _, seq := range seqs {
		l.runs = append(l.runs, block.ReceivedRun{Seq: seq, Received: b.Received(seq)})
	}
}

func (l *loaded) columns(b *block.Block) error {
	t, err := b.Table()
	if err != nil {
		return err
	}
	seqs, err := t.Seqs()
	if err != nil {
		return err
	}
	l.seqs = append(l.seqs, seqs...)
	for row := range seqs {
		if l.data, err = t.AppendRow(l.data, row); err != nil {
			return err
		}
		l.ends = append(l.ends, len(l.data))
	}
	return nil
}

func (l *loaded) frames(b *block.Block) error {
	for i := range b.Frames {
		if err := b.Frame(i, &l.page); err != nil {
			return err
		}
		at := len(l.data)
		l.data = append(l.data, l.page.Data...)
		l.seqs = append(l.seqs, l.page.Seqs...)
		for range l.page.Seqs {
			n, err := event.Size(l.data[at:])
			if err != nil {
				return fmt.Errorf("%w: %w", block.ErrCorrupt, err)
			}
			at += n
			l.ends = append(l.ends, at)
		}
		if at != len(l.data) {
			return fmt.Errorf("%w: frame %d: %d bytes too many", block.ErrCorrupt, i, len(l.data)-at)
		}
	}
	return nil
}

// without is sorted for what was loaded but for some rows, by their place.
func (l *loaded) without(drop bitset.Set) ([]block.Row, []block.ReceivedRun) {
	gone := map[uint64]bool{}
	for i := drop.Next(0); i >= 0; i = drop.Next(i + 1) {
		gone[l.seqs[i]] = true
	}
	l.runs = slices.DeleteFunc(l.runs, func(r block.ReceivedRun) bool { return gone[r.Seq] })
	rows, received := l.sorted()
	return slices.DeleteFunc(rows, func(r block.Row) bool { return gone[r.Seq] }), received
}

// sorted returns the rows in order of (time, sequence) and when they were received.
func (l *loaded) sorted() ([]block.Row, []block.ReceivedRun) {
	at := 0
	for i, end := range l.ends {
		l.rows = append(l.rows, block.Row{Seq: l.seqs[i], Data: l.data[at:end:end]})
		at = end
	}
	sortRows(l.rows)
	return l.rows, l.received()
}

// received returns when the rows were received, in as few runs as it takes.
func (l *loaded) received() []block.ReceivedRun {
	slices.SortFunc(l.runs, func(a, b block.ReceivedRun) int { return cmp.Compare(a.Seq, b.Seq) })
	n := 0
	for _, r := range l.runs {
		if n == 0 || l.runs[n-1].Received != r.Received {
			l.runs[n] = r
			n++
		}
	}
	l.runs = l.runs[:n]
	return l.runs
}
