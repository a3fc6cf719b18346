package query

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/lookoutlog/lookout/internal/bitset"
	"github.com/lookoutlog/lookout/internal/event"
	"pgregory.net/rapid"
)

// rowTable is a table of events as they are, and what is known of them; each term is asked row by row.
type rowTable struct {
	service string
	events  []event.Event
	err     error // of the term after so many
	after   int
	asked   int

	loose func(n int) int // makes facts less exact, by up to n
}

func (r *rowTable) Rows() int       { return len(r.events) }
func (r *rowTable) Service() string { return r.service }

func (r *rowTable) keep(rows bitset.Set, hold func(e *event.Event) bool) error {
	if r.asked++; r.asked > r.after && r.err != nil {
		return r.err
	}
	for i := range r.events {
		if rows.Has(i) && !hold(&r.events[i]) {
			rows.Remove(i)
		}
	}
	return nil
}

func (r *rowTable) count(hold func(e *event.Event) bool) (least, most int) {
	n := 0
	for i := range r.events {
		if hold(&r.events[i]) {
			n++
		}
	}
	return n - r.loose(n), n + r.loose(len(r.events)-n)
}

func inText(t *Test) func(e *event.Event) bool {
	return func(e *event.Event) bool {
		return t.Match(e.Message) || slices.ContainsFunc(e.Fields, func(f event.Field) bool { return t.Match(f.Value) })
	}
}

func inMessage(t *Test) func(e *event.Event) bool {
	return func(e *event.Event) bool { return t.Match(e.Message) }
}

func inField(name string, t *Test) func(e *event.Event) bool {
	return func(e *event.Event) bool {
		return slices.ContainsFunc(e.Fields, func(f event.Field) bool { return string(f.Name) == name && (t == nil || t.Match(f.Value)) })
	}
}

func inBuiltin(b Builtin, t *Test) func(e *event.Event) bool {
	return func(e *event.Event) bool {
		v := map[Builtin][]byte{Env: e.Env, Host: e.Host, Container: e.Container, Stream: e.Stream}[b]
		return len(v) > 0 && t.Match(v)
	}
}

func inLevels(set uint16) func(e *event.Event) bool {
	return func(e *event.Event) bool { return set&(1<<e.Level) != 0 }
}

func (r *rowTable) Text(t *Test, rows bitset.Set) error    { return r.keep(rows, inText(t)) }
func (r *rowTable) Message(t *Test, rows bitset.Set) error { return r.keep(rows, inMessage(t)) }
func (r *rowTable) Field(name string, t *Test, rows bitset.Set) error {
	return r.keep(rows, inField(name, t))
}
func (r *rowTable) HasField(name string, rows bitset.Set) error {
	return r.keep(rows, inField(name, nil))
}
func (r *rowTable) Builtin(b Builtin, t *Test, rows bitset.Set) error {
	return r.keep(rows, inBuiltin(b, t))
}
func (r *rowTable) Levels(set uint16, rows bitset.Set) error { return r.keep(rows, inLevels(set)) }
func (r *rowTable) IDs(t *Test, rows bitset.Set) error {
	return r.keep(rows, func(e *event.Event) bool { return e.Seq > 0 && t.Match(strconv.AppendUint(nil, e.Seq, 10)) })
}

type rowFacts struct{ *rowTable }

func (r rowFacts) Text(t *Test) (int, int)               { return r.count(inText(t)) }
func (r rowFacts) Message(t *Test) (int, int)            { return r.count(inMessage(t)) }
func (r rowFacts) Field(name string, t *Test) (int, int) { return r.count(inField(name, t)) }
func (r rowFacts) HasField(name string) (int, int)       { return r.count(inField(name, nil)) }
func (r rowFacts) Builtin(b Builtin, t *Test) (int, int) { return r.count(inBuiltin(b, t)) }
func (r rowFacts) Levels(set uint16) int {
	n := 0
	for i := range r.events {
		if inLevels(set)(&r.events[i]) {
			n++
		}
	}
	return n
}

// TestSelectLikeMatch: the columns of a block say of each row what Match says of its event, and the bounds hold the number
// of those that match. The tests are those of the terms, each on its own column.
func TestSelectLikeMatch(t *testing.T) {
	tried, some, counted := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		table := &rowTable{service: rapid.SampledFrom([]string{"", "web", "Pay", "paſk"}).Draw(t, "service")}
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			e := genEvent(t)
			e.Service = []byte(table.service)
			table.events = append(table.events, e)
		}
		exact := rapid.Bool().Draw(t, "exact")
		table.loose = func(n int) int {
			if n == 0 || exact {
				return 0
			}
			return rapid.IntRange(0, n).Draw(t, "loose")
		}
		for range 6 {
			q, err := Parse(genQuery(t, &table.events[0], 3))
			if err != nil {
				continue
			}
			rows := bitset.New(table.Rows())
			for i := range table.events {
				if rapid.IntRange(0, 4).Draw(t, "wanted") > 0 {
					rows.Add(i)
				}
			}
			wanted := rows.Clone()
			if err := q.Select(table, rows); err != nil {
				t.Fatal(err)
			}
			matches := 0
			for i := range table.events {
				m := q.Match(&table.events[i])
				if m {
					matches++
				}
				if want := m && wanted.Has(i); rows.Has(i) != want {
					t.Fatalf("%s: row %d %+v: Select says %v, Match %v", q, i, table.events[i], rows.Has(i), m)
				}
			}
			tried++
			if matches > 0 {
				some++
			}
			least, most := q.Bounds(rowFacts{table})
			if least > matches || most < matches || least < 0 || most > table.Rows() {
				t.Fatalf("%s: %d rows match, not %d to %d", q, matches, least, most)
			}
			if least == most {
				counted++
			}
			for i, test := range q.Tests() {
				if test.ID() != i {
					t.Fatalf("%s: test %d has the ID %d", q, i, test.ID())
				}
			}
		}
	})
	if tried < 200 || some < 50 || counted < 50 {
		t.Fatalf("too little was tried: %d queries, %d with matches, %d counted", tried, some, counted)
	}
}

