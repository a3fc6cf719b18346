package block

import (
	"math"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// Info returns what the builder told of a pattern block, but for the keys: for a segment whose footer is damaged, and to
// verify one.
func (t *Table) Info() (*Info, error) {
	info := &Info{Meta: t.Meta}
	if err := t.appendForms(info, 0, "", &t.message, func(i int) int { return i }); err != nil {
		return nil, err
	}
	for k := range t.fields {
		f := &t.fields[k]
		starts, err := t.starts(k)
		if err != nil {
			return nil, err
		}
		rowOf := make([]int, f.n)
		for row := range t.Rows() {
			for i := starts[row]; i < starts[row+1]; i++ {
				rowOf[i] = row
			}
		}
		if !f.number {
			if err := t.appendForms(info, k+1, f.name, &f.text, func(i int) int { return rowOf[i] }); err != nil {
				return nil, err
			}
			continue
		}
		v, err := f.num.read(t)
		if err != nil {
			return nil, err
		}
		text := Text{Column: k + 1, Name: f.name, Kind: numbersKind(f.num.texts), Local: -1, Values: f.n, Lo: math.Inf(1), Hi: math.Inf(-1)}
		var buf []byte
		h := query.Hole{Set: numberSet, Min: math.MaxInt}
		for i := range f.n {
			buf = v.append(buf[:0], &f.num, i)
			h.Min, h.Max = min(h.Min, len(buf)), max(h.Max, len(buf))
			if i == 0 || rowOf[i] != rowOf[i-1] {
				text.Rows++
			}
			if scale := v.scale(&f.num, i); scale != badScale {
				lo, hi := around(v.mantissas[i], scale)
				text.Lo, text.Hi = min(text.Lo, lo), max(text.Hi, hi)
			}
		}
		if len(f.num.texts) > 0 {
			text.Lo, text.Hi = math.Inf(-1), math.Inf(1)
		}
		if text.Kind == Numbers {
			text.Holes = []query.Hole{h}
		}
		info.Texts = append(info.Texts, text)
	}
	if t.rest.n > 0 {
		info.Texts = append(info.Texts, Text{Column: t.restNumber(), Kind: Rest, Local: -1, Values: t.rest.n, Rows: t.rest.n})
	}
	return info, t.appendCounts(info)
}

func (t *Table) appendForms(info *Info, column int, name string, c *textReader, rowOf func(i int) int) error {
	ids, err := c.formIDs(t)
	if err != nil {
		return err
	}
	first := len(info.Texts)
	for i := range c.count {
		f, err := c.form(t, i)
		if err != nil {
			return err
		}
		p, err := c.pattern(t, f)
		if err != nil {
			return err
		}
		info.Texts = append(info.Texts, Text{Column: column, Name: name, Kind: Patterned, Local: i, Values: f.values, Pattern: p})
	}
	if c.rawCount > 0 {
		info.Texts = append(info.Texts, Text{Column: column, Name: name, Kind: Raw, Local: -1, Values: c.rawCount})
	}
	last := make([]int, c.count+1)
	for i := range last {
		last[i] = -1
	}
	for i, id := range ids {
		if row := rowOf(i); last[id] != row {
			last[id] = row
			info.Texts[first+int(id)].Rows++
		}
	}
	return nil
}

func (t *Table) appendCounts(info *Info) error {
	times, err := t.Times()
	if err != nil {
		return err
	}
	levels, err := t.Levels()
	if err != nil {
		return err
	}
	var now [event.Debug + 1]int
	flush := func(bucket int64) {
		for l, n := range now {
			if n > 0 {
				info.Counts = append(info.Counts, Count{Bucket: bucket, Level: uint8(l), Rows: n})
			}
		}
		clear(now[:])
	}
	for i, at := range times {
		if i > 0 && Bucket(at) != Bucket(times[i-1]) {
			flush(Bucket(times[i-1]))
		}
		now[levels[i]]++
	}
	flush(Bucket(times[len(times)-1]))
	return nil
}
