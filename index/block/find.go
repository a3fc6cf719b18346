package block

import (
	"bytes"
	"slices"
	"sort"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
)

// A value that has to equal a text is looked for in the bits of a hole's column: to rebuild every value of a block, of which
// one or none is meant, costs twenty times as much.

// findWhole adds to found the rows of left that have the text that test asks for in a form of one hole with a column. The
// verdicts on those forms become Never. It returns the best verdict left.
func (s *selection) findWhole(test *query.Test, text []byte, fold bool, column int, c *textReader, verdicts []query.Verdict, left, found bitset.Set) (best query.Verdict, err error) {
	// To look at some values costs less than to look for one in all.
	few := left.Count() < c.n/32
	for id, v := range verdicts {
		if v == query.Maybe && id < c.count && !few {
			f, err := c.form(s.Table, id)
			if err != nil {
				return 0, err
			}
			if f.moulded() {
				known, err := s.findInForm(test, text, fold, column, c, id, f, left, found)
				if err != nil {
					return 0, err
				}
				if known {
					v, verdicts[id] = query.Never, query.Never
				}
			}
		}
		if id < c.count || c.rawCount > 0 {
			best = max(best, v)
		}
	}
	return best, nil
}

// findInForm adds to found the rows that have the text by a form; known is false when they cannot be found in this way.
func (s *selection) findInForm(test *query.Test, text []byte, fold bool, column int, c *textReader, id int, f *formRef, left, found bitset.Set) (known bool, err error) {
	m, err := c.mould(s.Table, f)
	before, behind, h := m.single()
	if err != nil || h == nil {
		return false, err
	}
	if fold && !(ascii(before) && ascii(behind)) {
		return false, nil // a character of another length may be equal
	}
	equal := bytes.Equal
	if fold {
		equal = bytes.EqualFold
	}
	n := len(text) - len(before) - len(behind)
	if h.kind != holeDict {
		if n < 0 || !equal(text[:len(before)], before) || !equal(text[len(text)-len(behind):], behind) {
			return true, nil
		}
		text = text[len(before) : len(before)+n]
	}
	var ranks []int
	switch h.kind {
	case holeDecimal:
		ranks = h.findDecimal(text)
	case holeChars:
		if ranks, known = h.findChars(text, fold); !known {
			return false, nil
		}
	case holeDict:
		ranks = h.findPlaces(func(v []byte) bool {
			s.buf = append(append(append(s.buf[:0], before...), v...), behind...)
			return test.Match(s.buf)
		})
	}
	if len(ranks) == 0 {
		return true, nil
	}
	return true, s.addRanks(column, c, id, ranks, left, found)
}

func ascii(p []byte) bool {
	return !slices.ContainsFunc(p, func(c byte) bool { return c >= 0x80 })
}

// addRanks adds to found the rows of left that have one of a form's values, which are in order.
func (s *selection) addRanks(column int, c *textReader, id int, ranks []int, left, found bitset.Set) error {
	ids, err := c.formIDs(s.Table)
	if err != nil {
		return err
	}
	var starts []uint32
	if column > 0 {
		if starts, err = s.starts(column - 1); err != nil {
			return err
		}
	}
	rank := 0
	for i, of := range ids {
		if int(of) != id {
			continue
		}
		if rank == ranks[0] {
			row := i
			if starts != nil {
				row = sort.Search(len(starts), func(row int) bool { return int(starts[row]) > i }) - 1
			}
			if left.Has(row) {
				found.Add(row)
			}
			if ranks = ranks[1:]; len(ranks) == 0 {
				return nil
			}
		}
		rank++
	}
	return corrupt("form %d has %d values", id, rank)
}

// findDecimal returns which values are the text behind the prefix.
func (h *hole) findDecimal(text []byte) (ranks []int) {
	if len(text) == 0 || len(text) > 19 || h.digits > 0 && len(text) != h.digits || h.digits == 0 && len(text) > 1 && text[0] == '0' {
		return nil
	}
	x := uint64(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return nil
		}
		x = 10*x + uint64(c-'0')
	}
	if x -= h.least; h.width < 64 && x>>h.width != 0 { // of one below the least, as well
		return nil
	}
	for i := range h.n {
		if bitsAt(h.data, uint64(i)*uint64(h.width), h.width) == x {
			ranks = append(ranks, i)
		}
	}
	return ranks
}

// findPlaces returns which values are among those of the dictionary that same is true of.
func (h *hole) findPlaces(same func(v []byte) bool) (ranks []int) {
	places := make([]bool, len(h.values))
	some := false
	for i, v := range h.values {
		places[i] = same(v)
		some = some || places[i]
	}
	if !some {
		return nil
	}
	for i := range h.n {
		if places[h.place(i)] {
			ranks = append(ranks, i)
		}
	}
	return ranks
}

// findChars returns which values are the text behind the prefix; known is false when the column does not tell without being
// written out.
func (h *hole) findChars(text []byte, fold bool) (ranks []int, known bool) {
	if h.width == 0 || h.abc == nil && fold {
		return nil, false
	}
	if len(text) < h.least8 || len(text) > h.most {
		return nil, true
	}
	// The text in the column's bits, a word at a time.
	per := int(64 / h.width)
	words := make([]uint64, 0, len(text)/per+1)
	for i := range text {
		code := int(text[i])
		if h.abc != nil {
			if code = bytes.IndexByte(h.abc, text[i]); fold {
				other := bytes.IndexByte(h.abc, otherCase(text[i]))
				if code >= 0 && other >= 0 && code != other {
					return nil, false
				}
				code = max(code, other)
			}
			if code < 0 {
				return nil, true
			}
		}
		if i%per == 0 {
			words = append(words, 0)
		}
		words[len(words)-1] |= uint64(code) << (uint(i%per) * h.width)
	}
	for i := range h.n {
		from := i * h.most
		if h.lenw > 0 {
			if from = int(h.starts[i]); int(h.starts[i+1])-from != len(text) {
				continue
			}
		}
		pos := uint64(h.n)*uint64(h.lenw) + uint64(from)*uint64(h.width)
		same := true
		for k := 0; k < len(words) && same; k++ {
			chars := uint(min(per, len(text)-k*per))
			same = bitsAt(h.data, pos, chars*h.width) == words[k]
			pos += uint64(chars) * uint64(h.width)
		}
		if same {
			ranks = append(ranks, i)
		}
	}
	return ranks, true
}

// otherCase returns an ASCII letter in its other case, any other byte as it is.
func otherCase(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z':
		return c - 'a' + 'A'
	case c >= 'A' && c <= 'Z':
		return c - 'A' + 'a'
	}
	return c
}
