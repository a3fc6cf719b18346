package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/event"
)

const marksPath = "/api/v1/marks"

const (
	// marksSince is how far back marks are listed when the request does not say, and fewMarks how many.
	marksSince = 7 * 24 * time.Hour
	fewMarks   = 100
	maxMarks   = 1000
)

// marks lists what people say about services, or takes it: GET and POST /api/v1/marks. A mark is an event, so whoever may send events
// may make one: a deployment needs no token that may do more.
func (a *API) marks(w http.ResponseWriter, r *http.Request) {
	role, do := auth.Read, a.listMarks
	if r.Method == http.MethodPost {
		role, do = auth.Write, a.addMark
	}
	if !auth.From(r.Context()).May(role) {
		writeError(w, auth.ErrRole)
		return
	}
	answer, err := do(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

// addMark stores a mark; it is durable when it answers.
func (a *API) addMark(w http.ResponseWriter, r *http.Request) (any, error) {
	p, err := readParams(w, r, "mark", "service", "env", "version", "by", "text")
	if err != nil {
		return nil, err
	}
	m := alerting.Mark{
		Kind: alerting.MarkKind(p["mark"]), Service: p["service"], Env: p["env"], Version: p["version"], By: p["by"], Text: p["text"], At: a.o.Clock().UTC(),
	}
	if m.By == "" {
		m.By = auth.From(r.Context()).Name
	}
	var wrong *alerting.MarkError
	if err := m.Check(); errors.As(err, &wrong) {
		return nil, badParameter(wrong.Field, wrong.Message, wrong.Mend)
	}
	if a.o.Marks == nil {
		return nil, &apiError{Status: http.StatusNotImplemented, Code: "not_implemented", Message: "this server takes no events", Mend: "send it to one that does"}
	}
	var b event.Batch
	m.AddTo(&b)
	if err := a.o.Marks.Append(r.Context(), &b); err != nil {
		return nil, notStored(r.Context(), err)
	}
	return m, nil
}

// notStored is why an event could not be stored, as the route of events has it.
func notStored(ctx context.Context, err error) error {
	var p collector.Pressure
	switch {
	case ctx.Err() != nil:
		return &apiError{Status: http.StatusInternalServerError, Code: "cancelled", Message: "the request ended before its event was stored", Mend: "send it again"}
	case !errors.As(err, &p):
		return &apiError{Status: http.StatusInternalServerError, Code: "not_stored", Message: "the event could not be stored: " + err.Error(), Mend: "the server's log says more; send it again when it is mended"}
	case p.Full():
		return &apiError{Status: http.StatusServiceUnavailable, Code: "disk_full", Message: "the server's disk is full", Mend: "send it again after Retry-After", RetryAfter: p.RetryAfter()}
	}
	return &apiError{Status: http.StatusTooManyRequests, Code: "overloaded", Message: "events come faster than they can be stored", Mend: "send it again after Retry-After", RetryAfter: p.RetryAfter()}
}

// markJSON is a mark as the API lists it.
type markJSON struct {
	ID uint64 `json:"id,string"`
	alerting.Mark
}

// marksJSON is a list of marks, the newest first. It is not complete when parts of the store could not be read.
type marksJSON struct {
	Marks    []markJSON `json:"marks"`
	Complete bool       `json:"complete"`
	Reasons  []string   `json:"reasons,omitempty"`
}

func (a *API) listMarks(w http.ResponseWriter, r *http.Request) (any, error) {
	p, err := readParams(w, r, "service", "since", "limit")
	if err != nil {
		return nil, err
	}
	now := a.o.Clock()
	req := query.Request{Newest: true, Limit: fewMarks}
	if req.Since, err = p.time("since", now); err != nil {
		return nil, err
	}
	if p["since"] == "" {
		req.Since = now.Add(-marksSince).UnixNano()
	}
	limit, err := p.number("limit", maxMarks)
	if err != nil {
		return nil, err
	}
	if limit > 0 {
		req.Limit = int(limit)
	}
	text := "stream=mark"
	if p["service"] != "" {
		services, err := query.FromGrep(query.GrepOptions{Services: []string{p["service"]}})
		if err != nil {
			return nil, badParameter("service", "cannot be read: "+err.Error(), "give a service's name, or several with * and ?")
		}
		text += " (" + services + ")"
	}
	if req.Query, err = query.Parse(text); err != nil {
		return nil, err
	}
	if a.o.Store == nil {
		return nil, errAgent
	}
	answer := &marksJSON{Marks: []markJSON{}}
	s, err := a.search(r.Context(), req, func(row query.Row) error {
		if m, ok := alerting.MarkOf(row.Event); ok {
			answer.Marks = append(answer.Marks, markJSON{row.Event.Seq, m})
		}
		return nil
	})
	answer.Complete, answer.Reasons = s.Complete, s.Reasons
	return answer, err
}
