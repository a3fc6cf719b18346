// Package slack delivers alerts to Slack channels by the Web API, as an app with a bot token and the scope chat:write. With
// an app-level token as well its messages have buttons, whose presses come by Socket Mode ([Notifier.Listen]): lookout needs
// no address that Slack can reach.
//
// # What it guarantees
//
// A message fits Slack's limits: longer log text is cut from the middle. Log text is shown as it is, in code blocks, with
// & < > escaped, so that no line can mention a channel or forge a link. Each failure becomes an [alerting.DeliveryError]
// of the class that ALERTING.md's table gives it; nothing is retried here. The tokens are in no error: redirects are not
// followed, and errors are passed on as text without them.
//
// A press is acknowledged when what it says is durable, and carried out once however often Slack delivers it. While there is
// no connection it is tried anew for ever.
package slack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"github.com/slack-go/slack"

	"github.com/lookoutlog/lookout/alerting"
)

// maxAnswer is how much of an answer is read, in bytes. Slack repeats the message in it.
const maxAnswer = 1 << 20

// Options are what a notifier needs; Token is required.
type Options struct {
	Token string // xoxb-…
	// AppToken is the app-level token (xapp-…) of Socket Mode; with it messages have buttons, and Listen receives them.
	AppToken string
	// API is another base address than https://slack.com/api/, for tests (LOOKOUT_SLACK_API).
	API string
	// Transport carries the requests; nil: a pool of its own that honours the proxy settings of the environment.
	Transport http.RoundTripper
	// Dial opens the connections of Socket Mode; nil: the network's, with the environment's proxy.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Notifier posts to one workspace. It is safe for concurrent use.
type Notifier struct {
	client *slack.Client
	token  string
	app    string // empty without Socket Mode
	dialer *websocket.Dialer
	close  func()

	connected, connections, presses atomic.Int64 // of Socket Mode
}

// Stats is a snapshot for metrics.
type Stats struct {
	Connected  bool  // Socket Mode is
	Reconnects int64 // connections of Socket Mode behind the first
	Presses    int64 // presses of buttons that are carried out
}

// Stats returns the figures of now.
func (n *Notifier) Stats() Stats {
	return Stats{Connected: n.connected.Load() > 0, Reconnects: max(0, n.connections.Load()-1), Presses: n.presses.Load()}
}

// New returns a notifier; it does not connect.
func New(o Options) (*Notifier, error) {
	token, app := strings.TrimSpace(o.Token), strings.TrimSpace(o.AppToken)
	switch {
	case token == "":
		return nil, errors.New("slack has no token: set LOOKOUT_SLACK_TOKEN, or slack.token_file")
	case strings.ContainsFunc(token, odd):
		return nil, errors.New("slack's token has spaces, quotes or other odd characters: copy it again (xoxb-…)")
	case app != "" && (strings.ContainsFunc(app, odd) || !strings.HasPrefix(app, "xapp-")):
		return nil, errors.New("slack's app-level token does not look like one: copy it again (xapp-…, under Basic Information, App-Level Tokens)")
	}
	api := slack.APIURL
	if o.API != "" {
		u, err := url.Parse(o.API)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("slack's API address is not an http or https URL: set LOOKOUT_SLACK_API to one, or leave it out")
		}
		api = strings.TrimSuffix(o.API, "/") + "/"
	}
	n := &Notifier{token: token, app: app, close: func() {}}
	// A buffer longer than any answer: Slack drops what comes in parts.
	n.dialer = &websocket.Dialer{Proxy: http.ProxyFromEnvironment, NetDialContext: o.Dial, HandshakeTimeout: openWithin, WriteBufferSize: 32 << 10}
	if o.Dial != nil {
		n.dialer.Proxy = nil
	}
	if o.Transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		o.Transport, n.close = own, own.CloseIdleConnections
	}
	n.client = slack.New(token, slack.OptionAPIURL(api), slack.OptionAppLevelToken(app), slack.OptionHTTPClient(&doer{http.Client{
		Transport: o.Transport,
		// The body holds the token: it goes nowhere but to the API.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       time.Minute,
	}}))
	return n, nil
}

// odd is what a token has not: in a header or form it is one word, and what is pasted with a line end or a quote is not.
func odd(r rune) bool { return r <= ' ' || r > '~' || r == '"' }

// Close lets idle connections go.
func (n *Notifier) Close() { n.close() }

// doer bounds the answer, and mends what the client would stumble over.
type doer struct{ http.Client }

