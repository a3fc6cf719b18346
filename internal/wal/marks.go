package wal

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

const (
	maxMarks     = 100_000
	maxMarkBytes = 32 << 20 // of all names and cursors
	// maxAgeStep bounds how far one commit moves the marks' age: neither a clock that jumps nor a server that was off
	// for a year expires a mark.
	maxAgeStep = time.Hour
)

var errMarks = errors.New("the producers' marks are damaged")

// marks holds what is known of each producer, in order of last use. Expired and surplus ones go, the least recently
// used first. It is not safe for concurrent use.
type marks struct {
	ttl   int64
	limit int
	m     map[string]*mark
	// oldest and newest are the ends of the list by last use.
	oldest, newest *mark
	bytes          int
	age            int64 // ns that the log has been in use, as far as this process knows; only differences count
	clock          int64
}

type mark struct {
	name         string
	next         uint64 // the producer's count that is expected next
	cursor       []byte
	used         int64 // by marks.age
	older, newer *mark
}

func newMarks(ttl time.Duration) *marks {
	return &marks{ttl: int64(ttl), limit: maxMarks, m: map[string]*mark{}}
}

// tick moves the age to the clock's now and lets expired marks go.
func (s *marks) tick(now int64) {
	if s.clock != 0 {
		s.age += min(max(now-s.clock, 0), int64(maxAgeStep))
	}
	s.clock = now
	for s.oldest != nil && s.age-s.oldest.used > s.ttl {
		s.remove(s.oldest)
	}
}

// set notes what the producer's next count is. The cursor is copied.
func (s *marks) set(producer []byte, next uint64, cursor []byte) {
	p := s.m[string(producer)]
	if p == nil {
		p = &mark{name: string(producer)}
		s.m[p.name] = p
		s.bytes += len(p.name)
	} else {
		s.unlink(p)
	}
	s.bytes += len(cursor) - len(p.cursor)
	p.next, p.cursor, p.used = next, append(p.cursor[:0], cursor...), s.age
	s.link(p)
	for len(s.m) > s.limit || s.bytes > maxMarkBytes && s.oldest != p {
		s.remove(s.oldest)
	}
}

// touch notes that the producer was heard of.
func (s *marks) touch(producer string) {
	if p := s.m[producer]; p != nil {
		s.unlink(p)
		p.used = s.age
		s.link(p)
	}
}

func (s *marks) link(p *mark) {
	p.older, p.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = p
	} else {
		s.oldest = p
	}
	s.newest = p
}

func (s *marks) unlink(p *mark) {
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		s.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		s.newest = p.older
	}
}

func (s *marks) remove(p *mark) {
	s.unlink(p)
	s.bytes -= len(p.name) + len(p.cursor)
	delete(s.m, p.name)
}

// append appends all marks as a segment holds them.
func (s *marks) append(dst []byte) []byte {
	for p := s.oldest; p != nil; p = p.newer {
		dst = binary.AppendUvarint(dst, uint64(len(p.name)))
		dst = append(dst, p.name...)
		dst = binary.AppendUvarint(dst, p.next)
		dst = binary.AppendUvarint(dst, uint64(s.age-p.used))
		dst = binary.AppendUvarint(dst, uint64(len(p.cursor)))
		dst = append(dst, p.cursor...)
	}
	return dst
}

// load reads n marks that append wrote.
func (s *marks) load(b []byte, n int) error {
	number := func() uint64 {
		v, k := binary.Uvarint(b)
		if k <= 0 {
			b = nil
			return math.MaxUint64
		}
		b = b[k:]
		return v
	}
	text := func() []byte {
		l := number()
		if l > uint64(len(b)) {
			return nil
		}
		p := b[:l]
		b = b[l:]
		return p
	}
	for range n {
		name := text()
		next, idle := number(), number()
		cursor := text()
		if len(name) == 0 || cursor == nil || idle > math.MaxInt64 {
			return errMarks
		}
		s.set(name, next, cursor)
		s.newest.used = s.age - int64(idle)
	}
	if len(b) != 0 {
		return errMarks
	}
	return nil
}
