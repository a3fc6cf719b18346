package docker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) { leak.VerifyTestMain(m) }

func withJoiner(o *Options) {
	o.Joiner = func() Joiner { return parse.NewJoiner(parse.JoinOptions{}) }
	stage := parse.New(parse.Options{})
	o.Stages = func() []collector.Stage { return []collector.Stage{stage} }
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %.200q\nwant %.200q", what, got, want)
	}
}

func TestFollow(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		compose := map[string]string{"com.docker.compose.service": "sales", "com.docker.compose.project": "shop"}
		web := e.run("shop-sales-1", func(c *fakeContainer) { c.labels = compose })
		e.write(web, "before lookout")
		tty := e.run("shell", func(c *fakeContainer) { c.tty = true })
		in := begin(t, e, store, withJoiner)
		long := strings.Repeat("l", 40_000)
		e.write(web, "one", "!oops", "", `{"level":"error","msg":"json"}`, long, "panic: x", "goroutine 1 [running]:", "main.main()")
		e.write(tty, "$ ls", "", long)
		pass(time.Second)
		same(t, "stdout", store.messages("stdout", "shop-sales-1"), []string{"before lookout", "one", "json", long, "panic: x\ngoroutine 1 [running]:\nmain.main()"})
		same(t, "stderr", store.messages("stderr", "shop-sales-1"), []string{"oops"})
		same(t, "tty", store.messages("std", "shell"), []string{"$ ls", long})
		ev := store.where("stderr", "")[0]
		got := fmt.Sprintf("%s %s %s %s %s %s %s", ev.Service, ev.Env, ev.Host, ev.Container, ev.Stream, fieldOf(&ev, "version"), fieldOf(&ev, "container_id"))
		if got != "sales shop vm shop-sales-1 stderr 7 "+web.id[:12] || ev.Level != event.None {
			t.Errorf("%s, level %v", got, ev.Level)
		}
		if ev.Time != web.rows[2].time {
			t.Errorf("the time is %d, not the row's %d", ev.Time, web.rows[2].time)
		}
		s := in.Stats()
		if !s.Connected || s.Containers["running"] != 2 || s.Followed != 2 || s.Empty != 2 || s.Rows != 16 || s.Reopened+s.Gaps+s.APIErrors != 0 {
			t.Errorf("%+v", s)
		}
		in.stop()
	})
}

// A line is in the store within the time it takes to gather, alone and in a stream.
func TestLinesComeSoon(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		c := e.run("web", nil)
		in := begin(t, e, store, nil)
		pass(time.Second)
		e.write(c, "alone")
		pass(gather)
		same(t, "after 100 ms", store.messages("std", ""), []string{"alone"})
		for i := range 100 {
			e.write(c, fmt.Sprint(i))
			pass(10 * time.Millisecond)
		}
		if n := len(store.messages("std", "")); n < 85 {
			t.Errorf("%d of 101 lines after a second", n)
		}
		pass(gather)
		if n := len(store.messages("std", "")); n != 101 {
			t.Errorf("%d of 101 lines", n)
		}
		in.stop()
	})
}

// Restarts of lookout, by kill and by hand, of the container and of the engine: each line once.
func TestEachLineOnce(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		var want []string
		c := e.run("web", func(c *fakeContainer) { c.policy = "always" })
		say := func(in *startedInput, n int) {
			for range n {
				line := fmt.Sprintf("line %d", len(want))
				if len(want)%3 == 0 {
					line = "!" + line
				}
				want = append(want, strings.TrimPrefix(line, "!"))
				e.write(c, line)
				pass(time.Duration(len(want)%7) * 20 * time.Millisecond)
			}
		}
		in := begin(t, e, store, withJoiner)
		say(in, 20)
		in.sink.kill()
		say(in, 5)
		in.stop()
		say(nil, 5)
		in = begin(t, e, store, withJoiner)
		say(in, 5)
		e.die(c, 0)
		pass(5 * time.Second)
		e.start(c)
		say(in, 5)
		e.stop()
		pass(time.Second)
		e.do(func() { e.up = true })
		say(in, 5)
		in.stop()
		say(nil, 5)
		in = begin(t, e, store, withJoiner)
		pass(5 * time.Second)
		got := linesOf(store.where("std", ""))
		slices.SortFunc(got, compareLines)
		same(t, "lines", got, want)
		if gaps := in.Stats().Gaps; gaps != 0 {
			t.Errorf("%d gaps", gaps)
		}
		in.stop()
	})
}

