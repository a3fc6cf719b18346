package alerting_test

import (
	"os"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
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
