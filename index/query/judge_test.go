package query

import (
	"bytes"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
	"pgregory.net/rapid"
)

// What patterns are made of: log lines' fixed parts, and what is difficult at the border of a hole.
var fixedPieces = []string{
	"error", "Error: ", " took ", "ms", "user=", "k", "K", "s", kelvin, longS, "é", "É", "日本", "\xe2\x84", "\xaa", "\xff", "\uFFFD", "-", ".", ":", "%", " ", "\n", "/", "10.", "5", "0x", "id-", "_", "GET /api/", "a", "b", "warn", "",
}

var holeSets = []string{
	"0123456789", "0123456789abcdef", "0123456789ABCDEF", "0123456789.", "abcdefghijklmnopqrstuvwxyz0123456789_", "ab", "aA", "kK", kelvin, longS + "s", "\xe2\x84\xaa", "é", "日本語", "\xff\x80", "a \n", "0", "-.5", "\n", "warn", "\x00a", "error", ":.0123456789abcdef%",
}

// genPattern draws a pattern and some of its texts.
func genPattern(t *rapid.T) (*Pattern, [][]byte) {
	p := &Pattern{}
	texts := make([][]byte, 12)
	add := func(i int, s string) { texts[i] = append(texts[i], s...) }
	pattern := func(kind string) {
		s := rapid.SampledFrom(fixedPieces).Draw(t, kind)
		p.Text = append(p.Text, s...)
		for i := range texts {
			add(i, s)
		}
	}
	for range rapid.IntRange(1, 4).Draw(t, "parts") {
		for range rapid.IntRange(0, 2).Draw(t, "pieces") {
			pattern("piece")
		}
		if rapid.IntRange(0, 4).Draw(t, "no hole") == 0 {
			continue
		}
		p.Text = append(p.Text, HoleMark)
		if rapid.IntRange(0, 3).Draw(t, "fixed") == 0 {
			h := Hole{Fixed: true, Const: genText(t, "const")}
			p.Holes = append(p.Holes, h)
			for i := range texts {
				add(i, h.Const)
			}
			continue
		}
		bytesOf := rapid.SampledFrom(holeSets).Draw(t, "set")
		h := Hole{Set: setOf(bytesOf)}
		h.Min = rapid.SampledFrom([]int{0, 1, 1, 1, 2, 4}).Draw(t, "min")
		h.Max = h.Min + rapid.SampledFrom([]int{0, 0, 1, 3, 9, 70}).Draw(t, "more")
		p.Holes = append(p.Holes, h)
		for i := range texts {
			n := rapid.IntRange(h.Min, min(h.Max, h.Min+5)).Draw(t, "n")
			if i == 0 {
				n = h.Max
			}
			for len(texts[i]) >= 0 && n > 0 {
				// Whole characters are drawn as often as bytes.
				if r := rapid.SampledFrom([]rune(bytesOf)).Draw(t, "rune"); i%2 == 0 && len(string(r)) <= n && strings.Contains(bytesOf, string(r)) {
					add(i, string(r))
					n -= len(string(r))
					continue
				}
				texts[i] = append(texts[i], rapid.SampledFrom([]byte(bytesOf)).Draw(t, "byte"))
				n--
			}
		}
	}
	if rapid.Bool().Draw(t, "tail") {
		pattern("tail")
	}
	return p, texts
}

