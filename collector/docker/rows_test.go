package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

func capture(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// year2100 is a clock that takes no time for one of the future.
func year2100() int64 { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() }

func newMux(r io.Reader) *muxReader {
	return &muxReader{r: bufio.NewReaderSize(r, readBuffer), oversize: new(atomic.Int64)}
}

func newTTY(r io.Reader) *ttyReader {
	return &ttyReader{r: bufio.NewReaderSize(r, ttyBuffer), now: year2100}
}

func readAll(r rowReader) (rows []row, err error) {
	for {
		x, err := r.next()
		if err != nil {
			return rows, err
		}
		x.text = bytes.Clone(x.text)
		rows = append(rows, x)
	}
}

// frame is one of the daemon's, as daemon/logs.go and pkg/stdcopy write it.
func frame(kind byte, payload string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind, 0, 0, 0}, uint32(len(payload)))
	return append(b, payload...)
}

func stamp(ns int64) string {
	return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000000000Z") + " "
}

// joined is the lines of the capture's rows, pieces put together.
func joined(rows []row, tty bool) (lines []string) {
	var open [streams]string
	for _, r := range rows {
		open[r.stream] += string(r.text)
		if r.more() {
			continue
		}
		line := open[r.stream]
		open[r.stream] = ""
		if tty {
			line = strings.TrimSuffix(line, "\r")
		}
		lines = append(lines, line)
	}
	return lines
}

// The same container wrote the three captures: through json-file, local and a terminal its lines must be the same, but for
// bytes that are not UTF-8, which json-file has replaced.
func TestCapturesAgree(t *testing.T) {
	read := func(name string, tty bool) []string {
		var r rowReader = newMux(bytes.NewReader(capture(t, name)))
		if tty {
			r = newTTY(bytes.NewReader(capture(t, name)))
		}
		rows, err := readAll(r)
		if err != io.EOF {
			t.Fatalf("%s: %v", name, err)
		}
		return joined(rows, tty)
	}
	mux, local, tty := read("docker-logs-mux.bin", false), read("docker-logs-mux-localdriver.bin", false), read("docker-logs-tty.bin", true)
	want := map[string]int{"plain hello stdout": 1, "plain hello stderr": 1, "": 1, "   ": 1, "crlf line\r": 1, "nul byte [\x00] end": 1, "after": 1, "last without newline": 1}
	for name, lines := range map[string][]string{"mux": mux, "local": local, "tty": tty} {
		if len(lines) != 21 {
			t.Errorf("%s: %d lines", name, len(lines))
		}
		got := map[string]int{}
		for _, l := range lines {
			got[l]++
			if n, _, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(l, "L") {
				size := map[string]int{"L9k": 9000, "L16384": 16384, "L16385": 16385, "L20k": 20000, "L100k": 100000}[n]
				if len(l) != size || !strings.HasSuffix(l, "#END") {
					t.Errorf("%s: the line %s has %d bytes and ends in %q", name, n, len(l), l[len(l)-8:])
				}
			}
		}
		for l, n := range want {
			if got[l] != n {
				t.Errorf("%s: %q comes %d times", name, l, got[l])
			}
		}
	}
	for i, l := range mux {
		if w := strings.ToValidUTF8(local[i], "\uFFFD"); strings.ReplaceAll(l, "\uFFFD\uFFFD\uFFFD", "\uFFFD") != w {
			t.Errorf("line %d: %.80q with json-file, %.80q with local", i, l, w)
		}
	}
}

func TestTimesOfRows(t *testing.T) {
	rows, _ := readAll(newMux(bytes.NewReader(capture(t, "docker-logs-mux.bin"))))
	if got := stamp(rows[0].time); got != "2026-11-21T04:46:03.104060782Z " {
		t.Errorf("the first row is of %s", got)
	}
	if last := rows[len(rows)-1]; last.stream != stderr || last.ended || rows[0].stream != stdout || !rows[0].ended {
		t.Errorf("first %+v, last %+v", rows[0], last)
	}
	var pieces int
	for i := range rows {
		if rows[i].more() {
			pieces++
			if rows[i+1].time != rows[i].time {
				t.Errorf("row %d and its next piece have other times", i)
			}
		}
	}
	if pieces != 9 { // 16384, 16385, 20k, and six of 100k
		t.Errorf("%d pieces go on", pieces)
	}
}

