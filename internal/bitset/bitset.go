// Package bitset is a set of the numbers below a length: the rows of a block that a search still considers, the blocks of a
// segment that a filter lets through.
package bitset

import "math/bits"

// Set holds bit i in word i/64. Sets that are combined have the same length.
type Set []uint64

// New returns an empty set for the numbers below n.
func New(n int) Set { return make(Set, (n+63)/64) }

// Full returns the set of all numbers below n.
func Full(n int) Set {
	s := New(n)
	s.AddRange(0, n)
	return s
}

// Has tells whether i is in the set.
func (s Set) Has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }

// Add puts i into the set.
func (s Set) Add(i int) { s[i>>6] |= 1 << (i & 63) }

// Remove takes i out of the set.
func (s Set) Remove(i int) { s[i>>6] &^= 1 << (i & 63) }

// AddRange puts the numbers from lo up to, without, hi into the set.
func (s Set) AddRange(lo, hi int) {
	for i := lo; i < hi; {
		if i&63 == 0 && hi-i >= 64 {
			s[i>>6] = ^uint64(0)
			i += 64
			continue
		}
		s.Add(i)
		i++
	}
}

// Clear empties the set.
func (s Set) Clear() { clear(s) }

// Clone returns a copy.
func (s Set) Clone() Set { return append(Set(nil), s...) }

// And keeps what is in o as well.
func (s Set) And(o Set) {
	for i := range s {
		s[i] &= o[i]
	}
}

// AndNot takes out what is in o.
func (s Set) AndNot(o Set) {
	for i := range s {
		s[i] &^= o[i]
	}
}

// Or puts in what is in o.
func (s Set) Or(o Set) {
	for i := range s {
		s[i] |= o[i]
	}
}

// Count returns how many numbers are in the set.
func (s Set) Count() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Empty tells whether nothing is in the set.
func (s Set) Empty() bool {
	for _, w := range s {
		if w != 0 {
			return false
		}
	}
	return true
}

// Next returns the smallest number in the set that is at least i, -1 when there is none.
func (s Set) Next(i int) int {
	if i < 0 {
		i = 0
	}
	for w := i >> 6; w < len(s); w++ {
		word := s[w]
		if w == i>>6 {
			word &= ^uint64(0) << (i & 63)
		}
		if word != 0 {
			return w<<6 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// Prev returns the largest number in the set that is at most i, -1 when there is none.
func (s Set) Prev(i int) int {
	if i >= len(s)<<6 {
		i = len(s)<<6 - 1
	}
	for w := i >> 6; w >= 0 && i >= 0; w-- {
		word := s[w]
		if w == i>>6 {
			word &= ^uint64(0) >> (63 - i&63)
		}
		if word != 0 {
			return w<<6 + 63 - bits.LeadingZeros64(word)
		}
	}
	return -1
}
