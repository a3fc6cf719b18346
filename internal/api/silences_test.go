package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// quiet keeps silences in memory.
type quiet struct {
	now func() time.Time
	all []alerting.Silence
}

func (q *quiet) Silences() ([]alerting.Silence, error) { return q.all, nil }

func (q *quiet) AddSilence(_ context.Context, s alerting.Silence) (alerting.Silence, error) {
	switch {
	case len(s.Matchers) == 0:
		return s, &alerting.SilenceError{Message: "a silence without matchers", Mend: "say what"}
	case s.ID != "":
		return s, fmt.Errorf("silence %s: %w", s.ID, alerting.ErrNotFound)
	}
	s.ID = fmt.Sprint(len(q.all) + 1)
	q.all = append(q.all, s)
	return s, nil
}

func (q *quiet) EndSilence(_ context.Context, id, by string) error {
	for i := range q.all {
		if q.all[i].ID == id {
			q.all[i].Until, q.all[i].EndedBy = q.now(), by
			return nil
		}
	}
	return alerting.ErrNotFound
}

func TestSilences(t *testing.T) {
	var q quiet
	f := newFixture(t, func(o *Options) { q.now = o.Clock; o.Silencer = &q })
	var reader struct{ Token string }
	made := f.do("POST", "/api/v1/tokens", "name=ann&role=read", "Content-Type", "application/x-www-form-urlencoded")
	if err := json.Unmarshal(made.Body.Bytes(), &reader); err != nil || reader.Token == "" {
		t.Fatal(made.Body, err)
	}
	read := []string{"Authorization", "Bearer " + reader.Token}
	for _, c := range []struct {
		method, path, body string
		header             []string
		status             int
		want               string
	}{
		{"GET", "", "", read, 200, `{"silences":[]}`},
		{"POST", "", "matchers=service%3Dshop&for=2h&comment=c&by=ann", nil, 200,
			`{"id":"1","matchers":"service=\"shop\"","from":"2027-01-15T08:00:00Z","until":"2027-01-15T10:00:00Z","by":"ann (admin)","comment":"c","created":"0001-01-01T00:00:00Z","state":"active"}`},
		{"POST", "", "matchers=service%3Dshop&from=2027-01-15T09:00:00Z&until=2027-01-15T10:00:00Z", nil, 200, `"state":"pending"`},
		{"GET", "", "", read, 200, `{"silences":[{"id":"1",`},
		{"GET", "/2", "", read, 200, `{"id":"2",`},
		{"DELETE", "/1", "", nil, 200, `"ended_by":"admin","state":"expired"`},
		{"DELETE", "/7", "", nil, 404, "there is no silence of this ID"},
		{"GET", "/7", "", nil, 404, "there is no silence of this ID"},
		{"GET", "/", "", nil, 404, "there is no silence of this ID"},
		{"DELETE", "/2", "", read, 403, `"forbidden"`},
		{"POST", "", "matchers=service%3Dshop&for=2h", read, 403, `"forbidden"`},
		{"POST", "", "for=2h", nil, 400, `"bad_silence"`},
		{"POST", "", "matchers=service&for=2h", nil, 400, `at character 8: label`},
		{"POST", "", "matchers=service%3Dshop", nil, 400, `for or until is needed`},
		{"POST", "", "matchers=service%3Dshop&for=2h&until=2027-01-15T10:00:00Z", nil, 400, `for or until is needed`},
		{"POST", "", "matchers=service%3Dshop&for=soon", nil, 400, `for is not a length of time`},
		{"POST", "", "matchers=service%3Dshop&until=tomorrow", nil, 400, `until is not a time`},
		{"POST", "", "matchers=service%3Dshop&for=2h&from=x", nil, 400, `from is not a time`},
		{"POST", "", "matchers=service%3Dshop&for=2h&id=7", nil, 404, "there is no silence of this ID"},
		{"POST", "", "matchers=service%3Dshop&for=2h&by=" + strings.Repeat("a", 101), nil, 400, "the most is 100 bytes"},
		{"POST", "", "who=ann", nil, 400, "this address takes id, matchers"},
		{"PUT", "", "", nil, 405, "use GET or POST"},
		{"POST", "/1", "", nil, 405, "use GET or DELETE"},
	} {
		header, do := c.header, f.do
		if c.header != nil {
			do = f.bare
		}
		if c.body != "" {
			header = append(header, "Content-Type", "application/x-www-form-urlencoded")
		}
		w := do(c.method, "/api/v1/silences"+c.path, c.body, header...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s %.60s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
	none := newFixture(t)
	if w := none.do("GET", "/api/v1/silences", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"silences":[]}` {
		t.Errorf("without alerting: %d %s", w.Code, w.Body)
	}
	if w := none.do("POST", "/api/v1/silences", "matchers=a%3Db&for=1h", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 409 {
		t.Errorf("without alerting: %d %s", w.Code, w.Body)
	}
}
