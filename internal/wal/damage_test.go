package wal

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// A disk is the files of a log's folder by name.
type disk map[string][]byte

func segmentName(base uint64) string { return fmt.Sprintf("%020d.wal", base) }

func save(t testing.TB, mem vfs.FS, dir string) disk {
	t.Helper()
	names, err := mem.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	d := disk{}
	for _, name := range names {
		f, err := mem.OpenFile(filepath.Join(dir, name), os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		d[name] = make([]byte, size)
		if _, err := f.ReadAt(d[name], 0); err != nil && size > 0 {
			t.Fatal(err)
		}
		f.Close()
	}
	return d
}

func (d disk) load(t testing.TB) *vfs.Crash {
	t.Helper()
	mem := memory()
	err := mem.MkdirAll("/d/wal", 0o700)
	for _, name := range slices.Sorted(maps.Keys(d)) {
		f, openErr := mem.OpenFile("/d/wal/"+name, os.O_WRONLY|os.O_CREATE, 0o600)
		if openErr != nil {
			t.Fatal(openErr)
		}
		_, writeErr := f.Write(d[name])
		err = errors.Join(err, writeErr, f.Sync(), f.Close())
	}
	if err := errors.Join(err, mem.SyncDir("/d"), mem.SyncDir("/d/wal")); err != nil {
		t.Fatal(err)
	}
	return mem
}

func (d disk) clone() disk {
	c := disk{}
	for name, b := range d {
		c[name] = bytes.Clone(b)
	}
	return c
}

// at returns where the n-th record of a segment starts, from 0.
func (d disk) at(base uint64, n int) int {
	b, off := d[segmentName(base)], 0
	for ; n >= 0; n-- {
		i := bytes.Index(b[off+1:], recordStart)
		if i < 0 {
			panic("no such record")
		}
		off += 1 + i
	}
	return off
}

func (d disk) flip(base uint64, off int) { d[segmentName(base)][off] ^= 0x10 }

func (d disk) wipe(base uint64, from, to int) { clear(d[segmentName(base)][from:to]) }

// nine is a log of nine commits of one event each, "1" to "9", three a segment.
func nine(t testing.TB) disk {
	t.Helper()
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 350})
	for i := range 9 {
		add(t, l, lines(fmt.Sprint(i+1)))
	}
	l.Close()
	d := save(t, mem, "/d/wal")
	if len(d) != 3 || d[segmentName(4)] == nil || d[segmentName(7)] == nil {
		t.Fatal("not three segments")
	}
	return d
}

// forge makes a record as it would stand in a segment of the id.
func forge(id uint32, seq uint64, durable int, message string) []byte {
	p := newPending(lines(message), true)
	defer p.free()
	p.id, p.first, p.durable = id, seq, uint32(durable)
	p.put(p.buf)
	return bytes.Clone(p.buf)
}

