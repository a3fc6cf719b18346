package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

type grepFlags struct {
	lookFlags
	pageFlags
	aroundFlags
	since, until                                                 string
	all                                                          bool
	patterns                                                     []string
	fixed, regex, ignoreCase, caseSensitive, word, whole, invert bool
	level                                                        string
	count, with, without, quiet, reverse, follow, stdin, stats   bool
	reports, link                                                bool
	max, last                                                    int
	dedup                                                        string
	afterSequence, sequence                                      uint64
	slow, saved                                                  string
}

func (p *program) grepCommand() *cobra.Command {
	var f grepFlags
	cmd := &cobra.Command{
		Use:   "grep [flags] QUERY [SERVICE...]",
		Short: "Search: events that match, oldest first",
		Long: `grep prints the events of the last hour that match, oldest first. QUERY is a query of
lookout's language, in which a plain word is a substring; -F and -E take it as a literal
or a regular expression as a whole. Services are names or globs; none means all.

A line is printed as time, service, level and message, with the extra fields behind, on a
terminal and into a pipe alike; -o raw prints the bare message. -o json is an event a line.

Times: 15m, 1h30m, 3d, 2h ago, today, yesterday 14:00, 14:05, 2026-10-01, '2026-10-01 14:05',
RFC 3339, unix seconds, ms, µs or ns. They are local unless they say otherwise; see --tz.

Exit codes: 0 a match, 1 none, 2 an error or an incomplete result, 130 Ctrl-C.`,
		Example: `  lookout grep timeout
  lookout grep 'level>=error -healthz' payments 'cart*' -s 2h
  lookout grep -F 'a[0] == (b)' -s yesterday -u today -c
  lookout grep -C 3 'status:500..599' web
  lookout grep -f 'order shipped' shop
  lookout grep --stdin 'status>=500 -path:/healthz' < requests.ndjson
  lookout grep -- -debug web`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 && len(f.patterns) == 0 && f.saved == "" {
				if f.fixed || f.regex {
					return nil, cobra.ShellCompDirectiveNoFileComp
				}
				return p.completeTerm(cmd, word)
			}
			return p.completeServices(cmd, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.grep(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.since, "since", "s", "", "from this `time` on (default 1h ago)")
	fl.StringVarP(&f.until, "until", "u", "", "up to this `time`, which is left out (default now)")
	fl.StringVar(&f.since, "start", "", "`time`: the same as --since")
	fl.StringVar(&f.until, "end", "", "`time`: the same as --until")
	fl.BoolVar(&f.all, "all", false, "from the beginning")
	fl.Uint64Var(&f.afterSequence, "after-sequence", 0, "what arrived behind this `sequence`, an event's id, at any time unless -s or -u is given")
	fl.Uint64Var(&f.sequence, "sequence", 0, "what arrived up to this `sequence`, that one included")
	fl.StringArrayVarP(&f.patterns, "regexp", "e", nil, "a `query` (literal, regex); several mean any of them; arguments are then all services")
	fl.BoolVarP(&f.fixed, "fixed-strings", "F", false, "the query is a literal")
	fl.BoolVarP(&f.regex, "extended-regexp", "E", false, "the query is a regular expression (RE2)")
	fl.BoolVarP(&f.ignoreCase, "ignore-case", "i", false, "upper and lower case are the same")
	fl.BoolVar(&f.caseSensitive, "case-sensitive", false, "they differ (default: only when the word has an upper-case letter)")
	fl.BoolVarP(&f.word, "word-regexp", "w", false, "only whole words")
	fl.BoolVarP(&f.whole, "line-regexp", "x", false, "only whole lines")
	fl.BoolVarP(&f.invert, "invert-match", "v", false, "events that do not match")
	fl.StringVar(&f.level, "level", "", "this `level` and worse")
	fl.BoolVarP(&f.count, "count", "c", false, "only count; by service when there are several")
	fl.BoolVarP(&f.with, "services-with-match", "l", false, "only the services with a match")
	fl.BoolVarP(&f.without, "services-without-match", "L", false, "only the services without a match")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing; the exit code tells")
	fl.IntVarP(&f.max, "max-count", "m", -1, "stop after `N` matches")
	fl.IntVarP(&f.last, "tail", "n", -1, "only the last `N` matches")
	f.aroundFlags.add(cmd, 0)
	fl.BoolVarP(&f.reverse, "reverse", "r", false, "newest first")
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on live, without gap or repetition")
	addSlow(cmd, &f.slow)
	p.addSaved(cmd, &f.saved)
	fl.BoolVar(&f.reports, "reports", false, "also what probes and containers say regularly; always there when a service or stream is named")
	fl.BoolVar(&f.stdin, "stdin", false, "search standard input, with no server; prints the lines as they are")
	f.lookFlags.add(cmd)
	addDedup(cmd, &f.dedup)
	f.pageFlags.add(cmd)
	fl.BoolVar(&f.link, "link", false, "print the address of the page with this search, and do not search")
	fl.Bool("line-buffered", true, "lines are passed on within 20 ms anyway")
	hide(cmd, "line-buffered")
	fl.BoolVar(&f.stats, "stats", false, "say what was searched, ruled out and read")
	for _, name := range []string{"max-count", "tail"} {
		fl.Lookup(name).DefValue = "0" // pflag then leaves it out of the help
	}
	complete(cmd, "level", levelNames()...)
	return cmd
}

// search is one search, ready to run.
type search struct {
	p     *program
	query *query.Query
	look  look
	globs []string

	request  sdk.QueryRequest
	last     int // of the newest matches, printed oldest first; 0 for all
	max      int // matches, history and live; 0 for all
	follow   bool
	skip     bool // following leaves out what is read too slowly, and says so
	cutSaid  bool // the caller asked for so many and knows
	standard bool // nobody chose the range
	stats    bool
	quiet    bool

	incomplete *sdk.IncompleteError // of an answer that was printed nevertheless
}

// compile makes the query of patterns, flags and services.
func (f *grepFlags) compile(patterns, services []string) (*query.Query, error) {
	level := ""
	if f.level != "" {
		var err error
		if level, err = parseLevel(f.level); err != nil {
			return nil, err
		}
	}
	if !f.fixed && !f.regex {
		for _, pattern := range patterns {
			if err := foreignQuery(pattern); err != nil {
				return nil, err
			}
		}
	}
	if f.whole && !f.fixed && !f.regex {
		patterns = slices.Clone(patterns)
		for i, pattern := range patterns {
			patterns[i] = phrase(pattern)
		}
	}
	text, err := query.FromGrep(query.GrepOptions{
		Patterns: patterns, Fixed: f.fixed, Regex: f.regex, IgnoreCase: f.ignoreCase, CaseSensitive: f.caseSensitive,
		Word: f.word, LineExact: f.whole, Invert: f.invert, Level: level, Services: services,
	})
	if err != nil {
		return nil, err
	}
	return query.Parse(text)
}

// phrase makes one term of several plain words. With -x that is what is meant: no line is each of them as a whole.
func phrase(pattern string) string {
	words := strings.Fields(pattern)
	for _, w := range words {
		if query.Quote(w) != w {
			return pattern
		}
	}
	if len(words) < 2 {
		return pattern
	}
	return query.Quote(pattern)
}

// check finds flags that do not go together.
func (f *grepFlags) check(cmd *cobra.Command) error {
	given := func(names ...string) string {
		for _, name := range names {
			if fl := cmd.Flags().Lookup(name); fl.Changed {
				if fl.Shorthand != "" {
					return "-" + fl.Shorthand
				}
				return "--" + name
			}
		}
		return ""
	}
	for _, pair := range [...]struct{ one, others []string }{
		{[]string{"fixed-strings"}, []string{"extended-regexp"}},
		{[]string{"ignore-case"}, []string{"case-sensitive"}},
		{[]string{"follow"}, []string{"until", "end", "reverse", "count", "services-with-match", "services-without-match", "after-context", "before-context", "context", "stdin", "after-sequence", "sequence"}},
		{[]string{"saved"}, []string{"regexp", "fixed-strings", "extended-regexp", "stdin"}},
		{[]string{"services-with-match"}, []string{"services-without-match"}},
		{[]string{"max-count"}, []string{"tail"}},
		{[]string{"dedup"}, []string{"count", "services-with-match", "services-without-match", "quiet", "only-matching", "stdin"}},
		{[]string{"link"}, []string{"stdin", "after-sequence", "sequence"}},
		{[]string{"stdin"}, []string{"context-by", "after-sequence", "sequence", "slow", "since", "start", "until", "end", "all", "reverse", "stats", "timestamps"}},
	} {
		if a, b := given(pair.one...), given(pair.others...); a != "" && b != "" {
			return fmt.Errorf("%s and %s do not go together", a, b)
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{{"max-count", f.max}, {"tail", f.last}} {
		if flag := given(n.name); flag != "" && n.value < 0 {
			return fmt.Errorf("%s: %d is no number of lines", flag, n.value)
		}
	}
	return nil
}

func (p *program) grep(cmd *cobra.Command, args []string, f *grepFlags) error {
	if err := f.check(cmd); err != nil {
		return err
	}
	patterns, services := f.patterns, args
	switch {
	case f.saved != "":
		r, err := p.recall(cmd, f.saved, args, f.since, f.until, f.all || f.follow)
		if err != nil {
			return err
		}
		patterns, services, f.since, f.until = []string{r.query}, r.services, r.since, r.until
	case len(patterns) == 0:
		if len(args) == 0 {
			if f.last > 0 {
				return fmt.Errorf("search for what? for the last lines of everything write `lookout grep '*' -n %d`, or `lookout tail`", f.last)
			}
			return errors.New("search for what? give a query, or '*' for everything; see `lookout grep --help`")
		}
		patterns, services = args[:1], args[1:]
	}
	before, after, err := f.sides(cmd)
	if err != nil {
		return err
	}
	q, err := f.compile(patterns, services)
	if err != nil {
		return err
	}
	l, err := f.look(p, cmd)
	if err != nil {
		return err
	}
	if l.marks, err = marksOf(q, f.highlight); err != nil {
		return fmt.Errorf("--highlight: %w", err)
	}
	if !f.quiet && !f.fixed && !f.regex {
		p.hints(patterns...)
	}
	if err := l.dedups(cmd, f.dedup); err != nil {
		return err
	}
	if !f.link && (f.max == 0 || f.last == 0) {
		return errNoMatch
	}
	if f.stdin {
		return p.grepStdin(cmd.Context(), q, l, stdinOptions{
			count: f.count, quiet: f.quiet, with: f.with, without: f.without, max: max(f.max, 0), last: max(f.last, 0), before: before, after: after,
		})
	}
	bySequence := cmd.Flags().Changed("after-sequence") || cmd.Flags().Changed("sequence")
	r, err := parseRange(f.since, f.until, f.all || bySequence && f.since == "" && f.until == "", p.now(), l.zone)
	if err != nil {
		return err
	}
	skip, err := p.skips(f.slow)
	if err != nil {
		return err
	}
	s := &search{
		p: p, query: q, look: l, globs: services, last: max(f.last, 0), max: max(f.max, 0), follow: f.follow, skip: skip, stats: f.stats, quiet: f.quiet,
		standard: f.since == "" && f.until == "" && !f.all && !bySequence,
		request: sdk.QueryRequest{Query: q.String(), Since: r.since, Until: r.until, Limit: max(f.max, f.last, 0), Newest: f.reverse || f.last > 0, Before: before, After: after, ContextBy: f.by, NoReports: !f.reports,
			AfterSequence: f.afterSequence, MaxSequence: f.sequence},
	}
	if f.reverse {
		s.last = 0 // the newest first is how they come
	}
	if f.link {
		return p.printLink(s, f)
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	var known []sdk.Service
	if len(services) > 0 || f.count || f.without {
		all, err := c.Services(ctx)
		if err != nil {
			return p.explain(err)
		}
		if known, err = servicesOf(all, services, len(args) > 0); err != nil {
			return err
		}
	}
	switch {
	case f.quiet:
		err = s.any(ctx, c)
	case f.with || f.without:
		err = s.list(ctx, c, known, f.with)
	case f.count:
		err = s.count(ctx, c, known)
	case f.follow:
		err = s.rows(ctx, c)
	default:
		ctx, done := p.paged(ctx, f.pageFlags)
		err = done.end(s.rows(ctx, c))
	}
	return p.explain(err)
}

// any answers -q: whether there is a match, no matter what else.
func (s *search) any(ctx context.Context, c *sdk.Client) error {
	if s.follow {
		return errors.New("-f and -q do not go together")
	}
	r := s.request
	r.Limit, r.Before, r.After = 1, 0, 0
	rows, err := c.Query(ctx, r)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		return nil
	}
	return cmp.Or(rows.Err(), errNoMatch)
}

// list answers -l and -L.
func (s *search) list(ctx context.Context, c *sdk.Client, known []sdk.Service, with bool) error {
	r := s.request
	r.Limit = 0
	sum, err := c.Count(ctx, r)
	if err = s.partly(err); err != nil {
		return err
	}
	var names []string
	if with {
		for name := range sum.Services {
			names = append(names, name)
		}
	} else {
		for _, k := range known {
			if sum.Services[k.Name] == 0 {
				names = append(names, k.Name)
			}
		}
	}
	slices.Sort(names)
	out := printer{look: s.look}
	for _, name := range names {
		if _, err := fmt.Fprintln(s.p.stdout, out.safe(name)); err != nil {
			return err
		}
	}
	return s.finish(sum, sum.Matched, len(names) > 0)
}

// count answers -c: one number for one service, a line for each of several. A service that was named as it is gets a line
// even when it has none, as a file does from grep.
func (s *search) count(ctx context.Context, c *sdk.Client, known []sdk.Service) error {
	sum, err := s.counts(ctx, c)
	if err = s.partly(err); err != nil {
		return err
	}
	out := printer{look: s.look}
	if s.look.noPrefix || len(known) <= 1 && !s.look.service {
		_, err = fmt.Fprintln(s.p.stdout, sum.Matched)
	} else {
		counts := map[string]int64{}
		for _, k := range known {
			if n := sum.Services[k.Name]; n > 0 || slices.Contains(s.globs, k.Name) {
				counts[k.Name] = n
			}
		}
		for name, n := range sum.Services {
			counts[name] = n // one that is new since the list was asked for
		}
		var text []byte
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			text = out.paint(text, serviceColor(name), out.safe(name))
			text = append(strconv.AppendInt(append(text, ':'), counts[name], 10), '\n')
		}
		if len(counts) == 0 {
			text = []byte("0\n")
		}
		_, err = s.p.stdout.Write(text)
	}
	if err != nil {
		return err
	}
	return s.finish(sum, sum.Matched, sum.Matched > 0)
}

// counts counts on the server, or, when only so many matches are to be counted, those that come.
func (s *search) counts(ctx context.Context, c *sdk.Client) (sdk.Summary, error) {
	r := s.request
	r.Before, r.After = 0, 0
	if r.Limit == 0 {
		return c.Count(ctx, r)
	}
	rows, err := c.Query(ctx, r)
	if err != nil {
		return sdk.Summary{}, err
	}
	defer rows.Close()
	by := map[string]int64{}
	for rows.Next() {
		by[rows.Row().Service]++
	}
	sum := rows.Summary()
	sum.Services = by
	return sum, rows.Err()
}

// rows prints what matches, and goes on live when asked to.
func (s *search) rows(ctx context.Context, c *sdk.Client) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := newSoonWriter(outer, s.p.stdout, cancel)
	pr := s.look.printer(out)
	pr.context = s.request.Before+s.request.After > 0
	sum, matched, err := s.history(ctx, c, pr)
	if !s.follow || s.max > 0 && matched >= int64(s.max) {
		err = cmp.Or(pr.flush(), err)
	} else if pr.repeats != nil {
		pr.repeats.live(func(d time.Duration, f func()) { time.AfterFunc(d, f) })
	}
	if flushErr := out.Flush(); flushErr != nil {
		return flushErr
	}
	var incomplete *sdk.IncompleteError
	if err != nil && (!errors.As(err, &incomplete) || !s.follow) {
		if incomplete != nil {
			s.footer(sum, matched)
		}
		return err
	}
	if !s.follow || s.max > 0 && matched >= int64(s.max) {
		return s.finish(sum, matched, matched > 0)
	}
	if incomplete != nil {
		s.incomplete = incomplete
		s.p.say("%v", incomplete)
	}
	err = s.live(ctx, c, pr, out, sum.Sequence, matched)
	return cmp.Or(out.Flush(), err)
}

// history prints the stored matches.
func (s *search) history(ctx context.Context, c *sdk.Client, pr *printer) (sdk.Summary, int64, error) {
	rows, err := c.Query(ctx, s.request)
	if err != nil {
		return sdk.Summary{}, 0, err
	}
	defer rows.Close()
	var matched int64
	var held []sdk.Row
	al := newAligner(pr)
	for rows.Next() {
		row := rows.Row()
		if !row.Context {
			matched++
		}
		if s.last > 0 {
			held = append(held, *row)
			continue
		}
		if err := al.row(row); err != nil {
			return rows.Summary(), matched, err
		}
	}
	oldestFirst(held)
	for i := range held {
		if err := al.row(&held[i]); err != nil {
			return rows.Summary(), matched, err
		}
	}
	if err := al.flush(); err != nil {
		return rows.Summary(), matched, err
	}
	return rows.Summary(), matched, rows.Err()
}

// oldestFirst orders rows by time and arrival, and keeps groups of matches and their context together.
func oldestFirst(rows []sdk.Row) {
	compare := func(a, b *sdk.Row) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(len(a.ID), len(b.ID)), strings.Compare(a.ID, b.ID))
	}
	first := map[int]*sdk.Row{}
	for i := range rows {
		row := rows[i]
		if f := first[row.Group]; row.Group != 0 && (f == nil || compare(&row, f) < 0) {
			first[row.Group] = &row
		}
	}
	slices.SortStableFunc(rows, func(a, b sdk.Row) int {
		if a.Group != b.Group {
			return cmp.Or(compare(first[a.Group], first[b.Group]), cmp.Compare(a.Group, b.Group))
		}
		return compare(&a, &b)
	})
}

