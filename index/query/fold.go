package query

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/rarebytes"
)

// Text is compared without case by Unicode's simple folding, as RE2 does: every rune is replaced by one representative
// of its orbit. Only two orbits that hold an ASCII letter hold anything else: k has the Kelvin sign, s the long s.
const (
	kelvin = "\u212A"
	longS  = "\u017F"
)

var lowerASCII = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] = byte(i) + 'a' - 'A'
		}
	}
	return t
}()

// foldRune returns the representative of r's orbit: an ASCII letter in lower case, else the smallest rune. It is the
// smallest because filters on disk hold hashes of folded texts: letters that a later Unicode adds have larger numbers.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		return rune(lowerASCII[r])
	}
	if r >= 0x2E80 && r <= 0xA63F || r >= 0xAC00 && r <= 0xD7FF || r >= 0x1F000 { // scripts without case, and pictures
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf {
		return rune(lowerASCII[least])
	}
	return least
}

// invalid stands for a byte that is not UTF-8 in a sequence of runes; such a byte equals no rune, U+FFFD included.
const invalid rune = -1

// decodeFold returns the first rune of p, folded, and its length.
func decodeFold(p []byte) (rune, int) {
	if p[0] < utf8.RuneSelf {
		return rune(lowerASCII[p[0]]), 1
	}
	r, n := utf8.DecodeRune(p)
	if r == utf8.RuneError && n == 1 {
		return invalid, 1
	}
	return foldRune(r), n
}

