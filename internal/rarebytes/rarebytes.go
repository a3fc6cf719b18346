// Package rarebytes finds where a text may stand: where three of its bytes, the rarest, stand at once. [bytes.IndexByte] is faster for one
// byte, but stops at each, and logs have most bytes in every line; three it stops at seldom, even among the digits of ids.
//
//	m := rarebytes.New([]byte("request"), true, [3]int{2, 0, 4})
//	i := m.Index(data) // the first place with a q or Q behind 2 bytes, an r or R, and an e or E behind 4
//
// On amd64 it looks at 64 bytes a step with SSE2, which every amd64 has; elsewhere it is plain Go with the same answers.
package rarebytes

import "bytes"

// Marks are three places in a text and the bytes there.
type Marks struct {
	length int
	marks  [3]mark
}

// mark is a place and what is looked for there: the bytes c for which c|mask is value.
type mark struct {
	at          int
	value, mask byte
}

func (m *mark) is(c byte) bool { return c|m.mask == m.value }

// New returns the marks of a text, which is not empty, at three places in it. The first byte is the one to be expected least often. Places may be the same.
// With fold a letter of ASCII is looked for in both cases.
func New(text []byte, fold bool, places [3]int) Marks {
	m := Marks{length: len(text)}
	for i, at := range places {
		m.marks[i] = mark{at: at, value: text[at]}
		const space = 'a' - 'A' // the bit in which the cases differ
		if low := text[at] | space; fold && low >= 'a' && low <= 'z' {
			m.marks[i] = mark{at: at, value: low, mask: space}
		}
	}
	return m
}

// Index returns the least i for which data[i:] is as long as the text at least and has its bytes at the three places, or -1.
func (m *Marks) Index(data []byte) int {
	n := len(data) - m.length + 1 // places where the text may begin
	if n < 1 {
		return -1
	}
	if i, done := m.wide(data, n); done {
		return i
	}
	return m.narrow(data, n)
}

// short is a number of places up to which looking at each is the fastest.
const short = 16

// narrow is Index in plain Go, for the first n places.
func (m *Marks) narrow(data []byte, n int) int {
	a, b, c := &m.marks[0], &m.marks[1], &m.marks[2]
	first, second, third := data[a.at:][:n], data[b.at:][:n], data[c.at:][:n]
	if n <= short {
		for i, x := range first {
			if a.is(x) && b.is(second[i]) && c.is(third[i]) {
				return i
			}
		}
		return -1
	}
	for window, i := 256, 0; i < n; {
		end := min(i+window, n)
		// The search for the upper case ends where the lower case was found, so that a rare one costs no walk to the end
		// of a large block each time.
		j := bytes.IndexByte(first[i:end], a.value)
		if a.mask != 0 {
			if j >= 0 {
				end = i + j
			}
			if k := bytes.IndexByte(first[i:end], a.value&^a.mask); k >= 0 {
				j = k
			}
		}
		if j < 0 {
			i = end
			window = min(2*window, 1<<14)
			continue
		}
		if i += j; b.is(second[i]) && c.is(third[i]) {
			return i
		}
		i++
		window = 256
	}
	return -1
}
