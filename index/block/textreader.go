package block

import (
	"bytes"
	"sort"

	"github.com/lookoutlog/lookout/index/query"
)

// textReader reads a text column.
type textReader struct {
	n            int // values
	count        int // forms
	ref          idsRef
	dataSections []int
	chunks       []formChunk
	loose        blob
	raws         []rawPart
	rawCount     int

	ids    lazy[[]uint16]
	ranks  lazy[[]uint32]
	values lazy[*valueReader]
}

// formChunk is some of a column's forms, from number first on.
type formChunk struct {
	first, count int
	looseAt      int // where their values begin in the blob of loose ones
	defs         blob
	forms        lazy[[]formRef]
}

// blob is a run of bytes in the directory or in a section of its own.
type blob struct {
	inline  []byte
	section int
	apart   bool
	data    lazy[[]byte]
}

func (b *blob) read(t *Table) ([]byte, error) {
	if !b.apart {
		return b.inline, nil
	}
	return b.data.get(func() ([]byte, error) {
		data, err := t.section(b.section)
		t.size.Add(int64(len(data)))
		return data, err
	})
}

func (b *blob) readRef(r *reader) {
	switch r.byte() {
	case 0:
		b.inline = r.bytes()
	case 1:
		b.apart, b.section = true, r.count(maxBlock)
	default:
		r.fail()
	}
}

// rawPart is a section of raw values.
type rawPart struct {
	section, first, count int
	values                lazy[[][]byte]
}

// formRef is a form of a column.
type formRef struct {
	text   []byte
	holes  int
	values int
	// head describes the holes' columns; with few values they are texts in the loose blob from at on.
	head  []byte
	loose bool
	at    int
	cols  lazy[[]hole]
	texts lazy[[][]byte]
	mould lazy[mould]
}

// moulded tells whether the form's holes have columns.
func (f *formRef) moulded() bool { return f.holes > 0 && !f.loose }

// readRef reads where a column of n values is.
func (c *textReader) readRef(r *reader, n int) {
	c.n = n
	c.count = r.count(maxForms + 1)
	c.ref = readIDsRef(r, c.count+1)
	for range r.count(len(r.data)) {
		c.dataSections = append(c.dataSections, r.count(maxBlock))
	}
	c.chunks = make([]formChunk, r.count(len(r.data)))
	first, loose := 0, 0
	for i := range c.chunks {
		k := &c.chunks[i]
		k.first, k.looseAt = first, loose
		k.count = r.count(c.count - first)
		loose += r.count(maxBlock)
		k.defs.readRef(r)
		if first += k.count; k.count == 0 {
			r.fail()
		}
	}
	if first != c.count {
		r.fail()
	}
	c.loose.readRef(r)
	c.readRaws(r, n)
	c.ref.limit = c.count
	if c.rawCount > 0 {
		c.ref.limit++
	}
	if c.ref.limit == 0 || c.rawCount > n {
		r.fail()
	}
}

// readRaws reads where the raw values are, at most n.
func (c *textReader) readRaws(r *reader, n int) {
	parts := r.count(len(r.data))
	c.raws = make([]rawPart, parts)
	for i := range c.raws {
		p := &c.raws[i]
		p.section, p.first, p.count = r.count(maxBlock), c.rawCount, r.count(n-c.rawCount)
		c.rawCount += p.count
	}
}

// formIDs returns each value's form; c.count stands for a raw value.
func (c *textReader) formIDs(t *Table) ([]uint16, error) {
	return c.ids.get(func() ([]uint16, error) {
		t.size.Add(int64(2 * c.n))
		return c.ref.read(c.n, t.section)
	})
}

// rank returns each value's place among those of its form.
func (c *textReader) rank(t *Table) ([]uint32, error) {
	return c.ranks.get(func() ([]uint32, error) {
		ids, err := c.formIDs(t)
		if err != nil {
			return nil, err
		}
		next := make([]uint32, c.count+1)
		ranks := make([]uint32, c.n)
		for i, id := range ids {
			ranks[i] = next[id]
			next[id]++
		}
		if int(next[c.count]) != c.rawCount {
			return nil, corrupt("%d raw values where %d are", c.rawCount, next[c.count])
		}
		t.size.Add(int64(4 * c.n))
		return ranks, nil
	})
}

// form returns a form.
func (c *textReader) form(t *Table, id int) (*formRef, error) {
	i, end := 0, len(c.chunks)
	for end-i > 1 { // a search without calls: this is done for each value
		if m := int(uint(i+end) >> 1); c.chunks[m].first <= id {
			i = m
		} else {
			end = m
		}
	}
	k := &c.chunks[i]
	if forms := k.forms.ready(); forms != nil {
		return &(*forms)[id-k.first], nil
	}
	forms, err := k.forms.get(func() ([]formRef, error) { return k.read(t, c) })
	if err != nil {
		return nil, err
	}
	return &forms[id-k.first], nil
}

