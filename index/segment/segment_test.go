package segment

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// built is a block with what its builder told of it.
type built struct {
	data   []byte
	info   *block.Info
	events []event.Event
}

// build makes a block of events, which are of one service; they get the sequences from seq on.
func build(t testing.TB, seq uint64, events ...event.Event) built {
	t.Helper()
	b, err := block.NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(events, func(a, b event.Event) int { return int(a.Time - b.Time) })
	rows := make([]block.Row, len(events))
	for i := range events {
		events[i].Seq = seq + uint64(i)
		rows[i] = block.Row{Seq: events[i].Seq, Data: event.AppendEvent(nil, &events[i])}
	}
	data, info, err := b.Append(nil, rows, nil)
	if err != nil {
		t.Fatal(err)
	}
	return built{data, info, events}
}

// create writes a segment of blocks and returns its name.
func create(t testing.TB, fsys vfs.FS, dir string, lo, hi uint64, blocks ...built) string {
	t.Helper()
	w, err := NewWriter(fsys, dir, lo, hi, DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks {
		if err := w.Add(b.data, b.info); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return Name(lo, hi, DefaultClass)
}

func open(t testing.TB, fsys vfs.FS, dir, name string) *Segment {
	t.Helper()
	s, err := Open(fsys, dir, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if len(s.Damage) > 0 {
		t.Fatal(s.Damage)
	}
	return s
}

// small is two blocks of a few events.
func small(t testing.TB) []built {
	var a, b []event.Event
	for i := range 12 {
		a = append(a, event.Event{Time: int64(i), Level: event.Info, Service: []byte("web"), Host: []byte("h1"), Message: fmt.Appendf(nil, "request %d took %dms", 10000+i, i),
			Fields: []event.Field{{Name: []byte("status"), Kind: event.Number, Value: []byte("200")}, {Name: []byte("user"), Value: fmt.Appendf(nil, "u%d", i%3)}}})
		b = append(b, event.Event{Time: int64(i) * block.BucketLen, Level: event.Error, Service: []byte("db"), Message: []byte("disk is full")})
	}
	return []built{build(t, 1, a...), build(t, 13, b...)}
}

// lines reads the message of every row of a segment.
func lines(s *Segment) (out []string, err error) {
	var rows block.Rows
	var e event.Event
	one := func(data []byte) ([]byte, error) {
		rest, err := event.Decode(data, &e)
		out = append(out, string(e.Message))
		return rest, err
	}
	for _, entry := range s.Blocks {
		b, err := entry.Open()
		if err != nil {
			return out, err
		}
		if b.Columnar() {
			t, err := b.Table()
			if err != nil {
				return out, entry.Corrupt(err)
			}
			for i := range t.Rows() {
				data, err := t.AppendRow(nil, i)
				if err != nil {
					return out, entry.Corrupt(err)
				}
				if _, err := one(data); err != nil {
					return out, entry.Corrupt(err)
				}
			}
			for _, column := range []string{"env", "host", "container", "stream", "level", "user", "status"} {
				for _, c := range t.Column(column) {
					if err := c.Each(bitset.Full(t.Rows()), func(int, []byte) error { return nil }); err != nil {
						return out, entry.Corrupt(err)
					}
				}
			}
			if _, err := t.Seqs(); err != nil {
				return out, entry.Corrupt(err)
			}
			if _, err := t.Info(); err != nil {
				return out, entry.Corrupt(err)
			}
			continue
		}
		for i := range b.Frames {
			if err := b.Frame(i, &rows); err != nil {
				return out, entry.Corrupt(err)
			}
			for data := rows.Data; len(data) > 0; {
				if data, err = one(data); err != nil {
					return out, entry.Corrupt(err)
				}
			}
		}
	}
	return out, nil
}

// told is everything that a footer says: of the blocks, the forms, the counts, the filters and some queries.
func told(s *Segment, keys []uint64, queries []*query.Query) (string, error) {
	var out strings.Builder
	for _, e := range s.Blocks {
		fmt.Fprintf(&out, "%d %d %+v\n", e.Offset, e.Length, e.Meta)
	}
	err := s.Forms(func(f *Form) bool {
		fmt.Fprintf(&out, "%+v\n", *f)
		f.Places(func(p Place) bool { fmt.Fprintf(&out, "  %+v\n", p); return true })
		return true
	})
	_, err2 := s.Counts(func(service string, level uint8, bucket int64, rows int) {
		fmt.Fprintln(&out, service, level, bucket, rows)
	})
	err = errors.Join(err, err2)
	for _, k := range keys {
		set := bitset.Full(len(s.Blocks))
		err = errors.Join(err, s.Candidates([]uint64{k}, set))
		fmt.Fprintln(&out, k, set)
	}
	for _, q := range queries {
		j, err3 := s.Judge(q, bitset.Full(len(s.Blocks)))
		err = errors.Join(err, err3)
		for i := range s.Blocks {
			f, forms := j.Block(i)
			least, most := q.Bounds(f)
			fmt.Fprintln(&out, q, i, least, most, forms)
		}
	}
	return out.String(), err
}

func parse(t testing.TB, texts ...string) []*query.Query {
	t.Helper()
	var out []*query.Query
	for _, text := range texts {
		q, err := query.Parse(text)
		if err != nil {
			t.Fatal(text, err)
		}
		out = append(out, q)
	}
	return out
}

func TestCreateAndOpen(t *testing.T) {
	dir := t.TempDir()
	blocks := small(t)
	s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, 24, blocks...))
	if s.Lo != 0 || s.Hi != 24 || s.Version() != 2 || len(s.Blocks) != 2 || s.Blocks[1].Service != "db" || !s.Blocks[0].Columnar() {
		t.Fatalf("%+v", s)
	}
	got, err := lines(s)
	if err != nil || len(got) != 24 || got[11] != "request 10011 took 11ms" {
		t.Fatalf("%q, %v", got, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%d files in the folder", len(files))
	}
	var forms []string
	if err := s.Forms(func(f *Form) bool {
		forms = append(forms, fmt.Sprintf("%s %q %v %d %q rows=%d", f.Service, f.Name, f.Message, f.Kind, f.Text, f.Rows))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`db "" true 0 "disk is full" rows=12`, "web \"status\" false 2 \"\\x00\" rows=12"} {
		if !slices.Contains(forms, want) {
			t.Errorf("no form %s in %s", want, strings.Join(forms, "\n"))
		}
	}
}

// TestBounds: what queries without doubt are worth.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, 24, small(t)...))
	for _, c := range []struct {
		query       string
		block       int
		least, most int
	}{
		{"disk", 0, 0, 0}, {"disk", 1, 12, 12}, {"full AND level:error", 1, 12, 12}, {"refund", 1, 0, 0},
		{"request", 0, 12, 12}, {"NOT request", 0, 0, 0}, {"status>=500", 0, 0, 0}, {"user:u1", 0, 0, 12}, {"user:bob", 0, 0, 0}, {"host:h2", 0, 0, 0}, {"host:h1", 0, 0, 12},
		{"host:h1", 1, 0, 0}, {"nothing:*", 0, 0, 0}, {"level:error", 0, 0, 0}, {"level:error", 1, 12, 12}, {"service:db", 1, 12, 12}, {"status:*", 0, 12, 12},
	} {
		q := parse(t, c.query)[0]
		j, err := s.Judge(q, bitset.Full(2))
		if err != nil {
			t.Fatal(err)
		}
		f, _ := j.Block(c.block)
		least, most := q.Bounds(f)
		if least < c.least || most > c.most {
			t.Errorf("%s in block %d: %d to %d, want %d to %d", c.query, c.block, least, most, c.least, c.most)
		}
	}
}

// Every flipped bit is found, or what the footer says is as before; and what the damage does not touch is still served.
func TestEverySingleBitFlip(t *testing.T) {
	dir := t.TempDir()
	blocks := small(t)
	name := create(t, vfs.OS, dir, 0, 24, blocks...)
	path := filepath.Join(dir, name)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	keys := slices.Concat(blocks[0].info.Keys, []uint64{1, 1 << 40})
	queries := parse(t, "disk", "status>=300 OR user:u1")
	s := open(t, vfs.OS, dir, name)
	want, err := told(s, keys, queries)
	if err != nil {
		t.Fatal(err)
	}
	footer := int(s.footer)
	step := 5 // every bit of every byte in turn
	if testing.Short() {
		step = 7
	}
	for bit := 0; bit < len(whole)*8; bit += step {
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
		if bit/8 < footer {
			if err == nil && len(s.Damage) == 0 {
				t.Fatalf("bit %d of byte %d flipped: not found", bit%8, bit/8)
			}
		} else if err != nil || len(got) != 24 {
			t.Fatalf("byte %d, in the footer: %d lines, %v", bit/8, len(got), err)
		} else {
			says, err := told(s, keys, queries)
			switch {
			case err != nil && !errors.Is(err, block.ErrCorrupt):
				t.Fatalf("byte %d: %v", bit/8, err)
			case err == nil && len(s.Damage) == 0:
				t.Fatalf("bit %d of byte %d in the footer flipped: not found; the same: %v", bit%8, bit/8, says == want)
			}
			// What matches is let through, whatever is damaged.
			set := bitset.Full(len(s.Blocks))
			_ = s.Candidates(blocks[0].info.Keys, set)
			j, _ := s.Judge(queries[0], set)
			f, _ := j.Block(1)
			if _, most := queries[0].Bounds(f); !set.Has(0) || most < 12 {
				t.Fatalf("byte %d: candidates %v, most %d", bit/8, set, most)
			}
		}
		s.Close()
	}
}

func TestUnknownVersionIsRefusedAndUntouched(t *testing.T) {
	dir := t.TempDir()
	name := create(t, vfs.OS, dir, 0, 24, small(t)...)
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
	name := create(t, vfs.OS, dir, 0, 24, small(t)...)
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
		if _, err := told(s, []uint64{1}, parse(t, "disk")); err != nil {
			t.Fatalf("cut to %d: %v", n, err)
		}
		s.Close()
	}
}

// A block that is damaged is in quarantine as long as the segment is open.
func TestQuarantine(t *testing.T) {
	dir := t.TempDir()
	s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, 24, small(t)...))
	e := s.Blocks[0]
	if _, err := e.Open(); err != nil || e.Damaged() != nil {
		t.Fatal(err)
	}
	bad := e.Corrupt(block.ErrCorrupt)
	e.Quarantine(bad)
	e.Quarantine(errors.New("later"))
	if _, err := e.Open(); err != bad || e.Damaged() != bad {
		t.Errorf("%v, %v", err, e.Damaged())
	}
	if _, err := s.Blocks[1].Open(); err != nil {
		t.Error(err)
	}
}

