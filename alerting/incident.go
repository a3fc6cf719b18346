package alerting

import (
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

const (
	// An incident stays open while it is quiet for no longer than ten times its usual gap, within these bounds.
	quietFactor = 10
	minQuiet    = 30 * time.Minute
	maxQuiet    = 24 * time.Hour
	// gapsKept is odd, for a median without halving.
	gapsKept = 9

	// reopenWithin is how soon after it was resolved an incident that fires again is the same one.
	reopenWithin = 7 * 24 * time.Hour
	// forgetAfter is when a quiet incident is dropped. Later it is a new one, which has regressed.
	forgetAfter = reopenWithin

	// One that fires again makes people notice it, but the more often it does, the seldomer: the first time at once, then
	// no sooner than [Limits.Damp] after the last, doubled each time up to maxDamp times as much. After a day without it all
	// is forgotten.
	maxDamp    = 48
	calmsAfter = 24 * time.Hour
)

// incident is what is known about one kind of event under one rule. Its methods are the transitions; none of them reads
// a clock or the state.
type incident struct {
	ID          uint64   `json:"id"` // another one each time it opens anew
	Rule        string   `json:"rule"`
	Fingerprint string   `json:"fingerprint"`
	Severity    Severity `json:"severity"`
	Query       string   `json:"query,omitempty"` // the search that shows its events
	What        string   `json:"what,omitempty"`  // what its event is to the rule: new, unexpected
	First       int64    `json:"first"`           // Received of the first and the last event, ns
	Last        int64    `json:"last"`
	Count       int64    `json:"count"`
	// Gaps are the latest times between two events, ns: what decides how long the incident stays open.
	Gaps   []int64 `json:"gaps,omitempty"`
	Sample sample  `json:"sample"`
	// BeforeLast, BeforeCount and BeforeEnd, in words, are of the time before it opened anew.
	BeforeLast  int64  `json:"before_last,omitempty"`
	BeforeCount int64  `json:"before_count,omitempty"`
	BeforeEnd   string `json:"before_end,omitempty"`

	State      State  `json:"state"`
	Since      int64  `json:"since"`           // Received of the event it fires by, ns
	Fired      int64  `json:"fired"`           // how often it began to fire
	Acked      int64  `json:"acked,omitempty"` // when somebody acknowledged it, ns; 0 while nobody has
	By         string `json:"by,omitempty"`
	Reminded   int64  `json:"reminded,omitempty"`    // how often people were told again, in the channel where it was most
	Unanswered int64  `json:"unanswered,omitempty"`  // messages that rang until they expired
	Resolved   int64  `json:"resolved,omitempty"`    // Received of the event that resolved it, ns
	ResolvedBy string `json:"resolved_by,omitempty"` // who did by hand
	Quiet      bool   `json:"quiet,omitempty"`       // it was resolved since nothing came any more
	Outcome    string `json:"outcome,omitempty"`     // its message

	// Muted is why it is not told now, nil when it is.
	Muted *mute `json:"muted,omitempty"`
	// Kept is true when it fired while it was muted: people were to notice, and have not.
	Kept bool `json:"kept,omitempty"`
	// Late is how many of the events happened more than an hour before they came.
	Late int64 `json:"late,omitempty"`
	// Marks are what was said about the service shortly before it fired, and since then; oldest first.
	Marks []mark `json:"marks,omitempty"`
	// Labels are those that come from its rule; the others are known by its sample.
	Labels Labels `json:"labels,omitempty"`
	// Rang is when people were last made to notice that it fires, ns, and Rings how often without a day of calm. Damped is
	// when they will be by what came too soon after that, if it still fires then, 0 for nothing; DampedTo are the channels.
	Rang     int64    `json:"rang,omitempty"`
	Rings    int      `json:"rings,omitempty"`
	Damped   int64    `json:"damped,omitempty"`
	DampedTo []string `json:"damped_to,omitempty"`

	// Journaled is what the history was told of last: number, state, how often it fired.
	Journaled string `json:"journaled,omitempty"`

	// Rev counts what has to be told. To is who is told, and how far each has come.
	Rev uint64        `json:"rev"`
	To  []destination `json:"to"`
	// Log is the newest of what became of it since it opened, for the threads of its messages; Logged counts all.
	Log    []change `json:"log,omitempty"`
	Logged uint64   `json:"logged,omitempty"`
}

// change is a line of an incident's history. It has no log text but that of a mark, whose sequence it has then.
type change struct {
	At   int64  `json:"at"` // ns
	Text string `json:"text"`
	Mark uint64 `json:"mark,omitempty"`
}

// logKept is how many lines of history wait for a channel that cannot be reached.
const logKept = 20

// destination is one channel's view of an incident.
type destination struct {
	Channel string `json:"channel"`
	// Told is when its message was first delivered, or refused for good, ns; 0 when it is still to come.
	Told    int64   `json:"told,omitempty"`
	Receipt Receipt `json:"receipt,omitzero"`
	// Every is after how long people are told again while nobody has acknowledged, ns; 0 for never. RangAt is when they were
	// last, ns by the clock, and Reminded how often since it fired.
	Every    int64 `json:"every,omitempty"`
	RangAt   int64 `json:"rang_at,omitempty"`
	Reminded int64 `json:"reminded,omitempty"`
	// Counted is how often it had happened as the message shows it, and CountedAt when it was brought to that, ns by the clock.
	Counted   int64 `json:"counted,omitempty"`
	CountedAt int64 `json:"counted_at,omitempty"`
	// Fixed is true for a message that the destination does not have edited any more.
	Fixed bool `json:"fixed,omitempty"`
	// Held is when the budget kept it from being told; the overview counts it.
	Held int64 `json:"held,omitempty"`
	// Shown is the revision the message shows, Ring the one that people are still to notice, 0 for none.
	Shown uint64 `json:"shown,omitempty"`
	Ring  uint64 `json:"ring,omitempty"`
	// Repeat is true for a message that may be there twice.
	Repeat bool `json:"repeat,omitempty"`
	// Ringing is true while the message rings: the destination is asked who acknowledged it.
	Ringing bool `json:"ringing,omitempty"`
	// Waits is until when quiet hours have it wait, ns; 0 when they do not.
	Waits int64 `json:"waits,omitempty"`
	// Passed is true when it was over, or seemed so, before what muted it was: the next event has it told.
	Passed bool `json:"passed,omitempty"`
	// Noted is how much of the incident's history the message or its thread tells, as a count of [incident].Logged.
	Noted uint64 `json:"noted,omitempty"`
}

// sample is an event as it is shown.
type sample struct {
	Time      int64  `json:"time"`
	Came      int64  `json:"came,omitempty"` // when it was received, if that was late, ns
	Level     string `json:"level,omitempty"`
	Service   string `json:"service,omitempty"`
	Env       string `json:"env,omitempty"`
	Host      string `json:"host,omitempty"`
	Container string `json:"container,omitempty"`
	Message   string `json:"message"`
	Fields    string `json:"fields,omitempty"`
	// Seq is the event's, and Whole says that nothing of its message and fields is left out; of older records neither is known.
	Seq   uint64 `json:"seq,omitempty"`
	Whole bool   `json:"whole,omitempty"`
}

func incidentKey(rule, fingerprint string) []byte { return []byte(rule + "|" + fingerprint) }

func familyOf(rule, service string) string { return rule + "|" + service }

func (inc *incident) family() string { return familyOf(inc.Rule, inc.Sample.Service) }

// name is what all messages of this incident and of no other carry.
func (inc *incident) name() string {
	return fmt.Sprintf("%016x", xxhash.Sum64String(fmt.Sprintf("%s|%s|%d", inc.Rule, inc.Fingerprint, inc.First)))
}

// to returns a channel's destination, nil when it is none.
func (inc *incident) to(channel string) *destination {
	for i := range inc.To {
		if inc.To[i].Channel == channel {
			return &inc.To[i]
		}
	}
	return nil
}

// count takes one more event in, and returns its distance from the last one.
func (inc *incident) count(received int64) (gap time.Duration) {
	inc.Count++
	gap = time.Duration(received - inc.Last)
	if gap > 0 {
		inc.Last = received
		inc.Gaps = append(inc.Gaps, int64(gap))
		inc.Gaps = inc.Gaps[max(0, len(inc.Gaps)-gapsKept):]
	}
	return gap
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

// channels are those that are told.
func (inc *incident) channels() (all []string) {
	for _, d := range inc.To {
		all = append(all, d.Channel)
	}
	return all
}

// known tells whether anybody knows of it, or nobody was to.
func (inc *incident) known() bool {
	return inc.told() || inc.Muted != nil || slices.ContainsFunc(inc.To, func(d destination) bool { return d.Passed })
}

// told tells whether anybody knows of it.
func (inc *incident) told() bool {
	return slices.ContainsFunc(inc.To, func(d destination) bool { return d.Told != 0 })
}

// due is when time alone changes something, ns by the events' clock; 0 for never.
func (inc *incident) due() int64 {
	switch {
	case inc.State == Resolved:
		return 0
	case inc.Damped != 0:
		return min(inc.Damped, inc.Last+int64(inc.quiet()))
	}
	return inc.Last + int64(inc.quiet())
}

// pause is how long after the last time people may be made to notice it again.
func (inc *incident) pause(received int64, damp time.Duration) time.Duration {
	if inc.Rings < 2 || received-inc.Rang >= int64(calmsAfter) {
		return 0
	}
	return damp * time.Duration(min(1<<min(inc.Rings-2, 10), maxDamp))
}

// rang notes that people are made to notice it.
func (inc *incident) rang(received int64) {
	if received-inc.Rang >= int64(calmsAfter) {
		inc.Rings = 0
	}
	inc.Rings++
	inc.Rang = received
}

// fire begins to fire, by an event received then.
func (inc *incident) fire(received int64) {
	inc.State, inc.Since = Firing, received
	inc.Fired++
	inc.Acked, inc.By, inc.Unanswered, inc.Resolved, inc.ResolvedBy, inc.Outcome = 0, "", 0, 0, "", ""
	inc.Quiet, inc.Reminded = false, 0
}

// anew makes it another incident with this event as its first. A channel that has not come so far as to know all of the
// last one goes on in the message it has.
func (inc *incident) anew(received, lastBefore int64) {
	inc.BeforeLast, inc.BeforeCount, inc.BeforeEnd = lastBefore, inc.Count-1, inc.ended()
	inc.First, inc.Last, inc.Count, inc.Fired, inc.Late = received, max(received, inc.Last), 1, 0, 0
	inc.Log, inc.Rings, inc.Rang = nil, 0, 0
	inc.To = slices.DeleteFunc(inc.To, func(d destination) bool { return !d.behind(inc) && d.Waits == 0 })
	inc.fire(received)
}

// ring has it noticed in these channels. A message that rings already goes on ringing; other channels' are edited.
func (inc *incident) ring(channels []string) {
	inc.Rev++
	for _, c := range channels {
		d := inc.to(c)
		if d == nil {
			inc.To = append(inc.To, destination{Channel: c})
			d = inc.to(c)
		}
		d.Reminded = 0
		d.Held, d.Passed = 0, false
		if !d.Ringing {
			d.Ring = inc.Rev
		}
	}
}

// acknowledge notes who sees to it. The channel that knows it already is not told.
func (inc *incident) acknowledge(at int64, by, channel string) {
	inc.State, inc.Acked, inc.By = Acknowledged, at, by
	inc.Damped, inc.DampedTo = 0, nil
	inc.log(at, "acknowledged"+byWhom(by))
	inc.changed()
	if d := inc.to(channel); d != nil {
		d.Shown = inc.Rev
	}
}

// log adds a line to the history, which comes to stand in the threads of the messages that are there.
func (inc *incident) log(at int64, text string) {
	inc.Logged++
	inc.Log = append(inc.Log, change{At: at, Text: text})
	inc.Log = inc.Log[max(0, len(inc.Log)-logKept):]
}

// since returns the lines of the history that a destination has not been told.
func (inc *incident) since(noted uint64) []change {
	return inc.Log[len(inc.Log)-min(len(inc.Log), int(inc.Logged-noted)):]
}

// resolve ends it by an event with this text, or by hand.
func (inc *incident) resolve(received int64, outcome, by string) {
	inc.Outcome, inc.ResolvedBy = outcome, by
	inc.end(max(received, inc.Since))
}

// lapse ends it since nothing came any more.
func (inc *incident) lapse(at int64) {
	inc.Quiet = true
	inc.end(at)
}

func (inc *incident) end(at int64) {
	inc.State, inc.Resolved = Resolved, at
	inc.Damped, inc.DampedTo = 0, nil
	inc.log(at, "resolved"+inc.how())
	inc.changed()
}

// how says how it was resolved, in words that go behind "resolved".
func (inc *incident) how() string {
	if inc.Quiet {
		return ": quiet since " + until(inc.Since, inc.Last)
	}
	return " after " + span(time.Duration(inc.Resolved-inc.Since)) + byWhom(inc.ResolvedBy)
}

// ended is how() for what was long ago.
func (inc *incident) ended() string {
	switch {
	case inc.State != Resolved:
		return ""
	case inc.Quiet:
		return "then it was quiet"
	}
	return "resolved " + at(inc.Resolved) + byWhom(inc.ResolvedBy)
}

// changed has the messages that are there edited: nobody need notice any of them any more. Who has none yet is told how
// things stand by then.
func (inc *incident) changed() {
	inc.Rev++
	for i := range inc.To {
		d := &inc.To[i]
		d.Ringing = false
		if d.Receipt != (Receipt{}) {
			d.Ring = 0
		}
	}
}

// expire notes that a destination's message rang in vain: it gets another one.
func (inc *incident) expire(d *destination) {
	inc.Unanswered++
	inc.Rev++
	d.Ringing, d.Receipt, d.Ring = false, Receipt{}, inc.Rev
}

// goesOn tells whether what fires still does: what nothing resolves does while it is not quiet for too long.
func (inc *incident) goesOn(now int64, resolvable bool) bool {
	return resolvable || now-inc.Last <= int64(inc.quiet())
}

// stale tells whether it can be forgotten. One that is still to be told, or to be resolved, is not.
func (inc *incident) stale(before int64) bool {
	behind := func(d destination) bool { return d.behind(inc) }
	return inc.State == Resolved && max(inc.Last, inc.Resolved) < before && !slices.ContainsFunc(inc.To, behind)
}

// how is a way to bring a message up to date.
type how int

const (
	nothing how = iota
	send        // a new message
	reply       // have people look at the message that is there; its edit follows
	edit        // replace the message that is there
	note        // add history to its thread
)

// quiet tells whether people need not notice it: it waits behind what they must.
func (h how) quiet() bool { return h == edit || h == note }

// next is what the destination needs.
func (d *destination) next(inc *incident) how {
	switch there := d.Receipt != (Receipt{}); {
	case d.unnoticed(inc) && there && d.Shown < inc.Rev:
		return edit // what is there shows how things stand; nobody is to notice
	case d.unnoticed(inc) && there && d.Receipt.Thread && len(inc.since(d.Noted)) > 0:
		return note
	case d.unnoticed(inc):
		return nothing
	case d.Ring != 0 && there:
		return reply
	case d.Ring != 0:
		return send
	case there && d.Shown < inc.Rev:
		return edit
	case there && d.Receipt.Thread && len(inc.since(d.Noted)) > 0:
		return note
	}
	return nothing
}

// unnoticed tells whether nobody is to notice anything now.
func (d *destination) unnoticed(inc *incident) bool { return inc.Muted != nil || d.Waits != 0 }

// behind tells whether the message does not show how things stand.
func (d *destination) behind(inc *incident) bool {
	how := d.next(inc)
	return how != nothing && how != note
}

// view is how an incident stood when a message of it was made.
type view struct {
	rev, logged uint64
	count       int64
}

func (inc *incident) view() view { return view{inc.Rev, inc.Logged, inc.Count} }

// came notes that a message was brought to a revision, and what it tells to so much of the history.
func (d *destination) came(inc *incident, how how, v view, now int64, r Receipt) {
	if d.Ring <= v.rev && !how.quiet() { // what is muted may be edited before it is noticed
		d.Ring = 0
	}
	switch how {
	case send:
		d.Shown, d.Noted, d.Receipt, d.Ringing = v.rev, v.logged, r, r.Rings && inc.State == Firing && !inc.Muted.shown()
	case note:
		d.Noted = v.logged
	case edit:
		d.Shown, d.Receipt = v.rev, r
	}
	if how == send || how == edit {
		d.Counted, d.CountedAt, d.Fixed = v.count, now, false
	}
	if how == send || how == reply {
		d.RangAt = now
	}
	if d.Told == 0 {
		d.Told = now
	}
}

// reminds tells whether people are told again some time: what rings by itself they hear.
func (d *destination) reminds(inc *incident) bool {
	return d.Every > 0 && d.RangAt > 0 && d.Ring == 0 && !d.Ringing && d.Held == 0 && inc.State == Firing && inc.Muted == nil
}

// remind has people told again of what nobody has acknowledged.
func (d *destination) remind(inc *incident) {
	d.Ring = max(inc.Rev, 1)
	d.Reminded++
	inc.Reminded = max(inc.Reminded, d.Reminded)
}

// lost notes that the message is there no more: another one takes its place.
func (d *destination) lost(inc *incident) { d.Receipt, d.Ring = Receipt{}, inc.Rev }

// hold notes that the budget does not let it be noticed.
func (d *destination) hold(inc *incident, now int64) {
	d.Ring, d.RangAt = 0, now
	if d.Told == 0 {
		d.Held, d.Shown = now, inc.Rev
	}
}

// shownState is how messages say it stands.
func (inc *incident) shownState() State {
	if inc.State == Firing && inc.Muted.shown() {
		return Silenced
	}
	return inc.State
}
