package segment

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/loadgen"
	"github.com/lookoutlog/lookout/internal/vfs"
)

var benchEvents = flag.Int("events", 200_000, "events in the segment of the benchmarks")

// corpus is a segment of loadgen's events, as compaction leaves it: large blocks by service.
var corpus = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "segment"); err != nil {
		return "", err
	}
	corpusDir = dir
	g := loadgen.New(loadgen.Options{})
	b, err := block.NewBuilder()
	if err != nil {
		return "", err
	}
	w, err := NewWriter(vfs.OS, dir, 0, uint64(*benchEvents), DefaultClass)
	if err != nil {
		return "", err
	}
	type head struct {
		rows []block.Row
		size int
	}
	heads := map[string]*head{}
	var data []byte
	var adding time.Duration
	seal := func(h *head) error {
		if len(h.rows) == 0 {
			return nil
		}
		var info *block.Info
		if data, info, err = b.Append(data[:0], h.rows, nil); err != nil {
			return err
		}
		h.rows, h.size = h.rows[:0], 0
		start := time.Now()
		defer func() { adding += time.Since(start) }()
		return w.Add(data, info)
	}
	var line []byte
	for i := range *benchEvents {
		line = g.NDJSON(line[:0])
		e, err := parseLine(line)
		if err != nil {
			return "", err
		}
		h := heads[string(e.Service)]
		if h == nil {
			h = &head{}
			heads[string(e.Service)] = h
		}
		r := block.Row{Seq: uint64(i + 1), Data: event.AppendEvent(nil, e)}
		if h.size+len(r.Data) > block.MaxBytes || len(h.rows) == block.MaxRows {
			if err := seal(h); err != nil {
				return "", err
			}
		}
		h.rows, h.size = append(h.rows, r), h.size+len(r.Data)
	}
	for _, h := range heads {
		if err := seal(h); err != nil {
			return "", err
		}
	}
	blocks := w.Size()
	start := time.Now()
	if err := w.Close(); err != nil {
		return "", err
	}
	closing := time.Since(start)
	s, err := Open(vfs.OS, dir, Name(0, uint64(*benchEvents), DefaultClass))
	if err != nil {
		return "", err
	}
	defer s.Close()
	n := float64(*benchEvents)
	var filters, forms, counts int64
	for _, c := range s.classes {
		filters += c.size * int64(len(c.blocks))
	}
	for _, p := range s.formParts {
		forms += p.size
	}
	for _, p := range s.directory.counts {
		counts += p.size
	}
	total, places, raw := 0, 0, int64(0)
	for _, p := range s.formParts {
		raw += p.raw
	}
	_ = s.Forms(func(f *Form) bool { total++; places += f.n; return true })
	fmt.Printf("%d events in %d blocks of %d classes: blocks %.2f bytes an event; footer %.2f: filters %.2f, forms %.3f (%d in %d places, %d raw bytes), counts %.4f, directory %.4f; Add %v an event, Close %v\n",
		*benchEvents, len(s.Blocks), len(s.classes), float64(blocks)/n, float64(s.Size()-blocks)/n, float64(filters)/n, float64(forms)/n, total, places, raw, float64(counts)/n,
		float64(s.stream-filters-forms-counts)/n, adding/time.Duration(*benchEvents), closing)
	return dir, nil
})

func parseLine(line []byte) (*event.Event, error) {
	var fields map[string]any
	d := json.NewDecoder(strings.NewReader(string(line)))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	text := func(name string) []byte {
		s, _ := fields[name].(string)
		return []byte(s)
	}
	at, err := time.Parse(time.RFC3339Nano, string(text("time")))
	if err != nil {
		return nil, err
	}
	e := &event.Event{Time: at.UnixNano(), Service: text("service"), Host: text("host"), Message: text("message"), Level: event.Info}
	for l := event.Level(0); l <= event.Debug; l++ {
		if l.String() == string(text("level")) {
			e.Level = l
		}
	}
	for _, name := range []string{"request_id", "status", "duration_ms", "user"} {
		switch v := fields[name].(type) {
		case string:
			e.Fields = append(e.Fields, event.Field{Name: []byte(name), Value: []byte(v)})
		case json.Number:
			e.Fields = append(e.Fields, event.Field{Name: []byte(name), Kind: event.Number, Value: []byte(v)})
		}
	}
	return e, nil
}

