package pushover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/alertingtest"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

const (
	token = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
	user  = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
)

func notifier(t testing.TB, o pushover.Options) *pushover.Notifier {
	t.Helper()
	o.Token, o.User = token, user
	n, err := pushover.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func fake(t testing.TB) (*alertingtest.FakePushover, *pushover.Notifier) {
	f := alertingtest.NewUnlisteningPushover()
	f.Require(token, user)
	t.Cleanup(func() {
		if failures := f.Failures(); len(failures) != 0 {
			t.Errorf("Pushover would not like that: %q", failures)
		}
	})
	return f, notifier(t, pushover.Options{API: f.URL(), Transport: f.Transport()})
}

const incident = "0123456789abcdef"

func message(s alerting.State) alerting.Message {
	return alerting.Message{
		Severity: alerting.Error, State: s, Incident: incident, Title: "[error] shop: no stock", Lines: []string{"no stock for 7"},
		Facts: []string{"3 times", "rule errors"}, Notes: []string{"delivered late"}, Link: "http://l/?q=level%3Aerror",
	}
}

func send(t *testing.T, n *pushover.Notifier, m alerting.Message) alerting.Receipt {
	t.Helper()
	r, err := n.Send(t.Context(), "pushover", m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// noLeak looks for the secrets in all that an error can be made to say.
func noLeak(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e)} {
			for _, secret := range []alertingtest.Secret{token, user} {
				if leak := secret.Leak(text); leak != "" {
					t.Error(leak)
				}
			}
		}
	}
}

// What pushover.net/api#friendly asks for.
func TestClasses(t *testing.T) {
	quota := func(in time.Duration) alertingtest.Reply { return alertingtest.QuotaUsed(time.Now().Add(in)) }
	const pause = 5 * time.Second
	tests := []struct {
		name  string
		reply func() alertingtest.Reply
		class alerting.Class
		after time.Duration
	}{
		{"429 until the month ends", func() alertingtest.Reply { return quota(90 * time.Second) }, alerting.Wait, 90 * time.Second},
		{"429 with a month that ended", func() alertingtest.Reply { return quota(-time.Hour) }, alerting.Wait, time.Second},
		{"429 without headers", func() alertingtest.Reply { return alertingtest.Status(429) }, alerting.Wait, 0},
		{"429 with Retry-After", func() alertingtest.Reply { return alertingtest.RateLimited(17 * time.Second) }, alerting.Wait, 17 * time.Second},
		{"429 with nonsense", func() alertingtest.Reply { return alertingtest.RateLimited(-1).WithHeader("99999999999999999999") }, alerting.Wait, 0},
		{"429 with a quota", func() alertingtest.Reply { return alertingtest.PushoverErrors(429, "message", "slow down") }, alerting.Wait, 0},
		{"500", func() alertingtest.Reply { return alertingtest.Status(500) }, alerting.Transient, pause},
		{"502", func() alertingtest.Reply { return alertingtest.Status(502) }, alerting.Transient, pause},
		{"503 in JSON", func() alertingtest.Reply { return alertingtest.PushoverErrors(503, "message", "down") }, alerting.Transient, pause},
		{"answer lost", alertingtest.Lost, alerting.Transient, pause},
		{"not JSON", func() alertingtest.Reply { return alertingtest.Body("<html>log in to the wifi</html>") }, alerting.Transient, pause},
		{"other JSON", func() alertingtest.Reply { return alertingtest.Body(`{"status":1}`) }, alerting.Transient, pause},
		{"JSON of other types", func() alertingtest.Reply { return alertingtest.Body(`{"status":"1","request":"x"}`) }, alerting.Transient, pause},
		{"empty", func() alertingtest.Reply { return alertingtest.Body("") }, alerting.Transient, pause},
		{"endless", func() alertingtest.Reply { return alertingtest.Body(`{"request":"` + strings.Repeat("1", 1<<20)) }, alerting.Transient, pause},
		{"200 that is none", func() alertingtest.Reply { return alertingtest.Body(`{"status":0,"request":"x","errors":["no"]}`) }, alerting.Fault, 0},
		{"400 about the message", func() alertingtest.Reply {
			return alertingtest.PushoverErrors(400, "message", "message cannot be blank")
		}, alerting.Fault, 0},
		{"413", func() alertingtest.Reply { return alertingtest.PushoverErrors(413, "message", "too large") }, alerting.Fault, 0},
		{"bad token", func() alertingtest.Reply {
			return alertingtest.PushoverErrors(400, "token", "application token is invalid")
		}, alerting.Broken, 0},
		{"bad user", func() alertingtest.Reply {
			return alertingtest.PushoverErrors(400, "user", "user identifier is not a valid user")
		}, alerting.Broken, 0},
		{"400 of a proxy", func() alertingtest.Reply { return alertingtest.Status(400) }, alerting.Broken, 0},
		{"403", func() alertingtest.Reply { return alertingtest.Status(403) }, alerting.Broken, 0},
		{"404", func() alertingtest.Reply { return alertingtest.Status(404) }, alerting.Broken, 0},
		{"302", func() alertingtest.Reply { return alertingtest.Status(302) }, alerting.Broken, 0},
		{"errors that repeat the secrets", func() alertingtest.Reply {
			return alertingtest.PushoverErrors(400, "message", "you sent token="+token+"&user="+user)
		}, alerting.Fault, 0},
	}
	calls := []struct {
		name   string
		do     func(context.Context, *pushover.Notifier) error
		cancel bool
	}{
		{"Send", func(ctx context.Context, n *pushover.Notifier) error {
			_, err := n.Send(ctx, "pushover", message(alerting.Firing))
			return err
		}, false},
		{"Edit", func(ctx context.Context, n *pushover.Notifier) error {
			_, err := n.Edit(ctx, alerting.Receipt{Channel: "pushover", ID: strings.Repeat("r", 30), Rings: true}, message(alerting.Acknowledged))
			return err
		}, true},
		{"Acknowledgement", func(ctx context.Context, n *pushover.Notifier) error {
			_, err := n.Acknowledgement(ctx, alerting.Receipt{Channel: "pushover", ID: strings.Repeat("r", 30), Rings: true})
			return err
		}, false},
	}
	for _, tt := range tests {
		for _, call := range calls {
			t.Run(tt.name+"/"+call.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, n := fake(t)
					f.Behave(func(alertingtest.PushoverCall) alertingtest.Reply { return tt.reply() })
					err := call.do(t.Context(), n)
					noLeak(t, err)
					if call.cancel && tt.class == alerting.Fault {
						if err != nil {
							t.Errorf("%v: what cannot be cancelled does not ring", err)
						}
						return
					}
					var d *alerting.DeliveryError
					if !errors.As(err, &d) {
						t.Fatalf("%v is no DeliveryError", err)
					}
					// A second may pass between the reply and its reading: the header has whole ones.
					if d.Class != tt.class || d.RetryAfter > tt.after || d.RetryAfter <= tt.after-time.Second && tt.after != 0 || d.Unsent {
						t.Errorf("class %q after %v, unsent %v; want %q after %v, not unsent: %v", d.Class, d.RetryAfter, d.Unsent, tt.class, tt.after, err)
					}
					if n := f.Requests(); n != 1 {
						t.Errorf("%d calls, the client must not retry", n)
					}
				})
			})
		}
	}
}

