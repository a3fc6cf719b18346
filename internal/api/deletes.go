package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/eventjson"
)

// Deleter deletes events by query, in jobs that go on by themselves.
type Deleter interface {
	// Delete makes a job. A scope without a highest sequence reaches to the newest event.
	Delete(ctx context.Context, r query.DeleteRequest) (query.Deletion, error)
	// Deletes lists the jobs, the newest first.
	Deletes() []query.Deletion
	// CancelDelete ends a job; the error wraps query.ErrNoDeletion when there is none of the number.
	CancelDelete(id uint64) (query.Deletion, error)
}

const (
	deletesPath = "/api/v1/deletes"
	// deleteSamples is how many events a dry run shows, the newest.
	deleteSamples = 10
)

// deleteParams are the parameters of POST /api/v1/deletes.
type deleteParams struct {
	query.DeleteRequest
	dry bool
}

func readDelete(w http.ResponseWriter, r *http.Request, now time.Time) (d deleteParams, err error) {
	p, err := readParams(w, r, "q", "since", "until", "dry_run", "everything", "confirm", "keep_query")
	if err != nil {
		return d, err
	}
	var everything bool
	for _, read := range []func() error{
		func() (err error) { d.Query, err = query.Parse(p["q"]); return },
		func() (err error) { d.Since, d.Until, err = p.timeRange(now); return },
		func() (err error) { d.dry, err = p.flag("dry_run"); return },
		func() (err error) { everything, err = p.flag("everything"); return },
		func() (err error) { d.MaxSeq, err = p.number("confirm", math.MaxUint64); return },
		func() (err error) { d.KeepQuery, err = p.flag("keep_query"); return },
	} {
		if err := read(); err != nil {
			return d, err
		}
	}
	if d.Query.Everything() && !everything {
		return d, badParameter("q", "matches every event", "say which events are to go, or add everything=true")
	}
	d.By = auth.From(r.Context()).Name
	return d, nil
}

// deletes lists the jobs, makes one, or says what one would delete.
func (a *API) deletes(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if _, err := readParams(w, r); err != nil {
			writeError(w, err)
			return
		}
		list := a.o.Deleter.Deletes()
		if list == nil {
			list = []query.Deletion{}
		}
		writeJSON(w, http.StatusOK, map[string]any{"deletes": list})
		return
	}
	d, err := readDelete(w, r, a.o.Clock())
	if err != nil {
		writeError(w, err)
		return
	}
	if d.dry {
		a.preview(w, r, d.DeleteScope)
		return
	}
	job, err := a.o.Deleter.Delete(r.Context(), d.DeleteRequest)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, job)
}

// deletePreview is what a dry run answers.
type deletePreview struct {
	Events int64 `json:"events"`
	// Bytes is about what they take, uncompressed.
	Bytes    int64            `json:"bytes"`
	Services map[string]int64 `json:"services"`
	// Since and Until are the range as it was understood.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Samples are the newest of them.
	Samples []json.RawMessage `json:"samples"`
	// Confirm binds a job to what the dry run saw: later events are not deleted.
	Confirm uint64 `json:"confirm,string"`
	// Complete is false when part of the store could not be read; Reasons says which.
	Complete bool     `json:"complete"`
	Reasons  []string `json:"reasons,omitempty"`
}

// preview is a dry run: an ordinary count, and an ordinary search.
func (a *API) preview(w http.ResponseWriter, r *http.Request, scope query.DeleteScope) {
	s := query.Request{Query: scope.Query, Since: scope.Since, Until: scope.Until, MaxSeq: scope.MaxSeq, CountOnly: true}
	if s.MaxSeq == 0 {
		s.MaxSeq = a.o.Store.LastSeq()
	}
	answer := deletePreview{Services: map[string]int64{}, Samples: []json.RawMessage{}, Confirm: s.MaxSeq}
	count, err := a.search(r.Context(), s, nil)
	if err == nil {
		s.CountOnly, s.Newest, s.Limit = false, true, deleteSamples
		_, err = a.search(r.Context(), s, func(row query.Row) error {
			answer.Samples = append(answer.Samples, eventjson.AppendEvent(nil, row.Event))
			return nil
		})
	}
	if err != nil {
		writeError(w, err)
		return
	}
	answer.Events, answer.Complete, answer.Reasons = count.Matched, count.Complete, count.Reasons
	if count.Services != nil {
		answer.Services = count.Services
	}
	for _, info := range a.o.Store.Services() {
		if n := count.Services[info.Name]; n > 0 {
			answer.Bytes += int64(float64(info.Bytes) / float64(max(info.Events, 1)) * float64(n))
		}
	}
	if scope.Since != 0 {
		answer.Since = time.Unix(0, scope.Since).UTC()
	}
	if scope.Until != 0 {
		answer.Until = time.Unix(0, scope.Until).UTC()
	}
	writeJSON(w, http.StatusOK, map[string]any{"dry_run": answer})
}

// deletion shows one job, or cancels it.
func (a *API) deletion(w http.ResponseWriter, r *http.Request) {
	missing := &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is no such deletion", Mend: "GET " + deletesPath + " lists them"}
	id, err := strconv.ParseUint(strings.TrimPrefix(r.URL.Path, deletesPath+"/"), 10, 64)
	if err != nil {
		writeError(w, missing)
		return
	}
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	if r.Method == http.MethodDelete {
		job, err := a.o.Deleter.CancelDelete(id)
		switch {
		case errors.Is(err, query.ErrNoDeletion):
			writeError(w, missing)
		case err != nil:
			writeError(w, err)
		default:
			writeJSON(w, http.StatusOK, job)
		}
		return
	}
	for _, job := range a.o.Deleter.Deletes() {
		if job.ID == id {
			writeJSON(w, http.StatusOK, job)
			return
		}
	}
	writeError(w, missing)
}
