package alerting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// muteKind is why an incident is not told.
type muteKind string

const (
	bySilence     muteKind = "silence"     // a person asked for it
	byMaintenance muteKind = "maintenance" // a time that comes again
	byParent      muteKind = "parent"      // what causes it is told
	byHold        muteKind = "hold"        // it waits for its parents to have their chance
)

// defaultHold is how long an incident whose rule has parents waits for them: as long as a probe takes to notice.
const defaultHold = 30 * time.Second

// mute says why an incident is not told. What would have been told stays to be told in its destinations.
type mute struct {
	Kind muteKind `json:"kind"`
	// Name is the silence's ID, the maintenance's name or the parent's rule.
	Name    string `json:"name,omitempty"`
	By      string `json:"by,omitempty"`
	Comment string `json:"comment,omitempty"`
	Until   int64  `json:"until,omitempty"` // ns; 0 when it is not known
}

// shown tells whether messages say it: what a person or the configuration has decided. The others last for as long as the cause.
func (m *mute) shown() bool { return m != nil && (m.Kind == bySilence || m.Kind == byMaintenance) }

// fact says it in words.
func (m *mute) fact() string {
	text := ""
	switch m.Kind {
	case bySilence:
		text = "silenced" + byWhom(m.By)
	case byMaintenance:
		text = "maintenance " + m.Name
	case byParent:
		return "rule " + m.Name + " fires, which is the cause"
	case byHold:
		text = "waits for its parents"
	}
	text += " until " + at(m.Until)
	if m.Comment != "" {
		text += ": " + m.Comment
	}
	return text
}

// Maintenance is a known stop that comes again: what matches is told to nobody meanwhile.
type Maintenance struct {
	Name     string
	Match    Matchers
	Schedule Schedule
}

// Policy is what decides beside the rules who is told, and when.
type Policy struct {
	Routes      []Route
	Maintenance []Maintenance
	Quiet       []QuietHours
	// Templates are the words of the messages in some channels, for rules without a template of their own.
	Templates map[string]*Template
}

// Configure puts other rules, another policy and other fallbacks ([Options]) in force, as [Engine.Reload] does rules. When something is
// wrong all stays as it was.
func (e *Engine) Configure(rules []Rule, p Policy, fallbacks []string) error {
	if err := errors.Join(p.check(), checkFallbacks(fallbacks)); err != nil {
		return err
	}
	if err := validate(rules); err != nil {
		return err
	}
	e.policy.Store(&p)
	e.fallbacks.Store(&fallbacks)
	e.watcher.all.Store(true)
	return e.Reload(rules)
}

func (p *Policy) check() error {
	for i, m := range p.Maintenance {
		switch {
		case m.Name == "":
			return fmt.Errorf("maintenance %d has no name: give it one, messages show it", i+1)
		case len(m.Match) == 0:
			return fmt.Errorf("maintenance %q matches everything: say what stops, such as service=%q", m.Name, "shop")
		}
	}
	return p.checkRoutes()
}

// muteOf tells why an incident is not to be told at this time, nil when it is to be.
func (a *application) muteOf(inc *incident) *mute {
	if inc.Rule == Service {
		return nil // what alerting has to say about itself
	}
	labels := inc.labels()
	if m := a.decidedMute(labels, inc.sentLabels()); m != nil {
		return m
	}
	r := a.e.ruleNamed(inc.Rule)
	if r == nil {
		return nil
	}
	for _, parent := range r.Parents {
		if a.firing(parent, r.ParentsEqual, labels, inc) != nil {
			return &mute{Kind: byParent, Name: parent}
		}
	}
	return nil
}

// decidedMute looks for a silence or a maintenance of what has any of these labels.
func (a *application) decidedMute(forms ...Labels) *mute {
	match := func(ms Matchers) bool { return slices.ContainsFunc(forms, ms.Match) }
	now := time.Unix(0, a.now)
	for i := range a.silences {
		if s := &a.silences[i]; s.State(now) == SilenceActive && match(s.Matchers) {
			return &mute{Kind: bySilence, Name: s.ID, By: s.By, Comment: Cut(oneLine(s.Comment), 200), Until: s.Until.UnixNano()}
		}
	}
	for i := range a.e.policy.Load().Maintenance {
		m := &a.e.policy.Load().Maintenance[i]
		if until, ok := m.Schedule.during(now); ok && match(m.Match) {
			return &mute{Kind: byMaintenance, Name: m.Name, Until: until.UnixNano()}
		}
	}
	return nil
}

// firing returns an open incident of a rule that has the same labels as a child where that is asked for, nil when there is none.
func (a *application) firing(rule string, equal []string, child Labels, inc *incident) *incident {
	fires := func(parent *incident) bool {
		if parent == nil || parent.Rule != rule || parent == inc || parent.State == Resolved || !parent.goesOn(a.now, a.e.resolvable(parent)) {
			return false
		}
		labels := parent.labels()
		return !slices.ContainsFunc(equal, func(name string) bool { return labels[name] != child[name] })
	}
	for _, key := range a.e.book.ofRule(rule) {
		if parent := a.stored([]byte(key)); fires(parent) {
			return parent
		}
	}
	for _, parent := range a.incidents { // those that this transaction has opened
		if fires(parent) {
			return parent
		}
	}
	return nil
}

// muteOfEvent tells why an event of interest is not shown.
func (a *application) muteOfEvent(m match) *mute {
	if len(a.silences) == 0 && len(a.e.policy.Load().Maintenance) == 0 {
		return nil
	}
	return a.decidedMute(a.labelsOfEvent(m))
}

// labelsOfEvent are what matchers see of an event of interest.
func (a *application) labelsOfEvent(m match) Labels {
	e := m.event
	severity := m.rule.Severity
	if severity == "" {
		severity = SeverityOf(e.Level)
	}
	inc := incident{
		Rule: m.rule.Name, Severity: severity, Labels: m.rule.labelsOf(e), Fingerprint: fingerprint(e, &a.scratch),
		Sample: sample{Service: short(e.Service), Env: short(e.Env), Host: short(e.Host), Container: short(e.Container), Level: e.Level.String()},
	}
	return inc.labels()
}

// hush decides whether an incident that has just begun to fire is told.
func (a *application) hush(inc *incident) {
	m := a.muteOf(inc)
	if r := a.e.ruleNamed(inc.Rule); m == nil && r != nil && len(r.Parents) > 0 {
		if m = inc.Muted; m == nil || m.Kind != byHold {
			m = a.holdFor(r)
		}
	}
	a.setMute(inc, m)
}

func (a *application) holdFor(r *rule) *mute {
	hold := r.Hold
	if hold <= 0 {
		hold = defaultHold
	}
	return &mute{Kind: byHold, Until: a.now + int64(hold)}
}

// setMute puts a mute in the place of another, or of none.
func (a *application) setMute(inc *incident, m *mute) {
	was := inc.Muted
	inc.Muted = m
	inc.Kept = inc.Kept && m != nil
	switch {
	case m.shown() && !was.shown():
		inc.log(a.now, m.fact())
		inc.Rev++
		for i := range inc.To {
			d := &inc.To[i]
			d.Ringing = false
			if d.Receipt != (Receipt{}) {
				d.Ring = 0
			}
		}
	case was.shown() && !m.shown():
		inc.log(a.now, "no longer silenced")
		inc.Rev++
		if inc.State == Firing {
			a.ring(inc, inc.channels())
		}
	case m.shown() && *m != *was:
		inc.log(a.now, m.fact())
		inc.Rev++
	}
}

// consider brings an incident up to date with the time, the silences and its parents.
func (a *application) consider(key string) error {
	inc := a.stored([]byte(key))
	if inc == nil {
		return nil
	}
	a.wake(key, inc)
	was := inc.Muted
	r := a.e.ruleNamed(inc.Rule)
	over := inc.State == Resolved || !inc.goesOn(a.now, a.e.resolvable(inc))
	m := a.muteOf(inc)
	switch {
	case over:
		m = nil
	case m != nil, was == nil:
	case was.Kind == byHold && a.e.watcher.holds(a.e, was, r, a.now):
		m = was
		a.e.book.again(key, max(was.Until, a.now+int64(time.Second)))
	case was.Kind == byParent && r != nil && a.e.resolvable(inc):
		m = a.holdFor(r) // it may be about to resolve as well
	case was.Kind == byParent:
		// Nothing says that it is over: its next event tells that it goes on.
		over = true
	}
	if (was == nil) == (m == nil) && (was == nil || *was == *m) {
		return nil
	}
	a.incidents[key] = inc
	if over && m == nil {
		inc.Muted = nil
		if was.shown() {
			inc.Rev++
		}
		a.passOver(inc, was)
	} else {
		a.setMute(inc, m)
	}
	return a.queue(inc)
}

// passOver leaves untold what was over before it could be told. Should it go on all the same, its next event tells it.
func (a *application) passOver(inc *incident, was *mute) {
	passed := false
	for i := range inc.To {
		d := &inc.To[i]
		if d.Ring != 0 && d.Receipt == (Receipt{}) {
			d.Passed, passed = true, true
		}
		d.Ring = 0
	}
	if (passed || inc.Kept) && was != nil {
		a.suppressed[was.Kind]++
		a.tallies[tally{kind: tallyKind(was.Kind), rule: inc.Rule}]++
	}
	inc.Kept = false
}

// stored returns a record as [application.incident] does, without having it written.
func (a *application) stored(key []byte) *incident {
	if inc, ok := a.incidents[string(key)]; ok {
		return inc
	}
	return a.e.incident(a.tx, key)
}

func (a *application) considerAll(keys []string) error {
	for _, key := range keys {
		if err := a.consider(key); err != nil {
			return err
		}
	}
	return a.digest()
}

// ruleNamed returns a rule in force, nil when there is none of the name.
func (e *Engine) ruleNamed(name string) *rule {
	for _, r := range *e.rules.Load() {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// watcher does what time asks for: silences that begin and end, maintenance, parents.
type watcher struct {
	woken chan struct{}
	all   atomic.Bool // something has changed that may concern any incident
	start uint64      // the store's last sequence at the start

	mu     sync.Mutex
	caught int64 // when the engine had seen all that was stored at its start, ns
	next   int64 // when a silence or a maintenance next begins or ends, ns; 0 for never
}

// considerBatch is how many incidents are looked at in one transaction.
const considerBatch = 500

func newWatcher(last uint64) *watcher {
	w := &watcher{woken: make(chan struct{}, 1), start: last}
	w.all.Store(true)
	return w
}

func (w *watcher) wake() {
	select {
	case w.woken <- struct{}{}:
	default:
	}
}

// holds tells whether a child still waits for its parents. After a start it does so until they have had the same time.
func (w *watcher) holds(e *Engine, m *mute, r *rule, now int64) bool {
	if r == nil {
		return false
	}
	caught, ok := w.caughtUp(e, now)
	return !ok || now < m.Until || now < caught+int64(cmp.Or(r.Hold, defaultHold))
}

func (w *watcher) caughtUp(e *Engine, now int64) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.caught == 0 && e.position.Load() >= w.start {
		w.caught = now
	}
	return w.caught, w.caught != 0
}

// run does so until ctx ends.
func (w *watcher) run(ctx context.Context, e *Engine) {
	for ctx.Err() == nil {
		wait, err := e.watch(ctx)
		var stop *stopError
		switch {
		case errors.As(err, &stop), err != nil && ctx.Err() != nil:
			return
		case err != nil:
			e.c.stateErrors.Add(1)
			e.log.Error("silences stumbled over the state; it is tried again", "error", err)
			wait = e.limits.Park
		}
		select {
		case <-ctx.Done():
		case <-w.woken:
		case <-e.clock.After(wait):
		}
	}
}

// watch does what is due by the clock, and returns how long until the next.
func (e *Engine) watch(ctx context.Context) (time.Duration, error) {
	w := e.watcher
	now := e.clock.Now()
	w.caughtUp(e, now.UnixNano())
	if w.next != 0 && now.UnixNano() >= w.next {
		w.all.Store(true)
	}
	var keys []string
	if w.all.Swap(false) {
		keys = e.book.all()
		w.next = e.nextBoundary(now)
		if err := e.forgetSilences(ctx, now); err != nil {
			return 0, err
		}
	} else {
		var parents bool
		if keys, parents = e.book.takeDue(now.UnixNano()); parents {
			keys = e.book.all() // its children are to be told
		}
	}
	for batch := range slices.Chunk(keys, considerBatch) {
		err := e.change(ctx, "looking at what is silenced", func(a *application) error { return a.considerAll(batch) })
		if err != nil {
			w.all.Store(true)
			return 0, err
		}
	}
	if len(keys) > 0 {
		now = e.clock.Now()
	}
	wait := idle
	for _, at := range [...]int64{w.next, e.book.nextDue()} {
		if at != 0 {
			wait = min(wait, max(time.Duration(at-now.UnixNano()), time.Second))
		}
	}
	return wait, nil
}

// nextBoundary is when a silence or a maintenance next begins or ends, ns; 0 for never.
func (e *Engine) nextBoundary(now time.Time) (next int64) {
	at := func(t time.Time) {
		if ns := t.UnixNano(); !t.IsZero() && t.After(now) && (next == 0 || ns < next) {
			next = ns
		}
	}
	for _, s := range *e.silences.Load() {
		at(s.From)
		at(s.Until)
	}
	for i := range e.policy.Load().Maintenance {
		at(e.policy.Load().Maintenance[i].Schedule.next(now))
	}
	return next
}
