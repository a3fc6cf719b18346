package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

// process is what is measured of a server.
type process interface {
	CPU() time.Duration
	Peak() (stop func() int64)
	Idle(context.Context) error
	Stop() (cpu time.Duration, err error)
}

// facts are what the queries need to know of a corpus.
type facts struct {
	events       int
	since, until time.Time // whole hours, since inclusive and until exclusive, that hold every event
	requestID    string    // of an event in the middle
	token        string    // a whole word of ten digits or more that occurs once: an HDFS block's number, of a message in the middle
}

var (
	timeField      = regexp.MustCompile(`"time":"([^"]+)"`)
	requestIDField = regexp.MustCompile(`"request_id":"([^"]+)"`)
	blockID        = regexp.MustCompile(`blk_-(\d{10,})\b`) // of blk_1 the whole word is blk_1
)

// factsOf reads them from NDJSON whose lines are ordered by time.
func factsOf(data []byte) (facts, error) {
	data = bytes.TrimRight(data, "\n")
	f := facts{events: bytes.Count(data, []byte("\n")) + 1}
	first, err := firstTime(data)
	if err != nil {
		return f, err
	}
	last, err := firstTime(data[bytes.LastIndexByte(data, '\n')+1:])
	if err != nil {
		return f, err
	}
	f.since, f.until = first.Truncate(time.Hour), last.Truncate(time.Hour).Add(time.Hour)
	middle := data[len(data)/2:]
	if id := requestIDField.FindSubmatch(middle); id != nil {
		f.requestID = string(id[1])
	}
	for f.token == "" && len(middle) > 0 {
		m := blockID.FindSubmatchIndex(middle)
		if m == nil {
			break
		}
		if token := middle[m[2]:m[3]]; bytes.Count(data, token) == 1 {
			f.token = string(token)
		}
		middle = middle[m[1]:]
	}
	if f.requestID == "" || f.token == "" {
		return f, errors.New("its second half has no request_id, or no blk_-… that occurs once: it is not a corpus of shared/bench/corpus")
	}
	return f, nil
}

func firstTime(data []byte) (time.Time, error) {
	m := timeField.FindSubmatch(data)
	if m == nil {
		return time.Time{}, errors.New("a line has no time")
	}
	return time.Parse(time.RFC3339Nano, string(m[1]))
}

// load is what loading a corpus took. Kept beside the data as figures.json.
type load struct {
	Corpus string `json:"corpus"` // the file's name and size, to know it again
	Events int    `json:"events"`

	Wall     time.Duration `json:"wall_ns"`       // until the last request was answered
	Answered time.Duration `json:"answered_ns"`   // CPU time until then
	Stopped  time.Duration `json:"stopped_ns"`    // CPU time until the server had nothing more to do and was stopped: everything is on disk, in its lasting form
	Peak     int64         `json:"peak_bytes"`    // RssAnon, the most until then
	Disk     int64         `json:"disk_bytes"`    // all of the data folder after that
	Segments int64         `json:"segment_bytes"` // lookout's segments alone; 0 for VictoriaLogs
}

// loaded loads the corpus into kept, once, or else as often as wanted into new folders below temporary, and returns the folder
// to ask of and the figures of every load.
func (c *comparison) loaded(ctx context.Context, kept, temporary string, data []byte, f facts, start func(dir string) (server, error)) (dir string, loads []load, err error) {
	if kept != "" {
		l, err := c.load(ctx, kept, data, f, start)
		return kept, []load{l}, err
	}
	for i := range c.loads {
		if dir != "" {
			if err := os.RemoveAll(dir); err != nil {
				return "", nil, err
			}
		}
		dir = filepath.Join(temporary, strconv.Itoa(i))
		l, err := c.load(ctx, dir, data, f, start)
		if err != nil {
			return "", nil, err
		}
		loads = append(loads, l)
	}
	return dir, loads, nil
}

