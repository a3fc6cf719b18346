package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Real shells, each on a terminal, complete what is typed. Each case is typed up to the tab and behind it, and then made the
// arguments of printf: what the shell hands over is compared, not what it shows.
func TestShells(t *testing.T) {
	s := withServer(t)
	for _, service := range []string{"payments", "cart", "shop/eu"} {
		if code, _, stderr := s.run("", "send", "-q", "--service", service, "--level", "error", "--field", "user=anna", "hello"); code != 0 {
			t.Fatal(stderr)
		}
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "lookout"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "lookout", "config.yaml"), []byte("contexts: {prod: {url: 'http://x'}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, shell := range []struct {
		name string
		args []string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}},
		{"fish", []string{"--no-config", "-i"}},
	} {
		t.Run(shell.name, func(t *testing.T) {
			path, err := exec.LookPath(shell.name)
			if err != nil {
				without(t, fmt.Sprintf("%v; run e2e/setup.sh", err))
			}
			load := "source <(lookout completion bash)"
			if shell.name == "fish" {
				load = "lookout completion fish | source"
			}
			for _, c := range []struct{ before, after, want string }{
				{"grep x car", "", "grep|x|cart"},
				{"grep service:pa", "", "grep|service:payments"}, // a colon parts words in bash
				{"grep service:", "cart", "grep|service:cart"},
				{"grep 'service:ca", "", "grep|service:cart"},
				{"grep 'level:error -service:ca", "", "grep|level:error -service:cart"},
				{`grep "level:error service:ca`, "", "grep|level:error service:cart"},
				{`grep level:error\ service:ca`, "", "grep|level:error service:cart"},
				{"grep 'x us", "anna'", "grep|x user:anna"},
				{"grep user:an", "", "grep|user:anna"},
				{"grep x'y us", "z'", "grep|xy user:z"},
				{"grep -- -service:ca", "", "grep|--|-service:cart"},
				{"tail sho", "", "tail|shop/eu"},
				{"grep --level err", "", "grep|--level|error"},
				{"grep --level=err", "", "grep|--level=error"},
				{"tail -q service:ca", "", "tail|-q|service:cart"},
				{"count x --by service,lev", "", "count|x|--by|service,level"},
				{"count x --by service,level,us", "", "count|x|--by|service,level,user"},
				{"grep x --fields us", "", "grep|x|--fields|user"},
				{"top us", "", "top|user"},
				{"grep -o logf", "", "grep|-o|logfmt"},
				{"grep x --server pr", "", "grep|x|--server|prod"},
				{"send --ndjson not", "", "send|--ndjson|notes.txt"},
				{"query expl", "", "query|explain"},
				{"serv", "x", "servx"}, // several: nothing is chosen
				{"status not", "", "status|not"},
			} {
				got := completed(t, append([]string{path}, shell.args...), dir, load, s, "lookout "+c.before, c.after)
				if got != "lookout|"+c.want {
					t.Errorf("%s: %s<TAB>%s: got %s", shell.name, c.before, c.after, got)
				}
			}
		})
	}
}

// completed types a line with a tab in it into a shell, and returns the words it makes of it, with | between them.
func completed(t *testing.T, shell []string, dir, load string, s *session, before, after string) string {
	t.Helper()
	screen, tty := newTerminal(t)
	defer screen.Close()
	cmd := exec.Command(shell[0], shell[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "TERM=dumb", "PS1=$ ", "GORACE=atexit_sleep_ms=0", "LOOKOUT_COMPLETION_TIMEOUT=5m", "HISTFILE=")
	for name, value := range s.env {
		if name != "TERM" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	stop := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	defer cmd.Wait()
	defer stop.Stop()
	defer cmd.Process.Kill()

	var shown []byte
	chunk := make([]byte, 4096)
	await := func(what string) string {
		for {
			if i := bytes.Index(shown, []byte(what)); i >= 0 {
				text := string(shown[:i])
				shown = shown[i+len(what):]
				return text
			}
			n, err := screen.Read(chunk)
			if shown = append(shown, chunk[:n]...); err != nil {
				t.Fatalf("%s: %s<TAB>%s: waiting for %q: %v; it shows\n%s", shell[0], before, after, what, err, shown)
			}
		}
	}
	// The quotes keep what is typed, which the terminal shows too, from looking like what is printed.
	const ctrlA = "\x01"
	if _, err := screen.WriteString(load + "; printf '<%s>\\n' rea'd'y\r"); err != nil {
		t.Fatal(err)
	}
	await("<ready>")
	if _, err := screen.WriteString(before + "\t" + after + " end" + ctrlA + "printf '<%s>\\n' \r"); err != nil {
		t.Fatal(err)
	}
	var words []string
	for line := range strings.Lines(await("<end>")) {
		if word, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "<"); ok {
			words = append(words, strings.TrimSuffix(word, ">"))
		}
	}
	return strings.Join(words, "|")
}
