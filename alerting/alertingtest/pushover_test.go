package alertingtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting/alertingtest"
)

const (
	poToken = "azGDORePK8gMaC0QOYAMyEEuzJnyUi"
	poUser  = "uQiRzpo4DXghDmr9QzzfQu27cmVRsG"
)

// pushover is a client that knows nothing of the rules.
type pushover struct {
	t    *testing.T
	url  string
	http http.RoundTripper
}

// tripper is a function as a client's transport.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type poAnswer struct {
	HTTP                            int
	Status                          int
	Request, Receipt                string
	Errors                          []string
	Acknowledged, Expired, Canceled int
	AcknowledgedAt                  int64  `json:"acknowledged_at"`
	AcknowledgedBy                  string `json:"acknowledged_by"`
	LastDeliveredAt                 int64  `json:"last_delivered_at"`
	ExpiresAt                       int64  `json:"expires_at"`
	Limit, Remaining                int
	Header                          http.Header `json:"-"`
}

func (p *pushover) do(verb, path string, params ...string) poAnswer {
	p.t.Helper()
	v := url.Values{"token": {poToken}, "user": {poUser}}
	for i := 0; i < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	var body io.Reader
	target := p.url + path
	if verb == http.MethodPost {
		body = strings.NewReader(v.Encode())
	} else {
		target += "?" + v.Encode()
	}
	r, err := http.NewRequestWithContext(p.t.Context(), verb, target, body)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.http.RoundTrip(r)
	if err != nil {
		return poAnswer{}
	}
	defer resp.Body.Close()
	a := poAnswer{HTTP: resp.StatusCode, Header: resp.Header}
	if b, err := io.ReadAll(resp.Body); err != nil || json.Unmarshal(b, &a) != nil && strings.HasPrefix(string(b), "{") {
		p.t.Fatalf("%s: %v", b, err)
	}
	return a
}

func (p *pushover) send(params ...string) poAnswer {
	return p.do(http.MethodPost, "messages.json", append([]string{"message", "m"}, params...)...)
}

func unlistening(t *testing.T) (*alertingtest.FakePushover, *pushover) {
	f := alertingtest.NewUnlisteningPushover()
	return f, &pushover{t, f.URL(), f.Transport()}
}

func TestFakePushoverIsStrict(t *testing.T) {
	x := func(n int) string { return strings.Repeat("é", n) }
	tests := []struct {
		name   string
		params []string
		want   string // of the errors, empty when it is accepted
	}{
		{"fine", nil, ""},
		{"long", []string{"message", x(1024), "title", x(250), "url", x(512), "url_title", x(100)}, ""},
		{"message too long", []string{"message", x(1025)}, "message is too long"},
		{"title too long", []string{"title", x(251)}, "title is too long"},
		{"url too long", []string{"url", x(513)}, "url is too long"},
		{"url_title too long", []string{"url_title", x(101)}, "url_title is too long"},
		{"not UTF-8", []string{"message", "\xff"}, "not valid UTF-8"},
		{"blank", []string{"message", " \n"}, "message cannot be blank"},
		{"lowest", []string{"priority", "-2"}, ""},
		{"lower", []string{"priority", "-3"}, "priority is invalid"},
		{"higher", []string{"priority", "3"}, "priority is invalid"},
		{"no number", []string{"priority", "high"}, "priority is invalid"},
		{"emergency", []string{"priority", "2", "retry", "30", "expire", "10800"}, ""},
		{"no retry", []string{"priority", "2", "expire", "10800"}, "retry must be supplied"},
		{"no expire", []string{"priority", "2", "retry", "30"}, "expire must be supplied"},
		{"too often", []string{"priority", "2", "retry", "29", "expire", "10800"}, "retry must be at least 30"},
		{"too long", []string{"priority", "2", "retry", "30", "expire", "10801"}, "expire must be at most 10800"},
		{"not at all", []string{"priority", "2", "retry", "30", "expire", "0"}, "expire must be"},
		{"timestamp", []string{"timestamp", "1331249662"}, ""},
		{"odd timestamp", []string{"timestamp", "now"}, "timestamp is invalid"},
		{"ttl", []string{"ttl", "60"}, ""},
		{"no time to live", []string{"ttl", "0"}, "ttl must be"},
		{"both forms", []string{"html", "1", "monospace", "1"}, "monospace cannot be used"},
		{"odd token", []string{"token", "short"}, "application token is invalid"},
		{"another token", []string{"token", poUser}, "application token is invalid"},
		{"no user", []string{"user", ""}, "user identifier is not a valid user"},
		{"another user", []string{"user", poToken}, "user identifier is not a valid user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, p := unlistening(t)
			f.Require(poToken, poUser)
			a := p.send(tt.params...)
			if ok := a.HTTP == 200 && a.Status == 1 && len(f.Messages()) == 1; ok != (tt.want == "") {
				t.Errorf("%+v, %d messages", a, len(f.Messages()))
			}
			if tt.want != "" && (a.HTTP != 400 || len(a.Errors) != 1 || !strings.Contains(a.Errors[0], tt.want)) {
				t.Errorf("%+v, want the error %q", a, tt.want)
			}
			if a.Header.Get("X-Limit-App-Limit") != "10000" || a.Header.Get("X-Limit-App-Reset") == "" {
				t.Errorf("headers %v", a.Header)
			}
		})
	}
}

