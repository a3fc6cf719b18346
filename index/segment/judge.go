package segment

import (
	"maps"
	"slices"

	"github.com/lookoutlog/lookout/index/block"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
)

// Judged is what a segment's footer says of a query, block by block. It does not change, and is safe for concurrent use.
type Judged struct {
	seg   *Segment
	facts []facts
	// blind: the forms are not known; nothing below is.
	blind bool
	tests []judgedTest           // by ID
	own   bitset.Set             // blocks with patterns that the footer does not list
	has   map[string][]presence  // by field, then by block
	hosts map[*query.Test]hostOf // tests on the host
}

// judgedTest is the forms that a test may be true of: those of block i are from starts[i] to starts[i+1].
type judgedTest struct {
	starts []int32
	forms  []block.Form
	rows   []rowsOf
}

// rowsOf is what a block has of a form.
type rowsOf struct {
	column int32 // as in the footer
	rows   int32
}

// presence bounds how many events of a block have a field.
type presence struct{ least, most int }

// hostOf tells of lists of hosts, by their first element, whether a test is true of one of them.
type hostOf map[*string]bool

// facts are the [query.Facts] of one block.
type facts struct {
	j *Judged
	e *Entry
}

// Judge judges each form of the blocks' texts once for each of the query's tests. Bit i of blocks stands for Blocks[i]; of
// other blocks the result says nothing. The result is never nil: after an error, a *[CorruptError] for a damaged footer, and
// for a segment that has no forms, it lets every block through.
func (s *Segment) Judge(q *query.Query, blocks bitset.Set) (*Judged, error) {
	j := &Judged{seg: s, facts: make([]facts, len(s.Blocks)), own: bitset.New(len(s.Blocks))}
	for i, e := range s.Blocks {
		j.facts[i] = facts{j, e}
	}
	if s.directory.blocks == nil {
		j.blind = true
		return j, nil
	}
	w := &judging{s: s, j: j, blocks: blocks, tests: q.Tests(), entries: make([][]entry, len(q.Tests())), keys: make([]uint64, len(q.Tests()))}
	w.services = make([]candidates, len(s.services))
	for i, e := range s.Blocks {
		w.services[e.service].blocks++
		if blocks.Has(i) {
			w.services[e.service].wanted++
		}
	}
	w.probe(q)
	if err := w.judge(); err != nil {
		j.blind, j.has = true, nil
		return j, err
	}
	err := w.filter()
	w.file()
	return j, err
}

// judging is the state of one call of Judge.
type judging struct {
	s        *Segment
	j        *Judged
	blocks   bitset.Set
	tests    []*query.Test
	services []candidates
	entries  [][]entry // by test, in order of forms
	keys     []uint64  // by test, of those with entries that are whole

	// Of the part that is being judged, by form: whether one of the candidates has it; what the test says of it.
	asked, verdicts []query.Verdict
	form            Form
}

// candidates counts a service's blocks.
type candidates struct{ blocks, wanted int }

// entry is a form in a block that a test may be true of.
type entry struct {
	block, column, local int32
	rowsOf
	verdict query.Verdict
	whole   bool // only if the block's filter has the test's key
}

// probe learns which fields' presence the query asks for, and what its tests say of the hosts. What a query asks for depends
// on nothing but the service, of a block of which nothing else is known.
func (w *judging) probe(q *query.Query) {
	p := &probe{w: w}
	for i, c := range w.services {
		if c.wanted == 0 {
			continue
		}
		p.service = w.s.services[i]
		q.Bounds(p)
		if !q.Names("service") {
			break
		}
	}
}

// hasField makes room for the field's presence.
func (w *judging) hasField(name string) {
	if w.j.has[name] != nil {
		return
	}
	if w.j.has == nil {
		w.j.has = map[string][]presence{}
	}
	w.j.has[name] = make([]presence, len(w.s.Blocks))
}

