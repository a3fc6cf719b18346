package api

import (
	_ "embed"
	"net/http"
)

// openapi describes the API, in OpenAPI 3.1, written by hand; a test holds it to the routes, their parameters and their answers. Every token
// opens it, as it says the same of every server of a version.
//
//go:embed openapi.json
var openapi []byte

func (a *API) openapi(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(openapi) // what can fail is the connection
}
