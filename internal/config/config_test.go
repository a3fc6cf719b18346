package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const canary = "xoxb-canary-4711"

func envOf(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

// load reads text as lookout.yaml; places in errors are then lookout.yaml:LINE.
func load(t testing.TB, text string, env ...string) (*Config, []Warning, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), DefaultFile)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := Load(file, envOf(env...))
	short := func(s string) string {
		if s == file {
			return DefaultFile
		}
		return s
	}
	for i := range warnings {
		warnings[i].File = short(warnings[i].File)
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		for i := range e.Problems {
			e.Problems[i].File = short(e.Problems[i].File)
		}
	}
	return c, warnings, err
}

func texts(warnings []Warning) string {
	var all []string
	for _, w := range warnings {
		all = append(all, w.String())
	}
	return strings.Join(all, "\n")
}

func joined(channels []Channel) string {
	var names []string
	for _, c := range channels {
		names = append(names, string(c))
	}
	return strings.Join(names, " ")
}

func TestExample(t *testing.T) {
	data, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := load(t, string(data), "LOOKOUT_SLACK_TOKEN", canary, "LOOKOUT_PUSHOVER_TOKEN", "p", "LOOKOUT_PUSHOVER_USER", "u")
	if err != nil {
		t.Fatal(err)
	}
	type rule struct {
		Name, Query  string
		Channels     string
		Severity     Severity
		Mode, Notify string
		Expected     int
		Page         bool
		Default      bool
	}
	var got []rule
	for _, r := range c.Rules {
		got = append(got, rule{r.Name, r.Query.String(), joined(r.Channels), r.Severity, r.Mode, r.Notify, len(r.Expect), r.Page, r.Default})
	}
	want := []rule{
		{"shipped", `"order shipped" env:prod`, "#shop", "", "match", "each", 0, false, false},
		{"payments", `level>=error service:pay*`, "#payments", "", "match", "incident", 0, false, false},
		{"kernel", `host:db* stream:syslog`, "#ops-errors", "", "unexpected", "incident", 2, false, false},
		{"errors", `level>=error -stream:(docker, probe, alertmanager)`, "#ops-errors", "", "match", "incident", 0, false, true},
		{"warnings", `level:warning -stream:(docker, probe, alertmanager)`, "#ops-warnings", "", "match", "incident", 0, false, true},
		{"problems", `level>=warning -stream:(docker, probe, alertmanager)`, "#ops-errors", "error", "spike", "incident", 0, false, true},
		{"silent", `service:* -stream:(docker, probe, alertmanager)`, "#ops-warnings", "warning", "absent", "incident", 0, false, true},
		{"containers", `stream:docker level>=warning`, "#ops-errors", "", "match", "incident", 0, false, true},
		{"alertmanager", `stream:alertmanager status:firing`, "#ops-errors", "", "match", "incident", 0, false, true},
		{"pages", `stream:probe change:down page:true`, "#ops-errors", "critical", "match", "incident", 0, true, true},
		{"probes", `stream:probe change:down -page:true`, "#ops-errors", "critical", "match", "incident", 0, false, true},
		{"certificates", `stream:probe cert_days<14`, "#ops-warnings", "warning", "match", "incident", 0, false, true},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	p := c.Probes[0]
	if p.Name != "sales" || p.URL != "http://sales:8080/status" || p.Every != Duration(30*time.Second) || !p.Page || p.Expect.String() != "status:200..299 duration<500ms" {
		t.Errorf("probe %+v", p)
	}
	if d := cmp.Diff(Retention{Default: 30 * 24 * Duration(time.Hour), MaxBytes: 200e9, Classes: map[string]Duration{"audit": Duration(365 * 24 * time.Hour)},
		Services: map[string]string{"pay*": "audit"}}, c.Retention); d != "" {
		t.Error(d)
	}
	if len(warnings) != 0 {
		t.Errorf("%d warnings:\n%s", len(warnings), texts(warnings))
	}
}

// An entry of expect is a query, or a query with what is known about it.
func TestExpect(t *testing.T) {
	c, _, err := load(t, "slack: {token: x}\nrules:\n- name: a\n  query: host:db1\n  channel: C1\n  mode: unexpected\n  expect:\n  - CRON\n"+
		"  - {query: level:debug, author: ann, reason: noise, expires: 2027-01-31}\n  - {query: z, expires: '2027-01-31T18:00:00+01:00'}")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range c.Rules[0].Expect {
		got = append(got, fmt.Sprint(x.Query.String(), x.Author, x.Reason, x.Expires.UTC().Format(time.RFC3339)))
	}
	want := []string{"CRON0001-01-01T00:00:00Z", "level:debugannnoise2027-01-31T00:00:00Z", "z2027-01-31T17:00:00Z"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestDefaults(t *testing.T) {
	t.Chdir(t.TempDir())
	c, warnings, err := Load("", envOf())
	if err != nil || len(warnings) != 0 {
		t.Fatal(err, warnings)
	}
	want := &Config{
		Data: "./lookout-data", HTTP: ":7171", GELF: ":12201", Syslog: ":1514", Allow: []Source{"private"},
		Limits:    Limits{Body: 64 << 20, Searches: 4, Queue: 16, QueryTimeout: Duration(time.Minute), QueryScan: 100e9, QueryMemory: 128 << 20, Tails: 100},
		Forward:   Forward{MaxBytes: 1 << 30},
		Slack:     Slack{API: "https://slack.com/api/"},
		Pushover:  Pushover{API: "https://api.pushover.net/1/"},
		Heartbeat: Heartbeat{Every: Duration(time.Minute)},
		Retention: Retention{Default: Duration(30 * 24 * time.Hour)},
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
}

func TestWhichFile(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{DefaultFile: "data: found", "other.yaml": "data: named"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ path, env, want string }{
		{"", "", "found"},
		{"", "other.yaml", "named"},
		{"other.yaml", "missing.yaml", "named"},
		{"", "missing.yaml", "missing.yaml: the configuration cannot be read: no such file or directory; name a file"},
		{".", "", ".: the configuration cannot be read: it is a folder"},
	} {
		got, _, err := Load(c.path, envOf("LOOKOUT_CONFIG", c.env))
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c, err)
			}
		} else if got.Data != c.want || got.File == "" {
			t.Errorf("%+v: data %q of file %q", c, got.Data, got.File)
		}
	}
}

// The names that others build on.
func TestBindingVariables(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(canary+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, value string
		got         func(*Config) any
		want        any
	}{
		{"LOOKOUT_DATA", "/d", func(c *Config) any { return c.Data }, "/d"},
		{"LOOKOUT_HTTP", ":0", func(c *Config) any { return c.HTTP }, Address(":0")},
		{"LOOKOUT_GELF", "127.0.0.1:1", func(c *Config) any { return c.GELF }, Address("127.0.0.1:1")},
		{"LOOKOUT_GELF", "off", func(c *Config) any { return c.GELF.Off() }, true},
		{"LOOKOUT_SYSLOG", "off", func(c *Config) any { return c.Syslog.Off() }, true},
		{"LOOKOUT_DOCKER", "off", func(c *Config) any { return c.Docker }, DockerAddress("off")},
		{"LOOKOUT_DOCKER", "unix:///run/docker.sock", func(c *Config) any { return c.Docker }, DockerAddress("unix:///run/docker.sock")},
		{"LOOKOUT_SLACK_TOKEN", canary, func(c *Config) any { return string(c.Slack.Token) }, canary},
		{"LOOKOUT_SLACK_TOKEN_FILE", secret, func(c *Config) any { return string(c.Slack.Token) }, canary},
		{"LOOKOUT_SLACK_CHANNEL", "#ops", func(c *Config) any { return c.Slack.Channel }, Channel("#ops")},
		{"LOOKOUT_SLACK_API", "http://127.0.0.1:9/api/", func(c *Config) any { return c.Slack.API }, URL("http://127.0.0.1:9/api/")},
		{"LOOKOUT_PUSHOVER_TOKEN", canary, func(c *Config) any { return string(c.Pushover.Token) }, canary},
		{"LOOKOUT_PUSHOVER_TOKEN_FILE", secret, func(c *Config) any { return string(c.Pushover.Token) }, canary},
		{"LOOKOUT_PUSHOVER_USER", canary, func(c *Config) any { return string(c.Pushover.User) }, canary},
		{"LOOKOUT_PUSHOVER_USER_FILE", secret, func(c *Config) any { return string(c.Pushover.User) }, canary},
		{"LOOKOUT_PUSHOVER_API", "http://127.0.0.1:9/", func(c *Config) any { return c.Pushover.API }, URL("http://127.0.0.1:9/")},
		{"LOOKOUT_LIMITS_QUERY_TIMEOUT", "5m", func(c *Config) any { return c.Limits.QueryTimeout }, Duration(5 * time.Minute)},
		{"LOOKOUT_ALLOW", "192.0.2.7, 10.0.0.0/8", func(c *Config) any { return c.AllowList().String() }, "192.0.2.7/32, 10.0.0.0/8"},
		{"LOOKOUT_CHANNELS_EVENTS", "C024BE91L", func(c *Config) any { return c.Channels.Events }, Channel("C024BE91L")},
		{"LOOKOUT_RULES", `[{name: a, query: "x", channel: "#c"}]`, func(c *Config) any { return c.Rules[0].Name }, "a"},
		{"LOOKOUT_RULES", `[{name: a, query: "x", channel: ["#c", pushover]}]`, func(c *Config) any { return joined(c.Rules[0].Channels) }, "#c pushover"},
		{"LOOKOUT_RETENTION_CLASSES", `{audit: 1y}`, func(c *Config) any { return c.Retention.Classes["audit"] }, Duration(365 * 24 * time.Hour)},
		{"LOOKOUT_DATA", "", func(c *Config) any { return c.Data }, "file"}, // set to nothing: not set
	} {
		// The file says something else throughout: the variable counts.
		got, _, err := load(t, "data: file\nslack: {token: in-file}\nallow: [203.0.113.1]\nrules: [{name: f, query: f, channel: C2}]\n", c.name, c.value)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if got := c.got(got); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s=%s: %v, want %v", c.name, c.value, got, c.want)
		}
	}
}

