package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"
)

// A world is a file system with helpers that end the test on an unexpected error.
type world struct {
	t *testing.T
	*Crash
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) create(name, data string) File {
	w.t.Helper()
	f, err := w.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	w.must(err)
	w.write(f, data)
	return f
}

func (w *world) write(f File, data string) {
	w.t.Helper()
	_, err := f.Write([]byte(data))
	w.must(err)
}

// durable makes a file that a crash must leave alone.
func (w *world) durable(name, data string) File {
	w.t.Helper()
	f := w.create(name, data)
	w.must(f.Sync())
	w.must(w.SyncDir("."))
	return f
}

func (w *world) read(name string) string {
	w.t.Helper()
	f, err := w.OpenFile(name, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	w.must(err)
	size, err := f.Size()
	w.must(err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	w.must(err)
	return shape(string(b))
}

// shape makes contents readable: zeros are 0, what the disk held before is ?; of long contents it says what is left of a
// run of A.
func shape(s string) string {
	s = strings.Map(func(r rune) rune {
		switch r {
		case 0:
			return '0'
		case utf8.RuneError:
			return '?'
		}
		return r
	}, s)
	rest := strings.TrimRight(s, "A")
	switch {
	case len(s) < 16 && !strings.HasPrefix(s, "A"):
		return s
	case len(s) == 2048 && rest == "":
		return "all"
	case strings.Trim(s, "0") == "":
		return "zeros"
	case rest == "" && len(s)%512 == 0:
		return "sectors"
	case rest == "":
		return "bytes"
	case strings.Contains(s, "?"):
		return "stale"
	case s[0] == '0':
		return "later without earlier"
	}
	return "holes"
}

// TestOutcomes checks, over many seeds, which states a crash may leave: all listed ones occur, and no other.
func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world) func(w *world) string // acts; the function it returns describes what the next boot finds
		want string
	}{
		{"synced", func(w *world) func(*world) string {
			w.durable("a", "data")
			return func(w *world) string { return w.read("a") }
		}, "data"},
		{"written again after a sync", func(w *world) func(*world) string {
			w.write(w.durable("a", "data"), "+")
			return func(w *world) string { return w.read("a") }
		}, "data|data+|data0|data?"},
		{"a write without a sync", func(w *world) func(*world) string {
			w.write(w.durable("a", ""), strings.Repeat("A", 2048))
			return func(w *world) string { return w.read("a") }
		}, "|all|bytes|sectors|zeros|holes|later without earlier|stale"},
		{"two writes", func(w *world) func(*world) string {
			f := w.durable("a", "")
			w.write(f, "1")
			w.write(f, "2")
			return func(w *world) string { return w.read("a") }
		}, "|1|12|02|0|00|10|?|?2|1?|?0|0?|??"},
		{"data without the folder", func(w *world) func(*world) string {
			w.must(w.create("a", "data").Sync())
			return func(w *world) string { return w.read("a") }
		}, "data|(none)"},
		{"the folder without data", func(w *world) func(*world) string {
			w.create("a", "1")
			w.must(w.SyncDir("."))
			return func(w *world) string { return w.read("a") }
		}, "|1|0|?"},
		{"removed", func(w *world) func(*world) string {
			w.durable("a", "data")
			w.must(w.Remove("a"))
			return func(w *world) string { return w.read("a") }
		}, "data|(none)"},
		{"removed for good", func(w *world) func(*world) string {
			w.durable("a", "data")
			w.must(w.Remove("a"))
			w.must(w.SyncDir("."))
			return func(w *world) string { return w.read("a") }
		}, "(none)"},
		{"renamed over another", func(w *world) func(*world) string {
			w.durable("a", "new")
			w.durable("b", "old")
			w.must(w.Rename("a", "b"))
			return func(w *world) string { return w.read("a") + " " + w.read("b") }
		}, "new old|(none) new|new new"},
		{"renamed for good", func(w *world) func(*world) string {
			w.durable("a", "new")
			w.durable("b", "old")
			w.must(w.Rename("a", "b"))
			w.must(w.SyncDir("."))
			return func(w *world) string { return w.read("a") + " " + w.read("b") }
		}, "(none) new"},
		{"new file renamed", func(w *world) func(*world) string {
			w.must(w.create("a", "new").Sync())
			w.must(w.Rename("a", "b"))
			return func(w *world) string { return w.read("a") + " " + w.read("b") }
		}, "new (none)|(none) new|new new|(none) (none)"},
		{"order of two removals", func(w *world) func(*world) string {
			w.durable("a", "1")
			w.durable("b", "2")
			w.must(w.Remove("a"))
			w.must(w.Remove("b"))
			return func(w *world) string { return w.read("a") + w.read("b") }
		}, "12|1(none)|(none)2|(none)(none)"},
		{"removed and made anew", func(w *world) func(*world) string {
			w.durable("a", "old")
			w.must(w.Remove("a"))
			w.must(w.create("a", "new").Sync())
			return func(w *world) string { return w.read("a") }
		}, "old|new|(none)"},
		{"a folder without its parent's sync", func(w *world) func(*world) string {
			w.must(w.MkdirAll("d", 0o700))
			w.must(w.create("d/a", "data").Sync())
			w.must(w.SyncDir("d"))
			return func(w *world) string { return w.read("d/a") }
		}, "data|(none)"},
		{"moved, the target synced", func(w *world) func(*world) string {
			w.must(w.MkdirAll("d", 0o700))
			w.durable("a", "data")
			w.must(w.Rename("a", "d/a"))
			w.must(w.SyncDir("d"))
			return func(w *world) string { return w.read("a") + " " + w.read("d/a") }
		}, "(none) data"},
		{"moved onto an older name, the source synced", func(w *world) func(*world) string {
			w.must(w.MkdirAll("d", 0o700))
			w.durable("a", "new")
			w.must(w.create("d/a", "old").Sync())
			w.must(w.Rename("a", "d/a"))
			w.must(w.SyncDir("."))
			return func(w *world) string { return w.read("a") + " " + w.read("d/a") }
		}, "(none) new"},
		{"truncated", func(w *world) func(*world) string {
			w.must(w.durable("a", "data").Truncate(2))
			return func(w *world) string { return w.read("a") }
		}, "data|da"},
		{"truncated on opening", func(w *world) func(*world) string {
			w.durable("a", "data")
			_, err := w.OpenFile("a", os.O_RDWR|os.O_TRUNC, 0)
			w.must(err)
			return func(w *world) string { return w.read("a") }
		}, "data|"},
		{"a sync that failed, then one that did not", func(w *world) func(*world) string {
			f := w.durable("a", "1")
			w.write(f, "2")
			w.FailSyncs(1, 1)
			if err := f.Sync(); !errors.Is(err, syscall.EIO) {
				w.t.Fatal(err)
			}
			w.write(f, "3")
			w.must(f.Sync())
			if got := w.read("a"); got != "123" { // the page cache shows it all
				w.t.Fatal(got)
			}
			return func(w *world) string { return w.read("a") }
		}, "123|103|1?3"},
		{"a folder's sync that failed", func(w *world) func(*world) string {
			w.must(w.create("a", "data").Sync())
			w.FailSyncs(1, 1)
			if err := w.SyncDir("."); !errors.Is(err, syscall.EIO) {
				w.t.Fatal(err)
			}
			return func(w *world) string { return w.read("a") }
		}, "data|(none)"},
		{"killed: the page cache lives", func(w *world) func(*world) string {
			w.create("a", "data")
			w.Crash = w.Kill()
			if got := w.read("a"); got != "data" {
				w.t.Fatal(got)
			}
			f, err := w.OpenFile("a", os.O_RDONLY, 0)
			w.must(err)
			w.must(f.Sync())
			w.must(w.SyncDir("."))
			return func(w *world) string { return w.read("a") }
		}, "data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := map[string]bool{}
			for seed := range uint64(600) {
				w := &world{t, NewCrash(seed)}
				w.must(w.MkdirAll("other", 0o700))
				after := c.do(w)
				next := &world{t, w.Crash.Crash()}
				found := after(next)
				got[found] = true
				// What was found is on disk now.
				if again := after(&world{t, next.Crash.Crash()}); again != found {
					t.Fatalf("%q after one crash, %q after the next", found, again)
				}
			}
			want := map[string]bool{}
			for s := range strings.SplitSeq(c.want, "|") {
				want[s] = true
				if !got[s] {
					t.Errorf("%q never occurs", s)
				}
			}
			for s := range got {
				if !want[s] {
					t.Errorf("%q occurs", s)
				}
			}
		})
	}
}

