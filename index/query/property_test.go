package query

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/rarebytes"
	"pgregory.net/rapid"
)

// Pieces of values: what folds in odd ways, what is nearly UTF-8, what compares, what ends tokens.
var pieces = []string{
	"error", "Error", "timeout", "k", "K", "s", "S", kelvin, longS, "ask", "ß", "ẞ", "é", "É", "ı", "İ", "σ", "ς", "Σ", "ǅ", "日本", "🙂",
	"-", ".", ":", " ", "\n", "/", "=", "_", "\xff", "\xe2\x84", "\x80", "\uFFFD", "\"", "'", "`", "\\", "\\d", "(", ")", "|", ",", "*", "?", "~", "!", "<", ">",
	"0", "1", "500", "5e2;", "0500", "500.0", "1.5s", "1500ms", "1h30m", "10MB", "10.1.2.3", "2001:db8::1", "a", "A", "foo bar", "OR", "warn", "level",
	"abcde", "Faced", "deadBEEF", "ab12c", "K9f8e", "12345", "x9f8e7d6c5b4a3928", "X9F8E7D6C5B4A39281", kelvin + "1234", "é12345", "éfaced", " ab12c ", " deadbeef ",
}

var fieldNames = []string{"a", "user.id", "odd field", "duration_ms", "bytes", "k", "é"}

func genText(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 5).Draw(t, label), "")
}

var quantities = []string{"12345", "-12345.5", "12345.00", "0.123456", "5e5", "0500000", "500000", "500", "5e2;", "0500", "-0", "0", "1.50", "1e-2", "1500", "1500ms", "1.5s", "1500000000ns", "1m", "60s", "10MB", "1KiB", "1024", "1024B", "10000000", "-5ms", "1h30m", "90m"}

func genValue(t *rapid.T) string {
	switch rapid.IntRange(0, 3).Draw(t, "value kind") {
	case 0:
		return rapid.SampledFrom(quantities).Draw(t, "quantity")
	case 1:
		return rapid.SampledFrom([]string{"10.1.2.3", "10.255.0.1", "192.168.0.1", "2001:db8::1", "::ffff:10.0.0.1", "error", "WARN", "info", ""}).Draw(t, "word")
	}
	return genText(t, "value")
}

func genEvent(t *rapid.T) event.Event {
	e := event.Event{
		Seq:       rapid.SampledFrom([]uint64{0, 1, 500, 1 << 63}).Draw(t, "seq"),
		Level:     event.Level(rapid.IntRange(0, 8).Draw(t, "level")),
		Service:   []byte(rapid.SampledFrom([]string{"", "web", "Pay", "pay-1", "paſk"}).Draw(t, "service")),
		Env:       []byte(rapid.SampledFrom([]string{"", "prod", "500"}).Draw(t, "env")),
		Host:      []byte(rapid.SampledFrom([]string{"", "db1", "DB1"}).Draw(t, "host")),
		Container: []byte(rapid.SampledFrom([]string{"", "c"}).Draw(t, "container")),
		Stream:    []byte(rapid.SampledFrom([]string{"", "stdout"}).Draw(t, "stream")),
		Message:   []byte(genText(t, "message")),
	}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		e.Fields = append(e.Fields, event.Field{
			Name:  []byte(rapid.SampledFrom(fieldNames).Draw(t, "name")),
			Value: []byte(genValue(t)),
			Kind:  event.Kind(rapid.IntRange(0, 4).Draw(t, "kind")),
		})
	}
	return e
}

// genLiteral is often a part of one of the event's texts, so that queries match.
func genLiteral(t *rapid.T, e *event.Event) string {
	s := genText(t, "literal")
	if rapid.IntRange(0, 3).Draw(t, "from event") > 0 {
		s = rapid.SampledFrom(naiveTexts(e)).Draw(t, "text")
		if rapid.Bool().Draw(t, "cut") {
			rs := []rune(strings.ToValidUTF8(s, ""))
			i := rapid.IntRange(0, len(rs)).Draw(t, "from")
			s = string(rs[i:rapid.IntRange(i, len(rs)).Draw(t, "to")])
		}
		if low, ok := lowerFold(strings.ToValidUTF8(s, "")); ok && rapid.Bool().Draw(t, "lower") {
			s = low
		}
	}
	return strings.ToValidUTF8(s, "")
}

