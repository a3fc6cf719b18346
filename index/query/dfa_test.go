package query

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// dfaRegexes are expressions with all that an automaton has to keep in mind.
var dfaRegexes = []string{
	`\d{3}\.\d{3}ms|[a-f0-9]{12}`, `a`, ``, `^`, `$`, `^$`, `a*`, `^a`, `a$`, `\Aab`, `ab\z`, `(?-m)a$`, `\bab\b`, `\Bb\B`, `a.b`, `(?-s)a.b`, `a\nb`, `^b\n`,
	`[^a]b`, `(a|b)+c`, `(?i)aK`, `(?i)ſ`, `[[:^alpha:]]é`, `\pL\d`, `\x{FFFD}`, `[^\x00-\x7f]{2}`, `é+`, `(ab|ba){2,3}$`, `a?b?c?$`, `x{0}`, `[^\n]*\n$`, `(?:^|[^\pL\pN_])a(?:[^\pL\pN_]|$)`,
	`\b\B`, `(?U)a+b`, `\C*?b`, `b\b.\b`,
}

func drawText(rng *rand.Rand) []byte {
	parts := []string{"a", "b", "c", "ab", "K", "k", "ſ", "K", "é", "日", "\xff", "\xe2\x84", "\ufffd", "\n", " ", ".", "_", "0", "12", "999.123ms", "deadbeef0123", "\x00", "A"}
	var b strings.Builder
	for range rng.IntN(9) {
		b.WriteString(parts[rng.IntN(len(parts))])
	}
	return []byte(b.String())
}

// A dfa finds what regexp finds.
func TestDFA(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, src := range dfaRegexes {
		rx, err := compileRegex(src)
		if err != nil {
			continue // \C is not in the language
		}
		m := newMachine(src)
		if m == nil {
			t.Errorf("%s: no machine", src)
			continue
		}
		var l lazyDFA
		d := l.get(m)
		for range 3000 {
			v := drawText(rng)
			got, ok := d.match(v)
			if want := rx.re().Match(v); !ok || got != want {
				t.Fatalf("%s in %q: %t %t, want %t", src, v, got, ok, want)
			}
		}
	}
}

// An expression whose automaton is too large is left to regexp, in bounded memory, and one that is large now and then starts anew.
func TestDFALimits(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		src  string
		left bool // texts may be left to regexp, and are
		anew bool // it starts anew
	}{
		{`(a|b)*a(a|b){3}c`, false, false},
		{`a[ab]{8}c`, false, false},
		{`a[ab]{200}c`, true, true},
		{`(a|b)*a(a|b){20}c|` + strings.Repeat("x", 900), true, false},
	} {
		rx, err := compileRegex(c.src)
		if err != nil {
			t.Fatal(err)
		}
		var l lazyDFA
		d := l.get(newMachine(c.src))
		left, anew := 0, false
		for range 100 {
			v := make([]byte, 20000)
			for i := range v {
				v[i] = "ab"[rng.IntN(2)]
			}
			states := len(d.a.states)
			got, ok := d.match(v)
			anew = anew || len(d.a.states) < states
			if !ok {
				left++
			} else if want := rx.re().Match(v); got != want {
				t.Fatalf("%.40s: %t, want %t", c.src, got, want)
			}
			if n := len(d.next) >> 7; n > 2*maxStates+2 {
				t.Fatalf("%.40s: %d states", c.src, n)
			}
		}
		if (left > 0) != c.left || anew != c.anew {
			t.Errorf("%.40s: %d texts were left to regexp, anew %t", c.src, left, anew)
		}
	}
}

func FuzzDFA(f *testing.F) {
	for _, src := range dfaRegexes {
		f.Add(src, []byte("a b\nab 999.123ms \xff日"))
	}
	f.Fuzz(func(t *testing.T, src string, v []byte) {
		rx, err := compileRegex(src)
		if err != nil {
			return
		}
		m := newMachine(src)
		if m == nil {
			return
		}
		d := (&lazyDFA{}).get(m)
		for range 2 {
			if got, ok := d.match(v); ok && got != rx.re().Match(v) {
				t.Fatalf("%q in %q: %t", src, v, got)
			}
		}
	})
}
