package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/vfs"
)

func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	data, err := os.ReadFile(filepath.Join(dir, create(f, vfs.OS, dir, 0, 24, small(f)...)))
	if err != nil {
		f.Fatal(err)
	}
	v1, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-30])
	f.Add(v1)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		name := Name(0, 24, DefaultClass)
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
		_, _ = told(s, []uint64{0, 1 << 40}, parse(t, "disk", "user!=u1 OR host:h1"))
	})
}

// FuzzFooter lets a segment have any footer whose checksums are right: its decoders must not believe it.
func FuzzFooter(f *testing.F) {
	dir := f.TempDir()
	s := open(f, vfs.OS, dir, create(f, vfs.OS, dir, 0, 24, small(f)...))
	stream, err := s.pages().read(nil, 0, s.stream)
	if err != nil {
		f.Fatal(err)
	}
	blocks := make([]byte, s.footer)
	if _, err := s.file.ReadAt(blocks, 0); err != nil {
		f.Fatal(err)
	}
	last := s.directory.counts[len(s.directory.counts)-1]
	f.Add(stream, uint64(last.at+last.size))
	f.Fuzz(func(t *testing.T, stream []byte, directory uint64) {
		var file bytes.Buffer
		file.Write(blocks)
		w := &pageWriter{dst: &file}
		w.write(stream)
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		trailer := binary.LittleEndian.AppendUint64(nil, uint64(len(blocks)))
		trailer = binary.LittleEndian.AppendUint64(trailer, uint64(len(stream)))
		trailer = binary.LittleEndian.AppendUint64(trailer, directory)
		trailer = binary.LittleEndian.AppendUint32(trailer, crc32.Checksum(trailer, castagnoli))
		file.Write(append(trailer, magic...))
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, Name(0, 24, DefaultClass)), file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(vfs.OS, dir, Name(0, 24, DefaultClass))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if len(s.Damage) == 0 && len(s.Blocks) == 0 && s.footer != int64(len(magic)) {
			t.Fatal("blocks are lost")
		}
		if _, err := told(s, []uint64{0, 1 << 40}, parse(t, "disk", "user!=u1 OR host:h1")); err != nil && !errors.Is(err, block.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// FuzzDirectory decodes any bytes as a directory. What is taken has each block and each section in its place.
func FuzzDirectory(f *testing.F) {
	dir := f.TempDir()
	s := open(f, vfs.OS, dir, create(f, vfs.OS, dir, 0, 24, small(f)...))
	last := s.directory.counts[len(s.directory.counts)-1]
	at := last.at + last.size
	data, err := s.pages().read(nil, at, s.stream-at)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data, s.footer, at)
	f.Fuzz(func(t *testing.T, data []byte, blocks, stream int64) {
		if blocks < int64(len(magic)) || stream < 0 {
			return
		}
		d, err := decodeDirectory(data, limits{blocks: blocks, stream: stream})
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		at := int64(len(magic))
		for _, e := range d.blocks {
			if e.Offset != at || e.Length < 0 {
				t.Fatalf("a block at %d, want %d", e.Offset, at)
			}
			at += e.Length
		}
		n, section := 0, int64(0)
		for _, c := range d.classes {
			n += len(c.blocks)
			section += c.size * int64(len(c.blocks))
		}
		for _, p := range append(d.formParts, d.counts...) {
			if p.at != section || p.first > p.last {
				t.Fatalf("a part at %d, want %d", p.at, section)
			}
			section += p.size
		}
		if at != blocks || n != len(d.blocks) || section != stream {
			t.Fatalf("blocks to %d of %d, filters of %d of %d, sections to %d of %d", at, blocks, n, len(d.blocks), section, stream)
		}
	})
}

// FuzzForms decodes any bytes as a part of the forms. What is taken can be gone through to its end.
func FuzzForms(f *testing.F) {
	dir := f.TempDir()
	s := open(f, vfs.OS, dir, create(f, vfs.OS, dir, 0, 24, small(f)...))
	for i := range s.formParts {
		raw, err := s.readPart(&s.formParts[i])
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	queries := parse(f, "disk", "status>=500", `user:u1 OR ~"x[0-9]"`)
	f.Fuzz(func(t *testing.T, raw []byte) {
		part, err := s.decodeForms(raw)
		if err != nil {
			if !errors.Is(err, block.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		for _, q := range queries {
			j := &Judged{seg: s, own: bitset.New(2)}
			w := &judging{s: s, j: j, blocks: bitset.Full(2), tests: q.Tests(), services: []candidates{{1, 1}, {1, 1}}, entries: make([][]entry, len(q.Tests())), keys: make([]uint64, len(q.Tests()))}
			w.part(part)
			w.file()
			for i := range s.Blocks {
				q.Bounds(&facts{j, s.Blocks[i]})
			}
		}
		for i := range part.groups {
			g := &part.groups[i]
			for k := g.lo; k < g.hi; k++ {
				var f Form
				part.patterns.Pattern(k, &f.Pattern)
				part.fill(&f, &s.directory, g, k)
				n := 0
				if f.Places(func(Place) bool { n++; return true }); n != f.n {
					t.Fatalf("%d places of %d", n, f.n)
				}
			}
		}
	})
}

// FuzzCounts decodes any bytes as counts.
func FuzzCounts(f *testing.F) {
	dir := f.TempDir()
	s := open(f, vfs.OS, dir, create(f, vfs.OS, dir, 0, 24, small(f)...))
	raw, err := s.readPart(&s.directory.counts[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, 2)
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		if n < 0 || n > 1000 {
			return
		}
		counts, err := decodeCounts(raw, n)
		if err == nil && len(counts) != n || err != nil && !errors.Is(err, block.ErrCorrupt) {
			t.Fatal(len(counts), err)
		}
	})
}
