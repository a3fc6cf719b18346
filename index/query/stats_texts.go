package query

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync"
)

// textSet numbers texts in order of their arrival, from 1; number 0 is for none. It is a hash table that holds texts of up
// to 12 bytes itself and is small, so that looking up one of a hundred thousand rarely has to wait for memory.
type textSet struct {
	slots []textSlot      // a power of two; at most three quarters are taken
	texts []string        // by number
	arena strings.Builder // where the next texts go
}

// textSlot is taken when its number is not 0. A text of up to 12 bytes is all in lo and hi; of a longer one they are a hash.
type textSlot struct {
	lo   uint64
	hi   uint32
	what uint32 // number << 4 | size; the size of a longer one is 15
}

const (
	shortSlot = 12
	longSlot  = 15
)

func newTextSet() textSet { return textSet{slots: make([]textSlot, 64), texts: []string{""}} }

// textSeed keeps senders from choosing texts that fall into the same slots.
var textSeed = maphash.MakeSeed()

// packText returns the slot of a text, but for its number, and the hash that says where to look for it first.
func packText(v []byte) (p textSlot, hash uint64) {
	hash = maphash.Bytes(textSeed, v)
	n := len(v)
	p.what = uint32(n)
	switch {
	case n > shortSlot:
		return textSlot{hash, uint32(n), longSlot}, hash
	case n >= 8:
		p.lo, p.hi = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint32(v[n-4:])
	case n >= 4:
		p.lo, p.hi = uint64(binary.LittleEndian.Uint32(v)), binary.LittleEndian.Uint32(v[n-4:])
	case n > 0:
		p.lo, p.hi = uint64(v[0])|uint64(v[n/2])<<8, uint32(v[n-1])
	}
	return p, hash
}

// find returns a text's number, or -1 and the slot it belongs into.
func (s *textSet) find(v []byte) (id int32, slot int) {
	want, hash := packText(v)
	mask := len(s.slots) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		p := &s.slots[i]
		if p.what < 16 {
			return -1, i
		}
		if id := p.what >> 4; p.lo == want.lo && p.hi == want.hi && p.what&15 == want.what && (want.what < longSlot || s.texts[id] == string(v)) {
			return int32(id), i
		}
	}
}

// text returns the text of a slot that holds all of it, in dst's memory, which has room for it.
func (p *textSlot) text(dst []byte) []byte {
	n := int(p.what & 15)
	dst = dst[:n]
	switch {
	case n >= 8:
		binary.LittleEndian.PutUint64(dst, p.lo)
		binary.LittleEndian.PutUint32(dst[n-4:], p.hi)
	case n >= 4:
		binary.LittleEndian.PutUint32(dst, uint32(p.lo))
		binary.LittleEndian.PutUint32(dst[n-4:], p.hi)
	case n > 0:
		dst[0], dst[n/2], dst[n-1] = byte(p.lo), byte(p.lo>>8), byte(p.hi)
	}
	return dst
}

// lookup is a short text that is looked for.
type lookup struct {
	slot textSlot
	hash uint64
	row  int32
	id   int32 // 0 when it is not there
}

// lookUp finds the numbers of texts.
func (s *textSet) lookUp(list []lookup) {
	mask := len(s.slots) - 1
	for k := range list {
		l := &list[k]
		l.id = 0
		for i := int(l.hash) & mask; ; i = (i + 1) & mask {
			p := &s.slots[i]
			if p.lo == l.slot.lo && p.hi == l.slot.hi && p.what&15 == l.slot.what && p.what >= 16 {
				l.id = int32(p.what >> 4)
				break
			}
			if p.what < 16 {
				break
			}
		}
	}
}

// add puts a text into the slot that find returned for it, and returns its number.
func (s *textSet) add(v []byte, slot int) int32 {
	id := len(s.texts)
	s.texts = append(s.texts, s.copy(v))
	p, _ := packText(v)
	p.what |= uint32(id) << 4
	s.slots[slot] = p
	if 4*id > 3*len(s.slots) {
		s.grow()
	}
	return int32(id)
}

// copy returns a text that shares its memory with others: tens of thousands of small ones would cost more than their bytes.
func (s *textSet) copy(v []byte) string {
	const chunk = 16 << 10
	if len(v) > chunk/8 {
		return string(v)
	}
	if s.arena.Len()+len(v) > s.arena.Cap() {
		s.arena = strings.Builder{}
		s.arena.Grow(min(chunk, 16*(len(s.texts)+len(v))))
	}
	start := s.arena.Len()
	s.arena.Write(v)
	return s.arena.String()[start:]
}

// spareSlots are large tables that are not used any more: a tally that needs one need not grow to it step by step.
var spareSlots sync.Pool // of *[]textSlot

const (
	largeSlots = 4096
	mostSlots  = 1 << 18 // what as many values take as there may be groups
)

func (s *textSet) grow() { s.resize(2 * len(s.slots)) }

// index puts all texts into a table of their size: those, too, that were added without it.
func (s *textSet) index() {
	n := len(s.slots)
	for 4*len(s.texts) > 3*n {
		n *= 2
	}
	s.resize(n)
}

// resize makes a table of n slots and puts all texts into it.
func (s *textSet) resize(n int) {
	s.slots = nil
	if n >= largeSlots {
		if spare, ok := spareSlots.Get().(*[]textSlot); ok && len(*spare) >= n {
			s.slots = *spare
			clear(s.slots)
		}
	}
	if s.slots == nil {
		s.slots = make([]textSlot, n)
	}
	mask := len(s.slots) - 1
	for id, text := range s.texts[1:] {
		p, hash := packText([]byte(text))
		p.what |= uint32(id+1) << 4
		i := int(hash) & mask
		for s.slots[i].what >= 16 {
			i = (i + 1) & mask
		}
		s.slots[i] = p
	}
}

// release ends the set's use but for its texts.
func (s *textSet) release() {
	if n := len(s.slots); n >= largeSlots && n <= mostSlots {
		spare := s.slots
		spareSlots.Put(&spare)
	}
	s.slots = nil
}
