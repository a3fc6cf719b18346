package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// try starts a server with rules and some events, and returns what posts a form to it.
func try(t *testing.T) (a *App, post func(path string, form url.Values) (int, string)) {
	t.Helper()
	a = start(t, options(t, map[string]string{
		"LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "off", "LOOKOUT_DOCKER": "off",
		"LOOKOUT_SLACK_TOKEN": "xoxb-1", "LOOKOUT_SLACK_CHANNEL": "#logs", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/",
	}))
	token, err := os.ReadFile(a.opened.Path)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, kind, body string) (int, string) {
		r, err := http.NewRequest(http.MethodPost, a.Listening()[0].Address+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		r.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	var events strings.Builder
	for i := range 5 {
		fmt.Fprintf(&events, `{"service":"shop","level":"error","message":"%s failed"}`+"\n", strings.Repeat("x", i+1))
		fmt.Fprintln(&events, `{"service":"shop","level":"warning","message":"slow"}`)
	}
	if code, text := ask("/api/v1/events", "application/x-ndjson", events.String()); code != http.StatusOK {
		t.Fatal(code, text)
	}
	return a, func(path string, form url.Values) (int, string) {
		t.Helper()
		return ask(path, "application/x-www-form-urlencoded", form.Encode())
	}
}

// A backtest on the server: the rules in force, one of them, and others compared with them.
func TestBacktest(t *testing.T) {
	a, post := try(t)
	for _, c := range []struct {
		form url.Values
		code int
		want []string
	}{
		{url.Values{"since": {"1h"}}, 200, []string{`"title":"[error] shop: x failed"`, `"messages":5`, `"matched":5`}},
		{url.Values{"since": {"1h"}, "rule": {"errors"}}, 200, []string{`"messages":5`}},
		{url.Values{"rule": {"nobody"}}, 400, []string{"rule names no rule in force", "there are errors, new"}},
		{url.Values{"since": {"1h"}, "config": {"slack: {channel: '#logs', token_file: /no/such/file}\nrules: [{name: all, query: 'service:shop -slow', channel: '#all'}]"}}, 200,
			[]string{`"change":"+"`, `"change":"-"`, `"channel":"#all"`, `"added":5,"removed":5`}},
		{url.Values{"config": {"rules: 7"}}, 400, []string{"config cannot be read"}},
		{url.Values{"config": {"slack: {channel: '#logs'}"}, "rule": {"nobody"}}, 400, []string{"there is no rule that tells anybody"}},
	} {
		code, text := post("/api/v1/rules/backtest", c.form)
		if code != c.code {
			t.Errorf("%v: %d %s", c.form, code, text)
		}
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%v: there is no %s in %s", c.form, want, text)
			}
		}
	}
	// One at a time.
	a.trying <- struct{}{}
	if code, text := post("/api/v1/rules/backtest", nil); code != http.StatusTooManyRequests {
		t.Errorf("beside another: %d %s", code, text)
	}
	<-a.trying
	if left, err := os.ReadDir(a.o.Config.Data); err != nil {
		t.Error(err)
	} else {
		for _, f := range left {
			if strings.HasPrefix(f.Name(), "backtest-") {
				t.Errorf("%s is left", f.Name())
			}
		}
	}
}

// What backtests left that were killed goes at the next start.
func TestLeftBacktests(t *testing.T) {
	o := options(t, nil)
	left := filepath.Join(o.Config.Data, "backtest-4711")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "0.db"), []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, o)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

// Lines that are sent along are held against rules, or against a query.
func TestRuleTest(t *testing.T) {
	_, post := try(t)
	lines := "level=error msg=\"no stock\"\nall is well\n"
	for _, form := range []url.Values{{"lines": {lines}}, {"lines": {lines}, "q": {"stock"}}} {
		code, text := post("/api/v1/rules/test", form)
		var test struct {
			Summary       struct{ Events, Messages int64 }
			Notifications []struct{ Title string }
		}
		if err := json.Unmarshal([]byte(text), &test); err != nil || code != 200 || test.Summary.Events != 2 || len(test.Notifications) != 1 {
			t.Errorf("%v: %d %s %v", form, code, text, err)
		}
	}
	if code, text := post("/api/v1/rules/test", url.Values{"lines": {lines}, "q": {"("}}); code != 400 || !strings.Contains(text, `"position"`) {
		t.Errorf("a query that does not parse: %d %s", code, text)
	}
}
