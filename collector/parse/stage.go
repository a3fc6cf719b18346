package parse

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// maxFields is the most leaves of one message that become fields. A message with more stays text, in which every word can
// be found all the same.
const maxFields = 1000

// Options is what a [Stage] works with. The zero value is good.
type Options struct {
	// Past and Future bound how far a JSON or logfmt message's own time may lie before and after the time the input set.
	// 0: [DefaultPast], [DefaultFuture].
	Past, Future time.Duration
}

// The defaults of [Options]. The future is short: an event's time is when it happened, and what claims to come from the
// future has a wrong zone or clock and would be missed by who looks at the last minutes.
const (
	DefaultPast   = 24 * time.Hour
	DefaultFuture = 5 * time.Minute
)

// Stage reads what is in the messages of events. It is safe for use by several goroutines with a batch each.
type Stage struct {
	past, future int64
	workers      sync.Pool // of *worker

	events, json, logfmt, broken, levels, times, refused atomic.Int64
}

var _ collector.Stage = (*Stage)(nil)

// Stats counts since the start.
type Stats struct {
	Events int64 // seen
	JSON   int64 // messages that were JSON objects
	Logfmt int64 // messages that were logfmt
	Broken int64 // messages that began and ended like a JSON object, and were none or too large to flatten: they stay text
	Levels int64 // levels taken from a message
	Times  int64 // times taken from a message
	// RefusedTimes counts times that were too far from the input's: they stay fields.
	RefusedTimes int64
}

// New returns a stage.
func New(o Options) *Stage {
	if o.Past <= 0 {
		o.Past = DefaultPast
	}
	if o.Future <= 0 {
		o.Future = DefaultFuture
	}
	s := &Stage{past: int64(o.Past), future: int64(o.Future)}
	s.workers.New = func() any {
		w := &worker{stage: s}
		w.json.MaxFields = maxFields
		return w
	}
	return s
}

// Stats returns the counters.
func (s *Stage) Stats() Stats {
	return Stats{
		Events: s.events.Load(), JSON: s.json.Load(), Logfmt: s.logfmt.Load(), Broken: s.broken.Load(),
		Levels: s.levels.Load(), Times: s.times.Load(), RefusedTimes: s.refused.Load(),
	}
}

// Process reads the messages of b's events, in place. The number and the order of the events stay. What it adds lives as
// long as the batch's contents.
func (s *Stage) Process(b *event.Batch) {
	w := s.workers.Get().(*worker)
	w.stats = Stats{}
	for i := range b.Events {
		w.event(b, &b.Events[i])
	}
	w.json.Reset()
	s.events.Add(int64(len(b.Events)))
	for _, c := range [...]struct {
		total *atomic.Int64
		n     int64
	}{{&s.json, w.stats.JSON}, {&s.logfmt, w.stats.Logfmt}, {&s.broken, w.stats.Broken}, {&s.levels, w.stats.Levels},
		{&s.times, w.stats.Times}, {&s.refused, w.stats.RefusedTimes}} {
		if c.n != 0 {
			c.total.Add(c.n)
		}
	}
	s.workers.Put(w)
}

// worker is the scratch of one Process.
type worker struct {
	stage *Stage
	json  flatjson.Decoder
	pairs []event.Field
	text  []byte // unquoted values of logfmt
	stats Stats
	// reading is where it is noted what fills an event's parts; nil when nobody wants to know.
	reading *Reading
}

// ours tells the streams whose events lookout's own inputs make: sentences of which the fields say the same, not lines.
func ours(stream []byte) bool {
	switch string(stream) {
	case "docker", "stats", "probe":
		return true
	}
	return false
}

