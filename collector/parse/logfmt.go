package parse

import (
	"bytes"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

// logfmt, as go-kit, logrus, slog's text handler and zerolog's relatives write it: key=value pairs with spaces between,
// values in double quotes where they hold a space. Prose has its a=b too, so a line counts only when pairs cover all of
// it, there are two of them or more, and one has a key that loggers write (logfmtKey).

// logfmtHead tells, from the first pair, whether a line may be logfmt.
func logfmtHead(p []byte) bool {
	i := keyEnd(p, 0)
	return i > 0 && i < len(p) && p[i] == '='
}

// keyEnd returns the end of the key at p[i], i when there is none.
func keyEnd(p []byte, i int) int {
	if i == len(p) || !isLetter(p[i]) && p[i] != '_' && p[i] != '@' {
		return i
	}
	for i++; i < len(p); i++ {
		if c := p[i]; !isLetter(c) && !isDigit(c) && c != '_' && c != '.' && c != '-' && c != '/' && c != '@' {
			break
		}
	}
	return i
}

// logfmtKey tells whether a key is one that marks a line as a logger's.
func logfmtKey(key []byte) bool {
	switch string(key) {
	case "msg", "message", "level", "lvl", "severity", "loglevel", "time", "ts", "timestamp", "@timestamp", "t":
		return true
	}
	return false
}

// logfmt appends the pairs of a logfmt line to dst; unquoted values that needed work are appended to scratch, which may
// move: values keep what they point to. ok is false when text is not logfmt.
func logfmt(dst []event.Field, scratch, text []byte) (fields []event.Field, newScratch []byte, ok bool) {
	known := false
	text = bytes.TrimRight(text, " \t\r\n")
	i := 0
	for {
		for i < len(text) && (text[i] == ' ' || text[i] == '\t') {
			i++
		}
		if i == len(text) {
			return dst, scratch, known && len(dst) >= 2
		}
		if len(dst) == maxFields {
			return dst, scratch, false
		}
		end := keyEnd(text, i)
		if end == i || end == len(text) || text[end] != '=' {
			return dst, scratch, false
		}
		f := event.Field{Name: text[i:end:end]}
		known = known || logfmtKey(f.Name)
		i = end + 1
		if i < len(text) && text[i] == '"' {
			start := i + 1
			escaped := false
			for i = start; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					escaped = true
					i++
				}
			}
			if i >= len(text) || i+1 < len(text) && classes[text[i+1]] != cSpace {
				return dst, scratch, false
			}
			f.Value = text[start:i:i]
			if escaped {
				n := len(scratch)
				scratch = appendUnquoted(scratch, f.Value)
				f.Value = scratch[n:len(scratch):len(scratch)]
			}
			i++
		} else {
			start := i
			for i < len(text) && text[i] > ' ' && text[i] != '"' {
				i++
			}
			if i < len(text) && classes[text[i]] != cSpace {
				return dst, scratch, false
			}
			f.Value = text[start:i:i]
			f.Kind = bareKind(f.Value)
		}
		dst = append(dst, f)
	}
}

// bareKind returns the kind of a value without quotes.
func bareKind(v []byte) event.Kind {
	if len(v) == 0 {
		return event.String
	}
	if c := v[0]; isDigit(c) || c == '-' {
		if flatjson.ValidNumber(v) {
			return event.Number
		}
		return event.String
	}
	if string(v) == "true" || string(v) == "false" {
		return event.Bool
	}
	return event.String
}

// appendUnquoted appends what stood in quotes, with Go's and JSON's escapes resolved; an unknown escape stays as it is.
func appendUnquoted(dst, p []byte) []byte {
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c != '\\' || i+1 == len(p) {
			dst = append(dst, c)
			continue
		}
		i++
		switch p[i] {
		case '"', '\\', '/':
			dst = append(dst, p[i])
		case 'n':
			dst = append(dst, '\n')
		case 't':
			dst = append(dst, '\t')
		case 'r':
			dst = append(dst, '\r')
		case 'x':
			if v, ok := hex(p, i+1, 2); ok {
				dst = append(dst, byte(v))
				i += 2
				continue
			}
			dst = append(dst, '\\', 'x')
		case 'u':
			if v, ok := hex(p, i+1, 4); ok {
				dst = utf8.AppendRune(dst, v)
				i += 4
				continue
			}
			dst = append(dst, '\\', 'u')
		default:
			dst = append(dst, '\\', p[i])
		}
	}
	return dst
}

// hex reads n hex digits at p[i].
func hex(p []byte, i, n int) (v rune, ok bool) {
	if i+n > len(p) {
		return 0, false
	}
	for _, c := range p[i : i+n] {
		switch {
		case isDigit(c):
			v = v<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
