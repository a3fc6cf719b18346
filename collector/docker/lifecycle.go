package docker

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// A container that dies loopDeaths times within loopWindow without being asked to is in a restart loop, until it has run
	// for stableAfter.
	loopDeaths  = 3
	loopWindow  = int64(10 * time.Minute)
	stableAfter = int64(10 * time.Minute)
	// askedFor is how long after a request to stop a death counts as asked for: docker stop may wait long, a program may
	// ignore the signal.
	askedFor = int64(10 * time.Minute)
	// settleFor is how long a death by SIGKILL waits for the container's removal (docker rm -f), and an OOM kill for the
	// death of the container.
	settleFor = int64(2 * time.Second)
)

// lifecycle turns the engine's events, and what inspecting tells after a time without them, into what is told about
// containers, each thing once. It has no clock and does nothing by itself.
type lifecycle struct {
	taken recent // the engine's events that were taken
	known bool   // containers have been looked at before
	lives map[string]*life
}

// recent knows which events of the engine were taken. The engine takes an event's time first and sends it later: of events of
// several containers at once some come after others that have a later time.
type recent struct {
	last  int64 // the latest time
	floor int64 // all events up to this time were taken
	marks []mark
}

// mark is an event that was taken behind the floor.
type mark struct {
	at   int64
	hash uint32
}

const (
	// late is how much earlier than another one an event may be that comes behind it; 73 ms were seen.
	late = int64(2 * time.Second)
	// maxMarks bounds what a cursor takes.
	maxMarks = 1024
)

// recentAt is of an engine whose events up to now were taken.
func recentAt(now time.Time) recent { return recent{last: now.UnixNano(), floor: now.UnixNano()} }

func markOf(msg *events.Message) mark {
	h := fnv.New32a()
	h.Write([]byte(msg.Actor.ID))
	h.Write([]byte(msg.Action))
	return mark{msg.TimeNano, h.Sum32()}
}

// has reports whether an event is one of those that were taken behind the floor.
func (r *recent) has(msg *events.Message) bool { return slices.Contains(r.marks, markOf(msg)) }

