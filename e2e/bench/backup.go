package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

// backup: what ingest at a moderate rate costs before, while and after the server saves itself to a folder on the same disk, as fast as it
// can and throttled.
func (b *bench) backup(dir string, n, rate int) error {
	s, err := peer.StartLookout(b.ctx, b.binary, filepath.Join(dir, "server"))
	if err != nil {
		return err
	}
	defer s.Stop()
	events := newFeed(longLoad)
	begin := time.Now()
	if err := s.InsertFrom(b.ctx, events.until(n), 4); err != nil {
		return err
	}
	b.report("backup: loaded", "%d events in %.0f s", n, time.Since(begin).Seconds())
	if err := b.settleMerging(s, "backup"); err != nil {
		return err
	}
	events.rate = rate

	var before, unbound backupPhase
	for _, p := range []struct {
		name               string
		backups, throttled bool
	}{
		{"before", false, false}, {"while it saves", true, false}, {"between", false, false}, {"while it saves, throttled", true, true}, {"after", false, false},
	} {
		to, throttle := "", int64(0)
		if p.backups {
			to = filepath.Join(dir, "saved")
		}
		if p.throttled { // what is read and what is sent count
			throttle = 2 * unbound.saved / int64(unbound.backups) / int64(deleteSpan/time.Second)
		}
		got, err := b.backupPhase(s, events, to, throttle)
		if err != nil {
			return err
		}
		switch {
		case p.name == "before":
			before = got
		case p.backups && !p.throttled:
			unbound = got
		}
		for _, wall := range got.walls {
			b.lines.Line("Backup/ingest/when="+p.name, 1, "ns/op", float64(wall))
		}
		p50, p99 := quantile(got.walls, 0.5), quantile(got.walls, 0.99)
		text := fmt.Sprintf("p50 %.1f ms, p99 %.1f ms (%.2f times that before) of %d bodies at %d events/s; %.3f of a core", ms(p50), ms(p99),
			float64(p99)/float64(quantile(before.walls, 0.99)), len(got.walls), rate, got.core)
		if p.backups {
			perGB := (got.core - before.core) * got.took.Seconds() / (float64(got.saved) / 1e9)
			b.lines.Line("Backup/cpu/when="+p.name, 1, "cpu-ns/byte", perGB)
			text += fmt.Sprintf("; %d backups of %.0f MB together at %.0f MB/s, %.2f CPU-s a GB more than before", got.backups, float64(got.saved)/1e6,
				float64(got.saved)/1e6/got.took.Seconds(), perGB)
			if throttle > 0 {
				text += fmt.Sprintf("; --throttle %.1f MB", float64(throttle)/1e6)
			}
		}
		b.report("backup: ingest "+p.name, "%s", text)
	}
	return nil
}

// backupPhase is what was measured in one of the times.
type backupPhase struct {
	walls   []time.Duration // from a body to its answer
	took    time.Duration
	core    float64 // of one core, that the server used
	backups int
	saved   int64 // bytes
}

// backupPhase sends events for deleteSpan, and until the backup that is under way then has ended: one after the other to an empty folder, or
// none where that has no name.
func (b *bench) backupPhase(s *peer.Lookout, events *feed, to string, throttle int64) (p backupPhase, err error) {
	var over *atomic.Bool
	saved := make(chan error, 1)
	used, begin := s.CPU(), time.Now()
	if to == "" {
		saved <- nil
	} else {
		over = new(atomic.Bool)
		go func() {
			defer over.Store(true)
			saved <- func() error {
				for time.Since(begin) < deleteSpan {
					args := []string{"backup", to}
					if throttle > 0 {
						args = append(args, "--throttle", strconv.FormatInt(throttle, 10))
					}
					if _, err := s.CLI(b.ctx, args...); err != nil {
						return fmt.Errorf("the backup: %w", err)
					}
					size, err := peer.Size(to)
					if err != nil {
						return err
					}
					p.backups++
					p.saved += size
					if err := os.RemoveAll(to); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	p.walls, err = b.paced(s, events, over)
	p.took = time.Since(begin)
	p.core = (s.CPU() - used).Seconds() / p.took.Seconds()
	if failed := <-saved; failed != nil {
		return p, failed
	}
	return p, err
}