func openCorpus(b *testing.B) *Segment {
	b.Helper()
	dir, err := corpus()
	if err != nil {
		b.Fatal(err)
	}
	return open(b, vfs.OS, dir, Name(0, uint64(*benchEvents), DefaultClass))
}

// TestMain removes the corpus.
func TestMain(m *testing.M) {
	code := m.Run()
	if corpusDir != "" {
		os.RemoveAll(corpusDir)
	}
	os.Exit(code)
}

var corpusDir string

func BenchmarkOpen(b *testing.B) {
	openCorpus(b)
	dir, _ := corpus()
	b.ReportAllocs()
	for b.Loop() {
		s, err := Open(vfs.OS, dir, Name(0, uint64(*benchEvents), DefaultClass))
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func BenchmarkCandidates(b *testing.B) {
	s := openCorpus(b)
	key := uint64(0x9E3779B97F4A7C15)
	passed := 0
	b.ReportAllocs()
	for b.Loop() {
		key = key*0x9E3779B97F4A7C15 + 7
		set := bitset.Full(len(s.Blocks))
		if err := s.Candidates([]uint64{key}, set); err != nil {
			b.Fatal(err)
		}
		passed += set.Count()
	}
	b.ReportMetric(float64(passed)/float64(b.N)/float64(len(s.Blocks))*100, "%passed")
}

func BenchmarkJudge(b *testing.B) {
	s := openCorpus(b)
	for _, text := range []string{"refundzz", "error", `"connection reset"`, "ailed", `~"conn.*[0-9]{3}"`, "status>=500", "user:u123", "level:error", "*"} {
		q, err := query.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			all := bitset.Full(len(s.Blocks))
			b.ReportAllocs()
			read := 0
			for b.Loop() {
				j, err := s.Judge(q, all)
				if err != nil {
					b.Fatal(err)
				}
				for i := range s.Blocks {
					f, _ := j.Block(i)
					if least, most := q.Bounds(f); least != most {
						read++
					}
				}
			}
			b.ReportMetric(float64(read)/float64(b.N), "read")
		})
	}
	b.Run("alone", func(b *testing.B) { // what the test itself takes
		q, _ := query.Parse("refundzz")
		var verdicts []query.Verdict
		b.ReportAllocs()
		for b.Loop() {
			for i := range s.formParts {
				part, err := s.formPart(i)
				if err != nil {
					b.Fatal(err)
				}
				verdicts = append(verdicts[:0], make([]query.Verdict, part.patterns.Len())...)
				for k := range verdicts {
					verdicts[k] = query.Maybe
				}
				q.Tests()[0].JudgeAll(&part.patterns, 0, verdicts)
			}
		}
	})
	b.Run("memory", func(b *testing.B) { // of the forms, when they are parsed
		size, forms := int64(0), 0
		for b.Loop() {
			size, forms = 0, 0
			for i := range s.formParts {
				part, err := s.readForms(i)
				if err != nil {
					b.Fatal(err)
				}
				size, forms = size+part.size(), forms+len(part.list)
			}
		}
		b.ReportMetric(float64(size)/float64(forms), "bytes/form")
	})
	b.Run("cold", func(b *testing.B) {
		q, _ := query.Parse("refundzz")
		for b.Loop() {
			parsed.forget(s)
			if _, err := s.Judge(q, bitset.Full(len(s.Blocks))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCounts(b *testing.B) {
	s := openCorpus(b)
	for b.Loop() {
		if _, err := s.Counts(func(string, uint8, int64, int) {}); err != nil {
			b.Fatal(err)
		}
	}
}
