package config

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/lookoutlog/lookout/alerting/email"
	"github.com/lookoutlog/lookout/alerting/webhook"
)

// Way is a way out beside Slack and Pushover. Its name is a channel.
type Way struct {
	Type     string                `key:"type" default:"webhook" oneof:"webhook email" doc:"webhook: another service by HTTP; email: mail by SMTP"`
	Template string                `key:"template" default:"generic" oneof:"alertmanager custom discord generic gotify ntfy opsgenie pagerduty restart scale teams" doc:"whose requests a webhook makes; restart and scale run once an incident; custom: headers and body are yours"`
	URL      Secret                `key:"url" doc:"the address; for a webhook with text/template, such as https://nomad:4646/v1/job/{{.Labels.service}}/scale"`
	Token    Secret                `key:"token" doc:"the service's key: PagerDuty's routing key, Opsgenie's API key, an application's token; otherwise sent as Authorization: Bearer"`
	Method   string                `key:"method" oneof:"GET POST PUT PATCH DELETE" doc:"HTTP's method instead of the template's"`
	Headers  map[string]SecretLine `key:"headers" doc:"more HTTP headers, with text/template; Content-Type says how the body is escaped"`
	Body     string                `key:"body" doc:"the request's body instead of the template's, with text/template; see docs/ways.md"`
	Params   map[string]string     `key:"params" doc:"values that templates use: topic for ntfy, replicas for scale"`
	When     []string              `key:"when" sep:"," oneof:"firing acknowledged resolved" doc:"which changes of an incident are told beside that it fires; by default as the template has it"`
	Server   string                `key:"server" doc:"email: the mail server, host:port; without a port 587, or 465 with tls: tls"`
	TLS      string                `key:"tls" oneof:"starttls tls none" doc:"email: starttls (before anything is said), tls (from the beginning), none; starttls unless set, tls with port 465"`
	User     string                `key:"user" doc:"email: the login; none unless set"`
	Password Secret                `key:"password" doc:"email: the login's password"`
	From     string                `key:"from" doc:"email: the sender's address"`
	To       []string              `key:"to" sep:"," doc:"email: who gets it, addresses"`
	Allow    []Range               `key:"allow" sep:"," doc:"link-local and metadata addresses that it may reach all the same"`
}

// Webhook is the way as package webhook takes it.
func (w Way) Webhook(name string) webhook.Options {
	o := webhook.Options{
		Name: name, Template: w.Template, URL: string(w.URL), Token: string(w.Token), Method: w.Method, Body: w.Body, Params: w.Params, When: w.When,
		Headers: headerTexts(w.Headers), Allow: prefixes(w.Allow),
	}
	return o
}

// headerTexts are headers as they are sent, nil for none.
func headerTexts(headers map[string]SecretLine) map[string]string {
	if len(headers) == 0 {
		return nil
	}
	list := map[string]string{}
	for name, value := range headers {
		list[name] = string(value.Secret)
	}
	return list
}

// Email is the way as package email takes it.
func (w Way) Email(name string) email.Options {
	return email.Options{
		Name: name, Server: w.Server, TLS: w.TLS, User: w.User, Password: string(w.Password), From: w.From, To: w.To, Allow: prefixes(w.Allow),
	}
}

// validate says what is wrong, beginning with the setting.
func (w Way) validate(name string) error {
	if w.Type == "email" {
		for key, set := range map[string]bool{
			"url": w.URL != "", "token": w.Token != "", "body": w.Body != "", "headers": len(w.Headers) > 0, "params": len(w.Params) > 0, "method": w.Method != "", "when": len(w.When) > 0,
			"template": w.Template != "generic",
		} {
			if set {
				return fmt.Errorf("%s: is a webhook's, and this is type: email: take it out", key)
			}
		}
		_, err := email.New(w.Email(name))
		return err
	}
	for key, set := range map[string]bool{
		"server": w.Server != "", "tls": w.TLS != "", "user": w.User != "", "password": w.Password != "", "from": w.From != "", "to": len(w.To) > 0,
	} {
		if set {
			return fmt.Errorf("%s: is email's, and this is a webhook: add type: email, or take it out", key)
		}
	}
	n, err := webhook.New(w.Webhook(name))
	if err == nil {
		n.Close()
	}
	return err
}

