package bitset

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAgainstMap compares every operation with a map's.
func TestAgainstMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		n := 1 + rng.IntN(300)
		draw := func() (Set, map[int]bool) {
			s, m := New(n), map[int]bool{}
			for range rng.IntN(n + 1) {
				i := rng.IntN(n)
				if s.Add(i); rng.IntN(4) == 0 {
					s.Remove(i)
					delete(m, i)
				} else {
					m[i] = true
				}
			}
			lo := rng.IntN(n)
			hi := lo + rng.IntN(n-lo+1)
			s.AddRange(lo, hi)
			for i := lo; i < hi; i++ {
				m[i] = true
			}
			return s, m
		}
		a, ma := draw()
		b, mb := draw()
		check := func(what string, s Set, in func(i int) bool) {
			t.Helper()
			var want []int
			for i := range n {
				if s.Has(i) != in(i) {
					t.Fatalf("%s: Has(%d) = %v", what, i, s.Has(i))
				}
				if in(i) {
					want = append(want, i)
				}
			}
			if s.Count() != len(want) || s.Empty() != (len(want) == 0) {
				t.Fatalf("%s: Count %d, Empty %v, want %d", what, s.Count(), s.Empty(), len(want))
			}
			var up, down []int
			for i := s.Next(0); i >= 0; i = s.Next(i + 1) {
				up = append(up, i)
			}
			for i := s.Prev(n + 100); i >= 0; i = s.Prev(i - 1) {
				down = append(down, i)
			}
			slices.Reverse(down)
			if !slices.Equal(up, want) || !slices.Equal(down, want) {
				t.Fatalf("%s: up %v, down %v, want %v", what, up, down, want)
			}
		}
		check("drawn", a, func(i int) bool { return ma[i] })
		c := a.Clone()
		c.And(b)
		check("and", c, func(i int) bool { return ma[i] && mb[i] })
		c = a.Clone()
		c.AndNot(b)
		check("and not", c, func(i int) bool { return ma[i] && !mb[i] })
		c = a.Clone()
		c.Or(b)
		check("or", c, func(i int) bool { return ma[i] || mb[i] })
		c.Clear()
		check("clear", c, func(int) bool { return false })
		check("full", Full(n), func(int) bool { return true })
	}
}
