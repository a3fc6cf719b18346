package query

import "slices"

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

// decimalTable holds, at place x, the number of the text that is the prefix and x in decimal digits without leading zeros; 0
// where it is not known.
type decimalTable struct {
	prefix string
	ids    []int32
}

// Decimals returns the numbers, by x, of the texts that are a prefix and the number x ≤ most without leading zeros: 0 where
// none is known, which the caller then asks Number for and puts in. It is nil when a table does not pay for a column of so many
// values.
func (s *ValueSink) Decimals(prefix []byte, most uint64, values int) []int32 {
	if most >= maxDecimal {
		return nil
	}
	d, want := s.dim, int(most)+1
	i := slices.IndexFunc(d.decimals, func(t decimalTable) bool { return t.prefix == string(prefix) })
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
			if len(d.decimals) == maxDecimalTables {
				return nil
			}
			i = len(d.decimals)
			d.decimals = append(d.decimals, decimalTable{prefix: string(prefix)})
		}
		s.tally.mem.use(4 * (want - have))
		ids := make([]int32, want)
		copy(ids, d.decimals[i].ids)
		d.decimals[i].ids = ids
	}
	return d.decimals[i].ids
}

// numbersOf returns the numbers that another's texts have in d, 0 for those that are not known without looking for the text.
func (d *dim) numbersOf(other *dim) []int32 {
	numbers := make([]int32, len(other.texts))
	for i := range other.decimals {
		o := &other.decimals[i]
		k := slices.IndexFunc(d.decimals, func(t decimalTable) bool { return t.prefix == o.prefix })
		if k < 0 {
			continue
		}
		mine := d.decimals[k].ids
		for x, id := range o.ids[:min(len(o.ids), len(mine))] {
			if id > 0 {
				numbers[id] = mine[x]
			}
		}
	}
	return numbers
}