// host judges the hosts of all candidates. Equal lists are one slice, so that each is judged once.
func (w *judging) host(t *query.Test) {
	if w.j.hosts[t] != nil {
		return
	}
	if w.j.hosts == nil {
		w.j.hosts = map[*query.Test]hostOf{}
	}
	lists := hostOf{}
	w.j.hosts[t] = lists
	for i, e := range w.s.Blocks {
		if len(e.Hosts) == 0 || !w.blocks.Has(i) {
			continue
		}
		if _, ok := lists[&e.Hosts[0]]; !ok {
			lists[&e.Hosts[0]] = matchesOne(t, e.Hosts)
		}
	}
}

func matchesOne(t *query.Test, values []string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return t.Match([]byte(v)) })
}

// probe is facts that rule nothing out, and note what they are asked.
type probe struct {
	w       *judging
	service string
}

const probeRows = 1 << 20

func (p *probe) Rows() int                                   { return probeRows }
func (p *probe) Service() string                             { return p.service }
func (p *probe) Text(*query.Test) (least, most int)          { return 0, probeRows }
func (p *probe) Message(*query.Test) (least, most int)       { return 0, probeRows }
func (p *probe) Field(string, *query.Test) (least, most int) { return 0, probeRows }
func (p *probe) Levels(uint16) int                           { return probeRows / 2 }

func (p *probe) HasField(name string) (least, most int) {
	p.w.hasField(name)
	return 0, probeRows
}

func (p *probe) Builtin(b query.Builtin, t *query.Test) (least, most int) {
	if b == query.Host {
		p.w.host(t)
	}
	return 0, probeRows
}

// judge goes through the forms of the candidates' services.
func (w *judging) judge() error {
	if len(w.tests) == 0 && len(w.j.has) == 0 {
		return nil
	}
	wanted := func(p *part) bool {
		return slices.ContainsFunc(w.services[p.first:p.last+1], func(c candidates) bool { return c.wanted > 0 })
	}
	for i := range w.s.formParts {
		if !wanted(&w.s.formParts[i]) {
			continue
		}
		part, err := w.s.formPart(i)
		if err != nil {
			return err
		}
		w.part(part)
	}
	return nil
}

// part judges the forms of a part that are in candidates.
func (w *judging) part(part *forms) {
	w.ask(part)
	w.verdicts = append(w.verdicts[:0], w.asked...)
	for id, t := range w.tests {
		// Groups side by side are judged in one go.
		for i := 0; i < len(part.groups); i++ {
			first := i
			for i < len(part.groups) && w.asks(t, &part.groups[i]) {
				i++
			}
			if first == i {
				continue
			}
			w.run(part, t, part.groups[first].lo, part.groups[i-1].hi)
			for k := first; k < i; k++ {
				w.enter(part, &part.groups[k], t, id)
			}
		}
	}
}

// ask finds out which forms of a part are in candidates, and adds up in how many rows of each a field is.
func (w *judging) ask(part *forms) {
	w.asked = slices.Grow(w.asked[:0], len(part.list))[:len(part.list)]
	clear(w.asked)
	for i := range part.groups {
		g := &part.groups[i]
		c := w.services[g.service]
		if c.wanted == 0 {
			continue
		}
		var has [][]presence
		switch {
		case g.column == columnUnknown:
			has = slices.Collect(maps.Values(w.j.has))
		case g.column >= columnNamed && w.j.has[w.s.names[g.column-columnNamed]] != nil:
			has = append(has, w.j.has[w.s.names[g.column-columnNamed]])
		}
		if has == nil && !slices.ContainsFunc(w.tests, func(t *query.Test) bool { return w.asks(t, g) }) {
			continue
		}
		few := 2*c.wanted <= c.blocks // a look at the places costs less than a judgement
		for k := g.lo; k < g.hi; k++ {
			if !few && has == nil {
				w.asked[k] = query.Maybe
				continue
			}
			part.fill(&w.form, &w.s.directory, g, k)
			it := w.form.iterate()
			for p := it.candidate(w.blocks); p != nil; p = it.candidate(w.blocks) {
				w.asked[k] = query.Maybe
				for _, has := range has {
					if has[p.Block].most += p.Rows; g.column != columnUnknown && !w.form.unlisted {
						has[p.Block].least = max(has[p.Block].least, p.Rows)
					}
				}
				if has == nil {
					break
				}
			}
		}
	}
}

