package alerting_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// duo is a rig with one rule that tells a channel with threads and a pager, and knows when it is over.
type duo struct {
	*rig
	pager *alertingtest.Pager
	paged *alertingtest.Recorder
}

func inDuo(t *testing.T, test func(r *duo)) {
	t.Helper()
	inBubble(t, func(r *rig) {
		d := &duo{rig: r, paged: new(alertingtest.Recorder)}
		d.pager = alertingtest.NewPager(d.paged)
		r.opts.Notifier = alerting.Mux{Default: alertingtest.Threads{Recorder: r.out}, Ways: map[string]alerting.Notifier{"pushover": d.pager}}
		r.opts.Rules = []alerting.Rule{downRule(t, "#errors", "pushover")}
		test(d)
	})
}

func downRule(t testing.TB, channels ...string) alerting.Rule {
	t.Helper()
	up, err := query.Parse("change:up")
	if err != nil {
		t.Fatal(err)
	}
	r := rule(t, "down", "change:down", channels[0])
	r.Channels, r.Resolve = channels, up
	return r
}

// change is a transition of a probe.
func change(service, change, message string) event.Event {
	level := event.Error
	if change == "up" {
		level = event.Info
	}
	e := ev(level, service, message)
	e.Fields = []event.Field{{Name: []byte("change"), Value: []byte(change)}, {Name: []byte("fingerprint"), Value: []byte("probe:" + service)}}
	return e
}

func down(service string) event.Event { return change(service, "down", service+" is down: status 503") }

func up(service string) event.Event { return change(service, "up", service+" is up again") }

// want holds the messages of both destinations against what they should be, a line each: state, heading and facts, with
// a > in front of replies and the number of edits behind.
func (r *duo) want(slack, pager []string) {
	r.t.Helper()
	for _, w := range []struct {
		name string
		sent []alertingtest.Sent
		want []string
	}{{"#errors", r.out.Sent(), slack}, {"pushover", r.paged.Sent(), pager}} {
		var got []string
		for _, s := range w.sent {
			line := fmt.Sprintf("%s %s", s.Message.State, strings.Join(append(s.Message.Facts, s.Message.Notes...), " · "))
			line = strings.NewReplacer("2000-01-01 ", "", " · rule down", "").Replace(line)
			if s.Reply {
				line = "> " + line
			}
			if s.Edits > 0 {
				line += fmt.Sprintf(" (%d)", s.Edits)
			}
			got = append(got, line)
		}
		if strings.Join(got, "\n") != strings.Join(w.want, "\n") {
			r.t.Errorf("%s has\n  %s\nwant\n  %s", w.name, strings.Join(got, "\n  "), strings.Join(w.want, "\n  "))
		}
	}
}

// acknowledge answers the next question about the newest page with by.
func (r *duo) acknowledge(by string) {
	pages := r.paged.Sent()
	r.pager.Tell(pages[len(pages)-1].Receipt, alerting.Ack{At: time.Now(), By: by})
}

func TestFromDownToUp(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(2 * time.Minute)
		r.want([]string{"firing 00:00:00Z"}, []string{"firing 00:00:00Z"})
		if a, b := r.out.Sent()[0].Message.Incident, r.paged.Sent()[0].Message.Incident; a != b || len(a) != 16 {
			t.Errorf("the incident's name is %q in one channel, %q in the other", a, b)
		}
		r.acknowledge("phone")
		r.pass(28 * time.Minute)
		r.want([]string{"acknowledged fired 00:00:00Z, acknowledged 00:02:00Z by phone (1)"}, []string{"firing 00:00:00Z"})
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		over := "resolved fired 00:00:00Z, acknowledged 00:02:00Z by phone, resolved 00:30:00Z after 30m"
		r.want([]string{over + " (2)"}, []string{over + " (1)"})
		m := r.out.Sent()[0].Message
		if want := "Resolved: [error] sales is down: status 503"; m.Heading() != want || m.Lines[len(m.Lines)-1] != "sales is up again" {
			t.Errorf("heading %q, lines %q", m.Heading(), m.Lines)
		}
		// Ten minutes later it is the same incident, and it rings.
		r.pass(9 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		again := "firing fired 00:40:00Z · again, 2 times since 00:00:00Z"
		r.want([]string{again + " (3)", "> " + again}, []string{over + " (1)", again})
		if a, b := r.out.Sent()[0].Message.Incident, r.paged.Sent()[1].Message.Incident; a != b {
			t.Errorf("the incident's name is %q first and then %q", a, b)
		}
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		overAgain := "resolved fired 00:40:00Z, resolved 00:41:00Z after 1m · again, 2 times since 00:00:00Z"
		r.want([]string{overAgain + " (4)", "> " + again}, []string{over + " (1)", overAgain + " (1)"})
		// Within a week it is the same incident; later it has regressed.
		r.pass(29 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if got := len(r.out.Sent()); got != 3 {
			t.Errorf("%d messages, want a reply more", got)
		}
		r.source.Add(up("sales"))
		r.pass(7*24*time.Hour + time.Second)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		sent, paged := r.out.Sent(), r.paged.Sent()
		if len(sent) != 4 || sent[3].Reply || len(paged) != 4 || sent[3].Message.Incident == m.Incident {
			t.Fatalf("%d messages and %d pages, the last a reply: %v", len(sent), len(paged), sent[3].Reply)
		}
		if text := sent[3].Message.Text(); !strings.Contains(text, "regressed: before that 3 times, last seen 2000-01-01 01:11:00Z, resolved 2000-01-01 01:12:00Z") || strings.Contains(text, "since") {
			t.Errorf("the new message reads\n%s", text)
		}
		if s := r.stats(); s.Acknowledged != 1 || s.Outbox != 0 || s.Matched["down"] != 4 || s.Open[alerting.Firing] != 1 || s.Open[alerting.Acknowledged] != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// What happens in one batch happens in its order.
func TestFlappingInOneBatch(t *testing.T) {
	for _, tt := range []struct {
		events string // d: down, u: up
		want   []string
	}{
		{"d", []string{"firing 00:00:00Z"}},
		{"du", []string{"resolved fired 00:00:00Z, resolved 00:00:00Z after 0s"}},
		{"dud", []string{"firing fired 00:00:00Z · again, 2 times since 00:00:00Z"}},
		{"dudu", []string{"resolved fired 00:00:00Z, resolved 00:00:00Z after 0s · again, 2 times since 00:00:00Z"}},
		{"ud", []string{"firing 00:00:00Z"}},
		{"u", nil},
		{"uu", nil},
		{"ddd", []string{"firing 3 times at 00:00:00Z"}},
		{"duu", []string{"resolved fired 00:00:00Z, resolved 00:00:00Z after 0s"}},
	} {
		t.Run(tt.events, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.run()
				var events []event.Event
				for _, c := range tt.events {
					events = append(events, map[rune]event.Event{'d': down("sales"), 'u': up("sales")}[c])
				}
				r.source.Add(events...)
				r.pass(time.Hour)
				r.want(tt.want, tt.want)
			})
		})
	}
}

