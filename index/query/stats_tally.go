package query

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// StatsTable is a block's events in columns, for [Tally.AddTable]. Values are given row by row, those of one row next to
// each other or not; they are valid during the call.
type StatsTable interface {
	Rows() int
	Service() string
	Times() ([]int64, error) // ascending
	Levels() ([]uint8, error)
	// Values calls fn for each value of a field in rows; of a built-in one (env, host, container, stream) that is not empty.
	Values(field string, rows bitset.Set, fn func(row int, value []byte)) error
	// Feed is Values for a sink, which takes each value as a text or by its number.
	Feed(field string, rows bitset.Set, sink *ValueSink) error
	// Numbers calls fn for each value of an extra field that [ParseNumber] takes for a number.
	Numbers(field string, rows bitset.Set, fn func(row int, v float64)) error
}

// A Tally gathers the groups of a [StatsRequest] and their aggregates. Each worker has one of its own; they are merged at
// the end. It is not safe for concurrent use.
//
// A group is found by a walk through levels, one for each field of By and one for time: from a node of the level before and
// a value's number to a node of the level. The nodes of the last level are the groups.
type Tally struct {
	r       *StatsRequest
	dims    []dim // one for each of By
	steps   []*level
	times   map[int64]int32
	starts  []int64
	groups  totals
	matched int64
	full    bool // groups were left out
	mem     allowance

	// Scratch, for a table's rows.
	nodes, values []int32
	kids          []int32
	more, extras  []rowNode
	batch         []lookup
}

// dim is one field to group by. A value's number is its place in the set; 0 is for none.
type dim struct {
	name  string
	get   func(*event.Event) []byte // of a built-in field
	level bool
	textSet
	last     int32 // number of the value that came last; 0 for none
	lastText []byte
	decimals []*Decimals
	// unwritten is set while all texts are those of the only Decimals, and neither written out nor found.
	unwritten bool
}

// level is one level of nodes.
type level struct {
	first         []int32          // of the first level, whose nodes have one parent: by value, the node and 1
	next          map[uint64]int32 // of the others: by parent and value
	parent, value []int32
	recent        [1024]struct { // nodes that next gave lately
		key  uint64
		node int32 // and 1
	}
}

// rowNode is a further node, or value, of a row whose field has several values.
type rowNode struct{ row, node int32 }

// NewTally returns an empty tally of a request.
func NewTally(r *StatsRequest, memory *Budget) *Tally {
	t := &Tally{r: r, mem: allowance{from: memory}, groups: newTotals(r)}
	for _, name := range r.By {
		t.dims = append(t.dims, dim{name: name, get: builtinValue(name), level: name == nameLevel, textSet: newTextSet()})
		t.steps = append(t.steps, &level{})
	}
	if r.Every > 0 {
		t.times = map[int64]int32{}
		t.steps = append(t.steps, &level{})
	}
	for i, l := range t.steps {
		if i > 0 {
			l.next = map[uint64]int32{}
		}
	}
	if len(t.steps) == 0 {
		t.groups.grow()
	}
	return t
}

func builtinValue(name string) func(*event.Event) []byte {
	switch name {
	case nameService:
		return func(e *event.Event) []byte { return e.Service }
	case nameEnv:
		return func(e *event.Event) []byte { return e.Env }
	case nameHost:
		return func(e *event.Event) []byte { return e.Host }
	case nameContainer:
		return func(e *event.Event) []byte { return e.Container }
	case nameStream:
		return func(e *event.Event) []byte { return e.Stream }
	case nameLevel:
		return func(e *event.Event) []byte { return levelText[min(int(e.Level), len(levelText)-1)] }
	}
	return nil
}

// levelText are the names of the levels by number.
var levelText = func() (t [event.Debug + 1][]byte) {
	for l := range t {
		t[l] = []byte(event.Level(l).String())
	}
	return t
}()

// Err says when the tallies of the request have become too large: it wraps [ErrStatsMemory].
func (t *Tally) Err() error {
	if t.mem.over {
		return ErrStatsMemory
	}
	return nil
}

// What a value and a group take, roughly, in bytes, beside a value's text and a group's aggregates.
const (
	valueCost = 80
	groupCost = 48
)

