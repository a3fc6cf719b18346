package native

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/collector"
	"github.com/lookoutlog/lookout/internal/event"
	"github.com/lookoutlog/lookout/internal/timestamp"
)

// receipt is when the handlers of these tests receive everything.
var receipt = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// store is a sink that keeps what it gets, and drops what a counting producer sent before.
type store struct {
	mu     sync.Mutex
	events []event.Event
	sizes  []int    // of the batches
	firsts []uint64 // FirstSeq of the batches
	marks  map[string]uint64
	fail   func(call int) error // asked before each append
	calls  int
}

func (s *store) Append(_ context.Context, b *event.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return err
		}
	}
	s.sizes = append(s.sizes, len(b.Events))
	s.firsts = append(s.firsts, b.FirstSeq)
	for i := range b.Events {
		if b.Producer != "" {
			if n := b.FirstSeq + uint64(i); n <= s.marks[b.Producer] {
				continue
			} else if s.marks == nil {
				s.marks = map[string]uint64{b.Producer: n}
			} else {
				s.marks[b.Producer] = n
			}
		}
		s.events = append(s.events, b.Events[i].Clone())
	}
	return nil
}

func (s *store) messages() []string {
	var m []string
	for _, e := range s.events {
		m = append(m, string(e.Message))
	}
	return m
}

type discard struct{}

func (discard) Append(context.Context, *event.Batch) error { return nil }

type pressure struct {
	after time.Duration
	full  bool
}

func (p pressure) Error() string             { return "later" }
func (p pressure) RetryAfter() time.Duration { return p.after }
func (p pressure) Full() bool                { return p.full }

// reply is an answer, decoded.
type reply struct {
	Status int
	Header http.Header
	Error  struct{ Code, Message, Mend string }
	counts
}

type counts struct {
	Accepted, Rejected int64
	Errors             []struct {
		Line    int64
		Message string
	}
}

// post sends body to h; headers come in pairs.
func post(t testing.TB, h http.Handler, body io.Reader, headers ...string) reply {
	t.Helper()
	r := httptest.NewRequest("POST", "/api/v1/events", body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	a := reply{Status: rec.Code, Header: rec.Header()}
	if err := json.Unmarshal(rec.Body.Bytes(), &struct {
		*counts
		Error any
	}{&a.counts, &a.Error}); err != nil {
		t.Fatalf("answer %s: %v", rec.Body, err)
	}
	if a.Errors == nil {
		t.Fatalf("answer without errors: %s", rec.Body)
	}
	if (a.Status == 200) != (a.Error.Code == "") || a.Status != 200 && (a.Error.Message == "" || a.Error.Mend == "") {
		t.Fatalf("status %d with %s", a.Status, rec.Body)
	}
	return a
}

func handler(o Options) (*Handler, *store) {
	s := &store{}
	if o.Sink == nil {
		o.Sink = s
	}
	o.Now = func() time.Time { return receipt }
	return New(o), s
}

// show prints an event as the tables write it.
func show(e *event.Event) string {
	var b strings.Builder
	if e.Time != receipt.UnixNano() {
		b.WriteString(time.Unix(0, e.Time).UTC().Format("2006-01-02T15:04:05.999999999Z "))
	}
	if e.Level != event.None {
		fmt.Fprintf(&b, "%s ", e.Level)
	}
	for i, p := range [][]byte{e.Service, e.Env, e.Host, e.Container, e.Stream} {
		if len(p) > 0 {
			fmt.Fprintf(&b, "%s:%s ", [...]string{"service", "env", "host", "container", "stream"}[i], p)
		}
	}
	fmt.Fprintf(&b, "%q", e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, " %s=%s%q", f.Name, [...]string{"", "n", "b", "0", "j"}[f.Kind], f.Value)
	}
	return b.String()
}

