package block

import (
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Frame is one compressed run of a block's plain rows.
type Frame struct {
	MinTime, MaxTime int64
	Rows             int
	offset           int64
	size, raw        int
	crc              uint32
}

// readFrames reads the rest of a header: the table of frames, and the filter, which is not used any more. It returns where
// the block ends.
func (b *Block) readFrames(r *reader, at int64) (end int64) {
	rows := 0
	for range r.count(len(r.data)) {
		f := Frame{offset: at, size: r.count(maxBlock), raw: r.count(maxFrame), Rows: r.count(math.MaxInt32)}
		f.crc = r.uint32()
		f.MinTime = int64(uint64(b.MinTime) + uint64(r.varint()))
		f.MaxTime = int64(uint64(f.MinTime) + r.uvarint())
		at += int64(f.size)
		rows += f.Rows
		b.Frames = append(b.Frames, f)
	}
	filter := r.count(maxBlock)
	r.uint32()
	if rows != b.Rows {
		r.fail()
	}
	return at + int64(filter)
}

// Rows are the uncompressed rows of one frame. Its memory is used again by the next read into it.
type Rows struct {
	Seqs []uint64
	Data []byte // the encoded events, one behind the other
	buf  []byte
	comp []byte
}

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxFrame))
	if err != nil { // only wrong options fail
		panic(err)
	}
	return d
}}

// Frame reads frame i into rows.
func (b *Block) Frame(i int, rows *Rows) error {
	f := &b.Frames[i]
	rows.comp = slices.Grow(rows.comp[:0], f.size)[:f.size]
	if _, err := b.src.ReadAt(rows.comp, f.offset); err != nil {
		return fmt.Errorf("%w: frame %d: %w", ErrCorrupt, i, err)
	}
	if crc32.Checksum(rows.comp, castagnoli) != f.crc {
		return fmt.Errorf("%w: checksum of frame %d", ErrCorrupt, i)
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	var err error
	if rows.buf, err = d.DecodeAll(rows.comp, slices.Grow(rows.buf[:0], f.raw)); err != nil || len(rows.buf) != f.raw {
		return fmt.Errorf("%w: frame %d: %d of %d bytes: %v", ErrCorrupt, i, len(rows.buf), f.raw, err)
	}
	r := reader{data: rows.buf}
	rows.Seqs = rows.Seqs[:0]
	seq := b.MinSeq
	for range f.Rows {
		seq += uint64(r.varint())
		rows.Seqs = append(rows.Seqs, seq)
	}
	if r.bad {
		return fmt.Errorf("%w: sequences of frame %d", ErrCorrupt, i)
	}
	rows.Data = r.data
	return nil
}
