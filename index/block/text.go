package block

import (
	"encoding/binary"
	"slices"

	"github.com/lookoutlog/lookout/index/query"
)

const (
	// looseValues is up to how many values a form keeps them beside one another as texts: a column for each hole would
	// take more for its head than it saves.
	looseValues = 3
	// dataLen is from how many bytes on the bits of holes begin a new section.
	dataLen = 32 << 10
	// defsLen is the same for forms: few of a block's thousands are needed at a time.
	defsLen = 64 << 10
	// rawLen is the same for raw values.
	rawLen = 256 << 10
	// maxForms bounds the forms of a column: their numbers, and one for raw values, fit in 16 bits.
	maxForms = 1<<16 - 2
)

// textColumn collects the values of one text column and writes them.
type textColumn struct {
	values [][]byte
	forms  formTable
	number []int32 // of each value's form, rawForm for none
	holes  []span  // of all values, one behind the other
	starts []uint32
	// arena holds the values of the holes, close together: the texts themselves are too large for the processor's caches
	// when the columns are written form by form.
	arena    []byte
	formless []int32 // the values that were not taken apart
	keyed    int     // so many of the first holes' filter keys are known
}

const rawForm = -1

func (c *textColumn) reset() {
	c.values, c.number, c.holes, c.starts = c.values[:0], c.number[:0], c.holes[:0], c.starts[:0]
	c.arena, c.formless, c.keyed = c.arena[:0], c.formless[:0], 0
	c.forms.reset()
}

func (c *textColumn) add(value []byte, s *scanner) {
	c.values = append(c.values, value)
	c.starts = append(c.starts, uint32(len(c.holes)))
	if !s.scan(value) || len(c.forms.forms) == maxForms {
		c.formless = append(c.formless, int32(len(c.number)))
		c.number = append(c.number, rawForm)
		return
	}
	c.number = append(c.number, int32(c.forms.number(s.form, len(s.holes))))
	// Room for all at once, and some more: an event has a dozen holes of a few bytes each.
	at, first := len(c.arena), len(c.holes)
	c.arena = slices.Grow(c.arena, len(value)+16)
	arena := c.arena[:cap(c.arena)]
	c.holes = slices.Grow(c.holes, len(s.holes))[:first+len(s.holes)]
	for i, h := range s.holes {
		to := put(arena, at, value, int(h.from), int(h.to))
		c.holes[first+i] = span{uint32(at), uint32(to)}
		at = to
	}
	c.arena = arena[:at]
}

// put copies text[from:to] to dst[at:] and returns where it ends. Short pieces are copied sixteen bytes at a time where there are
// as many, and as much room: what is behind is written over by the next piece.
func put(dst []byte, at int, text []byte, from, to int) int {
	if to-from <= 16 && from+16 <= len(text) && at+16 <= len(dst) {
		src, dst := text[from:from+16], dst[at:at+16]
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
		binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(src[8:]))
	} else {
		copy(dst[at:], text[from:to])
	}
	return at + to - from
}

// hole returns the value of hole k of a value's.
func (c *textColumn) hole(value int32, k int) []byte {
	h := c.holes[c.starts[value]+uint32(k)]
	return c.arena[h.from:h.to]
}

// freeTextValues is from how many values on it can be told whether forms repeat.
const freeTextValues = 4096

// freeText tells whether forms that occur once should be kept raw: where most do, the texts are not made from templates,
// and their forms would stand twice, here and in the segment's footer.
func (c *textColumn) freeText() bool {
	if len(c.values) < freeTextValues {
		return false
	}
	single := 0
	for i := range c.forms.forms {
		if c.forms.forms[i].values == 1 {
			single++
		}
	}
	return single > len(c.values)/4
}

// keys appends the filter keys of all values.
func (c *textColumn) keys(b *Builder) {
	b.tokens = b.tokens[:0]
	for _, h := range c.holes[c.keyed:] {
		b.worked(1)
		if h.to-h.from >= minKey {
			b.tokens = query.AppendTokenKeys(b.tokens, c.arena[h.from:h.to])
		}
	}
	for i := range c.forms.forms { // words
		b.tokens = query.AppendTokenKeys(b.tokens, c.forms.bytes(i))
	}
	b.worked(len(b.tokens))
	b.keys.add(b.tokens)
	for _, i := range c.formless {
		b.worked(rowWork)
		b.tokens = query.AppendTokenKeys(b.tokens[:0], c.values[i])
		b.keys.add(b.tokens)
	}
}

