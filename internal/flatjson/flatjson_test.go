package flatjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/lookoutlog/lookout/internal/event"
)

// show prints fields as the tables below write them: name=value, with a letter for what is not a string.
func show(fields []event.Field) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "%s=%s%q", f.Name, [...]string{"", "n", "b", "0", "j"}[f.Kind], f.Value)
	}
	return b.String()
}

func TestObject(t *testing.T) {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ in, want, rest string }{
		{`{}`, ``, ``},
		{" \t\r\n{ } \n", ``, " \n"},
		{"\ufeff{\"a\":1}", `a=n"1"`, ``},
		{"\ufeff {\"a\":1}", `a=n"1"`, ``},
		{`{"a":1}{"b":2}`, `a=n"1"`, `{"b":2}`},
		{` { "a" : 1 , "b" : [ 1 , 2 ] , "c" : { "d" : 3 } } x`, `a=n"1" b=n"1" b=n"2" c.d=n"3"`, ` x`},
		{`{"a":"x","a":"y"}`, `a="x" a="y"`, ``},
		{`{"a":true,"b":false,"c":null}`, `a=b"true" b=b"false" c=0"null"`, ``},
		{`{"a":{"b":{"c":1},"d":2},"e":3}`, `a.b.c=n"1" a.d=n"2" e=n"3"`, ``},
		{`{"a":[1,"x",[2,[3]],{"b":4,"c":[5]}],"d":6}`, `a=n"1" a="x" a=n"2" a=n"3" a.b=n"4" a.c=n"5" d=n"6"`, ``},
		{`{"a":{},"b":[],"c":{"d":[ ]},"e":[{},[]]}`, `a=j"{}" b=j"[]" c.d=j"[ ]" e=j"{}" e=j"[]"`, ``},
		{`{"":1,"a":{"":2},"b.c":3}`, `=n"1" a.=n"2" b.c=n"3"`, ``},
		{`{"a":0,"b":-0,"c":1.50,"d":1e400,"e":-1.2E+3,"f":2e-7,"g":12345678901234567890123}`,
			`a=n"0" b=n"-0" c=n"1.50" d=n"1e400" e=n"-1.2E+3" f=n"2e-7" g=n"12345678901234567890123"`, ``},
		{`{"a\"b":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC"}`, "a\"b=\"\\\"\\\\/\\b\\f\\n\\r\\tAé€\"", ``},
		{`{"a":{"b\tc":{"d":1}}}`, "a.b\tc.d=n\"1\"", ``},
		{`{"a":"\u0000x"}`, `a="\x00x"`, ``},
		{`{"a":"\ud83d\ude00!"}`, `a="😀!"`, ``},
		{`{"a":"\ud83d"}`, `a="�"`, ``},
		{`{"a":"\ud83dx"}`, `a="�x"`, ``},
		{`{"a":"\ude00\ud83d"}`, `a="��"`, ``},
		{`{"a":"\ud83d\ud83d\ude00"}`, `a="�😀"`, ``},
		{`{"a":"\ud83d\n"}`, `a="�\n"`, ``},
		{`{"a":"\ud83d\u0041"}`, `a="�A"`, ``},
		{`{"a":"\udc00"}`, `a="�"`, ``},
		{`{"a":"\ude00\ude00"}`, `a="��"`, ``},
		{`{"a":"\uffff\uFFFD"}`, "a=\"\\uffff�\"", ``},
		{"{\"a\":\"x\x00\x01\n\r\ty\"}", `a="x\x00\x01\n\r\ty"`, ``},
		{"{\"a\xff\":\"\xc3(\xed\xa0\x80\"}", "a\xff=\"\\xc3(\\xed\\xa0\\x80\"", ``},
		{"{\"a\":\"\\n\xff\"}", `a="\n\xff"`, ``},
		{`{"a":` + deep(31) + `}`, `a=j"[]"`, ``},
		{`{"a":` + strings.Repeat("[", 31) + "1" + strings.Repeat("]", 31) + `}`, `a=n"1"`, ``},
		{`{"a":` + strings.Repeat("[", 32) + "1,2" + strings.Repeat("]", 32) + `,"b":1}`, `a=j"[1,2]" b=n"1"`, ``},
		{strings.Repeat(`{"a":`, 33) + `{"]}":"\"}]"}` + strings.Repeat(`}`, 33), strings.Repeat("a.", 31) + `a=j"{\"a\":{\"]}\":\"\\\"}]\"}}"`, ``},
	} {
		var d Decoder
		fields, rest, err := d.Object([]byte(c.in))
		if got := show(fields); err != nil || got != c.want || string(rest) != c.rest {
			t.Errorf("%.80q\n got %s, rest %q, error %v\nwant %s, rest %q", c.in, got, rest, err, c.want, c.rest)
		}
	}
}

