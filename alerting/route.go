package alerting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Route says where incidents and events go whose rule leaves that to the routes.
type Route struct {
	Match    Matchers // none: everything
	Channels []string
	// Quiet names the quiet hours that hold what goes this way; empty for none.
	Quiet string
	// Repeat is after how long people are told again here, as [Rule].Repeat; 0 leaves it to the rule.
	Repeat time.Duration
	// Continue has the routes behind it looked at as well.
	Continue bool
}

// QuietHours are a time that comes again, in which what is not critical waits: when they end, what waited comes as one
// message a channel, or as itself when it is alone.
type QuietHours struct {
	Name string
	// Match is what waits; without any only the routes that name these hours have something wait.
	Match    Matchers
	Schedule Schedule
}

// Target is where something goes by the routes.
type Target struct {
	Channel string
	Quiet   string // the quiet hours of its route
	Route   int    // which route, counted from 0; -1 for none: the rule's own channels
	Repeat  time.Duration
}

// Targets tells where something with these labels goes, each channel once. Without a route that matches these are the
// channels of its rule.
func (p *Policy) Targets(l Labels, own []string) (all []Target) {
	add := func(channel, quiet string, route int, repeat time.Duration) {
		if !slices.ContainsFunc(all, func(t Target) bool { return t.Channel == channel }) {
			all = append(all, Target{channel, quiet, route, repeat})
		}
	}
	for i, r := range p.Routes {
		if !r.Match.Match(l) {
			continue
		}
		for _, c := range r.Channels {
			add(c, r.Quiet, i, r.Repeat)
		}
		if !r.Continue {
			return all
		}
	}
	if len(all) == 0 {
		for _, c := range own {
			add(c, "", -1, 0)
		}
	}
	return all
}

// QuietUntil tells until when something that goes this way waits for quiet hours to end; zero when it does not.
func (p *Policy) QuietUntil(l Labels, t Target, now time.Time) (until time.Time) {
	if l["severity"] == string(Critical) {
		return time.Time{}
	}
	for i := range p.Quiet {
		q := &p.Quiet[i]
		if q.Name != t.Quiet && (len(q.Match) == 0 || !q.Match.Match(l)) {
			continue
		}
		if end, ok := q.Schedule.during(now); ok && end.After(until) {
			until = end
		}
	}
	return until
}

