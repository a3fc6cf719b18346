package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

// world is all that tells people, faked.
type world struct {
	slack    *alertingtest.FakeSlack
	pushover *alertingtest.FakePushover
	mail     *alertingtest.FakeMail
	hook     *httptest.Server

	mu     sync.Mutex
	broken string
	hooked []string
}

func newWorld(t *testing.T) *world {
	o := &world{slack: alertingtest.New(), pushover: alertingtest.NewPushover(), mail: alertingtest.NewMail()}
	o.hook = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.broken == "hook" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		o.hooked = append(o.hooked, string(body))
	}))
	t.Cleanup(func() {
		o.slack.Close()
		o.pushover.Close()
		o.mail.Close()
		o.hook.Close()
	})
	return o
}

// damage has a way refuse all until it is called with nothing.
func (o *world) damage(way string) {
	o.mu.Lock()
	o.broken = way
	o.mu.Unlock()
	o.slack.Behave(nil)
	o.pushover.Behave(nil)
	o.mail.Refuse("MAIL", "")
	switch way {
	case "#ops":
		o.slack.Behave(func(alertingtest.Call) alertingtest.Reply { return alertingtest.SlackError("token_revoked") })
	case "pushover":
		o.pushover.Behave(func(alertingtest.PushoverCall) alertingtest.Reply {
			return alertingtest.PushoverErrors(http.StatusBadRequest, "token", "application token is invalid")
		})
	case "mail":
		o.mail.Refuse("MAIL", "550 go away")
	}
}

// has is all that a way has shown people.
func (o *world) has(way string) string {
	var all []string
	switch way {
	case "#ops":
		for _, m := range o.slack.Messages() {
			all = append(all, m.Content())
		}
	case "pushover":
		for _, m := range o.pushover.Messages() {
			all = append(all, m.Title+"\n"+m.Message)
		}
	case "mail":
		all = o.mail.Mails()
	case "hook":
		o.mu.Lock()
		defer o.mu.Unlock()
		all = append(all, o.hooked...)
	}
	return strings.Join(all, "\n")
}

// Whatever way is broken, another one says so, once; and that it is back. The real notifiers, each with each.
func TestEachWayTellsOfTheOthers(t *testing.T) {
	for _, tt := range []struct{ broken, told string }{
		{"#ops", "pushover"}, {"#ops", "hook"}, {"#ops", "mail"},
		{"pushover", "#ops"}, {"hook", "#ops"}, {"mail", "#ops"},
		{"pushover", "mail"}, {"mail", "hook"}, {"hook", "mail"}, {"hook", "pushover"}, {"mail", "pushover"}, {"pushover", "hook"},
	} {
		t.Run(tt.broken+" by "+tt.told, func(t *testing.T) {
			t.Parallel()
			o := newWorld(t)
			var ways []string
			env := map[string]string{"LOOKOUT_GELF": "off"}
			rules := `[{name: bad, query: "level>=error", channel: "` + tt.broken + `"}`
			for _, way := range []string{tt.broken, tt.told} {
				switch way {
				case "#ops":
					env["LOOKOUT_SLACK_TOKEN"], env["LOOKOUT_SLACK_API"] = "xoxb-1", o.slack.URL()
				case "pushover":
					env["LOOKOUT_PUSHOVER_TOKEN"], env["LOOKOUT_PUSHOVER_USER"], env["LOOKOUT_PUSHOVER_API"] = strings.Repeat("t", 30), strings.Repeat("u", 30), o.pushover.URL()
				case "hook":
					ways = append(ways, `hook: {url: "`+o.hook.URL+`"}`)
				case "mail":
					ways = append(ways, `mail: {type: email, server: "`+o.mail.Address()+`", tls: none, from: a@example.com, to: b@example.com}`)
				}
			}
			if tt.told == "#ops" { // it is known by another rule alone
				rules += `, {name: other, query: "level>=error never", channel: "#ops"}`
			}
			env["LOOKOUT_RULES"], env["LOOKOUT_WAYS"] = rules+"]", "{"+strings.Join(ways, ", ")+"}"
			o.damage(tt.broken)
			a := start(t, options(t, env))
			if code, text := send(t, a, "/api/v1/events", `{"service":"shop","level":"error","message":"no stock"}`); code != 200 {
				t.Fatal(code, text)
			}
			title := "alerts for " + tt.broken + " cannot be delivered"
			eventually(t, func() bool { return strings.Contains(o.has(tt.told), title) }, func() string { return o.has(tt.told) })
			if text := o.has(tt.told); strings.Contains(text, "no stock") || strings.Contains(text, "xoxb-1") || strings.Contains(text, strings.Repeat("t", 30)) {
				t.Errorf("it is told\n%s", text)
			}
			o.damage("")
			if err := a.Reload(a.o.Config); err != nil { // tries at once
				t.Fatal(err)
			}
			eventually(t, func() bool { return strings.Contains(o.has(tt.broken), "no stock") }, func() string { return o.has(tt.broken) })
			back := "alerts for " + tt.broken + " are delivered again"
			eventually(t, func() bool { return strings.Contains(o.has(tt.told), back) }, func() string { return o.has(tt.told) })
			if n := strings.Count(strings.ReplaceAll(o.has(tt.told), "\r\n", "\n"), "Subject: lookout: "+title); tt.told == "mail" && n != 1 {
				t.Errorf("it is told %d times:\n%s", n, o.has(tt.told))
			}
		})
	}
}

// eventually waits for something, five minutes at most.
func eventually(t *testing.T, is func() bool, now func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatalf("it does not come; there is\n%s", now())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
