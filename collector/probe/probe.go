// Package probe asks services whether they are up: an input whose results are events.
//
// # Use
//
//	p, err := probe.New(probe.Options{Sink: store, Host: hostname})
//	problems := p.Set("configuration", targets) // again whenever they change
//	err = p.Run(ctx)
//
// A target is http://, https:// or tcp://. Its condition is a query over the result of one check (see [Matcher]); without
// one an HTTP target is well with a status of 200 to 299, a TCP target when it can be connected to.
//
// # What a check says
//
// Each check becomes an event of service probe, stream probe: fields probe (the name), target (its service), url, ok, state,
// duration, duration_ms, and for HTTP status, size_bytes, phase.resolve_ms, .connect_ms, .tls_ms, .processing_ms and .transfer_ms
// (summed over redirects), for TLS cert_days and cert_expires (the certificate that ends first; also when it was not
// accepted); error and the body's beginning when it is not well.
//
// A change of the target's state becomes an event of the target's own service: change = down, up or gone, and fingerprint =
// probe:NAME.
//
// # When a target is down
//
// After a failed check the target is checked again every five seconds (or as often as it is checked anyway, when that is
// more) until the matter is decided. It is down when it has been failing for its Confirm period, and up again when all
// checks have been good for its Recover period. Good checks shorter than Recover do not make the failing time before them
// forgotten: they only do not count for it. So a target that flaps goes down once, and comes up once when it is done.
// Only time in which the prober watched is counted.
//
// # What it guarantees
//
//   - A change of state is told exactly once, over crashes and restarts: the state is stored in the same fsync as the event,
//     as the cursor of the producer probe/NAME. A target that was down and is taken away is told as gone, also when that
//     happened while lookout was off.
//   - A slow check delays no other one, and the checks of one target never overlap.
//   - Connections go only where package outbound permits; the address is judged after each resolution.
//   - Passwords in URLs and the headers and bodies of requests are in no event. Configured headers do not follow a redirect
//     to another host.
//   - Memory is bounded: results that the sink does not take fast enough are dropped and counted, changes of state never.
package probe

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// What a target has when it names no other.
const (
	DefaultEvery   = 30 * time.Second
	DefaultTimeout = 10 * time.Second // or Every, when that is shorter
	// DefaultConfirm and DefaultRecover are for who makes targets: in a Target 0 means at once.
	DefaultConfirm = 10 * time.Second
	DefaultRecover = 30 * time.Second
)

// MinEvery is the shortest interval of a target.
const MinEvery = time.Second

const (
	recheck = 5 * time.Second // between checks while a target's state is being decided
	// The first check is within this time, also of a target that is checked once a day.
	maxOffset      = time.Minute
	defaultChecks  = 64
	defaultPending = 8192
	drainTime      = 5 * time.Second
	maxName        = 256
	maxURL         = 4096
)

// Matcher is a condition over the result of a check; a *query.Query is one.
//
// The event it sees has the fields status, size_bytes, duration, duration_ms, phase.…_ms, cert_days and cert_expires of the
// result, and of an HTTP answer body (its first 64 KiB), json.… (the body's leaves when it is a JSON object of up to 64 KiB)
// and header.… (names in lower case). It has neither name nor URL, where a bare word would always be found.
type Matcher interface {
	Match(*event.Event) bool
	String() string // as a person wrote it; errors show it
}

// Target is what is probed.
type Target struct {
	// Name is unique over all sources, at most 256 bytes. The history of a target goes on under its name.
	Name string
	// Service, Env and Container are those of the program that is probed. An empty Service is the name.
	Service, Env, Container string
	// URL is http://…, https://… or tcp://host:port. A user and password in it are sent as basic authentication.
	URL string
	// Method, Headers and Body are for HTTP. An empty Method is GET.
	Method  string
	Headers map[string]string
	Body    string

	Every   time.Duration // 0: DefaultEvery; at least MinEvery
	Timeout time.Duration // of the whole check; 0: DefaultTimeout, but at most Every
	Confirm time.Duration // how long it must fail to be down; 0: at once
	Recover time.Duration // how long it must be good to be up again; 0: at once

	Expect Matcher // nil: status 200 to 299, or connected
	Page   bool    // told on in the events of changes: somebody is to be woken
	// AllowLoopback permits a URL that leads to this machine: for targets from the configuration, not from a container's
	// labels.
	AllowLoopback bool
}

