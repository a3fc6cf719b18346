package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
)

func (p *program) alertsCommand() *cobra.Command {
	return listCommand(p, &cobra.Command{
		Use:   "alerts [SERVICE...]",
		Short: "List the alerts: what fires, who sees to it, what is over since yesterday",
		Example: `  lookout alerts
  lookout alerts 'pay*'
  lookout alerts --json`,
	}, "alerts", func(one *alerting.IncidentInfo) string { return one.Service }, p.alertsTable)
}

func (p *program) alertsTable(color bool, all []alerting.IncidentInfo) *table {
	t := p.newTable(color, "STATE", "FOR", "SERVICE", "EVENTS", "LAST", "RULE", "WHAT")
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
		t.add(state, cell{text: ageText(p.now().Sub(since))}, cell{text: one.Service}, cell{text: fmt.Sprint(one.Count)}, cell{text: ageText(p.now().Sub(one.Last))},
			cell{text: one.Rule}, cell{text: one.Title})
	}
	return t
}
