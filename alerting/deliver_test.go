package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// script answers the calls of a channel with these errors, one each, and lets the rest pass. It notes when calls came.
type script struct {
	mu      sync.Mutex
	answers map[string][]error
	calls   map[string][]time.Time
	plain   map[string][]bool
}

func (s *script) answer(_ context.Context, channel string, m alerting.Message, _ alerting.Receipt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls, s.plain = map[string][]time.Time{}, map[string][]bool{}
	}
	s.calls[channel] = append(s.calls[channel], time.Now())
	s.plain[channel] = append(s.plain[channel], m.Plain)
	if len(s.answers[channel]) == 0 {
		return nil
	}
	err := s.answers[channel][0]
	s.answers[channel] = s.answers[channel][1:]
	return err
}

// gaps are the times between the calls of a channel.
func (s *script) gaps(channel string) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(s.calls[channel]); i++ {
		gaps = append(gaps, s.calls[channel][i].Sub(s.calls[channel][i-1]))
	}
	return gaps
}

func failure(c alerting.Class) *alerting.DeliveryError {
	return &alerting.DeliveryError{Class: c, Err: errors.New("told to fail")}
}

func TestClassesOfFailure(t *testing.T) {
	second := func(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
	after := func(d time.Duration) error {
		f := failure(alerting.Wait)
		f.RetryAfter = d
		return f
	}
	unsent := failure(alerting.Transient)
	unsent.Unsent = true
	tests := []struct {
		name    string
		answers []error
		gaps    []time.Duration // at least; at most a tenth more
		repeat  bool
		sent    int
		dead    int
	}{
		{"none", nil, nil, false, 1, 0},
		{"wait as told", []error{after(second(7))}, []time.Duration{second(7)}, false, 1, 0},
		{"wait untold", []error{failure(alerting.Wait)}, []time.Duration{second(30)}, false, 1, 0},
		{"wait absurdly", []error{after(1000 * time.Hour)}, []time.Duration{time.Hour}, false, 1, 0},
		{"wait a moment", []error{after(time.Millisecond)}, []time.Duration{second(1)}, false, 1, 0}, // the pace still holds
		{"transient", []error{failure(alerting.Transient), failure(alerting.Transient), failure(alerting.Transient)}, []time.Duration{second(1), second(2), second(4)}, true, 1, 0},
		{"no class", []error{errors.New("something")}, []time.Duration{second(1)}, true, 1, 0},
		{"transient, certainly not sent", []error{unsent}, []time.Duration{second(1)}, false, 1, 0},
		{"not sent after perhaps sent", []error{failure(alerting.Transient), unsent}, []time.Duration{second(1), second(2)}, true, 1, 0},
		{"broken", []error{failure(alerting.Broken), failure(alerting.Broken)}, []time.Duration{5 * time.Minute, 5 * time.Minute}, false, 1, 0},
		{"fault, plain accepted", []error{failure(alerting.Fault)}, []time.Duration{second(1)}, false, 1, 0},
		{"fault, plain refused", []error{failure(alerting.Fault), failure(alerting.Fault)}, []time.Duration{second(1)}, false, 0, 1},
		{"edit refused without an edit", []error{failure(alerting.EditRefused)}, []time.Duration{second(1)}, false, 1, 0},
		{"edit refused without an edit, twice", []error{failure(alerting.EditRefused), failure(alerting.EditRefused)}, []time.Duration{second(1)}, false, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				s := &script{answers: map[string][]error{"#errors": tt.answers}}
				r.out.Answer = s.answer
				r.run()
				r.source.Add(ev(event.Error, "shop", "no stock"))
				patience := 25 * time.Minute // in 30 it is resolved
				for _, gap := range tt.gaps {
					patience = max(patience, 2*gap)
				}
				r.pass(patience)
				gaps := s.gaps("#errors")
				if len(gaps) != len(tt.gaps) {
					t.Fatalf("pauses %v, want %v", gaps, tt.gaps)
				}
				for i, want := range tt.gaps {
					if gaps[i] < want || gaps[i] > want+want/10+1 {
						t.Errorf("pause %d is %v, want %v and up to a tenth more", i, gaps[i], want)
					}
				}
				sent := r.out.Sent("#errors")
				if len(sent) != tt.sent {
					t.Fatalf("%d messages, want %d", len(sent), tt.sent)
				}
				if tt.sent == 1 {
					if got := strings.Contains(sent[0].Message.Text(), alerting.NoteAgain); got != tt.repeat {
						t.Errorf("says that it may be a repeat: %v, want %v", got, tt.repeat)
					}
				}
				stats := r.stats()
				var failed uint64
				for _, n := range stats.Failed {
					failed += n
				}
				if int(failed) != len(tt.answers) || stats.Sent != uint64(tt.sent) || stats.DeadLetters != tt.dead || stats.Dead != uint64(tt.dead) || stats.Outbox != 0 || len(stats.Parked) != 0 {
					t.Errorf("stats %+v", stats)
				}
				if want := map[bool]uint64{true: 1}[tt.repeat]; stats.Repeats != want {
					t.Errorf("%d repeats counted, want %d", stats.Repeats, want)
				}
			})
		})
	}
}

