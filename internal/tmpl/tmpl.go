// Package tmpl runs text/templates that people wrote, so that a mistake in one is an error, and not a process that stands still or
// runs out of memory.
//
// # Use
//
//	t, err := template.New(name).Funcs(tmpl.Functions).Funcs(own).Parse(text)
//	tmpl.Guard(t)
//	text, err := tmpl.Execute(t, data, 64<<10)
//
// # What it guarantees
//
// An execution takes at most [MaxSteps] steps, so that a loop or a template that calls itself ends, and writes at most so many bytes. No
// text that one of [Functions] makes is longer than [MaxText], so that texts which are doubled again and again end as well. A function
// of one's own that makes a text longer than those it gets asks [Short].
package tmpl

import (
	"bytes"
	"fmt"
	"strings"
	"text/template"
	"text/template/parse"
)

const (
	// MaxSteps is how many texts and actions an execution may come to, those in a loop each time round.
	MaxSteps = 10_000
	// MaxText is the longest text that a function may make, in bytes.
	MaxText = 256 << 10
	// maxFormatted is the longest text that a format may stand for by the widths in it, in bytes.
	maxFormatted = 4 << 20
)

var (
	errSteps = fmt.Errorf("it takes more than %d steps: does a loop or a template that calls itself not end?", MaxSteps)
	errText  = fmt.Errorf("it writes too much: a text of more than %d KiB", MaxText>>10)
)

// Functions are those of text/template that make texts, bounded.
var Functions = template.FuncMap{
	"print":    bounded(fmt.Sprint),
	"println":  bounded(fmt.Sprintln),
	"html":     bounded(template.HTMLEscaper),
	"js":       bounded(template.JSEscaper),
	"urlquery": bounded(template.URLQueryEscaper),
	"printf": func(format string, args ...any) (string, error) {
		longest := 0
		for _, a := range args {
			longest = max(longest, length(a))
		}
		if formatted(format, longest) > maxFormatted {
			return "", errText
		}
		return Short(fmt.Sprintf(format, args...))
	},
}

// bounded refuses what makes too long a text, before it makes it where that can be seen.
func bounded(fn func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		total := 0
		for _, a := range args {
			if total += length(a); total > MaxText {
				return "", errText
			}
		}
		return Short(fn(args...))
	}
}

// length is how long a value is as a text, in bytes.
func length(v any) int {
	if s, ok := v.(string); ok {
		return len(s)
	}
	return len(fmt.Sprint(v))
}

// formatted is more than what a format can make, in bytes, when no argument is longer than longest as a text.
func formatted(format string, longest int) int {
	total := len(format)
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		total += 8 * longest // %q writes \xff for a byte, % x three digits
		number := 0
		for i++; i < len(format) && strings.IndexByte("+-# 0123456789.[]*", format[i]) >= 0; i++ {
			switch c := format[i]; {
			case c == '*':
				total += 1_000_000 // the widest that fmt takes
			case c >= '0' && c <= '9':
				number = min(10*number+int(c-'0'), 1_000_000)
				continue
			}
			total += number
			number = 0
		}
		total += number
	}
	return total
}

// Short returns a text that a function made, or an error when it is longer than [MaxText].
func Short[T ~string](text T) (T, error) {
	if len(text) > MaxText {
		return "", errText
	}
	return text, nil
}

// Guard has each execution of a template, and of those it defines, count its steps. It is called once, when all are parsed.
func Guard(t *template.Template) {
	for _, each := range t.Templates() {
		if each.Tree != nil {
			guard(each.Root)
		}
	}
}

// guard puts an empty text in front of each node: that is written, and the writer counts it.
func guard(list *parse.ListNode) {
	if list == nil {
		return
	}
	step := &parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos}
	var nodes []parse.Node
	for _, n := range list.Nodes {
		nodes = append(nodes, step, n)
		switch n := n.(type) {
		case *parse.IfNode:
			guard(n.List)
			guard(n.ElseList)
		case *parse.RangeNode:
			guard(n.List)
			guard(n.ElseList)
		case *parse.WithNode:
			guard(n.List)
			guard(n.ElseList)
		}
	}
	if nodes == nil { // a loop without a body takes steps too
		nodes = append(nodes, step)
	}
	list.Nodes = nodes
}

// writer takes so much and no more.
type writer struct {
	bytes.Buffer
	most, steps int
}

func (w *writer) Write(p []byte) (int, error) {
	if len(p) == 0 {
		if w.steps++; w.steps > MaxSteps {
			return 0, errSteps
		}
		return 0, nil
	}
	if w.Len()+len(p) > w.most {
		return 0, fmt.Errorf("it writes too much: more than %d KiB", w.most>>10)
	}
	return w.Buffer.Write(p)
}

// Execute runs a template that [Guard] has seen and returns what it writes, at most so many bytes; more is an error.
func Execute(t *template.Template, data any, most int) (string, error) {
	w := writer{most: most}
	if err := t.Execute(&w, data); err != nil {
		return "", err
	}
	return w.String(), nil
}
