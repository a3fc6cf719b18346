package block

import (
	"sort"
	"sync/atomic"

	"github.com/lookoutlog/lookout/internal/event"
)

// Table is an opened pattern block: its directory, and whatever of its columns has been needed so far. It is safe for
// concurrent use.
type Table struct {
	*Block
	cached []lazy[[]byte] // sections that are read in pieces
	size   atomic.Int64

	unit            uint64
	timesAt, seqsAt int
	seqsMode        byte
	dicts           [dictColumns]tableDict
	shapes          [][]int32
	shapeRef        idsRef
	message         textReader
	fields          []tableField
	rest            textReader // of raw values only
	times           lazy[[]int64]
	seqs            lazy[[]uint64]
	shapeIDs        lazy[[]uint16]
	restStarts      lazy[[]uint32]
	rows            lazy[*rowReader]
}

type tableDict struct {
	values [][]byte
	ref    idsRef
	ids    lazy[[]uint16]
}

type tableField struct {
	name   string
	named  []byte // the name again
	kind   event.Kind
	number bool
	n      int // values
	text   textReader
	num    numberReader
	starts lazy[[]uint32] // of each row's values, and the end
}

// Table reads the block's directory. The block is a pattern block.
func (b *Block) Table() (*Table, error) {
	t := &Table{Block: b, cached: make([]lazy[[]byte], len(b.sections))}
	last := len(b.sections) - 1
	dir, err := b.sections[last].read(b.src, last)
	if err != nil {
		return nil, err
	}
	t.size.Add(int64(len(dir)) + 1024)
	r := reader{data: dir}
	t.unit, t.timesAt = r.uvarint(), r.count(maxBlock)
	t.seqsMode, t.seqsAt = r.byte(), r.count(maxBlock)
	for i := range t.dicts {
		d := &t.dicts[i]
		n := r.count(MaxRows)
		for range n {
			if r.bad {
				break
			}
			d.values = append(d.values, r.bytes())
		}
		if d.ref = readIDsRef(&r, n); n == 0 {
			r.fail()
		}
	}
	for _, v := range t.dicts[levelColumn].values {
		if len(v) != 1 || v[0] > byte(event.Debug) {
			r.fail()
		}
	}
	n := r.count(MaxRows)
	for range n {
		list := make([]int32, r.count(len(r.data)))
		for i := range list {
			list[i] = int32(r.count(maxColumns))
		}
		t.shapes = append(t.shapes, list)
		if r.bad {
			break
		}
	}
	if t.shapeRef = readIDsRef(&r, n); n == 0 {
		r.fail()
	}
	t.message.readRef(&r, b.Rows)
	t.fields = make([]tableField, r.count(maxColumns))
	for i := range t.fields {
		f := &t.fields[i]
		f.kind = event.Kind(r.byte())
		f.named = r.bytes()
		f.name = string(f.named)
		f.n = r.count(int(b.Bytes)) // a value takes some bytes of its event
		if f.kind > event.JSON || f.n == 0 {
			r.fail()
		}
		switch r.byte() {
		case fieldText:
			f.text.readRef(&r, f.n)
		case fieldNumber:
			f.number = true
			f.num.readRef(&r, f.n)
		default:
			r.fail()
		}
		if r.bad {
			break
		}
	}
	if !r.bad {
		t.rest.readRaws(&r, b.Rows)
		t.rest.n = t.rest.rawCount
	}
	columns := len(t.fields)
	if t.rest.n > 0 { // the rest is the column behind the last
		columns++
	}
	for _, list := range t.shapes {
		for _, c := range list {
			if int(c) >= columns {
				r.fail()
			}
		}
	}
	if r.bad || len(r.data) != 0 {
		return nil, corrupt("directory")
	}
	return t, nil
}

// MemSize returns roughly how many bytes the table keeps at the moment.
func (t *Table) MemSize() int { return int(t.size.Load()) }

// Rows returns the number of events.
func (t *Table) Rows() int { return t.Block.Rows }

// Service returns the service of all events.
func (t *Table) Service() string { return t.Meta.Service }

// section reads a section that is used as a whole, once.
func (t *Table) section(i int) ([]byte, error) {
	if i >= len(t.sections) {
		return nil, corrupt("no section %d", i)
	}
	return t.sections[i].read(t.src, i)
}

// keep reads a section that is used in pieces, and keeps it.
func (t *Table) keep(i int) ([]byte, error) {
	if i >= len(t.sections) {
		return nil, corrupt("no section %d", i)
	}
	return t.cached[i].get(func() ([]byte, error) {
		data, err := t.sections[i].read(t.src, i)
		t.size.Add(int64(len(data)))
		return data, err
	})
}

