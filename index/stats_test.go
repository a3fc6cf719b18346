package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

func statsRequest(t testing.TB, q, by, aggs string) query.StatsRequest {
	t.Helper()
	r := query.StatsRequest{Query: parse(t, q)}
	var err error
	if r.By, err = query.ParseBy(by); err != nil {
		t.Fatal(err)
	}
	if r.Aggs, err = query.ParseAggs(aggs); err != nil {
		t.Fatal(err)
	}
	return r
}

var statsQueries = append([]string{
	"service:pay level>=warning", "level<=4", "-level>=error -service:(shop, web-1)", "service:pay OR level>=error", "dur>100", "dur:0..50 error",
	"*", "*",
}, queries...)

var statsBys = []string{"", "", "service", "level", "level,service", "service,host", "user", "status,service", "user,req.id", "env,container,stream", "dur", "nosuch,level"}

var statsAggs = []string{"count", "count", "avg(dur),count", "p99(dur),p50(dur),sum(dur)", "max(status),min(dur)", "distinct(user),count", "distinct(host),distinct(service),distinct(level)", "sum(nosuch),count"}

// TestAggregateEqualsBruteForce compares with a tally of the events one by one, which package query's tests compare with
// the definitions.
func TestAggregateEqualsBruteForce(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 77))
			c := corpus{rng}
			s := open(t, Options{Dir: t.TempDir(), byHand: true})
			var all []event.Event
			var b event.Batch
			for range 12 {
				b.Reset()
				for range rng.IntN(400) {
					e := c.event(&b)
					e.Time *= 60 // some hours: many buckets of five minutes
					if rng.IntN(2) == 0 {
						v := strconv.FormatFloat(float64(rng.IntN(400_00))/100, 'f', rng.IntN(3), 64)
						b.AddField(e, event.Field{Name: []byte("dur"), Value: b.CopyString(v), Kind: event.Kind(rng.IntN(8) / 7 * rng.IntN(2))})
					}
					if rng.IntN(8) == 0 { // several values
						b.AddField(e, event.Field{Name: []byte("user"), Value: b.CopyString(words[rng.IntN(len(words))])})
						b.AddField(e, event.Field{Name: []byte("user"), Value: b.CopyString(words[rng.IntN(len(words))])})
					}
				}
				if err := s.Append(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
				for i := range b.Events {
					e := b.Events[i].Clone()
					e.Seq = uint64(len(all) + 1)
					all = append(all, e)
				}
				if rng.IntN(3) > 0 {
					seal(t, s)
				}
				if rng.IntN(5) == 0 {
					if err := compactByHand(s); err != nil {
						t.Fatal(err)
					}
				}
				for range 12 {
					pick := func(list []string) string { return list[rng.IntN(len(list))] }
					r := statsRequest(t, pick(statsQueries), pick(statsBys), pick(statsAggs))
					if rng.IntN(2) == 0 {
						r.Since = int64(rng.IntN(60)-5) * int64(time.Minute)
						r.Until = r.Since + int64(rng.IntN(60))*int64(time.Minute)
						if rng.IntN(2) == 0 {
							r.Since += rng.Int64N(1e9)
							r.Until += rng.Int64N(1e9)
						}
					}
					if rng.IntN(2) == 0 {
						r.Every = []int64{int64(time.Second), int64(5 * time.Minute), int64(time.Hour), 7 * int64(time.Minute)}[rng.IntN(4)]
					}
					if rng.IntN(3) == 0 {
						r.Top = 1 + rng.IntN(5)
					}
					if rng.IntN(4) == 0 {
						r.MinSeq = uint64(1 + rng.IntN(len(all)+1))
					}
					if rng.IntN(4) == 0 {
						r.MaxSeq = r.MinSeq + uint64(rng.IntN(len(all)+1))
					}
					compareStats(t, s, all, r)
				}
			}
		})
	}
}

