package docker

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// gather is the time at whose multiples batches are appended: those of all containers then share an fsync.
	gather = 100 * time.Millisecond
	// A batch of so many bytes or lines is appended at once.
	maxBatchBytes = 256 << 10
	maxBatchLines = 2000
	// pieceWait is how long a line waits for its next piece before it is let go as it is.
	pieceWait = 5 * time.Second
	// A reader that has read all that was there rests, so that it is woken once for many rows: for restLong, and for restShort
	// when more than restRows have come since the last rest, or the log is so small that it soon rotates.
	restLong  = 40 * time.Millisecond
	restShort = 2 * time.Millisecond
	restRows  = 32
	smallLog  = 1 << 20
	// wellAfter is how long a log must have been followed for the next error to count as the first.
	wellAfter = 10 * time.Second
)

// follower reads the log of one container into events, over all its starts, until it is removed.
//
//	rows ─► skipper (resuming) ─► rotation ─► line (pieces) ─► batch ─► Joiner ─► Stages ─► Sink
//	                                                  └ marks: where each line ends that is not yet in an appended event
//
// One goroutine reads and appends; timers append what waits when nothing is read.
type follower struct {
	in       *Input
	id       string
	producer string
	from     int64         // read from here when the log was never read before
	wake     chan struct{} // the container was started (capacity 1)
	gone     chan struct{} // closed: it was removed
	labels   atomic.Pointer[labels]
	rescue   atomic.Pointer[rescue] // set before the first start, nil: none
	opened   atomic.Bool            // the log could be opened
	died     atomic.Bool            // since the last start
	since    atomic.Int64           // the last start that isRunning was told
	reading  atomic.Bool            // the log is being followed

	autoRemove bool // it is removed when it has ended

	mu     lock // for all below; the reader holds it while it takes a row
	ctx    context.Context
	failed error // append's, for good: ctx has ended

	tty      bool
	anyTime  bool                    // pieces of a line have times of their own (journald)
	rotation *rotation               // nil: the log is never rotated
	reopen   context.CancelCauseFunc // of the present session, nil: there is none
	next     uint64
	read     cursor // behind the last row taken
	done     cursor // what all events appended so far, or in batch and complete, have covered
	skip     [streams]skipper
	check    stream // whose row must be there when the log is opened again
	suspect  string // rows may be lost in front of the next one, and why
	suspectT int64  // since when
	gaps     gaps
	lines    [streams]line
	marks    [streams][]position
	counted  [streams]int // lines taken, empty ones too: what a rescue is compared with
	small    bool         // the log soon rotates
	reached  bool         // rows older than from were seen

	batch  event.Batch
	bytes  int
	using  *labels // of the lines in batch and joiner
	joiner Joiner
	stages []collector.Stage
	timer  *time.Timer
	due    time.Time // of batch, zero when it is empty
	held   time.Time // when the joiner is to be asked again, zero when it holds nothing
}

// lock is a mutex that is held for long, while the sink takes nothing. A goroutine that waits for it counts as one that waits
// for time to go on in tests (testing/synctest), which one that waits for a sync.Mutex does not.
type lock chan struct{}

func (l lock) Lock()   { l <- struct{}{} }
func (l lock) Unlock() { <-l }

// line is what has come of a line in pieces.
type line struct {
	open bool
	time int64
	text []byte
	end  position
	due  time.Time
	cut  bool
}

// labels is what all events of a container have in common. It does not change once made.
type labels struct {
	service, env, host, container []byte
	fields                        []event.Field
}

var (
	fieldVersion     = []byte("version")
	fieldContainerID = []byte("container_id")
)

func newLabels(host string, d *details) *labels {
	n := nameOf(d.labels, d.name, d.image)
	l := &labels{service: []byte(n.service), env: []byte(n.env), host: []byte(host), container: []byte(d.name)}
	if n.version != "" {
		l.fields = append(l.fields, event.Field{Name: fieldVersion, Value: []byte(n.version)})
	}
	l.fields = append(l.fields, event.Field{Name: fieldContainerID, Value: []byte(shortOf(d.id))})
	return l
}

