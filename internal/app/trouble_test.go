package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/internal/event"
)

// self is a watch over what a test says is wrong.
type self struct {
	*selfWatch
	now      time.Time
	wrong    []trouble
	reported []string
	stored   []string
	broken   error // of both
}

func newSelf() *self {
	s := &self{now: time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)}
	s.selfWatch = &selfWatch{
		look: func() []trouble { return s.wrong },
		report: func(_ context.Context, t alerting.Trouble) error {
			if s.broken == nil {
				s.reported = append(s.reported, fmt.Sprintf("%s %s %d %v", s.now.Format("04:05"), t.Kind, t.N, t.Over))
			}
			return s.broken
		},
		write: func(_ context.Context, b *event.Batch) error {
			if s.broken == nil {
				ev := &b.Events[0]
				s.stored = append(s.stored, fmt.Sprintf("%s %s/%s %s %s %s", s.now.Format("04:05"), ev.Service, ev.Stream, ev.Level, ev.Field("status").Value, ev.Field("count").Value))
			}
			return s.broken
		},
		log: slog.New(slog.DiscardHandler), episodes: map[string]*episode{},
	}
	return s
}

// pass looks every 15 s for so long.
func (s *self) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.step(context.Background(), s.now)
		s.now = s.now.Add(15 * time.Second)
	}
}

func (s *self) want(t *testing.T, what string, got *[]string, want ...string) {
	t.Helper()
	if !slices.Equal(*got, want) {
		t.Errorf("%s:\n %s\nwant\n %s", what, strings.Join(*got, "\n "), strings.Join(want, "\n "))
	}
	*got = nil
}

func TestTroubleIsToldOnceAndOver(t *testing.T) {
	s := newSelf()
	s.wrong = []trouble{{kind: "gelf", severity: alerting.Error, text: "lost\nmend"}}
	s.pass(5 * time.Minute)
	s.want(t, "while all is well", &s.reported)
	s.wrong[0].total = 7
	s.pass(15 * time.Second)
	s.wrong[0].total = 8 // within a minute
	s.pass(9 * time.Minute)
	s.want(t, "reports", &s.reported, "05:00 gelf 7 false", "06:00 gelf 1 false", "07:00 gelf 0 false", "08:00 gelf 0 false", "09:00 gelf 0 false", "10:00 gelf 0 false",
		"11:00 gelf 0 false", "12:00 gelf 0 false", "13:00 gelf 0 false", "14:00 gelf 0 false")
	s.want(t, "events", &s.stored, "05:00 lookout/trouble error firing 7")
	s.pass(3 * time.Minute)
	s.want(t, "reports", &s.reported, "15:00 gelf 0 false", "15:15 gelf 0 true")
	s.want(t, "events", &s.stored, "15:15 lookout/trouble info over 8")
	s.pass(time.Hour)
	s.want(t, "reports after that", &s.reported)
	// What goes on is an event each hour.
	for range 130 {
		s.wrong[0].total++
		s.pass(time.Minute)
	}
	if len(s.stored) != 3 || !strings.HasSuffix(s.stored[2], "firing 121") {
		t.Errorf("in two hours and ten minutes: %v", s.stored)
	}
	if n := len(s.reported); n != 130 {
		t.Errorf("%d reports", n)
	}
}

func TestTroubleThatIsShort(t *testing.T) {
	s := newSelf()
	s.wrong = []trouble{{kind: "429", total: 5, patience: patience}, {kind: "rule", total: 100, kept: true}}
	s.pass(15 * time.Minute)
	s.want(t, "what was short, and what was there at the start", &s.reported)
	s.wrong[0].total = 6
	s.pass(90 * time.Second)
	s.wrong[0].total, s.wrong[1].total = 9, 101
	s.pass(15 * time.Second)
	s.want(t, "what goes on", &s.reported, "16:30 429 4 false", "16:30 rule 1 false")
	s.wrong = s.wrong[:1] // the rule is gone
	s.pass(12 * time.Minute)
	if got := s.reported[len(s.reported)-1]; got != "26:30 rule 0 true" {
		t.Errorf("in the end %v", s.reported)
	}
	if len(s.episodes) != 1 {
		t.Errorf("%d are known", len(s.episodes))
	}
}

// What cannot be told is told later, with all that happened meanwhile; what is so has no number.
func TestTroubleThatCannotBeTold(t *testing.T) {
	s := newSelf()
	s.broken = errors.New("the disk is full")
	s.wrong = []trouble{{kind: "disk full", on: true}}
	s.pass(5 * time.Minute)
	s.wrong[0].total = 3
	s.pass(5 * time.Minute)
	s.broken = nil
	s.pass(15 * time.Second)
	s.want(t, "reports", &s.reported, "10:00 disk full 3 false")
	s.want(t, "events", &s.stored, "10:00 lookout/trouble warning firing 3")
	s.wrong[0].on = false
	s.pass(11 * time.Minute)
	if got := s.reported[len(s.reported)-1]; got != "20:00 disk full 0 true" {
		t.Errorf("in the end %v", s.reported)
	}
}

// A server that gets nonsense tells Slack so, stores an event, and goes on counting: through all of it.
func TestServerTellsOfTrouble(t *testing.T) {
	fake := alertingtest.New()
	defer fake.Close()
	a := start(t, options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-1", "LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": fake.URL()}))
	w := &selfWatch{look: a.troubles, report: a.engine.Report, write: a.sink.Append, log: a.log, episodes: map[string]*episode{}}
	conn, err := net.Dial("udp", a.gelf.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("nonsense")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for a.gelf.Stats().NotAnObject == 0 {
		if time.Since(begin) > time.Minute {
			t.Fatal("the datagram does not arrive")
		}
		time.Sleep(time.Millisecond)
	}
	w.step(t.Context(), time.Now())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	messages, err := fake.Wait(ctx, func(m []alertingtest.SlackMessage) bool { return len(m) > 0 })
	if err != nil || messages[0].Text != "[warning] lookout: GELF datagrams are refused: not_an_object 1 since the start." || !strings.Contains(messages[0].Content(), "not in allow") {
		t.Errorf("%v: %+v", err, messages)
	}
	if code, text := get(t, a, "/api/v1/query?q=service:lookout+stream:trouble+status:firing", true); code != 200 || !strings.Contains(text, "gelf: bad input") {
		t.Errorf("the events are %d %s", code, text)
	}
	w.step(t.Context(), time.Now().Add(time.Hour))
	if _, err := fake.Wait(ctx, func(m []alertingtest.SlackMessage) bool {
		return strings.HasPrefix(m[0].Text, "Resolved: [warning] lookout: GELF")
	}); err != nil {
		t.Errorf("%v: %+v", err, fake.Messages())
	}
}
