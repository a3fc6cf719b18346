package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

var listForms = []string{formAuto, formJSON}

var patternSorts = []string{"count", "first", "last"}

func (p *program) patternsCommand() *cobra.Command {
	var f statsFlags
	r := sdk.PatternsRequest{}
	cmd := &cobra.Command{
		Use:   "patterns [flags] [QUERY] [SERVICE...]",
		Short: "List the kinds of lines: how often, since when, and what they look like",
		Long: `patterns lists the kinds of lines among the events of the last hour that match: lines of one
service and level that differ only in numbers, ids and what is in quotes. Where these were
there is a #. FIRST and LAST say when the pattern was seen first and last, ever.

--search finds patterns by their words, also those of which no event is stored any more:
refund is a word, "card refund" a phrase, ref* a beginning, refnud~ a word with slips, and
-test leaves out. A new pattern is found by its words some ten minutes after its first event.
--ever lists all patterns of a service or level that ever were, with COUNT in the range.

Exit codes: 0 a pattern, 1 none, 2 an error or an incomplete result, 130 Ctrl-C.`,
		Example: `  lookout patterns
  lookout patterns 'level>=warning' 'pay*' -s today
  lookout patterns --new -s 1d
  lookout patterns --search 'refund fail*'
  lookout patterns --ever --sort last '*' pay`,
		ValidArgsFunction: p.completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.patterns(cmd, args, &f, r)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&r.Search, "search", "", "patterns with these `words`, whenever they were seen")
	fl.BoolVar(&r.Ever, "ever", false, "also the patterns of which no event is in the range, or stored at all")
	fl.BoolVar(&r.New, "new", false, "patterns that were first seen in the range")
	fl.StringVar(&r.Sort, "sort", "count", "`order`: count, first or last (seen), the highest or newest first")
	fl.IntVarP(&r.Limit, "limit", "n", 50, "the first `N` patterns, at most 1000")
	f.add(cmd, listForms...)
	complete(cmd, "sort", patternSorts...)
	return cmd
}

// kindSearch compiles what patterns and fields share: a query, services and a range.
func (p *program) kindSearch(cmd *cobra.Command, args []string, f *statsFlags) (s *search, c *sdk.Client, err error) {
	if !slices.Contains(listForms, f.form) {
		return nil, nil, fmt.Errorf("-o: there is no form %q; use %s", f.form, strings.Join(listForms, " or "))
	}
	pattern, services := "*", args
	if len(args) > 0 {
		pattern, services = args[0], args[1:]
	}
	g := grepFlags{fixed: f.fixed, regex: f.regex, ignoreCase: f.ignoreCase, invert: f.invert, level: f.level}
	q, err := g.compile([]string{pattern}, services)
	if err != nil {
		return nil, nil, err
	}
	zone, err := parseZone(f.tz, f.utc)
	if err != nil {
		return nil, nil, err
	}
	span, err := parseRange(f.since, f.until, f.all, p.now(), zone)
	if err != nil {
		return nil, nil, err
	}
	if pattern != "*" && !f.fixed && !f.regex {
		p.hints(pattern)
	}
	if c, err = p.client(); err != nil {
		return nil, nil, err
	}
	if len(services) > 0 {
		all, err := c.Services(cmd.Context())
		if err != nil {
			return nil, nil, p.explain(err)
		}
		if _, err := matchServices(all, services); err != nil {
			return nil, nil, err
		}
	}
	return &search{
		p: p, query: q, look: look{zone: zone}, globs: services, stats: f.stats, standard: f.since == "" && f.until == "" && !f.all,
		request: sdk.QueryRequest{Query: q.String(), Since: span.since, Until: span.until, NoReports: !f.reports},
	}, c, nil
}

