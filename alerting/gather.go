package alerting

import (
	"fmt"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// Budgets of [Weight]. A gathered message fits every notifier even as plain text, so none of its lines is cut there.
const (
	maxGathered = 6000
	maxLine     = 1000
	maxSample   = 4000
	maxFields   = 600
	maxOutcome  = 300
)

// addLine puts an event into the last gathered message of each of its channels, or begins one.
func (a *application) addLine(m match) error {
	text, whole := lineOf(m.event)
	l := line{Seq: m.event.Seq, Time: m.event.Time, Rule: m.rule.Name, Text: text, Query: m.rule.text, Whole: whole}
	policy := a.e.policy.Load()
	var labels Labels
	if len(policy.Routes)+len(policy.Quiet) > 0 {
		labels = a.labelsOfEvent(m)
	}
	for _, t := range a.targets(m.rule, labels) {
		var notBefore int64
		if until := policy.QuietUntil(labels, t, time.Unix(0, a.now)); !until.IsZero() {
			notBefore = until.UnixNano()
		}
		if err := a.gather(t.Channel, m.rule.Severity, l, notBefore); err != nil {
			return err
		}
	}
	return nil
}

// gather adds a line to a channel's last gathered message, in quiet hours to one that is due when they end. What comes
// behind such a message in its channel waits with it.
func (a *application) gather(channel string, severity Severity, l line, notBefore int64) error {
	weight := Weight(l.Text) + lineOverhead
	last, known := a.open[channel]
	if !known {
		var err error
		if last, err = tail(a.tx, channel, laneEach); err != nil {
			a.e.unreadable(err)
			last = nil // the sender takes it out when it comes to it
		}
	}
	// What has been tried may be on the screen already: it is sent again as it was.
	if last == nil || last.Sending || last.MayRepeat || last.Weight+weight > maxGathered || last.NotBefore != notBefore {
		if err := a.write(last); err != nil {
			return err
		}
		a.open[channel] = nil
		if length(a.tx, channel, laneEach, a.e.limits.Waiting) >= a.e.limits.Waiting {
			return a.hold(channel, l.Rule)
		}
		last = &queued{key: fmt.Sprintf("each|%s|%d", channel, l.Seq)}
		last.entry = entry{Kind: kindEach, Channel: channel, Created: a.now, Rule: l.Rule, Severity: severity, NotBefore: notBefore}
		if err := enqueue(a.tx, last.key, &last.entry); err != nil {
			return err
		}
		a.channels[channel] = true
	}
	last.Lines = append(last.Lines, l)
	last.Weight += weight
	if worse(severity, last.Severity) {
		last.Severity = severity
	}
	a.open[channel] = last
	return nil
}

// hold counts an event that is not shown.
func (a *application) hold(channel, rule string) error {
	s, ok := a.states[channel]
	if !ok {
		s = a.e.channelState(a.tx, channel)
		a.states[channel] = s
	}
	s.hold(rule, a.now, a.e.limits.Window)
	a.held++
	a.tx.OnCommit(func() { a.e.c.count(channel, func(c *channelCounts) { c.held++ }) })
	a.tallies[tally{kind: tallyHeld, rule: rule, channel: channel}]++
	a.channels[channel] = true
	return nil
}

func (a *application) write(q *queued) error {
	if q == nil {
		return nil
	}
	return put(a.tx.Bucket(bucketOutbox), []byte(q.key), &q.entry)
}

func worse(a, b Severity) bool {
	rank := map[Severity]int{Critical: 4, Error: 3, Warning: 2, Info: 1}
	return rank[a] > rank[b]
}

func sampleOf(e *event.Event) sample {
	message := strings.TrimRight(clean(e.Message), " \t\n")
	fields, whole := fieldsOf(e)
	s := sample{
		Seq: e.Seq, Time: e.Time, Level: e.Level.String(),
		Service: short(e.Service), Env: short(e.Env), Host: short(e.Host), Container: short(e.Container),
		Message: Cut(message, maxSample), Fields: fields,
	}
	if isLate(e) {
		s.Came = e.Received
	}
	s.Whole = whole && s.Message == message && s.Service == string(e.Service)
	return s
}

// messageOf is an event's message in one line.
func messageOf(e *event.Event) string {
	return Cut(oneLine(strings.TrimSpace(clean(e.Message))), maxOutcome)
}

func short(p []byte) string { return Cut(oneLine(clean(p)), 100) }

// lineOverhead is what a line takes beside its text: the time in front and the line's end.
const lineOverhead = len("2026-11-21 15:04:05Z ") + 1

// lineOf is an event in one line: service, message, fields. whole tells whether that is all of them.
func lineOf(e *event.Event) (text string, whole bool) {
	var b strings.Builder
	if len(e.Service) > 0 {
		b.WriteString(short(e.Service))
		b.WriteByte(' ')
	}
	b.WriteString(oneLine(strings.TrimSpace(clean(e.Message))))
	f, whole := fieldsOf(e)
	if f != "" {
		b.WriteByte(' ')
		b.WriteString(f)
	}
	text = Cut(b.String(), maxLine)
	return text, whole && text == b.String() && short(e.Service) == string(e.Service)
}

// fieldsOf writes the extra fields as name=value. What lookout itself says of containers and probes is a sentence that has
// all that matters: its fields are for rules and searches. whole tells whether no field was left out or cut.
func fieldsOf(e *event.Event) (text string, whole bool) {
	switch string(e.Stream) {
	case "docker", "probe":
		return "", len(e.Fields) == 0
	}
	var b strings.Builder
	whole = true
	for i, f := range e.Fields {
		if string(f.Name) == "container_id" { // its name is among the facts
			whole = false
			continue
		}
		if string(e.Stream) == alertmanagerStream {
			shown, ok := sentName(string(f.Name))
			if whole = false; !ok {
				continue
			}
			f.Name = []byte(shown)
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		if b.Len() > 4*maxFields { // enough for any weight, and no more work for a thousand fields
			fmt.Fprintf(&b, "… and %d more", len(e.Fields)-i)
			break
		}
		name, value := oneLine(clean(f.Name)), oneLine(clean(f.Value[:min(len(f.Value), 4*maxFields)]))
		if value == "" || strings.ContainsAny(value, ` "=`) {
			value = fmt.Sprintf("%q", value)
		}
		b.WriteString(name + "=" + value)
	}
	text = Cut(b.String(), maxFields)
	return text, whole && text == b.String()
}

// sentName is how a field of an alert that another system sent is shown: its labels and annotations are of interest, but for those
// that the title has.
func sentName(field string) (name string, ok bool) {
	for _, prefix := range [...]string{alertmanagerLabel, "annotations."} {
		if name, ok := strings.CutPrefix(field, prefix); ok {
			return name, field != "labels.alertname" && field != "annotations.summary"
		}
	}
	return "", false
}
