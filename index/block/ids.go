package block

import (
	"encoding/binary"
	"math/bits"
)

// A column of small numbers, such as a row's place in a dictionary, is written in one of four ways, whichever is smallest.
const (
	idsZero   = iota // all are 0
	idsBits          // in bits
	idsBytes         // a byte each, compressed
	idsPlanes        // the low bytes compressed, and the high bytes
)

// appendIDs writes numbers below limit: their sections to w, and where they are to dst.
func appendIDs(dst []byte, w *sectionWriter, ids []uint16, limit int, scratch []byte) (dst2, scratch2 []byte) {
	if limit <= 1 {
		return append(dst, idsZero), scratch
	}
	width := uint(bits.Len(uint(limit - 1)))
	packed := bitsLen(len(ids), width)
	mark, sections := len(w.body), len(w.list)
	plane := func(shift uint) int {
		scratch = scratch[:0]
		for _, id := range ids {
			scratch = append(scratch, byte(id>>shift))
		}
		return w.compress(scratch)
	}
	low := plane(0)
	high := low
	if limit > 256 {
		high = plane(8)
	}
	// Bits are read faster: they may cost a little more.
	if float64(len(w.body)-mark) > 0.95*float64(packed) {
		w.body, w.list = w.body[:mark], w.list[:sections]
		bw := bitWriter{dst: scratch[:0]}
		for _, id := range ids {
			bw.write(uint64(id), width)
		}
		scratch = bw.flush()
		return binary.AppendUvarint(append(dst, idsBits), uint64(w.add(scratch))), scratch
	}
	if limit <= 256 {
		return binary.AppendUvarint(append(dst, idsBytes), uint64(low)), scratch
	}
	dst = binary.AppendUvarint(append(dst, idsPlanes), uint64(low))
	return binary.AppendUvarint(dst, uint64(high)), scratch
}

// idsRef says where a column of small numbers is.
type idsRef struct {
	mode      uint8
	low, high int
	limit     int
}

func readIDsRef(r *reader, limit int) idsRef {
	ref := idsRef{mode: r.byte(), limit: limit}
	switch ref.mode {
	case idsZero:
	case idsBits, idsBytes:
		ref.low = r.count(maxBlock)
	case idsPlanes:
		ref.low, ref.high = r.count(maxBlock), r.count(maxBlock)
	default:
		r.fail()
	}
	return ref
}

// read returns n numbers.
func (ref *idsRef) read(n int, sectionData func(int) ([]byte, error)) ([]uint16, error) {
	ids := make([]uint16, n)
	if ref.mode == idsZero {
		return ids, nil
	}
	low, err := sectionData(ref.low)
	if err != nil {
		return nil, err
	}
	switch ref.mode {
	case idsBits:
		width := uint(bits.Len(uint(max(ref.limit-1, 0))))
		if len(low) < bitsLen(n, width) {
			return nil, corrupt("numbers of section %d", ref.low)
		}
		unpackIDs(ids, low, width)
	default:
		if len(low) != n {
			return nil, corrupt("numbers of section %d", ref.low)
		}
		for i := range ids {
			ids[i] = uint16(low[i])
		}
	}
	if ref.mode == idsPlanes {
		high, err := sectionData(ref.high)
		if err != nil {
			return nil, err
		}
		if len(high) != n {
			return nil, corrupt("numbers of section %d", ref.high)
		}
		for i := range ids {
			ids[i] |= uint16(high[i]) << 8
		}
	}
	for _, id := range ids {
		if int(id) >= ref.limit {
			return nil, corrupt("number %d where %d are", id, ref.limit)
		}
	}
	return ids, nil
}

// unpackIDs reads len(dst) numbers of w bits, at most 16.
func unpackIDs(dst []uint16, data []byte, w uint) {
	pos, i := uint(0), 0
	for mask := uint64(1)<<w - 1; i+3 < len(dst) && pos>>3+9 <= uint(len(data)); i += 4 { // four and the bits before them in their byte
		v := binary.LittleEndian.Uint64(data[pos>>3:])
		if pos&7 > 0 {
			v = v>>(pos&7) | uint64(data[pos>>3+8])<<(64-pos&7)
		}
		dst[i], dst[i+1], dst[i+2], dst[i+3] = uint16(v&mask), uint16(v>>w&mask), uint16(v>>(2*w)&mask), uint16(v>>(3*w)&mask)
		pos += 4 * w
	}
	for ; i < len(dst); i++ {
		dst[i] = uint16(bitsAt(data, uint64(pos), w))
		pos += w
	}
}
