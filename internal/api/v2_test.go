package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector/alertmanager"
)

// received keeps what it is sent.
type received struct {
	alerts []alertmanager.Alert
	err    error
}

func (r *received) Post(_ context.Context, alerts []alertmanager.Alert) error {
	r.alerts = append(r.alerts, alerts...)
	return r.err
}

func (r *received) Alerts() []alertmanager.Alert { return r.alerts }

// pressed is the store's answer under pressure.
type pressed struct{ full bool }

func (p pressed) Error() string             { return "pressed" }
func (p pressed) RetryAfter() time.Duration { return 3 * time.Second }
func (p pressed) Full() bool                { return p.full }

// Alertmanager's API: who may do what, what is listed, and errors as JSON texts. amtool is e2e's.
func TestV2(t *testing.T) {
	in := &received{}
	var q quiet
	incidents := []alerting.IncidentInfo{
		{Rule: "errors", State: alerting.Firing, Title: "[error] shop: no stock", Channels: []string{"#ops"}, Labels: alerting.Labels{"rule": "errors", "alertname": "errors", "service": "shop"}},
		{Rule: "errors", State: alerting.Resolved, Title: "over", Labels: alerting.Labels{"rule": "errors", "alertname": "errors"}},
		{Rule: "alertmanager", State: alerting.Firing, Title: "sent", Labels: alerting.Labels{"rule": "alertmanager", "alertname": "DiskFull"}},
		{Rule: "child", State: alerting.Firing, Muted: "parent", Title: "held", Labels: alerting.Labels{"rule": "child", "alertname": "child"}},
	}
	f := newFixture(t, func(o *Options) {
		q.now = o.Clock
		o.Silencer, o.Alertmanager = &q, in
		o.Alerts = func() ([]alerting.IncidentInfo, error) { return incidents, nil }
	})
	ask := func(method, target, body string, status int, says string, header ...string) string {
		t.Helper()
		w := f.do(method, target, body, header...)
		if w.Code != status || !strings.Contains(w.Body.String(), says) {
			t.Errorf("%s %s: %d %s, want %d %q", method, target, w.Code, w.Body, status, says)
		}
		if status >= 400 && says != "" {
			var text string
			if err := json.Unmarshal(w.Body.Bytes(), &text); err != nil && status != http.StatusForbidden {
				t.Errorf("%s %s: the error is no JSON text: %s", method, target, w.Body)
			}
		}
		return w.Body.String()
	}
	one := `[{"labels":{"alertname":"DiskFull","service":"db"},"annotations":{"summary":"full"},"startsAt":"2026-01-01T00:00:00Z"}]`
	asWriter := []string{"Authorization", "Bearer " + writer}
	ask("POST", "/api/v2/alerts", one, 200, "", asWriter...)
	if len(in.alerts) != 1 || in.alerts[0].Labels["service"] != "db" || in.alerts[0].StartsAt.Year() != 2026 {
		t.Fatalf("%+v", in.alerts)
	}
	ask("GET", "/api/v2/alerts", "", 403, "forbidden", asWriter...)
	ask("GET", "/api/v2/silences", "", 403, "forbidden", asWriter...)
	ask("POST", "/api/v2/silences", "{}", 403, "forbidden", asWriter...)
	ask("DELETE", "/api/v2/silence/1", "", 403, "forbidden", asWriter...)

	// Sent alerts and own incidents, each once; not those that are over.
	all := ask("GET", "/api/v2/alerts", "", 200, `"alertname":"DiskFull"`)
	if strings.Count(all, `"fingerprint"`) != 3 || !strings.Contains(all, "no stock") || !strings.Contains(all, `"inhibitedBy":["parent"]`) {
		t.Error(all)
	}
	for target, n := range map[string]int{
		"?filter=service%3D%22shop%22": 1, "?filter=service%3D~%22s.*%22&filter=alertname!%3D%22x%22": 1, "?filter=service%3D%22nobody%22": 0, "?inhibited=false": 2, "?active=false": 1, "?receiver=%23o.*": 1,
	} {
		if list := ask("GET", "/api/v2/alerts"+target, "", 200, ""); strings.Count(list, `"fingerprint"`) != n {
			t.Errorf("%s: %s", target, list)
		}
	}
	ask("GET", "/api/v2/alerts/groups", "", 200, `{"labels":{"alertname":"DiskFull"},"receiver":{"name":"lookout"},"alerts":[{`)
	ask("GET", "/api/v2/status", "", 200, `"status":"disabled"`)
	ask("GET", "/api/v2/receivers", "", 200, `[{"name":"lookout"}]`)

	silence := `{"matchers":[{"name":"service","value":"d.","isRegex":true},{"name":"env","value":"test","isEqual":false}],"startsAt":"1960-01-01T00:00:00Z","endsAt":"2099-01-01T00:00:00Z","createdBy":"me","comment":"known"}`
	var added struct{ SilenceID string }
	if err := json.Unmarshal([]byte(ask("POST", "/api/v2/silences", silence, 200, "silenceID")), &added); err != nil || added.SilenceID == "" {
		t.Fatalf("%+v %v", added, err)
	}
	ask("GET", "/api/v2/silence/"+added.SilenceID, "", 200, `{"name":"service","value":"d.","isRegex":true,"isEqual":true},{"name":"env","value":"test","isRegex":false,"isEqual":false}`)
	ask("GET", "/api/v2/silences", "", 200, `"comment":"known"`)
	ask("GET", "/api/v2/silences?filter=service%3D%22zzz%22", "", 200, "[]")
	ask("GET", "/api/v2/alerts?filter=service%3D%22db%22", "", 200, `"silencedBy":["`+added.SilenceID+`"],"state":"suppressed"`)
	ask("DELETE", "/api/v2/silence/"+added.SilenceID, "", 200, "")

	// What is wrong.
	ask("GET", "/api/v2/silence/nobody", "", 404, "no silence")
	ask("POST", "/api/v2/alerts", "{", 400, "not JSON")
	ask("POST", "/api/v2/alerts", `{"a":1}`, 400, "not JSON")
	ask("POST", "/api/v2/alerts", `[{"labels":{"a":1}}]`, 400, "not JSON")
	ask("POST", "/api/v2/alerts", `[{"labels":{"a":"`+strings.Repeat("x", 9<<20)+`"}}]`, 413, "8 MiB")
	ask("POST", "/api/v2/silences", `{"matchers":[{"name":"a","value":"(","isRegex":true}]}`, 400, "")
	ask("GET", "/api/v2/alerts?filter=%7B", "", 400, "filter: ")
	ask("GET", "/api/v2/alerts?receiver=(", "", 400, "receiver")
	ask("GET", "/api/v2/", "", 404, "lookout has no GET")
	ask("PUT", "/api/v2/alerts", "", 404, "lookout has no PUT")
	for err, status := range map[error]int{&alertmanager.InvalidError{Message: "alert 1: it has no labels"}: 400, alertmanager.ErrFull: 429, pressed{}: 429, pressed{true}: 503} {
		in.err = err
		w := f.do("POST", "/api/v2/alerts", one)
		if w.Code != status || status != 400 && w.Header().Get("Retry-After") == "" {
			t.Errorf("%v: %d %v %s", err, w.Code, w.Header(), w.Body)
		}
	}
}
