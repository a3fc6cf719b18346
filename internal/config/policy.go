package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
)

// Route says where what matches goes.
type Route struct {
	Match    Matchers  `key:"match" doc:"which alerts, such as severity=critical or service=\"shop\",env=~\"prod.*\"; all unless set"`
	Channels []Channel `key:"channel" doc:"where to: one, or a list"`
	Page     bool      `key:"page" default:"false" doc:"tell Pushover too, until somebody acknowledges"`
	Repeat   Duration  `key:"repeat" min:"5m" max:"30d" doc:"tell again after so long what fires and nobody has acknowledged; else the rule's own"`
	Quiet    string    `key:"quiet" doc:"the quiet hours, by name, in which it waits unless it is critical"`
	Continue bool      `key:"continue" default:"false" doc:"look at the routes behind this one as well"`
}

// Maintenance is a known stop that comes again.
type Maintenance struct {
	Name  string   `key:"name" required:"true" doc:"unique; messages show it"`
	Match Matchers `key:"match" required:"true" doc:"which alerts are told to nobody meanwhile, such as service=db"`
	Days  string   `key:"days" doc:"on which days, such as mon-fri or sat, sun; every day unless set"`
	From  string   `key:"from" required:"true" doc:"when it begins, such as 22:00"`
	To    string   `key:"to" required:"true" doc:"when it ends; before from it is the next day's"`
	Zone  string   `key:"zone" default:"UTC" doc:"the time zone, such as Europe/Berlin"`
}

// QuietHours are a time in which what is not critical waits.
type QuietHours struct {
	Name  string   `key:"name" required:"true" doc:"unique; routes name it"`
	Match Matchers `key:"match" doc:"which alerts wait, such as severity=warning; unless set only those of routes that name these hours"`
	Days  string   `key:"days" doc:"on which days, such as mon-fri or sat, sun; every day unless set"`
	From  string   `key:"from" required:"true" doc:"when they begin, such as 22:00"`
	To    string   `key:"to" required:"true" doc:"when they end; before from it is the next day's"`
	Zone  string   `key:"zone" default:"UTC" doc:"the time zone, such as Europe/Berlin"`
}

// Matchers pick alerts by their labels, in Alertmanager's syntax.
type Matchers struct{ alerting.Matchers }

func (m *Matchers) set(text string) error {
	parsed, err := alerting.ParseMatchers(text)
	if err != nil {
		what := err.Error()
		return &bad{message: what[max(0, strings.Index(what, "at character")):], mend: `write it as service="shop",env=~"prod.*"`}
	}
	m.Matchers = parsed
	return nil
}

// Policy is what decides beside the rules who is told, and when. What reaches nobody is left out: Slack's channels need
// its token, and pages Pushover.
func (c *Config) Policy() alerting.Policy {
	var p alerting.Policy
	for _, r := range c.Routes {
		route := alerting.Route{Match: r.Match.Matchers, Quiet: r.Quiet, Continue: r.Continue, Repeat: time.Duration(r.Repeat)}
		for _, to := range r.Channels {
			if c.Tells(to) {
				route.Channels = append(route.Channels, string(to))
			}
		}
		if r.Page && c.Pushover.On() && !slices.Contains(route.Channels, ChannelPushover) {
			route.Channels = append(route.Channels, ChannelPushover)
		}
		if len(route.Channels) > 0 {
			p.Routes = append(p.Routes, route)
		}
	}
	for _, m := range c.Maintenance {
		s, _ := alerting.ParseSchedule(m.Days, m.From, m.To, m.Zone) // it was checked
		p.Maintenance = append(p.Maintenance, alerting.Maintenance{Name: m.Name, Match: m.Match.Matchers, Schedule: s})
	}
	for _, q := range c.QuietHours {
		s, _ := alerting.ParseSchedule(q.Days, q.From, q.To, q.Zone)
		p.Quiet = append(p.Quiet, alerting.QuietHours{Name: q.Name, Match: q.Match.Matchers, Schedule: s})
	}
	for channel, text := range c.ChannelTemplates {
		if p.Templates == nil {
			p.Templates = map[string]*alerting.Template{}
		}
		p.Templates[channel] = c.TemplateOf(text)
	}
	return p
}

// TemplateOf is the template that a rule or a channel names, or that stands there itself; nil for none.
func (c *Config) TemplateOf(text string) *alerting.Template {
	if text == "" {
		return nil
	}
	if named, ok := c.Templates[text]; ok {
		text = named
	}
	t, _ := alerting.ParseTemplate("template", text) // it was checked
	return t
}

