package block

import (
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Messages are the messages of a block by their forms.
type Messages struct {
	// Form is the number of each row's form: 0 to Forms-1, or Forms for a message that has none. It must not be changed.
	Form  []uint16
	Forms int
	t     *Table
}

// Messages reads which form each message has.
func (t *Table) Messages() (Messages, error) {
	ids, err := t.message.formIDs(t)
	return Messages{Form: ids, Forms: t.message.count, t: t}, err
}

// FormText returns the text of a form, with a query.HoleMark in each hole. It must not be changed.
func (m *Messages) FormText(form int) ([]byte, error) {
	f, err := m.t.message.form(m.t, form)
	if err != nil {
		return nil, err
	}
	return f.text, nil
}

// Append appends the message of a row.
func (m *Messages) Append(dst []byte, row int) ([]byte, error) {
	v, err := m.t.message.reader(m.t)
	if err != nil {
		return dst, err
	}
	return v.append(dst, row)
}

// FieldCounts calls fn for each extra field of the rows, in no order, with the number of rows that have it and of its values by
// kind.
func (t *Table) FieldCounts(rows bitset.Set, fn func(name string, events int, values [event.JSON + 1]int64)) error {
	ids, err := t.rowShapes()
	if err != nil {
		return err
	}
	counts := make([]int, len(t.shapes))
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		counts[ids[row]]++
	}
	type fieldCount struct {
		events int
		values [event.JSON + 1]int64
	}
	fields := map[string]*fieldCount{}
	get := func(name string) *fieldCount {
		c := fields[name]
		if c == nil {
			c = &fieldCount{}
			fields[name] = c
		}
		return c
	}
	// Rows with fields that have no column may have a name there as well as in a column: they are looked at one by one.
	beside := make([]bool, len(t.shapes))
	seen := map[string]bool{}
	for i, list := range t.shapes {
		n := counts[i]
		if n == 0 {
			continue
		}
		clear(seen)
		for _, c := range list {
			if int(c) == len(t.fields) {
				beside[i] = true
				continue
			}
			f := &t.fields[c]
			get(f.name).values[f.kind] += int64(n)
			seen[f.name] = true
		}
		if !beside[i] {
			for name := range seen {
				get(name).events += n
			}
		}
	}
	if err := t.countBeside(rows, ids, beside, func(names map[string]bool, f *event.Field) {
		if f != nil {
			get(string(f.Name)).values[f.Kind]++
			return
		}
		for name := range names {
			get(name).events++
		}
	}); err != nil {
		return err
	}
	for name, c := range fields {
		fn(name, c.events, c.values)
	}
	return nil
}

// countBeside calls fn for each field without a column in the rows of the shapes that have some, and then, with no field, once
// for the row, with the names of all of its fields.
func (t *Table) countBeside(rows bitset.Set, ids []uint16, beside []bool, fn func(names map[string]bool, f *event.Field)) error {
	if t.rest.n == 0 {
		return nil
	}
	starts, err := t.starts(len(t.fields))
	if err != nil {
		return err
	}
	var fields []event.Field
	names := map[string]bool{}
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		if !beside[ids[row]] {
			continue
		}
		clear(names)
		for _, c := range t.shapes[ids[row]] {
			if int(c) < len(t.fields) {
				names[t.fields[c].name] = true
			}
		}
		for i := starts[row]; i < starts[row+1]; i++ {
			data, err := t.rest.raw(t, int(i))
			if err != nil {
				return err
			}
			if fields, err = readRest(fields[:0], data); err != nil {
				return err
			}
			for k := range fields {
				fn(nil, &fields[k])
				names[string(fields[k].Name)] = true
			}
		}
		fn(names, nil)
	}
	return nil
}
