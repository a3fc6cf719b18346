// Command compare runs the same corpus and the same queries against lookout and VictoriaLogs, both started from scratch on this
// machine and spoken to by the same client, and prints their figures and lookout's ratio to VictoriaLogs'.
//
//	go run ./e2e/compare -corpus FILE -victorialogs BINARY [-lookout BINARY] [-reps 5] [-only REGEXP]
//	go run ./e2e/compare -corpus FILE -victorialogs BINARY -vl-data DIR   # loads it once, and finds it loaded the next time
//	go run ./e2e/compare … -benchfmt >new.txt; benchstat old.txt new.txt; benchstat -col /on new.txt
//
// The corpus is NDJSON, {"time","service","host","severity","message"} and on some lines request_id, status, duration_ms and
// user. VictoriaLogs is no part of this project: get its binary from its releases, or build ./app/victoria-logs of its source.
//
// The two never work at the same time: one is loaded, awaited until it is idle and stopped before the other is started, and
// while one is asked the other has nothing to do. They are asked in turns. Ratios of one run can be compared with those of
// another; the figures themselves vary with the machine, and wall times with what else runs on it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/lookoutlog/lookout/e2e/internal/benchfmt"
	"github.com/lookoutlog/lookout/e2e/internal/peer"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the command line's.
type options struct {
	corpus       string
	victorialogs string
	lookout      string // "" builds one
	vlData       string // "" loads into a folder that is removed at the end
	lookoutData  string // as vlData
	loads        int    // of each into a new folder
	reps         int
	conns        int
	body         int // bytes of a request that brings events, at least
	only         *regexp.Regexp
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := options{only: regexp.MustCompile("")}
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.corpus, "corpus", "", "the events, a file of NDJSON; it is read into memory")
	flags.StringVar(&o.victorialogs, "victorialogs", "", "VictoriaLogs' single-node binary")
	flags.StringVar(&o.lookout, "lookout", "", "measure this binary instead of building ./cmd/lookout")
	flags.StringVar(&o.vlData, "vl-data", "", "keep VictoriaLogs' data and its figures of loading in this folder; one that has them is not loaded again")
	flags.StringVar(&o.lookoutData, "lookout-data", "", "the same for lookout: for queries only, the figures of loading are those of the binary that loaded")
	flags.IntVar(&o.loads, "loads", 3, "how often loading is measured, where the data is not kept: CPU time varies much on a shared machine")
	flags.IntVar(&o.reps, "reps", 5, "turns of each server a query, after one run that is not measured")
	flags.IntVar(&o.conns, "conns", 4, "connections that bring events")
	flags.IntVar(&o.body, "body", 1<<20, "bytes of a request that brings events")
	flags.Func("only", "the queries whose names this regular expression matches", func(s string) (err error) {
		o.only, err = regexp.Compile(s)
		return err
	})
	lines := flags.Bool("benchfmt", false, "print Go benchmark lines, for benchstat, and the table to standard error")
	queries := flags.Bool("queries", false, "print what is asked of both beside the figures")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if o.corpus == "" || o.victorialogs == "" || o.loads < 1 || o.reps < 1 || o.conns < 1 || o.body < 1 || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "compare: name the corpus with -corpus and VictoriaLogs' binary with -victorialogs; -h lists the rest")
		return 2
	}
	c := &comparison{options: o, text: stdout, verbose: *queries}
	if *lines {
		c.text, c.lines = stderr, benchfmt.New(stdout, "e2e/compare")
	}
	if err := c.run(ctx); err != nil {
		fmt.Fprintln(stderr, "compare:", err)
		return 1
	}
	return 0
}

// comparison is one run.
type comparison struct {
	options
	text    io.Writer        // the table
	lines   *benchfmt.Writer // the same as benchmark lines, one a repetition; nil for none
	verbose bool
}

// server is what both servers are to the comparison.
type server interface {
	Insert(ctx context.Context, bodies [][]byte, conns int) error
	asker
	process
}

func (c *comparison) run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "lookout-compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if c.lookout == "" {
		c.lookout = filepath.Join(dir, "lookout")
		if err := peer.BuildLookout(ctx, c.lookout); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(c.corpus)
	if err != nil {
		return err
	}
	facts, err := factsOf(data)
	if err != nil {
		return fmt.Errorf("reading the corpus %s: %w", c.corpus, err)
	}
	fmt.Fprintf(c.text, "corpus        %s: %d events, %d MB\n", c.corpus, facts.events, len(data)/1_000_000)
	fmt.Fprintf(c.text, "lookout       %s\nVictoriaLogs  %s\n\n", version(ctx, c.lookout, "version"), version(ctx, c.victorialogs, "-version"))

	startVL := func(dir string) (server, error) { return peer.StartVictoriaLogs(ctx, c.victorialogs, dir) }
	startLookout := func(dir string) (server, error) { return peer.StartLookout(ctx, c.lookout, dir) }
	vlDir, vlLoads, err := c.loaded(ctx, c.vlData, filepath.Join(dir, "victorialogs-data"), data, facts, startVL)
	if err != nil {
		return fmt.Errorf("loading VictoriaLogs: %w", err)
	}
	lookoutDir, lookoutLoads, err := c.loaded(ctx, c.lookoutData, filepath.Join(dir, "lookout-data"), data, facts, startLookout)
	if err != nil {
		return fmt.Errorf("loading lookout: %w", err)
	}
	data = nil // half a GB; not looked at any more
	c.printLoads(lookoutLoads, vlLoads)

	vl, err := startVL(vlDir)
	if err != nil {
		return err
	}
	defer vl.Stop()
	lookout, err := startLookout(lookoutDir)
	if err != nil {
		return err
	}
	defer lookout.Stop()
	if err := errors.Join(vl.Idle(ctx), lookout.Idle(ctx)); err != nil {
		return err
	}
	return c.queries(ctx, lookout, vl, facts)
}

// version returns the last line of what a binary says of itself: VictoriaLogs may print a complaint about its cgroup first.
func version(ctx context.Context, binary, arg string) string {
	out, err := exec.CommandContext(ctx, binary, arg).CombinedOutput() // VictoriaLogs writes it to standard error
	out = bytes.TrimSpace(out)
	if err != nil || len(out) == 0 {
		return "of unknown version"
	}
	return string(out[bytes.LastIndexByte(out, '\n')+1:])
}
