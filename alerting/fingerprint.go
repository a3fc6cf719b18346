package alerting

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/mask"
)

// Fingerprints carry their making in front, and a prefix never changes its meaning: an incident under another prefix is
// another incident.
//
//	p1:  xxhash64(service, 0, level, mask.Pattern(message)), 16 digits: what the ledger of patterns has for the same lines
//	t1:  the same, with the names of months and days of the week in its dates taken for numbers ([undated]): lines with such
//	     dates, which the ledger knows as a kind each month or day
//	e1:  xxhash64(service, 0, level, exception's type): lines with a stack trace, and those with a field exception.type or error.type
//	f1:  xxhash64(service, 0, the value of the event's field "fingerprint")
//	s1:  xxhash64(the values of Rule.By, each with a zero byte behind it): a series of rate, spike or absent
//	x1:  the same: a series that has too many kinds of lines; d1: the same: what a series had on its first day
//	u1:  the time, of a report of what is expected and not seen
//	m1:  xxhash64(service, 0, mask(headline(message))): made before there was p1, see [application.fingerprint]
//	many what a service has beyond Limits.Patterns
//	gap  lookout could not read events
//	l1:  the kind of a [Trouble]
const (
	patternPrint   = "p1:"
	datedPrint     = "t1:"
	exceptionPrint = "e1:"
	given          = "f1:"
	seriesPrint    = "s1:"
	explosionPrint = "x1:"
	digestPrint    = "d1:"
	unusedPrint    = "u1:"
	masked         = "m1:"
	manyPatterns   = "many"
	gapPrint       = "gap"
	troublePrint   = "l1:"
)

// named tells a fingerprint that is known when the incident begins and when it ends: a text is never the same.
func named(fingerprint string) bool {
	return strings.HasPrefix(fingerprint, given) || strings.HasPrefix(fingerprint, seriesPrint)
}

// fingerprint groups an event with others of its kind; scratch is reused between calls.
func fingerprint(e *event.Event, scratch *[]byte) string {
	if f := e.Field("fingerprint"); f != nil && len(f.Value) > 0 {
		*scratch = append(append(append((*scratch)[:0], e.Service...), 0), f.Value...)
		return given + strconv.FormatUint(xxhash.Sum64(*scratch), 16)
	}
	hash, print := kindOf(e, scratch)
	if print == patternPrint {
		return mask.Fingerprint(hash)
	}
	return print + strconv.FormatUint(hash, 16)
}

// kindOf hashes what kind of line an event is; print is the prefix that says of what.
func kindOf(e *event.Event, scratch *[]byte) (hash uint64, print string) {
	var buf [1024]byte
	if t := exceptionType(e); t != nil {
		return mask.Hash(string(e.Service), e.Level, t, scratch), exceptionPrint
	}
	print = patternPrint
	pattern, dated := undated(mask.Pattern(buf[:0], e.Message))
	if dated {
		print = datedPrint
	}
	return mask.Hash(string(e.Service), e.Level, pattern, scratch), print
}

// undated takes the names of months and days of the week in a pattern's dates for numbers, as mask.Pattern does with months in digits:
// else the same line would be another kind on Monday, and all lines new ones on the first of a month. Such a name stands beside a
// number or another such name. It changes the pattern in place. It is part of the meaning of t1.
//
//	[Sun Dec # # #] [error] child in state #  →  [# # # # #] [error] child in state #
//	# - - [#/May/# #] "#" # #                 →  # - - [#/#/# #] "#" # #
func undated(pattern []byte) (p []byte, dated bool) {
	// From the end, so that a name is looked at when what follows it is known.
	for end := len(pattern); end > 0; {
		if !isLetter(pattern[end-1]) {
			end--
			continue
		}
		start := end - 1
		for start > 0 && isLetter(pattern[start-1]) {
			start--
		}
		if isCalendarName(pattern[start:end]) && (besideNumber(pattern[end:], true) || besideNumber(pattern[:start], false)) {
			pattern[start] = '#'
			pattern = append(pattern[:start+1], pattern[end:]...)
			dated = true
		}
		end = start
	}
	return pattern, dated
}

