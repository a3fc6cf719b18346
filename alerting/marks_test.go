package alerting_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

// marked is the event of a mark.
func marked(m alerting.Mark) event.Event {
	var b event.Batch
	m.At = time.Unix(0, 0)
	m.AddTo(&b)
	e := b.Events[0]
	e.Time = 0 // when it is received
	return e
}

func deploy(service, version string) event.Event {
	return marked(alerting.Mark{Kind: alerting.MarkDeploy, Service: service, Version: version, By: "ann"})
}

// facts are those of the last message of an incident that a simulation took.
func (s *simulation) facts() string {
	s.t.Helper()
	if len(s.took) == 0 {
		s.t.Fatal("nothing was told")
	}
	return strings.Join(s.took[len(s.took)-1].Message.Facts, " · ")
}

func TestMarkIsBesideIncident(t *testing.T) {
	in := func(env string, e event.Event) event.Event {
		e.Env = []byte(env)
		return e
	}
	broken := func() event.Event { return ev(event.Error, "shop", "no stock") }
	for _, c := range []struct {
		name   string
		marks  []event.Event // each a minute after the one before
		after  time.Duration // the last one
		broken event.Event
		want   string // of the facts between the time and the rule
	}{
		{"a deploy", []event.Event{deploy("shop", "v2")}, 4 * time.Minute, broken(), "deploy v2 by ann, 4 min before"},
		{"just now", []event.Event{deploy("shop", "v2")}, 0, broken(), "deploy v2 by ann, just then"},
		{"seconds ago", []event.Event{deploy("shop", "v2")}, 20 * time.Second, broken(), "deploy v2 by ann, 20s before"},
		{"an hour ago", []event.Event{deploy("shop", "v2")}, time.Hour, broken(), "deploy v2 by ann, 60 min before"},
		{"more than an hour ago", []event.Event{deploy("shop", "v2")}, time.Hour + 1, broken(), ""},
		{"of another service", []event.Event{deploy("pay", "v2")}, time.Minute, broken(), ""},
		{"of the environment", []event.Event{in("prod", deploy("shop", "v2"))}, time.Minute, in("prod", broken()), "deploy v2 by ann, 60s before"},
		{"of another environment", []event.Event{in("test", deploy("shop", "v2"))}, time.Minute, in("prod", broken()), ""},
		{"of an environment, of none", []event.Event{in("test", deploy("shop", "v2"))}, 2 * time.Minute, broken(), "deploy v2 by ann, 2 min before"},
		{"several", []event.Event{deploy("shop", "v1"), deploy("shop", "v2"), deploy("shop", "v3"), deploy("shop", "v4")}, 2 * time.Minute, broken(),
			"deploy v4 by ann, 2 min before · deploy v3 by ann, 3 min before · deploy v2 by ann, 4 min before"},
		{"a stop and a note", []event.Event{
			marked(alerting.Mark{Kind: alerting.MarkStop, Service: "shop", By: "bob"}), marked(alerting.Mark{Kind: alerting.MarkNote, Service: "shop", By: "bob", Text: "read-only"}),
		}, 2 * time.Minute, broken(), "note by bob: read-only, 2 min before · stop by bob, 3 min before"},
		{"twice the same", []event.Event{deploy("shop", "v2"), deploy("shop", "v2")}, 2 * time.Minute, broken(), "deploy v2 by ann, 2 min before · deploy v2 by ann, 3 min before"},
		{"by others, without a kind", []event.Event{in("", event.Event{Service: []byte("shop"), Stream: []byte("mark"), Message: []byte("rolled out\nwith\x1b[31m colour")})}, 2 * time.Minute, broken(),
			"note: rolled out with␛[31m colour, 2 min before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := simulate(t, rule(t, "errors", "level>=error", "#c"))
			for i, m := range c.marks {
				if i > 0 {
					s.pass(time.Minute)
				}
				s.add(m)
			}
			if c.after > 0 {
				s.pass(c.after)
			}
			s.add(c.broken)
			s.pass(time.Second)
			_, facts, _ := strings.Cut(s.facts(), " · ")
			facts, _, _ = strings.Cut(facts, "rule errors")
			if got := strings.TrimSuffix(facts, " · "); got != c.want {
				t.Errorf("beside the incident stands %q, want %q", got, c.want)
			}
		})
	}
}

