package query

import (
	"bytes"
	"hash/maphash"
	"math"
	"slices"
	"sync"
)

// Patterns are many patterns in little memory, laid out so that a test judges all of them in a walk or two over their texts
// (see [Test.JudgeAll]). The zero value is empty. It may be read by many when nothing is added any more. Its texts have 4 GiB
// at most, together.
type Patterns struct {
	text   []byte // of the patterns, one behind the other, with constants in their places
	list   []packed
	open   []openHole
	fixed  []fixedHole
	sets   []CharSet          // each once
	words  []byte             // the different words of text, each with a space behind it; nil when they were not collected
	number map[CharSet]uint32 // in sets, while patterns are added
}

// packed is one of the patterns: where it begins in the lists. It ends where the next one begins.
type packed struct {
	text, open, fixed uint32
	reach             uint32 // the set of all bytes of the open holes
	most              uint32 // the length of the longest value of one
	joins             bool   // an open hole may be empty
	marked            bool   // a constant holds a mark and there are open holes: it cannot be judged
}

// openHole is a hole that is not fixed.
type openHole struct {
	set, min, max uint32
}

// fixedHole is where the only value of a hole stands in the pattern's text.
type fixedHole struct {
	at, len uint32
}

// Add appends a pattern. It keeps nothing of p. The pattern has as many holes as marks, and an open hole's Min is not negative
// nor more than its Max; a length of more than 2 GiB, which no value has, becomes 2 GiB.
func (s *Patterns) Add(p *Pattern) {
	k := packed{text: uint32(len(s.text)), open: uint32(len(s.open)), fixed: uint32(len(s.fixed))}
	var reach CharSet
	marked := false
	rest := p.Text
	for i := range p.Holes {
		at := bytes.IndexByte(rest, HoleMark)
		s.text = append(s.text, rest[:at]...)
		rest = rest[at+1:]
		h := &p.Holes[i]
		if h.Fixed {
			s.fixed = append(s.fixed, fixedHole{uint32(len(s.text)) - k.text, uint32(len(h.Const))})
			s.text = append(s.text, h.Const...)
			marked = marked || bytes.IndexByte([]byte(h.Const), HoleMark) >= 0
			continue
		}
		o := openHole{s.set(&h.Set), uint32(min(h.Min, math.MaxInt32)), uint32(min(h.Max, math.MaxInt32))}
		s.text = append(s.text, HoleMark)
		s.open = append(s.open, o)
		reach.Union(&h.Set)
		k.most = max(k.most, o.max)
		k.joins = k.joins || o.min == 0
	}
	s.text = append(s.text, rest...)
	k.marked = marked && len(s.open) > int(k.open)
	k.reach = s.set(&reach)
	s.list = append(s.list, k)
}

// set returns the number of a set.
func (s *Patterns) set(c *CharSet) uint32 {
	if n := len(s.open); n > 0 && s.sets[s.open[n-1].set] == *c { // as in an address or a time
		return s.open[n-1].set
	}
	n, ok := s.number[*c]
	if !ok {
		if s.number == nil {
			s.number = map[CharSet]uint32{}
		}
		n = uint32(len(s.sets))
		s.number[*c] = n
		s.sets = append(s.sets, *c)
	}
	return n
}

// Clone returns the same patterns in no more memory than they need.
func (s *Patterns) Clone() Patterns {
	return Patterns{
		text: slices.Clone(s.text), list: slices.Clone(s.list), open: slices.Clone(s.open), fixed: slices.Clone(s.fixed), sets: slices.Clone(s.sets),
	}
}

// CollectWords collects the different words of the texts, so that what is in none of them is found out without a look at the
// texts: they repeat themselves. It is called when nothing is added any more.
func (s *Patterns) CollectWords() {
	w := wordSets.Get().(*wordSet)
	defer wordSets.Put(w)
	w.words, w.n = w.words[:0], 0
	clear(w.slots)
	for i := 0; i < len(s.text); i++ {
		end, _ := tokenEnd(s.text, i)
		if end > i {
			w.add(s.text[i:end])
		}
		i = end
	}
	s.words = append(make([]byte, 0, len(w.words)), w.words...)
}

// wordSet is a set of words with linear probing.
type wordSet struct {
	words []byte
	slots []wordSlot
	n     int
}

// wordSlot is empty when the word has no length.
type wordSlot struct{ hash, at, len uint32 }

var wordSets = sync.Pool{New: func() any { return &wordSet{slots: make([]wordSlot, 1<<12)} }}

var wordSeed = maphash.MakeSeed()

func (w *wordSet) add(word []byte) {
	mask, hash := uint32(len(w.slots)-1), uint32(maphash.Bytes(wordSeed, word))
	i := hash & mask
	for ; w.slots[i].len > 0; i = (i + 1) & mask {
		if k := &w.slots[i]; k.hash == hash && string(w.words[k.at:k.at+k.len]) == string(word) {
			return
		}
	}
	w.slots[i] = wordSlot{hash, uint32(len(w.words)), uint32(len(word))}
	w.words = append(append(w.words, word...), ' ')
	if w.n++; 2*w.n > len(w.slots) {
		old := w.slots
		w.slots = make([]wordSlot, 2*len(old))
		mask = uint32(len(w.slots) - 1)
		for _, k := range old {
			for i = k.hash & mask; w.slots[i].len > 0; i = (i + 1) & mask {
			}
			w.slots[i] = k
		}
	}
}

