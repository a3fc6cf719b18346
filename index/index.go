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
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
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
	// SegmentBytes is the size, in bytes on disk, up to which segments are merged. Default 256 MB.
	SegmentBytes int64
	// CompactShare is the part of one core's time that merging takes at most, above 0 and at most 1. Default 0.5.
	CompactShare float64
	// FS is the file system, vfs.OS unless set.
	FS vfs.FS
	// NoSync leaves out the fsync of the log: for the test that must find losses then.
	NoSync bool
	// Now is the clock, time.Now unless set.
	Now func() time.Time
	// Log takes what an operator should know; silent unless set.
	Log *slog.Logger

	// For tests, which want the log trimmed soon, and to seal and merge at chosen moments only.
	logSegment int64
	byHand     bool
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
	segments []*segment.Segment            // contiguous and in order of sequence; replaced as a whole, never changed
	version  *version                      // holds segments open; see snapshot
	services map[string]*query.ServiceInfo // of the events in segments
	known    names                         // services that have events of their own
	damage   []error                       // parts of the store that cannot be read
	last     uint64                        // newest visible sequence
	opened   time.Time                     // when active got its first event
	changed  chan struct{}                 // closed and replaced when frozen changes
	closed   bool
	failed   error // of the log's replay or of filing: nothing more is accepted

	seals    chan struct{}   // wakes the sealer
	compacts chan struct{}   // wakes the compactor
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup // sealer, compactor, appends, searches, followers' calls
	buffers  sync.Pool
	builder  *blockBuilder // the sealer's
	stats    counters
	tables   tableCache
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
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.buffers.New = func() any { return new(appendBuffer) }
	leftovers, err := s.openSegments()
	if err != nil {
		return nil, errors.Join(err, s.closeSegments())
	}
	sealed := uint64(0)
	for _, seg := range s.segments {
		sealed = max(sealed, seg.Hi)
	}
	s.active, s.last = newGeneration(sealed), sealed
	if err := s.openLog(sealed, leftovers); err != nil {
		return nil, errors.Join(err, s.closeSegments())
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

// openSegments opens what is there, and returns the files that a crash left of segments it was writing.
func (s *Store) openSegments() (leftovers []string, err error) {
	dir := s.segmentDir()
	if err := s.o.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the store: %w", err)
	}
	for _, made := range []string{s.o.Dir, filepath.Dir(s.o.Dir)} {
		if err := s.o.FS.SyncDir(made); err != nil {
			return nil, fmt.Errorf("creating the store: %w", err)
		}
	}
	names, err := s.o.FS.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	var segments []*segment.Segment
	for _, name := range names {
		if segment.IsTemporary(name) { // its events are still in the log or in other segments
			leftovers = append(leftovers, filepath.Join(dir, name))
			continue
		}
		if _, _, ok := segment.ParseName(name); !ok {
			continue
		}
		seg, err := segment.Open(s.o.FS, dir, name)
		if err != nil {
			for _, seg := range segments {
				err = errors.Join(err, seg.Close())
			}
			return nil, fmt.Errorf("opening the store: %w", err)
		}
		segments = append(segments, seg)
	}
	use, done, unused := settle(segments)
	for _, seg := range append(done, unused...) {
		err = errors.Join(err, seg.Close())
	}
	for _, seg := range done {
		leftovers = append(leftovers, filepath.Join(dir, segment.Name(seg.Lo, seg.Hi)))
	}
	for _, seg := range unused {
		s.o.Log.Error("a merge of segments was damaged before the old ones were removed; this one is not used, because the rest hold more", "segment",
			segment.Name(seg.Lo, seg.Hi), "error", errors.Join(seg.Damage...))
	}
	for i, seg := range use {
		if i > 0 && seg.Lo < use[i-1].Hi {
			err := fmt.Errorf("segments %s and %s overlap: events may be shown twice", segment.Name(use[i-1].Lo, use[i-1].Hi), segment.Name(seg.Lo, seg.Hi))
			s.o.Log.Error("the store's segments contradict each other", "error", err)
			s.damage = append(s.damage, err)
		}
		s.addSegment(seg)
	}
	return leftovers, err
}

// settle tells what the segments of a folder are: those to be used, in order; those whose events are in one of these, which a
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

// addSegment makes a segment part of the store; the caller holds the lock or is alone.
func (s *Store) addSegment(seg *segment.Segment) {
	segments := append(slices.Clone(s.segments), seg)
	slices.SortFunc(segments, func(a, b *segment.Segment) int { return cmp.Compare(a.Lo, b.Lo) })
	s.leave(s.install(segments)) // ends no segment
	for _, err := range seg.Damage {
		s.o.Log.Error("part of a segment cannot be read; the rest is served", "error", err)
		s.damage = append(s.damage, err)
	}
	for _, b := range seg.Blocks {
		s.known.admit([]byte(b.Service))
		info := s.services[b.Service]
		if info == nil {
			info = &query.ServiceInfo{Name: b.Service, FirstSeen: b.MinTime, LastSeen: b.MaxTime}
			s.services[b.Service] = info
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

// maxHosts bounds the hosts that are named of one service.
const maxHosts = 100

// openLog opens the log and files what it holds above sealed. It seals as it goes, so that memory stays bounded. The
// leftovers are removed once the log's format has been accepted as well: a refusal leaves every file as it was.
func (s *Store) openLog(sealed uint64, leftovers []string) error {
	var err error
	s.log, err = wal.Open(wal.Options{
		Dir: filepath.Join(s.o.Dir, "wal"), FS: s.o.FS, NoSync: s.o.NoSync, OnCommit: s.commit,
		Now: s.o.Now, Start: sealed, Log: s.o.Log, SegmentBytes: s.o.logSegment,
	})
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	for _, name := range leftovers {
		if err := s.o.FS.Remove(name); err != nil {
			s.log.Close()
			return fmt.Errorf("opening the store: %w", err)
		}
	}
	if err := s.replay(sealed); err != nil {
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
type pressure struct{ reason string }

func (p *pressure) Error() string             { return p.reason }
func (p *pressure) RetryAfter() time.Duration { return time.Second }
func (p *pressure) Full() bool                { return false }

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
			return &pressure{fmt.Sprintf("%d MiB of events wait to be sealed", used>>20)}
		}
	}
}

type appendBuffer struct {
	data  []byte
	entry wal.Entry
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
	if err := s.admit(ctx); err != nil {
		return err
	}
	buf := s.buffers.Get().(*appendBuffer)
	buf.data = buf.data[:0]
	var last []byte // events come in runs of one service
	for i := range b.Events {
		e := &b.Events[i]
		if i == 0 || !bytes.Equal(e.Service, last) {
			if !s.known.admit(e.Service) {
				s.overflow(b, e)
			}
			last = e.Service
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
