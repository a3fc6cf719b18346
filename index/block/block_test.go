package block

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

func encode(e event.Event) []byte { return event.AppendEvent(nil, &e) }

// readAll returns what a block holds, by its frames.
func readAll(b *Block) ([]Row, error) {
	var out []Row
	var rows Rows
	for i := range b.Frames {
		if err := b.Frame(i, &rows); err != nil {
			return nil, err
		}
		data := rows.Data
		for _, seq := range rows.Seqs {
			n, err := event.Size(data)
			if err != nil {
				return nil, err
			}
			out = append(out, Row{seq, bytes.Clone(data[:n])})
			data = data[n:]
		}
		if len(data) != 0 {
			return nil, fmt.Errorf("%d bytes behind the last row of frame %d", len(data), i)
		}
	}
	return out, nil
}

func TestRoundTrip(t *testing.T) {
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "rows")
		size := rapid.SampledFrom([]int{10, 1000, 20_000}).Draw(t, "size")
		var rows []Row
		at := rapid.Int64().Draw(t, "time")
		for range n {
			e := event.Event{Time: at, Level: event.Level(rapid.IntRange(0, 8).Draw(t, "level")), Service: []byte("s"),
				Host:    []byte(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "host")),
				Message: bytes.Repeat([]byte(rapid.StringN(1, 10, 10).Draw(t, "m")), rapid.IntRange(0, size/10).Draw(t, "repeat"))}
			if rapid.Bool().Draw(t, "field") {
				e.Fields = []event.Field{{Name: []byte(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")), Value: []byte("1")}}
			}
			rows = append(rows, Row{rapid.Uint64().Draw(t, "seq"), encode(e)})
			if step := rapid.Int64Range(0, math.MaxInt64).Draw(t, "step"); at <= math.MaxInt64-step {
				at += step
			}
		}
		runs := []ReceivedRun{{0, 5}, {1 << 20, 3}, {1 << 62, 1 << 62}}
		data, m, err := builder.Append([]byte("before"), rows, runs)
		if err != nil {
			t.Fatal(err)
		}
		data = data[len("before"):]
		if size, err := Size(data); err != nil || size != int64(len(data)) {
			t.Fatalf("Size %d of %d: %v", size, len(data), err)
		}
		b, err := Open(bytes.NewReader(append([]byte("x"), data...)), 1, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readAll(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rows, got); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(*m, b.Meta); diff != "" {
			t.Fatal("meta: ", diff)
		}
		// The meta against the rows.
		var e event.Event
		var levels [event.Debug + 1]int64
		lo, hi, bytesSum := int64(math.MaxInt64), int64(math.MinInt64), int64(0)
		for _, r := range rows {
			if _, err := event.Decode(r.Data, &e); err != nil {
				t.Fatal(err)
			}
			levels[e.Level]++
			lo, hi = min(lo, e.Time), max(hi, e.Time)
			bytesSum += int64(len(r.Data))
			for _, f := range e.Fields {
				if !m.HasField(string(f.Name)) {
					t.Fatalf("field %q is not in the meta", f.Name)
				}
			}
			if len(e.Host) > 0 && !slices.Contains(m.Hosts, string(e.Host)) {
				t.Fatalf("host %q is not in the meta", e.Host)
			}
			if want := ReceivedAt(runs, r.Seq); b.Received(r.Seq) != want {
				t.Fatalf("sequence %d received at %d, want %d", r.Seq, b.Received(r.Seq), want)
			}
			if ok, err := b.MayHold(appendKeys(nil, &e)); !ok || err != nil {
				t.Fatalf("the filter denies an event of its own: %v", err)
			}
		}
		if m.Levels != levels || m.MinTime != lo || m.MaxTime != hi || m.Rows != n || m.Bytes != bytesSum || m.HasField("z") {
			t.Fatalf("meta %+v", m)
		}
	})
}

