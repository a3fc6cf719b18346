// Package querytest draws queries and events for tests: texts of the whole language, and events with everything that is
// awkward to store and to match. The same generator of random numbers gives the same ones.
package querytest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

const (
	kelvin = "\u212a" // folds to k
	longS  = "\u017f" // folds to s
)

// Pieces of values: what folds in odd ways, what is nearly UTF-8, what compares, what ends tokens.
var pieces = strings.Split("error\tError\ttimeout\tk\tK\ts\tS\t"+kelvin+"\t"+longS+"\task\tß\tẞ\té\tÉ\tı\tİ\tσ\tς\tΣ\tǅ\t日本\t🙂\t"+
	"-\t.\t:\t \t\n\t/\t=\t_\t\xff\t\xe2\x84\t\x80\t\uFFFD\t\"\t'\t`\t\\\t\\d\t(\t)\t|\t,\t*\t?\t~\t!\t<\t>\t\x00\t\x00\x00\t"+
	"0\t1\t500\t5e2;\t0500\t500.0\t1.5s\t1500ms\t1h30m\t10MB\t10.1.2.3\t2001:db8::1\ta\tA\tfoo bar\tOR\twarn\tlevel\t"+
	"abcde\tFaced\tdeadBEEF\tab12c\tK9f8e\t12345\tx9f8e7d6c5b4a3928\tX9F8E7D6C5B4A39281\t"+kelvin+"1234\té12345\téfaced\t ab12c \t deadbeef ", "\t")

// Numbers as JSON may write them, and what looks like one.
var numbers = strings.Fields("0 -0 00 1 -1 7 42 404 500 500.0 0500 1.50 1.5 -1.50 0.1 .5 5. 1e3 1E3 1e-2 1e400 -1e400 12345 123456 " +
	"9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616 " +
	"1234567890123456789 12345678901234567890 99999999999999999999 0.000000000000000001 3.141592653589793238462643 1000000000000000000000 100 1000")

var quantities = strings.Fields("500 5e2; 0500 -0 0 1.50 1e-2 1500 1500ms 1.5s 1500000000ns 1m 60s 10MB 1KiB 1024 1024B 10000000 -5ms 1h30m 90m")

var fieldNames = []string{"status", "a", "user.id", "odd field", "duration_ms", "bytes", "k", "é", "request_id", "", "message_", "x\xff", "\x00"}

// Templates of lines, with marks for what varies: %d a number, %x hexadecimal digits, %u a long id, %w a word, %i an address,
// %f a decimal.
var templates = []string{
	"user %d logged in from %i after %dms", "connection refused: %i:%d (attempt %d)", "GET /api/v1/items/%d?page=%d 200 %fms", "request_id=%x took %fs",
	"error: timeout after %d ms while reading %w", "Error: K%d not found in cache %x", "order %u of user %u: %w", `{"msg":"%w","id":%d,"ok":true}`,
	"%x-%x-%x", "%d", "%w %w %w", "%w=%d", "deadbeef %x faced %d", "0%d.%d", "é%d ü%x " + kelvin + "%d", "tab\there %d\nsecond line %x", "%f%%", "%d%d %u%x", "[%w] %w: %w %d", "a%db%dc%d",
}

// Corpus draws events.
type Corpus struct {
	rng   *rand.Rand
	lines []string // templates in use
	start int64
	step  int64
}

