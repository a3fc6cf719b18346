package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// stored adds an event and returns it as the store has it.
func (r *rig) stored(e event.Event) event.Event {
	r.t.Helper()
	e.Received = time.Now().UnixNano()
	if e.Time == 0 {
		e.Time = e.Received
	}
	e.Seq = r.source.Add(e)
	return e
}

// explained is what the rules that an event is for made of it: a line for each, with what keeps it quiet and its channels.
func explained(t *testing.T, x alerting.Explanation, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	matched := 0
	for _, v := range x.Rules {
		if !v.Match {
			if v.Outcome != alerting.FindingNone && v.Outcome != alerting.FindingOwn && v.Outcome != alerting.FindingMark {
				t.Errorf("rule %s: %s without a match", v.Rule, v.Outcome)
			}
			continue
		}
		matched++
		fmt.Fprintf(&b, "%s: %s: %s\n", v.Rule, v.Outcome, v.Why)
		for _, q := range v.Quiet {
			past := ""
			if q.Past {
				past = " past"
			}
			fmt.Fprintf(&b, "  %s%s %s %d: %s\n", q.Kind, past, q.Name, q.Incident, q.Why)
		}
		for _, c := range v.Channels {
			fmt.Fprintf(&b, "  %s %d %s: %s\n", c.Channel, c.Route, c.Match, c.Why)
		}
	}
	if matched != x.Matched {
		t.Errorf("%d rules match, and it says %d", matched, x.Matched)
	}
	return b.String()
}

func (r *rig) explain(e event.Event) string {
	r.t.Helper()
	before := dumped(r.t, r.db)
	x, err := r.engine.Explain(&e)
	text := explained(r.t, x, err)
	if dumped(r.t, r.db) != before {
		r.t.Error("explaining has changed the state")
	}
	return text
}

