package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/lookoutlog/lookout/collector/parse"
	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/eventjson"
	"github.com/lookoutlog/lookout/sdk"
)

// standardInput is what standard input is called where a service's name would stand, as grep calls it.
const standardInput = "(standard input)"

type stdinOptions struct {
	count, quiet, with, without bool
	max, last, before, after    int
}

// grepStdin runs a query over the lines of standard input, with no server: each line is read as an input would read it
// (JSON, logfmt, level), matched, and printed as it came. Lines are not joined.
//
// Blocks of lines are matched side by side and consumed in order.
func (p *program) grepStdin(ctx context.Context, q *query.Query, l look, o stdinOptions) error {
	if o.last > 0 && o.before+o.after > 0 {
		return errors.New("--stdin with -n has no context: leave out -A, -B and -C")
	}
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newLineMatcher(q)
	blocks := matchBlocks(ctx, p.stdin, m, runtime.GOMAXPROCS(0))
	out := newSoonWriter(outer, p.stdout, cancel)
	c := &consumer{o: o, p: &printer{look: l, out: out}, m: m}
	err := c.all(ctx, blocks)
	if flushErr := out.Flush(); flushErr != nil {
		return flushErr
	}
	if err != nil {
		return err
	}
	found := c.matched > 0
	switch {
	case o.quiet:
	case o.with || o.without:
		if found = found == o.with; found {
			_, err = fmt.Fprintln(p.stdout, standardInput)
		}
	case o.count:
		if l.service {
			_, err = fmt.Fprintf(p.stdout, "%s:%d\n", standardInput, c.matched)
		} else {
			_, err = fmt.Fprintln(p.stdout, c.matched)
		}
	}
	if err == nil && !found {
		err = errNoMatch
	}
	return err
}

// block is some whole lines.
type block struct {
	data  []byte
	found []span     // the lines that match, in order
	done  chan error // takes one value when found is set; the error is that of the read behind the lines
	err   error
}

// span is a line in a block, without its newline.
type span struct{ start, end int }

const blockSize = 1 << 20

