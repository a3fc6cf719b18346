package parse

import "github.com/lookoutlog/lookout/internal/event"

// Reading says how the message of one event was read, for people who wonder.
type Reading struct {
	// Form is json, logfmt or text; empty for a blank message, and for what lookout's own inputs say.
	Form string `json:"form,omitempty"`
	// From tells for each part of the event that the message filled (message, time, level, service, env, host, container, stream)
	// the name of the field it was. A level that was found in plain text comes from "the text".
	From map[string]string `json:"from,omitempty"`
	// Broken: the message looks like a JSON object and is none, or is too large to be taken apart.
	Broken bool `json:"broken,omitempty"`
	// RefusedTime: the message has a time of its own, which is too far from the input's.
	RefusedTime bool `json:"refused_time,omitempty"`
}

// fromText is what a level of plain text comes from.
const fromText = "the text"

// roleParts are the parts of an event that roles fill.
var roleParts = [roles]string{
	messageRole: "message", timeRole: "time", levelRole: "level", otlpRole: "level", pythonRole: "level", priorityRole: "level", mongoRole: "level",
	serviceRole: "service", envRole: "env", hostRole: "host", containerRole: "container", streamRole: "stream",
}

// note notes which field filled a part; r may be nil, when nobody wants to know.
func (r *Reading) note(part role, field []byte) {
	if r == nil {
		return
	}
	if r.From == nil {
		r.From = map[string]string{}
	}
	if r.From[roleParts[part]] == "" {
		r.From[roleParts[part]] = string(field)
	}
}

// Explain is [Stage.Process] that says for each event of b how it was read. It counts nothing in [Stage.Stats].
func (s *Stage) Explain(b *event.Batch) []Reading {
	w := s.workers.Get().(*worker)
	all := make([]Reading, len(b.Events))
	for i := range b.Events {
		w.stats, w.reading = Stats{}, &all[i]
		w.event(b, &b.Events[i])
		r := &all[i]
		switch {
		case w.stats.JSON > 0:
			r.Form = "json"
		case w.stats.Logfmt > 0:
			r.Form = "logfmt"
		case !ours(b.Events[i].Stream) && lastByte(b.Events[i].Message) != 0:
			r.Form = "text"
		}
		r.Broken, r.RefusedTime = w.stats.Broken > 0, w.stats.RefusedTimes > 0
	}
	w.reading = nil
	w.json.Reset()
	s.workers.Put(w)
	return all
}
