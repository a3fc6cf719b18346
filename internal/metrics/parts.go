package metrics

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/alerting/pushover"
	"github.com/lookoutlog/lookout/alerting/slack"
	"github.com/lookoutlog/lookout/collector/docker"
	"github.com/lookoutlog/lookout/collector/forward"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/collector/probe"
	"github.com/lookoutlog/lookout/index"
)

// Build says which version runs.
func Build(version string) prometheus.Collector {
	return of(func() string { return version },
		gauges("build_info", "The version, as a label.", "version", func(version string) map[string]int { return map[string]int{version: 1} }))
}

// ConfigStats count how often the configuration was read again.
type ConfigStats struct {
	Applied, Refused int64
	Standing         bool // the one that was read last is refused
}

// Config tells whether the configuration in force is the one that was read last.
func Config(stats func() ConfigStats) prometheus.Collector {
	type s = ConfigStats
	return of(stats,
		counters("config_reloads_total", "How often the configuration was read again, by outcome: applied, or refused.", "outcome", func(s s) map[string]int64 {
			return map[string]int64{"applied": s.Applied, "refused": s.Refused}
		}),
		gauge("config_refused", "1 while the configuration that was read last is refused and the one before is in force.", func(s s) int {
			if s.Standing {
				return 1
			}
			return 0
		}),
	)
}

// Store is the store's collector.
func Store(stats func() index.Stats) prometheus.Collector {
	type s = index.Stats
	return of(stats,
		gauge("store_sequence", "Sequence of the newest visible event.", func(s s) uint64 { return s.Sequence }),
		gauge("store_segments", "Segments on disk.", func(s s) int { return s.Segments }),
		gauge("store_blocks", "Blocks in the segments.", func(s s) int { return s.Blocks }),
		gauge("store_segment_bytes", "Bytes of the segments on disk.", func(s s) int64 { return s.SegmentBytes }),
		gauge("store_head_bytes", "Memory taken by events that are not yet in a segment.", func(s s) int64 { return s.HeadBytes }),
		gauge("store_log_bytes", "Bytes of the write-ahead log on disk.", func(s s) int64 { return s.LogBytes }),
		counter("store_seals_total", "Segments written.", func(s s) int64 { return s.Seals }),
		counter("store_seal_errors_total", "Segments that could not be written; each is tried again.", func(s s) int64 { return s.SealErrors }),
		counter("store_refused_total", "Batches turned away because memory was full; senders were told to try again.", func(s s) int64 { return s.Refused }),
		counter("store_services_overflowed_total", "Runs of events whose service was one too many and was replaced.", func(s s) int64 { return s.Overflowed }),
		counter("store_refused_full_total", "Batches turned away because the disk was full; senders were told to try again.", func(s s) int64 { return s.RefusedFull }),
		gauge("store_disk_free_bytes", "Bytes that the file system of the data folder still takes; below a twentieth of its size nothing is accepted.", func(s s) uint64 { return s.DiskFree }).when(func(s s) bool { return s.DiskBytes > 0 }),
		gauge("store_disk_size_bytes", "Size of the file system of the data folder.", func(s s) uint64 { return s.DiskBytes }).when(func(s s) bool { return s.DiskBytes > 0 }),
		gauges("store_class_bytes", "Bytes of the segments on disk, by class of retention.", "class", func(s s) map[string]int64 { return s.ClassBytes }),
		counters("store_expired_segments_total", "Segments that retention has removed, by cause: their age, or too many bytes.", "cause", func(s s) map[string]int64 {
			return map[string]int64{"age": s.ExpiredByAge, "bytes": s.ExpiredBySize}
		}),
		counter("store_expired_events_total", "Events that retention has removed.", func(s s) int64 { return s.ExpiredEvents }),
		counter("store_expired_bytes_total", "Bytes of the segments that retention has removed.", func(s s) int64 { return s.ExpiredBytes }),
		counter("store_retention_errors_total", "Failed attempts of retention to remove something; each is tried again.", func(s s) int64 { return s.RetentionErrors }),
		gauge("store_retention_paused_seconds", "For how long nothing will be removed by age because the clock has jumped, 0 when it goes on.", func(s s) float64 { return s.RetentionPaused.Seconds() }),
		gauge("store_retention_waiting_segments", "Segments that retention keeps because not all who must see every event have read them.", func(s s) int64 { return s.RetentionWaits }),
		counter("store_clock_jumps_total", "Jumps of the clock by an hour or more.", func(s s) int64 { return s.ClockJumps }),
		counter("store_deleted_events_total", "Events deleted by query.", func(s s) int64 { return s.Deleted }),
		counter("store_follow_expired_total", "Sequences that followers passed over because retention had removed their events.", func(s s) int64 { return s.PassedOver }),
		gauge("store_damaged", "Parts of the store that cannot be read.", func(s s) int { return s.Damaged }),
		counter("store_compactions_total", "Merges of adjacent segments into one.", func(s s) int64 { return s.Compactions }),
		counter("store_compaction_errors_total", "Merges that failed; each is tried again.", func(s s) int64 { return s.CompactErrors }),
		counter("store_compaction_read_bytes_total", "Bytes of the segments that were merged.", func(s s) int64 { return s.CompactedIn }),
		counter("store_compaction_written_bytes_total", "Bytes of the segments that they became.", func(s s) int64 { return s.CompactedOut }),
		counter("store_compaction_rebuilt_events_total", "Events that merges have put into new blocks.", func(s s) int64 { return s.Rebuilt }),
		counter("store_compaction_seconds_total", "Time that merging has worked, its rests left out.", func(s s) float64 { return s.CompactTime.Seconds() }),
		gauge("store_compaction_waiting_segments", "Segments in the merge that is under way or due.", func(s s) int64 { return s.CompactWaiting }),
	)
}

