package index

import (
	"cmp"
	"slices"
)

// candidate is a segment as the choice of what to merge sees it. They come in order of sequence.
type candidate struct {
	size  int64 // of the file
	day   int64 // in which its newest event was received, in days since the epoch
	plain bool  // has blocks of plain rows, which are rebuilt as patterns sooner or later
	fixed bool  // stays as it is: part of it cannot be read
}

// Rules of the choice. Each merge at least multiplies what an event's segment weighs, so that an event is rewritten
// log(target / a generation's size) / log(mergeGrowth) times: two, when a generation is 3 to 4 MB and the target 256 MB.
const (
	// mergeGrowth is how many times the largest of its segments a merge must weigh while the day goes on.
	mergeGrowth = 8
	// overNum / overDen is the same for a day that is over: small ones join whatever is beside them.
	overNum, overDen = 5, 4
)

// choose returns the adjacent candidates, from lo up to, without, hi, that are to be merged next; none when hi is 0. today is
// the oldest day that may still get candidates.
//
// Segments of at least half the target are large enough and part the others, and so does a change of the day, so that
// segments can be deleted day by day. Among the others each in turn, the largest first, is taken with the
// neighbours that are not larger; the run is cut at the target.
func choose(candidates []candidate, target, today int64) (lo, hi int) {
	order := make([]int, 0, len(candidates))
	for i, p := range candidates {
		if !p.fixed && p.size < target/2 {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(candidates[b].size, candidates[a].size) })
	for _, i := range order {
		joins := func(j int) bool {
			return j >= 0 && j < len(candidates) && !candidates[j].fixed && candidates[j].day == candidates[i].day && candidates[j].size <= candidates[i].size
		}
		start, end := i, i+1
		for joins(start - 1) {
			start--
		}
		for joins(end) {
			end++
		}
		for start < end {
			lo, hi = start, start
			var sum, largest int64
			for hi < end && sum+candidates[hi].size <= target {
				sum, largest = sum+candidates[hi].size, max(largest, candidates[hi].size)
				hi++
			}
			full := hi < end // the result is never merged again: it weighs more than half the target
			worth := full || sum >= mergeGrowth*largest || candidates[i].day < today && sum*overDen >= largest*overNum
			if hi-lo > 1 && worth {
				return lo, hi
			}
			start = hi
		}
	}
	for i, p := range candidates {
		if p.plain && !p.fixed && p.day < today {
			return i, i + 1
		}
	}
	return 0, 0
}
