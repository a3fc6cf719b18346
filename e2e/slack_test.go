package e2e

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

const (
	slackToken    = "xoxb-1-e2e-canary"
	slackAppToken = "xapp-1-A1-e2e-canary"
)

// TestSlackButtons presses the buttons of alerts through Socket Mode, and kills lookout as soon as Slack has its acknowledgement:
// what was pressed is durable then, and shows in the message after the next start.
func TestSlackButtons(t *testing.T) {
	slack := alertingtest.New()
	defer slack.Close()
	slack.Require(slackToken)
	slack.RequireApp(slackAppToken)
	dir := t.TempDir()
	config := `
slack: { api: "` + slack.URL() + `", channel: "#ops" }
base_url: https://lookout.example
rules:
  - { name: machines, query: 'service:farm level>=error' }
  - { name: system, query: 'service:kernel', mode: unexpected, expect: ['"booting linux"'], severity: warning }
`
	if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "LOOKOUT_SLACK_TOKEN="+slackToken, "LOOKOUT_SLACK_APP_TOKEN="+slackAppToken)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	starts := 1
	connected := func() {
		t.Helper()
		if err := slack.WaitConnected(ctx, starts); err != nil {
			t.Fatal(err)
		}
	}
	restart := func() {
		t.Helper()
		s.kill()
		s.start()
		starts++
		connected()
	}
	tell := func(event string) {
		t.Helper()
		if code, c, text := s.post(strings.NewReader(event)); code != http.StatusOK || c.Accepted != 1 {
			t.Fatalf("%d %s", code, text)
		}
	}
	// message waits for the one that begins so.
	message := func(begins string) alertingtest.SlackMessage {
		t.Helper()
		var found alertingtest.SlackMessage
		eventually(t, "a message that begins "+begins, time.Minute, func() bool {
			for _, m := range slack.Messages("#ops") {
				if m.ThreadTS == "" && strings.HasPrefix(m.Text, begins) {
					found = m
					return true
				}
			}
			return false
		})
		return found
	}
	ann := alertingtest.SlackUser{ID: "U7", Name: "ann"}
	press := func(m alertingtest.SlackMessage, button string) alertingtest.Press {
		t.Helper()
		// A message stands in Slack a moment before lookout has Slack's answer. Killed in between it sends the message again, as things
		// stand by then, and its thread has no history of what was before.
		eventually(t, "lookout knowing what Slack has", time.Minute, func() bool { return s.metric("lookout_alerting_outbox_messages") == 0 })
		p, err := slack.Press(ctx, m, button, ann)
		for errors.Is(err, alertingtest.ErrNotAcknowledged) { // a slow machine: ann sees a warning sign, and presses again
			connected()
			err = slack.Deliver(ctx, p)
		}
		if err != nil {
			t.Fatalf("%s: %v", button, err)
		}
		return p
	}

	connected()
	tell(`{"service":"farm","level":"error","message":"machine alpha is down"}`)
	m := message("[error] farm: machine alpha is down")
	if got := strings.Join(m.Buttons(), ", "); got != "Acknowledge, Silence 1 h, Silence 1 day, Open in lookout" {
		t.Errorf("the buttons are %s", got)
	}
	pressed := press(m, "Acknowledge")
	restart()
	m = message("Acknowledged: [error] farm: machine alpha is down")
	if !strings.Contains(m.Content(), "by ann") || strings.Join(m.Buttons(), ", ") != "Silence 1 h, Silence 1 day, Open in lookout" {
		t.Errorf("acknowledged: %s, %q", m.Content(), m.Buttons())
	}
	eventually(t, "the history in the thread", time.Minute, func() bool {
		for _, r := range slack.Messages("#ops") {
			if r.ThreadTS == m.TS && !r.Broadcast && strings.HasSuffix(r.Text, "acknowledged by ann") {
				return true
			}
		}
		return false
	})
	// Slack did not see the answer, and asks again.
	if err := slack.Deliver(ctx, pressed); err != nil && !errors.Is(err, alertingtest.ErrNotAcknowledged) {
		t.Error(err)
	}

	press(m, "Silence 1 h")
	restart()
	if out, errs, code := s.cli("", "silence", "list"); code != 0 || !strings.Contains(out, "machines") || !strings.Contains(out, "ann") {
		t.Errorf("silence list: %d %s%s", code, out, errs)
	}

	tell(`{"service":"kernel","level":"warning","message":"eth0: link is up at 1000 Mbps"}`)
	m = message("[warning] kernel: unexpected: eth0: link is up at 1000 Mbps")
	press(m, "This is expected")
	restart()
	message("Resolved: [warning] kernel: unexpected: eth0: link is up at 1000 Mbps")
	tell(`{"service":"kernel","level":"warning","message":"eth1: link is up at 100 Mbps"}`) // of the same kind
	tell(`{"service":"kernel","level":"warning","message":"eth1: link is down"}`)
	message("[warning] kernel: unexpected: eth1: link is down")
	for _, m := range slack.Messages("#ops") {
		if strings.Contains(m.Text, "eth1: link is up") {
			t.Errorf("what is expected is told: %s", m.Content())
		}
	}
	if e := slack.Ephemerals(); len(e) != 0 {
		t.Errorf("said to who pressed: %+v", e)
	}
	for _, secret := range []alertingtest.Secret{slackToken, slackAppToken, "of-the-fake"} {
		if leak := secret.Leak(s.log.String()); leak != "" {
			t.Errorf("in lookout's log: %s", leak)
		}
	}
}
