package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// TestContract holds the model against the real file system: what is seen without a crash is the same.
func TestContract(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   FS
		root string
	}{
		{"OS", OS, t.TempDir()},
		{"Crash", NewCrash(1), "/data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := func(name string) string { return filepath.Join(c.root, "a", name) }
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			want := func(err, target error) {
				t.Helper()
				if !errors.Is(err, target) {
					t.Fatalf("got %v, want %v", err, target)
				}
			}
			open := func(name string, flag int) File {
				t.Helper()
				f, err := c.fs.OpenFile(path(name), flag, 0o600)
				must(err)
				return f
			}
			content := func(name string) string {
				t.Helper()
				f := open(name, os.O_RDONLY)
				defer f.Close()
				size, err := f.Size()
				must(err)
				b := make([]byte, size+1)
				n, err := f.ReadAt(b, 0)
				want(err, io.EOF)
				return string(b[:n])
			}

			must(c.fs.MkdirAll(path("sub"), 0o700))
			must(c.fs.MkdirAll(path("sub"), 0o700))
			_, err := c.fs.OpenFile(path("x"), os.O_RDWR, 0)
			want(err, fs.ErrNotExist)
			_, err = c.fs.OpenFile(filepath.Join(c.root, "no", "x"), os.O_RDWR|os.O_CREATE, 0)
			want(err, fs.ErrNotExist)
			_, err = c.fs.OpenFile(path("sub"), os.O_RDWR, 0)
			want(err, syscall.EISDIR)

			f := open("x", os.O_RDWR|os.O_CREATE|os.O_EXCL)
			_, err = c.fs.OpenFile(path("x"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
			want(err, fs.ErrExist)
			for _, s := range []string{"hello", ", ", "world"} {
				n, err := f.Write([]byte(s))
				must(err)
				if n != len(s) {
					t.Fatal(n)
				}
			}
			must(f.Sync())
			b := make([]byte, 4)
			n, err := f.ReadAt(b, 2)
			must(err)
			if string(b[:n]) != "llo," {
				t.Fatalf("%q", b[:n])
			}
			n, err = f.ReadAt(b, 10)
			want(err, io.EOF)
			if string(b[:n]) != "ld" {
				t.Fatalf("%q", b[:n])
			}
			must(f.Truncate(3))
			_, err = f.Write([]byte("!"))
			must(err)
			if got := content("x"); got != "hel\x00\x00\x00\x00\x00\x00\x00\x00\x00!" {
				t.Fatalf("%q", got)
			}
			must(f.Close())
			want(f.Close(), fs.ErrClosed)
			_, err = f.Write(nil)
			want(err, fs.ErrClosed)

			r := open("x", os.O_RDONLY)
			if _, err = r.Write([]byte("no")); err == nil {
				t.Fatal("wrote to a file opened for reading")
			}
			f = open("x", os.O_WRONLY|os.O_TRUNC)
			_, err = f.Write([]byte("one"))
			must(err)
			must(f.Close())
			f = open("x", os.O_WRONLY|os.O_APPEND)
			_, err = f.Write([]byte(" two"))
			must(err)
			must(f.Close())
			f = open("x", os.O_WRONLY)
			_, err = f.Write([]byte("O"))
			must(err)
			must(f.Close())
			if got := content("x"); got != "One two" {
				t.Fatalf("%q", got)
			}

			f = open("y", os.O_WRONLY|os.O_CREATE)
			must(f.Close())
			must(c.fs.Rename(path("x"), path("y")))
			_, err = c.fs.OpenFile(path("x"), os.O_RDONLY, 0)
			want(err, fs.ErrNotExist)
			want(c.fs.Rename(path("x"), path("z")), fs.ErrNotExist)
			if got := content("y"); got != "One two" {
				t.Fatalf("%q", got)
			}
			names, err := c.fs.ReadDir(path(""))
			must(err)
			if !slices.Equal(names, []string{"sub", "y"}) {
				t.Fatal(names)
			}
			_, err = c.fs.ReadDir(path("no"))
			want(err, fs.ErrNotExist)
			must(c.fs.SyncDir(path("")))
			want(c.fs.SyncDir(path("no")), fs.ErrNotExist)

			// A removed file lives on while it is open.
			must(c.fs.Remove(path("y")))
			want(c.fs.Remove(path("y")), fs.ErrNotExist)
			if n, err = r.ReadAt(b[:3], 0); err != nil || string(b[:n]) != "One" {
				t.Fatal(n, err)
			}
			must(r.Close())
			f = open("sub/z", os.O_WRONLY|os.O_CREATE)
			must(f.Close())
			want(c.fs.Remove(path("sub")), syscall.ENOTEMPTY)
			must(c.fs.Rename(path("sub/z"), path("z")))
			must(c.fs.Remove(path("sub")))
			if got := content("z"); got != "" {
				t.Fatalf("%q", got)
			}
		})
	}
}
