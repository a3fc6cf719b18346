package docker

import (
	"context"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/lookoutlog/lookout/internal/event"
)

// maxTells bounds the engine's events that wait to be told. When there are more the engine is asked again from the last one
// that was told.
const maxTells = 4096

// tellItem is an event of the engine, or what a look at a container or at all of them has given.
type tellItem struct {
	msg    *events.Message
	look   *details
	looked []string // the ids of all containers; not nil ends a look
	host   string
}

// teller appends the lifecycle of an engine's containers.
type teller struct {
	in       *Input
	producer string
	next     uint64
	life     *lifecycle
	known    map[string]*details // by short id
	host     string
	cancel   context.CancelFunc
	items    chan tellItem
	ahead    []tellItem // taken from items, and not yet handled
	batch    event.Batch
}

func (in *Input) newTeller(e *engine) *teller {
	t := &teller{
		in: in, producer: "docker-events/" + e.id, next: 1, life: &lifecycle{}, known: map[string]*details{}, host: e.name,
		items: make(chan tellItem, maxTells),
	}
	next, cursor, ok := in.o.Sink.Producer(t.producer)
	if !ok {
		t.life.taken = recentAt(e.now)
		return t
	}
	t.next = max(next, 1)
	life, err := decodeLifecycle(cursor)
	if err != nil {
		in.o.Log.Warn("docker: it is not known what was told about containers; it begins anew", "error", err)
		t.life.taken = recentAt(e.now)
		return t
	}
	t.life = life
	return t
}

// put hands over an item, and reports false when too many wait.
func (t *teller) put(item tellItem) bool {
	select {
	case t.items <- item:
		return true
	default:
		return false
	}
}

// run handles items until ctx ends.
func (t *teller) run(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		var item tellItem
		if len(t.ahead) > 0 {
			item, t.ahead = t.ahead[0], t.ahead[1:]
		} else {
			select {
			case item = <-t.items:
			case <-ticker.C:
				if t.life.waits() && !t.tick(ctx) {
					return
				}
				continue
			case <-ctx.Done():
				return
			}
		}
		if !t.handle(ctx, item) {
			return
		}
	}
}

func (t *teller) tick(ctx context.Context) bool {
	now := time.Now().UnixNano()
	for id := range t.life.lives {
		if d := t.known[id]; d != nil && !t.tell(ctx, d, t.life.tick(id, now)) {
			return false
		}
	}
	return true
}

// handle reports false when ctx has ended.
func (t *teller) handle(ctx context.Context, item tellItem) bool {
	switch {
	case item.looked != nil:
		t.life.looked(item.looked)
		exists := make(map[string]bool, len(item.looked))
		for _, id := range item.looked {
			exists[shortOf(id)] = true
		}
		for id := range t.known {
			if !exists[id] {
				delete(t.known, id)
			}
		}
		return true
	case item.look != nil:
		d := item.look
		t.known[shortOf(d.id)] = d
		t.host = item.host
		return t.tell(ctx, d, t.life.look(d, time.Now().UnixNano()))
	}
	msg := item.msg
	d := t.of(msg)
	if d.labels["lookout.enable"] == "false" || t.in.isSelf(d) {
		return true
	}
	switch string(msg.Action) {
	case "die":
		t.inspect(ctx, d)
		if l := t.life.lives[shortOf(d.id)]; l != nil && l.killed != 0 && l.asked == 0 && msg.TimeNano-l.killed < settleFor && t.removedSoon(ctx, d.id) {
			l.asked = l.killed // docker rm -f
		}
	case "start":
		t.inspect(ctx, d)
	case "rename":
		d.name = msg.Actor.Attributes["name"]
	}
	out := t.life.event(msg, d)
	if string(msg.Action) == "destroy" {
		delete(t.known, shortOf(d.id))
	}
	return t.tell(ctx, d, out)
}

// of returns what is known of the container of an event: at least what the event says itself, its labels among it.
func (t *teller) of(msg *events.Message) *details {
	d := t.known[shortOf(msg.Actor.ID)]
	if d == nil {
		a := msg.Actor.Attributes
		d = &details{id: msg.Actor.ID, name: a["name"], image: a["image"], labels: a}
		t.known[shortOf(d.id)] = d
	}
	return d
}

// inspect brings what is known up to date, as far as the engine still knows the container.
func (t *teller) inspect(ctx context.Context, d *details) {
	e := t.in.engineNow()
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if now, err := e.inspect(ctx, d.id); err == nil {
		*d = now
	}
}

// removedSoon waits a little for the removal of a container.
func (t *teller) removedSoon(ctx context.Context, id string) bool {
	destroyed := func(item tellItem) bool {
		return item.msg != nil && string(item.msg.Action) == "destroy" && item.msg.Actor.ID == id
	}
	for _, item := range t.ahead {
		if destroyed(item) {
			return true
		}
	}
	timer := time.NewTimer(time.Duration(settleFor))
	defer timer.Stop()
	for {
		select {
		case item := <-t.items:
			t.ahead = append(t.ahead, item)
			if destroyed(item) {
				return true
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// tell appends what is to be told, with the cursor behind it. It reports false when ctx has ended.
func (t *teller) tell(ctx context.Context, d *details, list []told) bool {
	if len(list) == 0 {
		return true
	}
	b := &t.batch
	b.Reset()
	for i := range list {
		t.add(b, d, &list[i])
	}
	b.Producer, b.FirstSeq, b.Cursor = t.producer, t.next, t.life.encode()
	if t.in.append(ctx, b) != nil {
		return false
	}
	t.next += uint64(len(b.Events))
	t.in.stats.events.Add(int64(len(b.Events)))
	return true
}

func (t *teller) add(b *event.Batch, d *details, what *told) {
	e := b.Add()
	n := nameOf(d.labels, d.name, d.image)
	e.Time, e.Level, e.Stream = what.at, what.level, streamDocker
	e.Service, e.Env, e.Host, e.Container = b.CopyString(n.service), b.CopyString(n.env), b.CopyString(t.host), b.CopyString(d.name)
	e.Message = b.CopyString("container " + d.name + " " + what.text)
	w := fieldWriter{b, e}
	w.text("action", what.action)
	if what.hasExit {
		w.number("exit_code", int64(what.exit))
	}
	if what.hasOOM {
		w.bool("oom_killed", what.oom)
	}
	w.number("restarts", int64(d.restarts))
	w.text("image", d.image)
	w.text("version", n.version)
	w.text("container_id", shortOf(d.id))
	if what.print != "" {
		w.text("fingerprint", what.print+":"+d.name)
	}
	b.Clamp(e)
}

// fieldWriter adds fields to an event.
type fieldWriter struct {
	b *event.Batch
	e *event.Event
}

func (w fieldWriter) add(name, value string, kind event.Kind) {
	if value != "" {
		w.b.AddField(w.e, event.Field{Name: w.b.CopyString(name), Value: w.b.CopyString(value), Kind: kind})
	}
}

func (w fieldWriter) text(name, value string) { w.add(name, value, event.String) }
func (w fieldWriter) number(name string, n int64) {
	w.add(name, strconv.FormatInt(n, 10), event.Number)
}
func (w fieldWriter) float(name string, f float64) {
	w.add(name, strconv.FormatFloat(f, 'f', -1, 64), event.Number)
}
func (w fieldWriter) bool(name string, v bool) { w.add(name, strconv.FormatBool(v), event.Bool) }
