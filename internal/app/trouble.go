package app

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/collector/gelf"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// streamTrouble is the stream of what is wrong with lookout itself.
	streamTrouble = "trouble"

	// calmAfter is how long something must not have happened to be over.
	calmAfter = 10 * time.Minute
	// reportEvery and writeEvery are how often what goes on is reported to alerting, and stored.
	reportEvery = time.Minute
	writeEvery  = time.Hour
	// tellWithin bounds each of them.
	tellWithin = 20 * time.Second
	// patience is for what senders are told, so that they can try again: it is no trouble while it is short.
	patience = time.Minute
)

// lookEvery is how often the counters are looked at. It is a variable for the tests, which look by themselves.
var lookEvery = 15 * time.Second

// trouble is something that may be wrong, as it stands now.
type trouble struct {
	kind     string
	severity alerting.Severity
	total    int64 // how often it has happened
	on       bool  // it is so now, however often it happened
	// kept is true when total was counted over restarts: what was there at the start is old.
	kept     bool
	patience time.Duration
	text     string // what is wrong; behind a line's end what to do
}

// episode is what is known of a trouble. first is zero while all is well.
type episode struct {
	trouble
	first, last       time.Time
	open              bool // it is told
	reported, written time.Time
	count, pending    int64 // in this episode, and of them those that are not reported yet
}

// selfWatch tells what is wrong with lookout itself: once when it begins, by an event each hour while it goes on, and when it is over.
type selfWatch struct {
	look func() []trouble
	// report tells people, nil for nobody; write stores an event.
	report   func(context.Context, alerting.Trouble) error
	write    func(context.Context, *event.Batch) error
	log      *slog.Logger
	episodes map[string]*episode
}

// watchItself begins to.
func (a *App) watchItself() {
	w := &selfWatch{look: a.troubles, write: a.sink.Append, log: a.log, episodes: map[string]*episode{}}
	if a.engine != nil {
		w.report = a.engine.Report
	}
	a.run("watching itself", func(ctx context.Context) error {
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-ticker.C:
				w.step(ctx, now)
			}
		}
	})
}

// step looks once.
func (w *selfWatch) step(ctx context.Context, now time.Time) {
	seen := map[string]bool{}
	for _, t := range w.look() {
		seen[t.kind] = true
		e := w.episodes[t.kind]
		if e == nil {
			e = &episode{}
			if t.kept {
				e.total = t.total
			}
			w.episodes[t.kind] = e
		}
		n := t.total - e.total
		if n < 0 { // what counted it began anew
			n = t.total
		}
		e.trouble = t
		w.judge(ctx, e, n, now)
	}
	for _, kind := range slices.Sorted(maps.Keys(w.episodes)) {
		if e := w.episodes[kind]; !seen[kind] { // of a rule that is gone
			e.on = false
			if w.judge(ctx, e, 0, now); e.first.IsZero() {
				delete(w.episodes, kind)
			}
		}
	}
}

// judge notes that a trouble has happened so often again, and tells what is news about it.
func (w *selfWatch) judge(ctx context.Context, e *episode, n int64, now time.Time) {
	if e.on || n > 0 {
		if e.first.IsZero() {
			e.first = now
		}
		e.last, e.count, e.pending = now, e.count+n, e.pending+n
		if !e.open && now.Sub(e.first) >= e.patience {
			e.open = true
			w.log.Warn("something is wrong with lookout itself: "+strings.ReplaceAll(e.text, "\n", " "), "trouble", e.kind, "times", e.count)
		}
	}
	switch over := !e.first.IsZero() && now.Sub(e.last) >= calmAfter; {
	case over && (!e.open || w.end(ctx, e)):
		*e = episode{trouble: e.trouble}
	case over, !e.open:
	default:
		w.tell(ctx, e, now)
	}
}

// tell reports and stores what goes on. What cannot be stored now is stored later: people are told all the same.
func (w *selfWatch) tell(ctx context.Context, e *episode, now time.Time) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	if w.report != nil && now.Sub(e.reported) >= reportEvery {
		err := w.report(ctx, alerting.Trouble{Kind: e.kind, Severity: e.severity, Text: e.text, N: e.pending})
		if err != nil {
			w.log.Error("trouble cannot be reported; it is tried again", "trouble", e.kind, "error", err)
			return
		}
		e.reported, e.pending = now, 0
	}
	if now.Sub(e.written) >= writeEvery {
		level := event.Warning
		if e.severity == alerting.Error {
			level = event.Error
		}
		if w.store(ctx, e, level, "firing", e.text) == nil {
			e.written = now
		}
	}
}

