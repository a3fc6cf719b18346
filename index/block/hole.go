package block

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/index/query"
)

// The values of one hole of a pattern are a column: any value can be read alone. It is described by a head, which stands with
// the pattern, and its bits, which stand in a data section.
//
//	constant   the value
//	decimal    a prefix, and numbers of a fixed number of digits, or without leading zeros: number − least, in bits
//	chars      a prefix, and characters of a small alphabet: each in bits, with the length in bits where it differs
//	dictionary the distinct values, and the number of one in bits
const (
	holeConst = iota
	holeDecimal
	holeChars
	holeDict
	holeKinds
)

// hole is one column of values. What is needed for each value stands first: blocks have thousands of columns, and reading events
// in order means reading some bytes of each.
type hole struct {
	kind   uint8
	width  uint   // decimal, dictionary: bits of a number; chars: bits of a character
	digits int    // decimal: how many there are, 0 when there are no leading zeros
	least  uint64 // decimal
	data   []byte // the bits
	n      int    // values in the column

	prefix []byte   // constant: the value
	values [][]byte // dictionary
	least8 int      // chars: the least length behind the prefix
	lenw   uint     // chars: bits of a length − least8
	most   int      // chars: the greatest length behind the prefix
	abc    []byte   // chars: the alphabet in order; nil when a character is its byte
	starts []uint32 // chars of different lengths: where each value's begin, in characters
	bits   int      // bytes of the column's bits
}

// What a charset of chars is called in one byte.
const (
	abcDigits = iota
	abcHex
	abcUpperHex
	abcWord
	abcBytes // all bytes
	abcOther // a bitmap follows
)

const wordChars = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

var abcs = [...][]byte{abcDigits: []byte("0123456789"), abcHex: []byte("0123456789abcdef"), abcUpperHex: []byte("0123456789ABCDEF"), abcWord: []byte(wordChars), abcBytes: nil}

// wordIndex is the place of a byte in wordChars, from 1.
var wordIndex = func() (t [256]uint8) {
	for i := range wordChars {
		t[wordChars[i]] = uint8(i + 1)
	}
	return t
}()

func maskOf(abc []byte) (m uint64) {
	for _, c := range abc {
		m |= 1 << (wordIndex[c] - 1)
	}
	return m
}

var abcMasks = [...]uint64{maskOf(abcs[abcDigits]), maskOf(abcs[abcHex]), maskOf(abcs[abcUpperHex]), maskOf(abcs[abcWord])}

// holeEncoder turns values into columns; it keeps its memory.
type holeEncoder struct {
	slots   [4 * maxDict]uint16 // places in order, from 1, by hash
	order   [][]byte
	hashes  []uint64 // of order
	places  []uint16 // of the values in order
	numbers []uint64 // of a decimal column
	recent  [dictSample]uint64
}

// append writes the column of values, at least one: its head behind head, its bits behind data. The values stand in arena.
func (e *holeEncoder) append(head, data, arena []byte, values []span) (head2, data2 []byte, facts query.Hole) {
	first := arena[values[0].from:values[0].to]
	same := 1
	for same < len(values) && string(arena[values[same].from:values[same].to]) == string(first) {
		same++
	}
	if same == len(values) {
		head = append(head, holeConst)
		return appendBytes(head, first), data, query.Hole{Fixed: true, Const: string(first)}
	}
	facts = query.Hole{Min: len(first), Max: len(first)}
	for _, s := range values[same:] {
		n := int(s.to - s.from)
		facts.Min, facts.Max = min(facts.Min, n), max(facts.Max, n)
	}
	shortest, longest := facts.Min, facts.Max
	prefix := len(first) // without the digits at the end
	for prefix > 0 && first[prefix-1] >= '0' && first[prefix-1] <= '9' {
		prefix--
	}
	if digits, least, most, ok := e.decimal(arena, values, prefix, shortest, longest); ok {
		for _, c := range first[:prefix] {
			facts.Set.Add(c)
		}
		facts.Set.Union(&digitSet)
		width := uint(bits.Len64(most - least))
		if e.dictionary(arena, values, len(values)*int(width)+8*(prefix+6)) {
			head, data = e.appendDictionary(head, data)
			return head, data, facts
		}
		head = append(head, holeDecimal, byte(digits), byte(width))
		head = appendBytes(head, first[:prefix])
		head = binary.AppendUvarint(head, least)
		bw := bitWriter{dst: data}
		for _, x := range e.numbers {
			bw.write(x-least, width)
		}
		return head, bw.flush(), facts
	}

	common := shortest
	for _, s := range values[same:] {
		if common == 0 {
			break
		}
		common = commonPrefix(first, arena[s.from:s.to], common)
	}
	mask, high, total := uint64(0), false, 0
	for _, s := range values {
		v := arena[s.from:s.to]
		total += len(v) - common
		for _, c := range v[common:] {
			if i := wordIndex[c]; i > 0 {
				mask |= 1 << (i - 1)
			} else {
				high = true
			}
		}
	}
	code, abc, charw := alphabet(mask, high)
	if abc == nil {
		for c := 0x80; c < 0x100; c++ {
			facts.Set.Add(byte(c))
		}
	}
	for m := mask; m != 0; m &= m - 1 {
		facts.Set.Add(wordChars[bits.TrailingZeros64(m)])
	}
	for _, c := range first[:common] {
		facts.Set.Add(c)
	}
	lenw := uint(bits.Len(uint(longest - shortest)))
	if e.dictionary(arena, values, len(values)*int(lenw)+total*int(charw)+8*(common+8)) {
		head, data = e.appendDictionary(head, data)
		return head, data, facts
	}
	head = append(head, holeChars, byte(code))
	if code == abcOther {
		head = binary.LittleEndian.AppendUint64(head, mask)
	}
	head = appendBytes(head, first[:common])
	head = binary.AppendUvarint(head, uint64(shortest-common))
	head = binary.AppendUvarint(head, uint64(longest-shortest))
	bw := bitWriter{dst: data}
	if lenw > 0 {
		head = binary.AppendUvarint(head, uint64(total))
		for _, s := range values {
			bw.write(uint64(int(s.to-s.from)-shortest), lenw)
		}
	}
	var index [256]uint8
	for i := range index {
		index[i] = byte(i)
	}
	for i, c := range abc {
		index[c] = byte(i)
	}
	for _, s := range values {
		for _, c := range arena[int(s.from)+common : s.to] {
			bw.write(uint64(index[c]), charw)
		}
	}
	return head, bw.flush(), facts
}

