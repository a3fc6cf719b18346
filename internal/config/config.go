// Package config reads lookout's configuration: one YAML file, the environment over it, defaults under it.
//
// # Use
//
// [Load] returns one validated [Config], and warnings for what is legal but probably not meant. [Settings] lists every
// setting with its variable, default and meaning; the documentation is made from it.
//
// # What it guarantees
//
// All problems are reported at once, as an [*Error]: each names the setting, the file and line or the variable, the value
// and the mend. A key that is not known is an error that names the nearest known one. Secrets are of type [Secret], which
// prints as [Redacted] in every format; no error or warning contains one.
//
// Only internal/app and cmd import this package: everybody else is handed the few values it needs.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index/segment"
)

// DefaultFile is read from the working folder when no other file is named. It need not exist.
const DefaultFile = "lookout.yaml"

// maxFile is the longest configuration file, in bytes.
const maxFile = 1 << 20

// Config is what lookout was told. Each field's tags are its key, its default and its line in the documentation; the
// variable of a setting is LOOKOUT_ and its path in capitals, slack.token → LOOKOUT_SLACK_TOKEN.
type Config struct {
	// File is the file that was read, empty when there was none.
	File string

	Data   string        `key:"data" default:"./lookout-data" doc:"the folder that holds everything lookout keeps"`
	HTTP   Address       `key:"http" default:":7171" doc:"where the API and the UI listen; off for an agent, where that is the default"`
	GELF   Address       `key:"gelf" default:":12201" doc:"where GELF is received; off for nowhere, the default of an agent"`
	Syslog Address       `key:"syslog" default:":1514" doc:"where syslog is received; off for nowhere"`
	Docker DockerAddress `key:"docker" doc:"Docker's socket, such as unix:///var/run/docker.sock; off for none; found by itself unless set"`
	Allow  []Source      `key:"allow" default:"private" sep:"," doc:"who may send without a token (GELF, syslog): addresses, ranges such as 10.0.0.0/8, and private for loopback and private ranges"`

	BaseURL    URL    `key:"base_url" doc:"where people open lookout, such as https://lookout.example; messages then have a link to their search"`
	WriteToken Secret `key:"write_token" doc:"a second token, for agents and senders: it brings events in and reads nothing"`

	Redact           Redact            `key:"redact"`
	Limits           Limits            `key:"limits"`
	Forward          Forward           `key:"forward"`
	Slack            Slack             `key:"slack"`
	Channels         Channels          `key:"channels"`
	Rules            []Rule            `key:"rules" doc:"what is told to whom; see below for a rule's settings"`
	Routes           []Route           `key:"routes" doc:"where alerts go whose rule names no channel, by their labels: the first that matches; those of none go to channels"`
	Maintenance      []Maintenance     `key:"maintenance" doc:"known stops that come again: what matches is told to nobody meanwhile"`
	QuietHours       []QuietHours      `key:"quiet_hours" doc:"when what is not critical waits; what waited comes as one message"`
	Templates        map[string]string `key:"templates" doc:"words for messages by name, with text/template: the first line is the title; see docs/alerting.md"`
	ChannelTemplates map[string]string `key:"channel_templates" doc:"which template a channel's messages have, by the channel: a name of templates, or the text itself"`
	Probes           []Probe           `key:"probes" doc:"what is checked; see below for a probe's settings"`
	// ProbeAllow lets probes reach addresses that are refused otherwise.
	ProbeAllow []Range        `key:"probe_allow" sep:"," doc:"link-local addresses that probes may reach all the same, such as 169.254.7.0/24: cloud providers keep secrets at such"`
	Pushover   Pushover       `key:"pushover"`
	Ways       map[string]Way `key:"ways" doc:"other ways out by name, which rules name as their channel; see docs/ways.md"`
	Heartbeat  Heartbeat      `key:"heartbeat"`
	Retention  Retention      `key:"retention"`
	Backup     Backup         `key:"backup"`
}

