package app

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/config"
)

// channels are those that the configuration in force tells, each once.
func (a *App) channels() (all []string) {
	c := a.withWays(a.inForce.Load())
	add := func(channel string) {
		_, named := c.Ways[channel]
		if c.Tells(config.Channel(channel)) && (!named || a.wayOf(channel) != nil) && !slices.Contains(all, channel) {
			all = append(all, channel)
		}
	}
	for _, channel := range []config.Channel{c.Slack.Channel, c.Channels.Errors, c.Channels.Warnings, c.Channels.Events} {
		add(string(channel))
	}
	for _, r := range rules(c) {
		for _, channel := range r.Channels {
			add(channel)
		}
	}
	for _, r := range c.Policy().Routes {
		for _, channel := range r.Channels {
			add(channel)
		}
	}
	add(config.ChannelPushover)
	for _, name := range slices.Sorted(maps.Keys(c.Ways)) {
		add(name)
	}
	return all
}

// Channels implements [api.Notifier].
func (a *App) Channels() ([]api.ChannelInfo, error) {
	parked := map[string]alerting.Parked{}
	if a.engine != nil {
		var err error
		if parked, err = a.engine.ParkedChannels(); err != nil {
			return nil, err
		}
	}
	list := []api.ChannelInfo{}
	for _, channel := range a.channels() {
		way := "slack"
		if mux, ok := a.ways.(alerting.Mux); ok && mux.Way(channel) != "" {
			way = mux.Way(channel)
		}
		p := parked[channel]
		list = append(list, api.ChannelInfo{Channel: channel, Way: way, Hook: a.tester.Acts(channel), Parked: p.Since, Error: p.Reason})
	}
	return list, nil
}

// SendTest implements [api.Notifier].
func (a *App) SendTest(ctx context.Context, channel string, t alerting.Test) (alerting.TestResult, error) {
	known := a.channels()
	switch {
	case len(known) == 0:
		return alerting.TestResult{}, &api.AskError{Field: "channel", Message: "is not configured, and no other is", Mend: "set slack.token and slack.channel, or see docs/alerting.md"}
	case !slices.Contains(known, channel):
		return alerting.TestResult{}, &api.AskError{Field: "channel", Message: "is not configured", Mend: "there are " + strings.Join(known, ", ")}
	case a.tester.Acts(channel):
		return alerting.TestResult{}, &api.AskError{Field: "channel", Message: "is a hook, which a test would set off", Mend: "it runs when an incident fires; lookout rule backtest says when that would have been"}
	}
	return a.tester.Send(ctx, channel, t)
}
