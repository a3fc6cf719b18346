package index

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/klauspost/compress/s2"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/wal"
)

// follower reads the log, and the segments where the log has been trimmed.
type follower struct {
	s      *Store
	at     uint64
	reader *wal.Reader
	events []event.Event
	window window // events from segments that were not delivered yet
	buf    []byte
}

// Follow returns a follower that begins behind the given sequence. It must be closed. It is for one goroutine.
func (s *Store) Follow(after uint64) query.Follower { return &follower{s: s, at: after} }

func (f *follower) Position() uint64 { return f.at }

func (f *follower) Close() {
	f.leaveLog()
	f.window = window{}
}

func (f *follower) leaveLog() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	if err := f.s.enter(); err != nil {
		return nil, err
	}
	defer f.s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.s.ctx, func() { cancel(ErrClosed) })()
	for {
		if !f.window.empty() {
			return f.piece()
		}
		if f.reader == nil {
			f.reader = f.s.log.Reader(f.at)
		}
		e, err := f.reader.Next(ctx)
		var trimmed *wal.TrimmedError
		var corrupt *wal.CorruptError
		switch {
		case err == nil:
			return f.decode(e)
		case errors.As(err, &trimmed):
			if err := f.fromSegments(ctx, trimmed.Oldest); err != nil {
				return nil, err
			}
		case errors.As(err, &corrupt):
			if corrupt.To <= f.at {
				continue
			}
			gap := &query.GapError{From: max(f.at+1, corrupt.From), To: corrupt.To, Err: err}
			f.at = corrupt.To
			return nil, gap
		default:
			if cause := context.Cause(ctx); cause != nil {
				return nil, cause
			}
			return nil, err
		}
	}
}

func (f *follower) decode(e *wal.Entry) ([]event.Event, error) {
	data := e.Data
	n := 0
	for ; len(data) > 0; n++ {
		if n == len(f.events) {
			f.events = append(f.events, event.Event{})
		}
		ev := &f.events[n]
		rest, err := event.Decode(data, ev)
		if err != nil {
			gap := &query.GapError{From: e.First + uint64(n), To: e.First + uint64(e.Count) - 1, Err: err}
			f.at = gap.To
			return nil, gap
		}
		ev.Seq, ev.Received = e.First+uint64(n), e.Received
		data = rest
	}
	f.at = e.First + uint64(n) - 1
	return f.events[:n], nil
}

// fromSegments makes a window of events behind f.at that the log no longer has; oldest is what it has. It makes none when
// the position has been moved on to where the log begins.
func (f *follower) fromSegments(ctx context.Context, oldest uint64) error {
	f.leaveLog()
	f.s.mu.RLock()
	segments, release := f.s.snapshot()
	expired := f.s.state.Expired[segment.DefaultClass]
	f.s.mu.RUnlock()
	defer release()
	for f.at < oldest-1 {
		end, gap := f.whole(segments, expired, oldest)
		if gap != nil {
			f.at = gap.To
			return gap
		}
		// Blocks are by service and time, segments by class as well: a window of sequences is gathered from all of them.
		from := end
		for _, seg := range segments {
			if seg.Hi <= f.at || seg.Lo >= from {
				continue
			}
			for _, e := range seg.Blocks {
				if e.MaxSeq > f.at && e.MinSeq <= from {
					from = max(f.at, e.MinSeq-1)
				}
			}
		}
		to := from + min(windowSize(segments, from), end-from)
		events, gone, err := f.gatherWindow(ctx, segments, to, expired)
		if err != nil {
			return err
		}
		f.s.stats.passedOver.Add(gone)
		if events > 0 {
			return nil
		}
		f.at = to
	}
	return nil
}

// windowSize is how many sequences behind from make a window: few when the events are long.
func windowSize(segments []*segment.Segment, from uint64) uint64 {
	var rows, bytes int64
	for _, seg := range segments {
		if seg.Hi <= from || seg.Lo >= from+windowEvents {
			continue
		}
		for _, e := range seg.Blocks {
			if e.MaxSeq > from && e.MinSeq <= from+windowEvents {
				rows, bytes = rows+int64(e.Rows), bytes+e.Bytes
			}
		}
	}
	if rows == 0 || bytes == 0 {
		return windowEvents
	}
	return uint64(min(max(windowBytes*rows/bytes, 1), windowEvents))
}

