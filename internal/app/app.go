// Package app wires lookout together: the one place that knows every input, the store, the rules and the ways out.
//
// # Use
//
// [New] opens everything a [config.Config] asks for, [App.Start] begins to listen, [App.Stop] ends it in the order that
// loses nothing: inputs first, then what they brought is made durable, then the rest.
//
//	gelf (UDP) ─► join, parse ─┐                      ┌─► api ─► search, tail
//	                           ├─► store (log, fsync) ┤
//	api ─► native ─► parse ────┘                      └─► alerting ─► outbox (state.db) ─► slack
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/config"
)

// StopTimeout is how long [App.Stop] may take before what is not done is left to the next start.
const StopTimeout = 10 * time.Second

// memoryLimit is the soft limit for Go's heap: well below the 300 MB that are promised, above what the store's own bounds
// (64 MiB of unsealed events and their copies on the way) add up to. GOMEMLIMIT overrides it.
const memoryLimit = 224 << 20

// Options are what an App needs.
type Options struct {
	Config  *config.Config
	Version string
	Log     *slog.Logger
}

// App is a lookout server. Tests start it on port 0.
type App struct {
	o        Options
	log      *slog.Logger
	store    *index.Store
	gelf     *gelf.Input // nil when it is off
	native   *native.Handler
	engine   *alerting.Engine // nil without rules
	api      *api.API
	server   *http.Server
	listener net.Listener

	opened auth.Opened
	// closers end what New and Start began, last in, first out. Each is bounded by the context it gets.
	closers []closer
	failed  chan error
	running sync.WaitGroup
}

type closer struct {
	name  string
	close func(context.Context) error
}

func (a *App) onStop(name string, fn func(context.Context) error) {
	a.closers = append(a.closers, closer{name, fn})
}

// New opens data folder, store and state. When it fails nothing stays open.
func New(o Options) (app *App, err error) {
	a := &App{o: o, log: o.Log, failed: make(chan error, 4)}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.Background()))
		}
	}()
	c := o.Config
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}

	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w (set LOOKOUT_DATA to a folder that can be written)", err)
	}
	// bbolt locks its file: one process has the data folder.
	state := filepath.Join(c.Data, "state.db")
	db, err := bbolt.Open(state, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("data folder %s is in use by another lookout: stop that one, or set LOOKOUT_DATA to another folder", c.Data)
		}
		return nil, fmt.Errorf("opening %s: %w", state, err)
	}
	a.onStop("state", func(context.Context) error { return db.Close() })

	tokens, opened, err := auth.Open(c.Data, db)
	if err != nil {
		return nil, err
	}
	a.opened = opened
	if opened.Repaired {
		a.log.Warn("others could read the token; that is mended, but make a new one: remove the file and start again", "file", opened.Path)
	}

	a.store, err = index.Open(index.Options{Dir: filepath.Join(c.Data, "store"), Log: a.log})
	if err != nil {
		return nil, err
	}
	a.onStop("store", a.store.Close)

	if err := a.openAlerting(db); err != nil {
		return nil, err
	}

	stage := parse.New(parse.Options{})
	if !c.GELF.Off() {
		a.gelf = gelf.New(gelf.Options{
			Addr: string(c.GELF), Allow: c.AllowList(), Sink: a.store, Joiner: parse.NewJoiner(parse.JoinOptions{}),
			Stages: []collector.Stage{stage}, Log: a.log,
		})
	}
	a.native = native.New(native.Options{
		Sink:   a.store,
		Joiner: func() native.Joiner { return parse.NewJoiner(parse.JoinOptions{}) },
		Stages: func() []collector.Stage { return []collector.Stage{stage} },
		// The body's own limit; what is held of all bodies at a time is bounded by the handler.
		MaxBody: int64(c.Limits.Body), Log: a.log,
	})

	registry := prometheus.NewRegistry()
	a.register(registry)
	a.api = api.New(api.Options{
		Store: a.store, Events: slowly(a.native), Auth: tokens, Version: o.Version, Registry: registry,
		Limits: api.Limits{
			Searches: c.Limits.Searches, Queue: c.Limits.Queue, QueryTimeout: time.Duration(c.Limits.QueryTimeout), Tails: c.Limits.Tails,
		},
		Log: a.log,
	})
	a.server = &http.Server{
		Handler: a.api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	return a, nil
}

// openAlerting starts nothing yet: the engine's position is taken from the store as it is now.
func (a *App) openAlerting(db *bbolt.DB) error {
	c := a.o.Config
	if c.Slack.Token == "" || len(c.Rules) == 0 {
		return nil
	}
	notifier, err := slack.New(slack.Options{Token: string(c.Slack.Token), API: string(c.Slack.API)})
	if err != nil {
		return err
	}
	a.onStop("slack", func(context.Context) error { notifier.Close(); return nil })
	a.engine, err = alerting.New(alerting.Options{
		DB: db, Source: a.store, Notifier: notifier, Rules: rules(c), Fallbacks: fallbacks(c), Log: a.log,
	})
	return err
}

