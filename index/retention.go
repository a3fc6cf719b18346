package index

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

// Retention says how long events are kept. The zero value keeps them for ever, until they fill half of the file system.
type Retention struct {
	// Age is how long events of the default class are kept, and those of classes that are not named in Classes; 0 is for ever.
	Age time.Duration
	// MaxBytes is the most that all segments may have, in bytes on disk. 0 is half of the file system's size, where that can be asked;
	// a negative number is no limit.
	MaxBytes int64
	// Classes are those with rules of their own, by name. [Rollup] is one, for 400 days, unless it is named.
	Classes map[string]ClassRetention
}

// ClassRetention says how long the events of one class are kept.
type ClassRetention struct {
	Age      time.Duration // 0 is for ever
	MaxBytes int64         // of the class's own segments, in bytes on disk; 0 is no limit
}

// Rollup is the class of what stands for many events, and is kept for longer than they are.
const (
	Rollup    = "rollup"
	rollupAge = 400 * 24 * time.Hour
)

// Class returns the rules of a class.
func (r *Retention) Class(name string) ClassRetention {
	rules, known := r.Classes[name]
	switch {
	case known:
		return rules
	case name == Rollup && r.Age > 0:
		return ClassRetention{Age: max(rollupAge, r.Age)}
	}
	return ClassRetention{Age: r.Age}
}

// ages tells whether anything is ever removed by age.
func (r *Retention) ages() bool {
	for _, c := range r.Classes {
		if c.Age > 0 {
			return true
		}
	}
	return r.Age > 0
}

// rules are what [Store.SetRetention] sets; never changed.
type rules struct {
	Retention
	classify func(service string) (class string, each func(*event.Event) string)
}

// SetRetention puts other rules in the place of [Options.Retention] and [Options.Classify]: what is not to be kept any longer goes within
// seconds. The class of what is in a segment stays as it is. r is not changed any more.
func (s *Store) SetRetention(r Retention, classify func(service string) (class string, each func(*event.Event) string)) {
	s.rules.Store(&rules{r, classify})
	kick(s.compacts)
}

// segmentBytes is the size up to which segments of a class are merged: small enough that a limit is kept by a tenth.
func (s *Store) segmentBytes(class string) int64 {
	size, rules := s.o.SegmentBytes, s.rules.Load()
	for _, most := range []int64{rules.MaxBytes, rules.Class(class).MaxBytes} {
		if most > 0 {
			size = min(size, most/10)
		}
	}
	return size
}

// limit returns the most bytes that all segments may have, 0 for no limit; total is the file system's size, 0 when it is not known.
func (r *Retention) limit(total uint64) int64 {
	switch {
	case r.MaxBytes < 0:
		return 0
	case r.MaxBytes > 0:
		return r.MaxBytes
	}
	return int64(min(total/2, math.MaxInt64))
}

// retentionCounters are retention's part of [Stats].
type retentionCounters struct {
	byAge, bySize, events, bytes, failures atomic.Int64
	waiting                                atomic.Int64
	paused                                 atomic.Int64 // ns
}

// Retention is an unlink. Of each class the oldest segments go, in order of sequence, so that one number in the state file says what is
// gone: it is durable before the searches stop to see the segments, and these are unlinked when the last search has let go. A crash
// in between leaves files, which the next start removes.

// retain removes what is not to be kept any longer.
func (c *compactor) retain() error {
	s, stats, rules := c.s, &c.s.stats.retention, c.s.rules.Load()
	s.keepSpare()
	pause, trusted := time.Duration(0), false
	var err error
	if rules.ages() {
		pause, err = c.watchClock()
		trusted = err == nil && pause == 0
	}
	stats.paused.Store(int64(pause))
	s.mu.RLock()
	segments, release := s.snapshot()
	st := s.state
	s.mu.RUnlock()
	defer release()
	e := expiry{classes: byClass(segments), dead: map[string]int{}, passed: s.o.Passed(), waiting: map[string]int{}}
	if trusted {
		now := s.o.Now().UnixNano()
		for class, segments := range e.classes {
			if age := rules.Class(class).Age; age > 0 {
				e.expire(class, aged(segments, st, now, int64(age)))
			}
		}
	}
	byAge := e.count()
	for class, segments := range e.classes {
		if most := rules.Class(class).MaxBytes; most > 0 {
			e.shrink(map[string][]*segment.Segment{class: segments}, most)
		}
	}
	if most := rules.limit(s.space.total.Load()); most > 0 {
		// A class with a limit of its own has its share; the others make room first.
		e.shrink(e.classes, most, func(class string) bool { return rules.Class(class).MaxBytes == 0 })
		e.shrink(e.classes, most)
	}
	waiting := 0
	for _, n := range e.waiting {
		waiting += n
	}
	stats.waiting.Store(int64(waiting))
	if e.count() == 0 {
		return err
	}
	if removed := s.expire(&e, segments); removed != nil {
		return errors.Join(err, removed)
	}
	stats.byAge.Add(int64(byAge))
	stats.bySize.Add(int64(e.count() - byAge))
	return err
}

