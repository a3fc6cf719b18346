package sdk

import (
	"errors"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSendTest(t *testing.T) {
	const accepted = `{"channel":"#ops","accepted":true,"receipt":"1.2","took_ms":15.5}`
	c, seen := script(t, `{"channels":[{"channel":"#ops","way":"slack"},{"channel":"x","way":"x","hook":true,"parked":"2026-11-21T11:00:00Z","error":"e"}]}`,
		`429 0|{"error":{"code":"busy","message":"m"}}`, accepted, `{"channel":"#ops","accepted":false,"took_ms":1,"class":"wait","code":"ratelimited","error":"e","mend":"m","retry_after_s":30}`, "lost", `{}`, `{}`)
	at := time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)
	if list, err := c.Channels(t.Context()); err != nil || !cmp.Equal(list, []Channel{{Channel: "#ops", Way: "slack"}, {Channel: "x", Way: "x", Hook: true, Parked: at, Error: "e"}}) {
		t.Errorf("%v, %v", list, err)
	}
	// One that comes too soon waits.
	if got, err := c.SendTest(t.Context(), TestMessage{Channel: "#ops", Severity: "critical", Text: "t", By: "ann"}); err != nil || !cmp.Equal(got, TestResult{Channel: "#ops", Accepted: true, Receipt: "1.2", TookMS: 15.5}) {
		t.Errorf("%v, %v", got, err)
	}
	body, _ := io.ReadAll((*seen)[2].Body)
	if sent, _ := url.ParseQuery(string(body)); !cmp.Equal(sent, url.Values{"channel": {"#ops"}, "severity": {"critical"}, "text": {"t"}, "by": {"ann"}}) {
		t.Error(string(body))
	}
	if got, err := c.SendTest(t.Context(), TestMessage{Channel: "#ops"}); err != nil || !cmp.Equal(got, TestResult{Channel: "#ops", TookMS: 1, Class: "wait", Code: "ratelimited", Error: "e", Mend: "m", RetryAfter: 30}) {
		t.Errorf("%v, %v", got, err)
	}
	// What may be there already is not sent again.
	var e *Error
	if _, err := c.SendTest(t.Context(), TestMessage{Channel: "#ops"}); !errors.As(err, &e) || e.Code != CodeNoAnswer || len(*seen) != 5 {
		t.Errorf("%v after %d requests", err, len(*seen))
	}
	if _, err := c.SendTest(t.Context(), TestMessage{Channel: "#ops"}); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
	if _, err := c.Channels(t.Context()); !errors.As(err, &e) || e.Code != CodeNotLookout {
		t.Error(err)
	}
}

func TestExplainAlert(t *testing.T) {
	const answer = `{"event":{"id":"7","time":"2026-11-21T11:00:00Z","level":"error","message":"m","fields":{"status":500}},"first_seen":"2026-11-21T11:00:00Z","position":9,"decided":true,"matched":1,"rules":[` +
		`{"rule":"errors","query":"q","mode":"match","notify":"incident","match":true,"outcome":"told","why":"w","terms":["t"],"fingerprint":"p1:1","incident":{"id":3,"state":"firing"},` +
		`"series":{"by":{"service":"a"},"at":"2026-11-21T11:00:00Z","firing":true,"unit":"events","value":4,"above":3,"text":"x"},"expected":[{"query":"c","author":"ann","reason":"r","added":true,"hits":2,"unused":false}],` +
		`"quiet":[{"kind":"silence","name":"1","by":"ann","until":"2026-11-21T11:00:00Z","past":true,"why":"w"}],"channels":[{"channel":"#ops","route":1,"match":"m","told":"2026-11-21T11:00:00Z","receipt":"1.2","why":"w"}]}]}`
	c, seen := script(t, answer, `404 {"error":{"code":"no_event","message":"m"}}`, `{}`, `{"event":7,"rules":[]}`)
	at := time.Date(2026, 11, 21, 11, 0, 0, 0, time.UTC)
	got, err := c.ExplainAlert(t.Context(), "7")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.JSON) != answer || got.Event.ID != "7" || got.Event.Message != "m" || len(got.Event.Fields) != 1 || !got.FirstSeen.Equal(at) || !got.LastSeen.IsZero() || got.Position != 9 || !got.Decided || got.Matched != 1 {
		t.Errorf("%+v", got)
	}
	want := []Verdict{{
		Rule: "errors", Query: "q", Mode: "match", Notify: "incident", Match: true, Outcome: "told", Why: "w", Terms: []string{"t"}, Fingerprint: "p1:1", Incident: &Alert{ID: 3, State: "firing"},
		Series:   &SeriesState{By: map[string]string{"service": "a"}, At: at, Firing: true, Unit: "events", Value: 4, Above: 3, Text: "x"},
		Expected: []Expectation{{Query: "c", Author: "ann", Reason: "r", Added: true, Hits: 2}}, Quiet: []Quieting{{Kind: "silence", Name: "1", By: "ann", Until: at, Past: true, Why: "w"}},
		Channels: []Standing{{Channel: "#ops", Route: 1, Match: "m", Told: at, Receipt: "1.2", Why: "w"}},
	}}
	if diff := cmp.Diff(want, got.Rules); diff != "" {
		t.Error(diff)
	}
	if uri := (*seen)[0].URL.RequestURI(); uri != "/api/v1/alerts/explain?id=7" {
		t.Error(uri)
	}
	var e *Error
	if _, err := c.ExplainAlert(t.Context(), "8"); !errors.As(err, &e) || e.Status != 404 {
		t.Error(err)
	}
	for range 2 {
		if _, err := c.ExplainAlert(t.Context(), "8"); !errors.As(err, &e) || e.Code != CodeNotLookout {
			t.Error(err)
		}
	}
}