// TestSelectError: an error of the table is the answer, wherever it comes.
func TestSelectError(t *testing.T) {
	broken := errors.New("broken")
	q := mustParse(t, `(a OR b) -c level>=error f!=5 host!=x id!=7 message!=y -(d OR -e)`)
	events := slices.Repeat([]event.Event{{Seq: 1, Level: event.Error, Host: []byte("h"), Message: []byte("a"), Fields: []event.Field{{Name: []byte("f"), Value: []byte("e")}}}}, 70)
	for after := range 20 {
		table := &rowTable{events: events, err: broken, after: after}
		rows := bitset.Full(len(events))
		err := q.Select(table, rows)
		if table.asked > after != (err != nil) || err != nil && !errors.Is(err, broken) {
			t.Fatalf("after %d of %d terms: %v", after, table.asked, err)
		}
		if err == nil {
			if after < 10 || rows.Count() != len(events) {
				t.Fatalf("%d terms, %d rows", table.asked, rows.Count())
			}
			return
		}
	}
	t.Fatal("it never came to an end")
}

// TestSelectOrder: what is cheap is asked first, and nothing when no rows are left.
func TestSelectOrder(t *testing.T) {
	q := mustParse(t, `~"x+" longertext short f:1 host:h level:error`)
	table := &rowTable{events: []event.Event{{Level: event.Info, Message: []byte("x")}}}
	rows := bitset.Full(1)
	if err := q.Select(table, rows); err != nil || !rows.Empty() || table.asked != 1 {
		t.Errorf("%v after %d terms: %v", rows, table.asked, err)
	}
	var keys []string
	for _, test := range q.Tests() {
		keys = append(keys, test.key)
	}
	if keys[2] != "contains true longertext" || keys[3] != "contains true short" || keys[4] != "regex x+" {
		t.Errorf("the order %q", keys)
	}
}

func TestTestsAreShared(t *testing.T) {
	for _, c := range []struct {
		query string
		tests int
	}{
		{"", 0}, {"service:a level:error", 0}, {"a A", 2}, {"a -a message:a", 1}, {`~"x" f~"x" g!~"x"`, 1}, {"f=1 g=1 f!=1", 1}, {"f=1 f_ms=1", 2}, {"f:a f=a", 2}, {"f:a g:a", 1}, {"f>1 f>1.0", 2},
		{"f>1 f>=1", 2}, {"host!=a env!=a", 2}, {"f:* host!=a", 2}, {"f:500 f:\"500\"", 2}, {"f:1..2 f:1..3", 2}, {"f:10.0.0.0/8 f:10.0.0.0/9", 2}, {"f:(a, b) g:(a, b) g:(a)", 2}, {"f:a* message:a*", 2},
	} {
		if n := len(mustParse(t, c.query).Tests()); n != c.tests {
			t.Errorf("%s: %d tests, want %d", c.query, n, c.tests)
		}
	}
	q := mustParse(t, "a f:x message:y id:5")
	for i, c := range []struct{ message, f, g bool }{{false, false, false}, {false, true, false}, {true, false, false}, {true, true, true}} {
		test := q.Tests()[i]
		if test.OnMessage() != c.message || test.OnField("f") != c.f || test.OnField("g") != c.g {
			t.Errorf("test %d, %s: %v %v %v", i, test.key, test.OnMessage(), test.OnField("f"), test.OnField("g"))
		}
	}
}

func TestSelectAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	q := mustParse(t, `(a OR b OR level:error) -c f!=5 host!=x -(d OR -e)`)
	table := &rowTable{events: []event.Event{{Seq: 1, Level: event.Error, Host: []byte("h"), Message: []byte("a")}}}
	full := bitset.Full(1)
	rows := full.Clone()
	if n := testing.AllocsPerRun(100, func() {
		copy(rows, full)
		if err := q.Select(silent{table}, rows); err != nil {
			t.Fatal(err)
		}
	}); n > 10 { // a few for what narrows by a function; none by the number of rows
		t.Errorf("%v allocations", n)
	}
}

// silent is a table that keeps every row.
type silent struct{ *rowTable }

func (silent) Text(*Test, bitset.Set) error             { return nil }
func (silent) Message(*Test, bitset.Set) error          { return nil }
func (silent) Field(string, *Test, bitset.Set) error    { return nil }
func (silent) HasField(string, bitset.Set) error        { return nil }
func (silent) Builtin(Builtin, *Test, bitset.Set) error { return nil }
func (silent) Levels(uint16, bitset.Set) error          { return nil }
func (silent) IDs(*Test, bitset.Set) error              { return nil }
