package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/fleet"
)

// start is the beginning of every test.
var start = time.Date(2026, 11, 21, 14, 0, 0, 0, time.UTC)

// rig is a fleet with a clock, in front of a store that accepts everything unless told otherwise.
type rig struct {
	*fleet.Fleet
	t    *testing.T
	now  time.Time
	err  error
	next map[string]uint64
}

func newRig(t *testing.T, o fleet.Options) *rig {
	r := &rig{t: t, now: start, next: map[string]uint64{}}
	o.Clock = func() time.Time { return r.now }
	r.Fleet = fleet.New(o)
	return r
}

func (r *rig) Append(context.Context, *event.Batch) error { return r.err }

func (r *rig) Producer(name string) (uint64, []byte, bool) {
	next, ok := r.next[name]
	return next, []byte("cursor"), ok
}

func (r *rig) send(b *event.Batch) {
	r.t.Helper()
	if err := r.Sink(r).Append(r.t.Context(), b); !errors.Is(err, r.err) {
		r.t.Fatalf("Append: %v, want %v", err, r.err)
	}
}

// ev makes an event from words: a built-in name, or a field's. Numbers and booleans are of their kinds.
func (r *rig) ev(words ...string) event.Event {
	e := event.Event{Time: r.now.UnixNano()}
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		v := []byte(value)
		switch name {
		case "service":
			e.Service = v
		case "env":
			e.Env = v
		case "host":
			e.Host = v
		case "container":
			e.Container = v
		case "stream":
			e.Stream = v
		case "ago":
			d, err := time.ParseDuration(value)
			if err != nil {
				r.t.Fatal(err)
			}
			e.Time = r.now.Add(-d).UnixNano()
		default:
			kind := event.String
			if json.Valid(v) && value[0] != '"' {
				kind = map[bool]event.Kind{true: event.Bool, false: event.Number}[value == "true" || value == "false"]
			}
			e.Fields = append(e.Fields, event.Field{Name: []byte(name), Value: v, Kind: kind})
		}
	}
	return e
}

func (r *rig) tell(words ...string) {
	r.t.Helper()
	r.send(&event.Batch{Events: []event.Event{r.ev(words...)}})
}

func (r *rig) probe(words ...string) {
	r.t.Helper()
	r.tell(append([]string{"service=probe", "stream=probe", "host=h1", "probe=sales", "target=shop"}, words...)...)
}

func (r *rig) stats(words ...string) {
	r.t.Helper()
	r.tell(append([]string{"service=docker", "stream=stats", "host=h1", "container=sales-1", "target=shop", "state=running"}, words...)...)
}

func (r *rig) pass(d time.Duration) { r.now = r.now.Add(d) }

// metrics returns name{labels} and value of all metrics whose name begins so.
func (r *rig) metrics(prefixes ...string) map[string]float64 {
	r.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r)
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		wanted := len(prefixes) == 0
		for _, p := range prefixes {
			wanted = wanted || strings.HasPrefix(f.GetName(), p)
		}
		if !wanted {
			continue
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}

func (r *rig) check(want map[string]float64, prefixes ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.metrics(prefixes...)); diff != "" {
		r.t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func of(service string, l event.Level) event.Event {
	return event.Event{Service: []byte(service), Level: l}
}

func TestCounts(t *testing.T) {
	r := newRig(t, fleet.Options{Services: 4})
	batch := &event.Batch{Events: []event.Event{
		of("a", event.Error), of("a", event.Error), of("a", event.Info), of("b", event.Info), of("a", event.Error), of("", event.None),
		of("\xff", event.Debug), of("c", event.Info), of("d", event.Info), of("other", event.Info), of("a", event.Level(99)),
	}}
	r.send(batch)
	r.err = errors.New("full")
	r.send(batch)
	r.check(map[string]float64{
		"lookout_events_total{level=error,service=a}":      3,
		"lookout_events_total{level=info,service=a}":       1,
		"lookout_events_total{level=info,service=b}":       1,
		"lookout_events_total{level=,service=}":            1,
		"lookout_events_total{level=debug,service=\uFFFD}": 1,
		"lookout_events_total{level=info,service=other}":   3,
	}, "lookout_events")
}

// Names that a metric shows alike are one, or gathering would fail.
func TestCountsOfNamesShownAlike(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.send(&event.Batch{Events: []event.Event{of("\xff", event.Info), of("\xfe", event.Info), of("\uFFFD", event.Info)}})
	r.check(map[string]float64{"lookout_events_total{level=info,service=\uFFFD}": 3}, "lookout_events")
}

func TestRepeatsAreCountedOnce(t *testing.T) {
	tests := []struct {
		name  string
		next  uint64 // 0: not known
		first uint64
		want  float64
	}{
		{"a new producer", 0, 1, 3},
		{"in order", 7, 7, 3},
		{"one known", 8, 7, 2},
		{"all known", 10, 7, 0},
		{"long known", 1000, 7, 0},
		{"some missing", 5, 7, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, fleet.Options{})
			if tt.next > 0 {
				r.next["agent"] = tt.next
			}
			r.send(&event.Batch{Producer: "agent", FirstSeq: tt.first, Events: []event.Event{of("a", event.Info), of("a", event.Info), of("a", event.Info)}})
			if got := r.metrics("lookout_events")["lookout_events_total{level=info,service=a}"]; got != tt.want {
				t.Errorf("%v counted, want %v", got, tt.want)
			}
		})
	}
	r := newRig(t, fleet.Options{})
	r.next["x"] = 5
	if next, cursor, ok := r.Sink(r).Producer("x"); next != 5 || string(cursor) != "cursor" || !ok {
		t.Error("Producer is not passed on")
	}
}

