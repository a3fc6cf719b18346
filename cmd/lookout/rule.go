package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/app"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/rehearse"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) ruleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rule",
		Short: "List alert rules, and try them before they ring",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("rule has no %q: there are list, test and backtest", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.ruleListCommand(), p.ruleTestCommand(), p.ruleBacktestCommand())
	return cmd
}

func (p *program) ruleListCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules in force: whom they tell, and what they matched since the server's start",
		Example: `  lookout rule list
  lookout rule list --json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printList(cmd.Context(), p, &f, "no rule is in force: set slack.channel and slack.token, or rules in lookout.yaml", from(p, (*sdk.Client).Rules),
				[]string{"RULE", "MODE", "NOTIFY", "SEVERITY", "CHANNELS", "MATCHED", "LAST", "OPEN", "QUERY"},
				func(r *sdk.Rule) []cell {
					last := ""
					if !r.Last.IsZero() {
						last = ageText(p.now().Sub(r.Last))
					}
					severity := r.Severity
					if severity == "" {
						severity = "level's"
					}
					return []cell{
						{text: r.Name}, {text: r.Mode}, {text: r.Notify}, {severity, severityColors[r.Severity]}, {text: strings.Join(r.Channels, ", ")},
						{text: grouped(int64(r.Matched))}, {text: last}, {text: grouped(int64(r.Open))}, {text: r.Query},
					}
				})
		},
	}
	f.add(cmd)
	return cmd
}

// severityColors are the colours of severities.
var severityColors = map[string]string{"critical": colorBad, "error": colorBad, "warning": colorDoubt}

func (p *program) ruleTestCommand() *cobra.Command {
	var f listFlags
	var file, rule, service string
	var stdin bool
	cmd := &cobra.Command{
		Use:   "test [FILE]",
		Short: "Say what rules would tell about the lines of a file, without a server",
		Long: `test holds lines against rules, those of a file or with --stdin those of standard input, and prints what would be told to
whom. Each line is read as an input would read it (JSON, logfmt, level, time); nobody is told, and no server is asked.

The rules are those of the configuration (--file, else LOOKOUT_CONFIG, else lookout.yaml), of --rule only one; a --rule that
is no rule's name is a query that is made a rule. Slack and Pushover count as set up. The time is that of the lines: events
count as received when they happened, and what becomes due within ten minutes of the last one is told too.

