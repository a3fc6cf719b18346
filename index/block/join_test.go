package block

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
)

func orderRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(timeOf(a), timeOf(b)), cmp.Compare(a.Seq, b.Seq))
	})
}

func timeOf(r Row) int64 {
	_, at, _, err := event.Peek(r.Data)
	if err != nil {
		panic(err)
	}
	return at
}

func builder(t testing.TB) *Builder {
	t.Helper()
	b, err := NewBuilder()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is joined is the block that the same rows make.
func TestJoin(t *testing.T) {
	b, other := builder(t), builder(t)
	joined := 0
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := 1 + rng.IntN(300)
		rows := drawRows(rng, n)
		if seed%40 == 0 { // most forms occur once: too many for a block to keep them, but not for its parts
			rows = nil
			for i := range 6000 {
				text := fmt.Sprintf("%c%c%c%c %d", 'g'+rng.IntN(20), 'g'+rng.IntN(20), 'g'+rng.IntN(20), 'g'+rng.IntN(20), rng.IntN(100))
				rows = append(rows, Row{uint64(i + 1), encode(event.Event{Time: int64(i), Service: []byte("s"), Message: []byte(text)})})
			}
		}
		orderRows(rows)
		// Parts that follow one another, parts that overlap a little, and parts of rows from anywhere.
		parts := make([][]Row, 1+rng.IntN(6))
		mixed := rng.IntN(3)
		for i, r := range rows {
			k := i * len(parts) / len(rows)
			if mixed == 1 && rng.IntN(8) == 0 {
				k = max(0, k-1)
			} else if mixed == 2 {
				k = rng.IntN(len(parts))
			}
			parts[k] = append(parts[k], r)
		}
		parts = slices.DeleteFunc(parts, func(p []Row) bool { return len(p) == 0 })
		runs := []ReceivedRun{{0, 5}, {rows[len(rows)/2].Seq, 9}}
		rest := false
		var tables []*Table
		for _, p := range parts {
			data, _ := build(t, b, p, runs)
			tables = append(tables, table(t, data))
			rest = rest || tables[len(tables)-1].rest.n > 0
		}
		rng.Shuffle(len(tables), func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })
		want, wantInfo := build(t, b, rows, runs)
		got, info, ok, err := other.Join(nil, tables, runs, math.MaxUint64)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if ok == rest {
			t.Fatalf("seed %d: joined %v, has fields beyond the columns %v", seed, ok, rest)
		}
		if !ok {
			continue
		}
		joined++
		slices.Sort(wantInfo.Keys)
		slices.Sort(info.Keys)
		if diff := gocmp.Diff(wantInfo, info); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d bytes that differ from the %d of the rows", seed, len(got), len(want))
		}
	}
	if joined < 80 {
		t.Errorf("only %d joined", joined)
	}
}

func TestJoinGap(t *testing.T) {
	b := builder(t)
	rows := sampleRows(t, 100)
	orderRows(rows)
	first, _ := build(t, b, rows[:50], nil)
	second, _ := build(t, b, rows[50:], nil)
	tables := []*Table{table(t, first), table(t, second)}
	widest := uint64(0)
	for i := 1; i < len(rows); i++ {
		widest = max(widest, uint64(timeOf(rows[i])-timeOf(rows[i-1])))
	}
	for gap, want := range map[uint64]bool{widest: true, widest - 1: false} {
		if _, _, ok, err := b.Join(nil, tables, nil, gap); ok != want || err != nil {
			t.Errorf("rows at most %d ns apart, within %d: %v, %v", widest, gap, ok, err)
		}
	}
}

// A damaged block is an error or makes no difference, and never a panic: sections' checksums are mended, as a bug would.
func TestJoinDamaged(t *testing.T) {
	b := builder(t)
	b.sections.pays = 0
	rng := rand.New(rand.NewPCG(3, 4))
	rows := drawRows(rng, 200)
	orderRows(rows)
	whole, _ := build(t, b, rows[:100], nil)
	for range 600 {
		data, _ := build(t, b, rows[100:], nil)
		opened, err := Open(bytes.NewReader(data), 0, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		s := &opened.sections[rng.IntN(len(opened.sections))]
		if s.stored == 0 {
			continue
		}
		data[s.offset+rng.Int64N(int64(s.stored))] ^= 1 << rng.IntN(8)
		resum(s, data)
		damaged, err := opened.Table()
		if err == nil {
			_, _, _, err = b.Join(nil, []*Table{table(t, whole), damaged}, nil, math.MaxUint64)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	builder := builder(b)
	rows := sampleRows(b, benchRows)
	orderRows(rows)
	var parts [][]byte
	const n = 8
	for i := range n {
		data, _ := build(b, builder, rows[i*len(rows)/n:(i+1)*len(rows)/n], nil)
		parts = append(parts, data)
	}
	var data []byte
	for b.Loop() {
		var tables []*Table
		for _, p := range parts {
			tables = append(tables, table(b, p))
		}
		var ok bool
		var err error
		if data, _, ok, err = builder.Join(data[:0], tables, nil, math.MaxUint64); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/event")
}

func TestAppendReceived(t *testing.T) {
	b := builder(t)
	row := func(seq uint64) Row { return Row{seq, encode(event.Event{Time: int64(seq), Service: []byte("s")})} }
	var blocks []*Block
	runs := []ReceivedRun{{3, 30}, {5, 50}, {12, 30}, {20, 30}, {25, 90}}
	for _, seqs := range [][]uint64{{2, 3, 4, 6}, {7, 8, 13}, {14, 21, 26}} {
		var rows []Row
		for _, seq := range seqs {
			rows = append(rows, row(seq))
		}
		data, _ := build(t, b, rows, runs)
		blocks = append(blocks, table(t, data).Block)
	}
	data, _ := build(t, b, []Row{row(30), row(31)}, nil) // received at no known time
	blocks = append(blocks, table(t, data).Block)
	var joined []ReceivedRun
	for _, blk := range blocks {
		joined = blk.AppendReceived(joined)
	}
	for i, seqs := range [][]uint64{{2, 3, 4, 6}, {7, 8, 13}, {14, 21, 26}, {30, 31}} {
		for _, seq := range seqs {
			if got, want := ReceivedAt(joined, seq), blocks[i].Received(seq); got != want {
				t.Errorf("sequence %d was received at %d, not at %d: %v", seq, got, want, joined)
			}
		}
	}
}
