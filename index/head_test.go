package index

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSortedRefs(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var refs []rowRef
		runs := rng.IntN(9)
		for range runs { // each in order, as a sender's lines are
			at := rng.Int64N(100)
			for range rng.IntN(30) {
				at += rng.Int64N(4)
				refs = append(refs, newRowRef(uint64(len(refs)+1), at, len(refs)%7, rng.IntN(fullChunk), rng.IntN(1<<22)))
			}
		}
		before, want := slices.Clone(refs), slices.Clone(refs)
		slices.SortFunc(want, func(a, b rowRef) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.seq, b.seq)) })
		if got := sortedRefs(refs); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %v of %v", seed, got, refs)
		}
		if !slices.Equal(refs, before) {
			t.Fatalf("seed %d: the head's own order was changed", seed)
		}
	}
	r := newRowRef(1, -5, 1<<20-1, 1<<20-1, 1<<24-1)
	if r.chunk() != 1<<20-1 || r.off() != 1<<20-1 || r.size() != 1<<24-1 {
		t.Errorf("%d %d %d", r.chunk(), r.off(), r.size())
	}
}
