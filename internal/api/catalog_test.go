package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

func (m *memory) Kinds(ctx context.Context, r query.KindsRequest) (*query.Kinds, error) {
	out := &query.Kinds{}
	at := map[uint64]int{}
	var err error
	out.Summary, err = m.Search(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MaxBytes: r.MaxBytes, MaxMemory: r.MaxMemory}, func(row query.Row) error {
		e := row.Event
		pattern := mask.Pattern(nil, e.Message)
		h := mask.Hash(string(e.Service), e.Level, pattern, new([]byte))
		if r.Only != nil && !r.Only[h] {
			return nil
		}
		i, ok := at[h]
		if !ok {
			i = len(out.List)
			at[h] = i
			k := query.KindCount{Kind: query.Kind{Hash: h, Service: string(e.Service), Level: e.Level, Template: string(pattern), First: e.Time}, Sample: e.Message}
			if r.StepLen() > 0 {
				k.Steps = make([]int64, r.Steps)
			}
			out.List = append(out.List, k)
		}
		k := &out.List[i]
		k.Events++
		k.Last = e.Time
		if k.Steps != nil {
			k.Steps[(e.Time-r.Since)/r.StepLen()]++
		}
		return nil
	})
	return out, err
}

func (m *memory) Fields(ctx context.Context, r query.FieldsRequest) (*query.Fields, error) {
	tally := query.NewFieldTally(query.NewBudget(query.DefaultMemory))
	sum, err := m.Search(ctx, query.Request{Query: r.Query, Since: r.Since, Until: r.Until, MaxBytes: r.MaxBytes, MaxMemory: r.MaxMemory}, func(row query.Row) error {
		tally.Add(row.Event)
		return nil
	})
	f := tally.Fields()
	f.Summary = sum
	return f, err
}

// ledger is a catalogue in memory, which finds a text anywhere.
type ledger struct {
	kinds  []query.Kind
	err    error
	status query.CatalogStatus
}

func (l *ledger) Search(_ context.Context, r query.KindSearch) (*query.KindAnswer, error) {
	a := &query.KindAnswer{Services: []query.KindFacet{{Name: "pay", Kinds: 7}}}
	for _, k := range l.kinds {
		if strings.Contains(k.Template, r.Text) && (r.Service == "" || r.Service == k.Service) {
			a.Kinds = append(a.Kinds, k)
			a.Total++
		}
	}
	return a, l.err
}

func (l *ledger) Lookup(hashes []uint64) (map[uint64]query.KindTimes, error) {
	out := map[uint64]query.KindTimes{}
	for _, k := range l.kinds {
		for _, h := range hashes {
			if h == k.Hash {
				out[h] = query.KindTimes{First: k.First, Last: k.Last}
			}
		}
	}
	return out, nil
}

func (l *ledger) Status() (query.CatalogStatus, error) { return l.status, nil }

func (l *ledger) Rebuild(_ context.Context, told func(done, total int64)) error {
	told(1, 2)
	return l.err
}

func patternsFixture(t *testing.T) (*fixture, *ledger) {
	l := &ledger{}
	f := newFixture(t, func(o *Options) { o.Catalog = l })
	failed := line("web", "failed 7", -20)
	failed.Level = event.Error
	f.store.append(line("pay", "order 1 paid", -100), line("pay", "order 2 paid", -50), line("pay", "order 3 paid", -1), failed, line("", "héy", -30))
	kind := func(service string, level event.Level, template string, first, last int64) query.Kind {
		return query.Kind{Hash: mask.Hash(service, level, []byte(template), new([]byte)), Service: service, Level: level, Template: template, First: start + first*1e9, Last: start + last*1e9}
	}
	l.kinds = []query.Kind{kind("pay", event.Info, "order # paid", -1000, -50), kind("old", event.Info, "long gone order", -9000, -8000), kind("web", event.Error, "failed #", -20, -20)}
	return f, l
}