func TestResolveFindsItsIncident(t *testing.T) {
	other := up("sales")
	other.Fields[1].Value = []byte("probe:else")
	bare := up("sales")
	bare.Fields = bare.Fields[:1]
	both := up("sales") // matched by both queries
	both.Fields = append(both.Fields, event.Field{Name: []byte("change"), Value: []byte("down")})
	for _, tt := range []struct {
		name  string
		event event.Event
		want  alerting.State
	}{
		{"up", up("sales"), alerting.Resolved},
		{"another service", up("customers"), alerting.Firing},
		{"another fingerprint", other, alerting.Firing},
		{"no fingerprint", bare, alerting.Firing},
		{"another down", down("sales"), alerting.Firing},
		{"down and up in one", both, alerting.Resolved},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				r.source.Add(tt.event)
				r.pass(time.Minute)
				if sent := r.out.Sent(); len(sent) != 1 || sent[0].Message.State != tt.want {
					t.Errorf("%d messages, the first %s, want %s", len(sent), sent[0].Message.State, tt.want)
				}
			})
		})
	}
}

// Whatever happens while a destination takes nothing, afterwards it has one message that says how things stand. The other
// one is told all the time.
func TestOutageOfOneDestination(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		t.Run(fmt.Sprintf("may have arrived: %v", unknown), func(t *testing.T) {
			inDuo(t, func(r *duo) {
				r.opts.Limits.Poll, r.opts.Fallbacks = time.Minute, nil
				var out atomic.Bool
				r.paged.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
					if out.Load() {
						return &alerting.DeliveryError{Class: alerting.Transient, Unsent: !unknown, Err: errors.New("503")}
					}
					return nil
				}
				r.run()
				out.Store(true)
				r.pass(2*time.Hour + 10*time.Minute)
				r.source.Add(down("sales"))
				r.pass(30 * time.Minute)
				r.source.Add(up("sales"))
				r.pass(5*time.Hour + 20*time.Minute)
				out.Store(false)
				r.pass(10 * time.Minute)
				over := "resolved fired 02:10:00Z, resolved 02:40:00Z after 30m"
				sent := r.paged.Sent()
				if len(sent) != 1 || sent[0].Message.Heading() != "Resolved: [error] sales is down: status 503" {
					t.Fatalf("%d pages: %+v", len(sent), sent)
				}
				late := " · delivered late, after "
				if unknown {
					late = " · " + alerting.NoteAgain + late
				}
				took := sent[0].At.Sub(time.Date(2000, 1, 1, 2, 10, 0, 0, time.UTC)).Round(time.Second).String()
				if strings.HasSuffix(took, "m0s") { // the pauses are random
					took = strings.TrimSuffix(took, "0s")
				}
				r.want([]string{over + " (1)"}, []string{over + late + took})
				// The next one is news again.
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				if sent := r.paged.Sent(); len(sent) != 2 || sent[1].Message.State != alerting.Firing {
					t.Errorf("%d pages after it was down again", len(sent))
				}
			})
		})
	}
}