func (l *labels) equal(o *labels) bool {
	if !bytes.Equal(l.service, o.service) || !bytes.Equal(l.env, o.env) || !bytes.Equal(l.host, o.host) ||
		!bytes.Equal(l.container, o.container) || len(l.fields) != len(o.fields) {
		return false
	}
	for i := range l.fields {
		if !bytes.Equal(l.fields[i].Value, o.fields[i].Value) {
			return false
		}
	}
	return true
}

// shortOf returns an id as people know it.
func shortOf(id string) string { return id[:min(len(id), 12)] }

func (in *Input) newFollower(d *details, from int64) *follower {
	f := &follower{
		in: in, mu: make(lock, 1), id: d.id, producer: "docker/" + d.id, from: from, wake: make(chan struct{}, 1), gone: make(chan struct{}),
		tty: d.tty, anyTime: d.driver == "journald", autoRemove: d.autoRemove,
	}
	if d.rotated > 0 {
		f.rotation, f.small = &rotation{size: d.rotated, waits: d.driver == "local", compressed: d.compressed, tail: firstTail}, d.rotated < smallLog
	}
	if in.o.Joiner != nil {
		f.joiner = in.o.Joiner()
	}
	if in.o.Stages != nil {
		f.stages = in.o.Stages()
	}
	return f
}

// startedNow tells the follower that its container has been started.
func (f *follower) startedNow() {
	f.died.Store(false)
	f.stir()
	if f.rescue.Load() != nil {
		time.AfterFunc(rescueFor, func() {
			if f.opened.Load() {
				f.drop()
			}
		})
	}
}

// isRunning tells the follower that its container was found running, since when. It matters only to one that waits for the
// start, whose event was missed.
func (f *follower) isRunning(since int64) {
	if f.since.Swap(since) != since && !f.reading.Load() {
		f.stir()
	}
}

func (f *follower) stir() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// begin makes the follower ready to append.
func (f *follower) begin(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ctx = ctx
	f.load()
	f.timer = time.AfterFunc(time.Hour, f.tick)
	f.timer.Stop()
}

// close ends the timer's work.
func (f *follower) close() {
	f.mu.Lock()
	f.timer.Stop()
	f.failed = cmpErr(f.failed, context.Canceled)
	f.mu.Unlock()
	f.drop()
}

// runRemoved appends what is known of a container that was removed before its log could be opened.
func (f *follower) runRemoved(ctx context.Context) {
	f.begin(ctx)
	defer f.close()
	f.end(ctx, false)
}

