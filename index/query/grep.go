package query

import (
	"errors"
	"fmt"
	"strings"
)

// GrepOptions are the flags of grep that select events.
type GrepOptions struct {
	// Patterns are alternatives; none select everything. Each is a query, unless Fixed or Regex is set.
	Patterns []string
	Fixed    bool // -F: each pattern is a literal
	Regex    bool // -E: each pattern is a regular expression

	IgnoreCase    bool // -i
	CaseSensitive bool // --case-sensitive
	Word          bool // -w: text matches only whole words
	LineExact     bool // -x: text matches only a whole line
	Invert        bool // -v: what no pattern matches; level and services still hold

	Level    string   // this level and worse, a name or syslog's number; empty for all
	Services []string // names, with * and ?; one of them must match
}

// FromGrep returns the query that means what the flags say, in its normal form. The error is an *[Error] when a pattern
// is at fault, its Text that pattern.
//
// The flags change terms as follows, so that the text alone carries them. IgnoreCase writes literals in lower case, and
// (?i) before regular expressions. CaseSensitive writes a literal without an upper-case letter as a regular expression,
// foo as ~"foo", and f:foo as f="foo". Word and LineExact write a text as ~"\bfoo\b" and ~"^foo$"; they leave fields
// alone.
func FromGrep(o GrepOptions) (string, error) {
	switch {
	case o.Fixed && o.Regex:
		return "", errors.New("a pattern is either a literal or a regular expression: give one of -F and -E")
	case o.IgnoreCase && o.CaseSensitive:
		return "", errors.New("give one of -i and --case-sensitive")
	}
	var alternatives []node
	for _, pattern := range o.Patterns {
		src := pattern
		switch {
		case o.Fixed:
			src = quoted(pattern)
		case o.Regex:
			src = QuoteRegex(pattern)
		}
		q, err := Parse(src)
		if err != nil {
			var e *Error
			if errors.As(err, &e) && src != pattern { // the caret belongs under what was typed
				shift := strings.Index(src, pattern)
				if shift < 0 { // quotes were escaped
					shift, e.Pos, e.End = 0, 0, len(pattern)
				}
				e.Pos = min(max(e.Pos-shift, 0), len(pattern))
				e.End = min(max(e.End-shift, e.Pos), len(pattern))
				e.Text = pattern
			}
			return "", err
		}
		n, err := o.rewrite(q.root)
		if err != nil {
			return "", err
		}
		alternatives = append(alternatives, n)
	}
	root := node(allNode{})
	if len(alternatives) > 0 {
		root = or(alternatives...)
	}
	if o.Invert {
		root = not(root)
	}
	kids := []node{root}
	if o.Level != "" {
		l, err := levelLimit(o.Level)
		if err != nil {
			return "", fmt.Errorf("%s; %s", err.message, err.mend)
		}
		kids = append(kids, &fieldNode{name: nameLevel, op: opGe, lim: l})
	}
	if len(o.Services) > 0 {
		n, err := serviceNode(o.Services)
		if err != nil {
			return "", err
		}
		kids = append(kids, n)
	}
	// What was put together passes the language's limits like any other text.
	q, err := Parse(printNode(and(kids...)))
	if err != nil {
		return "", err
	}
	return q.String(), nil
}

// serviceNode is the list of services; a glob that a list cannot hold becomes a regular expression.
func serviceNode(names []string) (node, error) {
	list := &fieldNode{name: nameService, op: opHas}
	var kids []node
	for _, name := range names {
		v := value{kind: vText, text: name}
		if strings.ContainsAny(name, "*?") {
			c, err := classify(nameService, opHas, name, false)
			plainGlob := err == nil && c.kind != vText && bareSafe(strings.NewReplacer("*", "x", "?", "x").Replace(name), false)
			if !plainGlob {
				src := globRegex(name)
				if !hasUpper(name) {
					src = "(?i)" + src
				}
				rx, err := compileRegex(src)
				if err != nil {
					return nil, fmt.Errorf("service %q: %w", shorten(name), err)
				}
				kids = append(kids, &fieldNode{name: nameService, op: opMatch, rx: rx})
				continue
			}
			v = c
		}
		list.vals = append(list.vals, v)
	}
	if len(list.vals) > 0 {
		kids = append([]node{list}, kids...)
	}
	return or(kids...), nil
}

