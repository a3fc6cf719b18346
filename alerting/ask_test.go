package alerting_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

// It asks each five seconds, no sooner, goes on after a restart, and stops when there is nothing to wait for.
func TestAsking(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(r *duo)
		more int // questions after the end began
	}{
		{"acknowledged", func(r *duo) { r.acknowledge("phone") }, 1},
		{"resolved", func(r *duo) { r.source.Add(up("sales")) }, 0},
		{"expired and sent again", func(r *duo) { r.pager.Tell(r.paged.Sent()[0].Receipt, alerting.Ack{Expired: true}) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute + time.Second)
				page := r.paged.Sent()[0].Receipt
				if got := len(r.pager.Asked(page)); got != 12 {
					t.Errorf("asked %d times in a minute, want 12", got)
				}
				r.halt()
				r.run()
				r.pass(time.Minute + time.Second)
				asked := r.pager.Asked(page)
				if len(asked) != 24 {
					t.Errorf("asked %d times in two minutes with a restart, want 24", len(asked))
				}
				for i := 1; i < len(asked); i++ {
					if asked[i].Sub(asked[i-1]) < 5*time.Second {
						t.Errorf("asked twice in %v", asked[i].Sub(asked[i-1]))
					}
				}
				tt.end(r)
				r.pass(time.Hour)
				if got := len(r.pager.Asked(page)) - len(asked); got != tt.more {
					t.Errorf("asked %d times more, want %d", got, tt.more)
				}
				r.halt()
				r.run()
				r.pass(time.Minute)
				if got := len(r.pager.Asked(page)) - len(asked); got != tt.more {
					t.Errorf("asked %d times more after another restart, want %d", got, tt.more)
				}
				if s := r.stats(); s.AskErrors != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func TestAskingFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		gaps []time.Duration
	}{
		{"some error", errors.New("503"), []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}},
		{"asked to wait", &alerting.DeliveryError{Class: alerting.Wait, RetryAfter: 30 * time.Minute, Err: errors.New("429")}, []time.Duration{30 * time.Minute}},
		{"asked to wait absurdly", &alerting.DeliveryError{Class: alerting.Wait, RetryAfter: 1000 * time.Hour, Err: errors.New("429")}, []time.Duration{time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.pager.Refuse(tt.err)
				r.run()
				r.source.Add(down("sales"))
				r.pass(70 * time.Minute)
				page := r.paged.Sent()[0].Receipt
				asked := r.pager.Asked(page)
				for i, want := range tt.gaps {
					if i+1 >= len(asked) || asked[i+1].Sub(asked[i]) != want {
						t.Fatalf("asked at %v, want the pauses %v", asked, tt.gaps)
					}
				}
				if s := r.stats(); s.AskErrors != uint64(len(asked)) || s.Asked != s.AskErrors {
					t.Errorf("%d errors of %d questions, it was asked %d times", s.AskErrors, s.Asked, len(asked))
				}
				// After an answer the pauses are short again.
				r.pager.Refuse(nil)
				r.pass(time.Hour)
				before := len(r.pager.Asked(page))
				r.pass(time.Minute)
				if got := len(r.pager.Asked(page)) - before; got != 12 {
					t.Errorf("asked %d times in a minute, want 12", got)
				}
				r.acknowledge("phone")
				r.pass(time.Minute)
				if r.out.Sent()[0].Message.State != alerting.Acknowledged {
					t.Error("the acknowledgement was not noted")
				}
			})
		})
	}
}

// A clock that is set stops no questions.
func TestAskingWhenTheClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				r.clock.Jump(jump)
				r.acknowledge("phone")
				r.pass(time.Minute)
				if got := r.out.Sent()[0].Message.State; got != alerting.Acknowledged {
					t.Errorf("it is %s", got)
				}
			})
		})
	}
}

// A page that nobody answers is sent again while it still fires.
func TestPageThatNobodyAnswers(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		expire := func() {
			pages := r.paged.Sent()
			r.pager.Tell(pages[len(pages)-1].Receipt, alerting.Ack{Expired: true})
		}
		r.source.Add(down("sales"))
		r.pass(50 * time.Minute)
		expire()
		r.pass(time.Minute)
		nobody := "firing 00:00:00Z · still firing, nobody has acknowledged: sent again %s"
		once, twice := fmt.Sprintf(nobody, "1 time"), fmt.Sprintf(nobody, "2 times")
		r.want([]string{once + " (1)"}, []string{"firing 00:00:00Z", once})
		r.pass(50 * time.Minute)
		expire()
		r.pass(time.Minute)
		r.want([]string{twice + " (2)"}, []string{"firing 00:00:00Z", once, twice})
		if s := r.stats(); s.Expired != 2 || s.Acknowledged != 0 {
			t.Errorf("stats %+v", s)
		}
		r.acknowledge("phone")
		r.pass(time.Minute)
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		over := "resolved fired 00:00:00Z, acknowledged 01:42:00Z by phone, resolved 01:43:00Z after 1h43m"
		r.want([]string{over + " (4)"}, []string{"firing 00:00:00Z", once, over + " (1)"})
		r.pass(3 * time.Hour)
		if got := len(r.paged.Sent()); got != 3 {
			t.Errorf("%d pages at the end", got)
		}
	})
}

