// Package webhook tells other services by HTTP: Microsoft Teams, Discord, ntfy, Gotify, PagerDuty, Opsgenie, whatever takes a
// POST, and hooks that restart or scale something.
//
// # Use
//
// A [Notifier] is one way out: a template (shipped.go has those that come with lookout), an address and a secret.
//
//	n, err := webhook.New(webhook.Options{Name: "phones", Template: "ntfy", Params: map[string]string{"topic": "ops"}})
//
// A template of one's own is text/template over [Data]. What it writes is escaped for where it stands, by the body's
// Content-Type (JSON unless a header says otherwise), in addresses and in headers: "{{.Title}}" between quotes is right
// whatever a log line holds. {{json .Lines}} writes a list.
//
// # What it guarantees
//
// [New] tries the templates with nasty samples: one that makes bad JSON, or no address, is an error there. A hook (restart,
// scale) runs at most once an incident and only while that fires: after an answer that did not come it is not run again.
// Link-local and metadata addresses are refused, redirects are not followed. Each failure becomes an
// [alerting.DeliveryError]; neither the address, nor the token or a header's value, is in one.
package webhook

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/outbound"
)

const (
	maxAnswer = 64 << 10 // bytes of an answer that are read
	maxShown  = 200      // of an answer, in an error
	timeout   = time.Minute
	// untilAgain is how long what fires counts as open without being told again; keepEvery is how often it is.
	untilAgain = 5 * time.Minute
	keepEvery  = time.Minute
	// maxKept is the most alerts that are told again in a round.
	maxKept = 1000
	// minSecret is the length from which a part of an address or a header counts as a secret.
	minSecret = 6
)

// Options are what a notifier needs. Name is required, and URL where the template has none of its own.
type Options struct {
	Name     string // the way's, for errors
	Template string // one of [Names]; empty: generic
	URL      string // a template; may be a secret
	Token    string // the service's key
	Method   string // instead of the template's
	Body     string // instead of the template's
	Headers  map[string]string
	Params   map[string]string // values that templates use: ntfy's topic, scale's replicas
	// When are the states whose changes are told beside the first message: firing (its text changed), acknowledged, resolved.
	// nil: as the template has it.
	When []string
	// Allow are prefixes that are refused otherwise: link-local and metadata addresses.
	Allow []netip.Prefix
	// Transport carries the requests; nil: one of its own, without a proxy, which keeps to Allow.
	Transport http.RoundTripper
	Clock     func() time.Time
	Log       *slog.Logger // nil: none
}

// Notifier is one way out. It is safe for concurrent use.
type Notifier struct {
	o           Options
	shipped     *shipped
	url         *template.Template
	headers     map[string]*template.Template
	contentType string
	requests    map[*action]*request
	edit        map[alerting.State]*action
	secrets     []string
	client      http.Client
	dialer      *net.Dialer
	close       func()
}

