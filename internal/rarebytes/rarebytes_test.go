package rarebytes

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// same compares two bytes, with fold without ASCII case.
func same(c, d byte, fold bool) bool {
	return c == d || fold && c < 0x80 && d < 0x80 && bytes.EqualFold([]byte{c}, []byte{d})
}

// plain is Index, place by place.
func plain(data, text []byte, fold bool, places [3]int) int {
	for i := 0; i+len(text) <= len(data); i++ {
		all := true
		for _, at := range places {
			all = all && same(data[i+at], text[at], fold)
		}
		if all {
			return i
		}
	}
	return -1
}

// check fails when Index, or its plain part alone, does not return what is wanted.
func check(t interface{ Fatalf(string, ...any) }, data, text []byte, fold bool, places [3]int, want int) {
	m := New(text, fold, places)
	if got := m.Index(data); got != want {
		t.Fatalf("%q at %v in %q, fold %t: %d, want %d", text, places, data, fold, got, want)
	}
	if n := len(data) - len(text) + 1; n > 0 {
		if got := m.narrow(data, n); got != want {
			t.Fatalf("%q at %v in %q, fold %t, in plain Go: %d, want %d", text, places, data, fold, got, want)
		}
	}
}

// TestIndex: Index finds what a walk finds, and nothing that lies before the data or behind it.
func TestIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]string{"aAbB", "aA[{\x00\x20", "xyz0\xff\xdf", "................aB"}).Draw(t, "alphabet")
		draw := func(name string, least, most int) []byte {
			data := make([]byte, rapid.IntRange(least, most).Draw(t, name))
			for i := range data {
				data[i] = alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "byte")]
			}
			return data
		}
		text := draw("text", 1, 40)
		var places [3]int
		for i := range places {
			places[i] = rapid.IntRange(0, len(text)-1).Draw(t, "place")
		}
		before, data := draw("before", 0, 16), draw("data", 0, 300)
		around := append(append(bytes.Repeat(text, 64), before...), data...)
		around = append(around, bytes.Repeat(text, 64)...)
		data = around[64*len(text)+len(before):][:len(data)]
		fold := rapid.Bool().Draw(t, "fold")
		check(t, data, text, fold, places, plain(data, text, fold, places))
	})
}

// TestEveryPlace: the only place is found, whatever the length, and none where there is none.
func TestEveryPlace(t *testing.T) {
	places := [3]int{2, 0, 4}
	for n := range 260 {
		data := bytes.Repeat([]byte("....."), n)[:n]
		for at := 0; at+5 <= n; at++ {
			copy(data[at:], "b.A.c")
			check(t, data, []byte("b.a.c"), true, places, at)
			copy(data[at:], ".....")
		}
		check(t, data, []byte("b.a.c"), true, places, -1)
		for i, c := range "b.a.c" { // two of three
			if c != '.' && n >= 5 {
				copy(data[n/2:], "b.a.c"[:i]+"."+"b.a.c"[i+1:])
				check(t, data, []byte("b.a.c"), true, places, -1)
				copy(data[n/2:], ".....")
			}
		}
	}
}

// TestBytes: what is looked for is found, and nothing else, for all bytes.
func TestBytes(t *testing.T) {
	for c := range 256 {
		for d := range 256 {
			text, data := bytes.Repeat([]byte{byte(c)}, 4), bytes.Repeat([]byte{byte(d)}, 40)
			for _, fold := range []bool{true, false} {
				want := -1
				if same(byte(c), byte(d), fold) {
					want = 0
				}
				check(t, data, text, fold, [3]int{0, 1, 3}, want)
			}
		}
	}
}

func BenchmarkIndex(b *testing.B) {
	m := New([]byte("wq!"), true, [3]int{1, 0, 2})
	for _, size := range []int{18, 100, 1000, 1 << 20} {
		data := bytes.Repeat([]byte("it was the wind that went away; "), size/32+1)[:size]
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if m.Index(data) >= 0 {
					b.Fatal("found")
				}
			}
		})
	}
}
