package segment

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/index/block"
)

// reader takes values from the front of data. What cannot be there makes it bad, and everything it returns from then on zero.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) fail() {
	r.bad, r.data = true, nil
}

func (r *reader) uvarint() uint64 {
	if len(r.data) > 0 && r.data[0] < 0x80 { // as nearly all are
		v := r.data[0]
		r.data = r.data[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// count reads a uvarint that counts or measures something; more than limit is damage.
func (r *reader) count(limit int) int {
	v := r.uvarint()
	if v > uint64(max(limit, 0)) {
		r.fail()
		return 0
	}
	return int(v)
}

// index reads a uvarint below n.
func (r *reader) index(n int) int {
	v := r.uvarint()
	if v >= uint64(n) {
		r.fail()
		return 0
	}
	return int(v)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.data) {
		r.fail()
		return nil
	}
	p := r.data[:n:n]
	r.data = r.data[n:]
	return p
}

func (r *reader) text() string { return string(r.bytes(r.count(len(r.data)))) }

func (r *reader) uint8() uint8 {
	if p := r.bytes(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if p := r.bytes(2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if p := r.bytes(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func (r *reader) float() float64 { return math.Float64frombits(r.uint64()) }

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// partLen is the length from which a run of a footer's facts is compressed and written.
const partLen = 128 << 10

// maxPart is the most that a part may have uncompressed: a form's text is part of an event's, and an event has at most 4 MiB.
const maxPart = 64 << 20

// part is a compressed run of bytes in the footer's stream.
type part struct {
	at, size, raw int64
	// Of forms: the services in it. Of counts: the blocks.
	first, last int
}

func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(partLen))
}

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPart))
	if err != nil { // only wrong options fail
		panic(err)
	}
	return d
}}

// readPart returns a part uncompressed.
func (s *Segment) readPart(p *part) ([]byte, error) {
	comp, err := s.pages().read(nil, p.at, p.size)
	if err != nil {
		return nil, err
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	raw, err := d.DecodeAll(comp, make([]byte, 0, p.raw))
	if err != nil || int64(len(raw)) != p.raw {
		return nil, fmt.Errorf("%w: part of the footer: %d of %d bytes: %v", block.ErrCorrupt, len(raw), p.raw, err)
	}
	return raw, nil
}
