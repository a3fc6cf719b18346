package docker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// callTimeout bounds a request whose answer is not a stream.
const callTimeout = 20 * time.Second

// readBuffer is the buffer of a connection to the engine, in bytes: what comes while its reader rests is taken in one read.
const readBuffer = 16 << 10

// engine is a Docker engine during one connection: from the first answer until its events end.
type engine struct {
	cli    *client.Client
	id     string
	name   string
	driver string // of logs, by default
	// now is the engine's clock when it was connected to, and ahead at most how far it is ahead of ours.
	now   time.Time
	ahead time.Duration
}

// connect asks an engine who it is.
func (in *Input) connect(ctx context.Context) (*engine, error) {
	options := []client.Opt{
		client.WithHTTPClient(&http.Client{
			Transport: &http.Transport{
				MaxIdleConns: 8, MaxIdleConnsPerHost: 8, IdleConnTimeout: 30 * time.Second, ReadBufferSize: readBuffer,
				// No HTTP/2, which would bring TLS settings along, and with those the client takes the scheme to be https.
				TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
			},
			// As the client's own: a redirected POST would become a GET.
			CheckRedirect: client.CheckRedirect,
		}),
		client.WithHost(in.o.Address),
	}
	if in.o.dial != nil {
		options = append(options, client.WithDialContext(in.o.dial))
	}
	cli, err := client.New(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := cli.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true}); err != nil {
		return nil, err
	}
	asked := time.Now()
	r, err := cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, err
	}
	e := &engine{cli: cli, id: r.Info.ID, name: r.Info.Name, driver: r.Info.LoggingDriver, now: time.Now()}
	if t, err := time.Parse(time.RFC3339Nano, r.Info.SystemTime); err == nil {
		e.now = t
		if !strings.HasPrefix(in.o.Address, "unix://") { // otherwise it is our clock
			e.ahead = t.Sub(asked)
		}
	}
	return e, nil
}

func (e *engine) close() { _ = e.cli.Close() }

// list returns the ids of all containers, also of those that do not run.
func (e *engine) list(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := e.cli.ContainerList(ctx, client.ContainerListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	ids := make([]string, len(r.Items))
	for i := range r.Items {
		ids[i] = r.Items[i].ID
	}
	return ids, nil
}

// details is what is known of a container.
type details struct {
	id         string
	name       string // without the leading slash
	image      string // as it was named when the container was made
	labels     map[string]string
	tty        bool
	stopSignal string

	driver     string // of its log
	rotated    int64  // the size at which its log is rotated, in bytes; 0: never
	compressed bool   // the older files are

	state      string // created, running, paused, restarting, removing, exited, dead
	started    int64  // ns since the Unix epoch, 0: never
	finished   int64
	exitCode   int
	oomKilled  bool
	restarts   int // by its policy
	autoRemove bool
	policy     bool   // it is started again when it ends by itself
	health     string // starting, healthy, unhealthy; empty: it is not checked

	hostNetwork bool
	address     string // in its first network by name
}

func (d *details) running() bool { return d.state == "running" || d.state == "paused" }

// inspect asks for a container. Nothing of its environment is kept.
func (e *engine) inspect(ctx context.Context, id string) (details, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := e.cli.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return details{}, err
	}
	return detailsOf(&r.Container), nil
}

func detailsOf(c *container.InspectResponse) details {
	d := details{id: c.ID, name: strings.TrimPrefix(c.Name, "/"), restarts: c.RestartCount}
	if c.Config != nil {
		d.image, d.labels, d.tty, d.stopSignal = c.Config.Image, c.Config.Labels, c.Config.Tty, c.Config.StopSignal
	}
	if h := c.HostConfig; h != nil {
		d.driver = h.LogConfig.Type
		d.rotated = rotationSize(h.LogConfig.Type, h.LogConfig.Config["max-size"])
		d.compressed = d.driver == "local" && h.LogConfig.Config["compress"] != "false" || h.LogConfig.Config["compress"] == "true"
		d.hostNetwork = h.NetworkMode == "host"
		d.autoRemove = h.AutoRemove
		d.policy = !h.RestartPolicy.IsNone()
	}
	if s := c.State; s != nil {
		d.state, d.exitCode, d.oomKilled = string(s.Status), s.ExitCode, s.OOMKilled
		d.started, d.finished = inspectTime(s.StartedAt), inspectTime(s.FinishedAt)
		if s.Health != nil && s.Health.Status != container.NoHealthcheck {
			d.health = string(s.Health.Status)
		}
	}
	if n := c.NetworkSettings; n != nil {
		for _, name := range slices.Sorted(maps.Keys(n.Networks)) {
			if p := n.Networks[name]; p != nil && p.IPAddress.IsValid() {
				d.address = p.IPAddress.String()
				break
			} else if p != nil && p.GlobalIPv6Address.IsValid() {
				d.address = p.GlobalIPv6Address.String()
				break
			}
		}
	}
	return d
}

