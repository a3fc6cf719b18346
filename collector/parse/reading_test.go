package parse

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

func TestExplain(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano()
	s := New(Options{})
	for _, c := range []struct{ message, want string }{
		{`{"ts":"2026-01-02T03:04:01Z","severity":"ERR","msg":"refused","app":"pay","n":1}`, "json map[level:severity message:msg service:app time:ts] false false"},
		{`{"time":"2020-01-01T00:00:00Z","msg":"old"}`, "json map[message:msg] false true"},
		{`level=warn msg="slow" ms=7`, "logfmt map[level:level message:msg] false false"},
		{`{"level":30,"pid":1,"msg":"pino","hostname":"h"}`, "json map[host:hostname level:level message:msg] false false"},
		{"2026-01-02 ERROR it broke", "text map[level:the text] false false"},
		{"hello", "text map[] false false"},
		{`{"a":}`, "text map[] true false"},
		{" ", " map[] false false"},
	} {
		var b, same event.Batch
		for _, b := range []*event.Batch{&b, &same} {
			e := b.Add()
			e.Time, e.Message = now, []byte(c.message)
		}
		r := s.Explain(&b)[0]
		if got := fmt.Sprintln(r.Form, r.From, r.Broken, r.RefusedTime); strings.TrimSuffix(got, "\n") != c.want {
			t.Errorf("%s: %s, want %s", c.message, got, c.want)
		}
		// It does to the event what Process does.
		s.Process(&same)
		if got, want := fmt.Sprintf("%+v", b.Events[0]), fmt.Sprintf("%+v", same.Events[0]); got != want {
			t.Errorf("%s: %s, Process makes %s", c.message, got, want)
		}
	}
	if n := s.Stats().Events; n != 8 {
		t.Errorf("%d events are counted, 8 were processed", n)
	}
}
