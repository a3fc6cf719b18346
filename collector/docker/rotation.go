package docker

import (
	"bytes"
	"context"
	"io"
	"time"
)

// rotation watches over a log that the daemon begins anew at some size. Engines up to 20.10 make mistakes when they follow
// one (moby daemon/logger/loggerutils/logfile.go, followLogs), all of them seen on the wire:
//
//   - they open the new file twice: all that was read of it by then comes again, from its beginning;
//   - they come late, when there is a newer file already: whole files are left out, and nothing says so;
//   - they wait (the local driver), until the file is rotated once more, or the container ends;
//   - asked for what came since a time, they leave out the compressed file in which that lies.
//
// Reading without following makes only the last. So what comes again is dropped; where a whole file may be missing, and when a
// log has fallen silent, it is read without following to see what is there. If that is more than came, it is opened again
// where it was left. And where files are compressed it is the last so many rows that are asked for, more if they do not reach
// back far enough.
type rotation struct {
	size       int64 // of a file, in bytes
	compressed bool  // the older files
	tail       int   // how many rows to ask for, when they are; 0: all
	waits      bool  // the driver is local
	rows       ring

	replay bool // what comes was read before

	// How fast the log is written: the last step of size/8 bytes took so long.
	took  int64
	bytes int64 // of the present step
	since int64 // its beginning
	last  int64 // time of the last row

	lag int64 // how old it was when it came

	trust   bool      // the next row has been looked at
	allowed time.Time // no look before then: reading a large log has its price

	// The next look at a silent log, see watchSilent.
	quiet time.Duration
	look  time.Time
}

// rowSize is about what a row takes in a file beside its text.
const rowSize = 64

// silence is how long a log has been silent when it is looked at for the first time; then it is twice as long each time, up
// to longSilence.
const (
	silence     = 2 * time.Second
	longSilence = 5 * time.Minute
)

// before tells whether a row was read before, and what comes now is a replay of the file. at is where its stream stands, c
// where both do, open whether its line goes on, now the time in ns since the Unix epoch.
func (t *rotation) before(r ringRow, at position, c *cursor, open, filler bool, now int64) (old, replay bool) {
	switch {
	case r.time > at.high || at.time == 0:
		return false, false
	case r.time > at.time:
		return false, false // the clock went back before
	case r.time == at.time:
		back := t.rows.find(r)
		if open { // a piece of a line: two in a row may be equal
			return back == 1 && !filler, false
		}
		return back > 0, false
	}
	switch oldest, ok := t.rows.oldest(); {
	case t.rows.find(r) > 0:
		return true, true
	case ok && oldest <= r.time:
		return false, false // it would be among those remembered: the clock went back
	}
	// Where the log stands is in the future: the clock went back.
	if c[c.latest()].time > now {
		return false, false
	}
	return true, true
}

// jumped tells whether whole files may be missing between the last row and one of the time at: then the time between them is
// enough to write a file, at four times the rate of what came before; and, but for the local driver, the engine was as much
// behind when it went on.
func (t *rotation) jumped(at int64) bool {
	took := t.took
	if step := t.size / 8; t.bytes >= step/2 {
		if part := int64(float64(t.last-t.since) * float64(step) / float64(t.bytes)); took == 0 || part < took {
			took = part
		}
	} else if took == 0 {
		return false
	}
	return t.last != 0 && at-t.last >= max(2*took, int64(time.Millisecond)) && (t.waits || t.lag >= 2*took)
}

// looked notes what a look has found in front of a row.
func (t *rotation) looked(what found, at int64) {
	t.trust = true
	t.bytes = 0 // the rate is that of what is written, not of what is missing
	if what == nothingMissing || what == allGone && !t.waits {
		t.took = max(t.took, at-t.last) // it is not always written that fast
	}
}

// add notes a row that was taken.
func (t *rotation) add(at int64, size int, now time.Time) {
	t.lag = now.UnixNano() - at
	if t.bytes == 0 {
		t.since = at
	}
	t.bytes += int64(size + rowSize)
	t.last = max(t.last, at)
	if t.bytes >= t.size/8 {
		t.took, t.bytes = max(at-t.since, 1), 0
	}
}

// A look that took longer than cheapLook is followed by a rest lookRest times as long.
const (
	cheapLook = 50 * time.Millisecond
	lookRest  = 3
)

// A look's result.
type found uint8

const (
	nothingMissing found = iota
	someMissing          // and they are still there
	allGone              // the last row is no longer there, so that it cannot be told
)

