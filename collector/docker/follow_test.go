package docker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/internal/event"
)

// A log as the daemon has it, and what a program wrote into it.
type model struct {
	rows  []row
	lines [streams][]string // that are not empty
}

// line appends a line in the daemon's way: pieces of fragmentSize bytes with one time.
func (m *model) line(s stream, at int64, text string, local bool) {
	if text != "" {
		m.lines[s] = append(m.lines[s], text)
	}
	pieces := 0
	for ; len(text) >= fragmentSize; pieces++ {
		m.rows = append(m.rows, row{stream: s, time: at, text: []byte(text[:fragmentSize])})
		text = text[fragmentSize:]
	}
	m.rows = append(m.rows, row{stream: s, time: at, text: []byte(text), ended: !local || pieces == 0})
}

func drawModel(t *rapid.T, later []int64) *model {
	m := &model{}
	local := rapid.Bool().Draw(t, "local")
	at := [streams]int64{1e18, 1e18}
	texts := []string{"", "a", "a", "b", "panic: x", "goroutine 1 [running]:", "\tat com.example.Shop.sell(Shop.java:1)",
		"Error: no", strings.Repeat("x", fragmentSize), strings.Repeat("x", 2*fragmentSize), strings.Repeat("xy", fragmentSize) + "z"}
	long := [streams]int64{}
	n := rapid.IntRange(1, 40).Draw(t, "lines")
	for i := range n {
		s := stream(rapid.IntRange(0, 1).Draw(t, "stream"))
		// Mostly a new time; in one stream a line of the same time as the one before is possible too.
		at[s] = max(at[s]+rapid.SampledFrom(later).Draw(t, "later"), at[1-s]-5e9)
		text := texts[rapid.IntRange(0, len(texts)-1).Draw(t, "text")]
		if text != "" && len(text) < fragmentSize {
			text = fmt.Sprintf("%s %d", text, i)
		}
		if len(text) >= fragmentSize {
			if at[s] == long[s] {
				at[s]++ // two long lines never have one time
			}
			long[s] = at[s]
		}
		m.line(s, at[s], text, local)
	}
	return m
}

// lines takes events apart into the lines they were joined from.
func linesOf(list []event.Event) (lines []string) {
	for _, e := range list {
		lines = append(lines, strings.Split(string(e.Message), "\n")...)
	}
	return lines
}

func newTestInput(sink *process) *Input {
	in, err := New(Options{
		Address: "unix:///x", Sink: sink, Joiner: func() Joiner { return parse.NewJoiner(parse.JoinOptions{}) },
	})
	if err != nil {
		panic(err)
	}
	return in
}

func testFollower(in *Input, d *details) *follower {
	f := in.newFollower(d, 0)
	f.labels.Store(newLabels("vm", d))
	return f
}

// beginByHand is begin without the timer, for tests that flush themselves.
func (f *follower) beginByHand(ctx context.Context) {
	f.begin(ctx)
	f.timer = time.AfterFunc(time.Hour, func() {})
	f.timer.Stop()
}

// Processes read a log, are killed between or within two appends, and the next one goes on: each line is in the store once, in
// order. What Docker's log gives again, and whether an answer was lost, is drawn.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t, []int64{0, 1, 1, 1000, 1e9})
		store := &ledger{}
		d := &details{id: idA, name: "shop", driver: "json-file"}
		for attempt := range 50 {
			p := &process{ledger: store}
			last := attempt == 49 || rapid.IntRange(0, 3).Draw(t, "attempts") == 0
			ctx, cancel := context.WithCancel(context.Background())
			store.answer = func(*event.Batch) (bool, error) {
				if last {
					return true, nil
				}
				switch rapid.IntRange(0, 5).Draw(t, "answer") {
				case 0: // the process dies before its batch is durable
					cancel()
					return false, errors.New("lost")
				case 1: // and after that
					cancel()
					return true, errors.New("no answer")
				}
				return true, nil
			}
			f := testFollower(newTestInput(p), d)
			f.beginByHand(ctx)
			run(t, f, m, last)
			f.close()
			cancel()
			if last {
				break
			}
		}
		for s := range streams {
			got := linesOf(store.where(string(streamNames[s]), ""))
			if !slices.Equal(got, m.lines[s]) {
				t.Fatalf("%s:\n got %s\nwant %s", streamNames[s], brief(got), brief(m.lines[s]))
			}
		}
		if gaps := store.messages("docker", ""); len(gaps) > 0 {
			t.Fatalf("%q", gaps)
		}
	})
}

// run gives the log's rows to a follower as the engine would, from where it stands, now and then ends the session, and settles
// when all is read.
func run(t *rapid.T, f *follower, m *model, all bool) {
	for {
		f.mu.Lock()
		since := f.read.since(f.tty)
		f.skipTo()
		f.mu.Unlock()
		again := false
		for i := range m.rows {
			r := m.rows[i]
			if r.time < since {
				continue
			}
			if !all {
				switch rapid.IntRange(0, 20).Draw(t, "chance") {
				case 0:
					return // killed while reading
				case 1:
					again = true // the connection breaks
				case 2:
					f.mu.Lock()
					_ = f.flush(rapid.Bool().Draw(t, "flush all"))
					f.mu.Unlock()
				}
				if again {
					break
				}
			}
			f.mu.Lock()
			_, err := f.take(&r)
			f.mu.Unlock()
			if again = errors.Is(err, errAgain); again {
				break
			}
			if err != nil {
				return
			}
		}
		if !again {
			f.settle()
			return
		}
	}
}

