package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// bare sends a request without a token, straight to the handler.
func (f *fixture) bare(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

// login returns the header Cookie of a new session.
func (f *fixture) login(t testing.TB) string {
	t.Helper()
	w := f.bare("POST", "/api/v1/login", `{"token":"`+token+`"}`, "Content-Type", "application/json")
	cookies := w.Result().Cookies()
	if w.Code != 204 || len(cookies) != 1 || w.Body.Len() != 0 {
		t.Fatalf("%d %v %s", w.Code, cookies, w.Body)
	}
	return cookies[0].Name + "=" + cookies[0].Value
}

func TestLogin(t *testing.T) {
	f := newFixture(t)
	code := func() string {
		var answer struct {
			Code    string
			Expires time.Time
		}
		w := f.do("POST", "/api/v1/login-codes", "")
		if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != 200 || err != nil || !strings.HasPrefix(answer.Code, auth.CodePrefix) {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		if left := time.Until(answer.Expires); left < 14*time.Minute || left > 15*time.Minute {
			t.Errorf("the code works for %v", left)
		}
		return answer.Code
	}
	fresh := code()
	for _, c := range []struct {
		name, target, body, header string
		status                     int
		code                       string
	}{
		{"a token", "", `{"token":"` + token + `"}`, "", 204, ""},
		{"an agent's token", "", `{"token":"` + writer + `"}`, "", 403, "forbidden"},
		{"from the page", "", `{"token":"` + token + `"}`, "Sec-Fetch-Site: same-origin", 204, ""},
		{"a wrong token", "", `{"token":"x"}`, "", 401, "unauthorized"},
		{"a wrong code", "", `{"code":"x"}`, "", 401, "wrong_code"},
		{"a header does not help", "", `{"token":"x"}`, "Authorization: Bearer " + token, 401, "unauthorized"},
		{"from another site's page", "", `{"code":"` + fresh + `"}`, "Sec-Fetch-Site: cross-site", 403, "cross_site"},
		{"from another origin", "", `{"code":"` + fresh + `"}`, "Origin: http://evil.example", 403, "cross_site"},
		{"a code in the address", "?code=" + fresh, ``, "", 401, "token_in_url"},
		{"a token in the address", "?token=" + token, ``, "", 401, "token_in_url"},
		{"nothing", "", ``, "", 400, "bad_body"},
		{"nothing in it", "", `{}`, "", 400, "bad_body"},
		{"empty", "", `{"token":""}`, "", 400, "bad_body"},
		{"null", "", `{"token":null}`, "", 400, "bad_body"},
		{"both", "", `{"token":"` + token + `","code":"x"}`, "", 400, "bad_body"},
		{"one twice", "", `{"token":"x","token":"` + token + `"}`, "", 400, "bad_body"},
		{"another name", "", `{"password":"` + token + `"}`, "", 400, "bad_body"},
		{"another name beside it", "", `{"token":"` + token + `","user":"x"}`, "", 400, "bad_body"},
		{"a list", "", `{"token":["` + token + `"]}`, "", 400, "bad_body"},
		{"no JSON", "", `token`, "", 400, "bad_body"},
		{"another type", "", `{"token":"` + token + `"}`, "Content-Type: text/plain", 415, "bad_body"},
		{"too long", "", `{"token":"` + strings.Repeat("x", maxLogin) + `"}`, "", 413, "too_large"},
		{"a code", "", `{"code":"` + fresh + `"}`, "", 204, ""},
		{"the code again", "", `{"code":"` + fresh + `"}`, "", 401, "wrong_code"},
	} {
		header := []string{"Content-Type", "application/json"}
		if name, value, ok := strings.Cut(c.header, ": "); ok {
			header = append(header, name, value)
		}
		w := f.bare("POST", "/api/v1/login"+c.target, c.body, header...)
		if w.Code != c.status || (len(w.Result().Cookies()) == 1) != (c.status == 204) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %s", c.name, w.Code, w.Header(), w.Body)
		}
		if c.code != "" && errorOf(t, w.Body.Bytes()).Error.Code != c.code {
			t.Errorf("%s: %s", c.name, w.Body)
		}
	}
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
		if w := f.bare(method, "/api/v1/login", ""); w.Code != 405 {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	got := f.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{`lookout_logins_total{result="ok"} 3`, `lookout_logins_total{result="refused"} 9`, `lookout_logins_total{result="failed"} 12`, "lookout_sessions 3"} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestSession(t *testing.T) {
	f := newFixture(t)
	cookie, other := f.login(t), f.login(t)
	if got := strings.TrimSpace(f.bare("GET", "/api/v1/me", "", "Cookie", cookie).Body.String()); got != `{"name":"admin","role":"admin","version":"v9"}` {
		t.Error(got)
	}
	if got := strings.TrimSpace(f.do("GET", "/api/v1/me", "", "Authorization", "Bearer "+writer).Body.String()); got != `{"name":"writer","role":"write","version":"v9"}` {
		t.Error(got)
	}
	for _, target := range []string{"/api/v1/query", "/api/v1/services", "/metrics", "/api/v1/containers", "/api/v1/check?q=x"} {
		if w := f.bare("GET", target, "", "Cookie", cookie); w.Code != 200 {
			t.Errorf("%s: %d", target, w.Code)
		}
		if w := f.bare("GET", target, "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site"); w.Code != 403 {
			t.Errorf("%s from another site: %d", target, w.Code)
		}
	}
	for _, target := range []string{"/api/v1/query", "/api/v1/logout", "/api/v1/login-codes", "/api/v1/events", "/"} {
		for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Origin", "http://evil.example"}, {"Origin", "null"}} {
			if w := f.bare("POST", target, "", append(header, "Cookie", cookie)...); w.Code != 403 || errorOf(t, w.Body.Bytes()).Error.Code != "cross_site" {
				t.Errorf("POST %s with %v: %d", target, header, w.Code)
			}
		}
	}
	for _, c := range []struct {
		name   string
		header []string
		status int
		code   string
	}{
		{"no session", nil, 401, "unauthorized"},
		{"a token", []string{"Authorization", "Bearer " + token}, 400, "no_session"},
		{"a token for writing", []string{"Authorization", "Bearer " + writer}, 400, "no_session"},
		{"a session", []string{"Cookie", cookie}, 204, ""},
		{"the same again", []string{"Cookie", cookie}, 401, "session_ended"},
	} {
		w := f.bare("POST", "/api/v1/logout", "", c.header...)
		if w.Code != c.status || c.code != "" && errorOf(t, w.Body.Bytes()).Error.Code != c.code {
			t.Errorf("logout with %s: %d %s", c.name, w.Code, w.Body)
		}
		if gone := w.Header().Get("Set-Cookie"); (c.status == 204) != strings.HasPrefix(gone, "lookout_session=; Path=/; Max-Age=0;") {
			t.Errorf("logout with %s: %s", c.name, gone)
		}
	}
	for target := range f.exact {
		w := f.bare("GET", target, "", "Cookie", cookie)
		public := target == "/status" || target == "/healthz" || target == "/readyz" || target == "/api/v1/login"
		if !public && w.Code != 401 {
			t.Errorf("%s after the logout: %d", target, w.Code)
		}
	}
	if w := f.bare("GET", "/api/v1/me", "", "Cookie", other); w.Code != 200 {
		t.Errorf("another session after the logout: %d", w.Code)
	}
	// Only an admin may let others in.
	for header, want := range map[string]int{"Bearer " + token: 200, "Bearer " + writer: 403, "": 401} {
		if w := f.do("POST", "/api/v1/login-codes", "", "Authorization", header); w.Code != want {
			t.Errorf("login-codes with %q: %d", header, w.Code)
		}
	}
	for _, target := range []string{"/api/v1/me?x=1", "/api/v1/containers?x=1", "/api/v1/probes?x=1"} {
		if w := f.do("GET", target, ""); w.Code != 400 {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
	if w := f.do("POST", "/api/v1/login-codes", `{"role":"read"}`, "Content-Type", "application/json"); w.Code != 400 {
		t.Errorf("login-codes with a wish: %d", w.Code)
	}
}

// In a bubble, where ten tries take no time of the time to wait.
func TestTooManyLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		for i := range 10 {
			if w := f.bare("POST", "/api/v1/login", `{"code":"x"}`, "Content-Type", "application/json"); w.Code != 401 {
				t.Fatalf("try %d: %d", i, w.Code)
			}
		}
		w := f.bare("POST", "/api/v1/login", `{"token":"`+token+`"}`, "Content-Type", "application/json")
		if w.Code != 429 || w.Header().Get("Retry-After") != "30" || errorOf(t, w.Body.Bytes()).Error.Code != "too_many_tries" {
			t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
		}
		if w := f.do("GET", "/api/v1/me", ""); w.Code != 200 {
			t.Errorf("programs are held up: %d", w.Code)
		}
		if got := f.do("GET", "/metrics", "").Body.String(); !strings.Contains(got, `lookout_logins_total{result="limited"} 1`+"\n") {
			t.Error("it is not counted")
		}
	})
}

// A file that cannot be written is the server's fault, and in its log.
func TestLoginStoreFails(t *testing.T) {
	dir := t.TempDir()
	db, err := bbolt.Open(filepath.Join(dir, "state.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := auth.Open(dir, db)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := auth.ReadToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, func(o *Options) { o.Auth = a })
	login := func() *httptest.ResponseRecorder {
		return f.bare("POST", "/api/v1/login", `{"token":"`+secret+`"}`, "Content-Type", "application/json")
	}
	cookie := login().Header().Get("Set-Cookie")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	logout := f.bare("POST", "/api/v1/logout", "", "Cookie", cookie)
	for what, w := range map[string]*httptest.ResponseRecorder{"login": login(), "logout": logout} {
		if w.Code != 500 || errorOf(t, w.Body.Bytes()).Error.Code != "store" || w.Header().Get("Set-Cookie") != "" || !strings.Contains(f.log.String(), "a "+what+" failed") {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if strings.Contains(f.log.String(), secret) {
		t.Error("the token is in the log")
	}
}

// A live tail ends with its session, with the reason and where to go on, and so does a search. In a bubble: who is slow is cut off.
func TestTailEndsWithItsSession(t *testing.T) {
	piped(t, &http.Server{}, func(*Options) {}, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
		f.store.append(line("a", "x", 1))
		logout := func(cookie string) {
			if w := f.bare("POST", "/api/v1/logout", "", "Cookie", cookie); w.Code != 204 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}

		cookie := f.login(t)
		dialer, header := websocket.Dialer{NetDial: dial}, http.Header{"Cookie": {cookie}, "Origin": {"http://x"}}
		r, conn := dialTail(t, dialer, "ws://x", "after=0", header)
		r.want("position 0", "event 1", "position 1")
		logout(cookie)
		r.want("position 1", "error session_ended")
		if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
			t.Error(err)
		}
		if _, resp, err := dialer.Dial("ws://x/api/v1/tail", header); err == nil || resp.StatusCode != 401 {
			t.Errorf("after the logout: %v, %v", resp, err)
		}

		cookie = f.login(t)
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/api/v1/tail?after=0", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Cookie", cookie)
		r = linesOf(t, clientOver(t, dial), req)
		r.want("position 0", "event 1", "position 1")
		logout(cookie)
		r.want("position 1", "error session_ended")
		if text, err := r.next(); !errors.Is(err, io.EOF) {
			t.Error(text, err)
		}

		for _, target := range []string{"/api/v1/query", "/api/v1/tail?last=1"} {
			cookie = f.login(t)
			f.store.hook = func(ctx context.Context, _ query.Request) error {
				logout(cookie)
				<-ctx.Done()
				return ctx.Err()
			}
			if w := f.bare("GET", target, "", "Cookie", cookie); w.Code != 401 || errorOf(t, w.Body.Bytes()).Error.Code != "session_ended" {
				t.Errorf("%s: %d %s", target, w.Code, w.Body)
			}
		}
	})
}

func TestSocketOriginByCookie(t *testing.T) {
	f := newFixture(t)
	s := f.server(t)
	cookie := f.login(t)
	for _, c := range []struct {
		origin, cookie string
		status         int
	}{
		{s.URL, cookie, 101}, {"", cookie, 101}, {strings.ToUpper(s.URL), cookie, 101},
		{s.URL, "lookout_session=x", 401}, {s.URL, "", 401}, {"", "", 401},
		{"https://evil.example", cookie, 403}, {"null", cookie, 403}, {"http://127.0.0.1:1", cookie, 403}, {s.URL + ".evil.example", cookie, 403},
		{"https://evil.example", "lookout_session=x", 403}, {"https://evil.example", "", 403}, // before the cookie is read
	} {
		header := http.Header{}
		for name, value := range map[string]string{"Origin": c.origin, "Cookie": c.cookie} {
			if value != "" {
				header.Set(name, value)
			}
		}
		conn, resp, err := websocket.DefaultDialer.Dial("ws"+s.URL[4:]+"/api/v1/tail", header)
		if err == nil {
			conn.Close()
		}
		if resp == nil || resp.StatusCode != c.status {
			t.Errorf("Origin %q, cookie %.20q: %v, %v", c.origin, c.cookie, resp, err)
		}
	}
	// A name that somebody else's DNS leads here is another origin than the page's.
	r, err := http.NewRequest("GET", s.URL+"/api/v1/tail", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "rebound.example"
	for name, value := range map[string]string{"Origin": s.URL, "Cookie": cookie, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Error(resp.Status)
	}
}

func TestUI(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.UI = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, "the page ", r.URL.Path)
		})
	})
	for _, c := range []struct {
		method, target string
		status         int
		page           bool
	}{
		{"GET", "/", 200, true}, {"HEAD", "/", 200, true}, {"GET", "/?q=a&since=15m&live=1", 200, true},
		{"GET", "/assets/app.js", 200, true}, {"HEAD", "/assets/app.js", 200, true}, {"GET", "/assets/", 200, true},
		{"POST", "/assets/app.js", 405, false}, {"POST", "/", 401, false}, {"PUT", "/", 401, false}, {"GET", "/assets", 401, false}, {"GET", "/index.html", 401, false},
		{"GET", "/assets/../api/v1/query", 400, false}, {"GET", "/assets/%2e%2e/x", 400, false}, {"GET", "/assets//x", 400, false}, {"GET", "/assets/%2fx", 400, false},
		{"GET", "/api/v1/query", 401, false}, {"GET", "/api/v1/me", 401, false}, {"GET", "/metrics", 401, false},
	} {
		w := f.bare(c.method, c.target, "")
		page := strings.Contains(w.Body.String(), "the page")
		if w.Code != c.status || page != c.page {
			t.Errorf("%s %s: %d %s", c.method, c.target, w.Code, w.Body)
		}
		policy, kept := "default-src 'none'; frame-ancestors 'none'", "no-store"
		if c.page {
			policy, kept = "default-src 'self'", "public, max-age=31536000, immutable"
		}
		h := w.Header()
		if strings.Join(h["Content-Security-Policy"], "|") != policy || strings.Join(h["Cache-Control"], "|") != kept || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s %s: %v", c.method, c.target, h)
		}
	}
	if w := f.do("POST", "/", "{}", "X-Amz-Target", "Logs_20140328.PutLogEvents"); w.Code != 501 {
		t.Errorf("CloudWatch: %d", w.Code)
	}
	got := f.do("GET", "/metrics", "").Body.String()
	if !strings.Contains(got, `lookout_http_requests_total{code="200",method="GET",route="/assets/"} 2`) {
		t.Error("a route's label comes from the request")
	}
	if w := newFixture(t).do("GET", "/assets/app.js", ""); w.Code != 404 {
		t.Errorf("assets of a server without a page: %d", w.Code)
	}
}

