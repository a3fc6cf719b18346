package query

import (
	"bytes"
	"math"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Judge says whether the texts of a pattern's form satisfy the test: Never and Always are certain for all values that the
// holes may have. A pattern whose marks and holes do not fit together is Maybe.
func (t *Test) Judge(p *Pattern) Verdict {
	fixed, open := false, false
	for i := range p.Holes {
		h := &p.Holes[i]
		if h.Fixed {
			fixed = true
			continue
		}
		if open = true; h.Min < 0 || h.Max < h.Min || h.Min > math.MaxInt32 {
			return Maybe
		}
	}
	if bytes.Count(p.Text, holeMark) != len(p.Holes) {
		return Maybe
	}
	if fixed {
		return t.judgeFilled(p, open)
	}
	if !open {
		return certain(t.p.test(p.Text))
	}
	return t.p.judge(p)
}

var holeMark = []byte{HoleMark}

func certain(yes bool) Verdict {
	if yes {
		return Always
	}
	return Never
}

// patterns are for judging a pattern with its constants filled in.
var patterns = sync.Pool{New: func() any { return new(Pattern) }}

func (t *Test) judgeFilled(p *Pattern, open bool) Verdict {
	f := patterns.Get().(*Pattern)
	defer patterns.Put(f)
	f.Text, f.Holes = f.Text[:0], f.Holes[:0]
	rest := p.Text
	for i := range p.Holes {
		at := bytes.IndexByte(rest, HoleMark)
		f.Text = append(f.Text, rest[:at]...)
		rest = rest[at+1:]
		switch h := &p.Holes[i]; {
		case !h.Fixed:
			f.Text = append(f.Text, HoleMark)
			f.Holes = append(f.Holes, *h)
		case open && bytes.IndexByte([]byte(h.Const), HoleMark) >= 0:
			return Maybe // it would look like a hole
		default:
			f.Text = append(f.Text, h.Const...)
		}
	}
	f.Text = append(f.Text, rest...)
	if !open {
		return certain(t.p.test(f.Text))
	}
	return t.p.judge(f)
}

// meets tells whether the sets have a byte in common.
func (s *CharSet) meets(o *CharSet) bool {
	return s[0]&o[0]|s[1]&o[1]|s[2]&o[2]|s[3]&o[3] != 0
}

// holds tells whether all of o's bytes are in s.
func (s *CharSet) holds(o *CharSet) bool {
	return o[0]&^s[0]|o[1]&^s[1]|o[2]&^s[2]|o[3]&^s[3] == 0
}

// high tells whether the set has a byte outside ASCII.
func (s *CharSet) high() bool { return s[2]|s[3] != 0 }

func setOf(text string) (s CharSet) {
	for i := range len(text) {
		s.Add(text[i])
	}
	return s
}

func (anyValue) judge(*Pattern) Verdict { return Always }

func (p anyOf) judge(v *Pattern) Verdict {
	best := Never
	for _, k := range p {
		if best = max(best, k.judge(v)); best == Always {
			break
		}
	}
	return best
}

// contains is a literal that is somewhere in the value.
type contains struct {
	f *finder

	// For judge: the literal's bytes; those it has in any case; whether it has the mark's byte.
	own, all CharSet
	mark     bool
	lazyPath
}

func newContains(lit string, fold bool) *contains {
	c := &contains{f: newFinder(lit, fold)}
	for _, b := range c.f.text {
		c.own.Add(b)
		c.mark = c.mark || b == HoleMark
	}
	c.all = c.own
	for _, r := range c.f.runes {
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			s := setOf(string(o))
			c.all.Union(&s)
		}
	}
	return c
}

func (c *contains) test(v []byte) bool { return c.f.in(v) }

