package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/tail"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/event"
)

const tailPath = "/api/v1/tail"

// A live tail says its position so often; last=N asks for at most so many events, which are at most so long together.
const (
	positionEvery = 10 * time.Second
	maxLast       = 10_000
	maxLastBytes  = 16 << 20
	maxFromClient = 4 << 10 // a WebSocket's client has nothing to say
	silentClient  = 30 * time.Second
)

// follow is the parameters of a live tail.
type follow struct {
	query *query.Query
	after uint64 // the sequence to go on behind
	last  int
	skip  bool // when it cannot keep up it leaves out events, and says which
}

func (a *API) readFollow(w http.ResponseWriter, r *http.Request) (f follow, err error) {
	p, err := readParams(w, r, "q", "after", "last", "slow", "reports")
	if err != nil {
		return f, err
	}
	if f.query, err = p.query(); err != nil {
		return f, err
	}
	last, err := p.number("last", maxLast)
	if err != nil {
		return f, err
	}
	f.last = int(last)
	switch p["slow"] {
	case "":
		f.skip = websocket.IsWebSocketUpgrade(r)
	case "wait":
	case "skip":
		f.skip = true
	default:
		return f, badParameter("slow", "is neither wait nor skip", "write wait for every event, however late, or skip for the newest, with a word about what is left out")
	}
	newest := a.o.Store.LastSeq()
	if p["after"] == "" {
		f.after = newest
		return f, nil
	}
	if f.after, err = p.number("after", math.MaxUint64); err != nil {
		return f, err
	}
	switch {
	case f.last > 0:
		return f, badParameter("last", "and after exclude each other", "give one of them")
	case f.after > newest:
		return f, badParameter("after", fmt.Sprintf("is beyond the newest event, %d: this store is not the one it comes from", newest), "begin again without after")
	}
	return f, nil
}

func (a *API) tail(w http.ResponseWriter, r *http.Request) {
	f, err := a.readFollow(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	release, err := a.openTail()
	if err != nil {
		writeError(w, err)
		return
	}
	defer release()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(a.closing, cancel)()
	if websocket.IsWebSocketUpgrade(r) {
		a.tailSocket(ctx, cancel, w, r, f)
		return
	}
	out := newStream(w)
	defer out.end()
	if err := a.follow(ctx, f, out); err != nil {
		out.fail(err)
	}
}

// ended is the error of a request whose session ended or whose token was revoked before it ended, nil for any other.
func ended(ctx context.Context) error {
	if e := (*auth.Error)(nil); errors.As(context.Cause(ctx), &e) {
		return asError(e)
	}
	return nil
}

// lines is where a live tail goes. A line may wait until flushNow. Their errors are those of the connection.
type lines interface {
	line(text []byte) error
	flushNow() error
}

// follow writes the last events, then what comes, until ctx ends or the client is gone (nil), or something else ends it.
func (a *API) follow(ctx context.Context, f follow, out lines) error {
	notes, err := a.writeLast(ctx, f, out)
	if err := ended(ctx); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errStopping // or the client is gone, and reads nothing
	}
	if err != nil {
		return err
	}
	var buf []byte
	t := a.hub.Open(f.after, f.skip)
	defer t.Close()
	position := func(notes []string) error {
		if err := out.line(appendPosition(buf[:0], t.Position(), notes)); err != nil {
			return err
		}
		return out.flushNow()
	}
	behind := f.after < a.o.Store.LastSeq()
	if position(notes) != nil {
		return nil
	}
	said, sent := time.Now(), 0
	for {
		wait, cancel := context.WithDeadline(ctx, said.Add(positionEvery))
		batch, err := t.Next(wait)
		cancel()
		var gap *query.GapError
		var skipped *tail.SkippedError
		switch {
		case errors.As(err, &gap):
			// The position stands behind the gap: a client that comes back with it goes on there.
			if position(nil) != nil {
				return nil
			}
			return &apiError{Code: "gap", Message: fmt.Sprintf("the events %d to %d cannot be read: %v", gap.From, gap.To, gap.Err),
				Mend: fmt.Sprintf("follow again with after=%d to go on behind them", max(gap.To, t.Position()))}
		case errors.As(err, &skipped):
			if buf, err = a.appendSkipped(ctx, buf[:0], f.query, skipped); err != nil {
				return err
			}
			if len(buf) > 0 && out.line(buf) != nil {
				return nil
			}
		case err != nil && ctx.Err() == nil && !errors.Is(wait.Err(), context.DeadlineExceeded):
			return asError(err)
		case batch != nil:
			for i := range batch.Events {
				if !f.query.Match(&batch.Events[i]) {
					continue
				}
				if buf = batch.AppendLine(buf[:0], i, appendTailRow); out.line(buf) != nil {
					return nil
				}
				sent++
			}
		}
		a.metrics.tailSent.Add(float64(sent))
		sent = 0
		if ctx.Err() != nil { // only now: the position is behind these events
			_ = position(nil) // so that a client knows where to go on when the server stops
			return ended(ctx)
		}
		caughtUp := behind && t.Position() >= a.o.Store.LastSeq()
		switch {
		case caughtUp || time.Since(said) >= positionEvery:
			said, behind = time.Now(), behind && !caughtUp
			err = position(nil)
		case !t.Ready():
			err = out.flushNow()
		default:
			err = nil // what follows at once is written with it
		}
		if err != nil {
			return nil
		}
	}
}

// appendTailRow appends a row of a live tail.
func appendTailRow(dst []byte, e *event.Event) []byte {
	return appendRow(dst, query.Row{Event: e}, false)
}

