package collector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/lookoutlog/lookout/internal/event"
)

// Buffers is how many batches a [Batcher] fills in turn. An input that keeps memory beside a batch (what a decoder hands
// out) keeps as many of it.
const Buffers = 2

// Bounds of a [Batcher] when its options name none.
const (
	DefaultMaxEvents = 16384
	DefaultMaxBytes  = 16 << 20
)

const (
	eventSize = int(unsafe.Sizeof(event.Event{}))
	fieldSize = int(unsafe.Sizeof(event.Field{}))
)

// attempts is how often a batch is offered to a sink that fails for another reason than pressure. A sink may have kept
// the batch in spite of its error, so that more attempts could double events; fewer would lose them to a disk that
// hiccups once.
const attempts = 3

// pace is the shortest time between the beginnings of two appends. An event that comes alone goes on at once; a stream
// would otherwise be a commit and an fsync for every few datagrams, and a sender without an answer does not notice 5 ms.
const pace = 5 * time.Millisecond

// longest is the longest wait before a batch is offered again, whatever the sink asks for.
const longest = time.Minute

// BatcherOptions is what a [Batcher] works with.
type BatcherOptions struct {
	Sink Sink // required
	// Joiners run first, one after the other, then Stages.
	Joiners []Joiner
	Stages  []Stage
	// MaxEvents and MaxBytes bound what waits while a batch is appended: at either of them events are dropped, and
	// counted. The bytes are those of the text, of the events and of their fields. 0: [DefaultMaxEvents],
	// [DefaultMaxBytes].
	MaxEvents int
	MaxBytes  int
	// Name is the input's, for the log.
	Name string
	Now  func() time.Time // nil: time.Now
	Log  *slog.Logger     // nil: nothing is logged
}

// Batcher carries events from an input that cannot answer its sender (UDP) to a sink.
//
// One batch is filled while the one before it is appended. An event goes on as soon as the append before it has ended,
// and 5 ms after that began: batches are single events when little comes in, and grow with the stream.
// When the batch being filled has reached its bound, further events are dropped and counted by cause; memory stays
// bounded by two batches.
//
// Of what was added each event ends in exactly one of [BatcherStats]' Appended, Merged and drops.
type Batcher struct {
	o    BatcherOptions
	pace time.Duration // between the beginnings of two appends; tests of other things set 0
	wake chan struct{} // cap 1: there is something to append

	mu      sync.Mutex
	batches [Buffers]event.Batch
	filling int // index of the batch being filled
	bytes   int // what it takes in memory
	before  int // its events at Begin
	closed  bool

	pressed atomic.Bool // the sink has asked to wait and has not taken the batch yet

	added, appended, merged              atomic.Int64
	overflow, pressure, failed, shutdown atomic.Int64
}

// BatcherStats counts events since the start.
type BatcherStats struct {
	Added    int64 // put into a batch
	Appended int64 // durable
	Merged   int64 // became part of another event, or are held for that

	// Dropped, by cause:
	Overflow int64 // the sink was slower than the sender
	Pressure int64 // the sink asked to wait (a full disk, usually) and the buffer was full
	Failed   int64 // the sink failed several times
	Shutdown int64 // the time for draining was over, or the input was closed already
}

