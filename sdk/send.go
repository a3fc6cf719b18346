package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// A request's limits: what fits is sent together. The server takes 64 MiB; smaller requests are durable sooner.
const (
	batchBytes  = 4 << 20
	batchEvents = 10_000
	maxRequest  = 64 << 20
)

// SendOptions belong to all events of one call.
type SendOptions struct {
	// Service is for the events that name none.
	Service string
	// Producer names who counts these events; First is the producer's count of the first one, from 1. Every event takes a
	// number, a rejected one too, and no number is used for another event. The server drops what it has already had, so
	// sending again after an error or a restart is harmless. Without a producer, a request whose answer was lost is not
	// repeated, since that could store its events twice; but only then are stack traces that come line by line joined.
	Producer string
	First    uint64
	// Exact says that the events are what a server had stored: names that other loggers use for a time, level or message are extra
	// fields like any other, and messages are not searched for levels, times and fields.
	Exact bool
}

// SendResult says what became of the events.
type SendResult struct {
	Accepted int64 // durable on the server
	Rejected int64
	// Errors are the first of the rejected lines and why.
	Errors []LineError
	// Next is the producer's count of the event after the last one.
	Next uint64
}

// LineError says why one line, or event, was not taken. Line counts from 1 over the whole call, empty lines too.
type LineError struct {
	Line    int64
	Message string
}

// maxLineErrors bounds SendResult.Errors, as the server does for one request.
const maxLineErrors = 20

// Send sends events and returns when they are durable on the server. With an error, the result says what was accepted
// before it; what comes after that may be sent again.
func (c *Client) Send(ctx context.Context, events []Event, o SendOptions) (SendResult, error) {
	s := c.newSender(o)
	for i := range events {
		var err error
		if s.buf, err = appendEvent(s.buf, &events[i]); err != nil {
			return s.result, fmt.Errorf("event %d: %w", i+1, err)
		}
		s.line++
		if err := s.added(ctx); err != nil {
			return s.result, err
		}
	}
	return s.result, s.flush(ctx)
}

// SendNDJSON sends the lines of r, each a JSON object as the server's API takes it, and returns when all are durable. Lines
// are sent as they come: whatever was read while one request was under way makes the next. When ctx ends, SendNDJSON
// returns, but a Read of r that waits for input is left behind.
func (c *Client) SendNDJSON(ctx context.Context, r io.Reader, o SendOptions) (SendResult, error) {
	return c.sendLines(ctx, r, o, func(dst, line []byte) ([]byte, error) { return append(append(dst, line...), '\n'), nil })
}

// SendLines is [Client.SendNDJSON] for plain text: each line that is not empty becomes the message of an event like the one
// given.
func (c *Client) SendLines(ctx context.Context, r io.Reader, like Event, o SendOptions) (SendResult, error) {
	return c.sendLines(ctx, r, o, func(dst, line []byte) ([]byte, error) {
		like.Message = string(line)
		return appendEvent(dst, &like)
	})
}

func (c *Client) sendLines(ctx context.Context, r io.Reader, o SendOptions, encode func(dst, line []byte) ([]byte, error)) (SendResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks := readLines(ctx, r)
	s := c.newSender(o)
	for {
		var chunk linesRead
		var ok bool
		if s.events == 0 {
			select {
			case chunk, ok = <-chunks:
			case <-ctx.Done():
				return s.result, ctx.Err()
			}
		} else {
			select {
			case chunk, ok = <-chunks:
			case <-ctx.Done():
				return s.result, ctx.Err()
			default: // nothing waits: what is there goes out
				if err := s.flush(ctx); err != nil {
					return s.result, err
				}
				continue
			}
		}
		if !ok {
			return s.result, s.flush(ctx)
		}
		for len(chunk.lines) > 0 {
			line, rest, _ := bytes.Cut(chunk.lines, []byte{'\n'})
			chunk.lines = rest
			s.line++
			if line = bytes.TrimSuffix(line, []byte{'\r'}); len(bytes.TrimSpace(line)) == 0 {
				s.skipped = append(s.skipped, s.line)
				continue
			}
			var err error
			if s.buf, err = encode(s.buf, line); err != nil {
				return s.result, err
			}
			if err := s.added(ctx); err != nil {
				return s.result, err
			}
		}
		if chunk.err != nil {
			return s.result, errors.Join(s.flush(ctx), chunk.err)
		}
	}
}

// linesRead is some whole lines, and the error that came after them.
type linesRead struct {
	lines []byte
	err   error
}

