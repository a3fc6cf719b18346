package query

import (
	"math"
	"strconv"
)

// maxScale is the most decimal places [Test.Decimals] knows: an int64 has no more digits.
const maxScale = 18

// Decimals says the test as a range of mantissas: a number written as m × 10^-scale, in plain decimal digits as JSON has
// them, satisfies it exactly when lo <= m <= hi. An empty set has lo > hi. When ok is false the test is no such range, and
// only [Test.Match] on the number's text decides.
func (t *Test) Decimals(scale int) (lo, hi int64, ok bool) {
	if scale < 0 || scale > maxScale {
		return 0, 0, false
	}
	r, ok := decimals(t.p, scale)
	return r.lo, r.hi, ok
}

// MayMatchNumbers tells whether a JSON number from lo to hi, both included, can satisfy the test. Only false is certain.
func (t *Test) MayMatchNumbers(lo, hi float64) bool { return mayNumbers(t.p, lo, hi) }

// mantissas is a range, both ends included.
type mantissas struct{ lo, hi int64 }

var (
	allMantissas = mantissas{math.MinInt64, math.MaxInt64}
	noMantissas  = mantissas{1, 0}
)

func (r mantissas) empty() bool { return r.lo > r.hi }

func (r mantissas) and(o mantissas) mantissas {
	if r.empty() || o.empty() {
		return noMantissas
	}
	return mantissas{max(r.lo, o.lo), min(r.hi, o.hi)}
}

// or unites ranges that touch.
func (r mantissas) or(o mantissas) (mantissas, bool) {
	switch {
	case r.empty():
		return o, true
	case o.empty():
		return r, true
	}
	if r.lo > o.lo {
		r, o = o, r
	}
	if r.hi != math.MaxInt64 && o.lo > r.hi+1 {
		return noMantissas, false
	}
	return mantissas{r.lo, max(r.hi, o.hi)}, true
}

// A number's text as a pattern, by what it may be made of: a plain decimal, and any number in JSON.
var (
	decimalText = Pattern{Text: holeMark, Holes: []Hole{{Set: setOf(digits + "-."), Min: 1, Max: 24}}}
	numberText  = Pattern{Text: holeMark, Holes: []Hole{{Set: setOf(numberBytes), Min: 1, Max: 1 << 30}}}
)

func decimals(p pred, scale int) (mantissas, bool) {
	switch p := p.(type) {
	case anyOf:
		all := noMantissas
		for _, k := range p {
			r, ok := decimals(k, scale)
			if ok {
				all, ok = all.or(r)
			}
			if !ok {
				return noMantissas, false
			}
		}
		return all, true
	case *ordered:
		return p.lim.decimals(p.op, p.unit, scale)
	case *within:
		lo, ok := p.lo.decimals(opGe, p.unit, scale)
		hi, ok2 := p.hi.decimals(opLe, p.unit, scale)
		return lo.and(hi), ok && ok2
	case *sameQuantity: // the text as it was given is a quantity, and equals itself
		lim := limit{q: p.q}
		lo, ok := lim.decimals(opGe, p.unit, scale)
		hi, ok2 := lim.decimals(opLe, p.unit, scale)
		return lo.and(hi), ok && ok2
	}
	switch p.judge(&decimalText) {
	case Never:
		return noMantissas, true
	case Always:
		return allMantissas, true
	}
	return noMantissas, false
}

// decimals returns the mantissas that compare with the limit as an ordered op asks.
func (l *limit) decimals(o op, u unit, scale int) (mantissas, bool) {
	switch {
	case l.isLevel: // no number is a level's name
		return noMantissas, true
	case l.q.dim == plain:
		return l.q.num.decimals(o, scale), true
	case l.q.dim != u.dim:
		return noMantissas, true
	}
	// Numbers compare as float64 here, as ns or bytes. What a mantissa of up to 53 bits becomes is correctly rounded, so that it
	// grows with the mantissa; without decimal places that holds for all. Beyond, the order is kept but for the last bits.
	least, most := int64(math.MinInt64), int64(math.MaxInt64)
	if scale > 0 {
		const exact = 1 << 53
		if at := math.Abs(l.q.base) / u.mul * math.Pow10(scale-u.exp); !(at < exact/2) {
			return noMantissas, false
		}
		least, most = 1-exact, exact-1
	}
	var buf [40]byte
	// search returns the first mantissa that compares with at least c, and whether there is one.
	search := func(c int) (int64, bool) {
		from, to := least, most
		for from < to {
			m := from + int64(uint64(to-from)/2)
			if got, _ := l.compare(appendDecimal(buf[:0], m, scale), u); got >= c {
				to = m
			} else {
				from = m + 1
			}
		}
		got, _ := l.compare(appendDecimal(buf[:0], from, scale), u)
		return from, got >= c
	}
	r := allMantissas
	if o == opGe || o == opGt {
		c := 0
		if o == opGt {
			c = 1
		}
		m, ok := search(c)
		switch {
		case !ok:
			return noMantissas, true
		case m != least:
			r.lo = m
		}
		return r, true
	}
	c := 0
	if o == opLe {
		c = 1
	}
	switch m, ok := search(c); {
	case !ok:
	case m == least:
		return noMantissas, true
	default:
		r.hi = m - 1
	}
	return r, true
}

