package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/sdk"
)

// reading is what a server says a search would read, as its API has it.
type reading struct {
	Segments    int      `json:"segments"`
	Blocks      int      `json:"blocks"`
	Range       int      `json:"range"`
	Filter      int      `json:"filter"`
	Forms       int      `json:"forms"`
	Open        int      `json:"open"`
	Known       int      `json:"known"`
	Plain       int      `json:"plain"`
	Bytes       int64    `json:"bytes"`
	Least       int64    `json:"least"`
	Most        int64    `json:"most"`
	MaybeForms  int      `json:"maybe_forms"`
	AlwaysForms int      `json:"always_forms"`
	Memory      int64    `json:"memory"`
	Complete    bool     `json:"complete"`
	Reasons     []string `json:"reasons,omitempty"`
}

// budget is what a search may use there.
type budget struct {
	Scan      int64   `json:"scan"` // bytes, 0 for no limit
	Memory    int64   `json:"memory"`
	TimeoutMS float64 `json:"timeout_ms"`
}

// explained is the answer of query explain.
type explained struct {
	Normal   string   `json:"normal"`
	Terms    []string `json:"terms"`
	Reading  *reading `json:"reading,omitempty"` // nil without a server
	Budget   *budget  `json:"budget,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

func (p *program) explainCommand() *cobra.Command {
	var since, until, form, tz string
	var all, utc, reports bool
	cmd := &cobra.Command{
		Use:   "explain [flags] QUERY [SERVICE...]",
		Short: "Say how a query is answered, and what it would read",
		Long: `explain prints the query in its normal form, a line for each of its terms (what it looks
at, and how it is found), and, when the server can be reached, what a search of the last
hour would read: how many blocks there are, what rules out the others without reading
them, and how many events match at least and at most. Nothing is searched.`,
		Example: `  lookout query explain 'level>=error "connection refused"' -s 1d
  lookout query explain 'request_id:4f1c2a' --all`,
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
			zone, err := parseZone(tz, utc)
			if err != nil {
				return err
			}
			r, err := parseRange(since, until, all, p.now(), zone)
			if err != nil {
				return err
			}
			p.hints(args[0])
			x, err := p.explainQuery(cmd, q, r, reports)
			if err != nil {
				return err
			}
			if form == formJSON {
				enc := json.NewEncoder(p.inert())
				enc.SetEscapeHTML(false)
				return enc.Encode(x)
			}
			text := x.text()
			if terminal(p.stdout) {
				text = string(appendEscaped(nil, text))
			}
			_, err = fmt.Fprint(p.stdout, text)
			return err
		},
	}
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&since, "since", "s", "", "from this `time` on (default 1h ago)")
	fl.StringVarP(&until, "until", "u", "", "up to this `time`, which is left out (default now)")
	fl.BoolVar(&all, "all", false, "from the beginning")
	fl.BoolVar(&reports, "reports", false, "also what probes and containers say regularly")
	fl.StringVarP(&form, "output", "o", formAuto, "`form`: auto, json")
	fl.StringVar(&tz, "tz", "", "time `zone` for reading times, such as Europe/Berlin")
	fl.BoolVar(&utc, "utc", false, "the same as --tz UTC")
	complete(cmd, "output", formAuto, formJSON)
	return cmd
}

// explainQuery asks the server; without one it says what the query alone tells.
func (p *program) explainQuery(cmd *cobra.Command, q *query.Query, r timeRange, reports bool) (*explained, error) {
	x := &explained{Normal: q.String(), Terms: q.Explain()}
	c, err := p.client()
	if err != nil {
		return nil, err
	}
	params := url.Values{"q": {x.Normal}}
	for name, t := range map[string]time.Time{"since": r.since, "until": r.until} {
		if !t.IsZero() {
			params.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	if !reports {
		params.Set("reports", "false")
	}
	var answer explained
	err = c.Call(cmd.Context(), http.MethodGet, "/api/v1/explain", params, &answer)
	var e *sdk.Error
	switch {
	case errors.As(err, &e) && e.Code == sdk.CodeUnreachable:
		p.say("%v; what would be read is left out", e.Message)
		return x, nil
	case err != nil:
		return nil, p.explain(err)
	}
	for _, w := range answer.Warnings {
		p.say("%s", w)
	}
	x.Reading, x.Budget, x.Warnings = answer.Reading, answer.Budget, answer.Warnings
	return x, nil
}

func (x *explained) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", x.Normal)
	for _, t := range x.Terms {
		fmt.Fprintf(&b, "  %s\n", t)
	}
	r := x.Reading
	if r == nil {
		return b.String()
	}
	n := func(n int) string { return grouped(int64(n)) }
	fmt.Fprintf(&b, "blocks: %s in %s\n", n(r.Blocks), counted(int64(r.Segments), "segment"))
	for _, part := range []struct {
		n   int
		why string
	}{{r.Range, "out of range, by time or service"}, {r.Filter, "ruled out by filters"}, {r.Forms, "ruled out by the forms of their texts, levels or fields"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, "  %s %s\n", n(part.n), part.why)
		}
	}
	if r.Open > 0 {
		fmt.Fprintf(&b, "  %s left, of %s, with %s\n", n(r.Open), bytesText(r.Bytes), matches(r.Least, r.Most))
	}
	if r.Known > 0 {
		fmt.Fprintf(&b, "    %s need not be read to count\n", n(r.Known))
	}
	if r.Plain > 0 {
		fmt.Fprintf(&b, "    %s of plain rows, which are read whole\n", n(r.Plain))
	}
	if r.MaybeForms+r.AlwaysForms > 0 {
		fmt.Fprintf(&b, "    forms of text: %s may match and %s always do\n", n(r.MaybeForms), n(r.AlwaysForms))
	}
	if r.Memory > 0 {
		fmt.Fprintf(&b, "memory: %s, looked at one by one\n", counted(r.Memory, "event"))
	}
	for _, reason := range r.Reasons {
		fmt.Fprintf(&b, "incomplete: %s\n", reason)
	}
	if l := x.Budget; l != nil {
		scan := "as many bytes of events as there are"
		if l.Scan > 0 {
			scan = bytesText(l.Scan) + " of events"
		}
		fmt.Fprintf(&b, "limits: %s, %s of memory, %v\n", scan, bytesText(l.Memory), time.Duration(l.TimeoutMS*float64(time.Millisecond)))
	}
	return b.String()
}

// matches says how many events match.
func matches(least, most int64) string {
	switch {
	case least == most:
		return counted(least, "match")
	case least == 0:
		return "at most " + counted(most, "match")
	}
	return fmt.Sprintf("%s to %s", grouped(least), counted(most, "match"))
}
