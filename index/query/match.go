package query

import (
	"net/netip"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// matcher decides on an event, and, see select.go, on the rows of a table and on the facts of a block.
type matcher interface {
	match(e *event.Event) bool
	// narrow takes from rows those that do not match.
	narrow(t Table, rows bitset.Set, s *scratch) error
	// bounds returns how many rows match, at least and at most.
	bounds(f Facts) (least, most int)
}

// pred decides on one value.
type pred interface {
	test(v []byte) bool
	// judge decides on the values of a pattern that has holes, all of them open.
	judge(v *Pattern) Verdict
}

type (
	matchAll  struct{}
	matchAnd  []matcher
	matchOr   []matcher
	matchNot  struct{ kid matcher }
	matchText struct { // message and extra fields
		t *Test
		p pred
	}
	matchLit struct {
		t *Test
		f *finder
	}
	// matchField is an extra field.
	matchField struct {
		name string
		t    *Test
		none bool // the field must be there, and no value satisfy t
	}
	// matchService has no Test: a block's events are of one service.
	matchService struct {
		p    pred
		none bool
	}
	matchBuiltin struct {
		field Builtin
		t     *Test
		any   *Test // what is there, for none
		none  bool
	}
	matchID struct {
		t    *Test
		any  *Test
		none bool
	}
	matchMessage struct {
		t    *Test
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
			if m.t.p.test(e.Fields[i].Value) {
				return !m.none
			}
		}
	}
	return there && m.none
}

func (m *matchService) match(e *event.Event) bool { return m.holds(e.Service) }

func (m *matchService) holds(service []byte) bool {
	return len(service) > 0 && m.p.test(service) != m.none
}

func (m *matchBuiltin) match(e *event.Event) bool {
	v := m.field.of(e)
	return len(v) > 0 && m.t.p.test(v) != m.none
}

func (m *matchID) match(e *event.Event) bool {
	v := idText(e)
	return len(v) > 0 && m.t.p.test(v) != m.none
}

func (m *matchMessage) match(e *event.Event) bool { return m.t.p.test(e.Message) != m.none }

func (m matchLevels) match(e *event.Event) bool { return m&(1<<e.Level) != 0 }

// Values.

type (
	anyValue  struct{}
	anyOf     []pred
	matchesRE struct {
		re   *regex
		need []*contains
		lazyMachine
		lazyDFA lazyDFA
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
		text *equals
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

func (p *matchesRE) test(v []byte) bool {
	if len(p.need) > 0 {
		found := false
		for _, c := range p.need {
			if c.f.in(v) {
				found = true
				break
			}
		}
		if !found || p.re.whole {
			return found
		}
	}
	if m := p.machine(p.re.src); m != nil {
		d := p.lazyDFA.get(m)
		yes, ok := d.match(v)
		p.lazyDFA.pool.Put(d)
		if ok {
			return yes
		}
	}
	return p.re.re().Match(v)
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
	if p.text.f.is(v) {
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

// compiler turns the tree into matchers, and collects their tests.
type compiler struct {
	tests []*Test
	byKey map[string]*Test
}

func (c *compiler) compile(n node) matcher {
	switch n := n.(type) {
	case *andNode:
		return matchAnd(c.compileKids(n.kids))
	case *orNode:
		return matchOr(c.compileKids(n.kids))
	case *notNode:
		return matchNot{c.compile(n.kid)}
	case *textNode:
		t := c.literal(n.lit, !hasUpper(n.lit))
		t.onMessage, t.onAll = true, true
		return matchLit{t, t.p.(*contains).f}
	case *regexNode:
		t := c.regex(n.rx)
		t.onMessage, t.onAll = true, true
		return matchText{t, t.p}
	case *fieldNode:
		return c.compileField(n)
	}
	return matchAll{}
}

// compileKids puts what is cheap first, and of texts the longest, as the rarest: the order does not change the answer.
func (c *compiler) compileKids(kids []node) []matcher {
	sorted := slices.Clone(kids)
	slices.SortStableFunc(sorted, func(a, b node) int {
		if c := cost(a) - cost(b); c != 0 {
			return c
		}
		return textLen(b) - textLen(a)
	})
	out := make([]matcher, len(sorted))
	for i, k := range sorted {
		out[i] = c.compile(k)
	}
	return out
}

func textLen(n node) int {
	if t, ok := n.(*textNode); ok {
		return len(t.lit)
	}
	return 0
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
		p.need = append(p.need, newContains(l.text, l.fold))
	}
	return p
}

func (c *compiler) compileField(n *fieldNode) matcher {
	if n.name == nameLevel {
		return compileLevel(n)
	}
	none := n.op == opNe || n.op == opNotMatch
	if n.name == nameService {
		return &matchService{fieldPred(n), none}
	}
	t := c.field(n)
	switch n.name {
	case nameMessage:
		t.onMessage = true
		return &matchMessage{t, none}
	case nameEnv:
		return &matchBuiltin{Env, t, c.exists(none), none}
	case nameHost:
		return &matchBuiltin{Host, t, c.exists(none), none}
	case nameContainer:
		return &matchBuiltin{Container, t, c.exists(none), none}
	case nameStream:
		return &matchBuiltin{Stream, t, c.exists(none), none}
	case nameID:
		return &matchID{t, c.exists(none), none}
	}
	t.on = append(t.on, n.name)
	return &matchField{n.name, t, none}
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
		return &sameQuantity{newEquals(v.text, fold), q, u}
	}
	if n.name == nameMessage && n.op == opHas {
		return newContains(v.text, fold)
	}
	return newEquals(v.text, fold)
}

// compileLevel decides on each level in advance.
func compileLevel(n *fieldNode) matchLevels {
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
	lazyPath
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