// What is refused for an unknown reason even as plain text is not thrown away.
func TestPlainTextRefused(t *testing.T) {
	f, n := fake(t)
	f.Script(alertingtest.PushoverErrors(400, "something", "new"))
	m := message(alerting.Firing)
	m.Plain = true
	_, err := n.Send(t.Context(), "pushover", m)
	var d *alerting.DeliveryError
	if !errors.As(err, &d) || d.Class != alerting.Broken {
		t.Errorf("%v", err)
	}
}

// nameless is a network without a name server: no test waits for one.
func nameless() http.RoundTripper {
	d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("there is no name server")
	}}}
	return &http.Transport{DialContext: d.DialContext}
}

// Over a real network: what cannot have arrived is told from what may have.
func TestNetworkErrors(t *testing.T) {
	f := alertingtest.NewPushover()
	defer f.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	away := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, f.URL()+"messages.json", http.StatusTemporaryRedirect)
	})}
	go func() { _ = away.Serve(l) }()
	defer away.Close()

	tests := []struct {
		name   string
		api    string
		reply  alertingtest.Reply
		class  alerting.Class
		unsent bool
	}{
		{"refused", "http://127.0.0.1:1/1/", alertingtest.OK(), alerting.Transient, true}, // a port that no test is given
		{"no such host", "http://pushover.invalid/1/", alertingtest.OK(), alerting.Transient, true},
		{"answer lost", f.URL(), alertingtest.Lost(), alerting.Transient, false},
		{"hangs", f.URL(), alertingtest.Hang(), alerting.Transient, false},
		{"sent elsewhere", "http://" + l.Addr().String() + "/1", alertingtest.OK(), alerting.Broken, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.Behave(func(alertingtest.PushoverCall) alertingtest.Reply { return tt.reply })
			for name, do := range map[string]func(context.Context, *pushover.Notifier) error{
				"POST": func(ctx context.Context, n *pushover.Notifier) error {
					_, err := n.Send(ctx, "pushover", message(alerting.Firing))
					return err
				},
				"GET": func(ctx context.Context, n *pushover.Notifier) error {
					_, err := n.Acknowledgement(ctx, alerting.Receipt{ID: strings.Repeat("r", 30)})
					return err
				},
			} {
				o := pushover.Options{API: tt.api}
				if tt.name == "no such host" {
					o.Transport = nameless()
				}
				n := notifier(t, o) // without the other's pause
				ctx := t.Context()
				if tt.name == "hangs" { // all else comes to an end, however slow the machine is
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
					defer cancel()
				}
				err := do(ctx, n)
				var d *alerting.DeliveryError
				if !errors.As(err, &d) || d.Class != tt.class || d.Unsent != tt.unsent {
					t.Errorf("%s: %#v, want class %s, unsent %v", name, err, tt.class, tt.unsent)
				}
				noLeak(t, err)
			}
		})
	}
	if got := len(f.Messages()); got != 1 {
		t.Errorf("%d messages, want the one whose answer was lost", got)
	}
}

