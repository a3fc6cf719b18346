package gelf

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/internal/event"
)

// piece is a message of Docker's driver: text is padded to n bytes with dots when n is given.
func piece(source, stream string, at int64, text string, n int) event.Event {
	if n > 0 {
		text += strings.Repeat(".", n-len(text))
	}
	return event.Event{
		Time: at, Host: []byte("h"), Container: []byte("c"), Stream: []byte(stream), Message: []byte(text),
		Fields: []event.Field{{Name: []byte("tag"), Value: []byte("t")}, {Name: []byte("container_id"), Value: []byte(source)}},
	}
}

// brief is a message with its dots counted.
func brief(e *event.Event) string {
	text := string(e.Message)
	if n := strings.Count(text, "."); n > 10 {
		text = strings.ReplaceAll(text, ".", "")
		return fmt.Sprintf("%s(%d)", text, len(e.Message))
	}
	return text
}

func TestIsFragment(t *testing.T) {
	const fffd = "\uFFFD"
	for _, c := range []struct {
		ascii, replaced int // bytes of ASCII, bytes that became U+FFFD
		more            string
		want            bool
	}{
		{16384, 0, "", true},
		{16383, 0, "", false},
		{16385, 0, "", false},
		{16386, 0, "", false},
		{16383, 1, "", true},
		{16000, 384, "", true},
		{0, 16384, "", true},
		{16384, 1, "", false},
		{16382, 1, "", false},
		{16381, 0, fffd, true}, // it was in the line: three bytes
		{16380, 1, fffd, true},
		{16380, 1, "..", false}, // 16383 bytes
		{16380, 0, fffd, false}, // 16383 or 16381 bytes
		{16384, 0, "é", false},
		{16382, 0, "é", true},
	} {
		message := strings.Repeat(".", c.ascii) + strings.Repeat(fffd, c.replaced) + c.more
		if got := isFragment([]byte(message)); got != c.want {
			t.Errorf("%d and %d replaced and %q: %v", c.ascii, c.replaced, c.more, got)
		}
	}
}

func TestFragments(t *testing.T) {
	const full = fragmentSize
	type step struct {
		at   int // ms
		in   []event.Event
		all  bool
		want []string
		next int // ms; 0: nothing is held
	}
	in := func(e ...event.Event) []event.Event { return e }
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"lines", []step{{0, in(piece("a", "stdout", 1, "x", 0), piece("a", "stdout", 1, "y", full-1), piece("a", "stdout", 1, "z", full+1)), false, []string{"x", "y(16383)", "z(16385)"}, 0}}},
		{"two pieces", []step{{0, in(piece("a", "stdout", 1, "x", full), piece("a", "stdout", 1, "y", 0)), false, []string{"xy(16385)"}, 0}}},
		{"four pieces among others", []step{{0, in(
			piece("b", "stdout", 1, "1", 0), piece("a", "stdout", 1, "x", full), piece("b", "stdout", 1, "2", 0), piece("a", "stdout", 1, "y", full),
			piece("a", "stderr", 1, "3", 0), piece("a", "stdout", 1, "z", full), piece("a", "stdout", 1, "!", 0), piece("a", "stdout", 1, "4", 0)),
			false, []string{"1", "2", "3", "xyz!(49153)", "4"}, 0}}},
		{"over batches", []step{
			{0, in(piece("a", "stdout", 1, "x", full)), false, nil, 1000},
			{600, in(piece("a", "stdout", 1, "y", full)), false, nil, 1600},
			{1599, nil, false, nil, 1600},
			{1599, in(piece("a", "stdout", 1, "z", 0)), false, []string{"xyz(32769)"}, 0},
		}},
		{"no more comes", []step{
			{0, in(piece("a", "stdout", 1, "x", full)), false, nil, 1000},
			{999, nil, false, nil, 1000},
			{1000, nil, false, []string{"x(16384)"}, 0},
			{1000, in(piece("a", "stdout", 1, "y", 0)), false, []string{"y"}, 0},
		}},
		{"the source's next line ends it", []step{
			{0, in(piece("a", "stdout", 1, "x", full)), false, nil, 1000},
			{1, in(piece("b", "stdout", 2, "1", 0), piece("a", "stdout", 2, "y", 0)), false, []string{"1", "x(16384)", "y"}, 0},
		}},
		{"the next line is cut, too", []step{
			{0, in(piece("a", "stdout", 1, "x", full), piece("a", "stdout", 2, "y", full)), false, []string{"x(16384)"}, 1000},
			{1, in(piece("a", "stdout", 2, "z", 0)), false, []string{"yz(16385)"}, 0},
		}},
		{"the other stream", []step{
			{0, in(piece("a", "stdout", 1, "x", full), piece("a", "stderr", 1, "y", 0)), false, []string{"y"}, 1000},
			{1, in(piece("a", "stdout", 1, "z", 0)), false, []string{"xz(16385)"}, 0},
		}},
		{"both streams", []step{
			{0, in(piece("a", "stdout", 1, "o", full), piece("a", "stderr", 1, "e", full), piece("a", "stdout", 1, "p", 0)), false, []string{"op(16385)"}, 1000},
			{1, nil, true, []string{"e(16384)"}, 0},
		}},
		{"not Docker's", []step{{0, in(piece("a", "", 1, "x", full), piece("a", "audit", 1, "y", full), event.Event{Stream: streamOut, Message: bytes.Repeat([]byte("z"), full)}), false, []string{"x(16384)", "y(16384)", strings.Repeat("z", full)}, 0}}},
		{"everything at the end, in order", []step{
			{0, in(piece("a", "stdout", 1, "x", full)), false, nil, 1000},
			{1, in(piece("b", "stdout", 1, "y", full)), false, nil, 1000},
			{2, in(piece("c", "stdout", 1, "z", full)), false, nil, 1000},
			{3, nil, true, []string{"x(16384)", "y(16384)", "z(16384)"}, 0},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := newFragments()
			for i, s := range c.steps {
				var b event.Batch
				b.Events = append(b.Events, s.in...)
				if len(s.in) > 0 {
					j.Join(&b, ms(s.at))
				}
				next := j.Flush(&b, ms(s.at), s.all)
				var got []string
				for k := range b.Events {
					got = append(got, brief(&b.Events[k]))
				}
				for k := range s.in { // the batch's memory is used again
					clear(s.in[k].Message)
					clear(s.in[k].Host)
					clear(s.in[k].Fields)
				}
				if d := cmp.Diff(s.want, got); d != "" {
					t.Errorf("step %d (-want +got):\n%s", i, d)
				}
				if next != ms(s.next) {
					t.Errorf("step %d: next at %d ms, want %d", i, next/ms(1), s.next)
				}
			}
			if len(j.lines) != 0 || j.bytes != 0 {
				t.Errorf("%d lines, %d bytes are left", len(j.lines), j.bytes)
			}
		})
	}
}

