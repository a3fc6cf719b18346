package query

import (
	"errors"
	"hash/maphash"
	"math"
	"math/bits"
	"sync/atomic"
)

// ErrStatsMemory says that the groups need more memory than they may have.
var ErrStatsMemory = errors.New("the groups need too much memory")

// Budget is what the workers of one request share: their memory. It is safe for concurrent use.
type Budget struct{ left atomic.Int64 }

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	b := &Budget{}
	b.left.Store(bytes)
	return b
}

// Take takes so many bytes, and tells whether they were there.
func (b *Budget) Take(bytes int64) bool { return b.left.Add(-bytes) >= 0 }

// allowance is a tally's part of a budget: what it has taken and not used.
type allowance struct {
	from        *Budget
	have, taken int
	over        bool
}

// use takes n bytes. Nothing fails at once: over is looked at now and then.
func (a *allowance) use(n int) {
	if a.have -= n; a.have < 0 && !a.over {
		more := 256<<10 - a.have
		a.have += more
		a.taken += more
		a.over = a.from.left.Add(-int64(more)) < 0
	}
}

// giveBack returns what was taken.
func (a *allowance) giveBack() {
	a.from.left.Add(int64(a.taken))
	a.have, a.taken = 0, 0
}

// moments are what sums, averages and limits need of a group's numbers. The sum carries what rounding took from it
// (Neumaier's), so that it does not depend on who added up which part.
type moments struct {
	n         int64
	sum, lost float64
	min, max  float64
}

func (m *moments) add(v float64) {
	if m.n == 0 {
		m.min, m.max = v, v
	} else {
		m.min, m.max = min(m.min, v), max(m.max, v)
	}
	m.n++
	m.addSum(v)
}

func (m *moments) addSum(v float64) {
	s := m.sum + v
	if math.Abs(m.sum) >= math.Abs(v) {
		m.lost += (m.sum - s) + v
	} else {
		m.lost += (v - s) + m.sum
	}
	m.sum = s
}

func (m *moments) merge(o *moments) {
	if o.n == 0 {
		return
	}
	if m.n == 0 {
		*m = *o
		return
	}
	m.n += o.n
	m.min, m.max = min(m.min, o.min), max(m.max, o.max)
	m.addSum(o.sum)
	m.lost += o.lost
}

func (m *moments) total() float64 {
	if t := m.sum + m.lost; !math.IsNaN(t) {
		return t
	}
	return m.sum // beyond what a float64 holds
}

// sample is what quantiles need of a group's numbers: all of them, or, when they are too many, how many are in each of
// classes that are narrow compared with their numbers.
type sample struct {
	values   []float64 // until classed
	classed  bool
	n        int64
	zeros    int64
	pos, neg classes // by the number's amount
	min, max float64
}

// classes count positive numbers. A class is what a float64's exponent and first seven bits of its fraction tell: 128 in
// each doubling. The middle of a class is at most 1/257 from any number of it, below [QuantileError].
type classes struct {
	first  int // class of counts[0]
	counts []int64
}

const classShift = 52 - 7

func (c *classes) add(v float64, n int64, a *allowance) {
	c.addClass(int(math.Float64bits(v)>>classShift), n, a)
}

func (c *classes) addClass(i int, n int64, a *allowance) {
	switch size := len(c.counts); {
	case size == 0:
		c.first, c.counts = i-32, make([]int64, 64)
		a.use(64 * 8)
	case i < c.first:
		grown := make([]int64, size+c.first-i+size/2)
		more := len(grown) - size
		copy(grown[more:], c.counts)
		a.use(more * 8)
		c.first, c.counts = c.first-more, grown
	case i >= c.first+size:
		grown := make([]int64, i-c.first+1+size/2)
		copy(grown, c.counts)
		a.use((len(grown) - size) * 8)
		c.counts = grown
	}
	c.counts[i-c.first] += n
}

// middle is the number that stands for a class.
func (c *classes) middle(i int) float64 {
	lo := math.Float64frombits(uint64(c.first+i) << classShift)
	hi := math.Float64frombits(uint64(c.first+i+1)<<classShift - 1)
	return lo + (hi-lo)/2
}

func (s *sample) add(v float64, a *allowance) {
	if s.classed {
		s.class(v, a)
		return
	}
	if len(s.values) == cap(s.values) {
		grown := make([]float64, len(s.values), max(8, 2*cap(s.values)))
		copy(grown, s.values)
		a.use(8 * (cap(grown) - cap(s.values)))
		s.values = grown
	}
	if s.values = append(s.values, v); len(s.values) > MaxExactValues {
		s.toClasses(a)
	}
}

func (s *sample) class(v float64, a *allowance) {
	if s.n == 0 {
		s.min, s.max = v, v
	} else {
		s.min, s.max = min(s.min, v), max(s.max, v)
	}
	s.n++
	switch {
	case v > 0:
		s.pos.add(v, 1, a)
	case v < 0:
		s.neg.add(-v, 1, a)
	default:
		s.zeros++
	}
}

func (s *sample) toClasses(a *allowance) {
	values := s.values
	s.classed, s.values = true, nil
	for _, v := range values {
		s.class(v, a)
	}
	a.have += 8 * cap(values)
}

// merge adds what o holds; o is not used any more.
func (s *sample) merge(o *sample, a *allowance) {
	if !o.classed {
		for _, v := range o.values {
			s.add(v, a)
		}
		return
	}
	if !s.classed {
		s.toClasses(a)
	}
	if s.n == 0 {
		s.min, s.max = o.min, o.max
	} else if o.n > 0 {
		s.min, s.max = min(s.min, o.min), max(s.max, o.max)
	}
	s.n += o.n
	s.zeros += o.zeros
	for i, n := range o.pos.counts {
		if n > 0 {
			s.pos.addClass(o.pos.first+i, n, a)
		}
	}
	for i, n := range o.neg.counts {
		if n > 0 {
			s.neg.addClass(o.neg.first+i, n, a)
		}
	}
}

// rank is which of n values in order, from 0, is the quantile q.
func rank(q float64, n int64) int64 {
	return min(max(int64(math.Ceil(q*float64(n)-1e-9))-1, 0), n-1)
}

// quantile returns the value of a rank, NaN without values. It reorders them.
func (s *sample) quantile(q float64) float64 {
	if !s.classed {
		if len(s.values) == 0 {
			return math.NaN()
		}
		return selectNth(s.values, int(rank(q, int64(len(s.values)))))
	}
	k := rank(q, s.n)
	inside := func(v float64) float64 { return min(max(v, s.min), s.max) }
	for i := len(s.neg.counts) - 1; i >= 0; i-- {
		if k -= s.neg.counts[i]; k < 0 {
			return inside(-s.neg.middle(i))
		}
	}
	if k -= s.zeros; k < 0 {
		return 0
	}
	for i, n := range s.pos.counts {
		if k -= n; k < 0 {
			return inside(s.pos.middle(i))
		}
	}
	return s.max
}

// selectNth returns the k-th smallest of values, from 0, and reorders them: Hoare's selection, with the middle of three as
// the pivot, in linear time but for orders that nothing has.
func selectNth(values []float64, k int) float64 {
	lo, hi := 0, len(values)-1
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if values[mid] < values[lo] {
			values[mid], values[lo] = values[lo], values[mid]
		}
		if values[hi] < values[lo] {
			values[hi], values[lo] = values[lo], values[hi]
		}
		if values[hi] < values[mid] {
			values[hi], values[mid] = values[mid], values[hi]
		}
		pivot := values[mid]
		i, j := lo, hi
		for i <= j {
			for values[i] < pivot {
				i++
			}
			for values[j] > pivot {
				j--
			}
			if i <= j {
				values[i], values[j] = values[j], values[i]
				i++
				j--
			}
		}
		switch {
		case k <= j:
			hi = j
		case k >= i:
			lo = i
		default:
			return values[k]
		}
	}
	return values[lo]
}

// different counts different values: the set of their hashes (that two of 100,000 values are taken for one happens once in
// 3 × 10⁹ sets), or, when they are too many, a HyperLogLog of 2^14 registers.
type different struct {
	slots     []uint64 // a hash table: a power of two, 0 for what is free; nil until there is a value, and with registers
	n         int      // hashes in slots
	registers []uint8
}

const registerBits = 14

func (d *different) add(v []byte, a *allowance) { d.addHash(maphash.Bytes(textSeed, v), a) }

func (d *different) addHash(h uint64, a *allowance) {
	if d.registers != nil {
		d.register(h)
		return
	}
	if h = max(h, 1); !d.insert(h) {
		return
	}
	if d.n++; d.n > MaxExactDistinct {
		d.toRegisters(a)
	} else if 4*d.n > 3*len(d.slots) {
		d.grow(a)
	}
}

// insert puts a hash into slots; false when it is there.
func (d *different) insert(h uint64) bool {
	if d.slots == nil {
		d.slots = make([]uint64, 8)
	}
	mask := len(d.slots) - 1
	for i := int(h) & mask; ; i = (i + 1) & mask {
		switch d.slots[i] {
		case h:
			return false
		case 0:
			d.slots[i] = h
			return true
		}
	}
}

func (d *different) grow(a *allowance) {
	old := d.slots
	d.slots = make([]uint64, max(2*len(old), 8))
	a.use(8 * (len(d.slots) - len(old)))
	for _, h := range old {
		if h != 0 {
			d.insert(h)
		}
	}
}

func (d *different) register(h uint64) {
	r := &d.registers[h>>(64-registerBits)]
	*r = max(*r, uint8(bits.LeadingZeros64(h<<registerBits|1<<(registerBits-1))+1))
}

func (d *different) toRegisters(a *allowance) {
	d.registers = make([]uint8, 1<<registerBits)
	for _, h := range d.slots {
		if h != 0 {
			d.register(h)
		}
	}
	a.use(len(d.registers))
	a.have += 8 * len(d.slots)
	d.slots, d.n = nil, 0
}

func (d *different) merge(o *different, a *allowance) {
	if o.registers == nil {
		// There is room for all of them at first: hashes that come in the order of a table crowd in a smaller one.
		for d.registers == nil && 4*min(d.n+o.n, MaxExactDistinct) > 3*len(d.slots) {
			d.grow(a)
		}
		for _, h := range o.slots {
			if h != 0 {
				d.addHash(h, a)
			}
		}
		return
	}
	if d.registers == nil {
		d.toRegisters(a)
	}
	for i, r := range o.registers {
		d.registers[i] = max(d.registers[i], r)
	}
}

func (d *different) count() float64 {
	if d.registers == nil {
		return float64(d.n)
	}
	// With more values than MaxExactDistinct, the plain estimate needs no correction.
	const m = 1 << registerBits
	sum := 0.0
	for _, r := range d.registers {
		sum += math.Ldexp(1, -int(r))
	}
	return math.Round(0.7213 / (1 + 1.079/m) * m * m / sum)
}
