package gelf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
)

var update = flag.Bool("update", false, "write testdata/golden")

// receipt is the time of receipt in tests: long after any capture.
var receipt = time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)

func testNow() time.Time { return receipt }

// memory is a sink that keeps copies of the events.
type memory struct {
	mu     sync.Mutex
	events []event.Event
}

func (m *memory) Append(_ context.Context, b *event.Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range b.Events {
		m.events = append(m.events, b.Events[i].Clone())
	}
	return nil
}

// feed runs an input that has no socket on datagrams of one sender.
func feed(t *testing.T, o Options, datagrams ...[]byte) ([]event.Event, Stats) {
	t.Helper()
	sink := &memory{}
	o.Sink = sink
	if o.Now == nil {
		o.Now = testNow
	}
	in := New(o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.batcher.Run(t.Context())
	}()
	from := netip.MustParseAddrPort("127.0.0.1:4711")
	for _, p := range datagrams {
		p = slices.Clone(p)
		in.handle(p, from)
		for i := range p { // the reader's buffer is used again
			p[i] = 'X'
		}
	}
	in.batcher.Close()
	<-done
	s := in.Stats()
	checkSum(t, s)
	return sink.events, s
}

// checkSum checks that every datagram is in one place.
func checkSum(t *testing.T, s Stats) {
	t.Helper()
	n := s.Decoded + s.Pending
	for _, d := range s.Drops() {
		switch d.Cause {
		case "kernel", "failed", "shutdown":
		default:
			n += d.Count
		}
	}
	if n != s.Received {
		t.Errorf("%d datagrams accounted for of %d: %+v", n, s.Received, s)
	}
	if b := s.Batcher; s.Events != b.Added || b.Added != b.Appended+b.Merged+b.Failed+b.Shutdown {
		t.Errorf("events do not add up: %+v", s)
	}
}

// show is an event as the golden files have it.
type show struct {
	Time      string
	Level     string `json:",omitempty"`
	Service   string `json:",omitempty"`
	Env       string `json:",omitempty"`
	Host      string `json:",omitempty"`
	Container string `json:",omitempty"`
	Stream    string `json:",omitempty"`
	Message   string
	Fields    []string
}

func showEvent(e *event.Event) show {
	s := show{
		Time: time.Unix(0, e.Time).UTC().Format(time.RFC3339Nano), Level: e.Level.String(),
		Service: string(e.Service), Env: string(e.Env), Host: string(e.Host),
		Container: string(e.Container), Stream: string(e.Stream), Message: short(e.Message),
	}
	for _, f := range e.Fields {
		kind := [...]string{"", " (number)", " (bool)", " (null)", " (json)"}[f.Kind]
		s.Fields = append(s.Fields, fmt.Sprintf("%s%s: %s", f.Name, kind, short(f.Value)))
	}
	return s
}

// short is a text, or its ends, its length and a hash.
func short(p []byte) string {
	if len(p) <= 600 {
		return string(p)
	}
	return fmt.Sprintf("%s … %s (%d bytes, sha256 %.4x)", p[:40], p[len(p)-40:], len(p), sha256.Sum256(p))
}

var numbered = regexp.MustCompile(`-\d+$`)

// captures returns what each client sent: the datagrams of one capture, by its name. The messages of a TCP stream are
// taken for one datagram each.
func captures(t testing.TB) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/gelf-*.bin")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d captures: %v", len(files), err)
	}
	slices.Sort(files)
	sent := map[string][][]byte{}
	for _, file := range files {
		p, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".bin")
		if !strings.HasSuffix(name, "tcp") {
			name = numbered.ReplaceAllString(name, "")
			sent[name] = append(sent[name], p)
			continue
		}
		for m := range bytes.SplitSeq(bytes.TrimSuffix(p, []byte{0}), []byte{0}) {
			sent[name] = append(sent[name], m)
		}
	}
	return sent
}

func TestCaptures(t *testing.T) {
	for name, datagrams := range captures(t) {
		t.Run(name, func(t *testing.T) {
			events, _ := feed(t, Options{}, datagrams...)
			var got bytes.Buffer
			enc := json.NewEncoder(&got)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			for i := range events {
				if err := enc.Encode(showEvent(&events[i])); err != nil {
					t.Fatal(err)
				}
			}
			golden := filepath.Join("testdata/golden", name+".json")
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
