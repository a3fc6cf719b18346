package flatjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// plain returns the place of the first byte at or behind i that cannot stand in a JSON string as it is: a control
// character, a quote, a backslash, or a byte that is not ASCII. len(text) when there is none.
func plain(text []byte, i int) int {
	for ; i+8 <= len(text); i += 8 {
		w := binary.LittleEndian.Uint64(text[i:])
		q, b := w^('"'*ones), w^('\\'*ones)
		m := ((q-ones)&^q | (b-ones)&^b | (w-0x20*ones)&^w | w) & highs
		if m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// AppendString appends text to dst as a JSON string with its quotes. What is not UTF-8 becomes U+FFFD. U+2028 and U+2029
// are escaped, so that the result may stand in JavaScript; < > & are not.
func AppendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for i := 0; ; {
		j := plain(text, i)
		dst = append(dst, text[i:j]...)
		if j == len(text) {
			return append(dst, '"')
		}
		i = j + 1
		switch c := text[j]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = appendControl(dst, c)
		default:
			r, n := utf8.DecodeRune(text[j:])
			dst = appendRune(dst, r)
			i = j + n
		}
	}
}

// AppendJSON appends raw, the value of a field of kind [event.JSON], to dst as strict JSON on one line: white space
// between values is left out; inside strings, control characters are escaped and what is not UTF-8 becomes U+FFFD.
func AppendJSON(dst, raw []byte) []byte {
	inside := false
	for i := 0; i < len(raw); {
		c := raw[i]
		switch {
		case !inside:
			if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
				dst = append(dst, c)
			}
			inside = c == '"'
			i++
		case c == '"':
			dst = append(dst, c)
			inside = false
			i++
		case c == '\\' && i+1 < len(raw):
			dst = append(dst, c, raw[i+1])
			i += 2
		case c < 0x20:
			dst = appendControl(dst, c)
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRune(raw[i:])
			dst = appendRune(dst, r)
			i += n
		}
	}
	return dst
}

func appendControl(dst []byte, c byte) []byte {
	switch c {
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendRune appends a rune that is not ASCII; utf8.DecodeRune has made U+FFFD of what was none.
func appendRune(dst []byte, r rune) []byte {
	if r == '\u2028' || r == '\u2029' {
		return append(dst, '\\', 'u', '2', '0', '2', '8'+byte(r-'\u2028'))
	}
	return utf8.AppendRune(dst, r)
}
