// Package native takes events over HTTP as NDJSON: one JSON object a line, one event each. It is lookout's own protocol;
// the SDK, the CLI's send and anything that can POST use it.
//
// # Use
//
// [New] makes an http.Handler; internal/app mounts it as POST /api/v1/events behind the authentication.
//
//	curl --data-binary @app.ndjson -H "Authorization: Bearer $TOKEN" http://localhost:7171/api/v1/events
//	{"accepted":3,"rejected":1,"errors":[{"line":3,"message":"at byte 17: expected ':' after a key, found '}'"}]}
//
// The body may also be an array of objects, or several. Content-Encoding may be gzip, zstd or deflate (zlib). The
// Content-Type does not matter.
//
// # What becomes of a line
//
// Nested objects are flattened with dots; an array is the same field several times. Then, the first name that has a value
// wins, in this order:
//
//	time       time, timestamp, ts, @timestamp: RFC 3339 (a space for the T and a missing offset, then UTC, are taken too), or
//	           a number of s, ms, µs or ns since 1970, told apart by magnitude
//	level      level, severity, lvl: a name, syslog's 0–7, or pino's tens 10–60
//	message    message, msg, log
//	service    service, else the request's Lookout-Service
//	env        env, environment
//	host       host, hostname
//	container, stream
//
// All others are extra fields; one with the name of a built-in (also id) gets a trailing _. A built-in that is null or empty is
// taken as not there. A time that is none, or is before 1980 or after 2199, is kept as the field time_text and the event
// gets the time of receipt; a level that is not known, or says more than ours (trace, fatal), is kept as level_text.
// Messages over 1 MiB and other limits of package event are cut as [event.Batch.Clamp] does.
//
// # What it guarantees
//
// The answer 200 comes after everything accepted is durable. A line that cannot be read is counted and named in the
// answer (the first 20 of them) and costs no other line. Blank lines do not count. accepted + rejected is the number of
// lines; 400 is answered only when there were lines and none of them could be used.
//
// Every other answer has {"error":{"code","message","mend"}}, and beside it accepted and rejected: the first
// accepted + rejected lines of the body are dealt with and need not be sent again. Under pressure that answer is 429, with
// a full disk 503, both with Retry-After.
//
// A client that wants to send again without doubling anything names itself in Lookout-Producer and counts its lines in
// Lookout-First-Sequence: the number of the body's first line. Every line that is not blank takes a number, a rejected one
// too. Lines of numbers that are stored already are accepted and dropped. Such lines are not joined into one event.
//
// Lookout-Exact: true is for events that a lookout had stored: only the built-ins' own names are theirs, all others are extra fields, and
// the batch does not go through the stages.
//
// Memory is bounded: a body is handled in batches of about 2 MiB, and all bodies together have [Options.Memory] to wait
// for the rest of their lines in.
package native

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

const (
	// MaxLine is the longest line, in bytes; a longer one is rejected.
	MaxLine = 4 << 20
	// MaxBody is the longest body, decoded, in bytes, when [Options.MaxBody] is 0.
	MaxBody = 64 << 20

	maxFields   = 1 << 16 // leaves of one line
	maxErrors   = 20      // listed in an answer
	maxProducer = 256     // bytes of a producer's name

	defaultMemory = 32 << 20
)

// Joiner joins the lines of one event inside a batch and holds nothing back: what the batch has afterwards is everything.
type Joiner interface {
	JoinWithin(b *event.Batch)
}

// Options is what a [Handler] works with.
type Options struct {
	Sink collector.Sink // required

	// Joiner and Stages return what a batch goes through, in this order, before the sink; nil: nothing. They are called
	// for each worker: several batches may be on their way at a time, and what one call returned is used by one
	// goroutine at a time.
	Joiner func() Joiner
	Stages func() []collector.Stage

	// GiveWay is called between pieces of work of some tenths of a millisecond, and may wait for what is more urgent; nil: nothing is.
	GiveWay func()

	// MaxBody is the longest body, decoded, in bytes. 0: [MaxBody].
	MaxBody int64
	// Memory bounds the text of bodies held at a time, in bytes, beyond a small buffer for each request. When it is
	// used up, batches become smaller; only a long line that finds no room is refused (429). 0: 32 MiB.
	Memory int64

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: nothing is logged
}

