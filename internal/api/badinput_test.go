package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/backup"
)

// idle is a Saver that has nothing to do.
type idle struct{}

func (idle) Verify(context.Context, bool, func(done, total int64)) (any, error) {
	return map[string]any{"segments": 0, "blocks": 0, "events": 0, "logged": 0, "bytes": 0, "databases": 0, "problems": []string{}}, nil
}

func (idle) Backup(context.Context, BackupRequest, func(done, total int64)) (backup.Summary, error) {
	return backup.Summary{}, nil
}

// wholeFixture is a fixture of which all routes are built.
func wholeFixture(t *testing.T) *fixture {
	f := newFixture(t, func(o *Options) {
		o.Retainer, o.Catalog, o.Deleter, o.Saver = &retained{}, &ledger{}, &deleter{}, idle{}
		o.Alerter = &hands{}
		o.Events = nil // its own tests are collector/native's
	})
	f.store.append(line("a", "x", 0))
	return f
}

// below is an address of a route.
func below(route string) string {
	if strings.HasSuffix(route, "/") && route != "/" {
		return route + "1"
	}
	return strings.Replace(route, anyPart, "7", 1)
}

// RELIABILITY.md, bad input 10: a value of the wrong type is refused with 400 at every address that takes parameters, whatever
// it is sent as, and nothing fails. The addresses are those of the table of routes, their parameters what they say they take.
func TestBadTypesEverywhere(t *testing.T) {
	f := wholeFixture(t)
	const object = "application/json"
	walked, asked := 0, 0
	for _, route := range f.Routes() {
		target := below(route)
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
			w := f.do(method, target, `{"no such parameter":1}`, "Content-Type", object)
			if w.Code == 404 || w.Code == 405 || w.Code == 501 || route == "/api/v1/logout" && w.Code == 401 {
				continue
			}
			if method == "DELETE" { // takes no body
				continue
			}
			walked++
			if a := errorOf(t, w.Body.Bytes()); w.Code != 400 {
				t.Errorf("%s %s with a parameter that is not known: %d %s (%+v)", method, target, w.Code, w.Body, a)
			}
			_, names, _ := strings.Cut(errorOf(t, w.Body.Bytes()).Error.Mend, "this address takes ")
			bodies := []string{`"x"`, `1`, `true`, `[]`, `[1]`, `[{}]`, `{`, `{"`, `{"a"`, `{"a":`, `{"a":1,}`, `{"a":1}{}`, `{1:2}`, `]`, "\xff", "\x00", `{"a":1e}`, `nul`, strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000)}
			for name := range strings.SplitSeq(names, ", ") {
				if name == "" {
					continue
				}
				key, err := json.Marshal(name)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range []string{`[]`, `[1]`, `["x"]`, `{}`, `{"x":1}`, `[[[[]]]]`, `1,`, `nul`, `"\u12"`, `1e`, `--1`, `.5`, `"a","b"`, `1,` + string(key) + `:2`, "\"\x01\""} {
					bodies = append(bodies, "{"+string(key)+":"+v+"}")
				}
			}
			for _, body := range bodies {
				asked++
				if w := f.do(method, target, body, "Content-Type", object); w.Code != 400 && !(w.Code == 413 && len(body) > maxLogin) {
					t.Errorf("%s %s with %.60q: %d %.200s", method, target, body, w.Code, w.Body)
				} else {
					errorOf(t, w.Body.Bytes())
				}
			}
			// What the wrong type is depends on the parameter: any text in any of them is answered with 400 or taken.
			for name := range strings.SplitSeq(names, ", ") {
				for _, v := range []string{`"-1"`, `-1`, `1.5`, `1e400`, `99999999999999999999`, `true`, `false`, `"\ud800"`, `"\u0000"`, `"NaN"`, `"'; --"`, `"../../etc/passwd"`, `"%s%n"`, `""`} {
					asked++
					w := f.do(method, target, fmt.Sprintf("{%q:%s}", name, v), "Content-Type", object)
					if w.Code != 200 && w.Code != 204 && w.Code != 400 && w.Code != 401 {
						t.Errorf("%s %s with %q: %s: %d %.200s", method, target, name, v, w.Code, w.Body)
					}
				}
			}
		}
		// In an address everything is text.
		for _, query := range []string{"no+such+parameter=1", "%zz", "a;b", "q=%ff", "=", "&&", "q[]=1", "q=1&q=2", "limit=x", "limit=-1", "since={}"} {
			asked++
			if strings.HasPrefix(route, "/api/v1/tail") && query != "%zz" {
				continue // does not end when it is taken
			}
			if w := f.do("GET", target+"?"+query, ""); w.Code >= 500 && w.Code != 501 {
				t.Errorf("GET %s?%s: %d %s", target, query, w.Code, w.Body)
			}
		}
	}
	if walked < 10 || asked < 1000 {
		t.Errorf("%d addresses with %d requests: the walk has lost its way", walked, asked)
	}
	if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, "lookout_http_panics_total 0\n") || strings.Contains(f.log.String(), "goroutine") {
		t.Error("something failed")
	}
}

