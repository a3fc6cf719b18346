package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/alerting"
)

// hands notes what is done about the one incident, 7.
type hands struct{ done []string }

func (h *hands) do(what string, id uint64, by string) error {
	if id != 7 {
		return fmt.Errorf("incident %d: %w", id, alerting.ErrNotFound)
	}
	h.done = append(h.done, what+" by "+by)
	return nil
}

func (h *hands) Acknowledge(_ context.Context, id uint64, by string) error {
	return h.do("ack", id, by)
}
func (h *hands) Resolve(_ context.Context, id uint64, by string) error {
	return h.do("resolve", id, by)
}

func (h *hands) Incident(id uint64) (alerting.IncidentInfo, error) {
	if id != 7 {
		return alerting.IncidentInfo{}, alerting.ErrNotFound
	}
	return alerting.IncidentInfo{ID: id, Rule: "down", State: alerting.Firing, Channels: []string{"#errors"}}, nil
}

func TestAlertByHand(t *testing.T) {
	var h hands
	f := newFixture(t, func(o *Options) { o.Alerter = &h })
	var reader struct{ Token string }
	made := f.do("POST", "/api/v1/tokens", "name=ann&role=read", "Content-Type", "application/x-www-form-urlencoded")
	if err := json.Unmarshal(made.Body.Bytes(), &reader); err != nil || reader.Token == "" {
		t.Fatal(made.Body, err)
	}
	read := []string{"Authorization", "Bearer " + reader.Token}
	for _, tt := range []struct {
		method, path, body string
		header             []string
		code               int
		answer             string
		done               string
	}{
		{"GET", "/7", "", read, 200, `{"id":7,`, ""},
		{"POST", "/7/ack", "", nil, 200, `{"id":7,`, "ack by admin"},
		{"POST", "/7/resolve", "by=anna", nil, 200, `{"id":7,`, "resolve by anna (admin)"},
		{"POST", "/7/ack", "", read, 403, `"forbidden"`, ""},
		{"POST", "/8/ack", "", nil, 404, "no such alert", ""},
		{"GET", "/8", "", nil, 404, "no such alert", ""},
		{"GET", "/seven", "", nil, 404, "no such alert", ""},
		{"GET", "/7/", "", nil, 404, "nothing at this address", ""},
		{"POST", "/7/delete", "", nil, 404, "nothing at this address", ""},
		{"POST", "/7/ack/7", "", nil, 404, "nothing at this address", ""},
		{"GET", "/7/ack", "", nil, 405, "use POST", ""},
		{"POST", "/7", "", nil, 405, "use GET", ""},
		{"POST", "/7/ack", "who=anna", nil, 400, "this address takes by", ""},
		{"POST", "/7/ack", "by=" + strings.Repeat("a", 101), nil, 400, "the most is 100 bytes", ""},
		{"POST", "/7/ack?by=anna", "", nil, 200, `{"id":7,`, "ack by anna (admin)"},
	} {
		header := tt.header
		if tt.body != "" {
			header = append(header, "Content-Type", "application/x-www-form-urlencoded")
		}
		h.done = nil
		do := f.do
		if tt.header != nil {
			do = f.bare
		}
		w := do(tt.method, "/api/v1/alerts"+tt.path, tt.body, header...)
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.answer) || strings.Join(h.done, ", ") != tt.done {
			t.Errorf("%s %s %s: %d %s, done %q", tt.method, tt.path, tt.body, w.Code, w.Body, h.done)
		}
	}
	if w := newFixture(t).do("POST", "/api/v1/alerts/7/ack", ""); w.Code != 404 {
		t.Errorf("without alerting: %d %s", w.Code, w.Body)
	}
}