func compareLines(a, b string) int {
	var x, y int
	_, _ = fmt.Sscanf(a, "line %d", &x)
	_, _ = fmt.Sscanf(b, "line %d", &y)
	return x - y
}

func TestPressure(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		refused := 0
		full := true
		store.answer = func(b *event.Batch) (bool, error) {
			if !full || !strings.HasPrefix(b.Producer, "docker/") {
				return true, nil
			}
			if refused++; refused == 2 {
				return false, errors.New("some other trouble")
			}
			return false, pressure{errors.New("full")}
		}
		c := e.run("web", nil)
		in := begin(t, e, store, nil)
		for i := range 10_000 {
			e.write(c, fmt.Sprintf("line %d", i))
		}
		pass(10 * time.Second)
		if got := store.messages("std", ""); len(got) != 0 || in.Stats().Waits < 5 {
			t.Errorf("%d lines, %+v", len(got), in.Stats())
		}
		if rows := in.Stats().Rows; rows > 3*maxBatchLines {
			t.Errorf("%d rows were read though the sink takes none", rows)
		}
		store.mu.Lock()
		full = false
		store.mu.Unlock()
		pass(30 * time.Second)
		got := store.messages("std", "")
		if len(got) != 10_000 || got[9999] != "line 9999" {
			t.Errorf("%d lines", len(got))
		}
		in.stop()
	})
}

func TestHowFarBack(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		old := e.run("old", nil)
		ended := e.run("ended", nil)
		e.write(ended, "long ago")
		e.die(ended, 0)
		e.write(old, "two hours ago")
		pass(90 * time.Minute)
		e.write(old, "half an hour ago")
		pass(30 * time.Minute)
		in := begin(t, e, store, func(o *Options) { o.Since = time.Hour })
		e.write(old, "now")
		young := e.create("young", nil)
		pass(2 * time.Hour)
		e.start(young)
		e.write(young, "first")
		pass(time.Second)
		same(t, "old", store.messages("std", "old"), []string{"half an hour ago", "now"})
		same(t, "young", store.messages("std", "young"), []string{"first"})
		same(t, "ended", store.messages("std", "ended"), nil)
		in.stop()
	})
}

func TestWhatIsFollowed(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		for _, driver := range []string{"json-file", "local", "journald", "gelf", "none"} {
			e.write(e.run(driver, func(c *fakeContainer) { c.driver = driver }), "said")
		}
		e.write(e.run("disabled", func(c *fakeContainer) { c.labels = map[string]string{"lookout.enable": "false"} }), "said")
		e.write(e.run("itself", func(c *fakeContainer) { c.labels = map[string]string{"lookout.self": "true"} }), "said")
		in := begin(t, e, store, nil)
		pass(5 * time.Second)
		want := map[string]string{
			"json-file": "followed", "local": "followed", "journald": "followed", "gelf": "sent by its driver (gelf)", "none": "unreadable (none)",
			"disabled": "off (lookout.enable=false)", "itself": "off (lookout itself)",
		}
		seen := map[string]bool{}
		for _, m := range store.where("stats", "") {
			if got := fieldOf(&m, "logs"); got != want[string(m.Container)] {
				t.Errorf("%s: %q", m.Container, got)
			}
			seen[string(m.Container)] = true
		}
		if len(seen) != len(want) {
			t.Errorf("measured: %v", seen)
		}
		for _, ev := range store.where("std", "") {
			if name := string(ev.Container); !slices.Contains(followed, name) {
				t.Errorf("a line of %s", name)
			}
		}
		for _, ev := range store.where("docker", "") {
			if name := string(ev.Container); name == "disabled" || name == "itself" {
				t.Errorf("%s of %s", ev.Message, name)
			}
		}
		if n := len(store.messages("std", "")); n != 3 || in.Stats().Followed != 3 {
			t.Errorf("%d lines, %+v", n, in.Stats())
		}
		in.stop()
	})
}

