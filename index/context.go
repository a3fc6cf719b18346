package index

import (
	"slices"

	"github.com/lookoutlog/lookout/index/query"
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

func (k *kept) keep(m *match) {
	k.own = append(k.own[:0], m.data...)
	k.match = *m
	k.data = k.own
}

const (
	// groupRows bounds what is held of one group; a longer one is delivered in parts of the same number.
	groupRows = 1000
	// afterLimit bounds the rows that are read behind the last match that was asked for, to complete its context.
	afterLimit = 64 << 10
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
	err := q.rows(func(u *unit, m *match) error {
		if err := m.decode(&e); err != nil {
			return err
		}
		name = appendSource(name[:0], &e)
		n := sources[string(name)]
		if n == nil {
			n = &neighbours{}
			sources[string(name)] = n
		}
		enough := q.r.Limit > 0 && q.matched.Load() >= int64(q.r.Limit)
		if enough {
			if past++; len(open) == 0 || past > afterLimit {
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
				n.group = appendKept(n.group, &n.before[i].match)
			}
			n.before = n.before[:0]
			n.group = appendKept(n.group, m)
			n.wanted = after
			q.matched.Add(1)
			q.services[u.service]++
		case n.wanted > 0:
			m.context = true
			n.group = appendKept(n.group, m)
			n.wanted--
		case n.number > 0 && (len(n.before) == before || enough):
			// No later match can touch the group any more.
			if err := closeGroup(n); err != nil {
				return err
			}
			n.remember(m, before)
		default:
			n.remember(m, before)
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

// remember keeps m among the last lines before a match that may come.
func (n *neighbours) remember(m *match, limit int) {
	if limit == 0 {
		return
	}
	m.context = true
	if len(n.before) < limit {
		n.before = appendKept(n.before, m)
		return
	}
	oldest := n.before[0]
	copy(n.before, n.before[1:])
	oldest.keep(m)
	n.before[limit-1] = oldest
}

func appendKept(list []kept, m *match) []kept {
	if len(list) < cap(list) {
		list = list[:len(list)+1] // with the memory of an earlier row
	} else {
		list = append(list, kept{})
	}
	list[len(list)-1].keep(m)
	return list
}

func appendSource(dst []byte, e *event.Event) []byte {
	for _, p := range [...][]byte{e.Service, e.Env, e.Host, e.Container} {
		dst = append(append(dst, p...), 0)
	}
	return dst
}
