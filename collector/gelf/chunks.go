package gelf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A chunk: 1e 0f | 8 bytes id | index | count | its part of the message, which may be empty.
const chunkHeader = 12

// Bounds of what waits for its other chunks.
const (
	maxChunks  = 128
	maxSets    = 4096
	maxPending = 32 << 20
	setLife    = 5 * time.Second
)

var (
	errBadChunk  = errors.New("impossible chunk")
	errDuplicate = errors.New("a chunk that came before")
)

// setOverhead is what a set takes beside its bytes, about: the map's entry and the places of its parts.
const setOverhead = 256 + maxChunks*8

// keepSets and keepSet bound what is kept of finished sets, to be used again.
const (
	keepSets = 64
	keepSet  = 64 << 10
)

type setKey struct {
	from netip.AddrPort
	id   uint64
}

// set is the chunks of one message that have come so far.
type set struct {
	key   setKey
	first int64 // when the first chunk came, ns
	count int
	have  int
	data  []byte // the parts in order of arrival
	parts [maxChunks]part
	// the list of sets, in order of their first chunks
	prev, next *set
}

// part is where a chunk stands in data. at is shifted by one: the zero value is a part that has not come.
type part struct{ at, size uint32 }

// chunks puts messages together. Sets belong to a sender's address and port: two senders that chose the same id never mix.
// Not safe for concurrent use.
type chunks struct {
	sets   map[setKey]*set
	oldest *set
	newest *set
	bytes  int // what the sets take in memory
	held   int // chunks in the sets
	free   []*set
	whole  []byte // the last message, when its parts came out of order

	expired, evicted int64 // chunks of sets that were given up
}

func isChunk(p []byte) bool { return len(p) >= 2 && p[0] == 0x1e && p[1] == 0x0f }

// add takes one chunk that came at now. When the message is whole it is returned, valid until the next call, with the
// number of its chunks. An error is about this chunk alone; its set lives on, unless the set itself is too large: then
// chunks says how many were dropped.
func (c *chunks) add(p []byte, from netip.AddrPort, now int64) (message []byte, chunks int, err error) {
	c.expire(now)
	if len(p) < chunkHeader {
		return nil, 1, fmt.Errorf("%w: %d bytes, shorter than its header", errBadChunk, len(p))
	}
	index, count, data := int(p[10]), int(p[11]), p[chunkHeader:]
	if count == 0 || count > maxChunks || index >= count {
		return nil, 1, fmt.Errorf("%w: number %d of %d", errBadChunk, index, count)
	}
	if count == 1 {
		return data, 1, nil
	}
	key := setKey{from, binary.LittleEndian.Uint64(p[2:])}
	s := c.sets[key]
	if s == nil {
		s = c.start(key, count, now)
	}
	if s.count != count {
		return nil, 1, fmt.Errorf("%w: number %d of %d in a set of %d", errBadChunk, index, count, s.count)
	}
	if s.parts[index].at != 0 {
		return nil, 1, errDuplicate
	}
	if len(s.data)+len(data) > MaxSize {
		n := s.have + 1
		c.remove(s)
		return nil, n, ErrTooLarge
	}
	s.parts[index] = part{uint32(len(s.data)) + 1, uint32(len(data))}
	c.bytes -= cap(s.data)
	s.data = append(s.data, data...)
	c.bytes += cap(s.data)
	s.have++
	c.held++
	if s.have == s.count {
		message = c.join(s)
		c.remove(s)
		return message, count, nil
	}
	for c.bytes > maxPending {
		c.evicted += int64(c.oldest.have)
		c.remove(c.oldest)
	}
	return nil, 0, nil
}

func (c *chunks) start(key setKey, count int, now int64) *set {
	if len(c.sets) >= maxSets {
		c.evicted += int64(c.oldest.have)
		c.remove(c.oldest)
	}
	var s *set
	if n := len(c.free); n > 0 {
		s = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		s = new(set)
	}
	s.key, s.first, s.count = key, now, count
	if c.sets == nil {
		c.sets = make(map[setKey]*set)
	}
	c.sets[key] = s
	if s.prev = c.newest; s.prev != nil {
		s.prev.next = s
	} else {
		c.oldest = s
	}
	c.newest = s
	c.bytes += setOverhead + cap(s.data)
	return s
}

// join returns the parts in order of their numbers.
func (c *chunks) join(s *set) []byte {
	inOrder := true
	at := uint32(1)
	for _, p := range s.parts[:s.count] {
		if p.at != at {
			inOrder = false
			break
		}
		at += p.size
	}
	if inOrder {
		return s.data
	}
	if cap(c.whole) > keepSet {
		c.whole = nil
	}
	c.whole = c.whole[:0]
	for _, p := range s.parts[:s.count] {
		c.whole = append(c.whole, s.data[p.at-1:p.at-1+p.size]...)
	}
	return c.whole
}

func (c *chunks) remove(s *set) {
	delete(c.sets, s.key)
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.oldest = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.newest = s.prev
	}
	c.bytes -= setOverhead + cap(s.data)
	c.held -= s.have
	if len(c.free) < keepSets && cap(s.data) <= keepSet {
		clear(s.parts[:s.count])
		s.data, s.have, s.next = s.data[:0], 0, nil
		c.free = append(c.free, s)
	}
}

// expire gives up the sets whose first chunk came more than setLife before now. A clock that was set back by more than
// that ends them too: they would stay otherwise.
func (c *chunks) expire(now int64) {
	for s := c.oldest; s != nil && (now-s.first > int64(setLife) || s.first-now > int64(setLife)); s = c.oldest {
		c.expired += int64(s.have)
		c.remove(s)
	}
}

// end gives up all sets.
func (c *chunks) end() {
	for c.oldest != nil {
		c.expired += int64(c.oldest.have)
		c.remove(c.oldest)
	}
}
