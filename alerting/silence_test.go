package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

func matchers(t testing.TB, text string) alerting.Matchers {
	t.Helper()
	ms, err := alerting.ParseMatchers(text)
	if err != nil {
		t.Fatal(err)
	}
	return ms
}

func (r *rig) silence(text string, lasts time.Duration) alerting.Silence {
	r.t.Helper()
	s, err := r.engine.AddSilence(context.Background(), alerting.Silence{
		Matchers: matchers(r.t, text), Until: time.Now().Add(lasts), By: "ann", Comment: "moving house",
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// oneState returns how the only incident stands.
func (r *rig) oneState() string {
	r.t.Helper()
	all, err := r.engine.Incidents()
	if err != nil || len(all) != 1 {
		r.t.Fatalf("incidents %+v, %v", all, err)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s ×%d", all[0].State, all[0].Muted, all[0].Count))
}

func TestASilenceKeepsQuietAndTellsWhatStillFires(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.silence(`service="sales"`, time.Hour)
		r.source.Add(down("sales"), down("billing"))
		r.pass(10 * time.Minute)
		r.wantTitles("#errors", "[error] billing is down: status 503")
		if got := r.paged.Sent(); len(got) != 1 {
			t.Errorf("%d pages, want billing's alone", len(got))
		}
		s := r.stats()
		if s.Silences != 1 || s.Muted["silence"] != 1 || s.Outbox != 0 {
			t.Errorf("stats: %d silences, muted %v, %d in the outbox", s.Silences, s.Muted, s.Outbox)
		}
		// A restart changes nothing.
		r.halt()
		r.run()
		r.source.Add(down("sales"))
		r.pass(45 * time.Minute)
		if got := len(r.out.Sent()); got != 1 {
			t.Errorf("%d messages during the silence", got)
		}
		r.pass(10 * time.Minute)
		r.wantTitles("#errors", "[error] billing is down: status 503", "[error] sales is down: status 503")
		if got := len(r.paged.Sent()); got != 2 {
			t.Errorf("%d pages, want sales' after the silence", got)
		}
		m := r.out.Sent()[1].Message
		if facts := strings.Join(m.Facts, "; "); !strings.Contains(facts, "2 times") {
			t.Errorf("the count did not go on: %s", facts)
		}
		if s := r.stats(); s.Silences != 0 || s.Muted["silence"] != 0 {
			t.Errorf("stats after the silence: %d silences, muted %v", s.Silences, s.Muted)
		}
	})
}

func TestASilenceStopsWhatRings(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		s := r.silence(`rule=down`, time.Hour)
		r.pass(time.Minute)
		fact := "silenced firing 00:00:00Z · silenced by ann until 2000-01-01 01:01:00Z: moving house"
		fact = strings.Replace(fact, "silenced firing", "silenced", 1)
		r.want([]string{strings.Replace(fact, "2000-01-01 ", "", 1) + " (1)"}, []string{strings.Replace(fact, "2000-01-01 ", "", 1) + " (1)"})
		if m := r.out.Sent()[0].Message; !strings.HasPrefix(m.Heading(), "Silenced: ") {
			t.Errorf("heading %q", m.Heading())
		}
		if got := r.oneState(); got != "silenced silence ×1" {
			t.Errorf("it is %s", got)
		}
		// Ended before its time, it is told again: by a reply, and by a page.
		r.pass(10 * time.Minute)
		if err := r.engine.EndSilence(context.Background(), s.ID, "bob"); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if got := r.out.Sent(); len(got) != 2 || !got[1].Reply {
			t.Errorf("messages %+v, want a reply more", got)
		}
		if got := len(r.paged.Sent()); got != 2 {
			t.Errorf("%d pages, want another", got)
		}
		all, err := r.engine.Silences()
		if err != nil || len(all) != 1 || all[0].EndedBy != "bob" || all[0].State(time.Now()) != alerting.SilenceExpired {
			t.Errorf("silences %+v, %v", all, err)
		}
	})
}