// GELF is the collector of the GELF input.
func GELF(stats func() gelf.Stats) prometheus.Collector {
	type s = gelf.Stats
	return of(stats,
		counter("gelf_datagrams_received_total", "GELF datagrams taken from the kernel.", func(s s) int64 { return s.Received }),
		counter("gelf_received_bytes_total", "Bytes of the GELF datagrams taken from the kernel.", func(s s) int64 { return s.Bytes }),
		counter("gelf_datagrams_decoded_total", "GELF datagrams that became events; a message in three chunks is three.", func(s s) int64 { return s.Decoded }),
		gauge("gelf_datagrams_pending", "GELF chunks that wait for the others of their message.", func(s s) int64 { return s.Pending }),
		counter("gelf_events_total", "GELF messages decoded.", func(s s) int64 { return s.Events }),
		counter("gelf_truncated_total", "GELF messages that were cut to the limits of an event.", func(s s) int64 { return s.Truncated }),
		counter("gelf_joined_total", "GELF messages that were Docker's pieces of a long line and became part of another event.", func(s s) int64 { return s.Joined }),
		counters("gelf_dropped_total", "GELF datagrams and events that were lost, by cause.", "cause", func(s s) map[string]int64 {
			drops := map[string]int64{}
			for _, d := range s.Drops() {
				drops[d.Cause] = d.Count
			}
			return drops
		}),
	)
}

// NDJSON is the collector of POST /api/v1/events.
func NDJSON(stats func() native.Stats) prometheus.Collector {
	type s = native.Stats
	return of(stats,
		counter("ndjson_accepted_total", "Lines of POST /api/v1/events that became durable.", func(s s) int64 { return s.Accepted }),
		counter("ndjson_received_bytes_total", "Bytes of bodies of POST /api/v1/events, decoded.", func(s s) int64 { return s.Bytes }),
		counters("ndjson_rejected_total", "Lines of POST /api/v1/events that were refused, by cause.", "cause", func(s s) map[string]int64 {
			return map[string]int64{"json": s.RejectedJSON, "too_long": s.RejectedLong, "empty": s.RejectedEmpty}
		}),
		counters("ndjson_requests_failed_total", "Requests to POST /api/v1/events that did not end in 200, by cause.", "cause", func(s s) map[string]int64 {
			return map[string]int64{"pressure": s.Pressure, "full": s.Full, "too_large": s.TooLarge, "invalid": s.Invalid, "error": s.Failed}
		}),
	)
}

// Redaction is the collector of the rules of redaction.
func Redaction(hits func() map[string]int64) prometheus.Collector {
	type s = map[string]int64
	return of(hits, counters("redacted_total", "Texts in which something was replaced before they were stored, by rule.", "rule", func(s s) map[string]int64 { return s }))
}