// end tells that it is over, and whether that is told.
func (w *selfWatch) end(ctx context.Context, e *episode) bool {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	text := "it has not happened since " + e.last.UTC().Format("15:04:05Z")
	if w.report != nil {
		if err := w.report(ctx, alerting.Trouble{Kind: e.kind, Severity: e.severity, Text: text, N: e.pending, Over: true}); err != nil {
			w.log.Error("the end of trouble cannot be reported; it is tried again", "trouble", e.kind, "error", err)
			return false
		}
		e.pending = 0
	}
	what, _, _ := strings.Cut(e.text, "\n")
	_ = w.store(ctx, e, event.Info, "over", "over: "+what+"\n"+text) // people were told
	w.log.Info("trouble is over", "trouble", e.kind, "times", e.count)
	return true
}

func (w *selfWatch) store(ctx context.Context, e *episode, level event.Level, status, text string) error {
	var b event.Batch
	ev := b.Add()
	ev.Service, ev.Stream, ev.Level, ev.Time = b.CopyString(alerting.Service), b.CopyString(streamTrouble), level, time.Now().UnixNano()
	ev.Message = b.CopyString(text)
	for _, f := range [...]struct{ name, value string }{{"trouble", e.kind}, {"fingerprint", e.kind}, {"status", status}} {
		b.AddField(ev, event.Field{Name: b.CopyString(f.name), Value: b.CopyString(f.value), Kind: event.String})
	}
	b.AddField(ev, event.Field{Name: b.CopyString("count"), Value: b.CopyString(strconv.FormatInt(e.count, 10)), Kind: event.Number})
	b.Clamp(ev)
	return w.write(ctx, &b)
}

// troubles are all that may be wrong, those of parts that are on.
func (a *App) troubles() []trouble {
	const (
		lost   = alerting.Error // events or alerts that are gone
		strict = alerting.Warning
		seeLog = "The server's log says more."
	)
	var list []trouble
	add := func(t trouble) { list = append(list, t) }
	add(trouble{kind: "configuration", severity: strict, on: a.reloads.standing.Load(), total: a.reloads.refused.Load(),
		text: "The configuration is wrong, and was not read again: the one before stays in force.\nlookout check says what is wrong with it."})
	if a.native != nil {
		s := a.native.Stats()
		add(trouble{kind: "ndjson: bad lines", severity: strict, total: s.RejectedJSON + s.RejectedLong + s.RejectedEmpty,
			text: "Lines of POST /api/v1/events are refused: they are no JSON objects, too long or empty.\nThe answers say which lines; lookout inputs counts them by cause."})
		add(trouble{kind: "ndjson: bad requests", severity: strict, total: s.TooLarge + s.Invalid,
			text: "Requests to POST /api/v1/events are refused: their bodies are too large, or cannot be read.\nThe answers say why; limits.body is the longest body."})
		add(trouble{kind: "ndjson: failed", severity: lost, total: s.Failed, text: "Requests to POST /api/v1/events fail: events cannot be stored.\n" + seeLog})
		add(trouble{kind: "ndjson: 429", severity: strict, total: s.Pressure, patience: patience,
			text: "Senders of POST /api/v1/events are told to wait (429): more comes than can be stored.\nIs the disk slow? Are there too many senders? What they do not send again is lost."})
	}
	if a.gelf != nil {
		s := a.gelf.Stats()
		add(trouble{kind: "gelf: dropped", severity: lost, total: s.Kernel + s.Overflow + s.Pressure + s.Evicted + s.Batcher.Failed,
			text: "GELF messages are lost: more came than could be taken or stored, " + drops(s.Drops(), "kernel", "overflow", "pressure", "evicted", "failed") + " since the start.\nRaise net.core.rmem_max for the kernel's buffer; send by Docker's API or HTTP what must not be lost."})
		add(trouble{kind: "gelf: bad input", severity: strict, total: s.Refused + s.TooLarge + s.BadChunk + s.Expired + s.Bomb + s.BadCompression + s.BadJSON + s.NotAnObject,
			text: "GELF datagrams are refused: " + drops(s.Drops(), "refused", "too_large", "bad_chunk", "expired", "bomb", "bad_compression", "bad_json", "not_an_object") + " since the start.\nrefused: the sender is not in allow; expired: parts of a message did not arrive; the others are no GELF."})
	}
	if a.docker != nil {
		s := a.docker.Stats()
		add(trouble{kind: "docker: gaps", severity: lost, total: s.Gaps + s.Oversize, text: "Lines of containers are lost, or may be.\nstream:docker action:gap has the containers and the times."})
	}
	if a.received != nil {
		add(trouble{kind: "alertmanager: refused", severity: lost, total: a.received.Stats().Refused, text: "Alerts at /api/v2/alerts are refused: they cannot be read, or there are too many.\nThe answers say why."})
	}
	add(trouble{kind: "probes: dropped", severity: strict, total: a.prober.Stats().Dropped, text: "Results of probes are not stored: what is behind the prober is too slow.\n" + seeLog})
	if a.queue != nil {
		s := a.queue.Stats()
		add(trouble{kind: "forward: lost", severity: lost, total: s.Rejected + s.Lost, text: "Events of this agent are lost: the server refuses them, or its queue cannot be read.\n" + seeLog})
		add(trouble{kind: "forward: full", severity: lost, total: s.Refused, patience: patience,
			text: "The agent's queue is full: inputs wait, and those that cannot lose events.\nIs the server away? forward.max_bytes is what waits at most."})
	}
	if a.api != nil {
		add(trouble{kind: "searches: 429", severity: strict, total: a.api.Refused(), patience: patience,
			text: "Searches are refused (429): too many run and wait.\nlimits.searches and limits.queue bound them."})
	}
	if a.store != nil {
		list = append(list, a.storeTroubles(lost, strict, seeLog)...)
	}
	if a.engine != nil {
		list = append(list, a.alertingTroubles(lost, strict, seeLog)...)
	}
	return list
}

