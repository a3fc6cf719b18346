package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTerminal returns the two ends of a pseudo-terminal: what programs write to the second one is read from the first.
func newTerminal(t *testing.T) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// onTerminal runs a command on a terminal and returns all it shows.
func (s *session) onTerminal(stdin string, args ...string) string {
	s.t.Helper()
	screen, tty := newTerminal(s.t)
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(screen) // ends with EIO when the other end is closed
		shown <- string(b)
	}()
	run(s.t.Context(), args, strings.NewReader(stdin), tty, tty, s.lookup)
	tty.Close()
	defer screen.Close()
	return strings.ReplaceAll(<-shown, "\r\n", "\n")
}

func TestOnATerminal(t *testing.T) {
	answer := `{"event":{"id":"1","time":"2026-01-02T03:04:05.678Z","level":"error","service":"web","message":"evil \u001b]52;c;aGk=\u0007 \u202e\rtext","fields":{"f":"\u001b[2J"}}}
{"event":{"id":"2","time":"2026-01-02T03:04:06Z","service":"payments","message":"two\nlines"}}
{"event":{"id":"3","time":"2026-01-02T03:04:07Z","level":"notice","service":"web","message":"last evil"}}
{"summary":{"searched":{"events":1234567,"bytes":345678901},"matched":3,"complete":true,"sequence":5,"took_ms":12.34}}
`
	s := serveLines(t, answer)
	got := s.onTerminal("", "grep", "evil", "--utc", "--all")
	web, payments := serviceColor("web")+"web\x1b[m     ", serviceColor("payments")+"payments\x1b[m"
	want := "\x1b[2m2026-01-02 03:04:05.678\x1b[m " + web + " \x1b[1;31merror\x1b[m:  \x1b[1;31mevil\x1b[m " + `\x1b]52;c;aGk=\x07 \u202e\rtext` + " \x1b[2m" + `f="\x1b[2J"` + "\x1b[m\n" +
		"\x1b[2m2026-01-02 03:04:06.000\x1b[m " + payments + ":        two\n    lines\n" +
		"\x1b[2m2026-01-02 03:04:07.000\x1b[m " + web + " notice: last \x1b[1;31mevil\x1b[m\n" +
		"lookout: searched all services, all time: 1,234,567 events, 346 MB in 12.3ms; 3 matches\n"
	if got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}

	s.env["NO_COLOR"] = "1"
	if got := s.onTerminal("", "grep", "evil", "--utc"); strings.Contains(got, "\x1b") || !strings.Contains(got, "web      notice: last evil") {
		t.Errorf("NO_COLOR: %q", got)
	}
	if got := s.onTerminal("", "grep", "evil", "-o", "json"); strings.Contains(got, "\u202e") || strings.Contains(got, "\x1b") || !strings.Contains(got, `\u202e`) {
		t.Errorf("json: %q", got)
	}
	if got := s.onTerminal("", "grep", "evil", "--raw-control"); !strings.Contains(got, "evil \x1b]52;c;aGk=\a \u202e\rtext") {
		t.Errorf("--raw-control: %q", got)
	}
	delete(s.env, "NO_COLOR")
	s.env["TERM"] = "dumb"
	if got := s.onTerminal("", "grep", "evil"); strings.Contains(got, "\x1b") {
		t.Errorf("TERM=dumb: %q", got)
	}
	s.env["TERM"] = "xterm"

	if got, want := s.onTerminal("a\x1b[31m x\n", "grep", "--stdin", "x"), "a"+`\x1b`+"[31m \x1b[1;31mx\x1b[m\n"; got != want {
		t.Errorf("--stdin: %q", got)
	}
	if got := s.onTerminal("", "services", "--color=never"); strings.Contains(got, "\x1b") || !strings.Contains(got, `db\x1b[31m`) {
		t.Errorf("services: %q", got)
	}
}

// A search that found nothing in the last hour says how to look further back.
func TestNothingOnATerminal(t *testing.T) {
	s := serveLines(t, complete0)
	got := s.onTerminal("", "grep", "x", "web")
	if ok, _ := regexp.MatchString(`^lookout: searched web since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: 0 events, 0 B in 0s; 0 matches \(the last hour only: -s 1d, or --all\)\n$`, got); !ok {
		t.Errorf("%q", got)
	}
	if got := s.onTerminal("", "grep", "x", "-s", "2026-01-02", "-u", "2026-01-03", "--utc"); got != "lookout: searched all services from 2026-01-02 00:00:00 to 2026-01-03 00:00:00: 0 events, 0 B in 0s; 0 matches\n" {
		t.Errorf("%q", got)
	}
	if got := s.onTerminal("", "grep", "x", "--all", "-u", "2026-01-03", "--utc"); got != "lookout: searched all services until 2026-01-03 00:00:00: 0 events, 0 B in 0s; 0 matches\n" {
		t.Errorf("%q", got)
	}
}

func TestListsOnATerminal(t *testing.T) {
	s := serveLists(t, `{"containers":[{"container":"b\u001b[31m\t\u202ex\ny","service":"nginx","host":"h","state":"exited","restarts":2,"logs":"followed"}]}`, "")
	got := s.onTerminal("", "containers")
	if want := `b\x1b[31m \u202ex y  nginx    h     ` + "\x1b[1;31mexited\x1b[m  -   -    -       2         -        followed\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	s.env["NO_COLOR"] = "1"
	if got := s.onTerminal("", "containers"); strings.Contains(got, "\x1b") || !strings.Contains(got, " exited ") {
		t.Errorf("NO_COLOR: %q", got)
	}
}

// Work of the server shows how far it has come, and then what it says.
func TestWorkOnATerminal(t *testing.T) {
	const answer = `{"progress":{"done":250000,"total":1000000,"unit":"bytes"}}
{"summary":{"data":"/d","segments":1,"blocks":2,"events":3,"bytes":1000000,"problems":[],"databases":1}}
`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, answer) }))
	defer server.Close()
	s := newSession(t, server.URL, "t")
	got := s.onTerminal("", "verify")
	if !strings.HasPrefix(got, "\rverifying  25% [#######.......................] 250 kB of 1.0 MB") ||
		!strings.HasSuffix(got, "\rok: 3 events in 2 blocks of 1 segment, 0 in the log, 1 database; 1.0 MB read\n") {
		t.Errorf("%q", got)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	screen, tty := newTerminal(t)
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(screen)
		shown <- string(b)
	}()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &program{stderr: tty, now: func() time.Time { return now }}
	b := p.progress("copying")
	b.set(100, 400, "files") // an earlier run's work is no part of the rate
	now = now.Add(progressEvery / 2)
	b.set(150, 400, "files") // too soon
	now = now.Add(2*time.Second - progressEvery/2)
	b.set(200, 400, "files")
	b.set(400, 400, "files") // the end is always shown
	b.end()
	b.end()
	p.say("done")
	tty.Close()
	defer screen.Close()
	want := "\rcopying  25% [#######.......................] 100 of 400 files" +
		"\rcopying  50% [###############...............] 200 of 400 files, 50/s, 4s left" +
		"\rcopying 100% [##############################] 400 of 400 files, 150/s"
	last := len("copying 100% [##############################] 400 of 400 files, 150/s")
	got := <-shown
	if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\r"+strings.Repeat(" ", last)+"\rlookout: done\r\n") {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
