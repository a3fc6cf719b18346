package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/internal/fleet"
	"github.com/lookoutlog/lookout/sdk"
)

// The colours of what is well, not decided, and not well.
const (
	colorGood  = "\x1b[32m"
	colorDoubt = "\x1b[33m"
	colorBad   = "\x1b[1;31m"
)

func (p *program) containersCommand() *cobra.Command {
	return listCommand(p, &cobra.Command{
		Use:   "containers [SERVICE...]",
		Short: "List the containers: state, CPU, memory, restarts, how their lines come",
		Example: `  lookout containers
  lookout containers 'shop-*'
  lookout containers --json`,
	}, "containers", func(c *fleet.Container) string { return c.Service }, p.containersTable)
}

func (p *program) containersTable(color bool, all []fleet.Container) *table {
	t := p.newTable(color, "CONTAINER", "SERVICE", "HOST", "STATE", "UP", "CPU", "MEMORY", "RESTARTS", "VERSION", "LOGS")
	for i := range all {
		c := &all[i]
		state := cell{c.State, colorBad}
		switch {
		case c.State == fleet.Running && (c.Health == "" || c.Health == "healthy"):
			state.color = colorGood
		case c.State == fleet.Running && c.Health != "unhealthy":
			state.color = colorDoubt
		}
		if c.Health != "" {
			state.text += " (" + c.Health + ")"
		}
		up, cpu, memory, version := "", "", "", c.Version
		if c.Started != nil && c.State == fleet.Running {
			up = ageText(p.now().Sub(*c.Started))
		}
		if c.CPUPercent != nil {
			cpu = fmt.Sprintf("%.1f%%", *c.CPUPercent)
		}
		if c.MemoryBytes != nil {
			memory = bytesText(int64(*c.MemoryBytes))
		}
		if version == "" {
			version = c.Image
		}
		t.add(cell{text: c.Name}, cell{text: c.Service}, cell{text: c.Host}, state, cell{text: up}, cell{text: cpu}, cell{text: memory}, cell{text: grouped(c.Restarts)},
			cell{text: version}, cell{text: c.Logs})
	}
	return t
}

// listCommand makes cmd the command that lists what the server has under /api/v1/name, those of the services that its
// arguments name.
func listCommand[T any](p *program, cmd *cobra.Command, name string, service func(*T) string, show func(color bool, all []T) *table) *cobra.Command {
	var f listFlags
	f.add(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return p.completeServices(cmd, word)
	}
	cmd.RunE = func(cmd *cobra.Command, globs []string) error {
		color, err := f.check(p)
		if err != nil {
			return err
		}
		all, err := fetchList[T](cmd.Context(), p, name)
		if err != nil {
			return p.explain(err)
		}
		if len(all) == 0 {
			p.say("no %s are known here", name)
			return errNoMatch
		}
		if all, err = ofServices(all, service, globs); err != nil {
			return err
		}
		if f.form == formAuto {
			_, err = p.stdout.Write(show(color, all).bytes())
			return err
		}
		return p.printJSON(len(all), func(i int) any { return &all[i] })
	}
	return cmd
}

// printJSON prints n values, one a line.
func (p *program) printJSON(n int, value func(int) any) error {
	enc := json.NewEncoder(p.inert())
	enc.SetEscapeHTML(false)
	for i := range n {
		if err := enc.Encode(value(i)); err != nil {
			return err
		}
	}
	return nil
}

// fetchList asks the server for one of its lists.
func fetchList[T any](ctx context.Context, p *program, name string) ([]T, error) {
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	var answer map[string][]T
	err = c.Call(ctx, http.MethodGet, "/api/v1/"+name, nil, &answer)
	var e *sdk.Error
	if errors.As(err, &e) && (e.Code == "not_implemented" || e.Code == "not_found") {
		return nil, fmt.Errorf("%s is a server of an earlier version, which does not know of %s", c.URL(), name)
	}
	return answer[name], err
}

// ofServices returns what belongs to the services that the globs name, all without one. A glob that names none is an error.
func ofServices[T any](all []T, service func(*T) string, globs []string) ([]T, error) {
	var known []sdk.Service
	for i := range all {
		s := sdk.Service{Name: service(&all[i])}
		if !slices.ContainsFunc(known, func(k sdk.Service) bool { return k.Name == s.Name }) {
			known = append(known, s)
		}
	}
	wanted, err := matchServices(known, globs)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(one T) bool {
		return !slices.ContainsFunc(wanted, func(w sdk.Service) bool { return w.Name == service(&one) })
	}), nil
}
