package gelf

import (
	"bytes"
	"fmt"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// maxFields is the most fields of a message. One with more is not a log line.
const maxFields = 10_000

// Decoder turns messages into events; see the package for the mapping. The zero value is ready. It is not safe for
// concurrent use.
type Decoder struct {
	// Now tells the time of receipt, for messages without a time; nil is time.Now.
	Now func() time.Time

	inflater inflater
	json     [collector.Buffers]flatjson.Decoder
}

// Decode appends to b the event of a whole message, compressed or not. buffer says which of [collector.Buffers] batches b
// is: the event may use memory that belongs to the decoder until Decode is called with that buffer and an empty batch.
// message itself is copied. text is the memory taken, in bytes, also when there is no event.
//
// cut reports that the event was cut to the limits of package event. The error wraps one of [ErrTooLarge], [ErrBomb],
// [ErrCompression], [ErrNotObject] and [ErrJSON].
func (d *Decoder) Decode(b *event.Batch, buffer int, message []byte) (text int, cut bool, err error) {
	message, err = d.inflater.inflate(message)
	if err != nil {
		return 0, false, err
	}
	if len(message) > MaxSize {
		return 0, false, ErrTooLarge
	}
	json := &d.json[buffer]
	if len(b.Events) == 0 {
		json.Reset()
	}
	json.MaxFields = maxFields
	before := json.Size()
	message = b.Copy(message)
	fields, rest, err := json.Object(message)
	text = len(message) + json.Size() - before
	if err != nil {
		if first := bytes.TrimLeft(message, "\xef\xbb\xbf \t\r\n"); len(first) == 0 || first[0] != '{' {
			return text, false, ErrNotObject
		}
		return text, false, fmt.Errorf("%w: %w", ErrJSON, err)
	}
	if len(bytes.Trim(rest, " \t\r\n\x00")) > 0 { // some clients end a message with 0, as over TCP
		return text, false, fmt.Errorf("%w: at byte %d: text behind the object", ErrJSON, len(message)-len(rest))
	}
	e := b.Add()
	m := mapping{b: b, e: e}
	m.fields(fields)
	if m.finish() {
		now := time.Now
		if d.Now != nil {
			now = d.Now
		}
		e.Time = now().UnixNano()
	}
	n := len(e.Message)
	cut = b.Clamp(e)
	if len(e.Message) != n {
		text += len(e.Message)
	}
	return text, cut, nil
}

// mapping makes one event of a message's fields. Its members are what decides over the event's parts once all fields are
// known; they point into the fields.
type mapping struct {
	b *event.Batch
	e *event.Event

	short, full              *event.Field
	level, timestamp, host   bool // have been seen
	timed                    bool // e.Time is set
	service, compose, swarm  *event.Field
	ownService, ownEnv       *event.Field // lookout.service and lookout.env, labels of a container
	stack, project           *event.Field
	tag, facility            *event.Field
	containerName, container *event.Field
	containerID              *event.Field
	env, environment         *event.Field
	stream, message          *event.Field
}

// The names of fields that would otherwise be taken for a part of the event.
var (
	nameService   = []byte("service_")
	nameEnv       = []byte("env_")
	nameHost      = []byte("host_")
	nameContainer = []byte("container_")
	nameStream    = []byte("stream_")
	nameLevel     = []byte("level_")
	nameMessage   = []byte("message_")
	nameTime      = []byte("time_")
	nameID        = []byte("id_")
	nameLevelText = []byte("level_text")
)

// fields takes the message's fields one after the other; each becomes a field of the event or a member of m.
func (m *mapping) fields(fields []event.Field) {
	for i := range fields {
		f := &fields[i]
		own := true // one of GELF's own, not a sender's
		if len(f.Name) > 1 && f.Name[0] == '_' {
			f.Name, own = f.Name[1:], false
		}
		switch string(f.Name) {
		case "version":
			if own && (string(f.Value) == "1.1" || string(f.Value) == "1.0") {
				continue
			}
		case "short_message":
			if own && m.short == nil {
				m.short = f
				continue
			}
		case "full_message":
			if own && m.full == nil {
				m.full = f
				continue
			}
		case "timestamp":
			if own && !m.timestamp {
				m.timestamp = true
				if m.e.Time, m.timed = parseTime(f.Value); m.timed {
					continue
				}
			}
		case "level":
			if own && !m.level {
				m.level = true
				if m.setLevel(f) {
					continue
				}
				f.Name = nameLevelText
			} else {
				f.Name = nameLevel
			}
		case "host":
			if own && !m.host && f.Kind != event.Null {
				m.host = true
				m.e.Host = f.Value
				if len(f.Value) <= event.MaxName {
					continue
				}
			}
			f.Name = nameHost
		case "service":
			if take(&m.service, f) {
				continue
			}
			f.Name = nameService
		case "env":
			if take(&m.env, f) {
				continue
			}
			f.Name = nameEnv
		case "container":
			if take(&m.container, f) {
				continue
			}
			f.Name = nameContainer
		case "stream":
			if take(&m.stream, f) {
				continue
			}
			f.Name = nameStream
		case "message":
			if take(&m.message, f) {
				continue
			}
			f.Name = nameMessage
		case "time":
			f.Name = nameTime
		case "id":
			f.Name = nameID
		case "lookout.service":
			take(&m.ownService, f)
		case "lookout.env":
			take(&m.ownEnv, f)
		case "com.docker.stack.namespace":
			take(&m.stack, f)
		case "com.docker.compose.project":
			take(&m.project, f)
		case "com.docker.compose.service":
			take(&m.compose, f)
		case "com.docker.swarm.service.name":
			take(&m.swarm, f)
		case "tag":
			take(&m.tag, f)
		case "facility":
			take(&m.facility, f)
		case "container_name":
			take(&m.containerName, f)
		case "container_id":
			take(&m.containerID, f)
		case "environment":
			take(&m.environment, f)
		}
		m.b.AddField(m.e, *f)
	}
}

// take lets *p be f unless there is one already, or f says nothing.
func take(p **event.Field, f *event.Field) bool {
	if *p != nil || f.Kind != event.String || len(f.Value) == 0 {
		return false
	}
	*p = f
	return true
}

// setLevel sets the event's level and reports whether that says all that f says.
func (m *mapping) setLevel(f *event.Field) bool {
	if f.Kind != event.Number && f.Kind != event.String {
		return false
	}
	l, ok := event.ParseLevel(f.Value)
	m.e.Level = l
	return ok && (len(f.Value) == 1 || string(f.Value) == l.String())
}

// finish sets the parts of the event that depend on several fields. untimed reports that the message had no usable time.
func (m *mapping) finish() (untimed bool) {
	e := m.e
	// What is used under its own name is not kept as a field as well, unless it is longer than the event's part may be.
	use := func(p *[]byte, f *event.Field, name []byte) {
		*p = f.Value
		if len(f.Value) > event.MaxName {
			m.keep(f, name)
		}
	}
	switch {
	case m.service != nil:
		use(&e.Service, m.service, nameService)
	case m.ownService != nil:
		e.Service = m.ownService.Value
	case m.compose != nil:
		e.Service = m.compose.Value
	case m.swarm != nil:
		e.Service = m.swarm.Value
	case m.tag != nil && !m.tagIsID():
		e.Service = m.tag.Value
	case m.containerName != nil:
		e.Service = m.containerName.Value
	case m.facility != nil:
		e.Service = m.facility.Value
	default:
		e.Service = e.Host
	}
	switch {
	case m.env != nil:
		use(&e.Env, m.env, nameEnv)
	case m.environment != nil:
		e.Env = m.environment.Value
	// Labels that Docker's driver was told to send: the names are those the containers read through the API have.
	case m.ownEnv != nil:
		e.Env = m.ownEnv.Value
	case m.stack != nil:
		e.Env = m.stack.Value
	case m.project != nil:
		e.Env = m.project.Value
	}
	switch {
	case m.containerName != nil:
		e.Container = m.containerName.Value
		m.keep(m.container, nameContainer)
	case m.container != nil:
		use(&e.Container, m.container, nameContainer)
	case m.containerID != nil:
		e.Container = m.containerID.Value
	}
	switch {
	case m.containerID != nil && e.Level == event.Info:
		e.Stream = streamOut
		m.keep(m.stream, nameStream)
	case m.containerID != nil && e.Level == event.Error:
		e.Stream = streamErr
		m.keep(m.stream, nameStream)
	case m.stream != nil:
		use(&e.Stream, m.stream, nameStream)
	}
	e.Message = m.text()
	return !m.timed
}

var (
	streamOut = []byte("stdout")
	streamErr = []byte("stderr")
)

func (m *mapping) keep(f *event.Field, name []byte) {
	if f != nil {
		m.b.AddField(m.e, event.Field{Name: name, Value: f.Value, Kind: f.Kind})
	}
}

// tagIsID reports whether the tag is a container's id, short or long, or has it in it: Docker's default tag is the id, and
// a service that gets a new name with every start is none.
func (m *mapping) tagIsID() bool {
	tag := m.tag.Value
	if m.containerID != nil && len(m.containerID.Value) >= 12 && bytes.Contains(tag, m.containerID.Value[:12]) {
		return true
	}
	if len(tag) != 12 && len(tag) != 64 {
		return false
	}
	for _, c := range tag {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// text returns the message: the longer of the two when it has the shorter in it, both when they differ.
func (m *mapping) text() []byte {
	short, full := value(m.short), value(m.full)
	if len(short) == 0 && len(full) == 0 {
		return value(m.message)
	}
	m.keep(m.message, nameMessage)
	switch {
	case len(full) == 0 || contains(short, full):
		return short
	case len(short) == 0 || contains(full, short):
		return full
	}
	return append(append(append(make([]byte, 0, len(short)+1+len(full)), short...), '\n'), full...)
}

// contains reports whether text has part in it, white space around part aside. A library that cuts a text in the middle of
// a surrogate pair leaves U+FFFD at its end.
func contains(text, part []byte) bool {
	part = bytes.TrimRight(bytes.TrimLeft(part, " \t\r\n"), " \t\r\n\uFFFD")
	return bytes.HasPrefix(text, part) || bytes.Contains(text, part)
}

func value(f *event.Field) []byte {
	if f == nil || f.Kind == event.Null {
		return nil
	}
	return f.Value
}

// parseTime reads a timestamp, as the package describes it, in ns since 1970. A date must be as RFC 3339 has it.
func parseTime(text []byte) (ns int64, ok bool) {
	ns, form, ok := timestamp.Parse(text)
	if form&timestamp.Unix == 0 && form&^timestamp.Seconds != 0 {
		return 0, false
	}
	return ns, ok
}
