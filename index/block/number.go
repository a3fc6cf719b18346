package block

import (
	"encoding/binary"
	"math"
	"strconv"

	"github.com/lookoutlog/lookout/index/query"
)

// A decimal is a JSON number that comes back as it was written from a mantissa and the number of digits behind the point:
// no exponent, no -0, no zeros before it.

// maxScale is the greatest number of digits behind the point; a scale of badScale marks a number that is kept as a text.
const (
	maxScale = 14
	badScale = 15
)

// parseDecimal returns m and scale with m × 10^-scale written as text; ok is false when the text is no such number.
func parseDecimal(text []byte) (m int64, scale int, ok bool) {
	i := 0
	neg := len(text) > 0 && text[0] == '-'
	if neg {
		i++
	}
	if len(text)-i > 19 || len(text) == i || text[i] == '0' && len(text) > i+1 && text[i+1] != '.' {
		return 0, 0, false
	}
	digits, point := 0, -1
	for j := i; j < len(text); j++ {
		switch c := text[j]; {
		case c >= '0' && c <= '9':
			m = m*10 + int64(c-'0')
			digits++
		case c == '.' && point < 0 && digits > 0:
			point = j
		default:
			return 0, 0, false
		}
	}
	if point >= 0 {
		scale = len(text) - 1 - point
		if scale == 0 || scale > maxScale {
			return 0, 0, false
		}
	}
	if digits > 18 || neg && m == 0 {
		return 0, 0, false
	}
	if neg {
		m = -m
	}
	return m, scale, true
}

// appendDecimal is the reverse of parseDecimal.
func appendDecimal(dst []byte, m int64, scale int) []byte {
	if scale == 0 {
		return strconv.AppendInt(dst, m, 10)
	}
	if m < 0 {
		dst = append(dst, '-')
	}
	abs := uint64(m)
	if m < 0 {
		abs = -abs
	}
	dst = appendDigits(dst, abs, scale+1)
	dst = append(dst, 0)
	point := len(dst) - 1 - scale
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}

var pow10 = func() (t [maxScale + 1]float64) {
	for i := range t {
		t[i] = math.Pow10(i)
	}
	return t
}()

// float returns m × 10^-scale, rounded once when the mantissa is exact.
func float(m int64, scale int) float64 { return float64(m) / pow10[scale] }

// around returns float64s that are not above and not below m × 10^-scale.
func around(m int64, scale int) (lo, hi float64) {
	v := float(m, scale)
	if exact(m) {
		return v, v
	}
	return math.Nextafter(v, math.Inf(-1)), math.Nextafter(v, math.Inf(1)) // rounded twice
}

// exact tells whether a float64 holds the mantissa.
func exact(m int64) bool { return m > -1<<53 && m < 1<<53 }

// How a column of numbers is written.
const (
	numbersInts = iota // mantissas − least, as ints
	numbersDict        // distinct mantissas, and ids
)

// maxNumberDict is the greatest number of distinct numbers in a dictionary.
const maxNumberDict = 256

// numberColumn collects the values of a field whose values are all JSON numbers.
type numberColumn struct {
	mantissas []int64
	scales    []uint8
	texts     [][]byte // those of scale badScale
	same      bool     // all scales are the first's
	shortest  int      // of the texts, in bytes
	longest   int
}

func (c *numberColumn) reset() {
	c.shortest, c.longest = math.MaxInt, 0
	c.mantissas, c.scales, c.texts, c.same = c.mantissas[:0], c.scales[:0], c.texts[:0], true
}

func (c *numberColumn) add(text []byte) {
	m, scale, ok := parseDecimal(text)
	if !ok {
		m, scale = int64(len(c.texts)), badScale
		c.texts = append(c.texts, text)
	}
	c.put(m, scale, len(text))
}

// put adds a number whose text has so many bytes.
func (c *numberColumn) put(m int64, scale, length int) {
	c.shortest, c.longest = min(c.shortest, length), max(c.longest, length)
	c.mantissas, c.scales = append(c.mantissas, m), append(c.scales, uint8(scale))
	c.same = c.same && c.scales[0] == uint8(scale)
}

// numberSet are the bytes that numbers are written with.
var numberSet = func() (s query.CharSet) {
	for _, c := range []byte("0123456789+-.eE") {
		s.Add(c)
	}
	return s
}()

// facts say what is known of the numbers' texts.
func (c *numberColumn) facts() query.Hole {
	return query.Hole{Set: numberSet, Min: c.shortest, Max: c.longest}
}

// numbersKind returns what is said of a column with these exceptions: nothing, when one of them is no number at all.
func numbersKind(texts [][]byte) TextKind {
	for _, t := range texts {
		if len(t) == 0 {
			return Raw
		}
		for _, c := range t {
			if !numberSet.Has(c) {
				return Raw
			}
		}
	}
	return Numbers
}

// pays tells whether the values are better kept as numbers than as texts.
func (c *numberColumn) pays() bool { return len(c.texts) <= 16+len(c.mantissas)/16 }

// bounds returns the least and the greatest value, and false when they are not known.
func (c *numberColumn) bounds() (lo, hi float64, ok bool) {
	if len(c.texts) > 0 {
		return 0, 0, false
	}
	lo, hi = math.Inf(1), math.Inf(-1)
	for i, m := range c.mantissas {
		a, b := around(m, int(c.scales[i]))
		lo, hi = min(lo, a), max(hi, b)
	}
	return lo, hi, true
}

// append writes the column: dst gets where its sections are.
func (c *numberColumn) append(dst []byte, w *sectionWriter, b *Builder) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.texts)))
	for _, t := range c.texts {
		dst = appendBytes(dst, t)
	}
	if c.same {
		dst = append(dst, 1, c.scales[0])
	} else {
		dst = append(dst, 0)
		b.ids = b.ids[:0]
		for _, s := range c.scales {
			b.ids = append(b.ids, uint16(s))
		}
		dst, b.scratch = appendIDs(dst, w, b.ids, badScale+1, b.scratch)
	}
	clear(b.numbers)
	b.ids = b.ids[:0]
	least := c.mantissas[0]
	var order []int64
	for _, m := range c.mantissas {
		least = min(least, m)
		if len(order) <= maxNumberDict {
			id, ok := b.numbers[m]
			if !ok {
				id = uint16(len(order))
				b.numbers[m] = id
				order = append(order, m)
			}
			b.ids = append(b.ids, id)
		}
	}
	b.ints = b.ints[:0]
	for _, m := range c.mantissas {
		b.ints = append(b.ints, uint64(m)-uint64(least))
	}
	b.scratch = appendInts(b.scratch[:0], b.ints)
	if len(order) > maxNumberDict || len(order) > len(c.mantissas)/4 {
		dst = append(dst, numbersInts)
		dst = binary.AppendVarint(dst, least)
		return binary.AppendUvarint(dst, uint64(w.add(b.scratch)))
	}
	dst = append(dst, numbersDict)
	dst = binary.AppendUvarint(dst, uint64(len(order)))
	for _, m := range order {
		dst = binary.AppendVarint(dst, m)
	}
	dst, b.scratch = appendIDs(dst, w, b.ids, len(order), b.scratch)
	return dst
}