// A crash at any point of the writing leaves the whole segment or nothing but a temporary file.
func TestCrash(t *testing.T) {
	blocks := small(t)
	for n := 1; ; n++ {
		fs := vfs.NewCrash(uint64(n))
		if err := fs.MkdirAll("d", 0o700); err != nil {
			t.Fatal(err)
		}
		if err := fs.SyncDir("."); err != nil {
			t.Fatal(err)
		}
		fs.StopAt(fs.Ops() + n)
		err := func() error {
			w, err := NewWriter(fs, "d", 0, 24, DefaultClass)
			if err != nil {
				return err
			}
			for _, b := range blocks {
				if err := w.Add(b.data, b.info); err != nil {
					w.Abort()
					return err
				}
			}
			return w.Close()
		}()
		after := fs.Crash()
		names, _ := after.ReadDir("d")
		whole := false
		for _, name := range names {
			if IsTemporary(name) {
				continue
			}
			whole = true
			s, err := Open(after, "d", name)
			if err != nil || len(s.Damage) > 0 {
				t.Fatalf("stopped at %d: %v, %v", n, err, s.Damage)
			}
			if got, err := lines(s); err != nil || len(got) != 24 {
				t.Fatalf("stopped at %d: %d lines, %v", n, len(got), err)
			}
			s.Close()
		}
		if err == nil {
			if !whole {
				t.Fatal("the segment is gone after Close returned nil")
			}
			return
		}
	}
}

func TestAbortLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	w, err := NewWriter(vfs.OS, dir, 0, 24, DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	b := small(t)[0]
	if err := w.Add(b.data, b.info); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if files, _ := os.ReadDir(dir); len(files) != 0 {
		t.Errorf("%v is left", files)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		lo, hi uint64
		class  string
		ok     bool
	}{
		{0, 1, DefaultClass, true}, {5, 900, DefaultClass, true}, {1, 1, DefaultClass, false}, {2, 1, DefaultClass, false},
		{5, 900, "audit", true}, {5, 900, "a", true}, {5, 900, "0-_", true}, {5, 900, strings.Repeat("x", 32), true}, {9, 9, "audit", false},
		{5, 900, "", false}, {5, 900, "-a", false}, {5, 900, "_", false}, {5, 900, "A", false}, {5, 900, "a.b", false}, {5, 900, "a/b", false},
		{5, 900, strings.Repeat("x", 33), false}, {5, 900, "ä", false}, {5, 900, "..", false},
	} {
		name := Name(c.lo, c.hi, c.class)
		lo, hi, class, ok := ParseName(name)
		if ok != c.ok || ok && (lo != c.lo || hi != c.hi || class != c.class) {
			t.Errorf("%q: %d, %d, %q, %v", name, lo, hi, class, ok)
		}
	}
	for _, name := range []string{
		"1-2.seg", Name(0, 1, DefaultClass) + ".tmp", Name(0, 1, "audit") + ".tmp", "LOCK", "", strings.TrimSuffix(Name(0, 1, DefaultClass), ".seg") + ".default.seg",
		strings.TrimSuffix(Name(0, 1, "audit"), ".seg"),
	} {
		if _, _, _, ok := ParseName(name); ok {
			t.Errorf("%q is taken for a segment's", name)
		}
	}
}

