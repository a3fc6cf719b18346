package block

import (
	"slices"
	"strconv"
	"sync"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Select narrows rows to those that match q, exactly. forms holds, by the ID of each of q's tests, the forms that may
// satisfy it: all others never do. Nil lets the table judge its own forms.
func (t *Table) Select(q *query.Query, forms [][]Form, rows bitset.Set) error {
	s := selections.Get().(*selection)
	defer selections.Put(s)
	s.Table, s.forms = t, forms
	err := q.Select(s, rows)
	// What is kept for the next one must not keep the table.
	s.Table, s.forms, s.head = nil, nil, hole{}
	clear(s.holes)
	return err
}

// selection is a table during the evaluation of one query. It implements query.Table.
type selection struct {
	*Table
	forms    [][]Form
	buf      []byte
	verdicts []query.Verdict
	found    bitset.Set
	wanted   bitset.Set
	spare    bitset.Set
	flags    []uint8 // 1 for yes
	head     hole
	holes    [][]*hole // by form: those in which a part of a token was found
}

var selections = sync.Pool{New: func() any { return new(selection) }}

var _ query.Table = (*selection)(nil)

// The number of the column of fields that have none in a [Text] and a [Form].
func (t *Table) restNumber() int { return len(t.fields) + 1 }

// Text implements query.Table.
func (s *selection) Text(test *query.Test, rows bitset.Set) error {
	return s.anyOf(test, rows, func(int) bool { return true })
}

// Message implements query.Table.
func (s *selection) Message(test *query.Test, rows bitset.Set) error {
	return s.anyOf(test, rows, func(column int) bool { return column == 0 })
}

// Field implements query.Table.
func (s *selection) Field(name string, test *query.Test, rows bitset.Set) error {
	return s.anyOf(test, rows, func(column int) bool {
		return column == s.restNumber() || column > 0 && s.fields[column-1].name == name
	}, name)
}

// anyOf keeps the rows of which a value in one of the wanted columns satisfies the test. name is the field's, for those that
// have no column.
func (s *selection) anyOf(test *query.Test, rows bitset.Set, wanted func(column int) bool, name ...string) error {
	// left are the rows that are still to be decided, found those that satisfy the test.
	s.wanted = append(s.wanted[:0], rows...)
	s.found = append(s.found[:0], rows...)
	left, found := s.wanted, s.found
	found.Clear()
	for column := 0; column <= s.restNumber(); column++ {
		if !wanted(column) {
			continue
		}
		if left.Empty() {
			break
		}
		var err error
		switch {
		case column == 0:
			err = s.texts(test, 0, &s.message, left, found)
		case column == s.restNumber():
			err = s.rests(test, left, found, name)
		case s.fields[column-1].number:
			err = s.numbers(test, column, left, found)
		default:
			err = s.texts(test, column, &s.fields[column-1].text, left, found)
		}
		if err != nil {
			return err
		}
		left.AndNot(found)
	}
	rows.And(found)
	return nil
}

// judged returns the verdict on each form of a column, that on raw values last. worst is the most hopeful of them.
func (s *selection) judged(test *query.Test, column int, c *textReader) (verdicts []query.Verdict, best query.Verdict, err error) {
	n := c.count + 1
	if cap(s.verdicts) < n {
		s.verdicts = make([]query.Verdict, n)
	}
	verdicts = s.verdicts[:n]
	clear(verdicts)
	if s.forms != nil {
		for _, f := range s.forms[test.ID()] {
			if f.Column != column {
				continue
			}
			local := f.Local
			if local < 0 {
				local = c.count
			}
			if local < n {
				verdicts[local] = f.Verdict
				best = max(best, f.Verdict)
			}
		}
		return verdicts, best, nil
	}
	for i := range c.count {
		f, err := c.form(s.Table, i)
		if err != nil {
			return nil, 0, err
		}
		p, err := c.pattern(s.Table, f)
		if err != nil {
			return nil, 0, err
		}
		verdicts[i] = test.Judge(&p)
		best = max(best, verdicts[i])
	}
	if c.rawCount > 0 {
		verdicts[c.count] = query.Maybe
		best = max(best, query.Maybe)
	}
	return verdicts, best, nil
}

// texts adds to found the rows of left of which a value in the column satisfies the test.
func (s *selection) texts(test *query.Test, column int, c *textReader, left, found bitset.Set) error {
	verdicts, best, err := s.judged(test, column, c)
	if err != nil || best == query.Never {
		return err
	}
	if !slices.ContainsFunc(verdicts[:c.count], notAlways) && (c.rawCount == 0 || verdicts[c.count] == query.Always) {
		return s.whole(column, left, found)
	}
	if text, fold, ok := test.Equal(); ok {
		if best, err = s.findWhole(test, text, fold, column, c, verdicts, left, found); err != nil || best == query.Never {
			return err
		}
	}
	inToken := test.InToken()
	if inToken {
		if best, err = s.lookInHoles(test, c, verdicts); err != nil || best == query.Never {
			return err
		}
	}
	ids, err := c.formIDs(s.Table)
	if err != nil {
		return err
	}
	var values *valueReader
	for i, v := range verdicts {
		if v == query.Maybe && (i < c.count || c.rawCount > 0) {
			if values, err = c.reader(s.Table); err != nil {
				return err
			}
			break
		}
	}
	one := func(row, i int) error {
		id := int(ids[i])
		switch verdicts[id] {
		case query.Always:
			found.Add(row)
		case query.Maybe:
			if inToken && id < c.count && s.holes[id] != nil {
				if s.inHole(test, s.holes[id], int(values.ranks[i])) {
					found.Add(row)
				}
				return nil
			}
			var err error
			if s.buf, err = values.append(s.buf[:0], i); err != nil {
				return err
			}
			if test.Match(s.buf) {
				found.Add(row)
			}
		}
		return nil
	}
	if column == 0 {
		for row := left.Next(0); row >= 0; row = left.Next(row + 1) {
			if err := one(row, row); err != nil {
				return err
			}
		}
		return nil
	}
	return s.each(column-1, left, func(row, i int) (bool, error) {
		err := one(row, i)
		return found.Has(row), err
	})
}

func notAlways(v query.Verdict) bool { return v != query.Always }

// whole adds to found the rows of left that have a value in the column.
func (s *selection) whole(column int, left, found bitset.Set) error {
	if column == 0 {
		found.Or(left)
		return nil
	}
	ids, err := s.rowShapes()
	if err != nil {
		return err
	}
	s.flags = append(s.flags[:0], make([]uint8, len(s.shapes))...)
	for i, list := range s.shapes {
		if slices.Contains(list, int32(column-1)) {
			s.flags[i] = 1
		}
	}
	s.spare = append(s.spare[:0], left...)
	have := s.spare
	keepFlagged(have, ids, s.flags)
	found.Or(have)
	return nil
}

// lookInHoles settles the verdicts on forms that may satisfy a test for parts of tokens: a text does when its fixed text or one
// of its holes' values does, so that a form is Never when none of its values does, whichever rows they are in. It returns the
// best verdict left, and leaves in s.holes the holes of each form that are still to be looked at.
func (s *selection) lookInHoles(test *query.Test, c *textReader, verdicts []query.Verdict) (best query.Verdict, err error) {
	s.holes = append(s.holes[:0], make([][]*hole, c.count)...)
	loose := query.Maybe // what is known of all values of forms that have few
	for id := range c.count {
		if verdicts[id] == query.Maybe {
			f, err := c.form(s.Table, id)
			if err != nil {
				return 0, err
			}
			switch {
			case test.Match(f.text): // in a way that the judge leaves open, such as the Kelvin sign
				verdicts[id] = query.Always
			case f.moulded():
				verdicts[id], err = s.lookInColumns(test, c, f, id)
			case f.loose:
				if loose == query.Maybe {
					loose, err = s.lookInLoose(test, c, verdicts[id:])
				}
				if verdicts[id] = query.Never; loose == query.Always && err == nil {
					verdicts[id], err = s.lookInTexts(test, c, f)
				}
			}
			if err != nil {
				return 0, err
			}
		}
		best = max(best, verdicts[id])
	}
	if c.rawCount > 0 {
		best = max(best, verdicts[c.count])
	}
	return best, nil
}

// lookRun is how many bytes of values are looked at in one go.
const lookRun = 32 << 10

// lookInColumns tells whether some value of a form's holes may satisfy the test. Most holes cannot hold the literal, as their heads
// tell, and most others do not: columns are made of a form of which one does.
func (s *selection) lookInColumns(test *query.Test, c *textReader, f *formRef, id int) (query.Verdict, error) {
	literal := test.Literal()
	r := reader{data: f.head}
	section, at := r.count(maxBlock), r.count(maxBlock)
	var data []byte
	for k := range f.holes {
		if len(r.data) > 0 && r.data[0] == holeConst { // most of them: nothing is made for these
			if r.byte(); !test.Match(r.bytes()) {
				continue
			}
			cols, err := c.columns(s.Table, f)
			if err != nil {
				return 0, err
			}
			s.holes[id] = append(s.holes[id], &cols[k])
			continue
		}
		h := &s.head
		*h = readHoleInto(&r, f.values, h.values[:0])
		if r.bad {
			return 0, corrupt("holes")
		}
		from := at
		at += h.bits
		if facts := h.facts(); !test.MayHold(&facts) {
			continue
		}
		if h.bits > 0 && data == nil && section < len(c.dataSections) {
			var err error
			if data, err = s.keep(c.dataSections[section]); err != nil {
				return 0, err
			}
		}
		if at > len(data) && h.bits > 0 {
			return 0, corrupt("holes")
		}
		h.load(data[min(from, len(data)):min(at, len(data))])
		if !s.lookInColumn(test, literal, h) {
			continue
		}
		cols, err := c.columns(s.Table, f)
		if err != nil {
			return 0, err
		}
		s.holes[id] = append(s.holes[id], &cols[k])
	}
	if len(s.holes[id]) == 0 {
		return query.Never, nil
	}
	return query.Maybe, nil
}

// lookInColumn tells whether a value of a hole may satisfy the test: many of them are looked at at once, parted by a byte that is
// in no token.
func (s *selection) lookInColumn(test *query.Test, literal []byte, h *hole) bool {
	switch h.kind {
	case holeConst:
		return true // it was looked at
	case holeDict:
		return slices.ContainsFunc(h.values, test.Match)
	case holeChars:
		if found, ok := h.search(literal); ok {
			return found
		}
	}
	s.buf = s.buf[:0]
	for i := range h.n {
		s.buf = append(h.append(s.buf, i), query.HoleMark)
		if len(s.buf) >= lookRun || i == h.n-1 {
			if test.Match(s.buf) {
				return true
			}
			s.buf = s.buf[:0]
		}
	}
	return false
}

// looseShare is how many bytes of loose values are looked through in the time that a look at the values of one form takes.
const looseShare = 1 << 10

// lookInLoose tells whether the test may be satisfied by some value of the forms that have few: Always or Never. A literal that
// is in a value is in all of them, one behind the other. Verdicts are on the forms that are left: of few Maybes each is looked at.
func (s *selection) lookInLoose(test *query.Test, c *textReader, verdicts []query.Verdict) (query.Verdict, error) {
	data, err := c.loose.read(s.Table)
	if err != nil {
		return query.Never, err
	}
	most := len(data) / looseShare
	for _, v := range verdicts {
		if v == query.Maybe {
			most--
		}
	}
	if most > 0 || test.Match(data) {
		return query.Always, nil
	}
	return query.Never, nil
}

// lookInTexts is lookInColumns for a form whose few values are kept as texts.
func (s *selection) lookInTexts(test *query.Test, c *textReader, f *formRef) (query.Verdict, error) {
	texts, err := c.looseTexts(s.Table, f)
	if err != nil {
		return 0, err
	}
	for _, v := range texts {
		if test.Match(v) {
			return query.Maybe, nil
		}
	}
	return query.Never, nil
}

// inHole tells whether a value of one of the holes satisfies the test.
func (s *selection) inHole(test *query.Test, holes []*hole, rank int) bool {
	for _, h := range holes {
		if s.buf = h.append(s.buf[:0], rank); test.Match(s.buf) {
			return true
		}
	}
	return false
}

// each calls fn for every value of a field's column in the rows; true goes on to the next row.
func (t *Table) each(field int, rows bitset.Set, fn func(row, i int) (bool, error)) error {
	starts, err := t.starts(field)
	if err != nil {
		return err
	}
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		for i := starts[row]; i < starts[row+1]; i++ {
			done, err := fn(row, int(i))
			if err != nil {
				return err
			}
			if done {
				break
			}
		}
	}
	return nil
}