// expiry is what is to be removed: of each class the first so many segments.
type expiry struct {
	classes map[string][]*segment.Segment
	dead    map[string]int
	passed  uint64         // what is above is not removed
	waiting map[string]int // how many segments of each class are kept because of that
}

// expire has the first n segments of a class removed, but for those that must wait. It tells whether these are all.
func (e *expiry) expire(class string, n int) bool {
	for e.dead[class] < n {
		if e.classes[class][e.dead[class]].Hi > e.passed {
			e.waiting[class] = max(e.waiting[class], n-e.dead[class])
			return false
		}
		e.dead[class]++
	}
	return true
}

func (e *expiry) count() (n int) {
	for _, dead := range e.dead {
		n += dead
	}
	return n
}

// shrink removes the oldest segments of classes, in order of sequence, until the classes have at most so many bytes. Only those that
// may is true of are taken from.
func (e *expiry) shrink(classes map[string][]*segment.Segment, most int64, may ...func(class string) bool) {
	size := int64(0)
	for class, segments := range classes {
		for _, seg := range segments[e.dead[class]:] {
			size += seg.Size()
		}
	}
	stuck := map[string]bool{}
	for size > most {
		var oldest *segment.Segment
		for class, segments := range classes {
			if e.dead[class] == len(segments) || stuck[class] || len(may) > 0 && !may[0](class) {
				continue
			}
			if seg := segments[e.dead[class]]; oldest == nil || bySequence(seg, oldest) < 0 {
				oldest = seg
			}
		}
		if oldest == nil {
			return
		}
		if !e.expire(oldest.Class, e.dead[oldest.Class]+1) {
			stuck[oldest.Class] = true
			continue
		}
		size -= oldest.Size()
	}
}

// aged returns how many of a class's segments, which are in order, are older than age. One that does not tell its age, or tells one
// that cannot be, is as old as what follows it.
func aged(segments []*segment.Segment, st *state, now, age int64) (n int) {
	for i, seg := range segments {
		_, last, err := seg.Received()
		at := st.received(last)
		switch {
		case err != nil || at > addTimes(now, int64(jumpLeast)):
		case at <= addTimes(now, -age):
			n = i + 1
		default:
			return n
		}
	}
	return n
}

// expire removes segments for good; all is the list they are from.
func (s *Store) expire(e *expiry, all []*segment.Segment) error {
	var gone []*segment.Segment
	var events, bytes int64
	for class, n := range e.dead {
		for _, seg := range e.classes[class][:n] {
			gone = append(gone, seg)
			bytes += seg.Size()
			for _, b := range seg.Blocks {
				events += int64(b.Rows)
			}
		}
	}
	sealed, left := uint64(0), uint64(math.MaxUint64)
	for _, seg := range all {
		if sealed = max(sealed, seg.Hi); !slices.Contains(gone, seg) {
			left = min(left, seg.Lo)
		}
	}
	err := s.saveState(func(st *state) {
		st.Sealed = max(st.Sealed, sealed)
		if st.Expired == nil {
			st.Expired = map[string]uint64{}
		}
		for _, seg := range gone {
			st.Expired[seg.Class] = max(st.Expired[seg.Class], seg.Hi)
		}
		st.settled(min(left, st.Sealed))
	})
	if err != nil {
		return err
	}
	s.stats.retention.events.Add(events)
	s.stats.retention.bytes.Add(bytes)
	s.o.Log.Info("events were removed, as retention asks", "segments", len(gone), "events", events, "bytes", bytes)
	err = s.exchange(gone, nil, true)
	if upTo := s.state.Expired[segment.DefaultClass]; s.log.Oldest() <= upTo {
		// The log of a quiet server holds what was removed for as long as its newest file is not full.
		last, rolled := s.log.Roll()
		if rolled == nil {
			rolled = s.log.Trim(min(last, s.state.Sealed))
		}
		err = errors.Join(err, rolled)
	}
	return err
}

