package alerting_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// inShop is a duo whose one rule nothing resolves.
func inShop(t *testing.T, test func(r *duo)) {
	t.Helper()
	inDuo(t, func(r *duo) {
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error -service:lookout", "#errors")}
		test(r)
	})
}

// shows holds what the channel's messages say, state and facts, against what they should; a > is a reply.
func (r *duo) shows(want ...string) {
	r.t.Helper()
	var got []string
	for _, s := range r.out.Sent("#errors") {
		line := fmt.Sprintf("%s %s", s.Message.State, strings.Join(append(s.Message.Facts, s.Message.Notes...), " · "))
		line = strings.NewReplacer("2000-01-01 ", "", " · rule errors", "", " · rule down", "").Replace(line)
		if s.Reply {
			line = "> " + line
		}
		got = append(got, line)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		r.t.Errorf("%v: the channel has\n  %s\nwant\n  %s", time.Now().UTC().Format(time.DateTime), strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// What is quiet for long enough is resolved, though no event comes; what comes again within a week is the same.
func TestQuietIsTheEnd(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart: %v", restart), func(t *testing.T) {
			inShop(t, func(r *duo) {
				pass := func(d time.Duration) {
					if restart {
						r.halt()
						r.run()
					}
					r.pass(d)
				}
				r.run()
				r.source.Add(ev(event.Error, "shop", "no stock 1"))
				pass(29 * time.Minute)
				r.shows("firing 00:00:00Z")
				pass(2 * time.Minute)
				over := "resolved fired 00:00:00Z, resolved 00:30:00Z: quiet since 00:00:00Z"
				r.shows(over)
				if s := r.stats(); s.Open[alerting.Firing] != 0 || s.Outbox != 0 {
					t.Errorf("stats %+v", s)
				}
				pass(29 * time.Minute)
				r.source.Add(ev(event.Error, "shop", "no stock 2"))
				pass(time.Minute)
				again := "firing fired 01:00:00Z · again, 2 times since 00:00:00Z"
				r.shows(again, "> "+again)
				// Its usual gap is an hour now.
				pass(9 * time.Hour)
				r.shows(again, "> "+again)
				pass(time.Hour)
				r.shows("resolved fired 01:00:00Z, resolved 11:00:00Z: quiet since 01:00:00Z · again, 2 times since 00:00:00Z", "> "+again)
			})
		})
	}
}

// An acknowledged incident ends by quiet as well.
func TestQuietAfterAcknowledging(t *testing.T) {
	inShop(t, func(r *duo) {
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		if err := r.engine.Acknowledge(t.Context(), r.ids()["shop"], "anna"); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Hour)
		r.shows("resolved fired 00:00:00Z, acknowledged 00:01:00Z by anna, resolved 00:30:00Z: quiet since 00:00:00Z")
	})
}

// An engine that cannot read the store yet knows nothing of quiet.
func TestNoQuietBehindTheStore(t *testing.T) {
	inShop(t, func(r *duo) {
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		r.source.Break(errors.New("a disk is slow"))
		for range 8 {
			r.source.Add(ev(event.Error, "shop", "no stock"))
			r.pass(10 * time.Minute)
		}
		r.shows("firing 00:00:00Z")
		r.source.Break(nil)
		r.pass(10 * time.Minute)
		if sent := r.out.Sent("#errors"); len(sent) != 1 || sent[0].Message.State != alerting.Firing {
			t.Errorf("messages %+v", sent)
		}
	})
}

