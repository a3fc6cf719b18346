// Package alertmanager takes alerts as an Alertmanager does, from Prometheus, vmalert, Grafana and amtool: each change of one
// becomes an event.
//
// # Use
//
// [New] makes an input; internal/api hands it what POST /api/v2/alerts brings and lists what [Input.Alerts] returns.
// [Input.Run] ends alerts that nobody sends again.
//
// # What becomes of an alert
//
// An alert is its labels; those without a value are none. It fires from the first time it is sent until it is sent with an
// endsAt that has come, or until its endsAt comes because nobody sent it again; without endsAt that is five minutes later.
// An event is made when it begins to fire and when it is resolved, not each time it is sent:
//
//	stream     alertmanager
//	message    the alert's name and its annotation summary, message, description or title
//	level      of the label severity (critical, page, error, warning, info, …), error without one; info when it is resolved
//	service    the label service, app or job, else "alertmanager"
//	env        the label env or environment
//	host       the label host, hostname, instance or node
//	container  the label container or pod
//	status     firing or resolved
//	fingerprint, labels.*, annotations.*, starts_at, ends_at, generator_url
//
// The fingerprint is Alertmanager's own, so a rule with resolve: 'stream:alertmanager status:resolved' ends the incident.
//
// # What it guarantees
//
// [Input.Post] returns when the events are durable. What fires is kept over restarts, and then has five minutes to be sent
// again. At most 10,000 alerts fire at a time; what comes beyond is refused as a whole request.
package alertmanager

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// resolveTimeout is when an alert without endsAt is resolved, as Alertmanager's resolve_timeout.
	resolveTimeout = 5 * time.Minute
	// look is how often it is looked for alerts that have ended.
	look = 10 * time.Second
	// maxAlerts are kept at a time, maxLabels labels or annotations of one.
	maxAlerts = 10_000
	maxLabels = 100
	maxValue  = 16 << 10
	// ownService is the name of lookout's own events; what a Prometheus says about lookout is not said by it.
	ownService = "lookout"
	stream     = "alertmanager"
)

var bucket = []byte("alertmanager/alert") // fingerprint → version byte and JSON

const version = 1

// Alert is an alert, as Alertmanager's API has it.
type Alert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
	UpdatedAt    time.Time         `json:"updatedAt"`
}

// Fingerprint is that of the labels, as Alertmanager reckons it: 16 hex digits (FNV-1a over sorted names and values).
func (a *Alert) Fingerprint() string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		h.Write([]byte(name))
		h.Write([]byte{0xff})
		h.Write([]byte(a.Labels[name]))
		h.Write([]byte{0xff})
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// Options are what an input needs; Sink and DB are required.
type Options struct {
	Sink collector.Sink
	// DB keeps what fires, in a bucket of its own.
	DB    *bbolt.DB
	Clock func() time.Time // nil: the system's
	Log   *slog.Logger     // nil: none
}

// Input takes alerts. It is safe for concurrent use.
type Input struct {
	o       Options
	events  atomic.Int64
	refused atomic.Int64

	mu     sync.Mutex
	firing map[string]Alert // by fingerprint
	batch  event.Batch
}

// Stats is a snapshot for metrics and the list of inputs.
type Stats struct {
	Firing  int   // alerts that fire now
	Events  int64 // events made
	Refused int64 // alerts that were refused
}

// InvalidError says what is wrong with an alert.
type InvalidError struct{ Message string }

func (e *InvalidError) Error() string { return e.Message }

// ErrFull is the answer to what would fire beyond 10,000 alerts.
var ErrFull = errors.New("10,000 alerts fire, which is the most that are kept: send fewer, or group them")