// New returns a notifier; it does not connect. Its errors say which setting is wrong and how to mend it.
func New(o Options) (*Notifier, error) {
	if o.Template == "" {
		o.Template = "generic"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := templates[o.Template]
	switch {
	case s == nil:
		return nil, fmt.Errorf("template: there is no template %q: use %s", o.Template, strings.Join(Names(), ", "))
	case o.URL == "" && s.url == "":
		return nil, fmt.Errorf("url: template %s needs an address: set url, or url_file", o.Template)
	case o.Token == "" && s.token:
		return nil, fmt.Errorf("token: template %s needs a key: set token_file", o.Template)
	}
	for _, p := range s.needs {
		if o.Params[p] == "" {
			return nil, fmt.Errorf("params.%s: template %s needs it: set it to a value", p, o.Template)
		}
	}
	if o.URL == "" {
		o.URL = s.url
	}
	n := &Notifier{o: o, shipped: s, contentType: "application/json", headers: map[string]*template.Template{}, requests: map[*action]*request{}, close: func() {}}
	if err := n.compile(); err != nil {
		return nil, err
	}
	n.hide()
	if err := n.try(); err != nil {
		return nil, err
	}
	n.dialer = outbound.Policy{Allow: o.Allow, Loopback: true, Setting: "ways." + o.Name + ".allow"}.Dialer()
	if o.Transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.Proxy = nil // it would resolve names itself
		own.DialContext = n.dialer.DialContext
		o.Transport, n.close = own, own.CloseIdleConnections
	}
	n.client = http.Client{
		Transport: o.Transport, Timeout: timeout,
		// Address and headers are secrets: they go nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return n, nil
}

// compile parses all templates.
func (n *Notifier) compile() (err error) {
	if n.url, err = compile("url", n.o.URL, "_url"); err != nil {
		return fmt.Errorf("url: %s", n.public(err)) // the text may be a secret
	}
	headers := maps.Clone(n.shipped.headers)
	if headers == nil {
		headers = map[string]string{}
	}
	for name, value := range n.o.Headers {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r > '~' || r <= ' ' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			return fmt.Errorf("headers: %q is not a header's name: use letters, digits and -", name)
		}
		headers[textproto.CanonicalMIMEHeaderKey(name)] = value
	}
	if kind, set := headers["Content-Type"]; set {
		n.contentType = kind
		delete(headers, "Content-Type")
	}
	for name, value := range headers {
		if n.headers[name], err = compile(name, value, "_header"); err != nil {
			return fmt.Errorf("headers.%s: %s", name, n.public(err))
		}
	}
	n.edit = n.shipped.edit
	if n.o.When != nil {
		n.edit = map[alerting.State]*action{}
		for _, state := range n.o.When {
			s := alerting.State(state)
			if s != alerting.Firing && s != alerting.Acknowledged && s != alerting.Resolved {
				return fmt.Errorf("when: %q is no state: use firing, acknowledged, resolved", state)
			}
			if n.edit[s] = n.shipped.edit[s]; n.edit[s] == nil && !n.shipped.once {
				n.edit[s] = n.shipped.send
			}
		}
	}
	all := []*action{n.shipped.send}
	all = slices.AppendSeq(all, maps.Values(n.edit))
	all = slices.AppendSeq(all, maps.Values(n.shipped.late))
	for _, a := range all {
		if a == nil || n.requests[a] != nil {
			continue
		}
		if n.requests[a], err = n.prepare(a); err != nil {
			return err
		}
	}
	return nil
}

func (n *Notifier) prepare(a *action) (*request, error) {
	r := &request{method: a.method}
	body := a.body
	if n.o.Body != "" {
		body = n.o.Body
	}
	if n.o.Method != "" && a == n.shipped.send {
		r.method = strings.ToUpper(n.o.Method)
	}
	escaper := escaperFor(n.contentType)
	r.json = escaper == "_json"
	var err error
	if r.body, err = compile("body", body, escaper); err != nil {
		return nil, fmt.Errorf("body: %s", n.public(err))
	}
	if r.path, err = compile("path", a.path, "_url"); err != nil {
		return nil, err
	}
	r.query, err = compile("query", a.query, "_url")
	return r, err
}

// try makes every request for every sample, and sends none.
func (n *Notifier) try() error {
	for _, m := range samples() {
		d := dataOf(m, &n.o, "1")
		for _, r := range n.requests {
			if _, err := n.build(r, d); err != nil {
				return fmt.Errorf("%s (tried with a %s message, %s)", n.public(err), orNone(string(m.State)), map[bool]string{true: "with all that it can have", false: "with as little as it can have"}[len(m.Lines) > 0])
			}
		}
	}
	return nil
}

func orNone(state string) string {
	if state == "" {
		return "stateless"
	}
	return state
}

// hide collects what no error may tell: the token, headers' values, and all of the address but its host.
func (n *Notifier) hide() {
	add := func(s string) {
		for _, form := range [...]string{s, url.QueryEscape(s), url.PathEscape(s)} {
			if len(form) >= minSecret && !slices.Contains(n.secrets, form) {
				n.secrets = append(n.secrets, form)
			}
		}
	}
	add(n.o.Token)
	for _, v := range n.o.Headers {
		add(v)
		for _, word := range strings.Fields(v) {
			if !strings.Contains(word, "{{") {
				add(word)
			}
		}
	}
	add(n.o.URL)
	if u, err := url.Parse(n.o.URL); err == nil {
		for _, part := range strings.Split(u.Path, "/") {
			if len(part) >= 16 { // shorter ones are words such as webhooks
				add(part)
			}
		}
		for _, values := range u.Query() {
			for _, v := range values {
				add(v)
			}
		}
		if u.User != nil {
			password, _ := u.User.Password()
			add(password)
			add(base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))) // as it is sent
		}
	}
	// The longest first: one may be part of another.
	slices.SortFunc(n.secrets, func(a, b string) int { return len(b) - len(a) })
}

