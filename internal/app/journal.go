package app

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

// streamAlert is the stream of what alerting has to say of its incidents and messages.
const streamAlert = "alert"

// journal stores the history of alerts as events of lookout's own service.
func (a *App) journal(ctx context.Context, list []alerting.Record) error {
	var b event.Batch
	for i := range list {
		recordEvent(&b, &list[i])
	}
	return a.sink.Append(ctx, &b)
}

// recordEvent is one record as an event. Its level is mild: that somebody is told is no error of lookout's.
func recordEvent(b *event.Batch, r *alerting.Record) {
	e := b.Add()
	e.Service, e.Stream, e.Level, e.Time = b.CopyString(alerting.Service), b.CopyString(streamAlert), event.Info, r.At.UnixNano()
	what := "a message"
	if r.Incident != 0 {
		what = fmt.Sprintf("incident %d", r.Incident)
	}
	if r.Rule != "" {
		what += " of rule " + r.Rule
	}
	if r.Service != "" {
		what += ", service " + r.Service
	}
	switch {
	case r.Outcome != "":
		what += fmt.Sprintf(": %s, %s", r.Outcome, r.Channel)
	default:
		what += ": " + string(r.State)
		if r.By != "" {
			what += " by " + r.By
		}
	}
	e.Message = b.CopyString(what)
	add := func(name, value string, kind event.Kind) {
		if value != "" && value != "0" {
			b.AddField(e, event.Field{Name: b.CopyString(name), Value: b.CopyString(value), Kind: kind})
		}
	}
	add("record", strconv.FormatUint(r.ID, 10), event.Number)
	add("incident", strconv.FormatUint(r.Incident, 10), event.Number)
	add("rule", r.Rule, event.String)
	add("of", r.Service, event.String)
	add("severity", string(r.Severity), event.String)
	add("state", string(r.State), event.String)
	add("count", strconv.FormatInt(r.Count, 10), event.Number)
	add("by", r.By, event.String)
	add("channel", r.Channel, event.String)
	add("outcome", r.Outcome, event.String)
	b.Clamp(e)
}
