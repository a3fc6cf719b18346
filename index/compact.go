package index

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/index/segment"
)

// Compaction merges adjacent segments of a class into one that holds the union of their ranges of sequences, so that a day's segments
// are few and its blocks full. The log is not involved: the new segment appears under its name whole and durable before the
// old ones go, and where a crash leaves both, the next start removes the old ones.
//
// One goroutine works, a few MB at a time, and rests between; the lock is held only to exchange the list.

const (
	// compactTick is how often the compactor looks for itself: the store may be quiet by now, or a day have ended.
	compactTick = 5 * time.Second
	// quiet is how long no generation may have been sealed before the compactor begins a merge, unless many segments wait:
	// while much comes in, the cores are ingest's, and a merge of more segments later is cheaper than two of fewer.
	quiet = 5 * time.Second
	// manySegments wait: a merge begins at once, does not wait for seals and does not rest.
	manySegments = 3 * mergeGrowth
	// mergeMost is the most segments that are merged at once, mergeUrgent while much comes in: what a merge holds of each
	// one's footer adds up, and ingest needs memory as well.
	mergeMost   = 2 * mergeGrowth
	mergeUrgent = mergeGrowth + 2
	// retryAfter is how long the compactor lies still after a failure, such as a full disk.
	retryAfter = time.Minute
)

// compactCounters are the compactor's part of [Stats].
type compactCounters struct {
	merges, failures, bytesIn, bytesOut, rebuilt, waiting atomic.Int64
	worked                                                atomic.Int64 // ns
}

// compactor is what the compacting goroutine knows.
type compactor struct {
	s      *Store
	days   map[*segment.Segment]int64 // see candidate
	fixed  map[*segment.Segment]bool  // cannot be read, which has been said
	urgent bool                       // many segments wait: no courtesy
	seals  int64                      // as counted when it looked last
	busy   time.Time                  // when it saw that a generation had been sealed

	complained time.Time // that retention failed

	polite  *polite
	builder *blockBuilder // with loaded the memory of a merge, kept for the next that follows at once
	loaded  loaded
	deleter deleter
}

func newCompactor(s *Store) *compactor {
	c := &compactor{s: s, days: map[*segment.Segment]int64{}, fixed: map[*segment.Segment]bool{}}
	c.deleter.c = c
	c.polite = s.polite(func() bool { return c.urgent })
	return c
}

// run removes what is not to be kept and merges what is to be merged, now and after each seal, until the store is closed.
func (c *compactor) run() {
	s := c.s
	tick := time.NewTicker(compactTick)
	defer tick.Stop()
	var failed time.Time
	merge := func() (merged bool) {
		if s.ctx.Err() != nil || !failed.IsZero() && time.Since(failed) < retryAfter {
			return false
		}
		merged, err := c.next(s.ctx)
		if failed = (time.Time{}); err != nil && s.ctx.Err() == nil {
			failed = time.Now()
			s.stats.compact.failures.Add(1)
			s.o.Log.Error("merging segments failed; it is tried again in a minute", "error", err)
		}
		return merged
	}
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		case <-s.compacts:
		}
		c.retainAll(s.ctx)
		for c.deleter.step(s.ctx) { // one at a time, so that the others come on as well
			c.retainAll(s.ctx)
			merge()
		}
		for merge() {
		}
		c.builder, c.loaded = nil, loaded{}
	}
}

// unreadable says that a segment's block cannot be read, so that the segment must stay as it is.
type unreadable struct {
	seg *segment.Segment
	err error
}

func (e *unreadable) Error() string { return e.err.Error() }
func (e *unreadable) Unwrap() error { return e.err }

// next makes one merge, if one is due.
func (c *compactor) next(ctx context.Context) (merged bool, err error) {
	s := c.s
	s.mu.RLock()
	segments, release := s.snapshot()
	s.mu.RUnlock()
	defer release()
	var bad *unreadable
	for {
		due, err := c.choose(ctx, byClass(segments))
		if err != nil {
			return false, err
		}
		s.stats.compact.waiting.Store(int64(len(due)))
		most := mergeMost
		if c.urgent = len(due) >= manySegments; c.urgent {
			most = mergeUrgent
		}
		if n := s.stats.seals.Load(); n != c.seals {
			c.seals, c.busy = n, time.Now()
		}
		if len(due) == 0 || !c.urgent && s.o.CompactShare < 1 && time.Since(c.busy) < quiet {
			return false, nil
		}
		due = due[:min(most, len(due))]
		size := int64(0)
		for _, seg := range due {
			size += seg.Size()
		}
		if !s.hasRoom(size) { // both are there for a while
			return false, nil
		}
		err = c.merge(ctx, due)
		if !errors.As(err, &bad) {
			return err == nil, err
		}
		c.leaveOut(bad.seg, bad.err)
	}
}

// byClass parts segments by class, each in order of sequence.
func byClass(segments []*segment.Segment) map[string][]*segment.Segment {
	classes := map[string][]*segment.Segment{}
	for _, seg := range segments {
		classes[seg.Class] = append(classes[seg.Class], seg)
	}
	return classes
}

