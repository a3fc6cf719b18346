package query

import (
	"net/netip"
	"strings"
	"unicode"

	"github.com/lookoutlog/lookout/internal/event"
)

// The tree of a query. Every node prints itself in the normal form.
type node interface {
	// print appends the normal form; atom asks for parentheses around what is not one term.
	print(b *strings.Builder, atom bool)
}

type (
	// allNode is everything: *.
	allNode struct{}
	// andNode and orNode have at least two kids, none of them of their own type.
	andNode struct{ kids []node }
	orNode  struct{ kids []node }
	// notNode's kid is no notNode.
	notNode struct{ kid node }
	// textNode is a literal that the message or an extra field's value contains; never empty.
	textNode struct{ lit string }
	// regexNode is a regular expression over the message and each extra field's value.
	regexNode struct{ rx *regex }
	// fieldNode compares a field: any of vals for opHas, exactly one of vals, a limit or a regex for the others.
	fieldNode struct {
		name string
		op   op
		vals []value
		lim  limit
		rx   *regex
	}
)

// op is what stands between a field's name and its value.
type op uint8

const (
	opHas      op = iota // :
	opEq                 // =
	opNe                 // !=
	opGt                 // >
	opGe                 // >=
	opLt                 // <
	opLe                 // <=
	opMatch              // ~
	opNotMatch           // !~
)

var opText = [...]string{":", "=", "!=", ">", ">=", "<", "<=", "~", "!~"}

func (o op) ordered() bool { return o >= opGt && o <= opLe }

// holds tells whether a comparison's result c satisfies an ordered op.
func (o op) holds(c int) bool {
	switch o {
	case opGt:
		return c > 0
	case opGe:
		return c >= 0
	case opLt:
		return c < 0
	case opLe:
		return c <= 0
	}
	return false
}

type valueKind uint8

const (
	vText     valueKind = iota // the whole value (on message, with ':', a part of it)
	vGlob                      // with * and ?
	vExists                    // *
	vQuantity                  // the text, or a quantity that compares equal
	vLevel                     // a level, on the field level
	vRange                     // lo..hi
	vCIDR                      // an address within
)

type value struct {
	kind   valueKind
	text   string // as it was given, for vText, vGlob and vQuantity
	level  event.Level
	lo, hi limit
	prefix netip.Prefix
}

// Built-in names. Time is one only to be refused.
const (
	nameService   = "service"
	nameEnv       = "env"
	nameHost      = "host"
	nameContainer = "container"
	nameStream    = "stream"
	nameLevel     = "level"
	nameMessage   = "message"
	nameTime      = "time"
	nameID        = "id"
)

func builtin(name string) bool {
	switch name {
	case nameService, nameEnv, nameHost, nameContainer, nameStream, nameLevel, nameMessage, nameTime, nameID:
		return true
	}
	return false
}

func (allNode) print(b *strings.Builder, _ bool) { b.WriteByte('*') }

func (n *andNode) print(b *strings.Builder, atom bool) { printList(b, n.kids, " ", atom, true) }

func (n *orNode) print(b *strings.Builder, atom bool) { printList(b, n.kids, " OR ", atom, false) }

func printList(b *strings.Builder, kids []node, sep string, paren, atoms bool) {
	if paren {
		b.WriteByte('(')
	}
	for i, k := range kids {
		if i > 0 {
			b.WriteString(sep)
		}
		k.print(b, atoms)
	}
	if paren {
		b.WriteByte(')')
	}
}

func (n *notNode) print(b *strings.Builder, _ bool) {
	b.WriteByte('-')
	n.kid.print(b, true)
}

func (n *textNode) print(b *strings.Builder, _ bool) { b.WriteString(Quote(n.lit)) }

func (n *regexNode) print(b *strings.Builder, _ bool) { b.WriteString(QuoteRegex(n.rx.src)) }