// Handler takes events by HTTP. It is safe for concurrent use.
type Handler struct {
	o Options

	mu   sync.Mutex
	idle []*worker // the last used at the end

	held  atomic.Int64 // bytes of the active workers' buffers above firstBuffer
	zstds chan *zstd.Decoder

	requests, bytes, accepted                 atomic.Int64
	badJSON, tooLong, blank                   atomic.Int64
	pressure, full, tooLarge, invalid, failed atomic.Int64
}

// Stats counts since the start.
type Stats struct {
	Requests int64
	Bytes    int64 // of bodies, decoded
	Accepted int64 // lines that became durable, repeats of a counting producer included

	// Lines rejected, by cause.
	RejectedJSON  int64 // not one JSON object, or one with too many fields
	RejectedLong  int64 // longer than MaxLine
	RejectedEmpty int64 // an object without fields

	// Requests that did not end in 200, by cause. What they had accepted before is in Accepted.
	Pressure int64 // 429
	Full     int64 // 503
	TooLarge int64 // 413
	Invalid  int64 // 400, 405, 415
	Failed   int64 // 500
}

// New returns a handler.
func New(o Options) *Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = MaxBody
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{o: o, zstds: newZstds()}
}

// Stats returns the counters.
func (h *Handler) Stats() Stats {
	return Stats{
		Requests: h.requests.Load(), Bytes: h.bytes.Load(), Accepted: h.accepted.Load(),
		RejectedJSON: h.badJSON.Load(), RejectedLong: h.tooLong.Load(), RejectedEmpty: h.blank.Load(),
		Pressure: h.pressure.Load(), Full: h.full.Load(), TooLarge: h.tooLarge.Load(), Invalid: h.invalid.Load(), Failed: h.failed.Load(),
	}
}

// failure is why a request does not end in 200, as the client reads it.
type failure struct {
	status     int
	code       string
	message    string
	mend       string
	retryAfter time.Duration
}

// ServeHTTP answers a POST of events.
func (h *Handler) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h.requests.Add(1)
	if r.Method != http.MethodPost {
		rw.Header().Set("Allow", http.MethodPost)
		h.refuse(rw, nil, &failure{status: http.StatusMethodNotAllowed, code: "method_not_allowed",
			message: r.Method + " is not possible here", mend: "send events with POST"})
		return
	}
	c, f := h.clientOf(r)
	if f != nil {
		h.refuse(rw, nil, f)
		return
	}
	body, f := h.body(rw, r)
	if f != nil {
		h.refuse(rw, nil, f)
		return
	}
	defer body.done()

	w := h.worker()
	defer h.release(w)
	w.client = c
	f = w.run(r.Context(), body)
	h.bytes.Add(w.total)
	if f == nil && w.done.accepted == 0 && w.done.rejected > 0 {
		f = &failure{status: http.StatusBadRequest, code: "no_events", message: "none of the lines is an event",
			mend: "send one JSON object a line, or an array of objects"}
	}
	if f != nil {
		h.refuse(rw, w, f)
		return
	}
	w.text = append(w.appendCounts(append(w.text[:0], '{')), "}\n"...)
	answer(rw, http.StatusOK, w.text)
}

// client is what the headers say of the sender.
type client struct {
	service  []byte
	producer string // "" when it does not count
	first    uint64
	exact    bool // the events were stored once: they stay as they are
}

func (h *Handler) clientOf(r *http.Request) (c client, f *failure) {
	bad := func(message, mend string) *failure {
		return &failure{status: http.StatusBadRequest, code: "bad_header", message: message, mend: mend}
	}
	service := r.Header.Get("Lookout-Service")
	if len(service) > event.MaxName {
		return c, bad(fmt.Sprintf("Lookout-Service has %d bytes", len(service)), fmt.Sprintf("name the service in at most %d bytes", event.MaxName))
	}
	c.service = []byte(service)
	switch exact := r.Header.Get("Lookout-Exact"); exact {
	case "", "false":
	case "true":
		c.exact = true
	default:
		return c, bad(fmt.Sprintf("Lookout-Exact is %.40q", exact), "send true for events that were exported, or leave it out")
	}
	c.producer = r.Header.Get("Lookout-Producer")
	first := r.Header.Get("Lookout-First-Sequence")
	switch {
	case c.producer == "" && first == "":
		return c, nil
	case c.producer == "":
		return c, bad("Lookout-First-Sequence without Lookout-Producer", "name the sender in Lookout-Producer, or leave both out")
	case first == "":
		return c, bad("Lookout-Producer without Lookout-First-Sequence", "send the number of the body's first line in Lookout-First-Sequence, or leave both out")
	case len(c.producer) > maxProducer:
		return c, bad(fmt.Sprintf("Lookout-Producer has %d bytes", len(c.producer)), fmt.Sprintf("name the sender in at most %d bytes", maxProducer))
	}
	var err error
	if c.first, err = strconv.ParseUint(first, 10, 64); err != nil || c.first < 1 || c.first > math.MaxInt64 {
		return c, bad(fmt.Sprintf("Lookout-First-Sequence is %.40q", first), "send the number of the body's first line, counted from 1")
	}
	return c, nil
}