func TestPatterns(t *testing.T) {
	f, _ := patternsFixture(t)
	for _, c := range []struct{ params, want string }{
		{"", "pay/order # paid:3 web/failed #:1 /héy:1 total 3"},
		{"sort=last", "pay/order # paid:3 web/failed #:1 /héy:1 total 3"},
		{"sort=first", "web/failed #:1 /héy:1 pay/order # paid:3 total 3"},
		{"limit=1", "pay/order # paid:3 total 3"},
		{"service=p*", "pay/order # paid:3 total 1"},
		{"service=p", " total 0"},
		{"level=warning", "web/failed #:1 total 1"},
		{"level=debug", "pay/order # paid:3 web/failed #:1 /héy:1 total 3"},
		{"q=order", "pay/order # paid:3 total 1"},
		{"search=order", "pay/order # paid:3 old/long gone order:0 total 2"},
		{"search=order&service=old", "old/long gone order:0 total 1"},
		{"search=order&sort=first", "pay/order # paid:3 old/long gone order:0 total 2"},
		{"search=order&since=60s", "pay/order # paid:2 old/long gone order:0 total 2"},
		{"since=60s", "pay/order # paid:2 web/failed #:1! /héy:1! total 3"},
		{"since=60s&new=true", "web/failed #:1! /héy:1! total 2"},
		{"ever=true", "pay/order # paid:3 web/failed #:1 /héy:1 old/long gone order:0 total 4"},
		{"ever=true&sort=first&since=60s", "web/failed #:1! /héy:1! pay/order # paid:2 old/long gone order:0 total 4"},
		{"ever=true&service=old", "old/long gone order:0 total 1"},
		{"ever=true&q=failed&limit=2", "web/failed #:1 pay/order # paid:0 total 3"},
		{"ever=true&since=60s&new=true", "web/failed #:1! /héy:1! total 2"},
		{"search=e&since=60s&new=true", "web/failed #:1! total 1"},
	} {
		w := f.do("GET", "/api/v1/patterns?"+strings.ReplaceAll(c.params, "#", "%23"), "")
		var answer struct {
			Patterns []patternJSON
			Total    int
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v\n%s", c.params, w.Code, err, w.Body)
		}
		var got []string
		for _, p := range answer.Patterns {
			text := fmt.Sprint(p.Service, "/", p.Template, ":", p.Count)
			if p.New {
				text += "!"
			}
			got = append(got, text)
		}
		if text := fmt.Sprint(strings.Join(got, " "), " total ", answer.Total); text != c.want {
			t.Errorf("%s: %s, want %s", c.params, text, c.want)
		}
	}
	w := f.do("GET", "/api/v1/patterns?q=order&since=100s&steps=4", "")
	want := `{"facets":{"levels":[{"name":"info","patterns":1}],"services":[{"name":"pay","patterns":1}]},"other":0,"patterns":[{"fingerprint":"` + mask.Fingerprint(mask.Hash("pay", event.Info, []byte("order # paid"), new([]byte))) +
		`","service":"pay","level":"info","template":"order # paid","count":3,"first_seen":"2027-01-15T07:43:20.000000000Z","last_seen":"2027-01-15T07:59:59.000000000Z","trend":[1,1,0,1],"sample":"order 1 paid"}],"step_ms":25000`
	if got := w.Body.String(); !strings.HasPrefix(got, want) {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if w := f.do("GET", "/api/v1/patterns?q=nothing", ""); !strings.Contains(w.Body.String(), `"patterns":[]`) || !strings.Contains(w.Body.String(), `"levels":[]`) {
		t.Error(w.Body)
	}
	if w := f.do("GET", "/api/v1/patterns?search=order", ""); !strings.Contains(w.Body.String(), `"services":[{"name":"pay","patterns":7}]`) {
		t.Error(w.Body)
	}
}

func TestPatternsErrors(t *testing.T) {
	f, l := patternsFixture(t)
	for _, c := range []struct{ params, field, mend string }{
		{"sort=name", "sort", "use count, first or last"}, {"limit=1001", "limit", "1000"}, {"steps=999", "steps", "200"}, {"level=loud", "level", "error or warning"}, {"new=1", "new", "since when"},
		{"since=x", "since", "write it"}, {"q=(", "q", ""}, {"searhc=x", "", "search"}, {"service=*%ff", "service", "write"},
		{"ever=x", "ever", "true"}, {"ever=true&search=x", "ever", "leave it out"},
	} {
		w := f.do("GET", "/api/v1/patterns?"+c.params, "")
		var e struct{ Error apiError }
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != 400 || e.Error.Field != c.field || !strings.Contains(e.Error.Mend, c.mend) {
			t.Errorf("%s: %d %s", c.params, w.Code, w.Body)
		}
	}
	for err, want := range map[error]int{
		&query.KindTextError{Message: "bad", Mend: "mend"}: 400, fmt.Errorf("x: %w", query.ErrCatalogBuilding): 503, errors.New("disk"): 500,
	} {
		l.err = err
		if w := f.do("GET", "/api/v1/patterns?search=x", ""); w.Code != want || want == 503 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestFieldsAndValues(t *testing.T) {
	f := statsFixture(t)
	for _, c := range []struct{ path, want string }{
		{"fields", `{"fields":[{"name":"duration_ms","type":"number","types":{"number":3},"events":3,"share":0.6,"distinct":3},{"name":"user","type":"string","types":{"string":3},"events":3,"share":0.6,"distinct":2}],"more":false,"summary":{`},
		{"fields?q=two", `{"fields":[{"name":"duration_ms","type":"number","types":{"number":1},"events":1,"share":1,"distinct":1},{"name":"user","type":"string","types":{"string":1},"events":1,"share":1,"distinct":1}],`},
		{"fields?q=nothing", `{"fields":[],`},
		{"values?field=user", `{"field":"user","summary":{`},
	} {
		if w := f.do("GET", "/api/v1/"+c.path, ""); w.Code != 200 || !strings.HasPrefix(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
	for _, c := range []struct{ params, want string }{
		{"field=user", `"total":2,"values":[{"value":"anna","count":2},{"value":"ben","count":1}]}`},
		{"field=user&prefix=b", `"total":1,"values":[{"value":"ben","count":1}]}`},
		{"field=user&limit=1", `"total":2,"values":[{"value":"anna","count":2}]}`},
		{"field=user&q=two", `"total":1,"values":[{"value":"ben","count":1}]}`},
		{"field=level", `"total":1,"values":[{"value":"info","count":4}]}`},
		{"field=nosuch", `"total":0,"values":[]}`},
	} {
		if w := f.do("GET", "/api/v1/values?"+c.params, ""); w.Code != 200 || !strings.HasSuffix(w.Body.String(), c.want+"\n") {
			t.Errorf("%s: %d %s", c.params, w.Code, w.Body)
		}
	}
	for _, path := range []string{"values", "values?field=a,b", "values?field=message", "values?field=user&limit=2000", "values?field=user&q=(", "fields?q=(", "fields?until=x", "fields?limit=1"} {
		if w := f.do("GET", "/api/v1/"+path, ""); w.Code != 400 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestCatalog(t *testing.T) {
	f, l := patternsFixture(t)
	l.status = query.CatalogStatus{Kinds: 5, Services: 2, Position: 9, Bytes: 100, Indexed: 4, Ready: true, Building: true, Done: 1, Total: 5, Beyond: []query.KindsBeyond{{Service: "pay", KindTimes: query.KindTimes{First: start, Last: start}}}}
	want := `{"patterns":5,"services":2,"sequence":9,"bytes":100,"indexed":4,"ready":true,"building":{"done":1,"total":5},"beyond":[{"service":"pay","first_seen":"2027-01-15T08:00:00.000000000Z","last_seen":"2027-01-15T08:00:00.000000000Z"}]}`
	if w := f.do("GET", "/api/v1/catalog", ""); w.Code != 200 || w.Body.String() != want+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	w := f.do("POST", "/api/v1/catalog/rebuild", "")
	if got := w.Body.String(); w.Code != 200 || got != `{"progress":{"done":1,"total":2,"unit":"patterns"}}`+"\n"+`{"summary":`+want+"}\n" {
		t.Errorf("%d %s", w.Code, got)
	}
	l.err = errors.New("disk")
	if w := f.do("POST", "/api/v1/catalog/rebuild", ""); !strings.Contains(w.Body.String(), `{"error":{`) || !strings.Contains(w.Body.String(), "disk") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.do("POST", "/api/v1/catalog/rebuild?x=1", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.do("POST", "/api/v1/catalog/rebuild", "", "Authorization", "Bearer "+writer); w.Code != 403 {
		t.Errorf("a writer: %d %s", w.Code, w.Body)
	}
}

// What is asked for to find a prefix fast is what values begins with, whatever the value.
func TestValuesBeginWith(t *testing.T) {
	f := newFixture(t)
	values := []struct {
		kind event.Kind
		text string
	}{
		{event.String, "anna"}, {event.String, "Anna"}, {event.String, "a.b"}, {event.String, `a"\*`}, {event.String, "a\nb"}, {event.String, "größe"}, {event.String, " x"}, {event.String, "200 ok"},
		{event.Number, "200"}, {event.Number, "2e5"}, {event.Number, "-1.50"}, {event.Bool, "true"}, {event.JSON, `{"a":[1,"b"]}`}, {event.Null, "null"},
	}
	names := []string{"user", "a.b", "odd name", "or", "x:y"}
	for i, v := range values {
		e := line("web", "x", int64(i))
		e.Host = []byte("node-" + fmt.Sprint(i))
		for _, name := range names {
			e.Fields = append(e.Fields, event.Field{Name: []byte(name), Kind: v.kind, Value: []byte(v.text)})
		}
		f.store.append(e)
	}
	get := func(field, prefix string) (list []string) {
		w := f.do("GET", "/api/v1/values?"+url.Values{"field": {field}, "prefix": {prefix}}.Encode(), "")
		var answer struct{ Values []struct{ Value string } }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%s %q: %d %v %s", field, prefix, w.Code, err, w.Body)
		}
		for _, v := range answer.Values {
			list = append(list, v.Value)
		}
		slices.Sort(list)
		return list
	}
	for _, field := range []string{"user", "a.b", `"odd name"`, `"or"`, `"x:y"`, "host", "service", "level"} {
		all := get(field, "")
		if len(all) == 0 {
			t.Errorf("%s has no values", field)
		}
		for _, v := range all {
			for i := range len(v) {
				prefix := strings.ToValidUTF8(v[:i+1], "")
				want := slices.DeleteFunc(slices.Clone(all), func(v string) bool { return !strings.HasPrefix(v, prefix) })
				if got := get(field, prefix); !slices.Equal(got, want) {
					t.Errorf("%s begins with %q: %q, want %q", field, prefix, got, want)
				}
			}
		}
	}
}