// live prints what arrives behind a sequence.
func (s *search) live(ctx context.Context, c *sdk.Client, pr *printer, out *soonWriter, after uint64, matched int64) error {
	lost := false
	request := sdk.TailRequest{Query: s.request.Query, After: &after, NoReports: s.request.NoReports, OnReconnect: func(err error, _ time.Duration) {
		if !lost {
			s.p.say("%v; trying again", err)
		}
		lost = true
	}}
	if s.skip && s.max == 0 { // of -m the first ones are meant
		request.OnSkip = func(k sdk.Skipped) {
			if out.Flush() == nil { // what came before it stands before it
				s.leftOut(k)
			}
		}
	}
	for row, err := range c.Tail(ctx, request) {
		if errors.As(err, &s.incomplete) { // a gap in what can be read; what follows is worth having
			s.p.say("%v", err)
			continue
		}
		if err != nil {
			return err
		}
		lost = false
		if err := pr.row(row); err != nil {
			return err
		}
		if matched++; s.max > 0 && matched >= int64(s.max) {
			break
		}
	}
	if s.incomplete != nil {
		return s.incomplete
	}
	return nil
}

// partly says that a count is incomplete and goes on to print it; [search.finish] then is an error.
func (s *search) partly(err error) error {
	var incomplete *sdk.IncompleteError
	if errors.As(err, &incomplete) {
		s.incomplete = incomplete
		return nil
	}
	return err
}

