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

var _ = slices.Sort[[]int]