func TestObjectErrors(t *testing.T) {
	in := func(s string) string { return strings.Repeat(`[`, 40) + s }
	for _, c := range []struct{ in, want string }{
		{``, `at byte 0: expected '{', found the end`},
		{"\ufeff", `at byte 3: expected '{', found the end`},
		{"\xef\xbb{}", `at byte 0: expected '{', found byte 0xef`},
		{` [1]`, `at byte 1: expected '{', found '['`},
		{`hello`, `at byte 0: expected '{', found hello`},
		{`{`, `at byte 1: expected a key in quotes, found the end`},
		{`{a:1}`, `at byte 1: expected a key in quotes, found 'a'`},
		{`{"a":1,}`, `at byte 7: expected a key in quotes, found '}'`},
		{`{,}`, `at byte 1: expected a key in quotes, found ','`},
		{`{"msg":"a","level"}`, `at byte 18: expected ':' after a key, found '}'`},
		{`{"a"`, `at byte 4: expected ':' after a key, found the end`},
		{`{"a":`, `at byte 5: expected a value, found the end`},
		{`{"a":}`, `at byte 5: expected a value, found '}'`},
		{`{"a":NaN}`, `at byte 5: expected a value, found NaN`},
		{`{"a":Infinity}`, `at byte 5: expected a value, found Infinity`},
		{`{"a":-Infinity}`, `at byte 6: expected a digit in a number, found Infinity`},
		{`{"a":nul}`, `at byte 5: expected a value, found nul`},
		{`{"a":truth}`, `at byte 5: expected a value, found truth`},
		{`{"a":falsey}`, `at byte 10: expected ',' or '}' after a value, found 'y'`},
		{`{"a":+1}`, `at byte 5: expected a value, found '+'`},
		{`{"a":.5}`, `at byte 5: expected a value, found '.'`},
		{`{"a":01}`, `at byte 6: expected ',' or '}' after a value, found '1'`},
		{`{"a":1.}`, `at byte 7: expected a digit in a number, found '}'`},
		{`{"a":1e}`, `at byte 7: expected a digit in a number, found '}'`},
		{`{"a":1e+`, `at byte 8: expected a digit in a number, found the end`},
		{`{"a":-}`, `at byte 6: expected a digit in a number, found '}'`},
		{`{"a":0x10}`, `at byte 6: expected ',' or '}' after a value, found 'x'`},
		{`{"a":1 "b":2}`, `at byte 7: expected ',' or '}' after a value, found '"'`},
		{`{"a":1]`, `at byte 6: expected ',' or '}' after a value, found ']'`},
		{`{"a":[1}`, `at byte 7: expected ',' or ']' after a value, found '}'`},
		{`{"a":[1,]}`, `at byte 8: expected a value, found ']'`},
		{`{"a":[,]}`, `at byte 6: expected a value, found ','`},
		{`{"a":[1`, `at byte 7: expected ',' or ']' after a value, found the end`},
		{`{"a":[`, `at byte 6: expected a value, found the end`},
		{`{"a":"x`, `at byte 5: a string without its closing quote`},
		{`{"a":"x\"}`, `at byte 5: a string without its closing quote`},
		{`{"a":"x\`, `at byte 5: a string without its closing quote`},
		{`{"a":"\x41"}`, `at byte 7: expected one of "\/bfnrtu after a backslash, found 'x'`},
		{`{"a":"\u12G4"}`, `at byte 6: \u without four hex digits in a string`},
		{`{"a":"\u12"}`, `at byte 6: \u without four hex digits in a string`},
		{`{"a":"\u`, `at byte 6: \u without four hex digits in a string`},
		{`{"a\q":1}`, `at byte 4: expected one of "\/bfnrtu after a backslash, found 'q'`},
		{"{\"a\":\x00}", `at byte 5: expected a value, found byte 0x00`},
		{"{\"a\":1\v}", `at byte 6: expected ',' or '}' after a value, found byte 0x0b`},
		{"{\"a\":'x'}", `at byte 5: expected a value, found '''`},
		{`{"a":1/*x*/}`, `at byte 6: expected ',' or '}' after a value, found '/'`},
		// the same below the levels that are flattened
		{`{"a":` + in(``), `at byte 45: expected a value, found the end`},
		{`{"a":` + in(`}`), `at byte 45: expected a value, found '}'`},
		{`{"a":` + in(`1}`), `at byte 46: expected ',' or ']' after a value, found '}'`},
		{`{"a":` + in(`{"b":1]`), `at byte 51: expected ',' or '}' after a value, found ']'`},
		{`{"a":` + in(`{"b" 1}`), `at byte 50: expected ':' after a key, found '1'`},
		{`{"a":` + in(`{"b":1,}`), `at byte 52: expected a key in quotes, found '}'`},
		{`{"a":` + in(`{"b\q":1,}`), `at byte 49: expected one of "\/bfnrtu after a backslash, found 'q'`},
		{`{"a":` + in(`"b`), `at byte 45: a string without its closing quote`},
		{`{"a":` + in(`1,]`), `at byte 47: expected a value, found ']'`},
		{`{"a":` + in(`-`), `at byte 46: expected a digit in a number, found the end`},
		{`{"a":` + in(`NaN`), `at byte 45: expected a value, found NaN`},
		{`{"a":` + in(strings.Repeat("]", 40)), `at byte 85: expected ',' or '}' after a value, found the end`},
	} {
		var d Decoder
		fields, _, err := d.Object([]byte(c.in))
		var e *Error
		if !errors.As(err, &e) || err.Error() != c.want || fields != nil {
			t.Errorf("%q: fields %v, error %v\nwant %s", c.in, fields, err, c.want)
		}
	}
}

// Every prefix of a document is an error, never a panic or an answer; so nothing that was cut passes for whole.
func TestObjectCut(t *testing.T) {
	doc := []byte(`{"a":"x\u00e9\ud83d\ude00","b":[1,-2.5e3,{"c":null}],"d":{"e":[]},"f":` +
		strings.Repeat("[", 35) + `{"g":["\n",true,{}]}` + strings.Repeat("]", 35) + `}`)
	var d Decoder
	if _, _, err := d.Object(doc); err != nil {
		t.Fatal(err)
	}
	for n := range doc {
		if _, _, err := d.Object(doc[:n:n]); err == nil {
			t.Fatalf("no error for %q", doc[:n])
		}
	}
}

func TestHostile(t *testing.T) {
	const n = 100_000
	long := strings.Repeat("x", 1<<20)
	keys := []byte(`{"k":0`)
	for i := range 999_999 {
		keys = append(strconv.AppendInt(append(keys, `,"k`...), int64(i), 10), `":1`...)
	}
	keys = append(keys, '}')
	for _, c := range []struct {
		name    string
		in      string
		fields  int
		last    event.Kind
		scratch int    // most bytes of text made
		raw     string // the last value, where encoding/json gives up (10,000 levels)
	}{
		{"arrays in arrays", `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`, 1, event.JSON, 0, strings.Repeat("[", n-31) + strings.Repeat("]", n-31)},
		{"objects in objects", strings.Repeat(`{"a":`, n) + `1` + strings.Repeat("}", n), 1, event.JSON, 4096, strings.Repeat(`{"a":`, n-32) + `1` + strings.Repeat("}", n-32)},
		{"a million keys", string(keys), 1_000_000, event.Number, 0, ""},
		{"a long name around many", `{"` + long + `":{"b":1` + strings.Repeat(`,"b":1`, n) + `},"z":true}`, 2, event.Bool, 8 << 20, ""},
		{"long names, many times", `{"z":[` + strings.Repeat(`{"`+long[:9<<10]+`":{"b":1`+strings.Repeat(`,"b":1`, 3000)+`}},`, 20) + `1]}`, 1, event.JSON, 4 << 20, ""},
		{"a great array", `{"a":[1` + strings.Repeat(`,1`, n) + `],"b":[1,2]}`, 2, event.JSON, 0, ""},
		{"a great array, deeper", `{"x":1,"b":{"a":[[1` + strings.Repeat(`,1`, n) + `]]}}`, 2, event.JSON, 16, ""},
		{"nothing but escapes", `{"a":"` + strings.Repeat(`\"`, n) + `"}`, 1, event.String, 2 * n, ""},
	} {
		var d Decoder
		fields, rest, err := d.Object([]byte(c.in))
		if err != nil || len(fields) != c.fields || len(rest) != 0 || fields[len(fields)-1].Kind != c.last {
			t.Errorf("%s: %d fields, %d bytes left, error %v; want %d fields", c.name, len(fields), len(rest), err, c.fields)
		}
		if d.Size() > c.scratch {
			t.Errorf("%s: %d bytes of text made, want at most %d", c.name, d.Size(), c.scratch)
		}
		for _, f := range fields {
			if f.Kind == event.JSON && c.raw == "" && !json.Valid(f.Value) {
				t.Errorf("%s: %.40q is not JSON", c.name, f.Value)
			}
		}
		if raw := fields[len(fields)-1].Value; c.raw != "" && string(raw) != c.raw {
			t.Errorf("%s: %d bytes %.40q…, want %d bytes", c.name, len(raw), raw, len(c.raw))
		}
		if d.Reset(); cap(d.scratch) > keepScratch || cap(d.fields) > keepFields || cap(d.nesting) > keepNesting {
			t.Errorf("%s: the decoder keeps room for %d bytes, %d fields, %d levels", c.name, cap(d.scratch), cap(d.fields), 64*cap(d.nesting))
		}
	}
}

// What is kept raw is checked to any depth: brackets of both kinds must match, whatever was nested before.
func TestRawNesting(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var d Decoder
	for range 300 {
		depth := MaxDepth + rng.IntN(200)
		var text, closing []byte
		for range depth {
			if rng.IntN(2) == 0 {
				text, closing = append(text, `[0,`...), append(closing, ']')
			} else {
				text, closing = append(text, `{"a":0,"b":`...), append(closing, '}')
			}
		}
		text = append(text, `{}`...)
		slices.Reverse(closing)
		wrong := rng.IntN(2 * depth) // which bracket is the other one, if any
		for i, c := range closing {
			if c == ']' {
				text = append(text, `,{"a":{"b":1},"c":2},[[1],2]`...)
			} else {
				text = append(text, `,"c":[[1],2],"d":{"a":{"b":1},"c":2}`...)
			}
			if i == wrong {
				c = ']' + '}' - c
			}
			text = append(text, c)
		}
		fields, _, err := d.Object(append(append([]byte(`{"x":`), text...), '}'))
		if (err == nil) != (wrong >= depth) {
			t.Fatalf("%s, wrong at %d of %d: %v", text, wrong, depth, err)
		}
		for _, f := range fields {
			if f.Kind == event.JSON && !json.Valid(f.Value) {
				t.Fatalf("%s is not JSON", f.Value)
			}
		}
	}
}

func TestMaxFields(t *testing.T) {
	d := Decoder{MaxFields: 3}
	if f, _, err := d.Object([]byte(`{"a":1,"b":[2,3]}`)); err != nil || len(f) != 3 {
		t.Errorf("three: %v, %v", f, err)
	}
	if _, _, err := d.Object([]byte(`{"a":1,"b":[2,3],"c":4}`)); err == nil || err.Error() != "at byte 21: more than 3 fields" {
		t.Errorf("four: %v", err)
	}
}

// What one batch handed out stays as it was until Reset, however much follows; and after Reset nothing is allocated.
func TestLifetime(t *testing.T) {
	var d Decoder
	lines := make([][]byte, 3000)
	for i := range lines {
		lines[i] = fmt.Appendf(nil, `{"msg":"line\t%d","a":{"b%d":%d}}`, i, i, i)
	}
	kept := make([][]event.Field, len(lines))
	run := func() {
		d.Reset()
		for i, l := range lines {
			f, _, err := d.Object(l)
			if err != nil {
				t.Fatal(err)
			}
			kept[i] = append(kept[i][:0], f...)
		}
	}
	run()
	size := 0
	for i, f := range kept {
		for _, p := range [][]byte{f[0].Name, f[0].Value, f[1].Name, f[1].Value} {
			if cap(p) != len(p) {
				t.Fatalf("%q can be appended to, over what follows it", p)
			}
		}
		size += len(f[0].Value) + len(f[1].Name)
		if want := fmt.Sprintf(`msg="line\t%d" a.b%d=n"%d"`, i, i, i); show(f) != want {
			t.Fatalf("line %d became %s", i, show(f))
		}
	}
	if d.Size() != size {
		t.Errorf("Size() = %d, want %d", d.Size(), size)
	}
	run()
	if n := testing.AllocsPerRun(5, run); n > 0 {
		t.Errorf("%v allocations a batch", n)
	}
	d.Reset()
	if d.Size() != 0 {
		t.Errorf("Size() = %d after Reset", d.Size())
	}
}

// flatten is the same by encoding/json, slow and simple. It names the levels that Object keeps raw.
func flatten(data []byte) ([]event.Field, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var out []event.Field
	var value func(name string, level int) error
	value = func(name string, level int) error {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		add := func(kind event.Kind, text string) {
			out = append(out, event.Field{Name: []byte(name), Value: []byte(text), Kind: kind})
		}
		switch v := tok.(type) {
		case string:
			add(event.String, v)
		case json.Number:
			add(event.Number, v.String())
		case bool:
			add(event.Bool, fmt.Sprint(v))
		case nil:
			add(event.Null, "null")
		case json.Delim:
			level++
			mark := len(out)
			empty := true
			for dec.More() {
				empty = false
				inner := name
				if v == '{' {
					tok, err := dec.Token()
					if err != nil {
						return err
					}
					inner = tok.(string)
					if level > 1 {
						inner = name + "." + inner
					}
				}
				if err := value(inner, level); err != nil {
					return err
				}
			}
			if _, err := dec.Token(); err != nil {
				return err
			}
			if level > 1 && (empty || level > MaxDepth) {
				out = out[:mark]
				raw := data[start:dec.InputOffset()]
				add(event.JSON, string(raw[bytes.IndexAny(raw, "{["):]))
			}
		}
		return nil
	}
	return out, value("", 0)
}

func FuzzObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, `{"time":"2026-11-20T00:00:00Z","service":"api","message":"GET \"/x\" 200","n":{"a":[1,2,{"b":null}]},"e":{},"f":[]}`,
		`{"a":"\ud83d\ude00\ud83d\u0041\u0000"}`, `{"a":` + strings.Repeat("[", 40) + `{"x":"]"}` + strings.Repeat("]", 40) + `}`,
		"{\"a\":\"\x00\xff\"} x", `{"a":-1.5e+300,"b":NaN}`, "\ufeff{}", strings.Repeat(`{"k":`, 35) + `[1,{}]` + strings.Repeat("}", 35),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var d Decoder
		fields, rest, err := d.Object(data)
		if err != nil {
			if e := err.(*Error); e.Offset < 0 || e.Offset > len(data) || e.Message == "" {
				t.Fatalf("%q: error %v", data, err)
			}
			if json.Valid(data) && len(data) > 0 && bytes.TrimLeft(data, " \t\r\n")[0] == '{' {
				t.Fatalf("%q: %v", data, err)
			}
			return
		}
		if !bytes.HasSuffix(data, rest) {
			t.Fatalf("%q: rest %q", data, rest)
		}
		for _, f := range fields {
			if f.Kind == event.Number && (!ValidNumber(f.Value) || !json.Valid(f.Value)) {
				t.Fatalf("%q: number %q", data, f.Value)
			}
			if f.Kind == event.JSON && !json.Valid(AppendJSON(nil, f.Value)) {
				t.Fatalf("%q: raw %q", data, f.Value)
			}
		}
		whole := data[:len(data)-len(rest)]
		if !json.Valid(whole) || !utf8.Valid(whole) { // what we take and encoding/json does not, or changes
			plainer := bytes.Map(func(r rune) rune {
				if r < 0x20 {
					return ' '
				}
				return r
			}, bytes.TrimPrefix(whole, []byte("\ufeff")))
			if !json.Valid(plainer) {
				t.Fatalf("%q was accepted", data)
			}
			return
		}
		want, err := flatten(whole)
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		if len(data) < 1<<12 && show(fields) != show(want) {
			t.Fatalf("%q\n got %s\nwant %s", data, show(fields), show(want))
		}
	})
}

