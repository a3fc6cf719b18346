package query

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// StatsRequest asks for aggregates of the events that match, by group. The store answers it with [Stats].
type StatsRequest struct {
	// Query selects events; nil selects all.
	Query *Query
	// Since and Until bound the events' time as in [Request].
	Since, Until int64
	// MinSeq and MaxSeq leave out events that arrived before and after these sequences as in [Request].
	MinSeq, MaxSeq uint64
	// By are the fields whose values make the groups, as [ParseBy] returns them; none is one group of all.
	By []string
	// Every parts the groups by time as well, in steps of so many ns that begin at the Unix epoch; 0 does not.
	Every int64
	// Aggs are what is computed of each group, as [ParseAggs] returns them; at least one. The first one orders the groups.
	Aggs []Agg
	// Top keeps the groups with the highest first aggregate, so many of them, and computes the others as one; 0 keeps
	// all. With Every it is the highest over the whole range that are kept, each with all its steps.
	Top int
	// MaxBytes is as in [Request]. MaxMemory bounds what the groups hold, in bytes; 0 is [DefaultMemory]. Beyond it the computing
	// ends, and the groups are of the events up to there.
	MaxBytes, MaxMemory int64
}

// AggKind is what an aggregate computes.
type AggKind uint8

// The kinds of aggregates. All but Count are of a field's values; Sum to Quantile of those that are numbers, as
// [ParseNumber] has it. A field with several values counts with each.
const (
	Count    AggKind = iota // events
	Sum                     // 0 without values
	Avg                     // none without values, as are Min, Max and Quantile
	Min                     //
	Max                     //
	Quantile                // the smallest value that at least that share of the values does not exceed
	Distinct                // different values, as texts: 200 and "200" are the same
)

// Agg is one aggregate.
type Agg struct {
	Kind  AggKind
	Field string  // of all but Count
	Q     float64 // of Quantile: 0 to 1
	name  string
}

// String returns the aggregate as an answer names it: count, avg(duration_ms), p99(duration_ms).
func (a Agg) String() string { return a.name }

// Limits of a request and of its answer.
const (
	MaxBy     = 8       // fields to group by
	MaxAggs   = 32      // aggregates
	MaxGroups = 100_000 // groups of an answer, steps of time counted; beyond it the answer is incomplete
	// MaxExactValues is how many values of a group a quantile is exact to; beyond it, it is within [QuantileError].
	MaxExactValues = 64 << 10
	// QuantileError is how far a quantile of more values may be from the value it stands for, as a part of it.
	QuantileError = 0.005
	// MaxExactDistinct is how many different values of a group are counted; more are estimated, with a standard error of 0.8 %.
	MaxExactDistinct = 100_000
)

// CodeStats is the [Error]'s code when a list of fields or aggregates is not one.
const CodeStats = "bad_parameter"

// ParseNumber reads all of v as a plain number, as the language compares them: -1.50, 2e3, not 1.5s, not 0x10. What a
// float64 cannot hold is none.
func ParseNumber(v []byte) (float64, bool) {
	if len(v) == 0 || !isDigit(v[0]) && v[0] != '-' {
		return 0, false
	}
	n, rest, ok := scanNumber(v)
	if !ok || len(rest) > 0 {
		return 0, false
	}
	if n.exp == 0 && len(n.ip)+len(n.fp) <= 15 { // one rounding at most
		return n.float(0), true
	}
	f, err := strconv.ParseFloat(string(v), 64)
	return f, err == nil
}

// ParseBy reads the fields of a grouping, parted by commas: service,level. A name with a comma or a parenthesis stands in
// quotes. The error is an *[Error].
func ParseBy(text string) ([]string, error) {
	p := statsParser{text: text}
	var by []string
	for p.space(); p.at < len(text); p.space() {
		start := p.at
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if err := p.groupable(name, start); err != nil {
			return nil, err
		}
		if slices.Contains(by, name) {
			return nil, p.errorf(start, p.at, "name each field once", "%s is there twice", shorten(printName(name)))
		}
		if by = append(by, name); len(by) > MaxBy {
			return nil, p.errorf(start, p.at, "group by fewer", "more than %d fields to group by", MaxBy)
		}
		if err := p.comma(); err != nil {
			return nil, err
		}
	}
	return by, nil
}

const aggForms = "there are count, sum(f), avg(f), min(f), max(f), p50(f) to p99.9(f), quantile(0.99, f) and distinct(f)"

