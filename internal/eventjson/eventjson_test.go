package eventjson

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

func field(kind event.Kind, name, value string) event.Field {
	return event.Field{Name: []byte(name), Value: []byte(value), Kind: kind}
}

func TestAppendEvent(t *testing.T) {
	const zero = `{"time":"1970-01-01T00:00:00.000000000Z"`
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{event.Event{}, zero + `}`},
		{event.Event{Seq: math.MaxUint64, Time: 1795260153123456789, Received: 1795260154000000001, Level: event.Error,
			Service: []byte("shop"), Env: []byte("prod"), Host: []byte("h1"), Container: []byte("c"), Stream: []byte("stderr"), Message: []byte("a \"b\"\n")},
			`{"id":"18446744073709551615","time":"2026-11-21T11:22:33.123456789Z","received":"2026-11-21T11:22:34.000000001Z","level":"error",` +
				`"service":"shop","env":"prod","host":"h1","container":"c","stream":"stderr","message":"a \"b\"\n"}`},
		{event.Event{Time: math.MaxInt64}, `{"time":"2262-04-11T23:47:16.854775807Z"}`},
		{event.Event{Time: math.MinInt64}, `{"time":"1677-09-21T00:12:43.145224192Z"}`},
		{event.Event{Time: -1}, `{"time":"1969-12-31T23:59:59.999999999Z"}`},
		{event.Event{Level: event.Debug}, zero + `,"level":"debug"}`},
		{event.Event{Message: []byte("\xff\x00<é>")}, zero + `,"message":"` + "\ufffd" + `\u0000<é>"}`},
		{event.Event{Fields: []event.Field{field(event.String, "a", "x"), field(event.Number, "b", "1.50"), field(event.Bool, "c", "true"), field(event.Null, "d", "null")}},
			zero + `,"fields":{"a":"x","b":1.50,"c":true,"d":null}}`},
		{event.Event{Fields: []event.Field{field(event.Number, "n", "-0"), field(event.Number, "n", "1e400"), field(event.Number, "m", "007"), field(event.Number, "o", "NaN"), field(event.Number, "p", "")}},
			zero + `,"fields":{"n":[-0,1e400],"m":"007","o":"NaN","p":""}}`},
		{event.Event{Fields: []event.Field{field(event.Bool, "a", "yes"), field(event.Null, "b", ""), field(event.JSON, "c", "{"), field(event.JSON, "d", "1,2"), field(event.Kind(99), "e", "x")}},
			zero + `,"fields":{"a":"yes","b":"","c":"{","d":"1,2","e":"x"}}`},
		{event.Event{Fields: []event.Field{field(event.JSON, "a", "{}"), field(event.JSON, "b", "[1,\n {\"x\":\"\xff y\"}]")}},
			zero + `,"fields":{"a":{},"b":[1,{"x":"` + "\ufffd" + ` y"}]}}`},
		{event.Event{Fields: []event.Field{field(event.String, "t", "1"), field(event.String, "u", "2"), field(event.Number, "t", "3"), field(event.JSON, "t", "[]"), field(event.String, "v", "")}},
			zero + `,"fields":{"t":["1",3,[]],"u":"2","v":""}}`},
		{event.Event{Fields: []event.Field{field(event.String, "", ""), field(event.String, "a\"b", "\\")}}, zero + `,"fields":{"":"","a\"b":"\\"}}`},
	} {
		got := AppendEvent([]byte("before"), &c.e)
		if string(got) != "before"+c.want {
			t.Errorf("got  %s\nwant       %s", got, c.want)
		}
	}
}

func TestDepth(t *testing.T) {
	nested := func(n int, inner string) string { return strings.Repeat("[", n) + inner + strings.Repeat("]", n) }
	for _, c := range []struct {
		value string
		raw   bool
	}{
		{nested(128, ""), true},
		{nested(129, ""), false},
		{nested(20000, ""), false},
		{nested(1, `"`+strings.Repeat("[", 200)+`\\",[]`), true},
		{"[" + strings.Repeat("[],", 200) + "{}]", true},
		{nested(127, `{"a":[]}`), false},
	} {
		got := string(AppendEvent(nil, &event.Event{Fields: []event.Field{field(event.JSON, "j", c.value)}}))
		if strings.Contains(got, `"j":[`) != c.raw || !json.Valid([]byte(got)) {
			t.Errorf("%.100s", got)
		}
	}
}

