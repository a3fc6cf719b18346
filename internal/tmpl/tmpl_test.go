package tmpl

import (
	"runtime"
	"strings"
	"testing"
	"text/template"
)

func prepared(t testing.TB, text string) *template.Template {
	t.Helper()
	parsed, err := template.New("t").Funcs(Functions).Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	Guard(parsed)
	return parsed
}

func TestExecute(t *testing.T) {
	data := map[string]any{"List": []string{"a", "b"}, "Name": "<x>", "Empty": []string{}}
	for text, want := range map[string]string{
		"":                           "",
		"{{.Name}} is {{len .List}}": "<x> is 2",
		"{{range $i, $x := .List}}{{if $i}}, {{end}}{{$x}}{{else}}none{{end}}":         "a, b",
		"{{range .Empty}}x{{else}}none{{end}}":                                         "none",
		"{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}":                 "a",
		"{{with .Name}}{{.}}{{else}}no{{end}}{{- /* a comment */ -}} .":                "<x>.",
		"{{define \"one\"}}[{{.}}]{{end}}{{range .List}}{{template \"one\" .}}{{end}}": "[a][b]",
		"{{block \"own\" .Name}}{{. | html}}{{end}}":                                   "&lt;x&gt;",
		"{{print .Name 1}}{{println 2}}{{printf \"%-5s|%05.1f|%q\" \"a\" 1.25 .Name}}": "<x>12\na    |001.2|\"<x>\"",
		"{{urlquery \"a b\"}}{{js \"'\"}}{{printf \"%s\" (slice .Name 1 2)}}":          "a+b\\'x",
		"{{range 3}}{{.}}{{end}}":                                                      "012",
		"{{printf \"%*d\" 5 42}}":                                                      "   42",
		"{{range 1000}}{{if false}}{{end}}{{end}}" + strings.Repeat("x", 1000):         strings.Repeat("x", 1000),
	} {
		got, err := Execute(prepared(t, text), data, 1000)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

// What would run for ever, or take all memory, ends with an error.
func TestWhatDoesNotEnd(t *testing.T) {
	double := "{{$a := printf \"%1000d\" 1}}" + strings.Repeat("{{$a = print $a $a}}", 60)
	const steps, long = "more than 10000 steps", "it writes too much"
	for _, c := range []struct{ name, text, want string }{
		{"a loop without a body", "{{range 1000000000000}}{{end}}", steps},
		{"a loop that writes nothing", "{{range 1000000000000}}{{if false}}x{{end}}{{end}}", steps},
		{"loops in loops", strings.Repeat("{{range 1000}}", 20) + strings.Repeat("{{end}}", 20), steps},
		{"a loop in a branch", "{{if true}}{{with 1}}{{range 1000000000000}}{{continue}}{{end}}{{end}}{{end}}", steps},
		{"a loop in an else", "{{if false}}{{else}}{{with 0}}{{else}}{{range $x := 0}}{{else}}{{range 1000000000000}}{{end}}{{end}}{{end}}{{end}}", steps},
		{"a template that calls itself", "{{define \"a\"}}{{template \"a\" .}}{{end}}{{template \"a\" .}}", steps},
		{"two that call each other", "{{define \"a\"}}{{template \"b\" .}}{{end}}{{define \"b\"}}{{template \"a\" .}}{{end}}{{template \"a\"}}", steps},
		{"one that calls itself twice", "{{define \"a\"}}{{if .}}{{template \"a\" (slice . 1)}}{{template \"a\" (slice . 1)}}{{end}}{{end}}{{template \"a\" \"0123456789012345678901234567890123456789\"}}", steps},
		{"output", "{{range 5000}}0123456789{{end}}", long},
		{"one text", strings.Repeat("x", 1001), long},
		{"a text that is doubled", double, long},
		{"a wide format", "{{$a := printf \"%1000000d\" 1}}", long},
		{"many wide formats", "{{$a := printf \"" + strings.Repeat("%999999d", 100) + "\" 1}}", long},
		{"a width that is given", "{{$a := printf \"%*d%*d%*d%*d%*d\" 1000000 1}}", long},
		{"one argument many times", "{{$a := printf \"%200000s\" \"\"}}{{$a = printf \"" + strings.Repeat("%[1]s", 1000) + "\" $a}}", long},
		{"escapes", "{{$a := printf \"%200000s\" \"\\\"\"}}" + strings.Repeat("{{$a = js $a}}{{$a = html $a}}{{$a = urlquery $a}}{{$a = println $a}}", 20), long},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed := prepared(t, c.text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := Execute(parsed, nil, 1000)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != "" {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 200<<20 {
				t.Errorf("it took %d MB", used>>20)
			}
			if stack := after.StackSys; stack > 100<<20 {
				t.Errorf("stacks take %d MB", stack>>20)
			}
		})
	}
}

func TestShort(t *testing.T) {
	if got, err := Short(strings.Repeat("x", MaxText)); err != nil || len(got) != MaxText {
		t.Error(err)
	}
	if _, err := Short(strings.Repeat("x", MaxText+1)); err == nil {
		t.Error("a text that is too long is taken")
	}
}