// What is over when its silence ends is told to nobody; its next event is news.
func TestWhatASilenceOutlasts(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.silence(`service="shop"`, 2*time.Hour)
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(150 * time.Minute)
		r.wantTitles("#errors")
		if got := r.stats().Suppressed["silence"]; got != 1 {
			t.Errorf("%d suppressed, want 1", got)
		}
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: no stock")
	})
	inDuo(t, func(r *duo) {
		r.run()
		r.silence(`service="sales"`, time.Hour)
		r.source.Add(down("sales"))
		r.pass(10 * time.Minute)
		r.source.Add(up("sales"))
		r.pass(time.Hour)
		r.wantTitles("#errors")
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] sales is down: status 503")
	})
}

func TestASilenceThatIsToCome(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		_, err := r.engine.AddSilence(context.Background(), alerting.Silence{
			Matchers: matchers(t, "severity=error"), From: time.Now().Add(time.Hour), Until: time.Now().Add(2 * time.Hour),
		})
		if err != nil {
			t.Fatal(err)
		}
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: no stock")
		r.pass(time.Hour)
		r.source.Add(ev(event.Error, "shop", "no money"), ev(event.Info, "shop", "order shipped"))
		r.pass(30 * time.Minute)
		r.wantTitles("#errors", "[error] shop: no stock")
		if got := len(r.out.Sent("#shop")); got != 1 {
			t.Errorf("%d messages of an event of interest that is not silenced", got)
		}
	})
}

func TestASilenceHidesEventsOfInterest(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.silence(`rule=shipped,severity=info`, time.Hour)
		r.source.Add(ev(event.Info, "shop", "order shipped"))
		r.pass(time.Minute)
		if got := len(r.out.Sent("#shop")); got != 0 {
			t.Errorf("%d messages", got)
		}
		if got := r.stats().Suppressed["silence"]; got != 1 {
			t.Errorf("%d suppressed, want 1", got)
		}
	})
}

func TestSilencesThatAreRefused(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		now := time.Now()
		for _, c := range []struct {
			s    alerting.Silence
			want string
		}{
			{alerting.Silence{Until: now.Add(time.Hour)}, "without matchers"},
			{alerting.Silence{Matchers: matchers(t, `service!=shop`), Until: now.Add(time.Hour)}, "nearly everything"},
			{alerting.Silence{Matchers: matchers(t, `service=~".*"`), Until: now.Add(time.Hour)}, "nearly everything"},
			{alerting.Silence{Matchers: matchers(t, `service=a`)}, "ends before it begins"},
			{alerting.Silence{Matchers: matchers(t, `service=a`), From: now.Add(-2 * time.Hour), Until: now.Add(-time.Hour)}, "over already"},
			{alerting.Silence{Matchers: matchers(t, `service=a`), Until: now.Add(9000 * time.Hour)}, "longer than a year"},
			{alerting.Silence{Matchers: matchers(t, `service=a`), Until: now.Add(time.Hour), Comment: strings.Repeat("x", 1001)}, "comment is too long"},
		} {
			var refused *alerting.SilenceError
			if _, err := r.engine.AddSilence(context.Background(), c.s); !errors.As(err, &refused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v, want %q", c.s.Matchers, err, c.want)
			}
		}
		if _, err := r.engine.AddSilence(context.Background(), alerting.Silence{ID: "7", Matchers: matchers(t, `service=a`), Until: now.Add(time.Hour)}); !errors.Is(err, alerting.ErrNotFound) {
			t.Errorf("a silence of an unknown ID: %v", err)
		}
		if err := r.engine.EndSilence(context.Background(), "7", ""); !errors.Is(err, alerting.ErrNotFound) {
			t.Errorf("ending an unknown silence: %v", err)
		}
		s := r.silence(`service=a`, time.Hour)
		s.Until = s.Until.Add(time.Hour)
		if again, err := r.engine.AddSilence(context.Background(), s); err != nil || again.ID != s.ID {
			t.Errorf("made longer it is %+v, %v", again, err)
		}
		if all, _ := r.engine.Silences(); len(all) != 1 || !all[0].Until.Equal(s.Until) {
			t.Errorf("silences %+v", all)
		}
		// Some days after its end it is forgotten.
		r.pass(6 * 24 * time.Hour)
		r.silence(`service=b`, time.Hour)
		r.pass(2 * time.Hour)
		if all, _ := r.engine.Silences(); len(all) != 1 || all[0].Matchers.String() != `service="b"` {
			t.Errorf("silences a week later: %+v", all)
		}
	})
}