func TestFakePushoverReceipts(t *testing.T) {
	f, p := unlistening(t)
	f.Require(poToken, poUser)
	now := time.Unix(1_800_000_000, 0)
	f.Clock(func() time.Time { return now })
	send := func(tags string) string {
		a := p.send("priority", "2", "retry", "60", "expire", "3600", "tags", tags)
		if len(a.Receipt) != 30 {
			t.Fatalf("%+v", a)
		}
		return a.Receipt
	}
	get := func(receipt string) poAnswer {
		now = now.Add(5 * time.Second)
		return p.do(http.MethodGet, "receipts/"+receipt+".json")
	}
	one, two, three, four := send("a,b"), send("b"), send(""), send("")
	if got := f.Ringing(); len(got) != 4 {
		t.Errorf("ringing %v", got)
	}
	now = now.Add(2 * time.Minute)
	if a := get(one); a.HTTP != 200 || a.Status != 1 || a.Acknowledged != 0 || a.AcknowledgedAt != 0 || a.Expired != 0 ||
		a.LastDeliveredAt != 1_800_000_120 || a.ExpiresAt != 1_800_003_600 {
		t.Errorf("ringing: %+v", a)
	}
	if !f.Acknowledge(one) || f.Acknowledge(one) || f.Acknowledge("none") || !f.Acknowledged(one) {
		t.Error("one acknowledgement counts, of what is there")
	}
	if a := get(one); a.Acknowledged != 1 || a.AcknowledgedAt != 1_800_000_125 || a.AcknowledgedBy != poUser {
		t.Errorf("acknowledged: %+v", a)
	}
	if a := p.do(http.MethodPost, "receipts/cancel_by_tag/b.json"); a.Canceled != 1 || !f.Cancelled(two) || f.Cancelled(one) {
		t.Errorf("cancel by tag: %+v", a)
	}
	for range 2 {
		if a := p.do(http.MethodPost, "receipts/"+three+"/cancel.json"); a.Status != 1 || !f.Cancelled(three) {
			t.Errorf("cancel: %+v", a)
		}
	}
	f.Expire(four)
	if a := get(four); a.Expired != 1 || f.Acknowledge(four) {
		t.Errorf("expired: %+v", a)
	}
	five := send("")
	now = now.Add(time.Hour)
	if a := get(five); a.Expired != 1 || len(f.Ringing()) != 0 {
		t.Errorf("expired by itself: %+v", a)
	}
	for _, a := range []poAnswer{get("none"), p.do(http.MethodPost, "receipts/none/cancel.json")} {
		if a.HTTP != 404 || a.Status != 0 || a.Errors[0] != "receipt not found; may be invalid or expired" {
			t.Errorf("no such receipt: %+v", a)
		}
	}
	if got := f.Failures(); len(got) != 0 {
		t.Errorf("failures %q", got)
	}
	p.do(http.MethodGet, "receipts/"+five+".json")
	now = now.Add(4 * time.Second)
	p.do(http.MethodGet, "receipts/"+five+".json")
	if got := f.Failures(); len(got) != 1 || !strings.Contains(got[0], "twice within 4s") {
		t.Errorf("failures %q", got)
	}
	f.PollEvery(0)
	p.do(http.MethodGet, "receipts/"+five+".json")
	if got := f.Failures(); len(got) != 1 {
		t.Errorf("failures %q", got)
	}
}

func TestFakePushoverOtherCalls(t *testing.T) {
	f, p := unlistening(t)
	f.Require(poToken, poUser)
	f.Quota(1, time.Unix(1_900_000_000, 0))
	if a := p.do(http.MethodPost, "users/validate.json"); a.Status != 1 {
		t.Errorf("validate: %+v", a)
	}
	if a := p.do(http.MethodPost, "users/validate.json", "user", poToken); a.HTTP != 400 || a.Status != 0 {
		t.Errorf("validate another: %+v", a)
	}
	if a := p.do(http.MethodGet, "apps/limits.json"); a.Limit != 10_000 || a.Remaining != 1 {
		t.Errorf("limits: %+v", a)
	}
	for _, want := range []int{200, 429, 429} {
		a := p.send()
		if a.HTTP != want || a.Header.Get("X-Limit-App-Remaining") != "0" || a.Header.Get("X-Limit-App-Reset") != "1900000000" {
			t.Errorf("%+v, want %d", a, want)
		}
	}
	if a := p.do(http.MethodGet, "messages.json"); a.HTTP != 405 {
		t.Errorf("GET: %+v", a)
	}
	if a := p.do(http.MethodPost, "glances.json"); a.HTTP != 404 {
		t.Errorf("another path: %+v", a)
	}
	if f.Requests() != 8 || len(f.Calls()) != 4 {
		t.Errorf("%d requests, calls %+v", f.Requests(), f.Calls())
	}
}

