package fleet

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/recent"
)

// other is the service under which those beyond the limit are counted.
const other = "other"

const levels = int(event.Debug) + 1

// counts counts events by service and level.
type counts struct {
	limit int

	mu       sync.RWMutex
	services map[string]*serviceCount // by the name as it came
	list     []*serviceCount          // one each of services, and the overflow
	overflow *serviceCount
}

type serviceCount struct {
	name   string // valid UTF-8
	levels [levels]atomic.Uint64
}

func (c *counts) init(limit int) {
	c.limit = limit
	c.overflow = &serviceCount{name: other}
	c.services = map[string]*serviceCount{other: c.overflow}
	c.list = []*serviceCount{c.overflow}
}

// add counts events. Those of a batch come in runs of one service, or few services take turns.
func (c *counts) add(events []event.Event) {
	var found recent.Names[*serviceCount]
	for len(events) > 0 {
		service := events[0].Service
		var n [levels]uint64
		i := 0
		for ; i < len(events); i++ {
			e := &events[i]
			// The same memory, or the same bytes.
			if !bytes.Equal(e.Service, service) {
				break
			}
			if l := int(e.Level); l < levels {
				n[l]++
			}
		}
		s, ok := found.Get(service)
		if !ok {
			s = c.service(service)
			found.Put(service, s)
		}
		for l := range n {
			if n[l] != 0 {
				s.levels[l].Add(n[l])
			}
		}
		events = events[i:]
	}
}

func (c *counts) service(name []byte) *serviceCount {
	c.mu.RLock()
	s := c.services[string(name)]
	c.mu.RUnlock()
	if s != nil {
		return s
	}
	return c.enter(name)
}

// enter makes room for a service that is new, if there is some.
func (c *counts) enter(name []byte) *serviceCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.services[string(name)]; s != nil {
		return s
	}
	if len(c.services) > c.limit { // one is the overflow
		return c.overflow
	}
	// Names that are shown alike are counted together: a metric has each but once.
	label := strings.ToValidUTF8(string(name), "\uFFFD")
	s := c.services[label]
	if s == nil {
		s = &serviceCount{name: label}
		c.list = append(c.list, s)
		c.services[label] = s
	}
	c.services[string(name)] = s
	return s
}

// snapshot returns all that are counted; they go on counting.
func (c *counts) snapshot() []*serviceCount {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.list[:len(c.list):len(c.list)]
}
