//go:build unix

package parse

import (
	"bytes"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// measure runs fn over b.N events and reports the processor's time for one, which other programs on the machine disturb
// less than the clock's.
func measure(b *testing.B, fn func(n int)) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	fn(b.N)
	b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
}

// corpus returns lines of real systems: those of testdata/levels.
func corpus(tb testing.TB) (lines [][]byte) {
	files, err := os.ReadDir("testdata/levels")
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile("testdata/levels/" + f.Name())
		if err != nil {
			tb.Fatal(err)
		}
		for _, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
			_, line, _ = bytes.Cut(line, []byte("|"))
			lines = append(lines, line)
		}
	}
	return lines
}

const benchBatch = 1000

func benchmarkProcess(b *testing.B, lines [][]byte) {
	s := New(Options{})
	var batch event.Batch
	measure(b, func(total int) {
		for n := 0; n < total; {
			batch.Reset()
			for i := 0; i < benchBatch && n < total; i++ {
				e := batch.Add()
				e.Time, e.Stream, e.Level, e.Message = noon.UnixNano(), stdout, event.Info, lines[n%len(lines)]
				n++
			}
			s.Process(&batch)
		}
	})
}

func BenchmarkProcess(b *testing.B) {
	b.Run("corpus", func(b *testing.B) { benchmarkProcess(b, corpus(b)) })
	b.Run("json300", func(b *testing.B) { benchmarkProcess(b, [][]byte{[]byte(json300)}) })
	for i, name := range []string{"java", "access", "logfmt", "", "prose"} {
		if name != "" {
			b.Run(name, func(b *testing.B) { benchmarkProcess(b, benchMessages()[i:i+1]) })
		}
	}
}

// BenchmarkJoin has sources that take turns; the baseline fills the batches and joins nothing.
func BenchmarkJoin(b *testing.B) {
	var traces [][]byte
	for _, s := range scripts(b) {
		for _, line := range s.lines {
			traces = append(traces, []byte(line))
		}
	}
	run := func(lines [][]byte, sources, size int, join func(*event.Batch, int64)) func(*testing.B) {
		return func(b *testing.B) {
			var hosts [][]byte
			for n := range sources {
				hosts = append(hosts, []byte("host-"+string(rune('a'+n))))
			}
			var batch event.Batch
			service, container := []byte("shop"), []byte("7f1b2c3d4e5f6789abcdef01234567890af7651916cd43dd7f1b2c3d4e5f6789")
			measure(b, func(total int) {
				now := noon.UnixNano()
				for n := 0; n < total; {
					batch.Reset()
					for i := 0; i < size && n < total; i++ {
						e := batch.Add()
						e.Service, e.Container, e.Host, e.Stream = service, container, hosts[n%sources], stdout
						e.Message = lines[n/sources%len(lines)]
						n++
					}
					join(&batch, now)
					now += 1e6
				}
			})
		}
	}
	lines := corpus(b)
	b.Run("baseline", run(lines, 1, benchBatch, func(*event.Batch, int64) {}))
	b.Run("one-source", run(lines, 1, benchBatch, NewJoiner(JoinOptions{}).Join))
	b.Run("20-sources", run(lines, 20, benchBatch, NewJoiner(JoinOptions{}).Join))
	b.Run("20-sources-batches-of-10", run(lines, 20, 10, NewJoiner(JoinOptions{}).Join))
	b.Run("within", run(lines, 20, benchBatch, func(batch *event.Batch, _ int64) { within.JoinWithin(batch) }))
	b.Run("traces", run(traces, 20, benchBatch, NewJoiner(JoinOptions{}).Join))
}

var within = NewJoiner(JoinOptions{})
