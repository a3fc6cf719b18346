// Package app wires lookout together: the one place that knows every input, the store, the rules and the ways out.
//
// # Use
//
// [New] opens everything a [config.Config] asks for, [App.Start] begins to listen, [App.Stop] ends it in the order that
// loses nothing: inputs first, then what they brought is made durable, then the rest.
//
//	gelf (UDP) ─► join, parse ─┐           ┌─► fleet ─► metrics, api
//	docker ─────► join, parse ─┤           ├─► catalog (ledger.db) ─► api
//	probe ─────────────────────┼─► store ──┼─► api ─► search, tail, page
//	api ─► native ─► parse ────┘  (log,    └─► alerting ─► outbox (state.db) ─┬─► slack
//	            ▲                  fsync)                                     └─► pushover
//	            └───────────────────────────────────────────┐
//	an agent:  docker ─► join ─┬─► forward (log, fsync) ─► HTTP
//	           probe ──────────┘
//
// A server and an agent have the same inputs; they differ in what is behind them (server.go, agent.go).
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
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/alertmanager"
	"github.com/lookoutlog/lookout/collector/docker"
	"github.com/lookoutlog/lookout/collector/forward"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/catalog"
	"github.com/lookoutlog/lookout/internal/api"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/backup"
	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// StopTimeout is how long [App.Stop] may take before what is not done is left to the next start.
const StopTimeout = 10 * time.Second

// stopWithin is that; a variable for the tests, in which nothing may be left.
var stopWithin = StopTimeout

// memoryLimit is the soft limit for all of Go's memory: just below the 300 MB that are promised, and well above what is alive at once
// (64 MiB of unsealed events, two blocks being built, requests, and the caches of searches: 200 MB measured under full load), or the
// garbage collector would take half of the CPU time. GOMEMLIMIT overrides it.
const memoryLimit = 264 << 20

// feedCatalog is "off" in the binary with which e2e/bench compares, set by -ldflags=-X: the catalogue then learns of nothing.
var feedCatalog string

// Options are what an App needs.
type Options struct {
	Config *config.Config
	// Env is the environment that Config was read with; nil for none.
	Env     func(name string) (string, bool)
	Version string
	Log     *slog.Logger
}

// App is a lookout server, or an agent of one. Tests start it on port 0.
type App struct {
	o   Options
	log *slog.Logger
	// sink is where all inputs append: the store, or an agent's queue.
	sink collector.Counted
	// redactor is before it; nil without rules.
	redactor *parse.Redactor

	// A server has these; nil in an agent.
	store    *index.Store
	catalog  *catalog.Catalog
	fleet    *fleet.Fleet
	engine   *alerting.Engine  // nil without rules
	ways     alerting.Notifier // what its messages go by
	named    atomic.Pointer[ways]
	tester   *alerting.Tester // what test messages go by
	inForce  atomic.Pointer[config.Config]
	reloads  reloads
	trying   chan struct{}       // has room for one backtest
	received *alertmanager.Input // what others send as to an Alertmanager
	slack    *slack.Notifier     // nil without its token
	pushover *pushover.Notifier  // nil when nobody can be paged

	// readers tells how far all have read who must see every event; nil until all of them are known.
	readers atomic.Pointer[func() uint64]

	queue *forward.Queue // nil in a server

	watches map[string]*watched // by the inputs' names; not changed after New

	gelf   *gelf.Input   // nil when it is off
	docker *docker.Input // nil when there is none
	// engineAddress is where Docker is.
	engineAddress string
	prober        *probe.Prober

	// What is behind the HTTP address; nil when there is none.
	native   *native.Handler
	auth     *auth.Authenticator
	api      *api.API
	server   *http.Server
	listener net.Listener

	opened auth.Opened
	// wired is closed when New has come to its end: jobs of the store that went on before wait for it.
	wired chan struct{}
	// databases are what a backup saves beside the store.
	databases []database
	backing   sync.Mutex // held while a backup runs
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
	a := &App{o: o, log: o.Log, failed: make(chan error, 4), wired: make(chan struct{}), trying: make(chan struct{}, 1)}
	a.inForce.Store(o.Config)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop(context.Background()))
			return
		}
		close(a.wired)
	}()
	c := o.Config
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}

	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w (set LOOKOUT_DATA to a folder that can be written)", err)
	}
	if err := backup.Unfinished(c.Data); err != nil {
		return nil, err
	}
	// bbolt locks its file: one process has the data folder.
	state := filepath.Join(c.Data, stateFile)
	db, err := bbolt.Open(state, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) {
			return nil, fmt.Errorf("data folder %s is in use by another lookout: stop that one, or set LOOKOUT_DATA to another folder", c.Data)
		}
		return nil, fmt.Errorf("opening %s: %w", state, err)
	}
	a.onStop("state", func(context.Context) error { return db.Close() })
	a.databases = append(a.databases, database{stateFile, db})

	if c.Forward.On() {
		err = a.openQueue()
	} else {
		err = a.openStore(db)
	}
	if err != nil {
		return nil, err
	}
	if err := a.redact(); err != nil {
		return nil, err
	}
	if err := a.openInputs(); err != nil {
		return nil, err
	}
	if c.HTTP.Off() {
		return a, nil
	}
	return a, a.openHTTP(db)
}