func (d *doer) Do(r *http.Request) (*http.Response, error) {
	resp, err := d.Client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		// slack-go reads whole seconds only and reports anything else as another error than a rate limit.
		s := strings.TrimSpace(resp.Header.Get("Retry-After"))
		resp.Header.Set("Retry-After", s)
		if seconds, err := strconv.Atoi(s); err != nil || seconds < 0 || seconds > 24*3600 {
			resp.Header.Del("Retry-After")
		}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

// errNotUnderstood stands for an answer that is neither ok nor an error.
var errNotUnderstood = errors.New("the answer is not Slack's: is a proxy in between?")

// Send posts a message by chat.postMessage.
func (n *Notifier) Send(ctx context.Context, channel string, m alerting.Message) (alerting.Receipt, error) {
	id, ts, err := n.client.PostMessageContext(ctx, channel, n.options(m)...)
	return n.receipt(id, ts, err, m)
}

// Edit replaces a message by chat.update.
func (n *Notifier) Edit(ctx context.Context, r alerting.Receipt, m alerting.Message) (alerting.Receipt, error) {
	id, ts, _, err := n.client.UpdateMessageContext(ctx, r.Channel, r.ID, n.options(m)...)
	return n.receipt(id, ts, err, m)
}

// Reply says in the message's thread, and in the channel, that it fires again. Slack posts a reply to a message that was
// deleted meanwhile into the channel alone.
func (n *Notifier) Reply(ctx context.Context, r alerting.Receipt, m alerting.Message) error {
	m.Title, m.Lines, m.ID = m.Again()+m.Title, nil, 0 // the buttons are at the message
	id, ts, err := n.client.PostMessageContext(ctx, r.Channel, append(n.options(m), slack.MsgOptionTS(r.ID), slack.MsgOptionBroadcast())...)
	_, err = n.receipt(id, ts, err, m)
	return err
}

// Note adds history to the message's thread. It is in nobody's channel, and only who follows the thread is told.
// An edit of the message came before: it would have found out that the message was deleted.
func (n *Notifier) Note(ctx context.Context, r alerting.Receipt, m alerting.Message) error {
	id, ts, err := n.client.PostMessageContext(ctx, r.Channel, append(history(m), slack.MsgOptionTS(r.ID))...)
	_, err = n.receipt(id, ts, err, m)
	return err
}

func (n *Notifier) receipt(channel, ts string, err error, m alerting.Message) (alerting.Receipt, error) {
	// slack-go takes an answer without ok and without an error for a success.
	if err == nil && ts == "" {
		err = errNotUnderstood
	}
	if err != nil {
		return alerting.Receipt{}, n.failure(err, m.Plain)
	}
	return alerting.Receipt{Channel: channel, ID: ts, Thread: true}, nil
}

// failure classifies an error and keeps the token out of its text.
func (n *Notifier) failure(err error, plain bool) *alerting.DeliveryError {
	d := &alerting.DeliveryError{Class: alerting.Transient}
	text := err.Error()
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var refused slack.SlackErrorResponse
	switch {
	case errors.As(err, &limited):
		d.Class, d.RetryAfter, d.Code = alerting.Wait, limited.RetryAfter, "ratelimited"
	case errors.As(err, &status):
		d.Code = strconv.Itoa(status.Code)
		switch {
		case status.Code == http.StatusTooManyRequests:
			d.Class = alerting.Wait
		case status.Code < 500:
			d.Class = alerting.Broken // no answer of the Web API: a wrong address, or a proxy that says no
			d.Mend = "this is no answer of Slack's API: look at LOOKOUT_SLACK_API and at the proxy"
		}
	case errors.As(err, &refused):
		d.Class, d.Code, d.Mend = classOf(refused.Err, plain), codeOf(refused.Err), mendOf(refused.Err)
		if refused.Needed != "" {
			text += " (needs the scope " + refused.Needed + ")"
		}
		if details := strings.Join(refused.ResponseMetadata.Messages, "; "); details != "" {
			text += " (" + details + ")"
		}
	default:
		d.Unsent = neverLeft(err)
	}
	d.Err = fmt.Errorf("slack: %s", alerting.Cut(hide(text, n.token, n.app), 500))
	return d
}

// codeOf is Slack's code for an error, empty for one that does not look like a code: it is shown as it is.
func codeOf(code string) string {
	if len(code) > 100 || strings.ContainsFunc(code, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' }) {
		return ""
	}
	return code
}

// mendOf is what helps against an error of Slack's, empty where only waiting does.
func mendOf(code string) string {
	switch code {
	case "not_in_channel":
		return "invite the app: write /invite @lookout in the channel"
	case "channel_not_found":
		return "look at the channel's name; if it is private, write /invite @lookout in it"
	case "is_archived":
		return "unarchive the channel, or name another one"
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired":
		return "the token is not good (any more): install the app in the workspace, and set LOOKOUT_SLACK_TOKEN to the bot token it shows (xoxb-…)"
	case "missing_scope":
		return "add the scope under OAuth & Permissions, and install the app again"
	case "no_permission", "org_login_required", "ekm_access_denied":
		return "the workspace does not let the app post: ask its admin"
	}
	if strings.HasPrefix(code, "restricted_action") {
		return "only some may post in the channel: let the app, or name another channel"
	}
	return ""
}

// hide takes secrets out of a text.
func hide(text string, secrets ...string) string {
	for _, s := range secrets {
		if s == "" {
			continue
		}
		for _, form := range [...]string{s, url.QueryEscape(s), strings.Trim(strconv.Quote(s), `"`)} {
			text = strings.ReplaceAll(text, form, "[token]")
		}
	}
	return text
}

// neverLeft tells that no connection came about, so that Slack cannot have the message.
func neverLeft(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) || errors.As(err, &op) && op.Op == "dial"
}

// classOf is ALERTING.md's table. A code that is not in it may be about the message or about the channel: it counts as
// the message's fault first, and as the channel's when plain text is refused as well, so that nothing is thrown away.
func classOf(code string, plain bool) alerting.Class {
	switch code {
	case "ratelimited", "rate_limited":
		return alerting.Wait
	case "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org", "update_failed":
		return alerting.Transient
	case "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "missing_scope", "no_permission",
		"channel_not_found", "not_in_channel", "is_archived", "org_login_required", "ekm_access_denied":
		return alerting.Broken
	case "msg_too_long", "msg_blocks_too_long", "too_many_attachments", "no_text":
		return alerting.Fault
	case "message_not_found", "edit_window_closed", "cant_update_message", "is_inactive",
		"cannot_reply_to_message", "thread_not_found", "thread_locked":
		return alerting.EditRefused
	}
	switch {
	case strings.HasPrefix(code, "restricted_action"):
		return alerting.Broken
	case strings.HasPrefix(code, "invalid_blocks"), !plain:
		return alerting.Fault
	}
	return alerting.Broken
}