// Backup is how to reach the storage that backups go to, when it is no folder.
type Backup struct {
	S3Endpoint  URL    `key:"s3_endpoint" doc:"the S3-compatible storage's address, such as https://minio.example:9000; Amazon's unless set (AWS_ENDPOINT_URL_S3 is read as well)"`
	S3Region    string `key:"s3_region" doc:"its region; us-east-1 unless set (AWS_REGION is read as well)"`
	S3AccessKey Secret `key:"s3_access_key" doc:"the access key's id (AWS_ACCESS_KEY_ID is read as well)"`
	S3SecretKey Secret `key:"s3_secret_key" doc:"the secret key (AWS_SECRET_ACCESS_KEY is read as well, and AWS_SESSION_TOKEN with it)"`
}

// Redact is what is replaced in events before anything of them is kept.
type Redact struct {
	Use   []string     `key:"use" sep:"," oneof:"email card bearer jwt aws_key url_password password" doc:"rules that are there already: email, card (with a valid check digit), bearer (Authorization's tokens), jwt, aws_key, url_password, password"`
	Rules []RedactRule `key:"rules" doc:"rules of your own, see docs/redaction.md"`
}

// RedactRule replaces what an expression matches, or the values of a field.
type RedactRule struct {
	Name    string `key:"name" required:"true" doc:"unique; letters, digits, space, . _ and -"`
	Regex   string `key:"regex" doc:"an RE2 expression: what it matches is replaced, in messages, fields, services, hosts"`
	Field   string `key:"field" doc:"or a field's name, without case, * for any characters: its values are replaced whole"`
	Replace string `key:"replace" doc:"what stands there instead, $1 for a group, at most 64 bytes; by default the name in brackets"`
}

// Limits bound what requests may cost.
type Limits struct {
	Body         Size     `key:"body" default:"64MiB" min:"1KiB" max:"1GiB" doc:"the longest body of a request that brings events, decoded"`
	Searches     int      `key:"searches" default:"4" min:"1" max:"1024" doc:"searches that run at the same time"`
	Queue        int      `key:"queue" default:"16" min:"0" max:"65536" doc:"searches that wait for their turn; more are answered 429"`
	QueryTimeout Duration `key:"query_timeout" default:"60s" min:"100ms" max:"24h" doc:"how long a search may take, its wait included"`
	QueryScan    Size     `key:"query_scan" default:"100GB" min:"0" doc:"bytes of events, uncompressed, that a search may look at one by one; beyond, its answer ends and is marked incomplete; 0 for no limit"`
	QueryMemory  Size     `key:"query_memory" default:"128MiB" min:"1MiB" max:"64GiB" doc:"what a search may hold of groups, values, patterns and rows around matches; beyond, its answer ends and is marked incomplete"`
	Tails        int      `key:"tails" default:"100" min:"1" max:"65536" doc:"live tails that may be open at the same time"`
}

// Forward makes an agent of this lookout: it collects, and keeps nothing but what is still to be sent.
type Forward struct {
	URL      URL    `key:"url" doc:"the server that gets everything; with it this lookout is an agent: it collects and forwards, and listens nowhere unless told"`
	Token    Secret `key:"token" doc:"the server's token; its write_token is enough"`
	Name     string `key:"name" doc:"the agent's name at the server, unique among agents; by default one is made and kept in the data folder"`
	MaxBytes Size   `key:"max_bytes" default:"1GiB" min:"64MiB" max:"1TiB" doc:"the most that waits on disk while the server is away; after that inputs stop reading"`
}

// On tells whether this lookout is an agent.
func (f Forward) On() bool { return f.URL != "" }

// Slack is how to post there.
type Slack struct {
	Token Secret `key:"token" doc:"the bot's token (xoxb-…)"`
	// AppToken is of Socket Mode.
	AppToken Secret  `key:"app_token" doc:"the app-level token (xapp-…); with it messages have buttons: acknowledge, silence, this is expected; see docs/slack.md"`
	Channel  Channel `key:"channel" doc:"where everything goes that has no channel of its own"`
	API      URL     `key:"api" default:"https://slack.com/api/" doc:"another base address, for tests"`
}

