package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
	"github.com/lookoutlog/lookout/internal/loadgen"
)

// The events of soak and growth: 50 million cover three days.
var longLoad = loadgen.Options{Seed: 3, Start: time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC).UnixNano(), Step: int64(5 * time.Millisecond)}

// feed makes request bodies as they are asked for, so that any number of events takes little memory.
type feed struct {
	g     *loadgen.Generator
	made  atomic.Int64                                // events in the bodies that were given out
	edit  func(i int64, events []byte, at int) []byte // changes event i, the last, which begins at this byte; nil for none
	rate  int                                         // events a second, in bodies of 64 KiB; 0 for as fast as asked for, in bodies of 1 MiB
	ready []body                                      // made beforehand
}

type body struct {
	events []byte
	end    int64 // how many events these and all before are
}

func newFeed(o loadgen.Options) *feed { return &feed{g: loadgen.New(o)} }

// next makes the body behind event i.
func (f *feed) next(i, end int64) body {
	size := 1 << 20
	if f.rate > 0 {
		size = 64 << 10
	}
	events := make([]byte, 0, size+4096)
	for ; len(events) < size && i < end; i++ {
		at := len(events)
		if events = f.g.NDJSON(events); f.edit != nil {
			events = f.edit(i, events, at)
		}
	}
	return body{events, i}
}

// prepare makes the bodies of the events until so many beforehand, some 250 bytes an event: a load of a certain rate takes a third
// of a core at 100,000 events/s otherwise, and the answers that are measured beside it wait for that.
func (f *feed) prepare(end int64) {
	for i := f.made.Load(); i < end; {
		b := f.next(i, end)
		f.ready, i = append(f.ready, b), b.end
	}
}

// until returns a function that returns the bodies that hold the events until so many are made, one a call, and nil after the last.
func (f *feed) until(end int) func() []byte {
	begin, first := time.Now(), f.made.Load()
	return func() []byte {
		i := f.made.Load()
		if i >= int64(end) {
			return nil
		}
		if f.rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(i-first) * time.Second / time.Duration(f.rate))))
		}
		var b body
		if len(f.ready) > 0 {
			b, f.ready[0], f.ready = f.ready[0], body{}, f.ready[1:]
		} else {
			b = f.next(i, int64(end))
		}
		f.made.Store(b.end)
		return b.events
	}
}

// tenth is what is measured of a tenth of a soak.
type tenth struct {
	events     int
	wall, used time.Duration
	rss        int64              // RssAnon at most
	grown      map[string]float64 // by how much metrics have grown
	after      map[string]float64 // metrics
}

func (t tenth) rate() float64 { return float64(t.events) / t.wall.Seconds() }
func (t tenth) cpu() float64  { return t.used.Seconds() / float64(t.events) * 1e6 } // CPU-s per million events

// sent matches what was sent: the server notes itself when it turned bodies away, and when that is over.
const sent = "-service:lookout"

// soak: many events, so many a second or, for 0, as fast as they are acknowledged, and searches meanwhile.
func (b *bench) soak(dir string, n, rate int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	events.rate = rate
	others := otherPrograms(s)
	searches := newSearcher(s, events)
	var wall, used time.Duration
	var tenths []tenth
	for i := range 10 {
		if rate > 0 {
			events.prepare(int64(n) * int64(i+1) / 10)
		}
		t, err := b.tenth(s, events, searches, n*i/10, n*(i+1)/10)
		if err != nil {
			return err
		}
		b.reportTenth(i+1, t)
		wall += t.wall
		used += t.used
		tenths = append(tenths, t)
	}
	b.report("soak: all", "%d events in %.0f s, %.0f events/s, %.2f CPU-s per million; other programs took %.0f %% of the machine", n, wall.Seconds(),
		float64(n)/wall.Seconds(), used.Seconds()/float64(n)*1e6, others())
	for i, name := range []string{"first", "second"} {
		than, last := tenths[i], tenths[9]
		b.lines.Line(fmt.Sprintf("Soak/last-tenth-to-%d", i+1), 1, "wall-ratio", last.rate()/than.rate(), "cpu-ratio", than.cpu()/last.cpu())
		b.report("soak: last tenth to the "+name, "%.2f by CPU time, %.2f by wall time (goal 0.9)", than.cpu()/last.cpu(), last.rate()/than.rate())
	}
	most := func(tenths []tenth) (rss int64) {
		for _, t := range tenths {
			rss = max(rss, t.rss)
		}
		return rss
	}
	early, late := most(tenths[:5]), most(tenths[5:])
	b.lines.Line("Soak/memory", 1, "peak-anon-B", float64(max(early, late)), "halves-ratio", float64(late)/float64(early))
	b.report("soak: RssAnon", "at most %d MB; second half to the first %.2f (flat is 1)", max(early, late)/1_000_000, float64(late)/float64(early))

	answered := time.Now()
	found, err := s.Search(b.ctx, sent, "count=true")
	if err != nil {
		return err
	}
	if found != n {
		return fmt.Errorf("%d events sent and acknowledged, %d found", n, found)
	}
	b.report("soak: counted", "%d, which is all that was acknowledged, in %.1f ms", found, ms(time.Since(answered)))
	if err := b.settleMerging(s, "soak"); err != nil {
		return err
	}
	if found, err = s.Search(b.ctx, sent, "count=true"); err != nil {
		return err
	}
	if found != n {
		return fmt.Errorf("%d events acknowledged, %d found after merging", n, found)
	}
	if err := s.Idle(b.ctx); err != nil {
		return err
	}
	return b.compareSearches(searches)
}