func TestDefaultRules(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"slack: {channel: '#ops'}", "errors>#ops new>#ops problems>#ops silent>#ops containers>#ops alertmanager>#ops probes>#ops certificates>#ops"},
		{"slack: {channel: '#ops'}\nchannels: {warnings: '#w'}", "warnings>#w silent>#w containers>#ops alertmanager>#ops probes>#ops certificates>#w"},
		{"channels: {errors: '#e', warnings: '#w'}", "errors>#e warnings>#w problems>#e silent>#w containers>#e alertmanager>#e probes>#e certificates>#w"},
		{"channels: {errors: '#e'}\nrules: [{name: errors, query: panic, channel: '#p'}]", "errors>#p new>#e problems>#e silent>#e containers>#e alertmanager>#e probes>#e certificates>#e"},
		{"slack: {channel: '#ops'}\nrules: [{name: a, query: x, channel: ['#a', pushover, C1]}, {name: b, query: x, channel: ['#b']}, {name: c, query: x, channel: []}]", "a>#a pushover C1 b>#b c>#ops silent>#ops containers>#ops alertmanager>#ops probes>#ops certificates>#ops"},
		{"slack: {channel: '#ops'}\nrules: [{name: a, query: x}]", "a>#ops silent>#ops containers>#ops alertmanager>#ops probes>#ops certificates>#ops"},
		{"slack: {channel: '#ops'}\nchannels: {events: '#ev'}\nrules: [{name: a, query: x, notify: each}, {name: b, query: x}, {name: c, query: x, severity: info}]", "a>#ev b>#ops c>#ev silent>#ops containers>#ops alertmanager>#ops probes>#ops certificates>#ops"},
		{"channels: {errors: '#e', warnings: '#w'}\nrules: [{name: a, query: x, severity: warning}, {name: b, query: x, severity: critical}]", "a>#w b>#e errors>#e warnings>#w problems>#e silent>#w containers>#e alertmanager>#e probes>#e certificates>#w"},
	} {
		got, _, err := load(t, c.text, "LOOKOUT_SLACK_TOKEN", canary)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var rules []string
		for _, r := range got.Rules {
			rules = append(rules, r.Name+">"+joined(r.Channels))
		}
		if s := strings.Join(rules, " "); s != c.want {
			t.Errorf("%s: rules %q, want %q", c.text, s, c.want)
		}
	}
}