func TestSystemError(t *testing.T) {
	p := capture(t, "docker-logs-follow-systemerr-tail.bin")
	p = p[bytes.Index(p, []byte{1, 0, 0, 0}):]
	rows, err := readAll(newMux(bytes.NewReader(p)))
	var system *systemError
	if !errors.As(err, &system) || system.text != "Error grabbing logs: no such file or directory" || len(rows) != 7 {
		t.Errorf("%d rows, %v", len(rows), err)
	}
}

func TestMuxRefuses(t *testing.T) {
	at := stamp(1)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.EOF},
		{"a part of a header", []byte{1, 0, 0}, io.ErrUnexpectedEOF},
		{"a header alone", []byte{1, 0, 0, 0, 0, 0, 0, 9}, io.ErrUnexpectedEOF},
		{"a part of a frame", frame(1, at+"line\n")[:20], io.ErrUnexpectedEOF},
		{"stdin", frame(0, at+"line\n"), errGarbage},
		{"type 4", frame(4, at+"line\n"), errGarbage},
		{"padding", []byte{1, 0, 1, 0, 0, 0, 0, 1, 'x'}, errGarbage},
		{"HTTP", []byte("HTTP/1.1 200 OK\r\n"), errGarbage},
		{"no time", frame(1, "line without a time\n"), errGarbage},
		{"a date", frame(1, "2026-11-21 line\n"), errGarbage},
		{"no zone", frame(1, "2026-11-21T04:46:03.104060782 line\n"), errGarbage},
		{"empty", frame(1, ""), errGarbage},
		{"4 GiB of nothing", []byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, io.ErrUnexpectedEOF},
	} {
		if _, err := newMux(bytes.NewReader(c.in)).next(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// zeros gives n bytes and counts nothing in memory.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	n := int(min(int64(len(p)), z.n))
	clear(p[:n])
	if z.n -= int64(n); n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// What is too long is thrown away, and what follows is read.
func TestFrameIsCapped(t *testing.T) {
	const size = 300 << 20
	head := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, size)
	at := stamp(1)
	m := newMux(io.MultiReader(bytes.NewReader(head), strings.NewReader(at), &zeros{size - int64(len(at))}, bytes.NewReader(frame(2, stamp(2)+"next\n"))))
	r, err := m.next()
	if err != nil || r.time != 1 || len(r.text) < event.MaxMessage+1 || len(r.text) > maxFrame || m.oversize.Load() != 1 {
		t.Fatalf("%d bytes, %d oversize, %v", len(r.text), m.oversize.Load(), err)
	}
	if cap(m.buf) > keepBuffer {
		t.Errorf("%d bytes are kept", cap(m.buf))
	}
	if r, err = m.next(); err != nil || string(r.text) != "next" || r.stream != stderr {
		t.Errorf("then %q, %v", r.text, err)
	}
}

// Rows are the same however the bytes come.
func TestReadersTakeAnyPieces(t *testing.T) {
	for _, name := range []string{"docker-logs-mux.bin", "docker-logs-tty.bin"} {
		data := capture(t, name)
		open := func(r io.Reader) rowReader {
			if strings.Contains(name, "tty") {
				return newTTY(r)
			}
			return newMux(r)
		}
		want, _ := readAll(open(bytes.NewReader(data)))
		for how, r := range map[string]io.Reader{"one byte": iotest.OneByteReader(bytes.NewReader(data)), "half": iotest.HalfReader(bytes.NewReader(data)), "with EOF": iotest.DataErrReader(bytes.NewReader(data))} {
			if testing.Short() && how == "one byte" {
				continue
			}
			got, err := readAll(open(r))
			if err != io.EOF || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %s: %d rows instead of %d, %v", name, how, len(got), len(want), err)
			}
		}
	}
}