// number returns a value's number; -1 when there are too many values for the groups.
func (t *Tally) number(d *dim, v []byte) int32 {
	if d.last > 0 && bytes.Equal(v, d.lastText) {
		return d.last
	}
	if d.unwritten {
		if x := d.decimals[0].parse(v); x >= 0 {
			return d.decimals[0].Number(x)
		}
		d.settle()
	}
	id, slot := d.find(v)
	if id < 0 {
		if len(d.texts) > MaxGroups {
			t.full = true
			return -1
		}
		id = d.add(v, slot)
		t.mem.use(valueCost + len(v))
	}
	d.last, d.lastText = id, append(d.lastText[:0], v...)
	return id
}

// builtinNumber is number for a field whose empty value is none.
func (t *Tally) builtinNumber(d *dim, v []byte) int32 {
	if len(v) == 0 {
		return 0
	}
	return t.number(d, v)
}

// timeNumber returns the number of the step that begins at start.
func (t *Tally) timeNumber(start int64) int32 {
	id, ok := t.times[start]
	if !ok {
		id = int32(len(t.starts))
		t.times[start] = id
		t.starts = append(t.starts, start)
	}
	return id
}

// StepStart returns when the step of time begins that t is in.
func (r *StatsRequest) StepStart(t int64) int64 {
	rest := t % r.Every
	if rest < 0 {
		rest += r.Every
	}
	if start := t - rest; start <= t {
		return start
	}
	return math.MinInt64
}

// step returns the node of level d for a value below parent, -1 for what is left out.
func (t *Tally) step(d int, parent, value int32) int32 {
	if parent < 0 || value < 0 {
		return -1
	}
	l := t.steps[d]
	if d == 0 {
		if int(value) < len(l.first) && l.first[value] > 0 {
			return l.first[value] - 1
		}
		if node := t.newNode(d, parent, value); node >= 0 {
			for int(value) >= len(l.first) {
				l.first = append(l.first, 0)
			}
			l.first[value] = node + 1
			return node
		}
		return -1
	}
	key := uint64(uint32(parent))<<32 | uint64(uint32(value))
	r := &l.recent[(key*0x9E3779B97F4A7C15)>>54]
	if r.key == key && r.node > 0 {
		return r.node - 1
	}
	node, ok := l.next[key]
	if !ok {
		if node = t.newNode(d, parent, value); node < 0 {
			return -1
		}
		l.next[key] = node
	}
	r.key, r.node = key, node+1
	return node
}

func (t *Tally) newNode(d int, parent, value int32) int32 {
	l := t.steps[d]
	if len(l.parent) >= MaxGroups {
		t.full = true
		return -1
	}
	l.parent = append(l.parent, parent)
	l.value = append(l.value, value)
	t.mem.use(groupCost)
	if d == len(t.steps)-1 {
		t.groups.grow()
		t.mem.use(t.groups.size)
	}
	return int32(len(l.parent) - 1)
}

// Add counts an event that matches.
func (t *Tally) Add(e *event.Event) {
	t.matched++
	extras := t.extras[:0]
	extras = append(extras, rowNode{node: 0})
	for i := range t.dims {
		d := &t.dims[i]
		if d.get != nil {
			v := t.builtinNumber(d, d.get(e))
			for j := range extras {
				extras[j].node = t.step(i, extras[j].node, v)
			}
			continue
		}
		values := t.values[:0]
		for j := range e.Fields {
			if f := &e.Fields[j]; string(f.Name) == d.name {
				if v := t.number(d, f.Value); !slices.Contains(values, v) {
					values = append(values, v)
				}
			}
		}
		if len(values) == 0 {
			values = append(values, 0)
		}
		n := len(extras)
		for j := range n {
			parent := extras[j].node
			extras[j].node = t.step(i, parent, values[0])
			for _, v := range values[1:] {
				extras = append(extras, rowNode{node: t.step(i, parent, v)})
			}
		}
		t.values = values
	}
	if t.r.Every > 0 {
		v := t.timeNumber(t.r.StepStart(e.Time))
		for j := range extras {
			extras[j].node = t.step(len(t.dims), extras[j].node, v)
		}
	}
	t.extras = extras
	g := &t.groups
	for _, x := range extras {
		if x.node < 0 {
			continue
		}
		g.counts[x.node]++
		for i := range g.fields {
			f := &g.fields[i]
			if f.get != nil {
				if v := f.get(e); len(v) > 0 {
					f.different[x.node].add(v, &t.mem)
					f.used = true
				}
				continue
			}
			for j := range e.Fields {
				if v := e.Fields[j].Value; string(e.Fields[j].Name) == f.name {
					if f.different != nil {
						f.different[x.node].add(v, &t.mem)
						f.used = true
					}
					if f.numeric() {
						if v, ok := ParseNumber(v); ok {
							f.add(x.node, v, &t.mem)
						}
					}
				}
			}
		}
	}
}