func TestProbe(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.probe("env=prod", "container=sales-1", "url=http://s/status", "ok=true", "state=up", "duration_ms=12.5", "status=200", "size_bytes=17", "page=true", "since=2026-11-21T13:00:00.5Z",
		"phase.resolve_ms=1", "phase.connect_ms=2", "phase.tls_ms=3", "phase.processing_ms=4", "phase.transfer_ms=2.5", "cert_days=-2.5", "cert_expires=1800000000")
	got, err := json.Marshal(r.Probes())
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"name":"sales","target":"shop","env":"prod","container":"sales-1","host":"h1","url":"http://s/status","ok":true,"state":"up","since":"2026-11-21T13:00:00.5Z",` +
		`"last":"2026-11-21T14:00:00Z","duration_ms":12.5,"status":200,"size_bytes":17,` +
		`"phases_ms":{"connect":2,"processing":4,"resolve":1,"tls":3,"transfer":2.5},"cert_days":-2.5,"cert_expires":"2027-01-15T08:00:00Z","page":true}]`
	if string(got) != want {
		t.Errorf("JSON\n%s, want\n%s", got, want)
	}
	const labels = "host=h1,probe=sales,target=shop"
	r.check(map[string]float64{
		"probe_success{host=h1,probe=sales,target=shop}":                                1,
		"probe_duration_seconds{host=h1,probe=sales,target=shop}":                       0.0125,
		"probe_http_status_code{host=h1,probe=sales,target=shop}":                       200,
		"probe_http_duration_seconds{host=h1,phase=resolve,probe=sales,target=shop}":    0.001,
		"probe_http_duration_seconds{host=h1,phase=connect,probe=sales,target=shop}":    0.002,
		"probe_http_duration_seconds{host=h1,phase=tls,probe=sales,target=shop}":        0.003,
		"probe_http_duration_seconds{host=h1,phase=processing,probe=sales,target=shop}": 0.004,
		"probe_http_duration_seconds{host=h1,phase=transfer,probe=sales,target=shop}":   0.0025,
		"probe_ssl_earliest_cert_expiry{" + labels + "}":                                1_800_000_000,
	}, "probe_")
	// A failed one has less to say.
	r.pass(30 * time.Second)
	r.probe("ok=false", "state=up", "duration_ms=10000", "error=timed out")
	r.check(map[string]float64{"probe_success{" + labels + "}": 0, "probe_duration_seconds{" + labels + "}": 10}, "probe_")
	if p := r.Probes()[0]; p.OK || p.State != fleet.Up || p.Error != "timed out" || p.Status != 0 || p.PhasesMS != nil || p.CertDays != nil {
		t.Errorf("%+v", p)
	}
}

func TestProbeChanges(t *testing.T) {
	r := newRig(t, fleet.Options{})
	state := func(want string, since time.Time) {
		t.Helper()
		p := r.Probes()
		if len(p) != 1 || p[0].State != want || (p[0].Since == nil) != since.IsZero() || p[0].Since != nil && !p[0].Since.Equal(since) {
			t.Errorf("%+v, want %s since %v", p, want, since)
		}
	}
	change := func(words ...string) {
		t.Helper()
		r.tell(append([]string{"service=shop", "stream=probe", "host=h1", "probe=sales"}, words...)...)
	}
	r.probe("ok=false", "state=unknown")
	state(fleet.Unknown, time.Time{})
	r.check(map[string]float64{}, "probe_")
	r.pass(time.Second)
	r.probe("ok=true", "state=up")
	state(fleet.Up, start.Add(time.Second))
	r.pass(time.Second)
	r.probe("ok=false", "state=up")
	state(fleet.Up, start.Add(time.Second))
	r.pass(time.Second)
	down := r.now
	change("change=down", "page=true", "status=503", "error=status 503", "env=prod", "url=http://s", "duration_ms=7")
	state(fleet.Down, down)
	if p := r.Probes()[0]; !p.Page || p.OK || p.Status != 503 || p.Error != "status 503" || p.Target != "shop" || p.Env != "prod" || p.URL != "http://s" || p.DurationMS != 7 {
		t.Errorf("%+v", p)
	}
	r.probe("ok=false", "state=down", "page=true", "env=prod")
	r.pass(time.Second)
	r.probe("ok=false", "state=down", "page=true", "env=prod")
	state(fleet.Down, down)
	if p := r.Probes()[0]; !p.Page || p.Env != "prod" {
		t.Errorf("%+v", p)
	}
	// The result that decides may come first, and news may come late.
	r.pass(time.Second)
	r.probe("ok=true", "state=up")
	change("change=up", "page=true")
	state(fleet.Up, r.now)
	change("change=down", "ago=1h")
	r.probe("ok=false", "state=down", "ago=1h")
	state(fleet.Up, r.now)
	change("change=gone", "ago=1h")
	change("change=odd")
	state(fleet.Up, r.now)
	change("change=gone")
	if p := r.Probes(); len(p) != 0 {
		t.Errorf("%+v is gone", p)
	}
	r.check(map[string]float64{}, "probe_")
}

// A change alone, as at a start, makes a probe known.
func TestProbeKnownByItsChange(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.tell("service=shop", "stream=probe", "host=h1", "probe=sales", "change=down", "page=true")
	if p := r.Probes(); len(p) != 1 || p[0].Name != "sales" || p[0].Host != "h1" || p[0].State != fleet.Down || !p[0].Last.Equal(start) {
		t.Errorf("%+v", p)
	}
}

func TestStaleProbes(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.probe("ok=true", "state=up")
	r.pass(fleet.Stale)
	if p := r.Probes(); p[0].State != fleet.Up || len(r.metrics("probe_")) != 2 {
		t.Errorf("%+v", p)
	}
	r.pass(time.Second)
	if p := r.Probes(); p[0].State != fleet.Unknown || p[0].Since != nil || len(r.metrics("probe_")) != 0 {
		t.Errorf("%+v", p)
	}
	// One that runs rarely has more time.
	r.tell("service=probe", "stream=probe", "host=h1", "probe=rare", "ok=true", "state=up")
	r.pass(time.Hour)
	r.tell("service=probe", "stream=probe", "host=h1", "probe=rare", "ok=true", "state=up")
	if p := r.Probes(); len(p) != 1 {
		t.Errorf("%+v: what is long stale is forgotten", p)
	}
	r.probe("ok=true", "state=up")
	r.pass(30 * time.Minute)
	states := func() map[string]string {
		got := map[string]string{}
		for _, p := range r.Probes() {
			got[p.Host+"/"+p.Name] = p.State
		}
		return got
	}
	if got, want := states(), map[string]string{"h1/rare": fleet.Up, "h1/sales": fleet.Unknown}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// Another machine has taken over: the old one's result is of no use.
	r.tell("service=probe", "stream=probe", "host=h2", "probe=sales", "ok=true", "state=up")
	if got, want := states(), map[string]string{"h1/rare": fleet.Up, "h2/sales": fleet.Up}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// Two machines may probe the same.
	r.tell("service=probe", "stream=probe", "host=h1", "probe=sales", "ok=false", "state=down")
	if got := states(); got["h1/sales"] != fleet.Down || got["h2/sales"] != fleet.Up {
		t.Errorf("%v", got)
	}
	r.pass(3 * time.Hour)
	if got, want := states(), map[string]string{"h1/rare": fleet.Unknown}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	r.pass(31 * time.Minute)
	if p := r.Probes(); len(p) != 0 {
		t.Errorf("%+v after its time", p)
	}
}

func TestContainer(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.stats("env=prod", "image=sales:7", "version=7", "container_id=0123456789ab", "health=healthy", "logs=followed", "started=2026-11-21T13:00:00.5Z", "restarts=3",
		"cpu_seconds=100", "memory_bytes=1e6", "memory_limit_bytes=2000000", "network_receive_bytes=5", "network_transmit_bytes=6")
	r.pass(30 * time.Second)
	r.stats("env=prod", "image=sales:7", "version=7", "container_id=0123456789ab", "health=healthy", "logs=followed", "started=2026-11-21T13:00:00.5Z", "restarts=3",
		"cpu_seconds=115", "memory_bytes=1e6", "memory_limit_bytes=2000000", "network_receive_bytes=5", "network_transmit_bytes=6")
	got, err := json.Marshal(r.Containers())
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"container":"sales-1","service":"shop","env":"prod","host":"h1","image":"sales:7","version":"7","container_id":"0123456789ab","state":"running",` +
		`"health":"healthy","logs":"followed","started":"2026-11-21T13:00:00.5Z","restarts":3,"cpu_percent":50,"cpu_seconds":115,"memory_bytes":1000000,` +
		`"memory_limit_bytes":2000000,"network_receive_bytes":5,"network_transmit_bytes":6,"last":"2026-11-21T14:00:30Z"}]`
	if string(got) != want {
		t.Errorf("JSON\n%s, want\n%s", got, want)
	}
	const labels = "{container=sales-1,host=h1,service=shop}"
	r.check(map[string]float64{
		"container_cpu_usage_seconds_total" + labels:      115,
		"container_memory_working_set_bytes" + labels:     1e6,
		"container_spec_memory_limit_bytes" + labels:      2e6,
		"container_network_receive_bytes_total" + labels:  5,
		"container_network_transmit_bytes_total" + labels: 6,
		"container_start_time_seconds" + labels:           float64(time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC).Unix()) + 0.5,
		"lookout_container_restarts_total" + labels:       3,
		"lookout_container_running" + labels:              1,
	}, "container_", "lookout_container")
	r.pass(time.Second)
	r.tell("service=docker", "stream=stats", "host=h1", "container=sales-1", "target=shop", "state=exited", "restarts=3")
	r.check(map[string]float64{"lookout_container_restarts_total" + labels: 3, "lookout_container_running" + labels: 0}, "container_", "lookout_container")
	if c := r.Containers()[0]; c.State != "exited" || c.CPUPercent != nil || c.MemoryBytes != nil || c.Started != nil {
		t.Errorf("%+v", c)
	}
}

