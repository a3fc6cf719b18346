package block

import (
	"sync"

	"github.com/lookoutlog/lookout/internal/event"
)

// rowScratch is the memory for rebuilding an event.
type rowScratch struct {
	ev     event.Event
	buf    []byte
	ends   []int
	fields []event.Field
	seen   []seenColumn
}

// seenColumn counts the values of a column that an event has so far.
type seenColumn struct{ column, values int32 }

var rowScratches = sync.Pool{New: func() any { return new(rowScratch) }}

// AppendRow appends the encoded event of a row (package event), byte for byte as the builder got it.
func (t *Table) AppendRow(dst []byte, row int) ([]byte, error) {
	if row < 0 || row >= t.Rows() {
		return dst, corrupt("no row %d", row)
	}
	s := rowScratches.Get().(*rowScratch)
	defer rowScratches.Put(s)
	times, err := t.Times()
	if err != nil {
		return dst, err
	}
	e := &s.ev
	e.Time = times[row]
	e.Service = append(e.Service[:0], t.Meta.Service...)
	for i, p := range [dictColumns]*[]byte{levelColumn: nil, envColumn: &e.Env, hostColumn: &e.Host, containerColumn: &e.Container, streamColumn: &e.Stream} {
		ids, err := t.dict(i)
		if err != nil {
			return dst, err
		}
		v := t.dicts[i].values[ids[row]]
		if p == nil {
			e.Level = event.Level(v[0])
		} else {
			*p = v
		}
	}
	message, err := t.message.reader(t)
	if err != nil {
		return dst, err
	}
	if s.buf, err = message.append(s.buf[:0], row); err != nil {
		return dst, err
	}
	n := len(s.buf)
	if err := t.appendFields(s, row); err != nil {
		return dst, err
	}
	e.Message = s.buf[:n]
	for i := range s.fields {
		if s.ends[i] > n { // the buffer may have moved since
			s.fields[i].Value = s.buf[n:s.ends[i]]
			n = s.ends[i]
		}
	}
	e.Fields = s.fields
	return event.AppendEvent(dst, e), nil
}

// appendFields fills s.fields, with the values one behind the other in s.buf; those of the rest are in its own memory.
func (t *Table) appendFields(s *rowScratch, row int) error {
	s.fields, s.ends, s.seen = s.fields[:0], s.ends[:0], s.seen[:0]
	shapes, err := t.rowShapes()
	if err != nil {
		return err
	}
	for _, column := range t.shapes[shapes[row]] {
		starts, err := t.starts(int(column))
		if err != nil {
			return err
		}
		at := int(starts[row])
		if int(column) == len(t.fields) {
			data, err := t.rest.raw(t, at)
			if err != nil {
				return err
			}
			if s.fields, err = readRest(s.fields, data); err != nil {
				return err
			}
			for len(s.ends) < len(s.fields) {
				s.ends = append(s.ends, 0)
			}
			break
		}
		f := &t.fields[column]
		if starts[row+1]-starts[row] > 1 { // which of several this is
			k := 0
			for k < len(s.seen) && s.seen[k].column != column {
				k++
			}
			if k == len(s.seen) {
				s.seen = append(s.seen, seenColumn{column: column})
			}
			at += int(s.seen[k].values)
			s.seen[k].values++
		}
		if f.number {
			v, err := f.num.read(t)
			if err != nil {
				return err
			}
			s.buf = v.append(s.buf, &f.num, at)
		} else {
			v, err := f.text.reader(t)
			if err != nil {
				return err
			}
			if s.buf, err = v.append(s.buf, at); err != nil {
				return err
			}
		}
		s.fields = append(s.fields, event.Field{Name: f.named, Kind: f.kind})
		s.ends = append(s.ends, len(s.buf))
	}
	return nil
}

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
