package index

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// neighbours gathers the rows around the matches of one source: the last lines before the next match, and a group that is
// open as long as a further match could touch it.
type neighbours struct {
	before []kept // the last lines that belong to no group
	group  []kept
	number int // of the group, 0 when there is none
	wanted int // lines the group still takes behind its last match
}

// kept is a row that outlives the unit it came from.
type kept struct {
	match
	own []byte
}

// keep returns by how much the memory of kept rows has grown.
func (k *kept) keep(m *match) (grown int) {
	had := cap(k.own)
	k.own = append(k.own[:0], m.data...)
	k.match = *m
	k.data = k.own
	return cap(k.own) - had
}

// What a source and a kept row take beside names and the row's text, roughly, in bytes.
const (
	sourceCost = 256
	keptCost   = 128
)

const (
	// groupRows bounds what is held of one group; a longer one is delivered in parts of the same number.
	groupRows = 1000
	// afterLimit bounds the rows that are delivered to the merge behind the last match that was asked for, to complete its
	// context; afterLooked bounds those that are looked at.
	afterLimit  = 64 << 10
	afterLooked = 16 * afterLimit
)

// mergeContext delivers the matches with the rows of the same source around them, group by group.
func (q *search) mergeContext(fn func(query.Row) error) error {
	before, after := q.r.Before, q.r.After
	if q.r.Newest {
		before, after = after, before
	}
	var (
		e       event.Event
		name    []byte
		sources = map[string]*neighbours{}
		open    []*neighbours // with a group, in order of its first row
		groups  int
		past    int
		looked  int64 // when the last match was found
		held    int   // memory of rows that are kept, in bytes
	)
	deliver := func(n *neighbours) error {
		for i := range n.group {
			if err := n.group[i].decode(&e); err != nil {
				return err
			}
			if err := fn(query.Row{Event: &e, Context: n.group[i].context, Group: n.number}); err != nil {
				return err
			}
		}
		n.group = n.group[:0]
		return nil
	}
	closeGroup := func(n *neighbours) error {
		i := slices.Index(open, n)
		open = slices.Delete(open, i, i+1)
		err := deliver(n)
		n.number = 0
		return err
	}
	err := q.merged(func(s *stream, m *match) error {
		if err := m.decode(&e); err != nil {
			return err
		}
		name = appendSource(name[:0], &e)
		n := sources[string(name)]
		if n == nil {
			n = &neighbours{}
			sources[string(name)] = n
			held += sourceCost + len(name)
		}
		if int64(held) > query.Memory(q.r.MaxMemory) {
			q.fullAt(m)
			return errStop
		}
		enough := q.r.Limit > 0 && q.matched >= int64(q.r.Limit)
		if enough {
			if past++; len(open) == 0 || past > afterLimit || q.total.events-looked > afterLooked {
				return errStop
			}
		}
		switch {
		case !m.context && !enough:
			if n.number == 0 {
				groups++
				n.number = groups
				open = append(open, n)
			}
			for i := range n.before {
				held += appendKept(&n.group, &n.before[i].match)
			}
			n.before = n.before[:0]
			held += appendKept(&n.group, m)
			n.wanted = after
			q.matched++
			s.matched++
			looked = q.total.events
		case n.wanted > 0:
			m.context = true
			held += appendKept(&n.group, m)
			n.wanted--
		case n.number > 0 && (len(n.before) == before || enough):
			// No later match can touch the group any more.
			if err := closeGroup(n); err != nil {
				return err
			}
			held += n.remember(m, before)
		default:
			held += n.remember(m, before)
		}
		if len(n.group) >= groupRows {
			return deliver(n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for len(open) > 0 {
		if err := closeGroup(open[0]); err != nil {
			return err
		}
	}
	return nil
}

// fullAt says that the answer ends before a row because no more rows may be held.
func (q *search) fullAt(m *match) {
	side := "from %s on"
	if q.r.Newest {
		side = "of %s and before"
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.budget = query.BudgetMemory
	q.reasons = append(q.reasons, fmt.Sprintf("the rows around matches need more than %s, as much as they may: events "+side+" are left out; "+
		"ask for fewer rows around, search a shorter range or one service, or raise limits.query_memory",
		sizeText(query.Memory(q.r.MaxMemory)), time.Unix(0, m.time).UTC().Format(time.RFC3339Nano)))
}

// remember keeps m among the last lines before a match that may come. It returns by how much the memory of kept rows has grown.
func (n *neighbours) remember(m *match, limit int) (grown int) {
	if limit == 0 {
		return 0
	}
	m.context = true
	if len(n.before) < limit {
		return appendKept(&n.before, m)
	}
	oldest := n.before[0]
	copy(n.before, n.before[1:])
	grown = oldest.keep(m)
	n.before[limit-1] = oldest
	return grown
}

// appendKept returns by how much the memory of kept rows has grown.
func appendKept(to *[]kept, m *match) (grown int) {
	list := *to
	if len(list) < cap(list) {
		list = list[:len(list)+1] // with the memory of an earlier row
	} else {
		list = append(list, kept{})
		grown = keptCost
	}
	*to = list
	return grown + list[len(list)-1].keep(m)
}

func appendSource(dst []byte, e *event.Event) []byte {
	for _, p := range [...][]byte{e.Service, e.Env, e.Host, e.Container} {
		dst = append(append(dst, p...), 0)
	}
	return dst
}

// apart finds the blocks between whose rows no others of the service lie: their times overlap with nothing else of it.
func (q *search) apart(segments []*segment.Segment, views []headView) map[*segment.Entry]bool {
	type span struct {
		lo, hi int64
		entry  *segment.Entry // nil for rows in memory
	}
	services := map[string][]span{}
	for _, seg := range segments {
		for _, e := range seg.Blocks {
			if q.touches(&e.Meta) {
				services[e.Service] = append(services[e.Service], span{e.MinTime, e.MaxTime, e})
			}
		}
	}
	for i := range views {
		v := &views[i]
		services[v.service] = append(services[v.service], span{v.minTime, v.maxTime, nil})
	}
	alone := map[*segment.Entry]bool{}
	for _, list := range services {
		slices.SortFunc(list, func(a, b span) int {
			if a.lo < b.lo {
				return -1
			}
			return 1
		})
		end, any := int64(math.MinInt64), false // of those before
		for i, s := range list {
			if s.entry != nil && (!any || end < s.lo) && (i+1 == len(list) || s.hi < list[i+1].lo) {
				alone[s.entry] = true
			}
			end, any = max(end, s.hi), true
		}
	}
	return alone
}

// near returns those of rows that context may need: of each source, the rows around the hits, and the first and the last ones,
// which may stand beside a match in another block. There is one more on each side than is asked for, so that groups that do
// not touch are seen not to.
func near(t *block.Table, rows, hits bitset.Set, before, after int) (bitset.Set, error) {
	ids, n, err := sourcesOf(t, rows)
	if err != nil {
		return nil, err
	}
	type state struct {
		last  []int32 // a ring of the last rows that are not kept
		next  int
		after int // how many more rows are kept
	}
	before++
	after++
	states := make([]state, n)
	for i := range states {
		states[i].after = after // the first ones
	}
	kept := bitset.New(t.Rows())
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		s := &states[ids[row]]
		switch {
		case hits.Has(row):
			for _, r := range s.last {
				kept.Add(int(r))
			}
			s.last, s.next, s.after = s.last[:0], 0, after
			kept.Add(row)
		case s.after > 0:
			s.after--
			kept.Add(row)
		case len(s.last) < before:
			s.last = append(s.last, int32(row))
		default:
			s.last[s.next] = int32(row)
			s.next = (s.next + 1) % before
		}
	}
	for i := range states {
		for _, r := range states[i].last {
			kept.Add(int(r))
		}
	}
	return kept, nil
}

// sourcesOf numbers the sources of rows: their env, host and container, since a block is of one service.
func sourcesOf(t *block.Table, rows bitset.Set) (ids []int32, n int, err error) {
	ids, n = make([]int32, t.Rows()), 1
	for _, name := range []string{"env", "host", "container"} {
		columns := t.Column(name)
		if err != nil {
			return nil, 0, err
		}
		type pair struct {
			id    int32
			value string
		}
		known := map[pair]int32{}
		for _, c := range columns {
			var last pair // values come in runs
			var lastID int32
			err := c.Each(rows, func(row int, value []byte) error {
				if lastID == 0 || last.id != ids[row] || last.value != string(value) {
					last = pair{ids[row], string(value)}
					if lastID = known[last]; lastID == 0 {
						lastID = int32(n)
						known[last] = lastID
						n++
					}
				}
				ids[row] = lastID
				return nil
			})
			if err != nil {
				return nil, 0, err
			}
		}
	}
	return ids, n, nil
}
