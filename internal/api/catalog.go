package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
	"github.com/lookoutlog/lookout/internal/mask"
)

// Catalog is what the API asks of the catalogue of patterns. The methods are called concurrently.
type Catalog interface {
	// Search finds kinds of lines by their words; the error may be a *query.KindTextError or query.ErrCatalogBuilding.
	Search(ctx context.Context, r query.KindSearch) (*query.KindAnswer, error)
	// Lookup returns when kinds were first and last seen; those that are not known are left out.
	Lookup(hashes []uint64) (map[uint64]query.KindTimes, error)
	Status() (query.CatalogStatus, error)
	// Rebuild builds the index anew, telling how far it has come.
	Rebuild(ctx context.Context, told func(done, total int64)) error
}

// patternJSON is a kind of lines as the API writes it.
type patternJSON struct {
	Fingerprint string  `json:"fingerprint"`
	Service     string  `json:"service"`
	Level       string  `json:"level,omitempty"`
	Template    string  `json:"template"`
	Count       int64   `json:"count"`
	FirstSeen   string  `json:"first_seen"`
	LastSeen    string  `json:"last_seen"`
	New         bool    `json:"new,omitempty"`
	Trend       []int64 `json:"trend,omitempty"`
	Sample      string  `json:"sample,omitempty"`

	first, last int64
}

type facetJSON struct {
	Name     string `json:"name"`
	Patterns int    `json:"patterns"`
}

// patternsRequest is what a request for patterns asks for.
type patternsRequest struct {
	counts  query.KindsRequest
	search  query.KindSearch // Text is empty when the events in range are asked for
	service func(name string) bool
	sort    string
	limit   int
	fresh   bool // only those that are new in range
	ever    bool // also those of which no event matches, or is stored
}

const (
	defaultPatterns = 100
	defaultSteps    = 24
)

func readPatterns(w http.ResponseWriter, r *http.Request, now time.Time) (s patternsRequest, err error) {
	p, err := readParams(w, r, "q", "since", "until", "reports", "search", "service", "level", "sort", "limit", "steps", "new", "ever")
	if err != nil {
		return s, err
	}
	s.search = query.KindSearch{Text: p["search"], Service: p["service"], Limit: query.MaxFoundKinds, Facets: true}
	s.sort = p["sort"]
	var limit, steps uint64
	for _, read := range []func() error{
		func() (err error) { s.counts.Query, err = p.query(); return },
		func() (err error) { s.counts.Since, s.counts.Until, err = p.timeRange(now); return },
		func() (err error) { s.search.Levels, err = p.levels("level"); return },
		func() (err error) { s.fresh, err = p.flag("new"); return },
		func() (err error) { s.ever, err = p.flag("ever"); return },
		func() (err error) { limit, err = p.number("limit", query.MaxFoundKinds); return },
		func() (err error) { steps, err = p.number("steps", query.MaxKindSteps); return },
		func() error {
			if s.sort == "" {
				s.sort = "count"
			}
			if !slices.Contains([]string{"count", "first", "last"}, s.sort) {
				return badParameter("sort", "is no order", "use count, first or last")
			}
			return nil
		},
		func() error {
			var err error
			if s.service, err = query.ServiceGlob(s.search.Service); err != nil {
				return badParameter("service", "is no name", "write a service's name, with * and ? for any characters")
			}
			return nil
		},
	} {
		if err := read(); err != nil {
			return s, err
		}
	}
	if s.ever && s.search.Text != "" {
		return s, badParameter("ever", "does not go with search", "leave it out: search is of all patterns that ever were")
	}
	if s.search.Order = query.ByLast; s.sort == "first" {
		s.search.Order = query.ByFirst
	}
	if s.fresh && s.counts.Since == 0 {
		return s, badParameter("new", "needs since", "say since when a pattern counts as new")
	}
	if s.limit = int(limit); s.limit == 0 {
		s.limit = defaultPatterns
	}
	if s.counts.Steps = int(steps); p["steps"] == "" {
		s.counts.Steps = defaultSteps
	}
	switch {
	case s.counts.Since == 0:
		s.counts.Steps = 0 // there is no range to be parted
	case s.counts.Until == 0 && s.counts.Steps > 0:
		s.counts.Until = max(now.UnixNano(), s.counts.Since) + 1
	}
	return s, nil
}

// levels are those from a level up to the worst; none for all.
func (p params) levels(name string) ([]event.Level, error) {
	if p[name] == "" {
		return nil, nil
	}
	l, ok := event.ParseLevel([]byte(p[name]))
	if !ok || l == event.None {
		return nil, badParameter(name, "is no level", "write one such as error or warning: it stands for itself and what is worse")
	}
	var list []event.Level
	for ; l > event.None; l-- {
		list = append(list, l)
	}
	return list, nil
}

