package api

import (
	"context"
	"fmt"
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

// budgetJSON is what a search may use.
type budgetJSON struct {
	Scan      int64   `json:"scan"` // bytes of events, 0 for no limit
	Memory    int64   `json:"memory"`
	TimeoutMS float64 `json:"timeout_ms"`
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
	err = a.runIn(a.short, r.Context(), func(ctx context.Context) (err error) {
		reading, err = a.o.Store.Explain(ctx, s)
		return err
	})
	if err != nil {
		writeError(w, err)
		return
	}
	l := &a.o.Limits
	said := warnings(s.Query, &query.Summary{UnknownFields: reading.UnknownFields})
	if l.QueryScan > 0 && reading.Bytes > l.QueryScan {
		said = append(said, fmt.Sprintf("this may look at %d GB of events, and a search ends at %d GB (limits.query_scan); search a shorter range or one service", reading.Bytes/1e9, l.QueryScan/1e9))
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"normal": s.Query.String(), "terms": s.Query.Explain(), "reading": readingJSON(reading), "took_ms": milliseconds(time.Since(start)),
		"budget": budgetJSON{Scan: l.QueryScan, Memory: l.QueryMemory, TimeoutMS: milliseconds(l.QueryTimeout)}, "warnings": said,
	})
}
