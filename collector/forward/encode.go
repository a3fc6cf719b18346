package forward

import (
	"bytes"
	"strconv"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// What the server takes of one line (collector/native); a test holds these against it.
const (
	maxLine  = 4 << 20
	maxNames = 1 << 16 // leaves of one line, the built-in ones included
	builtIns = 9       // the most names that are written beside the fields, time_text included
)

// encoder writes events as the lines of a body. It is not safe for concurrent use.
type encoder struct {
	raw     []byte
	check   []byte
	decoder flatjson.Decoder
}

// line appends e as one line with its newline. Every byte of e comes back from the server's decoder as it was, but for what the
// package's documentation lists. An event without a time gets received. cut tells that the line would be longer than the
// server takes, and is therefore without e's last fields.
func (n *encoder) line(dst []byte, e *event.Event, received int64) (line []byte, cut bool) {
	start := len(dst)
	at := e.Time
	if at < timestamp.Min || at >= timestamp.Max {
		at = received
	}
	dst = append(dst, `{"time":`...)
	dst = strconv.AppendInt(dst, at, 10)
	if at != e.Time && e.Time != 0 {
		dst = append(dst, `,"time_text":`...)
		dst = strconv.AppendInt(dst, e.Time, 10)
	}
	if e.Level != event.None {
		dst = append(dst, `,"level":"`...)
		dst = append(dst, e.Level.String()...)
		dst = append(dst, '"')
	}
	for _, part := range [...]struct {
		name string
		text []byte
	}{{`,"service":`, e.Service}, {`,"env":`, e.Env}, {`,"host":`, e.Host}, {`,"container":`, e.Container}, {`,"stream":`, e.Stream}, {`,"message":`, e.Message}} {
		if len(part.text) > 0 {
			dst = appendText(append(dst, part.name...), part.text)
		}
	}
	for i := range e.Fields {
		f := &e.Fields[i]
		before := len(dst)
		dst = append(dst, ',')
		dst = appendText(dst, f.Name)
		dst = append(dst, ':')
		dst = n.value(dst, f)
		if len(dst)-start >= maxLine || i == maxNames-builtIns { // the brace is to come, the newline does not count
			return append(dst[:before], "}\n"...), true
		}
	}
	return append(dst, "}\n"...), false
}

// value trusts no kind: what is not what its kind says is written as a string.
func (n *encoder) value(dst []byte, f *event.Field) []byte {
	if flatjson.IsScalar(f) {
		return append(dst, f.Value...)
	}
	if f.Kind == event.JSON {
		if raw := n.oneLine(f.Value); n.stays(raw) {
			return append(append(append(dst, opening...), raw...), closing...)
		}
	}
	return appendText(dst, f.Value)
}

// A value that stays nested is wrapped in as many arrays as the server's decoder takes apart; it keeps what is inside as it
// is, under the same name.
var (
	opening = bytes.Repeat([]byte{'['}, flatjson.MaxDepth-1)
	closing = bytes.Repeat([]byte{']'}, flatjson.MaxDepth-1)
)

// stays asks the decoder itself whether raw will come back as it is.
func (n *encoder) stays(raw []byte) bool {
	n.decoder.Reset()
	n.check = append(append(n.check[:0], `{"":`...), opening...)
	n.check = append(append(append(n.check, raw...), closing...), '}')
	fields, rest, err := n.decoder.Object(n.check)
	return err == nil && len(rest) == 0 && len(fields) == 1 && fields[0].Kind == event.JSON && bytes.Equal(fields[0].Value, raw)
}

// oneLine is raw without newlines: between values they become spaces, in a string they are escaped.
func (n *encoder) oneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 {
		return raw
	}
	n.raw = n.raw[:0]
	quoted, escaped := false, false
	for _, c := range raw {
		switch {
		case c != '\n':
			n.raw = append(n.raw, c)
		case quoted:
			n.raw = append(n.raw, `\n`...)
		default:
			n.raw = append(n.raw, ' ')
		}
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		}
	}
	return n.raw
}

// appendText appends text as a string, as few of its bytes escaped as the server needs: quotes, backslashes and newlines. Bytes that are
// no UTF-8 and control characters stand as they are, which the server's grammar allows.
func appendText(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		i := bytes.IndexAny(text, "\"\\\n")
		if i < 0 {
			return append(append(dst, text...), '"')
		}
		dst = append(append(dst, text[:i]...), '\\')
		if c := text[i]; c == '\n' {
			dst = append(dst, 'n')
		} else {
			dst = append(dst, c)
		}
		text = text[i+1:]
	}
}