Exit codes: 0 when something is told, 1 when nothing is, 2 an error.`,
		Example: `  lookout rule test app.log
  lookout rule test --rule 'level>=error -timeout' app.log
  docker logs web 2>&1 | lookout rule test --stdin --service web --rule errors`,
		RunE: func(cmd *cobra.Command, args []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			var lines io.Reader
			switch {
			case len(args) > 1:
				return errors.New("one file at a time: join them, `cat FILE... | lookout rule test --stdin`")
			case len(args) == 1 && stdin:
				return errors.New("a file or --stdin, not both")
			case len(args) == 1:
				in, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer in.Close()
				lines = in
			case stdin:
				lines = p.stdin
			default:
				return errors.New("on which lines? name a file, or pipe lines into it with --stdin")
			}
			o, err := p.rulesToTry(file, rule)
			if err != nil {
				return err
			}
			told := false
			sum, err := rehearse.Lines(cmd.Context(), lines, service, o, func(n rehearse.Notification) error {
				told = true
				return p.notification(color, f.form, (*sdk.Notification)(&n))
			})
			if err != nil {
				return err
			}
			if f.form == formAuto {
				for _, r := range sum.Rules {
					p.say("rule %s matched %s of %s", r.Rule, grouped(int64(r.Matched)), counted(sum.Events, "line"))
				}
				p.say("%s", toldText(sum.Messages, sum.Held, sum.Cut))
			}
			if !told {
				return errNoMatch
			}
			return nil
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&stdin, "stdin", false, "read standard input")
	fl.StringVar(&rule, "rule", "", "try only the rule of this `NAME`, or one made of this query")
	fl.StringVar(&file, "file", "", "the configuration's `file`")
	fl.StringVar(&service, "service", "", "the `name` of the service of lines that name none")
	return cmd
}

// rulesToTry are the rules of the configuration, of which only one when it is named, or one made of a query.
func (p *program) rulesToTry(file, rule string) (alerting.Options, error) {
	c, _, err := config.Load(file, p.env)
	if err != nil {
		if file == "" && rule != "" { // a query needs no configuration
			c = &config.Config{}
		} else {
			return alerting.Options{}, fmt.Errorf("the configuration has problems; `lookout check` lists them: %w", err)
		}
	}
	o := app.TryOptions(c)
	if rule == "" {
		if len(o.Rules) == 0 {
			return o, errors.New("there are no rules: name a configuration by --file, set slack.channel in it, or give a query by --rule")
		}
		return o, nil
	}
	var names []string
	for _, r := range o.Rules {
		names = append(names, r.Name)
	}
	o.Rules = slices.DeleteFunc(o.Rules, func(r alerting.Rule) bool { return r.Name != rule })
	if len(o.Rules) > 0 {
		return o, nil
	}
	q, err := query.Parse(rule)
	if err != nil {
		if len(names) > 0 {
			return o, fmt.Errorf("--rule: it is no rule's name (there are %s), and as a query: %w", strings.Join(names, ", "), err)
		}
		return o, err
	}
	p.hints(rule)
	o.Rules = []alerting.Rule{rehearse.RuleOf(q)}
	return o, nil
}

func (p *program) ruleBacktestCommand() *cobra.Command {
	var f listFlags
	var since, until, rule, file string
	var edits bool
	cmd := &cobra.Command{
		Use:   "backtest",
		Short: "Say what rules would have told about the events that are stored",
		Long: `backtest has the server hold the events it keeps against its rules, from --since on, with a clock that follows the events, and
prints the very messages that would have been sent; nobody is told. With --file it tries the rules of that configuration, and
prints what they tell differently: lines with + are sent only by them, lines with - only by the rules in force.

