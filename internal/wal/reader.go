package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// Reader delivers a log's entries in order of sequence. It is not safe for concurrent use; each reader has its own
// position, and any number may read.
type Reader struct {
	l    *Log
	want uint64 // the next sequence to deliver
	seg  *segment
	file vfs.File
	scan scanner

	// Damage that was passed over since the last delivered record; its range is known once the next one is found.
	bad *CorruptError

	entry    Entry
	producer string
	data     []byte
	closed   bool
}

// Reader returns a reader whose first event is the one behind the sequence after.
func (l *Log) Reader(after uint64) *Reader {
	return &Reader{l: l, want: after + 1}
}

// Next returns the next entry and waits for one at the log's end, until ctx ends or the log is closed (ErrClosed). The
// entry is valid until the next call. One that begins at or before the reader's start has those events cut off.
//
// A *TrimmedError says that the next events are gone, a *CorruptError that they cannot be read, both once: the next
// call goes on behind them.
func (r *Reader) Next(ctx context.Context) (*Entry, error) {
	for {
		e, ok, err := r.TryNext()
		if ok || err != nil {
			return e, err
		}
		l := r.l
		l.mu.Lock()
		if l.last >= r.want {
			l.mu.Unlock()
			continue
		}
		if l.ended {
			l.mu.Unlock()
			return nil, ErrClosed
		}
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// TryNext is Next without waiting: false at the log's end.
func (r *Reader) TryNext() (*Entry, bool, error) {
	if r.closed {
		return nil, false, ErrClosed
	}
	if cap(r.data) > keepBuffer {
		r.data = nil
	}
	for {
		if r.seg == nil {
			if ok, err := r.locate(); !ok {
				return nil, false, err
			}
		}
		r.l.mu.Lock()
		r.scan.end = r.seg.end
		next, last := r.seg.next, r.l.last
		r.l.mu.Unlock()
		rec, at, err := r.scan.next()
		if r.scan.damaged >= 0 {
			r.l.noteCorrupt(r.seg.path, r.scan.damaged, r.scan.err)
			r.note(r.scan.damaged, r.scan.err)
			r.scan.forget()
		}
		if next != nil {
			last = next.base - 1
		}
		if err != nil || rec.last() > last { // the segment's end, or what does not count any more
			if err := r.lost(last); err != nil {
				return nil, false, err
			}
			if next == nil {
				return nil, false, nil
			}
			r.leave()
			r.seg = next
			if ok, err := r.enter(); !ok {
				return nil, false, err
			}
			continue
		}
		if rec.last() < r.want {
			continue
		}
		if rec.first > r.want {
			r.note(at, errMissing)
			err := r.lost(rec.first - 1)
			r.scan.off = at // it is read again by the next call
			return nil, false, err
		}
		if r.deliver(&rec) {
			r.bad = nil
			return &r.entry, true, nil
		}
		r.l.noteCorrupt(r.seg.path, at, errRecordData)
		r.note(at, errRecordData)
	}
}

var errMissing = errors.New("events are missing before this record")

func (r *Reader) note(at int64, err error) {
	if r.bad == nil {
		r.bad = &CorruptError{File: r.seg.path, Offset: at, Err: err}
	}
}

// lost reports the events from the wanted one up to a sequence as lost, when there are any, and goes on behind them.
func (r *Reader) lost(to uint64) error {
	bad := r.bad
	r.bad = nil
	if r.want > to {
		return nil
	}
	if bad == nil {
		bad = &CorruptError{File: r.seg.path, Offset: r.scan.off, Err: errMissing}
	}
	bad.From, bad.To = r.want, to
	r.want = to + 1
	r.l.noteCorrupt(bad.File, bad.Offset, bad.Err)
	return bad
}

// locate opens the segment of the wanted sequence; false when there is nothing to read yet.
func (r *Reader) locate() (bool, error) {
	l := r.l
	l.mu.Lock()
	if oldest := l.oldestLocked(); r.want < oldest {
		l.mu.Unlock()
		r.want = oldest
		return false, &TrimmedError{Oldest: oldest}
	}
	for _, seg := range l.segs {
		if seg.base > r.want {
			break
		}
		r.seg = seg
	}
	l.mu.Unlock()
	if r.seg == nil {
		return false, nil
	}
	return r.enter()
}

// enter opens the file of r.seg. When it cannot, r.seg is nil, and the next call locates it again.
func (r *Reader) enter() (bool, error) {
	seg := r.seg
	file, err := r.l.openRead(seg.path)
	if errors.Is(err, fs.ErrNotExist) {
		r.l.mu.Lock()
		trimmed := seg.trimmed
		r.l.mu.Unlock()
		if trimmed {
			r.seg = nil
			return r.locate()
		}
		file, err = missingFile{err: err}, nil // all of it is damage
	}
	if err != nil {
		r.seg = nil
		return false, fmt.Errorf("reading the log: %w", err)
	}
	r.file = file
	r.scan.open(file, seg, 0)
	return true, nil
}

func (r *Reader) leave() {
	if r.file != nil {
		_ = r.file.Close() // it was only read
	}
	r.file, r.seg = nil, nil
}

// deliver makes r.entry of a record that holds the wanted sequence; false when its data are no events.
func (r *Reader) deliver(rec *record) bool {
	data, err := rec.data(r.data)
	if err != nil {
		return false
	}
	if rec.encoding != encodingRaw {
		r.data = data
	}
	e := &r.entry
	*e = Entry{First: rec.first, Count: int(rec.count), Received: rec.received, ProducerSeq: rec.producerSeq}
	if n := r.want - rec.first; n > 0 {
		if data, err = skipEvents(data, int(n)); err != nil {
			return false
		}
		e.First += n
		e.Count -= int(n)
		if rec.producerLen > 0 {
			e.ProducerSeq += n
		}
	}
	e.Data = data
	if string(rec.producer()) != r.producer {
		r.producer = string(rec.producer())
	}
	e.Producer = r.producer
	if rec.cursorLen > 0 {
		e.Cursor = rec.cursor()
	}
	r.want = e.Last() + 1
	return true
}

// Position is the sequence of the last event delivered or reported lost; a reader made with it goes on behind that.
func (r *Reader) Position() uint64 { return r.want - 1 }

// Close gives the reader's file back. The log may be closed before its readers.
func (r *Reader) Close() {
	r.leave()
	r.closed = true
}

// missingFile stands for a segment's file that is not there.
type missingFile struct {
	vfs.File
	err error
}

func (f missingFile) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f missingFile) Close() error                      { return nil }
