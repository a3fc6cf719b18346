package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

const (
	pushoverToken = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
	pushoverUser  = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
)

// TestPushoverOutage takes Pushover away while machines go down, and kills lookout again and again meanwhile. Pushover answers
// 503, 429, nothing, or takes a message and loses the answer. When it is back no alert is missing; a tap on the phone shows in
// Slack; and the event that resolves an incident ends the ringing, of the messages too whose answer was lost.
func TestPushoverOutage(t *testing.T) {
	slack, phone := alertingtest.New(), alertingtest.NewPushover()
	defer slack.Close()
	defer phone.Close()
	phone.Require(pushoverToken, pushoverUser)

	var out atomic.Bool
	var turn atomic.Int64
	back := make(chan struct{})
	out.Store(true)
	phone.Behave(func(alertingtest.PushoverCall) alertingtest.Reply {
		if !out.Load() {
			return alertingtest.OK()
		}
		switch turn.Add(1) % 4 {
		case 0:
			return alertingtest.Status(http.StatusServiceUnavailable)
		case 1:
			return alertingtest.QuotaUsed(time.Now().Add(time.Second))
		case 2:
			<-back // it hangs
			return alertingtest.Status(http.StatusBadGateway)
		}
		return alertingtest.Lost()
	})

	dir := t.TempDir()
	config := `
slack: { api: "` + slack.URL() + `", token: xoxb-test }
pushover: { api: "` + phone.URL() + `" }
rules:
  - { name: machines, query: 'service:farm level>=error', resolve: 'service:farm level:info back', channel: "#farm", page: true }
`
	if err := os.WriteFile(filepath.Join(dir, "lookout.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "LOOKOUT_PUSHOVER_TOKEN="+pushoverToken, "LOOKOUT_PUSHOVER_USER="+pushoverUser)

	names := []string{"alpha", "bravo", "charlie", "delta"} // no digits: they would be masked
	event := func(name, level, what string) string {
		return fmt.Sprintf(`{"service":"farm","level":%q,"message":"machine %s is %s","fingerprint":"machine-%s"}`, level, name, what, name)
	}
	tell := func(event string) {
		t.Helper()
		if code, c, text := s.post(strings.NewReader(event)); code != http.StatusOK || c.Accepted != 1 {
			t.Fatalf("%d %s", code, text)
		}
	}
	// of is the messages of a machine that begin so.
	of := func(name, prefix string, priority int) []alertingtest.PushoverMessage {
		var found []alertingtest.PushoverMessage
		for _, m := range phone.Messages(priority) {
			if strings.Contains(m.Title, "machine "+name+" ") && strings.HasPrefix(m.Title, prefix) {
				found = append(found, m)
			}
		}
		return found
	}
	inSlack := func(name string) string {
		t.Helper()
		text := ""
		for _, m := range slack.Messages("#farm") {
			if !strings.Contains(m.Text, "machine "+name+" ") {
				continue
			}
			// A kill may come between Slack's taking it and lookout's noting that.
			if text != "" && !strings.Contains(m.Content(), "may be a repeat") {
				t.Fatalf("%s is in Slack again, and does not say so: %q", name, m.Content())
			}
			text = m.Text
		}
		return text
	}

	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	calls := 0 // before this life of lookout's
	killSoon := func() {
		t.Helper()
		time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond) // a kill comes at any moment: this is not a wait for something
		s.kill()
		calls = len(phone.Calls())
		s.start()
	}
	killInCall := func() {
		t.Helper()
		eventually(t, "another call to Pushover", 30*time.Second, func() bool { return len(phone.Calls()) > calls })
		killSoon()
	}
	for i := range 8 {
		if i < len(names) {
			tell(event(names[i], "error", "down"))
		}
		killInCall()
	}
	t.Logf("in the outage: %d calls, %d messages accepted with a lost answer", len(phone.Calls()), len(phone.Messages()))
	if len(phone.Calls()) < 8 {
		t.Errorf("%d calls: the outage was none", len(phone.Calls()))
	}

	out.Store(false)
	close(back)
	eventually(t, "every alert has arrived", 60*time.Second, func() bool { return s.metric("lookout_alerting_outbox_messages") == 0 })
	for _, name := range names {
		if len(of(name, "", 2)) == 0 || inSlack(name) == "" {
			t.Errorf("the alert about %s is lost: %d times at Pushover, in Slack %q", name, len(of(name, "", 2)), inSlack(name))
		}
	}

	// The first ones have messages whose answer was lost: those are left to ring.
	tapped, ringing := names[2:], names[:2]
	for _, name := range tapped {
		for _, m := range of(name, "", 2) {
			phone.Acknowledge(m.Receipt)
		}
	}
	killSoon()
	for _, name := range tapped {
		eventually(t, name+" is acknowledged in Slack", 60*time.Second, func() bool { return strings.HasPrefix(inSlack(name), "Acknowledged: ") })
	}
	for _, name := range ringing {
		if text := inSlack(name); strings.HasPrefix(text, "Acknowledged: ") {
			t.Errorf("nobody has acknowledged %s: %q", name, text)
		}
	}

	calls = len(phone.Calls())
	phone.Script(alertingtest.Status(http.StatusServiceUnavailable), alertingtest.Lost())
	for _, name := range names {
		tell(event(name, "info", "back"))
	}
	killInCall()
	eventually(t, "nothing waits to be told", 90*time.Second, func() bool { return s.metric("lookout_alerting_outbox_messages") == 0 })
	for _, name := range names {
		quiet := of(name, "Resolved: ", 0)
		if len(quiet) == 0 || len(quiet) > 2 || !strings.HasPrefix(inSlack(name), "Resolved: ") {
			t.Errorf("%s is resolved: told %d times by Pushover, in Slack %q", name, len(quiet), inSlack(name))
		}
		t.Logf("%s: %d emergencies, %d times resolved", name, len(of(name, "", 2)), len(quiet))
	}
	if n := len(phone.Ringing()); n != 0 {
		t.Errorf("%d emergencies ring on", n)
	}
	if failures := phone.Failures(); len(failures) != 0 {
		t.Errorf("Pushover would not like that: %q", failures)
	}
	for _, secret := range []alertingtest.Secret{pushoverToken, pushoverUser} {
		if leak := secret.Leak(s.log.String()); leak != "" {
			t.Errorf("in lookout's log: %s", leak)
		}
	}
}
