package sdk

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

// TailRequest says what to follow.
type TailRequest struct {
	// Query is an expression of lookout's query language; empty selects everything.
	Query string
	// After is the sequence to go on behind ([Summary.Sequence]); nil begins with what arrives from now on.
	After *uint64
	// NoReports is as in [QueryRequest].
	NoReports bool
	// OnSkip, when not nil, lets the server leave out events when the caller reads too slowly, and is told what was left out, in its
	// place between the rows, from the goroutine that reads them. Without it nothing is left out: the tail falls behind.
	OnSkip func(Skipped)
	// OnReconnect, when not nil, is told each time the connection is lost, and how long the client waits before it tries
	// again.
	OnReconnect func(err error, wait time.Duration)
}

// Skipped says that events were left out of a live tail. [Client.Query] with the same query, AfterSequence After and MaxSequence To
// finds exactly these.
type Skipped struct {
	// Events is how many that match were left out, of those with sequences above After up to To.
	Events    int64
	After, To uint64
	// Incomplete is true when a part of the range cannot be read: Events are the others.
	Incomplete bool
}

// silence is how long a live connection may be quiet: the server says its position every 10 s.
const silence = 35 * time.Second

// Tail follows the events that match, in order of arrival, as they become durable. It ends only with an error: ctx's, or
// one that trying again cannot mend (a wrong query, a wrong token, no server at the first try). A connection that is lost
// later is made again, and goes on behind the last position: nothing is left out and nothing comes twice. Events that the
// server has but cannot read are an [*IncompleteError] between the rows; a caller that goes on behind it gets what follows.
func (c *Client) Tail(ctx context.Context, r TailRequest) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		t := tail{c: c, r: r}
		if r.After != nil {
			t.position = *r.After
		} else {
			// Without a position of its own, a client whose first connection breaks early would not know where it was.
			s, err := c.Count(ctx, QueryRequest{Query: r.Query, Since: time.Now(), NoReports: r.NoReports})
			var incomplete *IncompleteError
			if err != nil && !errors.As(err, &incomplete) {
				yield(nil, err)
				return
			}
			t.position = s.Sequence
		}
		if err := t.run(ctx, yield); err != nil {
			yield(nil, err)
		}
	}
}

type tail struct {
	c        *Client
	r        TailRequest
	position uint64
}

// run returns nil when yield wants no more.
func (t *tail) run(ctx context.Context, yield func(*Row, error) bool) error {
	connected := false
	stuck := 0 // connections in a row that an error of the server ended before they got on
	for try := 0; ; try++ {
		from := t.position
		opened, err := t.connection(ctx, yield)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		connected = connected || opened
		if t.position > from {
			try, stuck = 0, 0
		} else if opened {
			stuck++
		}
		if !connected || !canMend(err, opened) || stuck > 2 && !lost(err) {
			return err
		}
		wait := backoff(try)
		var e *Error
		if errors.As(err, &e) {
			if e.Code == codeGap && t.position > from {
				// The server has gone behind the gap; the caller decides whether to.
				if !yield(nil, &IncompleteError{Reasons: []string{e.Message}}) {
					return nil
				}
				continue
			}
			if e.RetryAfter > 0 {
				wait = e.RetryAfter
			}
		}
		if t.r.OnReconnect != nil {
			t.r.OnReconnect(err, wait)
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// codeGap is the server's word for events it has but cannot read.
const codeGap = "gap"

// The server's words for whoever may not go on.
const (
	codeRevoked      = "token_revoked"
	codeSessionEnded = "session_ended"
)

// lost tells whether err is about the connection, not something that the server said.
func lost(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == CodeUnreachable || e.Code == CodeNoAnswer || e.Code == CodeBroken)
}

// canMend tells whether connecting again can help: what the server put into an open stream (it stops, the client was too
// slow) may be over next time, and so may be what is wrong with the server itself.
func canMend(err error, opened bool) bool {
	var e *Error
	if lost(err) {
		return true
	}
	if !errors.As(err, &e) {
		return false
	}
	if opened {
		return e.Status == 0 && e.Code != codeRevoked && e.Code != codeSessionEnded
	}
	return e.Status == http.StatusTooManyRequests || e.Status >= 500 && e.Status != http.StatusNotImplemented
}

// connection follows over one connection until it breaks. opened tells whether the server began to answer; err is nil when
// yield wants no more.
func (t *tail) connection(ctx context.Context, yield func(*Row, error) bool) (opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var quiet atomic.Bool
	watch := time.AfterFunc(silence, func() { quiet.Store(true); cancel() })
	defer watch.Stop()

	params := url.Values{"q": {t.r.Query}, "after": {strconv.FormatUint(t.position, 10)}}
	if t.r.NoReports {
		params.Set("reports", "false")
	}
	if t.r.OnSkip != nil {
		params.Set("slow", "skip")
	}
	resp, err := t.c.once(ctx, request{method: http.MethodGet, path: "/api/v1/tail", params: params})
	if err != nil {
		if quiet.Load() {
			err = &Error{Code: CodeNoAnswer, Message: "no answer from " + t.c.base}
		}
		return false, err
	}
	defer resp.Body.Close()
	lines := newLineReader(resp.Body)
	var l line
	for {
		watch.Reset(silence)
		text, err := lines.next()
		watch.Stop() // the time the caller takes is not the server's silence
		if err != nil {
			if quiet.Load() {
				err = errors.New("silent for " + silence.String())
			}
			return true, &Error{Code: CodeBroken, Message: "the connection to " + t.c.base + " is lost: " + err.Error(), Err: err}
		}
		if err := parseLine(text, &l); err != nil {
			return true, t.c.notOurs("an answer that is not the API's")
		}
		switch {
		case l.err != nil:
			return true, l.err.error(0)
		case l.position != nil:
			t.position = max(t.position, *l.position)
		case l.skipped != nil:
			if t.r.OnSkip == nil {
				return true, t.c.notOurs("a line about events left out, which was not asked for")
			}
			if l.skipped.To > t.position {
				t.position = l.skipped.To
				t.r.OnSkip(*l.skipped)
			}
		case l.isRow:
			sequence, err := strconv.ParseUint(l.row.ID, 10, 64)
			if err != nil {
				return true, t.c.notOurs("an event whose id is not a sequence")
			}
			if sequence <= t.position {
				continue
			}
			t.position = sequence
			if !yield(&l.row, nil) {
				return true, nil
			}
		default:
			return true, t.c.notOurs("a line that does not belong into a stream")
		}
	}
}
