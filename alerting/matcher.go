package alerting

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Labels are what matchers see of an incident: rule, severity, service, env, host, container, level, fingerprint and mode,
// the labels of its rule, and the values of the fields that its rule counts by. A label that is missing is empty.
type Labels map[string]string

// MatchOp is how a [Matcher] compares.
type MatchOp string

// The comparisons of a matcher. Expressions are RE2 and match the whole value.
const (
	MatchEqual     MatchOp = "="
	MatchNotEqual  MatchOp = "!="
	MatchRegexp    MatchOp = "=~"
	MatchNotRegexp MatchOp = "!~"
)

// Matcher compares one label with a value. Make one with [NewMatcher] or [ParseMatchers]: the zero value matches nothing.
type Matcher struct {
	Name  string
	Op    MatchOp
	Value string

	re *regexp.Regexp
}

const (
	maxMatchers     = 50
	maxMatcherName  = 200  // bytes
	maxMatcherValue = 2000 // bytes
)

// NewMatcher returns a matcher, or an error that says what is wrong with its parts.
func NewMatcher(name string, op MatchOp, value string) (Matcher, error) {
	m := Matcher{Name: name, Op: op, Value: value}
	switch {
	case name == "":
		return Matcher{}, fmt.Errorf("a matcher has no label: write it as service=%q", "shop")
	case len(name) > maxMatcherName || len(value) > maxMatcherValue:
		return Matcher{}, fmt.Errorf("matcher of label %.40q is too long: a label has at most %d bytes, a value %d", name, maxMatcherName, maxMatcherValue)
	case !utf8.ValidString(name) || !utf8.ValidString(value):
		return Matcher{}, fmt.Errorf("matcher of label %.40q is not valid UTF-8", name)
	}
	switch op {
	case MatchEqual, MatchNotEqual:
	case MatchRegexp, MatchNotRegexp:
		// Alone first: "a)(b" would be an expression once it stands in parentheses.
		if _, err := regexp.Compile(value); err != nil {
			return Matcher{}, fmt.Errorf("label %s: %w", name, err)
		}
		re, err := regexp.Compile("^(?:" + value + ")$")
		if err != nil {
			return Matcher{}, fmt.Errorf("label %s: %w", name, err)
		}
		m.re = re
	default:
		return Matcher{}, fmt.Errorf("label %s: %q is no comparison: write =, !=, =~ or !~", name, op)
	}
	return m, nil
}

// Matches tells whether a value passes.
func (m Matcher) Matches(value string) bool {
	switch m.Op {
	case MatchEqual:
		return value == m.Value
	case MatchNotEqual:
		return value != m.Value
	case MatchRegexp:
		return m.re != nil && m.re.MatchString(value)
	case MatchNotRegexp:
		return m.re != nil && !m.re.MatchString(value)
	}
	return false
}

