package main

import (
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// appendEscaped appends s with everything in it that a terminal would act on, or that would make it show something else
// than what is there, written out: control characters (ANSI and OSC sequences begin with one), C1, the marks that turn the
// direction of text, invisible format characters, line and paragraph separators, and bytes that are not UTF-8. Tabs and
// newlines stay.
func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f || c == '\t' || c == '\n' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, s[start:i]...)
			dst = fmt.Appendf(dst, `\x%02x`, c)
		case c == '\r':
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\r`...)
		case c < utf8.RuneSelf:
			dst = append(dst, s[start:i]...)
			dst = fmt.Appendf(dst, `\x%02x`, c)
		case active(r):
			dst = append(dst, s[start:i]...)
			if r > 0xffff {
				dst = fmt.Appendf(dst, `\U%08x`, r)
			} else {
				dst = fmt.Appendf(dst, `\u%04x`, r)
			}
		default:
			i += size
			continue
		}
		i += size
		start = i
	}
	return append(dst, s[start:]...)
}

// active tells whether a character beyond ASCII does something instead of showing something. The joiners stay: scripts
// and emoji need them.
func active(r rune) bool {
	switch r {
	case 0x200c, 0x200d, 0xad:
		return false
	case 0x2028, 0x2029:
		return true
	}
	return r < 0xa0 || unicode.Is(unicode.Cf, r)
}

// inert returns standard output for text that is printed as it came, JSON and CSV: on a terminal what would act there is
// written out.
func (p *program) inert() io.Writer {
	if terminal(p.stdout) {
		return escaping{p.stdout}
	}
	return p.stdout
}

// escaping writes with [appendEscaped].
type escaping struct{ w io.Writer }

func (e escaping) Write(text []byte) (int, error) {
	if _, err := e.w.Write(appendEscaped(nil, string(text))); err != nil {
		return 0, err
	}
	return len(text), nil
}
