package alerting

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/internal/event"
)

// Explanation is what the rules in force make of one event. What became of it is told by what is known now: a series goes on
// counting, an incident that was over for a week is forgotten, and a silence five days after its end.
type Explanation struct {
	// Position is the sequence up to which events are held against the rules, Decided whether that is so of this one.
	Position uint64 `json:"position"`
	Decided  bool   `json:"decided"`
	// Rules are all rules in force, in their order, and Matched how many of them the event is for.
	Matched int       `json:"matched"`
	Rules   []Verdict `json:"rules"`
}

// Finding is what a rule made of an event, in a word.
type Finding string

// The findings. Those from FindingBefore on are of events that the rule asks for.
const (
	FindingNone     Finding = "no match"
	FindingOwn      Finding = "own event" // lookout's own, which the rule does not name
	FindingMark     Finding = "mark"      // the rule does not name the stream of marks
	FindingBefore   Finding = "before"    // the rule was not in force then, or asked for something else
	FindingWaits    Finding = "waits"     // the event is not held against the rules yet
	FindingTold     Finding = "told"      // a channel was told of its incident
	FindingQueued   Finding = "queued"    // nobody was told yet, and a message waits to be sent
	FindingQuiet    Finding = "quiet"     // something keeps it from being told, or did
	FindingGathered Finding = "gathered"  // of [Each]: a line of a message
	FindingExpected Finding = "expected"  // of [ModeUnexpected]
	FindingKnown    Finding = "known"     // of [ModeNew]
	FindingFirstDay Finding = "first day" // of [ModeNew]: in the digest of the service's first day
	FindingCounted  Finding = "counted"   // of [ModeRate], [ModeSpike] and [ModeAbsent]: in a series
	FindingLeft     Finding = "left out"  // of the same: it counts in no series
	FindingResolves Finding = "resolves"  // it ends incidents
	FindingUnknown  Finding = "not known" // nothing is kept of it (any more)
)

// Verdict is what one rule makes of an event.
type Verdict struct {
	Rule   string `json:"rule"`
	Query  string `json:"query"`
	Mode   Mode   `json:"mode"`
	Notify Notify `json:"notify"`
	// Match is whether the event is for the rule: its query matches, or what resolves its incidents.
	Match   bool    `json:"match"`
	Outcome Finding `json:"outcome"`
	// Why says it in a sentence or two, Terms which terms of the query decide: of one that does not match those that would have to be otherwise.
	Why   string   `json:"why"`
	Terms []string `json:"terms,omitempty"`

	Fingerprint string            `json:"fingerprint,omitempty"`
	Incident    *IncidentInfo     `json:"incident,omitempty"` // as it stands now
	Series      *SeriesInfo       `json:"series,omitempty"`
	Expected    []ExpectationInfo `json:"expected,omitempty"` // the entries that cover it now
	Quiet       []Quieting        `json:"quiet,omitempty"`
	Channels    []ChannelStanding `json:"channels,omitempty"`
}

// SeriesInfo is how the series that an event counts in stands now.
type SeriesInfo struct {
	By     map[string]string `json:"by,omitempty"`
	At     time.Time         `json:"at"` // the rules' clock
	Firing bool              `json:"firing"`
	// Value and the limits it must not leave are of Unit: events, or seconds of silence. A limit that is not there, or not known yet, is 0.
	Unit  string `json:"unit"`
	Value int64  `json:"value"`
	Above int64  `json:"above,omitempty"`
	Below int64  `json:"below,omitempty"`
	// Text says it in words.
	Text string `json:"text"`
}