func brief(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%.20q(%d) ", l, len(l))
	}
	return b.String()
}

// While a log is rotated, blocks of rows come again from the beginning of the file.
func TestReplaysAreDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t, []int64{1, 1000, 1e9})
		store := &ledger{}
		f := testFollower(newTestInput(&process{ledger: store}), &details{id: idA, name: "shop", driver: "json-file", rotated: 1 << 40})
		f.beginByHand(context.Background())
		defer f.close()
		f.mu.Lock()
		defer f.mu.Unlock()
		file := 0 // where the present file begins
		for i := range m.rows {
			if whole := i == 0 || !m.rows[i-1].more(); whole && rapid.IntRange(0, 9).Draw(t, "rotate") == 0 {
				file = i
			}
			if _, err := f.take(&m.rows[i]); err != nil {
				t.Fatal(err)
			}
			// One that ends in a piece which is equal to the next one cannot be told from a long line.
			if last := m.rows[i]; !last.more() && !m.rows[file].more() && rapid.IntRange(0, 4).Draw(t, "replay") == 0 {
				for k := file; k <= i; k++ {
					if _, err := f.take(&m.rows[k]); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		f.settleLocked()
		for s := range streams {
			if got := linesOf(store.where(string(streamNames[s]), "")); !slices.Equal(got, m.lines[s]) {
				t.Fatalf("%s:\n got %s\nwant %s", streamNames[s], brief(got), brief(m.lines[s]))
			}
		}
	})
}