func genRegex(t *rapid.T, e *event.Event) string {
	lit := escapeRegex(genLiteral(t, e))
	return rapid.SampledFrom([]string{
		lit, "(?i)" + lit, `\b` + lit + `\b`, "^" + lit, lit + "$", "(" + lit + ")+", lit + ".*" + escapeRegex(genLiteral(t, e)),
		lit + "|" + escapeRegex(genLiteral(t, e)), "(?:" + lit + "|e.|[a-c]s)x?", "[kK]" + lit, "(?i:" + lit + ")" + "k?", `\Aa*` + lit, "[^a]" + lit, "", "(?i)[k]", `\d+\.`,
		"(?i)" + lit + "|(?-i)Err", lit + "{2,3}", `(?i)\b` + lit + `\b -?`, "(?s-m:^" + lit + ".$)", "(" + lit + "|)" + "s", `\x{FFFD}`, "." + lit, `(?i)foo (bar|ask)\b`,
	}).Draw(t, "regex")
}

// genQuery returns a query's text; it may be wrong.
func genQuery(t *rapid.T, e *event.Event, depth int) string {
	kinds := 12
	if depth == 0 {
		kinds = 8
	}
	sub := func() string { return genQuery(t, e, depth-1) }
	name := func() string {
		if len(e.Fields) > 0 && rapid.Bool().Draw(t, "its own field") {
			return quoted(string(rapid.SampledFrom(e.Fields).Draw(t, "field").Name))
		}
		return rapid.SampledFrom([]string{"service", "env", "host", "container", "stream", "level", "message", "id", "a", "user.id", `"odd field"`, "duration_ms", "bytes", "zzz"}).Draw(t, "name")
	}
	val := func() string {
		switch rapid.IntRange(0, 5).Draw(t, "shape") {
		case 0:
			return "*"
		case 1:
			return rapid.SampledFrom(quantities).Draw(t, "quantity")
		case 2:
			return rapid.SampledFrom([]string{"error", "warn", "4", "5", "10.0.0.0/8", "2001:db8::/32", "1..500", "1s..2h", "1B..10MB", "info..err", "p*", "?", "*r*", "*5*", "web", "PAY", "500", "pa?k"}).Draw(t, "word")
		case 3:
			lit := genLiteral(t, e)
			return "*" + strings.Map(func(r rune) rune {
				if strings.ContainsRune(" \n()|,\"'`", r) {
					return '?'
				}
				return r
			}, lit)
		}
		return quoted(genLiteral(t, e))
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0, 1:
		return Quote(genLiteral(t, e))
	case 2:
		return genLiteral(t, e)
	case 3:
		return QuoteRegex(genRegex(t, e))
	case 4:
		return name() + rapid.SampledFrom([]string{"~", "!~"}).Draw(t, "op") + quoted(genRegex(t, e))
	case 5:
		op := rapid.SampledFrom([]string{"=", "!=", ":"}).Draw(t, "op")
		if len(e.Fields) > 0 && rapid.Bool().Draw(t, "its own value") {
			f := rapid.SampledFrom(e.Fields).Draw(t, "field")
			return quoted(string(f.Name)) + op + quoted(strings.ToValidUTF8(string(f.Value), ""))
		}
		return name() + op + val()
	case 6:
		return name() + rapid.SampledFrom([]string{">", ">=", "<", "<="}).Draw(t, "op") + rapid.SampledFrom(append([]string{"warn", "3"}, quantities...)).Draw(t, "limit")
	case 7:
		return name() + ":(" + val() + rapid.SampledFrom([]string{",", " OR "}).Draw(t, "sep") + val() + ")"
	case 8:
		return sub() + " " + sub()
	case 9:
		return sub() + " OR " + sub()
	case 10:
		return rapid.SampledFrom([]string{"-", "!", "NOT "}).Draw(t, "not") + sub()
	}
	return "(" + sub() + ")"
}

// check holds the query's promises against the naive matcher.
func check(t interface{ Fatalf(string, ...any) }, q *Query, e *event.Event) {
	got := q.Match(e)
	if want := naive(q.root, e); got != want {
		t.Fatalf("%s on %+v %q %q: Match says %v, the naive matcher %v", q, e, e.Message, naiveTexts(e)[1:], got, want)
	}
	again, err := Parse(q.String())
	if err != nil {
		t.Fatalf("the normal form %s does not parse: %v", q, err)
	}
	if again.String() != q.String() {
		t.Fatalf("the normal form %s is no fixed point: %s", q, again)
	}
	if again.Match(e) != got {
		t.Fatalf("the normal form %s matches otherwise: %v", q, !got)
	}
	if !got && q.MatchesAllOf(e.Service) {
		t.Fatalf("%s does not match, but all of service %q should", q, e.Service)
	}
	if !got {
		return
	}
	if !q.MayMatchService(e.Service) {
		t.Fatalf("%s matches, but service %q is ruled out", q, e.Service)
	}
	data := event.AppendEvent(nil, e)
	for _, n := range q.Needles() {
		if n.Index(data) < 0 {
			t.Fatalf("%s matches %q, but the needle %q (fold %v) is not in it", q, data, n.Text, n.Fold)
		}
	}
	keys := eventKeys(e)
	for _, k := range q.FilterKeys() {
		if !slices.Contains(keys, k) {
			t.Fatalf("%s matches %q, but the filter key %x is not the event's", q, data, k)
		}
	}
}

