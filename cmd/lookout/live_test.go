package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// session is a command line with a server, in this process.
type session struct {
	t   *testing.T
	env map[string]string
}

func newSession(t *testing.T, url, token string) *session {
	return &session{t: t, env: map[string]string{"LOOKOUT_URL": url, "LOOKOUT_TOKEN": token, "USER": "alice", "TERM": "xterm"}}
}

func withServer(t *testing.T) *session {
	t.Helper()
	url, token, stop, err := startServer(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return newSession(t, url, token)
}

func (s *session) lookup(name string) (string, bool) {
	value, ok := s.env[name]
	return value, ok
}

// run runs a command to its end.
func (s *session) run(stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = run(s.t.Context(), args, strings.NewReader(stdin), &out, &errs, s.lookup)
	return code, out.String(), errs.String()
}

func (s *session) send(messages ...string) {
	s.t.Helper()
	if code, _, stderr := s.run(strings.Join(messages, "\n"), "send", "--service", "web"); code != 0 {
		s.t.Fatal(stderr)
	}
}

// running is a command that goes on until it is stopped.
type running struct {
	lines  *bufio.Reader
	out    *io.PipeReader
	cancel context.CancelFunc
	code   chan int
	stderr *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (s *session) start(args ...string) *running {
	ctx, cancel := context.WithCancel(s.t.Context())
	pr, pw := io.Pipe()
	r := &running{lines: bufio.NewReader(pr), out: pr, cancel: cancel, code: make(chan int, 1), stderr: &lockedBuffer{}}
	go func() {
		code := run(ctx, args, strings.NewReader(""), pw, r.stderr, s.lookup)
		pw.Close()
		r.code <- code
	}()
	s.t.Cleanup(cancel)
	return r
}

func (r *running) line(t *testing.T) string {
	t.Helper()
	line, err := r.lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v; standard error: %s", err, r.stderr)
	}
	return strings.TrimSuffix(line, "\n")
}

func TestFollow(t *testing.T) {
	s := withServer(t)
	s.send("one match", "two", "three match")
	grep := s.start("grep", "-f", "match", "-o", "raw")
	tail := s.start("tail", "-n", "1", "web", "-o", "raw", "-q", "match")
	limited := s.start("grep", "-f", "-m", "3", "match", "-o", "raw")
	for _, want := range []string{"one match", "three match"} {
		if got := grep.line(t); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := limited.line(t); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := tail.line(t); got != "three match" {
		t.Errorf("got %q", got)
	}
	for i := range 20 {
		s.send("nothing", fmt.Sprint("match ", i))
	}
	if got := limited.line(t); got != "match 0" {
		t.Errorf("got %q", got)
	}
	if code := <-limited.code; code != exitOK {
		t.Error(code, limited.stderr)
	}
	for i := range 20 {
		for _, r := range []*running{grep, tail} {
			if got := r.line(t); got != fmt.Sprint("match ", i) {
				t.Errorf("got %q at %d", got, i)
			}
		}
	}
	grep.cancel()
	if code := <-grep.code; code != exitInterrupted || grep.stderr.String() != "" {
		t.Error(code, grep.stderr)
	}
	// A closed pipe ends it quietly at the next line.
	tail.out.Close()
	s.send("match to nobody")
	if code := <-tail.code; code != exitOK || tail.stderr.String() != "" {
		t.Error(code, tail.stderr)
	}
}

// tail -n 0 shows only what comes.
func TestFollowFromNow(t *testing.T) {
	s := withServer(t)
	s.send("old")
	r := s.start("tail", "-n", "0", "-o", "raw")
	// It cannot be seen when tail has begun: new lines are sent until one comes.
	got := make(chan string)
	go func() { got <- r.line(t) }()
	for i := 0; ; i++ {
		s.send(fmt.Sprint("new ", i))
		select {
		case line := <-got:
			if !strings.HasPrefix(line, "new ") {
				t.Errorf("got %q", line)
			}
			return
		default:
		}
	}
}

// serveLines is a server whose every search is answered by the same text, and whose tails are answered one by one.
func serveLines(t *testing.T, answer string, tails ...string) *session {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) })
	mux.HandleFunc("/api/v1/services", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"services":[{"name":"web","events":1},{"name":"db\u001b[31m","events":1}]}`)
	})
	mux.HandleFunc("/api/v1/tail", func(w http.ResponseWriter, r *http.Request) {
		if len(tails) == 0 {
			http.Error(w, `{"error":{"code":"not_implemented","message":"no more"}}`, http.StatusNotImplemented)
			return
		}
		io.WriteString(w, tails[0])
		tails = tails[1:]
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return newSession(t, server.URL, "t")
}

const (
	row        = `{"event":{"id":"1","time":"2026-01-02T03:04:05Z","service":"web","message":"hello"}}` + "\n"
	complete0  = `{"summary":{"searched":{"events":0},"matched":0,"complete":true,"sequence":5}}` + "\n"
	incomplete = `{"summary":{"searched":{"events":9},"matched":1,"complete":false,"reasons":["block 3 is corrupt"],"sequence":5,"services":{"web":1}}}` + "\n"
)

// An answer that is not whole is said and ends with 2, after what there is.
func TestIncompleteIsNeverSilent(t *testing.T) {
	for _, c := range []struct {
		name, answer   string
		args           []string
		stdout, stderr string
		code           int
	}{
		{"rows", row + incomplete, []string{"grep", "x", "-o", "raw"}, "hello\n", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"count", incomplete, []string{"grep", "-c", "x", "web"}, "1\n", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"count to a limit", row + incomplete, []string{"grep", "-c", "-m", "4", "x", "web"}, "1\n", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"list", incomplete, []string{"grep", "-l", "x"}, "web\n", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"without", incomplete, []string{"grep", "-L", "x", "web"}, "", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"last", row + incomplete, []string{"tail", "--no-follow", "-o", "raw"}, "hello\n", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"quiet, none", incomplete, []string{"grep", "-q", "x"}, "", "lookout: the result is incomplete: block 3 is corrupt\n", 2},
		{"quiet, some", row + incomplete, []string{"grep", "-q", "x"}, "", "", 0},
		{"error line", row + `{"error":{"code":"store","message":"the store failed","mend":"see its log"}}` + "\n", []string{"grep", "x", "-o", "raw"}, "hello\n", "lookout: the store failed; see its log\n", 2},
		{"an error that plays with the terminal", `{"error":{"message":"a\u001b]52;c;x\u0007\u202e"}}` + "\n", []string{"grep", "x"}, "", `lookout: a\x1b]52;c;x\x07\u202e` + "\n", 2},
		{"a query's error", `{"error":{"code":"bad_query","message":"no","text":"foo bar","position":4,"end":7}}` + "\n", []string{"grep", "x"}, "", "lookout: no\n    foo bar\n        ^^^\n", 2},
		{"warnings", `{"summary":{"complete":true,"warnings":["no field"]}}` + "\n", []string{"grep", "x"}, "", "lookout: no field\n", 1},
	} {
		code, stdout, stderr := serveLines(t, c.answer).run("", c.args...)
		if d := cmp.Diff([]any{c.code, c.stdout, c.stderr}, []any{code, stdout, stderr}); d != "" {
			t.Error(c.name, d)
		}
	}
	code, stdout, stderr := serveLines(t, row).run("", "grep", "x", "-o", "raw")
	if code != 2 || stdout != "hello\n" || !strings.Contains(stderr, "broke off: it ended without a summary; the result is incomplete, search again") {
		t.Error(code, stdout, stderr)
	}
	// Live: the connection is lost, a part cannot be read, and in the end the server wants no more.
	code, stdout, stderr = serveLines(t, row+incomplete,
		`{"event":{"id":"6","message":"live"}}`+"\n",
		`{"position":{"sequence":8}}`+"\n"+`{"error":{"code":"gap","message":"7 to 8 cannot be read"}}`+"\n",
		`{"event":{"id":"9","message":"on"}}`+"\n"+`{"error":{"code":"stop","message":"stopping"}}`+"\n",
	).run("", "grep", "-f", "x", "-o", "raw")
	if code != 2 || stdout != "hello\nlive\non\n" {
		t.Error(code, stdout)
	}
	for _, want := range []string{"block 3 is corrupt", "is lost: EOF; trying again", "7 to 8 cannot be read", "stopping; trying again", "no more"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not in %s", want, stderr)
		}
	}
	code, _, stderr = serveLines(t, complete0,
		`{"position":{"sequence":8}}`+"\n"+`{"error":{"code":"gap","message":"7 to 8 cannot be read"}}`+"\n",
		`{"event":{"id":"9","message":"on"}}`+"\n",
	).run("", "grep", "-f", "-m", "1", "x", "-o", "raw")
	if code != 2 || strings.Count(stderr, "7 to 8 cannot be read") != 2 {
		t.Error(code, stderr)
	}
}

// Ctrl-C ends a search that runs, on the server too.
func TestInterrupt(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, row)
		w.(http.Flusher).Flush()
		close(began)
		<-r.Context().Done()
		close(ended)
	}))
	defer server.Close()
	r := newSession(t, server.URL, "t").start("grep", "x", "-o", "raw")
	<-began
	if got := r.line(t); got != "hello" { // what came is shown before the answer ends
		t.Error(got)
	}
	r.cancel()
	if code := <-r.code; code != exitInterrupted || r.stderr.String() != "" {
		t.Error(code, r.stderr)
	}
	<-ended
}

// Standard input that does not end is given up on Ctrl-C, and what came is shown at once.
func TestInterruptStdin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in, feed := io.Pipe()
	out, shown := io.Pipe()
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"grep", "--stdin", "x"}, in, shown, io.Discard, func(string) (string, bool) { return "", false })
	}()
	io.WriteString(feed, "an x\nan incomplete x")
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "an x\n" || err != nil {
		t.Error(line, err)
	}
	cancel()
	if got := <-code; got != exitInterrupted {
		t.Error(got)
	}
	feed.Close()
}

// A tail whose token is revoked ends at once, with the reason.
func TestTailOfARevokedToken(t *testing.T) {
	s := withServer(t)
	code, token, stderr := s.run("", "token", "new", "ann")
	if code != exitOK {
		t.Fatal(stderr)
	}
	ann := newSession(t, s.env["LOOKOUT_URL"], strings.TrimSpace(token))
	s.send("one")
	r := ann.start("tail", "-o", "raw")
	if got := r.line(t); got != "one" {
		t.Fatal(got)
	}
	s.send("two") // by the live request: between the two, the next one is refused, and that is another answer
	if got := r.line(t); got != "two" {
		t.Fatal(got)
	}
	if code, _, stderr := s.run("", "token", "revoke", "ann"); code != exitOK {
		t.Fatal(stderr)
	}
	if code := <-r.code; code != exitError || r.stderr.String() != "lookout: the token has been revoked; ask for a new one\n" {
		t.Errorf("%d %q", code, r.stderr)
	}
}

// A reader that goes away ends a command quietly, on a large answer too.
func TestClosedPipe(t *testing.T) {
	s := serveLines(t, strings.Repeat(row, 10_000)+complete0)
	r := s.start("grep", "x", "-o", "raw")
	r.line(t)
	r.out.Close()
	if code := <-r.code; code != exitOK || r.stderr.String() != "" {
		t.Error(code, r.stderr)
	}
}
