// Package index is the store: events go in by [Store.Append], durable and searchable when it returns, and come out by
// [Store.Search] in order of time and by [Store.Follow] in order of arrival.
//
// # How it is built
//
//	Append ─► wal (fsync) ─► generation in memory ─► segment of blocks on disk
//	                             └── Search ◄──────────────┘
//
// Every event gets a sequence, its order of arrival, from the log. The events above the newest segment's are in the log and
// in memory, the others in segments; [DESIGN.md] says why, [FORMAT.md] how the bytes lie.
//
// # What it guarantees
//
// An event whose Append returned nil survives a kill and a power cut, exactly once, with the same sequence. Nothing sees an
// event before it is durable. What a producer that counts sends again is dropped. Memory for unsealed events is bounded by
// [Options.HeadBytes]; beyond it Append reports pressure instead of waiting for long.
//
// [DESIGN.md]: https://github.com/lookoutlog/lookout/blob/main/index/DESIGN.md
// [FORMAT.md]: https://github.com/lookoutlog/lookout/blob/main/index/FORMAT.md
package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/recent"
	"github.com/lookoutlog/lookout/internal/vfs"
	"github.com/lookoutlog/lookout/internal/wal"
)

// Options configure a store. Only Dir is needed.
type Options struct {
	// Dir is the store's folder; it is created. The caller sees to it that no other process uses it.
	Dir string
	// HeadBytes bounds the memory for events not yet in a segment, in bytes. Default 64 MiB.
	HeadBytes int64
	// SealAge is how long events stay in memory and log at most. Default 10 min.
	SealAge time.Duration
	// LogBytes is the size of the log, in bytes, at which its events are sealed. Default 1 GiB.
	LogBytes int64
	// SegmentBytes is the size, in bytes on disk, up to which segments are merged. Default 256 MB. A segment is never much larger than this and
	// HeadBytes together, so that a backup can send it to S3 in one request, which takes 5 GiB.
	SegmentBytes int64
	// CompactShare is the part of one core's time that merging takes at most, above 0 and at most 1. Default 0.5.
	CompactShare float64
	// Classify says which class the events of a service belong to, by its name, or, when each is not nil, a function that says it of
	// every event. A name that no class can have counts as [segment.DefaultClass], which all events belong to unless it is set. It is
	// asked when events are sealed, by several goroutines never at once; what has a class keeps it.
	Classify func(service string) (class string, each func(*event.Event) string)
	// Retention says how long events are kept. [Store.SetRetention] changes this and Classify.
	Retention Retention
	// Passed returns the sequence up to which all have read who must see every event: retention removes nothing above it. Without it
	// nobody is waited for. It is called by the store's own goroutine, at any time from Open on.
	Passed func() uint64
	// Free returns how many bytes the file system still takes, and its size, both 0 where that cannot be asked. Unless set it asks the
	// operating system, when FS is its file system.
	Free func() (free, total uint64, err error)
	// FS is the file system, vfs.OS unless set.
	FS vfs.FS
	// NoSync leaves out the fsync of the log: for the test that must find losses then.
	NoSync bool
	// Now is the clock, time.Now unless set.
	Now func() time.Time
	// Reach is what a deletion goes on with when the store holds its events no more, in this order.
	Reach []Reach
	// OnDelete is told when a deletion begins and when it has ended; what it returns an error for it is told again, and before
	// the beginning is told nothing is deleted. The query's text is left out unless it is kept.
	OnDelete func(context.Context, query.Deletion) error
	// Log takes what an operator should know; silent unless set.
	Log *slog.Logger

	// For tests, which want the log trimmed soon, and to seal and merge at chosen moments only.
	logSegment int64
	byHand     bool
	// mono is a time that goes on evenly, in ns, whatever the clock shows.
	mono func() int64
}

// ErrClosed is returned by a store that was closed.
var ErrClosed = errors.New("the store is closed")

