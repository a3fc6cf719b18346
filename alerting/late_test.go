package alerting_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// ago has an event happen so long before it is received.
func (s *simulation) ago(d time.Duration, e event.Event) event.Event {
	e.Time = s.now.Add(-d).UnixNano()
	return e
}

// What happened long before it came is told, says so, and is counted.
func TestLateEvents(t *testing.T) {
	broken := func() event.Event { return ev(event.Error, "shop", "no stock") }
	t.Run("only late", func(t *testing.T) {
		s := simulate(t, rule(t, "errors", "level>=error", "#c"))
		s.add(s.ago(3*time.Hour, broken()))
		s.pass(time.Second)
		m := s.took[len(s.took)-1].Message
		if want := "[error] shop: no stock (happened 05:00Z, came 08:00Z)"; m.Title != want || len(m.Lines) != 0 {
			t.Errorf("title %q, lines %q, want %q", m.Title, m.Lines, want)
		}
		if got := s.facts(); !strings.Contains(got, "late: 1 event that happened more than 1 h before it came") {
			t.Error(got)
		}
		for range 3 {
			s.add(s.ago(2*time.Hour, broken()))
		}
		s.pass(2 * time.Minute)
		m = s.took[len(s.took)-1].Message
		if got := s.facts(); !strings.Contains(got, "late: 4 events that happened more than 1 h before they came") || !strings.HasSuffix(m.Title, "(happened 05:00Z, came 08:00Z)") {
			t.Error(m.Title, got)
		}
		// One that is not late is news of today.
		s.add(broken())
		s.pass(2 * time.Minute)
		m = s.took[len(s.took)-1].Message
		if got := s.facts(); !strings.Contains(got, "late: 4 events") || m.Title != "[error] shop: no stock" || !strings.Contains(got, "5 times") {
			t.Error(m.Title, got)
		}
	})
	t.Run("another day, long", func(t *testing.T) {
		s := simulate(t, rule(t, "errors", "level>=error", "#c"))
		s.add(s.ago(9*time.Hour, ev(event.Error, "shop", "no stock "+strings.Repeat("of anything ", 50))))
		s.pass(time.Second)
		m := s.took[len(s.took)-1].Message
		if !strings.HasSuffix(m.Title, " (happened 2026-11-01 23:00Z, came 2026-11-02 08:00Z)") || alerting.Weight(m.Title) > 200 || len(m.Lines) != 1 {
			t.Errorf("title %q of %d, lines %q", m.Title, alerting.Weight(m.Title), m.Lines)
		}
	})
	t.Run("within the hour", func(t *testing.T) {
		s := simulate(t, rule(t, "errors", "level>=error", "#c"))
		s.add(s.ago(time.Hour, broken()))
		s.pass(time.Second)
		if m := s.took[0].Message; m.Title != "[error] shop: no stock" || strings.Contains(s.facts(), "late") {
			t.Error(m.Title, s.facts())
		}
	})
	t.Run("first on time", func(t *testing.T) {
		s := simulate(t, rule(t, "errors", "level>=error", "#c"))
		s.add(broken())
		s.pass(time.Minute)
		s.add(s.ago(2*time.Hour, broken()))
		s.pass(2 * time.Minute)
		if m := s.took[len(s.took)-1].Message; m.Title != "[error] shop: no stock" || !strings.Contains(s.facts(), "late: 1 event") {
			t.Error(m.Title, s.facts())
		}
	})
	t.Run("a silence that began long ago", func(t *testing.T) {
		r := modeRule(t, "service:*", alerting.ModeAbsent)
		r.After = 3 * time.Hour
		s := simulate(t, r)
		s.add(ev(event.Info, "shop", "works"))
		s.pass(4 * time.Hour)
		if s.facts(); strings.Contains(s.facts(), "late") || strings.Contains(s.took[0].Message.Title, "happened") {
			t.Error(s.took[0].Message.Title, s.facts())
		}
	})
	t.Run("another incident", func(t *testing.T) {
		s := simulate(t, rule(t, "errors", "level>=error", "#c"))
		s.add(s.ago(2*time.Hour, broken()))
		s.pass(9 * 24 * time.Hour)
		s.add(broken())
		s.pass(time.Minute)
		if m := s.took[len(s.took)-1].Message; m.Title != "[error] shop: no stock" || strings.Contains(s.facts(), "late") {
			t.Error(m.Title, s.facts())
		}
	})
}

func TestLateEventsAreListed(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		old := ev(event.Error, "shop", "no stock")
		old.Time = time.Now().Add(-2 * time.Hour).UnixNano()
		r.source.Add(old, old, ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		infos, err := r.engine.Incidents()
		if err != nil || len(infos) != 1 || infos[0].Late != 2 || infos[0].Count != 3 {
			t.Errorf("%+v, %v", infos, err)
		}
	})
}

// A template sees both.
func TestTemplateOfMarksAndLate(t *testing.T) {
	r := rule(t, "errors", "level>=error", "#c")
	r.Template = parseTemplate(t, "{{.Service}} {{.Late}}/{{.Count}}{{range .Marks}} [{{.}}]{{end}}")
	s := simulate(t, r)
	s.add(deploy("shop", "v2"))
	s.pass(2 * time.Minute)
	s.add(s.ago(2*time.Hour, ev(event.Error, "shop", "no stock")))
	s.pass(time.Second)
	s.add(ev(event.Error, "shop", "no stock"))
	s.pass(2 * time.Minute)
	var titles []string
	for _, n := range s.took {
		titles = append(titles, n.Message.Title)
	}
	// The edit of the count is in the template's words, too.
	if got := strings.Join(titles, "\n"); got != "shop 1/1 [deploy v2 by ann, 2 min before]\nshop 1/2 [deploy v2 by ann, 2 min before]" {
		t.Errorf("titles\n%s", got)
	}
}
