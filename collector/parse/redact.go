package parse

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/lookoutlog/lookout/internal/event"
)

// RedactRule replaces what must not be kept. Exactly one of Regex and Field is set.
type RedactRule struct {
	Name string
	// Regex is an RE2 expression: what it matches, anywhere in a message, in the name or value of a field, in a service, env,
	// host, container or stream, becomes Replace, in which $1 and ${name} stand for groups.
	Regex string
	// Field is the name of a field, without case, * for any characters: its values become Replace as they are.
	Field string
	// Replace is "[NAME]" when it is empty.
	Replace string
}

// The longest expression and replacement of a rule, in bytes. What is replaced may be one byte of a message of a MiB.
const (
	maxRedactRegex   = 1000
	maxRedactReplace = 64
)

// shipped are the rules that have a name already.
var shipped = []struct {
	rule RedactRule
	may  func([]byte) bool // whether it is worth to look closer
	is   func([]byte) bool // whether what was matched is meant; nil for always
}{
	{RedactRule{Name: "email", Regex: `[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)*\.[A-Za-z]{2,}`}, holds("@"), nil},
	{RedactRule{Name: "card", Regex: `\b[2-6][0-9](?:[ \-]?[0-9]){11,17}\b`}, manyDigits, luhn},
	{RedactRule{Name: "bearer", Regex: `(?i)\b(bearer|basic)(\s+|%20|\+)[A-Za-z0-9._~+/\-]{8,}=*`, Replace: "$1$2[bearer]"}, holds("earer", "EARER", "asic", "ASIC"), nil},
	{RedactRule{Name: "jwt", Regex: `\beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*`}, holds("eyJ"), nil},
	{RedactRule{Name: "aws_key", Regex: `\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`}, holds("AKIA", "ASIA"), nil},
	{RedactRule{Name: "url_password", Regex: `([A-Za-z][A-Za-z0-9+.\-]*://[^\s:/?#@]*:)[^\s/?#@]+@`, Replace: "$1[url_password]@"}, holds("://"), nil},
	{RedactRule{Name: "password", Regex: `(?i)(` + passwordKey + `\\+")[^"\\]*|(` + passwordKey + `")(?:[^"\\]|\\.)*|(` + passwordKey + `')[^']*|(` + passwordKey + `)[^\s,;&"'}\\]+`,
		Replace: "$1$2$3$4[password]"},
		holds("ass", "ASS", "wd", "WD", "ecret", "ECRET", "ey", "EY", "oken", "OKEN"), nil},
}

// passwordKey is what stands before a password in a text, quotes left out: they stay, so that JSON stays JSON.
const passwordKey = `(?:password|passwd|passphrase|pwd|secret|api[_\-]?key|access[_\-]?token)\\*["']?\s*[=:]\s*`

// passwordFields are the fields that the shipped rule password empties: a message that is JSON has become them.
var passwordFields = []string{"*password", "*passwd", "*passphrase", "*secret", "*api_key", "*apikey", "*api-key", "*access_token"}

// ShippedRedactions are the names of the rules that need only their name.
func ShippedRedactions() []string {
	var names []string
	for _, s := range shipped {
		names = append(names, s.rule.Name)
	}
	return names
}

func holds(any ...string) func([]byte) bool {
	return func(text []byte) bool {
		return slices.ContainsFunc(any, func(s string) bool { return bytes.Contains(text, []byte(s)) })
	}
}

// manyDigits tells whether there are as many digits as a card's number has, one behind the other but for spaces and hyphens.
func manyDigits(text []byte) bool {
	n := 0
	for _, c := range text {
		switch {
		case c >= '0' && c <= '9':
			if n++; n == 13 {
				return true
			}
		case c != ' ' && c != '-':
			n = 0
		}
	}
	return false
}

// luhn tells whether the digits have a card's check digit.
func luhn(text []byte) bool {
	sum, n := 0, 0
	for _, c := range slices.Backward(text) {
		if c < '0' || c > '9' {
			continue
		}
		d := int(c - '0')
		if n%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		n++
	}
	return n >= 13 && n <= 19 && sum%10 == 0
}

// Redactor replaces in events what must not be kept, before they are stored, sent on or seen by anybody. It is safe for use by
// several goroutines with a batch each.
type Redactor struct {
	texts  []*redaction // of expressions
	fields []*redaction // of fields' names
	all    []*redaction
}

type redaction struct {
	name    string
	re      *regexp.Regexp
	replace []byte
	plain   bool // replace has no groups
	may, is func([]byte) bool
	hits    atomic.Int64
}

