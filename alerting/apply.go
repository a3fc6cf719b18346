package alerting

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// match is an event that a rule asked for, or that resolves what the rule asked for.
type match struct {
	rule     *rule
	event    *event.Event
	resolves bool
	mark     bool // the event is a mark, for the incidents of its service; there is no rule

	fp       string   // what the rule itself tells: the incident's fingerprint; the event is made up
	what     string   // what the event is to the rule, for its title: new
	severity Severity // empty for that of the rule
}

// application is what one transaction does with a batch: records are read once, changed here, and written by flush.
type application struct {
	e         *Engine
	tx        *bbolt.Tx
	now       int64
	incidents map[string]*incident
	open      map[string]*queued // the last gathered entry of a channel, nil when there is none to add to
	states    map[string]*channelState
	channels  map[string]bool     // what has to be woken afterwards
	added     map[string]int      // new incidents by rule and service
	marks     map[string][]mark   // of services, as this transaction leaves them
	silences  []Silence           // as this transaction leaves them
	awake     map[string][]string // incidents for which quiet hours are over, by channel
	scratch   []byte

	held, acknowledged, expired, damped, reminded uint64 // for the counters
	suppressed                                    map[muteKind]uint64
	tallies                                       map[tally]int64 // for the week's digest
}

func (e *Engine) apply(tx *bbolt.Tx, now int64) *application {
	return &application{
		e: e, tx: tx, now: now,
		incidents: map[string]*incident{},
		open:      map[string]*queued{},
		states:    map[string]*channelState{},
		channels:  map[string]bool{},
		added:     map[string]int{},
		marks:     map[string][]mark{},
		silences:  *e.silences.Load(), awake: map[string][]string{}, suppressed: map[muteKind]uint64{}, tallies: map[tally]int64{},
	}
}

// change writes to the state in one transaction, then wakes whom it concerns.
func (e *Engine) change(ctx context.Context, what string, change func(*application) error) error {
	channels, err := e.changeQuietly(ctx, what, change)
	if err == nil {
		e.wakeNews()
		e.wake(channels)
	}
	return err
}

// changeQuietly is change without waking anybody: the senders of the channels that it returns are to be woken, and those with news.
func (e *Engine) changeQuietly(ctx context.Context, what string, change func(*application) error) (channels map[string]bool, err error) {
	var a *application
	err = e.updateQuietly(ctx, what, func(tx *bbolt.Tx) error {
		a = e.apply(tx, e.clock.Now().UnixNano())
		if err := change(a); err != nil {
			return err
		}
		if err := a.flush(); err != nil {
			return err
		}
		return e.at("committing")
	})
	if err != nil {
		return nil, err
	}
	e.families.add(a.added)
	e.c.held.Add(a.held)
	e.c.acknowledged.Add(a.acknowledged)
	e.c.expired.Add(a.expired)
	e.c.damped.Add(a.damped)
	e.c.reminded.Add(a.reminded)
	e.c.suppress(a.suppressed)
	return a.channels, e.at("committed")
}

func (a *application) match(m match) error {
	if m.mark {
		return a.mark(m.event)
	}
	if m.fp == "" && a.e.isDeleted(m.event) {
		return nil
	}
	if m.rule.Notify == Each && m.fp == "" {
		if mute := a.muteOfEvent(m); mute != nil {
			a.suppressed[mute.Kind]++
			a.tallies[tally{kind: tallyKind(mute.Kind), rule: m.rule.Name}]++
			return nil
		}
		return a.addLine(m)
	}
	ev := m.event
	fp := m.fp
	if fp == "" {
		fp = a.fingerprint(m)
	}
	if m.resolves {
		return a.resolve(m, fp)
	}
	service := short(ev.Service)
	family := familyOf(m.rule.Name, service)
	if m.fp == "" && a.e.families.full(family, a.added[family], a.e.limits.Patterns) && a.incident(incidentKey(m.rule.Name, fp)) == nil {
		fp = manyPatterns + ":" + service // those already known stay apart
	}
	severity := cmp.Or(m.severity, m.rule.Severity, SeverityOf(ev.Level))
	return a.happened(happening{
		rule: m.rule.Name, fingerprint: fp, channels: m.rule.Channels, labels: m.rule.labelsOf(ev), severity: severity,
		query: m.rule.text, resolvable: (m.rule.Resolve != nil || m.rule.Mode.timed()) && named(fp), event: ev, what: m.what,
	})
}