// AddCount counts n events of a service and level in the step of time that at is in, for a request with
// [StatsRequest.ByCounts].
func (t *Tally) AddCount(service []byte, l event.Level, at int64, n int64) {
	t.matched += n
	e := event.Event{Service: service, Level: l}
	node := int32(0)
	for i := range t.dims {
		d := &t.dims[i]
		node = t.step(i, node, t.builtinNumber(d, d.get(&e)))
	}
	if t.r.Every > 0 {
		node = t.step(len(t.dims), node, t.timeNumber(t.r.StepStart(at)))
	}
	if node >= 0 {
		t.groups.counts[node] += n
	}
}

// AddTable counts the rows of a table, all of which match. After an error they may have been counted in part.
func (t *Tally) AddTable(tab StatsTable, rows bitset.Set) error {
	n := rows.Count()
	if n == 0 {
		return nil
	}
	t.matched += int64(n)
	w := walk{t: t, tab: tab, rows: rows, n: n, one: true}
	t.extras = t.extras[:0]
	for i := range t.dims {
		if i == len(t.steps)-1 && w.one && len(t.groups.fields) == 0 && t.dims[i].get == nil {
			return w.countValues(i)
		}
		if err := w.dim(i); err != nil {
			return err
		}
	}
	if t.r.Every > 0 {
		if err := w.time(); err != nil {
			return err
		}
	}
	w.count()
	return w.fields()
}

// walk is the way of a table's rows through the levels: all at one node as long as no value tells them apart.
type walk struct {
	t    *Tally
	tab  StatsTable
	rows bitset.Set
	n    int // rows
	one  bool
	node int32 // of all rows, while one
}

// all steps every row to the same value.
func (w *walk) all(d int, value int32) {
	t := w.t
	if w.one {
		w.node = t.step(d, w.node, value)
	} else {
		parent, node := int32(-2), int32(-1)
		for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
			if p := t.nodes[row]; p != parent {
				parent, node = p, t.step(d, p, value)
			}
			t.nodes[row] = node
		}
	}
	for i := range t.extras {
		t.extras[i].node = t.step(d, t.extras[i].node, value)
	}
}

// each steps every row to its value in t.values, and to those of t.more besides.
func (w *walk) each(d, values int) {
	t := w.t
	if cap(t.nodes) < w.tab.Rows() {
		t.nodes = make([]int32, w.tab.Rows())
	}
	t.nodes = t.nodes[:w.tab.Rows()]
	before := len(t.extras)
	for i := range before {
		row, parent := t.extras[i].row, t.extras[i].node
		t.extras[i].node = t.step(d, parent, t.values[row])
		for _, m := range rowsOf(t.more, row) {
			t.extras = append(t.extras, rowNode{row, t.step(d, parent, m.node)})
		}
	}
	for _, m := range t.more {
		parent := w.node
		if !w.one {
			parent = t.nodes[m.row]
		}
		t.extras = append(t.extras, rowNode{m.row, t.step(d, parent, m.node)})
	}
	if len(t.extras) > before {
		slices.SortStableFunc(t.extras, func(a, b rowNode) int { return cmp.Compare(a.row, b.row) })
	}
	if !w.one {
		w.eachBelow(d)
		return
	}
	w.one = false
	if d == 0 {
		w.first()
		return
	}
	// All rows are at one node: a table by value is faster than the level's map.
	if cap(t.kids) < values {
		t.kids = make([]int32, values+values/2)
	}
	kids := t.kids[:values]
	clear(kids)
	for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
		v := t.values[row]
		if v < 0 {
			t.nodes[row] = -1
			continue
		}
		if kids[v] == 0 {
			kids[v] = t.step(d, w.node, v) + 2
		}
		t.nodes[row] = kids[v] - 2
	}
}

