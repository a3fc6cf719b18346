package query

import (
	"bytes"
	"math"
	"net/netip"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// number is a decimal number as it was written, not converted: 19-digit ids and 0.1 compare exactly.
// Its value is ± ip.fp × 10^exp; ip has no leading zeros, fp no trailing ones.
type number struct {
	neg    bool
	ip, fp []byte
	exp    int
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// scanNumber reads [-]digits[.digits][e[±]digits] at s's start.
func scanNumber(s []byte) (n number, rest []byte, ok bool) {
	i := 0
	if i < len(s) && s[i] == '-' {
		n.neg = true
		i++
	}
	start := i
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i == start {
		return n, s, false
	}
	n.ip = s[start:i]
	for len(n.ip) > 0 && n.ip[0] == '0' {
		n.ip = n.ip[1:]
	}
	if i+1 < len(s) && s[i] == '.' && isDigit(s[i+1]) {
		start = i + 1
		for i++; i < len(s) && isDigit(s[i]); i++ {
		}
		n.fp = s[start:i]
		for len(n.fp) > 0 && n.fp[len(n.fp)-1] == '0' {
			n.fp = n.fp[:len(n.fp)-1]
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j, neg := i+1, false
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			neg = s[j] == '-'
			j++
		}
		if j < len(s) && isDigit(s[j]) {
			e := 0
			for ; j < len(s) && isDigit(s[j]); j++ {
				if e = e*10 + int(s[j]-'0'); e > 1e9 {
					return n, s, false // no quantity anybody logs; it stays text
				}
			}
			if neg {
				e = -e
			}
			n.exp, i = e, j
		}
	}
	return n, s[i:], true
}

func (n *number) zero() bool {
	if len(n.ip) > 0 {
		return false
	}
	return len(n.fp) == 0 // a fraction without trailing zeros is empty or holds a digit above 0
}

// point returns where the decimal point stands relative to the first digit above 0, and how many zeros lead fp.
func (n *number) point() (p, skip int) {
	if len(n.ip) > 0 {
		return len(n.ip) + n.exp, 0
	}
	for skip < len(n.fp) && n.fp[skip] == '0' {
		skip++
	}
	return n.exp - skip, skip
}

// digit returns the i-th digit from the first above 0; zeros without end follow the last.
func (n *number) digit(i, skip int) byte {
	if i += skip; i < len(n.ip) {
		return n.ip[i]
	} else if i -= len(n.ip); i < len(n.fp) {
		return n.fp[i]
	}
	return '0'
}

// compare returns -1, 0 or 1, exactly.
func (n *number) compare(o *number) int {
	if n.zero() || o.zero() {
		return n.sign() - o.sign()
	}
	if n.neg != o.neg {
		return n.sign()
	}
	p, skip := n.point()
	q, oskip := o.point()
	c := 0
	switch {
	case p != q:
		c = 1
		if p < q {
			c = -1
		}
	case len(n.fp)+len(o.fp) == 0 && len(n.ip) == len(o.ip):
		c = bytes.Compare(n.ip, o.ip)
	default:
		for i := range max(len(n.ip)+len(n.fp), len(o.ip)+len(o.fp)) {
			if a, b := n.digit(i, skip), o.digit(i, oskip); a != b {
				c = 1
				if a < b {
					c = -1
				}
				break
			}
		}
	}
	if n.neg {
		return -c
	}
	return c
}

func (n *number) sign() int {
	switch {
	case n.zero():
		return 0
	case n.neg:
		return -1
	}
	return 1
}

// float returns the number × 10^scale.
func (n *number) float(scale int) float64 {
	if n.zero() {
		return 0
	}
	p, skip := n.point()
	digits := min(len(n.ip)+len(n.fp)-skip, 19)
	m := uint64(0)
	for i := range digits {
		m = m*10 + uint64(n.digit(i, skip)-'0')
	}
	e := p - digits + scale
	f := float64(m)
	switch {
	case e >= 0 && e <= 22: // 10^e is exact
		f *= math.Pow10(e)
	case e < 0 && e >= -22:
		f /= math.Pow10(-e)
	case e < -300:
		f = f * math.Pow10(-300) * math.Pow10(max(e+300, -400))
	default:
		f *= math.Pow10(e)
	}
	if n.neg {
		return -f
	}
	return f
}

// dimension is what a quantity measures.
type dimension uint8

const (
	plain dimension = iota // a number without a unit
	duration
	size
)

var dimensionNames = [...]string{"a number", "a duration", "a size"}

// unit scales a number to ns or bytes: × mul × 10^exp.
type unit struct {
	dim dimension
	exp int
	mul float64
}

// scanUnit reads the unit at s's start, the longest that fits.
func scanUnit(s []byte) (u unit, rest []byte, ok bool) {
	for _, e := range units {
		if len(s) >= len(e.name) && string(s[:len(e.name)]) == e.name {
			return e.unit, s[len(e.name):], true
		}
	}
	return unit{}, s, false
}

var units = []struct {
	name string
	unit
}{
	{"ns", unit{duration, 0, 1}}, {"us", unit{duration, 3, 1}}, {"µs", unit{duration, 3, 1}}, {"μs", unit{duration, 3, 1}},
	{"ms", unit{duration, 6, 1}}, {"s", unit{duration, 9, 1}}, {"m", unit{duration, 9, 60}}, {"h", unit{duration, 9, 3600}},
	{"d", unit{duration, 9, 86400}},
	{"B", unit{size, 0, 1}}, {"kB", unit{size, 3, 1}}, {"KB", unit{size, 3, 1}}, {"MB", unit{size, 6, 1}},
	{"GB", unit{size, 9, 1}}, {"TB", unit{size, 12, 1}}, {"KiB", unit{size, 0, 1 << 10}}, {"MiB", unit{size, 0, 1 << 20}},
	{"GiB", unit{size, 0, 1 << 30}}, {"TiB", unit{size, 0, 1 << 40}},
}

// fieldUnit returns the unit that a field's name gives to bare numbers in it.
func fieldUnit(name string) unit {
	if len(name) > 64 {
		name = name[len(name)-64:]
	}
	low := strings.ToLower(name)
	switch {
	case strings.HasSuffix(low, "_ns"):
		return unit{duration, 0, 1}
	case strings.HasSuffix(low, "_us"):
		return unit{duration, 3, 1}
	case strings.HasSuffix(low, "_ms"):
		return unit{duration, 6, 1}
	case strings.HasSuffix(low, "_s"), strings.HasSuffix(low, "_seconds"):
		return unit{duration, 9, 1}
	case strings.HasSuffix(low, "bytes"):
		return unit{size, 0, 1}
	}
	return unit{}
}

// quantity is a number, a duration or a size.
type quantity struct {
	dim  dimension
	num  number  // when plain
	base float64 // ns or bytes otherwise
}

// parseQuantity reads all of s as a number, a duration (also 1h30m) or a size.
func parseQuantity(s []byte) (q quantity, ok bool) {
	if len(s) == 0 || !isDigit(s[0]) && (s[0] != '-' || len(s) == 1 || !isDigit(s[1])) {
		return q, false // nearly every value that is not a quantity ends here
	}
	n, rest, ok := scanNumber(s)
	if !ok {
		return q, false
	}
	if len(rest) == 0 {
		return quantity{num: n}, true
	}
	u, rest, ok := scanUnit(rest)
	if !ok {
		return q, false
	}
	q = quantity{dim: u.dim, base: n.float(u.exp) * u.mul}
	neg := n.neg
	for len(rest) > 0 {
		if u.dim != duration || !isDigit(rest[0]) {
			return q, false
		}
		if n, rest, ok = scanNumber(rest); !ok {
			return q, false
		}
		if u, rest, ok = scanUnit(rest); !ok || u.dim != duration {
			return q, false
		}
		n.neg = neg
		q.base += n.float(u.exp) * u.mul
	}
	return q, true
}

// compare compares two quantities; u is the unit that bare numbers have against one with a unit. ok is false when they
// cannot be compared.
func (q *quantity) compare(o *quantity, u unit) (c int, ok bool) {
	if q.dim == plain && o.dim == plain {
		return q.num.compare(&o.num), true
	}
	a, adim := q.scaled(u)
	b, bdim := o.scaled(u)
	if adim != bdim {
		return 0, false
	}
	switch {
	case a < b:
		return -1, true
	case a > b:
		return 1, true
	}
	return 0, true
}

func (q *quantity) scaled(u unit) (float64, dimension) {
	if q.dim != plain || u.dim == plain {
		return q.base, q.dim
	}
	return q.num.float(u.exp) * u.mul, u.dim
}

// limit is one side of a range, or what an ordered comparison compares with.
type limit struct {
	text    string // as it is printed
	isLevel bool
	level   event.Level
	q       quantity
}

func parseLimit(s string) (l limit, ok bool) {
	l.text = s
	if l.q, ok = parseQuantity([]byte(s)); ok {
		return l, true
	}
	if l.level, ok = levelName([]byte(s)); ok {
		l.isLevel, l.text = true, l.level.String()
	}
	return l, ok
}

func (l *limit) what() string {
	if l.isLevel {
		return "a level"
	}
	return dimensionNames[l.q.dim]
}

// compare compares an event's value with the limit: for levels, worse is more.
func (l *limit) compare(v []byte, u unit) (c int, ok bool) {
	if l.isLevel {
		level, ok := levelName(v)
		return int(l.level) - int(level), ok
	}
	q, ok := parseQuantity(v)
	if !ok {
		return 0, false
	}
	return q.compare(&l.q, u)
}

// levelName is event.ParseLevel for names only: a digit is a number here.
func levelName(s []byte) (event.Level, bool) {
	if len(s) == 1 {
		return event.None, false
	}
	return event.ParseLevel(s)
}

// levelValue reads what may stand beside the field level: a name, or syslog's number.
func levelValue(s string) (event.Level, bool) {
	return event.ParseLevel([]byte(s))
}

// parseAddr reads an IP address; it answers quickly for what is none.
func parseAddr(v []byte) (netip.Addr, bool) {
	if len(v) < 2 || len(v) > 64 {
		return netip.Addr{}, false
	}
	if i := bytes.IndexAny(v[:min(len(v), 5)], ".:"); i < 0 { // the first part of an address has at most 4 digits
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(v))
	return a.Unmap(), err == nil
}