func BenchmarkObject(b *testing.B) {
	data, err := os.ReadFile("testdata/lines.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	var d Decoder
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		d.Reset()
		for _, l := range lines {
			if _, _, err := d.Object(l); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(lines)), "ns/event")
}

func TestAppendString(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{"a longer plain text, more than one word of eight", `"a longer plain text, more than one word of eight"`},
		{`say "hi" \ there`, `"say \"hi\" \\ there"`},
		{"\n\r\t\b\f\x00\x1f\x7f", `"\n\r\t\b\f\u0000\u001f` + "\x7f" + `"`},
		{"<b>&amp;</b>", `"<b>&amp;</b>"`},
		{"é€😀", `"é€😀"`},
		{"\u2027\u2028\u2029\u202a", "\"\u2027\\u2028\\u2029\u202a\""},
		{"a\xffb\xc3(\xed\xa0\x80\xf0\x9f", "\"a\ufffdb\ufffd(\ufffd\ufffd\ufffd\ufffd\ufffd\""},
	} {
		if got := AppendString([]byte("x"), []byte(c.in)); string(got) != "x"+c.want {
			t.Errorf("%q: %s, want x%s", c.in, got, c.want)
		}
	}
}

func TestAppendJSON(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"{}", `{}`},
		{"[ 1 ,\n\t{ \"a b\" : \"c \\\" d\" } ]\r", `[1,{"a b":"c \" d"}]`},
		{"[\"\n\x01\\\\\"]", `["\n\u0001\\"]`},
		{"[\"\xff\",\"é\u2028\"]", "[\"\ufffd\",\"é\\u2028\"]"},
		{`["\ud800"]`, `["\ud800"]`},
	} {
		if got := AppendJSON([]byte("x"), []byte(c.in)); string(got) != "x"+c.want {
			t.Errorf("%q: %s, want x%s", c.in, got, c.want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add([]byte("plain ascii text of some length \x00\x1f\"\\\xff\u2028é"), byte('"'), 9)
	f.Fuzz(func(t *testing.T, text []byte, c byte, at int) {
		// One odd byte at every place in plain text as well: the word-wise scan must not miss it.
		odd := bytes.Repeat([]byte("~ "), 12)
		odd[uint(at)%24] = c
		for _, in := range [][]byte{text, odd} {
			got := AppendString(nil, in)
			var back string
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatalf("%q: %s: %v", in, got, err)
			}
			if want := strings.ToValidUTF8(string(in), "\ufffd"); utf8.Valid(in) && back != want {
				t.Fatalf("%q came back as %q", in, back)
			}
			var d Decoder
			fields, _, err := d.Object(append(append([]byte(`{"a":`), got...), '}'))
			if err != nil || string(fields[0].Value) != back {
				t.Fatalf("%q: Object reads %q, encoding/json %q, error %v", in, fields, back, err)
			}
		}
	})
}

// Each byte value at each place of two words.
func TestScans(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			text := bytes.Repeat([]byte{0x7F}, 20)
			text[at] = byte(c)
			want := 20
			if c == '"' || c == '\\' {
				want = at
			}
			if got := special(text, 0); got != want {
				t.Fatalf("special: byte %#x at %d: %d", c, at, got)
			}
			if c < 0x20 || c >= 0x80 {
				want = at
			}
			if got := plain(text, 0); got != want {
				t.Fatalf("plain: byte %#x at %d: %d", c, at, got)
			}
		}
	}
}

