// Package alerting tells people about the events that matter: rules are standing queries over the stored events, and what
// they match is delivered to channels.
//
// # Use
//
// The app opens state.db, makes a notifier and hands both over with the rules:
//
//	engine, err := alerting.New(alerting.Options{DB: db, Source: store, Notifier: slack, Rules: rules, Fallback: "#ops-errors"})
//	…
//	err = engine.Run(ctx) // until ctx ends
//
// # What it guarantees
//
// Every event the store made durable behind the engine's position is held against every rule once. Position, incidents and
// outbox change in one transaction, so a kill at any moment loses no match. A message is delivered at least once; one that
// may be there already says so. What a channel's budget does not let through is counted, in the incident and in an
// overview message. DESIGN.md beside this file has the reasons, the states and the keys.
//
// The engine follows the store by sequence, and its rules' clocks are the events' Received times, so that the same events
// give the same incidents whenever they are read.
package alerting

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Source is the store as the engine needs it.
type Source interface {
	// Follow delivers the events behind a sequence.
	Follow(after uint64) query.Follower
	// LastSeq is the newest event's sequence, 0 when there is none.
	LastSeq() uint64
}

// Notifier is a way out: it knows how a service shows a message. Its methods are called concurrently, but never twice at
// once for one channel. They return when the message is accepted, or a *[DeliveryError] that says what to do; any other
// error counts as [Transient]. No secret may appear in an error.
type Notifier interface {
	// Send posts a new message.
	Send(ctx context.Context, channel string, m Message) (Receipt, error)
	// Edit replaces the message that Send returned the receipt for. [EditRefused] asks for a new message instead.
	Edit(ctx context.Context, r Receipt, m Message) (Receipt, error)
}

// Receipt names a delivered message, in the destination's own words.
type Receipt struct {
	Channel string `json:"channel,omitempty"`
	ID      string `json:"id,omitempty"`
}

// Message is what people read. All text is as it is meant to be read: valid UTF-8 without control characters but tab and
// newline, not yet escaped. The notifier escapes it, and cuts it from the middle where its service has narrower limits.
type Message struct {
	Severity Severity
	Title    string   // one line: what happened, and where
	Lines    []string // log text, shown as it is
	Facts    []string // short remarks: how often, since when, which rule
	Notes    []string // about the delivery: may be a repeat, late
	Link     string   // the search behind the message, empty for none
	// Plain asks for short plain text without decoration: the decorated form was refused.
	Plain bool
}

// Severity is how bad a rule's matches are: the colour of its messages.
type Severity string

// The severities. The empty one takes the matched event's level.
const (
	Critical Severity = "critical"
	Error    Severity = "error"
	Warning  Severity = "warning"
	Info     Severity = "info"
)

// SeverityOf returns the severity of a level; what is milder than a warning, or has no level, is [Info].
func SeverityOf(l event.Level) Severity {
	switch {
	case l == event.None || l > event.Warning:
		return Info
	case l <= event.Critical:
		return Critical
	case l == event.Error:
		return Error
	}
	return Warning
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
	Name     string
	Query    *query.Query
	Channel  string // as the notifier knows it: "#ops-errors"
	Severity Severity
	Notify   Notify
}

// Service is the name under which lookout's own events are stored. They match only rules whose query asks for it: one
// that lets this service through and not just any.
const Service = "lookout"

// Class says what a failed delivery asks for. DESIGN.md lists the signals of each.
type Class string

const (
	// Wait: the destination asks for a pause of this channel.
	Wait Class = "wait"
	// Transient: try again, without end.
	Transient Class = "transient"
	// Broken: the destination refuses everything until somebody mends it.
	Broken Class = "destination broken"
	// Fault: this message is refused, others may pass.
	Fault Class = "message at fault"
	// EditRefused: the message cannot be edited any more.
	EditRefused Class = "edit refused"
)

// DeliveryError says why a message was not delivered and what to do about it.
type DeliveryError struct {
	Class Class
	// RetryAfter is the pause the destination asked for, 0 when it named none.
	RetryAfter time.Duration
	// Unsent is true for a [Transient] error when the message cannot have reached the destination. Without it the
	// next try says that it may be a repeat.
	Unsent bool
	Err    error
}

func (e *DeliveryError) Error() string { return string(e.Class) + ": " + e.Err.Error() }

func (e *DeliveryError) Unwrap() error { return e.Err }

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
	Backoff     time.Duration // first pause after a [Transient] failure, doubled up to MaxBackoff [1 s]
	MaxBackoff  time.Duration // [5 min]
	Park        time.Duration // between two tries of a [Broken] destination [5 min]
	SendTimeout time.Duration // one call [30 s]
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
	defaultTo(&l.Backoff, time.Second)
	defaultTo(&l.MaxBackoff, 5*time.Minute)
	defaultTo(&l.Park, 5*time.Minute)
	defaultTo(&l.SendTimeout, 30*time.Second)
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
	// Fallback is the channel for what alerting has to say about itself: events it could not read, channels it cannot
	// deliver to. Empty: it is only logged and counted.
	Fallback string
	// BaseURL is where people open lookout (http://lookout.example:7171); empty leaves links out.
	BaseURL string
	Limits  Limits
	Clock   Clock        // nil: the system's
	Log     *slog.Logger // nil: none
}

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
		case r.Channel == "":
			return fmt.Errorf("rule %q has no channel: set channel, or a default in channels", r.Name)
		case !channelOK(r.Channel):
			return fmt.Errorf("rule %q: channel %q has control characters or more than 200 bytes: write it as the destination shows it", r.Name, r.Channel)
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
