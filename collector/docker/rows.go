package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// fragmentSize is where the daemon cuts lines, in bytes (moby daemon/logger/copier.go, defaultBufSize). A piece may be longer
// here than it was there: json-file replaces each byte that is not UTF-8 by the three of U+FFFD.
const fragmentSize = 16384

// maxText is the longest text of a row that is kept. Docker's own are at most 3 × fragmentSize.
const maxText = event.MaxMessage + 1

// stream is one of the two that a container writes. A terminal has only the first.
type stream uint8

const (
	stdout stream = iota
	stderr
	streams
)

var streamNames = [streams][]byte{[]byte("stdout"), []byte("stderr")}

// row is what the daemon's log has as one entry: a line, or a piece of one.
type row struct {
	stream stream
	time   int64  // ns since the Unix epoch
	text   []byte // without the line's end; valid until the next row is read
	ended  bool   // it had a line's end
}

// more tells whether the line may go on in the next row of its stream. The last piece of a line has no line's end with the
// local driver of 20.10, so that the length has to tell.
func (r *row) more() bool { return !r.ended && len(r.text) >= fragmentSize }

// rowReader reads the answer of GET /containers/ID/logs with timestamps.
type rowReader interface {
	// next returns the next row. io.EOF is a clean end.
	next() (row, error)
}

var (
	// errGarbage: what came is not what the Engine API describes.
	errGarbage = errors.New("the engine's answer is no log stream")
)

// systemError is the text of a frame of type 3: the daemon could not read its log.
type systemError struct{ text string }

func (e *systemError) Error() string { return "the engine says: " + e.text }

// muxReader reads the frames of a container without a terminal (Engine API, "Attach to a container", stream format):
//
//	type (1 stdout, 2 stderr, 3 the daemon's error) | 0 0 0 | length, 4 bytes big endian | time " " text
//
// Each frame is one row.
type muxReader struct {
	r        *bufio.Reader
	buf      []byte // of a frame that is longer than r's buffer
	oversize *atomic.Int64
}

const frameHeader = 8

// maxFrame is the longest frame that is kept, its time included.
const maxFrame = maxText + 64

func (m *muxReader) next() (row, error) {
	head, err := m.r.Peek(frameHeader)
	if err != nil {
		if err == io.EOF && len(head) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return row{}, err
	}
	kind := head[0]
	if kind < 1 || kind > 3 || head[1]|head[2]|head[3] != 0 {
		return row{}, fmt.Errorf("%w: a frame begins with % x", errGarbage, head)
	}
	n := binary.BigEndian.Uint32(head[4:])
	discard(m.r, frameHeader)
	frame, err := m.frame(n)
	if err != nil {
		return row{}, err
	}
	if kind == 3 {
		return row{}, &systemError{string(bytes.TrimSpace(frame[:min(len(frame), 1000)]))}
	}
	at, text, ok := cutTime(frame)
	if !ok {
		return row{}, fmt.Errorf("%w: a frame without a time: %.40q", errGarbage, frame)
	}
	r := row{stream: stream(kind - 1), time: at, text: text}
	r.text, r.ended = bytes.CutSuffix(text, newline)
	return r, nil
}

var newline = []byte{'\n'}

// frame returns the n bytes that follow, and of more than maxFrame only the first. Memory is taken as bytes come, not as the
// header says.
func (m *muxReader) frame(n uint32) ([]byte, error) {
	if int64(n) <= int64(m.r.Size()) {
		p, err := m.r.Peek(int(n))
		if err != nil {
			return nil, unexpected(err)
		}
		discard(m.r, int(n))
		return p, nil
	}
	keep := int(min(n, maxFrame))
	m.buf = m.buf[:0]
	for len(m.buf) < keep {
		if m.r.Buffered() == 0 {
			if _, err := m.r.Peek(1); err != nil {
				return nil, unexpected(err)
			}
		}
		p, _ := m.r.Peek(min(m.r.Buffered(), keep-len(m.buf)))
		m.buf = append(m.buf, p...)
		discard(m.r, len(p))
	}
	frame := m.buf
	if cap(m.buf) > keepBuffer {
		m.buf = nil
	}
	if rest := int64(n) - int64(keep); rest > 0 {
		m.oversize.Add(1)
		if _, err := io.CopyN(io.Discard, m.r, rest); err != nil {
			return nil, unexpected(err)
		}
	}
	return frame, nil
}

// keepBuffer is the largest buffer that is kept for use again, in bytes.
const keepBuffer = 64 << 10