// What is another incident to those who knew of the end of the last one is the same to those who did not.
func TestAnotherIncidentDuringAnOutage(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprintf("known before: %v", known), func(t *testing.T) {
			inDuo(t, func(r *duo) {
				var out atomic.Bool
				r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
					if out.Load() {
						return &alerting.DeliveryError{Class: alerting.Transient, Unsent: true, Err: errors.New("503")}
					}
					return nil
				}
				r.run()
				out.Store(!known)
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				out.Store(true)
				r.source.Add(up("sales"))
				r.pass(8 * 24 * time.Hour)
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				out.Store(false)
				r.pass(10 * time.Minute)
				sent, paged := r.out.Sent(), r.paged.Sent()
				if len(paged) != 2 || paged[0].Message.State != alerting.Resolved || paged[1].Message.State != alerting.Firing || paged[0].Message.Incident == paged[1].Message.Incident {
					t.Errorf("pages %+v", paged)
				}
				if want := map[bool]int{false: 1, true: 2}[known]; len(sent) != want || sent[0].Message.State != alerting.Firing || known != sent[len(sent)-1].Reply {
					t.Fatalf("messages %+v", sent)
				}
				if text := sent[0].Message.Text(); !strings.Contains(text, "regressed: before that 1 time, last seen 2000-01-01 00:00:00Z, resolved 2000-01-01 00:01:00Z") {
					t.Errorf("the message reads\n%s", text)
				}
			})
		})
	}
}

// Edits that wait are one edit.
func TestEditsAreMerged(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Damp = 1
		var out atomic.Bool
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if out.Load() {
				return failure(alerting.Transient)
			}
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		out.Store(true)
		r.acknowledge("phone")
		r.pass(time.Minute)
		for range 5 {
			r.source.Add(up("sales"))
			r.pass(time.Minute)
			r.source.Add(down("sales"))
			r.pass(time.Minute)
		}
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		if s := r.stats(); s.Outbox != 1 {
			t.Errorf("%d entries wait, want one", s.Outbox)
		}
		out.Store(false)
		r.pass(10 * time.Minute)
		sent := r.out.Sent()
		if len(sent) != 1 || sent[0].Edits != 1 || sent[0].Message.State != alerting.Resolved {
			t.Fatalf("%d messages, the first edited %d times, %s", len(sent), sent[0].Edits, sent[0].Message.State)
		}
		if text := sent[0].Message.Text(); !strings.Contains(text, "again, 6 times since 2000-01-01 00:00:00Z") || strings.Contains(text, alerting.NoteAgain) {
			t.Errorf("the message reads\n%s", text)
		}
		// Down when the outage ends, it rings once.
		out.Store(true)
		for range 3 {
			r.source.Add(down("sales"))
			r.pass(time.Minute)
			r.source.Add(up("sales"))
			r.pass(time.Minute)
		}
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		out.Store(false)
		r.pass(10 * time.Minute)
		if sent := r.out.Sent(); len(sent) != 2 || !sent[1].Reply || sent[0].Message.State != alerting.Firing || sent[0].Edits != 2 {
			t.Errorf("%d messages, the first %s after %d edits", len(sent), sent[0].Message.State, sent[0].Edits)
		}
	})
}

// A message on its way while its incident goes on is followed by what it could not say.
func TestChangesDuringSending(t *testing.T) {
	for _, tt := range []struct {
		name  string
		slow  string // the call that takes its time
		meant []event.Event
		want  []string
	}{
		{"resolved during the first message", "send", []event.Event{up("sales")}, []string{"resolved (1)"}},
		{"again during the first message", "send", []event.Event{up("sales"), down("sales")}, []string{"firing (1)", "> firing"}},
		{"again during the edit", "edit", []event.Event{down("sales")}, []string{"firing (2)", "> firing"}},
		{"again and over during the edit", "edit", []event.Event{down("sales"), up("sales")}, []string{"resolved (2)"}},
		{"over during the reply", "reply", []event.Event{up("sales")}, []string{"resolved (2)", "> firing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				var once sync.Once
				sent := 0
				r.out.Answer = func(_ context.Context, _ string, m alerting.Message, to alerting.Receipt) error {
					what := "send"
					if to != (alerting.Receipt{}) {
						what = "edit"
						if m.State == alerting.Firing && sent == 1 {
							what = "reply"
						}
					}
					if what == tt.slow {
						once.Do(func() { time.Sleep(20 * time.Second) })
					}
					sent++
					if what == "edit" && m.State == alerting.Resolved {
						sent = 1
					}
					return nil
				}
				r.run()
				r.source.Add(down("sales"))
				if tt.slow != "send" {
					r.pass(time.Minute)
					r.source.Add(up("sales"))
				}
				if tt.slow == "reply" {
					r.pass(time.Minute)
					r.source.Add(down("sales"))
				}
				r.pass(10 * time.Second)
				r.source.Add(tt.meant...)
				r.pass(time.Minute)
				var got []string
				for _, s := range r.out.Sent() {
					line := string(s.Message.State)
					if len(s.Message.Notes) > 0 {
						line += fmt.Sprint(" ", s.Message.Notes)
					}
					if s.Reply {
						line = "> " + line
					}
					if s.Edits > 0 {
						line += fmt.Sprintf(" (%d)", s.Edits)
					}
					got = append(got, line)
				}
				if strings.Join(got, ", ") != strings.Join(tt.want, ", ") {
					t.Errorf("messages %q, want %q", got, tt.want)
				}
				if s := r.stats(); s.Outbox != 0 {
					t.Errorf("%d entries are left", s.Outbox)
				}
			})
		})
	}
}