// One that comes again, and one that has regressed, have what was said before that.
func TestMarksOfOneThatFiresAgain(t *testing.T) {
	s := simulate(t, rule(t, "errors", "level>=error", "#c"))
	s.add(deploy("shop", "v1"))
	s.pass(time.Minute)
	s.add(ev(event.Error, "shop", "no stock"))
	s.pass(3 * time.Hour) // it is quiet, and over
	s.add(deploy("shop", "v2"))
	s.pass(5 * time.Minute)
	s.add(ev(event.Error, "shop", "no stock"))
	s.pass(time.Minute)
	if got := s.facts(); !strings.Contains(got, "deploy v2 by ann, 5 min before") || strings.Contains(got, "v1") {
		t.Errorf("reopened: %s", got)
	}
	s.pass(8 * 24 * time.Hour)
	s.add(deploy("shop", "v3"))
	s.pass(6 * time.Minute)
	s.add(ev(event.Error, "shop", "no stock"))
	s.pass(time.Minute)
	if got := s.facts(); !strings.Contains(got, "regressed") || !strings.Contains(got, "deploy v3 by ann, 6 min before") || strings.Contains(got, "v2") {
		t.Errorf("regressed: %s", got)
	}
}

// What a rule finds by itself has them too: of its service, not of what was received after its tick.
func TestMarksBesideASilence(t *testing.T) {
	silent := modeRule(t, "service:*", alerting.ModeAbsent)
	silent.After = 30 * time.Minute
	s := simulate(t, silent)
	s.add(ev(event.Info, "shop", "works"))
	s.pass(time.Minute)
	s.add(deploy("shop", "v2"), marked(alerting.Mark{Kind: alerting.MarkNote, Service: "pay", Text: "x"}))
	s.pass(time.Hour)
	s.want("31m7s firing [warning] shop: silent for 30 min, more than 30m")
}

// What comes with the event that opens an incident, and behind it, is told of it: where batches end changes nothing.
func TestMarkInTheSameBatch(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		r.run()
		wantMarks := func(want ...string) {
			t.Helper()
			infos, err := r.engine.Incidents()
			if err != nil || len(infos) != 1 {
				t.Fatalf("%+v, %v", infos, err)
			}
			var says []string
			for _, m := range infos[0].Marks {
				says = append(says, m.Says)
			}
			if !slices.Equal(says, want) {
				t.Errorf("it has the marks %q, want %q", says, want)
			}
		}
		r.source.Add(down("sales"), deploy("sales", "v2"))
		r.pass(time.Minute)
		wantMarks("deploy v2 by ann, just then")
		r.source.Add(up("sales"), deploy("sales", "v3"), down("sales"), deploy("sales", "v4"))
		r.pass(20 * time.Minute)
		wantMarks("deploy v4 by ann, just then", "deploy v3 by ann, just then", "deploy v2 by ann, 60s before")
		wantHistory(t, h, "00:01:00Z resolved after 1m", "00:01:00Z deployed v4 by ann")
	})
}

// An incident that is open has what comes in its thread, and the message says it when it is edited next. Nobody is told anew.
func TestMarkIsInTheHistory(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		r.opts.Rules = append(r.opts.Rules, rule(t, "errors", "level>=error -change:*", "#errors"))
		r.run()
		r.source.Add(down("sales"), ev(event.Error, "sales", "no stock"), down("pay"))
		r.pass(3 * time.Minute)
		r.source.Add(deploy("sales", "v3"))
		r.pass(time.Minute)
		r.source.Add(marked(alerting.Mark{Kind: alerting.MarkStop, Service: "sales"}))
		r.pass(time.Minute)
		wantHistory(t, h, "00:03:00Z deployed v3 by ann", "00:04:00Z stopped")
		sent := r.out.Sent("#errors")
		if len(sent) != 3 || len(r.paged.Sent()) != 2 {
			t.Fatalf("there are %d messages and %d pages", len(sent), len(r.paged.Sent()))
		}
		for i, want := range []int{2, 2, 0} {
			if got := h.History(sent[i].Receipt); len(got) != want || sent[i].Edits != 0 {
				t.Errorf("%s: %d edits, history %q", sent[i].Message.Title, sent[i].Edits, got)
			}
		}
		infos, err := r.engine.Incidents()
		if err != nil {
			t.Fatal(err)
		}
		says := map[string][]string{}
		for _, i := range infos {
			for _, m := range i.Marks {
				says[i.Rule+" "+i.Service] = append(says[i.Rule+" "+i.Service], m.Says)
			}
		}
		want := "[stop, 4 min later deploy v3 by ann, 3 min later]"
		if len(says) != 2 || fmt.Sprint(says["down sales"]) != want || fmt.Sprint(says["errors sales"]) != want {
			t.Errorf("incidents have the marks %v", says)
		}
		r.source.Add(ev(event.Error, "sales", "no stock"), up("sales"))
		r.pass(2 * time.Minute)
		// What is over has no more of them.
		r.source.Add(deploy("sales", "v4"))
		r.pass(time.Minute)
		wantHistory(t, h, "00:03:00Z deployed v3 by ann", "00:04:00Z stopped", "00:05:00Z resolved after 5m")
		sent = r.out.Sent("#errors")
		if facts := strings.Join(sent[1].Message.Facts, " · "); !strings.Contains(facts, "stop, 4 min later · deploy v3 by ann, 3 min later") {
			t.Errorf("the message says %s", facts)
		}
		if got := h.History(sent[1].Receipt); !slices.Equal(got[2:], []string{"2000-01-01 00:07:00Z deployed v4 by ann"}) {
			t.Errorf("the other's thread reads %q", got)
		}
	})
}

