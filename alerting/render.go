package alerting

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

const (
	stamp = "2006-01-02 15:04:05Z" // always UTC: the reader's zone is not known
	clock = "15:04:05Z"

	maxTitle = 200
	// lateAfter is how old a message may be without saying that it is late.
	lateAfter = time.Minute
	noteAgain = "may be a repeat: lookout could not see whether it had arrived"
)

func at(ns int64) string { return time.Unix(0, ns).UTC().Format(stamp) }

// until writes a time after another, without the date when that is the same.
func until(from, to int64) string {
	a, b := time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
	if a.Format(time.DateOnly) == b.Format(time.DateOnly) {
		return b.Format(clock)
	}
	return b.Format(stamp)
}

// render makes an entry's message as things stand now.
func (e *Engine) render(tx *bbolt.Tx, q *queued, now int64) Message {
	var m Message
	switch q.Kind {
	case kindIncident:
		m = e.renderIncident(tx, q)
	case kindEach:
		m = e.renderEach(q)
	default:
		m = Message{Title: q.Title, Lines: []string{q.Text}}
	}
	if m.Severity == "" {
		m.Severity = q.Severity
	}
	m.Plain = q.Plain
	if q.MayRepeat {
		m.Notes = append(m.Notes, noteAgain)
	}
	if age := time.Duration(now - q.Created); age > lateAfter {
		m.Notes = append(m.Notes, "delivered late, after "+age.Round(time.Second).String())
	}
	return m
}

func (e *Engine) renderIncident(tx *bbolt.Tx, q *queued) Message {
	var inc incident
	ok, err := get(tx.Bucket(bucketIncident), incidentKey(q.Rule, q.Fingerprint), &inc)
	if !ok || err != nil {
		// The sample is lost, that it happened is not.
		return Message{Title: fmt.Sprintf("rule %s matched at %s", q.Rule, at(q.Created))}
	}
	s := inc.Sample
	what := string(firstLine([]byte(s.Message)))
	if h := string(headline([]byte(s.Message))); h != "" {
		what = h
	}
	if strings.HasPrefix(inc.Fingerprint, manyPatterns+":") {
		what = fmt.Sprintf("more than %d different messages, the latest: %s", e.limits.Patterns, what)
	}
	m := Message{Severity: inc.Severity, Title: title(s.Level, s.Service, what)}
	if !strings.HasSuffix(m.Title, s.Message) { // else the title says it all
		m.Lines = append(m.Lines, s.Message)
	}
	if s.Fields != "" {
		m.Lines = append(m.Lines, s.Fields)
	}
	when := at(inc.First)
	if inc.Count > 1 {
		when = fmt.Sprintf("%s from %s to %s", count(inc.Count, "time"), when, until(inc.First, inc.Last))
	}
	m.Facts = append(m.Facts, when)
	if inc.BeforeLast != 0 {
		m.Facts = append(m.Facts, fmt.Sprintf("again: before that %s, last at %s", count(inc.BeforeCount, "time"), at(inc.BeforeLast)))
	}
	m.Facts = append(m.Facts, "rule "+inc.Rule)
	for _, f := range [...]struct{ name, value string }{{"env", s.Env}, {"host", s.Host}, {"container", s.Container}} {
		if f.value != "" {
			m.Facts = append(m.Facts, f.name+" "+f.value)
		}
	}
	if inc.Query != "" {
		m.Link = e.link([]string{inc.Query}, s.Service, min(s.Time, inc.First), max(s.Time, inc.Last))
	}
	return m
}

func title(level, service, what string) string {
	var b strings.Builder
	if level != "" {
		b.WriteString("[" + level + "] ")
	}
	if service != "" {
		b.WriteString(service + ": ")
	}
	b.WriteString(oneLine(what))
	return Cut(b.String(), maxTitle)
}

func (e *Engine) renderEach(q *queued) Message {
	var m Message
	names, queries := map[string]int64{}, map[string]bool{}
	from, to := q.Lines[0].Time, q.Lines[0].Time
	for _, l := range q.Lines {
		names[l.Rule]++
		queries[l.Query] = true
		from, to = min(from, l.Time), max(to, l.Time)
		m.Lines = append(m.Lines, at(l.Time)+" "+l.Text)
	}
	if len(q.Lines) > 1 {
		m.Title = Cut(listed(names), maxTitle)
		m.Facts = append(m.Facts, fmt.Sprintf("%s from %s to %s", count(int64(len(q.Lines)), "event"), at(from), until(from, to)))
	} else {
		one := q.Rule + ": " + q.Lines[0].Text
		if m.Title = Cut(one, maxTitle); m.Title == one {
			m.Lines = nil // the title says it all
		}
		m.Facts = append(m.Facts, at(from))
	}
	m.Severity = q.Severity
	if m.Severity == "" {
		m.Severity = Info
	}
	m.Link = e.link(slices.Sorted(maps.Keys(queries)), "", from, to)
	return m
}

// listed writes counts by name, most first: shipped 12, paid 3.
func listed(names map[string]int64) string {
	sorted := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		if d := names[b] - names[a]; d != 0 {
			return int(d)
		}
		return strings.Compare(a, b)
	})
	parts := make([]string, len(sorted))
	for i, name := range sorted {
		parts[i] = fmt.Sprintf("%s %d", name, names[name])
	}
	return strings.Join(parts, ", ")
}

func renderOverview(o *overview, l *Limits) Message {
	held := o.total()
	m := Message{
		Severity: Warning,
		Title:    fmt.Sprintf("%d more held: this channel is full", held),
		Lines:    []string{"By rule: " + listed(o.Held)},
		Facts: []string{
			fmt.Sprintf("from %s to %s", at(o.First), until(o.First, o.Last)),
			fmt.Sprintf("at most %d messages in %s; what was held is stored and can be searched", l.Budget, l.Window),
		},
		Plain: o.Plain,
	}
	if o.MayRepeat {
		m.Notes = append(m.Notes, noteAgain)
	}
	return m
}

// link is the search behind a message: events of any of the queries, from a minute before to a minute after.
func (e *Engine) link(queries []string, service string, from, to int64) string {
	if e.baseURL == "" {
		return ""
	}
	text := queries[0]
	if len(queries) > 1 {
		text = "(" + strings.Join(queries, ") OR (") + ")"
	}
	if service != "" && !strings.ContainsAny(service, `"\`) {
		if strings.Contains(text, " OR ") {
			text = "(" + text + ")"
		}
		text += ` service="` + service + `"`
	}
	v := url.Values{}
	v.Set("q", text)
	v.Set("since", time.Unix(0, from).UTC().Add(-time.Minute).Format(time.RFC3339))
	v.Set("until", time.Unix(0, to).UTC().Add(time.Minute).Format(time.RFC3339))
	return strings.TrimSuffix(e.baseURL, "/") + "/?" + v.Encode()
}