// add notes that an event is taken.
func (r *recent) add(msg *events.Message) {
	m := markOf(msg)
	if m.at > r.floor {
		r.marks = append(r.marks, m)
	}
	r.advance(m.at)
	if n := len(r.marks); n > maxMarks {
		slices.SortFunc(r.marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
		r.raise(r.marks[n/4].at)
	}
}

// advance notes that a time was reached.
func (r *recent) advance(at int64) {
	if at > r.last {
		r.last = at
		r.raise(at - late)
	}
}

func (r *recent) raise(floor int64) {
	r.floor = max(r.floor, floor)
	r.marks = slices.DeleteFunc(r.marks, func(m mark) bool { return m.at <= r.floor })
}

// life is what was told about a container, and what the next event has to be seen with. All times are the engine's.
type life struct {
	told    int64 // time of the last start or death that was told
	running bool  // the last was a start
	healthy health
	asked   int64   // when it was asked to stop, since its last start
	killed  int64   // when it was sent SIGKILL, since its last start
	oom     int64   // when a process of it was killed for memory, and that was not told yet
	outlive bool    // since its last start it has outlived such a kill: inspecting says oomKilled from then on
	deaths  []int64 // unasked ones within loopWindow
	loop    bool    // a loop was told
}

type health uint8

const (
	healthUnknown health = iota
	healthGood
	healthBad
)

// removedByHand is how long after its death a container's removal ends the alert about that: somebody, or what took its place, has seen to
// it. One that is removed at once, as with --rm, died no less.
const removedByHand = time.Minute

// told is one thing to tell about a container.
type told struct {
	at      int64
	action  string
	level   event.Level
	text    string // behind "container NAME "
	exit    int    // of a death
	hasExit bool
	oom     bool
	hasOOM  bool
	print   string // what the fingerprint begins with; empty: none
}

// id of a container in a cursor: its first 12 digits are what people tell containers apart by.
const idBytes = 6

func (m *lifecycle) life(id string) *life {
	key := shortOf(id)
	l := m.lives[key]
	if l == nil {
		l = &life{}
		if m.lives == nil {
			m.lives = map[string]*life{}
		}
		m.lives[key] = l
	}
	return l
}

// event takes an event of the engine. d is what is known of the container, its id at least.
func (m *lifecycle) event(msg *events.Message, d *details) []told {
	if msg.TimeNano <= m.taken.floor || m.taken.has(msg) {
		return nil
	}
	m.taken.add(msg)
	at := msg.TimeNano
	action, rest, _ := strings.Cut(string(msg.Action), ": ")
	switch action {
	case "start":
		return m.start(m.life(d.id), at, "was started")
	case "die":
		exit, _ := strconv.Atoi(msg.Actor.Attributes["exitCode"])
		return m.die(m.life(d.id), at, exit, d)
	case "kill":
		l := m.life(d.id)
		switch signal := msg.Actor.Attributes["signal"]; {
		case stops(signal, d.stopSignal):
			l.asked = at
		case signal == "9":
			l.killed = at
		}
	case "oom":
		m.life(d.id).oom = at
	case "health_status":
		return m.health(m.life(d.id), at, rest)
	case "destroy":
		l := m.life(d.id)
		delete(m.lives, shortOf(d.id))
		out := l.endLoop(at, "it was removed")
		if l.healthy == healthBad {
			out = append(out, told{at: at, action: "destroy", level: event.Info, text: "was unhealthy until it was removed", print: "health"})
		}
		removed := told{at: at, action: "destroy", level: event.Info, text: "was removed"}
		if !l.running && l.told != 0 && at-l.told >= int64(removedByHand) {
			removed.print = "container"
		}
		return append(out, removed)
	}
	return nil
}

// stops tells whether a kill event's signal is the one that asks a container to stop.
func stops(signal, stopSignal string) bool {
	if signal == "15" {
		return true
	}
	stopSignal = strings.TrimPrefix(strings.ToUpper(stopSignal), "SIG")
	return stopSignal != "" && (signal == stopSignal || signal == signals[stopSignal])
}

// signals are the numbers of those that images name as their stop signal, on Linux.
var signals = map[string]string{"HUP": "1", "INT": "2", "QUIT": "3", "USR1": "10", "USR2": "12", "TERM": "15", "WINCH": "28", "RTMIN+3": "37"}

func (m *lifecycle) start(l *life, at int64, text string) []told {
	if l.running || at <= l.told {
		return nil
	}
	*l = life{told: at, running: true, deaths: l.deaths, loop: l.loop, healthy: l.healthy}
	return []told{{at: at, action: "start", level: event.Info, text: text, print: "container"}}
}

// exitKilled is the exit code of SIGKILL, 128 + 9.
const exitKilled = 137

// processKilled tells of a kill that the container has outlived.
func processKilled(at int64) told {
	return told{at: at, action: "oom", level: event.Error, print: "container", oom: true, hasOOM: true, text: "had a process killed: out of memory"}
}

// noExit stands for an exit code that is not known: a container that runs again has lost it.
const noExit = -1

func (m *lifecycle) die(l *life, at int64, exit int, d *details) []told {
	if l.told != 0 && (!l.running || at <= l.told) {
		return nil
	}
	asked := l.asked != 0 && at-l.asked < askedFor
	t := told{at: at, action: "die", exit: exit, hasOOM: true, print: "container", level: event.Error}
	var out []told
	if t.oom = l.oom != 0 && exit != 0 || d.oomKilled && !l.outlive && exit == exitKilled; !t.oom && l.oom != 0 {
		out = append(out, processKilled(l.oom))
	}
	switch {
	case t.oom:
		t.level, t.text = event.Critical, "was killed: out of memory"
	case asked:
		t.level, t.text = event.Info, fmt.Sprintf("was stopped as asked, with exit code %d", exit)
	case exit == 0:
		t.level, t.text = event.Info, "ended with exit code 0"
	default:
		t.text = fmt.Sprintf("died with exit code %d", exit)
	}
	if exit == noExit && !t.oom && !asked {
		t.level, t.text = event.Warning, "ended, and nobody saw how: lookout or the engine was not running"
	}
	t.hasExit = exit != noExit
	l.told, l.running, l.oom, l.killed, l.asked = at, false, 0, 0, 0
	out = append(out, t)
	if asked {
		l.deaths = nil
		return append(out, l.endLoop(at, "it was stopped")...)
	}
	if exit == 0 && !d.policy && !t.oom {
		return out // a job that is done
	}
	l.deaths = slices.DeleteFunc(append(l.deaths, at), func(t int64) bool { return at-t > loopWindow })
	if n := len(l.deaths); n >= loopDeaths && !l.loop {
		l.loop = true
		out = append(out, told{at: at, action: "restart_loop", level: event.Critical, print: "loop", exit: exit, hasExit: t.hasExit,
			text: fmt.Sprintf("is in a restart loop: it died %d times within %s", n, minutes(at-l.deaths[0]))})
	}
	l.deaths = l.deaths[max(0, len(l.deaths)-loopDeaths):] // more are not needed
	return out
}

func minutes(ns int64) string {
	d := time.Duration(ns).Round(time.Second)
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Round(time.Minute).Minutes()))
}

