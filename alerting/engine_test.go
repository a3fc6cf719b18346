package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

// rig is an engine with stand-ins around it, inside a synctest bubble.
type rig struct {
	t      *testing.T
	db     *bbolt.DB
	source *alertingtest.Source
	out    *alertingtest.Recorder
	clock  *alertingtest.Clock
	log    *strings.Builder
	opts   alerting.Options
	engine *alerting.Engine
	stop   func() error
}

func openDB(t testing.TB, path string) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, NoFreelistSync: true})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// inBubble runs a test with a rig whose clock stands still while anything is done.
func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{
			t: t, db: openDB(t, filepath.Join(t.TempDir(), "state.db")),
			source: new(alertingtest.Source), out: new(alertingtest.Recorder), clock: new(alertingtest.Clock), log: new(strings.Builder),
		}
		r.opts = alerting.Options{
			DB: r.db, Source: r.source, Notifier: r.out, Fallbacks: []string{"#errors"}, Clock: r.clock,
			Log:   slog.New(slog.NewTextHandler(r.log, nil)),
			Rules: []alerting.Rule{rule(t, "errors", "level>=error -service:lookout", "#errors"), each(rule(t, "shipped", `"order shipped"`, "#shop"))},
		}
		defer func() {
			r.halt()
			if err := r.db.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(r)
	})
}

func rule(t testing.TB, name, text, channel string) alerting.Rule {
	t.Helper()
	q, err := query.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return alerting.Rule{Name: name, Query: q, Channels: []string{channel}}
}

func each(r alerting.Rule) alerting.Rule {
	r.Notify = alerting.Each
	return r
}

// run starts the engine, after a halt another one on the same state.
func (r *rig) run() {
	r.t.Helper()
	if r.engine == nil {
		e, err := alerting.New(r.opts)
		if err != nil {
			r.t.Fatal(err)
		}
		r.engine = e
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.engine.Run(ctx) }()
	r.stop = func() error {
		cancel()
		return <-done
	}
	synctest.Wait()
}

// halt stops the engine as SIGTERM does.
func (r *rig) halt() {
	r.t.Helper()
	if r.stop != nil {
		if err := r.stop(); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}
	r.stop, r.engine = nil, nil
}

// pass lets time go by, with all that becomes due in it.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

func (r *rig) stats() alerting.Stats {
	r.t.Helper()
	s, err := r.engine.Stats()
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) titles(channel string) []string {
	var titles []string
	for _, s := range r.out.Sent(channel) {
		titles = append(titles, s.Message.Title)
	}
	return titles
}

func (r *rig) wantTitles(channel string, want ...string) {
	r.t.Helper()
	if got := r.titles(channel); strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("%s has the messages\n  %s\nwant\n  %s", channel, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func ev(level event.Level, service, message string) event.Event {
	return event.Event{Level: level, Service: []byte(service), Message: []byte(message)}
}

// lines are the events that a gathered message shows; one alone stands in the title.
func lines(m alerting.Message) []string {
	if len(m.Lines) == 0 {
		return []string{m.Title}
	}
	return m.Lines
}

// word is a number without digits or hex letters, so that no mask takes two for one.
func word(n int) string {
	const letters = "ghijklmnopqrstuvwxyz"
	var b []byte
	for i := 0; i < 4; i++ {
		b = append(b, letters[n%len(letters)])
		n /= len(letters)
	}
	return "mk" + string(b)
}

func TestRulesPickEventsAndChannels(t *testing.T) {
	// As internal/config makes them of the channels.
	defaults := []alerting.Rule{rule(t, "errors", "level>=error", "#errors"), rule(t, "warnings", "level=warning", "#warnings")}
	naming := rule(t, "self", "service:lookout level>=error", "#self")
	info := each(rule(t, "shipped", `"order shipped"`, "#shop"))
	tests := []struct {
		name  string
		rules []alerting.Rule
		event event.Event
		want  map[string]string
	}{
		{"error", defaults, ev(event.Error, "shop", "no stock"), map[string]string{"#errors": "[error] shop: no stock"}},
		{"worse than error", defaults, ev(event.Alert, "shop", "no stock"), map[string]string{"#errors": "[alert] shop: no stock"}},
		{"warning", defaults, ev(event.Warning, "shop", "low stock"), map[string]string{"#warnings": "[warning] shop: low stock"}},
		{"info", defaults, ev(event.Info, "shop", "order shipped"), nil},
		{"no level", defaults, ev(event.None, "shop", "error"), nil},
		{"own error, default rules", defaults, ev(event.Error, "lookout", "cannot send"), nil},
		{"own error, a rule for any service", []alerting.Rule{rule(t, "any", "cannot", "#any")}, ev(event.Error, "lookout", "cannot send"), nil},
		{"own error, a rule that names it", []alerting.Rule{naming}, ev(event.Error, "lookout", "cannot send"), map[string]string{"#self": "[error] lookout: cannot send"}},
		{"whitelisted info", []alerting.Rule{info}, ev(event.Info, "shop", "order shipped 7"), map[string]string{"#shop": "shipped: shop order shipped 7"}},
		{"two rules", append(defaults, info), ev(event.Error, "shop", "order shipped twice"), map[string]string{"#errors": "[error] shop: order shipped twice", "#shop": "shipped: shop order shipped twice"}},
		{"no rule", nil, ev(event.Error, "shop", "no stock"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.opts.Rules = tt.rules
				r.run()
				r.source.Add(tt.event)
				r.pass(10 * time.Second)
				if got := r.out.Sent(); len(got) != len(tt.want) {
					t.Errorf("%d messages, want %d: %v", len(got), len(tt.want), got)
				}
				for channel, title := range tt.want {
					r.wantTitles(channel, title)
				}
			})
		})
	}
}