func TestErrors(t *testing.T) {
	secrets := t.TempDir()
	for name, text := range map[string]string{"empty": "\n", "two": canary + "\n" + canary + "\n"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		text string
		env  []string
		want string // the whole message, SECRETS for the folder
	}{
		{"htpp: x", nil, `lookout.yaml:1: htpp: there is no such setting; did you mean http?`},
		{"\nslack:\n  tokn: " + canary, nil, `lookout.yaml:3: slack.tokn: there is no such setting; did you mean token?`},
		{"slack: {token_fil: x}", nil, `lookout.yaml:1: slack.token_fil: there is no such setting; did you mean token_file?`},
		{"slack: {zzz: x}", nil, `lookout.yaml:1: slack.zzz: there is no such setting; there are token, token_file, app_token, app_token_file, channel, api`},
		{"rules:\n- name: a\n  qeury: x\n  channel: C1", nil, "lookout.yaml:2: rules[0].query: is missing; add query: …\n" +
			"lookout.yaml:3: rules[0].qeury: there is no such setting; did you mean query?"},
		{"data: a\ndata: b", nil, `lookout.yaml:2: data: stands here twice, first in line 1; keep one of them`},
		{"http: 7171", nil, `lookout.yaml:1: http: "7171": is not an address to listen on; write it as :7171`},
		{"http: off", nil, `lookout.yaml:1: http: "off": only an agent can be without the API; give an address such as :7171, or set forward.url`},
		{"gelf: localhost", nil, `lookout.yaml:1: gelf: "localhost": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{"gelf: ':65536'", nil, `lookout.yaml:1: gelf: ":65536": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{"gelf: ':http'", nil, `lookout.yaml:1: gelf: ":http": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{"gelf: http://x:80", nil, `lookout.yaml:1: gelf: "http://x:80": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{"docker: /var/run/docker.sock", nil, `lookout.yaml:1: docker: "/var/run/docker.sock": is not the address of a Docker socket; write it as unix:///var/run/docker.sock or tcp://host:port, or off`},
		{"allow: [10.0.0.1/8]", nil, `lookout.yaml:1: allow[0]: "10.0.0.1/8": bits are set behind the range's 8; did you mean 10.0.0.0/8?; private means loopback and private ranges`},
		{"limits: {body: 12XB}", nil, `lookout.yaml:1: limits.body: "12XB": is not a size; write it as 200GB, 64MiB or a number of bytes`},
		{"limits: {body: 1}", nil, `lookout.yaml:1: limits.body: "1": is too small; the least is 1KiB`},
		{"limits: {body: 2GiB}", nil, `lookout.yaml:1: limits.body: "2GiB": is too much; the most is 1GiB`},
		{"limits: {searches: 1.5}", nil, `lookout.yaml:1: limits.searches: "1.5": is not a whole number; write digits only`},
		{"limits: {searches: 0}", nil, `lookout.yaml:1: limits.searches: "0": is too small; the least is 1`},
		{"limits: {query_timeout: 5}", nil, `lookout.yaml:1: limits.query_timeout: "5": is not a length of time; write it as 30s, 1h30m, 30d or 1y`},
		{"limits: [1]", nil, `lookout.yaml:1: limits: settings belong here, this is a list; write them below it, indented, each as key: value`},
		{"slack: " + canary, nil, `lookout.yaml:1: slack: settings belong here, this is a text; write them below it, indented, each as key: value`},
		{"just text", nil, `lookout.yaml:1: settings belong here, this is a text; write them below it, indented, each as key: value`},
		{"slack: {channel: a b}", nil, `lookout.yaml:1: slack.channel: "a b": is not a channel; write it as "#ops" or as an id such as C024BE91L`},
		{"channels:\n  errors: #ops", nil, `lookout.yaml:2: channels.errors: has no value; a # begins a comment; put the channel into quotes: "#ops"`},
		{"channels:\n  errors: [a]", nil, `lookout.yaml:2: channels.errors: a text belongs here, this is a list; put a text that has [ or { in it into quotes`},
		{"slack: {api: slack.com}", nil, `lookout.yaml:1: slack.api: "slack.com": is not an absolute URL; write it as https://host/path`},
		{"slack: {api: 'https://u:p@slack.com'}", nil, `lookout.yaml:1: slack.api: "https://u:p@slack.com": has a password or a user in it, which would be shown; take it out of the address`},
		{"slack: {token: a b}", nil, `lookout.yaml:1: slack.token: is not one word; give the secret itself, in one line, without spaces`},
		{"slack: {token: a, token_file: SECRETS/b}", nil, "lookout.yaml:1: slack.token: there is token and token_file; keep one of them\n" +
			"lookout.yaml:1: slack.token_file: \"SECRETS/b\": cannot be read: no such file or directory; name a file that lookout's user can read"},
		{"slack: {token_file: SECRETS/empty}", nil, `lookout.yaml:1: slack.token_file: "SECRETS/empty": the file's content is empty; give the secret itself, in one line`},
		{"slack: {token_file: SECRETS/two}", nil, `lookout.yaml:1: slack.token_file: "SECRETS/two": the file's content is not one word; give the secret itself, in one line, without spaces`},
		{"rules: [{name: a, query: foo|, channel: C1}]", nil, "lookout.yaml:1: rules[0].query: QUERYERROR"},
		{"rules:\n- name: a\n  query: !healthz\n  channel: C1", nil, `lookout.yaml:3: rules[0].query: begins with !, which means something else to YAML; put the text into quotes: '!…'`},
		{"rules: [{name: a|b, query: x, channel: C1}]", nil, `lookout.yaml:1: rules[0].name: "a|b": is not a name; use 1 to 64 letters, digits, spaces, dots, _ and -`},
		{"rules: [{name: lookout, query: x, channel: C1}]", nil, `lookout.yaml:1: rules[0].name: "lookout": the name is reserved for what lookout says about itself; use another`},
		{"rules:\n- {name: a, query: x, channel: C1}\n- {name: a, query: y, channel: C1}", nil, `lookout.yaml:3: rules[1].name: "a": the name is taken, by FILE:2; names must differ`},
		{"rules: [{name: a, query: x}]", nil, `lookout.yaml:1: rules[0].channel: the rule has no channel; set it, or channels.errors, or slack.channel`},
		{"rules: [{name: a, query: x, notify: each}]", nil, `lookout.yaml:1: rules[0].channel: the rule has no channel; set it, or channels.events, or slack.channel`},
		{"rules: [{name: a, query: x, channel: a b}]", nil, `lookout.yaml:1: rules[0].channel: "a b": is not a channel; write it as "#ops" or as an id such as C024BE91L`},
		{"rules: [{name: a, query: x, channel: ['#a', a b, '#a', pager]}]", nil, `lookout.yaml:1: rules[0].channel[1]: "a b": is not a channel; write it as "#ops" or as an id such as C024BE91L` + "\n" +
			`lookout.yaml:1: rules[0].channel[2]: "#a": the channel is there twice; take it out here` + "\n" +
			`lookout.yaml:1: rules[0].channel[3]: "pager": there is no way out of this name; write a channel of Slack as "#pager", or add ways.pager`},
		{"rules: [{name: a, query: x, channel: pager}]", nil, `lookout.yaml:1: rules[0].channel: "pager": there is no way out of this name; write a channel of Slack as "#pager", or add ways.pager`},
		{"rules: [{name: a, query: x, channel: {to: '#a'}}]", nil, `lookout.yaml:1: rules[0].channel: a list belongs here, this is a mapping; begin each entry with -`},
		{"rules:\n- name: a\n  query: x\n  channel: #ops", nil, `lookout.yaml:4: rules[0].channel: has no value; a # begins a comment; put the channel into quotes: "#ops"`},
		{"routes:\n- channel: #ops", nil, `lookout.yaml:2: routes[0].channel: has no value; a # begins a comment; put the channel into quotes: "#ops"`},
		{"rules: [{name: a, query: x, channel: C1, mode: mach}]", nil, `lookout.yaml:1: rules[0].mode: "mach": is not one of its values; did you mean match?`},
		{"rules: [{name: a, query: x, channel: C1, notify: often}]", nil, `lookout.yaml:1: rules[0].notify: "often": is not one of its values; use incident, each`},
		{"rules: [{name: a, query: x, channel: C1, severity: bad}]", nil, `lookout.yaml:1: rules[0].severity: "bad": is not a severity; use critical, error, warning or info`},
		{"rules: [{name: a, query: x, channel: C1, expect: [y]}]", nil, `lookout.yaml:1: rules[0].expect: only mode: unexpected has expect; add mode: unexpected, or leave expect out`},
		{"rules: [{name: a, query: x, channel: C1, mode: unexpected}]", nil, `lookout.yaml:1: rules[0].mode: "unexpected": without an expect list every event would be unexpected; add expect: ["a query", …]`},
		{"rules: [{name: a, query: x, channel: C1, mode: unexpected, expect: 'foo|'}]", nil, `lookout.yaml:1: rules[0].expect: QUERYERROR`},
		{"rules: [{name: a, query: x, channel: C1, mode: unexpected, expect: [{author: me, expires: soon}]}]", nil, "lookout.yaml:1: rules[0].expect[0].expires: \"soon\": is not a day; write it as 2027-01-31, or with the time as 2027-01-31T18:00:00Z\n" +
			"lookout.yaml:1: rules[0].expect[0].query: is missing; add query: …"},
		{"rules: [{name: a, query: x, channel: C1, mode: rate}]", nil, `lookout.yaml:1: rules[0].mode: "rate": says neither above nor below what; add above: 100, or below: 1`},
		{"rules: [{name: a, query: x, channel: C1, mode: rate, above: 0}]", nil, `lookout.yaml:1: rules[0].above: "0": is too small; the least is 1`},
		{"rules: [{name: a, query: x, channel: C1, mode: rate, above: 5, below: 6, window: 1s, by: [service, id, service]}]", nil, "lookout.yaml:1: rules[0].below: \"6\": is more than above, 5: some rates would be both; give below the smaller number\n" +
			"lookout.yaml:1: rules[0].by[1]: \"id\": is not a field to count by; name fields such as service, env, host, container, level, or a field of your events such as status\n" +
			"lookout.yaml:1: rules[0].by[2]: \"service\": is there twice; leave one out\n" +
			"lookout.yaml:1: rules[0].window: \"1s\": is too small; the least is 10s"},
		{"rules: [{name: a, query: x, channel: C1, mode: spike, after: 5m, above: 3}]", nil, "lookout.yaml:1: rules[0].above: only mode: rate has above; add mode: rate, or leave above out\n" +
			"lookout.yaml:1: rules[0].after: only mode: absent has after; add mode: absent, or leave after out"},
		{"rules: [{name: a, query: x, channel: C1, window: 5m, by: host}]", nil, "lookout.yaml:1: rules[0].by: only mode: rate, spike, absent has by; add mode: rate, or leave by out\n" +
			"lookout.yaml:1: rules[0].window: only mode: rate, spike has window; add mode: rate, or leave window out"},
		{"rules: [{name: a, query: x, channel: C1, mode: absent, resolve: y}]", nil, "lookout.yaml:1: rules[0].resolve: \"y\": mode: absent knows by itself when it is over; leave it out"},
		{"rules: [{name: a, query: x, channel: C1, mode: absent, notify: each}]", nil, `lookout.yaml:1: rules[0].notify: "each": mode: absent tells of a state, not of events; leave notify out`},
		{"rules: {a: b}", nil, `lookout.yaml:1: rules: a list belongs here, this is a mapping; begin each entry with -`},
		{"probes: [{name: a, url: 'ftp://x'}]", nil, `lookout.yaml:1: probes[0].url: "ftp://x": a probe cannot speak ftp; use http, https or tcp`},
		{"probes: [{name: a, url: 'grpc://x:1'}, {name: b, url: 'tcp://x'}, {name: c, url: 'tcp://x:22', method: FETCH}]", nil, "lookout.yaml:1: probes[0].url: \"grpc://x:1\": probing by grpc is not built yet; use http, https or tcp\n" +
			"lookout.yaml:1: probes[1].url: \"tcp://x\": has no port; write it as tcp://host:port\n" +
			"lookout.yaml:1: probes[2].method: \"FETCH\": is not one of its values; use GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"},
		{"probe_allow: [169.254.0.0/16, 10.1.1, fe80::1%e]", nil, "lookout.yaml:1: probe_allow[1]: \"10.1.1\": is neither an address nor a range; write it as 169.254.7.0/24\n" +
			"lookout.yaml:1: probe_allow[2]: \"fe80::1%e\": is neither an address nor a range; write it as 169.254.7.0/24"},
		{"forward: {url: 'http://s:7171'}", nil, "lookout.yaml:1: forward.token: is missing; set forward.token_file or LOOKOUT_FORWARD_TOKEN_FILE to the server's write_token"},
		{"forward: {url: 'udp://s:7171', token: x, name: a/b}", nil, "lookout.yaml:1: forward.name: \"a/b\": is not a name; use 1 to 64 letters, digits, spaces, dots, _ and -\n" +
			"lookout.yaml:1: forward.url: \"udp://s:7171\": a server is reached by http or https; write it as http://lookout:7171"},
		{"rules: [{name: a, query: x, channel: C1, notify: each, resolve: y}]", nil, `lookout.yaml:1: rules[0].resolve: "y": only an incident can be resolved; leave it out, or notify: incident`},
		{"rules: [{name: a, query: x, channel: C1, notify: each, repeat: 4h}]", nil, `lookout.yaml:1: rules[0].repeat: "4h": only an incident is told again; leave it out, or notify: incident`},
		{"rules: [{name: a, query: x, channel: C1, repeat: 1m}]", nil, `lookout.yaml:1: rules[0].repeat: "1m": is too small; the least is 5m`},
		{"probes: [{name: a, url: 'http://x', every: 10ms, page: maybe}]", nil, "lookout.yaml:1: probes[0].every: \"10ms\": is too small; the least is 1s\n" +
			`lookout.yaml:1: probes[0].page: "maybe": is neither true nor false; write true or false`},
		{"retention: {classes: {audit: 1m}}", nil, `lookout.yaml:1: retention.classes.audit: "1m": is too small; the least is 1h`},
		{"retention: {services: {pay: audit}}", nil, `lookout.yaml:1: retention.services.pay: "audit": there is no such class; add it to retention.classes, such as audit: 1y`},
		{"retention: {services: {'[': default}}", nil, `lookout.yaml:1: retention.services.[: "[": the name is not a glob; use * and ? only`},
		{"retention: {classes: {default: 1y, Audit: 1y}}", nil, "lookout.yaml:1: retention.classes.Audit: \"Audit\": is not a class's name; use 1 to 32 of a-z, 0-9, _ and -, and begin with a letter or digit\n" +
			`lookout.yaml:1: retention.classes.default: "default": the class of everything else has a setting of its own; set retention.default`},
		{"retention: {class_bytes: {audit: 50GB, rollup: 1, default: 1GB}}", nil, "lookout.yaml:1: retention.class_bytes.audit: \"audit\": there is no such class; add it to retention.classes, such as audit: 1y\n" +
			`lookout.yaml:1: retention.class_bytes.rollup: "1": is too small; the least is 1MiB`},
		{"retention: {max_bytes: 1MB}", nil, `lookout.yaml:1: retention.max_bytes: "1MB": is too small; the least is 64MiB`},
		{"redact: {use: [emial]}", nil, `lookout.yaml:1: redact.use[0]: "emial": is not one of its values; did you mean email?`},
		{"redact: {rules: [{name: a, regex: '('}, {name: c, regex: b, field: c}, {name: b, regex: 'x*'}]}", nil,
			"lookout.yaml:1: redact.rules[0]: rule \"a\": not a regular expression: error parsing regexp: missing closing ): `(`; docs/redaction.md has examples\n" +
				"lookout.yaml:1: redact.rules[1]: rule \"c\": give either a regex or a field; docs/redaction.md has examples\n" +
				"lookout.yaml:1: redact.rules[2]: rule \"b\": the regex matches nothing at all, everywhere; let it match at least one character; docs/redaction.md has examples"},
		{"retention: {rules: [{query: 'level>=error', class: audit}, {query: 'a'}, {class: rollup}]}", nil, "lookout.yaml:1: retention.rules[0].class: \"audit\": there is no such class; add it to retention.classes, such as audit: 1y\n" +
			"lookout.yaml:1: retention.rules[1].class: is missing; add class: …\nlookout.yaml:1: retention.rules[2].query: is missing; add query: …"},
		{"? [a]\n: b", nil, `lookout.yaml:1: a key is a list; a key is a word`},
		{"data: a\n---\ndata: b", nil, `lookout.yaml:2: a second document begins; put all settings into one document, without ---`},
		{"a: b: c", nil, "lookout.yaml:1: is not YAML: mapping values are not allowed in this context; look at this line and those beside it; a value with : # * & ! % @ ` { or [ goes into quotes"},
		// YAML says line 2.
		{"slack: {channel: C1}\nrules:\n  - name: a\n    query: \"order shipped\" env:prod\n", nil, `lookout.yaml:4: is not YAML: the value begins with " and goes on behind the next one; put the whole into '…', with each ' in it written twice: query: '"order shipped" env:prod'`},
		{"rules:\n  - name: 'a' b\n", nil, `lookout.yaml:2: is not YAML: the value begins with ' and goes on behind the next one; put the whole into '…', with each ' in it written twice: query: '"order shipped" env:prod'`},
		{"http: ':7171'   # x\na: b: c", nil, "lookout.yaml:2: is not YAML: mapping values are not allowed in this context; look at this line and those beside it; a value with : # * & ! % @ ` { or [ goes into quotes"},
		{"slack: {token: 'https://hooks.slack.com/services/T/B/x', channel: C1}", nil, "lookout.yaml:1: slack.token: is an address: lookout edits its messages, which an incoming webhook cannot; set the bot's token (xoxb-…); docs/slack.md says how to get one"},
		{"data: *" + canary, nil, "lookout.yaml: is not YAML: a value begins with * and is no alias; look at this line and those beside it; a value with : # * & ! % @ ` { or [ goes into quotes"},
		{"http: " + canary, nil, `lookout.yaml:1: http: "[redacted]": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{canary + ": x", nil, `lookout.yaml:1: [redacted]: there is no such setting; there are data, http, gelf, syslog, docker, allow, base_url, write_token, write_token_file, redact, limits, forward, slack, channels, rules, routes, maintenance, quiet_hours, templates, channel_templates, probes, probe_allow, pushover, ways, heartbeat, retention, backup`},
		{"", []string{"LOOKOUT_HTTP", "x"}, `LOOKOUT_HTTP: http: "x": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`},
		{"", []string{"LOOKOUT_ALLOW", "private,x"}, `LOOKOUT_ALLOW: allow: "private,x": neither an address nor a range; write it as 10.1.2.3 or 10.0.0.0/8; private means loopback and private ranges`},
		{"", []string{"LOOKOUT_RULES", "[{name: a,\nquery: x, channel: a b}]"}, `LOOKOUT_RULES, line 2: rules[0].channel: "a b": is not a channel; write it as "#ops" or as an id such as C024BE91L`},
		{"", []string{"LOOKOUT_SLACK_TOKEN", "a", "LOOKOUT_SLACK_TOKEN_FILE", "b"}, `LOOKOUT_SLACK_TOKEN: slack.token: LOOKOUT_SLACK_TOKEN and LOOKOUT_SLACK_TOKEN_FILE are both set; keep one of them`},
		{"", []string{"LOOKOUT_SLACK_TOKEN_FILE", "missing"}, `LOOKOUT_SLACK_TOKEN_FILE: slack.token_file: "missing": cannot be read: no such file or directory; name a file that lookout's user can read`},
		// All at once, in the order of the file, variables last.
		{"http: x\nrules:\n- {name: a, query: x}\nzzz: 1\n", []string{"LOOKOUT_GELF", "y"}, strings.Join([]string{
			`lookout.yaml:1: http: "x": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`,
			`lookout.yaml:3: rules[0].channel: the rule has no channel; set it, or channels.errors, or slack.channel`,
			`lookout.yaml:4: zzz: there is no such setting; there are data, http, gelf, syslog, docker, allow, base_url, write_token, write_token_file, redact, limits, forward, slack, channels, rules, routes, maintenance, quiet_hours, templates, channel_templates, probes, probe_allow, pushover, ways, heartbeat, retention, backup`,
			`LOOKOUT_GELF: gelf: "y": is not an address to listen on; write it as :7171 or 127.0.0.1:7171; :0 picks a port`}, "\n")},
	} {
		_, _, err := load(t, strings.ReplaceAll(c.text, "SECRETS", secrets), c.env...)
		if err == nil {
			t.Errorf("%s: no error, want %s", c.text, c.want)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error has the secret: %v", c.text, err)
		}
		got := strings.ReplaceAll(err.Error(), secrets, "SECRETS")
		if head, _, cut := strings.Cut(c.want, "QUERYERROR"); cut {
			var query Query
			problem := query.set("foo|").(*bad)
			c.want = head + problem.message + "; " + problem.mend + "\n    " + strings.ReplaceAll(strings.TrimSuffix(problem.detail, "\n"), "\n", "\n    ")
			if !strings.Contains(c.want, "    foo|\n       ^") {
				t.Errorf("no caret under the place:\n%s", c.want)
			}
		}
		if i := strings.Index(got, "by /"); i >= 0 {
			got = got[:i] + "by FILE" + got[strings.Index(got, DefaultFile+":2")+len(DefaultFile):]
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestWarnings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		mode fs.FileMode // of the file that holds the secret
		env  []string
		want string
	}{
		{"syslog: off", 0o600, nil, "lookout.yaml:1: syslog: receiving syslog is not built yet; the setting has no effect"},
		{"forward: {name: a}", 0o600, nil, "lookout.yaml:1: forward: without forward.url nothing is forwarded; set it to the server's address, such as http://lookout:7171"},
		{"forward: {url: 'http://s', token_file: FILE}\nslack: {channel: C1}\nrules: [{name: a, query: x}]", 0o600, nil,
			"lookout.yaml:2: slack: an agent tells nobody and keeps nothing; the setting has no effect; set it at the server\n" +
				"lookout.yaml:3: rules: an agent tells nobody and keeps nothing; the setting has no effect; set it at the server"},
		{"probes: [{name: a, url: 'http://x'}]", 0o600, nil,
			"lookout.yaml:1: probes: nobody is told when one fails; set slack.channel or LOOKOUT_SLACK_CHANNEL with slack.token, or pushover and page: true"},
		{"slack: {token_file: FILE, channel: C1}\npushover: {user_file: FILE}\nprobes: [{name: a, url: 'http://x', page: true}]", 0o600, nil,
			"lookout.yaml:2: pushover: one of token and user is missing: nobody will be paged; set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER\n" +
				"lookout.yaml:3: probes[0].page: Pushover is not set up: nobody will be paged; set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER"},
		{"channels: {errors: '#e'}", 0o600, nil, "lookout.yaml: slack.token: there are rules, but no token: nothing will be posted; set slack.token_file or LOOKOUT_SLACK_TOKEN"},
		{"", 0o600, []string{"LOOKOUT_SLACK_TOKEN", canary}, "LOOKOUT_SLACK_TOKEN: slack.token: there is a token, but neither a rule nor a channel: nothing will be posted; set slack.channel or LOOKOUT_SLACK_CHANNEL"},
		{"slack: {token_file: FILE, channel: C1}\nrules:\n- name: a\n  query: timeo*\n  mode: unexpected\n  expect: [x, y*]", 0o600, nil,
			"lookout.yaml:4: rules[0].query: HINT\nlookout.yaml:6: rules[0].expect[1]: HINT"},
		{"slack: {token_file: FILE, channel: C1}", 0o600, nil, ""},
		{"slack: {token_file: FILE, channel: C1}\nchannels: {errors: pushover}\nrules: [{name: a, query: x, channel: [C1, pushover]}]", 0o600, nil,
			"lookout.yaml:2: channels.errors: Pushover is not set up: nobody will be told; set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER\n" +
				"lookout.yaml:3: rules[0].channel[1]: Pushover is not set up: nobody will be told; set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER"},
		{"slack: {token_file: FILE, channel: C1}\nroutes:\n- {match: 'servise=a', channel: C1}\n- {match: 'severity=fatal', channel: C1}\n- {match: 'severity>=error', channel: C1}\n" +
			"- {match: 'rule=error', channel: C1}\n- {match: 'rule=nothing,team=a,status=500,cluster=eu,severity=~x', channel: C1}\nrules: [{name: a, query: x, labels: {team: a, host: b}, mode: rate, above: 1, by: status}]", 0o600, nil,
			`lookout.yaml:3: routes[0].match: no alert of lookout's has a label "servise"; did you mean service?` + "\n" +
				`lookout.yaml:4: routes[1].match: no alert has the severity "fatal"; use critical, error, warning, info` + "\n" +
				`lookout.yaml:5: routes[2].match: no alert of lookout's has a label "severity>"; did you mean severity?` + "\n" +
				`lookout.yaml:6: routes[3].match: no alert has the rule "error"; ` + "`lookout rule list` has those that are in force\n" +
				`lookout.yaml:7: routes[4].match: no alert has the rule "nothing"; ` + "`lookout rule list` has those that are in force\n" +
				`lookout.yaml:8: rules[0].labels.host: every alert has a label of this name, which wins over the rule's; use another name`},
		{"slack: {token_file: FILE, channel: C1}\nmaintenance: [{name: m, match: 'rule=errosr', from: '01:00', to: '02:00'}]\nquiet_hours: [{name: q, match: 'serverity=error', from: '01:00', to: '02:00'}]", 0o600, nil,
			`lookout.yaml:2: maintenance[0].match: no alert has the rule "errosr"; did you mean errors?` + "\n" +
				`lookout.yaml:3: quiet_hours[0].match: no alert of lookout's has a label "serverity"; did you mean severity?`},
		{"slack: {token_file: FILE, channel: C1}", 0o640, nil, ""},
		{"slack: {token_file: FILE, channel: C1}", 0o644, nil, "lookout.yaml:1: slack.token_file: every user of this machine can read FILE; chmod o-r it"},
		{"slack: {token_file: FILE, channel: C1}", 0o644, []string{"LOOKOUT_SLACK_TOKEN", canary}, ""}, // not read
	} {
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"timeo*", "y*"} {
			var q Query
			if err := q.set(text); err != nil || len(q.Hints()) != 1 {
				t.Fatal(text, err)
			}
			c.want = strings.Replace(c.want, "HINT", q.Hints()[0].Message+"; "+q.Hints()[0].Mend, 1)
		}
		_, warnings, err := load(t, strings.ReplaceAll(c.text, "FILE", file), c.env...)
		if got := strings.ReplaceAll(texts(warnings), file, "FILE"); err != nil || got != c.want {
			t.Errorf("%s %v: %v\n got %s\nwant %s", c.text, c.env, err, got, c.want)
		}
	}
}

func TestWorldReadableConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("data: x\nslack:\n  token: "+canary+"\n  channel: C1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[fs.FileMode]string{0o600: "", 0o644: file + ":3: this file holds a secret, and every user of this machine can read it; chmod o-r it, or use the _file form of the setting"} {
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		if _, warnings, err := Load(file, envOf()); err != nil || texts(warnings) != want {
			t.Errorf("%o: %v, %s", mode, err, texts(warnings))
		}
	}
}

func TestSecretFileBesideTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"c.yaml": "slack: {token_file: tok}", "tok": canary + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, _, err := Load(filepath.Join(dir, "c.yaml"), envOf())
	if err != nil || string(c.Slack.Token) != canary {
		t.Fatal(c, err)
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	c := &Config{Slack: Slack{Token: canary}, Pushover: Pushover{User: canary}}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s"} {
		fmt.Fprintf(&b, verb+"\n", c)
		fmt.Fprintf(&b, verb+"\n", c.Slack.Token)
		fmt.Fprintf(&b, verb+"\n", &c.Slack.Token)
		fmt.Fprintf(&b, verb+"\n", map[Secret]Secret{canary: canary})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(h).Info("x", "config", c, "secret", c.Slack.Token)
	}
	j, err := json.Marshal(map[string]any{"config": c})
	if err != nil {
		t.Fatal(err)
	}
	b.Write(j)
	if out := b.String(); strings.Contains(out, "canary") || strings.Contains(out, fmt.Sprintf("%x", canary)) || strings.Contains(out, fmt.Sprintf("%X", canary)) {
		t.Errorf("the secret is in:\n%s", out)
	}
	if !strings.Contains(string(j), Redacted) || Secret("").String() != "" {
		t.Errorf("set or not cannot be told: %s", j)
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"30s", "30s"}, {"1h30m", "1h30m"}, {"30d", "30d"}, {"1y", "365d"}, {"2w", "14d"}, {"1.5h", "1h30m"}, {"90m", "1h30m"}, {"60m", "1h"}, {"24h", "24h"},
		{"1d12h", "36h"}, {"10ms", "10ms"}, {"5us", "5µs"}, {"5µs", "5µs"}, {"7ns", "7ns"}, {"0", "0s"}, {"1h0m5s", "1h0m5s"}, {"292y", "106580d"},
		{"", "error"}, {"5", "error"}, {"s", "error"}, {"1x", "error"}, {"-1s", "error"}, {"1h30", "error"}, {"1 h", "error"}, {"293y", "error"}, {".s", "error"}, {"1..5s", "error"}, {"1e3s", "error"},
	} {
		var d Duration
		got := "error"
		if err := d.set(c.text); err == nil {
			got = d.String()
			var again Duration
			if err := again.set(got); c.text != "0" && (err != nil || again != d) {
				t.Errorf("duration %q prints as %q, which is %v, %v", c.text, got, again, err)
			}
		}
		if got != c.want {
			t.Errorf("duration %q: %s, want %s", c.text, got, c.want)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"200GB", "200GB"}, {"1GiB", "1GiB"}, {"1024", "1KiB"}, {"1.5kB", "1500"}, {"1 MiB", "1MiB"}, {"0", "0"}, {"12B", "12"}, {"1000000", "1MB"}, {"2TiB", "2TiB"},
		{"", "error"}, {"GB", "error"}, {"-1", "error"}, {"1e3", "error"}, {"1gb", "error"}, {"9000000TB", "9000000TB"}, {"10000000TB", "error"}, {"1..2", "error"},
	} {
		var s Size
		got := "error"
		if err := s.set(c.text); err == nil {
			got = s.String()
		}
		if got != c.want {
			t.Errorf("size %q: %s, want %s", c.text, got, c.want)
		}
	}
}