// Store holds events. It is safe for concurrent use.
type Store struct {
	o   Options
	log *wal.Log

	mu       sync.RWMutex
	active   *generation
	frozen   *generation                   // being sealed; nil when none is
	segments []*segment.Segment            // see bySequence; replaced as a whole, never changed
	version  *version                      // holds segments open; see snapshot
	services map[string]*query.ServiceInfo // of the events in segments
	known    names                         // services that have events of their own
	damage   []error                       // parts of the store that cannot be read, beside those that segments list
	state    *state                        // replaced as a whole, never changed
	spare    int                           // bytes of the spare file, 0 for none; the compactor's
	clock    clock
	rules    atomic.Pointer[rules]
	last     uint64        // newest visible sequence
	opened   time.Time     // when active got its first event
	changed  chan struct{} // closed and replaced when frozen changes
	closed   bool
	failed   error // of the log's replay or of filing: nothing more is accepted

	seals      chan struct{}   // wakes the sealer
	compacts   chan struct{}   // wakes the compactor
	ctx        context.Context // ends with Close
	cancel     context.CancelFunc
	running    sync.WaitGroup // sealer, compactor, appends, searches, followers' calls
	buffers    sync.Pool
	gathers    chan struct{} // how many followers gather a window of events from segments
	gatherings sync.Pool     // their memory
	builder    *blockBuilder // the sealer's
	searches   underway
	inputs     inputs
	long       lane
	sealing    time.Time // when a failure to seal was said last; the sealer's
	stats      counters
	tables     tableCache
	kinds      kindsShared
	sealed     sealedKinds
	deletes    deletions
	space      space
}

// Open opens the store in o.Dir, creating it when it is not there, and reads back what the log holds beyond the segments.
// A format of a later lookout is refused with an error that wraps block.ErrVersion, and no file is touched.
func Open(o Options) (*Store, error) {
	if o.HeadBytes == 0 {
		o.HeadBytes = 64 << 20
	}
	if o.SealAge == 0 {
		o.SealAge = 10 * time.Minute
	}
	if o.LogBytes == 0 {
		o.LogBytes = 1 << 30
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 256e6
	}
	if o.CompactShare == 0 {
		o.CompactShare = 0.5
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.Free == nil {
		o.Free = func() (uint64, uint64, error) { return 0, 0, nil }
		if o.FS == vfs.OS {
			o.Free = func() (uint64, uint64, error) { return vfs.Space(o.Dir) }
		}
	}
	if o.Passed == nil {
		o.Passed = func() uint64 { return math.MaxUint64 }
	}
	if o.mono == nil {
		o.mono = monotonic
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		o: o, services: map[string]*query.ServiceInfo{}, changed: make(chan struct{}),
		seals: make(chan struct{}, 1), compacts: make(chan struct{}, 1), version: newVersion(),
	}
	s.rules.Store(&rules{o.Retention, o.Classify})
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.inputs = s.newInputs()
	s.buffers.New = func() any { return new(appendBuffer) }
	s.gathers, s.gatherings.New = make(chan struct{}, gatherings), func() any { return new(gathering) }
	if err := errors.Join(s.openState(), s.openDeletes()); err != nil {
		return nil, err
	}
	found, err := s.openSegments()
	if err != nil {
		return nil, errors.Join(err, s.closeSegments())
	}
	s.lookAtSpace()
	if err := s.openLog(found); err != nil {
		return nil, errors.Join(err, s.closeSegments())
	}
	if o.Retention.ages() {
		s.startClock()
	}
	if !o.byHand {
		c := newCompactor(s)
		s.running.Go(s.sealer)
		s.running.Go(c.run)
		kick(s.compacts)
	}
	return s, nil
}

func (s *Store) segmentDir() string { return filepath.Join(s.o.Dir, "segments") }

// bySequence is the order of a store's segments. Those of one class are disjoint; those of the default class hold, together with
// what retention has removed, all sequences up to the highest that was sealed, if only to say that none of them is theirs.
func bySequence(a, b *segment.Segment) int {
	return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Class, b.Class))
}

// found is what opening finds in the folder of segments beside those it has made part of the store.
type found struct {
	sealed    uint64             // what is at or below it is not read from the log
	leftovers []string           // files that a crash has left, of which nothing is needed
	pending   []*segment.Segment // of generations of which the default class's segment, which is written last, is not there
}

