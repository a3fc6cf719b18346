package index

import (
	"fmt"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Everything that looks at events keeps to the limit of bytes, says so, and tells what it has found until then.
func TestScanBudget(t *testing.T) {
	s := openByHand(t)
	for n := range 10 {
		var b event.Batch
		for i := range 100 {
			line(&b, "a", fmt.Sprintf("user %d logged in", 100*n+i), int64(100*n+i))
			b.AddField(&b.Events[i], event.Field{Name: []byte("user"), Value: fmt.Appendf(nil, "%d", i)})
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if n < 9 { // the last are in memory
			seal(t, s)
		}
	}
	size := s.Services()[0].Bytes
	q := parse(t, "user:*")
	for name, run := range map[string]func(most int64) (query.Summary, error){
		"rows": func(most int64) (query.Summary, error) {
			return s.Search(t.Context(), query.Request{Query: q, MaxBytes: most}, func(query.Row) error { return nil })
		},
		"count": func(most int64) (query.Summary, error) {
			return s.Search(t.Context(), query.Request{Query: parse(t, "user<50 OR user>=50"), CountOnly: true, MaxBytes: most}, nil)
		},
		"context": func(most int64) (query.Summary, error) {
			return s.Search(t.Context(), query.Request{Query: q, Before: 1, After: 1, MaxBytes: most}, func(query.Row) error { return nil })
		},
		"stats": func(most int64) (query.Summary, error) {
			r := statsRequest(t, "user:*", "user", "count")
			r.MaxBytes = most
			a, err := s.Aggregate(t.Context(), r)
			return a.Summary, err
		},
		"patterns": func(most int64) (query.Summary, error) {
			a, err := s.Kinds(t.Context(), query.KindsRequest{Query: q, MaxBytes: most})
			return a.Summary, err
		},
		"fields": func(most int64) (query.Summary, error) {
			a, err := s.Fields(t.Context(), query.FieldsRequest{Query: q, MaxBytes: most})
			return a.Summary, err
		},
	} {
		for _, most := range []int64{0, 2 * size} {
			if sum, err := run(most); err != nil || !sum.Complete || sum.Budget != "" || sum.Matched != 1000 {
				t.Errorf("%s, %d bytes: %+v, %v", name, most, sum, err)
			}
		}
		sum, err := run(size / 2)
		if err != nil || sum.Complete || sum.Budget != query.BudgetScan || sum.Matched == 0 || sum.Matched > 700 || sum.Bytes > size*7/10 ||
			len(sum.Reasons) != 1 || !strings.Contains(sum.Reasons[0], "limits.query_scan") {
			t.Errorf("%s, half of %d bytes: %+v, %v", name, size, sum, err)
		}
	}
}

// What is known of the rows around matches is held until nothing can touch them any more: of many sources that is much.
func TestContextMemory(t *testing.T) {
	s := openByHand(t)
	var b event.Batch
	const sources = 200
	for i := range 3 * sources {
		line(&b, "a", "x", int64(i))
		b.Events[i].Host = fmt.Appendf(nil, "host-%d", i%sources)
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	seal(t, s)
	for _, newest := range []bool{false, true} {
		for most, whole := range map[int64]bool{0: true, sources * trailCost / 2: false} {
			rows := 0
			sum, err := s.Search(t.Context(), query.Request{Query: parse(t, "x"), Before: 2, After: 1, Newest: newest, MaxMemory: most}, func(query.Row) error {
				rows++
				return nil
			})
			if err != nil || sum.Complete != whole || whole && rows != 3*sources || rows == 0 {
				t.Errorf("%d bytes: %d rows, %+v, %v", most, rows, sum, err)
			}
			if !whole && (sum.Budget != query.BudgetMemory || len(sum.Reasons) != 1 || !strings.Contains(sum.Reasons[0], "are left out; ask for fewer rows around")) {
				t.Errorf("%+v", sum)
			}
		}
	}
}

// Patterns beyond the memory are counted as one; no event is lost.
func TestPatternMemory(t *testing.T) {
	s := openByHand(t)
	var b event.Batch
	const kinds = 500
	for i := range 4 * kinds {
		word := string([]byte{'a' + byte(i%kinds%26), 'a' + byte(i%kinds/26), 'q'})
		line(&b, "a", "the "+word+" failed", int64(i+1))
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for _, sealed := range []bool{false, true} {
		if sealed {
			seal(t, s)
		}
		for most, whole := range map[int64]bool{0: true, 100 << 10: false} {
			got, err := s.Kinds(t.Context(), query.KindsRequest{Since: 1, Until: 5 * kinds, Steps: 10, MaxMemory: most})
			if err != nil {
				t.Fatal(err)
			}
			n := got.Other
			for _, k := range got.List {
				n += k.Events
			}
			if n != 4*kinds || got.Summary.Matched != 4*kinds || got.Summary.Complete != whole || (got.Other == 0) != whole || whole && len(got.List) != kinds {
				t.Errorf("sealed %v, %d bytes: %d patterns, %d events, %d others, %+v", sealed, most, len(got.List), n, got.Other, got.Summary)
			}
			if !whole && (got.Summary.Budget != query.BudgetMemory || !strings.Contains(got.Summary.Reasons[0], "limits.query_memory")) {
				t.Errorf("%+v", got.Summary)
			}
		}
	}
}

// Where the memory for different values ends, their number is said to be a lower bound.
func TestFieldMemory(t *testing.T) {
	s := openByHand(t)
	var b event.Batch
	for i := range 20_000 {
		line(&b, "a", "x", int64(i))
		b.AddField(&b.Events[i], event.Field{Name: []byte("user"), Value: fmt.Appendf(nil, "%d", i)})
	}
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	for most, whole := range map[int64]bool{0: true, 1: false} {
		got, err := s.Fields(t.Context(), query.FieldsRequest{MaxMemory: most})
		if err != nil || len(got.List) != 1 || got.List[0].Events != 20_000 || got.List[0].AtLeast == whole {
			t.Errorf("%d bytes: %+v, %v", most, got, err)
		}
	}
}
