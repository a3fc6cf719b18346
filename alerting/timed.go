package alerting

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// maxSteps is into how many steps a rate's window is parted, at most.
	maxSteps = 60
	// maxHold is how long a rate must be within limits until it is over; for a shorter window that is enough.
	maxHold = 5 * time.Minute

	// A spike is over max(spikeLeast, spikeFactor × baseline) in two windows running. The baseline is the mean of up to
	// spikeWindows windows, and known after spikeLearned.
	spikeLeast   = 10
	spikeFactor  = 4
	spikeWindows = 48
	spikeLearned = 12

	// A silence is too long beyond gapFactor × what is usual, at least gapLeast, once a series is known for gapLearned. Usual is the
	// longest of the daily longest silences of gapDays days, of four days and more the second longest, of eight and more the third:
	// what happens each night or each weekend is usual, what happened once is not.
	gapFactor  = 2
	gapLeast   = 5 * time.Minute
	gapLearned = 24 * time.Hour
	gapDays    = 22
	// deployTime is how long a deployed service may take to be heard.
	deployTime = 10 * time.Minute

	day = 24 * time.Hour
)

// steps are how a rate's window is parted: into so many steps of so many ns.
func (s *ruleState) steps() (n, width int64) {
	window, tick := int64(s.rule.window()), int64(Tick)
	width = max(1, (window+maxSteps*tick-1)/(maxSteps*tick)) * tick
	return (window + width - 1) / width, width
}

// roll goes on to a step; steps in between had no events.
func (x *series) roll(step, most int64) {
	switch ahead := step - x.Head; {
	case len(x.Counts) == 0 || ahead >= most:
		x.Head, x.Counts = step, append(x.Counts[:0], 0)
	case ahead > 0:
		x.Head = step
		for range ahead {
			x.Counts = append(x.Counts, 0)
		}
		if n := len(x.Counts); int64(n) > most {
			x.Counts = x.Counts[:copy(x.Counts, x.Counts[int64(n)-most:])]
		}
	}
}

func sum(counts []int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}

func (s *ruleState) countRate(ev *event.Event) {
	if x := s.of(ev); x != nil {
		n, width := s.steps()
		x.roll(s.m.Now/width, n)
		x.Counts[len(x.Counts)-1]++
	}
}

func (s *ruleState) tickRate(at int64) {
	if s.rule.Below > 0 && len(s.by) == 0 && len(s.series) == 0 {
		s.series[""] = &series{Began: s.Since, Last: at, changed: true}
	}
	for _, x := range s.series {
		s.judgeRate(x, at)
	}
}

func (s *ruleState) judgeRate(x *series, at int64) {
	n, width := s.steps()
	x.roll((at-1)/width, n)
	count, window := sum(x.Counts), s.rule.window()
	over := s.rule.Above > 0 && count > s.rule.Above
	low := s.rule.Below > 0 && count < s.rule.Below && at-max(s.since(), x.Began) >= n*width
	switch {
	case (over || low) && !x.Firing:
		x.Firing, x.Low, x.Peak, x.Back, x.changed = true, low, count, 0, true
		text := fmt.Sprintf("rate of %s over %d in %s: %d", s.name(x), s.rule.Above, span(window), count)
		if low {
			text = fmt.Sprintf("rate of %s below %d in %s: %d", s.name(x), s.rule.Below, span(window), count)
		}
		s.tell(x, at, at-int64(window), text)
	case over || low:
		if x.Low && count < x.Peak || !x.Low && count > x.Peak {
			x.Peak, x.changed = count, true
		}
		if x.Back != 0 {
			x.Back, x.changed = 0, true
		}
	case x.Firing && x.Back == 0:
		x.Back, x.changed = at, true
	case x.Firing && at-x.Back >= int64(min(window, maxHold)):
		most := "most"
		if x.Low {
			most = "least"
		}
		s.end(x, at, fmt.Sprintf("back to %d in %s, at %s %d", count, span(window), most, x.Peak))
	}
	switch silent := at - x.Last; {
	case len(s.by) == 0:
	case s.rule.Below > 0 && silent > int64(giveUp):
		if x.Firing {
			s.end(x, at, "given up: nothing for "+days(giveUp))
		}
		s.forget(x)
	case s.rule.Below == 0 && count == 0 && !x.Firing:
		s.forget(x)
	}
}

