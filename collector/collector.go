// Package collector holds what lookout's inputs share: the words they are wired with ([Input], [Stage], [Joiner], [Sink]),
// the batcher for senders that get no answer ([Batcher]) and the list of sources an open port accepts ([AllowList]).
// One protocol each lives in a folder below; this package knows none of them.
//
// # Use
//
// internal/app gives each input its sink and its stages and runs it:
//
//	sender → input (decode) → Joiner (lines of one event) → Stages (parse) → Sink (durable when Append returns)
//
// An input whose protocol has an answer (HTTP) calls the sink itself and answers after it. One without (UDP) puts its
// events into a Batcher.
//
// # What it guarantees
//
// No event disappears without being counted: for each input, what was sent to it and reached this machine is either
// appended, merged into another event by a Joiner, or in exactly one counter of drops.
package collector

import (
	"context"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// Sink takes events for good.
type Sink interface {
	// Append returns nil only when the batch is durable. It copies what it keeps; the batch stays the caller's. An
	// error that has a [Pressure] in its chain means "the same batch again, later".
	Append(ctx context.Context, b *event.Batch) error
}

// Counted is a sink that remembers, durable together with the events, how far each producer has got: an input whose source
// can be read again (Docker, a file) goes on exactly where its last event was stored.
type Counted interface {
	Sink
	// Producer returns the count of the producer's next event, from 1, and the Cursor of its last batch; ok is false for a
	// producer that was never seen, or not for long.
	Producer(name string) (next uint64, cursor []byte, ok bool)
}

// Stage changes the events of a batch in place on their way to the sink. One stage is used by one goroutine at a time.
type Stage interface {
	Process(b *event.Batch)
}

// Joiner merges the events that are lines of one (a stack trace, a line that was cut) over batches. It is used by one
// goroutine.
type Joiner interface {
	// Join takes out of b what may still get a continuation, and keeps a copy of it; it puts in what has become
	// complete. Events of one source stay in order.
	Join(b *event.Batch, now int64)
	// Flush appends to b what is complete by time, or everything. next is when to call it again, in ns since the Unix
	// epoch, 0 when nothing is held.
	Flush(b *event.Batch, now int64, all bool) (next int64)
}

// Input receives events of one protocol.
type Input interface {
	// Run receives until ctx ends, then drains what it has and returns. The error says why it could not run or go on.
	Run(ctx context.Context) error
}

// Pressure is an error that asks for the same call again, later.
type Pressure interface {
	error
	// RetryAfter is how long to wait.
	RetryAfter() time.Duration
	// Full reports whether the disk is full (503); otherwise the sink is only slower than its senders (429).
	Full() bool
}
