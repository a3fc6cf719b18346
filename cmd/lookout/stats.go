package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

// statsFlags are the flags that count and top share.
type statsFlags struct {
	since, until                     string
	all                              bool
	fixed, regex, ignoreCase, invert bool
	level                            string
	reports, stats                   bool
	recalled                         bool // the services are those of a saved search
	form, color, tz                  string
	utc                              bool
}

var statsForms = []string{formAuto, formJSON, formCSV}

func (f *statsFlags) add(cmd *cobra.Command, forms ...string) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.since, "since", "s", "", "from this `time` on (default 1h ago)")
	fl.StringVarP(&f.until, "until", "u", "", "up to this `time`, which is left out (default now)")
	fl.StringVar(&f.since, "start", "", "`time`: the same as --since")
	fl.StringVar(&f.until, "end", "", "`time`: the same as --until")
	fl.BoolVar(&f.all, "all", false, "from the beginning")
	fl.BoolVarP(&f.fixed, "fixed-strings", "F", false, "the query is a literal")
	fl.BoolVarP(&f.regex, "extended-regexp", "E", false, "the query is a regular expression (RE2)")
	fl.BoolVarP(&f.ignoreCase, "ignore-case", "i", false, "upper and lower case are the same")
	fl.BoolVarP(&f.invert, "invert-match", "v", false, "events that do not match")
	fl.StringVar(&f.level, "level", "", "this `level` and worse")
	fl.BoolVar(&f.reports, "reports", false, "also what probes and containers say regularly; always there when a service or stream is named")
	fl.StringVarP(&f.form, "output", "o", formAuto, "`form`: "+strings.Join(forms, ", "))
	fl.StringVar(&f.color, "color", "auto", "`when`: auto, always, never (auto honours NO_COLOR)")
	fl.StringVar(&f.tz, "tz", "", "time `zone` for reading and printing times, such as Europe/Berlin")
	fl.BoolVar(&f.utc, "utc", false, "the same as --tz UTC")
	fl.BoolVar(&f.stats, "stats", false, "say what was searched, ruled out and read")
	complete(cmd, "level", levelNames()...)
	complete(cmd, "output", forms...)
	complete(cmd, "color", "auto", "always", "never")
}

func (p *program) countCommand() *cobra.Command {
	var f statsFlags
	var by, aggs, every, saved string
	var top int
	cmd := &cobra.Command{
		Use:   "count [flags] QUERY [SERVICE...]",
		Short: "Count events, by fields and steps of time",
		Long: `count counts the events of the last hour that match; with --by a line for each value of
the fields, with --every one for each step of time that has events. --agg computes more
than the count: sum(f), avg(f), min(f), max(f), p50(f) to p99.9(f), quantile(0.99, f) and
distinct(f). Steps begin at whole multiples since 1970 in UTC.

Exit codes: 0 a match, 1 none, 2 an error or an incomplete result, 130 Ctrl-C.`,
		Example: `  lookout count error
  lookout count 'level>=error' --by service --every 5m -s 3h
  lookout count '*' web --by status -s today
  lookout count 'status>=500' --by service --agg 'count,avg(duration_ms),p99(duration_ms)'`,
		ValidArgsFunction: p.completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && saved == "" {
				return errors.New("count what? give a query, or '*' for everything; see `lookout count --help`")
			}
			r := sdk.StatsRequest{Top: top}
			if cmd.Flags().Changed("top") && top < 1 {
				return fmt.Errorf("--top: %d is no number of groups", top)
			}
			var err error
			if r.By, err = query.ParseBy(by); err != nil {
				return fmt.Errorf("--by: %w", err)
			}
			if r.Aggs, err = aggNames(aggs); err != nil {
				return fmt.Errorf("--agg: %w", err)
			}
			if every != "" {
				var ok bool
				if r.Every, ok = parseAgo(every); !ok || r.Every <= 0 {
					return fmt.Errorf("--every: %q is not a step of time; write 30s, 5m, 1h or 1d", every)
				}
			}
			if saved == "" {
				return p.aggregate(cmd, args[0], args[1:], &f, r, false)
			}
			if f.fixed || f.regex {
				return errors.New("--saved goes together neither with -F nor with -E")
			}
			s, err := p.recall(cmd, saved, args, f.since, f.until, f.all)
			if err != nil {
				return err
			}
			f.since, f.until, f.recalled = s.since, s.until, len(args) == 0
			return p.aggregate(cmd, s.query, s.services, &f, r, false)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&by, "by", "", "a line for each value of these `fields`, a,b")
	fl.StringVar(&every, "every", "", "a line for each step of so much `time`, such as 5m")
	fl.StringVar(&aggs, "agg", "count", "what to compute: `aggregates` such as 'count,avg(duration_ms)'")
	fl.IntVar(&top, "top", 0, "the `N` groups with the highest first aggregate; the others as one")
	f.add(cmd, statsForms...)
	p.addSaved(cmd, &saved)
	if err := cmd.RegisterFlagCompletionFunc("by", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return p.completeFields(cmd, word)
	}); err != nil {
		panic(err) // no such flag: a slip of the pen that every run would show
	}
	return cmd
}

