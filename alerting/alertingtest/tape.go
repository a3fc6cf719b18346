package alertingtest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// Tape is a way out that notes each call with its time, where a [Recorder] keeps each message as it stands. It has no threads and refuses edits of what fires, as a pager
// does; [ThreadedTape] has all that Slack has. The zero value is ready.
type Tape struct {
	mu   sync.Mutex
	took []alerting.Notification
}

// Took returns what was noted, in order.
func (t *Tape) Took() []alerting.Notification {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.took)
}

func (t *Tape) note(kind alerting.NotificationKind, channel string, m alerting.Message) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.took = append(t.took, alerting.Notification{At: time.Now(), Channel: channel, Kind: kind, Message: m})
	return len(t.took)
}

// Send notes a message.
func (t *Tape) Send(_ context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	return alerting.Receipt{Channel: channel, ID: strconv.Itoa(t.note(alerting.Posted, channel, m))}, nil
}

// Edit notes an edit, but refuses one of what fires.
func (t *Tape) Edit(_ context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	if m.State == alerting.Firing {
		return r, &alerting.DeliveryError{Class: alerting.EditRefused, Err: errors.New("what was sent cannot be changed")}
	}
	t.note(alerting.Edited, r.Channel, m)
	return r, nil
}

// ThreadedTape is a tape as a way out with threads, which hold replies and history.
type ThreadedTape struct{ *Tape }

// Send notes a message that has a thread.
func (t ThreadedTape) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	r, err := t.Tape.Send(ctx, channel, m)
	r.Thread = true
	return r, err
}

// Edit notes an edit.
func (t ThreadedTape) Edit(_ context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	t.note(alerting.Edited, r.Channel, m)
	return r, nil
}

// Reply notes a reply.
func (t ThreadedTape) Reply(_ context.Context, r alerting.Receipt, m alerting.Message) error {
	t.note(alerting.Replied, r.Channel, m)
	return nil
}

// Note notes a line of history.
func (t ThreadedTape) Note(_ context.Context, r alerting.Receipt, m alerting.Message) error {
	t.note(alerting.Noted, r.Channel, m)
	return nil
}
