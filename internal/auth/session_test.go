package auth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// clock is a time that a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is a data folder that can be opened again and again.
type house struct {
	t     testing.TB
	dir   string
	db    *bbolt.DB
	clock *clock
	*Authenticator
	token string
}

func newHouse(t testing.TB) *house {
	h := &house{t: t, dir: t.TempDir(), clock: newClock()}
	h.db = state(t, filepath.Join(h.dir, "state.db"))
	h.open()
	return h
}

// open is a start of the server.
func (h *house) open() {
	h.t.Helper()
	var err error
	if h.Authenticator, _, err = open(h.dir, h.db, h.clock.now); err != nil {
		h.t.Fatal(err)
	}
	if h.token, err = ReadToken(h.dir); err != nil {
		h.t.Fatal(err)
	}
}

// login begins a session and returns its id.
func (h *house) login() string {
	h.t.Helper()
	c, err := h.Login(httptest.NewRequest("POST", "/api/v1/login", nil), "", h.token)
	if err != nil {
		h.t.Fatal(err)
	}
	return c.Value
}

// request is one that comes with a cookie.
func request(method string, id string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/", nil)
	r.AddCookie(&http.Cookie{Name: CookieName, Value: id})
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// in tells whether a session with the id is open.
func (h *house) in(id string) bool {
	h.t.Helper()
	who, err := h.Check(request("GET", id))
	if err == nil && who != (Identity{"admin", Admin}) {
		h.t.Errorf("the session is %+v's", who)
	}
	if err != nil && err != ErrEnded {
		h.t.Error(err)
	}
	return err == nil
}

// stored returns the records in the file, by key.
func (h *house) stored() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	if err := h.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(sessionBucket).ForEach(func(k, v []byte) error {
			all[string(k)] = string(v)
			return nil
		})
	}); err != nil {
		h.t.Fatal(err)
	}
	return all
}

func TestCookieRequests(t *testing.T) {
	h := newHouse(t)
	id := h.login()
	for _, c := range []struct {
		method, cookies, header string
		status                  int
		code                    string
	}{
		{"GET", "lookout_session=" + id, "", 200, ""},
		{"POST", "lookout_session=" + id, "", 200, ""}, // no page sent it
		{"GET", `lookout_session="` + id + `"`, "", 200, ""},
		{"GET", "a=b; lookout_session=" + id + "; c=d", "", 200, ""},
		{"GET", "lookout_session=x; lookout_session=" + id, "", 200, ""}, // another host of the domain has set one
		{"GET", "", "", 401, "unauthorized"},
		{"GET", "lookout_session=", "", 401, "session_ended"},
		{"GET", "lookout_session=" + id + "x", "", 401, "session_ended"},
		{"GET", "lookout_session=" + id[:len(id)-1], "", 401, "session_ended"},
		{"GET", "lookout_session=" + strings.ToUpper(id), "", 401, "session_ended"},
		{"GET", "Lookout_Session=" + id, "", 401, "unauthorized"},
		{"GET", "lookout_session=" + h.token, "", 401, "session_ended"},
		{"GET", "", "Authorization: Bearer " + id, 401, "unauthorized"}, // a session is no token
		// A token wins, a wrong one too.
		{"GET", "lookout_session=x", "Authorization: Bearer " + h.token, 200, ""},
		{"GET", "lookout_session=" + id, "Authorization: Bearer " + h.token + "x", 401, "unauthorized"},
		{"GET", "lookout_session=" + id, "Authorization: Basic eDp5", 401, "unauthorized"},
		// Other sites' pages.
		{"POST", "lookout_session=" + id, "Sec-Fetch-Site: same-origin", 200, ""},
		{"POST", "lookout_session=" + id, "Sec-Fetch-Site: same-origin\nOrigin: https://lookout.example", 200, ""}, // behind a proxy
		{"POST", "lookout_session=" + id, "Sec-Fetch-Site: cross-site", 403, "cross_site"},
		{"POST", "lookout_session=" + id, "Sec-Fetch-Site: same-site", 403, "cross_site"},
		{"POST", "lookout_session=" + id, "Origin: http://example.com", 200, ""},
		{"POST", "lookout_session=" + id, "Origin: https://evil.example", 403, "cross_site"},
		{"POST", "lookout_session=" + id, "Origin: http://example.com:8080", 403, "cross_site"},
		{"POST", "lookout_session=" + id, "Origin: null", 403, "cross_site"},
		{"DELETE", "lookout_session=" + id, "Origin: https://evil.example", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Sec-Fetch-Site: same-origin", 200, ""},
		{"GET", "lookout_session=" + id, "Sec-Fetch-Site: none", 200, ""},
		{"GET", "lookout_session=" + id, "Sec-Fetch-Site: cross-site", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Sec-Fetch-Site: same-site", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Origin: https://evil.example", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Origin: HTTP://EXAMPLE.COM", 200, ""},
		{"GET", "lookout_session=" + id, "Origin: http://example.com\nOrigin: https://evil.example", 403, "cross_site"},
		{"GET", "lookout_session=x", "Sec-Fetch-Site: cross-site", 403, "cross_site"},
		{"GET", "", "Sec-Fetch-Site: cross-site", 401, "unauthorized"},
		// WebSockets, whatever comes with them.
		{"GET", "lookout_session=" + id, "Upgrade: websocket", 200, ""},
		{"GET", "lookout_session=" + id, "Upgrade: websocket\nOrigin: http://example.com", 200, ""},
		{"GET", "lookout_session=" + id, "Upgrade: websocket\nOrigin: https://evil.example", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Upgrade: websocket\nOrigin: https://evil.example\nSec-Fetch-Site: same-origin", 403, "cross_site"},
		{"GET", "lookout_session=" + id, "Upgrade: websocket\nOrigin: null", 403, "cross_site"},
		{"GET", "", "Upgrade: websocket\nOrigin: https://evil.example", 403, "cross_site"},
		{"GET", "", "Upgrade: websocket\nOrigin: https://evil.example\nAuthorization: Bearer " + h.token, 403, "cross_site"},
		{"GET", "", "Upgrade: websocket", 401, "unauthorized"},
	} {
		r := httptest.NewRequest(c.method, "http://example.com/", nil)
		if c.cookies != "" {
			r.Header.Set("Cookie", c.cookies)
		}
		for line := range strings.Lines(c.header) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			r.Header.Add(name, value)
		}
		w := httptest.NewRecorder()
		passed := false
		h.Middleware(Read)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed = true
			if From(r.Context()) != (Identity{"admin", Admin}) {
				t.Errorf("%+v: %+v came through", c, From(r.Context()))
			}
		})).ServeHTTP(w, r)
		if w.Code != c.status || passed != (c.status == 200) || c.code != "" && !strings.Contains(w.Body.String(), `"`+c.code+`"`) {
			t.Errorf("%+v: %d, passed %v: %s", c, w.Code, passed, w.Body)
		}
		if all := fmt.Sprint(w.Header(), w.Body); strings.Contains(all, id) || strings.Contains(all, h.token) {
			t.Errorf("%+v: a secret is in the answer: %s", c, all)
		}
	}
}

// A request without a host, which HTTP/1.0 allows, is no page's.
func TestOriginWithoutHost(t *testing.T) {
	h := newHouse(t)
	for _, origin := range []string{"null", "", "/", "%"} {
		r := request("GET", h.login(), "Origin", origin)
		r.Host = ""
		if _, err := h.Check(r); err != ErrCrossSite {
			t.Errorf("Origin %q: %v", origin, err)
		}
	}
}

// A session has its role, and no more.
func TestSessionRoles(t *testing.T) {
	a := three()
	c, err := a.Login(httptest.NewRequest("POST", "/", nil), "", reader)
	if err != nil {
		t.Fatal(err)
	}
	for role, want := range map[Role]int{Read: 200, Write: 403, Admin: 403, Anyone: 200} {
		w := httptest.NewRecorder()
		a.Middleware(role)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, request("GET", c.Value))
		if w.Code != want {
			t.Errorf("a reader's session for %v: %d", role, w.Code)
		}
	}
	if (Identity{Role: Anyone}).May(Read) || (Identity{}).May(Anyone) {
		t.Error("nobody may do something")
	}
}

func TestSessionsSurviveARestart(t *testing.T) {
	h := newHouse(t)
	first := h.login()
	h.clock.pass(time.Minute)
	second := h.login()
	if first == second || !strings.HasPrefix(first, SessionPrefix) || len(first) != len(SessionPrefix)+43 {
		t.Fatalf("the ids %q and %q", first, second)
	}
	h.open()
	if !h.in(first) || !h.in(second) || h.in("x") || h.Sessions() != 2 {
		t.Error("a restart logs people out, or in")
	}
	r := request("POST", first)
	serve(h.Authenticator, r, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := h.Logout(r); err != nil {
			t.Error(err)
		}
	})
	h.open()
	if h.in(first) || !h.in(second) || h.Sessions() != 1 {
		t.Error("a logout does not survive a restart, or ends others' sessions")
	}

	// Another token ends all of them, for good.
	path := filepath.Join(h.dir, FileName)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h.open()
	if h.in(second) || len(h.stored()) != 0 {
		t.Error("a session outlives its token")
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	h.open()
	if h.in(second) {
		t.Error("a session came back with its token")
	}
	for key, value := range h.stored() {
		if strings.Contains(key+value, second) {
			t.Error("an id is in the file")
		}
	}
}

func serve(a *Authenticator, r *http.Request, fn http.HandlerFunc) int {
	w := httptest.NewRecorder()
	a.Middleware(Anyone)(fn).ServeHTTP(w, r)
	return w.Code
}

func TestSessionTimes(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name string
		uses []time.Duration // after the login, each a request that must succeed
		end  time.Duration   // a request that must not
	}{
		{"idle", nil, 30 * day},
		{"idle after use", []time.Duration{29 * day, 58 * day}, 88 * day},
		{"used each day, an hour before the end", []time.Duration{29 * day, 58 * day, 87 * day, 90*day - time.Second}, 90 * day},
		{"nearly idle", []time.Duration{30*day - time.Second}, 60 * day},
	} {
		for _, restart := range []bool{false, true} {
			h := newHouse(t)
			id := h.login()
			begun := h.clock.now()
			at := func(d time.Duration) {
				h.clock.pass(begun.Add(d).Sub(h.clock.now()))
				if restart {
					h.open()
				}
			}
			for _, use := range c.uses {
				if at(use); !h.in(id) {
					t.Errorf("%s, restart %v: over after %v", c.name, restart, use)
				}
			}
			if at(c.end); h.in(id) || h.Sessions() != 0 {
				t.Errorf("%s, restart %v: not over after %v", c.name, restart, c.end)
			}
			if restart && len(h.stored()) != 0 {
				t.Errorf("%s: what is over stays in the file", c.name)
			}
			// The next login removes what is over.
			h.login()
			if n := len(h.stored()); n != 1 || len(h.sessions.m) != 1 {
				t.Errorf("%s: %d in the file, %d in memory", c.name, n, len(h.sessions.m))
			}
		}
	}
}

// The file is written for a use once an hour, not with each request.
func TestUseIsNotedOnceAnHour(t *testing.T) {
	h := newHouse(t)
	id := h.login()
	for _, c := range []struct {
		pass    time.Duration
		written bool
	}{{0, false}, {59 * time.Minute, false}, {time.Minute, true}, {59 * time.Minute, false}, {time.Second, false}, {time.Hour, true}} {
		h.clock.pass(c.pass)
		before := h.stored()
		h.in(id)
		if written := !cmp.Equal(before, h.stored()); written != c.written {
			t.Errorf("after %v: written %v", c.pass, written)
		}
	}
}

func TestOldestSessionsGo(t *testing.T) {
	h := newHouse(t)
	var ids []string
	for range maxSessions + 2 {
		h.clock.pass(time.Second)
		ids = append(ids, h.login())
	}
	for _, restart := range []bool{false, true} {
		if restart {
			h.open()
		}
		if h.in(ids[0]) || h.in(ids[1]) || !h.in(ids[2]) || !h.in(ids[len(ids)-1]) || h.Sessions() != maxSessions || len(h.stored()) != maxSessions {
			t.Errorf("restart %v: %d sessions, %d in the file", restart, h.Sessions(), len(h.stored()))
		}
	}
}

// Who has a lesser token cannot log others out.
func TestSessionsOfOneTokenCrowdOutEachOther(t *testing.T) {
	a := three()
	now := newClock()
	a.now = now.now
	login := func(token string) string {
		t.Helper()
		now.pass(time.Second)
		c, err := a.Login(httptest.NewRequest("POST", "/", nil), "", token)
		if err != nil {
			t.Fatal(err)
		}
		return c.Value
	}
	open := func(id string) bool {
		_, err := a.Check(request("GET", id))
		return err == nil
	}
	first := login(admin)
	var readers []string
	for range maxSessions {
		readers = append(readers, login(reader))
	}
	if !open(first) || open(readers[0]) || !open(readers[1]) {
		t.Error("not the oldest of the same token went")
	}
	second := login(admin) // the other way round
	if open(first) || !open(second) || !open(readers[1]) || a.Sessions() != maxSessions {
		t.Error("not the oldest of the same token went")
	}
	// A token without a session takes the place of the oldest of all.
	a.tokens = append(a.tokens, known{Identity{"other", Read}, sha256.Sum256([]byte("other"))})
	if third := login("other"); !open(third) || open(readers[1]) || !open(readers[2]) || !open(second) {
		t.Error("not the oldest went")
	}
}

// What the file says is not believed when it is not what this lookout wrote.
func TestForeignRecords(t *testing.T) {
	h := newHouse(t)
	kept := h.login()
	good := []byte(h.stored()[string(keyOf(kept))])
	other := func(change func(r *record)) []byte {
		r, ok := decodeRecord(good)
		if !ok {
			t.Fatal("no record")
		}
		change(&r)
		return r.encode()
	}
	if err := h.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(sessionBucket)
		return errors.Join(
			b.Put(keyOf("version"), append([]byte{recordVersion + 1}, good[1:]...)),
			b.Put(keyOf("short"), good[:recordHead-1]),
			b.Put(keyOf("empty"), nil),
			b.Put([]byte("key"), good),
			b.Put(keyOf("role"), other(func(r *record) { r.Role = Write })),
			b.Put(keyOf("name"), other(func(r *record) { r.Name = "root" })),
			b.Put(keyOf("token"), other(func(r *record) { r.token[0]++ })),
		)
	}); err != nil {
		t.Fatal(err)
	}
	h.open()
	for _, id := range []string{"version", "short", "empty", "role", "name", "token"} {
		if h.in(id) {
			t.Errorf("%s: the session is taken", id)
		}
	}
	if !h.in(kept) || len(h.stored()) != 1 {
		t.Errorf("%d records are left", len(h.stored()))
	}
}

func keyOf(id string) []byte {
	h := sha256.Sum256([]byte(id))
	return h[:]
}

// The context of a request ends with its session, and says so.
func TestRequestsEndWithTheirSession(t *testing.T) {
	for _, c := range []struct {
		name  string
		end   func(a *Authenticator, other *http.Request)
		after time.Duration
	}{
		{"logout", func(a *Authenticator, other *http.Request) {
			serve(a, other, func(_ http.ResponseWriter, r *http.Request) {
				if _, err := a.Logout(r); err != nil {
					t.Error(err)
				}
			})
		}, 0},
		{"time", func(*Authenticator, *http.Request) {}, SessionTime - time.Minute},
		{"crowd out", func(a *Authenticator, _ *http.Request) { crowd(t, a) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := three()
				cookie, err := a.Login(httptest.NewRequest("POST", "/", nil), "", admin)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				code := serve(a, request("GET", cookie.Value), func(_ http.ResponseWriter, r *http.Request) {
					if r.Context().Err() != nil {
						t.Fatal("over before its end")
					}
					start := time.Now()
					c.end(a, request("POST", cookie.Value))
					<-r.Context().Done()
					if took := time.Since(start); took != c.after {
						t.Errorf("after %v", took)
					}
					if !errors.Is(context.Cause(r.Context()), ErrEnded) {
						t.Error(context.Cause(r.Context()))
					}
				})
				if code != 200 {
					t.Error(code)
				}
				if code := serve(a, request("GET", cookie.Value), nil); code != 401 {
					t.Errorf("%d after the end", code)
				}
			})
		})
	}
	// A token's request goes on, and one that ends by itself leaves nothing behind.
	a := three()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+admin)
	serve(a, r, func(_ http.ResponseWriter, r *http.Request) {
		crowd(t, a)
		if r.Context().Err() != nil {
			t.Error(context.Cause(r.Context()))
		}
	})
}