// ParseAggs reads aggregates, parted by commas: count,avg(duration_ms),p99(duration_ms). An empty text is count. One that is
// there twice is taken once. The error is an *[Error].
func ParseAggs(text string) ([]Agg, error) {
	p := statsParser{text: text}
	var aggs []Agg
	for p.space(); p.at < len(text); p.space() {
		start := p.at
		a, err := p.agg()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(aggs, a) {
			aggs = append(aggs, a)
		}
		if len(aggs) > MaxAggs {
			return nil, p.errorf(start, p.at, "ask for fewer at once", "more than %d aggregates", MaxAggs)
		}
		if err := p.comma(); err != nil {
			return nil, err
		}
	}
	if aggs == nil {
		return []Agg{{name: "count"}}, nil
	}
	return aggs, nil
}

type statsParser struct {
	text string
	at   int
}

func (p *statsParser) errorf(pos, end int, mend, format string, args ...any) *Error {
	return &Error{Code: CodeStats, Message: printable(fmt.Sprintf(format, args...)), Mend: mend, Pos: pos, End: end, Text: p.text}
}

func (p *statsParser) space() {
	for p.at < len(p.text) && (p.text[p.at] == ' ' || p.text[p.at] == '\t') {
		p.at++
	}
}

// take steps over a byte when it is next.
func (p *statsParser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// comma steps over the comma that parts items; the end does as well, but not behind a comma.
func (p *statsParser) comma() error {
	p.space()
	if p.at == len(p.text) {
		return nil
	}
	if !p.take(',') {
		_, n := utf8.DecodeRuneInString(p.text[p.at:])
		return p.errorf(p.at, p.at+n, "part them by commas", "something stands where a comma belongs")
	}
	if p.space(); p.at == len(p.text) {
		return p.errorf(p.at, p.at, "write what follows, or leave out the comma", "nothing follows the comma")
	}
	return nil
}

// name reads a field's name, quoted or up to what parts the items.
func (p *statsParser) name() (string, error) {
	start := p.at
	if p.at < len(p.text) && strings.IndexByte("\"'`", p.text[p.at]) >= 0 {
		end := strings.IndexByte(p.text[p.at+1:], p.text[p.at])
		if end < 0 {
			return "", p.errorf(start, len(p.text), "close it", "a quote is open")
		}
		p.at += end + 2
		return p.text[start+1 : p.at-1], nil
	}
	for p.at < len(p.text) && strings.IndexByte(",() \t", p.text[p.at]) < 0 {
		p.at++
	}
	if p.at == start {
		return "", p.errorf(start, min(start+1, len(p.text)), "write a field's name; in quotes when it holds a space, a comma or a parenthesis", "a field's name is missing")
	}
	return p.text[start:p.at], nil
}

// groupable refuses the built-in names that have a value of their own in nearly every event.
func (p *statsParser) groupable(name string, start int) error {
	switch name {
	case nameMessage:
		return p.errorf(start, p.at, "group by a field, or search for the lines", "message is the line itself: nearly every event would be a group")
	case nameTime:
		return p.errorf(start, p.at, "part by time with every, such as every=5m", "time is no field to group by")
	case nameID:
		return p.errorf(start, p.at, "group by something that events have in common", "each event has an id of its own")
	}
	return nil
}

func (p *statsParser) agg() (Agg, error) {
	start := p.at
	for p.at < len(p.text) && strings.IndexByte(",() \t", p.text[p.at]) < 0 {
		p.at++
	}
	word := p.text[start:p.at]
	var a Agg
	switch word {
	case "count":
		a.name = word
		if p.take('(') && !p.take(')') {
			return a, p.errorf(start, p.at, "write count, or field:* into the query", "count counts events, not a field's values")
		}
		return a, nil
	case "sum":
		a.Kind = Sum
	case "avg":
		a.Kind = Avg
	case "min":
		a.Kind = Min
	case "max":
		a.Kind = Max
	case "distinct":
		a.Kind = Distinct
	case "quantile":
		a.Kind = Quantile
	default:
		q, ok := percentile(word)
		if !ok {
			return a, p.errorf(start, p.at, aggForms, "there is no aggregate %s", shorten(quoted(word)))
		}
		a.Kind, a.Q = Quantile, q
	}
	if !p.take('(') {
		return a, p.errorf(start, p.at, fmt.Sprintf("write %s(duration_ms)", word), "%s is of a field", word)
	}
	share := ""
	if word == "quantile" {
		from := p.at
		i := strings.IndexAny(p.text[p.at:], ",)")
		if i < 0 {
			i = len(p.text) - p.at
		}
		p.at += i
		share = strings.TrimSpace(p.text[from:p.at])
		q, err := strconv.ParseFloat(share, 64)
		if err != nil || !(q >= 0 && q <= 1) || !p.take(',') {
			return a, p.errorf(from, p.at, "write quantile(0.99, duration_ms)", "a quantile has a share from 0 to 1 and a field")
		}
		a.Q = q
	}
	p.space()
	from := p.at
	var err error
	if a.Field, err = p.name(); err != nil {
		return a, err
	}
	switch a.Field {
	case nameMessage, nameTime, nameID:
		return a, p.errorf(from, p.at, "name a field", "%s has no aggregates", a.Field)
	case nameService, nameEnv, nameHost, nameContainer, nameStream, nameLevel:
		if a.Kind != Distinct {
			return a, p.errorf(from, p.at, fmt.Sprintf("distinct(%s) counts its values, by=%s groups by it", a.Field, a.Field), "%s is not a number", a.Field)
		}
	}
	if p.space(); !p.take(')') {
		return a, p.errorf(start, p.at, "write "+word+"(field)", "a parenthesis is open")
	}
	field := a.Field
	if strings.ContainsAny(field, ",() \t\"'`") {
		field = quoted(field)
	}
	if share != "" {
		field = strconv.FormatFloat(a.Q, 'g', -1, 64) + ", " + field
	}
	a.name = word + "(" + field + ")"
	return a, nil
}

// percentile reads p50, p99.9.
func percentile(word string) (float64, bool) {
	if len(word) < 2 || word[0] != 'p' || !isDigit(word[1]) {
		return 0, false
	}
	n, rest, ok := scanNumber([]byte(word[1:]))
	if !ok || len(rest) > 0 || n.exp != 0 {
		return 0, false
	}
	q := n.float(-2)
	return q, q <= 1
}

// Stats is the answer to a [StatsRequest].
type Stats struct {
	// Groups are the groups: without Every by the first aggregate, the highest first; with it by time, and then by their
	// values. Steps of time without an event have none. Without By and Every it is one group, even when nothing matches.
	Groups []StatsGroup
	// Other is what Top left out as one group without values; with Every one for each step. LeftOut is how many groups
	// that were, each with all its steps.
	Other   []StatsGroup
	LeftOut int
	// Estimated are the aggregates that are not exact in some group.
	Estimated []Agg
	// Unused are the names of the extra fields, of By and Aggs, of which no event that matched had a value: none at all for
	// By and Distinct, no number for the other aggregates.
	Unused []string
	// Summary says what was looked at. Complete is false when there were too many groups.
	Summary Summary
}

// StatsGroup is one group.
type StatsGroup struct {
	By     []StatsValue // in the order of the request
	Time   int64        // with Every: when the step begins, in ns since the Unix epoch
	Values []float64    // in the order of the request's Aggs; NaN for none
}

// StatsValue is the value of a field that makes a group. Null is of the events that do not have the field; for a built-in
// one an empty value is none.
type StatsValue struct {
	Text string
	Null bool
}

// ByCounts tells whether only service and level decide whether an event matches: then a segment's counts by service, level
// and time answer, with [Query.MatchesCount].
func (q *Query) ByCounts() bool { return onlyNames(q.root, nameService, nameLevel) }

func onlyNames(n node, names ...string) bool {
	switch n := n.(type) {
	case allNode:
		return true
	case *andNode:
		return !slices.ContainsFunc(n.kids, func(k node) bool { return !onlyNames(k, names...) })
	case *orNode:
		return !slices.ContainsFunc(n.kids, func(k node) bool { return !onlyNames(k, names...) })
	case *notNode:
		return onlyNames(n.kid, names...)
	case *fieldNode:
		return slices.Contains(names, n.name)
	}
	return false
}

// ByCounts tells whether counts by service, level and bucket of time, of so many ns, answer the request: all but the parts
// of buckets at the ends of its range.
func (r *StatsRequest) ByCounts(bucket int64) bool {
	for _, name := range r.By {
		if name != nameService && name != nameLevel {
			return false
		}
	}
	for i := range r.Aggs {
		if r.Aggs[i].Kind != Count {
			return false
		}
	}
	return r.Every%bucket == 0 && (r.Query == nil || r.Query.ByCounts())
}

// ByNumber tells whether the number of events that match, of each service, answers the request, whatever the query is.
func (r *StatsRequest) ByNumber() bool {
	other := func(name string) bool { return name != nameService }
	return r.Every == 0 && !slices.ContainsFunc(r.By, other) && !slices.ContainsFunc(r.Aggs, func(a Agg) bool { return a.Kind != Count })
}