func (w *worker) event(b *event.Batch, e *event.Event) {
	if ours(e.Stream) {
		return
	}
	override := e.Level == event.None || std(e.Stream)
	m := e.Message
	i := 0
	for i < len(m) && classes[m[i]] == cSpace {
		i++
	}
	if i == len(m) {
		return
	}
	switch c := m[i]; {
	case c == '{' && lastByte(m) == '}':
		fields, rest, err := w.json.Object(m[i:])
		if err == nil && len(bytes.TrimSpace(rest)) == 0 && len(fields) > 0 && w.apply(b, e, fields, override) {
			w.stats.JSON++
			return
		}
		if err != nil {
			w.stats.Broken++
		}
	case logfmtHead(m[i:]):
		fields, text, ok := logfmt(w.pairs[:0], w.text[:0], m[i:])
		w.pairs, w.text = fields[:0], text[:0]
		if ok && w.apply(b, e, fields, override) {
			w.stats.Logfmt++
			return
		}
	}
	w.level(e, override)
}

// std tells whether a stream is one whose level comes from the driver: Docker's says 3 or 6 by the stream alone, so that
// a level in the text knows better.
func std(stream []byte) bool { return string(stream) == "stdout" || string(stream) == "stderr" }

// level takes the level from the text of a message.
func (w *worker) level(e *event.Event, override bool) {
	if !override {
		return
	}
	if l := levelOf(e.Message); l != event.None {
		e.Level = l
		w.stats.Levels++
		w.reading.note(levelRole, textName)
	}
}

var textName = []byte(fromText)

// apply gives e the fields of its message: what has a role fills e's own parts, all else becomes fields. It reports false,
// and leaves e alone, when e would grow beyond an event's size.
func (w *worker) apply(b *event.Batch, e *event.Event, fields []event.Field, override bool) bool {
	var best [roles]int8 // 1 + the index into picks
	var picks [roles]pick
	n, size, pino := int8(0), 0, false
	for i := range fields {
		f := &fields[i]
		size += len(f.Name) + len(f.Value) + 8
		m := meaningOf(f.Name)
		if m.role == noRole {
			continue
		}
		if m.role == markRole || m.rank == 2 && m.role == hostRole {
			pino = true
		}
		p := pick{meaning: m, field: i}
		if !p.usable(f) {
			continue
		}
		if k := best[m.role]; k == 0 {
			picks[n] = p
			n++
			best[m.role] = n
		} else if m.rank < picks[k-1].rank {
			picks[k-1] = p
		}
	}
	if size > event.MaxMessage && event.EncodedSize(e)+size > event.MaxEncoded {
		w.stats.Broken++
		return false
	}
	get := func(r role) *pick {
		if k := best[r]; k > 0 {
			return &picks[k-1]
		}
		return nil
	}

	consume := func(p *pick) {
		w.reading.note(p.role, fields[p.field].Name)
		if !p.borrowed {
			fields[p.field].Kind = consumed
		}
	}
	for r := serviceRole; r <= streamRole; r++ {
		p := get(r)
		if p == nil {
			continue
		}
		part := [...]*[]byte{&e.Service, &e.Env, &e.Host, &e.Container, &e.Stream}[r-serviceRole]
		v := fields[p.field].Value
		if len(*part) == 0 && (r != streamRole || std(v)) {
			*part = w.keep(b, e.Message, v)
			consume(p)
		} else if bytes.Equal(*part, v) {
			consume(p)
		}
	}
	if p := get(timeRole); p != nil {
		if t := w.time(e.Time, p); t != 0 {
			e.Time = t
			consume(p)
		}
	}
	var levelText []byte
	found := event.None
	for r := levelRole; r <= mongoRole; r++ {
		p := get(r)
		if p == nil {
			continue
		}
		f := &fields[p.field]
		var l event.Level
		var text []byte
		ok := false
		if r == mongoRole {
			if t := get(timeRole); t != nil && string(fields[t.field].Name) == "t.$date" {
				l, ok = mongoLevel(f.Value)
			}
		} else {
			l, text, ok = levelValue(r, f, pino)
		}
		if !ok {
			continue
		}
		found = l
		if override || e.Level == l {
			e.Level, levelText = l, text
			consume(p)
			w.stats.Levels++
		}
		break
	}
	text, message := e.Message, get(messageRole)
	if message != nil {
		e.Message = w.keep(b, text, fields[message.field].Value)
		consume(message)
	}
	for _, f := range fields {
		if f.Kind == consumed {
			continue
		}
		if builtin(f.Name) {
			w.text = append(append(w.text[:0], f.Name...), '_')
			f.Name = b.Copy(w.text)
		} else {
			f.Name = w.keep(b, text, f.Name)
		}
		f.Value = w.keep(b, text, f.Value)
		b.AddField(e, f)
	}
	if levelText != nil {
		b.AddField(e, event.Field{Name: levelTextName, Value: w.keep(b, text, levelText)})
	}
	if found == event.None && message != nil {
		w.level(e, override)
	}
	return true
}

