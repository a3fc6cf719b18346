package forward

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/lookoutlog/lookout/collector/native"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// keeper is a sink that keeps copies.
type keeper struct{ events []event.Event }

func (k *keeper) Append(_ context.Context, b *event.Batch) error {
	for i := range b.Events {
		k.events = append(k.events, b.Events[i].Clone())
	}
	return nil
}

// decode gives lines to the server's handler and returns the events it makes of them.
func decode(t interface{ Fatalf(string, ...any) }, lines []byte) []event.Event {
	k := &keeper{}
	rec := httptest.NewRecorder()
	native.New(native.Options{Sink: k}).ServeHTTP(rec, httptest.NewRequest("POST", "/", bytes.NewReader(lines)))
	if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), `"rejected":0`) {
		t.Fatalf("%d %s for %.300q", rec.Code, rec.Body, lines)
	}
	return k.events
}

func show(e *event.Event) string {
	s := fmt.Sprintf("%d %v service=%q env=%q host=%q container=%q stream=%q %q", e.Time, e.Level, e.Service, e.Env, e.Host, e.Container, e.Stream, e.Message)
	for _, f := range e.Fields {
		s += fmt.Sprintf(" %q=%d:%q", f.Name, f.Kind, f.Value)
	}
	return s
}

// same compares what travels; what is empty may be nil.
func same(a, b *event.Event) bool {
	return bytes.Equal(event.AppendEvent(nil, a), event.AppendEvent(nil, b))
}

func field(name, value string, kind event.Kind) event.Field {
	return event.Field{Name: []byte(name), Value: []byte(value), Kind: kind}
}

var pieces = []string{"", "a", " ", `"`, `\`, "\n", "\r", "\t", "\x00", "\x1b[31m", "\xff\xfe", "\xc3", "é", "\u2028", "😀", "\ufeff", "{", "}", "[", "]", ",", ":", "\\u0041", `\n`, "null", "level=error", "0"}

func someText(t *rapid.T, label string) []byte {
	var b []byte
	for _, p := range rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 8).Draw(t, label) {
		b = append(b, p...)
	}
	return append(b, rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, label+" bytes")...)
}

var reserved = map[string]bool{"time": true, "level": true, "message": true, "service": true, "env": true, "host": true, "container": true, "stream": true, "id": true}

// otherNames are the server's other names of built-ins: one that is empty is taken from them.
var otherNames = []string{"msg", "log", "severity", "lvl", "ts", "timestamp", "@timestamp", "hostname", "environment"}

// anyEvent is one of all that arrive as they were sent.
func anyEvent(t *rapid.T) event.Event {
	e := event.Event{
		Time:  rapid.Int64Range(timestamp.Min, timestamp.Max-1).Draw(t, "time"),
		Level: event.Level(rapid.IntRange(0, int(event.Debug)).Draw(t, "level")),
	}
	full := rapid.Bool().Draw(t, "full") // then other names of built-ins may be fields
	for _, p := range []*[]byte{&e.Service, &e.Env, &e.Host, &e.Container, &e.Stream, &e.Message} {
		if *p = someText(t, "part"); full && len(*p) == 0 {
			*p = []byte("x")
		}
	}
	names := []string{"status", "a.b", "a..b.", "", "é", "level_text", "time_text", "service_", "\x00", "\"", "tags", "tags", "fingerprint"}
	if full {
		if e.Level == event.None {
			e.Level = event.Debug
		}
		names = append(names, otherNames...)
	}
	for range rapid.IntRange(0, 12).Draw(t, "fields") {
		name := rapid.SampledFrom(names).Draw(t, "name")
		if rapid.IntRange(0, 3).Draw(t, "odd") == 0 {
			if odd := string(someText(t, "odd name")); !reserved[odd] && (full || !slices.Contains(otherNames, odd)) {
				name = odd
			}
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			e.Fields = append(e.Fields, field(name, string(someText(t, "value")), event.String))
		case 1:
			e.Fields = append(e.Fields, field(name, rapid.SampledFrom([]string{"0", "-0", "1.50", "1e400", "-12.5E-3", "18446744073709551616"}).Draw(t, "number"), event.Number))
		case 2:
			e.Fields = append(e.Fields, field(name, rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool"), event.Bool))
		case 3:
			e.Fields = append(e.Fields, field(name, "null", event.Null))
		case 4:
			e.Fields = append(e.Fields, field(name, rapid.SampledFrom([]string{"{}", "[]", "{ }", `{"a":{"b":[1,"x]\"",null]}}`, "[[],[[1]]]", "[\"\xff\t\\\\\"]",
				strings.Repeat("[", 500) + strings.Repeat("]", 500)}).Draw(t, "JSON"), event.JSON))
		}
	}
	return e
}

func TestRoundTrip(t *testing.T) {
	var n encoder
	rapid.Check(t, func(t *rapid.T) {
		var lines []byte
		want := make([]event.Event, rapid.IntRange(1, 4).Draw(t, "events"))
		for i := range want {
			want[i] = anyEvent(t)
			var cut bool
			if lines, cut = n.line(lines, &want[i], 1); cut {
				t.Fatal("cut")
			}
		}
		if bytes.Count(lines, []byte("\n")) != len(want) {
			t.Fatalf("%d events are %q", len(want), lines)
		}
		got := decode(t, lines)
		for i := range want {
			if !same(&got[i], &want[i]) {
				t.Fatalf("line %s\ngot  %s\nwant %s", lines, show(&got[i]), show(&want[i]))
			}
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add([]byte("service"), []byte("message\n"), []byte("name"), []byte("[1]"), byte(event.JSON), int64(1.8e18))
	f.Add([]byte("\xff"), []byte(`{"a":"\`), []byte("msg"), []byte("1e5"), byte(event.Number), int64(-1))
	f.Add([]byte(""), []byte(""), []byte("\n"), []byte("{\"a\\\"\n\":\n1}"), byte(event.JSON), int64(0))
	f.Fuzz(func(t *testing.T, service, message, name, value []byte, kind byte, at int64) {
		e := event.Event{Time: at, Service: service, Message: message, Fields: []event.Field{{Name: name, Value: value, Kind: event.Kind(kind % 8)}}}
		var n encoder
		line, cut := n.line(nil, &e, 1.7e18)
		if cut || bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("%q", line)
		}
		got := decode(t, line)
		if len(got) != 1 {
			t.Fatalf("%d events of %q", len(got), line)
		}
		again, _ := n.line(nil, &got[0], 1.7e18)
		if twice := decode(t, again); !same(&twice[0], &got[0]) { // what an exception has changed stays
			t.Fatalf("%s, then %s", show(&got[0]), show(&twice[0]))
		}
	})
}

