package block

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/lookoutlog/lookout/index/query"
)

// mould is a form with more than a few values, ready to be filled: its fixed text, with the values of constant holes and the
// prefixes of others in their places, and what is known of each value that differs. Blocks have thousands of moulds and
// events in order take one after the other, so a mould is small and lies together.
type mould struct {
	text  []byte // and copyStep more bytes
	size  int    // of the text
	slots []slot
	holes []hole // those of the slots that are no decimals; of a single slot in any case
	data  []byte // the section of the holes' bits
	most  int    // bytes that a value takes at most, values of holes that are no decimals left out, while it is put together
}

// slot is a hole with values that differ.
type slot struct {
	least  uint64 // decimal: as in hole, like width and digits
	at     uint32 // where its value belongs in the text
	bits   uint32 // decimal: where its bits are in the data
	hole   uint32 // otherwise: its place in the mould's holes
	width  uint8
	digits uint8
	kind   uint8
}

// mould returns the form ready to be filled.
func (c *textReader) mould(t *Table, f *formRef) (mould, error) {
	return f.mould.get(func() (mould, error) { return c.makeMould(t, f) })
}

func (c *textReader) makeMould(t *Table, f *formRef) (m mould, err error) {
	r := reader{data: f.head}
	section, at := r.count(maxBlock), r.count(maxBlock)
	if m.data, err = c.bitsOf(t, section); err != nil {
		return m, err
	}
	m.text = make([]byte, 0, len(f.text)+len(r.data)+copyStep)
	m.slots = make([]slot, 0, f.holes)
	var single hole
	rest := f.text
	for range f.holes {
		j := bytes.IndexByte(rest, query.HoleMark)
		m.text = append(m.text, rest[:j]...)
		rest = rest[j+1:]
		if len(r.data) > 0 && r.data[0] == holeConst { // most of them
			r.byte()
			m.text = append(m.text, r.bytes()...)
			continue
		}
		h := readHole(&r, f.values)
		if r.bad || at+h.bits > len(m.data) {
			return m, corrupt("holes")
		}
		m.text = append(m.text, h.prefix...)
		s := slot{at: uint32(len(m.text)), kind: h.kind}
		if h.kind == holeDecimal {
			s.least, s.bits, s.width, s.digits = h.least, uint32(at), uint8(h.width), uint8(h.digits)
		} else {
			s.hole = uint32(len(m.holes))
		}
		if h.kind != holeDecimal || len(m.slots) == 0 {
			h.load(m.data[at : at+h.bits])
		}
		if h.kind != holeDecimal {
			m.holes = append(m.holes, h)
		} else if len(m.slots) == 0 {
			single = h
		}
		m.slots = append(m.slots, s)
		at += h.bits
	}
	if r.bad || len(r.data) != 0 {
		return m, corrupt("holes")
	}
	if len(m.slots) == 1 && len(m.holes) == 0 {
		m.holes = []hole{single}
	}
	m.text = append(m.text, rest...)
	m.size = len(m.text)
	m.text = append(m.text, make([]byte, copyStep)...)
	m.slots = slices.Clip(m.slots)
	m.most = len(m.text) + maxDigits*len(m.slots)
	t.size.Add(int64(96 + cap(m.text) + 24*cap(m.slots) + 192*len(m.holes)))
	return m, nil
}

// single returns the only hole whose values differ with the text before and behind it; nil when there are more or none.
func (m *mould) single() (before, behind []byte, h *hole) {
	if len(m.slots) != 1 {
		return nil, nil, nil
	}
	at := m.slots[0].at
	return m.text[:at:at], m.text[at:m.size:m.size], &m.holes[0]
}

const (
	copyStep  = 16 // bytes
	maxDigits = 20 // of a uint64
)

// append appends the value of a rank; damaged bits give a wrong one but never a panic.
func (m *mould) append(dst []byte, rank int) []byte {
	dst = slices.Grow(dst, m.most)
	n, at := len(dst), 0
	dst = dst[:cap(dst)]
	for i := range m.slots {
		s := &m.slots[i]
		n = copyText(dst, n, m.text, at, int(s.at))
		at = int(s.at)
		if s.kind == holeDecimal {
			x := s.least + bitsAt(m.data, uint64(s.bits)<<3+uint64(rank)*uint64(s.width), uint(s.width))
			n = putDigits(dst, n, x, int(s.digits))
			continue
		}
		dst = slices.Grow(m.holes[s.hole].appendRest(dst[:n], rank), m.most)
		n = len(dst)
		dst = dst[:cap(dst)]
	}
	return dst[:copyText(dst, n, m.text, at, m.size)]
}

// copyText copies text[from:to] to dst[n:] and returns the end. It may read and write copyStep bytes more: pieces are short, and a
// call costs more than to copy them.
func copyText(dst []byte, n int, text []byte, from, to int) int {
	end := n + to - from
	for ; n < end; n, from = n+copyStep, from+copyStep {
		out, in := dst[n:n+copyStep], text[from:from+copyStep]
		binary.LittleEndian.PutUint64(out, binary.LittleEndian.Uint64(in))
		binary.LittleEndian.PutUint64(out[8:], binary.LittleEndian.Uint64(in[8:]))
	}
	return end
}

var powersOf10 = func() (t [maxDigits]uint64) {
	x := uint64(1)
	for i := range t {
		t[i] = x
		x *= 10
	}
	return t
}()

// digitsOf is how many digits x has.
func digitsOf(x uint64) int {
	x |= 1 // no power of ten lies between the two
	n := bits.Len64(x) * 1233 >> 12
	if x >= powersOf10[n] {
		n++
	}
	return n
}

// putDigits writes x in decimal to dst[n:], with zeros before it up to the given number of digits, and returns the end.
func putDigits(dst []byte, n int, x uint64, digits int) int {
	k := max(digitsOf(x), digits)
	out := dst[n : n+k]
	i := k
	for x >= 100 {
		q := x / 100
		pair := 2 * (x - 100*q)
		i -= 2
		out[i], out[i+1] = digitPairs[pair], digitPairs[pair+1]
		x = q
	}
	if x >= 10 {
		i -= 2
		out[i], out[i+1] = digitPairs[2*x], digitPairs[2*x+1]
	} else {
		i--
		out[i] = byte('0' + x)
	}
	for i > 0 {
		i--
		out[i] = '0'
	}
	return n + k
}