func TestMeasurements(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		in := begin(t, e, store, nil)
		c := e.run("web", func(c *fakeContainer) { c.health = "healthy"; c.policy = "always" })
		pass(5 * time.Minute)
		list := store.where("stats", "web")
		if n := len(list); n < 10 || n > 14 {
			t.Errorf("%d measurements in 5 minutes", n)
		}
		m := list[len(list)-1]
		got := fmt.Sprintf("%s %s %s|%s", m.Service, m.Host, m.Level, m.Message)
		if got != "docker vm debug|web cpu 30 % memory 22 MiB" {
			t.Error(got)
		}
		for name, want := range map[string]string{
			"target": "web", "image": "shop:7", "version": "7", "container_id": c.id[:12], "state": "running", "health": "healthy", "logs": "followed",
			"restarts": "0", "memory_bytes": fmt.Sprint(22 << 20), "memory_limit_bytes": fmt.Sprint(1 << 30), "network_receive_bytes": "5",
			"network_transmit_bytes": "6", "started": c.started.UTC().Format(time.RFC3339),
		} {
			if got := fieldOf(&m, name); got != want {
				t.Errorf("%s is %q, not %q", name, got, want)
			}
		}
		states := func() (list []string) {
			for _, m := range store.where("stats", "web") {
				if s := fieldOf(&m, "state"); len(list) == 0 || list[len(list)-1] != s {
					list = append(list, s)
				}
			}
			return list
		}
		e.die(c, 1)
		pass(2 * time.Minute)
		e.do(func() { e.remove(c) })
		pass(2 * time.Minute)
		if got := states(); !slices.Equal(got, []string{"created", "running", "exited", "removed"}) && !slices.Equal(got, []string{"running", "exited", "removed"}) {
			t.Errorf("%q", got)
		}
		if n := len(store.where("stats", "web")) - len(list); n != 2 {
			t.Errorf("%d measurements of a container that does not run", n)
		}
		in.stop()
	})
}

func TestLifecycleIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		c := e.run("web", func(c *fakeContainer) { c.policy = "always" })
		pass(time.Second)
		in := begin(t, e, store, nil)
		pass(time.Second)
		e.do(func() { e.emit(c, "kill", "signal", "15") })
		e.die(c, 137)
		pass(time.Second)
		e.start(c)
		pass(time.Second)
		in.stop() // what happens now is not seen
		e.die(c, 3)
		e.do(func() { e.events = nil })
		in = begin(t, e, store, nil)
		pass(time.Second)
		e.stop() // nor this
		e.do(func() { c.state, c.started = "running", time.Unix(0, e.tick()) })
		e.do(func() { e.up = true })
		pass(5 * time.Second)
		e.do(func() { e.emit(c, "kill", "signal", "9") }) // docker rm -f
		e.die(c, 137)
		e.do(func() { e.remove(c) })
		pass(10 * time.Second)
		var got []string
		for _, ev := range store.where("docker", "web") {
			text, _ := strings.CutPrefix(string(ev.Message), "container web ")
			text, _, _ = strings.Cut(text, ", since ")
			got = append(got, fmt.Sprintf("%s %s: %s [%s] %s", ev.Level, fieldOf(&ev, "action"), text, fieldOf(&ev, "exit_code"), fieldOf(&ev, "fingerprint")))
		}
		same(t, "told", got, []string{
			"info start: was found running [] container:web",
			"info die: was stopped as asked, with exit code 137 [137] container:web",
			"info start: was started [] container:web",
			"error die: died with exit code 3 [3] container:web",
			"info start: was started [] container:web",
			"info die: was stopped as asked, with exit code 137 [137] container:web",
			"info destroy: was removed [] ",
		})
		in.stop()
	})
}

// The loop's end is told though nothing happens any more.
func TestLoopBecomesStable(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		in := begin(t, e, store, nil)
		c := e.run("web", func(c *fakeContainer) { c.policy = "always" })
		for range 4 {
			pass(time.Second)
			e.die(c, 1)
			pass(time.Second)
			e.start(c)
		}
		pass(11 * time.Minute)
		var got []string
		for _, ev := range store.where("docker", "web") {
			if a := fieldOf(&ev, "action"); a != "start" && a != "die" {
				got = append(got, fmt.Sprintf("%s %s %s", ev.Level, a, fieldOf(&ev, "fingerprint")))
			}
		}
		same(t, "told", got, []string{"critical restart_loop loop:web", "info stable loop:web"})
		in.stop()
	})
}