// numbers adds to found the rows of left of which a number in the column satisfies the test.
func (s *selection) numbers(test *query.Test, column int, left, found bitset.Set) error {
	if s.forms != nil {
		possible := false
		for _, f := range s.forms[test.ID()] {
			possible = possible || f.Column == column
		}
		if !possible {
			return nil
		}
	}
	f := &s.fields[column-1]
	v, err := f.num.read(s.Table)
	if err != nil {
		return err
	}
	if f.num.same && f.num.scale != badScale {
		if lo, hi, ok := test.Decimals(int(f.num.scale)); ok {
			return s.each(column-1, left, func(row, i int) (bool, error) {
				if m := v.mantissas[i]; m >= lo && m <= hi {
					found.Add(row)
					return true, nil
				}
				return false, nil
			})
		}
	}
	return s.each(column-1, left, func(row, i int) (bool, error) {
		if s.buf = v.append(s.buf[:0], &f.num, i); test.Match(s.buf) {
			found.Add(row)
			return true, nil
		}
		return false, nil
	})
}

// rests adds to found the rows of left of which a field without a column satisfies the test; of the name, if one is given.
func (s *selection) rests(test *query.Test, left, found bitset.Set, name []string) error {
	if s.rest.n == 0 {
		return nil
	}
	var fields []event.Field
	return s.each(len(s.fields), left, func(row, i int) (bool, error) {
		data, err := s.rest.raw(s.Table, i)
		if err != nil {
			return false, err
		}
		if fields, err = readRest(fields[:0], data); err != nil {
			return false, err
		}
		for i := range fields {
			if len(name) > 0 && string(fields[i].Name) != name[0] {
				continue
			}
			if test == nil || test.Match(fields[i].Value) {
				found.Add(row)
				return true, nil
			}
		}
		return false, nil
	})
}