// otherPrograms tells how much of the machine was taken by what is not measured, in percent: the more, the less wall times say.
func otherPrograms(s *peer.Lookout) (since func() float64) {
	busy, begin := peer.OtherCPU(s), time.Now()
	return func() float64 {
		return float64(busy()) / float64(time.Since(begin)) / float64(runtime.NumCPU()) * 100
	}
}

// parts is in how many parts a tenth of a certain rate is sent. A search's answer takes as long as there are events that are not sealed, up to a hundred
// thousand of them, so the pauses that it is compared with come at many points of sealing's round.
const parts = 5

// tenth sends the events from one to another in parts, with searches meanwhile and in the pauses between, which are as long.
func (b *bench) tenth(s *peer.Lookout, events *feed, searches *searcher, from, to int) (t tenth, err error) {
	before, err := s.Metrics(b.ctx)
	if err != nil {
		return t, err
	}
	peak := s.Peak()
	defer peak()
	t.events = to - from
	n := parts
	if events.rate == 0 {
		n = 1
	}
	for i := range n {
		stop := searches.while(b.ctx, func(q *question) *[]time.Duration { return &q.busy })
		used, begin := s.CPU(), time.Now()
		err := s.InsertFrom(b.ctx, events.until(from+(to-from)*(i+1)/n), 4)
		took := time.Since(begin)
		t.wall += took
		t.used += s.CPU() - used
		if err = errors.Join(err, stop()); err != nil {
			return t, err
		}
		if t.after, err = s.Metrics(b.ctx); err != nil { // before merging has caught up
			return t, err
		}
		if err = s.Process.Idle(b.ctx); err != nil {
			return t, err
		}
		// The same questions at the same pace: a core that has rested answers slower than one that is asked without a pause.
		pause, cancel := context.WithTimeout(b.ctx, took)
		err = searches.run(pause, func(q *question) *[]time.Duration { return &q.idle })
		cancel()
		if err = errors.Join(err, b.ctx.Err()); err != nil {
			return t, err
		}
	}
	t.rss = peak()
	t.grown = map[string]float64{}
	for name, v := range t.after {
		t.grown[name] = v - before[name]
	}
	return t, nil
}

func (b *bench) reportTenth(number int, t tenth) {
	size, segments := t.after["lookout_store_segment_bytes"], t.after["lookout_store_segments"]
	b.lines.Line(fmt.Sprintf("Soak/tenth=%02d", number), t.events, "ns/op", 1e9/t.rate(), "cpu-ns/op", t.cpu()*1e3, "peak-anon-B", float64(t.rss),
		"segments", segments, "segment-B", size)
	b.report(fmt.Sprintf("soak: tenth %d", number), "%.0f events/s, %.2f CPU-s per million; RssAnon at most %d MB; %.0f segments, %.0f blocks, %.0f MB; merging: %.1f s worked, %.0f merges, %.0f segments in the next; %.0f bodies turned away",
		t.rate(), t.cpu(), t.rss/1_000_000, segments, t.after["lookout_store_blocks"], size/1e6,
		t.grown["lookout_store_compaction_seconds_total"], t.grown["lookout_store_compactions_total"], t.after["lookout_store_compaction_waiting_segments"], t.grown["lookout_store_refused_total"])
}

// settleMerging waits until no segments have been merged for five seconds, and reports how long merging went on until then.
func (b *bench) settleMerging(s *peer.Lookout, name string) error {
	begin, used := time.Now(), s.CPU()
	last, cpu, merges := begin, used, -1.0
	var m map[string]float64
	for ; time.Since(last) < 5*time.Second; time.Sleep(250 * time.Millisecond) {
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		var err error
		if m, err = s.Metrics(b.ctx); err != nil {
			return err
		}
		if m["lookout_store_compactions_total"] != merges || m["lookout_store_compaction_waiting_segments"] > 0 {
			last, cpu, merges = time.Now(), s.CPU(), m["lookout_store_compactions_total"]
		}
	}
	wall, size := last.Sub(begin), m["lookout_store_segment_bytes"]
	b.lines.Line("Settled/"+name, 1, "ns/op", float64(wall), "cpu-ns/op", float64(cpu-used), "segments", m["lookout_store_segments"], "segment-B", size)
	b.report(name+": merging has settled", "after %.1f s and %.1f CPU-s: %.0f segments, %.0f blocks, %.0f MB, %.1f bytes an event; since the start %.1f s worked, %.0f MB read, %.0f MB written, %.0f events rebuilt, %.0f failures",
		wall.Seconds(), (cpu - used).Seconds(), m["lookout_store_segments"], m["lookout_store_blocks"], size/1e6, size/m["lookout_store_sequence"],
		m["lookout_store_compaction_seconds_total"], m["lookout_store_compaction_read_bytes_total"]/1e6, m["lookout_store_compaction_written_bytes_total"]/1e6,
		m["lookout_store_compaction_rebuilt_events_total"], m["lookout_store_compaction_errors_total"])
	return nil
}

