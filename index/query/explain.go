package query

import (
	"fmt"
	"strings"

	"github.com/lookoutlog/lookout/internal/event"
)

// Explain says how the query is answered: a line for each term, with what it looks at and how, the bytes that a row's encoded
// form must hold and the keys that a block's filter must have for it. Equal terms are said once.
func (q *Query) Explain() []string {
	var out []string
	seen := map[string]bool{}
	explain(q.root, false, func(line string) {
		if !seen[line] {
			seen[line] = true
			out = append(out, printable(line))
		}
	})
	return out
}

func explain(n node, negated bool, line func(string)) {
	what := ""
	switch n := n.(type) {
	case allNode:
		what = "everything"
	case *andNode:
		for _, k := range n.kids {
			explain(k, negated, line)
		}
		return
	case *orNode:
		for _, k := range n.kids {
			explain(k, negated, line)
		}
		return
	case *notNode:
		explain(n.kid, !negated, line)
		return
	case *textNode:
		what = "message and fields: " + describeLiteral("contain", literal{n.lit, !hasUpper(n.lit)})
	case *regexNode:
		what = "message and fields: " + describeRegex(n.rx)
	case *fieldNode:
		what = describeField(n)
	}
	if negated {
		line("not " + what) // what rules it out cannot be looked for
		return
	}
	for i, x := range finishNeedles(needles(n)) {
		if i == 0 {
			what += "; bytes "
		} else {
			what += ", "
		}
		what += describeText(string(x.Text), x.Fold)
	}
	for i, k := range nodeKeys(n) {
		if i == 0 {
			what += "; filter "
		} else {
			what += ", "
		}
		what += k.text
	}
	line(what)
}

func describeLiteral(verb string, l literal) string {
	return verb + " " + describeText(l.text, l.fold && hasCase(l.text))
}

func describeText(text string, fold bool) string {
	s := shorten(quoted(text))
	if fold {
		s += " in any case"
	}
	return s
}

func describeRegex(rx *regex) string {
	s := "match " + shorten(quoted(rx.src))
	if len(rx.need) == 0 {
		return s + ", which has no literal"
	}
	var need []string
	for _, l := range rx.need {
		need = append(need, describeText(l.text, l.fold && hasCase(l.text)))
	}
	if rx.whole {
		return s + ", that is contain " + strings.Join(need, " or ")
	}
	return s + ", with " + strings.Join(need, " or ")
}

func describeField(n *fieldNode) string {
	s := fmt.Sprintf("field %s: ", printName(n.name))
	if builtin(n.name) {
		s = n.name + ": "
	}
	if n.name == nameLevel {
		return s + describeLevels(compileLevel(n))
	}
	if n.op == opNe || n.op == opNotMatch {
		s += "there, and not "
	}
	if n.rx != nil {
		return s + describeRegex(n.rx)
	}
	unit := ""
	if u := fieldUnit(n.name); u.dim != plain {
		unit = ", taken as " + dimensionNames[u.dim] + " by its name"
	}
	if n.op.ordered() {
		return s + n.lim.what() + " " + opText[n.op] + " " + n.lim.text + unit
	}
	var vals []string
	for i := range n.vals {
		v := &n.vals[i]
		l := literal{v.text, n.op == opHas && !hasUpper(v.text)}
		switch v.kind {
		case vExists:
			vals = append(vals, "anything")
		case vGlob:
			vals = append(vals, describeLiteral("like", l))
		case vQuantity:
			vals = append(vals, v.text+" as text or "+dimensionNames[quantityOf(v.text)]+unit)
		case vRange:
			vals = append(vals, fmt.Sprintf("%s from %s to %s%s", v.lo.what(), v.lo.text, v.hi.text, unit))
		case vCIDR:
			vals = append(vals, "an address in "+v.prefix.String())
		default:
			if n.name == nameMessage && n.op == opHas {
				vals = append(vals, describeLiteral("contain", l))
			} else {
				vals = append(vals, describeLiteral("is", l))
			}
		}
	}
	return s + strings.Join(vals, " or ")
}

func quantityOf(text string) dimension {
	q, _ := parseQuantity([]byte(text))
	return q.dim
}

func describeLevels(set matchLevels) string {
	var names []string
	for l := event.Emergency; l <= event.Debug; l++ {
		if set&(1<<l) != 0 {
			names = append(names, l.String())
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}
