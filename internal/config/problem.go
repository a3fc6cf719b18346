package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File     string // the file, empty when a variable is at fault
	Line     int    // from 1; 0 when no one line is at fault
	Variable string // the environment variable at fault
	Field    string // the setting, such as rules[1].query
	Value    string // what was given, cut when long; never a secret
	Message  string
	Mend     string
	Detail   string // more lines: a query with a caret under the place
}

// Error is every problem of a configuration, in the order of the file.
type Error struct {
	Problems []Problem
}

// Warning is a Problem that does not keep lookout from starting.
type Warning Problem

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(place{file: p.File, line: p.Line, variable: p.Variable}.String())
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	if p.Value != "" {
		b.WriteString(": " + strconv.Quote(p.Value))
	}
	b.WriteString(": " + p.Message)
	if p.Mend != "" {
		b.WriteString("; " + p.Mend)
	}
	for line := range strings.Lines(p.Detail) {
		b.WriteString("\n    " + strings.TrimRight(line, "\n"))
	}
	return strings.TrimPrefix(b.String(), ": ")
}

func (w Warning) String() string { return Problem(w).String() }

// Error has a line for each problem, and more for a query that does not parse.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is where a setting was given.
type place struct {
	file     string
	line     int
	variable string
}

func (p place) String() string {
	switch {
	case p.variable != "" && p.line > 1:
		return fmt.Sprintf("%s, line %d", p.variable, p.line)
	case p.variable != "":
		return p.variable
	case p.line > 0:
		return fmt.Sprintf("%s:%d", p.file, p.line)
	}
	return p.file
}

// bad is what is wrong with one value; whoever set it knows where it stands.
type bad struct{ message, mend, detail string }

func (b *bad) Error() string { return b.message }

// fail reports a problem of the setting at path, wherever that was given.
func (r *reader) fail(path, value, message, mend string) {
	r.failAt(r.at(path), path, value, &bad{message: message, mend: mend})
}

func (r *reader) failAt(at place, path, value string, b *bad) {
	r.failed[path] = true
	r.problems = append(r.problems, Problem{File: at.file, Line: at.line, Variable: at.variable, Field: path, Value: shown(value), Message: b.message, Mend: b.mend, Detail: b.detail})
}

func (r *reader) warn(at place, path, message, mend string) {
	r.warnings = append(r.warnings, Warning{File: at.file, Line: at.line, Variable: at.variable, Field: path, Message: message, Mend: mend})
}

// err is all problems in the order of the file, variables behind it, each once.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(r.problems, byPlace)
	return &Error{Problems: slices.Compact(r.problems)}
}

// sorted is all warnings in the same order.
func (r *reader) sorted() []Warning {
	slices.SortStableFunc(r.warnings, func(a, b Warning) int { return byPlace(Problem(a), Problem(b)) })
	return r.warnings
}

func byPlace(a, b Problem) int {
	return cmp.Or(cmp.Compare(a.Variable, b.Variable), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field))
}

// shown is a value as an error shows it: cut when long, and nothing of what looks like a token in the wrong place.
func shown(v string) string {
	for _, prefix := range []string{"xox", "xapp-", "xwfp-", "lkt_"} {
		if strings.Contains(v, prefix) {
			return Redacted
		}
	}
	const most = 80
	if len(v) > most {
		v = strings.ToValidUTF8(v[:most], "") + "…"
	}
	return v
}

// nearest returns the candidate with the smallest edit distance to name, empty when none is near.
func nearest(name string, candidates []string) string {
	best, least := "", 1+max(1, min(len(name), 12)/3)
	for _, c := range candidates {
		if d := distance(strings.ToLower(name), c, least); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (adjacent swaps count once) of two names; enough or more comes back as
// enough, so that a name of a megabyte costs nothing.
func distance(a, b string, enough int) int {
	if len(a)-len(b) >= enough || len(b)-len(a) >= enough {
		return enough
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return min(last[len(b)], enough)
}
