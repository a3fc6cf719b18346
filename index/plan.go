package index

import (
	"math"
	"slices"
	"sort"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/segment"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// plan says which events are asked for, and finds the blocks that may hold them. It does not change while it is used.
type plan struct {
	query          *query.Query // nil for everything
	all            bool         // every event matches
	since, until   int64        // since <= time < until; an open side is the extreme
	minSeq, maxSeq uint64
	low, high      *query.Place // what is asked for lies behind low and before high; nil for no such bound. since and until have their times
	keys           []uint64     // every block with a match has them in its filter
	needles        []query.Needle
}

// newPlan returns the plan for a request; newest is the newest sequence there is.
func newPlan(r *query.Request, newest uint64) plan {
	p := plan{
		query: r.Query, all: r.Query == nil || r.Query.Everything(),
		since: r.Since, until: r.Until, minSeq: r.MinSeq, maxSeq: r.MaxSeq,
	}
	if p.since == 0 {
		p.since = math.MinInt64
	}
	if p.until == 0 {
		p.until = math.MaxInt64
	}
	if p.maxSeq == 0 || p.maxSeq > newest {
		p.maxSeq = newest
	}
	if b := r.Behind; b != nil && r.Newest {
		p.high, p.until = b, min(p.until, b.Time+min(1, math.MaxInt64-b.Time))
	} else if b != nil {
		p.low, p.since = b, max(p.since, b.Time)
	}
	if !p.all {
		p.keys, p.needles = r.Query.FilterKeys(), r.Query.Needles()
	}
	return p
}

// touches tells whether a block may hold rows in range.
func (p *plan) touches(m *block.Meta) bool {
	return m.MaxTime >= p.since && m.MinTime < p.until && m.MaxSeq >= p.minSeq && m.MinSeq <= p.maxSeq &&
		p.between(query.Place{Time: m.MaxTime, Seq: m.MaxSeq}, query.Place{Time: m.MinTime, Seq: m.MinSeq})
}

// inside tells whether all rows of a block are in range.
func (p *plan) inside(m *block.Meta) bool {
	return m.MinTime >= p.since && m.MaxTime < p.until && m.MinSeq >= p.minSeq && m.MaxSeq <= p.maxSeq &&
		p.between(query.Place{Time: m.MinTime, Seq: m.MinSeq}, query.Place{Time: m.MaxTime, Seq: m.MaxSeq})
}

// has tells whether an event of this time and sequence is in range.
func (p *plan) has(time int64, seq uint64) bool {
	at := query.Place{Time: time, Seq: seq}
	return time >= p.since && time < p.until && seq >= p.minSeq && seq <= p.maxSeq && p.between(at, at)
}

// between tells whether lower lies behind low, and upper before high.
func (p *plan) between(lower, upper query.Place) bool {
	return (p.low == nil || p.low.Less(lower)) && (p.high == nil || upper.Less(*p.high))
}

// allOf tells whether every event of the service matches.
func (p *plan) allOf(service string) bool {
	return p.all || p.query.MatchesAllOf([]byte(service))
}

// piece is a block that may hold matches.
type piece struct {
	entry *segment.Entry
	// least and most bound the rows that match, whatever their time and sequence.
	least, most int
	inside      bool // all rows are in range of time and sequence
	// forms are the forms of text that may match, for block.Table.Select; nil when the table has to find them itself.
	forms [][]block.Form
}

// counted tells whether exactly least events of the block are asked for; which they are, only the block tells.
func (p *piece) counted() bool { return p.inside && p.least == p.most }

// fewBlocks is the number of blocks up to which judging the forms in a large segment's footer costs more than letting each
// block judge its own.
const fewBlocks = 3

// pieces returns the blocks of a segment that may hold what is asked for. What of the footer cannot be read rules out
// nothing; failed is told of it.
func (p *plan) pieces(seg *segment.Segment, scan *query.Scan, failed func(error)) []piece {
	set := bitset.New(len(seg.Blocks))
	scan.Segments++
	scan.Blocks += len(seg.Blocks)
	var service string
	may := p.all || p.query.MayMatchService(nil)
	for i, e := range seg.Blocks {
		if !p.all && e.Service != service {
			service, may = e.Service, p.query.MayMatchService([]byte(e.Service))
		}
		if may && p.touches(&e.Meta) {
			set.Add(i)
		} else {
			scan.Range++
		}
	}
	left := set.Count()
	if left > 0 && len(p.keys) > 0 {
		narrowed := set.Clone()
		if err := seg.Candidates(p.keys, narrowed); err != nil {
			failed(err)
		} else {
			set = narrowed
			scan.Filter += left - set.Count()
			left = set.Count()
		}
	}
	if left == 0 {
		return nil
	}
	var judged *segment.Judged
	if !p.all && (left > fewBlocks || 8*left > len(seg.Blocks)) {
		var err error
		if judged, err = seg.Judge(p.query, set); err != nil {
			failed(err)
			judged = nil
		}
	}
	list := make([]piece, 0, left)
	for i := set.Next(0); i >= 0; i = set.Next(i + 1) {
		e := seg.Blocks[i]
		pc := piece{entry: e, least: e.Rows, most: e.Rows, inside: p.inside(&e.Meta)}
		if !p.all {
			var facts query.Facts = metaFacts{&e.Meta}
			if judged != nil {
				facts, pc.forms = judged.Block(i)
			}
			if pc.least, pc.most = p.query.Bounds(facts); pc.most == 0 {
				scan.Forms++
				continue
			}
		}
		list = append(list, pc)
	}
	return list
}

// rows returns the rows of a table that are asked for, in set's memory when that is large enough, and how many of them were
// in range.
func (p *plan) rows(pc *piece, t *block.Table, set bitset.Set) (rows bitset.Set, looked int, err error) {
	rows, err = p.inRange(pc, t, set)
	if err != nil || rows.Empty() {
		return rows, 0, err
	}
	return rows, rows.Count(), p.narrow(pc, t, rows)
}

// narrow takes from rows those that do not match.
func (p *plan) narrow(pc *piece, t *block.Table, rows bitset.Set) error {
	switch {
	case pc.most == 0:
		rows.Clear()
		return nil
	case pc.least == t.Rows():
		return nil
	}
	return t.Select(p.query, pc.forms, rows)
}

// inRange returns the rows of a table in range of time and sequence.
func (p *plan) inRange(pc *piece, t *block.Table, set bitset.Set) (bitset.Set, error) {
	n, m := t.Rows(), &pc.entry.Meta
	if words := (n + 63) / 64; cap(set) < words {
		set = bitset.New(n)
	} else {
		set = set[:words]
		set.Clear()
	}
	lo, hi := 0, n
	if m.MinTime < p.since || m.MaxTime >= p.until {
		times, err := t.Times()
		if err != nil {
			return nil, err
		}
		lo = sort.Search(n, func(i int) bool { return times[i] >= p.since })
		hi = max(lo, sort.Search(n, func(i int) bool { return times[i] >= p.until }))
	}
	if p.low != nil && m.MinTime <= p.low.Time || p.high != nil && m.MaxTime >= p.high.Time {
		var err error
		if lo, hi, err = p.cut(t, lo, hi); err != nil {
			return nil, err
		}
	}
	set.AddRange(lo, hi)
	if m.MinSeq < p.minSeq || m.MaxSeq > p.maxSeq {
		seqs, err := t.Seqs()
		if err != nil {
			return nil, err
		}
		for i, seq := range seqs[lo:hi] {
			if seq < p.minSeq || seq > p.maxSeq {
				set.Remove(lo + i)
			}
		}
	}
	return set, nil
}

// cut narrows a range of a table's rows, which are in order of time and sequence, to those between low and high.
func (p *plan) cut(t *block.Table, lo, hi int) (int, int, error) {
	times, err := t.Times()
	if err != nil {
		return 0, 0, err
	}
	seqs, err := t.Seqs()
	if err != nil {
		return 0, 0, err
	}
	at := func(i int) query.Place { return query.Place{Time: times[lo+i], Seq: seqs[lo+i]} }
	first, end := 0, hi-lo
	if p.low != nil {
		first = sort.Search(end, func(i int) bool { return p.low.Less(at(i)) })
	}
	if p.high != nil {
		end = first + sort.Search(end-first, func(i int) bool { return !at(first + i).Less(*p.high) })
	}
	return lo + first, lo + end, nil
}

// match tells whether an encoded event matches, whatever its time and sequence; e holds it afterwards when it does. The
// first so many of the query's literals are known to be in it.
func (p *plan) match(row []byte, seq uint64, e *event.Event, known int) (bool, error) {
	for i := known; i < len(p.needles); i++ {
		if p.needles[i].Index(row) < 0 {
			return false, nil
		}
	}
	if _, err := event.Decode(row, e); err != nil {
		return false, err
	}
	e.Seq = seq
	return p.all || p.query.Match(e), nil
}

// namedHosts is the number of hosts from which a block's meta may not name them all.
const namedHosts = 64

// metaFacts are the facts that a block's meta holds, for blocks of which no more is known.
type metaFacts struct{ m *block.Meta }

func (f metaFacts) Rows() int                             { return f.m.Rows }
func (f metaFacts) Service() string                       { return f.m.Service }
func (f metaFacts) Text(*query.Test) (least, most int)    { return 0, f.m.Rows }
func (f metaFacts) Message(*query.Test) (least, most int) { return 0, f.m.Rows }

func (f metaFacts) Field(name string, _ *query.Test) (least, most int) { return f.HasField(name) }

func (f metaFacts) HasField(name string) (least, most int) {
	if f.m.HasField(name) {
		return 0, f.m.Rows
	}
	return 0, 0
}

func (f metaFacts) Builtin(b query.Builtin, t *query.Test) (least, most int) {
	if b == query.Host && len(f.m.Hosts) < namedHosts && !slices.ContainsFunc(f.m.Hosts, func(h string) bool { return t.Match([]byte(h)) }) {
		return 0, 0
	}
	return 0, f.m.Rows
}

func (f metaFacts) Levels(set uint16) int {
	n := int64(0)
	for l, rows := range f.m.Levels {
		if set>>l&1 != 0 {
			n += rows
		}
	}
	return int(n)
}