// patterns lists the kinds of lines of the events that match, those that ever were, or those whose templates have some words: GET or
// POST /api/v1/patterns.
func (a *API) patterns(w http.ResponseWriter, r *http.Request) {
	s, err := readPatterns(w, r, a.o.Clock())
	if err != nil {
		writeError(w, err)
		return
	}
	start := time.Now()
	var answer *patternsAnswer
	err = a.run(r.Context(), func(ctx context.Context) (err error) {
		answer, err = a.findPatterns(ctx, &s)
		return err
	})
	if err != nil {
		writeError(w, err)
		return
	}
	line := summaryOf(s.counts.Query, &answer.summary, time.Since(start))
	body := map[string]any{
		"patterns": answer.list[:min(len(answer.list), s.limit)], "total": answer.total, "other": answer.other,
		"facets": map[string][]facetJSON{"services": answer.services, "levels": answer.levels}, "summary": line,
	}
	if step := s.counts.StepLen(); step > 0 {
		body["step_ms"] = milliseconds(time.Duration(step))
	}
	writeJSON(w, http.StatusOK, body)
}

// catalogError words an error of the catalogue's.
func catalogError(err error) error {
	if t := (*query.KindTextError)(nil); errors.As(err, &t) {
		return &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Field: "search", Message: t.Message, Mend: t.Mend}
	}
	if errors.Is(err, query.ErrCatalogBuilding) {
		return &apiError{Status: http.StatusServiceUnavailable, Code: "building", Message: err.Error(), Mend: "try again shortly; GET /api/v1/catalog says how far it has come",
			RetryAfter: 2 * time.Second}
	}
	return err
}

type patternsAnswer struct {
	list             []patternJSON // in order
	total            int           // before the limit; of a search what was found
	other            int64
	services, levels []facetJSON
	summary          query.Summary
}

