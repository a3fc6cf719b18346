package alerting_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/alerting"
	"github.com/lookoutlog/lookout/internal/event"
)

func TestMask(t *testing.T) {
	tests := []struct{ line, want string }{
		{"connection refused", "connection refused"},
		{"order 17 failed", "order # failed"},
		{"order -17 failed after 1.5s", "order # failed after #"},
		{"a=-5 b=+5 c=5", "a=# b=# c=#"},
		{"2026-11-21T11:22:33.123Z up", "# up"},
		{"2026-11-21 11:22:33,123 up", "# # up"},
		{"from 10.0.0.7:5432 to 192.168.1.20:80", "from # to #"},
		{"dial tcp [fe80::1]:80: refused", "dial tcp [#]:#: refused"},
		{"peer fe80::a:b gone", "peer # gone"},
		{"peer fe80::1: refused", "peer #: refused"},
		{"peer ::1 gone", "peer # gone"},
		{"mac aa:bb:cc:dd:ee:ff", "mac #"},
		{"id 3f2504e0-4f89-11d3-9a0c-0305e82c3301.", "id #."},
		{"id abcdefab-cdef-abcd-efab-cdefabcdefab.", "id #."},
		{"commit deadbeef", "commit #"},
		{"facade decade", "facade decade"},
		{"at 0x7fff5fbff8c0", "at #"},
		{"GET /users/17/orders/42?x=9", "GET /users/#/orders/#?x=#"},
		{"req-7ba1f done", "req-# done"},
		{`user "bob smith" not found`, `user "#" not found`},
		{"user 'bob' not found", "user '#' not found"},
		{"can't open, won't try", "can't open, won't try"},
		{`say "a \" b" now`, `say "#" now`},
		{`an open "quote`, `an open "quote`},
		{"tabs\t and   spaces", "tabs and spaces"},
		{"std::bad_cast", "std::bad_cast"},
		{"std::fa1led here", "std::# here"},
		{"issue #5", "issue ##"},
		{"größe 5", "größe #"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := alerting.Mask(tt.line); got != tt.want {
			t.Errorf("mask(%q) = %q, want %q", tt.line, got, tt.want)
		}
	}
}

// Whatever the numbers in a line, it is one kind of line.
func TestMaskHidesNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.SampledFrom([]string{"order", "user=", "/path/", "took", "[", "]", "(", "x", ":", "-"}), 1, 8).Draw(t, "words")
		line := func(name string) string {
			var b strings.Builder
			for _, w := range words {
				b.WriteString(w + " " + rapid.StringMatching(`-?[1-9][0-9]{0,5}(\.[0-9]{1,3})?`).Draw(t, name) + " ")
			}
			return b.String()
		}
		a, b := line("a"), line("b")
		if alerting.Mask(a) != alerting.Mask(b) {
			t.Fatalf("mask(%q) = %q, mask(%q) = %q", a, alerting.Mask(a), b, alerting.Mask(b))
		}
	})
}

func FuzzMask(f *testing.F) {
	f.Add("2026-11-21T11:22:33Z from ::1 'x' \"y\" deadbeef-1")
	f.Add("::::")
	f.Add("'a'b'c' \xff\x00")
	f.Fuzz(func(t *testing.T, line string) {
		m := alerting.Mask(line)
		if len(m) > 2*len(line) {
			t.Errorf("mask(%q) has grown to %q", line, m)
		}
	})
}

