package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestBashReply(t *testing.T) {
	some := func(words ...string) (all []completion) {
		for _, w := range words {
			w, about, _ := strings.Cut(w, "\t")
			all = append(all, completion{w, about})
		}
		return all
	}
	const noFiles, noSpace = cobra.ShellCompDirectiveNoFileComp, cobra.ShellCompDirectiveNoSpace
	for _, c := range []struct {
		line, word string
		found      []completion
		directive  cobra.ShellCompDirective
		want       string
	}{
		{"l grep service:ca", "ca", some("service:cart", "service:casa"), noFiles, "+cart\n+casa\n"},
		{"l grep service:ca", "service:ca", some("service:cart"), noFiles, "+service:cart\n"}, // without : in COMP_WORDBREAKS
		{"l grep user:a@e", "@e", some("user:a@example.com"), noFiles, "+@example.com\n"},
		{"l grep 'a us", "a us", some("a user:"), noFiles | noSpace, "=nospace\n+a user:\n+a user: \n"},
		{"l grep us", "us", some("user:"), noFiles | noSpace, "=nospace\n+user:\n"},
		{"l grep --level=er", "er", some("error"), noFiles, "+error\n"},
		{"l grep --level=", "", some("error", "info"), noFiles, "+error\n+info\n"},
		{"l grep ", "", some("a b", "it's"), noFiles, "+a\\ b\n+it\\'s\n"},
		{"l grep 'a", "a", some("a'b"), noFiles, "+a'\\''b\n"},
		{`l grep "a`, "a", some(`a$"b'`), noFiles, `+a\$\"b'` + "\n"},
		{"l grep x", "x", some("yes"), noFiles, ""}, // what is offered does not begin so
		{"l send --ndjson f", "f", nil, 0, "=files\n"},
		{"l co", "co", some("count\tCount the events that match", "config\tName the servers"), noFiles | cobra.ShellCompDirectiveKeepOrder, "=order\n+count   (Count the e…)\n+config  (Name the se…)\n"},
		{"l grep a b", "c", some("c"), 0, ""}, // bash means another word
	} {
		_, last := splitLine(c.line)
		if got := bashReply(c.found, c.directive, last, c.word, 23); got != c.want {
			t.Errorf("%s: got\n%swant\n%s", c.line, got, c.want)
		}
	}
}

func TestSplitLine(t *testing.T) {
	for _, c := range []struct {
		line, words string
		last        rawWord
	}{
		{"", "", rawWord{}},
		{"l  grep\tx", "l|grep", rawWord{"x", "x", 0}},
		{"l x ", "l|x", rawWord{}},
		{`l 'a b' c\ d "e\"\x`, "l|a b|c d", rawWord{`"e\"\x`, `e"\x`, '"'}},
		{`l x'y z`, "l", rawWord{"x'y z", "xy z", '\''}},
		{`l '' "" a`, "l||", rawWord{"a", "a", 0}},
		{`l \`, "l", rawWord{`\`, `\`, 0}},
	} {
		words, last := splitLine(c.line)
		if got := strings.Join(words, "|"); got != c.words || last != c.last {
			t.Errorf("%s: %q, %+v", c.line, got, last)
		}
	}
}

// No flag that takes a value offers the names of files by mistake.
func TestCompleteRest(t *testing.T) {
	p := &program{stdin: strings.NewReader(""), env: func(string) (string, bool) { return "", false }}
	root := p.root()
	p.completeRest(root)
	files := 0
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			_, ok := cmd.GetFlagCompletionFunc(f.Name)
			what, _ := pflag.UnquoteUsage(f)
			if isFile := what == "file" || what == "folder"; ok == isFile && f.NoOptDefVal == "" {
				t.Errorf("%s --%s (%s): completed by itself: %v", cmd.CommandPath(), f.Name, what, ok)
			} else if isFile {
				files++
			}
		})
	}
	walk(root)
	if files == 0 {
		t.Error("no flag takes a file")
	}
}
