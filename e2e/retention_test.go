package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/event"
)

// keeping is a server whose retention the test changes with SIGHUP.
type keeping struct {
	*server
	config string
}

func newKeeping(t *testing.T, dir, retention string) *keeping {
	k := &keeping{config: filepath.Join(t.TempDir(), "lookout.yaml")}
	k.write(t, retention)
	k.server = serve(t, dir, "LOOKOUT_CONFIG="+k.config)
	return k
}

func (k *keeping) write(t *testing.T, retention string) {
	t.Helper()
	if err := os.WriteFile(k.config, []byte("retention: "+retention+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reload puts another retention in force.
func (k *keeping) reload(retention string) {
	k.t.Helper()
	k.write(k.t, retention)
	if err := k.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		k.t.Fatal(err)
	}
}

// left waits until these messages are left, each once, and nothing else, and looks again after a kill and a start.
func (k *keeping) left(when string, want []string) {
	k.t.Helper()
	slices.Sort(want)
	var got []string
	same := func() bool {
		got = got[:0]
		for _, r := range k.query("service:keep*") {
			got = append(got, r.Event.Message)
		}
		slices.Sort(got)
		return slices.Equal(got, want)
	}
	eventually(k.t, fmt.Sprintf("%s: %d events are left, and no other", when, len(want)), 30*time.Second, same)
	k.kill()
	k.start()
	if !same() {
		k.t.Fatalf("%s: after a start %d events are left, want %d", when, len(got), len(want))
	}
}

// By age: events that were received weeks ago go, class by class, and nothing else does.
func TestRetentionByAge(t *testing.T) {
	dir := t.TempDir()
	ages := []int{40, 20, 0} // days
	var all []string
	message := func(service string, days, i int) string {
		return fmt.Sprintf("%s %d days old number %d", service, days, i)
	}
	for _, days := range ages {
		received := time.Now().Add(-time.Duration(days)*24*time.Hour - time.Minute)
		s, err := index.Open(index.Options{
			Dir: filepath.Join(dir, "data", "store"), Now: func() time.Time { return received },
			Classify: func(service string) (string, func(*event.Event) string) {
				if service == "keep-audit" {
					return "audit", nil
				}
				return segment.DefaultClass, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		var b event.Batch
		for i := range 100 {
			for _, service := range []string{"keep", "keep-audit"} {
				e := b.Add()
				text := message(service, days, i)
				all = append(all, text)
				e.Service, e.Message, e.Time = []byte(service), []byte(text), received.UnixNano()
			}
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	without := func(gone ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(m string) bool {
			return slices.ContainsFunc(gone, func(g string) bool { return strings.HasPrefix(m, g+" days") })
		})
	}
	const classes = "classes: { audit: %s }, services: { keep-audit: audit }"
	k := newKeeping(t, dir, "{ default: 30d, "+fmt.Sprintf(classes, "1y")+" }")
	k.left("30 days", without("keep 40"))
	k.reload("{ default: 10d, " + fmt.Sprintf(classes, "30d") + " }")
	k.left("10 days", without("keep 40", "keep 20", "keep-audit 40"))
	k.reload("{ default: 1y }") // brings nothing back
	k.left("a year", without("keep 40", "keep 20", "keep-audit 40"))
}

// By bytes: exactly the oldest segments go, as few as are too many.
func TestRetentionByBytes(t *testing.T) {
	dir := t.TempDir()
	k := newKeeping(t, dir, "{ default: 30d }")
	noise := rand.NewChaCha8([32]byte{1})
	var all []string
	const each = 2000
	for range 5 {
		var text strings.Builder
		for range each {
			m := fmt.Sprintf("kept number %d", len(all))
			all = append(all, m)
			pad := make([]byte, 256)
			noise.Read(pad) // never fails
			fmt.Fprintf(&text, `{"service":"keep","message":%q,"pad":"%x"}`+"\n", m, pad)
		}
		resp, err := http.DefaultClient.Do(k.request("POST", "/api/v1/events", strings.NewReader(text.String())))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		if code, _ := k.stop(); code != 0 { // which seals a segment of them
			t.Fatalf("exit %d", code)
		}
		k.start()
	}
	type file struct {
		hi   uint64
		size int64
	}
	var files []file
	sum := int64(0)
	paths, err := filepath.Glob(filepath.Join(dir, "data", "store", "segments", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		_, hi, class, ok := segment.ParseName(filepath.Base(path))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if ok && class == segment.DefaultClass {
			files = append(files, file{hi, info.Size()})
			sum += info.Size()
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.hi, b.hi) })
	limit := int64(1_500_000)
	if len(files) < 5 || sum < limit+files[0].size {
		t.Fatalf("there is not enough to be removed: %v", files)
	}
	gone := 0
	for ; sum > limit; files = files[1:] {
		gone = int(files[0].hi)
		sum -= files[0].size
	}
	if gone == 0 || gone >= len(all) {
		t.Fatalf("%d of %d events are to go", gone, len(all))
	}
	k.reload(fmt.Sprintf("{ default: 30d, class_bytes: { default: %d } }", limit))
	k.left("by bytes", all[gone:])
	k.reload("{ default: 30d }") // brings nothing back
	k.left("without a limit", all[gone:])
}