// asks tells whether the query applies the test to the texts of the group.
func (w *judging) asks(t *query.Test, g *group) bool {
	switch g.column {
	case columnMessage:
		return t.OnMessage()
	case columnUnknown:
		return true
	}
	return t.OnField(w.s.names[g.column-columnNamed])
}

// run judges forms lo to hi.
func (w *judging) run(part *forms, t *query.Test, lo, hi int) {
	copy(w.verdicts[lo:hi], w.asked[lo:hi])
	for k := lo; k < hi; k++ {
		if f := &part.list[k]; f.kind == byte(block.Numbers) && !t.MayMatchNumbers(part.ranges[f.ranged].lo, part.ranges[f.ranged].hi) {
			w.verdicts[k] = query.Never
		}
	}
	t.JudgeAll(&part.patterns, lo, w.verdicts[lo:hi])
	for k := lo; k < hi; k++ {
		if kind := part.list[k].kind; kind != byte(block.Patterned) && kind != byte(block.Numbers) {
			w.verdicts[k] = w.asked[k] // nothing is known of its texts
		}
	}
}

// enter makes entries of the forms of a group that a test may be true of.
func (w *judging) enter(part *forms, g *group, t *query.Test, id int) {
	f := &w.form
	entries := w.entries[id]
	for k := g.lo; k < g.hi; k++ {
		v := w.verdicts[k]
		if v == query.Never {
			continue
		}
		part.fill(f, &w.s.directory, g, k)
		whole := false
		if v == query.Maybe && f.Kind == block.Patterned {
			var key uint64
			if key, whole = t.WholeTokenOf(&part.patterns, k); whole {
				w.keys[id] = key
			}
		}
		it := f.iterate()
		for p := it.candidate(w.blocks); p != nil; p = it.candidate(w.blocks) {
			if f.Kind == block.Numbers && !t.MayMatchNumbers(p.lo, p.hi) {
				continue
			}
			if f.unlisted {
				w.j.own.Add(p.Block)
			}
			entries = append(entries, entry{int32(p.Block), int32(p.Column), int32(p.Local), rowsOf{int32(g.column), int32(p.Rows)}, v, whole})
		}
	}
	w.entries[id] = entries
}

// number is the form of JSON numbers, whatever their values.
var number = func() *query.Pattern {
	h := query.Hole{Min: 1, Max: 4 << 20} // no value is longer
	for _, c := range []byte("0123456789+-.eE") {
		h.Set.Add(c)
	}
	return &query.Pattern{Text: []byte{query.HoleMark}, Holes: []query.Hole{h}}
}()

// candidate returns the next place that is in one of the blocks, nil after the last.
func (it *placeReader) candidate(blocks bitset.Set) *place {
	for {
		p := it.next()
		if p == nil || blocks.Has(p.Block) {
			return p
		}
	}
}

// filter drops the entries of texts that would have a token of their own for a test's literal in blocks whose filters have it not.
// After an error some are kept that could be dropped.
func (w *judging) filter() error {
	var failed error
	for id, entries := range w.entries {
		may := bitset.New(len(w.s.Blocks))
		for i := range entries {
			if entries[i].whole {
				may.Add(int(entries[i].block))
			}
		}
		if may.Empty() {
			continue
		}
		if err := w.s.Candidates(w.keys[id:id+1], may); err != nil {
			failed = err
		}
		w.entries[id] = slices.DeleteFunc(entries, func(e entry) bool { return e.whole && !may.Has(int(e.block)) })
	}
	return failed
}

