package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lookoutlog/lookout/internal/vfs"
)

// Open opens the log in a folder, or makes it. It reads the headers of all segments and the whole newest one, and leaves
// out what a crash has torn of a commit that was not acknowledged.
//
// What the process before may have written and not fsynced is written anew first. When there is no space for that, it is
// fsynced where it is: a log opens on a full disk.
//
// A segment of another format version is a *VersionError, and no file is touched.
func Open(o Options) (*Log, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	l := &Log{
		o: o, fs: o.FS, log: o.Log, work: make(chan struct{}, 1), done: make(chan struct{}),
		marks: newMarks(o.ProducerTTL), damage: map[place]struct{}{}, counted: map[string]uint64{},
	}
	if err := l.restore(); err != nil {
		return nil, fmt.Errorf("opening the log in %s: %w", o.Dir, err)
	}
	go l.run()
	return l, nil
}

// found is a segment's file as opening finds it.
type found struct {
	*segment
	header  segmentHeader
	sealed  bool // end is known: the next segment says it
	size    int64
	badHead bool
	badMark bool
}

func (l *Log) restore() error {
	files, tmps, err := l.list()
	if err != nil {
		return err
	}
	for _, path := range tmps {
		_ = l.fs.Remove(path) // they never count: only space is lost
	}
	for i := range files {
		f := &files[i]
		if f.badHead {
			l.noteCorrupt(f.path, 0, errNoHeader)
		} else if f.badMark {
			l.noteCorrupt(f.path, headerLen, errMarks)
		}
		f.end = f.size
		if i+1 < len(files) && files[i+1].header.prevBase == f.base {
			f.end, f.sealed = min(f.size, int64(files[i+1].header.prevBytes)), true
		}
	}
	// The newest good marks, and what came behind them.
	known := len(files) - 1
	for known >= 0 && (files[known].badHead || files[known].badMark) {
		known--
	}
	if known >= 0 {
		if err := l.loadMarks(&files[known]); err != nil {
			return err
		}
	}
	for i := range files {
		l.last = max(l.last, files[i].base-1)
	}
	files, err = l.dropEmpty(files)
	if err != nil {
		return err
	}
	for i := range files {
		if i > 0 {
			files[i-1].next = files[i].segment
		}
		l.segs = append(l.segs, files[i].segment)
	}
	var doubtful []*pending
	if n := len(files); n > 0 {
		l.tail = files[n-1].segment
		for i := max(known, 0); i < n-1; i++ {
			if err := l.countAgain(&files[i], files[i+1].base); err != nil {
				return err
			}
		}
		if doubtful, err = l.readTail(&files[n-1]); err != nil {
			return err
		}
	}
	if err := l.rewrite(doubtful); err != nil {
		return err
	}
	l.last = max(l.last, l.o.Start)
	if l.rolled != l.last+1 {
		l.rolled = 0
	}
	return nil
}

// list makes the folder durable and returns its segments, oldest first, and the leftovers of segments in the making.
func (l *Log) list() (files []found, tmps []string, err error) {
	if err := l.fs.MkdirAll(l.o.Dir, 0o700); err != nil {
		return nil, nil, err
	}
	if !l.o.NoSync {
		// A folder one may not read, such as one above a service's home, was not made by us either.
		if err := l.fs.SyncDir(filepath.Dir(l.o.Dir)); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, nil, err
		}
	}
	if err := l.syncDir(); err != nil { // the process before may have died before it did this
		return nil, nil, err
	}
	names, err := l.fs.ReadDir(l.o.Dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		path := filepath.Join(l.o.Dir, name)
		if strings.HasSuffix(name, tmpSuffix) {
			tmps = append(tmps, path)
			continue
		}
		digits, ok := strings.CutSuffix(name, suffix)
		base, err := strconv.ParseUint(digits, 10, 64)
		if !ok || err != nil || base == 0 || l.path(base) != path {
			continue
		}
		f, err := l.inspect(path, base)
		if err != nil {
			return nil, nil, err
		}
		files = append(files, f)
	}
	return files, tmps, nil
}

// inspect reads a segment's header and checks its marks.
func (l *Log) inspect(path string, base uint64) (found, error) {
	f := found{segment: &segment{path: path, base: base}}
	file, err := l.openRead(path)
	if err != nil {
		return f, err
	}
	defer file.Close()
	if f.size, err = file.Size(); err != nil {
		return f, err
	}
	var head [headerLen]byte
	if n, err := file.ReadAt(head[:], 0); n < headerLen && f.size >= headerLen {
		l.log.Error("a log segment's header cannot be read", "file", path, "error", err)
	}
	f.header, err = parseSegmentHeader(head[:])
	if v := (*VersionError)(nil); errors.As(err, &v) {
		v.File = path
		return f, v
	}
	if err != nil || f.header.base != base {
		f.badHead, f.anyID = true, true
		f.header = segmentHeader{}
		return f, nil
	}
	f.id, f.start = f.header.id, headerLen+int64(f.header.marksLen)
	if _, err := readMarks(file, &f.header, f.size); err != nil {
		f.badMark = true
	}
	return f, nil
}