func (c *contains) judge(p *Pattern) Verdict {
	// A rune is found in a part of a text just as in the whole, as no other can begin inside it: so the literal is in the
	// text wherever it is in the text's fixed parts, and a part ends at a mark, which the literal does not have.
	if !c.mark && c.f.in(p.Text) {
		return Always
	}
	// Elsewhere it needs some byte of a hole, unless a hole can be empty and join what stands beside it.
	var reach CharSet
	joins, touches := false, false
	for i := range p.Holes {
		h := &p.Holes[i]
		if h.Min == 0 {
			joins = true
		}
		if h.Set.meets(&c.all) {
			if len(c.f.text) <= h.Max && h.Set.holds(&c.own) {
				return Maybe
			}
			touches = true
			reach.Union(&h.Set)
		}
	}
	if !joins && (!touches || !c.fixedPart(p.Text, &reach)) {
		return Never
	}
	return c.path(c.f, true).may(p)
}

// fixedPart tells whether the longest run of bytes that no hole can have (reach) is in the fixed text, as it must.
func (c *contains) fixedPart(text []byte, reach *CharSet) bool {
	return c.hasRun(text, c.fixedRun(reach))
}

// fixedRun returns the longest run of the literal's bytes that no hole can have. It is empty when that is not known.
func (c *contains) fixedRun(reach *CharSet) []byte {
	run, start := c.f.text[:0], 0
	if c.f.fold && !c.f.ascii {
		return run
	}
	for i, b := range c.f.text {
		if reach.Has(b) || c.f.fold && (b == 'k' || b == 's' || b >= 'a' && b <= 'z' && reach.Has(b-('a'-'A'))) {
			start = i + 1
		} else if i+1-start > len(run) {
			run = c.f.text[start : i+1]
		}
	}
	return run
}

// hasRun tells whether the fixed text may have such a run.
func (c *contains) hasRun(text, run []byte) bool {
	if !c.f.fold || len(run) == 0 {
		return bytes.Contains(text, run)
	}
	rare := marks(run, true, 0)
	at, more := indexASCII(text, run, true, &rare)
	return at >= 0 || more
}

// equals is a literal that is the whole value.
type equals struct {
	f *finder
	lazyPath
}

func newEquals(lit string, fold bool) *equals { return &equals{f: newFinder(lit, fold)} }

func (p *equals) test(v []byte) bool { return p.f.is(v) }

func (p *equals) judge(v *Pattern) Verdict {
	if !p.f.fold {
		least, most := v.lengths()
		if n := len(p.f.text); n < least || n > most {
			return Never
		}
	}
	return p.path(p.f, false).judge(v)
}

// lengths returns the least and the greatest length of a pattern's texts; all its holes are open.
func (p *Pattern) lengths() (least, most int) {
	n := len(p.Text) - len(p.Holes)
	least, most = n, n
	for i := range p.Holes {
		least += p.Holes[i].Min
		most = min(most+p.Holes[i].Max, 1<<40)
	}
	return least, most
}

// lazyPath is the path of a literal, made when it is first needed.
type lazyPath struct {
	once sync.Once
	made *path
}

func (l *lazyPath) path(f *finder, part bool) *path {
	l.once.Do(func() {
		runes := f.runes
		if runes == nil {
			runes = []rune(string(f.text))
		}
		if part {
			whole := make([]rune, 0, len(runes)+2)
			runes = append(append(append(whole, anyRun), runes...), anyRun)
		}
		l.made = newPath(runes, f.fold)
	})
	return l.made
}

func (g *glob) judge(p *Pattern) Verdict {
	g.once.Do(func() { g.made = newPath(g.items, g.fold) })
	return g.made.judge(p)
}

// path is a literal or glob as a chain of states, one for each place in it, of which a word holds a set. It works on
// bytes: where a character has several forms, or may be any, what it takes is too much (see sure).
type path struct {
	// From a set of states d, the byte c leads to (d<<1)&next[c] | d&stay[c].
	next, stay [256]uint64
	star       uint64 // states that stay whatever comes: all that stays for certain
	fuzzy      uint64 // states that are entered too easily by a byte outside ASCII
	final      uint64
	cut        bool // it was too long: final says only that its beginning was there
	classes    []pathClass
}