// No code, session or token stands anywhere but in the answer that is for it.
func TestNoSecretsInLogsAndAnswers(t *testing.T) {
	f := newFixture(t, func(o *Options) {
		o.UI = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
	})
	f.store.append(line("a", "x", 1))
	cookie := f.login(t)
	id := strings.TrimPrefix(cookie, "lookout_session=")
	var code struct{ Code string }
	if err := json.Unmarshal(f.bare("POST", "/api/v1/login-codes", "", "Cookie", cookie).Body.Bytes(), &code); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for _, secret := range []string{token, id, code.Code} {
		for _, body := range []string{`{"code":"` + secret + `"}`, `{"token":"` + secret + `x"}`, `{"` + secret + `":1}`, `{"code":"` + secret + `","token":"` + secret + `"}`, secret} {
			for _, target := range []string{"/api/v1/login", "/api/v1/logout", "/api/v1/login?code=" + secret, "/api/v1/context?id=" + secret, "/api/v1/check?x=" + secret, "/api/v1/me?" + secret, "/assets/" + secret + "//",
				"/api/v1/login-codes?" + secret} {
				for _, method := range []string{"GET", "POST", secret} {
					for _, header := range [][2]string{{"Cookie", "lookout_session=" + secret + "x"}, {"Cookie", secret + "=" + secret}, {"Authorization", "Bearer " + secret + "x"}, {"Origin", "http://" + secret}} {
						w := f.bare(method, target, body, header[0], header[1], "Content-Type", "application/json", "X-Request-Id", secret)
						h := w.Header()
						if w.Code == 204 {
							h.Del("Set-Cookie") // the one place
						}
						fmt.Fprintln(&all, h, w.Body)
					}
				}
			}
		}
	}
	all.WriteString(f.do("GET", "/metrics", "").Body.String())
	all.WriteString(f.log.String())
	for what, secret := range map[string]string{"token": token, "session": id, "code": code.Code} {
		if i := strings.Index(all.String(), secret); i >= 0 {
			t.Errorf("the %s is in …%s…", what, all.String()[max(0, i-200):i+20])
		}
	}
}

