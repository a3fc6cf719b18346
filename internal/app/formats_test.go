package app

import (
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/lookoutlog/lookout/internal/backup"
)

// folder is the content of a folder, by path.
func folder(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		files[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A file of a later version, of whichever format, is refused with an error that says so, and the store's files stay as they are.
func TestUnknownVersions(t *testing.T) {
	o := options(t, nil)
	a := start(t, o)
	if status, answer := call(t, a, "POST", "/api/v1/events", "application/x-ndjson", ndjson("shop", 0, 200)); status != 200 {
		t.Fatal(answer)
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	one := func(pattern string) string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(o.Config.Data, pattern))
		if err != nil || len(names) == 0 {
			t.Fatal(pattern, names, err)
		}
		return names[len(names)-1]
	}
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func(file string, key string, value []byte, buckets ...string) {
		t.Helper()
		db, err := bbolt.Open(filepath.Join(o.Config.Data, file), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		err = db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(buckets[0]))
			for _, name := range buckets[1:] {
				if err == nil {
					b, err = b.CreateBucketIfNotExists([]byte(name))
				}
			}
			if err != nil {
				return err
			}
			return b.Put([]byte(key), value)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	good := folder(t, o.Config.Data)
	for format, c := range map[string]struct {
		change func()
		say    string
	}{
		"segment": {func() {
			path := one("store/segments/*.seg")
			data := []byte(good[path])
			data[7], data[len(data)-1] = 3, 3
			write(path, data)
		}, "segment version 3, this lookout reads 1 to 2"},
		"log": {func() {
			path := one("store/wal/*.wal")
			data := []byte(good[path])
			binary.LittleEndian.PutUint32(data[8:], 2)
			table := crc32.MakeTable(crc32.Castagnoli)
			binary.LittleEndian.PutUint32(data[12:], crc32.Update(crc32.Checksum(data[:12], table), table, data[16:64]))
			write(path, data)
		}, "format version 2, this lookout reads version 1"},
		"store's state":   {func() { write(filepath.Join(o.Config.Data, "store", "state.json"), []byte(`{"version":2}`)) }, "state version 2, this lookout reads 1"},
		"job of deletion": {func() { write(filepath.Join(o.Config.Data, "store", "deletes", "1.json"), []byte(`{"version":2}`)) }, "version 2, this lookout reads 1"},
		"ledger":          {func() { put(ledgerFile, "version", []byte{2}, "meta") }, "written by a later lookout"},
		"restore": {func() {
			write(filepath.Join(o.Config.Data, "restore.json"), []byte(`{"format":"lookout restore","version":2}`))
		}, "written by a later lookout"},
	} {
		t.Run(format, func(t *testing.T) {
			c.change()
			before := folder(t, o.Config.Data)
			if app, err := New(o); err == nil {
				t.Error("it starts")
				if err := app.Stop(context.Background()); err != nil {
					t.Error(err)
				}
			} else if !strings.Contains(err.Error(), c.say) {
				t.Error(err)
			}
			after := folder(t, o.Config.Data)
			for path, data := range before {
				if after[path] != data && !strings.HasSuffix(path, stateFile) { // bbolt's own pages
					t.Errorf("%s has changed", path)
				}
			}
			for path := range after {
				if _, ok := before[path]; !ok {
					t.Errorf("%s is new", path)
				}
				if _, ok := good[path]; !ok {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
			}
			for path, data := range good {
				write(path, []byte(data))
			}
		})
	}
	again := start(t, o)
	if status, answer := get(t, again, "/api/v1/query?count=true&"+url.Values{"q": {"*"}}.Encode(), true); status != 200 || !strings.Contains(answer, `"matched":200,`) {
		t.Error(status, answer)
	}
}

// What is not read by a server that starts.
func TestUnknownBackupVersion(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "backups", "20261121T200000.000Z.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text := []byte(`{"format":"lookout backup","version":2,"id":"20261121T200000.000Z","something":"new"}`)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	to := &backup.Folder{Dir: dir}
	if _, err := backup.Restore(t.Context(), to, "", filepath.Join(t.TempDir(), "x"), nil); err == nil || !strings.Contains(err.Error(), "version 2 of manifests, this one reads 1") {
		t.Error(err)
	}
	if _, err := backup.Prune(t.Context(), to, 1, time.Now()); err == nil {
		t.Error("pruned")
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, text) {
		t.Error(err)
	}
}

func TestFormats(t *testing.T) {
	for _, f := range Formats() {
		if f.Name == "" || f.File == "" || f.Writes < 1 || f.Oldest < 1 || f.Oldest > f.Writes {
			t.Errorf("%+v", f)
		}
	}
}
