// Package tail is the live end of a store: all live tails of a server share one reader of its newest events.
//
//	store ─► reader ─► chain of batches, decoded once ─┬─► tail: at its own place in the chain
//	   │                                               └─► tail: …
//	   └─► a tail that is behind the chain reads the store itself, and joins at the exact sequence
//
// # Use
//
// A [Hub] serves the tails of one store. [Hub.Open] begins a tail behind any sequence; [Tail.Next] returns the next events.
// What matches a query is the caller's to say, on its own goroutine: a costly query slows down its own tail and no other.
//
// # What it guarantees
//
// A tail gets every event behind the position it began at exactly once, in order of sequence, or is told which it did not
// get: a [*SkippedError] or a [*query.GapError] has the range. There is no other way to lose one, and the seam between what
// is stored and what arrives is none.
//
// The chain holds what the slowest tail has still to take, and nothing when all have taken everything. A tail that lags by more
// than [Options].QueueBytes or QueueEvents loses its place: it reads the store instead, or skips to the newest event when it was
// opened so. So the chain never takes more than one queue's memory, however many tails there are; beside it a tail holds
// the batch at hand. The reader runs while tails are open and waits for none of them.
package tail

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Source is what a hub reads. The methods are called concurrently.
type Source interface {
	// Follow delivers what was appended behind a sequence.
	Follow(after uint64) query.Follower
	// LastSeq is the newest sequence there is.
	LastSeq() uint64
}

// Options configure a hub. Only Source is needed.
type Options struct {
	Source Source
	// QueueBytes and QueueEvents are how far a tail may lag behind the newest event before it loses its place: memory in bytes,
	// 16 MiB unless set, and events, 65,536 unless set.
	QueueBytes, QueueEvents int64
}

// Hub serves the live tails of one store. It is safe for concurrent use.
type Hub struct {
	o Options

	mu     sync.Mutex
	tails  map[*Tail]struct{}
	reader *reader // nil while nobody reads: there is no tail, or the reader has failed
	newest *link   // of the reader's chain
}

// New returns a hub. It needs no closing: it holds nothing when its tails are closed.
func New(o Options) *Hub {
	if o.QueueBytes == 0 {
		o.QueueBytes = 16 << 20
	}
	if o.QueueEvents == 0 {
		o.QueueEvents = 64 << 10
	}
	return &Hub{o: o, tails: map[*Tail]struct{}{}}
}

// link is a place in the chain: behind a batch, or behind a gap. Links hold what comes later and nothing of what was before,
// so that what every tail has taken is freed.
type link struct {
	batch         *Batch // nil in the first link and in one with an error
	err           error  // a *query.GapError, or, in the last link, what has ended the reader
	end           uint64 // the sequence up to which everything is in this link and those before
	bytes, events int64  // all that was read up to here, to measure how far a tail lags
	next          *link
	ready         chan struct{} // closed when next is there
}

// A Batch is some events in order of sequence, at least one. Nobody may change it. It is valid until the next call of [Tail.Next].
type Batch struct {
	Events []event.Event
	lines  []atomic.Pointer[[]byte] // of the events, once somebody asks; nil when the batch is one tail's alone
	first  int                      // the place of Events[0] in lines
}

// AppendLine appends what encode appends of event i. Of events that tails share that is encoded once, so that all callers have
// to mean the same by it.
func (b *Batch) AppendLine(dst []byte, i int, encode func([]byte, *event.Event) []byte) []byte {
	e := &b.Events[i]
	if b.lines == nil {
		return encode(dst, e)
	}
	p := &b.lines[b.first+i]
	line := p.Load()
	if line == nil {
		start := len(dst)
		dst = encode(dst, e)
		made := append([]byte(nil), dst[start:]...)
		p.CompareAndSwap(nil, &made) // two tails may make it at the same time
		return dst
	}
	return append(dst, *line...)
}

// SkippedError says that a tail could not keep up: the events above After up to To were left out.
type SkippedError struct{ After, To uint64 }

func (e *SkippedError) Error() string {
	return fmt.Sprintf("the reader is too slow: the events above %d up to %d were left out", e.After, e.To)
}

// Stats are a hub's figures.
type Stats struct {
	Behind int    // tails that read the store, because they began there or could not keep up
	Lag    uint64 // how many events the tail is away from the newest one that is farthest away
}

// Stats returns the figures of now.
func (h *Hub) Stats() Stats {
	newest := h.o.Source.LastSeq()
	h.mu.Lock()
	defer h.mu.Unlock()
	var s Stats
	for t := range h.tails {
		if t.link == nil {
			s.Behind++
		}
		if at := t.at.Load(); at < newest {
			s.Lag = max(s.Lag, newest-at)
		}
	}
	return s
}