// Many fields take the other way; the answer is the same.
func TestManyFields(t *testing.T) {
	var fields []event.Field
	for i := range few {
		fields = append(fields, field(event.Number, fmt.Sprint("f", i%20), fmt.Sprint(i)))
	}
	if a, b := appendFew(nil, fields), appendMany(nil, fields); string(a) != string(b) || !strings.Contains(string(a), `"f0":[0,20],`) {
		t.Errorf("few  %s\nmany %s", a, b)
	}
	fields = nil
	for i := range 300_000 {
		fields = append(fields, field(event.String, fmt.Sprint(i%100_000), "x"))
	}
	var got struct{ Fields map[string][]string }
	if err := json.Unmarshal(AppendEvent(nil, &event.Event{Fields: fields}), &got); err != nil || len(got.Fields) != 100_000 || len(got.Fields["99999"]) != 3 {
		t.Errorf("%d fields, %v", len(got.Fields), err)
	}
}

func TestAppendTime(t *testing.T) {
	check := func(ns int64) {
		t.Helper()
		if got, want := string(AppendTime(nil, ns)), time.Unix(0, ns).UTC().Format(`"2006-01-02T15:04:05.000000000Z"`); got != want {
			t.Fatalf("%d: %s, want %s", ns, got, want)
		}
	}
	for _, ns := range []int64{0, 1, 10, 999999999, 1e9, 1795260153000000000, 1795260153100000000, 1795260153123456789, -1, -1e9, -1e9 - 1, math.MaxInt64, math.MinInt64} {
		check(ns)
	}
	const day = 24 * 3600 * 1_000_000_000
	for ns := int64(math.MinInt64 / day * day); ns < math.MaxInt64/day*day; ns += day { // each of them, with its ends
		check(ns)
		check(ns - 1)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		check(int64(rng.Uint64()))
	}
}

func benchEvent() *event.Event {
	return &event.Event{Seq: 12345678, Time: 1795260153123456789, Received: 1795260154000000001, Level: event.Error, Service: []byte("shop"), Host: []byte("h1"),
		Container: []byte("shop-1"), Stream: []byte("stderr"), Message: []byte("GET /api/v1/orders/4711 failed: connection refused after 3 tries"),
		Fields: []event.Field{field(event.Number, "status", "500"), field(event.String, "request_id", "0f8fad5b-d9cb-469f-a165-70867728950e"), field(event.Number, "duration_ms", "12.5"),
			field(event.String, "tags", "a"), field(event.String, "tags", "b")}}
}

func TestNoAllocation(t *testing.T) {
	e, buf := benchEvent(), make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = AppendEvent(buf[:0], e) }); n != 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	e, buf := benchEvent(), make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEvent(buf[:0], e)
	}
	b.SetBytes(int64(len(buf)))
}

func FuzzAppendEvent(f *testing.F) {
	f.Add("shop", "message", "name", "value", uint8(event.JSON), int64(1), uint8(3))
	f.Add("\xff", "\xed\xa0\x80", "\u2028", "[[[\"\xff\"]]]", uint8(event.JSON), int64(-1), uint8(0))
	f.Add("", "", "", "{\"a\":\"\x01\"}", uint8(event.JSON), int64(math.MinInt64), uint8(200))
	f.Add("", "", "n", "-", uint8(event.Number), int64(0), uint8(0))
	f.Add("", "", "n", "\"\\", uint8(event.JSON), int64(0), uint8(0))
	f.Fuzz(func(t *testing.T, service, message, name, value string, kind uint8, at int64, level uint8) {
		fl := field(event.Kind(kind), name, value)
		e := event.Event{Time: at, Level: event.Level(level), Service: []byte(service), Message: []byte(message), Fields: []event.Field{fl, field(event.String, service, value), fl}}
		got := AppendEvent(nil, &e)
		if !json.Valid(got) || !utf8.Valid(got) || strings.ContainsAny(string(got), "\n\r") {
			t.Fatalf("%q", got)
		}
		var back struct{ Message string }
		if err := json.Unmarshal(got, &back); err != nil || utf8.ValidString(message) && back.Message != message {
			t.Fatalf("%q: %v", got, err)
		}
	})
}
