package catalog

import (
	"bytes"
	"unicode"
	"unicode/utf8"

	"github.com/blevesearch/bleve/v2/analysis"
	"github.com/blevesearch/bleve/v2/registry"
)

// analyzerName is what an index says its texts were cut by. What that analyzer does is part of indexVersion.
const analyzerName = "lookout_words"

func init() {
	// bleve finds analyzers by name in a registry of its own.
	if err := registry.RegisterAnalyzer(analyzerName, func(map[string]any, *registry.Cache) (analysis.Analyzer, error) { return analyzer{}, nil }); err != nil {
		panic(err)
	}
}

// analyzer cuts a text into words: runs of letters and digits, in lower case. A name of several words, RefundFailed or
// HTTPServer, is there whole and in parts. A #, which stands for what differs, is no word but has a place: no phrase steps over it.
type analyzer struct{}

// Analyze implements bleve's interface.
func (analyzer) Analyze(text []byte) analysis.TokenStream {
	var out analysis.TokenStream
	position := 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if !isWord(r) {
			if r == '#' {
				position++
			}
			i += n
			continue
		}
		start := i
		for i < len(text) {
			if r, n = utf8.DecodeRune(text[i:]); !isWord(r) {
				break
			}
			i += n
		}
		parts := nameParts(text[start:i])
		add := func(from, to, position int) {
			out = append(out, &analysis.Token{Start: from, End: to, Term: bytes.ToLower(text[from:to]), Position: position, Type: analysis.AlphaNumeric})
		}
		add(start, i, position)
		if len(parts) > 1 {
			at := start
			for k, end := range parts {
				add(at, start+end, position+k)
				at = start + end
			}
		}
		position += len(parts)
	}
	return out
}

func isWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r))
}

// nameParts returns where the parts of a word end: at least one. A part begins with a capital after a small letter, and with
// the last of several capitals before a small letter.
func nameParts(word []byte) []int {
	var ends []int
	before, now := rune(0), rune(0) // the two runes before the one at i
	last := 0
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRune(word[i:])
		switch {
		case unicode.IsLower(now) && unicode.IsUpper(r):
			ends = append(ends, i)
		case unicode.IsUpper(before) && unicode.IsUpper(now) && unicode.IsLower(r) && last > 0:
			ends = append(ends, last)
		}
		before, now, last = now, r, i
		i += n
	}
	return append(ends, len(word))
}

// wordsOf returns the words of a text as they are indexed, one for each position: alternatives, the whole name first; none for a
// # between words.
func wordsOf(text string) [][]string {
	var out [][]string
	for _, t := range (analyzer{}).Analyze([]byte(text)) {
		for len(out) < t.Position {
			out = append(out, nil)
		}
		out[t.Position-1] = append(out[t.Position-1], string(t.Term))
	}
	return out
}
