package query

import (
	"slices"
	"strconv"
)

// ValueSink takes the values of one field from a [StatsTable]. A table that knows which of its values are the same need not
// write out each of them: it asks for a text's number once, and then gives the number for every row that has it.
type ValueSink struct {
	tally *Tally
	dim   *dim
	// IDs takes values of rows by their numbers, as Number and the tables of Decimals have them; both are valid during the call.
	IDs func(rows, ids []int32)
	// Text takes a row's value as a text, valid during the call.
	Text func(row int, v []byte)
}

// Number returns the number of a text that some row has; it is not 0. It is -1 when there are too many different ones.
func (s *ValueSink) Number(v []byte) int32 { return s.tally.number(s.dim, v) }

const (
	// A field's texts that are one of so many prefixes and a number below maxDecimal have tables.
	maxDecimalTables = 4
	maxDecimal       = 1 << 18
	// A table grows for a column of at least so many values for each place it gets.
	decimalFill = 1.0 / 16
)

// Decimals are the numbers of texts that are one prefix and a number in decimal digits without leading zeros.
//
// As long as a field has no other texts, and one prefix, its texts get numbers without being written out: only those of an
// answer are. See dim.settle.
type Decimals struct {
	tally  *Tally
	dim    *dim
	prefix string
	ids    []int32
}

// Known returns the numbers that are known, by x; 0 where none is. The caller may put in what Number returned.
func (d *Decimals) Known() []int32 { return d.ids }

// Number returns the number of the text of x, which some row has; it is not 0. It is -1 when there are too many different ones.
func (d *Decimals) Number(x int) int32 {
	if d.ids[x] != 0 { // Known was of a smaller table
		return d.ids[x]
	}
	switch dim := d.dim; {
	case !dim.unwritten:
		d.ids[x] = d.tally.number(dim, d.text(nil, x))
	case len(dim.texts) > MaxGroups:
		d.tally.full = true
		return -1
	default:
		d.ids[x] = int32(len(dim.texts))
		dim.texts = append(dim.texts, "")
		d.tally.mem.use(valueCost + len(d.prefix) + 6)
	}
	return d.ids[x]
}

func (d *Decimals) text(dst []byte, x int) []byte {
	return strconv.AppendInt(append(dst, d.prefix...), int64(x), 10)
}

// parse returns the x of a text that is in the table's range, -1 for others.
func (d *Decimals) parse(v []byte) int {
	n := len(d.prefix)
	if len(v) <= n || string(v[:n]) != d.prefix || v[n] == '0' && len(v) > n+1 {
		return -1
	}
	x := 0
	for _, c := range v[n:] {
		if x = 10*x + int(c-'0'); c < '0' || c > '9' || x >= len(d.ids) {
			return -1
		}
	}
	return x
}

// Decimals returns the numbers of the texts that are a prefix and a number up to most. It is nil when a table does not pay for a
// column of so many values.
func (s *ValueSink) Decimals(prefix []byte, most uint64, values int) *Decimals {
	return s.tally.decimals(s.dim, prefix, most, values)
}

func (t *Tally) decimals(d *dim, prefix []byte, most uint64, values int) *Decimals {
	if most >= maxDecimal {
		return nil
	}
	want := int(most) + 1
	i := slices.IndexFunc(d.decimals, func(t *Decimals) bool { return t.prefix == string(prefix) })
	have := 0
	if i >= 0 {
		have = len(d.decimals[i].ids)
	}
	if want > have {
		want = max(want, min(2*have, maxDecimal))
		if float64(values) < decimalFill*float64(want-have) {
			return nil
		}
		if i < 0 {
			switch i = len(d.decimals); i {
			case 0:
				d.unwritten = len(d.texts) == 1
			case maxDecimalTables:
				return nil
			default:
				d.settle()
			}
			d.decimals = append(d.decimals, &Decimals{tally: t, dim: d, prefix: string(prefix)})
		}
		t.mem.use(4 * (want - have))
		ids := make([]int32, want)
		copy(ids, d.decimals[i].ids)
		d.decimals[i].ids = ids
	}
	return d.decimals[i]
}

// write writes out the texts that have got numbers without.
func (d *dim) write() {
	if !d.unwritten {
		return
	}
	var buf []byte
	for x, id := range d.decimals[0].ids {
		if id > 0 {
			buf = d.decimals[0].text(buf[:0], x)
			d.texts[id] = d.copy(buf)
		}
	}
	d.unwritten = false
}

// settle makes all texts known by what they are: before any text is looked for.
func (d *dim) settle() {
	if d.unwritten {
		d.write()
		d.index()
	}
}

// numbersOf returns the numbers that another's texts get in d.
func (t *Tally) numbersOf(d, other *dim) []int32 {
	numbers := make([]int32, len(other.texts))
	for _, o := range other.decimals {
		if mine := t.decimals(d, []byte(o.prefix), uint64(len(o.ids)-1), len(o.ids)); mine != nil {
			for x, id := range o.ids {
				if id > 0 {
					numbers[id] = mine.Number(x)
				}
			}
		}
	}
	other.write()
	for id := 1; id < len(numbers); id++ {
		if numbers[id] == 0 {
			numbers[id] = t.number(d, []byte(other.texts[id]))
		}
	}
	return numbers
}
