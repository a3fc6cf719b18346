package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/fleet"
)

func (p *program) probesCommand() *cobra.Command {
	return listCommand(p, &cobra.Command{
		Use:   "probes [SERVICE...]",
		Short: "List the probes: up or down, since when, how fast, what is wrong",
		Example: `  lookout probes
  lookout probes sales
  lookout probes --json`,
	}, "probes", func(one *fleet.Probe) string { return one.Target }, p.probesTable)
}

func (p *program) probesTable(color bool, all []fleet.Probe) *table {
	t := p.newTable(color, "PROBE", "SERVICE", "STATE", "FOR", "LAST", "TIME", "STATUS", "CERTIFICATE", "WHAT")
	for i := range all {
		one := &all[i]
		state := cell{one.State, colorDoubt}
		switch {
		case one.State == fleet.Up && one.OK:
			state.color = colorGood
		case one.State == fleet.Up: // not confirmed yet
			state.text += " (failing)"
		case one.State == fleet.Down:
			state.color = colorBad
			if one.OK {
				state.text += " (recovering)"
			}
		}
		since, status, certificate, what := "", "", "", one.Error
		if one.Since != nil {
			since = ageText(p.now().Sub(*one.Since))
		}
		if one.Status != 0 {
			status = fmt.Sprint(one.Status)
		}
		if one.CertDays != nil {
			certificate = fmt.Sprintf("%.0fd", *one.CertDays)
		}
		if what == "" {
			what = one.URL
		}
		took := time.Duration(one.DurationMS * float64(time.Millisecond))
		t.add(cell{text: one.Name}, cell{text: one.Target}, state, cell{text: since}, cell{text: ageText(p.now().Sub(one.Last))}, cell{text: tookText(took)}, cell{text: status},
			cell{text: certificate}, cell{text: what})
	}
	return t
}

// tookText writes a duration with three digits: 1.23s, 12.3ms.
func tookText(d time.Duration) string {
	unit := time.Duration(1)
	for d >= 1000*unit {
		unit *= 10
	}
	return d.Round(unit).String()
}