// The documented exceptions, and that they are all there are.
func TestExceptions(t *testing.T) {
	const at, received = 1795260153411000001, 1795260999000000009
	base := func(fields ...event.Field) event.Event {
		return event.Event{Time: at, Message: []byte("m"), Fields: fields}
	}
	for _, c := range []struct {
		name     string
		in, want event.Event
	}{
		{"a time too early", event.Event{Time: timestamp.Min - 1, Message: []byte("m")}, event.Event{Time: received, Message: []byte("m"), Fields: []event.Field{field("time_text", "315532799999999999", event.Number)}}},
		{"a time too late", event.Event{Time: timestamp.Max, Message: []byte("m")}, event.Event{Time: received, Message: []byte("m"), Fields: []event.Field{field("time_text", "7258118400000000000", event.Number)}}},
		{"no time", event.Event{Message: []byte("m")}, event.Event{Time: received, Message: []byte("m")}},
		{"nothing at all", event.Event{}, event.Event{Time: received}},
		{"the name of a built-in", base(field("service", "s", 0), field("id", "1", event.Number)), func() event.Event {
			e := base(field("id_", "1", event.Number))
			e.Service = []byte("s") // it is empty: the field becomes it
			return e
		}()},
		{"the name of a built-in that is there", base(field("message", "x", 0), field("time", "1", event.Number)), base(field("message_", "x", 0), field("time_", "1", event.Number))},
		{"another name of one that is empty", base(field("severity", "warn", 0), field("hostname", "h", 0), field("environment", "e", 0)), event.Event{
			Time: at, Level: event.Warning, Host: []byte("h"), Env: []byte("e"), Message: []byte("m")}},
		{"no number", base(field("n", "NaN", event.Number), field("n", "007", event.Number), field("n", "", event.Number)), base(field("n", "NaN", 0), field("n", "007", 0), field("n", "", 0))},
		{"no boolean", base(field("b", "yes", event.Bool)), base(field("b", "yes", 0))},
		{"null with a text", base(field("b", "", event.Null)), base(field("b", "", 0))},
		{"no JSON", base(field("j", "{", event.JSON), field("j", "1", event.JSON), field("j", `"s"`, event.JSON), field("j", "[],[]", event.JSON), field("j", "[]]", event.JSON)),
			base(field("j", "{", 0), field("j", "1", 0), field("j", `"s"`, 0), field("j", "[],[]", 0), field("j", "[]]", 0))},
		{"lines in JSON", base(field("j", "{\n\"a\":\n\"x\\\"\ny\"\n}", event.JSON)), base(field("j", `{ "a": "x\"\ny" }`, event.JSON))},
		{"a kind of tomorrow", base(field("k", "v", event.JSON+1)), base(field("k", "v", 0))},
	} {
		var n encoder
		line, cut := n.line(nil, &c.in, received)
		if got := decode(t, line); cut || len(got) != 1 || !same(&got[0], &c.want) {
			t.Errorf("%s: %s\ngot  %s\nwant %s", c.name, line, show(&got[0]), show(&c.want))
		}
	}
}

