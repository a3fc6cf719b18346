package block

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// fedTable is a table of which a tally needs no more than Feed.
type fedTable struct{ *Table }

func (t fedTable) Feed(field string, rows bitset.Set, sink *query.ValueSink) error {
	for _, c := range t.Column(field) {
		if err := c.Feed(rows, sink); err != nil {
			return err
		}
	}
	return nil
}

func (fedTable) Values(string, bitset.Set, func(int, []byte)) error   { panic("not asked for") }
func (fedTable) Numbers(string, bitset.Set, func(int, float64)) error { panic("not asked for") }

// What Feed gives a tally is what Each gives, whichever way a column keeps its values.
func TestFeed(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	values := map[string]func() string{
		"decimal": func() string { return fmt.Sprintf("u%d", rng.IntN(3000)) },
		"sparse":  func() string { return fmt.Sprintf("u%d", rng.Int64N(1<<50)) },
		"padded":  func() string { return fmt.Sprintf("u%05d", rng.IntN(3000)) },
		"two":     func() string { return fmt.Sprintf("u%d.%d", rng.IntN(300), rng.IntN(3)) },
		"behind":  func() string { return fmt.Sprintf("u%d/x", rng.IntN(300)) },
		"some":    func() string { return fmt.Sprintf("a%x", 1<<rng.IntN(40)) },
		"word":    func() string { return []string{"a", "b", ""}[rng.IntN(3)] },
		"one":     func() string { return "7" },
		"mixed": func() string {
			return []string{fmt.Sprint(rng.IntN(500)), fmt.Sprintf("u%d", rng.IntN(9)), "word", "0500"}[rng.IntN(4)]
		},
		"hex":     func() string { return fmt.Sprintf("%016x", rng.Uint64N(200)*0x9E3779B97F4A7C15) },
		"integer": func() string { return fmt.Sprint(rng.IntN(900) - 20) },
	}
	var names []string
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	b, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	r := query.StatsRequest{Aggs: []query.Agg{{Kind: query.Count}}}
	tallies, want := map[string]*query.Tally{}, map[string]map[query.StatsValue]int{}
	asked := append(slices.Clone(names), "host", "level") // in an order of their own, so that each has the same draws every time
	for _, name := range asked {
		r := r
		r.By = []string{name}
		tallies[name], want[name] = query.NewTally(&r, query.NewBudget(query.DefaultMemory)), map[query.StatsValue]int{}
	}
	for range 3 { // a tally gets several blocks
		var rows []Row
		for i := range 4000 {
			e := event.Event{Time: int64(i), Service: []byte("pay"), Level: event.Level(rng.IntN(3)), Host: []byte([]string{"", "h1", "h2"}[rng.IntN(3)])}
			for _, name := range names {
				for range rng.IntN(3) { // none, one, or two
					kind := event.String
					if name == "integer" || name == "mixed" && rng.IntN(2) == 0 {
						kind = event.Number
					}
					e.Fields = append(e.Fields, event.Field{Name: []byte(name), Kind: kind, Value: []byte(values[name]())})
				}
			}
			rows = append(rows, Row{Seq: uint64(i + 1), Data: encode(e)})
		}
		data, _ := build(t, b, rows, nil)
		tbl := table(t, data)
		for _, name := range asked {
			set := bitset.New(len(rows))
			for i := range rows {
				if rng.IntN(4) > 0 {
					set.Add(i)
				}
			}
			if err := tallies[name].AddTable(fedTable{tbl}, set); err != nil {
				t.Fatal(name, err)
			}
			seen := map[int]map[string]bool{}
			for _, c := range tbl.Column(name) {
				err := c.Each(set, func(row int, v []byte) error {
					if seen[row] == nil {
						seen[row] = map[string]bool{}
					}
					seen[row][string(v)] = true
					return nil
				})
				if err != nil {
					t.Fatal(name, err)
				}
			}
			for row := set.Next(0); row >= 0; row = set.Next(row + 1) {
				for v := range seen[row] {
					want[name][query.StatsValue{Text: v}]++
				}
				if len(seen[row]) == 0 {
					want[name][query.StatsValue{Null: true}]++
				}
			}
		}
	}
	for name, tally := range tallies {
		got := map[query.StatsValue]int{}
		for _, g := range tally.Stats().Groups {
			got[g.By[0]] = int(g.Values[0])
		}
		if diff := cmp.Diff(want[name], got); diff != "" {
			t.Errorf("%s: (-want +got)\n%.2000s", name, diff)
		}
	}
}
