package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector/alertmanager"
	"github.com/lookoutlog/lookout/internal/auth"
)

// Alertmanager takes alerts; an *alertmanager.Input does.
type Alertmanager interface {
	Post(ctx context.Context, alerts []alertmanager.Alert) error
	Alerts() []alertmanager.Alert
}

const v2Path = "/api/v2/"

// maxV2Body is the longest body of Alertmanager's API, in bytes.
const maxV2Body = 8 << 20

// v2 is Alertmanager's API, as far as amtool and those who send alerts need it: github.com/prometheus/alertmanager,
// api/v2/openapi.yaml. Its errors are JSON texts, which is what its clients show.
func (a *API) v2(w http.ResponseWriter, r *http.Request) {
	name, id, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, v2Path), "/")
	routes := map[string]struct {
		role auth.Role
		do   func(http.ResponseWriter, *http.Request) error
	}{
		"GET alerts":        {auth.Read, a.v2Alerts},
		"GET alerts/groups": {auth.Read, a.v2Groups},
		"POST alerts":       {auth.Write, a.v2Post},
		"GET silences":      {auth.Read, a.v2Silences},
		"POST silences":     {auth.Admin, a.v2AddSilence},
		"GET silence/":      {auth.Read, a.v2Silence},
		"DELETE silence/":   {auth.Admin, a.v2EndSilence},
		"GET status":        {auth.Read, a.v2Status},
		"GET receivers":     {auth.Read, a.v2Receivers},
	}
	what := r.Method + " " + strings.TrimPrefix(r.URL.Path, v2Path)
	if name == "silence" && id != "" {
		what = r.Method + " silence/"
	}
	route, ok := routes[what]
	switch {
	case !ok:
		v2Error(w, &apiError{Status: http.StatusNotFound, Message: "lookout has no " + r.Method + " at this address of Alertmanager's API",
			Mend: "it has alerts, alerts/groups, silences, silence/{id}, status and receivers"})
		return
	case !auth.From(r.Context()).May(route.role):
		writeError(w, auth.ErrRole)
		return
	}
	if err := route.do(w, r); err != nil {
		v2Error(w, err)
	}
}

func v2Error(w http.ResponseWriter, err error) {
	e := asError(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
	}
	text := e.Message
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	writeJSON(w, e.Status, text)
}

func badV2(message string) error {
	return &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Message: message}
}

// v2Body decodes a body.
func v2Body(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxV2Body))
	err := d.Decode(v)
	if long := (*http.MaxBytesError)(nil); errors.As(err, &long) {
		return &apiError{Status: http.StatusRequestEntityTooLarge, Message: "the body is longer than 8 MiB", Mend: "send fewer at a time"}
	}
	if err != nil {
		return badV2("the body is not JSON as Alertmanager's API has it: " + err.Error())
	}
	return nil
}

// v2Post takes alerts: POST /api/v2/alerts.
func (a *API) v2Post(w http.ResponseWriter, r *http.Request) error {
	var alerts []alertmanager.Alert
	if err := v2Body(w, r, &alerts); err != nil {
		return err
	}
	err := a.o.Alertmanager.Post(r.Context(), alerts)
	var invalid *alertmanager.InvalidError
	var pressure interface {
		RetryAfter() time.Duration
		Full() bool
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusOK)
		return nil
	case errors.As(err, &invalid):
		return badV2(invalid.Message)
	case errors.Is(err, alertmanager.ErrFull):
		return &apiError{Status: http.StatusTooManyRequests, Message: err.Error(), RetryAfter: time.Minute}
	case errors.As(err, &pressure):
		status := http.StatusTooManyRequests
		if pressure.Full() {
			status = http.StatusServiceUnavailable
		}
		return &apiError{Status: status, Message: "events cannot be stored now", Mend: "send them again later", RetryAfter: pressure.RetryAfter()}
	}
	return err
}

// v2Alert is an alert as the API lists it.
type v2Alert struct {
	Annotations  map[string]string   `json:"annotations"`
	EndsAt       time.Time           `json:"endsAt"`
	Fingerprint  string              `json:"fingerprint"`
	Receivers    []map[string]string `json:"receivers"`
	StartsAt     time.Time           `json:"startsAt"`
	Status       v2AlertStatus       `json:"status"`
	UpdatedAt    time.Time           `json:"updatedAt"`
	GeneratorURL string              `json:"generatorURL"`
	Labels       map[string]string   `json:"labels"`
}

type v2AlertStatus struct {
	InhibitedBy []string `json:"inhibitedBy"`
	MutedBy     []string `json:"mutedBy"`
	SilencedBy  []string `json:"silencedBy"`
	State       string   `json:"state"`
}

