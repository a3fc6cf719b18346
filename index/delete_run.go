package index

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// The first steps of a job; those of Options.Reach have their own names.
const (
	stepLook     = "look"
	stepLog      = "log"
	stepSegments = "segments"
	stepReaders  = "readers" // the end of segments, while a reader still holds files that merges have replaced
)

// deleter is what the compacting goroutine knows of the job under way.
type deleter struct {
	c      *compactor
	job    *deletion
	rolled bool   // the log was rolled over for this job,
	last   uint64 // at this sequence
	seen   map[*segment.Segment]bool
	said   string // the error that was logged last
	events event.Event
	frame  block.Rows
}

// outcome is what a piece of work leaves.
type outcome int

const (
	again outcome = iota // there is more of the step
	wait                 // for a seal or for readers
	done                 // the step is behind
)

// next returns the oldest job that goes on, nil when there is none.
func (s *Store) nextDeletion() *deletion {
	d := &s.deletes
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, j := range d.jobs {
		if !j.State.Ended() {
			return j
		}
	}
	return nil
}

// step does the next piece of the oldest job. more is false when there is none, or when it has to wait or has failed: then it is
// tried again by the next tick.
func (d *deleter) step(ctx context.Context) (more bool) {
	s := d.c.s
	j := s.nextDeletion()
	if j != d.job {
		*d = deleter{c: d.c, job: j, seen: map[*segment.Segment]bool{}}
	}
	if j == nil {
		return false
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	s.deletes.mu.Lock()
	j.stop = cancel
	cancelled := j.Cancelled
	s.deletes.mu.Unlock()
	var did outcome
	var err error
	if !cancelled {
		did, err = d.work(inner, j)
	}
	s.deletes.mu.Lock()
	j.stop = nil
	cancelled = j.Cancelled
	s.deletes.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return false
	case cancelled && !j.State.Ended():
		did, err = again, d.end(ctx, j, query.DeleteCancelled, nil)
	}
	said := ""
	if err != nil {
		said = err.Error()
		if said != d.said {
			s.o.Log.Error("deleting does not come on; it is tried again", "deletion", j.ID, "error", err)
		}
	}
	d.said = said
	s.deletes.mu.Lock()
	if !j.State.Ended() {
		j.Error = said
	}
	s.deletes.mu.Unlock()
	return err == nil && did != wait
}

// work does one piece.
func (d *deleter) work(ctx context.Context, j *deletion) (outcome, error) {
	s := d.c.s
	if j.broken != nil {
		return again, d.end(ctx, j, query.DeleteFailed, j.broken)
	}
	if !j.Told {
		if err := d.tell(ctx, j, func(v *query.Deletion) { v.State = query.DeleteRunning }); err != nil {
			return again, err
		}
		return again, s.changeJob(j, func() { j.Told, j.State = true, query.DeleteRunning })
	}
	steps := []string{stepLook, stepLog, stepSegments}
	first := len(steps)
	for _, r := range s.o.Reach {
		steps = append(steps, r.Name)
	}
	i := slices.IndexFunc(steps, func(name string) bool { return !slices.Contains(j.Done, name) })
	if i < 0 {
		state := query.DeleteDone
		if len(j.Skipped) > 0 {
			state = query.DeleteIncomplete
		}
		return again, d.end(ctx, j, state, nil)
	}
	s.deletes.mu.Lock()
	j.Step = steps[i]
	s.deletes.mu.Unlock()
	did := done
	var err error
	switch i {
	case 0:
		err = d.look(ctx, j)
	case 1:
		did, err = d.log(j)
	case 2:
		if did, err = d.segments(ctx, j); did == done {
			s.sealed.drop() // what is told of them from now on is read from them
		}
	default:
		if err = s.o.Reach[i-first].Forget(ctx, &j.scope, j.Seen[steps[i]]); err != nil {
			err = fmt.Errorf("%s: %w", steps[i], err)
		}
	}
	if err == nil && did == done {
		did, err = again, s.changeJob(j, func() { j.Done = append(slices.Clone(j.Done), steps[i]) })
	}
	return did, err
}

// changeJob changes a job, durably; when it cannot, the job stays as it was.
func (s *Store) changeJob(j *deletion, change func()) error {
	s.deletes.mu.Lock()
	defer s.deletes.mu.Unlock()
	before := *j
	change()
	err := s.saveJob(j)
	if err != nil {
		*j = before
	}
	return err
}