func rules(c *config.Config) []alerting.Rule {
	var list []alerting.Rule
	for _, r := range c.Rules {
		if r.Mode != "match" {
			continue // Load has warned that it is not built yet
		}
		list = append(list, alerting.Rule{
			Name: r.Name, Query: r.Query.Query, Channels: []string{string(r.Channel)}, Severity: alerting.Severity(r.Severity), Notify: alerting.Notify(r.Notify),
		})
	}
	return list
}

// Reload puts the rules of another configuration in force; its other settings need a restart. After an error the old
// rules stay.
func (a *App) Reload(c *config.Config) error {
	if a.engine == nil {
		return errors.New("alerting was off at the start: restart to turn it on")
	}
	return a.engine.Reload(rules(c))
}

// fallbacks are the channels for what alerting has to say about itself.
func fallbacks(c *config.Config) []string {
	for _, channel := range []string{string(c.Channels.Errors), string(c.Slack.Channel)} {
		if channel != "" {
			return []string{channel}
		}
	}
	return nil
}

// slowly bounds how long a sender may take over a body: longer than any honest one needs for 64 MiB.
func slowly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A ResponseWriter of a test has no deadline to set.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(2 * time.Minute))
		h.ServeHTTP(w, r)
	})
}

// Start listens and runs until Stop. Addresses with port 0 have their real one afterwards.
func (a *App) Start() error {
	c := a.o.Config
	var err error
	if a.listener, err = net.Listen("tcp", string(c.HTTP)); err != nil {
		return fmt.Errorf("HTTP: %w (set LOOKOUT_HTTP to another address)", err)
	}
	a.listener = limitConns(a.listener, maxConns)
	if a.gelf != nil {
		if err := a.gelf.Listen(); err != nil {
			return errors.Join(fmt.Errorf("GELF: %w (set LOOKOUT_GELF to another address, or to off)", err), a.listener.Close())
		}
	}

	if a.engine != nil {
		a.run("alerting", a.engine.Run)
	}
	a.running.Go(func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("HTTP: %w", err))
		}
	})
	a.onStop("HTTP", func(ctx context.Context) error {
		a.api.Close() // tails never end by themselves
		// A long search may not take the time that the others need.
		ctx, cancel := context.WithTimeout(ctx, StopTimeout/2)
		defer cancel()
		if a.server.Shutdown(ctx) != nil {
			return a.server.Close()
		}
		return nil
	})
	if a.gelf != nil {
		a.run("GELF", a.gelf.Run)
	}
	return nil
}

// run runs fn until Stop ends its context, and waits for it then.
func (a *App) run(name string, fn func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.running.Go(func() {
		defer close(done)
		if err := fn(ctx); err != nil && !errors.Is(err, context.Canceled) {
			a.fail(fmt.Errorf("%s: %w", name, err))
		}
	})
	a.onStop(name, func(stop context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stop.Done():
			return stop.Err()
		}
	})
}

func (a *App) fail(err error) {
	select {
	case a.failed <- err:
	default:
	}
}

// Failed delivers the error of a part that ended by itself: the process should stop.
func (a *App) Failed() <-chan error { return a.failed }

// Stop ends everything, last started first, within [StopTimeout]. What was acknowledged is on disk in any case.
func (a *App) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, StopTimeout)
	defer cancel()
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		if err := c.close(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping %s: %w", c.name, err))
		}
	}
	a.closers = nil
	if len(errs) == 0 {
		a.running.Wait()
	}
	return errors.Join(errs...)
}

// Listening names an address lookout listens on, for people.
type Listening struct{ Name, Address string }

// Listening lists the addresses, with their real ports.
func (a *App) Listening() []Listening {
	list := []Listening{{"HTTP", "http://" + reachable(a.listener.Addr())}}
	if a.gelf != nil {
		list = append(list, Listening{"GELF", "udp://" + reachable(a.gelf.Addr())})
	}
	return list
}

// reachable turns the address of all interfaces into one that can be typed into a browser here.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// TokenFile is where the admin token is, and whether this start made it.
func (a *App) TokenFile() (path string, made bool) { return a.opened.Path, a.opened.Made }

// Alerts says in words who is told what.
func (a *App) Alerts() string {
	c := a.o.Config
	switch {
	case a.engine != nil:
		return fmt.Sprintf("%d rules into Slack", len(c.Rules))
	case c.Slack.Token == "":
		return "off; set LOOKOUT_SLACK_TOKEN and LOOKOUT_SLACK_CHANNEL to have errors and warnings in Slack"
	}
	return "off; there are no rules: set LOOKOUT_SLACK_CHANNEL, or channels in lookout.yaml"
}