func TestEachIsGatheredAndComplete(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		start := time.Now()
		r.source.Add(ev(event.Info, "shop", "order shipped 1"), ev(event.Info, "shop", "order shipped 2"))
		r.pass(3 * time.Second)
		r.source.Add(ev(event.Info, "shop", "order shipped 3"))
		r.pass(1999 * time.Millisecond)
		r.wantTitles("#shop")
		r.pass(time.Millisecond)
		r.wantTitles("#shop", "shipped 3")
		// The second message keeps its distance from the first, and gathers for itself.
		r.pass(2 * time.Second)
		r.source.Add(ev(event.Info, "shop", "order shipped 4"))
		r.pass(10 * time.Second)
		sent := r.out.Sent("#shop")
		if len(sent) != 2 {
			t.Fatalf("%d messages, want 2", len(sent))
		}
		for i, want := range []time.Duration{5 * time.Second, 12 * time.Second} {
			if got := sent[i].At.Sub(start); got != want {
				t.Errorf("message %d came after %v, want %v", i, got, want)
			}
		}
		if got, want := strings.Join(sent[0].Message.Lines, "|"), "2000-01-01 00:00:00Z shop order shipped 1|2000-01-01 00:00:00Z shop order shipped 2|2000-01-01 00:00:03Z shop order shipped 3"; got != want {
			t.Errorf("lines %q, want %q", got, want)
		}
		if sent[0].Message.Severity != alerting.Info {
			t.Errorf("severity %q", sent[0].Message.Severity)
		}
	})
}

// A flood of events of interest takes longer than the budget allows at once; each is shown all the same.
func TestEachShowsEveryoneInAFlood(t *testing.T) {
	inBubble(t, func(r *rig) {
		const n = 3000
		r.run()
		for i := range n {
			r.source.Add(ev(event.Info, "shop", "order shipped "+word(i)))
		}
		r.pass(20 * time.Minute)
		sent := r.out.Sent("#shop")
		next := 0
		for i, s := range sent {
			weight := 0
			for _, l := range lines(s.Message) {
				if !strings.HasSuffix(l, word(next)) {
					t.Fatalf("line %d is %q, want …%s", next, l, word(next))
				}
				weight += alerting.Weight(l) + 1
				next++
			}
			if weight > alerting.MaxGathered {
				t.Errorf("message %d weighs %d", i, weight)
			}
			if i > 0 && s.At.Sub(sent[i-1].At) < 5*time.Second {
				t.Errorf("message %d came %v after the one before", i, s.At.Sub(sent[i-1].At))
			}
			if i >= 20 && s.At.Sub(sent[i-20].At) < 5*time.Minute {
				t.Errorf("21 messages in %v", s.At.Sub(sent[i-20].At))
			}
		}
		if next != n {
			t.Errorf("%d lines shown, want %d", next, n)
		}
	})
}

