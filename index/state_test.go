package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// The state file of every released version stays readable, and is written the same way.
func TestGoldenState(t *testing.T) {
	want := &state{
		Sealed: 18446744073709551615, Expired: map[string]uint64{"default": 900, "audit": 17},
		Jumps: []clockJump{{Seq: 5, Delta: 31536000e9}, {Seq: 5, Delta: -31536000e9}, {Seq: 901, Delta: math.MinInt64}},
		Look:  clockLook{At: 1795300000123456789, Pause: 86400e9},
	}
	data, err := os.ReadFile("testdata/state-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeState(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := got.encode()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("%v: written as\n%s", err, again)
	}
}

func TestBadState(t *testing.T) {
	good, err := (&state{Sealed: 7, Expired: map[string]uint64{"default": 7}, Jumps: []clockJump{{Seq: 3, Delta: 4}}}).encode()
	if err != nil {
		t.Fatal(err)
	}
	wrap := func(state string) string {
		return fmt.Sprintf(`{"version":1,"crc32c":%q,"state":%s}`, checksumText([]byte(state)), state)
	}
	if _, err := decodeState([]byte(wrap(`{"sealed":7,"look":{"at":0,"pause":0}}`))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data string
		want error
	}{
		{"", block.ErrCorrupt},
		{"{", block.ErrCorrupt},
		{"null", block.ErrCorrupt},
		{`{"version":0}`, block.ErrCorrupt},
		{`{"version":-1}`, block.ErrCorrupt},
		{`{"version":1}`, block.ErrCorrupt},
		{`{"version":2}`, block.ErrVersion},
		{strings.Replace(string(good), `"version":1`, `"version":2`, 1), block.ErrVersion},
		{strings.Replace(string(good), `"sealed":7`, `"sealed":8`, 1), block.ErrCorrupt},
		{wrap(`{"sealed":"x"}`), block.ErrCorrupt},
		{wrap(`{"sealed":6,"expired":{"default":7}}`), block.ErrCorrupt},
		{wrap(`{"sealed":7,"expired":{"../x":7}}`), block.ErrCorrupt},
		{wrap(`{"sealed":7,"jumps":[{"sequence":5,"delta":1},{"sequence":4,"delta":1}]}`), block.ErrCorrupt},
		{wrap(`{"sealed":7,"look":{"at":1,"pause":-1}}`), block.ErrCorrupt},
		{wrap(`{"sealed":7,"jumps":[` + strings.Repeat(`{"sequence":5,"delta":1},`, maxJumps) + `{"sequence":5,"delta":1}]}`), block.ErrCorrupt},
	} {
		if _, err := decodeState([]byte(c.data)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.data, err)
		}
	}
}

func FuzzState(f *testing.F) {
	for _, st := range []state{{}, {Sealed: 9, Expired: map[string]uint64{"audit": 8}}, {Jumps: []clockJump{{Seq: 1, Delta: -5}, {Seq: 2, Delta: 5, Stop: true}}, Look: clockLook{1, 2}}} {
		data, err := st.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := decodeState(data)
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) && !errors.Is(err, block.ErrVersion) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		st.shift(0)
		st.jumped(clockJump{Seq: math.MaxUint64, Delta: math.MaxInt64})
		again, err := st.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeState(again); err != nil || !cmp.Equal(st, back) {
			t.Errorf("%v\n%s", err, cmp.Diff(st, back))
		}
	})
}

// Of too many jumps the oldest are taken together: nothing seems older by it.
func TestManyJumps(t *testing.T) {
	var all []clockJump
	st := &state{}
	for i := range uint64(3 * maxJumps) {
		j := clockJump{Seq: 10 * i, Delta: []int64{7, -3, -8, 5}[i%4]}
		all = append(all, j)
		st.jumped(j)
	}
	if len(st.Jumps) != maxJumps {
		t.Fatalf("%d jumps", len(st.Jumps))
	}
	for seq := range uint64(30 * maxJumps) {
		want := int64(0)
		for _, j := range all {
			if j.Seq >= seq {
				want += j.Delta
			}
		}
		if got := st.shift(seq); got < want || seq > st.Jumps[0].Seq && got != want {
			t.Fatalf("sequence %d: %d, want %d", seq, got, want)
		}
	}
}

