package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/app"
	"github.com/lookoutlog/lookout/internal/config"
)

func (p *program) checkCommand() *cobra.Command {
	var file, route string
	var online bool
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read the configuration and say what is wrong with it",
		Long: `check reads what serve would read: the file (LOOKOUT_CONFIG, else lookout.yaml if it is there)
and the environment. It prints every problem with its place and the mend, and warnings.

With --online it asks the services too, each for at most ten seconds, and sends no message: Slack whether the tokens are good, what
scopes they have and whether channels can be posted to; Pushover whether it knows token and user; mail servers, with TLS and login;
an outside Alertmanager whether it is ready; other addresses whether they can be connected to. Where only a message would tell it says so.

With --route it shows where an alert with these labels would go now: rule, severity, service, env, host and others.`,
		Example: `  lookout check
  lookout check --online lookout.yaml
  lookout check --route 'severity=critical,service=shop'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				if file != "" {
					return errors.New("name one file, by --config or as the argument")
				}
				file = args[0]
			}
			c, warnings, err := config.Load(file, p.env)
			for _, w := range warnings {
				p.say("warning: %s", w)
			}
			if err != nil {
				var all *config.Error
				if !errors.As(err, &all) {
					return err
				}
				for _, problem := range all.Problems {
					p.say("%s", problem)
				}
				return fmt.Errorf("the configuration has %s", counted(int64(len(all.Problems)), "problem"))
			}
			if route != "" {
				return p.showRoute(c, route)
			}
			from := "defaults and environment"
			if c.File != "" {
				from = c.File
			}
			if _, err = fmt.Fprintf(p.stdout, "ok: %s; %s, %s\n", from, counted(int64(len(c.Rules)), "rule"), counted(int64(len(c.Probes)), "probe")); err != nil {
				return err
			}
			if err = p.showDefaults(c); err != nil || !online {
				return err
			}
			return p.showOnline(app.Online(cmd.Context(), c))
		},
	}
	cmd.Flags().BoolVar(&online, "online", false, "ask the services as well; no message is sent")
	cmd.Flags().StringVar(&file, "config", "", "the configuration's `file`")
	cmd.Flags().StringVar(&route, "route", "", "show where an alert with these `labels` would go, such as severity=critical,service=shop")
	cmd.MarkFlagsMutuallyExclusive("online", "route")
	return cmd
}

// showOnline prints a line for each finding; with one that is bad it returns an error.
func (p *program) showOnline(list []app.Finding) error {
	width, bad := 0, 0
	for _, f := range list {
		width = max(width, utf8.RuneCountInString(f.What))
	}
	for _, f := range list {
		state := "ok  "
		switch {
		case f.Err != nil:
			state = "fail"
			bad++
		case !f.Checked:
			state = "-   "
		}
		if _, err := fmt.Fprintf(p.stdout, "%s  %-*s  %s\n", state, width, f.What, appendEscaped(nil, f.Text)); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		p.say("there is no service to ask: neither Slack nor Pushover nor another way is set up")
	}
	if bad > 0 {
		return fmt.Errorf("%s of %d failed", counted(int64(bad), "check"), len(list))
	}
	return nil
}

// showDefaults says which of the default rules are in force: a rule of one's own takes those about log lines away.
func (p *program) showDefaults(c *config.Config) error {
	in, out := c.DefaultRules()
	if len(in) > 0 {
		if _, err := fmt.Fprintf(p.stdout, "default rules in force: %s\n", strings.Join(in, ", ")); err != nil {
			return err
		}
	}
	if len(out) == 0 || len(c.Rules) == 0 {
		return nil
	}
	if len(in) == 0 {
		_, err := fmt.Fprintln(p.stdout, "no default rule is in force, as there is no channel for them; set channels.errors or slack.channel")
		return err
	}
	_, err := fmt.Fprintf(p.stdout, "not in force, as there are rules of your own: %s; set channels.errors to have them\n", strings.Join(out, ", "))
	return err
}

// showRoute prints the channels of an alert with some labels, and why it goes there.
func (p *program) showRoute(c *config.Config, text string) error {
	ms, err := alerting.ParseMatchers(text)
	if err != nil {
		return fmt.Errorf("--route: %w", err)
	}
	labels := alerting.Labels{}
	for _, m := range ms {
		if m.Op != alerting.MatchEqual {
			return fmt.Errorf("--route: %s is no label: write labels as severity=critical,service=shop", m)
		}
		labels[m.Name] = m.Value
	}
	targets, why, err := routeOf(c, labels)
	if err != nil {
		return err
	}
	policy := c.Policy()
	for _, t := range targets {
		by := why
		if t.Route >= 0 {
			by = fmt.Sprintf("by route %d", t.Route+1)
			if match := policy.Routes[t.Route].Match.String(); match != "" {
				by += ", " + match
			}
		}
		if until := policy.QuietUntil(labels, t, p.now()); !until.IsZero() {
			by += "; quiet hours: it waits until " + until.Format("2006-01-02 15:04 MST")
		}
		if _, err := fmt.Fprintf(p.stdout, "%s  (%s)\n", t.Channel, by); err != nil {
			return err
		}
	}
	if len(targets) == 0 {
		p.say("it reaches nobody: no route takes it, and there is no channel for the rest")
		return errNoMatch
	}
	return nil
}

// routeOf tells where an alert goes, and why when that is not by a route.
func routeOf(c *config.Config, labels alerting.Labels) (targets []alerting.Target, why string, err error) {
	to, routed, page := []config.Channel{c.Channels.Errors}, true, false
	why = "channels.errors"
	if labels["severity"] == "warning" {
		to, why = []config.Channel{c.Channels.Warnings}, "channels.warnings"
	}
	if name := labels["rule"]; name != "" {
		i := slices.IndexFunc(c.Rules, func(r config.Rule) bool { return r.Name == name })
		if i < 0 {
			return nil, "", fmt.Errorf("--route: there is no rule %q", name)
		}
		r := &c.Rules[i]
		to, routed, page, why = r.Channels, r.Routed, r.Page, "the rule's own channel"
		if routed {
			why = "no route takes it"
		}
		for name, value := range r.Labels {
			if labels[name] == "" {
				labels[name] = value
			}
		}
	}
	if len(to) == 0 || to[0] == "" {
		to, why = []config.Channel{c.Slack.Channel}, "slack.channel"
	}
	var own []string
	for _, one := range to {
		if c.Tells(one) {
			own = append(own, string(one))
		}
	}
	policy := c.Policy()
	if !routed {
		policy.Routes = nil
	}
	targets = policy.Targets(labels, own)
	if page && c.Pushover.On() {
		targets = append(targets, alerting.Target{Channel: config.ChannelPushover, Route: -1})
	}
	return targets, why, nil
}
