// Package auth decides who may do what over HTTP: tokens for programs, sessions for people's browsers.
//
// # Use
//
// [Open] reads the admin token of a data folder, and makes it at the first start; [ReadToken] is the same for the command line
// on the same machine. [Authenticator.Middleware] puts the check in front of a handler; whoever needs to know who asks
// calls [From] with the request's context.
//
// A browser begins a session with the token or with a one-time code: [Authenticator.NewCode] makes one,
// [Authenticator.Login] takes either and returns the cookie, [Authenticator.Logout] ends the session.
//
// # What it guarantees
//
// A token travels in the header Authorization alone: one in the address is refused even when it is right, because
// addresses end up in logs. Tokens, codes and session ids are compared in constant time and kept as hashes; no error, no
// answer and no log line of this package contains one. A request of another site's page that would change something is
// refused before its token is looked at; one that comes with a cookie or begins a WebSocket is refused even when it would
// only read.
//
// A code lasts 15 minutes and works once, whoever tries at the same time. A session lasts 90 days, or 30 without a request;
// a restart keeps it, another token in the place of the one it was begun with ends it. What a session still reads when it
// ends is ended with it: the request's context ends with the cause [ErrEnded].
//
// Further tokens are made by [Authenticator.NewToken], which is the only one to see the secret, and end by [Authenticator.Revoke]:
// when it returns, no request with the token or a session of it is let in, and those that still read are told to end ([ErrRevoked]).
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Role is what a token may do.
type Role uint8

// The roles. Admin may do everything; the others only what they are named after.
const (
	Write Role = iota + 1 // bring events in
	Read                  // search, follow, metrics
	Admin
	Anyone // needed by what all the others may do; nobody's own
)

// String returns the role's name.
func (r Role) String() string {
	switch r {
	case Write:
		return "write"
	case Read:
		return "read"
	case Admin:
		return "admin"
	case Anyone:
		return "anyone"
	}
	return "no role"
}

// Identity is who asks.
type Identity struct {
	Name string // the token's name, never the token
	Role Role
}

// May tells whether the identity may do what needs role.
func (i Identity) May(role Role) bool {
	return i.Role == Admin || i.Role != 0 && (i.Role == role || role == Anyone)
}

// Token is what proves an identity.
type Token struct {
	Identity
	Secret string
}

// Error is a refusal. It is safe to show to whoever asked.
type Error struct {
	Status        int // of HTTP: 401, 403 or 429
	Code          string
	Message, Mend string
	RetryAfter    time.Duration // of a 429: how long to wait
}

// Error returns one line: what is wrong, and the mend.
func (e *Error) Error() string { return e.Message + "; " + e.Mend }

const (
	howTo      = "send the header Authorization: Bearer TOKEN; the admin token is in the file `token` of the server's data folder"
	howToLogin = "log in again: `lookout ui` on the server's machine prints an address for it, and the page takes the token too"
)

// The refusals.
var (
	ErrMissing = &Error{Status: http.StatusUnauthorized, Code: "unauthorized", Message: "this needs a token", Mend: howTo}
	ErrWrong   = &Error{Status: http.StatusUnauthorized, Code: "unauthorized", Message: "the token is not known here", Mend: howTo}
	ErrInURL   = &Error{Status: http.StatusUnauthorized, Code: "token_in_url", Message: "a token does not belong into an address: addresses end up in logs",
		Mend: "send it in the header Authorization: Bearer TOKEN, and replace the one that was in the address"}
	ErrRole      = &Error{Status: http.StatusForbidden, Code: "forbidden", Message: "the token may not do this", Mend: "use a token with another role, such as the admin token"}
	ErrCrossSite = &Error{Status: http.StatusForbidden, Code: "cross_site", Message: "the request comes from another site's page",
		Mend: "send it from this server's own pages, or from a program"}
	ErrEnded     = &Error{Status: http.StatusUnauthorized, Code: "session_ended", Message: "the session has ended", Mend: howToLogin}
	ErrWrongCode = &Error{Status: http.StatusUnauthorized, Code: "wrong_code", Message: "the code is not known here: it works once, for 15 minutes, and not after a restart",
		Mend: "make another with `lookout ui` on the server's machine, or log in with the token"}
	ErrNoSession = &Error{Status: http.StatusBadRequest, Code: "no_session", Message: "the request comes with a token, which has no session to end",
		Mend: "to end a token, revoke it: `lookout token revoke NAME`"}
)

// Authenticator knows the tokens, codes and sessions. It is safe for concurrent use.
type Authenticator struct {
	tokens   []known // of data folder and configuration
	made     madeTokens
	cross    *http.CrossOriginProtection
	codes    codes
	sessions sessions
	wrong    limiter
	now      func() time.Time
}

// New returns an authenticator that knows the tokens, and keeps sessions in memory only. An empty secret is nobody's: no
// request can show it.
func New(tokens ...Token) *Authenticator {
	a := &Authenticator{cross: http.NewCrossOriginProtection(), now: time.Now}
	for _, t := range tokens {
		a.tokens = append(a.tokens, known{t.Identity, sha256.Sum256([]byte(t.Secret))})
	}
	return a
}

// urlNames are the parameters that people put tokens into.
var urlNames = []string{"token", "access_token", "auth_token", "api_key", "apikey", "auth", "authorization", "bearer"}

// Check returns who asks, by token or by session. A token wins: with a wrong one the cookie does not help. Its error is
// always an [*Error].
func (a *Authenticator) Check(r *http.Request) (Identity, error) {
	who, err := a.check(r)
	return who.Identity, err
}

