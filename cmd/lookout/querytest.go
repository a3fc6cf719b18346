package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/sdk"
)

func (p *program) queryTestCommand() *cobra.Command {
	var form string
	var ids []string
	cmd := &cobra.Command{
		Use:   "test QUERY [SERVICE...]",
		Short: "Say which lines or events a query matches, and which terms decide it",
		Long: `test reads lines from standard input, each as an input would read it (JSON, logfmt, level in plain text), and says of
each whether the query matches it: yes with the terms that hold, no with those that would have to be otherwise, and what
the line has in their place. No server is asked. With --id it does so for stored events, whose ids grep -o json shows.

Exit codes: 0 when something matches, 1 when nothing does, 2 an error.`,
		Example: `  docker logs web 2>&1 | lookout query test 'level>=error -healthz'
  lookout query test 'status:500..599 user:anna' --id 4711`,
		ValidArgsFunction: p.completeQuery,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("which query? give it as the argument, in quotes")
			}
			if form != formAuto && form != formJSON {
				return fmt.Errorf("-o: there is no form %q; use auto or json", form)
			}
			q, err := (&grepFlags{}).compile(args[:1], args[1:])
			if err != nil {
				return err
			}
			p.hints(args[0])
			t := &queryTest{p: p, why: q.Why(), json: form == formJSON}
			switch {
			case len(ids) > 0:
				err = p.explain(t.ids(cmd, ids))
			case terminal(p.stdin):
				return errors.New("test it on what? pipe lines into it, or name stored events by --id")
			default:
				err = t.lines(q)
			}
			if err == nil && !t.any {
				err = errNoMatch
			}
			return err
		},
	}
	cmd.Flags().StringSliceVar(&ids, "id", nil, "test the stored event of an `ID`; may be repeated")
	cmd.Flags().StringVarP(&form, "output", "o", formAuto, "`form`: auto, json")
	complete(cmd, "output", formAuto, formJSON)
	return cmd
}

// queryTest tests a query on one event after the other.
type queryTest struct {
	p    *program
	why  *query.Why
	json bool
	any  bool // something matched
}

// lines tests the lines of standard input.
func (t *queryTest) lines(q *query.Query) error {
	m := newLineMatcher(q)
	return t.p.readLines(func(_ int, lines [][]byte) error {
		var b event.Batch
		for _, line := range lines {
			m.add(&b, line)
		}
		m.stage.Process(&b)
		for i := range b.Events {
			if err := t.one(&b.Events[i], "", string(lines[i])); err != nil {
				return err
			}
		}
		return nil
	})
}

// ids tests stored events.
func (t *queryTest) ids(cmd *cobra.Command, ids []string) error {
	c, err := t.p.client()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if strings.Trim(id, "0123456789") != "" || id == "" {
			return fmt.Errorf("--id: %q is no event's id; grep -o json shows them", id)
		}
		found, err := t.id(cmd, c, id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("--id: there is no event %s", id)
		}
	}
	return nil
}

func (t *queryTest) id(cmd *cobra.Command, c *sdk.Client, id string) (found bool, err error) {
	rows, err := c.Query(cmd.Context(), sdk.QueryRequest{Query: "id:" + id, Limit: 1})
	if err != nil {
		return false, err
	}
	defer rows.Close()
	for rows.Next() {
		e := eventOfAPI(&rows.Row().Event)
		found = true
		if err := t.one(e, id, rows.Row().Message); err != nil {
			return found, err
		}
	}
	return found, rows.Err()
}

// one tests an event and prints the verdict.
func (t *queryTest) one(e *event.Event, id, text string) error {
	match, reasons := t.why.Of(e)
	t.any = t.any || match
	if t.json {
		type reason struct {
			Term  string `json:"term"`
			Holds bool   `json:"holds"`
			Found string `json:"found,omitempty"`
		}
		verdict := struct {
			Match   bool     `json:"match"`
			ID      string   `json:"id,omitempty"`
			Text    string   `json:"text"`
			Reasons []reason `json:"reasons"`
		}{match, id, text, nil}
		for _, r := range reasons {
			verdict.Reasons = append(verdict.Reasons, reason(r))
		}
		enc := json.NewEncoder(t.p.inert())
		enc.SetEscapeHTML(false)
		return enc.Encode(verdict)
	}
	word := "no "
	if match {
		word = "yes"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", word, strings.ReplaceAll(text, "\n", "\n     "))
	for _, r := range reasons {
		fmt.Fprintf(&b, "       %s\n", r)
	}
	_, err := io.WriteString(t.p.inert(), b.String())
	return err
}

// eventOfAPI is an event of the API as queries look at it.
func eventOfAPI(e *sdk.Event) *event.Event {
	out := &event.Event{
		Time: e.Time.UnixNano(), Service: []byte(e.Service), Env: []byte(e.Env), Host: []byte(e.Host), Container: []byte(e.Container),
		Stream: []byte(e.Stream), Message: []byte(e.Message),
	}
	fmt.Sscan(e.ID, &out.Seq) // an id that is no number is none a query can ask for
	out.Level, _ = event.ParseLevel([]byte(e.Level))
	var add func(name string, value any)
	add = func(name string, value any) {
		f := event.Field{Name: []byte(name)}
		switch v := value.(type) {
		case []any:
			for _, one := range v {
				add(name, one)
			}
			return
		case string:
			f.Value = []byte(v)
		case nil:
			f.Kind, f.Value = event.Null, []byte("null")
		default:
			f.Value, _ = json.Marshal(v) // it came as JSON
			switch v.(type) {
			case bool:
				f.Kind = event.Bool
			case json.Number, float64:
				f.Kind = event.Number
			default:
				f.Kind = event.JSON
			}
		}
		out.Fields = append(out.Fields, f)
	}
	for _, f := range e.Fields {
		add(f.Name, f.Value)
	}
	return out
}
