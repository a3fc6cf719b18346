// Package pushover pages a person by Pushover's message API: an incident rings on the phone until it is acknowledged there.
//
// # What it guarantees
//
// An incident that fires is an emergency: repeated each minute for 50 minutes, to be acknowledged within three hours. When it
// is resolved, or acknowledged elsewhere, its emergencies are cancelled, those too whose answer was lost on the way: all of
// an incident have one tag. A resolved incident is told once more, quietly. All else is one message that does not ring.
//
// A message fits Pushover's limits: longer log text is cut from the middle. Each failure becomes an [alerting.DeliveryError]
// with the class that pushover.net/api#friendly asks for; nothing is retried here. There are at most two connections, and no
// call begins within five seconds of one that Pushover could not answer. Neither the token nor the user's key is in an error:
// redirects are not followed, and errors are passed on as text without them.
package pushover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/alerting"
)

// API is Pushover's address.
const API = "https://api.pushover.net/1/"

const (
	maxAnswer   = 64 << 10 // bytes of an answer that are read
	connections = 2        // at once, as Pushover asks for
	// pause is what Pushover wants between a call it could not answer and the next.
	pause = 5 * time.Second
	// reserve is how many messages of a month are kept for those above normal priority.
	reserve = 200
	// keyLength is how long tokens and the keys of users and groups are.
	keyLength = 30
	maxUsers  = 50
	// timeout bounds a call whose context does not.
	timeout = time.Minute
)

// Options are what a notifier needs; Token and User are required.
type Options struct {
	Token string // the application's
	User  string // a user's or group's key, or several with commas between
	// API is another base address than [API], for tests (LOOKOUT_PUSHOVER_API).
	API string
	// Transport carries the requests; nil: a pool of its own that honours the proxy settings of the environment.
	Transport http.RoundTripper
}

// Notifier pages by one application. It is safe for concurrent use.
type Notifier struct {
	api    string
	token  string
	user   string
	secret *strings.Replacer
	client http.Client
	close  func()
	slots  chan struct{} // a place for each request on its way

	mu        sync.Mutex
	notBefore time.Time
	stats     Stats
}

// Stats is a snapshot for metrics. Limit is 0 until Pushover has told its quota, by the answer to a message.
type Stats struct {
	Limit     int       // messages a month
	Remaining int       // of them
	Reset     time.Time // when the next month begins
	Withheld  uint64    // messages of normal priority that were not sent, to keep the month's last for emergencies
}

// New returns a notifier; it does not connect.
func New(o Options) (*Notifier, error) {
	token, user := strings.TrimSpace(o.Token), strings.TrimSpace(o.User)
	users := strings.Split(user, ",")
	switch {
	case token == "":
		return nil, errors.New("pushover has no token: set LOOKOUT_PUSHOVER_TOKEN, or pushover.token_file")
	case user == "":
		return nil, errors.New("pushover has no user: set LOOKOUT_PUSHOVER_USER, or pushover.user_file")
	case !isKey(token):
		return nil, errors.New("pushover's token is not 30 letters and digits: copy the application's API token again")
	case len(users) > maxUsers:
		return nil, fmt.Errorf("pushover takes %d users at most: make a group of them", maxUsers)
	}
	for _, u := range users {
		if !isKey(u) {
			return nil, errors.New("pushover's user is not 30 letters and digits: copy the user's or group's key again")
		}
	}
	if o.API == "" {
		o.API = API
	}
	if u, err := url.Parse(o.API); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" {
		return nil, errors.New("pushover's API address is not an http or https URL: set LOOKOUT_PUSHOVER_API to one, or leave it out")
	}
	hidden := []string{token, "[token]"}
	for _, u := range users {
		hidden = append(hidden, u, "[user]")
	}
	n := &Notifier{
		api: strings.TrimSuffix(o.API, "/") + "/", token: token, user: user, secret: strings.NewReplacer(hidden...),
		close: func() {}, slots: make(chan struct{}, connections),
	}
	if o.Transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxConnsPerHost, own.MaxIdleConnsPerHost = connections, connections
		o.Transport, n.close = own, own.CloseIdleConnections
	}
	n.client = http.Client{
		Transport: o.Transport, Timeout: timeout,
		// The request holds token and key: it goes nowhere but to the API.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return n, nil
}