// discard skips n bytes that are in the buffer.
func discard(r *bufio.Reader, n int) { _, _ = r.Discard(n) }

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cutTime splits "2026-11-21T04:45:05.123456789Z text".
func cutTime(p []byte) (at int64, text []byte, ok bool) {
	i := bytes.IndexByte(p[:min(len(p), maxStamp+1)], ' ')
	if i < 0 {
		return 0, nil, false
	}
	at, ok = parseStamp(p[:i])
	return at, p[i+1:], ok
}

// Lengths of a time: the daemon writes RFC 3339 with nine digits, in UTC.
const (
	stampLen = len("2026-11-21T04:45:05.123456789Z")
	maxStamp = len("2026-11-21T04:45:05.123456789+00:00")
)

func parseStamp(p []byte) (int64, bool) {
	if len(p) < len("2026-11-21T04:45:05Z") || p[4] != '-' || p[10] != 'T' {
		return 0, false
	}
	if at, form, ok := timestamp.Parse(p); ok {
		return at, form&timestamp.NoZone == 0
	}
	// A machine whose clock is not set writes 1970, which no logger's time is.
	t, err := time.Parse(time.RFC3339Nano, string(p))
	return t.UnixNano(), err == nil && t.Year() >= 1970 && t.Year() < 2262
}

// ttyReader reads the log of a container with a terminal: no frames, lines end in "\r\n", and the pieces of a long line
// follow each other, each with the time in front, the same one:
//
//	TIME " " 16,384 bytes TIME " " the rest "\r\n"
//
// A last piece has no "\n" with the local driver of 20.10, and neither have the last bytes before a container ended: the next
// line's time follows them. A time in a line is the daemon's when it is later than the one in front of the line and not in
// the future: what a program writes is always earlier.
type ttyReader struct {
	r   *bufio.Reader // its buffer is of ttyBuffer bytes at least
	now func() int64  // ns since the Unix epoch
}

// maxPiece is the longest piece: fragmentSize bytes that were not UTF-8, and "\r".
const maxPiece = 3*fragmentSize + 1

// ttyBuffer is the buffer that a ttyReader needs: more than a piece and the time in front of the next.
const ttyBuffer = 64 << 10

func (t *ttyReader) next() (row, error) {
	n := 0 // where the text begins
	var at int64
	for seen := 0; ; {
		// All that is there, and a byte more if that did not tell.
		p, err := t.r.Peek(max(t.r.Buffered(), seen+1))
		seen = len(p)
		if n == 0 {
			if i := bytes.IndexByte(p, ' '); i >= 0 {
				ok := false
				if at, ok = parseStamp(p[:i]); !ok {
					return row{}, fmt.Errorf("%w: a line without a time: %.40q", errGarbage, p)
				}
				n = i + 1
			} else if seen > maxStamp {
				return row{}, fmt.Errorf("%w: a line without a time: %.40q", errGarbage, p)
			}
		}
		end := -1
		if n > 0 {
			end = t.end(p, n, at, err != nil)
		}
		if end >= 0 {
			discard(t.r, end)
			text, ended := bytes.CutSuffix(p[n:end], newline)
			return row{stream: stdout, time: at, text: text, ended: ended}, nil
		}
		if err != nil {
			if seen > 0 {
				err = unexpected(err)
			}
			return row{}, err
		}
	}
}

// end returns where the row ends that begins at p[0] and has its text at n: behind a line's end, or in front of the time of
// the next piece or line; -1 when p does not tell. last: nothing comes behind p.
func (t *ttyReader) end(p []byte, n int, at int64, last bool) int {
	stop, whole := len(p), last
	if i := bytes.IndexByte(p[n:], '\n'); i >= 0 {
		stop, whole = n+i+1, true
	}
	// Each time of the daemon's has "Z " at its end.
	for from := n + stampLen - 1; from < stop; {
		k := bytes.Index(p[from:stop], zone)
		if k < 0 {
			break
		}
		k += from + 1 // behind the Z
		if next, ok := parseStamp(p[k-stampLen : k]); ok {
			piece := next == at && k-stampLen >= n+fragmentSize || k-stampLen == n+fragmentSize // journald gives each its own
			if piece || next > at && next <= t.now() {
				return k - stampLen
			}
		}
		from = k
	}
	if whole && stop <= n+maxPiece {
		return stop
	}
	if len(p) >= n+maxPiece+stampLen+1 || whole {
		return n + maxPiece // longer than any of Docker's
	}
	return -1
}

var zone = []byte("Z ")
