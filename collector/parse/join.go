package parse

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// JoinOptions bounds a [Joiner]. Zero values take the defaults named there.
type JoinOptions struct {
	// MaxHold is how long an event is held for a continuation after its last line (300 ms).
	MaxHold time.Duration
	// MaxBytes bounds a joined message (256 KiB, at most [event.MaxMessage]); MaxLines its lines (1,000). A trace that
	// reaches one of them goes on in a new event.
	MaxBytes int
	MaxLines int
	// MaxSources bounds the events held, one a source (10,000); MaxTotal their bytes (16 MiB). The one that waits longest
	// is let go first.
	MaxSources int
	MaxTotal   int
}

// JoinStats counts since the start, but for the last two.
type JoinStats struct {
	Lines     int64 // lines that became part of the event before them
	Events    int64 // events that were made of several lines
	FullLines int64 // times a trace went on in a new event because of MaxLines
	FullBytes int64 // and because of MaxBytes
	Evicted   int64 // events let go early because of MaxSources or MaxTotal
	Held      int   // events held now
	HeldBytes int   // and their bytes
}

// Joiner makes one event of the lines of a stack trace, and of the log line before it that it belongs to.
//
// Lines are joined that have the same service, env, host, container and stream and no fields that differ; sources may be
// interleaved. The event keeps the first line's time, fields and place in its source's order; its message is the lines as
// they came with "\n" between; its level is the worst of the lines' and of the trace's (see [Stage]).
//
// A log line is the head of a trace when its text shows level warning or worse, or no level: a trace behind an info line
// is an event of its own, and so is one behind a JSON or logfmt message.
//
// Join and Flush hold events back over batches; JoinWithin holds nothing. A Joiner is safe for use by several goroutines.
type Joiner struct {
	o      JoinOptions
	mu     sync.Mutex
	held   *tracker  // of Join and Flush
	within sync.Pool // of *tracker
	stats  JoinStats
}

var _ collector.Joiner = (*Joiner)(nil)

// NewJoiner returns a joiner that holds nothing yet.
func NewJoiner(o JoinOptions) *Joiner {
	if o.MaxHold <= 0 {
		o.MaxHold = 300 * time.Millisecond
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 256 << 10
	}
	o.MaxBytes = min(o.MaxBytes, event.MaxMessage)
	if o.MaxLines <= 0 {
		o.MaxLines = 1000
	}
	if o.MaxSources <= 0 {
		o.MaxSources = 10_000
	}
	if o.MaxTotal <= 0 {
		o.MaxTotal = 16 << 20
	}
	j := &Joiner{o: o}
	j.held = newTracker(&j.o, o.MaxSources)
	j.within.New = func() any { return newTracker(&j.o, min(o.MaxSources, withinSources)) }
	return j
}

// withinSources is how many sources a tracker of JoinWithin remembers from one call to the next, only to save making them.
const withinSources = 1000

// Stats returns the counters.
func (j *Joiner) Stats() JoinStats {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.stats
	s.Held, s.HeldBytes = j.held.count, j.held.bytes
	return s
}

// Held returns how many lines of a stream the events have that Join holds: of a joiner that gets the lines of one source a
// stream, these are the most recent ones.
func (j *Joiner) Held(stream []byte) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for s := j.held.oldest; s != nil; s = s.newer {
		if bytes.Equal(s.held.Stream, stream) {
			n += s.lines
		}
	}
	return n
}

// Join joins the events of b with each other and with those held, as of now in ns since the Unix epoch. What may still get
// a continuation is taken out of b and held, cloned; what was held and is complete comes into b, before b's own events.
// A batch whose producer counts its events is left as it is.
func (j *Joiner) Join(b *event.Batch, now int64) {
	if b.Producer != "" || len(b.Events) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.held.join(b, now, true)
	j.count(j.held)
}

// JoinWithin joins the events of b with each other and holds nothing back, for inputs that acknowledge a batch as a whole.
// A batch whose producer counts its events is left as it is.
func (j *Joiner) JoinWithin(b *event.Batch) {
	if b.Producer != "" || len(b.Events) < 2 {
		return
	}
	t := j.within.Get().(*tracker)
	t.join(b, 0, false)
	if t.stats != (JoinStats{}) {
		j.mu.Lock()
		j.count(t)
		j.mu.Unlock()
	}
	j.within.Put(t)
}