// genTerm returns a query's text for values of a field, often taken from text.
func genTerm(t *rapid.T, text []byte) string {
	e := &event.Event{Message: text}
	part := func() string { return genLiteral(t, e) }
	re := func() string {
		lit := escapeRegex(part())
		return rapid.SampledFrom([]string{
			genRegex(t, e), `\d+`, `\d+\.\d+`, `\d{2}`, `^\d+$`, `\b\d+\b`, `\b[a-f0-9]+\b`, `[^ ]+ \d+`, `\w+$`, `^\w+`, `\A\w+\z`, `\d+\.\d+\.\d+\.\d+`, lit + `\d+`, `\d+` + lit, `\b` + lit, lit + `\b`, `\B` + lit,
			lit + `\B`, `(?i)` + lit + `.`, `(?-s)^.*$`, `^` + lit + `\w*$`, `(\d+|[a-z]+)` + lit, `\D`, `\S\s`, `(?i)[k-s]\d`, `[^\x00-\x7f]`, `\pL+`, `\A` + lit, lit + `\z`, `(?m)^` + lit, `(?-m)^` + lit, `(aa)+b`, `(..)*$`, `[[:xdigit:]]{4}`,
		}).Draw(t, "expression")
	}
	name := rapid.SampledFrom([]string{"f", "duration_ms", "bytes", "message"}).Draw(t, "name")
	switch rapid.IntRange(0, 7).Draw(t, "term") {
	case 0, 1:
		return Quote(part())
	case 2, 3:
		return QuoteRegex(re())
	case 4:
		return name + rapid.SampledFrom([]string{":", "="}).Draw(t, "op") + quoted(rapid.SampledFrom([]string{part(), strings.ToValidUTF8(string(text), "")}).Draw(t, "whole"))
	case 5:
		return name + ":" + strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \n()|,\"'`", r) {
				return '?'
			}
			return r
		}, rapid.SampledFrom([]string{"*" + part(), part() + "*", part() + "*" + part(), "?" + part(), "*" + part() + "?"}).Draw(t, "glob"))
	case 6:
		return name + rapid.SampledFrom([]string{">", ">=", "<", "<="}).Draw(t, "op") + rapid.SampledFrom(append([]string{"warn"}, quantities...)).Draw(t, "limit")
	}
	return name + ":" + rapid.SampledFrom([]string{"10.0.0.0/8", "2001:db8::/32", "1..500", "1s..2h", "1B..10MB", "info..err", "500", "0", "(500, error)", "(a*, *b)", "*", "5s", "(*k*, 5)"}).Draw(t, "value")
}

// TestJudgeIsSound: no text of a pattern that is Never matches, every text of one that is Always does.
func TestJudgeIsSound(t *testing.T) {
	var seen [Always + 1]int
	rapid.Check(t, func(t *rapid.T) {
		p, texts := genPattern(t)
		for range 6 {
			q, err := Parse(genTerm(t, rapid.SampledFrom(texts).Draw(t, "of")))
			if err != nil {
				continue
			}
			for _, test := range q.Tests() {
				v := test.Judge(p)
				seen[v]++
				for _, s := range texts {
					if m := test.Match(s); m && v == Never || !m && v == Always {
						t.Fatalf("%s (%s): %d for %q %+v, but Match(%q) is %v", q, test.key, v, p.Text, p.Holes, s, m)
					}
				}
				if again := test.Judge(p); again != v && !tooMuch(test, p, again, v) {
					t.Fatalf("%s: %q %+v is judged %d, then %d", q, p.Text, p.Holes, v, again)
				}
				if !slices.ContainsFunc(p.Holes, func(h Hole) bool { return !h.Fixed }) && v == Maybe {
					t.Fatalf("%s: %q %+v has no open hole and is Maybe", q, p.Text, p.Holes)
				}
			}
		}
	})
	if seen[Never] < 50 || seen[Maybe] < 50 || seen[Always] < 20 {
		t.Fatalf("too little was tried: %v", seen)
	}
}

// tooMuch tells whether two verdicts on a pattern may differ because one of them was too much work: what an automaton has found out before
// costs it nothing, so one that begins from nothing works the most.
func tooMuch(t *Test, p *Pattern, a, b Verdict) bool {
	re, ok := t.p.(*matchesRE)
	if !ok || a != Maybe && b != Maybe {
		return false
	}
	m := re.machine(re.re.src)
	var one Patterns
	if one.Add(p); m == nil || one.list[0].marked {
		return false
	}
	var view Pattern
	one.view(0, &view)
	fresh := newAutomaton(m)
	fresh.judge(&view)
	return fresh.work > maxPatternWork
}