// Beyond what may wait, events are counted in the overview instead.
func TestEachBeyondTheQueueIsCounted(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Limits.Waiting = 2
		r.run()
		const n = 1000
		var events []event.Event
		for i := range n {
			events = append(events, ev(event.Info, "shop", "order shipped "+word(i)))
		}
		r.source.Add(events...)
		r.pass(10 * time.Minute)
		shown, held := 0, int64(0)
		for _, s := range r.out.Sent("#shop") {
			if strings.Contains(s.Message.Title, "more held") {
				if _, err := fmt.Sscanf(s.Message.Title+" "+s.Message.Lines[0], "%d more held: this channel is full By rule: shipped %d", &held, &held); err != nil {
					t.Error(err)
				}
				continue
			}
			shown += len(lines(s.Message))
		}
		if shown == 0 || held == 0 || shown+int(held) != n {
			t.Errorf("%d shown and %d counted, together they should be %d", shown, held, n)
		}
		if got := r.stats().Held; int64(got) != held {
			t.Errorf("Stats().Held is %d, the message says %d", got, held)
		}
	})
}

func TestIncidentIsToldOnceAndCounts(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 50 {
			r.source.Add(ev(event.Error, "shop", fmt.Sprintf("order %d failed after %d ms", i, i*7)))
		}
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", "order 99 failed after 3 ms"), ev(event.Error, "shop", "no stock"), ev(event.Error, "pay", "no stock"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: order 0 failed after 0 ms", "[error] shop: no stock", "[error] pay: no stock")
		if got := r.stats().Matched["errors"]; got != 53 {
			t.Errorf("%d matches counted, want 53", got)
		}
	})
}

// What is still waiting says the count of when it is sent.
func TestIncidentIsRenderedWhenSent(t *testing.T) {
	inBubble(t, func(r *rig) {
		var up atomic.Bool
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if !up.Load() {
				return &alerting.DeliveryError{Class: alerting.Transient, Unsent: true, Err: errors.New("connection refused")}
			}
			return nil
		}
		r.run()
		for range 6 { // with an hour between, each would be an incident of its own
			r.source.Add(ev(event.Error, "shop", "no stock"))
			r.pass(time.Hour)
		}
		up.Store(true)
		r.pass(6 * time.Minute)
		sent := r.out.Sent("#errors")
		if len(sent) != 1 {
			t.Fatalf("%d messages, want one for the whole outage", len(sent))
		}
		text := sent[0].Message.Text()
		for _, want := range []string{"6 times from 2000-01-01 00:00:00Z to 05:00:00Z", "delivered late, after 6h"} {
			if !strings.Contains(text, want) {
				t.Errorf("message lacks %q:\n%s", want, text)
			}
		}
		if strings.Contains(text, alerting.NoteAgain) {
			t.Errorf("message says it may be a repeat, but it never left:\n%s", text)
		}
	})
}

func TestIncidentReopensAfterQuiet(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		happen := func() { r.source.Add(ev(event.Error, "shop", "no stock")) }
		told := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			r.pass(2 * time.Second)
			if got := len(r.out.Sent("#errors")); got != want {
				t.Fatalf("%s: %d messages, want %d", when, got, want)
			}
		}
		happen()
		told(1, "first")
		r.pass(29 * time.Minute)
		happen()
		told(1, "within half an hour")
		r.pass(10 * time.Hour)
		happen()
		told(2, "after ten times its gap")
		if text := r.out.Sent("#errors")[1].Message.Text(); !strings.Contains(text, "again, 2 times since 2000-01-01 00:00:00Z") {
			t.Errorf("the second message does not say what was before:\n%s", text)
		}
		// It has learned that gaps of ten hours are its way, so it stays open for a day.
		for range 3 {
			r.pass(11 * time.Hour)
			happen()
		}
		told(2, "at its usual gaps")
		r.pass(25 * time.Hour)
		r.source.Add(ev(event.Error, "shop", "'no' stock"), ev(event.Error, "shop", "no stock 1"))
		r.source.Add(ev(event.Error, "shop", "no stock"))
		told(5, "after the longest quiet")
		r.pass(25 * time.Hour)
		r.source.Add(ev(event.Error, "shop", "no stock 2"))
		told(6, "another like the one before")
		if got := r.titles("#errors")[5]; got != "[error] shop: no stock 2" {
			t.Errorf("the sample is %q, want the newest", got)
		}
	})
}