func sameGroups(a, b []query.StatsGroup) bool {
	return slices.EqualFunc(a, b, func(x, y query.StatsGroup) bool {
		return slices.Equal(x.By, y.By) && x.Time == y.Time && slices.EqualFunc(x.Values, y.Values, func(v, w float64) bool {
			return v == w || math.IsNaN(v) && math.IsNaN(w) || math.Abs(v-w) <= 1e-9*math.Abs(v)
		})
	})
}

func compareStats(t *testing.T, s *Store, all []event.Event, r query.StatsRequest) {
	t.Helper()
	tally := query.NewTally(&r, query.NewBudget(query.DefaultMemory))
	for _, e := range brute(all, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MinSeq: r.MinSeq, MaxSeq: r.MaxSeq}) {
		tally.Add(&e)
	}
	want := tally.Stats()
	got, err := s.Aggregate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	what := fmt.Sprintf("%s by %q every %s %v top %d from %d to %d, sequences %d to %d", r.Query, r.By, time.Duration(r.Every), r.Aggs, r.Top, r.Since, r.Until, r.MinSeq, r.MaxSeq)
	if !got.Summary.Complete || got.Summary.Matched != want.Summary.Matched || got.LeftOut != want.LeftOut || !slices.Equal(got.Unused, want.Unused) {
		t.Fatalf("%s: %+v, %d left out, unused %q; want %d, %d, %q", what, got.Summary, got.LeftOut, got.Unused, want.Summary.Matched, want.LeftOut, want.Unused)
	}
	// Sums that differ in their last digit may change places.
	if !sameGroups(got.Groups, want.Groups) || !sameGroups(got.Other, want.Other) {
		t.Fatalf("%s:\ngot  %v\nother %v\nwant %v\nother %v", what, got.Groups, got.Other, want.Groups, want.Other)
	}
}

