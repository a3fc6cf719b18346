package index

import (
	"fmt"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/recent"
)

// A generation is the newest part of the store, in memory and in the log: all events above a sequence, filed by service.
// When it is full it is frozen, a new one takes its place, and it is sealed into one segment while it is still searched.
//
// Rows and bytes are only ever added, so that a search works on a view taken under the store's lock without holding it.
type generation struct {
	lo, hi   uint64 // it holds the sequences above lo up to hi
	heads    map[string]*head
	recent   recent.Names[*head]
	received []block.ReceivedRun
	bytes    int64 // memory taken by rows and chunks
}

// A head holds one service's rows of a generation, in order of arrival.
type head struct {
	service          string
	rows             []rowRef
	chunks           [][]byte // each of its full length; filled up to free
	free             int      // where the last chunk goes on
	minTime, maxTime int64
}

// rowRef says where an encoded event is. 24 bytes beside some 300 of the event.
type rowRef struct {
	seq  uint64
	time int64
	// 20 bits each for the chunk and the place in it, 24 for the size: so the order of rows can be found without a look at them.
	at uint64
}

const (
	offBits  = 20 // a longer chunk holds one event
	sizeBits = 24
)

func newRowRef(seq uint64, time int64, chunk, off, size int) rowRef {
	return rowRef{seq: seq, time: time, at: uint64(chunk)<<(offBits+sizeBits) | uint64(off)<<sizeBits | uint64(size)}
}

// before tells whether r comes before o in order of (time, sequence).
func (r rowRef) before(o rowRef) bool {
	return r.time < o.time || r.time == o.time && r.seq < o.seq
}

func (r rowRef) chunk() int { return int(r.at >> (offBits + sizeBits)) }
func (r rowRef) off() int   { return int(r.at >> sizeBits & (1<<offBits - 1)) }
func (r rowRef) size() int  { return int(r.at & (1<<sizeBits - 1)) }

const (
	rowRefBytes = 24
	firstChunk  = 4 << 10 // so that thousands of quiet services do not fill a generation with nothing
	fullChunk   = 1 << offBits
	headCost    = 512 // a head's own memory, roughly
)

func newGeneration(lo uint64) *generation {
	return &generation{lo: lo, hi: lo, heads: map[string]*head{}}
}

// add files the encoded events of one record, whose first has the given sequence.
func (g *generation) add(first uint64, received int64, data []byte) error {
	if n := len(g.received); n == 0 || g.received[n-1].Received != received {
		g.received = append(g.received, block.ReceivedRun{Seq: first, Received: received})
	}
	for seq := first; len(data) > 0; seq++ {
		size, at, service, err := event.Peek(data)
		if err != nil {
			return fmt.Errorf("event %d: %w", seq, err)
		}
		h, ok := g.recent.Get(service)
		if !ok {
			if h = g.heads[string(service)]; h == nil {
				h = &head{service: string(service), minTime: at, maxTime: at}
				g.heads[h.service] = h
				g.bytes += headCost
			}
			g.recent.Put(service, h)
		}
		g.bytes += h.add(seq, at, data[:size])
		g.hi = seq
		data = data[size:]
	}
	return nil
}

// add files one event and returns the memory it took.
func (h *head) add(seq uint64, at int64, data []byte) (grown int64) {
	n := len(h.chunks)
	if n == 0 || h.free+len(data) > len(h.chunks[n-1]) {
		size := firstChunk
		if n > 0 {
			size = min(2*len(h.chunks[n-1]), fullChunk)
		}
		h.chunks = append(h.chunks, make([]byte, max(size, len(data))))
		h.free = 0
		grown = int64(len(h.chunks[n]))
		n++
	}
	copy(h.chunks[n-1][h.free:], data)
	h.rows = append(h.rows, newRowRef(seq, at, n-1, h.free, len(data)))
	h.free += len(data)
	h.minTime, h.maxTime = min(h.minTime, at), max(h.maxTime, at)
	return grown + rowRefBytes
}

// headView is a head as it was at one moment.
type headView struct {
	service          string
	rows             []rowRef
	chunks           [][]byte
	received         []block.ReceivedRun
	minTime, maxTime int64
}

func (g *generation) view(h *head) headView {
	return headView{service: h.service, rows: h.rows, chunks: h.chunks, received: g.received, minTime: h.minTime, maxTime: h.maxTime}
}

// row returns the encoded event.
func (v *headView) row(r rowRef) []byte {
	return v.chunks[r.chunk()][r.off():][:r.size():r.size()]
}