// Reset drops all patterns and keeps the memory.
func (s *Patterns) Reset() {
	s.text, s.list, s.open, s.fixed, s.sets = s.text[:0], s.list[:0], s.open[:0], s.fixed[:0], s.sets[:0]
	clear(s.number)
}

// MemSize returns how many bytes of memory the patterns of a clone take.
func (s *Patterns) MemSize() int64 {
	return int64(cap(s.text) + 24*cap(s.list) + 12*cap(s.open) + 8*cap(s.fixed) + 32*cap(s.sets) + cap(s.words))
}

// Len returns how many patterns there are.
func (s *Patterns) Len() int { return len(s.list) }

// filled returns the text of a pattern with its constants in their places, and its open holes.
func (s *Patterns) filled(i int) (text []byte, open []openHole) {
	k := &s.list[i]
	if i++; i < len(s.list) {
		return s.text[k.text:s.list[i].text], s.open[k.open:s.list[i].open]
	}
	return s.text[k.text:], s.open[k.open:]
}

// Pattern puts pattern i, as it was added, into p, in the memory that p has.
func (s *Patterns) Pattern(i int, p *Pattern) {
	text, open := s.filled(i)
	fixed := s.fixed[s.list[i].fixed:]
	if i++; i < len(s.list) {
		fixed = fixed[:s.list[i].fixed-s.list[i-1].fixed]
	}
	p.Text, p.Holes = p.Text[:0], p.Holes[:0]
	constants := ""
	if len(fixed) > 0 {
		constants = string(text)
	}
	at := 0 // in text
	for len(open)+len(fixed) > 0 {
		mark := len(text)
		if len(open) > 0 {
			end := len(text)
			if len(fixed) > 0 { // its constant may hold a mark
				end = int(fixed[0].at)
			}
			if k := bytes.IndexByte(text[at:end], HoleMark); k >= 0 {
				mark = at + k
			}
		}
		if len(fixed) > 0 && int(fixed[0].at) <= mark {
			from := int(fixed[0].at)
			to := from + int(fixed[0].len)
			p.Text = append(append(p.Text, text[at:from]...), HoleMark)
			p.Holes = append(p.Holes, Hole{Fixed: true, Const: constants[from:to]})
			at, fixed = to, fixed[1:]
			continue
		}
		p.Text = append(p.Text, text[at:mark+1]...)
		p.Holes = append(p.Holes, s.hole(open[0]))
		at, open = mark+1, open[1:]
	}
	p.Text = append(p.Text, text[at:]...)
}

func (s *Patterns) hole(o openHole) Hole {
	return Hole{Set: s.sets[o.set], Min: int(o.min), Max: int(o.max)}
}

// view puts pattern i into p as a judge takes it: the text is s's own, with the constants in it, and all holes are open.
func (s *Patterns) view(i int, p *Pattern) {
	text, open := s.filled(i)
	p.Text, p.Holes = text, p.Holes[:0]
	for _, o := range open {
		p.Holes = append(p.Holes, s.hole(o))
	}
}

// JudgeAll judges the patterns from number lo on, one for each verdict, as [Test.Judge] does. Beforehand a verdict is Maybe, or
// Never for a pattern that is to be passed over.
func (t *Test) JudgeAll(s *Patterns, lo int, verdicts []Verdict) {
	j := judges.Get().(*judge)
	defer judges.Put(j)
	j.s, j.lo = s, lo
	j.all(t.p, verdicts)
	j.s, j.view.Text = nil, nil
}

// WholeTokenOf is [Test.WholeToken] of pattern i.
func (t *Test) WholeTokenOf(s *Patterns, i int) (key uint64, ok bool) {
	if _, ok := t.p.(*contains); !ok || s.list[i].marked {
		return 0, false
	}
	j := judges.Get().(*judge)
	defer judges.Put(j)
	s.view(i, &j.view)
	key, ok = t.WholeToken(&j.view)
	j.view.Text = nil
	return key, ok
}

// judge judges some patterns.
type judge struct {
	s     *Patterns
	lo    int
	view  Pattern
	reach []reached // by set
	spare [][]Verdict
}

var judges = sync.Pool{New: func() any { return new(judge) }}

// reached is what a literal has in common with the bytes of holes.
type reached struct {
	meets, holds bool // some of its bytes are theirs; all of them are
	known        bool // what follows is
	run          []byte
}

