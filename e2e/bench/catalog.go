package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

const (
	// catalogTurns is how often each of the two is measured, in turn.
	catalogTurns = 3
	// catalogWait is how long the server is left alone behind each half before it is asked whether it is idle: the catalogue begins
	// when nothing was sealed for 5 to 10 s. Both wait as long.
	catalogWait = 20 * time.Second
	// withoutCatalog makes a binary that does not feed the catalogue.
	withoutCatalog = "-ldflags=-X github.com/lookoutlog/lookout/internal/app.feedCatalog=off"
)

// catalogHalf is the CPU time that half of the events took, in s per million.
type catalogHalf struct{ answered, idle float64 }

// catalog: what the catalogue of patterns takes of ingest, in alternating runs with and without. In the first half of the events
// nearly every pattern is new, in the second nearly every one is known.
func (b *bench) catalog(dir string, n int) error {
	without := filepath.Join(dir, "lookout-without")
	if err := peer.BuildLookout(b.ctx, without, withoutCatalog); err != nil {
		return err
	}
	var halves [2][2][]catalogHalf // by half, and by without and with
	for turn := range catalogTurns {
		for which, binary := range []string{without, b.binary} {
			got, kinds, err := b.catalogRun(filepath.Join(dir, fmt.Sprintf("catalog-%d-%d", turn, which)), binary, n)
			if err != nil {
				return err
			}
			name := []string{"off", "on"}[which]
			for i, h := range got {
				halves[i][which] = append(halves[i][which], h)
				b.lines.Line(fmt.Sprintf("Catalog/%s/half=%d", name, i+1), n/2, "answered-cpu-ns/op", h.answered*1e3, "idle-cpu-ns/op", h.idle*1e3)
			}
			b.report(fmt.Sprintf("catalog: turn %d, %s", turn+1, name), "CPU-s per million: %.2f until answered, %.2f until idle; then %.2f and %.2f; patterns known after each half: %d, %d",
				got[0].answered, got[0].idle, got[1].answered, got[1].idle, kinds[0], kinds[1])
		}
	}
	for i, name := range []string{"patterns new", "patterns known"} {
		median := func(which int, of func(catalogHalf) float64) float64 {
			var list []float64
			for _, h := range halves[i][which] {
				list = append(list, of(h))
			}
			slices.Sort(list)
			return list[len(list)/2]
		}
		for _, p := range []struct {
			until string
			of    func(catalogHalf) float64
		}{{"answered", func(h catalogHalf) float64 { return h.answered }}, {"idle", func(h catalogHalf) float64 { return h.idle }}} {
			off, on := median(0, p.of), median(1, p.of)
			b.lines.Line("Catalog/ratio/"+name+"/until="+p.until, 1, "ratio", on/off)
			b.report("catalog: "+name, "until %s %.2f CPU-s per million without, %.2f with (medians of %d): %.3f (goal 1.05)", p.until, off, on, catalogTurns, on/off)
		}
	}
	return nil
}

// catalogRun sends two halves to a server of its own, and returns the CPU time of each, and how many patterns were known behind it.
func (b *bench) catalogRun(dir, binary string, n int) (halves [2]catalogHalf, kinds [2]int, err error) {
	s, err := peer.StartLookout(b.ctx, binary, dir)
	if err != nil {
		return halves, kinds, err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	for i := range halves {
		used := s.CPU()
		perMillion := func() float64 { return (s.CPU() - used).Seconds() / float64(n/2) * 1e6 }
		if err := s.InsertFrom(b.ctx, events.until(n/2*(i+1)), 4); err != nil {
			return halves, kinds, err
		}
		halves[i].answered = perMillion()
		select {
		case <-time.After(catalogWait):
		case <-b.ctx.Done():
			return halves, kinds, b.ctx.Err()
		}
		if err := s.Idle(b.ctx); err != nil {
			return halves, kinds, err
		}
		halves[i].idle = perMillion()
		var status struct{ Patterns int }
		resp, err := s.Do(b.ctx, http.MethodGet, "/api/v1/catalog", nil)
		if err != nil {
			return halves, kinds, err
		}
		err = json.NewDecoder(resp.Body).Decode(&status)
		resp.Body.Close()
		if err != nil {
			return halves, kinds, err
		}
		kinds[i] = status.Patterns
	}
	return halves, kinds, nil
}
