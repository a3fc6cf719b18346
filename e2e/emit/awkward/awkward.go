// Package awkward is the set of lines that log shippers lose, double, cut or change: what e2e/emit writes, and what the
// tests then look for.
package awkward

import (
	"fmt"
	"strings"
)

// Line is one line as a program writes it.
type Line struct {
	Name   string
	Stderr bool
	Text   string // without the newline
	// Open lines have no newline behind them: they are the last of their stream.
	Open bool
	// Joined lines are written together with the next one, in one write.
	Joined bool
}

// Fragment is where Docker's daemon cuts a line, in bytes.
const Fragment = 16384

// Lines returns the set. Each text but the blank ones holds run and the line's number, so that presence, order and
// uniqueness can be told.
func Lines(run string) []Line {
	var lines []Line
	add := func(name, format string, args ...any) *Line {
		text := strings.ReplaceAll(fmt.Sprintf(format, args...), "ID", fmt.Sprintf("%s %02d", run, len(lines)+1))
		lines = append(lines, Line{Name: name, Text: text})
		return &lines[len(lines)-1]
	}
	add("stdout", "ID to stdout")
	add("stderr", "ID to stderr").Stderr = true
	add("empty", "")
	add("spaces", "   ")
	add("tabs around", "\tID tabs \t")
	add("carriage return", "ID CRLF\r")
	add("progress", "ID 10%%\rID 20%%\rID done")
	add("ANSI", "\x1b[1;31mID red\x1b[0m \x1b]0;title\x07")
	add("invalid UTF-8", "ID invalid \xff\xfe\xc3 end")
	add("NUL", "ID NUL \x00 end")
	add("unicode", "ID grüße 日本語 🙂 \u202eleft\u202c line\u2028separator")
	add("JSON", `{"level":"warn","msg":"ID json","n":7,"nested":{"a":[1,"<b>"]}}`)
	add("no JSON", `{"level":"warn","msg":"ID broken`)
	add("first of three", "ID first of three in one write").Joined = true
	add("second of three", "ID second of three").Joined = true
	add("third of three", "ID third of three")
	add("syslog's priority", "<13>ID with a priority")
	add("a time of its own", "2026-01-02T03:04:05.678901234Z ID a time of its own")
	add("9000 bytes", "%s", fill(run, 9000))
	add("one byte below a fragment", "%s", fill(run, Fragment-1))
	add("a fragment", "%s", fill(run, Fragment))
	add("one byte above a fragment", "%s", fill(run, Fragment+1))
	add("two fragments", "%s", fill(run, 2*Fragment))
	add("20000 bytes", "%s", fill(run, 20000))
	add("100000 bytes to stderr", "%s", fill(run, 100000)).Stderr = true
	add("100000 bytes", "%s", fill(run, 100000))
	add("a split character", "%s", split(run))
	add("short behind long", "ID short behind long")
	add("no newline to stderr", "ID no newline to stderr").Open = true
	lines[len(lines)-1].Stderr = true
	add("no newline", "ID no newline").Open = true
	return lines
}

// fill returns a line of n bytes once ID is replaced, of counted words: a piece that is lost or in the wrong place shows.
func fill(run string, n int) string {
	n -= len(run+" NN") - len("ID")
	var b strings.Builder
	b.WriteString("ID ")
	for i := 1; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%06d ", i)
	}
	return b.String()[:n-1] + "."
}

// split returns a line in which the daemon's cut falls into a character of two bytes.
func split(run string) string {
	head := "ID"
	if len(run+" NN")%2 == 0 {
		head += " "
	}
	return head + strings.Repeat("é", Fragment*2/3)
}