// appendSkipped appends the line that says what a tail left out, nothing when none of it matches. A search of the same range finds
// exactly these events, because such a search counts them.
func (a *API) appendSkipped(ctx context.Context, dst []byte, q *query.Query, s *tail.SkippedError) ([]byte, error) {
	select {
	case a.counting <- struct{}{}:
		defer func() { <-a.counting }()
	case <-ctx.Done():
		return dst, errStopping
	}
	var sum query.Summary
	for {
		var err error
		sum, err = a.whole.Search(ctx, query.Request{Query: q, MinSeq: s.After + 1, MaxSeq: s.To, CountOnly: true}, func(query.Row) error { return nil })
		switch {
		case ctx.Err() != nil:
			return dst, cmp.Or(ended(ctx), error(errStopping))
		case err != nil:
			a.o.Log.Error("a live tail failed: what it left out cannot be counted", "error", err)
			return dst, asError(err)
		}
		if sum.Sequence >= s.To {
			break
		}
		select {
		case <-time.After(time.Millisecond): // a follower may see events a moment before searches do
		case <-ctx.Done():
		}
	}
	if sum.Matched == 0 && sum.Complete {
		return dst, nil
	}
	a.metrics.tailSkipped.Add(float64(sum.Matched))
	dst = strconv.AppendInt(append(dst, `{"skipped":{"events":`...), sum.Matched, 10)
	dst = strconv.AppendUint(append(dst, `,"after":`...), s.After, 10)
	dst = strconv.AppendUint(append(dst, `,"to":`...), s.To, 10)
	if !sum.Complete {
		dst = append(dst, `,"complete":false`...)
	}
	return append(dst, "}}"...), nil
}

// writeLast writes the newest events up to where following begins, oldest first, and returns what is to be said about
// them. An error of the connection is not returned: following meets it again.
func (a *API) writeLast(ctx context.Context, f follow, out lines) (notes []string, err error) {
	if f.last == 0 || f.after == 0 { // sequence 0: there is nothing yet, and MaxSeq 0 would mean "up to now"
		return nil, nil
	}
	var rows []byte
	var ends []int
	summary, err := a.search(ctx, query.Request{Query: f.query, Limit: f.last, Newest: true, MaxSeq: f.after}, func(row query.Row) error {
		start := len(rows)
		if rows = appendRow(rows, row, false); len(rows) > maxLastBytes && len(ends) > 0 {
			rows = rows[:start]
			return errLong
		}
		ends = append(ends, len(rows))
		return nil
	})
	switch {
	case errors.Is(err, errLong):
		notes = append(notes, fmt.Sprintf("only the newest %d events are shown: more are longer than %d MiB together", len(ends), maxLastBytes>>20))
	case err != nil:
		return nil, err
	}
	notes = append(append(notes, warnings(f.query, &summary)...), summary.Reasons...)
	for i := len(ends) - 1; i >= 0; i-- {
		start := 0
		if i > 0 {
			start = ends[i-1]
		}
		if out.line(rows[start:ends[i]]) != nil {
			break
		}
	}
	return notes, nil
}

func appendPosition(dst []byte, sequence uint64, notes []string) []byte {
	dst = append(dst, `{"position":{"sequence":`...)
	dst = strconv.AppendUint(dst, sequence, 10)
	if len(notes) > 0 {
		text, err := json.Marshal(notes)
		if err != nil {
			panic(err) // texts
		}
		dst = append(append(dst, `,"warnings":`...), text...)
	}
	return append(dst, "}}"...)
}

// socket is a live tail over a WebSocket: each line is a text message.
type socket struct{ conn *websocket.Conn }

func (s socket) line(text []byte) error {
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTime)) // it never fails
	return s.conn.WriteMessage(websocket.TextMessage, text)
}

func (s socket) flushNow() error { return nil }

// A page of another origin must not read along with a visitor's rights: the Origin a browser sends equals the Host. Package
// auth sees to it before it looks at the token, and the upgrader again. Programs send none.
var upgrader = websocket.Upgrader{
	HandshakeTimeout: writeTime,
	ReadBufferSize:   1 << 10,
	WriteBufferSize:  32 << 10,
	Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
		writeError(w, &apiError{Status: status, Code: "bad_websocket", Message: reason.Error(), Mend: "begin the WebSocket as RFC 6455 has it, version 13"})
	},
}

// tailSocket follows over a WebSocket. The connection belongs to it: net/http no longer sees the client go.
func (a *API) tailSocket(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, r *http.Request, f follow) {
	conn, err := upgrader.Upgrade(w, r, http.Header{"X-Request-Id": w.Header()["X-Request-Id"]})
	if err != nil {
		return // answered
	}
	finished := make(chan struct{})
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel()
	defer conn.Close()
	defer close(finished)
	conn.SetReadLimit(maxFromClient)
	alive := func(string) error { return conn.SetReadDeadline(time.Now().Add(silentClient)) }
	conn.SetPongHandler(alive)
	_ = alive("")
	helpers.Go(func() {
		defer cancel()
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	})
	helpers.Go(func() {
		ping := time.NewTicker(positionEvery)
		defer ping.Stop()
		for {
			select {
			case <-ping.C:
				_ = conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(stopTime)) // one that is gone is seen by its silence
				continue
			case <-ctx.Done(): // the client is gone, or the server stops: a write that hangs must not hold it up
			}
			select {
			case <-time.After(stopTime):
				conn.NetConn().Close()
			case <-finished:
			}
			return
		}
	})

	out := socket{conn}
	code := websocket.CloseGoingAway
	if err := a.follow(ctx, f, out); err != nil {
		code = websocket.CloseInternalServerErr
		if ended(ctx) != nil {
			code = websocket.ClosePolicyViolation
		}
		_ = out.line(errorLine(w, err)) // what can fail is the connection
	}
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(stopTime))
}