// TestJudgeTooMuch: a pattern that is too much work for an automaton that begins from nothing is Maybe, and may be certain for one that
// knows some of it from before.
func TestJudgeTooMuch(t *testing.T) {
	p := &Pattern{Text: []byte("s\x00\xaams\x00" + longS), Holes: []Hole{{Set: setOf(digits + letters + "_"), Min: 1, Max: 71}, {Set: setOf(digits), Max: 70}}}
	test := mustParse(t, `~"sq_salcvechsntciavbcay_ademu_1b3bajeuwa8raxyybc_wbf7eaaevjdmsg61pblb_e4bms1031020171255070022133142404146269590310048488107913004992375939960210`+longS+`\b"`).Tests()[0]
	re := test.p.(*matchesRE)
	a := newAutomaton(re.machine(re.re.src))
	if first, again := a.judge(p), a.judge(p); first != Maybe || again != Never || !tooMuch(test, p, first, again) {
		t.Errorf("judged %d, then %d", first, again)
	}
	if tooMuch(test, p, Never, Always) {
		t.Error("certain verdicts may not differ")
	}
}

// sketch makes a pattern of a text in which <d> <x> <w> <h> <.> are holes.
func sketch(text string) *Pattern {
	p := &Pattern{}
	for text != "" {
		if text[0] != '<' || len(text) < 3 || text[2] != '>' {
			p.Text = append(p.Text, text[0])
			text = text[1:]
			continue
		}
		h := Hole{Min: 1, Max: 10}
		switch text[1] {
		case 'd':
			h.Set = setOf(digits)
		case '2': // two digits
			h.Set, h.Min, h.Max = setOf(digits), 2, 2
		case 'x':
			h.Set = setOf(digits + "abcdef")
		case 'w':
			h.Set = setOf(digits + letters + "_")
		case 'h':
			h.Set = setOf(digits + "é")
		case '.':
			h.Set = setOf(digits + ".")
		case 'k':
			h.Fixed, h.Const = true, "Konst7"
		}
		p.Text, p.Holes = append(p.Text, HoleMark), append(p.Holes, h)
		text = text[3:]
	}
	return p
}