func (a *App) storeTroubles(lost, strict alerting.Severity, seeLog string) []trouble {
	s := a.store.Stats()
	return []trouble{
		{kind: "disk full", severity: lost, on: s.Full, total: s.RefusedFull,
			text: "The disk is full: no events are taken, senders are told to try again (503).\nFree space, or shorten the retention; lookout goes on by itself."},
		{kind: "memory full", severity: strict, total: s.Refused, patience: patience,
			text: "Events are turned away because memory is full: they come faster than the disk takes them.\nSenders are told to try again."},
		{kind: "seal errors", severity: lost, total: s.SealErrors, text: "Segments cannot be written.\n" + seeLog + " What was acknowledged is in the log until they can."},
		{kind: "damaged", severity: lost, on: s.Damaged > 0, total: int64(s.Damaged), text: "Parts of the store cannot be read: their events are missing in answers.\nlookout verify says which, what it costs and the mend."},
		{kind: "services", severity: strict, total: s.Overflowed, text: "There are too many services: events of more of them have the service other.\nIs something that changes from event to event sent as the service?"},
	}
}

func (a *App) alertingTroubles(lost, strict alerting.Severity, seeLog string) []trouble {
	s, err := a.engine.Stats()
	if err != nil {
		return nil // the state is closed, or its own errors are counted
	}
	list := []trouble{
		{kind: "templates", severity: strict, total: int64(s.TemplateErrors - s.OwnTemplateErrors),
			text: "A template of messages fails: they have their usual form.\n" + seeLog + " lookout check tries templates."},
		{kind: "dead letters", severity: lost, total: int64(s.Dead - s.OwnDead),
			text: "Alerts were refused for good and became dead letters: nobody has seen them.\n" + seeLog},
		{kind: "alerting's state", severity: lost, total: int64(s.StateErrors), text: "Alerting cannot write or read its state (state.db): alerts may be late, or repeated.\nIs the disk full? " + seeLog + " lookout verify checks the file."},
		{kind: "alerting's reads", severity: lost, total: int64(s.ReadErrors), text: "Alerting cannot read the store: the rules wait.\n" + seeLog},
		{kind: "history of alerts", severity: strict, total: int64(s.Unwritten), text: "Records of the history of alerts were dropped: too many waited to be stored.\nThe alerts themselves are not concerned."},
	}
	for _, rule := range slices.Sorted(maps.Keys(s.LeftOut)) {
		list = append(list, trouble{kind: "rule: " + rule, severity: lost, total: s.LeftOut[rule], kept: true,
			text: fmt.Sprintf("Rule %s leaves events out: it knows too many series or kinds of lines.\nTake a field with fewer values for by, or ask for less in its query.", rule)})
	}
	return list
}

// drops writes those of the causes that there were.
func drops(all []gelf.Drop, causes ...string) string {
	var parts []string
	for _, d := range all {
		if d.Count > 0 && slices.Contains(causes, d.Cause) {
			parts = append(parts, fmt.Sprintf("%s %d", d.Cause, d.Count))
		}
	}
	return strings.Join(parts, ", ")
}
