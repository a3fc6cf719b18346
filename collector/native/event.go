package native

import (
	"bytes"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// A slot is what a name means: the aliases of one built-in stand together, the one that wins first.
type slot uint8

const (
	extra slot = iota

	slotTime
	slotTimestamp
	slotTs
	slotAtTimestamp

	slotLevel
	slotSeverity
	slotLvl

	slotMessage
	slotMsg
	slotLog

	slotService
	slotEnv
	slotEnvironment
	slotHost
	slotHostname
	slotContainer
	slotStream
	slotID

	slots // the number of those above

	used      // is the built-in: no extra field
	timeText  // was to be the time
	levelText // was to be the level, or says more than it
)

func slotOf(name []byte) slot {
	switch string(name) {
	case "time":
		return slotTime
	case "timestamp":
		return slotTimestamp
	case "ts":
		return slotTs
	case "@timestamp":
		return slotAtTimestamp
	case "level":
		return slotLevel
	case "severity":
		return slotSeverity
	case "lvl":
		return slotLvl
	case "message":
		return slotMessage
	case "msg":
		return slotMsg
	case "log":
		return slotLog
	case "service":
		return slotService
	case "env":
		return slotEnv
	case "environment":
		return slotEnvironment
	case "host":
		return slotHost
	case "hostname":
		return slotHostname
	case "container":
		return slotContainer
	case "stream":
		return slotStream
	case "id":
		return slotID
	}
	return extra
}

// own tells whether the slot is a built-in's own name, or one that means nothing.
func (s slot) own() bool {
	switch s {
	case extra, slotTime, slotLevel, slotMessage, slotService, slotEnv, slotHost, slotContainer, slotStream:
		return true
	}
	return false
}

// renamed are the names of fields that cannot keep theirs.
var renamed = [...][]byte{
	slotTime: []byte("time_"), slotLevel: []byte("level_"), slotMessage: []byte("message_"), slotService: []byte("service_"),
	slotEnv: []byte("env_"), slotHost: []byte("host_"), slotContainer: []byte("container_"), slotStream: []byte("stream_"),
	slotID: []byte("id_"), timeText: []byte("time_text"), levelText: []byte("level_text"),
}

// fill makes e of the leaves of one object. What says nothing of the time leaves e.Time 0.
func (w *worker) fill(e *event.Event, fields []event.Field) {
	var at [slots]int32 // the first field of the slot that has a value, plus one
	w.slots = w.slots[:0]
	for i := range fields {
		f := &fields[i]
		s := slotOf(f.Name)
		if w.client.exact && !s.own() {
			s = extra
		}
		w.slots = append(w.slots, s)
		if s != extra && at[s] == 0 && f.Kind != event.JSON && !empty(f) {
			at[s] = int32(i + 1)
		}
	}
	take := func(first, last slot) []byte {
		for s := first; s <= last; s++ {
			if i := at[s] - 1; i >= 0 {
				w.slots[i] = used
				return fields[i].Value
			}
		}
		return nil
	}
	e.Message = take(slotMessage, slotLog)
	e.Service = take(slotService, slotService)
	e.Env = take(slotEnv, slotEnvironment)
	e.Host = take(slotHost, slotHostname)
	e.Container = take(slotContainer, slotContainer)
	e.Stream = take(slotStream, slotStream)
	for s := slotTime; s <= slotAtTimestamp && e.Time == 0; s++ {
		if i := at[s] - 1; i >= 0 {
			var ok bool
			if e.Time, ok = parseTime(fields[i].Value); ok {
				w.slots[i] = used
			} else {
				w.slots[i] = timeText
			}
		}
	}
	for s := slotLevel; s <= slotLvl && e.Level == event.None; s++ {
		if i := at[s] - 1; i >= 0 {
			var all bool
			if e.Level, all = parseLevel(fields[i].Value); all {
				w.slots[i] = used
			} else {
				w.slots[i] = levelText
			}
		}
	}
	for i, s := range w.slots {
		f := fields[i]
		if s != extra {
			if s == used {
				continue
			}
			if renamed[s] != nil {
				if s != slotID && empty(&f) {
					continue // a built-in without a value is one that is not there
				}
				f.Name = renamed[s]
			}
		}
		w.batch.AddField(e, f)
	}
}

// empty tells whether f says nothing.
func empty(f *event.Field) bool { return len(f.Value) == 0 || f.Kind == event.Null }

// parseLevel returns the level that text names, [event.None] when it names none. all is false when the text should be
// kept: it names no level, or says more than the level does.
func parseLevel(text []byte) (l event.Level, all bool) {
	text = bytes.TrimSpace(text)
	if l, ok := event.ParseLevel(text); ok {
		// What is the level's own name or short for it begins with the same letter, and the few that do not are
		// words with a meaning of their own (panic, fatal, severe, trace, verbose, finest…).
		return l, len(text) == 1 || text[0]|0x20 == l.String()[0]
	}
	// pino and bunyan: tens from 10 to 60. 10 and 60 (trace, fatal) have no level of their own.
	if len(text) == 2 && text[0] >= '1' && text[0] <= '6' && text[1] == '0' {
		return event.FromPino(int(text[0]-'0') * 10), text[0] != '1' && text[0] != '6'
	}
	return event.None, false
}

// parseTime returns the time that text is, in ns since 1970. A date's seconds must be there, and a number must be one of
// JSON, but for leading zeros; a date without a zone is UTC.
func parseTime(text []byte) (ns int64, ok bool) {
	ns, form, ok := timestamp.Parse(text)
	if form&(timestamp.NoSeconds|timestamp.NamedZone) != 0 || form&timestamp.Unix != 0 && form&timestamp.Variant != 0 {
		return 0, false
	}
	return ns, ok
}