// Options are what a [Prober] works with.
type Options struct {
	Sink collector.Counted // required
	Host string            // the prober's own, for the events
	// Allow are addresses that may be probed although package outbound refuses them (setting probe_allow).
	Allow   []netip.Prefix
	Version string // lookout's, for the User-Agent
	// MaxChecks is how many checks run at once, MaxPending how many results wait for the sink. 0: 64 and 8192.
	MaxChecks  int
	MaxPending int
	Resolver   *net.Resolver  // nil: the system's
	Roots      *x509.CertPool // nil: the system's
	Log        *slog.Logger   // nil: nothing is logged
}

// Stats are counts since the start, and how it is now.
type Stats struct {
	Checks      int64 // ended
	Failures    int64 // of these, not well
	Transitions int64 // down, up and gone that are durable
	Dropped     int64 // results that were not stored because the sink was too slow, or at shutdown
	Skipped     int64 // checks that were not begun because the one before took longer than the interval
	// Lag is how much later than due checks began, summed over all of them.
	Lag time.Duration

	InFlight int // checks that run
	Pending  int // results that wait for the sink
	// Targets by state. A target is unknown until its first check.
	Up, Down, Unknown int
}

// Prober checks targets and appends the results to its sink.
type Prober struct {
	o     Options
	log   *slog.Logger
	check func(context.Context, *target) *result // (*checker).check; tests replace it
	slots chan struct{}                          // cap: checks at once

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before it
	ended   bool            // ctx has, and no goroutine may begin
	sources []*source       // in order of their first Set
	runners map[string]*runner
	roster  *roster
	writers sync.WaitGroup // of runners and roster
	probing sync.WaitGroup
	drain   context.Context // ends some time after ctx: writers are bounded by it

	pending                                atomic.Int64
	dropping                               atomic.Bool // since the last result there was no room
	checks, failures, transitions, dropped atomic.Int64
	skipped, lag, inFlight                 atomic.Int64
}

// source is one caller of Set.
type source struct {
	name    string
	targets []*target
}

// target is a valid Target.
type target struct {
	Target
	url    *url.URL
	shown  string // URL without a password
	source string
}