// tell says how the job stands to whoever keeps the audit.
func (d *deleter) tell(ctx context.Context, j *deletion, change func(*query.Deletion)) error {
	s := d.c.s
	if s.o.OnDelete == nil {
		return nil
	}
	s.deletes.mu.Lock()
	v := j.view()
	s.deletes.mu.Unlock()
	if change(&v); !j.KeepQuery {
		v.Query = ""
	}
	if err := s.o.OnDelete(ctx, v); err != nil {
		return fmt.Errorf("the audit: %w", err)
	}
	return nil
}

// end ends the job, and lets go of those that ended long ago.
func (d *deleter) end(ctx context.Context, j *deletion, state query.DeleteState, why error) error {
	s := d.c.s
	ended := s.o.Now().UTC()
	change := func(v *query.Deletion) {
		v.State, v.Step, v.Ended, v.Error = state, "", ended, ""
		if why != nil {
			v.Error = why.Error()
		}
	}
	if err := d.tell(ctx, j, change); err != nil {
		return err
	}
	if err := s.changeJob(j, func() { change(&j.Deletion) }); err != nil {
		return err
	}
	s.o.Log.Info("deleting has ended", "deletion", j.ID, "state", state, "events", j.Deleted)
	return s.dropJobs()
}

// dropJobs keeps the last maxJobs of the jobs that have ended.
func (s *Store) dropJobs() error {
	d := &s.deletes
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.jobs) > maxJobs && d.jobs[0].State.Ended() {
		if err := s.o.FS.Remove(s.jobPath(d.jobs[0].ID)); err != nil {
			return fmt.Errorf("forgetting an old deletion: %w", err)
		}
		d.jobs = d.jobs[1:]
	}
	return nil
}

