package fleet

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/internal/event"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	ofProbe     = []string{"probe", "target", "host"}
	ofContainer = []string{"container", "service", "host"}
)

// The names of probes are blackbox_exporter's, those of containers cAdvisor's: dashboards and rules for them work here.
var (
	descEvents  = desc("lookout_events_total", "Events stored, by service and level; those of services beyond the limit have the service other.", "service", "level")
	descSkipped = desc("lookout_fleet_skipped_total",
		"What events said about probes and containers and was left out, by cause: a value that is no sane number, one probe or container too many, an event without its name.", "cause")

	descSuccess  = desc("probe_success", "Whether the probe's last result was good.", ofProbe...)
	descDuration = desc("probe_duration_seconds", "How long the probe took.", ofProbe...)
	descStatus   = desc("probe_http_status_code", "The status of the HTTP response.", ofProbe...)
	descPhase    = desc("probe_http_duration_seconds", "How long each phase of the HTTP request took.", append(ofProbe[:3:3], "phase")...)
	descCert     = desc("probe_ssl_earliest_cert_expiry", "When the certificate expires, in seconds since the Unix epoch.", ofProbe...)

	descCPU      = desc("container_cpu_usage_seconds_total", "CPU time the container has used.", ofContainer...)
	descMemory   = desc("container_memory_working_set_bytes", "Memory the container uses, without the file cache that can be dropped.", ofContainer...)
	descLimit    = desc("container_spec_memory_limit_bytes", "The container's memory limit, 0 for none.", ofContainer...)
	descReceive  = desc("container_network_receive_bytes_total", "Bytes the container has received.", ofContainer...)
	descTransmit = desc("container_network_transmit_bytes_total", "Bytes the container has sent.", ofContainer...)
	descStart    = desc("container_start_time_seconds", "When the container was started, in seconds since the Unix epoch.", ofContainer...)
	descRestarts = desc("lookout_container_restarts_total", "How often Docker has restarted the container.", ofContainer...)
	descRunning  = desc("lookout_container_running", "Whether the container runs.", ofContainer...)
)

// Describe sends all that Collect may send.
func (f *Fleet) Describe(out chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{
		descEvents, descSkipped, descSuccess, descDuration, descStatus, descPhase, descCert,
		descCPU, descMemory, descLimit, descReceive, descTransmit, descStart, descRestarts, descRunning,
	} {
		out <- d
	}
}

// Collect sends the figures of now. A probe that is unknown and a container without a measurement have none.
func (f *Fleet) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, s := range f.counts.snapshot() {
		for l := range s.levels {
			if n := s.levels[l].Load(); n > 0 {
				send(descEvents, prometheus.CounterValue, float64(n), s.name, event.Level(l).String())
			}
		}
	}
	send(descSkipped, prometheus.CounterValue, float64(f.badValues.Load()), "bad_value")
	send(descSkipped, prometheus.CounterValue, float64(f.tooMany.Load()), "too_many")
	send(descSkipped, prometheus.CounterValue, float64(f.nameless.Load()), "nameless")

	for _, p := range f.Probes() {
		if p.State == Unknown {
			continue
		}
		gauge := func(d *prometheus.Desc, v float64, more ...string) {
			send(d, prometheus.GaugeValue, v, append([]string{p.Name, p.Target, p.Host}, more...)...)
		}
		gauge(descSuccess, number(p.OK))
		gauge(descDuration, p.DurationMS/1000)
		if p.Status != 0 {
			gauge(descStatus, float64(p.Status))
		}
		for _, phase := range phases {
			if ms, ok := p.PhasesMS[phase]; ok {
				gauge(descPhase, ms/1000, phase)
			}
		}
		if p.CertExpires != nil {
			gauge(descCert, float64(p.CertExpires.Unix()))
		}
	}

	for _, c := range f.Containers() {
		value := func(d *prometheus.Desc, kind prometheus.ValueType, v *float64) {
			if v != nil {
				send(d, kind, *v, c.Name, c.Service, c.Host)
			}
		}
		value(descCPU, prometheus.CounterValue, c.CPUSeconds)
		value(descMemory, prometheus.GaugeValue, c.MemoryBytes)
		value(descLimit, prometheus.GaugeValue, c.MemoryLimitBytes)
		value(descReceive, prometheus.CounterValue, c.NetworkReceiveBytes)
		value(descTransmit, prometheus.CounterValue, c.NetworkTransmitBytes)
		if c.Started != nil {
			started := float64(c.Started.UnixNano()) / 1e9
			value(descStart, prometheus.GaugeValue, &started)
		}
		restarts, running := float64(c.Restarts), number(c.State == Running)
		value(descRestarts, prometheus.CounterValue, &restarts)
		value(descRunning, prometheus.GaugeValue, &running)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
