package docker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

// ledger is a store of events in memory that counts producers as the real one does.
type ledger struct {
	mu      sync.Mutex
	next    map[string]uint64
	cursors map[string][]byte
	events  []event.Event
	batches int
	// answer decides about a batch: whether it is stored, and what the caller is told.
	answer func(b *event.Batch) (store bool, err error)
}

var _ collector.Counted = (*ledger)(nil)

func (l *ledger) Append(_ context.Context, b *event.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	store, err := true, error(nil)
	if l.answer != nil {
		store, err = l.answer(b)
	}
	if !store {
		return err
	}
	l.batches++
	list := b.Events
	if b.Producer != "" {
		if l.next == nil {
			l.next, l.cursors = map[string]uint64{}, map[string][]byte{}
		}
		end := b.FirstSeq + uint64(len(list))
		expected := max(l.next[b.Producer], 1)
		if end <= expected {
			return err
		}
		if b.FirstSeq < expected {
			list = list[expected-b.FirstSeq:]
		}
		l.next[b.Producer], l.cursors[b.Producer] = end, append([]byte(nil), b.Cursor...)
	}
	for i := range list {
		l.events = append(l.events, list[i].Clone())
	}
	return err
}

func (l *ledger) Producer(name string) (uint64, []byte, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, ok := l.next[name]
	return next, l.cursors[name], ok
}

// where returns the events that are of a stream and a container, each empty for any.
func (l *ledger) where(stream, container string) (list []event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if (stream == "" || string(e.Stream) == stream || stream == "std" && strings.HasPrefix(string(e.Stream), "std")) &&
			(container == "" || string(e.Container) == container) {
			list = append(list, e)
		}
	}
	return list
}

func (l *ledger) messages(stream, container string) (list []string) {
	for _, e := range l.where(stream, container) {
		list = append(list, string(e.Message))
	}
	return list
}

func fieldOf(e *event.Event, name string) string {
	if f := e.Field(name); f != nil {
		return string(f.Value)
	}
	return ""
}

// process is a sink as one process sees it: after kill nothing reaches the ledger.
type process struct {
	*ledger
	mu   sync.Mutex
	dead bool
}

var errKilled = errors.New("killed")

func (p *process) Append(ctx context.Context, b *event.Batch) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errKilled
	}
	return p.ledger.Append(ctx, b)
}

func (p *process) kill() {
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
}

type pressure struct{ error }

func (pressure) RetryAfter() time.Duration { return time.Second }
func (pressure) Full() bool                { return false }
