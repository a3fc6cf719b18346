package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// userRow is a row of docs/cli-for-users-of.md.
type userRow struct {
	section, theirs, ours, remark string
}

var codeSpan = regexp.MustCompile("^`([^`]+)`")

// readUsersPage returns the rows of the page's tables.
func readUsersPage(t *testing.T) (rows []userRow) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli-for-users-of.md"))
	if err != nil {
		t.Fatal(err)
	}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "## "); ok {
			section = name
		}
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(strings.Trim(line, "|"), `\|`, "\x00"), "|")
		if len(cells) != 3 {
			t.Fatalf("%d cells in %s", len(cells), line)
		}
		for i, cell := range cells {
			cells[i] = strings.TrimSpace(strings.ReplaceAll(cell, "\x00", "|"))
		}
		theirs, ours := codeSpan.FindStringSubmatch(cells[0]), codeSpan.FindStringSubmatch(cells[1])
		if ours == nil || ours[0] != cells[1] || !strings.Contains(ours[1], "lookout ") {
			t.Fatalf("the second cell is no command of lookout: %s", line)
		}
		rows = append(rows, userRow{section, theirs[1], ours[1], cells[2]})
	}
	return rows
}

const usersNow = "2024-05-01T14:00:00Z"

// users is a server with the page's events, and a folder with the same lines in files.
type users struct {
	t               *testing.T
	dir, url, token string
}

func newUsers(t *testing.T) *users {
	t.Helper()
	u := startUsers(t)
	if out, code := u.sh("lookout send -q --ndjson events.ndjson"); code != 0 {
		t.Fatalf("%s", out)
	}
	return u
}

// startUsers has a server without events; they are in a file.
func startUsers(t *testing.T) *users {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		without(t, "there is no sh")
	}
	u := &users{t: t, dir: t.TempDir()}
	url, token, stop, err := startServer(filepath.Join(u.dir, ".server"), "LOOKOUT_RETENTION_MAX_BYTES", "135GB") // else half of this machine's disk, in a column
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	u.url, u.token = url, token
	events, err := os.ReadFile(filepath.Join("testdata", "users", "events.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	u.file("events.ndjson", events)
	return u
}

func (u *users) file(name string, content []byte) {
	u.t.Helper()
	if err := os.WriteFile(filepath.Join(u.dir, name), content, 0o600); err != nil {
		u.t.Fatal(err)
	}
}

// logFiles writes the messages of each service into files as a rotating logger would: the last hour's into SERVICE.log,
// what is older into SERVICE.log.1.gz.
func (u *users) logFiles() {
	u.t.Helper()
	now, err := time.Parse(time.RFC3339, usersNow)
	if err != nil {
		u.t.Fatal(err)
	}
	events, err := os.ReadFile(filepath.Join(u.dir, "events.ndjson"))
	if err != nil {
		u.t.Fatal(err)
	}
	files, old := map[string][]byte{}, map[string][]byte{}
	for dec := json.NewDecoder(bytes.NewReader(events)); dec.More(); {
		var e struct {
			Time             time.Time
			Service, Message string
		}
		if err := dec.Decode(&e); err != nil {
			u.t.Fatal(err)
		}
		into := files
		if e.Time.Before(now.Add(-time.Hour)) {
			into = old
		}
		into[e.Service] = append(into[e.Service], e.Message+"\n"...)
	}
	for service, text := range files {
		u.file(service+".log", text)
	}
	for service, text := range old {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(text)
		w.Close()
		u.file(service+".log.1.gz", b.Bytes())
	}
}

// command is a line for the shell, in the folder and for the server of u.
func (u *users) command(line string) *exec.Cmd {
	c := exec.CommandContext(u.t.Context(), "sh", "-c", strings.ReplaceAll(line, "http://SERVER:7171", u.url))
	c.Dir = u.dir
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + u.dir, "TZ=UTC", "USER=alice", "LC_ALL=C", "LOOKOUT_URL=" + u.url, "LOOKOUT_TOKEN=" + u.token, "LOOKOUT_TEST_NOW=" + usersNow,
		"GORACE=atexit_sleep_ms=0",
	}
	return c
}