func (j *Joiner) count(t *tracker) {
	j.stats.Lines += t.stats.Lines
	j.stats.Events += t.stats.Events
	j.stats.FullLines += t.stats.FullLines
	j.stats.FullBytes += t.stats.FullBytes
	j.stats.Evicted += t.stats.Evicted
	t.stats = JoinStats{}
}

// Flush appends to b the held events that have waited long enough as of now, all of them when all is set. next is when the
// next one will have, 0 when nothing is held.
func (j *Joiner) Flush(b *event.Batch, now int64, all bool) (next int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.held
	for t.oldest != nil && (all || t.expired(t.oldest, now)) {
		*b.Add() = t.release(t.oldest)
	}
	j.count(t)
	if t.oldest == nil {
		return 0
	}
	return t.oldest.last + int64(j.o.MaxHold)
}

// mode is what the open event of a source may go on with.
type mode uint8

const (
	plainMode       mode = iota // a line: a trace may follow
	exceptionMode               // an exception's line
	traceMode                   // frames, of Java, Node, .NET, Ruby or PHP
	pythonMode                  // inside a traceback
	pythonEndMode               // behind its exception
	pythonChainMode             // behind that, at what links two tracebacks
	goMode                      // anywhere in a Go trace
	rustMode                    // behind a Rust panic's message
	rustMessageMode             // before it
	nodePlaceMode               // behind the place of an uncaught error in Node: its source line follows
	nodeSourceMode              // behind that line: a caret, a blank line, the error
	nodeMode                    // in that error's trace
	dotnetMode                  // in an entry of .NET's console logger
)

// startMode returns what may follow a line that begins an event.
func startMode(p []byte) mode {
	if len(p) == 0 {
		return plainMode
	}
	// Node prints an error with further properties as Error: x {, and in brackets when it has no stack.
	if p[len(p)-1] == '{' && bytes.HasSuffix(p, []byte(" {")) && bytes.Contains(p, []byte("Error: ")) && !structured(p) {
		return exceptionMode
	}
	if c := classes[p[0]]; c == cDigit || c == cOpen {
		return plainMode
	}
	switch headOf(p) {
	case pythonHead:
		return pythonMode
	case goPanic, goDump:
		return goMode
	case rustMain, rustThread:
		if bytes.Contains(p, []byte(" panicked at '")) { // before Rust 1.73 the message stood in this line
			return rustMode
		}
		return rustMessageMode
	case nodePlace:
		return nodePlaceMode
	case exception:
		return exceptionMode
	}
	if isLetter(p[0]) {
		switch {
		case exceptionLine(p), hasPrefix(p, "PHP Fatal error:"), hasPrefix(p, "PHP Parse error:"):
			return exceptionMode
		case p[0] >= 'a' && p[0] <= 'z' && dotnetHead(p):
			return dotnetMode
		}
	}
	switch lineOf(p) {
	case frameLine, causeLine:
		return traceMode
	case pythonLine:
		return pythonMode
	}
	return plainMode
}

// follow tells whether the line p goes on with an event whose mode is m, and in which mode that leaves it. first is the
// event's first line, for a mode that is plain.
func follow(m mode, p, first []byte) (mode, bool) {
	switch l := lineOf(p); m {
	case plainMode:
		switch {
		case l == frameLine || l == causeLine:
			return traceMode, mayHead(first)
		case l == pythonLine:
			return pythonMode, mayHead(first)
		case l != textLine || len(p) < 4:
			return m, false
		case p[0] == 'g' && goroutineLine(p):
			return goMode, mayHead(first)
		}
		// A trace that begins like one of its own belongs to a log line only when that is about a failure.
		if h := headOf(p); h == pythonHead {
			return pythonMode, failure(first)
		} else if h == exception || exceptionLine(p) {
			return exceptionMode, failure(first)
		}
		return m, false
	case exceptionMode, traceMode, nodeMode:
		next := traceMode
		if m == nodeMode {
			next = nodeMode
		}
		switch l {
		case frameLine, causeLine, indentLine, pythonLine, closeLine:
			return next, true
		case blankLine:
			return m, m != traceMode
		}
		return m, m == nodeMode && hasPrefix(p, "Node.js v")
	case pythonMode:
		switch l {
		case indentLine, frameLine, pythonLine:
			return m, true
		case textLine:
			return pythonEndMode, pythonError(p)
		}
	case pythonEndMode, pythonChainMode:
		switch {
		case l == blankLine:
			return pythonChainMode, true
		case pythonChain(p):
			return pythonChainMode, true
		case m == pythonChainMode && headOf(p) == pythonHead:
			return pythonMode, true
		}
		return m, m == pythonEndMode && (l == indentLine || l == frameLine || l == pythonLine)
	case goMode:
		switch l {
		case blankLine, indentLine, frameLine, pythonLine:
			return m, true
		}
		return m, goLine(p)
	case rustMessageMode:
		return rustMode, l != blankLine && !structured(p) && p[0] != '['
	case rustMode:
		return m, l == indentLine || l == frameLine || hasPrefix(p, "stack backtrace:") || hasPrefix(p, "note: ")
	case nodePlaceMode:
		return nodeSourceMode, l != blankLine && !structured(p)
	case nodeSourceMode:
		switch {
		case l == indentLine || l == blankLine || l == frameLine:
			return m, true
		case l == textLine && (exceptionLine(p) || headOf(p) == exception):
			return nodeMode, true
		case l == closeLine || hasPrefix(p, "Node.js v"):
			return nodeMode, true
		}
	case dotnetMode:
		return m, l == indentLine || l == frameLine
	}
	return m, false
}

