package docker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/events"
	"pgregory.net/rapid"
)

const second = int64(time.Second)

var idA, idB = strings.Repeat("a", 64), strings.Repeat("b", 64)

func message(id string, at int64, action string, attributes ...string) *events.Message {
	m := &events.Message{Type: events.ContainerEventType, Action: events.Action(action), TimeNano: at}
	m.Actor = events.Actor{ID: id, Attributes: map[string]string{"name": "shop"}}
	for i := 0; i+1 < len(attributes); i += 2 {
		m.Actor.Attributes[attributes[i]] = attributes[i+1]
	}
	return m
}

// words writes what was told as "ACTION level [exit] text".
func words(list []told) (out []string) {
	for _, t := range list {
		s := fmt.Sprintf("%s %s %s", t.action, t.level, t.text)
		if t.hasExit {
			s += fmt.Sprintf(" [%d]", t.exit)
		}
		out = append(out, s)
	}
	return out
}

// The removal of a container that is dead for a while ends the alert about that, which a start under its name may never do.
func TestRemovalEndsAnAlert(t *testing.T) {
	d := &details{id: idA, name: "shop", policy: true}
	for at, want := range map[int64]string{3: "", 61: "", 62: "container"} {
		m := &lifecycle{}
		m.event(message(idA, 1*second, "start", "", ""), d)
		m.event(message(idA, 2*second, "die", "exitCode", "1"), d)
		got := m.event(message(idA, at*second, "destroy", "", ""), d)
		if len(got) != 1 || got[0].action != "destroy" || got[0].print != want {
			t.Errorf("removed %d s after its start: %+v, want the fingerprint %q", at, got, want)
		}
	}
	m := &lifecycle{}
	m.event(message(idA, 1*second, "start", "", ""), d)
	if got := m.event(message(idA, 600*second, "destroy", "", ""), d); len(got) != 1 || got[0].print != "" {
		t.Errorf("removed while it runs: %+v", got)
	}
}

// Nothing but its removal may end the alert about an unhealthy container that goes for good.
func TestRemovalEndsBadHealth(t *testing.T) {
	d := &details{id: idA, name: "shop", policy: true}
	for status, want := range map[string]int{"unhealthy": 1, "healthy": 0} {
		m := &lifecycle{}
		m.event(message(idA, 1*second, "start", "", ""), d)
		m.event(message(idA, 2*second, "health_status: "+status, "", ""), d)
		got := 0
		for _, t := range m.event(message(idA, 3*second, "destroy", "", ""), d) {
			if t.print == "health" && t.action == "destroy" {
				got++
			}
		}
		if got != want {
			t.Errorf("%s: %d events of its removal end the alert, want %d", status, got, want)
		}
	}
}