// whole tells up to where everything behind f.at is there: in segments, or removed by retention, to which the sequences up to
// expired of the default class have fallen. Where that is nowhere, gap says what is missing.
func (f *follower) whole(segments []*segment.Segment, expired, oldest uint64) (end uint64, gap *query.GapError) {
	end = max(f.at, expired)
	limit := uint64(math.MaxUint64) // of what is damaged
	for _, seg := range segments {
		if seg.Hi <= f.at {
			continue
		}
		if len(seg.Damage) > 0 {
			if seg.Lo <= f.at {
				return 0, &query.GapError{From: f.at + 1, To: seg.Hi, Err: errors.Join(seg.Damage...)}
			}
			limit = min(limit, seg.Lo)
		}
		if seg.Class == segment.DefaultClass && seg.Lo <= end {
			end = max(end, seg.Hi)
		}
	}
	if end = min(end, limit); end > f.at {
		return end, nil
	}
	gap = &query.GapError{From: f.at + 1, Err: errors.New("no segment holds them")}
	for _, seg := range segments {
		if seg.Class == segment.DefaultClass && seg.Lo > f.at && (gap.To == 0 || seg.Lo < gap.To) {
			gap.To = seg.Lo
		}
	}
	if gap.To == 0 || gap.To >= oldest {
		gap.To, gap.Err = oldest-1, errors.New("neither the log nor a segment holds them")
	}
	return 0, gap
}

// Reading a window opens all blocks that have a part of it, so that it is large; whoever is slow holds it for long, so that it
// is kept packed, and unpacked piece by piece. Beside the packed windows there is the memory of as many unpacked ones as
// may be gathered at the same time.
const (
	windowEvents = 16 << 10
	windowBytes  = 8 << 20 // about: by the mean of the blocks
	pieceBytes   = 64 << 10
	gatherings   = 2
)

// window is events in order of sequence, in pieces that s2 has packed: of each event its sequence and time of receipt, 8 bytes each,
// and the event as package event encodes it.
type window struct {
	packed []byte
	ends   []int  // of the pieces in packed that are not delivered yet
	start  int    // of the next piece
	to     uint64 // where the window ends
}

func (w *window) empty() bool { return len(w.ends) == 0 }

// gathering is the memory for making a window.
type gathering struct {
	rows   []gathered
	buf    []byte // events as they were found
	raw    []byte // a piece
	packed []byte
	frame  block.Rows
}

// gathered is an event that was found; its bytes are in the gathering's.
type gathered struct {
	seq       uint64
	received  int64
	off, size int
}