// Docker is the collector of the Docker input.
func Docker(stats func() docker.Stats) prometheus.Collector {
	type s = docker.Stats
	return of(stats,
		gauge("docker_connected", "Whether the Docker engine answers.", func(s s) int { return bool2int(s.Connected) }),
		gauges("docker_containers", "Containers of the engine, by state.", "state", func(s s) map[string]int { return s.Containers }),
		gauge("docker_containers_followed", "Containers whose log is read.", func(s s) int { return s.Followed }),
		counter("docker_rows_total", "Lines taken from logs, or pieces of longer ones.", func(s s) int64 { return s.Rows }),
		counter("docker_received_bytes_total", "Bytes of the lines taken from logs.", func(s s) int64 { return s.Bytes }),
		counter("docker_events_total", "Events stored from Docker: lines, lifecycle and gaps.", func(s s) int64 { return s.Events }),
		counters("docker_rows_skipped_total",
			"What came from logs and is no event of its own, by cause: an empty line, one that Docker delivered twice, one that was asked for again after a break.",
			"cause", func(s s) map[string]int64 {
				return map[string]int64{"empty": s.Empty, "duplicate": s.Duplicates, "again": s.Again}
			}),
		counter("docker_truncated_total", "Lines that were cut at the longest message.", func(s s) int64 { return s.Truncated }),
		counter("docker_oversize_total", "Frames longer than any that Docker sends; what was too much of them was thrown away.", func(s s) int64 { return s.Oversize }),
		counter("docker_logs_reopened_total", "Logs opened again after an error.", func(s s) int64 { return s.Reopened }),
		counter("docker_gaps_total", "Gaps in which lines were lost, certainly or possibly; an event with action:gap tells of each.", func(s s) int64 { return s.Gaps }),
		counter("docker_rescued_total", "Lines taken by another way because the log was gone.", func(s s) int64 { return s.Rescued }),
		counter("docker_waits_total", "Batches that were offered again because what is behind the input was too slow, or failed.", func(s s) int64 { return s.Waits }),
		counter("docker_measurements_total", "Measurements of containers stored.", func(s s) int64 { return s.Measurements }),
		counter("docker_api_errors_total", "Requests to the engine that failed.", func(s s) int64 { return s.APIErrors }),
	)
}

// Probes is the collector of the prober; what it found about its targets is package fleet's.
func Probes(stats func() probe.Stats) prometheus.Collector {
	type s = probe.Stats
	return of(stats,
		counter("probe_checks_total", "Checks that ended.", func(s s) int64 { return s.Checks }),
		counter("probe_checks_failed_total", "Checks that ended badly.", func(s s) int64 { return s.Failures }),
		counter("probe_checks_skipped_total", "Checks that were not begun because the one before took longer than the interval.", func(s s) int64 { return s.Skipped }),
		counter("probe_transitions_total", "Changes of a target's state that were stored: down, up, gone.", func(s s) int64 { return s.Transitions }),
		counter("probe_results_dropped_total", "Results that were not stored because what is behind the prober was too slow, or at the end.", func(s s) int64 { return s.Dropped }),
		counter("probe_lag_seconds_total", "How much later than due checks began, summed over all of them.", func(s s) float64 { return s.Lag.Seconds() }),
		gauge("probe_checks_running", "Checks that run now.", func(s s) int { return s.InFlight }),
		gauge("probe_results_pending", "Results that wait to be stored.", func(s s) int { return s.Pending }),
		gauges("probe_targets", "What is probed, by state.", "state", func(s s) map[string]int {
			return map[string]int{"up": s.Up, "down": s.Down, "unknown": s.Unknown}
		}),
	)
}

// Forward is the collector of an agent's queue.
func Forward(stats func() forward.Stats) prometheus.Collector {
	type s = forward.Stats
	return of(stats,
		counter("forward_appended_total", "Events made durable in this agent's queue.", func(s s) int64 { return s.Appended }),
		counter("forward_requests_total", "Requests to the server.", func(s s) int64 { return s.Requests }),
		counter("forward_sent_total", "Events in requests to the server, again each time.", func(s s) int64 { return s.Sent }),
		counter("forward_sent_bytes_total", "Bytes of the bodies of requests to the server, compressed.", func(s s) int64 { return s.SentBytes }),
		counter("forward_acknowledged_total", "Events that the server has confirmed.", func(s s) int64 { return s.Acknowledged }),
		counters("forward_lost_total", "Events that will not arrive, by cause: the server could not read them, or the disk could not.", "cause", func(s s) map[string]int64 {
			return map[string]int64{"rejected": s.Rejected, "unreadable": s.Lost}
		}),
		counter("forward_cut_total", "Events that were too large for a line and lost their last fields.", func(s s) int64 { return s.Cut }),
		counter("forward_refused_total", "Batches turned away because the queue was full; inputs try again.", func(s s) int64 { return s.Refused }),
		gauge("forward_queued_events", "Events that wait for the server.", func(s s) uint64 { return s.QueuedEvents }),
		gauge("forward_queued_bytes", "Bytes of the queue on disk.", func(s s) int64 { return s.QueuedBytes }),
		gauge("forward_queue_limit_bytes", "The most bytes the queue may have.", func(s s) int64 { return s.MaxBytes }),
		gauge("forward_oldest_queued_seconds", "Age of the oldest event that waits, 0 when none does.", func(s s) float64 { return s.Oldest.Seconds() }),
		counters("forward_retries_total", "Requests that had to be made again, by cause.", "cause", func(s s) map[string]int64 { return s.Retries }),
	)
}

