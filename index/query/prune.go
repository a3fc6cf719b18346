package query

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/internal/rarebytes"
)

// Needle is a literal that is in the encoded form (event.AppendEvent) of every event that matches. [Query.Needles] makes them.
type Needle struct {
	Text []byte
	Fold bool // without ASCII case

	rare   rarebytes.Marks
	common int  // first bytes that every event with the field has: its name
	name   bool // all of it is a field's name
}

// maxNeedle is the longest needle in bytes; more would not find less.
const maxNeedle = 64

// Index returns the first index of the needle in data, or -1.
func (n *Needle) Index(data []byte) int {
	at, more := indexASCII(data, n.Text, n.Fold, &n.rare)
	for more { // only a needle that was not made here is that long
		from := at
		if at, more = indexASCII(data[from:], n.Text, n.Fold, &n.rare); at >= 0 {
			at += from
		}
	}
	return at
}

// Needles returns literals that every event that matches has in its encoded form, the most selective first. There may
// be none. The caller must not change them.
func (q *Query) Needles() []Needle { return q.needles }

// FilterKeys returns keys all of which are among the keys of a block that holds a match: those of [AppendTokenKeys] for
// the message and each extra field's value, and those of [FieldKey] for each extra field and for env, host, container
// and stream. There may be none. The caller must not change them.
func (q *Query) FilterKeys() []uint64 { return q.keys }

// MayMatchService tells whether an event of the service can match.
func (q *Query) MayMatchService(service []byte) bool {
	return mayMatch(q.root, nameService, service) != never
}

// MayMatchStream tells whether an event of the stream can match.
func (q *Query) MayMatchStream(stream []byte) bool {
	return mayMatch(q.root, nameStream, stream) != never
}

// MatchesAllOf tells whether every event of the service matches, whatever else it holds.
func (q *Query) MatchesAllOf(service []byte) bool {
	return mayMatch(q.root, nameService, service) == always
}

type verdict uint8

const (
	never verdict = iota
	maybe
	always
)

// decide tells what follows for a node from what is known of its fields; field is asked about each, and everything else is open.
func decide(n node, field func(*fieldNode) verdict) verdict {
	switch n := n.(type) {
	case allNode:
		return always
	case *andNode:
		v := always
		for _, k := range n.kids {
			v = min(v, decide(k, field))
		}
		return v
	case *orNode:
		v := never
		for _, k := range n.kids {
			v = max(v, decide(k, field))
		}
		return v
	case *notNode:
		return always - decide(n.kid, field)
	case *fieldNode:
		return field(n)
	}
	return maybe
}

// mayMatch decides on a value of the built-in field name alone.
func mayMatch(n node, name string, value []byte) verdict {
	return decide(n, func(n *fieldNode) verdict {
		switch {
		case n.name != name:
			return maybe
		case len(value) > 0 && fieldPred(n).test(value) != (n.op == opNe || n.op == opNotMatch):
			return always
		}
		return never
	})
}

// Needles.

// needles returns the needles of a node, in any order.
func needles(n node) []Needle {
	switch n := n.(type) {
	case *andNode:
		var out []Needle
		for _, k := range n.kids {
			out = append(out, needles(k)...)
		}
		return out
	case *orNode:
		out := needles(n.kids[0])
		for _, k := range n.kids[1:] {
			if len(out) == 0 {
				break
			}
			other := needles(k)
			out = slices.DeleteFunc(out, func(x Needle) bool {
				return !slices.ContainsFunc(other, func(y Needle) bool { return x.within(y) })
			})
		}
		return out
	case *textNode:
		return literalNeedle(literal{n.lit, !hasUpper(n.lit)})
	case *regexNode:
		return regexNeedle(n.rx)
	case *fieldNode:
		return fieldNeedles(n)
	}
	return nil
}

// within tells whether what holds y holds x.
func (x Needle) within(y Needle) bool {
	if x.Fold {
		x.rare = marks(x.Text, true, 0)
		return x.Index(y.Text) >= 0
	}
	return (!y.Fold || !hasCase(string(x.Text))) && bytes.Contains(y.Text, x.Text)
}

