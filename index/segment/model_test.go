package segment

import (
	"bytes"
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

var (
	words     = []string{"error", "Error", "disk", "full", "timeout", "user", "ſtate", "fail", "deadbeef", "cafe"}
	templates = []string{"request %d took %dms", "user u%d logged in from 10.0.%d.1", "disk is full", "id=%x done", "state %s: %s", "", "%s", "v%d.%d-é%d", "job %d error=%s"}
	queries   = []string{
		"error", "Error", `"disk is full"`, "refund", "request", "10007", "u3", `~"took [0-9]+ms"`, `~"^$"`, `~"^disk"`, `~"(?i)ERROR$"`, `~"\b10007\b"`, `~"\b1234[0-9]\b"`, `~"[a-f]{4}"`,
		`"request 10007 took"`, "deadbeef", "é12345", "500", "200", "1.5", "true", "10.0.7.1", "message:disk*", "message=disk", `message="disk is full"`, "message!=disk", `message~"ms$"`,
		"user:u3", "user:*", "user!=u3", "NOT user:*", "user:(u1, cafe)", `user~"^u[12]$"`, `user!~"u"`, "user=deadbeef", "user:deadbeef", "user:f*",
		"status>=500", "status:200", "status=200", "status:5*", "status!=200", "status>9000", "status:400..499", "duration_ms<2.5", "duration_ms:1.5", "duration_ms:1..3", "user.id:7", "user.id>=19",
		"level:error", "level>=warn", "level:*", "host:h1", "host:h70", "host!=h1", "host:*", "host:h1*", "env:prod", "stream:stderr", "service:web", "service:nobody", "ok:true",
		"kind:a*", "kind:alpha", "nothing:*", "nothing!=1", "f17:disk", "f17:*", "f17!=x", "f18!=disk", "f19!=1", "f2!=z", `f3!~"x"`, "NOT f18:disk", "id:7", "ip:10.0.0.0/8",
	}
)

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func randomMessage(r *rand.Rand) []byte {
	switch t := pick(r, templates); t {
	case "state %s: %s", "%s":
		text := fmt.Sprintf("state %s: %s", pick(r, words), pick(r, words))
		if t == "%s" {
			text = fmt.Sprintf("%s %s %s", pick(r, words), pick(r, words), pick(r, words))
		}
		return []byte(text)
	case "job %d error=%s":
		return fmt.Appendf(nil, t, r.IntN(100000), pick(r, words))
	case "v%d.%d-é%d":
		return fmt.Appendf(nil, t, r.IntN(10), r.IntN(10), 12340+r.IntN(10))
	case "", "disk is full":
		if r.IntN(8) == 0 {
			t = "\x00" + t // no pattern can have it
		}
		return []byte(t)
	case "id=%x done":
		return fmt.Appendf(nil, t, r.Uint64())
	case "user u%d logged in from 10.0.%d.1":
		return fmt.Appendf(nil, t, r.IntN(5), r.IntN(300))
	default:
		return fmt.Appendf(nil, t, 10000+r.IntN(20), r.IntN(9))
	}
}

func randomEvent(r *rand.Rand, service string, at int64) event.Event {
	e := event.Event{
		Time: at, Service: []byte(service), Message: randomMessage(r), Level: event.Level(r.IntN(9)),
		Env: []byte(pick(r, []string{"", "prod", "dev"})), Stream: []byte(pick(r, []string{"", "stderr"})),
	}
	if r.IntN(4) > 0 {
		e.Host = fmt.Appendf(nil, "h%d", r.IntN(3))
		if service == "many" {
			e.Host = fmt.Appendf(nil, "h%d", r.IntN(200))
		}
	}
	add := func(name string, kind event.Kind, value string) {
		e.Fields = append(e.Fields, event.Field{Name: []byte(name), Kind: kind, Value: []byte(value)})
	}
	for range r.IntN(4) {
		switch r.IntN(8) {
		case 0:
			add("user", event.String, fmt.Sprintf("u%d", r.IntN(6)))
		case 1:
			add("user", event.String, pick(r, words))
		case 2:
			add("status", event.Number, pick(r, []string{"200", "404", "500", "1e3", "-0", "200.0", "503"}))
		case 3:
			add("status", event.String, pick(r, []string{"200", "5xx", ""}))
		case 4:
			add("duration_ms", event.Number, fmt.Sprintf("%d.%d", r.IntN(4), r.IntN(10)))
		case 5:
			add("kind", event.String, pick(r, []string{"alpha", "beta", "abacus"}))
		case 6:
			add("user.id", event.Number, fmt.Sprint(r.IntN(20)))
		case 7:
			add("ok", event.Bool, pick(r, []string{"true", "false"}))
		}
	}
	return e
}

// randomBlocks makes blocks of some services, and a few that have hundreds of field names.
func randomBlocks(t testing.TB, r *rand.Rand, n int) []built {
	var out []built
	seq := uint64(1)
	for i := range n {
		service := pick(r, []string{"web", "db", "many"})
		rows := 1 + r.IntN(60)
		if r.IntN(3) == 0 {
			rows = 1 + r.IntN(400)
		}
		many := 0 // some have more names of fields than a block has columns for
		if i%11 == 10 {
			rows, many = 60, 80
		}
		events := make([]event.Event, rows)
		for k := range events {
			events[k] = randomEvent(r, service, int64(i)*block.BucketLen/3+r.Int64N(block.BucketLen))
			for range many {
				events[k].Fields = append(events[k].Fields, event.Field{Name: fmt.Appendf(nil, "f%d", r.IntN(3000)), Value: []byte("disk")})
			}
		}
		out = append(out, build(t, seq, events...))
		seq += uint64(rows)
	}
	return out
}

func count(q *query.Query, events []event.Event) (n int) {
	for i := range events {
		if q.Match(&events[i]) {
			n++
		}
	}
	return n
}

// TestAgainstBruteForce compares what a segment's footer says of random queries with the events themselves.
func TestAgainstBruteForce(t *testing.T) {
	met := map[byte]int{} // forms by kind
	whole := maxForms
	defer func() { maxForms = whole }()
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 4))
		if maxForms = whole; seed%4 == 3 { // more forms than the writer keeps
			maxForms = 4000
		}
		dir := t.TempDir()
		blocks := randomBlocks(t, r, 1+r.IntN(30))
		hi := blocks[len(blocks)-1].info.MaxSeq
		s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, hi, blocks...))
		checkFacts(t, s, blocks)
		_ = s.Forms(func(f *Form) bool { met[f.number()]++; return true })
		for range 70 {
			text := pick(r, queries)
			for range r.IntN(3) {
				term := pick(r, queries)
				if r.IntN(4) == 0 {
					term = "NOT (" + term + ")"
				}
				text = "(" + text + ")" + pick(r, []string{" ", " OR "}) + term
			}
			q := parse(t, text)[0]
			set := bitset.Full(len(blocks))
			for i := range blocks {
				if r.IntN(3) == 0 && count(q, blocks[i].events) == 0 {
					set.Remove(i) // as a search that knows the times
				}
			}
			if err := s.Candidates(q.FilterKeys(), set); err != nil {
				t.Fatal(err)
			}
			j, err := s.Judge(q, set)
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range blocks {
				want := count(q, b.events)
				if !set.Has(i) {
					if want > 0 {
						t.Fatalf("seed %d, %s: block %d has %d matches and is no candidate", seed, q, i, want)
					}
					continue
				}
				facts, forms := j.Block(i)
				if least, most := q.Bounds(facts); want < least || want > most {
					t.Fatalf("seed %d, %s: block %d has %d matches, not %d to %d", seed, q, i, want, least, most)
				}
				for _, f := range q.Fields() {
					least, most := facts.HasField(f.Name)
					if want := count(parse(t, f.Name+":*")[0], b.events); want < least || want > most {
						t.Fatalf("seed %d, %s: %d events of block %d have the field %s, not %d to %d", seed, q, want, i, f.Name, least, most)
					}
				}
				blk, err := s.Blocks[i].Open()
				if err != nil {
					t.Fatal(err)
				}
				table, err := blk.Table()
				if err != nil {
					t.Fatal(err)
				}
				rows := bitset.Full(table.Rows())
				if err := table.Select(q, forms, rows); err != nil || rows.Count() != want {
					t.Fatalf("seed %d, %s: block %d has %d matches, selected %d, %v", seed, q, i, want, rows.Count(), err)
				}
			}
		}
	}
	for _, kind := range []byte{byte(block.Patterned), byte(block.Raw), byte(block.Numbers), byte(block.Rest), unlistedKind} {
		if met[kind] == 0 {
			t.Errorf("no form of kind %d was met", kind)
		}
	}
}