func isKey(s string) bool {
	return len(s) == keyLength && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// Close lets idle connections go.
func (n *Notifier) Close() { n.close() }

// Stats returns the figures of now.
func (n *Notifier) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Check asks Pushover whether it knows the application and each user, and can reach a device of theirs, without a message.
func (n *Notifier) Check(ctx context.Context) error {
	users := strings.Split(n.user, ",")
	for i, user := range users {
		if err := n.call(ctx, http.MethodPost, "users/validate.json", url.Values{"user": {user}}, &answer{}); err != nil {
			if len(users) > 1 {
				return fmt.Errorf("user %d of %d: %w", i+1, len(users), err)
			}
			return err
		}
	}
	return nil
}

// Send posts a message: an emergency when it fires, otherwise one that does not ring. Then what may ring of its incident is
// cancelled first.
func (n *Notifier) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	if m.State != alerting.Firing {
		if err := n.silence(ctx, "", m); err != nil {
			return alerting.Receipt{}, err
		}
	}
	if left, scarce := n.scarce(m); scarce {
		return alerting.Receipt{}, &alerting.DeliveryError{Class: alerting.Fault, Err: fmt.Errorf(
			"pushover: the last %d messages of the month are kept for what is urgent (%d are left): raise the application's limit", reserve, left)}
	}
	receipt, err := n.post(ctx, m)
	if err != nil {
		return alerting.Receipt{}, err
	}
	return alerting.Receipt{Channel: channel, ID: receipt, Rings: receipt != ""}, nil
}

// Edit ends the ringing when the incident is resolved, acknowledged or silenced, and tells that it is resolved. What the phone has
// cannot be changed: a new text alone is no reason to call.
//
// A cancellation may be repeated. A message whose answer was lost may come twice: Pushover does not tell what it has.
func (n *Notifier) Edit(ctx context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	if m.State != alerting.Acknowledged && m.State != alerting.Silenced && m.State != alerting.Resolved {
		return r, nil
	}
	if err := n.silence(ctx, ringing(r), m); err != nil {
		return alerting.Receipt{}, err
	}
	if m.State == alerting.Resolved {
		if _, scarce := n.scarce(m); scarce {
			n.mu.Lock()
			n.stats.Withheld++
			n.mu.Unlock()
		} else if _, err := n.post(ctx, m); err != nil {
			return alerting.Receipt{}, err
		}
	}
	r.Rings = false
	return r, nil
}

// ringing is a receipt's emergency, empty when it is none.
func ringing(r alerting.Receipt) string {
	if !isKey(r.ID) {
		return "" // it becomes part of an address
	}
	return r.ID
}

// Acknowledgement asks whether somebody has tapped an emergency: pushover.net/api/receipts. By is the device's name; who
// that is Pushover says only by the user's key, which is nobody's business.
func (n *Notifier) Acknowledgement(ctx context.Context, r alerting.Receipt) (alerting.Ack, error) {
	id := ringing(r)
	if id == "" {
		return alerting.Ack{Expired: true}, nil
	}
	var a answer
	err := n.call(ctx, http.MethodGet, "receipts/"+id+".json", nil, &a)
	switch {
	case err == nil:
	case a.notFound():
		return alerting.Ack{Expired: true}, nil // Pushover knows receipts for a week, and those of this application only
	default:
		return alerting.Ack{}, err
	}
	if a.Acknowledged == 1 {
		return alerting.Ack{At: time.Unix(a.AcknowledgedAt, 0), By: shown(a.AcknowledgedByDevice)}, nil
	}
	return alerting.Ack{Expired: a.Expired == 1}, nil
}