// Tail is one live tail. It is for one goroutine.
type Tail struct {
	h        *Hub
	skip     bool
	at       atomic.Uint64 // the position
	follower query.Follower

	// The hub's lock guards these.
	link *link // up to which everything is taken; nil when it is behind the chain
	cut  bool  // the hub has taken the link away
}

// Open returns a tail that begins behind a sequence. When it cannot keep up it skips to the newest event, or else falls
// behind and reads what it has missed from the store. It must be closed.
func (h *Hub) Open(after uint64, skip bool) *Tail {
	t := &Tail{h: h, skip: skip}
	t.at.Store(after)
	newest := h.o.Source.LastSeq()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tails[t] = struct{}{}
	if h.reader == nil {
		h.start(newest)
	}
	t.join()
	return t
}

// Close ends the tail.
func (t *Tail) Close() {
	t.leaveStore()
	h := t.h
	h.mu.Lock()
	delete(h.tails, t)
	var last *reader
	if len(h.tails) == 0 && h.reader != nil {
		last = h.reader
		h.reader, h.newest = nil, nil
		last.cancel()
	}
	h.mu.Unlock()
	if last != nil {
		<-last.done
	}
}

// Position is the sequence up to which the tail got everything, or was told what it did not get.
func (t *Tail) Position() uint64 { return t.at.Load() }

// Ready tells whether Next would return at once.
func (t *Tail) Ready() bool {
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	if t.link != nil {
		return t.link.next != nil
	}
	return t.cut && t.skip || t.h.newest != nil && t.at.Load() < t.h.newest.end
}

// Next returns the next events, and waits for some until ctx ends. A [*SkippedError] and a [*query.GapError] say what was left
// out; the call after it goes on behind that. Any other error is ctx's or the store's, and the tail is at its end.
func (t *Tail) Next(ctx context.Context) (*Batch, error) {
	for {
		b, wait, err := t.step()
		switch {
		case b != nil || err != nil:
			return b, err
		case wait == nil:
			if b, err := t.fromStore(ctx); b != nil || err != nil {
				return b, err
			}
			continue
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// step takes the next link when there is one. Otherwise it returns what to wait for, nil when the store is to be read.
func (t *Tail) step() (*Batch, <-chan struct{}, error) {
	h := t.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.cut {
		t.cut = false
		if at := t.at.Load(); t.skip && h.newest != nil && h.newest.end > at {
			t.link = h.newest
			t.at.Store(h.newest.end)
			return nil, nil, &SkippedError{at, h.newest.end}
		}
	}
	if t.link == nil && !t.join() {
		return nil, nil, nil
	}
	t.leaveStore() // closing it takes nobody's time
	for t.link.next != nil {
		l := t.link.next
		t.link = l
		at := t.at.Load()
		if l.err == nil && l.end <= at {
			continue // it was in the store already
		}
		var gap *query.GapError
		if l.err != nil && !(errors.As(l.err, &gap) && l.end <= at) {
			t.at.Store(max(at, l.end))
			return nil, nil, l.err
		}
		if l.batch == nil {
			continue
		}
		t.at.Store(l.end)
		return l.batch.behind(at), nil, nil
	}
	return nil, t.link.ready, nil
}

// join gives the tail its place in the chain when it has got everything that the chain does not hold; the caller holds the
// hub's lock.
func (t *Tail) join() bool {
	if newest := t.h.newest; newest != nil && t.at.Load() >= newest.end {
		t.link = newest
	}
	return t.link != nil
}

// behind returns the part of a batch behind a sequence.
func (b *Batch) behind(at uint64) *Batch {
	n := 0
	for n < len(b.Events) && b.Events[n].Seq <= at {
		n++
	}
	if n == 0 {
		return b
	}
	return &Batch{Events: b.Events[n:], lines: b.lines, first: b.first + n}
}

// fromStore reads what the chain does not hold.
func (t *Tail) fromStore(ctx context.Context) (*Batch, error) {
	if t.follower == nil {
		t.follower = t.h.o.Source.Follow(t.at.Load())
	}
	events, err := t.follower.Next(ctx)
	t.at.Store(max(t.at.Load(), t.follower.Position()))
	if err != nil {
		return nil, err
	}
	t.h.mu.Lock()
	defer t.h.mu.Unlock()
	t.join() // before more comes; the events stay the follower's until the next call
	return &Batch{Events: events}, nil
}

func (t *Tail) leaveStore() {
	if t.follower != nil {
		t.follower.Close()
		t.follower = nil
	}
}
