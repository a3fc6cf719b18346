package docker

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strconv"
	"time"
)

// position is a place in one stream of a log: behind the last row that was taken.
type position struct {
	time  int64  // that row's, in ns since the Unix epoch; 0: none was taken
	count uint32 // rows taken that have this time
	hash  uint32 // of that row; not compared when count is 0
	high  int64  // the latest time of all rows taken: more than time after a clock went back
}

// after returns the position behind another row.
func (p position) after(at int64, hash uint32) position {
	q := position{time: at, count: 1, hash: hash, high: max(p.high, at)}
	if at == p.time {
		q.count = p.count + 1
	}
	return q
}

// cursor is how far a container's log was read. Everything in front of it is in events that were appended.
type cursor [streams]position

// cursorVersion 1: version, then for each stream its time (8 bytes, little endian), count (uvarint), hash (4 bytes) and how
// much later high is than time (uvarint).
const cursorVersion = 1

var errCursor = errors.New("docker: the cursor is not one of this version")

func (c *cursor) encode() []byte {
	b := append(make([]byte, 0, 40), cursorVersion)
	for _, p := range c {
		b = binary.LittleEndian.AppendUint64(b, uint64(p.time))
		b = binary.AppendUvarint(b, uint64(p.count))
		b = binary.LittleEndian.AppendUint32(b, p.hash)
		b = binary.AppendUvarint(b, uint64(p.high-p.time))
	}
	return b
}

func decodeCursor(b []byte) (c cursor, err error) {
	if len(b) == 0 || b[0] != cursorVersion {
		return cursor{}, errCursor
	}
	b = b[1:]
	for i := range c {
		p := &c[i]
		if len(b) < 8 {
			return cursor{}, errCursor
		}
		p.time = int64(binary.LittleEndian.Uint64(b))
		count, n := binary.Uvarint(b[8:])
		if n <= 0 || count > 1<<32-1 || len(b) < 8+n+4 {
			return cursor{}, errCursor
		}
		p.count = uint32(count)
		b = b[8+n:]
		p.hash = binary.LittleEndian.Uint32(b)
		later, n := binary.Uvarint(b[4:])
		if n <= 0 || later > 1<<62 {
			return cursor{}, errCursor
		}
		p.high = p.time + int64(later)
		b = b[4+n:]
	}
	if len(b) != 0 {
		return cursor{}, errCursor
	}
	return c, nil
}

// skew is how much later than a row another row of the same container may stand in its log that has an earlier time: the
// daemon stamps the two streams in two goroutines and writes them after that.
const skew = int64(10 * time.Second)

// since returns the time from which to read, inclusive; 0 for all. It is that of the stream that is behind: but what a stream
// that has been silent for long will say comes later than what the other one has said, as far as skew. one: there is only
// the first stream.
func (c *cursor) since(one bool) int64 {
	if one {
		return c[stdout].time
	}
	least, most := c[stdout], c[stderr]
	if least.time > most.time {
		least, most = most, least
	}
	switch {
	case most.time == 0:
		return 0
	case least.time != 0 && (least.high > least.time || most.high > most.time):
		return least.time // a clock went back
	case most.high > most.time:
		return most.time
	}
	return max(least.time, most.time-skew, 1)
}

// latest returns the stream with the latest row.
func (c *cursor) latest() stream {
	if c[stderr].time > c[stdout].time {
		return stderr
	}
	return stdout
}

// apiTime writes a time as the Engine API takes it: seconds.nanoseconds.
func apiTime(ns int64) string {
	s := strconv.FormatInt(ns/int64(time.Second), 10)
	f := strconv.FormatInt(ns%int64(time.Second)+int64(time.Second), 10) // a 1 and nine digits
	return s + "." + f[1:]
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func hashRow(r *row) uint32 {
	h := crc32.Checksum(r.text, castagnoli)
	if r.ended {
		h = ^h
	}
	return h
}

// skipper drops the rows of one stream that come again when a log is opened at a position: those in front of it.
type skipper struct {
	to    position
	seen  uint32 // rows of to.time so far
	match uint32 // the last of them that has the hash of the row that was taken last
	done  bool
}

// A skipper's verdict about a row.
type verdict uint8

const (
	isNew     verdict = iota
	isOld             // it was taken before
	isLost            // it is new, and the row behind which to go on was not there: the log has lost rows
	isAnother         // the rows at the position are not those that were taken: read again, see skipper.correct
)

func newSkipper(p position) skipper { return skipper{to: p, done: p.time == 0} }

func (s *skipper) row(at int64, hash uint32) verdict {
	switch {
	case s.done:
		return isNew
	case at < s.to.time:
		return isOld
	case at == s.to.time && s.seen < s.to.count:
		s.seen++
		if hash == s.to.hash {
			s.match = s.seen
		}
		if s.seen < s.to.count {
			return isOld
		}
		s.done = true
		if s.match < s.seen {
			return isAnother
		}
		return isOld
	case at > s.to.time && at <= s.to.high && s.seen < s.to.count:
		return isOld // from before the clock went back
	}
	s.done = true
	switch {
	case s.to.count == 0:
		return isNew
	case s.seen == 0:
		return isLost
	case s.match < s.seen:
		return isAnother
	}
	return isNew
}

// correct returns the position to read from after isAnother: some of the rows that were taken are no longer in the log, and
// of those that have their time only the first ones, up to the one taken last, are old.
func (s *skipper) correct() position {
	p := s.to
	p.count = s.match
	return p
}