func (a *Authenticator) check(r *http.Request) (admitted, error) {
	if secretInURL(r) {
		return admitted{}, ErrInURL
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return a.checkCookie(r)
	}
	scheme, secret, _ := strings.Cut(headers[0], " ")
	secret = strings.TrimSpace(secret)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return admitted{}, ErrMissing
	}
	t, made := a.token(secret)
	if t == nil {
		return admitted{}, ErrWrong
	}
	if made != nil {
		a.made.note(made, a.now())
	}
	return admitted{Identity: t.Identity, token: made}, nil
}

func secretInURL(r *http.Request) bool {
	if r.URL.RawQuery != "" {
		for name := range r.URL.Query() {
			if slices.Contains(urlNames, strings.ToLower(name)) {
				return true
			}
		}
	}
	return r.URL.User != nil
}

// token returns the token that secret is, nil when it is none; made is the same one when it was made here.
func (a *Authenticator) token(secret string) (found *known, made *madeToken) {
	if secret == "" {
		return nil, nil
	}
	hash := sha256.Sum256([]byte(secret))
	for i := range a.tokens { // all of them: how long it takes must not tell which one was near
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 && a.tokens[i].Role != 0 {
			found = &a.tokens[i]
		}
	}
	for _, t := range a.made.all() {
		if subtle.ConstantTimeCompare(hash[:], t.hash[:]) == 1 {
			found, made = &t.known, t
		}
	}
	return found, made
}

// knows tells whether a token is still one.
func (a *Authenticator) knows(k known) bool {
	return slices.Contains(a.tokens, k) || slices.ContainsFunc(a.made.all(), func(t *madeToken) bool { return t.known == k })
}

// Knows tells whether a text is one of the tokens, so that it is not repeated anywhere.
func (a *Authenticator) Knows(text string) bool {
	found, _ := a.token(text)
	return found != nil
}

// checkCookie returns whose session the request belongs to. A browser adds the cookie to whatever page's requests it thinks
// fit, pages of other ports of the same host among them: only requests of this server's own pages count.
func (a *Authenticator) checkCookie(r *http.Request) (admitted, error) {
	cookies := r.CookiesNamed(CookieName)
	if len(cookies) == 0 {
		return admitted{}, ErrMissing
	}
	if !sameOrigin(r) {
		return admitted{}, ErrCrossSite
	}
	// Another host of the same domain can have set one beside ours, which must not lock anybody out.
	for _, c := range cookies {
		if s := a.sessions.use(c.Value, a.now()); s != nil {
			return admitted{Identity: s.Identity, session: s}, nil
		}
	}
	return admitted{}, ErrEnded
}

// sameOrigin tells whether a request with a cookie comes from a page of this server, or from no page at all. Browsers say
// so in Sec-Fetch-Site, but not over plain HTTP to another machine; then Origin, if there is one, must be the host.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		return originIsHost(r)
	}
	return false
}

// originIsHost tells whether the request's Origin, if it has one, is the host it was sent to. The scheme is not compared: a
// proxy in front may have ended TLS.
func originIsHost(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

type contextKey struct{}

// admitted is what the middleware found out about a request.
type admitted struct {
	Identity
	session *session   // nil with a token
	token   *madeToken // nil with a session, and with a token that cannot be revoked
}

// From returns who asks, as the middleware found out. Its zero value for a request that did not pass it.
func From(ctx context.Context) Identity {
	who, _ := ctx.Value(contextKey{}).(admitted)
	return who.Identity
}

// Middleware lets through what comes with a token or session that may do what needs role. The context of a session's
// request ends with the session, and that of a token's when it is revoked.
func (a *Authenticator) Middleware(role Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, err := a.admit(r, role)
			if err != nil {
				refuse(w, err)
				return
			}
			ctx := context.WithValue(r.Context(), contextKey{}, who)
			if s := who.session; s != nil {
				timed, cancel := context.WithTimeoutCause(ctx, s.expires.Sub(a.now()), ErrEnded)
				defer cancel()
				ended, end := context.WithCancelCause(timed)
				defer end(nil)
				defer context.AfterFunc(s.ended, func() { end(ErrEnded) })()
				ctx = ended
			}
			if t := who.token; t != nil {
				ended, end := context.WithCancelCause(ctx)
				defer end(nil)
				defer context.AfterFunc(t.ended, func() { end(ErrRevoked) })()
				ctx = ended
			}
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
}

func (a *Authenticator) admit(r *http.Request, role Role) (admitted, error) {
	// A WebSocket is begun by GET, and browsers let any page begin one.
	if a.cross.Check(r) != nil || isUpgrade(r) && !originIsHost(r) {
		return admitted{}, ErrCrossSite
	}
	who, err := a.check(r)
	if err == nil && !who.May(role) {
		err = ErrRole
	}
	return who, err
}

func isUpgrade(r *http.Request) bool { return r.Header.Get("Upgrade") != "" }

func refuse(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = ErrWrong
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if e.Status == http.StatusUnauthorized {
		// No browser asks its user for a Bearer token.
		h.Set("WWW-Authenticate", `Bearer realm="lookout"`)
	}
	w.WriteHeader(e.Status)
	// An error of writing is the client's: it is gone.
	_ = json.NewEncoder(w).Encode(map[string]any{"error": struct {
		Code      string `json:"code"`
		Message   string `json:"message"`
		Mend      string `json:"mend"`
		RequestID string `json:"request_id,omitempty"`
	}{e.Code, e.Message, e.Mend, h.Get("X-Request-Id")}})
}
