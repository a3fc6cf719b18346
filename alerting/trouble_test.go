package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

const dropped = "GELF messages are lost: kernel 3 since the start.\nRaise net.core.rmem_max."

func (r *rig) report(t alerting.Trouble) {
	r.t.Helper()
	if t.Kind == "" {
		t.Kind = "gelf"
	}
	if err := r.engine.Report(r.t.Context(), t); err != nil {
		r.t.Fatal(err)
	}
	r.pass(10 * time.Second)
}

// Trouble is told once, counted while it goes on, told again each hour when it is bad, and over when that is said.
func TestTrouble(t *testing.T) {
	inBubble(t, func(r *rig) {
		threads := alertingtest.NewHistorian(r.out)
		r.opts.Notifier = threads
		r.run()
		for range 5 { // 50 min
			r.report(alerting.Trouble{Severity: alerting.Error, Text: dropped, N: 100})
			r.pass(10 * time.Minute)
		}
		const title = "[error] lookout: GELF messages are lost: kernel 3 since the start."
		r.wantTitles("#errors", title)
		if m := r.out.Sent("#errors")[0].Message; !strings.Contains(m.Text(), "500 times") || !strings.Contains(m.Text(), "rmem_max") || m.State != "" || m.ID != 0 {
			t.Errorf("the message is %q\n%s", m.State, m.Text())
		}
		// What is so still, and did not happen again, keeps it open.
		for range 6 {
			r.report(alerting.Trouble{Severity: alerting.Error, Text: dropped})
			r.pass(10 * time.Minute)
		}
		sent := r.out.Sent("#errors")
		if len(sent) != 2 || !sent[1].Reply || !strings.Contains(sent[1].Message.Again()+sent[1].Message.Title, "Still firing: "+title) {
			t.Errorf("%d messages after an hour: %+v", len(sent), sent)
		}
		r.report(alerting.Trouble{Severity: alerting.Error, Text: "it has not happened since 10:00:00Z", N: 7, Over: true})
		if m := r.out.Sent("#errors")[0].Message; m.Heading() != "Resolved: "+title || !strings.Contains(m.Text(), "507 times") || !strings.Contains(m.Text(), "has not happened since") {
			t.Errorf("in the end it reads\n%s", m.Text())
		}
		n := len(r.out.Sent("#errors"))
		r.pass(3 * time.Hour)
		r.report(alerting.Trouble{Severity: alerting.Error, Text: "over", Over: true}) // once is enough
		if len(r.out.Sent("#errors")) != n {
			t.Errorf("%v after it was over", r.titles("#errors"))
		}
	})
}

// What comes and goes makes people notice once an hour at most, and no silence keeps it from them.
func TestTroubleThatComesAndGoes(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		ms, err := alerting.ParseMatchers(`rule=~".+"`)
		if err != nil {
			r.t.Fatal(err)
		}
		if _, err := r.engine.AddSilence(t.Context(), alerting.Silence{Matchers: ms, Until: r.clock.Now().Add(24 * time.Hour), By: "ann"}); err != nil {
			r.t.Fatal(err)
		}
		var times []time.Time
		for range 16 { // four hours
			before := len(r.out.Sent("#errors"))
			r.report(alerting.Trouble{Severity: alerting.Warning, Text: "Lines are refused.", N: 1})
			r.pass(12 * time.Minute)
			if len(r.out.Sent("#errors")) > before {
				times = append(times, r.clock.Now())
			}
			r.report(alerting.Trouble{Severity: alerting.Warning, Text: "over", Over: true})
			r.pass(3 * time.Minute)
		}
		if len(times) < 3 || len(times) > 4 {
			t.Errorf("told %d times in four hours, want about once an hour: %v", len(times), times)
		}
	})
}

// What is not said to be over is over when it was not reported for half an hour: lookout was restarted, say.
func TestTroubleThatIsForgotten(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.report(alerting.Trouble{Severity: alerting.Warning, Text: "Lines are refused.", N: 1})
		r.halt()
		r.run()
		r.pass(40 * time.Minute)
		if m := r.out.Sent("#errors")[0].Message; !strings.HasPrefix(m.Heading(), "Resolved: [warning] lookout: Lines are refused.") {
			t.Errorf("it reads %s", m.Text())
		}
	})
}