// decimals returns the mantissas m for which m × 10^-scale compares with n as an ordered op asks.
func (n *number) decimals(o op, scale int) mantissas {
	floor, whole := n.floor(scale)
	if floor.over != 0 {
		if (floor.over > 0) == (o == opLt || o == opLe) {
			return allMantissas
		}
		return noMantissas
	}
	m := floor.m
	switch {
	case o == opGe && whole:
		return mantissas{m, math.MaxInt64}
	case o == opGe, o == opGt:
		if m == math.MaxInt64 {
			return noMantissas
		}
		return mantissas{m + 1, math.MaxInt64}
	case o == opLt && whole:
		if m == math.MinInt64 {
			return noMantissas
		}
		return mantissas{math.MinInt64, m - 1}
	}
	return mantissas{math.MinInt64, m}
}

// bounded is an int64, or beyond one: over is -1 or 1.
type bounded struct {
	m    int64
	over int
}

// floor returns the greatest integer that is not above n × 10^scale, and whether it is that.
func (n *number) floor(scale int) (b bounded, whole bool) {
	if n.zero() {
		return b, true
	}
	over := bounded{over: n.sign()}
	p, skip := n.point()
	p += scale // digits before the point
	if p > 19 {
		return over, false
	}
	m := uint64(0)
	for i := range max(p, 0) {
		m = m*10 + uint64(n.digit(i, skip)-'0')
	}
	whole = true
	for i := max(p, 0); whole && i < len(n.ip)+len(n.fp)-skip; i++ {
		whole = n.digit(i, skip) == '0'
	}
	if p < 0 { // its first digit, which is not 0, is behind the point
		whole = false
	}
	if n.neg {
		if !whole {
			m++
		}
		if m > 1<<63 {
			return over, false
		}
		return bounded{m: int64(-m)}, whole
	}
	if m > math.MaxInt64 {
		return over, false
	}
	return bounded{m: int64(m)}, whole
}

// appendDecimal appends m × 10^-scale in plain digits.
func appendDecimal(dst []byte, m int64, scale int) []byte {
	abs := uint64(m)
	if m < 0 {
		dst = append(dst, '-')
		abs = -abs
	}
	var buf [20]byte
	ds := strconv.AppendUint(buf[:0], abs, 10)
	if scale == 0 {
		return append(dst, ds...)
	}
	if len(ds) <= scale {
		dst = append(dst, '0', '.')
		for range scale - len(ds) {
			dst = append(dst, '0')
		}
		return append(dst, ds...)
	}
	point := len(ds) - scale
	dst = append(append(dst, ds[:point]...), '.')
	return append(dst, ds[point:]...)
}

func mayNumbers(p pred, lo, hi float64) bool {
	switch p := p.(type) {
	case anyOf:
		for _, k := range p {
			if mayNumbers(k, lo, hi) {
				return true
			}
		}
		return false
	case *ordered:
		return p.lim.mayNumbers(p.op, p.unit, lo, hi)
	case *within:
		return p.lo.mayNumbers(opGe, p.unit, lo, hi) && p.hi.mayNumbers(opLe, p.unit, lo, hi)
	case *sameQuantity:
		lim := limit{q: p.q}
		return lim.mayNumbers(opGe, p.unit, lo, hi) && lim.mayNumbers(opLe, p.unit, lo, hi)
	}
	return p.judge(&numberText) != Never
}

func (l *limit) mayNumbers(o op, u unit, lo, hi float64) bool {
	at, scale := l.q.base, u.mul*math.Pow10(u.exp)
	switch {
	case l.isLevel:
		return false
	case l.q.dim == plain:
		at, scale = l.q.num.float(0), 1
	case l.q.dim != u.dim:
		return false
	}
	if o == opGe || o == opGt {
		return mayReach(hi*scale, at)
	}
	return mayReach(at, lo*scale)
}

// mayReach tells whether a may be at least b, given that both have been rounded a few times.
func mayReach(a, b float64) bool {
	return !(a < b) || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b))
}