// look reads the log behind the row that came last, to see whether r is the next one.
func (f *follower) look(ctx context.Context, e *engine, r *row) (found, error) {
	f.mu.Lock()
	t := f.rotation
	want := t.rows.newest()
	next := identityOf(r, hashRow(r))
	begun := time.Now()
	early := t.allowed.Sub(begun)
	f.mu.Unlock()
	if early > 0 && !sleep(ctx, early) {
		return 0, ctx.Err()
	}
	begun = time.Now()
	defer func() {
		f.mu.Lock()
		now := time.Now()
		if took := now.Sub(begun); took > cheapLook {
			t.allowed = now.Add(lookRest * took)
		}
		f.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !t.compressed {
		return f.compare(ctx, e, want, next, want.time, 0)
	}
	for tail := firstTail; ; tail = moreTail(tail) {
		what, err := f.compare(ctx, e, want, next, 0, tail)
		if err != nil || what != allGone || tail == 0 {
			return what, err
		}
	}
}

// compare reads the log, not following it, for what stands behind the row want.
func (f *follower) compare(ctx context.Context, e *engine, want, next ringRow, since int64, tail int) (found, error) {
	body, err := e.logs(ctx, f.id, since, tail, false)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	reader := f.reader(body)
	for seen := false; ; {
		r, err := reader.next()
		if err == io.EOF && seen {
			return nothingMissing, nil
		} else if err == io.EOF {
			return allGone, nil
		} else if err != nil {
			return 0, err
		}
		switch got := identityOf(&r, hashRow(&r)); {
		case seen && got == next:
			return nothingMissing, nil
		case seen && got != want: // equal pieces of a line are one after the other
			return someMissing, nil
		case got == want:
			seen = true
		}
	}
}

// firstTail is how many rows are asked for at first where files are compressed.
const firstTail = 2000

// moreTail returns how many to ask for when that was not enough, 0 for all.
func moreTail(tail int) int {
	if tail *= 10; tail > 1e6 {
		return 0
	}
	return tail
}

// heard sets back the looks at a silent log.
func (t *rotation) heard(now time.Time) { t.quiet, t.look = silence, now.Add(silence) }

// ring remembers the last rows.
type ring struct {
	rows []ringRow // the newest in front of next
	next int
}

type ringRow struct {
	time int64
	hash uint32
	size uint32 // length × 2, and the stream
}

func identityOf(r *row, hash uint32) ringRow {
	return ringRow{time: r.time, hash: hash, size: uint32(len(r.text))<<1 | uint32(r.stream)}
}

const ringRows = 1024

func (g *ring) add(r ringRow) {
	if len(g.rows) < ringRows {
		g.rows = append(g.rows, r)
		return
	}
	g.rows[g.next] = r
	g.next = (g.next + 1) % ringRows
}

// find returns how far back a row is, 1 for the newest, 0 when it is not there.
func (g *ring) find(r ringRow) int {
	n := len(g.rows)
	for back := 1; back <= n; back++ {
		if g.rows[(g.next-back+n)%n] == r {
			return back
		}
	}
	return 0
}

// newest returns the row that was added last, none when there is none.
func (g *ring) newest() ringRow {
	if n := len(g.rows); n > 0 {
		return g.rows[(g.next-1+n)%n]
	}
	return ringRow{}
}

func (g *ring) oldest() (at int64, ok bool) {
	if len(g.rows) == 0 {
		return 0, false
	}
	return g.rows[g.next%len(g.rows)].time, true
}

// filler tells whether a piece of a line consists of two equal halves, so that the next piece may be equal to it.
func filler(p []byte) bool {
	half := len(p) / 2
	return bytes.Equal(p[:half], p[half:2*half])
}

// watchSilent looks at logs that are rotated and have fallen silent, until ctx ends.
func (in *Input) watchSilent(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		in.mu.Lock()
		var list []*follower
		for _, c := range in.containers {
			if c.follower != nil && c.follower.rotation != nil && c.running() {
				list = append(list, c.follower)
			}
		}
		in.mu.Unlock()
		e := in.engineNow()
		for _, f := range list {
			if e != nil && f.dueLook(time.Now()) {
				f.lookAtSilence(ctx, e)
			}
		}
	}
}

// dueLook tells whether it is time to look at the log.
func (f *follower) dueLook(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.rotation
	if f.reopen == nil || t.look.IsZero() || now.Before(t.look) {
		return false
	}
	t.quiet = min(2*t.quiet, longSilence)
	t.look = now.Add(t.quiet)
	return true
}

// lookAtSilence compares the log's last row with the one read last. When the engine has had a moment to send it, and has not,
// the log is opened again.
func (f *follower) lookAtSilence(ctx context.Context, e *engine) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	last, err := f.lastRow(ctx, e)
	if err != nil || last == nil {
		return
	}
	behind := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		at := f.read[last.stream]
		return last.time > at.high
	}
	if !behind() || !sleep(ctx, time.Second) || !behind() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reopen != nil {
		f.in.stats.reopened.Add(1)
		f.reopen(errAgain)
	}
}