// aggNames returns the aggregates as the server names them.
func aggNames(text string) ([]string, error) {
	aggs, err := query.ParseAggs(text)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(aggs))
	for i, a := range aggs {
		names[i] = a.String()
	}
	return names, nil
}

func (p *program) topCommand() *cobra.Command {
	var f statsFlags
	var limit int
	cmd := &cobra.Command{
		Use:   "top [flags] FIELD [QUERY] [SERVICE...]",
		Short: "Count a field's values, the most frequent first",
		Long: `top counts the values of a field in the events of the last hour that match and have it, the
most frequent first, with their share of these events. A field may be a built-in one
(service, level, host, env, container, stream). Several fields, a,b, count their
combinations. An event with several values of the field counts with each.

Exit codes: 0 a match, 1 none, 2 an error or an incomplete result, 130 Ctrl-C.`,
		Example: `  lookout top user
  lookout top path 'status>=500' web -s today
  lookout top host,level -n 20`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			switch len(args) {
			case 0:
				return p.completeFields(cmd, word)
			case 1:
				return p.completeTerm(cmd, word)
			}
			return p.completeServices(cmd, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the top values of which field? see `lookout top --help`")
			}
			if limit < 1 {
				return fmt.Errorf("-n: %d is no number of values", limit)
			}
			by, err := query.ParseBy(args[0])
			if err != nil {
				return err
			}
			pattern, services := "*", args[1:]
			if len(services) > 0 {
				pattern, services = services[0], services[1:]
			}
			return p.aggregate(cmd, pattern, services, &f, sdk.StatsRequest{By: by, Top: limit, Aggs: []string{"count"}}, true)
		},
	}
	cmd.Flags().IntVarP(&limit, "limit", "n", 10, "the `N` most frequent values; the others as one")
	f.add(cmd, statsForms...)
	return cmd
}

