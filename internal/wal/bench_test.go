package wal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/vfs"
)

// sample makes n events as services write them, about 290 bytes each encoded.
func sample(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	var data []byte
	for i := range n {
		e := event.Event{
			Time: 1700000000e9 + int64(i)*1e6, Level: event.Info, Service: []byte("checkout"), Env: []byte("production"),
			Host: fmt.Appendf(nil, "node-%d", i%7), Container: fmt.Appendf(nil, "checkout-%x", i%5), Stream: []byte("stdout"),
			Message: fmt.Appendf(nil, "POST /api/v2/orders/%d/confirm from 10.%d.%d.%d took %d ms, upstream payments answered %d",
				rng.IntN(1e9), rng.IntN(256), rng.IntN(256), rng.IntN(256), rng.IntN(2000), 200+rng.IntN(300)),
			Fields: []event.Field{
				{Name: []byte("request_id"), Value: fmt.Appendf(nil, "%016x", rng.Uint64())},
				{Name: []byte("status"), Value: fmt.Append(nil, 200+rng.IntN(300)), Kind: event.Number},
				{Name: []byte("duration_ms"), Value: fmt.Append(nil, rng.IntN(2000)), Kind: event.Number},
				{Name: []byte("user"), Value: fmt.Appendf(nil, "u%d", rng.IntN(10000))},
			},
		}
		data = event.AppendEvent(data, &e)
	}
	return data
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkAppend writes to the disk of the temporary folder (TMPDIR). An operation is one batch.
func BenchmarkAppend(b *testing.B) {
	for _, events := range []int{1, 100, 5000} {
		data := sample(events)
		for _, appenders := range []int{1, 16} {
			b.Run(fmt.Sprintf("events=%d/appenders=%d", events, appenders), func(b *testing.B) {
				l := start(b, Options{FS: vfs.OS, Dir: b.TempDir() + "/wal"})
				var left atomic.Int64
				left.Store(int64(b.N))
				b.ReportAllocs()
				b.ResetTimer()
				began := cpu()
				var wg sync.WaitGroup
				for range appenders {
					wg.Go(func() {
						e := &Entry{}
						for left.Add(-1) >= 0 {
							*e = Entry{Count: events, Data: data}
							if _, _, err := l.Append(ctx, e); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				used := cpu() - began
				b.StopTimer()
				total := float64(b.N * events)
				b.ReportMetric(float64(used.Nanoseconds())/total, "cpu-ns/event")
				b.ReportMetric(total/b.Elapsed().Seconds(), "events/s")
				b.ReportMetric(float64(b.N)/float64(l.Stats().Syncs), "batches/sync")
				b.ReportMetric(float64(l.Stats().Bytes)/total, "bytes/event")
				if err := l.Trim(l.Last()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkReplay reads a log of 400 MB of raw events from the page cache. An operation is one event.
func BenchmarkReplay(b *testing.B) {
	const batches, events = 300, 5000
	data := sample(events)
	dir := b.TempDir()
	l := start(b, Options{FS: vfs.OS, Dir: dir, NoSync: true})
	for range batches {
		add(b, l, &Entry{Count: events, Data: data})
	}
	l.Close()
	b.ReportAllocs()
	b.ResetTimer()
	began, read := cpu(), 0
	for read < b.N {
		l, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		for r := l.Reader(0); ; {
			e, ok, err := r.TryNext()
			if err != nil {
				b.Fatal(err)
			}
			if !ok || read >= b.N {
				r.Close()
				break
			}
			read += e.Count
		}
		l.Close()
	}
	b.ReportMetric(float64((cpu()-began).Nanoseconds())/float64(read), "cpu-ns/event")
	b.SetBytes(int64(len(data) / events))
}

// TestAllocations: a batch costs no allocation, whatever its size, once the log is warm; a rare one is the pools'.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector empties pools at random: nothing to measure")
		return
	}
	l := start(t, Options{FS: vfs.OS, Dir: t.TempDir(), NoSync: true})
	for _, events := range []int{1, 1000} {
		data := sample(events)
		e := &Entry{}
		if n := testing.AllocsPerRun(300, func() {
			*e = Entry{Count: events, Data: data, Producer: "p", ProducerSeq: l.Last()}
			if _, _, err := l.Append(ctx, e); err != nil {
				t.Fatal(err)
			}
		}); n > 1 {
			t.Errorf("%d events: %v allocations a batch", events, n)
		}
	}
	r := l.Reader(0)
	defer r.Close()
	if n := testing.AllocsPerRun(300, func() {
		if _, ok, err := r.TryNext(); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}); n > 1 {
		t.Errorf("reading: %v allocations a batch", n)
	}
}
