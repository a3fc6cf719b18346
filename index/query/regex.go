package query

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	// maxRegexCost bounds all regular expressions of a query together, by what a step over one character may cost: the
	// instructions of RE2's machine, those that let it be in several places at once counted dearer.
	maxRegexCost = 10000
	// maxClassCost bounds what the parser has to do for the classes of all regular expressions of a query, in characters it looks
	// at: 50 ns each.
	maxClassCost = 100000
)

// A prefilter has at most so many literals, one of which must occur.
const maxLiterals = 16

var (
	errRegexSize = errors.New("the regular expression is too large")
	errClasses   = fmt.Errorf("%w: too many classes such as \\pL, or wide ranges without case", errRegexSize)
)

// regex is a compiled regular expression with what is known of the texts it matches.
type regex struct {
	src string
	// re is made when it is first needed, which is seldom (see [dfa]), and takes as long as all that Parse does.
	re   func() *regexp.Regexp
	tree *syntax.Regexp
	cost int
	// need are literals one of which is in every text that matches; nil when none are known. whole is set when a text
	// that holds one of them does match.
	need  []literal
	whole bool
}

// literal is a text, with or without case.
type literal struct {
	text string
	fold bool
}

// regexFlags: . matches a newline, ^ and $ are per line.
const regexFlags = syntax.Perl&^syntax.OneLine | syntax.DotNL

// compileRegex refuses what is too large before it compiles it, so that the answer comes quickly.
func compileRegex(src string) (*regex, error) {
	if len(src) > MaxRegex {
		return nil, fmt.Errorf("%w: %d bytes, the most is %d", errRegexSize, len(src), MaxRegex)
	}
	if classCost(src) > maxClassCost {
		return nil, errClasses
	}
	tree, err := syntax.Parse(src, regexFlags)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) && (se.Code == syntax.ErrNestingDepth || se.Code == syntax.ErrLarge || se.Code == syntax.ErrInvalidRepeatSize) {
			return nil, fmt.Errorf("%w: %s", errRegexSize, se.Code)
		}
		return nil, err
	}
	rx := &regex{src: src, tree: tree, cost: regexCost(tree)}
	if rx.cost > maxRegexCost {
		return nil, fmt.Errorf("%w: its repeats come to %d steps, the most is %d", errRegexSize, rx.cost, maxRegexCost)
	}
	// The flags are those of the parser above, and hold for the whole expression, alternatives included.
	rx.re = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("(?sm)" + src) })
	info := analyse(tree)
	if rx.need = info.exact; rx.need != nil {
		rx.whole = info.pure
	} else {
		rx.need = info.best
	}
	if !rx.whole && shortest(rx.need) < 2 {
		rx.need = nil
	}
	return rx, nil
}

// classCost estimates what the parser does for classes, from the text alone: it builds a table for each \pL, and in a
// range without case looks at every character.
func classCost(src string) int {
	const table, lastCased = 400, 0x1E943
	cost := 0
	fold, ranged := false, false
	last := rune(0)
	for i, r := range src {
		switch rest := src[i:]; {
		case strings.HasPrefix(rest, "(?"):
			flags := rest[2:]
			if j := strings.IndexAny(flags, ":)"); j >= 0 && strings.Contains(flags[:j], "i") {
				fold = true
			}
		case strings.HasPrefix(rest, `\p`), strings.HasPrefix(rest, `\P`):
			cost += table
		case strings.HasPrefix(rest, `\x{`):
			if hex, _, ok := strings.Cut(rest[3:], "}"); ok {
				if n, err := strconv.ParseUint(hex, 16, 31); err == nil {
					r = rune(n)
				}
			}
		}
		if ranged && fold {
			cost += int(max(min(r, lastCased)-last, 0))
		}
		ranged = r == '-'
		if !ranged {
			last = r
			if r < utf8.RuneSelf { // perhaps a digit of \x{…}: taken for the lowest
				last = 0
			}
		}
	}
	return cost
}

// regexCost estimates what a step over one character costs; it saturates.
func regexCost(re *syntax.Regexp) int {
	const most, several = 1 << 30, 8
	cost := 1
	switch re.Op {
	case syntax.OpLiteral:
		cost = len(re.Rune)
	case syntax.OpCharClass:
		cost = 1 + len(re.Rune)/16 // one instruction, but a table to search for each character
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		cost = several
	}
	for _, sub := range re.Sub {
		cost = min(cost+regexCost(sub), most)
	}
	if re.Op == syntax.OpRepeat {
		copies := max(re.Min, re.Max, 1)
		if re.Min == re.Max {
			cost -= several
		}
		cost = min(cost*copies, most)
	}
	return cost
}

// regexInfo is what analyse finds out about a part of an expression.
type regexInfo struct {
	exact []literal // the part matches one of these and nothing else; nil when that is not known
	pure  bool      // and it needs nothing of its surroundings
	best  []literal // one of these is in what the part matches; nil when none are known
}