// Unreachable returns which route is never come to, counted from 0, and the one before it that takes all that it would.
func (p *Policy) Unreachable() (route, taken int, ok bool) {
	for i, later := range p.Routes {
		for j, r := range p.Routes[:i] {
			covers := func(m Matcher) bool {
				return slices.ContainsFunc(later.Match, func(n Matcher) bool {
					return m.Name == n.Name && (m.Op == n.Op && m.Value == n.Value || n.Op == MatchEqual && m.Matches(n.Value))
				})
			}
			if !r.Continue && !slices.ContainsFunc(r.Match, func(m Matcher) bool { return !covers(m) }) {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

func (p *Policy) checkRoutes() error {
	names := map[string]bool{}
	for i, q := range p.Quiet {
		if q.Name == "" || names[q.Name] {
			return fmt.Errorf("quiet hours %d have no name of their own: give them one", i+1)
		}
		names[q.Name] = true
	}
	for i, r := range p.Routes {
		switch {
		case len(r.Channels) == 0:
			return fmt.Errorf("route %d has no channel: name one", i+1)
		case slices.ContainsFunc(r.Channels, func(c string) bool { return c == "" || !channelOK(c) }):
			return fmt.Errorf("route %d has a channel that is none: write it as the destination shows it", i+1)
		case r.Repeat != 0 && r.Repeat < minRepeat:
			return fmt.Errorf("route %d repeats after %v: the least is %v", i+1, r.Repeat, minRepeat)
		case r.Quiet != "" && !names[r.Quiet]:
			return fmt.Errorf("route %d names quiet hours %q, which there are not: add them, or leave quiet out", i+1, r.Quiet)
		}
	}
	if i, j, ok := p.Unreachable(); ok {
		return fmt.Errorf("route %d is never come to: route %d takes all that it would; put it in front, or add continue to that", i+1, j+1)
	}
	return nil
}

// targets tells where an incident goes.
func (a *application) targets(r *rule, l Labels) []Target {
	if r == nil {
		return nil
	}
	if !r.Routed {
		all := make([]Target, len(r.Channels))
		for i, c := range r.Channels {
			all[i] = Target{Channel: c, Route: -1}
		}
		return all
	}
	all := a.e.policy.Load().Targets(l, r.Channels)
	for _, c := range r.Also {
		if !slices.ContainsFunc(all, func(t Target) bool { return t.Channel == c }) {
			all = append(all, Target{Channel: c, Route: -1})
		}
	}
	return all
}

// routed returns the channels of an incident that is news: by the routes when its rule leaves it to them.
func (a *application) routed(inc *incident, channels []string) []string {
	r := a.e.ruleNamed(inc.Rule)
	if r == nil || !r.Routed || len(a.e.policy.Load().Routes) == 0 {
		return channels
	}
	var to []string
	for _, t := range a.targets(r, inc.labels()) {
		to = append(to, t.Channel)
	}
	return to
}

// ring has an incident noticed in these channels, in quiet hours when these are over.
func (a *application) ring(inc *incident, channels []string) {
	inc.ring(channels)
	a.settleRing(inc, channels)
}

// settleRing has channels in which it is to be noticed wait for the end of quiet hours, and says when they are told again.
func (a *application) settleRing(inc *incident, channels []string) {
	r := a.e.ruleNamed(inc.Rule)
	policy := a.e.policy.Load()
	if r == nil || r.Repeat == 0 && !r.Routed && len(policy.Quiet) == 0 {
		return
	}
	labels := inc.labels()
	all := a.targets(r, labels)
	for _, channel := range channels {
		d := inc.to(channel)
		t := Target{Channel: channel, Route: -1}
		if i := slices.IndexFunc(all, func(t Target) bool { return t.Channel == channel }); i >= 0 {
			t = all[i]
		}
		d.Every = int64(cmp.Or(t.Repeat, r.Repeat))
		if d.Waits = 0; d.Ring != 0 {
			if until := policy.QuietUntil(labels, t, time.Unix(0, a.now)); !until.IsZero() {
				d.Waits = until.UnixNano()
			}
		}
	}
}

// waking is when the first of an incident's destinations has waited for the end of quiet hours, ns; 0 for none.
func (inc *incident) waking() (first int64) {
	for _, d := range inc.To {
		if d.Waits != 0 && (first == 0 || d.Waits < first) {
			first = d.Waits
		}
	}
	return first
}

// wake ends the waiting of those destinations whose quiet hours are over.
func (a *application) wake(key string, inc *incident) {
	for i := range inc.To {
		d := &inc.To[i]
		if d.Waits == 0 || d.Waits > a.now {
			continue
		}
		d.Waits = 0
		a.incidents[key] = inc
		if d.Ring != 0 && inc.Muted == nil {
			a.awake[d.Channel] = append(a.awake[d.Channel], key)
			a.tallies[tally{tallyWaited, inc.Rule, d.Channel}]++
		}
	}
}

// digest has what waited for the end of quiet hours told: in one message a channel, or as itself when it is alone.
func (a *application) digest() error {
	for channel, keys := range a.awake {
		if len(keys) == 1 {
			if err := a.queue(a.incidents[keys[0]]); err != nil {
				return err
			}
			continue
		}
		e := &entry{Kind: kindQuiet, Channel: channel, Created: a.now, Keys: keys}
		for _, key := range keys {
			inc := a.incidents[key]
			d := inc.to(channel)
			d.Ring = 0
			if d.Told == 0 {
				d.Told, d.Shown = a.now, inc.Rev
			}
			if worse(inc.Severity, e.Severity) {
				e.Severity, e.Rule = inc.Severity, inc.Rule
			}
			if err := a.queue(inc); err != nil { // what is there is edited
				return err
			}
		}
		a.channels[channel] = true
		if err := enqueue(a.tx, fmt.Sprintf("quiet|%s|%d|%s", channel, a.now, keys[0]), e); err != nil {
			return err
		}
	}
	a.awake = map[string][]string{}
	return nil
}

// maxDigest is how many incidents a digest lists; more are counted.
const maxDigest = 30

// renderQuiet makes the message of what waited, worst first. Records that are gone are counted.
func (e *Engine) renderQuiet(q *queued, find func(key string) *incident) Message {
	var found []*incident
	open := 0
	for _, key := range q.Keys {
		inc := find(key)
		if inc == nil {
			continue
		}
		found = append(found, inc)
		if inc.State != Resolved {
			open++
		}
	}
	slices.SortStableFunc(found, func(a, b *incident) int {
		switch {
		case worse(a.Severity, b.Severity):
			return -1
		case worse(b.Severity, a.Severity):
			return 1
		}
		return int(max(-1, min(1, b.Count-a.Count)))
	})
	m := Message{
		Severity: q.Severity,
		Title:    fmt.Sprintf("%s waited for the end of quiet hours, %d still open", count(int64(len(q.Keys)), "alert"), open),
	}
	room := maxGathered
	for i, inc := range found {
		line := fmt.Sprintf("%s %s (%s)", inc.State, e.titleOf(inc), count(inc.Count, "time"))
		line = strings.ReplaceAll(Cut(oneLine(line), 250), "\n", " ")
		if room -= Weight(line) + 1; i == maxDigest || room < 0 {
			m.Lines = append(m.Lines, fmt.Sprintf("… and %d more", len(found)-i))
			break
		}
		m.Lines = append(m.Lines, line)
	}
	if e.baseURL != "" {
		m.Link = strings.TrimSuffix(e.baseURL, "/") + "/"
	}
	return m
}
