package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
)

// maxContext is how many events may be asked for on each side of a match.
const maxContext = 1000

// searchParams are the parameters of a search.
var searchParams = []string{"q", "since", "until", "limit", "order", "count", "before", "after", "context_by", "after_sequence", "sequence", "reports", "cursor"}

// searchRequest is a search as it was asked for.
type searchRequest struct {
	query.Request
	key string // what its cursors belong to
}

func (a *API) readSearch(w http.ResponseWriter, r *http.Request) (s searchRequest, err error) {
	p, err := readParams(w, r, searchParams...)
	if err != nil {
		return s, err
	}
	return a.searchOf(p)
}

// searchOf is the search that parameters ask for.
func (a *API) searchOf(p params) (s searchRequest, err error) {
	var limit, before, after uint64
	for _, read := range []func() error{
		func() (err error) { s.Query, err = p.query(); return },
		func() (err error) { s.Since, s.Until, err = p.timeRange(a.o.Clock()); return },
		func() (err error) { limit, err = p.number("limit", math.MaxInt32); return },
		func() (err error) { before, err = p.number("before", maxContext); return },
		func() (err error) { after, err = p.number("after", maxContext); return },
		func() (err error) { s.MinSeq, s.MaxSeq, err = p.sequences(); return },
		func() (err error) { s.CountOnly, err = p.flag("count"); return },
		func() (err error) { s.ContextBy, err = p.contextBy(); return },
	} {
		if err := read(); err != nil {
			return s, err
		}
	}
	s.Limit, s.Before, s.After = int(limit), int(before), int(after)
	s.Beside = p.beside(s.ContextBy)
	switch p["order"] {
	case "", "oldest":
	case "newest":
		s.Newest = true
	default:
		return s, badParameter("order", "is neither oldest nor newest", "write oldest or newest")
	}
	s.key = p.searchKey()
	if p["cursor"] == "" {
		return s, nil
	}
	c, err := p.cursor(a.o.Store.LastSeq())
	s.Behind, s.Since, s.Until, s.MaxSeq = &c.place, c.since, c.until, c.maxSeq
	return s, err
}

// timeRange is the parameters since and until.
func (p params) timeRange(now time.Time) (since, until int64, err error) {
	if since, err = p.time("since", now); err != nil {
		return 0, 0, err
	}
	if until, err = p.time("until", now); err != nil {
		return 0, 0, err
	}
	if since != 0 && until != 0 && since > until {
		return 0, 0, badParameter("since", "is later than until", "exchange them")
	}
	return since, until, nil
}

// sequences is the parameters after_sequence and sequence: the first and the last sequence that is asked for, 0 for an open
// end.
func (p params) sequences() (least, most uint64, err error) {
	after, err := p.number("after_sequence", math.MaxUint64-1)
	if err != nil {
		return 0, 0, err
	}
	if most, err = p.number("sequence", math.MaxUint64); err != nil {
		return 0, 0, err
	}
	switch {
	case after == 0:
		return 0, most, nil
	case most != 0 && most < after:
		return 0, 0, badParameter("after_sequence", "is higher than sequence", "exchange them")
	}
	return after + 1, most, nil
}

func (a *API) query(w http.ResponseWriter, r *http.Request) {
	s, err := a.readSearch(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	out := newStream(w)
	defer out.end()
	start := time.Now()
	withContext := s.Before > 0 || s.After > 0
	var last query.Place
	summary, err := a.search(r.Context(), s.Request, func(row query.Row) error {
		last = query.Place{Time: row.Event.Time, Seq: row.Event.Seq}
		return out.add(func(dst []byte) []byte { return appendRow(dst, row, withContext) })
	})
	if err != nil {
		out.fail(err)
		return
	}
	line := summaryOf(s.Query, &summary, time.Since(start))
	line.Next = s.next(&summary, last)
	_ = out.line(summaryLine(line)) // what can fail is the connection
}

// search runs one search. Its error is fn's, or an *apiError.
func (a *API) search(parent context.Context, r query.Request, fn func(query.Row) error) (summary query.Summary, err error) {
	var stopped error
	err = a.run(parent, func(ctx context.Context) (err error) {
		summary, err = a.o.Store.Search(ctx, r, func(row query.Row) error {
			stopped = fn(row)
			return stopped
		})
		if stopped != nil {
			return nil
		}
		return err
	})
	if stopped != nil {
		if !errors.Is(stopped, errEnough) && !errors.Is(stopped, errLong) { // the connection's
			a.metrics.searchEnded(causeCanceled)
		}
		return summary, stopped
	}
	return summary, err
}

// run has the store do something when its turn has come, within its time. The error is an *apiError.
func (a *API) run(parent context.Context, fn func(context.Context) error) error {
	return a.runIn(a.searches, parent, fn)
}

// runIn is run at a gate of its own.
func (a *API) runIn(g *gate, parent context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(parent, a.o.Limits.QueryTimeout)
	defer cancel()
	leave, err := g.enter(ctx, clientOf(parent))
	ran := err == nil
	if ran {
		defer leave()
		start := time.Now()
		err = fn(ctx)
		a.metrics.searchTime.Observe(time.Since(start).Seconds())
	}
	said := (*apiError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &said):
		if !ran {
			a.metrics.refuse()
		}
		return said
	case ended(parent) != nil:
		a.metrics.searchEnded(causeCanceled)
		return ended(parent)
	case parent.Err() != nil:
		a.metrics.searchEnded(causeCanceled)
		return &apiError{Status: statusClientGone, Code: "canceled", Message: "the search was given up", Mend: "search again"}
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && !ran:
		a.metrics.refuse()
		return tooMany("the search has waited for its turn for " + a.o.Limits.QueryTimeout.String() + ", as long as it may")
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		a.metrics.searchEnded(causeDeadline)
		return &apiError{Status: http.StatusGatewayTimeout, Code: "timeout", Message: "the search took longer than " + a.o.Limits.QueryTimeout.String() + " and was ended; the result is incomplete",
			Mend: "search a shorter range or one service, set a limit, or raise limits.query_timeout"}
	}
	return asError(err)
}

