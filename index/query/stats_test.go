package query

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

func TestParseStats(t *testing.T) {
	for _, c := range []struct{ by, want string }{
		{"", ""},
		{"service", "service"},
		{" service , level ", "service level"},
		{`user.id,"odd, field"`, "user.id|odd, field"},
	} {
		by, err := ParseBy(c.by)
		sep := " "
		if strings.Contains(c.want, "|") {
			sep = "|"
		}
		if err != nil || strings.Join(by, sep) != c.want {
			t.Errorf("ParseBy(%q) = %q, %v", c.by, by, err)
		}
	}
	for _, c := range []struct{ aggs, want string }{
		{"", "count"},
		{"count", "count"},
		{"count()", "count"},
		{"count,count", "count"},
		{"avg(duration_ms), p99(duration_ms),p99.9(d)", "avg(duration_ms) p99(duration_ms) p99.9(d)"},
		{"quantile(0.990 , d)", "quantile(0.99, d)"},
		{`max("a (b)"),distinct(host),sum(x),min(x)`, `max("a (b)") distinct(host) sum(x) min(x)`},
	} {
		aggs, err := ParseAggs(c.aggs)
		var names []string
		for _, a := range aggs {
			names = append(names, a.String())
		}
		if err != nil || strings.Join(names, " ") != c.want {
			t.Errorf("ParseAggs(%q) = %q, %v", c.aggs, names, err)
		}
	}
	if a, _ := ParseAggs("p99.9(x)"); a[0].Q != 0.999 {
		t.Errorf("p99.9 is the share %v", a[0].Q)
	}
}

