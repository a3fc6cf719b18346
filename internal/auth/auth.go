// Package auth decides who may do what over HTTP.
//
// # Use
//
// [Open] reads the admin token of a data folder, and makes it at the first start; [ReadToken] is the same for the command line
// on the same machine. [Authenticator.Middleware] puts the check in front of a handler; whoever needs to know who asks
// calls [From] with the request's context.
//
// # What it guarantees
//
// A token travels in the header Authorization alone: one in the address is refused even when it is right, because
// addresses end up in logs. Tokens are compared in constant time and kept as hashes; no error, no answer and no log line
// of this package contains one. A request of another site's page that would change something is refused before its token
// is looked at.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Role is what a token may do.
type Role uint8

// The roles. Admin may do everything; the others only what they are named after.
const (
	Write Role = iota + 1 // bring events in
	Read                  // search, follow, metrics
	Admin
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
	}
	return "no role"
}

// Identity is who asks.
type Identity struct {
	Name string // the token's name, never the token
	Role Role
}

// May tells whether the identity may do what needs role.
func (i Identity) May(role Role) bool { return i.Role == Admin || i.Role == role && role != 0 }

// Token is what proves an identity.
type Token struct {
	Identity
	Secret string
}

// Error is a refusal. It is safe to show to whoever asked.
type Error struct {
	Status        int // of HTTP: 401 or 403
	Code          string
	Message, Mend string
}

// Error returns one line: what is wrong, and the mend.
func (e *Error) Error() string { return e.Message + "; " + e.Mend }

const howTo = "send the header Authorization: Bearer TOKEN; the admin token is in the file `token` of the server's data folder"

// The refusals.
var (
	ErrMissing = &Error{http.StatusUnauthorized, "unauthorized", "this needs a token", howTo}
	ErrWrong   = &Error{http.StatusUnauthorized, "unauthorized", "the token is not known here", howTo}
	ErrInURL   = &Error{http.StatusUnauthorized, "token_in_url", "a token does not belong into an address: addresses end up in logs",
		"send it in the header Authorization: Bearer TOKEN, and replace the one that was in the address"}
	ErrRole      = &Error{http.StatusForbidden, "forbidden", "the token may not do this", "use a token with another role, such as the admin token"}
	ErrCrossSite = &Error{http.StatusForbidden, "cross_site", "the request comes from another site's page", "send it from this server's own pages, or from a program"}
)

// Authenticator knows the tokens. It is safe for concurrent use.
type Authenticator struct {
	tokens []known
	cross  *http.CrossOriginProtection
}

type known struct {
	Identity
	hash [sha256.Size]byte
}

// New returns an authenticator that knows the tokens. An empty secret is nobody's: no request can show it.
func New(tokens ...Token) *Authenticator {
	a := &Authenticator{cross: http.NewCrossOriginProtection()}
	for _, t := range tokens {
		a.tokens = append(a.tokens, known{t.Identity, sha256.Sum256([]byte(t.Secret))})
	}
	return a
}

// urlNames are the parameters that people put tokens into.
var urlNames = []string{"token", "access_token", "auth_token", "api_key", "apikey", "auth", "authorization", "bearer"}

// Check returns who asks. Its error is always an [*Error].
func (a *Authenticator) Check(r *http.Request) (Identity, error) {
	if r.URL.RawQuery != "" {
		for name := range r.URL.Query() {
			if slices.Contains(urlNames, strings.ToLower(name)) {
				return Identity{}, ErrInURL
			}
		}
	}
	if r.URL.User != nil {
		return Identity{}, ErrInURL
	}
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return Identity{}, ErrMissing
	}
	scheme, secret, _ := strings.Cut(headers[0], " ")
	secret = strings.TrimSpace(secret)
	if len(headers) > 1 || !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return Identity{}, ErrMissing
	}
	hash := sha256.Sum256([]byte(secret))
	var who Identity
	for i := range a.tokens { // all of them: how long it takes must not tell which one was near
		if subtle.ConstantTimeCompare(hash[:], a.tokens[i].hash[:]) == 1 {
			who = a.tokens[i].Identity
		}
	}
	if who.Role == 0 {
		return Identity{}, ErrWrong
	}
	return who, nil
}

type contextKey struct{}

// From returns who asks, as the middleware found out. Its zero value for a request that did not pass it.
func From(ctx context.Context) Identity {
	who, _ := ctx.Value(contextKey{}).(Identity)
	return who
}

// Middleware lets through what comes with a token that may do what needs role.
func (a *Authenticator) Middleware(role Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, err := a.admit(r, role)
			if err != nil {
				refuse(w, err)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, who)))
		})
	}
}

func (a *Authenticator) admit(r *http.Request, role Role) (Identity, error) {
	if a.cross.Check(r) != nil {
		return Identity{}, ErrCrossSite
	}
	who, err := a.Check(r)
	if err == nil && !who.May(role) {
		err = ErrRole
	}
	return who, err
}

func refuse(w http.ResponseWriter, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = ErrWrong
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	if e.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="lookout"`)
	}
	w.WriteHeader(e.Status)
	// An error of writing is the client's: it is gone.
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": e.Code, "message": e.Message, "mend": e.Mend}})
}