// mayHead tells whether a log line may be what a trace behind it belongs to: it is about a failure, or does not say.
func mayHead(p []byte) bool {
	if structured(p) {
		return false
	}
	l := lineLevel(p)
	return l <= event.Warning // None too
}

// failure tells whether a log line shows level warning or worse.
func failure(p []byte) bool {
	if structured(p) {
		return false
	}
	l := lineLevel(p)
	return l != event.None && l <= event.Warning
}

// tracker follows the open event of each source.
type tracker struct {
	o    *JoinOptions
	seed maphash.Seed

	sources  map[uint64]*source // by hash, and chained
	keys     int                // bytes of their keys
	keep     int                // sources remembered though they have no open event, only to save making them
	most     int                // sources and bytes of keys at which to forget those
	mostKeys int
	recent   [recentSources]*source // by mark: saves most look-ups

	// Held events by the time of their last line.
	oldest, newest *source
	count, bytes   int

	// Of the current call:
	call     uint64
	touched  []*source     // sources with an event in this batch
	released []event.Event // held events that have become complete
	drop     []int         // indexes of events that are held from now on
	free     [][]byte      // buffers of joined messages, to be used again
	stats    JoinStats
}

const (
	keepKeys    = 1 << 20  // bytes of keys remembered
	keepBuffers = 8        // buffers remembered
	keepBuffer  = 64 << 10 // and the longest of them
)

func newTracker(o *JoinOptions, keep int) *tracker {
	return &tracker{o: o, seed: maphash.MakeSeed(), sources: make(map[uint64]*source), keep: keep, most: keep, mostKeys: keepKeys}
}

// source is one (service, env, host, container, stream) and its open event: the last one that came, as long as it may go
// on.
type source struct {
	key   [5][]byte
	hash  uint64
	chain *source // the next source of the same hash
	call  uint64  // the last call with an event of this source

	open   bool        // there is an open event:
	isHeld bool        // it is held, or else
	index  int         // it is in the call's batch
	held   event.Event //
	size   int         // bytes it counts for while it is held
	known  bool        // whether mode is set
	mode   mode        //
	text   []byte      // its lines, nil while there is one
	lines  int         //
	last   int64       // when the last one came

	older, newer *source // in the tracker's list of held events
}

func (s *source) is(e *event.Event) bool {
	return bytes.Equal(s.key[3], e.Container) && bytes.Equal(s.key[0], e.Service) && bytes.Equal(s.key[2], e.Host) &&
		bytes.Equal(s.key[4], e.Stream) && bytes.Equal(s.key[1], e.Env)
}

const recentSources = 256

// mark returns a cheap hash of e's source: of the ends of the names that tell sources apart.
func mark(e *event.Event) uint64 {
	end := func(p []byte) uint64 {
		if n := len(p); n >= 8 {
			return binary.LittleEndian.Uint64(p[n-8:])
		} else if n > 0 {
			return uint64(n)<<16 | uint64(p[n-1])<<8 | uint64(p[n/2])
		}
		return 0
	}
	const k = 0x9e3779b97f4a7c15
	h := ((end(e.Container)*k+end(e.Host))*k+end(e.Service))*k + uint64(len(e.Stream))<<8
	if n := len(e.Stream); n > 0 {
		h += uint64(e.Stream[n-1]) // stdout, stderr
	}
	return (h * k) >> (64 - 8)
}

