package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) markCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mark",
		Short: "Say that a service is deployed or stopped, beside its alerts",
		Long: `mark stores an event of a service (stream:mark) that says what people do with it. Alerts of the service show it:
"deploy v2 by ann, 4 min before"; those that are open have it in their thread. After a deploy nobody is told for ten
minutes that the service is silent, after a stop until it is heard or deployed. A token that may send events is enough.`,
		Example: `  lookout mark deploy sales v2
  lookout mark deploy sales "$GIT_COMMIT" --by "$GIT_AUTHOR" --env prod
  lookout mark stop sales --text 'moving the database'
  lookout mark list sales`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("mark has no %q: there are deploy, stop, note and list", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		p.markAddCommand(alerting.MarkDeploy, &cobra.Command{
			Use:     "deploy SERVICE VERSION",
			Short:   "Say that a version of a service is deployed",
			Example: "  lookout mark deploy sales v2\n  lookout mark deploy sales v2 --by ann --text 'new checkout'",
		}),
		p.markAddCommand(alerting.MarkStop, &cobra.Command{
			Use:     "stop SERVICE",
			Short:   "Say that a service is stopped on purpose: its silence is no news until it is heard or deployed",
			Example: "  lookout mark stop sales\n  lookout mark stop sales --env test --text 'moving the database'",
		}),
		p.markAddCommand(alerting.MarkNote, &cobra.Command{
			Use:     "note SERVICE TEXT...",
			Short:   "Say something about a service",
			Example: "  lookout mark note sales the database is read-only until 14:00",
		}),
		p.markListCommand())
	return cmd
}

// markAddCommand makes cmd one that stores a mark of a kind.
func (p *program) markAddCommand(kind alerting.MarkKind, cmd *cobra.Command) *cobra.Command {
	m := sdk.Mark{Kind: string(kind)}
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return p.completeServices(cmd, word)
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		usage := "give them as in `lookout mark " + cmd.Use + "`"
		switch {
		case len(args) == 0:
			return errors.New("which service? " + usage)
		case kind == alerting.MarkDeploy && len(args) == 1:
			return errors.New("which version? " + usage)
		case kind == alerting.MarkNote && len(args) == 1:
			return errors.New("what is there to say? " + usage)
		case kind == alerting.MarkDeploy && len(args) > 2:
			return fmt.Errorf("%q is one too many: a deploy has a service and a version; more is said with --text", args[2])
		case kind == alerting.MarkStop && len(args) > 1:
			return fmt.Errorf("%q is one too many: mark stop takes a service; more is said with --text", args[1])
		}
		m.Service = args[0]
		switch kind {
		case alerting.MarkDeploy:
			m.Version = args[1]
		case alerting.MarkNote:
			m.Text = strings.Join(args[1:], " ")
		}
		if !cmd.Flags().Changed("by") {
			m.By = p.userName()
		}
		c, err := p.client()
		if err != nil {
			return err
		}
		stored, err := c.AddMark(cmd.Context(), m)
		if err != nil {
			return p.explain(err)
		}
		said := markOf(&stored)
		p.say("%s: %s", stored.Service, said.Says())
		return nil
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVar(&m.By, "by", "", "who does it, a `name`; $USER unless given")
	fl.StringVar(&m.Env, "env", "", "only in this `environment`: production, staging, …")
	if kind != alerting.MarkNote {
		fl.StringVar(&m.Text, "text", "", "more, in `words`")
	}
	return cmd
}

func markOf(m *sdk.Mark) *alerting.Mark {
	return &alerting.Mark{Kind: alerting.MarkKind(m.Kind), Version: m.Version, By: m.By, Text: m.Text}
}

// mostMarks is how many marks are listed, the newest: as many as the server lists.
const mostMarks = 1000

func (p *program) markListCommand() *cobra.Command {
	var f listFlags
	var since, tz string
	var utc bool
	cmd := &cobra.Command{
		Use:   "list [SERVICE]",
		Short: "List the marks, the newest first",
		Example: `  lookout mark list
  lookout mark list 'pay*' --since 30d
  lookout mark list sales --json`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return p.completeServices(cmd, word)
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			req := sdk.MarksRequest{Limit: mostMarks}
			switch {
			case len(args) > 1:
				return fmt.Errorf("%q is one too many: give one service, or a name with * such as 'pay*'", args[1])
			case len(args) == 1:
				req.Service = args[0]
			}
			if req.Since, err = parseTime(since, p.now(), zone); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			marks, err := c.Marks(cmd.Context(), req)
			var incomplete *sdk.IncompleteError
			if err != nil && !errors.As(err, &incomplete) {
				return p.explain(err)
			}
			if len(marks) == 0 && err == nil {
				p.say("nothing is marked there; `lookout mark deploy SERVICE VERSION` says that something is deployed")
				return errNoMatch
			}
			if wrote := p.printMarks(f.form, color, marks, zone); wrote != nil {
				return wrote
			}
			if len(marks) == mostMarks {
				p.say("these are the newest %d; there may be more, which `lookout grep stream:mark` shows", mostMarks)
			}
			return err
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	f.add(cmd)
	fl.StringVarP(&since, "since", "s", "7d", "from this `time` on")
	fl.StringVar(&tz, "tz", "", "time `zone` for reading and showing times, such as Europe/Berlin")
	fl.BoolVar(&utc, "utc", false, "the same as --tz UTC")
	return cmd
}

func (p *program) printMarks(form string, color bool, marks []sdk.Mark, zone *time.Location) error {
	if form == formJSON {
		return p.printJSON(len(marks), func(i int) any { return &marks[i] })
	}
	t := p.newTable(color, "TIME", "SERVICE", "ENV", "WHAT", "VERSION", "BY", "TEXT")
	for i := range marks {
		m := &marks[i]
		t.add(cell{m.At.In(zone).Format("2006-01-02 15:04:05"), colorTime}, cell{m.Service, serviceColor(m.Service)}, cell{text: m.Env}, cell{text: m.Kind}, cell{text: m.Version},
			cell{text: m.By}, cell{text: m.Text})
	}
	_, err := p.stdout.Write(t.bytes())
	return err
}
