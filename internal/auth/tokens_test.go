package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// with is a request with a token.
func with(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestTokens(t *testing.T) {
	h := newHouse(t)
	admin := Identity{"admin", Admin}
	made := func(name string, role Role) string {
		secret, err := h.NewToken(name, role, admin)
		if err != nil || !strings.HasPrefix(secret, Prefix) || len(secret) < shortest {
			t.Fatalf("%s: %q, %v", name, secret, err)
		}
		return secret
	}
	ann, ci := made("ann", Read), made("ci", Write)
	for _, c := range []struct {
		name string
		role Role
		want error
	}{
		{"ann", Read, ErrTokenUsed}, {"admin", Read, ErrTokenUsed}, {"", Read, ErrTokenName}, {"a b", Read, ErrTokenName}, {"a/b", Read, ErrTokenName},
		{strings.Repeat("x", 65), Read, ErrTokenName}, {"x", 0, ErrTokenRole}, {"x", Anyone, ErrTokenRole},
	} {
		if _, err := h.NewToken(c.name, c.role, admin); err != c.want {
			t.Errorf("%q, %v: %v, want %v", c.name, c.role, err, c.want)
		}
	}
	// A restart keeps them; the file does not hold them.
	for range 2 {
		for token, want := range map[string]Identity{ann: {"ann", Read}, ci: {"ci", Write}} {
			if who, err := h.Check(with(token)); err != nil || who != want {
				t.Errorf("%+v, %v, want %+v", who, err, want)
			}
			if all := fmt.Sprintf("%+v %#v", h.Authenticator, h.Authenticator); strings.Contains(all, token) {
				t.Error("the authenticator prints a token")
			}
		}
		h.open()
	}
	list := h.Tokens()
	if len(list) != 3 || list[0].From != "data folder" || list[1].Name != "ann" || list[1].By != "admin" || !list[1].Created.Equal(h.clock.now()) || !list[1].Used.Equal(h.clock.now()) {
		t.Errorf("%+v", list)
	}
	// Its use is noted once an hour, over a restart too.
	h.clock.pass(noteEvery - time.Second)
	h.Check(with(ann))
	if used := h.Tokens()[1].Used; !used.Equal(list[1].Used) {
		t.Errorf("noted after less than an hour: %v", used)
	}
	h.clock.pass(time.Second)
	h.Check(with(ann))
	h.open()
	if used := h.Tokens()[1].Used; !used.Equal(h.clock.now()) {
		t.Errorf("used %v, now %v", used, h.clock.now())
	}
	for name, want := range map[string]string{"nobody": ErrNoToken.Code, "admin": "fixed_token"} {
		if err, e := h.Revoke(name), (*Error)(nil); !errors.As(err, &e) || e.Code != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Revoking ends the token, its codes and sessions, and what still reads with either, before it returns and over a restart.
func TestRevoke(t *testing.T) {
	h := newHouse(t)
	secret, err := h.NewToken("ann", Read, Identity{"admin", Admin})
	if err != nil {
		t.Fatal(err)
	}
	login := func(code, token string) (string, error) {
		c, err := h.Login(from("192.0.2.1:1"), code, token)
		if err != nil {
			return "", err
		}
		return c.Value, nil
	}
	session, err := login("", secret)
	if err != nil {
		t.Fatal(err)
	}
	code, _ := h.NewCode(Identity{"ann", Read})
	spare, _ := h.NewCode(Identity{"ann", Read})
	if _, err := login(spare, ""); err != nil {
		t.Fatal("a code of a token that was made:", err)
	}
	bystander := h.login()

	var reading []context.Context
	for _, r := range []*http.Request{with(secret), request("GET", session), with(h.token)} {
		w := httptest.NewRecorder()
		began, end := make(chan context.Context), make(chan struct{})
		go h.Middleware(Read)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			began <- r.Context()
			<-end
		})).ServeHTTP(w, r)
		reading = append(reading, <-began)
		defer close(end)
	}
	if err := h.Revoke("ann"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []error{ErrRevoked, ErrEnded} {
		<-reading[i].Done()
		if cause := context.Cause(reading[i]); cause != want {
			t.Errorf("%d: %v, want %v", i, cause, want)
		}
	}
	if err := reading[2].Err(); err != nil {
		t.Errorf("another token's request: %v", err)
	}
	for range 2 {
		if _, err := h.Check(with(secret)); err != ErrWrong {
			t.Errorf("the token: %v", err)
		}
		if h.in(session) || !h.in(bystander) {
			t.Error("its session goes on, or another's has ended")
		}
		if _, err := login("", secret); err != ErrWrong {
			t.Errorf("a login: %v", err)
		}
		if _, err := login(code, ""); err != ErrWrongCode {
			t.Errorf("a code: %v", err)
		}
		if len(h.Tokens()) != 1 {
			t.Errorf("%+v", h.Tokens())
		}
		h.open()
	}
	// The name is free, and another token by it is another token.
	if _, err := h.NewToken("ann", Read, Identity{}); err != nil {
		t.Error(err)
	}
	if _, err := h.Check(with(secret)); err != ErrWrong {
		t.Errorf("the old token: %v", err)
	}
}

// What cannot be kept is not made; what cannot be ended for good ends now, and that is said.
func TestTokensWithoutAFile(t *testing.T) {
	h := newHouse(t)
	secret, err := h.NewToken("ann", Read, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.NewToken("bob", Read, Identity{}); err == nil || len(h.Tokens()) != 2 {
		t.Errorf("%v, %+v", err, h.Tokens())
	}
	if err := h.Revoke("ann"); err == nil || !strings.Contains(err.Error(), "not after a restart") {
		t.Error(err)
	}
	if _, err := h.Check(with(secret)); err != ErrWrong {
		t.Error(err)
	}
}

func TestMaxTokens(t *testing.T) {
	a := New(Token{Identity{"admin", Admin}, "canary"})
	for i := range MaxTokens {
		if _, err := a.NewToken(fmt.Sprint("t", i), Write, Identity{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.NewToken("more", Write, Identity{}); err != ErrTokenMany {
		t.Error(err)
	}
	if err := a.Revoke("t7"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.NewToken("more", Write, Identity{}); err != nil {
		t.Error(err)
	}
}
