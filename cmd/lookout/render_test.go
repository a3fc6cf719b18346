package main

import (
	"bytes"
	"encoding/json"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lookoutlog/lookout/sdk"
)

var sample = sdk.Row{Event: sdk.Event{
	ID: "7", Time: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), Level: "warning", Service: "web", Message: "hello",
	Fields: []sdk.Field{{Name: "n", Value: json.Number("1.50")}, {Name: "s", Value: "a b"}, {Name: "list", Value: []any{"x", json.Number("1"), nil, true}}, {Name: "image_name", Value: "web:1"}, {Name: "com.docker.compose.service", Value: "web"}},
}, JSON: `{"id":"7"}`}

func TestRender(t *testing.T) {
	with := func(change func(*sdk.Row)) sdk.Row {
		r := sample
		change(&r)
		return r
	}
	found := func(parts ...[]int) func(string) [][]int { return func(string) [][]int { return parts } }
	for name, c := range map[string]struct {
		look look
		row  sdk.Row
		want string
	}{
		"auto":                 {look{}, sample, `2026-01-02 03:04:05.678 web warn: hello n=1.50 s="a b" list="[\"x\",1,null,true]"`},
		"what Docker adds":     {look{fields: []string{"*"}, noTime: true}, with(func(r *sdk.Row) { r.Fields = r.Fields[3:] }), `web warn: hello image_name=web:1 com.docker.compose.service=web`},
		"fields of both kinds": {look{fields: []string{"id", "level", "env", "n", "time", "received"}, noTime: true}, sample, `web warn: hello id=7 level=warning n=1.50 time=2026-01-02T03:04:05.678Z`},
		"context":              {look{noTime: true, fields: []string{}}, with(func(r *sdk.Row) { r.Context = true }), "web warn- hello"},
		"no level":             {look{noTime: true, fields: []string{}}, with(func(r *sdk.Row) { r.Level = "" }), "web: hello"},
		"no service":           {look{noTime: true, fields: []string{}}, with(func(r *sdk.Row) { r.Service = "" }), "- warn: hello"},
		"no message":           {look{noTime: true}, with(func(r *sdk.Row) { r.Message = "" }), `web warn: n=1.50 s="a b" list="[\"x\",1,null,true]" image_name=web:1 com.docker.compose.service=web`},
		"aligned":              {look{align: true, noTime: true, fields: []string{}}, sample, "web warn:   hello"},
		"aligned, no level":    {look{align: true, noTime: true, fields: []string{}}, with(func(r *sdk.Row) { r.Level = "" }), "web:        hello"},
		"odd names":            {look{noTime: true}, with(func(r *sdk.Row) { r.Fields = []sdk.Field{{Name: "a b=\"c", Value: ""}} }), `web warn: hello a_b__c=""`},
		"raw":                  {look{form: formRaw}, sample, "hello"},
		"raw of fields":        {look{form: formRaw}, with(func(r *sdk.Row) { r.Message = ""; r.Fields = r.Fields[:2] }), `{"n":1.50,"s":"a b"}`},
		"raw of nothing":       {look{form: formRaw}, sdk.Row{}, ""},
		"raw, context":         {look{form: formRaw, service: true}, with(func(r *sdk.Row) { r.Context = true }), "web-hello"},
		"json":                 {look{form: formJSON}, sample, `{"id":"7"}`},
		"json, context":        {look{form: formJSON}, with(func(r *sdk.Row) { r.Context = true }), `{"id":"7","context":true}`},
		"json, nothing":        {look{form: formJSON, fields: []string{"zz"}}, with(func(r *sdk.Row) { r.Context = true }), `{"context":true}`},
		"json, all fields":     {look{form: formJSON, fields: []string{"*"}}, sample, `{"id":"7"}`},
		"logfmt, context":      {look{form: formLogfmt, fields: []string{"message"}}, with(func(r *sdk.Row) { r.Context = true; r.Message = "a\nb" }), `message="a\nb" context=true`},
		"csv":                  {look{form: formCSV, fields: []string{"message", "n", "s", "zz"}}, with(func(r *sdk.Row) { r.Message = "=cmd()" }), "message,n,s,zz\n'=cmd(),1.50,a b,"},
		"only":                 {look{only: true, noTime: true, marks: found([]int{0, 2}, []int{3, 5})}, sample, "web warn: he\nweb warn: lo"},
		"only, context":        {look{only: true, noTime: true, marks: found([]int{0, 2})}, with(func(r *sdk.Row) { r.Context = true }), ""},
		"color":                {look{color: true, noPrefix: true, fields: []string{"n"}, marks: found([]int{0, 0}, []int{1, 3}, []int{2, 4}, []int{4, 5})}, sample, "h\x1b[1;31mel\x1b[ml\x1b[1;31mo\x1b[m \x1b[2mn=1.50\x1b[m"},
		"no prefix, lines":     {look{noPrefix: true, fields: []string{}}, with(func(r *sdk.Row) { r.Message = "a\nb" }), "a\nb"},
		"prefix, lines":        {look{noTime: true, color: true, fields: []string{}, marks: found([]int{0, 3})}, with(func(r *sdk.Row) { r.Message = "a\nb" }), serviceColor("web") + "web\x1b[m warn: \x1b[1;31ma\n    b\x1b[m"},
		"escaped": {look{noTime: true, escape: true, fields: []string{"x"}}, with(func(r *sdk.Row) {
			r.Service = "w\x1b"
			r.Message = "\a"
			r.Fields = []sdk.Field{{Name: "x", Value: "\u202e"}}
		}), `w\x1b warn: \x07 x=\u202e`},
	} {
		var out bytes.Buffer
		if c.look.zone == nil {
			c.look.zone = time.UTC
		}
		if c.look.form == "" {
			c.look.form = formAuto
		}
		p := printer{look: c.look, out: &out}
		if err := p.row(&c.row); err != nil {
			t.Error(name, err)
		}
		if got := out.String(); got != c.want+"\n" && (c.want != "" || got != "" && got != "\n") {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, c.want)
		}
	}
}

