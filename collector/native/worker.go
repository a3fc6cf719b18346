package native

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

const (
	firstBuffer = 16 << 10 // what every request may hold
	usualBuffer = 2 << 20  // what is read before a batch goes to the sink, when memory allows

	// A batch ends at the first of these.
	batchEvents = 8192
	batchBytes  = 2 << 20 // of encoded events, of text made while decoding
	batchFields = 1 << 16

	// A counting sender's batch ends at each bad line, for the numbers in it must have no gap. Each batch costs an fsync:
	// a body with more of them than this is refused.
	maxGaps = 1000

	pieceEvents = 256 // a piece of work

	maxIdle = 4 // workers kept for the next requests
)

// progress counts lines.
type progress struct{ accepted, rejected int64 }

// worker handles one request at a time. It is kept, for its memory and for its stages.
type worker struct {
	h      *Handler
	joiner Joiner
	stages []collector.Stage

	client client

	// The body: what has been read and not been consumed is buf[pos:].
	buf   []byte
	pos   int
	total int64 // bytes read
	held  int64 // counted in h.held

	// Where the consumer is.
	line     int64 // lines that lie behind
	scanned  int   // bytes behind pos in which the current item does not end
	skipping bool  // the current item is too long; its beginning is gone
	array    bool  // in an array, and there:
	elements int64 // so many elements lie behind
	depth    int   // brackets open in the current one; 0 where it ends
	quoted   bool  // in a string
	escaped  bool  // behind a backslash

	decoder flatjson.Decoder
	batch   event.Batch
	size    int // encoded bytes of the batch's events
	fields  int
	slots   []slot
	fat     bool  // the batch has grown for an unusual line
	now     int64 // when the batch began

	number uint64   // of the next line, for a client that counts
	gaps   int      // batches that ended at a bad line
	seen   progress // what has been decided
	done   progress // what has been decided and is durable
	errors []lineError
	text   []byte
}

// worker returns one that is ready.
func (h *Handler) worker() *worker {
	h.mu.Lock()
	var w *worker
	if n := len(h.idle); n > 0 {
		w, h.idle[n-1] = h.idle[n-1], nil
		h.idle = h.idle[:n-1]
	}
	h.mu.Unlock()
	if w == nil {
		w = &worker{h: h, decoder: flatjson.Decoder{MaxFields: maxFields}}
		if h.o.Joiner != nil {
			w.joiner = h.o.Joiner()
		}
		if h.o.Stages != nil {
			w.stages = h.o.Stages()
		}
	}
	if more := int64(cap(w.buf) - firstBuffer); more >= 0 && h.hold(more) {
		w.held = more
	} else {
		w.buf = make([]byte, 0, firstBuffer)
	}
	return w
}

// hold counts n more bytes as held, if there is room.
func (h *Handler) hold(n int64) bool {
	if n > 0 && h.held.Add(n) > h.o.Memory {
		h.held.Add(-n)
		return false
	}
	return true
}

// release takes w back, without the memory that an unusual line made it grow to.
func (h *Handler) release(w *worker) {
	h.held.Add(-w.held)
	clear(w.errors)
	keep := worker{h: h, joiner: w.joiner, stages: w.stages, errors: w.errors[:0], text: w.text[:0]}
	// All or nothing: events that were used point into the buffer and would keep it.
	if !w.fat && cap(w.buf) <= usualBuffer {
		keep.buf, keep.decoder, keep.slots, keep.batch = w.buf[:0], w.decoder, w.slots, w.batch
		keep.decoder.Reset()
		keep.batch.Reset()
	}
	keep.decoder.MaxFields = maxFields
	*w = keep
	h.mu.Lock()
	if len(h.idle) < maxIdle {
		h.idle = append(h.idle, w)
	}
	h.mu.Unlock()
}

// run takes the events out of b, batch by batch. w.done says how far it came.
func (w *worker) run(ctx context.Context, b *body) *failure {
	w.number = w.client.first
	for begun := false; ; begun = true {
		end, f := w.read(b)
		if !begun && bytes.HasPrefix(w.buf, []byte("\xef\xbb\xbf")) {
			w.pos = 3
		}
		if f != nil {
			// What came whole before an error is as good as any. net/http ends the request's context with that error.
			ctx = context.WithoutCancel(ctx)
		}
		if f := w.consume(ctx, end); f != nil {
			return f
		}
		if f := w.flush(ctx); f != nil {
			return f
		}
		if end || f != nil {
			return f
		}
		if f := w.makeRoom(); f != nil {
			return f
		}
	}
}