// Quieting is something that keeps a rule, or one of its incidents, from being told.
type Quieting struct {
	// Kind is silence, maintenance, parent, hold, quiet hours, budget, damped, over or acknowledged.
	Kind string `json:"kind"`
	// Name is the silence's ID, the maintenance's name, the parent's rule, or the channel.
	Name     string    `json:"name,omitempty"`
	By       string    `json:"by,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Incident uint64    `json:"incident,omitempty"` // the parent's
	// Past is true for what was so when the event was received, and is not any more.
	Past bool   `json:"past,omitempty"`
	Why  string `json:"why"`
}

// ChannelStanding is how far one channel has come with an incident, or a gathered line.
type ChannelStanding struct {
	Channel string `json:"channel"`
	// Route is the route that took it, counted from 1, and Match its matchers; 0 for the rule's own channels. Both are as the routes are now.
	Route int    `json:"route,omitempty"`
	Match string `json:"match,omitempty"`
	// Told is when its message was first delivered, zero when it was not; Receipt is the destination's name for it.
	Told    time.Time `json:"told,omitzero"`
	Receipt string    `json:"receipt,omitempty"`
	// Queued is since when something waits to be sent there, and Parked since when the channel takes nothing.
	Queued time.Time `json:"queued,omitzero"`
	Parked time.Time `json:"parked,omitzero"`
	Error  string    `json:"error,omitempty"` // why it takes nothing, or refused this message for good
	Why    string    `json:"why"`
}

// Explain says what the rules in force make of a stored event, and what became of it. It changes nothing.
func (e *Engine) Explain(ev *event.Event) (Explanation, error) {
	glances, position := e.modes.look(ev)
	x := Explanation{Position: position, Decided: ev.Seq <= position, Rules: make([]Verdict, len(glances))}
	err := e.db.View(func(tx *bbolt.Tx) error {
		a := e.apply(tx, e.clock.Now().UnixNano())
		for i := range glances {
			g := &glances[i]
			j := judgement{a: a, ev: ev, g: g, v: &x.Rules[i]}
			j.v.Rule, j.v.Query, j.v.Mode, j.v.Notify = g.rule.Name, g.rule.text, cmp.Or(g.rule.Mode, ModeMatch), cmp.Or(g.rule.Notify, Incident)
			j.judge(x.Decided)
			if j.v.Match {
				x.Matched++
			}
		}
		return nil
	})
	if err != nil {
		return Explanation{}, fmt.Errorf("reading the state of alerting: %w", err)
	}
	return x, nil
}

// judgement finds one rule's verdict, inside a transaction that reads.
type judgement struct {
	a  *application
	ev *event.Event
	g  *glance
	v  *Verdict
}

func (j *judgement) say(o Finding, format string, args ...any) {
	j.v.Outcome, j.v.Why = o, fmt.Sprintf(format, args...)
}

func (j *judgement) judge(decided bool) {
	g, r := j.g, j.g.rule
	q := r.Query
	if g.resolves {
		q = r.Resolve
	}
	_, reasons := q.Why().Of(j.ev)
	for _, reason := range reasons {
		j.v.Terms = append(j.v.Terms, reason.String())
	}
	j.v.Match = g.unheard == "" && (g.match || g.resolves)
	switch {
	case g.unheard == FindingOwn:
		j.say(FindingOwn, "it is lookout's own event, which only a query that names service:lookout gets")
	case g.unheard == FindingMark:
		j.say(FindingMark, "it is a mark, which only a query that names stream:mark gets")
	case !j.v.Match:
		j.say(FindingNone, "its query does not match")
	case !decided:
		j.say(FindingWaits, "it waits for its turn: events up to %d are held against the rules by now", j.a.e.position.Load())
	case g.resolves:
		j.resolves()
	case r.Mode.timed():
		j.counts()
	case r.Mode == ModeUnexpected && j.expected():
	case r.Mode == ModeNew && j.known():
	case r.Notify == Each:
		j.gathered()
	default:
		j.incident(j.prints()...)
	}
}

// prints are the fingerprints of the incidents that may have the event, the usual one first.
func (j *judgement) prints() []string {
	prints := []string{fingerprint(j.ev, &j.a.scratch)}
	if !named(prints[0]) {
		if j.a.e.olds.Load() {
			prints = append(prints, oldFingerprint(j.ev, &j.a.scratch))
		}
		prints = append(prints, manyPatterns+":"+short(j.ev.Service))
	}
	return prints
}

// has tells whether the event lies within an incident as it stands.
func (j *judgement) has(inc *incident) bool {
	return inc != nil && inc.First <= j.ev.Received && j.ev.Received <= inc.Last
}

// find returns the incident that has the event, or else the first that is there; nil for none.
func (j *judgement) find(prints ...string) (found *incident) {
	for _, fp := range prints {
		inc := j.a.stored(incidentKey(j.g.rule.Name, fp))
		if j.has(inc) {
			return inc
		}
		found = cmp.Or(found, inc)
	}
	return found
}

// before tells whether the rule was not held against the event, as it is now.
func (j *judgement) before() bool {
	s := j.g.since
	if j.ev.Seq > s.After {
		return false
	}
	j.say(FindingBefore, "the rule is held against events behind %d, since %s: before that it was not there, or asked for something else", s.After, at(s.At))
	return true
}

// incident says what became of an event that goes into an incident of one of these fingerprints.
func (j *judgement) incident(prints ...string) {
	j.v.Fingerprint = prints[0]
	inc := j.find(prints...)
	if j.has(inc) {
		j.v.Fingerprint = inc.Fingerprint
		j.stands(inc)
		j.verdict(inc)
		return
	}
	if inc != nil {
		j.stands(inc)
		j.v.Quiet, j.v.Channels = nil, nil // they are about what it is now
	}
	if j.before() {
		return
	}
	var p past
	known, err := get(j.a.tx.Bucket(bucketPast), incidentKey(j.g.rule.Name, prints[0]), &p)
	switch {
	case inc != nil && j.ev.Received < inc.First && inc.BeforeLast >= j.ev.Received:
		j.say(FindingUnknown, "incident %d opened anew at %s; of the time before only this is known: %s, last seen %s", inc.ID, at(inc.First), count(inc.BeforeCount, "time"), at(inc.BeforeLast))
	case inc != nil && j.ev.Received < inc.First:
		j.say(FindingUnknown, "incident %d of its kind began later, at %s, and none from before that is known", inc.ID, at(inc.First))
	case inc != nil:
		j.say(FindingUnknown, "incident %d of its kind was last seen earlier, at %s: the event did not count in it", inc.ID, at(inc.Last))
	case known && err == nil:
		j.say(FindingUnknown, "its incident is forgotten, as all are that are over for %s: last seen %s, %s", days(forgetAfter), at(p.Last), count(p.Count, "time"))
	default:
		j.say(FindingUnknown, "no incident of its kind is known; one that is over is forgotten after %s", days(forgetAfter))
	}
	j.v.Quiet = j.quietThen(j.labels())
}

// labels are what matchers see of the event alone.
func (j *judgement) labels() Labels { return j.a.labelsOfEvent(match{rule: j.g.rule, event: j.ev}) }

// stands fills in how an incident stands, with its channels and what keeps it quiet.
func (j *judgement) stands(inc *incident) {
	info := j.a.e.info(inc)
	j.v.Incident = &info
	labels := inc.labels()
	targets := j.a.targets(j.g.rule, labels)
	j.v.Quiet = j.quietNow(inc, labels)
	for i := range inc.To {
		d := &inc.To[i]
		c := j.standing(d.Channel, targets)
		j.destination(&c, inc, d)
		j.v.Channels = append(j.v.Channels, c)
		switch {
		case d.Waits != 0:
			j.quiet(Quieting{Kind: "quiet hours", Name: d.Channel, Until: timeOf(d.Waits), Why: "it waits for the end of quiet hours at " + at(d.Waits)})
		case d.Held != 0:
			l := &j.a.e.limits
			j.quiet(Quieting{Kind: "budget", Name: d.Channel, Why: fmt.Sprintf("the channel had its %d new messages in %s: counted in an overview at %s", l.Budget, span(l.Window), at(d.Held))})
		case d.Passed:
			j.quiet(Quieting{Kind: "over", Name: d.Channel, Why: "it was over, or seemed so, before what kept it quiet was: its next event is told"})
		}
	}
	j.v.Quiet = append(j.v.Quiet, j.quietThen(labels)...)
}

func (j *judgement) quiet(q Quieting) { j.v.Quiet = append(j.v.Quiet, q) }

// quietNow is what keeps an incident as a whole from being told, now.
func (j *judgement) quietNow(inc *incident, labels Labels) (all []Quieting) {
	if m := inc.Muted; m != nil && inc.State != Resolved {
		q := Quieting{Kind: string(m.Kind), Name: m.Name, By: m.By, Until: timeOf(m.Until), Why: m.fact()}
		if m.Kind == byParent {
			if parent := j.a.firing(m.Name, j.g.rule.ParentsEqual, labels, inc); parent != nil {
				q.Incident = parent.ID
				q.Why = fmt.Sprintf("incident %d of rule %s fires, which is the cause", parent.ID, m.Name)
			}
		}
		all = append(all, q)
	}
	if inc.Damped != 0 {
		all = append(all, Quieting{Kind: "damped", Until: timeOf(inc.Damped), Why: "it comes and goes: it rings no sooner than " + at(inc.Damped)})
	}
	if inc.State == Acknowledged {
		all = append(all, Quieting{Kind: "acknowledged", By: inc.By, Why: "acknowledged" + byWhom(inc.By) + " at " + at(inc.Acked) + ": nobody is told again"})
	}
	return all
}

// quietThen is what kept something with these labels quiet when the event was received, as far as that is kept.
func (j *judgement) quietThen(labels Labels) (all []Quieting) {
	then, now := time.Unix(0, j.ev.Received), time.Unix(0, j.a.now)
	known := func(kind muteKind, name string) bool {
		return slices.ContainsFunc(j.v.Quiet, func(q Quieting) bool { return q.Kind == string(kind) && q.Name == name })
	}
	for i := range j.a.silences {
		s := &j.a.silences[i]
		if s.State(then) != SilenceActive || !s.Matchers.Match(labels) || known(bySilence, s.ID) {
			continue
		}
		why := "silenced" + byWhom(s.By) + " from " + at(s.From.UnixNano()) + " until " + at(s.Until.UnixNano())
		if s.Comment != "" {
			why += ": " + Cut(oneLine(s.Comment), 200)
		}
		all = append(all, Quieting{Kind: string(bySilence), Name: s.ID, By: s.By, Until: s.Until.UTC(), Past: s.State(now) != SilenceActive, Why: why})
	}
	for _, m := range j.a.e.policy.Load().Maintenance {
		until, on := m.Schedule.during(then)
		if !on || !m.Match.Match(labels) || known(byMaintenance, m.Name) {
			continue
		}
		all = append(all, Quieting{Kind: string(byMaintenance), Name: m.Name, Until: until.UTC(), Past: !until.After(now), Why: "maintenance " + m.Name + " until " + at(until.UnixNano())})
	}
	return all
}

// standing is a channel with the route that leads to it now, and whether it takes anything.
func (j *judgement) standing(channel string, targets []Target) ChannelStanding {
	c := ChannelStanding{Channel: channel}
	if i := slices.IndexFunc(targets, func(t Target) bool { return t.Channel == channel }); i >= 0 && targets[i].Route >= 0 {
		c.Route = targets[i].Route + 1
		c.Match = j.a.e.policy.Load().Routes[targets[i].Route].Match.String()
	}
	switch state := j.a.e.channelState(j.a.tx, channel); {
	case state.Parked != nil:
		c.Parked, c.Error = timeOf(state.Parked.Since), state.Parked.Reason
	case state.Out != nil:
		c.Parked = timeOf(state.Out.Since)
	}
	return c
}

// takesNothing says since when, and why, if that is known.
func (c *ChannelStanding) takesNothing() string {
	text := "the channel takes nothing since " + at(c.Parked.UnixNano())
	if c.Error != "" {
		text += ": " + c.Error
	}
	return text
}

// destination says how far a channel has come with an incident.
func (j *judgement) destination(c *ChannelStanding, inc *incident, d *destination) {
	key := entryKey(inc.Rule, inc.Fingerprint, d.Channel)
	var q entry
	queued, err := get(j.a.tx.Bucket(bucketOutbox), key, &q)
	queued = queued && err == nil
	if queued {
		c.Queued = timeOf(q.Created)
	}
	if d.Told != 0 {
		c.Told, c.Receipt = timeOf(d.Told), d.Receipt.ID
	}
	refused := j.refused(string(key))
	switch {
	case d.Told != 0 && d.Receipt == (Receipt{}) && refused != nil:
		c.Error, c.Told = refused.Error, time.Time{}
		c.Why = "refused for good at " + at(refused.Time) + ": " + refused.Error
		return
	case d.Told != 0 && d.Receipt == (Receipt{}):
		c.Why = "told at " + at(d.Told) + ", in a message with others"
	case d.Told != 0:
		c.Why = "told at " + at(d.Told)
		if d.Repeat {
			c.Why += ", perhaps twice"
		}
	case d.Waits != 0:
		c.Why = "waits for the end of quiet hours"
	case d.Held != 0:
		c.Why = "not told: counted in an overview"
	case inc.Muted != nil && d.Ring != 0:
		c.Why = "not told: " + inc.Muted.fact()
	case queued && !c.Parked.IsZero():
		c.Why = "waits since " + at(q.Created) + ": " + c.takesNothing()
		return
	case queued && q.Sending:
		c.Why = "waits since " + at(q.Created) + ": it is on its way, or its answer was lost"
	case queued:
		c.Why = "waits since " + at(q.Created) + " to be sent"
	default:
		c.Why = "not told"
	}
	switch {
	case !queued || d.Told == 0:
	case q.Update:
		c.Why += "; an edit waits"
	default:
		c.Why += "; that it fires again waits to be told"
	}
	if !c.Parked.IsZero() {
		c.Why += "; " + c.takesNothing()
	}
}

// refused returns the newest dead letter of an entry, nil for none.
func (j *judgement) refused(key string) *DeadLetter {
	c := j.a.tx.Bucket(bucketDead).Cursor()
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		var d DeadLetter
		if decode(k, v, &d) == nil && d.Key == key {
			return &d
		}
	}
	return nil
}

// verdict is the outcome of an event that an incident has.
func (j *judgement) verdict(inc *incident) {
	part := ""
	switch {
	case inc.Count == 1:
		part = fmt.Sprintf("it opened incident %d", inc.ID)
	case j.ev.Received == inc.First:
		part = fmt.Sprintf("incident %d began with it", inc.ID)
	case j.ev.Received == inc.Since && inc.Fired > 1:
		part = fmt.Sprintf("incident %d fired again by it", inc.ID)
	default:
		part = fmt.Sprintf("it is one of the %d events of incident %d, which began at %s", inc.Count, inc.ID, at(inc.First))
	}
	if isLate(j.ev) {
		part = fmt.Sprintf("it arrived %s late, and %s", about(time.Duration(j.ev.Received-j.ev.Time)), part)
	}
	var told, queued []string
	for _, c := range j.v.Channels {
		switch {
		case !c.Told.IsZero():
			told = append(told, c.Channel)
		case !c.Queued.IsZero():
			queued = append(queued, c.Channel)
		}
	}
	now := slices.IndexFunc(j.v.Quiet, func(q Quieting) bool { return !q.Past })
	switch {
	case told != nil:
		j.say(FindingTold, "%s: %s told", part, andWere(told))
	case now >= 0:
		j.say(FindingQuiet, "%s: nobody was told, %s", part, j.v.Quiet[now].Why)
	case queued != nil:
		j.say(FindingQueued, "%s: the message for %s waits to be sent", part, strings.Join(queued, ", "))
	case len(j.v.Quiet) > 0:
		j.say(FindingQuiet, "%s: nobody was told, %s", part, j.v.Quiet[0].Why)
	default:
		j.say(FindingUnknown, "%s: nobody was told", part)
	}
}

func andWere(channels []string) string {
	if len(channels) == 1 {
		return channels[0] + " was"
	}
	return strings.Join(channels, ", ") + " were"
}

// resolves says what an event ended.
func (j *judgement) resolves() {
	fp := fingerprint(j.ev, &j.a.scratch)
	j.v.Fingerprint = fp
	inc := j.find(fp)
	if inc != nil {
		j.stands(inc)
	}
	switch {
	case !named(fp):
		j.say(FindingResolves, "it ends the incident with the same value in the field fingerprint, and has no such field")
	case inc == nil:
		j.say(FindingResolves, "it ends the incident with the same fingerprint, of which none is known")
	case inc.State == Resolved && inc.Resolved == j.ev.Received && inc.ResolvedBy == "":
		j.say(FindingResolves, "it resolved incident %d", inc.ID)
	case inc.State == Resolved:
		j.say(FindingResolves, "incident %d was resolved at %s, not by it", inc.ID, at(inc.Resolved))
	case j.ev.Received < inc.Since:
		j.say(FindingResolves, "incident %d has fired again since, at %s", inc.ID, at(inc.Since))
	default:
		j.say(FindingResolves, "incident %d with the same fingerprint is still open", inc.ID)
	}
}

// counts says in which series an event counts.
func (j *judgement) counts() {
	g := j.g
	if j.before() {
		return
	}
	if g.left != "" {
		j.say(FindingLeft, "%s", g.left)
		return
	}
	j.v.Series, j.v.Fingerprint = g.series, g.print
	inc := j.find(g.print)
	if inc != nil {
		j.stands(inc)
	}
	switch {
	case inc == nil && g.series == nil:
		j.say(FindingCounted, "it counted in a series that is forgotten by now, since nothing came any more")
	case g.series == nil:
		j.say(FindingCounted, "it counted in a series that is forgotten by now; its last incident was %d", inc.ID)
	case inc == nil:
		j.say(FindingCounted, "it counts in a series of which nothing is told")
	default:
		j.say(FindingCounted, "it counts in a series whose incident %d is %s", inc.ID, inc.shownState())
	}
}

// expected tells whether the rule's list covers the event, and says so.
func (j *judgement) expected() bool {
	j.v.Expected = j.g.expected
	if len(j.g.expected) == 0 {
		return false
	}
	received := timeOf(j.ev.Received)
	then := slices.ContainsFunc(j.g.expected, func(x ExpectationInfo) bool { return !x.Since.After(received) })
	prints := j.prints()
	if !then && j.has(j.find(prints...)) {
		return false // what was added since does not undo that it was told
	}
	x := &j.g.expected[0]
	by := ""
	if x.Author != "" {
		by = " (" + x.Author + ")"
	}
	j.v.Fingerprint = prints[0]
	if j.before() {
		return true
	}
	j.say(FindingExpected, "the rule's list covers it: %s%s", Cut(x.Query, 200), by)
	if !then {
		j.v.Why += ", from " + at(x.Since.UnixNano()) + " on"
	}
	return true
}

// known tells whether the event's kind was no news to a rule of [ModeNew], and says so.
func (j *judgement) known() bool {
	k := &j.g.kind
	prints := j.prints()
	inc := j.find(prints...)
	if j.has(inc) {
		return false
	}
	j.v.Fingerprint = prints[0]
	firstDay := k.began != 0 && j.ev.Received < k.began+int64(newDay)
	switch inc = j.find(prints[0]); {
	case inc != nil && inc.Last < j.ev.Received:
		j.stands(inc)
		j.say(FindingKnown, "its kind is known: incident %d told of it at %s", inc.ID, at(inc.Last))
	case j.before():
	case k.known && firstDay:
		told := "are told"
		if digest := j.find(j.g.print); digest != nil {
			j.stands(digest)
			told = fmt.Sprintf("were told by incident %d", digest.ID)
		}
		j.say(FindingFirstDay, "it came on the first day of its service under the rule: the kinds of that day %s together, at %s", told, at(k.began+int64(newDay)))
	case k.known:
		j.say(FindingKnown, "its kind is known: it was seen before, and last on %s", time.Unix(k.day*int64(day/time.Second), 0).UTC().Format(time.DateOnly))
	case k.exploded:
		j.say(FindingLeft, "its service has more kinds of lines than the rule tells apart: no more of them are told as new")
	default:
		j.say(FindingUnknown, "its kind is not known any more: one that is not seen for %d days is forgotten, and new again", newForgotten)
	}
	return true
}

// gathered says what became of an event of interest.
func (j *judgement) gathered() {
	labels := j.labels()
	j.v.Fingerprint = labels["fingerprint"]
	targets := j.a.targets(j.g.rule, labels)
	waiting := false
	for _, t := range targets {
		c := j.standing(t.Channel, targets)
		if q := j.waiting(t.Channel); q != nil {
			waiting = true
			c.Queued = timeOf(q.Created)
			c.Why = "waits since " + at(q.Created) + " to be sent with others"
			if q.NotBefore > j.a.now {
				c.Why = "waits for the end of quiet hours"
				j.quiet(Quieting{Kind: "quiet hours", Name: t.Channel, Until: timeOf(q.NotBefore), Why: "it waits for the end of quiet hours at " + at(q.NotBefore)})
			}
			if !c.Parked.IsZero() {
				c.Why += "; " + c.takesNothing()
			}
		} else {
			c.Why = "does not wait for it any more"
		}
		j.v.Channels = append(j.v.Channels, c)
	}
	muted := j.quietThen(labels)
	j.v.Quiet = append(j.v.Quiet, muted...)
	switch {
	case waiting:
		j.say(FindingQueued, "it is a line of a message that waits to be sent")
	case j.before():
	case len(muted) > 0:
		j.say(FindingQuiet, "it was not shown: %s", muted[0].Why)
	default:
		j.say(FindingGathered, "it was a line of a message, or counted in an overview: single lines are not kept")
	}
}

// waiting returns the entry of a channel that has the event as a line, nil for none.
func (j *judgement) waiting(channel string) *entry {
	prefix := []byte("each|" + channel + "|")
	c := j.a.tx.Bucket(bucketOutbox).Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		q := new(entry)
		if decode(k, v, q) == nil && slices.ContainsFunc(q.Lines, func(l line) bool { return l.Seq == j.ev.Seq && l.Rule == j.g.rule.Name }) {
			return q
		}
	}
	return nil
}