// Times returns the events' times, ns since the Unix epoch, ascending. The caller must not change them.
func (t *Table) Times() ([]int64, error) {
	return t.times.get(func() ([]int64, error) {
		data, err := t.section(t.timesAt)
		if err != nil {
			return nil, err
		}
		deltas := make([]uint64, t.Rows()-1)
		if rest, ok := readInts(deltas, data); !ok || len(rest) != 0 {
			return nil, corrupt("times")
		}
		times := make([]int64, t.Rows())
		at := uint64(t.MinTime)
		times[0] = t.MinTime
		for i, d := range deltas {
			at += d * t.unit
			times[i+1] = int64(at)
			if times[i+1] < times[i] {
				return nil, corrupt("times")
			}
		}
		if int64(at) != t.MaxTime {
			return nil, corrupt("times end at %d, not at %d", int64(at), t.MaxTime)
		}
		t.size.Add(int64(8 * len(times)))
		return times, nil
	})
}

// Seqs returns the events' sequences. The caller must not change them.
func (t *Table) Seqs() ([]uint64, error) {
	return t.seqs.get(func() ([]uint64, error) {
		data, err := t.section(t.seqsAt)
		if err != nil {
			return nil, err
		}
		seqs := make([]uint64, t.Rows())
		deltas := seqs
		if t.seqsMode == seqsRising {
			deltas = seqs[1:]
		}
		if rest, ok := readInts(deltas, data); !ok || len(rest) != 0 || t.seqsMode > seqsAny {
			return nil, corrupt("sequences")
		}
		at := t.MinSeq
		if t.seqsMode == seqsRising {
			seqs[0] = at
			for i, d := range deltas {
				at += d + 1
				seqs[i+1] = at
			}
		} else {
			for i, d := range deltas {
				at += uint64(unzigzag(d))
				seqs[i] = at
			}
		}
		for _, s := range seqs {
			if s < t.MinSeq || s > t.MaxSeq {
				return nil, corrupt("sequence %d outside of %d to %d", s, t.MinSeq, t.MaxSeq)
			}
		}
		t.size.Add(int64(8 * len(seqs)))
		return seqs, nil
	})
}

// dict returns each row's place in a dictionary.
func (t *Table) dict(i int) ([]uint16, error) {
	d := &t.dicts[i]
	return d.ids.get(func() ([]uint16, error) {
		t.size.Add(int64(2 * t.Rows()))
		return d.ref.read(t.Rows(), t.section)
	})
}

// rowShapes returns the number of each row's list of columns.
func (t *Table) rowShapes() ([]uint16, error) {
	return t.shapeIDs.get(func() ([]uint16, error) {
		t.size.Add(int64(2 * t.Rows()))
		return t.shapeRef.read(t.Rows(), t.section)
	})
}

// starts returns where each row's values begin in a field's column, and the end. The column behind the last is the rest's.
func (t *Table) starts(column int) ([]uint32, error) {
	l, n := &t.restStarts, t.rest.n
	if column < len(t.fields) {
		l, n = &t.fields[column].starts, t.fields[column].n
	}
	return l.get(func() ([]uint32, error) {
		ids, err := t.rowShapes()
		if err != nil {
			return nil, err
		}
		counts := make([]uint32, len(t.shapes))
		for s, list := range t.shapes {
			for _, c := range list {
				if int(c) == column {
					counts[s]++
				}
			}
		}
		starts := make([]uint32, t.Rows()+1)
		at := uint64(0)
		for i, s := range ids {
			starts[i] = uint32(at)
			at += uint64(counts[s])
		}
		starts[t.Rows()] = uint32(at)
		if at != uint64(n) {
			return nil, corrupt("%d values of a field where %d are", at, n)
		}
		t.size.Add(int64(4 * len(starts)))
		return starts, nil
	})
}

// Between returns the rows whose times are from since on and before until: from row lo up to, without, hi.
func (t *Table) Between(since, until int64) (lo, hi int, err error) {
	if since <= t.MinTime && until > t.MaxTime {
		return 0, t.Rows(), nil
	}
	times, err := t.Times()
	if err != nil {
		return 0, 0, err
	}
	lo = sort.Search(len(times), func(i int) bool { return times[i] >= since })
	hi = sort.Search(len(times), func(i int) bool { return times[i] >= until })
	return lo, max(lo, hi), nil
}

// Levels returns each event's level, an event.Level. The caller must not change it.
func (t *Table) Levels() ([]uint8, error) {
	ids, err := t.dict(levelColumn)
	if err != nil {
		return nil, err
	}
	levels := make([]uint8, len(ids))
	for i, id := range ids {
		levels[i] = t.dicts[levelColumn].values[id][0]
	}
	return levels, nil
}