func (a *API) findPatterns(ctx context.Context, s *patternsRequest) (*patternsAnswer, error) {
	answer := &patternsAnswer{list: []patternJSON{}}
	known := map[uint64]query.KindTimes{}
	found := map[uint64]*query.Kind{}
	listed := s.search.Text != "" || s.ever // in the ledger
	if listed {
		hits, err := a.o.Catalog.Search(ctx, s.search)
		if err != nil {
			return nil, catalogError(err)
		}
		if !s.ever { // else also what is still in memory, and not in the ledger
			s.counts.Only = map[uint64]bool{}
		}
		for i := range hits.Kinds {
			k := &hits.Kinds[i]
			if found[k.Hash] = k; !s.ever {
				s.counts.Only[k.Hash] = true
			}
			known[k.Hash] = query.KindTimes{First: k.First, Last: k.Last}
		}
		answer.total = hits.Total
		answer.services, answer.levels = facetsJSON(hits.Services), facetsJSON(hits.Levels)
	}
	kinds, err := a.o.Store.Kinds(ctx, s.counts)
	if err != nil {
		return nil, err
	}
	answer.other, answer.summary = kinds.Other, kinds.Summary
	if s.search.Text == "" {
		kinds.List = slices.DeleteFunc(kinds.List, func(k query.KindCount) bool { return !s.has(&k.Kind) })
		hashes := make([]uint64, len(kinds.List))
		for i := range kinds.List {
			hashes[i] = kinds.List[i].Hash
		}
		seen, err := a.o.Catalog.Lookup(hashes)
		if err != nil {
			return nil, err
		}
		if maps.Copy(known, seen); listed {
			answer.total += len(hashes) - len(seen)
		} else {
			answer.services, answer.levels = countFacets(kinds.List)
		}
	}
	for i := range kinds.List {
		k := &kinds.List[i]
		times, ok := known[k.Hash]
		if !ok { // its first events are still in memory
			times = query.KindTimes{First: k.First, Last: k.Last}
		}
		delete(found, k.Hash)
		answer.list = append(answer.list, s.pattern(k, query.KindTimes{First: min(times.First, k.First), Last: max(times.Last, k.Last)}))
	}
	for _, k := range found { // none of its events is in range, or stored at all
		answer.list = append(answer.list, s.pattern(&query.KindCount{Kind: *k}, query.KindTimes{First: k.First, Last: k.Last}))
	}
	if s.fresh {
		answer.list = slices.DeleteFunc(answer.list, func(p patternJSON) bool { return !p.New })
	}
	if !listed || s.fresh {
		answer.total = len(answer.list)
	}
	slices.SortFunc(answer.list, func(a, b patternJSON) int {
		by := 0
		switch s.sort {
		case "count":
			by = cmp.Compare(b.Count, a.Count)
		case "first":
			by = cmp.Compare(b.first, a.first)
		case "last":
			by = cmp.Compare(b.last, a.last)
		}
		return cmp.Or(by, cmp.Compare(b.last, a.last), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Template, b.Template), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return answer, nil
}

// has tells whether a kind is of the services and levels that are asked for.
func (s *patternsRequest) has(k *query.Kind) bool {
	return (s.search.Service == "" || s.service(k.Service)) && (len(s.search.Levels) == 0 || slices.Contains(s.search.Levels, k.Level))
}

func (s *patternsRequest) pattern(k *query.KindCount, seen query.KindTimes) patternJSON {
	p := patternJSON{
		Fingerprint: mask.Fingerprint(k.Hash), Service: k.Service, Template: k.Template, Count: k.Events, Trend: k.Steps, Sample: string(k.Sample),
		FirstSeen: timeText(seen.First), LastSeen: timeText(seen.Last), first: seen.First, last: seen.Last,
		New: s.counts.Since != 0 && seen.First >= s.counts.Since,
	}
	if k.Level != event.None {
		p.Level = k.Level.String()
	}
	return p
}

// timeText writes a time as the API does.
func timeText(ns int64) string { return strings.Trim(string(eventjson.AppendTime(nil, ns)), `"`) }

func facetsJSON(list []query.KindFacet) []facetJSON {
	out := []facetJSON{}
	for _, f := range list {
		out = append(out, facetJSON{f.Name, f.Kinds})
	}
	return out
}

func countFacets(list []query.KindCount) (services, levels []facetJSON) {
	byService, byLevel := map[string]int{}, map[string]int{}
	for i := range list {
		byService[list[i].Service]++
		byLevel[list[i].Level.String()]++
	}
	sorted := func(m map[string]int) []facetJSON {
		out := []facetJSON{}
		for name, n := range m {
			out = append(out, facetJSON{name, n})
		}
		slices.SortFunc(out, func(a, b facetJSON) int {
			return cmp.Or(cmp.Compare(b.Patterns, a.Patterns), cmp.Compare(a.Name, b.Name))
		})
		return out[:min(len(out), 100)]
	}
	return sorted(byService), sorted(byLevel)
}

// fieldJSON is a field as the API writes it.
type fieldJSON struct {
	Name     string           `json:"name"`
	Type     string           `json:"type"`  // of most values
	Types    map[string]int64 `json:"types"` // values by type
	Events   int64            `json:"events"`
	Share    float64          `json:"share"` // of the events that matched
	Distinct int64            `json:"distinct"`
	// Estimated: the number of values is not exact; AtLeast: not all values were looked at.
	Estimated bool `json:"estimated,omitempty"`
	AtLeast   bool `json:"at_least,omitempty"`
}

var kindNames = [event.JSON + 1]string{event.String: "string", event.Number: "number", event.Bool: "bool", event.Null: "null", event.JSON: "json"}

// fields lists the extra fields of the events that match: GET or POST /api/v1/fields.
func (a *API) fields(w http.ResponseWriter, r *http.Request) {
	now := a.o.Clock()
	var s query.FieldsRequest
	p, err := readParams(w, r, "q", "since", "until", "reports")
	if err == nil {
		s.Query, err = p.query()
	}
	if err == nil {
		s.Since, s.Until, err = p.timeRange(now)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	start := time.Now()
	var answer *query.Fields
	if err := a.run(r.Context(), func(ctx context.Context) (err error) {
		answer, err = a.o.Store.Fields(ctx, s)
		return err
	}); err != nil {
		writeError(w, err)
		return
	}
	list := []fieldJSON{}
	for i := range answer.List {
		f := &answer.List[i]
		j := fieldJSON{
			Name: f.Name, Events: f.Events, Types: map[string]int64{}, Distinct: int64(f.Distinct), AtLeast: f.AtLeast,
			Estimated: f.AtLeast || f.Distinct > query.MaxExactDistinct, Share: math.Round(1e4*float64(f.Events)/float64(max(answer.Summary.Matched, 1))) / 1e4,
		}
		most := int64(0)
		for kind, n := range f.Values {
			if n > 0 {
				j.Types[kindNames[kind]] = n
			}
			if n > most {
				most, j.Type = n, kindNames[kind]
			}
		}
		list = append(list, j)
	}
	slices.SortStableFunc(list, func(a, b fieldJSON) int { return cmp.Compare(b.Events, a.Events) })
	writeJSON(w, http.StatusOK, map[string]any{"fields": list, "more": answer.More, "summary": summaryOf(s.Query, &answer.Summary, time.Since(start))})
}

// maxValues is how many values of a field are listed at most.
const maxValues = 1000

// valuesScan is how many bytes of events are looked at for the values of a field: somebody waits for them while typing, and they
// do not wait for their turn behind searches.
const valuesScan = 1 << 30

// values lists the most frequent values of a field, for completion: GET or POST /api/v1/values.
func (a *API) values(w http.ResponseWriter, r *http.Request) {
	now := a.o.Clock()
	p, err := readParams(w, r, "field", "prefix", "q", "since", "until", "reports", "limit")
	s := query.StatsRequest{MaxBytes: valuesScan}
	limit := uint64(0)
	for _, read := range []func() error{
		func() (err error) { s.Query, err = p.query(); return },
		func() (err error) { s.Since, s.Until, err = p.timeRange(now); return },
		func() (err error) { s.By, err = query.ParseBy(p["field"]); return ofParameter("field", err) },
		func() (err error) { limit, err = p.number("limit", maxValues); return },
		func() (err error) { s.Aggs, err = query.ParseAggs("count"); return },
		func() error {
			if len(s.By) != 1 {
				return badParameter("field", "names no field", "name one field, such as user")
			}
			return nil
		},
	} {
		if err == nil {
			err = read()
		}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	if limit == 0 {
		limit = 100
	}
	asked := s.Query
	s.Query = query.Both(s.Query, beginsWith(s.By[0], p["prefix"]))
	start := time.Now()
	var answer *query.Stats
	if err := a.runIn(a.short, r.Context(), func(ctx context.Context) (err error) {
		answer, err = a.o.Store.Aggregate(ctx, s)
		return err
	}); err != nil {
		writeError(w, err)
		return
	}
	type valueJSON struct {
		Value string `json:"value"`
		Count int64  `json:"count"`
	}
	list, total := []valueJSON{}, 0
	for _, g := range answer.Groups {
		if v := g.By[0]; !v.Null && strings.HasPrefix(v.Text, p["prefix"]) {
			if total++; total <= int(limit) {
				list = append(list, valueJSON{v.Text, int64(g.Values[0])})
			}
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"field": s.By[0], "values": list, "total": total, "summary": summaryOf(asked, &answer.Summary, time.Since(start))})
}

// beginsWith returns a query for the events of which a field's value begins with a prefix, so that what does not is not counted: of many
// values that costs a fifth. It is nil where that is nothing to ask for.
func beginsWith(field, prefix string) *query.Query {
	if prefix == "" || field == "level" || field == "time" {
		return nil
	}
	q, err := query.Parse(strconv.Quote(field) + query.QuoteRegex("^"+regexp.QuoteMeta(prefix)))
	if err != nil { // then all are counted, and those that do not begin with it left out
		return nil
	}
	return q
}

// catalogJSON is how things stand with the catalogue, as the API writes it.
type catalogJSON struct {
	Patterns int          `json:"patterns"`
	Services int          `json:"services"`
	Sequence uint64       `json:"sequence"`
	Bytes    int64        `json:"bytes"`
	Indexed  int          `json:"indexed"`
	Ready    bool         `json:"ready"`
	Building *doneJSON    `json:"building,omitempty"`
	Beyond   []beyondJSON `json:"beyond,omitempty"`
}

type doneJSON struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

type beyondJSON struct {
	Service   string `json:"service"`
	FirstSeen string `json:"first_seen"`
	LastSeen  string `json:"last_seen"`
}

func statusJSON(s *query.CatalogStatus) catalogJSON {
	j := catalogJSON{Patterns: s.Kinds, Services: s.Services, Sequence: s.Position, Bytes: s.Bytes, Indexed: s.Indexed, Ready: s.Ready}
	if s.Building {
		j.Building = &doneJSON{s.Done, s.Total}
	}
	for _, b := range s.Beyond {
		j.Beyond = append(j.Beyond, beyondJSON{b.Service, timeText(b.First), timeText(b.Last)})
	}
	return j
}

// catalogStatus says how things stand with the catalogue: GET /api/v1/catalog.
func (a *API) catalogStatus(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	s, err := a.o.Catalog.Status()
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, statusJSON(&s))
}

// rebuildCatalog builds the index anew: POST /api/v1/catalog/rebuild.
func (a *API) rebuildCatalog(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	a.work(w, r, func(ctx context.Context, progress func(done, total int64, unit string)) (any, error) {
		if err := a.o.Catalog.Rebuild(ctx, func(done, total int64) { progress(done, total, "patterns") }); err != nil {
			return nil, fmt.Errorf("building the catalogue anew: %w", err)
		}
		s, err := a.o.Catalog.Status()
		return statusJSON(&s), err
	})
}