// run follows until the container is removed, its log cannot be read, or ctx ends. d is how the container was found.
func (f *follower) run(ctx context.Context, d *details) {
	f.begin(ctx)
	defer f.close()
	nothing := d.started == 0 || !d.running() && f.read == cursor{} && d.finished < f.from // yet to be read
	if nothing && f.wait(ctx, forever) != wasStarted {
		return
	}
	if d.autoRemove {
		switch f.spare(ctx, d.started) {
		case wasRemoved:
			f.end(ctx, false)
			return
		case hasEnded:
			return
		}
	}
	wait := backoff{first: firstWait, longest: 30 * time.Second}
	well, open := false, true // the log was read to its end; it may be opened
	for ctx.Err() == nil {
		e := f.in.engine(ctx)
		if e == nil {
			return
		}
		var err error
		if open && !(f.autoRemove && f.died.Load()) {
			begun, rows := time.Now(), 0
			select {
			case <-f.wake: // this is the start that is waited for
			default:
			}
			f.reading.Store(true)
			rows, err = f.session(ctx, e, true)
			f.reading.Store(false)
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, errAgain):
				continue
			case isUnreadable(err):
				f.in.unreadable(f.id)
				return
			case err != nil && !isGone(err):
				f.in.stats.apiErrors.Add(1)
			}
			if well = err == nil; rows > 0 || time.Since(begun) > wellAfter {
				wait.reset()
			}
		}
		open = true
		d, ierr := e.inspect(ctx, f.id)
		switch {
		case ctx.Err() != nil:
			return
		case isGone(ierr):
			f.end(ctx, well)
			return
		case ierr != nil:
			err = cmpErr(err, ierr)
			f.in.stats.apiErrors.Add(1)
		case d.state == "removing" || d.state == "dead" || d.autoRemove && !d.running():
			// Reading the log of a container that does not run makes the file again if it is gone (moby daemon/logs.go,
			// getLogger), and then its folder cannot be removed.
			if what := f.wait(ctx, longWait); what == wasRemoved {
				f.end(ctx, well)
				return
			} else if what == hasEnded {
				return
			} else if what == isLate {
				open = false
			}
			continue
		case well && !d.running():
			f.settle()
			switch f.wait(ctx, catchUp) {
			case wasStarted: // what is missing comes with what it writes now
				continue
			case wasRemoved:
				f.end(ctx, true)
				return
			case hasEnded:
				return
			}
			if _, err = f.session(ctx, e, false); err == nil {
				f.settle()
				f.drop()
				if what := f.wait(ctx, forever); what == wasRemoved {
					f.end(ctx, true)
					return
				} else if what == hasEnded {
					return
				}
				wait.reset()
				continue
			}
		}
		if err != nil {
			f.in.stats.reopened.Add(1)
			f.note(err)
		}
		if what := f.wait(ctx, wait.next()); what == hasEnded {
			return
		} else if what == wasRemoved && !sleep(ctx, firstWait) {
			return
		}
	}
}

// spareFor is how long a container that is removed when it ends must run before its log is opened.
const spareFor = 2 * time.Second

// spare leaves the log of a container alone that may end and be removed at any moment: a log that is opened while its
// container dies is made again (see run), and docker run --rm fails with exit code 125. What such a container writes, the
// rescue has.
func (f *follower) spare(ctx context.Context, started int64) occasion {
	until := time.Now().Add(spareFor)
	if at := time.Unix(0, started).Add(spareFor); started != 0 && at.Before(until) {
		until = at
	}
	for {
		left := time.Until(until)
		if left <= 0 {
			return isLate
		}
		if what := f.wait(ctx, left); what != wasStarted {
			return what
		}
	}
}

// catchUp is how long after a container's end its log is read once more, for what the daemon had not yet written when it
// ended the log. It is not done at once, for then a container that is removed as soon as it ended may be in the way.
const catchUp = 3 * time.Second

const forever = time.Duration(math.MaxInt64)

// What ended a wait.
type occasion uint8

const (
	isLate     occasion = iota // the time is over
	wasStarted                 // the container
	wasRemoved                 // the container
	hasEnded                   // ctx
)

