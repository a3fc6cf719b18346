package index

import (
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
)

// A version is one list of the store's segments. The store holds the newest, every search and follower the one it began
// with, so that what compaction replaces is closed, and its file removed, only when nobody reads it any more.
type version struct {
	segments []*held
	refs     atomic.Int64 // the store's own and one a snapshot
}

// newVersion returns an empty version with the store's own reference.
func newVersion() *version {
	v := &version{}
	v.refs.Store(1)
	return v
}

// held is a segment with the number of versions it is in. That number changes under the store's lock or, when a version
// ends, without; it never leaves zero again.
type held struct {
	*segment.Segment
	refs     atomic.Int64
	replaced atomic.Bool // its events are in another segment: the last version to hold it removes the file
}

// snapshot returns the segments for as long as the caller needs them, which it says by calling release once, without the
// lock. The caller of snapshot holds the lock, so that what it takes from memory at the same time fits.
func (s *Store) snapshot() (segments []*segment.Segment, release func()) {
	v := s.version
	v.refs.Add(1)
	return s.segments, func() {
		if err := s.leave(v); err != nil {
			s.o.Log.Warn("a segment that is no longer needed could not be closed or removed; the next start removes it", "error", err)
		}
	}
}

// install makes segments the store's list, and the files of replaced ones, which are not in it, superfluous. It returns the version
// before, which the caller must leave, without the lock when segments may end with it. The caller holds the lock or is alone.
func (s *Store) install(segments []*segment.Segment, replaced ...*segment.Segment) (before *version) {
	old := map[*segment.Segment]*held{}
	for _, h := range s.version.segments {
		old[h.Segment] = h
	}
	v := newVersion()
	for _, seg := range segments {
		h := old[seg]
		if h == nil {
			h = &held{Segment: seg}
		}
		h.refs.Add(1)
		v.segments = append(v.segments, h)
	}
	for _, seg := range replaced {
		old[seg].replaced.Store(true)
	}
	before = s.version
	s.segments, s.version = segments, v
	return before
}

// exchange puts segments into the place of others, whose files go when nobody reads them any more; where a new one has an old one's
// name, it has taken its file's place already. Whoever changes the list other
// than by sealing runs in the compactor's goroutine, one thing at a time. recount says that the new ones hold less than the old ones.
func (s *Store) exchange(old, fresh []*segment.Segment, recount bool) error {
	keep := func(segments []*segment.Segment) []*segment.Segment {
		list := make([]*segment.Segment, 0, len(segments)+len(fresh))
		for _, seg := range segments {
			if !slices.Contains(old, seg) {
				list = append(list, seg)
			}
		}
		return list
	}
	var services map[string]*query.ServiceInfo
	var counted []*segment.Segment
	if recount { // of years of blocks, which is too much under the lock
		services = map[string]*query.ServiceInfo{}
		s.mu.RLock()
		segments := s.segments
		s.mu.RUnlock()
		counted = append(keep(segments), fresh...)
		countServices(services, counted)
	}
	s.mu.Lock()
	segments := append(keep(s.segments), fresh...)
	if recount {
		sealed := slices.DeleteFunc(slices.Clone(segments), func(seg *segment.Segment) bool { return slices.Contains(counted, seg) })
		countServices(services, sealed) // meanwhile
		s.services = services
	}
	slices.SortFunc(segments, bySequence)
	gone := slices.DeleteFunc(slices.Clone(old), func(seg *segment.Segment) bool {
		return slices.ContainsFunc(fresh, func(f *segment.Segment) bool { return f.Name() == seg.Name() })
	})
	before := s.install(segments, gone...)
	s.mu.Unlock()
	return s.leave(before)
}

// leave gives up one reference to a version.
func (s *Store) leave(v *version) error {
	if v.refs.Add(-1) > 0 {
		return nil
	}
	var err error
	for _, h := range v.segments {
		if h.refs.Add(-1) > 0 {
			continue
		}
		s.tables.drop(h.Segment)
		err = errors.Join(err, h.Close())
		if h.replaced.Load() {
			err = errors.Join(err, s.o.FS.Remove(filepath.Join(s.segmentDir(), h.Name())))
		}
	}
	return err
}
