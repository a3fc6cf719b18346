package segment

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// create writes a segment of the services, each a block with three rows.
func create(t testing.TB, dir string, services ...string) string {
	t.Helper()
	b, err := block.NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	err = Create(vfs.OS, dir, 0, uint64(3*len(services)), func(dst []byte) ([]byte, *block.Meta, error) {
		if len(services) == 0 {
			return nil, nil, nil
		}
		var rows []block.Row
		for i := range 3 {
			seq++
			e := event.Event{Time: int64(i), Service: []byte(services[0]), Message: fmt.Appendf(nil, "line %d", seq)}
			rows = append(rows, block.Row{Seq: seq, Data: event.AppendEvent(nil, &e)})
		}
		services = services[1:]
		return b.Append(dst, rows, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	return Name(0, seq)
}

// lines reads every row of a segment.
func lines(s *Segment) (out []string, err error) {
	var rows block.Rows
	var e event.Event
	for _, entry := range s.Blocks {
		b, err := entry.Open()
		if err != nil {
			return out, err
		}
		for i := range b.Frames {
			if err := b.Frame(i, &rows); err != nil {
				return out, entry.Corrupt(err)
			}
			for data := rows.Data; len(data) > 0; {
				if data, err = event.Decode(data, &e); err != nil {
					return out, entry.Corrupt(err)
				}
				out = append(out, string(e.Message))
			}
		}
		if _, err := b.MayHold([]uint64{7}); err != nil {
			return out, entry.Corrupt(err)
		}
	}
	return out, nil
}

func TestCreateAndOpen(t *testing.T) {
	dir := t.TempDir()
	name := create(t, dir, "a", "b", "c")
	s, err := Open(vfs.OS, dir, name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Lo != 0 || s.Hi != 9 || len(s.Blocks) != 3 || s.Blocks[1].Service != "b" || len(s.Damage) != 0 {
		t.Fatalf("%+v", s)
	}
	got, err := lines(s)
	if err != nil || len(got) != 9 || got[8] != "line 9" {
		t.Fatalf("%q, %v", got, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files in the folder", len(files))
	}
}

// Every flipped bit is found, and what the damage does not touch is still served.
func TestEverySingleBitFlip(t *testing.T) {
	dir := t.TempDir()
	name := create(t, dir, "a", "b")
	path := filepath.Join(dir, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(whole) * 8 {
		data := bytes.Clone(whole)
		data[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(vfs.OS, dir, name)
		if err != nil {
			if bit/8 != 7 || !errors.Is(err, block.ErrVersion) {
				t.Fatalf("byte %d: %v", bit/8, err)
			}
			continue
		}
		got, err := lines(s)
		found := errors.Is(err, block.ErrCorrupt) || errors.Is(err, block.ErrVersion) || len(s.Damage) > 0
		if !found {
			t.Fatalf("bit %d of byte %d flipped: not found", bit%8, bit/8)
		}
		if err == nil && len(got) != 6 {
			t.Fatalf("byte %d: %d lines and no error", bit/8, len(got))
		}
		s.Close()
	}
}

func TestUnknownVersionIsRefusedAndUntouched(t *testing.T) {
	dir := t.TempDir()
	name := create(t, dir, "a")
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[7] = 3
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(vfs.OS, dir, name); !errors.Is(err, block.ErrVersion) {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(after, data) {
		t.Error("the file was changed")
	}
}

func TestTruncatedFile(t *testing.T) {
	dir := t.TempDir()
	name := create(t, dir, "a", "b")
	path := filepath.Join(dir, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(vfs.OS, dir, name)
		if err != nil {
			t.Fatalf("cut to %d: %v", n, err)
		}
		if len(s.Damage) == 0 {
			t.Fatalf("cut to %d of %d: no damage", n, len(whole))
		}
		if _, err := lines(s); err != nil {
			t.Fatalf("cut to %d: what the walk found cannot be read: %v", n, err)
		}
		s.Close()
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name string
		ok   bool
	}{
		{Name(0, 1), true}, {Name(5, 900), true}, {Name(1, 1), false}, {Name(2, 1), false}, {"1-2.seg", false},
		{Name(0, 1) + ".tmp", false}, {"LOCK", false}, {"", false},
	} {
		if _, _, ok := ParseName(c.name); ok != c.ok {
			t.Errorf("%q: %v", c.name, ok)
		}
	}
}

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	name := create(f, dir, "a", "b")
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-30])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(vfs.OS, dir, name)
		if err != nil {
			if !errors.Is(err, block.ErrVersion) {
				t.Fatalf("%v", err)
			}
			return
		}
		defer s.Close()
		_, _ = lines(s)
	})
}

// Segments of every released version stay readable. v1.seg was written by create(t, dir, "a", "b") of version 1.
func TestGolden(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Name(0, 6)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(vfs.OS, dir, Name(0, 6))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := lines(s)
	if err != nil || len(s.Damage) != 0 || strings.Join(got, ",") != "line 1,line 2,line 3,line 4,line 5,line 6" {
		t.Errorf("%q, %v, %v", got, err, s.Damage)
	}
	m := s.Blocks[1].Meta
	if m.Service != "b" || m.Rows != 3 || m.MinSeq != 4 || m.MaxSeq != 6 || m.MaxTime != 2 {
		t.Errorf("%+v", m)
	}
}