// NewCorpus returns a corpus with habits of its own: which lines, how far apart.
func NewCorpus(rng *rand.Rand) *Corpus {
	c := &Corpus{rng: rng, start: rng.Int64N(4e18) - 2e18, step: int64(math.Pow(10, float64(rng.IntN(11))))}
	if rng.IntN(3) == 0 {
		c.start = 1_700_000_000e9
	}
	for range 1 + rng.IntN(len(templates)) {
		c.lines = append(c.lines, templates[rng.IntN(len(templates))])
	}
	return c
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// Text draws some pieces in a row.
func Text(rng *rand.Rand) string {
	var b strings.Builder
	for range rng.IntN(6) {
		b.WriteString(pick(rng, pieces))
	}
	return b.String()
}

func (c *Corpus) line() string {
	rng := c.rng
	switch rng.IntN(40) {
	case 0:
		return Text(rng)
	case 1:
		return strings.Repeat(pick(rng, pieces), 1+rng.IntN(2000))
	case 2:
		return ""
	}
	var b strings.Builder
	t := pick(rng, c.lines)
	for i := 0; i < len(t); i++ {
		if t[i] != '%' || i+1 == len(t) {
			b.WriteByte(t[i])
			continue
		}
		i++
		switch t[i] {
		case 'd':
			switch rng.IntN(4) {
			case 0:
				fmt.Fprintf(&b, "%d", rng.IntN(5))
			case 1:
				fmt.Fprintf(&b, "%0*d", rng.IntN(6), rng.IntN(1000))
			default:
				fmt.Fprintf(&b, "%d", rng.IntN(100000))
			}
		case 'x':
			fmt.Fprintf(&b, pick(rng, []string{"%x", "%08x", "%X", "%016x"}), rng.Uint64()>>(rng.IntN(8)*8))
		case 'u':
			fmt.Fprintf(&b, "%d", 1_000_000_000_000_000_000+rng.Uint64N(9_000_000_000_000_000_000)*uint64(1+rng.IntN(2)))
		case 'w':
			b.WriteString(pick(rng, pieces))
		case 'i':
			fmt.Fprintf(&b, "10.%d.%d.%d", rng.IntN(3), rng.IntN(256), rng.IntN(256))
		case 'f':
			fmt.Fprintf(&b, "%.*f", rng.IntN(4), rng.Float64()*1000)
		default:
			b.WriteByte(t[i])
		}
	}
	return b.String()
}

func (c *Corpus) value() (string, event.Kind) {
	rng := c.rng
	switch rng.IntN(8) {
	case 0:
		return fmt.Sprint(rng.IntN(600)), event.Number
	case 1:
		return pick(rng, numbers), event.Number
	case 2:
		return fmt.Sprintf("%.*f", rng.IntN(4), rng.Float64()*2000-500), event.Number
	case 3:
		return pick(rng, []string{"true", "false", "null", "{}", "[]", `{"a":[1,2,{"b":"` + kelvin + `"}]}`}), event.Kind(2 + rng.IntN(3))
	case 4:
		return pick(rng, quantities), event.Kind(rng.IntN(2))
	case 5:
		return pick(rng, []string{"10.1.2.3", "10.255.0.1", "192.168.0.1", "2001:db8::1", "::ffff:10.0.0.1", "error", "WARN", "info", "", "200", "500"}), event.String
	case 6:
		return c.line(), event.String
	}
	return Text(rng), event.Kind(rng.IntN(5))
}

// Event draws an event into a batch.
func (c *Corpus) Event(b *event.Batch) *event.Event {
	rng := c.rng
	e := b.Add()
	text := func(list ...string) []byte { return b.CopyString(pick(rng, list)) }
	e.Time = c.start + int64(rng.IntN(300))*c.step
	switch rng.IntN(200) {
	case 0: // a stray, hours off
		e.Time += int64(rng.IntN(10)-5) * 3600e9
	case 1:
		e.Time = pick(rng, []int64{-1, 0, 1, math.MinInt64, math.MaxInt64 - 1, -1e18})
	}
	e.Level = event.Level(rng.IntN(9))
	e.Service, e.Host = text("pay", "pay", "pay", "web", "Pay-1", "", "pa"+longS+"k"), text("db1", "DB1", "")
	e.Env, e.Container, e.Stream = text("", "prod", "500"), text("", "c1", "c2"), text("", "stdout", "stderr")
	e.Message = b.CopyString(c.line())
	n := rng.IntN(4)
	switch rng.IntN(300) {
	case 0:
		n = 60
	case 1:
		long := strings.Repeat(c.line()+" ", 1+rng.IntN(2000))
		e.Message = append(e.Message, long[:min(len(long), pick(rng, []int{1 << 10, 40 << 10, 200 << 10, event.MaxMessage - 50<<10}))]...)
	}
	for range n {
		v, kind := c.value()
		name := pick(rng, fieldNames[:1+rng.IntN(len(fieldNames))])
		if n > 20 {
			name = fmt.Sprint("f", rng.IntN(80))
		}
		b.AddField(e, event.Field{Name: b.CopyString(name), Value: b.CopyString(v), Kind: kind})
	}
	return e
}

// literal is often a part of one of the event's texts, so that queries match.
func literal(rng *rand.Rand, e *event.Event) string {
	s := Text(rng)
	if rng.IntN(4) > 0 {
		s = string(e.Message)
		if len(e.Fields) > 0 && rng.IntN(3) == 0 {
			s = string(pick(rng, e.Fields).Value)
		}
		if rs := []rune(strings.ToValidUTF8(s, "")); rng.IntN(4) > 0 && len(rs) > 0 {
			i := rng.IntN(len(rs))
			n := 1 + rng.IntN(min(len(rs)-i, 12))
			if rng.IntN(4) == 0 {
				n = 1 + rng.IntN(len(rs)-i)
			}
			s = string(rs[i : i+n])
			if rng.IntN(3) == 0 { // whole tokens
				if words := strings.Fields(string(rs)); len(words) > 0 {
					i := rng.IntN(len(words))
					s = strings.Join(words[i:i+1+rng.IntN(min(len(words)-i, 3))], " ")
				}
			}
		}
		switch rng.IntN(6) {
		case 0:
			s = strings.ToLower(s)
		case 1:
			s = strings.ToUpper(s)
		case 2:
			s = strings.Map(func(r rune) rune {
				switch r {
				case 'k':
					return 'K'
				case 's':
					return 'ſ'
				}
				return r
			}, s)
		}
	}
	if len(s) > 400 {
		s = s[:400]
	}
	return strings.ToValidUTF8(s, "")
}

func regex(rng *rand.Rand, e *event.Event) string {
	lit, other := regexp.QuoteMeta(literal(rng, e)), regexp.QuoteMeta(literal(rng, e))
	return pick(rng, []string{
		lit, "(?i)" + lit, `\b` + lit + `\b`, "^" + lit, lit + "$", "^" + lit + "$", "(" + lit + ")+", lit + ".*" + other, lit + "|" + other,
		"(?:" + lit + "|e.|[a-c]s)x?", "[kK]" + lit, "(?i:" + lit + ")" + "k?", `\Aa*` + lit, "[^a]" + lit, "", "(?i)[k]", `\d+\.`, `\d{3,}`, `[0-9a-f]{8}`, `\w+@\w+`, `\d+ ms`, `(\d+\.){3}\d+`,
		"(?i)" + lit + "|(?-i)Err", lit + "{2,3}", `(?i)\b` + lit + `\b -?`, "(?s-m:^" + lit + ".$)", "(" + lit + "|)" + "s", `\x{FFFD}`, "." + lit, `(?i)foo (bar|ask)\b`,
		`\d\d\d\d\d`, lit + `\d`, `\d` + lit, `[a-z]+ ` + lit, lit + `\w*`, `\D` + lit + `\S`, `[[:^alpha:]]` + lit, `x*`, `^$`, `\x00`,
	})
}

func quote(s string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `"`, `\"`) + `"`
}