// openSegments opens what is there.
func (s *Store) openSegments() (f found, err error) {
	dir := s.segmentDir()
	if err := s.o.FS.MkdirAll(dir, 0o700); err != nil {
		return f, fmt.Errorf("creating the store: %w", err)
	}
	for _, made := range []string{s.o.Dir, filepath.Dir(s.o.Dir)} {
		if err := s.o.FS.SyncDir(made); err != nil {
			return f, fmt.Errorf("creating the store: %w", err)
		}
	}
	names, err := s.o.FS.ReadDir(dir)
	if err != nil {
		return f, fmt.Errorf("opening the store: %w", err)
	}
	classes := map[string][]*segment.Segment{}
	for _, name := range names {
		if segment.IsTemporary(name) { // its events are still in the log or in other segments
			f.leftovers = append(f.leftovers, filepath.Join(dir, name))
			continue
		}
		_, hi, class, ok := segment.ParseName(name)
		if !ok {
			continue
		}
		if hi <= s.state.Expired[class] { // a crash came before its removal, or took that back
			f.leftovers = append(f.leftovers, filepath.Join(dir, name))
			continue
		}
		seg, err := segment.Open(s.o.FS, dir, name)
		if err != nil {
			for _, segments := range classes {
				for _, seg := range segments {
					err = errors.Join(err, seg.Close())
				}
			}
			return f, fmt.Errorf("opening the store: %w", err)
		}
		classes[class] = append(classes[class], seg)
	}
	f.sealed = s.state.Sealed
	for _, seg := range classes[segment.DefaultClass] {
		f.sealed = max(f.sealed, seg.Hi)
	}
	for _, class := range slices.Sorted(maps.Keys(classes)) {
		whole := slices.DeleteFunc(classes[class], func(seg *segment.Segment) bool {
			if seg.Hi > f.sealed {
				f.pending = append(f.pending, seg)
			}
			return seg.Hi > f.sealed
		})
		err = errors.Join(err, s.use(whole, &f))
	}
	return f, err
}

// use makes those segments of a class part of the store that are to be used.
func (s *Store) use(segments []*segment.Segment, f *found) (err error) {
	use, done, unused := settle(segments)
	for _, seg := range slices.Concat(done, unused) {
		err = errors.Join(err, seg.Close())
	}
	for _, seg := range done {
		f.leftovers = append(f.leftovers, filepath.Join(s.segmentDir(), seg.Name()))
	}
	for _, seg := range unused {
		s.o.Log.Error("a merge of segments was damaged before the old ones were removed; this one is not used, because the rest hold more", "segment",
			seg.Name(), "error", errors.Join(seg.Damage...))
	}
	for i, seg := range use {
		if i > 0 && seg.Lo < use[i-1].Hi {
			s.contradiction(fmt.Errorf("segments %s and %s overlap: events may be shown twice", use[i-1].Name(), seg.Name()))
		}
		s.addSegments(seg)
	}
	return err
}

// contradiction says what of the store cannot be right, though no crash leaves it.
func (s *Store) contradiction(err error) {
	s.o.Log.Error("the store's segments contradict each other", "error", err)
	s.damage = append(s.damage, err)
}

// settle tells what the segments of one class are: those to be used, in order; those whose events are in one of these, which a
// merge has left behind; and those that are neither used nor removed: a damaged merge of segments that are all there, or, where
// not all are, these.
func settle(segments []*segment.Segment) (use, done, unused []*segment.Segment) {
	slices.SortFunc(segments, func(a, b *segment.Segment) int { return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(b.Hi, a.Hi)) })
	for len(segments) > 0 {
		seg, n := segments[0], 1
		for n < len(segments) && segments[n].Hi <= seg.Hi {
			n++
		}
		within := segments[1:n]
		segments = segments[n:]
		if len(seg.Damage) > 0 && len(within) > 0 {
			u, d, x := settle(slices.Clone(within))
			if covers(u, seg.Lo, seg.Hi) {
				use, done, unused = append(use, u...), append(done, d...), append(append(unused, seg), x...)
				continue
			}
			use, unused = append(use, seg), append(unused, within...)
			continue
		}
		use, done = append(use, seg), append(done, within...)
	}
	return use, done, unused
}