// Channels are the three lines for the common case. Errors and Warnings each bring a default rule.
type Channels struct {
	Errors   Channel `key:"errors" doc:"errors and worse, of every service"`
	Warnings Channel `key:"warnings" doc:"warnings of every service"`
	Events   Channel `key:"events" doc:"rules with notify: each and no channel of their own"`
}

// Rule is a standing query and whom it tells.
type Rule struct {
	Name     string    `key:"name" required:"true" doc:"unique; letters, digits, space, . _ and -"`
	Query    Query     `key:"query" required:"true" doc:"which events; see the query language"`
	Channels []Channel `key:"channel" doc:"where to: one, or a list; by default channels.events with notify: each or severity: info, channels.warnings with severity: warning, otherwise channels.errors; then slack.channel"`
	Severity Severity  `key:"severity" doc:"critical, error, warning or info; by default that of the event's level"`
	Mode     string    `key:"mode" default:"match" oneof:"match unexpected new rate spike absent" doc:"match: each event; unexpected: what expect does not cover; new: kinds of lines never seen before; rate: above or below so many in a window; spike: far more than usual; absent: a service that is silent, or what by names"`
	Notify   string    `key:"notify" default:"incident" oneof:"incident each" doc:"incident: grouped, until quiet; each: every event is shown"`
	Page     bool      `key:"page" default:"false" doc:"tell Pushover too, until somebody acknowledges"`
	Resolve  Query     `key:"resolve" doc:"an event that ends the incident of the same service and field fingerprint"`
	Expect   []Expect  `key:"expect" doc:"with mode: unexpected: what is no news, each a query, or a query with what follows"`
	Above    int       `key:"above" min:"1" max:"1000000000000" doc:"with mode: rate: more events than this in a window"`
	Below    int       `key:"below" min:"1" max:"1000000000000" doc:"with mode: rate: fewer events than this in a window"`
	Window   Duration  `key:"window" min:"10s" max:"7d" doc:"with mode: rate and spike: how long; 5m unless set"`
	By       []string  `key:"by" sep:"," doc:"with mode: rate, spike and absent: fields by which events are counted apart, such as service, host; absent goes by service unless set"`
	After    Duration  `key:"after" min:"10s" max:"30d" doc:"with mode: absent: how long a silence is too long; unless set it is learned: twice the longest of the last week, at least 5m"`

	Labels   map[string]string `key:"labels" doc:"labels of its alerts, which routes and silences can ask for, such as team: shop"`
	Template string            `key:"template" doc:"the words of its messages: a name of templates, or the text itself; before that of the channel"`
	Parents  []string          `key:"parents" doc:"rules whose alerts are the cause of this one's: while one of them fires nothing is told"`
	Equal    []string          `key:"equal" sep:"," doc:"with parents: labels that both must have alike, such as host"`
	Repeat   Duration          `key:"repeat" min:"5m" max:"30d" doc:"tell again after so long what fires and nobody has acknowledged, such as 4h; never unless set"`
	Hold     Duration          `key:"hold" min:"1s" max:"1h" doc:"with parents: how long to wait for them; 30s unless set"`

	// Routed is true when the rule names no channel: the routes pick, and Channels are for what none of them takes.
	Routed bool
	// Default is true for a rule that no file names: errors, warnings, containers, probes, pages.
	Default bool
}

// Expect is what a rule of mode unexpected takes for no news.
type Expect struct {
	Query   Query  `key:"query" required:"true" short:"true" doc:"which events; the whole entry may be this alone"`
	Author  string `key:"author" doc:"who added it"`
	Reason  string `key:"reason" doc:"why it is no news"`
	Expires Date   `key:"expires" doc:"when it counts no more, such as 2027-01-31"`
}

