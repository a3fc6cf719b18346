// Package mask takes out of a log line what differs between two lines of one kind, so that what is left names the kind.
//
// [Append] masks a line: alerting groups events into incidents by it ("m1:"). [Pattern] masks a line, or the form of a line that a
// block of the store keeps (query.Pattern), with one result for both: the ledger of patterns goes by it ("p1:").
package mask

import (
	"bytes"
	"unicode"

	"github.com/lookoutlog/lookout/index/query"
)

// maskLimit is how much of a headline tells events apart.
const maskLimit = 512

// Headline returns the line of a message that says what happened: the first that is not blank, but a Python traceback
// says it last.
func Headline(msg []byte) []byte {
	line, before, behind := headline(msg)
	return line[before:behind]
}

// headline returns the whole line, and where the part without white space at its ends begins and ends. Unicode has white space that a block
// of the store takes for a part of the word beside it.
func headline(msg []byte) (line []byte, before, behind int) {
	line = FirstLine(msg)
	if bytes.HasPrefix(line, []byte("Traceback (most recent call last)")) {
		rest := bytes.TrimRight(msg, " \t\r\n")
		if i := bytes.LastIndexByte(rest, '\n'); i >= 0 {
			line = rest[i+1:]
			before = len(line) - len(bytes.TrimLeftFunc(line, unicode.IsSpace))
			return line, before, before + len(bytes.TrimSpace(line))
		}
	}
	return line, 0, len(line)
}

// FirstLine returns the first line of a message that is not blank, without white space at its ends.
func FirstLine(msg []byte) []byte {
	msg = bytes.TrimLeft(msg, " \t\r\n")
	if i := bytes.IndexByte(msg, '\n'); i >= 0 {
		msg = msg[:i]
	}
	return bytes.TrimRight(msg, " \t\r")
}

// Append appends line to dst with what differs between two lines of one kind replaced by '#': numbers and words with
// digits (but for a few, such as s3: [query.IsWord]), times, addresses, UUIDs, long hex, and the contents of quotes. White space becomes one space. Of a line, the first
// 512 bytes count. It is part of the meaning of the prefixes "m1:" and "p1:": a change of its results needs new ones.
func Append(dst, line []byte) []byte {
	if len(line) > maskLimit {
		line = line[:maskLimit]
	}
	start := len(dst)
	for i := 0; i < len(line); {
		c := line[i]
		switch {
		case c == ' ' || c == '\t':
			if n := len(dst); n > start && dst[n-1] != ' ' {
				dst = append(dst, ' ')
			}
			i++
		case c == '"' || c == '\'' || c == '`':
			end := closingQuote(line, i)
			if end < 0 {
				dst = append(dst, c)
				i++
				continue
			}
			dst = append(dst, c, '#', c)
			i = end + 1
		case isAlnum(c) || bytes.HasPrefix(line[i:], []byte("::")):
			if n := address(line[i:]); n > 0 && (i == 0 || !isAlnum(line[i-1])) {
				dst = appendHash(dst, start)
				i += n
				continue
			}
			if c == ':' {
				dst = append(dst, c)
				i++
				continue
			}
			end := i
			for end < len(line) && isAlnum(line[end]) {
				end++
			}
			if word := line[i:end]; !variable(word) || query.IsWord(word) {
				dst = append(dst, line[i:end]...)
			} else {
				dst = appendHash(dst, start)
			}
			i = end
		default:
			dst = append(dst, c)
			i++
		}
	}
	return dst
}

// appendHash writes '#', and takes in a '#' before it that a sign of numbers joins to this one, so that 1.5, 10.0.0.1,
// 2026-11-21T10:00:00 and a UUID are one '#' each. A sign in front of the number goes too: -5 is a number as 5 is.
func appendHash(dst []byte, start int) []byte {
	n := len(dst)
	isSign := func(c byte) bool {
		return c == '.' || c == ':' || c == '-' || c == '+' || c == '/' || c == ',' || c == '_'
	}
	signs := n
	for signs > start && isSign(dst[signs-1]) {
		signs--
	}
	switch {
	case signs < n && signs > start && dst[signs-1] == '#':
		return dst[:signs]
	case n > start && (dst[n-1] == '-' || dst[n-1] == '+') && (n-1 == start || !isAlnum(dst[n-2])):
		return append(dst[:n-1], '#')
	}
	return append(dst, '#')
}

// address returns the length of the UUID, IPv6 or MAC address that p begins with, 0 when it begins with none. Their parts
// may lack digits, so [variable] alone would give one kind of line many masks.
func address(p []byte) int {
	n, colons, dashes, digits := 0, 0, 0, 0
	for ; n < len(p); n++ {
		c := p[n]
		if c >= '0' && c <= '9' {
			digits++
		} else if c == ':' {
			colons++
		} else if c == '-' {
			dashes++
		} else if !isHexLetter(c) {
			break
		}
	}
	if n < len(p) && isAlnum(p[n]) {
		return 0 // a word goes on: std::fa1led
	}
	switch {
	case n == 36 && dashes == 4 && p[8] == '-' && p[13] == '-' && p[18] == '-' && p[23] == '-':
		return n
	case dashes == 0 && colons >= 2 && (digits > 0 || colons >= 4):
		for p[n-1] == ':' && n > 2 && p[n-2] != ':' { // "fe80::1: refused": the colon is the text's
			n--
		}
		return n
	}
	return 0
}

// variable tells a word that differs from line to line: it has a digit, or it is hex and too long for a word.
func variable(w []byte) bool {
	hex := true
	for _, c := range w {
		if c >= '0' && c <= '9' {
			return true
		}
		hex = hex && isHexLetter(c)
	}
	return hex && len(w) >= 8
}

// closingQuote returns where the quote opened at i closes, -1 when it is an apostrophe or never closes.
func closingQuote(line []byte, i int) int {
	if i > 0 && isAlnum(line[i-1]) {
		return -1
	}
	for j := i + 1; j < len(line); j++ {
		if line[j] == line[i] && line[j-1] != '\\' && (j+1 == len(line) || !isAlnum(line[j+1])) {
			return j
		}
	}
	return -1
}

func isHexLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'f' }

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
