package alerting_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/alerting"
)

func TestParseMatchers(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		// The examples of Alertmanager's documentation.
		{`{foo = "bar", dings != "bums", }`, `foo="bar",dings!="bums"`, ""},
		{`foo=bar,dings!=bums`, `foo="bar",dings!="bums"`, ""},
		{`foo=bar, dings!=bums`, `foo="bar",dings!="bums"`, ""},
		{`{quote="She said: \"Hi, ladies! That's gender-neutral…\""}`, `quote="She said: \"Hi, ladies! That's gender-neutral…\""`, ""},
		{`statuscode=~"5.."`, `statuscode=~"5.."`, ""},
		{`{job=~"api|web",env!~dev.*}`, `job=~"api|web",env!~"dev.*"`, ""},
		{`"foo 🙂"="bar 🙂"`, `"foo 🙂"="bar 🙂"`, ""},
		{`k8s.pod=a-1`, `k8s.pod="a-1"`, ""},
		{`foo=""`, `foo=""`, ""},
		{`foo=`, `foo=""`, ""},
		{`foo=,bar=x`, `foo="",bar="x"`, ""},
		{`foo=a=b!~'c'`, `foo="a=b!~'c'"`, ""},
		{"foo=\"a\\nb\"", `foo="a\nb"`, ""},
		{"foo=\"a\nb\"", `foo="a\nb"`, ""},
		{`foo=~"5\d\d"`, `foo=~"5\\d\\d"`, ""},
		{`foo=~"a\\.b"`, `foo=~"a\\.b"`, ""},
		{`{}`, "", ""},
		{` { } `, "", ""},
		{``, "", ""},
		{`foo`, "", `at character 4: label "foo": expected =, !=, =~ or !~`},
		{`=bar`, "", `at character 1: expected a label's name: write it as service="shop"`},
		{`""=bar`, "", `at character 1: a matcher has no label`},
		{`,`, "", `at character 1: expected a label's name`},
		{`foo=bar,,`, "", `at character 9: expected a label's name`},
		{`{foo=bar`, "", `at character 9: the list does not end: add }`},
		{`foo=bar}`, "", `at character 8: expected a comma`},
		{`{foo=bar} x`, "", `at character 11: there is more behind the closing brace`},
		{`foo="bar`, "", `at character 5: the quote does not end`},
		{`foo=b"ar`, "", `at character 6: expected a comma`},
		{`foo=two words`, "", `at character 9: expected a comma`},
		{`ä=1, foo=~"("`, "", "at character 6: label foo: error parsing regexp: missing closing )"},
		{`foo=~"a)(b"`, "", "unexpected ): `a)(b`"},
		{"foo=\"\xff\"", "", "not valid UTF-8"},
		{strings.Repeat("a=b,", 51), "", "more than 50 matchers"},
		{"foo=" + strings.Repeat("x", 2001), "", "too long"},
	} {
		ms, err := alerting.ParseMatchers(c.text)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want an error with %q", c.text, err, c.err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.text, err)
		case ms.String() != c.want:
			t.Errorf("%s: %s, want %s", c.text, ms, c.want)
		}
	}
}

func TestMatchersMatch(t *testing.T) {
	labels := alerting.Labels{"service": "shop", "env": "prod", "severity": "error"}
	for text, want := range map[string]bool{
		`service=shop`:                   true,
		`service=sho`:                    false,
		`service!=shop`:                  false,
		`service=~"sh.p"`:                true,
		`service=~"sho"`:                 false, // the whole value
		`service=~"sho|shop"`:            true,
		`service!~"sho|shop"`:            false,
		`service!~"sho"`:                 true,
		`team=""`:                        true, // what is missing is empty
		`team!=""`:                       false,
		`team=~".*"`:                     true,
		`team=~".+"`:                     false,
		`team!~".+"`:                     true,
		`service=shop,env=dev`:           false,
		`{service=shop,env=~"dev|prod"}`: true,
		``:                               true,
	} {
		ms, err := alerting.ParseMatchers(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := ms.Match(labels); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
	if (alerting.Matcher{Name: "service", Value: "shop"}).Matches("shop") {
		t.Error("a matcher without a comparison matches")
	}
	if _, err := alerting.NewMatcher("service", "==", "shop"); err == nil {
		t.Error("== is taken for a comparison")
	}
}

func TestMatchersAsJSON(t *testing.T) {
	want := `{service="a \"b\"",env=~"x|y"}`
	ms, err := alerting.ParseMatchers(want)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(struct{ M alerting.Matchers }{ms})
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ M alerting.Matchers }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if "{"+got.M.String()+"}" != want {
		t.Errorf("%s came back as %s", want, got.M)
	}
	if err := json.Unmarshal([]byte(`{"M":"service"}`), &got); err == nil {
		t.Error("a wrong matcher is taken")
	}
}

// FuzzParseMatchers: what is read is written so that it is read as the same.
func FuzzParseMatchers(f *testing.F) {
	for _, s := range []string{`{a="b", c=~"d.*"}`, `"x y"!="\"\\\n"`, `a=b,`, `{`, "a!~\"\x00\"", `a=~"(?i)x"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ms, err := alerting.ParseMatchers(text)
		if err != nil {
			return
		}
		again, err := alerting.ParseMatchers("{" + ms.String() + "}")
		if err != nil {
			t.Fatalf("%q was read as %s, and that: %v", text, ms, err)
		}
		if !slices.EqualFunc(ms, again, func(a, b alerting.Matcher) bool { return a.Name == b.Name && a.Op == b.Op && a.Value == b.Value }) {
			t.Fatalf("%q was read as %s, and that as %s", text, ms, again)
		}
	})
}