// New returns a prober; it checks nothing before [Prober.Run].
func New(o Options) (*Prober, error) {
	if o.Sink == nil {
		return nil, errors.New("probe: no sink")
	}
	if o.MaxChecks <= 0 {
		o.MaxChecks = defaultChecks
	}
	if o.MaxPending <= 0 {
		o.MaxPending = defaultPending
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Prober{o: o, log: o.Log, slots: make(chan struct{}, o.MaxChecks), runners: map[string]*runner{}}
	p.check = newChecker(o).check
	return p, nil
}

// Set makes targets the ones of a source, in place of those of its call before. It may be called at any time, also before
// Run. A source that is turned off is Set to none, so that its targets that were down are told as gone.
//
// A target that cannot be probed is left out and has a problem that says why. When two sources name the same target, the
// source that was Set first has it.
func (p *Prober) Set(name string, targets []Target) (problems []error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var src *source
	for _, s := range p.sources {
		if s.name == name {
			src = s
		}
	}
	if src == nil {
		src = &source{name: name}
		p.sources = append(p.sources, src)
	}
	src.targets = src.targets[:0:0]
	for i := range targets {
		t, err := prepare(&targets[i], name)
		if err != nil {
			problems = append(problems, fmt.Errorf("probe %q: %w", targets[i].Name, err))
			continue
		}
		src.targets = append(src.targets, t)
	}
	wanted := map[string]*target{}
	for _, s := range p.sources {
		for _, t := range s.targets {
			other := wanted[t.Name]
			if other == nil {
				wanted[t.Name] = t
				continue
			}
			err := fmt.Errorf("probe %q: the name is taken by a target of %s: give it another one", t.Name, other.source)
			if s == src {
				problems = append(problems, err)
			} else {
				p.log.Warn("a target is not probed any more", "source", s.name, "error", err)
			}
		}
	}
	p.apply(wanted)
	return problems
}

// prepare checks a target and fills in what it leaves open.
func prepare(in *Target, source string) (*target, error) {
	t := &target{Target: *in, source: source}
	switch {
	case t.Name == "":
		return nil, errors.New("it has no name")
	case len(t.Name) > maxName:
		return nil, fmt.Errorf("its name has %d bytes, the most is %d", len(t.Name), maxName)
	case !utf8.ValidString(t.Name) || strings.ContainsFunc(t.Name, unicode.IsControl):
		return nil, errors.New("its name has control characters")
	}
	if len(t.URL) > maxURL { // it is in the stored state
		return nil, fmt.Errorf("its url has %d bytes, the most is %d", len(t.URL), maxURL)
	}
	if t.Service == "" {
		t.Service = t.Name
	}
	for _, s := range []*string{&t.Service, &t.Env, &t.Container} {
		*s = (*s)[:min(len(*s), event.MaxName)]
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // without the URL, which may have a password
		}
		return nil, fmt.Errorf("its url: %w", err)
	}
	t.url, t.shown = u, u.Redacted()
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "" {
			return nil, fmt.Errorf("url %s has no host: write http://host:port/path", t.shown)
		}
		if t.Method == "" {
			t.Method = http.MethodGet
		}
		if _, err := newRequest(context.Background(), t); err != nil {
			return nil, err
		}
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("url %s: write tcp://host:port", t.shown)
		}
		if t.Body != "" || len(t.Headers) > 0 {
			return nil, errors.New("headers and body are for http:// and https:// only")
		}
		t.Method = "" // a configuration's default may have come with it
	case "":
		return nil, fmt.Errorf("url %q has no scheme: write http://, https:// or tcp:// before it", t.shown)
	default:
		return nil, fmt.Errorf("scheme %s:// is not supported: use http://, https:// or tcp://", u.Scheme)
	}
	if t.Every == 0 {
		t.Every = DefaultEvery
	}
	if t.Timeout == 0 {
		t.Timeout = min(t.Every, DefaultTimeout)
	}
	switch {
	case t.Every < MinEvery:
		return nil, fmt.Errorf("every %v is too often: %v is the shortest interval", t.Every, MinEvery)
	case t.Timeout < 0, t.Confirm < 0, t.Recover < 0:
		return nil, errors.New("timeout, confirm and recover cannot be negative")
	}
	if v := reflect.ValueOf(t.Expect); v.Kind() == reflect.Pointer && v.IsNil() {
		t.Expect = nil // a nil *query.Query in the interface
	}
	return t, nil
}

// same tells whether two targets are probed in the same way.
func (t *target) same(o *target) bool {
	text := func(m Matcher) string {
		if m == nil {
			return ""
		}
		return m.String()
	}
	a, b := t.Target, o.Target
	a.Expect, b.Expect = nil, nil
	return t.source == o.source && text(t.Expect) == text(o.Expect) && (t.Expect == nil) == (o.Expect == nil) && reflect.DeepEqual(a, b)
}

// recheck is how long it is between two checks while the state is being decided.
func (t *target) recheck() time.Duration { return min(t.Every, recheck) }

func (t *target) periods() periods {
	// A check that hangs delays the next one by its timeout.
	return periods{confirm: t.Confirm, recover: t.Recover, most: t.recheck() + t.Timeout}
}

// Run probes until ctx ends, then gives the sink a few seconds for what is pending. It can be called once.
func (p *Prober) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.ctx != nil {
		p.mu.Unlock()
		return errors.New("probe: Run was called before")
	}
	drain, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	p.ctx, p.drain = ctx, drain
	p.roster = newRoster(p)
	p.start()
	p.mu.Unlock()

	<-ctx.Done()
	p.mu.Lock()
	p.ended = true // a Set from now on starts nothing
	p.mu.Unlock()
	p.probing.Wait()
	timer := time.AfterFunc(drainTime, stop)
	defer timer.Stop()
	p.mu.Lock()
	for _, r := range p.runners {
		r.close()
	}
	p.roster.close()
	p.mu.Unlock()
	p.writers.Wait()
	return nil
}

// Stats returns the counters.
func (p *Prober) Stats() Stats {
	s := Stats{
		Checks: p.checks.Load(), Failures: p.failures.Load(), Transitions: p.transitions.Load(), Dropped: p.dropped.Load(),
		Skipped: p.skipped.Load(), Lag: time.Duration(p.lag.Load()), InFlight: int(p.inFlight.Load()), Pending: int(p.pending.Load()),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.runners {
		switch r.status() {
		case up:
			s.Up++
		case down:
			s.Down++
		case unknown:
			s.Unknown++
		}
	}
	return s
}
