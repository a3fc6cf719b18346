package awkward

import (
	"testing"
	"unicode/utf8"
)

func TestLines(t *testing.T) {
	for _, run := range []string{"r", "r1", "a-long-run"} {
		seen := map[string]bool{}
		length := map[string]int{}
		for _, l := range Lines(run) {
			if seen[l.Text] {
				t.Errorf("%s: %q twice", l.Name, l.Text)
			}
			seen[l.Text] = true
			length[l.Name] = len(l.Text)
			if l.Name == "a split character" && (utf8.ValidString(l.Text[:Fragment]) || len(l.Text) <= Fragment) {
				t.Errorf("run %s: no character is split", run)
			}
		}
		for name, want := range map[string]int{"9000 bytes": 9000, "one byte below a fragment": 16383, "a fragment": 16384, "one byte above a fragment": 16385, "100000 bytes": 100000} {
			if length[name] != want {
				t.Errorf("run %s: %s: %d", run, name, length[name])
			}
		}
	}
}