func readMarks(file vfs.File, h *segmentHeader, size int64) ([]byte, error) {
	if size < headerLen+int64(h.marksLen) {
		return nil, errMarks
	}
	b := make([]byte, h.marksLen)
	if n, err := file.ReadAt(b, headerLen); n < len(b) {
		return nil, err
	}
	if crc32.Checksum(b, castagnoli) != h.marksCRC {
		return nil, errMarks
	}
	return b, nil
}

func (l *Log) loadMarks(f *found) error {
	file, err := l.openRead(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	b, err := readMarks(file, &f.header, f.size)
	if err == nil {
		err = l.marks.load(b, int(f.header.marks))
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.path, err)
	}
	return nil
}

// dropEmpty leaves out newest files without a single record: whatever made them, nothing in them was acknowledged or can
// be found. The next new segment replaces them.
func (l *Log) dropEmpty(files []found) ([]found, error) {
	for n := len(files); n > 0; n-- {
		f := &files[n-1]
		any := false
		err := l.scan(f, f.end, func(*record, int64) bool {
			any = true
			return false
		})
		if err != nil || any {
			return files[:n], err
		}
		if !f.badHead && !f.badMark && f.size == f.start { // the log was rolled over
			l.rolled = f.base
			continue
		}
		l.torn = true
		l.stats.Repaired++
		l.stats.RepairedBytes += f.size
		l.log.Warn("a log segment holds no record, it is left out", "file", f.path, "bytes", f.size)
	}
	return nil, nil
}

// scan calls fn with the readable records of a segment below end, until it returns false.
func (l *Log) scan(f *found, end int64, fn func(r *record, at int64) bool) error {
	file, err := l.openRead(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	var s scanner
	s.open(file, f.segment, end)
	for {
		r, at, err := s.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if !fn(&r, at) {
			return nil
		}
	}
}

// countAgain brings the marks up to date with a segment that ends before the sequence limit.
func (l *Log) countAgain(f *found, limit uint64) error {
	return l.scan(f, f.end, func(r *record, _ int64) bool {
		if r.last() >= limit {
			return false
		}
		l.remember(r)
		return true
	})
}

func (l *Log) remember(r *record) {
	if r.producerLen > 0 {
		l.marks.set(r.producer(), r.producerSeq+uint64(r.count), r.cursor())
	}
}

// readTail finds where the newest segment ends, brings marks and last up to date with what is surely durable in it, sets
// its end there, and returns the last commit, which may not be.
func (l *Log) readTail(f *found) ([]*pending, error) {
	keep := func(r *record) {
		l.remember(r)
		l.last = max(l.last, r.last())
	}
	sure := int64(0) // all before this was fsynced
	if f.sealed {
		sure = f.end
	}
	err := l.scan(f, f.end, func(r *record, _ int64) bool {
		sure = max(sure, int64(r.durable))
		return true
	})
	if err != nil {
		return nil, err
	}
	var doubtful []*pending
	end, first, last := sure, false, f.base-1
	err = l.scan(f, f.end, func(r *record, at int64) bool {
		if at < sure {
			keep(r)
			last = max(last, r.last())
			return true
		}
		if at != end || r.first <= last {
			return false
		}
		end, last = end+int64(r.length), r.last()
		if first = first || r.first == f.base; first {
			keep(r) // a segment gets its name after its first commit was fsynced
		} else {
			doubtful = append(doubtful, pendingOf(r))
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if end < f.end {
		l.stats.Repaired++
		l.stats.RepairedBytes += f.end - end
		l.log.Warn("the end of the log was torn by a crash; it was not acknowledged and is left out",
			"file", f.path, "offset", end, "bytes", f.end-end)
	}
	f.end = end
	return doubtful, nil
}

// pendingOf copies a record for rewriting.
func pendingOf(r *record) *pending {
	p := &pending{recordHeader: r.recordHeader}
	p.buf = append(make([]byte, recordLen, r.length), r.body...)
	p.kept = int(r.count)
	p.entry = Entry{Count: int(r.count), Producer: string(r.producer()), ProducerSeq: r.producerSeq}
	p.entry.Cursor = p.buf[recordLen+int(r.producerLen) : recordLen+int(r.producerLen)+int(r.cursorLen)]
	return p
}

// rewrite moves the last commit of an earlier process to a new segment, so that whoever sees it can rely on it.
func (l *Log) rewrite(doubtful []*pending) error {
	if len(doubtful) == 0 {
		return nil
	}
	tail, end, last := l.tail, l.tail.end, l.last
	for _, p := range doubtful {
		tail.end -= int64(p.length)
	}
	l.last = doubtful[0].first - 1
	seg, newEnd, err := l.persist(doubtful)
	if err == nil {
		l.publish(seg, newEnd)
	} else {
		tail.end = end
		if syncErr := l.syncFile(tail.path); syncErr != nil {
			return fmt.Errorf("the last events cannot be made durable: %w; and %w", err, syncErr)
		}
	}
	for _, p := range doubtful {
		l.settle(p)
	}
	l.last = max(l.last, last)
	l.stats.Records, l.stats.Events = 0, 0
	return nil
}

func (l *Log) syncFile(path string) error {
	file, err := l.openRead(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return l.sync(file)
}
