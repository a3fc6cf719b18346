package rehearse_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/rehearse"
)

func rules(t *testing.T, pairs ...string) alerting.Options {
	t.Helper()
	o := alerting.Options{Notifier: alerting.Mux{}}
	for i := 0; i < len(pairs); i += 2 {
		q, err := query.Parse(pairs[i+1])
		if err != nil {
			t.Fatal(err)
		}
		o.Rules = append(o.Rules, alerting.Rule{Name: pairs[i], Query: q, Channels: []string{"#" + pairs[i]}})
	}
	return o
}

func show(list []rehearse.Notification) string {
	var b strings.Builder
	for _, n := range list {
		fmt.Fprintf(&b, "%s%s %s %s %s\n", n.Change, n.At.Format("15:04:05"), n.Channel, n.Kind, n.Title)
	}
	return b.String()
}

// Lines are read as an input would read them, with their own times.
func TestLines(t *testing.T) {
	const text = `{"time":"2026-01-02T10:00:00Z","level":"error","service":"shop","message":"no stock"}
{"time":"2026-01-02T10:00:01Z","level":"info","service":"shop","message":"order"}

{"time":"2026-01-02T12:00:00Z","level":"error","message":"no stock"}
`
	var list []rehearse.Notification
	sum, err := rehearse.Lines(t.Context(), strings.NewReader(text), "web", rules(t, "errors", "level>=error"), func(n rehearse.Notification) error {
		list = append(list, n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(list), "10:00:00 #errors message [error] shop: no stock\n12:00:00 #errors message [error] web: no stock\n"; got != want {
		t.Errorf("told\n%s, not\n%s", got, want)
	}
	if sum.Events != 3 || sum.Messages != 2 || sum.Rules[0].Matched != 2 || len(sum.Days) != 1 || sum.Days[0].Messages != 2 {
		t.Errorf("%+v", sum)
	}
	failed := errors.New("no more")
	if _, err := rehearse.Lines(t.Context(), strings.NewReader(text), "", rules(t, "errors", "level>=error"), func(rehearse.Notification) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("the error of who is told is lost: %v", err)
	}
}

var begin = time.Date(2026, 1, 2, 10, 0, 0, 0, time.UTC)

// store has an error each minute for two hours, and a warning in between.
func store() *alertingtest.Source {
	s := &alertingtest.Source{Batch: 7}
	for i := range 120 {
		at := begin.Add(time.Duration(i) * time.Minute).UnixNano()
		s.Add(
			event.Event{Received: at, Level: event.Error, Service: []byte("shop"), Message: fmt.Appendf(nil, "%s failed", strings.Repeat(string(rune('a'+i%26)), 2+i/26))},
			event.Event{Received: at + 1, Level: event.Warning, Service: []byte("shop"), Message: []byte("slow")})
	}
	return s
}

// What differs is marked, what is the same is counted; only events received since then count.
func TestBacktest(t *testing.T) {
	inForce := rules(t, "errors", "level>=error")
	o := rehearse.Options{
		Source: store(), Dir: t.TempDir(), Since: begin.Add(117 * time.Minute), Until: begin.Add(3 * time.Hour),
		Rules: rules(t, "errors", "level>=error -message:pppppp", "warnings", "level:warning"), InForce: &inForce,
	}
	var list []rehearse.Notification
	take := func(n rehearse.Notification) error {
		list = append(list, n)
		return nil
	}
	sum, err := rehearse.Backtest(t.Context(), o, take)
	if err != nil {
		t.Fatal(err)
	}
	want := "+11:57:00 #warnings message [warning] shop: slow\n-11:59:00 #errors message [error] shop: pppppp failed\n"
	if got := show(list); got != want {
		t.Errorf("differs\n%s, not\n%s", got, want)
	}
	if sum.Events != 6 || sum.Added != 1 || sum.Removed != 1 || sum.Same != 2 || !sum.Compared || sum.Messages != 3 {
		t.Errorf("%+v", sum)
	}
	var matched []string
	for _, r := range sum.Rules {
		matched = append(matched, fmt.Sprint(r.Rule, r.Matched, *r.Before))
	}
	if !slices.Equal(matched, []string{"errors2 3", "warnings3 0"}) && !slices.Equal(matched, []string{"errors 2 3", "warnings 3 0"}) {
		t.Errorf("matched %q", matched)
	}

	// Everything, and what cannot be read on the way.
	source := store()
	source.Gap(100, 110, errors.New("rotten"))
	list = nil
	o.Source, o.InForce, o.Since, o.Rules = source, nil, begin.Add(-time.Hour), inForce
	if sum, err = rehearse.Backtest(t.Context(), o, take); err != nil {
		t.Fatal(err)
	}
	if sum.Events != 229 || sum.Gaps != 1 || sum.Messages != int64(len(list)) || sum.Messages < 100 || list[0].Change != "" {
		t.Errorf("%+v, %d listed", sum, len(list))
	}

	// It ends with whoever asked.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := rehearse.Backtest(ended, o, take); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