// An edit that is refused while its incident goes on gives way to what is more urgent by now.
func TestAgainDuringAnEditThatIsRefused(t *testing.T) {
	for _, result := range []error{failure(alerting.Wait), failure(alerting.Fault), failure(alerting.Transient), failure(alerting.EditRefused)} {
		t.Run(result.Error(), func(t *testing.T) {
			inDuo(t, func(r *duo) {
				var once sync.Once
				r.out.Answer = func(_ context.Context, _ string, m alerting.Message, to alerting.Receipt) (err error) {
					if m.State == alerting.Resolved {
						once.Do(func() {
							time.Sleep(20 * time.Second)
							err = result
						})
					}
					return err
				}
				r.run()
				r.source.Add(down("sales"))
				r.pass(10 * time.Second)
				r.source.Add(up("sales"))
				r.pass(10 * time.Second)
				r.source.Add(down("sales"))
				r.pass(2 * time.Minute)
				sent := r.out.Sent()
				if len(sent) != 2 || sent[1].Message.State != alerting.Firing || r.stats().Outbox != 0 || r.stats().DeadLetters != 0 {
					t.Errorf("messages %+v, %d wait", sent, r.stats().Outbox)
				}
			})
		})
	}
}

// A flapping target takes budget for each time it rings.
func TestRepliesTakeBudget(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget, r.opts.Limits.Damp = 3, 1
		r.run()
		for range 6 {
			r.source.Add(down("sales"))
			r.pass(10 * time.Second)
			r.source.Add(up("sales"))
			r.pass(10 * time.Second)
		}
		r.pass(time.Minute)
		sent := r.out.Sent()
		if len(sent) != 4 || !sent[1].Reply || !sent[2].Reply || sent[3].Message.Title != "3 more held: this channel is full" || sent[0].Message.State != alerting.Resolved {
			t.Errorf("messages %+v", sent)
		}
		if paged := r.paged.Sent(); len(paged) != 4 || paged[3].Message.Title != "3 more held: this channel is full" {
			t.Errorf("pages %+v", paged)
		}
	})
}

// An edit that may have arrived makes no repeat of the reply after it.
func TestReplyAfterEditsOfUnknownEnd(t *testing.T) {
	inDuo(t, func(r *duo) {
		var result atomic.Pointer[alerting.DeliveryError]
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if failure := result.Load(); failure != nil {
				return failure
			}
			return nil
		}
		unsent := failure(alerting.Transient)
		unsent.Unsent = true
		r.opts.Limits.MaxBackoff, r.opts.Limits.Damp = time.Second, 1
		r.run()
		for _, step := range []struct {
			result *alerting.DeliveryError
			event  event.Event
		}{{nil, down("sales")}, {nil, up("sales")}, {unsent, down("sales")}, {failure(alerting.Transient), up("sales")}, {unsent, down("sales")}} {
			result.Store(step.result)
			r.source.Add(step.event)
			r.pass(10 * time.Second)
		}
		result.Store(nil)
		r.pass(10 * time.Second)
		if sent := r.out.Sent(); len(sent) != 2 || !sent[1].Reply || len(sent[1].Message.Notes) > 0 || sent[0].Message.State != alerting.Firing {
			t.Errorf("messages %+v", sent)
		}
	})
}

// Whoever acknowledges a page that is over acknowledges nothing.
func TestOverDuringThePage(t *testing.T) {
	inDuo(t, func(r *duo) {
		var once sync.Once
		r.paged.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			once.Do(func() { time.Sleep(20 * time.Second) })
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(10 * time.Second)
		r.source.Add(up("sales"))
		r.pass(15 * time.Second)
		r.acknowledge("phone")
		r.pass(time.Minute)
		over := "resolved fired 00:00:00Z, resolved 00:00:10Z after 10s"
		r.want([]string{over + " (1)"}, []string{over + " (1)"})
		if s := r.stats(); s.Asked != 0 || s.Acknowledged != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A clock that was set back makes no time negative.
func TestUpBeforeDown(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		before := up("sales")
		before.Received = time.Now().Add(-time.Hour).UnixNano()
		r.source.Add(before)
		r.pass(time.Minute)
		r.want([]string{"resolved fired 00:00:00Z, resolved 00:00:00Z after 0s (1)"}, []string{"resolved fired 00:00:00Z, resolved 00:00:00Z after 0s (1)"})
	})
}

// A message that cannot be edited any more has its end told by another one; that it still fires is no reason for one.
func TestIncidentWhoseEditIsRefused(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.out.Answer = func(_ context.Context, _ string, _ alerting.Message, to alerting.Receipt) error {
			if to.ID == "0" {
				return failure(alerting.EditRefused)
			}
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		sent := r.out.Sent()
		if len(sent) != 2 || sent[1].Message.State != alerting.Resolved || strings.Contains(sent[1].Message.Text(), alerting.NoteAgain) {
			t.Fatalf("messages %+v", sent)
		}
		// It is the one that is edited from now on.
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if sent := r.out.Sent(); len(sent) != 3 || !sent[2].Reply || sent[1].Message.State != alerting.Firing {
			t.Errorf("messages %+v", sent)
		}
	})
	inDuo(t, func(r *duo) {
		r.out.Answer = func(_ context.Context, _ string, _ alerting.Message, to alerting.Receipt) error {
			if to.ID == "0" {
				return failure(alerting.EditRefused)
			}
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.pager.Tell(r.paged.Sent()[0].Receipt, alerting.Ack{Expired: true})
		r.pass(time.Minute)
		if sent := r.out.Sent(); len(sent) != 1 || r.stats().Outbox != 0 {
			t.Errorf("%d messages", len(sent))
		}
	})
}

// A message that is refused for good is not followed by edits, and does not keep the incident from ringing again.
func TestIncidentThatIsADeadLetter(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.out.Answer = func(_ context.Context, _ string, m alerting.Message, _ alerting.Receipt) error {
			if !strings.Contains(m.Text(), "again") {
				return failure(alerting.Fault)
			}
			return nil
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		if letters, err := r.engine.DeadLetters(); err != nil || len(letters) != 1 || r.stats().Outbox != 0 {
			t.Fatalf("%d dead letters, %v", len(letters), err)
		}
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if sent := r.out.Sent(); len(sent) != 1 || sent[0].Message.State != alerting.Firing {
			t.Errorf("messages %+v", sent)
		}
	})
}