// shown is a device's name, fit to be part of a message.
func shown(name string) string {
	return alerting.Cut(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, name), 100)
}

// silence cancels an emergency and all others of the incident.
func (n *Notifier) silence(ctx context.Context, id string, m alerting.Message) error {
	if id != "" {
		if err := n.cancel(ctx, "receipts/"+id+"/cancel.json"); err != nil {
			return err
		}
	}
	if t := tag(m); t != "" {
		return n.cancel(ctx, "receipts/cancel_by_tag/"+url.PathEscape(t)+".json")
	}
	return nil
}

// cancel ends some ringing. What Pushover refuses to cancel does not ring any more, or was never there.
func (n *Notifier) cancel(ctx context.Context, path string) error {
	err := n.call(ctx, http.MethodPost, path, url.Values{}, &answer{})
	var d *alerting.DeliveryError
	if errors.As(err, &d) && d.Class == alerting.Fault {
		return nil
	}
	return err
}

// post sends a message and returns the receipt of an emergency.
func (n *Notifier) post(ctx context.Context, m alerting.Message) (string, error) {
	v := parameters(m)
	v.Set("user", n.user)
	var a answer
	a.plain = m.Plain
	if err := n.call(ctx, http.MethodPost, "messages.json", v, &a); err != nil {
		return "", err
	}
	return a.Receipt, nil
}

// scarce tells whether a message must not be sent because few of the month's are left, and how many those are.
func (n *Notifier) scarce(m alerting.Message) (left int, scarce bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.stats.Limit > 0 && time.Now().Before(n.stats.Reset)
	// An account with a small limit has messages for more than emergencies too.
	return n.stats.Remaining, known && priority(m) == normal && n.stats.Remaining <= min(reserve, n.stats.Limit/2)
}

// answer is what Pushover answers, whatever the call.
type answer struct {
	Status  int      `json:"status"` // 1: done
	Request string   `json:"request"`
	Errors  []string `json:"errors"`
	Receipt string   `json:"receipt"` // of a message; in a refusal what is wrong with it
	// The parameters that a refusal may name, with what is wrong with them.
	Token any `json:"token"`
	User  any `json:"user"`

	Acknowledged         int    `json:"acknowledged"`
	AcknowledgedAt       int64  `json:"acknowledged_at"`
	AcknowledgedByDevice string `json:"acknowledged_by_device"`
	Expired              int    `json:"expired"`

	http  int
	plain bool // the message was plain text already
}

// notFound tells that Pushover knows nothing of a receipt.
func (a *answer) notFound() bool { return a.http == http.StatusNotFound && a.Request != "" }

// call makes one request and reads its answer. A nil form is a GET.
func (n *Notifier) call(ctx context.Context, verb, path string, form url.Values, a *answer) error {
	if err := n.enter(ctx); err != nil {
		return n.failure(&alerting.DeliveryError{Class: alerting.Transient, Unsent: true, Err: err})
	}
	defer func() { <-n.slots }()
	target, body := n.api+path, ""
	if form != nil {
		form.Set("token", n.token)
		body = form.Encode()
	} else {
		target += "?" + url.Values{"token": {n.token}}.Encode() // the documented way
	}
	r, err := http.NewRequestWithContext(ctx, verb, target, strings.NewReader(body))
	if err != nil {
		return n.failure(&alerting.DeliveryError{Class: alerting.Fault, Err: err})
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return n.unanswered(&alerting.DeliveryError{Class: alerting.Transient, Unsent: neverLeft(err), Err: err})
	}
	defer resp.Body.Close()
	n.quota(resp.Header)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return n.unanswered(&alerting.DeliveryError{Class: alerting.Transient, Err: err})
	}
	a.http = resp.StatusCode
	if json.Unmarshal(raw, a) != nil {
		a.Request = "" // it is none of the API's
	}
	return n.judge(resp, a)
}