// append writes the column: dst gets its description, b.info its forms. rowsOf returns in how many rows the values of a
// list are; nil when every value has a row of its own.
func (c *textColumn) append(dst []byte, column int, name string, b *Builder, rowsOf func(values []int32) int) []byte {
	w := &b.sections
	if c.freeText() {
		for i := range c.number {
			if n := c.number[i]; n != rawForm && c.forms.forms[n].values == 1 {
				c.number[i] = rawForm
				if c.values[i] == nil { // it was joined
					holes := c.holes[c.starts[i]:][:c.forms.forms[n].holes]
					c.values[i] = fill(nil, c.forms.bytes(int(n)), c.arena, holes)
				}
			}
		}
		for i := range c.forms.forms {
			if c.forms.forms[i].values == 1 {
				c.forms.forms[i].values = 0
			}
		}
	}
	// Frequent forms first: their numbers are then small and compress well.
	b.order = b.order[:0]
	for i := range c.forms.forms {
		if c.forms.forms[i].values > 0 {
			b.order = append(b.order, int32(i))
		}
	}
	slices.SortStableFunc(b.order, func(x, y int32) int { return c.forms.forms[y].values - c.forms.forms[x].values })
	locals := slices.Grow(b.locals[:0], len(c.forms.forms))[:len(c.forms.forms)]
	b.locals = locals
	// byForm lists the values of each form, one behind the other.
	at := 0
	b.offsets = b.offsets[:0]
	for local, i := range b.order {
		locals[i] = int32(local)
		b.offsets = append(b.offsets, at)
		at += c.forms.forms[i].values
	}
	b.offsets = append(b.offsets, at)
	byForm := slices.Grow(b.byForm[:0], at)[:at]
	b.byForm = byForm
	next := append(b.next[:0], b.offsets...)
	b.next = next
	raws := b.raws[:0]
	b.ids = b.ids[:0]
	for i, n := range c.number {
		if n == rawForm {
			raws = append(raws, int32(i))
			b.ids = append(b.ids, uint16(len(b.order)))
			continue
		}
		local := locals[n]
		b.ids = append(b.ids, uint16(local))
		byForm[next[local]] = int32(i)
		next[local]++
	}
	b.raws = raws

	limit := len(b.order)
	if len(raws) > 0 {
		limit++
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.order)))
	dst, b.scratch = appendIDs(dst, w, b.ids, limit, b.scratch)

	b.data, b.loose, b.defs, b.chunks = b.data[:0], b.loose[:0], b.defs[:0], b.chunks[:0]
	chunks, first, looseFirst := 0, 0, 0
	b.dataSections = b.dataSections[:0]
	count := func(values []int32) int {
		if rowsOf == nil {
			return len(values)
		}
		return rowsOf(values)
	}
	for local, i := range b.order {
		f := &c.forms.forms[i]
		values := byForm[b.offsets[local]:b.offsets[local+1]]
		text := c.forms.bytes(int(i))
		t := Text{Column: column, Name: name, Kind: Patterned, Local: local, Values: f.values, Rows: count(values),
			Pattern: query.Pattern{Text: text}}
		b.defs = binary.AppendUvarint(b.defs, uint64(f.values))
		b.defs = appendBytes(b.defs, text)
		switch {
		case f.holes == 0:
		case f.values <= looseValues:
			b.worked(f.holes * len(values))
			start := len(b.loose)
			for _, v := range values {
				for k := range f.holes {
					b.loose = appendBytes(b.loose, c.hole(v, k))
				}
			}
			b.defs = binary.AppendUvarint(b.defs, uint64(len(b.loose)-start))
			t.Holes = b.looseFacts(c, values, f.holes)
		default:
			if len(b.data) >= dataLen {
				b.dataSections = append(b.dataSections, w.add(b.data))
				b.data = b.data[:0]
			}
			b.head = b.head[:0]
			b.head = binary.AppendUvarint(b.head, uint64(len(b.dataSections)))
			b.head = binary.AppendUvarint(b.head, uint64(len(b.data)))
			from := len(b.holes)
			for k := range f.holes {
				b.worked(len(values))
				b.column = b.column[:0]
				for _, v := range values {
					b.column = append(b.column, c.holes[c.starts[v]+uint32(k)])
				}
				var facts query.Hole
				b.head, b.data, facts = b.hole.append(b.head, b.data, c.arena, b.column)
				b.holes = append(b.holes, facts)
			}
			t.Holes = b.holes[from:len(b.holes):len(b.holes)]
			b.defs = appendBytes(b.defs, b.head)
		}
		b.info.Texts = append(b.info.Texts, t)
		if len(b.defs) >= defsLen || local == len(b.order)-1 {
			b.chunks = binary.AppendUvarint(b.chunks, uint64(local+1-first))
			b.chunks = binary.AppendUvarint(b.chunks, uint64(len(b.loose)-looseFirst))
			b.chunks = b.appendBlob(b.chunks, b.defs)
			chunks, first, looseFirst, b.defs = chunks+1, local+1, len(b.loose), b.defs[:0]
		}
	}
	if len(b.data) > 0 {
		b.dataSections = append(b.dataSections, w.add(b.data))
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.dataSections)))
	for _, s := range b.dataSections {
		dst = binary.AppendUvarint(dst, uint64(s))
	}
	dst = append(binary.AppendUvarint(dst, uint64(chunks)), b.chunks...)
	dst = b.appendBlob(dst, b.loose)
	return c.appendRaw(dst, column, name, b, raws, count)
}

