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
)

// wantHistory holds the thread of the channel's first message against lines.
func wantHistory(t *testing.T, h *alertingtest.Historian, want ...string) {
	t.Helper()
	got := strings.ReplaceAll(strings.Join(h.History(h.Sent("#errors")[0].Receipt), "\n"), "2000-01-01 ", "")
	if got != strings.Join(want, "\n") {
		t.Errorf("the thread reads\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

func inHistory(t *testing.T, test func(r *duo, h *alertingtest.Historian)) {
	t.Helper()
	inDuo(t, func(r *duo) {
		h := alertingtest.NewHistorian(r.out)
		r.opts.Notifier = alerting.Mux{Default: h, Ways: map[string]alerting.Notifier{"pushover": r.pager}}
		test(r, h)
	})
}

// What became of an incident stands in the thread of its message, once, in order, and only in channels that have threads.
func TestHistoryIsInTheThread(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(2 * time.Minute)
		wantHistory(t, h)
		r.acknowledge("phone")
		r.pass(28 * time.Minute)
		wantHistory(t, h, "00:02:00Z acknowledged by phone")
		r.source.Add(up("sales"))
		r.pass(10 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		wantHistory(t, h, "00:02:00Z acknowledged by phone", "00:30:00Z resolved after 30m", "00:41:00Z resolved after 1m")
		if s := r.stats(); s.Noted != 3 || s.Sent != 4 || s.Outbox != 0 || s.Repeats != 0 {
			t.Errorf("stats %+v", s)
		}
		// Another incident has another message, whose thread is empty.
		r.pass(8 * 24 * time.Hour)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		sent := r.out.Sent("#errors")
		if got := h.History(sent[len(sent)-1].Receipt); len(got) != 0 || sent[len(sent)-1].Reply {
			t.Errorf("the new incident's thread reads %q", got)
		}
	})
}

// What happened before a message was there is in the message; what happened while its channel could not be reached comes
// in one reply.
func TestHistoryAfterAnOutage(t *testing.T) {
	inHistory(t, func(r *duo, h *alertingtest.Historian) {
		var out atomic.Bool
		out.Store(true)
		r.out.Answer = func(_ context.Context, channel string, _ alerting.Message, _ alerting.Receipt) error {
			if out.Load() && channel == "#errors" {
				return failure(alerting.Broken)
			}
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(2 * time.Minute)
		r.acknowledge("phone")
		r.pass(time.Minute)
		out.Store(false)
		r.pass(10 * time.Minute)
		wantHistory(t, h)
		out.Store(true)
		r.source.Add(up("sales"))
		r.pass(10 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(2 * time.Minute)
		r.acknowledge("Ann")
		r.pass(time.Minute)
		out.Store(false)
		r.pass(10 * time.Minute)
		wantHistory(t, h, "00:13:00Z resolved after 13m", "00:25:00Z acknowledged by Ann")
		if s := r.stats(); s.Noted != 1 || s.Outbox != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A reply whose answer was lost is sent again and says so; one that is refused for good is given up after plain text; and
// a thread that is gone is no loss.
func TestHistoryThatIsRefused(t *testing.T) {
	for _, tt := range []struct {
		failures []alerting.Class
		want     []string
		dead     int
	}{
		{[]alerting.Class{alerting.Transient}, []string{"00:02:00Z acknowledged by phone", alerting.NoteAgain}, 0},
		{[]alerting.Class{alerting.Wait, alerting.Broken}, []string{"00:02:00Z acknowledged by phone"}, 0},
		{[]alerting.Class{alerting.Fault}, []string{"00:02:00Z acknowledged by phone"}, 0},
		{[]alerting.Class{alerting.Fault, alerting.Fault}, nil, 1},
		{[]alerting.Class{alerting.EditRefused}, nil, 0},
	} {
		t.Run(fmt.Sprint(tt.failures), func(t *testing.T) {
			inHistory(t, func(r *duo, h *alertingtest.Historian) {
				failures := tt.failures
				r.out.Answer = func(_ context.Context, _ string, m alerting.Message, to alerting.Receipt) error {
					if to.Thread && strings.Contains(strings.Join(m.Lines, ""), "Z acknowledged by") && len(failures) > 0 {
						next := failures[0]
						failures = failures[1:]
						return &alerting.DeliveryError{Class: next, Err: errors.New("told to fail")}
					}
					return nil
				}
				r.run()
				r.source.Add(down("sales"))
				r.pass(2 * time.Minute)
				r.acknowledge("phone")
				r.pass(20 * time.Minute)
				wantHistory(t, h, tt.want...)
				r.source.Add(up("sales"))
				r.pass(20 * time.Minute)
				wantHistory(t, h, append(tt.want, "00:22:00Z resolved after 22m")...)
				letters, err := r.engine.DeadLetters()
				if s := r.stats(); err != nil || len(letters) != tt.dead || s.Outbox != 0 || len(failures) != 0 {
					t.Errorf("%d dead letters, %v, %d failures left, stats %+v", len(letters), err, len(failures), s)
				}
			})
		})
	}
}

// A kill at any point of a reply loses no line, and what may be there twice says so.
func TestHistoryOverKills(t *testing.T) {
	for _, point := range []string{"marked", "sent", "done"} {
		t.Run(point, func(t *testing.T) {
			inHistory(t, func(r *duo, h *alertingtest.Historian) {
				r.opts.Rules = []alerting.Rule{downRule(t, "#errors")}
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				r.halt()
				e, err := alerting.New(r.opts)
				if err != nil {
					t.Fatal(err)
				}
				r.engine = e
				calls := 0
				e.SetHook(func(at string) error {
					if at == point {
						if calls++; calls == 2 { // the edit came before
							return errors.New("killed")
						}
					}
					return nil
				})
				r.source.Add(up("sales"))
				r.run()
				r.pass(time.Minute)
				r.halt()
				r.run()
				r.pass(10 * time.Minute)
				got := strings.Join(h.History(h.Sent("#errors")[0].Receipt), "\n")
				if !strings.Contains(got, "resolved after 1m") || r.stats().Outbox != 0 {
					t.Errorf("the thread reads %q, stats %+v", got, r.stats())
				}
				want := map[string]int{"marked": 1, "sent": 2, "done": 1}[point]
				if n := strings.Count(got, "resolved after"); n != want || strings.Contains(got, alerting.NoteAgain) != (point != "done") {
					t.Errorf("%d times, want %d: %q", n, want, got)
				}
				if calls < 2 {
					t.Error("it was not killed")
				}
			})
		})
	}
}
