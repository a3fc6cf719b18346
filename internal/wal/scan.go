package wal

import (
	"bytes"
	"errors"
	"io"

	"github.com/lookoutlog/lookout/internal/vfs"
)

const (
	scanChunk  = 256 << 10
	scanSector = 4096
	keepBuffer = 8 << 20 // larger buffers are given back after use
)

// scanner finds the records of one segment between two offsets, and goes round damage.
type scanner struct {
	file    vfs.File
	id      uint32
	anyID   bool  // the header is lost: the first record's id is taken for the segment's
	off     int64 // of the next record
	end     int64
	damaged int64 // where the damage behind the last record starts, -1 when there is none
	err     error // what the damage is

	buf    []byte // the file from bufOff on
	bufOff int64
}

// open starts at a segment's first record; the file is seg's. The scan ends before end.
func (s *scanner) open(file vfs.File, seg *segment, end int64) {
	s.file, s.id, s.anyID, s.off, s.end, s.damaged, s.err = file, seg.id, seg.anyID, seg.start, end, -1, nil
	s.buf, s.bufOff = s.buf[:0], 0
}

// window returns at least n bytes from off on, fewer only before the end.
func (s *scanner) window(off int64, n int) ([]byte, error) {
	have := s.bufOff + int64(len(s.buf)) - off
	if off >= s.bufOff && have > 0 && (have >= int64(n) || off+have >= s.end) {
		return s.buf[off-s.bufOff:], nil
	}
	want := min(int64(n), s.end-off)
	if err := s.fill(off, min(int64(max(n, scanChunk)), s.end-off), want); err != nil {
		// Only a part that is not needed yet may be unreadable.
		if err := s.fill(off, want, want); err != nil {
			return nil, err
		}
	}
	return s.buf, nil
}

// fill reads size bytes from off on; fewer, but not fewer than want, are no error.
func (s *scanner) fill(off, size, want int64) error {
	if int64(cap(s.buf)) < size {
		s.buf = make([]byte, size)
	}
	n, err := s.file.ReadAt(s.buf[:size], off)
	s.buf, s.bufOff = s.buf[:n], off
	if int64(n) >= want {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// next returns the next record, valid until the following call, and its offset; io.EOF at the end. damaged and err tell
// whether something unreadable was passed over since the record before; forget clears them.
func (s *scanner) next() (record, int64, error) {
	if cap(s.buf) > keepBuffer {
		s.buf, s.bufOff = nil, 0
	}
	for s.off < s.end {
		at := s.off
		r, err := s.read(at)
		if err == nil {
			s.off = at + int64(r.length)
			if s.anyID {
				s.id, s.anyID = r.id, false
			}
			return r, at, nil
		}
		if s.damaged < 0 {
			s.damaged, s.err = at, err
		}
		if err == errRecordBody { // the length is good
			s.off = at + int64(r.length)
		} else {
			s.off = s.resync(at + 1)
		}
	}
	return record{}, s.off, io.EOF
}

func (s *scanner) forget() { s.damaged, s.err = -1, nil }

// read reads the record at off. With errRecordBody the header is returned as well.
func (s *scanner) read(off int64) (record, error) {
	var r record
	b, err := s.window(off, recordLen)
	if err != nil {
		return r, err
	}
	if r.recordHeader, err = parseRecordHeader(b); err != nil {
		return r, err
	}
	if int64(r.length) > s.end-off || int64(r.durable) > off || r.id != s.id && !s.anyID {
		return r, errRecordHeader
	}
	if b, err = s.window(off, int(r.length)); err != nil {
		return r, err
	}
	r.body = b[recordLen:r.length]
	return r, checkBody(&r.recordHeader, r.body)
}

// resync returns the offset at or behind off of what looks like a record, or the end. Sectors that cannot be read are
// passed over.
func (s *scanner) resync(off int64) int64 {
	for off < s.end {
		b, err := s.window(off, scanSector)
		if err != nil {
			if b, err = s.window(off, 1); err != nil {
				off = (off/scanSector + 1) * scanSector
				continue
			}
		}
		i := bytes.Index(b, recordStart)
		if i < 0 {
			// The magic may straddle the window's end.
			off += int64(max(len(b)-len(recordStart)+1, 1))
			continue
		}
		off += int64(i)
		h, err := parseRecordHeader(b[i:])
		if len(b)-i < recordLen {
			if off+recordLen > s.end {
				return s.end
			}
			if b, err = s.window(off, recordLen); err == nil {
				h, err = parseRecordHeader(b)
			}
		}
		if err == nil && (h.id == s.id || s.anyID) {
			return off
		}
		off++
	}
	return s.end
}
