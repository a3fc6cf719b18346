package alerting

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// Budgets of [Weight]. A gathered message fits every notifier even as plain text, so none of its lines is cut there.
	maxGathered = 6000
	maxLine     = 1000
	maxSample   = 4000
	maxFields   = 600

	// An incident stays open while it is quiet for no longer than ten times its usual gap, within these bounds.
	quietFactor = 10
	minQuiet    = 30 * time.Minute
	maxQuiet    = 24 * time.Hour
	// gapsKept is odd, for a median without halving.
	gapsKept = 9

	// forgetAfter is when a quiet incident is dropped: later it is a new one.
	forgetAfter = 7 * 24 * time.Hour
)

// match is an event that a rule asked for.
type match struct {
	rule  *rule
	event *event.Event
}

// application is what one transaction does with a batch: records are read once, changed here, and written by flush.
type application struct {
	e         *Engine
	tx        *bbolt.Tx
	now       int64
	incidents map[string]*incident
	open      map[string]*queued // the last gathered entry of a channel, nil when there is none to add to
	states    map[string]*channelState
	channels  map[string]bool // what has to be woken afterwards
	added     map[string]int  // new incidents by rule and service
	held      uint64          // counted, not shown
	scratch   []byte
}

func (e *Engine) apply(tx *bbolt.Tx, now int64) *application {
	return &application{
		e: e, tx: tx, now: now,
		incidents: map[string]*incident{},
		open:      map[string]*queued{},
		states:    map[string]*channelState{},
		channels:  map[string]bool{},
		added:     map[string]int{},
	}
}

func (a *application) match(m match) error {
	if m.rule.Notify == Each {
		return a.addLine(m)
	}
	ev := m.event
	fp := fingerprint(ev, &a.scratch)
	service := short(ev.Service)
	family := familyOf(m.rule.Name, service)
	if a.e.families.full(family, a.added[family], a.e.limits.Patterns) {
		// Those already known stay apart.
		if known, err := a.incident(incidentKey(m.rule.Name, fp)); err != nil {
			return err
		} else if known == nil {
			fp = manyPatterns + ":" + service
		}
	}
	severity := m.rule.Severity
	if severity == "" {
		severity = SeverityOf(ev.Level)
	}
	return a.happened(happening{
		rule: m.rule.Name, fingerprint: fp, family: family, channel: m.rule.Channels[0], severity: severity,
		query: m.rule.text, received: ev.Received, event: ev,
	})
}

// gap tells about events that could not be read.
func (a *application) gap(g *query.GapError) error {
	if a.e.fallback == "" {
		return nil
	}
	ev := &event.Event{
		Time: a.now, Received: a.now, Level: event.Error, Service: []byte(Service),
		Message: fmt.Appendf(nil, "Events %d to %d could not be held against the rules: %v. The server's log says which file is damaged.", g.From, g.To, g.Err),
	}
	return a.happened(happening{
		rule: Service, fingerprint: gapPrint, family: familyOf(Service, Service), channel: a.e.fallback, severity: Error,
		received: a.now, event: ev,
	})
}

// happening is one event on its way into its incident.
type happening struct {
	rule, fingerprint, family, channel, query string
	severity                                  Severity
	received                                  int64
	event                                     *event.Event
}

func familyOf(rule, service string) string { return rule + "|" + service }

func (a *application) incident(key []byte) (*incident, error) {
	if inc, ok := a.incidents[string(key)]; ok {
		return inc, nil
	}
	inc := new(incident)
	ok, err := get(a.tx.Bucket(bucketIncident), key, inc)
	if err != nil {
		a.e.unreadable(err)
	}
	if !ok || err != nil {
		return nil, nil
	}
	a.incidents[string(key)] = inc
	return inc, nil
}

func (a *application) happened(h happening) error {
	key := incidentKey(h.rule, h.fingerprint)
	inc, err := a.incident(key)
	if err != nil {
		return err
	}
	if inc == nil {
		inc = &incident{Rule: h.rule, Fingerprint: h.fingerprint}
		a.incidents[string(key)] = inc
		a.added[h.family]++
		return a.fire(inc, h)
	}
	gap := h.received - inc.Last
	quiet := inc.quiet()
	inc.Count++
	if gap > 0 {
		inc.Last = h.received
		inc.Gaps = append(inc.Gaps, gap)
		inc.Gaps = inc.Gaps[max(0, len(inc.Gaps)-gapsKept):]
	}
	switch {
	case inc.Held != 0 && h.received-inc.Held > int64(a.e.limits.Window):
		// The flood that kept it from being told is over and it still happens.
		return a.fire(inc, h)
	case inc.Told != 0 && gap > int64(quiet):
		inc.BeforeLast, inc.BeforeCount = h.received-gap, inc.Count-1
		inc.Count = 1
		return a.fire(inc, h)
	}
	// It is told already, or its message is still waiting and will say this count.
	return nil
}

