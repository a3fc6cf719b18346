package block

import (
	"testing"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
)

const benchRows = 20_000

// BenchmarkBuilder measures building a block, an event an operation.
func BenchmarkBuilder(b *testing.B) {
	builder, err := NewBuilder()
	if err != nil {
		b.Fatal(err)
	}
	rows := sampleRows(b, benchRows)
	var data []byte
	for b.Loop() {
		if data, _, err = builder.Append(data[:0], rows, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/event")
	b.ReportMetric(float64(len(data))/benchRows, "B/event")
}

// BenchmarkAppendRow measures giving events back.
func BenchmarkAppendRow(b *testing.B) {
	data, _ := sampleBlock(b, benchRows)
	t := table(b, data)
	var row []byte
	i := 0
	for b.Loop() {
		var err error
		if row, err = t.AppendRow(row[:0], i%benchRows); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkSelect measures finding the rows of a query, with the forms judged before.
func BenchmarkSelect(b *testing.B) {
	data, _ := sampleBlock(b, benchRows)
	t := table(b, data)
	info, err := t.Info()
	if err != nil {
		b.Fatal(err)
	}
	for _, text := range []string{"error", "nosuchword", "x3f9", `~"\\d+\\.\\d+\\.\\d+"`} {
		q, err := query.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		forms := judgeAll(q, info)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if err := t.Select(q, forms, bitset.Full(benchRows)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRows, "ns/event")
		})
	}
}
