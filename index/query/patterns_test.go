package query

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPatterns: patterns come out of their compact form as they went in, and are judged there as they are alone.
func TestPatterns(t *testing.T) {
	var seen [Always + 1]int
	rapid.Check(t, func(t *rapid.T) {
		var all Patterns
		var patterns []*Pattern
		var texts [][][]byte
		for range rapid.IntRange(1, 12).Draw(t, "patterns") {
			p, of := genPattern(t)
			if rapid.IntRange(0, 9).Draw(t, "none") == 0 {
				p, of = &Pattern{}, [][]byte{nil}
			}
			all.Add(p)
			patterns, texts = append(patterns, p), append(texts, of)
		}
		all = all.Clone()
		if rapid.Bool().Draw(t, "words") {
			all.CollectWords()
		}
		if all.Len() != len(patterns) {
			t.Fatalf("%d patterns of %d", all.Len(), len(patterns))
		}
		var got Pattern
		for i, p := range patterns {
			if all.Pattern(i, &got); !bytes.Equal(got.Text, p.Text) || !slices.Equal(got.Holes, p.Holes) {
				t.Fatalf("pattern %d was %q %+v and is %q %+v", i, p.Text, p.Holes, got.Text, got.Holes)
			}
		}
		lo := rapid.IntRange(0, len(patterns)-1).Draw(t, "lo")
		hi := rapid.IntRange(lo+1, len(patterns)).Draw(t, "hi")
		for range 12 {
			of := rapid.SampledFrom(texts).Draw(t, "of")
			q, err := Parse(genTerm(t, rapid.SampledFrom(of).Draw(t, "text")))
			if err != nil {
				continue
			}
			for _, test := range q.Tests() {
				verdicts := make([]Verdict, hi-lo)
				for i := range verdicts {
					verdicts[i] = Verdict(rapid.IntRange(int(Never), int(Maybe)).Draw(t, "asked"))
				}
				asked := slices.Clone(verdicts)
				test.JudgeAll(&all, lo, verdicts)
				for i, v := range verdicts {
					p := patterns[lo+i]
					if asked[i] == Never {
						if v != Never {
							t.Fatalf("%s: %q %+v was to be passed over, and is %d", q, p.Text, p.Holes, v)
						}
						continue
					}
					seen[v]++
					// A constant with a mark in it hides from Judge what is in the other parts.
					if alone := test.Judge(p); v != alone && (alone != Maybe || !all.list[lo+i].marked) && !tooMuch(test, p, alone, v) {
						t.Fatalf("%s: %q %+v is judged %d alone, and %d among %d", q, p.Text, p.Holes, alone, v, hi-lo)
					}
					for _, s := range texts[lo+i] {
						if m := test.Match(s); m && v == Never || !m && v == Always {
							t.Fatalf("%s (%s): %d for %q %+v, but Match(%q) is %v", q, test.key, v, p.Text, p.Holes, s, m)
						}
					}
				}
			}
		}
	})
	if min(seen[Never], seen[Maybe], seen[Always]) < 20 {
		t.Fatalf("too little was tried: %v", seen)
	}
}

// TestLongLiteral: a literal that is longer than what is looked for in all texts at once.
func TestLongLiteral(t *testing.T) {
	long := strings.Repeat("ab ", 30)
	var all Patterns
	for _, text := range []string{"a", "x " + strings.ToUpper(long), strings.Repeat("ab ", 29), long + "\x00"} {
		p := &Pattern{Text: []byte(text)}
		if strings.HasSuffix(text, "\x00") {
			p.Holes = []Hole{{Set: setOf(digits), Min: 1, Max: 9}}
		}
		all.Add(p)
	}
	all.CollectWords()
	for _, c := range []struct {
		query string
		want  []Verdict
	}{
		{Quote(long), []Verdict{Never, Always, Never, Always}},
		{QuoteRegex(long), []Verdict{Never, Never, Never, Always}},
	} {
		q, err := Parse(c.query)
		if err != nil {
			t.Fatal(err)
		}
		got := []Verdict{Maybe, Maybe, Maybe, Maybe}
		if q.Tests()[0].JudgeAll(&all, 0, got); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.query, got, c.want)
		}
	}
}