// appendFold appends p with every rune folded; bytes that are not UTF-8 stay.
func appendFold(dst, p []byte) []byte {
	for i := 0; i < len(p); {
		if c := p[i]; c < utf8.RuneSelf {
			dst = append(dst, lowerASCII[c])
			i++
			continue
		}
		r, n := decodeFold(p[i:])
		if r == invalid {
			dst = append(dst, p[i])
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		i += n
	}
	return dst
}

// hasUpper tells whether smart case makes s case-sensitive.
func hasUpper(s string) bool {
	for _, r := range s {
		if r < utf8.RuneSelf {
			if r >= 'A' && r <= 'Z' {
				return true
			}
		} else if unicode.IsUpper(r) || unicode.IsTitle(r) {
			return true
		}
	}
	return false
}

// hasCase tells whether folding can change s at all.
func hasCase(s string) bool {
	for _, r := range s {
		if unicode.SimpleFold(r) != r {
			return true
		}
	}
	return false
}

// lowerFold returns a text that smart case takes as insensitive and that equals s when folded; ok is false when there
// is none (İ is upper case and folds with nothing).
func lowerFold(s string) (low string, ok bool) {
	out := make([]byte, 0, len(s))
	for _, r := range s {
		if !unicode.IsUpper(r) && !unicode.IsTitle(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		found := false
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if !unicode.IsUpper(f) && !unicode.IsTitle(f) {
				out, found = utf8.AppendRune(out, f), true
				break
			}
		}
		if !found {
			return "", false
		}
	}
	return string(out), true
}

// isASCII tells whether s has no byte above 0x7F.
func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// commonBytes lists ASCII from the most to the least frequent byte in logs (the real lines of 17 systems).
const commonBytes = " 01eo.ta2risn5:c/3-ld467p8m9u\nhbg\"TfkMySwv[]_NxECR=,I()PFAWGOL;HDK+BzUJj|#*Xq@V&Q%$Z~?Y'<>!{}\\\t"

// rarity ranks bytes: the higher, the rarer in logs. The two cases of a letter count as one, as a search for a folded
// letter looks for both.
var rarity = func() (t [256]uint8) {
	for i := range t {
		t[i] = 200
	}
	for i := len(commonBytes) - 1; i >= 0; i-- {
		c := lowerASCII[commonBytes[i]]
		t[c] = uint8(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = t[lowerASCII[c]]
	}
	return t
}()

// marks returns the marks of a text, which is not empty: its bytes that are expected least often. Those of its first bytes that are common to
// many events are only taken when there are no others.
func marks(text []byte, fold bool, common int) rarebytes.Marks {
	rank := func(i int) int {
		if i < common {
			return int(rarity[text[i]]) - len(rarity)
		}
		return int(rarity[text[i]])
	}
	var places [3]int
	for k := range places {
		best := -1
		for i := range text {
			if !slices.Contains(places[:k], i) && (best < 0 || rank(i) > rank(best)) {
				best = i
			}
		}
		places[k] = max(best, 0) // a short text has fewer
	}
	return rarebytes.New(text, fold, places)
}

// equalFoldASCII compares two texts of equal length without ASCII case; all other bytes must be the same.
func equalFoldASCII(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && lowerASCII[c] != lowerASCII[b[i]] {
			return false
		}
	}
	return true
}

// boundless is the length of a text up to which indexASCII does not count what it compares.
const boundless = 64

// indexASCII returns the first index of text in data, with fold without ASCII case, or -1. rare are the text's [marks].
// more is false when the search was given up because it compared too much; at is then where to go on.
func indexASCII(data, text []byte, fold bool, rare *rarebytes.Marks) (at int, more bool) {
	n := len(text)
	if n == 0 {
		return 0, false
	}
	for i, work := 0, 0; ; i++ {
		j := rare.Index(data[i:])
		if j < 0 {
			return -1, false
		}
		i += j
		if fold && equalFoldASCII(data[i:i+n], text) || !fold && bytes.Equal(data[i:i+n], text) {
			return i, false
		}
		if n > boundless {
			if work += n; work > 8*len(data)+4096 {
				return i + 1, true
			}
		}
	}
}

// finder looks for a literal, with or without case.
type finder struct {
	text  []byte // folded when fold
	fold  bool
	ascii bool            // text is ASCII
	rare  rarebytes.Marks // of the text when fold
	k, s  bool            // text holds k, s: the Kelvin sign or the long s may stand for them
	runes []rune          // the text in folded runes
	fail  []int32         // Knuth, Morris and Pratt's table for runes
	// forms are the encodings of one rune outside ASCII in all its cases: data without any of them need not be walked.
	forms [][]byte
}

func newFinder(lit string, fold bool) *finder {
	if !fold || !hasCase(lit) {
		return &finder{text: []byte(lit)}
	}
	f := &finder{text: appendFold(nil, []byte(lit)), fold: true}
	f.ascii = isASCII(string(f.text))
	f.k = bytes.IndexByte(f.text, 'k') >= 0
	f.s = bytes.IndexByte(f.text, 's') >= 0
	f.rare = marks(f.text, true, 0)
	f.runes = []rune(string(f.text))
	if i := slices.IndexFunc(f.runes, func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
		first := f.runes[i]
		f.forms = [][]byte{[]byte(string(first))}
		for r := unicode.SimpleFold(first); r != first; r = unicode.SimpleFold(r) {
			f.forms = append(f.forms, []byte(string(r)))
		}
	}
	f.fail = make([]int32, len(f.runes))
	for i, k := 1, int32(0); i < len(f.runes); i++ {
		for k > 0 && f.runes[i] != f.runes[k] {
			k = f.fail[k-1]
		}
		if f.runes[i] == f.runes[k] {
			k++
		}
		f.fail[i] = k
	}
	return f
}

// in tells whether the literal occurs in data.
func (f *finder) in(data []byte) bool {
	if !f.fold {
		return bytes.Contains(data, f.text)
	}
	if f.ascii {
		at, more := indexASCII(data, f.text, true, &f.rare)
		if at >= 0 && !more {
			return true
		}
		if more {
			return f.walk(data)
		}
		return f.foreign(data) && f.walk(data)
	}
	for _, form := range f.forms {
		if bytes.Contains(data, form) {
			return f.walk(data)
		}
	}
	return false
}

// searchable tells whether all finds every place of the literal in data, and in time that does not grow with its length.
func (f *finder) searchable(data []byte) bool {
	return len(f.text) > 0 && (!f.fold || f.ascii && len(f.text) <= boundless && !f.foreign(data))
}

// all calls fn for places of the literal in data, which is searchable, in order; fn returns where to go on.
func (f *finder) all(data []byte, fn func(at int) (next int)) {
	for from := 0; from < len(data); {
		at := -1
		if f.fold {
			at, _ = indexASCII(data[from:], f.text, true, &f.rare)
		} else {
			at = bytes.Index(data[from:], f.text)
		}
		if at < 0 {
			return
		}
		from = fn(from + at)
	}
}

// foreign tells whether data holds a character outside ASCII that folds to a letter of the ASCII text.
func (f *finder) foreign(data []byte) bool {
	return f.k && bytes.Contains(data, []byte(kelvin)) || f.s && bytes.Contains(data, []byte(longS))
}

// walk is the search rune by rune, linear whatever the text.
func (f *finder) walk(data []byte) bool {
	k := int32(0)
	for i := 0; i < len(data); {
		r, n := decodeFold(data[i:])
		i += n
		for k > 0 && f.runes[k] != r {
			k = f.fail[k-1]
		}
		if f.runes[k] == r {
			if k++; int(k) == len(f.runes) {
				return true
			}
		}
	}
	return false
}

// is tells whether data is the literal.
func (f *finder) is(data []byte) bool {
	if !f.fold {
		return bytes.Equal(data, f.text)
	}
	if f.ascii && len(data) == len(f.text) && equalFoldASCII(data, f.text) {
		return true
	}
	if f.ascii && !f.k && !f.s {
		return false
	}
	rs := f.runes
	for len(data) > 0 && len(rs) > 0 {
		r, n := decodeFold(data)
		if r != rs[0] {
			return false
		}
		data, rs = data[n:], rs[1:]
	}
	return len(data) == 0 && len(rs) == 0
}
