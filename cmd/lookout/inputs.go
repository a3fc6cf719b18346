package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/api"
)

func (p *program) inputsCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "inputs",
		Short: "List the ways in: address, state, events, bytes, what was dropped and why",
		Long: `inputs shows each way in of the server: where it listens or what it reads, how it does, and what it has counted since
the server's start. DROPPED are the messages, lines or requests that became no event, by cause; LAST is how long ago an
event was stored last.`,
		Example: `  lookout inputs
  lookout inputs --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fetch := func(ctx context.Context) ([]api.Input, error) { return fetchList[api.Input](ctx, p, "inputs") }
			return printList(cmd.Context(), p, &f, "", fetch, []string{"INPUT", "STATE", "ADDRESS", "EVENTS", "BYTES", "LAST", "DROPPED", "NOTE"}, p.inputCells)
		},
	}
	f.add(cmd)
	return cmd
}

func (p *program) inputCells(in *api.Input) []cell {
	state := cell{in.State, colorGood}
	switch in.State {
	case "off":
		state.color = ""
	case "waiting":
		state.color = colorBad
	}
	last := ""
	if !in.Last.IsZero() {
		last = ageText(p.now().Sub(in.Last)) + " ago"
	}
	// The cause of most first.
	causes := slices.SortedFunc(maps.Keys(in.Drops), func(a, b string) int {
		return cmp.Or(cmp.Compare(in.Drops[b], in.Drops[a]), cmp.Compare(a, b))
	})
	var drops []string
	for _, cause := range causes {
		drops = append(drops, fmt.Sprintf("%s %s", grouped(in.Drops[cause]), cause))
	}
	dropped := cell{strings.Join(drops, ", "), colorDoubt}
	if in.State == "off" {
		return []cell{{text: in.Name}, state, {}, {}, {}, {}, {}, {text: in.Note}}
	}
	return []cell{{text: in.Name}, state, {text: in.Address}, {text: grouped(in.Events)}, {text: bytesText(in.Bytes)}, {text: last}, dropped, {text: in.Note}}
}