// A kill at each point: a silence that was answered is there afterwards, nothing is told while it lasts, and what still
// fires is told when it ends.
func TestKillAroundASilence(t *testing.T) {
	points := 0
	for killAt := 1; killAt == 1 || killAt <= points; killAt++ {
		synctest.Test(t, func(t *testing.T) {
			c := newLifecycle(t)
			c.live(0, time.Second)
			answered, ended := "", false
			c.during = func(e *alerting.Engine) {
				ctx := context.Background()
				time.Sleep(time.Minute)
				s, err := e.AddSilence(ctx, alerting.Silence{Matchers: matchers(t, "service=sales"), Until: time.Now().Add(24 * time.Hour), By: "ann"})
				if err != nil {
					return
				}
				answered = s.ID
				c.source.Add(down("sales"))
				time.Sleep(10 * time.Minute)
				ended = e.EndSilence(ctx, s.ID, "ann") == nil
				time.Sleep(10 * time.Minute)
			}
			killed := c.live(killAt, 25*time.Minute)
			c.during = nil
			switch {
			case !killed:
				points = c.points
			case answered == "":
				c.source.Add(down("sales"))
				points = killAt + 1
			default:
				points = killAt + 1
			}
			if killed && answered != "" && !ended {
				c.during = func(e *alerting.Engine) {
					all, err := e.Silences()
					if err != nil || len(all) != 1 || all[0].ID != answered {
						t.Errorf("killed at %d: silences %+v, %v", killAt, all, err)
						return
					}
					time.Sleep(10 * time.Minute)
					if n := len(c.slack.Messages("#errors")); n > 0 && all[0].EndedBy == "" {
						t.Errorf("killed at %d: %d messages during the silence", killAt, n)
					}
				}
			}
			if killed {
				c.live(0, 30*time.Hour)
			}
			c.ends("sales", alerting.Firing)
			c.told("sales", 1, 1, 100)
		})
	}
	if points < 10 {
		t.Errorf("only %d points", points)
	}
	t.Logf("%d points", points)
}

// What another system sent is silenced by the labels it was sent with, which lookout's own of the same name do not hide; and a message has
// them as people there know them.
func TestASilenceOfWhatWasSent(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules = []alerting.Rule{rule(t, "alertmanager", "stream:alertmanager", "#errors")}
		r.run()
		sent := func(name, severity string) event.Event {
			e := ev(event.Critical, "alertmanager", name+": disk full")
			e.Stream = []byte("alertmanager")
			for _, f := range [][2]string{{"status", "firing"}, {"fingerprint", "fp" + name}, {"labels.alertname", name}, {"labels.instance", "db 1"}, {"labels.severity", severity},
				{"annotations.description", "90%"}, {"annotations.summary", "disk full"}, {"starts_at", "2026-11-22T07:05:25Z"}} {
				e.Fields = append(e.Fields, event.Field{Name: []byte(f[0]), Value: []byte(f[1])})
			}
			return e
		}
		r.silence(`severity="page"`, time.Hour)
		r.silence(`severity="critical",alertname="B"`, time.Hour)
		r.source.Add(sent("A", "page"), sent("B", "ticket"), sent("C", "ticket"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[critical] alertmanager: C: disk full")
		if m := r.out.Sent("#errors")[0].Message; strings.Join(m.Lines, "|") != `instance="db 1" severity=ticket description=90%` {
			t.Errorf("the message shows %q", m.Lines)
		}
	})
}
