//go:build unix

package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// process starts the command as a process of its own; TestMain makes of the test's binary what it is called.
func (s *session) process(args ...string) (cmd *exec.Cmd, stdout io.ReadCloser, stderr *bytes.Buffer) {
	s.t.Helper()
	cmd = exec.CommandContext(s.t.Context(), os.Args[0], args...)
	cmd.Args[0] = "lookout"
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	return cmd, stdout, stderr
}

func TestCtrlC(t *testing.T) {
	s := withServer(t)
	s.send("hello")
	cmd, stdout, stderr := s.process("tail", "-o", "raw")
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "hello\n" || err != nil {
		t.Error(line, err, stderr)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the code says it
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || stderr.String() != "" {
		t.Error(cmd.ProcessState, stderr)
	}
}

func TestPipeToHead(t *testing.T) {
	s := serveLines(t, strings.Repeat(row, 100_000)+complete0)
	cmd, stdout, stderr := s.process("grep", "x", "-o", "raw")
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "hello\n" || err != nil {
		t.Error(line, err)
	}
	stdout.Close()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitOK || stderr.String() != "" {
		t.Error(cmd.ProcessState, stderr)
	}
}
