package gelf

import (
	"bytes"
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// fragmentSize is where Docker's daemon cuts lines, in bytes.
const fragmentSize = 16384

// Bounds of the lines that wait for their next piece. A line comes within one write of the daemon, so a second is long.
const (
	fragmentWait  = int64(time.Second)
	maxLines      = 256
	maxLinesBytes = 16 << 20
)

// fragments joins the pieces of lines that Docker has cut. It is a [collector.Joiner].
type fragments struct {
	maxLines, maxBytes int

	lines map[string]*line // by source, see key
	bytes int              // of the lines' texts
	count int64            // lines ever held, for their order
	key   []byte           // scratch
	out   []event.Event    // scratch

	joined atomic.Int64 // pieces that became part of another event
}

// line is what has come of one line so far.
type line struct {
	key     string
	event   event.Event
	message []byte
	due     int64
	order   int64
}

func newFragments() *fragments { return &fragments{maxLines: maxLines, maxBytes: maxLinesBytes} }

// Join implements [collector.Joiner].
func (j *fragments) Join(b *event.Batch, now int64) {
	first := 0 // nearly always there is nothing to do
	if len(j.lines) == 0 {
		for first < len(b.Events) && len(b.Events[first].Message) < fragmentSize {
			first++
		}
		if first == len(b.Events) {
			return
		}
	}
	j.out = append(j.out[:0], b.Events[:first]...)
	for i := first; i < len(b.Events); i++ {
		e := &b.Events[i]
		if len(j.lines) == 0 && len(e.Message) < fragmentSize || !j.source(e) {
			j.out = append(j.out, *e)
			continue
		}
		l := j.lines[string(j.key)]
		more := isFragment(e.Message)
		switch {
		case l != nil && l.event.Time == e.Time:
			j.extend(l, e.Message)
			if more {
				l.due = now + fragmentWait
			} else {
				j.finish(b, l)
			}
			continue
		case l != nil: // another line of this source: nothing more will come of the one before
			j.finish(b, l)
		}
		if more {
			j.hold(e, now)
		} else {
			j.out = append(j.out, *e)
		}
	}
	j.shrink(b)
	b.Events, j.out = j.out, b.Events[:0]
}

// Flush implements [collector.Joiner].
func (j *fragments) Flush(b *event.Batch, now int64, all bool) (next int64) {
	if len(j.lines) == 0 {
		return 0
	}
	j.out = j.out[:0]
	for _, l := range j.inOrder() {
		if all || l.due <= now {
			j.finish(b, l)
		} else if next == 0 || l.due < next {
			next = l.due
		}
	}
	b.Events = append(b.Events, j.out...)
	return next
}

// source sets key to the source of a message of Docker's driver and reports whether e is one.
func (j *fragments) source(e *event.Event) bool {
	if !bytes.Equal(e.Stream, streamOut) && !bytes.Equal(e.Stream, streamErr) {
		return false
	}
	id := e.Field("container_id")
	if id == nil {
		return false
	}
	j.key = append(j.key[:0], e.Stream...)
	j.key = append(j.key, 0)
	j.key = append(j.key, id.Value...)
	j.key = append(j.key, 0)
	j.key = append(j.key, e.Host...)
	return true
}

// isFragment reports whether message had 16,384 bytes when the daemon cut it. Each byte that was not UTF-8, as where the
// cut went through a character, has become U+FFFD since, of three bytes; a U+FFFD may have been in the line, too.
func isFragment(message []byte) bool {
	extra := len(message) - fragmentSize
	return extra == 0 || extra > 0 && extra%2 == 0 && extra/2 <= bytes.Count(message, []byte("\uFFFD"))
}

func (j *fragments) hold(e *event.Event, now int64) {
	message := e.Message
	e.Message = nil
	l := &line{key: string(j.key), event: e.Clone(), due: now + fragmentWait, order: j.count}
	j.count++
	if j.lines == nil {
		j.lines = make(map[string]*line)
	}
	j.lines[l.key] = l
	j.extend(l, message)
}

// extend appends a piece; a byte more than the longest message is kept, so that [event.Batch.Clamp] marks the cut.
func (j *fragments) extend(l *line, piece []byte) {
	if len(l.message) > 0 {
		j.joined.Add(1)
	}
	piece = piece[:min(len(piece), event.MaxMessage+1-len(l.message))]
	l.message = append(l.message, piece...)
	j.bytes += len(piece)
}

// finish moves l to out.
func (j *fragments) finish(b *event.Batch, l *line) {
	delete(j.lines, l.key)
	j.bytes -= len(l.message)
	l.event.Message = l.message
	b.Clamp(&l.event)
	j.out = append(j.out, l.event)
}

// shrink finishes the oldest lines when too many wait.
func (j *fragments) shrink(b *event.Batch) {
	if len(j.lines) <= j.maxLines && j.bytes <= j.maxBytes {
		return
	}
	for _, l := range j.inOrder() {
		if len(j.lines) <= j.maxLines && j.bytes <= j.maxBytes {
			return
		}
		j.finish(b, l)
	}
}

func (j *fragments) inOrder() []*line {
	lines := make([]*line, 0, len(j.lines))
	for _, l := range j.lines {
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b *line) int { return cmp.Compare(a.order, b.order) })
	return lines
}