// read parses a chunk.
func (k *formChunk) read(t *Table, c *textReader) ([]formRef, error) {
	data, err := k.defs.read(t)
	if err != nil {
		return nil, err
	}
	r := reader{data: data}
	forms := make([]formRef, k.count)
	loose := k.looseAt
	for i := range forms {
		f := &forms[i]
		f.values = r.count(c.n)
		f.text = r.bytes()
		f.holes = bytes.Count(f.text, []byte{query.HoleMark})
		switch {
		case f.holes == 0:
		case f.values <= looseValues:
			f.loose, f.at = true, loose
			loose += r.count(maxBlock)
		default:
			f.head = r.bytes()
		}
	}
	if r.bad || len(r.data) != 0 {
		return nil, corrupt("forms")
	}
	t.size.Add(int64(160 * len(forms)))
	return forms, nil
}

// columns returns the columns of a form's holes.
func (c *textReader) columns(t *Table, f *formRef) ([]hole, error) {
	return f.cols.get(func() ([]hole, error) {
		cols := make([]hole, f.holes)
		err := c.eachColumn(t, f, func(k int, h *hole) { cols[k] = *h })
		t.size.Add(int64(160 * len(cols)))
		return cols, err
	})
}

// eachColumn calls fn with the column of each of a form's holes; it keeps none of them.
func (c *textReader) eachColumn(t *Table, f *formRef, fn func(k int, h *hole)) error {
	r := reader{data: f.head}
	section, at := r.count(maxBlock), r.count(maxBlock)
	data, err := c.bitsOf(t, section)
	if err != nil {
		return err
	}
	var h hole
	for k := range f.holes {
		h = readHole(&r, f.values)
		if r.bad || at+h.bits > len(data) {
			return corrupt("holes")
		}
		h.load(data[at : at+h.bits])
		at += h.bits
		fn(k, &h)
	}
	if len(r.data) != 0 {
		return corrupt("holes")
	}
	return nil
}

// bitsOf returns a data section, nothing for a form of which all holes are constant.
func (c *textReader) bitsOf(t *Table, section int) ([]byte, error) {
	if section >= len(c.dataSections) {
		return nil, nil
	}
	return t.keep(c.dataSections[section])
}

// looseTexts returns the values of all holes of a form that has few: those of the first value first.
func (c *textReader) looseTexts(t *Table, f *formRef) ([][]byte, error) {
	return f.texts.get(func() ([][]byte, error) {
		data, err := c.loose.read(t)
		if err != nil {
			return nil, err
		}
		if f.at > len(data) {
			return nil, corrupt("loose values")
		}
		r := reader{data: data[f.at:]}
		texts := make([][]byte, f.values*f.holes)
		for i := range texts {
			texts[i] = r.bytes()
		}
		if r.bad {
			return nil, corrupt("loose values")
		}
		t.size.Add(int64(24 * len(texts)))
		return texts, nil
	})
}

// pattern returns what is known of a form's texts.
func (c *textReader) pattern(t *Table, f *formRef) (query.Pattern, error) {
	p := query.Pattern{Text: f.text}
	switch {
	case f.holes == 0:
	case f.loose:
		texts, err := c.looseTexts(t, f)
		if err != nil {
			return p, err
		}
		p.Holes = make([]query.Hole, f.holes)
		for i, v := range texts {
			joinHole(&p.Holes[i%f.holes], v, i < f.holes)
		}
	default:
		cols, err := c.columns(t, f)
		if err != nil {
			return p, err
		}
		p.Holes = make([]query.Hole, f.holes)
		for i := range cols {
			p.Holes[i] = cols[i].facts()
		}
	}
	return p, nil
}

// valueReader rebuilds values of one column.
type valueReader struct {
	c     *textReader
	t     *Table
	ids   []uint16
	ranks []uint32
}

func (c *textReader) reader(t *Table) (*valueReader, error) {
	if v := c.values.ready(); v != nil {
		return *v, nil
	}
	return c.values.get(func() (v *valueReader, err error) {
		v = &valueReader{c: c, t: t}
		if v.ids, err = c.formIDs(t); err != nil {
			return v, err
		}
		v.ranks, err = c.rank(t)
		return v, err
	})
}

