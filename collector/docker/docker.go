package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
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
	Unmeasured   int64 // measurements dropped because the sink was under pressure
	APIErrors    int64 // requests to the engine that failed
}

// Input follows the containers of one engine. It is a [collector.Input].
type Input struct {
	o Options
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
	return &Input{o: o}, nil
}

// Run follows until ctx ends. An engine that cannot be reached is tried again, for as long as it takes. An Input runs once.
func (in *Input) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Stats returns the counters. It may be called at any time, also after Run.
func (in *Input) Stats() Stats { return Stats{} }