// first steps the rows from the root, whose nodes by value are a table of the level's.
func (w *walk) first() {
	t := w.t
	for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
		t.nodes[row] = t.step(0, w.node, t.values[row])
	}
}

func (w *walk) eachBelow(d int) {
	t := w.t
	parent, value, node := int32(-2), int32(-2), int32(-1)
	for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
		if p, v := t.nodes[row], t.values[row]; p != parent || v != value {
			parent, value = p, v
			node = t.step(d, p, v)
		}
		t.nodes[row] = node
	}
}

// rowsOf returns the entries of a row in a list that is in order of rows.
func rowsOf(list []rowNode, row int32) []rowNode {
	if len(list) == 0 {
		return nil
	}
	from, found := slices.BinarySearchFunc(list, row, func(x rowNode, row int32) int { return cmp.Compare(x.row, row) })
	if !found {
		return nil
	}
	to := from
	for to < len(list) && list[to].row == row {
		to++
	}
	return list[from:to]
}

// clearValues makes t.values one 0 for each row.
func (w *walk) clearValues() []int32 {
	n, t := w.tab.Rows(), w.t
	if cap(t.values) < n {
		t.values = make([]int32, n)
	}
	t.values = t.values[:n]
	clear(t.values)
	return t.values
}

// dim steps the rows to their values of a field.
func (w *walk) dim(i int) error {
	t := w.t
	d := &t.dims[i]
	if d.name == nameService {
		w.all(i, t.builtinNumber(d, []byte(w.tab.Service())))
		return nil
	}
	values := w.clearValues()
	t.more = t.more[:0]
	seen, first, same := 0, int32(0), true
	if d.level {
		levels, err := w.tab.Levels()
		if err != nil {
			return err
		}
		var ids [len(levelText)]int32
		for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
			l := levels[row]
			if int(l) >= len(ids) || l == 0 {
				continue
			}
			if ids[l] == 0 {
				ids[l] = t.number(d, levelText[l])
			}
			values[row] = ids[l]
			if seen == 0 {
				first = ids[l]
			}
			seen++
			same = same && ids[l] == first
		}
	} else {
		add := func(row int, id int32) {
			if values[row] != 0 {
				t.more = append(t.more, rowNode{int32(row), id})
				return
			}
			values[row] = id
			if seen == 0 {
				first = id
			}
			seen++
			same = same && id == first
		}
		sink := ValueSink{tally: t, dim: d, Text: func(row int, v []byte) { add(row, t.number(d, v)) }}
		sink.IDs = func(rows, ids []int32) {
			for i, row := range rows {
				add(int(row), ids[i])
			}
		}
		if err := w.tab.Feed(d.name, w.rows, &sink); err != nil {
			return err
		}
		t.dedupe()
	}
	switch {
	case len(t.more) > 0:
	case seen == 0:
		w.all(i, 0)
		return nil
	case seen == w.n && same:
		w.all(i, first)
		return nil
	}
	w.each(i, len(d.texts))
	return nil
}

// countValues counts the rows by their values of the last field, when nothing else is asked of them.
func (w *walk) countValues(i int) error {
	t := w.t
	d := &t.dims[i]
	values := w.clearValues()
	t.more = t.more[:0]
	none := w.n
	count := func(row int, id int32) {
		if values[row] != 0 {
			t.more = append(t.more, rowNode{int32(row), id})
			return
		}
		values[row] = id
		none--
		if level := t.steps[i]; i == 0 && uint32(id) < uint32(len(level.first)) && level.first[id] > 0 { // what step does, without the call
			t.groups.counts[level.first[id]-1]++
		} else if node := t.step(i, w.node, id); node >= 0 {
			t.groups.counts[node]++
		}
	}
	// Values are looked up many at a time: the processor then waits for several places in memory at once.
	if t.batch == nil {
		t.batch = make([]lookup, 0, 256)
	}
	var text [shortSlot]byte
	flush := func() {
		if len(t.batch) > 0 {
			d.settle()
		}
		d.lookUp(t.batch)
		for k := range t.batch {
			l := &t.batch[k]
			if l.id == 0 {
				l.id = t.number(d, l.slot.text(text[:0]))
			}
			count(int(l.row), l.id)
		}
		t.batch = t.batch[:0]
	}
	sink := ValueSink{tally: t, dim: d}
	sink.IDs = func(rows, ids []int32) {
		for i, row := range rows {
			count(int(row), ids[i])
		}
	}
	sink.Text = func(row int, v []byte) {
		if len(v) > shortSlot || d.unwritten {
			count(row, t.number(d, v))
			return
		}
		l := lookup{row: int32(row)}
		l.slot, l.hash = packText(v)
		if t.batch = append(t.batch, l); len(t.batch) == cap(t.batch) {
			flush()
		}
	}
	if err := w.tab.Feed(d.name, w.rows, &sink); err != nil {
		t.batch = t.batch[:0]
		return err
	}
	flush()
	t.dedupe()
	for _, m := range t.more {
		if node := t.step(i, w.node, m.node); node >= 0 {
			t.groups.counts[node]++
		}
	}
	if none > 0 {
		if node := t.step(i, w.node, 0); node >= 0 {
			t.groups.counts[node] += int64(none)
		}
	}
	return nil
}

