package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

func encode(e event.Event) []byte { return event.AppendEvent(nil, &e) }

// drawRows draws events of one service whose texts are often of one form, with all that is awkward about fields.
func drawRows(rng *rand.Rand, n int) []Row {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	text := func() string {
		switch rng.IntN(14) {
		case 0:
			return ""
		case 1:
			return strings.Repeat("long line 12 ", rng.IntN(4000))
		case 2:
			return "a\x00b 17"
		case 3:
			return pick("straße Kelvin é12345 x", "\xff\xfe 99 \x80", "ſtop K9f8e", "日本1 éfaced")
		case 4:
			return fmt.Sprintf(`{"a":%d,"b":"%x"}`, rng.IntN(100), rng.Uint64())
		case 5:
			return pick("dead beef", "cafe faced", "0500", "500")
		}
		return fmt.Sprintf(pick("GET /api/v1/items/%d took %d ms id=%08x", "user %d logged in from 10.0.%d.%d", "error %d: connection %d refused at 0x%x", "%d %d %x"),
			rng.IntN(100000), rng.IntN(300), rng.Uint32())
	}
	number := func() string {
		return pick("0", "-0", "1.50", "00", "1e400", "12345678901234567890", "1234567890123456789", fmt.Sprint(rng.IntN(1000)),
			fmt.Sprintf("%.2f", rng.ExpFloat64()*40), "-7", "0.001", "500", "200", "5e2", "1e5", "100000", "60s", "", "123456.0", "-123456", "000123456")
	}
	var rows []Row
	at, seq := rng.Int64N(1<<60), rng.Uint64N(1<<40)
	wide := rng.IntN(20) == 0
	for range n {
		e := event.Event{Time: at, Level: event.Level(rng.IntN(9)), Service: []byte("pay"), Env: []byte(pick("", "prod")),
			Host: []byte(pick("", "h1", "h2")), Container: []byte(pick("", "3fa9e", "c2")), Stream: []byte(pick("", "stdout")), Message: []byte(text())}
		if rng.IntN(3) > 0 {
			fields := rng.IntN(4)
			if wide && rng.IntN(4) == 0 {
				fields = 600
			}
			for k := range fields {
				f := event.Field{Name: []byte(pick("status", "duration_ms", "path", "req.id", "tags")), Kind: event.Kind(rng.IntN(5))}
				if wide && rng.IntN(2) == 0 {
					f.Name = fmt.Appendf(nil, "f%d.%d", k, rng.IntN(9))
				}
				switch f.Kind {
				case event.Number:
					f.Value = []byte(number())
				case event.Bool:
					f.Value = []byte(pick("true", "false"))
				default:
					f.Value = []byte(pick(text(), number(), "GET", "/api/v1/items", fmt.Sprintf("%016x", rng.Uint64())))
				}
				e.Fields = append(e.Fields, f)
			}
		}
		if rng.IntN(4) > 0 {
			at += rng.Int64N(3) * 1e6
		} else if rng.IntN(20) == 0 {
			at += rng.Int64N(1 << 45)
		}
		if seq++; rng.IntN(30) == 0 {
			seq += uint64(rng.IntN(1000))
		}
		rows = append(rows, Row{seq, encode(e)})
	}
	if rng.IntN(3) == 0 { // arrival in another order than time
		for i := range rows {
			j := rng.IntN(len(rows))
			rows[i].Seq, rows[j].Seq = rows[j].Seq, rows[i].Seq
		}
	}
	return rows
}

func build(t testing.TB, b *Builder, rows []Row, runs []ReceivedRun) ([]byte, *Info) {
	t.Helper()
	data, info, err := b.Append(nil, rows, runs)
	if err != nil {
		t.Fatal(err)
	}
	return data, info
}

func table(t testing.TB, data []byte) *Table {
	t.Helper()
	b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if !b.Columnar() {
		t.Fatal("not a pattern block")
	}
	tbl, err := b.Table()
	if err != nil {
		t.Fatal(err)
	}
	return tbl
}

// readTable returns what a block holds, by its columns.
func readTable(t *Table) ([]Row, error) {
	seqs, err := t.Seqs()
	if err != nil {
		return nil, err
	}
	var out []Row
	for i := range t.Rows() {
		data, err := t.AppendRow(nil, i)
		if err != nil {
			return nil, err
		}
		out = append(out, Row{seqs[i], data})
	}
	return out, nil
}