func TestBackoffHasATopAndStartsAnew(t *testing.T) {
	inBubble(t, func(r *rig) {
		s := &script{answers: map[string][]error{}}
		for range 15 {
			s.answers["#errors"] = append(s.answers["#errors"], failure(alerting.Transient))
		}
		s.answers["#errors"] = append(s.answers["#errors"], nil, failure(alerting.Transient))
		r.out.Answer = s.answer
		r.run()
		r.source.Add(ev(event.Error, "shop", "one"))
		r.pass(2 * time.Hour)
		r.source.Add(ev(event.Error, "shop", "two"))
		r.pass(20 * time.Minute)
		gaps := s.gaps("#errors")
		for _, g := range gaps[9:15] {
			if g < 5*time.Minute || g > 5*time.Minute+31*time.Second {
				t.Errorf("a late pause is %v, want 5 min", g)
			}
		}
		if last := gaps[len(gaps)-1]; last > 2*time.Second {
			t.Errorf("the pause after a success and a failure is %v, want 1 s", last)
		}
	})
}

// Events that come while a message is on its way go into the next one, whatever becomes of the first.
func TestEventsDuringSending(t *testing.T) {
	for _, result := range []error{nil, failure(alerting.Transient), failure(alerting.Wait)} {
		t.Run(fmt.Sprint(result), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				var once sync.Once
				r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) (err error) {
					once.Do(func() {
						time.Sleep(10 * time.Second)
						err = result
					})
					return err
				}
				r.run()
				for i := range 30 {
					r.source.Add(ev(event.Info, "shop", "order shipped "+word(i)))
					r.pass(time.Second)
				}
				r.pass(2 * time.Minute)
				var got []string
				for _, s := range r.out.Sent("#shop") {
					for _, l := range lines(s.Message) {
						got = append(got, l[len(l)-len(word(0)):])
					}
				}
				for i := range 30 {
					if i >= len(got) || got[i] != word(i) {
						t.Fatalf("shown %q, want all 30 in order", got)
					}
				}
			})
		})
	}
}

