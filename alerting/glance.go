package alerting

import (
	"fmt"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// glance is what the modes know of one event and one rule, copied.
type glance struct {
	rule            *rule
	match, resolves bool
	unheard         Finding // why it is kept from a rule whose query matches; empty when it is not
	since           inForce

	expected []ExpectationInfo // of unexpected: the entries that cover it
	kind     kindGlance        // of new
	left     string            // of rate, spike and absent: why it counts in no series
	series   *SeriesInfo       // nil when there is none (any more)
	print    string            // the fingerprint of the series' incidents, of new that of its digest
}

// kindGlance is what a rule of [ModeNew] knows of an event's kind, and its service.
type kindGlance struct {
	known, exploded bool
	day             int64 // on which the kind was last seen, since the Unix epoch
	began           int64 // when the service's first day began, ns; 0 when it is not known
}

// look returns what is known of an event by rule, in their order, and up to which sequence that is.
func (m *modes) look(ev *event.Event) ([]glance, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopt()
	all := make([]glance, len(*m.ruleset))
	own, said := string(ev.Service) == Service, string(ev.Stream) == markStream
	for i, r := range *m.ruleset {
		g := &all[i]
		*g = glance{rule: r, match: r.Query.Match(ev), resolves: r.Resolve != nil && r.Resolve.Match(ev), since: m.firsts[r.Name]}
		switch {
		case !g.match && !g.resolves:
			continue
		case own && !r.own:
			g.unheard = FindingOwn
		case said:
			g.match, g.resolves = g.match && r.hears(false), g.resolves && r.hears(true)
			if !g.match && !g.resolves {
				g.unheard = FindingMark
			}
		}
		if s := m.states[i]; s != nil && g.match && !g.resolves && g.unheard == "" {
			s.look(ev, g)
		}
	}
	return all, m.e.position.Load()
}

func (s *ruleState) look(ev *event.Event, g *glance) {
	switch s.rule.Mode {
	case ModeUnexpected:
		for _, x := range s.expected.list {
			if !x.expired(ev.Received) && x.query.Match(ev) {
				g.expected = append(g.expected, x.info())
			}
		}
	case ModeNew:
		k, known := s.seen[s.kindOf(ev)]
		g.kind.known, g.kind.day = known, int64(k.day)
		if x := s.series[string(s.keyOf(ev))]; x != nil {
			g.kind.exploded, g.kind.began = x.Exploded, x.Began
			g.print = digestPrint + strconv.FormatUint(x.hash(), 16)
		}
	default:
		s.lookSeries(ev, g)
	}
}

func (s *ruleState) lookSeries(ev *event.Event, g *glance) {
	if isLate(ev) {
		g.left = fmt.Sprintf("it arrived %s late: events that are more than %s late count for no %s", about(time.Duration(ev.Received-ev.Time)), span(tooLate), s.rule.Mode)
		return
	}
	if s.rule.Mode == ModeAbsent {
		if g.left = s.unheard(ev); g.left != "" {
			return
		}
	}
	key := s.keyOf(ev)
	x := s.series[string(key)]
	if x == nil {
		if len(s.series) >= maxSeries {
			g.left = fmt.Sprintf("the rule keeps %d series apart, and this would be another", maxSeries)
			return
		}
		x = &series{Key: key}
		g.print = x.fingerprint()
		return
	}
	g.print = x.fingerprint()
	i := &SeriesInfo{At: timeOf(s.m.Now), Firing: x.Firing, Unit: "events"}
	g.series = i
	for n, v := range x.values()[:len(s.by)] {
		if i.By == nil {
			i.By = map[string]string{}
		}
		i.By[s.by[n]] = v
	}
	switch s.rule.Mode {
	case ModeRate:
		s.lookRate(x, i)
	case ModeSpike:
		s.lookSpike(x, i)
	case ModeAbsent:
		s.lookAbsent(x, i)
	}
}

func (s *ruleState) lookRate(x *series, i *SeriesInfo) {
	n, width := s.steps()
	oldest := s.m.Now/width - n
	for at, c := range x.Counts {
		if x.Head-int64(len(x.Counts)-1-at) > oldest {
			i.Value += c
		}
	}
	i.Above, i.Below = s.rule.Above, s.rule.Below
	i.Text = fmt.Sprintf("%d in %s now", i.Value, span(s.rule.window()))
	if i.Above > 0 {
		i.Text += fmt.Sprintf(", told above %d", i.Above)
	}
	if i.Below > 0 {
		i.Text += fmt.Sprintf(", told below %d", i.Below)
		if s.m.Now-max(s.since(), x.Began) < n*width {
			i.Text += " once a whole window was seen"
		}
	}
}

func (s *ruleState) lookSpike(x *series, i *SeriesInfo) {
	window := s.rule.window()
	if x.Head == s.m.Now/int64(window) {
		i.Value = x.Current
	}
	i.Text = fmt.Sprintf("%d in this window of %s now", i.Value, span(window))
	baseline, threshold, known := x.threshold()
	if !known {
		i.Text += fmt.Sprintf("; what is usual is known after %d windows, and %d are", spikeLearned, len(x.Counts))
		return
	}
	i.Above = threshold
	i.Text += fmt.Sprintf(", usually %d: told above %d in two windows running", baseline, threshold)
}

func (s *ruleState) lookAbsent(x *series, i *SeriesInfo) {
	now := s.m.running(s.m.Now)
	silent := time.Duration(max(0, now-x.Heard))
	i.Unit, i.Value = "seconds", int64(silent/time.Second)
	i.Text = "silent for " + about(silent) + " now"
	limit, why := s.rule.After, ""
	if limit == 0 {
		if known := now - x.Born; known < int64(gapLearned) {
			i.Text += fmt.Sprintf("; its silence is told when it is known for %s, and it is for %s", about(gapLearned), about(time.Duration(known)))
			return
		}
		usual := x.usual()
		limit, why = max(gapLeast, gapFactor*usual), " (usually "+about(usual)+" at most)"
	}
	i.Above = int64(limit / time.Second)
	i.Text += ", told after " + about(limit) + why
	switch {
	case x.Stopped:
		i.Text += "; it was stopped or removed as asked, and is not missed until it is heard or started"
	case now < x.Excused:
		i.Text += fmt.Sprintf("; it starts or was deployed, and is not missed for another %s", about(time.Duration(x.Excused-now)))
	}
}
