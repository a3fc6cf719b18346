package sdk

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Codes of an [*Error] that the client gives itself; all others are the server's (bad_query, unauthorized, …).
const (
	CodeUnreachable = "unreachable" // nothing was sent: no connection came about
	CodeNoAnswer    = "no_answer"   // the connection broke; whether the server took the request is not known
	CodeBroken      = "broken"      // the answer began and broke off
	CodeNotLookout  = "not_lookout" // what answered does not speak lookout's API
)

// Error is an answer that the server refused, or that did not come.
type Error struct {
	// Status is HTTP's, 0 when there was no answer or the error came in the middle of one.
	Status int
	// Code names the kind: the server's, or one of the constants.
	Code string
	// Message says what is wrong, Mend what to do about it; Mend may be empty.
	Message, Mend string
	// Text is the query the error is about, empty when it is not about a query; Position and End are the byte offsets
	// of the place in it.
	Text          string
	Position, End int
	// RetryAfter is how long the server asked to wait, 0 when it did not.
	RetryAfter time.Duration
	// Err is the cause when the client made the error.
	Err error
	// RequestID is what the server's log calls the request.
	RequestID string

	counts *eventsAnswer // what the server did before the error, of a request with events
}

// Error returns one line: what is wrong, and the mend.
func (e *Error) Error() string {
	if e.Mend == "" {
		return e.Message
	}
	return e.Message + "; " + e.Mend
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// IncompleteError says that the server could not read a part of what it was asked for, or that the search reached one of the
// server's limits. All that was found came before it.
type IncompleteError struct {
	Reasons []string
	// Budget is the limit that was reached: [BudgetScan], the bytes of events that a search may look at, or [BudgetMemory]; empty
	// for none.
	Budget string
	// Cut is where rows begin to be left out because the search had looked at as much as it may; zero when that is not why. With
	// the oldest first, a search with Since: Cut goes on behind the rows that came.
	Cut time.Time
}

// The limits of a search that [IncompleteError] names.
const (
	BudgetScan   = "scan"
	BudgetMemory = "memory"
)

func (e *IncompleteError) Error() string {
	if len(e.Reasons) == 0 {
		return "the result is incomplete"
	}
	return "the result is incomplete: " + strings.Join(e.Reasons, "; ")
}

// wireError is an error as the server writes it.
type wireError struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Mend     string `json:"mend"`
	Text     string `json:"text"`
	Position int    `json:"position"`
	End      int    `json:"end"`
	Request  string `json:"request_id"`
}

func (w *wireError) error(status int) *Error {
	e := &Error{Status: status, Code: w.Code, Message: w.Message, Mend: w.Mend, Text: w.Text, Position: w.Position, End: w.End, RequestID: w.Request}
	// A position outside of the text would make whoever points at it fail.
	e.Position = min(max(e.Position, 0), len(e.Text))
	e.End = min(max(e.End, e.Position), len(e.Text))
	return e
}

// transportError words what net/http says when no answer came.
func (c *Client) transportError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if isDial(err) {
		return &Error{
			Code:    CodeUnreachable,
			Message: fmt.Sprintf("cannot connect to %s: %v", c.base, err),
			Mend:    "is `lookout serve` running there? set LOOKOUT_URL to the server's address",
			Err:     err,
		}
	}
	return &Error{Code: CodeNoAnswer, Message: fmt.Sprintf("no answer from %s: %v", c.base, err), Err: err}
}

// isDial tells whether err came before a connection was there, so that nothing can have been sent.
func isDial(err error) bool {
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &cert) || errors.As(err, &record)
}

// answerError reads the error out of an answer that is not 200.
func (c *Client) answerError(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var w struct {
		Error *wireError `json:"error"`
		eventsAnswer
	}
	var e *Error
	if json.Unmarshal(body, &w) == nil && w.Error != nil && w.Error.Message != "" {
		e = w.Error.error(resp.StatusCode)
		if w.Accepted != nil {
			e.counts = &w.eventsAnswer
		}
	} else {
		e = &Error{Status: resp.StatusCode, Code: CodeNotLookout, Message: fmt.Sprintf("%s answered %s", c.base, resp.Status)}
		if resp.StatusCode < 500 {
			e.Mend = "is this the address of a lookout server?"
		}
	}
	e.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), time.Now())
	return e
}

// notOurs is the error of an answer with status 200 that the API does not know.
func (c *Client) notOurs(what string) error {
	return &Error{
		Status:  http.StatusOK,
		Code:    CodeNotLookout,
		Message: fmt.Sprintf("%s gave %s", c.base, what),
		Mend:    "is this the address of a lookout server, of a version that fits?",
	}
}