// Probe is one address to check.
type Probe struct {
	Name    string                `key:"name" required:"true" doc:"unique"`
	URL     URL                   `key:"url" required:"true" doc:"what to check: http://…, https://… or tcp://host:port"`
	Every   Duration              `key:"every" default:"30s" min:"1s" max:"24h" doc:"how often"`
	Timeout Duration              `key:"timeout" min:"100ms" max:"5m" doc:"how long one check may take; by default 10s, or every if that is less"`
	Method  string                `key:"method" default:"GET" oneof:"GET HEAD POST PUT DELETE OPTIONS PATCH" doc:"HTTP's method"`
	Headers map[string]SecretLine `key:"headers" doc:"HTTP headers to send"`
	Body    string                `key:"body" doc:"what to send as the request's body"`
	Expect  Query                 `key:"expect" doc:"a query over the probe's own result, such as status:200..299 duration<500ms body~\"ok\"; by default status:200..299, or for tcp that it connects"`
	Confirm Duration              `key:"confirm" default:"10s" min:"0" max:"24h" doc:"how long it must fail before it is down"`
	Recover Duration              `key:"recover" default:"30s" min:"0" max:"24h" doc:"how long all checks must be good before it is up again"`
	Service string                `key:"service" doc:"the service that is checked; by default the probe's name"`
	Env     string                `key:"env" doc:"its environment"`
	Page    bool                  `key:"page" default:"false" doc:"tell Pushover until somebody acknowledges"`
}

// HeaderTexts are the probe's headers as they are sent. They may hold secrets.
func (p Probe) HeaderTexts() map[string]string { return headerTexts(p.Headers) }

// Pushover is how to page a person.
type Pushover struct {
	Token Secret `key:"token" doc:"the application's token"`
	User  Secret `key:"user" doc:"the user's or the group's key"`
	API   URL    `key:"api" default:"https://api.pushover.net/1/" doc:"another base address, for tests"`
}

// On tells whether people can be paged.
func (p Pushover) On() bool { return p.Token != "" && p.User != "" }

// Heartbeat tells an outside watcher that alerting goes on.
type Heartbeat struct {
	URL   Secret   `key:"url" doc:"an address of an outside watcher, such as https://hc-ping.com/…: it is asked for while alerting goes on, and tells you when that stops"`
	Every Duration `key:"every" default:"1m" min:"10s" max:"24h" doc:"how often"`
}

// Retention is how long events are kept.
type Retention struct {
	Default    Duration            `key:"default" default:"30d" min:"1h" max:"100y" doc:"how long events are kept"`
	MaxBytes   Size                `key:"max_bytes" min:"64MiB" doc:"the most bytes that all segments may take on disk, the oldest go first; half of the disk unless set"`
	Classes    map[string]Duration `key:"classes" min:"1h" max:"100y" doc:"classes of their own and how long their events are kept, such as audit: 1y; rollup is one, for 400d unless set"`
	ClassBytes map[string]Size     `key:"class_bytes" min:"1MiB" doc:"the most bytes that a class's segments may take, such as audit: 50GB; a class with such a limit makes room for others last"`
	Services   map[string]string   `key:"services" doc:"which class a service belongs to, by name or glob, such as \"pay*\": audit; of several globs the longest counts"`
	Rules      []RetentionRule     `key:"rules" doc:"which class an event belongs to, whatever its service: the first rule that matches"`
}

// RetentionRule puts events into a class.
type RetentionRule struct {
	Query Query  `key:"query" required:"true" doc:"which events; see the query language"`
	Class string `key:"class" required:"true" doc:"their class, one of retention.classes, default or rollup"`
}

// rollup is the class that is there without being configured, as package index has it.
const rollup = "rollup"

// Known tells whether a class is configured or built in.
func (r *Retention) Known(class string) bool {
	_, known := r.Classes[class]
	return known || class == segment.DefaultClass || class == rollup
}