type channel = alerting.ChannelStats

// ofChannels is a metric with a value for each channel.
func ofChannels(kind prometheus.ValueType, name, help string, value func(channel) float64) figure[alerting.Stats] {
	return figure[alerting.Stats]{desc(name, help, "channel"), kind, func(s alerting.Stats, add func(float64, ...string)) {
		for name, c := range s.Channels {
			add(value(c), name)
		}
	}}
}

// outcomes are those of notifications, but for dead_letter and held, which are no tries.
var outcomes = []alerting.Outcome{
	alerting.OutcomeSent, alerting.OutcomeRepeat, alerting.OutcomeEdited, alerting.OutcomeNoted, alerting.OutcomeWait, alerting.OutcomeTransient,
	alerting.OutcomeBroken, alerting.OutcomeFault, alerting.OutcomeEditRefused,
}

func notifications() figure[alerting.Stats] {
	const help = "What became of notifications, by channel and outcome: sent, repeat (sent, and says that it may be one), edited, noted (history in a thread); refused or unanswered: " +
		"wait, transient, broken, fault, edit_refused; given up: dead_letter; counted in an overview: held."
	return figure[alerting.Stats]{desc("alerting_notifications_total", help, "channel", "outcome"), prometheus.CounterValue, func(s alerting.Stats, add func(float64, ...string)) {
		for name, c := range s.Channels {
			for _, o := range outcomes {
				add(float64(c.Outcomes[o]), name, string(o))
			}
			add(float64(c.Dead), name, "dead_letter")
			add(float64(c.Held), name, "held")
		}
	}}
}