// wait waits for what happens to the container.
func (f *follower) wait(ctx context.Context, d time.Duration) occasion {
	select { // a start comes before a removal
	case <-f.wake:
		return wasStarted
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.wake:
		return wasStarted
	case <-f.gone:
		return wasRemoved
	case <-t.C:
		return isLate
	case <-ctx.Done():
		return hasEnded
	}
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// load takes from the sink how far the log was read. mu is held.
func (f *follower) load() {
	f.next = 1
	next, data, ok := f.in.o.Sink.Producer(f.producer)
	if !ok {
		return
	}
	f.next = max(next, 1)
	c, err := decodeCursor(data)
	if err != nil {
		f.in.o.Log.Warn("docker: it is not known how far a log was read; it is read as that of a new container",
			"container", shortOf(f.id), "error", err)
		return
	}
	f.read, f.done = c, c
}

var (
	// errAgain asks for the log to be opened again at once.
	errAgain = errors.New("docker: read again")
	// errLook asks for a look at the log before the row is taken.
	errLook = errors.New("docker: rows may be missing")
)

// session opens the log where it was left and reads to its end. rows is how many new ones came.
func (f *follower) session(ctx context.Context, e *engine, follow bool) (rows int, err error) {
	ctx, cancelCause := context.WithCancelCause(ctx)
	f.mu.Lock()
	since := f.read.since(f.tty)
	f.skipTo()
	if since == 0 {
		since = f.from
	}
	tail := 0
	if t := f.rotation; t != nil && t.compressed && since != 0 {
		since, tail = 0, t.tail
	}
	if follow {
		f.reopen = cancelCause
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.reopen = nil
		f.mu.Unlock()
		if context.Cause(ctx) == errAgain {
			err = errAgain
		}
		cancelCause(nil)
	}()
	body, err := e.logs(ctx, f.id, since, tail, follow)
	if err != nil {
		return 0, err
	}
	defer body.Close()
	f.opened.Store(true)
	counted := &countingReader{r: body}
	reader := f.reader(counted)
	some := 0 // rows since the last rest
	for {
		before := counted.reads
		r, err := reader.next()
		if err == io.EOF {
			return rows, f.ended()
		}
		if err != nil {
			return rows, err
		}
		f.mu.Lock()
		fresh, err := f.take(&r)
		f.mu.Unlock()
		if err == errLook {
			fresh, err = f.takeAfterLook(ctx, e, &r)
		}
		if err != nil {
			return rows, err
		}
		if fresh {
			rows++
		}
		// It had to be waited for this row, and little came: let some more come before the next read.
		some++
		if follow && counted.reads != before && counted.last < readBuffer/2 {
			rest := restLong
			if some > restRows || f.small {
				rest = restShort
			}
			some = 0
			if !sleep(ctx, rest) {
				return rows, ctx.Err()
			}
		}
	}
}

func (f *follower) reader(r io.Reader) rowReader {
	if f.tty {
		return &ttyReader{r: bufio.NewReaderSize(r, ttyBuffer), now: func() int64 { return time.Now().UnixNano() }}
	}
	return &muxReader{r: bufio.NewReaderSize(r, readBuffer), oversize: &f.in.stats.oversize}
}

// lastRow returns the log's last row, nil when it has none.
func (f *follower) lastRow(ctx context.Context, e *engine) (*row, error) {
	body, err := e.logs(ctx, f.id, 0, 1, false)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	r, err := f.reader(body).next()
	if err == io.EOF {
		return nil, nil
	}
	return &r, err
}

// ended looks at a clean end: if the row was not met behind which to go on, rows behind it may have gone with it.
func (f *follower) ended() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &f.skip[f.check]
	if s.done || s.seen > 0 || s.to.count == 0 || f.failed != nil {
		return f.failed
	}
	if f.readMore() {
		return errAgain
	}
	if err := f.flush(true); err != nil {
		return err
	}
	f.read[f.check].count = 0
	f.done = f.read
	f.in.stats.gaps.Add(1)
	return f.tell(s.to.time, 0, lostPosition)
}

const lostPosition = "the log no longer has the line up to which it was read"

// takeAfterLook takes a row in front of which others may be missing.
func (f *follower) takeAfterLook(ctx context.Context, e *engine, r *row) (fresh bool, err error) {
	what, err := f.look(ctx, e, r)
	if err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rotation.looked(what, r.time)
	switch what {
	case someMissing:
		return false, errAgain
	case allGone:
		f.doubt(lostPosition)
	}
	return f.take(r)
}

// countingReader knows how much the last read brought.
type countingReader struct {
	r     io.Reader
	reads int
	last  int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.reads++
	c.last = n
	return n, err
}

// take takes a row. fresh: it was not taken before. mu is held.
func (f *follower) take(r *row) (fresh bool, err error) {
	if f.failed != nil {
		return false, f.failed
	}
	hash := hashRow(r)
	if f.rotation != nil {
		if old, err := f.rotated(r, hash); old || err != nil {
			return false, err
		}
	} else if old, err := f.skips(r, hash); old || err != nil {
		return false, err
	}
	if f.suspect != "" {
		if err := f.gap(r); err != nil {
			return false, err
		}
	}
	f.in.stats.rows.Add(1)
	f.in.stats.bytes.Add(int64(len(r.text)))
	at := f.read[r.stream].after(r.time, hash)
	f.read[r.stream] = at
	return true, f.addRow(r, at)
}