// read fills the buffer, and makes it longer up to its usual length while there is memory. end is true behind the last
// byte of the body. The batch is empty, so that nothing points into the buffer.
func (w *worker) read(b *body) (end bool, f *failure) {
	for idle := 0; idle < 100; idle++ {
		if len(w.buf) == cap(w.buf) && (cap(w.buf) >= usualBuffer || !w.grow(2*cap(w.buf))) {
			return false, nil
		}
		n, err := b.Read(w.buf[len(w.buf):cap(w.buf)])
		w.buf = w.buf[:len(w.buf)+n]
		w.total += int64(n)
		switch {
		case w.total > w.h.o.MaxBody:
			return false, w.h.tooMuch()
		case err == io.EOF:
			return true, nil
		case err != nil:
			return false, w.h.unreadable(b, w.total, err)
		case n > 0:
			idle = 0
		}
	}
	return false, w.h.unreadable(b, w.total, io.ErrNoProgress)
}

// grow makes the buffer n bytes long, if there is memory.
func (w *worker) grow(n int) bool {
	more := int64(n - cap(w.buf))
	if !w.h.hold(more) {
		return false
	}
	w.held += more
	w.buf = append(make([]byte, 0, n), w.buf...)
	return true
}

// makeRoom moves the item that has begun to the buffer's start. One that fills it gets a longer buffer, or is given up.
func (w *worker) makeRoom() *failure {
	w.buf = w.buf[:copy(w.buf, w.buf[w.pos:])]
	w.pos = 0
	switch {
	case len(w.buf) < cap(w.buf):
	case len(w.buf) > MaxLine:
		w.skipping = true
		w.line += int64(bytes.Count(w.buf, []byte{'\n'})) // none but in an array
		w.buf, w.scanned = w.buf[:0], 0
	case !w.grow(min(2*cap(w.buf), MaxLine+1)):
		return busy(time.Second)
	}
	return nil
}

// consume takes the items that are whole out of the buffer: lines, or the elements of an array. At the body's end the last
// one is whole.
func (w *worker) consume(ctx context.Context, end bool) *failure {
	for w.pos < len(w.buf) {
		if w.scanned == 0 && !w.skipping {
			if w.skipBlank(); w.pos == len(w.buf) {
				break
			}
			if !w.array && w.buf[w.pos] == '[' {
				w.array, w.elements = true, 0
				w.pos++
				continue
			}
		}
		data := w.buf[w.pos:]
		n := w.itemEnd(data)
		if n == len(data) && !end {
			w.scanned = n
			return nil
		}
		// The end of a line is left for skipBlank to count.
		w.pos += n
		w.scanned = 0
		lines, last := 0, false
		if w.array {
			lines = bytes.Count(data[:n], []byte{'\n'})
			if n < len(data) {
				last = data[n] == ']'
				w.pos++
			}
			w.elements++
		}
		if n > 0 || w.skipping { // nothing is between [ and ], or behind a last comma
			if f := w.take(ctx, data[:n]); f != nil {
				return f
			}
		}
		w.line += int64(lines)
		w.array = w.array && !last
	}
	if end && w.skipping { // it ended where the buffer did
		w.elements++
		return w.take(ctx, nil)
	}
	return nil
}

// skipBlank moves to what is not white space and counts the lines that end before it.
func (w *worker) skipBlank() {
	for ; w.pos < len(w.buf); w.pos++ {
		switch w.buf[w.pos] {
		case '\n':
			w.line++
		case ' ', '\t', '\r':
		default:
			return
		}
	}
}