func TestTroubleIsChecked(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for _, bad := range []alerting.Trouble{{Text: "x"}, {Kind: "a|b", Text: "x"}, {Kind: "a\n", Text: "x"}, {Kind: strings.Repeat("a", 151), Text: "x"}, {Kind: "a"}} {
			if err := r.engine.Report(t.Context(), bad); err == nil {
				t.Errorf("%+v passed", bad)
			}
		}
		r.halt()
		r.opts.Fallbacks = nil
		r.run()
		r.report(alerting.Trouble{Text: "x"}) // there is nobody to tell
		r.pass(time.Minute)
		r.wantTitles("#errors")
	})
}

// A message about trouble that is refused for good, or whose template fails, is no trouble again.
func TestTroubleFeedsNothing(t *testing.T) {
	inBubble(t, func(r *rig) {
		fails, err := alerting.ParseTemplate("t", `{{if eq .Rule "self"}}{{index .Facts 99}}{{end}}{{.Title}}`)
		if err != nil {
			t.Fatal(err)
		}
		self := rule(t, "self", "service:lookout level>=warning", "#self")
		r.opts.Rules = append(r.opts.Rules, self)
		r.opts.Policy.Templates = map[string]*alerting.Template{"#self": fails, "#errors": fails}
		r.out.Answer = func(_ context.Context, channel string, m alerting.Message, _ alerting.Receipt) error {
			if strings.Contains(m.Text(), "lookout") || strings.Contains(m.Text(), "poison") {
				return failure(alerting.Fault)
			}
			return nil
		}
		r.run()
		r.report(alerting.Trouble{Severity: alerting.Error, Text: dropped, N: 1})
		r.source.Add(ev(event.Error, alerting.Service, "wrong"), ev(event.Error, "shop", "poison"))
		r.pass(time.Minute)
		if s := r.stats(); s.Dead != 3 || s.OwnDead != 2 || s.TemplateErrors == 0 || s.TemplateErrors != s.OwnTemplateErrors {
			t.Errorf("dead letters %d, own %d; templates %d, own %d", s.Dead, s.OwnDead, s.TemplateErrors, s.OwnTemplateErrors)
		}
	})
}

// A channel that takes nothing for ten minutes, though it never says that it is broken, is told by another one; and that it is back.
func TestOutageIsTold(t *testing.T) {
	for _, class := range []alerting.Class{alerting.Transient, alerting.Wait} {
		t.Run(string(class), func(t *testing.T) {
			inDuo(t, func(r *duo) {
				var out, none atomic.Bool
				r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
					if out.Load() {
						return &alerting.DeliveryError{Class: class, Err: errors.New("no route to host")}
					}
					return nil
				}
				r.paged.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
					if none.Load() {
						return failure(alerting.Wait)
					}
					return nil
				}
				r.opts.Rules = []alerting.Rule{downRule(t, "#errors")}
				r.opts.Fallbacks = []string{"#errors", "pushover"}
				r.run()
				out.Store(true)
				r.source.Add(down("sales"))
				r.pass(9 * time.Minute)
				if sent := r.paged.Sent(); len(sent) != 0 {
					t.Errorf("told after nine minutes: %+v", sent)
				}
				r.pass(7 * time.Minute)
				sent := r.paged.Sent()
				if len(sent) != 1 || sent[0].Message.Title != "lookout: alerts for #errors cannot be delivered" || !strings.Contains(sent[0].Message.Text(), "no route to host. It has been so since 2000-01-01 00:00:00Z") {
					t.Fatalf("the other way has %+v", sent)
				}
				r.halt()
				r.run()
				r.pass(2 * time.Hour)
				if sent := r.paged.Sent(); len(sent) != 1 {
					t.Errorf("told %d times over a restart and two hours", len(sent))
				}
				out.Store(false)
				r.pass(10 * time.Minute)
				if sent := r.paged.Sent(); len(sent) != 2 || sent[1].Message.Title != "lookout: alerts for #errors are delivered again" {
					t.Errorf("it is back: %+v", sent)
				}
				// Both are out, and this one is back first: what could not be told need not be.
				out.Store(true)
				none.Store(true)
				r.pass(2 * time.Hour)
				r.source.Add(up("sales"))
				r.pass(20 * time.Minute)
				out.Store(false)
				r.pass(10 * time.Minute)
				none.Store(false)
				r.pass(20 * time.Minute)
				if sent := r.paged.Sent(); len(sent) != 2 {
					t.Errorf("%d messages, the last %q: that it was out was not said, so that it is back need not be", len(sent), sent[len(sent)-1].Message.Title)
				}
				if n := r.stats().Outbox; n != 0 {
					t.Errorf("%d messages wait in the end", n)
				}
			})
		})
	}
}