// listedAlerts are those that were sent and fire, and lookout's own incidents that are open.
func (a *API) listedAlerts() ([]v2Alert, error) {
	now := a.o.Clock()
	var silences []alerting.Silence
	if a.o.Silencer != nil {
		var err error
		if silences, err = a.o.Silencer.Silences(); err != nil {
			return nil, err
		}
	}
	list := []v2Alert{}
	add := func(alert alertmanager.Alert, receivers []string, inhibited bool, labels alerting.Labels) {
		v := v2Alert{
			Annotations: alert.Annotations, Labels: alert.Labels, StartsAt: alert.StartsAt, EndsAt: alert.EndsAt, UpdatedAt: alert.UpdatedAt,
			Fingerprint: alert.Fingerprint(), GeneratorURL: alert.GeneratorURL, Receivers: []map[string]string{},
			Status: v2AlertStatus{InhibitedBy: []string{}, MutedBy: []string{}, SilencedBy: []string{}, State: "active"},
		}
		if v.Annotations == nil {
			v.Annotations = map[string]string{}
		}
		for _, name := range receivers {
			v.Receivers = append(v.Receivers, map[string]string{"name": name})
		}
		for _, s := range silences {
			if s.State(now) == alerting.SilenceActive && s.Matchers.Match(labels) {
				v.Status.SilencedBy = append(v.Status.SilencedBy, s.ID)
			}
		}
		if inhibited {
			v.Status.InhibitedBy = append(v.Status.InhibitedBy, "parent")
		}
		if inhibited || len(v.Status.SilencedBy) > 0 {
			v.Status.State = "suppressed"
		}
		list = append(list, v)
	}
	for _, alert := range a.o.Alertmanager.Alerts() {
		add(alert, []string{"lookout"}, false, alert.Labels)
	}
	incidents, err := a.o.Alerts()
	if err != nil {
		return nil, err
	}
	for _, i := range incidents {
		// Those of alerts that were sent have the alert's name; they are there already.
		if i.State == alerting.Resolved || i.Labels["alertname"] != i.Rule {
			continue
		}
		add(alertmanager.Alert{
			Labels: i.Labels, Annotations: map[string]string{"summary": i.Title}, StartsAt: i.Since, EndsAt: now.Add(5 * time.Minute), UpdatedAt: i.Last, GeneratorURL: i.Link,
		}, i.Channels, i.Muted == "parent", i.Labels)
	}
	return list, nil
}

// filteredAlerts are those that a request asks for.
func (a *API) filteredAlerts(q url.Values) ([]v2Alert, error) {
	matchers, err := v2Filter(q)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool { return q.Get(name) == "" || q.Get(name) == "true" }
	receiver, err := regexp.Compile("^(?:" + q.Get("receiver") + ")$")
	if err != nil || len(q.Get("receiver")) > 500 {
		return nil, badV2("receiver is not a regular expression")
	}
	all, err := a.listedAlerts()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(v v2Alert) bool {
		silenced, inhibited := len(v.Status.SilencedBy) > 0, len(v.Status.InhibitedBy) > 0
		return !matchers.Match(v.Labels) || silenced && !wanted("silenced") || inhibited && !wanted("inhibited") || !silenced && !inhibited && !wanted("active") ||
			q.Get("receiver") != "" && !slices.ContainsFunc(v.Receivers, func(m map[string]string) bool { return receiver.MatchString(m["name"]) })
	}), nil
}

func v2Filter(q url.Values) (alerting.Matchers, error) {
	var matchers alerting.Matchers
	for _, text := range q["filter"] {
		m, err := alerting.ParseMatchers(text)
		if err != nil {
			return nil, badV2("filter: " + err.Error())
		}
		matchers = append(matchers, m...)
	}
	return matchers, nil
}

func (a *API) v2Alerts(w http.ResponseWriter, r *http.Request) error {
	list, err := a.filteredAlerts(r.URL.Query())
	if err == nil {
		writeJSON(w, http.StatusOK, list)
	}
	return err
}

// v2Groups lists the alerts by name.
func (a *API) v2Groups(w http.ResponseWriter, r *http.Request) error {
	list, err := a.filteredAlerts(r.URL.Query())
	if err != nil {
		return err
	}
	type group struct {
		Labels   map[string]string `json:"labels"`
		Receiver map[string]string `json:"receiver"`
		Alerts   []v2Alert         `json:"alerts"`
	}
	groups := []*group{}
	byName := map[string]*group{}
	for _, v := range list {
		name := v.Labels["alertname"]
		g := byName[name]
		if g == nil {
			g = &group{Labels: map[string]string{"alertname": name}, Receiver: map[string]string{"name": "lookout"}}
			byName[name] = g
			groups = append(groups, g)
		}
		g.Alerts = append(g.Alerts, v)
	}
	writeJSON(w, http.StatusOK, groups)
	return nil
}

type v2Matcher struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	IsRegex bool   `json:"isRegex"`
	IsEqual *bool  `json:"isEqual"`
}