// TestAggregateOfFirstFormat is for blocks of plain rows and segments without counts.
func TestAggregateOfFirstFormat(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true}
	if err := os.CopyFS(o.Dir, os.DirFS("testdata/v1-store/store")); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	var all []event.Event
	_, err := s.Search(t.Context(), query.Request{}, func(r query.Row) error {
		e := r.Event.Clone()
		all = append(all, e)
		return nil
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	rng := rand.New(rand.NewPCG(1, 78))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	for range 200 {
		r := statsRequest(t, pick("*", "level<=4", "error", "-service:pay"), pick(statsBys...), pick(statsAggs...))
		r.Every = int64(rng.IntN(2)) * int64(5*time.Minute)
		if rng.IntN(2) == 0 {
			r.Since, r.Until = all[len(all)/4].Time, all[len(all)/2].Time
		}
		compareStats(t, s, all, r)
	}
}

// TestAggregateReadsNothing is about what footers answer.
func TestAggregateReadsNothing(t *testing.T) {
	s := open(t, Options{byHand: true})
	var b event.Batch
	for i := range 4000 {
		line(&b, []string{"pay", "web"}[i%2], fmt.Sprintf("request took %d ms", 10_000+i), int64(i)*int64(time.Second))
		b.Events[i].Level = event.Level(i % 9)
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	const hour = int64(time.Hour)
	for _, c := range []struct {
		q, by        string
		every        time.Duration
		since, until int64
		opened       int
	}{
		{"*", "", 0, 0, 0, 0},
		{"*", "service,level", 5 * time.Minute, 0, 0, 0},
		{"level>=error service:pay", "service", time.Hour, 0, 0, 0},
		{"request", "service", 0, 0, 0, 0}, // in all events, as their form says
		{"nosuch", "host", time.Second, 0, 0, 0},
		{"*", "level", 0, 600 * int64(time.Second), hour, 0}, // whole buckets
		{"*", "level", 0, 601 * int64(time.Second), hour, 2}, // one is cut
		{"*", "host", 0, 0, 0, 2},
		{"*", "", time.Minute, 0, 0, 2},
		{"13999", "", 0, 0, 0, 1},
	} {
		r := statsRequest(t, c.q, c.by, "")
		r.Every, r.Since, r.Until = int64(c.every), c.since, c.until
		got, err := s.Aggregate(t.Context(), r)
		if err != nil || got.Summary.Blocks != c.opened {
			t.Errorf("%s by %s every %s: %d blocks read, want %d: %+v, %v", c.q, c.by, c.every, got.Summary.Blocks, c.opened, got.Summary.Scan, err)
		}
	}
}

func TestAggregateMemory(t *testing.T) {
	s := open(t, Options{byHand: true})
	var b event.Batch
	for i := range 3000 {
		line(&b, "pay", "x", int64(i))
		b.AddField(&b.Events[i], event.Field{Name: []byte("user"), Value: fmt.Appendf(nil, "%d", i)})
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []bool{false, true} {
		if sealed {
			seal(t, s)
		}
		r := statsRequest(t, "*", "user", "count,distinct(user)")
		r.MaxMemory = 1000
		got, err := s.Aggregate(t.Context(), r)
		if err != nil || got.Summary.Complete || got.Summary.Budget != query.BudgetMemory || len(got.Groups) == 0 || len(got.Summary.Reasons) != 1 ||
			!strings.Contains(got.Summary.Reasons[0], "the groups need more than 1000 bytes, as much as they may") || !strings.Contains(got.Summary.Reasons[0], "limits.query_memory") {
			t.Errorf("sealed %v: %d groups, %+v, %v", sealed, len(got.Groups), got.Summary, err)
		}
		r.MaxMemory = 0
		if got, err = s.Aggregate(t.Context(), r); err != nil || !got.Summary.Complete || got.Summary.Budget != "" || len(got.Groups) != 3000 {
			t.Errorf("sealed %v: %d groups, %+v, %v", sealed, len(got.Groups), got.Summary, err)
		}
	}
}

func TestAggregateEmpty(t *testing.T) {
	s := open(t, Options{})
	r := statsRequest(t, "nosuch:1", "", "count,avg(x)")
	got, err := s.Aggregate(t.Context(), r)
	if err != nil || len(got.Groups) != 1 || got.Groups[0].Values[0] != 0 || !math.IsNaN(got.Groups[0].Values[1]) || !slices.Equal(got.Summary.UnknownFields, []string{"nosuch"}) {
		t.Errorf("%+v, %v", got, err)
	}
	r = statsRequest(t, "*", "service", "count")
	if got, err = s.Aggregate(t.Context(), r); err != nil || len(got.Groups) != 0 || !got.Summary.Complete {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAggregateEnds(t *testing.T) {
	s := open(t, Options{})
	var b event.Batch
	line(&b, "a", "x", 1)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if _, err := s.Aggregate(ctx, statsRequest(t, "*", "service", "")); !errors.Is(err, gone) {
		t.Errorf("after its context: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Aggregate(t.Context(), statsRequest(t, "*", "service", "")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestAggregateOfDamage(t *testing.T) {
	s := open(t, Options{})
	s.damage = append(s.damage, errors.New("a segment is damaged"))
	got, err := s.Aggregate(t.Context(), statsRequest(t, "*", "", ""))
	if err != nil || got.Summary.Complete || !strings.Contains(strings.Join(got.Summary.Reasons, " "), "is damaged") {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whichever bit of a segment is flipped: aggregates are what they were, or it is said that something is missing.
func TestAggregateOfFlippedBits(t *testing.T) {
	disk := vfs.NewCrash(1)
	o := Options{Dir: "/store", FS: disk, byHand: true, Now: new(ticks).now} // the same bits each time
	s := open(t, o)
	var b event.Batch
	for i := range 300 {
		line(&b, []string{"pay", "web"}[i%2], fmt.Sprintf("GET /items/%d took %d ms", i*7, i), int64(i)*int64(20*time.Second))
		e := &b.Events[i]
		e.Level = event.Level(i % 9)
		b.AddField(e, event.Field{Name: []byte("status"), Value: b.Copy(fmt.Append(nil, 200+i%5*100)), Kind: event.Number})
		b.AddField(e, event.Field{Name: []byte("user"), Value: b.Copy(fmt.Appendf(nil, "u%d", i%17))})
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	s.Close(t.Context())
	dir := o.Dir + "/segments"
	files, err := disk.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	name := dir + "/" + files[0]
	file, err := disk.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	size, err := file.Size()
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	if _, err := file.ReadAt(data, 0); err != nil {
		t.Fatal(err)
	}
	var requests []query.StatsRequest
	for _, c := range []struct {
		q, by, aggs string
		every       time.Duration
	}{
		{"*", "service", "count", 5 * time.Minute}, {"level>=error", "level", "count", 0}, {"*", "status,level", "count", 0}, {"*", "user", "count", 0},
		{"status>=400", "service", "count,avg(status),p50(status),distinct(user)", time.Minute}, {"items 7", "", "count", 0},
	} {
		r := statsRequest(t, c.q, c.by, c.aggs)
		r.Every = int64(c.every)
		requests = append(requests, r)
	}
	ask := func(s *Store) (list []*query.Stats) {
		for _, r := range requests {
			got, err := s.Aggregate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, got)
		}
		return list
	}
	s = open(t, o)
	right := ask(s)
	s.Close(t.Context())
	rng := rand.New(rand.NewPCG(3, 5))
	said := 0
	for range 500 {
		bit := rng.IntN(8 * len(data))
		bad := slices.Clone(data)
		bad[bit/8] ^= 1 << (bit % 8)
		file, err := disk.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(bad); err != nil {
			t.Fatal(err)
		}
		file.Close()
		s, err := Open(o)
		if err != nil {
			continue // taken for a later version, which is said
		}
		for i, got := range ask(s) {
			r, want := requests[i], right[i]
			if got.Summary.Matched > want.Summary.Matched {
				t.Errorf("bit %d of byte %d: %s by %q: %d match, %d are right", bit%8, bit/8, r.Query, r.By, got.Summary.Matched, want.Summary.Matched)
			}
			if !got.Summary.Complete {
				said++
			} else if !sameGroups(got.Groups, want.Groups) {
				t.Errorf("bit %d of byte %d: %s by %q: %v instead of %v, and nothing is said", bit%8, bit/8, r.Query, r.By, got.Groups, want.Groups)
			}
		}
		s.Close(t.Context())
	}
	if said == 0 {
		t.Error("no flip was noticed")
	}
}

// TestAggregateAtTheEndsOfTime is for steps and buckets that begin before int64 does or end behind it.
func TestAggregateAtTheEndsOfTime(t *testing.T) {
	s := open(t, Options{byHand: true})
	var all []event.Event
	var b event.Batch
	for i, at := range []int64{math.MinInt64, math.MinInt64 + 1, math.MinInt64 + int64(10*time.Minute), -1, 0, 1, math.MaxInt64 - int64(10*time.Minute), math.MaxInt64 - 1} {
		line(&b, "a", "x", at)
		e := b.Events[i].Clone()
		e.Seq = uint64(i + 1)
		all = append(all, e)
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, by := range []string{"service", "host"} {
			for _, every := range []time.Duration{0, 1, 5 * time.Minute, time.Hour, math.MaxInt64} {
				for _, since := range []int64{0, math.MinInt64 + 1, -1, 1} {
					for _, until := range []int64{0, 1, math.MaxInt64 - 1} {
						r := statsRequest(t, "*", by, "count")
						r.Every, r.Since, r.Until = int64(every), since, until
						compareStats(t, s, all, r)
					}
				}
			}
		}
		seal(t, s)
	}
}
