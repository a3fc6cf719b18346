package alerting

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
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

// between writes when something was that has a beginning and an end.
func between(from, to int64) string {
	if at(from) == at(to) {
		return "at " + at(from)
	}
	return "from " + at(from) + " to " + until(from, to)
}

// render makes the message of an entry that is not about an incident.
func (e *Engine) render(q *queued, now int64) Message {
	m := Message{Title: q.Title, Lines: []string{q.Text}, Severity: q.Severity}
	if q.Kind == kindEach {
		m = e.renderEach(q)
	}
	m.Plain, m.MayRepeat = q.Plain, q.MayRepeat
	m.Notes = notes(&q.entry, now)
	return m
}

// notes are about the delivery of a new message.
func notes(q *entry, now int64) (notes []string) {
	if q.MayRepeat {
		notes = append(notes, noteAgain)
	}
	if age := time.Duration(now - q.Created); age > lateAfter {
		notes = append(notes, "delivered late, after "+span(age))
	}
	return notes
}

// renderIncident makes the message of an incident as it stands now. A record that cannot be read is nil: the sample is
// lost, that it happened is not.
func (e *Engine) renderIncident(inc *incident, q *queued) Message {
	m := Message{Severity: q.Severity, State: Firing, Title: fmt.Sprintf("rule %s matched at %s", q.Rule, at(q.Created))}
	if inc != nil {
		m = e.messageOf(inc)
		e.dress(&m, inc, q.Channel)
	}
	m.Plain = q.Plain
	return m
}

func (e *Engine) messageOf(inc *incident) Message {
	s := inc.Sample
	m := Message{Severity: inc.Severity, Title: e.titleOf(inc), Link: e.linkOf(inc)}
	if inc.Rule != Service { // what alerting has to say about itself rings nobody
		m.State, m.Incident, m.ID, m.Labels = inc.shownState(), inc.name(), inc.ID, inc.labels()
		m.Expectable = e.expects(inc.Rule)
		m.Since = time.Unix(0, inc.Since).UTC()
		if inc.State == Resolved {
			m.Ended = time.Unix(0, inc.Resolved).UTC()
		}
	} else if inc.State == Resolved {
		m.State = Resolved
	}
	titled := strings.TrimSuffix(m.Title, inc.cameLate())
	if line := oneLine(s.Message); !strings.HasSuffix(titled, line) && !strings.HasSuffix(titled, said(line)) { // else the title says it all
		text := s.Message
		if strings.HasPrefix(inc.Fingerprint, digestPrint) || strings.HasPrefix(inc.Fingerprint, troublePrint) { // its first line is the title
			_, text, _ = strings.Cut(text, "\n")
		}
		m.Lines = append(m.Lines, text)
	}
	if s.Fields != "" {
		m.Lines = append(m.Lines, s.Fields)
	}
	if inc.Outcome != "" {
		m.Lines = append(m.Lines, inc.Outcome)
	}
	m.Facts = append(inc.facts(), "rule "+inc.Rule)
	for _, f := range [...]struct{ name, value string }{{"env", s.Env}, {"host", s.Host}, {"container", s.Container}} {
		if f.value != "" {
			m.Facts = append(m.Facts, f.name+" "+f.value)
		}
	}
	return m
}

// facts say when and how often.
func (inc *incident) facts() (facts []string) {
	again := inc.Fired > 1
	if again || inc.State != Firing {
		facts = append(facts, inc.history())
	}
	if again {
		facts = append(facts, fmt.Sprintf("again, %s since %s", count(inc.Fired, "time"), at(inc.First)))
	}
	switch {
	case inc.Count > 1 && inc.Count != inc.Fired:
		facts = append(facts, count(inc.Count, "time")+" "+between(inc.First, inc.Last))
	case len(facts) == 0:
		facts = append(facts, at(inc.First))
	}
	facts = append(facts, inc.shownMarks()...)
	if inc.Muted.shown() && inc.State != Resolved {
		facts = append(facts, inc.Muted.fact())
	}
	switch {
	case inc.Late == 1:
		facts = append(facts, "late: 1 event that happened more than 1 h before it came")
	case inc.Late > 1:
		facts = append(facts, fmt.Sprintf("late: %d events that happened more than 1 h before they came", inc.Late))
	}
	if n := inc.Unanswered + inc.Reminded; n > 0 && inc.State == Firing {
		facts = append(facts, "still firing, nobody has acknowledged: sent again "+count(n, "time"))
	}
	if inc.BeforeLast != 0 {
		before := fmt.Sprintf("regressed: before that %s, last seen %s", count(inc.BeforeCount, "time"), at(inc.BeforeLast))
		if inc.BeforeEnd != "" {
			before += ", " + inc.BeforeEnd
		}
		facts = append(facts, before)
	}
	if inc.Damped != 0 {
		facts = append(facts, "comes and goes: rings no sooner than "+until(inc.Since, inc.Damped))
	}
	return facts
}