func TestEvents(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`{"time":"2026-11-20T10:11:12.123456789Z","service":"api","env":"prod","host":"n1","container":"c1","stream":"stdout","level":"error","message":"m","a":1}`,
			`2026-11-20T10:11:12.123456789Z error service:api env:prod host:n1 container:c1 stream:stdout "m" a=n"1"`},
		// aliases: the first of the list wins wherever it stands, the others stay what they are
		{`{"msg":"m"}`, `"m"`},
		{`{"log":"m"}`, `"m"`},
		{`{"log":"c","msg":"b","message":"a"}`, `"a" log="c" msg="b"`},
		{`{"log":"c","msg":"b"}`, `"b" log="c"`},
		{`{"severity":"warn","message":"m"}`, `warning "m"`},
		{`{"lvl":"warn","severity":"error","level":"info","message":"m"}`, `info "m" lvl="warn" severity="error"`},
		{`{"timestamp":"2026-11-20T10:11:12Z","message":"m"}`, `2026-11-20T10:11:12Z "m"`},
		{`{"@timestamp":"2026-11-20T10:11:12Z","message":"m"}`, `2026-11-20T10:11:12Z "m"`},
		{`{"@timestamp":"2026-11-20T10:11:12Z","ts":1795235739,"message":"m"}`, `2026-11-21T04:35:39Z "m" @timestamp="2026-11-20T10:11:12Z"`},
		{`{"environment":"prod","hostname":"n1","message":"m"}`, `env:prod host:n1 "m"`},
		{`{"environment":"a","env":"b","hostname":"c","host":"d","message":"m"}`, `env:b host:d "m" environment="a" hostname="c"`},
		// null and empty are as not there
		{`{"message":null,"msg":"m"}`, `"m"`},
		{`{"message":"","msg":"m","service":"","level":null,"time":null,"x":null,"y":""}`, `"m" x=0"null" y=""`},
		{`{"msg":"","log":"m"}`, `"m" msg=""`},
		{`{"level":"","severity":"error","message":"m"}`, `error "m"`},
		// what collides gets an underscore
		{`{"message":"a","message":"b"}`, `"a" message_="b"`},
		{`{"message":["a","b"],"a":{"message":"c"}}`, `"a" message_="b" a.message="c"`},
		{`{"service":{},"message":"m"}`, `"m" service_=j"{}"`},
		{`{"service":{"name":"x"},"message":"m"}`, `"m" service.name="x"`},
		{`{"id":7,"message":"m"}`, `"m" id_=n"7"`},
		{`{"id":null,"message":"m"}`, `"m" id_=0"null"`},
		{`{"time":"2026-11-20T10:11:12Z","time":1,"level":"info","level":"error","host":["a","b"],"env":["a","b"],"container":["a","b"],"stream":["a","b"],"service":["a","b"]}`,
			`2026-11-20T10:11:12Z info service:a env:a host:a container:a stream:a "" time_=n"1" level_="error" host_="b" env_="b" container_="b" stream_="b" service_="b"`},
		// other kinds of values
		{`{"message":42,"service":true,"host":1.5}`, `service:true host:1.5 "42"`},
		{`{"a":{"b":[1,{"c":null}]},"d":{},"message":"m"}`, `"m" a.b=n"1" a.b.c=0"null" d=j"{}"`},
		{`{"a":1}`, `"" a=n"1"`},
		// levels
		{`{"level":"ERROR","message":"m"}`, `error "m"`},
		{`{"level":" Err ","message":"m"}`, `error "m"`},
		{`{"level":"trace","message":"m"}`, `debug "m" level_text="trace"`},
		{`{"level":"FATAL","message":"m"}`, `critical "m" level_text="FATAL"`},
		{`{"level":"panic","message":"m"}`, `emergency "m" level_text="panic"`},
		{`{"level":"informational","message":"m"}`, `info "m"`},
		{`{"level":"audit","message":"m"}`, `"m" level_text="audit"`},
		{`{"level":"audit","severity":"error","lvl":3,"message":"m"}`, `error "m" level_text="audit" lvl=n"3"`},
		{`{"level":0,"message":"m"}`, `emergency "m"`},
		{`{"level":"7","message":"m"}`, `debug "m"`},
		{`{"level":8,"message":"m"}`, `"m" level_text=n"8"`},
		{`{"level":10,"message":"m"}`, `debug "m" level_text=n"10"`},
		{`{"level":20,"message":"m"}`, `debug "m"`},
		{`{"level":30,"message":"m"}`, `info "m"`},
		{`{"level":"40","message":"m"}`, `warning "m"`},
		{`{"level":50,"message":"m"}`, `error "m"`},
		{`{"level":60,"message":"m"}`, `critical "m" level_text=n"60"`},
		{`{"level":70,"message":"m"}`, `"m" level_text=n"70"`},
		{`{"level":35,"message":"m"}`, `"m" level_text=n"35"`},
		{`{"level":-1,"message":"m"}`, `"m" level_text=n"-1"`},
		{`{"level":1e1,"message":"m"}`, `"m" level_text=n"1e1"`},
		{`{"level":{"a":1},"message":"m"}`, `"m" level.a=n"1"`},
		{`{"level":true,"message":"m"}`, `"m" level_text=b"true"`},
		// times that are none: RELIABILITY, bad input 6
		{`{"time":0,"message":"m"}`, `"m" time_text=n"0"`},
		{`{"time":-1,"message":"m"}`, `"m" time_text=n"-1"`},
		{`{"time":9999,"message":"m"}`, `"m" time_text=n"9999"`},
		{`{"time":"9999-12-31T23:59:59Z","message":"m"}`, `"m" time_text="9999-12-31T23:59:59Z"`},
		{`{"time":1e400,"message":"m"}`, `"m" time_text=n"1e400"`},
		{`{"time":-1e400,"message":"m"}`, `"m" time_text=n"-1e400"`},
		{`{"time":"Infinity","message":"m"}`, `"m" time_text="Infinity"`},
		{`{"time":"0001-01-01T00:00:00Z","message":"m"}`, `"m" time_text="0001-01-01T00:00:00Z"`},
		{`{"time":"yesterday","message":"m"}`, `"m" time_text="yesterday"`},
		{`{"time":true,"message":"m"}`, `"m" time_text=b"true"`},
		{`{"time":"x","ts":1795235739.5,"timestamp":0,"message":"m"}`, `2026-11-21T04:35:39.5Z "m" time_text="x" time_text=n"0"`},
		{`{"ts":"x","message":"m"}`, `"m" time_text="x"`},
		// bytes: bad input 3, 9
		{`{"message":"a\u0000b\ud800\r\n2026-11-20T10:11:12Z ${jndi:x} {{.}} %s"}`, `"a\x00b�\r\n2026-11-20T10:11:12Z ${jndi:x} {{.}} %s"`},
		{"{\"message\":\"a\xff\x01b\rc\"}\r", `"a\xff\x01b\rc"`},
		{"\ufeff {\"message\":\"m\"} \t", `"m"`},
	} {
		h, s := handler(Options{})
		a := post(t, h, strings.NewReader(c.line))
		if a.Status != 200 || a.Accepted != 1 || len(s.events) != 1 {
			t.Errorf("%s: %+v", c.line, a)
			continue
		}
		if got := show(&s.events[0]); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.line, got, c.want)
		}
	}
}