// skips tells whether a row is in front of where the log was opened again. mu is held.
func (f *follower) skips(r *row, hash uint32) (old bool, err error) {
	switch f.skip[r.stream].row(r.time, hash) {
	case isOld:
		f.in.stats.again.Add(1)
		return true, nil
	case isAnother:
		f.read[r.stream] = f.skip[r.stream].correct()
		return true, errAgain
	case isLost:
		if r.stream != f.check {
			break
		}
		if f.readMore() {
			return true, errAgain
		}
		f.doubt(lostPosition)
	}
	if f.rotation != nil && f.rotation.compressed {
		if f.read == (cursor{}) && f.from != 0 { // it was not asked for what came since then, but for the last rows
			if r.time < f.from {
				f.reached = true
				return true, nil
			}
			if !f.reached && f.readMore() {
				return true, errAgain
			}
		}
		f.rotation.tail = firstTail
	}
	return false, nil
}

// readMore tells whether the log is to be opened again for more of its last rows: so far they do not reach back to where it
// was left. mu is held.
func (f *follower) readMore() bool {
	t := f.rotation
	if t == nil || !t.compressed || t.tail == 0 {
		return false
	}
	t.tail = moreTail(t.tail)
	return true
}

// rotated is skips for a log that is rotated: it also tells whether a row comes once more, and asks for a look when rows may be
// missing in front of this one. mu is held.
func (f *follower) rotated(r *row, hash uint32) (old bool, err error) {
	t := f.rotation
	identity := identityOf(r, hash)
	now := time.Now()
	if f.skip[r.stream].done {
		old, replay := t.before(identity, f.read[r.stream], &f.read, f.lines[r.stream].open, r.more() && filler(r.text), now.UnixNano())
		if old {
			if t.replay = replay; replay {
				f.skipTo()
				f.skip[r.stream].row(r.time, hash)
			}
			f.in.stats.duplicates.Add(1)
			return true, nil
		}
	}
	if old, err := f.skips(r, hash); old || err != nil {
		if old && !t.replay {
			t.rows.add(identity)
		}
		return old, err
	}
	t.replay = false
	if !t.trust && t.jumped(r.time) {
		return false, errLook
	}
	t.trust = false
	t.rows.add(identity)
	t.add(r.time, len(r.text), now)
	t.heard(now)
	return false, nil
}

// skipTo makes what is in front of the read position be dropped. mu is held.
func (f *follower) skipTo() {
	f.check = f.read.latest()
	for s := range f.skip {
		f.skip[s] = newSkipper(f.read[s])
	}
}

// doubt notes that rows may be missing in front of the next one. mu is held.
func (f *follower) doubt(why string) {
	if f.suspect == "" {
		f.suspect, f.suspectT = why, f.read[f.read.latest()].time
	}
}

// note keeps an error in mind that may mean loss: the daemon gave up reading a log that is rotated.
func (f *follower) note(err error) {
	var system *systemError
	switch {
	case errors.As(err, &system) && f.rotation != nil:
		f.mu.Lock()
		f.doubt(system.Error())
		f.mu.Unlock()
	case errors.Is(err, errGarbage):
		f.in.complain("garbage", "docker: a log could not be read; it is opened again", "container", shortOf(f.id), "error", err)
	}
}

// addRow makes the row a part of its line. mu is held.
func (f *follower) addRow(r *row, at position) error {
	l := &f.lines[r.stream]
	if l.open && r.time != l.time && !f.anyTime {
		if err := f.complete(r.stream); err != nil {
			return err
		}
	}
	if !l.open {
		if !r.more() {
			return f.addLine(r.stream, r.time, r.text, at, false)
		}
		l.open, l.time, l.cut = true, r.time, false
	}
	keep := min(len(r.text), maxText-len(l.text))
	l.text = append(l.text, r.text[:keep]...)
	l.cut = l.cut || keep < len(r.text)
	l.end = at
	if !r.more() {
		return f.complete(r.stream)
	}
	l.due = time.Now().Add(pieceWait)
	f.schedule()
	return nil
}