// What was joined is the first piece with a longer message.
func TestFragmentsKeepTheEvent(t *testing.T) {
	j := newFragments()
	first := piece("a", "stdout", 1, "x", fragmentSize)
	want := first.Clone()
	want.Message = append(want.Message, "yz"...)
	var b event.Batch
	b.Events = append(b.Events, first)
	j.Join(&b, 0)
	b.Reset()
	b.Events = append(b.Events, piece("a", "stdout", 1, "yz", 0))
	j.Join(&b, 0)
	if d := cmp.Diff([]event.Event{want}, b.Events); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if n := j.joined.Load(); n != 1 {
		t.Errorf("%d pieces joined", n)
	}
}

func TestFragmentsBounds(t *testing.T) {
	// The longest line: cut with a mark, and the pieces behind the cut are not kept.
	j := newFragments()
	var b event.Batch
	const pieces = 3 * event.MaxMessage / fragmentSize
	for i := range pieces {
		b.Reset()
		text := piece("a", "stdout", 1, "", fragmentSize)
		if i == pieces-1 {
			text = piece("a", "stdout", 1, "end", 0)
		}
		b.Events = append(b.Events, text)
		j.Join(&b, 0)
		if j.bytes > event.MaxMessage+1 {
			t.Fatalf("%d bytes", j.bytes)
		}
	}
	if len(b.Events) != 1 || len(b.Events[0].Message) != event.MaxMessage || !bytes.HasSuffix(b.Events[0].Message, []byte(event.TruncationMark)) {
		t.Errorf("%d events", len(b.Events))
	}

	// Many lines: the oldest go on as they are.
	for _, c := range []struct {
		name            string
		lines, bytes, n int // n are held at most
	}{
		{"lines", 10, 1 << 30, 10},
		{"bytes", 1 << 30, 10*fragmentSize + 1, 10},
	} {
		j := newFragments()
		j.maxLines, j.maxBytes = c.lines, c.bytes
		var got, want []string
		for i := range 100 {
			var b event.Batch
			b.Events = append(b.Events, piece(fmt.Sprint("container ", i), "stdout", 1, fmt.Sprint("line ", i, " "), fragmentSize))
			j.Join(&b, 0)
			if len(j.lines) > c.n {
				t.Fatalf("%s: %d lines are held", c.name, len(j.lines))
			}
			for k := range b.Events {
				got = append(got, brief(&b.Events[k]))
			}
			if i < 90 {
				want = append(want, fmt.Sprintf("line %d (16384)", i))
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