func crowd(t *testing.T, a *Authenticator) {
	t.Helper()
	for range maxSessions {
		if _, err := a.Login(httptest.NewRequest("POST", "/", nil), "", admin); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLogoutWithAToken(t *testing.T) {
	a := three()
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "Bearer "+admin)
	serve(a, r, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := a.Logout(r); err != ErrNoSession {
			t.Error(err)
		}
	})
	if _, err := a.Logout(httptest.NewRequest("POST", "/", nil)); err != ErrNoSession {
		t.Error(err)
	}
}

// A file that cannot be written begins no session, and a logout says that it is not for good.
func TestFileFails(t *testing.T) {
	h := newHouse(t)
	id := h.login()
	h.db.Close()
	_, err := h.Login(httptest.NewRequest("POST", "/", nil), "", h.token)
	if e := (*Error)(nil); err == nil || errors.As(err, &e) || h.Sessions() != 1 {
		t.Errorf("%v, %d sessions", err, h.Sessions())
	}
	h.clock.pass(2 * time.Hour)
	if !h.in(id) {
		t.Error("a request fails because its time cannot be noted")
	}
	serve(h.Authenticator, request("POST", id), func(_ http.ResponseWriter, r *http.Request) {
		if c, err := h.Logout(r); err == nil || c != nil {
			t.Error("a logout that is not kept says nothing")
		}
	})
	if h.in(id) {
		t.Error("and does not end the session either")
	}
}

// A use that is noted at the moment of a logout does not bring the session back.
func TestUseAndLogoutAtOnce(t *testing.T) {
	h := newHouse(t)
	if err := h.sessions.note(sessionKey(keyOf("x")), []byte("x")); err != nil || len(h.stored()) != 0 {
		t.Error("what is gone is noted", err)
	}
	for range 50 {
		id := h.login()
		h.clock.pass(time.Hour)
		var both sync.WaitGroup
		both.Go(func() { _, _ = h.Check(request("GET", id)) })
		both.Go(func() {
			serve(h.Authenticator, request("POST", id), func(_ http.ResponseWriter, r *http.Request) { _, _ = h.Logout(r) })
		})
		both.Wait()
		if h.in(id) || len(h.stored()) != 0 {
			t.Fatal("the session is back")
		}
	}
}

func FuzzRecord(f *testing.F) {
	r := record{Identity: Identity{"admin", Admin}, created: time.Unix(1, 0), seen: time.Unix(2, 0), expires: time.Unix(3, 0), token: [32]byte{4}}
	f.Add(r.encode())
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, ok := decodeRecord(b); ok && !bytes.Equal(r.encode(), b) {
			t.Errorf("%q became %q", b, r.encode())
		}
	})
}

// Whatever stands in the headers, only the token and the session get in.
func FuzzHeaders(f *testing.F) {
	a := New(Token{Identity{"admin", Admin}, admin})
	c, err := a.Login(httptest.NewRequest("POST", "/", nil), "", admin)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer "+admin, "", "")
	f.Add("", CookieName+"="+c.Value, "http://example.com")
	f.Add("", CookieName+`="`+c.Value+`; `+CookieName+"==", "null")
	f.Fuzz(func(t *testing.T, authorization, cookies, origin string) {
		r := httptest.NewRequest("GET", "/", nil)
		for name, value := range map[string]string{"Authorization": authorization, "Cookie": cookies, "Origin": origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		who, err := a.Check(r)
		e := (*Error)(nil)
		if (err == nil) != (who == Identity{"admin", Admin}) || err != nil && !errors.As(err, &e) {
			t.Fatalf("%+v, %v", who, err)
		}
		if err == nil && !strings.Contains(authorization, admin) && !strings.Contains(cookies, c.Value) {
			t.Fatal("somebody got in")
		}
	})
}
