package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/lookoutlog/lookout/internal/event"
)

// TestScripts runs testdata/*.txt. A script is parts, each begun by "== NAME"; a part is
//
//	event KEY=VALUE…      an event in logfmt, or as a JSON object; they count from 1
//	query TEXT            up to the line's end; what follows is expected of it:
//	  normal TEXT         its normal form; "same" for the text as it is
//	  match 1 3           the events it matches; "none", "all"
//	  hint TEXT           a hint and its mend
//	  absent TEXT         what is said when none of its fields is found
//	  error CODE          an error; the four lines below it are the text, the carets, the message and the mend
//
// Lines that begin with # are comments. Each query needs an error, or a match and a normal form.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		runScript(t, file, strings.Split(string(data), "\n"))
	}
}

func runScript(t *testing.T, file string, lines []string) {
	for i := 0; i < len(lines); i++ {
		name, ok := strings.CutPrefix(lines[i], "== ")
		if !ok {
			if l := strings.TrimSpace(lines[i]); l != "" && l[0] != '#' {
				t.Fatalf("%s:%d: outside a part: %s", file, i+1, l)
			}
			continue
		}
		end := i + 1
		for end < len(lines) && !strings.HasPrefix(lines[end], "== ") {
			end++
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt")+"/"+name, func(t *testing.T) {
			runPart(t, file, i+1, lines[i+1:end])
		})
		i = end - 1
	}
}

func runPart(t *testing.T, file string, first int, lines []string) {
	var events []event.Event
	for i := 0; i < len(lines); i++ {
		word, arg, _ := strings.Cut(lines[i], " ")
		where := fmt.Sprintf("%s:%d", file, first+i+1)
		switch {
		case word == "" || word[0] == '#':
		case word == "event":
			events = append(events, parseEvent(t, where, arg))
			events[len(events)-1].Seq = uint64(len(events))
		case word == "query":
			var expect []string
			for i+1 < len(lines) && strings.HasPrefix(lines[i+1], "  ") {
				i++
				expect = append(expect, lines[i][2:])
			}
			runQuery(t, where, arg, events, expect)
		default:
			t.Fatalf("%s: what is %q?", where, word)
		}
	}
}

func runQuery(t *testing.T, where, text string, events []event.Event, expect []string) {
	q, err := Parse(text)
	if len(expect) > 0 && strings.HasPrefix(expect[0], "error ") {
		e, ok := err.(*Error)
		if !ok {
			t.Fatalf("%s: %s: no error", where, text)
		}
		want := strings.Join(expect, "\n")
		got := fmt.Sprintf("error %s\n%s\n%s\n%s", e.Code, e.Caret(), e.Message, e.Mend)
		if strings.ReplaceAll(got, "\n\n", "\n \n") != want && got != want {
			t.Errorf("%s:\n%s\nwant\n%s", where, got, want)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	seen := map[string]bool{}
	var hints, absent []string
	for _, line := range expect {
		word, arg, _ := strings.Cut(line, " ")
		seen[word] = true
		switch word {
		case "normal":
			if arg == "same" {
				arg = text
			}
			if q.String() != arg {
				t.Errorf("%s: normal %s\nwant %s", where, q, arg)
			}
		case "match":
			var got []string
			for i := range events {
				if q.Match(&events[i]) {
					got = append(got, strconv.Itoa(i+1))
				}
				check(t, q, &events[i])
			}
			s := strings.Join(got, " ")
			if len(got) == 0 {
				s = "none"
			} else if arg == "all" && len(got) == len(events) {
				s = arg
			}
			if s != arg {
				t.Errorf("%s: %s: match %s\nwant %s", where, text, s, arg)
			}
		case "hint":
			hints = append(hints, arg)
		case "absent":
			absent = append(absent, arg)
		default:
			t.Fatalf("%s: what is %q?", where, word)
		}
	}
	if !seen["normal"] || !seen["match"] {
		t.Errorf("%s: expects too little", where)
	}
	var gotHints, names []string
	for _, h := range q.Hints() {
		gotHints = append(gotHints, fmt.Sprintf("%s: %s; %s", text[h.Pos:h.End], h.Message, h.Mend))
	}
	for _, r := range q.Fields() {
		names = append(names, r.Name)
	}
	if got, want := strings.Join(gotHints, "\n"), strings.Join(hints, "\n"); got != want {
		t.Errorf("%s: hints\n%s\nwant\n%s", where, got, want)
	}
	if got, want := strings.Join(q.NotFound(names...), "\n"), strings.Join(absent, "\n"); seen["absent"] && got != want {
		t.Errorf("%s: absent\n%s\nwant\n%s", where, got, want)
	}
}

// parseEvent reads an event as JSON or logfmt; "\n" and the like may stand in quotes in both.
func parseEvent(t *testing.T, where, s string) event.Event {
	var e event.Event
	if strings.HasPrefix(s, "{") {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if _, err := d.Token(); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		for d.More() {
			key, err := d.Token()
			var raw json.RawMessage
			if err == nil {
				err = d.Decode(&raw)
			}
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			addJSON(t, where, &e, key.(string), raw)
		}
		return e
	}
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		key, rest, ok := strings.Cut(s, "=")
		if !ok {
			t.Fatalf("%s: not logfmt: %s", where, s)
		}
		value := rest
		if strings.HasPrefix(rest, `"`) {
			q, err := strconv.QuotedPrefix(rest)
			if err == nil {
				value, err = strconv.Unquote(q)
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", where, rest, err)
			}
			s = rest[len(q):]
		} else {
			value, s, _ = strings.Cut(rest, " ")
		}
		addField(t, where, &e, key, value, event.String)
	}
	return e
}

func addJSON(t *testing.T, where string, e *event.Event, key string, raw json.RawMessage) {
	switch c := raw[0]; {
	case c == '"':
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		addField(t, where, e, key, s, event.String)
	case c == '[':
		var a []json.RawMessage
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		for _, raw := range a {
			addJSON(t, where, e, key, bytes.TrimSpace(raw))
		}
	case c == 't', c == 'f':
		addField(t, where, e, key, string(raw), event.Bool)
	case c == 'n':
		addField(t, where, e, key, string(raw), event.Null)
	default:
		addField(t, where, e, key, string(raw), event.Number)
	}
}

func addField(t *testing.T, where string, e *event.Event, key, value string, kind event.Kind) {
	v := []byte(value)
	switch key {
	case "service":
		e.Service = v
	case "env":
		e.Env = v
	case "host":
		e.Host = v
	case "container":
		e.Container = v
	case "stream":
		e.Stream = v
	case "message":
		e.Message = v
	case "level":
		l, ok := event.ParseLevel(v)
		if !ok {
			t.Fatalf("%s: level %q", where, v)
		}
		e.Level = l
	default:
		e.Fields = append(e.Fields, event.Field{Name: []byte(key), Value: v, Kind: kind})
	}
}