func TestFloodIsHeldAndCounted(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules = append(r.opts.Rules, rule(t, "warnings", "level=warning", "#errors"))
		r.run()
		for i := range 100 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(time.Minute)
		sent := r.out.Sent("#errors")
		if len(sent) != 21 {
			t.Fatalf("%d messages, want 20 and an overview", len(sent))
		}
		o := sent[20]
		if o.Message.Title != "80 more held: this channel is full" || o.Message.Lines[0] != "By rule: errors 80" {
			t.Errorf("overview says %q %q", o.Message.Title, o.Message.Lines)
		}
		// What is held already counts once, however often it happens.
		r.source.Add(ev(event.Error, "shop", word(98)), ev(event.Error, "shop", word(99)))
		// It rolls: more of it edits the same message.
		for i := range 5 {
			r.source.Add(ev(event.Warning, "shop", word(200+i)))
			r.pass(time.Second)
		}
		r.pass(time.Minute)
		sent = r.out.Sent("#errors")
		if len(sent) != 21 || sent[20].Edits == 0 || sent[20].Edits > 2 || sent[20].Message.Lines[0] != "By rule: errors 80, warnings 5" {
			t.Fatalf("%d messages, the overview says %q after %d edits", len(sent), sent[20].Message.Lines, sent[20].Edits)
		}
		// After the window others are told again, and so is one that was held and still happens.
		r.pass(6 * time.Minute)
		r.source.Add(ev(event.Error, "shop", "news"), ev(event.Error, "shop", word(99)), ev(event.Error, "shop", word(0)))
		r.pass(time.Minute)
		if got := r.titles("#errors")[21:]; strings.Join(got, ",") != "[error] shop: news,[error] shop: "+word(99) {
			t.Errorf("after the flood: %q", got)
		}
		// Another flood has another overview.
		for i := range 100 {
			r.source.Add(ev(event.Error, "shop", word(300+i)))
		}
		r.pass(time.Minute)
		sent = r.out.Sent("#errors")
		if last := sent[len(sent)-1].Message; last.Title != "82 more held: this channel is full" {
			t.Errorf("the second overview says %q", last.Title)
		}
		if got := r.stats().Held; got != 80+5+82 {
			t.Errorf("Stats().Held is %d", got)
		}
	})
}

func TestBudgetSurvivesRestart(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for i := range 4 {
			for k := range 10 {
				r.source.Add(ev(event.Error, "shop", word(i*10+k)))
			}
			r.pass(20 * time.Second)
			r.halt()
			r.run()
		}
		if got := len(r.out.Sent("#errors")); got != 21 {
			t.Errorf("%d messages, want 20 and an overview", got)
		}
	})
}

// Gathered messages and alerts share the budget and neither keeps the other out.
func TestEachAndAlertsShareTheBudget(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules[1].Channels = []string{"#errors"}
		r.run()
		for i := range 90 {
			for k := range 10 {
				r.source.Add(ev(event.Error, "shop", word(10*i+k)))
			}
			r.source.Add(ev(event.Info, "shop", "order shipped "+word(i)))
			r.pass(10 * time.Second)
		}
		r.pass(10 * time.Minute)
		shown, alerts := 0, 0
		var posts []time.Time
		for _, s := range r.out.Sent("#errors") {
			switch {
			case strings.Contains(s.Message.Title, "more held"):
				continue
			case strings.HasPrefix(s.Message.Title, "shipped"):
				shown += len(lines(s.Message))
			default:
				alerts++
			}
			posts = append(posts, s.At)
		}
		if shown != 90 {
			t.Errorf("%d of 90 events shown", shown)
		}
		if alerts < 20 {
			t.Errorf("only %d alerts told", alerts)
		}
		for i := 20; i < len(posts); i++ {
			if posts[i].Sub(posts[i-20]) < 5*time.Minute {
				t.Fatalf("21 messages in %v", posts[i].Sub(posts[i-20]))
			}
		}
	})
}

func TestFirstStartForgetsHistory(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.source.Add(ev(event.Error, "shop", "old"))
		r.run()
		r.source.Add(ev(event.Error, "shop", "new"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: new")
		r.halt()
		r.source.Add(ev(event.Error, "shop", "while it was down"))
		r.run()
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: new", "[error] shop: while it was down")
	})
}