// choose returns the segments that are to be merged next, of the class that has the most of them; none when none are. It forgets
// what it knows of segments that are gone.
func (c *compactor) choose(ctx context.Context, classes map[string][]*segment.Segment) (due []*segment.Segment, err error) {
	days, fixed := map[*segment.Segment]int64{}, map[*segment.Segment]bool{}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		segments := classes[class]
		candidates, err := c.candidates(ctx, segments)
		if err != nil {
			return nil, err
		}
		for i, seg := range segments {
			if days[seg] = candidates[i].day; candidates[i].fixed {
				fixed[seg] = true
			}
		}
		if lo, hi := choose(candidates, c.s.segmentBytes(class), c.today()); hi-lo > len(due) {
			due = segments[lo:hi]
		}
	}
	c.days, c.fixed = days, fixed
	return due, nil
}

func (c *compactor) leaveOut(seg *segment.Segment, err error) {
	c.fixed[seg] = true
	c.s.o.Log.Error("a segment that cannot be read whole is left as it is and not merged", "segment", seg.Name(), "error", err)
}

// today returns the oldest day whose events may still be in memory. Generations are sealed at the end of their day.
func (c *compactor) today() int64 {
	return dayOf(c.s.o.Now().Add(-c.s.o.SealAge - time.Minute).UnixNano())
}

// dayOf returns the day, in UTC, of a time in ns since the Unix epoch.
func dayOf(t int64) int64 {
	const day = int64(24 * time.Hour)
	d := t / day
	if t%day < 0 {
		d--
	}
	return d
}

// candidates returns what choose needs to know of the segments of a class.
func (c *compactor) candidates(ctx context.Context, segments []*segment.Segment) ([]candidate, error) {
	candidates := make([]candidate, len(segments))
	day := c.today() // of a segment without events: that of its neighbour
	for i, seg := range segments {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		large := seg.Size() >= c.s.segmentBytes(seg.Class)/2 && seg.Version() > 1 // neither chosen nor in need of a day
		known, ok := c.days[seg]
		switch {
		case ok:
			day = known
		case !large && !c.fixed[seg] && (len(seg.Blocks) > 0 || len(seg.Damage) > 0):
			at, err := newest(seg)
			if day = dayOf(at); err != nil {
				c.leaveOut(seg, err)
			}
		}
		candidates[i] = candidate{size: seg.Size(), day: day, plain: seg.Version() == 1, fixed: c.fixed[seg]}
	}
	return candidates, nil
}

// newest returns when the last of a segment's events was received, as its blocks tell.
func newest(seg *segment.Segment) (int64, error) {
	if len(seg.Damage) > 0 {
		return 0, seg.Damage[0]
	}
	newest := int64(math.MinInt64)
	for _, e := range seg.Blocks {
		if err := e.Damaged(); err != nil {
			return 0, err
		}
		b, err := e.Open()
		if err != nil {
			return 0, err
		}
		newest = max(newest, b.Received(e.MaxSeq))
	}
	return newest, nil
}

// merge puts one segment in the place of adjacent ones.
func (c *compactor) merge(ctx context.Context, segs []*segment.Segment) error {
	s, stats := c.s, &c.s.stats.compact
	dir, lo, hi, class := s.segmentDir(), segs[0].Lo, segs[len(segs)-1].Hi, segs[0].Class
	w, err := segment.NewWriter(s.o.FS, dir, lo, hi, class)
	if err != nil {
		return err
	}
	w.GiveWay = c.polite.giveWay
	if c.builder == nil {
		if c.builder, err = newBlockBuilder(c.polite); err != nil {
			w.Abort()
			return err
		}
	}
	m := &merging{c: c, ctx: ctx, w: w, until: math.MinInt64}
	m.begin()
	err = m.write(segs)
	defer func() { stats.worked.Add(int64(m.worked + m.lasted())) }()
	if err != nil {
		w.Abort()
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	merged, err := segment.Open(s.o.FS, dir, segment.Name(lo, hi, class))
	if err != nil {
		return fmt.Errorf("reading back a segment: %w", err)
	}
	if err := m.check(merged); err != nil { // the disk or the memory is at fault: what is there stays
		err = errors.Join(fmt.Errorf("reading back a segment: %w", err), merged.Close())
		return errors.Join(err, s.o.FS.Remove(filepath.Join(dir, merged.Name())))
	}
	err = s.exchange(segs, []*segment.Segment{merged}, false)
	stats.merges.Add(1)
	stats.bytesIn.Add(m.size)
	stats.bytesOut.Add(merged.Size())
	stats.rebuilt.Add(m.built)
	s.o.Log.Debug("segments merged", "segments", len(segs), "into", merged.Name(), "bytes", m.size, "now", merged.Size(),
		"events", m.all, "rebuilt", m.built)
	return err
}

// rest is called after each piece of work, which took so long. It keeps to the share of one core that is the compactor's,
// and waits while a generation is sealed: ingest needs its memory back. When many segments wait it does neither: what comes
// in faster than it can be merged would make every search slower than the one before.
func (c *compactor) rest(ctx context.Context, worked time.Duration) error {
	if share := c.s.o.CompactShare; share < 1 && !c.urgent {
		pause := time.Duration(float64(worked) * (1/share - 1))
		if err := sleep(ctx, pause, nil); err != nil {
			return err
		}
		c.s.mu.RLock()
		sealing, changed := c.s.frozen != nil, c.s.changed
		c.s.mu.RUnlock()
		if sealing {
			return sleep(ctx, courtesy, changed)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// courtesy is how long the compactor waits for a seal after each piece of work: where one follows upon the other it must
// still come on.
const courtesy = 250 * time.Millisecond

// sleep waits for a time to pass or for wake to be closed.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
