package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

type tailFlags struct {
	lookFlags
	query, level string
	last         int
	noFollow     bool
	reports      bool
}

func (p *program) tailCommand() *cobra.Command {
	var f tailFlags
	cmd := &cobra.Command{
		Use:   "tail [SERVICE...]",
		Short: "Print the last events, then follow",
		Long: `tail prints the last 10 events of the services, by name or glob (none means all), and then
what arrives, without gap or repetition. When the connection is lost it goes on where it was.`,
		Example: `  lookout tail
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
	fl.IntVarP(&f.last, "lines", "n", 10, "the last `N` events first")
	fl.BoolVar(&f.noFollow, "no-follow", false, "end after them")
	fl.BoolVar(&f.reports, "reports", false, "also what probes and containers say regularly; always there when a service or stream is named")
	f.add(cmd)
	complete(cmd, "level", levelNames()...)
	return cmd
}

func (p *program) tail(cmd *cobra.Command, services []string, f *tailFlags) error {
	if f.last < 0 {
		return fmt.Errorf("-n: %d is no number of lines", f.last)
	}
	if f.last == 0 && f.noFollow {
		return errors.New("-n 0 and --no-follow leave nothing to print")
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
	p.hints(patterns...)
	c, err := p.client()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if len(services) > 0 {
		all, err := c.Services(ctx)
		if err != nil {
			return p.explain(err)
		}
		if _, err := matchServices(all, services); err != nil {
			return err
		}
	}
	s := &search{
		p: p, query: q, look: l, globs: services, last: f.last, follow: !f.noFollow, cutSaid: true,
		request: sdk.QueryRequest{Query: q.String(), Limit: f.last, Newest: true, NoReports: !f.reports},
	}
	if f.last == 0 {
		s.request = sdk.QueryRequest{Query: q.String(), Since: p.now(), CountOnly: true, NoReports: !f.reports} // for its sequence alone
	}
	return p.explain(s.rows(ctx, c))
}