// NewRedactor returns a redactor of the shipped rules that are named and of rules of one's own, in this order. The error
// names the rule and says what is wrong with it.
func NewRedactor(named []string, own []RedactRule) (*Redactor, error) {
	r := &Redactor{}
	for _, name := range named {
		i := slices.IndexFunc(shipped, func(s struct {
			rule    RedactRule
			may, is func([]byte) bool
		}) bool {
			return s.rule.Name == name
		})
		if i < 0 {
			return nil, fmt.Errorf("there is no rule %q; these are there: %s", name, strings.Join(ShippedRedactions(), ", "))
		}
		s := &shipped[i]
		if err := r.add(s.rule, s.may, s.is); err != nil {
			return nil, err
		}
		if name == "password" {
			for _, field := range passwordFields {
				if err := r.add(RedactRule{Name: name, Field: field}, nil, nil); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, rule := range own {
		if err := r.add(rule, nil, nil); err != nil {
			return nil, fmt.Errorf("rule %q: %w", rule.Name, err)
		}
	}
	return r, nil
}

func (r *Redactor) add(rule RedactRule, may, is func([]byte) bool) error {
	replace := rule.Replace
	if replace == "" {
		replace = "[" + rule.Name + "]"
	}
	d := &redaction{name: rule.Name, replace: []byte(replace), plain: !strings.Contains(replace, "$"), may: may, is: is}
	text := rule.Regex
	switch {
	case (rule.Regex == "") == (rule.Field == ""):
		return errors.New("give either a regex or a field")
	case len(replace) > maxRedactReplace:
		return fmt.Errorf("the replacement has %d bytes, the most is %d", len(replace), maxRedactReplace)
	case rule.Field != "":
		d.plain = true
		text = `(?is)^` + strings.ReplaceAll(regexp.QuoteMeta(rule.Field), `\*`, ".*") + `$`
	case len(rule.Regex) > maxRedactRegex:
		return fmt.Errorf("the regex has %d bytes, the most is %d", len(rule.Regex), maxRedactRegex)
	}
	var err error
	if d.re, err = regexp.Compile(text); err != nil {
		return fmt.Errorf("not a regular expression: %w", err)
	}
	if rule.Regex != "" && d.re.MatchString("") {
		return errors.New("the regex matches nothing at all, everywhere; let it match at least one character")
	}
	// What was replaced must not be replaced again when a batch is sent anew.
	if rule.Regex != "" && d.plain && d.re.Match(d.replace) {
		if out := d.re.ReplaceAllLiteral(d.replace, d.replace); !bytes.Equal(out, d.replace) {
			return fmt.Errorf("the regex matches a part of its own replacement %q; write another one", replace)
		}
	}
	if r.all = append(r.all, d); rule.Field != "" {
		r.fields = append(r.fields, d)
	} else {
		r.texts = append(r.texts, d)
	}
	return nil
}

// Hits counts, by rule, the texts in which something was replaced since the start.
func (r *Redactor) Hits() map[string]int64 {
	m := map[string]int64{}
	for _, d := range r.all {
		m[d.name] += d.hits.Load()
	}
	return m
}

// Process replaces what the rules match in b's events, in place. The number and order of the events stay.
func (r *Redactor) Process(b *event.Batch) {
	for i := range b.Events {
		e := &b.Events[i]
		changed := false
		for _, part := range [...]*[]byte{&e.Message, &e.Service, &e.Env, &e.Host, &e.Container, &e.Stream} {
			changed = r.text(b, part) || changed
		}
		for j := range e.Fields {
			f := &e.Fields[j]
			for _, d := range r.fields {
				if d.re.Match(f.Name) && !bytes.Equal(f.Value, d.replace) {
					f.Value, f.Kind = b.Copy(d.replace), event.String
					d.hits.Add(1)
					changed = true
					break
				}
			}
			changed = r.text(b, &f.Name) || changed
			if r.text(b, &f.Value) {
				f.Kind, changed = event.String, true
			}
		}
		if changed {
			b.Clamp(e) // a replacement may be longer than what it stands for
		}
	}
}

// text replaces what the rules match in one text, and tells whether anything did.
func (r *Redactor) text(b *event.Batch, text *[]byte) (changed bool) {
	if len(*text) == 0 {
		return false
	}
	for _, d := range r.texts {
		if d.may != nil && !d.may(*text) {
			continue
		}
		if out := d.replaced(*text); !bytes.Equal(out, *text) {
			*text = b.Copy(out)
			d.hits.Add(1)
			changed = true
		}
	}
	return changed
}

// replaced returns the text with all matches replaced, itself when there are none.
func (d *redaction) replaced(text []byte) []byte {
	switch {
	case !d.re.Match(text): // nearly always, and without memory
		return text
	case d.is != nil:
		return d.re.ReplaceAllFunc(text, func(match []byte) []byte {
			if d.is(match) {
				return d.replace
			}
			return match
		})
	case d.plain:
		return d.re.ReplaceAllLiteral(text, d.replace)
	}
	return d.re.ReplaceAll(text, d.replace)
}
