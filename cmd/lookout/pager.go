package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
)

// pageFlags are the flags of the pager.
type pageFlags struct{ paging, noPager bool }

func (f *pageFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.paging, "paging", true, "on a terminal, show through a pager: LOOKOUT_PAGER, PAGER or less -FRX, which ends by itself when all fits on the screen")
	fl.BoolVarP(&f.noPager, "no-pager", "P", false, "no pager")
}

// pager is a pager that standard output goes through. It starts with the first byte: what finds nothing has none. What the command
// says on standard error meanwhile waits until the pager has ended, or it would stand in the midst of its screen.
type pager struct {
	p       *program
	command []string
	stdout  io.Writer // the terminal
	stderr  io.Writer
	said    lockedWriter

	parent  context.Context
	stop    context.CancelFunc
	process *exec.Cmd
	in      io.WriteCloser
	ended   chan struct{}  // closed when the process has ended
	signals chan os.Signal // Ctrl-C is the pager's as long as it runs; what it does to the command is main's matter
	closing atomic.Bool
	left    atomic.Bool // it ended before it had all
}

// lockedWriter keeps what is written.
type lockedWriter struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

// paging is what a command that may have a pager ends with.
type paging struct {
	pager  *pager // nil for none
	cancel context.CancelFunc
}

// paged has standard output go through a pager, when it is a terminal and there is one. The command goes on with the context, which
// ends when the pager is left, and calls end with its result at the end.
func (p *program) paged(ctx context.Context, f pageFlags) (context.Context, *paging) {
	inner, cancel := context.WithCancel(ctx)
	command := p.pagerCommand(f)
	if command == nil {
		return inner, &paging{cancel: cancel}
	}
	g := &pager{p: p, command: command, stdout: p.stdout, stderr: p.stderr, parent: ctx, stop: cancel}
	p.stdout, p.held = g, &g.said
	return inner, &paging{g, cancel}
}

// end waits until the pager is left, and returns the command's result: an error that came about because it was left is that of a
// closed pipe.
func (d *paging) end(err error) error {
	defer d.cancel()
	g := d.pager
	if g == nil {
		return err
	}
	g.close()
	g.p.stdout, g.p.held = g.stdout, nil
	_, _ = g.stderr.Write(g.said.b.Bytes()) // nobody to tell
	if g.left.Load() && err != nil && g.parent.Err() == nil {
		return syscall.EPIPE
	}
	return err
}

// pagerCommand returns the pager to use, nil for none.
func (p *program) pagerCommand(f pageFlags) []string {
	if f.noPager || !f.paging || !terminal(p.stdout) || !terminal(p.stdin) {
		return nil
	}
	if term := p.getenv("TERM"); runtime.GOOS != "windows" && (term == "" || term == "dumb") {
		return nil
	}
	for _, name := range []string{"LOOKOUT_PAGER", "PAGER"} {
		text, set := p.env(name)
		if !set {
			continue
		}
		words := strings.Fields(text)
		if len(words) == 0 || len(words) == 1 && words[0] == "cat" {
			return nil
		}
		if _, err := exec.LookPath(words[0]); err != nil && !strings.ContainsAny(words[0], "='\"$(") {
			p.say("%s: there is no program %q; the output goes without a pager", name, words[0])
			return nil
		}
		if runtime.GOOS != "windows" {
			return []string{"sh", "-c", text}
		}
		return words
	}
	if _, err := exec.LookPath("less"); err != nil {
		return nil
	}
	return []string{"less", "-FRX"}
}

// start starts the pager.
func (g *pager) start() error {
	g.process = exec.Command(g.command[0], g.command[1:]...)
	g.process.Stdout, g.process.Stderr = g.stdout, g.stderr
	if _, set := g.p.env("LESS"); !set {
		g.process.Env = append(os.Environ(), "LESS=FRX") // for PAGER=less: colours, and no screen of its own
	}
	in, err := g.process.StdinPipe()
	if err != nil {
		return err
	}
	g.signals = make(chan os.Signal, 1)
	signal.Notify(g.signals, os.Interrupt)
	if err := g.process.Start(); err != nil {
		signal.Stop(g.signals)
		return err
	}
	g.in, g.ended = in, make(chan struct{})
	go func() {
		_ = g.process.Wait() // how it ended is between it and whoever left it
		if !g.closing.Load() {
			g.left.Store(true)
			g.stop()
		}
		close(g.ended)
	}()
	return nil
}

func (g *pager) Write(b []byte) (int, error) {
	if g.process == nil {
		if err := g.start(); err != nil {
			g.p.say("the pager %s cannot be started: %v", g.command[0], err)
			g.process, g.in = &exec.Cmd{}, nil
		}
	}
	if g.in == nil {
		return g.stdout.Write(b)
	}
	return g.in.Write(b)
}

// close tells the pager that it has all, and waits until it is left.
func (g *pager) close() {
	if g.in == nil {
		return
	}
	g.closing.Store(true)
	_ = g.in.Close() // it may have ended
	<-g.ended
	signal.Stop(g.signals)
}
