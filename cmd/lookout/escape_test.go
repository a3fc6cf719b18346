package main

import (
	"testing"
	"unicode/utf8"
)

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "",
		"plain text\twith\nlines":      "plain text\twith\nlines",
		"größe 数 😀 👩\u200d💻 \u200c":    "größe 数 😀 👩\u200d💻 \u200c",
		"a\x1b[31mred\x1b[0m":          `a\x1b[31mred\x1b[0m`,
		"\x1b]52;c;aGk=\a":             `\x1b]52;c;aGk=\x07`,
		"over\rwritten":                `over\rwritten`,
		"\x00\x7f\b":                   `\x00\x7f\x08`,
		"\u009b31m":                    `\u009b31m`,
		"a\u202eb\u2066c\u200fd\ufeff": `a\u202eb\u2066c\u200fd\ufeff`,
		"a\u2028b\u2029":               `a\u2028b\u2029`,
		"\U000e0041":                   `\U000e0041`,
		"\xff\xc3(":                    `\xff\xc3(`,
		"\ufffd":                       "\ufffd",
		"\x9b":                         `\x9b`,
		"end\x1b":                      `end\x1b`,
	} {
		if got := string(appendEscaped([]byte("> "), in)); got != "> "+want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

// Whatever comes, what is written is text that a terminal only shows.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "a\x1b[31m", "\xff\u202e\u2028", "\U000e0041\u0085"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(appendEscaped(nil, s))
		if !utf8.ValidString(got) {
			t.Fatalf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if r != '\t' && r != '\n' && (r < ' ' || r == 0x7f || r > 0x7f && active(r)) {
				t.Fatalf("%q holds %U", got, r)
			}
		}
	})
}
