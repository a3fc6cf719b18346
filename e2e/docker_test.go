//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/e2e/emit/awkward"
	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

var dockerLoad = flag.Bool("docker-load", false, "TestDockerLoad at its full size")

// What becomes of an awkward line on the way through Docker, before lookout sees it.
type driver struct {
	name  string
	empty string // why empty lines are lost, "" when they are not
	// raw drivers keep bytes that are no UTF-8; others write U+FFFD for each, and for each half of a character that they cut.
	raw bool
	tty bool
	// merged is why a line of exactly so many fragments may have become one with the next, "" when it may not.
	merged string
}

// expected returns a line's message in lookout; lost says why there is none.
func (d driver) expected(run string, l awkward.Line) (message, lost string) {
	text := l.Text
	if l.Name == "JSON" { // the stage has taken it apart
		_, text, _ = strings.Cut(text, `"msg":"`)
		text, _, _ = strings.Cut(text, `"`)
	}
	if text == "" && d.empty != "" {
		return "", d.empty
	}
	if d.raw {
		return string([]rune(text)), "" // as JSON shows it; see stores
	}
	var b strings.Builder
	for len(text) > awkward.Fragment {
		b.WriteString(string([]rune(text[:awkward.Fragment])))
		text = text[awkward.Fragment:]
	}
	b.WriteString(string([]rune(text)))
	return b.String(), ""
}

// short is a line as a report shows it.
func short(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%q…%q (%d bytes)", s[:40], s[len(s)-40:], len(s))
	}
	return fmt.Sprintf("%q", s)
}

// differences says how got is not want: what is missing, too much, or out of its place.
func differences(want, got []string) (d []string) {
	left := map[string]int{}
	for _, g := range got {
		left[g]++
	}
	for _, w := range want {
		if left[w]--; left[w] < 0 {
			d = append(d, "missing: "+short(w))
		}
	}
	for g, n := range left {
		if n > 0 {
			d = append(d, fmt.Sprintf("%d × too much: %s", n, short(g)))
		}
	}
	for i := 0; i < len(want) && d == nil; i++ {
		if want[i] != got[i] {
			d = append(d, fmt.Sprintf("the order: line %d is %s, not %s", i+1, short(got[i]), short(want[i])))
		}
	}
	return d
}

// settles waits until there is no difference left, and names those that remain.
func settles(t *testing.T, what string, limit time.Duration, differences func() []string) {
	t.Helper()
	deadline := time.Now().Add(patience * limit)
	for {
		d := differences()
		if len(d) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s, after %v: %d differences:\n\t%s", what, patience*limit, len(d), strings.Join(d[:min(len(d), 30)], "\n\t"))
			return
		}
		time.Sleep(50 * time.Millisecond) // the real clock of a real process is the only one there is
	}
}

// awkward waits until the awkward lines of a container are there, each once and in their stream's order.
func (d driver) awkward(t *testing.T, s *server, container, run string) {
	t.Helper()
	streams := []string{"stdout", "stderr"}
	want := map[string][]string{}
	open := "" // a terminal has one stream: two lines without a newline are one
	for _, l := range awkward.Lines(run) {
		stream := "stdout"
		if l.Stderr && !d.tty {
			stream = "stderr"
		}
		message, lost := d.expected(run, l)
		if lost != "" {
			t.Logf("%s: %s: not there: %s", d.name, l.Name, lost)
			continue
		}
		if d.tty && l.Open && open == "" {
			open = message
			continue
		}
		want[stream] = append(want[stream], open+message)
		open = ""
	}
	settles(t, d.name, 20*time.Second, func() (problems []string) {
		got := map[string][]string{}
		for _, r := range s.query("container:" + container + " stream:(stdout, stderr)") {
			got[r.Event.Stream] = append(got[r.Event.Stream], r.Event.Message)
			if strings.HasSuffix(r.Event.Message, " json") && (r.Event.Level != "warning" || fmt.Sprint(r.Event.Fields["n"]) != "7") {
				problems = append(problems, fmt.Sprintf("the JSON line: %+v", r.Event))
			}
		}
		for _, stream := range streams {
			for i, m := range want[stream] {
				if len(m) == 0 || len(m)%awkward.Fragment != 0 || d.merged == "" {
					continue
				}
				if k := slices.Index(got[stream], m+want[stream][i+1]); k >= 0 { // one with the next: d.merged
					got[stream] = slices.Replace(got[stream], k, k+1, m, want[stream][i+1])
				}
			}
			for _, p := range differences(want[stream], got[stream]) {
				problems = append(problems, stream+": "+p)
			}
		}
		return problems
	})
}