func TestValidNumber(t *testing.T) {
	for _, s := range []string{"0", "-0", "1", "10.50", "1e5", "1E-5", "-1.5e+10", "1e400"} {
		if !ValidNumber([]byte(s)) {
			t.Errorf("%s is a number", s)
		}
	}
	for _, s := range []string{"", "-", "+1", "01", "1.", ".1", "1e", "1e+", "0x1", "1_0", " 1", "1 ", "NaN", "Infinity", "--1", "1.2.3"} {
		if ValidNumber([]byte(s)) {
			t.Errorf("%s is no number", s)
		}
	}
}

func TestIsScalar(t *testing.T) {
	for _, c := range []struct {
		kind  event.Kind
		value string
		want  bool
	}{
		{event.Number, "1.50", true}, {event.Number, "NaN", false}, {event.Number, "", false}, {event.Bool, "true", true}, {event.Bool, "false", true}, {event.Bool, "1", false},
		{event.Null, "null", true}, {event.Null, "", false}, {event.String, "1", false}, {event.String, "null", false}, {event.JSON, "{}", false}, {event.JSON, "1", false},
	} {
		if got := IsScalar(&event.Field{Kind: c.kind, Value: []byte(c.value)}); got != c.want {
			t.Errorf("kind %d, %q: %v", c.kind, c.value, got)
		}
	}
}