// endLoop tells that a loop is over.
func (l *life) endLoop(at int64, why string) []told {
	if !l.loop {
		return nil
	}
	l.loop, l.deaths = false, nil
	return []told{{at: at, action: "stable", level: event.Info, print: "loop", text: "is no longer in a restart loop: " + why}}
}

func (m *lifecycle) health(l *life, at int64, status string) []told {
	h := healthOf(status)
	if h == healthUnknown || h == l.healthy {
		return nil
	}
	l.healthy = h
	if h == healthGood {
		return []told{{at: at, action: "healthy", level: event.Info, text: "is healthy", print: "health"}}
	}
	return []told{{at: at, action: "unhealthy", level: event.Error, text: "is unhealthy", print: "health"}}
}

func healthOf(status string) health {
	switch status {
	case "healthy":
		return healthGood
	case "unhealthy":
		return healthBad
	}
	return healthUnknown
}

// look compares what inspecting has told about a container with what was told about it: the engine forgets its events when
// it is restarted, and keeps only the last 256. Events that were taken before come first.
func (m *lifecycle) look(d *details, now int64) (out []told) {
	_, seen := m.lives[shortOf(d.id)]
	l := m.life(d.id)
	switch {
	case !seen && !m.known:
		// The first look at all: there is no telling what was before. It is noted durably what runs.
		l.told, l.running = max(d.started, d.finished), d.running()
		if l.running {
			out = append(out, told{at: now, action: "start", level: event.Info, text: "was found running, since " + clock(d.started), print: "container"})
		}
	case d.running():
		if l.running && d.started > l.told && d.finished > l.told {
			out = m.die(l, d.finished, noExit, d)
		}
		out = append(out, m.start(l, d.started, "was started")...)
	case d.finished > l.told:
		if !l.running && d.started > l.told {
			out = m.start(l, d.started, "was started")
		}
		if l.running {
			out = append(out, m.die(l, d.finished, d.exitCode, d)...)
		}
	}
	if h := healthOf(d.health); d.running() && (h == healthBad || seen) {
		out = append(out, m.health(l, now, d.health)...)
	}
	return out
}

// looked ends a look at all containers: of those that no longer exist nothing is kept.
func (m *lifecycle) looked(ids []string) {
	m.known = true
	exists := make(map[string]bool, len(ids))
	for _, id := range ids {
		exists[shortOf(id)] = true
	}
	maps.DeleteFunc(m.lives, func(id string, _ *life) bool { return !exists[id] })
}

// tick tells what time alone has made true of a container.
func (m *lifecycle) tick(id string, now int64) (out []told) {
	l := m.lives[shortOf(id)]
	if l == nil {
		return nil
	}
	if l.oom != 0 && now-l.oom >= settleFor && l.running {
		out = append(out, processKilled(l.oom))
		l.oom, l.outlive = 0, true
	}
	if l.loop && l.running && now-l.told >= stableAfter {
		out = append(out, l.endLoop(now, "it has run for "+minutes(now-l.told))...)
	}
	return out
}

// waits tells whether tick may soon have something to tell.
func (m *lifecycle) waits() bool {
	for _, l := range m.lives {
		if l.running && (l.oom != 0 || l.loop) {
			return true
		}
	}
	return false
}

