package main

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/lookoutlog/lookout/index/query"
)

// marksOf returns what finds, in a message, the parts that make it match: the query's words and regular expressions that
// are not negated, and further expressions (--highlight). It is nil when there are none.
func marksOf(q *query.Query, more []string) (func(message string) [][]int, error) {
	var parts []string
	if q != nil {
		parts = positives(q.String())
	}
	for _, text := range more {
		if _, err := regexp.Compile(text); err != nil {
			return nil, err
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return nil, nil
	}
	re, err := regexp.Compile("(?m:(?:" + strings.Join(parts, ")|(?:") + "))")
	if err != nil {
		return nil, nil // too large together, though each is good: nothing is marked
	}
	return func(message string) [][]int { return re.FindAllStringIndex(message, -1) }, nil
}

// positives reads a query in its normal form, in which terms are parted by one space, and plain words hold no operator,
// and returns the terms over text, not negated, as regular expressions.
func positives(normal string) []string {
	var parts []string
	s := normalForm{normal}
	for negated := false; ; {
		s.text = strings.TrimLeft(s.text, " )")
		switch {
		case s.text == "":
			return parts
		case s.text[0] == '-':
			negated = true
			s.text = s.text[1:]
			continue
		case s.text[0] == '(':
			if negated {
				s.group()
			} else {
				s.text = s.text[1:]
			}
		default:
			if part := s.term(); part != "" && !negated {
				parts = append(parts, part)
			}
		}
		negated = false
	}
}

type normalForm struct{ text string }

// group passes over a group in parentheses.
func (s *normalForm) group() {
	depth := 0
	for s.text != "" {
		switch s.text[0] {
		case '(':
			depth++
		case ')':
			depth--
		case '"', '\'', '`':
			s.quoted()
			continue
		}
		s.text = s.text[1:]
		if depth == 0 {
			return
		}
	}
}

// term takes one term and returns its regular expression, empty for one that is not about text.
func (s *normalForm) term() string {
	if rest, ok := strings.CutPrefix(s.text, "~"); ok {
		s.text = rest
		return s.value()
	}
	literal := ""
	if strings.ContainsRune("\"'`", rune(s.text[0])) {
		literal = s.quoted()
	} else {
		end := strings.IndexAny(s.text, " ():=<>!~")
		if end < 0 {
			end = len(s.text)
		}
		literal, s.text = s.text[:end], s.text[end:]
	}
	op := len(s.text) - len(strings.TrimLeft(s.text, ":=<>!~"))
	if op > 0 {
		operator := s.text[:op]
		s.text = s.text[op:]
		if strings.HasPrefix(s.text, "(") {
			s.group()
			return ""
		}
		value := s.value()
		switch {
		case literal != "message":
			return ""
		case operator == "~":
			return value
		case operator == ":" && value != "*":
			return smartCase(value)
		}
		return ""
	}
	if literal == "OR" || literal == "*" {
		return ""
	}
	return smartCase(literal)
}

// value takes what stands behind an operator.
func (s *normalForm) value() string {
	if s.text != "" && strings.ContainsRune("\"'`", rune(s.text[0])) {
		return s.quoted()
	}
	end := strings.IndexAny(s.text, " ()")
	if end < 0 {
		end = len(s.text)
	}
	value := s.text[:end]
	s.text = s.text[end:]
	return value
}

// quoted takes a string: in double quotes \" and \\ are escapes, the other quotes have none.
func (s *normalForm) quoted() string {
	quote := s.text[0]
	var b strings.Builder
	for i := 1; i < len(s.text); i++ {
		c := s.text[i]
		if c == quote {
			s.text = s.text[i+1:]
			return b.String()
		}
		if quote == '"' && c == '\\' && i+1 < len(s.text) && (s.text[i+1] == '"' || s.text[i+1] == '\\') {
			i++
			c = s.text[i]
		}
		b.WriteByte(c)
	}
	s.text = ""
	return b.String()
}

// smartCase is the language's rule for words: one without an upper-case letter matches in any case.
func smartCase(literal string) string {
	re := regexp.QuoteMeta(literal)
	if strings.ContainsFunc(literal, unicode.IsUpper) {
		return re
	}
	return "(?i:" + re + ")"
}
