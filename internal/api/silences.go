package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/auth"
)

// Silencer keeps silences; a *alerting.Engine does. Its errors are as those of that.
type Silencer interface {
	Silences() ([]alerting.Silence, error)
	AddSilence(ctx context.Context, s alerting.Silence) (alerting.Silence, error)
	EndSilence(ctx context.Context, id, by string) error
}

const silencesPath = "/api/v1/silences"

// silenceJSON is a silence as the API writes it.
type silenceJSON struct {
	alerting.Silence
	State alerting.SilenceState `json:"state"`
}

func (a *API) silenceJSON(s alerting.Silence) silenceJSON {
	return silenceJSON{s, s.State(a.o.Clock())}
}

// silences lists the silences, or adds one: GET and POST /api/v1/silences. What everybody is told of is the admin's to change.
func (a *API) silences(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		list("silences", func() ([]silenceJSON, error) {
			all := []silenceJSON{}
			if a.o.Silencer == nil {
				return all, nil
			}
			silences, err := a.o.Silencer.Silences()
			for _, s := range silences {
				all = append(all, a.silenceJSON(s))
			}
			return all, err
		})(w, r)
		return
	}
	s, err := a.addSilence(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, a.silenceJSON(s))
}

func (a *API) addSilence(w http.ResponseWriter, r *http.Request) (s alerting.Silence, err error) {
	if !auth.From(r.Context()).May(auth.Admin) {
		return s, auth.ErrRole
	}
	p, err := readParams(w, r, "id", "matchers", "from", "until", "for", "comment", "by")
	if err != nil {
		return s, err
	}
	now := a.o.Clock()
	s = alerting.Silence{ID: p["id"], Comment: p["comment"], From: now}
	for _, read := range []func() error{
		func() (err error) { s.By, err = whom(r, p); return },
		func() (err error) {
			if s.Matchers, err = alerting.ParseMatchers(p["matchers"]); err != nil {
				return badParameter("matchers", "cannot be read: "+err.Error(), `write them as service="shop",env=~"prod.*"`)
			}
			return nil
		},
		func() error { return p.moment("from", &s.From) },
		func() error { return p.moment("until", &s.Until) },
		func() error {
			if (p["for"] == "") == (p["until"] == "") {
				return badParameter("for", "or until is needed, and not both", "say how long the silence lasts, such as for=2h")
			}
			if p["for"] == "" {
				return nil
			}
			lasts, ok := parseBack(p["for"])
			if !ok {
				return badParameter("for", "is not a length of time", "write it as 30m, 2h or 1d")
			}
			s.Until = s.From.Add(lasts)
			return nil
		},
		func() error {
			if !s.Until.After(s.From) {
				return badParameter("until", "is not later than from", "give an end that lies after the beginning")
			}
			return nil
		},
		func() error {
			if a.o.Silencer == nil {
				return &apiError{Status: http.StatusConflict, Code: "no_rules", Message: "nothing alerts here, so there is nothing to silence", Mend: "set a channel or rules first, see docs/alerting.md"}
			}
			return nil
		},
	} {
		if err := read(); err != nil {
			return s, err
		}
	}
	s, err = a.o.Silencer.AddSilence(r.Context(), s)
	return s, silenceError(err)
}

// silence shows one silence, or ends it: GET and DELETE /api/v1/silences/ID.
func (a *API) silence(w http.ResponseWriter, r *http.Request) {
	s, err := a.endSilence(w, r, strings.TrimPrefix(r.URL.Path, silencesPath+"/"))
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, a.silenceJSON(s))
}

func (a *API) endSilence(w http.ResponseWriter, r *http.Request, id string) (s alerting.Silence, err error) {
	if r.Method == http.MethodDelete && !auth.From(r.Context()).May(auth.Admin) {
		return s, auth.ErrRole
	}
	p, err := readParams(w, r, "by")
	if err != nil {
		return s, err
	}
	by, err := whom(r, p)
	if err != nil {
		return s, err
	}
	if a.o.Silencer == nil {
		return s, silenceError(alerting.ErrNotFound)
	}
	if r.Method == http.MethodDelete {
		if err := a.o.Silencer.EndSilence(r.Context(), id, by); err != nil {
			return s, silenceError(err)
		}
	}
	all, err := a.o.Silencer.Silences()
	for _, one := range all {
		if one.ID == id {
			return one, err
		}
	}
	if err == nil {
		err = silenceError(alerting.ErrNotFound)
	}
	return s, err
}

// whom is who does something: the token's name, and in front of it what the request says.
func whom(r *http.Request, p params) (string, error) {
	by := auth.From(r.Context()).Name
	switch {
	case len(p["by"]) > maxBy:
		return "", badParameter("by", "is too long", fmt.Sprintf("the most is %d bytes", maxBy))
	case p["by"] != "":
		by = p["by"] + " (" + by + ")"
	}
	return by, nil
}

// moment reads a time: RFC 3339 or unix time. What is not given stays as it is.
func (p params) moment(name string, to *time.Time) error {
	if p[name] == "" {
		return nil
	}
	if ns, ok := parseUnix(p[name]); ok {
		*to = time.Unix(0, ns)
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, p[name])
	if err != nil {
		return badParameter(name, "is not a time", "write it as 2026-11-21T14:05:00Z (in an address + is %2B) or as unix time")
	}
	*to = t
	return nil
}

func silenceError(err error) error {
	if refused := (*alerting.SilenceError)(nil); errors.As(err, &refused) {
		return &apiError{Status: http.StatusBadRequest, Code: "bad_silence", Message: refused.Message, Mend: refused.Mend}
	}
	if errors.Is(err, alerting.ErrNotFound) {
		return &apiError{Status: http.StatusNotFound, Code: "not_found", Message: "there is no silence of this ID", Mend: "GET " + silencesPath + " lists them"}
	}
	return err
}