// NewBatcher returns a batcher; it carries nothing before [Batcher.Run].
func NewBatcher(o BatcherOptions) *Batcher {
	if o.MaxEvents <= 0 {
		o.MaxEvents = DefaultMaxEvents
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Batcher{o: o, pace: pace, wake: make(chan struct{}, 1)}
}

// Begin hands out the batch being filled; [Batcher.End] must follow soon, for the append of the next batch waits for it.
// buffer, below [Buffers], says which batch it is: what the input keeps beside that batch is free when the batch has no
// events. Without room ok is false: one event is counted as dropped and End must not be called.
func (b *Batcher) Begin() (batch *event.Batch, buffer int, ok bool) {
	b.mu.Lock()
	batch = &b.batches[b.filling]
	b.before = len(batch.Events)
	if b.closed || b.before >= b.o.MaxEvents || b.bytes >= b.o.MaxBytes {
		closed := b.closed
		b.mu.Unlock()
		switch {
		case closed:
			b.shutdown.Add(1)
		case b.pressed.Load():
			b.pressure.Add(1)
		default:
			b.overflow.Add(1)
		}
		return nil, 0, false
	}
	return batch, b.filling, true
}

// End gives the batch of [Batcher.Begin] back. text is how many bytes of text were put into it since then, in its arena or
// beside it.
func (b *Batcher) End(text int) {
	batch := &b.batches[b.filling]
	n := len(batch.Events) - b.before
	if len(batch.Events) > 0 {
		b.bytes += text + n*eventSize
		for i := b.before; i < len(batch.Events); i++ {
			b.bytes += len(batch.Events[i].Fields) * fieldSize
		}
	} else {
		batch.Reset() // nobody comes to empty it of what could not be decoded
	}
	b.mu.Unlock()
	if n == 0 {
		return
	}
	b.added.Add(int64(n))
	select {
	case b.wake <- struct{}{}:
	default: // Run has been told already
	}
}

// Close ends the filling: Run appends what there is, also what joiners hold, and returns.
func (b *Batcher) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// Run appends what is added, until [Batcher.Close] has been called and everything is appended. When ctx ends first, what
// is left is counted as dropped.
func (b *Batcher) Run(ctx context.Context) {
	timer, gap := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer timer.Stop()
	defer gap.Stop()
	timer.Stop()
	var last time.Time
	for {
		select {
		case <-b.wake:
			if wait := b.pace - time.Since(last); wait > 0 {
				gap.Reset(wait)
				select {
				case <-gap.C:
				case <-ctx.Done():
					b.Close()
				}
			}
		case <-timer.C:
		case <-ctx.Done():
			b.Close()
		}
		begun := time.Now()
		batch, closed := b.swap()
		if len(batch.Events) > 0 { // not when told of what the swap before had taken already
			last = begun
		}
		next := b.process(ctx, batch, closed)
		if closed {
			return
		}
		if next == 0 {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Unix(0, next).Sub(b.o.Now())))
		}
	}
}

// swap takes the batch that was being filled; the other one, appended by now, is filled next. Nothing is added to the
// batch of a swap that says closed, nor after it.
func (b *Batcher) swap() (batch *event.Batch, closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch = &b.batches[b.filling]
	b.filling = (b.filling + 1) % Buffers
	b.batches[b.filling].Reset()
	b.bytes = 0
	return batch, b.closed
}

// process takes batch through joiners and stages to the sink. next is when a joiner wants to be called again.
func (b *Batcher) process(ctx context.Context, batch *event.Batch, all bool) (next int64) {
	before := len(batch.Events)
	now := b.o.Now().UnixNano()
	for _, j := range b.o.Joiners {
		if len(batch.Events) > 0 {
			j.Join(batch, now)
		}
		// Behind Join: what a joiner still holds of a source is younger than all that is in the batch.
		if at := j.Flush(batch, now, all); at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	b.merged.Add(int64(before - len(batch.Events)))
	if len(batch.Events) == 0 {
		return next
	}
	for _, s := range b.o.Stages {
		s.Process(batch)
	}
	b.append(ctx, batch)
	return next
}

// append offers the batch until the sink has it, gives it up, or ctx ends.
func (b *Batcher) append(ctx context.Context, batch *event.Batch) {
	n := int64(len(batch.Events))
	dropped := b.pressure.Load()
	for failures := 0; ; {
		err := b.o.Sink.Append(ctx, batch)
		if err == nil {
			b.appended.Add(n)
			if b.pressed.CompareAndSwap(true, false) {
				b.o.Log.Info("events are accepted again", "input", b.o.Name, "dropped", b.pressure.Load()-dropped)
			}
			return
		}
		if ctx.Err() != nil {
			b.shutdown.Add(n)
			b.o.Log.Error("stopped with events not stored", "input", b.o.Name, "dropped", n, "error", err)
			return
		}
		var wait time.Duration
		var p Pressure
		if errors.As(err, &p) {
			wait = min(max(p.RetryAfter(), time.Millisecond), longest)
			if b.pressed.CompareAndSwap(false, true) {
				b.o.Log.Warn("events wait for the store and are dropped when the buffer is full", "input", b.o.Name, "error", err)
			}
		} else {
			if failures++; failures == attempts {
				b.failed.Add(n)
				b.pressed.Store(false)
				b.o.Log.Error("events could not be stored", "input", b.o.Name, "dropped", n, "attempts", attempts, "error", err)
				return
			}
			wait = 50 * time.Millisecond << failures
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// Pressed reports whether the sink has asked to wait: what finds no room meanwhile is in Pressure, not in Overflow.
func (b *Batcher) Pressed() bool { return b.pressed.Load() }

// Stats returns the counters; events on their way are in Added alone.
func (b *Batcher) Stats() BatcherStats {
	return BatcherStats{
		Added: b.added.Load(), Appended: b.appended.Load(), Merged: b.merged.Load(),
		Overflow: b.overflow.Load(), Pressure: b.pressure.Load(), Failed: b.failed.Load(), Shutdown: b.shutdown.Load(),
	}
}
