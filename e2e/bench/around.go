package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

const (
	around      = 1000 // matches of the figures with context
	aroundSides = 3    // events on each side of a match
	aroundTurns = 15
)

// around measures what context costs: the same searches with 3 events of the same source around each of 1,000 matches and without, in turn.
func (b *bench) around(dir string, n int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	step := int64(max(n/around, 1))
	events.edit = func(i int64, all []byte, at int) []byte {
		if i%step == 0 && i < around*step {
			const key = `"message":"`
			at += bytes.Index(all[at:], []byte(key)) + len(key)
			all = slices.Insert(all, at, []byte(rarePhrase+": ")...)
		}
		return all
	}
	if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
		return err
	}
	if err := s.Restart(b.ctx); err != nil { // seals what is in memory
		return err
	}
	if err := b.settleMerging(s, "around"); err != nil {
		return err
	}
	if err := s.Idle(b.ctx); err != nil {
		return err
	}
	for _, p := range []struct{ name, q, params string }{
		{"matches all over the store", `"` + rarePhrase + `"`, ""},
		{"the first matches of a word", "failed", fmt.Sprintf("limit=%d", around)},
		{"the newest matches of a word", "failed", fmt.Sprintf("limit=%d&order=newest", around)},
	} {
		sides := fmt.Sprintf("%s&before=%d&after=%d", p.params, aroundSides, aroundSides)
		var walls, cpus [2][]float64
		for turn := range 1 + aroundTurns {
			for i, params := range []string{p.params, sides} {
				cpu, begin := s.CPU(), time.Now()
				matched, err := s.Search(b.ctx, p.q, params)
				if err != nil {
					return err
				}
				if matched != around {
					return fmt.Errorf("query %s: %d matched, want %d", p.q, matched, around)
				}
				if turn == 0 {
					continue // what it reads is cached afterwards
				}
				wall, used := float64(time.Since(begin)), float64(s.CPU()-cpu)
				b.lines.Line(fmt.Sprintf("Around/%s/C=%d", p.name, i*aroundSides), 1, "ns/op", wall, "cpu-ns/op", used)
				walls[i], cpus[i] = append(walls[i], wall), append(cpus[i], used)
			}
		}
		for i := range walls {
			slices.Sort(walls[i])
		}
		wall := [2]float64{walls[0][aroundTurns/2], walls[1][aroundTurns/2]}
		cpu := [2]float64{mean(cpus[0]), mean(cpus[1])} // the clock of CPU time is coarse
		b.report("around: "+p.name, "%.1f → %.1f ms (medians of %d), %.0f → %.0f CPU-ms (means): with %d events on each side of %d matches of %d %.2f times the wall time, %.2f times the CPU time (goal 2)",
			wall[0]/1e6, wall[1]/1e6, aroundTurns, cpu[0]/1e6, cpu[1]/1e6, aroundSides, around, n, wall[1]/wall[0], cpu[1]/cpu[0])
	}
	return nil
}

func mean(list []float64) float64 {
	sum := 0.0
	for _, v := range list {
		sum += v
	}
	return sum / float64(len(list))
}
