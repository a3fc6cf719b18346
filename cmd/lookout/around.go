package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

// aroundFlags are the flags about rows beside matches; grep and context share them.
type aroundFlags struct {
	after, before, around int
	by                    string
}

func (f *aroundFlags) add(cmd *cobra.Command, standard int) {
	fl := cmd.Flags()
	fl.IntVarP(&f.after, "after-context", "A", standard, "`N` events after each match, of the same source (see --context-by)")
	fl.IntVarP(&f.before, "before-context", "B", standard, "`N` events before each match")
	fl.IntVarP(&f.around, "context", "C", standard, "`N` events around each match")
	fl.StringVar(&f.by, "context-by", "", "events around a match are of the same `what`: source (service, env, host and container), service, host, a field's name, or all")
	complete(cmd, "context-by", "source", "service", "host", "container", "env", "all")
}

// maxAround is how many events on each side the server gives.
const maxAround = 1000

// sides checks the flags and returns how many events are wanted before and after: what is said of one side counts before what is
// said of both.
func (f *aroundFlags) sides(cmd *cobra.Command) (before, after int, err error) {
	for _, n := range []struct {
		flag  string
		value int
	}{{"-A", f.after}, {"-B", f.before}, {"-C", f.around}} {
		switch {
		case n.value < 0:
			return 0, 0, fmt.Errorf("%s: %d is no number of lines", n.flag, n.value)
		case n.value > maxAround:
			return 0, 0, fmt.Errorf("%s: %d is more than %d; search for the time around the match instead: -s and -u", n.flag, n.value, maxAround)
		}
	}
	if _, err := query.ParseContextBy(f.by); err != nil {
		return 0, 0, fmt.Errorf("--context-by: %w", err)
	}
	before, after = f.before, f.after
	if !cmd.Flags().Changed("before-context") {
		before = f.around
	}
	if !cmd.Flags().Changed("after-context") {
		after = f.around
	}
	return before, after, nil
}

type contextFlags struct {
	lookFlags
	pageFlags
	aroundFlags
	reports bool
}

func (p *program) contextCommand() *cobra.Command {
	var f contextFlags
	cmd := &cobra.Command{
		Use:   "context [flags] EVENT_ID",
		Short: "Print the events around one event",
		Long: `context prints an event with the ten before and after it of the same source: service, env,
host and container. The event's prefix ends in a colon, those around it in a dash, as grep
writes a match and its context.

The id is what -o json has as "id"; a whole line of it does as well.`,
		Example: `  lookout context 48121
  lookout context -C 50 --context-by host 48121
  lookout context "$(lookout grep -m 1 -o json panic)"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("around which event? give its id, which `lookout grep -o json` shows")
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return p.context(cmd, args[0], &f) },
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	f.aroundFlags.add(cmd, 10)
	fl.BoolVar(&f.reports, "reports", false, "with --context-by: also what probes and containers say regularly")
	f.lookFlags.add(cmd)
	f.pageFlags.add(cmd)
	return cmd
}

func (p *program) context(cmd *cobra.Command, arg string, f *contextFlags) error {
	before, after, err := f.sides(cmd)
	if err != nil {
		return err
	}
	id, err := eventID(arg)
	if err != nil {
		return err
	}
	l, err := f.look(p, cmd)
	if err != nil {
		return err
	}
	if l.marks, err = marksOf(nil, f.highlight); err != nil {
		return fmt.Errorf("--highlight: %w", err)
	}
	if l.only {
		return errors.New("--only-matching needs a query; context has none")
	}
	c, err := p.client()
	if err != nil {
		return err
	}
	ctx, done := p.paged(cmd.Context(), f.pageFlags)
	out := newSoonWriter(ctx, p.stdout, done.cancel)
	pr := &printer{look: l, out: out, context: true}
	var sum sdk.Summary
	rows, err := c.Context(ctx, sdk.ContextRequest{ID: id, Before: before, After: after, ContextBy: f.by, NoReports: !f.reports})
	shown := 0
	if err == nil {
		for row, rowErr := range rows.All() {
			if err = rowErr; err == nil {
				err = pr.row(row)
				shown++
			}
			if err != nil {
				break
			}
		}
		sum = rows.Summary()
	}
	if flushErr := out.Flush(); flushErr != nil {
		err = flushErr
	}
	if err == nil && terminal(p.stderr) {
		p.say("event %s and %s beside it in %s", id, counted(int64(shown-1), "event"), sum.Took.Round(100*time.Microsecond))
	}
	return p.explain(done.end(err))
}

// eventID reads an event's id, alone or in a line of -o json.
func eventID(text string) (string, error) {
	id := strings.TrimSpace(text)
	if strings.HasPrefix(id, "{") {
		var line struct {
			ID json.RawMessage `json:"id"`
		}
		if err := json.NewDecoder(strings.NewReader(id)).Decode(&line); err != nil || line.ID == nil {
			return "", errors.New(`the line of JSON has no "id"; give a line of ` + "`lookout grep -o json`, without --fields")
		}
		id = strings.Trim(string(line.ID), `"`)
	}
	if n, err := strconv.ParseUint(id, 10, 64); err != nil || n == 0 {
		return "", fmt.Errorf("%q is not an event's id; `lookout grep -o json` shows it as \"id\"", shortText(id))
	}
	return id, nil
}

// shortText is the beginning of a text that may be long.
func shortText(text string) string {
	if r := []rune(text); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return text
}