// Load reads the file at path, the environment over it, and validates the whole. An empty path means $LOOKOUT_CONFIG, and
// without that lookout.yaml in the working folder if it is there. A variable that is set to nothing counts as not set.
//
// The error is an [*Error] with every problem found. The warnings are worth showing, whether there is an error or not.
func Load(path string, env func(name string) (string, bool)) (*Config, []Warning, error) {
	r := newReader(env)
	c := &Config{}
	if path == "" {
		if v, ok := r.variable("LOOKOUT_CONFIG"); ok {
			path = v
		}
	}
	mustExist := path != ""
	if !mustExist {
		path = DefaultFile
	}
	r.source = place{file: path}
	data, err := readLimited(path, maxFile)
	switch {
	case err == nil:
		c.File, r.file = path, path
	case !mustExist && errors.Is(err, fs.ErrNotExist):
	default:
		r.failAt(r.source, "", "", &bad{message: "the configuration cannot be read: " + reason(err),
			mend: "name a file that exists and can be read with --config or LOOKOUT_CONFIG"})
		return nil, nil, r.err()
	}
	if r.read(data, c) {
		r.validate(c)
	}
	if err := r.err(); err != nil {
		return nil, r.sorted(), err
	}
	return c, r.sorted(), nil
}

// validate checks what settings say together and fills in what follows from others.
func (r *reader) validate(c *Config) {
	r.validateForward(c)
	if c.Data == "" {
		r.fail("data", "", "has no value", "name a folder")
	}
	r.validateWays(c)
	r.validatePolicy(c)
	r.validateTemplates(c)
	r.validateRules(c)
	if u := string(c.Heartbeat.URL); u != "" && !strings.HasPrefix(u, "http://") && !strings.HasPrefix(u, "https://") {
		r.fail("heartbeat.url", "", "is not an address", "write it as https://hc-ping.com/…")
	}
	r.validateProbes(c)
	r.validateRetention(&c.Retention)
	r.validateRedact(&c.Redact)
	for _, later := range [...]struct{ key, what string }{
		{"syslog", "receiving syslog"},
	} {
		if at, set := r.given(later.key); set {
			r.warn(at, later.key, later.what+" is not built yet; the setting has no effect", "")
		}
	}
}

func (r *reader) validateRedact(c *Redact) {
	names := map[string]int{}
	for i, rule := range c.Rules {
		at := fmt.Sprintf("redact.rules[%d]", i)
		r.name(at+".name", rule.Name, names, i)
		if rule.Name == "" {
			continue // which is said
		}
		if _, err := parse.NewRedactor(nil, []parse.RedactRule{parse.RedactRule(rule)}); err != nil {
			r.fail(at, "", err.Error(), "docs/redaction.md has examples")
		}
	}
}

func (r *reader) validateRetention(c *Retention) {
	known := func(at, class string) {
		if !c.Known(class) && !r.bad("retention.classes") {
			r.fail(at, class, "there is no such class", "add it to retention.classes, such as "+class+": 1y")
		}
	}
	for class := range c.Classes {
		switch at := "retention.classes." + class; {
		case class == segment.DefaultClass:
			r.fail(at, class, "the class of everything else has a setting of its own", "set retention.default")
		case !segment.ValidClass(class):
			r.fail(at, class, "is not a class's name", "use 1 to 32 of a-z, 0-9, _ and -, and begin with a letter or digit")
		}
	}
	for class := range c.ClassBytes {
		known("retention.class_bytes."+class, class)
	}
	for glob, class := range c.Services {
		at := "retention.services." + glob
		known(at, class)
		if _, err := path.Match(glob, ""); err != nil {
			r.fail(at, glob, "the name is not a glob", "use * and ? only")
		}
	}
	for i, rule := range c.Rules {
		at := fmt.Sprintf("retention.rules[%d]", i)
		r.hints(at+".query", rule.Query)
		if rule.Class != "" {
			known(at+".class", rule.Class)
		}
	}
}

