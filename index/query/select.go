package query

import (
	"sync"

	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
)

// Builtin is a built-in field that is kept in a column of its own.
type Builtin uint8

// The built-in columns. Service, level and message have methods of their own in [Table].
const (
	Env Builtin = iota
	Host
	Container
	Stream
)

// String returns the field's name.
func (b Builtin) String() string { return [...]string{nameEnv, nameHost, nameContainer, nameStream}[b] }

func (b Builtin) of(e *event.Event) []byte {
	switch b {
	case Env:
		return e.Env
	case Host:
		return e.Host
	case Container:
		return e.Container
	}
	return e.Stream
}

// Table is a block's events in columns. Each method takes from rows those that do not satisfy the term; it adds none.
type Table interface {
	Rows() int
	// Service is the service of all rows.
	Service() string
	// Text keeps rows of which the message or any extra field's value satisfies t.
	Text(t *Test, rows bitset.Set) error
	Message(t *Test, rows bitset.Set) error
	// Field keeps rows of which some value of the extra field satisfies t.
	Field(name string, t *Test, rows bitset.Set) error
	HasField(name string, rows bitset.Set) error
	// Builtin keeps rows of which the field satisfies t; an empty value never does.
	Builtin(b Builtin, t *Test, rows bitset.Set) error
	// Levels keeps rows of the levels in set: bit l stands for event.Level l.
	Levels(set uint16, rows bitset.Set) error
	// IDs keeps rows of which the sequence as decimal text satisfies t; the sequence 0 never does.
	IDs(t *Test, rows bitset.Set) error
}

// Facts are what is known of a block that is not opened. Each method returns how many of its rows satisfy the term, at
// least and at most; the terms are those of [Table].
type Facts interface {
	Rows() int
	Service() string
	Text(t *Test) (least, most int)
	Message(t *Test) (least, most int)
	Field(name string, t *Test) (least, most int)
	HasField(name string) (least, most int)
	Builtin(b Builtin, t *Test) (least, most int)
	// Levels is exact.
	Levels(set uint16) int
}

// Select narrows rows to those that match, exactly. After an error, which is the table's, rows means nothing.
func (q *Query) Select(t Table, rows bitset.Set) error {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.used = 0
	return q.match.narrow(t, rows, s)
}

// Bounds returns how many rows of a block match, at least and at most.
func (q *Query) Bounds(f Facts) (least, most int) { return q.match.bounds(f) }

