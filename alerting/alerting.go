// Package alerting tells people about the events that matter: rules are standing queries over the stored events, and what
// they match is delivered to channels.
//
// # Use
//
// The app opens state.db, makes a notifier and hands both over with the rules:
//
//	engine, err := alerting.New(alerting.Options{DB: db, Source: store, Notifier: slack, Rules: rules, Fallbacks: []string{"#ops-errors"}})
//	…
//	err = engine.Run(ctx) // until ctx ends
//
// # What it guarantees
//
// Every event the store made durable behind the engine's position is held against every rule once. Position, incidents and
// outbox change in one transaction, so a kill at any moment loses no match. A message is delivered at least once; one that
// may be there already says so. What a channel's budget does not let through is counted, in the incident and in an
// overview message.
//
// An incident is firing, acknowledged or resolved. Each of its channels comes to show how it stands, in one message that is
// edited, whatever happened while the channel could not be reached; never does it show an older state after a newer one.
// DESIGN.md beside this file has the reasons, the states and the keys.
//
// The engine follows the store by sequence, and its rules' clocks are the events' Received times, so that the same events
// give the same incidents whenever they are read.
package alerting

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
)

// Source is the store as the engine needs it.
type Source interface {
	// Follow delivers the events behind a sequence.
	Follow(after uint64) query.Follower
	// LastSeq is the newest event's sequence, 0 when there is none.
	LastSeq() uint64
}

// Notify is how a rule's matches are told.
type Notify string

const (
	// Incident groups matches by fingerprint and tells the first of each group. It is the default.
	Incident Notify = "incident"
	// Each shows every match, gathered into at most one message in [Limits.Gather] a channel.
	Each Notify = "each"
)

// Rule is a standing query and where its matches go.
type Rule struct {
	// Name is unique among the rules and stays the same, since state is kept under it: 1 to 100 bytes without '|' and
	// control characters. "lookout" is reserved.
	Name  string
	Query *query.Query
	// Resolve, when set, ends the open incident of this rule that has the same fingerprint as an event it matches: the same
	// service and the same field "fingerprint". An event that Query matches as well resolves.
	Resolve *query.Query
	// Mode is what about the events of Query is told; see its values for which of the following each has.
	Mode Mode
	// Expect is what is no news to [ModeUnexpected]. [Engine.Expect] adds to it.
	Expect []Expectation
	// Above and Below are what a [ModeRate] must not leave; 0 for no limit.
	Above, Below int64
	// Window is how long a [ModeRate] and a [ModeSpike] count, in whole seconds from 10 s to 7 days; 0 is 5 min.
	Window time.Duration
	// By are the fields whose values part the events of [ModeRate], [ModeSpike] and [ModeAbsent] into series, built-in ones or others. [ModeAbsent]
	// without any goes by service.
	By []string
	// After is the silence that is too long for [ModeAbsent]; 0 learns it.
	After time.Duration
	// Channels are told, each on its own, as the notifier knows them: "#ops-errors", "pushover".
	Channels []string
	// Repeat is after how long people are told again of an incident that fires and that nobody has acknowledged, by messages that
	// do not ring by themselves; 0 for never. A route's own goes before it.
	Repeat time.Duration
	// Routed leaves it to the routes of the [Policy] who is told; Channels are told of what no route takes.
	// Also are told whatever the routes say.
	Routed bool
	Also   []string
	// Template has its incidents told in other words; nil for the usual ones, or those of the channel.
	Template *Template
	// Labels are what matchers see of its incidents beside what is known of every incident.
	Labels map[string]string
	// Parents are rules whose incidents are the cause of this one's: while one of them is open, and has the same values in
	// the labels that ParentsEqual names, nothing is told. What fires waits for Hold (30 s unless set) so that its parents have their chance.
	Parents      []string
	ParentsEqual []string
	Hold         time.Duration
	Severity     Severity
	Notify       Notify
}

// Service is the name under which lookout's own events are stored. They match only rules whose query asks for it: one
// that lets this service through and not just any.
const Service = "lookout"

// Clock is the time of day; tests give a faked one.
type Clock interface {
	Now() time.Time
	// After is [time.After].
	After(d time.Duration) <-chan time.Time
}

type systemClock struct{}