// A week later it is another incident, which says what was before, for as long as that is remembered.
func TestRegressed(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{6 * day, "firing fired 2000-01-07 00:00:00Z · again, 2 times since 00:00:00Z"},
		{8 * day, "firing 2000-01-09 00:00:00Z · regressed: before that 1 time, last seen 00:00:00Z, then it was quiet"},
		{80 * day, "firing 2000-03-21 00:00:00Z · regressed: before that 1 time, last seen 00:00:00Z, then it was quiet"},
		{100 * day, "firing 2000-04-10 00:00:00Z"},
	} {
		t.Run(tt.after.String(), func(t *testing.T) {
			inShop(t, func(r *duo) {
				r.run()
				r.source.Add(ev(event.Error, "shop", "no stock"))
				for passed := time.Duration(0); passed < tt.after; passed += day {
					r.pass(day)
					if passed < tt.after-day {
						r.source.Add(ev(event.Info, "shop", "time goes by"))
					}
				}
				if incidents := r.records("alerting/incident"); (incidents == 0) != (tt.after > 8*day) {
					t.Errorf("%d incidents are kept after %v", incidents, tt.after)
				}
				r.source.Add(ev(event.Error, "shop", "no stock"))
				r.pass(time.Minute)
				sent := r.out.Sent("#errors")
				last := sent[len(sent)-1]
				line := strings.NewReplacer("2000-01-01 ", "", " · rule errors", "").Replace(fmt.Sprintf("%s %s", last.Message.State, strings.Join(last.Message.Facts, " · ")))
				if line != tt.want || last.Reply != (tt.after < 7*day) {
					t.Errorf("the message says %q, a reply: %v; want %q", line, last.Reply, tt.want)
				}
			})
		})
	}
}

// What comes and goes rings the seldomer the more often it does, but what stays rings.
func TestFlappingIsDamped(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Poll = time.Hour
		r.run()
		rings := func() (at []string) {
			start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			for _, s := range r.out.Sent("#errors") {
				at = append(at, s.At.Sub(start).Round(time.Minute).String())
			}
			return at
		}
		for range 6 * 15 { // six hours
			r.source.Add(down("sales"))
			r.pass(2 * time.Minute)
			r.source.Add(up("sales"))
			r.pass(2 * time.Minute)
		}
		// Each ring is by the first time it is down when the pause is over, or by staying down over its end.
		want := "[0s 4m0s 9m0s 20m0s 40m0s 1h20m0s 2h40m0s 5h20m0s]"
		if got := fmt.Sprint(rings()); got != want {
			t.Errorf("it rings at %s, want %s", got, want)
		}
		if sent := r.out.Sent("#errors"); sent[0].Message.State != alerting.Resolved || !strings.Contains(sent[0].Message.Text(), "again, 90 times since") {
			t.Errorf("the message reads\n%s", sent[0].Message.Text())
		}
		// The next pause is of 4 hours, and it stays down.
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if got := len(rings()); got != 8 {
			t.Errorf("%d rings at once", got)
		}
		if m := r.out.Sent("#errors")[0].Message; m.State != alerting.Firing || !strings.Contains(m.Text(), "comes and goes: rings no sooner than 09:20:00Z") {
			t.Errorf("the message reads\n%s", m.Text())
		}
		r.halt()
		r.run()
		r.pass(5 * time.Hour)
		if got := rings(); len(got) != 9 || got[8] != "9h20m0s" {
			t.Errorf("it rings at %v", got)
		}
		// After a day without a ring it rings at once, twice.
		r.source.Add(up("sales"))
		r.pass(25 * time.Hour)
		for range 2 {
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			r.source.Add(up("sales"))
			r.pass(time.Minute)
		}
		if got := len(rings()); got != 11 {
			t.Errorf("%d rings after a day, want 11", got)
		}
	})
}

// Acknowledging and resolving end what is damped: nobody need notice it any more.
func TestDampedAndSeenTo(t *testing.T) {
	for _, how := range []string{"ack", "resolve", "up"} {
		inDuo(t, func(r *duo) {
			r.run()
			for i := range 3 {
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				if i < 2 {
					r.source.Add(up("sales"))
					r.pass(time.Minute)
				}
			}
			id, err := r.ids()["sales"], error(nil)
			switch how {
			case "ack":
				err = r.engine.Acknowledge(t.Context(), id, "")
			case "resolve":
				err = r.engine.Resolve(t.Context(), id, "")
			default:
				r.source.Add(up("sales"))
			}
			r.pass(time.Hour)
			if sent := r.out.Sent(); err != nil || len(sent) != 2 || strings.Contains(sent[0].Message.Text(), "comes and goes") {
				t.Errorf("%s: %d messages, %v", how, len(sent), err)
			}
		})
	}
}