func TestLifecycleEvents(t *testing.T) {
	d := &details{id: idA, name: "shop", policy: true}
	job := &details{id: idA, name: "shop"}
	quit := &details{id: idA, name: "shop", policy: true, stopSignal: "SIGQUIT"}
	killed := &details{id: idA, name: "shop", policy: true, oomKilled: true}
	type step struct {
		at     int64 // s
		action string
		attr   string // exit code or signal
		want   string
	}
	loop := []step{
		{10, "start", "", "start info was started"}, {11, "die", "1", "die error died with exit code 1 [1]"},
		{12, "start", "", "start info was started"}, {13, "die", "1", "die error died with exit code 1 [1]"},
		{14, "start", "", "start info was started"},
		{15, "die", "2", "die error died with exit code 2 [2] | restart_loop critical is in a restart loop: it died 3 times within 4 s [2]"},
		{16, "start", "", "start info was started"}, {17, "die", "1", "die error died with exit code 1 [1]"}, // told once
	}
	for _, c := range []struct {
		name  string
		d     *details
		steps []step
	}{
		{"asked to stop", d, []step{{1, "start", "", "start info was started"}, {2, "kill", "15", ""}, {12, "kill", "9", ""}, {13, "die", "137", "die info was stopped as asked, with exit code 137 [137]"}}},
		{"its stop signal", quit, []step{{1, "start", "", "start info was started"}, {2, "kill", "3", ""}, {3, "die", "0", "die info was stopped as asked, with exit code 0 [0]"}}},
		{"another's stop signal", d, []step{{1, "start", "", "start info was started"}, {2, "kill", "3", ""}, {3, "die", "131", "die error died with exit code 131 [131]"}}},
		{"killed", d, []step{{1, "start", "", "start info was started"}, {2, "kill", "9", ""}, {3, "die", "137", "die error died with exit code 137 [137]"}}},
		{"asked long ago", d, []step{{1, "start", "", "start info was started"}, {2, "kill", "15", ""}, {700, "die", "1", "die error died with exit code 1 [1]"}}},
		{"asked before its start", d, []step{{1, "kill", "15", ""}, {2, "start", "", "start info was started"}, {3, "die", "1", "die error died with exit code 1 [1]"}}},
		{"ended well", job, []step{{1, "start", "", "start info was started"}, {2, "die", "0", "die info ended with exit code 0 [0]"}}},
		{"a restart", d, []step{{1, "start", "", "start info was started"}, {2, "kill", "15", ""}, {3, "die", "0", "die info was stopped as asked, with exit code 0 [0]"}, {4, "stop", "", ""}, {5, "start", "", "start info was started"}, {6, "restart", "", ""}}},
		{"out of memory", d, []step{{1, "start", "", "start info was started"}, {2, "oom", "", ""}, {3, "die", "137", "die critical was killed: out of memory [137]"}}},
		{"a process out of memory, and its parent fails", d, []step{{1, "start", "", "start info was started"}, {2, "oom", "", ""}, {3, "die", "1", "die critical was killed: out of memory [1]"}}},
		{"a process out of memory, and its parent ends well", killed, []step{{1, "start", "", "start info was started"}, {2, "oom", "", ""}, {3, "kill", "15", ""}, {3, "die", "0", "oom error had a process killed: out of memory | die info was stopped as asked, with exit code 0 [0]"}}},
		{"inspect says so of a process long ago", killed, []step{{1, "start", "", "start info was started"}, {3, "kill", "15", ""}, {4, "die", "0", "die info was stopped as asked, with exit code 0 [0]"}}},
		{"out of memory, as inspect says", killed, []step{{1, "start", "", "start info was started"}, {3, "die", "137", "die critical was killed: out of memory [137]"}}},
		{"health", d, []step{{1, "health_status: healthy", "", "healthy info is healthy"}, {2, "health_status: unhealthy", "", "unhealthy error is unhealthy"}, {3, "health_status: unhealthy", "", ""}, {4, "health_status: running", "", ""}, {5, "health_status: healthy", "", "healthy info is healthy"}}},
		{"twice the same", d, []step{{1, "start", "", "start info was started"}, {1, "start", "", ""}, {3, "die", "1", "die error died with exit code 1 [1]"}, {3, "die", "1", ""}, {2, "die", "1", ""}, {4, "die", "1", ""}}},
		{"a start that comes too late", d, []step{{1, "start", "", "start info was started"}, {5, "die", "1", "die error died with exit code 1 [1]"}, {4, "start", "", ""}}},
		{"a restart loop", d, loop},
		{"a loop that ends in removal", d, append(loop[:8:8], step{18, "destroy", "", "stable info is no longer in a restart loop: it was removed | destroy info was removed"})},
		{"a loop that is stopped", d, append(loop[:8:8], step{18, "start", "", "start info was started"}, step{19, "kill", "15", ""},
			step{20, "die", "0", "die info was stopped as asked, with exit code 0 [0] | stable info is no longer in a restart loop: it was stopped"})},
		{"deaths far apart", d, []step{{1, "die", "1", "die error died with exit code 1 [1]"}, {2, "start", "", "start info was started"}, {400, "die", "1", "die error died with exit code 1 [1]"},
			{401, "start", "", "start info was started"}, {700, "die", "1", "die error died with exit code 1 [1]"}}},
		{"a job that is run often", job, []step{{1, "die", "0", "die info ended with exit code 0 [0]"}, {2, "start", "", "start info was started"}, {3, "die", "0", "die info ended with exit code 0 [0]"},
			{4, "start", "", "start info was started"}, {5, "die", "0", "die info ended with exit code 0 [0]"}}},
		{"a service that ends well all the time", d, []step{{1, "die", "0", "die info ended with exit code 0 [0]"}, {2, "start", "", "start info was started"}, {3, "die", "0", "die info ended with exit code 0 [0]"},
			{4, "start", "", "start info was started"}, {5, "die", "0", "die info ended with exit code 0 [0] | restart_loop critical is in a restart loop: it died 3 times within 4 s [0]"}}},
		{"what is none of ours", d, []step{{1, "exec_die", "1", ""}, {2, "attach", "", ""}, {3, "pause", "", ""}}},
	} {
		m := &lifecycle{}
		for i, s := range c.steps {
			key := "exitCode"
			if s.action == "kill" {
				key = "signal"
			}
			got := strings.Join(words(m.event(message(idA, s.at*second, s.action, key, s.attr), c.d)), " | ")
			if got != s.want {
				t.Errorf("%s: step %d: %q, want %q", c.name, i, got, s.want)
			}
			// Whatever is told, a restart of lookout changes nothing.
			again, err := decodeLifecycle(m.encode())
			if err != nil {
				t.Fatalf("%s: step %d: %v", c.name, i, err)
			}
			m = again
		}
	}
}

