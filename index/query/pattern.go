package query

// Verdict says what is known of a row before it is looked at.
type Verdict uint8

// The verdicts, in order of hope.
const (
	Never Verdict = iota
	Maybe
	Always
)

// HoleMark stands in a pattern's text where a value differs from row to row. A text that holds this byte itself never
// becomes a pattern.
const HoleMark = 0x00

// CharSet is a set of bytes.
type CharSet [4]uint64

// Has tells whether c is in the set.
func (s *CharSet) Has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }

// Add puts c into the set.
func (s *CharSet) Add(c byte) { s[c>>6] |= 1 << (c & 63) }

// Union puts o's bytes into the set.
func (s *CharSet) Union(o *CharSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

// Hole says what is known of the values in one hole of a pattern.
type Hole struct {
	Const    string // the only value, when Fixed
	Fixed    bool
	Set      CharSet // the bytes of the values, when not Fixed
	Min, Max int     // the values' lengths in bytes, when not Fixed
}

// Pattern is the form of some texts: Text with the values of Holes, in order, where it has a [HoleMark]. The values of a hole
// are not known one by one.
//
// In a pattern that was made from log lines a hole's value is a whole token, a run of [A-Za-z0-9_] and bytes above 0x7F, and
// what stands beside a hole is no such byte; a judge must not rely on it.
type Pattern struct {
	Text  []byte
	Holes []Hole
}