// String is the matcher as [ParseMatchers] reads it.
func (m Matcher) String() string {
	name := m.Name
	if strings.ContainsFunc(name, reserved) {
		name = quoteLabel(name)
	}
	return name + string(m.Op) + quoteLabel(m.Value)
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func quoteLabel(s string) string { return `"` + labelEscapes.Replace(s) + `"` }

// Matchers match what all of them match; none match everything. As text they are [ParseMatchers]'s.
type Matchers []Matcher

// Match tells whether all match.
func (ms Matchers) Match(l Labels) bool {
	for _, m := range ms {
		if !m.Matches(l[m.Name]) {
			return false
		}
	}
	return true
}

func (ms Matchers) String() string {
	parts := make([]string, len(ms))
	for i, m := range ms {
		parts[i] = m.String()
	}
	return strings.Join(parts, ",")
}

// MarshalText is String.
func (ms Matchers) MarshalText() ([]byte, error) { return []byte(ms.String()), nil }

// UnmarshalText is [ParseMatchers].
func (ms *Matchers) UnmarshalText(text []byte) (err error) {
	*ms, err = ParseMatchers(string(text))
	return err
}

// ParseMatchers reads a list of matchers in Alertmanager's syntax, {service="shop", env=~"prod.*"}: the braces and the
// quotes may be left out, a comma may end the list. In quotes \" is a quote, \n a newline and \\ a backslash, and any other
// backslash is one, so that "5\d\d" needs none doubled. Names and values without quotes hold none of { } , " and no
// space, names no = ! ~ \ ' ` either. An empty list has no matcher and is no error. An error says where it stands, counted in characters.
func ParseMatchers(text string) (Matchers, error) {
	p := matcherParser{text: text}
	ms, err := p.parse()
	if err != nil {
		at := utf8.RuneCountInString(text[:min(p.at, len(text))]) + 1
		return nil, fmt.Errorf("matchers %s: at character %d: %w", shown(text), at, err)
	}
	return ms, nil
}

// shown is a text as an error quotes it, bounded.
func shown(text string) string {
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	return fmt.Sprintf("%q", text)
}

// reserved is what a name cannot hold without quotes.
func reserved(r rune) bool {
	return strings.ContainsRune("{}=!~,\\\"'`", r) || unicode.IsSpace(r) || unicode.IsControl(r) || r == utf8.RuneError
}

type matcherParser struct {
	text string
	at   int // where it stands; with an error, where that is
}

func (p *matcherParser) parse() (Matchers, error) {
	p.space()
	braces := p.take("{")
	var ms Matchers
	for {
		p.space()
		if p.ends(braces) {
			break
		}
		begin := p.at
		m, err := p.matcher()
		if err != nil {
			return nil, err
		}
		if ms = append(ms, m); len(ms) > maxMatchers {
			p.at = begin
			return nil, fmt.Errorf("there are more than %d matchers: join some by =~%q", maxMatchers, "a|b")
		}
		p.space()
		if !p.take(",") && !p.ends(braces) {
			if p.at == len(p.text) {
				return nil, fmt.Errorf("the list does not end: add }")
			}
			return nil, fmt.Errorf("expected a comma: matchers are parted by commas, and a value with spaces, braces or quotes stands in quotes")
		}
	}
	if braces {
		p.take("}")
	}
	p.space()
	if p.at < len(p.text) {
		return nil, fmt.Errorf("there is more behind the closing brace: leave it out")
	}
	return ms, nil
}

func (p *matcherParser) ends(braces bool) bool {
	if braces {
		return strings.HasPrefix(p.text[p.at:], "}")
	}
	return p.at == len(p.text)
}

func (p *matcherParser) take(s string) bool {
	if !strings.HasPrefix(p.text[p.at:], s) {
		return false
	}
	p.at += len(s)
	return true
}

func (p *matcherParser) space() {
	p.at = len(p.text) - len(strings.TrimLeftFunc(p.text[p.at:], unicode.IsSpace))
}

func (p *matcherParser) matcher() (Matcher, error) {
	begin := p.at
	name, quoted, err := p.word(reserved)
	switch {
	case err != nil:
		return Matcher{}, err
	case name == "" && !quoted:
		return Matcher{}, fmt.Errorf("expected a label's name: write it as service=%q", "shop")
	}
	p.space()
	op := MatchOp("")
	for _, o := range [...]MatchOp{MatchRegexp, MatchNotRegexp, MatchNotEqual, MatchEqual} { // "=~" before "="
		if p.take(string(o)) {
			op = o
			break
		}
	}
	if op == "" {
		return Matcher{}, fmt.Errorf("label %s: expected =, !=, =~ or !~", shown(name))
	}
	p.space()
	value, _, err := p.word(func(r rune) bool {
		return strings.ContainsRune(`{},"`, r) || unicode.IsSpace(r) || unicode.IsControl(r)
	})
	if err != nil {
		return Matcher{}, err
	}
	m, err := NewMatcher(name, op, value)
	if err != nil {
		p.at = begin
	}
	return m, err
}

// word reads what stands in quotes, or up to the first character that must.
func (p *matcherParser) word(stop func(rune) bool) (word string, quoted bool, err error) {
	if !p.take(`"`) {
		rest := p.text[p.at:]
		n := strings.IndexFunc(rest, stop)
		if n < 0 {
			n = len(rest)
		}
		p.at += n
		return rest[:n], false, nil
	}
	begin := p.at - 1
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '"':
			return b.String(), true, nil
		case c == '\\' && p.at < len(p.text) && strings.IndexByte(`\n"`, p.text[p.at]) >= 0:
			if c = p.text[p.at]; c == 'n' {
				c = '\n'
			}
			p.at++
		}
		b.WriteByte(c)
	}
	p.at = begin
	return "", true, fmt.Errorf("the quote does not end: add another \"")
}