The rules begin with nothing: what was open already at --since is told as new, and what is acknowledged or silenced by people
is not known. One backtest runs at a time; it ends when the command does.`,
		Example: `  lookout rule backtest --since 7d
  lookout rule backtest --since 24h --rule errors
  lookout rule backtest --since 7d --file lookout.yaml`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			color, err := f.check(p)
			if err != nil {
				return err
			}
			span, err := parseRange(since, until, false, p.now(), time.Local)
			if err != nil {
				return err
			}
			r := sdk.BacktestRequest{Since: span.since, Until: span.until, Rule: rule, Edits: edits}
			if file != "" {
				if _, _, err := config.Load(file, p.env); err != nil {
					return err
				}
				text, err := os.ReadFile(file)
				if err != nil {
					return err
				}
				if text, err = config.Hide(text); err != nil {
					return err
				}
				r.Config = string(text)
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			bar := p.progress("testing")
			defer bar.end()
			sum, err := c.Backtest(cmd.Context(), r, func(now sdk.Progress) { bar.set(now.Done, now.Total, now.Unit) }, func(n *sdk.Notification) error {
				bar.end()
				return p.notification(color, f.form, n)
			})
			bar.end()
			if err != nil {
				return p.explain(err)
			}
			if f.form == formJSON {
				return json.NewEncoder(p.inert()).Encode(map[string]any{"summary": sum})
			}
			return p.backtestSummary(color, sum)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVarP(&since, "since", "s", "7d", "events received from this `time` on")
	fl.StringVarP(&until, "until", "u", "", "events received before this `time`")
	fl.StringVar(&rule, "rule", "", "only the rule of this `name`")
	fl.StringVar(&file, "file", "", "a configuration's `file`, whose rules are compared with those in force; its secrets are not sent")
	fl.BoolVar(&edits, "edits", false, "print edits of messages and notes in threads, too")
	return cmd
}

// notification prints a message that would have been sent.
func (p *program) notification(color bool, form string, n *sdk.Notification) error {
	if form == formJSON {
		return p.printJSON(1, func(int) any { return n })
	}
	paint := func(text, with string) string {
		if color && with != "" {
			return with + text + colorOff
		}
		return text
	}
	// What came from logs is made safe.
	safe := func(text string) string {
		if terminal(p.stdout) {
			text = string(appendEscaped(nil, text))
		}
		return text
	}
	var b strings.Builder
	if n.Change != "" {
		b.WriteString(paint(n.Change, map[string]string{"+": colorGood, "-": colorBad}[n.Change]) + " ")
	}
	kind := ""
	if n.Kind != string(alerting.Posted) {
		kind = n.Kind + ": "
	}
	fmt.Fprintf(&b, "%s %s %s%s\n", paint(n.At.UTC().Format("2006-01-02 15:04:05Z"), colorTime), safe(n.Channel), kind, paint(safe(n.Title), severityColors[n.Severity]))
	for _, text := range n.Lines {
		for line := range strings.Lines(text) {
			b.WriteString("    " + safe(strings.TrimSuffix(line, "\n")) + "\n")
		}
	}
	if facts := slices.Concat(n.Facts, n.Notes); len(facts) > 0 {
		b.WriteString("    " + paint(safe(strings.Join(facts, " · ")), colorTime) + "\n")
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

// toldText says how many messages there were.
func toldText(messages, held, cut int64) string {
	text := counted(messages, "message")
	if held > 0 {
		text += fmt.Sprintf(", %s held and counted in overviews", grouped(held))
	}
	if cut > 0 {
		text += fmt.Sprintf("; %s not listed", grouped(cut))
	}
	return text
}

// backtestSummary prints the counts: by channel and day, and by rule.
func (p *program) backtestSummary(color bool, s *sdk.BacktestSummary) error {
	signed := func(n int64) string {
		if n > 0 {
			return "+" + grouped(n)
		}
		return grouped(n)
	}
	columns := func(names ...string) []string {
		if s.Compared {
			names = append(names, "IN FORCE", "CHANGE")
		}
		return names
	}
	beside := func(now int64, before *int64) []cell {
		if before == nil {
			return nil
		}
		return []cell{{text: grouped(*before)}, {text: signed(now - *before)}}
	}
	days := p.newTable(color, columns("DAY", "CHANNEL", "MESSAGES")...)
	for _, d := range s.Days {
		days.add(append([]cell{{text: d.Day}, {text: d.Channel}, {text: grouped(d.Messages)}}, beside(d.Messages, d.Before)...)...)
	}
	rules := p.newTable(color, columns("RULE", "MATCHED")...)
	for _, r := range s.Rules {
		var before *int64
		if r.Before != nil {
			n := int64(*r.Before)
			before = &n
		}
		rules.add(append([]cell{{text: r.Rule}, {text: grouped(int64(r.Matched))}}, beside(int64(r.Matched), before)...)...)
	}
	var out []byte
	if len(s.Days) > 0 {
		out = append(append(out, '\n'), days.bytes()...)
	}
	out = append(append(out, '\n'), rules.bytes()...)
	if _, err := p.stdout.Write(out); err != nil {
		return err
	}
	if s.Gaps > 0 {
		p.say("%s of events could not be read; the server's log says why", counted(int64(s.Gaps), "range"))
	}
	took := time.Duration(s.TookMS * float64(time.Millisecond))
	p.say("%s in %s (%s/s); %s", counted(s.Events, "event"), took.Round(time.Millisecond), grouped(int64(float64(s.Events)/max(took.Seconds(), 0.001))), toldText(s.Messages, s.Held, s.Cut))
	if s.Compared {
		p.say("%s added, %s removed, %s the same", grouped(s.Added), grouped(s.Removed), grouped(s.Same))
	}
	return nil
}
