package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/tail"
)

// Why a search ended before it was done, beside the limits that query.Summary.Budget names.
const (
	causeDeadline = "deadline"
	causeCanceled = "canceled"
)

// metrics are the API's own. Labels come from the table of routes, never from a request.
type metrics struct {
	requests   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	panics     prometheus.Counter
	searchTime prometheus.Histogram
	refused    prometheus.Counter
	refusals   atomic.Int64 // the same
	ended      *prometheus.CounterVec
	logins     *prometheus.CounterVec

	tailSent, tailSkipped prometheus.Counter
}

func newMetrics(r prometheus.Registerer, a *API) *metrics {
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lookout_http_requests_total", Help: "Answered HTTP requests."}, []string{"route", "method", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "lookout_http_request_duration_seconds", Help: "Time to the end of the answer, live tails left out.", Buckets: buckets}, []string{"route"}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "lookout_http_panics_total", Help: "Requests that failed because of a bug in lookout."}),
		searchTime: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "lookout_search_duration_seconds", Help: "Time of a search without its wait for a turn.",
			Buckets: buckets}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "lookout_searches_refused_total", Help: "Searches answered 429 because too many ran and waited."}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lookout_searches_ended_total",
			Help: "Searches that ended before they were done, by cause: deadline (limits.query_timeout), scan (limits.query_scan), memory (limits.query_memory), canceled (the client was gone)."}, []string{"cause"}),
		tailSent: prometheus.NewCounter(prometheus.CounterOpts{Name: "lookout_tail_events_total", Help: "Events that live tails have sent."}),
		tailSkipped: prometheus.NewCounter(prometheus.CounterOpts{Name: "lookout_tail_skipped_events_total",
			Help: "Events that matched and were left out by live tails that could not keep up, which they were told."}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "lookout_logins_total",
			Help: "Logins at the page: ok, refused (a wrong code or token), limited (too many of these) or failed."}, []string{"result"}),
	}
	for _, cause := range []string{causeDeadline, query.BudgetScan, query.BudgetMemory, causeCanceled} {
		m.ended.WithLabelValues(cause)
	}
	r.MustRegister(m.requests, m.duration, m.panics, m.searchTime, m.refused, m.ended, m.logins, m.tailSent, m.tailSkipped,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_sessions", Help: "Sessions of browsers that are logged in."}, func() float64 { return float64(a.o.Auth.Sessions()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_searches_running", Help: "Searches that run now."}, func() float64 { n, _ := a.searches.counts(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_searches_waiting", Help: "Searches that wait for their turn."}, func() float64 { _, n := a.searches.counts(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_tails_open", Help: "Live tails that are open."}, func() float64 { return float64(a.openTails()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_tails_behind", Help: "Live tails that read the store, because they began in the past or cannot keep up."},
			func() float64 { return float64(a.tailStats().Behind) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lookout_tail_lag_events", Help: "Events between the newest one and the position of the live tail that is farthest behind."},
			func() float64 { return float64(a.tailStats().Lag) }))
	return m
}

func (a *API) tailStats() tail.Stats {
	if a.hub == nil {
		return tail.Stats{}
	}
	return a.hub.Stats()
}

// refuse counts a search that was answered 429.
func (m *metrics) refuse() {
	m.refused.Inc()
	m.refusals.Add(1)
}

// Refused is how many searches were answered 429 because too many ran and waited.
func (a *API) Refused() int64 { return a.metrics.refusals.Load() }

// searchEnded counts a search that ended before it was done.
func (m *metrics) searchEnded(cause string) { m.ended.WithLabelValues(cause).Inc() }

func (m *metrics) request(pattern, method string, code int, took time.Duration) {
	m.requests.WithLabelValues(pattern, knownMethod(method), strconv.Itoa(code)).Inc()
	if pattern != tailPath {
		m.duration.WithLabelValues(pattern).Observe(took.Seconds())
	}
}

// knownMethod is the method, or other: a client may send any word.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}
