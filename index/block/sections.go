package block

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A pattern block is a list of sections, each with a checksum of its own, so that a search reads only what it needs.
type section struct {
	stored int // bytes in the file
	raw    int // bytes uncompressed; equal to stored when it is not compressed
	crc    uint32
	offset int64 // in the source
}

// zstdPays is the share of its length below which a section is kept compressed.
const zstdPays = 0.97

// sectionWriter collects a block's sections.
type sectionWriter struct {
	enc  *zstd.Encoder
	pays float64 // zstdPays; 0 in tests whose sections are to be damaged
	body []byte
	list []section
}

func (w *sectionWriter) reset() { w.body, w.list = w.body[:0], w.list[:0] }

// add appends a section as it is and returns its number.
func (w *sectionWriter) add(data []byte) int {
	w.body = append(w.body, data...)
	w.list = append(w.list, section{stored: len(data), raw: len(data), crc: crc32.Checksum(data, castagnoli)})
	return len(w.list) - 1
}

// compress appends a section compressed, when that pays.
func (w *sectionWriter) compress(data []byte) int {
	at := len(w.body)
	w.body = w.enc.EncodeAll(data, w.body)
	if n := len(w.body) - at; float64(n) < w.pays*float64(len(data)) {
		w.list = append(w.list, section{stored: n, raw: len(data), crc: crc32.Checksum(w.body[at:], castagnoli)})
		return len(w.list) - 1
	}
	w.body = w.body[:at]
	return w.add(data)
}

// appendList writes the table of sections.
func (w *sectionWriter) appendList(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(w.list)))
	for _, s := range w.list {
		dst = binary.AppendUvarint(dst, uint64(s.stored))
		dst = binary.AppendUvarint(dst, uint64(s.raw))
		dst = binary.LittleEndian.AppendUint32(dst, s.crc)
	}
	return dst
}

func readSections(r *reader, at int64) (list []section, end int64) {
	for range r.count(len(r.data)) {
		s := section{stored: r.count(maxBlock), raw: r.count(maxBlock), crc: r.uint32(), offset: at}
		at += int64(s.stored)
		list = append(list, s)
	}
	return list, at
}

// packed are buffers for sections as they are stored, of those that are compressed.
var packed = sync.Pool{New: func() any { return new([]byte) }}

// maxPacked is the longest buffer that is kept.
const maxPacked = 1 << 20

// read returns a section's bytes, uncompressed.
func (s *section) read(src io.ReaderAt, number int) ([]byte, error) {
	if s.raw == s.stored {
		data := make([]byte, s.stored)
		return data, s.readStored(data, src, number)
	}
	buf := packed.Get().(*[]byte)
	*buf = slices.Grow((*buf)[:0], s.stored)[:s.stored]
	defer func() {
		if cap(*buf) <= maxPacked {
			packed.Put(buf)
		}
	}()
	if err := s.readStored(*buf, src, number); err != nil {
		return nil, err
	}
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	out, err := d.DecodeAll(*buf, slices.Grow([]byte(nil), min(s.raw, maxFrame)))
	if err != nil || len(out) != s.raw {
		return nil, fmt.Errorf("%w: section %d: %d of %d bytes: %v", ErrCorrupt, number, len(out), s.raw, err)
	}
	return out, nil
}

// readStored reads a section as it is stored, and checks it.
func (s *section) readStored(data []byte, src io.ReaderAt, number int) error {
	if _, err := src.ReadAt(data, s.offset); err != nil {
		return fmt.Errorf("%w: section %d: %w", ErrCorrupt, number, err)
	}
	if crc32.Checksum(data, castagnoli) != s.crc {
		return fmt.Errorf("%w: checksum of section %d", ErrCorrupt, number)
	}
	return nil
}
