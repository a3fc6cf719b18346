package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// paged runs a command on a terminal that has a keyboard too, and returns its exit code and all it shows.
func (s *session) paged(args ...string) (code int, shown string) {
	s.t.Helper()
	screen, tty := newTerminal(s.t)
	all := make(chan string)
	go func() {
		b, _ := io.ReadAll(screen) // ends with EIO when the other end is closed
		all <- string(b)
	}()
	code = run(s.t.Context(), args, tty, tty, tty, s.lookup)
	tty.Close()
	defer screen.Close()
	return code, strings.ReplaceAll(<-all, "\r\n", "\n")
}

func TestPager(t *testing.T) {
	const answer = `{"event":{"id":"1","time":"2026-01-02T03:04:05.678Z","service":"web","message":"first"}}
{"summary":{"searched":{"events":1,"bytes":5},"matched":1,"complete":true,"sequence":5,"took_ms":1}}
`
	const line, footer = "2026-01-02 03:04:05.678 web:        first\n", "lookout: searched all services, all time: 1 event, 5 B in 1ms; 1 match\n"
	s := serveLines(t, answer)
	s.env["NO_COLOR"] = "1"
	for _, c := range []struct {
		name  string
		env   map[string]string
		args  string
		code  int
		shown string
	}{
		{"what is said comes behind the pager", map[string]string{"LOOKOUT_PAGER": "sed s/^/paged:/; echo left"}, "grep first --utc --all", 0, "paged:" + line + "left\n" + footer},
		{"PAGER", map[string]string{"PAGER": "sed s/^/p:/"}, "grep first --utc --all", 0, "p:" + line + footer},
		{"LOOKOUT_PAGER comes first", map[string]string{"PAGER": "sed s/^/p:/", "LOOKOUT_PAGER": "sed s/^/l:/"}, "grep first --utc --all", 0, "l:" + line + footer},
		{"-P", map[string]string{"PAGER": "sed s/^/p:/"}, "grep first --utc --all -P", 0, line + footer},
		{"--paging=false", map[string]string{"PAGER": "sed s/^/p:/"}, "grep first --utc --all --paging=false", 0, line + footer},
		{"none", map[string]string{"PAGER": "sed s/^/p:/", "LOOKOUT_PAGER": ""}, "grep first --utc --all", 0, line + footer},
		{"cat is none", map[string]string{"PAGER": "cat"}, "grep first --utc --all", 0, line + footer},
		{"TERM=dumb", map[string]string{"PAGER": "sed s/^/p:/", "TERM": "dumb"}, "grep first --utc --all", 0, line + footer},
		{"no such program", map[string]string{"PAGER": "no-such-pager -x"}, "grep first --utc --all", 0,
			"lookout: PAGER: there is no program \"no-such-pager\"; the output goes without a pager\n" + line + footer},
		{"counts have none", map[string]string{"PAGER": "sed s/^/p:/"}, "grep first --utc --all -l", 1, "lookout: searched all services, all time: 1 event, 5 B in 1ms; 1 match\n"},
		{"LESS", map[string]string{"PAGER": "cat - >/dev/null; echo $LESS"}, "grep first --utc --all", 0, "FRX\n" + footer},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.env["TERM"] = "xterm"
			for _, name := range []string{"PAGER", "LOOKOUT_PAGER"} {
				delete(s.env, name)
			}
			for name, value := range c.env {
				s.env[name] = value
			}
			if code, shown := s.paged(strings.Fields(c.args)...); code != c.code || shown != c.shown {
				t.Errorf("%d %q\nwant %d %q", code, shown, c.code, c.shown)
			}
		})
	}
}

// A search that finds nothing, or cannot be, starts no pager; its exit code stays.
func TestPagerOfNothing(t *testing.T) {
	s := serveLines(t, complete0)
	mark := filepath.Join(t.TempDir(), "started")
	s.env["PAGER"] = "touch " + mark
	if code, shown := s.paged("grep", "x", "--all"); code != 1 || !strings.HasPrefix(shown, "lookout: searched") {
		t.Errorf("%d %q", code, shown)
	}
	if code, shown := s.paged("grep", "(x"); code != 2 || !strings.HasPrefix(shown, "lookout: query:") {
		t.Errorf("%d %q", code, shown)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("a pager was started")
	}
}

// Who leaves the pager ends the search on the server, though no further line comes, and it was a success.
func TestPagerLeft(t *testing.T) {
	defer func(wait time.Duration) { alignWait = wait }(alignWait)
	alignWait = 10 * time.Millisecond // no other row comes
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"event":{"id":"1","time":"2026-01-02T03:04:05.678Z","service":"web","message":"first"}}`+"\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(gone)
	}))
	defer server.Close()
	s := newSession(t, server.URL, "t")
	s.env["PAGER"] = "head -n 1"
	code, shown := s.paged("grep", "x", "--utc", "--all")
	if code != 0 || !strings.HasSuffix(shown, "first\n") {
		t.Errorf("%d %q", code, shown)
	}
	<-gone
}
