package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/alertmanager"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/catalog"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/fleet"
	"github.com/lookoutlog/lookout/internal/saved"
	"github.com/lookoutlog/lookout/ui"
)

// openStore opens the store, and what reads it: the fleet and the rules.
func (a *App) openStore(db *bbolt.DB) error {
	c := a.o.Config
	store, err := index.Open(index.Options{
		Dir: filepath.Join(c.Data, "store"), Log: a.log, Reach: a.reach(db), OnDelete: a.auditDeletion,
		Retention: retention(&c.Retention), Classify: classify(&c.Retention), Passed: a.passed,
	})
	if err != nil {
		return err
	}
	a.store = store
	a.onStop("store", store.Close)
	if a.catalog, err = catalog.Open(catalog.Options{Dir: a.o.Config.Data, Source: store, Log: a.log}); err != nil {
		return err
	}
	a.onStop("catalogue", func(context.Context) error { return a.catalog.Close() })
	a.databases = append(a.databases, database{ledgerFile, a.catalog})
	a.fleet = fleet.New(fleet.Options{})
	if err := a.prime(); err != nil {
		a.log.Warn("the state of probes and containers is not known until they report again", "error", err)
	}
	a.sink = a.fleet.Sink(store)
	if err := a.openAlerting(db); err != nil {
		return err
	}
	a.readersAreKnown()
	return nil
}

// prime tells the fleet what was reported shortly before this start.
func (a *App) prime() error {
	q, err := query.Parse("stream:(probe, stats)")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = a.store.Search(ctx, query.Request{Query: q, Since: time.Now().Add(-fleet.Stale).UnixNano()}, func(row query.Row) error {
		a.fleet.Prime(*row.Event)
		return nil
	})
	return err
}

// openAlerting starts nothing yet: the engine's position is taken from the store as it is now.
func (a *App) openAlerting(db *bbolt.DB) error {
	c := a.o.Config
	if err := alerting.RemoveBacktests(c.Data); err != nil {
		a.log.Warn("what a backtest left when lookout was killed stays", "error", err)
	}
	ways := alerting.Mux{Ways: map[string]alerting.Notifier{}, More: a.wayOf}
	if c.Slack.Token != "" {
		notifier, err := slack.New(slack.Options{Token: string(c.Slack.Token), AppToken: string(c.Slack.AppToken), API: string(c.Slack.API)})
		if err != nil {
			return err
		}
		a.onStop("slack", func(context.Context) error { notifier.Close(); return nil })
		ways.Default = notifier
		a.slack = notifier
	}
	if c.Pushover.On() {
		notifier, err := pushover.New(pushover.Options{Token: string(c.Pushover.Token), User: string(c.Pushover.User), API: string(c.Pushover.API)})
		if err != nil {
			return err
		}
		a.onStop("pushover", func(context.Context) error { notifier.Close(); return nil })
		ways.Ways[config.ChannelPushover] = notifier
		a.pushover = notifier
	}
	named, err := a.openWays(c.Ways)
	if err != nil {
		return err
	}
	a.named.Store(&named)
	a.onStop("ways out", func(ctx context.Context) error { return a.waysNow().endWithout(ctx, nil) })
	a.ways = ways
	o := a.engineOptions(c)
	if len(o.Rules) == 0 {
		a.tester = alerting.NewTester(ways, nil, nil, a.log)
		return nil
	}
	o.DB, o.Source, o.Log, o.Digest, o.Journal = db, a.store, a.log, true, a.journal
	if a.engine, err = alerting.New(o); err != nil {
		return err
	}
	a.tester = alerting.NewTester(ways, a.engine, nil, a.log)
	return nil
}

// engineOptions are what follows from a configuration, for the engine and for those that only try rules.
func (a *App) engineOptions(c *config.Config) alerting.Options {
	return alerting.Options{Notifier: a.ways, Rules: rules(c), Fallbacks: fallbacks(c), BaseURL: string(c.BaseURL), Policy: c.Policy()}
}

// rules are those that tell somebody: a channel of Slack needs its token.
func rules(c *config.Config) []alerting.Rule {
	var list []alerting.Rule
	for _, r := range c.Rules {
		rule := alerting.Rule{
			Name: r.Name, Query: r.Query.Query, Resolve: r.Resolve.Query, Severity: alerting.Severity(r.Severity), Notify: alerting.Notify(r.Notify),
			Mode: alerting.Mode(r.Mode), Above: int64(r.Above), Below: int64(r.Below), Window: time.Duration(r.Window), By: r.By, After: time.Duration(r.After),
			Routed: r.Routed, Template: c.TemplateOf(r.Template), Labels: r.Labels, Parents: r.Parents, ParentsEqual: r.Equal, Hold: time.Duration(r.Hold), Repeat: time.Duration(r.Repeat),
		}
		for _, x := range r.Expect {
			rule.Expect = append(rule.Expect, alerting.Expectation{Query: x.Query.Query, Author: x.Author, Reason: x.Reason, Expires: x.Expires.Time})
		}
		for _, to := range r.Channels {
			if c.Tells(to) {
				rule.Channels = append(rule.Channels, string(to))
			}
		}
		if r.Page && c.Pushover.On() && !slices.Contains(r.Channels, config.ChannelPushover) {
			rule.Channels = append(rule.Channels, config.ChannelPushover)
			rule.Also = append(rule.Also, config.ChannelPushover)
		}
		if len(rule.Channels) > 0 {
			list = append(list, rule)
		}
	}
	return list
}

