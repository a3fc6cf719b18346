package benchfmt

import (
	"strings"
	"testing"
)

func TestLine(t *testing.T) {
	var b strings.Builder
	w := New(&b, "e2e/x")
	b.Reset()
	w.Line("Search/count of a word, any case/on=lookout", 3, "ns/op", 1.25e7, "cpu-ns/op", 0.12345678)
	if got, want := b.String(), "BenchmarkSearch/count-of-a-word-any-case/on=lookout 3 12500000 ns/op 0.12346 cpu-ns/op\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var none *Writer
	none.Line("Nothing", 1, "ns/op", 1.0)
}
