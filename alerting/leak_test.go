package alerting_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/internal/event"
)

// The tokens are in no log, message, dead letter or state, even when Slack or a proxy repeats them. Neither is what Slack itself means
// to be secret: the tickets in the addresses for Socket Mode, and what comes with a press.
func TestTokenIsNowhere(t *testing.T) {
	const token, appToken = "xoxb-1234-canary", "xapp-1-A1-5678-canary"
	inBubble(t, func(r *rig) {
		f := alertingtest.NewUnlistening()
		defer f.Close()
		opened := 0
		f.Behave(func(c alertingtest.Call) alertingtest.Reply {
			if c.Method != "apps.connections.open" {
				return alertingtest.OK()
			}
			switch opened++; opened {
			case 1:
				return alertingtest.SlackError("invalid_auth for " + appToken + " and " + token)
			case 2:
				return alertingtest.Body("token=" + appToken)
			case 3:
				return alertingtest.Body(`{"ok":true,"url":"ws://127.0.0.1:bad/?ticket=ticket-1-of-the-fake&token=` + appToken + `"}`)
			case 4:
				return alertingtest.Status(503)
			}
			return alertingtest.OK()
		})
		n, err := slack.New(slack.Options{Token: token, AppToken: appToken, API: f.URL(), Transport: f.Transport(), Dial: f.Dial})
		if err != nil {
			t.Fatal(err)
		}
		var buttons safeText
		listening, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		defer func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		r.opts.Notifier = n
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "#a")}
		f.Script(
			alertingtest.SlackError("invalid_auth for "+token), alertingtest.SlackError("msg_too_long"), alertingtest.SlackError("msg_too_long"),
			alertingtest.Body("token="+token), alertingtest.Status(503), alertingtest.RateLimited(0), alertingtest.Lost(), alertingtest.Hang(),
			alertingtest.SlackError("account_inactive"), alertingtest.Status(400))
		r.run()
		go func() {
			ended <- n.Listen(listening, r.engine, slog.New(slog.NewTextHandler(&buttons, &slog.HandlerOptions{Level: slog.LevelDebug})))
		}()
		for i := range 5 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(time.Hour)
		r.source.Add(ev(event.Error, "shop", word(9)))
		r.pass(time.Minute)
		messages := f.Messages()
		if _, err := f.Press(context.Background(), messages[len(messages)-1], "Acknowledge", alertingtest.SlackUser{ID: "U1", Name: "ann"}); err != nil {
			t.Errorf("after %d tries to connect: %v", opened, err)
		}
		f.Drop()
		r.pass(time.Minute)
		r.halt()
		state, err := os.ReadFile(r.db.Path())
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{"the log": r.log.String(), "the log of the buttons": buttons.String(), "the state": string(state)}
		for _, m := range f.Messages() {
			texts["a message"] += m.Content()
		}
		for what, text := range texts {
			if len(text) == 0 {
				t.Errorf("%s is empty", what)
			}
			for _, secret := range []alertingtest.Secret{token, appToken, "of-the-fake"} {
				if leak := secret.Leak(text); leak != "" {
					t.Errorf("%s: %s", what, leak)
				}
			}
		}
	})
}

// safeText is a log that goroutines write to.
type safeText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Neither are Pushover's token and the user's key, which Pushover names as the one who has acknowledged.
func TestPushoverKeysAreNowhere(t *testing.T) {
	const token, user = "azGDORePK8gMaC0QOYAMyEEuzJnyUi", "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
	inBubble(t, func(r *rig) {
		f := alertingtest.NewUnlisteningPushover()
		f.Require(token, user)
		n, err := pushover.New(pushover.Options{Token: token, User: user, API: f.URL(), Transport: f.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		r.opts.Notifier = n
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "pushover")}
		said := "token=" + token + "&user=" + user
		f.Script(
			alertingtest.PushoverErrors(400, "message", said), alertingtest.PushoverErrors(400, "user", said), alertingtest.Body(said), alertingtest.Status(503),
			alertingtest.PushoverErrors(429, "token", said), alertingtest.Lost(), alertingtest.Hang(), alertingtest.PushoverErrors(400, "message", said),
			alertingtest.PushoverErrors(400, "message", said))
		var polled sync.Map // polls and messages come at the same time
		f.Behave(func(c alertingtest.PushoverCall) alertingtest.Reply {
			if c.Method == "receipts" {
				if _, again := polled.LoadOrStore(c.Receipt, true); !again {
					return alertingtest.PushoverErrors(400, "receipt", said+"&receipt="+c.Receipt)
				}
			}
			return alertingtest.OK()
		})
		r.run()
		for i := range 5 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(25 * time.Minute) // in 30 they are over
		for _, receipt := range f.Ringing() {
			f.Acknowledge(receipt)
		}
		r.pass(time.Hour)
		stats, err := r.engine.Stats()
		r.halt()
		if err != nil || stats.Acknowledged == 0 || len(stats.Failed) < 4 || stats.AskErrors == 0 {
			t.Errorf("the test did too little: %+v, %v", stats, err)
		}
		state, err := os.ReadFile(r.db.Path())
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"the log": r.log.String(), "the state": string(state)} {
			if len(text) == 0 {
				t.Errorf("%s is empty", what)
			}
			for _, secret := range []alertingtest.Secret{token, user} {
				if leak := secret.Leak(text); leak != "" {
					t.Errorf("%s: %s", what, leak)
				}
			}
		}
		if failures := f.Failures(); len(failures) != 0 {
			t.Errorf("Pushover would not like that: %q", failures)
		}
	})
}
