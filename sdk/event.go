package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Event is one log line and what is known about it. The zero value of every part means "not known".
type Event struct {
	// ID is the server's name for the event, given when it was stored; empty in events to send.
	ID string
	// Time is when it happened, to the nanosecond. In events to send, zero takes the time of receipt.
	Time time.Time
	// Received is when the server received it; not sent.
	Received time.Time
	// Level is the severity by name: emergency, alert, critical, error, warning, notice, info, debug; the server reads
	// the usual other spellings too.
	Level string

	Service   string
	Env       string
	Host      string
	Container string
	Stream    string
	Message   string

	// Fields are the extra fields, in order of arrival.
	Fields []Field
}

// Field is one extra field of an event.
type Field struct {
	Name string
	// Value is, in an event from a server, a string, a [json.Number] with the digits as they came, a bool, nil, a []any of
	// these for a field that occurred more than once, or a [json.RawMessage] ({}, or something deeply nested). In an event
	// to send it is anything that encoding/json can write; objects are flattened with dots by the server.
	Value any
}

// Field returns the value of the first field of the name, and whether there is one.
func (e *Event) Field(name string) (value any, ok bool) {
	for i := range e.Fields {
		if e.Fields[i].Name == name {
			return e.Fields[i].Value, true
		}
	}
	return nil, false
}

// AppendNDJSON appends e as one line of NDJSON, with its newline, as the server takes it: without the id and the time of receipt, which the
// server gives itself. [SendOptions].Exact makes an equal event of it.
func (e *Event) AppendNDJSON(dst []byte) ([]byte, error) { return appendEvent(dst, e) }

// appendEvent appends e as one line of NDJSON, with its newline. Strings keep their bytes, valid UTF-8 or not.
func appendEvent(dst []byte, e *Event) ([]byte, error) {
	dst = append(dst, '{')
	if !e.Time.IsZero() {
		dst = append(dst, `"time":"`...)
		dst = e.Time.UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, `",`...)
	}
	for _, p := range [...]struct{ name, value string }{
		{`"service":`, e.Service}, {`"env":`, e.Env}, {`"host":`, e.Host}, {`"container":`, e.Container},
		{`"stream":`, e.Stream}, {`"level":`, e.Level},
	} {
		if p.value != "" {
			dst = append(dst, p.name...)
			dst = appendString(dst, p.value)
			dst = append(dst, ',')
		}
	}
	dst = append(dst, `"message":`...)
	dst = appendString(dst, e.Message)
	for _, f := range e.Fields {
		dst = append(dst, ',')
		dst = appendString(dst, f.Name)
		dst = append(dst, ':')
		if s, ok := f.Value.(string); ok {
			dst = appendString(dst, s)
			continue
		}
		if raw, ok := f.Value.(json.RawMessage); ok && json.Valid(raw) && bytes.IndexByte(raw, '\n') < 0 {
			dst = append(dst, raw...) // json.Marshal would write it in another way
			continue
		}
		value, err := json.Marshal(f.Value)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		dst = append(dst, value...)
	}
	return append(dst, '}', '\n'), nil
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 stand in it as they are: the server keeps them.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		start = i + 1
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Row is one event of an answer.
type Row struct {
	Event
	// Context is true for an event that stands beside a match and does not match itself.
	Context bool
	// Group counts the groups of an answer with context, from 1: the events of one group are neighbours of one source.
	Group int
	// JSON is the event as the server wrote it.
	JSON string
}

// line is one line of an answer: exactly one of its parts is set.
type line struct {
	row      Row
	isRow    bool
	summary  *wireSummary
	position *uint64
	skipped  *Skipped
	err      *wireError
}

