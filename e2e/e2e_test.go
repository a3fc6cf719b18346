// Package e2e runs the real binary with real clients: what a user does in the README, and what a cruel machine does to it.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

var (
	binary string
	kills  = flag.Int("kills", 20, "kill -9 so often in TestKill")
	atEnd  []func() // ends what tests share
)

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "lookout-e2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "lookout")
	out, err := exec.Command("go", "build", "-o", binary, "../cmd/lookout").CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building lookout: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	for _, end := range atEnd {
		end()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// need ends the test when a command it needs is not here: a failure in CI, elsewhere it is left out and named.
func need(t *testing.T, command, mend string) {
	t.Helper()
	if _, err := exec.LookPath(command); err == nil {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is missing: %s", command, mend)
	}
	t.Skipf("left out, %s is missing: %s", command, mend)
}

// freePorts are ports that nobody uses, TCP nor UDP, nor is given before a server listens on them, or while it is started again.
func freePorts(t *testing.T, n int) []string {
	t.Helper()
	ports, err := peer.FreePorts(n)
	if err != nil {
		t.Fatal(err)
	}
	return ports
}

// server is a running `lookout serve`.
type server struct {
	t    *testing.T
	dir  string
	args []string // behind `lookout serve`
	env  []string
	cmd  *exec.Cmd
	http string // http://127.0.0.1:PORT
	gelf string // 127.0.0.1:PORT
	log  *logBuffer
	done chan error
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve starts lookout on free ports with its data in dir.
func serve(t *testing.T, dir string, env ...string) *server {
	t.Helper()
	return serveWith(t, dir, nil, env...)
}

// serveWith is serve with arguments.
func serveWith(t *testing.T, dir string, args []string, env ...string) *server {
	t.Helper()
	s := &server{t: t, dir: dir, args: args, env: env, log: &logBuffer{}}
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("lookout's log:\n%s", last(s.log.String(), 8000))
		}
	})
	return s
}

func last(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

var listening = regexp.MustCompile(`^\s*(HTTP|GELF)\s+(\S+)`)

func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(binary, append([]string{"serve"}, s.args...)...)
	s.cmd.Dir = s.dir
	s.cmd.Env = append(append(os.Environ(), "LOOKOUT_DATA="+filepath.Join(s.dir, "data"), "LOOKOUT_HTTP=127.0.0.1:0", "LOOKOUT_GELF=127.0.0.1:0", "LOOKOUT_DOCKER=off"), s.env...)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan error, 1)
	found := make(chan struct{})
	s.http, s.gelf = "", ""
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			fmt.Fprintln(s.log, lines.Text())
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				switch m[1] {
				case "HTTP":
					s.http = strings.TrimSuffix(m[2], "/")
				case "GELF":
					s.gelf = strings.TrimPrefix(m[2], "udp://")
				}
				if s.http != "" && s.gelf != "" {
					close(found)
					break
				}
			}
		}
		io.Copy(s.log, out)
		s.done <- s.cmd.Wait()
	}()
	select {
	case <-found:
	case err := <-s.done:
		s.done <- err
		s.t.Fatalf("lookout ended at its start: %v\n%s", err, s.log)
	case <-time.After(patience * 30 * time.Second):
		s.t.Fatalf("lookout printed no addresses:\n%s", s.log)
	}
}

func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(syscall.SIGKILL)
		s.done <- <-s.done
	}
}

// stop ends it as an operator would and returns its exit code and how long it took.
func (s *server) stop() (int, time.Duration) {
	s.t.Helper()
	begin := time.Now()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	s.done <- <-s.done
	return s.cmd.ProcessState.ExitCode(), time.Since(begin)
}

func (s *server) token() string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "data", "token"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// cli runs a client command against the server.
func (s *server) cli(stdin string, args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.Command(binary, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "LOOKOUT_URL="+s.http, "LOOKOUT_DATA="+filepath.Join(s.dir, "data"), "NO_COLOR=1")
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (s *server) request(method, path string, body io.Reader) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.http+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token())
	return r
}

// row is one line of an answer.
type row struct {
	Event struct {
		ID, Time, Level, Service, Env, Host, Container, Stream, Message string
		Fields                                                          map[string]any
	}
	Summary *struct {
		Matched  int64
		Complete bool
		Sequence uint64
	}
	Error any
}

// query returns every row of an answer, which must be complete.
func (s *server) query(q string, params ...string) []row {
	s.t.Helper()
	v := url.Values{"q": {q}}
	for i := 0; i < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	resp, err := http.DefaultClient.Do(s.request("GET", "/api/v1/query?"+v.Encode(), nil))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var rows []row
	dec := json.NewDecoder(resp.Body)
	dec.UseNumber() // some are longer than a float64
	for {
		var r row
		if err := dec.Decode(&r); err != nil {
			s.t.Fatalf("query %s: %d, %v after %d rows", q, resp.StatusCode, err, len(rows))
		}
		if r.Error != nil {
			s.t.Fatalf("query %s: %v", q, r.Error)
		}
		if r.Summary != nil {
			if !r.Summary.Complete || int(r.Summary.Matched) != len(rows) {
				s.t.Fatalf("query %s: %d rows, %+v", q, len(rows), r.Summary)
			}
			return rows
		}
		rows = append(rows, r)
	}
}

// cpu is what a process has used so far, 0 where there is no /proc.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything
	f := strings.Fields(rest)
	user, err := strconv.ParseInt(f[11], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.ParseInt(f[12], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// patience stretches the limits of waiting, which are meant for a machine that does nothing else. It costs nothing where all is well.
const patience = 4

// eventually waits until ok: the real clock of a real process is the only one there is.
func eventually(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience*limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", patience*limit, what)
		}
	}
}