// dedupe puts the further values in order of rows, and drops those that the row has already.
func (t *Tally) dedupe() {
	if len(t.more) == 0 {
		return
	}
	slices.SortFunc(t.more, func(a, b rowNode) int { return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.node, b.node)) })
	t.more = slices.Compact(t.more)
	t.more = slices.DeleteFunc(t.more, func(m rowNode) bool { return t.values[m.row] == m.node })
}

// time steps the rows to their steps of time.
func (w *walk) time() error {
	t := w.t
	times, err := w.tab.Times()
	if err != nil {
		return err
	}
	d := len(t.dims)
	first, last := w.rows.Next(0), w.rows.Prev(w.tab.Rows()-1)
	if start := t.r.StepStart(times[first]); start == t.r.StepStart(times[last]) {
		w.all(d, t.timeNumber(start))
		return nil
	}
	values := w.clearValues()
	t.more = t.more[:0]
	var start, end int64 // of the step of the row before; both 0 for none, and for the steps at the ends of time
	var id int32
	for row := first; row >= 0; row = w.rows.Next(row + 1) {
		if at := times[row]; at < start || at >= end {
			start = t.r.StepStart(at)
			id = t.timeNumber(start)
			if end = start + t.r.Every; end < start || start == math.MinInt64 {
				start, end = 0, 0
			}
		}
		values[row] = id
	}
	w.each(d, len(t.starts))
	return nil
}

func (w *walk) count() {
	t := w.t
	counts := t.groups.counts
	if w.one {
		if w.node >= 0 {
			counts[w.node] += int64(w.n)
		}
	} else {
		for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
			if node := t.nodes[row]; node >= 0 {
				counts[node]++
			}
		}
	}
	for _, x := range t.extras {
		if x.node >= 0 {
			counts[x.node]++
		}
	}
}

