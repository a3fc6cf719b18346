package query

import (
	"runtime"
	"strings"
	"testing"
)

// badRegexes returns regular expressions that are made to cost much, and why they are refused.
func badRegexes() []struct{ name, text, why string } {
	rep := strings.Repeat
	return []struct{ name, text, why string }{
		{"open 100,000 deep", `~"` + rep("(", 100_000) + `"`, "65536"},
		{"closed 100,000 deep", `~"` + rep("(", 100_000) + "x" + rep(")", 100_000) + `"`, "65536"},
		{"open 8,000 deep", `~"` + rep("(", 8000) + `"`, "missing closing )"},
		{"closed 4,000 deep", `~"` + rep("(", 4000) + "x" + rep(")", 4000) + `"`, "nests too deeply"},
		{"brackets 8,000 deep", `~"` + rep("[", 8000) + `"`, "missing closing ]"},
		{"repeats of repeats", `~"(x{1000}){1000}"`, "invalid repeat count"},
		{"repeats of repeats, ranges", `~"(x{1,1000}){1,1000}"`, "invalid repeat count"},
		{"repeats of repeats, many", `~"` + rep("(x{30}){30}", 60) + `"`, "55801 steps"},
		{"repeats", `~"` + rep("(x{1000})", 200) + `"`, "200201 steps"},
		{"repeats of a large class", `~"` + rep(`\\pL{100}`, 3) + `"`, "24901 steps"},
		{"a field's", `user~"(x{1000}){1000}"`, "invalid repeat count"},
		{"wide ranges without case", `~"(?i)` + rep("[\u0100-\u2000]", 30) + `"`, "too many classes"},
		{"many of them", rep(`~"(?i)`+rep("[\u0100-\u2000]", 30)+`" `, 30), "too many classes"},
		{"many small ones", rep(`~"(?i)`+rep(`[a-\\x{400}]`, 100)+`" `, 50), "too many classes"},
		{"many with tables", rep(`~"`+rep(`\\pL`, 59)+`" `, 250), "together are too large"},
		{"together more than they may", rep(`~"`+rep(".", 8000)+`" `, 8), "together are too large"},
		{"letters without case, as one", rep(`~"(?i)`+rep("k", 8000)+`" `, 8), "together are too large"},
	}
}

// Regular expressions that are made to cost much are refused, and quickly (RELIABILITY.md, bad input 10): from the text alone, or by the parser before
// anything is compiled. So what is allocated for it grows with the text alone: how long that takes BenchmarkBadRegexes says.
func TestBadRegexes(t *testing.T) {
	for _, c := range badRegexes() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Parse(c.text)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %s", c.name, err, c.why)
		}
		if n, most := after.TotalAlloc-before.TotalAlloc, uint64(64<<10+256*len(c.text)); n > most {
			t.Errorf("%s: %d bytes were allocated to refuse it, more than %d", c.name, n, most)
		}
	}
	for _, text := range []string{`~"(?i)[äöü]+ [a-z]{50}"`, `~"\\pL+\\pN*"`, `~"(?i)[à-ÿ]"`, `~"(\\d{1,3}\\.){3}\\d{1,3}"`} {
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// BenchmarkBadRegexes: the goal is 10 ms for each.
func BenchmarkBadRegexes(b *testing.B) {
	for _, c := range badRegexes() {
		b.Run(strings.ReplaceAll(c.name, " ", "-"), func(b *testing.B) {
			for b.Loop() {
				Parse(c.text)
			}
		})
	}
}