// TestJudge: where an answer is certain, it is found.
func TestJudge(t *testing.T) {
	const line = "<d>-<d>-<d> <2>:<2>:<2>,<d> ERROR worker-<d> Connection to <d>.<d>.<d>.<d>:<d> refused: id=<x> user <k> took <d>.<d> ms"
	for _, c := range []struct {
		pattern string
		want    Verdict
		queries string // by line
	}{
		{line, Always, "connection\nERROR\nerror\nConnection to \n\" refused: id=\"\nkonst\nKonst7\nuser konst7 took\n" +
			`~"ERROR"` + "\n" + `~"\bERROR\b"` + "\n" + `~"(?i)\bconnection\b"` + "\n" + `~"refused|panic"` + "\n" + `~"Connection to .* refused"` + "\n" + `~"\d+\.\d+ ms"` + "\n" + `~"ms$"` + "\n" +
			`~"took \d+\.\d+"` + "\n" + `~"\d+"` + "\n" + `~"^\d"` + "\n" + `~"user Konst\d"` + "\n" + `~"\d\d:\d\d:\d\d,"` + "\n" + `~"worker-\w+ Conn"` + "\n" + `~"id=[0-9a-f]+\b"` + "\n" + `~"\bid=\b"` + "\n" +
			"f:*\nf:*refused*\nf:*ms\nf:*error*refused*ms\nmessage:conn*refused\n" + `~"(?i)konst\d took"` + "\n" + `~"[a-z]+"` + "\n" + `f~"\A\d"` + "\n" + `f~"^\d{1,10}-"` + "\n" + `~" \d+\.\d+\.\d+\.\d+:"`},
		{line, Never, "panic\nwarning\nerrors\n\"error refused\"\nworker\\-x\nERRORS\nconnected\nabcde-\n\"id=xyz\"\n\"worker-abc\"\n12:345:\n2026-11-21T\nuser bob\nkonst8\n" +
			`~"panic|fatal"` + "\n" + `~"\bERR\b"` + "\n" + `~"ORfix"` + "\n" + `~"worker-[a-z]"` + "\n" + `~"^[A-Z]"` + "\n" + `~"id=[^0-9a-f]"` + "\n" + `~"\d[g-z]"` + "\n" + `~"took$"` + "\n" + `~"\d{11}"` + "\n" +
			"f=error\nf:error\nf:error*\nf:*x\nf>5\nf:500\nf:10.0.0.0/8\nf:1s..2s\nf>=warn\nf~\"^$\"\nf:2026?\nf:worker?\n" + `~"(?i)\bpanic\b"` + "\n" + `~"é"` + "\n" + `~"\x{FFFD}"` + "\n" + `~"(?-s)\n"`},
		{line, Maybe, "2026\n12:34:56\n\"worker-7 \"\nface\n-11-\n10.1.2.3:80\n" + `~"\b2026\b"` + "\n" + `~"\d{3}\.\d{3}\."` + "\n" + `~"id=dead"` + "\n" + `~"\d{10}"` + "\n" + `~"worker-7\b"`},
		{"took <d> ms", Never, `~"\d+\.\d+\.\d+\.\d+"` + "\n" + `~"\d+\.\d+"` + "\n" + `~"\b[0-9a-f]{12}\b"`},
		{"<d>.<d>.<d>.<d>", Always, `~"\d+\.\d+\.\d+\.\d+"` + "\n" + `~"^\d+\.\d+\.\d+\.\d+$"`},
		{"<d>.<d>.<d>.<d>", Maybe, "f:10.0.0.0/8\nf=10.1.2.3\nf:10.*\n" + `f~"^10\."`},
		{"<d>.<d>.<d>.<d>", Never, "f=10.1.2\nf:*x*\n" + `f~"^\d+\.\d+$"`},
		{"<w>", Maybe, "error\nf=error\n" + `~"\berror\b"` + "\nf:5\nf>5\nf>=warn\nf:e*"},
		{"<w>", Never, "\"a b\"\nf=a-b\nf:10.0.0.0/8\n" + `~"\W"` + "\n" + `~"\b \b"` + "\nf=abcdefghijk"},
		{"<w>", Always, `~"\w"` + "\n" + `~"^\w+$"` + "\n" + `~"\A\w{1,10}\z"` + "\n" + `~"\b"`},
		{"x a<d> y", Never, `~"a\b"` + "\n" + `~"\by\B"` + "\n" + `~"a "`},
		{"x a<d> y", Always, `~"\ba\B"` + "\n" + `~"\ba\d"` + "\n" + `~"\d\b y"` + "\n" + `~"a\w+\b"`},
		{"<.> x", Never, `~"\d+\.\d+y"` + "\n" + `~"[a-w]"`},
		{"<.> x", Maybe, `~"\d+\.\d+ "` + "\n" + `~"^\d"` + "\n" + `~"\b x"`},
		{"tas" + longS + " <d>", Always, "tass\n" + `~"(?i)tass"`},
		{kelvin + "<d> " + longS + "et", Always, "k\nset\n" + `~"(?i)k"` + "\n" + `~"(?i)\x{212A}\d"`},
		{"k<d>", Never, "ks\nK\n" + `~"K"`},
		{"k<h>", Maybe, "ké\nké1\né1"},
		{"k<h>", Never, "ka\n" + `~"k\n"`},
		{"status <d>", Never, "statuses"},
		{"<d>", Maybe, "f:500\nf>=500\nf=500\nf:1..5\nf:5*\nduration_ms>1s"},
		{"<d>ms", Never, "f:500\nf>=500\nf:1B..2B\nf:1.5"},
		{"<d>ms", Maybe, "f>5s\nf:500ms\nf:1s..2s\nf_ms>5"},
		{"<d> items", Never, "f>5\nf=5\nf>5s\nf:5..10"},
		{"Jan <d> GET /api/<w>/x", Always, "f:jan*get*/x\nf:*/api/*"},
	} {
		for _, text := range strings.Split(c.queries, "\n") {
			if text == "" {
				continue
			}
			q := mustParse(t, text)
			got := Always
			for _, test := range q.Tests() {
				got = min(got, test.Judge(sketch(c.pattern)))
			}
			if got != c.want {
				t.Errorf("%s: %s is judged %d, want %d", c.pattern, text, got, c.want)
			}
		}
	}
}