type v2SilenceJSON struct {
	ID        string            `json:"id"`
	Matchers  []v2Matcher       `json:"matchers"`
	StartsAt  time.Time         `json:"startsAt"`
	EndsAt    time.Time         `json:"endsAt"`
	CreatedBy string            `json:"createdBy"`
	Comment   string            `json:"comment"`
	UpdatedAt time.Time         `json:"updatedAt"`
	Status    map[string]string `json:"status"`
}

func (a *API) v2SilenceJSON(s *alerting.Silence) v2SilenceJSON {
	v := v2SilenceJSON{
		ID: s.ID, StartsAt: s.From, EndsAt: s.Until, CreatedBy: s.By, Comment: s.Comment, UpdatedAt: s.Created,
		Status: map[string]string{"state": string(s.State(a.o.Clock()))}, Matchers: []v2Matcher{},
	}
	for _, m := range s.Matchers {
		equal := m.Op == alerting.MatchEqual || m.Op == alerting.MatchRegexp
		v.Matchers = append(v.Matchers, v2Matcher{m.Name, m.Value, m.Op == alerting.MatchRegexp || m.Op == alerting.MatchNotRegexp, &equal})
	}
	return v
}

var errNoSilencer = &apiError{Status: http.StatusConflict, Code: "no_rules", Message: "nothing alerts here, so there is nothing to silence", Mend: "set a channel or rules first"}

func (a *API) v2Silences(w http.ResponseWriter, r *http.Request) error {
	filter, err := v2Filter(r.URL.Query())
	if err != nil {
		return err
	}
	list := []v2SilenceJSON{}
	if a.o.Silencer == nil {
		writeJSON(w, http.StatusOK, list)
		return nil
	}
	silences, err := a.o.Silencer.Silences()
	if err != nil {
		return err
	}
	for _, s := range silences {
		// As Alertmanager: what a silence's matchers name is held against the filter.
		labels := alerting.Labels{}
		for _, m := range s.Matchers {
			labels[m.Name] = m.Value
		}
		if filter.Match(labels) {
			list = append(list, a.v2SilenceJSON(&s))
		}
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (a *API) v2AddSilence(w http.ResponseWriter, r *http.Request) error {
	if a.o.Silencer == nil {
		return errNoSilencer
	}
	var v v2SilenceJSON
	if err := v2Body(w, r, &v); err != nil {
		return err
	}
	s := alerting.Silence{ID: v.ID, From: v.StartsAt, Until: v.EndsAt, By: v.CreatedBy, Comment: v.Comment}
	for _, m := range v.Matchers {
		op := alerting.MatchEqual
		switch equal := m.IsEqual == nil || *m.IsEqual; {
		case m.IsRegex && equal:
			op = alerting.MatchRegexp
		case m.IsRegex:
			op = alerting.MatchNotRegexp
		case !equal:
			op = alerting.MatchNotEqual
		}
		matcher, err := alerting.NewMatcher(m.Name, op, m.Value)
		if err != nil {
			return badV2(err.Error())
		}
		s.Matchers = append(s.Matchers, matcher)
	}
	s, err := a.o.Silencer.AddSilence(r.Context(), s)
	if err != nil {
		return silenceError(err)
	}
	writeJSON(w, http.StatusOK, map[string]string{"silenceID": s.ID})
	return nil
}

func (a *API) v2Silence(w http.ResponseWriter, r *http.Request) error {
	if a.o.Silencer == nil {
		return errNoSilencer
	}
	silences, err := a.o.Silencer.Silences()
	if err != nil {
		return err
	}
	id := strings.TrimPrefix(r.URL.Path, v2Path+"silence/")
	for _, s := range silences {
		if s.ID == id {
			writeJSON(w, http.StatusOK, a.v2SilenceJSON(&s))
			return nil
		}
	}
	return &apiError{Status: http.StatusNotFound, Message: "there is no silence with this id"}
}

func (a *API) v2EndSilence(w http.ResponseWriter, r *http.Request) error {
	if a.o.Silencer == nil {
		return errNoSilencer
	}
	if err := a.o.Silencer.EndSilence(r.Context(), strings.TrimPrefix(r.URL.Path, v2Path+"silence/"), auth.From(r.Context()).Name); err != nil {
		return silenceError(err)
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

var started = time.Now().UTC()

// v2Status says who answers; there is no cluster and no configuration of Alertmanager.
func (a *API) v2Status(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, map[string]any{
		"cluster": map[string]any{"name": "", "status": "disabled", "peers": []any{}},
		"config":  map[string]string{"original": "# this is lookout: its configuration is lookout.yaml\n"},
		"uptime":  started,
		"versionInfo": map[string]string{
			"version": "lookout " + a.o.Version, "branch": "", "buildDate": "", "buildUser": "", "revision": "", "goVersion": runtime.Version(),
		},
	})
	return nil
}

func (a *API) v2Receivers(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, []map[string]string{{"name": "lookout"}})
	return nil
}