// matchBlocks reads r and delivers blocks in order; each has something in done once its lines are matched.
func matchBlocks(ctx context.Context, r io.Reader, m *lineMatcher, workers int) <-chan *block {
	ordered := make(chan *block, workers)
	work := make(chan *block)
	for range workers {
		go func() {
			s := &lineScratch{}
			for b := range work {
				b.found = m.match(b.data, s)
				b.done <- b.err
			}
		}()
	}
	go func() {
		defer close(ordered)
		defer close(work)
		buf := make([]byte, blockSize)
		start, n := 0, 0 // what was read and is in no block yet
		for {
			if len(buf)-n < blockSize/4 {
				grown := make([]byte, max(blockSize, 2*(n-start)))
				n = copy(grown, buf[start:n])
				buf, start = grown, 0
			}
			k, err := r.Read(buf[n:])
			end := n + k
			if err == nil {
				if end = n + bytes.LastIndexByte(buf[n:n+k], '\n') + 1; end == n {
					n += k
					continue
				}
			}
			n += k
			b := &block{data: buf[start:end], done: make(chan error, 1), err: err}
			start = end
			for _, to := range []chan<- *block{ordered, work} {
				select {
				case to <- b:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	return ordered
}

// lineMatcher tells which lines match a query. It is safe for concurrent use.
type lineMatcher struct {
	q       *query.Query
	needles []query.Needle
	stage   *parse.Stage
	now     int64
}

func newLineMatcher(q *query.Query) *lineMatcher {
	const century = 100 * 365 * 24 * time.Hour // old logs are what this is for
	m := &lineMatcher{q: q, stage: parse.New(parse.Options{Past: century, Future: century}), now: time.Now().UnixNano()}
	// What every match holds stands in its line too, unless the name of an extra field is part of it (a.b may be
	// {"a":{"b":…}} there), or the line has escapes.
	if len(q.Fields()) == 0 {
		m.needles = q.Needles()
	}
	return m
}

// lineScratch is one goroutine's memory.
type lineScratch struct {
	batch event.Batch
	spans []span
}

// linesAtOnce is how many lines are read and matched together.
const linesAtOnce = 512

func (m *lineMatcher) match(data []byte, s *lineScratch) []span {
	var found []span
	take := func(line span) {
		if s.spans = append(s.spans, line); len(s.spans) == linesAtOnce {
			found = m.decide(data, s, found)
		}
	}
	if len(m.needles) == 0 {
		for start := 0; start < len(data); {
			line := lineAt(data, start)
			take(line)
			start = line.end + 1
		}
		return m.decide(data, s, found)
	}
	// Whole lines are passed over without a look at them: the next one that can match has the first needle or a backslash.
	next := func(at, from int, index func([]byte) int) int {
		if at >= from {
			return at
		}
		if i := index(data[from:]); i >= 0 {
			return from + i
		}
		return len(data)
	}
	needle, slash := -1, -1
	for from := 0; from < len(data); {
		needle = next(needle, from, m.needles[0].Index)
		slash = next(slash, from, func(b []byte) int { return bytes.IndexByte(b, '\\') })
		at := min(needle, slash)
		if at == len(data) {
			break
		}
		line := lineAt(data, bytes.LastIndexByte(data[from:at], '\n')+1+from)
		if slash < line.end || m.hasAll(data[line.start:line.end]) {
			take(line)
		}
		from = line.end + 1
	}
	return m.decide(data, s, found)
}

func lineAt(data []byte, start int) span {
	if i := bytes.IndexByte(data[start:], '\n'); i >= 0 {
		return span{start, start + i}
	}
	return span{start, len(data)}
}

func (m *lineMatcher) hasAll(line []byte) bool {
	for i := range m.needles {
		if m.needles[i].Index(line) < 0 {
			return false
		}
	}
	return true
}

// decide reads and matches the lines in s and appends those that match.
func (m *lineMatcher) decide(data []byte, s *lineScratch, found []span) []span {
	s.batch.Reset()
	for _, line := range s.spans {
		m.add(&s.batch, data[line.start:line.end])
	}
	m.stage.Process(&s.batch)
	for i, line := range s.spans {
		if m.q.Match(&s.batch.Events[i]) {
			found = append(found, line)
		}
	}
	s.spans = s.spans[:0]
	return found
}

func (m *lineMatcher) add(b *event.Batch, line []byte) {
	e := b.Add()
	e.Message = bytes.TrimSuffix(line, []byte{'\r'})
	e.Time = m.now
}

// consumer takes the blocks in order and prints or counts.
type consumer struct {
	o stdinOptions
	p *printer
	m *lineMatcher

	matched int64
	line    int64 // of the line that is looked at, from 1
	printed int64 // the last line printed
	after   int   // context still to print
	before  []heldLine
	held    [][]byte // the last matches, for -n
	batch   event.Batch
}

type heldLine struct {
	text []byte
	line int64
}

func (c *consumer) all(ctx context.Context, blocks <-chan *block) error {
	for {
		var b *block
		var ok bool
		select {
		case b, ok = <-blocks:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !ok {
			return c.end()
		}
		var err error
		select {
		case err = <-b.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		more, printErr := c.block(b)
		switch {
		case printErr != nil:
			return printErr
		case !more, err == io.EOF:
			return c.end()
		case err != nil:
			return fmt.Errorf("reading standard input: %w", err)
		}
	}
}

// end prints what was held back.
func (c *consumer) end() error {
	for _, line := range c.held {
		if err := c.print(line, false); err != nil {
			return err
		}
	}
	return nil
}

// block consumes one block; more is false when no further one is needed.
func (c *consumer) block(b *block) (more bool, err error) {
	o := &c.o
	silent := o.quiet || o.with || o.without || o.count
	if silent {
		c.matched += int64(len(b.found))
		if o.max > 0 {
			c.matched = min(c.matched, int64(o.max))
		}
		return !(c.matched > 0 && !o.count || o.max > 0 && c.matched == int64(o.max)), nil
	}
	if o.before+o.after > 0 && o.last == 0 {
		return c.withContext(b)
	}
	for _, f := range b.found {
		line := b.data[f.start:f.end]
		c.matched++
		if o.last > 0 {
			if len(c.held) == o.last {
				c.held = append(c.held[:0], c.held[1:]...)
			}
			c.held = append(c.held, bytes.Clone(line))
			continue
		}
		if err := c.print(line, false); err != nil {
			return false, err
		}
		if o.max > 0 && c.matched == int64(o.max) {
			return false, nil
		}
	}
	return true, nil
}

// withContext looks at every line, to print those around a match.
func (c *consumer) withContext(b *block) (more bool, err error) {
	found := b.found
	for start := 0; start < len(b.data); {
		at := lineAt(b.data, start)
		start = at.end + 1
		text := b.data[at.start:at.end]
		c.line++
		stopped := c.o.max > 0 && c.matched == int64(c.o.max)
		switch {
		case len(found) > 0 && found[0] == at && !stopped:
			found = found[1:]
			c.matched++
			first := c.line
			if len(c.before) > 0 {
				first = c.before[0].line
			}
			if c.printed > 0 && first > c.printed+1 && !c.p.only {
				if err := c.part(); err != nil {
					return false, err
				}
			}
			for _, h := range c.before {
				if err := c.print(h.text, true); err != nil {
					return false, err
				}
			}
			c.before = c.before[:0]
			if err := c.print(text, false); err != nil {
				return false, err
			}
			c.printed, c.after = c.line, c.o.after
		case c.after > 0: // behind the last match that was asked for, further ones are context
			if err := c.print(text, true); err != nil {
				return false, err
			}
			c.after--
			c.printed = c.line
		case stopped:
			return false, nil
		case c.o.before > 0:
			if len(c.before) == c.o.before {
				c.before = append(c.before[:0], c.before[1:]...)
			}
			c.before = append(c.before, heldLine{bytes.Clone(text), c.line})
		}
	}
	return true, nil
}

// part prints the line between groups.
func (c *consumer) part() error {
	if !c.p.separates() {
		return nil
	}
	_, err := c.p.out.Write(append(c.p.paint(nil, colorSeparator, "--"), '\n'))
	return err
}

// print prints a line as it came, or the event it makes in another form.
func (c *consumer) print(line []byte, context bool) error {
	l := &c.p.look
	if l.separates() && !l.only && !l.color && !l.escape && !l.service {
		if _, err := c.p.out.Write(line); err != nil {
			return err
		}
		_, err := c.p.out.Write([]byte{'\n'})
		return err
	}
	row := sdk.Row{Context: context}
	if l.separates() {
		row.Message, row.Service = string(line), standardInput
		form := c.p.form
		c.p.form = formRaw
		err := c.p.row(&row)
		c.p.form = form
		return err
	}
	c.batch.Reset()
	c.m.add(&c.batch, line)
	c.m.stage.Process(&c.batch)
	e := &c.batch.Events[0]
	row.Event = eventOf(e)
	row.JSON = string(eventjson.AppendEvent(nil, e))
	return c.p.row(&row)
}

// eventOf is an event as the API would give it.
func eventOf(e *event.Event) sdk.Event {
	out := sdk.Event{
		Time: time.Unix(0, e.Time), Level: e.Level.String(), Service: string(e.Service), Env: string(e.Env), Host: string(e.Host),
		Container: string(e.Container), Stream: string(e.Stream), Message: string(e.Message),
	}
	for _, f := range e.Fields {
		var value any = string(f.Value)
		switch {
		case f.Kind == event.Number && json.Valid(f.Value):
			value = json.Number(f.Value)
		case f.Kind == event.Bool:
			value = string(f.Value) == "true"
		case f.Kind == event.Null:
			value = nil
		case f.Kind == event.JSON && json.Valid(f.Value):
			value = json.RawMessage(bytes.Clone(f.Value))
		}
		out.Fields = append(out.Fields, sdk.Field{Name: string(f.Name), Value: value})
	}
	return out
}
