package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/klauspost/compress/s2"
)

// Version is the version of files that are written, and the only one that is read.
const Version = version

// The layout is described in FORMAT.md.
const (
	version      = 1
	headerLen    = 64
	recordLen    = 64
	recordMagic  = 0x315A4C8B
	encodingRaw  = 0
	encodingS2   = 1
	minEventSize = 13
	maxMarksLen  = 1 << 28
)

var segmentMagic = []byte("lookwal\n")

// recordStart is recordMagic as it stands in a file.
var recordStart = binary.LittleEndian.AppendUint32(nil, recordMagic)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errNoHeader     = errors.New("no valid segment header")
	errRecordHeader = errors.New("no valid record header")
	errRecordBody   = errors.New("checksum of a record's body")
	errRecordData   = errors.New("a record's data cannot be decompressed")
)

// VersionError says that a segment was written by another version of lookout. Nothing was changed.
type VersionError struct {
	File    string
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("log segment %s has format version %d, this lookout reads version %d: start the lookout that wrote it; no file was changed",
		e.File, e.Version, version)
}

// segmentHeader is the fixed part of a segment's start.
type segmentHeader struct {
	base      uint64
	prevBase  uint64
	prevBytes uint64
	made      int64
	id        uint32
	marksLen  uint32
	marksCRC  uint32
	marks     uint32
}

func sumHeader(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:headerLen])
}

func (h *segmentHeader) append(dst []byte) []byte {
	n := len(dst)
	dst = append(dst, segmentMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, version)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, h.base)
	dst = binary.LittleEndian.AppendUint64(dst, h.prevBase)
	dst = binary.LittleEndian.AppendUint64(dst, h.prevBytes)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.made))
	dst = binary.LittleEndian.AppendUint32(dst, h.id)
	dst = binary.LittleEndian.AppendUint32(dst, h.marksLen)
	dst = binary.LittleEndian.AppendUint32(dst, h.marksCRC)
	dst = binary.LittleEndian.AppendUint32(dst, h.marks)
	binary.LittleEndian.PutUint32(dst[n+12:], sumHeader(dst[n:]))
	return dst
}

// parseSegmentHeader reads the fixed header at b's start. The error is errNoHeader, or a *VersionError without a file.
func parseSegmentHeader(b []byte) (segmentHeader, error) {
	var h segmentHeader
	if len(b) < headerLen || !bytes.Equal(b[:8], segmentMagic) {
		return h, errNoHeader
	}
	le := binary.LittleEndian
	if v := le.Uint32(b[8:]); v != version {
		// A flipped bit in the version is damage, not another version: then the sum holds for ours.
		patched := append([]byte(nil), b[:headerLen]...)
		le.PutUint32(patched[8:], version)
		if sumHeader(patched) == le.Uint32(b[12:]) {
			return h, errNoHeader
		}
		return h, &VersionError{Version: v}
	}
	if sumHeader(b) != le.Uint32(b[12:]) {
		return h, errNoHeader
	}
	h.base, h.prevBase, h.prevBytes = le.Uint64(b[16:]), le.Uint64(b[24:]), le.Uint64(b[32:])
	h.made = int64(le.Uint64(b[40:]))
	h.id, h.marksLen, h.marksCRC, h.marks = le.Uint32(b[48:]), le.Uint32(b[52:]), le.Uint32(b[56:]), le.Uint32(b[60:])
	if h.base == 0 || h.marksLen > maxMarksLen || h.prevBytes > math.MaxInt64 {
		return h, errNoHeader
	}
	return h, nil
}

// recordHeader is the fixed part of a record.
type recordHeader struct {
	length      uint32
	bodyCRC     uint32
	first       uint64
	received    int64
	producerSeq uint64
	count       uint32
	durable     uint32
	rawLen      uint32
	cursorLen   uint32
	producerLen uint16
	encoding    uint8
	id          uint32
}

// last is the sequence of the record's last event.
func (h *recordHeader) last() uint64 { return h.first + uint64(h.count) - 1 }

// put writes the header over the first recordLen bytes of b.
func (h *recordHeader) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, recordMagic)
	le.PutUint32(b[8:], h.length)
	le.PutUint32(b[12:], h.bodyCRC)
	le.PutUint64(b[16:], h.first)
	le.PutUint64(b[24:], uint64(h.received))
	le.PutUint64(b[32:], h.producerSeq)
	le.PutUint32(b[40:], h.count)
	le.PutUint32(b[44:], h.durable)
	le.PutUint32(b[48:], h.rawLen)
	le.PutUint32(b[52:], h.cursorLen)
	le.PutUint16(b[56:], h.producerLen)
	b[58], b[59] = h.encoding, 0
	le.PutUint32(b[60:], h.id)
	le.PutUint32(b[4:], crc32.Checksum(b[8:recordLen], castagnoli))
}

// parseRecordHeader reads the header at b's start and checks all that can be checked without the body.
func parseRecordHeader(b []byte) (recordHeader, error) {
	var h recordHeader
	le := binary.LittleEndian
	if len(b) < recordLen || le.Uint32(b) != recordMagic || le.Uint32(b[4:]) != crc32.Checksum(b[8:recordLen], castagnoli) {
		return h, errRecordHeader
	}
	h = recordHeader{
		length: le.Uint32(b[8:]), bodyCRC: le.Uint32(b[12:]), first: le.Uint64(b[16:]), received: int64(le.Uint64(b[24:])),
		producerSeq: le.Uint64(b[32:]), count: le.Uint32(b[40:]), durable: le.Uint32(b[44:]), rawLen: le.Uint32(b[48:]),
		cursorLen: le.Uint32(b[52:]), producerLen: le.Uint16(b[56:]), encoding: b[58], id: le.Uint32(b[60:]),
	}
	texts := uint64(recordLen) + uint64(h.cursorLen) + uint64(h.producerLen)
	switch {
	case uint64(h.length) < texts, h.count == 0, h.first == 0, h.first > math.MaxUint64-uint64(h.count),
		h.rawLen > MaxData, uint64(h.rawLen) < uint64(h.count)*minEventSize, h.encoding > encodingS2, b[59] != 0,
		h.encoding == encodingRaw && uint64(h.length) != texts+uint64(h.rawLen):
		return h, errRecordHeader
	}
	return h, nil
}

// record is a record in a buffer: header and body.
type record struct {
	recordHeader
	body []byte
}

func (r *record) producer() []byte { return r.body[:r.producerLen] }

func (r *record) cursor() []byte {
	return r.body[r.producerLen : int(r.producerLen)+int(r.cursorLen)]
}

// data returns the record's events, decompressed into buf's memory when they are compressed.
func (r *record) data(buf []byte) ([]byte, error) {
	p := r.body[int(r.producerLen)+int(r.cursorLen):]
	if r.encoding == encodingRaw {
		return p, nil
	}
	if n, err := s2.DecodedLen(p); err != nil || n != int(r.rawLen) {
		return nil, errRecordData
	}
	out, err := s2.Decode(buf[:cap(buf)], p)
	if err != nil {
		return nil, errRecordData
	}
	return out, nil
}

func checkBody(h *recordHeader, body []byte) error {
	if crc32.Checksum(body, castagnoli) != h.bodyCRC {
		return errRecordBody
	}
	return nil
}
