package query

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestWholeToken: whatever is in a form's holes, a text that satisfies the test has the key.
func TestWholeToken(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 8))
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	token := func() string {
		var b strings.Builder
		for range 1 + rng.IntN(8) {
			b.WriteString(pick("a", "B", "c", "0", "1", "9", "f", "_", "k", "K", "s", kelvin, longS, "é", "dead", "12345"))
		}
		return b.String()
	}
	whole, matched := 0, 0
	for range 200_000 {
		lit := token()
		p := &Pattern{}
		var values []string
		for range 1 + rng.IntN(3) {
			p.Text = append(p.Text, pick("", " ", "id=", "a", ": ", "_", "é ")...)
			if rng.IntN(2) == 0 {
				p.Text = append(p.Text, HoleMark)
				v := token()
				switch rng.IntN(4) {
				case 0:
					v = lit
				case 1:
					v = strings.ToUpper(lit)
				case 2:
					v = strings.ReplaceAll(strings.ToLower(lit), "k", kelvin)
				}
				h := Hole{Set: setOf(v), Min: len(v), Max: len(v)}
				for range rng.IntN(2) { // other texts have the form as well
					o := token()
					s := setOf(o)
					h.Set.Union(&s)
					h.Min, h.Max = min(h.Min, len(o)), max(h.Max, len(o))
				}
				if rng.IntN(8) == 0 {
					h = Hole{Fixed: true, Const: v}
				}
				p.Holes = append(p.Holes, h)
				values = append(values, v)
			}
		}
		p.Text = append(p.Text, pick("", " ", ".", "0")...)
		q, err := Parse(Quote(lit))
		if err != nil {
			t.Fatal(err)
		}
		test := q.Tests()[0]
		if test.Judge(p) != Maybe {
			continue
		}
		key, ok := test.WholeToken(p)
		if !ok {
			continue
		}
		whole++
		text := string(p.Text)
		for _, v := range values {
			text = strings.Replace(text, string(rune(HoleMark)), v, 1)
		}
		if test.Match([]byte(text)) {
			matched++
			if !slices.Contains(AppendTokenKeys(nil, []byte(text)), key) {
				t.Fatalf("%q is in %q of the form %q %+v, but the key is not", lit, text, p.Text, p.Holes)
			}
		}
	}
	if whole < 1000 || matched < 200 {
		t.Fatalf("too little was tried: %d forms, %d matches", whole, matched)
	}
}
