package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/email"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/alerting/webhook"
	"github.com/lookoutlog/lookout/internal/config"
)

// onlineWithin is how long one service may take to answer.
const onlineWithin = 10 * time.Second

// Finding is what was found out about one service or channel.
type Finding struct {
	What string // the setting or channel
	// Err is why it does not work, with the mend; nil when it does, or when it was not checked.
	Err     error
	Checked bool
	Text    string // what was found, or why it was not checked
}

// errUnknown is why something was not checked, beside those of the ways.
var errUnknown = errors.New("not checked")

// found is the finding of a check. mend is added to an error that has none of its own.
func found(what, text, mend string, err error) Finding {
	var failure *alerting.DeliveryError
	if errors.As(err, &failure) {
		err = failure.Err
	}
	switch {
	case err == nil:
		return Finding{What: what, Checked: true, Text: text}
	case errors.Is(err, errUnknown), errors.Is(err, slack.ErrNotChecked):
		return Finding{What: what, Text: oneLine(err)}
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("no answer within " + onlineWithin.String())
	}
	text = oneLine(err)
	if mend != "" {
		text += "; " + mend
	}
	return Finding{What: what, Checked: true, Err: errors.New(text), Text: text}
}

// Online asks the services of a configuration whether they take what lookout would send, and sends no message. Each has ten seconds.
// No finding has a secret.
func Online(ctx context.Context, c *config.Config) []Finding {
	var checks []func(context.Context) []Finding
	one := func(what, mend string, check func(context.Context) (string, error)) {
		checks = append(checks, func(ctx context.Context) []Finding {
			ctx, cancel := context.WithTimeout(ctx, onlineWithin)
			defer cancel()
			text, err := check(ctx)
			return []Finding{found(what, text, mend, err)}
		})
	}
	if c.Forward.On() {
		one("forward.url", "is the server up?", func(ctx context.Context) (string, error) { return reach(ctx, string(c.Forward.URL)) })
	}
	if c.Slack.Token != "" {
		checks = append(checks, func(ctx context.Context) []Finding { return slackOnline(ctx, c) })
	}
	if c.Pushover.On() {
		one(config.ChannelPushover, "set pushover.token_file to the application's token and pushover.user_file to the user's key", func(ctx context.Context) (string, error) {
			n, err := pushover.New(pushover.Options{Token: string(c.Pushover.Token), User: string(c.Pushover.User), API: string(c.Pushover.API)})
			if err != nil {
				return "", err
			}
			defer n.Close()
			return "token and user are good", n.Check(ctx)
		})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ways)) {
		w := c.Ways[name]
		if w.Type == "email" {
			one("ways."+name, "", func(ctx context.Context) (string, error) {
				n, err := email.New(w.Email(name))
				if err != nil {
					return "", err
				}
				text := "the server greets"
				if w.TLS != email.None {
					text += " with TLS"
				}
				if w.User != "" {
					text += " and takes the login"
				}
				return text + "; no mail was sent", n.Check(ctx)
			})
			continue
		}
		one("ways."+name, "is url right?", func(ctx context.Context) (string, error) {
			n, err := webhook.New(w.Webhook(name))
			if err != nil {
				return "", err
			}
			defer n.Close()
			return n.Check(ctx)
		})
	}
	if c.Heartbeat.URL != "" {
		one("heartbeat.url", "is the address right?", func(ctx context.Context) (string, error) { return reach(ctx, string(c.Heartbeat.URL)) })
	}
	if c.Backup.S3Endpoint != "" {
		one("backup.s3_endpoint", "is the address right?", func(ctx context.Context) (string, error) { return reach(ctx, string(c.Backup.S3Endpoint)) })
	}

	// All at once, so that it takes no longer than the slowest.
	all := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { all[i] = check(ctx) })
	}
	wg.Wait()
	return slices.Concat(all...)
}

// slackOnline checks the tokens, and the channels that rules, routes and channels name.
func slackOnline(ctx context.Context, c *config.Config) []Finding {
	n, err := slack.New(slack.Options{Token: string(c.Slack.Token), AppToken: string(c.Slack.AppToken), API: string(c.Slack.API)})
	if err != nil {
		return []Finding{found("slack", "", "", err)}
	}
	defer n.Close()
	within := func(check func(ctx context.Context)) {
		ctx, cancel := context.WithTimeout(ctx, onlineWithin)
		defer cancel()
		check(ctx)
	}
	var list []Finding
	var identity *slack.Identity
	within(func(ctx context.Context) {
		identity, err = n.Check(ctx)
		text := ""
		if identity != nil {
			text = "as " + identity.User + " in " + identity.Team
			switch {
			case identity.Scopes == nil:
				text += "; Slack does not say the token's scopes"
			case identity.May("chat:write.public"):
				text += "; scopes " + strings.Join(identity.Scopes, ", ")
			default:
				text += "; scopes " + strings.Join(identity.Scopes, ", ") + "; without chat:write.public lookout must be invited into each channel"
			}
		}
		mend := ""
		if identity == nil {
			mend = orReach(err, "set slack.token_file to the bot token (xoxb-…) of the app")
		}
		list = append(list, found("slack.token", text, mend, err))
	})
	if c.Slack.AppToken != "" {
		within(func(ctx context.Context) {
			err := n.CheckSocket(ctx)
			mend := orReach(err, "make an app-level token (xapp-…) with the scope connections:write, and turn Socket Mode on")
			list = append(list, found("slack.app_token", "Socket Mode opens: buttons work if interactivity is on", mend, err))
		})
	}
	if identity == nil {
		return list
	}
	within(func(ctx context.Context) {
		channels := n.Channels(ctx, identity)
		for _, name := range slackChannels(c) {
			text, err := channels.Check(name)
			list = append(list, found(name, text, "", err))
		}
	})
	return list
}

// orReach is the mend of a token, unless Slack has not answered: no token helps then.
func orReach(err error, mend string) string {
	var failure *alerting.DeliveryError
	if errors.As(err, &failure) && failure.Class == alerting.Transient && failure.Code == "" {
		return "can Slack be reached from here (DNS, firewall, proxy)?"
	}
	return mend
}

// slackChannels are the channels of Slack that something names, sorted.
func slackChannels(c *config.Config) []string {
	all := map[string]bool{}
	add := func(to config.Channel) {
		if to.ForSlack() && c.Tells(to) {
			all[string(to)] = true
		}
	}
	for _, to := range [...]config.Channel{c.Channels.Errors, c.Channels.Warnings, c.Channels.Events, c.Slack.Channel} {
		add(to)
	}
	for _, r := range c.Rules {
		for _, to := range r.Channels {
			add(to)
		}
	}
	for _, r := range c.Routes {
		for _, to := range r.Channels {
			add(to)
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// reach connects to an address, which may be a secret but for its host, and asks for nothing.
func reach(ctx context.Context, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("it is no address")
	}
	if r, err := http.NewRequest(http.MethodGet, u.Scheme+"://"+u.Host, nil); err == nil {
		if proxy, err := http.ProxyFromEnvironment(r); err == nil && proxy != nil {
			return "", fmt.Errorf("%w: it goes by the proxy of the environment", errUnknown)
		}
	}
	port := u.Port()
	if port == "" {
		if port = "80"; u.Scheme == "https" {
			port = "443"
		}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if u.Scheme != "https" {
		return "connected; nothing was sent", nil
	}
	if err := tls.Client(conn, &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}).HandshakeContext(ctx); err != nil {
		return "", err
	}
	return "connected with TLS; nothing was sent", nil
}
