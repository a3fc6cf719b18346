package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The codes of an [Error].
const (
	CodeSyntax = "bad_query"       // the text is not in the language
	CodeRegex  = "bad_regex"       // a regular expression is not RE2's
	CodeLimit  = "query_too_large" // a limit of the language is passed
)

// Error says what is wrong with a query, where, and how to mend it.
type Error struct {
	Code    string // one of the codes above
	Message string // what is wrong, one line
	Mend    string // what to write instead, one line
	Pos     int    // byte offset of the place in Text
	End     int    // byte offset behind the place; at least Pos
	Text    string // the query as it was given
}

// Error returns one line: what, where, the mend.
func (e *Error) Error() string {
	col := utf8.RuneCountInString(e.Text[:e.Pos]) + 1
	s := fmt.Sprintf("query: %s (column %d)", e.Message, col)
	if e.Mend != "" {
		s += "; " + e.Mend
	}
	return s
}

// caretWidth is how much of a long line Caret shows on each side of the place.
const caretWidth = 60

// Caret returns two lines without a final newline: the line of the query the error is in, cut to what surrounds the
// place, and carets under the place. Control characters, and those that turn the direction of text, are shown as '?', so that it is safe on a terminal.
func (e *Error) Caret() string {
	start := strings.LastIndexByte(e.Text[:e.Pos], '\n') + 1
	line := e.Text[start:]
	if i := strings.IndexByte(e.Text[e.Pos:], '\n'); i >= 0 {
		line = e.Text[start : e.Pos+i]
	}
	pos := e.Pos - start
	end := min(max(e.End-start, pos), len(line))

	left, mark, right := []rune(line[:pos]), []rune(line[pos:end]), []rune(line[end:])
	var text, carets strings.Builder
	if len(left) > caretWidth {
		left = left[len(left)-caretWidth:]
		text.WriteString("…")
		carets.WriteByte(' ')
	}
	cut := false
	if len(mark) > caretWidth {
		mark, right, cut = mark[:caretWidth], nil, true
	} else if len(right) > caretWidth {
		right, cut = right[:caretWidth], true
	}
	put := func(rs []rune, under byte) {
		for _, r := range rs {
			switch {
			case unicode.IsSpace(r):
				r = ' '
			case unicode.IsControl(r), unicode.Is(unicode.Cf, r) && r != 0xad && r != 0x200c && r != 0x200d: // joiners are part of words
				r = '?'
			}
			text.WriteRune(r)
			for range columns(r) {
				carets.WriteByte(under)
			}
		}
	}
	put(left, ' ')
	if len(mark) == 0 { // between two characters, or at the end
		carets.WriteByte('^')
	}
	put(mark, '^')
	put(right, ' ')
	if cut {
		text.WriteString("…")
	}
	return text.String() + "\n" + strings.TrimRight(carets.String(), " ")
}

// columns is the width of a character on a terminal, well enough to put a caret under it.
func columns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115F, r >= 0x2E80 && r <= 0xA4CF, r >= 0xAC00 && r <= 0xD7A3, r >= 0xF900 && r <= 0xFAFF,
		r >= 0xFE30 && r <= 0xFE6F, r >= 0xFF00 && r <= 0xFF60, r >= 0xFFE0 && r <= 0xFFE6, r >= 0x1F300 && r <= 0x1FAFF,
		r >= 0x20000 && r <= 0x3FFFD:
		return 2
	}
	return 1
}

// Hint is advice about a query that is valid but may not mean what it looks like.
type Hint struct {
	Pos, End int    // byte offsets in the text given to Parse
	Message  string // one line
	Mend     string // what to write instead, one line
}
