package fleet_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/fleet"
)

type nothing struct{}

func (nothing) Append(context.Context, *event.Batch) error { return nil }
func (nothing) Producer(string) (uint64, []byte, bool)     { return 0, nil, false }

// What counting costs the hot path: go test -bench Sink ./internal/fleet
func BenchmarkSink(b *testing.B) {
	const size = 1000
	for _, services := range []int{1, 4, size} { // in runs of 1000, 4 and 1
		for _, order := range []string{"runs", "mixed"} {
			batch := &event.Batch{}
			for i := range size {
				n := i * services / size
				if order == "mixed" {
					n = i % services
				}
				batch.Events = append(batch.Events, event.Event{
					Service: fmt.Appendf(nil, "service-%03d", n), Stream: []byte("stdout"), Level: event.Level(i % 9), Message: []byte("x"),
				})
			}
			b.Run(fmt.Sprintf("%d services, %s", services, order), func(b *testing.B) {
				sink := fleet.New(fleet.Options{}).Sink(nothing{})
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if err := sink.Append(ctx, batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/size, "ns/event")
			})
		}
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	batch := &event.Batch{}
	for i := range 100 {
		batch.Events = append(batch.Events, of(fmt.Sprintf("service-%d", i%10), event.Info))
	}
	sink := fleet.New(fleet.Options{}).Sink(nothing{})
	if n := testing.AllocsPerRun(10, func() { _ = sink.Append(context.Background(), batch) }); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}