// question is asked again and again.
type question struct {
	name, q, params string
	hour            bool            // of the last hour of the events' time; else of all
	most            int             // matched so far: events do not vanish
	busy            []time.Duration // while events come in
	idle            []time.Duration // in the pauses, with the same stored and as much not sealed
	merged          []time.Duration // at the end, sealed and merged
}

// searcher asks the same questions while events come in and afterwards.
type searcher struct {
	s         *peer.Lookout
	events    *feed
	questions []*question
	turn      int // of the next question
}

var requestID = regexp.MustCompile(`"request_id":"([0-9a-f]+)"`)

func newSearcher(s *peer.Lookout, events *feed) *searcher {
	id := requestID.FindSubmatch(newFeed(longLoad).until(1000)())[1] // of one of the first events
	return &searcher{s: s, events: events, questions: []*question{
		{name: "needle by field", q: "request_id:" + string(id)},
		{name: "count of a word, last hour", q: "error", params: "count=true", hour: true},
		{name: "newest 100 of a word", q: "failed", params: "order=newest&limit=100"},
		{name: "count of an absent word", q: "nosuchword", params: "count=true"},
		{name: "count of all", q: "*", params: "count=true"}, // needs next to nothing: what waiting for a core costs
	}}
}

func (r *searcher) ask(ctx context.Context, q *question) (time.Duration, error) {
	params := q.params
	if q.hour {
		now := time.Unix(0, longLoad.Start+r.events.made.Load()*longLoad.Step)
		params += "&since=" + now.Add(-time.Hour).UTC().Format(time.RFC3339)
	}
	begin := time.Now()
	matched, err := r.s.Search(ctx, q.q, params)
	wall := time.Since(begin)
	if err == nil && !q.hour && matched < q.most {
		err = fmt.Errorf("query %s: %d matched, and then only %d", q.q, q.most, matched)
	}
	q.most = max(q.most, matched)
	return wall, err
}

// run asks the questions in turn, each once a second, until the context is done, and notes the times where it is told to.
func (r *searcher) run(ctx context.Context, times func(*question) *[]time.Duration) error {
	tick := time.NewTicker(time.Second / time.Duration(len(r.questions)))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		q := r.questions[r.turn%len(r.questions)]
		r.turn++
		wall, err := r.ask(context.WithoutCancel(ctx), q)
		if err != nil {
			return err
		}
		to := times(q)
		*to = append(*to, wall)
	}
}

// while asks the questions until the returned function is called.
func (r *searcher) while(ctx context.Context, times func(*question) *[]time.Duration) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	failed := make(chan error, 1)
	go func() { failed <- r.run(ctx, times) }()
	return func() error {
		cancel()
		return <-failed
	}
}

// compareSearches asks everything once more as often and reports all.
func (b *bench) compareSearches(r *searcher) error {
	used, rounds := r.s.CPU(), len(r.questions[0].busy)
	for range rounds {
		for _, q := range r.questions {
			wall, err := r.ask(b.ctx, q)
			if err != nil {
				return err
			}
			q.merged = append(q.merged, wall)
		}
	}
	used = r.s.CPU() - used
	b.report("soak: searches", "%d times all of them; %.1f CPU-ms each time when all is merged", rounds, ms(used)/float64(max(1, rounds)))
	for _, q := range r.questions {
		if q.q != "nosuchword" && q.most == 0 {
			return fmt.Errorf("query %s: nothing was found", q.q)
		}
		for when, walls := range map[string][]time.Duration{"ingest": q.busy, "pause": q.idle, "merged": q.merged} {
			for _, wall := range walls {
				b.lines.Line("Soak/search/"+q.name+"/when="+when, 1, "ns/op", float64(wall))
			}
		}
		at := func(walls []time.Duration) (p50, p99 float64) {
			return ms(quantile(walls, 0.5)), ms(quantile(walls, 0.99))
		}
		p50, p99 := at(q.busy)
		idle50, idle99 := at(q.idle)
		merged50, merged99 := at(q.merged)
		b.report("soak: "+q.name, "while events came in p50 %.1f ms, p99 %.1f ms of %d; in the pauses %.1f and %.1f ms: p99 %.2f times that (goal 2), p50 %.2f; all merged %.1f and %.1f ms",
			p50, p99, len(q.busy), idle50, idle99, p99/idle99, p50/idle50, merged50, merged99)
	}
	return nil
}

func quantile(walls []time.Duration, q float64) time.Duration {
	if len(walls) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(walls))[min(len(walls)-1, int(q*float64(len(walls))))]
}
