package alerting_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

func modeRule(t testing.TB, text string, mode alerting.Mode) alerting.Rule {
	r := rule(t, string(mode), text, "#c")
	r.Mode = mode
	return r
}

func parsed(t testing.TB, text string) *query.Query {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// simulation is a replay that a test feeds as it goes.
type simulation struct {
	t    *testing.T
	r    *alerting.Replay
	now  time.Time
	seq  uint64
	took []alerting.Notification
}

var simulated = time.Date(2026, 11, 2, 8, 0, 0, 1, time.UTC) // a Monday

func simulate(t *testing.T, rules ...alerting.Rule) *simulation {
	t.Helper()
	return simulateWith(t, alerting.Options{Rules: rules})
}

func simulateWith(t *testing.T, o alerting.Options) *simulation {
	t.Helper()
	s := &simulation{t: t, now: simulated}
	o.DB = openDB(t, filepath.Join(t.TempDir(), "state.db"))
	o.Notifier = alertingtest.ThreadedTape{}
	t.Cleanup(func() { o.DB.Close() })
	var err error
	s.r, err = alerting.NewReplay(o, func(n alerting.Notification) { s.took = append(s.took, n) })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// add has events received now.
func (s *simulation) add(events ...event.Event) {
	s.t.Helper()
	for i := range events {
		s.seq++
		events[i].Seq, events[i].Received = s.seq, s.now.UnixNano()
		if events[i].Time == 0 {
			events[i].Time = events[i].Received
		}
	}
	if err := s.r.Feed(s.t.Context(), events); err != nil {
		s.t.Fatal(err)
	}
}

func (s *simulation) pass(d time.Duration) {
	s.t.Helper()
	s.now = s.now.Add(d)
	if err := s.r.Until(s.t.Context(), s.now); err != nil {
		s.t.Fatal(err)
	}
}

// every has an event made each so often, for so long.
func (s *simulation) every(each, for_ time.Duration, make func(i int) event.Event) {
	s.t.Helper()
	for i := range int(for_ / each) {
		s.add(make(i))
		s.pass(each)
	}
}

// want checks what was told since the last call: its kind, state and title, how it ended.
func (s *simulation) want(want ...string) {
	s.t.Helper()
	var got []string
	for _, n := range s.took {
		if n.Kind == alerting.Noted || strings.Contains(strings.Join(n.Message.Facts, " "), "quiet since") {
			continue
		}
		text := fmt.Sprintf("%s %s %s", n.At.Sub(simulated).Round(time.Second), n.Message.State, n.Message.Title)
		if n.Message.State == alerting.Resolved && len(n.Message.Lines) > 0 {
			text += " | " + n.Message.Lines[len(n.Message.Lines)-1]
		}
		got = append(got, text)
	}
	s.took = nil
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		s.t.Errorf("told\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestRate(t *testing.T) {
	many := modeRule(t, "failed", alerting.ModeRate)
	many.Above, many.By, many.Severity = 10, []string{"service", "status"}, alerting.Error
	s := simulate(t, many)
	fail := func(service, status string) event.Event {
		e := ev(event.Info, service, "order failed")
		e.Fields = []event.Field{{Name: []byte("status"), Value: []byte(status)}}
		return e
	}
	s.every(30*time.Second, 10*time.Minute, func(int) event.Event { return fail("shop", "500") }) // 10 in 5 min
	late := fail("shop", "500")
	late.Time = s.now.Add(-61 * time.Minute).UnixNano()
	s.add(late, late)
	s.pass(time.Minute)
	s.want()
	for range 4 {
		s.add(fail("shop", "500"), fail("shop", "503"), fail("pay", "500"))
	}
	s.pass(10 * time.Second)
	s.want("11m7s firing [error] shop: rate of rate (status 500) over 10 in 5m: 11")
	for range 30 {
		s.add(fail("shop", "500"))
	}
	// It is over when it has been within limits for as long as the window: not for the moment.
	s.pass(4 * time.Minute)
	for range 12 {
		s.add(fail("shop", "500"))
	}
	s.pass(4 * time.Minute)
	s.want()
	s.pass(30 * time.Minute)
	s.want("25m17s resolved [error] shop: rate of rate (status 500) over 10 in 5m: 11 | back to 0 in 5m, at most 46")
}

func TestRateBelow(t *testing.T) {
	few := modeRule(t, "service:shop shipped", alerting.ModeRate)
	few.Below, few.Window = 3, 10*time.Minute
	s := simulate(t, few)
	s.add(ev(event.Info, "pay", "starts the clock"))
	s.pass(9 * time.Minute)
	s.want() // nobody knows yet
	s.pass(2 * time.Minute)
	s.want("10m7s firing [warning] rate of rate below 3 in 10m: 0")
	s.every(time.Minute, 20*time.Minute, func(int) event.Event { return ev(event.Info, "shop", "order shipped") })
	s.want("18m7s resolved [warning] rate of rate below 3 in 10m: 0 | back to 8 in 10m, at least 0")
	// Nothing at all arrives.
	s.pass(20 * time.Minute)
	s.want("38m7s firing [warning] rate of rate below 3 in 10m: 2", "38m8s firing [warning] rate of rate below 3 in 10m: 2") // a reply, and its edit
}

func TestSpike(t *testing.T) {
	r := modeRule(t, "level>=error", alerting.ModeSpike)
	r.By, r.Window = []string{"service"}, time.Minute
	s := simulate(t, r)
	s.add(ev(event.Info, "shop", "starts the clock"))
	fails := func(service string, n int) (events []event.Event) {
		for range n {
			events = append(events, ev(event.Error, service, "failed"))
		}
		return events
	}
	s.pass(30 * time.Second)
	for range 5 { // before the baseline is known
		s.add(fails("shop", 100)...)
		s.pass(time.Minute)
	}
	for range 60 {
		s.add(fails("shop", 5)...)
		s.pass(time.Minute)
	}
	s.want()
	s.add(fails("shop", 500)...) // once is no spike
	s.pass(time.Minute)
	s.add(fails("shop", 5)...)
	s.pass(time.Minute)
	s.want()
	for range 3 {
		s.add(fails("shop", 100)...)
		s.add(fails("pay", 11)...) // it had none
		s.pass(time.Minute)
	}
	s.want("1h8m37s firing [warning] shop: spike of spike: 100 in 1m, usually 5", "1h8m38s firing [warning] pay: spike of spike: 11 in 1m, usually 0")
	s.pass(time.Hour)
	s.want("1h11m2s resolved [warning] shop: spike of spike: 100 in 1m, usually 5 | back to what is usual, at most 100 in 1m",
		"1h11m4s resolved [warning] pay: spike of spike: 11 in 1m, usually 0 | back to what is usual, at most 11 in 1m")
}

func TestAbsentLearned(t *testing.T) {
	s := simulate(t, modeRule(t, "*", alerting.ModeAbsent))
	talk := func(services ...string) func(int) event.Event {
		return func(i int) event.Event { return ev(event.Info, services[i%len(services)], "works") }
	}
	s.every(2*time.Minute, 12*time.Hour, talk("shop", "pay"))
	s.pass(3 * time.Hour) // nothing is learned yet
	s.every(2*time.Minute, 228*time.Hour, talk("shop", "pay"))
	s.want()
	// Three hours happened once: four minutes are usual. Docker's figures are no sign of life.
	s.every(2*time.Minute, 6*time.Minute, talk("shop"))
	stats := ev(event.Info, "pay", "stats")
	stats.Stream = []byte("stats")
	s.add(stats)
	s.pass(time.Minute)
	s.every(time.Minute, 30*time.Minute, talk("shop"))
	s.add(ev(event.Info, "pay", "works"))
	s.want("243h6m7s firing [warning] pay: silent for 8 min, usually 4 min at most",
		"243h37m0s resolved [warning] pay: silent for 8 min, usually 4 min at most | heard again after 39 min")
	// All are silent, and nothing at all arrives.
	s.pass(time.Hour)
	s.want("243h44m7s firing [warning] shop: silent for 8 min, usually 4 min at most", "243h45m7s firing [warning] pay: silent for 8 min, usually 4 min at most",
		"243h45m8s firing [warning] pay: silent for 8 min, usually 4 min at most")
	s.pass(20 * 24 * time.Hour)
	s.want("603h36m7s resolved [warning] shop: silent for 8 min, usually 4 min at most | given up: nothing for 15 days",
		"603h37m7s resolved [warning] pay: silent for 8 min, usually 4 min at most | given up: nothing for 15 days")
}

func TestAbsentExcuses(t *testing.T) {
	r := modeRule(t, "level:info", alerting.ModeAbsent)
	r.After = 5 * time.Minute
	works := func(int) event.Event { return ev(event.Info, "shop", "works") }
	about := func(stream, action string) event.Event {
		e := ev(event.Info, "shop", "what "+action)
		e.Stream = []byte(stream)
		e.Fields = []event.Field{{Name: []byte("action"), Value: []byte(action)}}
		return e
	}
	t.Run("known stop", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works(0))
		s.add(about("docker", "die"))
		s.pass(24 * time.Hour)
		s.want()
		s.add(about("docker", "start"))
		s.pass(9 * time.Minute)
		s.want()
		s.pass(2 * time.Minute) // it started and says nothing
		s.want("24h10m7s firing [warning] shop: silent for 10 min, more than 5m")
	})
	t.Run("died", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works(0))
		died := about("docker", "die")
		died.Level = event.Error
		s.add(died)
		s.pass(10 * time.Minute)
		s.want("5m7s firing [warning] shop: silent for 5 min, more than 5m")
		s.add(about("docker", "die"))
		s.want("10m0s resolved [warning] shop: silent for 5 min, more than 5m | it was stopped")
	})
	t.Run("deploy", func(t *testing.T) {
		s := simulate(t, r)
		s.add(works(0))
		s.pass(4 * time.Minute)
		s.add(about("mark", "deploy"))
		s.pass(9 * time.Minute)
		s.want()
	})
	t.Run("lookout was down", func(t *testing.T) {
		s := simulateWith(t, alerting.Options{Rules: []alerting.Rule{r}, Pauses: []alerting.Pause{{From: simulated.Add(3 * time.Minute), To: simulated.Add(time.Hour)}}})
		s.add(works(0))
		s.pass(61 * time.Minute)
		s.want()
		s.pass(2 * time.Minute)
		s.want("1h2m7s firing [warning] shop: silent for 5 min, more than 5m")
	})
}