func TestDamage(t *testing.T) {
	whole := nine(t)
	id := func(base uint64) uint32 {
		h, err := parseSegmentHeader(whole[segmentName(base)])
		if err != nil {
			t.Fatal(err)
		}
		return h.id
	}
	for _, c := range []struct {
		name     string
		do       func(d disk)
		want     string // the entries in order; each event's message is its sequence
		corrupt  int64
		repaired int64
	}{
		{"nothing", func(d disk) {}, "1 2 3 4 5 6 7 8 9", 0, 0},
		{"a body", func(d disk) { d.flip(1, d.at(1, 1)+70) }, "1 lost 2-2 3 4 5 6 7 8 9", 1, 0},
		{"a header", func(d disk) { d.flip(1, d.at(1, 1)+20) }, "1 lost 2-2 3 4 5 6 7 8 9", 1, 0},
		{"a magic", func(d disk) { d.flip(1, d.at(1, 1)) }, "1 lost 2-2 3 4 5 6 7 8 9", 1, 0},
		{"two neighbours", func(d disk) { d.flip(1, d.at(1, 0)+20); d.flip(1, d.at(1, 1)+70) }, "lost 1-2 3 4 5 6 7 8 9", 1, 0},
		{"two apart", func(d disk) { d.flip(1, d.at(1, 0)+20); d.flip(1, d.at(1, 2)+70) }, "lost 1-1 2 lost 3-3 4 5 6 7 8 9", 2, 0},
		{"over the border of segments", func(d disk) { d.flip(1, d.at(1, 2)+20); d.flip(4, d.at(4, 0)+20) }, "1 2 lost 3-3 lost 4-4 5 6 7 8 9", 2, 0},
		{"the end of a segment", func(d disk) { d.flip(4, d.at(4, 2)+20) }, "1 2 3 4 5 lost 6-6 7 8 9", 1, 0},
		{"a segment without its end", func(d disk) { d[segmentName(4)] = d[segmentName(4)][:d.at(4, 2)+10] }, "1 2 3 4 5 lost 6-6 7 8 9", 1, 0},
		{"a segment of zeros", func(d disk) { d.wipe(4, 0, len(d[segmentName(4)])) }, "1 2 3 lost 4-6 7 8 9", 1, 0},
		{"an empty segment", func(d disk) { d[segmentName(4)] = nil }, "1 2 3 lost 4-6 7 8 9", 1, 0},
		{"a missing segment", func(d disk) { delete(d, segmentName(4)) }, "1 2 3 lost 4-6 7 8 9", 1, 0},
		{"the first segment is missing", func(d disk) { delete(d, segmentName(1)) }, "trimmed to 4 4 5 6 7 8 9", 0, 0},
		{"a segment's header", func(d disk) { d.wipe(4, 0, 64) }, "1 2 3 4 5 6 7 8 9", 1, 0},
		{"all headers", func(d disk) { d.wipe(1, 0, 64); d.wipe(4, 0, 64); d.wipe(7, 0, 64) }, "1 2 3 4 5 6 7 8 9", 3, 0},
		{"header and first record", func(d disk) { d.wipe(7, 0, 70) }, "1 2 3 4 5 6 lost 7-7 8 9", 1, 0},
		{"another segment's header", func(d disk) { copy(d[segmentName(4)], d[segmentName(7)][:64]) }, "1 2 3 4 5 6 7 8 9", 1, 0},
		{"in the newest", func(d disk) { d.flip(7, d.at(7, 1)+70) }, "1 2 3 4 5 6 7 lost 8-8 9", 1, 0},
		{"the last commit", func(d disk) { d.flip(7, d.at(7, 2)+70) }, "1 2 3 4 5 6 7 8", 0, 1},
		{"the last commit is short", func(d disk) { d[segmentName(7)] = d[segmentName(7)][:d.at(7, 2)+5] }, "1 2 3 4 5 6 7 8", 0, 1},
		{"the last commit is missing", func(d disk) { d[segmentName(7)] = d[segmentName(7)][:d.at(7, 2)] }, "1 2 3 4 5 6 7 8", 0, 0},
		{"zeros at the end", func(d disk) { d[segmentName(7)] = append(d[segmentName(7)], make([]byte, 5000)...) }, "1 2 3 4 5 6 7 8 9", 0, 1},
		{"half a record at the end", func(d disk) {
			d[segmentName(7)] = append(d[segmentName(7)], forge(id(7), 10, d.at(7, 2), "10")[:70]...)
		}, "1 2 3 4 5 6 7 8 9", 0, 1},
		{"a commit with a hole at the end", func(d disk) { // what comes behind the hole must not count: its sender sends all again
			at := len(d[segmentName(7)])
			r := forge(id(7), 10, at, "10")
			d[segmentName(7)] = append(append(d[segmentName(7)], make([]byte, len(r))...), forge(id(7), 11, at, "11")...)
		}, "1 2 3 4 5 6 7 8 9", 0, 1},
		{"an abandoned commit behind a segment", func(d disk) {
			d[segmentName(4)] = append(d[segmentName(4)], forge(id(4), 7, len(d[segmentName(4)]), "wrong")...)
		}, "1 2 3 4 5 6 7 8 9", 0, 0},
		{"the same, and the next header is lost", func(d disk) {
			d[segmentName(4)] = append(d[segmentName(4)], forge(id(4), 7, len(d[segmentName(4)]), "wrong")...)
			d.wipe(7, 0, 64)
		}, "1 2 3 4 5 6 7 8 9", 1, 0},
		{"a record of another segment", func(d disk) {
			copy(d[segmentName(4)][d.at(4, 1):], forge(id(1), 5, d.at(4, 1), "5"))
		}, "1 2 3 4 lost 5-5 6 7 8 9", 1, 0},
		{"a record that was moved", func(d disk) { // from behind: its commit would start behind itself
			copy(d[segmentName(4)][d.at(4, 0):], d[segmentName(4)][d.at(4, 2):])
		}, "1 2 3 lost 4-4 5 6 7 8 9", 1, 0},
		{"a record twice", func(d disk) {
			at := d.at(4, 1)
			copy(d[segmentName(4)][d.at(4, 2):], d[segmentName(4)][at:d.at(4, 2)])
		}, "1 2 3 4 5 lost 6-6 7 8 9", 1, 0},
		{"an empty file behind the newest", func(d disk) { d[segmentName(10)] = nil }, "1 2 3 4 5 6 7 8 9", 1, 1},
		{"an empty file far behind the newest", func(d disk) { d[segmentName(20)] = nil }, "1 2 3 4 5 6 7 8 9 lost 10-19", 2, 1},
		{"only a header behind the newest", func(d disk) {
			h := segmentHeader{base: 10, prevBase: 7, prevBytes: uint64(len(d[segmentName(7)]))}
			d[segmentName(10)] = h.append(nil)
		}, "1 2 3 4 5 6 7 8 9", 0, 0},
		{"half a header behind the newest", func(d disk) { d[segmentName(10)] = bytes.Clone(d[segmentName(7)][:30]) }, "1 2 3 4 5 6 7 8 9", 1, 1},
		{"garbage behind the newest", func(d disk) { d[segmentName(10)] = bytes.Repeat([]byte("garbage"), 100) }, "1 2 3 4 5 6 7 8 9", 1, 1},
		{"files of others", func(d disk) {
			for _, name := range []string{"notes.txt", "x.wal", "1.wal", segmentName(0), "0000000000000000000001.wal"} {
				d[name] = []byte("not ours")
			}
		}, "1 2 3 4 5 6 7 8 9", 0, 0},
		{"leftovers of a crash", func(d disk) { d["00000000000000000010-12345678.wal.tmp"] = []byte("half") }, "1 2 3 4 5 6 7 8 9", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := whole.clone()
			c.do(d)
			mem := d.load(t)
			l := start(t, Options{FS: mem})
			for _, entry := range []struct {
				corrupt, repaired int64
			}{{c.corrupt, c.repaired}, {c.corrupt, c.repaired}} { // a second reader counts nothing again
				sequences(t, l, c.want)
				if s := l.Stats(); s.Corrupt != entry.corrupt || s.Repaired != entry.repaired || (s.RepairedBytes > 0) != (entry.repaired > 0 && !strings.HasPrefix(c.name, "an empty file")) {
					t.Errorf("%d corrupt, %d repaired (%d bytes), want %d, %d", s.Corrupt, s.Repaired, s.RepairedBytes, entry.corrupt, entry.repaired)
				}
			}
			// The log goes on, and is whole from there.
			next := l.Last() + 1
			for range 3 {
				add(t, l, lines(fmt.Sprint(l.Last()+1)))
			}
			want := fmt.Sprintf("%s %d %d %d", c.want, next, next+1, next+2)
			sequences(t, l, want)
			l.Close()
			mem = mem.Crash()
			sequences(t, start(t, Options{FS: mem}), want)
			for name := range save(t, mem, "/d/wal") {
				if strings.HasSuffix(name, tmpSuffix) {
					t.Errorf("%s is still there", name)
				}
			}
			for name := range d {
				if _, ok := save(t, mem, "/d/wal")[name]; !ok && !strings.HasSuffix(name, tmpSuffix) {
					t.Errorf("%s was removed", name)
				}
			}
		})
	}
}

