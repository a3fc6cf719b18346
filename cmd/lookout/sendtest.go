package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) sendTestCommand() *cobra.Command {
	var f listFlags
	var m sdk.TestMessage
	var all bool
	cmd := &cobra.Command{
		Use:   "send-test [CHANNEL...]",
		Short: "Send a test message to channels, and say what came back",
		Long: `send-test has the server send a message that says that it is a test, by the channel's real way and at once, without an alert. It
prints what the destination answered: its receipt, or what went wrong and how to mend it. Without a channel it lists those that are
configured; --all sends to each of them, one a second.

A test is one message, which nobody has to acknowledge; PagerDuty and Opsgenie open an alert for it. A hook that restarts or scales
something gets none. It needs the admin's token.

Exit codes: 0 when all was accepted, 2 when something was not.`,
		Example: `  lookout alerts send-test
  lookout alerts send-test '#ops' --severity critical --text 'is this loud enough?'
  lookout alerts send-test --all`,
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.completeChannels(cmd)
		},
		RunE: func(cmd *cobra.Command, channels []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			if all && len(channels) > 0 {
				return errors.New("channels or --all, not both")
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			if len(channels) == 0 {
				known, err := c.Channels(cmd.Context())
				if err != nil {
					return p.explain(err)
				}
				if len(known) == 0 {
					p.say("no channel is configured: set slack.channel and slack.token, or rules and ways in lookout.yaml")
					return errNoMatch
				}
				if !all {
					return p.channels(color, f.form, known)
				}
				for _, k := range known {
					if k.Hook {
						p.say("%s is a hook, which a test would set off: left out", k.Channel)
						continue
					}
					channels = append(channels, k.Channel)
				}
			}
			refused := 0
			for _, channel := range channels {
				m.Channel = channel
				result, err := c.SendTest(cmd.Context(), m)
				if err != nil {
					return p.explain(err)
				}
				if !result.Accepted {
					refused++
				}
				if err := p.testResult(color, f.form, &result); err != nil {
					return err
				}
			}
			if refused > 0 {
				return fmt.Errorf("%s of %d did not take the test message", counted(int64(refused), "channel"), len(channels))
			}
			return nil
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&all, "all", false, "to every channel that is configured")
	fl.StringVar(&m.Severity, "severity", "", "its `severity`: critical, error, warning or info (the default)")
	fl.StringVar(&m.Text, "text", "", "`words` that the message shows")
	fl.StringVar(&m.By, "by", "", "who does it, a `name` that the message shows beside the token's")
	complete(cmd, "severity", "critical", "error", "warning", "info")
	return cmd
}

// channels lists the channels that are configured.
func (p *program) channels(color bool, form string, known []sdk.Channel) error {
	if form == formJSON {
		return p.printJSON(len(known), func(i int) any { return &known[i] })
	}
	t := p.newTable(color, "CHANNEL", "WAY", "STATE", "WHAT")
	for _, c := range known {
		state, what := cell{"ok", colorGood}, ""
		switch {
		case c.Hook:
			state = cell{text: "hook"}
			what = "gets no test messages: they would set it off"
		case !c.Parked.IsZero():
			state = cell{"takes nothing for " + ageText(p.now().Sub(c.Parked)), colorBad}
			what = c.Error
		}
		t.add(cell{text: c.Channel}, cell{text: c.Way}, state, cell{text: what})
	}
	_, err := p.stdout.Write(t.bytes())
	return err
}

// testResult prints what came of a test message.
func (p *program) testResult(color bool, form string, r *sdk.TestResult) error {
	if form == formJSON {
		return p.printJSON(1, func(int) any { return r })
	}
	word, with := "accepted", colorGood
	var what []string
	if r.Accepted {
		what = append(what, "in "+tookText(time.Duration(r.TookMS*float64(time.Millisecond))))
		if r.Receipt != "" {
			what = append(what, "receipt "+r.Receipt)
		}
	} else {
		word, with = r.Class, colorBad
		what = append(what, r.Error)
		if r.RetryAfter > 0 {
			what = append(what, "it asks for a pause of "+ageText(time.Duration(r.RetryAfter*float64(time.Second))))
		}
	}
	text := fmt.Sprintf(", %s\n", strings.Join(what, ", "))
	if r.Mend != "" {
		text += "  " + r.Mend + "\n"
	}
	channel := r.Channel
	if terminal(p.stdout) { // what a destination says is made safe
		channel, word, text = string(appendEscaped(nil, channel)), string(appendEscaped(nil, word)), string(appendEscaped(nil, text))
	}
	if color {
		word = with + word + colorOff
	}
	_, err := fmt.Fprintf(p.stdout, "%s: %s%s", channel, word, text)
	return err
}

// completeChannels completes the channels that are configured.
func (p *program) completeChannels(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := c.Channels(ctx) // what came is offered, all else is silent
	var names []string
	for _, k := range all {
		if !k.Hook {
			names = append(names, cobra.CompletionWithDesc(k.Channel, k.Way))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
