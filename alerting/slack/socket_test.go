package slack_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/slack"
)

const appToken = "xapp-1-A1-s3cr3t-canary"

// actions notes what was asked for, and answers as told.
type actions struct {
	mu     sync.Mutex
	calls  []string
	answer func(ctx context.Context, call string) error
}

func (a *actions) do(ctx context.Context, call string) error {
	a.mu.Lock()
	a.calls = append(a.calls, call)
	answer := a.answer
	a.mu.Unlock()
	if answer == nil {
		return nil
	}
	return answer(ctx, call)
}

func (a *actions) Acknowledge(ctx context.Context, id uint64, by string) error {
	return a.do(ctx, fmt.Sprintf("acknowledge %d by %s", id, by))
}

func (a *actions) SilenceIncident(ctx context.Context, id uint64, d time.Duration, by string) error {
	return a.do(ctx, fmt.Sprintf("silence %d for %v by %s", id, d, by))
}

func (a *actions) ExpectIncident(ctx context.Context, id uint64, by string) error {
	return a.do(ctx, fmt.Sprintf("expect %d by %s", id, by))
}

// will sets what is answered from now on.
func (a *actions) will(answer func(ctx context.Context, call string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func (a *actions) done() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.calls, ", ")
}

// desk is a fake Slack whose buttons are listened to, in a synctest bubble.
type desk struct {
	t       *testing.T
	fake    *alertingtest.FakeSlack
	n       *slack.Notifier
	actions *actions
	log     *logText
}

type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var ann = alertingtest.SlackUser{ID: "U7", Name: "ann"}

func firing() alerting.Message {
	return alerting.Message{ID: 12, State: alerting.Firing, Severity: alerting.Error, Title: "[error] shop: no stock", Expectable: true, Link: "http://l/?q=1"}
}

func inDesk(t *testing.T, test func(d *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := alertingtest.NewUnlistening()
		f.Require(token)
		f.RequireApp(appToken)
		d := &desk{t: t, fake: f, actions: &actions{}, log: &logText{}}
		d.n = notifier(t, slack.Options{AppToken: appToken, API: f.URL(), Transport: f.Transport(), Dial: f.Dial})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- d.n.Listen(ctx, d.actions, slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
		}()
		synctest.Wait()
		test(d)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		f.Close()
		for _, secret := range []alertingtest.Secret{token, appToken, "of-the-fake"} { // the last: tickets and Slack's own tokens
			if leak := secret.Leak(d.log.String()); leak != "" {
				t.Error(leak)
			}
		}
	})
}

// post sends a message and returns it as the channel shows it.
func (d *desk) post(m alerting.Message) alertingtest.SlackMessage {
	d.t.Helper()
	if _, err := d.n.Send(d.t.Context(), "#ops", m); err != nil {
		d.t.Fatal(err)
	}
	all := d.fake.Messages()
	return all[len(all)-1]
}

func TestButtonsOfAState(t *testing.T) {
	inDesk(t, func(d *desk) {
		for _, tt := range []struct {
			change func(m *alerting.Message)
			want   string
		}{
			{func(*alerting.Message) {}, "Acknowledge, Silence 1 h, Silence 1 day, This is expected, Open in lookout"},
			{func(m *alerting.Message) { m.Expectable = false }, "Acknowledge, Silence 1 h, Silence 1 day, Open in lookout"},
			{func(m *alerting.Message) { m.State = alerting.Acknowledged }, "Silence 1 h, Silence 1 day, This is expected, Open in lookout"},
			{func(m *alerting.Message) { m.State = alerting.Silenced }, "Acknowledge, Silence 1 h, Silence 1 day, This is expected, Open in lookout"},
			{func(m *alerting.Message) { m.State = alerting.Resolved }, "Open in lookout"},
			{func(m *alerting.Message) { m.State, m.Link = alerting.Resolved, "" }, ""},
			{func(m *alerting.Message) { m.ID = 0 }, "Open in lookout"},
			{func(m *alerting.Message) { m.Plain = true }, ""},
		} {
			m := firing()
			tt.change(&m)
			if got := strings.Join(d.post(m).Buttons(), ", "); got != tt.want {
				t.Errorf("%+v has the buttons %q, want %q", m, got, tt.want)
			}
		}
	})
	f, n := fake(t)
	if _, err := n.Send(t.Context(), "#ops", firing()); err != nil {
		t.Fatal(err)
	}
	if m := f.Messages()[0]; len(m.Buttons()) != 0 || !strings.Contains(m.Content(), "<http://l/?q=1|Open in lookout>") {
		t.Errorf("without Socket Mode: %q, %s", m.Buttons(), m.Content())
	}
}