// New reads what fired when it was stopped.
func New(o Options) (*Input, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	in := &Input{o: o, firing: map[string]Alert{}}
	grace := o.Clock().Add(resolveTimeout)
	err := o.DB.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		return b.ForEach(func(k, v []byte) error {
			var a Alert
			if len(v) == 0 || v[0] != version || json.Unmarshal(v[1:], &a) != nil {
				o.Log.Error("an alert that fired cannot be read, and is forgotten", "fingerprint", string(k))
				return nil
			}
			if a.EndsAt.Before(grace) { // whoever sends it needs time to do so again
				a.EndsAt = grace
			}
			in.firing[string(k)] = a
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("reading the alerts that fire: %w", err)
	}
	return in, nil
}

// Stats returns the figures of now.
func (in *Input) Stats() Stats {
	in.mu.Lock()
	defer in.mu.Unlock()
	return Stats{Firing: len(in.firing), Events: in.events.Load(), Refused: in.refused.Load()}
}

// Alerts returns what fires, oldest first.
func (in *Input) Alerts() []Alert {
	in.mu.Lock()
	defer in.mu.Unlock()
	return slices.SortedFunc(maps.Values(in.firing), func(a, b Alert) int {
		return cmp.Or(a.StartsAt.Compare(b.StartsAt), cmp.Compare(a.Fingerprint(), b.Fingerprint()))
	})
}

// Post takes alerts as a client sends them. With an [*InvalidError] those that are right are taken all the same, as
// Alertmanager does; after any other error the whole may be sent again.
func (in *Input) Post(ctx context.Context, alerts []Alert) error {
	now := in.o.Clock()
	var invalid error
	in.mu.Lock()
	defer in.mu.Unlock()
	changed := map[string]*Alert{} // nil for what is resolved
	fires := func(print string) (Alert, bool) {
		if a, ok := changed[print]; ok {
			if a == nil {
				return Alert{}, false
			}
			return *a, true
		}
		a, ok := in.firing[print]
		return a, ok
	}
	in.batch.Reset()
	begun := 0
	for i := range alerts {
		a := alerts[i]
		if err := a.prepare(now); err != nil {
			in.refused.Add(1)
			invalid = &InvalidError{fmt.Sprintf("alert %d: %v", i+1, err)}
			continue
		}
		print := a.Fingerprint()
		was, known := fires(print)
		switch resolved := !a.EndsAt.After(now); {
		case resolved && known:
			was.EndsAt, was.Annotations = a.EndsAt, a.Annotations
			in.tell(&was, print, "resolved", now)
			changed[print] = nil
		case resolved: // nobody knows of it; clients say it again and again
		case known:
			if was.StartsAt.Before(a.StartsAt) {
				a.StartsAt = was.StartsAt
			}
			changed[print] = &a
		default:
			if begun++; len(in.firing)+begun > maxAlerts {
				in.refused.Add(1)
				return ErrFull
			}
			in.tell(&a, print, "firing", now)
			changed[print] = &a
		}
	}
	if err := in.settle(ctx, changed); err != nil {
		return err
	}
	return invalid
}

// settle makes the batch durable, then what fires. A crash between the two has the sender tell it again: an event twice, not
// none.
func (in *Input) settle(ctx context.Context, changed map[string]*Alert) error {
	n := int64(len(in.batch.Events))
	if n > 0 {
		if err := in.o.Sink.Append(ctx, &in.batch); err != nil {
			return err
		}
		in.events.Add(n)
	}
	write := false
	for print, a := range changed {
		_, known := in.firing[print]
		write = write || a == nil || !known // that one fires on is not worth a write: after a restart it has time anyway
	}
	if write {
		if err := in.o.DB.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(bucket)
			for print, a := range changed {
				if a == nil {
					if err := b.Delete([]byte(print)); err != nil {
						return err
					}
					continue
				}
				text, err := json.Marshal(a)
				if err != nil {
					return err
				}
				if err := b.Put([]byte(print), append([]byte{version}, text...)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("keeping the alerts that fire: %w", err)
		}
	}
	for print, a := range changed {
		if a == nil {
			delete(in.firing, print)
		} else {
			in.firing[print] = *a
		}
	}
	return nil
}

// Run resolves what nobody sends again, until ctx ends.
func (in *Input) Run(ctx context.Context) error {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := in.expire(ctx); err != nil && ctx.Err() == nil {
			in.o.Log.Warn("alerts that have ended could not be resolved; it is tried again", "error", err)
		}
	}
}

func (in *Input) expire(ctx context.Context) error {
	now := in.o.Clock()
	in.mu.Lock()
	defer in.mu.Unlock()
	changed := map[string]*Alert{}
	in.batch.Reset()
	for print, a := range in.firing {
		if !a.EndsAt.After(now) {
			in.tell(&a, print, "resolved", now)
			changed[print] = nil
		}
	}
	return in.settle(ctx, changed)
}

// prepare checks an alert and fills in its times, as Alertmanager does.
func (a *Alert) prepare(now time.Time) error {
	maps.DeleteFunc(a.Labels, func(_, value string) bool { return value == "" })
	switch {
	case len(a.Labels) == 0:
		return errors.New("it has no labels")
	case len(a.Labels) > maxLabels || len(a.Annotations) > maxLabels:
		return fmt.Errorf("it has more than %d labels or annotations", maxLabels)
	}
	for _, m := range [...]map[string]string{a.Labels, a.Annotations} {
		for name, value := range m {
			switch {
			case name == "" || len(name) > 256 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
				return fmt.Errorf("%.100q is not a label's name", name)
			case !utf8.ValidString(value):
				return fmt.Errorf("label %.100q is not UTF-8", name)
			case len(value) > maxValue:
				return fmt.Errorf("label %.100q is longer than %d bytes", name, maxValue)
			}
		}
	}
	if a.StartsAt.IsZero() {
		a.StartsAt = now
		if !a.EndsAt.IsZero() && a.EndsAt.Before(now) {
			a.StartsAt = a.EndsAt
		}
	}
	if a.EndsAt.IsZero() {
		a.EndsAt = now.Add(resolveTimeout)
	}
	if a.StartsAt.After(a.EndsAt) {
		return errors.New("it starts after its end")
	}
	a.StartsAt, a.EndsAt, a.UpdatedAt = a.StartsAt.UTC(), a.EndsAt.UTC(), now.UTC()
	return nil
}

// first returns the first of the values that is there.
func first(m map[string]string, names ...string) string {
	for _, name := range names {
		if v := m[name]; v != "" {
			return v
		}
	}
	return ""
}

// tell appends the event of a change to the batch.
func (in *Input) tell(a *Alert, print, status string, now time.Time) {
	b := &in.batch
	e := b.Add()
	e.Time = now.UnixNano()
	e.Level = event.Info
	if status == "firing" {
		e.Level = levelOf(a.Labels["severity"])
	}
	service := first(a.Labels, "service", "app", "job")
	if service == "" || service == ownService {
		service = stream
	}
	host := first(a.Labels, "host", "hostname", "instance", "node")
	if name, _, err := net.SplitHostPort(host); err == nil && name != "" {
		host = name
	}
	e.Service, e.Env, e.Host = b.CopyString(service), b.CopyString(first(a.Labels, "env", "environment")), b.CopyString(host)
	e.Container, e.Stream = b.CopyString(first(a.Labels, "container", "pod")), b.CopyString(stream)
	text := first(a.Labels, "alertname")
	if what := first(a.Annotations, "summary", "message", "description", "title"); what != "" {
		text = strings.TrimPrefix(text+": "+what, ": ")
	}
	if text == "" {
		text = "alert " + print
	}
	if status == "resolved" {
		text = "resolved: " + text
	}
	e.Message = b.CopyString(text)
	add := func(name, value string) {
		if value != "" {
			b.AddField(e, event.Field{Name: b.CopyString(name), Value: b.CopyString(value)})
		}
	}
	add("status", status)
	add("fingerprint", print)
	for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
		add("labels."+name, a.Labels[name])
	}
	for _, name := range slices.Sorted(maps.Keys(a.Annotations)) {
		add("annotations."+name, a.Annotations[name])
	}
	add("starts_at", a.StartsAt.Format(time.RFC3339Nano))
	if status == "resolved" {
		add("ends_at", a.EndsAt.Format(time.RFC3339Nano))
	}
	add("generator_url", a.GeneratorURL)
	b.Clamp(e)
}

// levelOf is the level of a label severity.
func levelOf(severity string) event.Level {
	switch strings.ToLower(severity) {
	case "critical", "page", "disaster", "emergency", "fatal", "crit", "p1":
		return event.Critical
	case "warning", "warn", "minor", "p3":
		return event.Warning
	case "info", "informational", "information", "none", "ok", "low", "p4", "p5":
		return event.Info
	}
	return event.Error
}