// The columns stay where they are, and grow with the names.
func TestColumns(t *testing.T) {
	var out bytes.Buffer
	p := printer{look: look{form: formAuto, align: true, noTime: true, zone: time.UTC, fields: []string{}}, out: &out}
	for _, r := range []sdk.Event{
		{Service: "web", Level: "error", Message: "m"}, {Service: "größer", Level: "emergency", Message: "m"}, {Service: "web", Message: "m"},
		{Service: strings.Repeat("x", 30), Level: "notice", Message: "m"}, {Service: "web", Level: "critical", Message: "m"},
	} {
		if err := p.row(&sdk.Row{Event: r}); err != nil {
			t.Fatal(err)
		}
	}
	want := "web error:  m\ngrößer emerg:  m\nweb:           m\n" + strings.Repeat("x", 30) + " notice: m\nweb                      crit:   m\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestGroupsAreParted(t *testing.T) {
	for form, want := range map[string]string{formRaw: "a\nb\n--\nc\n", formJSON: "{}\n{}\n{}\n"} {
		var out bytes.Buffer
		p := printer{look: look{form: form, zone: time.UTC}, out: &out, context: true}
		for i, message := range []string{"a", "b", "c"} {
			if err := p.row(&sdk.Row{Event: sdk.Event{Message: message}, Group: 1 + i/2, JSON: "{}"}); err != nil {
				t.Fatal(err)
			}
		}
		if out.String() != want {
			t.Errorf("%s: %q", form, out.String())
		}
	}
}

func TestOldestFirst(t *testing.T) {
	at := func(second int, id string, group int) sdk.Row {
		return sdk.Row{Event: sdk.Event{ID: id, Time: time.Unix(int64(second), 0)}, Group: group}
	}
	for _, c := range []struct {
		rows []sdk.Row
		want string
	}{
		{[]sdk.Row{at(2, "3", 0), at(1, "10", 0), at(1, "9", 0)}, "9 10 3"},
		// Groups stay together though their times are mixed.
		{[]sdk.Row{at(4, "4", 1), at(2, "2", 1), at(3, "3", 2), at(1, "1", 2)}, "1 3 2 4"},
		{nil, ""},
	} {
		oldestFirst(c.rows)
		var got []string
		for _, r := range c.rows {
			got = append(got, r.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("got %v, want %s", got, c.want)
		}
	}
}

func TestHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "text": "text", "=1+1": "'=1+1", "+49": "+49", "-5.5e3": "-5.5e3", "-x": "'-x", "@x": "'@x", "\tx": "'\tx", "\rx": "'\rx", "a=b": "a=b",
	} {
		if got := harmless(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 345_678_901: "346 MB", 1 << 62: "4.6 EB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 matches", 1: "1 match", 2000: "2,000 matches"} {
		if got := counted(n, "match"); got != want {
			t.Error(got)
		}
	}
}

func TestNearest(t *testing.T) {
	names := []string{"payments", "payouts", "cart", "search-api", "Web"}
	for typed, want := range map[string]string{
		"paymnts": "payments", "payment": "payments", "apyments": "payments", "payuots": "payouts", "PAYMENTS": "payments", "web": "Web", "crat": "cart",
		"api": "search-api", "zzz": "", "": "", "x": "", "pay*mnts": "payments", "*search*": "search-api", "c": "",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: got %q, want %q", typed, got, want)
		}
	}
}

func TestLocal(t *testing.T) {
	for address, want := range map[string]bool{
		"http://localhost:7171": true, "http://127.0.0.1:7171/x": true, "https://[::1]": true, "http://127.9.9.9": true,
		"http://logs:7171": false, "http://localhost.evil.example": false, "http://10.0.0.1": false, "http://0.0.0.0:7171": false, "::": false, "": false,
	} {
		if got := local(address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
}

func TestTyped(t *testing.T) {
	for in, want := range map[string]string{
		"200": "200", "1.50": "1.50", "-0": "-0", "1e400": "1e400", "true": "true", "null": "null",
		"007": `"007"`, "a": `"a"`, "": `""`, "1 2": `"1 2"`, `"q"`: `"\"q\""`, "{}": `"{}"`, "[1]": `"[1]"`, "0x10": `"0x10"`, "+1": `"+1"`, "1,2": `"1,2"`,
	} {
		got, err := json.Marshal(typed(in))
		if err != nil || string(got) != want {
			t.Errorf("%q: %s %v", in, got, err)
		}
	}
}

func TestVersion(t *testing.T) {
	system := " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for _, c := range []struct {
		version string
		info    *debug.BuildInfo
		want    string
	}{
		{"", nil, "lookout (devel)"},
		{"1.2.3", &debug.BuildInfo{Main: debug.Module{Version: "v0.1"}}, "lookout 1.2.3"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "v0.1"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "true"}}}, "lookout v0.1 (0123456789ab, changed)"},
		{"", &debug.BuildInfo{Main: debug.Module{Version: "v0.1"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "false"}}}, "lookout v0.1 (0123)"},
	} {
		if got := versionText(c.version, c.info); got != c.want+system {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