// HasField implements query.Table.
func (s *selection) HasField(name string, rows bitset.Set) error {
	ids, err := s.rowShapes()
	if err != nil {
		return err
	}
	s.flags = append(s.flags[:0], make([]uint8, len(s.shapes))...)
	rest := false
	for i, list := range s.shapes {
		for _, c := range list {
			if int(c) == len(s.fields) {
				rest = true
			} else if s.fields[c].name == name {
				s.flags[i] = 1
			}
		}
	}
	s.found = append(s.found[:0], rows...)
	keepFlagged(s.found, ids, s.flags)
	if rest {
		s.wanted = append(s.wanted[:0], rows...)
		s.wanted.AndNot(s.found)
		if err := s.rests(nil, s.wanted, s.found, []string{name}); err != nil {
			return err
		}
	}
	rows.And(s.found)
	return nil
}

// Builtin implements query.Table.
func (s *selection) Builtin(b query.Builtin, test *query.Test, rows bitset.Set) error {
	return s.byDict(builtinColumns[b], rows, func(v []byte) bool { return len(v) > 0 && test.Match(v) })
}

var builtinColumns = [...]int{query.Env: envColumn, query.Host: hostColumn, query.Container: containerColumn, query.Stream: streamColumn}

// Levels implements query.Table.
func (s *selection) Levels(set uint16, rows bitset.Set) error {
	return s.byDict(levelColumn, rows, func(v []byte) bool { return set&(1<<v[0]) != 0 })
}