// fire opens an incident and queues its message.
func (a *application) fire(inc *incident, h happening) error {
	id, err := a.tx.Bucket(bucketIncident).NextSequence()
	if err != nil {
		return fmt.Errorf("numbering an incident: %w", err)
	}
	inc.ID, inc.Channel, inc.Severity, inc.Query = id, h.channel, h.severity, h.query
	if inc.Count <= 1 {
		inc.First, inc.Count = h.received, 1
	}
	inc.Last = max(inc.Last, h.received)
	inc.Sample = sampleOf(h.event)
	inc.Told, inc.Held, inc.Receipt = 0, 0, Receipt{}
	a.channels[h.channel] = true
	key := fmt.Sprintf("%s|%s|%d|fired", h.rule, h.fingerprint, id)
	return enqueue(a.tx, key, &entry{
		Kind: kindIncident, Channel: h.channel, Created: a.now, Rule: h.rule, Severity: h.severity,
		Fingerprint: h.fingerprint, Incident: id,
	})
}

// quiet is how long the incident may be silent and still be the same one.
func (inc *incident) quiet() time.Duration {
	if len(inc.Gaps) == 0 {
		return minQuiet
	}
	sorted := slices.Sorted(slices.Values(inc.Gaps))
	median := time.Duration(sorted[len(sorted)/2])
	return min(max(min(median, maxQuiet)*quietFactor, minQuiet), maxQuiet)
}

// addLine puts an event into the last gathered message of its channel, or begins one.
func (a *application) addLine(m match) error {
	channel := m.rule.Channels[0]
	l := line{Seq: m.event.Seq, Time: m.event.Time, Rule: m.rule.Name, Text: lineOf(m.event), Query: m.rule.text}
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
	if last == nil || last.Sending || last.MayRepeat || last.Weight+weight > maxGathered {
		if err := a.write(last); err != nil {
			return err
		}
		a.open[channel] = nil
		if length(a.tx, channel, laneEach, a.e.limits.Waiting) >= a.e.limits.Waiting {
			return a.hold(channel, m.rule.Name)
		}
		last = &queued{key: fmt.Sprintf("each|%s|%d", channel, l.Seq)}
		last.entry = entry{Kind: kindEach, Channel: channel, Created: a.now, Rule: m.rule.Name, Severity: m.rule.Severity}
		if err := enqueue(a.tx, last.key, &last.entry); err != nil {
			return err
		}
		a.channels[channel] = true
	}
	last.Lines = append(last.Lines, l)
	last.Weight += weight
	if worse(m.rule.Severity, last.Severity) {
		last.Severity = m.rule.Severity
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
	a.channels[channel] = true
	return nil
}

func (a *application) write(q *queued) error {
	if q == nil {
		return nil
	}
	return put(a.tx.Bucket(bucketOutbox), []byte(q.key), &q.entry)
}

// flush writes what changed.
func (a *application) flush() error {
	for key, inc := range a.incidents {
		if err := put(a.tx.Bucket(bucketIncident), []byte(key), inc); err != nil {
			return err
		}
	}
	for _, q := range a.open {
		if err := a.write(q); err != nil {
			return err
		}
	}
	for channel, s := range a.states {
		if err := put(a.tx.Bucket(bucketChannel), []byte(channel), s); err != nil {
			return err
		}
	}
	return nil
}

func worse(a, b Severity) bool {
	rank := map[Severity]int{Critical: 4, Error: 3, Warning: 2, Info: 1}
	return rank[a] > rank[b]
}

func sampleOf(e *event.Event) sample {
	return sample{
		Time: e.Time, Level: e.Level.String(),
		Service: short(e.Service), Env: short(e.Env), Host: short(e.Host), Container: short(e.Container),
		Message: Cut(strings.TrimRight(clean(e.Message), " \t\n"), maxSample),
		Fields:  fieldsOf(e),
	}
}

func short(p []byte) string { return Cut(oneLine(clean(p)), 100) }

// lineOverhead is what a line takes beside its text: the time in front and the line's end.
const lineOverhead = len("2026-11-21 15:04:05Z ") + 1

// lineOf is an event in one line: service, message, fields.
func lineOf(e *event.Event) string {
	var b strings.Builder
	if len(e.Service) > 0 {
		b.WriteString(short(e.Service))
		b.WriteByte(' ')
	}
	b.WriteString(oneLine(strings.TrimSpace(clean(e.Message))))
	if f := fieldsOf(e); f != "" {
		b.WriteByte(' ')
		b.WriteString(f)
	}
	return Cut(b.String(), maxLine)
}

// fieldsOf writes the extra fields as name=value.
func fieldsOf(e *event.Event) string {
	var b strings.Builder
	for i, f := range e.Fields {
		if i > 0 {
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
	return Cut(b.String(), maxFields)
}

// forget drops incidents that have been quiet for long, at most limit of those in keys, and returns the families they
// belonged to. One whose message still waits stays.
func forget(tx *bbolt.Tx, keys [][]byte, before int64) (gone []*incident, err error) {
	b := tx.Bucket(bucketIncident)
	for _, k := range keys {
		var inc incident
		ok, readErr := get(b, k, &inc)
		if !ok || readErr == nil && !inc.stale(before) {
			continue
		}
		err = errors.Join(err, b.Delete(k))
		gone = append(gone, &inc)
	}
	return gone, err
}

func (inc *incident) stale(before int64) bool {
	return inc.Last < before && (inc.Told != 0 || inc.Held != 0)
}