// A message that may be there is finished, even when the budget has become too small for it.
func TestWhatWasBegunIsFinished(t *testing.T) {
	inBubble(t, func(r *rig) {
		s := &script{answers: map[string][]error{"#errors": {nil, failure(alerting.Transient)}}}
		r.out.Answer = s.answer
		r.run()
		r.source.Add(ev(event.Error, "shop", "one"), ev(event.Error, "shop", "two"))
		r.pass(1500 * time.Millisecond)
		r.halt()
		r.opts.Limits.Budget = 1
		r.run()
		r.source.Add(ev(event.Error, "shop", "three"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: one", "[error] shop: two", "1 more held: this channel is full")
	})
}

// A pause holds one channel, not the others.
func TestChannelsFailApart(t *testing.T) {
	inBubble(t, func(r *rig) {
		s := &script{answers: map[string][]error{"#errors": {failure(alerting.Wait)}}}
		r.out.Answer = s.answer
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"), ev(event.Info, "shop", "order shipped"))
		r.pass(20 * time.Second)
		r.wantTitles("#errors")
		r.wantTitles("#shop", "shipped: shop order shipped")
	})
}

func TestPaces(t *testing.T) {
	inBubble(t, func(r *rig) {
		s := new(script)
		r.out.Answer = s.answer
		r.opts.Rules = nil
		for i := range 30 {
			r.opts.Rules = append(r.opts.Rules, rule(t, word(i), "level>=error", "#"+word(i)))
		}
		r.run()
		for i := range 3 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(2 * time.Minute)
		all := map[time.Time]int{}
		for channel, calls := range s.calls {
			if len(calls) != 3 {
				t.Errorf("%s had %d calls, want 3", channel, len(calls))
			}
			for _, g := range s.gaps(channel) {
				if g < time.Second {
					t.Errorf("%s had two calls within %v", channel, g)
				}
			}
			for _, c := range calls {
				all[c.Truncate(time.Second)]++
			}
		}
		for at, n := range all {
			if n > 14 { // ten at once, four a second
				t.Errorf("%d calls in the second %v", n, at)
			}
		}
	})
}

func TestParkingTellsTheFallbackOnceAndKeepsAll(t *testing.T) {
	inBubble(t, func(r *rig) {
		var mended sync.Map
		s := new(script)
		r.out.Answer = func(ctx context.Context, channel string, m alerting.Message, to alerting.Receipt) error {
			_ = s.answer(ctx, channel, m, to)
			if _, ok := mended.Load(channel); !ok && channel == "#gone" {
				return &alerting.DeliveryError{Class: alerting.Broken, Mend: "invite the app", Err: errors.New("slack: not_in_channel")}
			}
			return nil
		}
		r.opts.Rules = append(r.opts.Rules, rule(t, "gone", "level=warning", "#gone"))
		r.run()
		for i := range 12 {
			r.source.Add(ev(event.Warning, "shop", word(i)))
			r.pass(time.Minute)
		}
		if n := len(s.calls["#gone"]); n != 3 {
			t.Errorf("%d tries in 12 minutes, want one each 5 min", n)
		}
		stats := r.stats()
		if fmt.Sprint(stats.Parked) != "[#gone]" || stats.Outbox != 12 || stats.OldestUndelivered != 12*time.Minute {
			t.Errorf("stats %+v", stats)
		}
		told := func() {
			t.Helper()
			sent := r.out.Sent("#errors")
			if len(sent) != 1 {
				t.Fatalf("the fallback has %d messages, want 1", len(sent))
			}
			if text := sent[0].Message.Text(); !strings.Contains(text, "alerts for #gone cannot be delivered") || !strings.Contains(text, "not_in_channel") || !strings.Contains(text, "every 5m0s; invite the app.") {
				t.Errorf("the fallback reads\n%s", text)
			}
		}
		told()
		r.halt()
		r.run()
		r.pass(time.Minute)
		told()
		if n := len(s.calls["#gone"]); n != 4 {
			t.Errorf("%d tries after a restart, want one more", n)
		}
		mended.Store("#gone", true)
		if err := r.engine.Reload(r.opts.Rules); err != nil {
			t.Fatal(err)
		}
		r.pass(20 * time.Second)
		sent := r.out.Sent("#gone")
		if len(sent) != 12 {
			t.Fatalf("%d messages after a reload, want all 12", len(sent))
		}
		for i, m := range sent {
			if want := "[warning] shop: " + word(i); m.Message.Title != want {
				t.Errorf("message %d is %q, want %q", i, m.Message.Title, want)
			}
			if strings.Contains(m.Message.Text(), alerting.NoteAgain) {
				t.Errorf("message %d says it may be a repeat, but it was refused", i)
			}
		}
		if stats := r.stats(); len(stats.Parked) != 0 || stats.Outbox != 0 || stats.OldestUndelivered != 0 {
			t.Errorf("stats %+v", stats)
		}
		// Broken again, it is told again; what comes and goes is told twice an hour.
		for i, want := range []int{3, 4, 4} {
			mended.Delete("#gone")
			r.source.Add(ev(event.Warning, "shop", word(50+i)))
			r.pass(time.Minute)
			if got := len(r.out.Sent("#errors")); got != want {
				t.Errorf("the fallback has %d messages after it broke again, want %d", got, want)
			}
			mended.Store("#gone", true)
			r.pass(6 * time.Minute)
		}
		const out, back = "lookout: alerts for #gone cannot be delivered", "lookout: alerts for #gone are delivered again"
		r.wantTitles("#errors", out, back, out, back)
		// But what stays broken is told when the hour is over.
		mended.Delete("#gone")
		r.source.Add(ev(event.Warning, "shop", word(60)))
		r.pass(2 * time.Hour)
		r.wantTitles("#errors", out, back, out, back, out)
	})
}

// The fallback itself may be broken: then there is only the log.
func TestParkedFallback(t *testing.T) {
	inBubble(t, func(r *rig) {
		s := &script{answers: map[string][]error{"#errors": {failure(alerting.Broken)}}}
		r.out.Answer = s.answer
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(10 * time.Minute)
		r.wantTitles("#errors", "[error] shop: no stock")
		if !strings.Contains(r.log.String(), "a channel refuses alerts") {
			t.Errorf("the log says\n%s", r.log)
		}
	})
}

func TestDeadLetters(t *testing.T) {
	inBubble(t, func(r *rig) {
		bad := func(m alerting.Message) bool { return strings.Contains(m.Text(), "poison") }
		s := new(script)
		r.out.Answer = func(ctx context.Context, channel string, m alerting.Message, to alerting.Receipt) error {
			_ = s.answer(ctx, channel, m, to)
			if bad(m) {
				return failure(alerting.Fault)
			}
			return nil
		}
		r.run()
		r.source.Add(ev(event.Error, "shop", "poison"), ev(event.Error, "shop", "fine"), ev(event.Info, "shop", "order shipped: poison"))
		r.pass(time.Minute)
		r.wantTitles("#errors", "[error] shop: fine")
		if got := fmt.Sprint(s.plain["#errors"], s.plain["#shop"]); got != "[false true false] [false true]" {
			t.Errorf("asked for plain text: %s", got)
		}
		letters, err := r.engine.DeadLetters()
		if err != nil || len(letters) != 2 {
			t.Fatalf("%d dead letters, %v", len(letters), err)
		}
		if l := letters[1]; l.Channel != "#errors" || !strings.Contains(l.Text, "poison") || !strings.Contains(l.Key, "errors|p1:") || !strings.Contains(l.Error, "told to fail") {
			t.Errorf("dead letter %+v", l)
		}
		// The incident can speak again.
		r.pass(time.Hour)
		r.source.Add(ev(event.Error, "shop", "poison"))
		r.pass(time.Minute)
		if letters, _ = r.engine.DeadLetters(); len(letters) != 3 {
			t.Errorf("%d dead letters after it reopened, want 3", len(letters))
		}
	})
}

func TestOverviewWhoseEditIsRefused(t *testing.T) {
	inBubble(t, func(r *rig) {
		var once sync.Once
		r.out.Answer = func(_ context.Context, _ string, _ alerting.Message, to alerting.Receipt) (err error) {
			if to != (alerting.Receipt{}) {
				once.Do(func() { err = failure(alerting.EditRefused) })
			}
			return err
		}
		r.run()
		for i := range 30 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", word(40)))
		r.pass(time.Minute)
		r.source.Add(ev(event.Error, "shop", word(41)))
		r.pass(time.Minute)
		titles := r.titles("#errors")
		if got := strings.Join(titles[20:], "|"); got != "10 more held: this channel is full|12 more held: this channel is full" {
			t.Errorf("overviews: %s", got)
		}
	})
}

func TestOverviewThatIsRefusedForGood(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.out.Answer = func(_ context.Context, _ string, m alerting.Message, _ alerting.Receipt) error {
			if strings.Contains(m.Title, "more held") {
				return failure(alerting.Fault)
			}
			return nil
		}
		r.run()
		for i := range 30 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		r.pass(time.Hour)
		if letters, err := r.engine.DeadLetters(); err != nil || len(letters) != 1 || !strings.Contains(letters[0].Text, "errors 10") {
			t.Errorf("dead letters %+v, %v", letters, err)
		}
		r.source.Add(ev(event.Error, "shop", "later"))
		r.pass(time.Minute)
		if got := r.titles("#errors"); got[len(got)-1] != "[error] shop: later" {
			t.Errorf("the channel stopped at %q", got[len(got)-1])
		}
	})
}

