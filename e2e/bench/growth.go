package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

const (
	marks   = 100 // events that hold the phrases
	needles = 20  // events that are looked for by their request_id
)

// The phrases stand before the messages of the marked events. The first is of words that no sample of loadgen holds, the second of
// words that many do, never beside each other.
const (
	rarePhrase   = "beyond the frosty hinterland"
	commonPhrase = "connection failed after error"
)

// probe is one question of growth.
type probe struct {
	name    string
	queries []string // asked in turn
	params  string
	matches int     // of each, in both sizes; -1 for as many as there are
	goal    float64 // 0 for none
	at      [2]probed
}

// probed is what a question cost at one size, in ns.
type probed struct {
	matched   int
	first     float64 // wall, the first time
	wall, cpu float64
}

// growth: the same questions in few events and in many, of which no more match.
func (b *bench) growth(dir string, from, to int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	var ids []string // of events here and there among the few, so that services with few and many events have their part
	events.edit = func(i int64, all []byte, at int) []byte {
		if len(ids) < needles && i >= int64(from/needles*len(ids)) {
			if m := requestID.FindSubmatch(all[at:]); m != nil {
				ids = append(ids, "request_id:"+string(m[1]))
			}
		}
		if step := int64(from / marks); i%step == 0 && i < marks*step {
			const key = `"message":"`
			at += bytes.Index(all[at:], []byte(key)) + len(key)
			all = slices.Insert(all, at, []byte(commonPhrase+", "+rarePhrase+": ")...)
		}
		return all
	}
	var probes []*probe
	for i, n := range []int{from, to} {
		begin := time.Now()
		if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
			return err
		}
		b.report(fmt.Sprintf("growth: %d events", n), "the last of them came in in %.0f s", time.Since(begin).Seconds())
		if err := s.Restart(b.ctx); err != nil { // seals what is in memory
			return err
		}
		if err := b.settleMerging(s, fmt.Sprintf("growth/n=%d", n)); err != nil {
			return err
		}
		if err := s.Restart(b.ctx); err != nil { // what merging has read is cached no more
			return err
		}
		if err := s.Idle(b.ctx); err != nil {
			return err
		}
		if probes == nil {
			probes = []*probe{
				{name: "needle by field", queries: ids, matches: 1, goal: 2},
				{name: "count of an absent word", queries: []string{"nosuchword"}, params: "count=true", goal: 2},
				{name: "phrase of rare words", queries: []string{`"` + rarePhrase + `"`}, matches: marks, goal: 2},
				{name: "phrase of common words", queries: []string{`"` + commonPhrase + `"`}, matches: marks, goal: 2},
				{name: "count of that phrase", queries: []string{`"` + commonPhrase + `"`}, params: "count=true", matches: marks, goal: 2},
				{name: "count of a word", queries: []string{"error"}, params: "count=true", matches: -1},
				{name: "count of all", queries: []string{"*"}, params: "count=true", matches: -1},
			}
		}
		others := otherPrograms(s)
		for _, p := range probes {
			if p.at[i], err = b.probe(s, p, n); err != nil {
				return err
			}
		}
		b.report(fmt.Sprintf("growth: asked of %d events", n), "other programs took %.0f %% of the machine", others())
	}
	for _, p := range probes {
		few, many := p.at[0], p.at[1]
		goal := ""
		if p.goal > 0 {
			goal = fmt.Sprintf(" (goal %.0f)", p.goal)
		}
		b.report("growth: "+p.name, "%.2f → %.2f ms, %.2f → %.2f CPU-ms: %.2f times the wall time, %.2f times the CPU time%s; the first time %.1f → %.1f ms; %d → %d matched",
			few.wall/1e6, many.wall/1e6, few.cpu/1e6, many.cpu/1e6, many.wall/few.wall, many.cpu/few.cpu, goal, few.first/1e6, many.first/1e6, few.matched, many.matched)
	}
	return nil
}

// probe asks each query once, and then in turns of as many rounds as take 20 ms: medians of the turns.
func (b *bench) probe(s *peer.Lookout, p *probe, n int) (at probed, err error) {
	begin := time.Now()
	if at.matched, err = s.Search(b.ctx, p.queries[0], p.params); err != nil {
		return at, err
	}
	at.first = float64(time.Since(begin))
	round := func() error {
		for _, q := range p.queries {
			matched, err := s.Search(b.ctx, q, p.params)
			if err != nil {
				return err
			}
			if matched != at.matched || p.matches >= 0 && matched != p.matches {
				return fmt.Errorf("query %s: %d of %d events matched, want %d", q, matched, n, max(p.matches, at.matched))
			}
		}
		return nil
	}
	if err := round(); err != nil {
		return at, err
	}
	var walls, cpus []float64
	for range 9 {
		cpu, begin, asked := s.CPU(), time.Now(), 0.0
		for asked == 0 || time.Since(begin) < 20*time.Millisecond {
			if err := round(); err != nil {
				return at, err
			}
			asked += float64(len(p.queries))
		}
		wall, used := float64(time.Since(begin))/asked, float64(s.CPU()-cpu)/asked
		b.lines.Line(fmt.Sprintf("Growth/%s/n=%d", p.name, n), int(asked), "ns/op", wall, "cpu-ns/op", used)
		walls, cpus = append(walls, wall), append(cpus, used)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	at.wall, at.cpu = walls[len(walls)/2], cpus[len(cpus)/2]
	return at, nil
}
