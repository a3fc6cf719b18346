// Package metrics turns the counts that lookout's parts keep of themselves into Prometheus' metrics, when somebody asks: the
// hot paths know nothing of Prometheus.
//
// # Use
//
// Each function makes the collector of one part, from the method that returns its figures:
//
//	registry.MustRegister(metrics.Build(version), metrics.Store(store.Stats), metrics.GELF(input.Stats))
//
// A part that is off is not registered. docs/metrics.md is made from what is described here, in package fleet and in
// internal/api.
//
// # What it guarantees
//
// Names follow Prometheus' conventions: base units, _total on what only grows. A name never changes its meaning. Labels come
// from lists that are fixed or bounded by the part, never from what senders say.
package metrics

import "github.com/prometheus/client_golang/prometheus"

// part is the collector of a part whose figures are of type S.
type part[S any] struct {
	stats   func() (S, bool) // false: not to be had now
	figures []figure[S]
}

// figure is one metric of a part.
type figure[S any] struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	// each calls add for every value, with its label if the metric has one.
	each func(s S, add func(value float64, label ...string))
}

func (p *part[S]) Describe(out chan<- *prometheus.Desc) {
	for _, f := range p.figures {
		out <- f.desc
	}
}

func (p *part[S]) Collect(out chan<- prometheus.Metric) {
	s, ok := p.stats()
	if !ok {
		return
	}
	for _, f := range p.figures {
		f.each(s, func(value float64, label ...string) {
			out <- prometheus.MustNewConstMetric(f.desc, f.kind, value, label...)
		})
	}
}

// of makes the collector of a part that always has figures.
func of[S any](stats func() S, figures ...figure[S]) prometheus.Collector {
	return &part[S]{func() (S, bool) { return stats(), true }, figures}
}

// number is what counts are kept in.
type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// gauge is a value that goes up and down.
func gauge[S any, N number](name, help string, value func(S) N) figure[S] {
	return one(prometheus.GaugeValue, name, help, value)
}

// counter is a value that only grows; the name ends in _total.
func counter[S any, N number](name, help string, value func(S) N) figure[S] {
	return one(prometheus.CounterValue, name, help, value)
}

func one[S any, N number](kind prometheus.ValueType, name, help string, value func(S) N) figure[S] {
	return figure[S]{desc(name, help), kind, func(s S, add func(float64, ...string)) { add(float64(value(s))) }}
}

// gauges and counters have a value for each value of a label.
func gauges[S any, K ~string, N number](name, help, label string, values func(S) map[K]N) figure[S] {
	return many(prometheus.GaugeValue, name, help, label, values)
}

func counters[S any, K ~string, N number](name, help, label string, values func(S) map[K]N) figure[S] {
	return many(prometheus.CounterValue, name, help, label, values)
}

func many[S any, K ~string, N number](kind prometheus.ValueType, name, help, label string, values func(S) map[K]N) figure[S] {
	return figure[S]{desc(name, help, label), kind, func(s S, add func(float64, ...string)) {
		for l, v := range values(s) {
			add(float64(v), string(l))
		}
	}}
}

// when leaves the metric out while its value is not known.
func (f figure[S]) when(known func(S) bool) figure[S] {
	each := f.each
	f.each = func(s S, add func(float64, ...string)) {
		if known(s) {
			each(s, add)
		}
	}
	return f
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lookout_"+name, help, labels, nil)
}

func bool2int(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
