package probe

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// rosterProducer counts the events that say how many targets there are; its cursor names them.
const rosterProducer = "probe"

// maxRoster bounds the cursor, in bytes; the log takes 64 KiB. Names beyond it, of more than a thousand targets, are not
// remembered.
const maxRoster = 60 << 10

// taken is the source of names that were taken away and have events that are not stored yet.
const taken = ""

// rosterPause gathers the changes of many containers that start together.
const rosterPause = time.Second

// roster remembers the names of all targets, so that one that was down and is taken away while lookout is off is still told
// as gone: producers cannot be listed.
type roster struct {
	p *Prober

	before map[string]string // name → source, of targets of an earlier run whose source was not Set yet; under p.mu

	wake chan struct{} // cap 1
	once sync.Once
	quit chan struct{} // closed by close
	next uint64
	last []byte // the cursor that is stored
}

// rosterCursor is what is stored: the names of each source.
type rosterCursor struct {
	Version int                 `json:"v"` // 1
	Targets map[string][]string `json:"targets"`
}

// newRoster reads what is stored. p.mu is held.
func newRoster(p *Prober) *roster {
	o := &roster{p: p, before: map[string]string{}, wake: make(chan struct{}, 1), quit: make(chan struct{}), next: 1}
	next, stored, ok := p.o.Sink.Producer(rosterProducer)
	if !ok {
		return o
	}
	o.next, o.last = max(next, 1), stored
	before, err := decodeRoster(stored)
	if err != nil {
		p.log.Warn("targets that were taken away while lookout was off are not told as gone", "error", err)
	}
	o.before = before
	return o
}

func decodeRoster(b []byte) (map[string]string, error) {
	names := map[string]string{}
	if len(b) == 0 {
		return names, nil
	}
	var c rosterCursor
	if err := json.Unmarshal(b, &c); err != nil {
		return names, fmt.Errorf("the stored list of probes: %w", err)
	}
	if c.Version != 1 {
		return names, fmt.Errorf("the stored list of probes has version %d; this lookout knows 1", c.Version)
	}
	for source, list := range c.Targets {
		for _, name := range list {
			names[name] = source
		}
	}
	return names, nil
}

// settle tells as gone what an earlier run has left down and its source does not have any more. p.mu is held.
func (o *roster) settle(wanted map[string]*target) {
	set := map[string]bool{}
	for _, s := range o.p.sources {
		set[s.name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(o.before)) {
		if source := o.before[name]; wanted[name] == nil && source != taken && !set[source] {
			continue
		}
		delete(o.before, name)
		if o.p.runners[name] != nil {
			continue
		}
		_, stored, ok := o.p.o.Sink.Producer("probe/" + name)
		if !ok || len(stored) == 0 {
			continue
		}
		if _, t, err := decodeCursor(name, stored); err == nil && t != nil {
			r := o.p.newRunner(name)
			r.mu.Lock()
			r.gone(t)
			r.mu.Unlock()
		}
	}
	o.kick()
}

func (o *roster) kick() {
	select {
	case o.wake <- struct{}{}:
	default: // it has been told already
	}
}

// close ends run. p.mu is held.
func (o *roster) close() { o.once.Do(func() { close(o.quit) }) }

// run stores the names whenever they have changed.
func (o *roster) run() {
	timer := time.NewTimer(rosterPause)
	defer timer.Stop()
	for {
		closing := false
		select {
		case <-o.wake:
		case <-o.quit:
			closing = true
		}
		if !closing {
			timer.Reset(rosterPause)
			select {
			case <-timer.C:
			case <-o.quit:
				closing = true
			}
		}
		if !o.write() || closing {
			return
		}
	}
}

// quote returns strings as JSON.
func quote(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings have no errors
	}
	return b
}

// write stores the names when they differ from the stored ones. It reports whether the prober still runs.
func (o *roster) write() bool {
	p := o.p
	p.mu.Lock()
	names := maps.Clone(o.before)
	n := 0
	for name, r := range p.runners {
		r.mu.Lock()
		names[name] = taken
		if r.target != nil {
			names[name] = r.target.source
			n++
		}
		r.mu.Unlock()
	}
	p.mu.Unlock()
	list := rosterCursor{Version: 1, Targets: map[string][]string{}}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(names)) {
		source := names[name]
		if size += len(quote(name)) + 1; len(list.Targets[source]) == 0 {
			size += len(quote(source)) + 4
		}
		if size > maxRoster {
			break
		}
		list.Targets[source] = append(list.Targets[source], name)
	}
	b, err := json.Marshal(&list)
	if err != nil {
		panic(err) // strings only
	}
	if string(b) == string(o.last) || len(o.last) == 0 && len(list.Targets) == 0 {
		return true
	}
	e := event.Event{
		Time: time.Now().UnixNano(), Level: event.Debug, Service: []byte("probe"), Host: []byte(p.o.Host), Stream: []byte("probe"),
		Message: fmt.Appendf(nil, "%d targets are probed", n),
		Fields:  []event.Field{{Name: []byte("targets"), Value: strconv.AppendInt(nil, int64(n), 10), Kind: event.Number}},
	}
	if n == 1 {
		e.Message = []byte("1 target is probed")
	}
	batch := event.Batch{Producer: rosterProducer, FirstSeq: o.next, Cursor: b, Events: []event.Event{e}}
	if err := store(p, &batch); err != nil {
		p.log.Error("stopped with the list of probes not stored", "error", err)
		return false
	}
	o.next++
	o.last = b
	return true
}
