// Package eventjson writes an event the way lookout's API does: one JSON object on one line.
//
//	{"id":"123","time":"2026-11-21T11:22:33.123456789Z","received":"…","level":"error","service":"shop","message":"…","fields":{"status":200,"tags":["a","b"]}}
//
// The result is valid JSON in valid UTF-8 whatever the event holds: bytes that are no UTF-8 become U+FFFD, a number that is
// none by JSON's rules (007, NaN) becomes a string, and so does what is nested over 128 deep. Times are UTC with nine digits behind the point, so that they sort as
// text. What is not known is left out, the time excepted.
package eventjson

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/flatjson"
)

// AppendEvent appends e to dst, without a newline. It does not allocate, as long as dst has room and e has at most 32
// fields and none of kind JSON.
func AppendEvent(dst []byte, e *event.Event) []byte {
	dst = append(dst, '{')
	if e.Seq != 0 {
		dst = append(dst, `"id":"`...)
		dst = strconv.AppendUint(dst, e.Seq, 10)
		dst = append(dst, `",`...)
	}
	dst = append(dst, `"time":`...)
	dst = AppendTime(dst, e.Time)
	if e.Received != 0 {
		dst = append(dst, `,"received":`...)
		dst = AppendTime(dst, e.Received)
	}
	if e.Level != event.None {
		dst = append(dst, `,"level":"`...)
		dst = append(dst, e.Level.String()...)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"service":`, e.Service)
	dst = appendText(dst, `,"env":`, e.Env)
	dst = appendText(dst, `,"host":`, e.Host)
	dst = appendText(dst, `,"container":`, e.Container)
	dst = appendText(dst, `,"stream":`, e.Stream)
	dst = appendText(dst, `,"message":`, e.Message)
	if len(e.Fields) > 0 {
		dst = AppendFields(append(dst, `,"fields":`...), e)
	}
	return append(dst, '}')
}

// AppendFields appends the extra fields of an event, which has some, as an object.
func AppendFields(dst []byte, e *event.Event) []byte {
	dst = appendFields(append(dst, '{'), e.Fields)
	dst[len(dst)-1] = '}' // the last comma
	return dst
}

// AppendFlat appends an event as the input takes it: the extra fields beside the others, and without the id and the time of receipt, which
// a server gives itself.
func AppendFlat(dst []byte, e *event.Event) []byte {
	dst = AppendTime(append(dst, `{"time":`...), e.Time)
	if e.Level != event.None {
		dst = append(append(append(dst, `,"level":"`...), e.Level.String()...), '"')
	}
	dst = appendText(dst, `,"service":`, e.Service)
	dst = appendText(dst, `,"env":`, e.Env)
	dst = appendText(dst, `,"host":`, e.Host)
	dst = appendText(dst, `,"container":`, e.Container)
	dst = appendText(dst, `,"stream":`, e.Stream)
	dst = flatjson.AppendString(append(dst, `,"message":`...), e.Message)
	dst = appendFields(append(dst, ','), e.Fields)
	dst[len(dst)-1] = '}' // the last comma
	return dst
}

// appendFields appends the fields with a comma behind each.
func appendFields(dst []byte, fields []event.Field) []byte {
	if len(fields) <= few {
		return appendFew(dst, fields)
	}
	return appendMany(dst, fields)
}

// AppendTime appends ns since the Unix epoch as a JSON string. It is the method of Neri and Schneider ("Euclidean affine functions
// and their application to calendar algorithms", 2022), because package time took a tenth of an export's time.
func AppendTime(dst []byte, ns int64) []byte {
	const daysTo1970 = 719468 // from March 1 of the year 0, so that nothing is negative: the least ns is in 1677
	seconds, nanos := ns/1e9+daysTo1970*86400, ns%1e9
	if nanos < 0 {
		nanos += 1e9
		seconds--
	}
	days, clock := uint32(uint64(seconds)/86400), uint32(uint64(seconds)%86400)
	n := 4*days + 3
	century := n / 146097
	product := 2939745 * uint64(n%146097|3)
	year := 100*century + uint32(product>>32)
	day := uint32(product) / 2939745 / 4 // of a year that begins in March
	n = 2141*day + 197913
	month := n >> 16
	if day >= 306 {
		month -= 12
		year++
	}
	text := [32]byte([]byte(`"0000-00-00T00:00:00.000000000Z"`))
	put2 := func(at int, x uint32) { text[at], text[at+1] = pairs[2*x], pairs[2*x+1] }
	put2(1, year/100)
	put2(3, year%100)
	put2(6, month)
	put2(9, n&0xffff/2141+1)
	put2(12, clock/3600)
	put2(15, clock/60%60)
	put2(18, clock%60)
	high, low := uint32(nanos)/10000, uint32(nanos)%10000
	text[21] = byte('0' + high/10000)
	put2(22, high/100%100)
	put2(24, high%100)
	put2(26, low/100)
	put2(28, low%100)
	return append(dst, text[:]...)
}

// pairs are the numbers of two digits.
const pairs = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849" +
	"5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899"

func appendText(dst []byte, name string, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	return flatjson.AppendString(append(dst, name...), text)
}

// few is how many fields are compared each with each; more are found by a map, or an event of 4 MiB in fields of three
// bytes would take minutes.
const few = 32

func appendFew(dst []byte, fields []event.Field) []byte {
next:
	for i := range fields {
		name := fields[i].Name
		for j := range i {
			if bytes.Equal(fields[j].Name, name) {
				continue next // it stands in the first one's array
			}
		}
		dst = append(flatjson.AppendString(dst, name), ':')
		start := len(dst)
		dst = appendValue(dst, &fields[i])
		repeated := false
		for j := i + 1; j < len(fields); j++ {
			if bytes.Equal(fields[j].Name, name) {
				if !repeated {
					repeated = true
					dst = append(dst, 0)
					copy(dst[start+1:], dst[start:])
					dst[start] = '['
				}
				dst = appendValue(append(dst, ','), &fields[j])
			}
		}
		if repeated {
			dst = append(dst, ']')
		}
		dst = append(dst, ',')
	}
	return dst
}

func appendMany(dst []byte, fields []event.Field) []byte {
	type place struct{ first, last int }
	places := make(map[string]place, len(fields))
	next := make([]int, len(fields)) // the next field of the same name; 0 for none
	for i := range fields {
		p, seen := places[string(fields[i].Name)]
		if seen {
			next[p.last] = i
		} else {
			p.first = i
		}
		p.last = i
		places[string(fields[i].Name)] = p
	}
	for i := range fields {
		if places[string(fields[i].Name)].first != i {
			continue
		}
		dst = append(flatjson.AppendString(dst, fields[i].Name), ':')
		if next[i] == 0 {
			dst = append(appendValue(dst, &fields[i]), ',')
			continue
		}
		dst = appendValue(append(dst, '['), &fields[i])
		for j := next[i]; j != 0; j = next[j] {
			dst = appendValue(append(dst, ','), &fields[j])
		}
		dst = append(dst, ']', ',')
	}
	return dst
}

// maxDepth is how deep a value may be nested: readers have limits (jq 256, Python 1,000), and one of them must not lose a
// whole answer to one event. What is deeper becomes a string.
const maxDepth = 128

// depth is how deep valid JSON is nested.
func depth(text []byte) int {
	now, most := 0, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '[', '{':
			now++
			most = max(most, now)
		case ']', '}':
			now--
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		}
	}
	return most
}

// appendValue trusts no kind: the value is written raw only when it is what the kind says.
func appendValue(dst []byte, f *event.Field) []byte {
	if flatjson.IsScalar(f) {
		return append(dst, f.Value...)
	}
	if f.Kind == event.JSON {
		start := len(dst)
		if dst = flatjson.AppendJSON(dst, f.Value); json.Valid(dst[start:]) && depth(dst[start:]) <= maxDepth {
			return dst
		}
		dst = dst[:start]
	}
	return flatjson.AppendString(dst, f.Value)
}
