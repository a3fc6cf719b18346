package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A live tail ends when its token is revoked, with the reason and where to go on.
func TestTailEndsWithItsToken(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "x", 1))
	s := f.server(t)
	w := f.do("POST", "/api/v1/tokens", "name=ann&role=read", "Content-Type", "application/x-www-form-urlencoded")
	var made struct{ Name, Role, Token string }
	if err := json.Unmarshal(w.Body.Bytes(), &made); err != nil || w.Code != 200 || made.Name != "ann" || made.Role != "read" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/tail?after=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+made.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	r := tailer{t, func() (string, error) {
		var m json.RawMessage
		err := d.Decode(&m)
		return string(m), err
	}}
	r.want("position 0", "event 1", "position 1")
	if w := f.do("DELETE", "/api/v1/tokens/ann", ""); w.Code != 200 || strings.TrimSpace(w.Body.String()) != `{"revoked":"ann"}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	r.want("position 1", "error token_revoked")
	if w := f.bare("GET", "/api/v1/me", "", "Authorization", "Bearer "+made.Token); w.Code != 401 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if log := f.log.String(); strings.Contains(log, made.Token) || !strings.Contains(log, `"a token was revoked" name=ann by=admin`) {
		t.Error("the log has the token, or not what was done")
	}
}

func TestTokenErrors(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"POST", "/api/v1/tokens", "name=admin&role=read", 409, "name_taken"},
		{"POST", "/api/v1/tokens", "name=a+b&role=read", 400, "bad_parameter"},
		{"POST", "/api/v1/tokens", "name=ann&role=root", 400, "bad_parameter"},
		{"POST", "/api/v1/tokens", "name=ann", 400, "bad_parameter"},
		{"DELETE", "/api/v1/tokens/nobody", "", 404, "no_such_token"},
		{"DELETE", "/api/v1/tokens/admin", "", 409, "fixed_token"},
		{"PUT", "/api/v1/tokens/admin", "", 405, "bad_method"},
	} {
		w := f.do(c.method, c.path, c.body, "Content-Type", "application/x-www-form-urlencoded")
		if w.Code != c.status || errorOf(t, w.Body.Bytes()).Error.Code != c.code {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, w.Code, w.Body)
		}
	}
	if w := f.bare("GET", "/api/v1/tokens", "", "Authorization", "Bearer "+writer); w.Code != 403 {
		t.Errorf("a writer lists the tokens: %d", w.Code)
	}
	if got := strings.TrimSpace(f.do("GET", "/api/v1/tokens", "").Body.String()); got != `{"tokens":[{"name":"admin","role":"admin","from":"data folder"},{"name":"writer","role":"write","from":"configuration"}]}` {
		t.Error(got)
	}
}

func TestInputs(t *testing.T) {
	f := newFixture(t)
	if got := strings.TrimSpace(f.do("GET", "/api/v1/inputs", "").Body.String()); got != `{"inputs":[]}` {
		t.Error(got)
	}
	f = newFixture(t, func(o *Options) {
		o.Inputs = func() []Input {
			return []Input{{Name: "gelf", Address: "udp://h:1", State: "listening", Events: 2, Bytes: 3, Drops: map[string]int64{"overflow": 1}, Last: time.Unix(5, 0).UTC()}}
		}
	})
	if got := strings.TrimSpace(f.do("GET", "/api/v1/inputs", "").Body.String()); got != `{"inputs":[{"name":"gelf","address":"udp://h:1","state":"listening","events":2,"bytes":3,"drops":{"overflow":1},"last":"1970-01-01T00:00:05Z"}]}` {
		t.Error(got)
	}
}