func (j *judge) all(p pred, verdicts []Verdict) {
	switch p := p.(type) {
	case *contains:
		j.contains(p, verdicts)
	case anyOf:
		j.best(len(p), func(i int) pred { return p[i] }, verdicts)
	case *matchesRE:
		if len(p.need) > 0 {
			j.best(len(p.need), func(i int) pred { return p.need[i] }, verdicts)
			if p.re.whole {
				return
			}
		}
		j.each(p, verdicts)
	default:
		j.each(p, verdicts)
	}
}

// best takes the best verdict of several predicates.
func (j *judge) best(n int, of func(i int) pred, verdicts []Verdict) {
	if n == 1 {
		j.all(of(0), verdicts)
		return
	}
	var best, one []Verdict
	best, one = append(j.take(), verdicts...), append(j.take(), verdicts...)
	clear(best)
	for i := range n {
		copy(one, verdicts)
		for k, v := range best {
			if v == Always {
				one[k] = Never
			}
		}
		j.all(of(i), one)
		for k, v := range one {
			best[k] = max(best[k], v)
		}
	}
	copy(verdicts, best)
	j.spare = append(j.spare, best[:0], one[:0])
}

// take returns memory for verdicts.
func (j *judge) take() []Verdict {
	n := len(j.spare)
	if n == 0 {
		return nil
	}
	v := j.spare[n-1]
	j.spare = j.spare[:n-1]
	return v
}

// each judges one pattern after the other.
func (j *judge) each(p pred, verdicts []Verdict) {
	for i := range verdicts {
		if verdicts[i] != Never {
			verdicts[i] = j.one(p, j.lo+i)
		}
	}
}

func (j *judge) one(p pred, i int) Verdict {
	text, open := j.s.filled(i)
	switch {
	case len(open) == 0:
		return certain(p.test(text))
	case j.s.list[i].marked:
		return Maybe
	}
	j.s.view(i, &j.view)
	return p.judge(&j.view)
}

// contains is contains.judge for all patterns: the literal is looked for in all texts at once, and what it has in common with
// the bytes of holes is found out once for each set of them.
func (j *judge) contains(c *contains, verdicts []Verdict) {
	s := j.s
	if c.mark || len(verdicts) == 0 {
		j.each(c, verdicts)
		return
	}
	first := s.list[j.lo].text
	text := s.text[first:]
	if end := j.lo + len(verdicts); end < len(s.list) {
		text = text[:s.list[end].text-first]
	}
	words := text
	if s.words != nil {
		words = s.words // what folds to a letter is part of a word
	}
	if !c.f.searchable(words) {
		j.each(c, verdicts)
		return
	}
	if mayHold(s.words, c.f.text, c.f.fold) {
		j.find(c, text, first, verdicts)
	}
	j.reach = append(j.reach[:0], make([]reached, len(s.sets))...)
	for i := range s.sets {
		if r := &j.reach[i]; s.sets[i].meets(&c.all) {
			r.meets, r.holds = true, s.sets[i].holds(&c.own)
		}
	}
	for i, v := range verdicts {
		if v == Maybe { // it was not found
			verdicts[i] = j.inHoles(c, j.lo+i)
		}
	}
}

// find looks for the literal in the patterns' texts, of which the first begins at first.
func (j *judge) find(c *contains, text []byte, first uint32, verdicts []Verdict) {
	s, i := j.s, 0
	c.f.all(text, func(at int) (next int) {
		end := 0
		for ; ; i++ {
			if end = len(text); j.lo+i+1 < len(s.list) {
				end = int(s.list[j.lo+i+1].text - first)
			}
			if at < end {
				break
			}
		}
		if at+len(c.f.text) > end { // it goes on in the next one
			return at + 1
		}
		if verdicts[i] != Never {
			verdicts[i] = Always
		}
		return end
	})
}

// mayHold tells whether each word of the text is a part of one of the words; nil are any. With fold case does not count, and the
// text is ASCII.
func mayHold(words, text []byte, fold bool) bool {
	if words == nil {
		return true
	}
	for i := 0; i < len(text); i++ {
		end, _ := tokenEnd(text, i)
		if end == i {
			continue
		}
		word := finder{text: text[i:end], fold: fold, rare: marks(text[i:end], fold, 0)}
		found := false
		if word.all(words, func(int) int { found = true; return len(words) }); !found {
			return false
		}
		i = end
	}
	return true
}

// inHoles is the verdict on a pattern whose fixed text does not have the literal.
func (j *judge) inHoles(c *contains, i int) Verdict {
	k := &j.s.list[i]
	text, open := j.s.filled(i)
	r := &j.reach[k.reach]
	switch {
	case len(open) == 0:
		return Never
	case k.marked:
		return Maybe
	case !k.joins && !r.meets:
		return Never
	}
	if n := len(c.f.text); r.holds && n <= int(k.most) {
		for _, o := range open {
			if j.reach[o.set].holds && n <= int(o.max) {
				return Maybe
			}
		}
	}
	if !k.joins {
		if !r.known {
			r.known, r.run = true, c.fixedRun(&j.s.sets[k.reach])
		}
		if !c.hasRun(text, r.run) {
			return Never
		}
	}
	j.s.view(i, &j.view)
	return c.path(c.f, true).may(&j.view)
}