// covers tells whether segments hold, whole, everything above lo up to hi.
func covers(segments []*segment.Segment, lo, hi uint64) bool {
	for _, seg := range segments {
		if seg.Lo != lo || len(seg.Damage) > 0 {
			return false
		}
		lo = seg.Hi
	}
	return lo == hi
}

// addSegments makes segments part of the store; the caller holds the lock or is alone.
func (s *Store) addSegments(added ...*segment.Segment) {
	segments := slices.Concat(s.segments, added)
	slices.SortFunc(segments, bySequence)
	s.leave(s.install(segments)) // ends no segment
	for _, seg := range added {
		for _, err := range seg.Damage {
			s.o.Log.Error("part of a segment cannot be read; the rest is served", "error", err)
		}
		for _, b := range seg.Blocks {
			s.known.admit([]byte(b.Service))
		}
	}
	countServices(s.services, added)
}

// countServices adds what segments hold to what is known of their services.
func countServices(services map[string]*query.ServiceInfo, segments []*segment.Segment) {
	for _, seg := range segments {
		for _, b := range seg.Blocks {
			info := services[b.Service]
			if info == nil {
				info = &query.ServiceInfo{Name: b.Service, FirstSeen: b.MinTime, LastSeen: b.MaxTime}
				services[b.Service] = info
			}
			info.Events += int64(b.Rows)
			info.Bytes += b.Bytes
			info.FirstSeen, info.LastSeen = min(info.FirstSeen, b.MinTime), max(info.LastSeen, b.MaxTime)
			for i, n := range b.Levels {
				info.Levels[i] += n
			}
			for _, h := range b.Hosts {
				if i, found := slices.BinarySearch(info.Hosts, h); !found && len(info.Hosts) < maxHosts {
					info.Hosts = slices.Insert(info.Hosts, i, h)
				}
			}
		}
	}
}

// damaged lists the parts of the store that cannot be read; the caller holds the lock.
func (s *Store) damaged() []error {
	list := slices.Clip(s.damage)
	for _, seg := range s.segments {
		list = append(list, seg.Damage...)
	}
	return list
}

// maxHosts bounds the hosts that are named of one service.
const maxHosts = 100

// openLog opens the log and files what it holds above what is sealed. It seals as it goes, so that memory stays bounded. What
// is left over is removed once the log's format has been accepted as well: a refusal leaves every file as it was.
func (s *Store) openLog(f found) error {
	var err error
	s.log, err = wal.Open(wal.Options{
		Dir: filepath.Join(s.o.Dir, "wal"), FS: s.o.FS, NoSync: s.o.NoSync, OnCommit: s.commit,
		Now: s.o.Now, Start: f.sealed, Log: s.o.Log, SegmentBytes: s.o.logSegment,
	})
	if err != nil {
		err = fmt.Errorf("opening the log: %w", err)
		for _, seg := range f.pending {
			err = errors.Join(err, seg.Close())
		}
		return err
	}
	kept := map[string][]*segment.Segment{}
	for _, seg := range f.pending {
		if s.log.Oldest() > seg.Lo+1 {
			// No crash leaves this: the log is trimmed behind the default class's segment, which somebody has taken away.
			s.contradiction(fmt.Errorf("the segment of class %s up to sequence %d is missing: events are missing, but segment %s is there", segment.DefaultClass, seg.Hi, seg.Name()))
			kept[seg.Class] = append(kept[seg.Class], seg)
			f.sealed = max(f.sealed, seg.Hi)
			continue
		}
		// A crash came before the generation was whole: all of it is in the log.
		f.leftovers = append(f.leftovers, filepath.Join(s.segmentDir(), seg.Name()))
		if err := seg.Close(); err != nil {
			s.o.Log.Warn("a segment that is not needed could not be closed", "segment", seg.Name(), "error", err)
		}
	}
	for _, segments := range kept {
		if err := s.use(segments, &f); err != nil {
			s.log.Close()
			return fmt.Errorf("opening the store: %w", err)
		}
	}
	s.active, s.last = newGeneration(f.sealed), f.sealed
	s.sealed.forget(f.sealed)
	for _, name := range f.leftovers {
		if err := s.o.FS.Remove(name); err != nil {
			s.log.Close()
			return fmt.Errorf("opening the store: %w", err)
		}
	}
	// Also what a start before removed: the rest of a generation must not come back beside the one that replay makes of its events.
	if err := s.o.FS.SyncDir(s.segmentDir()); err != nil {
		s.log.Close()
		return fmt.Errorf("opening the store: %w", err)
	}
	if err := s.replay(f.sealed); err != nil {
		s.log.Close()
		return err
	}
	return nil
}