func finishNeedles(in []Needle) []Needle {
	var out []Needle
	slices.SortStableFunc(in, func(a, b Needle) int {
		switch {
		case a.name && !b.name:
			return 1
		case b.name && !a.name:
			return -1
		case len(a.Text) != len(b.Text):
			return len(b.Text) - len(a.Text)
		}
		return bytes.Compare(a.Text, b.Text)
	})
	for _, n := range in {
		if len(out) == 8 { // the others would hardly rule out more
			break
		}
		if !slices.ContainsFunc(out, func(o Needle) bool { return n.within(o) }) {
			n.rare = marks(n.Text, n.Fold, n.common)
			out = append(out, n)
		}
	}
	return out
}

// sound tells whether r is the same bytes in every text that equals it without case, ASCII case apart.
func sound(r rune) bool {
	if r < utf8.RuneSelf {
		return r != 'k' && r != 's' && r != 'K' && r != 'S'
	}
	return r != utf8.RuneError && unicode.SimpleFold(r) == r // a part of a rune is not sound
}

// literalNeedle returns the needle for a literal that stands verbatim, case apart, in the encoded form: when it has case,
// its longest piece without a character that has other forms than its ASCII cases.
func literalNeedle(l literal) []Needle {
	s, fold := l.text, l.fold
	if fold {
		best, start := "", 0
		for end := 0; end < len(s); {
			r, n := utf8.DecodeRuneInString(s[end:])
			if end += n; !sound(r) {
				start = end
			} else if end-start > len(best) {
				best = s[start:end]
			}
		}
		s = best
		fold = hasCase(s)
	}
	if len(s) > maxNeedle {
		s = s[:maxNeedle]
	}
	if len(s) < 2 {
		return nil
	}
	return []Needle{{Text: []byte(s), Fold: fold}}
}

// regexNeedle returns the longest needle that all of the expression's literals hold, of which one is in each match.
func regexNeedle(rx *regex) []Needle {
	if len(rx.need) == 0 {
		return nil
	}
	short := slices.MinFunc(rx.need, func(a, b literal) int { return len(a.text) - len(b.text) })
	text := short.text[:min(len(short.text), maxNeedle)]
	fold := slices.ContainsFunc(rx.need, func(l literal) bool { return l.fold })
	var best []Needle
	for n := len(text); n >= 2 && best == nil; n-- {
		for i := 0; i+n <= len(text) && best == nil; i++ {
			for _, x := range literalNeedle(literal{text[i : i+n], fold}) {
				if !slices.ContainsFunc(rx.need, func(l literal) bool { return !x.within(Needle{Text: []byte(l.text), Fold: l.fold}) }) {
					best = []Needle{x}
				}
			}
		}
	}
	return best
}

func fieldNeedles(n *fieldNode) []Needle {
	switch n.name {
	case nameLevel, nameID: // not texts in the encoded form
		return nil
	}
	extra := !builtin(n.name)
	var out []Needle
	if extra {
		out = literalNeedle(literal{text: n.name})
		for i := range out {
			out[i].name = true
		}
	}
	switch {
	case n.op == opNe, n.op == opNotMatch:
	case n.rx != nil:
		out = append(out, regexNeedle(n.rx)...)
	case len(n.vals) == 1 && n.vals[0].kind == vGlob:
		var best []Needle
		for _, piece := range strings.FieldsFunc(n.vals[0].text, func(r rune) bool { return r == '*' || r == '?' }) {
			if p := literalNeedle(literal{piece, !hasUpper(n.vals[0].text)}); p != nil && (best == nil || len(p[0].Text) > len(best[0].Text)) {
				best = p
			}
		}
		out = append(out, best...)
	case len(n.vals) == 1 && n.vals[0].kind == vText:
		text := n.vals[0].text
		fold := n.op == opHas && !hasUpper(text)
		out = append(out, literalNeedle(literal{text, fold})...)
		// The encoded form has the name, the value's length in one byte, and the value: together they are more telling
		// than either. Without case this needs a value whose length is the same in every form.
		if extra && len(text) < 0x80 && len(n.name)+1+len(text) <= maxNeedle && (!fold || !strings.ContainsFunc(text, func(r rune) bool { return !sound(r) })) {
			whole := n.name + string(rune(len(text))) + text
			out = append(out, Needle{Text: []byte(whole), Fold: fold && hasCase(text), common: len(whole) - len(text)})
		}
	}
	return out
}

// Token filter.

// What a byte is in a token.
const (
	inToken = 1 << iota
	upperCase
	notASCII
	digit
	notHex // no digit, and no letter from a to f
)