func sampleBlock(t testing.TB, n int) ([]byte, []Row) {
	g := loadgen.New(loadgen.Options{Seed: 3, Services: 1})
	var rows []Row
	for i := range n {
		rows = append(rows, Row{uint64(i + 1), encode(event.Event{Time: int64(i), Service: []byte("s"), Message: g.GELF(nil)})})
	}
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	data, _, err := builder.Append(nil, rows, []ReceivedRun{{1, 1}})
	if err != nil {
		t.Fatal(err)
	}
	return data, rows
}

func TestEverySingleBitFlipIsFound(t *testing.T) {
	data, _ := sampleBlock(t, 3)
	for bit := range len(data) * 8 {
		data[bit/8] ^= 1 << (bit % 8)
		b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
		if err == nil {
			if _, err = readAll(b); err == nil {
				_, err = b.MayHold([]uint64{1})
			}
		}
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("bit %d of byte %d flipped: %v", bit%8, bit/8, err)
		}
		data[bit/8] ^= 1 << (bit % 8)
	}
}

func TestFilterRulesOutWhatIsNotThere(t *testing.T) {
	data, rows := sampleBlock(t, 2000)
	b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	var e event.Event
	present := map[uint64]bool{}
	for _, r := range rows {
		if _, err := event.Decode(r.Data, &e); err != nil {
			t.Fatal(err)
		}
		for _, k := range appendKeys(nil, &e) {
			present[k] = true
		}
	}
	wrong, asked := 0, 0
	for k := uint64(1); asked < 3000; k++ {
		key := k * 0x9e3779b97f4a7c15
		if present[key] {
			continue
		}
		asked++
		if ok, err := b.MayHold([]uint64{key}); err != nil {
			t.Fatal(err)
		} else if ok {
			wrong++
		}
	}
	if rate := float64(wrong) / float64(asked); rate > 0.01 {
		t.Errorf("%.2f %% of absent keys pass, 0.3 %% by the formula", 100*rate)
	}
}

func TestUnknownVersionIsRefused(t *testing.T) {
	data, _ := sampleBlock(t, 3)
	data[3]++
	if _, err := Open(bytes.NewReader(data), 0, int64(len(data))); !errors.Is(err, ErrVersion) {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	data, _ := sampleBlock(f, 20)
	f.Add(data)
	f.Add(data[:40])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= fixedLen { // let the fuzzer get behind the checksum
			data = bytes.Clone(data)
			if n := int(uint32(data[12]) | uint32(data[13])<<8 | uint32(data[14])<<16); n >= 0 && fixedLen+n <= len(data) {
				crc := headerCRC(data[:fixedLen+n])
				data[16], data[17], data[18], data[19] = byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24)
			}
		}
		b, err := Open(bytes.NewReader(data), 0, int64(len(data)))
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Fatalf("untyped error: %v", err)
			}
			return
		}
		_, _ = readAll(b)
		_, _ = b.MayHold([]uint64{1, 2})
	})
}

func BenchmarkBuild(b *testing.B) {
	_, rows := sampleBlock(b, 5000)
	builder, err := NewBuilder()
	if err != nil {
		b.Fatal(err)
	}
	var data []byte
	size := 0
	for _, r := range rows {
		size += len(r.Data)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if data, _, err = builder.Append(data[:0], rows, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(rows)), "ns/event")
	b.ReportMetric(float64(len(data))/float64(len(rows)), "B/event-stored")
}

func TestManyFieldNames(t *testing.T) {
	builder, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{maxNames, maxNames + 1, 5 * maxNames} {
		e := event.Event{Service: []byte("s")}
		for i := range n {
			e.Fields = append(e.Fields, event.Field{Name: fmt.Appendf(nil, "f%d", i)})
		}
		_, m, err := builder.Append(nil, []Row{{1, encode(e)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !m.HasField("f7") || len(m.Fields) > maxNames || m.HasField("other") != (n > maxNames) {
			t.Errorf("%d names: %d kept, other: %v", n, len(m.Fields), m.HasField("other"))
		}
	}
}