// firstWindow is the number of the first window of a spike that was seen whole.
func (s *ruleState) firstWindow() int64 {
	w := int64(s.rule.window())
	return (s.since() + w - 1) / w
}

func (s *ruleState) countSpike(ev *event.Event) {
	x := s.of(ev)
	if x == nil {
		return
	}
	window := s.m.Now / int64(s.rule.window())
	if x.Head == 0 {
		// What was not there had no events.
		x.Head = window
		x.Counts = make([]int64, min(spikeWindows, max(0, window-s.firstWindow())))
	}
	x.skip(window, s.firstWindow())
	x.Current++
}

// skip leaves out windows that were not seen whole.
func (x *series) skip(window, first int64) {
	if to := min(window, first-1); x.Head < to {
		x.Head, x.Current, x.Hits, x.changed = to, 0, 0, true
	}
}

// threshold is what a spike is over; known is false while the baseline is not known.
func (x *series) threshold() (baseline, threshold int64, known bool) {
	n := int64(len(x.Counts))
	if n < spikeLearned {
		return 0, 0, false
	}
	total := sum(x.Counts)
	return total / n, max(spikeLeast, spikeFactor*total/n), true
}

func (s *ruleState) tickSpike(x *series, at int64) {
	window := int64(s.rule.window())
	x.skip(at/window, s.firstWindow())
	for ; x.Head < at/window; x.Head++ {
		count := x.Current
		x.Current, x.changed = 0, true
		if x.Head < s.firstWindow() {
			continue
		}
		baseline, threshold, known := x.threshold()
		if known && count > threshold {
			x.Hits++
			x.Peak = max(x.Peak, count)
			count = threshold // what lasts becomes usual, but not at once
		} else {
			x.Hits = 0
		}
		s.judgeSpike(x, at, x.Peak, baseline)
		x.Counts = append(x.Counts, count)
		x.Counts = x.Counts[max(0, len(x.Counts)-spikeWindows):]
		if x.Hits == 0 && !x.Firing {
			x.Peak = 0
		}
	}
	// The second window need not be waited for when it is over already.
	if baseline, threshold, known := x.threshold(); known && x.Hits == 1 && x.Current > threshold {
		x.Hits, x.Peak, x.changed = 2, max(x.Peak, x.Current), true
		s.judgeSpike(x, at, x.Peak, baseline)
	}
	if !x.Firing && x.Current == 0 && sum(x.Counts) == 0 {
		s.forget(x)
	}
}

func (s *ruleState) judgeSpike(x *series, at, count, baseline int64) {
	window := s.rule.window()
	switch {
	case x.Hits >= 2 && !x.Firing:
		x.Firing = true
		s.tell(x, at, at-2*int64(window), fmt.Sprintf("spike of %s: %d in %s, usually %d", s.name(x), count, span(window), baseline))
	case x.Hits == 0 && x.Firing:
		s.end(x, at, fmt.Sprintf("back to what is usual, at most %d in %s", count, span(window)))
	}
}

// dayGap is the longest silence of a day by the running clock.
type dayGap struct {
	Day int64 `json:"day"`
	Gap int64 `json:"gap"` // ns
}

// unheard says why an event is no sign of life, empty when it is one.
func (s *ruleState) unheard(ev *event.Event) string {
	switch string(ev.Stream) {
	case "docker", "stats", "probe":
		if !s.rule.streams {
			return "what lookout says about a service is not what the service says, unless the query asks for its stream"
		}
	}
	if len(s.by) == 1 && len(valueOf(ev, s.by[0])) == 0 {
		return "it does not have the field that the rule tells series apart by"
	}
	return ""
}

// hear notes that an absent rule's series is there.
func (s *ruleState) hear(ev *event.Event) {
	if s.unheard(ev) != "" {
		return
	}
	x := s.of(ev)
	if x == nil {
		return
	}
	now := s.m.running(s.m.Now)
	if x.Heard == 0 {
		x.Born, x.Heard = now, now
	}
	silent := now - x.Heard
	if x.Firing {
		s.end(x, s.m.Now, "heard again after "+about(time.Duration(silent)))
	}
	if !x.Stopped && now >= x.Excused {
		x.gap(now/int64(day), silent)
	}
	x.Heard, x.Stopped, x.Excused = max(x.Heard, now), false, 0
}