func TestNew(t *testing.T) {
	s := simulate(t, modeRule(t, "level>=error", alerting.ModeNew))
	fail := func(service string, n int) event.Event { return ev(event.Error, service, "failed "+word(n)+" 17") }
	for i := range 12 {
		s.add(fail("shop", i), fail("shop", i))
		s.pass(time.Hour)
	}
	s.want()
	s.pass(13 * time.Hour)
	if len(s.took) == 0 || s.took[0].Message.Title != "[info] shop: first day: 12 kinds of lines; from now on new ones are told one by one" ||
		!strings.Contains(strings.Join(s.took[0].Message.Lines, "\n"), "failed "+word(9)+" #\n… and 2 more") {
		t.Errorf("the digest is %+v", s.took)
	}
	s.took = nil
	s.add(fail("shop", 3), fail("shop", 77), fail("pay", 3))
	s.pass(time.Hour)
	s.add(fail("shop", 77), fail("shop", 78))
	s.want("25h0m0s firing [error] shop: new: failed "+word(77)+" 17", "26h0m0s firing [error] shop: new: failed "+word(78)+" 17")
	// What was not seen for a month is new once more.
	s.pass(15 * 24 * time.Hour)
	s.add(fail("shop", 3))
	s.pass(20 * 24 * time.Hour)
	s.took = nil
	s.add(fail("shop", 3), fail("shop", 4))
	s.want("866h0m0s firing [error] shop: new: failed " + word(4) + " 17")
}

