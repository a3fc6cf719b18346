// Package flatjson reads a JSON object as a flat list of fields, the way lookout keeps what a log line carries: nested
// names joined with dots, an array as the same name several times, numbers as the text they came as.
//
// # Use
//
//	var d flatjson.Decoder
//	for each batch {
//		d.Reset()
//		for each line {
//			fields, rest, err := d.Object(line)
//		}
//	}
//
// [AppendString], [AppendJSON] and [ValidNumber] are for those who print fields as JSON again.
//
// # What it guarantees
//
// Log lines come from anybody, so nothing in here recurses, and time and memory are linear in the input: what is nested
// deeper than [MaxDepth] is checked and kept as raw text, and so is a nested value that would flatten into very many leaves
// or whose joined names would be much longer than the input. Nothing is lost by that: the value is kept whole, of kind
// [event.JSON], which is always well-formed.
//
// The grammar is RFC 8259 with what real clients need: a byte order mark at the start is skipped, control characters may
// stand in strings as they are, and bytes that are not UTF-8 are kept. A lone surrogate escape becomes U+FFFD. NaN,
// Infinity, comments and trailing commas are errors. Duplicate names are kept, in document order.
//
// A reused decoder allocates nothing for documents of the usual size.
package flatjson

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

const (
	// MaxDepth is the number of levels that are flattened; the document itself is the first. Objects and arrays below
	// stay raw.
	MaxDepth = 32

	// A nested value stays raw when it makes the document's leaves more than this…
	maxNestedLeaves = 1 << 16
	// …or its joined names longer than this and four times the text read so far. A name of 1 MB around half a million
	// leaves would otherwise become half a terabyte.
	freeNames  = 64 << 10
	nameFactor = 4

	// What Reset keeps for the next batch; one odd document must not hold on to its memory.
	keepScratch = 1 << 20
	keepFields  = 1 << 14
	keepNesting = 1 << 10
)

// Error says where a document is wrong.
type Error struct {
	Offset  int    // byte offset in the data given to [Decoder.Object]
	Message string // what is wrong there
}

// Error returns the message with its place, as in: at byte 17: expected ':' after a key, found '}'.
func (e *Error) Error() string { return "at byte " + strconv.Itoa(e.Offset) + ": " + e.Message }

// Decoder reads objects. The zero value is ready; it is meant to be reused and is not safe for concurrent use.
type Decoder struct {
	// MaxFields is the most leaves a document may have, 0 for no limit. A document with more is an error.
	MaxFields int

	fields  []event.Field
	scratch []byte // current chunk: unescaped strings and joined names
	used    int    // bytes in the chunks before it
	stack   [MaxDepth]frame
	nesting []uint64 // a bit a level, for what is skipped: 1 is an object
}

type frame struct {
	name  []byte
	array bool
}

// Reset invalidates all that was handed out since the last Reset and uses its memory again. Call it once a batch.
func (d *Decoder) Reset() {
	d.scratch, d.used = d.scratch[:0], 0
	if cap(d.scratch) > keepScratch {
		d.scratch = nil
	}
	if cap(d.fields) > keepFields {
		d.fields = nil
	}
	if cap(d.nesting) > keepNesting {
		d.nesting = nil
	}
}

// Size returns the bytes of text that the decoder holds since the last Reset, beside the data itself: unescaped strings
// and joined names. Who collects a batch can end it by that.
func (d *Decoder) Size() int { return d.used + len(d.scratch) }

