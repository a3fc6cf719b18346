package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) silenceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "silence",
		Short: "Keep alerts quiet for a while",
		Long: `silence keeps alerts from being told for a time: their messages say so, nothing rings, and their counts go
on. What still fires when the silence ends is told then. Which alerts is said by matchers on labels in Alertmanager's syntax:
rule, severity, service, env, host, container, level, fingerprint, mode, and the labels that a rule has.
Adding and ending needs the admin's token.`,
		Example: `  lookout silence add 'service="shop"' --for 2h --comment 'moving the database'
  lookout silence list
  lookout silence end 3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.silenceListCommand(), p.silenceAddCommand(), p.silenceEndCommand())
	return cmd
}

func (p *program) silenceListCommand() *cobra.Command {
	var f listFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the silences that are active or to come",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			silences := func(ctx context.Context) ([]sdk.Silence, error) {
				list, err := from(p, (*sdk.Client).Silences)(ctx)
				return slices.DeleteFunc(list, func(s sdk.Silence) bool { return s.State == string(alerting.SilenceExpired) && !all }), err
			}
			return printList(cmd.Context(), p, &f, "nothing is silenced; `lookout silence add 'service=\"shop\"' --for 2h` silences something", silences,
				[]string{"ID", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT"},
				func(s *sdk.Silence) []cell {
					return []cell{{text: s.ID}, silenceState(s.State), {text: p.silenceTimes(*s)}, {text: s.Matchers}, {text: s.By}, {text: s.Comment}}
				})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "also those that were over within the last five days")
	return cmd
}

func silenceState(state string) cell {
	colors := map[string]string{string(alerting.SilenceActive): colorDoubt, string(alerting.SilencePending): colorTime}
	return cell{state, colors[state]}
}

// silenceTimes says when a silence ends or begins, from now.
func (p *program) silenceTimes(s sdk.Silence) string {
	now := p.now()
	switch s.State {
	case string(alerting.SilencePending):
		return fmt.Sprintf("begins in %s, for %s", ageText(s.From.Sub(now)), ageText(s.Until.Sub(s.From)))
	case string(alerting.SilenceActive):
		return "in " + ageText(s.Until.Sub(now))
	}
	text := ageText(now.Sub(s.Until)) + " ago"
	if s.EndedBy != "" {
		text += ", by " + s.EndedBy
	}
	return text
}

func (p *program) silenceAddCommand() *cobra.Command {
	var lasts, from, until, comment, by, id, tz string
	var utc bool
	cmd := &cobra.Command{
		Use:   "add MATCHER... (--for TIME | --until TIME)",
		Short: "Silence the alerts that match",
		Long: `add silences what matches all of the matchers: label="value", !=, =~ and !~ with an expression that matches the
whole value. It prints the silence's ID, which --id takes to change it.`,
		Example: `  lookout silence add 'service="shop"' --for 2h --comment 'moving the database'
  lookout silence add severity=warning 'env=~"test|stage"' --until 'tomorrow 8:00'
  lookout silence add 'service="shop"' --for 4h --id 3        # longer`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New(`silence what? give matchers such as 'service="shop"'`)
			}
			ms, err := alerting.ParseMatchers(strings.Join(args, ","))
			if err != nil {
				return err
			}
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			s := sdk.Silence{ID: id, Matchers: ms.String(), By: by, Comment: comment}
			if err := p.silenceEnds(&s, from, until, lasts, zone); err != nil {
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			kept, err := c.AddSilence(cmd.Context(), s)
			if err != nil {
				return p.explain(noSilence(id, err))
			}
			p.say("silenced until %s: %s", kept.Until.In(zone).Format("2006-01-02 15:04:05 MST"), kept.Matchers)
			if open, err := c.Alerts(cmd.Context()); err == nil { // it is silenced, whether that can be said or not
				p.say("%s", silenced(ms, open))
			}
			_, err = fmt.Fprintln(p.inert(), kept.ID)
			return err
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&lasts, "for", "", "how `long`: 30m, 2h, 1d")
	fl.StringVarP(&until, "until", "u", "", "or up to this `time`")
	fl.StringVarP(&from, "from", "s", "", "from this `time` on; by default from now")
	fl.StringVarP(&comment, "comment", "c", "", "why, in `words` that the messages show")
	fl.StringVar(&by, "by", "", "who does it, a `name` that the messages show beside the token's")
	fl.StringVar(&id, "id", "", "change the silence of this `ID`")
	fl.StringVar(&tz, "tz", "", "time `zone` for reading and showing times, such as Europe/Berlin")
	fl.BoolVar(&utc, "utc", false, "the same as --tz UTC")
	return cmd
}

// silenced says how many of the open alerts matchers match: none, and a label or value may be written wrong.
func silenced(ms alerting.Matchers, all []sdk.Alert) string {
	open, matched := 0, int64(0)
	for _, a := range all {
		if a.State == string(alerting.Resolved) {
			continue
		}
		open++
		if ms.Match(a.Labels) {
			matched++
		}
	}
	switch {
	case matched > 0:
		return fmt.Sprintf("%d of %s open now", matched, counted(int64(open), "alert"))
	case open == 0:
		return "nothing is open now"
	}
	return fmt.Sprintf("0 of %s open now; `lookout alerts --json` shows their labels", counted(int64(open), "alert"))
}

// silenceEnds reads when a silence begins and ends.
func (p *program) silenceEnds(s *sdk.Silence, from, until, lasts string, zone *time.Location) (err error) {
	if from != "" {
		if s.From, err = parseTime(from, p.now(), zone); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	switch {
	case (lasts == "") == (until == ""):
		return errors.New("how long? give --for 2h or --until TIME")
	case lasts != "":
		d, ok := parseAgo(lasts)
		if !ok || d <= 0 {
			return fmt.Errorf("--for: %q is not a length of time; write it as 30m, 2h or 1d", lasts)
		}
		s.For = d
	default:
		if s.Until, err = parseTime(until, p.now(), zone); err != nil {
			return fmt.Errorf("--until: %w", err)
		}
	}
	return nil
}

func (p *program) silenceEndCommand() *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use:   "end ID...",
		Short: "End silences now: what still fires is told",
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return p.completeSilences(cmd)
		},
		RunE: func(cmd *cobra.Command, ids []string) error {
			if len(ids) == 0 {
				return errors.New("end which? `lookout silence list` lists them with their IDs")
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			for _, id := range ids {
				s, err := c.EndSilence(cmd.Context(), id, by)
				if err != nil {
					return p.explain(noSilence(id, err))
				}
				p.say("%s ended: %s", s.ID, s.Matchers)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "who does it, a `name` that is kept beside the token's")
	return cmd
}

// noSilence words that there is no silence of an ID.
func noSilence(id string, err error) error {
	var e *sdk.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound && e.Code == "not_found" {
		return fmt.Errorf("there is no silence %s; `lookout silence list` lists them", id)
	}
	return err
}

// completeSilences completes the IDs of what is not over.
func (p *program) completeSilences(cmd *cobra.Command) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := c.Silences(ctx) // what came is offered, all else is silent
	var ids []string
	for _, s := range all {
		if s.State != string(alerting.SilenceExpired) {
			ids = append(ids, cobra.CompletionWithDesc(s.ID, s.Matchers))
		}
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}