// acts tells whether the way does something instead of telling.
func (w Way) acts() bool {
	return w.Type == "webhook" && (w.Template == "restart" || w.Template == "scale")
}

// Deaf tells whether the way is none for what lookout has to say about itself: it acts, or keeps alerts by their labels.
func (w Way) Deaf() bool { return w.acts() || w.Type == "webhook" && w.Template == "alertmanager" }

func prefixes(ranges []Range) []netip.Prefix {
	list := make([]netip.Prefix, len(ranges))
	for i, r := range ranges {
		list[i] = netip.MustParsePrefix(string(r))
	}
	return list
}

// ChannelPushover is the channel that pages people.
const ChannelPushover = "pushover"

var slackID = regexp.MustCompile(`^[CDGUW][A-Z0-9]+$`)

// ForSlack tells whether the channel is Slack's: #name, @name or an id.
func (c Channel) ForSlack() bool {
	return strings.HasPrefix(string(c), "#") || strings.HasPrefix(string(c), "@") || slackID.MatchString(string(c))
}

// Tells tells whether a channel reaches anybody: Slack's needs its token.
func (c *Config) Tells(to Channel) bool {
	switch _, way := c.Ways[string(to)]; {
	case to == "":
		return false
	case way:
		return true
	case to == ChannelPushover:
		return c.Pushover.On()
	}
	return to.ForSlack() && c.Slack.Token != ""
}

// known says what is wrong with a channel that no way out has.
func (r *reader) known(at string, c *Config, to Channel) {
	if to == ChannelPushover && !c.Pushover.On() && !c.Forward.On() {
		r.warn(r.at(at), at, "Pushover is not set up: nobody will be told", "set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER")
	}
	if _, way := c.Ways[string(to)]; way || to == "" || to.ForSlack() || to == ChannelPushover || r.bad(at) || r.bad("ways."+string(to)) {
		return
	}
	mend := `write a channel of Slack as "#` + string(to) + `", or add ways.` + string(to)
	if near := nearest(string(to), slices.Collect(maps.Keys(c.Ways))); near != "" {
		mend = "did you mean " + near + "?"
	}
	r.fail(at, string(to), "there is no way out of this name", mend)
}

func (r *reader) validateWays(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Ways)) {
		at := "ways." + name
		w := c.Ways[name]
		switch {
		case !validName(name) || strings.Contains(name, " "):
			r.fail(at, name, "is not a way's name", "use 1 to 64 letters, digits, dots, _ and -")
			continue
		case name == ChannelPushover || Channel(name).ForSlack():
			r.fail(at, name, "the name means a channel of Slack or Pushover", "use another")
			continue
		}
		if r.bad(at+".type", at+".template", at+".url", at+".url_file", at+".token", at+".token_file", at+".when", at+".allow", at+".method", at+".tls", at+".password", at+".password_file") {
			continue
		}
		if err := w.validate(name); err != nil {
			key, what, _ := strings.Cut(err.Error(), ": ")
			r.fail(at+"."+key, "", what, "docs/ways.md has examples")
		}
	}
	for _, ch := range [...]struct {
		key string
		to  Channel
	}{{"errors", c.Channels.Errors}, {"warnings", c.Channels.Warnings}, {"events", c.Channels.Events}} {
		r.known("channels."+ch.key, c, ch.to)
	}
	for i, rule := range c.Rules {
		list := fmt.Sprintf("rules[%d].channel", i)
		for j, to := range rule.Channels {
			at := r.item(list, j)
			r.known(at, c, to)
			switch w, ok := c.Ways[string(to)]; {
			case to != "" && slices.Contains(rule.Channels[:j], to):
				r.fail(at, string(to), "the channel is there twice", "take it out here")
			case ok && w.acts() && rule.Notify == "each":
				r.fail(at, string(to), "it acts once an incident, and notify: each makes none", "take notify: each out, or name another channel")
			}
		}
	}
	if to := c.Slack.Channel; to != "" && !to.ForSlack() {
		r.known("slack.channel", c, to)
	}
}
