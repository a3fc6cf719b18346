package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
)

func (p *program) queryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Work on the text of queries",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return fmt.Errorf("query has no %q: `%s` searches, `lookout query explain` says how", args[0], command("grep", args...))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "fmt [QUERY]",
		Short: "Print a query in its normal form",
		Long: `fmt prints a query in its normal form, which means the same. Without an argument it reads
the query from standard input. Advice about the query goes to standard error.`,
		Example: `  lookout query fmt 'level<=4   NOT (status:500..599)'`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var text string
			switch {
			case len(args) == 1:
				text = args[0]
			case terminal(p.stdin):
				return errors.New("which query? give it as the argument, in quotes")
			default:
				b, err := io.ReadAll(io.LimitReader(p.stdin, 1<<20))
				if err != nil {
					return err
				}
				text = strings.TrimRight(string(b), "\r\n")
			}
			q, err := query.Parse(text)
			if err != nil {
				return err
			}
			p.hints(text)
			_, err = fmt.Fprintln(p.inert(), q)
			return err
		},
	})
	cmd.AddCommand(p.explainCommand(), p.queryTestCommand())
	return cmd
}

// hints prints advice about queries that are valid but may not mean what they look like.
func (p *program) hints(texts ...string) {
	for _, text := range texts {
		q, err := query.Parse(text)
		if err != nil {
			continue // said by whoever needs it
		}
		for _, h := range q.Hints() {
			p.say("hint: %s; %s", h.Message, h.Mend)
		}
	}
}