// number returns the kind's number in the footer.
func (f *Form) number() byte { return (&formKey{kind: f.Kind, unlisted: f.unlisted}).number() }

// checkFacts compares metas, filters, counts and forms with what the builder told.
func checkFacts(t *testing.T, s *Segment, blocks []built) {
	t.Helper()
	type countKey struct {
		service string
		level   uint8
		bucket  int64
	}
	type placeKey struct {
		message bool
		name    string
		Place
	}
	type columnKey struct{ block, column int }
	columns := map[columnKey][2]int{} // rows and values of patterns that have not been met
	unlisted := map[columnKey][2]int{}
	counts := map[countKey]int{}
	places := map[placeKey]*block.Text{}
	for i, b := range blocks {
		e := s.Blocks[i]
		if fmt.Sprint(e.Meta) != fmt.Sprint(b.info.Meta) {
			t.Fatalf("block %d: %+v, want %+v", i, e.Meta, b.info.Meta)
		}
		data := make([]byte, e.Length)
		if _, err := s.file.ReadAt(data, e.Offset); err != nil || !bytes.Equal(data, b.data) {
			t.Fatalf("block %d: other bytes, %v", i, err)
		}
		for _, c := range b.info.Counts {
			counts[countKey{b.info.Service, c.Level, c.Bucket}] += c.Rows
		}
		messages := 0
		for k := range b.info.Texts {
			x := &b.info.Texts[k]
			p := Place{i, x.Column, localOf(x), x.Rows, x.Values}
			if x.Kind == block.Patterned {
				columns[columnKey{i, x.Column}] = [2]int{columns[columnKey{i, x.Column}][0] + x.Rows, columns[columnKey{i, x.Column}][1] + x.Values}
			}
			places[placeKey{x.Column == 0, x.Name, p}] = x
			if x.Column == 0 {
				messages += x.Rows
			}
		}
		if messages != b.info.Rows { // what Judge relies on
			t.Fatalf("block %d: %d messages in %d rows", i, messages, b.info.Rows)
		}
		for _, k := range b.info.Keys {
			set := bitset.New(len(blocks))
			set.Add(i)
			if err := s.Candidates([]uint64{k}, set); err != nil || !set.Has(i) {
				t.Fatalf("block %d: key %x is lost, %v", i, k, err)
			}
		}
	}
	got := map[countKey]int{}
	last := countKey{}
	ok, err := s.Counts(func(service string, level uint8, bucket int64, rows int) {
		k := countKey{service, level, bucket}
		if cmp.Or(cmp.Compare(last.service, service), cmp.Compare(last.bucket, bucket), cmp.Compare(last.level, level)) >= 0 && len(got) > 0 {
			t.Fatalf("%v after %v", k, last)
		}
		got[k], last = rows, k
	})
	if err != nil || !ok || !maps.Equal(got, counts) {
		t.Fatalf("counts %v, want %v, %v", got, counts, err)
	}
	half := bitset.New(len(blocks))
	for i := range blocks {
		if i%2 == 0 {
			half.Add(i)
		}
	}
	ofBlock := map[int][]block.Count{}
	if ok, err := s.CountsOf(half, func(i int, c block.Count) bool { ofBlock[i] = append(ofBlock[i], c); return true }); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for i, b := range blocks {
		if want := b.info.Counts; i%2 == 0 && !slices.Equal(ofBlock[i], want) || i%2 == 1 && ofBlock[i] != nil {
			t.Fatalf("block %d: counts %v, want %v", i, ofBlock[i], want)
		}
	}
	distinct := map[string]bool{}
	err = s.Forms(func(f *Form) bool {
		rows, values := 0, 0
		key := fmt.Sprint(f.Service, f.Message, f.Name, f.number(), string(f.Text))
		if distinct[key] {
			t.Fatalf("twice: %s", key)
		}
		distinct[key] = true
		f.Places(func(p Place) bool {
			rows, values = rows+p.Rows, values+p.Values
			if f.unlisted {
				unlisted[columnKey{p.Block, p.Column}] = [2]int{p.Rows, p.Values}
				return true
			}
			k := placeKey{f.Message, f.Name, p}
			x := places[k]
			if x == nil || s.Blocks[p.Block].Service != f.Service {
				t.Fatalf("no such place: %+v", k)
			}
			delete(places, k)
			if c := columns[columnKey{p.Block, p.Column}]; x.Kind == block.Patterned {
				columns[columnKey{p.Block, p.Column}] = [2]int{c[0] - x.Rows, c[1] - x.Values}
			}
			if f.Kind != x.Kind || f.Kind == block.Numbers && (x.Lo < f.Lo || x.Hi > f.Hi) {
				t.Fatalf("%+v for %+v", f, x)
			}
			if f.Kind == block.Patterned && (!bytes.Equal(f.Text, x.Text) || !covers(f.Holes, x.Holes)) {
				t.Fatalf("%+v for %+v", f, x)
			}
			return true
		})
		if rows != f.Rows || values != f.Values {
			t.Fatalf("%d rows, %d values of %+v", rows, values, f)
		}
		return true
	})
	for k, c := range columns {
		if unlisted[k] != c {
			t.Fatalf("%v: %v rows and values are unlisted, want %v", k, unlisted[k], c)
		}
	}
	for k, x := range places {
		if x.Kind != block.Patterned || unlisted[columnKey{k.Block, k.Column}] == [2]int{} {
			t.Fatalf("lost: %+v", k)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// covers tells whether the merged holes are true of what holds for one block's.
func covers(merged, one []query.Hole) bool {
	for i, m := range merged {
		h := one[i]
		if m.Fixed {
			if !h.Fixed || h.Const != m.Const {
				return false
			}
			continue
		}
		if h.Fixed {
			h.Min, h.Max = len(h.Const), len(h.Const)
			add(&h.Set, h.Const)
		}
		both := m.Set
		both.Union(&h.Set)
		if both != m.Set || m.Min > h.Min || m.Max < h.Max {
			return false
		}
	}
	return len(merged) == len(one)
}

// TestCopy: a segment that is put together from others' blocks is the one that is built at once, byte for byte.
func TestCopy(t *testing.T) {
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 5))
		dir, whole := t.TempDir(), t.TempDir()
		blocks := randomBlocks(t, r, 2+r.IntN(40))
		hi := blocks[len(blocks)-1].info.MaxSeq
		name := create(t, vfs.OS, whole, 0, hi, blocks...)
		want, err := os.ReadFile(filepath.Join(whole, name))
		if err != nil {
			t.Fatal(err)
		}
		w, err := NewWriter(vfs.OS, dir, 0, hi, DefaultClass)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(blocks); {
			k := i + 1 + r.IntN(len(blocks)-i)
			part := blocks[i:k]
			s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, part[0].info.MinSeq-1, part[len(part)-1].info.MaxSeq+1<<40, part...))
			for _, e := range s.Blocks {
				if err := w.Copy(e); err != nil {
					t.Fatal(err)
				}
			}
			i = k
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes, want %d, equal: %v, %v", seed, len(got), len(want), bytes.Equal(got, want), err)
		}
	}
}