func TestTick(t *testing.T) {
	d := &details{id: idA, policy: true}
	m := &lifecycle{}
	for i := int64(1); i <= 3; i++ {
		m.event(message(idA, 2*i*second, "start"), d)
		m.event(message(idA, (2*i+1)*second, "die", "exitCode", "1"), d)
	}
	if m.waits() {
		t.Error("it waits though the container does not run")
	}
	m.event(message(idA, 10*second, "start"), d)
	if !m.waits() || m.tick(idA, 609*second) != nil {
		t.Error("stable before 10 minutes")
	}
	if got := words(m.tick(idA, 610*second)); len(got) != 1 || got[0] != "stable info is no longer in a restart loop: it has run for 10 min" {
		t.Errorf("%q", got)
	}
	if m.waits() || m.tick(idA, 700*second) != nil || m.tick(idB, 700*second) != nil {
		t.Error("told twice")
	}
	m.event(message(idA, 800*second, "oom"), d)
	if m.tick(idA, 801*second) != nil {
		t.Error("an OOM kill is told before the container had time to die")
	}
	if got := words(m.tick(idA, 802*second)); len(got) != 1 || got[0] != "oom error had a process killed: out of memory" {
		t.Errorf("%q", got)
	}
	// Inspecting says so for good: it is not what the container died of later.
	d.oomKilled = true
	if got := words(m.event(message(idA, 900*second, "die", "exitCode", "137"), d)); len(got) != 1 || got[0] != "die error died with exit code 137 [137]" {
		t.Errorf("%q", got)
	}
}

