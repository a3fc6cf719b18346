// Package event is the word the parts of lookout share: one log line with what is known about it, and the batch it
// travels in.
//
// # Use
//
// An input fills a [Batch]: it calls [Batch.Add] for each line, sets the event's slices, and hands the batch to a sink.
// [AppendEvent] and [Decode] are the binary form that the write-ahead log, the heads and the plain blocks store.
//
// # Who owns the bytes
//
// The slices of an [Event] never belong to the event. In a batch they point into memory that the batch's filler keeps
// unchanged until the sink has returned: the request's body, or the batch's own arena ([Batch.Copy]). A sink copies what
// it keeps. An event from [Decode] points into the bytes it was decoded from. Whoever keeps an event longer takes a
// [Event.Clone].
//
// # What it guarantees
//
// Filling a reused batch allocates nothing per event once the batch has grown to its usual size. No map is involved: the
// extra fields are a slice in order of arrival, and the same name may occur more than once (an array, or a duplicate key).
// Bytes are kept as they came: no part of this package requires or produces valid UTF-8.
package event

import "bytes"

// MaxMessage is the longest message kept, in bytes; inputs cut longer ones and append [TruncationMark].
const MaxMessage = 1 << 20

// MaxEncoded is the longest encoded event, in bytes. [Decode] refuses a longer one as corrupt; inputs see to it that
// message and fields together stay below (see [Batch.Clamp]).
const MaxEncoded = 4 << 20

// TruncationMark ends a message that was cut at [MaxMessage].
const TruncationMark = "…[cut by lookout]"

// Kind says what a field's value was on the wire, so that 200 and "200" come back as they were.
type Kind uint8

// The kinds of values. Every kind's Value is text: a number keeps its digits (1.50, -0, 1e400), a boolean is true or
// false, null is null.
const (
	String Kind = iota
	Number
	Bool
	Null
	JSON // raw JSON that has no leaves to flatten: {} or [], or a part nested deeper than an input's limit
)

// Field is one extra field of an event. Nested objects are flattened with dots before they get here; an array is the same
// name several times.
type Field struct {
	Name  []byte
	Value []byte
	Kind  Kind
}

// Event is one log line and what is known about it. The zero value of every part means "not known".
type Event struct {
	// Seq is the order of arrival, given when the event was appended to the store, from 1; 0 before that.
	Seq uint64
	// Time is when the event happened, in ns since the Unix epoch. Inputs set it (to the time of receipt when the
	// sender gave none or an impossible one).
	Time int64
	// Received is when lookout received the event, in ns since the Unix epoch; the store sets it, once a batch.
	Received int64
	// Level is the severity, [None] when the event has none.
	Level Level

	Service   []byte // the program's name; what people select by first
	Env       []byte // production, staging, …
	Host      []byte
	Container []byte // the container's name or id
	Stream    []byte // stdout, stderr, or the input's kind (syslog, …)
	Message   []byte // the line

	Fields []Field
}

// SameSource tells whether two events come from the same source: service, env, host and container are equal.
func (e *Event) SameSource(o *Event) bool {
	return bytes.Equal(e.Service, o.Service) && bytes.Equal(e.Env, o.Env) &&
		bytes.Equal(e.Host, o.Host) && bytes.Equal(e.Container, o.Container)
}

// Field returns the first field of the name, nil when there is none.
func (e *Event) Field(name string) *Field {
	for i := range e.Fields {
		if string(e.Fields[i].Name) == name {
			return &e.Fields[i]
		}
	}
	return nil
}

// Clone returns a copy that shares no memory with e.
func (e *Event) Clone() Event {
	n := len(e.Service) + len(e.Env) + len(e.Host) + len(e.Container) + len(e.Stream) + len(e.Message)
	for _, f := range e.Fields {
		n += len(f.Name) + len(f.Value)
	}
	buf := make([]byte, 0, n)
	keep := func(p []byte) []byte {
		if len(p) == 0 {
			return nil
		}
		start := len(buf)
		buf = append(buf, p...)
		return buf[start:len(buf):len(buf)]
	}
	c := *e
	c.Service, c.Env, c.Host = keep(e.Service), keep(e.Env), keep(e.Host)
	c.Container, c.Stream, c.Message = keep(e.Container), keep(e.Stream), keep(e.Message)
	c.Fields = nil
	if len(e.Fields) > 0 {
		c.Fields = make([]Field, len(e.Fields))
		for i, f := range e.Fields {
			c.Fields[i] = Field{Name: keep(f.Name), Value: keep(f.Value), Kind: f.Kind}
		}
	}
	return c
}
