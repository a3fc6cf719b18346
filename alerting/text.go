package alerting

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Weight is what s takes of a message's budget: UTF-16 units, with & < > as long as their escaped forms. It is what chat
// services count at the worst, so a text gathered by it fits whatever the notifier makes of it.
func Weight(s string) int {
	n := 0
	for _, r := range s {
		n += weight(r)
	}
	return n
}

func weight(r rune) int {
	switch {
	case r == '&':
		return len("&amp;")
	case r == '<' || r == '>':
		return len("&lt;")
	case r > 0xffff:
		return 2
	}
	return 1
}

// cutMark is written for what [Cut] takes out; the widest number fits the room kept for it.
const cutMark = " …[%d characters cut]… "

const cutMarkWeight = len(" …[9999999 characters cut]… ") // in bytes, so somewhat more than it weighs

// Cut shortens s to a [Weight] of at most max by taking out its middle: the beginning says what happened, the end often
// why. A max too small for the mark keeps the beginning alone.
func Cut(s string, max int) string {
	total := Weight(s)
	if total <= max {
		return s
	}
	if max <= 2*cutMarkWeight {
		return s[:prefix(s, max-1)] + "…"
	}
	room := max - cutMarkWeight
	head := prefix(s, room-room/3)
	tail := suffix(s[head:], room/3)
	middle := s[head : len(s)-tail]
	return s[:head] + fmt.Sprintf(cutMark, utf8.RuneCountInString(middle)) + s[len(s)-tail:]
}

// prefix returns how many bytes of s weigh at most max.
func prefix(s string, max int) int {
	for i, r := range s {
		if max -= weight(r); max < 0 {
			return i
		}
	}
	return len(s)
}

// suffix returns how many bytes at the end of s weigh at most max.
func suffix(s string, max int) int {
	n := 0
	for n < len(s) {
		r, size := utf8.DecodeLastRuneInString(s[:len(s)-n])
		if max -= weight(r); max < 0 {
			break
		}
		n += size
	}
	return n
}

// clean makes log text fit to be shown: invalid UTF-8 becomes U+FFFD, control characters become their pictures (an ESC
// must not colour somebody's terminal), and marks that turn the reading direction are written out.
func clean(p []byte) string {
	// Most log text is printable ASCII.
	plain := true
	for _, c := range p {
		if c < ' ' && c != '\t' && c != '\n' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return string(p)
	}
	var b strings.Builder
	b.Grow(len(p))
	for len(p) > 0 {
		r, size := utf8.DecodeRune(p)
		switch {
		case r == '\r' && len(p) > 1 && p[1] == '\n': // a line end as Windows writes it
		case r == '\t' || r == '\n':
			b.WriteRune(r)
		case r < ' ':
			b.WriteRune('\u2400' + r)
		case r == 0x7f:
			b.WriteRune('\u2421')
		case r >= 0x80 && r < 0xa0, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0x061c:
			b.WriteString(`\u`)
			b.WriteString(fmt.Sprintf("%04x", r))
		default:
			b.WriteRune(r) // RuneError for invalid bytes
		}
		p = p[size:]
	}
	return b.String()
}

// oneLine joins a text's lines.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\n\t") {
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// count writes n with its noun: 1 event, 3 events.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}