func TestParseStatsErrors(t *testing.T) {
	for _, c := range []struct{ by, aggs, place, message string }{
		{by: "service,", place: "", message: "nothing follows the comma"},
		{by: ",service", place: ",", message: "a field's name is missing"},
		{by: "service level", place: "l", message: "something stands where a comma belongs"},
		{by: "service,service", place: "service", message: "service is there twice"},
		{by: "message", place: "message", message: "message is the line itself"},
		{by: "level,time", place: "time", message: "time is no field"},
		{by: "id", place: "id", message: "each event has an id"},
		{by: `"open`, place: `"open`, message: "a quote is open"},
		{by: "a,b,c,d,e,f,g,h,i", place: "i", message: "more than 8 fields"},
		{aggs: "p101(x)", place: "p101", message: `there is no aggregate "p101"`},
		{aggs: "median(x)", place: "median", message: `there is no aggregate "median"`},
		{aggs: "avg", place: "avg", message: "avg is of a field"},
		{aggs: "count(x)", place: "count(", message: "count counts events"},
		{aggs: "avg(x", place: "avg(x", message: "a parenthesis is open"},
		{aggs: "avg()", place: ")", message: "a field's name is missing"},
		{aggs: "avg(host)", place: "host", message: "host is not a number"},
		{aggs: "sum(message)", place: "message", message: "message has no aggregates"},
		{aggs: "quantile(x)", place: "x", message: "a quantile has a share"},
		{aggs: "quantile(2,x)", place: "2", message: "a quantile has a share"},
		{aggs: "quantile(NaN,x)", place: "NaN", message: "a quantile has a share"},
	} {
		var err error
		if c.by != "" {
			_, err = ParseBy(c.by)
		} else {
			_, err = ParseAggs(c.aggs)
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeStats || e.Mend == "" || !strings.HasPrefix(e.Message, c.message) || e.Text != c.by+c.aggs || e.Text[e.Pos:e.End] != c.place {
			t.Errorf("%q %q: %#v", c.by, c.aggs, err)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	for _, s := range []string{"service,level", `"a b",c`, "count,avg(x)", "p99.9(x),quantile(0.5,y)", "p(", "quantile(", `max("a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func() error{
			func() error { _, err := ParseBy(text); return err },
			func() error {
				aggs, err := ParseAggs(text)
				for _, a := range aggs {
					again, err := ParseAggs(a.String())
					if err != nil || len(again) != 1 || again[0] != a {
						t.Errorf("%q is %q, which is %v, %v", text, a, again, err)
					}
				}
				return err
			},
		} {
			var e *Error
			if err := parse(); err != nil && (!errors.As(err, &e) || e.Pos < 0 || e.End < e.Pos || e.End > len(text) || e.Error() == "" || e.Caret() == "") {
				t.Errorf("%q: %#v", text, err)
			}
		}
	})
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]float64{"1": 1, "-1.50": -1.5, "2e3": 2000, "0.1": 0.1, "-0": 0, "007": 7, "43.2": 43.2, "1e308": 1e308} {
		if v, ok := ParseNumber([]byte(text)); !ok || v != want {
			t.Errorf("%s is %v, %v", text, v, ok)
		}
	}
	for _, text := range []string{"", "-", "x", "1.5s", "0x10", "1,000", " 1", "1 ", "NaN", "inf", "1e999", "-1e999", "+1", ".5", "1."} {
		if v, ok := ParseNumber([]byte(text)); ok {
			t.Errorf("%q is %v", text, v)
		}
	}
}

// eventTable is a [StatsTable] over events of one service in order of time.
type eventTable []event.Event

func (t eventTable) Rows() int       { return len(t) }
func (t eventTable) Service() string { return string(t[0].Service) }

func (t eventTable) Times() ([]int64, error) {
	var out []int64
	for i := range t {
		out = append(out, t[i].Time)
	}
	return out, nil
}

func (t eventTable) Levels() ([]uint8, error) {
	var out []uint8
	for i := range t {
		out = append(out, uint8(t[i].Level))
	}
	return out, nil
}

func (t eventTable) Values(field string, rows bitset.Set, fn func(int, []byte)) error {
	get := builtinValue(field)
	for _, kind := range []event.Kind{event.String, event.Number, event.Bool, event.Null, event.JSON} { // a column for each, as a block has
		for i := range t {
			if !rows.Has(i) {
				continue
			}
			if get != nil {
				if v := get(&t[i]); len(v) > 0 && kind == event.String {
					fn(i, v)
				}
				continue
			}
			for _, f := range t[i].Fields {
				if string(f.Name) == field && f.Kind == kind {
					fn(i, f.Value)
				}
			}
		}
	}
	return nil
}

// Feed gives some values as texts, some by their number, and decimals by a table, as a block's columns may.
func (t eventTable) Feed(field string, rows bitset.Set, sink *ValueSink) error {
	return t.Values(field, rows, func(row int, v []byte) {
		x, err := strconv.ParseUint(string(v[len(v)-min(len(v), 2):]), 10, 8)
		if digits := strconv.AppendUint(nil, x, 10); err == nil && bytes.HasSuffix(v, digits) {
			if d := sink.Decimals(v[:len(v)-len(digits)], 10+x, 1+row*5); d != nil {
				ids := d.Known()
				if ids[x] == 0 {
					ids[x] = d.Number(int(x))
				}
				sink.IDs([]int32{int32(row)}, ids[x:x+1])
				return
			}
		}
		if row%2 == 0 {
			sink.Text(row, v)
		} else {
			sink.IDs([]int32{int32(row)}, []int32{sink.Number(v)})
		}
	})
}

func (t eventTable) Numbers(field string, rows bitset.Set, fn func(int, float64)) error {
	return t.Values(field, rows, func(row int, v []byte) {
		if f, ok := ParseNumber(v); ok {
			fn(row, f)
		}
	})
}

// naiveStats answers a request over events by the definitions.
func naiveStats(r *StatsRequest, events []event.Event) *Stats {
	type group struct {
		StatsGroup
		events []*event.Event
	}
	groups := map[string]*group{}
	for i := range events {
		e := &events[i]
		tuples := [][]StatsValue{nil}
		for _, name := range r.By {
			var values []StatsValue
			if get := builtinValue(name); get != nil {
				v := string(get(e))
				values = []StatsValue{{v, v == ""}}
			} else {
				for _, f := range e.Fields {
					if v := (StatsValue{string(f.Value), false}); string(f.Name) == name && !slices.Contains(values, v) {
						values = append(values, v)
					}
				}
				if values == nil {
					values = []StatsValue{{Null: true}}
				}
			}
			var next [][]StatsValue
			for _, tuple := range tuples {
				for _, v := range values {
					next = append(next, append(slices.Clone(tuple), v))
				}
			}
			tuples = next
		}
		start := int64(0)
		if r.Every > 0 {
			for start = e.Time - e.Time%r.Every; start > e.Time; start -= r.Every {
			}
		}
		for _, tuple := range tuples {
			key := fmt.Sprint(start, len(tuple))
			for _, v := range tuple {
				key += fmt.Sprintf("%q %v ", v.Text, v.Null)
			}
			g := groups[key]
			if g == nil {
				g = &group{StatsGroup: StatsGroup{By: tuple, Time: start}}
				groups[key] = g
			}
			g.events = append(g.events, e)
		}
	}
	if len(r.By) == 0 && r.Every == 0 && len(groups) == 0 {
		groups[""] = &group{}
	}
	s := &Stats{}
	compute := func(events []*event.Event) (out []float64) {
		for _, a := range r.Aggs {
			out = append(out, naiveAgg(a, events))
		}
		return out
	}
	series := map[string][]*event.Event{}
	name := func(by []StatsValue) string { return fmt.Sprintf("%+v", by) }
	for _, g := range groups {
		series[name(g.By)] = append(series[name(g.By)], g.events...)
	}
	kept := map[string]bool{}
	type ranked struct {
		name  string
		first float64
		by    []StatsValue
	}
	var order []ranked
	for _, g := range groups {
		n := name(g.By)
		if !slices.ContainsFunc(order, func(r ranked) bool { return r.name == n }) {
			order = append(order, ranked{n, naiveAgg(r.Aggs[0], series[n]), g.By})
		}
	}
	slices.SortFunc(order, func(a, b ranked) int {
		return cmp.Or(compareHighest(a.first, b.first), slices.CompareFunc(a.by, b.by, compareValues))
	})
	for i, o := range order {
		kept[o.name] = r.Top == 0 || i < r.Top
	}
	rest := map[int64][]*event.Event{}
	for _, g := range groups {
		if kept[name(g.By)] {
			g.Values = compute(g.events)
			s.Groups = append(s.Groups, g.StatsGroup)
			continue
		}
		rest[g.Time] = append(rest[g.Time], g.events...)
	}
	for at, events := range rest {
		s.Other = append(s.Other, StatsGroup{Time: at, Values: compute(events)})
	}
	if r.Top > 0 {
		s.LeftOut = max(0, len(order)-r.Top)
	}
	slices.SortFunc(s.Other, func(a, b StatsGroup) int { return cmp.Compare(a.Time, b.Time) })
	slices.SortFunc(s.Groups, func(a, b StatsGroup) int {
		c := cmp.Compare(a.Time, b.Time)
		if r.Every == 0 {
			c = compareHighest(a.Values[0], b.Values[0])
		}
		return cmp.Or(c, slices.CompareFunc(a.By, b.By, compareValues))
	})
	return s
}

func naiveAgg(a Agg, events []*event.Event) float64 {
	if a.Kind == Count {
		return float64(len(events))
	}
	var numbers []float64
	texts := map[string]bool{}
	for _, e := range events {
		if get := builtinValue(a.Field); get != nil {
			if v := get(e); len(v) > 0 {
				texts[string(v)] = true
			}
		}
		for _, f := range e.Fields {
			if string(f.Name) == a.Field {
				texts[string(f.Value)] = true
				if v, err := strconv.ParseFloat(string(f.Value), 64); err == nil && !strings.ContainsAny(string(f.Value), "xXnNiI_+") {
					numbers = append(numbers, v)
				}
			}
		}
	}
	sum := 0.0
	for _, v := range numbers {
		sum += v
	}
	switch {
	case a.Kind == Distinct:
		return float64(len(texts))
	case a.Kind == Sum:
		return sum
	case len(numbers) == 0:
		return math.NaN()
	case a.Kind == Avg:
		return sum / float64(len(numbers))
	case a.Kind == Min:
		return slices.Min(numbers)
	case a.Kind == Max:
		return slices.Max(numbers)
	}
	slices.Sort(numbers)
	i := 0 // the smallest that at least the share does not exceed
	for float64(i+1) < a.Q*float64(len(numbers))-1e-9 {
		i++
	}
	return numbers[i]
}

// sameStats compares answers; sums may differ by what rounding makes of another order.
func sameStats(t *testing.T, what string, got, want *Stats) {
	t.Helper()
	same := func(a, b []StatsGroup) bool {
		return slices.EqualFunc(a, b, func(x, y StatsGroup) bool {
			return slices.Equal(x.By, y.By) && x.Time == y.Time && slices.EqualFunc(x.Values, y.Values, func(v, w float64) bool {
				return v == w || math.IsNaN(v) && math.IsNaN(w) || math.Abs(v-w) <= 1e-9*max(1, math.Abs(v))
			})
		})
	}
	if !same(got.Groups, want.Groups) || !same(got.Other, want.Other) || got.LeftOut != want.LeftOut {
		t.Fatalf("%s:\ngot  %v\nother %v %d\nwant %v\nother %v %d", what, got.Groups, got.Other, got.LeftOut, want.Groups, want.Other, want.LeftOut)
	}
}

func drawStatsEvents(rng *rand.Rand, n int) []event.Event {
	pick := func(list ...string) []byte { return []byte(list[rng.IntN(len(list))]) }
	var events []event.Event
	for range n {
		e := event.Event{Time: rng.Int64N(4000) - 1000, Level: event.Level(rng.IntN(9)), Service: pick("", "a", "b", "c"), Host: pick("", "h1", "h2"), Env: pick("prod")}
		for range rng.IntN(4) {
			kind := event.Kind(rng.IntN(2))
			e.Fields = append(e.Fields, event.Field{Name: pick("user", "status", "d"), Kind: kind, Value: pick("", "1", "2", "-7.25", "500", "4e2", "x", "1.5s", "0x1", "007", "anna")})
		}
		events = append(events, e)
	}
	return events
}

func drawStatsRequest(rng *rand.Rand) *StatsRequest {
	r := &StatsRequest{}
	for _, name := range []string{"service", "level", "user", "status", "host", "env", "none"} {
		if rng.IntN(4) == 0 {
			r.By = append(r.By, name)
		}
	}
	rng.Shuffle(len(r.By), func(i, j int) { r.By[i], r.By[j] = r.By[j], r.By[i] })
	all, err := ParseAggs("count,sum(d),avg(d),min(status),max(d),p50(d),p99.9(status),quantile(0,d),distinct(user),distinct(service),distinct(level),distinct(host),sum(none)")
	if err != nil {
		panic(err)
	}
	for _, i := range rng.Perm(len(all))[:1+rng.IntN(4)] {
		r.Aggs = append(r.Aggs, all[i])
	}
	if rng.IntN(2) == 0 {
		r.Every = 1 + rng.Int64N(2000)
	}
	if rng.IntN(2) == 0 {
		r.Top = 1 + rng.IntN(4)
	}
	return r
}

func TestTallyAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 3000 {
		events := drawStatsEvents(rng, rng.IntN(60))
		r := drawStatsRequest(rng)
		budget := NewBudget(DefaultMemory)
		tallies := []*Tally{NewTally(r, budget), NewTally(r, budget), NewTally(r, budget)}
		byService := map[string]eventTable{}
		for i := range events {
			if rng.IntN(3) == 0 {
				tallies[rng.IntN(3)].Add(&events[i])
				continue
			}
			name := string(events[i].Service)
			byService[name] = append(byService[name], events[i])
		}
		for _, name := range slices.Sorted(maps.Keys(byService)) { // the same draws each time
			table := byService[name]
			slices.SortStableFunc(table, func(a, b event.Event) int { return cmp.Compare(a.Time, b.Time) })
			// The rows in two parts, with rows that are in neither.
			table = append(append(eventTable{{Service: table[0].Service, Time: -5000, Level: event.Alert}}, table...), event.Event{Service: table[0].Service, Time: 9000})
			parts := [2]bitset.Set{bitset.New(len(table)), bitset.New(len(table))}
			for i := 1; i < len(table)-1; i++ {
				parts[rng.IntN(2)].Add(i)
			}
			for _, rows := range parts {
				if err := tallies[rng.IntN(3)].AddTable(table, rows); err != nil {
					t.Fatal(err)
				}
			}
		}
		tallies[0].Merge(tallies[1])
		tallies[0].Merge(tallies[2])
		got := tallies[0].Stats()
		if got.Summary.Matched != int64(len(events)) || !got.Summary.Complete || len(got.Estimated) > 0 {
			t.Fatalf("round %d: %+v", round, got)
		}
		sameStats(t, fmt.Sprintf("round %d: by %q every %d top %d %v", round, r.By, r.Every, r.Top, r.Aggs), got, naiveStats(r, events))
	}
}

func TestTallyCounts(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		events := drawStatsEvents(rng, rng.IntN(60))
		r := &StatsRequest{Aggs: []Agg{{name: "count"}}, Every: int64(rng.IntN(3)) * 300}
		r.By = [][]string{nil, {"service"}, {"level"}, {"level", "service"}}[rng.IntN(4)]
		if !r.ByCounts(300) {
			t.Fatal("not by counts")
		}
		tally := NewTally(r, NewBudget(DefaultMemory))
		for i := range events {
			e := &events[i]
			tally.AddCount(e.Service, e.Level, e.Time, 1)
		}
		sameStats(t, fmt.Sprint(r.By, r.Every), tally.Stats(), naiveStats(r, events))
	}
}

func TestByCounts(t *testing.T) {
	for text, want := range map[string]bool{
		"*": true, "service:pay*": true, "level>=warning -service:(a,b)": true, "level>=error OR service~x": true,
		"timeout": false, "level>=error host:x": false, "-timeout": false, "status:500": false, "id:5": false,
	} {
		q, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		r := &StatsRequest{Query: q, By: []string{"service"}, Every: 600, Aggs: []Agg{{name: "count"}}}
		if got := r.ByCounts(300); got != want {
			t.Errorf("%s: %v", text, got)
		}
		r.Every = 500
		if r.ByCounts(300) {
			t.Errorf("%s: steps that are not whole buckets", text)
		}
	}
}

func TestByNumber(t *testing.T) {
	for by, want := range map[string]bool{"": true, "service": true, "level": false, "service,host": false} {
		r := &StatsRequest{Aggs: []Agg{{name: "count"}}}
		r.By, _ = ParseBy(by)
		if r.ByNumber() != want {
			t.Errorf("by %q: %v", by, !want)
		}
		r.Every = 5
		if r.ByNumber() {
			t.Errorf("by %q and steps of time", by)
		}
		r.Every, r.Aggs = 0, append(r.Aggs, Agg{Kind: Sum, Field: "x"})
		if r.ByNumber() {
			t.Errorf("by %q and a sum", by)
		}
	}
}

func TestEstimates(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	const n = 150_000
	aggs, err := ParseAggs("p50(d),p90(d),p99(d),p99.9(d),quantile(0,d),quantile(1,d),distinct(d)")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		draw func() float64
	}{
		{"log-normal", func() float64 { return math.Exp(rng.NormFloat64()*2 + 3) }},
		{"normal", func() float64 { return rng.NormFloat64() * 1e6 }},
		{"tiny", func() float64 { return rng.Float64() * 1e-200 }},
		{"powers", func() float64 { return math.Ldexp(1, rng.IntN(600)-300) }},
		{"zeros", func() float64 { return float64(rng.IntN(3)-1) * rng.Float64() }},
	} {
		r := &StatsRequest{Aggs: aggs}
		budget := NewBudget(DefaultMemory)
		tallies := [2]*Tally{NewTally(r, budget), NewTally(r, budget)}
		var values []float64
		texts := map[string]bool{}
		for i := range n {
			text := strconv.FormatFloat(c.draw(), 'g', -1, 64)
			v, ok := ParseNumber([]byte(text))
			if !ok {
				t.Fatal(text)
			}
			values = append(values, v)
			texts[text] = true
			tallies[min(i/(n/3), 1)].Add(&event.Event{Fields: []event.Field{{Name: []byte("d"), Value: []byte(text)}}})
		}
		tallies[0].Merge(tallies[1])
		s := tallies[0].Stats()
		slices.Sort(values)
		for i, a := range aggs[:6] {
			want, got := values[rank(a.Q, n)], s.Groups[0].Values[i]
			if math.Abs(got-want) > QuantileError*math.Abs(want) {
				t.Errorf("%s: %s is %v, want %v", c.name, a, got, want)
			}
		}
		// The hashes are others in each process, and so is the estimate: it is compared with what comes of these hashes.
		if got, want := s.Groups[0].Values[6], naiveDistinct(texts); got != want {
			t.Errorf("%s: %v different values, want %v of %d", c.name, got, want, len(texts))
		}
		if len(s.Estimated) < 6 || s.Estimated[0] != aggs[0] {
			t.Errorf("%s: estimated %v", c.name, s.Estimated)
		}
	}
}

// naiveDistinct counts texts, or estimates how many they are from their hashes by the definition of HyperLogLog.
func naiveDistinct(texts map[string]bool) float64 {
	if len(texts) <= MaxExactDistinct {
		return float64(len(texts))
	}
	const m = 1 << 14
	var longest [m]int // place of the first one behind the 14 bits that say where
	for text := range texts {
		hash, at := maphash.String(textSeed, text), 1
		for ; at <= 50 && hash>>(50-at)&1 == 0; at++ {
		}
		longest[hash>>50] = max(longest[hash>>50], at)
	}
	sum := 0.0
	for _, at := range longest {
		sum += math.Pow(2, -float64(at))
	}
	return math.Round(0.7213 / (1 + 1.079/m) * m * m / sum)
}

// TestDistinctError: estimates of how many values there are have the standard error that is said, 0.8 %, here of the same hashes each time.
func TestDistinctError(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	for _, n := range []int{MaxExactDistinct + 1, 250_000} {
		const sets = 10
		squares := 0.0
		for range sets {
			var d different
			budget := allowance{from: NewBudget(DefaultMemory)}
			for range n {
				d.addHash(rng.Uint64(), &budget)
			}
			off := d.count()/float64(n) - 1
			if squares += off * off; d.registers == nil || math.Abs(off) > 0.03 {
				t.Errorf("%d values are estimated %+.2f %% off", n, 100*off)
			}
		}
		if off := math.Sqrt(squares / sets); off > 0.01 {
			t.Errorf("%d values are estimated %.2f %% off in the mean", n, 100*off)
		} else {
			t.Logf("%d values: %.2f %%", n, 100*off)
		}
	}
}

func TestTooManyGroups(t *testing.T) {
	r := &StatsRequest{By: []string{"user"}, Aggs: []Agg{{name: "count"}}, Top: 1}
	budget := NewBudget(DefaultMemory)
	tallies := [2]*Tally{NewTally(r, budget), NewTally(r, budget)}
	for i := range 2 * MaxGroups {
		user := strconv.Itoa(i)
		tallies[i%2].Add(&event.Event{Fields: []event.Field{{Name: []byte("user"), Value: []byte(user)}}})
	}
	tallies[0].Merge(tallies[1])
	s := tallies[0].Stats()
	if s.Summary.Complete || len(s.Summary.Reasons) != 1 || !strings.Contains(s.Summary.Reasons[0], "more than 100000 groups") {
		t.Errorf("%+v", s.Summary)
	}
	if s.LeftOut != MaxGroups-1 || s.Other[0].Values[0] != MaxGroups-1 || len(s.Groups) != 1 || s.Summary.Matched != 2*MaxGroups {
		t.Errorf("%d left out, %v", s.LeftOut, s.Groups)
	}
}

func TestStatsMemory(t *testing.T) {
	aggs, _ := ParseAggs("p99(d)")
	r := &StatsRequest{By: []string{"user"}, Aggs: aggs}
	tally := NewTally(r, NewBudget(1<<20))
	e := event.Event{Fields: []event.Field{{Name: []byte("user")}, {Name: []byte("d"), Value: []byte("1")}}}
	n := 0
	for ; tally.Err() == nil && n < 1e6; n++ {
		e.Fields[0].Value = strconv.AppendInt(e.Fields[0].Value[:0], int64(n%100), 10)
		tally.Add(&e)
	}
	if err := tally.Err(); !errors.Is(err, ErrStatsMemory) || n < 50_000 || n > 1e6/4 {
		t.Errorf("after %d values: %v", n, err)
	}
}

func TestUnusedFields(t *testing.T) {
	aggs, _ := ParseAggs("count,avg(d),distinct(none),sum(text)")
	r := &StatsRequest{By: []string{"user", "usr", "host"}, Aggs: aggs}
	tally := NewTally(r, NewBudget(DefaultMemory))
	if s := tally.Stats(); s.Unused != nil {
		t.Errorf("of no events: %q", s.Unused)
	}
	tally = NewTally(r, NewBudget(DefaultMemory))
	tally.Add(&event.Event{Fields: []event.Field{{Name: []byte("user"), Value: []byte("u")}, {Name: []byte("d"), Value: []byte("1")}, {Name: []byte("text"), Value: []byte("t")}}})
	if s := tally.Stats(); !slices.Equal(s.Unused, []string{"usr", "none", "text"}) {
		t.Errorf("%q", s.Unused)
	}
}

// BenchmarkTallyTable counts the rows of a block by a field with many values, and computes a quantile by service.
func BenchmarkTallyTable(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	table := make(eventTable, 32<<10)
	for i := range table {
		table[i] = event.Event{Service: []byte("a"), Time: int64(i), Fields: []event.Field{
			{Name: []byte("user"), Value: []byte("user" + strconv.Itoa(rng.IntN(5000)))}, {Name: []byte("d"), Value: []byte(strconv.Itoa(rng.IntN(1000)))}}}
	}
	rows := bitset.Full(len(table))
	for name, r := range map[string]*StatsRequest{
		"user":  {By: []string{"user"}, Aggs: []Agg{{name: "count"}}},
		"p99":   {By: []string{"service"}, Aggs: []Agg{{Kind: Quantile, Field: "d", Q: 0.99}}},
		"every": {By: []string{"service"}, Every: 1000, Aggs: []Agg{{name: "count"}}},
	} {
		b.Run(name, func(b *testing.B) {
			tally := NewTally(r, NewBudget(math.MaxInt64))
			for b.Loop() {
				if err := tally.AddTable(table, rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(table)), "ns/row")
		})
	}
}

func TestTextSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	s := newTextSet()
	numbers := map[string]int32{}
	for range 100_000 {
		v := make([]byte, rng.IntN(20))
		for i := range v {
			v[i] = "ab\x00\xff"[rng.IntN(4)]
		}
		if len(v) > 17 && rng.IntN(3) == 0 { // longer than what is copied with others
			v = append(v, make([]byte, 5000)...)
		}
		id, slot := s.find(v)
		want, known := numbers[string(v)]
		switch {
		case known && id != want, !known && id >= 0:
			t.Fatalf("%q is %d, want %d, %v", v, id, want, known)
		case !known:
			numbers[string(v)] = s.add(v, slot)
		}
	}
	for text, id := range numbers {
		if slot, hash := packText([]byte(text)); len(text) <= shortSlot {
			found := []lookup{{slot: slot, hash: hash}}
			if s.lookUp(found); found[0].id != id || string(slot.text(make([]byte, 0, shortSlot))) != text {
				t.Fatalf("%q is %+v, want %d", text, found[0], id)
			}
		}
		if s.texts[id] != text {
			t.Fatalf("number %d is %q, want %q", id, s.texts[id], text)
		}
	}
}