// validateForward makes an agent quiet: what listens does so because somebody asked for it.
func (r *reader) validateForward(c *Config) {
	if !c.Forward.On() {
		if c.HTTP.Off() {
			r.fail("http", "off", "only an agent can be without the API", "give an address such as :7171, or set forward.url")
		}
		if at, set := r.given("forward"); set && !r.bad("forward.url") {
			r.warn(at, "forward", "without forward.url nothing is forwarded", "set it to the server's address, such as http://lookout:7171")
		}
		return
	}
	if scheme, _, _ := strings.Cut(string(c.Forward.URL), "://"); scheme != "http" && scheme != "https" {
		r.fail("forward.url", string(c.Forward.URL), "a server is reached by http or https", "write it as http://lookout:7171")
	}
	if c.Forward.Token == "" && !r.bad("forward.token", "forward.token_file") {
		r.fail("forward.token", "", "is missing", "set forward.token_file or LOOKOUT_FORWARD_TOKEN_FILE to the server's write_token")
	}
	if c.Forward.Name != "" && !validName(c.Forward.Name) {
		r.fail("forward.name", c.Forward.Name, "is not a name", "use 1 to 64 letters, digits, spaces, dots, _ and -")
	}
	for _, listen := range [...]struct {
		key string
		at  *Address
	}{{"http", &c.HTTP}, {"gelf", &c.GELF}, {"syslog", &c.Syslog}} {
		if _, set := r.given(listen.key); !set {
			*listen.at = "off"
		}
	}
	for _, key := range [...]string{"rules", "channels", "slack", "pushover", "ways", "retention"} {
		if at, set := r.given(key); set {
			r.warn(at, key, "an agent tells nobody and keeps nothing; the setting has no effect", "set it at the server")
		}
	}
}

func (r *reader) validateRules(c *Config) {
	names := map[string]int{}
	for i := range c.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		rule := &c.Rules[i]
		r.hints(at+".query", rule.Query)
		r.hints(at+".resolve", rule.Resolve)
		r.name(at+".name", rule.Name, names, i)
		r.completeRule(at, c, rule)
		r.validateMode(at, rule)
		if rule.Page && !c.Pushover.On() {
			r.warn(r.at(at+".page"), at+".page", "Pushover is not set up: nobody will be paged", "set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER")
		}
		if rule.Notify == "each" && rule.Resolve.Query != nil {
			r.fail(at+".resolve", rule.Resolve.String(), "only an incident can be resolved", "leave it out, or notify: incident")
		}
		if rule.Notify == "each" && rule.Repeat != 0 {
			r.fail(at+".repeat", rule.Repeat.String(), "only an incident is told again", "leave it out, or notify: incident")
		}
	}
	r.defaultRules(c, names)
	r.validateParents(c)
	r.validateLabels(c)

	token := c.Slack.Token != ""
	needsSlack := slices.ContainsFunc(c.Rules, func(rule Rule) bool { return slices.ContainsFunc(rule.Channels, Channel.ForSlack) })
	switch {
	case c.Forward.On():
	case !token && needsSlack:
		r.warn(r.at("slack.token"), "slack.token", "there are rules, but no token: nothing will be posted", "set slack.token_file or LOOKOUT_SLACK_TOKEN")
	case strings.HasPrefix(string(c.Slack.Token), "xapp-"):
		r.fail("slack.token", "", "is an app-level token", "set it as slack.app_token, and the bot's token (xoxb-…, under OAuth & Permissions) here")
	case strings.HasPrefix(string(c.Slack.Token), "http"):
		r.fail("slack.token", "", "is an address: lookout edits its messages, which an incoming webhook cannot", "set the bot's token (xoxb-…); docs/slack.md says how to get one")
	case c.Slack.AppToken != "" && !strings.HasPrefix(string(c.Slack.AppToken), "xapp-"):
		r.fail("slack.app_token", "", "is no app-level token: they begin with xapp-", "make one under Basic Information, App-Level Tokens, with the scope connections:write")
	case c.Slack.AppToken != "" && !token:
		r.warn(r.at("slack.app_token"), "slack.app_token", "there is no slack.token: nothing will be posted, so there are no buttons", "set slack.token_file or LOOKOUT_SLACK_TOKEN")
	case token && !needsSlack:
		r.warn(r.at("slack.token"), "slack.token", "there is a token, but neither a rule nor a channel: nothing will be posted", "set slack.channel or LOOKOUT_SLACK_CHANNEL")
	}
}

// hints warns of what a query may not mean.
func (r *reader) hints(at string, q Query) {
	if q.Query == nil {
		return // it did not parse
	}
	for _, h := range q.Hints() {
		r.warn(r.at(at), at, h.Message, h.Mend)
	}
}

