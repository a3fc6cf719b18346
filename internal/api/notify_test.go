package api

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// mouth notes what test messages it was to send.
type mouth struct {
	sent   []string
	result alerting.TestResult
	err    error
}

func (m *mouth) Channels() ([]ChannelInfo, error) {
	return []ChannelInfo{{Channel: "#ops", Way: "slack"}, {Channel: "restart", Way: "restart", Hook: true}, {Channel: "#gone", Way: "slack", Parked: time.Unix(0, start), Error: "slack: is_archived"}}, nil
}

func (m *mouth) SendTest(_ context.Context, channel string, t alerting.Test) (alerting.TestResult, error) {
	m.sent = append(m.sent, channel+" "+string(t.Severity)+" "+t.Text+" by "+t.By)
	r := m.result
	r.Channel = channel
	return r, m.err
}

func TestNotifyTest(t *testing.T) {
	m := &mouth{result: alerting.TestResult{Accepted: true, Receipt: "1.2", TookMS: 15.5}}
	f := newFixture(t, func(o *Options) { o.Notifier = m })
	var reader struct{ Token string }
	made := f.do("POST", "/api/v1/tokens", "name=ann&role=read", "Content-Type", "application/x-www-form-urlencoded")
	if err := json.Unmarshal(made.Body.Bytes(), &reader); err != nil || reader.Token == "" {
		t.Fatal(made.Body, err)
	}
	read := []string{"Authorization", "Bearer " + reader.Token, "Content-Type", "application/x-www-form-urlencoded"}
	if w := f.bare("GET", "/api/v1/notify/test", "", read[:2]...); w.Code != 200 || !strings.Contains(w.Body.String(), `{"channel":"restart","way":"restart","hook":true}`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := f.bare("POST", "/api/v1/notify/test", "channel=%23ops", read...); w.Code != 403 || m.sent != nil {
		t.Errorf("a reader: %d %s", w.Code, w.Body)
	}
	broken := alerting.TestResult{Class: alerting.Broken, Code: "not_in_channel", Error: "slack: not_in_channel", Mend: "invite the app: write /invite @lookout in the channel"}
	for _, c := range []struct {
		body   string
		result alerting.TestResult
		err    error
		code   int
		answer string
		sent   string
	}{
		{"channel=%23ops", m.result, nil, 200, `{"channel":"#ops","accepted":true,"receipt":"1.2","took_ms":15.5}`, "#ops   by admin"},
		{"channel=%23ops&severity=critical&text=a+b&by=ann", m.result, nil, 200, `"accepted":true`, "#ops critical a b by ann (admin)"},
		{"channel=%23ops", broken, nil, 200, `"accepted":false,"took_ms":0,"class":"destination broken","code":"not_in_channel","error":"slack: not_in_channel","mend":"invite the app`, "#ops   by admin"},
		{"", m.result, nil, 400, "GET /api/v1/notify/test lists the channels", ""},
		{"channel=%23ops&severity=bad", m.result, nil, 400, "use critical, error, warning or info", ""},
		{"channel=%23ops&text=" + strings.Repeat("x", 1001), m.result, nil, 400, "the most is 1000 bytes", ""},
		{"channel=%23no", m.result, &AskError{Field: "channel", Message: "is not configured", Mend: "there are #ops"}, 400, `"message":"channel is not configured","field":"channel","mend":"there are #ops"`, "#no   by admin"},
		{"channel=%23ops", m.result, &alerting.TooSoonError{RetryAfter: 300 * time.Millisecond}, 429, `"code":"busy"`, "#ops   by admin"},
	} {
		m.sent, m.result, m.err = nil, c.result, c.err
		w := f.do("POST", "/api/v1/notify/test", c.body, "Content-Type", "application/x-www-form-urlencoded")
		if w.Code != c.code || !strings.Contains(w.Body.String(), c.answer) || strings.Join(m.sent, ", ") != c.sent {
			t.Errorf("%s: %d %s, sent %q", c.body, w.Code, w.Body, m.sent)
		}
		if c.code == 429 && w.Header().Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
		}
	}
	without := newFixture(t, func(o *Options) { o.Notifier = nil })
	if w := without.do("GET", "/api/v1/notify/test", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"channels":[]}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := without.do("POST", "/api/v1/notify/test", "channel=x", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 501 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// judge gives one verdict with all that there can be.
type judge struct{ asked []uint64 }

func (j *judge) Explain(e *event.Event) (alerting.Explanation, error) {
	j.asked = append(j.asked, e.Seq)
	now := time.Unix(0, start)
	return alerting.Explanation{Position: e.Seq, Decided: true, Matched: 1, Rules: []alerting.Verdict{{
		Rule: "errors", Query: "level>=error", Mode: alerting.ModeMatch, Notify: alerting.Incident, Match: true, Outcome: alerting.FindingTold, Why: "why", Terms: []string{"a holds"},
		Fingerprint: "p1:1", Incident: &alerting.IncidentInfo{ID: 7, State: alerting.Firing, Severity: alerting.Error, Channels: []string{"#ops"}},
		Series:   &alerting.SeriesInfo{By: map[string]string{"service": "shop"}, At: now, Unit: "events", Value: 1, Above: 3, Below: 1, Text: "t"},
		Expected: []alerting.ExpectationInfo{{Query: "cron", Author: "ann", Reason: "r", Expires: now, Since: now, Last: now}},
		Quiet:    []alerting.Quieting{{Kind: "silence", Name: "3", By: "ann", Until: now, Incident: 1, Past: true, Why: "w"}},
		Channels: []alerting.ChannelStanding{{Channel: "#ops", Route: 1, Match: "m", Told: now, Receipt: "1.2", Queued: now, Parked: now, Error: "e", Why: "w"}},
	}, {Rule: "other", Query: "x", Mode: alerting.ModeMatch, Notify: alerting.Each, Outcome: alerting.FindingNone, Why: "its query does not match"}}}, nil
}

func TestExplainAlert(t *testing.T) {
	j := &judge{}
	f := newFixture(t, func(o *Options) { o.Explainer = j })
	f.store.append(line("shop", "no stock", 0), line("shop", "no money", 1))
	for _, c := range []struct {
		query, answer string
		code          int
	}{
		{"?id=2", `{"event":{"id":"2","time":`, 200},
		{"?id=2", `"position":2,"decided":true,"matched":1,"rules":[{"rule":"errors",`, 200},
		{"?id=3", "there is no event 3", 404},
		{"", "id is not an event's", 400},
		{"?id=x", "id is not a whole number", 400},
		{"?id=1&all=1", "this address takes id", 400},
	} {
		if w := f.do("GET", "/api/v1/alerts/explain"+c.query, ""); w.Code != c.code || !strings.Contains(w.Body.String(), c.answer) {
			t.Errorf("%s: %d %s", c.query, w.Code, w.Body)
		}
	}
	if len(j.asked) != 2 || j.asked[0] != 2 {
		t.Errorf("asked about %v", j.asked)
	}
	without := newFixture(t)
	without.store.append(line("shop", "no stock", 0))
	if w := without.do("GET", "/api/v1/alerts/explain?id=1", ""); w.Code != 200 || !strings.Contains(w.Body.String(), `"matched":0,"rules":[]}`) {
		t.Errorf("without rules: %d %s", w.Code, w.Body)
	}
}