// TestJudgeLimits: what is too large is Maybe, or still sound, and in good time.
func TestJudgeLimits(t *testing.T) {
	long := strings.Repeat("x<d> ", 5000)
	for _, text := range []string{
		`~"(?i)` + strings.Repeat("(a|b)*", 100) + `"`, `~"` + strings.Repeat("a?", 300) + strings.Repeat("a", 300) + `"`, `~"(x.*){10}y"`, `~"\pL{100}"`, `~"[[:alpha:]]{500}"`, `~"(\d.){50}$"`,
		Quote(strings.Repeat("ab ", 100)), "f:" + strings.Repeat("x?*", 50),
	} {
		q := mustParse(t, text)
		for _, p := range []*Pattern{sketch(long), sketch(strings.Repeat("<w>", 2000)), sketch(strings.Repeat("a", 30000) + "<w>")} {
			v := q.Tests()[0].Judge(p)
			filled := bytes.ReplaceAll(p.Text, holeMark, []byte("7"))
			if m := q.Tests()[0].Match(filled); m && v == Never || !m && v == Always {
				t.Errorf("%.40s: %.40q is judged %d", text, p.Text, v)
			}
		}
	}
}

// TestJudgeDamaged: what does not fit together is Maybe.
func TestJudgeDamaged(t *testing.T) {
	for _, p := range []*Pattern{
		{Text: []byte("a\x00")},
		{Text: []byte("a"), Holes: []Hole{{}}},
		{Text: []byte("a"), Holes: []Hole{{Fixed: true}}},
		{Text: []byte("\x00"), Holes: []Hole{{Min: -1}}},
		{Text: []byte("\x00"), Holes: []Hole{{Min: 2, Max: 1}}},
		{Text: []byte("\x00"), Holes: []Hole{{Min: 2, Max: 1}, {Fixed: true}}},
	} {
		for _, text := range []string{"b", `~"\d"`, "f=b"} {
			if v := mustParse(t, text).Tests()[0].Judge(p); v != Maybe {
				t.Errorf("%+v: %d", p, v)
			}
		}
	}
}

// TestJudgeConcurrently: goroutines share a query, each judges all patterns, and the answers are the same.
func TestJudgeConcurrently(t *testing.T) {
	patterns := lineForms(t)
	q := mustParse(t, `~"\d+\.\d+ [a-z]" error OR "größe" ~"(?i)\bk\d" f:*a?b* f>5`)
	answers := make([][]Verdict, 4)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			for _, test := range q.Tests() {
				for _, p := range patterns {
					answers[i] = append(answers[i], test.Judge(&p.Pattern))
				}
			}
		})
	}
	wg.Wait()
	for _, a := range answers[1:] {
		if !slices.Equal(a, answers[0]) {
			t.Fatal("the answers differ")
		}
	}
}

func TestJudgeAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	p := sketch("<d>-<d>-<d> ERROR worker-<d> Connection to <d>.<d> refused: id=<x> user <k>")
	for _, text := range []string{"panic", "Error", "kiss", "größe", "12:30", `~"\d+\.\d+x"`, `~"(?i)\berror\b"`, "f=x", "f:*a?b", "f>5"} {
		test := mustParse(t, text).Tests()[0]
		test.Judge(p)
		if n := testing.AllocsPerRun(100, func() { test.Judge(p) }); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// TestDecimals: the range holds just the mantissas whose texts match.
func TestDecimals(t *testing.T) {
	known, some := 0, 0
	one := func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"f", "f_ms", "f_s", "f_ns", "bytes"}).Draw(t, "name")
		number := func() string {
			s := strconv.FormatInt(rapid.Int64Range(-2000, 2000).Draw(t, "small"), 10)
			switch rapid.IntRange(0, 4).Draw(t, "number") {
			case 0:
				s = strconv.FormatInt(rapid.Int64().Draw(t, "any"), 10)
			case 1:
				s += "." + strconv.Itoa(rapid.IntRange(0, 9999).Draw(t, "fraction"))
			case 2:
				s += "e" + strconv.Itoa(rapid.IntRange(-25, 25).Draw(t, "exp"))
			case 3:
				s = rapid.SampledFrom([]string{"9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809", "0", "1e400", "-1e-400", "9007199254740993", "0.3"}).Draw(t, "edge")
			}
			return s + rapid.SampledFrom([]string{"", "", "ms", "s", "ns", "us", "m", "B", "kB", "MiB", "h"}).Draw(t, "unit")
		}
		lim := number()
		text := name + rapid.SampledFrom([]string{">", ">=", "<", "<=", "=", ":"}).Draw(t, "op") + lim
		switch rapid.IntRange(0, 9).Draw(t, "more") {
		case 0:
			text = name + ":" + lim + ".." + number()
		case 1:
			text = name + ":(" + lim + "," + number() + ")"
		case 2:
			text = name + ":*"
		case 3:
			text = rapid.SampledFrom([]string{"error", "f=x", "f:10.0.0.0/8", "f~\"[a-z]\"", "f>warn", "500", `f="0500"`, "f~\"\"", "-5"}).Draw(t, "other")
		}
		q, err := Parse(text)
		if err != nil || len(q.Tests()) != 1 {
			return
		}
		test := q.Tests()[0]
		scale := rapid.SampledFrom([]int{0, 0, 1, 2, 3, 9, 18}).Draw(t, "scale")
		lo, hi, ok := test.Decimals(scale)
		if !ok {
			return
		}
		known++
		if lo <= hi {
			some++
		}
		var ms []int64
		for _, m := range []int64{0, 1, -1, lo, hi, math.MinInt64, math.MaxInt64, rapid.Int64().Draw(t, "m"), rapid.Int64Range(-100000, 100000).Draw(t, "m"), 1 << 53, -1 << 53} {
			ms = append(ms, m, m-1, m+1, m-10, m+10)
		}
		if at, ok := new(big.Rat).SetString(strings.TrimRight(lim, "msnuhkBKMi")); ok {
			f, _ := new(big.Float).SetRat(at).Float64()
			if f *= math.Pow10(scale); math.Abs(f) < 1e18 {
				ms = append(ms, int64(f)-1, int64(f), int64(f)+1)
			}
		}
		for _, m := range ms {
			text := appendDecimal(nil, m, scale)
			if got, want := lo <= m && m <= hi, test.Match(text); got != want {
				t.Fatalf("%s: %s (%d, scale %d) matches: %v, but the range is %d to %d", q, text, m, scale, want, lo, hi)
			}
			v, _ := strconv.ParseFloat(string(text), 64)
			if test.Match(text) && !test.MayMatchNumbers(math.Nextafter(v, math.Inf(-1)), math.Nextafter(v, math.Inf(1))) {
				t.Fatalf("%s: %s matches, but no number near it may", q, text)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 3 {
			one(t)
		}
	})
	if known < 50 || some < 20 {
		t.Fatalf("too little was tried: %d, %d", known, some)
	}
}

