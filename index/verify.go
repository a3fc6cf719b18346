package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/vfs"
	"github.com/lookoutlog/lookout/internal/wal"
)

// Problem is something of a store that is damaged, or contradicts something else of it.
type Problem struct {
	File   string `json:"file"` // below the data folder
	Offset int64  `json:"offset"`
	What   string `json:"what"`
	Cost   string `json:"cost"` // what cannot be had because of it
	Mend   string `json:"mend"`
}

// Verified says what [Snapshot.Verify] read, and what it found.
type Verified struct {
	Segments int       `json:"segments"`
	Blocks   int       `json:"blocks"`
	Events   int64     `json:"events"` // in segments
	Logged   int64     `json:"logged"` // events in the log; some are in segments as well
	Bytes    int64     `json:"bytes"`
	Problems []Problem `json:"problems"`
}

const (
	mendBlock  = "take the file from a backup that has it (`lookout restore` into another folder), with the server stopped; without one, what can be read stays readable"
	mendFooter = "take the file from a backup that has it (`lookout restore` into another folder), with the server stopped; nothing is lost without"
	mendLog    = "take the events from a backup (`lookout restore` into another folder, `lookout export` there and `lookout import` here); senders that count may send them again by themselves"
)

// Verify reads the store and compares every checksum; with deep set also what the parts say of each other: each segment's footer with its
// blocks' events, the segments' ranges, the log and the state file with the segments. progress is called with the bytes done of all; it may be
// nil. The error is ctx's, or one of reading a folder: damage is no error.
func (s *Snapshot) Verify(ctx context.Context, deep bool, progress func(done, total int64)) (*Verified, error) {
	v := &Verified{Problems: []Problem{}}
	total, done := int64(0), int64(0)
	for i := range s.Files {
		total += s.Files[i].Size
	}
	step := func(n int64) {
		if done += n; progress != nil {
			progress(done, total)
		}
	}
	for _, seg := range s.segments {
		flaws, err := seg.Verify(ctx, deep, step)
		if err != nil {
			return nil, err
		}
		v.Segments++
		v.Blocks += len(seg.Blocks)
		v.Bytes += seg.Size()
		for _, b := range seg.Blocks {
			v.Events += int64(b.Rows)
		}
		for _, f := range flaws {
			p := Problem{File: "store/segments/" + seg.Name(), Offset: f.Offset, What: f.Err.Error(), Cost: "searches of this segment may take longer; no event is lost", Mend: mendFooter}
			if b := f.Block; b != nil {
				p.Cost = fmt.Sprintf("up to %d events of %s, from %s to %s, cannot be read, or are not found by every search", b.Rows, b.Service, timeText(b.MinTime), timeText(b.MaxTime))
				p.Mend = mendBlock
			} else if len(seg.Damage) > 0 {
				p.Cost = fmt.Sprintf("the segment is read block by block; what cannot be read of the sequences %d to %d is missing", seg.Lo+1, seg.Hi)
				p.Mend = mendBlock
			}
			v.Problems = append(v.Problems, p)
		}
	}
	sealed := s.ranges(v)
	if err := s.verifyLog(ctx, v, deep, sealed, step); err != nil {
		return nil, err
	}
	s.verifyState(v)
	for _, f := range s.small {
		v.Bytes += int64(len(f.data))
		step(int64(len(f.data)))
	}
	return v, nil
}

func timeText(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02 15:04:05.000Z") }

// ranges compares the segments' ranges, and returns up to where the class default is sealed.
func (s *Snapshot) ranges(v *Verified) (sealed uint64) {
	newest := map[string]*segment.Segment{}
	segments := slices.Clone(s.segments)
	slices.SortFunc(segments, func(a, b *segment.Segment) int { return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(b.Hi, a.Hi)) })
	for _, seg := range segments {
		before := newest[seg.Class]
		if before == nil || seg.Hi > before.Hi {
			newest[seg.Class] = seg
		}
		if before == nil || seg.Lo >= before.Hi {
			continue
		}
		p := Problem{File: "store/segments/" + seg.Name(), What: "its range of sequences overlaps with that of " + before.Name()}
		if seg.Hi <= before.Hi {
			p.Cost, p.Mend = "nothing: a merge was cut off before it removed what it had merged", "the next start removes it"
			if s.live {
				p.Cost, p.Mend = "events may be shown twice", "restart the server, which keeps one of the two"
			}
		} else {
			p.Cost, p.Mend = "events may be shown twice", "stop the server and take both files from a backup"
		}
		v.Problems = append(v.Problems, p)
	}
	if d := newest[segment.DefaultClass]; d != nil {
		sealed = d.Hi
	}
	return sealed
}