func TestEmergency(t *testing.T) {
	f, n := fake(t)
	r := send(t, n, message(alerting.Firing))
	m := f.Messages()[0]
	if !r.Rings || r.Channel != "pushover" || r.ID != m.Receipt || len(f.Messages()) != 1 {
		t.Errorf("receipt %+v of %+v", r, m)
	}
	if m.Priority != 2 || m.Retry != time.Minute || m.Expire != 50*time.Minute || m.Tags != "lookout-"+incident || m.User != user {
		t.Errorf("%+v", m)
	}
	if m.Title != "[error] shop: no stock" || m.Message != "no stock for 7\ndelivered late\n3 times · rule errors" ||
		m.URL != "http://l/?q=level%3Aerror" || m.URLTitle != "Open in lookout" {
		t.Errorf("%+v", m)
	}
}

func TestPriorities(t *testing.T) {
	tests := []struct {
		m    alerting.Message
		want int
	}{
		{alerting.Message{State: alerting.Firing, Severity: alerting.Info}, 2},
		{alerting.Message{State: alerting.Firing, Severity: alerting.Critical}, 2},
		{alerting.Message{State: alerting.Acknowledged, Severity: alerting.Critical}, 0},
		{alerting.Message{State: alerting.Resolved, Severity: alerting.Critical}, 0},
		{alerting.Message{Severity: alerting.Critical}, 1},
		{alerting.Message{Severity: alerting.Error}, 1},
		{alerting.Message{Severity: alerting.Warning}, 0},
		{alerting.Message{Severity: alerting.Info}, 0},
		{alerting.Message{}, 0},
	}
	for _, tt := range tests {
		f, n := fake(t)
		r := send(t, n, tt.m)
		if m := f.Messages()[0]; m.Priority != tt.want || r.Rings != (tt.want == 2) || r.Channel != "pushover" || m.Message == "" {
			t.Errorf("%+v: %+v, receipt %+v, want priority %d", tt.m, m, r, tt.want)
		}
	}
}

func TestResolve(t *testing.T) {
	f, n := fake(t)
	r := send(t, n, message(alerting.Firing))
	again := send(t, n, message(alerting.Firing)) // the answer was lost, say
	other := message(alerting.Firing)
	other.Incident = "another"
	still := send(t, n, other)
	got, err := n.Edit(t.Context(), r, message(alerting.Resolved))
	if err != nil || got.Rings || got.Channel != "pushover" {
		t.Errorf("%+v, %v", got, err)
	}
	if !f.Cancelled(r.ID) || !f.Cancelled(again.ID) || f.Cancelled(still.ID) {
		t.Error("the emergencies of the incident are to be cancelled, and no others")
	}
	quiet := f.Messages(0)
	if len(quiet) != 1 || quiet[0].Title != "Resolved: [error] shop: no stock" {
		t.Errorf("%+v", quiet)
	}
	// After a failure it goes on: what is cancelled can be cancelled again.
	synctest.Test(t, func(t *testing.T) {
		f, n := fake(t)
		r := send(t, n, message(alerting.Firing))
		for _, replies := range [][]alertingtest.Reply{
			{alertingtest.Status(503)},
			{alertingtest.OK(), alertingtest.Lost()},
			{alertingtest.OK(), alertingtest.OK(), alertingtest.Status(503)},
		} {
			f.Script(replies...)
			if _, err := n.Edit(t.Context(), r, message(alerting.Resolved)); err == nil {
				t.Errorf("no error after %d good answers", len(replies)-1)
			}
		}
		if got := f.Messages(0); len(got) != 0 {
			t.Errorf("%+v", got)
		}
		if _, err := n.Edit(t.Context(), r, message(alerting.Resolved)); err != nil || len(f.Messages(0)) != 1 {
			t.Errorf("%v, %+v", err, f.Messages())
		}
	})
}