// A record that cannot be read, or is not what was queued, blocks nothing and is not thrown away.
func TestUnreadableEntry(t *testing.T) {
	for _, damage := range []string{"", "\x01", "\x01{not JSON", "\x02{}", "\x01{}", "\x01null", "\x01" + `{"kind":"each","channel":"#shop","order":3}`, "gone"} {
		t.Run(fmt.Sprintf("%q", damage), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				s := &script{answers: map[string][]error{"#errors": {failure(alerting.Broken)}, "#shop": {failure(alerting.Broken)}}}
				r.out.Answer = s.answer
				r.opts.Fallbacks = nil
				r.run()
				r.source.Add(ev(event.Error, "shop", "one"), ev(event.Error, "shop", "two"), ev(event.Info, "shop", "order shipped"))
				r.pass(10 * time.Second)
				r.halt()
				err := r.db.Update(func(tx *bbolt.Tx) error {
					b := tx.Bucket([]byte("alerting/outbox"))
					for _, prefix := range []string{"each|", "errors|"} {
						k, _ := b.Cursor().Seek([]byte(prefix))
						if damage == "gone" {
							if err := b.Delete(k); err != nil {
								return err
							}
						} else if err := b.Put(k, []byte(damage)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				r.run()
				r.source.Add(ev(event.Info, "shop", "order shipped late"))
				r.pass(time.Minute)
				if got := len(r.out.Sent()); got != 2 {
					t.Errorf("%d messages: %q %q", got, r.titles("#errors"), r.titles("#shop"))
				}
				want := damage
				if damage == "gone" {
					want = ""
				}
				if letters, err := r.engine.DeadLetters(); err != nil || len(letters) != 2 || letters[0].Text != want || r.stats().Outbox != 0 {
					t.Errorf("dead letters %+v, %v", letters, err)
				}
				// The incident whose message is lost can speak again.
				r.pass(time.Hour)
				r.source.Add(ev(event.Error, "shop", "one"), ev(event.Error, "shop", "two"))
				r.pass(time.Minute)
				if got := len(r.out.Sent("#errors")); got != 3 {
					t.Errorf("%d alerts after an hour, want both told again", got)
				}
			})
		})
	}
}

func TestMessages(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.BaseURL = "http://lookout.test/"
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "#errors"), each(rule(t, "or", "aaa OR bbb", "#each")), each(rule(t, "ccc", "ccc", "#each"))}
		r.opts.Rules[2].Severity = alerting.Critical
		r.run()
		e := ev(event.Critical, "shop", "Traceback (most recent call last):\n  File \"x.py\"\nKeyError: 'sku'\n")
		e.Env, e.Host, e.Container = []byte("prod"), []byte("web1"), []byte("shop-1")
		e.Fields = []event.Field{{Name: []byte("user"), Value: []byte("a b")}, {Name: []byte("status"), Value: []byte("500"), Kind: event.Number}}
		r.source.Add(e, ev(event.Info, "", "aaa\x1b[31m\nnext"), ev(event.Info, "pay", "ccc"))
		r.pass(10 * time.Second)
		link := "http://lookout.test/?q=%s&since=1999-12-31T23%%3A59%%3A00Z&until=2000-01-01T00%%3A01%%3A00Z"
		want := strings.Join([]string{
			"[critical] shop: KeyError: 'sku'", "Traceback (most recent call last):\n  File \"x.py\"\nKeyError: 'sku'", `user="a b" status=500`,
			"2000-01-01 00:00:00Z · rule errors · env prod · host web1 · container shop-1",
			fmt.Sprintf(link, "level%3E%3Derror+service%3D%22shop%22"),
		}, "\n")
		if got := r.out.Sent("#errors")[0].Message; got.Text() != want || got.Severity != alerting.Critical {
			t.Errorf("%s\n%s\nwant\n%s", got.Severity, got.Text(), want)
		}
		want = strings.Join([]string{
			"ccc 1, or 1", "2000-01-01 00:00:00Z aaa␛[31m next", "2000-01-01 00:00:00Z pay ccc",
			"2 events at 2000-01-01 00:00:00Z",
			fmt.Sprintf(link, "%28aaa+OR+bbb%29+OR+%28ccc%29"),
		}, "\n")
		if got := r.out.Sent("#each")[0].Message; got.Text() != want || got.Severity != alerting.Critical {
			t.Errorf("%s\n%s\nwant\n%s", got.Severity, got.Text(), want)
		}
	})
}

