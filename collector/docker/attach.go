package docker

import (
	"bytes"
	"context"
	"encoding/binary"
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
	// chunkSize is about what a chunk takes beside its bytes.
	chunkSize = 64
	// rescueEnd is how long to wait for the end of what a removed container wrote.
	rescueEnd = 2 * time.Second
)

// rescue holds what a container writes from its first byte on, until it is known that its log can be read to the end: one
// that is removed as soon as it ends (docker run --rm) may be gone before that. It is attached to when it has been created,
// and not yet started: without inspecting it first, for the daemon would answer that only after the start.
type rescue struct {
	in     *Input
	at     int64 // when it was attached, by the engine's clock at the latest
	cancel context.CancelFunc
	done   chan struct{} // closed: nothing more comes

	mu     sync.Mutex
	chunks []chunk
	size   int
	ended  bool // to the container's end
	tardy  bool // it may not have the beginning
	over   bool // dropped
}

// chunk is what one read has given.
type chunk struct {
	at   int64
	data []byte
}

// rescued is a line and when it came.
type rescued struct {
	stream stream
	at     int64
	text   []byte
}

// attach begins to read what the container writes.
func (in *Input) attach(e *engine, id string) (*rescue, error) {
	ctx, cancel := context.WithCancel(in.ctx)
	conn, err := e.attach(ctx, id)
	if err != nil {
		cancel()
		return nil, err
	}
	r := &rescue{in: in, at: time.Now().Add(e.ahead).UnixNano(), cancel: cancel, done: make(chan struct{})}
	stop := context.AfterFunc(ctx, conn.Close)
	in.running.Go(func() {
		defer close(r.done)
		defer in.attached.Add(-1)
		defer cancel()
		defer conn.Close()
		defer stop()
		r.read(conn.Reader)
	})
	return r, nil
}

// read reads to the end, or until more came than is kept.
func (r *rescue) read(from io.Reader) {
	buf := make([]byte, 4<<10)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		if n > 0 && !r.over {
			r.size += n + chunkSize
			if r.in.rescueSize.Add(int64(n+chunkSize)) > rescueTotal || r.size > rescueBytes {
				r.forget()
			} else {
				r.chunks = append(r.chunks, chunk{time.Now().UnixNano(), bytes.Clone(buf[:n])})
			}
		}
		r.ended = err == io.EOF && !r.over
		over := r.over
		r.mu.Unlock()
		if err != nil || over {
			return
		}
	}
}

// forget ends the reading and forgets what was read. mu is held.
func (r *rescue) forget() {
	if r.over {
		return
	}
	r.over, r.ended = true, false
	r.in.rescueSize.Add(-int64(r.size))
	r.chunks, r.size = nil, 0
	r.cancel()
}

func (r *rescue) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

// raw guesses whether what was read comes from a terminal: without the frames of the others.
func (r *rescue) raw() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.chunks {
		return len(c.data) >= 4 && (c.data[0] < 1 || c.data[0] > 2 || c.data[1]|c.data[2]|c.data[3] != 0)
	}
	return false
}

// startedAt notes when the container was started: what was attached to only then may not have all, or nothing if the container
// had ended by then. The daemon answers an attach either before it starts the container, or when it has told that it did.
func (r *rescue) startedAt(at int64) {
	r.mu.Lock()
	r.tardy = r.tardy || r.at >= at
	r.mu.Unlock()
}

// lines returns what the container wrote, and whether that is all.
func (r *rescue) lines(tty bool) (lines [streams][]rescued, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.ended {
		return lines, false
	}
	var open [streams][]byte // lines that have not ended
	add := func(s stream, at int64, p []byte) {
		for len(p) > 0 {
			line, rest, ended := bytes.Cut(p, newline)
			open[s] = append(open[s], line...)
			if ended {
				lines[s] = append(lines[s], rescued{s, at, open[s]})
				open[s] = nil
			}
			p = rest
		}
	}
	var head []byte // of a frame
	s, left := stdout, 0
	at := int64(0)
	for _, c := range r.chunks {
		at = c.at
		if tty {
			add(stdout, at, c.data)
			continue
		}
		for p := c.data; len(p) > 0; {
			if left > 0 {
				n := min(left, len(p))
				add(s, at, p[:n])
				p, left = p[n:], left-n
				continue
			}
			n := min(frameHeader-len(head), len(p))
			head, p = append(head, p[:n]...), p[n:]
			if len(head) < frameHeader {
				break
			}
			if head[0] < 1 || head[0] > 2 || head[1]|head[2]|head[3] != 0 {
				return [streams][]rescued{}, false
			}
			s, left, head = stream(head[0]-1), int(binary.BigEndian.Uint32(head[4:])), head[:0]
		}
	}
	for s := range open {
		if len(open[s]) > 0 { // the last bytes of a container need no line's end
			lines[s] = append(lines[s], rescued{stream(s), at, open[s]})
		}
	}
	return lines, !r.tardy
}

// drop ends the rescue of a container whose log can be read.
func (f *follower) drop() {
	if r := f.rescue.Load(); r != nil {
		r.drop()
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
		switch {
		case whole:
			lines[s] = lines[s][min(len(lines[s]), f.counted[s]):]
		case well || f.counted != [streams]int{}:
			lines[s] = nil // there is no telling which of them are missing
		}
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
		f.in.stats.gaps.Add(1)
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
	return r.lines(f.tty)
}

// streamDocker is the stream of events that are about a container, not by it.
var streamDocker = []byte("docker")

var fieldAction = []byte("action")
