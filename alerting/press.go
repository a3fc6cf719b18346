package alerting

import (
	"context"
	"time"
)

// SilenceIncident silences an incident for d from now, and what comes of the same kind: the same rule, service and
// fingerprint. A silence of it that is active already ends then instead, sooner or later. It is durable when it returns. by and
// the error are as [Engine.Acknowledge]'s.
func (e *Engine) SilenceIncident(ctx context.Context, id uint64, d time.Duration, by string) error {
	inc, err := e.numbered(id)
	if err != nil {
		return err
	}
	s := Silence{By: Cut(oneLine(clean([]byte(by))), maxBy), Until: e.clock.Now().Add(d)}
	labels := inc.labels()
	for _, name := range [...]string{"rule", "service", "fingerprint"} {
		m, err := NewMatcher(name, MatchEqual, labels[name])
		if err != nil {
			return err
		}
		s.Matchers = append(s.Matchers, m)
	}
	for _, o := range *e.silences.Load() {
		if o.State(e.clock.Now()) == SilenceActive && o.Matchers.String() == s.Matchers.String() {
			s.ID, s.From = o.ID, o.From
		}
	}
	_, err = e.AddSilence(ctx, s)
	return err
}