func TestStopAt(t *testing.T) {
	run := func(w *world, calls []func() error) (done int) {
		for _, call := range calls {
			if err := call(); err != nil {
				if !errors.Is(err, ErrStopped) {
					t.Fatal(err)
				}
				return done
			}
			done++
		}
		return done
	}
	for stop := 1; stop <= 8; stop++ {
		w := &world{t, NewCrash(1)}
		w.StopAt(stop)
		var f File
		done := run(w, []func() error{
			func() error { return w.MkdirAll("d", 0o700) },
			func() (err error) { f, err = w.OpenFile("d/a", os.O_RDWR|os.O_CREATE, 0o600); return err },
			func() error { _, err := f.Write([]byte("data")); return err },
			func() error { return f.Truncate(2) },
			func() error { return f.Sync() },
			func() error { return w.SyncDir("d") },
			func() error { return w.Rename("d/a", "d/b") },
			func() error { return w.Remove("d/b") },
		})
		if done != stop-1 || w.Ops() != stop {
			t.Errorf("stopped at call %d: %d were done, %d counted", stop, done, w.Ops())
		}
		// The dead do nothing, not even read.
		if _, err := w.ReadDir("."); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		if f != nil {
			if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		}
		if err := w.SyncDir("."); !errors.Is(err, ErrStopped) || w.Ops() != stop {
			t.Error(err, w.Ops())
		}
		next := &world{t, w.Kill()}
		if names, err := next.ReadDir("."); err != nil || len(names) != min(stop-1, 1) {
			t.Error(names, err)
		}
	}
}

