package api

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/auth"
)

// apiError is an error as the API writes it.
type apiError struct {
	Status     int           `json:"-"`
	RetryAfter time.Duration `json:"-"`

	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"` // the parameter at fault
	Mend    string `json:"mend,omitempty"`
	// RequestID is the answer's X-Request-Id, which the server's log has too.
	RequestID string `json:"request_id,omitempty"`
	// Of a query that does not parse: its text and the byte offsets of the place.
	Position *int    `json:"position,omitempty"`
	End      *int    `json:"end,omitempty"`
	Text     *string `json:"text,omitempty"`
}

func (e *apiError) Error() string { return e.Message + "; " + e.Mend }

// errorLine is an error as one line, without a newline, for an answer that ends with it: the request has failed, and the log says why.
func errorLine(w http.ResponseWriter, err error) []byte {
	e := *asError(err)
	e.RequestID = w.Header().Get("X-Request-Id")
	if n, ok := w.(*response); ok {
		n.failed = &e
	}
	return marshal(map[string]*apiError{"error": &e})
}

// codeInternal is that of a bug in lookout, which is logged where it is met.
const codeInternal = "internal"

// broken tells whether the server is at fault: not the request, its load, or what the server is not made for.
func (e *apiError) broken() bool {
	return e.Status == http.StatusInternalServerError || e.Status == http.StatusGatewayTimeout || e.Code == "gap"
}

func badParameter(field, message, mend string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Code: "bad_parameter", Field: field, Message: field + " " + message, Mend: mend}
}

// asError is err as an apiError; what is none is an error of the store.
func asError(err error) *apiError {
	if e := (*apiError)(nil); errors.As(err, &e) {
		return e
	}
	if q := (*query.Error)(nil); errors.As(err, &q) {
		return &apiError{Status: http.StatusBadRequest, Code: q.Code, Field: "q", Message: q.Message, Mend: q.Mend, Position: &q.Pos, End: &q.End, Text: &q.Text}
	}
	if e := (*auth.Error)(nil); errors.As(err, &e) {
		return &apiError{Status: e.Status, Code: e.Code, Message: e.Message, Mend: e.Mend, RetryAfter: e.RetryAfter}
	}
	return &apiError{Status: http.StatusInternalServerError, Code: "store", Message: "the store failed: " + err.Error(), Mend: "the server's log and /metrics say more"}
}

// writeError answers with err, as what nothing was written of yet.
func writeError(w http.ResponseWriter, err error) {
	e := asError(err)
	text := errorLine(w, e)
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(text, '\n')) // what can fail is the connection
}
