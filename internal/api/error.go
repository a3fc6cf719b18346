package api

import (
	"encoding/json"
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
	// Of a query that does not parse: its text and the byte offsets of the place.
	Position *int    `json:"position,omitempty"`
	End      *int    `json:"end,omitempty"`
	Text     *string `json:"text,omitempty"`
}

func (e *apiError) Error() string { return e.Message + "; " + e.Mend }

// body is the error as one line, without a newline.
func (e *apiError) body() []byte {
	b, err := json.Marshal(map[string]*apiError{"error": e})
	if err != nil {
		panic(err) // texts and numbers
	}
	return b
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
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	w.WriteHeader(e.Status)
	_, _ = w.Write(append(e.body(), '\n')) // what can fail is the connection
}
