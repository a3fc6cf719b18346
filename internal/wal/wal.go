// Package wal is the write-ahead log: batches of encoded events, durable and in one order before anything else sees them.
//
// # Use
//
// [Open] a folder, [Log.Append] batches from any number of goroutines; each call returns when its batch is on disk. Read
// them back with [Log.Reader], from any sequence on, during and after; give space back with [Log.Trim]. The file format
// is described in FORMAT.md.
//
// # What it guarantees
//
//   - An event whose Append returned nil survives kill -9 and power cuts. No reader, and no OnCommit, sees an event before
//     it is that durable.
//   - Sequences are given in the order of arrival, from 1 (or above [Options.Start]) without gaps, and one that was ever
//     visible is never given again.
//   - A producer that counts its events may send again what it is not sure of: the log keeps the next expected count and
//     the cursor of each producer, durable together with the events, and drops what it has already. Marks outlive the
//     trimming of their events; they go after [Options.ProducerTTL] without use, or when there are more than 100,000.
//   - After a failed write or fsync the file is never written to again: the waiting batches go to a new file, and what the
//     failed one may hold beyond its last acknowledged byte never counts. When that fails too the batches are refused with a
//     [PressureError], nothing is kept of them, and the next Append tries again.
//   - Damage is found by checksums, reported as [CorruptError] with file, offset and the lost range, and costs only
//     the records it touches.
//
// # How it is fast
//
// The caller's goroutine compresses and sums its batch. One committer goroutine takes everything that waits, gives
// sequences, writes once, fsyncs once, and starts again at once: the fsync's duration is the only timer.
package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// Limits of one [Entry].
const (
	MaxData     = 64 << 20 // bytes of Data
	MaxCursor   = 64 << 10 // bytes of Cursor
	MaxProducer = 1 << 10  // bytes of Producer
)

// Entry is one batch of events.
type Entry struct {
	// First is the sequence of the first event; the log sets it.
	First uint64
	// Count is how many events Data holds, at least 1.
	Count int
	// Received is when the batch came, in ns since the Unix epoch; the log sets it when it is 0.
	Received int64
	// Producer, ProducerSeq and Cursor are as in event.Batch: who counts these events, its count of the first one, and
	// its position behind the last one. With an empty Producer the other two mean nothing and are not stored.
	Producer    string
	ProducerSeq uint64
	Cursor      []byte
	// Data is Count events as event.AppendEvent writes them, one after another.
	Data []byte
}

// Last is the sequence of the last event.
func (e *Entry) Last() uint64 { return e.First + uint64(e.Count) - 1 }

// Options say how a log works. Only Dir is needed.
type Options struct {
	// Dir is the folder of the segments; it is made when it is missing (durably, if its parent exists). Only one Log may
	// be open in it.
	Dir string
	// FS is the file system, by default the operating system's.
	FS vfs.FS
	// SegmentBytes is the size at which a new segment is started, by default 16 MiB, at most 1 GiB.
	SegmentBytes int64
	// Compress keeps batches of 512 bytes and more compressed: 0.4 of the bytes for some 0.3 µs of CPU time an event. It is for
	// logs that are kept for long; batches of either kind are read.
	Compress bool
	// MaxPending bounds the bytes, as they are written, that wait for the disk, by default 16 MiB; beyond it Append answers with a
	// PressureError. A single larger batch passes when nothing else waits.
	MaxPending int64
	// NoSync leaves out every fsync. It exists for tests that must find losses.
	NoSync bool
	// OnCommit, when set, is called with each kept batch in order of sequence, after it is durable and before its Append
	// returns, from one goroutine. The entry is valid during the call, its Data is not compressed. The next commit waits
	// for it, and it must not call Append or Close. Readers may see the batch a moment earlier.
	OnCommit func(*Entry)
	// Now is the clock, by default time.Now.
	Now func() time.Time
	// ProducerTTL is how long an unused producer's mark is kept, by default 30 days.
	ProducerTTL time.Duration
	// Start is the highest sequence known to be used: new ones go on above it even if the log's files are lost.
	Start uint64
	// Log receives what was repaired, found damaged, or failed; by default nothing is logged.
	Log *slog.Logger
}

// Stats counts what a log holds and, since it was opened, did.
type Stats struct {
	Bytes    int64 // on disk, in segments that count
	Segments int
	Records  int64 // batches written
	Events   int64 // events written
	Syncs    int64 // fsyncs of files and folders
	// Duplicates is how many events were dropped because the producer had sent them before.
	Duplicates int64
	// CommitErrors is how often the disk refused a write or an fsync.
	CommitErrors int64
	// Repaired counts unacknowledged ends of files that a crash had torn and that were left out, RepairedBytes their size.
	Repaired, RepairedBytes int64
	// Corrupt counts the damaged places that were found, by opening or by readers; each once.
	Corrupt   int64
	Producers int           // marks held
	LastSync  time.Duration // duration of the last commit's write and fsync
}