func TestFingerprints(t *testing.T) {
	field := func(e event.Event, v string) *event.Event {
		e.Fields = []event.Field{{Name: []byte("fingerprint"), Value: []byte(v)}}
		return &e
	}
	typed := func(e event.Event, v string) *event.Event {
		e.Fields = []event.Field{{Name: []byte("exception.type"), Value: []byte(v)}}
		return &e
	}
	a, b, warning := ev(event.Error, "shop", "order 1 failed\nat line 5"), ev(event.Error, "shop", "order 22 failed\nat line 7"), ev(event.Warning, "shop", "order 1 failed")
	other, stock := ev(event.Error, "pay", "order 1 failed"), ev(event.Error, "shop", "no stock")
	java := ev(event.Error, "shop", "cannot charge order 17 of bob\njava.lang.IllegalStateException: no card\n\tat shop.Pay.charge(Pay.java:31)\n\tat shop.Main.main(Main.java:3)\n")
	java2 := ev(event.Error, "shop", "the cart of ann is lost\njava.lang.IllegalStateException: closed\n\tat shop.Cart.open(Cart.java:8)\nCaused by: java.io.IOException: x\n\tat a.B.c(B.java:1)\n")
	npe := ev(event.Error, "shop", "java.lang.NullPointerException: no card\n\tat shop.Pay.charge(Pay.java:31)\n")
	py := ev(event.Error, "shop", "handling /x\nTraceback (most recent call last):\n  File \"a.py\", line 3, in f\n    d['x']\nKeyError: 'x'\n")
	py2 := ev(event.Error, "shop", "Traceback (most recent call last):\n  File \"b.py\", line 4\nKeyError: 'yy'")
	js := ev(event.Error, "shop", "Unhandled\nTypeError: Cannot read properties of undefined (reading 'x')\n    at f (/app/x.js:1:2)\n    at g (/app/y.js:3:4)\n")
	php := ev(event.Error, "shop", "PHP Fatal error:  Uncaught TypeError: f(): bad in /a.php:3\nStack trace:\n#0 /a.php(9): f()\n")
	// A day of the week and a month are no difference: mask.Pattern has digits alone.
	dated := func(text string) *event.Event { e := ev(event.Error, "shop", text); return &e }
	sunday, monday := dated("[Sun Nov 29 04:47:44 2026] [error] child 3 in state 6"), dated("[Tue Dec 01 05:00:00 2026] [error] child 4 in state 7")
	november, december := dated("Nov 30 06:55:46 web1 sshd[24200]: error: no key"), dated("Dec  1 07:00:01 web2 sshd[1]: error: no key")
	same := [][2]*event.Event{{sunday, monday}, {november, december}, {dated("x: 30-Nov-2026 10:00:01 failed"), dated("x: 01-Dec-2026 10:00:01 failed")},
		{dated("10.0.0.1 [30/Nov/2026:10:00:01 +0000] 500"), dated("10.0.0.2 [01/Dec/2026:10:00:01 +0000] 502")},
		{dated("Sunday, 29 November 2026: failed"), dated("Tuesday, 1 December 2026: failed")},
		{&a, &b}, {field(a, "x"), field(stock, "x")}, {&java, &java2}, {&py, &py2}, {&js, &php}, {typed(a, "KeyError"), &py}}
	for _, p := range same {
		if alerting.Fingerprint(p[0]) != alerting.Fingerprint(p[1]) {
			t.Errorf("%q and %q have two fingerprints", p[0].Message, p[1].Message)
		}
	}
	differ := [][2]*event.Event{{dated("May I fail"), dated("Mar I fail")}, {dated("Sun is down"), dated("Mon is down")}, {sunday, november}, {&a, &other}, {&a, &stock}, {&a, &warning}, {field(a, "x"), field(a, "y")}, {field(a, "x"), field(other, "x")}, {&a, field(a, "order # failed")},
		{&java, &npe}, {&java, &py}, {&py, &js}, {&a, typed(a, "order # failed")}}
	for _, p := range differ {
		if alerting.Fingerprint(p[0]) == alerting.Fingerprint(p[1]) {
			t.Errorf("%q of %s and %q of %s have one fingerprint", p[0].Message, p[0].Service, p[1].Message, p[1].Service)
		}
	}
	// Stored incidents are found by it: it must not change while its prefix stands. p1 is what the ledger of patterns has, too.
	for _, tt := range []struct {
		e    *event.Event
		want string
	}{{&a, "p1:f5b7ea37e5733b07"}, {field(a, "x"), "f1:a78072e049600e09"}, {&java, "e1:dd5391bb07e0d32a"}, {sunday, "t1:8a6ecabac07e6504"}} {
		if got := alerting.Fingerprint(tt.e); got != tt.want {
			t.Errorf("fingerprint %s, want %s", got, tt.want)
		}
	}
	if got, want := alerting.OldFingerprint(&a), "m1:f9ce290515cf2c11"; got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

func TestHeadline(t *testing.T) {
	tests := []struct{ message, want string }{
		{"one", "one"},
		{"\n\n  one \r\ntwo", "one"},
		{"Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'x'\n", "KeyError: 'x'"},
		{"Traceback (most recent call last):", "Traceback (most recent call last):"},
		{"java.lang.NullPointerException: x\n\tat A.b(A.java:3)", "java.lang.NullPointerException: x"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := alerting.Headline(tt.message); got != tt.want {
			t.Errorf("headline(%q) = %q, want %q", tt.message, got, tt.want)
		}
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ in, want string }{
		{"plain\ttext\n", "plain\ttext\n"},
		{"größe 😀", "größe 😀"},
		{"a\x00b\x1b[31mc\x7f", "a␀b␛[31mc␡"},
		{"line\r\nend\r", "line\nend␍"},
		{"bad \xff\xfe utf", "bad \ufffd\ufffd utf"},
		{"turn \u202e round \u2066 x \u200f", `turn \u202e round \u2066 x \u200f`},
		{"c1 \u009b31m", `c1 \u009b31m`},
	}
	for _, tt := range tests {
		if got := alerting.Clean(tt.in); got != tt.want {
			t.Errorf("clean(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	long := strings.Repeat("a", 100) + strings.Repeat("z", 100)
	tests := []struct {
		in   string
		max  int
		want string
	}{
		{"short", 5, "short"},
		{"shorter", 5, "shor…"},
		{long, 100, strings.Repeat("a", 46) + " …[132 characters cut]… " + strings.Repeat("z", 22)},
		{"<<<<", 8, "<…"},
		{"😀😀😀", 5, "😀😀…"},
		{"x", 0, "…"},
	}
	for _, tt := range tests {
		if got := alerting.Cut(tt.in, tt.max); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.max, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s, max := rapid.String().Draw(t, "s")+strings.Repeat(rapid.String().Draw(t, "part"), rapid.IntRange(0, 50).Draw(t, "n")), rapid.IntRange(1, 300).Draw(t, "max")
		got := alerting.Cut(s, max)
		switch {
		case alerting.Weight(got) > max:
			t.Fatalf("Cut(%q, %d) = %q weighs %d", s, max, got, alerting.Weight(got))
		case !utf8.ValidString(got):
			t.Fatalf("Cut(%q, %d) = %q is no UTF-8", s, max, got)
		case alerting.Weight(s) <= max && got != s:
			t.Fatalf("Cut(%q, %d) = %q, but it fits", s, max, got)
		}
	})
}

func TestSeverityOf(t *testing.T) {
	want := map[event.Level]alerting.Severity{
		event.None: alerting.Info, event.Emergency: alerting.Critical, event.Critical: alerting.Critical, event.Error: alerting.Error,
		event.Warning: alerting.Warning, event.Notice: alerting.Info, event.Debug: alerting.Info,
	}
	for level, severity := range want {
		if got := alerting.SeverityOf(level); got != severity {
			t.Errorf("SeverityOf(%v) = %s, want %s", level, got, severity)
		}
	}
}

// The fields of a line are shown; what lookout says of a container or a probe is a sentence that needs none.
func TestFieldsShown(t *testing.T) {
	for stream, want := range map[string]string{"": `a=1 b="x y" c=""`, "stdout": `a=1 b="x y" c=""`, "docker": "", "probe": ""} {
		e := event.Event{Stream: []byte(stream), Fields: []event.Field{
			{Name: []byte("a"), Value: []byte("1"), Kind: event.Number}, {Name: []byte("b"), Value: []byte("x y")}, {Name: []byte("c")},
		}}
		if got := alerting.FieldsOf(&e); got != want {
			t.Errorf("stream %q: %s, want %s", stream, got, want)
		}
	}
}