// Power is taken away at every operation while states are written: what is read is whole, and the last one that was written
// or the one under way.
func TestStateCrash(t *testing.T) {
	for _, full := range []bool{false, true} {
		for at := 1; at < 120; at++ {
			disk := vfs.NewCrash(uint64(at))
			if err := errors.Join(disk.MkdirAll("/store", 0o700), disk.SyncDir("/")); err != nil {
				t.Fatal(err)
			}
			disk.StopAt(at)
			s := &Store{o: Options{Dir: "/store", FS: disk, Log: slog.New(slog.DiscardHandler)}, state: &state{}}
			written := uint64(0)
			for n := uint64(1); n < 10 && s.saveState(func(st *state) { st.Sealed = n }) == nil; n++ {
				written = n
				if s.keepSpare(); full {
					disk.SetSpace(0) // from now on the spare is used
				}
			}
			s.o.FS = disk.Crash()
			if err := s.openState(); err != nil {
				t.Fatal(err)
			}
			if got := s.state.Sealed; got != written && got != written+1 {
				t.Fatalf("power cut at operation %d, full %v: state %d is there, %d was written", at, full, got, written)
			}
			// What the crash has left is no spare.
			s.spare = 0
			s.keepSpare()
			if err := s.openState(); err != nil || s.state.Sealed != written && s.state.Sealed != written+1 {
				t.Fatalf("power cut at operation %d, full %v: after a new spare: %d, %v", at, full, s.state.Sealed, err)
			}
		}
	}
}

// A disk that is full or fails leaves the state as it was.
func TestStateOnABadDisk(t *testing.T) {
	disk := vfs.NewCrash(1)
	s := open(t, Options{Dir: "/store", FS: disk, byHand: true})
	if err := s.saveState(func(st *state) { st.Sealed = 3 }); err != nil {
		t.Fatal(err)
	}
	disk.SetSpace(10)
	if err := s.saveState(func(st *state) { st.Sealed = 4 }); !errors.Is(err, syscall.ENOSPC) || s.state.Sealed != 3 {
		t.Errorf("%v, %d", err, s.state.Sealed)
	}
	disk.SetSpace(-1)
	if err := s.openState(); err != nil || s.state.Sealed != 3 {
		t.Errorf("%v, %d", err, s.state.Sealed)
	}
	if names, err := disk.ReadDir("/store"); err != nil || !cmp.Equal(names, []string{"segments", "state.json", "wal"}) {
		t.Errorf("%q, %v", names, err)
	}
}