// completeRule fills in the channel, and says where there is none.
func (r *reader) completeRule(at string, c *Config, rule *Rule) {
	if len(rule.Channels) > 0 {
		return
	}
	key, to := "errors", c.Channels.Errors
	rule.Routed = true
	switch {
	case rule.Notify == "each" || rule.Severity == "info":
		key, to = "events", c.Channels.Events
	case rule.Severity == "warning":
		key, to = "warnings", c.Channels.Warnings
	}
	rule.Channels = channels(cmp.Or(to, c.Slack.Channel, c.lastRoute()))
	if len(rule.Channels) == 0 && !(rule.Page && c.Pushover.On()) && !r.bad(at+".channel", "channels."+key, "slack.channel") {
		r.fail(at+".channel", "", "the rule has no channel", "set it, or channels."+key+", or slack.channel")
	}
}

// channels are one channel, or none when it is empty.
func channels(to Channel) []Channel {
	if to == "" {
		return nil
	}
	return []Channel{to}
}

func (r *reader) validateProbes(c *Config) {
	names := map[string]int{}
	for i := range c.Probes {
		at := fmt.Sprintf("probes[%d]", i)
		r.name(at+".name", c.Probes[i].Name, names, i)
		r.hints(at+".expect", c.Probes[i].Expect)
		u := string(c.Probes[i].URL)
		scheme, rest, _ := strings.Cut(u, "://")
		switch {
		case u == "" || scheme == "http" || scheme == "https":
		case scheme == "tcp":
			if _, port, err := net.SplitHostPort(rest); err != nil || port == "" {
				r.fail(at+".url", u, "has no port", "write it as tcp://host:port")
			}
		case slices.Contains([]string{"tls", "dns", "icmp", "grpc", "ws", "wss"}, scheme):
			r.fail(at+".url", u, "probing by "+scheme+" is not built yet", "use http, https or tcp")
		default:
			r.fail(at+".url", u, "a probe cannot speak "+scheme, "use http, https or tcp")
		}
		if c.Probes[i].Page && !c.Pushover.On() && !c.Forward.On() {
			r.warn(r.at(at+".page"), at+".page", "Pushover is not set up: nobody will be paged", "set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER")
		}
	}
	if (c.Pushover.Token == "") != (c.Pushover.User == "") && !r.bad("pushover.token", "pushover.token_file", "pushover.user", "pushover.user_file") {
		r.warn(r.at("pushover"), "pushover", "one of token and user is missing: nobody will be paged", "set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER")
	}
}

// name checks the name of a rule or a probe and that it is the only one.
func (r *reader) name(at, name string, names map[string]int, i int) {
	if name == "" {
		return // said already, as it is required
	}
	if !validName(name) {
		r.fail(at, name, "is not a name", "use 1 to 64 letters, digits, spaces, dots, _ and -")
		return
	}
	if name == "lookout" {
		r.fail(at, name, "the name is reserved for what lookout says about itself", "use another")
		return
	}
	if first, taken := names[name]; taken {
		list, _, _ := strings.Cut(at, "[")
		where := r.at(fmt.Sprintf("%s[%d].name", list, first))
		r.fail(at, name, "the name is taken, by "+where.String(), "names must differ")
		return
	}
	names[name] = i
}

// AllowList returns who may send without a token.
func (c *Config) AllowList() collector.AllowList {
	var texts []string
	for _, s := range c.Allow {
		texts = append(texts, s.ranges()...)
	}
	list, err := collector.ParseAllowList(texts)
	if err != nil {
		panic("config: an allow list that was valid when it was read: " + err.Error())
	}
	return list
}

// ProbePrefixes returns what probes may reach beyond what is always allowed.
func (c *Config) ProbePrefixes() []netip.Prefix {
	return prefixes(c.ProbeAllow)
}

// readLimited reads a whole file of at most limit bytes.
func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a folder")
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is longer than %d bytes", limit)
	}
	return data, err
}

// reason is an error of package os without the path, which stands beside it already.
func reason(err error) string {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
