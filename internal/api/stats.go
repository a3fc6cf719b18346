package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/eventjson"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

// stats computes aggregates: GET or POST /api/v1/stats.
func (a *API) stats(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "q", "since", "until", "by", "every", "agg", "top", "after_sequence", "sequence", "reports")
	if err != nil {
		writeError(w, err)
		return
	}
	a.aggregate(w, r, p)
}

// defaultTop is how many values top lists unless the request says how many.
const defaultTop = "10"

// top lists the most frequent values of fields, as stats does with top: GET or POST /api/v1/top.
func (a *API) top(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "q", "since", "until", "by", "agg", "top", "after_sequence", "sequence", "reports")
	if err == nil && p["by"] == "" {
		err = badParameter("by", "names no field", "name one, or some with commas")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	p["top"] = cmp.Or(p["top"], defaultTop)
	a.aggregate(w, r, p)
}

func (a *API) aggregate(w http.ResponseWriter, r *http.Request, p params) {
	s, err := p.stats(a.o.Clock())
	if err != nil {
		writeError(w, err)
		return
	}
	start := time.Now()
	var answer *query.Stats
	err = a.run(r.Context(), func(ctx context.Context) (err error) {
		answer, err = a.o.Store.Aggregate(ctx, s)
		return err
	})
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(appendStats(nil, &s, answer, time.Since(start))) // what can fail is the connection
}

// stats is what parameters ask to compute.
func (p params) stats(now time.Time) (s query.StatsRequest, err error) {
	var top uint64
	for _, read := range []func() error{
		func() (err error) { s.Query, err = p.query(); return },
		func() (err error) { s.Since, s.Until, err = p.timeRange(now); return },
		func() (err error) { s.MinSeq, s.MaxSeq, err = p.sequences(); return },
		func() (err error) { s.By, err = query.ParseBy(p["by"]); return ofParameter("by", err) },
		func() (err error) { s.Aggs, err = query.ParseAggs(p["agg"]); return ofParameter("agg", err) },
		func() (err error) { s.Every, err = p.every(); return },
		func() (err error) { top, err = p.number("top", query.MaxGroups); return },
	} {
		if err := read(); err != nil {
			return s, err
		}
	}
	s.Top = int(top)
	return s, nil
}

// ofParameter makes a parser's error one of the parameter.
func ofParameter(name string, err error) error {
	if err == nil {
		return nil
	}
	e := asError(err)
	e.Field = name
	return e
}

// every is the step of time, in ns; 0 when it is not given.
func (p params) every() (int64, error) {
	text := p["every"]
	if text == "" {
		return 0, nil
	}
	d, ok := parseBack(text)
	if !ok || d <= 0 {
		return 0, badParameter("every", "is not a step of time", "write it as 30s, 5m, 1h or 1d")
	}
	return int64(d), nil
}

// appendStats appends the answer. A number that is none is null.
func appendStats(dst []byte, r *query.StatsRequest, s *query.Stats, took time.Duration) []byte {
	names := make([][]byte, len(r.By))
	for i, name := range r.By {
		names[i] = appendJSON(nil, name)
	}
	aggs := make([][]byte, len(r.Aggs))
	for i, a := range r.Aggs {
		aggs[i] = appendJSON(nil, a.String())
	}
	group := func(g *query.StatsGroup, by bool) {
		dst = append(dst, '{')
		if by {
			dst = append(dst, `"by":{`...)
			for i, v := range g.By {
				if i > 0 {
					dst = append(dst, ',')
				}
				dst = append(append(dst, names[i]...), ':')
				if v.Null {
					dst = append(dst, "null"...)
				} else {
					dst = appendJSON(dst, v.Text)
				}
			}
			dst = append(dst, "},"...)
		}
		if r.Every > 0 {
			dst = append(eventjson.AppendTime(append(dst, `"time":`...), g.Time), ',')
		}
		for i, v := range g.Values {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(dst, aggs[i]...), ':')
			dst = appendNumber(dst, v)
		}
		dst = append(dst, '}')
	}
	list := func(groups []query.StatsGroup, by bool) {
		dst = append(dst, '[')
		for i := range groups {
			if i > 0 {
				dst = append(dst, ',')
			}
			group(&groups[i], by)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `{"groups":`...)
	list(s.Groups, true)
	if s.LeftOut > 0 {
		dst = append(strconv.AppendInt(append(dst, `,"other":{"groups":`...), int64(s.LeftOut), 10), `,"values":`...)
		list(s.Other, false)
		dst = append(dst, '}')
	}
	if len(s.Estimated) > 0 {
		dst = append(dst, `,"estimated":[`...)
		for i, a := range s.Estimated {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, a.String())
		}
		dst = append(dst, ']')
	}
	line := summaryOf(r.Query, &s.Summary, took)
	for _, name := range s.Unused {
		line.Warnings = append(line.Warnings, unused(r, name))
	}
	dst = append(dst, `,"summary":`...)
	b, err := json.Marshal(line)
	if err != nil {
		panic(err) // texts and numbers
	}
	return append(append(dst, b...), '}', '\n')
}

// unused words that nothing that matched has what is asked of a field.
func unused(r *query.StatsRequest, name string) string {
	whole := func(a query.Agg) bool { return a.Kind == query.Distinct && a.Field == name }
	if slices.Contains(r.By, name) || slices.ContainsFunc(r.Aggs, whole) {
		return fmt.Sprintf("no event that matches has a field %q", name)
	}
	return fmt.Sprintf("no event that matches has a number in a field %q", name)
}

// appendJSON appends a text as JSON. Bytes that are no UTF-8 become U+FFFD.
func appendJSON(dst []byte, text string) []byte {
	return flatjson.AppendString(dst, []byte(text))
}

func appendNumber(dst []byte, v float64) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "null"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(dst, int64(v), 10)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}