// Alerting is the collector of the rule engine. What it cannot read of its state is logged, and not shown.
func Alerting(stats func() (alerting.Stats, error), log *slog.Logger) prometheus.Collector {
	type s = alerting.Stats
	read := func() (s, bool) {
		v, err := stats()
		if err != nil {
			log.Error("alerting's figures cannot be read", "error", err)
		}
		return v, err == nil
	}
	return &part[s]{read, []figure[s]{
		gauge("alerting_rules", "Alert rules in force.", func(s s) int { return s.Rules }),
		counter("alerting_decided_events_total", "Events that were held against the rules.", func(s s) uint64 { return s.Decided }),
		counters("alerting_matched_total", "Events that a rule matched, of rules in force.", "rule", func(s s) map[string]uint64 { return s.Matched }),
		counters("alerting_left_out_events_total", "Events that a rule in force left out because it knew too many series or kinds of lines, over restarts.", "rule", func(s s) map[string]int64 { return s.LeftOut }),
		gauge("alerting_lag_events", "Events that the rules have not seen yet.", func(s s) uint64 { return s.Lag }),
		gauges("alerting_incidents", "Incidents, by state.", "state", func(s s) map[alerting.State]int { return s.Open }),
		gauge("alerting_outbox_messages", "Messages that wait to be delivered.", func(s s) int { return s.Outbox }),
		gauge("alerting_oldest_undelivered_seconds", "Age of the oldest message that waits, 0 when none does.", func(s s) float64 { return s.OldestUndelivered.Seconds() }),
		gauge("alerting_parked_channels", "Channels that refuse everything and are tried every five minutes.", func(s s) int { return len(s.Parked) }),
		ofChannels(prometheus.GaugeValue, "alerting_channel_waiting_messages", "Messages that wait in a channel's queue.", func(c channel) float64 { return float64(c.Waiting) }),
		ofChannels(prometheus.GaugeValue, "alerting_channel_oldest_undelivered_seconds", "Age of the oldest message that waits in a channel's queue, 0 when none does.", func(c channel) float64 { return c.Oldest.Seconds() }),
		ofChannels(prometheus.GaugeValue, "alerting_channel_parked", "Whether a channel refuses everything and is tried every five minutes.", func(c channel) float64 { return float64(bool2int(c.Parked)) }),
		notifications(),
		counter("alerting_sent_total", "Messages delivered.", func(s s) uint64 { return s.Sent }),
		counter("alerting_edited_total", "Messages brought up to date.", func(s s) uint64 { return s.Edited }),
		counter("alerting_noted_total", "Replies that added history to a message's thread.", func(s s) uint64 { return s.Noted }),
		counter("alerting_repeats_total", "Messages delivered that said they may be repeats.", func(s s) uint64 { return s.Repeats }),
		counter("alerting_held_total", "Matches that were counted in an overview instead of shown.", func(s s) uint64 { return s.Held }),
		counter("alerting_damped_total", "Incidents that fired again too soon after people were told: they are told later, if they still fire.", func(s s) uint64 { return s.Damped }),
		counter("alerting_reminded_total", "Times that people were told again of what nobody had acknowledged.", func(s s) uint64 { return s.Reminded }),
		counter("alerting_template_errors_total", "Messages whose template failed, and that had their usual form.", func(s s) uint64 { return s.TemplateErrors }),
		gauge("alerting_silences", "Silences that are active.", func(s s) int { return s.Silences }),
		gauges("alerting_muted_incidents", "Incidents that are told to nobody now, by why: silence, maintenance, parent, hold.", "why", func(s s) map[string]int { return s.Muted }),
		counters("alerting_suppressed_total", "Incidents and events that were over before they could be told, by why.", "why", func(s s) map[string]uint64 { return s.Suppressed }),
		counters("alerting_failed_total", "Failed deliveries, by class.", "class", func(s s) map[alerting.Class]uint64 { return s.Failed }),
		gauge("alerting_dead_letters", "Messages that were refused for good and are kept.", func(s s) int { return s.DeadLetters }),
		counter("alerting_asked_total", "Questions to a pager whether somebody has acknowledged.", func(s s) uint64 { return s.Asked }),
		counter("alerting_ask_errors_total", "Questions to a pager that had no answer.", func(s s) uint64 { return s.AskErrors }),
		counter("alerting_acknowledged_total", "Incidents that somebody has acknowledged, by a message that rings or by hand.", func(s s) uint64 { return s.Acknowledged }),
		counter("alerting_expired_total", "Messages that rang in vain, and were sent again.", func(s s) uint64 { return s.Expired }),
		counter("alerting_gaps_total", "Ranges of events that the rules could not read.", func(s s) uint64 { return s.Gaps }),
		counter("alerting_history_dropped_total", "Records of the history of alerts that were dropped because too many waited to be stored.", func(s s) uint64 { return s.Unwritten }),
		counter("alerting_read_errors_total", "Failed reads of the store.", func(s s) uint64 { return s.ReadErrors }),
		counter("alerting_state_errors_total", "Failed writes and unreadable records of alerting's state.", func(s s) uint64 { return s.StateErrors }),
	}}
}

// Slack is the collector of the buttons in Slack, which come by Socket Mode.
func Slack(stats func() slack.Stats) prometheus.Collector {
	type s = slack.Stats
	return of(stats,
		gauge("slack_socket_connected", "Whether Slack's Socket Mode is connected: without it buttons do nothing.", func(s s) int { return bool2int(s.Connected) }),
		counter("slack_socket_reconnects_total", "Connections of Socket Mode behind the first; Slack asks for a new one each few hours.", func(s s) int64 { return s.Reconnects }),
		counter("slack_presses_total", "Presses of buttons in Slack that were noted.", func(s s) int64 { return s.Presses }),
	)
}

// Pushover is the collector of the way to Pushover. Its quota is known from the first message on.
func Pushover(stats func() pushover.Stats) prometheus.Collector {
	type s = pushover.Stats
	known := func(s s) bool { return s.Limit > 0 }
	return of(stats,
		gauge("pushover_messages_limit", "Messages that Pushover takes in a month.", func(s s) int { return s.Limit }).when(known),
		gauge("pushover_messages_remaining", "Messages that Pushover takes until the month ends.", func(s s) int { return s.Remaining }).when(known),
		gauge("pushover_quota_reset_timestamp_seconds", "When Pushover's next month begins, in seconds since the Unix epoch.", func(s s) int64 { return s.Reset.Unix() }).when(known),
		counter("pushover_withheld_total", "Resolved incidents that were not told, to keep the month's last messages for emergencies.", func(s s) uint64 { return s.Withheld }),
	)
}
