package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/lookoutlog/lookout/internal/metrics"
)

// register makes the figures of every part that is on appear at /metrics.
func (a *App) register(r *prometheus.Registry) {
	r.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		metrics.Build(a.o.Version), metrics.Config(a.reloads.stats), metrics.NDJSON(a.native.Stats), metrics.Probes(a.prober.Stats),
	)
	if a.store != nil {
		r.MustRegister(metrics.Store(a.store.Stats), a.fleet)
	}
	if a.queue != nil {
		r.MustRegister(metrics.Forward(a.queue.Stats))
	}
	if a.redactor != nil {
		r.MustRegister(metrics.Redaction(a.redactor.Hits))
	}
	if a.gelf != nil {
		r.MustRegister(metrics.GELF(a.gelf.Stats))
	}
	if a.docker != nil {
		r.MustRegister(metrics.Docker(a.docker.Stats))
	}
	if a.engine != nil {
		r.MustRegister(metrics.Alerting(a.engine.Stats, a.log))
	}
	if a.slack != nil && a.slack.Buttons() {
		r.MustRegister(metrics.Slack(a.slack.Stats))
	}
	if a.pushover != nil {
		r.MustRegister(metrics.Pushover(a.pushover.Stats))
	}
}