// parseLine reads one line of an answer. Names it does not know are passed over: later servers may say more.
func parseLine(text string, l *line) error {
	*l = line{}
	s := scanner{s: text}
	kinds := 0
	err := s.object(func(name string) error {
		var err error
		switch name {
		case "event":
			kinds++
			l.isRow = true
			s.space()
			start := s.i
			err = parseEvent(&s, &l.row.Event)
			l.row.JSON = text[start:s.i]
		case "context":
			l.row.Context, err = s.bool()
		case "group":
			var n json.Number
			if n, err = s.number(); err == nil {
				var k int64
				k, err = n.Int64()
				l.row.Group = int(k)
			}
		case "summary":
			kinds++
			l.summary = new(wireSummary)
			err = s.unmarshal(l.summary)
		case "position":
			kinds++
			var p struct {
				Sequence *uint64 `json:"sequence"`
			}
			if err = s.unmarshal(&p); err == nil && p.Sequence == nil {
				err = errSyntax
			}
			l.position = p.Sequence
		case "skipped":
			kinds++
			var k struct {
				Events    *int64
				After, To uint64
				Complete  *bool
			}
			if err = s.unmarshal(&k); err == nil && (k.Events == nil || k.To <= k.After) {
				err = errSyntax
			}
			if err == nil {
				l.skipped = &Skipped{Events: *k.Events, After: k.After, To: k.To, Incomplete: k.Complete != nil && !*k.Complete}
			}
		case "error":
			kinds++
			l.err = new(wireError)
			err = s.unmarshal(l.err)
		default:
			_, err = s.skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	s.space()
	if s.i != len(text) || kinds != 1 {
		return errSyntax
	}
	return nil
}

func parseEvent(s *scanner, e *Event) error {
	return s.object(func(name string) error {
		var to *string
		switch name {
		case "id":
			to = &e.ID
		case "level":
			to = &e.Level
		case "service":
			to = &e.Service
		case "env":
			to = &e.Env
		case "host":
			to = &e.Host
		case "container":
			to = &e.Container
		case "stream":
			to = &e.Stream
		case "message":
			to = &e.Message
		case "time", "received":
			text, err := s.string()
			if err != nil {
				return err
			}
			t, err := time.Parse(time.RFC3339Nano, text)
			if err != nil {
				return errSyntax
			}
			if name == "time" {
				e.Time = t
			} else {
				e.Received = t
			}
			return nil
		case "fields":
			return s.object(func(name string) error {
				value, err := s.value(0)
				e.Fields = append(e.Fields, Field{name, value})
				return err
			})
		default:
			_, err := s.skip()
			return err
		}
		var err error
		*to, err = s.string()
		return err
	})
}

type syntaxError struct{}

func (syntaxError) Error() string { return "not a line of lookout's API" }

var errSyntax = syntaxError{}

// scanner reads JSON strictly, in one pass and in order; encoding/json loses the order of an object's names and costs
// several times as much, and a grep decodes a line for every match.
type scanner struct {
	s string
	i int
}

func (s *scanner) space() {
	for s.i < len(s.s) && (s.s[s.i] == ' ' || s.s[s.i] == '\t' || s.s[s.i] == '\n' || s.s[s.i] == '\r') {
		s.i++
	}
}

// next skips space and takes c, reporting whether it was there.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.s) && s.s[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) object(each func(name string) error) error {
	if !s.next('{') {
		return errSyntax
	}
	if s.next('}') {
		return nil
	}
	for {
		name, err := s.string()
		if err != nil {
			return err
		}
		if !s.next(':') {
			return errSyntax
		}
		if err := each(name); err != nil {
			return err
		}
		if s.next('}') {
			return nil
		}
		if !s.next(',') {
			return errSyntax
		}
	}
}

func (s *scanner) string() (string, error) {
	if !s.next('"') {
		return "", errSyntax
	}
	start := s.i
	for i := start; i < len(s.s); i++ {
		switch c := s.s[i]; {
		case c == '"':
			s.i = i + 1
			return s.s[start:i], nil
		case c < 0x20:
			return "", errSyntax
		case c == '\\':
			return s.escaped(start, i)
		}
	}
	return "", errSyntax
}

// escaped goes on with a string that began at start and has its first backslash at i.
func (s *scanner) escaped(start, i int) (string, error) {
	buf := make([]byte, 0, len(s.s[start:i])+64)
	buf = append(buf, s.s[start:i]...)
	for i < len(s.s) {
		c := s.s[i]
		switch {
		case c == '"':
			s.i = i + 1
			return string(buf), nil
		case c < 0x20:
			return "", errSyntax
		case c != '\\':
			j := i + 1
			for j < len(s.s) && s.s[j] >= 0x20 && s.s[j] != '"' && s.s[j] != '\\' {
				j++
			}
			buf = append(buf, s.s[i:j]...)
			i = j
			continue
		}
		if i+1 >= len(s.s) {
			return "", errSyntax
		}
		c = s.s[i+1]
		i += 2
		switch c {
		case '"', '\\', '/':
			buf = append(buf, c)
		case 'b':
			buf = append(buf, '\b')
		case 'f':
			buf = append(buf, '\f')
		case 'n':
			buf = append(buf, '\n')
		case 'r':
			buf = append(buf, '\r')
		case 't':
			buf = append(buf, '\t')
		case 'u':
			r, ok := hex4(s.s, i)
			if !ok {
				return "", errSyntax
			}
			i += 4
			if r >= 0xD800 && r < 0xE000 { // a surrogate: with its other half, or U+FFFD
				low, ok := rune(0), false
				if r < 0xDC00 && i+1 < len(s.s) && s.s[i] == '\\' && s.s[i+1] == 'u' {
					low, ok = hex4(s.s, i+2)
				}
				if ok && low >= 0xDC00 && low < 0xE000 {
					r = (r-0xD800)<<10 | (low - 0xDC00) + 0x10000
					i += 6
				} else {
					r = utf8.RuneError
				}
			}
			buf = utf8.AppendRune(buf, r)
		default:
			return "", errSyntax
		}
	}
	return "", errSyntax
}

func hex4(s string, i int) (r rune, ok bool) {
	if i+4 > len(s) {
		return 0, false
	}
	for _, c := range []byte(s[i : i+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

func (s *scanner) literal(word string) bool {
	if len(s.s)-s.i >= len(word) && s.s[s.i:s.i+len(word)] == word {
		s.i += len(word)
		return true
	}
	return false
}

func (s *scanner) bool() (bool, error) {
	s.space()
	switch {
	case s.literal("true"):
		return true, nil
	case s.literal("false"):
		return false, nil
	}
	return false, errSyntax
}

func (s *scanner) number() (json.Number, error) {
	s.space()
	start := s.i
	digits := func() bool {
		from := s.i
		for s.i < len(s.s) && s.s[s.i] >= '0' && s.s[s.i] <= '9' {
			s.i++
		}
		return s.i > from
	}
	s.literal("-")
	if !s.literal("0") && !digits() {
		return "", errSyntax
	}
	if s.literal(".") && !digits() {
		return "", errSyntax
	}
	if s.literal("e") || s.literal("E") {
		if !s.literal("+") {
			s.literal("-")
		}
		if !digits() {
			return "", errSyntax
		}
	}
	return json.Number(s.s[start:s.i]), nil
}

// maxDepth bounds the nesting of what is passed over or kept raw; the server's own answers are flat.
const maxDepth = 200

// value reads what may stand as a field's value.
func (s *scanner) value(depth int) (any, error) {
	s.space()
	if s.i >= len(s.s) || depth > maxDepth {
		return nil, errSyntax
	}
	switch s.s[s.i] {
	case '"':
		return s.string()
	case 't', 'f':
		return s.bool()
	case 'n':
		if s.literal("null") {
			return nil, nil
		}
		return nil, errSyntax
	case '{':
		start := s.i
		err := s.object(func(string) error {
			_, err := s.value(depth + 1)
			return err
		})
		return json.RawMessage(s.s[start:s.i]), err
	case '[':
		s.i++
		list := []any{}
		if s.next(']') {
			return list, nil
		}
		for {
			v, err := s.value(depth + 1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			if s.next(']') {
				return list, nil
			}
			if !s.next(',') {
				return nil, errSyntax
			}
		}
	}
	return s.number()
}

// skip passes over a value of any kind and returns its text.
func (s *scanner) skip() (string, error) {
	s.space()
	start := s.i
	_, err := s.value(0)
	return s.s[start:s.i], err
}

// unmarshal reads a value of any kind into to, with encoding/json.
func (s *scanner) unmarshal(to any) error {
	text, err := s.skip()
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), to)
}