func (r *reader) validateTemplates(c *Config) {
	check := func(at, text string) {
		if _, err := alerting.ParseTemplate("line", text); err != nil {
			r.fail(at, "", strings.TrimPrefix(err.Error(), "template: "), "docs/alerting.md has examples and says what a template sees")
		}
	}
	named := func(at, text string) {
		if _, ok := c.Templates[text]; ok || text == "" {
			return
		}
		if strings.Contains(text, "{{") {
			check(at, text)
			return
		}
		mend := "add it to templates, or write the text itself, with {{…}}"
		var known []string
		for name := range c.Templates {
			known = append(known, name)
		}
		if near := nearest(text, known); near != "" {
			mend = "did you mean " + near + "?"
		}
		r.fail(at, text, "there is no template of this name", mend)
	}
	for name, text := range c.Templates {
		check("templates."+name, text)
	}
	for channel, text := range c.ChannelTemplates {
		r.known("channel_templates."+channel, c, Channel(channel))
		named("channel_templates."+channel, text)
	}
	for i, rule := range c.Rules {
		named(fmt.Sprintf("rules[%d].template", i), rule.Template)
	}
}

// lastRoute is the channel of the route that takes everything, empty without one.
func (c *Config) lastRoute() Channel {
	for _, r := range c.Routes {
		if len(r.Match.Matchers) == 0 && len(r.Channels) > 0 {
			return r.Channels[0]
		}
	}
	return ""
}

func (r *reader) validatePolicy(c *Config) {
	names := map[string]int{}
	for i, m := range c.Maintenance {
		at := fmt.Sprintf("maintenance[%d]", i)
		r.name(at+".name", m.Name, names, i)
		if len(m.Match.Matchers) == 0 && m.Name != "" && !r.bad(at+".match") {
			r.fail(at+".match", "", "it would keep every alert quiet", "say what stops, such as service=db")
		}
		r.schedule(at, m.Days, m.From, m.To, m.Zone)
	}
	quiet := map[string]int{}
	for i, q := range c.QuietHours {
		at := fmt.Sprintf("quiet_hours[%d]", i)
		r.name(at+".name", q.Name, quiet, i)
		r.schedule(at, q.Days, q.From, q.To, q.Zone)
	}
	all := alerting.Policy{}
	for i, route := range c.Routes {
		at := fmt.Sprintf("routes[%d]", i)
		all.Routes = append(all.Routes, alerting.Route{Match: route.Match.Matchers, Continue: route.Continue})
		for j, to := range route.Channels {
			r.known(r.item(at+".channel", j), c, to)
		}
		switch {
		case len(route.Channels) == 0 && !route.Page && !r.bad(at+".channel"):
			r.fail(at, "", "the route tells nobody", "add channel or page; to keep something quiet use maintenance, or a silence")
		case route.Page && !c.Pushover.On():
			r.warn(r.at(at+".page"), at+".page", "Pushover is not set up: nobody will be paged", "set pushover.token_file and pushover.user_file, or LOOKOUT_PUSHOVER_TOKEN and _USER")
		}
		if _, ok := quiet[route.Quiet]; route.Quiet != "" && !ok && !r.bad("quiet_hours") {
			mend := "add them to quiet_hours"
			var known []string
			for name := range quiet {
				known = append(known, name)
			}
			if near := nearest(route.Quiet, known); near != "" {
				mend = "did you mean " + near + "?"
			}
			r.fail(at+".quiet", route.Quiet, "there are no quiet hours of this name", mend)
		}
		if r.bad(at + ".match") {
			return // what is missing is not everything
		}
	}
	if i, j, ok := all.Unreachable(); ok {
		r.fail(fmt.Sprintf("routes[%d]", i), "", fmt.Sprintf("the route is never come to: %s takes all that it would", r.at(fmt.Sprintf("routes[%d]", j))),
			"put it in front of that, or add continue: true there")
	}
}