// besideNumber tells whether the text, which ends or begins beside a name, has a number there, parted from it as in dates.
func besideNumber(text []byte, behind bool) bool {
	for range 4 { // no date has more between its parts
		if len(text) == 0 {
			return false
		}
		c := text[len(text)-1]
		if behind {
			c = text[0]
		}
		switch c {
		case '#':
			return true
		case ' ', '-', '/', ',', '.':
		default:
			return false
		}
		if behind {
			text = text[1:]
		} else {
			text = text[:len(text)-1]
		}
	}
	return false
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80 }

// isCalendarName tells the name of a month or a day of the week, whole or short, as times have it.
func isCalendarName(word []byte) bool {
	switch string(word) {
	case "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec",
		"January", "February", "March", "April", "June", "July", "August", "September", "October", "November", "December",
		"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun",
		"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday":
		return true
	}
	return false
}

// oldFingerprint is an event's m1.
func oldFingerprint(e *event.Event, scratch *[]byte) string {
	*scratch = mask.Append(append(append((*scratch)[:0], e.Service...), 0), mask.Headline(e.Message))
	return masked + strconv.FormatUint(xxhash.Sum64(*scratch), 16)
}

// maxTrace is how much of a message is looked at for an exception, in bytes.
const maxTrace = 16 << 10

// exceptionType returns the type of the exception that an event tells of, nil when it tells of none: the field that says so,
// or what stands in front of the frames of a stack trace. It is part of the meaning of e1.
func exceptionType(e *event.Event) []byte {
	for i := range e.Fields {
		switch f := &e.Fields[i]; string(f.Name) {
		case "exception.type", "error.type":
			if len(f.Value) > 0 {
				return f.Value
			}
		}
	}
	msg := e.Message[:min(len(e.Message), maxTrace)]
	if bytes.IndexByte(msg, '\n') < 0 {
		return nil
	}
	if i := bytes.Index(msg, []byte("Traceback (most recent call last)")); i >= 0 {
		// Its last line says what was raised; the lines before it are indented, or of traces before it.
		lines := bytes.Split(bytes.TrimRight(e.Message[i:], " \t\r\n"), []byte("\n"))
		name, _, _ := bytes.Cut(bytes.TrimSpace(lines[len(lines)-1]), []byte(":"))
		if isTypeName(name) {
			return name
		}
		return nil
	}
	var before []byte
	for line := range bytes.Lines(msg) {
		if frame := bytes.TrimLeft(line, " \t"); before != nil &&
			(len(frame) < len(line) && bytes.HasPrefix(frame, []byte("at ")) || bytes.HasPrefix(frame, []byte("#0 ")) || bytes.HasPrefix(frame, []byte("Stack trace:"))) {
			return thrownIn(before)
		}
		if len(bytes.TrimSpace(line)) > 0 && (before == nil || thrownIn(line) != nil) {
			before = line
		}
	}
	return nil
}

// thrownIn returns the first word of a line that is an exception's name.
func thrownIn(line []byte) []byte {
	for word := range bytes.FieldsFuncSeq(line, func(r rune) bool { return !isTypeRune(r) }) {
		word = bytes.TrimRight(word, ".")
		if _, last := lastPart(word); bytes.HasSuffix(last, []byte("Exception")) || bytes.HasSuffix(last, []byte("Error")) || bytes.HasSuffix(last, []byte("Throwable")) {
			if isTypeName(word) && last[0] >= 'A' && last[0] <= 'Z' {
				return word
			}
		}
	}
	return nil
}

func lastPart(name []byte) (before, last []byte) {
	i := bytes.LastIndexAny(name, ".$\\")
	return name[:max(0, i)], name[i+1:]
}

func isTypeRune(r rune) bool {
	return r == '.' || r == '_' || r == '$' || r == '\\' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' && r < 0x80
}

// isTypeName tells the name of a type, which may have a package: java.lang.IllegalStateException, KeyError.
func isTypeName(name []byte) bool {
	return len(name) > 0 && len(name) <= 200 && !(name[0] >= '0' && name[0] <= '9') && name[0] != '.' && !bytes.ContainsFunc(name, func(r rune) bool { return !isTypeRune(r) })
}