func (systemClock) Now() time.Time                         { return time.Now() }
func (systemClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Limits keep the channels readable and the state small. A zero value takes the default in brackets.
type Limits struct {
	Gather      time.Duration // shortest time between two messages of [Each] in a channel [5 s]
	Budget      int           // new messages a channel in a Window [20]
	Window      time.Duration // [5 min]
	Overview    time.Duration // shortest time between two edits of an overview [30 s]
	Spacing     time.Duration // between two calls for one channel [1 s]
	Workspace   time.Duration // between two calls for any channel, a burst of ten apart [250 ms]
	Edit        time.Duration // between two edits by one way, a burst of five apart [1.5 s]
	Backoff     time.Duration // first pause after a [Transient] failure, doubled up to MaxBackoff [1 s]
	MaxBackoff  time.Duration // [5 min]
	Park        time.Duration // between two tries of a [Broken] destination [5 min]
	SendTimeout time.Duration // one call [30 s]
	Poll        time.Duration // between two questions about who has acknowledged a message [5 s]
	Refresh     time.Duration // shortest time between two edits of a message for its count alone [1 min]
	Damp        time.Duration // between the second time and the third that people are made to notice an incident, doubled up to 48 times [5 min]
	Waiting     int           // gathered messages waiting in a channel; matches beyond are counted, not shown [200]
	Patterns    int           // incidents kept a rule and service; different ones beyond are taken together [10,000]
}

func (l *Limits) fill() {
	defaultTo(&l.Gather, 5*time.Second)
	defaultTo(&l.Budget, 20)
	defaultTo(&l.Window, 5*time.Minute)
	defaultTo(&l.Overview, 30*time.Second)
	defaultTo(&l.Spacing, time.Second)
	defaultTo(&l.Workspace, 250*time.Millisecond)
	defaultTo(&l.Edit, 1500*time.Millisecond)
	defaultTo(&l.Backoff, time.Second)
	defaultTo(&l.MaxBackoff, 5*time.Minute)
	defaultTo(&l.Park, 5*time.Minute)
	defaultTo(&l.SendTimeout, 30*time.Second)
	defaultTo(&l.Poll, 5*time.Second)
	defaultTo(&l.Refresh, time.Minute)
	defaultTo(&l.Damp, 5*time.Minute)
	defaultTo(&l.Waiting, 200)
	defaultTo(&l.Patterns, 10_000)
}

func defaultTo[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Options are what an engine needs. DB, Source and Notifier are required.
type Options struct {
	// DB is the state file. The engine keeps to buckets whose names begin with "alerting/" and does not close it.
	DB       *bbolt.DB
	Source   Source
	Notifier Notifier
	Rules    []Rule
	// Fallbacks are the channels for what alerting has to say about itself. The first is told of events that could not be
	// read; of a channel that cannot be delivered to, the first that goes another way, or else the first that is another
	// channel. Without any it is only logged and counted.
	Fallbacks []string
	// Digest has the first of Fallbacks told each Monday what people were not told.
	Digest bool
	// BaseURL is where people open lookout (http://lookout.example:7171); empty leaves links out.
	BaseURL string
	// Policy decides beside the rules; see [Engine.Configure].
	Policy Policy
	// Journal gets the history of incidents and messages, at least once each and in order; with an error it comes again. nil for nobody.
	Journal func(context.Context, []Record) error
	Limits  Limits
	// Pauses are the times in which lookout did not run, oldest first, for a replay of the past. Others leave it out: the state has
	// them.
	Pauses []Pause
	Clock  Clock        // nil: the system's
	Log    *slog.Logger // nil: none
}

// minRepeat is the shortest time after which people are told again.
const minRepeat = 5 * time.Minute

func validate(rules []Rule) error {
	seen := make(map[string]bool, len(rules))
	for i, r := range rules {
		switch {
		case r.Name == "":
			return fmt.Errorf("rule %d has no name: give it one, state is kept under it", i+1)
		case len(r.Name) > 100 || strings.ContainsFunc(r.Name, func(c rune) bool { return c == '|' || c < ' ' || c == 0x7f }):
			return fmt.Errorf("rule %q: a name has at most 100 bytes and neither '|' nor control characters: rename it", r.Name)
		case r.Name == Service:
			return fmt.Errorf("rule %q: this name is reserved for lookout's own notices: rename it", r.Name)
		case seen[r.Name]:
			return fmt.Errorf("rule %q is there twice: rename one", r.Name)
		case r.Query == nil:
			return fmt.Errorf("rule %q has no query: add one, such as level>=error", r.Name)
		case r.Resolve != nil && r.Notify == Each:
			return fmt.Errorf("rule %q shows each event, so there is nothing to resolve: leave resolve out, or set notify: incident", r.Name)
		case len(r.Channels) == 0:
			return fmt.Errorf("rule %q has no channel: set channel, or a default in channels", r.Name)
		}
		if r.Repeat != 0 && (r.Repeat < minRepeat || r.Notify == Each) {
			return fmt.Errorf("rule %q: repeat %v is for incidents, and at least %v: write repeat: 4h", r.Name, r.Repeat, minRepeat)
		}
		for j, c := range r.Channels {
			switch {
			case c == "":
				return fmt.Errorf("rule %q: channel %d is empty: name one, or leave it out", r.Name, j+1)
			case !channelOK(c):
				return fmt.Errorf("rule %q: channel %q has control characters or more than 200 bytes: write it as the destination shows it", r.Name, c)
			case slices.Contains(r.Channels[:j], c):
				return fmt.Errorf("rule %q: channel %q is there twice: leave one out", r.Name, c)
			}
		}
		if err := r.validateMode(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		switch r.Notify {
		case "", Incident, Each:
		default:
			return fmt.Errorf("rule %q: notify is %q: write incident or each", r.Name, r.Notify)
		}
		switch r.Severity {
		case "", Critical, Error, Warning, Info:
		default:
			return fmt.Errorf("rule %q: severity is %q: write critical, error, warning or info", r.Name, r.Severity)
		}
		seen[r.Name] = true
	}
	return nil
}

// channelOK keeps the zero byte out of channels: it parts the keys of the queues.
func channelOK(c string) bool {
	return len(c) <= 200 && !strings.ContainsFunc(c, func(c rune) bool { return c < ' ' || c == 0x7f })
}