// What an answer says, and what was stored.
func TestAnswers(t *testing.T) {
	const ok = `{"message":"ok"}` + "\n"
	for _, c := range []struct {
		name, body string
		status     int
		stored     string
		errors     string // line: message
	}{
		{"nothing", "", 200, "", ""},
		{"blank", " \n\r\n\t\n", 200, "", ""},
		{"lines", ok + ok, 200, "ok ok", ""},
		{"no newline at the end", ok + `{"message":"end"}`, 200, "ok end", ""},
		{"CRLF and blank lines", "\r\n{\"message\":\"a\"}\r\n\r\n \n{\"message\":\"b\"}\r\n", 200, "a b", ""},
		{"a bad line", ok + "\n" + `{"msg":"a","level"}` + "\n" + ok, 200, "ok ok", "3: at byte 18: expected ':' after a key, found '}'"},
		{"NaN", `{"a":NaN}` + "\n" + ok, 200, "ok", "1: at byte 5: expected a value, found NaN"},
		{"nothing usable", "hello\nworld", 400, "", "1: at byte 0: expected '{', found hello; 2: at byte 0: expected '{', found world"},
		{"a scalar", "42", 400, "", "1: at byte 0: expected '{', found '4'"},
		{"an empty object", "{}\n" + ok, 200, "ok", "1: an object without fields"},
		{"two on a line", `{"a":1} {"b":2}` + "\n" + ok, 200, "ok",
			"1: at byte 8: something follows the object; one event a line (curl keeps the lines with --data-binary, not with -d)"},
		{"cut", ok + `{"message":"o`, 200, "ok", "2: at byte 11: a string without its closing quote"},
		{"an object over lines", "{\n\"message\":\"a\"\n}", 400, "",
			"1: at byte 1: expected a key in quotes, found the end; 2: at byte 0: expected '{', found '\"'; 3: at byte 0: expected '{', found '}'"},
		{"an array", `[{"message":"a"},{"message":"b"}]`, 200, "a b", ""},
		{"an array over lines", "\ufeff\n[\n  {\n\"message\":\"a,]}\\\"\"\n},\n {\"message\":\"b\", \"x\":[[1],{\"y\":\"]\"}]}\n]\n\n", 200, `a,]}" b`, ""},
		{"an empty array", "[ ]", 200, "", ""},
		{"a comma too many", `[{"message":"a"} , ]`, 200, "a", ""},
		{"arrays and lines", `[{"message":"a"}] [{"message":"b"}]` + "\n" + ok + `[{"message":"c"}]`, 200, "a b ok c", ""},
		{"bad elements", "[{\"message\":\"a\"},\n1, \"x,y\",\n{\"b\":}\n,[{\"c\":1}],{\"message\":\"d\"}}, {\"message\":\"e\"}]\nx\n" + ok, 200, "a e ok",
			"2: element 2: at byte 0: expected '{', found '1'; 2: element 3: at byte 0: expected '{', found '\"'; " +
				"3: element 4: at byte 5: expected a value, found '}'; 4: element 5: at byte 0: expected '{', found '['; " +
				"4: element 6: at byte 15: something follows the object; one event a line (curl keeps the lines with --data-binary, not with -d); " +
				"5: at byte 0: expected '{', found 'x'"},
		{"an array without its end", `[{"message":"a"},{"message":"b"}`, 200, "a b", ""},
		{"an array that was cut", `[{"message":"a"},{"message":"b`, 200, "a", "1: element 2: at byte 11: a string without its closing quote"},
		{"brackets the wrong way", `[{"a":[1}],{"message":"b"}]`, 200, "b", "1: element 1: at byte 7: expected ',' or ']' after a value, found '}'"},
	} {
		for _, read := range []struct {
			how string
			f   func(io.Reader) io.Reader
		}{
			{"at once", func(r io.Reader) io.Reader { return r }},
			{"byte by byte", iotest.OneByteReader},
			{"with the end", iotest.DataErrReader},
		} {
			h, s := handler(Options{})
			a := post(t, h, read.f(strings.NewReader(c.body)))
			var e []string
			for _, x := range a.Errors {
				e = append(e, fmt.Sprintf("%d: %s", x.Line, x.Message))
			}
			if got := strings.Join(s.messages(), " "); a.Status != c.status || got != c.stored || a.Accepted != int64(len(s.events)) {
				t.Errorf("%s, %s: status %d, stored %q, %+v", c.name, read.how, a.Status, got, a)
			}
			if got := strings.Join(e, "; "); got != c.errors || a.Rejected != int64(len(e)) {
				t.Errorf("%s, %s: errors\n got %s\nwant %s", c.name, read.how, got, c.errors)
			}
		}
	}
}