// Segments of every released version stay readable. v1.seg holds blocks of plain rows, as the first builder made them.
func TestGoldenV1(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, Name(0, 6, DefaultClass)), data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, vfs.OS, dir, Name(0, 6, DefaultClass))
	got, err := lines(s)
	if err != nil || strings.Join(got, ",") != "line 1,line 2,line 3,line 4,line 5,line 6" {
		t.Errorf("%q, %v", got, err)
	}
	m := s.Blocks[1].Meta
	if s.Version() != 1 || s.Blocks[0].Columnar() || m.Service != "b" || m.Rows != 3 || m.MinSeq != 4 || m.MaxSeq != 6 || m.MaxTime != 2 {
		t.Errorf("%+v", m)
	}
	// It lets everything through.
	set := bitset.Full(2)
	q := parse(t, "nowhere")[0]
	j, err := s.Judge(q, set)
	if err != nil || s.Candidates([]uint64{5}, set) != nil || set.Count() != 2 {
		t.Error(err, set)
	}
	f, forms := j.Block(0)
	if least, most := q.Bounds(f); least != 0 || most != 3 || forms != nil {
		t.Error(least, most, forms)
	}
	if ok, err := s.Counts(nil); ok || err != nil {
		t.Error(ok, err)
	}
	w, err := NewWriter(vfs.OS, dir, 0, 6, DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.Copy(s.Blocks[0]); !errors.Is(err, ErrNoFooter) {
		t.Error(err)
	}
}

