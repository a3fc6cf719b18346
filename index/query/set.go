package query

import (
	"encoding/binary"
	"slices"

	"github.com/lookoutlog/lookout/internal/event"
)

// Set holds an event against many queries at the cost of a few: what level, service and the like decide is decided once for each
// source, and one scan of the texts finds the literals of all queries, so that only those are asked that have one of theirs. It
// is not safe for concurrent use.
type Set struct {
	queries []*Query
	named   [4]bool // env, host, container, stream: some query names it
	scan    scanner

	sources map[string]*source
	last    *source // that of lastKey
	lastKey []byte
	key     []byte
	found   []uint64 // the literals of the event at hand, bit by bit
}

// source is what is known of events with the same level, service, env, host, container and stream.
type source struct {
	queries []candidate // in order; those that cannot match are left out
	open    bool        // some of them are asked whatever the texts hold
	scans   bool        // some of them are asked only if a literal is found
}

type candidate struct {
	query  int
	always bool
	need   []int // literals one of which is in every event of the source that matches; none are known when it is empty
}

// maxSources is how many sources are remembered.
const maxSources = 4096

// NewSet returns a set of the queries; a nil one matches nothing.
func NewSet(queries []*Query) *Set {
	s := &Set{queries: queries, sources: map[string]*source{}}
	for i, name := range [...]string{nameEnv, nameHost, nameContainer, nameStream} {
		s.named[i] = slices.ContainsFunc(queries, func(q *Query) bool { return q != nil && q.Names(name) })
	}
	for _, q := range queries {
		if q != nil {
			s.collect(q.root)
		}
	}
	s.scan.build()
	s.found = make([]uint64, (len(s.scan.literals)+63)/64)
	return s
}

// Match appends to dst the indices of the queries that the event satisfies, in order. It keeps no reference to e.
func (s *Set) Match(dst []int, e *event.Event) []int {
	from := s.source(e)
	found := false
	if from.scans {
		found = s.look(e)
	}
	if !found && !from.open {
		return dst
	}
	for i := range from.queries {
		switch c := &from.queries[i]; {
		case c.always, (len(c.need) == 0 || found && s.has(c.need)) && s.queries[c.query].match.match(e):
			dst = append(dst, c.query)
		}
	}
	return dst
}

// has tells whether one of the literals was found.
func (s *Set) has(literals []int) bool {
	for _, l := range literals {
		if s.found[l>>6]&(1<<(l&63)) != 0 {
			return true
		}
	}
	return false
}

// look finds the literals in an event's message and fields.
func (s *Set) look(e *event.Event) bool {
	clear(s.found)
	any := s.scan.find(e.Message, s.found)
	for i := range e.Fields {
		any = s.scan.find(e.Fields[i].Value, s.found) || any
	}
	return any
}

// source returns what is known of events with e's level, service and the like.
func (s *Set) source(e *event.Event) *source {
	key := append(s.key[:0], byte(e.Level))
	key = appendPart(key, e.Service)
	for i, v := range [...][]byte{e.Env, e.Host, e.Container, e.Stream} {
		if s.named[i] {
			key = appendPart(key, v)
		}
	}
	s.key = key
	if s.last != nil && string(key) == string(s.lastKey) {
		return s.last
	}
	known := s.sources[string(key)]
	if known == nil {
		if len(s.sources) >= maxSources {
			clear(s.sources)
		}
		known = s.decide(e)
		s.sources[string(key)] = known
	}
	s.last, s.lastKey = known, append(s.lastKey[:0], key...)
	return known
}

func appendPart(dst, p []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(p))), p...)
}

// decide holds what is known of a source against all queries.
func (s *Set) decide(e *event.Event) *source {
	known := &source{}
	for i, q := range s.queries {
		if q == nil {
			continue
		}
		c := candidate{query: i}
		switch given(q.root, e) {
		case never:
			continue
		case always:
			c.always = true
		default:
			c.need = s.needed(q.root, e)
		}
		if len(c.need) == 0 {
			known.open = true
		} else {
			known.scans = true
		}
		known.queries = append(known.queries, c)
	}
	return known
}

// given tells what level, service, env, host, container and stream decide.
func given(n node, e *event.Event) verdict {
	return decide(n, func(n *fieldNode) verdict {
		switch n.name {
		case nameService, nameEnv, nameHost, nameContainer, nameStream, nameLevel:
			if new(compiler).compileField(n).match(e) {
				return always
			}
			return never
		}
		return maybe
	})
}

// collect takes up the literals that the queries' texts ask for.
func (s *Set) collect(n node) {
	switch n := n.(type) {
	case *andNode:
		for _, k := range n.kids {
			s.collect(k)
		}
	case *orNode:
		for _, k := range n.kids {
			s.collect(k)
		}
	default:
		for _, l := range literalsOf(n) {
			s.scan.add(l)
		}
	}
}