// The gelf driver over UDP: every line once, but for what the driver itself destroys.
func TestDockerGELF(t *testing.T) {
	e := docker(t)
	s := serve(t, t.TempDir())
	for _, compression := range []string{"none", "gzip"} {
		d := driver{name: "gelf, " + compression, empty: "the driver drops empty lines",
			merged: "the driver does not say where a line ends, and the next has the same time, which is in ms"}
		container := "gelf-" + compression
		e.run(t, container, "--log-driver", "gelf", "--log-opt", "gelf-address=udp://"+s.gelf, "--log-opt", "gelf-compression-type="+compression, image, "awkward", "-run", compression)
		e.docker(t, "wait", container)
		d.awkward(t, s, container, compression)
	}
	if n := s.metric("lookout_gelf_datagrams_received_total"); n < 100 {
		t.Errorf("%v datagrams: what did this test see?", n)
	}
}

// follow starts a lookout that follows the engine's containers through its API.
func (e *engine) follow(t *testing.T, dir string, env ...string) *server {
	t.Helper()
	return serve(t, dir, append([]string{"LOOKOUT_DOCKER=" + e.socket}, env...)...)
}

// Through the API: every line once and in its stream's order, whichever driver keeps it, with a terminal or without. The
// first containers ran before lookout did.
func TestDockerLines(t *testing.T) {
	e := docker(t)
	const empty = "an empty line is no event; it is counted"
	drivers := []driver{
		{name: "json-file", empty: empty}, {name: "local", empty: empty, raw: true},
		{name: "json-file-tty", empty: empty, tty: true}, {name: "local-tty", empty: empty, raw: true, tty: true},
	}
	start := func(d driver, when string) string {
		kind, tty := strings.CutSuffix(d.name, "-tty")
		name := when + "-" + d.name
		args := []string{"--log-driver", kind}
		if tty {
			args = append(args, "-t")
		}
		e.run(t, name, append(args, image, "awkward", "-run", name)...)
		return name
	}
	for _, d := range drivers {
		start(d, "before")
	}
	s := e.follow(t, t.TempDir())
	for _, d := range drivers {
		start(d, "after")
	}
	e.run(t, "trace", image, "trace", "-run", "trace")
	const long = event.MaxMessage + 100_000
	e.run(t, "long", image, "long", "-run", "long", "-n", strconv.Itoa(long))
	check := func() {
		for _, d := range drivers {
			for _, when := range []string{"before", "after"} {
				name := when + "-" + d.name
				d.awkward(t, s, name, name)
			}
		}
		settles(t, "trace", 10*time.Second, func() (problems []string) {
			rows := s.query("container:trace stream:stdout")
			if len(rows) != 3 || strings.Count(rows[1].Event.Message, "\n") != 6 || !strings.HasPrefix(rows[1].Event.Message, "ERROR trace") || rows[1].Event.Level != "error" {
				problems = append(problems, fmt.Sprintf("%d events: %+v", len(rows), rows))
			}
			return problems
		})
		settles(t, "long", 10*time.Second, func() (problems []string) {
			rows := s.query("container:long stream:stdout")
			if len(rows) != 1 || !strings.HasSuffix(rows[0].Event.Message, event.TruncationMark) || len(rows[0].Event.Message) < event.MaxMessage-100 {
				problems = append(problems, fmt.Sprintf("%d events", len(rows)))
			}
			return problems
		})
	}
	check()
	// Nothing comes a second time: not when a lookout that stopped begins again, nor when one that was killed does.
	if code, _ := s.stop(); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
	s.start()
	s.kill()
	s.start()
	e.run(t, "last", image, "crash", "-run", "last")
	eventually(t, "a line behind the restart", 10*time.Second, func() bool { return len(s.query("container:last stream:stdout")) == 1 })
	check()
	s.stop()

	stores(t, s, "container:*-local* invalid", []byte("invalid \xff\xfe\xc3 end"), 4)
}