// failureOf returns what the sink's error means to the client.
func (h *Handler) failureOf(ctx context.Context, err error) *failure {
	var p collector.Pressure
	switch {
	case ctx.Err() != nil:
		return &failure{status: http.StatusInternalServerError, code: "cancelled", message: "the request ended before its events were stored",
			mend: "send the rest again"}
	case !errors.As(err, &p):
		h.o.Log.Error("events could not be stored", "input", "native", "error", err)
		return &failure{status: http.StatusInternalServerError, code: "not_stored", message: "the events could not be stored",
			mend: "the server's log says why; send the rest again when it is mended"}
	case p.Full():
		return &failure{status: http.StatusServiceUnavailable, code: "disk_full", message: "the server's disk is full",
			mend: "send the rest again after Retry-After", retryAfter: p.RetryAfter()}
	}
	return busy(p.RetryAfter())
}

func busy(after time.Duration) *failure {
	return &failure{status: http.StatusTooManyRequests, code: "overloaded", message: "events come faster than they can be stored",
		mend: "send the rest again after Retry-After", retryAfter: after}
}

// refuse answers with f, and with what w, if there is one, has stored before.
func (h *Handler) refuse(rw http.ResponseWriter, w *worker, f *failure) {
	switch f.status {
	case http.StatusTooManyRequests:
		h.pressure.Add(1)
	case http.StatusServiceUnavailable:
		h.full.Add(1)
	case http.StatusRequestEntityTooLarge:
		h.tooLarge.Add(1)
	case http.StatusInternalServerError:
		h.failed.Add(1)
	default:
		h.invalid.Add(1)
	}
	if f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable {
		seconds := max(1, int64(math.Ceil(f.retryAfter.Seconds())))
		rw.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	text := []byte(`{"error":{"code":`)
	text = flatjson.AppendString(text, []byte(f.code))
	text = append(text, `,"message":`...)
	text = flatjson.AppendString(text, []byte(f.message))
	text = append(text, `,"mend":`...)
	text = flatjson.AppendString(text, []byte(f.mend))
	if id := rw.Header().Get("X-Request-Id"); id != "" {
		text = flatjson.AppendString(append(text, `,"request_id":`...), []byte(id))
	}
	text = append(text, "},"...)
	text = w.appendCounts(text)
	answer(rw, f.status, append(text, "}\n"...))
}

func answer(rw http.ResponseWriter, status int, text []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
	rw.WriteHeader(status)
	// An answer that cannot be written has nobody to be told of it: the client is gone.
	_, _ = rw.Write(text)
}

// lineError is a line that was rejected.
type lineError struct {
	line    int64
	message string
}

// appendCounts appends "accepted":…,"rejected":…,"errors":[…] for what w has done; w may be nil.
func (w *worker) appendCounts(text []byte) []byte {
	var done progress
	if w != nil {
		done = w.done
	}
	text = append(text, `"accepted":`...)
	text = strconv.AppendInt(text, done.accepted, 10)
	text = append(text, `,"rejected":`...)
	text = strconv.AppendInt(text, done.rejected, 10)
	text = append(text, `,"errors":[`...)
	for i := range min(done.rejected, maxErrors) {
		if i > 0 {
			text = append(text, ',')
		}
		e := &w.errors[i]
		text = append(text, `{"line":`...)
		text = strconv.AppendInt(text, e.line, 10)
		text = append(text, `,"message":`...)
		text = flatjson.AppendString(text, []byte(e.message))
		text = append(text, '}')
	}
	return append(text, ']')
}

// encodingOf returns the body's Content-Encoding in lower case, "" for none.
func encodingOf(r *http.Request) string {
	e := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ", ")))
	if e == "identity" {
		return ""
	}
	return e
}
