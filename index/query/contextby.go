package query

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// ContextBy says which events are neighbours, and so are shown around a match: those that have the same value of some
// fields. The zero value is the source: service, env, host and container.
type ContextBy struct {
	kind contextKind
	name string // of contextField
}

type contextKind uint8

const (
	contextSource contextKind = iota
	contextAll
	contextField
)

// The fields of a source.
var sourceNames = [...]string{nameService, nameEnv, nameHost, nameContainer}

// ParseContextBy reads source (also for an empty text), all, or the name of a field, built-in or not. In quotes it is a
// field's name in any case.
func ParseContextBy(text string) (ContextBy, error) {
	name := text
	if n := len(text); n > 1 && (text[0] == '"' || text[0] == '\'') && text[n-1] == text[0] {
		name = text[1 : n-1]
	} else {
		switch text {
		case "", "source":
			return ContextBy{}, nil
		case "all":
			return ContextBy{kind: contextAll}, nil
		}
		if strings.ContainsAny(text, ",") {
			return ContextBy{}, fmt.Errorf("%q is several fields; give one, or quote a name that has a comma", shorten(text))
		}
	}
	switch name {
	case nameMessage, nameTime, nameID:
		return ContextBy{}, fmt.Errorf("%s differs from event to event; give source, service, host, all or a field", name)
	case "":
		return ContextBy{}, errors.New("an empty name is no field; give source, service, host, all or a field")
	}
	return ContextBy{kind: contextField, name: name}, nil
}

// String returns the text that parses to it.
func (c ContextBy) String() string {
	switch {
	case c.kind == contextSource:
		return "source"
	case c.kind == contextAll:
		return "all"
	case c.name == "source", c.name == "all", strings.ContainsAny(c.name, ",'\""):
		if strings.Contains(c.name, `"`) {
			return "'" + c.name + "'"
		}
		return `"` + c.name + `"`
	}
	return c.name
}

// OneService tells whether neighbours always are of one service.
func (c ContextBy) OneService() bool {
	return c.kind == contextSource || c.kind == contextField && c.name == nameService
}

func (c *ContextBy) names() []string {
	switch c.kind {
	case contextSource:
		return sourceNames[:]
	case contextField:
		return []string{c.name}
	}
	return nil
}

// value returns an event's value of a field. An extra field that occurs several times has the first one's.
func contextValue(e *event.Event, name string) (v []byte, ok bool) {
	if of := builtinValue(name); of != nil {
		return of(e), true
	}
	if f := e.Field(name); f != nil {
		return f.Value, true
	}
	return nil, false
}

// AppendKey appends what neighbours have in common. It is false for an event without the field, which has no neighbours; to be
// without service, host and so on is a value like any other.
func (c ContextBy) AppendKey(dst []byte, e *event.Event) (key []byte, ok bool) {
	for _, name := range c.names() {
		v, ok := contextValue(e, name)
		if !ok {
			return dst, false
		}
		dst = binary.AppendUvarint(dst, uint64(len(v)))
		dst = append(dst, v...)
	}
	return dst, true
}

// maxContextValue is the length from which a value is not made part of a query.
const maxContextValue = 4 << 10

// Query returns a query that all neighbours of an event match, nil for everything. When it is exact nothing else matches. The
// event has a key (see AppendKey).
func (c ContextBy) Query(e *event.Event) (q *Query, exact bool) {
	var kids []node
	exact = true
	for _, name := range c.names() {
		v, _ := contextValue(e, name)
		switch {
		case len(v) > maxContextValue:
			exact = false
		case name == nameLevel && e.Level != event.None:
			kids = append(kids, &fieldNode{name: name, op: opEq, vals: []value{{kind: vLevel, level: e.Level}}})
		case len(v) == 0 && builtin(name):
			kids = append(kids, not(&fieldNode{name: name, op: opHas, vals: []value{{kind: vExists}}}))
		default:
			kids = append(kids, &fieldNode{name: name, op: opEq, vals: []value{{kind: vText, text: string(v)}}})
			exact = exact && builtin(name) // a field may have several values
		}
	}
	if len(kids) == 0 {
		return nil, exact
	}
	q = &Query{root: and(kids...)}
	q.normal = printNode(q.root)
	return compiled(q), exact
}

// Both returns a query that the events match which match both. Either may be nil, for everything.
func Both(a, b *Query) *Query {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	q := &Query{root: and(a.root, b.root)}
	q.normal = printNode(q.root)
	return compiled(q)
}