// A mark is no line of its service: only rules that ask for marks have it, and no rule takes it for a sign of life.
func TestRulesDoNotHearMarks(t *testing.T) {
	hears := rule(t, "deploys", "stream:mark mark:deploy", "#c")
	hears.Notify = alerting.Each
	all := []alerting.Rule{
		rule(t, "all", "*", "#c"), rule(t, "service", "service:shop", "#c"), rule(t, "info", "level:info -stream:(docker, probe)", "#c"),
		rule(t, "words", "deploy", "#c"), rule(t, "any stream", "stream:*", "#c"), hears,
	}
	for i, m := range []alerting.Mode{alerting.ModeNew, alerting.ModeUnexpected, alerting.ModeRate, alerting.ModeSpike, alerting.ModeAbsent} {
		r := rule(t, string(m), []string{"*", "level:info -stream:(docker, probe)"}[i%2], "#c")
		r.Mode, r.Above, r.Window, r.By = m, 0, 0, nil
		if m == alerting.ModeRate {
			r.Above = 1
		}
		all = append(all, r)
	}
	s := simulate(t, all...)
	for i := range 40 {
		s.add(deploy("shop", fmt.Sprint("v", i)))
		s.pass(time.Hour)
	}
	s.pass(3 * 24 * time.Hour) // nobody misses what was never heard
	if len(s.took) != 40 {
		t.Errorf("%d messages, want those of the rule that asks for marks alone", len(s.took))
	}
	for _, n := range s.took {
		if !strings.HasPrefix(n.Message.Title, "deploys: shop deploy v") {
			t.Errorf("%s was told by %q", n.Message.Title, n.Message.Facts)
		}
	}
	// One can end an incident, when it is asked for.
	until := rule(t, "until deploy", "level>=error", "#c")
	until.Resolve = parsed(t, "stream:mark mark:deploy")
	s = simulate(t, until)
	broken, fixed := ev(event.Error, "shop", "no stock"), deploy("shop", "v9")
	broken.Fields = []event.Field{{Name: []byte("fingerprint"), Value: []byte("stock")}}
	fixed.Fields = append(fixed.Fields, broken.Fields...)
	s.add(broken)
	s.pass(time.Minute)
	s.add(fixed)
	s.pass(time.Minute)
	s.want("0s firing [error] shop: no stock", "1m0s resolved [error] shop: no stock | deploy v9 by ann")
}

