package query

import (
	"sync"
	"unicode/utf8"
)

// A text is matched by the automaton that judges patterns, too: a look-up for each byte, where regexp tries one place after
// another. It is built as it is needed; a text that costs too much of that is left to regexp, which is linear whatever the
// expression.

const (
	// A dfa of more states than these, each of half a KiB and more, starts anew before the next text; one text may add as many.
	maxStates = 1024
	// What building the automaton costs, in places visited, is owed, and paid back by the texts that it has matched since,
	// workPaid for each of their bytes. Who owes more than maxOwed leaves texts to regexp.
	maxOwed, workPaid = 1 << 18, 4
)

// dfa is an automaton with its steps over ASCII in one table. One goroutine uses it at a time.
type dfa struct {
	a    *automaton
	next []int32 // by state << 7 | byte; unset where it is not known
	owed int
}

// lazyDFA makes dfas as they are needed.
type lazyDFA struct{ pool sync.Pool }

func (l *lazyDFA) get(m *machine) *dfa {
	d, _ := l.pool.Get().(*dfa)
	if d == nil {
		d = &dfa{a: newAutomaton(m)}
	}
	return d
}

// match tells whether v has a match; ok is false when it was too much work to know.
func (d *dfa) match(v []byte) (yes, ok bool) {
	if d.owed -= workPaid * len(v); d.owed > maxOwed {
		return false, false
	}
	d.owed = max(d.owed, 0)
	if len(d.a.states) > maxStates || d.a.places > maxPlaces {
		d.a.reset()
		clear(d.next)
	}
	d.a.work = 0
	s := d.a.begin
	for i := 0; i < len(v) && s != matched; {
		c := v[i]
		if c < utf8.RuneSelf {
			if at := int(s)<<7 | int(c); at < len(d.next) && d.next[at] > matched {
				s = d.next[at]
				i++
				continue
			}
			i++
			s = d.step(s, c)
		} else {
			r, n := utf8.DecodeRune(v[i:])
			i += n
			s = d.a.step(s, d.a.m.runeClass(r))
		}
		if d.a.work > maxOwed || len(d.a.states) > 2*maxStates {
			d.owed += d.a.work
			return false, false
		}
	}
	yes = s == matched || d.a.end(s)
	d.owed += d.a.work
	return yes, true
}

// step takes an ASCII character that the table has no step for, or one to a match.
func (d *dfa) step(s int32, c byte) int32 {
	to := d.a.step(s, d.a.m.ascii[c])
	if n := len(d.a.states) << 7; n > len(d.next) {
		d.next = append(d.next, make([]int32, n-len(d.next))...)
	}
	d.next[int(s)<<7|int(c)] = to
	return to
}