// The capture of a followed log that was rotated 19 times: each line once.
func TestRotationCapture(t *testing.T) {
	rows, _ := readAll(newMux(strings.NewReader(string(capture(t, "docker-logs-follow-rotation-dups.bin")))))
	store := &ledger{}
	in := newTestInput(&process{ledger: store})
	f := testFollower(in, &details{id: idA, name: "shop", driver: "json-file", rotated: 4 << 10})
	f.beginByHand(context.Background())
	defer f.close()
	f.mu.Lock()
	for i := range rows {
		if _, err := f.take(&rows[i]); err == errLook {
			f.rotation.looked(nothingMissing, rows[i].time)
			_, err = f.take(&rows[i])
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	f.mu.Unlock()
	f.settle()
	got := store.messages("stdout", "")
	if len(got) != 1500 || in.Stats().Duplicates != 19 {
		t.Fatalf("%d lines, %d duplicates", len(got), in.Stats().Duplicates)
	}
	for i, l := range got {
		if l != fmt.Sprintf("tick %d", i) {
			t.Fatalf("line %d is %q", i, l)
		}
	}
}

// The same capture without a rotation in the container's settings: nothing is dropped that may be two equal lines.
func TestEqualRowsAreKept(t *testing.T) {
	store := &ledger{}
	f := testFollower(newTestInput(&process{ledger: store}), &details{id: idA, name: "shop", driver: "json-file"})
	f.beginByHand(context.Background())
	defer f.close()
	f.mu.Lock()
	for range 3 {
		if _, err := f.take(&row{time: 5, text: []byte("same"), ended: true}); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Unlock()
	f.settle()
	if got := store.messages("stdout", ""); len(got) != 3 {
		t.Errorf("%q", got)
	}
}

func TestLinesOfRows(t *testing.T) {
	full := strings.Repeat("x", fragmentSize)
	long := strings.Repeat("y", fragmentSize)
	mark := event.TruncationMark
	huge := func(n int) (rows []row) {
		for range n {
			rows = append(rows, row{time: 1, text: []byte(long)})
		}
		return append(rows, row{time: 1, text: []byte("end"), ended: true}, row{time: 2, text: []byte("next"), ended: true})
	}
	for _, c := range []struct {
		name     string
		tty, any bool
		rows     []row
		want     []string
		empty    int64
		cut      int64
	}{
		{"lines", false, false, []row{{0, 1, []byte("a"), true}, {1, 1, []byte("b\r"), true}, {0, 2, []byte("  "), true}}, []string{"a", "b\r", "  "}, 0, 0},
		{"a terminal's", true, false, []row{{0, 1, []byte("a\r"), true}, {0, 2, []byte("b\r\r"), true}, {0, 3, []byte("\r"), true}, {0, 4, []byte("# "), false}}, []string{"a", "b\r", "# "}, 1, 0},
		{"empty", false, false, []row{{0, 1, nil, true}, {0, 2, []byte("a"), true}, {1, 3, nil, true}}, []string{"a"}, 2, 0},
		{"pieces", false, false, []row{{0, 1, []byte(full), false}, {1, 1, []byte("err"), true}, {0, 1, []byte("z"), true}}, []string{"err", full + "z"}, 0, 0},
		{"a piece whose rest never came", false, false, []row{{0, 1, []byte(full), false}, {0, 2, []byte("b"), true}}, []string{full, "b"}, 0, 0},
		{"pieces with other times", false, true, []row{{0, 1, []byte(full), false}, {0, 2, []byte("b"), true}}, []string{full + "b"}, 0, 0},
		{"an exact piece", false, false, []row{{0, 1, []byte(full), false}, {0, 1, nil, true}}, []string{full}, 0, 0},
		{"a whole line of a piece's length", false, false, []row{{0, 1, []byte(full), true}, {0, 1, []byte("b"), true}}, []string{full, "b"}, 0, 0},
		{"the longest", false, false, huge(63), []string{strings.Repeat("y", 63*fragmentSize) + "end", "next"}, 0, 0},
		{"too long", false, false, huge(70), []string{strings.Repeat("y", event.MaxMessage-len(mark)) + mark, "next"}, 0, 1},
	} {
		store := &ledger{}
		in := newTestInput(&process{ledger: store})
		in.o.Joiner = nil
		d := &details{id: idA, name: "shop", driver: "json-file", tty: c.tty}
		if c.any {
			d.driver = "journald"
		}
		f := testFollower(in, d)
		f.beginByHand(context.Background())
		f.mu.Lock()
		for i := range c.rows {
			if _, err := f.take(&c.rows[i]); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Unlock()
		f.settle()
		f.close()
		if got := store.messages("", ""); !slices.Equal(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, brief(got), brief(c.want))
		}
		if s := in.Stats(); s.Empty != c.empty || s.Truncated != c.cut || s.Rows != int64(len(c.rows)) || s.Events != int64(len(c.want)) {
			t.Errorf("%s: %+v", c.name, s)
		}
	}
}

// What the joiner holds is not covered by the cursor: after a kill it is read again.
func TestCursorStandsBeforeWhatIsHeld(t *testing.T) {
	store := &ledger{}
	f := testFollower(newTestInput(&process{ledger: store}), &details{id: idA, name: "shop", driver: "json-file"})
	f.beginByHand(context.Background())
	defer f.close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, text := range []string{"one", "", "panic: no", "goroutine 1 [running]:", ""} {
		if _, err := f.take(&row{time: int64(i + 1), text: []byte(text), ended: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.flush(false); err != nil {
		t.Fatal(err)
	}
	_, b, _ := store.Producer("docker/" + idA)
	c, err := decodeCursor(b)
	if got := store.messages("", ""); err != nil || c[stdout].time != 2 || c[stderr].time != 0 || !slices.Equal(got, []string{"one"}) {
		t.Errorf("%+v with %q stored, %v", c, got, err)
	}
	if err := f.flush(true); err != nil {
		t.Fatal(err)
	}
	_, b, _ = store.Producer("docker/" + idA)
	if c, _ = decodeCursor(b); c[stdout].time != 5 {
		t.Errorf("%+v at the end", c)
	}
}

func TestGapIsToldOnce(t *testing.T) {
	store := &ledger{}
	d := &details{id: idA, name: "shop", driver: "json-file", rotated: 1 << 30}
	put := func(rows ...row) *Input {
		in := newTestInput(&process{ledger: store})
		f := testFollower(in, d)
		f.beginByHand(context.Background())
		defer f.close()
		f.mu.Lock()
		f.skipTo()
		for i := range rows {
			if _, err := f.take(&rows[i]); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Unlock()
		f.settle()
		return in
	}
	put(row{time: 1e9, text: []byte("a"), ended: true})
	in := put(row{time: 5e9, text: []byte("e"), ended: true}, row{time: 6e9, text: []byte("f"), ended: true})
	if got := in.Stats().Gaps; got != 1 {
		t.Errorf("%d gaps counted", got)
	}
	put(row{time: 6e9, text: []byte("f"), ended: true}, row{time: 7e9, text: []byte("g"), ended: true})
	want := []string{"a", "container shop: lines may be missing from 1970-01-01T00:00:01.000Z to 1970-01-01T00:00:05.000Z: " + lostPosition, "e", "f", "g"}
	if got := store.messages("", ""); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	e := store.where("docker", "shop")[0]
	if e.Level != event.Warning || fieldOf(&e, "action") != "gap" || fieldOf(&e, "container_id") != idA[:12] || string(e.Service) != "shop" {
		t.Errorf("%+v", e)
	}
}

// The journal of a process that was killed right behind the gap does not tell it again.
func TestGapSurvivesAKill(t *testing.T) {
	store := &ledger{}
	d := &details{id: idA, name: "shop", driver: "json-file"}
	for range 2 {
		f := testFollower(newTestInput(&process{ledger: store}), d)
		f.beginByHand(context.Background())
		f.mu.Lock()
		f.skipTo()
		if f.read == (cursor{}) {
			f.doubt("for the test")
		}
		_, _ = f.take(&row{time: 5e9, text: []byte("e"), ended: true})
		f.failed = errKilled // the row is not stored
		f.mu.Unlock()
		f.close()
	}
	if got := store.messages("docker", ""); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