// Retention says what the store holds, for how long, and what that leads to.
func (s *Store) Retention() query.RetentionInfo {
	rules, now := s.rules.Load(), s.o.Now().UnixNano()
	s.mu.RLock()
	segments, release := s.snapshot()
	st, pause := s.state, s.clock.pause(s.o.mono())
	s.mu.RUnlock()
	defer release()
	free, total := s.space.free.Load(), s.space.total.Load()
	info := query.RetentionInfo{
		MaxBytes: rules.limit(total), DiskFree: free, DiskTotal: total, DiskReserve: reserve(total), Waiting: int(s.stats.retention.waiting.Load()),
	}
	if pause > 0 && rules.ages() {
		info.Paused, info.PausedFor = "the clock has jumped: it must have been steady for a day before anything is removed by age", pause
	}
	classes := byClass(segments)
	for _, name := range append(slices.Collect(maps.Keys(rules.Classes)), segment.DefaultClass) {
		if _, has := classes[name]; !has {
			classes[name] = nil
		}
	}
	growth := make([]growing, 0, len(classes))
	for _, name := range slices.SortedFunc(maps.Keys(classes), defaultFirst) {
		policy := rules.Class(name)
		c := query.ClassInfo{Name: name, Age: policy.Age, MaxBytes: policy.MaxBytes, Segments: len(classes[name])}
		for _, seg := range classes[name] {
			c.Bytes += seg.Size()
			for _, b := range seg.Blocks {
				c.Events += int64(b.Rows)
			}
		}
		for _, seg := range classes[name] {
			if first, _, err := seg.Received(); err == nil {
				c.Oldest = time.Unix(0, st.received(first))
				break
			}
		}
		rate := perDay(classes[name], st, now)
		c.BytesPerDay = int64(rate)
		info.Bytes += c.Bytes
		info.BytesPerDay += c.BytesPerDay
		g := growing{bytes: float64(c.Bytes), perDay: rate, most: math.Inf(1)}
		if policy.Age > 0 {
			g.most = rate * policy.Age.Hours() / 24
		}
		if policy.MaxBytes > 0 {
			g.most = min(g.most, float64(policy.MaxBytes))
		}
		growth = append(growth, g)
		info.Classes = append(info.Classes, c)
	}
	if info.MaxBytes > 0 {
		info.FullIn = reaches(growth, float64(info.MaxBytes))
	}
	if total > 0 {
		room := float64(free) - float64(info.DiskReserve)
		if full := float64(info.Bytes) + max(room, 0); info.MaxBytes == 0 || full < float64(info.MaxBytes) {
			info.DiskFullIn = reaches(growth, full)
		}
	}
	return info
}

func defaultFirst(a, b string) int {
	order := func(name string) int {
		if name == segment.DefaultClass {
			return 0
		}
		return 1
	}
	return cmp.Or(order(a)-order(b), cmp.Compare(a, b))
}

const (
	day = 24 * time.Hour
	// rateOver is the time over which the rate is measured, rateLeast the shortest that tells anything.
	rateOver  = 7 * day
	rateLeast = time.Hour
)

// perDay returns how many bytes of segments a class gets a day, as of lately; 0 when that is not known.
func perDay(segments []*segment.Segment, st *state, now int64) float64 {
	var bytes int64
	begin := now
	for _, seg := range slices.Backward(segments) {
		first, last, err := seg.Received()
		if errors.Is(err, segment.ErrNoEvents) {
			continue
		}
		if err != nil || st.received(last) < now-int64(rateOver) {
			break
		}
		bytes += seg.Size()
		begin = min(begin, st.received(first))
	}
	over := now - begin
	if over < int64(rateLeast) {
		return 0
	}
	return float64(bytes) / (float64(over) / float64(day))
}

// growing is a class as the forecast sees it: at its rate it grows up to what it has when as much is removed as comes in.
type growing struct{ bytes, perDay, most float64 }

func (g *growing) after(days float64) float64 {
	return max(g.bytes, min(g.bytes+g.perDay*days, g.most))
}

// forecastMost is how far the forecast looks.
const forecastMost = 10 * 365

// reaches returns when the classes together have so many bytes, 0 when they do not.
func reaches(classes []growing, limit float64) time.Duration {
	sum := func(days float64) (bytes float64) {
		for i := range classes {
			bytes += classes[i].after(days)
		}
		return bytes
	}
	if sum(0) >= limit || sum(forecastMost) < limit {
		return 0
	}
	lo, hi := 0.0, float64(forecastMost)
	for hi-lo > 1e-3 {
		if mid := (lo + hi) / 2; sum(mid) < limit {
			lo = mid
		} else {
			hi = mid
		}
	}
	return max(time.Duration(hi*float64(day)).Round(time.Minute), time.Minute)
}

// retainAll removes what is due, and says when it cannot.
func (c *compactor) retainAll(ctx context.Context) {
	if err := c.retain(); err != nil && ctx.Err() == nil {
		c.s.stats.retention.failures.Add(1)
		if now := time.Now(); now.Sub(c.complained) >= retryAfter {
			c.complained = now
			c.s.o.Log.Error("removing old events failed; it is tried again", "error", err)
		}
	}
}
