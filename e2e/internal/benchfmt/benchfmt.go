// Package benchfmt writes figures that no testing.B took as lines of Go's benchmark format
// (https://go.dev/design/14313-benchmark-format), so that benchstat compares runs of them: a line a repetition gives it the
// samples for its medians and intervals.
//
//	w := benchfmt.New(os.Stdout, "e2e/bench")
//	w.Line("Search/needle-by-field", 1, "ns/op", 1.3e6, "cpu-ns/op", 1.2e6)
//
// Nothing else may be written between the lines: benchstat takes "key: value" lines for settings of the run.
package benchfmt

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"unicode"
)

// Writer writes lines; a nil one writes nothing.
type Writer struct{ w io.Writer }

// New writes the lines that say what was measured where.
func New(w io.Writer, program string) *Writer {
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: github.com/lookoutlog/lookout/%s\n", runtime.GOOS, runtime.GOARCH, program)
	return &Writer{w}
}

// Line writes the figures of so many iterations; they are a unit and a float64 in turn, and a name's slashes part it as
// testing's do.
func (w *Writer) Line(name string, iterations int, figures ...any) {
	if w == nil {
		return
	}
	fmt.Fprintf(w.w, "Benchmark%s %d", Name(name), iterations)
	for i := 0; i < len(figures); i += 2 {
		format := " %.5g %s"
		if figures[i+1].(float64) >= 1e4 { // no exponents: people read these lines too
			format = " %.0f %s"
		}
		fmt.Fprintf(w.w, format, figures[i+1], figures[i])
	}
	fmt.Fprintln(w.w)
}

// Name makes a benchmark's name of a text: runs of spaces and punctuation become one hyphen.
func Name(text string) string {
	var b strings.Builder
	for _, f := range strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/=_", r)
	}) {
		if b.Len() > 0 && !strings.HasSuffix(b.String(), "/") {
			b.WriteByte('-')
		}
		b.WriteString(f)
	}
	return b.String()
}
