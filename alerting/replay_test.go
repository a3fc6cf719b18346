package alerting_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

// written are notifications as text, channel by channel: at one instant channels have no order among each other.
func written(list []alerting.Notification) []string {
	lines := make([]string, len(list))
	for i, n := range list {
		lines[i] = fmt.Sprintf("%s %s %s %+v", n.Channel, n.At.UTC().Format(time.RFC3339Nano), n.Kind, n.Message)
	}
	slices.SortStableFunc(lines, func(a, b string) int {
		channel := func(s string) string { c, _, _ := strings.Cut(s, " "); return c }
		return strings.Compare(channel(a), channel(b))
	})
	return lines
}

// differ reports the first lines in which two lists differ.
func differ(t *testing.T, live, replayed []string) {
	t.Helper()
	for i := range max(len(live), len(replayed)) {
		var a, b string
		if i < len(live) {
			a = live[i]
		}
		if i < len(replayed) {
			b = replayed[i]
		}
		if a != b {
			t.Errorf("notification %d of %d and %d:\n  live:     %s\n  replayed: %s", i+1, len(live), len(replayed), a, b)
			return
		}
	}
}

// days makes some days of events: quiet hours, bursts, a flood, things that go down and come up, events of interest. Times are to
// the nanosecond, so that nothing becomes due at the very moment of an event. Each batch was received at once.
func days(seed uint64, from time.Time, n int) (batches [][]event.Event) {
	r := rand.New(rand.NewPCG(seed, 7))
	at := from
	add := func(list ...event.Event) {
		for i := range list {
			list[i].Received, list[i].Time = at.UnixNano(), at.UnixNano()-int64(r.IntN(1000))
		}
		batches = append(batches, list)
	}
	wait := func(most time.Duration) { at = at.Add(1 + time.Duration(r.Int64N(int64(most)))) }
	isDown := map[int]bool{}
	for len(batches) < n {
		switch k := r.IntN(100); {
		case k < 40:
			wait(2 * time.Minute)
			add(ev(event.Info, "shop", fmt.Sprintf("GET /products/%d took %d ms", r.IntN(100), r.IntN(90))), ev(event.Info, "pay", "charged"))
		case k < 60:
			wait(time.Minute)
			service := [...]string{"shop", "pay", "cart"}[r.IntN(3)]
			add(ev(event.Error, service, fmt.Sprintf("%s failed after %d ms", [...]string{"charge", "checkout", "login", "search"}[r.IntN(4)], r.IntN(900))))
		case k < 75:
			for range r.IntN(8) {
				wait(3 * time.Second)
				add(ev(event.Info, "shop", fmt.Sprintf("order shipped %d", r.IntN(10000))))
			}
		case k < 85:
			wait(10 * time.Minute)
			i := r.IntN(3)
			one := down(fmt.Sprintf("web%d", i))
			if isDown[i] {
				one = up(fmt.Sprintf("web%d", i))
			}
			isDown[i] = !isDown[i]
			add(one)
		case k < 88:
			for i := range 30 + r.IntN(30) { // more than a channel takes
				wait(2 * time.Second)
				add(ev(event.Error, "cart", fmt.Sprintf("%s is broken", strings.Repeat(string(rune('a'+i%26)), 1+i/26)+"x")))
			}
		default:
			wait(4 * time.Hour)
			add(ev(event.Warning, "db", "disk is slow"))
		}
	}
	return batches
}

// ruleSet is what is replayed.
func ruleSet(t *testing.T) []alerting.Rule {
	probes := rule(t, "probes", "stream:probe change:down", "#ops")
	probes.Resolve = rule(t, "x", "stream:probe change:up", "#ops").Query
	probes.Severity = alerting.Critical
	errs := rule(t, "errors", "level>=error -stream:probe", "#errors")
	errs.Channels = append(errs.Channels, "#ops")
	return []alerting.Rule{errs, rule(t, "warnings", "level=warning", "#ops"), each(rule(t, "shipped", `"order shipped"`, "#shop")), probes}
}

// apart keeps channels from waiting for each other: which of them comes first when they want something at the same moment is for
// the scheduler to decide.
var apart = alerting.Limits{Workspace: 1, Edit: 1}

