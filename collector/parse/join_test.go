package parse

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

var update = flag.Bool("update", false, "write what comes out into testdata/join; read it before you commit it")

// A script of testdata/join is the lines of one source with a line === LEVEL before each event that is to come of them.
type script struct {
	name   string
	lines  []string
	events []want
}

type want struct{ level, message string }

func scripts(t testing.TB) (all []script) {
	files, err := filepath.Glob("testdata/join/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := script{name: strings.TrimSuffix(filepath.Base(file), ".txt")}
		start := true
		for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			if level, ok := strings.CutPrefix(line, "=== "); ok {
				s.events = append(s.events, want{level: level})
				start = true
				continue
			}
			s.lines = append(s.lines, line)
			if len(s.events) == 0 {
				continue // a new script, to be filled by -update
			}
			e := &s.events[len(s.events)-1]
			if !start {
				e.message += "\n"
			}
			start = false
			e.message += line
		}
		all = append(all, s)
	}
	return all
}

// run joins the lines of several sources, which take turns, in batches of size lines.
func run(j *Joiner, sources, size int, lines []string, fill func(*event.Event)) [][]event.Event {
	got := make([][]event.Event, sources)
	take := func(b *event.Batch) {
		New(Options{}).Process(b)
		for i := range b.Events {
			e := b.Events[i].Clone()
			n := int(e.Host[0] - 'a')
			got[n] = append(got[n], e)
		}
		b.Reset()
	}
	now := int64(time.Hour)
	var b event.Batch
	for i, line := range lines {
		for n := range sources {
			e := b.Add()
			e.Host = []byte{byte('a' + n)}
			e.Service = []byte("shop")
			e.Message = b.CopyString(line)
			e.Time = int64(i + 1)
			if fill != nil {
				fill(e)
			}
			if len(b.Events) == size {
				now += int64(time.Millisecond)
				j.Join(&b, now)
				take(&b)
			}
		}
	}
	j.Join(&b, now)
	take(&b)
	if next := j.Flush(&b, now, true); next != 0 {
		panic("Flush of everything left something")
	}
	take(&b)
	return got
}