// TestCopySome: blocks of several segments in any order, among them new ones, say in the new segment what they said.
func TestCopySome(t *testing.T) {
	whole := maxForms
	defer func() { maxForms = whole }()
	for seed := range uint64(6) {
		if maxForms = whole; seed%2 == 1 {
			maxForms = 5000
		}
		r := rand.New(rand.NewPCG(seed, 6))
		dir := t.TempDir()
		var pool []built
		var entries []*Entry // nil for a new block
		for i := range uint64(3) {
			blocks := randomBlocks(t, r, 1+r.IntN(20))
			s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, i*1e6, (i+1)*1e6, blocks...))
			pool, entries = append(pool, blocks...), append(entries, s.Blocks...)
		}
		pool = append(pool, randomBlocks(t, r, 3)...)
		entries = append(entries, nil, nil, nil)
		r.Shuffle(len(pool), func(i, k int) {
			pool[i], pool[k] = pool[k], pool[i]
			entries[i], entries[k] = entries[k], entries[i]
		})
		pool, entries = pool[:1+len(pool)/2], entries[:1+len(pool)/2]
		w, err := NewWriter(vfs.OS, dir, 0, 1e7, DefaultClass)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if e == nil {
				err = w.Add(pool[i].data, pool[i].info)
			} else {
				err = w.Copy(e)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		checkFacts(t, open(t, vfs.OS, dir, Name(0, 1e7, DefaultClass)), pool)
	}
}

