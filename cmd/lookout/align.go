package main

import (
	"sync"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/sdk"
)

// aligner prints rows for a terminal with the service's column as wide as the longest name in sight: the first rows wait
// for the others that come with them, for as long as an eye does not notice. What comes later widens the column from its
// line on.
type aligner struct {
	mu    sync.Mutex
	p     *printer
	held  []sdk.Row
	timer *time.Timer
	wait  time.Duration
	open  bool // nothing is held any more
	err   error
}

// alignWait is how long the first row waits for others. It is a variable for the tests, in which a slow machine must not
// change what is shown.
var alignWait = 10 * time.Millisecond

// alignRows is how many rows wait at most.
const alignRows = 200

// newAligner returns an aligner before a printer; it holds nothing when the printer does not align.
func newAligner(p *printer) *aligner {
	return &aligner{p: p, wait: alignWait, open: !p.align || p.form != formAuto || p.noPrefix}
}

// row prints a row, now or soon. Its error may be that of an earlier row.
func (a *aligner) row(r *sdk.Row) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return a.err
	}
	if a.open {
		return a.p.row(r)
	}
	if len(a.held) == 0 {
		a.timer = time.AfterFunc(a.wait, func() { _ = a.flush() }) // the next row, or the end, returns the error
	}
	a.held = append(a.held, *r)
	a.p.width = min(max(a.p.width, utf8.RuneCountInString(a.p.safe(r.Service))), maxWidth)
	if len(a.held) == alignRows {
		return a.release()
	}
	return nil
}

// flush prints what is held, and holds nothing from then on.
func (a *aligner) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.release()
}

func (a *aligner) release() error {
	if a.timer != nil {
		a.timer.Stop()
	}
	a.open = true
	for i := range a.held {
		if a.err == nil {
			a.err = a.p.row(&a.held[i])
		}
	}
	a.held = nil
	return a.err
}