// inspectTime reads a time of inspect; the year 1 means never.
func inspectTime(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1970 {
		return 0
	}
	return t.UnixNano()
}

// rotationSize returns at which size a driver begins a new file, 0 for never. The local driver's default is 20 MB; journald
// rotates by itself, which following it survives.
func rotationSize(driver, option string) int64 {
	if option == "" && driver == "local" {
		return 20 << 20
	}
	if driver != "json-file" && driver != "local" {
		return 0
	}
	option = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(option), "b"), "i")
	unit := int64(1)
	if i := strings.IndexAny(option, "kmgt"); i >= 0 {
		unit = 1 << (10 * (1 + strings.IndexByte("kmgt", option[i])))
		option = option[:i]
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(option), 64)
	if err != nil || n <= 0 {
		return 0 // -1: no limit
	}
	return int64(n * float64(unit))
}

// logs opens the log of a container: behind since (0: from its beginning), and of that the last tail rows (0: all).
func (e *engine) logs(ctx context.Context, id string, since int64, tail int, follow bool) (client.ContainerLogsResult, error) {
	o := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow}
	if since != 0 {
		o.Since = apiTime(since)
	}
	if tail != 0 {
		o.Tail = strconv.Itoa(tail)
	}
	return e.cli.ContainerLogs(ctx, id, o)
}

// events opens the events of containers: those in [since, until], or from since on when until is 0.
func (e *engine) events(ctx context.Context, since, until int64) client.EventsResult {
	o := client.EventsListOptions{Since: apiTime(since), Filters: client.Filters{}.Add("type", string(events.ContainerEventType))}
	if until != 0 {
		o.Until = apiTime(until)
	}
	return e.cli.Events(ctx, o)
}

// attach reads what a container writes from now on.
func (e *engine) attach(ctx context.Context, id string) (client.ContainerAttachResult, error) {
	return e.cli.ContainerAttach(ctx, id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
}

// sample is one measurement of a running container.
type sample struct {
	at                             time.Time
	cpu                            time.Duration
	memory, limit                  uint64
	received, sent                 uint64
	hasCPU, hasMemory, hasNetworks bool
}

func (e *engine) stats(ctx context.Context, id string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := e.cli.ContainerStats(ctx, id, client.ContainerStatsOptions{})
	if err != nil {
		return sample{}, err
	}
	defer r.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
		return sample{}, fmt.Errorf("reading measurements: %w", err)
	}
	return sampleOf(&s), nil
}

// sampleOf takes a sample. The memory is the working set, as docker stats shows it: without the pages of files that can be
// had back at once (inactive_file with cgroup 2, total_inactive_file with 1).
func sampleOf(s *container.StatsResponse) sample {
	m := sample{at: s.Read, hasNetworks: s.Networks != nil}
	if n := s.CPUStats.CPUUsage.TotalUsage; n > 0 {
		m.cpu, m.hasCPU = time.Duration(n), true
	}
	if usage := s.MemoryStats.Usage; usage > 0 {
		inactive, ok := s.MemoryStats.Stats["total_inactive_file"]
		if !ok {
			inactive = s.MemoryStats.Stats["inactive_file"]
		}
		m.memory, m.limit, m.hasMemory = usage-min(inactive, usage), s.MemoryStats.Limit, true
	}
	for _, n := range s.Networks {
		m.received += n.RxBytes
		m.sent += n.TxBytes
	}
	return m
}

// isGone tells whether an error means that the container has been removed.
func isGone(err error) bool { return errdefs.IsNotFound(err) }

// isUnreadable tells whether an error means that a log can never be read: the driver keeps none.
func isUnreadable(err error) bool { return errdefs.IsNotImplemented(err) }