// itemEnd returns where the item that data begins with ends: at a newline, or, in an array, at a comma or bracket between
// elements. len(data) when it does not end in data. It goes on behind w.scanned.
func (w *worker) itemEnd(data []byte) int {
	i := w.scanned
	if !w.array {
		if n := bytes.IndexByte(data[i:], '\n'); n >= 0 {
			return i + n
		}
		return len(data)
	}
	for ; i < len(data); i++ {
		c := data[i]
		switch {
		case w.escaped:
			w.escaped = false
		case w.quoted:
			w.escaped = c == '\\'
			w.quoted = c != '"'
		case c == '"':
			w.quoted = true
		case c == '{' || c == '[':
			w.depth++
		case w.depth == 0 && (c == ',' || c == ']'):
			return i
		case w.depth > 0 && (c == '}' || c == ']'):
			w.depth--
		}
	}
	return i
}

// take makes an event of item, or rejects it.
func (w *worker) take(ctx context.Context, item []byte) *failure {
	if w.skipping || len(item) > MaxLine {
		w.skipping = false
		return w.reject(ctx, &w.h.tooLong, fmt.Sprintf("longer than %d MiB", MaxLine>>20))
	}
	if w.decoder.Size() >= batchBytes { // before each line: what is rejected makes text too
		if f := w.flush(ctx); f != nil {
			return f
		}
	}
	if w.h.o.GiveWay != nil && len(w.batch.Events)%pieceEvents == 0 {
		w.h.o.GiveWay()
	}
	fields, rest, err := w.decoder.Object(item)
	if err != nil {
		return w.reject(ctx, &w.h.badJSON, err.Error())
	}
	if len(rest) > 0 {
		if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) > 0 {
			return w.reject(ctx, &w.h.badJSON, fmt.Sprintf(
				"at byte %d: something follows the object; one event a line (curl keeps the lines with --data-binary, not with -d)", len(item)-len(rest)))
		}
	}
	if len(fields) == 0 {
		return w.reject(ctx, &w.h.blank, "an object without fields")
	}
	if len(w.batch.Events) == 0 {
		w.now = w.h.o.Now().UnixNano()
	}
	e := w.batch.Add()
	w.fill(e, fields)
	if e.Time == 0 {
		e.Time = w.now
	}
	if len(e.Service) == 0 {
		e.Service = w.client.service
	}
	if len(item) > event.MaxName { // a shorter line cannot have anything to cut
		w.batch.Clamp(e)
	}
	w.size += event.EncodedSize(e)
	w.fields += len(e.Fields)
	w.number++
	w.seen.accepted++
	if len(w.batch.Events) >= batchEvents || w.size >= batchBytes || w.fields >= batchFields {
		return w.flush(ctx)
	}
	return nil
}

// reject counts the current item as one that is no event.
func (w *worker) reject(ctx context.Context, counter *atomic.Int64, message string) *failure {
	if w.client.producer != "" && len(w.batch.Events) > 0 {
		if w.gaps++; w.gaps > maxGaps {
			return &failure{status: http.StatusBadRequest, code: "too_many_bad_lines",
				message: fmt.Sprintf("more than %d times a bad line follows a good one", maxGaps),
				mend:    "mend the lines, or send them without Lookout-Producer"}
		}
		if f := w.flush(ctx); f != nil {
			return f
		}
	}
	counter.Add(1)
	if len(w.errors) < maxErrors {
		if w.array {
			message = fmt.Sprintf("element %d: %s", w.elements, message)
		}
		w.errors = append(w.errors, lineError{w.line + 1, message})
	}
	w.number++
	w.seen.rejected++
	if len(w.batch.Events) == 0 { // nothing before it waits
		w.done = w.seen
	}
	return nil
}

// flush makes the batch durable, and frees the memory that lines made.
func (w *worker) flush(ctx context.Context) *failure {
	if n := len(w.batch.Events); n > 0 {
		w.fat = w.fat || w.fields > batchFields+batchEvents
		if w.client.producer != "" {
			w.batch.Producer = w.client.producer
			w.batch.FirstSeq = w.number - uint64(n)
		} else if w.joiner != nil && !w.client.exact {
			w.joiner.JoinWithin(&w.batch)
		}
		if !w.client.exact {
			for _, s := range w.stages {
				s.Process(&w.batch)
			}
		}
		if err := w.h.o.Sink.Append(ctx, &w.batch); err != nil {
			return w.h.failureOf(ctx, err)
		}
		w.h.accepted.Add(int64(n))
		w.batch.Reset()
		w.size, w.fields = 0, 0
	}
	w.done = w.seen
	w.decoder.Reset()
	return nil
}
