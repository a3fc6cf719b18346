package alerting_test

import (
	"os"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/internal/event"
)

// The token is in no log, message, dead letter or state, even when Slack or a proxy repeats it.
func TestTokenIsNowhere(t *testing.T) {
	const token = "xoxb-1234-canary"
	inBubble(t, func(r *rig) {
		f := alertingtest.NewUnlistening()
		n, err := slack.New(slack.Options{Token: token, Transport: f.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		r.opts.Notifier = n
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "#a")}
		f.Script(
			alertingtest.SlackError("invalid_auth for "+token), alertingtest.SlackError("msg_too_long"), alertingtest.SlackError("msg_too_long"),
			alertingtest.Body("token="+token), alertingtest.Status(503), alertingtest.RateLimited(0), alertingtest.Lost(), alertingtest.Hang(),
			alertingtest.SlackError("account_inactive"), alertingtest.Status(400))
		r.run()
		for i := range 5 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(time.Hour)
		r.halt()
		state, err := os.ReadFile(r.db.Path())
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{"the log": r.log.String(), "the state": string(state)}
		for _, m := range f.Messages() {
			texts["a message"] += m.Content()
		}
		for what, text := range texts {
			if len(text) == 0 {
				t.Errorf("%s is empty", what)
			}
			if leak := alertingtest.Secret(token).Leak(text); leak != "" {
				t.Errorf("%s: %s", what, leak)
			}
		}
	})
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
		polls := 0
		f.Behave(func(c alertingtest.PushoverCall) alertingtest.Reply {
			if polls++; c.Method == "receipts" && polls%2 == 0 {
				return alertingtest.PushoverErrors(400, "receipt", said+"&receipt="+c.Receipt)
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