func (r *reader) schedule(at, days, from, to, zone string) {
	if from == "" || to == "" || r.bad(at+".days", at+".from", at+".to", at+".zone") {
		return // said already, as they are required
	}
	for _, part := range [...]struct{ key, days, from, to, zone, value string }{
		{"days", days, "00:00", "00:00", "UTC", days}, {"from", "", from, "00:00", "UTC", from}, {"to", "", "00:00", to, "UTC", to}, {"zone", "", "00:00", "00:00", zone, zone},
	} {
		if _, err := alerting.ParseSchedule(part.days, part.from, part.to, part.zone); err != nil {
			what, mend, _ := strings.Cut(err.Error(), ": ") // the value stands beside it
			r.fail(at+"."+part.key, part.value, what[max(0, strings.Index(what, "is not")):], mend)
		}
	}
}

// validateParents checks that the parents of rules are rules.
func (r *reader) validateParents(c *Config) {
	var known []string
	parents := map[string][]string{}
	for _, rule := range c.Rules {
		known = append(known, rule.Name)
		parents[rule.Name] = rule.Parents
	}
	for i, rule := range c.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		for j, name := range rule.Parents {
			here := fmt.Sprintf("%s.parents[%d]", at, j)
			switch {
			case !slices.Contains(known, name):
				mend := "name one that is there"
				if near := nearest(name, known); near != "" {
					mend = "did you mean " + near + "?"
				}
				r.fail(here, name, "there is no rule of this name", mend)
			case descends(parents, name, rule.Name, map[string]bool{}):
				r.fail(here, name, "the rule would be its own parent, and neither would be told", "take it out")
			}
		}
		if len(rule.Parents) == 0 && len(rule.Equal)+int(rule.Hold) > 0 {
			r.warn(r.at(at), at, "equal and hold are for a rule with parents; they have no effect", "add parents")
		}
		if len(rule.Parents) > 0 && rule.Notify == "each" {
			r.fail(at+".parents", "", "only an incident waits for its parents, and notify: each makes none", "take one of them out")
		}
	}
}

// descends tells whether a rule is, or has as a parent in any line, another.
func descends(parents map[string][]string, rule, of string, seen map[string]bool) bool {
	if rule == of {
		return true
	}
	if seen[rule] {
		return false
	}
	seen[rule] = true
	return slices.ContainsFunc(parents[rule], func(p string) bool { return descends(parents, p, of, seen) })
}

// ownLabels are what every alert may have; a rule's label of such a name does nothing.
var ownLabels = []string{"rule", "severity", "service", "env", "host", "container", "level", "fingerprint"}

// validateLabels warns of matchers that no alert can match. A label that is not known may come with what Prometheus sends: only one that
// is nearly that of lookout's is a slip.
func (r *reader) validateLabels(c *Config) {
	names := append(slices.Clone(ownLabels), "mode", "alertname")
	rules := []string{"lookout"}
	for i, rule := range c.Rules {
		rules = append(rules, rule.Name)
		names = append(names, rule.By...)
		for name := range rule.Labels {
			if slices.Contains(ownLabels, name) {
				at := fmt.Sprintf("rules[%d].labels.%s", i, name)
				r.warn(r.at(at), at, "every alert has a label of this name, which wins over the rule's", "use another name")
			}
			names = append(names, name)
		}
	}
	check := func(at string, ms alerting.Matchers) {
		for _, m := range ms {
			var known []string
			what := m.Value
			switch {
			case !slices.Contains(names, m.Name):
				if near := nearest(m.Name, names); near != "" {
					r.warn(r.at(at), at, fmt.Sprintf("no alert of lookout's has a label %q", m.Name), "did you mean "+near+"?")
				}
				continue
			case m.Op != alerting.MatchEqual || m.Value == "":
				continue
			case m.Name == "severity":
				known = []string{"critical", "error", "warning", "info"}
			case m.Name == "rule":
				known = rules
			default:
				continue
			}
			if slices.Contains(known, what) {
				continue
			}
			mend := "use " + strings.Join(known, ", ")
			if near := nearest(what, known); near != "" {
				mend = "did you mean " + near + "?"
			} else if m.Name == "rule" {
				mend = "`lookout rule list` has those that are in force"
			}
			r.warn(r.at(at), at, fmt.Sprintf("no alert has the %s %q", m.Name, what), mend)
		}
	}
	for i, x := range c.Routes {
		check(fmt.Sprintf("routes[%d].match", i), x.Match.Matchers)
	}
	for i, x := range c.Maintenance {
		check(fmt.Sprintf("maintenance[%d].match", i), x.Match.Matchers)
	}
	for i, x := range c.QuietHours {
		check(fmt.Sprintf("quiet_hours[%d].match", i), x.Match.Matchers)
	}
}