// An emergency that Pushover knows nothing of, or that rings no more, is no reason not to tell the end.
func TestResolveWithoutEmergency(t *testing.T) {
	f, n := fake(t)
	for _, id := range []string{strings.Repeat("x", 30), "", "../messages"} {
		if _, err := n.Edit(t.Context(), alerting.Receipt{Channel: "pushover", ID: id}, message(alerting.Resolved)); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
	if got := f.Messages(0); len(got) != 3 {
		t.Errorf("%+v", got)
	}
}

func TestAcknowledgedElsewhere(t *testing.T) {
	f, n := fake(t)
	r := send(t, n, message(alerting.Firing))
	got, err := n.Edit(t.Context(), r, message(alerting.Acknowledged))
	if err != nil || got.Rings || !f.Cancelled(r.ID) || len(f.Messages()) != 1 {
		t.Errorf("%+v, %v, %+v", got, err, f.Messages())
	}
}

// What comes too late to ring silences what may have come before it.
func TestLate(t *testing.T) {
	for _, state := range []alerting.State{alerting.Acknowledged, alerting.Resolved} {
		f, n := fake(t)
		lost := send(t, n, message(alerting.Firing))
		r := send(t, n, message(state))
		if r.Rings || !f.Cancelled(lost.ID) || len(f.Messages(0)) != 1 {
			t.Errorf("%s: %+v, %+v", state, r, f.Messages())
		}
	}
}

func TestOtherEdits(t *testing.T) {
	f, n := fake(t)
	r := send(t, n, message(alerting.Firing))
	before := f.Requests()
	for _, m := range []alerting.Message{message(alerting.Firing), {Title: "5 more held"}} {
		if got, err := n.Edit(t.Context(), r, m); err != nil || got != r {
			t.Errorf("%s: %+v, %v", m.Title, got, err)
		}
	}
	if f.Requests() != before {
		t.Error("neither is worth a call")
	}
}

func TestAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := fake(t)
		r := send(t, n, message(alerting.Firing))
		check := func(want alerting.Ack) {
			t.Helper()
			time.Sleep(5 * time.Second)
			got, err := n.Acknowledgement(t.Context(), r)
			if err != nil || !got.At.Equal(want.At) || got.By != want.By || got.Expired != want.Expired {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
		check(alerting.Ack{})
		f.Acknowledge(r.ID)
		check(alerting.Ack{At: time.Now().Truncate(time.Second), By: "phone"})
		r = send(t, n, message(alerting.Firing))
		check(alerting.Ack{})
		time.Sleep(3 * time.Hour)
		check(alerting.Ack{Expired: true})
		r.ID = strings.Repeat("x", 30)
		check(alerting.Ack{Expired: true})
		r.ID = "../apps/limits"
		check(alerting.Ack{Expired: true})
	})
}

// After a failure Pushover is left alone for five seconds, whoever calls.
func TestPauseAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := fake(t)
		for _, reply := range []alertingtest.Reply{alertingtest.Status(500), alertingtest.Lost(), alertingtest.Body("")} {
			f.Script(reply)
			if _, err := n.Send(t.Context(), "pushover", message(alerting.Firing)); err == nil {
				t.Fatal("no error")
			}
			failed := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := n.Send(ctx, "pushover", message(alerting.Firing))
			cancel()
			var d *alerting.DeliveryError
			if !errors.As(err, &d) || d.Class != alerting.Transient || !d.Unsent {
				t.Errorf("in the pause: %v", err)
			}
			send(t, n, message(alerting.Firing))
			if passed := time.Since(failed); passed != 5*time.Second {
				t.Errorf("called again after %v", passed)
			}
		}
		// An error in what was sent is no failure of Pushover's.
		f.Script(alertingtest.PushoverErrors(400, "message", "bad"))
		_, _ = n.Send(t.Context(), "pushover", message(alerting.Firing))
		begin := time.Now()
		send(t, n, message(alerting.Firing))
		if passed := time.Since(begin); passed != 0 {
			t.Errorf("waited %v", passed)
		}
	})
}

