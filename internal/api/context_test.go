package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// around returns the ids of an answer with context, the event itself in brackets, and the summary.
func around(t testing.TB, body []byte) (ids string, s *summary) {
	t.Helper()
	var words []string
	for text := range strings.Lines(string(body)) {
		var l struct {
			Event   *struct{ ID string }
			Context bool
			Group   int
			Summary *summary
		}
		if err := json.Unmarshal([]byte(text), &l); err != nil || s != nil || (l.Event == nil) == (l.Summary == nil) {
			t.Fatalf("line %q, %v", text, err)
		}
		switch s = l.Summary; {
		case s != nil:
		case l.Group != 1:
			t.Errorf("group %d", l.Group)
		case l.Context:
			words = append(words, l.Event.ID)
		default:
			words = append(words, "["+l.Event.ID+"]")
		}
	}
	if s == nil {
		t.Fatalf("no summary in %s", body)
	}
	return strings.Join(words, " "), s
}

func TestContext(t *testing.T) {
	f := newFixture(t)
	host := line("a", "x", 3)
	host.Host = []byte("h")
	f.store.append(line("a", "1", 1), line("a", "2", 2), line("b", "3", 2), line("a", "4", 3), line("a", "5", 3), host, line("a", "7", 3), line("a", "8", 2), line("a", "9", 9))
	for _, c := range []struct{ params, want string }{
		{"id=5", "1 2 8 4 [5] 7 9"},
		{"id=5&before=1&after=1", "4 [5] 7"},
		{"id=5&before=3&after=0", "2 8 4 [5]"},
		{"id=5&before=0&after=2", "[5] 7 9"},
		{"id=5&before=0&after=0", "[5]"},
		{"id=8&before=1", "2 [8] 4 5 7 9"},
		{"id=1&before=5&after=1", "[1] 2"},
		{"id=9&before=1&after=5", "7 [9]"},
		{"id=3", "[3]"},
		{"id=6&before=1000&after=1000", "[6]"},
	} {
		w := f.do("GET", "/api/v1/context?"+c.params, "")
		got, s := around(t, w.Body.Bytes())
		if w.Code != 200 || got != c.want || w.Header().Get("Content-Type") != "application/x-ndjson; charset=utf-8" {
			t.Errorf("%s: %d %s, want %s", c.params, w.Code, got, c.want)
		}
		if s.Matched != 1 || !s.Complete || s.Sequence != 9 || s.TookMS == nil || len(s.Services) != 1 {
			t.Errorf("%s: %+v", c.params, s)
		}
	}
	for _, c := range []struct {
		params      string
		status      int
		code, field string
	}{
		{"id=10", 404, "no_event", "id"},
		{"id=18446744073709551615", 404, "no_event", "id"},
		{"", 400, "bad_parameter", "id"},
		{"id=0", 400, "bad_parameter", "id"},
		{"id=x", 400, "bad_parameter", "id"},
		{"id=-1", 400, "bad_parameter", "id"},
		{"id=18446744073709551616", 400, "bad_parameter", "id"},
		{"id=1&id=2", 400, "bad_parameter", "id"},
		{"id=1&before=1001", 400, "bad_parameter", "before"},
		{"id=1&after=x", 400, "bad_parameter", "after"},
		{"id=1&q=x", 400, "bad_parameter", ""},
		{"id=1&context_by=message", 400, "bad_parameter", "context_by"},
		{"id=1&context_by=a,b", 400, "bad_parameter", "context_by"},
		{"id=1&reports=no", 400, "bad_parameter", "reports"},
	} {
		w := f.do("GET", "/api/v1/context?"+c.params, "")
		if a := errorOf(t, w.Body.Bytes()).Error; w.Code != c.status || a.Code != c.code || a.Field != c.field {
			t.Errorf("%s: %d %s", c.params, w.Code, w.Body)
		}
	}
	if w := f.do("POST", "/api/v1/context", "id=1"); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

// What probes and containers say regularly is no neighbour of anything else, when it is not asked for.
func TestContextWithoutReports(t *testing.T) {
	f := newFixture(t)
	report := line("docker", "cpu 3", 2)
	report.Stream = []byte("stats")
	f.store.append(line("a", "1", 1), report, line("b", "3", 3), report)
	for params, want := range map[string]string{
		"id=3&context_by=all":               "1 2 4 [3]",
		"id=3&context_by=all&reports=false": "1 [3]",
		"id=2&context_by=all&reports=false": "1 [2] 4 3",
	} {
		if ids, _ := around(t, f.do("GET", "/api/v1/context?"+params, "").Body.Bytes()); ids != want {
			t.Errorf("%s: %s, want %s", params, ids, want)
		}
	}
	var got query.Request
	f.store.hook = func(_ context.Context, r query.Request) error { got = r; return nil }
	for params, want := range map[string]bool{"q=x": false, "q=x&context_by=all": false, "q=x&context_by=all&reports=false": true, "q=service:a&context_by=all&reports=false": false} {
		f.do("GET", "/api/v1/query?before=1&"+params, "")
		if (got.Beside != nil) != want || (got.ContextBy != query.ContextBy{}) != strings.Contains(params, "all") {
			t.Errorf("%s: %+v", params, got)
		}
	}
	if w := f.do("GET", "/api/v1/query?q=x&before=1&context_by=time", ""); w.Code != 400 || !strings.Contains(w.Body.String(), `"field":"context_by"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// What arrives while the answer is made is not in it.
func TestContextIsOfOneMoment(t *testing.T) {
	for _, c := range []struct{ id, want string }{{"1", "[1] 2"}, {"2", "1 [2]"}} {
		f := newFixture(t)
		f.store.append(line("a", "x", 1), line("a", "y", 3))
		f.store.hook = func(context.Context, query.Request) error {
			f.store.append(line("a", "late", 2))
			return nil
		}
		if ids, s := around(t, f.do("GET", "/api/v1/context?id="+c.id, "").Body.Bytes()); ids != c.want || s.Sequence != 2 {
			t.Errorf("%s, want %s", ids, c.want)
		}
	}
}

func TestContextOfADamagedStore(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "x", 1), line("a", "y", 2))
	f.store.scan = query.Summary{Bytes: 2, Blocks: 3, Pruned: 4, Reasons: []string{"a block is corrupt"}}
	_, s := around(t, f.do("GET", "/api/v1/context?id=1", "").Body.Bytes())
	if s.Complete || len(s.Reasons) != 1 || s.Searched.Bytes != 6 || s.Searched.Blocks != 9 || s.Searched.Pruned != 12 || s.Searched.Events != 5 {
		t.Errorf("%+v", s)
	}
	// What is not there may be in the part that cannot be read.
	w := f.do("GET", "/api/v1/context?id=9", "")
	if a := errorOf(t, w.Body.Bytes()).Error; w.Code != 500 || a.Code != "store" || !strings.Contains(a.Message, "a block is corrupt") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	// An error of any of its searches is the answer.
	for fails := range 3 {
		n := 0
		f.store.hook = func(context.Context, query.Request) error {
			if n++; n == fails+1 {
				return errors.New("disk gone")
			}
			return nil
		}
		if w := f.do("GET", "/api/v1/context?id=1", ""); w.Code != 500 || !strings.Contains(w.Body.String(), "disk gone") {
			t.Errorf("search %d: %d %s", fails, w.Code, w.Body)
		}
	}
}

func TestContextIsBounded(t *testing.T) {
	f := newFixture(t)
	long := strings.Repeat("x", 1<<20)
	for i := range 20 {
		f.store.append(line("a", long, int64(i)))
	}
	w := f.do("GET", "/api/v1/context?id=20&before=20&after=1", "")
	ids, s := around(t, w.Body.Bytes())
	if want := "5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 [20]"; ids != want {
		t.Error(ids)
	}
	if s.Complete || len(s.Reasons) != 1 || !strings.Contains(s.Reasons[0], "16 MiB") {
		t.Errorf("%+v", s)
	}
}

// The events around one are those that a search for it shows around it, in a real store, before and after it is sealed.
func TestContextEqualsSearch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	open := func() *index.Store {
		s, err := index.Open(index.Options{Dir: dir, NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	times := []int64{0, -1, 1, start, start + 1, math.MinInt64 + 1, math.MaxInt64 - 1}
	words := []string{"", "a", "A", "b c", `"`, `\`, "'`\"", "*", "a*", "\xff", "1..5", "ä", "level", "x:y", "-a", "(b", strings.Repeat("long", 20000)}
	fill := func(s *index.Store) {
		var b event.Batch
		for range 60 {
			e := b.Add()
			e.Time = times[rng.IntN(len(times))]
			if rng.IntN(2) == 0 {
				e.Time = start + int64(rng.IntN(40))
			}
			few := words
			if rng.IntN(2) == 0 {
				few = words[:2]
			}
			for _, p := range []*[]byte{&e.Service, &e.Env, &e.Host, &e.Container} {
				if *p = []byte("a"); rng.IntN(3) == 0 {
					*p = []byte(few[rng.IntN(len(few))])
				}
			}
			e.Message = fmt.Append(nil, "m", len(b.Events))
			if rng.IntN(3) > 0 {
				b.AddField(e, event.Field{Name: []byte("f"), Value: []byte(words[rng.IntN(4)])})
			}
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	s := open()
	fill(s)
	for range 2 { // then with a segment behind it
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		s = open()
		fill(s)
	}
	defer s.Close(context.Background())
	f := newFixture(t, func(o *Options) { o.Store = s })
	neighbours := 0
	for id := uint64(1); id <= s.LastSeq(); id++ {
		before, after := rng.IntN(4), rng.IntN(4)
		q, err := query.Parse(fmt.Sprint("id:", id))
		if err != nil {
			t.Fatal(err)
		}
		name := []string{"source", "source", "service", "host", "all", "container", "f", "nofield"}[rng.IntN(8)]
		by, err := query.ParseContextBy(name)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		if _, err := s.Search(t.Context(), query.Request{Query: q, Before: before, After: after, ContextBy: by}, func(row query.Row) error {
			row.Group = 1
			want = append(want, string(appendRow(nil, row, true)))
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		w := f.do("GET", fmt.Sprintf("/api/v1/context?id=%d&before=%d&after=%d&context_by=%s", id, before, after, name), "")
		got := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
		if diff := cmp.Diff(want, got[:len(got)-1]); diff != "" {
			t.Fatalf("id %d, before %d, after %d, by %s: %d\n%.2000s", id, before, after, name, w.Code, diff)
		}
		neighbours += len(want) - 1
	}
	if neighbours < 200 {
		t.Errorf("only %d neighbours: the test looks at nothing", neighbours)
	}
}

func TestCheck(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ q, want string }{
		{"", `{"hints":[],"normal":"*","ok":true}`},
		{"level%3C%3D4+++NOT+(status:500..599)", `{"hints":[],"normal":"level>=warning -status:500..599","ok":true}`},
		{"%C3%A4+timeo*", `{"hints":[{"message":"words are substrings already; * is a plain character here","mend":"write timeo","position":3,"end":9}],"normal":"ä \"timeo*\"","ok":true}`},
		{"%C3%A4+(b", `,"position":3,"end":4,"text":"ä (b"},"ok":false}`},
		{"~%22(%22", `"code":"bad_regex"`},
	} {
		w := f.do("GET", "/api/v1/check?q="+c.q, "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.q, w.Code, w.Body)
		}
	}
	if w := f.do("POST", "/api/v1/check", `{"q":"a   b"}`, "Content-Type", "application/json"); w.Code != 200 || !strings.Contains(w.Body.String(), `"normal":"a b"`) {
		t.Errorf("POST: %d %s", w.Code, w.Body)
	}
	if w := f.do("GET", "/api/v1/check?query=a", ""); w.Code != 400 {
		t.Errorf("%d", w.Code)
	}
}
