package alerting

import (
	"context"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// Notifier is a way out: it knows how a service shows a message. Its methods are called concurrently, but Send, Edit and
// Reply never twice at once for one channel. They return when the message is accepted, or a *[DeliveryError] that says
// what to do; any other error counts as [Transient]. No secret may appear in an error.
//
// Only a message whose State is [Firing], or empty, should ring: one that comes late may be acknowledged or resolved.
type Notifier interface {
	// Send posts a new message. A message of the same [Message.Incident] may be there already: one that was sent before,
	// or one whose answer was lost.
	Send(ctx context.Context, channel string, m Message) (Receipt, error)
	// Edit brings the message that Send returned the receipt for up to date: the incident has been acknowledged or
	// resolved, and a way that rings stops; or it fires, and people need not notice what is new about that.
	// [EditRefused] asks for a new message instead, unless it fires.
	Edit(ctx context.Context, r Receipt, m Message) (Receipt, error)
}

// Replier is a [Notifier] that can make people notice a message again, by a reply in its thread. By other ways an incident
// that fires again is sent as a new message.
type Replier interface {
	// Reply says shortly below the message that it fires again; an edit of the message follows. [EditRefused] asks for a
	// new message instead.
	Reply(ctx context.Context, r Receipt, m Message) error
}

// Historian is a [Notifier] whose messages have a thread that rings nobody: what became of an incident is kept there.
type Historian interface {
	// Note replies with m.Lines, a line of history each, to a message whose receipt has Thread set. [EditRefused] says that
	// there is no such thread any more: nothing comes instead.
	Note(ctx context.Context, r Receipt, m Message) error
}

// Acknowledger is a [Notifier] that knows who has acknowledged a message.
type Acknowledger interface {
	// Acknowledgement tells how things stand with a message whose receipt has Rings set. It is asked no more often than
	// each [Limits].Poll, until the message is acknowledged, expired, or its incident resolved. Errors are as Send's; with
	// any of them it is asked again later.
	Acknowledgement(ctx context.Context, r Receipt) (Ack, error)
}

// Ack is what became of a message that rings. The zero value is: nothing yet.
type Ack struct {
	At      time.Time // when somebody acknowledged it; zero while nobody has
	By      string    // who, in the destination's words; may be empty
	Expired bool      // it rings no more, and nobody has acknowledged it: the engine sends another one
}

// Receipt names a delivered message, in the destination's own words.
type Receipt struct {
	Channel string `json:"channel,omitempty"`
	ID      string `json:"id,omitempty"`
	// Rings is true for a message that somebody can acknowledge: the [Acknowledger] is asked about it.
	Rings bool `json:"rings,omitempty"`
	// Thread is true for a message whose thread takes history: the [Historian] is given it.
	Thread bool `json:"thread,omitempty"`
}

// Message is what people read. All text is as it is meant to be read: valid UTF-8 without control characters but tab and
// newline, not yet escaped. The notifier escapes it, and cuts it from the middle where its service has narrower limits.
type Message struct {
	Severity Severity
	// State is how its incident stands; empty for gathered events, overviews and notices.
	State State
	// Incident is the same in all messages of one incident and in no other's: 16 hex digits, or empty. A way that rings
	// finds by it what it has no receipt for, to silence that too.
	Incident string
	// ID is the incident's number, for what people do about it ([Engine.Acknowledge]); 0 without Incident.
	ID uint64
	// Expectable says that the incident's rule has a list of what it expects, which this can be added to.
	Expectable bool
	// Labels are the incident's, as routes and silences see them; nil where Incident is empty.
	Labels Labels
	// Since is when it began to fire, Ended when it was resolved; zero where Incident is empty, or not yet.
	Since, Ended time.Time
	Title        string   // one line: what happened, and where; Heading has the state in front
	Lines        []string // log text, shown as it is
	Facts        []string // short remarks: how often, since when, which rule
	Notes        []string // about the delivery: may be a repeat, late
	Link         string   // the search behind the message, empty for none
	// Reminds is true when people were told before, and nobody has acknowledged.
	Reminds bool
	// Plain asks for short plain text without decoration: the decorated form was refused.
	Plain bool
	// MayRepeat is true for a new message that may be there already, as the first of Notes says: a way that acts, instead of
	// telling, must not act again.
	MayRepeat bool
}

// Heading is the title with the state in front of it, unless it is firing: Resolved: [error] shop: no stock.
func (m Message) Heading() string {
	switch m.State {
	case Acknowledged:
		return "Acknowledged: " + m.Title
	case Silenced:
		return "Silenced: " + m.Title
	case Resolved:
		return "Resolved: " + m.Title
	}
	return m.Title
}

// Again is what a reply says in front of the title.
func (m Message) Again() string {
	if m.Reminds {
		return "Still firing: "
	}
	return "Again: "
}

// Text is the whole message as plain text, a line each for heading, log text, facts and notes.
func (m Message) Text() string {
	parts := append([]string{m.Heading()}, m.Lines...)
	for _, more := range [...][]string{m.Facts, m.Notes} {
		if len(more) > 0 {
			parts = append(parts, strings.Join(more, " · "))
		}
	}
	if m.Link != "" {
		parts = append(parts, m.Link)
	}
	return strings.Join(parts, "\n")
}

// State is how an incident stands.
type State string

// The states of an incident.
const (
	Firing       State = "firing"
	Acknowledged State = "acknowledged" // somebody sees to it
	Silenced     State = "silenced"     // it fires, and people have decided that nobody need notice: a way that rings stops
	Resolved     State = "resolved"
)

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
	// Code is the destination's own word for it, such as not_in_channel or 404, and Mend what helps; both may be empty.
	Code, Mend string
	// Unsent is true for a [Transient] error when the message cannot have reached the destination. Without it the
	// next try says that it may be a repeat.
	Unsent bool
	Err    error
}

func (e *DeliveryError) Error() string { return string(e.Class) + ": " + e.Err.Error() }

func (e *DeliveryError) Unwrap() error { return e.Err }
