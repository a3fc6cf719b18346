package block

import (
	"bytes"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// sameMask tells whether a text and its form are one pattern.
func sameMask(t interface{ Fatalf(string, ...any) }, s *scanner, text []byte) {
	if !s.scan(text) {
		return // kept raw
	}
	line, form := mask.Pattern(nil, text), mask.Pattern(nil, s.form)
	if !bytes.Equal(line, form) {
		t.Fatalf("%q\nis  %q\nits form %q\nis  %q", text, line, s.form, form)
	}
}

// The ledger of patterns reads forms, alerting and heads read lines.
func TestMaskOfForms(t *testing.T) {
	var s scanner
	rng := rand.New(rand.NewPCG(5, 6))
	for _, row := range drawRows(rng, 3000) {
		var e event.Event
		if _, err := event.Decode(row.Data, &e); err != nil {
			t.Fatal(err)
		}
		sameMask(t, &s, e.Message)
	}
	parts := rapid.OneOf(
		rapid.SampledFrom([]string{"user", "added", "dead", "facade", "s3", "HTTP2", "Utf8", "s3_x", "és3", "ed25519", "abcde", "éabcdeß", "größe", "K9", "K", "ſ", "_", "a_1", " ", "  ", "\t", "\n", ".", ":", "::", "-", "+", "/", `"`, "'", "`", "can't", "Traceback (most recent call last):\n",
			"fe80::1", "aa:bb:cc:dd:ee:ff", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "abcdefab-cdef-abcd-efab-cdefabcdefab", "10.0.0.1", "2026-11-21T10:00:00Z", "\xff", "0x7f", "\u00a0", "\u0085", "\u2003"}),
		rapid.StringMatching(`[a-g0-9_ :.é-]{0,12}`), rapid.String(),
	)
	// The same texts each time, unless -rapid.seed says otherwise: FuzzMaskOfForms is there to find new ones.
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == "0" {
		if err := seed.Value.Set("1"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		var text []byte
		for _, p := range rapid.SliceOfN(parts, 0, 12).Draw(t, "parts") {
			text = append(text, p...)
		}
		if rapid.IntRange(0, 9).Draw(t, "long") == 0 {
			text = bytes.Repeat(text, 60)
		}
		sameMask(t, &s, text)
	})
	// Lines of real systems, where there are any.
	files, err := filepath.Glob(filepath.Join(os.Getenv("LOOKOUT_CORPUS"), "*.log"))
	if err != nil || os.Getenv("LOOKOUT_CORPUS") == "" {
		return
	}
	lines, patterns := 0, map[string]bool{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			sameMask(t, &s, line)
			patterns[string(mask.Pattern(nil, line))] = true
			lines++
		}
	}
	t.Logf("%d lines in %d files are of %d patterns", lines, len(files), len(patterns))
}

func FuzzMaskOfForms(f *testing.F) {
	for _, text := range []string{"user added to s3", "HTTP2 dead:beef::1", "de4d-feed-utf8 'a1'", "és3 s3_x K8s", "Traceback (most recent call last):\nadded\u00a0"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s scanner
		sameMask(t, &s, text)
	})
}