func TestSpace(t *testing.T) {
	w := &world{t, NewCrash(1)}
	a := w.create("a", "12345")
	b := w.create("b", "123")
	full := func(f File, data string, n int) {
		t.Helper()
		got, err := f.Write([]byte(data))
		if !errors.Is(err, syscall.ENOSPC) || got != n {
			t.Fatalf("wrote %d, %v; want %d", got, err, n)
		}
	}
	w.SetSpace(4)
	full(a, "6789ab", 4)
	full(b, "4", 0)
	w.must(a.Truncate(7)) // two bytes are back
	w.write(b, "4")
	c := w.create("c", "")
	full(c, "123", 1)
	w.must(w.Remove("b"))
	w.write(c, "4567")
	full(c, "8", 0)
	d, err := w.OpenFile("a", os.O_WRONLY, 0)
	w.must(err)
	w.write(d, "again") // overwriting needs no space
	w.must(w.Rename("c", "a"))
	e := w.create("e", "1234567")
	full(e, "8", 0)
	w.SetSpace(-1)
	w.write(e, strings.Repeat("x", 1<<20))
	w.SetSpace(0)
	full(e, "x", 0)
	k := w.Kill()
	f, err := k.OpenFile("a", os.O_WRONLY|os.O_APPEND, 0)
	w.must(err)
	full(f, "8", 0)
}

func TestInjectedWriteIsPartial(t *testing.T) {
	sizes := map[int64]bool{}
	for seed := range uint64(100) {
		w := &world{t, NewCrash(seed)}
		f := w.create("a", "")
		w.Inject(func(op Op) error {
			if op != (Op{Index: 3, Kind: "write", Name: "a"}) {
				t.Error(op)
			}
			return syscall.EIO
		})
		n, err := f.Write([]byte("123"))
		if !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		size, err := f.Size()
		w.must(err)
		if size != int64(n) {
			t.Fatal(size, n)
		}
		sizes[size] = true
	}
	if len(sizes) != 4 {
		t.Error(sizes)
	}
}

func TestFailSyncs(t *testing.T) {
	w := &world{t, NewCrash(1)}
	f := w.create("a", "x")
	for _, c := range []struct {
		k, n int
		want string
	}{{1, 1, "x..."}, {2, 1, ".x.."}, {2, 2, ".xx."}, {3, -1, "..xx"}} {
		w.FailSyncs(c.k, c.n)
		got := ""
		for i := range 4 {
			sync := f.Sync
			if i%2 == 1 {
				sync = func() error { return w.SyncDir(".") }
			}
			err := sync()
			switch {
			case err == nil:
				got += "."
			case errors.Is(err, syscall.EIO):
				got += "x"
			}
		}
		if got != c.want {
			t.Errorf("FailSyncs(%d, %d): %s, want %s", c.k, c.n, got, c.want)
		}
	}
}

// TestSeed: the same calls with the same seed have the same outcome, whatever the files are called, so that a failing crash point can be
// run again.
func TestSeed(t *testing.T) {
	run := func(seed uint64, names ...string) (out string) {
		w := &world{t, NewCrash(seed)}
		for i, name := range names {
			f := w.create(name, strings.Repeat("A", 1500))
			w.write(f, strings.Repeat("B", 1500))
			if i < 2 {
				w.must(w.SyncDir("."))
			}
		}
		for range 2 {
			w = &world{t, w.Crash.Crash()}
			for _, name := range names {
				if f, err := w.OpenFile(name, os.O_RDWR, 0); err == nil {
					b := make([]byte, 4000)
					n, _ := f.ReadAt(b, 0)
					out += fmt.Sprintf("%d %q\n", n, b[:n])
					w.write(f, strings.Repeat("C", 700))
				}
			}
		}
		return out
	}
	different := map[string]bool{}
	for seed := range uint64(20) {
		a, b := run(seed, "a", "b", "c", "d", "e"), run(seed, "d", "e", "b", "a", "c")
		if a != b {
			t.Fatalf("seed %d has two outcomes", seed)
		}
		different[a] = true
	}
	if len(different) < 10 {
		t.Errorf("20 seeds have %d outcomes", len(different))
	}
}

// BenchmarkCrashPoint is one append, sync and crash.
func BenchmarkCrashPoint(b *testing.B) {
	data := make([]byte, 300)
	for i := range b.N {
		c := NewCrash(uint64(i))
		f, err := c.OpenFile("a", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			b.Fatal(err)
		}
		for range 10 {
			_, _ = f.Write(data)
			_ = f.Sync()
		}
		_, _ = f.Write(data)
		c.Crash()
	}
}
