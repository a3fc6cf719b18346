package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) alertsCommand() *cobra.Command {
	cmd := listCommand(p, &cobra.Command{
		Use:     "alerts [SERVICE...]",
		Aliases: []string{"alert"},
		Short:   "List the alerts: what fires, who sees to it, what is over since yesterday",
		Example: `  lookout alerts
  lookout alerts 'pay*'
  lookout alerts --json
  lookout alerts ack 7
  lookout alerts resolve 7
  lookout alerts explain 48121
  lookout alerts send-test '#ops'`,
	}, "alerts", func(one *alerting.IncidentInfo) string { return one.Service }, p.alertsTable)
	cmd.AddCommand(
		p.alertCommand("ack", "Say that somebody sees to alerts: nothing rings for them any more", `ack acknowledges alerts: their messages say who sees to them, and nothing rings for them any more.
One that fires again after it was resolved is to be acknowledged again. It needs the admin's token.`, (*sdk.Client).AcknowledgeAlert),
		p.alertCommand("resolve", "End alerts by hand", `resolve ends alerts by hand: their messages say so, and nothing rings for them any more. The next event
that matches has an alert fire again. It needs the admin's token.`, (*sdk.Client).ResolveAlert),
		p.alertExplainCommand(), p.sendTestCommand())
	return cmd
}

// alertCommand makes the command that does something about alerts.
func (p *program) alertCommand(name, short, long string, do func(*sdk.Client, context.Context, uint64, string) (sdk.Alert, error)) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use:     name + " ID...",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf("  lookout alerts %s 7\n  lookout alerts %[1]s 7 12 --by anna", name),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.completeAlerts(cmd)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s which? `lookout alerts` lists them with their IDs", name)
			}
			ids := make([]uint64, len(args))
			for i, text := range args {
				id, err := strconv.ParseUint(text, 10, 64)
				if err != nil || id == 0 {
					return fmt.Errorf("%q is no alert's ID, which is a number; `lookout alerts` lists them", text)
				}
				ids[i] = id
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			for _, id := range ids {
				alert, err := do(c, cmd.Context(), id, by)
				if err != nil {
					return p.explain(noAlert(id, err))
				}
				state := alert.State
				if who := map[string]string{"acknowledged": alert.By, "resolved": alert.ResolvedBy}[state]; who != "" {
					state += " by " + who
				}
				p.say("%d %s: %s", id, state, alert.Title)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who does it, a `name` that the messages show beside the token's")
	return cmd
}

// noAlert words that there is no alert of an id.
func noAlert(id uint64, err error) error {
	var e *sdk.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && e.Code == "not_found" {
		return fmt.Errorf("there is no alert %d, or it was resolved more than a day ago; `lookout alerts` lists them", id)
	}
	return err
}

// completeAlerts completes the ids of what is open.
func (p *program) completeAlerts(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := c.Alerts(ctx) // what came is offered, all else is silent
	var ids []string
	for _, a := range all {
		if a.State != string(alerting.Resolved) {
			ids = append(ids, fmt.Sprintf("%d\t%s %s", a.ID, a.State, a.Title))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) alertsTable(color bool, all []alerting.IncidentInfo) *table {
	t := p.newTable(color, "ID", "STATE", "FOR", "SERVICE", "EVENTS", "LAST", "RULE", "WHAT")
	for i := range all {
		one := &all[i]
		state, since := cell{string(one.State), colorBad}, one.Since
		switch one.State {
		case alerting.Acknowledged:
			state.color, since = colorDoubt, one.Acknowledged
			if one.By != "" {
				state.text += " (" + one.By + ")"
			}
		case alerting.Resolved:
			state.color, since = colorGood, one.Resolved
		}
		events, what := fmt.Sprint(one.Count), one.Title
		if one.Late > 0 {
			events += fmt.Sprintf(" (%d late)", one.Late)
		}
		if len(one.Marks) > 0 {
			what += " (" + one.Marks[0].Says + ")"
		}
		t.add(cell{text: strconv.FormatUint(one.ID, 10)}, state, cell{text: ageText(p.now().Sub(since))}, cell{text: one.Service}, cell{text: events}, cell{text: ageText(p.now().Sub(one.Last))},
			cell{text: one.Rule}, cell{text: what})
	}
	return t
}
