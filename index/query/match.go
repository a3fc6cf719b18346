package query

import (
	"net/netip"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

// matcher decides on an event; pred on one value.
type (
	matcher interface{ match(e *event.Event) bool }
	pred    interface{ test(v []byte) bool }
)

type (
	matchAll  struct{}
	matchAnd  []matcher
	matchOr   []matcher
	matchNot  struct{ kid matcher }
	matchText struct{ p pred } // message and extra fields
	matchLit  struct{ f *finder }
	// matchField is an extra field.
	matchField struct {
		name string
		p    pred
		none bool // the field must be there, and no value satisfy p
	}
	matchBuiltin struct {
		get  func(e *event.Event) []byte
		p    pred
		none bool
	}
	matchMessage struct {
		p    pred
		none bool
	}
	// matchLevels is a set of levels, bit by bit.
	matchLevels uint16
)

func (matchAll) match(*event.Event) bool { return true }

func (m matchAnd) match(e *event.Event) bool {
	for _, k := range m {
		if !k.match(e) {
			return false
		}
	}
	return true
}

func (m matchOr) match(e *event.Event) bool {
	for _, k := range m {
		if k.match(e) {
			return true
		}
	}
	return false
}

func (m matchNot) match(e *event.Event) bool { return !m.kid.match(e) }

func (m matchText) match(e *event.Event) bool {
	if m.p.test(e.Message) {
		return true
	}
	for i := range e.Fields {
		if m.p.test(e.Fields[i].Value) {
			return true
		}
	}
	return false
}

func (m matchLit) match(e *event.Event) bool {
	if m.f.in(e.Message) {
		return true
	}
	for i := range e.Fields {
		if m.f.in(e.Fields[i].Value) {
			return true
		}
	}
	return false
}

func (m *matchField) match(e *event.Event) bool {
	there := false
	for i := range e.Fields {
		if string(e.Fields[i].Name) == m.name {
			there = true
			if m.p.test(e.Fields[i].Value) {
				return !m.none
			}
		}
	}
	return there && m.none
}

func (m *matchBuiltin) match(e *event.Event) bool {
	v := m.get(e)
	return len(v) > 0 && m.p.test(v) != m.none
}

func (m *matchMessage) match(e *event.Event) bool { return m.p.test(e.Message) != m.none }

func (m matchLevels) match(e *event.Event) bool { return m&(1<<e.Level) != 0 }

// Values.

type (
	anyValue  struct{}
	anyOf     []pred
	contains  struct{ f *finder }
	equals    struct{ f *finder }
	matchesRE struct {
		re   *regex
		need []*finder
	}
	ordered struct {
		op   op
		lim  limit
		unit unit
	}
	within struct {
		lo, hi limit
		unit   unit
	}
	sameQuantity struct {
		text *finder
		q    quantity
		unit unit
	}
	inNetwork struct{ prefix netip.Prefix }
)

func (anyValue) test([]byte) bool { return true }

func (p anyOf) test(v []byte) bool {
	for _, k := range p {
		if k.test(v) {
			return true
		}
	}
	return false
}

func (p contains) test(v []byte) bool { return p.f.in(v) }

func (p equals) test(v []byte) bool { return p.f.is(v) }

func (p *matchesRE) test(v []byte) bool {
	if len(p.need) > 0 {
		found := false
		for _, f := range p.need {
			if f.in(v) {
				found = true
				break
			}
		}
		if !found || p.re.whole {
			return found
		}
	}
	return p.re.re.Match(v)
}

func (p *ordered) test(v []byte) bool {
	c, ok := p.lim.compare(v, p.unit)
	return ok && p.op.holds(c)
}

func (p *within) test(v []byte) bool {
	c, ok := p.lo.compare(v, p.unit)
	if !ok || c < 0 {
		return false
	}
	c, ok = p.hi.compare(v, p.unit)
	return ok && c <= 0
}

func (p *sameQuantity) test(v []byte) bool {
	if p.text.is(v) {
		return true
	}
	q, ok := parseQuantity(v)
	if !ok {
		return false
	}
	c, ok := q.compare(&p.q, p.unit)
	return ok && c == 0
}

func (p inNetwork) test(v []byte) bool {
	a, ok := parseAddr(v)
	return ok && p.prefix.Contains(a)
}

// compile turns the tree into matchers.
func compile(n node) matcher {
	switch n := n.(type) {
	case *andNode:
		return matchAnd(compileKids(n.kids))
	case *orNode:
		return matchOr(compileKids(n.kids))
	case *notNode:
		return matchNot{compile(n.kid)}
	case *textNode:
		return matchLit{newFinder(n.lit, !hasUpper(n.lit))}
	case *regexNode:
		return matchText{compilePred(n.rx)}
	case *fieldNode:
		return compileField(n)
	}
	return matchAll{}
}

// compileKids puts what is cheap first: the order does not change the answer.
func compileKids(kids []node) []matcher {
	sorted := slices.Clone(kids)
	slices.SortStableFunc(sorted, func(a, b node) int { return cost(a) - cost(b) })
	out := make([]matcher, len(sorted))
	for i, k := range sorted {
		out[i] = compile(k)
	}
	return out
}

func cost(n node) int {
	c := 0
	switch n := n.(type) {
	case *andNode:
		for _, k := range n.kids {
			c = max(c, cost(k))
		}
	case *orNode:
		for _, k := range n.kids {
			c = max(c, cost(k))
		}
	case *notNode:
		return cost(n.kid)
	case *textNode:
		return 4
	case *regexNode:
		return 5
	case *fieldNode:
		switch {
		case n.name == nameLevel:
			return 0
		case n.name == nameMessage:
			c = 3
		case builtin(n.name):
			c = 1
		default:
			c = 2
		}
		if n.rx != nil {
			c += 2
		}
	}
	return c
}

func compilePred(rx *regex) pred {
	p := &matchesRE{re: rx}
	for _, l := range rx.need {
		p.need = append(p.need, newFinder(l.text, l.fold))
	}
	return p
}

func compileField(n *fieldNode) matcher {
	if n.name == nameLevel {
		return compileLevel(n)
	}
	none := n.op == opNe || n.op == opNotMatch
	p := fieldPred(n)
	switch n.name {
	case nameMessage:
		return &matchMessage{p, none}
	case nameService:
		return &matchBuiltin{func(e *event.Event) []byte { return e.Service }, p, none}
	case nameEnv:
		return &matchBuiltin{func(e *event.Event) []byte { return e.Env }, p, none}
	case nameHost:
		return &matchBuiltin{func(e *event.Event) []byte { return e.Host }, p, none}
	case nameContainer:
		return &matchBuiltin{func(e *event.Event) []byte { return e.Container }, p, none}
	case nameStream:
		return &matchBuiltin{func(e *event.Event) []byte { return e.Stream }, p, none}
	case nameID:
		return &matchBuiltin{idText, p, none}
	}
	return &matchField{n.name, p, none}
}

func idText(e *event.Event) []byte {
	if e.Seq == 0 {
		return nil
	}
	return strconv.AppendUint(nil, e.Seq, 10)
}

// fieldPred returns the predicate of a field's values; for != and !~ the one that must not hold.
func fieldPred(n *fieldNode) pred {
	u := fieldUnit(n.name)
	switch {
	case n.rx != nil:
		return compilePred(n.rx)
	case n.op.ordered():
		return &ordered{n.op, n.lim, u}
	}
	var ps anyOf
	for i := range n.vals {
		ps = append(ps, valuePred(n, &n.vals[i], u))
	}
	if len(ps) == 1 {
		return ps[0]
	}
	return ps
}

func valuePred(n *fieldNode, v *value, u unit) pred {
	fold := n.op == opHas && !hasUpper(v.text)
	switch v.kind {
	case vExists:
		return anyValue{}
	case vGlob:
		return newGlob(v.text, fold, n.name == nameMessage)
	case vRange:
		return &within{v.lo, v.hi, u}
	case vCIDR:
		return inNetwork{v.prefix}
	case vQuantity:
		q, _ := parseQuantity([]byte(v.text))
		return &sameQuantity{newFinder(v.text, fold), q, u}
	}
	f := newFinder(v.text, fold)
	if n.name == nameMessage && n.op == opHas {
		return contains{f}
	}
	return equals{f}
}

// compileLevel decides on each level in advance.
func compileLevel(n *fieldNode) matcher {
	none := n.op == opNe || n.op == opNotMatch
	set := matchLevels(0)
	for l := event.Emergency; l <= event.Debug; l++ {
		if levelHolds(n, l) != none {
			set |= 1 << l
		}
	}
	return set
}

func levelHolds(n *fieldNode, l event.Level) bool {
	if n.rx != nil || n.op.ordered() {
		return fieldPred(n).test([]byte(l.String()))
	}
	for i := range n.vals {
		v := &n.vals[i]
		if v.kind == vLevel && v.level == l || v.kind != vLevel && valuePred(n, v, unit{}).test([]byte(l.String())) {
			return true
		}
	}
	return false
}

// glob is a pattern with * (any text) and ? (one character, or one byte that is not UTF-8).
type glob struct {
	items []rune
	fold  bool
}

const (
	anyRun  rune = -2
	anyRune rune = -3
)

func newGlob(pattern string, fold, part bool) *glob {
	g := &glob{fold: fold}
	if part {
		g.items = append(g.items, anyRun)
	}
	for _, r := range pattern {
		switch {
		case r == '*':
			r = anyRun
		case r == '?':
			r = anyRune
		case fold:
			r = foldRune(r)
		}
		g.items = append(g.items, r)
	}
	if part {
		g.items = append(g.items, anyRun)
	}
	return g
}

func (g *glob) test(v []byte) bool {
	// The last * is widened when what follows it fails; an earlier one never has to be.
	i, star, from := 0, -1, 0
	for pos := 0; pos < len(v); {
		if i < len(g.items) && g.items[i] == anyRun {
			star, from = i, pos
			if i++; i == len(g.items) {
				return true
			}
			continue
		}
		r, n := g.decode(v[pos:])
		if i < len(g.items) && (g.items[i] == anyRune || g.items[i] == r) {
			i++
			pos += n
			continue
		}
		if star < 0 {
			return false
		}
		_, n = g.decode(v[from:])
		from += n
		i, pos = star+1, from
	}
	for i < len(g.items) && g.items[i] == anyRun {
		i++
	}
	return i == len(g.items)
}

func (g *glob) decode(p []byte) (rune, int) {
	if g.fold {
		return decodeFold(p)
	}
	if p[0] < utf8.RuneSelf {
		return rune(p[0]), 1
	}
	r, n := utf8.DecodeRune(p)
	if r == utf8.RuneError && n == 1 {
		r = invalid
	}
	return r, n
}
