package block

import (
	"encoding/binary"

	"github.com/lookoutlog/lookout/internal/event"
)

// rowReader is what is needed of a table for every row.
type rowReader struct {
	times   []int64
	dicts   [dictColumns][]uint16
	shapes  []uint16
	message *valueReader
	service []byte // encoded
}

func (t *Table) rowReader() (*rowReader, error) {
	if r := t.rows.ready(); r != nil {
		return *r, nil
	}
	return t.rows.get(func() (r *rowReader, err error) {
		r = &rowReader{service: event.AppendText(nil, []byte(t.Meta.Service))}
		if r.times, err = t.Times(); err != nil {
			return nil, err
		}
		for i := range r.dicts {
			if r.dicts[i], err = t.dict(i); err != nil {
				return nil, err
			}
		}
		if r.shapes, err = t.rowShapes(); err != nil {
			return nil, err
		}
		r.message, err = t.message.reader(t)
		return r, err
	})
}

// AppendRow appends the encoded event of a row (package event), byte for byte as the builder got it.
func (t *Table) AppendRow(dst []byte, row int) ([]byte, error) {
	if row < 0 || row >= t.Rows() {
		return dst, corrupt("no row %d", row)
	}
	r, err := t.rowReader()
	if err != nil {
		return dst, err
	}
	level := t.dicts[levelColumn].values[r.dicts[levelColumn][row]]
	dst, start := event.BeginEvent(dst, r.times[row], event.Level(level[0]))
	dst = append(dst, r.service...)
	for _, i := range [...]int{envColumn, hostColumn, containerColumn, streamColumn} { // in this order
		dst = event.AppendText(dst, t.dicts[i].values[r.dicts[i][row]])
	}
	dst, text := event.BeginText(dst)
	if dst, err = r.message.append(dst, row); err == nil {
		dst, err = t.appendFields(event.EndText(dst, text), row, t.shapes[r.shapes[row]])
	}
	if err != nil {
		return dst[:start], err
	}
	return event.EndEvent(dst, start), nil
}

// appendFields appends an event's extra fields, which are in the columns of list, as they stand in an encoded event.
func (t *Table) appendFields(dst []byte, row int, list []int32) ([]byte, error) {
	var restMemory [4]event.Field
	rest, n := restMemory[:0], len(list)
	if n > 0 && int(list[n-1]) == len(t.fields) { // some have no column
		list = list[:n-1]
		starts, err := t.starts(len(t.fields))
		if err != nil {
			return dst, err
		}
		data, err := t.rest.raw(t, int(starts[row]))
		if err != nil {
			return dst, err
		}
		if rest, err = readRest(rest, data); err != nil {
			return dst, err
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(list)+len(rest)))
	var seenMemory [4]seenColumn
	seen := seenMemory[:0]
	for _, column := range list {
		f := &t.fields[column]
		starts, err := t.starts(int(column))
		if err != nil {
			return dst, err
		}
		at := int(starts[row])
		if starts[row+1]-starts[row] > 1 { // which of several this is
			k := 0
			for k < len(seen) && seen[k].column != column {
				k++
			}
			if k == len(seen) {
				seen = append(seen, seenColumn{column: column})
			}
			at += int(seen[k].values)
			seen[k].values++
		}
		dst = event.AppendText(append(dst, byte(f.kind)), f.named)
		start := 0
		dst, start = event.BeginText(dst)
		if f.number {
			v, err := f.num.read(t)
			if err != nil {
				return dst, err
			}
			dst = v.append(dst, &f.num, at)
		} else {
			v, err := f.text.reader(t)
			if err != nil {
				return dst, err
			}
			if dst, err = v.append(dst, at); err != nil {
				return dst, err
			}
		}
		dst = event.EndText(dst, start)
	}
	for _, f := range rest {
		dst = event.AppendText(append(dst, byte(f.Kind)), f.Name)
		dst = event.AppendText(dst, f.Value)
	}
	return dst, nil
}

// seenColumn counts the values of a column that an event has so far.
type seenColumn struct{ column, values int32 }

// readRest reads fields that are kept beside one another.
func readRest(fields []event.Field, data []byte) ([]event.Field, error) {
	r := reader{data: data}
	for range r.count(len(data)) {
		f := event.Field{Kind: event.Kind(r.byte()), Name: r.bytes(), Value: r.bytes()}
		if f.Kind > event.JSON {
			r.fail()
		}
		if r.bad {
			break
		}
		fields = append(fields, f)
	}
	if r.bad || len(r.data) != 0 {
		return fields, corrupt("fields that have no column")
	}
	return fields, nil
}