// Query draws a query's text, which may be wrong in rare cases. It often matches the event and some like it.
func Query(rng *rand.Rand, e *event.Event) string { return tree(rng, e, rng.IntN(4)) }

func tree(rng *rand.Rand, e *event.Event, depth int) string {
	kinds := 13
	if depth == 0 {
		kinds = 9
	}
	var field *event.Field
	name := func() string {
		if len(e.Fields) > 0 && rng.IntN(2) == 0 {
			field = &e.Fields[rng.IntN(len(e.Fields))]
			if utf8.Valid(field.Name) {
				return quote(string(field.Name))
			}
		}
		field = nil
		return pick(rng, []string{"service", "env", "host", "container", "stream", "level", "message", "id", "a", "status", "user.id", `"odd field"`, "duration_ms", "bytes", "zzz"})
	}
	val := func() string {
		if field != nil && rng.IntN(2) == 0 && utf8.Valid(field.Value) && len(field.Value) < 1000 {
			return quote(string(field.Value))
		}
		switch rng.IntN(7) {
		case 0:
			return "*"
		case 1:
			return pick(rng, quantities)
		case 2:
			return pick(rng, []string{"error", "warn", "4", "5", "10.0.0.0/8", "2001:db8::/32", "1..500", "100..200", "-1..1", "1s..2h", "1B..10MB", "info..err", "p*", "?", "*r*", "*5*", "web", "PAY", "500", "pa?k", "db1", "prod", "c1", "stdout"})
		case 3:
			return "*" + strings.Map(func(r rune) rune {
				if strings.ContainsRune(" \n()|,\"'`\x00", r) {
					return '?'
				}
				return r
			}, literal(rng, e)) + pick(rng, []string{"", "*", "?"})
		case 4:
			return pick(rng, numbers)
		}
		return quote(literal(rng, e))
	}
	switch rng.IntN(kinds) {
	case 0, 1:
		return query.Quote(literal(rng, e))
	case 2:
		return literal(rng, e)
	case 3:
		return query.QuoteRegex(regex(rng, e))
	case 4:
		return name() + pick(rng, []string{"~", "!~"}) + quote(regex(rng, e))
	case 5:
		return name() + pick(rng, []string{"=", "!=", ":"}) + val()
	case 6:
		return name() + pick(rng, []string{">", ">=", "<", "<="}) + pick(rng, append(append([]string{"warn", "3"}, quantities...), numbers...))
	case 7:
		return name() + ":(" + val() + pick(rng, []string{",", " OR "}) + val() + ")"
	case 8:
		return pick(rng, []string{"*", "service:pay", "service:p*", "-service:pay", "level>=warning", "level<=4", "level:*", "NOT level:*", "status:500..599", "status:*", "-status:*", "host:db1", "id:" + fmt.Sprint(1+rng.IntN(3000)), "id:*"})
	case 9:
		return tree(rng, e, depth-1) + " " + tree(rng, e, depth-1)
	case 10:
		return tree(rng, e, depth-1) + " OR " + tree(rng, e, depth-1)
	case 11:
		return pick(rng, []string{"-", "!", "NOT "}) + tree(rng, e, depth-1)
	}
	return "(" + tree(rng, e, depth-1) + ")"
}