// A page that expired is sent again, not replied to, where both can be done.
type talkative struct{ *alertingtest.Pager }

func (t talkative) Reply(ctx context.Context, to alerting.Receipt, m alerting.Message) error {
	return alertingtest.Threads{Recorder: t.Recorder}.Reply(ctx, to, m)
}

func TestPageWithThreads(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Notifier = talkative{r.pager}
		r.opts.Rules[0].Channels = []string{"pager"}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.pager.Tell(r.paged.Sent()[0].Receipt, alerting.Ack{Expired: true})
		r.pass(time.Minute)
		if sent := r.paged.Sent(); len(sent) != 2 || sent[1].Reply {
			t.Errorf("pages %+v", sent)
		}
	})
}

// What nothing resolves is not sent for ever.
func TestPageOfWhatNothingResolves(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Rules = []alerting.Rule{rule(t, "errors", "level>=error", "pushover")}
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(20 * time.Minute)
		r.pager.Tell(r.paged.Sent()[0].Receipt, alerting.Ack{Expired: true})
		r.pass(time.Minute)
		if got := len(r.paged.Sent()); got != 2 {
			t.Fatalf("%d pages while it fires, want another", got)
		}
		r.pass(50 * time.Minute)
		r.pager.Tell(r.paged.Sent()[1].Receipt, alerting.Ack{Expired: true})
		r.pass(3 * time.Hour)
		if got := len(r.paged.Sent()); got != 2 {
			t.Errorf("%d pages after it was quiet, want no more", got)
		}
		if got := len(r.pager.Asked(r.paged.Sent()[1].Receipt)); got > 700 {
			t.Errorf("asked %d times", got)
		}
		// Another one is an incident of its own.
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		if sent := r.paged.Sent(); len(sent) != 3 || sent[2].Message.State != alerting.Firing {
			t.Errorf("%d pages", len(sent))
		}
	})
}

// An answer about a page that was replaced by another, or that is over, changes nothing.
func TestLateAcknowledgement(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		first := r.paged.Sent()[0].Receipt
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		r.pager.Tell(first, alerting.Ack{At: time.Now(), By: "phone"})
		r.pass(time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if sent := r.out.Sent(); sent[0].Message.State != alerting.Firing || strings.Contains(sent[0].Message.Text(), "phone") {
			t.Errorf("the message reads\n%s", sent[0].Message.Text())
		}
		r.acknowledge("watch")
		r.pass(time.Minute)
		if text := r.out.Sent()[0].Message.Text(); !strings.Contains(text, "by watch") {
			t.Errorf("the message reads\n%s", text)
		}
	})
}

// slow is a pager whose first answer takes 20 s: what is true by then is another matter.
type slow struct {
	*alertingtest.Pager
	once *sync.Once
}

func (s slow) Acknowledgement(ctx context.Context, r alerting.Receipt) (ack alerting.Ack, err error) {
	s.once.Do(func() {
		time.Sleep(20 * time.Second)
		ack = alerting.Ack{At: time.Now(), By: "phone"}
	})
	return ack, err
}

func TestAcknowledgementThatComesTooLate(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile []event.Event
		want      alerting.State
	}{
		{"nothing", nil, alerting.Acknowledged},
		{"counted", []event.Event{down("sales")}, alerting.Acknowledged},
		{"resolved", []event.Event{up("sales")}, alerting.Resolved},
		{"another page", []event.Event{up("sales"), down("sales")}, alerting.Firing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.opts.Notifier = alerting.Mux{
					Default: alertingtest.Threads{Recorder: r.out},
					Ways:    map[string]alerting.Notifier{"pushover": slow{r.pager, new(sync.Once)}},
				}
				r.run()
				r.source.Add(down("sales"))
				r.pass(10 * time.Second)
				r.source.Add(tt.meanwhile...)
				r.pass(time.Minute)
				if got := r.out.Sent()[0].Message.State; got != tt.want {
					t.Errorf("it is %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// Whoever acknowledges can put nothing into a message that others would fall for.
func TestAcknowledgedByAnybody(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"), down("customers"))
		r.pass(time.Minute)
		for i, by := range []string{"a\nb\x1b[31m" + strings.Repeat("x", 1000), ""} {
			r.pager.Tell(r.paged.Sent()[i].Receipt, alerting.Ack{At: time.Now(), By: by})
		}
		r.pass(time.Minute)
		for i, want := range []string{"acknowledged 00:01:00Z by a b␛[31mxxx", "acknowledged 00:01:00Z"} {
			fact := r.out.Sent()[i].Message.Facts[0]
			if !strings.Contains(fact, want) || len(fact) > 300 || strings.HasSuffix(fact, "by ") {
				t.Errorf("fact %q, want %q", fact, want)
			}
		}
	})
}
