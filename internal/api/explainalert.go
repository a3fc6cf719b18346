package api

import (
	"encoding/json"
	"math"
	"net/http"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
	"github.com/lookoutlog/lookout/internal/mask"
)

// Explainer says what the rules made of an event; a *alerting.Engine does.
type Explainer interface {
	Explain(e *event.Event) (alerting.Explanation, error)
}

// explainedJSON is an explanation as the API writes it.
type explainedJSON struct {
	Event json.RawMessage `json:"event"`
	// First and Last are when the event's kind of line was seen at all, by the catalogue; left out when it does not know.
	First string `json:"first_seen,omitempty"`
	Last  string `json:"last_seen,omitempty"`
	alerting.Explanation
}

// explainAlert says why an event alerted, or why not: GET /api/v1/alerts/explain.
func (a *API) explainAlert(w http.ResponseWriter, r *http.Request) {
	p, err := readParams(w, r, "id")
	var id uint64
	if err == nil {
		if id, err = p.number("id", math.MaxUint64); err == nil && id == 0 {
			err = badParameter("id", "is not an event's", "give the id that a search shows with each event")
		}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	found, _, err := a.pin(r.Context(), id)
	if err != nil {
		writeError(w, err)
		return
	}
	x := explainedJSON{Event: eventjson.AppendEvent(nil, found), Explanation: alerting.Explanation{Rules: []alerting.Verdict{}}}
	if a.o.Explainer != nil {
		if x.Explanation, err = a.o.Explainer.Explain(found); err != nil {
			writeError(w, err)
			return
		}
	}
	x.First, x.Last = a.seen(found)
	writeJSON(w, http.StatusOK, &x)
}

// seen is when the event's kind of line was first and last seen.
func (a *API) seen(e *event.Event) (first, last string) {
	if a.o.Catalog == nil {
		return "", ""
	}
	var scratch []byte
	hash := mask.Hash(string(e.Service), e.Level, mask.Pattern(nil, e.Message), &scratch)
	times, err := a.o.Catalog.Lookup([]uint64{hash})
	t, known := times[hash]
	if err != nil || !known {
		return "", ""
	}
	return time.Unix(0, t.First).UTC().Format(time.RFC3339Nano), time.Unix(0, t.Last).UTC().Format(time.RFC3339Nano)
}