// enter waits for a place, and until Pushover wants to hear from us again.
func (n *Notifier) enter(ctx context.Context) error {
	select {
	case n.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("waiting for another call: %w", ctx.Err())
	}
	n.mu.Lock()
	wait := min(time.Until(n.notBefore), pause) // more: the clock was set back
	n.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		<-n.slots
		return fmt.Errorf("waiting after a failure: %w", ctx.Err())
	}
}

// unanswered is a failure after which Pushover wants a pause.
func (n *Notifier) unanswered(d *alerting.DeliveryError) error {
	n.mu.Lock()
	n.notBefore = time.Now().Add(pause)
	n.mu.Unlock()
	d.RetryAfter = pause
	return n.failure(d)
}

// judge turns an answer into an error, nil for a good one.
func (n *Notifier) judge(resp *http.Response, a *answer) error {
	d := &alerting.DeliveryError{Err: fmt.Errorf("%s: %s", resp.Status, strings.Join(a.Errors, "; "))}
	if len(a.Errors) == 0 {
		d.Err = errors.New(resp.Status)
	}
	d.Code = strconv.Itoa(resp.StatusCode)
	switch {
	case a.Token != nil:
		d.Mend = "set LOOKOUT_PUSHOVER_TOKEN to the application's API token"
	case a.User != nil:
		d.Mend = "set LOOKOUT_PUSHOVER_USER to the user's or group's key"
	}
	ours := a.Request != "" // the API numbers all its answers
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		d.Class, d.RetryAfter = alerting.Wait, n.waitFor(resp.Header)
	case code >= 500:
		d.Class = alerting.Transient
		return n.unanswered(d)
	case code/100 == 2 && !ours:
		d.Class, d.Err = alerting.Transient, errors.New("the answer is not Pushover's: is a proxy in between?")
		return n.unanswered(d)
	case code/100 == 2 && a.Status == 1:
		return nil
	case !ours:
		// A wrong address, a proxy that says no, or Pushover's own block of this machine.
		d.Class = alerting.Broken
	case a.Token != nil || a.User != nil || a.plain:
		// What is refused even as plain text is not thrown away either: it may be about the account.
		d.Class = alerting.Broken
	default:
		d.Class = alerting.Fault
	}
	return n.failure(d)
}

// waitFor is how long a 429 lasts: until the month's quota is there again when it is used up, else what the answer says, 0
// for nothing.
func (n *Notifier) waitFor(h http.Header) time.Duration {
	if remaining, err := strconv.Atoi(h.Get("X-Limit-App-Remaining")); err == nil && remaining <= 0 {
		if reset, err := strconv.ParseInt(h.Get("X-Limit-App-Reset"), 10, 64); err == nil && reset > 0 {
			return max(time.Until(time.Unix(reset, 0)), time.Second)
		}
	}
	if seconds, err := strconv.Atoi(strings.TrimSpace(h.Get("Retry-After"))); err == nil && seconds > 0 && seconds <= 24*3600 {
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// quota notes what an answer says about the month's messages.
func (n *Notifier) quota(h http.Header) {
	limit, err1 := strconv.Atoi(h.Get("X-Limit-App-Limit"))
	remaining, err2 := strconv.Atoi(h.Get("X-Limit-App-Remaining"))
	reset, err3 := strconv.ParseInt(h.Get("X-Limit-App-Reset"), 10, 64)
	if errors.Join(err1, err2, err3) != nil || limit <= 0 || remaining < 0 || reset <= 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stats.Limit, n.stats.Remaining, n.stats.Reset = limit, remaining, time.Unix(reset, 0).UTC()
}

// failure keeps token and keys out of an error's text.
func (n *Notifier) failure(d *alerting.DeliveryError) error {
	err := d.Err
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the address has the token in it
	}
	d.Err = fmt.Errorf("pushover: %s", alerting.Cut(n.secret.Replace(err.Error()), 500))
	return d
}

// neverLeft tells that no connection came about, so that Pushover cannot have the message.
func neverLeft(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}
