package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

const (
	// doomed is the word of the events that are deleted, one of a hundred.
	doomed      = "xyzzydoomed"
	doomedEvery = 100
	// deleteSpan is how long events come in before and after the deletion, for comparison.
	deleteSpan = 30 * time.Second
	deletePoll = 100 * time.Millisecond
)

// deletion is a job as far as it is asked for.
type deletion struct {
	State   string
	Deleted int
	MaxSeq  uint64 `json:"max_sequence,string"`
}

// delete: what ingest at a moderate rate costs before, while and after one event of a hundred is deleted.
func (b *bench) delete(dir string, n, rate int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	events.edit = func(i int64, all []byte, at int) []byte {
		if i < int64(n) && i%doomedEvery == 0 {
			const key = `"message":"`
			at += bytes.Index(all[at:], []byte(key)) + len(key)
			all = slices.Insert(all, at, []byte(doomed+" ")...)
		}
		return all
	}
	begin := time.Now()
	if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
		return err
	}
	b.report("delete: loaded", "%d events in %.0f s", n, time.Since(begin).Seconds())
	if err := b.settleMerging(s, "delete"); err != nil {
		return err
	}
	dead := (n + doomedEvery - 1) / doomedEvery
	events.rate = rate
	before, err := b.paced(s, events, nil)
	if err != nil {
		return err
	}

	limit, err := s.Metric(b.ctx, "lookout_store_sequence")
	if err != nil {
		return err
	}
	used, begin := s.CPU(), time.Now()
	if _, err := s.CLI(b.ctx, "delete", doomed, "--all", "--yes"); err != nil {
		return err
	}
	var over atomic.Bool
	looked := make(chan error, 1)
	go func() { looked <- b.watchDeletion(s, int(limit), dead, &over) }()
	during, err := b.paced(s, events, &over)
	if err = errors.Join(err, <-looked); err != nil {
		return err
	}
	took := time.Since(begin)
	used = s.CPU() - used
	after, err := b.paced(s, events, nil)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		name  string
		walls []time.Duration
	}{{"before", before}, {"while it deletes", during}, {"after", after}} {
		for _, wall := range p.walls {
			b.lines.Line("Delete/ingest/when="+p.name, 1, "ns/op", float64(wall))
		}
		b.report("delete: ingest "+p.name, "p50 %.1f ms, p99 %.1f ms of %d bodies at %d events/s", ms(quantile(p.walls, 0.5)), ms(quantile(p.walls, 0.99)), len(p.walls), rate)
	}
	idle := max(quantile(before, 0.99), quantile(after, 0.99))
	b.lines.Line("Delete/job", dead, "wall-ns/op", float64(took)/float64(dead), "p99-ratio", float64(quantile(during, 0.99))/float64(quantile(before, 0.99)))
	b.report("delete: all", "%d events of %d in %.1f s, %.1f CPU-s with ingest; p99 %.2f times that before, %.2f that of the slower of before and after (goal 2)",
		dead, n, took.Seconds(), used.Seconds(), float64(quantile(during, 0.99))/float64(quantile(before, 0.99)), float64(quantile(during, 0.99))/float64(idle))
	return nil
}

// paced sends events at the feed's rate, until over is set or, for nil, deleteSpan, and returns how long each body waited for its
// answer.
func (b *bench) paced(s *peer.Lookout, events *feed, over *atomic.Bool) (walls []time.Duration, err error) {
	begin := time.Now()
	next := events.until(1 << 40)
	var sent time.Time
	err = s.InsertFrom(b.ctx, func() []byte {
		if !sent.IsZero() {
			walls = append(walls, time.Since(sent))
		}
		if over == nil && time.Since(begin) > deleteSpan || over != nil && over.Load() {
			return nil
		}
		body := next()
		sent = time.Now()
		return body
	}, 1)
	return walls, err
}

// watchDeletion searches until the deletion has ended, and sets over: what is kept must be there always, and what goes must not come
// back.
func (b *bench) watchDeletion(s *peer.Lookout, limit, dead int, over *atomic.Bool) error {
	defer over.Store(true)
	sequence := "count=true&sequence=" + strconv.Itoa(limit)
	kept, err := s.Search(b.ctx, "-"+doomed, sequence)
	if err != nil {
		return err
	}
	if kept != limit-dead {
		return fmt.Errorf("%d events are to be kept, %d are found", limit-dead, kept)
	}
	for left, searches := dead, 2; ; time.Sleep(deletePoll) {
		var d deletion
		resp, err := s.Do(b.ctx, http.MethodGet, "/api/v1/deletes/1", nil)
		if err != nil {
			return err
		}
		err = json.NewDecoder(resp.Body).Decode(&d)
		resp.Body.Close()
		if err != nil {
			return err
		}
		now, err := s.Search(b.ctx, doomed, sequence)
		if err != nil {
			return err
		}
		still, err := s.Search(b.ctx, "-"+doomed, sequence)
		if err != nil {
			return err
		}
		searches += 2
		if now > left || still != kept {
			return fmt.Errorf("%d events to be deleted are found, it were %d before; %d to be kept of %d", now, left, still, kept)
		}
		left = now
		switch d.State {
		case "waiting", "running":
			continue
		case "done":
			if left != 0 || d.Deleted != dead {
				return fmt.Errorf("%d of %d are deleted, %d are found", d.Deleted, dead, left)
			}
			b.report("delete: searches", "%d while it went on, each right", searches)
			return nil
		}
		return fmt.Errorf("the deletion ended %s", d.State)
	}
}