func TestErrorsAreListedUpToTwenty(t *testing.T) {
	h, s := handler(Options{})
	a := post(t, h, strings.NewReader(strings.Repeat("x\n", 50)+`{"message":"m"}`+strings.Repeat("\n{}", 50)))
	if a.Status != 200 || a.Rejected != 100 || len(a.Errors) != 20 || a.Errors[19].Line != 20 || len(s.events) != 1 {
		t.Errorf("%+v", a)
	}
	if got := h.Stats(); got.RejectedJSON != 50 || got.RejectedEmpty != 50 || got.Accepted != 1 || got.Requests != 1 || got.Bytes != 100+15+150 {
		t.Errorf("%+v", got)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers []string
		status  int
		code    string
		says    string
	}{
		{"a producer that does not count", []string{"Lookout-Producer", "p"}, 400, "bad_header", "Lookout-First-Sequence"},
		{"a count of nobody", []string{"Lookout-First-Sequence", "1"}, 400, "bad_header", "Lookout-Producer"},
		{"a count of 0", []string{"Lookout-Producer", "p", "Lookout-First-Sequence", "0"}, 400, "bad_header", `is "0"`},
		{"a negative count", []string{"Lookout-Producer", "p", "Lookout-First-Sequence", "-5"}, 400, "bad_header", `is "-5"`},
		{"no number", []string{"Lookout-Producer", "p", "Lookout-First-Sequence", "one"}, 400, "bad_header", `is "one"`},
		{"a count that would run over", []string{"Lookout-Producer", "p", "Lookout-First-Sequence", "18446744073709551615"}, 400, "bad_header", "is "},
		{"a long producer", []string{"Lookout-Producer", strings.Repeat("p", 257), "Lookout-First-Sequence", "1"}, 400, "bad_header", "257 bytes"},
		{"a long service", []string{"Lookout-Service", strings.Repeat("s", 513)}, 400, "bad_header", "513 bytes"},
		{"brotli", []string{"Content-Encoding", "br"}, 415, "unsupported_encoding", `"br"`},
		{"twice encoded", []string{"Content-Encoding", "gzip, gzip"}, 415, "unsupported_encoding", `"gzip, gzip"`},
		{"not gzip", []string{"Content-Encoding", "gzip"}, 400, "bad_body", "gzip"},
		{"not zlib", []string{"Content-Encoding", "deflate"}, 400, "bad_body", "zlib"},
		{"not zstd", []string{"Content-Encoding", "zstd"}, 400, "bad_body", "behind byte 0"},
	} {
		h, s := handler(Options{})
		a := post(t, h, strings.NewReader(`{"message":"m"}`), c.headers...)
		if a.Status != c.status || a.Error.Code != c.code || !strings.Contains(a.Error.Message, c.says) || len(s.events) != 0 {
			t.Errorf("%s: %d %+v, %d stored", c.name, a.Status, a.Error, len(s.events))
		}
		if h.Stats().Invalid != 1 {
			t.Errorf("%s: %+v", c.name, h.Stats())
		}
	}
	h, _ := handler(Options{})
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/api/v1/events", nil))
	if rec.Code != 405 || rec.Header().Get("Allow") != "POST" || !json.Valid(rec.Body.Bytes()) {
		t.Errorf("GET: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
}

func TestService(t *testing.T) {
	h, s := handler(Options{})
	post(t, h, strings.NewReader(`{"message":"a"}`+"\n"+`{"service":"","message":"b"}`+"\n"+`{"service":"own","message":"c"}`), "Lookout-Service", "api")
	post(t, h, strings.NewReader(`{"message":"d"}`))
	var got []string
	for _, e := range s.events {
		got = append(got, string(e.Service))
	}
	if want := []string{"api", "api", "own", ""}; !slices.Equal(got, want) {
		t.Errorf("services %q, want %q", got, want)
	}
}

func compress(t testing.TB, encoding string, body []byte) []byte {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip", "x-gzip", "GZIP":
		w = gzip.NewWriter(&buf)
	case "deflate":
		w = zlib.NewWriter(&buf)
	case "zstd":
		z, err := zstd.NewWriter(&buf)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return body
	}
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestEncodings(t *testing.T) {
	lines, err := os.ReadFile("testdata/lines.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 256<<10)
	for _, encoding := range []string{"identity", "gzip", "x-gzip", "GZIP", "deflate", "zstd"} {
		h, s := handler(Options{MaxBody: 256 << 10})
		// Twice: the second time the decoder is used again.
		for range 2 {
			if a := post(t, h, bytes.NewReader(compress(t, encoding, lines)), "Content-Encoding", encoding); a.Status != 200 || a.Accepted != 200 || a.Rejected != 0 {
				t.Errorf("%s: %+v", encoding, a)
			}
		}
		if len(s.events) != 400 || s.events[0].Time != s.events[200].Time {
			t.Errorf("%s: %d events", encoding, len(s.events))
		}
		if encoding == "identity" {
			continue
		}
		if a := post(t, h, strings.NewReader(""), "Content-Encoding", encoding); a.Status != 200 || a.Accepted != 0 {
			t.Errorf("%s, no body: %+v", encoding, a)
		}
		// Cut: what came whole is kept, the rest is asked for.
		whole := compress(t, encoding, lines)
		a := post(t, h, bytes.NewReader(whole[:len(whole)/2]), "Content-Encoding", encoding)
		if a.Status != 400 || a.Error.Code != "bad_body" || a.Accepted >= 200 || a.Rejected != 0 {
			t.Errorf("%s, cut: %+v", encoding, a)
		}
		// A bomb: bad input 1. More than the limit of zeros behind a line.
		var bomb bytes.Buffer
		bomb.WriteString(`{"message":"first"}` + "\n")
		for range 5 {
			bomb.Write(zeros)
		}
		small := compress(t, encoding, bomb.Bytes())
		before := h.Stats().Bytes
		a = post(t, h, bytes.NewReader(small), "Content-Encoding", encoding)
		if a.Status != 413 || a.Error.Code != "too_large" || a.Rejected != 0 {
			t.Errorf("%s, bomb of %d bytes: %+v", encoding, len(small), a)
		}
		if n := h.Stats().Bytes - before; n > 512<<10 {
			t.Errorf("%s: %d bytes of a bomb were decoded", encoding, n)
		}
		if n := h.held.Load(); n != 0 {
			t.Errorf("%s: %d bytes are still held", encoding, n)
		}
	}
}

// Empty blocks decode to nothing for ever: what is compressed has a limit too.
func TestEmptyBlocks(t *testing.T) {
	h, _ := handler(Options{MaxBody: 64 << 10})
	empty := compress(t, "gzip", nil)
	body := bytes.Repeat(empty, 70<<10/len(empty))
	if a := post(t, h, io.MultiReader(bytes.NewReader(body)), "Content-Encoding", "gzip"); a.Status != 413 {
		t.Errorf("%d bytes of nothing: %+v", len(body), a)
	}
}

func TestZstdWindow(t *testing.T) {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf, zstd.WithWindowSize(32<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // written in pieces, so that the frame declares its window
		if _, err := w.Write([]byte(strings.Repeat(`{"message":"m"}`+"\n", 1<<16))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	h, _ := handler(Options{})
	if a := post(t, h, &buf, "Content-Encoding", "zstd"); a.Status != 400 || !strings.Contains(a.Error.Mend, "8 MiB") {
		t.Errorf("a window of 32 MiB: %+v", a)
	}
}

// A request that finds all zstd decoders taken waits a little and is then asked to come again.
func TestZstdDecodersAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := handler(Options{})
		n := cap(h.zstds)
		var taken []*zstd.Decoder
		for range n {
			taken = append(taken, <-h.zstds)
		}
		body := compress(t, "zstd", []byte(`{"message":"m"}`))
		start := time.Now()
		a := post(t, h, bytes.NewReader(body), "Content-Encoding", "zstd")
		if a.Status != 429 || a.Header.Get("Retry-After") != "1" || time.Since(start) != zstdWait {
			t.Errorf("%+v after %v", a, time.Since(start))
		}
		go func() { h.zstds <- taken[0] }()
		if a := post(t, h, bytes.NewReader(body), "Content-Encoding", "zstd"); a.Status != 200 {
			t.Errorf("with one free: %+v", a)
		}
		if len(h.zstds) != 1 {
			t.Errorf("%d decoders free after it, want 1", len(h.zstds))
		}
	})
}

func TestBodyLimit(t *testing.T) {
	line := `{"message":"` + strings.Repeat("m", 1000-15) + `"}` + "\n"
	h, s := handler(Options{MaxBody: 10_000})
	if a := post(t, h, strings.NewReader(strings.Repeat(line, 10))); a.Status != 200 || a.Accepted != 10 {
		t.Errorf("as much as may be: %+v", a)
	}
	if a := post(t, h, strings.NewReader(strings.Repeat(line, 11))); a.Status != 413 || a.Accepted != 0 || len(s.events) != 10 {
		t.Errorf("more, as Content-Length says: %+v, %d stored", a, len(s.events))
	}
	// Without a length what came before is stored, and said.
	a := post(t, h, io.MultiReader(strings.NewReader(strings.Repeat(line, 11))))
	if a.Status != 413 || a.Accepted != 10 || len(s.events) != 20 {
		t.Errorf("more, chunked: %+v, %d stored", a, len(s.events))
	}
	if h.Stats().TooLarge != 2 {
		t.Errorf("%+v", h.Stats())
	}
}

// Bad input 4 and others of one line that is too much.
func TestLongLines(t *testing.T) {
	message := func(n int) string { return `{"message":"` + strings.Repeat("m", n) + `"}` }
	h, s := handler(Options{})
	longest := message(MaxLine - len(message(0)))
	a := post(t, h, strings.NewReader("{\"message\":\"a\"}\n"+message(9<<20)+"\n\n{\"message\":\"b\"}\n"+longest+"\n"+longest+" \r\n"+message(MaxLine)))
	if a.Status != 200 || a.Accepted != 3 || a.Rejected != 3 || fmt.Sprint(a.Errors) != "[{2 longer than 4 MiB} {6 longer than 4 MiB} {7 longer than 4 MiB}]" {
		t.Errorf("%d accepted, %d rejected, %v", a.Accepted, a.Rejected, a.Errors)
	}
	if m := s.events[2].Message; len(m) != event.MaxMessage || !bytes.HasSuffix(m, []byte(event.TruncationMark)) {
		t.Errorf("message of %d bytes", len(m))
	}
	if w := h.idle[0]; cap(w.buf) > usualBuffer || cap(w.batch.Events) > 0 {
		t.Errorf("the worker keeps a buffer of %d bytes and %d events", cap(w.buf), cap(w.batch.Events))
	}
	if a := post(t, h, strings.NewReader("{\"message\":\"a\"}\n"+`{"a":1`+strings.Repeat(`,"a":1`, maxFields)+`}`)); a.Accepted != 1 || a.Rejected != 1 {
		t.Errorf("afterwards: %+v", a)
	}
	if h.Stats().RejectedLong != 3 {
		t.Errorf("%+v", h.Stats())
	}

	// In an array.
	h, _ = handler(Options{})
	a = post(t, h, strings.NewReader("[\n{\"message\":\"a\"},\n"+message(5<<20)+",\n{\"message\":\"b\"},"+message(5<<20)+"]\n{\"message\":\"c\"}"))
	if a.Accepted != 3 || fmt.Sprint(a.Errors) != "[{3 element 2: longer than 4 MiB} {4 element 4: longer than 4 MiB}]" {
		t.Errorf("array: %+v", a)
	}

	// Ends where the buffer ends.
	h, _ = handler(Options{})
	exact := message(MaxLine + 1 - len(message(0)))
	if a = post(t, h, strings.NewReader(exact)); fmt.Sprint(a.Errors) != "[{1 longer than 4 MiB}]" {
		t.Errorf("exact: %+v", a)
	}
	if a = post(t, h, strings.NewReader("["+exact)); fmt.Sprint(a.Errors) != "[{1 element 1: longer than 4 MiB}]" {
		t.Errorf("exact, in an array: %+v", a)
	}

	// White space is no line, however long.
	h, _ = handler(Options{})
	a = post(t, h, strings.NewReader(strings.Repeat(" ", 5<<20)+`{"message":"a"}`+strings.Repeat("\n", 5<<20)))
	if a.Accepted != 1 || a.Rejected != 0 {
		t.Errorf("white space: %+v", a)
	}

	// Very many fields; a long name; deep nesting: bad input 3.
	many := `{"a":1` + strings.Repeat(`,"a":1`, maxFields) + `}`
	deep := `{"message":"deep","a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`
	wide := `{"message":"wide","` + strings.Repeat("n", 1000) + `":{"a":1` + strings.Repeat(`,"a":1`, 60_000) + `}}`
	h, s = handler(Options{})
	a = post(t, h, strings.NewReader(many+"\n"+deep+"\n"+wide+"\n"+`{"message":"m","service":"`+strings.Repeat("s", 1000)+`"}`))
	if a.Accepted != 3 || a.Rejected != 1 || !strings.HasSuffix(a.Errors[0].Message, "more than 65536 fields") {
		t.Errorf("odd lines: %+v", a)
	}
	for _, e := range s.events {
		if n := event.EncodedSize(&e); n > event.MaxEncoded {
			t.Errorf("%s: an event of %d bytes", e.Message, n)
		}
	}
	if len(s.events[2].Service) != event.MaxName {
		t.Errorf("service of %d bytes", len(s.events[2].Service))
	}
}

// Whatever the memory and however the body is cut, the events are the same, in order, in batches within their bounds.
func TestBatches(t *testing.T) {
	var body bytes.Buffer
	const n = 12_000
	for i := range n {
		fmt.Fprintf(&body, "{\"message\":\"line\\t%d\",\"n\":%d,\"pad\":\"%0*d\"}\n", i, i, i%300, 0)
		if i%1000 == 500 {
			body.WriteString("x\n")
		}
	}
	for _, c := range []struct {
		name   string
		memory int64
		body   func() io.Reader
	}{
		{"at once", 0, func() io.Reader { return bytes.NewReader(body.Bytes()) }},
		{"in halves", 0, func() io.Reader { return iotest.HalfReader(bytes.NewReader(body.Bytes())) }},
		{"without memory", 1, func() io.Reader { return bytes.NewReader(body.Bytes()) }},
		{"with some memory", 300 << 10, func() io.Reader { return iotest.DataErrReader(bytes.NewReader(body.Bytes())) }},
	} {
		h, s := handler(Options{Memory: c.memory})
		for range 2 { // the second time with a used worker
			s.events, s.sizes = s.events[:0], nil
			a := post(t, h, c.body())
			if a.Status != 200 || a.Accepted != n || a.Rejected != n/1000 || a.Errors[1].Line != 1503 {
				t.Fatalf("%s: %+v", c.name, a)
			}
			for i, e := range s.events {
				if string(e.Message) != fmt.Sprintf("line\t%d", i) || string(e.Field("n").Value) != fmt.Sprint(i) {
					t.Fatalf("%s: event %d is %s", c.name, i, show(&e))
				}
			}
			if slices.Max(s.sizes) > batchEvents || c.memory == 0 && len(s.sizes) > 10 {
				t.Errorf("%s: batches of %d", c.name, s.sizes)
			}
			if h.held.Load() != 0 {
				t.Fatalf("%s: %d bytes are still held", c.name, h.held.Load())
			}
		}
	}
	// A line that finds no room.
	h, s := handler(Options{Memory: 1})
	a := post(t, h, strings.NewReader("{\"message\":\"a\"}\nx\n{\"message\":\""+strings.Repeat("b", 2*firstBuffer)+"\"}"))
	if a.Status != 429 || a.Accepted != 1 || a.Rejected != 1 || a.Header.Get("Retry-After") != "1" || len(s.events) != 1 {
		t.Errorf("no room: %+v", a)
	}
}

// A handler asks whether something is more urgent before it begins a body, and again after each piece of it.
func TestGivingWay(t *testing.T) {
	var asked []int // how many events the store had
	var s *store
	h, s := handler(Options{Memory: 1, GiveWay: func() { asked = append(asked, len(s.events)) }})
	post(t, h, strings.NewReader(`{"message":"one"}`))
	if !slices.Equal(asked, []int{0}) {
		t.Errorf("asked when the store had %v events, of one", asked)
	}
	asked = nil
	const n = 20_000
	if a := post(t, h, strings.NewReader(strings.Repeat("{\"message\":\"one of many\"}\n", n))); a.Accepted != n {
		t.Fatalf("%+v", a)
	}
	if len(asked) < n/pieceEvents {
		t.Errorf("asked %d times for %d events", len(asked), n)
	}
}

// A batch is bounded in all it needs memory for.
func TestBatchBounds(t *testing.T) {
	escaped := `{"message":"` + strings.Repeat(`\t`, 500) + `"}` + "\n"
	many := `{"":1` + strings.Repeat(`,"":1`, 9_999) + "}\n"
	names := `{"` + strings.Repeat("n", 500) + `":{"a":1` + strings.Repeat(`,"a":1`, 120) + `}`
	for _, c := range []struct {
		name, body  string
		most, least int // batches
	}{
		{"events", strings.Repeat("{\"a\":1}\n", 3*batchEvents), 4, 3},
		{"text", strings.Repeat(escaped, 6000), 5, 3},
		{"a long service", strings.Repeat("{\"a\":1}\n", 2*batchEvents), 6, 4},
		{"fields", strings.Repeat(many, 30), 6, 4},
		{"names", strings.Repeat(names+"}\n", 200), 8, 5},
		{"names of bad lines", strings.Repeat(names+"]\n", 200) + "{\"message\":\"m\"}", 1, 1},
	} {
		h, s := handler(Options{})
		w := h.worker()
		if c.name == "a long service" {
			w.client.service = bytes.Repeat([]byte("s"), event.MaxName)
		}
		s.fail = func(int) error {
			size, fields := 0, 0
			for i := range w.batch.Events {
				size += event.EncodedSize(&w.batch.Events[i])
				fields += len(w.batch.Events[i].Fields)
			}
			// One line more than the bound.
			if n := len(w.batch.Events); n > batchEvents || size > batchBytes+64<<10 || fields >= batchFields+10_000 || w.decoder.Size() > batchBytes+64<<10 {
				t.Errorf("%s: a batch of %d events, %d bytes, %d fields, %d bytes of text", c.name, n, size, fields, w.decoder.Size())
			}
			return nil
		}
		if f := w.run(t.Context(), &body{Reader: strings.NewReader(c.body)}); f != nil {
			t.Errorf("%s: %+v", c.name, f)
		}
		if n := len(s.sizes); n > c.most || n < c.least {
			t.Errorf("%s: %d batches, want %d to %d", c.name, n, c.least, c.most)
		}
	}
}

func TestPressure(t *testing.T) {
	line := `{"message":"m","pad":"` + strings.Repeat("p", 500) + `"}` + "\n"
	body := strings.Repeat("x\n"+line, 3*batchEvents)
	for _, c := range []struct {
		err    error
		status int
		code   string
		retry  string
	}{
		{pressure{after: 1500 * time.Millisecond}, 429, "overloaded", "2"},
		{pressure{}, 429, "overloaded", "1"},
		{fmt.Errorf("wrapped: %w", pressure{after: 30 * time.Second, full: true}), 503, "disk_full", "30"},
		{errors.New("broken"), 500, "not_stored", ""},
	} {
		h, s := handler(Options{})
		s.fail = func(call int) error {
			if call == 3 {
				return c.err
			}
			return nil
		}
		a := post(t, h, strings.NewReader(body))
		if a.Status != c.status || a.Error.Code != c.code || a.Header.Get("Retry-After") != c.retry {
			t.Errorf("%v: %+v", c.err, a)
		}
		// What is dealt with is the body's beginning: one bad and one good line in turn.
		if a.Accepted != int64(len(s.events)) || a.Accepted == 0 || a.Rejected != a.Accepted && a.Rejected != a.Accepted+1 {
			t.Errorf("%v: %d accepted, %d rejected, %d stored", c.err, a.Accepted, a.Rejected, len(s.events))
		}
		if st := h.Stats(); st.Accepted != a.Accepted || st.Pressure+st.Full+st.Failed != 1 {
			t.Errorf("%v: %+v", c.err, st)
		}
		if a := post(t, h, strings.NewReader(line)); a.Status != 200 {
			t.Errorf("%v, afterwards: %+v", c.err, a)
		}
	}
}

// Of a body that is many batches in the buffer, those before the failure count.
func TestPressureWithinTheBuffer(t *testing.T) {
	h, s := handler(Options{})
	s.fail = func(call int) error {
		if call == 3 {
			return pressure{}
		}
		return nil
	}
	a := post(t, h, strings.NewReader(strings.Repeat("{\"a\":1}\n", 3*batchEvents)))
	if a.Status != 429 || a.Accepted != 2*batchEvents || len(s.events) != 2*batchEvents {
		t.Errorf("%+v, %d stored", a, len(s.events))
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	h, s := handler(Options{})
	s.fail = func(int) error {
		cancel()
		return ctx.Err()
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(ctx, "POST", "/", strings.NewReader(`{"message":"m"}`)))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), `"code":"cancelled"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestSlowSender(t *testing.T) {
	h, s := handler(Options{})
	body := io.MultiReader(strings.NewReader("{\"message\":\"a\"}\n{\"mess"), iotest.ErrReader(os.ErrDeadlineExceeded))
	if a := post(t, h, body); a.Status != 408 || a.Accepted != 1 || a.Rejected != 0 || len(s.events) != 1 {
		t.Errorf("%+v", a)
	}
	if a := post(t, h, io.MultiReader(strings.NewReader("{\"message\":\"a\"}\n{\"mess"), iotest.ErrReader(io.ErrUnexpectedEOF))); a.Status != 400 || a.Accepted != 1 || a.Error.Code != "bad_body" {
		t.Errorf("%+v", a)
	}
	if a := post(t, h, stuck{}); a.Status != 400 || a.Error.Code != "bad_body" {
		t.Errorf("%+v", a)
	}
}

// stuck is a reader that never reads anything.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// A rejected line takes its number, so that the ones behind it keep theirs.
func TestProducerCountsRejectedLines(t *testing.T) {
	h, s := handler(Options{})
	a := post(t, h, strings.NewReader("x\n{\"message\":\"11\"}\n\n{\"message\":\"12\"}\nx\n{}\n{\"message\":\"15\"}\n[{\"message\":\"16\"},1,{\"message\":\"18\"}]\nx"),
		"Lookout-Producer", "p", "Lookout-First-Sequence", "10")
	if a.Status != 200 || a.Accepted != 5 || a.Rejected != 5 {
		t.Fatalf("%+v", a)
	}
	var got []string
	for i, first := range s.firsts {
		for n := range s.sizes[i] {
			got = append(got, fmt.Sprint(first+uint64(n)))
		}
	}
	if !slices.Equal(got, s.messages()) {
		t.Errorf("messages %v have the numbers %v", s.messages(), got)
	}
}

// A sender that counts and sends again after every failure, from wherever it likes, ends with each good line stored
// once, in order.
func TestProducerResends(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var lines, want []string
		for i := range 1 + rng.IntN(60) {
			switch rng.IntN(4) {
			case 0:
				lines = append(lines, "not JSON\n")
			case 1:
				lines = append(lines, fmt.Sprintf("\n{\"message\":\"%d\",\"pad\":\"%0*d\"}\n", i, 3000, 0)) // with little memory a batch is some 16 KiB
				want = append(want, fmt.Sprint(i))
			default:
				lines = append(lines, fmt.Sprintf("{\"message\":\"%d\"}\n", i))
				want = append(want, fmt.Sprint(i))
			}
		}
		if len(want) == 0 {
			continue
		}
		h, s := handler(Options{Memory: []int64{1, 0}[round%2]})
		s.fail = func(int) error {
			if rng.IntN(3) == 0 {
				return pressure{}
			}
			return nil
		}
		for from, done := 0, false; !done; {
			a := post(t, h, strings.NewReader(strings.Join(lines[from:], "")), "Lookout-Producer", "p", "Lookout-First-Sequence", fmt.Sprint(from+1))
			switch a.Status {
			case 200, 400: // 400: only bad lines were left
				done = true
			case 429:
				// The client trusts the answer, or only some of it.
				from += rng.IntN(int(a.Accepted+a.Rejected) + 1)
			default:
				t.Fatalf("%+v", a)
			}
		}
		if got := s.messages(); !slices.Equal(got, want) {
			t.Fatalf("round %d: stored %v, want %v", round, got, want)
		}
	}
}

func TestTooManyGaps(t *testing.T) {
	h, s := handler(Options{})
	body := strings.Repeat("{\"message\":\"m\"}\nx\n", maxGaps+10)
	a := post(t, h, strings.NewReader(body), "Lookout-Producer", "p", "Lookout-First-Sequence", "1")
	if a.Status != 400 || a.Error.Code != "too_many_bad_lines" || a.Accepted != maxGaps || a.Rejected != maxGaps || len(s.events) != maxGaps {
		t.Errorf("%d %+v: %d accepted, %d rejected, %d stored", a.Status, a.Error, a.Accepted, a.Rejected, len(s.events))
	}
	if a := post(t, h, strings.NewReader(body)); a.Status != 200 || a.Accepted != maxGaps+10 {
		t.Errorf("without a count: %d %+v", a.Status, a.Error)
	}
}

// pairs joins each two lines, and marks them; upper is a stage.
type pairs struct{}

func (pairs) JoinWithin(b *event.Batch) {
	for i := 0; i < len(b.Events)/2; i++ {
		b.Events[i].Message = slices.Concat(b.Events[2*i].Message, b.Events[2*i+1].Message)
	}
	b.Events = b.Events[:len(b.Events)/2]
}

type stage struct {
	f      func(event.Event) []byte
	active *bool
}

func (s stage) Process(b *event.Batch) {
	if *s.active {
		panic("a stage is used by two goroutines")
	}
	*s.active = true
	for i := range b.Events {
		b.Events[i].Message = s.f(b.Events[i])
	}
	*s.active = false
}

func TestStages(t *testing.T) {
	o := Options{
		Joiner: func() Joiner { return pairs{} },
		Stages: func() []collector.Stage {
			return []collector.Stage{
				stage{func(e event.Event) []byte { return append([]byte("1"), e.Message...) }, new(bool)},
				stage{func(e event.Event) []byte { return append([]byte("2"), e.Message...) }, new(bool)},
			}
		},
	}
	body := `{"message":"a"}` + "\n" + `{"message":"b"}`
	h, s := handler(o)
	if a := post(t, h, strings.NewReader(body)); a.Accepted != 2 || fmt.Sprint(s.messages()) != "[21ab]" {
		t.Errorf("%d lines accepted, stored %v", a.Accepted, s.messages())
	}
	h, s = handler(o)
	if a := post(t, h, strings.NewReader(body), "Lookout-Producer", "p", "Lookout-First-Sequence", "1"); a.Accepted != 2 || fmt.Sprint(s.messages()) != "[21a 21b]" {
		t.Errorf("counting: %d lines accepted, stored %v", a.Accepted, s.messages())
	}
	// Requests side by side: each worker has its own stages.
	h, s = handler(o)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a := post(t, h, strings.NewReader(strings.Repeat(body+"\n", 500))); a.Accepted != 1000 {
				t.Errorf("%+v", a)
			}
		})
	}
	wg.Wait()
	if len(s.events) != 20*500 {
		t.Errorf("%d events", len(s.events))
	}
	if len(h.idle) > maxIdle || h.held.Load() != 0 {
		t.Errorf("%d idle workers, %d bytes held", len(h.idle), h.held.Load())
	}
}

// Through a real server: the answer of a refusal arrives although the body was not read, nor sent to its end. A client that goes on
// sending may lose it: the server waits half a second for it to be read, and resets the connection.
func TestServer(t *testing.T) {
	h, s := handler(Options{MaxBody: 1 << 20})
	srv := httptest.NewServer(h)
	defer srv.Close()
	for _, c := range []struct {
		body   string
		status int
	}{
		{`{"message":"m"}`, 200},
		{strings.Repeat(`{"message":"m"}`+"\n", 80_000), 413},
		{`{"message":"m"}`, 200},
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%.*s", len(c.body), 64<<10, c.body); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !json.Valid(text) || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%d %s %v, want %d", resp.StatusCode, text, err, c.status)
		}
	}
	if len(s.events) != 2 {
		t.Errorf("%d events", len(s.events))
	}
}

func FuzzNative(f *testing.F) {
	for _, s := range []string{
		"{\"time\":\"2026-11-20T10:11:12Z\",\"message\":\"m\"}\n\nx\n{}", `[{"a":1},{"b":[2]},3]`, "[\n{\"a\":1},\n]\n{\"b\":2}", "\ufeff[]", "[[1],\"a,b\",{]\n{\"a\":1}",
		`{"level":30,"time":1795235739411,"msg":"pino","id":1}`, "{\"a\":\"\\u0000\\ud800\xff\"}\r\n",
	} {
		f.Add([]byte(s), uint16(7))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint16) {
		h, s := handler(Options{})
		a := post(t, h, bytes.NewReader(body))
		if int(a.Accepted) != len(s.events) || a.Rejected < int64(len(a.Errors)) || a.Status != 200 && a.Status != 400 {
			t.Fatalf("%q: %+v, %d stored", body, a, len(s.events))
		}
		nonblank, lines := int64(0), bytes.Split(bytes.TrimPrefix(body, []byte("\ufeff")), []byte("\n"))
		for _, l := range lines {
			if l = bytes.Trim(l, " \t\r"); len(l) > 0 {
				nonblank++
			}
		}
		if bytes.IndexByte(body, '[') < 0 && a.Accepted+a.Rejected != nonblank {
			t.Fatalf("%q: %d + %d of %d lines", body, a.Accepted, a.Rejected, nonblank)
		}
		for _, e := range a.Errors {
			if e.Line < 1 || e.Line > int64(len(lines)) || e.Message == "" {
				t.Fatalf("%q: %+v", body, e)
			}
		}
		for i := range s.events {
			e := &s.events[i]
			if e.Time < timestamp.Min || e.Time >= timestamp.Max {
				t.Fatalf("%q: time %d", body, e.Time)
			}
			for _, f := range e.Fields {
				if slices.Contains([]string{"time", "level", "message", "service", "env", "host", "container", "stream", "id"}, string(f.Name)) {
					t.Fatalf("%q: a field %s", body, f.Name)
				}
			}
		}
		// The same in two pieces, from a sender that counts.
		n := int(cut) % (len(body) + 1)
		h2, s2 := handler(Options{})
		b := post(t, h2, io.MultiReader(bytes.NewReader(body[:n]), bytes.NewReader(body[n:])), "Lookout-Producer", "p", "Lookout-First-Sequence", "1")
		if fmt.Sprint(a.Status, a.counts) != fmt.Sprint(b.Status, b.counts) && b.Error.Code != "too_many_bad_lines" {
			t.Fatalf("%q: %+v, in pieces %+v", body, a, b)
		}
		for i := range s2.events {
			if show(&s.events[i]) != show(&s2.events[i]) {
				t.Fatalf("%q: %s, in pieces %s", body, show(&s.events[i]), show(&s2.events[i]))
			}
		}
	})
}

// recorder is an http.ResponseWriter that costs nothing.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

// again is a body that can be read again.
type again struct{ bytes.Reader }

func (*again) Close() error { return nil }

func benchmarkBody(b testing.TB, times int) (body []byte, events int) {
	lines, err := os.ReadFile("testdata/lines.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	return bytes.Repeat(lines, times), 200 * times
}

func TestAllocations(t *testing.T) {
	body, events := benchmarkBody(t, 40)
	h := New(Options{Sink: discard{}})
	src := new(again)
	r := httptest.NewRequest("POST", "/api/v1/events", nil)
	rw := &recorder{header: http.Header{}}
	n := testing.AllocsPerRun(10, func() {
		src.Reset(body)
		r.Body, r.ContentLength = src, int64(len(body))
		h.ServeHTTP(rw, r)
	})
	if rw.status != 200 || n > float64(events)/100 {
		t.Errorf("status %d, %v allocations for %d events", rw.status, n, events)
	}
}

func BenchmarkHandler(b *testing.B) {
	for _, c := range []struct {
		name     string
		encoding string
		times    int
	}{{"200", "", 1}, {"10000", "", 50}, {"10000gzip", "gzip", 50}, {"10000zstd", "zstd", 50}} {
		b.Run(c.name, func(b *testing.B) {
			body, events := benchmarkBody(b, c.times)
			plain := len(body)
			body = compress(b, c.encoding, body)
			h := New(Options{Sink: discard{}})
			src := new(again)
			r := httptest.NewRequest("POST", "/api/v1/events", nil)
			r.Header.Set("Content-Encoding", c.encoding)
			rw := &recorder{header: http.Header{}}
			b.SetBytes(int64(plain))
			b.ReportAllocs()
			allocs := testing.AllocsPerRun(3, func() {
				src.Reset(body)
				r.Body, r.ContentLength = src, int64(len(body))
				h.ServeHTTP(rw, r)
			})
			for b.Loop() {
				src.Reset(body)
				r.Body, r.ContentLength = src, int64(len(body))
				if h.ServeHTTP(rw, r); rw.status != 200 {
					b.Fatal(rw.status)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
			b.ReportMetric(allocs/float64(events), "allocs/event")
		})
	}
}
