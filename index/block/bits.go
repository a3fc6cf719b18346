package block

import (
	"encoding/binary"
	"math/bits"
)

// Numbers lie in streams of bits, the lowest bit first: w bits each, one behind the other, so that any of them can be read
// without the others.

// bitsLen returns how many bytes n numbers of w bits take.
func bitsLen(n int, w uint) int { return (n*int(w) + 7) / 8 }

// bitWriter appends numbers to a stream of bits.
type bitWriter struct {
	dst []byte
	acc uint64
	n   uint // bits in acc, fewer than 64 between calls
}

// write appends the number v of w bits, at most 64.
func (b *bitWriter) write(v uint64, w uint) {
	b.acc |= v << b.n
	if b.n += w; b.n >= 64 {
		b.dst = binary.LittleEndian.AppendUint64(b.dst, b.acc)
		b.n -= 64
		b.acc = v >> (w - b.n) // 0 when all of it has been written
	}
}

// flush pads to a whole byte and returns the bytes.
func (b *bitWriter) flush() []byte {
	for ; b.n > 0; b.n -= min(b.n, 8) {
		b.dst = append(b.dst, byte(b.acc))
		b.acc >>= 8
	}
	return b.dst
}

// bitsAt returns the w bits at bit pos of data; bits behind the end are 0. w is at most 64.
func bitsAt(data []byte, pos uint64, w uint) uint64 {
	if w == 0 {
		return 0
	}
	i, sh := pos>>3, uint(pos&7)
	var v uint64
	if i+9 <= uint64(len(data)) {
		v = binary.LittleEndian.Uint64(data[i:]) >> sh
		if sh > 0 {
			v |= uint64(data[i+8]) << (64 - sh)
		}
	} else {
		var tail [9]byte
		if i < uint64(len(data)) {
			copy(tail[:], data[i:])
		}
		v = binary.LittleEndian.Uint64(tail[:])>>sh | uint64(tail[8])<<(64-sh)
	}
	return v & (^uint64(0) >> (64 - w))
}

// Sequences of numbers that are only read as a whole are cut into chunks, each with the width that costs least; what does
// not fit is stored behind the chunk (the method is known as patched frame of reference).

const chunkLen = 128

// appendInts appends v to dst.
func appendInts(dst []byte, v []uint64) []byte {
	for len(v) > 0 {
		chunk := v[:min(len(v), chunkLen)]
		v = v[len(chunk):]
		var lens [65]int
		widest := 0
		for _, x := range chunk {
			l := bits.Len64(x)
			lens[l]++
			widest = max(widest, l)
		}
		best, cost, exceptions := uint(widest), 1<<30, 0
		for w, over, bytes := widest, 0, 0; w >= 0 && over <= len(chunk)/4; w-- {
			if c := bitsLen(len(chunk), uint(w)) + bytes; c <= cost {
				best, cost, exceptions = uint(w), c, over
			}
			over += lens[w]
			bytes = 0
			for l := w; l <= widest; l++ { // with one bit less, these do not fit: a place, and what is above w-1 bits
				bytes += lens[l] * (1 + max(1, (l-(w-1)+6)/7))
			}
		}
		dst = append(dst, byte(best), byte(exceptions))
		bw := bitWriter{dst: dst}
		mask := uint64(1)<<best - 1
		if best == 64 {
			mask = ^uint64(0)
		}
		for _, x := range chunk {
			bw.write(x&mask, best)
		}
		dst = bw.flush()
		if exceptions > 0 {
			for i, x := range chunk {
				if x&^mask != 0 {
					dst = append(dst, byte(i))
					dst = binary.AppendUvarint(dst, x>>best)
				}
			}
		}
	}
	return dst
}

// readInts reads len(dst) numbers at data's start and returns what follows; ok is false when data is damaged.
func readInts(dst []uint64, data []byte) (rest []byte, ok bool) {
	for len(dst) > 0 {
		chunk := dst[:min(len(dst), chunkLen)]
		dst = dst[len(chunk):]
		if len(data) < 2 || data[0] > 64 {
			return nil, false
		}
		w, exceptions := uint(data[0]), int(data[1])
		data = data[2:]
		n := bitsLen(len(chunk), w)
		if n > len(data) {
			return nil, false
		}
		unpack(chunk, data, w)
		data = data[n:]
		for range exceptions {
			if len(data) == 0 || int(data[0]) >= len(chunk) || w >= 64 {
				return nil, false
			}
			high, k := binary.Uvarint(data[1:])
			if k <= 0 {
				return nil, false
			}
			chunk[data[0]] |= high << w
			data = data[1+k:]
		}
	}
	return data, true
}

// unpack reads len(dst) numbers of w bits.
func unpack(dst []uint64, data []byte, w uint) {
	if w == 0 {
		clear(dst)
		return
	}
	pos, i := uint64(0), 0
	if w <= 56 { // a number and the bits before it in its byte fit in eight bytes
		mask := uint64(1)<<w - 1
		for ; i < len(dst) && pos>>3+8 <= uint64(len(data)); i++ {
			dst[i] = binary.LittleEndian.Uint64(data[pos>>3:]) >> (pos & 7) & mask
			pos += uint64(w)
		}
	}
	for ; i < len(dst); i++ {
		dst[i] = bitsAt(data, pos, w)
		pos += uint64(w)
	}
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