// lifecycleVersion 1: version, last, how much earlier the floor is, number of marks and for each how much earlier than last it
// is and its hash (4 bytes, little endian), number of lives and for each its id (6 bytes), flags (1 running, 2 loop, 4 and 8
// health, 16 outlive), told, asked, killed, oom, number of deaths and those. Numbers are varints. The times of a life are how much earlier
// than last they are, + 1 unless they are later, and 0 for none.
const lifecycleVersion = 1

// maxLives keeps a cursor well below the 64 KiB that the log of events takes: about 25 bytes each.
const maxLives = 1800

func (m *lifecycle) encode() []byte {
	b := []byte{lifecycleVersion}
	b = binary.AppendVarint(b, m.taken.last)
	b = binary.AppendVarint(b, m.taken.last-m.taken.floor)
	b = binary.AppendUvarint(b, uint64(len(m.taken.marks)))
	for _, k := range m.taken.marks {
		b = binary.AppendVarint(b, m.taken.last-k.at)
		b = binary.LittleEndian.AppendUint32(b, k.hash)
	}
	ids := slices.Collect(maps.Keys(m.lives))
	if len(ids) > maxLives { // the ones that changed last
		slices.SortFunc(ids, func(a, b string) int {
			return int(m.lives[b].told/int64(time.Second) - m.lives[a].told/int64(time.Second))
		})
		ids = ids[:maxLives]
	}
	slices.Sort(ids)
	b = binary.AppendUvarint(b, uint64(len(ids)))
	when := func(t int64) {
		if t == 0 {
			b = append(b, 0)
			return
		}
		d := m.taken.last - t
		if d >= 0 {
			d++
		}
		b = binary.AppendVarint(b, d)
	}
	for _, id := range ids {
		l := m.lives[id]
		var raw [idBytes]byte
		for i := range raw {
			n, _ := strconv.ParseUint(id[min(2*i, len(id)):min(2*i+2, len(id))], 16, 8)
			raw[i] = byte(n)
		}
		b = append(b, raw[:]...)
		flags := byte(l.healthy) << 2
		if l.running {
			flags |= 1
		}
		if l.loop {
			flags |= 2
		}
		if l.outlive {
			flags |= 16
		}
		b = append(b, flags)
		for _, t := range [...]int64{l.told, l.asked, l.killed, l.oom} {
			when(t)
		}
		b = append(b, byte(len(l.deaths)))
		for _, t := range l.deaths {
			when(t)
		}
	}
	return b
}

var errLifecycle = errors.New("docker: the cursor of containers' events is not one of this version")

func decodeLifecycle(b []byte) (*lifecycle, error) {
	if len(b) == 0 || b[0] != lifecycleVersion {
		return nil, errLifecycle
	}
	b = b[1:]
	bad := false
	take := func(n int) []byte {
		if bad = bad || len(b) < n; bad {
			return make([]byte, n)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	varint := func() int64 {
		v, n := binary.Varint(b)
		if n <= 0 {
			bad = true
			return 0
		}
		b = b[n:]
		return v
	}
	count := func() int {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > uint64(len(b)) {
			bad = true
			return 0
		}
		b = b[n:]
		return int(v)
	}
	m := &lifecycle{known: true, lives: map[string]*life{}}
	last := varint()
	m.taken.last, m.taken.floor = last, last-varint()
	for range count() {
		m.taken.marks = append(m.taken.marks, mark{last - varint(), binary.LittleEndian.Uint32(take(4))})
	}
	when := func() int64 {
		switch d := varint(); {
		case d == 0:
			return 0
		case d > 0:
			return last - d + 1
		default:
			return last - d
		}
	}
	for range count() {
		l := &life{}
		id := fmt.Sprintf("%x", take(idBytes))
		flags := take(1)[0]
		l.running, l.loop, l.outlive, l.healthy = flags&1 != 0, flags&2 != 0, flags&16 != 0, health(flags>>2&3)
		for _, p := range [...]*int64{&l.told, &l.asked, &l.killed, &l.oom} {
			*p = when()
		}
		for range take(1)[0] {
			l.deaths = append(l.deaths, when())
		}
		m.lives[id] = l
		if bad {
			break
		}
	}
	if bad || len(b) != 0 {
		return nil, errLifecycle
	}
	return m, nil
}