func TestFakePushoverFailsAsTold(t *testing.T) {
	f := alertingtest.NewPushover()
	defer f.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	const hangs = 3 // the number of the call that does
	n := 0
	p := &pushover{t, f.URL(), tripper(func(r *http.Request) (*http.Response, error) {
		if n++; n-1 != hangs {
			return transport.RoundTrip(r)
		}
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		go func() { // the client goes away when the call is there
			_, _ = f.Wait(ctx, func([]alertingtest.PushoverMessage) bool { return len(f.Calls()) > hangs })
			cancel()
		}()
		return transport.RoundTrip(r.WithContext(ctx))
	})}
	reset := time.Unix(1_900_000_000, 0)
	f.Script(alertingtest.Status(502), alertingtest.Status(429), alertingtest.QuotaUsed(reset), alertingtest.Hang(), alertingtest.Lost(),
		alertingtest.PushoverErrors(400, "user", "user is blocked", "and gone"))
	f.Behave(func(c alertingtest.PushoverCall) alertingtest.Reply {
		if c.Number == 6 {
			return alertingtest.Status(418)
		}
		return alertingtest.OK()
	})
	for i, want := range []struct{ status, messages int }{{502, 0}, {429, 0}, {429, 0}, {0, 0}, {0, 1}, {400, 1}, {418, 1}, {200, 2}} {
		a := p.send("title", "t")
		if a.HTTP != want.status || len(f.Messages()) != want.messages {
			t.Errorf("call %d: %+v, %d messages; want %+v", i, a, len(f.Messages()), want)
		}
		switch i {
		case 1:
			if a.Header.Get("X-Limit-App-Remaining") != "" {
				t.Errorf("headers %v", a.Header)
			}
		case 2:
			if a.Header.Get("X-Limit-App-Remaining") != "0" || a.Header.Get("X-Limit-App-Reset") != "1900000000" {
				t.Errorf("headers %v", a.Header)
			}
		case 5:
			if len(a.Errors) != 2 || a.Errors[1] != "and gone" {
				t.Errorf("errors %q", a.Errors)
			}
		}
	}
	if c := f.Calls(); len(c) != 8 || c[7].Method != "messages" || c[7].Title != "t" || c[7].Number != 7 {
		t.Errorf("calls %+v", c)
	}
	if _, err := f.Wait(t.Context(), func(m []alertingtest.PushoverMessage) bool { return len(m) == 2 }); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Wait(ctx, func(m []alertingtest.PushoverMessage) bool { return len(m) == 3 }); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
	// Connections that were cut or given up count no more.
	if got := f.Failures(); len(got) != 0 {
		t.Errorf("failures %q", got)
	}
}

func TestFakePushoverCountsConnections(t *testing.T) {
	f := alertingtest.NewPushover()
	defer f.Close()
	addr := strings.TrimPrefix(strings.TrimSuffix(f.URL(), "/1/"), "http://")
	hello := func() net.Conn {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "GET /1/nothing HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); err != nil { // it is accepted
			t.Fatal(err)
		}
		return c
	}
	one, two := hello(), hello()
	two.Close()
	three := hello()
	if got := f.Failures(); len(got) != 0 {
		t.Errorf("two at once: %q", got)
	}
	four := hello()
	if got := f.Failures(); len(got) != 1 || got[0] != "3 connections at once" {
		t.Errorf("three at once: %q", got)
	}
	for _, c := range []net.Conn{one, three, four} {
		c.Close()
	}
}

func TestFakePushoverListensElsewhere(t *testing.T) {
	f, err := alertingtest.ListenPushover("0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := alertingtest.ListenPushover(strings.TrimSuffix(strings.TrimPrefix(f.URL(), "http://"), "/1/")); err == nil {
		t.Error("the address is taken twice")
	}
}

func TestFakePushoverTakesJSON(t *testing.T) {
	f, p := unlistening(t)
	body := `{"token":"` + poToken + `","user":"` + poUser + `","message":"hello","timestamp":1331249662}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"messages.json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := p.http.RoundTrip(r)
	if err != nil || resp.StatusCode != 200 || f.Messages(0)[0].Message != "hello" || f.Messages()[0].Timestamp.Unix() != 1331249662 {
		t.Errorf("%v, %+v", err, f.Messages())
	}
}