// docker run --rm echo: the log is gone before it can be read, and what the container wrote is there all the same.
func TestShortLived(t *testing.T) {
	for _, c := range []struct {
		name        string
		tty, late   bool
		logs        bool // can be read
		lines, gaps int64
		rescued     int64
	}{
		{"the log could be read", false, false, true, 3, 0, 3},
		{"the log is gone", false, false, false, 3, 0, 3},
		{"the log of a terminal is gone", true, false, false, 3, 0, 3},
		{"attached late, and the log is gone", false, true, false, 0, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *fakeEngine) {
				e.attachLate = c.late
				store := &ledger{}
				in := begin(t, e, store, withJoiner)
				run := e.create("short", func(f *fakeContainer) { f.autoRemove, f.tty, f.unreadable = true, c.tty, !c.logs })
				synctest.Wait()
				e.start(run)
				synctest.Wait()
				e.write(run, "one", "two", "three")
				pass(time.Millisecond) // the clock tells an attach before the start from one behind it
				e.do(func() { e.attachLate = false })
				synctest.Wait()
				e.die(run, 0)
				pass(30 * time.Second)
				got := store.messages("std", "short")
				slices.Sort(got)
				if int64(len(got)) != c.lines || c.lines == 3 && !slices.Equal(got, []string{"one", "three", "two"}) {
					t.Errorf("%q", got)
				}
				if s := in.Stats(); s.Gaps != c.gaps || s.Rescued != c.rescued || s.Followed != 0 {
					t.Errorf("%+v", s)
				}
				if in.attached.Load() != 0 || in.rescueSize.Load() != 0 {
					t.Errorf("%d attached, %d bytes held", in.attached.Load(), in.rescueSize.Load())
				}
				in.stop()
			})
		})
	}
}

// A log that ended before its time is completed from what the container wrote, and each line is there once.
func TestRescueCompletes(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		in := begin(t, e, store, withJoiner)
		c := e.run("job", func(c *fakeContainer) { c.autoRemove, c.cut = true, 3 })
		pass(spareFor + time.Second)
		e.write(c, "one", "!oops", "two", "three", "!oops again", "")
		pass(time.Second)
		e.write(c, "four")
		e.die(c, 0)
		pass(30 * time.Second)
		same(t, "stdout", store.messages("stdout", ""), []string{"one", "two", "three", "four"})
		same(t, "stderr", store.messages("stderr", ""), []string{"oops", "oops again"})
		if s := in.Stats(); s.Rescued != 4 || s.Gaps != 0 {
			t.Errorf("%+v", s)
		}
		in.stop()
	})
}

// A container that has ended is left alone until it is started again.
func TestEndedIsLeftAlone(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		in := begin(t, e, store, nil)
		c := e.run("web", nil)
		e.write(c, "one")
		pass(time.Second)
		e.die(c, 0)
		e.do(func() { c.rows = append(c.rows, row{time: e.tick(), text: []byte("two"), ended: true}) }) // the daemon was slow
		pass(10 * time.Second)
		same(t, "lines", store.messages("std", ""), []string{"one", "two"})
		e.mu.Lock()
		before := e.requests["logs"] + e.requests["json"]
		e.mu.Unlock()
		pass(time.Hour)
		e.mu.Lock()
		if n := e.requests["logs"] + e.requests["json"] - before; n != 0 || before > 12 {
			t.Errorf("%d requests, and %d in an hour", before, n)
		}
		e.mu.Unlock()
		e.start(c)
		e.write(c, "three")
		pass(time.Second)
		same(t, "lines", store.messages("std", ""), []string{"one", "two", "three"})
		in.stop()
	})
}