func (p *program) patterns(cmd *cobra.Command, args []string, f *statsFlags, r sdk.PatternsRequest) error {
	if !slices.Contains(patternSorts, r.Sort) {
		return fmt.Errorf("--sort: there is no order %q; use %s", r.Sort, strings.Join(patternSorts, ", "))
	}
	if r.Limit < 1 || r.Limit > 1000 {
		return fmt.Errorf("-n: %d is no number of patterns from 1 to 1000", r.Limit)
	}
	if r.New && f.all {
		return fmt.Errorf("--new and --all do not go together: from the beginning everything was new")
	}
	ledger := "--search"
	if r.Ever {
		switch ledger = "--ever"; {
		case r.Search != "":
			return fmt.Errorf("--search and --ever do not go together: --search is of all patterns that ever were")
		case len(args) > 0 && args[0] != "*":
			return fmt.Errorf("--ever lists patterns, and a query selects events: write '*' in its place, or --search to find patterns by their words")
		}
	}
	color, err := p.colors(f.color)
	if err != nil {
		return err
	}
	s, c, err := p.kindSearch(cmd, args, f)
	if err != nil {
		return err
	}
	if r.Search != "" || r.Ever {
		if len(s.globs) > 1 {
			return fmt.Errorf("%s goes with one service, which may be a pattern such as 'pay*'", ledger)
		}
		if len(s.globs) == 1 {
			r.Service = s.globs[0]
		}
		r.Level = f.level
	}
	r.Query, r.Since, r.Until, r.NoReports = s.request.Query, s.request.Since, s.request.Until, s.request.NoReports
	answer, err := c.Patterns(cmd.Context(), r)
	if err = s.partly(err); err != nil {
		return p.explain(err)
	}
	if f.form == formJSON {
		err = printLines(p.inert(), answer.Patterns)
	} else if len(answer.Patterns) > 0 {
		_, err = p.stdout.Write(p.patternsTable(color, s.look.zone, answer.Patterns).bytes())
	}
	if err != nil {
		return err
	}
	if r.Search != "" && answer.Total == 0 {
		mend := ""
		if !strings.ContainsAny(r.Search, `~"*`) {
			mend = fmt.Sprintf("; with slips: --search '%s~'", strings.Join(strings.Fields(r.Search), "~ "))
		}
		if word := masked(r.Search); word != "" {
			mend = fmt.Sprintf("; %s can be an id, for which patterns have a #: 'lookout patterns %s' lists those of the events that have it", word, word)
		}
		p.say("no pattern has these words; one that is new has them some ten minutes later%s", mend)
	}
	if left := answer.Total - len(answer.Patterns); left > 0 {
		p.say("%s more; -n shows more of them", counted(int64(left), "pattern"))
	}
	if answer.Other > 0 {
		p.say("%s of further patterns, for which the answer had no room", counted(answer.Other, "event"))
	}
	return s.finish(answer.Summary, answer.Summary.Matched, len(answer.Patterns) > 0)
}

// masked returns the first of the words of a search that patterns never have: one with a digit, or of four letters a to f and more, that
// is not known as a word.
func masked(search string) string {
	for _, word := range strings.FieldsFunc(search, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		if strings.ContainsAny(word, "0123456789") || len(word) >= 4 && strings.Trim(word, "abcdefABCDEF") == "" {
			if !query.IsWord([]byte(word)) {
				return word
			}
		}
	}
	return ""
}

