package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) savedCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "saved",
		Short: "Give searches a name, for everybody",
		Long: `saved keeps searches on the server under a name: the query, and if they are given the services and the
range. grep, count and tail take them with --saved NAME. Who may search may use them; saving and removing
needs the admin's token.`,
		Example: `  lookout saved set errors 'level>=error -healthz' web 'pay*' -s 2h
  lookout grep --saved errors
  lookout grep --saved errors web -s 7d -c
  lookout saved remove errors`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.savedListCommand(), p.savedSetCommand(), p.savedRemoveCommand())
	return cmd
}

func (p *program) savedListCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the saved searches",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printList(cmd.Context(), p, &f, "no search is saved yet; `lookout saved set NAME QUERY` saves one", from(p, (*sdk.Client).SavedSearches),
				[]string{"NAME", "QUERY", "SERVICES", "SINCE", "UNTIL", "BY", "WHAT"},
				func(s *sdk.SavedSearch) []cell {
					return []cell{{text: s.Name}, {text: s.Query}, {text: strings.Join(s.Services, " ")}, {text: s.Since}, {text: s.Until}, {text: s.By}, {text: s.Description}}
				})
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) savedSetCommand() *cobra.Command {
	var since, until, description, tz string
	var utc bool
	cmd := &cobra.Command{
		Use:   "set NAME QUERY [SERVICE...]",
		Short: "Save a search under a name, in the place of one that has it",
		Long: `set saves a search. A duration such as 2h is counted back from the moment of each search; a time such as
yesterday is the time it is now.`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return p.completeSaved(cmd, word)
			}
			return p.completeQuery(cmd, args[1:], word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 {
				return errors.New("save what? give a name and a query, or '*' for everything; see `lookout saved set --help`")
			}
			if _, err := (&grepFlags{}).compile(args[1:2], args[2:]); err != nil {
				return err
			}
			p.hints(args[1])
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			s := sdk.SavedSearch{Name: args[0], Query: args[1], Services: args[2:], Description: description}
			if s.Since, err = p.savedTime("since", since, zone); err != nil {
				return err
			}
			if s.Until, err = p.savedTime("until", until, zone); err != nil {
				return err
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			if _, err := c.SaveSearch(cmd.Context(), s); err != nil {
				return p.explain(err)
			}
			p.say("saved; `lookout grep --saved %s` searches by it", s.Name)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&since, "since", "s", "", "from this `time` on")
	fl.StringVarP(&until, "until", "u", "", "up to this `time`, which is left out")
	fl.StringVar(&description, "description", "", "what it is for, in a few `words`")
	fl.StringVar(&tz, "tz", "", "time `zone` for reading times, such as Europe/Berlin")
	fl.BoolVar(&utc, "utc", false, "the same as --tz UTC")
	return cmd
}

// savedTime is a time of the command line as the server keeps it: a duration back stays one.
func (p *program) savedTime(flag, text string, zone *time.Location) (string, error) {
	if text == "" {
		return "", nil
	}
	if ago, ok := parseAgo(text); ok {
		if day := 24 * time.Hour; ago%day == 0 {
			return fmt.Sprintf("%dd", ago/day), nil
		}
		text := strings.Replace(ago.String(), "m0s", "m", 1)
		return strings.Replace(text, "h0m", "h", 1), nil
	}
	t, err := parseTime(text, p.now(), zone)
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	return t.UTC().Format(time.RFC3339Nano), nil
}

func (p *program) savedRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME...",
		Short: "Remove saved searches",
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			return p.completeSaved(cmd, word)
		},
		RunE: func(cmd *cobra.Command, names []string) error {
			if len(names) == 0 {
				return errors.New("remove which? `lookout saved list` lists them")
			}
			c, err := p.client()
			if err != nil {
				return err
			}
			for _, name := range names {
				if _, err := c.RemoveSavedSearch(cmd.Context(), name); err != nil {
					return p.explain(noSaved(name, err))
				}
				p.say("removed %s", name)
			}
			return nil
		},
	}
}

// noSaved words that there is no search of a name.
func noSaved(name string, err error) error {
	var e *sdk.Error
	if errors.As(err, &e) && e.Status == http.StatusNotFound {
		return fmt.Errorf("there is no saved search %q; `lookout saved list` lists them", name)
	}
	return err
}

// addSaved adds --saved.
func (p *program) addSaved(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "saved", "", "search by what is saved under this `name` (lookout saved); arguments are then all services, and other flags go before it")
	if err := cmd.RegisterFlagCompletionFunc("saved", func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return p.completeSaved(cmd, word)
	}); err != nil {
		panic(err) // no such flag: a slip of the pen that every run would show
	}
}

// recalled is a saved search as a command runs it.
type recalled struct {
	query        string
	services     []string
	since, until string
}

// recall returns the saved search of a name, where services, and a range, that the command line gives go before its own.
func (p *program) recall(cmd *cobra.Command, name string, services []string, since, until string, all bool) (r recalled, err error) {
	c, err := p.client()
	if err != nil {
		return r, err
	}
	s, err := c.SavedSearch(cmd.Context(), name)
	if err != nil {
		return r, p.explain(noSaved(name, err))
	}
	r = recalled{query: cmp.Or(s.Query, "*"), services: services, since: since, until: until}
	if len(services) == 0 {
		r.services = s.Services
	}
	if since == "" && until == "" && !all {
		r.since, r.until = s.Since, s.Until
	}
	return r, nil
}

// completeSaved completes the name of a saved search.
func (p *program) completeSaved(cmd *cobra.Command, word string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel, c := p.ask(cmd)
	defer cancel()
	if c == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, _ := c.SavedSearches(ctx) // what came is offered, all else is silent
	var names []string
	for _, s := range all {
		if strings.HasPrefix(s.Name, word) {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