// statusClientGone is nginx's status for a client that did not wait; nobody reads it but the metrics.
const statusClientGone = 499

// appendRow appends a row of an answer. It does not allocate.
func appendRow(dst []byte, row query.Row, context bool) []byte {
	dst = append(dst, `{"event":`...)
	dst = eventjson.AppendEvent(dst, row.Event)
	if context {
		if row.Context {
			dst = append(dst, `,"context":true`...)
		}
		dst = append(dst, `,"group":`...)
		dst = strconv.AppendInt(dst, int64(row.Group), 10)
	}
	return append(dst, '}')
}

// summaryJSON is a summary as the API writes it.
type summaryJSON struct {
	Searched struct {
		Events   int64 `json:"events"`
		Bytes    int64 `json:"bytes"`
		Blocks   int   `json:"blocks"`
		Pruned   int   `json:"pruned"`
		Segments int   `json:"segments"`
		Range    int   `json:"range"`
		Filter   int   `json:"filter"`
		Forms    int   `json:"forms"`
		Counted  int   `json:"counted"`
	} `json:"searched"`
	Matched  int64            `json:"matched"`
	Complete bool             `json:"complete"`
	Reasons  []string         `json:"reasons,omitempty"`
	Budget   string           `json:"budget,omitempty"`
	Cut      json.RawMessage  `json:"cut,omitempty"`
	Sequence uint64           `json:"sequence"`
	TookMS   float64          `json:"took_ms"`
	Services map[string]int64 `json:"services,omitempty"`
	Warnings []string         `json:"warnings,omitempty"`
	Next     string           `json:"next,omitempty"` // the cursor of what follows
}

func summaryOf(q *query.Query, s *query.Summary, took time.Duration) *summaryJSON {
	l := &summaryJSON{Matched: s.Matched, Complete: s.Complete, Reasons: s.Reasons, Budget: s.Budget, Cut: timeOf(s.Cut), Sequence: s.Sequence, Services: s.Services}
	l.Searched.Events, l.Searched.Bytes, l.Searched.Blocks, l.Searched.Pruned = s.Events, s.Bytes, s.Blocks, s.Pruned
	l.Searched.Segments, l.Searched.Range, l.Searched.Filter = s.Scan.Segments, s.Scan.Range, s.Scan.Filter
	l.Searched.Forms, l.Searched.Counted = s.Scan.Forms, s.Scan.Counted
	l.TookMS = milliseconds(took)
	l.Warnings = warnings(q, s)
	return l
}

// milliseconds is a duration as the API writes it, to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func summaryLine(s *summaryJSON) []byte { return marshal(map[string]*summaryJSON{"summary": s}) }

// warnings are what the query may not mean.
func warnings(q *query.Query, s *query.Summary) []string {
	all := []string{}
	for _, h := range q.Hints() {
		all = append(all, strings.TrimSuffix(h.Message+"; "+h.Mend, "; "))
	}
	return append(all, q.NotFound(s.UnknownFields...)...)
}

// check says whether a query is one, and what may be wrong with it, while it is being typed.
func (a *API) check(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "q")
	if err != nil {
		writeError(w, err)
		return
	}
	q, err := query.Parse(p["q"])
	if err != nil {
		writeJSON(w, http.StatusOK, map[string]any{"ok": false, "error": asError(err)})
		return
	}
	type hint struct {
		Message  string `json:"message"`
		Mend     string `json:"mend"`
		Position int    `json:"position"`
		End      int    `json:"end"`
	}
	hints := []hint{}
	for _, h := range q.Hints() {
		hints = append(hints, hint{h.Message, h.Mend, h.Pos, h.End})
	}
	writeJSON(w, http.StatusOK, map[string]any{"ok": true, "normal": q.String(), "hints": hints})
}

func (a *API) services(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	type service struct {
		Name      string           `json:"name"`
		Hosts     []string         `json:"hosts"`
		Events    int64            `json:"events"`
		Bytes     int64            `json:"bytes"`
		FirstSeen json.RawMessage  `json:"first_seen,omitempty"`
		LastSeen  json.RawMessage  `json:"last_seen,omitempty"`
		Levels    map[string]int64 `json:"levels"`
	}
	infos := a.o.Store.Services()
	all := make([]service, 0, len(infos))
	for _, s := range infos {
		levels := map[string]int64{}
		for l, n := range s.Levels {
			name := event.Level(l).String()
			if n != 0 && name != "" {
				levels[name] = n
			}
		}
		all = append(all, service{s.Name, append([]string{}, s.Hosts...), s.Events, s.Bytes, timeOf(s.FirstSeen), timeOf(s.LastSeen), levels})
	}
	slices.SortFunc(all, func(x, y service) int { return strings.Compare(x.Name, y.Name) })
	writeJSON(w, http.StatusOK, map[string]any{"services": all})
}

func timeOf(ns int64) json.RawMessage {
	if ns == 0 {
		return nil
	}
	return eventjson.AppendTime(nil, ns)
}