func TestLists(t *testing.T) {
	known := fleet.New(fleet.Options{Clock: func() time.Time { return time.Unix(0, start) }})
	container, probe := line("docker", "", 0), line("probe", "", 0)
	container.Stream, container.Container = []byte("stats"), []byte("shop<1>")
	probe.Stream, probe.Fields = []byte("probe"), []event.Field{{Name: []byte("probe"), Value: []byte("sales")}}
	known.Prime(container, probe)
	alerts := func() ([]alerting.IncidentInfo, error) {
		return []alerting.IncidentInfo{{Rule: "down", Service: "sales", Title: "<b>"}}, nil
	}
	f, empty := newFixture(t, func(o *Options) { o.Fleet, o.Alerts = known, alerts }), newFixture(t)
	for name, want := range map[string]string{"containers": `{"container":"shop<1>",`, "probes": `{"name":"sales",`, "alerts": `{"id":0,"rule":"down","service":"sales","title":"<b>",`} {
		if got := strings.TrimSpace(empty.do("GET", "/api/v1/"+name, "").Body.String()); got != `{"`+name+`":[]}` {
			t.Error(got)
		}
		if got := f.do("GET", "/api/v1/"+name, "").Body.String(); !strings.HasPrefix(got, `{"`+name+`":[`+want) {
			t.Error(got)
		}
	}
	broken := newFixture(t, func(o *Options) {
		o.Alerts = func() ([]alerting.IncidentInfo, error) { return nil, errors.New("the state cannot be read") }
	})
	if w := broken.do("GET", "/api/v1/alerts", ""); w.Code != 500 {
		t.Errorf("alerts that cannot be read: %d %s", w.Code, w.Body)
	}
}