// dumped is all of a state.
func dumped(t *testing.T, db *bbolt.DB) string {
	t.Helper()
	var b strings.Builder
	err := db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(k, v []byte) error {
				fmt.Fprintf(&b, "%s %q %q\n", name, k, v)
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// wants checks that a text has all the parts, in their order.
func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, part := range parts {
		i := strings.Index(rest, part)
		if i < 0 {
			t.Errorf("there is no %q (in its place) in\n%s", part, text)
			return
		}
		rest = rest[i+len(part):]
	}
}

func TestExplainWhoWasTold(t *testing.T) {
	inBubble(t, func(r *rig) {
		resolving := rule(t, "down", "stream:probe change:down", "#errors")
		resolving.Resolve = parsed(t, "stream:probe change:up")
		routed := rule(t, "routed", "level:critical", "#own")
		routed.Routed = true
		r.opts.Rules = append(r.opts.Rules, resolving, routed)
		r.opts.Policy.Routes = []alerting.Route{{Match: matchers(t, "severity=critical"), Channels: []string{"#ops"}}}
		r.run()
		first := r.stored(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		wants(t, r.explain(first), "errors: told: it opened incident 1: #errors was told\n", "  #errors 0 : told at 2000-01-01 00:00:00Z")
		second := r.stored(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		wants(t, r.explain(first), "errors: told: incident 1 began with it: #errors was told")
		wants(t, r.explain(second), "errors: told: it is one of the 2 events of incident 1, which began at 2000-01-01 00:00:00Z: #errors was told")
		if err := r.engine.Acknowledge(context.Background(), 1, "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wants(t, r.explain(second), "errors: told", "acknowledged  0: acknowledged by ann at 2000-01-01 00:02:00Z: nobody is told again", "#errors")
		// Which route, and that nothing else matches.
		r.pass(time.Minute)
		critical := r.stored(ev(event.Critical, "db", "disk full"))
		synctest.Wait()
		if err := r.engine.Resolve(context.Background(), 3, "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		wants(t, r.explain(critical), `#ops 1 severity="critical": told at`, "; an edit waits") // a second behind the message
		r.pass(time.Minute)
		wants(t, r.explain(critical), "errors: told", "routed: told: it opened incident 3: #ops was told", `#ops 1 severity="critical": told at`)
		info := r.stored(ev(event.Info, "shop", "nothing"))
		r.pass(time.Second)
		if text := r.explain(info); text != "" {
			t.Errorf("no rule is for it: %s", text)
		}
		x, err := r.engine.Explain(&info)
		if err != nil || !x.Decided || x.Position != info.Seq || len(x.Rules) != 4 {
			t.Errorf("%+v, %v", x, err)
		}
		if v := x.Rules[0]; v.Outcome != alerting.FindingNone || strings.Join(v.Terms, "; ") != "level>=error does not hold: level is info" {
			t.Errorf("%+v", v)
		}
		// Lookout's own are for rules that name it.
		own := r.stored(ev(event.Critical, "lookout", "x"))
		r.pass(time.Second)
		if x, err = r.engine.Explain(&own); err != nil || x.Rules[3].Outcome != alerting.FindingOwn || x.Matched != 0 {
			t.Errorf("%+v, %v", x, err)
		}
		// Marks are for rules that name them.
		mark := ev(event.Critical, "shop", "deployed v2")
		mark.Stream = []byte("mark")
		mark = r.stored(mark)
		r.pass(time.Second)
		if x, err = r.engine.Explain(&mark); err != nil || x.Rules[0].Outcome != alerting.FindingMark || x.Matched != 0 {
			t.Errorf("%+v, %v", x, err)
		}
		// What comes late.
		late := ev(event.Error, "late", "no stock")
		late.Time = time.Now().Add(-3 * time.Hour).UnixNano()
		late = r.stored(late)
		r.pass(time.Second)
		wants(t, r.explain(late), "errors: told: it arrived 3 h late, and it opened incident 4: #errors was told")
		// What ends something.
		probe := func(change string) event.Event {
			e := ev(event.Error, "web", "web is "+change)
			e.Stream = []byte("probe")
			e.Fields = []event.Field{{Name: []byte("change"), Value: []byte(change)}, {Name: []byte("fingerprint"), Value: []byte("web")}}
			return e
		}
		early := r.stored(probe("up"))
		r.pass(time.Minute)
		wants(t, r.explain(early), "down: resolves: it ends the incident with the same fingerprint, of which none is known")
		down := r.stored(probe("down"))
		r.pass(time.Minute)
		up := r.stored(probe("up"))
		r.pass(time.Minute)
		wants(t, r.explain(down), "down: told: it opened incident 6")
		wants(t, r.explain(up), "down: resolves: it resolved incident 6")
		// Long after.
		r.pass(9 * 24 * time.Hour)
		r.source.Add(ev(event.Error, "shop", "no money"))
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", "no money"))
		r.pass(2 * time.Hour)
		r.source.Add(ev(event.Error, "shop", "no money"))
		r.pass(time.Minute)
		wants(t, r.explain(second), "errors: not known: its incident is forgotten, as all are that are over for 7 days: last seen 2000-01-01 00:01:00Z, 2 times")
		again := r.stored(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		wants(t, r.explain(second), "errors: not known: incident 8 opened anew at 2000-01-10 ", "only this is known: 2 times, last seen 2000-01-01 00:01:00Z")
		wants(t, r.explain(again), "errors: told: it opened incident 8")
	})
}

func TestExplainWhatKeepsQuiet(t *testing.T) {
	inBubble(t, func(r *rig) {
		child := rule(t, "child", "level:warning", "#errors")
		child.Parents, child.ParentsEqual = []string{"errors"}, []string{"service"}
		night := rule(t, "night", "level:notice", "#night")
		r.opts.Rules = append(r.opts.Rules, child, night)
		r.opts.Policy.Maintenance = []alerting.Maintenance{{Name: "backup", Match: matchers(t, "service=db"), Schedule: schedule(t, "", "00:00", "01:00", "UTC")}}
		r.opts.Policy.Quiet = []alerting.QuietHours{{Name: "nights", Match: matchers(t, "rule=night"), Schedule: schedule(t, "", "00:00", "06:00", "UTC")}}
		r.opts.Limits = alerting.Limits{Budget: 2}
		r.run()
		s := r.silence("service=sales", 30*time.Minute)
		sales := r.stored(ev(event.Error, "sales", "no stock"))
		db := r.stored(ev(event.Error, "db", "slow"))
		notice := r.stored(ev(event.Notice, "shop", "works"))
		r.pass(time.Minute)
		wants(t, r.explain(sales), "errors: quiet: it opened incident 1: nobody was told, silenced by ann until 2000-01-01 00:30:00Z: moving house\n",
			"  silence "+s.ID+" 0: silenced by ann", "  #errors 0 : not told: silenced by ann until")
		wants(t, r.explain(db), "errors: quiet: it opened incident 2: nobody was told, maintenance backup until 2000-01-01 01:00:00Z\n", "  maintenance backup 0: ")
		wants(t, r.explain(notice), "night: quiet: ", "  quiet hours #night 0: it waits for the end of quiet hours at 2000-01-01 06:00:00Z", "  #night 0 : waits for the end of quiet hours")
		// Parents, and the wait for them.
		alone := r.stored(ev(event.Warning, "web", "slow"))
		r.pass(time.Second)
		wants(t, r.explain(alone), "child: quiet: it opened incident 4: nobody was told, waits for its parents until 2000-01-01 00:01:30Z", "  hold ")
		r.pass(time.Minute)
		wants(t, r.explain(alone), "child: told")
		cause := r.stored(ev(event.Error, "pay", "down"))
		effect := r.stored(ev(event.Warning, "pay", "slow"))
		r.pass(time.Minute)
		wants(t, r.explain(cause), "errors: told: it opened incident 5")
		wants(t, r.explain(effect), "child: quiet: it opened incident 6: nobody was told, incident 5 of rule errors fires, which is the cause", "  parent errors 5: ")
		// The budget.
		held := r.stored(ev(event.Error, "web", "third"))
		r.pass(10 * time.Second)
		wants(t, r.explain(held), "errors: quiet: it opened incident 7: nobody was told, the channel had its 2 new messages in 5m: counted in an overview at 2000-01-01 00:03:0", "  budget #errors", "  #errors 0 : not told: counted in an overview")
		// What is over by now.
		r.pass(2 * time.Hour)
		wants(t, r.explain(sales), "errors: told", "  silence past "+s.ID+" 0: silenced by ann from 2000-01-01 00:00:00Z until 2000-01-01 00:30:00Z: moving house")
	})
}

func TestExplainWhatComesAndGoes(t *testing.T) {
	inBubble(t, func(r *rig) {
		flaps := rule(t, "down", "state:down", "#errors")
		flaps.Resolve = parsed(t, "state:up")
		r.opts.Rules = []alerting.Rule{flaps}
		r.run()
		state := func(s string) event.Event {
			e := ev(event.Error, "web", "web")
			e.Fields = []event.Field{{Name: []byte("state"), Value: []byte(s)}, {Name: []byte("fingerprint"), Value: []byte("web")}}
			return e
		}
		var last event.Event
		for range 3 {
			last = r.stored(state("down"))
			r.pass(time.Minute)
			if text := r.explain(last); strings.Contains(text, "damped") {
				wants(t, text, "down: told: incident 1 fired again by it", "  damped  0: it comes and goes: it rings no sooner than 2000-01-01 00:07:00Z")
				return
			}
			r.stored(state("up"))
			r.pass(time.Minute)
		}
		t.Errorf("it was never damped: %s", r.explain(last))
	})
}

func TestExplainWhatIsNotDelivered(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.out.Answer = func(_ context.Context, channel string, m alerting.Message, _ alerting.Receipt) error {
			switch {
			case channel == "#errors" && strings.Contains(m.Title, "odd"):
				return &alerting.DeliveryError{Class: alerting.Fault, Err: errors.New("slack: msg_too_long")}
			case channel == "#gone":
				return &alerting.DeliveryError{Class: alerting.Broken, Err: errors.New("slack: not_in_channel")}
			case channel == "#away":
				return &alerting.DeliveryError{Class: alerting.Transient, Err: errors.New("no answer")}
			}
			return nil
		}
		r.opts.Fallbacks = nil
		r.opts.Rules = append(r.opts.Rules, rule(t, "gone", "level=warning", "#gone"), rule(t, "away", "level=notice", "#away"), each(rule(t, "lines", "level=debug", "#gone")))
		r.run()
		odd := r.stored(ev(event.Error, "shop", "odd"))
		gone := r.stored(ev(event.Warning, "shop", "x"))
		away := r.stored(ev(event.Notice, "shop", "x"))
		r.pass(time.Minute)
		line := r.stored(ev(event.Debug, "shop", "x"))
		r.pass(time.Second)
		wants(t, r.explain(odd), "errors: not known: it opened incident 1: nobody was told", "  #errors 0 : refused for good at 2000-01-01 00:00:0", "msg_too_long")
		wants(t, r.explain(gone), "gone: queued: it opened incident 2: the message for #gone waits to be sent", "  #gone 0 : waits since 2000-01-01 00:00:00Z: the channel takes nothing since 2000-01-01 00:00:00Z: slack: not_in_channel")
		wants(t, r.explain(away), "away: queued: ", "  #away 0 : waits since 2000-01-01 00:00:00Z: the channel takes nothing since 2000-01-01 00:00:00Z\n")
		wants(t, r.explain(line), "lines: queued: it is a line of a message that waits to be sent", "  #gone 0 : waits since 2000-01-01 00:01:00Z to be sent with others; the channel takes nothing since")
	})
}

func TestExplainEventsOfInterest(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		shown := r.stored(ev(event.Info, "shop", "order shipped"))
		r.pass(time.Second)
		wants(t, r.explain(shown), "shipped: queued: it is a line of a message that waits to be sent", "  #shop 0 : waits since 2000-01-01 00:00:00Z to be sent with others")
		r.pass(time.Minute)
		wants(t, r.explain(shown), "shipped: gathered: it was a line of a message, or counted in an overview", "  #shop 0 : does not wait for it any more")
		r.silence("rule=shipped", time.Hour)
		silenced := r.stored(ev(event.Info, "shop", "order shipped"))
		r.pass(2 * time.Hour)
		wants(t, r.explain(silenced), "shipped: quiet: it was not shown: silenced by ann from 2000-01-01 00:01:01Z", "  silence past 1 0: ")
	})
}

func TestExplainWhatARuleHasNotSeen(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		early := r.stored(ev(event.Warning, "shop", "slow"))
		errs := r.stored(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		warnings := rule(t, "warnings", "level:warning", "#errors")
		if err := r.engine.Reload(append([]alerting.Rule{warnings}, r.opts.Rules...)); err != nil {
			t.Fatal(err)
		}
		wants(t, r.explain(early), "warnings: before: the rule is held against events behind 2, since 2000-01-01 00:01:00Z: before that it was not there, or asked for something else")
		wants(t, r.explain(errs), "errors: told")
		late := r.stored(ev(event.Warning, "shop", "slow"))
		r.pass(time.Minute)
		wants(t, r.explain(late), "warnings: told: it opened incident 2")
		// It is so after a restart, and after another query.
		r.opts.Rules = append([]alerting.Rule{warnings}, r.opts.Rules...)
		r.halt()
		r.run()
		wants(t, r.explain(early), "warnings: before: the rule is held against events behind 2,")
		r.opts.Rules[0].Query = parsed(t, "level:warning -nothing")
		r.halt()
		r.run()
		wants(t, r.explain(early), "warnings: before: the rule is held against events behind 3,")
		wants(t, r.explain(late), "warnings: told: it opened incident 2") // the incident has it
		r.halt()
		// What is not held against them yet.
		waits := r.stored(ev(event.Warning, "shop", "slow"))
		e, err := alerting.New(r.opts)
		if err != nil {
			t.Fatal(err)
		}
		x, err := e.Explain(&waits)
		if wants(t, explained(t, x, err), "warnings: waits: it waits for its turn: events up to 3 are held against the rules by now"); x.Decided {
			t.Error("it is decided")
		}
	})
	// A state that an earlier version left does not say since when its rules are there.
	inBubble(t, func(r *rig) {
		r.run()
		old := r.stored(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		r.halt()
		err := r.db.Update(func(tx *bbolt.Tx) error {
			return errors.Join(tx.Bucket([]byte("alerting/mode")).Delete([]byte("rules")), tx.DeleteBucket([]byte("alerting/incident")), tx.DeleteBucket([]byte("alerting/outbox")))
		})
		if err != nil {
			t.Fatal(err)
		}
		r.run()
		wants(t, r.explain(old), "errors: not known: no incident of its kind is known")
	})
}

func (s *simulation) explain(e event.Event) string {
	s.t.Helper()
	x, err := s.r.Explain(&e)
	text := explained(s.t, x, err)
	for _, v := range x.Rules {
		if v.Series != nil {
			text += fmt.Sprintf("%v %d %s above %d below %d firing %v: %s\n", v.Series.By, v.Series.Value, v.Series.Unit, v.Series.Above, v.Series.Below, v.Series.Firing, v.Series.Text)
		}
		for _, e := range v.Expected {
			text += fmt.Sprintf("expected %s %s\n", e.Query, e.Author)
		}
	}
	return text
}

// one adds an event and returns it as the store has it.
func (s *simulation) one(e event.Event) event.Event {
	s.t.Helper()
	list := []event.Event{e}
	s.add(list...)
	e.Seq, e.Received = s.seq, s.now.UnixNano()
	if e.Time == 0 {
		e.Time = e.Received
	}
	return e
}

func TestExplainSeries(t *testing.T) {
	t.Run("rate", func(t *testing.T) {
		r := modeRule(t, "failed", alerting.ModeRate)
		r.Above, r.By = 3, []string{"service"}
		s := simulate(t, r)
		e := s.one(ev(event.Info, "shop", "failed"))
		s.pass(10 * time.Second)
		wants(t, s.explain(e), "rate: counted: it counts in a series of which nothing is told\n", "map[service:shop] 1 events above 3 below 0 firing false: 1 in 5m now, told above 3")
		for range 4 {
			s.add(ev(event.Info, "shop", "failed"))
		}
		s.pass(10 * time.Second)
		wants(t, s.explain(e), "rate: counted: it counts in a series whose incident 1 is firing\n", "  #c 0 : told at ", "firing true: 5 in 5m now, told above 3")
		late := ev(event.Info, "shop", "failed")
		late.Time = s.now.Add(-2 * time.Hour).UnixNano()
		wants(t, s.explain(s.one(late)), "rate: left out: it arrived 2 h late: events that are more than 1h late count for no rate")
		s.pass(time.Hour)
		wants(t, s.explain(e), "rate: counted: it counted in a series that is forgotten by now; its last incident was 1")
	})
	t.Run("spike", func(t *testing.T) {
		r := modeRule(t, "level>=error", alerting.ModeSpike)
		r.By, r.Window = []string{"service"}, time.Minute
		s := simulate(t, r)
		s.add(ev(event.Error, "shop", "failed"))
		s.pass(time.Minute)
		wants(t, s.explain(s.one(ev(event.Error, "shop", "failed"))), "1 in this window of 1m now; what is usual is known after 12 windows, and 0 are")
		s.every(time.Minute, 20*time.Minute, func(int) event.Event { return ev(event.Error, "shop", "failed") })
		wants(t, s.explain(s.one(ev(event.Error, "shop", "failed"))), "1 events above 10", "1 in this window of 1m now, usually 1: told above 10 in two windows running")
	})
	t.Run("absent", func(t *testing.T) {
		s := simulate(t, modeRule(t, "*", alerting.ModeAbsent))
		e := s.one(ev(event.Info, "shop", "works"))
		s.pass(time.Minute)
		wants(t, s.explain(e), "silent for 55s now; its silence is told when it is known for 24 h, and it is for 55s")
		s.every(2*time.Minute, 25*time.Hour, func(int) event.Event { return ev(event.Info, "shop", "works") })
		wants(t, s.explain(e), "seconds above 300", "told after 5 min (usually 2 min at most)")
		stats := ev(event.Info, "shop", "stats")
		stats.Stream = []byte("stats")
		wants(t, s.explain(s.one(stats)), "absent: left out: what lookout says about a service is not what the service says")
		wants(t, s.explain(s.one(ev(event.Info, "", "nameless"))), "absent: left out: it does not have the field that the rule tells series apart by")
		stop := ev(event.Info, "shop", "stopped")
		stop.Stream, stop.Fields = []byte("docker"), []event.Field{{Name: []byte("action"), Value: []byte("die")}}
		s.add(stop)
		wants(t, s.explain(e), "it was stopped or removed as asked, and is not missed until it is heard or started")
	})
}

func TestExplainKinds(t *testing.T) {
	s := simulateWith(t, alerting.Options{Rules: []alerting.Rule{modeRule(t, "level>=error", alerting.ModeNew)}, Limits: alerting.Limits{Patterns: 3, Budget: 100}})
	first := s.one(ev(event.Error, "shop", "failed"))
	s.pass(time.Hour)
	wants(t, s.explain(first), "new: first day: it came on the first day of its service under the rule: the kinds of that day are told together, at 2026-11-03 08:00:00Z")
	s.pass(24 * time.Hour)
	wants(t, s.explain(first), "new: first day: ", "were told by incident 1 together", "  #c 0 : told at 2026-11-03 08:00:0")
	again := s.one(ev(event.Error, "shop", "failed"))
	wants(t, s.explain(again), "new: known: its kind is known: it was seen before, and last on 2026-11-03")
	fresh := s.one(ev(event.Error, "shop", "broken"))
	s.pass(time.Minute)
	wants(t, s.explain(fresh), "new: told: it opened incident 2: #c was told")
	wants(t, s.explain(s.one(ev(event.Error, "shop", "broken"))), "new: known: its kind is known: incident 2 told of it at 2026-11-03 09:00:00Z")
	s.add(ev(event.Error, "shop", "odd"))
	wants(t, s.explain(s.one(ev(event.Error, "shop", "too many"))), "new: left out: its service has more kinds of lines than the rule tells apart")
	s.pass(40 * 24 * time.Hour)
	s.add(ev(event.Info, "shop", "works"))
	wants(t, s.explain(again), "new: not known: its kind is not known any more: one that is not seen for 30 days is forgotten, and new again")
}

func TestExplainExpected(t *testing.T) {
	inBubble(t, func(r *rig) {
		u := modeRule(t, "service:db", alerting.ModeUnexpected)
		u.Expect = []alerting.Expectation{{Query: parsed(t, "cron"), Author: "ann"}}
		r.opts.Rules = []alerting.Rule{u}
		r.run()
		r.source.Add(ev(event.Info, "web", "starts the clock"))
		r.pass(time.Minute)
		cron, odd := r.stored(ev(event.Info, "db", "cron ran")), r.stored(ev(event.Info, "db", "odd"))
		r.pass(time.Minute)
		wants(t, r.explain(cron), "unexpected: expected: the rule's list covers it: cron (ann)")
		wants(t, r.explain(odd), "unexpected: told: it opened incident 1: #c was told")
		// An entry that comes later undoes nothing.
		if err := r.engine.Expect(context.Background(), "unexpected", alerting.Expectation{Query: parsed(t, "odd")}); err != nil {
			t.Fatal(err)
		}
		wants(t, r.explain(odd), "unexpected: told: it opened incident 1: #c was told")
		r.pass(time.Minute)
		next := r.stored(ev(event.Info, "db", "odd"))
		r.pass(time.Minute)
		wants(t, r.explain(next), "unexpected: expected: the rule's list covers it: odd")
	})
}
