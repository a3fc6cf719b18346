package alerting_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

// bySeverity are rules by what a message begins with.
func bySeverity(t *testing.T) (rules []alerting.Rule) {
	for _, s := range []alerting.Severity{alerting.Warning, alerting.Error, alerting.Critical} {
		r := rule(t, string(s), fmt.Sprintf("%q", s+" "), "#errors")
		r.Severity = s
		rules = append(rules, r)
	}
	return rules
}

// brief are the channel's messages: the part of the title that tests write, in order.
func (r *duo) brief() string {
	var list []string
	for _, title := range r.titles("#errors") {
		_, what, ok := strings.Cut(title, "shop: ")
		if !ok {
			what, _, _ = strings.Cut(title, ":")
		}
		list = append(list, what)
	}
	return strings.Join(list, ", ")
}

// A backlog goes out worst first, then oldest first.
func TestWorstFirst(t *testing.T) {
	inDuo(t, func(r *duo) {
		var out atomic.Bool
		out.Store(true)
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if out.Load() {
				return failure(alerting.Wait)
			}
			return nil
		}
		r.opts.Rules = bySeverity(t)
		r.run()
		for _, what := range []string{"info", "warning a", "error b", "critical c", "warning d", "error e", "critical f"} {
			r.source.Add(ev(event.Error, "shop", what))
			r.pass(time.Second)
		}
		r.halt() // kept in this order
		r.run()
		out.Store(false)
		r.pass(2 * time.Minute)
		if got := r.brief(); got != "critical c, critical f, error b, error e, warning a, warning d" {
			t.Errorf("messages %s", got)
		}
	})
}

// What is critical has a budget and an overview of its own: a flood of errors does not keep it, nor the reverse.
func TestBudgetsBySeverity(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget = 2
		r.opts.Rules = bySeverity(t)
		r.run()
		for i := range 5 {
			r.source.Add(ev(event.Error, "shop", "error "+word(i)), ev(event.Error, "shop", "warning "+word(i)))
		}
		r.pass(10 * time.Second)
		if got, want := r.brief(), fmt.Sprintf("error %s, error %s, 8 more held", word(0), word(1)); got != want {
			t.Errorf("messages %s, want %s", got, want)
		}
		for i := range 5 {
			r.source.Add(ev(event.Error, "shop", "critical "+word(i)))
		}
		r.pass(10 * time.Second)
		if got, want := r.brief(), fmt.Sprintf("error %s, error %s, 8 more held, critical %s, critical %s, 3 more critical held", word(0), word(1), word(0), word(1)); got != want {
			t.Errorf("messages %s, want %s", got, want)
		}
		sent := r.out.Sent("#errors")
		if last := sent[len(sent)-1].Message; last.Severity != alerting.Critical || last.Lines[0] != "By rule: critical 3" {
			t.Errorf("the overview is %+v", last)
		}
		// What still goes on when the flood is over is told, the worst first; what does not is not.
		r.pass(5 * time.Minute)
		r.source.Add(ev(event.Error, "shop", "warning "+word(4)), ev(event.Error, "shop", "error "+word(4)), ev(event.Error, "shop", "critical "+word(4)))
		r.pass(time.Minute)
		if got, want := r.brief(), fmt.Sprintf("3 more critical held, critical %s, error %s, warning %[1]s", word(4), word(4)); !strings.HasSuffix(got, want) {
			t.Errorf("messages %s, want at the end %s", got, want)
		}
		if s := r.stats(); s.Held != 11 || s.Outbox != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// What was held and nothing but its end resolves is told when there is budget, though no event comes.
func TestHeldIsToldByTime(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget = 1
		r.opts.Rules[0].Channels = []string{"#errors"}
		r.run()
		r.source.Add(down("one"))
		r.pass(time.Second)
		r.source.Add(down("two"), down("three"))
		r.pass(time.Minute)
		r.source.Add(up("three"))
		r.halt()
		r.run()
		r.pass(10 * time.Minute)
		sent := r.out.Sent("#errors")
		if len(sent) != 3 || !strings.Contains(sent[2].Message.Title, "two is down") || sent[2].Message.State != alerting.Firing {
			t.Errorf("messages %+v", sent)
		}
	})
}

// While an incident goes on its message says how often, once a minute at most, and is left alone when nothing is new.
func TestCountsAreEdited(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "#errors")}
		r.run()
		edits := func() int { return r.out.Sent("#errors")[0].Edits }
		for range 10 * 6 { // ten minutes
			r.source.Add(ev(event.Error, "shop", "no stock"))
			r.pass(10 * time.Second)
		}
		if n := edits(); n < 9 || n > 10 {
			t.Errorf("%d edits in ten minutes", n)
		}
		r.halt()
		r.run()
		r.pass(10 * time.Minute)
		n := edits()
		r.shows("firing 60 times from 00:00:00Z to 00:09:50Z")
		r.pass(5 * time.Minute)
		if edits() != n || len(r.out.Sent("#errors")) != 1 {
			t.Errorf("%d edits of what has not changed", edits()-n)
		}
		r.pass(time.Hour)
		r.shows("resolved fired 00:00:00Z, resolved 00:39:50Z: quiet since 00:09:50Z · 60 times from 00:00:00Z to 00:09:50Z")
		if edits() != n+1 {
			t.Errorf("%d edits for the end", edits()-n)
		}
	})
}

