// Package api is lookout's HTTP interface: search, live tail, services, health and metrics, and the place where events
// come in.
//
// # Use
//
// [New] returns a handler for the whole server; internal/app mounts it and hands in the store, the input, the page and the
// check of tokens and sessions. [API.Close] ends the live tails, before http.Server.Shutdown, which would wait for them. The server needs a
// ReadHeaderTimeout; the handler itself sets deadlines for bodies and for each write of an answer.
//
// # What it guarantees
//
// One route is found for a request, by its path decoded once, and that route knows which token it needs: there is no other
// way to a handler, and a path that could mean two things (double slashes, dots, encoded slashes) is refused. Everything
// but /status, /healthz, /readyz, the login and the page's static files needs a token or a session, names that do not exist
// included. What a session reads ends with the session, live tails among it.
//
// Every error is {"error":{"code","message","mend",…}}. An answer of lines ends with a line "summary" when all of it came
// and with a line "error" when not; one that ends otherwise was cut off.
//
// What a request may cost is bounded: so many searches run, so many wait, others are told 429; each has a time limit; a
// client that does not read for 30 s is cut off. A search ends when its client is gone. A tail that cannot keep up loses
// nothing: it reads the store at its own pace, or says exactly what it left out.
package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/tail"
	"github.com/lookoutlog/lookout/internal/auth"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// Store is what the API asks of the store. The methods are called concurrently.
type Store interface {
	// Search calls fn for each row; an error of fn ends the search and is returned. It ends soon after ctx.
	Search(ctx context.Context, r query.Request, fn func(query.Row) error) (query.Summary, error)
	// Aggregate computes aggregates by group.
	Aggregate(ctx context.Context, r query.StatsRequest) (*query.Stats, error)
	// Kinds counts the events that match by kind of line.
	Kinds(ctx context.Context, r query.KindsRequest) (*query.Kinds, error)
	// Fields tells which extra fields the events that match have.
	Fields(ctx context.Context, r query.FieldsRequest) (*query.Fields, error)
	// Explain says what a search of the request's query and range would read.
	Explain(ctx context.Context, r query.Request) (query.Reading, error)
	// Follow delivers what was appended behind a sequence.
	Follow(after uint64) query.Follower
	Services() []query.ServiceInfo
	// LastSeq is the newest sequence that searches and followers see.
	LastSeq() uint64
}

// Fleet is what the API asks of what it knows of containers and probes; a *fleet.Fleet is one.
type Fleet interface {
	Containers() []fleet.Container
	Probes() []fleet.Probe
}

// Limits bound what requests may cost. Zero values take the defaults.
type Limits struct {
	Searches     int           // searches that run at the same time; 4
	Queue        int           // searches that wait for their turn; 16, negative for none
	QueryTimeout time.Duration // how long a search may take, its wait included; 60 s
	QueryScan    int64         // bytes of events that a search may look at, uncompressed; 100 GB, negative for no limit
	QueryMemory  int64         // bytes that a search may hold of groups, values, patterns and rows around matches; query.DefaultMemory
	Tails        int           // live tails at the same time; 100
}

// Options are what an API is made of. Auth and Registry are required.
type Options struct {
	// Store is what searches read; nil in an agent, which answers them with 501.
	Store Store
	// Retainer knows how long events are kept; it is there where the store is.
	Retainer Retainer
	// Catalog knows the patterns; it is there where the store is.
	Catalog Catalog
	// Events takes POST /api/v1/events. Without it the route answers 501.
	Events http.Handler
	// UI serves the page: / and /assets/, GET and HEAD, to everybody: it must hold static files only. What it sets of
	// Content-Security-Policy and Cache-Control replaces the API's own, which let nothing load and be kept.
	UI http.Handler
	// Fleet is what /api/v1/containers and /api/v1/probes list. Without it the lists are empty.
	Fleet Fleet
	// Inputs returns the ways in, for /api/v1/inputs; without it there are none.
	Inputs func() []Input
	// Alerts returns the incidents that are open or were lately, for /api/v1/alerts; without it there are none.
	Alerts func() ([]alerting.IncidentInfo, error)
	// Alerter knows single incidents, for the paths below /api/v1/alerts; without it there are none.
	Alerter Alerter
	// Explainer says what the rules made of events; without it there are no rules.
	Explainer Explainer
	// Notifier tries channels; nil in an agent.
	Notifier Notifier
	// Silencer keeps silences; without it there are none.
	Silencer Silencer
	// Marks takes the events of POST /api/v1/marks; they are durable when it returns. Without it the route answers 501.
	Marks collector.Sink
	// Rulebook knows the rules; nil in an agent.
	Rulebook Rulebook
	// Alertmanager takes and lists what others send as to an Alertmanager; without it /api/v2/ answers 501.
	Alertmanager Alertmanager
	// Deleter deletes events by query; nil in an agent.
	Deleter Deleter
	// Saver makes backups and verifies; nil in an agent.
	Saver Saver
	// Saved keeps searches with a name; it is there where the store is.
	Saved Searches
	// Auth knows the tokens and sessions.
	Auth *auth.Authenticator
	// Version is shown by /status.
	Version string
	// Ready says why the server cannot be used, in words that everybody may read; nil when it can.
	Ready func() error
	// Registry gets the API's metrics; /metrics shows all it has.
	Registry *prometheus.Registry
	Limits   Limits
	Log      *slog.Logger
	// Clock is the time that durations back (since=15m) are counted from, and by which parts of exports end.
	Clock func() time.Time
}