// history is what became of the incident since it fired last: fired 02:10, acknowledged 02:12 by …, resolved 02:40 after 30m.
func (inc *incident) history() string {
	text := "fired " + at(inc.Since)
	if inc.Acked != 0 {
		text += ", acknowledged " + until(inc.Since, inc.Acked)
		if inc.By != "" {
			text += " by " + inc.By
		}
	}
	if inc.State == Resolved {
		text += ", resolved " + until(inc.Since, inc.Resolved) + inc.how()
	}
	return text
}

// renderHistory makes the reply that adds these lines to the thread of a message.
func renderHistory(m Message, lines []change) Message {
	reply := Message{State: m.State, Severity: m.Severity, Incident: m.Incident, Title: m.Title, Plain: m.Plain}
	for _, l := range lines {
		reply.Lines = append(reply.Lines, at(l.At)+" "+l.Text)
	}
	return reply
}

// byWhom names a person behind what they did, when one is known.
func byWhom(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

// span writes a time in whole seconds: 6h, 30m, 4m12s.
func span(d time.Duration) string {
	text := d.Round(time.Second).String()
	for _, zero := range [...]string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func (e *Engine) titleOf(inc *incident) string {
	s := inc.Sample
	what := string(mask.FirstLine([]byte(s.Message)))
	if h := string(mask.Headline([]byte(s.Message))); h != "" {
		what = h
	}
	what = said(what)
	if strings.HasPrefix(inc.Fingerprint, manyPatterns+":") {
		what = fmt.Sprintf("more than %d different messages, the latest: %s", e.limits.Patterns, what)
	}
	if inc.What != "" {
		what = inc.What + ": " + what
	}
	late := inc.cameLate()
	return Cut(title(inc.levelText(), s.Service, what), maxTitle-Weight(late)) + late
}

// cameLate says behind the title of an incident that has events of long ago only when its sample happened, and when it came; empty for
// any other.
func (inc *incident) cameLate() string {
	s := &inc.Sample
	if inc.Late < inc.Count || s.Came == 0 {
		return ""
	}
	happened, came := time.Unix(0, s.Time).UTC(), time.Unix(0, s.Came).UTC()
	layout := "15:04Z"
	if happened.Format(time.DateOnly) != came.Format(time.DateOnly) {
		layout = "2006-01-02 15:04Z"
	}
	return fmt.Sprintf(" (happened %s, came %s)", happened.Format(layout), came.Format(layout))
}

// levelText is the level that a title shows: the event's own, unless the rule takes it for more or less severe.
func (inc *incident) levelText() string {
	l, _ := event.ParseLevel([]byte(inc.Sample.Level))
	if inc.Severity == "" || SeverityOf(l) == inc.Severity {
		return inc.Sample.Level
	}
	return string(inc.Severity)
}

// linkOf is the search behind an incident.
func (e *Engine) linkOf(inc *incident) string {
	if inc.Query == "" {
		return ""
	}
	s := inc.Sample
	return e.link([]string{inc.Query}, s.Service, min(s.Time, inc.First), max(s.Time, inc.Last, inc.Resolved))
}

func title(level, service, what string) string {
	var b strings.Builder
	if level != "" {
		b.WriteString("[" + level + "] ")
	}
	what = oneLine(what)
	if service != "" && !strings.HasPrefix(what, service+" is ") { // "sales is down" says already who
		b.WriteString(service + ": ")
	}
	b.WriteString(what)
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
		m.Facts = append(m.Facts, count(int64(len(q.Lines)), "event")+" "+between(from, to))
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

func renderOverview(o *overview, l *Limits, critical bool) Message {
	held := o.total()
	m := Message{
		Severity: Warning,
		Title:    fmt.Sprintf("%d more held: this channel is full", held),
		Lines:    []string{"By rule: " + listed(o.Held)},
		Facts: []string{
			between(o.First, o.Last),
			fmt.Sprintf("at most %d messages in %s; what was held is stored and can be searched", l.Budget, l.Window),
		},
		Plain: o.Plain,
	}
	if critical {
		m.Severity, m.Title = Critical, fmt.Sprintf("%d more critical held: this channel is full", held)
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
