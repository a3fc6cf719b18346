package block

import (
	"bytes"
	"math"
	"slices"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Blocks are joined column by column: what has been taken apart once, into forms and the values of their holes, into columns of
// fields and lists of these, is taken over by its numbers. That is about half of what building a block of rows costs.

// joiner is what [Builder.Join] knows of its blocks; it keeps its memory.
type joiner struct {
	sources []joinSource
	order   []uint16   // the source of each row
	texts   []joinText // of the sources, for one column
	text    []byte     // of values that are made for their keys
	numbers []byte     // the texts of numbers
}

// joinSource is one of the blocks.
type joinSource struct {
	t      *Table
	times  []int64
	seqs   []uint64
	next   int // row
	dicts  [dictColumns]joinDict
	shapes []uint16 // of each row
	lists  []joinShape
	fields []int32 // the source's field for each of the builder's columns, -1 for none
}

// joinDict leads from a source's places in a dictionary to the builder's.
type joinDict struct {
	ids []uint16
	to  []int32 // -1: not seen yet
}

// joinShape is a list of columns as the builder has it.
type joinShape struct {
	known bool
	node  int32
	list  []int32
}

// joinText is a text column of a source.
type joinText struct {
	r     *textReader
	ids   []uint16
	forms []joinForm
	next  int // value
	raws  int // raw values so far
}

// joinForm is one of its forms.
type joinForm struct {
	text   []byte
	number int32 // the builder's, -1 before the first value
	holes  int
	values int
	next   int    // value
	first  uint32 // of its holes in textColumn.holes
}

// Join builds one block of all rows of some pattern blocks of one service and appends it to dst: byte for byte what Append builds of
// the same rows in order of (time, sequence), in about half the time. ok is false, and nothing is built, where only Append can do it: when rows are
// further apart than gap, in ns, or have fields beyond what has columns. received covers the rows' sequences, in order. The
// caller keeps to [MaxBytes] and [MaxRows]. The info is valid until the next block. An error that wraps [ErrCorrupt] does not say
// which of the blocks is damaged.
func (b *Builder) Join(dst []byte, tables []*Table, received []ReceivedRun, gap uint64) (data []byte, info *Info, ok bool, err error) {
	rows := 0
	for _, t := range tables {
		rows += t.Rows()
	}
	b.reset(rows)
	j := &b.join
	defer j.release()
	if ok, err := j.open(tables); !ok || err != nil {
		return nil, nil, false, err
	}
	m := &b.info.Meta
	*m = Meta{Service: tables[0].Service(), Rows: rows, MinSeq: math.MaxUint64}
	for _, t := range tables {
		m.Bytes += t.Bytes
	}
	if !b.joinOrder(gap) || !b.joinRows() {
		return nil, nil, false, nil
	}
	if ok, err := b.joinText(&b.text, j.order, nil, func(s *joinSource) *textReader { return &s.t.message }); !ok || err != nil {
		return nil, nil, false, err
	}
	for i, c := range b.fields {
		ok, err := true, error(nil)
		if c.kind == event.Number {
			err = b.joinNumbers(i, c)
		} else {
			ok, err = b.joinText(&c.text, c.from, c, func(s *joinSource) *textReader {
				if k := s.fields[i]; k >= 0 {
					return &s.t.fields[k].text
				}
				return nil
			})
		}
		if !ok || err != nil {
			return nil, nil, false, err
		}
	}
	data, err = b.finish(dst, received)
	return data, &b.info, err == nil, err
}

// release lets go of the blocks.
func (j *joiner) release() {
	clear(j.sources)
	clear(j.texts)
	j.sources, j.texts, j.numbers = j.sources[:0], j.texts[:0], j.numbers[:0]
}

// open reads what is needed of every row.
func (j *joiner) open(tables []*Table) (ok bool, err error) {
	if len(tables) > math.MaxUint16 {
		return false, nil
	}
	for _, t := range tables {
		if t.rest.n > 0 {
			return false, nil
		}
		for k := range t.fields {
			if t.fields[k].number && t.fields[k].kind != event.Number { // no builder does it
				return false, nil
			}
		}
		s := joinSource{t: t, lists: make([]joinShape, len(t.shapes))}
		if s.times, err = t.Times(); err != nil {
			return false, err
		}
		if s.seqs, err = t.Seqs(); err != nil {
			return false, err
		}
		if s.shapes, err = t.rowShapes(); err != nil {
			return false, err
		}
		for i := range s.dicts {
			d := &s.dicts[i]
			if d.ids, err = t.dict(i); err != nil {
				return false, err
			}
			d.to = slices.Repeat([]int32{-1}, len(t.dicts[i].values))
		}
		j.sources = append(j.sources, s)
	}
	// As they begin: the order of rows is then found by looking at a few of them.
	slices.SortStableFunc(j.sources, func(a, b joinSource) int {
		return compareRows(a.times[0], a.seqs[0], b.times[0], b.seqs[0])
	})
	return true, nil
}

func compareRows(timeA int64, seqA uint64, timeB int64, seqB uint64) int {
	switch {
	case timeA != timeB && timeA < timeB, timeA == timeB && seqA < seqB:
		return -1
	case timeA == timeB && seqA == seqB:
		return 0
	}
	return 1
}

// joinOrder puts the rows in order of (time, sequence).
func (b *Builder) joinOrder(gap uint64) bool {
	j := &b.join
	j.order = j.order[:0]
	var active []int // sources that have begun and not ended
	begun := 0
	for {
		best := -1
		for _, s := range active {
			if best < 0 || j.before(s, best) {
				best = s
			}
		}
		if begun < len(j.sources) && (best < 0 || j.before(begun, best)) {
			best = begun
			active = append(active, begun)
			begun++
		}
		if best < 0 {
			break
		}
		b.worked(1)
		s := &j.sources[best]
		t, seq := uint64(s.times[s.next]), s.seqs[s.next]
		if n := len(b.times); n > 0 && t-b.times[n-1] > gap {
			return false
		}
		b.times, b.seqs = append(b.times, t), append(b.seqs, seq)
		j.order = append(j.order, uint16(best))
		if s.next++; s.next == len(s.times) {
			active = slices.DeleteFunc(active, func(k int) bool { return k == best })
		}
	}
	return true
}

// before tells whether the next row of source a comes before that of source b.
func (j *joiner) before(a, b int) bool {
	x, y := &j.sources[a], &j.sources[b]
	return compareRows(x.times[x.next], x.seqs[x.next], y.times[y.next], y.seqs[y.next]) < 0
}

// joinRows takes over what there is one of a row.
func (b *Builder) joinRows() bool {
	j, m := &b.join, &b.info.Meta
	for i := range j.sources {
		j.sources[i].next = 0
	}
	for i, n := range j.order {
		b.worked(1)
		s := &j.sources[n]
		row := s.next
		s.next++
		for k := range s.dicts {
			d, c := &s.dicts[k], &b.dicts[k]
			id := d.ids[row]
			if d.to[id] < 0 {
				d.to[id] = int32(c.place(s.t.dicts[k].values[id]))
			}
			c.ids = append(c.ids, uint16(d.to[id]))
		}
		level := b.dicts[levelColumn].values[b.dicts[levelColumn].ids[i]][0]
		m.Levels[level]++
		m.MinSeq, m.MaxSeq = min(m.MinSeq, b.seqs[i]), max(m.MaxSeq, b.seqs[i])
		b.count(int64(b.times[i]), level)
		shape := &s.lists[s.shapes[row]]
		if !shape.known && !b.joinShape(s, shape, s.t.shapes[s.shapes[row]]) {
			return false
		}
		for _, column := range shape.list {
			c := b.fields[column]
			c.addRow(int32(i))
			c.from = append(c.from, n)
		}
		b.shapes.add(shape.node, shape.list)
	}
	return true
}

// joinShape finds the builder's columns for a list of a source's.
func (b *Builder) joinShape(s *joinSource, shape *joinShape, list []int32) bool {
	shape.known = true
	for _, k := range list {
		f := &s.t.fields[k]
		column := b.columnNamed(f.kind, f.named)
		if column == restColumn {
			return false
		}
		for len(s.fields) <= int(column) {
			s.fields = append(s.fields, -1)
		}
		if s.fields[column] >= 0 && s.fields[column] != k { // two columns of one name and kind: no builder does it
			return false
		}
		s.fields[column] = k
		shape.list = append(shape.list, column)
		shape.node = b.shapes.step(shape.node, column)
	}
	return true
}

// joinText fills a text column: from is the source of each value. field is the column's, nil for the message.
func (b *Builder) joinText(c *textColumn, from []uint16, field *fieldColumn, column func(*joinSource) *textReader) (ok bool, err error) {
	j := &b.join
	clear(j.texts)
	j.texts = j.texts[:0]
	for i := range j.sources {
		s := &j.sources[i]
		for field != nil && len(s.fields) < len(b.fields) {
			s.fields = append(s.fields, -1)
		}
		t := joinText{r: column(s)}
		if t.r != nil {
			if err := b.joinForms(&t, s.t, c); err != nil {
				return false, err
			}
		}
		j.texts = append(j.texts, t)
	}
	c.keyed = len(c.holes)
	for _, n := range from {
		b.worked(4)
		t := &j.texts[n]
		if t.next == len(t.ids) {
			return false, corrupt("%d values of a field where more are", t.next)
		}
		id := int(t.ids[t.next])
		t.next++
		if id == t.r.count { // the others may show that it has a form
			raw, err := t.r.raw(j.sources[n].t, t.raws)
			if err != nil {
				return false, err
			}
			t.raws++
			c.add(raw, &b.scan)
			if field != nil {
				b.addTextKey(field, raw)
			}
			continue
		}
		f := &t.forms[id]
		if f.next == f.values {
			return false, corrupt("form %d has more than %d values", id, f.values)
		}
		start := f.first + uint32(f.next*f.holes)
		f.next++
		if f.number < 0 {
			if len(c.forms.forms) == maxForms {
				return false, nil
			}
			f.number = int32(c.forms.number(f.text, f.holes))
		} else {
			c.forms.forms[f.number].values++
		}
		c.values = append(c.values, nil)
		c.starts = append(c.starts, start)
		c.number = append(c.number, f.number)
		if field != nil && (f.holes > 0 || f.next == 1) {
			b.addFieldKey(field.name, b.joined(c, f, start))
		}
	}
	return true, nil
}

// joined returns the text of a value; it is valid until the next.
func (b *Builder) joined(c *textColumn, f *joinForm, start uint32) []byte {
	switch {
	case f.holes == 0:
		return f.text
	case len(f.text) == 1: // nothing but a hole
		h := c.holes[start]
		return c.arena[h.from:h.to]
	}
	b.join.text = fill(b.join.text[:0], f.text, c.arena, c.holes[start:int(start)+f.holes])
	return b.join.text
}

// fill appends a form's text with the values of its holes.
func fill(dst, form, arena []byte, holes []span) []byte {
	for _, h := range holes {
		k := bytes.IndexByte(form, query.HoleMark)
		dst = append(append(dst, form[:k]...), arena[h.from:h.to]...)
		form = form[k+1:]
	}
	return append(dst, form...)
}

// joinForms reads the forms of a source's column, and the values of their holes into c. Their filter keys are added: those of
// equal values once.
func (b *Builder) joinForms(t *joinText, source *Table, c *textColumn) (err error) {
	if t.ids, err = t.r.formIDs(source); err != nil {
		return err
	}
	t.forms = make([]joinForm, t.r.count)
	values := 0
	for id := range t.forms {
		f, err := t.r.form(source, id)
		if err != nil {
			return err
		}
		if values += f.values; values > t.r.n || f.holes > maxHoles {
			return corrupt("form %d of %d values has %d holes", id, f.values, f.holes)
		}
		t.forms[id] = joinForm{text: f.text, number: -1, holes: f.holes, values: f.values, first: uint32(len(c.holes))}
		switch {
		case f.holes == 0:
		case f.loose:
			texts, err := t.r.looseTexts(source, f)
			if err != nil {
				return err
			}
			for _, v := range texts {
				c.holes = append(c.holes, c.keep(v))
				b.addHoleKeys(v)
			}
		default:
			if err := b.joinHoles(t.r, source, f, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinHoles reads the values of a form's holes.
func (b *Builder) joinHoles(r *textReader, source *Table, f *formRef, c *textColumn) error {
	first := len(c.holes)
	n := f.values * f.holes
	c.holes = slices.Grow(c.holes, n)[:first+n]
	return r.eachColumn(source, f, func(k int, h *hole) {
		at := first + k
		switch h.kind {
		case holeConst:
			v := c.keep(h.prefix)
			b.addHoleKeys(h.prefix)
			for range h.n {
				c.holes[at] = v
				at += f.holes
			}
		case holeDict:
			places := make([]span, len(h.values))
			for i, v := range h.values {
				places[i] = c.keep(v)
				b.addHoleKeys(v)
			}
			for i := range h.n {
				c.holes[at] = places[h.place(i)]
				at += f.holes
			}
		default:
			for i := range h.n {
				from := len(c.arena)
				c.arena = h.append(c.arena, i)
				c.holes[at] = span{uint32(from), uint32(len(c.arena))}
				b.addHoleKeys(c.arena[from:])
				at += f.holes
			}
		}
	})
}

// keep puts a value into the arena.
func (c *textColumn) keep(v []byte) span {
	from := uint32(len(c.arena))
	c.arena = append(c.arena, v...)
	return span{from, uint32(len(c.arena))}
}

// addHoleKeys adds the filter keys of a hole's value.
func (b *Builder) addHoleKeys(v []byte) {
	if len(v) >= minKey {
		b.tokens = query.AppendTokenKeys(b.tokens[:0], v)
		b.keys.add(b.tokens)
	}
}

// joinNumbers fills a column of numbers.
func (b *Builder) joinNumbers(column int, c *fieldColumn) error {
	j := &b.join
	type reading struct {
		f    *tableField
		v    numbers
		text *valueReader
		next int
	}
	readings := make([]reading, len(j.sources))
	for i := range j.sources {
		s := &j.sources[i]
		if column >= len(s.fields) || s.fields[column] < 0 {
			continue
		}
		r := &readings[i]
		r.f = &s.t.fields[s.fields[column]]
		var err error
		if r.f.number {
			r.v, err = r.f.num.read(s.t)
		} else {
			r.text, err = r.f.text.reader(s.t)
		}
		if err != nil {
			return err
		}
	}
	for _, n := range c.from {
		r := &readings[n]
		i := r.next
		if r.next++; i == r.f.n {
			return corrupt("%d values of a field where more are", i)
		}
		// When the memory moves, what has been made stays where it is.
		from := len(j.numbers)
		if r.text != nil {
			var err error
			if j.numbers, err = r.text.append(j.numbers, i); err != nil {
				return err
			}
			b.addValue(c, j.numbers[from:len(j.numbers):len(j.numbers)])
			continue
		}
		j.numbers = r.v.append(j.numbers, &r.f.num, i)
		value := j.numbers[from:len(j.numbers):len(j.numbers)]
		if scale := r.v.scale(&r.f.num, i); scale != badScale {
			c.values = append(c.values, value)
			c.number.put(r.v.mantissas[i], scale, len(value))
			b.addNumberKeys(c, value)
			continue
		}
		b.addValue(c, value)
	}
	return nil
}
