package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// Why tells of one event after the other why it matches a query, or why not. It is safe for concurrent use.
type Why struct{ root *judged }

// Reason is one term that decides on an event.
type Reason struct {
	Term  string // in the normal form
	Holds bool   // of the event; a term behind - or NOT rules it out by holding
	Found string // what the event has there, in words
}

func (r Reason) String() string {
	s := r.Term + " holds"
	if !r.Holds {
		s = r.Term + " does not hold"
	}
	if r.Found != "" {
		s += ": " + r.Found
	}
	return s
}

// judged is a node with what decides on it alone.
type judged struct {
	n    node
	m    matcher
	kids []*judged
}

// Why returns what tells why events match the query.
func (q *Query) Why() *Why { return &Why{weigh(q.root)} }

func weigh(n node) *judged {
	var c compiler
	j := &judged{n: n, m: c.compile(n)}
	var kids []node
	switch n := n.(type) {
	case *andNode:
		kids = n.kids
	case *orNode:
		kids = n.kids
	case *notNode:
		kids = []node{n.kid}
	}
	for _, k := range kids {
		j.kids = append(j.kids, weigh(k))
	}
	return j
}

// Of tells whether the event matches, and gives the terms that decide it: of one that matches all that it needs, of another
// all that would have to be otherwise. It keeps no reference to e.
func (w *Why) Of(e *event.Event) (match bool, reasons []Reason) {
	match = w.root.m.match(e)
	w.root.reasons(e, match, func(r Reason) {
		if !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	})
	return match, reasons
}

// reasons gives the terms that make the node hold, or not hold.
func (j *judged) reasons(e *event.Event, holds bool, add func(Reason)) {
	switch j.n.(type) {
	case *andNode, *orNode:
		// What all have to do is not done because of some, what one has to do because of none.
		_, all := j.n.(*andNode)
		for _, k := range j.kids {
			if all == holds || k.m.match(e) == holds {
				k.reasons(e, holds, add)
			}
		}
	case *notNode:
		j.kids[0].reasons(e, !holds, add)
	default:
		add(Reason{Term: printNode(j.n), Holds: holds, Found: printable(j.found(e, holds))})
	}
}

// found says what the event has where the term looks.
func (j *judged) found(e *event.Event, holds bool) string {
	n, ok := j.n.(*fieldNode)
	switch {
	case ok:
		return hasThere(n.name, e)
	case !holds || j.m.match(&event.Event{}): // * holds of nothing, too
		return ""
	case j.m.match(&event.Event{Message: e.Message}):
		return "it is in the message"
	}
	for i := range e.Fields {
		if j.m.match(&event.Event{Fields: e.Fields[i : i+1]}) {
			return "it is in the field " + shorten(printName(string(e.Fields[i].Name)))
		}
	}
	return ""
}

// hasThere says what an event has under a name.
func hasThere(name string, e *event.Event) string {
	var values []string
	switch {
	case name == nameLevel:
		if e.Level != event.None {
			values = append(values, e.Level.String())
		}
	case name == nameMessage:
		values = append(values, shorten(quoted(string(e.Message))))
	case name == nameID:
		if id := idText(e); id != nil {
			values = append(values, string(id))
		}
	case builtin(name):
		if value := builtinValue(name); value != nil && len(value(e)) > 0 {
			values = append(values, shorten(quoted(string(value(e)))))
		}
	default:
		for _, f := range e.Fields {
			if string(f.Name) != name {
				continue
			}
			if f.Kind == event.String {
				values = append(values, shorten(quoted(string(f.Value))))
			} else {
				values = append(values, shorten(string(f.Value)))
			}
		}
		if len(values) == 0 {
			return noSuchField(name, e)
		}
	}
	if len(values) == 0 {
		return "the event has no " + name
	}
	const most = 5
	if more := len(values) - most; more > 0 {
		values = append(values[:most], "and "+strconv.Itoa(more)+" more")
	}
	return fmt.Sprintf("%s is %s", printName(name), strings.Join(values, ", "))
}

// noSuchField says which fields the event has instead.
func noSuchField(name string, e *event.Event) string {
	s := "the event has no field " + shorten(printName(name))
	if len(e.Fields) == 0 {
		return s + ", and no other"
	}
	var names []string
	for _, f := range e.Fields {
		if n := shorten(printName(string(f.Name))); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	const most = 8
	if more := len(names) - most; more > 0 {
		names = append(names[:most], "and "+strconv.Itoa(more)+" more")
	}
	return s + "; it has " + strings.Join(names, ", ")
}