// sequences checks what a log holds: every event's message is its sequence.
func sequences(t testing.TB, l *Log, want string) {
	t.Helper()
	entries := all(t, l, 0)
	for i, e := range entries {
		if seq, message, ok := strings.Cut(e, ":"); ok {
			if seq != message {
				t.Fatalf("event %s is %q", seq, message)
			}
			entries[i] = seq
		}
	}
	if got := strings.Join(entries, " "); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestCorruptError(t *testing.T) {
	d := nine(t)
	off := d.at(4, 1)
	d.flip(4, off+70)
	l := start(t, Options{FS: d.load(t)})
	r := l.Reader(4)
	defer r.Close()
	_, ok, err := r.TryNext()
	var corrupt *CorruptError
	if ok || !errors.As(err, &corrupt) {
		t.Fatal(ok, err)
	}
	want := CorruptError{File: "/d/wal/" + segmentName(4), Offset: int64(off), From: 5, To: 5, Err: errRecordBody}
	if *corrupt != want || !errors.Is(err, errRecordBody) {
		t.Errorf("got %+v, want %+v", *corrupt, want)
	}
	if s := err.Error(); s != "log segment /d/wal/"+segmentName(4)+fmt.Sprintf(" is damaged at byte %d: events 5 to 5 are lost: checksum of a record's body", off) {
		t.Error(s)
	}
	if r.Position() != 5 {
		t.Error(r.Position())
	}
	// A reader that starts behind the damage is not told of it.
	equal(t, all(t, l, 5), "6:6", "7:7", "8:8", "9:9")
}

// TestCorruptErrorBehindOther: the place that is told is where the lost events were, not one before it.
func TestCorruptErrorBehindOther(t *testing.T) {
	d := nine(t)
	d.flip(1, d.at(1, 0)+70)
	off := d.at(1, 2)
	d.flip(1, off+70)
	r := start(t, Options{FS: d.load(t)}).Reader(1)
	defer r.Close()
	if e, _, err := r.TryNext(); err != nil || e.First != 2 {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, _, err := r.TryNext(); !errors.As(err, &corrupt) || corrupt.Offset != int64(off) || corrupt.From != 3 {
		t.Fatal(err)
	}
}

// TestResyncOverWindows: the record behind damage is found wherever it lies in what is read at once.
func TestResyncOverWindows(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	noise := make([]byte, scanChunk+100)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	head := len(newPending(lines(""), true).buf)
	for _, more := range []int{-65, -64, -63, -30, -5, -4, -3, -2, -1, 0, 1, 2} {
		length := scanChunk + more
		mem := memory()
		l := start(t, Options{FS: mem})
		add(t, l, lines(string(noise[:length-head-2]))) // its length takes two bytes more
		add(t, l, lines("2"))
		l.Close()
		d := save(t, mem, "/d/wal")
		if got := d.at(1, 1) - d.at(1, 0); got != length {
			t.Fatalf("a record of %d bytes, not %d", got, length)
		}
		d.flip(1, d.at(1, 0)+20)
		sequences(t, start(t, Options{FS: d.load(t)}), "lost 1-1 2")
	}
}

// TestEveryBit flips each bit of a small log: each is noticed, nothing wrong is ever delivered, and no more is lost than
// the commit it stood in.
func TestEveryBit(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 400, Now: func() time.Time { return time.Unix(9, 0) }})
	add(t, l, counted("p", 7, "a", "b"))
	add(t, l, lines(strings.Repeat("x", 600))) // compressed
	add(t, l, counted("p", 9, "c"))
	add(t, l, lines("d"))
	describe := func(e *Entry) string {
		return fmt.Sprintf("%d %s/%d/%s %s", e.Received, e.Producer, e.ProducerSeq, e.Cursor, strings.Join(texts(t, e), " "))
	}
	truth := map[uint64]string{}
	for r := l.Reader(0); ; {
		e, ok, err := r.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			r.Close()
			break
		}
		truth[e.First] = describe(e)
	}
	if l.Stats().Segments != 2 || len(truth) != 4 {
		t.Fatalf("%+v", l.Stats())
	}
	l.Close()
	whole := save(t, mem, "/d/wal")
	flips := 0
	for name, data := range whole {
		for bit := range 8 * len(data) {
			flips++
			data[bit/8] ^= 1 << (bit % 8)
			where := fmt.Sprintf("%s, bit %d of byte %d", name, bit%8, bit/8)
			l, err := Open(Options{Dir: "/d/wal", FS: whole.load(t)})
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			r := l.Reader(0)
			next, lost := uint64(1), 0
			for {
				e, ok, err := r.TryNext()
				var corrupt *CorruptError
				if errors.As(err, &corrupt) {
					if corrupt.From != next || corrupt.To < next {
						t.Fatalf("%s: lost %d to %d at %d", where, corrupt.From, corrupt.To, next)
					}
					next, lost = corrupt.To+1, lost+1
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", where, err)
				}
				if !ok {
					break
				}
				if e.First != next || describe(e) != truth[next] {
					t.Fatalf("%s: event %d is %s", where, e.First, describe(e))
				}
				next = e.Last() + 1
			}
			s := l.Stats()
			if s.Corrupt+s.Repaired != 1 {
				t.Fatalf("%s: %d corrupt, %d repaired", where, s.Corrupt, s.Repaired)
			}
			if next < 5 || next == 5 && s.Repaired == 0 || lost > 1 {
				t.Fatalf("%s: lost %d ranges, ended at %d", where, lost, next)
			}
			if mark, cursor, ok := l.Producer("p"); !ok || (mark != 10 || string(cursor) != "c") && lost == 0 {
				t.Fatalf("%s: mark %d, cursor %q", where, mark, cursor)
			}
			r.Close()
			l.Close()
			data[bit/8] ^= 1 << (bit % 8)
		}
	}
	t.Logf("%d bits", flips)
}