// needed returns literals one of which is in the texts of every event of e's source that satisfies n; none when they are not known.
func (s *Set) needed(n node, e *event.Event) (best []int) {
	switch n := n.(type) {
	case *andNode:
		for _, k := range n.kids {
			if need := s.needed(k, e); len(need) > 0 && (best == nil || s.rarer(need, best)) {
				best = need
			}
		}
		return best
	case *orNode:
		for _, k := range n.kids {
			if given(k, e) == never {
				continue
			}
			need := s.needed(k, e)
			if len(need) == 0 {
				return nil
			}
			best = append(best, need...)
		}
		return best
	}
	for _, l := range literalsOf(n) {
		best = append(best, s.scan.ids[l])
	}
	return best
}

// rarer guesses which of two lists of literals fewer events have one of: that whose shortest is longer.
func (s *Set) rarer(a, b []int) bool {
	shortest := func(list []int) int {
		n := maxLiteral
		for _, l := range list {
			n = min(n, len(s.scan.literals[l]))
		}
		return n
	}
	return shortest(a) > shortest(b)
}

// maxLiteral is how much of a literal is looked for, in bytes: more would hardly be rarer.
const maxLiteral = 16

// literalsOf returns literals, in lower case, one of which is in the message or a field's value of every event that satisfies a
// term, ASCII case apart; none when they are not known.
func literalsOf(n node) []string {
	var list []literal
	switch n := n.(type) {
	case *textNode:
		list = []literal{{n.lit, !hasUpper(n.lit)}}
	case *regexNode:
		list = n.rx.need
	case *fieldNode:
		if n.name != nameMessage && builtin(n.name) || n.op == opNe || n.op == opNotMatch {
			return nil
		}
		if n.rx != nil {
			list = n.rx.need
			break
		}
		if n.op.ordered() {
			return nil
		}
		for i := range n.vals {
			if n.vals[i].kind != vText {
				return nil
			}
			list = append(list, literal{n.vals[i].text, n.op == opHas && !hasUpper(n.vals[i].text)})
		}
	}
	var out []string
	for _, l := range list {
		needle := literalNeedle(l)
		if needle == nil {
			return nil
		}
		text := needle[0].Text
		out = append(out, inLowerCase(text[:min(len(text), maxLiteral)]))
	}
	return out
}

func inLowerCase(text []byte) string {
	low := slices.Clone(text)
	for i, c := range low {
		if c >= 'A' && c <= 'Z' {
			low[i] = c | 0x20
		}
	}
	return string(low)
}

// scanner finds many literals in one pass over a text, ASCII case apart (Aho and Corasick's automaton, with all its transitions written
// out).
type scanner struct {
	literals []string
	ids      map[string]int

	class   [256]uint8 // bytes that no literal has are all of class 0
	classes int
	next    []uint32 // state × class → state, with hit where literals end
	ends    [][]int  // by state: which
}

const hit = 1 << 31

func (s *scanner) add(literal string) {
	if s.ids == nil {
		s.ids = map[string]int{}
	}
	if _, known := s.ids[literal]; !known {
		s.ids[literal] = len(s.literals)
		s.literals = append(s.literals, literal)
	}
}

func (s *scanner) build() {
	s.classes = 1
	for _, l := range s.literals {
		for _, c := range []byte(l) {
			if s.class[c] == 0 {
				s.class[c] = uint8(s.classes)
				s.classes++
			}
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		s.class[c] = s.class[c|0x20]
	}
	// The trie first: 0 is its root, and no transition.
	s.next, s.ends = make([]uint32, s.classes), make([][]int, 1)
	for id, l := range s.literals {
		at := uint32(0)
		for _, c := range []byte(l) {
			to := &s.next[int(at)*s.classes+int(s.class[c])]
			if *to == 0 {
				*to = uint32(len(s.ends))
				at = *to
				s.next = append(s.next, make([]uint32, s.classes)...)
				s.ends = append(s.ends, nil)
			} else {
				at = *to
			}
		}
		s.ends[at] = append(s.ends[at], id)
	}
	// Then where to go on when a literal ends otherwise, level by level.
	fall := make([]uint32, len(s.ends))
	queue := []uint32{}
	for c := range s.classes {
		if to := s.next[c]; to != 0 {
			queue = append(queue, to)
		}
	}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		s.ends[at] = append(s.ends[at], s.ends[fall[at]]...)
		for c := range s.classes {
			to := &s.next[int(at)*s.classes+c]
			back := s.next[int(fall[at])*s.classes+c]
			if *to == 0 {
				*to = back
			} else {
				fall[*to] = back
				queue = append(queue, *to)
			}
		}
	}
	// States are where their transitions begin, so that a step is one addition and one look-up.
	for i, to := range s.next {
		s.next[i] = to * uint32(s.classes)
		if len(s.ends[to]) > 0 {
			s.next[i] |= hit
		}
	}
}

// find marks the literals that are in a text, and tells whether there is any.
func (s *scanner) find(text []byte, found []uint64) (any bool) {
	at := uint32(0)
	for _, c := range text {
		at = s.next[at+uint32(s.class[c])]
		if at&hit != 0 {
			at &^= hit
			any = true
			for _, id := range s.ends[at/uint32(s.classes)] {
				found[id>>6] |= 1 << (id & 63)
			}
		}
	}
	return any
}
