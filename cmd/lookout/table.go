package main

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

// listFlags are the flags of the commands that list what runs.
type listFlags struct {
	form, color string
	json        bool
}

func (f *listFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.form, "output", "o", formAuto, "`form`: auto, json")
	cmd.Flags().BoolVar(&f.json, "json", false, "the same as -o json")
	cmd.Flags().StringVar(&f.color, "color", "auto", "`when`: auto, always, never (auto honours NO_COLOR)")
	complete(cmd, "output", formAuto, formJSON)
	complete(cmd, "color", "auto", "always", "never")
}

// check says whether to use colours, and that the form is one there is.
func (f *listFlags) check(p *program) (color bool, err error) {
	if f.json {
		f.form = formJSON
	}
	if f.form != formAuto && f.form != formJSON {
		return false, fmt.Errorf("-o: there is no form %q; use auto or json", f.form)
	}
	return p.colors(f.color)
}

// from asks the server that the program is set to.
func from[T any](p *program, ask func(*sdk.Client, context.Context) (T, error)) func(context.Context) (T, error) {
	return func(ctx context.Context) (none T, err error) {
		c, err := p.client()
		if err != nil {
			return none, err
		}
		return ask(c, ctx)
	}
}

// printList prints what fetch returns: a table with a row each, or a line of JSON each. Of nothing it says none and returns errNoMatch,
// unless none is empty.
func printList[T any](ctx context.Context, p *program, f *listFlags, none string, fetch func(context.Context) ([]T, error), names []string, row func(*T) []cell) error {
	color, err := f.check(p)
	if err != nil {
		return err
	}
	all, err := fetch(ctx)
	switch {
	case err != nil:
		return p.explain(err)
	case len(all) == 0 && none != "":
		p.say("%s", none)
		return errNoMatch
	case f.form == formJSON:
		return p.printJSON(len(all), func(i int) any { return &all[i] })
	}
	t := p.newTable(color, names...)
	for i := range all {
		t.add(row(&all[i])...)
	}
	_, err = p.stdout.Write(t.bytes())
	return err
}

// cell is one place of a table; color may be empty.
type cell struct{ text, color string }

// table is written with aligned columns, the first row being their names.
type table struct {
	color, escape bool
	rows          [][]cell
}

func (p *program) newTable(color bool, names ...string) *table {
	t := &table{color: color, escape: terminal(p.stdout)}
	header := make([]cell, len(names))
	for i, name := range names {
		header[i] = cell{name, colorTime}
	}
	t.rows = append(t.rows, header)
	return t
}

// add adds a row. What is empty is shown as a dash, so that each column has a word.
func (t *table) add(cells ...cell) {
	for i := range cells {
		c := &cells[i]
		if t.escape {
			c.text = string(appendEscaped(nil, c.text))
		}
		if c.text = strings.Join(strings.Fields(c.text), " "); c.text == "" {
			c.text = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

func (t *table) bytes() []byte {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var out []byte
	for _, row := range t.rows {
		for i, c := range row {
			if t.color && c.color != "" {
				out = append(append(append(out, c.color...), c.text...), colorOff...)
			} else {
				out = append(out, c.text...)
			}
			if i < len(row)-1 {
				out = append(out, strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)...)
			}
		}
		out = append(out, '\n')
	}
	return out
}

// ageText writes how long something has been so, in its two largest units: 12s, 5m3s, 3h12m, 4d3h.
func ageText(d time.Duration) string {
	s := max(int64(d/time.Second), 0)
	units := []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	for i, u := range units[:3] {
		if s >= u.size {
			text := fmt.Sprint(s/u.size) + u.name
			if rest := s % u.size / units[i+1].size; rest > 0 {
				text += fmt.Sprint(rest) + units[i+1].name
			}
			return text
		}
	}
	return fmt.Sprint(s) + "s"
}
