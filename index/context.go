package index

import (
	"fmt"
	"slices"
	"time"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// The context of matches. The search finds the matches alone, by all that lets it leave blocks unread; the neighbours of each are
// then looked for outwards from its place (see shelves), so that what they cost is a matter of how many matches there are, not of
// how much is stored.
//
//	merged ─► match ─► its trail (one a source) ─┬─► the rows behind the last match reach it: the group goes on
//	                                             └─► they do not: the group is delivered, and a new one begins with the rows before
//
// A group is also delivered as soon as nothing that may still come can touch it.

// fewAhead is how many rows behind a match are looked for at least: neighbouring matches then share a look.
const fewAhead = 16

// maxTrails is how many trails are kept, besides those with a group.
const maxTrails = 4096

// Groups are delivered in the order of their first matches: those behind one that is still open wait for it. Beyond so many rows and
// bytes that wait they are delivered as far as they are known, a group then in parts.
const (
	waitingRows  = 10_000
	waitingBytes = 16 << 20
)

// trail follows the matches of one key.
type trail struct {
	key   *contextKey
	group *group // that is open; nil for none
	last  ref    // the last match, when there is a group
	ahead []ref  // the rows behind it
	ended bool   // there are no further ones
	cost  int64  // memory
}

// What a trail and a row ahead of it take, roughly, in bytes.
const (
	trailCost = 1024
	refCost   = 40
)

// group is a group, or what has not been delivered of it.
type group struct {
	number int
	rows   []kept
	closed bool // no further rows belong to it
}

// kept is a row that outlives the unit it came from.
type kept struct {
	match
	own []byte
}

// fewRows is how many rows a group has place for at first.
const fewRows = 8

// another makes place for one more row, in the memory of an earlier one when there is some.
func (o *group) another() *kept {
	if len(o.rows) < cap(o.rows) {
		o.rows = o.rows[:len(o.rows)+1]
	} else {
		if o.rows == nil {
			o.rows = make([]kept, 0, fewRows)
		}
		o.rows = append(o.rows, kept{})
	}
	return &o.rows[len(o.rows)-1]
}

// groups makes groups of matches and their neighbours.
type groups struct {
	q             *search
	fn            func(query.Row) error
	before, after int // in the search's order
	shelves       *shelves
	trails        map[string]*trail
	open          []*trail // with a group
	due           ref      // none of them ends before this place in the search's order, if there are any
	waiting       []*group // that are not delivered, by number
	rows, bytes   int      // that wait
	memory        int64    // of the trails
	spare         []*group
	numbers       int
	event         event.Event
	name          []byte
}

// mergeContext delivers the matches with their neighbours, group by group.
func (q *search) mergeContext(fn func(query.Row) error) error {
	g := &groups{q: q, fn: fn, before: q.r.Before, after: q.r.After, trails: map[string]*trail{}}
	if q.r.Newest {
		g.before, g.after = g.after, g.before
	}
	g.shelves = newShelves(q)
	defer g.shelves.close()
	q.passed = func(place int64) error {
		if err := g.finishPassed(func(end ref) bool { return q.key(end.time, end.time) < place }); err != nil {
			return err
		}
		return g.deliver(true)
	}
	err := q.merged(func(s *stream, m *match) error {
		if err := g.match(m); err != nil {
			return err
		}
		s.matched++
		q.matched++
		if q.r.Limit > 0 && q.matched == int64(q.r.Limit) {
			return errStop
		}
		return nil
	})
	if err != nil || q.ctx.Err() != nil {
		return err
	}
	if err := g.finishPassed(func(ref) bool { return true }); err != nil {
		return err
	}
	return g.deliver(true)
}

// match takes the next match.
func (g *groups) match(m *match) error {
	q := g.q
	if g.memory > query.Memory(q.r.MaxMemory) {
		q.fullAt(m)
		return errStop
	}
	if err := m.decode(&g.event); err != nil {
		return err
	}
	at := ref{time: m.time, seq: m.seq}
	g.shelves.at = q.key(m.time, m.time)
	t := g.trail(&g.event)
	if t.group != nil {
		ahead := t.ahead[:min(len(t.ahead), g.reach())]
		if i := slices.IndexFunc(ahead, func(r ref) bool { return r.seq == at.seq }); i >= 0 {
			for _, r := range t.ahead[:i] {
				g.add(t, r)
			}
			t.ahead = append(t.ahead[:0], t.ahead[i+1:]...)
		} else {
			i := slices.Index(g.open, t)
			g.open = slices.Delete(g.open, i, i+1)
			g.finish(t)
		}
	}
	if t.group == nil {
		g.begin(t)
		rows := g.shelves.beside(t.key, at, !q.r.Newest, g.before)
		for _, r := range slices.Backward(rows) {
			g.add(t, r)
		}
	}
	k := t.group.another()
	k.own = append(k.own[:0], m.data...)
	k.match, k.data = *m, k.own
	g.rows, g.bytes = g.rows+1, g.bytes+len(k.own)
	t.last = at
	if missing := g.reach() - len(t.ahead); missing > 0 && !t.ended && t.key != nil {
		from := at
		if n := len(t.ahead); n > 0 {
			from = t.ahead[n-1]
		}
		wanted := max(missing, fewAhead)
		rows := g.shelves.beside(t.key, from, q.r.Newest, wanted)
		t.ended = len(rows) < wanted
		t.ahead = append(t.ahead, rows...)
		cost := trailCost + refCost*int64(cap(t.ahead))
		g.memory, t.cost = g.memory+cost-t.cost, cost
	}
	if end := g.end(t); len(g.open) == 1 || q.precedes(end, g.due) {
		g.due = end
	}
	if err := g.finishPassed(func(end ref) bool { return q.precedes(end, at) }); err != nil {
		return err
	}
	return g.deliver(false)
}

// begin begins a trail's group.
func (g *groups) begin(t *trail) {
	if n := len(g.spare); n > 0 {
		t.group = g.spare[n-1]
		g.spare = g.spare[:n-1]
	} else {
		t.group = &group{}
	}
	g.numbers++
	*t.group = group{number: g.numbers, rows: t.group.rows[:0]}
	t.ended, t.ahead = false, t.ahead[:0]
	g.open = append(g.open, t)
	g.waiting = append(g.waiting, t.group)
}

// reach is the number of rows behind a match in which a further one touches its group.
func (g *groups) reach() int { return g.before + g.after + 1 }

// end returns the last row that can touch the trail's group, if it matches.
func (g *groups) end(t *trail) ref {
	if n := min(len(t.ahead), g.reach()); n > 0 {
		return t.ahead[n-1]
	}
	return t.last
}

// trail returns the trail of an event's key.
func (g *groups) trail(e *event.Event) *trail {
	var ok bool
	if g.name, ok = g.q.r.ContextBy.AppendKey(g.name[:0], e); !ok {
		return &trail{} // without neighbours
	}
	t := g.trails[string(g.name)]
	if t == nil {
		if len(g.trails) >= maxTrails+2*len(g.open) || g.memory > query.Memory(g.q.r.MaxMemory)/2 {
			for name, t := range g.trails {
				if t.group == nil {
					g.memory -= t.cost
					delete(g.trails, name)
				}
			}
		}
		t = &trail{key: newContextKey(g.q, e, g.name)}
		g.trails[string(g.name)] = t
	}
	return t
}

// finishPassed finishes the groups whose end is passed.
func (g *groups) finishPassed(passed func(end ref) bool) error {
	if len(g.open) == 0 || !passed(g.due) {
		return g.q.ctx.Err()
	}
	open := g.open
	g.open = g.open[:0]
	for _, t := range open {
		end := g.end(t)
		if passed(end) {
			g.finish(t)
			continue
		}
		if g.open = append(g.open, t); len(g.open) == 1 || g.q.precedes(end, g.due) {
			g.due = end
		}
	}
	clear(open[len(g.open):])
	return g.q.ctx.Err()
}

// finish closes a trail's group, with the rows behind its last match.
func (g *groups) finish(t *trail) {
	for _, r := range t.ahead[:min(len(t.ahead), g.after)] {
		g.add(t, r)
	}
	t.group.closed = true
	t.group = nil
	if cap(t.ahead) > 4*fewAhead {
		g.memory -= refCost * int64(cap(t.ahead))
		t.cost, t.ahead = trailCost, nil
	}
}

// add adds a neighbour to a trail's group. One that cannot be read any more is said to be missing by the shelves.
func (g *groups) add(t *trail, r ref) {
	k := t.group.another()
	m, ok := g.shelves.read(r, k.own)
	if !ok {
		t.group.rows = t.group.rows[:len(t.group.rows)-1]
		return
	}
	k.match, k.own = m, m.data
	k.context = true
	g.rows, g.bytes = g.rows+1, g.bytes+len(k.own)
}

// deliver delivers what is due: groups that are closed and have none before them that is open, and when too much waits, what there
// is. With first also what is known of the first one: there is time.
func (g *groups) deliver(first bool) error {
	if g.rows > waitingRows || g.bytes > waitingBytes {
		waiting := g.waiting
		g.waiting = g.waiting[:0]
		for _, o := range waiting {
			if err := g.flush(o); err != nil {
				return err
			}
			if !o.closed {
				g.waiting = append(g.waiting, o)
			}
		}
		clear(waiting[len(g.waiting):])
		return nil
	}
	n := 0
	for ; n < len(g.waiting); n++ {
		o := g.waiting[n]
		if !o.closed && !first {
			break
		}
		if err := g.flush(o); err != nil {
			return err
		}
		if !o.closed {
			break
		}
		g.spare = append(g.spare, o)
	}
	g.waiting = slices.Delete(g.waiting, 0, n)
	return nil
}

// flush delivers what is held of a group.
func (g *groups) flush(o *group) error {
	for i := range o.rows {
		k := &o.rows[i]
		g.rows, g.bytes = g.rows-1, g.bytes-len(k.own)
		if err := k.decode(&g.event); err != nil {
			return err
		}
		if err := g.fn(query.Row{Event: &g.event, Context: k.context, Group: o.number}); err != nil {
			return err
		}
	}
	o.rows = o.rows[:0]
	return nil
}

// fullAt says that the answer ends before a match because no more may be held.
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