// API answers HTTP requests.
type API struct {
	o                   Options
	exact               map[string]*route
	templates, prefixes []*route
	unknown             *route
	searches            *gate
	short               *gate         // for what reads little, and must not wait for what reads much
	hub                 *tail.Hub     // nil without a store
	whole               Store         // without the limits of a search
	counting            chan struct{} // how many tails count at once what they have left out
	metrics             *metrics

	closing context.Context // ends when Close is called
	close   context.CancelFunc
	mu      sync.Mutex // guards the number of tails against Close
	tails   int
	open    sync.WaitGroup
}

// New returns the API. It panics when the registry has its metrics already.
func New(o Options) *API {
	l := &o.Limits
	setDefault(&l.Searches, 4)
	setDefault(&l.Queue, 16)
	setDefault(&l.QueryTimeout, time.Minute)
	setDefault(&l.QueryScan, 100e9)
	setDefault(&l.QueryMemory, query.DefaultMemory)
	setDefault(&l.Tails, 100)
	l.Queue, l.QueryScan = max(l.Queue, 0), max(l.QueryScan, 0)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Fleet == nil {
		o.Fleet = fleet.New(fleet.Options{})
	}
	if o.Inputs == nil {
		o.Inputs = func() []Input { return []Input{} }
	}
	if o.Alerts == nil {
		o.Alerts = func() ([]alerting.IncidentInfo, error) { return []alerting.IncidentInfo{}, nil }
	}
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	a := &API{o: o, searches: newGate(l.Searches, l.Queue), short: newGate(l.Searches, l.Queue)}
	a.counting = make(chan struct{}, 2)
	if o.Store != nil {
		a.hub, a.whole = tail.New(tail.Options{Source: o.Store}), o.Store
		a.o.Store = &budgeted{Store: o.Store, scan: l.QueryScan, memory: l.QueryMemory, reached: func(cause string) { a.metrics.searchEnded(cause) }}
	}
	a.closing, a.close = context.WithCancel(context.Background())
	a.metrics = newMetrics(o.Registry, a)
	a.routes()
	return a
}

func setDefault[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Close ends the live tails, each with its position, and waits for them: at most a second for those that do not read. New
// ones are refused. Searches go on; they end with the connections.
func (a *API) Close() {
	a.mu.Lock()
	a.close()
	a.mu.Unlock()
	a.open.Wait()
}

var errStopping = &apiError{Status: http.StatusServiceUnavailable, Code: "stopping", Message: "the server is stopping", Mend: "try again", RetryAfter: time.Second}

// openTail counts a live tail in; release counts it out.
func (a *API) openTail() (release func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closing.Err() != nil {
		return nil, errStopping
	}
	if a.tails >= a.o.Limits.Tails {
		return nil, &apiError{Status: http.StatusTooManyRequests, Code: "busy", Message: fmt.Sprintf("%d live tails are open, which is the most", a.tails),
			Mend: "close one, or raise limits.tails", RetryAfter: 5 * time.Second}
	}
	a.tails++
	a.open.Add(1)
	return func() {
		a.mu.Lock()
		a.tails--
		a.mu.Unlock()
		a.open.Done()
	}, nil
}

func (a *API) openTails() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.tails
}

// ServeHTTP finds the route and answers. A panic of a handler is logged and answered with 500; in the middle of an answer
// the connection is cut.
func (a *API) ServeHTTP(writer http.ResponseWriter, r *http.Request) {
	start := time.Now()
	w := newResponse(writer, r)
	id := a.requestID(r)
	h := w.Header()
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")

	pattern := "bad path"
	defer func() {
		took := time.Since(start)
		abort := recover()
		if abort != nil && abort != http.ErrAbortHandler {
			a.metrics.panics.Inc()
			a.o.Log.Error("a request failed: this is a bug in lookout", "request_id", id, "route", pattern, "panic", panicText(abort), "stack", string(debug.Stack()))
			if w.status == 0 {
				abort = nil
				writeError(w, &apiError{Status: http.StatusInternalServerError, Code: codeInternal, Message: "the request failed: this is a bug in lookout",
					Mend: "report it with what the log says about request " + id})
			}
		}
		if abort == nil {
			w.finish()
		}
		if e := w.failed; e != nil && e.broken() && e.Code != codeInternal {
			a.o.Log.Error("a request failed", "request_id", id, "route", pattern, "status", e.Status, "code", e.Code, "error", e.Message)
		}
		a.metrics.request(pattern, r.Method, w.code(), took)
		a.o.Log.Debug("request", "request_id", id, "method", knownMethod(r.Method), "route", pattern, "status", w.code(), "bytes", w.bytes, "took", took, "from", r.RemoteAddr)
		w.limitBody()
		if abort != nil {
			panic(http.ErrAbortHandler) // the log has the rest
		}
	}()
	path, err := canonicalPath(r.URL)
	if err != nil {
		writeError(w, err)
		return
	}
	rt := a.find(path)
	if pattern = rt.pattern; pattern == tailPath {
		defer context.AfterFunc(a.closing, w.deadline.stop)()
	}
	rt.handler.ServeHTTP(w, withAddress(r))
}

// panicText is what a panic says, without values of a request: only errors of the runtime and texts of our own.
func panicText(v any) string {
	switch v := v.(type) {
	case error:
		return v.Error()
	case string:
		return v
	}
	return fmt.Sprintf("%T", v)
}

// secret tells whether a text holds what lookout makes for secrets.
func secret(text string) bool {
	return strings.Contains(text, auth.Prefix) || strings.Contains(text, auth.SessionPrefix) || strings.Contains(text, auth.CodePrefix)
}

// requestID returns the client's own id when it is one, or else a new one.
func (a *API) requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	ok := id != "" && len(id) <= 64 && !secret(id) && !a.o.Auth.Knows(id)
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.'
	}
	if ok {
		return id
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	return hex.EncodeToString(random[:])
}