// The first day of a service begins with its first event, not with the first that the rule matches.
func TestNewOfKnownService(t *testing.T) {
	s := simulate(t, modeRule(t, "level>=error", alerting.ModeNew))
	s.every(time.Hour, 25*time.Hour, func(int) event.Event { return ev(event.Info, "shop", "works") })
	s.add(ev(event.Error, "shop", "failed"), ev(event.Error, "pay", "failed"))
	s.want("25h0m0s firing [error] shop: new: failed")
}

func TestPatternExplosion(t *testing.T) {
	s := simulateWith(t, alerting.Options{Rules: []alerting.Rule{modeRule(t, "failed", alerting.ModeNew)}, Limits: alerting.Limits{Patterns: 50, Budget: 1000}})
	s.add(ev(event.Error, "shop", "failed"))
	s.pass(25 * time.Hour)
	s.took = nil
	for i := range 200 {
		s.add(ev(event.Error, "shop", "failed "+word(i)))
		s.pass(time.Second)
	}
	var explosions, news int
	for _, n := range s.took {
		switch {
		case n.Message.Title == "[warning] shop: pattern explosion in shop: it has more than 50 kinds of lines, so no more of them are told as new":
			explosions++
		case strings.Contains(n.Message.Title, ": new: "):
			news++
		}
	}
	if explosions != 1 || news != 49 {
		t.Errorf("%d explosions and %d new kinds were told", explosions, news)
	}
}