// analyse collects required literals, as codesearch does: exact sets grow through concatenations and alternatives, and
// become a requirement where the expression goes on with something unknown.
func analyse(re *syntax.Regexp) regexInfo {
	empty := []literal{{}}
	switch re.Op {
	case syntax.OpLiteral:
		fold := re.Flags&syntax.FoldCase != 0
		if slices.Contains(re.Rune, utf8.RuneError) { // RE2 takes bytes that are not UTF-8 for this rune
			return regexInfo{}
		}
		s := string(re.Rune)
		if fold && !hasCase(s) {
			fold = false
		}
		return regexInfo{exact: []literal{{s, fold}}, pure: true}
	case syntax.OpCharClass:
		var set []literal
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if len(set) == 4 || r == utf8.RuneError {
					return regexInfo{}
				}
				set = append(set, literal{text: string(r)})
			}
		}
		if len(set) == 0 {
			return regexInfo{}
		}
		return regexInfo{exact: set, pure: true}
	case syntax.OpEmptyMatch:
		return regexInfo{exact: empty, pure: true}
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return regexInfo{exact: empty}
	case syntax.OpCapture:
		return analyse(re.Sub[0])
	case syntax.OpQuest:
		if sub := analyse(re.Sub[0]); sub.exact != nil && len(sub.exact) < maxLiterals {
			return regexInfo{exact: append(slices.Clip(sub.exact), literal{}), pure: sub.pure}
		}
	case syntax.OpPlus:
		return regexInfo{best: required(analyse(re.Sub[0]))}
	case syntax.OpRepeat:
		if re.Min > 0 {
			return regexInfo{best: required(analyse(re.Sub[0]))}
		}
	case syntax.OpConcat:
		out := regexInfo{exact: empty, pure: true}
		run := empty
		for _, kid := range re.Sub {
			sub := analyse(kid)
			out.pure = out.pure && sub.pure
			if next, mixed := cross(run, sub.exact); next != nil {
				out.pure = out.pure && !mixed
				run = next
				continue
			}
			out.exact = nil
			out.best = better(better(out.best, run), required(sub))
			run = empty
			if sub.exact != nil { // the product was too large: go on from here
				run = sub.exact
			}
		}
		if out.exact != nil {
			out.exact = run
		}
		out.best = better(out.best, run)
		return out
	case syntax.OpAlternate:
		out := regexInfo{exact: []literal{}, pure: true}
		all := []literal{}
		for _, kid := range re.Sub {
			sub := analyse(kid)
			if out.exact != nil && sub.exact != nil {
				out.exact = append(out.exact, sub.exact...)
				out.pure = out.pure && sub.pure
			} else {
				out.exact = nil
			}
			if need := required(sub); all != nil && need != nil {
				all = append(all, need...)
			} else {
				all = nil
			}
		}
		if len(out.exact) > maxLiterals {
			out.exact = nil
		}
		if len(all) <= maxLiterals {
			out.best = all
		}
		return out
	}
	return regexInfo{}
}

// required returns literals one of which is in every match of the part.
func required(i regexInfo) []literal {
	return better(i.exact, i.best)
}

// shortest returns the length of the shortest literal, 0 when there is none.
func shortest(set []literal) int {
	if len(set) == 0 {
		return 0
	}
	n := len(set[0].text)
	for _, l := range set[1:] {
		n = min(n, len(l.text))
	}
	return n
}

// better returns the set that rules out more: longer literals, then fewer of them.
func better(a, b []literal) []literal {
	x, y := shortest(a), shortest(b)
	switch {
	case x == 0 && y == 0:
		return nil
	case x > y, x == y && len(a) <= len(b):
		return a
	}
	return b
}

// cross returns every concatenation of a literal of a with one of b, nil when b is nil or they are too many. mixed tells
// that a part without case was joined with one that has it, so that the result is weaker than the expression.
func cross(a, b []literal) (out []literal, mixed bool) {
	if b == nil || len(a)*len(b) > maxLiterals {
		return nil, false
	}
	for _, x := range a {
		for _, y := range b {
			if x.fold != y.fold && (x.fold && hasCase(y.text) || y.fold && hasCase(x.text)) {
				mixed = true
			}
			out = append(out, literal{x.text + y.text, x.fold || y.fold})
		}
	}
	return out, mixed
}

// escapeRegex quotes s for a regular expression.
func escapeRegex(s string) string { return regexp.QuoteMeta(s) }

// What stands beside a whole word, as grep -w has it.
const (
	wordBefore = `(?:^|[^\pL\pN_])`
	wordBehind = `(?:[^\pL\pN_]|$)`
)

// wordRegex returns the expression that matches a literal as whole words only. Between ends that are ASCII letters,
// digits or _ it is \b, which is cheap to judge but knows ASCII alone: unlike grep -w, timeout is a word in timeoutgröße.
func wordRegex(lit string) string {
	first, _ := utf8.DecodeRuneInString(lit)
	last, _ := utf8.DecodeLastRuneInString(lit)
	if wordASCII(first) && wordASCII(last) {
		return `\b` + escapeRegex(lit) + `\b`
	}
	return wordBefore + escapeRegex(lit) + wordBehind
}

func wordASCII(r rune) bool {
	return r < utf8.RuneSelf && byteClass[r] != 0
}

// globRegex returns the expression for a glob of a whole value.
func globRegex(glob string) string {
	var b strings.Builder
	b.WriteString(`\A`)
	for i, part := range strings.Split(glob, "*") {
		if i > 0 {
			b.WriteString(".*")
		}
		for j, piece := range strings.Split(part, "?") {
			if j > 0 {
				b.WriteByte('.')
			}
			b.WriteString(escapeRegex(piece))
		}
	}
	b.WriteString(`\z`)
	return b.String()
}
