package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

// starts is how often the command line is started for one figure.
const starts = 100

// start measures what a person waits for before a command does anything: one that asks nobody, and one that asks a server on this
// machine which has next to nothing to search.
func (b *bench) start(dir string) error {
	s, err := peer.StartLookout(b.ctx, b.binary, filepath.Join(dir, "start"))
	if err != nil {
		return err
	}
	defer s.Stop()
	if _, err := s.CLI(b.ctx, "send", "-q", "--service", "bench", "hello"); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		args []string
	}{{"lookout version", []string{"version"}}, {"lookout grep, one event", []string{"grep", "hello"}}} {
		var walls, cpus []time.Duration
		for range starts {
			cmd := s.Command(b.ctx, c.args...)
			begin := time.Now()
			if out, err := cmd.Output(); err != nil || len(out) == 0 {
				return fmt.Errorf("%s: %w", c.name, errors.Join(err, errors.New("it prints nothing")))
			}
			walls = append(walls, time.Since(begin))
			cpus = append(cpus, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
			b.lines.Line("Start/"+c.args[0], 1, "ns/op", float64(walls[len(walls)-1]), "cpu-ns/op", float64(cpus[len(cpus)-1]))
		}
		slices.Sort(walls)
		slices.Sort(cpus)
		b.report("start: "+c.name, "%.1f ms (median of %d, least %.1f), %.1f CPU-ms (least %.1f)", ms(walls[starts/2]), starts, ms(walls[0]), ms(cpus[starts/2]), ms(cpus[0]))
	}
	return nil
}