// fallbacks are the channels for what alerting has to say about itself: those for everything, then Pushover, then a channel of
// Slack that a rule or route names, then the other ways that tell people. So each way out has another one that tells when it is broken.
func fallbacks(c *config.Config) []string {
	var list []string
	add := func(to config.Channel) {
		if w, way := c.Ways[string(to)]; c.Tells(to) && !(way && w.Deaf()) && !slices.Contains(list, string(to)) {
			list = append(list, string(to))
		}
	}
	add(c.Channels.Errors)
	add(c.Slack.Channel)
	add(c.Channels.Warnings)
	add(config.ChannelPushover)
	for _, r := range c.Rules {
		for _, to := range r.Channels {
			if to.ForSlack() {
				add(to)
			}
		}
	}
	for _, r := range c.Routes {
		for _, to := range r.Channels {
			if to.ForSlack() {
				add(to)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ways)) {
		add(config.Channel(name))
	}
	return list
}

// Alerts says in words who is told what.
func (a *App) Alerts() string {
	c := a.o.Config
	if a.engine == nil {
		if c.Slack.Token == "" && !c.Pushover.On() && len(c.Ways) == 0 {
			return "off; set LOOKOUT_SLACK_TOKEN and LOOKOUT_SLACK_CHANNEL to be told of errors, of what died and of what fell silent"
		}
		return "off; there are no rules: set LOOKOUT_SLACK_CHANNEL, or channels in lookout.yaml"
	}
	var ways []string
	if c.Slack.Token != "" {
		ways = append(ways, "Slack")
	}
	if c.Pushover.On() {
		ways = append(ways, "Pushover")
	}
	ways = slices.AppendSeq(ways, slices.Values(slices.Sorted(maps.Keys(c.Ways))))
	return fmt.Sprintf("%d rules into %s", len(rules(c)), strings.Join(ways, ", "))
}

// openHTTP makes what answers at the HTTP address: a server's API and page, or an agent's input, health and metrics.
func (a *App) openHTTP(db *bbolt.DB) error {
	c := a.o.Config
	var err error
	a.auth, a.opened, err = auth.Open(c.Data, db, auth.Token{Identity: auth.Identity{Name: "write token", Role: auth.Write}, Secret: string(c.WriteToken)})
	if err != nil {
		return err
	}
	if a.opened.Repaired {
		a.log.Warn("others could read the token; that is mended, but make a new one: remove the file and start again", "file", a.opened.Path)
	}
	input := native.Options{
		Sink:   a.watch(inputNDJSON),
		Joiner: func() native.Joiner { return parse.NewJoiner(parse.JoinOptions{}) },
		Stages: func() []collector.Stage { return a.stages() },
		// The body's own limit; what is held of all bodies at a time is bounded by the handler.
		MaxBody: int64(c.Limits.Body), Log: a.log,
	}
	if a.store != nil {
		input.GiveWay = a.store.GiveWay
	}
	a.native = native.New(input)
	registry := prometheus.NewRegistry()
	a.register(registry)
	o := api.Options{
		Events: slowly(a.native), Auth: a.auth, Version: a.o.Version, Registry: registry,
		Limits: api.Limits{
			Searches: c.Limits.Searches, Queue: orNone(c.Limits.Queue), QueryTimeout: time.Duration(c.Limits.QueryTimeout), Tails: c.Limits.Tails,
			QueryScan: int64(orNone(c.Limits.QueryScan)), QueryMemory: int64(c.Limits.QueryMemory),
		},
		Log: a.log,
	}
	o.Inputs, o.Marks = a.Inputs, a.sink
	if a.store != nil {
		if o.Saved, err = saved.Open(db); err != nil {
			return err
		}
		if a.received, err = alertmanager.New(alertmanager.Options{Sink: a.watch(inputAlertmanager), DB: db, Log: a.log}); err != nil {
			return err
		}
		o.Alertmanager = a.received
		o.Retainer = a.store
		o.Store, o.Catalog, o.UI, o.Fleet, o.Saver, o.Deleter = a.store, a.catalog, ui.Handler(), a.fleet, a, a.store
	}
	if a.store != nil {
		o.Rulebook, o.Notifier = a, a
	}
	if a.engine != nil {
		o.Alerts, o.Alerter, o.Silencer, o.Explainer = a.engine.Incidents, a.engine, a.engine, a.engine
	}
	a.api = api.New(o)
	a.server = &http.Server{
		Handler: a.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	return nil
}

// orNone is a limit as the API takes it, where 0 is its default and less than that none.
func orNone[T ~int | ~int64](limit T) T {
	if limit == 0 {
		return -1
	}
	return limit
}

// slowly bounds how long a sender may take over a body: longer than any honest one needs for 64 MiB.
func slowly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A ResponseWriter of a test has no deadline to set.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(2 * time.Minute))
		h.ServeHTTP(w, r)
	})
}