// source returns e's source.
func (t *tracker) source(e *event.Event) *source {
	m := mark(e)
	s := t.recent[m]
	if s == nil || !s.is(e) {
		s = t.find(e)
		t.recent[m] = s
	}
	return s
}

// find returns e's source from the map, a new one if need be.
func (t *tracker) find(e *event.Event) *source {
	h := uint64(0)
	for _, p := range [...][]byte{e.Service, e.Env, e.Host, e.Container, e.Stream} {
		h = (h<<5 | h>>59) * 0x9e3779b97f4a7c15
		if len(p) > 0 {
			h += maphash.Bytes(t.seed, p)
		}
	}
	for s := t.sources[h]; s != nil; s = s.chain {
		if s.is(e) {
			return s
		}
	}
	if len(t.sources) >= t.most || t.keys >= t.mostKeys {
		t.forget()
	}
	s := &source{hash: h, chain: t.sources[h]}
	n := len(e.Service) + len(e.Env) + len(e.Host) + len(e.Container) + len(e.Stream)
	buf := make([]byte, 0, n)
	for i, p := range [...][]byte{e.Service, e.Env, e.Host, e.Container, e.Stream} {
		k := len(buf)
		buf = append(buf, p...)
		s.key[i] = buf[k:len(buf):len(buf)]
	}
	t.keys += n
	t.sources[h] = s
	return s
}

// forget drops the sources without an open event.
func (t *tracker) forget() {
	t.keys = 0
	clear(t.recent[:])
	for h, s := range t.sources {
		var kept *source
		for s != nil {
			next := s.chain
			if s.open {
				s.chain, kept = kept, s
				for _, k := range s.key {
					t.keys += len(k)
				}
			}
			s = next
		}
		if kept == nil {
			delete(t.sources, h)
		} else {
			t.sources[h] = kept
		}
	}
	// Those left are held, or of this batch: looking at them again soon would be quadratic.
	t.most, t.mostKeys = max(t.keep, 2*len(t.sources)), max(keepKeys, 2*t.keys)
}

// join is Join, or JoinWithin when nothing may be held.
func (t *tracker) join(b *event.Batch, now int64, hold bool) {
	t.call++
	t.touched, t.released, t.drop = t.touched[:0], t.released[:0], t.drop[:0]
	w := 0 // the events in front of it stay, so far
	var s *source
	for r := range b.Events {
		e := &b.Events[r]
		if s == nil || !s.is(e) {
			if s = t.source(e); s.call != t.call {
				s.call = t.call
				t.touched = append(t.touched, s)
				if s.isHeld && t.expired(s, now) {
					t.complete(b, s)
				}
			}
		}
		m, on := plainMode, false
		if s.open {
			if m, on = s.goesOn(b, e); on && t.fits(b, s, e) {
				t.add(b, s, e, m, now)
				continue
			}
			t.complete(b, s)
		}
		if w != r {
			b.Events[w] = *e
		}
		s.open, s.index, s.lines, s.known, s.mode = true, w, 1, on, m
		w++
	}
	b.Events = b.Events[:w]
	t.end(b, now, hold)
}

// event returns the open event of s.
func (s *source) event(b *event.Batch) *event.Event {
	if s.isHeld {
		return &s.held
	}
	return &b.Events[s.index]
}

// goesOn tells whether e's line goes on with the open event of s, and in which mode that leaves it.
func (s *source) goesOn(b *event.Batch, e *event.Event) (mode, bool) {
	if len(e.Message) > 0 {
		// Most lines begin with a time or are JSON: no mode goes on with them.
		if c := e.Message[0]; isDigit(c) || c == '{' {
			return plainMode, false
		}
	}
	open := s.event(b)
	if !s.known {
		s.mode, s.known = startMode(open.Message), true
	}
	m, ok := follow(s.mode, e.Message, open.Message)
	if !ok || !sameFields(open.Fields, e.Fields) {
		return plainMode, false
	}
	return m, true
}

// sameFields tells whether two lines have the same extra fields, as all lines of one container have. A line with others
// would lose them by being joined.
func sameFields(a, b []event.Field) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i].Name, b[i].Name) || !bytes.Equal(a[i].Value, b[i].Value) || a[i].Kind != b[i].Kind {
			return false
		}
	}
	return true
}

// fits tells whether the open event of s has room for e's line.
func (t *tracker) fits(b *event.Batch, s *source, e *event.Event) bool {
	n := len(s.text)
	if s.text == nil {
		n = len(s.event(b).Message)
	}
	switch {
	case s.lines >= t.o.MaxLines:
		t.stats.FullLines++
	case n+1+len(e.Message) > t.o.MaxBytes:
		t.stats.FullBytes++
	default:
		return true
	}
	return false
}

