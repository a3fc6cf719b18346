package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

const (
	// rescueBytes is the most that is kept of what a container writes; one that writes more is no short-lived one.
	rescueBytes = 1 << 20
	// rescueTotal bounds it for all containers together.
	rescueTotal = 32 << 20
	// rescueFor is how long after its start a container counts as short-lived.
	rescueFor = 10 * time.Second
	// rescueLine is about what a line takes beside its bytes.
	rescueLine = 64
	// rescueEnd is how long to wait for the end of what a removed container wrote.
	rescueEnd = 2 * time.Second
)

// rescue holds what a container writes from its first byte on, until it is known that its log can be read to the end: one
// that is removed as soon as it ends (docker run --rm) may be gone before that. It is attached to when it has been created,
// and not yet started.
type rescue struct {
	in     *Input
	cancel context.CancelFunc
	done   chan struct{} // closed: nothing more comes

	mu      sync.Mutex
	lines   [streams][]rescued
	partial [streams][]byte
	size    int
	whole   bool // all that the container has written is in lines
	dropped bool
}

// rescued is a line and when it came.
type rescued struct {
	stream stream
	at     int64
	text   []byte
}

// attach begins to read what the container writes. The error says why it could not.
func (in *Input) attach(ctx context.Context, e *engine, d *details) (*rescue, error) {
	ctx, cancel := context.WithCancel(ctx)
	conn, err := e.attach(ctx, d.id)
	if err != nil {
		cancel()
		return nil, err
	}
	r := &rescue{in: in, cancel: cancel, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, conn.Close)
	tty := d.tty
	in.running.Go(func() {
		defer close(r.done)
		defer in.attached.Add(-1)
		defer cancel()
		defer stop()
		defer conn.Close()
		err := r.read(conn.Reader, tty)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.whole = err == nil && !r.dropped
		for s := range r.partial {
			if len(r.partial[s]) > 0 {
				r.line(stream(s), nil)
			}
		}
	})
	return r, nil
}

// read reads to the end, which is nil, or until more came than is kept.
func (r *rescue) read(from *bufio.Reader, tty bool) error {
	buf := make([]byte, 4<<10)
	if tty {
		for {
			n, err := from.Read(buf)
			if !r.add(stdout, buf[:n]) {
				return errTooMuch
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	for {
		var head [frameHeader]byte
		if _, err := io.ReadFull(from, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if head[0] < 1 || head[0] > 2 || head[1]|head[2]|head[3] != 0 {
			return fmt.Errorf("%w: a frame begins with % x", errGarbage, head)
		}
		for n := int(binary.BigEndian.Uint32(head[4:])); n > 0; {
			k, err := from.Read(buf[:min(n, len(buf))])
			if !r.add(stream(head[0]-1), buf[:k]) {
				return errTooMuch
			}
			n -= k
			if err != nil && n > 0 {
				return unexpected(err)
			}
		}
	}
}

var errTooMuch = fmt.Errorf("docker: more than %d bytes", rescueBytes)

// add keeps what came of a stream. It reports false when that was dropped.
func (r *rescue) add(s stream, p []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 && !r.dropped {
		line, rest, ended := bytes.Cut(p, newline)
		if !r.grow(len(line)) {
			break
		}
		if ended {
			r.line(s, line)
		} else {
			r.partial[s] = append(r.partial[s], line...)
		}
		p = rest
	}
	return !r.dropped
}

// line ends a line. mu is held.
func (r *rescue) line(s stream, end []byte) {
	if !r.grow(rescueLine) {
		return
	}
	r.lines[s] = append(r.lines[s], rescued{s, time.Now().UnixNano(), slices.Concat(r.partial[s], end)})
	r.partial[s] = nil
}

// grow takes n bytes of what is allowed; if there are no more everything is dropped. mu is held.
func (r *rescue) grow(n int) bool {
	if r.dropped {
		return false
	}
	r.size += n
	if r.in.rescueSize.Add(int64(n)) > rescueTotal || r.size > rescueBytes {
		r.drop()
		return false
	}
	return true
}

// drop ends the reading and forgets what was read. mu is held.
func (r *rescue) drop() {
	if r.dropped {
		return
	}
	r.dropped, r.whole = true, false
	r.in.rescueSize.Add(-int64(r.size))
	r.lines, r.partial, r.size = [streams][]rescued{}, [streams][]byte{}, 0
	r.cancel()
}

// drop ends the rescue of a container whose log can be read.
func (f *follower) drop() {
	if r := f.rescue.Load(); r != nil {
		r.mu.Lock()
		r.drop()
		r.mu.Unlock()
	}
}

// end is called when the container was removed. What its log did not give is taken from the rescue; what that has not either
// is told as a gap. well: the log was followed to its end.
func (f *follower) end(ctx context.Context, well bool) {
	lines, whole := f.rescued(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return
	}
	if whole && !well {
		for s := range f.lines {
			f.lines[s].open = false // what the log gave of a line; the rescue has the whole one
			f.lines[s].text = nil
		}
	}
	f.settleLocked()
	if f.failed != nil {
		return
	}
	for s := range lines {
		lines[s] = lines[s][min(len(lines[s]), f.counted[s]):]
	}
	all := slices.Concat(lines[stdout], lines[stderr])
	slices.SortStableFunc(all, func(a, b rescued) int { return int(a.at - b.at) })
	for _, l := range all {
		text := l.text[:min(len(l.text), maxText)]
		if f.addLine(l.stream, l.at, text, f.read[l.stream], len(text) < len(l.text)) != nil {
			return
		}
		f.in.stats.rescued.Add(1)
	}
	if f.flush(true) != nil {
		return
	}
	if !whole && !well {
		_ = f.tell(f.read[f.read.latest()].time, 0, "the container was removed before its log could be read to the end")
	}
}

// rescued returns what the rescue has, and whether that is all that the container wrote.
func (f *follower) rescued(ctx context.Context) (lines [streams][]rescued, whole bool) {
	r := f.rescue.Load()
	if r == nil {
		return lines, false
	}
	t := time.NewTimer(rescueEnd)
	defer t.Stop()
	select {
	case <-r.done:
	case <-t.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.whole {
		return lines, false
	}
	return r.lines, true
}

// streamDocker is the stream of events that are about a container, not by it.
var streamDocker = []byte("docker")

var fieldAction = []byte("action")