func TestDecimalsDirected(t *testing.T) {
	const low, high = math.MinInt64, math.MaxInt64
	for _, c := range []struct {
		query  string
		scale  int
		lo, hi int64
		ok     bool
	}{
		{"f>=500", 0, 500, high, true}, {"f>500", 0, 501, high, true}, {"f<500", 2, low, 49999, true}, {"f<=1.255", 2, low, 125, true}, {"f>=1.255", 2, 126, high, true}, {"f:500..599", 1, 5000, 5990, true},
		{"f:500", 0, 500, 500, true}, {"f=0.5", 0, 1, 0, true}, {"f=0.5", 3, 500, 500, true}, {"f>-1.5", 0, -1, high, true}, {"f<-1.5", 0, low, -2, true}, {"f>1e30", 0, 1, 0, true}, {"f<1e30", 0, low, high, true},
		{"f>1s", 0, 1, 0, true}, {"f_ms>1.5s", 0, 1501, high, true}, {"f_ms>=1.5s", 1, 15000, high, true}, {"f_ms:1s..2s", 0, 1000, 2000, true}, {"f_ms=1s", 0, 1000, 1000, true}, {"bytes<=10kB", 0, low, 10000, true},
		{"bytes>1s", 0, 1, 0, true}, {"f:(1, 2, 3)", 0, 1, 3, true}, {"f:(1, 3)", 0, 0, 0, false}, {"f:(5, error)", 0, 5, 5, true}, {"f:*", 5, low, high, true}, {"error", 0, 1, 0, true}, {"f=x", 0, 1, 0, true},
		{"f:10.0.0.0/8", 0, 0, 0, false}, {`f~"[a-z]"`, 0, 1, 0, true}, {"500", 0, 0, 0, false}, {`f="500"`, 0, 0, 0, false}, {"f>warn", 0, 1, 0, true}, {"f>5", 19, 0, 0, false}, {"f>5", -1, 0, 0, false},
	} {
		lo, hi, ok := mustParse(t, c.query).Tests()[0].Decimals(c.scale)
		if ok != c.ok || ok && (lo != c.lo || hi != c.hi) && (lo <= hi || c.lo <= c.hi) {
			t.Errorf("%s, scale %d: %d to %d %v, want %d to %d %v", c.query, c.scale, lo, hi, ok, c.lo, c.hi, c.ok)
		}
	}
	for _, c := range []struct {
		query  string
		lo, hi float64
		want   bool
	}{
		{"f>5", 1, 5, true}, {"f>5", 1, 4.9, false}, {"f>=5", 5, 9, true}, {"f<5", 6, 9, false}, {"f:5", 6, 9, false}, {"f:5", 4, 9, true}, {"f:(5, 7)", 6, 9, true}, {"f:1..3", 4, 5, false}, {"f_ms>1s", 0, 900, false},
		{"f_ms>1s", 0, 1100, true}, {"f>1s", 0, 1e9, false}, {"error", 0, 1, false}, {"1e5", 0, 1, true}, {"f>5", math.Inf(-1), math.Inf(1), true}, {"f>5", math.NaN(), math.NaN(), true}, {"f>warn", 0, 9, false},
	} {
		if got := mustParse(t, c.query).Tests()[0].MayMatchNumbers(c.lo, c.hi); got != c.want {
			t.Errorf("%s on %v to %v: %v", c.query, c.lo, c.hi, got)
		}
	}
}

// lineForm is the form of some lines, made as a block's builder makes it, and these lines.
type lineForm struct {
	Pattern
	lines [][]byte
}