func (s *Store) replay(sealed uint64) error {
	r := s.log.Reader(sealed)
	defer r.Close()
	for {
		e, ok, err := r.TryNext()
		var trimmed *wal.TrimmedError
		var bad *wal.CorruptError
		switch {
		case errors.As(err, &trimmed), errors.As(err, &bad): // the reader goes on behind it
			s.o.Log.Error("part of the log cannot be read; the rest is served", "error", err)
			s.damage = append(s.damage, err)
			continue
		case err != nil:
			return fmt.Errorf("reading the log: %w", err)
		case !ok:
			for name := range s.active.heads {
				s.known.admit([]byte(name))
			}
			return nil
		}
		if err := s.active.add(e.First, e.Received, e.Data); err != nil {
			return fmt.Errorf("reading the log: %w", err)
		}
		s.last = s.active.hi
		if s.active.bytes >= s.o.HeadBytes/2 {
			if err := s.sealNow(); err != nil {
				return err
			}
		}
	}
}

// commit files a durable record; the log calls it in order of sequence.
func (s *Store) commit(e *wal.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active.bytes == 0 {
		s.opened = s.o.Now()
	}
	if s.clock.known && s.clock.doubtful(e.Received) {
		s.clock.look(e.Received, s.o.mono(), e.First-1)
	}
	if err := s.active.add(e.First, e.Received, e.Data); err != nil {
		// Append has encoded these bytes: they can only be damaged memory. What is durable is found at the next start.
		s.failed = fmt.Errorf("filing a record: %w", err)
		s.o.Log.Error("the store stops accepting events", "error", s.failed)
		return
	}
	s.last = max(s.last, e.First+uint64(e.Count)-1)
	if s.active.bytes >= s.o.HeadBytes/2 && s.frozen == nil {
		s.freeze()
	}
}

// pressure is the answer to an append the store has no room for right now. It implements collector.Pressure.
type pressure struct {
	reason string
	full   bool // it is the disk that has no room
}

func (p *pressure) Error() string             { return p.reason }
func (p *pressure) RetryAfter() time.Duration { return time.Second }
func (p *pressure) Full() bool                { return p.full }

// patience is how long Append waits for memory: long enough for most seals, short enough to answer "try again" in 100 ms.
const patience = 80 * time.Millisecond

// admit waits until the generations have room.
func (s *Store) admit(ctx context.Context) error {
	var timer *time.Timer
	for {
		s.mu.RLock()
		used := s.active.bytes
		if s.frozen != nil {
			used += s.frozen.bytes
		}
		changed, failed := s.changed, s.failed
		s.mu.RUnlock()
		switch {
		case failed != nil:
			return failed
		case used < s.o.HeadBytes:
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(patience)
			defer timer.Stop()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return ErrClosed
		case <-timer.C:
			s.stats.refused.Add(1)
			return &pressure{reason: fmt.Sprintf("%d MiB of events wait to be sealed", used>>20)}
		}
	}
}

type appendBuffer struct {
	data     []byte
	entry    wal.Entry
	admitted recent.Names[struct{}] // services: none is ever turned out
}