// The budget is for what people have to notice: edits go on, and what it held is told by the overview alone.
func TestLifecycleWithinTheBudget(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget = 3
		r.opts.Rules[0].Channels = []string{"#errors"}
		r.run()
		services := []string{"one", "two", "three", "four", "five"}
		each := func(what func(string) event.Event) {
			for _, s := range services {
				r.source.Add(what(s))
			}
			r.pass(time.Minute)
		}
		state := func() (states []string) {
			for _, s := range r.out.Sent() {
				if s.Message.State != "" {
					states = append(states, string(s.Message.State))
				} else {
					states = append(states, s.Message.Lines[0])
				}
			}
			return states
		}
		each(down)
		each(up)
		if got := fmt.Sprint(state()); got != "[resolved resolved resolved By rule: down 2]" {
			t.Errorf("after the flood: %s", got)
		}
		// Down again without budget: the messages say so, nobody is rung, and the overview counts.
		each(down)
		if got := fmt.Sprint(state()); got != "[firing firing firing By rule: down 7]" {
			t.Errorf("without budget: %s", got)
		}
		// With budget again, what was held and is still down is told, and what is down again rings.
		r.pass(6 * time.Minute)
		if got := fmt.Sprint(state()); got != "[firing firing firing By rule: down 7 firing firing]" {
			t.Errorf("when the flood is over: %s", got)
		}
		each(up)
		r.pass(5 * time.Minute)
		r.source.Add(down("five"), down("one"))
		r.pass(time.Minute)
		if got := fmt.Sprint(state()); got != "[firing resolved resolved By rule: down 7 firing resolved firing firing]" {
			t.Errorf("afterwards: %s", got)
		}
		if s := r.stats(); s.Outbox != 0 || s.Held != 7 {
			t.Errorf("stats %+v", s)
		}
	})
}

// An edit that waits keeps its place when there is more to say, and leaves it for the front when it has to be noticed.
func TestPlaceOfAnEdit(t *testing.T) {
	inDuo(t, func(r *duo) {
		var out atomic.Bool
		var mu sync.Mutex
		var calls []string
		r.out.Answer = func(_ context.Context, _ string, m alerting.Message, _ alerting.Receipt) error {
			if out.Load() {
				return failure(alerting.Broken)
			}
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, m.Title[len("[error] "):len("[error] a")]+" "+string(m.State))
			return nil
		}
		r.run()
		r.source.Add(down("a"), down("b"), down("c"))
		r.pass(30 * time.Second)
		out.Store(true)
		for _, page := range r.paged.Sent() {
			r.pager.Tell(page.Receipt, alerting.Ack{At: time.Now()})
			r.pass(10 * time.Second)
		}
		r.pass(time.Minute)
		r.source.Add(up("a"), up("c"))
		r.pass(time.Minute)
		if s := r.stats(); s.Outbox != 3 || s.OldestUndelivered < 2*time.Minute {
			t.Errorf("%d entries wait, the oldest for %v", s.Outbox, s.OldestUndelivered)
		}
		r.source.Add(down("c"))
		r.pass(time.Second)
		out.Store(false)
		calls = nil
		if err := r.engine.Reload(r.opts.Rules); err != nil {
			t.Fatal(err)
		}
		r.pass(time.Minute)
		if got := strings.Join(calls, ", "); got != "c firing, a resolved, b acknowledged, c firing" {
			t.Errorf("calls: %s", got)
		}
	})
}

// What ends without budget is edited, and told by a new message where the old one is gone; neither counts as held.
func TestEndWithoutBudget(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget = 1
		r.opts.Rules[0].Channels = []string{"#errors"}
		var once sync.Once
		r.out.Answer = func(_ context.Context, _ string, _ alerting.Message, to alerting.Receipt) (err error) {
			if to != (alerting.Receipt{}) {
				once.Do(func() {
					time.Sleep(20 * time.Second)
					err = failure(alerting.EditRefused)
				})
			}
			return err
		}
		r.run()
		r.source.Add(down("sales"))
		r.pass(10 * time.Second)
		r.source.Add(up("sales"))
		r.pass(10 * time.Second)
		r.source.Add(down("customers")) // waits in front of the message that takes the other's place
		r.pass(time.Minute)
		sent := r.out.Sent()
		if len(sent) != 3 || sent[1].Message.State != alerting.Resolved || sent[2].Message.Title != "1 more held: this channel is full" || r.stats().Held != 1 {
			t.Errorf("messages %+v", sent)
		}
	})
	inDuo(t, func(r *duo) {
		r.opts.Rules[0].Channels = []string{"#errors"}
		var out atomic.Bool
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if out.Load() {
				return failure(alerting.Wait)
			}
			return nil
		}
		r.run()
		for i, e := range []event.Event{down("sales"), up("sales"), down("sales"), up("sales")} {
			out.Store(i > 1)
			r.source.Add(e)
			r.pass(10 * time.Second)
		}
		out.Store(false)
		r.halt()
		r.opts.Limits.Budget = 1
		r.run()
		r.pass(time.Minute)
		if sent := r.out.Sent(); len(sent) != 1 || sent[0].Edits != 2 || r.stats().Held != 0 {
			t.Errorf("messages %+v", sent)
		}
	})
}