// lineForms are those of the real lines that the load generator has.
func lineForms(t testing.TB) []*lineForm {
	files, err := filepath.Glob("../../internal/loadgen/samples/*.log")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	byText := map[string]*lineForm{}
	var out []*lineForm
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range bytes.Split(data, []byte("\n")) {
			var text []byte
			var values [][]byte
			for i := 0; i < len(line); {
				end, class := tokenEnd(line, i)
				switch {
				case end == i:
					text = append(text, line[i])
					i++
					continue
				case class&digit != 0 || end-i >= 4 && class&notHex == 0:
					text = append(text, HoleMark)
					values = append(values, line[i:end])
				default:
					text = append(text, line[i:end]...)
				}
				i = end
			}
			p := byText[string(text)]
			if p == nil {
				p = &lineForm{Pattern: Pattern{Text: text, Holes: make([]Hole, len(values))}}
				byText[string(text)] = p
				out = append(out, p)
				for i := range p.Holes {
					p.Holes[i] = Hole{Min: math.MaxInt}
				}
			}
			p.lines = append(p.lines, line)
			for i, v := range values {
				h, s := &p.Holes[i], setOf(string(v))
				h.Set.Union(&s)
				h.Min, h.Max = min(h.Min, len(v)), max(h.Max, len(v))
			}
		}
	}
	return out
}

// TestJudgeSamples: the verdicts hold for real lines, and few patterns are Maybe for a word of one of them.
func TestJudgeSamples(t *testing.T) {
	all := lineForms(t)
	var seen [Always + 1]int
	judge := func(t interface{ Fatalf(string, ...any) }, text string, seen *[Always + 1]int) {
		q, err := Parse(text)
		if err != nil {
			return
		}
		for _, test := range q.Tests() {
			for _, s := range all {
				v := test.Judge(&s.Pattern)
				seen[v]++
				for _, line := range s.lines {
					if m := test.Match(line); m && v == Never || !m && v == Always {
						t.Fatalf("%s: %d for %q, but Match(%q) is %v", q, v, s.Text, line, m)
					}
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(all).Draw(t, "sample")
		judge(t, genTerm(t, rapid.SampledFrom(s.lines).Draw(t, "line")), new([Always + 1]int))
	})
	// The same words each time: how many are Maybe is very different from one to another.
	var words [][]byte
	for _, s := range all {
		for _, line := range s.lines {
			words = append(words, bytes.Fields(line)...)
		}
	}
	for i := 0; i < len(words); i += len(words) / 100 {
		judge(t, Quote(strings.ToValidUTF8(string(words[i]), "")), &seen)
	}
	t.Logf("words: %d never, %d maybe, %d always", seen[Never], seen[Maybe], seen[Always])
	if seen[Maybe] > seen[Never]/3 {
		t.Errorf("words are Maybe too often: %v", seen)
	}
}

func BenchmarkJudge(b *testing.B) {
	patterns := lineForms(b)
	size, holes := 0, 0
	for _, p := range patterns {
		size += len(p.Text)
		holes += len(p.Holes)
	}
	b.Logf("%d patterns of %d bytes and %d holes each", len(patterns), size/len(patterns), holes/len(patterns))
	for _, c := range []struct{ name, text string }{
		{"literal/absent", "Zebra"}, {"literal/present", "INFO"}, {"literal/phrase", "Connection refused"}, {"literal/ofHoles", "12:30:45"}, {"literal/hex", "deadbeef"}, {"fold/error", "error"}, {"fold/k", "kiss"}, {"fold/nonASCII", "größe"},
		{"regex/literal", `~"failed: \w+ refused"`}, {"regex/foldWord", `~"(?i)\berror\b"`}, {"regex/alternatives", `~"panic|fatal"`}, {"regex/address", `~"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b"`}, {"regex/numbers", `~"\d+\.\d+ ms"`},
		{"regex/none", `~"[0-9]{3,}: [a-z]+ [A-Z]"`}, {"field/equals", "f=abc"}, {"field/glob", "f:*abc*d?f"}, {"field/number", "f>=500"},
	} {
		b.Run(c.name, func(b *testing.B) {
			test := mustParse(b, c.text).Tests()[0]
			var seen [Always + 1]int
			i := 0
			for b.Loop() {
				seen[test.Judge(&patterns[i%len(patterns)].Pattern)]++
				i++
			}
			n := float64(i) / 100
			b.ReportMetric(float64(seen[Maybe])/n, "%maybe")
			b.ReportMetric(float64(seen[Always])/n, "%always")
		})
	}
}