// finish ends a search whose answer was printed: advice, what was cut, what was searched.
func (s *search) finish(sum sdk.Summary, matched int64, found bool) error {
	for _, w := range sum.Warnings {
		s.p.say("%s", w)
	}
	if s.request.Limit > 0 && matched >= int64(s.request.Limit) && !s.cutSaid {
		if s.max > 0 {
			s.p.say("stopped after %s (-m); there may be more", counted(matched, "match"))
		} else {
			s.p.say("only the last %s (-n); there may be more", counted(matched, "match"))
		}
	}
	s.footer(sum, matched)
	switch {
	case s.incomplete != nil:
		return s.incomplete
	case !found:
		return errNoMatch
	}
	return nil
}

// footer says what was searched, on a terminal or when asked to.
func (s *search) footer(sum sdk.Summary, matched int64) {
	if terminal(s.p.stderr) || s.stats {
		s.p.say("%s", s.searched(sum, matched))
	}
	if s.stats {
		s.p.say("%s; sequence %d", blocksText(&sum), sum.Sequence)
		for _, name := range slices.Sorted(maps.Keys(sum.Services)) {
			s.p.say("  %s: %s", name, counted(sum.Services[name], "match"))
		}
	}
}

// blocksText says what became of the blocks: those that were read, and what ruled out the others.
func blocksText(sum *sdk.Summary) string {
	text := fmt.Sprintf("%s read, %s not", counted(int64(sum.Blocks), "block"), grouped(int64(sum.Pruned)))
	var parts []string
	for _, part := range []struct {
		n   int
		why string
	}{
		{sum.Scan.Range, "out of range"}, {sum.Scan.Filter, "ruled out by filters"}, {sum.Scan.Forms, "ruled out by the forms of their texts"}, {sum.Scan.Counted, "counted from their footers"},
	} {
		if part.n > 0 {
			parts = append(parts, grouped(int64(part.n))+" "+part.why)
		}
	}
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

// searched is one line: what was searched, how long it took, how many matched.
func (s *search) searched(sum sdk.Summary, matched int64) string {
	var b strings.Builder
	b.WriteString("searched ")
	if len(s.globs) > 0 {
		b.WriteString(strings.Join(s.globs, ", "))
	} else {
		b.WriteString("all services")
	}
	const layout = "2006-01-02 15:04:05"
	switch since, until := s.request.Since, s.request.Until; {
	case since.IsZero() && until.IsZero():
		b.WriteString(", all time")
	case until.IsZero():
		b.WriteString(" since " + since.In(s.look.zone).Format(layout))
	case since.IsZero():
		b.WriteString(" until " + until.In(s.look.zone).Format(layout))
	default:
		b.WriteString(" from " + since.In(s.look.zone).Format(layout) + " to " + until.In(s.look.zone).Format(layout))
	}
	fmt.Fprintf(&b, ": %s, %s in %s; %s", counted(sum.Events, "event"), bytesText(sum.Bytes), sum.Took.Round(100*time.Microsecond), counted(matched, "match"))
	if s.standard && matched == 0 {
		b.WriteString(" (the last hour only: -s 1d, or --all)")
	}
	return b.String()
}
