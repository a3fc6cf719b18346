package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/lookoutlog/lookout/alerting"
)

// Alerter knows incidents by their ids, and what people do about them; a *alerting.Engine does. Its errors wrap
// alerting.ErrNotFound when there is none of the id.
type Alerter interface {
	Incident(id uint64) (alerting.IncidentInfo, error)
	Acknowledge(ctx context.Context, id uint64, by string) error
	Resolve(ctx context.Context, id uint64, by string) error
}

const alertsPath = "/api/v1/alerts"

// maxBy is the longest name of who did something, in bytes.
const maxBy = 100

// alert shows one incident: GET /api/v1/alerts/ID.
func (a *API) alert(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	a.withAlert(w, r, func(uint64) error { return nil })
}

// acknowledge is POST /api/v1/alerts/ID/ack. What everybody is told of is the admin's to change.
func (a *API) acknowledge(w http.ResponseWriter, r *http.Request) {
	a.byHand(w, r, func(id uint64, by string) error { return a.o.Alerter.Acknowledge(r.Context(), id, by) })
}

// resolve is POST /api/v1/alerts/ID/resolve.
func (a *API) resolve(w http.ResponseWriter, r *http.Request) {
	a.byHand(w, r, func(id uint64, by string) error { return a.o.Alerter.Resolve(r.Context(), id, by) })
}

func (a *API) byHand(w http.ResponseWriter, r *http.Request, do func(id uint64, by string) error) {
	p, err := readParams(w, r, "by")
	by := ""
	if err == nil {
		by, err = whom(r, p)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	a.withAlert(w, r, func(id uint64) error { return do(id, by) })
}

// withAlert does something about the incident that the path names, and shows it as it stands then.
func (a *API) withAlert(w http.ResponseWriter, r *http.Request, do func(id uint64) error) {
	text, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, alertsPath+"/"), "/")
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || a.o.Alerter == nil {
		err = alerting.ErrNotFound
	} else {
		err = do(id)
	}
	var info alerting.IncidentInfo
	if err == nil {
		info, err = a.o.Alerter.Incident(id)
	}
	if errors.Is(err, alerting.ErrNotFound) {
		err = &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is no such alert, or it was resolved more than a day ago", Mend: "GET " + alertsPath + " lists them"}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, info)
}
