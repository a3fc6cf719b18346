package api

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// How an answer of lines is written: the first line at once, then when so much has gathered or the oldest line is so old;
// a client that takes nothing for so long is cut off, sooner when the server stops.
const (
	flushBytes = 128 << 10 // each takes three calls of the kernel: with 32 KiB they took a fifth of an export
	flushAge   = 50 * time.Millisecond
	writeTime  = 30 * time.Second
	stopTime   = time.Second
)

// bodyTime is how long a request's body may take to come, unless the handler gives it longer, and how long net/http waits
// for the rest of one that nobody read.
const bodyTime = 10 * time.Second

// response notes what was answered, and gives each write its time.
type response struct {
	http.ResponseWriter
	deadline deadline
	control  *http.ResponseController
	body     bool // the request has one
	status   int
	bytes    int64     // on the wire
	failed   *apiError // what the answer is, or ended with
	pack     packer
}

func newResponse(w http.ResponseWriter, r *http.Request) *response {
	control := http.NewResponseController(w)
	n := &response{ResponseWriter: w, deadline: deadline{set: control.SetWriteDeadline}, control: control, body: r.Body != nil && r.Body != http.NoBody}
	if n.pack.coding = noCoding; r.Method != http.MethodHead {
		n.pack.coding = accepted(r.Header)
	}
	n.limitBody()
	return n
}

// limitBody bounds the time that a body may still take.
func (w *response) limitBody() {
	if w.body && w.status != http.StatusSwitchingProtocols {
		_ = w.control.SetReadDeadline(time.Now().Add(bodyTime)) // a recorder in a test has none
	}
}

func (w *response) WriteHeader(status int) {
	if status < 200 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status = status
	if mayPack(status, w.Header()) {
		w.Header().Add("Vary", "Accept-Encoding")
		if w.pack.waiting = w.pack.coding != noCoding; w.pack.waiting {
			return
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.pack.waiting {
		if len(w.pack.first)+len(p) < minCompressed {
			w.pack.first = append(w.pack.first, p...)
			return len(p), nil
		}
		if err := w.begin(true); err != nil {
			return 0, err
		}
	}
	return w.writeOut(p)
}

// Hijack is http.Hijacker, for WebSockets.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil {
		w.status = http.StatusSwitchingProtocols
		w.deadline.release()
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController through.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// code is the status that was answered.
func (w *response) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

// deadline moves a connection's write deadline on with each write, until it is cut: then what is being written has a
// second left.
type deadline struct {
	mu  sync.Mutex
	cut bool
	set func(time.Time) error
}

func (d *deadline) extend() { d.move(false) }
func (d *deadline) stop()   { d.move(true) }

// release leaves the connection to somebody else.
func (d *deadline) release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.set = func(time.Time) error { return nil }
}

func (d *deadline) move(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = d.cut || cut
	left := writeTime
	if d.cut {
		left = stopTime
	}
	_ = d.set(time.Now().Add(left)) // a recorder in a test has none
}

// stream writes an answer of lines.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	kind    string // the answer's Content-Type

	mu      sync.Mutex // the timer writes too
	buf     []byte
	timer   *time.Timer
	started bool  // something was written: the status is out
	err     error // the first error of writing: the client is gone
}

// buffers are for the lines of one flush.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, kind: "application/x-ndjson; charset=utf-8", control: http.NewResponseController(w), buf: (*buffers.Get().(*[]byte))[:0]}
}

// line writes a line, given without its newline.
func (s *stream) line(text []byte) error {
	return s.add(func(dst []byte) []byte { return append(dst, text...) })
}

// add writes the line that it lets appendLine append, without its newline. The error is that of the connection.
func (s *stream) add(appendLine func([]byte) []byte) error {
	return s.put(func(dst []byte) []byte { return append(appendLine(dst), '\n') })
}

// text writes some text as it is.
func (s *stream) text(text []byte) error {
	return s.put(func(dst []byte) []byte { return append(dst, text...) })
}

// begun tells whether something was sent.
func (s *stream) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

func (s *stream) put(appendText func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.buf = appendText(s.buf)
	switch {
	case !s.started, len(s.buf) >= flushBytes:
		s.flush()
	case s.timer == nil:
		s.timer = time.AfterFunc(flushAge, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.flush()
		})
	}
	return s.err
}

// flush writes what has gathered. The caller holds the lock.
func (s *stream) flush() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if len(s.buf) == 0 || s.err != nil {
		return
	}
	if !s.started {
		s.started = true
		s.w.Header().Set("Content-Type", s.kind)
	}
	if _, s.err = s.w.Write(s.buf); s.err == nil {
		s.err = s.control.Flush()
	}
	s.buf = s.buf[:0]
}

// flushNow writes what has gathered.
func (s *stream) flushNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	return s.err
}

// fail ends the answer with an error: as a status when nothing was written yet, or else as the last line.
func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		s.buf = s.buf[:0]
		if s.err == nil {
			writeError(s.w, err)
		}
		return
	}
	s.buf = append(append(s.buf, errorLine(s.w, err)...), '\n')
	s.flush()
}

// end writes the rest. The stream must not be used after it.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	if buf := s.buf; cap(buf) <= 1<<20 { // one huge event does not stay
		buffers.Put(&buf)
	}
	s.buf = nil
}
