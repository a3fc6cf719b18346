package query

import (
	"encoding/binary"
	"regexp/syntax"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"
)

// A pattern's texts are judged by a regular expression in one walk of RE2's machine over the pattern: fixed bytes are
// stepped over as in any text, and a hole takes a set of places in the program to all those that some value of it can
// reach (for Never), or to those that every value of it reaches (for Always). The sets are the states of an automaton that
// is built as it is needed, so that judging many patterns costs a few look-ups for each byte.

const (
	// maxRuneSets bounds what is done to sort runes into classes: distinct sets of runes × intervals of runes.
	maxRuneSets = 1 << 21
	// An automaton may cost maxPatternWork for a pattern, in places visited, and maxWork for all of them with workBack
	// given back for each; further patterns are Maybe.
	maxPatternWork, maxWork, workBack = 1 << 19, 1 << 26, 1 << 9
	// maxPlaces bounds what an automaton keeps, in places of its states and steps between them; it starts anew then.
	maxPlaces = 1 << 20
	// exactTimes is the length of holes up to which their values' lengths count.
	exactTimes = 64
)

// kind is what the assertions of an expression ask of a character.
type kind uint8

const (
	other   kind = iota
	word         // [0-9A-Za-z_]
	newline      //
	edgeEnd      // no character: the text begins or ends here
	unknown      // a character that is not known
)

const kinds = 8 // a place in a state is pc × kinds + kind of the character before it

// machine is an expression's program and its classes of runes. It does not change.
type machine struct {
	prog   *syntax.Prog
	ascii  [utf8.RuneSelf]int32 // classes
	starts []rune               // of intervals of runes, ascending
	class  []int32              // of the intervals
	sample []rune               // a rune of each class
	kind   []kind               // of each class
	high   []int32              // the classes of runes outside ASCII, ascending
	begin  kind                 // at the beginning of a text
	blind  kind                 // where the character before is not known
}

// lazyMachine makes an expression's machine when it is first needed.
type lazyMachine struct {
	once sync.Once
	m    *machine  // nil when it would be too large
	pool sync.Pool // of *automaton
}

func (l *lazyMachine) machine(src string) *machine {
	l.once.Do(func() { l.m = newMachine(src) })
	return l.m
}

func (p *matchesRE) judge(v *Pattern) Verdict {
	if len(p.need) > 0 {
		best := Never
		for _, c := range p.need {
			if best = max(best, c.judge(v)); best == Always {
				break
			}
		}
		if best == Never || p.re.whole {
			return best
		}
	}
	m := p.machine(p.re.src)
	if m == nil {
		return Maybe
	}
	a, _ := p.pool.Get().(*automaton)
	if a == nil {
		a = newAutomaton(m)
	}
	verdict := a.judge(v)
	p.pool.Put(a)
	return verdict
}

func newMachine(src string) *machine {
	tree, err := syntax.Parse(src, regexFlags)
	if err != nil {
		return nil
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil
	}
	m := &machine{prog: prog}
	var asks syntax.EmptyOp
	var sets [][]rune
	seen := map[string]bool{}
	for i := range prog.Inst {
		in := &prog.Inst[i]
		switch in.Op {
		case syntax.InstEmptyWidth:
			asks |= syntax.EmptyOp(in.Arg)
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAnyNotNL:
			set := runeSet(in)
			if key := string(set); !seen[key] {
				seen[key] = true
				sets = append(sets, set)
			}
		}
	}
	words := asks&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
	lines := asks&(syntax.EmptyBeginLine|syntax.EmptyEndLine) != 0
	texts := asks&(syntax.EmptyBeginText|syntax.EmptyEndText) != 0
	// What no assertion asks for makes no difference.
	kindOf := func(r rune) kind {
		switch {
		case words && syntax.IsWordChar(r):
			return word
		case lines && r == '\n':
			return newline
		}
		return other
	}
	if m.begin = other; lines || texts {
		m.begin = edgeEnd
	}
	if m.blind = other; asks != 0 {
		m.blind = unknown
	}
	m.starts = []rune{0, '\n', '\n' + 1, '0', '9' + 1, 'A', 'Z' + 1, '_', '_' + 1, 'a', 'z' + 1, utf8.RuneSelf}
	for _, set := range sets {
		for i := 0; i < len(set); i += 2 {
			m.starts = append(m.starts, set[i], set[i+1]+1)
		}
	}
	slices.Sort(m.starts)
	m.starts = slices.Compact(m.starts)
	m.starts = slices.DeleteFunc(m.starts, func(r rune) bool { return r > unicode.MaxRune })
	if len(sets)*len(m.starts) > maxRuneSets {
		return nil
	}
	m.sort(sets, kindOf)
	return m
}

