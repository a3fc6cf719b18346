package index

import (
	"errors"
	"sync/atomic"
)

// space is how full the file system is, as seen last.
type space struct{ free, total atomic.Uint64 }

// reserveShare is the part of the file system that is left free: one in so many bytes.
const reserveShare = 20

// reserve returns how many bytes of a file system of a size are left free.
func reserve(total uint64) uint64 { return total / reserveShare }

// lookAtSpace asks how full the file system is. Where that cannot be asked it is as if there were room.
func (s *Store) lookAtSpace() {
	free, total, err := s.o.Free()
	if err != nil {
		if !errors.Is(err, errors.ErrUnsupported) && s.space.total.Swap(0) > 0 {
			s.o.Log.Warn("how full the disk is cannot be asked; no reserve is kept", "error", err)
		}
		return
	}
	s.space.free.Store(free)
	s.space.total.Store(total)
}
