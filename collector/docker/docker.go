package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/collector"
)

// DefaultSince is how far back the log of a container is read that was running before lookout saw it for the first time.
const DefaultSince = time.Hour

// Joiner makes one event of several lines of one container, and tells how far the lines got that it still holds: those are
// read again after a crash.
type Joiner interface {
	collector.Joiner
	// Held returns how many of the most recent lines of a stream (stdout, stderr) are not yet part of a complete event.
	Held(stream []byte) int
}

// Options is what an [Input] works with.
type Options struct {
	// Address is the engine's: unix:///var/run/docker.sock, tcp://host:2375.
	Address string
	// Sink takes the events. Required.
	Sink collector.Counted
	// Joiner makes a joiner for the lines of one container; nil: only the pieces are joined into which Docker cuts lines.
	Joiner func() Joiner
	// Stages makes the stages for the lines of one container; nil: none.
	Stages func() []collector.Stage
	// Targets is called with all containers that are to be probed whenever one of them has changed, from one goroutine;
	// it should return soon. nil: nobody is told.
	Targets func([]Target)
	// Since is how far back to read the log of a container that is seen for the first time and was started before Run;
	// 0 is [DefaultSince]. One that is started later is read from its beginning.
	Since time.Duration
	// Log gets what goes on with the engine, never a line a log line; nil: nothing is logged.
	Log *slog.Logger

	// dial replaces how the engine is connected to, in tests.
	dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Target is a container whose label lookout.probe asks for being probed.
type Target struct {
	Name      string // the container's name
	Service   string
	Env       string
	Container string // the container's name too: what its events have as container
	// URL is the label's, with the container's address filled in where its host was empty.
	URL string
	// HostNetwork: the container has the host's network, its address is 127.0.0.1.
	HostNetwork bool
	// Labels are the other lookout.probe.* labels, without that prefix: every, timeout, expect, page, confirm, recover.
	Labels map[string]string
}

// Stats counts since the start, but for Connected, Containers and Followed, which are as of now.
type Stats struct {
	Connected  bool           // the engine answers
	Containers map[string]int // by state: running, exited, …
	Followed   int            // containers whose log is being read, or will be when they are started again

	Rows       int64 // taken from logs, after Duplicates: lines, or pieces of 16,384 bytes of longer ones
	Bytes      int64 // in them
	Events     int64 // appended: lines, gaps, lifecycle; not measurements
	Empty      int64 // lines without a character: they are no events
	Truncated  int64 // lines that were cut at the longest message
	Oversize   int64 // frames longer than any that Docker sends; what was too much of them was thrown away
	Duplicates int64 // rows that Docker delivered twice where a log was rotated
	Again      int64 // rows that were asked for a second time after a break, and dropped

	Reopened     int64 // logs opened again after an error
	Gaps         int64 // lines certainly or possibly lost, each told by an event with action gap
	Rescued      int64 // lines taken from attaching, because the log was gone
	Waits        int64 // appends that were offered again because the sink was under pressure, or failed
	Measurements int64 // appended
	APIErrors    int64 // requests to the engine that failed
}

// Input follows the containers of one engine. It is a [collector.Input].
type Input struct {
	o         Options
	self      self
	begun     time.Time
	ctx       context.Context // Run's
	running   sync.WaitGroup  // all goroutines of Run but the followers
	following sync.WaitGroup
	inspects  chan struct{} // a place for each inspection
	gauge     *gauge

	teller    *teller // epoch's
	seen      recent  // the engine's events, epoch's
	connected atomic.Bool

	mu         sync.Mutex
	eng        *engine           // nil: not connected
	host       string            // the engine's name
	driver     string            // its default for logs
	drivers    map[string]string // of the last container of each image
	changed    chan struct{}     // closed when eng changes
	containers map[string]*watched
	complained map[string]time.Time

	publishing sync.Mutex
	published  []Target

	attached   atomic.Int64
	rescueSize atomic.Int64
	stats      counters
}

type counters struct {
	rows, bytes, events, empty, truncated, oversize, duplicates, again atomic.Int64
	reopened, gaps, rescued, waits, measurements, apiErrors            atomic.Int64
}

// New checks the options; it does not connect.
func New(o Options) (*Input, error) {
	if o.Sink == nil {
		return nil, errors.New("docker: no sink")
	}
	if scheme, rest, ok := strings.Cut(o.Address, "://"); !ok || rest == "" || scheme != "unix" && scheme != "tcp" && scheme != "http" {
		return nil, fmt.Errorf("docker: %q is no engine's address; unix:///var/run/docker.sock is one", o.Address)
	}
	if o.Since <= 0 {
		o.Since = DefaultSince
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := &Input{
		o: o, begun: time.Now(), inspects: make(chan struct{}, maxInspects), changed: make(chan struct{}),
		containers: map[string]*watched{}, drivers: map[string]string{}, complained: map[string]time.Time{},
	}
	in.gauge = newGauge(in)
	in.self = findSelf(readFile("/proc/self/cgroup"), readFile("/proc/self/mountinfo"), hostname())
	return in, nil
}

// readFile returns a file's text, empty when there is none: not every system has these.
func readFile(name string) string {
	p, _ := os.ReadFile(name)
	return string(p)
}

func hostname() string {
	name, _ := os.Hostname()
	return name
}

// Run follows until ctx ends. An engine that cannot be reached is tried again, for as long as it takes. An Input runs once.
func (in *Input) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.ctx, in.begun = ctx, time.Now()
	in.running.Go(func() { in.gauge.run(ctx) })
	in.running.Go(func() { in.watchSilent(ctx) })
	wait := backoff{first: firstWait, longest: longWait}
	for ctx.Err() == nil {
		err := in.epoch(ctx)
		if in.connected.Swap(false) {
			wait.reset()
		}
		if ctx.Err() != nil {
			break
		}
		in.stats.apiErrors.Add(1)
		in.complain("engine", "docker: no connection to the engine; trying again", "address", in.o.Address, "error", err)
		sleep(ctx, wait.next())
	}
	in.running.Wait()
	in.following.Wait()
	return nil
}

// tellerOf returns the teller of an engine, which goes on over connections.
func (in *Input) tellerOf(e *engine) *teller {
	if t := in.teller; t != nil {
		if t.producer == "docker-events/"+e.id {
			return t
		}
		t.cancel() // another engine has the address now
	}
	t := in.newTeller(e)
	in.teller = t
	in.seen = t.life.taken
	in.seen.marks = slices.Clone(in.seen.marks)
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(in.ctx)
	in.running.Go(func() { t.run(ctx) })
	return t
}

// Stats returns the counters. It may be called at any time, also after Run.
func (in *Input) Stats() Stats {
	c := &in.stats
	s := Stats{
		Connected: in.connected.Load(), Containers: map[string]int{},
		Rows: c.rows.Load(), Bytes: c.bytes.Load(), Events: c.events.Load(), Empty: c.empty.Load(), Truncated: c.truncated.Load(),
		Oversize: c.oversize.Load(), Duplicates: c.duplicates.Load(), Again: c.again.Load(), Reopened: c.reopened.Load(),
		Gaps: c.gaps.Load(), Rescued: c.rescued.Load(), Waits: c.waits.Load(), Measurements: c.measurements.Load(),
		APIErrors: c.apiErrors.Load(),
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, c := range in.containers {
		if c.known {
			s.Containers[c.state]++
		}
		if c.follower != nil && c.logs == logsFollowed {
			s.Followed++
		}
	}
	return s
}
