package alerting

import (
	"slices"
	"strings"
	"time"
)

// RuleInfo is a rule in force as people see it.
type RuleInfo struct {
	Name     string    `json:"name"`
	Query    string    `json:"query"`
	Resolve  string    `json:"resolve,omitempty"`
	Mode     Mode      `json:"mode"`
	Notify   Notify    `json:"notify"`
	Severity Severity  `json:"severity,omitempty"` // empty: that of the event's level
	Channels []string  `json:"channels"`
	Matched  uint64    `json:"matched"`       // events since the start
	Last     time.Time `json:"last,omitzero"` // when the last of them was received
	Open     int       `json:"open"`          // incidents that fire or are acknowledged
}

// Rules lists the rules in force, in their order.
func (e *Engine) Rules() []RuleInfo {
	open := e.openByRule()
	var list []RuleInfo
	for _, r := range *e.rules.Load() {
		i := RuleInfo{
			Name: r.Name, Query: r.text, Mode: r.Mode, Notify: r.Notify, Severity: r.Severity, Channels: slices.Clone(r.Channels),
			Matched: r.matched.Load(), Last: timeOf(r.matched.last.Load()), Open: open[r.Name],
		}
		if r.Resolve != nil {
			i.Resolve = r.Resolve.String()
		}
		if i.Notify == "" {
			i.Notify = Incident
		}
		if i.Mode == "" {
			i.Mode = ModeMatch
		}
		list = append(list, i)
	}
	return list
}

// openByRule counts the open incidents.
func (e *Engine) openByRule() map[string]int {
	open := map[string]int{}
	for key, state := range e.book.at(e.clock.Now().UnixNano(), e.resolves) {
		if state != Resolved {
			rule, _, _ := strings.Cut(key, "|")
			open[rule]++
		}
	}
	return open
}
