package index

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// The last part of the file system is nobody's: what is in memory must be sealed, and the databases beside the store written, when
// it fills up. So events are refused while less is free, which is asked each second; what fills it within that second meets the
// disk's own refusal, and fares no worse. Searches need no space.

// space is how full the file system is, as seen last.
type space struct {
	free, total atomic.Uint64
	full        atomic.Bool
}

// reserveShare is the part of the file system that is left free: one in so many bytes.
const reserveShare = 20

// reserve returns how many bytes of a file system of a size are left free.
func reserve(total uint64) uint64 { return total / reserveShare }

// lookAtSpace asks how full the file system is. Where that cannot be asked it is as if there were room. One goroutine calls it.
func (s *Store) lookAtSpace() {
	free, total, err := s.o.Free()
	if err != nil {
		if s.space.total.Swap(0) > 0 && !errors.Is(err, errors.ErrUnsupported) {
			s.o.Log.Warn("how full the disk is cannot be asked; no reserve is kept", "error", err)
		}
		s.space.full.Store(false)
		return
	}
	s.space.free.Store(free)
	s.space.total.Store(total)
	full := free < reserve(total)
	switch before := s.space.full.Swap(full); {
	case full && !before:
		s.o.Log.Error("the store takes no events: the disk is full; it goes on by itself when there is space", "free", free, "reserve", reserve(total), "size", total)
	case before && !full:
		s.o.Log.Info("the store takes events again", "free", free)
	}
}

// hasRoom tells whether so many bytes more leave the reserve free.
func (s *Store) hasRoom(bytes int64) bool {
	total := s.space.total.Load()
	return total == 0 || s.space.free.Load() >= reserve(total)+uint64(bytes)
}

// refusal is the answer to an append when the disk is full, nil when it is not.
func (s *Store) refusal() error {
	if !s.space.full.Load() {
		return nil
	}
	s.stats.full.Add(1)
	return &pressure{reason: fmt.Sprintf("the disk is full: %d of %d MB are free, and the last %d %% are kept in reserve; free space or shorten the retention, lookout goes on by itself",
		s.space.free.Load()/1e6, s.space.total.Load()/1e6, 100/reserveShare), full: true}
}