// The fake notes a third connection.
func TestTwoConnections(t *testing.T) {
	f := alertingtest.NewPushover()
	defer f.Close()
	n := notifier(t, pushover.Options{API: f.URL()})
	entered, leave := make(chan struct{}, 100), make(chan struct{})
	f.Behave(func(alertingtest.PushoverCall) alertingtest.Reply {
		entered <- struct{}{}
		<-leave
		return alertingtest.OK()
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := n.Send(t.Context(), "pushover", message(alerting.Firing)); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := n.Send(ctx, "pushover", message(alerting.Firing))
	var d *alerting.DeliveryError
	if !errors.As(err, &d) || !d.Unsent {
		t.Errorf("without a place: %v", err)
	}
	close(leave)
	all.Wait()
	if got := f.Failures(); len(got) != 0 || len(f.Messages()) != 8 || len(entered) != 6 {
		t.Errorf("failures %q, %d messages", got, len(f.Messages()))
	}
}

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, n := fake(t)
		if s := n.Stats(); s != (pushover.Stats{}) {
			t.Errorf("%+v before the first answer", s)
		}
		reset := time.Now().Add(24 * time.Hour)
		f.Quota(202, reset)
		info := alerting.Message{Title: "shipped", Severity: alerting.Info}
		send(t, n, info) // 201 are left behind it
		if s := n.Stats(); s.Limit != 10_000 || s.Remaining != 201 || s.Reset.Unix() != reset.Unix() {
			t.Errorf("%+v", s)
		}
		send(t, n, info)
		_, err := n.Send(t.Context(), "pushover", info)
		var d *alerting.DeliveryError
		if !errors.As(err, &d) || d.Class != alerting.Fault || !strings.Contains(err.Error(), "200 are left") {
			t.Errorf("%v", err)
		}
		r := send(t, n, message(alerting.Firing))
		send(t, n, alerting.Message{Title: "slack is broken", Severity: alerting.Error})
		if _, err := n.Edit(t.Context(), r, message(alerting.Resolved)); err != nil || !f.Cancelled(r.ID) {
			t.Errorf("%v", err)
		}
		if s := n.Stats(); s.Remaining != 198 || s.Withheld != 1 || len(f.Messages(0)) != 2 {
			t.Errorf("%+v", s)
		}
		time.Sleep(25 * time.Hour) // another month
		f.Quota(10_000, reset.Add(30*24*time.Hour))
		send(t, n, info)
	})
}

func TestOddQuotaHeaders(t *testing.T) {
	for _, values := range [][3]string{{"", "1", "1"}, {"x", "1", "1"}, {"-1", "1", "1"}, {"10", "-1", "1"}, {"10", "1", "0"}, {"10", "1", "99999999999999999999"}} {
		n := notifier(t, pushover.Options{API: "http://pushover.test/1", Transport: answering(func(h http.Header) {
			h.Set("X-Limit-App-Limit", values[0])
			h.Set("X-Limit-App-Remaining", values[1])
			h.Set("X-Limit-App-Reset", values[2])
		})})
		send(t, n, message(alerting.Firing))
		if s := n.Stats(); s != (pushover.Stats{}) {
			t.Errorf("%q: %+v", values, s)
		}
	}
}

type answering func(http.Header)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) {
	h := http.Header{}
	a(h)
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Header: h, Request: r,
		Body: io.NopCloser(strings.NewReader(`{"status":1,"request":"x"}`)),
	}, nil
}

// Whatever a message holds, Pushover takes it, and what is at the ends of the log text is in it.
func TestEveryMessageFits(t *testing.T) {
	f, n := fake(t)
	text := rapid.Custom(func(t *rapid.T) string {
		part := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"&&&&", "<<>>", "x", "😀", "\n", "word ", " "})).Draw(t, "part")
		return strings.Repeat(part, rapid.IntRange(0, 3000).Draw(t, "times"))
	})
	list := rapid.SliceOfN(text, 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		m := alerting.Message{
			State: rapid.SampledFrom([]alerting.State{"", alerting.Firing, alerting.Resolved}).Draw(t, "state"), Incident: incident,
			Title: text.Draw(t, "title"), Lines: list.Draw(t, "lines"), Facts: list.Draw(t, "facts"), Notes: list.Draw(t, "notes"),
			Link: "http://l/?q=" + text.Draw(t, "link"), Plain: rapid.Bool().Draw(t, "plain"),
		}
		if _, err := n.Send(context.Background(), "pushover", m); err != nil {
			t.Fatal(err)
		}
	})
	if got := len(f.Messages()); got < 100 {
		t.Errorf("%d messages", got)
	}
}