// segment is one file. Its fields up to next are guarded by Log.mu.
type segment struct {
	end     int64 // bytes that count and are durable
	trimmed bool
	next    *segment // the one behind, when there is one; then end does not change any more

	path  string
	base  uint64
	id    uint32
	anyID bool  // the header is damaged: neither id nor start is known
	start int64 // offset of the first record; where to look for it when the header is damaged
}

// Log is an open log. Its methods are safe for concurrent use.
type Log struct {
	o    Options
	fs   vfs.FS
	log  *slog.Logger
	work chan struct{} // tells the committer that something waits
	done chan struct{} // closed when the committer has ended

	mu       sync.Mutex
	queue    []*pending
	rolls    []*roll // asked for
	waiting  int64   // bytes queued and being committed
	segs     []*segment
	tail     *segment // the last of segs, or the last that was; only the committer changes it and its end, and reads them without mu
	rolled   uint64   // base of the file without a record behind segs, see Roll; 0 when there is none
	torn     bool     // the file at last+1 has no record, but bytes that may be of one
	last     uint64   // the last durable sequence
	marks    *marks
	stats    Stats
	damage   map[place]struct{} // what Stats.Corrupt counted
	wake     chan struct{}      // closed at the next commit, nil when no reader waits
	failing  bool               // the last commit was refused by the disk
	closed   bool
	ended    bool // the committer has ended
	closeErr error

	trimMu sync.Mutex
	doomed []string // trimmed files, oldest first, that are not yet durably removed

	// The committer's own.
	active  vfs.File // the last segment while it may be written to
	buf     []byte
	spare   []*pending
	counted map[string]uint64 // by producer, next counts as of the commit in work
}

type place struct {
	path string
	off  int64
}

const (
	suffix    = ".wal"
	tmpSuffix = ".wal.tmp"
	// What refused callers are told to wait.
	retryBusy = 100 * time.Millisecond
	retryDisk = time.Second
)

func (o *Options) fill() error {
	if o.Dir == "" {
		return errors.New("wal: no folder given")
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 16 << 20
	}
	if o.SegmentBytes < 0 || o.SegmentBytes > 1<<30 {
		return fmt.Errorf("wal: segments of %d bytes; 1 to %d are possible", o.SegmentBytes, 1<<30)
	}
	if o.MaxPending == 0 {
		o.MaxPending = 16 << 20
	}
	if o.MaxPending < 0 || o.MaxPending > 1<<30 {
		return fmt.Errorf("wal: %d bytes pending; 1 to %d are possible", o.MaxPending, 1<<30)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ProducerTTL == 0 {
		o.ProducerTTL = 30 * 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Append writes a batch and returns when it is durable. It sets e's First and, when it was 0, Received.
//
// Events that the producer has sent before are dropped: kept is how many were not, first the sequence of the first of
// these. When none is left, kept is 0 and the error tells whether the original is durable.
//
// A *PressureError says that nothing was kept and that the same call may succeed later. ctx is obeyed until the committer
// has taken the batch; from then on the disk decides. e and its slices must not change during the call.
func (l *Log) Append(ctx context.Context, e *Entry) (first uint64, kept int, err error) {
	if err := checkEntry(e); err != nil {
		return 0, 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	// Looked at twice: compressing what will be refused only makes an overload worse.
	if err := l.room(0); err != nil {
		return 0, 0, err
	}
	p := newPending(e, l.o.Compress)
	if err := l.enqueue(p); err != nil {
		p.free()
		return 0, 0, err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if l.withdraw(p) {
			p.free()
			return 0, 0, ctx.Err()
		}
		<-p.done
	}
	first, kept, err = p.first, p.kept, p.err
	if err == nil && kept > 0 {
		e.First, e.Received = first, p.received
	}
	p.free()
	return first, kept, err
}

func (l *Log) room(n int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.roomLocked(n)
}

func (l *Log) roomLocked(n int64) error {
	if l.closed {
		return ErrClosed
	}
	if l.waiting > 0 && l.waiting+n > l.o.MaxPending {
		return &PressureError{Err: errBusy, retry: retryBusy}
	}
	return nil
}

func (l *Log) enqueue(p *pending) error {
	l.mu.Lock()
	err := l.roomLocked(int64(len(p.buf)))
	if err == nil {
		l.queue = append(l.queue, p)
		l.waiting += int64(len(p.buf))
	}
	l.mu.Unlock()
	if err == nil {
		l.signal()
	}
	return err
}

// withdraw takes p out of the queue, unless the committer has it already.
func (l *Log) withdraw(p *pending) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, q := range l.queue {
		if q == p {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			l.waiting -= int64(len(p.buf))
			return true
		}
	}
	return false
}

func (l *Log) signal() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// Producer returns the count that the log expects next from a producer, and a copy of the cursor it gave last; ok is
// false when the log knows nothing of it.
func (l *Log) Producer(name string) (next uint64, cursor []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.marks.m[name]
	if p == nil {
		return 0, nil, false
	}
	return p.next, append([]byte(nil), p.cursor...), true
}

// Last returns the last durable sequence, 0 when there is none.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Oldest returns the first sequence that can be read; it is Last()+1 when there is none.
func (l *Log) Oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.oldestLocked()
}

func (l *Log) oldestLocked() uint64 {
	if len(l.segs) == 0 {
		return l.last + 1
	}
	return l.segs[0].base
}

// Stats returns the current counts.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Segments = len(l.segs)
	for _, seg := range l.segs {
		s.Bytes += seg.end
	}
	s.Producers = len(l.marks.m)
	return s
}

// Trim removes the segments that hold only events at or below upTo; the newest segment stays, unless the log was rolled
// over behind it. Readers that are inside a removed segment read it to its end. After an error the rest is tried again by the
// next Trim. After a crash some of what was trimmed last may be back, but nothing of a Trim that returned nil.
func (l *Log) Trim(upTo uint64) error {
	l.trimMu.Lock()
	defer l.trimMu.Unlock()
	l.mu.Lock()
	n := 0
	for n < len(l.segs) {
		end := l.last
		if n+1 < len(l.segs) {
			end = l.segs[n+1].base - 1
		} else if l.rolled != l.last+1 {
			break
		}
		if end > upTo {
			break
		}
		l.segs[n].trimmed = true
		l.doomed = append(l.doomed, l.segs[n].path)
		n++
	}
	l.segs = append([]*segment(nil), l.segs[n:]...)
	l.mu.Unlock()
	// A removal is made durable before the next: a segment must never be back without its successor, whose base says
	// where the segment ends.
	for len(l.doomed) > 0 {
		if err := l.fs.Remove(l.doomed[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("trimming the log: %w", err)
		}
		if err := l.syncDir(); err != nil {
			return fmt.Errorf("trimming the log: syncing %s: %w", l.o.Dir, err)
		}
		l.doomed = l.doomed[1:]
	}
	return nil
}

// roll is a request of [Log.Roll].
type roll struct {
	last uint64
	err  error
	done chan struct{}
}

// Roll has all that is appended from now on go to another file, and returns the last sequence before it: Trim up to that one
// leaves no file that holds any of these events, and what is kept of the producers stays. It waits for the commit under way,
// and commits wait for it, for the time of two fsyncs. After an error the log goes on as before.
func (l *Log) Roll() (last uint64, err error) {
	r := &roll{done: make(chan struct{})}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return 0, ErrClosed
	}
	l.rolls = append(l.rolls, r)
	l.mu.Unlock()
	l.signal()
	<-r.done
	return r.last, r.err
}

func (l *Log) syncDir() error {
	if l.o.NoSync {
		return nil
	}
	l.countSync()
	return l.fs.SyncDir(l.o.Dir)
}

func (l *Log) sync(f vfs.File) error {
	if l.o.NoSync {
		return nil
	}
	l.countSync()
	return f.Sync()
}

func (l *Log) countSync() {
	l.mu.Lock()
	l.stats.Syncs++
	l.mu.Unlock()
}

// noteCorrupt counts and logs a damaged place the first time it is seen.
func (l *Log) noteCorrupt(path string, off int64, err error) {
	const most = 10_000
	l.mu.Lock()
	_, known := l.damage[place{path, off}]
	if !known && len(l.damage) < most {
		l.damage[place{path, off}] = struct{}{}
		l.stats.Corrupt++
	}
	l.mu.Unlock()
	if !known {
		l.log.Error("the log is damaged", "file", path, "offset", off, "error", err)
	}
}

// Close commits what was accepted, wakes the readers, which then return ErrClosed, and closes the files. Appends that
// come later return ErrClosed. It is safe to call it twice.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.signal()
	<-l.done
	return l.closeErr
}

func (l *Log) path(base uint64) string {
	return filepath.Join(l.o.Dir, fmt.Sprintf("%020d%s", base, suffix))
}

const segmentPerm fs.FileMode = 0o600

func (l *Log) openRead(path string) (vfs.File, error) { return l.fs.OpenFile(path, os.O_RDONLY, 0) }
