package sdk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// QueryRequest is one search.
type QueryRequest struct {
	// Query is an expression of lookout's query language; empty selects everything.
	Query string
	// Since and Until bound the events' time: since inclusive, until exclusive; the zero time leaves that side open.
	Since, Until time.Time
	// Limit ends the search after so many matches; 0 for no limit.
	Limit int
	// Newest delivers newest first (with Limit: the newest ones); otherwise oldest first, by time and order of arrival.
	Newest bool
	// CountOnly asks for the summary alone.
	CountOnly bool
	// Before and After ask for so many events around each match. Rows then come in groups.
	Before, After int
	// ContextBy says which events are neighbours: those of the same source (service, env, host and container; the default),
	// service, host, all, or those with the same value of a field, by its name.
	ContextBy string
	// AfterSequence leaves out the event of this sequence and those that arrived before it, MaxSequence those that arrived after
	// this one; 0 leaves out none.
	AfterSequence, MaxSequence uint64
	// NoReports leaves out what probes and containers say regularly (results, measurements), unless Query names a service
	// or a stream.
	NoReports bool
	// Cursor goes on where an answer of the same request ended: it is that one's Summary.Next. Only Limit may differ. What arrived
	// since the first page is left out. See [Client.QueryPages].
	Cursor string
}

func (q *QueryRequest) params() url.Values {
	v := url.Values{"q": {q.Query}}
	setTime := func(name string, t time.Time) {
		if !t.IsZero() {
			v.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	setInt := func(name string, n int) {
		if n != 0 {
			v.Set(name, strconv.Itoa(n))
		}
	}
	setTime("since", q.Since)
	setTime("until", q.Until)
	setInt("limit", q.Limit)
	setInt("before", q.Before)
	setInt("after", q.After)
	if q.ContextBy != "" {
		v.Set("context_by", q.ContextBy)
	}
	if q.Newest {
		v.Set("order", "newest")
	}
	if q.CountOnly {
		v.Set("count", "true")
	}
	if q.NoReports {
		v.Set("reports", "false")
	}
	if q.AfterSequence != 0 {
		v.Set("after_sequence", strconv.FormatUint(q.AfterSequence, 10))
	}
	if q.Cursor != "" {
		v.Set("cursor", q.Cursor)
	}
	if q.MaxSequence != 0 {
		v.Set("sequence", strconv.FormatUint(q.MaxSequence, 10))
	}
	return v
}

// Summary is what a search looked at and found.
type Summary struct {
	Matched int64 // matches delivered, or counted
	Events  int64 // events looked at, or ruled out by their bytes
	Bytes   int64 // bytes of these events, uncompressed
	Blocks  int   // blocks of the store read
	Pruned  int   // blocks that needed no reading
	// Scan says why they needed none; a server of an older version does not say.
	Scan Scan
	// Sequence is the newest event the search could see: [Client.Tail] goes on behind it.
	Sequence uint64
	Took     time.Duration    // on the server
	Services map[string]int64 // matches by service
	Warnings []string         // about the query: a field that no event has, …
	// Next is the Cursor for what follows, when the answer ended because of its Limit: there may be more. Empty otherwise, and always
	// with Before or After.
	Next string
}

// Scan says how a search dealt with the blocks of the store.
type Scan struct {
	Segments int `json:"segments"` // files that hold the blocks
	Range    int `json:"range"`    // blocks ruled out by time or service
	Filter   int `json:"filter"`   // by a filter of tokens and values
	Forms    int `json:"forms"`    // because no form of text, level or field in them can match
	Counted  int `json:"counted"`  // answered from what is known of them
}

type wireSummary struct {
	Searched struct {
		Events int64 `json:"events"`
		Bytes  int64 `json:"bytes"`
		Blocks int   `json:"blocks"`
		Pruned int   `json:"pruned"`
		Scan
	} `json:"searched"`
	Matched  int64            `json:"matched"`
	Complete bool             `json:"complete"`
	Reasons  []string         `json:"reasons"`
	Budget   string           `json:"budget"`
	Cut      time.Time        `json:"cut"`
	Sequence uint64           `json:"sequence"`
	TookMS   float64          `json:"took_ms"`
	Services map[string]int64 `json:"services"`
	Warnings []string         `json:"warnings"`
	Next     string           `json:"next"`
}

// summary returns the summary; an answer that is not complete is an error besides.
func (w *wireSummary) summary() (Summary, error) {
	s := Summary{
		Matched: w.Matched, Events: w.Searched.Events, Bytes: w.Searched.Bytes, Blocks: w.Searched.Blocks, Pruned: w.Searched.Pruned, Scan: w.Searched.Scan,
		Sequence: w.Sequence, Took: time.Duration(w.TookMS * float64(time.Millisecond)), Services: w.Services, Warnings: w.Warnings, Next: w.Next,
	}
	if !w.Complete {
		return s, &IncompleteError{Reasons: w.Reasons, Budget: w.Budget, Cut: w.Cut}
	}
	return s, nil
}

// Rows is the answer to a search, read as it comes. It is not safe for concurrent use.
type Rows struct {
	c       *Client
	ctx     context.Context
	cancel  context.CancelFunc
	body    io.Closer
	lines   lineReader
	line    line
	done    bool
	err     error
	summary Summary
}

// Query starts a search. The rows must be closed or read to their end; closing them earlier, or ending ctx, stops the
// work on the server. A query that cannot be read is an [*Error] with its place.
func (c *Client) Query(ctx context.Context, q QueryRequest) (*Rows, error) {
	return c.rows(ctx, request{method: http.MethodPost, path: "/api/v1/query", params: q.params()})
}

func (c *Client) rows(ctx context.Context, r request) (*Rows, error) {
	ctx, cancel := context.WithCancel(ctx)
	resp, err := c.do(ctx, r)
	if err != nil {
		cancel()
		return nil, err
	}
	return &Rows{c: c, ctx: ctx, cancel: cancel, body: resp.Body, lines: newLineReader(resp.Body)}, nil
}

// QueryPages returns all rows of a request, asked for in pages of size rows, so that no request takes longer than the server allows. Later
// pages leave out what arrived after the first, and q.Limit bounds them all together. Leaving the range statement ends it; the last pair
// has an error when not all came.
func (c *Client) QueryPages(ctx context.Context, q QueryRequest, size int) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		for left := q.Limit; ; {
			if q.Limit = size; left > 0 {
				q.Limit = min(size, left)
			}
			rows, err := c.Query(ctx, q)
			if err != nil {
				yield(nil, err)
				return
			}
			came := 0
			for row, err := range rows.All() {
				came++
				if !yield(row, err) || err != nil {
					return
				}
			}
			if q.Cursor = rows.Summary().Next; q.Cursor == "" || left > 0 && came >= left {
				return
			}
			left -= min(came, left)
		}
	}
}

