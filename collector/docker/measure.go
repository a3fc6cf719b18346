package docker

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// measureEvery is how often a running container is measured.
	measureEvery = 30 * time.Second
	// maxSamples is how many containers are measured at a time.
	maxSamples = 4
	// gaugeTick is how finely the times of measuring are spread.
	gaugeTick = 500 * time.Millisecond
	// maxRemoved bounds the removals that wait to be told while the sink takes nothing.
	maxRemoved = 1000
)

// gauge measures containers: each when it was found, when its state has changed, when it was removed, and at its own moment
// of every 30 s while it runs.
type gauge struct {
	in   *Input
	wake chan struct{}

	mu   sync.Mutex
	due  map[string]time.Time
	gone []measured

	last  map[string]sample // run's: the samples before, for the share of the CPU
	batch event.Batch
}

// measured is a container at one moment.
type measured struct {
	details
	logs   string
	host   string
	sample sample
	last   sample // the one before, zero: none
	ok     bool   // sample is one
	at     time.Time
}

func newGauge(in *Input) *gauge {
	return &gauge{in: in, wake: make(chan struct{}, 1), due: map[string]time.Time{}, last: map[string]sample{}}
}

// soon asks for a container to be measured now.
func (g *gauge) soon(id string) {
	g.mu.Lock()
	g.due[id] = time.Time{}
	g.mu.Unlock()
	g.stir()
}

// removed tells that a container is no more.
func (g *gauge) removed(m measured) {
	m.state, m.health, m.at = "removed", "", time.Now()
	g.mu.Lock()
	delete(g.due, m.id)
	if len(g.gone) < maxRemoved {
		g.gone = append(g.gone, m)
	}
	g.mu.Unlock()
	g.stir()
}

func (g *gauge) stir() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *gauge) run(ctx context.Context) {
	ticker := time.NewTicker(gaugeTick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-g.wake:
		case <-ctx.Done():
			return
		}
		list := g.measure(ctx, g.take(time.Now()))
		if len(list) == 0 {
			continue
		}
		g.batch.Reset()
		for i := range list {
			addMeasurement(&g.batch, &list[i])
		}
		if g.in.append(ctx, &g.batch) != nil {
			return
		}
		g.in.stats.measurements.Add(int64(len(list)))
	}
}

// take returns what is to be measured, and sets when next.
func (g *gauge) take(now time.Time) (list []measured) {
	g.mu.Lock()
	list, g.gone = g.gone, nil
	var ids []string
	for id, at := range g.due {
		if !at.After(now) {
			ids = append(ids, id)
			g.due[id] = nextMeasure(id, now)
		}
	}
	g.mu.Unlock()
	for i := range list {
		delete(g.last, list[i].id)
	}
	for _, id := range ids {
		m, ok := g.in.measuredOf(id)
		if !ok || !m.running() {
			g.mu.Lock()
			delete(g.due, id) // until something changes
			g.mu.Unlock()
		}
		if ok {
			m.at = now
			list = append(list, m)
		}
	}
	return list
}

// nextMeasure returns the next of a container's moments.
func nextMeasure(id string, now time.Time) time.Time {
	h := fnv.New32a()
	h.Write([]byte(id))
	at := now.Truncate(measureEvery).Add(time.Duration(h.Sum32()) % measureEvery)
	if at.Sub(now) < measureEvery/10 { // not directly after the one that is taken now
		at = at.Add(measureEvery)
	}
	return at
}

// measure takes the samples of those that run.
func (g *gauge) measure(ctx context.Context, list []measured) []measured {
	e := g.in.engineNow()
	if e == nil {
		return list
	}
	places := make(chan struct{}, maxSamples)
	var wait sync.WaitGroup
	for i := range list {
		m := &list[i]
		if !m.running() {
			delete(g.last, m.id)
			continue
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			s, err := e.stats(ctx, m.id)
			if err != nil {
				if !isGone(err) && ctx.Err() == nil {
					g.in.stats.apiErrors.Add(1)
				}
				return
			}
			m.sample, m.ok = s, true
		})
	}
	wait.Wait()
	for i := range list {
		if m := &list[i]; m.ok {
			m.last = g.last[m.id]
			g.last[m.id] = m.sample
		}
	}
	return list
}

var (
	serviceDocker = []byte("docker")
	streamStats   = []byte("stats")
)

func addMeasurement(b *event.Batch, m *measured) {
	n := nameOf(m.labels, m.name, m.image)
	e := b.Add()
	e.Time, e.Level = m.at.UnixNano(), event.Debug
	e.Service, e.Env, e.Host, e.Container, e.Stream = serviceDocker, b.CopyString(n.env), b.CopyString(m.host), b.CopyString(m.name), streamStats
	text := m.name + " " + m.state
	if s := &m.sample; m.ok {
		text = m.name
		if past := s.at.Sub(m.last.at); s.hasCPU && m.last.hasCPU && past > 0 && s.cpu >= m.last.cpu {
			text += fmt.Sprintf(" cpu %.0f %%", 100*float64(s.cpu-m.last.cpu)/float64(past))
		}
		if s.hasMemory {
			text += fmt.Sprintf(" memory %d MiB", s.memory>>20)
		}
	}
	e.Message = b.CopyString(text)
	w := fieldWriter{b, e}
	w.text("target", n.service)
	w.text("image", m.image)
	w.text("version", n.version)
	w.text("container_id", shortOf(m.id))
	w.text("state", m.state)
	w.text("health", m.health)
	w.text("logs", m.logs)
	if m.started != 0 {
		w.text("started", time.Unix(0, m.started).UTC().Format(time.RFC3339))
	}
	w.number("restarts", int64(m.restarts))
	if s := &m.sample; m.ok {
		if s.hasCPU {
			w.float("cpu_seconds", s.cpu.Seconds())
		}
		if s.hasMemory {
			w.number("memory_bytes", int64(s.memory))
			w.number("memory_limit_bytes", int64(s.limit))
		}
		if s.hasNetworks {
			w.number("network_receive_bytes", int64(s.received))
			w.number("network_transmit_bytes", int64(s.sent))
		}
	}
	b.Clamp(e)
}
