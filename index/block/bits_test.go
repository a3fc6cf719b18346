package block

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestInts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 3000 {
		v := make([]uint64, rng.IntN(400))
		width := rng.IntN(65)
		for i := range v {
			if v[i] = rng.Uint64() >> (64 - width); width == 0 || rng.IntN(30) == 0 {
				v[i] = rng.Uint64() >> rng.IntN(64)
			}
		}
		data := append(appendInts(nil, v), 7)
		got := make([]uint64, len(v))
		rest, ok := readInts(got, data)
		if !ok || len(rest) != 1 || !slices.Equal(got, v) {
			t.Fatalf("%v: got %v, rest %v, %v", v, got, rest, ok)
		}
		for cut := range data { // never beyond the end
			readInts(got, data[:cut])
		}
	}
}

func TestBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for range 3000 {
		w := uint(1 + rng.IntN(64))
		v := make([]uint64, 1+rng.IntN(50))
		var bw bitWriter
		for i := range v {
			v[i] = rng.Uint64() >> (64 - w)
			bw.write(v[i], w)
		}
		data := bw.flush()
		if len(data) != bitsLen(len(v), w) {
			t.Fatalf("%d numbers of %d bits: %d bytes", len(v), w, len(data))
		}
		got := make([]uint64, len(v))
		unpack(got, data, w)
		for i := range v {
			if x := bitsAt(data, uint64(i)*uint64(w), w); x != v[i] || got[i] != v[i] {
				t.Fatalf("number %d of width %d: %d and %d, want %d", i, w, x, got[i], v[i])
			}
		}
	}
}

func FuzzReadInts(f *testing.F) {
	f.Add(appendInts(nil, []uint64{1, 2, 3, 1 << 60}), 4)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		if n >= 0 && n < 1<<16 {
			readInts(make([]uint64, n), data)
		}
	})
}