// public is an error's text without secrets, in one line.
func (n *Notifier) public(err error) string {
	return alerting.Cut(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, n.hidden(err.Error())), 500)
}

// hidden is a text without secrets. It comes before every cut: half of a secret is not known again.
func (n *Notifier) hidden(text string) string {
	for _, s := range n.secrets {
		text = strings.ReplaceAll(text, s, "[secret]")
	}
	return text
}

// Close lets idle connections go.
func (n *Notifier) Close() { n.close() }

// Acts tells that the way does something when it is told of an incident that fires: nothing that is not one may set it off.
func (n *Notifier) Acts() bool { return n.shipped.once }

// A receipt's ID is the message's at the service, and behind a bar the state it was last told.
func receipt(channel, id string, state alerting.State) alerting.Receipt {
	if id == "" {
		id = "-"
	}
	return alerting.Receipt{Channel: channel, ID: id + "|" + string(state)}
}

// kindOf is the state whose action a state has: what is silenced rings no more, as if somebody saw to it; what has no state,
// an overview, grows.
func kindOf(s alerting.State) alerting.State {
	switch s {
	case alerting.Silenced:
		return alerting.Acknowledged
	case "":
		return alerting.Firing
	}
	return s
}

// skipped is the id of what a hook has not run for.
const skipped = "skipped"

// Send posts a new message. A hook runs, if the incident fires and it has not been tried before.
func (n *Notifier) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	a := n.shipped.send
	if n.shipped.once {
		if m.State != alerting.Firing {
			return receipt(channel, skipped, m.State), nil
		}
		if m.MayRepeat {
			n.o.Log.Warn("a hook whose answer did not come is not run a second time: look whether it has run", "way", n.o.Name, "incident", m.ID, "title", m.Title)
			return receipt(channel, "", m.State), nil
		}
	}
	if late := n.shipped.late[kindOf(m.State)]; late != nil && m.Incident != "" {
		a = late
	}
	id, err := n.call(ctx, a, m, "")
	if err != nil {
		return alerting.Receipt{}, err
	}
	return receipt(channel, id, m.State), nil
}

// Edit tells a change of an incident, as far as the template and the setting when have something for its state. A state that
// was told is not told twice, but where messages are edited in place.
func (n *Notifier) Edit(ctx context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	id, told, _ := strings.Cut(r.ID, "|")
	state := kindOf(m.State)
	a := n.edit[state]
	if a == nil || state != alerting.Firing && kindOf(alerting.State(told)) == state && n.shipped.id == "" {
		return r, nil
	}
	remote, err := n.call(ctx, a, m, id)
	if err != nil {
		return alerting.Receipt{}, err
	}
	if remote == "" {
		remote = id
	}
	return receipt(r.Channel, remote, m.State), nil
}

// Reply is asked for when an incident fires again. A hook that has run does not run again; others send a new message.
func (n *Notifier) Reply(ctx context.Context, r alerting.Receipt, m alerting.Message) error {
	if n.shipped.keep != 0 { // it has one alert an incident
		_, err := n.Send(ctx, r.Channel, m)
		return err
	}
	if id, _, _ := strings.Cut(r.ID, "|"); n.shipped.once && id != skipped {
		return nil
	}
	return &alerting.DeliveryError{Class: alerting.EditRefused, Err: errors.New("this way has no threads")}
}

// Keep tells the service again and again what is open, until ctx ends, if its template is one for a service that forgets:
// an Alertmanager keeps alerts in memory, and takes one that nobody sends again for resolved. open returns the messages of
// what is open.
func (n *Notifier) Keep(ctx context.Context, open func() ([]alerting.Message, error)) error {
	if n.shipped.keep == 0 {
		return nil
	}
	ticker := time.NewTicker(n.shipped.keep)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		messages, err := open()
		for _, m := range messages[:min(len(messages), maxKept)] {
			if ctx.Err() != nil {
				return nil
			}
			if _, sendErr := n.call(ctx, n.shipped.send, m, ""); sendErr != nil {
				err = sendErr
				break // it is away: the others would fail too
			}
		}
		if ctx.Err() == nil && err != nil && !failing {
			n.o.Log.Warn("what is open could not be told again; it is tried each minute", "way", n.o.Name, "error", err)
		}
		failing = err != nil
	}
}

