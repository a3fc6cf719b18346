package index

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/vfs"
	"github.com/lookoutlog/lookout/internal/wal"
)

// Snapshot is the files of a store as they were at one moment, held open: merges, retention and deletion go on meanwhile and take nothing
// away. A store opened in a copy of them has the events up to Sequence, the producers' marks, and what is said of each.
//
// It has the log beside the segments instead of sealing what is in memory first: the log holds the marks, without which agents' events
// that are sent again would be stored twice, and nothing of the store changes because somebody copies it.
type Snapshot struct {
	Sequence uint64 // the newest event's
	Files    []SnapshotFile

	live     bool // of a store that is open
	segments []*segment.Segment
	log      []wal.HeldFile
	small    []smallFile

	close func() error
	once  sync.Once
}

// SnapshotFile is one file.
type SnapshotFile struct {
	// Path is the file's place below the store's folder, with slashes.
	Path string
	// Size in bytes; what the file has got behind them since is not part of the snapshot.
	Size int64
	// ModTime is when the file was written last; zero when the file system does not tell, and for one that grows.
	ModTime time.Time

	src io.ReaderAt
}

// Open returns the content, until the snapshot is closed. It may be called more than once.
func (f *SnapshotFile) Open() io.ReadCloser {
	return io.NopCloser(io.NewSectionReader(f.src, 0, f.Size))
}

// Close lets go of the files.
func (s *Snapshot) Close() (err error) {
	s.once.Do(func() { err = s.close() })
	return err
}

// Snapshot takes hold of the store's files. It costs an open file for each of the log's.
func (s *Store) Snapshot() (*Snapshot, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	for {
		small, err := smallFiles(s.o.FS, s.o.Dir)
		if err != nil {
			s.running.Done()
			return nil, err
		}
		// The log first: what is sealed after this is in it still, so that nothing falls between it and the segments.
		files, last, err := s.log.Files()
		if err != nil {
			s.running.Done()
			return nil, err
		}
		s.mu.RLock()
		segments, release := s.snapshot()
		s.mu.RUnlock()
		again, err := smallFiles(s.o.FS, s.o.Dir)
		snap := newSnapshot(last, segments, files, small)
		snap.live = true
		snap.close = func() error {
			defer s.running.Done()
			release()
			return closeLog(files)
		}
		beyond := slices.ContainsFunc(segments, func(seg *segment.Segment) bool { return seg.Hi > last })
		// A segment that was sealed in between has events whose marks the log's files do not have yet, and a file of the state that was
		// written in between speaks of other segments: both are rare, and over at once.
		if err == nil && !beyond && sameFiles(small, again) {
			return snap, nil
		}
		if closeErr := snap.Close(); err != nil || closeErr != nil {
			return nil, errors.Join(err, closeErr)
		}
		if err := s.enter(); err != nil {
			return nil, err
		}
	}
}

// OpenSnapshot is [Store.Snapshot] for the store in a folder that nobody has open, and that stays untouched.
func OpenSnapshot(fsys vfs.FS, dir string) (*Snapshot, error) {
	small, err := smallFiles(fsys, dir)
	if err != nil {
		return nil, err
	}
	var segments []*segment.Segment
	closeSegments := func() (err error) {
		for _, seg := range segments {
			err = errors.Join(err, seg.Close())
		}
		return err
	}
	names, err := fsys.ReadDir(filepath.Join(dir, "segments"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a store that has sealed nothing yet may have no folder, after a restore
		return nil, fmt.Errorf("the store's segments: %w", err)
	}
	last := uint64(0)
	for _, name := range names {
		if segment.IsTemporary(name) || !strings.HasSuffix(name, ".seg") {
			continue
		}
		seg, err := segment.Open(fsys, filepath.Join(dir, "segments"), name)
		if err != nil {
			return nil, errors.Join(err, closeSegments())
		}
		segments = append(segments, seg)
		last = max(last, seg.Hi)
	}
	files, err := wal.OpenFiles(fsys, filepath.Join(dir, "wal"))
	if err != nil {
		return nil, errors.Join(err, closeSegments())
	}
	for _, f := range files {
		r, err := wal.Inspect(f, f.Name, f.Length, false)
		if err != nil {
			return nil, errors.Join(err, closeSegments(), closeLog(files))
		}
		last = max(last, r.Last)
	}
	snap := newSnapshot(last, segments, files, small)
	snap.close = func() error { return errors.Join(closeSegments(), closeLog(files)) }
	return snap, nil
}

func newSnapshot(last uint64, segments []*segment.Segment, log []wal.HeldFile, small []smallFile) *Snapshot {
	s := &Snapshot{Sequence: last, segments: segments, log: log, small: small}
	for _, seg := range segments {
		s.Files = append(s.Files, SnapshotFile{Path: "segments/" + seg.Name(), Size: seg.Size(), ModTime: seg.ModTime(), src: seg})
	}
	for _, f := range log {
		s.Files = append(s.Files, SnapshotFile{Path: "wal/" + f.Name, Size: f.Length, src: f})
	}
	for _, f := range small {
		s.Files = append(s.Files, SnapshotFile{Path: f.path, Size: int64(len(f.data)), src: bytes.NewReader(f.data)})
	}
	slices.SortFunc(s.Files, func(a, b SnapshotFile) int { return cmp.Compare(a.Path, b.Path) })
	return s
}

func closeLog(files []wal.HeldFile) (err error) {
	for _, f := range files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// smallFile is a file of the store's state: some hundred bytes that are replaced as a whole.
type smallFile struct {
	path string
	data []byte
}

// smallFiles reads the store's state and its jobs of deletion.
func smallFiles(fsys vfs.FS, dir string) ([]smallFile, error) {
	paths := []string{stateName}
	names, err := fsys.ReadDir(filepath.Join(dir, "deletes"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the store's jobs of deletion: %w", err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".json") {
			paths = append(paths, "deletes/"+name)
		}
	}
	var files []smallFile
	for _, path := range paths {
		data, err := readSmall(fsys, filepath.Join(dir, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("the store's state: %w", err)
		}
		files = append(files, smallFile{path, data})
	}
	return files, nil
}

func readSmall(fsys vfs.FS, path string) ([]byte, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), data)
	return data, err
}

func sameFiles(a, b []smallFile) bool {
	return slices.EqualFunc(a, b, func(a, b smallFile) bool { return a.path == b.path && bytes.Equal(a.data, b.data) })
}
