package peer

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		data string
		size int
		want string
	}{
		{"", 3, ""}, {"a\nb\n", 1, "a\n|b\n"}, {"a\nb\nc", 2, "a\nb\n|c"}, {"abc\ndef\n", 3, "abc\n|def\n"}, {"abc\ndef\n", 100, "abc\ndef\n"}, {"abc", 1, "abc"},
	} {
		if got := string(bytes.Join(Split([]byte(c.data), c.size), []byte("|"))); got != c.want || strings.ReplaceAll(got, "|", "") != c.data {
			t.Errorf("Split(%q, %d) = %q, want %q", c.data, c.size, got, c.want)
		}
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(20)
	if err != nil || len(ports) != 20 || len(slices.Compact(slices.Sorted(slices.Values(ports)))) != 20 {
		t.Fatal(ports, err)
	}
	for _, p := range ports {
		if n, err := strconv.Atoi(p); err != nil || n < 20_000 || n >= 32_000 {
			t.Errorf("port %s, %v", p, err)
		}
	}
}
