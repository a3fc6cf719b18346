package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/lookoutlog/lookout/internal/auth"
)

// maxLogin is the longest body of a login, in bytes: nobody has been checked yet.
const maxLogin = 4 << 10

// login begins a session with a one-time code or a token.
func (a *API) login(w http.ResponseWriter, r *http.Request) {
	cookie, err := a.readLogin(w, r)
	result := "ok"
	if e := (*auth.Error)(nil); errors.As(err, &e) {
		result = "refused"
		if e.RetryAfter > 0 {
			result = "limited"
		}
	} else if err != nil {
		result = "failed"
	}
	a.metrics.logins.WithLabelValues(result).Inc()
	if err != nil {
		writeError(w, err)
		return
	}
	http.SetCookie(w, cookie)
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) readLogin(w http.ResponseWriter, r *http.Request) (*http.Cookie, error) {
	if r.URL.RawQuery != "" {
		return nil, auth.ErrInURL
	}
	body, err := readBody(w, r, maxLogin)
	if err != nil {
		return nil, err
	}
	code, token := body["code"], body["token"]
	if len(body) != 1 || len(code)+len(token) != 1 || body.Get("code")+body.Get("token") == "" {
		return nil, &apiError{Status: http.StatusBadRequest, Code: "bad_body", Message: "the body is not one code or one token", Mend: `send {"code":"…"} or {"token":"…"}`}
	}
	cookie, err := a.o.Auth.Login(r, body.Get("code"), body.Get("token"))
	if e := (*auth.Error)(nil); err != nil && !errors.As(err, &e) {
		a.o.Log.Error("a login failed", "error", err)
	}
	return cookie, err
}

// logout ends the session that the request belongs to.
func (a *API) logout(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	cookie, err := a.o.Auth.Logout(r)
	if err != nil {
		if !errors.Is(err, auth.ErrNoSession) {
			a.o.Log.Error("a logout failed", "error", err)
		}
		writeError(w, err)
		return
	}
	http.SetCookie(w, cookie)
	w.WriteHeader(http.StatusNoContent)
}

// me says who asks.
func (a *API) me(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	who := auth.From(r.Context())
	writeJSON(w, http.StatusOK, struct {
		Name    string `json:"name"`
		Role    string `json:"role"`
		Version string `json:"version"`
	}{who.Name, who.Role.String(), a.o.Version})
}

// loginCodes makes a one-time code for whoever asks.
func (a *API) loginCodes(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	code, expires := a.o.Auth.NewCode(auth.From(r.Context()))
	writeJSON(w, http.StatusOK, struct {
		Code    string    `json:"code"`
		Expires time.Time `json:"expires"`
	}{code, expires.UTC().Truncate(time.Second)})
}

// list answers with what all returns, under name.
func list[T any](name string, all func() ([]T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := readParams(w, r)
		var rows []T
		if err == nil {
			rows, err = all()
		}
		if err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{name: rows})
	}
}

// surely is a list that cannot fail.
func surely[T any](all func() []T) func() ([]T, error) {
	return func() ([]T, error) { return all(), nil }
}