// RELIABILITY.md, bad input 11: what is in an answer is data wherever it is shown: no answer is a page.
func TestBadMarkupIsData(t *testing.T) {
	f := wholeFixture(t)
	const script = `<script>alert(1)</script><svg onload=alert(1)>`
	f.store.append(line(script, script, 0))
	for _, route := range f.Routes() {
		for _, target := range []string{below(route), below(route) + "?q=" + "%3Cscript%3E", below(route) + "?%3Cscript%3E=1", route + "%3Cscript%3E"} {
			if strings.HasPrefix(target, "/api/v1/tail") && !strings.Contains(target, "=1") {
				continue
			}
			for _, method := range []string{"GET", "POST", "BREW"} {
				w := f.do(method, target, "q=<script>")
				kind := w.Header().Get("Content-Type")
				known := []string{"application/json; charset=utf-8", "application/x-ndjson; charset=utf-8", "text/plain; charset=utf-8"}
				if w.Body.Len() > 0 && !slices.Contains(known, kind) && !strings.HasPrefix(kind, "text/plain; version=") && !strings.HasPrefix(kind, "application/openmetrics") {
					t.Errorf("%s %s: %d as %q", method, target, w.Code, kind)
				}
				if w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
					t.Errorf("%s %s: %v", method, target, w.Header())
				}
			}
		}
	}
	if got := f.do("GET", "/api/v1/query", "").Body.String(); !strings.Contains(got, `"message":"<script>alert(1)`) && !strings.Contains(got, `"message":"\u003cscript\u003ealert(1)`) {
		t.Errorf("the text is not there: %s", got)
	}
}

// RELIABILITY.md, bad input 12: what a page of another origin sends with the session's cookie is refused, at every address; and
// so is everything after the logout, also what the session had open (see TestTailEndsWithItsSession).
func TestBadOrigins(t *testing.T) {
	f := wholeFixture(t)
	w := f.do("POST", "/api/v1/login", `{"token":"`+token+`"}`, "Content-Type", "application/json", "Authorization", "")
	cookies := w.Result().Cookies()
	if w.Code != 204 || len(cookies) != 1 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	ask := func(method, target string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://lookout.example"+target, strings.NewReader(""))
		r.AddCookie(cookies[0])
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w
	}
	if w := ask("GET", "/api/v1/me", "Sec-Fetch-Site", "same-origin"); w.Code != 200 {
		t.Fatalf("the session: %d %s", w.Code, w.Body)
	}
	open := []string{"/", "/status", "/healthz", "/readyz", "/api/v1/login", "/assets/"}
	posts := 0
	for _, route := range f.Routes() {
		if slices.Contains(open, route) {
			continue
		}
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site", "Origin", "https://other.lookout.example"}} {
				posts++
				if w := ask(method, below(route), header...); w.Code != 403 && w.Code != 401 {
					t.Errorf("%s %s with %v: %d %s", method, route, header, w.Code, w.Body)
				}
			}
		}
		// A WebSocket is no request that browsers hold back by themselves.
		for _, origin := range []string{"https://evil.example", "null", "http://lookout.example.evil.example", "http://lookout.example:81"} {
			w := ask("GET", below(route), "Origin", origin, "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
			if w.Code != 403 && w.Code != 401 {
				t.Errorf("WebSocket %s of %s: %d %s", route, origin, w.Code, w.Body)
			}
		}
	}
	if posts < 100 {
		t.Errorf("%d requests: the walk has lost its way", posts)
	}
	if w := ask("POST", "/api/v1/logout", "Sec-Fetch-Site", "same-origin", "Origin", "http://lookout.example"); w.Code != 204 {
		t.Fatalf("logout: %d %s", w.Code, w.Body)
	}
	for _, route := range f.Routes() {
		if slices.Contains(open, route) {
			continue
		}
		for _, method := range []string{"GET", "POST"} {
			if w := ask(method, below(route), "Sec-Fetch-Site", "same-origin", "Origin", "http://lookout.example"); w.Code != 401 {
				t.Errorf("after the logout: %s %s: %d %s", method, route, w.Code, w.Body)
			}
		}
	}
}
