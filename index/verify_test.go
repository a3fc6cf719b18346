package index

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// fullStore returns the folder of a closed store with segments of both kinds of merges, and events in the log alone.
func fullStore(t *testing.T) (disk *vfs.Crash, o Options) {
	t.Helper()
	disk = vfs.NewCrash(1)
	o = Options{Dir: "/store", FS: disk, byHand: true, CompactShare: 1, logSegment: 2 << 10, Now: new(ticks).now}
	s := open(t, o)
	c := corpus{rand.New(rand.NewPCG(1, 2))}
	for i := range 14 {
		var b event.Batch
		b.Producer, b.FirstSeq = "p", uint64(1+i*40)
		for range 30 {
			c.event(&b)
		}
		for k := range 10 {
			e := b.Add()
			e.Service, e.Time, e.Message = []byte("web"), int64(i*100+k)*1e9, b.Copy(fmt.Appendf(nil, "GET /items/%d took %d.%d ms id=%08x", k*7, i, k, i*77777+k))
			b.AddField(e, event.Field{Name: []byte("status"), Value: b.Copy(fmt.Append(nil, 200+k%5*100)), Kind: event.Number})
		}
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		if i == 1 || i == 3 || i == 5 {
			if err := sealByHand(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	// As if it were killed: what is in memory stays in the log.
	s.cancel()
	return disk, o
}

func fileOf(t *testing.T, disk vfs.FS, path string) []byte {
	t.Helper()
	data, err := readSmall(disk, path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func setFile(t *testing.T, disk vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := disk.OpenFile(path, os.O_WRONLY|os.O_TRUNC|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func verified(t *testing.T, disk vfs.FS, deep bool) *Verified {
	t.Helper()
	last, total := int64(0), int64(0)
	v, err := Verify(t.Context(), disk, "/store", deep, func(done, of int64) {
		if last, total = done, of; done > of {
			t.Errorf("%d of %d bytes", done, of)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if last != total || v.Bytes != total {
		t.Errorf("%d of %d bytes, %d are told", last, total, v.Bytes)
	}
	return v
}

func TestVerify(t *testing.T) {
	disk, o := fullStore(t)
	for _, deep := range []bool{true, false} {
		v := verified(t, disk, deep)
		if len(v.Problems) != 0 || v.Segments != 3 || v.Events != 240 || v.Logged < 320 {
			t.Errorf("deep %v: %+v", deep, v)
		}
	}

	// Every flipped bit of a segment is found by its checksum; of the log every one but of the last commit, which a crash may have torn.
	rng := rand.New(rand.NewPCG(3, 4))
	for _, dir := range []string{"segments", "wal"} {
		names, err := disk.ReadDir(filepath.Join(o.Dir, dir))
		if err != nil || len(names) < 3 {
			t.Fatal(names, err)
		}
		for i, name := range names {
			path := filepath.Join(o.Dir, dir, name)
			data := fileOf(t, disk, path)
			n := len(data)
			if dir == "wal" && i == len(names)-1 {
				n = 64 // the header
			}
			bits := 120
			for range bits {
				bad := append([]byte(nil), data...)
				bit := rng.IntN(8 * n)
				bad[bit/8] ^= 1 << (bit % 8)
				setFile(t, disk, path, bad)
				v, err := Verify(t.Context(), disk, o.Dir, false, nil)
				if err != nil {
					continue // taken for a later version, which is said
				}
				if len(v.Problems) == 0 {
					t.Errorf("%s: bit %d of byte %d is not found", name, bit%8, bit/8)
				}
				for _, p := range v.Problems {
					if !strings.HasPrefix(p.File, "store/"+dir+"/") || p.What == "" || p.Cost == "" || p.Mend == "" {
						t.Errorf("%+v", p)
					}
				}
			}
			setFile(t, disk, path, data)
		}
	}
	if v := verified(t, disk, true); len(v.Problems) != 0 {
		t.Errorf("%+v", v)
	}
}

// Files that are whole but do not fit each other.
func TestVerifyCrossReferences(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(t *testing.T, disk vfs.FS, segments, log []string)
		file, say string
	}{
		"overlap": {func(t *testing.T, disk vfs.FS, segments, _ []string) {
			setFile(t, disk, strings.Replace(segments[1], "00000000000000000080-", "00000000000000000079-", 1), fileOf(t, disk, segments[1]))
		}, "store/segments/00000000000000000079", "overlaps"},
		"lost segment": {func(t *testing.T, disk vfs.FS, segments, _ []string) {
			if err := disk.Remove(segments[2]); err != nil {
				t.Fatal(err)
			}
		}, "store/wal", "events 161 to"},
		"lost log": {func(t *testing.T, disk vfs.FS, _, log []string) {
			if err := disk.Remove(log[len(log)-2]); err != nil {
				t.Fatal(err)
			}
		}, "store/wal/", "is missing behind it"},
		"cut log": {func(t *testing.T, disk vfs.FS, _, log []string) {
			path := log[len(log)-2]
			data := fileOf(t, disk, path)
			setFile(t, disk, path, data[:len(data)/2])
		}, "store/wal/", "events"},
		"state of another store": {func(t *testing.T, disk vfs.FS, _, _ []string) {
			data, err := (&state{Sealed: 1 << 40}).encode()
			if err != nil {
				t.Fatal(err)
			}
			setFile(t, disk, "/store/"+stateName, data)
		}, "store/state.json", "newest event is"},
		"damaged state": {func(t *testing.T, disk vfs.FS, _, _ []string) {
			setFile(t, disk, "/store/"+stateName, []byte(`{"version":1,"crc32c":"00000000","state":{}}`))
		}, "store/state.json", "checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			disk, o := fullStore(t)
			list := func(dir string) (paths []string) {
				names, err := disk.ReadDir(filepath.Join(o.Dir, dir))
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range names {
					paths = append(paths, filepath.Join(o.Dir, dir, n))
				}
				return paths
			}
			c.change(t, disk, list("segments"), list("wal"))
			v, err := Verify(t.Context(), disk, o.Dir, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range v.Problems {
				if strings.HasPrefix(p.File, c.file) && strings.Contains(p.What+" "+p.Cost, c.say) {
					return
				}
			}
			t.Errorf("%+v", v.Problems)
		})
	}
}

// A store is verified while events come in.
func TestVerifyOpenStore(t *testing.T) {
	s := openByHand(t)
	inSegments(t, s, 3, 50)
	var b event.Batch
	line(&b, "a", "in memory", 1000)
	if err := s.Append(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	v, err := s.Verify(t.Context(), true, nil)
	if err != nil || len(v.Problems) != 0 || v.Events != 150 || v.Logged == 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// An open store knows where its log ends: damage of the last commit is no torn end.
func TestVerifyEndOfOpenLog(t *testing.T) {
	s := openByHand(t)
	for i := range 3 {
		var b event.Batch
		line(&b, "a", fmt.Sprint("event ", i), 1000)
		if err := s.Append(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	names, err := os.ReadDir(filepath.Join(s.o.Dir, "wal"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	path := filepath.Join(s.o.Dir, "wal", names[0].Name())
	data := fileOf(t, vfs.OS, path)
	data[len(data)-1] ^= 1
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	v, err := s.Verify(t.Context(), false, nil)
	if err != nil || len(v.Problems) != 1 || !strings.Contains(v.Problems[0].Cost, "behind 2") {
		t.Errorf("%+v, %v", v, err)
	}
	// Nobody has it open: it may be what a crash left.
	if v, err = Verify(t.Context(), vfs.OS, s.o.Dir, false, nil); err != nil || len(v.Problems) != 0 {
		t.Errorf("%+v, %v", v, err)
	}
}

// The first format is verified as well.
func TestVerifyFirstFormat(t *testing.T) {
	v, err := Verify(t.Context(), vfs.OS, "testdata/v1-store/store", true, nil)
	if err != nil || len(v.Problems) != 0 || v.Events == 0 {
		t.Errorf("%+v, %v", v, err)
	}
}