// A known stop pages nobody, until the service is heard or deployed; a note changes nothing.
func TestMarkedStop(t *testing.T) {
	r := modeRule(t, "service:* -stream:(docker, probe, alertmanager)", alerting.ModeAbsent)
	r.After = 5 * time.Minute
	works := func() event.Event { return ev(event.Info, "shop", "works") }
	stop, note := marked(alerting.Mark{Kind: alerting.MarkStop, Service: "shop"}), marked(alerting.Mark{Kind: alerting.MarkNote, Service: "shop", Text: "x"})
	t.Run("stop", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works())
		s.pass(time.Minute)
		s.add(stop)
		s.pass(24 * time.Hour)
		s.want()
		s.add(works())
		s.pass(10 * time.Minute)
		s.want("24h6m7s firing [warning] shop: silent for 5 min, more than 5m")
		s.add(stop)
		s.want("24h11m0s resolved [warning] shop: silent for 5 min, more than 5m | it was stopped")
	})
	t.Run("stop, then deploy", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works(), stop)
		s.pass(24 * time.Hour)
		s.add(deploy("shop", "v2"))
		s.pass(9 * time.Minute)
		s.want()
		s.pass(2 * time.Minute)
		s.want("24h10m7s firing [warning] shop: silent for 10 min, more than 5m")
	})
	t.Run("note", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works())
		s.pass(4 * time.Minute)
		s.add(note)
		s.pass(2 * time.Minute)
		s.want("5m7s firing [warning] shop: silent for 5 min, more than 5m")
	})
	t.Run("of another environment", func(t *testing.T) {
		elsewhere, byEnv := stop, r
		elsewhere.Env, byEnv.By = []byte("test"), []string{"service", "env"}
		s := simulate(t, byEnv)
		w := works()
		w.Env = []byte("prod")
		s.add(w)
		s.pass(time.Minute)
		s.add(elsewhere)
		s.pass(6 * time.Minute)
		s.want("5m7s firing [warning] shop: absent (env prod) is silent for 5 min, more than 5m")
	})
}

// Marks are kept with the position: a kill at each point of a run leaves the incident with what was said before it, and once in its
// thread what came later.
func TestKillAtEveryPointKeepsMarks(t *testing.T) {
	points := 0
	for killAt := 1; killAt == 1 || killAt <= points; killAt++ {
		synctest.Test(t, func(t *testing.T) {
			c := newCrash(t)
			c.source.Batch = 1
			c.live(0, time.Second) // the first start sets the position
			c.source.Add(deploy("shop", "v2"), ev(event.Debug, "shop", "of no interest"), ev(event.Error, "shop", "told "+word(1)))
			killed := c.live(killAt, 20*time.Minute)
			if points = killAt + 1; killed {
				c.live(0, 20*time.Minute)
			}
			c.source.Add(marked(alerting.Mark{Kind: alerting.MarkNote, Service: "shop", Text: "rolled back"}))
			again := c.live(killAt, 20*time.Minute)
			if again {
				c.live(0, 20*time.Minute)
			}
			if !killed && !again {
				points = killAt
			}
			c.check(0)
			notes, told := 0, 0
			for _, m := range c.slack.Messages() {
				text := m.Content()
				if strings.Contains(text, word(1)) && strings.Contains(text, "deploy v2 by ann, just then") {
					told++
				}
				if strings.Contains(text, "note: rolled back") && !strings.Contains(text, alerting.NoteAgain) {
					notes++
				}
			}
			if told == 0 || notes == 0 {
				t.Errorf("killed at %d: %d messages have the mark, %d are its history", killAt, told, notes)
			}
		})
	}
	if points < 10 {
		t.Errorf("only %d points", points)
	}
}

// Of a service the newest marks are known, for a week.
func TestMarksAreForgotten(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 9 {
			r.source.Add(deploy("shop", fmt.Sprint("v", i)))
			r.pass(time.Minute - time.Second)
		}
		r.source.Add(deploy("shop", "v8")) // the same within a minute
		r.source.Add(deploy("pay", "v1"))
		r.pass(time.Minute)
		known := func() (shop, pay string) {
			data := r.bucket("alerting/mark")
			return data["shop"], data["pay"]
		}
		shop, pay := known()
		if n := strings.Count(shop, `"mark"`); n != 5 || strings.Contains(shop, `"v3"`) || !strings.Contains(shop, `"v4"`) || strings.Count(pay, `"mark"`) != 1 {
			t.Errorf("%s\n%s", shop, pay)
		}
		r.pass(7*24*time.Hour + time.Hour)
		r.source.Add(deploy("pay", "v2"), ev(event.Info, "shop", "order shipped"))
		r.pass(2 * time.Hour)
		r.source.Add(ev(event.Info, "shop", "order shipped"))
		r.pass(time.Minute)
		if shop, pay = known(); shop != "" || strings.Count(pay, `"mark"`) != 1 || !strings.Contains(pay, "v2") {
			t.Errorf("after a week: %s\n%s", shop, pay)
		}
	})
}

// bucket is what a bucket of the state holds.
func (r *rig) bucket(name string) map[string]string {
	r.t.Helper()
	data := map[string]string{}
	if err := r.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
			data[string(k)] = string(v)
			return nil
		})
	}); err != nil {
		r.t.Fatal(err)
	}
	return data
}

// A mark is an event, and is deleted as one: from what is known, from the incidents and their history, from the file.
func TestForgetMarks(t *testing.T) {
	for _, c := range []struct {
		query string
		gone  bool
	}{
		{"hunter2", true}, {"stream:mark", true}, {"by:ann", true}, {"service:shop", true}, {"mark:deploy version:hunter2", true},
		{"service:pay", false}, {"mark:stop", false}, {"level:error", false}, {"by:bob", false},
	} {
		t.Run(c.query, func(t *testing.T) {
			inHistory(t, func(r *duo, h *alertingtest.Historian) {
				up := r.down()
				r.run()
				r.source.Add(deploy("shop", "hunter2"))
				r.pass(time.Minute)
				r.source.Add(down("shop"))
				r.pass(time.Minute)
				r.source.Add(deploy("shop", "hunter2"))
				r.pass(time.Minute)
				r.forget(c.query, r.source.LastSeq())
				r.forget(c.query, r.source.LastSeq())
				data, err := os.ReadFile(r.db.Path())
				if err != nil {
					t.Fatal(err)
				}
				if got := !bytes.Contains(data, []byte("hunter2")); got != c.gone {
					t.Errorf("it is gone from the state: %v", got)
				}
				up.Store(true)
				r.pass(10 * time.Minute)
				sent := r.out.Sent("#errors")
				if len(sent) != 1 {
					t.Fatalf("%d messages", len(sent))
				}
				if text := sent[0].Message.Text() + strings.Join(h.History(sent[0].Receipt), ""); strings.Contains(text, "hunter2") == c.gone {
					t.Errorf("it says %s", text)
				}
			})
		})
	}
}

func TestCheckMark(t *testing.T) {
	ok := func() alerting.Mark {
		return alerting.Mark{Kind: alerting.MarkDeploy, Service: "shop", Env: "prod", Version: "v2", By: "ann", Text: "größer"}
	}
	for _, c := range []struct {
		change      func(m *alerting.Mark)
		field, want string
	}{
		{func(*alerting.Mark) {}, "", ""},
		{func(m *alerting.Mark) { m.Kind, m.Version = alerting.MarkStop, "" }, "", ""},
		{func(m *alerting.Mark) { m.Kind, m.Version, m.By, m.Env = alerting.MarkNote, "", "", "" }, "", ""},
		{func(m *alerting.Mark) { m.Kind = "" }, "mark", "is missing"},
		{func(m *alerting.Mark) { m.Kind = "rollout" }, "mark", `"rollout"`},
		{func(m *alerting.Mark) { m.Service = "" }, "service", "is missing"},
		{func(m *alerting.Mark) { m.Service = " " }, "service", "is missing"},
		{func(m *alerting.Mark) { m.Service = strings.Repeat("s", 513) }, "service", "513 bytes; the most is 512"},
		{func(m *alerting.Mark) { m.Service = "a\nb" }, "service", "control characters"},
		{func(m *alerting.Mark) { m.Env = "\xff" }, "env", "no text"},
		{func(m *alerting.Mark) { m.Version = "" }, "version", "is missing"},
		{func(m *alerting.Mark) { m.Version = strings.Repeat("v", 201) }, "version", "the most is 200"},
		{func(m *alerting.Mark) { m.By = strings.Repeat("b", 101) }, "by", "the most is 100"},
		{func(m *alerting.Mark) { m.Text = strings.Repeat("t", 1001) }, "text", "the most is 1000"},
		{func(m *alerting.Mark) { m.Kind, m.Text = alerting.MarkNote, "" }, "text", "is missing"},
	} {
		m := ok()
		c.change(&m)
		err := m.Check()
		var wrong *alerting.MarkError
		switch {
		case c.field == "" && err == nil:
			var b event.Batch
			m.At = time.Unix(7, 9).UTC()
			m.AddTo(&b)
			if again, is := alerting.MarkOf(&b.Events[0]); !is || again != m {
				t.Errorf("%+v is read as %+v", m, again)
			}
		case c.field == "" || !errors.As(err, &wrong) || wrong.Field != c.field || !strings.Contains(err.Error(), c.want):
			t.Errorf("%+v: %v, want %s %s", m, err, c.field, c.want)
		}
	}
	if _, is := alerting.MarkOf(&event.Event{Stream: []byte("stdout")}); is {
		t.Error("a line is a mark")
	}
}