// fingerprint is that of an event. While an incident is open that was made when fingerprints were m1, the events it would have had
// join it, so that an upgrade tells nothing twice.
func (a *application) fingerprint(m match) string {
	fp := fingerprint(m.event, &a.scratch)
	if a.e.olds.Load() && !named(fp) {
		old := oldFingerprint(m.event, &a.scratch)
		if inc := a.incident(incidentKey(m.rule.Name, old)); inc != nil && inc.State != Resolved && m.event.Received-inc.Last <= int64(inc.quiet()) {
			return old
		}
	}
	return fp
}

// gap tells about events that could not be read.
func (a *application) gap(g *query.GapError) error {
	fallbacks := *a.e.fallbacks.Load()
	if len(fallbacks) == 0 {
		return nil
	}
	ev := &event.Event{
		Time: a.now, Received: a.now, Level: event.Error, Service: []byte(Service),
		Message: fmt.Appendf(nil, "Events %d to %d could not be held against the rules: %v. The server's log says which file is damaged.", g.From, g.To, g.Err),
	}
	return a.happened(happening{rule: Service, fingerprint: gapPrint, channels: []string{a.e.fallback(a.tx, "")}, severity: Error, event: ev})
}

// happening is one event on its way into its incident.
type happening struct {
	rule, fingerprint, query string
	channels                 []string
	labels                   Labels
	severity                 Severity
	resolvable               bool
	event                    *event.Event
	what                     string // what the event is to the rule, for the title
	more                     int64  // how many others happened with it; -1 for one that is counted already
}

// incident returns a record, nil when there is none.
func (a *application) incident(key []byte) *incident {
	if inc, ok := a.incidents[string(key)]; ok {
		return inc
	}
	inc := a.e.incident(a.tx, key)
	if inc != nil {
		a.incidents[string(key)] = inc
	}
	return inc
}

// happened counts an event in its incident, and has it told when it is news.
func (a *application) happened(h happening) error {
	key := incidentKey(h.rule, h.fingerprint)
	received := h.event.Received
	late := int64(0)
	if isLate(h.event) {
		late = 1
	}
	inc := a.incident(key)
	if inc == nil {
		inc = &incident{Rule: h.rule, Fingerprint: h.fingerprint, First: received, Last: received}
		a.incidents[string(key)] = inc
		a.added[familyOf(h.rule, short(h.event.Service))]++
		if err := a.number(inc); err != nil {
			return err
		}
		inc.Count = max(1, 1+h.more)
		inc.Late = late
		a.recall(key, inc)
		inc.fire(received)
		a.recallMarks(inc, h.event)
		inc.rang(received)
		return a.tell(inc, h, h.channels)
	}
	missed := h.resolvable && inc.State != Resolved && inc.known() && received-inc.Last > int64(inc.quiet()) // an end that never came
	a.lapse(inc, received, h.resolvable)
	last := inc.Last
	inc.count(received)
	inc.Late += late
	switch {
	case missed, inc.State == Resolved && received-inc.Resolved <= int64(reopenWithin):
		inc.Count += h.more
		inc.fire(received)
		a.recallMarks(inc, h.event)
		return a.again(inc, h)
	case inc.State == Resolved:
		inc.anew(received, last)
		inc.Count = max(1, 1+h.more)
		inc.Late = late
		a.recallMarks(inc, h.event)
		inc.rang(received)
		if err := a.number(inc); err != nil {
			return err
		}
		return a.tell(inc, h, h.channels)
	}
	inc.Count += h.more
	// It is told already, or its message is still waiting and will say this count, or the budget kept it from being told; then
	// the sender tells it when the flood is over.
	var again []string
	for _, d := range inc.To {
		if d.Passed {
			again = append(again, d.Channel)
		}
	}
	if again == nil {
		return nil
	}
	return a.tell(inc, h, again)
}

// again has an incident noticed that fires again, or put down for later when that comes too often.
func (a *application) again(inc *incident, h happening) error {
	received := h.event.Received
	pause := inc.pause(received, a.e.limits.Damp)
	if inc.Rule == Service {
		pause = max(pause, ownPause)
	}
	if ends := inc.Rang + int64(pause); received < ends {
		inc.Severity, inc.Query, inc.Sample = h.severity, h.query, sampleOf(h.event)
		inc.Labels = h.labels
		a.tallies[tally{kind: tallyDamped, rule: inc.Rule}]++
		a.damped++
		inc.Damped, inc.DampedTo = ends, a.routed(inc, h.channels)
		inc.Rev++
		a.hush(inc)
		return a.queue(inc)
	}
	inc.rang(received)
	return a.tell(inc, h, h.channels)
}

// number gives an incident its number.
func (a *application) number(inc *incident) (err error) {
	if inc.ID, err = a.tx.Bucket(bucketIncident).NextSequence(); err != nil {
		return fmt.Errorf("numbering an incident: %w", err)
	}
	return nil
}

// tell has an incident noticed in these channels, with this event as its sample.
func (a *application) tell(inc *incident, h happening, channels []string) error {
	inc.Severity, inc.Query, inc.What, inc.Sample = h.severity, h.query, h.what, sampleOf(h.event)
	inc.Labels = h.labels
	if slices.Equal(channels, h.channels) { // not only those that were held
		channels = a.routed(inc, channels)
	}
	a.ring(inc, channels)
	if inc.Rule == Service && !worse(Error, inc.Severity) {
		for _, c := range channels {
			inc.to(c).Every = int64(ownPause)
		}
	}
	a.hush(inc)
	inc.Kept = inc.Muted != nil
	return a.queue(inc)
}

// resolve ends the incident that the event's fingerprint names, if it is open.
func (a *application) resolve(m match, fp string) error {
	inc := a.incident(incidentKey(m.rule.Name, fp))
	if inc == nil || inc.State == Resolved {
		return nil
	}
	inc.resolve(m.event.Received, messageOf(m.event), "")
	return a.queue(inc)
}

// acknowledge notes what became of a message that rings, unless it rings no more or is another one by now.
func (a *application) acknowledge(q question, r Receipt, ack Ack) error {
	inc := a.incident([]byte(q.incident))
	if inc == nil {
		return nil
	}
	d := inc.to(q.channel)
	switch {
	case d == nil || !d.Ringing || d.Receipt != r:
		return nil
	case !ack.At.IsZero():
		inc.acknowledge(ack.At.UnixNano(), short([]byte(ack.By)), q.channel)
		a.acknowledged++
	case inc.goesOn(a.now, a.e.resolvable(inc)):
		inc.expire(d)
		a.expired++
	default:
		d.Ringing = false // nothing resolves it, and it is long over
	}
	return a.queue(inc)
}

// queue has every destination that is behind brought up to date.
func (a *application) queue(inc *incident) error {
	for i := range inc.To {
		d := &inc.To[i]
		how := d.next(inc)
		if how == nothing {
			continue
		}
		a.channels[d.Channel] = true
		err := enqueue(a.tx, string(entryKey(inc.Rule, inc.Fingerprint, d.Channel)), &entry{
			Kind: kindIncident, Channel: d.Channel, Created: a.now, Rule: inc.Rule, Severity: inc.Severity,
			Fingerprint: inc.Fingerprint, Update: how.quiet(),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// flush writes what changed.
func (a *application) flush() error {
	if err := a.e.addTallies(a.tx, a.now, a.tallies); err != nil {
		return err
	}
	for key, inc := range a.incidents {
		if err := a.e.putIncident(a.tx, []byte(key), inc); err != nil {
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
