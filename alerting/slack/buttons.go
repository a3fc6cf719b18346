package slack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/lookoutlog/lookout/alerting"
)

// Actions are what the buttons do; [alerting.Engine] has them. Each is durable when it returns, and a message that now says
// something else is edited by who sent it. An error that wraps [alerting.ErrNotFound] says that the incident is over.
type Actions interface {
	Acknowledge(ctx context.Context, id uint64, by string) error
	// SilenceIncident keeps what is like the incident from being told for a while.
	SilenceIncident(ctx context.Context, id uint64, d time.Duration, by string) error
	// ExpectIncident adds what is like the incident to what its rule expects.
	ExpectIncident(ctx context.Context, id uint64, by string) error
}

// The buttons. Their ids are in messages that were sent: they keep their meaning.
const (
	blockButtons = "lookout"

	buttonAcknowledge = "lookout_acknowledge"
	buttonHour        = "lookout_silence_1h"
	buttonDay         = "lookout_silence_1d"
	buttonExpect      = "lookout_expect"
	buttonOpen        = "lookout_open" // opens the link; the press is of no interest
)

// do carries out the press of a button.
func do(ctx context.Context, actions Actions, button string, id uint64, by string) error {
	switch button {
	case buttonAcknowledge:
		return actions.Acknowledge(ctx, id, by)
	case buttonHour:
		return actions.SilenceIncident(ctx, id, time.Hour, by)
	case buttonDay:
		return actions.SilenceIncident(ctx, id, 24*time.Hour, by)
	case buttonExpect:
		return actions.ExpectIncident(ctx, id, by)
	}
	return errNoButton
}

// errNoButton says that a press was of something else than lookout's buttons.
var errNoButton = errors.New("no button of lookout's")

// buttons are what people can do about an incident that is open, and the link.
func buttons(m alerting.Message) *slack.ActionBlock {
	var set []slack.BlockElement
	button := func(action, text string) *slack.ButtonBlockElement {
		b := slack.NewButtonBlockElement(action, strconv.FormatUint(m.ID, 10), slack.NewTextBlockObject(slack.PlainTextType, text, false, false))
		set = append(set, b)
		return b
	}
	if m.ID != 0 && (m.State == alerting.Firing || m.State == alerting.Silenced) {
		button(buttonAcknowledge, "Acknowledge").WithStyle(slack.StylePrimary)
	}
	if m.ID != 0 && m.State != "" && m.State != alerting.Resolved {
		button(buttonHour, "Silence 1 h")
		button(buttonDay, "Silence 1 day")
		if m.Expectable {
			plain := func(text string) *slack.TextBlockObject {
				return slack.NewTextBlockObject(slack.PlainTextType, text, false, false)
			}
			button(buttonExpect, "This is expected").WithConfirm(slack.NewConfirmationBlockObject(
				plain("Expect this from now on?"), plain("Nobody is told about lines like this any more."), plain("Expect it"), plain("Cancel")))
		}
	}
	if linkable(m.Link) {
		button(buttonOpen, "Open in lookout").WithURL(m.Link)
	}
	if len(set) == 0 {
		return nil
	}
	return slack.NewActionBlock(blockButtons, set...)
}

// press is what Slack tells of a button that was pressed, as far as it matters here.
type press struct {
	Type string `json:"type"`
	User struct {
		ID       string `json:"id"`
		Name     string `json:"name"`
		Username string `json:"username"`
	} `json:"user"`
	Channel struct {
		ID string `json:"id"`
	} `json:"channel"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
		TS       string `json:"action_ts"`
	} `json:"actions"`
}

// by is who pressed, in a word that people know them by.
func (p *press) by() string {
	for _, name := range [...]string{p.User.Name, p.User.Username, p.User.ID} {
		if name != "" {
			return name
		}
	}
	return "somebody in Slack"
}

// pressedKept is how many presses are remembered, to know a redelivery.
const pressedKept = 1000

// interactive does what a button says. It returns an error when that is not durable: then the envelope is not acknowledged,
// Slack shows the user a warning, and may deliver it again.
func (l *listener) interactive(ctx context.Context, payload json.RawMessage) error {
	var p press
	if err := json.Unmarshal(payload, &p); err != nil {
		l.log.Warn("Slack sent an interaction that cannot be read", "error", err)
		return nil // the next try would be the same
	}
	if p.Type != string(slack.InteractionTypeBlockActions) {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range p.Actions {
		if a.ActionID == buttonOpen {
			continue
		}
		id, err := strconv.ParseUint(a.Value, 10, 64)
		if err != nil {
			l.log.Warn("Slack sent a press of something that is no button of lookout's", "action", alerting.Cut(a.ActionID, 100))
			continue
		}
		// The user and the button make the time of the press unique.
		key := strings.Join([]string{a.TS, p.User.ID, a.ActionID, a.Value}, "|")
		if !l.begin(key) {
			continue
		}
		err = do(ctx, l.actions, a.ActionID, id, p.by())
		switch {
		case errors.Is(err, errNoButton):
			l.log.Warn("Slack sent a press of something that is no button of lookout's", "action", alerting.Cut(a.ActionID, 100))
		case errors.Is(err, alerting.ErrNotFound):
			l.answer(&p, "There is nothing to do any more: the incident behind this message is over.")
		case err != nil && ctx.Err() == nil:
			l.answer(&p, "That cannot be done: "+err.Error())
			l.log.Warn("the press of a button in Slack was refused", "button", a.ActionID, "incident", id, "error", err)
		case err != nil:
			delete(l.pressed, key)
			return fmt.Errorf("%s of incident %d: %w", a.ActionID, id, err)
		default:
			l.n.presses.Add(1)
			l.log.Info("a button was pressed in Slack", "button", a.ActionID, "incident", id, "by", p.by())
		}
	}
	return nil
}

// begin notes a press, and is false when it was there already.
func (l *listener) begin(key string) bool {
	if l.pressed[key] {
		return false
	}
	l.pressed[key] = true
	if l.order = append(l.order, key); len(l.order) > pressedKept {
		delete(l.pressed, l.order[0])
		l.order = l.order[1:]
	}
	return true
}

// answer tells who pressed, and nobody else. That it may not come is no loss.
func (l *listener) answer(p *press, text string) {
	l.aside.Go(func() {
		ctx, cancel := context.WithTimeout(l.ctx, answerWithin)
		defer cancel()
		opts := append(bare(), slack.MsgOptionText(escaper.Replace(text), false))
		if _, err := l.n.client.PostEphemeralContext(ctx, p.Channel.ID, p.User.ID, opts...); err != nil {
			l.log.Warn("Slack does not take an answer to a button", "error", l.n.failure(err, true))
		}
	})
}
