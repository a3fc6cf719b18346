package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/lookoutlog/lookout/sdk"
)

// addDedup adds --dedup.
func addDedup(cmd *cobra.Command, field *string) {
	fl := cmd.Flags()
	fl.StringVar(field, "dedup", "", "consecutive events of a service with the same message, or the same value of a `field`, are one line, with ×N and until when")
	fl.Lookup("dedup").NoOptDefVal = "message"
}

// dedups has consecutive rows that repeat printed as one, when asked for.
func (l *look) dedups(cmd *cobra.Command, field string) error {
	switch {
	case !cmd.Flags().Changed("dedup"):
		return nil
	case field == "":
		return errors.New("--dedup=: name a field, or write --dedup alone for the message")
	case !l.separates():
		return fmt.Errorf("--dedup does not go with -o %s, in which each event is one of its own; `lookout patterns` and `lookout count --by` count", l.form)
	case l.only:
		return errors.New("--dedup and --only-matching do not go together")
	}
	l.dedup = field
	return nil
}

// printer returns a printer to out.
func (l *look) printer(out io.Writer) *printer {
	p := &printer{look: *l, out: out}
	if l.dedup != "" {
		p.repeats = &dedup{field: l.dedup, zone: l.zone, p: p}
	}
	return p
}

// dedup holds a row back until it is known how often it repeats.
type dedup struct {
	field string // what is compared: message, with the level, or a field
	zone  *time.Location

	mu    sync.Mutex
	p     *printer // which prints what it is given
	first sdk.Row
	value string
	n     int // 0 for nothing held
	last  time.Time
	held  int                         // rows held so far
	after func(time.Duration, func()) // has a held row printed in time; nil while nobody waits for it
	err   error
}

// dedupHold is how long a live row is held at most.
const dedupHold = time.Second

// row takes the next row.
func (d *dedup) row(r *sdk.Row) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	value, ok := d.of(r)
	if d.n > 0 && ok && r.Service == d.first.Service && value == d.value {
		d.n++
		d.last = r.Time
		return d.err
	}
	if err := d.print(); err != nil {
		return err
	}
	if !ok {
		return d.p.print(r)
	}
	d.first, d.value, d.n, d.last = *r, value, 1, r.Time
	d.soon()
	return nil
}

// of returns what a row is compared by; a row beside a match, and one without the field, is not.
func (d *dedup) of(r *sdk.Row) (value string, ok bool) {
	switch {
	case r.Context:
		return "", false
	case d.field == "message":
		return r.Level + "\x00" + r.Message, true
	}
	v, ok := lookup(&r.Event, d.field, d.zone)
	if !ok {
		return "", false
	}
	return valueText(v), true
}

// print prints what is held.
func (d *dedup) print() error {
	if d.n == 0 || d.err != nil {
		return d.err
	}
	d.p.times, d.p.last = d.n, d.last
	d.n = 0
	d.err = d.p.print(&d.first)
	d.p.times = 0
	return d.err
}

// flush prints what is held, at the end.
func (d *dedup) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.print()
}

// live says that rows now come as they happen: none is held for longer than a second.
func (d *dedup) live(after func(time.Duration, func())) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after = after
	if d.n > 0 {
		d.soon()
	}
}

// soon sees to it that the row that is held now does not wait for longer.
func (d *dedup) soon() {
	d.held++
	if d.after == nil {
		return
	}
	this := d.held
	d.after(dedupHold, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if this == d.held {
			_ = d.print() // the next row's error
		}
	})
}

// timesText is what stands behind a line that stands for several: how many, and until when, or from when on when the newest come first.
func (p *printer) timesText(first time.Time) string {
	if p.times < 2 {
		return ""
	}
	text := " ×" + grouped(int64(p.times))
	if p.noTime || p.noPrefix || p.form == formRaw {
		return text
	}
	word, layout, last := " until ", "15:04:05.000", p.last.In(p.zone)
	if last.Before(first) {
		word = " since "
	}
	if y, m, d := last.Date(); !time.Date(y, m, d, 0, 0, 0, 0, p.zone).Equal(dayOf(first.In(p.zone))) {
		layout = timeLayout
	}
	return text + word + last.Format(layout)
}

func dayOf(t time.Time) time.Time {
	y, m, d := t.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, t.Location())
}
