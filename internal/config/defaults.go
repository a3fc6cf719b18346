package config

import (
	"cmp"
	"fmt"
)

// CertDays is from how many days before its end on a certificate is told of; probe.CertDays is the same.
const CertDays = 14

// defaultRules adds what nobody has to write. A rule of the same name in the file takes its place. docs/default-rules.md has what they
// tell of two days.
//
// The channels errors and warnings have what they are for; with slack.channel alone it has all of it, but of the warnings only the
// new ones: a channel in which every warning rings is one that nobody reads. Somebody who writes rules or channels for log lines still
// wants to know what died, fell silent or runs out: these keep the common channel.
func (r *reader) defaultRules(c *Config, names map[string]int) {
	configured := len(c.Rules) > 0 || c.Channels != (Channels{})
	errors, all := cmp.Or(c.Channels.Errors, c.lastRoute()), cmp.Or(c.Channels.Warnings, c.lastRoute()) // all: the warnings
	warnings := cmp.Or(all, errors)
	add := func(rule Rule, query, resolve string) {
		if _, taken := names[rule.Name]; taken || len(rule.Channels) == 0 && !rule.Page {
			return
		}
		rule.Mode, rule.Notify, rule.Routed, rule.Default = cmp.Or(rule.Mode, "match"), "incident", true, true
		err := rule.Query.set(query)
		if err == nil && resolve != "" {
			err = rule.Resolve.set(resolve)
		}
		if err != nil {
			panic(fmt.Sprintf("config: default rule %s: %v", rule.Name, err))
		}
		c.Rules = append(c.Rules, rule)
	}
	// What Docker, the probes and others' alerts report has rules of its own, which know when it is over.
	const lines = " -stream:(docker, probe, alertmanager)"
	if !configured {
		errors, warnings = cmp.Or(errors, c.Slack.Channel), cmp.Or(warnings, c.Slack.Channel)
	}
	add(Rule{Name: "errors", Channels: channels(errors)}, "level>=error"+lines, "")
	if all != "" {
		add(Rule{Name: "warnings", Channels: channels(all)}, "level:warning"+lines, "")
	} else {
		// Many a line says that something failed and has no level.
		add(Rule{Name: "new", Mode: "new", Severity: "warning", Channels: channels(warnings)}, `(level:warning OR -level:* ~"(?i)\b(error|exception|panic|fatal|fail(ed|ure)?|denied|refused)\b")`+lines, "")
	}
	add(Rule{Name: "problems", Mode: "spike", Severity: "error", By: []string{"service"}, Channels: channels(errors)}, "level>=warning"+lines, "")

	errors, warnings = cmp.Or(errors, c.Slack.Channel), cmp.Or(warnings, c.Slack.Channel)
	add(Rule{Name: "silent", Mode: "absent", Severity: "warning", By: []string{"service"}, Channels: channels(warnings)}, "service:*"+lines, "")
	add(Rule{Name: "containers", Channels: channels(errors)}, "stream:docker level>=warning", "stream:docker action:(start, healthy, stable, destroy)")
	add(Rule{Name: "alertmanager", Channels: channels(errors)}, "stream:alertmanager status:firing", "stream:alertmanager status:resolved")
	down, up := "stream:probe change:down", "stream:probe change:(up, gone)"
	if c.Pushover.On() {
		add(Rule{Name: "pages", Severity: "critical", Channels: channels(errors), Page: true}, down+" page:true", up)
		down += " -page:true"
	}
	add(Rule{Name: "probes", Severity: "critical", Channels: channels(errors)}, down, up)
	add(Rule{Name: "certificates", Severity: "warning", Channels: channels(warnings)}, fmt.Sprintf("stream:probe cert_days<%d", CertDays), fmt.Sprintf("stream:probe cert_days>=%d", CertDays))
	if len(c.Probes) > 0 && len(c.Rules) == 0 && !c.Forward.On() {
		r.warn(r.at("probes"), "probes", "nobody is told when one fails", "set slack.channel or LOOKOUT_SLACK_CHANNEL with slack.token, or pushover and page: true")
	}
}

// DefaultRules are the names of the default rules that are in force, and of those about log lines that are not, since the
// configuration has rules of its own and no channel for them.
func (c *Config) DefaultRules() (in, out []string) {
	named := map[string]bool{}
	for _, r := range c.Rules {
		named[r.Name] = true
		if r.Default {
			in = append(in, r.Name)
		}
	}
	if named["warnings"] {
		named["new"] = true
	}
	for _, name := range []string{"errors", "new", "problems"} {
		if !named[name] {
			out = append(out, name)
		}
	}
	return in, out
}
