package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name       string
		candidates string // sizes; | parts days, the last is today; ! is fixed, p plain
		want       string
	}{
		{"nothing", "", ""},
		{"too few", "3 3 3 3 3 3 3", ""},
		{"eight of a size", "3 3 3 3 3 3 3 3", "3 3 3 3 3 3 3 3"},
		{"about a size", "3 4 3 3 4 3 3 3 4", ""},
		{"about a size, and enough", "3 4 3 3 4 3 3 3 4 3", "3 4 3 3 4 3 3 3 4 3"},
		{"the small ones behind a large one", "30 3 3 3 3 3 3 3 3", "3 3 3 3 3 3 3 3"},
		{"the large ones take what is small with them", "30 30 30 30 30 30 30 30 3", "30 30 30 30 30 30 30 30 3"},
		{"at most the target", "60 60 60 60 60 60 3", "60 60 60 60"},
		{"what is large enough stays", "130 130 130 130", ""},
		{"and parts the others", "3 3 3 3 130 3 3 3 3", ""},
		{"not over a day's end", "3 3 3 3 | 3 3 3 3 3", "3 3 3 3"},
		{"today goes on", "| 3 3 3 3", ""},
		{"a day that is over, whatever the sizes", "3 1 9 2 5 |", "3 1 9 2 5"},
		{"unless hardly anything is won", "100 3 |", ""},
		{"then the small ones among themselves", "100 3 4 2 |", "3 4 2"},
		{"up to the target", "100 100 100 30 | 3", "100 100"},
		{"and the rest of it", "200 100 30 | 3", "100 30"},
		{"a lone plain one", "200 3p | 3p", "3p"},
		{"a large plain one", "200p | 3p", "200p"},
		{"plain ones beside others", "3p 3p 3p 3 | 3", "3p 3p 3p 3"},
		{"what cannot be read stays", "3 3 3 3 3! 3 3 3 3", ""},
		{"on its own as well", "3p! |", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var candidates []candidate
			var names []string
			day := int64(0)
			for _, f := range strings.Fields(c.candidates) {
				if f == "|" {
					day++
					continue
				}
				p := candidate{day: day, plain: strings.Contains(f, "p"), fixed: strings.Contains(f, "!")}
				fmt.Sscan(f, &p.size)
				candidates, names = append(candidates, p), append(names, f)
			}
			lo, hi := choose(candidates, 256, day)
			if got := strings.Join(names[lo:hi], " "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// Whatever the sizes, merging ends, the candidates of a day are few, and an event is seldom rewritten.
func TestChooseEnds(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		const target = 256 << 20
		var all []candidate
		var in, out int64
		settle := func(today int64) {
			for range 10_000 {
				lo, hi := choose(all, target, today)
				if hi == 0 {
					return
				}
				m := candidate{day: all[lo].day}
				for _, p := range all[lo:hi] {
					if p.day != m.day || p.fixed {
						t.Fatalf("seed %d: merges %+v", seed, all[lo:hi])
					}
					m.size += p.size
				}
				if m.size > target && hi-lo > 1 {
					t.Fatalf("seed %d: merges to %d", seed, m.size)
				}
				out += m.size
				m.size = m.size * 9 / 10
				all = slices.Replace(all, lo, hi, m)
			}
			t.Fatalf("seed %d: no end", seed)
		}
		most := 0
		for day := range int64(3) {
			for range 400 {
				size := 3<<20 + rng.Int64N(1<<20)
				if rng.IntN(10) == 0 { // a restart, a quiet hour
					size = 1 + rng.Int64N(1<<20)
				}
				in += size
				all = append(all, candidate{size: size, day: day})
				settle(day)
				most = max(most, len(all))
			}
		}
		settle(3)
		if most > 60 || len(all) > 30 {
			t.Errorf("seed %d: at most %d candidates, in the end %d of %d MB", seed, most, len(all), in>>20)
		}
		if ratio := float64(out) / float64(in); ratio > 3 {
			t.Errorf("seed %d: each byte is written %.1f times more", seed, ratio)
		} else if seed == 0 {
			t.Logf("%d MB in 1200 generations: %d segments in the end, at most %d, each byte rewritten %.2f times", in>>20, len(all), most, ratio)
		}
	}
}