// rewrite applies the flags to the terms of a pattern.
func (o *GrepOptions) rewrite(n node) (node, error) {
	switch n := n.(type) {
	case *andNode:
		kids, err := o.rewriteAll(n.kids)
		return and(kids...), err
	case *orNode:
		kids, err := o.rewriteAll(n.kids)
		return or(kids...), err
	case *notNode:
		kid, err := o.rewrite(n.kid)
		return not(kid), err
	case *textNode:
		return o.rewriteText(n)
	case *regexNode:
		src := n.rx.src
		if o.LineExact {
			src = "^(?:" + src + ")$"
		} else if o.Word {
			src = wordBefore + "(?:" + src + ")" + wordBehind
		}
		rx, err := o.regex(src, o.IgnoreCase)
		return &regexNode{rx}, err
	case *fieldNode:
		return o.rewriteField(n)
	}
	return n, nil
}

func (o *GrepOptions) rewriteAll(kids []node) ([]node, error) {
	out := make([]node, len(kids))
	for i, k := range kids {
		var err error
		if out[i], err = o.rewrite(k); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// regex compiles an expression that a flag made.
func (o *GrepOptions) regex(src string, fold bool) (*regex, error) {
	if fold {
		src = "(?i)" + src
	}
	rx, err := compileRegex(src)
	if err != nil {
		return nil, fmt.Errorf("with the flags the pattern is %s: %w", printable(shorten(src)), err)
	}
	return rx, nil
}

func (o *GrepOptions) rewriteText(n *textNode) (node, error) {
	fold := o.IgnoreCase || !o.CaseSensitive && !hasUpper(n.lit)
	src := ""
	switch {
	case o.LineExact:
		src = "^" + escapeRegex(n.lit) + "$"
	case o.Word:
		src = wordRegex(n.lit)
	case o.IgnoreCase:
		if low, ok := lowerFold(n.lit); ok {
			return &textNode{low}, nil
		}
		src = escapeRegex(n.lit)
	case o.CaseSensitive && !hasUpper(n.lit) && hasCase(n.lit):
		src = escapeRegex(n.lit)
	default:
		return n, nil
	}
	rx, err := o.regex(src, fold && hasCase(n.lit))
	return &regexNode{rx}, err
}

// rewriteField forces the case of a field's comparison.
func (o *GrepOptions) rewriteField(n *fieldNode) (node, error) {
	if !o.IgnoreCase && !o.CaseSensitive || n.op.ordered() || n.name == nameLevel {
		return n, nil
	}
	if n.rx != nil {
		if !o.IgnoreCase {
			return n, nil
		}
		rx, err := o.regex(n.rx.src, true)
		return &fieldNode{name: n.name, op: n.op, rx: rx}, err
	}
	same := &fieldNode{name: n.name, op: opHas} // the values that stay in the list
	var kids []node
	for _, v := range n.vals {
		k, err := o.rewriteValue(n, v)
		if err != nil {
			return nil, err
		}
		if f, ok := k.(*fieldNode); ok && f.op == opHas {
			same.vals = append(same.vals, f.vals...)
		} else {
			kids = append(kids, k)
		}
	}
	if len(same.vals) > 0 {
		kids = append([]node{same}, kids...)
	}
	out := or(kids...)
	if n.op == opNe {
		there := &fieldNode{name: n.name, op: opHas, vals: []value{{kind: vExists}}}
		return and(there, not(out)), nil
	}
	return out, nil
}

// rewriteValue returns the comparison with one value, for f!=v the one that must not hold.
func (o *GrepOptions) rewriteValue(n *fieldNode, v value) (node, error) {
	with := func(op op, v value) (node, error) {
		return &fieldNode{name: n.name, op: op, vals: []value{v}}, nil
	}
	match := func(src string) (node, error) {
		rx, err := o.regex(src, o.IgnoreCase)
		return &fieldNode{name: n.name, op: opMatch, rx: rx}, err
	}
	has := n.op == opHas
	part := n.name == nameMessage && has // message: contains
	whole := func() (node, error) {
		switch {
		case v.kind == vGlob && part:
			return match(strings.TrimSuffix(strings.TrimPrefix(globRegex(v.text), `\A`), `\z`))
		case v.kind == vGlob:
			return match(globRegex(v.text))
		case part:
			return match(escapeRegex(v.text))
		}
		return match(`\A` + escapeRegex(v.text) + `\z`)
	}
	if v.kind != vText && v.kind != vGlob { // ranges, networks, numbers have no case
		if n.op == opNe {
			return with(opEq, v)
		}
		return with(n.op, v)
	}
	switch {
	case o.IgnoreCase:
		low, ok := lowerFold(v.text)
		if !ok || n.name == nameMessage && !has {
			return whole()
		}
		v.text = low
		return with(opHas, v)
	case !hasCase(v.text), has && hasUpper(v.text):
		if has {
			return with(opHas, v)
		}
		return with(opEq, v)
	case !has, v.kind == vText && !part:
		return with(opEq, v)
	}
	return whole()
}