// An edited count keeps the words of the template.
func TestCountsAreEditedInTheirTemplate(t *testing.T) {
	inHistory(t, func(r *duo, _ *alertingtest.Historian) {
		own := rule(t, "own", "level>=error service:shop", "#errors")
		own.Template = parseTemplate(t, "{{.Count}}× {{.Message}}")
		r.opts.Rules = []alerting.Rule{own, rule(t, "other", "level>=error service:pay", "#dressed")}
		r.opts.Policy.Templates = map[string]*alerting.Template{"#dressed": parseTemplate(t, "{{.Service}}: {{.Count}}×")}
		r.run()
		for range 3 {
			r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Error, "pay", "no card"))
			r.pass(time.Minute)
		}
		r.pass(time.Minute)
		for channel, want := range map[string]string{"#errors": "3× no stock", "#dressed": "pay: 3×"} {
			if sent := r.out.Sent(channel); len(sent) != 1 || sent[0].Message.Title != want || sent[0].Edits == 0 {
				t.Errorf("%s: %+v, want %q", channel, sent, want)
			}
		}
	})
}

// All edits of a channel share 40 a minute, the worst first; a new message does not wait for any of them.
func TestEditsShareAPace(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		r.opts.Limits.Budget = 200
		r.opts.Rules = bySeverity(t)
		r.run()
		each := func() {
			var events []event.Event
			for i := range 60 {
				for _, s := range []string{"warning ", "critical "} {
					events = append(events, ev(event.Error, "shop", s+word(i)))
				}
			}
			r.source.Add(events...) // at once: of one that comes alone the count is edited before the worse are there
		}
		each()
		r.pass(5 * time.Minute) // 120 messages at one a second
		edits := func() (n map[alerting.Severity]int) {
			n = map[alerting.Severity]int{}
			for _, s := range r.out.Sent("#errors") {
				n[s.Message.Severity] += s.Edits
			}
			return n
		}
		if n := edits(); len(n) != 2 || n[alerting.Critical]+n[alerting.Warning] != 0 {
			t.Fatalf("edits %v of what happened once", n)
		}
		each()
		r.pass(time.Minute)
		if n := edits(); n[alerting.Critical] < 38 || n[alerting.Critical] > 46 || n[alerting.Warning] != 0 {
			t.Errorf("edits %v in a minute", n)
		}
		r.source.Add(ev(event.Error, "shop", "warning of something new"))
		r.pass(2 * time.Second)
		sent := r.out.Sent("#errors")
		if len(sent) != 121 || time.Since(sent[120].At) > 2*time.Second {
			t.Errorf("%d messages", len(sent))
		}
		r.pass(3 * time.Minute)
		if n := edits(); n[alerting.Critical] != 60 || n[alerting.Warning] != 60 {
			t.Errorf("edits %v at last", n)
		}
	})
}

// What nobody acknowledges is told again, in its thread, until somebody does or it is over; what rings by itself is not.
func TestRepeat(t *testing.T) {
	for _, end := range []string{"ack", "up", "silence"} {
		t.Run(end, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.opts.Rules[0].Channels = []string{"#errors"}
				r.opts.Rules[0].Repeat = 4 * time.Hour
				r.run()
				r.source.Add(down("sales"))
				r.pass(5 * time.Hour)
				r.halt()
				r.run()
				r.pass(4 * time.Hour)
				sent := r.out.Sent("#errors")
				if len(sent) != 3 || !sent[1].Reply || !sent[2].Reply || sent[2].Message.Again() != "Still firing: " {
					t.Fatalf("messages %+v", sent)
				}
				if text := sent[2].Message.Text(); !strings.Contains(text, "nobody has acknowledged: sent again 2 times") {
					t.Errorf("it says\n%s", text)
				}
				var err error
				switch end {
				case "ack":
					err = r.engine.Acknowledge(t.Context(), r.ids()["sales"], "anna")
				case "silence":
					var all alerting.Matchers
					if all, err = alerting.ParseMatchers("service=sales"); err == nil {
						_, err = r.engine.AddSilence(t.Context(), alerting.Silence{Matchers: all, Until: time.Now().Add(100 * time.Hour), Comment: "known", By: "anna"})
					}
				default:
					r.source.Add(up("sales"))
				}
				r.pass(24 * time.Hour)
				if err != nil || len(r.out.Sent("#errors")) != 3 {
					t.Errorf("%d messages after it is seen to, %v", len(r.out.Sent("#errors")), err)
				}
			})
		})
	}
	inDuo(t, func(r *duo) {
		r.opts.Limits.Poll = time.Hour
		r.opts.Rules[0].Repeat = 4 * time.Hour
		r.run()
		r.source.Add(down("sales"))
		r.pass(9 * time.Hour)
		if slack, pages := len(r.out.Sent()), len(r.paged.Sent()); slack != 3 || pages != 1 {
			t.Errorf("%d messages, %d pages of what rings by itself", slack, pages)
		}
	})
	// Without budget it is put off, not counted over and over.
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget, r.opts.Limits.Window = 1, 24*time.Hour
		r.opts.Rules[0].Channels = []string{"#errors"}
		r.opts.Rules[0].Repeat = time.Hour
		r.run()
		r.source.Add(down("sales"))
		r.pass(5*time.Hour + time.Minute)
		if s := r.stats(); s.Held != 5 || len(r.out.Sent("#errors")) != 2 {
			t.Errorf("%d held, %d messages", s.Held, len(r.out.Sent("#errors")))
		}
	})
}
