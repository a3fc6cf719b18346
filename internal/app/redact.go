package app

import (
	"context"
	"fmt"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/internal/event"
)

// redacting is a sink before which events lose what must not be kept. All that any input appends goes through it, and what
// lookout says of itself: nothing behind it, log, segments, ledger, alerts, backups or an agent's queue, has ever seen it.
type redacting struct {
	collector.Counted
	redactor *parse.Redactor
}

// Append implements [collector.Sink].
func (s redacting) Append(ctx context.Context, b *event.Batch) error {
	s.redactor.Process(b)
	return s.Counted.Append(ctx, b)
}

// redact puts the redactor of the configuration before the sink, if there are rules.
func (a *App) redact() error {
	c := &a.o.Config.Redact
	if len(c.Use)+len(c.Rules) == 0 {
		return nil
	}
	rules := make([]parse.RedactRule, len(c.Rules))
	for i, rule := range c.Rules {
		rules[i] = parse.RedactRule(rule)
	}
	var err error
	if a.redactor, err = parse.NewRedactor(c.Use, rules); err != nil {
		return fmt.Errorf("redact: %w", err)
	}
	a.sink = redacting{a.sink, a.redactor}
	return nil
}
