package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// fewContext is how many events are shown on each side of one when the request does not say.
const fewContext = 10

// contextRequest is a request for an event and its neighbours.
type contextRequest struct {
	id            uint64
	before, after int
	by            query.ContextBy
	beside        *query.Query
}

// everything is the query of an answer that is not about one.
var everything = func() *query.Query {
	q, err := query.Parse("")
	if err != nil {
		panic(err) // the language's
	}
	return q
}()

// context answers with an event and its neighbours, by default those of the same source, which are those that a search with before
// and after shows around it: by time, and by sequence at the same time.
func (a *API) context(w http.ResponseWriter, r *http.Request) {
	c, err := readContext(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	start, newest := time.Now(), a.o.Store.LastSeq()
	found, sum, err := a.pin(r.Context(), c.id)
	if err != nil {
		writeError(w, err)
		return
	}
	var sides [2][][]byte
	for i, n := range [...]int{c.before, c.after} {
		var s query.Summary
		if sides[i], s, err = a.beside(r.Context(), found, &c, n, i == 0, newest); err != nil {
			writeError(w, err)
			return
		}
		sum.Events, sum.Bytes, sum.Blocks, sum.Pruned = sum.Events+s.Events, sum.Bytes+s.Bytes, sum.Blocks+s.Blocks, sum.Pruned+s.Pruned
		for _, reason := range s.Reasons {
			if !slices.Contains(sum.Reasons, reason) {
				sum.Reasons = append(sum.Reasons, reason)
			}
		}
	}
	sum.Complete, sum.Sequence = len(sum.Reasons) == 0, newest
	slices.Reverse(sides[0])

	out := newStream(w)
	defer out.end()
	own := appendRow(nil, query.Row{Event: found, Group: 1}, true)
	// What can fail is the connection.
	for _, row := range slices.Concat(sides[0], [][]byte{own}, sides[1], [][]byte{summaryLine(summaryOf(everything, &sum, time.Since(start)))}) {
		_ = out.line(row)
	}
}

func readContext(w http.ResponseWriter, r *http.Request) (c contextRequest, err error) {
	p, err := readParams(w, r, "id", "before", "after", "context_by", "reports")
	if err != nil {
		return c, err
	}
	if c.id, err = p.number("id", math.MaxUint64); err == nil && c.id == 0 {
		err = badParameter("id", "is not an event's", "give the id that a search shows with each event")
	}
	for _, side := range []struct {
		name string
		n    *int
	}{{"before", &c.before}, {"after", &c.after}} {
		*side.n = fewContext
		if p[side.name] != "" && err == nil {
			var n uint64
			n, err = p.number(side.name, maxContext)
			*side.n = int(n)
		}
	}
	if err == nil {
		c.by, err = p.contextBy()
	}
	if _, flagErr := p.flag("reports"); err == nil {
		err = flagErr
	}
	c.beside = p.beside(c.by)
	return c, err
}

// pin returns the event with the id.
func (a *API) pin(ctx context.Context, id uint64) (found *event.Event, s query.Summary, err error) {
	s, err = a.search(ctx, query.Request{MinSeq: id, MaxSeq: id, Limit: 1}, func(row query.Row) error {
		found = clone(row.Event)
		return nil
	})
	switch {
	case err != nil:
		return nil, s, err
	case found == nil && len(s.Reasons) > 0:
		return nil, s, &apiError{Status: http.StatusInternalServerError, Code: "store", Message: fmt.Sprintf("event %d was not found, and parts of the store cannot be read: %s", id, strings.Join(s.Reasons, "; ")),
			Mend: "the server's log and /metrics say more"}
	case found == nil:
		return nil, s, &apiError{Status: http.StatusNotFound, Code: "no_event", Field: "id", Message: fmt.Sprintf("there is no event %d", id), Mend: "give the id that a search shows with each event"}
	}
	return found, s, nil
}

// clone returns a copy of an event that stays when the search goes on.
func clone(e *event.Event) *event.Event {
	encoded := event.AppendEvent(nil, e)
	c := &event.Event{}
	if _, err := event.Decode(encoded, c); err != nil {
		panic(err) // it was encoded a line above
	}
	c.Seq, c.Received = e.Seq, e.Received
	return c
}

// beside returns the rows of at most n neighbours of e before or after it, the nearest first, ready to be written.
func (a *API) beside(ctx context.Context, e *event.Event, c *contextRequest, n int, before bool, newest uint64) (rows [][]byte, s query.Summary, err error) {
	key, ok := c.by.AppendKey(nil, e)
	if n == 0 || !ok {
		return nil, s, nil
	}
	r := query.Request{Newest: before, MaxSeq: newest}
	if r.Query, _ = c.by.Query(e); c.beside != nil && c.beside.Match(e) { // a report's neighbours may be reports
		r.Query = query.Both(r.Query, c.beside)
	}
	if before {
		r.Until = e.Time + min(1, math.MaxInt64-e.Time)
	} else {
		r.Since = e.Time
	}
	size := 0
	var name []byte
	s, err = a.search(ctx, r, func(row query.Row) error {
		o := row.Event
		earlier := o.Time < e.Time || o.Time == e.Time && o.Seq < e.Seq
		if o.Seq == e.Seq || earlier != before {
			return nil
		}
		if name, ok = c.by.AppendKey(name[:0], o); !ok || !bytes.Equal(name, key) {
			return nil
		}
		text := appendRow(nil, query.Row{Event: o, Context: true, Group: 1}, true)
		if size += len(text); size > maxLastBytes && len(rows) > 0 {
			return errLong
		}
		if rows = append(rows, text); len(rows) == n {
			return errEnough
		}
		return nil
	})
	switch {
	case errors.Is(err, errEnough):
		err = nil
	case errors.Is(err, errLong):
		s.Reasons, err = append(s.Reasons, fmt.Sprintf("only %d events are shown on one side: more are longer than %d MiB together", len(rows), maxLastBytes>>20)), nil
	}
	return rows, s, err
}

// What ends a search for neighbours: there are as many as were asked for, or they are too long together.
var (
	errEnough = errors.New("enough")
	errLong   = errors.New("too long")
)