func (x *series) gap(today, silent int64) {
	if n := len(x.Gaps); n > 0 && x.Gaps[n-1].Day == today {
		x.Gaps[n-1].Gap = max(x.Gaps[n-1].Gap, silent)
		return
	}
	x.Gaps = append(x.Gaps, dayGap{today, silent})
	x.Gaps = slices.DeleteFunc(x.Gaps, func(g dayGap) bool { return g.Day <= today-gapDays })
}

// usual is the silence that is none.
func (x *series) usual() time.Duration {
	if len(x.Gaps) == 0 {
		return 0
	}
	var longest [3]int64
	for _, g := range x.Gaps {
		for i := range longest {
			if g.Gap > longest[i] {
				copy(longest[i+1:], longest[i:])
				longest[i] = g.Gap
				break
			}
		}
	}
	return time.Duration(longest[min(len(x.Gaps)/4, 2)])
}

func (s *ruleState) tickAbsent(x *series, at int64) {
	now := s.m.running(at)
	silent := time.Duration(now - x.Heard)
	if silent > giveUp {
		if x.Firing {
			s.end(x, at, "given up: nothing for "+days(giveUp))
		}
		s.forget(x)
		return
	}
	if x.Firing || x.Stopped || now < x.Excused {
		return
	}
	var why string
	if s.rule.After > 0 {
		if silent <= s.rule.After {
			return
		}
		why = "more than " + span(s.rule.After)
	} else {
		usual := x.usual()
		if now-x.Born < int64(gapLearned) || silent <= max(gapLeast, gapFactor*usual) {
			return
		}
		why = "usually " + about(usual) + " at most"
	}
	x.Firing, x.changed = true, true
	what := "silent"
	if name := s.name(x); name != s.rule.Name {
		what = name + " is silent"
	}
	s.tell(x, at, at-int64(silent), fmt.Sprintf("%s for %s, %s", what, about(silent), why))
}

// excuse notes what makes a service's silence no news: it was stopped as asked, it was deployed, it starts.
func (m *modes) excuse(ev *event.Event) {
	var action string
	switch string(ev.Stream) {
	case "docker":
		if f := ev.Field("action"); f != nil {
			action = string(f.Value)
		}
	case markStream:
		action = "start"
		if f := ev.Field("mark"); f != nil { // one that does not say what it is has always been a deploy
			action = map[MarkKind]string{MarkDeploy: "start", MarkStop: "destroy"}[MarkKind(f.Value)]
		}
	}
	stopped := action == "destroy" || action == "die" && ev.Level >= event.Info
	if !stopped && action != "start" {
		return
	}
	now, before := m.running(m.Now), len(m.matches)
	for _, s := range m.states {
		if s == nil || s.rule.Mode != ModeAbsent {
			continue
		}
		for _, x := range s.series {
			if !s.isOf(x, ev) {
				continue
			}
			x.changed = true
			if x.Stopped = stopped; !stopped {
				x.Heard, x.Excused = max(x.Heard, now), now+int64(deployTime)
			} else if x.Firing {
				s.end(x, m.Now, "it was stopped")
			}
		}
	}
	slices.SortStableFunc(m.matches[before:], func(a, b match) int { return cmp.Compare(a.rule.Name+"|"+a.fp, b.rule.Name+"|"+b.fp) })
}

// isOf tells whether an event about a service is about a series: its service, and no other env, host or container.
func (s *ruleState) isOf(x *series, ev *event.Event) bool {
	named := false
	for i, v := range x.values()[:len(s.by)] {
		is := func(p []byte) bool { return v == short(p[:min(len(p), maxValue)]) }
		switch s.by[i] {
		case "service":
			if named = is(ev.Service); !named {
				return false
			}
		case "env":
			if len(ev.Env) > 0 && !is(ev.Env) {
				return false
			}
		case "host":
			if len(ev.Host) > 0 && !is(ev.Host) {
				return false
			}
		case "container":
			if len(ev.Container) > 0 && !is(ev.Container) {
				return false
			}
		}
	}
	return named
}

// about writes a time as people say it: 40s, 25 min, 3 h, 2 days.
func about(d time.Duration) string {
	switch {
	case d < 90*time.Second:
		return fmt.Sprintf("%ds", int(d.Round(time.Second)/time.Second))
	case d < 90*time.Minute:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour)/time.Hour))
	}
	return days(d)
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d.Round(day)/day)) }