func TestOldestOfSeveralChannels(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			return failure(alerting.Broken)
		}
		r.opts.Rules = append(r.opts.Rules, rule(t, "a", "level=warning", "#a"))
		r.opts.Fallbacks = nil
		r.run()
		for i, e := range []event.Event{ev(event.Error, "shop", "no stock"), ev(event.Info, "shop", "order shipped"), ev(event.Error, "shop", "fire"), ev(event.Warning, "shop", "low stock")} {
			r.source.Add(e)
			r.pass(time.Duration(i+1) * time.Minute)
		}
		if s := r.stats(); s.OldestUndelivered != 10*time.Minute || s.Outbox != 4 || fmt.Sprint(s.Parked) != "[#a #errors #shop]" {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestStatsOfAnIdleEngine(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.run()
		r.source.Add(ev(event.Info, "shop", "nothing"))
		synctest.Wait()
		s := r.stats()
		if s.Rules != 2 || s.Outbox != 0 || s.OldestUndelivered != 0 || s.Position != 1 || s.Lag != 0 || len(s.Matched) != 2 {
			t.Errorf("stats %+v", s)
		}
		r.halt()
		r.engine = nil
		r.source.Add(ev(event.Info, "shop", "nothing"), ev(event.Info, "shop", "nothing"))
		e, err := alerting.New(r.opts)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := e.Stats(); err != nil || s.Lag != 2 {
			t.Errorf("lag %d before Run, %v", s.Lag, err)
		}
	})
}