// sh runs a line to its end and returns what it prints, to standard output and then to standard error, and its exit code.
func (u *users) sh(line string) (out string, code int) {
	u.t.Helper()
	out, errs, code := u.shell(line)
	return out + errs, code
}

func (u *users) shell(line string) (out, errs string, code int) {
	u.t.Helper()
	c := u.command(line)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	return stdout.String(), stderr.String(), c.ProcessState.ExitCode()
}

// What differs from run to run, and what it is replaced by.
var unsteady = []struct {
	re   *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`received="?[-0-9T:.Z]+"?`), "received=2024-05-01T13:59:59Z"},
	{regexp.MustCompile(`"received":"[^"]+"`), `"received":"2024-05-01T13:59:59Z"`},
	{regexp.MustCompile(`( in )[0-9.]+(ns|µs|ms|s)\b`), "${1}1ms"},
	{regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+`), "http://127.0.0.1:17171"},
}

func steady(text string) string {
	for _, u := range unsteady {
		text = u.re.ReplaceAllString(text, u.text)
	}
	return text
}

var follows = regexp.MustCompile(`\blookout (?:tail\b|grep .*-f\b|grep -f\b)`)

// following tells whether a command goes on until it is interrupted.
func following(line string) bool {
	return follows.MatchString(line) && !strings.Contains(line, "--no-follow") && !strings.Contains(line, "|")
}

// liveEvent is sent to commands that follow. Every one of the page finds it, and has 4711 in it.
const liveEvent = `{"time":"2024-05-01T13:59:30.000Z","service":"web","env":"prod","host":"elm","container":"web-2","stream":"stderr","level":"error","message":"ERROR timeout: order 4711","status":504,"path":"/cart"}`

// follow runs commands that follow side by side, sends them an event, and interrupts each when it has printed it.
func (u *users) follow(lines []string) (outs []string) {
	u.t.Helper()
	type one struct {
		c      *exec.Cmd
		out    *watched
		stderr lockedBuffer
	}
	all := make([]*one, len(lines))
	for i, line := range lines {
		o := &one{c: u.command("exec " + line), out: &watched{mark: "4711", has: make(chan struct{})}}
		o.c.Stdout, o.c.Stderr = o.out, &o.stderr
		if err := o.c.Start(); err != nil {
			u.t.Fatal(err)
		}
		all[i] = o
	}
	open := fmt.Sprintf("\nlookout_tails_open %d\n", len(lines))
	for !strings.Contains(u.metrics(), open) { // every one has read what there was
		if err := u.t.Context().Err(); err != nil {
			u.t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	u.file("live.ndjson", []byte(liveEvent+"\n"))
	if out, code := u.sh("lookout send -q --ndjson live.ndjson"); code != 0 {
		u.t.Fatal(out)
	}
	for i, o := range all {
		select {
		case <-o.out.has:
		case <-time.After(5 * time.Minute):
			u.t.Fatalf("%s does not show the event: %s%s", lines[i], o.out.b.String(), o.stderr.String())
		}
		if err := o.c.Process.Signal(os.Interrupt); err != nil {
			u.t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := o.c.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
			u.t.Errorf("%s: %v\n%s", lines[i], err, &o.stderr)
		}
		outs = append(outs, o.out.b.String()+o.stderr.String())
	}
	return outs
}

// watched keeps what is written, and tells when a line with the mark is in it. Only the command's own copying writes to it.
type watched struct {
	mark string
	b    bytes.Buffer
	has  chan struct{}
	done bool
}

func (w *watched) Write(p []byte) (int, error) {
	w.b.Write(p)
	if !w.done && bytes.Contains(w.b.Bytes(), []byte(w.mark)) && bytes.HasSuffix(w.b.Bytes(), []byte("\n")) {
		w.done = true
		close(w.has)
	}
	return len(p), nil
}

func (u *users) metrics() string {
	u.t.Helper()
	r, err := http.NewRequestWithContext(u.t.Context(), http.MethodGet, u.url+"/metrics", nil)
	if err != nil {
		u.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+u.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		u.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		u.t.Fatal(err)
	}
	return string(b)
}

// atOnce is how many commands follow at a time.
const atOnce = 6

// outputs runs each command once, and returns what it prints. Each must succeed, and print something.
func outputs(t *testing.T, lines []string) map[string]string {
	t.Helper()
	u := newUsers(t)
	u.logFiles()
	all := map[string]string{}
	var live []string
	for _, line := range lines {
		switch _, ok := all[line]; {
		case ok || slices.Contains(live, line):
		case following(line):
			live = append(live, line)
		default:
			out, code := u.sh(line)
			if code != 0 || strings.TrimSpace(out) == "" || strings.Contains(out, "\nUsage:\n") {
				t.Errorf("%s: exit code %d\n%s", line, code, out)
			}
			all[line] = steady(out)
		}
	}
	for some := range slices.Chunk(live, atOnce) {
		for i, out := range newUsers(t).follow(some) {
			all[some[i]] = steady(out)
		}
	}
	return all
}

// TestUsers runs every command of lookout in docs/cli-for-users-of.md: each succeeds, and prints what
// testdata/users/output.txt says, which -update writes.
func TestUsers(t *testing.T) {
	rows := readUsersPage(t)
	if len(rows) < 150 {
		t.Fatalf("the page has %d rows", len(rows))
	}
	var lines []string
	for _, r := range rows {
		lines = append(lines, r.ours)
	}
	outs := outputs(t, lines)
	var b strings.Builder
	b.WriteString("What the commands of docs/cli-for-users-of.md print for events.ndjson at " + usersNow + ": go test ./cmd/lookout -run TestUsers -update\n")
	section := ""
	printed := map[string]bool{}
	for _, r := range rows {
		if printed[r.ours] {
			continue
		}
		printed[r.ours] = true
		if r.section != section {
			section = r.section
			fmt.Fprintf(&b, "\n## %s\n", section)
		}
		fmt.Fprintf(&b, "\n$ %s\n%s", r.ours, outs[r.ours])
	}
	golden(t, filepath.Join("testdata", "users", "output.txt"), b.String())
}

var (
	logName    = regexp.MustCompile(`(?m)^(\w+)\.log\b`)
	ourCommand = regexp.MustCompile(`\blookout (grep|tail)\b`)
)

// TestUsersOfGrep runs both commands of a row that promises the same lines, over the same lines in files and on a server.
func TestUsersOfGrep(t *testing.T) {
	u := newUsers(t)
	u.logFiles()
	compared := 0
	for _, r := range readUsersPage(t) {
		if r.section != "grep, zgrep, tail" || !strings.HasPrefix(r.remark, "same lines") {
			continue
		}
		flags := " -o raw"
		if !strings.Contains(r.ours, " -i ") && strings.Contains(r.ours, "lookout grep") {
			flags += " --case-sensitive"
		}
		theirs, _, theirCode := u.shell(r.theirs)
		ours, _, ourCode := u.shell(ourCommand.ReplaceAllString(r.ours, "${0}"+flags))
		theirs = logName.ReplaceAllString(theirs, "$1") // a file is a service
		if ours != theirs || ourCode != theirCode || theirs == "" {
			t.Errorf("%s\nexit code %d\n%s\n%s\nexit code %d\n%s", r.theirs, theirCode, theirs, r.ours, ourCode, ours)
		}
		compared++
	}
	if compared < 25 {
		t.Errorf("%d rows promise the same lines", compared)
	}
}