func TestTTYRows(t *testing.T) {
	at := func(n int) string { return stamp(int64(n) * 1e9) }
	full := strings.Repeat("x", fragmentSize)
	wide := strings.Repeat("\uFFFD", fragmentSize) // as json-file has it
	for _, c := range []struct {
		name, in string
		want     []string // time in s, text, "$" for a line's end
	}{
		{"lines", at(1) + "a\r\n" + at(2) + "b\r\n", []string{"1 a\r$", "2 b\r$"}},
		{"empty", at(1) + "\r\n", []string{"1 \r$"}},
		{"no end", at(1) + "a\r\n" + at(2) + "/ # ", []string{"1 a\r$", "2 / # "}},
		{"nothing but a time", at(1), []string{"1 "}},
		{"pieces", at(1) + full + at(1) + "rest\r\n", []string{"1 " + full, "1 rest\r$"}},
		{"an exact piece", at(1) + full + at(1) + "\r\n" + at(2) + "b\r\n", []string{"1 " + full, "1 \r$", "2 b\r$"}},
		{"three pieces", at(1) + full + at(1) + full + at(1) + "rest\r\n", []string{"1 " + full, "1 " + full, "1 rest\r$"}},
		{"pieces that became longer", at(1) + wide + at(1) + "rest\r\n", []string{"1 " + wide, "1 rest\r$"}},
		{"pieces with their own times", at(1) + full + at(2) + "rest\r\n", []string{"1 " + full, "2 rest\r$"}},
		{"a last piece of the local driver", at(1) + full + at(1) + "rest\r" + at(2) + "b\r\n", []string{"1 " + full, "1 rest\r", "2 b\r$"}},
		{"a start behind a prompt", at(1) + "/ # " + at(2) + "b\r\n", []string{"1 / # ", "2 b\r$"}},
		{"the program's own time", at(5) + "said " + at(4) + "x\r\n", []string{"5 said " + at(4) + "x\r$"}},
		{"a time of the future", at(5) + "next " + "2101-01-01T00:00:00.000000000Z x\r\n", []string{"5 next 2101-01-01T00:00:00.000000000Z x\r$"}},
		{"Z and no time", at(5) + "A to Z is all\r\n", []string{"5 A to Z is all\r$"}},
		{"progress", at(1) + "10 %\r20 %\r\n", []string{"1 10 %\r20 %\r$"}},
	} {
		rows, err := readAll(newTTY(strings.NewReader(c.in)))
		if err != io.EOF {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, r := range rows {
			end := ""
			if r.ended {
				end = "$"
			}
			got = append(got, fmt.Sprintf("%d %s%s", r.time/1e9, r.text, end))
		}
		if fmt.Sprintf("%.100q", got) != fmt.Sprintf("%.100q", c.want) || strings.Join(got, "|") != strings.Join(c.want, "|") {
			t.Errorf("%s: %.60q, want %.60q", c.name, got, c.want)
		}
	}
	for _, in := range []string{"no time at all, and long enough to tell\r\n", "2026-11-21 x\r\n", strings.Repeat("y", 100)} {
		if _, err := newTTY(strings.NewReader(in)).next(); !errors.Is(err, errGarbage) {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, err := newTTY(strings.NewReader("2026-11")).next(); err != io.ErrUnexpectedEOF {
		t.Errorf("a part of a time: %v", err)
	}
}

// A line is delivered when it has ended, not when the next one comes.
func TestTTYDoesNotWaitForMore(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, stamp(1)+"x\r\n") }()
	if x, err := newTTY(r).next(); err != nil || string(x.text) != "x\r" {
		t.Errorf("%q, %v", x.text, err)
	}
}

func FuzzMux(f *testing.F) {
	f.Add(capture(f, "docker-logs-mux.bin")[:1000])
	f.Add(capture(f, "docker-logs-follow-systemerr-tail.bin"))
	f.Add([]byte{1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, '2'})
	f.Add(append(frame(1, stamp(5)+"a\n"), frame(3, "Error grabbing logs: x\n")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		rows, err := readAll(newMux(bytes.NewReader(data)))
		for _, r := range rows {
			total += len(r.text) + frameHeader
			if r.stream > stderr {
				t.Fatalf("stream %d", r.stream)
			}
		}
		if total > len(data) || err == nil {
			t.Fatalf("%d bytes of %d, %v", total, len(data), err)
		}
	})
}

func FuzzTTY(f *testing.F) {
	f.Add(capture(f, "docker-logs-tty.bin")[:1000])
	f.Add([]byte(stamp(1) + strings.Repeat("x", fragmentSize) + stamp(1) + "rest\r" + stamp(2) + "b"))
	f.Add([]byte(stamp(1) + strings.Repeat("Z ", 40000)))
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		rows, err := readAll(newTTY(bytes.NewReader(data)))
		for _, r := range rows {
			total += len(r.text) + len("2026-11-21T04:45:05Z ")
			if len(r.text) > maxPiece {
				t.Fatalf("a piece of %d bytes", len(r.text))
			}
		}
		if total > len(data)+1 || err == nil {
			t.Fatalf("%d bytes of %d, %v", total, len(data), err)
		}
	})
}