// Of several fallbacks one that takes messages is told.
func TestFallbackThatIsOut(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.out.Answer = func(_ context.Context, channel string, _ alerting.Message, _ alerting.Receipt) error {
			if channel != "#more" {
				return failure(alerting.Broken)
			}
			return nil
		}
		r.paged.Answer = r.out.Answer
		r.opts.Rules = []alerting.Rule{downRule(t, "pushover")}
		r.opts.Fallbacks = []string{"#errors", "pushover", "#more"}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		// #errors was told first and is broken as well, then the one that is left.
		r.wantTitles("#more", "lookout: alerts for #errors cannot be delivered")
		r.report(alerting.Trouble{Severity: alerting.Error, Text: dropped, N: 1})
		r.pass(time.Minute)
		if got := r.titles("#more"); len(got) != 2 || !strings.Contains(got[1], "GELF messages are lost") {
			t.Errorf("#more has %q", got)
		}
	})
}

// Figures are by channel and rule, and those of what is gone from the configuration go away.
func TestStatsByChannel(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules = append(r.opts.Rules, rule(t, "gone", "level=warning", "#gone"))
		var fails atomic.Bool
		r.out.Answer = func(_ context.Context, channel string, m alerting.Message, _ alerting.Receipt) error {
			switch {
			case channel == "#gone" && fails.Load():
				return failure(alerting.Transient)
			case strings.Contains(m.Text(), "poison"):
				return failure(alerting.Fault)
			}
			return nil
		}
		r.run()
		fails.Store(true)
		for i := range 30 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.source.Add(ev(event.Warning, "shop", "low"), ev(event.Critical, "shop", "poison"), ev(event.Info, "shop", "nothing"))
		r.pass(time.Minute)
		s := r.stats()
		if g := s.Channels["#gone"]; g.Waiting != 1 || g.Oldest != time.Minute || g.Parked || g.Outcomes[alerting.OutcomeTransient] < 3 || g.Outcomes[alerting.OutcomeSent] != 0 {
			t.Errorf("#gone: %+v", g)
		}
		if c := s.Channels["#errors"]; c.Outcomes[alerting.OutcomeSent] != 21 || c.Held != 10 || c.Dead != 1 || c.Outcomes[alerting.OutcomeFault] != 2 {
			t.Errorf("#errors: %+v", c)
		}
		if s.Decided != 33 || fmt.Sprint(s.Matched) != "map[errors:31 gone:1 shipped:0]" || len(s.Channels) != 3 {
			t.Errorf("decided %d, matched %v, channels %v", s.Decided, s.Matched, s.Channels)
		}
		rules := r.opts.Rules[:1]
		if err := r.engine.Reload(rules); err != nil {
			t.Fatal(err)
		}
		fails.Store(false)
		r.pass(10 * time.Minute)
		s = r.stats()
		if _, ok := s.Channels["#gone"]; ok || len(s.Channels) != 1 || len(s.Matched) != 1 {
			t.Errorf("after a reload: %v, %v", s.Channels, s.Matched)
		}
	})
}

// What a rule leaves out since it knows too many series is counted, over restarts too.
func TestLeftOut(t *testing.T) {
	inBubble(t, func(r *rig) {
		many := rule(t, "many", "level=info", "#errors")
		many.Mode, many.Above, many.By = alerting.ModeRate, 1_000_000, []string{"service"}
		r.opts.Rules = []alerting.Rule{many}
		r.run()
		for i := range 1010 {
			r.source.Add(ev(event.Info, word(i), "x"))
		}
		r.pass(2 * time.Second)
		if s := r.stats(); s.LeftOut["many"] != 10 || len(s.LeftOut) != 1 {
			t.Errorf("left out: %v", s.LeftOut)
		}
		r.halt()
		r.run()
		r.pass(10 * time.Second)
		if s := r.stats(); s.LeftOut["many"] != 10 {
			t.Errorf("left out after a restart: %v", s.LeftOut)
		}
	})
}