// What was removed while the engine could not be reached is forgotten.
func TestRemovedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		c := e.run("web", nil)
		in := begin(t, e, store, nil)
		pass(time.Second)
		e.stop()
		e.do(func() {
			delete(e.containers, c.id)
			e.up = true
		})
		pass(30 * time.Second)
		list := store.where("stats", "web")
		if s := in.Stats(); s.Followed != 0 || len(s.Containers) != 0 || fieldOf(&list[len(list)-1], "state") != "removed" {
			t.Errorf("%+v", s)
		}
		in.stop()
	})
}

// What long-lived containers write is not held a second time.
func TestRescueEnds(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		in := begin(t, e, store, nil)
		quiet, loud := e.run("quiet", nil), e.run("loud", nil)
		e.write(quiet, "hello")
		for range 30 {
			e.write(loud, strings.Repeat("x", 40_000))
			synctest.Wait()
		}
		pass(time.Second)
		if n := in.attached.Load(); n != 1 {
			t.Errorf("%d attached, one wrote more than 1 MiB", n)
		}
		pass(rescueFor)
		if n := in.attached.Load(); n != 0 || in.rescueSize.Load() != 0 {
			t.Errorf("%d attached, %d bytes", n, in.rescueSize.Load())
		}
		same(t, "quiet", store.messages("std", "quiet"), []string{"hello"})
		if n := len(store.messages("std", "loud")); n != 30 {
			t.Errorf("%d lines", n)
		}
		in.stop()
	})
}

func TestBrokenLog(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		c := e.run("web", func(c *fakeContainer) { c.config = map[string]string{"max-size": "1m"}; c.broken = 2 })
		e.write(c, "one", "two", "three")
		in := begin(t, e, store, nil)
		pass(30 * time.Second)
		same(t, "lines", store.messages("std", ""), []string{"one", "two", "three"})
		gaps := store.where("docker", "web")
		if s := in.Stats(); s.Reopened != 2 || s.Gaps == 0 || !slices.ContainsFunc(gaps, func(e event.Event) bool { return fieldOf(&e, "action") == "gap" }) {
			t.Errorf("%+v", s)
		}
		in.stop()
	})
}

// Where the engine leaves out files of a log that is rotated, or waits, the lines come all the same, in order.
func TestRotatedLogs(t *testing.T) {
	for _, c := range []struct {
		name, driver string
		missed       [2]int
		pause        time.Duration // behind what is missed
	}{
		{"nothing is missed", "local", [2]int{}, 0},
		{"a file is missed", "local", [2]int{300, 450}, 0},
		{"the end is missed", "local", [2]int{300, 500}, 10 * time.Second},
		{"nothing is missed, json-file", "json-file", [2]int{}, 0},
		{"the end is missed, json-file", "json-file", [2]int{300, 500}, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, e *fakeEngine) {
				store := &ledger{}
				in := begin(t, e, store, nil)
				web := e.run("web", func(w *fakeContainer) {
					w.driver, w.missed, w.config = c.driver, c.missed, map[string]string{"max-size": "10k", "max-file": "3"}
				})
				pass(time.Second)
				var want []string
				for i := range 500 {
					want = append(want, fmt.Sprintf("line %d %050d", i, 0))
					e.write(web, want[i])
					pass(10 * time.Millisecond)
				}
				pass(c.pause + time.Second)
				same(t, "lines", store.messages("std", ""), want)
				if s := in.Stats(); s.Gaps != 0 {
					t.Errorf("%+v", s)
				}
				in.stop()
			})
		})
	}
}

// The last rows that are asked for first do not reach back to where a log of the local driver was left, or to what is wanted of
// a new one.
func TestLocalLogIsReadFarEnough(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		local := func(c *fakeContainer) { c.driver = "local" }
		read, young := e.run("read", local), e.run("new", local)
		e.write(read, "first")
		e.write(young, "too old", "too old either")
		in := begin(t, e, store, nil)
		pass(time.Second)
		in.stop()
		n := len(store.where("std", "new"))
		pass(2 * time.Hour)
		old := e.run("old", local)
		for i := range 3 * firstTail {
			e.write(read, fmt.Sprint(i))
			e.write(old, fmt.Sprint(i))
			if i == firstTail/2 {
				pass(50 * time.Minute)
			}
		}
		pass(55 * time.Minute)
		in = begin(t, e, store, nil)
		pass(10 * time.Second)
		if got := store.messages("std", "read"); len(got) != 3*firstTail+1 || got[firstTail] != fmt.Sprint(firstTail-1) {
			t.Errorf("%d lines", len(got))
		}
		if got := store.messages("std", "old"); len(got) != 5*firstTail/2-1 || got[0] != fmt.Sprint(firstTail/2+1) {
			t.Errorf("%d lines, first %.1q", len(got), got)
		}
		if got := len(store.where("std", "new")); got != n || n != 2 || in.Stats().Gaps != 0 {
			t.Errorf("%d lines, then %d, %+v", n, got, in.Stats())
		}
		in.stop()
	})
}

