package query

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
)

// textSet numbers texts in order of their arrival, from 1; number 0 is for none. It is a hash table that holds texts of up
// to 16 bytes itself, so that looking up one of a hundred thousand costs one miss of the processor's caches and not three.
type textSet struct {
	slots []textSlot      // a power of two; at most half are taken
	texts []string        // by number
	arena strings.Builder // where the next texts go
}

// textSlot is taken when id is not 0. lo and hi are all of a text of up to 16 bytes, and of a longer one its hash.
type textSlot struct {
	lo, hi uint64
	size   int32
	id     int32
}

func newTextSet() textSet { return textSet{slots: make([]textSlot, 64), texts: []string{""}} }

// textSeed keeps senders from choosing texts that fall into the same slots.
var textSeed = maphash.MakeSeed()

// packText returns lo and hi of a text, and the hash that says where to look for it first.
func packText(v []byte) (lo, hi, hash uint64) {
	hash = maphash.Bytes(textSeed, v)
	switch n := len(v); {
	case n > 16:
		lo = hash
	case n >= 8:
		lo, hi = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[n-8:])
	case n >= 4:
		lo, hi = uint64(binary.LittleEndian.Uint32(v)), uint64(binary.LittleEndian.Uint32(v[n-4:]))
	case n > 0:
		lo, hi = uint64(v[0])|uint64(v[n/2])<<8, uint64(v[n-1])
	}
	return lo, hi, hash
}

// find returns a text's number, or -1 and the slot it belongs into.
func (s *textSet) find(v []byte) (id int32, slot int) {
	lo, hi, hash := packText(v)
	mask := len(s.slots) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		p := &s.slots[i]
		switch {
		case p.id == 0:
			return -1, i
		case p.lo == lo && p.hi == hi && int(p.size) == len(v) && (len(v) <= 16 || s.texts[p.id] == string(v)):
			return p.id, i
		}
	}
}

// add puts a text into the slot that find returned for it, and returns its number.
func (s *textSet) add(v []byte, slot int) int32 {
	id := int32(len(s.texts))
	s.texts = append(s.texts, s.copy(v))
	lo, hi, _ := packText(v)
	s.slots[slot] = textSlot{lo, hi, int32(len(v)), id}
	if 2*len(s.texts) > len(s.slots) {
		s.grow()
	}
	return id
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

func (s *textSet) grow() {
	s.slots = make([]textSlot, 2*len(s.slots))
	mask := len(s.slots) - 1
	for id, text := range s.texts[1:] {
		lo, hi, hash := packText([]byte(text))
		i := int(hash) & mask
		for s.slots[i].id != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = textSlot{lo, hi, int32(len(text)), int32(id + 1)}
	}
}
