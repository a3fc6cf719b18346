package app

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/email"
	"github.com/lookoutlog/lookout/alerting/webhook"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/metrics"
)

// way is one of the ways out that the configuration names.
type way struct {
	config   config.Way
	notifier alerting.Notifier
	close    func()
	keep     func(context.Context) error // tells again what is open, where it is forgotten otherwise; nil for none
	end      func(context.Context) error // ends keep and closes; nil before it has begun
}

// ways are those that there are now, by name. They change when the configuration is read again.
type ways map[string]*way

// openWays makes the ways of a configuration; those that are there and stay the same are taken over. When it fails nothing has changed.
func (a *App) openWays(configured map[string]config.Way) (ways, error) {
	now, next := a.waysNow(), ways{}
	for name, c := range configured {
		if w := now[name]; w != nil && reflect.DeepEqual(w.config, c) {
			next[name] = w
			continue
		}
		w, err := a.openWay(name, c)
		if err != nil {
			_ = next.endWithout(context.Background(), now) // they have not begun
			return nil, fmt.Errorf("ways.%s: %w", name, err)
		}
		next[name] = w
	}
	return next, nil
}

func (a *App) openWay(name string, c config.Way) (*way, error) {
	if c.Type == "email" {
		o := c.Email(name)
		o.Log = a.log
		notifier, err := email.New(o)
		return &way{config: c, notifier: notifier, close: func() {}}, err
	}
	o := c.Webhook(name)
	o.Log = a.log
	notifier, err := webhook.New(o)
	if err != nil {
		return nil, err
	}
	keep := func(ctx context.Context) error {
		return notifier.Keep(ctx, func() ([]alerting.Message, error) { return a.engine.Open(name) })
	}
	return &way{config: c, notifier: notifier, close: notifier.Close, keep: keep}, nil
}

func (a *App) waysNow() ways {
	if now := a.named.Load(); now != nil {
		return *now
	}
	return nil
}

// wayOf is the notifier of a way that the configuration names, nil for none.
func (a *App) wayOf(channel string) alerting.Notifier {
	if w := a.waysNow()[channel]; w != nil {
		return w.notifier
	}
	return nil
}

// beginWays has those tell again what is open that have not begun to.
func (a *App) beginWays() {
	for name, w := range a.waysNow() {
		if w.end != nil {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		a.running.Go(func() {
			defer close(done)
			if w.keep == nil {
				return
			}
			if err := w.keep(ctx); err != nil && !errors.Is(err, context.Canceled) {
				a.fail(fmt.Errorf("telling %s again what is open: %w", name, err))
			}
		})
		w.end = func(stop context.Context) error {
			defer w.close()
			cancel()
			select {
			case <-done:
				return nil
			case <-stop.Done():
				return stop.Err()
			}
		}
	}
}

// endWithout ends those that are not among others.
func (ws ways) endWithout(ctx context.Context, others ways) error {
	var errs []error
	for name, w := range ws {
		switch {
		case others[name] == w:
		case w.end == nil:
			w.close()
		default:
			errs = append(errs, w.end(ctx))
		}
	}
	return errors.Join(errs...)
}

// reloads counts how often the configuration was read again.
type reloads struct {
	applied, refused atomic.Int64
	standing         atomic.Bool // the last one was refused: the one before is in force
}

func (r *reloads) stats() metrics.ConfigStats {
	return metrics.ConfigStats{Applied: r.applied.Load(), Refused: r.refused.Load(), Standing: r.standing.Load()}
}

// Reread reads the configuration again and puts it in force as [App.Reload] does; what is wrong with it is logged and counted.
func (a *App) Reread(load func() (*config.Config, error)) {
	c, err := load()
	if err == nil {
		err = a.Reload(c)
	}
	a.reloads.standing.Store(err != nil)
	if err != nil {
		a.reloads.refused.Add(1)
		a.log.Error("the configuration stays as it was", "error", err)
		return
	}
	a.reloads.applied.Add(1)
	a.log.Info("the configuration is read again", "rules", len(c.Rules), "probes", len(c.Probes), "kept", a.Kept())
	if late := a.o.Config.NeedsRestart(c); len(late) > 0 {
		a.log.Warn("some settings that have changed are read at the start only: restart to have them", "settings", strings.Join(late, ", "))
	}
}

// Reload puts the rules, the routes, the ways out, the retention and the probes of another configuration in force; its other settings
// need a restart ([config.Config.NeedsRestart]). After an error of rules or ways all stays as it was. Calls must not overlap.
func (a *App) Reload(c *config.Config) error {
	now := a.withStart(c)
	for _, r := range c.Rules {
		for _, to := range r.Channels {
			if a.queue == nil && c.Tells(to) && !now.Tells(to) {
				return fmt.Errorf("rule %s: channel %s was not there at the start: restart to have it", r.Name, to)
			}
		}
	}
	for i, r := range c.Routes {
		for _, to := range r.Channels {
			if a.queue == nil && c.Tells(to) && !now.Tells(to) {
				return fmt.Errorf("routes[%d]: channel %s was not there at the start: restart to have it", i, to)
			}
		}
	}
	list := rules(now)
	switch {
	case a.engine != nil:
		if err := a.configure(now, list); err != nil {
			return err
		}
	case a.queue == nil && len(list) > 0:
		return errors.New("alerting was off at the start: restart to turn it on")
	}
	a.inForce.Store(c)
	if a.store != nil {
		a.store.SetRetention(retention(&c.Retention), classify(&c.Retention))
	}
	return errors.Join(a.prober.Set("configuration", configured(c))...)
}

// configure puts rules in force, and the ways that they name.
func (a *App) configure(c *config.Config, list []alerting.Rule) error {
	before := a.waysNow()
	next, err := a.openWays(c.Ways)
	if err != nil {
		return err
	}
	a.named.Store(&next) // a rule must not come before its way
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	if err := a.engine.Configure(list, c.Policy(), fallbacks(c)); err != nil {
		a.named.Store(&before)
		return errors.Join(err, next.endWithout(ctx, before))
	}
	a.beginWays()
	return before.endWithout(ctx, next)
}

// withStart is another configuration with the services that messages go by as they were at the start.
func (a *App) withStart(c *config.Config) *config.Config {
	now := *c
	now.Slack, now.Pushover = a.o.Config.Slack, a.o.Config.Pushover
	now.Slack.Channel = c.Slack.Channel
	return &now
}

// withWays is another configuration with the ways out that there are: which those are stays.
func (a *App) withWays(c *config.Config) *config.Config {
	now := a.withStart(c)
	now.Ways = a.inForce.Load().Ways
	return now
}