// modeSet are rules of the modes that have a state.
func modeSet(t *testing.T) []alerting.Rule {
	mode := func(name, text string, mode alerting.Mode) alerting.Rule {
		r := rule(t, name, text, "#modes")
		r.Mode = mode
		return r
	}
	many := mode("many", "failed", alerting.ModeRate)
	many.Above, many.Window, many.By = 5, 10*time.Minute, []string{"service"}
	few := mode("few", "service:pay", alerting.ModeRate)
	few.Below, few.Window = 2, time.Hour
	silent := mode("silent", "service:(shop, pay)", alerting.ModeAbsent)
	silent.After = 3 * time.Hour
	odd := mode("odd", "service:cart", alerting.ModeUnexpected)
	odd.Expect = []alerting.Expectation{{Query: rule(t, "x", "broken", "#x").Query}}
	return []alerting.Rule{many, few, silent, odd, mode("learned", "*", alerting.ModeAbsent), mode("new", "level>=error", alerting.ModeNew), mode("spike", "level>=error", alerting.ModeSpike)}
}

// Issue 7: a backtest equals what went out live, notification for notification: the same events, sent at the times at which they
// were received, to an engine with all its goroutines, and then replayed.
func TestReplayEqualsLive(t *testing.T) {
	for _, c := range []struct {
		threads, modes, marks bool
		least                 int // notifications
	}{{true, false, false, 100}, {false, false, true, 100}, {true, true, true, 30}} {
		threads := c.threads
		t.Run(fmt.Sprintf("threads %v modes %v marks %v", threads, c.modes, c.marks), func(t *testing.T) {
			var live []string
			var batches [][]event.Event
			var out alerting.Notifier
			var stop time.Time
			var rules []alerting.Rule
			inBubble(t, func(r *rig) {
				notes := &alertingtest.Tape{}
				if out = notes; threads {
					out = alertingtest.ThreadedTape{Tape: notes}
				}
				if rules = ruleSet(t); c.modes {
					rules = modeSet(t)
				}
				r.opts.Notifier, r.opts.Rules, r.opts.Limits = out, rules, apart
				batches = days(1, time.Now(), 250)
				if c.marks {
					withMarks(batches)
				}
				r.run()
				for _, batch := range batches {
					r.pass(time.Until(time.Unix(0, batch[0].Received)))
					r.source.Add(batch...)
					synctest.Wait()
				}
				r.pass(10*time.Minute + 1)
				stop = time.Now()
				live = written(notes.Took())
			})
			if len(live) < c.least {
				t.Fatalf("only %d notifications: the events are too tame", len(live))
			}

			for _, size := range []int{1, 1000} { // of what the store delivers at once
				differ(t, live, written(replay(t, alerting.Options{Notifier: out, Rules: rules, Limits: apart, Fallbacks: []string{"#errors"}}, batches, size, stop)))
			}
		})
	}
}

// withMarks has services marked and events come late, before, beside and behind what happens.
func withMarks(batches [][]event.Event) {
	for i, b := range batches {
		at, m := b[0].Received, deploy([]string{"shop", "pay", "cart"}[i%3], fmt.Sprint("v", i/6))
		m.Received, m.Time = at, at
		switch i % 8 {
		case 2:
			batches[i] = append([]event.Event{m}, b...)
		case 5:
			batches[i] = append(b, m)
		case 7:
			for j := range b {
				b[j].Time -= int64(2 * time.Hour)
			}
		}
	}
}

// replay replays batches, size of them at once.
func replay(t *testing.T, o alerting.Options, batches [][]event.Event, size int, until time.Time) (took []alerting.Notification) {
	t.Helper()
	o.DB = openDB(t, filepath.Join(t.TempDir(), "replay.db"))
	defer o.DB.Close()
	r, err := alerting.NewReplay(o, func(n alerting.Notification) { took = append(took, n) })
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	for some := range slices.Chunk(batches, size) {
		var events []event.Event
		for _, batch := range some {
			for _, e := range batch {
				seq++
				e.Seq = seq
				events = append(events, e)
			}
		}
		if err := r.Feed(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Until(t.Context(), until); err != nil {
		t.Fatal(err)
	}
	return took
}