func TestPositionIsWrittenOnceASecond(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		before := r.db.Stats()
		for range 3000 {
			r.source.Add(ev(event.Info, "shop", "nothing"))
			r.pass(time.Millisecond)
		}
		r.pass(time.Second)
		after := r.db.Stats()
		if writes := after.TxStats.GetWrite() - before.TxStats.GetWrite(); writes == 0 || writes > 5*8 {
			t.Errorf("%d pages written in 4 s", writes)
		}
		r.pass(2 * time.Second)
		idle := r.db.Stats()
		if idle.TxStats.GetWrite() != after.TxStats.GetWrite() {
			t.Error("written while nothing happened")
		}
		if s := r.stats(); s.Position != 3000 || s.Lag != 0 {
			t.Errorf("position %d, lag %d", s.Position, s.Lag)
		}
		// Nobody stopped it in order: the position is there all the same.
		e, err := alerting.New(r.opts)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := e.Stats(); err != nil || s.Position != 3000 {
			t.Errorf("another engine stands at %d, %v", s.Position, err)
		}
	})
}

func TestGapIsAnAlert(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Fallbacks = append(r.opts.Fallbacks, "#more") // only the first is told
		r.run()
		r.source.Add(ev(event.Error, "shop", "before"))
		r.source.Gap(2, 40, errors.New("block 7 is damaged"))
		r.source.Add(ev(event.Error, "shop", "behind"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: before",
			"[error] lookout: Events 2 to 40 could not be held against the rules: block 7 is damaged. The server's log says which file is damaged.",
			"[error] shop: behind")
		if m := r.out.Sent("#errors")[1].Message; m.State != "" || m.Incident != "" {
			t.Errorf("a way that rings would ring for the gap: %q %q", m.State, m.Incident)
		}
		if s := r.stats(); s.Gaps != 1 || s.Position != 41 {
			t.Errorf("gaps %d, position %d", s.Gaps, s.Position)
		}
		// A damaged disk makes many; they are one incident.
		r.source.Gap(42, 50, errors.New("block 8 is damaged"))
		r.source.Gap(51, 60, errors.New("block 9 is damaged"))
		r.pass(time.Minute)
		if got := len(r.out.Sent("#errors")); got != 3 {
			t.Errorf("%d messages after more gaps, want 3", got)
		}
		r.wantTitles("#more")
		if s := r.stats(); s.Gaps != 3 || s.Position != 60 {
			t.Errorf("gaps %d, position %d", s.Gaps, s.Position)
		}
	})
}

func TestReadErrorsAreTriedAgain(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.source.Break(errors.New("disk on fire"))
		r.run()
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", "late"))
		r.source.Break(nil)
		r.pass(5 * time.Minute)
		r.wantTitles("#errors", "[error] shop: late")
		if n := r.stats().ReadErrors; n < 3 || n > 10 {
			t.Errorf("%d read errors in a minute of back-off", n)
		}
	})
}

func TestStoreThatWentBack(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		for range 10 {
			r.source.Add(ev(event.Info, "shop", "x"))
		}
		r.pass(2 * time.Second)
		r.halt()
		r.source.Truncate(4)
		r.run()
		r.source.Add(ev(event.Error, "shop", "after the restore"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "lookout: the store is older than its alerts", "[error] shop: after the restore")
	})
}

func TestReload(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.source.Add(ev(event.Error, "shop", "one"))
		synctest.Wait()
		if err := r.engine.Reload([]alerting.Rule{{Name: "broken"}}); err == nil {
			t.Error("a rule without a query was taken")
		}
		r.source.Add(ev(event.Error, "shop", "two"))
		synctest.Wait()
		if err := r.engine.Reload([]alerting.Rule{rule(t, "all", "", "#all")}); err != nil {
			t.Error(err)
		}
		r.source.Add(ev(event.Error, "shop", "three"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: one", "[error] shop: two")
		r.wantTitles("#all", "[error] shop: three")
	})
}

