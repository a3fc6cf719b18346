package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// Query is a compiled query. It does not change, and is safe for concurrent use.
type Query struct {
	root    node
	match   matcher
	tests   []*Test
	normal  string
	hints   []Hint
	refs    []FieldRef
	needles []Needle
	keys    []uint64
}

// FieldRef is an extra field that a query names.
type FieldRef struct {
	Name     string
	Pos, End int    // byte offsets of the term in the text given to Parse
	Text     string // the term
}

// Parse compiles a query. The error is an *[Error].
func Parse(text string) (*Query, error) {
	p := &parser{src: text}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	q := &Query{root: root, hints: p.hints, refs: p.refs, normal: printNode(root)}
	if len(q.normal) > MaxText {
		return nil, p.limit(0, 0, fmt.Sprintf("the query has %d bytes in its normal form, the most is %d", len(q.normal), MaxText), "search for fewer things at once")
	}
	return compiled(q), nil
}

// compiled makes what is worked with out of a query's tree.
func compiled(q *Query) *Query {
	var c compiler
	q.match = c.compile(q.root)
	q.tests = c.tests
	q.needles = finishNeedles(needles(q.root))
	q.keys = filterKeys(q.root)
	return q
}

func printNode(n node) string {
	var b strings.Builder
	n.print(&b, false)
	return b.String()
}

// String returns the query in its normal form, which parses to itself. Everything is *.
func (q *Query) String() string { return q.normal }

// Match tells whether the event satisfies the query. It keeps no reference to e.
func (q *Query) Match(e *event.Event) bool { return q.match.match(e) }

// Everything tells whether the query is satisfied by every event.
func (q *Query) Everything() bool {
	_, ok := q.root.(allNode)
	return ok
}

// Names tells whether the query asks for a field by one of the names, built-in or not.
func (q *Query) Names(names ...string) bool { return namesAny(q.root, names) }

func namesAny(n node, names []string) bool {
	any := func(kids []node) bool {
		return slices.ContainsFunc(kids, func(k node) bool { return namesAny(k, names) })
	}
	switch n := n.(type) {
	case *andNode:
		return any(n.kids)
	case *orNode:
		return any(n.kids)
	case *notNode:
		return namesAny(n.kid, names)
	case *fieldNode:
		return slices.Contains(names, n.name)
	}
	return false
}

// Hints returns advice about parts that may not mean what they look like. The caller must not change it.
func (q *Query) Hints() []Hint { return q.hints }

// Fields returns the extra fields the query names, each once, in order. The caller must not change it.
func (q *Query) Fields() []FieldRef { return q.refs }

// NotFound words the warnings for fields the query names that no event has: names are the fields that were not found,
// and those the query does not name are left out.
func (q *Query) NotFound(names ...string) []string {
	var out []string
	for _, r := range q.refs {
		if !slices.Contains(names, r.Name) {
			continue
		}
		s := fmt.Sprintf("no field %s here; for text quote it: %s", shorten(quoted(r.Name)), shorten(quoted(r.Text)))
		switch low, bare := strings.ToLower(r.Name), strings.TrimLeft(r.Name, "_"); {
		case builtin(low):
			s += "; the built-in name is " + low
		case bare != r.Name && bare != "":
			s += "; GELF's leading _ is not kept: " + shorten(printName(bare))
		}
		out = append(out, printable(s))
	}
	return out
}