// What was held is told once when there is budget, not by each event from then on.
func TestHeldInOneChannel(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Budget = 1
		r.opts.Rules = append(r.opts.Rules, rule(t, "errors", "level>=error service:shop", "#errors"))
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(10 * time.Second)
		for range 5 {
			r.source.Add(down("sales"))
			r.pass(6 * time.Minute)
		}
		held := "firing 00:00:10Z"
		titles := r.titles("#errors")
		if len(titles) != 3 || titles[1] != "1 more held: this channel is full" {
			t.Fatalf("messages %q", titles)
		}
		got := r.out.Sent()[2].Message
		if line := string(got.State) + " " + strings.ReplaceAll(got.Facts[0], "2000-01-01 ", ""); line != held {
			t.Errorf("the message that was held says %q, want %q", line, held)
		}
		if len(r.paged.Sent()) != 1 {
			t.Errorf("pages %+v", r.paged.Sent())
		}
	})
}

// New messages go before edits, those too that became edits when their first message was on its way.
func TestEditsWaitForNewMessages(t *testing.T) {
	inDuo(t, func(r *duo) {
		var mu sync.Mutex
		var calls []string
		var slow atomic.Bool
		r.out.Answer = func(_ context.Context, _ string, m alerting.Message, to alerting.Receipt) error {
			if slow.Swap(false) {
				time.Sleep(20 * time.Second)
			}
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, map[bool]string{true: "new", false: "edit"}[to == (alerting.Receipt{})])
			return nil
		}
		r.run()
		for i := range 5 {
			r.source.Add(down(word(i)))
		}
		r.pass(time.Minute)
		calls = nil
		slow.Store(true)
		for i := range 5 {
			r.source.Add(up(word(i)), down(word(10+i)))
			r.pass(time.Second)
			if i == 0 {
				r.source.Add(up(word(10))) // while its first message is on its way
			}
		}
		r.pass(time.Minute)
		if got := strings.Join(calls, " "); got != "new new new new new edit edit edit edit edit edit" {
			t.Errorf("calls: %s", got)
		}
	})
}

// An up-event that was lost does not silence the next outage.
func TestDownWithoutUp(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.acknowledge("phone")
		r.pass(28 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.want([]string{"acknowledged fired 00:00:00Z, acknowledged 00:01:00Z by phone (1)"}, []string{"firing 00:00:00Z"})
		// Nobody has to be rung for what rings already.
		r.source.Add(down("customers"))
		r.pass(31 * time.Minute)
		r.source.Add(down("customers"))
		r.pass(time.Minute)
		if sent, paged := r.out.Sent(), r.paged.Sent(); len(sent) != 3 || !sent[2].Reply || len(paged) != 2 {
			t.Errorf("%d messages and %d pages while one rings", len(sent), len(paged))
		}
	})
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.acknowledge("phone")
		r.pass(29 * time.Minute)
		r.source.Add(down("sales"))
		r.pass(10 * time.Hour)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		again := "firing fired 10:30:00Z · again, 2 times since 00:00:00Z · 3 times from 00:00:00Z to 10:30:00Z"
		r.want([]string{again + " (2)", "> " + again}, []string{"firing 00:00:00Z", again})
	})
}

// What has no fingerprint of its own nothing can resolve, whatever its rule: it opens anew after a quiet time.
func TestRuleThatCannotResolve(t *testing.T) {
	inDuo(t, func(r *duo) {
		bare := down("sales")
		bare.Fields = bare.Fields[:1]
		r.run()
		r.source.Add(bare)
		r.pass(time.Hour)
		if s := r.stats(); s.Open[alerting.Firing] != 0 {
			t.Errorf("open %v after an hour of quiet", s.Open)
		}
		r.source.Add(bare)
		r.pass(time.Minute)
		if sent := r.out.Sent(); len(sent) != 2 || !sent[1].Reply || sent[0].Edits != 2 {
			t.Errorf("messages %+v", sent)
		}
	})
}

