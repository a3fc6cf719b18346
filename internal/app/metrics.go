package app

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// figures turns the parts' own counts into metrics when somebody asks, so that the hot paths know nothing of Prometheus.
type figures struct{ a *App }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lookout_"+name, help, labels, nil)
}

var (
	descBuild        = desc("build_info", "The version, as a label.", "version")
	descSequence     = desc("store_sequence", "Sequence of the newest visible event.")
	descSegments     = desc("store_segments", "Segments on disk.")
	descBlocks       = desc("store_blocks", "Blocks in the segments.")
	descSegmentBytes = desc("store_segment_bytes", "Bytes of the segments on disk.")
	descHeadBytes    = desc("store_head_bytes", "Memory taken by events that are not yet in a segment.")
	descLogBytes     = desc("store_log_bytes", "Bytes of the write-ahead log on disk.")
	descSeals        = desc("store_seals_total", "Segments written.")
	descSealErrors   = desc("store_seal_errors_total", "Segments that could not be written; each is tried again.")
	descRefused      = desc("store_refused_total", "Batches turned away because memory was full; senders were told to try again.")
	descOverflowed   = desc("store_services_overflowed_total", "Runs of events whose service was one too many and was replaced.")
	descDamaged      = desc("store_damaged", "Parts of the store that cannot be read.")
	descGELFReceived = desc("gelf_datagrams_received_total", "GELF datagrams taken from the kernel.")
	descGELFBytes    = desc("gelf_received_bytes_total", "Bytes of these datagrams.")
	descGELFDecoded  = desc("gelf_datagrams_decoded_total", "GELF datagrams that became events; a message in three chunks is three.")
	descGELFPending  = desc("gelf_datagrams_pending", "GELF chunks that wait for the others of their message.")
	descGELFEvents   = desc("gelf_events_total", "GELF messages decoded.")
	descGELFDropped  = desc("gelf_dropped_total", "GELF datagrams and events that were lost, by cause.", "cause")
	descHTTPAccepted = desc("ndjson_accepted_total", "Lines of POST /api/v1/events that became durable.")
	descHTTPRejected = desc("ndjson_rejected_total", "Lines of POST /api/v1/events that were refused, by cause.", "cause")
	descHTTPFailed   = desc("ndjson_requests_failed_total", "Requests to POST /api/v1/events that did not end in 200, by cause.", "cause")
	descHTTPBytes    = desc("ndjson_received_bytes_total", "Bytes of bodies of POST /api/v1/events, decoded.")
	descRules        = desc("alerting_rules", "Alert rules in force.")
	descMatched      = desc("alerting_matched_total", "Events that a rule matched.", "rule")
	descLag          = desc("alerting_lag_events", "Events that the rules have not seen yet.")
	descOutbox       = desc("alerting_outbox_messages", "Messages that wait to be delivered.")
	descOldest       = desc("alerting_oldest_undelivered_seconds", "Age of the oldest message that waits, 0 when none does.")
	descParked       = desc("alerting_parked_channels", "Channels that refuse everything and are tried every five minutes.")
	descSent         = desc("alerting_sent_total", "Messages delivered.")
	descRepeats      = desc("alerting_repeats_total", "Messages delivered that said they may be repeats.")
	descHeld         = desc("alerting_held_total", "Matches that were counted in an overview instead of shown.")
	descSendFailed   = desc("alerting_failed_total", "Failed deliveries, by class.", "class")
	descDead         = desc("alerting_dead_letters", "Messages that were refused for good and are kept.")
	descGaps         = desc("alerting_gaps_total", "Ranges of events that the rules could not read.")
)

// Describe sends nothing: what is collected depends on which parts are on.
func (f figures) Describe(chan<- *prometheus.Desc) {}

func (f figures) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.GaugeValue, v, labels...) }
	counter := func(d *prometheus.Desc, v float64, labels ...string) { send(d, prometheus.CounterValue, v, labels...) }

	gauge(descBuild, 1, f.a.o.Version)
	if f.a.store != nil {
		s := f.a.store.Stats()
		gauge(descSequence, float64(s.Sequence))
		gauge(descSegments, float64(s.Segments))
		gauge(descBlocks, float64(s.Blocks))
		gauge(descSegmentBytes, float64(s.SegmentBytes))
		gauge(descHeadBytes, float64(s.HeadBytes))
		gauge(descLogBytes, float64(s.LogBytes))
		counter(descSeals, float64(s.Seals))
		counter(descSealErrors, float64(s.SealErrors))
		counter(descRefused, float64(s.Refused))
		counter(descOverflowed, float64(s.Overflowed))
		gauge(descDamaged, float64(s.Damaged))
	}

	if f.a.gelf != nil {
		g := f.a.gelf.Stats()
		counter(descGELFReceived, float64(g.Received))
		counter(descGELFBytes, float64(g.Bytes))
		counter(descGELFDecoded, float64(g.Decoded))
		gauge(descGELFPending, float64(g.Pending))
		counter(descGELFEvents, float64(g.Events))
		for _, d := range g.Drops() {
			counter(descGELFDropped, float64(d.Count), d.Cause)
		}
	}

	n := f.a.native.Stats()
	counter(descHTTPAccepted, float64(n.Accepted))
	counter(descHTTPBytes, float64(n.Bytes))
	counter(descHTTPRejected, float64(n.RejectedJSON), "json")
	counter(descHTTPRejected, float64(n.RejectedLong), "too_long")
	counter(descHTTPRejected, float64(n.RejectedEmpty), "empty")
	counter(descHTTPFailed, float64(n.Pressure), "pressure")
	counter(descHTTPFailed, float64(n.Full), "full")
	counter(descHTTPFailed, float64(n.TooLarge), "too_large")
	counter(descHTTPFailed, float64(n.Invalid), "invalid")
	counter(descHTTPFailed, float64(n.Failed), "error")

	if f.a.engine == nil {
		return
	}
	e, err := f.a.engine.Stats()
	if err != nil {
		f.a.log.Error("alerting's figures cannot be read", "error", err)
		return
	}
	gauge(descRules, float64(e.Rules))
	for rule, n := range e.Matched {
		counter(descMatched, float64(n), rule)
	}
	gauge(descLag, float64(e.Lag))
	gauge(descOutbox, float64(e.Outbox))
	gauge(descOldest, e.OldestUndelivered.Seconds())
	gauge(descParked, float64(len(e.Parked)))
	counter(descSent, float64(e.Sent))
	counter(descRepeats, float64(e.Repeats))
	counter(descHeld, float64(e.Held))
	for class, n := range e.Failed {
		counter(descSendFailed, float64(n), string(class))
	}
	gauge(descDead, float64(e.DeadLetters))
	counter(descGaps, float64(e.Gaps))
}

func (a *App) register(r *prometheus.Registry) {
	r.MustRegister(figures{a}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if a.fleet != nil {
		r.MustRegister(a.fleet)
	}
}