// alphabet chooses the characters that those of mask are written in; nil, for bytes as they are, when there are others.
func alphabet(mask uint64, high bool) (code int, abc []byte, width uint) {
	if high {
		return abcBytes, nil, 8
	}
	width = uint(bits.Len(uint(bits.OnesCount64(mask)) - 1))
	for i, m := range abcMasks {
		if mask&^m == 0 && uint(bits.Len(uint(len(abcs[i])-1))) == width {
			return i, abcs[i], width
		}
	}
	return abcOther, maskChars(mask), width
}

func maskChars(mask uint64) (abc []byte) {
	for ; mask != 0; mask &= mask - 1 {
		abc = append(abc, wordChars[bits.TrailingZeros64(mask)])
	}
	return abc
}

func (e *holeEncoder) appendDictionary(head, data []byte) (head2, data2 []byte) {
	head = append(head, holeDict)
	head = binary.AppendUvarint(head, uint64(len(e.order)))
	for _, v := range e.order {
		head = appendBytes(head, v)
	}
	width := uint(bits.Len(uint(len(e.order) - 1)))
	bw := bitWriter{dst: data}
	for _, place := range e.places {
		bw.write(uint64(place), width)
	}
	return head, bw.flush()
}

var digitSet = func() (s query.CharSet) {
	for c := byte('0'); c <= '9'; c++ {
		s.Add(c)
	}
	return s
}()

// decimal tells whether all values are the prefix and digits, and how many (0: as many as needed), with the least and the
// greatest number.
func (e *holeEncoder) decimal(arena []byte, values []span, prefix, shortest, longest int) (digits int, least, most uint64, ok bool) {
	if prefix >= shortest || longest-prefix > 19 {
		return 0, 0, 0, false
	}
	least = ^uint64(0)
	e.numbers = e.numbers[:0]
	first := arena[values[0].from:][:prefix]
	zeros := false
	for _, s := range values {
		v := arena[s.from:s.to]
		d := v[prefix:]
		if string(v[:prefix]) != string(first) {
			return 0, 0, 0, false
		}
		if d[0] == '0' && len(d) > 1 {
			zeros = true
		}
		x := uint64(0)
		for _, c := range d {
			if c < '0' || c > '9' {
				return 0, 0, 0, false
			}
			x = x*10 + uint64(c-'0')
		}
		least, most = min(least, x), max(most, x)
		e.numbers = append(e.numbers, x)
	}
	switch {
	case !zeros:
		return 0, least, most, true
	case shortest == longest:
		return longest - prefix, least, most, true
	}
	return 0, 0, 0, false
}

// dictSample is how many values are looked at before a dictionary is tried: when nearly all differ it does not pay, nor
// does it with fewer values.
const dictSample = 16