// A block whose footer cannot be read is not copied, and the writer can go on without it.
func TestCopyOfDamaged(t *testing.T) {
	dir := t.TempDir()
	blocks := randomBlocks(t, rand.New(rand.NewPCG(1, 7)), 20)
	name := create(t, vfs.OS, dir, 0, 1e6, blocks...)
	path := filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	whole := open(t, vfs.OS, dir, name)
	page := whole.formParts[0].at / pagePayload // the directory is in later ones
	data[whole.footer+page*pageLen] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(vfs.OS, dir, name)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if len(s.Damage) > 0 {
		t.Fatal(s.Damage)
	}
	w, err := NewWriter(vfs.OS, dir, 0, 2e6, DefaultClass)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Copy(s.Blocks[0]); !errors.Is(err, ErrNoFooter) || !errors.Is(err, block.ErrCorrupt) {
		t.Fatal(err)
	}
	if err := w.Add(blocks[1].data, blocks[1].info); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	checkFacts(t, open(t, vfs.OS, dir, Name(0, 2e6, DefaultClass)), blocks[1:2])

	// Nor one whose segment is known by its blocks only.
	if err := os.WriteFile(path, data[:len(data)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(vfs.OS, dir, name); err != nil || len(s.Blocks) != len(blocks) {
		t.Fatal(err)
	}
	defer s.Close()
	if err := w.Copy(s.Blocks[0]); !errors.Is(err, ErrNoFooter) || !errors.Is(err, block.ErrCorrupt) {
		t.Fatal(err)
	}
}

// TestFalsePositives bounds how many absent keys a filter lets through.
func TestFalsePositives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	b := built{info: &block.Info{Meta: block.Meta{Service: "web"}}}
	var blocks []built
	for range 19 { // two classes' worth of a matrix, and some beside it
		info := *b.info
		info.Keys = make([]uint64, 5000+r.IntN(1500))
		for i := range info.Keys {
			info.Keys[i] = r.Uint64()
		}
		blocks = append(blocks, built{data: []byte("block"), info: &info})
	}
	dir := t.TempDir()
	s := open(t, vfs.OS, dir, create(t, vfs.OS, dir, 0, 1, blocks...))
	passed, tries := 0, 4000
	for range tries {
		set := bitset.Full(len(blocks))
		if err := s.Candidates([]uint64{r.Uint64()}, set); err != nil {
			t.Fatal(err)
		}
		passed += set.Count()
	}
	rate := float64(passed) / float64(tries*len(blocks))
	t.Logf("%.2f %% of absent keys are let through, %d classes", 100*rate, len(s.classes))
	if rate > 0.006 {
		t.Errorf("%.2f %% of absent keys are let through", 100*rate)
	}
}

func TestFilterSize(t *testing.T) {
	sizes := map[int64]bool{}
	for n := 1; n < 3_000_000; n += 1 + n/50 {
		size := filterSize(n)
		sizes[size] = true
		if bits := float64(size) * 8 / float64(n); n > 50 && (bits < 10.8 || bits > 13.2) {
			t.Errorf("%d keys: %.2f bits a key", n, bits)
		}
	}
	if filterSize(0) != 0 || len(sizes) > 80 {
		t.Errorf("%d, %d sizes", filterSize(0), len(sizes))
	}
}

func TestTranspose(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 70 {
		var in [8]byte
		for i := range in {
			in[i] = byte(r.Uint32())
		}
		out := transpose(in)
		for i := range 8 {
			for k := range 8 {
				if in[i]>>k&1 != out[k]>>i&1 {
					t.Fatalf("%x: %x", in, out)
				}
			}
		}
	}
}

func TestCache(t *testing.T) {
	c := &cache{limit: 100, items: map[cacheKey]*list.Element{}}
	a, b := &Segment{}, &Segment{directory: directory{formParts: make([]part, 5)}}
	for i := range 5 {
		c.put(cacheKey{b, i}, i, 30)
	}
	c.put(cacheKey{a, -1}, "large", 101)
	if c.get(cacheKey{a, -1}) != nil || c.get(cacheKey{b, 1}) != nil || c.get(cacheKey{b, 2}) != 2 || c.size != 90 {
		t.Errorf("%+v", c)
	}
	c.put(cacheKey{a, -1}, "x", 30)
	if c.get(cacheKey{b, 3}) != nil || c.get(cacheKey{b, 2}) != 2 { // 2 was used later
		t.Errorf("%+v", c)
	}
	c.forget(b)
	if c.size != 30 || len(c.items) != 1 || c.order.Len() != 1 {
		t.Errorf("%+v", c)
	}
	a.closed.Store(true)
	c.put(cacheKey{a, 0}, 1, 1)
	if c.size != 30 {
		t.Error("a closed segment's part was kept")
	}
}