// verifyLog reads the log's files, the newest first: each says how many bytes of the one before count.
func (s *Snapshot) verifyLog(ctx context.Context, v *Verified, deep bool, sealed uint64, step func(int64)) error {
	files := slices.Clone(s.log)
	slices.SortFunc(files, func(a, b wal.HeldFile) int { return cmp.Compare(b.Name, a.Name) })
	var after *wal.Inspected // of the file behind
	floor := sealed
	if st, err := s.state(); err == nil && st != nil {
		floor = max(floor, st.Sealed)
	}
	for i, f := range files {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		size, whole := f.Length, false
		in, err := wal.Inspect(f, f.Name, size, deep)
		if err == nil && after != nil && after.PrevBase == in.Base && in.Base != 0 && int64(after.PrevBytes) <= size {
			if whole = true; int64(after.PrevBytes) < size { // the rest was never acknowledged
				in, err = wal.Inspect(f, f.Name, int64(after.PrevBytes), deep)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		file := "store/wal/" + f.Name
		if err != nil {
			v.Problems = append(v.Problems, Problem{File: file, What: err.Error(), Cost: "the file's events are not known", Mend: mendLog})
			step(size)
			continue
		}
		if s.live && in.Torn < size && !whole { // an open store knows what it has made durable
			in.Damage = append(in.Damage, wal.Damage{Offset: in.Torn, After: in.Last, Err: errors.New("no valid record")})
		}
		if whole && in.Torn < int64(after.PrevBytes) {
			in.Damage = append(in.Damage, wal.Damage{Offset: in.Torn, After: in.Last, Before: after.First, Err: errors.New("the file behind it says that more was durable")})
		}
		for _, d := range in.Damage {
			p := Problem{File: file, Offset: d.Offset, What: d.Err.Error(), Mend: mendLog}
			before := d.Before
			if before == 0 && after != nil {
				before = after.First
			}
			switch {
			case before != 0 && before <= floor+1:
				p.Cost, p.Mend = "nothing: its events are in segments", "the server removes the file by itself when all of it is in segments"
			case before != 0:
				p.Cost = fmt.Sprintf("the events %d to %d cannot be read", max(d.After, floor)+1, before-1)
			default:
				p.Cost = fmt.Sprintf("the events behind %d cannot be read", max(d.After, floor))
			}
			v.Problems = append(v.Problems, p)
		}
		if after != nil && in.Last != 0 && after.First > in.Last+1 && after.First > floor+1 && len(in.Damage) == 0 {
			v.Problems = append(v.Problems, Problem{File: file, Offset: in.Torn, What: "a part of the log is missing behind it",
				Cost: fmt.Sprintf("the events %d to %d cannot be read", max(in.Last, floor)+1, after.First-1), Mend: mendLog})
		}
		v.Logged += in.Events
		v.Bytes += size
		step(size)
		if in.First == 0 && i == 0 {
			continue // the newest may hold marks alone
		}
		after = &in
	}
	if deep && after != nil && after.First > floor+1 {
		v.Problems = append(v.Problems, Problem{File: "store/wal", What: fmt.Sprintf("the log begins with event %d, the segments end with %d", after.First, floor),
			Cost: fmt.Sprintf("the events %d to %d are missing", floor+1, after.First-1), Mend: mendLog})
	}
	return nil
}

// state returns what the state file says; nil when there is none.
func (s *Snapshot) state() (*state, error) {
	for _, f := range s.small {
		if f.path == stateName {
			return decodeState(f.data)
		}
	}
	return nil, nil
}

func (s *Snapshot) verifyState(v *Verified) {
	problem := func(what string) {
		v.Problems = append(v.Problems, Problem{File: "store/" + stateName, What: what,
			Cost: "what retention or deletion removed may come back out of the log", Mend: "take the file from a backup, with the server stopped"})
	}
	st, err := s.state()
	if err != nil {
		problem(err.Error())
		return
	}
	if st == nil {
		return
	}
	if st.Sealed > s.Sequence {
		problem(fmt.Sprintf("it says that all up to %d is sealed, and the newest event is %d", st.Sealed, s.Sequence))
	}
}

// Verify is [Snapshot.Verify] for what is there now.
func (s *Store) Verify(ctx context.Context, deep bool, progress func(done, total int64)) (*Verified, error) {
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	v, err := snap.Verify(ctx, deep, progress)
	return v, errors.Join(err, snap.Close())
}

// Verify is [Snapshot.Verify] for the store in a folder that nobody has open, which stays untouched.
func Verify(ctx context.Context, fsys vfs.FS, dir string, deep bool, progress func(done, total int64)) (*Verified, error) {
	snap, err := OpenSnapshot(fsys, dir)
	if err != nil {
		return nil, err
	}
	v, err := snap.Verify(ctx, deep, progress)
	return v, errors.Join(err, snap.Close())
}