// pathClass is bytes that a path takes alike.
type pathClass struct {
	set              CharSet
	next, stay, sure uint64
}

func newPath(items []rune, fold bool) *path {
	p := &path{final: 1}
	advance := func() bool {
		if p.final == 1<<63 {
			p.star |= p.final
			p.cut = true
			return false
		}
		p.final <<= 1
		return true
	}
build:
	for _, r := range items {
		switch {
		case r == anyRun:
			p.star |= p.final
		case r == anyRune:
			if !advance() {
				break build
			}
			p.fuzzy |= p.final
			for c := range p.next {
				if p.next[c] |= p.final; c >= utf8.RuneSelf {
					p.stay[c] |= p.final
				}
			}
		case fold && unicode.SimpleFold(r) != r:
			if !advance() {
				break build
			}
			for o := unicode.SimpleFold(r); ; o = unicode.SimpleFold(o) {
				if o < utf8.RuneSelf {
					p.next[o] |= p.final
				} else {
					p.fuzzy |= p.final
					for _, c := range []byte(string(o)) {
						p.next[c] |= p.final
						p.stay[c] |= p.final
					}
				}
				if o == r {
					break
				}
			}
		default:
			for _, c := range []byte(string(r)) {
				if !advance() {
					break build
				}
				p.next[c] |= p.final
			}
		}
	}
	for c := range p.next {
		p.stay[c] |= p.star
		k := pathClass{next: p.next[c], stay: p.stay[c], sure: p.sure(byte(c))}
		found := false
		for i := range p.classes {
			o := &p.classes[i]
			if found = o.next == k.next && o.stay == k.stay && o.sure == k.sure; found {
				o.set.Add(byte(c))
				break
			}
		}
		if !found {
			k.set.Add(byte(c))
			p.classes = append(p.classes, k)
		}
	}
	return p
}

// sure returns the states that c enters for certain.
func (p *path) sure(c byte) uint64 {
	if c < utf8.RuneSelf {
		return p.next[c]
	}
	return p.next[c] &^ p.fuzzy
}

// step is what the bytes of a hole do to a set of states, together.
type step struct {
	next, stay uint64
}

func (s step) times(d uint64, h *Hole, join func(all, d uint64) uint64) uint64 {
	all, joined := d, h.Min == 0
	for k := 1; k <= h.Max; k++ {
		last := d
		d = d<<1&s.next | d&s.stay
		if k >= h.Min {
			if !joined {
				all, joined = d, true
			} else {
				all = join(all, d)
			}
		}
		if d == last { // and so on
			if !joined {
				all = d
			}
			break
		}
	}
	return all
}

// mayStep is what any byte of the set can do, sureStep what all of them do.
func (p *path) mayStep(set *CharSet) (s step) {
	for i := range p.classes {
		if c := &p.classes[i]; set.meets(&c.set) {
			s.next |= c.next
			s.stay |= c.stay
		}
	}
	return s
}

func (p *path) sureStep(set *CharSet) step {
	s := step{^uint64(0), p.star}
	for i := range p.classes {
		if c := &p.classes[i]; set.meets(&c.set) {
			s.next &= c.sure
		}
	}
	return s
}

func either(a, b uint64) uint64 { return a | b }

func both(a, b uint64) uint64 { return a & b }

// may returns Maybe when some text of the pattern's form may be one of the path's, else Never.
func (p *path) may(v *Pattern) Verdict {
	d, hole := uint64(1), 0
	done := p.final & p.star // reached for good
	var s step
	var set *CharSet
	for _, c := range v.Text {
		if c != HoleMark {
			d = d<<1&p.next[c] | d&p.stay[c]
			continue
		}
		h := &v.Holes[hole]
		hole++
		if set == nil || *set != h.Set {
			set = &h.Set
			s = p.mayStep(set)
		}
		if d = s.times(d, h, either); d == 0 {
			return Never
		}
		if d&done != 0 {
			return Maybe
		}
	}
	if d&p.final == 0 {
		return Never
	}
	return Maybe
}