var byteClass = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= utf8.RuneSelf:
			t[i] = inToken | notASCII | notHex
		case c >= '0' && c <= '9':
			t[i] = inToken | digit
		case c >= 'A' && c <= 'Z':
			t[i] = inToken | upperCase
		case c == '_', c >= 'a' && c <= 'z':
			t[i] = inToken
		}
		if low := byte(i) | 0x20; t[i] != 0 && t[i]&digit == 0 && (low < 'a' || low > 'f') {
			t[i] |= notHex
		}
	}
	return t
}()

// inFilter tells whether a token of this length, with bytes of these classes, has a key: one with a digit, or of the
// letters a to f alone. Those are ids and numbers, which a search for one of them finds in few blocks; other words are in
// nearly every block of their service. Case does not matter for it: no other rune folds to a digit or one of these letters.
func inFilter(n int, class uint8) bool {
	return n >= minToken && (class&digit != 0 || class&notHex == 0)
}

// tokenEnd returns where the run of token bytes at i ends, and what its bytes are.
func tokenEnd(text []byte, i int) (end int, class uint8) {
	for ; i < len(text); i++ {
		c := byteClass[text[i]]
		if c == 0 {
			break
		}
		class |= c
	}
	return i, class
}

// minToken is the length in bytes from which a token is in the filter.
const minToken = 5

// AppendTokenKeys appends the keys of the text's tokens that look like ids or numbers: of its runs of [A-Za-z0-9_] and
// bytes above 0x7F, without case, those of five bytes and more that hold a digit or only the letters a to f. Where a run
// holds both ASCII and other bytes, the ASCII runs in it are tokens of their own as well, as RE2's \b ends words there. The
// same key may be appended more than once.
func AppendTokenKeys(dst []uint64, text []byte) []uint64 {
	for i := 0; i < len(text); i++ {
		class := byteClass[text[i]]
		if class == 0 {
			continue
		}
		start := i
		for i++; i < len(text); i++ {
			c := byteClass[text[i]]
			if c == 0 {
				break
			}
			class |= c
		}
		if class&notASCII != 0 {
			dst = appendASCIIKeys(dst, text[start:i])
		}
		if !inFilter(i-start, class) {
			continue
		}
		if class&notASCII == 0 && (class&upperCase == 0 || i-start <= shortText) {
			dst = append(dst, sum(text[start:i]))
			continue
		}
		dst = append(dst, foldHash(text[start:i]))
	}
	return dst
}

// appendASCIIKeys appends the keys of the ASCII runs in a token.
func appendASCIIKeys(dst []uint64, token []byte) []uint64 {
	for j := 0; j < len(token); j++ {
		from, class := j, uint8(0)
		for j < len(token) && token[j] < utf8.RuneSelf {
			class |= byteClass[token[j]]
			j++
		}
		if inFilter(j-from, class) {
			dst = append(dst, foldHash(token[from:j]))
		}
	}
	return dst
}

// shortText is the length up to which sum takes ASCII letters of either case for the same.
const shortText = 16

// sum is the hash of keys: xxhash64, but for texts of up to 16 bytes, as nearly all tokens are, two multiplications of
// their bytes with bit 5 set, which is cheaper and folds ASCII letters on the way. That some other bytes become equal
// too costs a block read in vain, never an event.
func sum(p []byte) uint64 {
	const lower = 0x2020202020202020
	var lo, hi uint64
	switch n := len(p); {
	case n > shortText:
		return xxhash.Sum64(p)
	case n >= 8:
		lo, hi = binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[n-8:])
	case n >= 4:
		lo, hi = uint64(binary.LittleEndian.Uint32(p)), uint64(binary.LittleEndian.Uint32(p[n-4:]))
	case n > 0:
		lo, hi = uint64(p[0])|uint64(p[n/2])<<8, uint64(p[n-1])
	}
	lo, hi = bits.Mul64((lo|lower)^0xA0761D6478BD642F, (hi|lower)^0xE7037ED1A0B428DB)
	lo, hi = bits.Mul64(lo^0x8EBC6AF09C88C6E3^uint64(len(p)), hi^0x589965CC75374CC3)
	return lo ^ hi
}