// readLines reads r in a goroutine of its own and delivers whole lines; the channel is closed behind the last.
func readLines(ctx context.Context, r io.Reader) <-chan linesRead {
	chunks := make(chan linesRead, 16)
	go func() {
		defer close(chunks)
		deliver := func(l linesRead) bool {
			select {
			case chunks <- l:
				return true
			case <-ctx.Done():
				return false
			}
		}
		var tail []byte // the beginning of a line
		buf := make([]byte, 256<<10)
		for {
			n, err := r.Read(buf)
			if end := bytes.LastIndexByte(buf[:n], '\n'); end >= 0 {
				lines := append(tail, buf[:end+1]...)
				tail = append([]byte(nil), buf[end+1:n]...)
				if !deliver(linesRead{lines: lines}) {
					return
				}
			} else {
				tail = append(tail, buf[:n]...)
			}
			if err == nil && len(tail) > maxRequest {
				err = fmt.Errorf("a line of more than %d MiB", maxRequest>>20)
				tail = nil
			}
			if err != nil {
				if err == io.EOF {
					err = nil
				}
				deliver(linesRead{tail, err})
				return
			}
		}
	}()
	return chunks
}

type sender struct {
	c       *Client
	o       SendOptions
	buf     []byte
	room    []byte  // the memory of buf
	events  int     // in buf
	dealt   int64   // events that were in buf before them and are dealt with
	line    int64   // lines read
	first   int64   // the line that is the first in buf
	skipped []int64 // lines since then that are not in buf
	result  SendResult
}

func (c *Client) newSender(o SendOptions) *sender {
	s := &sender{c: c, o: o}
	if o.Producer != "" {
		s.result.Next = max(o.First, 1)
	}
	return s
}

// added takes note that line s.line is now the last in buf, and sends buf when it is full.
func (s *sender) added(ctx context.Context) error {
	if s.events == 0 {
		s.first, s.skipped, s.dealt = s.line, s.skipped[:0], 0
	}
	s.events++
	s.room = s.buf
	if len(s.buf) < batchBytes && s.events < batchEvents {
		return nil
	}
	return s.flush(ctx)
}

// lineOf returns which line read became line n of buf.
func (s *sender) lineOf(n int64) int64 {
	line := s.first + s.dealt + n - 1
	for _, skipped := range s.skipped {
		if skipped <= line {
			line++
		}
	}
	return line
}

// eventsAnswer is what the server says about a request's lines, in an error too: so many of the first are dealt with.
type eventsAnswer struct {
	Accepted *int64 `json:"accepted"`
	Rejected int64  `json:"rejected"`
	Errors   []struct {
		Line    int64  `json:"line"`
		Message string `json:"message"`
	} `json:"errors"`
}

// flush sends what is in buf, again and again while the server is under pressure and patience lasts. What the server has
// dealt with leaves buf, whatever comes after.
func (s *sender) flush(ctx context.Context) error {
	var waited time.Duration
	for try := 0; s.events > 0; try++ {
		err := s.request(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wait, ok := retryWait(err, try, s.o.Producer != "")
		if !ok || waited+wait > s.c.patience {
			return err
		}
		waited += wait
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// request makes one request with what is in buf.
func (s *sender) request(ctx context.Context) error {
	header := http.Header{"Content-Type": {"application/x-ndjson"}}
	if s.o.Service != "" {
		header.Set("Lookout-Service", s.o.Service)
	}
	if s.o.Producer != "" {
		header.Set("Lookout-Producer", s.o.Producer)
		header.Set("Lookout-First-Sequence", strconv.FormatUint(s.result.Next, 10))
	}
	if s.o.Exact {
		header.Set("Lookout-Exact", "true")
	}
	var answer eventsAnswer
	resp, err := s.c.once(ctx, request{method: http.MethodPost, path: "/api/v1/events", body: s.buf, header: header, whole: true})
	switch e := (*Error)(nil); {
	case err == nil:
		if json.NewDecoder(resp.Body).Decode(&answer) != nil || answer.Accepted == nil {
			return s.c.notOurs("an answer without a count of accepted events")
		}
	case errors.As(err, &e) && e.counts != nil:
		answer = *e.counts
	default:
		return err
	}
	accepted, rejected := max(*answer.Accepted, 0), max(answer.Rejected, 0)
	for _, e := range answer.Errors {
		if len(s.result.Errors) < maxLineErrors {
			s.result.Errors = append(s.result.Errors, LineError{s.lineOf(e.Line), e.Message})
		}
	}
	dealt := accepted + rejected
	if dealt > int64(s.events) || err == nil && dealt < int64(s.events) {
		return s.c.notOurs(fmt.Sprintf("an answer about %d events where %d were sent", dealt, s.events))
	}
	s.result.Accepted += accepted
	s.result.Rejected += rejected
	if s.o.Producer != "" {
		s.result.Next += uint64(dealt) // what was rejected has its place in the count
	}
	for range dealt {
		s.buf = s.buf[bytes.IndexByte(s.buf, '\n')+1:]
	}
	s.dealt += dealt
	if s.events -= int(dealt); s.events == 0 {
		s.buf, err = s.room[:0], nil // what was sent is dealt with, be it that none of it was any good
	}
	return err
}