// Append makes the events of a batch durable and searchable; when it returns nil they are both. It copies what it keeps.
// Under pressure the error has the methods RetryAfter and Full, and none of the batch was taken. Beyond [MaxServices] the
// events of further services are filed under [TooManyServices]. After ctx ended the batch
// may or may not become durable; a producer that counts sends it again without harm.
func (s *Store) Append(ctx context.Context, b *event.Batch) error {
	if len(b.Events) == 0 {
		return nil
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.running.Done()
	if err := s.refusal(); err != nil {
		return err
	}
	if err := s.admit(ctx); err != nil {
		return err
	}
	s.long.appended.Store(time.Now().UnixNano())
	buf := s.buffers.Get().(*appendBuffer)
	buf.data = buf.data[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if _, ok := buf.admitted.Get(e.Service); !ok {
			if s.known.admit(e.Service) {
				buf.admitted.Put(e.Service, struct{}{})
			} else {
				s.overflow(b, e)
			}
		}
		start := len(buf.data)
		buf.data = event.AppendEvent(buf.data, e)
		if len(buf.data)-start > event.MaxEncoded { // a stage has made it longer than its input had
			b.Clamp(e)
			buf.data = event.AppendEvent(buf.data[:start], e)
		}
	}
	buf.entry = wal.Entry{
		Count: len(b.Events), Producer: b.Producer, ProducerSeq: b.FirstSeq, Cursor: b.Cursor, Data: buf.data,
	}
	if _, _, err := s.log.Append(ctx, &buf.entry); err != nil {
		return err // the log may still hold the buffer: it is not used again
	}
	if cap(buf.data) <= maxPooled {
		s.buffers.Put(buf)
	}
	return nil
}

// maxPooled keeps one huge batch from holding its memory for ever.
const maxPooled = 8 << 20

// LastSeq returns the sequence of the newest visible event, 0 when there is none.
func (s *Store) LastSeq() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.last
}

// Producer returns where a producer goes on: the count it sends next and the cursor behind its last durable event.
func (s *Store) Producer(name string) (next uint64, cursor []byte, ok bool) {
	return s.log.Producer(name)
}

// Close stops accepting events, ends running searches and followers, and seals what is in memory unless ctx ends before: then the
// next start reads it from the log.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	err := s.sealAll(ctx)
	return errors.Join(err, s.log.Close(), s.closeSegments())
}

// closeSegments closes what no snapshot holds; the caller holds the lock or is alone.
func (s *Store) closeSegments() error { return s.leave(s.install(nil)) }

// enter counts a call in that Close must wait for; the caller calls s.running.Done when it has ended.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.running.Add(1)
	return nil
}

// Services lists the services the store holds events of, by name.
func (s *Store) Services() []query.ServiceInfo {
	s.mu.RLock()
	infos := map[string]*query.ServiceInfo{}
	for name, info := range s.services {
		c := *info
		c.Hosts = slices.Clone(info.Hosts)
		infos[name] = &c
	}
	views := s.views(nil)
	s.mu.RUnlock()
	var e event.Event
	for i := range views {
		v := &views[i]
		info := infos[v.service]
		if info == nil {
			info = &query.ServiceInfo{Name: v.service, FirstSeen: v.minTime, LastSeen: v.maxTime}
			infos[v.service] = info
		}
		info.FirstSeen, info.LastSeen = min(info.FirstSeen, v.minTime), max(info.LastSeen, v.maxTime)
		info.Events += int64(len(v.rows))
		for _, r := range v.rows {
			row := v.row(r)
			info.Bytes += int64(len(row))
			if _, err := event.Decode(row, &e); err != nil {
				panic(err) // filed by this process
			}
			info.Levels[e.Level]++
			if h, found := slices.BinarySearch(info.Hosts, string(e.Host)); !found && len(e.Host) > 0 && len(info.Hosts) < maxHosts {
				info.Hosts = slices.Insert(info.Hosts, h, string(e.Host))
			}
		}
	}
	list := make([]query.ServiceInfo, 0, len(infos))
	for _, info := range infos {
		list = append(list, *info)
	}
	slices.SortFunc(list, func(a, b query.ServiceInfo) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list
}

// views returns the heads of both generations that q may match; the caller holds the lock.
func (s *Store) views(q *query.Query) []headView {
	var list []headView
	for _, g := range []*generation{s.frozen, s.active} {
		if g == nil {
			continue
		}
		for _, h := range g.heads {
			if q == nil || q.MayMatchService([]byte(h.service)) {
				list = append(list, g.view(h))
			}
		}
	}
	return list
}