// Object reads the JSON object at data's start (a byte order mark and white space are skipped) and returns its leaves in
// document order, and what follows the object in data.
//
// A leaf's name is the path to it, joined with dots; elements of an array have the array's name. Strings are unescaped.
// Numbers, booleans and null are their text. {} and [] and what stays nested (see the package) are raw text of kind
// [event.JSON].
//
// The slice of fields is valid until the next Object; names and values are valid until Reset, and as long as data is
// unchanged: they point into it. The error is an [*Error]; there are no fields then.
func (d *Decoder) Object(data []byte) (fields []event.Field, rest []byte, err error) {
	i := 0
	if len(data) >= 3 && data[0] == 0xEF && data[1] == 0xBB && data[2] == 0xBF {
		i = 3
	}
	if i = skipSpace(data, i); i == len(data) || data[i] != '{' {
		return nil, nil, unexpected(data, i, "expected '{'")
	}
	d.fields = d.fields[:0]
	if i = skipSpace(data, i+1); i < len(data) && data[i] == '}' {
		return d.fields, data[i+1:], nil
	}

	var (
		depth   = 1
		array   = false // whether the innermost open value is an array
		name    []byte
		joined  = 0    // bytes of joined names
		flat    = true // false once the document has proved to be one that must not be flattened
		topName []byte // the member of the document that is being flattened:
		topAt   = 0    // where its value begins
		topLen  = 0    // and the number of fields before it
		value   []byte
		kind    event.Kind
		end     int
	)
	d.stack[0] = frame{}
	for {
		if array {
			name = d.stack[depth-1].name
		} else {
			if i == len(data) || data[i] != '"' {
				return nil, nil, unexpected(data, i, "expected a key in quotes")
			}
			if name, i, err = d.text(data, i+1); err != nil {
				return nil, nil, err
			}
			if i < len(data) && data[i] <= ' ' {
				i = skipSpace(data, i)
			}
			if i == len(data) || data[i] != ':' {
				return nil, nil, unexpected(data, i, "expected ':' after a key")
			}
			i++
			if i < len(data) && data[i] <= ' ' {
				i = skipSpace(data, i)
			}
			if depth > 1 {
				prefix := d.stack[depth-1].name
				joined += len(prefix) + 1 + len(name)
				if joined <= freeNames+nameFactor*i {
					name = d.join(prefix, name)
				} else { // start again at the document's member, and keep it raw this time
					flat, depth, name, i = false, 1, topName, topAt
					d.fields = d.fields[:topLen]
				}
			}
		}
		if depth > 1 && len(d.fields) >= maxNestedLeaves {
			flat, depth, array, name, i = false, 1, false, topName, topAt
			d.fields = d.fields[:topLen]
		}

		if i == len(data) {
			return nil, nil, unexpected(data, i, "expected a value")
		}
		switch c := data[i]; c {
		case '"':
			kind = event.String
			if value, end, err = d.text(data, i+1); err != nil {
				return nil, nil, err
			}
		case '{', '[':
			first := skipSpace(data, i+1)
			switch {
			case first < len(data) && data[first] == c+2: // ] is [+2, } is {+2
				end = first + 1
			case depth == MaxDepth || !flat:
				if end, err = d.skip(data, i); err != nil {
					return nil, nil, err
				}
			default:
				if depth == 1 {
					topName, topAt, topLen = name, i, len(d.fields)
				}
				array = c == '['
				d.stack[depth] = frame{name, array}
				depth++
				i = first
				continue
			}
			kind, value = event.JSON, data[i:end:end]
		default:
			if kind, end, err = scalar(data, i); err != nil {
				return nil, nil, err
			}
			value = data[i:end:end]
		}
		if d.MaxFields > 0 && len(d.fields) == d.MaxFields {
			return nil, nil, &Error{i, "more than " + strconv.Itoa(d.MaxFields) + " fields"}
		}
		d.fields = append(d.fields, event.Field{Name: name, Value: value, Kind: kind})
		i = end

		for {
			if i < len(data) && data[i] <= ' ' {
				i = skipSpace(data, i)
			}
			if i < len(data) {
				if data[i] == ',' {
					i++
					if i < len(data) && data[i] <= ' ' {
						i = skipSpace(data, i)
					}
					break
				}
				if !array && data[i] == '}' || array && data[i] == ']' {
					i++
					if depth--; depth == 0 {
						return d.fields, data[i:], nil
					}
					array = d.stack[depth-1].array
					continue
				}
			}
			return nil, nil, unexpected(data, i, afterValue(array))
		}
	}
}