// Start listens and runs until Stop. Addresses with port 0 have their real one afterwards.
func (a *App) Start() error {
	if a.server != nil {
		l, err := net.Listen("tcp", string(a.o.Config.HTTP))
		if err != nil {
			return fmt.Errorf("HTTP: %w (set LOOKOUT_HTTP to another address)", err)
		}
		a.listener = limitConns(l, maxConns)
	}
	if a.gelf != nil {
		if err := a.gelf.Listen(); err != nil {
			err = fmt.Errorf("GELF: %w (set LOOKOUT_GELF to another address, or to off)", err)
			if a.listener != nil {
				err = errors.Join(err, a.listener.Close())
			}
			return err
		}
	}

	// What is behind the inputs starts first, so that it ends last.
	if a.engine != nil {
		a.run("alerting", a.engine.Run)
		if a.slack != nil && a.slack.Buttons() {
			a.run("Slack's buttons", func(ctx context.Context) error { return a.slack.Listen(ctx, a.engine, a.log) })
		}
		a.beginWays()
		a.beat()
	}
	if a.catalog != nil && feedCatalog != "off" {
		a.run("catalogue", a.catalog.Run)
	}
	if a.queue != nil {
		a.run("forwarding", a.queue.Run)
	}
	if a.server != nil {
		a.serve()
	}
	if a.gelf != nil {
		a.run("GELF", a.gelf.Run)
	}
	if a.received != nil {
		a.run("Alertmanager's API", a.received.Run)
	}
	a.run("probes", a.prober.Run)
	if a.docker != nil {
		a.run("Docker", a.docker.Run)
	}
	a.watchItself()
	return nil
}

func (a *App) serve() {
	a.running.Go(func() {
		if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("HTTP: %w", err))
		}
	})
	a.onStop("HTTP", func(ctx context.Context) error {
		a.api.Close() // tails never end by themselves
		// A long search may not take the time that the others need.
		ctx, cancel := context.WithTimeout(ctx, stopWithin/2)
		defer cancel()
		if a.server.Shutdown(ctx) != nil {
			return a.server.Close()
		}
		return nil
	})
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
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
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
	var list []Listening
	if a.listener != nil {
		list = append(list, Listening{"HTTP", "http://" + reachable(a.listener.Addr())})
	}
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

// Docker is the address of the engine whose containers are followed; empty when there is none.
func (a *App) Docker() string { return a.engineAddress }

// TokenFile is where the admin token is, and whether this start made it; empty when nothing asks for one.
func (a *App) TokenFile() (path string, made bool) { return a.opened.Path, a.opened.Made }

// LoginAddress is an address of the page that logs in whoever opens it first, within [auth.CodeTime]; empty without a page.
func (a *App) LoginAddress() string {
	if a.listener == nil || a.store == nil {
		return ""
	}
	code, _ := a.auth.NewCode(auth.Identity{Name: "admin", Role: auth.Admin})
	return "http://" + reachable(a.listener.Addr()) + "/#login=" + code
}