func (s *selection) byDict(column int, rows bitset.Set, keep func(v []byte) bool) error {
	d := &s.dicts[column]
	s.flags = s.flags[:0]
	all, none := true, true
	for _, v := range d.values {
		ok := keep(v)
		all, none = all && ok, none && !ok
		s.flags = append(s.flags, 0)
		if ok {
			s.flags[len(s.flags)-1] = 1
		}
	}
	switch {
	case all:
		return nil
	case none:
		rows.Clear()
		return nil
	}
	ids, err := s.dict(column)
	if err != nil {
		return err
	}
	keepFlagged(rows, ids, s.flags)
	return nil
}

// keepFlagged keeps the rows of whose number the flag is 1.
func keepFlagged(rows bitset.Set, ids []uint16, flags []uint8) {
	for w, word := range rows {
		if word == 0 {
			continue
		}
		base, keep := w*64, uint64(0)
		for i, id := range ids[base:min(base+64, len(ids))] {
			keep |= uint64(flags[id]) << (i & 63)
		}
		rows[w] = word & keep
	}
}

// IDs implements query.Table.
func (s *selection) IDs(test *query.Test, rows bitset.Set) error {
	seqs, err := s.Seqs()
	if err != nil {
		return err
	}
	for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
		if s.buf = strconv.AppendUint(s.buf[:0], seqs[row], 10); seqs[row] == 0 || !test.Match(s.buf) {
			rows.Remove(row)
		}
	}
	return nil
}