// looseFacts says what is known of the values of a form's holes that are kept as texts.
func (b *Builder) looseFacts(c *textColumn, values []int32, holes int) []query.Hole {
	from := len(b.holes)
	for k := range holes {
		h := query.Hole{}
		for i, v := range values {
			joinHole(&h, c.hole(v, k), i == 0)
		}
		b.holes = append(b.holes, h)
	}
	return b.holes[from:len(b.holes):len(b.holes)]
}

// joinHole widens h to hold v as well.
func joinHole(h *query.Hole, v []byte, first bool) {
	switch {
	case first:
		*h = query.Hole{Fixed: true, Const: string(v)}
		return
	case h.Fixed && h.Const == string(v):
		return
	case h.Fixed:
		h.Fixed, h.Min, h.Max = false, len(h.Const), len(h.Const)
		for i := range len(h.Const) {
			h.Set.Add(h.Const[i])
		}
		h.Const = ""
	}
	for _, c := range v {
		h.Set.Add(c)
	}
	h.Min, h.Max = min(h.Min, len(v)), max(h.Max, len(v))
}

// appendRaw writes the values that have no form, in sections of many.
func (c *textColumn) appendRaw(dst []byte, column int, name string, b *Builder, raws []int32, count func([]int32) int) []byte {
	b.dataSections = b.dataSections[:0]
	b.offsets = b.offsets[:0]
	for i := 0; i < len(raws); {
		start, size := i, 0
		for i < len(raws) && (i == start || size+len(c.values[raws[i]]) <= rawLen) {
			size += len(c.values[raws[i]])
			i++
		}
		b.data = b.data[:0]
		for _, v := range raws[start:i] {
			b.data = appendBytes(b.data, c.values[v])
		}
		b.dataSections = append(b.dataSections, b.sections.compress(b.data))
		b.offsets = append(b.offsets, i-start)
	}
	dst = binary.AppendUvarint(dst, uint64(len(b.dataSections)))
	for i, s := range b.dataSections {
		dst = binary.AppendUvarint(dst, uint64(s))
		dst = binary.AppendUvarint(dst, uint64(b.offsets[i]))
	}
	if len(raws) > 0 {
		b.info.Texts = append(b.info.Texts, Text{Column: column, Name: name, Kind: Raw, Local: -1, Values: len(raws), Rows: count(raws)})
	}
	return dst
}

// inlineBlob is up to how many bytes a blob stands in the directory itself.
const inlineBlob = 1 << 10

// appendBlob writes bytes into the directory, or says in which section they are.
func (b *Builder) appendBlob(dst, data []byte) []byte {
	if len(data) <= inlineBlob {
		return appendBytes(append(dst, 0), data)
	}
	return binary.AppendUvarint(append(dst, 1), uint64(b.sections.compress(data)))
}
