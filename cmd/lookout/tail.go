package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

type tailFlags struct {
	lookFlags
	query, level string
	since        string
	last         int
	follow       bool
	noFollow     bool
	reports      bool
	slow, saved  string
	dedup        string
}

func (p *program) tailCommand() *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail [SERVICE...]",
		Short: "Print the last events, then follow",
		Long: `tail prints the last 10 events of the services, by name or glob (none means all), and then
what arrives, without gap or repetition. When the connection is lost it goes on where it was.
With --since it prints all events from that time on first, or with -n the last of them.`,
		Example: `  lookout tail
  lookout tail web --since 5m
  lookout tail payments 'cart*' -q 'level>=warning'
  lookout tail -n 100 --no-follow web`,
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return p.completeServices(cmd, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return p.tail(cmd, args, &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.query, "query", "q", "", "only events that match a `query`")
	fl.StringVar(&f.level, "level", "", "this `level` and worse")
	fl.StringVarP(&f.since, "since", "s", "", "the events from this `time` on first, all of them unless -n is given")
	fl.IntVarP(&f.last, "lines", "n", 10, "the last `N` events first")
	fl.IntVar(&f.last, "tail", 10, "`N`: the same as -n")
	fl.BoolVarP(&f.follow, "follow", "f", true, "follow, as it does anyway")
	hide(cmd, "tail", "follow")
	fl.BoolVar(&f.noFollow, "no-follow", false, "end after them")
	addSlow(cmd, &f.slow)
	p.addSaved(cmd, &f.saved)
	fl.BoolVar(&f.reports, "reports", false, "also what probes and containers say regularly; always there when a service or stream is named")
	f.add(cmd)
	addDedup(cmd, &f.dedup)
	complete(cmd, "level", levelNames()...)
	return cmd
}

func (p *program) tail(cmd *cobra.Command, services []string, f *tailFlags) error {
	if f.last < 0 {
		return fmt.Errorf("-n: %d is no number of lines", f.last)
	}
	counted := cmd.Flags().Changed("lines") || cmd.Flags().Changed("tail")
	all := f.since != "" && !counted
	if all {
		f.last = 0
	}
	if cmd.Flags().Changed("follow") && f.follow && f.noFollow {
		return errors.New("-f and --no-follow do not go together")
	}
	f.follow = f.follow && !f.noFollow
	if f.last == 0 && !all && !f.follow {
		return errors.New("-n 0 and --no-follow leave nothing to print")
	}
	typed := len(services) > 0
	if f.saved != "" {
		if f.query != "" {
			return errors.New("--saved and -q do not go together")
		}
		r, err := p.recall(cmd, f.saved, services, "", "", true) // what comes from now on is in no range
		if err != nil {
			return err
		}
		f.query, services = r.query, r.services
	}
	g := grepFlags{level: f.level}
	var patterns []string
	if f.query != "" {
		patterns = []string{f.query}
	}
	q, err := g.compile(patterns, services)
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
	if err := l.dedups(cmd, f.dedup); err != nil {
		return err
	}
	var since time.Time
	if f.since != "" {
		r, err := parseRange(f.since, "", false, p.now(), l.zone)
		if err != nil {
			return err
		}
		since = r.since
	}
	skip, err := p.skips(f.slow)
	if err != nil {
		return err
	}
	p.hints(patterns...)
	c, err := p.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if typed {
		all, err := c.Services(ctx)
		if err != nil {
			return p.explain(err)
		}
		if _, err := matchServices(all, services); err != nil {
			return err
		}
	}
	s := &search{
		p: p, query: q, look: l, globs: services, last: f.last, follow: f.follow, skip: skip, cutSaid: true,
		request: sdk.QueryRequest{Query: q.String(), Since: since, Limit: f.last, Newest: f.last > 0, NoReports: !f.reports},
	}
	if f.last == 0 && !all {
		s.request = sdk.QueryRequest{Query: q.String(), Since: p.now(), CountOnly: true, NoReports: !f.reports} // for its sequence alone
	}
	return p.explain(s.rows(ctx, c))
}