// look has what is beside the store look at the events before they go.
func (d *deleter) look(ctx context.Context, j *deletion) error {
	s := d.c.s
	seen := map[string][]byte{}
	for _, r := range s.o.Reach {
		if r.Look == nil {
			continue
		}
		data, err := r.Look(ctx, &j.scope)
		if err == nil && len(data) > MaxLooked {
			err = fmt.Errorf("%d bytes are to be noted, the most is %d", len(data), MaxLooked)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		seen[r.Name] = data
	}
	return s.changeJob(j, func() { j.Seen = seen })
}

// log sees to it that all events of the job are in segments and none in a file of the log.
func (d *deleter) log(j *deletion) (outcome, error) {
	s := d.c.s
	if !d.rolled {
		last, err := s.log.Roll()
		if err != nil {
			return again, err
		}
		d.rolled, d.last = true, last
	}
	s.mu.Lock()
	failed, sealed, nothing := s.failed, s.active.lo, s.active.bytes == 0
	if s.frozen != nil {
		sealed, nothing = s.frozen.lo, false
	}
	waits := sealed < d.last && !nothing
	if waits && s.frozen == nil {
		s.freeze()
	}
	s.mu.Unlock()
	switch {
	case failed != nil: // what is durable is not all in memory
		return again, failed
	case waits:
		return wait, nil // the sealer wakes the compactor
	}
	if err := s.log.Trim(d.last); err != nil {
		return again, err
	}
	if oldest := s.log.Oldest(); oldest <= j.MaxSeq {
		return again, fmt.Errorf("the log still begins at event %d", oldest)
	}
	return done, nil
}

// segments deals with one segment.
func (d *deleter) segments(ctx context.Context, j *deletion) (outcome, error) {
	s := d.c.s
	s.mu.RLock()
	segments, release := s.snapshot()
	s.mu.RUnlock()
	defer release()
	seen := map[*segment.Segment]bool{} // without those that are gone
	var next *segment.Segment
	all := 0
	for _, seg := range segments {
		if seg.Lo >= j.MaxSeq {
			continue
		}
		all++
		again := j.Rewriting != nil && j.Rewriting.Segment == seg.Name() && !d.seen[seg]
		if d.seen[seg] {
			seen[seg] = true
		} else if next == nil || again {
			next = seg
		}
	}
	d.seen = seen
	s.deletes.mu.Lock()
	j.Segments, j.Looked = all, len(seen)
	s.deletes.mu.Unlock()
	if next == nil {
		return d.leftBehind(j, segments)
	}
	fresh, err := d.rewrite(ctx, j, next)
	var bad *unreadable
	if errors.As(err, &bad) {
		err = d.skip(j, next.Name()+": "+bad.Error())
	}
	if err != nil {
		return again, err
	}
	d.seen[fresh] = true
	return again, nil
}

// skip notes a part of the store that stays as it is.
func (d *deleter) skip(j *deletion, text string) error {
	s := d.c.s
	if slices.Contains(j.Skipped, text) || len(j.Skipped) >= maxSkipped {
		return nil
	}
	s.o.Log.Error("part of the store cannot be read and may still hold what is deleted", "deletion", j.ID, "error", text)
	return s.changeJob(j, func() { j.Skipped = append(slices.Clone(j.Skipped), text) })
}

// leftBehind looks for files of segments that are not in use. One that a reader still holds will go; one that was set aside
// because it is damaged stays.
func (d *deleter) leftBehind(j *deletion, segments []*segment.Segment) (outcome, error) {
	s := d.c.s
	names, err := s.o.FS.ReadDir(s.segmentDir())
	if err != nil {
		return again, err
	}
	did := done
	for _, name := range names {
		lo, hi, class, ok := segment.ParseName(name)
		if !ok || lo >= j.MaxSeq || slices.ContainsFunc(segments, func(seg *segment.Segment) bool { return seg.Name() == name }) {
			continue
		}
		if slices.ContainsFunc(segments, func(seg *segment.Segment) bool { return seg.Class == class && seg.Lo >= lo && seg.Hi <= hi }) {
			if err := d.skip(j, name+": it is damaged, and not used since others hold its events"); err != nil {
				return again, err
			}
			continue
		}
		did = wait
	}
	if did == wait {
		s.deletes.mu.Lock()
		j.Step = stepReaders
		s.deletes.mu.Unlock()
	}
	return did, nil
}

// rewrite puts a segment without the job's events into the place of one that has some, and returns what is there then. The error
// is an *unreadable when the segment has damage that keeps it from being read, and is as it was.
func (d *deleter) rewrite(ctx context.Context, j *deletion, seg *segment.Segment) (*segment.Segment, error) {
	s := d.c.s
	if len(seg.Damage) > 0 {
		return nil, &unreadable{seg, seg.Damage[0]}
	}
	r := &rewriting{d: d, ctx: ctx, seg: seg, since: time.Now(), drop: map[*segment.Entry]bitset.Set{}}
	err := r.find(&j.scope)
	name := seg.Name()
	if was := j.Rewriting; err == nil && was != nil && was.Segment == name && r.dropped == 0 { // a crash came behind the rename
		err = s.changeJob(j, func() { j.Deleted, j.Rewriting = j.Deleted+was.Events, nil })
	}
	if err != nil || r.dropped == 0 {
		return seg, err
	}
	w, err := segment.NewWriter(s.o.FS, s.segmentDir(), seg.Lo, seg.Hi, seg.Class)
	if err != nil {
		return nil, err
	}
	w.GiveWay = r.d.c.polite.giveWay
	if err = r.write(w); err == nil {
		err = s.changeJob(j, func() { j.Rewriting = &rewritingNow{name, r.dropped} })
	}
	if err != nil {
		w.Abort()
		return nil, err
	}
	fresh, err := w.Replace(r.check)
	if err != nil {
		return nil, err
	}
	if err := s.exchange([]*segment.Segment{seg}, []*segment.Segment{fresh}, true); err != nil {
		s.o.Log.Warn("a segment that was rewritten could not be closed", "segment", name, "error", err)
	}
	s.stats.deleted.Add(r.dropped)
	return fresh, s.changeJob(j, func() { j.Deleted, j.Rewriting = j.Deleted+r.dropped, nil })
}

// rewriting is one segment on its way to be without some events.
type rewriting struct {
	d       *deleter
	ctx     context.Context
	seg     *segment.Segment
	since   time.Time
	set     bitset.Set
	drop    map[*segment.Entry]bitset.Set // of the blocks that lose rows, which; nil when all
	dropped int64                         // rows
}

// rest gives the cores to others after a piece of work.
func (r *rewriting) rest() error {
	c := r.d.c
	c.urgent = false
	err := c.rest(r.ctx, time.Since(r.since))
	r.since = time.Now()
	return err
}

// failed tells a block that cannot be read from other errors.
func (r *rewriting) failed(err error) error {
	if errors.Is(err, block.ErrCorrupt) || errors.Is(err, block.ErrVersion) {
		return &unreadable{r.seg, err}
	}
	return err
}

// find finds the rows that are to go.
func (r *rewriting) find(scope *query.DeleteScope) error {
	p := newPlan(&query.Request{Query: scope.Query, Since: scope.Since, Until: scope.Until, MaxSeq: scope.MaxSeq}, scope.MaxSeq)
	var scan query.Scan
	pieces := p.pieces(r.seg, &scan, func(err error) {
		r.d.c.s.o.Log.Warn("part of a segment's footer cannot be read; its blocks are searched without", "error", err)
	})
	for i := range pieces {
		pc := &pieces[i]
		rows, err := r.rows(&p, pc)
		if err != nil {
			return r.failed(pc.entry.Corrupt(err))
		}
		if n := rows.Count(); n == pc.entry.Rows {
			r.drop[pc.entry], r.dropped = nil, r.dropped+int64(n)
		} else if n > 0 {
			r.drop[pc.entry], r.dropped = rows.Clone(), r.dropped+int64(n)
		}
		if err := r.rest(); err != nil {
			return err
		}
	}
	return nil
}

// rows returns the rows of a block that are to go, valid until the next call.
func (r *rewriting) rows(p *plan, pc *piece) (bitset.Set, error) {
	e := pc.entry
	if pc.counted() && pc.least == e.Rows {
		return bitset.Full(e.Rows), nil
	}
	b, err := e.Open()
	if err != nil {
		return nil, err
	}
	if !e.Columnar() {
		return r.plain(p, e, b)
	}
	t, err := b.Table()
	if err != nil {
		return nil, err
	}
	r.set, _, err = p.rows(pc, t, r.set)
	return r.set, err
}

// plain is rows for a block of plain rows.
func (r *rewriting) plain(p *plan, e *segment.Entry, b *block.Block) (bitset.Set, error) {
	set, row := bitset.New(e.Rows), 0
	for i := range b.Frames {
		if err := b.Frame(i, &r.d.frame); err != nil {
			return nil, err
		}
		data := r.d.frame.Data
		for _, seq := range r.d.frame.Seqs {
			n, at, _, err := event.Peek(data)
			if err != nil || row == e.Rows {
				return nil, fmt.Errorf("%w: row %d: %w", block.ErrCorrupt, row, err)
			}
			if p.has(at, seq) {
				hit, err := p.match(data[:n], seq, &r.d.events, 0)
				if err != nil {
					return nil, fmt.Errorf("%w: row %d: %w", block.ErrCorrupt, row, err)
				}
				if hit {
					set.Add(row)
				}
			}
			data = data[n:]
			row++
		}
	}
	return set, nil
}

// write writes the segment without these rows: what loses none is copied as it is.
func (r *rewriting) write(w *segment.Writer) error {
	for _, e := range r.seg.Blocks {
		if err := r.block(w, e); err != nil {
			return err
		}
		if err := r.rest(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriting) block(w *segment.Writer, e *segment.Entry) error {
	rows, loses := r.drop[e]
	if loses && rows == nil {
		return nil
	}
	if _, err := e.Open(); err != nil { // damage is not passed on
		return r.failed(err)
	}
	if !loses {
		err := w.Copy(e)
		if !errors.Is(err, segment.ErrNoFooter) {
			return r.failed(err)
		}
	}
	c := r.d.c
	if c.builder == nil {
		var err error
		if c.builder, err = newBlockBuilder(c.polite); err != nil {
			return err
		}
	}
	c.loaded.reset(int(e.Bytes))
	if err := c.loaded.load(e); err != nil {
		return r.failed(e.Corrupt(err))
	}
	kept, received := c.loaded.without(rows)
	return c.builder.add(w, kept, received)
}

// check tells whether the new segment holds what is to be kept.
func (r *rewriting) check(fresh *segment.Segment) error {
	rows := -r.dropped
	for _, e := range r.seg.Blocks {
		rows += int64(e.Rows)
	}
	for _, e := range fresh.Blocks {
		rows -= int64(e.Rows)
	}
	if rows != 0 {
		return fmt.Errorf("%d events are missing", rows)
	}
	return errors.Join(fresh.Damage...)
}
