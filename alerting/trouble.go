package alerting

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// ownPause is the shortest time between two messages that make people notice the same trouble of lookout's own.
	ownPause = time.Hour
	// outAfter is how long a channel may take nothing before another one is told, when it does not say that it is broken.
	outAfter = 10 * time.Minute
	// outTold is how often in outPause another channel is told that one is out.
	outTold  = 2
	outPause = time.Hour
)

// Trouble is something that is wrong with lookout itself: input was lost, a template fails.
type Trouble struct {
	// Kind tells it from others: each has one incident, of the rule "lookout". 1 to 150 bytes without '|' and control characters.
	Kind     string
	Severity Severity // what is at least [Error] is told again each hour while it goes on
	// Text is what is wrong, in its first line, and the mend. It has no log text: a deletion would not find it.
	Text string
	N    int64 // how often it happened since the last report; the incident counts it
	Over bool  // it has ended
}

// Report tells the first of [Options.Fallbacks] that takes messages of trouble, durably. It is told once; what goes on is counted
// in that message, and reported again each quarter of an hour at least: it counts as over after half an hour otherwise. Without
// fallbacks nobody is told.
func (e *Engine) Report(ctx context.Context, t Trouble) error {
	if t.Kind == "" || len(t.Kind) > 150 || strings.ContainsFunc(t.Kind, func(c rune) bool { return c == '|' || c < ' ' || c == 0x7f }) {
		return fmt.Errorf("trouble %q: its kind is empty, has more than 150 bytes, '|' or control characters", t.Kind)
	}
	if t.Text == "" {
		return errors.New("trouble " + t.Kind + " has no text")
	}
	if len(*e.fallbacks.Load()) == 0 {
		return nil
	}
	return e.change(ctx, "noting what is wrong with lookout", func(a *application) error { return a.report(t) })
}

func (a *application) report(t Trouble) error {
	fp := troublePrint + t.Kind
	if t.Over {
		inc := a.incident(incidentKey(Service, fp))
		if inc == nil || inc.State == Resolved {
			return nil
		}
		inc.Count += t.N
		inc.resolve(a.now, t.Text, "")
		return a.queue(inc)
	}
	ev := &event.Event{Time: a.now, Received: a.now, Level: levelOf(t.Severity), Service: []byte(Service), Message: []byte(t.Text)}
	return a.happened(happening{
		rule: Service, fingerprint: fp, channels: []string{a.e.fallback(a.tx, "")}, severity: t.Severity, event: ev, more: t.N - 1,
	})
}

// levelOf is the level of an event of lookout's own.
func levelOf(s Severity) event.Level {
	switch s {
	case Critical:
		return event.Critical
	case Error:
		return event.Error
	case Info:
		return event.Info
	}
	return event.Warning
}

// fallback is the channel that is told about another one, or of what is wrong with lookout itself: the first that takes messages
// and goes another way, else the first that takes messages. When none does it waits there.
func (e *Engine) fallback(tx *bbolt.Tx, about string) (best string) {
	worth := -1
	for _, f := range *e.fallbacks.Load() {
		if f == about {
			continue
		}
		n := 0
		if about == "" || e.way(f) != e.way(about) {
			n = 1
		}
		if state := e.channelState(tx, f); state.Parked == nil && (state.Out == nil || state.Out.Told == "") {
			n += 2
		}
		if n > worth {
			best, worth = f, n
		}
	}
	return best
}

// outage is a time in which a channel takes nothing.
type outage struct {
	Since int64 `json:"since"` // ns
	// Told is the channel that was told of it, empty while none was, and Key that notice's.
	Told string `json:"told,omitempty"`
	Key  string `json:"key,omitempty"`
}

// noteOut notes that a delivery failed, and has another channel told: at once when this one says that it is broken, else when it
// has taken nothing for long. It returns the channel that was told, empty for none.
func (s *sender) noteOut(tx *bbolt.Tx, state *channelState, class Class, now int64, failure *DeliveryError) (told string, err error) {
	switch class {
	case Broken, Transient, Wait:
	default: // it answers
		if state.Out != nil && state.Out.Told == "" {
			state.Out = nil
		}
		return "", nil
	}
	if state.Out == nil {
		state.Out = &outage{Since: now}
	}
	out := state.Out
	if out.Told != "" || class != Broken && remains(outAfter, out.Since, now) > 0 {
		return "", nil
	}
	recent := state.OutTold[:0]
	for _, t := range state.OutTold {
		if remains(outPause, t, now) > 0 {
			recent = append(recent, t)
		}
	}
	if state.OutTold = recent; len(recent) >= outTold {
		return "", nil // it comes and goes; the next try looks again
	}
	to := s.e.fallback(tx, s.channel)
	if to == "" {
		return "", nil
	}
	out.Told, out.Key = to, fmt.Sprintf("%s|parked:%s|%d", Service, s.channel, now)
	state.OutTold = append(state.OutTold, now)
	text := fmt.Sprintf("%v. The alerts are kept and tried again every %s; %s.", failure.Err, s.e.limits.Park, cmp.Or(failure.Mend, "mend the channel, the token or the app's rights there"))
	if class != Broken {
		text = fmt.Sprintf("%v. It has been so since %s. The alerts are kept and tried again.", failure.Err, at(out.Since))
	}
	return to, enqueue(tx, out.Key, &entry{
		Kind: kindNotice, Channel: to, Created: now, Rule: Service, Severity: Error,
		Title: "lookout: alerts for " + s.channel + " cannot be delivered", Text: text,
	})
}

// noteBack notes that a delivery went well. Who was told of an outage is told that it is over, or of neither when the notice still
// waits. It returns the channel that has something to deliver, empty for none.
func (s *sender) noteBack(tx *bbolt.Tx, state *channelState, now int64) (told string, err error) {
	out := state.Out
	if state.Out = nil; out == nil || out.Told == "" {
		return "", nil
	}
	var notice entry
	if ok, err := get(tx.Bucket(bucketOutbox), []byte(out.Key), &notice); err == nil && ok && !notice.begun() {
		return "", dequeue(tx, out.Key, &notice)
	}
	return out.Told, enqueue(tx, fmt.Sprintf("%s|back:%s|%d", Service, s.channel, now), &entry{
		Kind: kindNotice, Channel: out.Told, Created: now, Rule: Service, Severity: Info,
		Title: "lookout: alerts for " + s.channel + " are delivered again",
		Text:  fmt.Sprintf("Nothing was from %s to %s; what waited is delivered now.", at(out.Since), until(out.Since, now)),
	})
}

// isOwn tells whether a rule is about lookout itself. What goes wrong with its messages is no trouble that is told: it would feed
// itself.
func (e *Engine) isOwn(rule string) bool { return rule == Service || e.asksForOwn(rule) }