var blockQueries = strings.Split(`*
error
refused -level>=error
"connection 17"
~"(?i)kelvin"
~"\d+ ms id=0"
level<=4 OR status:*
status:500
status:100000
tags:1e5
status:>200
status:400..1500
duration_ms>1.5
duration_ms<0.5s
tags!=GET
req.id~"^[0-9a-f]+$"
path:/api/* -host:h1
host:h1 env:prod
container:3fa9e OR stream=stdout
NOT path:*
message:user
message="0500"
f1.2:*
id:>5
dead
k9f8e
-0
1e400
nosuchword
05
k9f
ef
~"9f8"
~"(?i)9F8|eef"
23
500`, "\n")

// TestRoundTrip builds blocks, reads them back byte for byte, and compares what is said of them, and what a query selects,
// with a look at every event.
func TestRoundTrip(t *testing.T) {
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	var queries []*query.Query
	for _, text := range blockQueries {
		q, err := query.Parse(strings.Replace(text, ":>", ">", 1))
		if err != nil {
			t.Fatal(text, err)
		}
		queries = append(queries, q)
	}
	matches := 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 7))
		rows := drawRows(rng, 1+rng.IntN(1+rng.IntN(300)))
		runs := []ReceivedRun{{0, 5}, {1 << 20, 3}, {1 << 39, 1 << 62}}
		data, info := build(t, builder, rows, runs)
		tbl := table(t, data)
		got, err := readTable(tbl)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !slices.EqualFunc(rows, got, func(a, b Row) bool { return a.Seq == b.Seq && bytes.Equal(a.Data, b.Data) }) {
			t.Fatalf("seed %d: %s", seed, cmp.Diff(rows, got))
		}
		checkInfo(t, rows, runs, info, tbl)
		events := make([]event.Event, len(rows))
		for i, r := range rows {
			if _, err := event.Decode(r.Data, &events[i]); err != nil {
				t.Fatal(err)
			}
			events[i].Seq = r.Seq
		}
		for _, q := range queries {
			want := bitset.New(len(rows))
			for i := range events {
				if q.Match(&events[i]) {
					want.Add(i)
				}
			}
			matches += want.Count()
			rows := bitset.Full(len(rows))
			if err := tbl.Select(q, nil, rows); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rows, want) {
				i := rows.Clone()
				for k := range i {
					i[k] ^= want[k]
				}
				k := i.Next(0)
				t.Fatalf("seed %d: %s: row %d is selected: %v\n%s", seed, q, k, rows.Has(k), eventjson.AppendEvent(nil, &events[k]))
			}
			if !want.Empty() {
				for _, k := range q.FilterKeys() {
					if !slices.Contains(info.Keys, k) {
						t.Fatalf("seed %d: %s: a key is not in the filter", seed, q)
					}
				}
			}
			// With the forms judged from outside, as a segment does.
			rows = bitset.Full(len(events))
			if err := tbl.Select(q, judgeAll(q, info), rows); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(rows, want) {
				t.Fatalf("seed %d: %s: other rows with the forms judged before", seed, q)
			}
		}
		checkColumns(t, tbl, events)
	}
	if matches < 10000 {
		t.Errorf("only %d matches: the queries test nothing", matches)
	}
}

// judgeAll judges an info's forms as a segment would.
func judgeAll(q *query.Query, info *Info) [][]Form {
	out := make([][]Form, len(q.Tests()))
	for i, test := range q.Tests() {
		for _, text := range info.Texts {
			v := query.Maybe
			switch text.Kind {
			case Patterned:
				v = test.Judge(&text.Pattern)
			case Numbers:
				v = min(v, test.Judge(&query.Pattern{Text: []byte{query.HoleMark}, Holes: text.Holes}))
			}
			if v != query.Never {
				out[i] = append(out[i], Form{text.Column, text.Local, v})
			}
		}
	}
	return out
}