// runeSet returns what an instruction takes as pairs of least and greatest runes, ascending.
func runeSet(in *syntax.Inst) []rune {
	if in.Op == syntax.InstRuneAnyNotNL {
		return []rune{0, '\n' - 1, '\n' + 1, unicode.MaxRune}
	}
	if len(in.Rune) != 1 {
		return in.Rune
	}
	all := []rune{in.Rune[0]}
	if syntax.Flags(in.Arg)&syntax.FoldCase != 0 {
		for r := unicode.SimpleFold(all[0]); r != in.Rune[0]; r = unicode.SimpleFold(r) {
			all = append(all, r)
		}
	}
	slices.Sort(all)
	var set []rune
	for _, r := range all {
		set = append(set, r, r)
	}
	return set
}

// sort makes classes of the intervals that no set and no assertion tells apart.
func (m *machine) sort(sets [][]rune, kindOf func(rune) kind) {
	m.class = make([]int32, len(m.starts))
	for i, r := range m.starts {
		m.class[i] = int32(kindOf(r))
	}
	n := int32(newline + 1)
	for _, set := range sets {
		split := map[int32]int32{}
		i := 0
		for k := 0; k < len(set); k += 2 {
			for ; m.starts[i] < set[k]; i++ {
			}
			for ; i < len(m.starts) && m.starts[i] <= set[k+1]; i++ {
				to, ok := split[m.class[i]]
				if !ok {
					to = n
					n++
					split[m.class[i]] = to
				}
				m.class[i] = to
			}
		}
	}
	number := map[int32]int32{}
	for i, r := range m.starts {
		c, ok := number[m.class[i]]
		if !ok {
			c = int32(len(m.sample))
			number[m.class[i]] = c
			m.sample = append(m.sample, r)
			m.kind = append(m.kind, kindOf(r))
		}
		m.class[i] = c
		if r >= utf8.RuneSelf && !slices.Contains(m.high, c) {
			m.high = append(m.high, c)
		}
	}
	slices.Sort(m.high)
	for r := range m.ascii {
		m.ascii[r] = m.runeClass(rune(r))
	}
}

func (m *machine) runeClass(r rune) int32 {
	i, ok := slices.BinarySearch(m.starts, r)
	if !ok {
		i--
	}
	return m.class[i]
}