// eventKeys are the keys that a block's writer adds for an event.
func eventKeys(e *event.Event) []uint64 {
	keys := AppendTokenKeys(nil, e.Message)
	add := func(name string, value []byte) {
		if k, ok := FieldKey([]byte(name), value); ok {
			keys = append(keys, k)
		}
	}
	for _, f := range e.Fields {
		keys = AppendTokenKeys(keys, f.Value)
		add(string(f.Name), f.Value)
	}
	add("env", e.Env)
	add("host", e.Host)
	add("container", e.Container)
	add("stream", e.Stream)
	return keys
}

// TestMatchLikeNaive: random queries on random events are decided as the naive matcher does, and what prunes is sound.
func TestMatchLikeNaive(t *testing.T) {
	var parsed, matched, needles, keys int
	rapid.Check(t, func(t *rapid.T) {
		e := genEvent(t)
		other := genEvent(t)
		for range 8 {
			q, err := Parse(genQuery(t, &e, 2))
			if err != nil {
				continue
			}
			parsed++
			for _, e := range []*event.Event{&e, &other} {
				check(t, q, e)
				if q.Match(e) {
					matched++
					needles += len(q.Needles())
					keys += len(q.FilterKeys())
				}
			}
		}
	})
	// The property says nothing when nothing is tried.
	if parsed < 300 || matched < 100 || needles < 30 || keys == 0 {
		t.Fatalf("too little was tried: %d queries, %d matches with %d needles and %d keys", parsed, matched, needles, keys)
	}
}

// TestQuoteIsLiteral: a quoted text is found as it is, whatever it holds.
func TestQuoteIsLiteral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := strings.ToValidUTF8(genText(t, "text"), "")
		q, err := Parse(Quote(s))
		if err != nil {
			t.Fatalf("Quote(%q) = %s: %v", s, Quote(s), err)
		}
		if n, ok := q.root.(*textNode); s != "" && (!ok || n.lit != s) {
			t.Fatalf("Quote(%q) = %s is %#v", s, Quote(s), q.root)
		}
		q, err = Parse("-" + Quote(s) + " x")
		if err != nil || q.Match(&event.Event{Message: []byte(s + "x")}) {
			t.Fatalf("-%s: %v", Quote(s), err)
		}
	})
}

// TestNeedleIndex: the search for a needle is bytes.Index, for a folded one over lower-case ASCII.
func TestNeedleIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		alphabet := rapid.SampledFrom([]string{"ab", "aAbB", "aAeE0", "aq zé\xff"}).Draw(t, "alphabet")
		gen := rapid.Custom(func(t *rapid.T) byte { return alphabet[rapid.IntRange(0, len(alphabet)-1).Draw(t, "i")] })
		data := rapid.SliceOfN(gen, 0, 600).Draw(t, "data")
		text := rapid.SliceOfN(gen, 1, 100).Draw(t, "text")
		if len(data) > len(text) && rapid.Bool().Draw(t, "inside") {
			i := rapid.IntRange(0, len(data)-len(text)).Draw(t, "at")
			text = bytes.Clone(data[i : i+len(text)])
		}
		n := Needle{Text: text, Fold: rapid.Bool().Draw(t, "fold")}
		if n.rare = marks(text, n.Fold, 0); rapid.Bool().Draw(t, "any places") {
			n.rare = rarebytes.New(text, n.Fold, [3]int{0, len(text) / 2, len(text) - 1})
		}
		want := bytes.Index(data, text)
		if n.Fold {
			want = bytes.Index(lowered(data), lowered(text))
		}
		if got := n.Index(data); got != want {
			t.Fatalf("%q in %q, fold %t: %d, want %d", text, data, n.Fold, got, want)
		}
	})
}

func lowered(p []byte) []byte {
	out := bytes.Clone(p)
	for i, c := range out {
		if c >= 'A' && c <= 'Z' {
			out[i] = c + 32
		}
	}
	return out
}

var fuzzEvents = func() []event.Event {
	f := func(name, value string, kind event.Kind) event.Field {
		return event.Field{Name: []byte(name), Value: []byte(value), Kind: kind}
	}
	return []event.Event{
		{},
		{Seq: 1, Level: event.Error, Service: []byte("web"), Host: []byte("db1"), Message: []byte("connection refused: timeout Kas" + kelvin + longS)},
		{Seq: 2, Level: event.Warning, Service: []byte("pay"), Message: []byte("a b\nC d\xff"),
			Fields: []event.Field{f("status", "500", event.Number), f("status", "x", event.String), f("a", "", event.String), f("duration_ms", "1500", event.Number), f("user.id", "10.1.2.3", event.String)}},
	}
}()

