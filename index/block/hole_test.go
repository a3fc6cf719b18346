package block

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/index/query"
)

// drawValues draws the values of a hole in one of the shapes that logs have.
func drawValues(rng *rand.Rand) [][]byte {
	n := 1 + rng.IntN(60)
	values := make([][]byte, n)
	shape := rng.IntN(10)
	few := make([]string, 1+rng.IntN(5))
	for i := range few {
		few[i] = fmt.Sprintf("w%dx", rng.IntN(1000))
	}
	word := func(abc string, n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte(abc[rng.IntN(len(abc))])
		}
		return b.String()
	}
	for i := range values {
		var s string
		switch shape {
		case 0:
			s = "same1"
		case 1:
			s = fmt.Sprint(rng.IntN(5000))
		case 2:
			s = fmt.Sprintf("u%05d", rng.IntN(70000))
		case 3:
			s = fmt.Sprintf("%x", rng.Uint64()>>rng.IntN(64))
		case 4:
			s = fmt.Sprintf("0x%016x", rng.Uint64())
		case 5:
			s = few[rng.IntN(len(few))]
		case 6:
			s = word(wordChars, 1+rng.IntN(9))
		case 7:
			s = word("é日x1", 1+rng.IntN(9))
		case 8:
			s = strings.Repeat("7", 1+rng.IntN(25))
		case 9:
			s = word("0123456789", 1+rng.IntN(22))
		}
		values[i] = []byte(s)
	}
	return values
}

func spansOf(values [][]byte) (arena []byte, spans []span) {
	var c textColumn
	for _, v := range values {
		spans = append(spans, c.keep(v))
	}
	return c.arena, spans
}

func TestHole(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	var e holeEncoder
	searched := 0
	for range 20000 {
		values := drawValues(rng)
		arena, spans := spansOf(values)
		head, data, facts := e.append(nil, nil, arena, spans)
		r := reader{data: head}
		h := readHole(&r, len(values))
		if r.bad || len(r.data) != 0 || h.bits != len(data) {
			t.Fatalf("%q: head %v leaves %v, %d bytes of bits where %d are", values, head, r.data, h.bits, len(data))
		}
		h.load(data)
		from := values[rng.IntN(len(values))]
		literal := slices.Clone(from[rng.IntN(len(from)):])
		if literal = literal[:1+rng.IntN(len(literal))]; rng.IntN(2) == 0 {
			literal[rng.IntN(len(literal))] = wordChars[rng.IntN(len(wordChars))]
		}
		if h.kind == holeChars {
			found, ok := h.search(literal)
			if want := slices.ContainsFunc(values, func(v []byte) bool { return bytes.Contains(v, literal) }); ok && found != want {
				t.Fatalf("%q in %q: %t", literal, values, found)
			}
			if ok {
				searched++
			}
		}
		for i, v := range values {
			if got := h.append(nil, i); string(got) != string(v) {
				t.Fatalf("%q: value %d is %q", values, i, got)
			}
			for _, f := range []struct {
				what string
				ok   bool
			}{
				{"encoder", admits(facts, v)}, {"head", admits(h.facts(), v)},
			} {
				if !f.ok {
					t.Fatalf("%q: what the %s tells of its values rules out %q: %+v, %+v", values, f.what, v, facts, h.facts())
				}
			}
		}
	}
	if searched < 1000 {
		t.Errorf("%d columns were searched as they are", searched)
	}
}

func FuzzReadHole(f *testing.F) {
	rng := rand.New(rand.NewPCG(4, 1))
	var e holeEncoder
	for range 50 {
		values := drawValues(rng)
		arena, spans := spansOf(values)
		head, data, _ := e.append(nil, nil, arena, spans)
		f.Add(head, data, len(values))
	}
	f.Fuzz(func(t *testing.T, head, data []byte, n int) {
		if n <= 0 || n > 1000 {
			return
		}
		r := reader{data: head}
		h := readHole(&r, n)
		if r.bad || h.bits > len(data) {
			return
		}
		h.load(data)
		h.facts()
		if h.kind == holeChars {
			h.search([]byte("0a"))
		}
		for i := range n {
			if len(h.append(nil, i)) > 1<<24 {
				t.Fatal("a value that long")
			}
		}
	})
}

func admits(h query.Hole, v []byte) bool {
	if h.Fixed {
		return h.Const == string(v)
	}
	for _, c := range v {
		if !h.Set.Has(c) {
			return false
		}
	}
	return len(v) >= h.Min && len(v) <= h.Max
}
