package alerting_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/internal/event"
)

// table is an engine whose Slack is the fake, through the real client.
type table struct {
	*rig
	slack  *alertingtest.FakeSlack
	backup *alertingtest.Recorder // the fallback, which goes another way
}

func inTable(t *testing.T, test func(r *table)) {
	t.Helper()
	inBubble(t, func(r *rig) {
		f := alertingtest.NewUnlistening()
		f.Require("xoxb-1")
		n, err := slack.New(slack.Options{Token: "xoxb-1", API: f.URL(), Transport: f.Transport()})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		backup := new(alertingtest.Recorder)
		r.opts.Notifier = alerting.Mux{Default: n, Ways: map[string]alerting.Notifier{"pushover": backup}}
		r.opts.Rules = []alerting.Rule{downRule(t, "#errors")}
		r.opts.Fallbacks = []string{"pushover"}
		test(&table{r, f, backup})
	})
}

// texts are the top-level texts of the messages, a > in front of replies.
func (r *table) texts() []string {
	var texts []string
	for _, m := range r.slack.Messages() {
		text := m.Text
		if m.ThreadTS != "" {
			text = "> " + text
		}
		texts = append(texts, text)
	}
	return texts
}

func (r *table) wantTexts(want ...string) {
	r.t.Helper()
	if got := strings.Join(r.texts(), "\n"); got != strings.Join(want, "\n") {
		r.t.Errorf("Slack has\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

const salesDown = "[error] sales is down: status 503"

// Each row of the design's table of errors, by a new message: what Slack answers, and what alerting then does.
func TestSlackTable(t *testing.T) {
	type outcome struct {
		class     alerting.Class
		pause     [2]time.Duration // until the next try, least and most
		parked    bool             // the channel is, and its fallback is told
		plain     bool             // the next try is plain text
		repeat    bool             // the next try may be a repeat
		there     bool             // Slack has the first try already
		deadAfter bool             // refused again, it is a dead letter
	}
	second := [2]time.Duration{time.Second, 1200 * time.Millisecond}
	waits := func(d time.Duration) outcome {
		return outcome{class: alerting.Wait, pause: [2]time.Duration{d, d + d/10 + time.Millisecond}}
	}
	// Slack's answer says that it has not taken the message, or may: that is what a repeat is said by.
	again := outcome{class: alerting.Transient, pause: second, repeat: true}
	broken := outcome{class: alerting.Broken, pause: [2]time.Duration{5 * time.Minute, 5*time.Minute + time.Second}, parked: true}
	fault := outcome{class: alerting.Fault, pause: second, plain: true, deadAfter: true}
	lost := again
	lost.there = true
	type row struct {
		name  string
		reply alertingtest.Reply
		want  outcome
	}
	rows := []row{
		{"429 with Retry-After", alertingtest.RateLimited(17 * time.Second), waits(17 * time.Second)},
		{"429 without", alertingtest.RateLimited(-1), waits(30 * time.Second)},
		{"429 with a date", alertingtest.RateLimited(-1).WithHeader("Wed, 21 Oct 2026 07:28:00 GMT"), waits(30 * time.Second)},
		{"500", alertingtest.Status(500), again},
		{"502", alertingtest.Status(502), again},
		{"503", alertingtest.Status(503), again},
		{"answer lost", alertingtest.Lost(), lost},
		{"hangs", alertingtest.Hang(), outcome{class: alerting.Transient, pause: [2]time.Duration{31 * time.Second, 32 * time.Second}, repeat: true}},
	}
	for _, codes := range []struct {
		want  outcome
		codes string
	}{
		{waits(30 * time.Second), "ratelimited rate_limited"},
		{again, "internal_error fatal_error service_unavailable request_timeout team_added_to_org update_failed"},
		{broken, "invalid_auth not_authed account_inactive token_revoked token_expired missing_scope no_permission channel_not_found not_in_channel " +
			"is_archived restricted_action restricted_action_read_only_channel restricted_action_thread_only_channel restricted_action_non_threadable_channel " +
			"org_login_required ekm_access_denied"},
		{fault, "msg_too_long msg_blocks_too_long invalid_blocks invalid_blocks_format too_many_attachments no_text"},
	} {
		for _, code := range strings.Fields(codes.codes) {
			rows = append(rows, row{code, alertingtest.SlackError(code), codes.want})
		}
	}
	for _, tt := range rows {
		t.Run(tt.name, func(t *testing.T) {
			inTable(t, func(r *table) {
				var times [2]time.Time
				r.slack.Script(tt.reply)
				r.slack.Behave(func(c alertingtest.Call) alertingtest.Reply {
					if c.Number < 2 {
						times[c.Number] = time.Now()
					}
					return alertingtest.OK()
				})
				r.run()
				times[0] = time.Now()
				r.source.Add(down("sales"))
				r.pass(500 * time.Millisecond)
				if got := r.slack.Calls(); len(got) != 1 {
					t.Fatalf("%d calls at first", len(got))
				}
				if tt.want.there != (len(r.slack.Messages()) == 1) {
					t.Errorf("%d messages at first", len(r.slack.Messages()))
				}
				s := r.stats()
				if tt.name != "hangs" && (s.Failed[tt.want.class] != 1 || len(s.Failed) != 1) || s.Outbox != 1 || (len(s.Parked) == 1) != tt.want.parked {
					t.Errorf("after the failure: %+v", s)
				}
				r.pass(10 * time.Minute)
				if pause := times[1].Sub(times[0]); pause < tt.want.pause[0] || pause > tt.want.pause[1] {
					t.Errorf("tried again after %v, want %v to %v", pause, tt.want.pause[0], tt.want.pause[1])
				}
				messages := r.slack.Messages()
				last := messages[len(messages)-1]
				if n := len(r.slack.Calls()); n != 2 || len(messages) != map[bool]int{false: 1, true: 2}[tt.want.there] {
					t.Errorf("%d calls, %d messages", n, len(messages))
				}
				if (last.Attachments == nil) != tt.want.plain || strings.Contains(last.Content(), alerting.NoteAgain) != tt.want.repeat {
					t.Errorf("plain %v, repeat %v: %s", last.Attachments == nil, tt.want.repeat, last.Content())
				}
				told := r.backup.Sent()
				if tt.want.parked != (len(told) == 2 && strings.Contains(told[0].Message.Text(), tt.name) && strings.Contains(told[1].Message.Title, "are delivered again")) || !tt.want.parked && len(told) != 0 {
					t.Errorf("the fallback was told %d times: %+v", len(told), told)
				}
				if s := r.stats(); s.Outbox != 0 || s.Sent != uint64(1+len(told)) || len(s.Parked) != 0 || s.DeadLetters != 0 || s.Failed[tt.want.class] != 1 {
					t.Errorf("in the end: %+v", s)
				}
			})
			if !tt.want.deadAfter {
				return
			}
			inTable(t, func(r *table) {
				r.slack.Script(tt.reply, tt.reply)
				r.run()
				r.source.Add(down("sales"))
				r.pass(10 * time.Minute)
				letters, err := r.engine.DeadLetters()
				if s := r.stats(); err != nil || len(letters) != 1 || !strings.Contains(letters[0].Error, tt.name) || s.DeadLetters != 1 || s.Outbox != 0 || len(r.slack.Calls()) != 2 {
					t.Errorf("letters %+v, %v, stats %+v", letters, err, s)
				}
				// It blocks nothing, and the incident can speak again.
				r.source.Add(down("billing"))
				r.pass(time.Minute)
				r.wantTexts("[error] billing is down: status 503")
			})
		})
	}
}

// An edit that is refused for good becomes a message of its own, whose receipt is used from then on.
func TestSlackRefusesAnEdit(t *testing.T) {
	for _, code := range []string{"message_not_found", "edit_window_closed", "cant_update_message", "is_inactive"} {
		t.Run(code, func(t *testing.T) {
			inTable(t, func(r *table) {
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				r.slack.Script(alertingtest.SlackError(code))
				r.source.Add(up("sales"))
				r.pass(time.Minute)
				r.wantTexts(salesDown, "Resolved: "+salesDown)
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				r.wantTexts(salesDown, salesDown, "> Again: "+salesDown)
				all := r.slack.Messages()
				if all[2].ThreadTS != all[1].TS || all[1].Edits != 1 || all[0].Edits != 0 {
					t.Errorf("the reply is below %s, the messages are %s and %s with %d and %d edits", all[2].ThreadTS, all[0].TS, all[1].TS, all[0].Edits, all[1].Edits)
				}
				if s := r.stats(); s.Failed[alerting.EditRefused] != 1 || s.DeadLetters != 0 || s.Outbox != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// A thread that cannot be replied to gets a new message instead; an edit that is limited, or whose answer is lost, is tried
// again and is no repeat.
func TestSlackThreadsAndEdits(t *testing.T) {
	for _, code := range []string{"cannot_reply_to_message", "thread_not_found", "thread_locked"} {
		inTable(t, func(r *table) {
			r.run()
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			r.source.Add(up("sales"))
			r.pass(time.Minute)
			r.slack.Script(alertingtest.SlackError(code))
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			texts := r.texts()
			if len(texts) != 3 || !strings.Contains(texts[1], "resolved after 1m") || texts[2] != salesDown {
				t.Errorf("%s: %q", code, texts)
			}
		})
	}
	for _, reply := range []alertingtest.Reply{alertingtest.RateLimited(20 * time.Second), alertingtest.Lost(), alertingtest.Status(502), alertingtest.SlackError("update_failed")} {
		inTable(t, func(r *table) {
			r.run()
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			r.slack.Script(reply)
			r.source.Add(up("sales"))
			r.pass(time.Minute)
			m := r.slack.Messages()
			if len(m) != 2 || m[0].Text != "Resolved: "+salesDown || strings.Contains(m[0].Content(), alerting.NoteAgain) || r.stats().Outbox != 0 {
				t.Errorf("%+v: %q", reply, r.texts())
			}
		})
	}
}

// Lookout keeps to Slack's rates by itself: many incidents in many channels, each told, edited and noted, are never limited.
func TestSlackIsNotFlooded(t *testing.T) {
	inTable(t, func(r *table) {
		r.slack.LimitRates()
		r.opts.Rules = nil
		for i := range 6 {
			one := downRule(t, fmt.Sprintf("#c%d", i))
			one.Name = word(i)
			r.opts.Rules = append(r.opts.Rules, one)
		}
		r.run()
		var events, ends []event.Event
		for i := range 15 {
			events, ends = append(events, down(word(i))), append(ends, up(word(i)))
		}
		r.source.Add(events...)
		r.pass(3 * time.Minute)
		r.source.Add(ends...)
		r.pass(20 * time.Minute)
		s := r.stats()
		if s.Sent != 90 || s.Edited < 90 || s.Noted != 90 || s.Outbox != 0 {
			t.Errorf("stats %+v", s)
		}
		if n := r.slack.Limited(); n != 0 {
			t.Errorf("%d calls were faster than Slack allows", n)
		}
	})
}

// A channel that is limited holds up no other one.
func TestSlackLimitsAChannel(t *testing.T) {
	inTable(t, func(r *table) {
		other := downRule(t, "#others")
		other.Name = "others"
		r.opts.Rules = append(r.opts.Rules, other)
		var limited atomic.Int64
		r.slack.Behave(func(c alertingtest.Call) alertingtest.Reply {
			if c.Channel == "#errors" && limited.Add(1) == 1 {
				return alertingtest.RateLimited(time.Minute)
			}
			return alertingtest.OK()
		})
		r.run()
		r.source.Add(down("sales"))
		r.pass(30 * time.Second)
		if len(r.slack.Messages("#errors")) != 0 || len(r.slack.Messages("#others")) != 1 {
			t.Errorf("messages %q", r.texts())
		}
		r.pass(time.Minute)
		if len(r.slack.Messages("#errors")) != 1 {
			t.Errorf("messages %q", r.texts())
		}
	})
}