// A state of a later lookout is refused, and no file is touched; a damaged one is said and costs no event.
func TestOpenWithABadState(t *testing.T) {
	for _, c := range []struct {
		name, state string
		refused     bool
	}{
		{"later", `{"version":2,"state":{"sealed":1}}`, true},
		{"damaged", `{"version":1,"crc32c":"00000000","state":{"sealed":99}}`, false},
		{"empty", ``, false},
		{"huge", strings.Repeat(" ", maxState+1), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said bytes.Buffer
			o := Options{Dir: t.TempDir(), byHand: true, Log: slog.New(slog.NewTextHandler(&said, nil))}
			s := open(t, o)
			var b event.Batch
			line(&b, "a", "one", 1)
			if err := s.Append(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			s.Close(context.Background())
			before := files(t, o.Dir)
			path := filepath.Join(o.Dir, stateName)
			if err := os.WriteFile(path, []byte(c.state), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(o)
			if c.refused {
				if !errors.Is(err, block.ErrVersion) || !strings.Contains(err.Error(), path) {
					t.Errorf("%v", err)
				}
				if after := files(t, o.Dir); len(after) != len(before)+1 {
					t.Errorf("files: %q, were %q", after, before)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close(context.Background()) })
			if got := everything(t, s); len(got) != 1 || !strings.Contains(said.String(), "state is damaged") {
				t.Errorf("%q; said: %s", got, &said)
			}
		})
	}
}

// files lists all files below a folder.
func files(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Events are parted by class when they are sealed, and answers do not change by it.
func TestClasses(t *testing.T) {
	o := Options{Dir: t.TempDir(), byHand: true, logSegment: 512}
	o.Classify = func(service string) (string, func(*event.Event) string) {
		switch service {
		case "pay":
			return "audit", nil
		case "web":
			return "", func(e *event.Event) string {
				if strings.Contains(string(e.Message), "login") {
					return "audit"
				}
				return "Nonsense"
			}
		}
		return segment.DefaultClass, nil
	}
	s := open(t, o)
	say := func(service, text string) {
		t.Helper()
		var b event.Batch
		line(&b, service, text, int64(s.LastSeq()+1))
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	messages := func(class string) (list []string) {
		for _, seg := range byClass(s.segments)[class] {
			for _, e := range seg.Blocks {
				var l loaded
				l.reset(0)
				if err := l.load(e); err != nil {
					t.Fatal(err)
				}
				rows, _ := l.sorted()
				for _, r := range rows {
					var ev event.Event
					if _, err := event.Decode(r.Data, &ev); err != nil {
						t.Fatal(err)
					}
					list = append(list, string(ev.Message))
				}
			}
		}
		return list
	}
	say("pay", "paid 1")
	say("web", "login 2")
	say("web", "page 3")
	say("shop", "sold 4")
	before := everything(t, s)
	seal(t, s)
	if diff := cmp.Diff([]string{"0-4.audit", "0-4"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"paid 1", "login 2"}, messages("audit")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"sold 4", "page 3"}, messages("default")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	// A generation that is all of another class is committed by an empty segment; one without any has none of theirs.
	say("pay", "paid 5")
	seal(t, s)
	say("shop", "sold 6")
	seal(t, s)
	if diff := cmp.Diff([]string{"0-4.audit", "0-4", "4-5.audit", "4-5", "5-6"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	// Merges stay inside a class, and the empty segment is in nobody's way.
	c := newCompactor(s)
	if err := mergeClass(s, "audit", 0, 2); err != nil {
		t.Fatal(err)
	}
	if err := mergeByHand(s, 0, 3); err != nil {
		t.Fatal(err)
	}
	if merged, err := c.next(t.Context()); merged || err != nil {
		t.Errorf("%v, %v", merged, err)
	}
	if diff := cmp.Diff([]string{"0-5.audit", "0-6"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	want := everything(t, s)
	// Another configuration: what has a class keeps it, what comes has the new one.
	s.Close(context.Background())
	o.Classify = nil
	s = open(t, o)
	if diff := cmp.Diff(want, everything(t, s)); diff != "" {
		t.Error(diff)
	}
	say("pay", "paid 7")
	seal(t, s)
	if diff := cmp.Diff([]string{"0-5.audit", "0-6", "6-7"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"paid 1", "paid 5", "login 2"}, messages("audit")); diff != "" {
		t.Error(diff)
	}
	// Whoever follows finds every event once, in order.
	f := s.Follow(0)
	defer f.Close()
	var got []string
	for len(got) < 7 {
		events, err := f.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range events {
			got = append(got, string(events[i].Message))
		}
	}
	if diff := cmp.Diff([]string{"paid 1", "login 2", "page 3", "sold 4", "paid 5", "sold 6", "paid 7"}, got); diff != "" {
		t.Error(diff)
	}
}

// An empty segment of the default class, which only says that its generation is whole, parts no segments of a day.
func TestEmptySegmentsAreMerged(t *testing.T) {
	now := time.Date(2026, 11, 20, 1, 0, 0, 0, time.UTC)
	o := Options{CompactShare: 1, Classify: func(string) (string, func(*event.Event) string) {
		return "", func(e *event.Event) string {
			return []string{segment.DefaultClass, "audit"}[e.Message[len(e.Message)-1]%2]
		}
	}}
	s := daily(t, &now, o, 2, 6)
	before := everything(t, s)
	workAll(t, newCompactor(s))
	if diff := cmp.Diff([]string{"0-6", "1-6.audit", "6-12", "7-12.audit"}, ranges(t, s)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, everything(t, s)); diff != "" {
		t.Error(diff)
	}
}

// What a crash leaves of a generation that is not whole is removed, since the log has it. Where the log does not have it, the
// files were not left by a crash, and are kept.
func TestHalfAGeneration(t *testing.T) {
	for _, trimmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("trimmed=%v", trimmed), func(t *testing.T) {
			o := Options{Dir: t.TempDir(), byHand: true, logSegment: 256, Classify: func(service string) (string, func(*event.Event) string) { return service, nil }}
			s := open(t, o)
			for i := range 8 {
				if trimmed && i == 7 || !trimmed && i == 0 {
					seal(t, s) // the log goes up to here
				}
				var b event.Batch
				line(&b, []string{"default", "audit"}[i%2], fmt.Sprint("event ", i, strings.Repeat(" and so on", 20)), int64(i))
				if err := s.Append(t.Context(), &b); err != nil {
					t.Fatal(err)
				}
			}
			before := everything(t, s)
			if !trimmed {
				g := s.active
				if err := s.write(g, s.split(g)[0], nil); err != nil {
					t.Fatal(err)
				}
				stopped, cancel := context.WithCancel(context.Background())
				cancel()
				s.Close(stopped)
			} else {
				s.Close(context.Background())
				for _, name := range []string{segment.Name(0, 7, segment.DefaultClass), segment.Name(7, 8, segment.DefaultClass)} {
					if err := os.Remove(filepath.Join(o.Dir, "segments", name)); err != nil {
						t.Fatal(err)
					}
				}
			}
			s = open(t, o)
			if !trimmed {
				if diff := cmp.Diff(before, everything(t, s)); diff != "" {
					t.Error(diff)
				}
				if got := ranges(t, s); got != nil {
					t.Errorf("%q is left", got)
				}
				return
			}
			if got := ranges(t, s); len(got) == 0 || got[0] != "0-7.audit" {
				t.Errorf("%q", got)
			}
			n := 0
			sum, err := s.Search(t.Context(), query.Request{}, func(query.Row) error { n++; return nil })
			if err != nil || sum.Complete || n < 4 || len(sum.Reasons) != 1 || !strings.Contains(sum.Reasons[0], "is missing") {
				t.Errorf("%d events, %+v, %v", n, sum, err)
			}
		})
	}
}
