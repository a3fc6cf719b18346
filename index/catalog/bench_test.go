package catalog

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

var syllables = strings.Fields("re fund or der pay ment time out con nect ion fail ed ser ver gate way card user ses sion log in store queue batch sync node disk")

// benchWord returns a word; those of low numbers are frequent.
func benchWord(i uint64) string {
	var b strings.Builder
	for i += 3; i > 0; i /= uint64(len(syllables)) {
		b.WriteString(syllables[i%uint64(len(syllables))])
	}
	return b.String()
}

// manyKinds draws kinds of 200 services, with a vocabulary as skewed as that of real lines.
func manyKinds(n int) []query.Kind {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.2, 8, 20_000)
	levels := []event.Level{event.Error, event.Warning, event.Info, event.Info, event.Info, event.Debug, event.None}
	kinds := make([]query.Kind, 0, n)
	seen := map[uint64]bool{}
	for len(kinds) < n {
		var b strings.Builder
		for range 4 + rng.IntN(14) {
			if rng.IntN(4) == 0 {
				b.WriteString("# ")
			} else {
				b.WriteString(benchWord(zipf.Uint64()) + " ")
			}
		}
		k := kind(fmt.Sprintf("service-%d", rng.IntN(200)), levels[rng.IntN(len(levels))], b.String(), 1, 2)
		if !seen[k.Hash] {
			seen[k.Hash] = true
			kinds = append(kinds, k)
		}
	}
	return kinds
}

const benchKinds = 100_000

func benchCatalog(b *testing.B) *Catalog {
	kinds := manyKinds(benchKinds)
	s := &source{}
	for len(kinds) > 0 {
		n := min(feedMost, len(kinds))
		s.sealed = append(s.sealed, kinds[:n])
		kinds = kinds[n:]
	}
	c := open(b, Options{Dir: b.TempDir(), Source: s})
	catchUp(b, c)
	return c
}

// go test ./index/catalog -run '^$' -bench Rebuild -benchtime 1x
func BenchmarkRebuild(b *testing.B) {
	c := benchCatalog(b)
	for b.Loop() {
		if err := c.Rebuild(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
	}
	st, err := c.Status()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.Bytes)/1e6, "MB")
}

// go test ./index/catalog -run '^$' -bench Search
func BenchmarkSearch(b *testing.B) {
	c := benchCatalog(b)
	frequent, some, rare := benchWord(1), benchWord(100), benchWord(5000)
	for _, bench := range []struct {
		name string
		r    query.KindSearch
	}{
		{"word rare", query.KindSearch{Text: rare}},
		{"word", query.KindSearch{Text: some}},
		{"word frequent", query.KindSearch{Text: frequent}},
		{"fuzzy", query.KindSearch{Text: some[:len(some)-1] + "~"}},
		{"fuzzy of two slips", query.KindSearch{Text: rare[1:] + "x~2"}},
		{"phrase", query.KindSearch{Text: `"` + frequent + " " + some + `"`}},
		{"phrase frequent", query.KindSearch{Text: `"` + frequent + " " + benchWord(0) + `"`}},
		{"prefix", query.KindSearch{Text: some + "*"}},
		{"facets of a word", query.KindSearch{Text: some, Facets: true}},
		{"facets of a frequent word", query.KindSearch{Text: frequent, Facets: true}},
		{"facets of all", query.KindSearch{Facets: true}},
		{"facets of levels", query.KindSearch{Levels: []event.Level{event.Error, event.Info}, Facets: true}},
		{"services and levels", query.KindSearch{Text: some, Service: "service-1*", Levels: []event.Level{event.Error}}},
		{"without", query.KindSearch{Text: some + " -" + frequent}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			r := bench.r
			r.Limit = 100
			total := 0
			for b.Loop() {
				a, err := c.Search(b.Context(), r)
				if err != nil {
					b.Fatal(err)
				}
				total = a.Total
			}
			b.ReportMetric(float64(total), "found")
		})
	}
}
