package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/sdk"
)

// What a live view has left out is said in its place on standard error, with the command that shows it, and the exit code
// does not tell.
func TestLeftOut(t *testing.T) {
	row := func(seq int) string {
		return fmt.Sprintf(`{"event":{"id":"%d","time":"2026-11-21T11:00:00Z","message":"m%d"}}`+"\n", seq, seq)
	}
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/query":
			fmt.Fprint(w, `{"summary":{"searched":{},"matched":0,"complete":true,"sequence":9}}`+"\n")
		case "/api/v1/tail":
			if asked = append(asked, r.URL.Query().Get("after")+" "+r.URL.Query().Get("slow")); len(asked) > 1 {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"error":{"code":"test","message":"gone"}}`)
				return
			}
			fmt.Fprint(w, row(10)+`{"skipped":{"events":1234,"after":10,"to":2000}}`+"\n"+row(2001)+`{"skipped":{"events":1,"after":2001,"to":2002,"complete":false}}`+"\n")
		}
	}))
	defer server.Close()
	s := newSession(t, server.URL, "t")
	code, stdout, stderr := s.run("", "tail", "--slow", "skip", "-o", "raw", "-q", "-it's", "--url", server.URL, "--utc")
	lines := strings.SplitAfter(stderr, "\n")
	want := "-- 1,234 events were left out here; lookout grep --url " + server.URL + ` --after-sequence 10 --sequence 2000 -- '-"it'\''s"' shows them` + "\n"
	if lines[0] != want {
		t.Errorf("%swant %s", lines[0], want)
	}
	want = "-- 1 event and more that cannot be read was left out here; lookout grep --url " + server.URL + ` --after-sequence 2001 --sequence 2002 -- '-"it'\''s"' shows it` + "\n"
	if !strings.Contains(stderr, want) {
		t.Errorf("%swant %s", stderr, want)
	}
	if code != 2 || stdout != "m10\nm2001\n" { // the server's error, in the end
		t.Errorf("%d %q %s", code, stdout, stderr)
	}
	if d := cmp.Diff([]string{"9 skip", "2002 skip"}, asked); d != "" {
		t.Error(d)
	}
}

func TestSkips(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/query":
			fmt.Fprint(w, `{"summary":{"searched":{},"matched":0,"complete":true,"sequence":9}}`+"\n")
		case "/api/v1/tail":
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"error":{"code":"test","message":"slow is '%s'"}}`, r.URL.Query().Get("slow"))
		}
	}))
	defer server.Close()
	s := newSession(t, server.URL, "t")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"tail"}, `slow is ''`}, // into a pipe
		{[]string{"tail", "--slow", "wait"}, `slow is ''`},
		{[]string{"tail", "--slow", "skip"}, `slow is 'skip'`},
		{[]string{"grep", "-f", "x", "--slow", "skip"}, `slow is 'skip'`},
		{[]string{"grep", "-f", "x", "--slow", "skip", "-m", "3"}, `slow is ''`},
		{[]string{"grep", "-f", "x", "--slow", "never"}, `--slow: there is no "never"; use wait or skip`},
		{[]string{"tail", "--slow", "never"}, `--slow: there is no "never"; use wait or skip`},
		{[]string{"grep", "-f", "x", "--sequence", "3"}, "-f and --sequence do not go together"},
		{[]string{"grep", "--stdin", "x", "--after-sequence", "3"}, "--stdin and --after-sequence do not go together"},
	} {
		code, _, stderr := s.run("", c.args...)
		if code != 2 || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %d %s", c.args, code, stderr)
		}
	}
}

// The command that is printed is what a shell has to be given.
func TestShowing(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		without(t, err.Error())
	}
	for _, q := range []string{`*`, `it's`, `"a  b" service=x`, `-~"^\$(rm)"`, "a`b", `level>=error (a OR b)`} {
		s := &search{p: &program{}, request: sdk.QueryRequest{Query: q}}
		command := s.showing(sdk.Skipped{Events: 3, After: 5, To: 99})
		out, err := exec.Command(sh, "-c", `lookout() { for a; do printf '%s|' "$a"; done; }; `+command).Output()
		want := "grep|--after-sequence|5|--sequence|99|--reports|" + q + "|"
		if strings.HasPrefix(q, "-") {
			want = strings.Replace(want, "--reports|", "--reports|--|", 1)
		}
		if err != nil || string(out) != want {
			t.Errorf("%s\n%v, %q, want %q", command, err, out, want)
		}
	}
}

// With a range of sequences the last hour is not meant.
func TestGrepBySequence(t *testing.T) {
	s := withServer(t)
	if code, _, stderr := s.run(`{"time":"2020-01-01T00:00:00Z","message":"one"}`+"\n"+`{"message":"two"}`+"\n"+`{"message":"three"}`, "send", "--ndjson", "-"); code != 0 {
		t.Fatal(stderr)
	}
	for _, c := range []struct{ args, want string }{
		{"--sequence 2", "one\ntwo\n"}, {"--after-sequence 0 --sequence 1", "one\n"}, {"--after-sequence 1", "two\nthree\n"}, {"--after-sequence 1 --sequence 2", "two\n"},
		{"--sequence 2 -s 1h", "two\n"}, {"-c --sequence 2", "2\n"},
	} {
		code, stdout, stderr := s.run("", append([]string{"grep", "*", "-o", "raw"}, strings.Fields(c.args)...)...)
		if code != 0 || stdout != c.want {
			t.Errorf("%s: %d %q %s", c.args, code, stdout, stderr)
		}
	}
}