// complete ends the line of a stream. mu is held.
func (f *follower) complete(s stream) error {
	l := &f.lines[s]
	text := l.text
	l.open, l.text = false, l.text[:0]
	if cap(l.text) > keepBuffer {
		l.text = nil
	}
	return f.addLine(s, l.time, text, l.end, l.cut)
}

// addLine adds an event, and appends the batch when it is full. mu is held.
func (f *follower) addLine(s stream, at int64, text []byte, end position, cut bool) error {
	f.counted[s]++
	if f.tty {
		text = bytes.TrimSuffix(text, carriageReturn)
	}
	if len(text) == 0 {
		f.in.stats.empty.Add(1)
		if m := f.marks[s]; len(m) > 0 {
			m[len(m)-1] = end // it is in front of what follows the line before it
		} else {
			f.done[s] = end
		}
		return nil
	}
	if l := f.labels.Load(); l != f.using {
		// Lines with another name are not joined with these.
		if f.using != nil && !f.using.equal(l) {
			if err := f.flush(true); err != nil {
				return err
			}
		}
		f.using = l
	}
	e := f.event(s, at, text)
	if len(text) > event.MaxMessage {
		f.batch.Clamp(e)
		cut = true
	}
	if cut {
		f.in.stats.truncated.Add(1)
	}
	f.marks[s] = append(f.marks[s], end)
	f.bytes += len(text)
	if f.bytes >= maxBatchBytes || len(f.batch.Events) >= maxBatchLines {
		return f.flush(false)
	}
	if f.due.IsZero() {
		now := time.Now()
		f.due = now.Truncate(gather).Add(gather)
		f.schedule()
	}
	return nil
}

var carriageReturn = []byte{'\r'}

// event adds a line's event to the batch. mu is held.
func (f *follower) event(s stream, at int64, text []byte) *event.Event {
	e := f.batch.Add()
	l := f.using
	e.Time, e.Stream, e.Message = at, streamNames[s], f.batch.Copy(text)
	e.Service, e.Env, e.Host, e.Container = l.service, l.env, l.host, l.container
	for _, field := range l.fields {
		f.batch.AddField(e, field)
	}
	return e
}

// schedule sets the timer to what is due first. mu is held.
func (f *follower) schedule() {
	var first time.Time
	var gaps time.Time
	if f.gaps.n > 0 {
		gaps = f.gaps.last.Add(gapEvery)
	}
	for _, t := range [...]time.Time{f.due, f.held, gaps, f.lines[stdout].dueIf(), f.lines[stderr].dueIf()} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	if !first.IsZero() {
		f.timer.Reset(time.Until(first))
	}
}

func (l *line) dueIf() time.Time {
	if !l.open {
		return time.Time{}
	}
	return l.due
}

// tick does what is due.
func (f *follower) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed != nil {
		return
	}
	now := time.Now()
	for s := range f.lines {
		if l := &f.lines[s]; l.open && !l.due.After(now) {
			if f.complete(stream(s)) != nil {
				return
			}
		}
	}
	if dueBy(f.due, now) || dueBy(f.held, now) {
		if f.flush(false) != nil {
			return
		}
	}
	if f.gaps.n > 0 && now.Sub(f.gaps.last) >= gapEvery && f.tellGaps() != nil {
		return
	}
	f.schedule()
}

func dueBy(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// settle makes events of all that was read. The log has ended.
func (f *follower) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settleLocked()
}

func (f *follower) settleLocked() {
	if f.failed != nil {
		return
	}
	for s := range f.lines {
		if f.lines[s].open && f.complete(stream(s)) != nil {
			return
		}
	}
	if f.flush(true) == nil { // else the error is ctx's: the rows will be read again
		_ = f.tellGaps()
	}
}

