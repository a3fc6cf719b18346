package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// from is a login's request of a client.
func from(address string) *http.Request {
	r := httptest.NewRequest("POST", "/api/v1/login", nil)
	r.RemoteAddr = address
	return r
}

func TestLogin(t *testing.T) {
	h := newHouse(t)
	code := func() string {
		text, expires := h.NewCode(Identity{"admin", Admin})
		if !strings.HasPrefix(text, CodePrefix) || len(text) != len(CodePrefix)+27 || expires != h.clock.now().Add(15*time.Minute) {
			t.Errorf("the code %q until %v", text, expires)
		}
		return text
	}
	used, late, stranger := code(), code(), ""
	for _, token := range []Token{{Identity{"agent", Write}, "write-canary"}, {Identity{"reader", Read}, "read-canary"}} {
		h.tokens = append(h.tokens, New(token).tokens...)
	}
	if _, err := h.Login(from("192.0.2.1:1"), used, ""); err != nil {
		t.Fatal(err)
	}
	stranger, _ = h.NewCode(Identity{"admin", Read})
	fresh := code()
	for _, c := range []struct {
		name        string
		code, token string
		change      func(r *http.Request)
		want        error
	}{
		{"the token", "", h.token, nil, nil},
		{"a wrong token", "", h.token + "x", nil, ErrWrong},
		{"no token", "", "", nil, ErrWrong},
		{"an agent's token", "", "write-canary", nil, ErrRole},
		{"a token for reading", "", "read-canary", nil, nil},
		{"a wrong code", CodePrefix + "x", "", nil, ErrWrongCode},
		{"a used code", used, "", nil, ErrWrongCode},
		{"the code of an identity that has no token", stranger, "", nil, ErrWrongCode},
		{"the token as a code", h.token, "", nil, ErrWrongCode},
		{"a code as the token", "", fresh, nil, ErrWrong},
		{"a code with another site's page", fresh, "", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, ErrCrossSite},
		{"a code with an older browser's other page", fresh, "", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, ErrCrossSite},
		{"a token in the address", "", h.token, func(r *http.Request) { r.URL.RawQuery = "token=x" }, ErrInURL},
		{"a code", fresh, "", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, nil},
		{"the same again", fresh, "", nil, ErrWrongCode},
	} {
		r := from("192.0.2.1:1")
		if c.change != nil {
			c.change(r)
		}
		cookie, err := h.Login(r, c.code, c.token)
		if err != c.want || (cookie == nil) != (err != nil) || cookie != nil && c.token != "read-canary" && !h.in(cookie.Value) {
			t.Errorf("%s: %v, %v", c.name, cookie, err)
		}
		if err != nil && (strings.Contains(err.Error(), h.token) || strings.Contains(err.Error(), CodePrefix)) {
			t.Errorf("%s: a secret is in %v", c.name, err)
		}
		h.clock.pass(30 * time.Second) // the next try is not held up
	}
	h.clock.pass(10 * time.Minute)
	if _, err := h.Login(from("192.0.2.1:1"), late, ""); err != ErrWrongCode {
		t.Errorf("after more than 15 minutes: %v", err)
	}
	last := code()
	h.clock.pass(15*time.Minute - 1)
	if _, err := h.Login(from("192.0.2.1:1"), last, ""); err != nil {
		t.Errorf("before 15 minutes: %v", err)
	}
	last = code()
	h.clock.pass(15 * time.Minute)
	if _, err := h.Login(from("192.0.2.1:1"), last, ""); err != ErrWrongCode {
		t.Errorf("after 15 minutes: %v", err)
	}
	if all := fmt.Sprintf("%v %+v %#v", h.Authenticator, h.Authenticator, h.Authenticator); strings.Contains(all, last) || strings.Contains(all, h.token) {
		t.Error("the authenticator prints its secrets")
	}
	if last = code(); len(h.codes.list) != 1 {
		t.Errorf("%d codes are kept that have no use any more", len(h.codes.list)-1)
	}
	h.open()
	if _, err := h.Login(from("192.0.2.1:1"), last, ""); err != ErrWrongCode {
		t.Errorf("after a restart: %v", err)
	}
}

