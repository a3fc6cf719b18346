package index

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/segment"
)

type counters struct {
	refused, sealErrors, seals, overflowed atomic.Int64
}

// Stats are a store's figures at one moment.
type Stats struct {
	Sequence     uint64 // of the newest visible event
	Segments     int
	Blocks       int
	SegmentBytes int64 // of the segment files
	HeadBytes    int64 // memory taken by events not yet in a segment
	LogBytes     int64 // of the log's files
	Seals        int64 // segments written since the start
	SealErrors   int64 // failed attempts to write one
	Refused      int64 // appends turned away because memory was full
	Overflowed   int64 // runs of events filed under [TooManyServices]
	Damaged      int   // parts of the store that cannot be read
}

// Stats returns the store's figures.
func (s *Store) Stats() Stats {
	logBytes := s.log.Stats().Bytes // not under the lock: the log calls commit, which takes it
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{
		Sequence: s.last, Segments: len(s.segments), HeadBytes: s.active.bytes, LogBytes: logBytes,
		Seals: s.stats.seals.Load(), SealErrors: s.stats.sealErrors.Load(), Refused: s.stats.refused.Load(), Overflowed: s.stats.overflowed.Load(),
		Damaged: len(s.damage),
	}
	if s.frozen != nil {
		st.HeadBytes += s.frozen.bytes
	}
	for _, seg := range s.segments {
		st.Blocks += len(seg.Blocks)
		st.SegmentBytes += seg.Size()
	}
	return st
}

// kick wakes the sealer.
func (s *Store) kick() {
	select {
	case s.seals <- struct{}{}:
	default:
	}
}

// freeze makes the active generation the one to be sealed; the caller holds the lock and has seen that there is none.
func (s *Store) freeze() {
	s.frozen, s.active = s.active, newGeneration(s.active.hi)
	s.kick()
}

// sealer writes frozen generations. It looks after age and the log's size as well.
func (s *Store) sealer() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.freezeOld()
		case <-s.seals:
		}
		s.sealFrozen()
	}
}

// sealFrozen writes the frozen generation, if there is one. A failure is counted and tried again a second later.
func (s *Store) sealFrozen() {
	s.mu.RLock()
	g := s.frozen
	s.mu.RUnlock()
	if g == nil {
		return
	}
	if err := s.seal(g); err != nil {
		s.stats.sealErrors.Add(1)
		s.o.Log.Error("sealing failed; it is tried again", "error", err)
	}
}

// freezeOld freezes the active generation when it has waited for long or the log has grown too large.
func (s *Store) freezeOld() {
	large := s.log.Stats().Bytes >= s.o.LogBytes
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.frozen == nil && s.active.bytes > 0 && (large || s.o.Now().Sub(s.opened) >= s.o.SealAge) {
		s.freeze()
	}
}

// sealNow seals the active generation while nobody else uses the store.
func (s *Store) sealNow() error {
	g := s.active
	s.active = newGeneration(g.hi)
	return s.seal(g)
}

// sealAll seals both generations; nobody appends any more.
func (s *Store) sealAll(ctx context.Context) error {
	if s.frozen != nil && ctx.Err() == nil {
		if err := s.seal(s.frozen); err != nil {
			return err
		}
	}
	if s.frozen == nil && s.active.bytes > 0 && ctx.Err() == nil {
		return s.sealNow()
	}
	return nil
}

// seal writes a generation as a segment, lets the searches see that instead, and frees the log.
func (s *Store) seal(g *generation) error {
	b, err := block.NewBuilder()
	if err != nil {
		return err
	}
	heads := make([]*head, 0, len(g.heads))
	for _, h := range g.heads {
		heads = append(heads, h)
	}
	slices.SortFunc(heads, func(a, b *head) int {
		if a.service < b.service {
			return -1
		}
		return 1
	})
	w, err := segment.NewWriter(s.o.FS, s.segmentDir(), g.lo, g.hi)
	if err != nil {
		return err
	}
	var rows []block.Row
	var data []byte
	for _, h := range heads {
		rows = sortedRows(rows, g.view(h))
		for rest := rows; len(rest) > 0; {
			n := cut(rest)
			var info *block.Info
			if data, info, err = b.Append(data[:0], rest[:n], g.received); err == nil {
				err = w.Add(data, info)
			}
			if err != nil {
				w.Abort()
				return err
			}
			rest = rest[n:]
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	seg, err := segment.Open(s.o.FS, s.segmentDir(), segment.Name(g.lo, g.hi))
	if err != nil {
		return fmt.Errorf("reading back a segment: %w", err)
	}
	s.mu.Lock()
	s.addSegment(seg)
	if s.frozen == g {
		s.frozen = nil
	}
	if s.frozen == nil && s.active.bytes >= s.o.HeadBytes/2 {
		s.freeze()
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.stats.seals.Add(1)
	if err := s.log.Trim(g.hi); err != nil {
		s.o.Log.Warn("the log could not be trimmed; the next seal tries again", "error", err)
	}
	return nil
}

// sortedRows returns a head's rows in order of (time, sequence).
func sortedRows(rows []block.Row, v headView) []block.Row {
	refs := slices.Clone(v.rows) // searches read the head's own
	slices.SortFunc(refs, func(a, b rowRef) int {
		switch {
		case a.time != b.time && a.time < b.time, a.time == b.time && a.seq < b.seq:
			return -1
		}
		return 1
	})
	rows = rows[:0]
	for _, r := range refs {
		rows = append(rows, block.Row{Seq: r.seq, Data: v.row(r)})
	}
	return rows
}

// strayGap parts blocks where time jumps, so that one late or future event does not widen a block's range.
const strayGap = int64(time.Hour)

// cut returns how many of the rows make the next block.
func cut(rows []block.Row) int {
	size, prev := 0, int64(0)
	for i, r := range rows {
		at := rowTime(r.Data)
		if i > 0 && (i == block.MaxRows || size+len(r.Data) > block.MaxBytes || at-prev > strayGap && at > prev) {
			return i
		}
		size, prev = size+len(r.Data), at
	}
	return len(rows)
}