// A week later an incident is forgotten, but not while it waits for its end.
func TestOpenIncidentsAreNotForgotten(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Rules = append(r.opts.Rules, rule(t, "errors", "level>=error service:shop", "#errors"))
		r.opts.Limits.Poll = time.Hour
		r.run()
		r.source.Add(down("sales"), down("customers"), up("customers"), ev(event.Error, "shop", "no stock"))
		r.pass(8 * 24 * time.Hour)
		r.source.Add(ev(event.Info, "shop", "time goes by"))
		r.pass(time.Hour)
		r.source.Add(ev(event.Info, "shop", "time goes by"))
		r.pass(time.Minute)
		if got := r.records("alerting/incident"); got != 1 {
			t.Errorf("%d incidents are kept, want the one that is open", got)
		}
		r.source.Add(up("sales"))
		r.pass(time.Minute)
		sent := r.out.Sent()
		if text := sent[0].Message.Text(); !strings.Contains(text, "resolved 2000-01-09 01:01:00Z after 193h1m") {
			t.Errorf("the message reads\n%s", text)
		}
		// When no rule resolves it any more, it is as any other.
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		if err := r.engine.Reload([]alerting.Rule{rule(t, "errors", "level>=error", "#errors")}); err != nil {
			t.Fatal(err)
		}
		r.pass(8 * 24 * time.Hour)
		r.source.Add(ev(event.Info, "shop", "time goes by"))
		r.pass(time.Minute)
		if got := r.records("alerting/incident"); got != 0 {
			t.Errorf("%d incidents are kept of rules that are gone", got)
		}
	})
}

// Channels that a rule no longer has still see the end of what they were told.
func TestRuleWithOtherChannels(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		r.source.Add(down("sales"), down("customers"))
		r.pass(time.Minute)
		if err := r.engine.Reload([]alerting.Rule{downRule(t, "#errors", "#more")}); err != nil {
			t.Fatal(err)
		}
		r.source.Add(up("sales"), down("sales"), up("customers"))
		r.pass(time.Minute)
		states := func(channel string) (states []alerting.State) {
			for _, s := range append(r.out.Sent(channel), r.paged.Sent(channel)...) {
				states = append(states, s.Message.State)
			}
			return states
		}
		for channel, want := range map[string]string{"#errors": "[firing resolved firing]", "#more": "[firing]", "pushover": "[firing resolved]"} {
			if got := fmt.Sprint(states(channel)); got != want {
				t.Errorf("%s has %s, want %s", channel, got, want)
			}
		}
	})
}

// Every channel of a rule gets every event of interest.
func TestEachInSeveralChannels(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.opts.Rules[1].Channels = []string{"#shop", "#more"}
		r.run()
		r.source.Add(ev(event.Info, "shop", "order shipped 1"), ev(event.Info, "shop", "order shipped 2"))
		r.pass(10 * time.Second)
		r.wantTitles("#shop", "shipped 2")
		r.wantTitles("#more", "shipped 2")
	})
}

func TestIncidents(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.opts.Limits.Poll = time.Minute
		r.opts.BaseURL = "http://lookout.test"
		r.opts.Rules = append(r.opts.Rules, rule(t, "errors", "level>=error service:shop", "#errors"))
		r.run()
		list := func() string {
			t.Helper()
			infos, err := r.engine.Incidents()
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, i := range infos {
				lines = append(lines, fmt.Sprintf("%s %s", i.Service, i.State))
			}
			return strings.Join(lines, ", ")
		}
		want := func(want string, open ...int) {
			t.Helper()
			if got := list(); got != want {
				t.Errorf("incidents %q, want %q", got, want)
			}
			if s := r.stats(); fmt.Sprint(s.Open[alerting.Firing], s.Open[alerting.Acknowledged]) != strings.Trim(fmt.Sprint(open), "[]") {
				t.Errorf("open %v, want %v", s.Open, open)
			}
		}
		want("", 0, 0)
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(time.Minute)
		r.source.Add(down("sales"))
		r.pass(time.Minute)
		r.source.Add(down("customers"))
		r.pass(time.Minute)
		want("customers firing, sales firing, shop firing", 3, 0)
		pages := r.paged.Sent()
		r.pager.Tell(pages[0].Receipt, alerting.Ack{At: time.Now(), By: "phone"})
		r.pass(time.Minute)
		want("sales acknowledged, customers firing, shop firing", 2, 1)
		r.source.Add(up("customers"))
		r.pass(time.Minute)
		want("customers resolved, sales acknowledged, shop firing", 1, 1)
		infos, _ := r.engine.Incidents()
		i := infos[1]
		if i.Rule != "down" || i.Title != "[error] sales is down: status 503" || i.Severity != alerting.Error || i.By != "phone" || i.Count != 1 || i.Fired != 1 ||
			!i.Acknowledged.Equal(pages[0].At.Add(2*time.Minute)) || !i.Resolved.IsZero() || fmt.Sprint(i.Channels) != "[#errors pushover]" || !strings.HasPrefix(i.Link, "http://lookout.test/?q=") {
			t.Errorf("%+v", i)
		}
		r.halt()
		r.run()
		want("customers resolved, sales acknowledged, shop firing", 1, 1)
		// It stays open for as long as a rule can resolve it.
		rules := r.opts.Rules
		if err := r.engine.Reload(rules[1:]); err != nil {
			t.Fatal(err)
		}
		want("customers resolved, sales acknowledged, shop firing", 1, 1)
		if err := r.engine.Reload(rules); err != nil {
			t.Fatal(err)
		}
		// What nothing resolves leaves when it is quiet, what is resolved after a day.
		r.pass(30 * time.Minute)
		want("shop resolved, customers resolved, sales acknowledged", 0, 1)
		r.pass(24 * time.Hour)
		want("sales acknowledged", 0, 1)
		if err := r.engine.Reload(rules[1:]); err != nil {
			t.Fatal(err)
		}
		want("", 0, 0)
	})
}

