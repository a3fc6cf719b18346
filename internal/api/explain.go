package api

import (
	"context"
	"net/http"
	"time"

	"github.com/lookoutlog/lookout/index/query"
)

// readingJSON is what a search would read, as the API writes it.
type readingJSON struct {
	Segments      int      `json:"segments"`
	Blocks        int      `json:"blocks"`
	Range         int      `json:"range"`
	Filter        int      `json:"filter"`
	Forms         int      `json:"forms"`
	Open          int      `json:"open"`
	Known         int      `json:"known"`
	Plain         int      `json:"plain"`
	Bytes         int64    `json:"bytes"`
	Least         int64    `json:"least"`
	Most          int64    `json:"most"`
	MaybeForms    int      `json:"maybe_forms"`
	AlwaysForms   int      `json:"always_forms"`
	Memory        int64    `json:"memory"`
	Complete      bool     `json:"complete"`
	Reasons       []string `json:"reasons,omitempty"`
	UnknownFields []string `json:"-"`
}

// explain says how a query is answered, and what it would read: GET or POST /api/v1/explain.
func (a *API) explain(w http.ResponseWriter, r *http.Request) {
	now := a.o.Clock()
	p, err := readParams(w, r, "q", "since", "until", "reports")
	var s query.Request
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
	var reading query.Reading
	err = a.run(r.Context(), func(ctx context.Context) (err error) {
		reading, err = a.o.Store.Explain(ctx, s)
		return err
	})
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"normal": s.Query.String(), "terms": s.Query.Explain(), "reading": readingJSON(reading), "took_ms": milliseconds(time.Since(start)),
		"warnings": warnings(s.Query, &query.Summary{UnknownFields: reading.UnknownFields}),
	})
}
