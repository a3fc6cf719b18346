package query

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of a query.
const (
	MaxText  = 64 << 10 // bytes of text, as given and in the normal form
	MaxDepth = 100      // parentheses and negations within each other
	MaxTerms = 1000     // terms; each value of a list is one
	MaxGlob  = 1000     // bytes of a value with * or ?
	MaxRegex = 8 << 10  // bytes of a regular expression
)

// quoteIt is the mend for a character that text cannot hold without quotes.
const quoteIt = "quote it: %s, or use -F"

type parser struct {
	src     string
	pos     int
	depth   int
	terms   int
	cost    int // of the regular expressions so far
	classes int // what their classes cost
	hints   []Hint
	refs    []FieldRef
	// before is the word that was the last term when that was a plain word, with the place behind it: status >= 500 is
	// told from a text by it.
	before    string
	beforeEnd int
}

func (p *parser) fail(pos, end int, message, mend string) *Error {
	return &Error{Code: CodeSyntax, Message: printable(message), Mend: printable(mend), Pos: pos, End: max(pos, end), Text: p.src}
}

func (p *parser) parse() (node, *Error) {
	if len(p.src) > MaxText {
		return nil, p.limit(0, 0, fmt.Sprintf("the query has %d bytes, the most is %d", len(p.src), MaxText), "search for fewer things at once")
	}
	if !utf8.ValidString(p.src) {
		i := 0
		for i < len(p.src) {
			r, n := utf8.DecodeRuneInString(p.src[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return nil, p.fail(i, i+1, "the query is not UTF-8", "search for the text beside these bytes")
	}
	if p.space(); p.end() {
		return allNode{}, nil
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if !p.end() { // only a parenthesis stops or
		return nil, p.fail(p.pos, p.pos+1, `this ")" closes nothing`, fmt.Sprintf(quoteIt, quoted(p.chunk(p.wordStart()))))
	}
	return n, nil
}

func (p *parser) limit(pos, end int, message, mend string) *Error {
	e := p.fail(pos, end, message, mend)
	e.Code = CodeLimit
	return e
}

func (p *parser) end() bool { return p.pos >= len(p.src) }

func (p *parser) space() {
	for !p.end() {
		r, n := utf8.DecodeRuneInString(p.src[p.pos:])
		if !unicode.IsSpace(r) {
			return
		}
		p.pos += n
	}
}

// stops tells whether a token ends at i: the end, a space, or a parenthesis.
func (p *parser) stops(i int) bool {
	if i >= len(p.src) {
		return true
	}
	r, _ := utf8.DecodeRuneInString(p.src[i:])
	return r == '(' || r == ')' || unicode.IsSpace(r)
}

// closes tells whether what ends at i may end there: the end, a space or a closing parenthesis follows.
func (p *parser) closes(i int) bool { return p.stops(i) && !strings.HasPrefix(p.src[i:], "(") }

// keyword tells whether the operator stands here: in upper case and by itself.
func (p *parser) keyword(word string) bool {
	return strings.HasPrefix(p.src[p.pos:], word) && p.stops(p.pos+len(word))
}

// wordEnd returns where the word at i ends; list adds the comma to what ends it.
func (p *parser) wordEnd(i int, list bool) int {
	for j, r := range p.src[i:] {
		if r == '(' || r == ')' || r == '|' || list && r == ',' || unicode.IsSpace(r) {
			return i + j
		}
	}
	return len(p.src)
}

// wordStart returns where the run without spaces that holds the current position begins.
func (p *parser) wordStart() int {
	return strings.LastIndexFunc(p.src[:p.pos], unicode.IsSpace) + 1
}

// chunk returns what was probably meant as one text at i: up to the next space, without a closing parenthesis too many.
func (p *parser) chunk(i int) string {
	s := p.src[i:]
	if j := strings.IndexFunc(s, unicode.IsSpace); j >= 0 {
		s = s[:j]
	}
	if p.depth > 0 {
		for strings.HasSuffix(s, ")") && strings.Count(s, ")") > strings.Count(s, "(") {
			s = s[:len(s)-1]
		}
	}
	return shorten(s)
}

// shorten cuts what a message quotes.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	i := most
	for !utf8.RuneStart(s[i]) {
		i--
	}
	return s[:i] + "…"
}

// printable replaces what would break a line or a terminal in a message that quotes the query.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func (p *parser) or() (node, *Error) {
	var kids []node
	for {
		n, err := p.and()
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
		if !p.keyword("OR") {
			return or(kids...), nil
		}
		if err := p.operator("OR"); err != nil {
			return nil, err
		}
	}
}

// operator reads the binary operator that stands here, and sees to it that a term follows.
func (p *parser) operator(word string) *Error {
	start := p.pos
	p.pos += len(word)
	p.before = ""
	p.space()
	if p.end() || p.src[p.pos] == ')' || p.keyword("OR") || p.keyword("AND") {
		return p.fail(start, start+len(word), word+" needs a term behind it", fmt.Sprintf(quoteIt, quoted(word)))
	}
	return nil
}

func (p *parser) and() (node, *Error) {
	var kids []node
	for {
		p.space()
		switch {
		case p.end(), p.src[p.pos] == ')', p.keyword("OR"):
			if len(kids) > 0 {
				return and(kids...), nil
			}
			if p.keyword("OR") {
				return nil, p.fail(p.pos, p.pos+2, "OR needs a term before it", fmt.Sprintf(quoteIt, `"OR"`))
			}
		case p.keyword("AND"):
			if len(kids) == 0 {
				return nil, p.fail(p.pos, p.pos+3, "AND needs a term before it", fmt.Sprintf(quoteIt, `"AND"`))
			}
			if err := p.operator("AND"); err != nil {
				return nil, err
			}
		}
		n, err := p.not()
		if err != nil {
			return nil, err
		}
		kids = append(kids, n)
	}
}

func (p *parser) enter(pos int) *Error {
	if p.depth++; p.depth > MaxDepth {
		return p.limit(pos, pos+1, fmt.Sprintf("more than %d parentheses and negations within each other", MaxDepth), "write it flatter, or quote the text")
	}
	return nil
}

func (p *parser) not() (node, *Error) {
	start := p.pos
	switch {
	case p.keyword("NOT"):
		p.pos += len("NOT")
		p.before = ""
		p.space()
		if p.end() || p.src[p.pos] == ')' || p.keyword("OR") || p.keyword("AND") {
			return nil, p.fail(start, start+3, "NOT needs a term behind it", fmt.Sprintf(quoteIt, `"NOT"`))
		}
	case p.signHere():
		p.pos++
		p.before = ""
	default:
		return p.prim()
	}
	if err := p.enter(start); err != nil {
		return nil, err
	}
	n, err := p.not()
	if err != nil {
		return nil, err
	}
	p.depth--
	return not(n), nil
}

// signHere tells whether a - or ! stands here that negates what it touches. --x, an arrow and a run of signs are text.
func (p *parser) signHere() bool {
	s := p.src[p.pos:]
	if s == "" || s[0] != '-' && s[0] != '!' {
		return false
	}
	for _, text := range [...]string{"--", "->", "!="} {
		if strings.HasPrefix(s, text) {
			return false
		}
	}
	signs := len(s) - len(strings.TrimLeft(s, "-!"))
	if p.closes(p.pos + signs) {
		return false
	}
	return !(strings.HasPrefix(s, "!~") && p.closes(p.pos+2)) // a !~ b gets an error of its own
}

func (p *parser) prim() (node, *Error) {
	start := p.pos
	switch c := p.src[start]; {
	case c == '(':
		return p.group()
	case c == '|':
		return nil, p.bar()
	case c == '"' || c == '\'' || c == '`':
		return p.quotedTerm()
	case c == '~' && !p.closes(start+1):
		return p.regexTerm()
	}
	if end := nameEnd(p.src[start:]); end > 0 {
		if o, n, ok := p.operatorAt(start + end); ok {
			return p.field(start, p.src[start:start+end], o, start+end+n)
		}
	}
	return p.word()
}

func (p *parser) bar() *Error {
	return p.fail(p.pos, p.pos+1, `"|" is reserved`, `for either of two write OR; for the character `+fmt.Sprintf(quoteIt, `"|"`))
}

func (p *parser) group() (node, *Error) {
	start := p.pos
	if err := p.enter(start); err != nil {
		return nil, err
	}
	p.pos++
	p.before = ""
	p.space()
	if !p.end() && p.src[p.pos] == ')' {
		return nil, p.fail(start, p.pos+1, "nothing between the parentheses", fmt.Sprintf(quoteIt, quoted(p.src[start:p.pos+1])))
	}
	if p.end() {
		return nil, p.unclosed(start)
	}
	n, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.end() {
		return nil, p.unclosed(start)
	}
	p.pos++
	p.depth--
	p.before = ""
	if !p.closes(p.pos) {
		return nil, p.fail(p.pos, p.pos+1, `a space belongs behind ")"`, "put one there, or quote the text: "+quoted(p.chunk(start)))
	}
	return n, nil
}

func (p *parser) unclosed(start int) *Error {
	return p.fail(start, start+1, `this "(" is not closed`, `put a ")" behind what belongs together; for the character `+fmt.Sprintf(quoteIt, `"("`))
}

// str reads the string in quotes at i and returns what it stands for and the place behind it.
func (p *parser) str(i int) (s string, end int, err *Error) {
	q := p.src[i]
	body := p.src[i+1:]
	if q != '"' {
		if j := strings.IndexByte(body, q); j >= 0 {
			return body[:j], i + 1 + j + 1, nil
		}
	} else {
		var b strings.Builder
		for j := 0; j < len(body); j++ {
			switch c := body[j]; {
			case c == '"':
				return b.String(), i + 1 + j + 1, nil
			case c == '\\' && j+1 < len(body) && (body[j+1] == '"' || body[j+1] == '\\'):
				j++
				b.WriteByte(body[j])
			default:
				b.WriteByte(c)
			}
		}
	}
	return "", 0, p.fail(i, i+1, "this quote is not closed", "put "+string(q)+" behind the text; for the character "+fmt.Sprintf(quoteIt, quoted(string(q))))
}

// afterQuote checks that what follows a closing quote at p.pos may follow it.
func (p *parser) afterQuote(start int) *Error {
	if p.closes(p.pos) || p.src[p.pos] == '|' { // the bar gets its own error
		return nil
	}
	mend := "put a space there, or quote the whole: " + quoted(p.chunk(start))
	if p.src[p.pos] == ',' {
		mend = "put a space or OR there; commas part the values of a list: f:(a, b)"
	}
	return p.fail(p.pos, p.pos+1, "a space belongs behind a closing quote", mend)
}

func (p *parser) quotedTerm() (node, *Error) {
	start := p.pos
	s, end, err := p.str(start)
	if err != nil {
		return nil, err
	}
	if o, n, ok := p.operatorAfterQuote(end); ok {
		if s == "" {
			return nil, p.fail(start, end, "a field needs a name", "write it between the quotes")
		}
		return p.field(start, s, o, end+n)
	}
	p.pos = end
	p.before = ""
	if err := p.afterQuote(start); err != nil {
		return nil, err
	}
	return text(s), p.term(start)
}

// term counts a term.
func (p *parser) term(start int) *Error {
	if p.terms++; p.terms > MaxTerms {
		return p.limit(start, p.pos, fmt.Sprintf("more than %d terms", MaxTerms), "write a regular expression, or search in two steps")
	}
	return nil
}

func (p *parser) regexTerm() (node, *Error) {
	start := p.pos
	rx, err := p.regex(start, start+1)
	if err != nil {
		return nil, err
	}
	return &regexNode{rx}, p.term(start)
}

// regex reads the string or word at i as a regular expression; the term began at start.
func (p *parser) regex(start, i int) (*regex, *Error) {
	var src string
	p.before = ""
	if c := p.src[i]; c == '"' || c == '\'' || c == '`' {
		s, end, err := p.str(i)
		if err != nil {
			return nil, err
		}
		src, p.pos = s, end
		if err := p.afterQuote(start); err != nil {
			return nil, err
		}
	} else {
		end := p.wordEnd(i, false)
		if end < len(p.src) && (p.src[end] == '(' || p.src[end] == '|') {
			return nil, p.fail(end, end+1, fmt.Sprintf("a %q in a regular expression without quotes", p.src[end]),
				"quote it: "+p.src[start:i]+quoted(p.chunk(i)))
		}
		src, p.pos = p.src[i:end], end
	}
	var rx *regex
	var err error
	if p.classes += classCost(src); p.classes > maxClassCost { // before anything is done for them
		err = errClasses
	} else {
		rx, err = compileRegex(src)
	}
	if err == nil {
		if p.cost += rx.cost; p.cost > maxRegexCost {
			return nil, p.limit(i, p.pos, "the regular expressions together are too large", "write smaller repeats, such as x+ for x{1000}")
		}
		return rx, nil
	}
	if errors.Is(err, errRegexSize) {
		return nil, p.limit(i, p.pos, err.Error(), "write smaller repeats, such as x+ for x{1000}")
	}
	e := p.fail(i, p.pos, "not a regular expression", "for plain text leave out the ~")
	e.Code = CodeRegex
	var se *syntax.Error
	if errors.As(err, &se) {
		e.Message = "not a regular expression: " + se.Code.String()
		if j := strings.Index(p.src[i:p.pos], se.Expr); j >= 0 && se.Expr != "" && se.Expr != src {
			e.Pos, e.End = i+j, i+j+len(se.Expr)
		}
		switch se.Code {
		case syntax.ErrInvalidPerlOp:
			e.Mend = "RE2 has no look-around and no back references: use two terms, one with - before it"
		case syntax.ErrMissingParen, syntax.ErrUnexpectedParen:
			e.Mend = `for the character write \( or \)`
		case syntax.ErrMissingBracket:
			e.Mend = `for the character write \[`
		case syntax.ErrMissingRepeatArgument, syntax.ErrInvalidRepeatOp:
			e.Mend = `for the character put a \ before it`
		}
	}
	return nil, e
}

// word reads a text without quotes.
func (p *parser) word() (node, *Error) {
	start := p.pos
	end := p.wordEnd(start, false)
	w := p.src[start:end]
	if o, ok := operatorWord(w); ok {
		return nil, p.spacedOperator(w, o)
	}
	if name := p.before; name != "" && p.beforeSpaced(start) {
		if o, n := prefixOperator(w); n > 0 {
			return nil, p.spacedOperator(w[:n], o)
		}
	}
	if end < len(p.src) && p.src[end] == '(' {
		return nil, p.fail(end, end+1, `a "(" inside a word`, fmt.Sprintf(quoteIt, quoted(p.chunk(start))))
	}
	p.pos = end
	p.before, p.beforeEnd = "", end
	if isName(w) {
		p.before = w
	}
	if w == "*" {
		if !p.alone(start, end) {
			p.hint(start, end, "a * by itself matches everything", `for the character write "*"`)
		}
		return allNode{}, p.term(start)
	}
	switch core := strings.Trim(w, "*"); {
	case core == "":
	case regexLike(w):
		p.hint(start, end, "this is text here, no regular expression", "write "+QuoteRegex(w)+", or use -E")
	case !strings.Contains(core, "*") && core != w:
		p.hint(start, end, "words are substrings already; * is a plain character here", "write "+Quote(core))
	case core != w || strings.Contains(core, "*"):
		p.hint(start, end, "* is a plain character in text", "for any text between write "+QuoteRegex(strings.ReplaceAll(escapeRegex(core), `\*`, ".*")))
	}
	if (w == "or" || w == "and") && start > 0 && end < len(p.src) {
		p.hint(start, end, fmt.Sprintf("%q is a word to look for", w), "the operator is "+strings.ToUpper(w))
	}
	return text(w), p.term(start)
}

func (p *parser) beforeSpaced(start int) bool {
	return p.beforeEnd < start && strings.TrimSpace(p.src[p.beforeEnd:start]) == ""
}

// alone tells whether the query is nothing but src[start:end].
func (p *parser) alone(start, end int) bool {
	return strings.TrimSpace(p.src[:start]) == "" && strings.TrimSpace(p.src[end:]) == ""
}

// regexHabit is what stands in the regular expressions that people type, and seldom in a log line: .* and .+, an anchor,
// \d and its like (but not the \d of C:\dir), an escaped character, a range in brackets.
var regexHabit = regexp.MustCompile(`\.[*+]|^\^[\pL\pN"\\\[]|[\pL\pN*+\])]\$$|\\[dwsbDWSB](?:[^\pL]|$)|\\[.\[\]{}?+*^$/]|\[\^?[a-zA-Z0-9]-[a-zA-Z0-9]`)

// regexLike tells whether a word was probably meant as a regular expression.
func regexLike(w string) bool {
	if !regexHabit.MatchString(w) {
		return false
	}
	_, err := syntax.Parse(w, syntax.Perl)
	return err == nil
}

func (p *parser) hint(pos, end int, message, mend string) {
	p.hints = append(p.hints, Hint{Pos: pos, End: end, Message: message, Mend: mend})
}

// operatorWord tells whether w is one of the operators that must touch a field's name, or looks like one; right is how
// it is spelt here.
func operatorWord(w string) (right string, ok bool) {
	switch w {
	case "=", "!=", ">", ">=", "<", "<=", "!~":
		return w, true
	case "==", "===":
		return "=", true
	case "!==", "<>":
		return "!=", true
	case "=~":
		return "~", true
	}
	return "", false
}

// prefixOperator returns the operator that w begins with and its length there, 0 when w is no comparison but a text such
// as <nil>, =====, <=>.
func prefixOperator(w string) (right string, n int) {
	for _, s := range [...]string{"==", "=~", "!=", ">=", "<=", "=", ">", "<"} {
		rest, ok := strings.CutPrefix(w, s)
		if !ok {
			continue
		}
		if rest == "" || strings.ContainsAny(rest[:1], "=<>~!") {
			return "", 0
		}
		if _, isLimit := parseLimit(rest); (s == ">" || s == "<") && !isLimit {
			return "", 0
		}
		right, _ = operatorWord(s)
		return right, len(s)
	}
	return "", 0
}

// tokenEnd returns where the string or word at i ends.
func (p *parser) tokenEnd(i int) int {
	if i < len(p.src) && strings.ContainsAny(p.src[i:i+1], "\"'`") {
		if _, end, err := p.str(i); err == nil {
			return end
		}
	}
	return p.wordEnd(i, false)
}

// next returns the place of the token behind the spaces at i and its text, empty when there is none.
func (p *parser) next(i int) (at int, token string) {
	at = len(p.src) - len(strings.TrimLeftFunc(p.src[i:], unicode.IsSpace))
	return at, p.src[at:p.tokenEnd(at)]
}

// spacedOperator is the error for an operator w that does not touch a field's name.
func (p *parser) spacedOperator(w, right string) *Error {
	start, end := p.pos, p.pos+len(w)
	if p.before == "" || !p.beforeSpaced(start) {
		return p.fail(start, end, fmt.Sprintf("no field's name before %q", w), fmt.Sprintf(quoteIt, quoted(w)))
	}
	at, value := p.next(end)
	mend := "write " + p.before + right + "VALUE"
	if value != "" {
		whole := p.src[p.beforeEnd-len(p.before) : at+len(value)]
		mend = "write " + p.before + right + shorten(value) + "; for text quote it: " + shorten(quoted(whole))
	}
	return p.fail(start, end, "an operator must touch the field's name and its value", mend)
}

// Names.

func nameStart(r rune) bool { return r == '_' || r == '@' || unicode.IsLetter(r) }

func namePart(r rune) bool { return r == '-' || nameStart(r) || unicode.IsDigit(r) }

// nameEnd returns the length of the longest run at s's start that is a name, 0 when there is none or what follows makes
// it none.
func nameEnd(s string) int {
	first := true
	last := rune(0)
	for i, r := range s {
		switch {
		case first && nameStart(r), !first && namePart(r):
			first = false
		case !first && r == '.' && last != '-':
			first = true
		case first || last == '-':
			return 0
		default:
			return i
		}
		last = r
	}
	if first || last == '-' {
		return 0
	}
	return len(s)
}

// isName tells whether s is a name that needs no quotes.
func isName(s string) bool { return s != "" && nameEnd(s) == len(s) }

// notAField tells whether what follows a name and ':' makes the whole a text, as in a::b, http://x, C:\dir.
func notAField(rest string) bool {
	return strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "//") || strings.HasPrefix(rest, `\`)
}

// operatorAt returns the operator behind a name without quotes that ends at i, and its length.
func (p *parser) operatorAt(i int) (o op, n int, ok bool) {
	o, n, ok = p.operatorAfterQuote(i)
	if ok && o == opHas && (p.closes(i+1) || notAField(p.src[i+1:])) {
		return 0, 0, false
	}
	return o, n, ok
}

// operatorAfterQuote returns the operator at i and its length; after a name in quotes it is one whatever follows.
func (p *parser) operatorAfterQuote(i int) (o op, n int, ok bool) {
	s := p.src[i:]
	for _, o := range [...]op{opNe, opNotMatch, opGe, opLe, opHas, opEq, opGt, opLt, opMatch} {
		if strings.HasPrefix(s, opText[o]) {
			if o == opEq && strings.HasPrefix(s, "=>") {
				return 0, 0, false
			}
			return o, len(opText[o]), true
		}
	}
	return 0, 0, false
}

// field reads what follows a field's operator, from i on.
func (p *parser) field(start int, name string, o op, i int) (node, *Error) {
	p.before = ""
	n := &fieldNode{name: name, op: o}
	if name == nameTime {
		end := p.tokenEnd(i)
		return nil, p.fail(start, end, "time is not part of a query, it is a range beside it",
			"use --since and --until; for text quote it: "+shorten(quoted(p.src[start:end])))
	}
	var err *Error
	switch {
	case p.closes(i):
		err = p.noValue(start, i)
	case p.src[i] == '|':
		p.pos = i
		err = p.bar()
	case o == opMatch || o == opNotMatch:
		if p.src[i] == '(' {
			return nil, p.fail(i, i+1, `a "(" in a regular expression without quotes`, "quote it: "+p.src[start:i]+quoted(p.chunk(i)))
		}
		n.rx, err = p.regex(start, i)
	case p.src[i] == '(' && o == opHas:
		err = p.list(n, start, i)
	case p.src[i] == '(':
		err = p.fail(i, i+1, "a list stands behind a colon only", "write "+shorten(p.listMend(start, name, o, i)))
	default:
		err = p.value(n, start, i)
	}
	if err != nil {
		return nil, err
	}
	if !builtin(name) {
		p.ref(name, start)
	}
	return n, p.term(start)
}

func (p *parser) listMend(start int, name string, o op, i int) string {
	sign := ""
	if o == opNe {
		sign = "-"
	}
	body := p.src[i:]
	if j := strings.IndexByte(body, ')'); j >= 0 {
		body = body[:j+1]
	}
	return sign + strings.TrimSuffix(p.src[start:i], opText[o]) + ":" + body
}

func (p *parser) noValue(start, i int) *Error {
	if at, value := p.next(i); at > i && value != "" {
		return p.fail(start, i, "an operator must touch the field's name and its value",
			"write "+shorten(p.src[start:i]+value)+"; for text quote it: "+shorten(quoted(p.src[start:i])))
	}
	return p.fail(start, i, "a value is missing", "for an empty value write "+shorten(p.src[start:i])+`""; for text quote it: `+shorten(quoted(p.src[start:i])))
}

func (p *parser) ref(name string, start int) {
	for _, r := range p.refs {
		if r.Name == name {
			return
		}
	}
	p.refs = append(p.refs, FieldRef{Name: name, Pos: start, End: p.pos, Text: p.src[start:p.pos]})
}

// value reads the one value at i.
func (p *parser) value(n *fieldNode, start, i int) *Error {
	var raw string
	inQuotes := false
	if c := p.src[i]; c == '"' || c == '\'' || c == '`' {
		s, end, err := p.str(i)
		if err != nil {
			return err
		}
		raw, p.pos, inQuotes = s, end, true
		if err := p.afterQuote(start); err != nil {
			return err
		}
	} else {
		end := p.wordEnd(i, false)
		raw = p.src[i:end]
		if err := p.foreignValue(n, start, i, end); err != nil {
			return err
		}
		if end < len(p.src) && p.src[end] == '(' {
			return p.fail(end, end+1, `a "(" inside a word`, "quote it: "+shorten(p.src[start:i]+quoted(p.chunk(i)))+", or use -F")
		}
		p.pos = end
	}
	if n.op.ordered() {
		return p.ordered(n, start, i, raw)
	}
	v, err := classify(n.name, n.op, raw, inQuotes)
	if err != nil {
		return p.at(err, start, i)
	}
	n.vals = []value{v}
	if n.name == nameLevel && n.op == opEq && v.kind == vLevel {
		n.op = opHas
	}
	return nil
}

// at makes an error of what classify says about the value between i and p.pos.
func (p *parser) at(err *valueError, start, i int) *Error {
	mend := err.mend
	if err.asText {
		mend += "; for text quote it: " + shorten(quoted(p.src[start:p.pos]))
	}
	return p.fail(i, p.pos, err.message, mend)
}

// foreignValue finds comparisons as other languages write them, between i and end.
func (p *parser) foreignValue(n *fieldNode, start, i, end int) *Error {
	raw := p.src[i:end]
	name := strings.TrimSuffix(p.src[start:i], opText[n.op])
	wrong := func(to int, right string) *Error {
		return p.fail(start, to, "that is how another language writes it",
			"write "+shorten(right)+"; for text quote it: "+shorten(quoted(p.src[start:to])))
	}
	// comparison is the error for the operator s at i.
	comparison := func(s string) *Error {
		right, ok := operatorWord(s)
		if !ok {
			right = s // ~
		}
		at, value := p.next(i + len(s))
		if value == "" {
			return wrong(i+len(s), name+right+"VALUE")
		}
		if right == "~" && !strings.ContainsAny(value[:1], "\"'`") {
			return wrong(at+len(value), name+right+quoted(value))
		}
		return wrong(at+len(value), name+right+value)
	}
	switch n.op {
	case opHas:
		if strings.HasPrefix(raw, `~"`) || strings.HasPrefix(raw, "~'") || strings.HasPrefix(raw, "~`") {
			_, e, err := p.str(i + 1)
			if err != nil {
				return err
			}
			return wrong(e, name+p.src[i:e])
		}
		for _, s := range [...]string{">=", "<=", "!=", "==", "="} {
			if strings.HasPrefix(raw, s) {
				return comparison(s)
			}
		}
		if raw[0] == '>' || raw[0] == '<' {
			_, ok := parseLimit(raw[1:])
			if ok || raw[1:] == "" || n.name == nameLevel { // but err:<nil> is a value
				return comparison(raw[:1])
			}
		}
		if raw[0] == '[' || raw[0] == '{' {
			return p.bracketRange(n, start, i, wrong)
		}
	case opEq:
		if raw[0] == '=' || raw[0] == '~' {
			return comparison(raw[:1])
		}
	}
	return nil
}

// bracketRange finds Lucene's f:[1 TO 5].
func (p *parser) bracketRange(n *fieldNode, start, i int, wrong func(int, string) *Error) *Error {
	body := p.src[i+1:]
	j := strings.IndexAny(body, "]}")
	if j < 0 {
		return nil
	}
	f := strings.Fields(body[:j])
	if len(f) != 3 || f[1] != "TO" {
		return nil
	}
	lo, hi := f[0], f[2]
	if lo != "*" && !bareSafe(lo, false) || hi != "*" && !bareSafe(hi, false) {
		return nil
	}
	name := strings.TrimSuffix(p.src[start:i], opText[n.op])
	right := name + ":" + lo + ".." + hi
	switch {
	case lo == "*" && hi == "*":
		right = name + ":*"
	case lo == "*":
		right = name + "<=" + hi
	case hi == "*":
		right = name + ">=" + lo
	}
	return wrong(i+1+j+1, right)
}

// ordered reads the limit of > >= < <=.
func (p *parser) ordered(n *fieldNode, start, i int, raw string) *Error {
	if n.name == nameLevel {
		l, err := levelLimit(raw)
		if err != nil {
			return p.at(err, start, i)
		}
		n.lim = l
		// A number is syslog's, where less is worse.
		if isDigit(raw[0]) {
			n.op = [...]op{opGt: opLt, opGe: opLe, opLt: opGt, opLe: opGe}[n.op]
		}
		return nil
	}
	l, ok := parseLimit(raw)
	if !ok {
		return p.fail(i, p.pos, opText[n.op]+" compares numbers, durations, sizes and levels; this is none",
			"write one, such as 500, 1.5s, 10MB or warning; for text quote it: "+shorten(quoted(p.src[start:p.pos])))
	}
	n.lim = l
	return nil
}

// list reads f:(a, b OR c); i is at the parenthesis.
func (p *parser) list(n *fieldNode, start, i int) *Error {
	p.pos = i + 1
	for {
		p.space()
		at := p.pos
		switch {
		case p.end():
			return p.unclosed(i)
		case p.keyword("AND"), p.keyword("NOT"):
			return p.listWord()
		case strings.ContainsAny(p.src[at:at+1], ",)") || p.keyword("OR"):
			return p.fail(at, at+1, "a value is missing in the list", `write the values as f:(a, b); for an empty one write ""`)
		}
		var raw string
		inQuotes := false
		switch c := p.src[at]; c {
		case '"', '\'', '`':
			s, end, err := p.str(at)
			if err != nil {
				return err
			}
			raw, p.pos, inQuotes = s, end, true
		default:
			end := p.wordEnd(at, true)
			if end < len(p.src) && (p.src[end] == '(' || p.src[end] == '|') {
				return p.fail(end, end+1, fmt.Sprintf("a %q in a list", p.src[end]), "part values with a comma or OR; for text quote it: "+quoted(p.chunk(start)))
			}
			raw, p.pos = p.src[at:end], end
		}
		v, verr := classify(n.name, opHas, raw, inQuotes)
		if verr != nil {
			return p.at(verr, at, at)
		}
		n.vals = append(n.vals, v)
		if len(n.vals) > 1 { // the last one is counted by field
			if err := p.term(at); err != nil {
				return err
			}
		}
		if inQuotes && !p.closes(p.pos) && p.src[p.pos] != ',' {
			return p.afterQuote(at)
		}
		p.space()
		switch {
		case p.end():
			return p.unclosed(i)
		case p.src[p.pos] == ')':
			p.pos++
			if !p.closes(p.pos) {
				return p.fail(p.pos, p.pos+1, `a space belongs behind ")"`, "put one there, or quote the text: "+shorten(quoted(p.chunk(start))))
			}
			return nil
		case p.src[p.pos] == ',':
			p.pos++
		case p.keyword("OR"):
			p.pos += 2
		case p.keyword("AND"), p.keyword("NOT"):
			return p.listWord()
		default:
			end := p.wordEnd(p.pos, true)
			return p.fail(p.pos, end, "a space does not part the values of a list",
				"write a comma or OR between them; a value with a space in it: "+shorten(quoted(p.src[at:end])))
		}
	}
}

func (p *parser) listWord() *Error {
	return p.fail(p.pos, p.pos+3, p.src[p.pos:p.pos+3]+" does not stand inside a list",
		"write two terms, such as f:a f:b or f:a -f:b; for the word quote it: "+quoted(p.src[p.pos:p.pos+3]))
}

// valueError says why a value is none.
type valueError struct {
	message, mend string
	asText        bool // the term may have been meant as text
}

// classify finds out what a value after : = or != is.
func classify(name string, o op, raw string, inQuotes bool) (value, *valueError) {
	if name == nameLevel {
		return classifyLevel(o, raw, inQuotes)
	}
	v := value{kind: vText, text: raw}
	if inQuotes {
		return v, nil
	}
	if o == opHas {
		if raw == "*" {
			return value{kind: vExists}, nil
		}
		if name != nameMessage {
			if r, ok, err := classifyRange(name, raw); ok || err != nil {
				return r, err
			}
			if r, ok, err := classifyCIDR(raw); ok || err != nil {
				return r, err
			}
		}
		if strings.ContainsAny(raw, "*?") {
			if len(raw) > MaxGlob {
				return v, &valueError{message: fmt.Sprintf("a value with * or ? has %d bytes, the most is %d", len(raw), MaxGlob), mend: "write a regular expression, or quote it"}
			}
			v.kind = vGlob
			return v, nil
		}
		if name == nameMessage {
			return v, nil
		}
	}
	if _, ok := parseQuantity([]byte(raw)); ok {
		v.kind = vQuantity
	}
	return v, nil
}

const levelNames = "the levels are emergency, alert, critical, error, warning, notice, info, debug"

func levelLimit(s string) (limit, *valueError) {
	l, ok := levelValue(s)
	if !ok {
		return limit{}, noLevel(s)
	}
	return limit{text: l.String(), isLevel: true, level: l}, nil
}

func noLevel(s string) *valueError {
	if _, ok := parseQuantity([]byte(s)); ok {
		return &valueError{message: "a level as a number is syslog's, 0 to 7", mend: levelNames, asText: true}
	}
	return &valueError{message: fmt.Sprintf("no level is called %q", shorten(s)), mend: levelNames, asText: true}
}

func classifyLevel(o op, raw string, inQuotes bool) (value, *valueError) {
	if l, ok := levelValue(raw); ok {
		return value{kind: vLevel, level: l}, nil
	}
	if o == opHas && !inQuotes {
		if raw == "*" {
			return value{kind: vExists}, nil
		}
		if lo, hi, ok := strings.Cut(raw, ".."); ok {
			a, err := levelLimit(lo)
			if err != nil {
				return value{}, err
			}
			b, err := levelLimit(hi)
			if err != nil {
				return value{}, err
			}
			if a.level < b.level { // the milder one comes first
				a, b = b, a
			}
			return value{kind: vRange, lo: a, hi: b}, nil
		}
		if strings.ContainsAny(raw, "*?") && len(raw) <= MaxGlob {
			return value{kind: vGlob, text: raw}, nil
		}
	}
	return value{}, noLevel(raw)
}

// classifyRange reads lo..hi. What has no limit on either side is no range but a value, as a..b.
func classifyRange(name, raw string) (v value, ok bool, err *valueError) {
	a, b, cut := strings.Cut(raw, "..")
	if !cut {
		return v, false, nil
	}
	lo, lok := parseLimit(a)
	hi, hok := parseLimit(b)
	switch {
	case lok && b == "":
		return v, false, &valueError{message: "a range needs two limits", mend: "write " + printName(name) + ">=" + a, asText: true}
	case hok && a == "":
		return v, false, &valueError{message: "a range needs two limits", mend: "write " + printName(name) + "<=" + b, asText: true}
	case !lok || !hok:
		return v, false, nil
	case lo.isLevel != hi.isLevel || lo.q.dim != hi.q.dim:
		return v, false, &valueError{message: fmt.Sprintf("a range from %s to %s", lo.what(), hi.what()), mend: "give both limits the same unit", asText: true}
	}
	if lo.isLevel {
		if lo.level < hi.level {
			lo, hi = hi, lo
		}
	} else if c, _ := lo.q.compare(&hi.q, unit{}); c > 0 {
		return v, false, &valueError{message: "the range is empty: its first limit is above its second", mend: "write " + printName(name) + ":" + b + ".." + a, asText: true}
	}
	return value{kind: vRange, lo: lo, hi: hi}, true, nil
}

func printName(name string) string {
	if isName(name) {
		return name
	}
	return quoted(name)
}

func classifyCIDR(raw string) (v value, ok bool, err *valueError) {
	addr, bits, cut := strings.Cut(raw, "/")
	if !cut || bits == "" {
		return v, false, nil
	}
	if _, ok := parseAddr([]byte(addr)); !ok {
		return v, false, nil
	}
	for _, c := range []byte(bits) {
		if !isDigit(c) {
			return v, false, nil
		}
	}
	prefix, perr := netip.ParsePrefix(raw)
	if perr != nil {
		return v, false, &valueError{message: "not a network: an address with too many bits behind the /", mend: "write at most /32, for IPv6 /128", asText: true}
	}
	if prefix.Addr().Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return value{kind: vCIDR, prefix: prefix.Masked()}, true, nil
}