// FuzzParse: Parse never panics, its errors point into the text, and what parses keeps the promises.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "*", "timeout", `"connection refused" -healthz`, "service:pay* level>=warning", "status:500..599 duration>1.5s", `path~"^/api/v[12]/" NOT user.id:*`,
		`(level>=error OR ~"panic|fatal") -service:(canary, loadtest)`, "ip:10.0.0.0/8 bytes>10MB", "a:(b, c OR 'd e')", "f:[* TO 5]", "f:[a* AND TO x]", `f:~"a* b"`, "!!x", "((a))",
		"NOT(a)OR(b)", "--x -", "a->b a=>b", "id:1", "time>5", "level<=4", `"a"://x*`, `"\"'` + "`" + `\\"`, "a!=b a!~b", "timeo* * -*", "f:", "f:()", "x >= 5", "\xff", "a\u00a0b", "~'(?i)k[sS]\\b'", "message:a*b?c", "f:<* g:>x*",
		"a\u0000b", `f=(a`, "f:-1..5", "level:debug..0", "f:(a,,b)", "f:(1..5, 10.0.0.0/8, *)", "|", "f:|", "f~|", "f~(", "~(", "()", "(", ")", "\"", "f:\"", "f:(\"", "f:(a", "f:(a b)", "f:(NOT a)",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			e := err.(*Error)
			if e.Pos < 0 || e.End < e.Pos || e.End > len(text) || e.Text != text || e.Message == "" || e.Mend == "" {
				t.Fatalf("%q: bad error %#v", text, e)
			}
			if c := e.Caret(); strings.Count(c, "\n") != 1 || strings.Count(c, "^") == 0 {
				t.Fatalf("%q: bad carets\n%s", text, c)
			}
			if strings.ContainsAny(e.Error(), "\n\r\x1b") {
				t.Fatalf("%q: the error is not one plain line: %q", text, e.Error())
			}
			return
		}
		for i := range fuzzEvents {
			check(t, q, &fuzzEvents[i])
		}
		for _, h := range q.Hints() {
			if h.Pos < 0 || h.End <= h.Pos || h.End > len(text) {
				t.Fatalf("%q: bad hint %#v", text, h)
			}
		}
		q.NotFound("a")
		for _, o := range []GrepOptions{{IgnoreCase: true}, {CaseSensitive: true, Invert: true}, {Word: true}, {LineExact: true, Level: "warn", Services: []string{"a*", "b c*"}}} {
			o.Patterns = []string{text}
			s, err := FromGrep(o)
			if err != nil {
				continue // a limit, passed by what the flags add
			}
			if again, err := Parse(s); err != nil || again.String() != s {
				t.Fatalf("FromGrep(%+v) = %s: %v", o, s, err)
			}
		}
	})
}

// TestTokenKeysAreSound asks for ids as phrases and as whole words, in other cases than they stand in the text: what
// matches has the keys.
func TestTokenKeysAreSound(t *testing.T) {
	tokens := []string{"deadbeef", "Faced", "user4711", "4711é", "éfaced", "K9f8e", kelvin + "1234", "x9f8e7d6c5b4a39281", "0123456789ABCDEF", "word", "a1"}
	swap := []func(string) string{strings.ToLower, strings.ToUpper, func(s string) string { return strings.ReplaceAll(s, "k", kelvin) }, func(s string) string { return s }}
	keys, matched := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.SampledFrom(tokens), 3, 6).Draw(t, "tokens")
		between := rapid.SampledFrom([]string{" ", ",", "-", "é ", "_ "}).Draw(t, "between")
		e := event.Event{Message: []byte(strings.Join(list, between))}
		i := rapid.IntRange(1, len(list)-2).Draw(t, "i")
		change := rapid.SampledFrom(swap).Draw(t, "case")
		for _, text := range []string{
			Quote(change(strings.Join(list[i-1:i+2], between))), `~"(?i)\b` + change(list[i]) + `\b"`, `~"\b` + list[i] + `\b"`,
			`message:` + Quote(change(string(e.Message))),
		} {
			q, err := Parse(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			check(t, q, &e)
			if q.Match(&e) {
				matched++
				keys += len(q.FilterKeys())
			}
		}
	})
	if matched < 100 || keys < 50 {
		t.Fatalf("too little was tried: %d matches with %d keys", matched, keys)
	}
}