func TestJoinScripts(t *testing.T) {
	for _, s := range scripts(t) {
		t.Run(s.name, func(t *testing.T) {
			if *update {
				var out bytes.Buffer
				for _, e := range run(NewJoiner(JoinOptions{}), 1, 1, s.lines, nil)[0] {
					fmt.Fprintf(&out, "=== %s\n%s\n", name(e.Level), e.Message)
				}
				if err := os.WriteFile("testdata/join/"+s.name+".txt", out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			// Neither how lines fall into batches nor other sources between them may matter.
			for _, size := range []int{1, 2, 3, 7, 1000} {
				for _, sources := range []int{1, 3} {
					check := func(what string, got [][]event.Event, level func(string) string) {
						for n := range got {
							for i, e := range got[n] {
								if i >= len(s.events) {
									t.Fatalf("batches of %d, %d sources, %s: more events: %s", size, sources, what, e.Message)
								}
								w := s.events[i]
								if string(e.Message) != w.message || name(e.Level) != level(w.level) {
									t.Fatalf("batches of %d, %d sources, %s: event %d:\n=== %s\n%s\nwant\n=== %s\n%s", size, sources, what, i, name(e.Level), e.Message, level(w.level), w.message)
								}
							}
							if len(got[n]) != len(s.events) {
								t.Fatalf("batches of %d, %d sources, %s: %d events, want %d", size, sources, what, len(got[n]), len(s.events))
							}
						}
					}
					check("levels unknown", run(NewJoiner(JoinOptions{}), sources, size, s.lines, nil), func(l string) string { return l })
					check("on Docker's stderr", run(NewJoiner(JoinOptions{}), sources, size, s.lines, func(e *event.Event) {
						e.Level, e.Stream = event.Error, []byte("stderr")
					}), func(l string) string {
						if l == "none" {
							return "error"
						}
						return l
					})
				}
			}
			// JoinWithin gives the same, from one batch.
			var b event.Batch
			for _, line := range s.lines {
				b.Add().Message = []byte(line)
			}
			NewJoiner(JoinOptions{}).JoinWithin(&b)
			for i, e := range b.Events {
				if i >= len(s.events) || string(e.Message) != s.events[i].message {
					t.Fatalf("JoinWithin: event %d: %s", i, e.Message)
				}
			}
		})
	}
}

// lines makes a batch of one source.
func lines(messages ...string) *event.Batch {
	var b event.Batch
	for _, m := range messages {
		b.Add().Message = b.CopyString(m)
	}
	return &b
}

func messages(b *event.Batch) (all []string) {
	for _, e := range b.Events {
		all = append(all, string(e.Message))
	}
	return all
}

const frame = "\tat a.B.c(B.java:1)"

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func TestHoldAndFlush(t *testing.T) {
	const ms = int64(time.Millisecond)
	j := NewJoiner(JoinOptions{MaxHold: 100 * time.Millisecond})
	b := lines("INFO one", "ERROR two", frame)
	j.Join(b, 1000*ms)
	equal(t, "an info line is not held, a trace is", messages(b), []string{"INFO one"})
	if s := j.Stats(); s.Held != 1 || s.HeldBytes < len("ERROR two\n"+frame) || s.Lines != 1 || s.Events != 0 {
		t.Errorf("%+v", s)
	}
	b = lines(frame)
	j.Join(b, 1050*ms)
	equal(t, "a continuation of what is held", messages(b), nil)
	b = lines()
	if next := j.Flush(b, 1149*ms, false); next != 1150*ms || len(b.Events) != 0 {
		t.Errorf("Flush too early: next %d, %q", next/ms, messages(b))
	}
	if next := j.Flush(b, 1150*ms, false); next != 0 {
		t.Errorf("next %d", next)
	}
	equal(t, "Flush in time", messages(b), []string{"ERROR two\n" + frame + "\n" + frame})
	if s := j.Stats(); s != (JoinStats{Lines: 2, Events: 1}) {
		t.Errorf("%+v", s)
	}

	// Behind a hold that is over a continuation begins anew, also when nobody called Flush.
	j.Join(lines("ERROR three"), 2000*ms)
	b = lines(frame, "INFO four")
	j.Join(b, 2100*ms)
	equal(t, "too late", messages(b), []string{"ERROR three", frame, "INFO four"})

	// A clock that went back holds nothing for longer.
	j.Join(lines("ERROR five"), 3000*ms)
	b = lines()
	j.Flush(b, 10*ms, false)
	equal(t, "the clock went back", messages(b), []string{"ERROR five"})

	// What is held comes before its source's further lines, oldest first.
	j.Join(lines("ERROR six"), 4000*ms)
	b = lines("INFO seven", "ERROR eight")
	j.Join(b, 4001*ms)
	equal(t, "order", messages(b), []string{"ERROR six", "INFO seven"})
	b = lines("INFO nine")
	if next := j.Flush(b, 4002*ms, true); next != 0 {
		t.Errorf("next %d", next)
	}
	equal(t, "Flush appends", messages(b), []string{"INFO nine", "ERROR eight"})
}

// The held event must not depend on the batch's memory, and keeps the first line's parts.
// The lines of a stream that are held are the last ones that came: what was let go and what is held adds up, whatever comes.
func TestHeld(t *testing.T) {
	out, err := []byte("stdout"), []byte("stderr")
	of := func(stream []byte, messages ...string) *event.Batch {
		b := lines(messages...)
		for i := range b.Events {
			b.Events[i].Stream = stream
		}
		return b
	}
	j := NewJoiner(JoinOptions{MaxLines: 3})
	for _, c := range []struct {
		stream   []byte
		lines    []string
		out, err int
	}{
		{out, []string{"INFO one"}, 0, 0},
		{out, []string{"INFO one", "two"}, 1, 0},
		{out, []string{"three", "ERROR four", frame}, 2, 0},
		{err, []string{"five"}, 2, 1},
		{out, []string{frame}, 3, 1},
		{out, []string{frame}, 1, 1}, // a trace that is full goes on in a new event
		{err, []string{"INFO six"}, 1, 0},
		{out, []string{"INFO seven"}, 0, 0},
	} {
		j.Join(of(c.stream, c.lines...), int64(time.Hour))
		if o, e := j.Held(out), j.Held(err); o != c.out || e != c.err {
			t.Errorf("behind %q: %d and %d lines are held, not %d and %d", c.lines, o, e, c.out, c.err)
		}
	}
	j.Join(of(out, "ERROR eight", frame), int64(time.Hour))
	j.Flush(lines(), int64(time.Hour), true)
	if j.Held(out) != 0 || j.Held(nil) != 0 {
		t.Error("lines are held behind Flush")
	}
}

func TestHeldEventIsACopy(t *testing.T) {
	j := NewJoiner(JoinOptions{})
	var b event.Batch
	e := b.Add()
	e.Time, e.Level, e.Service, e.Message = 17, event.Warning, b.CopyString("shop"), b.CopyString("ERROR x")
	b.AddField(e, event.Field{Name: b.CopyString("tag"), Value: b.CopyString("t")})
	j.Join(&b, 1)
	b.Reset()
	e = b.Add()
	e.Time, e.Level, e.Service, e.Message = 18, event.Info, b.CopyString("SHOP")[:0], b.CopyString("XXXXXXXXXX")
	b.Reset()
	e = b.Add()
	e.Time, e.Level, e.Service, e.Message = 19, event.Info, b.CopyString("shop"), b.CopyString(frame)
	b.AddField(e, event.Field{Name: b.CopyString("tag"), Value: b.CopyString("t")})
	j.Join(&b, 2)
	b.Reset()
	b.CopyString("YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY")
	j.Flush(&b, 3, true)
	if len(b.Events) != 1 {
		t.Fatalf("%d events", len(b.Events))
	}
	e = &b.Events[0]
	if string(e.Message) != "ERROR x\n"+frame || e.Time != 17 || e.Level != event.Error || string(e.Service) != "shop" ||
		len(e.Fields) != 1 || string(e.Fields[0].Name) != "tag" || string(e.Fields[0].Value) != "t" {
		t.Errorf("%s", show(e))
	}
}

func TestLimits(t *testing.T) {
	j := NewJoiner(JoinOptions{MaxLines: 3})
	b := lines("ERROR x", frame, frame, frame, frame, frame, frame, "INFO")
	j.JoinWithin(b)
	equal(t, "MaxLines", messages(b), []string{"ERROR x\n" + frame + "\n" + frame, frame + "\n" + frame + "\n" + frame, frame, "INFO"})
	if s := j.Stats(); s != (JoinStats{Lines: 4, Events: 2, FullLines: 2}) {
		t.Errorf("%+v", s)
	}

	j = NewJoiner(JoinOptions{MaxBytes: len("ERROR x") + 1 + len(frame)})
	b = lines("ERROR x", frame, frame)
	j.Join(b, 1)
	j.Flush(b, 1, true)
	equal(t, "MaxBytes", messages(b), []string{"ERROR x\n" + frame, frame})
	if s := j.Stats(); s != (JoinStats{Lines: 1, Events: 1, FullBytes: 1}) {
		t.Errorf("%+v", s)
	}

	// In what mode a trace goes on survives a limit: the lines of Python's code have no mark of their own.
	j = NewJoiner(JoinOptions{MaxLines: 2})
	b = lines("Traceback (most recent call last):", "  File \"x.py\", line 1, in f", "    code", "    more code", "ValueError: x")
	j.JoinWithin(b)
	equal(t, "mode", messages(b), []string{"Traceback (most recent call last):\n  File \"x.py\", line 1, in f", "    code\n    more code", "ValueError: x"})

	if j := NewJoiner(JoinOptions{MaxBytes: 1 << 30}); j.o.MaxBytes != event.MaxMessage {
		t.Errorf("MaxBytes %d", j.o.MaxBytes)
	}
}

func TestHeldEventsAreBounded(t *testing.T) {
	j := NewJoiner(JoinOptions{MaxSources: 3})
	for i := range 5 {
		b := lines("ERROR " + fmt.Sprint(i))
		b.Events[0].Host = fmt.Append(nil, i)
		j.Join(b, int64(i))
		want := []string(nil)
		if i >= 3 {
			want = []string{"ERROR " + fmt.Sprint(i-3)}
		}
		equal(t, "the one that waits longest goes", messages(b), want)
	}
	if s := j.Stats(); s.Held != 3 || s.Evicted != 2 {
		t.Errorf("%+v", s)
	}

	// Also in one batch, and behind what the source has in it.
	j = NewJoiner(JoinOptions{MaxSources: 1})
	b := lines("INFO a", "ERROR a", "ERROR b")
	b.Events[2].Host = []byte("b")
	j.Join(b, 1)
	equal(t, "in one batch", messages(b), []string{"INFO a", "ERROR a"})

	j = NewJoiner(JoinOptions{MaxTotal: 1000})
	b = lines("ERROR "+strings.Repeat("x", 500), "ERROR "+strings.Repeat("y", 600))
	b.Events[1].Host = []byte("b")
	j.Join(b, 1)
	if len(b.Events) != 1 || b.Events[0].Message[6] != 'x' || j.Stats().HeldBytes > 1000 {
		t.Errorf("%q, %+v", messages(b), j.Stats())
	}
	// What was held grows beyond it.
	b = lines(frame + strings.Repeat(" ", 500))
	b.Events[0].Host = []byte("b")
	j.Join(b, 2)
	if len(b.Events) != 1 || !bytes.HasPrefix(b.Events[0].Message, []byte("ERROR yyy")) || j.Stats().HeldBytes != 0 {
		t.Errorf("%q, %+v", messages(b), j.Stats())
	}
}

// Very many sources, most of them seen once, cost neither time nor memory that lasts.
func TestManySources(t *testing.T) {
	j := NewJoiner(JoinOptions{MaxSources: 100})
	n := 0
	for call := range 50 {
		var b event.Batch
		for i := range 400 {
			e := b.Add()
			e.Container = fmt.Append(nil, call, "-", i)
			e.Message = b.CopyString("ERROR x")
		}
		j.Join(&b, int64(call))
		n += len(b.Events)
		if held := j.Stats().Held; held != 100 {
			t.Fatalf("%d held", held)
		}
	}
	if len(j.held.sources) > 2*500 || n != 50*400-100 {
		t.Errorf("%d sources remembered, %d events out", len(j.held.sources), n)
	}
}

func TestWhatIsNeverJoined(t *testing.T) {
	// A producer that counts its events.
	j := NewJoiner(JoinOptions{})
	b := lines("ERROR x", frame)
	b.Producer = "agent"
	j.Join(b, 1)
	j.JoinWithin(b)
	equal(t, "a counting producer", messages(b), []string{"ERROR x", frame})

	// Lines whose fields differ.
	for _, f := range []event.Field{
		{Name: []byte("a"), Value: []byte("2")}, {Name: []byte("b"), Value: []byte("1")}, {Name: []byte("a"), Value: []byte("1"), Kind: event.Number}, {},
	} {
		b = lines("ERROR x", frame, frame)
		b.AddField(&b.Events[0], event.Field{Name: []byte("a"), Value: []byte("1")})
		b.AddField(&b.Events[1], event.Field{Name: []byte("a"), Value: []byte("1")})
		if f.Name != nil {
			b.AddField(&b.Events[2], f)
		}
		j.JoinWithin(b)
		equal(t, "fields that differ", messages(b), []string{"ERROR x\n" + frame, frame})
	}

	// Lines of different sources, in each of the parts.
	for _, set := range []func(*event.Event){
		func(e *event.Event) { e.Service = []byte("x") }, func(e *event.Event) { e.Env = []byte("x") }, func(e *event.Event) { e.Host = []byte("x") },
		func(e *event.Event) { e.Container = []byte("x") }, func(e *event.Event) { e.Stream = []byte("x") },
	} {
		b = lines("ERROR x", frame, frame)
		set(&b.Events[1])
		j.JoinWithin(b)
		equal(t, "different sources", messages(b), []string{"ERROR x\n" + frame, frame})
	}
}

// Sources with the same hash are told apart.
func TestCollidingSources(t *testing.T) {
	j := NewJoiner(JoinOptions{})
	t1 := j.held
	a, b := &event.Event{Host: []byte("a")}, &event.Event{Host: []byte("b")}
	sa := t1.source(a)
	sa.chain = &source{hash: sa.hash, key: [5][]byte{2: []byte("b")}}
	// b now stands in the chain of a's hash; looked up by it, a is still found first and b behind it.
	if t1.source(a) != sa || !sa.chain.is(b) || sa.is(b) {
		t.Error("sources mixed")
	}
	sa.chain.open = true
	t1.forget()
	if s := t1.sources[sa.hash]; s == nil || !s.is(b) || s.chain != nil {
		t.Error("forget dropped a source with an open event, or kept one without")
	}
}

func TestJoinedLevel(t *testing.T) {
	for _, c := range []struct {
		want   event.Level
		levels [2]event.Level
		lines  [2]string
	}{
		{event.Error, [2]event.Level{event.Info, event.Info}, [2]string{"WARN x", frame}},
		{event.Error, [2]event.Level{}, [2]string{"it failed", frame}},
		{event.Alert, [2]event.Level{event.Alert, event.Info}, [2]string{"x", frame}},
		{event.Alert, [2]event.Level{event.Info, event.Alert}, [2]string{"x", frame}},
		{event.Critical, [2]event.Level{event.Error, event.Error}, [2]string{"panic: x", "goroutine 1 [running]:"}},
		{event.Info, [2]event.Level{event.Info, event.Info}, [2]string{"dbug: a.b.C[1]", "      x"}},
	} {
		b := lines(c.lines[:]...)
		b.Events[0].Level, b.Events[1].Level = c.levels[0], c.levels[1]
		NewJoiner(JoinOptions{}).JoinWithin(b)
		if len(b.Events) != 1 || b.Events[0].Level != c.want {
			t.Errorf("%q: %d events, level %v, want %v", c.lines, len(b.Events), b.Events[0].Level, c.want)
		}
	}
}

func TestJoinDoesNotAllocate(t *testing.T) {
	j := NewJoiner(JoinOptions{})
	var b event.Batch
	text := [][]byte{[]byte("2026-11-21 11:22:33 INFO x"), []byte("plain text"), []byte("Mostly harmless"), []byte(`{"msg":"x"}`)}
	hosts := [][]byte{[]byte("a"), []byte("b"), []byte("c")}
	fill := func() {
		b.Reset()
		for i := range 1200 {
			e := b.Add()
			e.Message, e.Host = text[i%len(text)], hosts[i%len(hosts)]
		}
		j.Join(&b, 1)
	}
	fill()
	// The last line of each source is held: a clone each.
	if n := testing.AllocsPerRun(20, fill) / 1200; n > 0.01 {
		t.Errorf("%v allocations an event", n)
	}
	within := func() {
		b.Reset()
		for i := range 1200 {
			e := b.Add()
			e.Message, e.Host = text[i%len(text)], hosts[i%len(hosts)]
		}
		j.JoinWithin(&b)
	}
	within()
	if n := testing.AllocsPerRun(20, within) / 1200; n > 0.01 {
		t.Errorf("within: %v allocations an event", n)
	}
}

// Every byte is kept, and in order: for each source the messages joined with "\n" are the lines that came, however they
// fall into batches and with any limits.
func FuzzJoin(f *testing.F) {
	for _, s := range scripts(f) {
		f.Add([]byte(strings.Join(s.lines, "\n")), uint8(3), uint8(7), uint8(4))
	}
	f.Fuzz(func(t *testing.T, text []byte, sources, size, limit uint8) {
		if len(text) > 64<<10 {
			return
		}
		n := int(sources)%4 + 1
		all := strings.Split(string(text), "\n")
		want := make([][]string, n)
		o := JoinOptions{MaxLines: int(limit)%20 + 1, MaxBytes: 100 + int(limit)*8, MaxSources: int(limit)%3 + 1, MaxTotal: 1000 + int(limit)*50}
		j, w := NewJoiner(o), NewJoiner(o)
		got := make([]map[string][]string, 2)
		got[0], got[1] = map[string][]string{}, map[string][]string{}
		var b, one event.Batch
		collect := func(k int, b *event.Batch) {
			for _, e := range b.Events {
				got[k][string(e.Host)] = append(got[k][string(e.Host)], string(e.Message))
			}
			b.Reset()
		}
		for i, line := range all {
			k := i % n
			want[k] = append(want[k], line)
			for _, batch := range []*event.Batch{&b, &one} {
				e := batch.Add()
				e.Host, e.Message = []byte{byte('a' + k)}, batch.CopyString(line)
			}
			if len(b.Events) > int(size)%16 {
				j.Join(&b, int64(i)*int64(time.Millisecond)*int64(size))
				collect(0, &b)
				j.Flush(&b, int64(i)*int64(time.Millisecond)*int64(size), false)
				collect(0, &b)
			}
		}
		j.Join(&b, 0)
		collect(0, &b)
		j.Flush(&b, 0, true)
		collect(0, &b)
		w.JoinWithin(&one)
		collect(1, &one)
		for k := range n {
			for h := range got {
				if s := strings.Join(got[h][string(rune('a'+k))], "\n"); s != strings.Join(want[k], "\n") {
					t.Fatalf("%d: source %d:\n%q, want\n%q", h, k, s, strings.Join(want[k], "\n"))
				}
			}
		}
		if s := j.Stats(); s.Held != 0 || s.HeldBytes != 0 || j.held.newest != nil {
			t.Fatalf("%+v", s)
		}
	})
}