// scratch is the sets that a selection needs beside rows, used as a stack.
type scratch struct {
	sets []bitset.Set
	used int
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// copy returns a copy of rows, which the caller gives back with drop before those it had before.
func (s *scratch) copy(rows bitset.Set) bitset.Set {
	if s.used == len(s.sets) {
		s.sets = append(s.sets, nil)
	}
	set := append(s.sets[s.used][:0], rows...)
	s.sets[s.used] = set
	s.used++
	return set
}

func (s *scratch) drop() { s.used-- }

// without narrows rows to those that keep would not leave.
func (s *scratch) without(rows bitset.Set, keep func(rows bitset.Set) error) error {
	out := s.copy(rows)
	defer s.drop()
	if err := keep(out); err != nil {
		return err
	}
	rows.AndNot(out)
	return nil
}

func (matchAll) narrow(Table, bitset.Set, *scratch) error { return nil }

func (m matchAnd) narrow(t Table, rows bitset.Set, s *scratch) error {
	for _, k := range m {
		if rows.Empty() {
			return nil
		}
		if err := k.narrow(t, rows, s); err != nil {
			return err
		}
	}
	return nil
}

func (m matchOr) narrow(t Table, rows bitset.Set, s *scratch) error {
	left := s.copy(rows) // not yet matched by a kid
	defer s.drop()
	for _, k := range m {
		if left.Empty() {
			break
		}
		if err := s.without(left, func(rows bitset.Set) error { return k.narrow(t, rows, s) }); err != nil {
			return err
		}
	}
	rows.AndNot(left)
	return nil
}

func (m matchNot) narrow(t Table, rows bitset.Set, s *scratch) error {
	return s.without(rows, func(rows bitset.Set) error { return m.kid.narrow(t, rows, s) })
}

func (m matchText) narrow(t Table, rows bitset.Set, _ *scratch) error { return t.Text(m.t, rows) }

func (m matchLit) narrow(t Table, rows bitset.Set, _ *scratch) error { return t.Text(m.t, rows) }

func (m *matchField) narrow(t Table, rows bitset.Set, s *scratch) error {
	if !m.none {
		return t.Field(m.name, m.t, rows)
	}
	if err := t.HasField(m.name, rows); err != nil || rows.Empty() {
		return err
	}
	return s.without(rows, func(rows bitset.Set) error { return t.Field(m.name, m.t, rows) })
}

func (m *matchService) narrow(t Table, rows bitset.Set, _ *scratch) error {
	if !m.holds([]byte(t.Service())) {
		rows.Clear()
	}
	return nil
}

func (m *matchBuiltin) narrow(t Table, rows bitset.Set, s *scratch) error {
	if !m.none {
		return t.Builtin(m.field, m.t, rows)
	}
	if err := t.Builtin(m.field, m.any, rows); err != nil || rows.Empty() {
		return err
	}
	return s.without(rows, func(rows bitset.Set) error { return t.Builtin(m.field, m.t, rows) })
}

func (m *matchID) narrow(t Table, rows bitset.Set, s *scratch) error {
	if !m.none {
		return t.IDs(m.t, rows)
	}
	if err := t.IDs(m.any, rows); err != nil || rows.Empty() {
		return err
	}
	return s.without(rows, func(rows bitset.Set) error { return t.IDs(m.t, rows) })
}

func (m *matchMessage) narrow(t Table, rows bitset.Set, s *scratch) error {
	if !m.none {
		return t.Message(m.t, rows)
	}
	return s.without(rows, func(rows bitset.Set) error { return t.Message(m.t, rows) })
}

func (m matchLevels) narrow(t Table, rows bitset.Set, _ *scratch) error {
	return t.Levels(uint16(m), rows)
}

func (matchAll) bounds(f Facts) (least, most int) { return f.Rows(), f.Rows() }

func (m matchAnd) bounds(f Facts) (least, most int) {
	n := f.Rows()
	failing := 0 // at most
	most = n
	for _, k := range m {
		l, h := k.bounds(f)
		failing += n - l
		most = min(most, h)
		if most == 0 {
			return 0, 0
		}
	}
	return max(n-failing, 0), most
}

func (m matchOr) bounds(f Facts) (least, most int) {
	for _, k := range m {
		l, h := k.bounds(f)
		least = max(least, l)
		most += h
	}
	return least, min(most, f.Rows())
}

func (m matchNot) bounds(f Facts) (least, most int) { return complement(f.Rows(), m.kid.bounds, f) }

func complement(n int, of func(Facts) (int, int), f Facts) (least, most int) {
	l, h := of(f)
	return n - h, n - l
}

func (m matchText) bounds(f Facts) (least, most int) { return f.Text(m.t) }

func (m matchLit) bounds(f Facts) (least, most int) { return f.Text(m.t) }

func (m *matchField) bounds(f Facts) (least, most int) {
	least, most = f.Field(m.name, m.t)
	if m.none {
		// Rows with a value that satisfies the test are a part of those that have the field.
		l, h := f.HasField(m.name)
		return difference(l, h, least, most)
	}
	return least, most
}

// difference bounds how many of l to h rows are left when a part of them, least to most rows, is taken away.
func difference(l, h, least, most int) (int, int) {
	return max(l-most, 0), max(h-least, 0)
}

func (m *matchService) bounds(f Facts) (least, most int) {
	if m.holds([]byte(f.Service())) {
		return f.Rows(), f.Rows()
	}
	return 0, 0
}

func (m *matchBuiltin) bounds(f Facts) (least, most int) {
	least, most = f.Builtin(m.field, m.t)
	if m.none {
		l, h := f.Builtin(m.field, m.any)
		return difference(l, h, least, most)
	}
	return least, most
}

func (m *matchID) bounds(f Facts) (least, most int) { return 0, f.Rows() }

func (m *matchMessage) bounds(f Facts) (least, most int) {
	least, most = f.Message(m.t)
	if m.none {
		n := f.Rows()
		return n - most, n - least
	}
	return least, most
}

func (m matchLevels) bounds(f Facts) (least, most int) {
	n := f.Levels(uint16(m))
	return n, n
}
