package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

type counters struct {
	refused, full, sealErrors, seals, overflowed, passedOver, deleted atomic.Int64
	compact                                                           compactCounters
	retention                                                         retentionCounters
}

// Stats are a store's figures at one moment.
type Stats struct {
	Sequence     uint64 // of the newest visible event
	Segments     int    // of all classes
	Blocks       int
	SegmentBytes int64 // of the segment files
	HeadBytes    int64 // memory taken by events not yet in a segment
	LogBytes     int64 // of the log's files
	Seals        int64 // segments written since the start
	SealErrors   int64 // failed attempts to write one
	Refused      int64 // appends turned away because memory was full
	RefusedFull  int64 // appends turned away because the disk was full
	Overflowed   int64 // runs of events filed under [TooManyServices]
	Damaged      int   // parts of the store that cannot be read
	Deleted      int64 // events deleted by query since the start
	PassedOver   int64 // sequences that followers passed over, since retention had removed their events

	ExpiredByAge    int64            // segments that retention has removed since the start because of their age
	ExpiredBySize   int64            // and because there were too many bytes
	ExpiredEvents   int64            // events of these
	ExpiredBytes    int64            // and their bytes on disk
	RetentionErrors int64            // failed attempts to remove some
	RetentionPaused time.Duration    // how long nothing will be removed by age, because the clock has jumped
	RetentionWaits  int64            // segments that are due, but hold events that not everybody has seen who must
	ClockJumps      int64            // of an hour or more, since the start
	ClassBytes      map[string]int64 // of the segment files, by class
	DiskFree        uint64           // of the file system, 0 when that cannot be asked
	DiskBytes       uint64           // its size

	Compactions    int64         // merges of segments since the start
	CompactErrors  int64         // failed attempts to make one
	CompactedIn    int64         // bytes of the segments that were merged
	CompactedOut   int64         // bytes of the segments that they became
	Rebuilt        int64         // events that were put into new blocks meanwhile
	CompactTime    time.Duration // that merging has worked, rests left out
	CompactWaiting int64         // segments in the merge that is under way or next

	Full bool // so little of the disk is free that nothing is accepted
}

// Stats returns the store's figures.
func (s *Store) Stats() Stats {
	logBytes := s.log.Stats().Bytes // not under the lock: the log calls commit, which takes it
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{
		Sequence: s.last, Segments: len(s.segments), HeadBytes: s.active.bytes, LogBytes: logBytes,
		Seals: s.stats.seals.Load(), SealErrors: s.stats.sealErrors.Load(), Refused: s.stats.refused.Load(), RefusedFull: s.stats.full.Load(), Overflowed: s.stats.overflowed.Load(),
		Damaged: len(s.damaged()), PassedOver: s.stats.passedOver.Load(), Deleted: s.stats.deleted.Load(),
	}
	c := &s.stats.compact
	st.Compactions, st.CompactErrors, st.CompactWaiting = c.merges.Load(), c.failures.Load(), c.waiting.Load()
	st.CompactedIn, st.CompactedOut, st.Rebuilt = c.bytesIn.Load(), c.bytesOut.Load(), c.rebuilt.Load()
	st.CompactTime = time.Duration(c.worked.Load())
	if s.frozen != nil {
		st.HeadBytes += s.frozen.bytes
	}
	r := &s.stats.retention
	st.ExpiredByAge, st.ExpiredBySize, st.ExpiredEvents, st.ExpiredBytes = r.byAge.Load(), r.bySize.Load(), r.events.Load(), r.bytes.Load()
	st.RetentionErrors, st.RetentionWaits, st.ClockJumps = r.failures.Load(), r.waiting.Load(), s.clock.jumps
	st.RetentionPaused = time.Duration(r.paused.Load())
	st.DiskFree, st.DiskBytes, st.Full = s.space.free.Load(), s.space.total.Load(), s.space.full.Load()
	st.ClassBytes = map[string]int64{segment.DefaultClass: 0}
	for _, seg := range s.segments {
		st.ClassBytes[seg.Class] += seg.Size()
		st.Blocks += len(seg.Blocks)
		st.SegmentBytes += seg.Size()
	}
	return st
}

// kick wakes the goroutine that waits for c, once.
func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// freeze makes the active generation the one to be sealed; the caller holds the lock and has seen that there is none.
func (s *Store) freeze() {
	s.frozen, s.active = s.active, newGeneration(s.active.hi)
	kick(s.seals)
}

// sealer writes frozen generations. It looks after age and the log's size as well.
func (s *Store) sealer() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	idle := 0
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
			s.lookAtSpace()
			s.freezeOld()
			idle++
		case <-s.seals:
			idle = 0
		}
		s.sealFrozen()
		if idle == builderIdle {
			s.builder = nil
		}
	}
}