// dictionary tells whether a dictionary takes fewer bits than cost; it is then in e.order, and the
// values' places in e.places.
func (e *holeEncoder) dictionary(arena []byte, values []span, cost int) bool {
	if len(values) < dictSample {
		return false
	}
	different := 0
	for i, s := range values[:dictSample] {
		h := xxhash.Sum64(arena[s.from:s.to])
		if !slices.Contains(e.recent[:i], h) {
			different++
		}
		e.recent[i] = h
	}
	if 4*different > 3*dictSample {
		return false
	}
	for _, h := range e.hashes { // of the last dictionary
		for i := h % uint64(len(e.slots)); e.slots[i] != 0; i = (i + 1) % uint64(len(e.slots)) {
			e.slots[i] = 0
		}
	}
	e.order, e.hashes, e.places = e.order[:0], e.hashes[:0], e.places[:0]
	size := 16
	for _, s := range values {
		v := arena[s.from:s.to]
		h := xxhash.Sum64(v)
		i := h % uint64(len(e.slots))
		for e.slots[i] != 0 && (e.hashes[e.slots[i]-1] != h || string(e.order[e.slots[i]-1]) != string(v)) {
			i = (i + 1) % uint64(len(e.slots))
		}
		if e.slots[i] == 0 {
			if len(e.order) == maxDict {
				return false
			}
			e.order, e.hashes = append(e.order, v), append(e.hashes, h)
			e.slots[i] = uint16(len(e.order))
			if size += 8 * (1 + len(v)); size >= cost {
				return false
			}
		}
		e.places = append(e.places, e.slots[i]-1)
	}
	return size+len(values)*bits.Len(uint(len(e.order)-1)) < cost
}

// maxDict bounds the values of a dictionary.
const maxDict = 1024