// TestForgedRecord: an event may hold what looks like a record. It is not taken for one where a damaged record is searched
// around.
func TestForgedRecord(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem})
	add(t, l, lines("1"))
	add(t, l, lines(string(forge(12345, 2, 64, "forged"))))
	add(t, l, lines("3"))
	l.Close()
	d := save(t, mem, "/d/wal")
	d.flip(1, d.at(1, 1)+20)
	equal(t, all(t, start(t, Options{FS: d.load(t)}), 0), "1:1", "lost 2-2", "3:3")
	// Not even where the segment's id is not known.
	d.wipe(1, 0, 64)
	equal(t, all(t, start(t, Options{FS: d.load(t)}), 0), "1:1", "lost 2-2", "3:3")
}

// faultyFS fails reads of a file's sectors, and opening it.
type faultyFS struct {
	vfs.FS
	name     string
	from, to int64
	openErr  error
}

type faultyFile struct {
	vfs.File
	fs *faultyFS
}

func (f *faultyFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if filepath.Base(name) != f.name {
		return f.FS.OpenFile(name, flag, perm)
	}
	if f.openErr != nil {
		return nil, f.openErr
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	return faultyFile{file, f}, err
}

func (f faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.fs.to && off+int64(len(p)) > f.fs.from {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

func TestUnreadableSector(t *testing.T) {
	mem := memory()
	l := start(t, Options{FS: mem, SegmentBytes: 64 << 10})
	for i := range 300 {
		add(t, l, lines(strings.Repeat(fmt.Sprint(i%10), 200)))
	}
	l.Close()
	bad := &faultyFS{FS: mem, name: segmentName(1), from: 8192, to: 12288}
	l = start(t, Options{FS: bad, SegmentBytes: 64 << 10})
	got := all(t, l, 0)
	var lost, read int
	for _, s := range got {
		if from, to := uint64(0), uint64(0); strings.HasPrefix(s, "lost") {
			if _, err := fmt.Sscanf(s, "lost %d-%d", &from, &to); err != nil {
				t.Fatal(err)
			}
			lost += int(to - from + 1)
		} else {
			read++
		}
	}
	if lost < 10 || lost > 20 || read+lost != 300 || len(got) != read+1 {
		t.Errorf("%d read, %d lost in %d ranges", read, lost, len(got)-read)
	}
}

// TestOpenFilesExhausted: what is not damage is an error that loses nothing.
func TestOpenFilesExhausted(t *testing.T) {
	faulty := &faultyFS{FS: nine(t).load(t), name: segmentName(4)}
	l := start(t, Options{FS: faulty})
	r := l.Reader(0)
	defer r.Close()
	for range 3 {
		if _, ok, err := r.TryNext(); !ok || err != nil {
			t.Fatal(err)
		}
	}
	faulty.openErr = syscall.EMFILE
	for range 2 {
		if _, ok, err := r.TryNext(); ok || !errors.Is(err, syscall.EMFILE) {
			t.Fatal(ok, err)
		}
	}
	faulty.openErr = nil
	equal(t, rest(t, r), "4:4", "5:5", "6:6", "7:7", "8:8", "9:9")
	if s := l.Stats(); s.Corrupt != 0 {
		t.Error(s.Corrupt)
	}
	// A file that vanishes while the log is open is damage.
	l2 := start(t, Options{FS: faulty})
	if err := faulty.Remove("/d/wal/" + segmentName(4)); err != nil {
		t.Fatal(err)
	}
	sequences(t, l2, "1 2 3 lost 4-6 7 8 9")
}

func TestAnotherVersion(t *testing.T) {
	for _, base := range []uint64{1, 4, 7} {
		d := nine(t)
		b := d[segmentName(base)]
		b[8] = 2
		copy(b[12:], []byte{1, 2, 3, 4}) // where and how another version keeps its sum is not known
		d["00000000000000000010-12345678.wal.tmp"] = []byte("half")
		mem := d.load(t)
		before := mem.Ops()
		_, err := Open(Options{Dir: "/d/wal", FS: mem})
		var other *VersionError
		if !errors.As(err, &other) || other.Version != 2 || other.File != "/d/wal/"+segmentName(base) {
			t.Fatal(err)
		}
		if after := save(t, mem, "/d/wal"); !maps.EqualFunc(after, d, bytes.Equal) {
			t.Error("files were changed")
		}
		if mem.Ops() != before+2 { // the folders are fsynced
			t.Errorf("%d changing calls", mem.Ops()-before)
		}
	}
}

var update = flag.Bool("update", false, "write testdata anew: only before a format version is released")

// TestGolden: files that were written by each released version stay readable.
func TestGolden(t *testing.T) {
	const dir = "testdata/v1"
	long := strings.Repeat("the quick brown fox ", 60)
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		l := start(t, Options{FS: vfs.OS, Dir: dir, SegmentBytes: 500, Now: func() time.Time { return time.Unix(1700000000, 0) }})
		add(t, l, lines("first", "second"))
		add(t, l, counted("agent-1", 10, long, "fourth"))
		add(t, l, counted("agent-2", 0, "fifth"))
		add(t, l, counted("agent-1", 12, "sixth"))
		l.Close()
	}
	d := save(t, vfs.OS, dir)
	if len(d) != 2 {
		t.Fatalf("%d files", len(d))
	}
	l := start(t, Options{FS: d.load(t)})
	equal(t, all(t, l, 0), "1:first second", "3:"+long+" fourth", "5:fifth", "6:sixth")
	for name, want := range map[string]uint64{"agent-1": 13, "agent-2": 1} {
		next, cursor, ok := l.Producer(name)
		if !ok || next != want || string(cursor) != map[string]string{"agent-1": "sixth", "agent-2": "fifth"}[name] {
			t.Error(name, next, string(cursor))
		}
	}
	r := l.Reader(5)
	defer r.Close()
	if e, _, err := r.TryNext(); err != nil || e.Received != 1700000000e9 || e.Producer != "agent-1" || e.ProducerSeq != 12 || string(e.Cursor) != "sixth" {
		t.Error(e, err)
	}
}