func TestLongText(t *testing.T) {
	f, n := fake(t)
	m := message(alerting.Firing)
	m.Lines = []string{"the beginning " + strings.Repeat("é", 3000) + " the end"}
	m.Link = "http://l/?q=" + strings.Repeat("x", 600)
	send(t, n, m)
	got := f.Messages()[0]
	if !strings.HasPrefix(got.Message, "the beginning éé") || !strings.Contains(got.Message, "characters cut]") ||
		!strings.HasSuffix(got.Message, "é the end\ndelivered late\n3 times · rule errors") || utf8.RuneCountInString(got.Message) < 1000 {
		t.Errorf("%q", got.Message)
	}
	if got.URL != "http://l/" {
		t.Errorf("link %q", got.URL)
	}
	m.Lines, m.Facts, m.Notes, m.Link = nil, nil, nil, "http://"+strings.Repeat("x", 600)+"/"
	send(t, n, m)
	if got := f.Messages()[1]; got.Message != m.Title || got.Title != m.Title || got.URL != "" || got.URLTitle != "" {
		t.Errorf("%+v", got)
	}
}

func TestPlain(t *testing.T) {
	f, n := fake(t)
	m := message(alerting.Firing)
	m.Plain = true
	r := send(t, n, m)
	if got := f.Messages()[0]; got.Message != m.Title || got.Title != "" || got.URL != "" || !r.Rings {
		t.Errorf("%+v, %+v", got, r)
	}
}

func TestNewRefuses(t *testing.T) {
	many := strings.Repeat(user+",", 50) + user
	tests := []struct {
		name string
		o    pushover.Options
		ok   bool
	}{
		{"good", pushover.Options{Token: token, User: user}, true},
		{"line ends of files", pushover.Options{Token: token + "\n", User: " " + user + "\n"}, true},
		{"two users", pushover.Options{Token: token, User: user + "," + user}, true},
		{"other address", pushover.Options{Token: token, User: user, API: "http://127.0.0.1:1/1"}, true},
		{"no token", pushover.Options{User: user}, false},
		{"no user", pushover.Options{Token: token, User: "\n"}, false},
		{"token in quotes", pushover.Options{Token: `"` + token[2:] + `"`, User: user}, false},
		{"short token", pushover.Options{Token: token[1:], User: user}, false},
		{"a mail address", pushover.Options{Token: token, User: "me@example.org"}, false},
		{"one user too many", pushover.Options{Token: token, User: many}, false},
		{"a space between users", pushover.Options{Token: token, User: user + ", " + user}, false},
		{"address without a scheme", pushover.Options{Token: token, User: user, API: "api.pushover.net/1"}, false},
		{"ftp", pushover.Options{Token: token, User: user, API: "ftp://api.pushover.net/1"}, false},
		{"with a query", pushover.Options{Token: token, User: user, API: "http://x/1?token=" + token}, false},
		{"broken address", pushover.Options{Token: token, User: user, API: "http://[" + token}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := pushover.New(tt.o)
			if (err == nil) != tt.ok {
				t.Errorf("New: %v", err)
			}
			if n != nil {
				n.Close()
			}
			noLeak(t, err)
		})
	}
}

// A check asks whether Pushover knows the application and all users, and sends nothing.
func TestCheck(t *testing.T) {
	f, n := fake(t)
	if err := n.Check(t.Context()); err != nil {
		t.Error(err)
	}
	two, err := pushover.New(pushover.Options{Token: token, User: user + "," + strings.Repeat("z", 30), API: f.URL(), Transport: f.Transport()})
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	err = two.Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "user 2 of 2") || strings.Contains(err.Error(), "zzz") || strings.Contains(err.Error(), token) {
		t.Errorf("a user that is not there: %v", err)
	}
	f.Behave(func(alertingtest.PushoverCall) alertingtest.Reply { return alertingtest.Status(http.StatusForbidden) })
	if err := n.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "403 Forbidden") {
		t.Errorf("blocked: %v", err)
	}
	if len(f.Messages()) != 0 {
		t.Errorf("it has sent %+v", f.Messages())
	}
}
