package tail

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// reader reads the newest events for all tails.
type reader struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// start begins a chain behind a sequence; the caller holds the lock.
func (h *Hub) start(after uint64) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{cancel: cancel, done: make(chan struct{})}
	h.reader, h.newest = r, &link{end: after, ready: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer cancel()
		h.read(ctx, r, after)
	}()
}

func (h *Hub) read(ctx context.Context, r *reader, after uint64) {
	f := h.o.Source.Follow(after)
	defer f.Close()
	for {
		events, err := f.Next(ctx)
		if ctx.Err() != nil {
			return // no tail is left
		}
		var gap *query.GapError
		if err != nil {
			ended := !errors.As(err, &gap)
			if h.append(r, &link{err: err, end: f.Position()}, ended); ended {
				return
			}
			continue
		}
		for len(events) > 0 {
			n, bytes := some(events)
			h.append(r, &link{batch: own(events[:n]), end: events[n-1].Seq, bytes: bytes, events: int64(n)}, false)
			events = events[n:]
		}
	}
}

// append puts a link behind the newest one, and takes the place away from tails that lag too far. With ended it is the last.
func (h *Hub) append(r *reader, l *link, ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader != r {
		return // no tail is left, or these are another reader's
	}
	last := h.newest
	l.bytes, l.events = last.bytes+l.bytes, last.events+l.events
	l.end = max(l.end, last.end)
	l.ready = make(chan struct{})
	last.next, h.newest = l, l
	close(last.ready)
	for t := range h.tails {
		if t.link != nil && (l.bytes-t.link.bytes > h.o.QueueBytes || l.events-t.link.events > h.o.QueueEvents) {
			t.link, t.cut = nil, true
		}
	}
	if ended {
		h.reader, h.newest = nil, nil
	}
}

// A batch is bounded, because a tail that is stuck holds the one it is at.
const (
	batchEvents = 512
	batchBytes  = 128 << 10
)

// eventCost and fieldCost are what an event and a field take beside their texts, in bytes, with what a line of JSON adds.
const (
	eventCost = 600
	fieldCost = 70
)

// some returns how many of the events make the next batch, at least one, and its memory in bytes.
func some(events []event.Event) (n int, bytes int64) {
	for n < min(len(events), batchEvents) {
		e := &events[n]
		cost := int64(eventCost + len(e.Fields)*fieldCost + 2*textBytes(e)) // the texts stand in the line of JSON as well
		if n > 0 && bytes+cost > batchBytes {
			break
		}
		n++
		bytes += cost
	}
	return n, bytes
}

func textBytes(e *event.Event) int {
	n := len(e.Service) + len(e.Env) + len(e.Host) + len(e.Container) + len(e.Stream) + len(e.Message)
	for i := range e.Fields {
		n += len(e.Fields[i].Name) + len(e.Fields[i].Value)
	}
	return n
}

// own returns a batch of copies, with one allocation for each kind of memory.
func own(events []event.Event) *Batch {
	texts, fields := 0, 0
	for i := range events {
		texts += textBytes(&events[i])
		fields += len(events[i].Fields)
	}
	b := &Batch{Events: make([]event.Event, len(events)), lines: make([]atomic.Pointer[[]byte], len(events))}
	buf, all := make([]byte, 0, texts), make([]event.Field, 0, fields)
	keep := func(p []byte) []byte {
		if len(p) == 0 {
			return nil
		}
		start := len(buf)
		buf = append(buf, p...)
		return buf[start:len(buf):len(buf)]
	}
	for i := range events {
		c := events[i]
		c.Service, c.Env, c.Host = keep(c.Service), keep(c.Env), keep(c.Host)
		c.Container, c.Stream, c.Message = keep(c.Container), keep(c.Stream), keep(c.Message)
		start := len(all)
		for _, f := range c.Fields {
			all = append(all, event.Field{Name: keep(f.Name), Value: keep(f.Value), Kind: f.Kind})
		}
		c.Fields = all[start:len(all):len(all)]
		b.Events[i] = c
	}
	return b
}