func (n *fieldNode) print(b *strings.Builder, _ bool) {
	var rest strings.Builder
	switch {
	case n.rx != nil:
		rest.WriteString(quoted(n.rx.src))
	case n.op.ordered():
		rest.WriteString(n.lim.text)
	case len(n.vals) == 1:
		n.vals[0].print(&rest, n.name, n.op)
	default:
		rest.WriteByte('(')
		for i := range n.vals {
			if i > 0 {
				rest.WriteString(", ")
			}
			n.vals[i].print(&rest, n.name, n.op)
		}
		rest.WriteByte(')')
	}
	// After a name that is not quoted, some values would make the whole a text: a::b, a://b, a:\b.
	if !isName(n.name) || n.op == opHas && notAField(rest.String()) {
		b.WriteString(quoted(n.name))
	} else {
		b.WriteString(n.name)
	}
	b.WriteString(opText[n.op])
	b.WriteString(rest.String())
}

func (v *value) print(b *strings.Builder, name string, o op) {
	switch v.kind {
	case vExists:
		b.WriteByte('*')
	case vLevel:
		b.WriteString(v.level.String())
	case vRange:
		b.WriteString(v.lo.text + ".." + v.hi.text)
	case vCIDR:
		b.WriteString(v.prefix.String())
	case vGlob, vQuantity:
		b.WriteString(v.text)
	default:
		if !bareSafe(v.text, false) {
			b.WriteString(quoted(v.text))
		} else if w, err := classify(name, o, v.text, false); err != nil || w.kind != vText || w.text != v.text {
			b.WriteString(quoted(v.text))
		} else {
			b.WriteString(v.text)
		}
	}
}

// bareSafe tells whether s may be printed without quotes: only characters that mean nothing in the language, and not an
// operator. A comma is safe outside a list.
func bareSafe(s string, comma bool) bool {
	switch s {
	case "", "AND", "OR", "NOT":
		return false
	}
	for i, r := range s {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '_', r == '.', r == '/', r == '@', r == '#', r == '%', r == '$':
		case i > 0 && (r == '-' || r == '+' || comma && r == ','):
		default:
			return false
		}
	}
	return true
}

// Quote returns a query that finds exactly the literal s, with smart case: s itself when that is plain, else s in
// quotes. It is one term, so that - may stand before it. s must be UTF-8.
func Quote(s string) string {
	if bareSafe(s, true) {
		return s
	}
	return quoted(s)
}

// QuoteRegex returns a query that is the regular expression re over message and fields, as one term. It does not check
// re.
func QuoteRegex(re string) string { return "~" + quoted(re) }

// quoted puts s in the quotes that need the fewest escapes.
func quoted(s string) string {
	double := !strings.Contains(s, `"`)
	for i := 0; double && i < len(s); i++ {
		if s[i] == '\\' && (i+1 == len(s) || s[i+1] == '\\') {
			double = false
		}
	}
	switch {
	case double:
		return `"` + s + `"`
	case !strings.Contains(s, "'"):
		return "'" + s + "'"
	case !strings.Contains(s, "`"):
		return "`" + s + "`"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func and(kids ...node) node {
	var out []node
	for _, k := range kids {
		switch k := k.(type) {
		case allNode:
		case *andNode:
			out = append(out, k.kids...)
		default:
			out = append(out, k)
		}
	}
	switch len(out) {
	case 0:
		return allNode{}
	case 1:
		return out[0]
	}
	return &andNode{out}
}

func or(kids ...node) node {
	var out []node
	for _, k := range kids {
		switch k := k.(type) {
		case allNode:
			return k
		case *orNode:
			out = append(out, k.kids...)
		default:
			out = append(out, k)
		}
	}
	if len(out) == 1 {
		return out[0]
	}
	return &orNode{out}
}

func not(kid node) node {
	if n, ok := kid.(*notNode); ok {
		return n.kid
	}
	return &notNode{kid}
}

// text returns the term for a literal: the empty one is in everything.
func text(lit string) node {
	if lit == "" {
		return allNode{}
	}
	return &textNode{lit}
}