// consumed marks a field that has become one of the event's own parts.
const consumed event.Kind = 0xff

var levelTextName = []byte("level_text")

// keep returns p, a copy of it unless it is part of text and so lives as long as the batch anyway.
func (w *worker) keep(b *event.Batch, text, p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	if off := uintptr(unsafe.Pointer(unsafe.SliceData(p))) - uintptr(unsafe.Pointer(unsafe.SliceData(text))); off < uintptr(len(text)) {
		return p
	}
	return b.Copy(p)
}

// time returns the time to use for an event: the message's own, own, unless it is too far from the input's, at; 0 for the
// input's.
func (w *worker) time(at int64, p *pick) int64 {
	own := p.time
	if at != 0 && (own < at-w.stage.past || own > at+w.stage.future) {
		w.stats.RefusedTimes++
		return 0
	}
	w.stats.Times++
	if !p.seconds || at < own || at >= own+late {
		return own
	}
	// Whole seconds are too coarse to stand beside the input's times: the fraction is the input's, as far as it is of
	// the same second. Times that rise on both sides still rise.
	return min(at, own+int64(time.Second)-1)
}

// late is how much later than a message's own time, written in whole seconds, the input's may be and still be of use for
// the fraction.
const late = int64(10 * time.Second)

// pick is a field with a role.
type pick struct {
	meaning
	field   int
	time    int64 // of timeRole
	seconds bool  // time is in whole seconds
}

// usable tells whether a field's value is one that its role can take.
func (p *pick) usable(f *event.Field) bool {
	switch p.role {
	case messageRole:
		return f.Kind <= event.Bool && len(bytes.TrimSpace(f.Value)) > 0
	case timeRole:
		var ok bool
		if f.Kind <= event.Number {
			p.time, p.seconds, ok = parseTime(f.Value)
		}
		return ok
	case serviceRole, envRole, hostRole, containerRole, streamRole:
		return f.Kind == event.String && len(f.Value) > 0 && len(f.Value) <= event.MaxName
	case levelRole:
		if n, number := atoi(f.Value); number {
			p.rank++ // a name beside it says more: Monolog's level_name
			return f.Kind <= event.Number && n <= 60
		}
		_, _, ok := namedLevel(f.Value)
		return ok && f.Kind == event.String
	case otlpRole, pythonRole, priorityRole, mongoRole:
		return f.Kind <= event.Number
	}
	return false
}

// parseTime returns the time that a field's value is, in ns since 1970, and whether nothing finer than its second was
// written. A date without a zone is none: it may be hours off. What is shorter than the seconds of 1980 or longer than any
// logger's time is something else that happens to read as one, such as a counter of 1e9.
func parseTime(text []byte) (ns int64, seconds, ok bool) {
	if len(text) < 9 || len(text) > 64 {
		return 0, false, false
	}
	ns, form, ok := timestamp.Parse(text)
	if !ok || form&timestamp.NoZone != 0 {
		return 0, false, false
	}
	return ns, form&timestamp.Seconds != 0, true
}