// add makes e's line a part of the open event of s.
func (t *tracker) add(b *event.Batch, s *source, e *event.Event, m mode, now int64) {
	open := s.event(b)
	if s.text == nil {
		if n := len(t.free); n > 0 {
			s.text, t.free = t.free[n-1], t.free[:n-1]
		}
		s.text = append(s.text, open.Message...)
	}
	s.text = append(append(s.text, '\n'), e.Message...)
	s.lines++
	s.mode = m
	open.Level = worse(open.Level, e.Level)
	t.stats.Lines++
	if s.isHeld {
		t.unlist(s)
		t.list(s, now)
	}
}

// complete closes the open event of s: one that is held is released, one of the batch gets its lines.
func (t *tracker) complete(b *event.Batch, s *source) {
	if s.isHeld {
		t.released = append(t.released, t.release(s))
		return
	}
	s.open = false
	if s.text == nil {
		return
	}
	e := &b.Events[s.index]
	e.Message = b.Copy(s.text)
	t.raise(e)
	if cap(s.text) <= keepBuffer && len(t.free) < keepBuffers {
		t.free = append(t.free, s.text[:0])
	}
	s.text = nil
}

// raise gives a joined event at least the level of the trace in it, and that of its first line when its sender gave none.
func (t *tracker) raise(e *event.Event) {
	if e.Level == event.None {
		e.Level = levelOf(e.Message)
	} else {
		e.Level = worse(e.Level, traceLevel(e.Message))
	}
	t.stats.Events++
}

// release returns the held event of s, which is open no longer.
func (t *tracker) release(s *source) event.Event {
	e := s.held
	if s.text != nil {
		e.Message = s.text
		t.raise(&e)
	}
	t.unlist(s)
	s.open, s.isHeld, s.text, s.held = false, false, nil, event.Event{}
	return e
}

// list puts s, whose event is held, at the end of the list.
func (t *tracker) list(s *source, now int64) {
	s.last = now
	s.size = event.EncodedSize(&s.held) + len(s.text)
	t.bytes += s.size
	t.count++
	s.older, s.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = s
	} else {
		t.oldest = s
	}
	t.newest = s
}

func (t *tracker) unlist(s *source) {
	t.bytes -= s.size
	t.count--
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		t.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		t.newest = s.older
	}
	s.older, s.newer = nil, nil
}

// expired tells whether the held event of s has waited long enough. A clock that went back must not hold it until the
// clock has caught up.
func (t *tracker) expired(s *source, now int64) bool {
	return now >= s.last+int64(t.o.MaxHold) || now < s.last
}

// end completes or holds what is open in the batch, and puts in what was held and is complete.
func (t *tracker) end(b *event.Batch, now int64, hold bool) {
	for _, s := range t.touched {
		switch {
		case !s.open || s.isHeld:
		case hold && s.mayGoOn(b):
			e := &b.Events[s.index]
			if s.text != nil {
				e.Message = nil // it is in text
			}
			s.held, s.isHeld = e.Clone(), true
			t.list(s, now)
			t.drop = append(t.drop, s.index)
		default:
			t.complete(b, s)
		}
	}
	if len(t.drop) > 0 {
		slices.Sort(t.drop)
		w := t.drop[0]
		for k, i := range t.drop {
			until := len(b.Events)
			if k+1 < len(t.drop) {
				until = t.drop[k+1]
			}
			w += copy(b.Events[w:], b.Events[i+1:until])
		}
		b.Events = b.Events[:w]
	}
	// What was held came before all that its source has in this batch…
	if n := len(t.released); n > 0 {
		for range n {
			b.Add()
		}
		copy(b.Events[n:], b.Events)
		copy(b.Events, t.released)
		clear(t.released)
	}
	// …and what is let go to keep the bounds comes after it.
	for t.count > t.o.MaxSources || t.bytes > t.o.MaxTotal {
		*b.Add() = t.release(t.oldest)
		t.stats.Evicted++
	}
}

// mayGoOn tells whether the open event of s, which is in the batch, may get another line.
func (s *source) mayGoOn(b *event.Batch) bool {
	first := b.Events[s.index].Message
	if !s.known {
		s.mode, s.known = startMode(first), true
	}
	return s.mode != plainMode || mayHead(first)
}
