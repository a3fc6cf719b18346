package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// twoServers are two lookouts; lookout runs a command against one of them.
type twoServers struct {
	t   *testing.T
	env [2]map[string]string
}

func newTwoServers(t *testing.T) *twoServers {
	s := &twoServers{t: t}
	for i := range s.env {
		url, token, stop, err := startServer(filepath.Join(t.TempDir(), "data"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		s.env[i] = map[string]string{"LOOKOUT_URL": url, "LOOKOUT_TOKEN": token, "TZ": "UTC"}
	}
	return s
}

func (s *twoServers) lookout(server int, stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = run(s.t.Context(), args, strings.NewReader(stdin), &out, &errs, func(name string) (string, bool) { v, ok := s.env[server][name]; return v, ok })
	return code, out.String(), errs.String()
}

// must runs a command that must end well.
func (s *twoServers) must(server int, stdin string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	code, stdout, stderr := s.lookout(server, stdin, args...)
	if code != 0 {
		s.t.Fatalf("lookout %s: %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
	}
	return stdout, stderr
}

// all are the events of a server without what it gives itself.
func (s *twoServers) all(server int) []string {
	s.t.Helper()
	out, _ := s.must(server, "", "grep", "*", "--all", "--reports", "-o", "json")
	var list []string
	for line := range strings.Lines(out) {
		var e map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Fatal(err)
		}
		delete(e, "id")
		delete(e, "received")
		text := ""
		for _, name := range slices.Sorted(maps.Keys(e)) {
			text += name + "=" + string(e[name]) + " "
		}
		list = append(list, text)
	}
	return list
}

// odd are events that an import must not read in another way.
func odd() string {
	var b strings.Builder
	for i, rest := range []string{
		`"message":"plain"`,
		`"message":"two\nlines\tand <tags> & \"quotes\" \u0000 ü"`,
		`"message":"","service":"empty"`,
		`"message":"kinds","a":1,"b":1.50,"c":true,"d":false,"e":null,"f":"text","g":{},"h":[],"i":1e400,"j":12345678901234567890,"k":""`,
		`"message":"many","tag":["x",1,true,null,"y"],"nested":{"deep":{"er":[1,2]}}`,
		`"message":"levels","level":"notice","severity":"odd","lvl":"7"`,
		`"message":"names","msg":"m","log":"l","ts":"t","timestamp":"2001-01-01","hostname":"x","environment":"y","id":"mine","@timestamp":1`,
		`"message":"all","level":"emergency","service":"web","env":"prod","host":"h","container":"c","stream":"stderr","time_":"z","_":"u","":"no name"`,
		`"msg":"only msg","level":60`,
	} {
		fmt.Fprintf(&b, `{"time":"2026-11-20T10:00:%02d.123456789Z",%s}`+"\n", i, rest)
	}
	for i := range 25 { // of one time
		fmt.Fprintf(&b, `{"time":"2026-11-20T10:01:00Z","service":"same","level":"info","message":"number %d took %d ms"}`+"\n", i, i*7)
	}
	return b.String()
}

func TestExportImport(t *testing.T) {
	s := newTwoServers(t)
	s.must(0, odd(), "send", "--ndjson", "-")
	// Messages in which the server would find something, had they not been stored like this.
	s.must(0, `{"time":"2026-11-20T11:00:00Z","message":"{\"level\":\"error\",\"message\":\"{\\\"a\\\":1}\"}"}`+"\n", "send", "--ndjson", "-")
	want := s.all(0)
	if len(want) != 35 {
		t.Fatalf("%d events", len(want))
	}
	out, _ := s.must(0, "", "export", "*", "--all")
	dir := filepath.Join(t.TempDir(), "x")
	s.must(0, "", "export", "*", "--all", "--out", dir, "--part-events", "10")
	plain := filepath.Join(t.TempDir(), "plain.ndjson")
	if err := os.WriteFile(plain, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"import", plain}, {"import", plain}} {
		s.must(1, "", args...)
		got := s.all(1)
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("got  %s\nwant %s", got[i], want[i])
				}
			}
			t.Fatalf("%v: %d events where %d belong", args, len(got), len(want))
		}
	}
	// What was exported from what was imported is the same, and so is what the files hold.
	if again, _ := s.must(1, "", "export", "*", "--all"); again != out {
		t.Errorf("got\n%s\nwant\n%s", again, out)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "part-*.ndjson.zst")); err != nil || len(files) != 4 {
		t.Error(files, err)
	}
	third := newTwoServers(t)
	third.must(0, "", "import", dir)
	if got := third.all(0); !slices.Equal(got, want) {
		t.Errorf("%d events where %d belong", len(got), len(want))
	}
	third.must(1, out, "import", "--producer", "p", "-")
	third.must(1, out, "import", "--producer", "p", "-")
	if got := third.all(1); !slices.Equal(got, want) {
		t.Errorf("%d events where %d belong", len(got), len(want))
	}
}

// An export that ends anywhere goes on behind its last whole file, whatever came in meanwhile; together the files are what one run writes.
func TestResumedExport(t *testing.T) {
	s := newTwoServers(t)
	s.must(0, odd(), "send", "--ndjson", "-")
	for _, page := range []int{1, 3, 7, 100} {
		want, _ := s.must(0, "", "export", "*", "--all")
		dir := filepath.Join(t.TempDir(), "x")
		p := &program{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), env: func(name string) (string, bool) { v, ok := s.env[0][name]; return v, ok }, now: time.Now}
		runs := 0
		for done := false; !done; runs++ {
			if runs > 60 {
				t.Fatal("it does not come on")
			}
			e := &exporter{p: p, dir: dir, page: page, bar: p.progress("")}
			var err error
			if runs > 0 {
				e.st, err = readExport(dir)
			} else {
				e.st, err = p.newExport([]string{"*"}, &exportFlags{all: true, form: formNDJSON, compress: compressNone, part: 4}, dir)
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.c, err = p.client(); err != nil {
				t.Fatal(err)
			}
			if err := e.begin(t.Context(), runs > 0, nil); err != nil {
				t.Fatal(err)
			}
			more := true
			for k := 0; k <= runs && more; k++ { // then the process ends
				if more, err = e.ask(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if done = !more; done {
				if err := e.pages(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else if e.part != nil {
				e.part.disk.Close()
			}
			s.must(0, fmt.Sprintf(`{"time":"2026-11-20T10:00:00Z","service":"late","message":"late %d of %d"}`, runs, page), "send", "--ndjson", "-")
		}
		files, err := filepath.Glob(filepath.Join(dir, "part-*.ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got += string(data)
		}
		if got != want {
			t.Errorf("pages of %d:\n%s\nwant\n%s", page, got, want)
		}
		if st, err := readExport(dir); err != nil || !st.Done || st.Parts != len(files) || st.Events != int64(strings.Count(want, "\n")) {
			t.Errorf("%+v, %v", st, err)
		}
	}
}
