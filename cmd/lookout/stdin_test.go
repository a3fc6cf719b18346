package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/internal/event"
)

// The lines that match are those that each line by itself, read and matched, says: passing over lines without a look at
// them changes nothing.
func TestLineMatcherAgainstEachLine(t *testing.T) {
	words := rapid.SampledFrom([]string{
		"timeout", "Timeout", "time", "out", "failed", `fai\u006ced`, "größe", `gr\u00f6\u00dfe`, "500", "a.b", "", " ", "\\", `\"`, "k", "ſ", "K",
		`{"msg":"timeout","level":"error"}`, `{"a":{"b":"failed"}}`, `{"msg":"ti\u006deout"}`, "level=warn msg=failed status=500", `x="time\"out"`, "ERROR", "\r",
	})
	queries := rapid.SampledFrom([]string{
		"timeout", "Timeout", "timeout failed", "timeout OR failed", "-timeout", "größe", "k", "ss", `"time\"out"`, "~\"time.*out\"", "~\"(?i)FAILED\"",
		"level>=error", "status:500", "a.b:failed", "message:timeout", "a.b:*", "*", "error -failed", `"\\"`, "failed level<=4",
	})
	rapid.Check(t, func(t *rapid.T) {
		q, err := query.Parse(queries.Draw(t, "query"))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for range rapid.IntRange(0, 12).Draw(t, "lines") {
			lines = append(lines, strings.Join(rapid.SliceOfN(words, 0, 4).Draw(t, "line"), " "))
		}
		data := strings.Join(lines, "\n")
		if rapid.Bool().Draw(t, "newline at the end") {
			data += "\n"
		}
		m := newLineMatcher(q)
		var want []string
		for line := range strings.Lines(data) {
			line = strings.TrimSuffix(line, "\n")
			var b event.Batch
			m.add(&b, []byte(line))
			m.stage.Process(&b)
			if q.Match(&b.Events[0]) {
				want = append(want, line)
			}
		}
		var got []string
		for _, s := range m.match([]byte(data), &lineScratch{}) {
			got = append(got, data[s.start:s.end])
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s over %q: %s", q, data, d)
		}
	})
}

// However the input is cut into reads, blocks hold whole lines in order and all of them.
func TestBlocksHoldWholeLines(t *testing.T) {
	q, err := query.Parse("*")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("y", 3*blockSize)
	for name, input := range map[string]string{
		"empty": "", "no newline": "a", "lines": "a\nb\n\nc", "newline last": "a\n", "newlines": "\n\n\n",
		"long": "a\n" + long + "\nb\n" + long, "many": strings.Repeat("some line\n", 1<<18) + "end",
	} {
		readers := map[string]io.Reader{"whole": strings.NewReader(input), "data with EOF": iotest.DataErrReader(strings.NewReader(input)), "halves": iotest.HalfReader(strings.NewReader(input))}
		if len(input) < 1000 {
			readers["bytes"] = iotest.OneByteReader(strings.NewReader(input))
		}
		for how, r := range readers {
			var all bytes.Buffer
			lines := 0
			for b := range matchBlocks(t.Context(), r, newLineMatcher(q), 3) {
				if err := <-b.done; err != nil && err != io.EOF {
					t.Fatal(name, how, err)
				}
				if n := len(b.data); all.Len() > 0 && n > 0 && all.Bytes()[all.Len()-1] != '\n' {
					t.Error(name, how, "a line is in two blocks")
				}
				all.Write(b.data)
				lines += len(b.found)
			}
			if want := strings.Count(input, "\n") + min(1, len(input)-strings.LastIndexByte(input, '\n')-1); lines != want || all.String() != input {
				t.Errorf("%s, %s: %d lines, want %d; %d bytes of %d", name, how, lines, want, all.Len(), len(input))
			}
		}
	}
}

func TestStdinThatFails(t *testing.T) {
	var out, errs bytes.Buffer
	in := io.MultiReader(strings.NewReader("an x\nanother x\n"), iotest.ErrReader(io.ErrUnexpectedEOF))
	code := run(context.Background(), []string{"grep", "--stdin", "x"}, in, &out, &errs, func(string) (string, bool) { return "", false })
	if code != exitError || out.String() != "an x\nanother x\n" || errs.String() != "lookout: reading standard input: unexpected EOF\n" {
		t.Error(code, out.String(), errs.String())
	}
}

func BenchmarkStdinCount(b *testing.B) {
	line := "2026-11-21 11:22:33.123 INFO  [worker-7] c.e.shop.Orders - order 123456 shipped to customer 98765 in 12 ms\n"
	data := strings.Repeat(line, 10_000) + "2026-11-21 11:22:33.124 ERROR [worker-7] c.e.shop.Orders - connection refused\n"
	for _, text := range []string{"refused", "Refused", "level>=error", "-order"} {
		q, err := query.Parse(text)
		if err != nil {
			b.Fatal(err)
		}
		m := newLineMatcher(q)
		b.Run(text, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			s := &lineScratch{}
			for b.Loop() {
				m.match([]byte(data), s)
			}
		})
	}
}