func TestAllowList(t *testing.T) {
	c, _, err := load(t, "allow: [private, 203.0.113.0/24]")
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]bool{"127.0.0.1": true, "10.1.1.1": true, "203.0.113.9": true, "8.8.8.8": false} {
		if got := c.AllowList().Allowed(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
	if c, _, err = load(t, "allow: []"); err != nil || c.AllowList().Allowed(netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("an empty list allows somebody, or %v", err)
	}
}

func TestNearest(t *testing.T) {
	all := []string{"token", "channel", "retention", "rules"}
	for name, want := range map[string]string{"tokn": "token", "otken": "token", "Channel": "channel", "chanel": "channel", "retetnion": "retention", "x": "", "rule": "rules",
		"nothing": "", strings.Repeat("a", 1<<20): ""} {
		if got := nearest(name, all); got != want {
			t.Errorf("%.20s: %q, want %q", name, got, want)
		}
	}
}

// Every setting has a variable that the reader reads, a default that it accepts, and a line of documentation.
func TestSettings(t *testing.T) {
	names, variables := map[string]bool{}, map[string]bool{}
	for _, s := range Settings() {
		if s.Doc == "" {
			t.Errorf("%+v has no doc", s)
		}
		if s.Name != "" && names[s.Name] || s.Env != "" && variables[s.Env] {
			t.Errorf("%+v is listed twice", s)
		}
		names[s.Name], variables[s.Env] = true, true
		if s.Name == "" || s.Env == "" {
			continue
		}
		read := false
		_, _, _ = Load(os.DevNull, func(name string) (string, bool) {
			read = read || name == s.Env
			return "", false
		})
		if !read {
			t.Errorf("%s is never read", s.Env)
		}
	}
	for _, want := range []string{"LOOKOUT_CONFIG", "LOOKOUT_DATA", "LOOKOUT_HTTP", "LOOKOUT_GELF", "LOOKOUT_SYSLOG", "LOOKOUT_DOCKER", "LOOKOUT_TOKEN", "LOOKOUT_TOKEN_FILE", "LOOKOUT_URL",
		"LOOKOUT_SLACK_TOKEN", "LOOKOUT_SLACK_TOKEN_FILE", "LOOKOUT_SLACK_CHANNEL", "LOOKOUT_SLACK_API", "LOOKOUT_PUSHOVER_TOKEN", "LOOKOUT_PUSHOVER_USER_FILE", "LOOKOUT_PUSHOVER_API"} {
		if !variables[want] {
			t.Errorf("%s is not listed", want)
		}
	}
	for _, want := range []string{"slack.token_file", "rules[].query", "retention.max_bytes"} {
		if !names[want] {
			t.Errorf("%s is not listed", want)
		}
	}
}

func TestAliases(t *testing.T) {
	c, _, err := load(t, "slack: {channel: &c '#ops'}\nrules:\n- &r {name: a, query: x, channel: *c}\n")
	if err != nil || joined(c.Rules[0].Channels) != "#ops" {
		t.Error(c, err)
	}
	// Ten aliases of ten aliases of …: bounded by the number of values, said once.
	text := "rules:\n- &a {name: a, query: x, channel: C1, expect: [" + strings.Repeat("x, ", 999) + "x]}\n" + strings.Repeat("- *a\n", 999)
	_, _, err = load(t, text)
	if err == nil || strings.Count(err.Error(), "there are more than 20000 values") != 1 {
		t.Errorf("%.500v", err)
	}
}

func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(example), "", "---", "--- \n---", "a: *a", "a: &a [*a]", "rules: &r [*r]", "slack: !!binary x", "? {a: b}\n: c", "<<: {data: x}", "rules: [~]", "\xff", "data: \"\\ud800\"",
		"retention: {classes: {a: {b: c}}}", "probes: [[[[]]]]", "slack: {token: " + canary + " x}", "%YAML 9\n---\n", "allow: ,", "limits: {body: .B}"} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(dir, "fuzz.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := Load(file, envOf())
		if (c == nil) == (err == nil) {
			t.Fatalf("%v and %v", c, err)
		}
		if e := (*Error)(nil); err != nil && (!errors.As(err, &e) || len(e.Problems) == 0 || e.Error() == "") {
			t.Fatalf("error %#v", err)
		}
		// The same text as the value of a variable.
		_, _, _ = Load(os.DevNull, envOf("LOOKOUT_RULES", text, "LOOKOUT_ALLOW", text, "LOOKOUT_HTTP", text, "LOOKOUT_LIMITS_BODY", text, "LOOKOUT_RETENTION_DEFAULT", text))
	})
}