func TestContainersComeAndGo(t *testing.T) {
	r := newRig(t, fleet.Options{})
	names := func(want ...string) {
		t.Helper()
		got := []string{}
		for _, c := range r.Containers() {
			got = append(got, c.Host+"/"+c.Name)
		}
		if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
			t.Error(diff)
		}
	}
	on := func(host, name, state string, more ...string) {
		t.Helper()
		r.tell(append([]string{"service=docker", "stream=stats", "host=" + host, "container=" + name, "state=" + state}, more...)...)
	}
	on("h2", "a", "running")
	on("h1", "b", "running")
	on("h1", "a", "running")
	names("h1/a", "h1/b", "h2/a")
	on("h1", "a", "removed", "ago=1m") // an older one of the name
	names("h1/a", "h1/b", "h2/a")
	on("h1", "a", "removed")
	names("h1/b", "h2/a")
	r.pass(fleet.Stale)
	names("h1/b", "h2/a")
	on("h1", "b", "running")
	r.pass(time.Second)
	names("h1/b")
	// What an agent has kept for long is history.
	on("h1", "c", "running", "ago=6m")
	names("h1/b")
}

func TestCPUPercent(t *testing.T) {
	tests := []struct {
		name          string
		first, second []string
		after         time.Duration
		want          float64 // -1: none
	}{
		{"half a core", []string{"cpu_seconds=1"}, []string{"cpu_seconds=6"}, 10 * time.Second, 50},
		{"idle", []string{"cpu_seconds=1"}, []string{"cpu_seconds=1"}, 10 * time.Second, 0},
		{"four cores", []string{"cpu_seconds=1"}, []string{"cpu_seconds=41"}, 10 * time.Second, 400},
		{"began anew", []string{"cpu_seconds=9"}, []string{"cpu_seconds=1"}, 10 * time.Second, -1},
		{"another container", []string{"cpu_seconds=1", "container_id=a"}, []string{"cpu_seconds=6", "container_id=b"}, 10 * time.Second, -1},
		{"restarted", []string{"cpu_seconds=1", "started=2026-11-21T13:00:00Z"}, []string{"cpu_seconds=6", "started=2026-11-21T13:30:00Z"}, 10 * time.Second, -1},
		{"start not known", []string{"cpu_seconds=1"}, []string{"cpu_seconds=6", "started=2026-11-21T13:30:00Z"}, 10 * time.Second, -1},
		{"not known", []string{}, []string{"cpu_seconds=6"}, 10 * time.Second, -1},
		{"at once", []string{"cpu_seconds=1"}, []string{"cpu_seconds=6"}, time.Millisecond, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, fleet.Options{})
			r.stats(tt.first...)
			r.pass(tt.after)
			r.stats(tt.second...)
			got := r.Containers()[0].CPUPercent
			if (got == nil) != (tt.want < 0) || got != nil && math.Abs(*got-tt.want) > 1e-9 {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	// A change of state right behind a measurement does not hide it.
	r := newRig(t, fleet.Options{})
	for _, after := range []time.Duration{10 * time.Second, 100 * time.Millisecond} {
		r.stats("cpu_seconds=1")
		r.pass(after)
	}
	r.stats("cpu_seconds=1.05")
	if got := r.Containers()[0].CPUPercent; got == nil || *got != 0 {
		t.Errorf("%v", got)
	}
}

// Values that are no sane numbers are left out and counted, one by one.
func TestBadValues(t *testing.T) {
	for _, value := range []string{"NaN", "Inf", "-Inf", "1e300", "-1", "9223372036854771712", "much", "1e", "", "0x", strings.Repeat("1", 65), "[]", "true"} {
		t.Run(fmt.Sprintf("%.10s", value), func(t *testing.T) {
			r := newRig(t, fleet.Options{})
			e := r.ev("service=docker", "stream=stats", "host=h1", "container=c", "state=running", "restarts=1")
			e.Fields = append(e.Fields, event.Field{Name: []byte("memory_bytes"), Value: []byte(value), Kind: event.Number})
			r.send(&event.Batch{Events: []event.Event{e}})
			if c := r.Containers(); len(c) != 1 || c[0].MemoryBytes != nil || c[0].Restarts != 1 {
				t.Errorf("%+v", c)
			}
			if got := r.metrics("lookout_fleet")["lookout_fleet_skipped_total{cause=bad_value}"]; got != 1 {
				t.Errorf("%v counted", got)
			}
		})
	}
	r := newRig(t, fleet.Options{})
	r.probe("ok=maybe", "state=odd", "duration_ms=-1", "status=1000", "cert_expires=1e17", "cert_days=never", "size=0.5", "phase.tls_ms=x")
	p := r.Probes()[0]
	if p.OK || p.State != fleet.Unknown || p.DurationMS != 0 || p.Status != 0 || p.CertExpires != nil || p.CertDays != nil || p.PhasesMS != nil {
		t.Errorf("%+v", p)
	}
	r.stats("started=yesterday")
	r.stats("started=0001-01-01T00:00:00Z")
	if c := r.Containers()[0]; c.Started != nil {
		t.Errorf("%+v", c)
	}
	r.stats("container=", "memory_bytes=1")
	r.tell("stream=stats", "host=h1")
	r.tell("stream=probe", "host=h1", "ok=true")
	r.tell("stream=probe", "host=h1", "targets=3") // the prober about itself
	r.check(map[string]float64{
		"lookout_fleet_skipped_total{cause=bad_value}": 8, "lookout_fleet_skipped_total{cause=nameless}": 3, "lookout_fleet_skipped_total{cause=too_many}": 0,
	}, "lookout_fleet")
}

func TestLongAndOddText(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.probe("probe\xff=x", "ok=true", "state=up", "url=http://\xff/", "error="+strings.Repeat("é", 1000))
	p := r.Probes()[0]
	if p.URL != "http://\uFFFD/" || len(p.Error) > 1024 || p.Error != strings.Repeat("é", len(p.Error)/2) {
		t.Errorf("%d bytes of error, URL %q", len(p.Error), p.URL)
	}
	r.metrics()
}

func TestTooMany(t *testing.T) {
	r := newRig(t, fleet.Options{Probes: 3, Targets: 3})
	for i := range 5 {
		r.tell("service=probe", "stream=probe", "host=h1", fmt.Sprintf("probe=p%d", i), "ok=true", "state=up")
		r.tell("service=docker", "stream=stats", "host=h1", fmt.Sprintf("container=c%d", i), "state=running")
	}
	if len(r.Probes()) != 3 || len(r.Containers()) != 3 || r.metrics()["lookout_fleet_skipped_total{cause=too_many}"] != 4 {
		t.Errorf("%d probes, %d containers, %v", len(r.Probes()), len(r.Containers()), r.metrics("lookout_fleet"))
	}
	r.tell("service=probe", "stream=probe", "host=h1", "probe=p0", "ok=false", "state=down")
	if r.Probes()[0].State != fleet.Down {
		t.Error("one that is known is known")
	}
	// Those that are gone make room.
	r.pass(2 * time.Hour)
	r.tell("service=probe", "stream=probe", "host=h1", "probe=new", "ok=true", "state=up")
	r.tell("service=docker", "stream=stats", "host=h1", "container=new", "state=running")
	if len(r.Probes()) != 1 || len(r.Containers()) != 1 {
		t.Errorf("%+v, %+v", r.Probes(), r.Containers())
	}
}

// A clock that was wrong does not freeze what is shown.
func TestClockThatWasAhead(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.probe("ok=true", "state=up", "ago=-1h")
	r.stats("restarts=1", "ago=-1h")
	r.pass(30 * time.Second)
	r.probe("ok=false", "state=down")
	r.stats("restarts=2")
	if p, c := r.Probes()[0], r.Containers()[0]; p.OK || c.Restarts != 2 || !c.Last.Equal(r.now) {
		t.Errorf("%+v, %+v", p, c)
	}
}

func TestPrime(t *testing.T) {
	r := newRig(t, fleet.Options{})
	one := r.ev("service=probe", "stream=probe", "host=h1", "probe=sales", "target=shop", "ok=false", "state=down", "ago=1m")
	two := r.ev("service=shop", "stream=probe", "host=h1", "probe=sales", "change=down", "ago=2m")
	three := r.ev("service=docker", "stream=stats", "host=h1", "container=c", "state=running", "ago=1m")
	three.Received = r.now.Add(-time.Minute).UnixNano()
	old := r.ev("service=docker", "stream=stats", "host=h1", "container=old", "state=running", "ago=10m")
	r.Prime(one, two, three, old, of("a", event.Info))
	if p := r.Probes(); len(p) != 1 || p[0].State != fleet.Down || p[0].Since == nil || !p[0].Since.Equal(start.Add(-2*time.Minute)) || p[0].Target != "shop" {
		t.Errorf("%+v", p)
	}
	if c := r.Containers(); len(c) != 1 || c[0].Name != "c" {
		t.Errorf("%+v", c)
	}
	r.check(map[string]float64{}, "lookout_events")
}

func TestMetricsAreWellNamed(t *testing.T) {
	r := newRig(t, fleet.Options{})
	r.probe("ok=true", "state=up", "duration_ms=12.5", "status=200", "phase.resolve_ms=1", "cert_expires=1800000000")
	r.stats("started=2026-11-21T13:00:00Z", "cpu_seconds=1", "memory_bytes=1", "memory_limit_bytes=1", "network_receive_bytes=5", "network_transmit_bytes=6")
	registry := prometheus.NewPedanticRegistry() // refuses what Describe has not named
	registry.MustRegister(r)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %+v", err, problems)
	}
}

// Both halves are used at once in a server.
func TestConcurrentUse(t *testing.T) {
	r := newRig(t, fleet.Options{Services: 5})
	sink := r.Sink(r)
	done := make(chan struct{})
	for i := range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for j := range 200 {
				b := &event.Batch{Events: []event.Event{
					of(fmt.Sprintf("s%d", (i*j)%10), event.Info),
					r.ev("service=probe", "stream=probe", "host=h1", fmt.Sprintf("probe=p%d", j%7), "ok=true", "state=up"),
					r.ev("service=docker", "stream=stats", "host=h1", fmt.Sprintf("container=c%d", j%7), "state=running"),
				}}
				if err := sink.Append(context.Background(), b); err != nil {
					t.Error(err)
				}
				r.Probes()
				r.Containers()
			}
		}()
	}
	for range 4 {
		<-done
	}
	total := 0.0
	for _, n := range r.metrics("lookout_events") {
		total += n
	}
	if total != 4*200*3 {
		t.Errorf("%v events counted", total)
	}
}