func TestLoginAsNobody(t *testing.T) {
	a := New(Token{Identity{"nobody", Admin}, ""}, Token{Identity{"without a role", 0}, "canary"})
	for _, token := range []string{"", "canary"} {
		if c, err := a.Login(from("192.0.2.1:1"), "", token); err != ErrWrong {
			t.Errorf("%q: %v, %v", token, c, err)
		}
	}
}

// Of many who show one code at once, one gets in.
func TestCodeWorksOnce(t *testing.T) {
	h := newHouse(t)
	for range 20 {
		code, _ := h.NewCode(Identity{"admin", Admin})
		var in atomic.Int32
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				switch _, err := h.Login(from("192.0.2.1:1"), code, ""); err {
				case nil:
					in.Add(1)
				case ErrWrongCode:
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Fatalf("%d got in", in.Load())
		}
		h.clock.pass(2 * time.Minute) // for the next tries
	}
}

func TestOldestCodesGo(t *testing.T) {
	a := three()
	var list []string
	for range maxCodes + 1 {
		code, _ := a.NewCode(Identity{"reader", Read})
		list = append(list, code)
	}
	if _, err := a.Login(from("192.0.2.1:1"), list[0], ""); err != ErrWrongCode {
		t.Error(err)
	}
	for _, code := range []string{list[1], list[maxCodes]} {
		c, err := a.Login(from("192.0.2.1:1"), code, "")
		if err != nil {
			t.Fatal(err)
		}
		if who, err := a.Check(request("GET", c.Value)); err != nil || who != (Identity{"reader", Read}) {
			t.Error(who, err)
		}
	}
}

func TestCookieFlags(t *testing.T) {
	const life, plain = "; Max-Age=7776000", "; HttpOnly"
	for _, c := range []struct {
		name   string
		change func(r *http.Request)
		secure bool
	}{
		{"HTTP", func(*http.Request) {}, false},
		{"TLS", func(r *http.Request) { r.TLS = &tls.ConnectionState{} }, true},
		{"a proxy with TLS", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "HTTPS") }, true},
		{"a proxy without", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") }, false},
		{"TLS behind a proxy that says there is none", func(r *http.Request) {
			r.TLS = &tls.ConnectionState{}
			r.Header.Set("X-Forwarded-Proto", "http")
		}, true},
	} {
		a := three()
		r := from("192.0.2.1:1")
		c.change(r)
		cookie, err := a.Login(r, "", admin)
		if err != nil {
			t.Fatal(err)
		}
		secure := ""
		if c.secure {
			secure = "; Secure"
		}
		want := CookieName + "=" + cookie.Value + "; Path=/" + life + plain + secure + "; SameSite=Strict"
		if cookie.String() != want {
			t.Errorf("%s: %s\nwant %s", c.name, cookie, want)
		}
		r = request("POST", cookie.Value)
		c.change(r)
		serve(a, r, func(_ http.ResponseWriter, r *http.Request) {
			gone, err := a.Logout(r)
			if want := CookieName + "=; Path=/; Max-Age=0" + plain + secure + "; SameSite=Strict"; err != nil || gone.String() != want {
				t.Errorf("%s: %s, %v\nwant %s", c.name, gone, err, want)
			}
		})
	}
}