func checkInfo(t *testing.T, rows []Row, runs []ReceivedRun, info *Info, tbl *Table) {
	t.Helper()
	if diff := cmp.Diff(info.Meta, tbl.Meta); diff != "" {
		t.Fatal("meta: ", diff)
	}
	m := &info.Meta
	var levels [event.Debug + 1]int64
	lo, hi, size := int64(math.MaxInt64), int64(math.MinInt64), int64(0)
	counts := map[Count]int{}
	for _, r := range rows {
		var e event.Event
		if _, err := event.Decode(r.Data, &e); err != nil {
			t.Fatal(err)
		}
		levels[e.Level]++
		counts[Count{Bucket: Bucket(e.Time), Level: uint8(e.Level)}]++
		lo, hi = min(lo, e.Time), max(hi, e.Time)
		size += int64(len(r.Data))
		for _, f := range e.Fields {
			if !m.HasField(string(f.Name)) {
				t.Fatalf("field %q is not in the meta", f.Name)
			}
		}
		if len(e.Host) > 0 && !slices.Contains(m.Hosts, string(e.Host)) {
			t.Fatalf("host %q is not in the meta", e.Host)
		}
		if want := ReceivedAt(runs, r.Seq); tbl.Received(r.Seq) != want {
			t.Fatalf("sequence %d received at %d, want %d", r.Seq, tbl.Received(r.Seq), want)
		}
	}
	if m.Levels != levels || m.MinTime != lo || m.MaxTime != hi || m.Rows != len(rows) || m.Bytes != size || m.HasField("z") != (len(m.Fields) == 1 && m.Fields[0] == "*") {
		t.Fatalf("meta %+v", m)
	}
	if !slices.IsSortedFunc(info.Counts, func(a, b Count) int { return int(a.Bucket-b.Bucket)*16 + int(a.Level) - int(b.Level) }) {
		t.Fatalf("counts out of order: %v", info.Counts)
	}
	for _, c := range info.Counts {
		n := c.Rows
		if c.Rows = 0; counts[c] != n {
			t.Fatalf("%v: %d events, want %d", c, n, counts[c])
		}
		delete(counts, c)
	}
	if len(counts) > 0 {
		t.Fatalf("not counted: %v", counts)
	}
	again, err := tbl.Info()
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Texts) != len(info.Texts) {
		t.Fatalf("%d texts are read back of %d", len(again.Texts), len(info.Texts))
	}
	for i, a := range info.Texts {
		b := again.Texts[i]
		if a.Column != b.Column || a.Name != b.Name || a.Kind != b.Kind || a.Local != b.Local || a.Values != b.Values || a.Rows != b.Rows || !bytes.Equal(a.Text, b.Text) ||
			len(a.Holes) != len(b.Holes) || a.Kind == Numbers && a.Holes[0] != b.Holes[0] || a.Lo < b.Lo || a.Hi > b.Hi {
			t.Fatalf("text %d is read back as %+v, was %+v", i, b, a)
		}
	}
	if diff := cmp.Diff(info.Counts, again.Counts); diff != "" {
		t.Fatal("counts: ", diff)
	}
}

