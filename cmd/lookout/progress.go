package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/lookoutlog/lookout/sdk"
)

// progress shows on a terminal how far long work has come: a line of standard error that is written over and over, with a bar, the
// rate and the time left. Where standard error is no terminal it shows nothing. It is safe for concurrent use.
type progress struct {
	p    *program
	tty  *os.File // nil: nothing is shown
	what string

	mu      sync.Mutex
	total   int64
	unit    string
	first   int64 // done when it was told first: what an earlier run did says nothing of the rate
	started time.Time
	drawn   time.Time
	shown   int // columns of the line that is there
}

// progressEvery is how often the line changes at most.
const progressEvery = 100 * time.Millisecond

// progress begins a bar for work of a name such as "backing up". It is shown from the first set on; the caller ends with end.
func (p *program) progress(what string) *progress {
	b := &progress{p: p, what: what}
	if terminal(p.stderr) {
		b.tty = p.stderr.(*os.File)
	}
	return b
}

// set says that so much is done of a total, which is 0 when it is not known, in a unit: "bytes", or a word for what is counted, such as "events".
func (b *progress) set(done, total int64, unit string) {
	if b.tty == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.p.now()
	if b.started.IsZero() || unit != b.unit || total != b.total && b.total == 0 {
		b.started, b.first, b.drawn = now, done, time.Time{}
	}
	b.total, b.unit = total, unit
	if now.Sub(b.drawn) < progressEvery && done != total {
		return
	}
	b.drawn = now
	width, _, err := term.GetSize(int(b.tty.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	line := progressLine(b.what, done, total, done-b.first, unit, now.Sub(b.started), width-1)
	// Blanks, not a control sequence, take away what was longer: some terminals know none.
	fmt.Fprintf(b.p.stderr, "\r%s%s", line, strings.Repeat(" ", max(b.shown-len(line), 0)))
	b.shown = len(line)
}

// end takes the line away: what the command says then stands in its place.
func (b *progress) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown > 0 {
		fmt.Fprintf(b.p.stderr, "\r%s\r", strings.Repeat(" ", b.shown))
		b.shown = 0
	}
}

// progressLine is the line, of at most width columns. did is what was done in the time it took; the rest was done before.
func progressLine(what string, done, total, did int64, unit string, took time.Duration, width int) string {
	amount := func(n int64) string {
		if unit == "bytes" {
			return bytesText(n)
		}
		return grouped(n)
	}
	text := amount(done)
	if total > 0 {
		text += " of " + amount(total)
	}
	if unit != "bytes" {
		text += " " + string(appendEscaped(nil, unit))
	}
	if rate := float64(did) / took.Seconds(); took >= time.Second && rate > 0 {
		text += ", " + amount(int64(rate)) + "/s"
		if total > done {
			text += ", " + ageText(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
		}
	}
	head := what + " "
	if total > 0 {
		share := float64(max(min(done, total), 0)) / float64(total)
		head += fmt.Sprintf("%3.0f%% ", 100*share)
		if room := min(width-len(head)-len(text)-3, 30); room >= 8 {
			full := int(share * float64(room))
			head += "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "] "
		}
	}
	line := head + text
	return line[:min(len(line), max(width, 0))]
}

// work has the server do something that takes long, and shows how far it has come.
func (p *program) work(ctx context.Context, c *sdk.Client, what, path string, params url.Values, summary any) error {
	b := p.progress(what)
	defer b.end()
	return c.Work(ctx, path, params, func(now sdk.Progress) { b.set(now.Done, now.Total, now.Unit) }, summary)
}