func (w *walk) fields() error {
	t := w.t
	for i := range t.groups.fields {
		f := &t.groups.fields[i]
		if f.different != nil {
			if err := w.distinct(f); err != nil {
				return err
			}
		}
		if !f.numeric() {
			continue
		}
		err := w.tab.Numbers(f.name, w.rows, func(row int, v float64) {
			if node := w.at(row); node >= 0 {
				f.add(node, v, &t.mem)
			}
			for _, x := range rowsOf(t.extras, int32(row)) {
				if x.node >= 0 {
					f.add(x.node, v, &t.mem)
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) distinct(f *fieldTotals) error {
	t := w.t
	add := func(row int, v []byte) {
		f.used = true
		if node := w.at(row); node >= 0 {
			f.different[node].add(v, &t.mem)
		}
		for _, x := range rowsOf(t.extras, int32(row)) {
			if x.node >= 0 {
				f.different[x.node].add(v, &t.mem)
			}
		}
	}
	switch f.name {
	case nameService:
		if name := []byte(w.tab.Service()); len(name) > 0 {
			for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
				add(row, name)
			}
		}
		return nil
	case nameLevel:
		levels, err := w.tab.Levels()
		if err != nil {
			return err
		}
		for row := w.rows.Next(0); row >= 0; row = w.rows.Next(row + 1) {
			if l := levels[row]; l > 0 && int(l) < len(levelText) {
				add(row, levelText[l])
			}
		}
		return nil
	}
	return w.tab.Values(f.name, w.rows, add)
}

func (w *walk) at(row int) int32 {
	if w.one {
		return w.node
	}
	return w.t.nodes[row]
}

// totals are the aggregates of groups, by the group's number.
type totals struct {
	counts []int64
	fields []fieldTotals
	aggs   []aggPlace
	size   int // of a group, in bytes
}

// aggPlace says where an aggregate is found: in which of fields, -1 for the count.
type aggPlace struct {
	Agg
	field int
}

// fieldTotals are the aggregates of one field; a slice that nothing asks for is nil.
type fieldTotals struct {
	name      string
	get       func(*event.Event) []byte // of a built-in field, which only has different
	moments   []moments
	samples   []sample
	different []different
	used      bool // a number, or any value for different, has come
}

func newTotals(r *StatsRequest) totals {
	g := totals{size: 8}
	for _, a := range r.Aggs {
		if a.Kind == Count {
			g.aggs = append(g.aggs, aggPlace{a, -1})
			continue
		}
		i := slices.IndexFunc(g.fields, func(f fieldTotals) bool { return f.name == a.Field })
		if i < 0 {
			i = len(g.fields)
			g.fields = append(g.fields, fieldTotals{name: a.Field, get: builtinValue(a.Field)})
		}
		g.aggs = append(g.aggs, aggPlace{a, i})
		switch f := &g.fields[i]; {
		case a.Kind == Quantile && f.samples == nil:
			f.samples = []sample{}
			g.size += 144
		case a.Kind == Distinct && f.different == nil:
			f.different = []different{}
			g.size += 120
		case a.Kind != Quantile && a.Kind != Distinct && f.moments == nil:
			f.moments = []moments{}
			g.size += 40
		}
	}
	return g
}

// grow makes room for one more group.
func (g *totals) grow() {
	g.counts = append(g.counts, 0)
	for i := range g.fields {
		f := &g.fields[i]
		if f.moments != nil {
			f.moments = append(f.moments, moments{})
		}
		if f.samples != nil {
			f.samples = append(f.samples, sample{})
		}
		if f.different != nil {
			f.different = append(f.different, different{})
		}
	}
}

func (f *fieldTotals) numeric() bool { return f.moments != nil || f.samples != nil }

func (f *fieldTotals) add(node int32, v float64, a *allowance) {
	f.used = true
	if f.moments != nil {
		f.moments[node].add(v)
	}
	if f.samples != nil {
		f.samples[node].add(v, a)
	}
}

// merge adds o's group j to the group i.
func (g *totals) merge(i int32, o *totals, j int32, a *allowance) {
	g.counts[i] += o.counts[j]
	for k := range g.fields {
		f, of := &g.fields[k], &o.fields[k]
		if f.moments != nil {
			f.moments[i].merge(&of.moments[j])
		}
		if f.samples != nil {
			f.samples[i].merge(&of.samples[j], a)
		}
		if f.different != nil {
			f.different[i].merge(&of.different[j], a)
		}
	}
}

// value computes an aggregate of a group, NaN for none.
func (g *totals) value(a aggPlace, i int32) float64 {
	if a.field < 0 {
		return float64(g.counts[i])
	}
	f := &g.fields[a.field]
	switch a.Kind {
	case Quantile:
		return f.samples[i].quantile(a.Q)
	case Distinct:
		return f.different[i].count()
	}
	m := &f.moments[i]
	switch {
	case a.Kind == Sum:
		return m.total()
	case m.n == 0:
		return math.NaN()
	case a.Kind == Avg:
		return m.total() / float64(m.n)
	case a.Kind == Min:
		return m.min
	}
	return m.max
}

func (g *totals) estimated(a aggPlace, i int32) bool {
	return a.Kind == Quantile && g.fields[a.field].samples[i].classed || a.Kind == Distinct && g.fields[a.field].different[i].registers != nil
}

// Merge adds what o has gathered for the same request; o must not be used any more.
func (t *Tally) Merge(o *Tally) {
	t.matched += o.matched
	t.full = t.full || o.full
	nodes := []int32{0}
	for d := range t.steps {
		l := o.steps[d]
		var values []int32
		if d < len(t.dims) {
			mine, other := &t.dims[d], &o.dims[d]
			values = t.numbersOf(mine, other)
		} else {
			for _, start := range o.starts {
				values = append(values, t.timeNumber(start))
			}
		}
		next := make([]int32, len(l.parent))
		for i := range next {
			next[i] = t.step(d, nodes[l.parent[i]], values[l.value[i]])
		}
		nodes = next
	}
	for j, i := range nodes {
		if i >= 0 {
			t.groups.merge(i, &o.groups, int32(j), &t.mem)
		}
	}
	for i := range t.groups.fields {
		t.groups.fields[i].used = t.groups.fields[i].used || o.groups.fields[i].used
	}
	o.mem.giveBack()
	for i := range o.dims {
		o.dims[i].release()
	}
}

// Stats returns what was gathered, but for what the summary says of reading. The tally must not be used any more.
func (t *Tally) Stats() *Stats {
	for i := range t.dims {
		t.dims[i].write()
		t.dims[i].release()
	}
	s := &Stats{Groups: []StatsGroup{}, Summary: Summary{Matched: t.matched, Complete: true}}
	if t.full {
		s.Summary.Complete = false
		s.Summary.Reasons = []string{fmt.Sprintf("there are more than %d groups; the others are left out: group by less, or search for less", MaxGroups)}
	}
	t.unused(s)
	keep, other := t.top()
	var places []int32 // of s.Groups among the groups
	for i := range int32(len(t.groups.counts)) {
		if keep == nil || keep[t.series(i)] {
			places = append(places, i)
		}
	}
	t.order(places)
	values := make([]float64, len(places)*len(t.r.Aggs))
	for _, i := range places {
		n := len(t.r.Aggs)
		s.Groups = append(s.Groups, t.group(&t.groups, i, values[:0:n], s))
		values = values[n:]
		g := &s.Groups[len(s.Groups)-1]
		g.By, g.Time = t.by(t.series(i)), t.start(i)
	}
	if other != nil {
		s.LeftOut = other.series
		for j, start := range other.starts {
			g := t.group(&other.totals, int32(j), nil, s)
			g.Time = start
			s.Other = append(s.Other, g)
		}
		slices.SortFunc(s.Other, func(a, b StatsGroup) int { return cmp.Compare(a.Time, b.Time) })
	}
	slices.SortFunc(s.Estimated, func(a, b Agg) int { return slices.Index(t.r.Aggs, a) - slices.Index(t.r.Aggs, b) })
	return s
}

// group computes a group's aggregates.
func (t *Tally) group(g *totals, i int32, values []float64, s *Stats) StatsGroup {
	for _, a := range g.aggs {
		v := g.value(a, i)
		if math.IsInf(v, 0) {
			v = math.NaN()
		}
		values = append(values, v)
		if g.estimated(a, i) && !slices.Contains(s.Estimated, a.Agg) {
			s.Estimated = append(s.Estimated, a.Agg)
		}
	}
	return StatsGroup{Values: values}
}

// unused finds the fields that no event had.
func (t *Tally) unused(s *Stats) {
	if t.matched == 0 {
		return
	}
	for i := range t.dims {
		if d := &t.dims[i]; len(d.texts) == 1 && d.get == nil {
			s.Unused = append(s.Unused, d.name)
		}
	}
	for i := range t.groups.fields {
		if f := &t.groups.fields[i]; !f.used && f.get == nil && !slices.Contains(s.Unused, f.name) {
			s.Unused = append(s.Unused, f.name)
		}
	}
}

// series is a group without its step of time.
func (t *Tally) series(i int32) int32 {
	if t.r.Every > 0 {
		return t.steps[len(t.dims)].parent[i]
	}
	return i
}

// start is when a group's step of time begins.
func (t *Tally) start(i int32) int64 {
	if t.r.Every > 0 {
		return t.starts[t.steps[len(t.dims)].value[i]]
	}
	return 0
}

// by returns the values of a series.
func (t *Tally) by(node int32) []StatsValue {
	out := make([]StatsValue, len(t.dims))
	for d := len(t.dims) - 1; d >= 0; d-- {
		v := t.steps[d].value[node]
		out[d] = StatsValue{Text: t.dims[d].texts[v], Null: v == 0}
		node = t.steps[d].parent[node]
	}
	return out
}

// compareSeries compares the values of two series.
func (t *Tally) compareSeries(a, b int32) int {
	c := 0
	for d := len(t.dims) - 1; d >= 0; d-- { // the first that differs counts
		l, texts := t.steps[d], t.dims[d].texts
		v, w := l.value[a], l.value[b]
		if here := compareValues(StatsValue{texts[v], v == 0}, StatsValue{texts[w], w == 0}); here != 0 {
			c = here
		}
		a, b = l.parent[a], l.parent[b]
	}
	return c
}

// order sorts groups as [Stats] says.
func (t *Tally) order(places []int32) {
	firsts := make([]float64, len(t.groups.counts))
	if t.r.Every == 0 {
		for _, p := range places {
			firsts[p] = t.groups.value(t.groups.aggs[0], p)
		}
	}
	slices.SortFunc(places, func(a, b int32) int {
		return cmp.Or(cmp.Compare(t.start(a), t.start(b)), compareHighest(firsts[a], firsts[b]), t.compareSeries(t.series(a), t.series(b)))
	})
}

// compareHighest puts the higher first and NaN last.
func compareHighest(a, b float64) int { return cmp.Compare(b, a) }

func compareValues(a, b StatsValue) int {
	if a.Null != b.Null {
		if a.Null {
			return 1
		}
		return -1
	}
	return cmp.Compare(a.Text, b.Text)
}

// others are the groups that Top leaves out, as one, by step of time.
type others struct {
	totals totals
	starts []int64
	series int
}

// top chooses the series to keep, by number, and adds up the others; nil for all.
func (t *Tally) top() (keep []bool, other *others) {
	series := len(t.groups.counts)
	if t.r.Every > 0 && len(t.dims) > 0 {
		series = len(t.steps[len(t.dims)-1].parent)
	} else if t.r.Every > 0 {
		return nil, nil // one series
	}
	if t.r.Top <= 0 || series <= t.r.Top {
		return nil, nil
	}
	// What orders the series: their first aggregate over the whole range.
	whole := &t.groups
	if t.r.Every > 0 {
		sum := newTotals(&StatsRequest{Aggs: t.r.Aggs[:1]})
		for range series {
			sum.grow()
		}
		first := totals{counts: t.groups.counts, aggs: t.groups.aggs[:1]}
		if at := t.groups.aggs[0].field; at >= 0 {
			f := t.groups.fields[at]
			only := fieldTotals{name: f.name, get: f.get}
			if sum.fields[0].moments != nil {
				only.moments = f.moments
			}
			if sum.fields[0].samples != nil {
				only.samples = f.samples
			}
			if sum.fields[0].different != nil {
				only.different = f.different
			}
			first.fields = []fieldTotals{only}
		}
		for i := range int32(len(t.groups.counts)) {
			sum.merge(t.series(i), &first, i, &t.mem)
		}
		whole = &sum
	}
	firsts := make([]float64, series)
	for i := range firsts {
		if firsts[i] = whole.value(whole.aggs[0], int32(i)); math.IsNaN(firsts[i]) {
			firsts[i] = math.Inf(-1) // none comes last
		}
	}
	least := selectNth(slices.Clone(firsts), series-t.r.Top)
	var ranked []int32
	for i, v := range firsts {
		if v >= least {
			ranked = append(ranked, int32(i))
		}
	}
	slices.SortFunc(ranked, func(a, b int32) int { return cmp.Or(cmp.Compare(firsts[b], firsts[a]), t.compareSeries(a, b)) })
	keep = make([]bool, series)
	for _, i := range ranked[:t.r.Top] {
		keep[i] = true
	}
	other = &others{totals: newTotals(t.r), series: series - t.r.Top}
	places := map[int64]int32{}
	for i := range int32(len(t.groups.counts)) {
		if keep[t.series(i)] {
			continue
		}
		start := t.start(i)
		place, ok := places[start]
		if !ok {
			place = int32(len(other.starts))
			places[start] = place
			other.starts = append(other.starts, start)
			other.totals.grow()
		}
		other.totals.merge(place, &t.groups, i, &t.mem)
	}
	return keep, other
}
