package alerting_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

func TestSendTest(t *testing.T) {
	inBubble(t, func(r *rig) {
		var failure error
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error { return failure }
		r.run()
		tester := alerting.NewTester(r.out, r.engine, r.clock, slog.New(slog.NewTextHandler(r.log, nil)))
		send := func(test alerting.Test) (alerting.TestResult, error) {
			t.Helper()
			time.Sleep(time.Second)
			return tester.Send(context.Background(), "#errors", test)
		}
		got, err := send(alerting.Test{Severity: alerting.Critical, Text: "is it\x1b[31m loud?\n", By: "ann"})
		if err != nil || !got.Accepted || got.Receipt != "0" || got.Class != "" {
			t.Errorf("%+v, %v", got, err)
		}
		sent := r.out.Sent()
		if len(sent) != 1 {
			t.Fatalf("%d messages", len(sent))
		}
		m := sent[0].Message
		if want := "Test message from lookout: nothing has happened\nis it␛[31m loud?\nto #errors · severity critical · sent by ann at 2000-01-01 00:00:01Z"; m.Text() != want || m.State != "" || m.Severity != alerting.Critical || m.ID != 0 {
			t.Errorf("%+v\n%q, want\n%q", m, m.Text(), want)
		}
		// One a second, whatever the channel.
		var soon *alerting.TooSoonError
		if _, err := tester.Send(context.Background(), "#shop", alerting.Test{}); !errors.As(err, &soon) || soon.RetryAfter != time.Second {
			t.Error(err)
		}
		for _, c := range []struct {
			err  error
			want alerting.TestResult
		}{
			{&alerting.DeliveryError{Class: alerting.Broken, Code: "not_in_channel", Mend: "invite it", Err: errors.New("slack: not_in_channel")},
				alerting.TestResult{Class: alerting.Broken, Code: "not_in_channel", Mend: "invite it", Error: "slack: not_in_channel"}},
			{&alerting.DeliveryError{Class: alerting.Fault, Err: errors.New("no")}, alerting.TestResult{Class: alerting.Fault, Error: "no", Mend: "the destination refuses this message, not the channel: send another text"}},
			{errors.New("broken pipe"), alerting.TestResult{Class: alerting.Transient, Error: "broken pipe", Mend: "try again; alerts are tried without end"}},
			{&alerting.DeliveryError{Class: alerting.Broken, Err: errors.New("no")}, alerting.TestResult{Class: alerting.Broken, Error: "no", Mend: "mend the channel, the token or the rights there; alerts are kept and tried again"}},
			{&alerting.DeliveryError{Class: alerting.Wait, Err: errors.New("slower"), RetryAfter: time.Minute}, alerting.TestResult{Class: alerting.Wait, Error: "slower", RetryAfter: 60, Mend: "wait, and try again"}},
		} {
			failure = c.err
			c.want.Channel = "#errors"
			if got, err := send(alerting.Test{}); err != nil || got != c.want {
				t.Errorf("%v: %+v, %v", c.err, got, err)
			}
		}
		// Nothing is sent within a pause that was asked for.
		failure = nil
		before := len(r.out.Sent())
		if got, err := send(alerting.Test{}); err != nil || got.Accepted || got.Class != alerting.Wait || got.RetryAfter != 59 || len(r.out.Sent()) != before {
			t.Errorf("%+v, %v, %d messages", got, err, len(r.out.Sent())-before)
		}
		time.Sleep(time.Minute)
		if got, err := send(alerting.Test{}); err != nil || !got.Accepted {
			t.Errorf("%+v, %v", got, err)
		}
		// There is no incident, nothing in the outbox, and no text in the log.
		if all, err := r.engine.Incidents(); err != nil || len(all) != 0 || r.stats().Outbox != 0 || strings.Contains(r.log.String(), "loud") {
			t.Errorf("%v, %v, %d in the outbox, log %s", all, err, r.stats().Outbox, r.log)
		}
	})
}

// A test keeps to the pace of the channel's alerts, and is never on its way at the same time as one of them.
func TestSendTestBesideAlerts(t *testing.T) {
	inBubble(t, func(r *rig) {
		var calls []time.Time
		busy := 0
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if busy++; busy > 1 {
				t.Error("two calls at once")
			}
			calls = append(calls, time.Now())
			time.Sleep(3 * time.Second)
			busy--
			return nil
		}
		r.run()
		tester := alerting.NewTester(r.out, r.engine, r.clock, slog.New(slog.DiscardHandler))
		for i := range 3 {
			r.source.Add(ev(event.Error, "shop", word(i)))
		}
		synctest.Wait()
		if got, err := tester.Send(context.Background(), "#errors", alerting.Test{}); err != nil || !got.Accepted || got.TookMS != 3000 {
			t.Errorf("%+v, %v", got, err)
		}
		r.pass(time.Minute)
		if len(calls) != 4 {
			t.Fatalf("%d calls", len(calls))
		}
		for i := range calls[1:] {
			if d := calls[i+1].Sub(calls[i]); d < time.Second {
				t.Errorf("call %d is %v behind the one before", i+1, d)
			}
		}
		// Who does not wait has sent nothing.
		ctx, cancel := context.WithCancel(context.Background())
		r.source.Add(ev(event.Error, "shop", word(9)))
		synctest.Wait()
		done := make(chan error)
		go func() {
			_, err := tester.Send(ctx, "#errors", alerting.Test{})
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.pass(time.Minute)
		if len(calls) != 5 {
			t.Errorf("%d calls", len(calls))
		}
	})
}

// What waits for a channel that takes nothing is tried when it takes a test.
func TestSendTestMends(t *testing.T) {
	inBubble(t, func(r *rig) {
		broken := true
		r.out.Answer = func(context.Context, string, alerting.Message, alerting.Receipt) error {
			if broken {
				return &alerting.DeliveryError{Class: alerting.Broken, Err: errors.New("slack: not_in_channel")}
			}
			return nil
		}
		r.run()
		r.source.Add(ev(event.Error, "shop", "no stock"))
		r.pass(10 * time.Second)
		parked, err := r.engine.ParkedChannels()
		if err != nil || len(parked) != 1 || parked["#errors"].Reason != "slack: not_in_channel" || parked["#errors"].Since.IsZero() {
			t.Errorf("%+v, %v", parked, err)
		}
		broken = false
		tester := alerting.NewTester(r.out, r.engine, r.clock, slog.New(slog.DiscardHandler))
		if got, err := tester.Send(context.Background(), "#errors", alerting.Test{}); err != nil || !got.Accepted {
			t.Errorf("%+v, %v", got, err)
		}
		r.pass(2 * time.Second)
		r.wantTitles("#errors", "Test message from lookout: nothing has happened", "[error] shop: no stock")
	})
}

// hook is a way that acts.
type hook struct{ alerting.Notifier }

func (hook) Acts() bool { return true }

func TestTesterWithoutAlerts(t *testing.T) {
	inBubble(t, func(r *rig) {
		tester := alerting.NewTester(alerting.Mux{Default: r.out, Ways: map[string]alerting.Notifier{"restart": hook{r.out}}}, nil, nil, slog.New(slog.DiscardHandler))
		if tester.Acts("#ops") || !tester.Acts("restart") {
			t.Error("it does not know hooks")
		}
		if got, err := tester.Send(context.Background(), "#ops", alerting.Test{}); err != nil || !got.Accepted {
			t.Errorf("%+v, %v", got, err)
		}
		r.wantTitles("#ops", "Test message from lookout: nothing has happened")
	})
}