// asserted tells whether an assertion is true between characters of two kinds. Where the one before is not known, nothing
// is that asks for it.
func asserted(op syntax.EmptyOp, before, behind kind) bool {
	if op&(syntax.EmptyBeginLine|syntax.EmptyBeginText|syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0 && before == unknown {
		return false
	}
	return !(op&syntax.EmptyBeginLine != 0 && before != edgeEnd && before != newline ||
		op&syntax.EmptyBeginText != 0 && before != edgeEnd ||
		op&syntax.EmptyEndLine != 0 && behind != edgeEnd && behind != newline ||
		op&syntax.EmptyEndText != 0 && behind != edgeEnd ||
		op&syntax.EmptyWordBoundary != 0 && (before == word) == (behind == word) ||
		op&syntax.EmptyNoWordBoundary != 0 && (before == word) != (behind == word))
}

// automaton is what has been built of a machine's automaton. One goroutine uses it at a time.
type automaton struct {
	m      *machine
	states []state
	byKey  map[string]int32
	key    []byte

	// The states at the beginning of a text, and where nothing is known of what came before.
	begin, blind int32

	holes  map[holeKey]int32
	spans  []span
	across map[uint64]int32 // where a span leads from a state: state, span, and whether for certain

	work   int // for the pattern
	total  int // for all
	places int // kept

	// For steps: the places to go on from, and those that have been there.
	stack  []uint32
	been   []uint32
	outs   []uint32
	taken  []uint32
	round  uint32
	united []uint32
}

type state struct {
	places []uint32 // ascending
	next   []int32  // by class, unset when not known yet
	end    int32    // whether the text may end here: matched or dead
}

// Numbers of states.
const (
	unset   int32 = iota
	matched       // an accepting place was reached: nothing that follows matters
)

type holeKey struct {
	set      CharSet
	min, max int
}

// span is what an automaton knows of holes: the classes of their characters, and how many these are.
type span struct {
	classes  []int32
	min, max int // max is more than exactTimes when there is no bound
	high     bool
}

func newAutomaton(m *machine) *automaton {
	n := len(m.prog.Inst)
	a := &automaton{m: m, been: make([]uint32, n*kinds), taken: make([]uint32, n)}
	a.reset()
	return a
}

func (a *automaton) reset() {
	a.states = append(a.states[:0], state{}, state{})
	a.byKey = map[string]int32{}
	a.holes = map[holeKey]int32{}
	a.spans = a.spans[:0]
	a.across = map[uint64]int32{}
	a.places = 0
	a.begin, a.blind = a.start(a.m.begin), a.start(a.m.blind)
}

// start returns the state in which a match may begin.
func (a *automaton) start(before kind) int32 {
	a.clear()
	if a.enter(uint32(a.m.prog.Start)) {
		return matched
	}
	return a.gather(before)
}

func (a *automaton) intern(places []uint32) int32 {
	a.key = a.key[:0]
	for _, p := range places {
		a.key = binary.LittleEndian.AppendUint32(a.key, p)
	}
	if s, ok := a.byKey[string(a.key)]; ok {
		return s
	}
	s := int32(len(a.states))
	a.states = append(a.states, state{places: slices.Clone(places), next: make([]int32, len(a.m.sample))})
	a.byKey[string(a.key)] = s
	a.places += 3*len(places) + len(a.m.sample) + 32
	a.work += len(places) + len(a.m.sample)/4
	return s
}

// judge decides on a pattern.
func (a *automaton) judge(p *Pattern) Verdict {
	if a.total = max(a.total-workBack, 0); a.total > maxWork {
		return Maybe
	}
	if a.places > maxPlaces {
		a.reset()
	}
	a.work = 0
	verdict := Never
	if a.walk(p, false) {
		if verdict = Maybe; a.walk(p, true) {
			verdict = Always
		}
	}
	a.total += a.work
	if a.work > maxPatternWork {
		return Maybe
	}
	return verdict
}

// walk tells whether some text of the pattern's matches, or with sure, whether all of them do for certain. It gives up when
// there has been too much work.
func (a *automaton) walk(p *Pattern, sure bool) bool {
	s, hole := a.begin, 0
	text := p.Text
	for i := 0; i < len(text) && s != matched; {
		c := text[i]
		switch {
		case c == HoleMark:
			s = a.cross(s, a.hole(&p.Holes[hole]), sure)
			hole++
			i++
		case c < utf8.RuneSelf:
			i++
			class := a.m.ascii[c]
			if next := a.states[s].next[class]; next != unset {
				s = next
			} else {
				s = a.step(s, class)
			}
		default:
			end := i + 1
			for end < len(text) && text[end] >= utf8.RuneSelf {
				end++
			}
			// Beside a hole, parts of characters may join with what is in it.
			if i > 0 && text[i-1] == HoleMark && p.Holes[hole-1].joins() || end < len(text) && text[end] == HoleMark && p.Holes[hole].joins() {
				s = a.cross(s, a.hole(&Hole{Set: CharSet{2: 1}, Max: end - i}), sure)
				i = end
				break
			}
			for i < end && s != matched {
				r, n := utf8.DecodeRune(text[i:end])
				i += n
				s = a.step(s, a.m.runeClass(r))
			}
		}
		if a.work > maxPatternWork {
			return false
		}
	}
	return s == matched || a.end(s)
}

// joins tells whether a byte outside ASCII beside the hole may become a character with what is behind its border.
func (h *Hole) joins() bool { return h.Min == 0 || h.Set.high() }

// hole returns the span of a hole.
func (a *automaton) hole(h *Hole) int32 {
	k := holeKey{h.Set, h.Min, h.Max}
	if id, ok := a.holes[k]; ok {
		return id
	}
	sp := span{min: min(h.Min, exactTimes), max: min(h.Max, exactTimes+1)}
	for c := range a.m.ascii {
		if h.Set.Has(byte(c)) && !slices.Contains(sp.classes, a.m.ascii[c]) {
			sp.classes = append(sp.classes, a.m.ascii[c])
		}
	}
	if h.Set.high() {
		// The bytes may be a part of a character, of which the rest is beside the hole.
		sp.high, sp.min = true, 0
		for _, c := range a.m.high {
			if !slices.Contains(sp.classes, c) {
				sp.classes = append(sp.classes, c)
			}
		}
	}
	slices.Sort(sp.classes)
	id := slices.IndexFunc(a.spans, func(o span) bool {
		return o.min == sp.min && o.max == sp.max && o.high == sp.high && slices.Equal(o.classes, sp.classes)
	})
	if id < 0 {
		id = len(a.spans)
		a.spans = append(a.spans, sp)
	}
	a.holes[k] = int32(id)
	a.places += 32
	return int32(id)
}

// cross returns where a span leads from a state: to the places that some of its values reach, or all of them.
func (a *automaton) cross(s, span int32, sure bool) int32 {
	key := uint64(s)<<33 | uint64(span)<<1
	if sure {
		key |= 1
	}
	if to, ok := a.across[key]; ok {
		return to
	}
	to := a.reach(s, &a.spans[span], sure)
	if a.work <= maxPatternWork {
		a.across[key] = to
		a.places += 16
	}
	return to
}

func (a *automaton) reach(s int32, sp *span, sure bool) int32 {
	if sure && sp.high {
		return a.blind
	}
	all, cur, joined := s, s, sp.min == 0
	for k := 1; k <= sp.max; k++ {
		last := cur
		cur = a.stepAny(cur, sp.classes, sure)
		if a.work > maxPatternWork {
			return a.blind
		}
		if cur == matched && !sure {
			return matched
		}
		switch {
		case k < sp.min:
		case !joined:
			all, joined = cur, true
		default:
			all = a.join(all, cur, sure)
		}
		if cur == last { // and so on
			if !joined {
				all = cur
			}
			return all
		}
	}
	if sp.max <= exactTimes {
		return all
	}
	if sure {
		return a.join(all, a.blind, true)
	}
	for last := unset; all != last && all != matched && a.work <= maxPatternWork; {
		last = all
		all = a.join(all, a.stepAny(all, sp.classes, false), false)
	}
	return all
}

// stepAny returns where any of the classes can lead, or with sure, where all of them do.
func (a *automaton) stepAny(s int32, classes []int32, sure bool) int32 {
	if s == matched {
		return matched
	}
	out := unset
	for _, c := range classes {
		to := a.states[s].next[c]
		if to == unset {
			to = a.step(s, c)
		}
		if to == matched && !sure {
			return matched
		}
		if out == unset {
			out = to
		} else {
			out = a.join(out, to, sure)
		}
		if a.work > maxPatternWork {
			break
		}
	}
	if out == unset { // no value is longer
		return a.blind
	}
	return out
}

// join unites two states, or with sure, intersects them: where they know the character before as different, it is not
// known.
func (a *automaton) join(s, t int32, sure bool) int32 {
	switch {
	case s == t:
		return s
	case s == matched:
		if sure {
			return t
		}
		return matched
	case t == matched:
		return a.join(t, s, sure)
	}
	x, y := a.states[s].places, a.states[t].places
	out := a.united[:0]
	for len(x) > 0 && len(y) > 0 {
		p, q := x[0], y[0]
		switch {
		case sure && p/kinds == q/kinds:
			if p != q {
				p = p - p%kinds + uint32(unknown)
			}
			out = append(out, p)
			x, y = x[1:], y[1:]
			continue
		case !sure && p <= q:
			out = append(out, p)
		case !sure:
			out = append(out, q)
		}
		if p <= q {
			x = x[1:]
		}
		if q <= p {
			y = y[1:]
		}
	}
	if !sure {
		out = append(append(out, x...), y...)
	}
	a.united = out
	a.work += len(out)
	return a.intern(out)
}

// step returns where a character of the class leads, and where a match may begin behind it.
func (a *automaton) step(s, class int32) int32 {
	if to := a.states[s].next[class]; to != unset {
		return to
	}
	k := a.m.kind[class]
	to := matched
	if !a.follow(s, k, a.m.sample[class]) && !a.enter(uint32(a.m.prog.Start)) {
		to = a.gather(k)
	}
	a.states[s].next[class] = to
	return to
}

// end tells whether a match may end with the text.
func (a *automaton) end(s int32) bool {
	if a.states[s].end == unset {
		a.states[s].end = -1
		if a.follow(s, edgeEnd, -1) {
			a.states[s].end = matched
		}
	}
	return a.states[s].end == matched
}

// clear makes outs empty, and forgets which places have been visited.
func (a *automaton) clear() {
	if a.round++; a.round == 0 { // it has been through all numbers
		clear(a.been)
		clear(a.taken)
		a.round = 1
	}
	a.outs = a.outs[:0]
}

// gather returns the state of the places in outs, with the kind of the character before them.
func (a *automaton) gather(before kind) int32 {
	slices.Sort(a.outs)
	for i := range a.outs {
		a.outs[i] = a.outs[i]*kinds + uint32(before)
	}
	return a.intern(a.outs)
}

// follow goes from a state's places through the assertions that hold before a character of the kind behind, and collects
// in outs where r leads from there. It returns true when a match ends.
func (a *automaton) follow(s int32, behind kind, r rune) bool {
	a.clear()
	a.stack = append(a.stack[:0], a.states[s].places...)
	for len(a.stack) > 0 {
		p := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.been[p] == a.round {
			continue
		}
		a.been[p] = a.round
		a.work++
		pc, before := p/kinds, p%kinds
		in := &a.m.prog.Inst[pc]
		take := false
		switch in.Op {
		case syntax.InstMatch:
			return true
		case syntax.InstAlt, syntax.InstAltMatch:
			a.stack = append(a.stack, in.Out*kinds+before, in.Arg*kinds+before)
		case syntax.InstCapture, syntax.InstNop:
			a.stack = append(a.stack, in.Out*kinds+before)
		case syntax.InstEmptyWidth:
			if asserted(syntax.EmptyOp(in.Arg), kind(before), behind) {
				a.stack = append(a.stack, in.Out*kinds+before)
			}
		case syntax.InstRuneAny:
			take = r >= 0
		case syntax.InstRuneAnyNotNL:
			take = r >= 0 && r != '\n'
		case syntax.InstRune, syntax.InstRune1:
			take = r >= 0 && in.MatchRune(r)
		}
		if take && a.enter(in.Out) {
			return true
		}
	}
	return false
}

// enter puts into outs what can be reached from pc without a character or an assertion. It returns true when that is a
// match.
func (a *automaton) enter(pc uint32) bool {
	base := len(a.stack)
	a.stack = append(a.stack, pc)
	for len(a.stack) > base {
		pc := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.taken[pc] == a.round {
			continue
		}
		a.taken[pc] = a.round
		a.work++
		switch in := &a.m.prog.Inst[pc]; in.Op {
		case syntax.InstMatch:
			return true
		case syntax.InstAlt, syntax.InstAltMatch:
			a.stack = append(a.stack, in.Out, in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			a.stack = append(a.stack, in.Out)
		default:
			a.outs = append(a.outs, pc)
		}
	}
	return false
}
