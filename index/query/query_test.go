package query

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/rarebytes"
)

func mustParse(t testing.TB, text string) *Query {
	t.Helper()
	q, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

// TestLimits: what is too large is refused, and what is just small enough is not.
func TestLimits(t *testing.T) {
	rep := strings.Repeat
	for _, c := range []struct {
		name, text string
		ok         bool
	}{
		{"text", rep("a", MaxText), true},
		{"text + 1", rep("a", MaxText+1), false},
		{"normal form too long", rep("{", MaxText), false},
		{"normal form just fits", rep("{", MaxText-2), true},
		{"depth", rep("(", MaxDepth) + "a" + rep(")", MaxDepth), true},
		{"depth + 1", rep("(", MaxDepth+1) + "a" + rep(")", MaxDepth+1), false},
		{"depth of NOT", rep("NOT ", MaxDepth) + "a", true},
		{"depth of NOT + 1", rep("NOT ", MaxDepth+1) + "a", false},
		{"depth of signs and parentheses", rep("-(", MaxDepth/2+1) + "a" + rep(")", MaxDepth/2+1), false},
		{"depth is of nesting only", rep("(a) ", MaxDepth+1), true},
		{"signs beside each other", rep("-a ", MaxDepth+1), true},
		{"terms", rep("a ", MaxTerms), true},
		{"terms + 1", rep("a ", MaxTerms+1), false},
		{"terms of a list", "f:(" + rep("a,", MaxTerms-1) + "a)", true},
		{"terms of a list + 1", "f:(" + rep("a,", MaxTerms) + "a)", false},
		{"parentheses without end", rep("(", MaxText), false},
		{"glob", "f:" + rep("a", MaxGlob-1) + "*", true},
		{"glob + 1", "f:" + rep("a", MaxGlob) + "*", false},
		{"regex of many bytes", "~'" + rep("a", MaxRegex) + "'", true},
		{"regex of many bytes + 1", "~'" + rep("a", MaxRegex+1) + "'", false},
		{"regex nested", "~'" + rep("(", 100000) + "'", false},
		{"regex nested and closed", "~'" + rep("(", 2000) + "a" + rep(")", 2000) + "'", false},
		{"regex repeat", "~'x{1000}'", true},
		{"regex repeat of repeat", "~'(x{1000}){1000}'", false},
		{"regex repeats in a row", "~'" + rep("x{1000}", 12) + "'", false},
		{"regex repeats in many terms", rep("~'x{1000}' ", 12), false},
		{"regex of classes", `~'` + rep(`\pL`, 100) + `'`, true},
		{"regex of more classes", `~'` + rep(`\pL`, 300) + `'`, false},
		{"regex of wide ranges without case", `~'(?i)` + rep(`[a-𐿿]`, 100) + `'`, false},
		{"regex of wide ranges with case", `~'` + rep(`[a-𐿿]`, 100) + `'`, true},
		{"regex of optional parts", "~'" + rep("(a?)", 2000) + "'", false},
		{"regex of words", "~'" + rep("error|", 1000) + "x'", true},
	} {
		q, err := Parse(c.text)
		if c.ok != (err == nil) {
			t.Errorf("%s: %.200v", c.name, err)
			continue
		}
		if c.ok {
			if again := mustParse(t, q.String()); again.String() != q.String() {
				t.Errorf("%s: the normal form is no fixed point", c.name)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeLimit && !strings.HasPrefix(c.name, "glob") {
			t.Errorf("%s: not a limit: %.200v", c.name, err)
		}
		if n := len(e.Caret()); n > 1000 {
			t.Errorf("%s: carets of %d bytes", c.name, n)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct{ text, line, caret string }{
		{"a (", `query: this "(" is not closed (column 3); put a ")" behind what belongs together; for the character quote it: "(", or use -F`, "a (\n  ^"},
		{"é\n\tb |\nc", `query: "|" is reserved (column 6); for either of two write OR; for the character quote it: "|", or use -F`, " b |\n   ^"},
		{"日本語 |", `query: "|" is reserved (column 5); for either of two write OR; for the character quote it: "|", or use -F`, "日本語 |\n       ^"},
		{"e\u0301 |", `query: "|" is reserved (column 4); for either of two write OR; for the character quote it: "|", or use -F`, "e\u0301 |\n  ^"},
		{"a\x1b[31m foo(\x1bb)", `query: a "(" inside a word (column 11); quote it: "foo( b)", or use -F`, "a?[31m foo(?b)\n          ^"},
		{strings.Repeat("a ", 100) + "| " + strings.Repeat("b ", 100), "", "…" + strings.Repeat("a ", 30) + "| " + strings.Repeat("b ", 29) + "b…\n" + strings.Repeat(" ", 61) + "^"},
		{"level:" + strings.Repeat("x", 100), "", "level:" + strings.Repeat("x", 60) + "…\n      " + strings.Repeat("^", 60)},
		{"a\xffb", "query: the query is not UTF-8 (column 2); search for the text beside these bytes", "a\uFFFDb\n ^"},
		{strings.Repeat("a", MaxText+1), "query: the query has 65537 bytes, the most is 65536 (column 1); search for fewer things at once", strings.Repeat("a", 60) + "…\n^"},
		{"f:\"a", `query: this quote is not closed (column 3); put " behind the text; for the character quote it: '"', or use -F`, "f:\"a\n  ^"},
	} {
		_, err := Parse(c.text)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: no error", c.text)
			continue
		}
		if c.line != "" && e.Error() != c.line {
			t.Errorf("%q: %s\nwant %s", c.text, e, c.line)
		}
		if e.Caret() != c.caret {
			t.Errorf("%q:\n%s\nwant\n%s", c.text, e.Caret(), c.caret)
		}
	}
	e := &Error{Message: "m", Text: "ab", Pos: 2, End: 2}
	if got := e.Error() + "\n" + e.Caret(); got != "query: m (column 3)\nab\n  ^" {
		t.Errorf("an error at the end: %s", got)
	}
}

func TestQuoteText(t *testing.T) {
	for _, c := range []struct{ in, quote, regex string }{
		{"", `""`, `~""`},
		{"timeout", "timeout", `~"timeout"`},
		{"größe", "größe", `~"größe"`},
		{"a,b", "a,b", `~"a,b"`},
		{",a", `",a"`, `~",a"`},
		{"-a", `"-a"`, `~"-a"`},
		{"*", `"*"`, `~"*"`},
		{"OR", `"OR"`, `~"OR"`},
		{"a b", `"a b"`, `~"a b"`},
		{"a:b", `"a:b"`, `~"a:b"`},
		{"a\u00a0b", "\"a\u00a0b\"", "~\"a\u00a0b\""},
		{`\d`, `"\d"`, `~"\d"`},
		{`a\`, `'a\'`, `~'a\'`},
		{`\\`, `'\\'`, `~'\\'`},
		{`"`, `'"'`, `~'"'`},
		{`"'`, "`\"'`", "~`\"'`"},
		{"\"'`\\", "\"\\\"'`\\\\\"", "~\"\\\"'`\\\\\""},
	} {
		if got := Quote(c.in); got != c.quote {
			t.Errorf("Quote(%q) = %s, want %s", c.in, got, c.quote)
		}
		if got := QuoteRegex(c.in); got != c.regex {
			t.Errorf("QuoteRegex(%q) = %s, want %s", c.in, got, c.regex)
		}
	}
}

func TestFromGrep(t *testing.T) {
	p := func(s ...string) []string { return s }
	for _, c := range []struct {
		o    GrepOptions
		want string
	}{
		{GrepOptions{}, `*`},
		{GrepOptions{Invert: true}, `-*`},
		{GrepOptions{Patterns: p("")}, `*`},
		{GrepOptions{Patterns: p("timeout -healthz", "status:500")}, `timeout -healthz OR status:500`},
		{GrepOptions{Patterns: p("a OR b"), Level: "warn"}, `(a OR b) level>=warning`},
		{GrepOptions{Patterns: p("a b"), Invert: true, Level: "4", Services: p("web")}, `-(a b) level>=warning service:web`},
		{GrepOptions{Patterns: p("foo(bar)|x"), Fixed: true}, `"foo(bar)|x"`},
		{GrepOptions{Patterns: p("a:b", "OR"), Fixed: true}, `"a:b" OR "OR"`},
		{GrepOptions{Patterns: p(`pay(ments)?\s`), Regex: true}, `~"pay(ments)?\s"`},
		// -i and --case-sensitive
		{GrepOptions{Patterns: p("Foo"), IgnoreCase: true}, `foo`},
		{GrepOptions{Patterns: p("ÉCOLE ẞ"), IgnoreCase: true, Fixed: true}, `"école ß"`},
		{GrepOptions{Patterns: p("İx"), IgnoreCase: true}, `~"(?i)İx"`},
		{GrepOptions{Patterns: p("Foo|Bar"), IgnoreCase: true, Regex: true}, `~"(?i)Foo|Bar"`},
		{GrepOptions{Patterns: p(`f:Foo g=Bar h!=Baz i~Re j:(A, b*) k!~"X" l:5s level:ERROR m:*`), IgnoreCase: true},
			`f:foo g:bar h:* -h:baz i~"(?i)Re" j:(a, b*) k!~"(?i)X" l:5s level:error m:*`},
		{GrepOptions{Patterns: p(`message:Foo message=Bar message!=Baz message:B*z`), IgnoreCase: true},
			`message:foo message~"(?i)\ABar\z" message:* -message~"(?i)\ABaz\z" message:b*z`},
		{GrepOptions{Patterns: p("foo"), CaseSensitive: true}, `~"foo"`},
		{GrepOptions{Patterns: p("a.b 12 Foo"), CaseSensitive: true}, `~"a\.b" 12 Foo`},
		{GrepOptions{Patterns: p(`f:foo g:Foo h:(a, B, c*) i:12 j=x k!=y m~z n:5s o:F* message:a message:b*c`), CaseSensitive: true},
			`f=foo g:Foo (h:B OR h=a OR h~"\Ac.*\z") i:12 j=x k:* -k=y m~"z" n:5s o:F* message~"a" message~"b.*c"`},
		{GrepOptions{Patterns: p("(?-s)foo"), Regex: true, CaseSensitive: true}, `~"(?-s)foo"`},
		// -w and -x
		{GrepOptions{Patterns: p("error"), Word: true}, `~"(?i)\berror\b"`},
		{GrepOptions{Patterns: p("Error 7"), Word: true, Fixed: true}, `~"\bError 7\b"`},
		{GrepOptions{Patterns: p("-7"), Word: true, Fixed: true}, `~"(?:^|[^\pL\pN_])-7(?:[^\pL\pN_]|$)"`},
		{GrepOptions{Patterns: p("été"), Word: true}, `~"(?i)(?:^|[^\pL\pN_])été(?:[^\pL\pN_]|$)"`},
		{GrepOptions{Patterns: p("a|b"), Word: true, Regex: true}, `~"(?:^|[^\pL\pN_])(?:a|b)(?:[^\pL\pN_]|$)"`},
		{GrepOptions{Patterns: p("a.b"), LineExact: true, Fixed: true}, `~"(?i)^a\.b$"`},
		{GrepOptions{Patterns: p("a.b"), LineExact: true, Fixed: true, CaseSensitive: true}, `~"^a\.b$"`},
		{GrepOptions{Patterns: p("A.b"), LineExact: true, Fixed: true, IgnoreCase: true}, `~"(?i)^A\.b$"`},
		{GrepOptions{Patterns: p("a|b"), LineExact: true, Word: true, Regex: true, IgnoreCase: true}, `~"(?i)^(?:a|b)$"`},
		{GrepOptions{Patterns: p("x f:v"), Word: true}, `~"(?i)\bx\b" f:v`},
		// services
		{GrepOptions{Services: p("pay*", "web")}, `service:(pay*, web)`},
		{GrepOptions{Services: p("500", "a b", "x,y", "*")}, `service:("500", "a b", "x,y", *)`},
		{GrepOptions{Services: p("a b*", "C(?", "web")}, `service:web OR service~"(?i)\Aa b.*\z" OR service~"\AC\(.\z"`},
		{GrepOptions{Services: p("1..5", "10.0.0.0/8", ">5", "")}, `service:("1..5", "10.0.0.0/8", ">5", "")`},
	} {
		got, err := FromGrep(c.o)
		if err != nil || got != c.want {
			t.Errorf("%+v:\n%s %v\nwant\n%s", c.o, got, err, c.want)
		}
	}
	for _, c := range []struct {
		o    GrepOptions
		want string
	}{
		{GrepOptions{Fixed: true, Regex: true}, "a pattern is either a literal or a regular expression: give one of -F and -E"},
		{GrepOptions{IgnoreCase: true, CaseSensitive: true}, "give one of -i and --case-sensitive"},
		{GrepOptions{Level: "loud"}, `no level is called "loud"; the levels are emergency, alert, critical, error, warning, notice, info, debug`},
		{GrepOptions{Patterns: p("ok", "a (b")}, `query: this "(" is not closed (column 3); put a ")" behind what belongs together; for the character quote it: "(", or use -F`},
		{GrepOptions{Patterns: p("xx(a"), Regex: true}, `query: not a regular expression: missing closing ) (column 1); for the character write \( or \)`},
		{GrepOptions{Patterns: p("xx(?=a)"), Regex: true}, `query: not a regular expression: invalid or unsupported Perl syntax (column 3); RE2 has no look-around and no back references: use two terms, one with - before it`},
		{GrepOptions{Patterns: p("\"\\'`("), Regex: true}, `query: not a regular expression: missing closing ) (column 1); for the character write \( or \)`},
		{GrepOptions{Patterns: p(strings.Repeat("{", MaxText)), Fixed: true}, "query: the query has 65538 bytes, the most is 65536 (column 1); search for fewer things at once"},
	} {
		if got, err := FromGrep(c.o); err == nil || err.Error() != c.want {
			t.Errorf("%+v: %s, %v\nwant %s", c.o, got, err, c.want)
		}
	}
}

// TestFromGrepMeaning: what the flags compile to selects what grep would.
func TestFromGrepMeaning(t *testing.T) {
	lines := []string{"error", "Error 7", "terror", "an error.", "ERRORS", "7-error-7", "x error_y", "line\nerror\nline", "éerror"}
	for _, c := range []struct {
		name string
		o    GrepOptions
		want string
	}{
		{"plain", GrepOptions{Patterns: []string{"error"}}, "0 1 2 3 4 5 6 7 8"},
		{"upper case", GrepOptions{Patterns: []string{"Error"}}, "1"},
		{"-i", GrepOptions{Patterns: []string{"Error"}, IgnoreCase: true}, "0 1 2 3 4 5 6 7 8"},
		{"--case-sensitive", GrepOptions{Patterns: []string{"error"}, CaseSensitive: true}, "0 2 3 5 6 7 8"},
		{"-w", GrepOptions{Patterns: []string{"error"}, Word: true}, "0 1 3 5 7 8"},
		{"-w -E", GrepOptions{Patterns: []string{"err.r"}, Word: true, Regex: true}, "0 3 5 7"},
		{"-x", GrepOptions{Patterns: []string{"error"}, LineExact: true}, "0 7"},
		{"-v", GrepOptions{Patterns: []string{"error", "Error"}, Invert: true, CaseSensitive: true}, "4"},
	} {
		text, err := FromGrep(c.o)
		if err != nil {
			t.Fatal(err)
		}
		q := mustParse(t, text)
		var got []string
		for i, l := range lines {
			if q.Match(&event.Event{Message: []byte(l)}) {
				got = append(got, fmt.Sprint(i))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s, %s: %s, want %s", c.name, text, s, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	// In order, equal ones in one group.
	groups := [][]string{
		{"-1e400"}, {"-20"}, {"-3", "-3.0", "-0.3e1", "-30e-1"}, {"-0.001"}, {"0", "-0", "0.000", "0e5", "-0.0e-7", "000"},
		{"0.001", "1e-3", "0.10e-2", "100e-5"}, {"0.0010000000000000000001"}, {"0.1"}, {"0.5"}, {"1", "01", "1.0", "1E0", "1e+0", "10e-1", "0.1e1"},
		{"1.5"}, {"20"}, {"499.99999999999999999999"}, {"500", "5e2", "0500", "500.0", "5E+2", "50000e-2", "0.0005e6"},
		{"1234567890123456788"}, {"1234567890123456789", "1234567890.123456789e9"}, {"1e400", "10e399"}, {"1e999999999"},
	}
	parse := func(s string) number {
		n, rest, ok := scanNumber([]byte(s))
		if !ok || len(rest) > 0 {
			t.Fatalf("%q is a number", s)
		}
		return n
	}
	for i, g := range groups {
		for _, a := range g {
			for j, h := range groups {
				for _, b := range h {
					x, y := parse(a), parse(b)
					want := max(min(i-j, 1), -1)
					if got := x.compare(&y); got != want {
						t.Errorf("%s and %s: %d, want %d", a, b, got, want)
					}
					k, kok := FieldKey([]byte("f"), []byte(a))
					l, lok := FieldKey([]byte("f"), []byte(b))
					if want == 0 && (k != l || kok != lok) || want != 0 && kok && k == l {
						t.Errorf("%s and %s: the keys %x %v and %x %v", a, b, k, kok, l, lok)
					}
				}
			}
		}
	}
	for _, s := range []string{"", "-", "+1", ".5", "5.", "1e", "e5", "1e99999999999", "0x10", "1_000", "NaN", "Inf", "1 ", "--1", "1.2.3", "½", "٣"} {
		if q, ok := parseQuantity([]byte(s)); ok {
			t.Errorf("%q is no number: %+v", s, q)
		}
	}
}

func TestQuantities(t *testing.T) {
	for _, c := range []struct {
		text string
		dim  dimension
		base float64
	}{
		{"1ns", duration, 1}, {"1us", duration, 1e3}, {"1µs", duration, 1e3}, {"1μs", duration, 1e3}, {"1ms", duration, 1e6},
		{"1s", duration, 1e9}, {"1m", duration, 6e10}, {"1h", duration, 3.6e12}, {"1d", duration, 8.64e13}, {"1h30m", duration, 5.4e12},
		{"0.3s", duration, 3e8}, {"1.1m", duration, 6.6e10}, {"-1.5ms", duration, -1.5e6}, {"-1h30m", duration, -5.4e12}, {"1e3ms", duration, 1e9},
		{"2d1h1m1s1ms1us1ns", duration, 2*8.64e13 + 3.6e12 + 6e10 + 1e9 + 1e6 + 1e3 + 1}, {"1e-400s", duration, 0}, {"0.1ns", duration, 0.1},
		{"123456789012345678901234567890ns", duration, 123456789012345678901234567890}, {"1.7976931348623157e299s", duration, 1.7976931348623157e308},
		{"1B", size, 1}, {"1kB", size, 1e3}, {"1KB", size, 1e3}, {"1.5MB", size, 1.5e6}, {"1GB", size, 1e9}, {"1TB", size, 1e12},
		{"1KiB", size, 1 << 10}, {"1MiB", size, 1 << 20}, {"1GiB", size, 1 << 30}, {"0.5TiB", size, 1 << 39}, {"0s", duration, 0},
	} {
		q, ok := parseQuantity([]byte(c.text))
		if !ok || q.dim != c.dim || q.base != c.base {
			t.Errorf("%s: %v %v %v, want %v %v", c.text, ok, q.dim, q.base, c.dim, c.base)
		}
	}
	for _, s := range []string{"1x", "1hh", "1h30", "1kb", "1PB", "1MB1kB", "1s1B", "1B1s", "s", "-s", "1 s", "1h-30m", "1sm"} {
		if q, ok := parseQuantity([]byte(s)); ok {
			t.Errorf("%q is no quantity: %+v", s, q)
		}
	}
}

func TestFieldUnit(t *testing.T) {
	for name, want := range map[string]string{
		"duration_ms": "1ms", "x_us": "1us", "http.took_ns": "1ns", "wait_s": "1s", "wait_seconds": "1s", "Wait_MS": "1ms",
		"bytes": "1B", "body_bytes": "1B", "responseBytes": "1B", "ms": "", "seconds": "", "status": "", "items": "", "bytes_in": "",
	} {
		u := fieldUnit(name)
		if want == "" {
			if u.dim != plain {
				t.Errorf("%s has no unit, but %v", name, u)
			}
			continue
		}
		one, _ := parseQuantity([]byte("1"))
		q, _ := parseQuantity([]byte(want))
		if c, ok := one.compare(&q, u); !ok || c != 0 {
			t.Errorf("1 in %s is not %s", name, want)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		query string
		want  bool
	}{
		{"*", false}, {"service", false}, {`"service:x"`, false}, {"service:x", true}, {"-service:x", true}, {"stream=stdout error", true},
		{"a OR (b NOT service!=x)", true}, {"service_:x", false}, {"user:*", false}, {`service~"^x"`, true}, {"SERVICE:x", false},
	} {
		if got := mustParse(t, c.query).Names("service", "stream"); got != c.want {
			t.Errorf("%s: %v", c.query, got)
		}
	}
}

func TestMatchesAllOf(t *testing.T) {
	for _, c := range []struct{ query, all, not string }{
		{"*", "a -", ""},
		{"error", "", "a -"},
		{"service:pay*", "pay", "web -"},
		{"-(service:probe stream:probe)", "web -", "probe"},
		{"service:pay* OR error", "pay", "web"},
		{"service!=web", "a", "web -"},
	} {
		q := mustParse(t, c.query)
		for want, names := range map[bool]string{true: c.all, false: c.not} {
			for _, name := range strings.Fields(names) {
				if name == "-" {
					name = ""
				}
				if got := q.MatchesAllOf([]byte(name)); got != want {
					t.Errorf("%s, service %q: %v", c.query, name, got)
				}
			}
		}
	}
}

func TestMayMatchStream(t *testing.T) {
	for _, c := range []struct{ query, may, not string }{
		{"error service:web", "mark a -", ""},
		{"stream:mark", "mark MARK", "a -"},
		{"stream:(probe, mark) service:web", "mark probe", "a -"},
		{"-stream:(docker, probe)", "mark a -", "docker probe"},
		{"stream:mark OR error", "mark a -", ""},
		{"stream:*", "mark a", "-"},
	} {
		q := mustParse(t, c.query)
		for want, names := range map[bool]string{true: c.may, false: c.not} {
			for _, name := range strings.Fields(names) {
				if name == "-" {
					name = ""
				}
				if got := q.MayMatchStream([]byte(name)); got != want {
					t.Errorf("%s, stream %q: %v", c.query, name, got)
				}
			}
		}
	}
}

func TestMayMatchService(t *testing.T) {
	for _, c := range []struct{ query, may, not string }{
		{"error", "a b", ""},
		{"service:pay*", "pay PAY payments", "web -"},
		{"service:Pay", "Pay", "pay PAY"},
		{"service=web level:error", "web", "Web a"},
		{"-service:web", "a -", "web"},
		{"service!=web", "a", "web -"},
		{"NOT (service:web OR service:api)", "a -", "web api"},
		{"NOT (service:web error)", "web a", ""},
		{"service:web OR error", "web a", ""},
		{"service:web OR service:api", "web api", "a -"},
		{"service:(web, a*)", "web api", "b -"},
		{`service~"^w" service!~"b$"`, "we", "web a -"},
		{"service:*", "a", "-"},
		{"-*", "", "a -"},
		{`-"" service:a`, "", "a"},
		{"service>5", "6", "5 a -"},
	} {
		q := mustParse(t, c.query)
		for want, names := range map[bool]string{true: c.may, false: c.not} {
			for _, name := range strings.Fields(names) {
				if name == "-" {
					name = ""
				}
				if got := q.MayMatchService([]byte(name)); got != want {
					t.Errorf("%s, service %q: %v", c.query, name, got)
				}
			}
		}
	}
}

func TestNeedles(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"*", ""},
		{"timeout", "i:timeout"},
		{"Timeout", "Timeout"},
		{"12:30", "12:30"},
		{"task", "i:ta"},
		{"ks", ""},
		{"skskx", ""},
		{"größer", "i:gr"},
		{`"日本 xk"`, "i:日本 x"},
		{"日本", "日本"},
		{"foo -bar", "i:foo"},
		{"foo OR bar", ""},
		{"foo OR xfoox", "i:foo"},
		{"foo xfoox", "i:xfoox"},
		{"(foo err) OR (bar err)", "i:err"},
		{"NOT foo", ""},
		{"level:error", ""},
		{"id:123456", ""},
		{`id:"123456" level:err*`, ""},
		{"time_ms>5", "time_ms"},
		{"n=500", ""},
		{"status:500", "status"},
		{"user:*", "user"},
		{"-user:*", ""},
		{"user!=bob", "user"},
		{"user=bob", "user\x03bob"},
		{"user:bob", "i:user\x03bob user"},
		{"user:task", "i:ta user"},
		{"duration_ms>5 err", "i:err duration_ms"},
		{`user=""`, "user\x00"},
		{"user:(bob, tom)", "user"},
		{"user:*bo?bobo*", "i:bobo user"},
		{"service:web-1", "i:web-1"},
		{"service=WEB", "WEB"},
		{"host!=db1", ""},
		{"message:refund", "i:refund"},
		{"message=refund", "refund"},
		{`~"foo.*barbar"`, "barbar"},
		{`~"(?i)foo.*barbar"`, "i:BARBAR"},
		{`~"panic|fatal"`, ""},
		{`~"(abc)+d?"`, "abc"},
		{`~"a?bcd"`, "bcd"},
		{`~"[kK]ill"`, "ill"},
		{`~"[xy]ill"`, "ill"},
		{`~"(?i:foobar)|xfoobarx"`, "i:FOOBAR"},
		{`~"xfoobar|Foobarx"`, "oobar"},
		{`~"ab|cd"`, ""},
		{`~"(?i)foo 12|bar 12"`, " 12"},
		{`~"(?i:日本É)|日本"`, "日本"},
		{`~"x*"`, ""},
		{`path~"^/api/v[12]/"`, "/api/v path"},
		{`path~"^/api/v1/"`, "/api/v1/ path"},
		{"a:1 " + strings.Repeat("z", 100), "i:" + strings.Repeat("z", 64)},
	} {
		q, err := Parse(c.query)
		if err != nil {
			if c.want != "" {
				t.Errorf("%s: %v", c.query, err)
			}
			continue
		}
		var got []string
		for _, n := range q.Needles() {
			s := string(n.Text)
			if n.Fold {
				s = "i:" + s
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.query, s, c.want)
		}
	}
}

func TestFilterKeys(t *testing.T) {
	token := func(words string) []uint64 { return AppendTokenKeys(nil, []byte(words)) }
	field := func(name, value string) []uint64 {
		k, ok := FieldKey([]byte(name), []byte(value))
		if !ok {
			t.Errorf("%s=%s has no key", name, value)
		}
		return []uint64{k}
	}
	for _, c := range []struct {
		query string
		want  []uint64
	}{
		{"word", nil},
		{`"two words"`, nil},
		{`"a whole word"`, token("whole")},
		{`" Word, other "`, token("word other")},
		{`" a_b-c "`, token("a_b c")},
		{"a.b.c OR x.b.y", token("b")},
		{"a.b.c OR x.y.z", nil},
		{"-a.b.c", nil},
		{`~"\bword\b"`, token("word")},
		{`~"(?i)\bword\b"`, token("word")},
		{`~"(?i)\bask\b"`, nil},
		{`~"\bask\b"`, token("ask")},
		{`~"(?i) ask "`, token("ask")},
		{`~"^word "`, token("word")},
		{`~"word$"`, nil},
		{`~"^word$"`, token("word")},
		{`~"x*word y"`, nil},
		{`~"x*(word) (y) z"`, nil},
		{`~"x* word y"`, token("word")},
		{`~"\bé\b"`, nil},
		{`~"a|b"`, nil},
		{"f=v", field("f", "v")},
		{"f:V", field("f", "v")},
		{"f=500", nil},
		{"f=500000", field("f", "5e5")},
		{"f=-500000", token("500000")},
		{"f=0500000.0", token("500000")},
		{`f="0500000"`, token("500000")},
		{"f=50000.5", nil},
		{`f~"^50000\.5$"`, token("50000")},
		{`f~"^-50000$"`, token("50000")},
		{`~"\b50000\b"`, token("50000")},
		{"f_ms=50000", nil},
		{"f=deadBEEF", token("deadbeef")},
		{"f:user4711", token("user4711")},
		{"host=ip10x0x0x1", token("ip10x0x0x1")},
		{"f=dead-beef", field("f", "DEAD-beef")},
		{"f=5s", nil},
		{"f_ms=5", nil},
		{"f:(a, b)", nil},
		{"f!=v", nil},
		{"f:a-b-c*", token("a b")},
		{"f:*a-b-c", token("b c")},
		{`f~"^a b"`, token("a")},
		{"host=db1", field("host", "DB1")},
		{`host~"^a b"`, nil},
		{`f!~" a b"`, nil},
		{"host:a-b-c*", nil},
		{"service=web", nil},
		{"level:error id:5", nil},
		{"message=Foo", token("foo")},
		{"message:a.b.c", token("b")},
		{"message:a.b.c*d", token("b")},
	} {
		q := mustParse(t, c.query)
		want := slices.Clone(c.want)
		slices.Sort(want)
		if !slices.Equal(q.FilterKeys(), want) {
			t.Errorf("%s: %x, want %x", c.query, q.FilterKeys(), want)
		}
	}
}

func TestTokenKeys(t *testing.T) {
	key := func(s string) uint64 { return foldHash([]byte(s)) }
	for _, c := range []struct {
		text   string
		tokens []string
	}{
		{"", nil},
		{" ,;", nil},
		{"GET /api/v1_x?q=1 user12 a1b2 12345", []string{"user12", "12345"}},
		{"feed beefed decade_1 FACADE word", []string{"beefed", "decade_1", "facade"}},
		{"Straße77", []string{"e77", "straẞe77"}[1:]},
		{kelvin + "elvin1 la" + longS + "t9", []string{"elvin1", "kelvin1", "last9"}},
		{"日本efaced", []string{"efaced"}},
		{"\xff\xfe\xfd123", []string{"\xff\xfe\xfd123"}},
		{"0123456789abcdefX 0123456789ABCDEFX", []string{"0123456789abcdefx", "0123456789abcdefx"}},
	} {
		var want []uint64
		for _, s := range c.tokens {
			want = append(want, key(s))
		}
		if got := AppendTokenKeys(nil, []byte(c.text)); !slices.Equal(got, want) {
			t.Errorf("%q: not the keys of %q", c.text, c.tokens)
		}
	}
	// A token's key does not depend on how the hash cuts it.
	for n := 100; n < 300; n++ {
		upper, lower := strings.Repeat("É", n), strings.Repeat("é", n)
		if key("x"+upper) != key("X"+lower) || key("x"+upper) == key("x"+upper[:2*n-2]) {
			t.Fatalf("%d letters", n)
		}
	}
}

func TestFieldKey(t *testing.T) {
	token := func(s string) uint64 { return foldHash([]byte(s)) }
	for _, c := range []struct {
		value string
		want  uint64 // 0 for none, 1 for a key of name and value
	}{
		{"", 1}, {"b", 1}, {"Bob Smith", 1}, {"word", 1}, {"longer_word", 1}, {"user-4711", 1}, {"1.2.3.4", 1}, {"500ms", token("500ms")}, {"50ms", 1},
		{"0", 0}, {"-0.0e9", 0}, {"500", 0}, {"9999", 0}, {"10000", token("10000")}, {"1e4", token("10000")}, {"0.000012345e9", token("12345")}, {"1234567e-2", 0}, {"1234500e-2", token("12345")},
		{"12345.5", 0}, {"12345.50", 0}, {"-12345.0", token("12345")}, {"00012345", token("12345")}, {"1234567890123456789", token("1234567890123456789")}, {"12345678901234567890", 0}, {"1e19", 0},
		{"1e999999999", 0}, {"1e-999999999", 0}, {"1e18", token("1000000000000000000")}, {"12345x", token("12345x")}, {"deadBEEF", token("deadbeef")}, {"dead", 1}, {"größe12", token("größe12")},
		{"\xff\xff\xff\xff1", token("\xff\xff\xff\xff1")}, {kelvin + "123", 1}, {kelvin + "1234", token("k1234")}, {longS + longS + "12", 1},
	} {
		k, ok := FieldKey([]byte("f"), []byte(c.value))
		other, _ := FieldKey([]byte("g"), []byte(c.value))
		switch {
		case ok != (c.want != 0), c.want > 1 && (k != c.want || other != k), c.want == 1 && (k == other || k == token(c.value)):
			t.Errorf("%q: %x %v", c.value, k, ok)
		}
	}
	a, _ := FieldKey([]byte("a"), []byte("b"))
	if b, _ := FieldKey([]byte("b"), []byte("a")); a == b {
		t.Error("name and value can be swapped")
	}
}

// TestKeysAreStored: blocks on disk hold these keys; a change needs a new version of the block's format.
func TestKeysAreStored(t *testing.T) {
	var got []string
	keys := AppendTokenKeys(nil, []byte("Error req4711 größe12 facade 0123456789abcdef01 "+kelvin+"12345"))
	for _, value := range []string{"5e5", "Bob", "Req4711"} {
		k, _ := FieldKey([]byte("user"), []byte(value))
		keys = append(keys, k)
	}
	for _, k := range keys {
		got = append(got, fmt.Sprintf("%016x", k))
	}
	want := []string{"f9a2a55c031df454", "9c1a2966ecd44cfa", "1beb657f837eddde", "23acef1a971ab527", "a80813f314f9e5ab", "fdc3c77dd0872bed", "df79d42f76e985ad", "db95defb5a879f7a", "f9a2a55c031df454"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestFoldLong: a search without case takes linear time and finds all, whatever the text repeats.
func TestFoldLong(t *testing.T) {
	long := strings.Repeat("ab", 20000)
	q := mustParse(t, strings.Repeat("ab", 10000)+"aa")
	if q.Match(&event.Event{Message: []byte(long)}) {
		t.Error("found what is not there")
	}
	if !q.Match(&event.Event{Message: []byte(long + "AA" + long)}) {
		t.Error("not found behind much that is alike")
	}
	data := []byte(strings.Repeat("a", 1<<12) + "B")
	n := Needle{Text: []byte(strings.Repeat("A", 1<<11) + "b"), Fold: true}
	n.rare = rarebytes.New(n.Text, true, [3]int{}) // the worst places
	if got, want := n.Index(data), len(data)-len(n.Text); got != want {
		t.Errorf("index %d, want %d", got, want)
	}
}

// TestFoldOrbits: every rune is found by every other of its orbit, and by no other.
func TestFoldOrbits(t *testing.T) {
	for r := rune(0); r <= 0x1FFFF; r++ {
		if r >= 0xD800 && r < 0xE000 {
			continue
		}
		if f := foldRune(r); f != r {
			if !bytes.EqualFold([]byte(string(r)), []byte(string(f))) || foldRune(f) != f || len(string(f)) > len(string(r)) {
				t.Errorf("%U folds to %U", r, f)
			}
		}
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			if foldRune(o) != foldRune(r) {
				t.Errorf("%U and %U fold apart", r, o)
			}
		}
	}
}

// TestMatchAllocs: plain terms cost no memory.
func TestMatchAllocs(t *testing.T) {
	e := benchEvent()
	for _, text := range []string{
		"timeout", "Timeout", "zzzz", "kiss", "größe", `"connection refused"`, "service:pay* level>=warning", "status:500..599 duration_ms>1.5s",
		"status=503", "request_id=4f2a", "user.id:*", "-healthz (a OR refused)", "service:(canary, loadtest)", "path:/api/*/x", `~"refused|panic"`, "message:refused",
	} {
		q := mustParse(t, text)
		if n := testing.AllocsPerRun(100, func() { q.Match(&e) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
	if n := testing.AllocsPerRun(100, func() { FieldKey(e.Fields[0].Name, e.Fields[0].Value) }); n != 0 {
		t.Errorf("FieldKey: %v allocations", n)
	}
}

func benchEvent() event.Event {
	f := func(name, value string, kind event.Kind) event.Field {
		return event.Field{Name: []byte(name), Value: []byte(value), Kind: kind}
	}
	return event.Event{
		Seq: 7, Level: event.Warning, Service: []byte("payments"), Host: []byte("db1"),
		Message: []byte(`2026-11-21 11:22:33.123 WARN [worker-7] c.e.pay.Gateway - POST /api/v1/charge to upstream 10.20.30.40:8443 failed: connection refused (attempt 3 of 5)`),
		Fields: []event.Field{
			f("request_id", "4f2a9c1e77", event.String), f("status", "503", event.Number), f("duration_ms", "1523", event.Number), f("user.id", "u18273", event.String),
		},
	}
}

func BenchmarkMatch(b *testing.B) {
	e := benchEvent()
	size := int64(event.EncodedSize(&e))
	for _, c := range []struct{ name, text string }{
		{"word/hit", "refused"}, {"word/miss", "healthz"}, {"word/case", "Healthz"}, {"word/k", "kitchen"}, {"word/nonASCII", "größe"},
		{"phrase", `"connection refused" -healthz`}, {"field", "status:500..599 duration_ms>1.5s"}, {"field/text", "request_id=4f2a9c1e77"},
		{"service", "service:pay* level>=warning"}, {"regex/literal", `~"failed: \w+ refused"`}, {"regex/alternatives", `~"panic|fatal"`}, {"regex/word", `~"(?i)\berror\b"`},
		{"regex/none", `~"\d+ of \d+\)"`},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := mustParse(b, c.text)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				q.Match(&e)
			}
		})
	}
}

func BenchmarkNeedleIndex(b *testing.B) {
	e := benchEvent()
	var data []byte
	for len(data) < 2<<20 {
		data = event.AppendEvent(data, &e)
	}
	for _, c := range []struct{ name, text string }{
		{"case", "Exception"}, {"fold", "exception"}, {"fold/common", "recorded"}, {"fold/digits", "e0a1o2t3"}, {"nocase", "10.20.30.41"},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := mustParse(b, Quote(c.text)).Needles()[0]
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if n.Index(data) >= 0 {
					b.Fatal("found")
				}
			}
		})
	}
	b.Run("every", func(b *testing.B) { // as the store does it: each event in turn
		n := mustParse(b, "refu").Needles()[0]
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for rest := data; ; {
				i := n.Index(rest)
				if i < 0 {
					break
				}
				rest = rest[i+1:]
			}
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	e := benchEvent()
	b.SetBytes(int64(len(e.Message)))
	b.ReportAllocs()
	var keys []uint64
	for b.Loop() {
		keys = AppendTokenKeys(keys[:0], e.Message)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		mustParse(b, `(level>=error OR ~"panic|fatal") -service:(canary, loadtest) "connection refused" status:500..599`)
	}
}
