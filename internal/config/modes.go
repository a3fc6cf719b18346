package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// validateMode checks what a rule's mode needs, and that it has no setting that is another mode's.
func (r *reader) validateMode(at string, rule *Rule) {
	for j, x := range rule.Expect {
		r.hints(fmt.Sprintf("%s.expect[%d]", at, j), x.Query)
	}
	if r.bad(at + ".mode") {
		return
	}
	timed := slices.Contains([]string{"rate", "spike", "absent"}, rule.Mode)
	if timed && rule.Notify == "each" {
		r.fail(at+".notify", rule.Notify, "mode: "+rule.Mode+" tells of a state, not of events", "leave notify out")
	}
	if timed && rule.Resolve.Query != nil {
		r.fail(at+".resolve", rule.Resolve.String(), "mode: "+rule.Mode+" knows by itself when it is over", "leave it out")
	}
	for _, s := range [...]struct {
		key   string
		set   bool
		modes []string
	}{
		{"expect", len(rule.Expect) > 0, []string{"unexpected"}},
		{"above", rule.Above != 0, []string{"rate"}},
		{"below", rule.Below != 0, []string{"rate"}},
		{"window", rule.Window != 0, []string{"rate", "spike"}},
		{"by", len(rule.By) > 0, []string{"rate", "spike", "absent"}},
		{"after", rule.After != 0, []string{"absent"}},
	} {
		if s.set && !slices.Contains(s.modes, rule.Mode) {
			r.fail(at+"."+s.key, "", "only mode: "+strings.Join(s.modes, ", ")+" has "+s.key, "add mode: "+s.modes[0]+", or leave "+s.key+" out")
		}
	}
	switch rule.Mode {
	case "unexpected":
		if len(rule.Expect) == 0 && !r.bad(at+".expect") {
			r.fail(at+".mode", rule.Mode, "without an expect list every event would be unexpected", `add expect: ["a query", …]`)
		}
	case "rate":
		switch {
		case r.bad(at+".above", at+".below"):
		case rule.Above == 0 && rule.Below == 0:
			r.fail(at+".mode", rule.Mode, "says neither above nor below what", "add above: 100, or below: 1")
		case rule.Above != 0 && rule.Below > rule.Above:
			r.fail(at+".below", fmt.Sprint(rule.Below), fmt.Sprintf("is more than above, %d: some rates would be both", rule.Above), "give below the smaller number")
		}
	}
	for i, name := range rule.By {
		if slices.Contains([]string{"", "id", "message", "time"}, name) || len(name) > 100 {
			r.fail(fmt.Sprintf("%s.by[%d]", at, i), name, "is not a field to count by", "name fields such as service, env, host, container, level, or a field of your events such as status")
		} else if slices.Contains(rule.By[:i], name) {
			r.fail(fmt.Sprintf("%s.by[%d]", at, i), name, "is there twice", "leave one out")
		}
	}
	if len(rule.By) > 8 {
		r.fail(at+".by", "", "has more than 8 fields", "name those that tell series apart")
	}
}

// Date is a day or a moment, in UTC unless it says otherwise.
type Date struct{ time.Time }

func (d *Date) set(text string) error {
	for _, layout := range [...]string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			d.Time = t
			return nil
		}
	}
	return &bad{message: "is not a day", mend: "write it as 2027-01-31, or with the time as 2027-01-31T18:00:00Z"}
}