// Column is one column of a field, for aggregates.
type Column struct {
	t     *Table
	dict  int // of a builtin field; -1 for the others
	field int // the place in t.fields; -1 for fields without a column
	name  string
}

// Column returns the columns of a field: of env, host, container, stream or level, or of an extra field's name, one for each
// kind of value. There are none when no event of the block has the field.
func (t *Table) Column(name string) []*Column {
	for i, n := range builtinNames {
		if n == name {
			return []*Column{{t: t, dict: i}}
		}
	}
	var list []*Column
	for i := range t.fields {
		if t.fields[i].name == name {
			list = append(list, &Column{t: t, dict: -1, field: i})
		}
	}
	if t.rest.n > 0 {
		list = append(list, &Column{t: t, dict: -1, field: -1, name: name})
	}
	return list
}

// Each calls fn for every value of the column in the rows, in order of row; an event may have several. A built-in field that
// is empty is not there. A level is its name. The value is valid during the call.
func (c *Column) Each(rows bitset.Set, fn func(row int, value []byte) error) error {
	t := c.t
	if c.dict >= 0 {
		ids, err := t.dict(c.dict)
		if err != nil {
			return err
		}
		values := t.dicts[c.dict].values
		if c.dict == levelColumn {
			values = levelNames(values)
		}
		for row := rows.Next(0); row >= 0; row = rows.Next(row + 1) {
			if v := values[ids[row]]; len(v) > 0 {
				if err := fn(row, v); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if c.field < 0 {
		return c.eachRest(rows, fn)
	}
	f := &t.fields[c.field]
	var buf []byte
	if f.number {
		v, err := f.num.read(t)
		if err != nil {
			return err
		}
		return t.each(c.field, rows, func(row, i int) (bool, error) {
			buf = v.append(buf[:0], &f.num, i)
			return false, fn(row, buf)
		})
	}
	v, err := f.text.reader(t)
	if err != nil {
		return err
	}
	return t.each(c.field, rows, func(row, i int) (bool, error) {
		var err error
		if buf, err = v.append(buf[:0], i); err != nil {
			return false, err
		}
		return false, fn(row, buf)
	})
}

func levelNames(values [][]byte) [][]byte {
	names := make([][]byte, len(values))
	for i, v := range values {
		names[i] = []byte(event.Level(v[0]).String())
	}
	return names
}

func (c *Column) eachRest(rows bitset.Set, fn func(row int, value []byte) error) error {
	var fields []event.Field
	return c.t.each(len(c.t.fields), rows, func(row, i int) (bool, error) {
		data, err := c.t.rest.raw(c.t, i)
		if err != nil {
			return false, err
		}
		if fields, err = readRest(fields[:0], data); err != nil {
			return false, err
		}
		for j := range fields {
			if string(fields[j].Name) == c.name {
				if err := fn(row, fields[j].Value); err != nil {
					return false, err
				}
			}
		}
		return false, nil
	})
}

// Numbers calls fn for every value of the column in the rows that is a number as [query.ParseNumber] reads it, also when the
// field holds it as a text.
func (c *Column) Numbers(rows bitset.Set, fn func(row int, v float64)) error {
	if c.dict < 0 && c.field >= 0 && c.t.fields[c.field].number {
		f := &c.t.fields[c.field]
		if f.num.same && f.num.scale != badScale {
			v, err := f.num.read(c.t)
			if err != nil {
				return err
			}
			scale := int(f.num.scale)
			var buf []byte
			return c.t.each(c.field, rows, func(row, i int) (bool, error) {
				m := v.mantissas[i]
				if exact(m) {
					fn(row, float(m, scale))
				} else if x, ok := query.ParseNumber(v.append(buf[:0], &f.num, i)); ok {
					fn(row, x)
				}
				return false, nil
			})
		}
	}
	return c.Each(rows, func(row int, value []byte) error {
		if v, ok := query.ParseNumber(value); ok {
			fn(row, v)
		}
		return nil
	})
}