// builderIdle is after how many seconds without a seal the sealer gives its builder's memory back, some 50 MB: before a merge
// that waits for quiet takes as much.
const builderIdle = 3

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
		if now := time.Now(); now.Sub(s.sealing) >= retryAfter { // a disk is full for long
			s.sealing = now
			s.o.Log.Error("sealing failed; it is tried again each second", "error", err)
		}
	}
}

// freezeOld freezes the active generation when it has waited for long, when the log has grown too large or the disk is full, since a
// segment takes a tenth of the log, and at the end of the day in UTC, so that a segment's events were received in one day.
func (s *Store) freezeOld() {
	large, now := s.log.Stats().Bytes >= s.o.LogBytes, s.o.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old := now.Sub(s.opened) >= s.o.SealAge || dayOf(now.UnixNano()) != dayOf(s.opened.UnixNano())
	if s.frozen == nil && s.active.bytes > 0 && (large || old || s.space.full.Load()) {
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

// seal writes a generation as segments, lets the searches see these instead, and frees the log.
func (s *Store) seal(g *generation) error {
	classes := s.split(g)
	noted := s.sealed.note()
	for _, c := range classes {
		if err := s.write(g, c, noted); err != nil {
			return err
		}
	}
	clear(s.builder.rows) // they hold the generation's memory
	segments := make([]*segment.Segment, len(classes))
	for i, c := range classes {
		var err error
		if segments[i], err = segment.Open(s.o.FS, s.segmentDir(), segment.Name(g.lo, g.hi, c.name)); err != nil {
			err = fmt.Errorf("reading back a segment: %w", err)
			for _, seg := range segments[:i] {
				err = errors.Join(err, seg.Close())
			}
			return err
		}
	}
	s.mu.Lock()
	s.addSegments(segments...)
	if s.frozen == g {
		s.frozen = nil
	}
	if s.frozen == nil && s.active.bytes >= s.o.HeadBytes/2 {
		s.freeze()
	}
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.sealed.add(g.lo, g.hi, noted)
	s.stats.seals.Add(1)
	kick(s.compacts)
	if err := s.log.Trim(g.hi); err != nil {
		s.o.Log.Warn("the log could not be trimmed; the next seal tries again", "error", err)
	}
	return nil
}

// classPart is what of a generation belongs to one class: its services, by name.
type classPart struct {
	name  string
	heads []headView
}

// split parts a generation by class. The default class comes last, and comes even when it has nothing: its segment says that the
// generation is whole.
func (s *Store) split(g *generation) []classPart {
	classify := s.rules.Load().classify
	heads := map[string][]headView{segment.DefaultClass: nil}
	for _, name := range slices.Sorted(maps.Keys(g.heads)) {
		view := g.view(g.heads[name])
		class, each := segment.DefaultClass, (func(*event.Event) string)(nil)
		if classify != nil {
			class, each = classify(name)
		}
		if each == nil {
			class = classOf(class)
			heads[class] = append(heads[class], view)
			continue
		}
		rows := map[string][]rowRef{}
		var e event.Event
		for _, r := range view.rows {
			if _, err := event.Decode(view.row(r), &e); err != nil {
				panic(err) // filed by this process
			}
			e.Seq = r.seq
			class := classOf(each(&e))
			rows[class] = append(rows[class], r)
		}
		for class, part := range rows {
			view.rows = part
			heads[class] = append(heads[class], view)
		}
	}
	var list []classPart
	for class, views := range heads {
		list = append(list, classPart{class, views})
	}
	slices.SortFunc(list, func(a, b classPart) int {
		last := func(p classPart) int {
			if p.name == segment.DefaultClass {
				return 1
			}
			return 0
		}
		return cmp.Or(last(a)-last(b), cmp.Compare(a.name, b.name))
	})
	return list
}

// classOf returns a class's name when it can be one.
func classOf(name string) string {
	if segment.ValidClass(name) {
		return name
	}
	return segment.DefaultClass
}

// write writes the segment of a class: its services one behind the other, each in blocks in order of (time, sequence). Noted, which may
// be nil, gets the kinds of its lines.
func (s *Store) write(g *generation, c classPart, noted *kindReader) (err error) {
	if s.builder == nil {
		if s.builder, err = newBlockBuilder(s.polite(s.pressed)); err != nil {
			return err
		}
	}
	b := s.builder
	b.noted, b.NoteMessages = noted, noted != nil
	w, err := segment.NewWriter(s.o.FS, s.segmentDir(), g.lo, g.hi, c.name)
	if err != nil {
		return err
	}
	w.GiveWay = b.GiveWay
	defer func() {
		if err != nil {
			w.Abort()
		}
	}()
	for _, view := range c.heads {
		b.rows = sortedRows(b.rows[:0], view)
		if err = b.add(w, b.rows, g.received); err != nil {
			return err
		}
	}
	return w.Close()
}

// blockBuilder builds the blocks of a segment.
type blockBuilder struct {
	*block.Builder
	rows []block.Row // scratch memory
	buf  []byte
	// noted gets the kinds of the lines of all that is added; nil for none.
	noted *kindReader
}

func newBlockBuilder(p *polite) (*blockBuilder, error) {
	b, err := block.NewBuilder()
	if err != nil {
		return nil, err
	}
	b.GiveWay = p.giveWay
	return &blockBuilder{Builder: b}, nil
}

// add cuts the rows of a service, which are in order, into blocks and adds these to a segment.
func (b *blockBuilder) add(w *segment.Writer, rows []block.Row, received []block.ReceivedRun) error {
	for len(rows) > 0 {
		n := cut(rows)
		data, info, err := b.Append(b.buf[:0], rows[:n], received)
		if err != nil {
			return err
		}
		b.buf = data
		if b.noted != nil {
			b.noted.readInfo(info)
		}
		b.GiveWay()
		if err := w.Add(data, info); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// sortedRows appends a head's rows in order of (time, sequence), which most are in.
func sortedRows(rows []block.Row, v headView) []block.Row {
	for _, r := range sortedRefs(v.rows) {
		rows = append(rows, block.Row{Seq: r.seq, Data: v.row(r)})
	}
	return rows
}

// sortedRefs returns refs in order of (time, sequence); it leaves them as they are. What several senders bring is some runs
// that are in order: they are merged two by two.
func sortedRefs(refs []rowRef) []rowRef {
	var ends []int // of the runs
	for i := range refs {
		if i+1 == len(refs) || refs[i+1].before(refs[i]) {
			ends = append(ends, i+1)
		}
	}
	if len(ends) < 2 {
		return refs
	}
	from, to := refs, make([]rowRef, len(refs))
	var spare []rowRef
	for len(ends) > 1 {
		start, kept, out := 0, ends[:0], to[:0]
		for i := 0; i < len(ends); i += 2 {
			middle := ends[i]
			end := ends[min(i+1, len(ends)-1)]
			a, b := from[start:middle], from[middle:end]
			for len(a) > 0 && len(b) > 0 {
				if b[0].before(a[0]) {
					out, b = append(out, b[0]), b[1:]
				} else {
					out, a = append(out, a[0]), a[1:]
				}
			}
			out = append(append(out, a...), b...)
			start, kept = end, append(kept, end)
		}
		if spare == nil && len(kept) > 1 { // the refs themselves are not ours
			spare = make([]rowRef, len(refs))
		}
		ends, from, to, spare = kept, to, spare, to
	}
	return from
}

// sortRows puts rows in order of (time, sequence), which most are in.
func sortRows(rows []block.Row) {
	byTime := func(a, b block.Row) int {
		return cmp.Or(cmp.Compare(rowTime(a.Data), rowTime(b.Data)), cmp.Compare(a.Seq, b.Seq))
	}
	if !slices.IsSortedFunc(rows, byTime) {
		slices.SortFunc(rows, byTime)
	}
}

const (
	// strayGap parts blocks where time jumps, so that one late or future event does not widen a block's range.
	strayGap = int64(time.Hour)
	// farGap is the same between parts that are both below fewBytes: what a quiet service says in a day is one block.
	farGap   = int64(24 * time.Hour)
	fewBytes = 64 << 10
)

// cut returns how many of the rows, which are in order, make the next block.
func cut(rows []block.Row) int {
	size := 0
	for i, r := range rows {
		if i > 0 {
			if i == block.MaxRows || size+len(r.Data) > block.MaxBytes {
				return i
			}
			gap := jump(rows[i-1], r)
			if gap > uint64(farGap) || gap > uint64(strayGap) && (size >= fewBytes || !few(rows[i:])) {
				return i
			}
		}
		size += len(r.Data)
	}
	return len(rows)
}

// jump returns the time from one row to the next, in ns.
func jump(a, b block.Row) uint64 { return uint64(rowTime(b.Data)) - uint64(rowTime(a.Data)) }

// few tells whether the rows up to the next jump are below fewBytes.
func few(rows []block.Row) bool {
	size := 0
	for i, r := range rows {
		if i > 0 && jump(rows[i-1], r) > uint64(strayGap) {
			return true
		}
		if size += len(r.Data); size >= fewBytes {
			return false
		}
	}
	return true
}