func TestLook(t *testing.T) {
	running := func(started, finished int64) *details {
		return &details{id: idA, state: "running", started: started * second, finished: finished * second, policy: true}
	}
	exited := func(started, finished int64, exit int) *details {
		return &details{id: idA, state: "exited", started: started * second, finished: finished * second, exitCode: exit, policy: true}
	}
	start := func(at int64) *events.Message { return message(idA, at*second, "start") }
	die := func(at int64) *events.Message { return message(idA, at*second, "die", "exitCode", "1") }
	const now = 1000 * second
	for _, c := range []struct {
		name   string
		before []*events.Message
		first  bool // the first look of all
		d      *details
		want   string
	}{
		{"the first look: running", nil, true, running(5, 0), "start info was found running, since 1970-01-01T00:00:05.000Z"},
		{"the first look: ended", nil, true, exited(5, 6, 1), ""},
		{"the first look: created", nil, true, &details{id: idA, state: "created"}, ""},
		{"a new one that runs", nil, false, running(5, 0), "start info was started"},
		{"a new one that has ended", nil, false, exited(5, 6, 3), "start info was started | die error died with exit code 3 [3]"},
		{"nothing has changed: it runs", []*events.Message{start(5)}, false, running(4, 0), ""},
		{"nothing has changed: it has ended", []*events.Message{start(5), die(7)}, false, exited(4, 6, 1), ""},
		{"it died meanwhile", []*events.Message{start(5)}, false, exited(4, 8, 137), "die error died with exit code 137 [137]"},
		{"it was started meanwhile", []*events.Message{start(5), die(7)}, false, running(8, 6), "start info was started"},
		{"it died and was started", []*events.Message{start(5)}, false, running(9, 8), "die warning ended, and nobody saw how: lookout or the engine was not running | start info was started"},
		{"it was started and died", []*events.Message{start(5), die(7)}, false, exited(8, 9, 2), "start info was started | die error died with exit code 2 [2]"},
		{"it restarts, as before", []*events.Message{start(5), die(7)}, false, &details{id: idA, state: "restarting", started: 4 * second, finished: 6 * second}, ""},
	} {
		m := &lifecycle{known: !c.first}
		for _, msg := range c.before {
			m.event(msg, c.d)
		}
		if got := strings.Join(words(m.look(c.d, now)), " | "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := m.look(c.d, now); got != nil {
			t.Errorf("%s: told twice: %q", c.name, words(got))
		}
		// The event of what was told comes later than it happened.
		if c.d.finished > 0 && !c.d.running() {
			if got := m.event(message(idA, c.d.finished+second/2, "die", "exitCode", "1"), c.d); got != nil {
				t.Errorf("%s: the death is told twice: %q", c.name, words(got))
			}
		}
		if c.d.running() {
			if got := m.event(message(idA, c.d.started+second/2, "start"), c.d); got != nil {
				t.Errorf("%s: the start is told twice: %q", c.name, words(got))
			}
		}
	}
}

func TestLookAtHealth(t *testing.T) {
	d := &details{id: idA, state: "running", started: second, health: "unhealthy"}
	m := &lifecycle{}
	if got := words(m.look(d, 5*second)); len(got) != 2 || got[1] != "unhealthy error is unhealthy" {
		t.Errorf("the first look: %q", got)
	}
	d.health = "healthy"
	if got := words(m.look(d, 6*second)); len(got) != 1 || got[0] != "healthy info is healthy" {
		t.Errorf("later: %q", got)
	}
	m = &lifecycle{}
	if got := words(m.look(d, 5*second)); len(got) != 1 {
		t.Errorf("that all is well is told at the first look: %q", got)
	}
	m.looked([]string{idA})
	if m.looked([]string{idB}); len(m.lives) != 0 || !m.known {
		t.Error("a container that no longer exists is remembered")
	}
}

// All that the real engine said of its containers in a row.
func TestLifecycleCapture(t *testing.T) {
	m := &lifecycle{}
	var got []string
	dec := json.NewDecoder(bytes.NewReader(capture(t, "docker-events.ndjson")))
	for dec.More() {
		var msg events.Message
		if err := dec.Decode(&msg); err != nil {
			t.Fatal(err)
		}
		if msg.Type != events.ContainerEventType {
			continue
		}
		for _, w := range words(m.event(&msg, &details{id: msg.Actor.ID})) {
			got = append(got, msg.Actor.Attributes["name"]+" "+w)
		}
		if m.event(&msg, &details{id: msg.Actor.ID}) != nil {
			t.Errorf("%s of %s is taken twice", msg.Action, msg.Actor.ID)
		}
	}
	count := map[string]int{}
	for _, g := range got {
		f := strings.Fields(g)
		count[f[1]+" "+f[2]]++
	}
	if count["start info"] == 0 || count["die info"] == 0 || count["start info"] < count["die info"]+count["die error"] {
		t.Errorf("%v of %q", count, got)
	}
	if !strings.Contains(strings.Join(got, "\n"), "f1 die info was stopped as asked, with exit code 2 [2]") {
		t.Errorf("docker restart f1 is not told as asked: %q", got)
	}
}

func TestLifecycleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 1<<61))
		m := &lifecycle{known: true, lives: map[string]*life{}}
		m.taken.last = rapid.Int64Range(0, 1<<61).Draw(t, "last")
		m.taken.floor = m.taken.last - rapid.Int64Range(0, late).Draw(t, "floor")
		for range rapid.IntRange(0, 3).Draw(t, "marks") {
			m.taken.marks = append(m.taken.marks, mark{times.Draw(t, "at"), rapid.Uint32().Draw(t, "hash")})
		}
		for range rapid.IntRange(0, 20).Draw(t, "lives") {
			id := fmt.Sprintf("%012x", rapid.Uint64Range(0, 1<<48-1).Draw(t, "id"))
			m.lives[id] = &life{
				told: times.Draw(t, "told"), running: rapid.Bool().Draw(t, "running"), healthy: health(rapid.IntRange(0, 2).Draw(t, "health")),
				asked: times.Draw(t, "asked"), killed: times.Draw(t, "killed"), oom: times.Draw(t, "oom"), loop: rapid.Bool().Draw(t, "loop"), outlive: rapid.Bool().Draw(t, "outlive"),
				deaths: rapid.SliceOfN(rapid.Int64Range(1, 1<<61), 0, 3).Draw(t, "deaths"),
			}
		}
		b := m.encode()
		got, err := decodeLifecycle(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.lives {
			if len(l.deaths) == 0 {
				l.deaths = nil
			}
		}
		if !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v came back as %+v", m, got)
		}
		if _, err := decodeLifecycle(b[:len(b)-1]); err == nil {
			t.Fatal("a part of it is accepted")
		}
	})
}

func TestLifecycleStaysSmall(t *testing.T) {
	m := &lifecycle{lives: map[string]*life{}, taken: recent{last: 1_800_000_000 * second}}
	last := m.taken.last
	for i := range int64(5000) {
		m.lives[fmt.Sprintf("%012x", i)] = &life{told: last - i*second, asked: last - i, deaths: []int64{last, last - 1, last - 2}}
	}
	b := m.encode()
	got, err := decodeLifecycle(b)
	if err != nil || len(b) > 60<<10 || len(got.lives) != maxLives || got.lives["000000000000"] == nil {
		t.Errorf("%d bytes, %d lives, %v", len(b), len(got.lives), err)
	}
}

func FuzzLifecycle(f *testing.F) {
	m := &lifecycle{taken: recent{last: 100 * second}}
	m.event(message(idA, 100*second, "start"), &details{id: idA})
	f.Add(m.encode())
	f.Add([]byte{1, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeLifecycle(b)
		if err != nil {
			return
		}
		if again, err := decodeLifecycle(m.encode()); err != nil || len(again.lives) != len(m.lives) {
			t.Fatalf("%v", err)
		}
	})
}
