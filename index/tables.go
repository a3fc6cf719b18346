package index

import (
	"sync"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/segment"
)

// tableCacheBytes bounds the memory of the tables that are kept for the next search.
const tableCacheBytes = 24 << 20

// tableCache keeps the tables of pattern blocks that were used last, with the pieces they have read. Whoever holds a table
// may go on using it after it was dropped. The zero value is ready for use.
type tableCache struct {
	limit int64 // in bytes, tableCacheBytes when 0

	mu     sync.Mutex
	size   int64
	tables map[*segment.Entry]*openTable
	order  openTable // the ring's start: next is the table used last
}

// openTable is an opened pattern block.
type openTable struct {
	entry      *segment.Entry
	once       sync.Once
	block      *block.Block
	table      *block.Table
	err        error
	size       int64 // as counted in the cache
	prev, next *openTable
}

// open returns the table of a block. When it has been used, done is to be called, so that its size is known.
func (c *tableCache) open(e *segment.Entry) (*openTable, error) {
	c.mu.Lock()
	t := c.tables[e]
	if t == nil {
		if c.tables == nil {
			c.tables = map[*segment.Entry]*openTable{}
			c.order.prev, c.order.next = &c.order, &c.order
		}
		t = &openTable{entry: e}
		c.tables[e] = t
	} else {
		t.unlink()
	}
	t.prev, t.next = &c.order, c.order.next
	t.prev.next, t.next.prev = t, t
	c.mu.Unlock()
	t.once.Do(func() {
		if t.block, t.err = e.Open(); t.err == nil {
			if t.table, t.err = t.block.Table(); t.err != nil {
				t.err = e.Corrupt(t.err)
			}
		}
	})
	if t.err != nil {
		c.mu.Lock()
		c.remove(t)
		c.mu.Unlock()
		return nil, t.err
	}
	return t, nil
}

// done counts what the table keeps by now, and drops the tables that were not used for longest.
func (c *tableCache) done(t *openTable) {
	size := int64(t.table.MemSize())
	limit := c.limit
	if limit == 0 {
		limit = tableCacheBytes
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tables[t.entry] != t {
		return
	}
	c.size += size - t.size
	t.size = size
	for c.size > limit {
		c.remove(c.order.prev)
	}
}

// remove drops a table that may have been dropped before; the caller holds the lock.
func (c *tableCache) remove(t *openTable) {
	if c.tables[t.entry] == t {
		delete(c.tables, t.entry)
		c.size -= t.size
		t.unlink()
	}
}

// unlink takes a table out of the ring. A table that a search still holds must not hold on to its former neighbours.
func (t *openTable) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next = nil, nil
}

// drop drops the tables of a segment that is closed.
func (c *tableCache) drop(seg *segment.Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range seg.Blocks {
		if t := c.tables[e]; t != nil {
			c.remove(t)
		}
	}
}