// aggregate asks the server and prints the groups; with share also each one's part of all that matched.
func (p *program) aggregate(cmd *cobra.Command, pattern string, services []string, f *statsFlags, r sdk.StatsRequest, share bool) error {
	if !slices.Contains(statsForms, f.form) {
		return fmt.Errorf("-o: there is no form %q; use one of %s", f.form, strings.Join(statsForms, ", "))
	}
	g := grepFlags{fixed: f.fixed, regex: f.regex, ignoreCase: f.ignoreCase, invert: f.invert, level: f.level}
	q, err := g.compile([]string{pattern}, services)
	if err != nil {
		return err
	}
	zone, err := parseZone(f.tz, f.utc)
	if err != nil {
		return err
	}
	span, err := parseRange(f.since, f.until, f.all, p.now(), zone)
	if err != nil {
		return err
	}
	color, err := p.colors(f.color)
	if err != nil {
		return err
	}
	if pattern != "*" && !f.fixed && !f.regex {
		p.hints(pattern)
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	if len(services) > 0 && !f.recalled {
		all, err := c.Services(cmd.Context())
		if err != nil {
			return p.explain(err)
		}
		if _, err := matchServices(all, services); err != nil {
			return err
		}
	}
	if share {
		if q, err = withFields(q, r.By); err != nil {
			return err
		}
	}
	r.Query, r.Since, r.Until, r.NoReports = q.String(), span.since, span.until, !f.reports
	s := &search{
		p: p, query: q, look: look{zone: zone}, globs: services, stats: f.stats, standard: f.since == "" && f.until == "" && !f.all,
		request: sdk.QueryRequest{Query: r.Query, Since: r.Since, Until: r.Until},
	}
	answer, err := c.Stats(cmd.Context(), r)
	if err = s.partly(err); err != nil {
		return p.explain(err)
	}
	out := statsPrinter{p: p, r: &r, zone: zone, share: share, matched: answer.Summary.Matched}
	var text []byte
	switch {
	case f.form == formJSON:
		text, err = out.json(answer)
	case f.form == formCSV:
		text, err = out.csv(answer)
	case len(r.By) == 0 && r.Every == 0 && len(r.Aggs) == 1:
		text = append(plainNumber(answer.Groups[0].Values, r.Aggs[0]), '\n')
	default:
		text = out.table(answer, color)
	}
	if err != nil {
		return err
	}
	to := p.stdout
	if f.form != formAuto { // the table has colours, and has escaped what it shows
		to = p.inert()
	}
	if _, err := to.Write(text); err != nil {
		return err
	}
	if len(answer.Estimated) > 0 && f.form == formAuto {
		p.say("estimated: %s", strings.Join(answer.Estimated, ", "))
	}
	return s.finish(answer.Summary, answer.Summary.Matched, answer.Summary.Matched > 0)
}

// withFields narrows a query to the events that have the fields.
func withFields(q *query.Query, names []string) (*query.Query, error) {
	text := "(" + q.String() + ")"
	for _, name := range names {
		quote := `"`
		for _, other := range []string{"'", "`"} {
			if strings.Contains(name, quote) {
				quote = other
			}
		}
		text += " " + quote + name + quote + ":*"
	}
	return query.Parse(text)
}

// statsPrinter writes groups.
type statsPrinter struct {
	p       *program
	r       *sdk.StatsRequest
	zone    *time.Location
	share   bool
	matched int64
}

// plainNumber is an aggregate as a program reads it; nothing for none.
func plainNumber(values map[string]float64, name string) []byte {
	v, ok := values[name]
	switch {
	case !ok:
		return nil
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.AppendInt(nil, int64(v), 10)
	}
	return strconv.AppendFloat(nil, v, 'g', -1, 64)
}

// shownNumber is an aggregate as a person reads it: with three decimals or, below 1, three digits.
func shownNumber(values map[string]float64, name string) string {
	v, ok := values[name]
	switch {
	case !ok:
		return ""
	case v == math.Trunc(v) && math.Abs(v) < 1e15:
		return grouped(int64(v))
	case math.Abs(v) < 1 || math.Abs(v) >= 1e15:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	whole, rest := math.Modf(math.Round(v*1000) / 1000)
	text := strconv.FormatFloat(math.Abs(rest), 'f', 3, 64)
	sign := ""
	if v < 0 && whole == 0 {
		sign = "-"
	}
	return sign + grouped(int64(whole)) + strings.TrimRight(strings.TrimRight(text[1:], "0"), ".")
}

func (o *statsPrinter) table(s *sdk.Stats, color bool) []byte {
	var names []string
	if o.r.Every > 0 {
		names = append(names, "TIME")
	}
	for _, name := range append(slices.Clone(o.r.By), o.r.Aggs...) {
		if terminal(o.p.stdout) {
			name = string(appendEscaped(nil, name))
		}
		names = append(names, strings.ToUpper(strings.Join(strings.Fields(name), " ")))
	}
	if o.share {
		names = append(names, "SHARE")
	}
	t := o.p.newTable(color, names...)
	row := func(g *sdk.Group, by func(i int, name string) cell) {
		var cells []cell
		if o.r.Every > 0 {
			cells = append(cells, cell{g.Time.In(o.zone).Format("2006-01-02 15:04:05"), colorTime})
		}
		for i, name := range o.r.By {
			cells = append(cells, by(i, name))
		}
		for _, name := range o.r.Aggs {
			cells = append(cells, cell{text: shownNumber(g.Values, name)})
		}
		if o.share {
			cells = append(cells, cell{text: fmt.Sprintf("%.1f%%", 100*g.Values[o.r.Aggs[0]]/float64(max(o.matched, 1)))})
		}
		t.add(cells...)
	}
	for i := range s.Groups {
		row(&s.Groups[i], func(_ int, name string) cell {
			v := s.Groups[i].By[name]
			switch {
			case v == nil:
				return cell{}
			case *v == "":
				return cell{text: `""`}
			case name == "service":
				return cell{*v, serviceColor(*v)}
			}
			return cell{text: *v}
		})
	}
	for i := range s.Other {
		row(&s.Other[i], func(i int, _ string) cell {
			if i > 0 {
				return cell{}
			}
			return cell{counted(int64(s.LeftOut), "other"), colorTime}
		})
	}
	return t.bytes()
}

// json is a group a line; what was left out comes last, with "other" in the place of "by".
func (o *statsPrinter) json(s *sdk.Stats) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	line := func(g *sdk.Group, key string, by any) error {
		m := map[string]any{key: by}
		if o.r.Every > 0 {
			m["time"] = g.Time.In(o.zone)
		}
		for _, name := range o.r.Aggs {
			if m[name] = nil; len(plainNumber(g.Values, name)) > 0 {
				m[name] = json.Number(plainNumber(g.Values, name))
			}
		}
		return enc.Encode(m)
	}
	for i := range s.Groups {
		if err := line(&s.Groups[i], "by", s.Groups[i].By); err != nil {
			return nil, err
		}
	}
	for i := range s.Other {
		if err := line(&s.Other[i], "other", s.LeftOut); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// csv has a column for each field and aggregate. What was left out is not in it: it has no values.
func (o *statsPrinter) csv(s *sdk.Stats) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	var header []string
	if o.r.Every > 0 {
		header = append(header, "time")
	}
	header = append(append(header, o.r.By...), o.r.Aggs...)
	if err := w.Write(header); err != nil {
		return nil, err
	}
	for i := range s.Groups {
		g := &s.Groups[i]
		var record []string
		if o.r.Every > 0 {
			record = append(record, g.Time.In(o.zone).Format(time.RFC3339Nano))
		}
		for _, name := range o.r.By {
			text := ""
			if v := g.By[name]; v != nil {
				text = harmless(*v)
			}
			record = append(record, text)
		}
		for _, name := range o.r.Aggs {
			record = append(record, string(plainNumber(g.Values, name)))
		}
		if err := w.Write(record); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}