// load brings the corpus into a new server with its data below dir and stops it, unless dir holds the corpus already.
func (c *comparison) load(ctx context.Context, dir string, data []byte, f facts, start func(dir string) (server, error)) (l load, err error) {
	corpus := fmt.Sprintf("%s, %d bytes", filepath.Base(c.corpus), len(data))
	kept := filepath.Join(dir, "figures.json")
	switch b, err := os.ReadFile(kept); {
	case err == nil:
		if err := json.Unmarshal(b, &l); err != nil {
			return l, fmt.Errorf("reading %s: %w", kept, err)
		}
		if l.Corpus != corpus {
			return l, fmt.Errorf("%s holds another corpus (%s, this is %s): remove it or name another folder", dir, l.Corpus, corpus)
		}
		fmt.Fprintf(c.text, "%s is loaded already: the figures of loading are of that run\n", dir)
		return l, nil
	case !errors.Is(err, fs.ErrNotExist):
		return l, err
	}
	if _, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		return l, fmt.Errorf("%s was not loaded to the end: remove it or name another folder", dir)
	}
	s, err := start(dir)
	if err != nil {
		return l, err
	}
	defer s.Stop()
	bodies := peer.Split(data, c.body)
	l = load{Corpus: corpus, Events: f.events}
	peak := s.Peak()
	defer peak()
	before, begin := s.CPU(), time.Now()
	if err := s.Insert(ctx, bodies, c.conns); err != nil {
		return l, err
	}
	l.Wall = time.Since(begin)
	l.Answered = s.CPU() - before
	if err := s.Idle(ctx); err != nil {
		return l, err
	}
	l.Peak = peak()
	used, err := s.Stop()
	if err != nil {
		return l, fmt.Errorf("stopping: %w", err)
	}
	l.Stopped = used - before
	if l.Disk, err = peer.Size(filepath.Join(dir, "data")); err != nil {
		return l, err
	}
	if segments := filepath.Join(dir, "data", "store", "segments"); exists(segments) {
		if l.Segments, err = peer.Size(segments); err != nil {
			return l, err
		}
	}
	b, err := json.MarshalIndent(l, "", "\t")
	if err != nil {
		return l, err
	}
	return l, os.WriteFile(kept, append(b, '\n'), 0o600)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// printLoads prints the figures of loading, medians of each.
func (c *comparison) printLoads(lookout, vl []load) {
	times := "times"
	if len(lookout) == 1 {
		times = "time"
	}
	fmt.Fprintf(c.text, "%-46s %10s %10s %7s %6s\n", fmt.Sprintf("loading, median of %d %s and %d", len(lookout), times, len(vl)), "lookout", "VL", "ratio", "goal")
	row := func(name string, goal, alsoAtMost float64, figure func(load) float64) {
		mine, theirs := medianOf(lookout, figure), medianOf(vl, figure)
		g, reached := "", ""
		if goal > 0 {
			g = fmt.Sprintf("%.2f", goal)
			reached = verdict(mine <= goal*theirs && (alsoAtMost == 0 || mine <= alsoAtMost))
		}
		fmt.Fprintf(c.text, "%-46s %10.4g %10.4g %7.2f %6s %s\n", name, mine, theirs, mine/theirs, g, reached)
	}
	perEvent := func(n float64, l load) float64 { return n / float64(l.Events) }
	row("CPU-s per million events, until answered", goalCPUPerEvent, 0, func(l load) float64 { return perEvent(float64(l.Answered)/1e3, l) })
	row("CPU-s per million events, until all is on disk", goalCPUPerEvent, 0, func(l load) float64 { return perEvent(float64(l.Stopped)/1e3, l) })
	row("thousand events/s (more is better)", 0, 0, func(l load) float64 { return float64(l.Events) / l.Wall.Seconds() / 1e3 })
	row("bytes an event on disk, everything", goalDisk, 0, func(l load) float64 { return perEvent(float64(l.Disk), l) })
	row("bytes an event on disk, lookout's segments", goalDisk, 0, func(l load) float64 {
		if l.Segments > 0 {
			return perEvent(float64(l.Segments), l)
		}
		return perEvent(float64(l.Disk), l)
	})
	row("peak RssAnon, MB", goalMemory, goalMemoryMB, func(l load) float64 { return float64(l.Peak) / 1e6 })
	fmt.Fprintln(c.text)
	for _, s := range []struct {
		on    string
		loads []load
	}{{"lookout", lookout}, {"victorialogs", vl}} {
		for _, l := range s.loads {
			n := float64(l.Events)
			c.lines.Line("Load/on="+s.on, l.Events, "ns/op", float64(l.Wall)/n, "cpu-ns/op", float64(l.Answered)/n, "cpu-to-disk-ns/op", float64(l.Stopped)/n,
				"disk-B/op", float64(l.Disk)/n, "peak-anon-B", float64(l.Peak))
		}
	}
}

func medianOf(loads []load, figure func(load) float64) float64 {
	var all []float64
	for _, l := range loads {
		all = append(all, figure(l))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

func verdict(reached bool) string {
	if reached {
		return "reached"
	}
	return "MISSED"
}