func TestUnexpected(t *testing.T) {
	inBubble(t, func(r *rig) {
		odd := modeRule(t, "host:db1", alerting.ModeUnexpected)
		odd.Expect = []alerting.Expectation{
			{Query: parsed(t, "CRON"), Author: "ann", Reason: "noise"},
			{Query: parsed(t, "maintenance"), Expires: time.Now().Add(time.Hour)},
		}
		r.opts.Rules = []alerting.Rule{odd}
		say := func(text string) {
			e := ev(event.Info, "kernel", text)
			e.Host = []byte("db1")
			r.source.Add(e)
			r.pass(time.Second)
		}
		r.run()
		say("CRON ran")
		say("maintenance of disk")
		say("session opened for bob")
		r.wantTitles("#c", "[info] kernel: unexpected: session opened for bob")
		ctx := t.Context()
		if err := r.engine.Expect(ctx, "unexpected", alerting.Expectation{Query: parsed(t, "session"), Author: "bob"}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"no such rule", ""} {
			if err := r.engine.Expect(ctx, name, alerting.Expectation{Query: parsed(t, "session")}); !errors.Is(err, alerting.ErrNotFound) {
				t.Errorf("rule %q: %v", name, err)
			}
		}
		if err := r.engine.Expect(ctx, "unexpected", alerting.Expectation{Query: parsed(t, "*")}); err == nil {
			t.Error("everything can be expected")
		}
		say("session closed")
		r.halt()
		odd.Expect[0].Reason = "still noise"
		r.opts.Rules = []alerting.Rule{odd}
		r.run()
		say("session of somebody")
		say("CRON again")
		r.pass(time.Hour)
		say("maintenance of nothing")
		r.wantTitles("#c", "[info] kernel: unexpected: session opened for bob", "[info] kernel: unexpected: maintenance of nothing")
		list, err := r.engine.Expectations("unexpected")
		if err != nil || len(list) != 3 {
			t.Fatal(list, err)
		}
		for i, want := range []struct {
			text, author, reason string
			hits                 int64
			added                bool
		}{{"CRON", "ann", "still noise", 2, false}, {"maintenance", "", "", 1, false}, {"session", "bob", "", 2, true}} {
			if x := list[i]; x.Query != want.text || x.Author != want.author || x.Reason != want.reason || x.Hits != want.hits || x.Added != want.added {
				t.Errorf("%+v, want %+v", x, want)
			}
		}
	})
}

func TestUnusedExpectations(t *testing.T) {
	odd := modeRule(t, "host:db1", alerting.ModeUnexpected)
	odd.Expect = []alerting.Expectation{{Query: parsed(t, "CRON")}, {Query: parsed(t, "reboot")}}
	s := simulate(t, odd)
	cron := ev(event.Info, "kernel", "CRON ran")
	cron.Host = []byte("db1")
	s.every(12*time.Hour, 29*24*time.Hour, func(int) event.Event { return cron })
	s.want()
	s.every(12*time.Hour, 10*24*time.Hour, func(int) event.Event { return cron })
	if len(s.took) == 0 || s.took[0].Message.Title != "[info] 1 expected pattern matched nothing for 30 days: take it out if it is not needed any more" || !strings.Contains(strings.Join(s.took[0].Message.Lines, "\n"), "reboot") {
		t.Errorf("told %+v", s.took)
	}
}

// A kill at each point of a run changes nothing of what rules with a state tell: what they know is written with the position.
func TestKillWithModes(t *testing.T) {
	wanted := []string{
		"[warning] pay: silent for 5 min, more than 5m",
		"[warning] rate of few below 5 in 1m: 3",
		"[warning] shop: rate of many over 3 in 1m: 4",
		"[info] shop: unexpected: told " + word(7),
	}
	points := 0
	for killAt := 1; killAt == 1 || killAt <= points; killAt += 2 {
		synctest.Test(t, func(t *testing.T) {
			c := newCrash(t)
			many := modeRule(t, "failed", alerting.ModeRate)
			many.Name, many.Above, many.Window, many.By = "many", 3, time.Minute, []string{"service"}
			few := modeRule(t, "service:shop", alerting.ModeRate)
			few.Name, few.Below, few.Window = "few", 5, time.Minute
			silent := modeRule(t, "service:pay", alerting.ModeAbsent)
			silent.After = 5 * time.Minute
			odd := modeRule(t, "told", alerting.ModeUnexpected)
			odd.Expect = []alerting.Expectation{{Query: parsed(t, "usual")}}
			c.opts.Rules = []alerting.Rule{many, few, silent, odd, modeRule(t, "*", alerting.ModeNew), modeRule(t, "failed", alerting.ModeSpike)}
			c.live(0, time.Second)
			var script sync.WaitGroup
			script.Go(func() {
				c.source.Add(ev(event.Info, "pay", "works"))
				for range 13 { // few is content, many counts one a tick
					c.source.Add(ev(event.Info, "shop", "told as usual"))
					time.Sleep(5 * time.Second)
				}
				for range 4 {
					c.source.Add(ev(event.Info, "shop", "failed"))
					time.Sleep(3 * time.Second)
				}
				c.source.Add(ev(event.Info, "shop", "told "+word(7)))
			})
			const all = 20 * time.Minute
			start := time.Now()
			if c.live(killAt, all) {
				points = max(points, killAt+2)
				c.live(0, all-time.Since(start))
			} else {
				points = c.points
			}
			script.Wait()
			told, again := map[string]int{}, map[string]int{} // those that say they may be a repeat
			for _, m := range c.slack.Messages("#c") {
				text := m.Content()
				for _, w := range wanted {
					switch {
					case !strings.Contains(text, w) || m.ThreadTS != "":
					case strings.Contains(text, alerting.NoteAgain):
						again[w]++
					default:
						told[w]++
					}
				}
			}
			for _, w := range wanted {
				if told[w] > 1 || told[w]+again[w] == 0 {
					t.Errorf("%q was told %d times, and %d times more as a repeat", w, told[w], again[w])
				}
			}
			if t.Failed() {
				for _, m := range c.slack.Messages("#c") {
					t.Log(m.Content())
				}
			}
		})
		if t.Failed() {
			t.Fatalf("killed at point %d", killAt)
		}
	}
	if points < 100 {
		t.Errorf("only %d points", points)
	}
	t.Logf("%d points", points)
}

