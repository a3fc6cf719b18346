package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"
)

// What Run does:
//
//	epoch (one connection) ─► events of the engine ─┬─► teller: lifecycle events
//	        └► list ─► inspect ─► apply ────────────┼─► follower: one a container ◄─ rescue (attached before its start)
//	                                                ├─► gauge: measurements
//	                                                └─► targets

// watched is what the input knows of one container of the engine. in.mu guards it.
type watched struct {
	details
	known    bool   // details are filled in
	off      string // why it is left out, empty: it is not
	logs     string // what becomes of its log, for the measurements
	follower *follower
	target   *Target
	asked    bool  // to stop, since its last start
	begun    int64 // time of the first start that was seen, 0: none
	rescue   *rescue

	inspecting sync.Mutex // one inspection after the other; not for what is above
}

// maxInspects is how many inspections run at a time.
const maxInspects = 4

// maxDrivers bounds how many images' drivers are remembered.
const maxDrivers = 1000

// maxAttached is how many containers are attached to at a time.
const maxAttached = 256

// engine returns the connected engine, waiting for it; nil when ctx has ended.
func (in *Input) engine(ctx context.Context) *engine {
	for {
		in.mu.Lock()
		e, changed := in.eng, in.changed
		in.mu.Unlock()
		if e != nil {
			return e
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// engineNow returns the connected engine, nil when there is none.
func (in *Input) engineNow() *engine {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.eng
}

func (in *Input) setEngine(e *engine) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.eng = e
	if e != nil {
		in.host, in.driver = e.name, e.driver
	}
	close(in.changed)
	in.changed = make(chan struct{})
}

// errBehind ends an epoch: more of the engine's events wait to be told than are kept.
var errBehind = errors.New("docker: too many events of the engine wait")

// epoch connects and does its work until the connection ends. It never returns nil.
func (in *Input) epoch(ctx context.Context) error {
	e, err := in.connect(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := in.tellerOf(e)

	// What happened since the last event that was taken, as far as the engine remembers.
	if in.seen.floor < e.now.UnixNano() {
		r := e.events(ctx, in.seen.floor+1, e.now.UnixNano())
		for open := true; open; {
			select {
			case msg := <-r.Messages:
				if in.seen.has(&msg) {
					continue
				}
				if !t.put(tellItem{msg: &msg}) {
					return errBehind
				}
				in.seen.add(&msg)
			case err := <-r.Err:
				if open = false; err != nil && err != io.EOF {
					return fmt.Errorf("reading past events: %w", err)
				}
			}
		}
	}
	in.seen.advance(e.now.UnixNano())
	// From here on nothing is missed: the events are open before the list is read.
	r := e.events(ctx, in.seen.floor+1, 0)
	in.setEngine(e)
	defer in.setEngine(nil)
	looked := make(chan error, 1)
	var looking sync.WaitGroup
	looking.Go(func() { looked <- in.look(ctx, e, t) })
	defer looking.Wait()
	defer cancel()
	for {
		select {
		case msg := <-r.Messages:
			if in.seen.has(&msg) {
				continue // it came with the past ones
			}
			if !t.put(tellItem{msg: &msg}) {
				return errBehind
			}
			in.seen.add(&msg)
			in.event(ctx, e, &msg)
		case err := <-r.Err:
			if err == nil || err == io.EOF {
				err = errors.New("the engine has ended its events")
			}
			return err
		case err := <-looked:
			if err != nil {
				return err
			}
			in.connected.Store(true)
			s := in.Stats()
			in.o.Log.Info("docker: connected", "engine", e.name, "containers", s.Containers, "followed", s.Followed)
		}
	}
}

// look lists all containers and inspects each.
func (in *Input) look(ctx context.Context, e *engine, t *teller) error {
	in.mu.Lock()
	before := slices.Collect(maps.Keys(in.containers))
	in.mu.Unlock()
	ids, err := e.list(ctx)
	if err != nil {
		return err
	}
	in.forgetOthers(before, ids)
	tasks := make(chan string)
	var workers sync.WaitGroup
	errs := make(chan error, len(ids))
	for range maxInspects {
		workers.Go(func() {
			for id := range tasks {
				if err := in.refresh(ctx, e, id, t); err != nil {
					errs <- err
				}
			}
		})
	}
	for _, id := range ids {
		tasks <- id
	}
	close(tasks)
	workers.Wait()
	select {
	case err := <-errs:
		return err
	default:
	}
	if ids == nil {
		ids = []string{}
	}
	if !t.put(tellItem{looked: ids}) {
		return errBehind
	}
	in.publish()
	return nil
}

// entry returns what is known of a container, which is new when it was not known at all.
func (in *Input) entry(id string) *watched {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.containers[id]
	if c == nil {
		c = &watched{details: details{id: id}}
		in.containers[id] = c
	}
	return c
}

// event does what an event of the engine asks for at once.
func (in *Input) event(ctx context.Context, e *engine, msg *events.Message) {
	id := msg.Actor.ID
	switch string(msg.Action) {
	case "create":
		c := in.entry(id)
		in.mu.Lock()
		c.named(msg)
		wanted := in.leftOut(&c.details) == ""
		in.mu.Unlock()
		if wanted && in.attached.Load() < maxAttached {
			in.attached.Add(1)
			in.running.Go(func() { in.rescueOf(e, c, id) })
		}
	case "start":
		c := in.entry(id)
		in.mu.Lock()
		c.named(msg)
		c.asked = false
		if c.begun == 0 {
			c.begun = msg.TimeNano
			if c.rescue != nil {
				c.rescue.startedAt(c.begun)
			}
		}
		f := c.follower
		in.mu.Unlock()
		if f != nil {
			f.startedNow()
		}
	case "kill":
		c := in.entry(id)
		in.mu.Lock()
		c.asked = c.asked || stops(msg.Actor.Attributes["signal"], c.stopSignal)
		in.mu.Unlock()
		return
	case "destroy":
		in.remove(id)
		return
	case "die":
		in.mu.Lock()
		if c := in.containers[id]; c != nil && c.follower != nil {
			c.follower.died.Store(true)
		}
		in.mu.Unlock()
	case "rename", "pause", "unpause", "update":
	default:
		if !strings.HasPrefix(string(msg.Action), "health_status") {
			return
		}
	}
	in.running.Go(func() {
		if in.refresh(ctx, e, id, nil) == nil {
			in.publish()
		}
	})
}

// named takes from an event what it says of a container that was not inspected yet. in.mu is held.
func (c *watched) named(msg *events.Message) {
	if a := msg.Actor.Attributes; !c.known {
		c.name, c.image, c.details.labels = a["name"], a["image"], a
	}
}

// refresh inspects a container and applies what it finds; with a teller it is compared with what was told, too.
func (in *Input) refresh(ctx context.Context, e *engine, id string, t *teller) error {
	c := in.entry(id)
	c.inspecting.Lock()
	defer c.inspecting.Unlock()
	select {
	case in.inspects <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	d, err := e.inspect(ctx, id)
	<-in.inspects
	switch {
	case err == nil:
		in.apply(e, c, &d)
		if t != nil && in.leftOut(&d) == "" && !t.put(tellItem{look: &d, host: e.name}) {
			return errBehind
		}
	case isGone(err):
		in.remove(id)
	case ctx.Err() == nil:
		in.stats.apiErrors.Add(1)
		if client.IsErrConnectionFailed(err) {
			break // the events have ended too, which is said
		}
		in.complain("inspect", "docker: a container could not be inspected", "container", shortOf(id), "error", err)
	}
	return nil
}

// followed are the drivers whose logs are read; what the others have sent somewhere may have arrived here already.
var followed = []string{"json-file", "local", "journald"}

const logsFollowed = "followed"

// apply notes what inspecting has told, and begins to follow a container that was not known.
func (in *Input) apply(e *engine, c *watched, d *details) {
	in.mu.Lock()
	if in.containers[d.id] != c {
		in.mu.Unlock()
		return // it was removed meanwhile
	}
	first := !c.known
	changed := first || c.state != d.state || c.health != d.health || c.restarts != d.restarts || c.name != d.name || c.details.started != d.started
	c.details, c.known = *d, true
	if first {
		if len(in.drivers) >= maxDrivers {
			clear(in.drivers)
		}
		in.drivers[d.image] = d.driver
		c.off = in.leftOut(d)
		switch {
		case c.off != "":
			c.logs = "off (" + c.off + ")"
		case d.driver == "none":
			c.logs = "unreadable (none)"
		case !slices.Contains(followed, d.driver):
			c.logs = "sent by its driver (" + d.driver + ")"
		default:
			c.logs = logsFollowed
		}
	}
	c.retarget()
	if c.logs == logsFollowed {
		l := newLabels(e.name, d)
		if c.follower == nil {
			from := int64(0)
			if d.started != 0 && d.started < in.begun.UnixNano() {
				from = in.begun.Add(-in.o.Since).UnixNano()
			}
			c.follower = in.newFollower(d, from)
			c.follower.labels.Store(l)
			c.follower.rescue.Store(c.rescue)
			if c.begun != 0 {
				c.follower.startedNow()
			}
			f, known := c.follower, *d
			in.following.Go(func() { f.run(in.ctx, &known) })
		} else if !c.follower.labels.Load().equal(l) {
			c.follower.labels.Store(l)
		}
		if d.running() {
			c.follower.isRunning(d.started)
		}
	} else if c.rescue != nil {
		c.rescue.drop()
	}
	in.mu.Unlock()
	if changed {
		in.gauge.soon(d.id)
	}
}

// rescueOf attaches to a container that has been created and not yet started.
func (in *Input) rescueOf(e *engine, c *watched, id string) {
	r, err := in.attach(e, id)
	if err != nil {
		in.attached.Add(-1)
		if !isGone(err) {
			in.stats.apiErrors.Add(1)
		}
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.containers[id] != c || c.known && c.follower == nil {
		r.drop()
		return
	}
	if c.begun != 0 {
		r.startedAt(c.begun)
	}
	c.rescue = r
	if c.follower != nil {
		c.follower.rescue.Store(r)
	}
}

// leftOut returns why a container is left out, empty when it is not.
func (in *Input) leftOut(d *details) string {
	switch {
	case d.labels["lookout.enable"] == "false":
		return "lookout.enable=false"
	case in.isSelf(d):
		return "lookout itself"
	}
	return ""
}

func (in *Input) isSelf(d *details) bool {
	return in.self.is(d.id) || d.labels["lookout.self"] == "true"
}

// remove forgets a container.
func (in *Input) remove(id string) {
	in.mu.Lock()
	c := in.containers[id]
	if c == nil {
		in.mu.Unlock()
		return
	}
	delete(in.containers, id)
	if c.follower != nil {
		close(c.follower.gone)
	}
	m := in.measured(c)
	known := c.known
	switch {
	case c.follower != nil:
	case !known && c.begun != 0 && in.leftOut(&c.details) == "":
		in.missed(c)
	case c.rescue != nil:
		c.rescue.drop()
	}
	in.mu.Unlock()
	if known {
		in.gauge.removed(m)
	}
	in.publish()
}

// missed is for a container that was gone before it could be inspected: all there is of it is what it wrote, if that. Its log's
// driver is not known, but what a driver sends must not arrive twice: it is taken to be that of the last container of its
// image, or the engine's default. in.mu is held.
func (in *Input) missed(c *watched) {
	driver, ok := in.drivers[c.image]
	if !ok {
		driver = in.driver
	}
	if !slices.Contains(followed, driver) {
		if c.rescue != nil {
			c.rescue.drop()
		}
		return
	}
	f := in.newFollower(&c.details, 0)
	if c.rescue != nil {
		f.tty = c.rescue.raw()
		f.rescue.Store(c.rescue)
	}
	f.labels.Store(newLabels(in.host, &c.details))
	in.following.Go(func() { f.runRemoved(in.ctx) })
}

// measured returns what a measurement says of a container. in.mu is held.
func (in *Input) measured(c *watched) measured {
	return measured{details: c.details, logs: c.logs, host: in.host}
}

func (in *Input) measuredOf(id string) (measured, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	c := in.containers[id]
	if c == nil || !c.known {
		return measured{}, false
	}
	return in.measured(c), true
}

// forgetOthers forgets those that were known before the list was read and are not in it.
func (in *Input) forgetOthers(before, list []string) {
	exists := make(map[string]bool, len(list))
	for _, id := range list {
		exists[id] = true
	}
	for _, id := range before {
		if !exists[id] {
			in.remove(id)
		}
	}
}

// unreadable notes that a container's log cannot be read.
func (in *Input) unreadable(id string) {
	in.mu.Lock()
	if c := in.containers[id]; c != nil {
		c.logs = "unreadable (" + c.driver + ")"
	}
	in.mu.Unlock()
	in.gauge.soon(id)
}