// foldHash is the sum of the folded text. A folded text is never longer than the text: the representative of an
// orbit is its smallest rune.
func foldHash(p []byte) uint64 {
	var buf [128]byte
	if len(p) <= len(buf) {
		return sum(appendFold(buf[:0], p))
	}
	var d xxhash.Digest
	d.Reset()
	for len(p) > 0 {
		cut := min(len(p), len(buf))
		for i := cut; i > cut-utf8.UTFMax && cut < len(p); i-- {
			if utf8.RuneStart(p[i]) {
				cut = i
				break
			}
		}
		_, _ = d.Write(appendFold(buf[:0], p[:cut])) // never fails
		p = p[cut:]
	}
	return d.Sum64()
}

// FieldKey returns the key of a field's value. Values that the language takes for equal have equal keys: case does not
// count, and numbers are taken in one canonical form, 5e5 as 500000.
//
// A writer adds the keys of a value's tokens (AppendTokenKeys) as well, those of a number's text too: \b12345\b finds
// 12345.67, which has no key here.
//
// A whole number of 5 to 19 digits has the key of its digits as a token, without sign or leading zeros; other numbers
// have none, and ok is false: they are in many blocks, or found by a block's least and greatest. A value that is one token
// with a key of its own has that key, so that an id is in the filter once, whatever field or text it stands in. All other
// values have a key of name and value.
func FieldKey(name, value []byte) (key uint64, ok bool) {
	if key, ok, own := ownKey(value); own {
		return key, ok
	}
	// The name's hash is mixed so that name and value cannot be swapped, and a field's key is no token's key.
	return bits.RotateLeft64(sum(name), 31)*0x9E3779B97F4A7C15 ^ foldHash(value), true
}

// ownKey returns the key that a value has without its field's name, if that is so.
func ownKey(value []byte) (key uint64, ok, own bool) {
	if n, rest, ok := scanNumber(value); ok && len(rest) == 0 {
		key, ok = n.tokenKey()
		return key, ok, true
	}
	if end, class := tokenEnd(value, 0); end == len(value) && end >= minToken && inFilter(foldedLen(value, class), class) {
		return foldHash(value), true, true
	}
	return 0, false, false
}

// foldedLen returns the length of a token when it is folded: the Kelvin sign's three bytes are one then.
func foldedLen(token []byte, class uint8) int {
	if class&notASCII == 0 {
		return len(token)
	}
	n := 0
	for len(token) > 0 {
		r, size := decodeFold(token)
		if n++; r != invalid {
			n += utf8.RuneLen(r) - 1
		}
		token = token[size:]
	}
	return n
}

// tokenKey returns the key of a whole number's digits as a token.
func (n *number) tokenKey() (key uint64, ok bool) {
	const most = 19
	if n.zero() {
		return 0, false
	}
	p, skip := n.point()
	if p < minToken || p > most {
		return 0, false
	}
	var buf [most]byte
	for i := range buf[:p] {
		buf[i] = n.digit(i, skip)
	}
	for i := p; i < len(n.ip)+len(n.fp)-skip; i++ {
		if n.digit(i, skip) != '0' {
			return 0, false // a fraction
		}
	}
	return sum(buf[:p]), true
}

// filterKey is a key with the text it was made of.
type filterKey struct {
	key  uint64
	text string
}