// skip checks the object or array at data[i] without keeping anything of it and returns its end. It is for what stays
// raw: to any depth, one bit a level.
func (d *Decoder) skip(data []byte, i int) (end int, err error) {
	depth := 0
	object := false
	d.nesting = d.nesting[:0]
	for {
		// a value, or the key before it
		if object {
			if i == len(data) || data[i] != '"' {
				return 0, unexpected(data, i, "expected a key in quotes")
			}
			if i, err = skipText(data, i+1); err != nil {
				return 0, err
			}
			if i = skipSpace(data, i); i == len(data) || data[i] != ':' {
				return 0, unexpected(data, i, "expected ':' after a key")
			}
			i = skipSpace(data, i+1)
		}
		if i == len(data) {
			return 0, unexpected(data, i, "expected a value")
		}
		switch c := data[i]; c {
		case '"':
			if i, err = skipText(data, i+1); err != nil {
				return 0, err
			}
		case '{', '[':
			i = skipSpace(data, i+1)
			if i < len(data) && data[i] == c+2 {
				i++
				break
			}
			if depth&63 == 0 {
				d.nesting = append(d.nesting[:depth>>6], 0)
			}
			object = c == '{'
			if bit := uint64(1) << (depth & 63); object {
				d.nesting[depth>>6] |= bit
			} else {
				d.nesting[depth>>6] &^= bit
			}
			depth++
			continue
		default:
			if _, i, err = scalar(data, i); err != nil {
				return 0, err
			}
		}
		for {
			if depth == 0 {
				return i, nil
			}
			i = skipSpace(data, i)
			if i < len(data) && data[i] == ',' {
				i = skipSpace(data, i+1)
				break
			}
			if i == len(data) || object && data[i] != '}' || !object && data[i] != ']' {
				return 0, unexpected(data, i, afterValue(!object))
			}
			i++
			if depth--; depth > 0 {
				object = d.nesting[(depth-1)>>6]>>((depth-1)&63)&1 == 1
			}
		}
	}
}

// scalar finds the end of the number, true, false or null at data[i].
func scalar(data []byte, i int) (kind event.Kind, end int, err error) {
	switch c := data[i]; {
	case c == '-' || c >= '0' && c <= '9':
		end, ok := number(data, i)
		if !ok {
			return 0, 0, unexpected(data, end, "expected a digit in a number")
		}
		return event.Number, end, nil
	case c == 't' && hasWord(data, i, "true"):
		return event.Bool, i + 4, nil
	case c == 'f' && hasWord(data, i, "false"):
		return event.Bool, i + 5, nil
	case c == 'n' && hasWord(data, i, "null"):
		return event.Null, i + 4, nil
	}
	return 0, 0, unexpected(data, i, "expected a value")
}

func hasWord(data []byte, i int, word string) bool {
	return len(data)-i >= len(word) && string(data[i:i+len(word)]) == word
}

// number finds the end of the number at data[i], or the place where it stops being one.
func number(data []byte, i int) (end int, ok bool) {
	if data[i] == '-' {
		i++
	}
	if i < len(data) && data[i] == '0' {
		i++
	} else if start := i; digits(data, &i) == start {
		return i, false
	}
	if i < len(data) && data[i] == '.' {
		i++
		if start := i; digits(data, &i) == start {
			return i, false
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		if start := i; digits(data, &i) == start {
			return i, false
		}
	}
	return i, true
}

// digits moves i behind the digits it stands before, and returns it.
func digits(data []byte, i *int) int {
	k := *i
	for k < len(data) && data[k]-'0' <= 9 {
		k++
	}
	*i = k
	return k
}

// IsScalar tells whether the field's value is the number, boolean or null its kind says, and so may be printed as it is: a
// kind alone is not to be trusted.
func IsScalar(f *event.Field) bool {
	switch f.Kind {
	case event.Number:
		return ValidNumber(f.Value)
	case event.Bool:
		return string(f.Value) == "true" || string(f.Value) == "false"
	case event.Null:
		return string(f.Value) == "null"
	}
	return false
}

// ValidNumber tells whether text is a number in JSON's grammar, and so may be printed as it is.
func ValidNumber(text []byte) bool {
	if len(text) == 0 {
		return false
	}
	end, ok := number(text, 0)
	return ok && end == len(text)
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\r' || data[i] == '\t') {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special returns the place of the first quote or backslash at or behind i, len(data) when there is none.
func special(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		q, b := w^('"'*ones), w^('\\'*ones)
		// The usual test for a zero byte; it may be wrong only above a byte where it is right.
		if m := ((q - ones) &^ q & highs) | ((b - ones) &^ b & highs); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' {
			break
		}
	}
	return i
}