// append appends value i.
func (v *valueReader) append(dst []byte, i int) ([]byte, error) {
	id := int(v.ids[i])
	if id == v.c.count {
		raw, err := v.c.raw(v.t, int(v.ranks[i]))
		return append(dst, raw...), err
	}
	f, err := v.c.form(v.t, id)
	if err != nil {
		return dst, err
	}
	if f.holes == 0 {
		return append(dst, f.text...), nil
	}
	rank := int(v.ranks[i])
	if rank >= f.values {
		return dst, corrupt("form %d has %d values", id, f.values)
	}
	if f.loose {
		texts, err := v.c.looseTexts(v.t, f)
		if err != nil {
			return dst, err
		}
		rest := f.text
		for _, value := range texts[rank*f.holes : (rank+1)*f.holes] {
			k := bytes.IndexByte(rest, query.HoleMark)
			dst = append(append(dst, rest[:k]...), value...)
			rest = rest[k+1:]
		}
		return append(dst, rest...), nil
	}
	m := f.mould.ready()
	if m == nil {
		made, err := v.c.mould(v.t, f)
		if err != nil {
			return dst, err
		}
		m = &made
	}
	return m.append(dst, rank), nil
}

// raw returns raw value i.
func (c *textReader) raw(t *Table, i int) ([]byte, error) {
	k := sort.Search(len(c.raws), func(k int) bool { return c.raws[k].first > i }) - 1
	if k < 0 || i >= c.raws[k].first+c.raws[k].count {
		return nil, corrupt("no raw value %d", i)
	}
	p := &c.raws[k]
	values, err := p.values.get(func() ([][]byte, error) {
		data, err := t.section(p.section)
		if err != nil {
			return nil, err
		}
		r := reader{data: data}
		if p.count > len(data) {
			return nil, corrupt("raw values")
		}
		values := make([][]byte, p.count)
		for j := range values {
			values[j] = r.bytes()
		}
		if r.bad || len(r.data) != 0 {
			return nil, corrupt("raw values")
		}
		t.size.Add(int64(len(data) + 24*len(values)))
		return values, nil
	})
	if err != nil {
		return nil, err
	}
	return values[i-p.first], nil
}

// numberReader reads a column of numbers.
type numberReader struct {
	n      int
	texts  [][]byte
	same   bool
	scale  uint8
	scales idsRef
	mode   uint8
	least  int64
	at     int
	order  []int64 // the dictionary
	ref    idsRef

	all lazy[numbers]
}

// numbers are the values of a column of numbers.
type numbers struct {
	mantissas []int64
	scales    []uint16 // nil when all have the same
}

// readRef reads where a column of n numbers is.
func (c *numberReader) readRef(r *reader, n int) {
	c.n = n
	for range r.count(len(r.data)) {
		c.texts = append(c.texts, r.bytes())
	}
	switch r.byte() {
	case 1:
		c.same, c.scale = true, r.byte()
		if c.scale > badScale {
			r.fail()
		}
	case 0:
		c.scales = readIDsRef(r, badScale+1)
	default:
		r.fail()
	}
	switch c.mode = r.byte(); c.mode {
	case numbersInts:
		c.least, c.at = r.varint(), r.count(maxBlock)
	case numbersDict:
		k := r.count(maxNumberDict)
		for range k {
			c.order = append(c.order, r.varint())
		}
		if c.ref = readIDsRef(r, k); k == 0 {
			r.fail()
		}
	default:
		r.fail()
	}
}

func (c *numberReader) read(t *Table) (numbers, error) {
	return c.all.get(func() (numbers, error) {
		v := numbers{mantissas: make([]int64, c.n)}
		if c.mode == numbersDict {
			ids, err := c.ref.read(c.n, t.section)
			if err != nil {
				return v, err
			}
			for i, id := range ids {
				v.mantissas[i] = c.order[id]
			}
		} else {
			data, err := t.section(c.at)
			if err != nil {
				return v, err
			}
			ints := make([]uint64, c.n)
			if rest, ok := readInts(ints, data); !ok || len(rest) != 0 {
				return v, corrupt("numbers")
			}
			for i, x := range ints {
				v.mantissas[i] = int64(x + uint64(c.least))
			}
		}
		if !c.same {
			var err error
			if v.scales, err = c.scales.read(c.n, t.section); err != nil {
				return v, err
			}
		}
		for i := range v.mantissas {
			if v.scale(c, i) == badScale && uint64(v.mantissas[i]) >= uint64(len(c.texts)) {
				return v, corrupt("no number %d", v.mantissas[i])
			}
		}
		t.size.Add(int64(10 * c.n))
		return v, nil
	})
}

func (v *numbers) scale(c *numberReader, i int) int {
	if v.scales == nil {
		return int(c.scale)
	}
	return int(v.scales[i])
}

// append appends number i as it was written.
func (v *numbers) append(dst []byte, c *numberReader, i int) []byte {
	scale := v.scale(c, i)
	if scale == badScale {
		return append(dst, c.texts[v.mantissas[i]]...)
	}
	return appendDecimal(dst, v.mantissas[i], scale)
}