// stores checks that n events of a stopped server match q and hold part: JSON cannot show bytes that are no UTF-8.
func stores(t *testing.T, s *server, q string, part []byte, n int) {
	t.Helper()
	store, err := index.Open(index.Options{Dir: filepath.Join(s.dir, "data", "store")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.Background())
	parsed, err := query.Parse(q)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	if _, err := store.Search(t.Context(), query.Request{Query: parsed}, func(r query.Row) error {
		found++
		if !bytes.Contains(r.Event.Message, part) {
			t.Errorf("%s: %q does not hold %q", r.Event.Container, r.Event.Message, part)
		}
		return nil
	}); err != nil || found != n {
		t.Errorf("%s: %d events, not %d; %v", q, found, n, err)
	}
}

// numbered says what is wrong with the lines of emit's count: each boot's lines are there from 1 to its end, once and in
// order. boots is how many there must be; the last of them may still be writing when open is set.
func numbered(rows []row, run string, boots int, open bool) (problems []string) {
	boot, next, ended := 0, 1, true
	var prefix string
	for _, r := range rows {
		m := strings.TrimRight(r.Event.Message, " x") // emit's -size
		if end := fmt.Sprintf("%s b%d end %d", run, boot, next-1); m == end && !ended {
			ended = true
			continue
		}
		if first := fmt.Sprintf("%s b%d 1", run, boot+1); m == first && ended {
			boot, next, ended = boot+1, 1, false
			prefix = fmt.Sprintf("%s b%d ", run, boot)
		}
		if rest, ok := strings.CutPrefix(m, prefix); !ok || prefix == "" || rest != strconv.Itoa(next) {
			if len(problems) < 10 {
				problems = append(problems, fmt.Sprintf("%q where boot %d, line %d belongs", m, boot, next))
			}
			if n, err := strconv.Atoi(rest); ok && err == nil { // one problem a gap
				next = n
			}
		}
		next++
	}
	if boot != boots || !ended && !open {
		problems = append(problems, fmt.Sprintf("%d boots of %d in %d lines, the last ended: %v", boot, boots, len(rows), ended))
	}
	return problems
}

// Containers, lookout and the daemon stop, restart and are killed while lines are being written: each is there once.
func TestDockerRestarts(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	names := []string{"again-json-file", "again-local", "again-tty"}
	for _, name := range names {
		args := []string{"--restart", "always", "--log-driver", "json-file"}
		switch name {
		case "again-local":
			args[3] = "local"
		case "again-tty":
			args = append(args, "-t")
		}
		e.run(t, name, append(args, image, "count", "-run", name, "-rate", "100")...)
	}
	boots := 1
	grow := func(what string) {
		t.Helper()
		// More than a few lines, so that it is not only what the restart itself brings.
		for _, name := range names {
			q := "container:" + name + fmt.Sprintf(` stream:stdout "b%d 50"`, boots)
			eventually(t, name+" "+what, 30*time.Second, func() bool { return len(s.query(q)) > 0 })
		}
	}
	grow("at the start")
	e.docker(t, append([]string{"restart"}, names...)...)
	boots++
	grow("restarted")
	if code, _ := s.stop(); code != 0 {
		t.Errorf("SIGTERM: exit %d", code)
	}
	s.start()
	for range 5 {
		time.Sleep(time.Duration(100+rand.IntN(400)) * time.Millisecond) // a kill comes at any moment
		s.kill()
		s.start()
	}
	e.restart(t)
	boots++
	grow("with a daemon that was restarted")
	s.kill()
	e.restart(t) // while nobody follows
	boots++
	s.start()
	grow("restarted with the daemon while lookout was dead")
	e.docker(t, append([]string{"stop"}, names...)...)
	for _, name := range names {
		settles(t, name, 20*time.Second, func() []string {
			return numbered(s.query("container:"+name+" stream:stdout"), name, boots, false)
		})
		if gaps := s.query("container:" + name + " action:gap"); len(gaps) > 0 {
			t.Errorf("%s: nothing is missing, but %d events say so: %s", name, len(gaps), gaps[0].Event.Message)
		}
	}
}

// Docker rotates logs while they are read: what it delivers twice is there once. At a speed that outruns the reader lines
// may be lost, but not silently.
func TestDockerRotation(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	for _, c := range []struct {
		name, driver, size, files string
		n, rate                   int
		complete                  bool
	}{
		{"rotated-json-file", "json-file", "10k", "30", 600, 100, true}, // none is removed, however late the reader is
		{"rotated-local", "local", "20k", "3", 1000, 200, false},
		{"fast-json-file", "json-file", "100k", "3", 50_000, 0, false},
		{"fast-local", "local", "100k", "3", 50_000, 0, false},
	} {
		e.run(t, c.name, "--log-driver", c.driver, "--log-opt", "max-size="+c.size, "--log-opt", "max-file="+c.files, image,
			"count", "-run", c.name, "-n", strconv.Itoa(c.n), "-rate", strconv.Itoa(c.rate), "-size", "60")
		e.docker(t, "wait", c.name)
		settles(t, c.name, 20*time.Second, func() []string {
			rows := s.query("container:" + c.name + " stream:stdout")
			problems := numbered(rows, c.name, 1, false)
			if c.complete || len(problems) == 0 {
				return problems
			}
			seen := map[string]bool{}
			for _, r := range rows {
				if seen[r.Event.Message] {
					return []string{"twice: " + r.Event.Message}
				}
				seen[r.Event.Message] = true
			}
			if len(s.query("container:"+c.name+" action:gap")) == 0 {
				return append(problems, fmt.Sprintf("%d lines of %d, and no event says that some are missing", len(rows), c.n+1))
			}
			if end := fmt.Sprintf("%s b1 end %d", c.name, c.n); !seen[end] { // Docker still has it
				return append(problems, end+" is missing: the log is not read to its end")
			}
			return nil
		})
		t.Logf("%s: %d of %d lines, %d gaps", c.name, len(s.query("container:"+c.name+" stream:stdout")), c.n+1, len(s.query("container:"+c.name+" action:gap")))
	}
}

// Containers that are gone with their logs as soon as they have written: every line is there, or an event says that some
// may be missing. They have no network: Docker 20.10 can lock up for good when many come and go at once (libnetwork).
func TestDockerShortLived(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	const containers, parallel = 50, 5
	var wg sync.WaitGroup
	turn := make(chan struct{}, parallel)
	for i := range containers {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			name := fmt.Sprintf("brief-%d", i)
			if _, err := e.cli("run", "--rm", "--network", "none", "--name", name, image, "count", "-run", name, "-n", "3"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	settles(t, "what happened to short-lived containers", 20*time.Second, func() (problems []string) {
		for _, action := range []string{"start", "die", "destroy"} {
			if n := len(s.query("container:brief-* stream:docker action:" + action)); n != containers {
				problems = append(problems, fmt.Sprintf("%s: %d events", action, n))
			}
		}
		return problems
	})
	whole, gaps := 0, 0
	settles(t, "short-lived containers", 20*time.Second, func() (problems []string) {
		whole, gaps = 0, 0
		for i := range containers {
			name := fmt.Sprintf("brief-%d", i)
			p := numbered(s.query("container:"+name+" stream:stdout"), name, 1, false)
			switch {
			case len(p) == 0:
				whole++
			case len(s.query("container:"+name+" action:gap")) > 0:
				gaps++
			default:
				problems = append(problems, fmt.Sprintf("%s: no event says that something is missing: %s", name, p))
			}
		}
		return problems
	})
	t.Logf("%d short-lived containers: %d whole, %d with an event that says what may be missing", containers, whole, gaps)
}

// containers are what GET /api/v1/containers knows, by name.
func (s *server) containers() map[string]container {
	s.t.Helper()
	resp, body := s.do(s.request("GET", "/api/v1/containers", nil))
	var answer struct{ Containers []container }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != 200 {
		s.t.Fatalf("/api/v1/containers: %d %.300s: %v", resp.StatusCode, body, err)
	}
	all := map[string]container{}
	for _, c := range answer.Containers {
		all[c.Container] = c
	}
	return all
}

type container struct {
	Container, Service, Env, Host, Image, Version, State, Health, Logs string
	Restarts                                                           int
	CPUSeconds                                                         float64 `json:"cpu_seconds"`
	MemoryBytes                                                        float64 `json:"memory_bytes"`
}

// What is known of containers: their service, environment and version, and how their lines come here. What a driver sends
// is not read a second time; what is not to be read is not.
func TestDockerContainers(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	gelf := []string{"--log-driver", "gelf", "--log-opt", "gelf-address=udp://" + s.gelf}
	for _, c := range []struct {
		name, image                        string
		options                            []string
		service, env, version, state, logs string
		lines                              int
	}{
		{"plain", image, nil, "plain", "", "", "running", "followed", 1},
		{"tagged", imageShop, nil, "tagged", "", "1.4.2", "running", "followed", 1},
		{"labelled", imageShop, []string{"--label", "lookout.service=shop", "--label", "lookout.env=prod", "--label", "lookout.version=2", "--label", "com.docker.compose.service=no", "--label", "com.docker.compose.project=no"},
			"shop", "prod", "2", "running", "followed", 1},
		{"composed", image, []string{"--label", "com.docker.compose.service=sales", "--label", "com.docker.compose.project=demo", "--label", "org.opencontainers.image.version=3"}, "sales", "demo", "3", "running", "followed", 1},
		{"swarmed", image, []string{"--label", "com.docker.swarm.service.name=demo_web", "--label", "com.docker.stack.namespace=demo"}, "demo_web", "demo", "", "running", "followed", 1},
		{"driven", image, gelf, "driven", "", "", "running", "sent by its driver (gelf)", 1},
		{"silent", image, []string{"--label", "lookout.enable=false"}, "silent", "", "", "running", "off (lookout.enable=false)", 0},
		{"unreadable", image, []string{"--log-driver", "none"}, "unreadable", "", "", "running", "unreadable (none)", 0},
	} {
		e.run(t, c.name, append(c.options, c.image, "sleep", "-run", c.name)...)
		settles(t, c.name, 20*time.Second, func() (problems []string) {
			got := s.containers()[c.name]
			if got.Service != c.service || got.Env != c.env || got.Version != c.version || got.State != c.state || got.Logs != c.logs || got.Host == "" {
				problems = append(problems, fmt.Sprintf("/api/v1/containers: %+v", got))
			}
			rows := s.query("container:" + c.name + " stream:stdout")
			if len(rows) != c.lines {
				problems = append(problems, fmt.Sprintf("%d lines, not %d", len(rows), c.lines))
			} else if c.lines > 0 && c.logs == "followed" && (rows[0].Event.Service != c.service || rows[0].Event.Env != c.env || rows[0].Event.Host != got.Host || c.version != "" && fmt.Sprint(rows[0].Event.Fields["version"]) != c.version) {
				problems = append(problems, fmt.Sprintf("its line: %+v", rows[0].Event))
			}
			return problems
		})
	}
	settles(t, "all are measured", 60*time.Second, func() (problems []string) { // when found, and then every 30 s
		for name, c := range s.containers() {
			if c.MemoryBytes <= 0 && name != "silent" {
				problems = append(problems, fmt.Sprintf("%s: %+v", name, c))
			}
		}
		return problems
	})
	// Nothing more has come since: neither the line that its driver sent, nor the silent one's.
	for name, lines := range map[string]int{"driven": 1, "silent": 0, "unreadable": 0} {
		if n := len(s.query("container:" + name + " stream:(stdout, stderr)")); n != lines {
			t.Errorf("%s: %d lines", name, n)
		}
	}
	e.docker(t, "rm", "-f", "plain")
	settles(t, "a container that is gone", 10*time.Second, func() (problems []string) {
		if c, ok := s.containers()["plain"]; ok {
			problems = append(problems, fmt.Sprintf("%+v", c))
		}
		return problems
	})
}

// What happens to containers comes as events of their service: how they end, whether they are well, when they loop.
func TestDockerLifecycle(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	// told waits for an event; the words are parts of its message.
	told := func(name, action, level string, fields ...string) {
		t.Helper()
		settles(t, name+" "+action, 20*time.Second, func() (problems []string) {
			rows := s.query("container:" + name + " stream:docker action:" + action)
			if len(rows) != 1 {
				return []string{fmt.Sprintf("%d events: %+v", len(rows), rows)}
			}
			ev := rows[0].Event
			if ev.Level != level || ev.Service != "svc-"+name || !strings.Contains(ev.Message, name) {
				problems = append(problems, fmt.Sprintf("%+v", ev))
			}
			for i := 0; i < len(fields); i += 2 {
				if got := fmt.Sprint(ev.Fields[fields[i]]); got != fields[i+1] {
					problems = append(problems, fmt.Sprintf("%s is %s: %+v", fields[i], got, ev))
				}
			}
			return problems
		})
	}
	run := func(name string, args ...string) {
		t.Helper()
		e.run(t, name, append([]string{"--label", "lookout.service=svc-" + name}, args...)...)
	}

	run("crashing", image, "crash", "-n", "3", "-run", "crashing")
	told("crashing", "start", "info", "fingerprint", "container:crashing")
	told("crashing", "die", "error", "exit_code", "3", "fingerprint", "container:crashing")

	run("stopped", image, "sleep", "-run", "stopped")
	eventually(t, "that it can be stopped", 10*time.Second, func() bool { return len(s.query("container:stopped waiting")) == 1 })
	e.docker(t, "stop", "stopped")
	told("stopped", "die", "info", "exit_code", "0")

	run("killed", image, "sleep")
	e.docker(t, "kill", "killed")
	told("killed", "die", "error", "exit_code", "137")

	// On a busy machine the engine may hear of the kill too late to say why: then another one is tried, as long as it takes.
	for i := 0; ; i++ {
		greedy := fmt.Sprintf("greedy-%d", i)
		run(greedy, "--memory", "20m", "--memory-swap", "20m", image, "oom")
		if code := e.docker(t, "wait", greedy); code != "137" {
			t.Errorf("it ended with %s: this machine's cgroups do not hold --memory, and that an OOM kill is told could not be tried", code)
			break
		}
		if e.docker(t, "inspect", "-f", "{{.State.OOMKilled}}", greedy) == "true" {
			told(greedy, "die", "critical", "exit_code", "137", "oom_killed", "true", "fingerprint", "container:"+greedy)
			break
		}
		if i == 30 {
			t.Error("the engine says of no kill that it was for memory")
			break
		}
	}

	run("ill", imageSickly, "sleep")
	e.docker(t, "exec", "ill", "/emit", "sick")
	told("ill", "unhealthy", "error", "fingerprint", "health:ill")
	eventually(t, "unhealthy in /api/v1/containers", 10*time.Second, func() bool { return s.containers()["ill"].Health == "unhealthy" })
	e.docker(t, "exec", "ill", "/emit", "well")
	settles(t, "ill is well", 20*time.Second, func() (problems []string) {
		rows := s.query("container:ill action:healthy", "order", "newest")
		if len(rows) == 0 || rows[0].Event.Level != "info" || fmt.Sprint(rows[0].Event.Fields["fingerprint"]) != "health:ill" || s.containers()["ill"].Health != "healthy" {
			problems = append(problems, fmt.Sprintf("%+v, %+v", rows, s.containers()["ill"]))
		}
		return problems
	})

	run("looping", "--restart", "always", image, "crash", "-n", "1", "-run", "looping")
	told("looping", "restart_loop", "critical", "fingerprint", "loop:looping")
	e.docker(t, "rm", "-f", "looping")
	told("looping", "destroy", "info")
}

// A label is enough for a container to be probed: it is found, goes down, comes up and leaves.
func TestDockerProbe(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	e.run(t, "status", "--label", "lookout.service=sales", "--label", "lookout.probe=http://:8080/status", "--label", "lookout.probe.every=1s", "--label", "lookout.probe.confirm=1s", "--label", "lookout.probe.recover=1s", image, "http")
	is := func(state string) {
		t.Helper()
		settles(t, "the probe is "+state, 20*time.Second, func() (problems []string) {
			var answer struct {
				Probes []struct{ Target, Container, State, URL string }
			}
			resp, body := s.do(s.request("GET", "/api/v1/probes", nil))
			if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != 200 {
				t.Fatalf("/api/v1/probes: %d %.300s: %v", resp.StatusCode, body, err)
			}
			if len(answer.Probes) != 1 || answer.Probes[0].Target != "sales" || answer.Probes[0].Container != "status" || answer.Probes[0].State != state {
				problems = append(problems, fmt.Sprintf("%+v", answer.Probes))
			}
			return problems
		})
	}
	is("up")
	// On a slow machine the container may be asked before it listens, and so be down before it is up.
	changes := func(change string) []row { return s.query("service:sales stream:probe change:" + change) }
	downs, ups := len(changes("down")), len(changes("up"))
	if downs != ups {
		t.Errorf("it is up, and was down %d times and up again %d times", downs, ups)
	}
	e.docker(t, "exec", "status", "/emit", "sick")
	is("down")
	e.docker(t, "exec", "status", "/emit", "well")
	is("up")
	for _, c := range []struct {
		change, level string
		before        int
	}{{"down", "error", downs}, {"up", "info", ups}} {
		rows := changes(c.change)
		if len(rows) != c.before+1 {
			t.Errorf("%s: %d events, and before %d", c.change, len(rows), c.before)
		}
		for _, r := range rows {
			if r.Event.Level != c.level || r.Event.Container != "status" {
				t.Errorf("%s: %+v", c.change, r)
			}
		}
	}
	// One that was killed is down; one that is removed is nobody's trouble any more.
	e.docker(t, "kill", "status")
	is("down")
	e.docker(t, "rm", "status")
	eventually(t, "that the probe is gone", 20*time.Second, func() bool { return len(s.query("service:sales change:gone")) == 1 })
}

// TestDockerLoad follows many containers that write at once: nothing is lost. With -docker-load it is the measurement of
// docs/performance.md: 100 containers of 100 lines a second for 30 s.
//
//	go test ./e2e -run TestDockerLoad -docker-load -v
func TestDockerLoad(t *testing.T) {
	e := docker(t)
	s := e.follow(t, t.TempDir())
	containers, seconds, rate := 10, 5, 100
	begin := time.Now().Add(5 * time.Second).Truncate(time.Second)
	if *dockerLoad {
		containers, seconds = 100, 30
		begin = time.Now().Add(90 * time.Second).Truncate(time.Second) // until all have started
	}
	n := seconds * rate
	name := func(i int) string { return fmt.Sprintf("load-%d", i) }
	var wg sync.WaitGroup
	turn := make(chan struct{}, 4)
	for i := range containers {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			t.Cleanup(func() { _, _ = e.cli("rm", "-f", name(i)) })
			if _, err := e.cli("run", "-d", "--network", "none", "--name", name(i), image, "count", "-run", name(i), "-at", fmt.Sprint(begin.Unix()), "-rate", strconv.Itoa(rate), "-n", strconv.Itoa(n), "-size", "100"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if *dockerLoad {
		if late := time.Since(begin); late > 0 {
			t.Fatalf("the containers were not started in time, by %v: what is measured would be another load", late)
		}
		time.Sleep(time.Until(begin))
	}
	before := map[string]time.Duration{"lookout": cpu(t, s.cmd.Process.Pid), "dockerd": cpu(t, e.cmd.Process.Pid)}
	var peak int64
	want := float64(containers * (n + 1)) // each says at its end how many it has written
	end := begin.Add(time.Duration(seconds) * time.Second)
	for s.metric("lookout_docker_rows_total") < want && time.Now().Before(end.Add(time.Minute)) {
		time.Sleep(200 * time.Millisecond)
		peak = max(peak, rssAnon(t, s.cmd.Process.Pid))
	}
	t.Logf("%.0f lines in %d containers were read %v after the last was written", want, containers, time.Since(end).Round(100*time.Millisecond))
	for _, process := range []struct {
		name string
		pid  int
	}{{"lookout", s.cmd.Process.Pid}, {"dockerd", e.cmd.Process.Pid}} {
		used := cpu(t, process.pid) - before[process.name]
		t.Logf("%s: %.2f CPU-s, %.2f CPU-s per million events", process.name, used.Seconds(), used.Seconds()*1e6/float64(containers*n))
	}
	t.Logf("lookout: RssAnon at most %d MB", peak>>20)
	for i := range containers {
		settles(t, name(i), 10*time.Second, func() []string {
			return numbered(s.query("container:"+name(i)+" stream:stdout"), name(i), 1, false)
		})
	}
}

// rssAnon is a process's anonymous memory, in bytes.
func rssAnon(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "RssAnon:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// agent is a lookout that collects and forwards.
type agent struct {
	t   *testing.T
	dir string
	env []string
	log logBuffer
	cmd *exec.Cmd
}

func startAgent(t *testing.T, env ...string) *agent {
	t.Helper()
	a := &agent{t: t, dir: t.TempDir(), env: env}
	a.start()
	t.Cleanup(func() {
		a.kill()
		if t.Failed() {
			t.Logf("the agent's log:\n%s", last(a.log.String(), 8000))
		}
	})
	return a
}

func (a *agent) start() {
	a.t.Helper()
	a.cmd = exec.Command(binary, "serve")
	a.cmd.Dir = a.dir
	a.cmd.Env = append(append(os.Environ(), "LOOKOUT_DATA="+filepath.Join(a.dir, "data")), a.env...)
	a.cmd.Stdout, a.cmd.Stderr = &a.log, &a.log
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) kill() {
	if a.cmd.ProcessState == nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait() // that it was killed
	}
}

// listens returns the ports that a process listens on, and its UDP sockets.
func listens(t *testing.T, pid int) (ports []string) {
	t.Helper()
	ours := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			ours[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, kind := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, kind))
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(b)) {
			const listening, inode = "0A", 9
			if f := strings.Fields(line); len(f) > inode && ours[f[inode]] && (f[3] == listening || strings.HasPrefix(kind, "udp")) {
				ports = append(ports, kind+" "+f[1])
			}
		}
	}
	return ports
}

// An agent with the socket forwards what it collects to a server without it, and listens nowhere. Both are killed and come
// back: each line arrives once.
func TestDockerAgent(t *testing.T) {
	e := docker(t)
	s := serve(t, t.TempDir(), "LOOKOUT_WRITE_TOKEN=a-token-to-write-with-0123456789")
	s.env = append(s.env, "LOOKOUT_HTTP="+strings.TrimPrefix(s.http, "http://")) // the same after a kill
	a := startAgent(t, "LOOKOUT_DOCKER="+e.socket, "LOOKOUT_FORWARD_URL="+s.http, "LOOKOUT_FORWARD_TOKEN=a-token-to-write-with-0123456789")
	e.run(t, "far", image, "count", "-run", "far", "-rate", "200")
	e.run(t, "far-awkward", "--log-driver", "local", image, "awkward", "-run", "far-awkward")
	d := driver{name: "far-awkward", empty: "an empty line is no event; it is counted", raw: true}
	d.awkward(t, s, "far-awkward", "far-awkward")
	if ports := listens(t, a.cmd.Process.Pid); len(ports) > 0 {
		t.Errorf("the agent listens on %s", ports)
	}
	if ports := listens(t, s.cmd.Process.Pid); len(ports) < 2 {
		t.Errorf("the server listens on %s: what did the agent's test see?", ports)
	}
	for i := range 6 {
		time.Sleep(time.Duration(100+rand.IntN(500)) * time.Millisecond) // a kill comes at any moment
		switch i % 3 {
		case 0:
			s.kill()
			s.start()
		case 1:
			a.kill()
			a.start()
		case 2: // the agent begins while the server is away, and the server comes back while the agent is
			s.kill()
			a.kill()
			a.start()
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			a.kill()
			s.start()
			a.start()
		}
	}
	e.docker(t, "stop", "far")
	settles(t, "far", 30*time.Second, func() []string { return numbered(s.query("container:far stream:stdout"), "far", 1, false) })
	settles(t, "what happened to it", 30*time.Second, func() (problems []string) { // it goes its own way, beside the lines
		told := s.query("container:far stream:docker")
		if len(told) != 2 || told[0].Event.Fields["action"] != "start" || told[1].Event.Fields["action"] != "die" {
			problems = append(problems, fmt.Sprintf("%+v", told))
		}
		return problems
	})
	d.awkward(t, s, "far-awkward", "far-awkward")
	if strings.Contains(a.log.String(), "a-token-to-write-with") {
		t.Error("the token is in the agent's log")
	}
	s.stop()
	stores(t, s, "container:far-awkward invalid", []byte("invalid \xff\xfe\xc3 end"), 1)
}
