package main

import (
	"strings"
	"testing"
)

// A line may not be endless, and each has its number, over batches and empty lines.
func TestParseLongInput(t *testing.T) {
	s := newSession(t, "http://127.0.0.1:1", "")
	if code, _, stderr := s.run("a\n"+strings.Repeat("x", maxParseLine+1), "parse"); code != exitError || stderr != "lookout: reading standard input, line 2: it is longer than 1.0 MB\n" {
		t.Errorf("%d %s", code, stderr)
	}
	const n = 2*parseLines + 7
	code, stdout, _ := s.run(strings.Repeat("a\n", n), "parse")
	if lines := strings.Count(stdout, "line "); code != 0 || lines != n || !strings.Contains(stdout, "\nline 1001: text\n") || !strings.Contains(stdout, "\nline 2007: text\n") {
		t.Errorf("%d: %d lines of %d", code, lines, n)
	}
	if code, stdout, _ := s.run("a\r\n\r\n\nb", "parse"); code != 0 || !strings.Contains(stdout, "line 4: text\n") || strings.Contains(stdout, "\r") {
		t.Errorf("%d %q", code, stdout)
	}
}
