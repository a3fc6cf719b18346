package block

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/index/query"
)

// A text's form is what is left of it when its variable tokens are taken out. A token is a run of [A-Za-z0-9_] and bytes
// above 0x7F; it is variable when it holds a digit, or is four bytes and more of only the letters a to f, or has a filter
// key for another reason, unless it is one of a few words (query.IsWord): so the keys of a text are those of its holes' values and of
// its form.

const (
	delimiter = 0
	plainByte = 1 << iota
	digitByte
	hexByte
	highByte // above 0x7F
)

var tokenClass = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= 0x80:
			t[i] = highByte | plainByte
		case c >= '0' && c <= '9':
			t[i] = digitByte
		case c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
			t[i] = hexByte
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_':
			t[i] = plainByte
		}
	}
	return t
}()

// span is a part of a text.
type span struct{ from, to uint32 }

const (
	maxPatternText = 32 << 10 // longer texts are kept raw
	maxHoles       = 256      // texts with more variable tokens as well
)

// minKey is the length of the shortest token that query.AppendTokenKeys has a key for.
const minKey = 5

// scanner finds a text's form and the values of its holes.
type scanner struct {
	form  []byte
	holes []span
	keys  []uint64
}

// scan returns false when the text must be kept raw.
func (s *scanner) scan(text []byte) bool {
	if len(text) > maxPatternText || bytes.IndexByte(text, query.HoleMark) >= 0 {
		return false
	}
	s.holes = s.holes[:0]
	s.form = slices.Grow(s.form[:0], len(text)+16) // a form is never longer than its text
	form := s.form[:cap(s.form)]
	done, n := 0, 0
	for i := 0; i < len(text); {
		class := tokenClass[text[i]]
		if class == delimiter {
			i++
			continue
		}
		start := i
		for i++; i < len(text); i++ {
			c := tokenClass[text[i]]
			if c == delimiter {
				break
			}
			class |= c
		}
		if class&digitByte == 0 {
			switch {
			case class == hexByte && i-start >= 4:
			case class&(highByte|hexByte) == highByte|hexByte && s.hasKey(text[start:i]):
			default:
				continue
			}
		}
		if query.IsWord(text[start:i]) {
			continue
		}
		if len(s.holes) == maxHoles {
			return false
		}
		n = put(form, n, text, done, start)
		form[n] = query.HoleMark
		n++
		s.holes = append(s.holes, span{uint32(start), uint32(i)})
		done = i
	}
	s.form = form[:put(form, n, text, done, len(text))]
	return true
}

// hasKey tells whether a token without digits has a filter key: one that mixes ASCII and other letters may.
func (s *scanner) hasKey(token []byte) bool {
	s.keys = query.AppendTokenKeys(s.keys[:0], token)
	return len(s.keys) > 0
}

// formTable numbers forms in order of appearance.
type formTable struct {
	slots []int32 // number + 1, 0 = free; a power of two
	forms []form
	text  []byte
}

type form struct {
	hash     uint64
	from, to int // in formTable.text
	holes    int
	values   int
}

func (t *formTable) reset() {
	clear(t.slots)
	t.forms, t.text = t.forms[:0], t.text[:0]
}

func (t *formTable) bytes(i int) []byte { return t.text[t.forms[i].from:t.forms[i].to] }

// number returns the number of a form, which it counts.
func (t *formTable) number(text []byte, holes int) int {
	if 2*len(t.forms) >= len(t.slots) {
		t.grow()
	}
	h := xxhash.Sum64(text)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		n := t.slots[i]
		if n == 0 {
			from := len(t.text)
			t.text = append(t.text, text...)
			t.forms = append(t.forms, form{hash: h, from: from, to: len(t.text), holes: holes, values: 1})
			t.slots[i] = int32(len(t.forms))
			return len(t.forms) - 1
		}
		f := &t.forms[n-1]
		if f.hash == h && f.to-f.from == len(text) && string(t.text[f.from:f.to]) == string(text) {
			f.values++
			return int(n - 1)
		}
	}
}

func (t *formTable) grow() {
	t.slots = make([]int32, max(256, 2*len(t.slots)))
	mask := uint64(len(t.slots) - 1)
	for n := range t.forms {
		i := t.forms[n].hash & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = int32(n + 1)
	}
}