// ContextRequest asks for an event and those around it.
type ContextRequest struct {
	ID string // of the event
	// Before and After are how many events to show on each side, at most 1000.
	Before, After int
	ContextBy     string // as in [QueryRequest]
	// NoReports leaves out what probes and containers say regularly, unless the event is such a report.
	NoReports bool
}

// Context returns an event and its neighbours, in order of time. An id that no event has is an [*Error] with Status 404.
func (c *Client) Context(ctx context.Context, q ContextRequest) (*Rows, error) {
	v := url.Values{"id": {q.ID}, "before": {strconv.Itoa(q.Before)}, "after": {strconv.Itoa(q.After)}}
	if q.ContextBy != "" {
		v.Set("context_by", q.ContextBy)
	}
	if q.NoReports {
		v.Set("reports", "false")
	}
	return c.rows(ctx, request{method: http.MethodGet, path: "/api/v1/context", params: v})
}

// Count is [Client.Query] for the summary alone.
func (c *Client) Count(ctx context.Context, q QueryRequest) (Summary, error) {
	q.CountOnly = true
	rows, err := c.Query(ctx, q)
	if err != nil {
		return Summary{}, err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Summary(), rows.Err()
}

// Next goes to the next row; false at the end, and then [Rows.Err] tells whether all came.
func (r *Rows) Next() bool {
	if r.done {
		return false
	}
	text, err := r.lines.next()
	if err != nil {
		if err == io.EOF {
			err = errors.New("it ended without a summary")
		}
		return r.end(&Error{Code: CodeBroken, Message: fmt.Sprintf("the answer of %s broke off: %v", r.c.base, err), Mend: "the result is incomplete, search again", Err: err})
	}
	if err := parseLine(text, &r.line); err != nil {
		return r.end(r.c.notOurs("an answer that is not the API's"))
	}
	switch l := &r.line; {
	case l.isRow:
		return true
	case l.err != nil:
		return r.end(l.err.error(0))
	case l.summary != nil:
		var err error
		r.summary, err = l.summary.summary()
		return r.end(err)
	}
	return r.end(r.c.notOurs("a line that does not belong into the answer of a search"))
}

// end finishes the answer with err, or with the context's error when that is why.
func (r *Rows) end(err error) bool {
	var incomplete *IncompleteError
	if ctxErr := r.ctx.Err(); err != nil && ctxErr != nil && !errors.As(err, &incomplete) {
		err = ctxErr
	}
	r.err = err
	r.Close()
	return false
}

// Row returns the row that [Rows.Next] went to. It is valid until the next call of Next; a copy of it stays valid.
func (r *Rows) Row() *Row { return &r.line.row }

// Err returns why the rows ended before all had come, nil when all came: an [*IncompleteError] when the server could not
// read a part, otherwise what broke the answer off.
func (r *Rows) Err() error { return r.err }

// Summary returns what the server says at the end of the answer; its zero value before that, or when it never came.
func (r *Rows) Summary() Summary { return r.summary }

// Close ends the search, on the server too. It may be called more than once.
func (r *Rows) Close() error {
	if !r.done {
		r.done = true
		r.cancel()
		return r.body.Close()
	}
	return nil
}

// All returns the rows for a range statement; leaving it closes them. The last pair has an error when not all came.
func (r *Rows) All() iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		defer r.Close()
		for r.Next() {
			if !yield(r.Row(), nil) {
				return
			}
		}
		if r.err != nil {
			yield(nil, r.err)
		}
	}
}

// maxLine is the longest line of an answer: the longest event, with every byte escaped, and room.
const maxLine = 32 << 20

type lineReader struct {
	r    *bufio.Reader
	long []byte
}

func newLineReader(r io.Reader) lineReader {
	return lineReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line without its newline. A last line without a newline was cut off: io.ErrUnexpectedEOF.
func (l *lineReader) next() (string, error) {
	l.long = l.long[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		switch {
		case err == nil && len(l.long) == 0:
			return string(part[:len(part)-1]), nil
		case err == nil:
			l.long = append(l.long, part...)
			return string(l.long[:len(l.long)-1]), nil
		case err == bufio.ErrBufferFull:
			if l.long = append(l.long, part...); len(l.long) > maxLine {
				return "", fmt.Errorf("a line of more than %d MiB", maxLine>>20)
			}
		case err == io.EOF && len(part)+len(l.long) > 0:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}