// A clock that jumps delays nothing for long and sends nothing twice.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.run()
				for i := range 20 {
					r.source.Add(ev(event.Error, "shop", word(i)))
				}
				r.source.Add(ev(event.Info, "shop", "order shipped"))
				r.pass(30 * time.Second)
				r.clock.Jump(jump)
				r.source.Add(ev(event.Error, "shop", "after"), ev(event.Info, "shop", "order shipped again"))
				r.pass(30 * time.Second)
				if got := r.titles("#errors"); len(got) != 21 || got[20] != "[error] shop: after" {
					t.Errorf("%d messages, the last %q", len(got), got[len(got)-1])
				}
				if got := len(r.out.Sent("#shop")); got != 2 {
					t.Errorf("%d gathered messages, want 2", got)
				}
			})
		})
	}
}

// Too many kinds of messages are one incident more, not ten thousand.
func TestPatternsAreBounded(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Limits.Patterns = 3
		r.run()
		for i := range 10 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.source.Add(ev(event.Error, "pay", "another service"), ev(event.Error, "shop", word(1)))
		r.pass(time.Minute)
		want := []string{"[error] shop: " + word(0), "[error] shop: " + word(1), "[error] shop: " + word(2),
			"[error] shop: more than 3 different messages, the latest: " + word(3), "[error] pay: another service"}
		r.wantTitles("#errors", want...)
		// Those that are known stay apart.
		r.pass(time.Hour)
		r.source.Add(ev(event.Error, "shop", word(1)))
		r.pass(time.Minute)
		want = append(want, "[error] shop: "+word(1))
		r.wantTitles("#errors", want...)
		r.halt()
		r.run()
		r.source.Add(ev(event.Error, "shop", word(77)))
		r.pass(time.Minute)
		want = append(want, "[error] shop: more than 3 different messages, the latest: "+word(77))
		r.wantTitles("#errors", want...)
		// After a week of quiet they are forgotten, and there is room again.
		r.pass(8 * 24 * time.Hour)
		r.source.Add(ev(event.Info, "shop", "time goes by"))
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", word(78)))
		r.pass(time.Minute)
		r.wantTitles("#errors", append(want, "[error] shop: "+word(78))...)
	})
}

func TestStopWaitsForTheMessageOnItsWay(t *testing.T) {
	for _, tt := range []struct {
		name   string
		takes  time.Duration
		stop   time.Duration
		repeat bool
	}{
		{"answered within the grace", 2 * time.Second, 2 * time.Second, false},
		{"not answered", time.Hour, 3 * time.Second, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.out.Answer = func(ctx context.Context, _ string, _ alerting.Message, _ alerting.Receipt) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(tt.takes):
						return nil
					}
				}
				r.run()
				r.source.Add(ev(event.Error, "shop", "no stock"))
				synctest.Wait()
				start := time.Now()
				r.halt()
				if took := time.Since(start); took != tt.stop {
					t.Errorf("stopping took %v, want %v", took, tt.stop)
				}
				r.out.Answer = nil
				r.run()
				r.pass(time.Minute)
				sent := r.out.Sent("#errors")
				if len(sent) != 1 {
					t.Fatalf("%d messages", len(sent))
				}
				if got := strings.Contains(sent[0].Message.Text(), alerting.NoteAgain); got != tt.repeat {
					t.Errorf("says that it may be a repeat: %v, want %v", got, tt.repeat)
				}
			})
		})
	}
}

// A full disk stops the engine where it stands; when there is room again nothing is missing and nothing counted twice.
func TestFullDisk(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Limits.Budget = 5
		limit := func(size int) {
			// In a transaction, so that the engine's next one sees it.
			if err := r.db.Update(func(*bbolt.Tx) error { r.db.MaxSize = size; return nil }); err != nil {
				t.Fatal(err)
			}
		}
		r.run()
		limit(64 << 10)
		const n = 60
		for i := range n {
			r.source.Add(ev(event.Error, "shop", word(i)+strings.Repeat(" and so on", 300)))
			r.pass(10 * time.Millisecond)
		}
		r.pass(time.Minute)
		stats := r.stats()
		if stats.StateErrors == 0 || stats.Position >= n {
			t.Fatalf("the disk was not full: %d errors, position %d", stats.StateErrors, stats.Position)
		}
		limit(0)
		r.pass(time.Hour)
		told, held := 0, 0
		for _, title := range r.titles("#errors") {
			if more, ok := strings.CutSuffix(title, " more held: this channel is full"); ok {
				n, err := strconv.Atoi(more)
				if err != nil {
					t.Error(err)
				}
				held += n
			} else {
				told++
			}
		}
		if told+held != n || r.stats().Held != uint64(held) {
			t.Errorf("%d told and %d held (%d by the figures), together they should be %d", told, held, r.stats().Held, n)
		}
	})
}

func TestRunEndsWhenTheStateIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openDB(t, filepath.Join(t.TempDir(), "state.db"))
		source := new(alertingtest.Source)
		e, err := alerting.New(alerting.Options{DB: db, Source: source, Notifier: new(alertingtest.Recorder), Rules: []alerting.Rule{rule(t, "all", "", "#all")}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- e.Run(t.Context()) }()
		synctest.Wait()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		source.Add(ev(event.Error, "shop", "no stock"))
		if err := <-done; err == nil || !strings.Contains(err.Error(), "writing matches") {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	good := rule(t, "a", "x", "#c")
	with := func(change func(*alerting.Rule)) []alerting.Rule {
		r := good
		change(&r)
		return []alerting.Rule{r}
	}
	tests := []struct {
		name  string
		rules []alerting.Rule
		want  string
	}{
		{"no name", with(func(r *alerting.Rule) { r.Name = "" }), "rule 1 has no name"},
		{"bar in a name", with(func(r *alerting.Rule) { r.Name = "a|b" }), "neither '|'"},
		{"newline in a name", with(func(r *alerting.Rule) { r.Name = "a\nb" }), "control characters"},
		{"long name", with(func(r *alerting.Rule) { r.Name = strings.Repeat("a", 101) }), "at most 100 bytes"},
		{"reserved", with(func(r *alerting.Rule) { r.Name = "lookout" }), "reserved"},
		{"twice", []alerting.Rule{good, good}, `"a" is there twice`},
		{"no query", with(func(r *alerting.Rule) { r.Query = nil }), "has no query"},
		{"no channel", with(func(r *alerting.Rule) { r.Channels = nil }), "has no channel"},
		{"odd channel", with(func(r *alerting.Rule) { r.Channels = []string{"#a\x00b"} }), "control characters"},
		{"notify", with(func(r *alerting.Rule) { r.Notify = "often" }), "write incident or each"},
		{"severity", with(func(r *alerting.Rule) { r.Severity = "bad" }), "write critical, error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := alerting.Options{DB: db, Source: new(alertingtest.Source), Notifier: new(alertingtest.Recorder), Rules: tt.rules}
			if _, err := alerting.New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want %q", err, tt.want)
			}
		})
	}
	for _, o := range []alerting.Options{
		{Source: new(alertingtest.Source), Notifier: new(alertingtest.Recorder)},
		{DB: db, Notifier: new(alertingtest.Recorder)},
		{DB: db, Source: new(alertingtest.Source)},
		{DB: db, Source: new(alertingtest.Source), Notifier: new(alertingtest.Recorder), Fallbacks: []string{"\x00"}},
	} {
		if _, err := alerting.New(o); err == nil {
			t.Errorf("New(%+v) took it", o)
		}
	}
}

func TestStateOfAnotherFormatIsRefused(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "state.db"))
	defer db.Close()
	put := func(v []byte) {
		t.Helper()
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("alerting/meta"))
			if err != nil {
				return err
			}
			return b.Put([]byte("format"), v)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	o := alerting.Options{DB: db, Source: new(alertingtest.Source), Notifier: new(alertingtest.Recorder)}
	for _, v := range [][]byte{{1, 0, 0, 0, 0, 0, 0, 0, 3}, {1, 0, 0, 0, 0, 0, 0, 0, 0}, {2, 0, 0, 0, 0, 0, 0, 0, 1}, {}, {1}} {
		put(v)
		if _, err := alerting.New(o); err == nil || !strings.Contains(err.Error(), "lookout") {
			t.Errorf("New with format %x: %v", v, err)
		}
		_ = db.View(func(tx *bbolt.Tx) error {
			if tx.Bucket([]byte("alerting/outbox")) != nil {
				t.Errorf("the refused state was changed")
			}
			return nil
		})
	}
	for _, v := range []byte{1, 2} {
		put([]byte{1, 0, 0, 0, 0, 0, 0, 0, v})
		if _, err := alerting.New(o); err != nil {
			t.Errorf("New with format %d: %v", v, err)
		}
	}
}

// records counts the records of a bucket.
func (r *rig) records(bucket string) (n int) {
	r.t.Helper()
	err := r.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket([]byte(bucket)).Stats().KeyN
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}
