package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// lookFlags are the flags about how rows are shown; grep and tail share them.
type lookFlags struct {
	form, template, color, tz       string
	fields                          []string
	noPrefix, noTime, service, only bool
	rawControl, utc, timestamps     bool
	highlight                       []string
}

func (f *lookFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SortFlags = false
	fl.StringVarP(&f.form, "output", "o", formAuto, "`form`: "+strings.Join(forms, ", "))
	fl.StringVar(&f.template, "template", "", "Go `template` for -o template, such as '{{.Service}} {{.Message}} {{.Fields.status}}'")
	fl.StringSliceVar(&f.fields, "fields", nil, "extra `fields` to show, a,b; '*' for all, '' for none")
	fl.BoolVar(&f.only, "only-matching", false, "only the parts of messages that match (grep's -o)")
	fl.BoolVarP(&f.service, "with-service", "H", false, "put the service before raw lines and counts")
	fl.BoolVar(&f.noPrefix, "no-prefix", false, "no time, service and level before the message")
	fl.BoolVar(&f.noTime, "no-timestamps", false, "no time before the message")
	fl.BoolVarP(&f.timestamps, "timestamps", "t", false, "the time before the message, as it is anyway")
	hide(cmd, "timestamps")
	fl.StringVar(&f.color, "color", "auto", "`when`: auto, always, never (auto honours NO_COLOR)")
	fl.StringArrayVar(&f.highlight, "highlight", nil, "mark what a `regex` matches, without searching for it")
	fl.BoolVar(&f.rawControl, "raw-control", false, "pass control characters to a terminal as they are")
	fl.StringVar(&f.tz, "tz", "", "time `zone` for reading and printing times, such as Europe/Berlin")
	fl.BoolVar(&f.utc, "utc", false, "the same as --tz UTC")
	complete(cmd, "output", forms...)
	complete(cmd, "color", "auto", "always", "never")
}

// hide leaves flags out of the help: habits from other tools that change nothing here.
func hide(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.Flags().MarkHidden(name); err != nil {
			panic(err) // no such flag: a slip of the pen that every run would show
		}
	}
}

// complete lets a shell complete a flag by fixed words.
func complete(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag: a slip of the pen that every run would show
	}
}

// look checks the flags and turns them into how rows are shown on standard output.
func (f *lookFlags) look(p *program, cmd *cobra.Command) (look, error) {
	l := look{form: f.form, noPrefix: f.noPrefix, noTime: f.noTime, service: f.service, only: f.only, fields: f.fields}
	var err error
	if l.zone, err = parseZone(f.tz, f.utc); err != nil {
		return l, err
	}
	if f.template != "" && !cmd.Flags().Changed("output") {
		l.form = formTemplate
	}
	switch {
	case !slices.Contains(forms, l.form):
		return l, noForm(l.form)
	case l.form == formTemplate && f.template == "":
		return l, errors.New("-o template needs --template")
	case l.form != formTemplate && f.template != "":
		return l, fmt.Errorf("--template does not go with -o %s", l.form)
	case f.timestamps && (f.noTime || f.noPrefix || l.form == formRaw):
		return l, errors.New("-t does not go with -o raw, --no-prefix or --no-timestamps: the time is printed without them")
	case l.only && l.form != formAuto && l.form != formRaw:
		return l, fmt.Errorf("--only-matching does not go with -o %s", l.form)
	}
	if l.form == formTemplate {
		if l.template, err = parseTemplate(f.template); err != nil {
			return l, err
		}
	}
	if cmd.Flags().Changed("fields") && l.fields == nil {
		l.fields = []string{}
	}
	if l.color, err = p.colors(f.color); err != nil {
		return l, err
	}
	tty := terminal(p.stdout)
	l.escape = tty && !f.rawControl
	l.align = tty
	return l, nil
}

// colors turns --color into whether standard output has colours.
func (p *program) colors(when string) (bool, error) {
	switch when {
	case "always":
		return true, nil
	case "never":
		return false, nil
	case "auto":
		return terminal(p.stdout) && p.getenv("NO_COLOR") == "" && colorsWork(p.stdout.(*os.File), p.getenv("TERM")), nil
	}
	return false, fmt.Errorf("--color: there is no %q; use auto, always or never", when)
}

// soonWriter passes a write on at once when none was for a moment, and gathers what comes close behind it: a live answer shows
// without delay, and a long one is written in large pieces. It is safe for concurrent use.
type soonWriter struct {
	mu     sync.Mutex
	w      *bufio.Writer
	passed time.Time // when something was passed on last
	err    error
	timer  *time.Timer
	set    bool
	failed func()
}

// soon is how long a line may wait for others.
const soon = 20 * time.Millisecond

// newSoonWriter returns a writer to w. It calls failed when a write fails: a command that waits for its next line would not
// notice that its reader has gone. When ctx ends, so does a write that nobody reads.
func newSoonWriter(ctx context.Context, w io.Writer, failed func()) *soonWriter {
	s := &soonWriter{w: bufio.NewWriterSize(&interruptible{ctx, w}, 64<<10), failed: failed}
	s.timer = time.AfterFunc(time.Hour, func() { s.Flush() })
	s.timer.Stop()
	return s
}

// grace is how long a write may take after Ctrl-C.
const grace = 200 * time.Millisecond

// interruptible writes to w until ctx ends: a pipe that is full and not read would otherwise keep a command from ending after
// Ctrl-C. After an error nothing is written any more, and what was to be written must not be changed.
type interruptible struct {
	ctx context.Context
	w   io.Writer
}

func (i *interruptible) Write(b []byte) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := i.w.Write(b)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-i.ctx.Done():
		select {
		case r := <-done: // the last lines of who reads them
			return r.n, r.err
		case <-time.After(grace):
			return 0, i.ctx.Err()
		}
	}
}

func (s *soonWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(b)
	if s.err = err; s.set || err != nil {
		return n, err
	}
	now := time.Now()
	if now.Sub(s.passed) >= soon {
		s.flush()
		return n, s.err
	}
	s.set = true
	s.timer.Reset(soon)
	return n, nil
}

// Flush passes on what waits, and returns the first error of all writes.
func (s *soonWriter) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
	return s.err
}

// flush needs the lock.
func (s *soonWriter) flush() {
	s.timer.Stop()
	s.set, s.passed = false, time.Now()
	if err := s.w.Flush(); err != nil && s.err == nil {
		s.err = err
		s.failed()
	}
}
