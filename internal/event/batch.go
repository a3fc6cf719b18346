package event

// Batch is what moves from an input to a sink: some events of one producer, in its order.
//
// A batch is reused: its owner calls [Batch.Reset] and fills it again after the sink has returned. It is not safe for
// concurrent use.
type Batch struct {
	// Producer names who counts these events: an input, a container, an agent. Empty for a sender that cannot repeat
	// itself (UDP) or does not count: its events are never taken for repeats.
	Producer string
	// FirstSeq is the producer's own count of Events[0]; a producer counts its events without gaps, from any start.
	// The store keeps one high-water mark a producer and drops what it has already, so sending again is harmless.
	FirstSeq uint64
	// Cursor is the producer's position behind the last event, opaque to all but the producer, durable in the same
	// fsync as the events.
	Cursor []byte

	Events []Event

	arena  []byte
	fields []Field
}

// Reset empties the batch and keeps its memory. Everything handed out by the batch becomes invalid.
func (b *Batch) Reset() {
	b.Producer, b.FirstSeq, b.Cursor = "", 0, nil
	b.Events = b.Events[:0]
	b.arena = b.arena[:0]
	b.fields = b.fields[:0]
}

// Add appends an empty event and returns it; the pointer is valid until the next Add.
func (b *Batch) Add() *Event {
	if n := len(b.Events); n < cap(b.Events) {
		b.Events = b.Events[:n+1]
		b.Events[n] = Event{}
	} else {
		b.Events = append(b.Events, Event{})
	}
	return &b.Events[len(b.Events)-1]
}

// Drop removes the event that the last Add returned.
func (b *Batch) Drop() { b.Events = b.Events[:len(b.Events)-1] }

// Copy returns a copy of p that lives as long as the batch's contents.
func (b *Batch) Copy(p []byte) []byte {
	start := len(b.arena)
	b.arena = append(b.arena, p...)
	return b.arena[start:len(b.arena):len(b.arena)]
}

// CopyString is [Batch.Copy] for a string.
func (b *Batch) CopyString(s string) []byte {
	start := len(b.arena)
	b.arena = append(b.arena, s...)
	return b.arena[start:len(b.arena):len(b.arena)]
}

// AddField appends a field to e, an event of this batch. Only the slice header is kept: name and value must live as long
// as the batch's contents. Fields that are added to one event after another cost no allocation.
func (b *Batch) AddField(e *Event, f Field) {
	n := len(e.Fields)
	// The event's fields are the arena's last ones: they grow in place. Otherwise they move to the arena's end.
	if n == 0 || len(b.fields) < n || &b.fields[len(b.fields)-n] != &e.Fields[0] {
		b.fields = append(b.fields, e.Fields...)
	}
	b.fields = append(b.fields, f)
	e.Fields = b.fields[len(b.fields)-n-1 : len(b.fields) : len(b.fields)]
}

// Clamp cuts what would make e longer than the limits: the message to [MaxMessage] with [TruncationMark] behind it, and
// fields from the end until the whole event fits in [MaxEncoded]. It reports whether anything was cut.
func (b *Batch) Clamp(e *Event) bool {
	cut := false
	if len(e.Message) > MaxMessage {
		start := len(b.arena)
		b.arena = append(b.arena, e.Message[:MaxMessage-len(TruncationMark)]...)
		b.arena = append(b.arena, TruncationMark...)
		e.Message = b.arena[start:len(b.arena):len(b.arena)]
		cut = true
	}
	for _, p := range []*[]byte{&e.Service, &e.Env, &e.Host, &e.Container, &e.Stream} {
		if len(*p) > MaxName {
			*p = (*p)[:MaxName]
			cut = true
		}
	}
	// Counted down, not measured anew for each: there may be very many fields.
	for size := EncodedSize(e); size > MaxEncoded && len(e.Fields) > 0; cut = true {
		n := len(e.Fields)
		f := &e.Fields[n-1]
		size -= 1 + uvarintLen(len(f.Name)) + len(f.Name) + uvarintLen(len(f.Value)) + len(f.Value)
		size -= uvarintLen(n) - uvarintLen(n-1)
		e.Fields = e.Fields[:n-1]
	}
	return cut
}

// MaxName is the longest service, env, host, container or stream, in bytes.
const MaxName = 512
