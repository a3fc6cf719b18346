package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var (
	grepSeed  = flag.Uint64("grepseed", 1, "the seed of TestGNUGrep: the same cases every time, unless another is asked for")
	grepCases = flag.Int("grepcases", 400, "how many cases TestGNUGrep tries")
)

// TestGNUGrep compares `lookout grep -o raw`, over standard input and over a server, with GNU grep over the same random lines,
// by random flags: output and exit code are the same. A pattern is one that means the same to both; case counts as it does to
// grep.
func TestGNUGrep(t *testing.T) {
	if out, err := exec.Command("grep", "--version").Output(); err != nil || !bytes.Contains(out, []byte("GNU grep")) {
		without(t, "there is no GNU grep")
	}
	r := rand.New(rand.NewPCG(*grepSeed, 0))
	s := withServer(t)
	service := 0
	var lines []string
	for i := range *grepCases {
		if i%20 == 0 {
			service++
			lines = grepLines(r)
			s.sendLines(fmt.Sprint("f", service), lines)
		}
		text := strings.Join(lines, "\n") + "\n"
		c := newGrepCase(r, text)

		wantCode, want := gnuGrep(t, c.theirs, text)
		code, got, stderr := s.run(text, append([]string{"grep", "--stdin", "-o", "raw"}, c.ours...)...)
		if got != want || !c.sameCode(code, wantCode) {
			t.Errorf("case %d over standard input, lines %q\ngrep %q\nexit code %d\nlookout grep --stdin -o raw %q\nexit code %d %s\n%s",
				i, lines, c.theirs, wantCode, c.ours, code, stderr, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}

		name := fmt.Sprint("f", service)
		wantCode, want = gnuGrep(t, append([]string{"--label", name}, c.theirs...), text)
		code, got, stderr = s.run("", append(append([]string{"grep", "--all", "-o", "raw"}, c.ours...), name)...)
		if got != want || !c.sameCode(code, wantCode) {
			t.Errorf("case %d over a server, lines %q\ngrep %q\nexit code %d\nlookout grep --all -o raw %q\nexit code %d %s\n%s",
				i, lines, c.theirs, wantCode, c.ours, code, stderr, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
		}
		if t.Failed() {
			return
		}
	}
}

func gnuGrep(t *testing.T, args []string, stdin string) (code int, stdout string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "grep", args...)
	c.Stdin = strings.NewReader(stdin)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) || errs.Len() > 0 {
		t.Fatalf("grep %q: %v %s", args, err, &errs)
	}
	return c.ProcessState.ExitCode(), out.String()
}

// sendLines stores each line as an event's message, in order.
func (s *session) sendLines(service string, lines []string) {
	s.t.Helper()
	var b strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&b, `{"time":%q,"service":%q,"message":%s}`+"\n", time.Date(2024, 5, 1, 0, 0, i, 0, time.UTC).Format(time.RFC3339), service, strconv.Quote(line))
	}
	file := filepath.Join(s.t.TempDir(), "lines.ndjson")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if code, _, stderr := s.run("", "send", "-q", "--ndjson", file); code != 0 {
		s.t.Fatal(stderr)
	}
}

var grepWords = []string{"foo", "Foo", "FOO", "foobar", "barfoo", "bar", "o", "time", "timeout", "Timeout", "a-b", "x_y", "42", "4", "größe", "GRÖSSE", "GRÖßE", "é", "...", "[x]", "(y)", "$5", "^", "a*b", "+", "foo,bar"}

func grepLines(r *rand.Rand) []string {
	words := grepWords
	if r.IntN(2) == 0 {
		words = slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !ascii(w) })
	}
	lines := make([]string, 1+r.IntN(60))
	for i := range lines {
		some := make([]string, 1+r.IntN(5))
		for j := range some {
			some[j] = words[r.IntN(len(words))]
		}
		lines[i] = strings.Join(some, []string{" ", " ", " ", "", "-"}[r.IntN(5)])
	}
	return lines
}

var plainLetters = regexp.MustCompile(`^[\pL\pN_]+$`)

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// grepCase is the arguments of both greps.
type grepCase struct{ theirs, ours []string }

// sameCode compares exit codes. That of -L is another one in grep: 0 where a line was selected (1 in its versions 3.2 to
// 3.4), 1 where a name was printed; here 0 says that something was found, which for -L is a name.
func (c grepCase) sameCode(ours, theirs int) bool {
	return ours == theirs || slices.Contains(c.ours, "-L") && ours+theirs == 1
}

func newGrepCase(r *rand.Rand, lines string) (c grepCase) {
	both := func(args ...string) {
		c.theirs = append(c.theirs, args...)
		c.ours = append(c.ours, args...)
	}
	some := func(n int) bool { return r.IntN(n) == 0 }
	if some(3) {
		both("-i")
	} else {
		c.ours = append(c.ours, "--case-sensitive")
	}
	for _, flag := range []string{"-w", "-x", "-v", "-H"} {
		if some(5) && (flag != "-w" || ascii(lines)) { // to \b, of which -w makes use, é is no letter
			both(flag)
		}
	}
	number := func() string { return strconv.Itoa(1 + r.IntN(4)) }
	switch r.IntN(10) {
	case 0:
		both("-c")
	case 1:
		both("-q")
	case 2:
		both("-l")
	case 3:
		both("-L")
	case 4, 5:
		both("-C", number())
	case 6:
		both("-A", number())
	case 7:
		both("-B", number())
	}
	if some(4) {
		both("-m", number())
	}
	words := slices.Contains(c.theirs, "-w")
	pattern := func() string { return grepWords[r.IntN(len(grepWords))] }
	switch r.IntN(3) {
	case 0:
		both("-E")
		pattern = func() string {
			for {
				// GNU grep -w does not try the empty match when a longer one at the same place was no word: '^\[*' in "[x] a".
				if re := grepRegex(r, 2); !words || !regexp.MustCompile("^(?:"+re+")$").MatchString("") {
					return re
				}
			}
		}
	case 1:
		both("-F")
	default: // a word alone is a substring to both
		words := slices.DeleteFunc(slices.Clone(grepWords), func(w string) bool { return !plainLetters.MatchString(w) })
		pattern = func() string { return words[r.IntN(len(words))] }
	}
	if some(3) {
		for range 1 + r.IntN(3) {
			both("-e", pattern())
		}
		return c
	}
	both("--", pattern())
	return c
}

// grepRegex makes an expression that RE2 and POSIX read alike.
func grepRegex(r *rand.Rand, depth int) string {
	group := false // repeated, it can keep GNU grep busy for hours
	atom := func() string {
		group = false
		switch r.IntN(8) {
		case 0:
			return "."
		case 1:
			return "[a-f]"
		case 2:
			return "[^o ]"
		case 3:
			if depth > 0 {
				group = true
				return "(" + grepRegex(r, depth-1) + "|" + grepRegex(r, depth-1) + ")"
			}
			return "t"
		case 4:
			return []string{`\.`, `\[`, `\$`, `\*`}[r.IntN(4)]
		default:
			return []string{"foo", "bar", "o", "Tim", "out", "4", " ", "ö", "x"}[r.IntN(9)]
		}
	}
	var b strings.Builder
	if depth == 2 && r.IntN(5) == 0 {
		b.WriteString("^")
	}
	for range 1 + r.IntN(3) {
		b.WriteString(atom())
		if !group {
			b.WriteString([]string{"", "", "", "*", "+", "?", "{1,2}"}[r.IntN(7)])
		}
	}
	if depth == 2 && r.IntN(5) == 0 {
		b.WriteString("$")
	}
	return b.String()
}
