package block

// keySet collects distinct keys: an open-addressed table, because a map costs several times as much for every token of
// every event.
type keySet struct {
	table []uint64 // 0 = free
	// recent remembers keys in a few pages of memory: most tokens have just been seen, and the table is too large for
	// the processor's nearest caches.
	recent [2048]uint64
	n      int
	zero   bool // the key 0 itself
}

// reset empties the set, for the keys of so many rows: a table made for a larger block would be in no cache, and is gone through
// as a whole.
func (s *keySet) reset(rows int) {
	size := minKeys
	for size < 4*rows {
		size *= 2
	}
	if cap(s.table) < size {
		s.table = make([]uint64, size)
	}
	s.table = s.table[:size]
	clear(s.table)
	s.recent = [2048]uint64{}
	s.n, s.zero = 0, false
}

// minKeys is the least size of a table.
const minKeys = 1 << 12

func (s *keySet) add(keys []uint64) {
	for _, k := range keys {
		if k == 0 {
			s.zero = true
			continue
		}
		seen := &s.recent[k>>32%uint64(len(s.recent))]
		if *seen == k {
			continue
		}
		*seen = k
		if s.n*2 >= len(s.table) {
			s.grow()
		}
		s.insert(k)
	}
}

func (s *keySet) insert(k uint64) {
	mask := uint64(len(s.table) - 1)
	for i := k & mask; ; i = (i + 1) & mask {
		switch s.table[i] {
		case k:
			return
		case 0:
			s.table[i] = k
			s.n++
			return
		}
	}
}

func (s *keySet) grow() {
	old := s.table
	s.table = make([]uint64, max(minKeys, 2*len(old)))
	s.n = 0
	for _, k := range old {
		if k != 0 {
			s.insert(k)
		}
	}
}

// list appends the keys to dst.
func (s *keySet) list(dst []uint64) []uint64 {
	if s.zero {
		dst = append(dst, 0)
	}
	for _, k := range s.table {
		if k != 0 {
			dst = append(dst, k)
		}
	}
	return dst
}