// A reload keeps what the rules know whose meaning stays, and only that.
func TestReloadKeepsState(t *testing.T) {
	inBubble(t, func(r *rig) {
		many := modeRule(t, "failed", alerting.ModeRate)
		many.Above = 3
		other := modeRule(t, "failed", alerting.ModeRate)
		other.Name, other.Above = "other", 3
		r.opts.Rules = []alerting.Rule{many, other}
		r.run()
		for range 3 {
			r.source.Add(ev(event.Error, "shop", "failed"))
		}
		r.pass(10 * time.Second)
		many.Above, many.Severity, other.Query = 4, alerting.Critical, parsed(t, "failed OR fails")
		if err := r.engine.Reload([]alerting.Rule{other, many}); err != nil {
			t.Fatal(err)
		}
		r.source.Add(ev(event.Error, "shop", "failed"), ev(event.Error, "shop", "failed"))
		r.pass(10 * time.Second)
		r.wantTitles("#c", "[critical] rate of rate over 4 in 5m: 5")
		// A rule that is gone has no state left, and one that comes back begins anew.
		if err := r.engine.Reload([]alerting.Rule{other}); err != nil {
			t.Fatal(err)
		}
		r.source.Add(ev(event.Error, "shop", "failed"))
		r.pass(10 * time.Second)
		if got := r.keys("alerting/series"); len(got) != 1 || !strings.HasPrefix(got[0], "other|") {
			t.Errorf("series %q", got)
		}
	})
}

// keys are those of a bucket of the state.
func (r *rig) keys(bucket string) (keys []string) {
	r.t.Helper()
	err := r.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(bucket)).ForEach(func(k, _ []byte) error {
			keys = append(keys, string(k))
			return nil
		})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return keys
}

// Incidents that were made when fingerprints were m1 go on while they are open, and are not told a second time.
func TestOldFingerprints(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules = r.opts.Rules[:1]
		r.run()
		r.source.Add(ev(event.Error, "shop", "order 1 failed"))
		r.pass(10 * time.Second)
		r.halt()
		one := ev(event.Error, "shop", "order 2 failed")
		r.rename("errors|"+alerting.Fingerprint(&one), "errors|"+alerting.OldFingerprint(&one))
		r.run()
		r.source.Add(one)
		r.pass(10 * time.Second)
		r.wantTitles("#errors", "[error] shop: order 1 failed")
		r.pass(8 * 24 * time.Hour)
		r.source.Add(one)
		r.pass(10 * time.Second)
		r.wantTitles("#errors", "[error] shop: order 1 failed", "[error] shop: order 2 failed")
	})
}

// rename puts an incident under another key, as an older lookout would have made it.
func (r *rig) rename(from, to string) {
	r.t.Helper()
	err := r.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte("alerting/incident"))
		v := b.Get([]byte(from))
		if v == nil {
			return fmt.Errorf("there is no %s", from)
		}
		_, a, _ := strings.Cut(from, "|")
		_, z, _ := strings.Cut(to, "|")
		return errors.Join(b.Put([]byte(to), []byte(strings.Replace(string(v), a, z, 1))), b.Delete([]byte(from)))
	})
	if err != nil {
		r.t.Fatal(err)
	}
}
