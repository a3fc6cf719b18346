package api

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/auth"
)

// tokensPath has the tokens, and below it each by its name.
const tokensPath = "/api/v1/tokens"

// tokenInfo is a token as the API lists it, without its secret, which is kept nowhere.
type tokenInfo struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"`
	From    string    `json:"from"`
	Created time.Time `json:"created,omitzero"`
	By      string    `json:"by,omitempty"`
	Used    time.Time `json:"used,omitzero"`
}

// tokens lists the tokens, or makes one.
func (a *API) tokens(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		list("tokens", func() ([]tokenInfo, error) {
			rows := []tokenInfo{}
			for _, t := range a.o.Auth.Tokens() {
				rows = append(rows, tokenInfo{t.Name, t.Role.String(), t.From, t.Created, t.By, t.Used})
			}
			return rows, nil
		})(w, r)
		return
	}
	p, err := readParams(w, r, "name", "role")
	if err != nil {
		writeError(w, err)
		return
	}
	role, err := auth.ParseRole(p["role"])
	if err != nil {
		writeError(w, err)
		return
	}
	by := auth.From(r.Context())
	secret, err := a.o.Auth.NewToken(p["name"], role, by)
	if err != nil {
		a.failedToken(w, "making", err)
		return
	}
	a.o.Log.Info("a token was made", "name", p["name"], "role", role.String(), "by", by.Name)
	writeJSON(w, http.StatusOK, struct {
		Name  string `json:"name"`
		Role  string `json:"role"`
		Token string `json:"token"`
	}{p["name"], role.String(), secret})
}

// token revokes one.
func (a *API) token(w http.ResponseWriter, r *http.Request) {
	if _, err := readParams(w, r); err != nil {
		writeError(w, err)
		return
	}
	name, by := strings.TrimPrefix(r.URL.Path, tokensPath+"/"), auth.From(r.Context())
	if err := a.o.Auth.Revoke(name); err != nil {
		a.failedToken(w, "revoking", err)
		return
	}
	a.o.Log.Info("a token was revoked", "name", name, "by", by.Name)
	writeJSON(w, http.StatusOK, map[string]string{"revoked": name})
}

func (a *API) failedToken(w http.ResponseWriter, doing string, err error) {
	if e := (*auth.Error)(nil); !errors.As(err, &e) {
		a.o.Log.Error(doing+" a token failed", "error", err)
		err = &apiError{Status: http.StatusInternalServerError, Code: "tokens", Message: doing + " the token failed: " + err.Error(), Mend: "look after the server's data folder, then try again"}
	}
	writeError(w, err)
}
