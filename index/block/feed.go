package block

import (
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
)

// Feed gives every value of the column in the rows to the sink, in order of row: by its number wherever values that are the
// same lie beside one another in a dictionary, or are numbers themselves.
func (c *Column) Feed(rows bitset.Set, sink *query.ValueSink) error {
	t := c.t
	switch {
	case c.dict >= 0:
		return c.feedDict(rows, sink)
	case c.field < 0:
		return c.eachRest(rows, func(row int, v []byte) error {
			sink.Text(row, v)
			return nil
		})
	case t.fields[c.field].number:
		return c.feedNumbers(rows, sink)
	}
	return c.feedTexts(rows, sink)
}

// numbered gathers values that are given by their numbers.
type numbered struct {
	sink      *query.ValueSink
	n         int
	rows, ids [256]int32
}

func (b *numbered) add(row int, id int32) {
	b.rows[b.n], b.ids[b.n] = int32(row), id
	if b.n++; b.n == len(b.rows) {
		b.flush()
	}
}

func (b *numbered) flush() {
	b.sink.IDs(b.rows[:b.n], b.ids[:b.n])
	b.n = 0
}

func (c *Column) feedTexts(rows bitset.Set, sink *query.ValueSink) error {
	t := c.t
	text := &t.fields[c.field].text
	values, err := text.reader(t)
	if err != nil {
		return err
	}
	starts, err := t.starts(c.field)
	if err != nil {
		return err
	}
	out := numbered{sink: sink}
	var buf []byte
	coded := make([]codedForm, text.count+1)
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		for i := starts[row]; i < starts[row+1]; i++ {
			id := values.ids[i]
			f := &coded[id]
			if f.kind == notCoded {
				if err := f.code(t, text, int(id), sink); err != nil {
					return err
				}
			}
			place := 0
			if f.kind == codedHole {
				if place, err = f.place(values.ranks[i]); err != nil {
					return err
				}
			}
			if f.kind != codedText && f.numbers[place] != 0 {
				out.add(row, f.numbers[place])
				continue
			}
			if f.decimals != nil {
				f.numbers[place] = f.decimals.Number(place)
				out.add(row, f.numbers[place])
				continue
			}
			if buf, err = values.append(buf[:0], int(i)); err != nil {
				return err
			}
			if f.kind == codedText {
				sink.Text(row, buf)
				continue
			}
			f.numbers[place] = sink.Number(buf)
			out.add(row, f.numbers[place])
		}
	}
	out.flush()
	return nil
}

// codedForm says how the values of a form get their numbers.
type codedForm struct {
	kind    uint8
	hole    *hole
	least   uint64  // added to what the hole's bits say
	numbers []int32 // of the values that differ; 0 where it is not known yet
	// decimals give the numbers that are not known, of values that are decimals; nil for others, which are written out for it.
	decimals *query.Decimals
}

const (
	notCoded  uint8 = iota
	codedText       // each value is written out
	codedOne        // there is one value
	codedHole       // the bits of the only hole that is not constant are a value's place in numbers
)

// place returns the place in numbers of the value of a rank.
func (f *codedForm) place(rank uint32) (int, error) {
	h := f.hole
	place := int(bitsAt(h.data, uint64(rank)*uint64(h.width), h.width) + f.least)
	if int(rank) >= h.n || place >= len(f.numbers) {
		return 0, corrupt("value %d of %d is number %d of %d", rank, h.n, place, len(f.numbers))
	}
	return place, nil
}

func (f *codedForm) code(t *Table, c *textReader, id int, sink *query.ValueSink) error {
	f.kind = codedText
	if id == c.count {
		return nil // raw
	}
	ref, err := c.form(t, id)
	if err != nil {
		return err
	}
	if ref.holes == 0 {
		f.kind, f.numbers = codedOne, make([]int32, 1)
		return nil
	}
	if ref.loose {
		return nil
	}
	m, err := c.mould(t, ref)
	if err != nil {
		return err
	}
	if len(m.slots) == 0 {
		f.kind, f.numbers = codedOne, make([]int32, 1)
		return nil
	}
	before, behind, h := m.single()
	switch {
	case h == nil:
	case h.kind == holeDict:
		f.kind, f.hole, f.numbers = codedHole, h, make([]int32, len(h.values))
	case h.kind == holeDecimal && h.digits == 0 && len(behind) == 0 && h.width < 32 && h.least < 1<<32:
		if d := sink.Decimals(before, h.least+1<<h.width-1, h.n); d != nil {
			f.kind, f.hole, f.least, f.numbers, f.decimals = codedHole, h, h.least, d.Known(), d
		}
	}
	return nil
}

func (c *Column) feedDict(rows bitset.Set, sink *query.ValueSink) error {
	ids, err := c.t.dict(c.dict)
	if err != nil {
		return err
	}
	values := c.t.dicts[c.dict].values
	if c.dict == levelColumn {
		values = levelNames(values)
	}
	numbers := make([]int32, len(values))
	out := numbered{sink: sink}
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		id := ids[row]
		if len(values[id]) == 0 {
			continue
		}
		if numbers[id] == 0 {
			numbers[id] = sink.Number(values[id])
		}
		out.add(row, numbers[id])
	}
	out.flush()
	return nil
}

func (c *Column) feedNumbers(rows bitset.Set, sink *query.ValueSink) error {
	num := &c.t.fields[c.field].num
	v, err := num.read(c.t)
	if err != nil {
		return err
	}
	var decimals *query.Decimals
	var numbers []int32
	if num.same && num.scale == 0 {
		most := int64(0)
		for _, m := range v.mantissas {
			most = max(most, m)
		}
		if decimals = sink.Decimals(nil, uint64(most), num.n); decimals != nil {
			numbers = decimals.Known()
		}
	}
	var buf []byte
	out := numbered{sink: sink}
	err = c.t.each(c.field, rows, func(row, i int) (bool, error) {
		m := v.mantissas[i]
		if uint64(m) >= uint64(len(numbers)) { // or a negative one
			buf = v.append(buf[:0], num, i)
			sink.Text(row, buf)
			return false, nil
		}
		if numbers[m] == 0 {
			numbers[m] = decimals.Number(int(m))
		}
		out.add(row, numbers[m])
		return false, nil
	})
	out.flush()
	return err
}
