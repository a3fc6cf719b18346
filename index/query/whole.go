package query

import "slices"

// WholeToken tells whether every text of the pattern's form that satisfies the test has the test's literal as one of its
// tokens, neither more nor less; key is then that token's (see [AppendTokenKeys]), so that a block without the key has no such
// text. It is for forms that Judge says Maybe of: a request's id, asked for as a part of any text, is in the block whose
// filter has it, because no hole holds a longer token of which it could be a part.
func (t *Test) WholeToken(p *Pattern) (key uint64, ok bool) {
	c, ok := t.p.(*contains)
	if !ok || !isASCII(string(c.f.text)) {
		return 0, false
	}
	n := len(c.f.text)
	if end, class := tokenEnd(c.f.text, 0); end != n || !inFilter(n, class) {
		return 0, false
	}
	// Where tokens of the text begin and end is known when holes are tokens, and what stands beside them is none. The literal is
	// in none of the fixed ones, or Judge would say Always; a hole that has it has no room for more. A character outside ASCII
	// that folds to one of the literal's is longer than that.
	hole, beside := 0, false // the byte before is part of a token or hole
	after := false           // the byte before is a hole's
	for _, b := range p.Text {
		if b != HoleMark {
			if beside = byteClass[b] != 0; beside && after {
				return 0, false
			}
			after = false
			continue
		}
		if hole == len(p.Holes) {
			return 0, false
		}
		h := &p.Holes[hole]
		hole++
		if beside || after || h.Fixed || h.Min == 0 || h.Max > n || !tokenBytes.holds(&h.Set) {
			return 0, false
		}
		beside, after = true, true
	}
	return foldHash(c.f.text), hole == len(p.Holes)
}

// InToken tells whether the test asks for literals that are parts of tokens: a text satisfies it when one of its tokens does,
// and a text whose holes are tokens when its fixed text or one of the holes' values does.
func (t *Test) InToken() bool {
	part := func(f *finder) bool {
		end, _ := tokenEnd(f.text, 0)
		return end == len(f.text)
	}
	switch p := t.p.(type) {
	case *contains:
		return part(p.f)
	case *matchesRE:
		return p.re.whole && !slices.ContainsFunc(p.need, func(c *contains) bool { return !part(c.f) })
	}
	return false
}

// MayHold tells whether some value that a hole may have satisfies a test for parts of tokens (see InToken).
func (t *Test) MayHold(h *Hole) bool {
	switch p := t.p.(type) {
	case *contains:
		return p.mayBeIn(h)
	case *matchesRE:
		return slices.ContainsFunc(p.need, func(c *contains) bool { return c.mayBeIn(h) })
	}
	return true
}

func (c *contains) mayBeIn(h *Hole) bool {
	switch {
	case h.Fixed:
		return c.f.in([]byte(h.Const))
	case !c.f.fold:
		return h.Max >= len(c.f.text) && h.Set.holds(&c.own)
	case !c.f.ascii || h.Set.high(): // a character may have forms of other lengths
		return true
	case h.Max < len(c.f.text):
		return false
	}
	for _, b := range c.f.text {
		if !h.Set.Has(b) && (b < 'a' || b > 'z' || !h.Set.Has(b-('a'-'A'))) {
			return false
		}
	}
	return true
}

// Literal returns the bytes that a value must hold to satisfy a test for parts of tokens, as they are, when that is all there is
// to it: no other case, and no alternatives. Nil otherwise.
func (t *Test) Literal() []byte {
	var c *contains
	switch p := t.p.(type) {
	case *contains:
		c = p
	case *matchesRE:
		if p.re.whole && len(p.need) == 1 {
			c = p.need[0]
		}
	}
	if c == nil || c.f.fold {
		return nil
	}
	return c.f.text
}

// tokenBytes are the bytes that tokens are made of.
var tokenBytes = func() (s CharSet) {
	for b, class := range byteClass {
		if class != 0 {
			s.Add(byte(b))
		}
	}
	return s
}()
