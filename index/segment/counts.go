package segment

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// writeCounts writes the counts of every block.
func (w *Writer) writeCounts(p *pageWriter) []part {
	pw := &partWriter{dst: p, enc: w.enc}
	var raw []byte
	first, bucket := 0, int64(0)
	for i, b := range w.blocks {
		raw = binary.AppendUvarint(raw, uint64(len(b.counts)))
		for _, c := range b.counts {
			raw = binary.AppendVarint(raw, c.Bucket-bucket)
			raw = binary.AppendUvarint(raw, uint64(c.Rows)<<4|uint64(c.Level))
			bucket = c.Bucket
		}
		if len(raw) >= partLen || i == len(w.blocks)-1 {
			pw.write(raw, first, i+1)
			raw, first, bucket = raw[:0], i+1, 0
		}
	}
	return pw.parts
}

// decodeCounts reads the counts of n blocks.
func decodeCounts(raw []byte, n int) ([][]block.Count, error) {
	r := &reader{data: raw}
	out := make([][]block.Count, n)
	bucket := int64(0)
	for i := range out {
		// Each takes two bytes at least.
		out[i] = make([]block.Count, r.count(len(r.data)/2))
		for k := range out[i] {
			bucket += r.varint()
			v := r.uvarint()
			c := block.Count{Bucket: bucket, Level: uint8(v & 15), Rows: int(v >> 4)}
			if c.Level > uint8(event.Debug) || v>>4 > math.MaxInt32 {
				r.fail()
			}
			out[i][k] = c
		}
	}
	if r.bad || len(r.data) != 0 {
		return nil, fmt.Errorf("%w: counts", block.ErrCorrupt)
	}
	return out, nil
}

// blockCounts returns the counts of every block; the caller must not change them.
func (s *Segment) blockCounts() ([][]block.Count, error) {
	if kept, ok := parsed.get(cacheKey{s, -1}).([][]block.Count); ok {
		return kept, nil
	}
	out := make([][]block.Count, 0, len(s.Blocks))
	size := int64(0)
	for i := range s.directory.counts {
		p := &s.directory.counts[i]
		raw, err := s.readPart(p)
		if err != nil {
			return nil, s.damaged(err, "counts")
		}
		part, err := decodeCounts(raw, p.last-p.first)
		if err != nil {
			return nil, s.damaged(err, "counts")
		}
		for _, counts := range part {
			size += int64(24 + 24*len(counts))
		}
		out = append(out, part...)
	}
	parsed.put(cacheKey{s, -1}, out, size)
	return out, nil
}

// CountsOf calls fn with the number of events of each level and bucket of time (see [block.Bucket]) in each of the blocks,
// block by block, in order of bucket and level, until it returns false. ok is false when the segment does not have them, as
// one of version 1. The error is a *[CorruptError]; fn has not been called then.
func (s *Segment) CountsOf(blocks bitset.Set, fn func(i int, c block.Count) bool) (ok bool, err error) {
	if s.directory.counts == nil {
		return false, nil
	}
	all, err := s.blockCounts()
	if err != nil {
		return false, err
	}
	for i := blocks.Next(0); i >= 0; i = blocks.Next(i + 1) {
		for _, c := range all[i] {
			if !fn(i, c) {
				return true, nil
			}
		}
	}
	return true, nil
}

// Counts calls fn with the number of events of each service, level and bucket of time (see [block.Bucket]), each once, in
// order of service, bucket and level. ok is false when the segment does not have them, as one of version 1. The error is a
// *[CorruptError]; fn has not been called then.
func (s *Segment) Counts(fn func(service string, level uint8, bucket int64, rows int)) (ok bool, err error) {
	if s.directory.counts == nil {
		return false, nil
	}
	all, err := s.blockCounts()
	if err != nil {
		return false, err
	}
	byService := make([][]block.Count, len(s.services))
	for i, e := range s.Blocks {
		byService[e.service] = append(byService[e.service], all[i]...)
	}
	for i, counts := range byService {
		slices.SortFunc(counts, compareCounts)
		for k := 0; k < len(counts); {
			c := counts[k]
			for k++; k < len(counts) && compareCounts(c, counts[k]) == 0; k++ {
				c.Rows += counts[k].Rows
			}
			fn(s.services[i], c.Level, c.Bucket, c.Rows)
		}
	}
	return true, nil
}

func compareCounts(a, b block.Count) int {
	switch {
	case a.Bucket != b.Bucket && a.Bucket < b.Bucket, a.Bucket == b.Bucket && a.Level < b.Level:
		return -1
	case a == b, a.Bucket == b.Bucket && a.Level == b.Level:
		return 0
	}
	return 1
}