func (p *path) judge(v *Pattern) Verdict {
	if p.may(v) == Never {
		return Never
	}
	if p.cut {
		return Maybe
	}
	d, hole := uint64(1), 0
	for _, c := range v.Text {
		if c != HoleMark {
			d = d<<1&p.sure(c) | d&p.star
			continue
		}
		h := &v.Holes[hole]
		hole++
		d = p.sureStep(&h.Set).times(d, h, both)
	}
	if d&p.final == 0 {
		return Maybe
	}
	return Always
}

// Values of a kind: without reading them, what bytes they can have.

// form is what is known of the values of a kind.
type form struct {
	first, set CharSet // of the first byte, and of all
	most       int     // length in bytes
}

const (
	digits       = "0123456789"
	numberBytes  = digits + ".-+eE"
	letters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	addressBytes = digits + "abcdefABCDEF.:"
)

var (
	plainForm    = form{setOf(digits + "-"), setOf(numberBytes), 1 << 30}
	durationForm = form{setOf(digits + "-"), setOf(numberBytes + "nsuµμmhd"), 1 << 30}
	sizeForm     = form{setOf(digits + "-"), setOf(numberBytes + "kKMGTiB"), 1 << 30}
	levelForm    = form{setOf(letters), setOf(letters), 13}
)

// may tells whether some text of the pattern's may be of the form.
func (f *form) may(p *Pattern) bool {
	if least, _ := p.lengths(); least > f.most {
		return false
	}
	hole, first := 0, true
	for _, c := range p.Text {
		set := &f.set
		if first {
			set = &f.first
		}
		if c != HoleMark {
			if !set.Has(c) {
				return false
			}
			first = false
			continue
		}
		h := &p.Holes[hole]
		hole++
		if h.Min > 0 {
			if !set.meets(&h.Set) || !f.set.meets(&h.Set) {
				return false
			}
			first = false
		} else if h.Set.meets(&f.set) {
			first = false // perhaps
		}
	}
	return true
}

// form returns what values can be compared with the limit.
func (l *limit) form() *form {
	switch {
	case l.isLevel:
		return &levelForm
	case l.q.dim == duration:
		return &durationForm
	case l.q.dim == size:
		return &sizeForm
	}
	return &plainForm
}

func (p *ordered) judge(v *Pattern) Verdict { return p.lim.judge(v, p.unit) }

func (p *within) judge(v *Pattern) Verdict { return p.lo.judge(v, p.unit) }

// judge decides whether a value can be compared with the limit.
func (l *limit) judge(v *Pattern, u unit) Verdict {
	f := l.form()
	if f == &plainForm { // a value with a unit compares with it where the field gives a unit
		switch u.dim {
		case duration:
			f = &durationForm
		case size:
			f = &sizeForm
		}
	}
	if !f.may(v) {
		return Never
	}
	return Maybe
}

func (p *sameQuantity) judge(v *Pattern) Verdict {
	if verdict := p.text.judge(v); verdict != Never {
		return verdict
	}
	return (&limit{q: p.q}).judge(v, p.unit)
}

func (p inNetwork) judge(v *Pattern) Verdict {
	if least, most := v.lengths(); least > 64 || most < 2 {
		return Never
	}
	set, hole, dot := setOf(addressBytes), 0, false
	for _, c := range v.Text {
		if c != HoleMark {
			if c == '%' {
				return Maybe // a zone, in which there may be anything
			}
			if !set.Has(c) {
				return Never
			}
			dot = dot || c == '.' || c == ':'
			continue
		}
		h := &v.Holes[hole]
		hole++
		if h.Set.Has('%') {
			return Maybe
		}
		if h.Min > 0 && !h.Set.meets(&set) {
			return Never
		}
		dot = dot || h.Set.Has('.') || h.Set.Has(':')
	}
	if !dot {
		return Never
	}
	return Maybe
}
