package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// contents are files of a data folder.
type contents map[string][]byte

func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(data) // it never fails
	return data
}

func (c contents) files(modified time.Time) (files []File) {
	for path, data := range c {
		f := File{Path: path, Size: int64(len(data)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
		if strings.HasSuffix(path, ".seg") {
			f.ModTime = modified
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}

// clock goes on by a minute with each look.
func clock() func() time.Time {
	now := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	return func() time.Time { now = now.Add(time.Minute); return now }
}

func tree(t *testing.T, dir string) contents {
	t.Helper()
	c := contents{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		c[filepath.ToSlash(rel)], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func equal(a, b contents) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}

// targets are all the kinds of them, each empty.
func targets(t *testing.T) map[string]Target {
	return map[string]Target{"folder": &Folder{Dir: filepath.Join(t.TempDir(), "b")}, "s3": fakeS3(t).target(t)}
}

func TestBackupAndRestore(t *testing.T) {
	for name, to := range targets(t) {
		t.Run(name, func(t *testing.T) {
			now, wrote := clock(), time.Date(2026, 11, 20, 0, 0, 0, 123456789, time.UTC)
			first := contents{"state.db": random(1, 70_000), "store/segments/a.seg": random(2, 300_000), "store/wal/1.wal": random(3, 1000), "store/empty": {}}
			var last int64
			o := Options{Files: first.files(wrote), Sequence: 7, Lookout: "test", Now: now, Progress: func(done, total int64) {
				if last = done; done > total || total != 371_000 {
					t.Errorf("%d of %d", done, total)
				}
			}}
			one, err := Run(t.Context(), to, o)
			if err != nil {
				t.Fatal(err)
			}
			if one.Files != 4 || one.SentFiles != 4 || one.Bytes != 371_000 || one.SentBytes != 371_000 || last != 371_000 {
				t.Errorf("%+v, progress %d", one, last)
			}

			// The next one sends what is new, and does not even read a file that it knows by its time.
			second := contents{"state.db": random(4, 70_000), "store/segments/a.seg": first["store/segments/a.seg"], "store/segments/b.seg": random(5, 500), "store/wal/1.wal": first["store/wal/1.wal"]}
			o.Files, o.Progress = second.files(wrote), nil
			for i, f := range o.Files {
				if f.Path == "store/segments/a.seg" {
					o.Files[i].Open = func() (io.ReadCloser, error) { t.Error("a file is read again"); return f.Open() }
				}
			}
			two, err := Run(t.Context(), to, o)
			if err != nil {
				t.Fatal(err)
			}
			if two.SentFiles != 2 || two.SentBytes != 70_500 || two.ID <= one.ID {
				t.Errorf("%+v", two)
			}
			// Another time: it is read, found to be the same, and not sent.
			o.Files = second.files(wrote.Add(time.Second))
			three, err := Run(t.Context(), to, o)
			if err != nil || three.SentFiles != 0 {
				t.Errorf("%+v, %v", three, err)
			}

			list, err := List(t.Context(), to)
			if err != nil || len(list) != 3 || list[0].ID != one.ID || list[0].Sequence != 7 || list[2].ID != three.ID || list[0].Manifest.Bytes() != 371_000 {
				t.Errorf("%+v, %v", list, err)
			}
			for id, want := range map[string]contents{one.ID: first, two.ID: second, "": second} {
				dir := filepath.Join(t.TempDir(), "new", "data")
				done, err := Restore(t.Context(), to, id, dir, func(done, total int64) {
					if done > total {
						t.Errorf("%d of %d", done, total)
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				if got := tree(t, dir); !equal(got, want) {
					t.Errorf("%q: other files are restored", id)
				}
				if done.Files != len(want) || done.Sequence != 7 || done.Kept != 0 || Unfinished(dir) != nil {
					t.Errorf("%+v", done)
				}
				if _, err := Restore(t.Context(), to, id, dir, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
					t.Errorf("a full folder: %v", err)
				}
			}
			if _, err := Restore(t.Context(), to, "20200101T000000.000Z", t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "lookout backup list") {
				t.Errorf("no such backup: %v", err)
			}

			// What only the first one needs goes with it.
			if _, err := Prune(t.Context(), to, 0, now()); err == nil {
				t.Error("none is kept")
			}
			p, err := Prune(t.Context(), to, 2, now())
			if err != nil || p.Backups != 1 || p.Objects != 2 || p.Bytes != 70_000 {
				t.Errorf("%+v, %v", p, err)
			}
			c, err := Check(t.Context(), to, "", nil)
			if err != nil || c.Backups != 2 || c.Objects != 4 || len(c.Damage) != 0 {
				t.Errorf("%+v, %v", c, err)
			}
			if left, err := to.List(t.Context(), runningDir); err != nil || len(left) != 0 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

// Whatever bit of an object or a manifest is flipped: check finds it, and restore does not restore it.
func TestFlippedBit(t *testing.T) {
	dir := t.TempDir()
	to := &Folder{Dir: dir}
	c := contents{"state.db": random(1, 900), "store/segments/a.seg": random(2, 2000)}
	if _, err := Run(t.Context(), to, Options{Files: c.files(time.Time{}), Now: clock()}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	all := tree(t, dir)
	for _, name := range slices.Sorted(maps.Keys(all)) { // the same draws each time
		data := all[name]
		if strings.HasPrefix(name, manifestDir) {
			// Each bit, as not each byte means as much: encoding/json takes a key in any case.
			for i := range 8 * len(data) {
				bad := bytes.Clone(data)
				bad[i/8] ^= 1 << (i % 8)
				if _, err := decodeManifest(bad); err == nil {
					t.Fatalf("%s is taken with bit %d of byte %d flipped", name, i%8, i/8)
				}
			}
		}
		for range 40 {
			bad := bytes.Clone(data)
			bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
			if err := os.WriteFile(filepath.Join(dir, name), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			found, err := Check(t.Context(), to, "", nil)
			if err != nil || len(found.Damage) != 1 {
				t.Fatalf("%s: %+v, %v", name, found, err)
			}
			into := filepath.Join(t.TempDir(), "x")
			if _, err := Restore(t.Context(), to, "", into, nil); err == nil {
				t.Fatalf("%s: it is restored", name)
			} else if strings.HasPrefix(name, objectDir) && Unfinished(into) == nil {
				t.Fatal("the folder does not say that it is incomplete")
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// One that is missing.
	objects, err := to.List(t.Context(), objectDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Delete(t.Context(), objects[0].Name); err != nil {
		t.Fatal(err)
	}
	if found, err := Check(t.Context(), to, "", nil); err != nil || len(found.Damage) != 1 || !strings.Contains(found.Damage[0], objects[0].Name) {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := Restore(t.Context(), to, "", filepath.Join(t.TempDir(), "x"), nil); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Error(err)
	}
}

// A restore that ends anywhere is gone on with by the same command, by no other.
func TestInterruptedRestore(t *testing.T) {
	to := &Folder{Dir: t.TempDir()}
	c := contents{"a": random(1, 100_000), "b": random(2, 100_000), "store/c": random(3, 100_000)}
	now := clock()
	var ids []string
	for range 2 {
		sum, err := Run(t.Context(), to, Options{Files: c.files(time.Time{}), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, sum.ID)
	}
	dir := filepath.Join(t.TempDir(), "data")
	for _, stop := range []int64{0, 50_000, 150_000, 299_999} {
		ctx, cancel := context.WithCancel(t.Context())
		_, err := Restore(ctx, to, ids[0], dir, func(done, _ int64) {
			if done > stop {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%d: %v", stop, err)
		}
		if err := Unfinished(dir); err == nil || !strings.Contains(err.Error(), "lookout restore "+to.Dir+" "+ids[0]+" --data "+dir) {
			t.Fatal(err)
		}
	}
	if _, err := Restore(t.Context(), to, ids[1], dir, nil); err == nil || !strings.Contains(err.Error(), "restore of backup "+ids[0]) {
		t.Error(err)
	}
	done, err := Restore(t.Context(), to, "", dir, nil) // the one that was begun, not the newest
	if err != nil || done.ID != ids[0] || done.Kept != 2 || Unfinished(dir) != nil {
		t.Errorf("%+v, %v", done, err)
	}
	if !equal(tree(t, dir), c) {
		t.Error("other files are restored")
	}

	// A mark of a later version, or a damaged one, stops everything.
	for _, mark := range []string{`{"format":"lookout restore","version":2}`, "{"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, restoreFile), []byte(mark), 0o600); err != nil {
			t.Fatal(err)
		}
		if Unfinished(dir) == nil {
			t.Error(mark)
		}
		if _, err := Restore(t.Context(), to, "", dir, nil); err == nil {
			t.Error(mark)
		}
	}
}

// While a backup runs nothing is pruned; one that was killed holds that up for a day.
func TestPruneDuringABackup(t *testing.T) {
	to := &Folder{Dir: t.TempDir()}
	now := clock()
	c := contents{"a": random(1, 1000)}
	if _, err := Run(t.Context(), to, Options{Files: c.files(time.Time{}), Now: now}); err != nil {
		t.Fatal(err)
	}
	files := contents{"b": random(2, 1000), "c": random(3, 1000)}.files(time.Time{})
	open := files[1].Open
	files[1].Open = func() (io.ReadCloser, error) {
		if _, err := Prune(t.Context(), to, 1, now()); err == nil || !strings.Contains(err.Error(), "a backup runs") {
			t.Error(err)
		}
		return open()
	}
	if _, err := Run(t.Context(), to, Options{Files: files, Now: now}); err != nil {
		t.Fatal(err)
	}
	// Killed: the mark and a half-written object stay.
	at := now()
	if err := os.WriteFile(filepath.Join(to.Dir, "running", at.Format(idLayout)), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(to.Dir, "objects", "x"+tmpSuffix)
	if err := os.WriteFile(half, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(half, at, at); err != nil {
		t.Fatal(err)
	}
	if _, err := Prune(t.Context(), to, 1, at.Add(time.Hour)); err == nil {
		t.Error("pruned")
	}
	if p, err := Prune(t.Context(), to, 1, at.Add(25*time.Hour)); err != nil || p.Backups != 1 || p.Objects != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// The next backup of the same data folder clears away what a killed one left running, and no other's.
func TestKilledBackupsMark(t *testing.T) {
	to := &Folder{Dir: t.TempDir()}
	now := clock()
	for name, by := range map[string]string{"20261121T200000.000Z": "host:/data", "20261121T200001.000Z": "other:/data", "20261121T200002.000Z": ""} {
		if err := os.MkdirAll(filepath.Join(to.Dir, "running"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to.Dir, "running", name), fmt.Appendf(nil, `{"running":"2026-11-21T20:00:00Z","by":%q}`, by), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Run(t.Context(), to, Options{Files: contents{"a": random(1, 10)}.files(time.Time{}), Now: now, By: "host:/data"}); err != nil {
		t.Fatal(err)
	}
	left, err := to.List(t.Context(), runningDir)
	if err != nil || len(left) != 2 || left[0].Name != "running/20261121T200001.000Z" {
		t.Error(left, err)
	}
}

// A file that is not what it was said to be fails the backup, and nothing is listed.
func TestChangingFile(t *testing.T) {
	to := &Folder{Dir: t.TempDir()}
	reads := 0
	changing := File{Path: "x", Size: 10, Open: func() (io.ReadCloser, error) {
		reads++
		return io.NopCloser(strings.NewReader(fmt.Sprintf("content %02d", reads))), nil
	}}
	short := File{Path: "x", Size: 10, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("short")), nil }}
	for _, f := range []File{changing, short} {
		if _, err := Run(t.Context(), to, Options{Files: []File{f}, Now: clock()}); err == nil {
			t.Error("saved")
		}
	}
	if list, err := List(t.Context(), to); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	if left := tree(t, to.Dir); len(left) != 0 {
		t.Error(left)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	good := func() *Manifest {
		return &Manifest{Format: manifestFormat, Version: 1, ID: "20261121T200000.000Z", Files: []Entry{{Path: "store/a", Size: 1, SHA256: strings.Repeat("a", 64)}}}
	}
	if _, err := decodeManifest(good().encode()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(m *Manifest){
		"../x":     func(m *Manifest) { m.Files[0].Path = "../x" },
		"/x":       func(m *Manifest) { m.Files[0].Path = "/x" },
		"a/../../": func(m *Manifest) { m.Files[0].Path = "a/../../x" },
		`\`:        func(m *Manifest) { m.Files[0].Path = `..\x` },
		"mark":     func(m *Manifest) { m.Files[0].Path = restoreFile },
		"empty":    func(m *Manifest) { m.Files[0].Path = "" },
		"hash":     func(m *Manifest) { m.Files[0].SHA256 = "../../x" },
		"size":     func(m *Manifest) { m.Files[0].Size = -1 },
		"twice":    func(m *Manifest) { m.Files = append(m.Files, m.Files[0]) },
		"format":   func(m *Manifest) { m.Format = "x" },
	} {
		m := good()
		change(m)
		if _, err := decodeManifest(m.encode()); err == nil || errors.Is(err, ErrVersion) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := good()
	m.Version = 2
	if _, err := decodeManifest(m.encode()); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "version 2") {
		t.Error(err)
	}
}

func TestOpen(t *testing.T) {
	keys := S3Options{AccessKey: "a", SecretKey: "b"}
	for address, want := range map[string]string{"/a/b": "/a/b", "s3://bucket": "s3://bucket/", "s3://bucket/a/b/": "s3://bucket/a/b"} {
		to, err := Open(address, keys)
		if err != nil || to.String() != want {
			t.Errorf("%s: %v, %v", address, to, err)
		}
	}
	for _, address := range []string{"", "ftp://x/y", "s3://", "s3:///x", "s3://a:b@c/x"} {
		if to, err := Open(address, keys); err == nil {
			t.Errorf("%s: %v", address, to)
		}
	}
	if _, err := Open("s3://b/x", S3Options{}); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Error(err)
	}
	if _, err := Open("s3://b/x", S3Options{AccessKey: "a", SecretKey: "very secret", Endpoint: "http://very:secret@x"}); err == nil || strings.Contains(err.Error(), "very") {
		t.Error(err)
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 1000}
		begun := time.Now()
		for range 10 {
			if err := p.take(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 100*time.Millisecond {
			t.Errorf("100 bytes at 1000 a second took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.take(ctx, 1e9); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