// The notice about a broken channel goes another way if there is one.
func TestFallbacks(t *testing.T) {
	for _, tt := range []struct {
		name      string
		fallbacks []string
		broken    string
		want      string // the channel that is told
	}{
		{"Slack, with Pushover", []string{"#ops", "pushover"}, "#errors", "pushover"},
		{"the fallback itself, with Pushover", []string{"#errors", "pushover"}, "#errors", "pushover"},
		{"Pushover, with Slack", []string{"#ops", "pushover"}, "pushover", "#ops"},
		{"Slack alone", []string{"#ops"}, "#errors", "#ops"},
		{"Slack alone, the second", []string{"#errors", "#ops"}, "#errors", "#ops"},
		{"the only one", []string{"#errors"}, "#errors", ""},
		{"none", nil, "#errors", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				answer := func(_ context.Context, channel string, _ alerting.Message, _ alerting.Receipt) error {
					if channel == tt.broken {
						return failure(alerting.Broken)
					}
					return nil
				}
				r.out.Answer, r.paged.Answer = answer, answer
				r.opts.Fallbacks = tt.fallbacks
				r.opts.Rules[0].Channels = []string{tt.broken}
				r.run()
				r.source.Add(down("sales"))
				r.pass(time.Minute)
				told := ""
				for _, s := range append(r.out.Sent(), r.paged.Sent()...) {
					told += s.Channel
					if want := "lookout: alerts for " + tt.broken + " cannot be delivered"; s.Message.Title != want || s.Message.State != "" {
						t.Errorf("the notice is %q %q", s.Message.State, s.Message.Title)
					}
				}
				if told != tt.want {
					t.Errorf("%q was told, want %q", told, tt.want)
				}
			})
		})
	}
}

// An entry whose incident is lost, or knows nothing of it, is no endless try: what had to be noticed is told as far as it is
// known, what was only to be edited is not.
func TestEntryAndIncidentDisagree(t *testing.T) {
	lost := func(b *bbolt.Bucket, k, _ []byte) error { return b.Delete(k) }
	told := func(b *bbolt.Bucket, k, v []byte) error {
		return b.Put(k, regexp.MustCompile(`"(ring|shown)":\d+`).ReplaceAll(v, []byte(`"shown":99`)))
	}
	nobody := func(b *bbolt.Bucket, k, v []byte) error {
		return b.Put(k, regexp.MustCompile(`"to":\[.*\]`).ReplaceAll(v, []byte(`"to":[]`)))
	}
	for _, tt := range []struct {
		name   string
		update bool // it is an edit that waits
		damage func(b *bbolt.Bucket, k, v []byte) error
		want   []string // states
		title  string   // of the last message
	}{
		{"alert, lost", false, lost, []string{"firing"}, "rule down matched at 2000-01-01 00:00:00Z"},
		{"alert, of another channel", false, nobody, []string{"firing"}, "[error] sales is down: status 503"},
		{"alert, told", false, told, nil, ""},
		{"edit, lost", true, lost, []string{"firing"}, "[error] sales is down: status 503"},
		{"edit, of another channel", true, nobody, []string{"firing"}, "[error] sales is down: status 503"},
		{"edit, told", true, told, []string{"firing"}, "[error] sales is down: status 503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inDuo(t, func(r *duo) {
				var out atomic.Bool
				r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
					if out.Load() {
						return failure(alerting.Wait)
					}
					return nil
				}
				r.opts.Rules[0].Channels = []string{"#errors"}
				out.Store(!tt.update)
				r.run()
				r.source.Add(down("sales"))
				r.pass(10 * time.Second)
				out.Store(true)
				if tt.update {
					r.source.Add(up("sales"))
					r.pass(10 * time.Second)
				}
				r.halt()
				err := r.db.Update(func(tx *bbolt.Tx) error {
					b := tx.Bucket([]byte("alerting/incident"))
					k, v := b.Cursor().First()
					return tt.damage(b, bytes.Clone(k), bytes.Clone(v))
				})
				if err != nil {
					t.Fatal(err)
				}
				out.Store(false)
				r.run()
				r.pass(time.Minute)
				var got []string
				for _, s := range r.out.Sent() {
					got = append(got, string(s.Message.State))
				}
				if fmt.Sprint(got) != fmt.Sprint(tt.want) || len(got) > 0 && r.titles("#errors")[len(got)-1] != tt.title {
					t.Errorf("messages %q %q, want %q, the last %q", got, r.titles("#errors"), tt.want, tt.title)
				}
				if s := r.stats(); s.Outbox != 0 || s.StateErrors != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func TestStateSurvivesRestart(t *testing.T) {
	inDuo(t, func(r *duo) {
		r.run()
		for _, e := range []event.Event{down("sales"), up("sales"), down("sales"), up("sales")} {
			r.source.Add(e)
			r.pass(time.Minute)
			r.halt()
			r.run()
		}
		if sent := r.out.Sent(); len(sent) != 2 || sent[0].Message.State != alerting.Resolved || sent[0].Edits != 3 {
			t.Errorf("messages %+v", sent)
		}
		synctest.Wait()
	})
}