func checkColumns(t *testing.T, tbl *Table, events []event.Event) {
	t.Helper()
	for _, name := range []string{"level", "env", "host", "container", "stream", "status", "tags", "f3.1", "none"} {
		var want, got []string
		for i := range events {
			e := &events[i]
			switch name {
			case "level", "env", "host", "container", "stream":
				v := map[string][]byte{"level": []byte(e.Level.String()), "env": e.Env, "host": e.Host, "container": e.Container, "stream": e.Stream}[name]
				if len(v) > 0 {
					want = append(want, fmt.Sprintf("%d %s", i, v))
				}
			default:
				for _, f := range e.Fields {
					if string(f.Name) == name {
						want = append(want, fmt.Sprintf("%d %s", i, f.Value))
					}
				}
			}
		}
		for _, c := range tbl.Column(name) {
			if err := c.Each(bitset.Full(len(events)), func(row int, v []byte) error {
				got = append(got, fmt.Sprintf("%d %s", row, v))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			var numbers, parsed []float64
			if err := c.Numbers(bitset.Full(len(events)), func(_ int, v float64) { numbers = append(numbers, v) }); err != nil {
				t.Fatal(err)
			}
			if err := c.Each(bitset.Full(len(events)), func(_ int, v []byte) error {
				if x, ok := query.ParseNumber(v); ok {
					parsed = append(parsed, x)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(numbers, parsed) {
				t.Fatalf("%s: numbers %v, of the texts %v", name, numbers, parsed)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Fatalf("%s: %s", name, cmp.Diff(want, got))
		}
	}
}

// sampleRows are realistic lines.
func sampleRows(t testing.TB, n int) []Row {
	g := loadgen.New(loadgen.Options{Seed: 3, Services: 1})
	var rows []Row
	for i := range n {
		rows = append(rows, Row{uint64(i + 1), encode(event.Event{Time: int64(i) * 1e6, Service: []byte("s"), Message: g.GELF(nil)})})
	}
	return rows
}

func sampleBlock(t testing.TB, n int) ([]byte, []Row) {
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	rows := sampleRows(t, n)
	data, _ := build(t, builder, rows, []ReceivedRun{{1, 1}})
	return data, rows
}

func TestEverySingleBitFlipIsFound(t *testing.T) {
	data, _ := sampleBlock(t, 6)
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
		if err == nil {
			var tbl *Table
			if tbl, err = b.Table(); err == nil {
				if _, err = readTable(tbl); err == nil {
					_, err = tbl.Info()
				}
			}
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d of byte %d flipped: %v", bit%8, bit/8, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

// TestManyForms puts free text, of which no two lines share a form, and 100,000 forms of one service in blocks.
func TestManyForms(t *testing.T) {
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 5))
	word := func() string {
		var b strings.Builder
		for range 3 + rng.IntN(6) {
			b.WriteByte("ghijklmnopqrstuvwxyz"[rng.IntN(20)])
		}
		return b.String()
	}
	for _, repeat := range []int{1, 2, 5} {
		var rows []Row
		for len(rows) < MaxRows-5 {
			line := fmt.Sprintf("%s %s %%d %s", word(), word(), word())
			for range repeat {
				rows = append(rows, Row{uint64(len(rows) + 1), encode(event.Event{Time: int64(len(rows)), Service: []byte("s"), Message: fmt.Appendf(nil, line, rng.IntN(1000))})})
			}
		}
		data, info := build(t, builder, rows, nil)
		got, err := readTable(table(t, data))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(rows, got, func(a, b Row) bool { return bytes.Equal(a.Data, b.Data) }) {
			t.Fatal("read back other rows")
		}
		t.Logf("every form %d times: %d forms, %.1f bytes an event of %.1f", repeat, len(info.Texts), float64(len(data))/float64(len(rows)), float64(info.Bytes)/float64(len(rows)))
	}
}

// FuzzTable reads bytes that look like a block: the checksums are made right, and nothing is compressed, so that the parsers
// behind them are reached.
func FuzzTable(f *testing.F) {
	builder, err := NewBuilder()
	if err != nil {
		f.Fatal(err)
	}
	builder.sections.pays = 0
	rng := rand.New(rand.NewPCG(6, 6))
	for range 10 {
		data, _ := build(f, builder, drawRows(rng, 20), nil)
		f.Add(data)
	}
	q, err := query.Parse(`error ~"\d\d" status>5 -tags:*`)
	if err != nil {
		f.Fatal(err)
	}
	joiner, err := NewBuilder()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < fixedLen {
			return
		}
		data = slices.Clone(data)
		binary.LittleEndian.PutUint32(data[8:], uint32(len(data)))
		if n := int(binary.LittleEndian.Uint32(data[12:])); n <= len(data)-fixedLen {
			binary.LittleEndian.PutUint32(data[16:], headerCRC(data[:fixedLen+n]))
		}
		b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
		if err != nil || !b.Columnar() {
			return
		}
		for i := range b.sections {
			resum(&b.sections[i], data)
		}
		tbl, err := b.Table()
		if err != nil {
			return
		}
		_, _ = readTable(tbl)
		_, _ = tbl.Info()
		_ = tbl.Select(q, nil, bitset.Full(tbl.Rows()))
		_, _, _, _ = joiner.Join(nil, []*Table{tbl, tbl}, nil, math.MaxUint64)
	})
}

func resum(s *section, data []byte) {
	if s.offset >= 0 && s.offset+int64(s.stored) <= int64(len(data)) {
		s.crc = crc32.Checksum(data[s.offset:s.offset+int64(s.stored)], castagnoli)
	}
}