// file orders the entries by block.
func (w *judging) file() {
	w.j.tests = make([]judgedTest, len(w.tests))
	for id, entries := range w.entries {
		if len(entries) == 0 {
			continue
		}
		t := &w.j.tests[id]
		t.starts = make([]int32, len(w.s.Blocks)+1)
		for i := range entries {
			t.starts[entries[i].block+1]++
		}
		for i := range w.s.Blocks {
			t.starts[i+1] += t.starts[i]
		}
		t.forms, t.rows = make([]block.Form, len(entries)), make([]rowsOf, len(entries))
		next := slices.Clone(t.starts)
		for i := range entries {
			e := &entries[i]
			k := next[e.block]
			next[e.block]++
			t.forms[k] = block.Form{Column: int(e.column), Local: int(e.local), Verdict: e.verdict}
			t.rows[k] = e.rowsOf
		}
	}
}

// Block returns what is known of Blocks[i] for [query.Query.Bounds], and by test ID the forms of text that a test may be true
// of, for [block.Table.Select]. forms is nil when the footer does not list all of the block's forms: the block judges its own.
func (j *Judged) Block(i int) (f query.Facts, forms [][]block.Form) {
	if !j.blind && !j.own.Has(i) {
		forms = make([][]block.Form, len(j.tests))
		for id := range j.tests {
			forms[id], _ = j.tests[id].of(i)
		}
	}
	return &j.facts[i], forms
}

func (t *judgedTest) of(i int) ([]block.Form, []rowsOf) {
	if t.starts == nil {
		return nil, nil
	}
	a, b := t.starts[i], t.starts[i+1]
	return t.forms[a:b:b], t.rows[a:b:b]
}

func (f *facts) Rows() int       { return f.e.Rows }
func (f *facts) Service() string { return f.e.Service }

func (f *facts) Levels(set uint16) int {
	n := 0
	for l, rows := range f.e.Levels {
		if set&(1<<l) != 0 {
			n += int(rows)
		}
	}
	return n
}

// sum bounds the rows that satisfy t among the columns that in says yes to. A message has one form, so that their rows add
// up; an event may have several values of one field, so that of those only the form with the most rows is certain.
func (f *facts) sum(t *query.Test, in func(column int32) bool) (least, most int) {
	if f.j.blind || t.ID() >= len(f.j.tests) {
		return 0, f.e.Rows
	}
	forms, rows := f.j.tests[t.ID()].of(f.e.index)
	messages, field := 0, 0
	for i, r := range rows {
		if !in(r.column) {
			continue
		}
		most += int(r.rows)
		switch {
		case forms[i].Verdict != query.Always:
		case r.column == columnMessage:
			messages += int(r.rows)
		default:
			field = max(field, int(r.rows))
		}
	}
	return min(max(messages, field), f.e.Rows), min(most, f.e.Rows)
}

func (f *facts) Text(t *query.Test) (least, most int) {
	return f.sum(t, func(int32) bool { return true })
}

func (f *facts) Message(t *query.Test) (least, most int) {
	return f.sum(t, func(column int32) bool { return column == columnMessage })
}

func (f *facts) Field(name string, t *query.Test) (least, most int) {
	if !f.e.HasField(name) {
		return 0, 0
	}
	at := int32(columnUnknown)
	if i, ok := slices.BinarySearch(f.j.seg.names, name); ok {
		at = columnNamed + int32(i)
	}
	return f.sum(t, func(column int32) bool { return column == at || column == columnUnknown })
}

func (f *facts) HasField(name string) (least, most int) {
	if !f.e.HasField(name) {
		return 0, 0
	}
	has := f.j.has[name]
	if has == nil {
		return 0, f.e.Rows
	}
	return min(has[f.e.index].least, f.e.Rows), min(has[f.e.index].most, f.e.Rows)
}

// maxHosts is from how many hosts on a block's meta may not name them all.
const maxHosts = 64

func (f *facts) Builtin(b query.Builtin, t *query.Test) (least, most int) {
	if b != query.Host || len(f.e.Hosts) >= maxHosts {
		return 0, f.e.Rows
	}
	if len(f.e.Hosts) == 0 {
		return 0, 0
	}
	match, known := f.j.hosts[t][&f.e.Hosts[0]]
	if !known {
		match = matchesOne(t, f.e.Hosts)
	}
	if !match {
		return 0, 0
	}
	return 0, f.e.Rows
}