// gatherWindow makes a window of the events behind f.at up to a sequence, and returns how many these are, and how many of them
// have been removed by retention.
func (f *follower) gatherWindow(ctx context.Context, segments []*segment.Segment, to, expired uint64) (events int, gone int64, err error) {
	select {
	case f.s.gathers <- struct{}{}:
		defer func() { <-f.s.gathers }()
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	g := f.s.gatherings.Get().(*gathering)
	defer func() {
		if cap(g.buf) <= 2*windowBytes { // one huge event does not stay
			f.s.gatherings.Put(g)
		}
	}()
	g.rows, g.buf = g.rows[:0], g.buf[:0]
	for _, seg := range segments {
		if seg.Hi <= f.at || seg.Lo >= to {
			continue
		}
		for _, e := range seg.Blocks {
			if e.MaxSeq <= f.at || e.MinSeq > to {
				continue
			}
			if ctx.Err() != nil {
				return 0, 0, context.Cause(ctx)
			}
			if err := f.gather(g, e, to); err != nil {
				f.s.quarantine(e, err)
				gap := &query.GapError{From: f.at + 1, To: to, Err: err}
				f.at = to
				return 0, 0, gap
			}
		}
	}
	slices.SortFunc(g.rows, func(a, b gathered) int { return cmp.Compare(a.seq, b.seq) })
	if expired > f.at {
		gone = int64(min(expired, to) - f.at)
		for i := 0; i < len(g.rows) && g.rows[i].seq <= expired; i++ {
			gone--
		}
	}
	f.window = g.pack(to)
	return len(g.rows), gone, nil
}

// pack makes a window of the gathered rows.
func (g *gathering) pack(to uint64) window {
	w := window{to: to}
	g.raw, g.packed = g.raw[:0], g.packed[:0]
	flush := func() {
		n := len(g.packed)
		g.packed = slices.Grow(g.packed, s2.MaxEncodedLen(len(g.raw)))
		g.packed = g.packed[:n+len(s2.Encode(g.packed[n:cap(g.packed)], g.raw))]
		w.ends, g.raw = append(w.ends, len(g.packed)), g.raw[:0]
	}
	for i := range g.rows {
		r := &g.rows[i]
		g.raw = binary.LittleEndian.AppendUint64(g.raw, r.seq)
		g.raw = binary.LittleEndian.AppendUint64(g.raw, uint64(r.received))
		if g.raw = append(g.raw, g.buf[r.off:][:r.size]...); len(g.raw) >= pieceBytes {
			flush()
		}
	}
	if len(g.raw) > 0 {
		flush()
	}
	w.packed = bytes.Clone(g.packed)
	return w
}

// piece returns the events of the window's next piece.
func (f *follower) piece() ([]event.Event, error) {
	w := &f.window
	end := w.ends[0]
	if cap(f.buf) > 16*pieceBytes { // one huge event does not stay
		f.buf = nil
	}
	var err error
	f.buf, err = s2.Decode(f.buf[:cap(f.buf)], w.packed[w.start:end])
	w.start, w.ends = end, w.ends[1:]
	n := 0
	for data := f.buf; err == nil && len(data) > 0; n++ {
		if n == len(f.events) {
			f.events = append(f.events, event.Event{})
		}
		e := &f.events[n]
		seq, received := binary.LittleEndian.Uint64(data), int64(binary.LittleEndian.Uint64(data[8:]))
		if data, err = event.Decode(data[16:], e); err == nil {
			e.Seq, e.Received = seq, received
			f.at = seq
		}
	}
	if err != nil { // a block held what is no event
		gap := &query.GapError{From: f.at + 1, To: w.to, Err: err}
		f.at, f.window = w.to, window{}
		return nil, gap
	}
	if w.empty() {
		f.at = w.to
	}
	return f.events[:n], nil
}

// gather takes from a block the events behind f.at up to a sequence. The error is a *segment.CorruptError.
func (f *follower) gather(g *gathering, e *segment.Entry, to uint64) error {
	if e.Columnar() {
		o, err := f.s.tables.open(e)
		if err != nil {
			return err
		}
		defer f.s.tables.done(o)
		if err := f.gatherTable(g, o, to); err != nil {
			return e.Corrupt(err)
		}
		return nil
	}
	b, err := e.Open()
	if err != nil {
		return err
	}
	for i := range b.Frames {
		rows := &g.frame
		if err := b.Frame(i, rows); err != nil {
			return e.Corrupt(err)
		}
		data := rows.Data
		for _, seq := range rows.Seqs {
			n, err := event.Size(data)
			if err != nil {
				return e.Corrupt(err)
			}
			if seq > f.at && seq <= to {
				g.rows = append(g.rows, gathered{seq: seq, received: b.Received(seq), off: len(g.buf), size: n})
				g.buf = append(g.buf, data[:n]...)
			}
			data = data[n:]
		}
	}
	return nil
}

func (f *follower) gatherTable(g *gathering, o *openTable, to uint64) error {
	seqs, err := o.table.Seqs()
	if err != nil {
		return err
	}
	for row, seq := range seqs {
		if seq <= f.at || seq > to {
			continue
		}
		start := len(g.buf)
		if g.buf, err = o.table.AppendRow(g.buf, row); err != nil {
			return err
		}
		g.rows = append(g.rows, gathered{seq: seq, received: o.block.Received(seq), off: start, size: len(g.buf) - start})
	}
	return nil
}