// text returns the string whose text begins at data[i], unescaped, and where its closing quote ends.
func (d *Decoder) text(data []byte, i int) (s []byte, end int, err error) {
	j := special(data, i)
	if j < len(data) && data[j] == '"' {
		return data[i:j:j], j + 1, nil
	}
	if end, err = skipText(data, i); err != nil {
		return nil, 0, err
	}
	return d.unescape(data[i:end-1], j-i), end, nil
}

// skipText returns the end of the string whose text begins at data[i]. Its escapes are right when there is no error.
func skipText(data []byte, i int) (end int, err error) {
	start := i
	for {
		i = special(data, i)
		if i == len(data) {
			return 0, &Error{start - 1, "a string without its closing quote"}
		}
		if data[i] == '"' {
			return i + 1, nil
		}
		if i+1 == len(data) {
			return 0, &Error{start - 1, "a string without its closing quote"}
		}
		switch data[i+1] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			i += 2
		case 'u':
			if len(data)-i < 6 || hex4(data[i+2:]) < 0 {
				return 0, &Error{i, `\u without four hex digits in a string`}
			}
			i += 6
		default:
			return 0, unexpected(data, i+1, `expected one of "\/bfnrtu after a backslash`)
		}
	}
}

// unescape writes raw, whose first backslash stands at esc and whose escapes are right, into the scratch.
func (d *Decoder) unescape(raw []byte, esc int) []byte {
	dst := d.room(len(raw)) // an escape is never shorter than what it stands for
	start := len(dst)
	for {
		dst = append(dst, raw[:esc]...)
		if esc == len(raw) {
			break
		}
		c := raw[esc+1]
		raw = raw[esc+2:]
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		}
		if c != 'u' {
			dst = append(dst, c)
		} else {
			r := hex4(raw)
			raw = raw[4:]
			if r >= 0xD800 && r < 0xE000 {
				low := rune(-1)
				if r < 0xDC00 && len(raw) >= 6 && raw[0] == '\\' && raw[1] == 'u' {
					low = hex4(raw[2:])
				}
				if low >= 0xDC00 && low < 0xE000 {
					r = (r-0xD800)<<10 + (low - 0xDC00) + 0x10000
					raw = raw[6:]
				} else {
					r = utf8.RuneError
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
		// Quotes are always escaped here, so what special finds is a backslash or the end.
		esc = special(raw, 0)
	}
	d.scratch = dst
	return dst[start:len(dst):len(dst)]
}

// hex4 returns the value of the four hex digits at p's start, -1 when they are not.
func hex4(p []byte) rune {
	var r rune
	for _, c := range p[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// join returns prefix.name.
func (d *Decoder) join(prefix, name []byte) []byte {
	dst := d.room(len(prefix) + 1 + len(name))
	start := len(dst)
	dst = append(append(append(dst, prefix...), '.'), name...)
	d.scratch = dst
	return dst[start:len(dst):len(dst)]
}

// room returns the scratch with room for n bytes. What was handed out stays where it is: a full chunk is left, not moved.
func (d *Decoder) room(n int) []byte {
	if cap(d.scratch)-len(d.scratch) < n {
		d.used += len(d.scratch)
		d.scratch = make([]byte, 0, max(n, 4<<10, min(2*cap(d.scratch), keepScratch)))
	}
	return d.scratch
}

func afterValue(array bool) string {
	if array {
		return "expected ',' or ']' after a value"
	}
	return "expected ',' or '}' after a value"
}

// unexpected returns the error for what stands at data[i].
func unexpected(data []byte, i int, expected string) *Error {
	found := "the end"
	if i < len(data) {
		c := data[i]
		word := i
		for word < len(data) && word-i < 12 && (data[word]|0x20 >= 'a' && data[word]|0x20 <= 'z') {
			word++
		}
		switch {
		case word-i > 1:
			found = string(data[i:word])
		case c > ' ' && c < 0x7F:
			found = "'" + string(rune(c)) + "'"
		default:
			found = "byte 0x" + string([]byte{hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return &Error{i, expected + ", found " + found}
}
