package index

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"

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
	old    []match // events from segments that were not delivered yet
	buf    []byte
}

// Follow returns a follower that begins behind the given sequence. It must be closed. It is for one goroutine.
func (s *Store) Follow(after uint64) query.Follower { return &follower{s: s, at: after} }

func (f *follower) Position() uint64 { return f.at }

func (f *follower) Close() {
	if f.reader != nil {
		f.reader.Close()
		f.reader = nil
	}
}

// followBatch bounds the events of one Next from segments.
const followBatch = 16 << 10

func (f *follower) Next(ctx context.Context) ([]event.Event, error) {
	if err := f.s.enter(); err != nil {
		return nil, err
	}
	defer f.s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(f.s.ctx, func() { cancel(ErrClosed) })()
	for {
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
			events, err := f.fromSegments(ctx, trimmed.Oldest)
			if err != nil || len(events) > 0 {
				return events, err
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

// fromSegments returns events behind f.at that the log no longer has; oldest is what it has. None, when the position has
// been moved on to where the log begins.
func (f *follower) fromSegments(ctx context.Context, oldest uint64) ([]event.Event, error) {
	f.Close()
	f.s.mu.RLock()
	segments, release := f.s.snapshot()
	expired := f.s.state.Expired[segment.DefaultClass]
	f.s.mu.RUnlock()
	defer release()
	for f.at < oldest-1 {
		end, gap := f.whole(segments, expired, oldest)
		if gap != nil {
			f.at = gap.To
			return nil, gap
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
		to := from + min(followBatch, end-from)
		if err := f.window(ctx, segments, to); err != nil {
			return nil, err
		}
		if expired > f.at {
			gone := min(expired, to) - f.at
			for i := 0; i < len(f.old) && f.old[i].seq <= expired; i++ {
				gone--
			}
			f.s.stats.passedOver.Add(int64(gone))
		}
		f.at = to
		if len(f.old) > 0 {
			return f.events[:len(f.old)], nil
		}
	}
	return nil, nil
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

// window gathers the events behind f.at up to a sequence.
func (f *follower) window(ctx context.Context, segments []*segment.Segment, to uint64) error {
	f.old, f.buf = f.old[:0], f.buf[:0]
	missing := func(err error) error {
		gap := &query.GapError{From: f.at + 1, To: to, Err: err}
		f.at = to
		return gap
	}
	var rows block.Rows
	for _, seg := range segments {
		if seg.Hi <= f.at || seg.Lo >= to {
			continue
		}
		for _, e := range seg.Blocks {
			if e.MaxSeq <= f.at || e.MinSeq > to {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f.gather(e, to, &rows); err != nil {
				f.s.quarantine(e, err)
				return missing(err)
			}
		}
	}
	slices.SortFunc(f.old, func(a, b match) int { return cmp.Compare(a.seq, b.seq) })
	for i := range f.old {
		if i == len(f.events) {
			f.events = append(f.events, event.Event{})
		}
		if err := f.old[i].decode(&f.events[i]); err != nil {
			return missing(err)
		}
	}
	return nil
}

// gather takes from a block the events behind f.at up to a sequence. The error is a *segment.CorruptError.
func (f *follower) gather(e *segment.Entry, to uint64, rows *block.Rows) error {
	if e.Columnar() {
		o, err := f.s.tables.open(e)
		if err != nil {
			return err
		}
		defer f.s.tables.done(o)
		if err := f.gatherTable(o, to); err != nil {
			return e.Corrupt(err)
		}
		return nil
	}
	b, err := e.Open()
	if err != nil {
		return err
	}
	for i := range b.Frames {
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
				start := len(f.buf)
				f.buf = append(f.buf, data[:n]...)
				f.old = append(f.old, match{seq: seq, received: b.Received(seq), data: f.buf[start:len(f.buf):len(f.buf)]})
			}
			data = data[n:]
		}
	}
	return nil
}

func (f *follower) gatherTable(o *openTable, to uint64) error {
	seqs, err := o.table.Seqs()
	if err != nil {
		return err
	}
	for row, seq := range seqs {
		if seq <= f.at || seq > to {
			continue
		}
		start := len(f.buf)
		if f.buf, err = o.table.AppendRow(f.buf, row); err != nil {
			return err
		}
		f.old = append(f.old, match{seq: seq, received: o.block.Received(seq), data: f.buf[start:len(f.buf):len(f.buf)]})
	}
	return nil
}