func TestTargets(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		var lists []string
		label := map[string]string{"lookout.probe": "http://:80/"}
		dead := e.create("dead", func(c *fakeContainer) { c.labels = label; c.state, c.exit = "exited", 1 })
		in := begin(t, e, &ledger{}, func(o *Options) {
			o.Targets = func(list []Target) {
				var s []string
				for _, t := range list {
					s = append(s, t.Name+" "+t.URL)
				}
				lists = append(lists, strings.Join(s, ", "))
			}
		})
		step := func(want string) {
			t.Helper()
			pass(time.Second)
			if len(lists) == 0 || lists[len(lists)-1] != want {
				t.Errorf("%q, want %q", lists, want)
			}
		}
		step("dead http://dead:80/")
		web := e.run("web", func(c *fakeContainer) { c.labels = label })
		e.run("other", nil)
		step("dead http://dead:80/, web http://10.0.0.2:80/")
		e.die(web, 1)
		step("dead http://dead:80/, web http://10.0.0.2:80/")
		e.do(func() { web.address = "10.0.0.9" })
		e.start(web)
		step("dead http://dead:80/, web http://10.0.0.9:80/")
		e.do(func() { e.emit(web, "kill", "signal", "15") })
		e.die(web, 143)
		step("dead http://dead:80/")
		e.start(web)
		step("dead http://dead:80/, web http://10.0.0.9:80/")
		e.die(web, 143) // nobody asked
		step("dead http://dead:80/, web http://10.0.0.9:80/")
		e.do(func() { e.remove(web) })
		step("dead http://dead:80/")
		e.do(func() { e.remove(dead) })
		step("")
		if len(lists) != 7 {
			t.Errorf("told %d times: %q", len(lists), lists)
		}
		in.stop()
	})
}

func TestRename(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		c := e.run("old", nil)
		in := begin(t, e, store, withJoiner)
		e.write(c, "one")
		pass(time.Second)
		e.do(func() { c.name = "new"; e.emit(c, "rename", "oldName", "/old") })
		pass(time.Second)
		e.write(c, "two")
		pass(time.Second)
		same(t, "before", store.messages("std", "old"), []string{"one"})
		same(t, "after", store.messages("std", "new"), []string{"two"})
		in.stop()
	})
}

// An engine that is not there is waited for, and nothing of a container's environment gets out.
func TestEngineComesLate(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{}
		e.up = false
		in := begin(t, e, store, nil)
		pass(time.Minute)
		if s := in.Stats(); s.Connected || s.APIErrors < 5 {
			t.Errorf("%+v", s)
		}
		e.do(func() { e.up = true })
		c := e.run("web", nil)
		e.write(c, "hello")
		pass(30 * time.Second)
		e.die(c, 1)
		e.do(func() { e.remove(c) })
		pass(30 * time.Second)
		same(t, "lines", store.messages("std", ""), []string{"hello"})
		for _, ev := range store.where("", "") {
			if text := string(event.AppendEvent(nil, &ev)); strings.Contains(text, "canary") || strings.Contains(text, "PASSWORD") {
				t.Errorf("%s", text)
			}
		}
		in.stop()
	})
}

// Stopping does not wait for a sink that takes nothing.
func TestStopUnderPressure(t *testing.T) {
	bubble(t, func(t *testing.T, e *fakeEngine) {
		store := &ledger{answer: func(*event.Batch) (bool, error) { return false, pressure{errors.New("full")} }}
		c := e.run("web", nil)
		in := begin(t, e, store, nil)
		e.write(c, "hello")
		pass(5 * time.Second)
		in.stop()
	})
}
