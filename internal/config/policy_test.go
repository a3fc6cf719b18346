package config

import (
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

func TestPolicy(t *testing.T) {
	c, warnings, err := load(t, `slack: { token: x, channel: "#all" }
pushover: { token: p, user: u }
routes:
  - { match: severity=critical, channel: ["#ops", "#boss"], page: true, continue: true }
  - { match: 'service=~"shop|pay"', channel: "#shop", quiet: nights }
maintenance:
  - { name: backup, match: service=db, days: sat, from: "01:00", to: "02:00", zone: Europe/Berlin }
quiet_hours:
  - { name: nights, from: "22:00", to: "07:00" }
rules:
  - { name: down, query: level>=error, labels: { team: shop } }
  - { name: slow, query: timeout, channel: "#own", parents: [down], equal: host, hold: 1m }
`)
	if err != nil {
		t.Fatal(err, texts(warnings))
	}
	p := c.Policy()
	if len(p.Routes) != 2 || strings.Join(p.Routes[0].Channels, " ") != "#ops #boss pushover" || !p.Routes[0].Continue || p.Routes[1].Quiet != "nights" {
		t.Errorf("routes %+v", p.Routes)
	}
	if len(p.Maintenance) != 1 || p.Maintenance[0].Match.String() != `service="db"` || p.Maintenance[0].Schedule.From != time.Hour || len(p.Quiet) != 1 {
		t.Errorf("maintenance %+v, quiet hours %+v", p.Maintenance, p.Quiet)
	}
	if r := c.Rules[0]; !r.Routed || joined(r.Channels) != "#all" || r.Labels["team"] != "shop" {
		t.Errorf("rule %+v", r)
	}
	if r := c.Rules[1]; r.Routed || joined(r.Channels) != "#own" || r.Parents[0] != "down" || r.Equal[0] != "host" || r.Hold != Duration(time.Minute) {
		t.Errorf("rule %+v", r)
	}
	// A route for everything is enough, without channels.
	c, _, err = load(t, "slack: { token: x }\nroutes:\n  - channel: \"#all\"\n")
	if err != nil || len(c.Rules) == 0 || c.Rules[0].Name != "errors" || joined(c.Rules[0].Channels) != "#all" {
		t.Errorf("%+v, %v", c, err)
	}
	if targets := (&alerting.Policy{}).Targets(nil, []string{"#a"}); len(targets) != 1 {
		t.Error(targets)
	}
}

func TestWrongPolicies(t *testing.T) {
	const base = "slack: { token: x, channel: \"#all\" }\n"
	for _, c := range []struct{ text, want string }{
		{"routes:\n  - { match: severity, channel: \"#a\" }", `lookout.yaml:3: routes[0].match: "severity": at character 9: label "severity": expected =, !=, =~ or !~`},
		{"routes:\n  - { match: 'a=~\"(\"', channel: \"#a\" }", "missing closing )"},
		{"routes:\n  - { match: severity=error }", "lookout.yaml:3: routes[0]: the route tells nobody"},
		{"routes:\n  - { channel: pager }", "routes[0].channel: \"pager\""},
		{"routes:\n  - channel: \"#a\"\n  - { match: a=b, channel: \"#b\" }", "lookout.yaml:4: routes[1]: the route is never come to: "},
		{"routes:\n  - { channel: \"#a\", quiet: night }\nquiet_hours:\n  - { name: nights, from: \"22:00\", to: \"07:00\" }", "did you mean nights?"},
		{"quiet_hours:\n  - { name: nights, from: 22, to: \"07:00\" }", `lookout.yaml:3: quiet_hours[0].from: "22": is not a time of day; write it as 22:00`},
		{"maintenance:\n  - { name: m, match: a=b, from: \"01:00\", to: \"02:00\", days: someday }", `maintenance[0].days: "someday": is not a day`},
		{"maintenance:\n  - { name: m, match: a=b, from: \"01:00\", to: \"02:00\", zone: Moon }", `maintenance[0].zone: "Moon": is not known`},
		{"maintenance:\n  - { name: m, match: '{}', from: \"01:00\", to: \"02:00\" }", "it would keep every alert quiet"},
		{"rules:\n  - { name: a, query: x, parents: [b] }", `rules[0].parents[0]: "b": there is no rule of this name`},
		{"rules:\n  - { name: a, query: x, parents: [b] }\n  - { name: b, query: y, parents: [a] }", "the rule would be its own parent"},
		{"rules:\n  - { name: a, query: x, template: mine }\ntemplates: { mini: x }", `lookout.yaml:3: rules[0].template: "mine": there is no template of this name; did you mean mini?`},
		{"rules:\n  - { name: a, query: x, template: '{{.Nope}}' }", "lookout.yaml:3: rules[0].template: line:1:2: executing"},
		{"templates:\n  mine: |\n    a\n    {{end}}", "lookout.yaml:3: templates.mine: line:2: unexpected {{end}}"},
		{"channel_templates: { \"#a\": mine }", "there is no template of this name"},
		{"rules:\n  - { name: a, query: x, notify: each, parents: [errors] }", "only an incident waits for its parents"},
	} {
		_, _, err := load(t, base+c.text+"\n")
		var all []string
		if e, ok := err.(*Error); ok {
			for _, p := range e.Problems {
				all = append(all, p.String())
			}
		}
		if got := strings.Join(all, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s\n  gives %s\n  want %s", c.text, got, c.want)
		}
	}
}
