package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

// sink takes events into a store in memory, or fails.
type sink struct {
	store *memory
	err   error
}

func (s *sink) Append(_ context.Context, b *event.Batch) error {
	if s.err == nil {
		for i := range b.Events {
			s.store.append(b.Events[i].Clone())
		}
	}
	return s.err
}

func TestMarks(t *testing.T) {
	var s sink
	f := newFixture(t, func(o *Options) { o.Marks = &s })
	s.store = f.store
	var reader struct{ Token string }
	made := f.do("POST", "/api/v1/tokens", "name=ann&role=read", "Content-Type", "application/x-www-form-urlencoded")
	if err := json.Unmarshal(made.Body.Bytes(), &reader); err != nil || reader.Token == "" {
		t.Fatal(made.Body, err)
	}
	read, write := []string{"Authorization", "Bearer " + reader.Token}, []string{"Authorization", "Bearer " + writer}
	for _, c := range []struct {
		method, params string
		header         []string
		status         int
		want           string
	}{
		{"GET", "", read, 200, `{"marks":[],"complete":true}`},
		{"POST", "mark=deploy&service=shop&version=v2&by=bob", write, 200, `{"mark":"deploy","service":"shop","version":"v2","by":"bob","at":"2027-01-15T08:00:00Z"}`},
		{"POST", "mark=stop&service=pay.eu&env=prod&text=moving+house", nil, 200, `{"mark":"stop","service":"pay.eu","env":"prod","by":"admin","text":"moving house","at":"2027-01-15T08:00:00Z"}`},
		{"GET", "", read, 200, `{"marks":[{"id":"2","mark":"stop","service":"pay.eu","env":"prod","by":"admin","text":"moving house","at":"2027-01-15T08:00:00Z"},{"id":"1","mark":"deploy",`},
		{"GET", "?service=shop", read, 200, `{"marks":[{"id":"1","mark":"deploy","service":"shop","version":"v2","by":"bob","at":"2027-01-15T08:00:00Z"}],"complete":true}`},
		{"GET", "?service=p*", read, 200, `{"marks":[{"id":"2",`},
		{"GET", "?service=nobody", read, 200, `{"marks":[],"complete":true}`},
		{"GET", "?service=" + `x"+OR+stream:*`, read, 200, `{"marks":[],"complete":true}`},
		{"GET", "?limit=1", read, 200, `{"marks":[{"id":"2",`},
		{"GET", "?since=2027-01-15T08:00:01Z", read, 200, `{"marks":[],"complete":true}`},
		{"GET", "?since=1h", nil, 200, `{"marks":[{"id":"2",`},
		{"GET", "", write, 403, `"forbidden"`},
		{"POST", "mark=deploy&service=shop&version=v2", read, 403, `"forbidden"`},
		{"GET", "?since=soon", read, 400, "since is not a time"},
		{"GET", "?limit=1001", read, 400, "the most is 1000"},
		{"GET", "?version=v2", read, 400, "this address takes service, since, limit"},
		{"POST", "service=shop&version=v2", write, 400, `mark is missing`},
		{"POST", "mark=rollout&service=shop", write, 400, `mark is \"rollout\", which is none`},
		{"POST", "mark=deploy&version=v2", write, 400, `service is missing`},
		{"POST", "mark=deploy&service=shop", write, 400, `"field":"version"`},
		{"POST", "mark=note&service=shop", write, 400, `text is missing`},
		{"POST", "mark=stop&service=" + strings.Repeat("s", 513), write, 400, `the most is 512`},
		{"POST", "mark=stop&service=a%0ab", write, 400, `control characters`},
		{"POST", "mark=stop&service=shop&at=now", write, 400, `this address takes mark, service`},
		{"DELETE", "", nil, 405, "use GET or POST"},
	} {
		do, target, body := f.do, "/api/v1/marks"+c.params, ""
		header := c.header
		if c.header != nil {
			do = f.bare
		}
		if c.method == "POST" {
			target, body = "/api/v1/marks", c.params
			header = append(header, "Content-Type", "application/x-www-form-urlencoded")
		}
		w := do(c.method, target, body, header...)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %.60s: %d %s", c.method, c.params, w.Code, w.Body)
		}
	}
	stored := f.store.events[0]
	got := fmt.Sprintf("%s %s %s %s", stored.Service, stored.Stream, stored.Level, stored.Message)
	for _, f := range stored.Fields {
		got += fmt.Sprintf(" %s=%s", f.Name, f.Value)
	}
	if got != "shop mark info deploy v2 by bob mark=deploy version=v2 by=bob" {
		t.Error(got)
	}
	if n := len(f.store.events); n != 2 {
		t.Errorf("%d events are stored", n)
	}
	for err, want := range map[error]string{pressed{false}: `429 "overloaded"`, pressed{true}: `503 "disk_full"`, errors.New("broken"): `500 "not_stored"`} {
		s.err = err
		w := f.do("POST", "/api/v1/marks", "mark=stop&service=shop", "Content-Type", "application/x-www-form-urlencoded")
		code, text, _ := strings.Cut(want, " ")
		if fmt.Sprint(w.Code) != code || !strings.Contains(w.Body.String(), text) || (w.Code != 500) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
	// An agent forwards marks, and has none.
	agent := newFixture(t, func(o *Options) { o.Store, o.Marks = nil, &sink{store: newMemory()} })
	if w := agent.do("POST", "/api/v1/marks", "mark=stop&service=shop", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 200 {
		t.Errorf("agent: %d %s", w.Code, w.Body)
	}
	if w := agent.do("GET", "/api/v1/marks", ""); w.Code != 501 || !strings.Contains(w.Body.String(), `"agent"`) {
		t.Errorf("agent: %d %s", w.Code, w.Body)
	}
	if w := newFixture(t).do("POST", "/api/v1/marks", "mark=stop&service=shop", "Content-Type", "application/x-www-form-urlencoded"); w.Code != 501 {
		t.Errorf("without events: %d %s", w.Code, w.Body)
	}
}