func TestWrongTries(t *testing.T) {
	h := newHouse(t)
	// try returns how long a client has to wait, 0 when the try is taken.
	try := func(address string) time.Duration {
		t.Helper()
		_, err := h.Login(from(address), "x", "")
		if err == ErrWrongCode {
			return 0
		}
		var e *Error
		if !errors.As(err, &e) || e.Status != 429 || e.Code != "too_many_tries" || e.RetryAfter <= 0 || e.Mend == "" {
			t.Fatal(err)
		}
		return e.RetryAfter
	}
	for i := range 10 {
		if wait := try("192.0.2.1:" + fmt.Sprint(1000+i)); wait != 0 {
			t.Fatalf("try %d: %v", i+1, wait)
		}
	}
	if wait := try("192.0.2.1:5"); wait != 30*time.Second {
		t.Errorf("try 11: %v", wait)
	}
	// The right one has to wait too, or else a try would tell.
	if _, err := h.Login(from("192.0.2.1:5"), "", h.token); err == nil {
		t.Error("a right token is told from a wrong one by its answer")
	}
	if _, err := h.Login(from("192.0.2.2:5"), "", h.token); err != nil {
		t.Errorf("another client is held up: %v", err)
	}
	h.clock.pass(30*time.Second - 1)
	if wait := try("192.0.2.1:5"); wait != 1 {
		t.Errorf("a moment before its time: %v", wait)
	}
	h.clock.pass(1)
	if wait := try("192.0.2.1:5"); wait != 0 {
		t.Errorf("after 30 s: %v", wait)
	}
	if wait := try("192.0.2.1:5"); wait != 30*time.Second {
		t.Errorf("and again: %v", wait)
	}
	h.clock.pass(10 * time.Minute)
	for range 10 {
		if wait := try("[::ffff:192.0.2.1]:5"); wait != 0 {
			t.Errorf("after ten minutes: %v", wait)
		}
	}
	if wait := try("192.0.2.1:5"); wait == 0 {
		t.Error("an address is another one when it is written in IPv6")
	}
	for i := range 10 { // one network, many addresses
		if wait := try(fmt.Sprintf("[2001:db8::%d%%eth0]:5", i+1)); wait != 0 {
			t.Errorf("IPv6 %d: %v", i, wait)
		}
	}
	if try("[2001:db8::ffff:0:0:1]:5") == 0 || try("[2001:db8:0:1::1]:5") != 0 {
		t.Error("IPv6 is not counted by /64")
	}

	// All together.
	h.clock.pass(10 * time.Minute)
	for i := range 100 {
		if wait := try(fmt.Sprintf("198.51.100.%d:5", i)); wait != 0 {
			t.Fatalf("client %d: %v", i, wait)
		}
	}
	if wait := try("203.0.113.1:5"); wait != time.Second {
		t.Errorf("client 101: %v", wait)
	}
	h.clock.pass(time.Second)
	if wait := try("203.0.113.1:5"); wait != 0 {
		t.Errorf("client 101 a second later: %v", wait)
	}
	h.clock.pass(10 * time.Minute)
	if try("pipe"); len(h.wrong.clients) != 1 {
		t.Errorf("%d clients are remembered for nothing", len(h.wrong.clients)-1)
	}
	// Right ones are not counted.
	for i := range 200 {
		if _, err := h.Login(from("203.0.113.1:5"), "", h.token); err != nil {
			t.Fatalf("login %d: %v", i, err)
		}
	}
}

func TestClients(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1/32", "[::1]:80": "::/64", "[fe80::1%eth0]:80": "fe80::/64", "[::ffff:192.0.2.1]:80": "192.0.2.1/32",
		"": "invalid Prefix", "@": "invalid Prefix", "name:80": "invalid Prefix",
	} {
		if got := clientOf(from(address)); got.String() != want {
			t.Errorf("%q: %s", address, got)
		}
	}
	// Who drains while its right login is on its way is not counted below nothing.
	var l limiter
	now := time.Unix(0, 0)
	right, _ := l.try(netip.Prefix{}, now)
	later := now.Add(time.Hour)
	if _, wait := l.try(netip.Prefix{}, later); wait != 0 {
		t.Error(wait)
	}
	right()
	for i := range clientTries - 1 {
		if _, wait := l.try(netip.Prefix{}, later); wait != 0 {
			t.Fatal(i, wait)
		}
	}
}