// call makes one request and returns the message's id, empty where the service names none.
func (n *Notifier) call(ctx context.Context, a *action, m alerting.Message, id string) (string, error) {
	r, err := n.build(n.requests[a], dataOf(m, &n.o, id))
	if err != nil {
		return "", n.failure(&alerting.DeliveryError{Class: alerting.Fault, Err: err})
	}
	if n.lacksPart(r.URL.EscapedPath()) {
		err := errors.New("a part of the address is empty, since the incident has no such label: it would be another address")
		return "", n.failure(&alerting.DeliveryError{Class: alerting.Fault, Err: err})
	}
	resp, err := n.client.Do(r.WithContext(ctx))
	if err != nil {
		return "", n.failure(unanswered(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode/100 != 2 {
		d := judge(resp, n.hidden(string(body)), m.Plain, id != "" && n.shipped.id != "")
		if n.shipped.once && resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusForbidden && d.Class == alerting.Broken {
			d.Class = alerting.Fault // there is no such container or job: others may be there
		}
		return "", n.failure(d)
	}
	if n.shipped.id == "" {
		return "", nil // accepted, whatever it says
	}
	var answer map[string]any
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	remote, _ := answer[n.shipped.id].(string)
	if err != nil || !plainID(remote) {
		return "", n.failure(&alerting.DeliveryError{Class: alerting.Transient, Err: errors.New("the answer names no message: is a proxy in between?")})
	}
	return remote, nil
}

// lacksPart tells whether a label that the path is made of was empty: /containers//restart, or /pods/ for /pods/{{.Labels.container}},
// which is all of them.
func (n *Notifier) lacksPart(path string) bool {
	made, _, _ := strings.Cut(n.o.URL, "?")
	if _, host, ok := strings.Cut(made, "://"); ok {
		made = host
	}
	return strings.Contains(made, "{{") && (strings.Contains(path, "//") && !strings.Contains(made, "//") || strings.HasSuffix(path, "/") && strings.HasSuffix(made, "}}"))
}

// plainID tells whether an id can be part of an address.
func plainID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-' && r != '_'
	})
}

// failure keeps secrets out of an error's text.
func (n *Notifier) failure(d *alerting.DeliveryError) error {
	d.Err = fmt.Errorf("%s: %s", n.o.Name, n.public(d.Err))
	return d
}

// unanswered classifies an error without an answer.
func unanswered(err error) *alerting.DeliveryError {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err // without the address
	}
	d := &alerting.DeliveryError{Class: alerting.Transient, Err: err}
	var refused *outbound.Refused
	var certificate *tls.CertificateVerificationError
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case errors.As(err, &refused), errors.As(err, &certificate):
		d.Class = alerting.Broken
	case errors.As(err, &dns), errors.As(err, &op) && op.Op == "dial":
		d.Unsent = true
	}
	return d
}

// judge classifies an answer that is not 2xx. What is refused even as plain text may be about the service, not the message.
func judge(resp *http.Response, body string, plain, edits bool) *alerting.DeliveryError {
	text := resp.Status
	if shown := strings.TrimSpace(body); shown != "" {
		text += ": " + alerting.Cut(strings.ToValidUTF8(shown, "?"), maxShown)
	}
	d := &alerting.DeliveryError{Err: errors.New(text), Code: strconv.Itoa(resp.StatusCode)}
	switch code := resp.StatusCode; {
	case code == http.StatusTooManyRequests:
		d.Class, d.RetryAfter = alerting.Wait, retryAfter(resp.Header)
	case code >= 500, code == http.StatusRequestTimeout:
		d.Class = alerting.Transient
	// Discord: 10008 is a message that was deleted, 10015 a webhook that was.
	case code == http.StatusNotFound && edits && !strings.Contains(body, "10015"):
		d.Class = alerting.EditRefused
	case code/100 == 3:
		d.Class, d.Err = alerting.Broken, fmt.Errorf("%s: redirects are not followed: set url to where it leads", resp.Status)
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound, code == http.StatusGone,
		code == http.StatusMethodNotAllowed, code == http.StatusProxyAuthRequired, plain:
		d.Class = alerting.Broken
	default:
		d.Class = alerting.Fault
	}
	return d
}

// retryAfter is the pause an answer asks for: seconds, with a fraction at some, or a date; 0 for none or nonsense.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		if seconds > 0 && seconds <= 24*3600 {
			return time.Duration(seconds * float64(time.Second))
		}
		return 0
	}
	if at, err := http.ParseTime(text); err == nil {
		if d := time.Until(at); d > 0 && d <= 24*time.Hour {
			return d
		}
	}
	return 0
}
