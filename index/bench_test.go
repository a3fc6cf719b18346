//go:build unix

package index

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

// BenchmarkMerge seals and merges a load, in generations of the usual size. Per million events: seconds of CPU for each.
func BenchmarkMerge(b *testing.B) {
	for _, services := range []int{17, 100} {
		b.Run(fmt.Sprintf("services=%d", services), func(b *testing.B) {
			var sealing, merging time.Duration
			var sealed, merged, rebuilt, events int64
			for b.Loop() {
				now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
				s := open(b, Options{byHand: true, NoSync: true, CompactShare: 1, Now: func() time.Time { return now }})
				load := loadgen.New(loadgen.Options{Services: services})
				var batch event.Batch
				measure := func(total *time.Duration, fn func()) {
					before := cpuTime(b)
					fn()
					*total += cpuTime(b) - before
				}
				for range 600 {
					appendLoad(b, s, load, &batch)
					events += 1000
					if s.frozen != nil {
						measure(&sealing, func() { seal(b, s) })
					}
				}
				measure(&sealing, func() { seal(b, s) })
				sealed += s.Stats().SegmentBytes
				now = now.Add(48 * time.Hour) // everything is merged
				measure(&merging, func() { workAll(b, newCompactor(s)) })
				st := s.Stats()
				merged += st.SegmentBytes
				rebuilt += st.Rebuilt
				s.Close(context.Background())
			}
			n := float64(events)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(sealing.Seconds()/n*1e6, "seal-s/M")
			b.ReportMetric(merging.Seconds()/n*1e6, "merge-s/M")
			b.ReportMetric(float64(sealed)/n, "sealed-B/event")
			b.ReportMetric(float64(merged)/n, "merged-B/event")
			b.ReportMetric(float64(rebuilt)/n, "rebuilt/event")
		})
	}
}

// BenchmarkHead asks a store that has sealed nothing yet: a generation that is full.
func BenchmarkHead(b *testing.B) {
	s := open(b, Options{byHand: true, NoSync: true, HeadBytes: 1 << 30})
	load := loadgen.New(loadgen.Options{})
	var batch event.Batch
	for s.Stats().HeadBytes < 32<<20 {
		appendLoad(b, s, load, &batch)
	}
	for _, c := range []struct {
		name, text string
		request    query.Request
	}{
		{"needle", "request_id:0123456789abcdef", query.Request{}},
		{"word", "error", query.Request{CountOnly: true}},
		{"newest", "failed", query.Request{Newest: true, Limit: 100}},
		{"absent", "nosuchword", query.Request{CountOnly: true}},
		{"all", "*", query.Request{CountOnly: true}},
	} {
		c.request.Query = parse(b, c.text)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Search(b.Context(), c.request, func(query.Row) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// appendLoad appends the next thousand events of a load.
func appendLoad(b *testing.B, s *Store, load *loadgen.Generator, batch *event.Batch) {
	var line []byte
	batch.Reset()
	for range 1000 {
		line = load.NDJSON(line[:0])
		addLine(b, batch, line)
	}
	if err := s.Append(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
}

func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// addLine adds the event of an NDJSON line: as the input would, but for the level.
func addLine(b *testing.B, batch *event.Batch, line []byte) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(line, &m); err != nil {
		b.Fatal(err)
	}
	e := batch.Add()
	for _, name := range slices.Sorted(maps.Keys(m)) {
		value, kind := []byte(m[name]), event.Number
		if value[0] == '"' {
			var text string
			if err := json.Unmarshal(value, &text); err != nil {
				b.Fatal(err)
			}
			value, kind = []byte(text), event.String
		}
		switch name {
		case "time":
			at, err := time.Parse(time.RFC3339Nano, string(value))
			if err != nil {
				b.Fatal(err)
			}
			e.Time = at.UnixNano()
		case "service":
			e.Service = value
		case "host":
			e.Host = value
		case "severity", "level":
			e.Level = event.Info
		case "message":
			e.Message = value
		default:
			batch.AddField(e, event.Field{Name: []byte(name), Value: value, Kind: kind})
		}
	}
}