func TestPresses(t *testing.T) {
	inDesk(t, func(d *desk) {
		m := d.post(firing())
		for i, text := range m.Buttons() {
			if _, err := d.fake.Press(d.t.Context(), m, text, ann); err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		want := "acknowledge 12 by ann, silence 12 for 1h0m0s by ann, silence 12 for 24h0m0s by ann, expect 12 by ann"
		if got := d.actions.done(); got != want {
			t.Errorf("done: %s\nwant: %s", got, want)
		}
		if e := d.fake.Ephemerals(); len(e) != 0 {
			t.Errorf("said to the user: %+v", e)
		}
	})
}

// A press is acknowledged when it is durable, and no sooner; what comes again is done once.
func TestPressIsDurableFirst(t *testing.T) {
	inDesk(t, func(d *desk) {
		m := d.post(firing())
		d.actions.will(func(ctx context.Context, _ string) error {
			<-ctx.Done() // the disk is full
			return ctx.Err()
		})
		p, err := d.fake.Press(d.t.Context(), m, "Acknowledge", ann)
		if !errors.Is(err, alertingtest.ErrNotAcknowledged) {
			t.Errorf("the press was acknowledged: %v", err)
		}
		d.actions.will(func(context.Context, string) error {
			time.Sleep(2 * time.Second) // the bubble's clock
			return nil
		})
		before := time.Now()
		if err := d.fake.Deliver(d.t.Context(), p); err != nil || time.Since(before) != 2*time.Second {
			t.Errorf("acknowledged after %v: %v", time.Since(before), err)
		}
		for range 3 {
			if err := d.fake.Deliver(d.t.Context(), p); err != nil {
				t.Error(err)
			}
		}
		if _, err := d.fake.Press(d.t.Context(), m, "Acknowledge", alertingtest.SlackUser{ID: "U8", Name: "bob"}); err != nil {
			t.Error(err)
		}
		if got, want := d.actions.done(), "acknowledge 12 by ann, acknowledge 12 by ann, acknowledge 12 by bob"; got != want {
			t.Errorf("done: %s, want %s", got, want)
		}
		if !strings.Contains(d.log.String(), "could not be noted") {
			t.Errorf("the log says\n%s", d.log)
		}
	})
}

// Who presses a button of what is over is told so, and nobody else.
func TestPressOfWhatIsOver(t *testing.T) {
	inDesk(t, func(d *desk) {
		m := d.post(firing())
		d.actions.will(func(context.Context, string) error { return fmt.Errorf("incident 12: %w", alerting.ErrNotFound) })
		if _, err := d.fake.Press(d.t.Context(), m, "Silence 1 h", ann); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		said := d.fake.Ephemerals()
		if len(said) != 1 || said[0].User != "U7" || said[0].Channel != m.ID || !strings.Contains(said[0].Text, "is over") {
			t.Errorf("said: %+v", said)
		}
		if n := len(d.fake.Messages()); n != 1 {
			t.Errorf("%d messages", n)
		}
		d.actions.will(func(context.Context, string) error { return errors.New("the rule has <no> list") })
		if _, err := d.fake.Press(d.t.Context(), m, "This is expected", ann); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if said := d.fake.Ephemerals(); len(said) != 2 || said[1].Text != "That cannot be done: the rule has <no> list" {
			t.Errorf("said: %+v", said)
		}
	})
}

// Whatever comes over the connection, it stays and goes on.
func TestOddEnvelopes(t *testing.T) {
	inDesk(t, func(d *desk) {
		m := d.post(firing())
		for _, odd := range []any{
			"not JSON", "{", "null", "[]", `"x"`, "{}",
			map[string]any{"type": "events_api", "envelope_id": "e", "payload": map[string]any{}},
			map[string]any{"type": "slash_commands", "envelope_id": "e"},
			map[string]any{"type": "interactive", "envelope_id": "e", "payload": "text"},
			map[string]any{"type": "interactive", "envelope_id": "e", "payload": nil},
			map[string]any{"type": "interactive", "envelope_id": "e", "payload": map[string]any{"type": "view_submission"}},
			map[string]any{"type": "interactive", "envelope_id": "e", "payload": map[string]any{"type": "block_actions", "actions": []any{
				map[string]any{"action_id": "lookout_acknowledge", "value": "-1"}, map[string]any{"action_id": "other", "value": "12"}, map[string]any{},
			}}},
		} {
			if err := d.fake.Tell(odd); err != nil {
				t.Fatalf("%v: %v", odd, err)
			}
			synctest.Wait()
		}
		if _, err := d.fake.Press(d.t.Context(), m, "Acknowledge", ann); err != nil {
			t.Error(err)
		}
		if d.actions.done() != "acknowledge 12 by ann" || d.fake.Connected() != 1 {
			t.Errorf("done: %s, over %d connections", d.actions.done(), d.fake.Connected())
		}
	})
}

// A connection that ends is made anew: at once when Slack asks for it, and the old one is read until it ends.
func TestReconnects(t *testing.T) {
	inDesk(t, func(d *desk) {
		m := d.post(firing())
		press := func() {
			t.Helper()
			if _, err := d.fake.Press(d.t.Context(), m, "Acknowledge", ann); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		if d.fake.Connected() != 1 {
			t.Errorf("%d connections in a minute", d.fake.Connected())
		}
		d.fake.Disconnect("refresh_requested")
		synctest.Wait()
		if d.fake.Connected() != 2 || d.fake.Connections() != 2 {
			t.Errorf("%d connections, %d of them up", d.fake.Connected(), d.fake.Connections())
		}
		press()
		time.Sleep(time.Minute)
		if d.fake.Connections() != 1 {
			t.Errorf("%d connections are up", d.fake.Connections())
		}
		d.fake.Drop()
		time.Sleep(2 * time.Second)
		press()
		d.fake.Freeze() // a dead network: nobody says that the connection is gone
		time.Sleep(2 * time.Minute)
		press()
		if got := strings.Count(d.actions.done(), "acknowledge 12"); got != 3 || d.fake.Connected() != 4 {
			t.Errorf("%d presses over %d connections", got, d.fake.Connected())
		}
		if s := d.n.Stats(); s != (slack.Stats{Connected: true, Reconnects: 3, Presses: 3}) {
			t.Errorf("%+v", s)
		}
		d.fake.RequireApp("xapp-another")
		d.fake.Drop()
		synctest.Wait()
		if s := d.n.Stats(); s.Connected || s.Reconnects != 3 {
			t.Errorf("without a connection: %+v", s)
		}
		if err := d.n.CheckSocket(d.t.Context()); err == nil || !strings.Contains(err.Error(), "invalid_auth") {
			t.Errorf("the app's token is wrong: %v", err)
		}
		d.fake.RequireApp(appToken)
		if err := d.n.CheckSocket(d.t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// What goes wrong is tried again for ever, ever more seldom, and told once.
func TestReconnectsBackOff(t *testing.T) {
	for _, tt := range []struct {
		reply  alertingtest.Reply
		tries  [2]int64 // least and most in an hour
		reason string
	}{
		{alertingtest.Status(503), [2]int64{15, 25}, "503"},
		{alertingtest.Lost(), [2]int64{15, 25}, "EOF"},
		{alertingtest.RateLimited(10 * time.Minute), [2]int64{5, 7}, "rate limit"},
		{alertingtest.SlackError("invalid_auth"), [2]int64{10, 14}, "invalid_auth"},
		{alertingtest.SlackError("missing_scope"), [2]int64{10, 14}, "missing_scope"},
		{alertingtest.Body(`{"ok":true,"url":"wss://[ticket-9-of-the-fake"}`), [2]int64{15, 25}, ""},
		{alertingtest.Body(`{"ok":true,"url":"ws://slack.test/link/?ticket=ticket-7-of-the-fake"}`), [2]int64{15, 25}, "403"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			inDesk(t, func(d *desk) {
				var tries atomic.Int64
				var mended atomic.Bool
				d.fake.Behave(func(c alertingtest.Call) alertingtest.Reply {
					if c.Method == "apps.connections.open" && !mended.Load() {
						tries.Add(1)
						return tt.reply
					}
					return alertingtest.OK()
				})
				d.fake.Drop()
				time.Sleep(time.Hour)
				if n := tries.Load(); n < tt.tries[0] || n > tt.tries[1] {
					t.Errorf("%d tries in an hour, want %v", n, tt.tries)
				}
				if n := strings.Count(d.log.String(), "level=WARN"); n != 1 || !strings.Contains(d.log.String(), tt.reason) {
					t.Errorf("%d warnings:\n%s", n, d.log)
				}
				mended.Store(true)
				time.Sleep(12 * time.Minute)
				m := d.post(firing())
				if _, err := d.fake.Press(d.t.Context(), m, "Acknowledge", ann); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Connections that end as soon as they are made are no good: the pauses grow as if there were none.
func TestShortConnections(t *testing.T) {
	for _, reason := range []string{"link_disabled", ""} {
		inDesk(t, func(d *desk) {
			end := time.Now().Add(time.Hour)
			for time.Now().Before(end) {
				if d.fake.Connections() > 0 {
					if reason != "" {
						d.fake.Disconnect(reason)
					}
					d.fake.Drop()
				}
				time.Sleep(100 * time.Millisecond)
			}
			if n := d.fake.Connected(); n < 10 || n > 30 {
				t.Errorf("reason %q: %d connections in an hour", reason, n)
			}
		})
	}
}

func TestAppToken(t *testing.T) {
	for _, bad := range []string{"xoxb-1", "xapp-1 2", "xapp-1\nxapp-2", `xapp-"1"`} {
		if _, err := slack.New(slack.Options{Token: token, AppToken: bad}); err == nil {
			t.Errorf("%q passed", bad)
		} else if leak := alertingtest.Secret(bad).Leak(err.Error()); leak != "" {
			t.Error(leak)
		}
	}
	n, err := slack.New(slack.Options{Token: token, AppToken: appToken + "\n"})
	if err != nil || !n.Buttons() {
		t.Fatalf("%v, buttons %v", err, n != nil && n.Buttons())
	}
	n.Close()
}