// flush appends what is complete, all that is there if all is set. mu is held; the error is ctx's.
func (f *follower) flush(all bool) error {
	now := time.Now()
	f.due, f.held, f.bytes = time.Time{}, time.Time{}, 0
	if f.joiner != nil {
		f.joiner.Join(&f.batch, now.UnixNano())
		if next := f.joiner.Flush(&f.batch, now.UnixNano(), all); next != 0 {
			f.held = time.Unix(0, next)
		}
	}
	for s := range f.marks {
		held := 0
		if f.joiner != nil {
			held = f.joiner.Held(streamNames[s])
		}
		if n := len(f.marks[s]) - held; n > 0 {
			f.done[s] = f.marks[s][n-1]
			f.marks[s] = append(f.marks[s][:0], f.marks[s][n:]...)
		}
	}
	if len(f.batch.Events) > 0 {
		for _, stage := range f.stages {
			stage.Process(&f.batch)
		}
		if err := f.store(); err != nil {
			return err
		}
	}
	f.batch.Reset()
	if !f.held.IsZero() {
		f.schedule()
	}
	return nil
}

// store appends the batch. mu is held; the error is ctx's.
func (f *follower) store() error {
	f.batch.Producer, f.batch.FirstSeq, f.batch.Cursor = f.producer, f.next, f.done.encode()
	if err := f.in.append(f.ctx, &f.batch); err != nil {
		f.failed = err
		return err
	}
	f.next += uint64(len(f.batch.Events))
	f.in.stats.events.Add(int64(len(f.batch.Events)))
	return nil
}

// gaps are those that wait to be told, as one: where lines are lost they are lost often.
type gaps struct {
	last     time.Time // when one was told
	n        int
	from, to int64
	why      string
}

// gapEvery is the least time between two events about gaps of one container.
const gapEvery = 10 * time.Second

// gap tells that rows in front of r are or may be missing, or notes it if that was told lately. The cursor that is stored with
// the event stands at r, so that it is told once. mu is held; the error is ctx's.
func (f *follower) gap(r *row) error {
	why, from := f.suspect, f.suspectT
	f.suspect = ""
	f.in.stats.gaps.Add(1)
	g := &f.gaps
	if now := time.Now(); now.Sub(g.last) < gapEvery {
		if g.n == 0 {
			g.from, g.why = from, why
		}
		g.n++
		g.to = r.time
		f.schedule()
		return nil
	}
	for s := range f.lines {
		if f.lines[s].open {
			if err := f.complete(stream(s)); err != nil {
				return err
			}
		}
	}
	if err := f.flush(true); err != nil {
		return err
	}
	p := &f.read[r.stream]
	*p = position{time: r.time, high: max(p.high, r.time)}
	f.done[r.stream] = *p
	return f.tell(from, r.time, why)
}

// tellGaps tells of those that wait. mu is held; the error is ctx's.
func (f *follower) tellGaps() error {
	g := f.gaps
	if g.n == 0 {
		return nil
	}
	f.gaps = gaps{}
	if g.n > 1 {
		g.why = fmt.Sprintf("%s (%d times)", g.why, g.n)
	}
	if err := f.flush(true); err != nil {
		return err
	}
	return f.tell(g.from, g.to, g.why)
}

// tell appends an event about a gap in the log between two times, to 0 for its end. mu is held; the error is ctx's.
func (f *follower) tell(from, to int64, why string) error {
	f.gaps.last = time.Now()
	f.using = f.labels.Load()
	l := f.using
	text := fmt.Sprintf("container %s: lines may be missing", l.container)
	if from != 0 {
		text += " from " + clock(from)
	}
	at := to
	if to != 0 {
		text += " to " + clock(to)
	} else {
		at = time.Now().UnixNano()
	}
	e := f.event(stdout, at, []byte(text+": "+why))
	e.Stream, e.Level = streamDocker, event.Warning
	f.batch.AddField(e, event.Field{Name: fieldAction, Value: []byte("gap")})
	err := f.store()
	f.batch.Reset()
	return err
}

// clock writes a time for people, in UTC.
func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }
