package wal

import (
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

const (
	minCompress = 512     // smaller data is stored as it is
	keepPending = 4 << 20 // a batch's larger buffer is not kept for the next one,
	keepGroup   = 8 << 20 // nor a commit's
)

// pending is a batch on its way through the committer.
type pending struct {
	recordHeader
	entry    Entry  // what OnCommit gets; its slices are the caller's
	buf      []byte // the record, but for what put writes
	result          // for the caller, once done has been sent to
	repeat   bool   // wholly dropped, for a batch of the same commit
	compress bool   // see Options
	done     chan struct{}
}

type result struct {
	kept int
	err  error
}

var pendingPool = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1)} }}

func checkEntry(e *Entry) error {
	switch {
	case e.Count <= 0 || e.Count > math.MaxInt32:
		return fmt.Errorf("wal: a batch of %d events", e.Count)
	case len(e.Data) > MaxData:
		return fmt.Errorf("wal: a batch of %d bytes; split it, %d are possible", len(e.Data), MaxData)
	case len(e.Producer) > MaxProducer:
		return fmt.Errorf("wal: a producer's name of %d bytes; %d are possible", len(e.Producer), MaxProducer)
	case len(e.Cursor) > MaxCursor:
		return fmt.Errorf("wal: a cursor of %d bytes; %d are possible", len(e.Cursor), MaxCursor)
	case e.Producer != "" && e.ProducerSeq > math.MaxUint64-uint64(e.Count):
		return fmt.Errorf("wal: producer %q counts beyond 64 bits", e.Producer)
	}
	// The sequences of everything behind depend on the count.
	rest, err := skipEvents(e.Data, e.Count)
	if err != nil {
		return fmt.Errorf("wal: a batch of %d events: %w", e.Count, err)
	}
	if len(rest) != 0 {
		return fmt.Errorf("wal: a batch of %d events has %d bytes behind the last one", e.Count, len(rest))
	}
	return nil
}

// skipEvents returns what follows the first n events of data.
func skipEvents(data []byte, n int) ([]byte, error) {
	for range n {
		size, err := event.Size(data)
		if err != nil {
			return nil, err
		}
		data = data[size:]
	}
	return data, nil
}

func newPending(e *Entry, compress bool) *pending {
	p := pendingPool.Get().(*pending)
	p.entry, p.result, p.repeat, p.compress = *e, result{}, false, compress
	if e.Producer == "" {
		p.entry.ProducerSeq, p.entry.Cursor = 0, nil
	}
	p.encode()
	return p
}

func (p *pending) free() {
	p.entry = Entry{}
	if cap(p.buf) > keepPending {
		p.buf = nil
	}
	pendingPool.Put(p)
}

// encode makes the record's body from the entry and sets all of the header that does not depend on the log's state.
func (p *pending) encode() {
	e := &p.entry
	fixed := recordLen + len(e.Producer) + len(e.Cursor)
	size := fixed + len(e.Data)
	if p.compress {
		size = fixed + s2.MaxEncodedLen(len(e.Data))
	}
	if cap(p.buf) < size {
		p.buf = make([]byte, size)
	}
	b := append(p.buf[:recordLen], e.Producer...)
	b = append(b, e.Cursor...)
	p.recordHeader = recordHeader{
		producerSeq: e.ProducerSeq, count: uint32(e.Count), rawLen: uint32(len(e.Data)),
		cursorLen: uint32(len(e.Cursor)), producerLen: uint16(len(e.Producer)), received: e.Received,
	}
	packed := 0
	if p.compress && len(e.Data) >= minCompress {
		packed = len(s2.Encode(b[fixed:cap(b)], e.Data))
	}
	if packed > 0 && packed < len(e.Data)-len(e.Data)/8 {
		b = b[:fixed+packed]
		p.encoding = encodingS2
	} else {
		b = append(b, e.Data...)
	}
	p.buf = b
	p.length = uint32(len(b))
	p.bodyCRC = crc32.Checksum(b[recordLen:], castagnoli)
}

// cut drops the first n events.
func (p *pending) cut(n int) {
	rest, err := skipEvents(p.entry.Data, n)
	if err != nil {
		panic("wal: a batch changed while it was appended: " + err.Error()) // checkEntry has walked it
	}
	p.entry.Data = rest
	p.entry.Count -= n
	p.entry.ProducerSeq += uint64(n)
	p.encode()
}

// run is the committer.
func (l *Log) run() {
	defer close(l.done)
	for {
		l.mu.Lock()
		group, rolls, closed := l.queue, l.rolls, l.closed
		l.queue, l.spare, l.rolls = l.spare[:0], nil, nil
		l.mu.Unlock()
		for _, r := range rolls {
			r.last, r.err = l.rollOver()
			close(r.done)
		}
		if len(group) == 0 {
			l.spare = group
			if closed {
				l.shut()
				return
			}
			<-l.work
			continue
		}
		l.commit(group)
		clear(group)
		l.spare = group
	}
}

// rollOver puts a file of nothing but a header behind the newest segment. The next commit replaces it: a segment's first
// commit must be inside when it gets its name.
func (l *Log) rollOver() (last uint64, err error) {
	l.mu.Lock()
	last = l.last
	done := l.rolled == last+1 || len(l.segs) == 0 && !l.torn
	l.mu.Unlock()
	if done {
		return last, nil
	}
	if l.active != nil {
		_ = l.active.Close() // all that counts in it was fsynced
		l.active = nil
	}
	seg, err := l.create(nil, 0)
	if err != nil {
		l.noteFailure(err)
		return 0, fmt.Errorf("rolling the log over: %w", err)
	}
	_ = l.active.Close()
	l.active = nil
	l.mu.Lock()
	l.rolled, l.torn = seg.base, false
	l.mu.Unlock()
	return last, nil
}

func (l *Log) shut() {
	if l.active != nil {
		l.closeErr = l.active.Close()
		l.active = nil
	}
	l.mu.Lock()
	l.ended = true
	l.wakeReaders()
	l.mu.Unlock()
}

// wakeReaders needs l.mu.
func (l *Log) wakeReaders() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// commit makes a group durable, all of it or nothing, and answers its callers.
func (l *Log) commit(group []*pending) {
	var bytes int64
	for _, p := range group {
		bytes += int64(len(p.buf))
	}
	l.mu.Lock()
	l.number(group, l.o.Now().UnixNano())
	l.mu.Unlock()

	seg, end, err := l.persist(group)

	l.mu.Lock()
	if err == nil {
		l.publish(seg, end)
		for _, p := range group {
			l.settle(p)
		}
	}
	l.wakeReaders()
	l.waiting -= bytes
	l.mu.Unlock()

	for _, p := range group {
		switch {
		case err != nil && (p.kept > 0 || p.repeat):
			p.first, p.kept, p.err = 0, 0, err
		case p.kept > 0 && l.o.OnCommit != nil:
			l.o.OnCommit(&p.entry)
		}
	}
	for _, p := range group {
		p.done <- struct{}{}
	}
}

// number drops what the producers have sent before, and gives sequences. l.mu is held.
func (l *Log) number(group []*pending, now int64) {
	l.marks.tick(now)
	clear(l.counted)
	next := l.last + 1
	for _, p := range group {
		e := &p.entry
		if e.Producer != "" {
			var durable uint64
			if m := l.marks.m[e.Producer]; m != nil {
				durable = m.next
			}
			expected := max(durable, l.counted[e.Producer])
			end := e.ProducerSeq + uint64(e.Count)
			if end <= expected {
				l.stats.Duplicates += int64(e.Count)
				p.first, p.repeat = 0, end > durable
				continue
			}
			if e.ProducerSeq < expected {
				n := int(expected - e.ProducerSeq)
				l.stats.Duplicates += int64(n)
				p.cut(n)
			}
			l.counted[e.Producer] = end
		}
		if e.Received == 0 {
			e.Received = now
		}
		e.First = next
		p.first, p.received, p.kept = next, e.Received, e.Count
		next += uint64(e.Count)
	}
}

// publish lets the readers see seg up to end. l.mu is held.
func (l *Log) publish(seg *segment, end int64) {
	if seg == nil {
		return
	}
	seg.end = end
	if seg != l.tail {
		if l.tail != nil {
			l.tail.next = seg
		}
		l.tail = seg
		l.segs = append(l.segs, seg)
		l.rolled, l.torn = 0, false
	}
}

// settle notes what became durable with p. l.mu is held.
func (l *Log) settle(p *pending) {
	e := &p.entry
	if p.kept == 0 {
		l.marks.touch(e.Producer)
		return
	}
	if e.Producer != "" {
		l.marks.set(p.buf[recordLen:recordLen+len(e.Producer)], e.ProducerSeq+uint64(e.Count), e.Cursor)
	}
	l.last = p.last()
	l.stats.Records++
	l.stats.Events += int64(e.Count)
}

// persist makes the kept batches of a group durable and returns where: the segment, nil when there was nothing to
// write, and its new end. The error is a *PressureError.
func (l *Log) persist(group []*pending) (*segment, int64, error) {
	var size int64
	for _, p := range group {
		if p.kept > 0 {
			size += int64(len(p.buf))
		}
	}
	if size == 0 {
		return nil, 0, nil
	}
	start := time.Now()
	seg, end, err := l.write(group, size)
	l.mu.Lock()
	failing := l.failing
	l.failing = err != nil
	l.stats.LastSync = time.Since(start)
	l.mu.Unlock()
	switch {
	case err != nil:
		if !failing {
			l.log.Error("the log takes no events: writing failed; it tries again with each batch", "dir", l.o.Dir, "error", err)
		}
		return nil, 0, &PressureError{Err: err, retry: retryDisk}
	case failing:
		l.log.Info("the log takes events again", "dir", l.o.Dir)
	}
	return seg, end, nil
}

// write writes the kept batches, size bytes, to the end of the segment in use, or to a new one when that is full or fails.
func (l *Log) write(group []*pending, size int64) (*segment, int64, error) {
	if l.active != nil {
		seg := l.tail
		if seg.end+size <= l.o.SegmentBytes {
			err := l.extend(seg, group, size)
			if err == nil {
				return seg, seg.end + size, nil
			}
			l.noteFailure(err)
			// Nothing is written to this file any more. The space of what was written in vain may be what the new
			// one needs; that the cut reaches the disk does not matter.
			_ = l.active.Truncate(seg.end)
		}
		// All that counts in the file was fsynced, so this error says nothing.
		_ = l.active.Close()
		l.active = nil
	}
	seg, err := l.create(group, size)
	if err != nil {
		l.noteFailure(err)
		if !diskFull(err) {
			if seg, err = l.create(group, size); err != nil {
				l.noteFailure(err)
			}
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return seg, seg.start + size, nil
}

func (l *Log) noteFailure(err error) {
	l.mu.Lock()
	l.stats.CommitErrors++
	failing := l.failing
	l.mu.Unlock()
	if !failing {
		l.log.Warn("writing a log segment failed, going on in a new one", "error", err)
	}
}

func (l *Log) extend(seg *segment, group []*pending, size int64) error {
	if _, err := l.active.Write(l.render(group, size, seg.id, seg.end)); err != nil {
		return fmt.Errorf("writing %s: %w", seg.path, err)
	}
	if err := l.sync(l.active); err != nil {
		return fmt.Errorf("syncing %s: %w", seg.path, err)
	}
	return nil
}

// render returns the kept batches as they stand in the segment of the id, from the offset at on.
func (l *Log) render(group []*pending, size int64, id uint32, at int64) []byte {
	out := l.buf[:0]
	for _, p := range group {
		if p.kept == 0 {
			continue
		}
		p.id, p.durable = id, uint32(at)
		p.put(p.buf)
		if int64(len(p.buf)) == size { // alone: no copy
			return p.buf
		}
		out = append(slices.Grow(out, int(size)-len(out)), p.buf...)
	}
	if l.buf = out[:0]; cap(out) > keepGroup {
		l.buf = nil
	}
	return out
}

// create makes a segment behind the newest one, with its first records inside: the folder has all of it or nothing. A
// file that is there under its name never held an acknowledged event, but may be the only one that keeps the marks.
func (l *Log) create(group []*pending, size int64) (*segment, error) {
	l.mu.Lock()
	h := segmentHeader{base: l.last + 1, made: l.o.Now().UnixNano(), id: rand.Uint32(), marks: uint32(len(l.marks.m))}
	if l.tail != nil {
		h.prevBase, h.prevBytes = l.tail.base, uint64(l.tail.end)
	}
	head := l.marks.append(make([]byte, headerLen, headerLen+l.marks.bytes+32*len(l.marks.m)))
	replaces := l.rolled == h.base
	l.mu.Unlock()
	h.marksLen, h.marksCRC = uint32(len(head)-headerLen), crc32.Checksum(head[headerLen:], castagnoli)
	h.append(head[:0])

	seg := &segment{path: l.path(h.base), base: h.base, id: h.id, start: int64(len(head))}
	tmp := fmt.Sprintf("%s-%08x%s", strings.TrimSuffix(seg.path, suffix), h.id, tmpSuffix)
	f, err := l.fs.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, segmentPerm)
	if err != nil {
		return nil, err
	}
	if err = l.writeAll(f, head, l.render(group, size, h.id, seg.start)); err == nil {
		err = l.install(tmp, seg.path, replaces)
	}
	if err != nil {
		_ = f.Close()
		_ = l.fs.Remove(tmp) // or else the next Open removes it
		return nil, fmt.Errorf("making %s: %w", seg.path, err)
	}
	l.active = f
	return seg, nil
}

func (l *Log) writeAll(f vfs.File, parts ...[]byte) error {
	for _, p := range parts {
		if _, err := f.Write(p); err != nil {
			return err
		}
	}
	return l.sync(f)
}

// install gives a segment its name, durably. What replaces a file with marks stays in its place when it fails.
func (l *Log) install(tmp, path string, replaces bool) error {
	if err := l.fs.Rename(tmp, path); err != nil {
		return err
	}
	err := l.syncDir()
	if err != nil && !replaces {
		_ = l.fs.Remove(path) // refused batches should not be back after a restart, though they may
	}
	return err
}
