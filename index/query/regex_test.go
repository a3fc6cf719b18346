package query

import (
	"strings"
	"testing"
	"time"
)

// Regular expressions that are made to cost much are refused, and quickly: from the text alone, or by the parser before
// anything is compiled. RELIABILITY.md, bad input 10: within 10 ms, of which the best of some runs is taken here.
func TestBadRegexes(t *testing.T) {
	rep := strings.Repeat
	for name, text := range map[string]string{
		"open 100,000 deep":            `~"` + rep("(", 100_000) + `"`,
		"closed 100,000 deep":          `~"` + rep("(", 100_000) + "x" + rep(")", 100_000) + `"`,
		"open 8,000 deep":              `~"` + rep("(", 8000) + `"`,
		"closed 4,000 deep":            `~"` + rep("(", 4000) + "x" + rep(")", 4000) + `"`,
		"brackets 8,000 deep":          `~"` + rep("[", 8000) + `"`,
		"repeats of repeats":           `~"(x{1000}){1000}"`,
		"repeats of repeats, ranges":   `~"(x{1,1000}){1,1000}"`,
		"repeats of repeats, many":     `~"` + rep("(x{30}){30}", 60) + `"`,
		"repeats":                      `~"` + rep("(x{1000})", 200) + `"`,
		"repeats of a large class":     `~"` + rep(`\\pL{100}`, 3) + `"`,
		"a field's":                    `user~"(x{1000}){1000}"`,
		"wide ranges without case":     `~"(?i)` + rep("[\u0100-\u2000]", 30) + `"`,
		"many of them":                 rep(`~"(?i)`+rep("[\u0100-\u2000]", 30)+`" `, 30),
		"many small ones":              rep(`~"(?i)`+rep(`[a-\\x{400}]`, 100)+`" `, 50),
		"many with tables":             rep(`~"`+rep(`\\pL`, 59)+`" `, 250),
		"together more than they may":  rep(`~"`+rep(".", 8000)+`" `, 8),
		"letters without case, as one": rep(`~"(?i)`+rep("k", 8000)+`" `, 8),
	} {
		best := time.Hour
		var err error
		for range 30 {
			begin := time.Now()
			_, err = Parse(text)
			best = min(best, time.Since(begin))
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
		if !raceEnabled && best > 10*time.Millisecond {
			t.Errorf("%s: refused after %v", name, best)
		}
	}
	for _, text := range []string{`~"(?i)[äöü]+ [a-z]{50}"`, `~"\\pL+\\pN*"`, `~"(?i)[à-ÿ]"`, `~"(\\d{1,3}\\.){3}\\d{1,3}"`} {
		if _, err := Parse(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}
