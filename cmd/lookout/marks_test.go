package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/index/query"
)

func TestMarks(t *testing.T) {
	for _, c := range []struct {
		query, message string
		want           []string
	}{
		{"timeout", "a Timeout and timeouts", []string{"Timeout", "timeout"}},
		{"Timeout", "a Timeout and timeouts", []string{"Timeout"}},
		{`"connection refused"`, "Connection refused", []string{"Connection refused"}},
		{`"a.b (c)"`, "a.b (c) axb (c)", []string{"a.b (c)"}},
		{"foo bar", "bar foo", []string{"bar", "foo"}},
		{"foo OR bar", "bar foo", []string{"bar", "foo"}},
		{"foo -bar", "bar foo", []string{"foo"}},
		{"foo -(bar baz) qux", "bar baz foo qux", []string{"foo", "qux"}},
		{"foo NOT (bar OR -\"b)z\") qux", "bar b)z foo qux", []string{"foo", "qux"}},
		{"(foo OR (bar baz)) qux", "bar baz foo qux", []string{"bar", "baz", "foo", "qux"}},
		{"-foo", "foo", nil},
		{"*", "foo", nil},
		{"service:foo status:500 level>=error", "foo 500 error", nil},
		{`service:(foo, bar) x`, "foo bar x", []string{"x"}},
		{`"odd name":foo x`, "foo odd name x", []string{"x"}},
		{`path~"^/api (x|y)" z`, "/api x z", []string{"z"}},
		{`user!="foo bar" z`, "foo bar z", []string{"z"}},
		{"message:foo", "a foo", []string{"foo"}},
		{"message:*", "a *", nil},
		{`message~"f.o"`, "a foo fxo", []string{"foo", "fxo"}},
		{`message!~"f.o" x`, "a foo x", []string{"x"}},
		{`~"f.o|b(a)r"`, "foo bar", []string{"foo", "bar"}},
		{`~"^x"`, "x\nx", []string{"x", "x"}},
		{`~"(?i)FOO" bar`, "foo BAR", []string{"foo", "BAR"}},
		{`'say "hi"'`, `say "hi"`, []string{`say "hi"`}},
		{"`it's \"so\"`", `it's "so"`, []string{`it's "so"`}},
		{`"C:\new"`, `C:\new`, []string{`C:\new`}},
		{`"back\\"`, `back\ slash`, []string{`back\`}},
		{"http://x/y", "see http://x/y", []string{"http://x/y"}},
		{"größe", "GRÖSSE GRÖßE", []string{"GRÖßE"}},
	} {
		q, err := query.Parse(c.query)
		if err != nil {
			t.Error(err)
			continue
		}
		marks, err := marksOf(q, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		if marks != nil {
			for _, m := range marks(c.message) {
				got = append(got, c.message[m[0]:m[1]])
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s in %q: %s", c.query, c.message, d)
		}
	}
}

// More than can be looked for at once marks nothing, and is no error.
func TestTooManyMarks(t *testing.T) {
	many := slices.Repeat([]string{"(abcdefghijklmnopqrst){1000}"}, 300)
	if marks, err := marksOf(nil, many); marks != nil || err != nil {
		t.Error(err)
	}
	if _, err := marksOf(nil, []string{"("}); err == nil {
		t.Error("( was taken for a regular expression")
	}
}
