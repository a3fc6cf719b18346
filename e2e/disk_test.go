package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tmpfs mounts a small file system of its own, which needs root.
func tmpfs(t *testing.T, size string) string {
	t.Helper()
	need(t, "mount", "it is in the package util-linux")
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("mounting a file system needs root")
		}
		t.Skip("left out: mounting a file system needs root")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

// fill has a file take so much that a share of the file system is left.
func fill(t *testing.T, dir string, left float64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := int64(st.Bavail)*st.Bsize - int64(left*float64(st.Blocks))*st.Bsize
	if left == 0 {
		size += 1 << 20 // whatever is freed meanwhile
	}
	if _, err := io.CopyN(f, zeros{}, size); err != nil && !strings.Contains(err.Error(), "no space left") {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// filler sends events and remembers which were acknowledged.
type filler struct {
	s     *server
	next  int
	acked map[string]bool
	noise *rand.ChaCha8 // of which each event has some; nil for none
}

func (f *filler) message(i int) string { return fmt.Sprintf("disk event %d of many", i) }

// send sends some events and returns the answer's status, Retry-After and body.
func (f *filler) send(n int) (status int, wait, body string) {
	f.s.t.Helper()
	var text bytes.Buffer
	var sent []string
	for range n {
		m := f.message(f.next)
		f.next++
		sent = append(sent, m)
		pad := make([]byte, 256)
		if f.noise != nil {
			f.noise.Read(pad) // never fails
		}
		fmt.Fprintf(&text, `{"service":"disk","message":%q,"pad":"%x"}`+"\n", m, pad)
	}
	resp, err := http.DefaultClient.Do(f.s.request("POST", "/api/v1/events", &text))
	if err != nil {
		f.s.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		f.s.t.Fatal(err)
	}
	var a struct{ Accepted int }
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(answer, &a); err != nil || a.Accepted != n {
			f.s.t.Fatalf("%s: %v", answer, err)
		}
		for _, m := range sent {
			f.acked[m] = true
		}
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(answer)
}

// check looks for everything that was acknowledged.
func (f *filler) check(when string) {
	f.s.t.Helper()
	found := map[string]bool{}
	for _, r := range f.s.query("service:disk") {
		if found[r.Event.Message] {
			f.s.t.Fatalf("%s: %q is there twice", when, r.Event.Message)
		}
		found[r.Event.Message] = true
	}
	for m := range f.acked {
		if !found[m] {
			f.s.t.Fatalf("%s: %q was acknowledged and is not there; %d of %d are", when, m, len(found), len(f.acked))
		}
	}
}

func (f *filler) refused(when string) {
	f.s.t.Helper()
	var status int
	var wait, body string
	eventually(f.s.t, when+": events are refused", 5*time.Second, func() bool {
		status, wait, body = f.send(1)
		return status != http.StatusOK
	})
	if status != http.StatusServiceUnavailable || wait == "" || !strings.Contains(body, "disk is full") && !strings.Contains(body, "disk of the log is full") {
		f.s.t.Errorf("%s: %d, Retry-After %q, %s", when, status, wait, body)
	}
}

// A small disk fills up: senders are told, searches go on, a start finds everything, and events are taken again as soon as there is
// space. Nothing that was acknowledged is lost, also when the disk fills while events come in.
func TestFullDisk(t *testing.T) {
	dir := tmpfs(t, "96m")
	s := serve(t, dir)
	f := &filler{s: s, acked: map[string]bool{}}
	for range 20 {
		if status, _, body := f.send(100); status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
	}
	fill(t, dir, 0.04)
	f.refused("with 4 % free")
	f.check("with 4 % free")
	if out, _, code := s.cli("", "retention"); code != 0 || !strings.Contains(out, "Disk: full") {
		t.Errorf("exit %d\n%s", code, out)
	}
	for _, left := range []float64{0.04, 0} {
		when := fmt.Sprintf("after a kill and a start with %.0f %% free", 100*left)
		fill(t, dir, left)
		s.kill()
		s.start()
		f.check(when)
		f.refused(when)
		if code, _ := s.stop(); code != 0 {
			t.Errorf("%s: exit %d", when, code)
		}
		s.start()
		f.check(when + ", stopped in order")
	}
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	free := time.Now()
	eventually(t, "events are accepted again", 5*time.Second, func() bool { status, _, _ := f.send(1); return status == http.StatusOK })
	t.Logf("accepted again after %v", time.Since(free).Round(time.Millisecond))

	// The disk fills in the middle of a load, faster than anybody looks.
	statuses := map[int]int{}
	load := func(n int) {
		t.Helper()
		for range n {
			status, _, body := f.send(50)
			if statuses[status]++; status != http.StatusOK && status != http.StatusServiceUnavailable && status != http.StatusTooManyRequests {
				t.Fatalf("%d %s", status, body)
			}
		}
	}
	load(100)
	if statuses[http.StatusOK] == 0 || statuses[http.StatusServiceUnavailable] > 0 {
		t.Errorf("answers while there was space: %v", statuses)
	}
	fill(t, dir, 0)
	load(200)
	eventually(t, "the load is refused", 5*time.Second, func() bool { // something may have been freed meanwhile
		load(1)
		return statuses[http.StatusServiceUnavailable] > 0
	})
	if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	load(100)
	eventually(t, "events are accepted again", 5*time.Second, func() bool { status, _, _ := f.send(1); return status == http.StatusOK })
	f.check("after the load")
	s.kill()
	s.start()
	f.check("after the last start")
	t.Logf("%d events acknowledged of %d sent, answers under load: %v", len(f.acked), f.next, statuses)
}

// Without a byte free retention makes room: the oldest segments go, and events are accepted again.
func TestRetentionOnAFullDisk(t *testing.T) {
	dir := tmpfs(t, "96m")
	config := filepath.Join(t.TempDir(), "lookout.yaml")
	if err := os.WriteFile(config, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir, "LOOKOUT_CONFIG="+config)
	f := &filler{s: s, acked: map[string]bool{}, noise: rand.NewChaCha8([32]byte{})}
	for range 4 {
		for range 10 {
			if status, _, body := f.send(1000); status != http.StatusOK {
				t.Fatalf("%d %s", status, body)
			}
		}
		if code, _ := s.stop(); code != 0 { // which seals a segment of them
			t.Fatalf("exit %d", code)
		}
		s.start()
	}
	eventually(t, "the store has looked what is to be removed", 20*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(dir, "data", "store", "state.json.spare"))
		return err == nil
	})
	fill(t, dir, 0)
	f.refused("without a byte free")
	f.check("without a byte free")
	if err := os.WriteFile(config, []byte("retention: { class_bytes: { default: 4MB } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "events are accepted again", 30*time.Second, func() bool { status, _, _ := f.send(1); return status == http.StatusOK })
	gone := f.oldestGone("after retention")
	s.kill()
	s.start()
	if again := f.oldestGone("after a kill"); again < gone {
		t.Errorf("%d events were gone, %d after a start", gone, again)
	}
}

// oldestGone checks that of what was acknowledged the oldest are gone, but not all, and that all others are there, once. It returns how
// many are gone.
func (f *filler) oldestGone(when string) (gone int) {
	f.s.t.Helper()
	found := map[string]int{}
	for _, r := range f.s.query("service:disk") {
		found[r.Event.Message]++
	}
	first := ""
	for i := range f.next {
		switch m := f.message(i); {
		case !f.acked[m]:
		case found[m] > 1:
			f.s.t.Fatalf("%s: %q is there %d times", when, m, found[m])
		case found[m] == 1 && first == "":
			first = m
		case found[m] == 0 && first != "":
			f.s.t.Fatalf("%s: %q is gone, and the older %q is there", when, m, first)
		case found[m] == 0:
			gone++
		}
	}
	if gone == 0 || first == "" {
		f.s.t.Fatalf("%s: %d of %d are gone", when, gone, len(f.acked))
	}
	return gone
}
