package wal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// FuzzSegment opens two segments of which one is what the fuzzer made: nothing panics, sequences rise, and the log goes
// on.
func FuzzSegment(f *testing.F) {
	golden := map[string][]byte{}
	paths, err := filepath.Glob("testdata/v1/*.wal")
	if err != nil || len(paths) != 2 {
		f.Fatal(paths, err)
	}
	for _, p := range paths {
		if golden[filepath.Base(p)], err = os.ReadFile(p); err != nil {
			f.Fatal(err)
		}
		data := golden[filepath.Base(p)]
		for _, newest := range []bool{false, true} {
			f.Add(data, newest)
			f.Add(data[:len(data)-20], newest)
			f.Add(append(bytes.Clone(data), data...), newest)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, newest bool) {
		d := disk{segmentName(1): golden[segmentName(1)], segmentName(6): golden[segmentName(6)]}
		if newest {
			d[segmentName(6)] = data
		} else {
			d[segmentName(1)] = data
		}
		goesOn(t, d)
	})
}

// FuzzForgedRecord puts a record whose sums are right and whose fields are anything into the newest segment.
func FuzzForgedRecord(f *testing.F) {
	path := "testdata/v1/" + segmentName(6)
	newest, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	h, err := parseSegmentHeader(newest)
	if err != nil {
		f.Fatal(err)
	}
	old, err := os.ReadFile("testdata/v1/" + segmentName(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(7), uint32(1), uint32(len(newest)), uint32(3), uint32(0), uint16(0), uint8(0), []byte("abc"))
	f.Add(uint64(7), uint32(1), uint32(len(newest)), uint32(20), uint32(1), uint16(1), uint8(1), []byte("abc"))
	f.Add(uint64(1), uint32(1), uint32(len(newest)), uint32(14), uint32(0), uint16(0), uint8(0), []byte("abcdefghijklmn"))
	f.Add(uint64(1)<<63, uint32(9), uint32(0), uint32(14), uint32(0), uint16(0), uint8(0), []byte("abcdefghijklmn"))
	f.Fuzz(func(t *testing.T, first uint64, count, durable, raw, cursor uint32, producer uint16, encoding uint8, body []byte) {
		r := recordHeader{
			length: uint32(recordLen + len(body)), bodyCRC: crc32.Checksum(body, castagnoli), first: first % (1 << 62), count: count % (1 << 31),
			durable: durable, rawLen: raw, cursorLen: cursor, producerLen: producer, encoding: encoding, id: h.id,
		}
		out := make([]byte, recordLen)
		r.put(out)
		goesOn(t, disk{segmentName(1): old, segmentName(6): slices.Concat(newest, out, body)})
	})
}

// goesOn opens a log, appends, and reads all: sequences must rise without a gap that is not reported.
func goesOn(t *testing.T, d disk) {
	l, err := Open(Options{Dir: "/d/wal", FS: d.load(t)})
	if other := (*VersionError)(nil); errors.As(err, &other) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, _, err := l.Append(ctx, lines("x")); err != nil {
		t.Fatal(err)
	}
	r := l.Reader(0)
	defer r.Close()
	at := uint64(0)
	for {
		e, ok, err := r.TryNext()
		var corrupt *CorruptError
		switch {
		case errors.As(err, &corrupt):
			if corrupt.From != at+1 || corrupt.To < corrupt.From {
				t.Fatal(at, err)
			}
			at = corrupt.To
		case err != nil:
			t.Fatal(err)
		case !ok:
			if at != l.Last() {
				t.Fatalf("reading ended at %d of %d", at, l.Last())
			}
			return
		default:
			if e.First != at+1 || e.Count < 1 {
				t.Fatalf("%d events from %d follow %d", e.Count, e.First, at)
			}
			at = e.Last()
		}
	}
}

// FuzzRecord reads any bytes as records: what is accepted encodes to the same bytes.
func FuzzRecord(f *testing.F) {
	for _, e := range []*Entry{lines("a"), counted("p", 3, "b", "c"), lines(string(bytes.Repeat([]byte("long "), 500)))} {
		p := newPending(e, true)
		p.first = 9
		p.put(p.buf)
		f.Add(bytes.Clone(p.buf))
		p.free()
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		mem := vfs.NewCrash(1)
		file, err := mem.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(data); err != nil {
			t.Fatal(err)
		}
		var s scanner
		s.open(file, &segment{anyID: true}, int64(len(data)))
		for {
			r, at, err := s.next()
			if err != nil {
				return
			}
			out := make([]byte, recordLen)
			r.put(out)
			if !bytes.Equal(append(out, r.body...), data[at:at+int64(r.length)]) {
				t.Fatal("a record reads differently from how it is written")
			}
			if d, err := r.data(nil); err == nil && len(d) != int(r.rawLen) {
				t.Fatal("wrong length of data")
			}
			_, _ = r.producer(), r.cursor()
		}
	})
}

// FuzzMarks reads any bytes as marks.
func FuzzMarks(f *testing.F) {
	s := newMarks(1)
	s.set([]byte("a"), 1, []byte("x"))
	s.set([]byte("b"), 2, nil)
	f.Add(s.append(nil), 2)
	f.Add([]byte{}, 0)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		s := newMarks(1)
		if s.load(data, n%1000) == nil && len(s.append(nil)) > len(data)+20*len(s.m) {
			t.Fatal("marks grow by reading")
		}
	})
}
