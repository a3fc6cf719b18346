package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

const transcriptHead = `# A session with lookout

<!-- generated from cmd/lookout/testdata/users/transcript.txt: go test ./cmd/lookout -run TestTranscript -update -->

What each command prints, on the server of a small shop at 14:00 UTC. An exit code other than 0 stands behind what was printed. Times that pass, addresses and ids that differ from run to run are written
the same each time. What users of other tools type is in [cli-for-users-of.md](cli-for-users-of.md), every flag in [cli.md](cli.md).

`

// TestTranscript runs the commands of testdata/users/transcript.txt, one after the other, and compares what they print with
// docs/cli-transcript.md. Every command of lookout is among them.
func TestTranscript(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("testdata", "users", "transcript.txt"))
	if err != nil {
		t.Fatal(err)
	}
	everyCommand(t, string(script))
	u := startUsers(t)
	u.logFiles()
	var b strings.Builder
	b.WriteString(transcriptHead)
	fenced := false
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSuffix(line, "\n")
		kind, command, ok := strings.Cut(line, " ")
		if !ok || !strings.HasPrefix(kind, "$") {
			if fenced {
				b.WriteString("```\n")
				fenced = false
			}
			if title, ok := strings.CutPrefix(line, "# "); ok {
				line = "## " + title
			}
			b.WriteString(line + "\n")
			continue
		}
		if !fenced {
			if !strings.HasSuffix(b.String(), "\n\n") {
				b.WriteString("\n")
			}
			b.WriteString("```\n")
			fenced = true
		} else {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "$ %s\n%s", strings.ReplaceAll(command, "DIR/", "/srv/"), u.steadyHere(command, u.play(kind, strings.ReplaceAll(command, "DIR/", u.dir+"/"))))
	}
	b.WriteString("```\n")
	golden(t, filepath.Join("..", "..", "docs", "cli-transcript.md"), b.String())
}

// play runs a command of the transcript and returns what it shows.
func (u *users) play(kind, line string) string {
	u.t.Helper()
	switch {
	case kind == "$tty":
		return u.onTerminal(line)
	case kind == "$serve":
		return u.serve(line)
	case following(line):
		other := newUsers(u.t)
		return other.follow([]string{line})[0]
	}
	out, code := u.sh(line)
	if code != 0 {
		out += fmt.Sprintf("[exit code %d]\n", code)
	}
	return out
}

var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")

// onTerminal runs a command on a terminal and returns what it shows, without the colours.
func (u *users) onTerminal(line string) string {
	u.t.Helper()
	screen, tty := newTerminal(u.t)
	defer screen.Close()
	c := u.command("exec " + line)
	c.Env = append(c.Env, "TERM=xterm", "LOOKOUT_PAGER=") // what a pager does to the screen is its own matter
	c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
	shown := make(chan string)
	go func() {
		b, _ := io.ReadAll(screen) // ends with EIO when the other end is closed
		shown <- string(b)
	}()
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		u.t.Fatal(err)
	}
	tty.Close()
	out := ansi.ReplaceAllString(strings.ReplaceAll(<-shown, "\r\n", "\n"), "")
	if code := c.ProcessState.ExitCode(); code != 0 {
		out += fmt.Sprintf("[exit code %d]\n", code)
	}
	return out
}

// serve runs a server until it has printed where one logs in, and interrupts it.
func (u *users) serve(line string) string {
	u.t.Helper()
	c := u.command("exec " + line)
	c.Env = append(c.Env, "LOOKOUT_DATA="+filepath.Join(u.dir, "served"), "LOOKOUT_HTTP=127.0.0.1:0", "LOOKOUT_GELF=off", "LOOKOUT_DOCKER=off")
	out := &watched{mark: "lookout grep hello", has: make(chan struct{})}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		u.t.Fatal(err)
	}
	select {
	case <-out.has:
	case <-time.After(5 * time.Minute):
		u.t.Fatalf("serve says only %s", out.b.String())
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		u.t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		u.t.Errorf("%s: %v", line, err)
	}
	return out.b.String()
}

// What differs from run to run, or from machine to machine, in the transcript alone, and what it is replaced by.
var unsteadyHere = []struct {
	re   *regexp.Regexp
	text string
}{
	{regexp.MustCompile(`\b[0-9]{8}T[0-9]{6}\.[0-9]{3}Z`), "20240501T140000.000Z"},
	{regexp.MustCompile(`\b20(?:2[5-9]|[3-9][0-9])-[0-9]{2}-[0-9]{2} [0-9:]{8}`), "2024-05-01 14:00:00"},
	{regexp.MustCompile(`time=[-0-9]+T[0-9:.]+Z?(?:[+-][0-9:]+)?`), "time=2024-05-01T14:00:00.000Z"},
	{regexp.MustCompile(`login=lkc_[-_0-9A-Za-z]+`), "login=lkc_PqX0VKsVNQ3tfeJsIcLivtDBpI"},
	{regexp.MustCompile(`lkt_[-_0-9A-Za-z]{43}`), "lkt_5wzGIoPqrwVfkpx1fmFzkROnJzDvlYoPmJ8hLq3Zx0c"},
	{regexp.MustCompile(`[0-9]+s ago`), "1s ago"},
	{regexp.MustCompile(`(it works once, until )[0-9:]+`), "${1}14:15"},
	{regexp.MustCompile(`#[0-9a-f]{8} of`), "#887f97ce of"},
	{regexp.MustCompile(`at most [0-9.]+ [GTM]B`), "at most 135 GB"},
	{regexp.MustCompile(`(all +- +)[0-9.]+ [GTM]B`), "${1}135 GB"},
	{regexp.MustCompile(`[0-9]+ pages in`), "45 pages in"},
	{regexp.MustCompile(`Disk: .*`), "Disk: 45 GB of 271 GB free, 14 GB are kept in reserve"},
	{regexp.MustCompile(`limits: .*`), "limits: 100 GB of events, 134 MB of memory, 1m0s"},
	{regexp.MustCompile(`lookout \S+ go1\S+ \S+/\S+`), "lookout (devel) go1.26.0 linux/amd64"},
}

// onDisk is a size of files, which depends on when they were written.
var onDisk = regexp.MustCompile(`\b[0-9.]+ kB`)

func (u *users) steadyHere(line, text string) string {
	text = steady(strings.ReplaceAll(text, u.dir, "/srv"))
	for _, h := range unsteadyHere {
		text = h.re.ReplaceAllString(text, h.text)
	}
	for _, command := range []string{"backup", "restore", "verify", "retention", "catalog"} {
		if strings.HasPrefix(line, "lookout "+command) {
			text = onDisk.ReplaceAllString(text, "56 kB")
		}
	}
	return text
}

// everyCommand checks that a script runs each command that the help lists.
func everyCommand(t *testing.T, script string) {
	t.Helper()
	p := &program{stdin: strings.NewReader(""), stdout: io.Discard, stderr: io.Discard, env: func(string) (string, bool) { return "", false }, now: time.Now}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.IsAvailableCommand() {
			return
		}
		subs := 0
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				subs++
				walk(sub)
			}
		}
		if c.HasParent() && (subs == 0 || c.Args == nil) && c.Parent().Name() != "completion" && !bytes.Contains([]byte(script), []byte(" "+c.CommandPath())) {
			t.Errorf("testdata/users/transcript.txt does not run %s", c.CommandPath())
		}
	}
	walk(p.root())
}
