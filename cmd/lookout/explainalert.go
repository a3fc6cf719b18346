package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) alertExplainCommand() *cobra.Command {
	var f listFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "explain EVENT_ID",
		Short: "Say why an event alerted, or why not",
		Long: `explain holds a stored event against the rules in force and says of each that it is for: which terms decide, the incident it
belongs to, what kept that quiet (a silence, a maintenance, a parent, quiet hours, a budget), which route took it, and when each
channel was told, or what waits. What became of it is told by what is known now: a series counts on, an incident that has been
over for 7 days is forgotten, a silence 5 days after its end.

The id is what grep -o json has as "id"; a whole line of it does as well.

Exit codes: 0 when the event is for some rule, 1 when it is for none, 2 an error.`,
		Example: `  lookout alerts explain 48121
  lookout alerts explain --all 48121
  lookout alerts explain "$(lookout grep -m 1 -o json panic)"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("explain which event? give its id, which `lookout grep -o json` shows")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			id, err := eventID(args[0])
			if err != nil {
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			x, err := c.ExplainAlert(cmd.Context(), id)
			if err != nil {
				return p.explain(err)
			}
			if f.form == formJSON {
				err = p.printJSON(1, func(int) any { return x.JSON })
			} else {
				err = p.explanation(color, all, x)
			}
			if err == nil && x.Matched == 0 {
				err = errNoMatch
			}
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also the rules that the event is not for, and why")
	return cmd
}

// outcomeColors are those of what rules make of events; others have none.
var outcomeColors = map[string]string{
	string(alerting.FindingTold): colorGood, string(alerting.FindingResolves): colorGood, string(alerting.FindingQueued): colorDoubt,
	string(alerting.FindingQuiet): colorDoubt, string(alerting.FindingWaits): colorDoubt, string(alerting.FindingUnknown): colorTime, string(alerting.FindingBefore): colorTime,
}

const utcTime = "2006-01-02 15:04:05Z"

// explanation prints what the rules make of an event.
func (p *program) explanation(color, all bool, x *sdk.Explanation) error {
	paint := func(text, with string) string {
		if color && with != "" {
			return with + text + colorOff
		}
		return text
	}
	// What came from logs is made safe, and stays in its line.
	safe := func(text string) string {
		text = strings.Join(strings.Fields(text), " ")
		if terminal(p.stdout) {
			text = string(appendEscaped(nil, text))
		}
		return text
	}
	var b strings.Builder
	e := &x.Event
	fmt.Fprintf(&b, "%s %s", paint(e.Time.UTC().Format(utcTime), colorTime), paint(safe(orDash(e.Service)), serviceColor(e.Service)))
	if e.Level != "" {
		b.WriteString(" " + paint(safe(e.Level), levelColor(e.Level)))
	}
	fmt.Fprintf(&b, ": %s\n", safe(shortLine(e.Message)))
	if !x.FirstSeen.IsZero() {
		fmt.Fprintf(&b, "%s\n", paint("lines of its kind came from "+x.FirstSeen.UTC().Format(utcTime)+" to "+x.LastSeen.UTC().Format(utcTime), colorTime))
	}
	others := 0
	for i := range x.Rules {
		v := &x.Rules[i]
		if !v.Match {
			others++
			continue
		}
		fmt.Fprintf(&b, "\n%s: %s\n  %s\n", safe(v.Rule), paint(safe(v.Outcome), outcomeColors[v.Outcome]), safe(v.Why))
		rows := verdictRows(v)
		width := 0
		for i := range rows {
			rows[i][0] = safe(rows[i][0])
			width = max(width, utf8.RuneCountInString(rows[i][0]))
		}
		for _, r := range rows {
			fmt.Fprintf(&b, "  %s%s  %s\n", paint(r[0], colorTime), strings.Repeat(" ", width-utf8.RuneCountInString(r[0])), safe(r[1]))
		}
	}
	switch {
	case len(x.Rules) == 0:
		b.WriteString("\nno rule is in force\n")
	case others > 0 && all:
		b.WriteString("\n")
		for i := range x.Rules {
			if v := &x.Rules[i]; !v.Match {
				why := v.Why
				if v.Outcome == string(alerting.FindingNone) && len(v.Terms) > 0 {
					why = strings.Join(v.Terms, "; ")
				}
				fmt.Fprintf(&b, "%s: %s, %s\n", safe(v.Rule), paint(safe(v.Outcome), colorTime), safe(why))
			}
		}
	case others > 0:
		what := counted(int64(others), "rule")
		if x.Matched > 0 {
			what = "the other " + what
			if others == 1 {
				what = "the other rule"
			}
		}
		fmt.Fprintf(&b, "\n%s\n", paint("it is not for "+what+"; --all says why", colorTime))
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// shortLine is the first line of a text, as much as fits one.
func shortLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if r := []rune(text); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return text
}

// verdictRows are the facts behind a verdict, each with its name.
func verdictRows(v *sdk.Verdict) (rows [][2]string) {
	add := func(name, text string) {
		if text != "" {
			rows = append(rows, [2]string{name, text})
		}
	}
	add("query", v.Query)
	for _, t := range v.Terms {
		add("term", t)
	}
	if v.Mode != string(alerting.ModeMatch) {
		add("mode", v.Mode)
	}
	add("fingerprint", v.Fingerprint)
	if s := v.Series; s != nil {
		var by []string
		for name, value := range s.By {
			by = append(by, name+" "+orDash(value))
		}
		slices.Sort(by)
		name := strings.Join(by, ", ")
		if name != "" {
			name += ": "
		}
		add("series", name+s.Text)
	}
	for _, e := range v.Expected {
		text := e.Query
		if e.Author != "" {
			text += ", by " + e.Author
		}
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		add("expected", text)
	}
	if i := v.Incident; i != nil {
		add("incident", fmt.Sprintf("%d %s, fires since %s, %s: %s", i.ID, incidentState(i), i.Since.UTC().Format(utcTime), counted(i.Count, "event"), i.Title))
	}
	for _, q := range v.Quiet {
		text := q.Kind
		if q.Name != "" {
			text += " " + q.Name
		}
		if q.Past {
			text += " (over)"
		}
		add("quiet", text+": "+q.Why)
	}
	for _, c := range v.Channels {
		text := c.Why
		if c.Receipt != "" && c.Receipt != "-" {
			text += " (" + c.Receipt + ")"
		}
		if c.Route > 0 {
			text += fmt.Sprintf(", by route %d", c.Route)
			if c.Match != "" {
				text += " " + c.Match
			}
		}
		add(c.Channel, text)
	}
	return rows
}

func incidentState(i *sdk.Alert) string {
	switch {
	case i.State == string(alerting.Acknowledged) && i.By != "":
		return i.State + " by " + i.By
	case i.State == string(alerting.Resolved):
		return i.State + " at " + i.Resolved.UTC().Format(utcTime)
	}
	return i.State
}