func commonPrefix(a, b []byte, n int) int {
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func appendBytes(dst, p []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

// readHole reads the head of a column of n values; r goes bad when it is damaged. The bits are not read yet.
func readHole(r *reader, n int) (h hole) { return readHoleInto(r, n, nil) }

// readHoleInto is readHole with memory for a dictionary's values.
func readHoleInto(r *reader, n int, values [][]byte) (h hole) {
	h.n, h.kind, h.values = n, r.byte(), values
	switch h.kind {
	case holeConst:
		h.prefix = r.bytes()
	case holeDecimal:
		h.digits, h.width = int(r.byte()), uint(r.byte())
		h.prefix = r.bytes()
		h.least = r.uvarint()
		if h.width > 64 || h.digits > 19 {
			r.fail()
		}
		h.bits = bitsLen(n, h.width)
	case holeChars:
		switch code := r.byte(); {
		case code == abcOther:
			mask := r.uint64()
			if mask == 0 || mask>>len(wordChars) != 0 {
				r.fail()
				return h
			}
			h.abc = maskChars(mask)
		case int(code) < len(abcs):
			h.abc = abcs[code]
		default:
			r.fail()
			return h
		}
		h.width = 8
		if h.abc != nil {
			h.width = uint(bits.Len(uint(len(h.abc) - 1)))
		}
		h.prefix = r.bytes()
		h.least8 = r.count(maxPatternText)
		h.most = h.least8 + r.count(maxPatternText)
		h.lenw = uint(bits.Len(uint(h.most - h.least8)))
		if h.lenw == 0 {
			h.bits = bitsLen(n*h.most, h.width)
		} else {
			total := r.count(maxHoleChars)
			h.bits = (n*int(h.lenw) + total*int(h.width) + 7) / 8
		}
	case holeDict:
		k := r.count(len(r.data))
		for range k {
			h.values = append(h.values, r.bytes())
		}
		if k == 0 {
			r.fail()
			return h
		}
		h.width = uint(bits.Len(uint(k - 1)))
		h.bits = bitsLen(n, h.width)
	default:
		r.fail()
	}
	return h
}

// maxHoleChars bounds the characters of a column; more is damage.
const maxHoleChars = 1 << 28

// load gives the column its bits.
func (h *hole) load(data []byte) {
	h.data = data
	if h.kind == holeChars && h.lenw > 0 {
		h.starts = make([]uint32, h.n+1)
		for i := range h.n {
			h.starts[i+1] = h.starts[i] + uint32(h.least8) + uint32(bitsAt(data, uint64(i)*uint64(h.lenw), h.lenw))
		}
	}
}

// append appends value i; damaged bits give a wrong value but never a panic: they are behind a checksum.
func (h *hole) append(dst []byte, i int) []byte {
	return h.appendRest(append(dst, h.prefix...), i)
}

// appendRest appends value i without the column's prefix.
func (h *hole) appendRest(dst []byte, i int) []byte {
	switch h.kind {
	case holeConst:
		return dst
	case holeDecimal:
		return appendDigits(dst, h.least+bitsAt(h.data, uint64(i)*uint64(h.width), h.width), h.digits)
	case holeChars:
		from, n := i*h.most, h.most
		if h.lenw > 0 {
			from, n = int(h.starts[i]), min(int(h.starts[i+1]-h.starts[i]), h.most)
		}
		pos := uint64(h.n)*uint64(h.lenw) + uint64(from)*uint64(h.width)
		dst = slices.Grow(dst, n)
		out := dst[len(dst) : len(dst)+n]
		dst = dst[:len(dst)+n]
		if h.width == 0 { // an alphabet of one
			for i := range out {
				out[i] = h.abc[0]
			}
			return dst
		}
		mask := uint64(1)<<h.width - 1
		for len(out) > 0 { // as many at once as fit
			k := min(len(out), int(64/h.width))
			v := bitsAt(h.data, pos, uint(k)*h.width)
			for j := range out[:k] {
				c := byte(v & mask)
				if h.abc != nil {
					c = h.abc[min(int(c), len(h.abc)-1)]
				}
				out[j] = c
				v >>= h.width
			}
			out = out[k:]
			pos += uint64(k) * uint64(h.width)
		}
		return dst
	}
	return append(dst, h.values[h.place(i)]...)
}

// place returns the place of value i in the dictionary.
func (h *hole) place(i int) int {
	return min(int(bitsAt(h.data, uint64(i)*uint64(h.width), h.width)), len(h.values)-1)
}

// appendDigits appends x in decimal, with zeros before it up to the given number of digits.
func appendDigits(dst []byte, x uint64, digits int) []byte {
	dst = slices.Grow(dst, maxDigits)
	return dst[:putDigits(dst[:cap(dst)], len(dst), x, digits)]
}

const digitPairs = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849" +
	"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

// facts say what the head tells of the values.
func (h *hole) facts() query.Hole {
	var f query.Hole
	addAll := func(p []byte) {
		for _, c := range p {
			f.Set.Add(c)
		}
	}
	switch h.kind {
	case holeConst:
		return query.Hole{Fixed: true, Const: string(h.prefix)}
	case holeDecimal:
		addAll(h.prefix)
		f.Set.Union(&digitSet)
		f.Min, f.Max = len(h.prefix)+h.digits, len(h.prefix)+h.digits
		if h.digits == 0 {
			f.Min = digitsOf(h.least) + len(h.prefix)
			most := h.least + (uint64(1)<<h.width - 1)
			if h.width == 64 || most < h.least {
				most = ^uint64(0)
			}
			f.Max = digitsOf(most) + len(h.prefix)
		}
	case holeChars:
		addAll(h.prefix)
		if h.abc == nil {
			f.Set = query.CharSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
		}
		addAll(h.abc)
		f.Min, f.Max = len(h.prefix)+h.least8, len(h.prefix)+h.most
	case holeDict:
		f.Min = len(h.values[0])
		for _, v := range h.values {
			addAll(v)
			f.Min, f.Max = min(f.Min, len(v)), max(f.Max, len(v))
		}
	}
	return f
}

// search tells whether a value of a column of chars holds the literal, without writing the values out; ok is false when it
// cannot tell.
func (h *hole) search(literal []byte) (found, ok bool) {
	m := len(literal)
	if m == 0 || len(h.prefix) > 0 || h.abc == nil || h.width == 0 || h.width > 7 {
		return false, false
	}
	// Horspool's method: the character where the literal's last one would be tells how far the literal can be moved on.
	var shift [128]uint32
	for i := range shift {
		shift[i] = uint32(m)
	}
	codes := make([]uint8, m)
	for i, c := range literal {
		at := slices.Index(h.abc, c)
		if at < 0 {
			return false, true
		}
		if codes[i] = uint8(at); i < m-1 {
			shift[at] = uint32(m - 1 - i)
		}
	}
	last := codes[m-1]
	w, data := h.width, h.data
	mask := uint(1)<<w - 1
	at := func(pos uint) uint8 {
		v := uint(data[pos>>3])
		if pos&7+w > 8 {
			v |= uint(data[pos>>3+1]) << 8
		}
		return uint8(v >> (pos & 7) & mask)
	}
	begin := uint(h.n) * h.lenw
	if end := begin + uint(h.n*h.most)*w; h.lenw == 0 && (end+7)/8 > uint(len(data)) || h.lenw > 0 && (begin+uint(h.starts[h.n])*w+7)/8 > uint(len(data)) {
		return false, false // damaged
	}
	for i := range h.n {
		from, n := uint(i*h.most), uint(h.most)
		if h.lenw > 0 {
			from = uint(h.starts[i])
			n = uint(h.starts[i+1]) - from
		}
		first := begin + from*w
	next:
		for j := uint(m - 1); j < n; {
			c := at(first + j*w)
			if c == last {
				for k := uint(1); ; k++ {
					if k == uint(m) {
						return true, true
					}
					if at(first+(j-k)*w) != codes[uint(m)-1-k] {
						j += uint(shift[c])
						continue next
					}
				}
			}
			j += uint(shift[c])
		}
	}
	return false, true
}