// printLines writes a JSON value a line.
func printLines[T any](w io.Writer, list []T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i := range list {
		if err := enc.Encode(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) patternsTable(color bool, zone *time.Location, list []sdk.Pattern) *table {
	trend := slices.ContainsFunc(list, func(k sdk.Pattern) bool { return len(k.Trend) > 0 })
	names := []string{"COUNT", "LEVEL", "SERVICE", "FIRST", "LAST", "PATTERN"}
	if trend {
		names = slices.Insert(names, 1, "TREND")
	}
	t := p.newTable(color, names...)
	now := p.now()
	for _, k := range list {
		first := cell{text: ageText(now.Sub(k.FirstSeen))}
		if k.New {
			first = cell{first.text + " new", colorDoubt}
		}
		text := k.Template
		if text == "" {
			text = "(no text)"
		}
		cells := []cell{{text: grouped(k.Count)}, {shortLevel(k.Level), levelColor(k.Level)}, {k.Service, serviceColor(k.Service)}, first, {text: ageText(now.Sub(k.LastSeen))}, {text: text}}
		if trend {
			cells = slices.Insert(cells, 1, cell{text: sparkline(k.Trend)})
		}
		t.add(cells...)
	}
	return t
}

// sparkline draws numbers as bars, the highest being the whole height; nothing is a dot.
func sparkline(list []int64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	most := int64(1)
	for _, n := range list {
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range list {
		if n <= 0 {
			b.WriteRune('·')
		} else {
			b.WriteRune(bars[(n*int64(len(bars))-1)/most])
		}
	}
	return b.String()
}

func (p *program) fieldsCommand() *cobra.Command {
	var f statsFlags
	cmd := &cobra.Command{
		Use:   "fields [flags] [QUERY] [SERVICE...]",
		Short: "List the fields of events: type, how often, how many values",
		Long: `fields lists the extra fields of the events of the last hour that match, those that most
events have first: the type of most values, in how many events, and how many different
values there are (~ is estimated, + at least). lookout top shows a field's values.

Exit codes: 0 a field, 1 none, 2 an error or an incomplete result, 130 Ctrl-C.`,
		Example: `  lookout fields
  lookout fields 'status>=500' web -s today`,
		ValidArgsFunction: p.completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			color, err := p.colors(f.color)
			if err != nil {
				return err
			}
			s, c, err := p.kindSearch(cmd, args, &f)
			if err != nil {
				return err
			}
			list, sum, err := c.Fields(cmd.Context(), s.request)
			if err = s.partly(err); err != nil {
				return p.explain(err)
			}
			if f.form == formJSON {
				err = printLines(p.inert(), list)
			} else if len(list) > 0 {
				_, err = p.stdout.Write(p.fieldsTable(color, list).bytes())
			}
			if err != nil {
				return err
			}
			return s.finish(sum, sum.Matched, len(list) > 0)
		},
	}
	f.add(cmd, listForms...)
	return cmd
}

func (p *program) fieldsTable(color bool, list []sdk.FieldFacts) *table {
	t := p.newTable(color, "FIELD", "TYPE", "EVENTS", "SHARE", "VALUES")
	for _, f := range list {
		kind := f.Type
		if len(f.Types) > 1 {
			kind += " and others"
		}
		values := grouped(f.Distinct)
		switch {
		case f.AtLeast:
			values += "+"
		case f.Estimated:
			values = "~" + values
		}
		t.add(cell{text: f.Name}, cell{text: kind}, cell{text: grouped(f.Events)}, cell{text: fmt.Sprintf("%.1f%%", 100*f.Share)}, cell{text: values})
	}
	return t
}

func (p *program) catalogCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "The server's ledger of patterns and its index",
		Long: `The server keeps every pattern it has ever seen in a ledger, also when retention has taken
its events away, and an index of their words, which is made from the ledger.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.catalogStatusCommand(), p.catalogRebuildCommand())
	return cmd
}

func (p *program) catalogStatusCommand() *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say how many patterns are known, and how far the index is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form != formAuto && form != formJSON {
				return fmt.Errorf("-o: there is no form %q; use auto or json", form)
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			s, err := c.Catalog(cmd.Context())
			if err != nil {
				return p.explain(err)
			}
			if form == formJSON {
				return printLines(p.inert(), []*sdk.Catalog{s})
			}
			return p.printCatalog(s)
		},
	}
	cmd.Flags().StringVarP(&form, "output", "o", formAuto, "`form`: auto, json")
	complete(cmd, "output", formAuto, formJSON)
	return cmd
}

func (p *program) printCatalog(s *sdk.Catalog) error {
	var b strings.Builder
	fmt.Fprintf(&b, "patterns: %s of %s, %s on disk; read up to event %s\n", grouped(int64(s.Patterns)), counted(int64(s.Services), "service"), bytesText(s.Bytes), grouped(int64(s.Sequence)))
	switch {
	case s.Ready:
		fmt.Fprintf(&b, "index: %s\n", counted(int64(s.Indexed), "pattern"))
	default:
		b.WriteString("index: none yet\n")
	}
	if s.Building != nil {
		fmt.Fprintf(&b, "being built: %s of %s\n", grouped(s.Building.Done), grouped(s.Building.Total))
	}
	for _, x := range s.Beyond {
		text := fmt.Sprintf("too many: service %s has more patterns than are told apart; those beyond were seen from %s to %s\n", x.Service, x.FirstSeen.UTC().Format(time.DateTime), x.LastSeen.UTC().Format(time.DateTime))
		if terminal(p.stdout) {
			text = string(appendEscaped(nil, text))
		}
		b.WriteString(text)
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}

func (p *program) catalogRebuildCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rebuild",
		Short: "Have the server build the index of patterns anew",
		Long: `rebuild has the server build the index of patterns anew from the ledger. Searches are
meanwhile answered by the old one. A damaged index is built anew by itself.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client()
			if err != nil {
				return err
			}
			b := p.progress("building the index")
			defer b.end()
			s, err := c.RebuildCatalog(cmd.Context(), func(x sdk.Progress) { b.set(x.Done, x.Total, x.Unit) })
			if err != nil {
				return p.explain(err)
			}
			b.end()
			_, err = fmt.Fprintf(p.stdout, "%s indexed\n", counted(int64(s.Indexed), "pattern"))
			return err
		},
	}
}