func filterKeys(n node) []uint64 {
	var keys []uint64
	for _, k := range nodeKeys(n) {
		keys = append(keys, k.key)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func nodeKeys(n node) []filterKey {
	switch n := n.(type) {
	case *andNode:
		var out []filterKey
		for _, k := range n.kids {
			out = append(out, nodeKeys(k)...)
		}
		return out
	case *orNode:
		out := nodeKeys(n.kids[0])
		for _, k := range n.kids[1:] {
			if len(out) == 0 {
				break
			}
			other := nodeKeys(k)
			out = slices.DeleteFunc(out, func(x filterKey) bool {
				return !slices.ContainsFunc(other, func(y filterKey) bool { return x.key == y.key })
			})
		}
		return out
	case *textNode:
		return literalKeys(literal{n.lit, !hasUpper(n.lit)}, open, open)
	case *regexNode:
		return regexKeys(n.rx)
	case *fieldNode:
		return fieldKeys(n)
	}
	return nil
}

// edge is what is known of the place where a literal ends.
type edge uint8

const (
	open   edge = iota // anything may stand beside it
	hard               // a token ends here: the value's end, or the line's
	border             // an ASCII word ends here: \b
)

// literalKeys returns the keys of the tokens in a literal that are known to end on both sides. A token beside a border is
// known to be a run of ASCII bytes, no more; without case that does not hold for k and s, which may be no ASCII there.
func literalKeys(l literal, left, right edge) []filterKey {
	var out []filterKey
	text := []byte(l.text)
	for i := 0; i < len(text); i++ {
		end, class := tokenEnd(text, i)
		if end == i {
			continue
		}
		a, b := hard, hard
		if i == 0 {
			a = left
		}
		if end == len(text) {
			b = right
		}
		token := text[i:end]
		i = end
		if a == open || b == open {
			continue
		}
		if (a == border || b == border) && (class&notASCII != 0 || l.fold && bytes.ContainsAny(token, "kKsS")) {
			continue
		}
		// The folded length counts: a token of three bytes may fold to one, as the Kelvin sign does.
		if folded := appendFold(nil, token); inFilter(len(folded), class) {
			out = append(out, filterKey{foldHash(token), string(folded)})
		}
	}
	return out
}

// regexKeys looks at the literals of the expression's outermost concatenation.
func regexKeys(rx *regex) []filterKey {
	var out []filterKey
	parts := flatten(nil, rx.tree)
	for i, re := range parts {
		if re.Op != syntax.OpLiteral || slices.Contains(re.Rune, utf8.RuneError) {
			continue
		}
		left, right := open, open
		if i > 0 {
			switch parts[i-1].Op {
			case syntax.OpBeginLine, syntax.OpBeginText:
				left = hard
			case syntax.OpWordBoundary:
				left = border
			}
		}
		if i+1 < len(parts) {
			switch parts[i+1].Op {
			case syntax.OpEndLine, syntax.OpEndText:
				right = hard
			case syntax.OpWordBoundary:
				right = border
			}
		}
		out = append(out, literalKeys(literal{string(re.Rune), re.Flags&syntax.FoldCase != 0}, left, right)...)
	}
	return out
}

func flatten(dst []*syntax.Regexp, re *syntax.Regexp) []*syntax.Regexp {
	switch re.Op {
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range re.Sub {
			dst = flatten(dst, sub)
		}
		return dst
	}
	return append(dst, re)
}

func fieldKeys(n *fieldNode) []filterKey {
	extra := !builtin(n.name)
	tokens := extra || n.name == nameMessage // the values whose tokens are in the filter
	switch n.name {
	case nameService, nameLevel, nameID:
		return nil
	}
	if n.op == opMatch && tokens {
		return regexKeys(n.rx)
	}
	if n.op != opHas && n.op != opEq || len(n.vals) != 1 {
		return nil
	}
	v := &n.vals[0]
	l := literal{v.text, n.op == opHas && !hasUpper(v.text)}
	switch {
	case v.kind == vText && n.name == nameMessage && n.op == opHas:
		return literalKeys(l, open, open)
	case v.kind == vText && n.name == nameMessage:
		return literalKeys(l, hard, hard)
	case v.kind == vText:
		return fieldKey(n.name, v.text)
	case v.kind == vQuantity && extra && fieldUnit(n.name).dim == plain:
		// A duration or size equals others that look different.
		if q, _ := parseQuantity([]byte(v.text)); q.dim == plain {
			return fieldKey(n.name, v.text)
		}
	case v.kind == vGlob && tokens:
		return globKeys(l, n.name == nameMessage)
	}
	return nil
}

func fieldKey(name, value string) []filterKey {
	if k, ok := FieldKey([]byte(name), []byte(value)); ok {
		text := string(appendFold(nil, []byte(value)))
		if _, _, own := ownKey([]byte(value)); !own {
			text = name + "=" + text
		}
		return []filterKey{{k, text}}
	}
	return nil
}

func globKeys(l literal, part bool) []filterKey {
	var out []filterKey
	start := 0
	for i := 0; i <= len(l.text); i++ {
		if i < len(l.text) && l.text[i] != '*' && l.text[i] != '?' {
			continue
		}
		left, right := open, open
		if start == 0 && !part {
			left = hard
		}
		if i == len(l.text) && !part {
			right = hard
		}
		out = append(out, literalKeys(literal{l.text[start:i], l.fold}, left, right)...)
		start = i + 1
	}
	return out
}
