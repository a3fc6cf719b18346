package sdk

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPatterns(t *testing.T) {
	const answer = `{"facets":{"services":[{"name":"pay","patterns":2}],"levels":[{"name":"error","patterns":2}]},"other":3,"patterns":[{"fingerprint":"p1:1","service":"pay","level":"error","template":"x #","count":2,` +
		`"first_seen":"2026-11-21T11:20:00Z","last_seen":"2026-11-21T11:25:00Z","new":true,"trend":[0,2],"sample":"x 1"}],"step_ms":1500,"total":7,"summary":{"matched":5,"complete":true}}`
	c, seen := script(t, answer, `{"patterns":[],"summary":{"complete":false,"reasons":["r"]}}`, `{}`)
	at := time.Date(2026, 11, 21, 11, 20, 0, 0, time.UTC)
	r := PatternsRequest{Query: "q", Since: at, NoReports: true, Search: "refund", Ever: true, Service: "p*", Level: "error", Sort: "last", New: true, Steps: 2, Limit: 5}
	got, err := c.Patterns(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := &Patterns{
		Patterns: []Pattern{{Fingerprint: "p1:1", Service: "pay", Level: "error", Template: "x #", Count: 2, FirstSeen: at, LastSeen: at.Add(5 * time.Minute), New: true, Trend: []int64{0, 2}, Sample: "x 1"}},
		Total:    7, Other: 3, Services: []PatternFacet{{"pay", 2}}, Levels: []PatternFacet{{"error", 2}}, Step: 1500 * time.Millisecond, Summary: Summary{Matched: 5},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(url.Values{"q": {"q"}, "since": {"2026-11-21T11:20:00Z"}, "reports": {"false"}, "search": {"refund"}, "ever": {"true"}, "service": {"p*"}, "level": {"error"}, "sort": {"last"}, "new": {"true"}, "steps": {"2"}, "limit": {"5"}}, form(t, (*seen)[0].Body)); d != "" {
		t.Error(d)
	}
	var incomplete *IncompleteError
	if p, err := c.Patterns(t.Context(), r); !errors.As(err, &incomplete) || p == nil {
		t.Error(p, err)
	}
	var e *Error
	if _, err := c.Patterns(t.Context(), r); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
}

func form(t *testing.T, body io.Reader) url.Values {
	t.Helper()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	v, err := url.ParseQuery(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFieldsValuesCatalog(t *testing.T) {
	c, seen := script(t,
		`{"fields":[{"name":"user","type":"string","types":{"string":2},"events":2,"share":0.5,"distinct":9,"at_least":true}],"more":true,"summary":{"matched":4,"complete":true}}`, `{}`,
		`{"values":[{"value":"anna","count":2}]}`, `{}`,
		`{"patterns":5,"ready":true,"building":{"done":1,"total":2}}`,
		"{\"progress\":{\"done\":1,\"total\":2,\"unit\":\"patterns\"}}\n{\"summary\":{\"patterns\":5}}\n")
	var incomplete *IncompleteError
	var e *Error
	list, sum, err := c.Fields(t.Context(), QueryRequest{Query: "x", Limit: 3})
	if !errors.As(err, &incomplete) || sum.Matched != 4 {
		t.Error(sum, err)
	}
	if d := cmp.Diff([]FieldFacts{{Name: "user", Type: "string", Types: map[string]int64{"string": 2}, Events: 2, Share: 0.5, Distinct: 9, AtLeast: true}}, list); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(url.Values{"q": {"x"}}, form(t, (*seen)[0].Body)); d != "" {
		t.Error(d)
	}
	if _, _, err := c.Fields(t.Context(), QueryRequest{}); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	values, err := c.Values(t.Context(), "a b", "an", QueryRequest{Limit: 3})
	if err != nil || len(values) != 1 || values[0] != (Value{"anna", 2}) {
		t.Error(values, err)
	}
	if d := cmp.Diff(url.Values{"q": {""}, "field": {`"a b"`}, "prefix": {"an"}, "limit": {"3"}}, form(t, (*seen)[2].Body)); d != "" {
		t.Error(d)
	}
	if _, err := c.Values(t.Context(), "a", "", QueryRequest{}); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	if s, err := c.Catalog(t.Context()); err != nil || s.Patterns != 5 || !s.Ready || s.Building.Total != 2 {
		t.Error(s, err)
	}
	told := 0
	if s, err := c.RebuildCatalog(t.Context(), func(p Progress) { told += int(p.Done) }); err != nil || s.Patterns != 5 || told != 1 {
		t.Error(s, err, told)
	}
}
