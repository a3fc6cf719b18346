package index

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
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

func TestRowsUntil(t *testing.T) {
	var rows []rowRef
	for i := range 40 {
		rows = append(rows, newRowRef(uint64(i), 0, 0, 10*i, 10))
	}
	for n := 1; n <= len(rows); n++ {
		for off := range 10 * n {
			if got := rowsUntil(rows[:n], off); got != off/10 {
				t.Fatalf("byte %d is said to lie behind %d of %d rows", off, got, n)
			}
		}
	}
}

// TestSearchLargeHead: matches that are far apart, in rows of many jobs and chunks, are all found, and no others, whatever of the
// head is in range, and what was looked at is told.
func TestSearchLargeHead(t *testing.T) {
	s := openByHand(t)
	const total = 30_000
	rng := rand.New(rand.NewPCG(1, 2))
	var times []int64
	var rare []bool
	var b event.Batch
	for i := range total {
		at := int64(i*10 + rng.IntN(500)) // nearly in order
		found := rng.IntN(700) == 0 || i == 0 || i == total-1
		text := "a line of the usual sort"
		if found {
			text = "something Unusual came up"
		}
		times, rare = append(times, at), append(rare, found)
		if line(&b, fmt.Sprint("service-", i%2), text, at); len(b.Events) == 1000 {
			if err := s.Append(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			b.Reset()
		}
	}
	for _, r := range []query.Request{
		{}, {CountOnly: true}, {Newest: true}, {Newest: true, Limit: 7}, {Since: 100_000, Until: 200_000}, {Since: 100_000, CountOnly: true},
		{MinSeq: 5000, MaxSeq: 17_000}, {MinSeq: 5000, CountOnly: true}, {Until: 299_000, Newest: true},
	} {
		r.Query = parse(t, "unusual")
		var want []uint64
		looked := int64(0)
		for i, at := range times {
			seq := uint64(i + 1)
			if at < r.Since || r.Until > 0 && at >= r.Until || seq < r.MinSeq || r.MaxSeq > 0 && seq > r.MaxSeq {
				continue
			}
			if looked++; rare[i] {
				want = append(want, seq)
			}
		}
		slices.SortFunc(want, func(a, b uint64) int { return cmp.Or(cmp.Compare(times[a-1], times[b-1]), cmp.Compare(a, b)) })
		if r.Newest {
			slices.Reverse(want)
		}
		if r.Limit > 0 {
			want = want[:r.Limit]
		}
		var got []uint64
		sum, err := s.Search(t.Context(), r, func(row query.Row) error {
			got = append(got, row.Event.Seq)
			return nil
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case sum.Matched != int64(len(want)) || !r.CountOnly && !slices.Equal(got, want):
			t.Errorf("%+v: %d matched, %v, want %v", r, sum.Matched, got, want)
		case r.Limit == 0 && sum.Events != looked:
			t.Errorf("%+v: %d events were looked at, want %d", r, sum.Events, looked)
		}
	}
}