// What is longer than the server takes loses its last fields, and just those.
func TestCut(t *testing.T) {
	quotes := strings.Repeat(`"`, 1<<20)
	many := make([]event.Field, maxNames)
	for i := range many {
		many[i] = field("n", "1", event.Number)
	}
	for _, c := range []struct {
		name string
		e    event.Event
		left int
		cut  bool
	}{
		{"quotes", event.Event{Message: []byte(quotes), Fields: []event.Field{field("a", quotes[:1000], 0), field("b", quotes, 0), field("c", "1", 0)}}, 1, true},
		{"just too long", event.Event{Message: []byte(quotes), Fields: []event.Field{field("a", quotes[:1<<20-30], 0), field("c", "1", 0)}}, 0, true},
		{"many fields", event.Event{Fields: many}, maxNames - builtIns, true},
		{"as many as may be", event.Event{Fields: many[:maxNames-builtIns]}, maxNames - builtIns, false},
	} {
		c.e.Time, c.e.Level = 1, event.Error // with a time_text
		for _, p := range []*[]byte{&c.e.Service, &c.e.Env, &c.e.Host, &c.e.Container, &c.e.Stream} {
			*p = []byte("x")
		}
		var n encoder
		line, cut := n.line(nil, &c.e, 1.7e18)
		got := decode(t, line)
		if cut != c.cut || len(got) != 1 || len(got[0].Fields) != c.left+1 || !bytes.Equal(got[0].Message, c.e.Message) { // and time_text
			t.Errorf("%s: cut %v, %d fields left", c.name, cut, len(got[0].Fields))
		}
	}
	if maxLine != native.MaxLine {
		t.Errorf("a line may have %d bytes, the server takes %d", maxLine, native.MaxLine)
	}
	// The longest line there can be.
	e := event.Event{Time: 1.8e18, Fields: []event.Field{field("a", "", 0)}}
	var n encoder
	line, _ := n.line(nil, &e, 1)
	e.Fields[0].Value = bytes.Repeat([]byte("v"), maxLine-(len(line)-1))
	line, cut := n.line(nil, &e, 1)
	if len(line)-1 != maxLine || cut {
		t.Errorf("a line of %d bytes, cut %v", len(line)-1, cut)
	}
	rec := httptest.NewRecorder()
	k := &keeper{}
	native.New(native.Options{Sink: k}).ServeHTTP(rec, httptest.NewRequest("POST", "/", bytes.NewReader(line)))
	if rec.Code != 200 || len(k.events) != 1 {
		t.Errorf("the longest line: %d %s", rec.Code, rec.Body)
	}
	e.Fields[0].Value = append(e.Fields[0].Value, 'v')
	if _, cut := n.line(nil, &e, 1); !cut {
		t.Error("one byte more is not cut")
	}
	if !utf8.Valid(line) {
		t.Error("ASCII became something else")
	}
}

func BenchmarkLine(b *testing.B) {
	e := event.Event{Time: 1.8e18, Level: event.Info, Service: []byte("sales"), Env: []byte("shop"), Host: []byte("vm"), Container: []byte("shop-sales-1"),
		Stream: []byte("stdout"), Message: bytes.Repeat([]byte("GET /orders "), 12), Fields: []event.Field{field("version", "1.2.3", 0), field("container_id", "0123456789ab", 0)}}
	var n encoder
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = n.line(buf[:0], &e, 1)
	}
}