// Every flipped bit of a segment of version 1 is found as well.
func TestEverySingleBitFlipV1(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join("testdata", "v1.seg"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, Name(0, 6, DefaultClass))
	for bit := range len(whole) * 8 {
		data := bytes.Clone(whole)
		data[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(vfs.OS, dir, Name(0, 6, DefaultClass))
		if err != nil {
			if bit/8 != 7 || !errors.Is(err, block.ErrVersion) {
				t.Fatalf("byte %d: %v", bit/8, err)
			}
			continue
		}
		if got, err := lines(s); err == nil && strings.Join(got, ",") != "line 1,line 2,line 3,line 4,line 5,line 6" {
			t.Fatalf("byte %d: %q and no error", bit/8, got)
		}
		s.Close()
	}
}

var update = flag.Bool("update", false, "write testdata/v2.seg and v2.txt again: only while no release has written the format")

// goldenBlocks are blocks whose footer has everything: a matrix of filters and others, patterns listed and not, numbers, raw
// texts, and fields of unknown names.
func goldenBlocks(t *testing.T) (blocks []built) {
	r := rand.New(rand.NewPCG(2, 2))
	seq := uint64(1)
	for i := range 11 {
		events := make([]event.Event, 20)
		for k := range events {
			events[k] = event.Event{Time: int64(k) * 1e9, Service: []byte("web"), Level: event.Info, Host: []byte("h1"), Message: fmt.Appendf(nil, "request %d took %dms", 10000+20*i+k, k),
				Fields: []event.Field{{Name: []byte("status"), Kind: event.Number, Value: []byte("200")}, {Name: []byte("zone"), Value: []byte("é12")}}}
			if i >= 9 {
				events[k] = randomEvent(r, "db", int64(k)*block.BucketLen)
			}
			if i == 10 {
				for n := range 60 {
					events[k].Fields = append(events[k].Fields, event.Field{Name: fmt.Appendf(nil, "f%d", 60*k+n), Value: []byte("x")})
				}
			}
		}
		blocks = append(blocks, build(t, seq, events...))
		seq += 20
	}
	return blocks
}

// Segments of version 2 stay readable, and say what they said: v2.seg holds goldenBlocks.
func TestGoldenV2(t *testing.T) {
	name := Name(0, 220, DefaultClass)
	golden, says := filepath.Join("testdata", "v2.seg"), filepath.Join("testdata", "v2.txt")
	keys := parse(t, `~"\b10007\b"`)[0].FilterKeys()
	dir := t.TempDir()
	answers := func() string {
		s := open(t, vfs.OS, dir, name)
		got, err := lines(s)
		if err != nil {
			t.Fatal(err)
		}
		// What the file itself says; what a judge makes of it may become better.
		out := strings.Join(got, "\n") + "\n"
		_, err = s.Counts(func(service string, level uint8, bucket int64, rows int) {
			out += fmt.Sprintln(service, level, bucket, rows)
		})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Forms(func(f *Form) bool {
			out += fmt.Sprintf("%s %q %v %d %q %v %v %v %d %d\n", f.Service, f.Name, f.Message, f.Kind, f.Text, f.Holes, f.Lo, f.Hi, f.Rows, f.Values)
			f.Places(func(p Place) bool { out += fmt.Sprintf("  %+v\n", p); return true })
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range append(keys, 1) {
			set := bitset.Full(len(s.Blocks))
			if err := s.Candidates([]uint64{k}, set); err != nil {
				t.Fatal(err)
			}
			out += fmt.Sprintln(set)
		}
		return out
	}
	if *update {
		defer func(n int) { maxForms = n }(maxForms)
		maxForms = 6000
		data, err := os.ReadFile(filepath.Join(dir, create(t, vfs.OS, dir, 0, 220, goldenBlocks(t)...)))
		if err == nil {
			err = os.WriteFile(golden, data, 0o600)
		}
		if err == nil {
			err = os.WriteFile(says, []byte(answers()), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(says)
	if err != nil {
		t.Fatal(err)
	}
	if got := answers(); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
