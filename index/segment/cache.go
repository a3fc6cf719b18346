package segment

import (
	"container/list"
	"sync"
)

// parsed keeps parts of footers that searches have parsed, those of all open segments together: what does not fit in 64 MiB
// is parsed again when it is needed again.
var parsed = &cache{limit: 64 << 20, items: map[cacheKey]*list.Element{}}

type cacheKey struct {
	seg  *Segment
	part int // -1: the counts
}

type cacheItem struct {
	key   cacheKey
	value any
	size  int64
}

// cache holds values up to a number of bytes; the least recently used ones give way. It is safe for concurrent use.
type cache struct {
	mu    sync.Mutex
	limit int64
	size  int64
	order list.List // of *cacheItem, the most recently used first
	items map[cacheKey]*list.Element
}

func (c *cache) get(k cacheKey) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheItem).value
}

// put keeps a value. Of two searches that parsed the same part, the later one's stays.
func (c *cache) put(k cacheKey, value any, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.seg.closed.Load() || size > c.limit {
		return
	}
	if e := c.items[k]; e != nil {
		c.remove(e)
	}
	c.items[k] = c.order.PushFront(&cacheItem{k, value, size})
	c.size += size
	c.evict()
}

// forget drops all parts of a segment that has been closed.
func (c *cache) forget(s *Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := -1; i < len(s.formParts); i++ {
		if e := c.items[cacheKey{s, i}]; e != nil {
			c.remove(e)
		}
	}
}

func (c *cache) evict() {
	for c.size > c.limit && c.order.Len() > 0 {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	it := c.order.Remove(e).(*cacheItem)
	c.size -= it.size
	delete(c.items, it.key)
}