// What a reload does not put in force is named, and nothing else.
func TestNeedsRestart(t *testing.T) {
	const base = "slack: {token: " + canary + ", channel: '#a'}\nrules: [{name: a, query: x}]\n"
	was, _, err := load(t, base)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{base, ""},
		{"slack: {token: " + canary + ", channel: '#b'}\nchannels: {errors: '#c'}\nrules: [{name: b, query: y, channel: h}]\nroutes: [{channel: '#r'}]\nretention: {default: 3d}\n" +
			"maintenance: [{name: m, match: service=db, from: '01:00', to: '02:00'}]\nquiet_hours: [{name: q, from: '01:00', to: '02:00'}]\n" +
			"templates: {t: '{{.Title}}'}\nchannel_templates: {'#r': t}\nprobes: [{name: p, url: 'http://x.example'}]\nways: {h: {url: 'http://h.example'}}\n", ""},
		{"slack: {token: other, api: 'http://x.example'}\nhttp: ':1'\nlimits: {searches: 3}\nredact: {use: [email]}\nbase_url: http://x.example\n", "http base_url redact.use limits.searches slack.token slack.api"},
	} {
		now, _, err := load(t, c.text)
		if err != nil {
			t.Fatalf("%s: %v", c.text, err)
		}
		if got := strings.Join(was.NeedsRestart(now), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
}
