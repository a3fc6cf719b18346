package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/lookoutlog/lookout/internal/event"
)

// What people, programs and attackers send that is not what it should be: each gets a clear answer and a count, and nobody
// else notices.

// unharmed checks what holds after any input: the server answers and takes events, no request ended in a panic, its memory
// has kept to what is promised, and its token is nowhere. It is deferred: a cleanup would come after the test's context.
func (s *server) unharmed() {
	s.t.Helper()
	if resp, body := s.do(s.request("POST", "/api/v1/events", strings.NewReader(`{"service":"honest","message":"still here"}`))); resp.StatusCode != 200 {
		s.t.Errorf("an honest event: %d %s", resp.StatusCode, body)
	}
	if len(s.query("service:honest")) == 0 {
		s.t.Error("an honest event is not found")
	}
	resp, metrics := s.do(s.request("GET", "/metrics", nil))
	if resp.StatusCode != 200 || s.metric("lookout_http_panics_total") != 0 {
		s.t.Errorf("/metrics: %d, %v panics", resp.StatusCode, s.metric("lookout_http_panics_total"))
	}
	if strings.Contains(metrics, s.token()) {
		s.t.Error("the token is in the metrics")
	}
	if log := s.log.String(); strings.Contains(log, s.token()) || strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		s.t.Error("the token or a panic is in the log")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if errors.Is(err, os.ErrNotExist) {
		return // not Linux
	}
	for line := range strings.Lines(string(status)) {
		if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(peak), " kB"))
			if err != nil || kb > 300_000 {
				s.t.Errorf("memory at its peak: %s (%v)", strings.TrimSpace(peak), err)
			}
			s.t.Logf("memory at its peak: %d MB", kb>>10)
		}
	}
}

// do sends a request and returns the whole answer.
func (s *server) do(r *http.Request) (*http.Response, string) {
	s.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatalf("%s %.100s: %v", r.Method, r.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %.100s: %d, then %v", r.Method, r.URL, resp.StatusCode, err)
	}
	return resp, string(body)
}

// upload sends a request whose answer may come before the end of its body. The server cuts the connection half a second behind such an
// answer, and on a slow machine Go's own client may notice the cut first, and report that.
func (s *server) upload(r *http.Request) (*http.Response, string, error) {
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience * time.Minute)); err != nil {
		return nil, "", err
	}
	go r.Write(conn) // its error is the cut
	resp, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// refused checks an answer that is an error: its status, and that it says what is wrong and how to mend it.
func refused(t *testing.T, what string, status int, body string, want ...int) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message, Mend string }
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Error.Code == "" || e.Error.Message == "" || e.Error.Mend == "" || !slices.Contains(want, status) {
		t.Errorf("%s: %d %.300s, want %v with code, message and mend", what, status, body, want)
	}
}

// counts are the answer to POST /api/v1/events.
type counts struct {
	Accepted, Rejected int
	Errors             []struct {
		Line    int
		Message string
	}
}

// post sends lines and returns what became of them.
func (s *server) post(body io.Reader, headers ...string) (int, counts, string) {
	s.t.Helper()
	r := s.request("POST", "/api/v1/events", body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, text := s.do(r)
	var c counts
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		s.t.Fatalf("POST /api/v1/events: %d %.300s: %v", resp.StatusCode, text, err)
	}
	return resp.StatusCode, c, text
}

// metrics returns all values of /metrics by name and labels.
func (s *server) metrics() map[string]float64 {
	s.t.Helper()
	_, text := s.do(s.request("GET", "/metrics", nil))
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && name != "#" {
			all[name] = v
		}
	}
	return all
}

func (s *server) metric(name string) float64 {
	s.t.Helper()
	v, ok := s.metrics()[name]
	if !ok {
		s.t.Errorf("no metric %s", name)
	}
	return v
}

// dial opens a connection that nobody tidies up.
func (s *server) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// raw sends text as it is and returns the answer, 0 when the connection ended without one.
func (s *server) raw(text string) (int, string) {
	s.t.Helper()
	conn := s.dial()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience * 20 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	// The end of what is sent, not of the connection.
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		s.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			s.t.Errorf("%.100q: no answer", text)
		}
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge { // net/http does not wait for the rest
		s.t.Errorf("%.100q: %d, then %v", text, resp.StatusCode, err)
	}
	return resp.StatusCode, string(body)
}

// udp returns a socket that sends GELF, and how many datagrams went out.
func (s *server) udp() (send func(p []byte), sent *int) {
	s.t.Helper()
	conn, err := net.Dial("udp", s.gelf)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	sent = new(int)
	return func(p []byte) {
		s.t.Helper()
		if _, err := conn.Write(p); err != nil {
			s.t.Fatal(err)
		}
		*sent++
	}, sent
}

// endless reads as the same text again and again, n bytes in all.
func endless(text string, n int64) io.Reader {
	block := bytes.NewReader([]byte(strings.Repeat(text, 1+(64<<10)/len(text))))
	return io.LimitReader(again{block}, n)
}

type again struct{ *bytes.Reader }

func (a again) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if err == io.EOF {
		_, err = a.Seek(0, io.SeekStart)
	}
	return n, err
}

// compressed returns what r reads, compressed.
func compressed(t *testing.T, encoding string, r io.Reader) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w = zlib.NewWriter(&out)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// bomb returns 1 GiB of text, compressed: 1 MiB of it as often as it takes.
func bomb(t *testing.T, encoding, text string) []byte {
	t.Helper()
	const size, times = 1 << 20, 1 << 10
	if encoding != "deflate" {
		return bytes.Repeat(compressed(t, encoding, endless(text, size)), times)
	}
	// A stream of zlib cannot stand behind another, but what it has written by a flush can. Its end is missing.
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := io.Copy(w, endless(text, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	header, block := out.Bytes()[:2], out.Bytes()[2:]
	return append(slices.Clone(header), bytes.Repeat(block, times)...)
}

// 1 over HTTP: bombs that are one line, no line and all brackets, several at once.
func TestBadBombsOverHTTP(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	var all sync.WaitGroup
	for _, encoding := range []string{"gzip", "zstd", "deflate"} {
		for _, text := range []string{"\x00", "\n", "[", `{"message":"`} {
			body := bomb(t, encoding, text)
			r := s.request("POST", "/api/v1/events", bytes.NewReader(body))
			r.Header.Set("Content-Encoding", encoding)
			all.Go(func() {
				// zstd has few decoders: the others are told to come again, as often as it takes.
				for {
					one := r.Clone(r.Context())
					one.Body = io.NopCloser(bytes.NewReader(body))
					resp, answer, err := s.upload(one)
					if err != nil {
						t.Errorf("%s of %q: %v", encoding, text, err)
						return
					}
					if resp.StatusCode == 429 && resp.Header.Get("Retry-After") != "" {
						continue
					}
					refused(t, encoding+" of "+strconv.Quote(text), resp.StatusCode, answer, 413)
					return
				}
			})
		}
	}
	all.Wait()

	whole := compressed(t, "gzip", strings.NewReader(`{"message":"cut off"}`))
	for what, body := range map[string][]byte{"cut": whole[:len(whole)-9], "no gzip": []byte(`{"message":"plain"}`), "a broken check": append(whole[:len(whole)-8:len(whole)-8], make([]byte, 8)...)} {
		status, _, text := s.post(bytes.NewReader(body), "Content-Encoding", "gzip")
		refused(t, what, status, text, 400)
	}
	status, _, text := s.post(bytes.NewReader(whole), "Content-Encoding", "br")
	refused(t, "br", status, text, 415)
}

// 1 and 2 over UDP: every datagram is counted once.
func TestBadDatagrams(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	first, sentFirst := s.udp()
	second, sentSecond := s.udp()
	chunk := func(id uint64, index, count int, part string) []byte {
		p := []byte{0x1e, 0x0f, 0, 0, 0, byte(id >> 32), byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id), byte(index), byte(count)}
		return append(p, part...)
	}
	// settled waits until all that was sent has been taken, or dropped by the kernel, and checks that the counts add up.
	settled := func() (drops map[string]float64, pending float64) {
		t.Helper()
		var m map[string]float64
		cause := func(name string) float64 { return m[`lookout_gelf_dropped_total{cause="`+name+`"}`] }
		eventually(t, "all datagrams", 20*time.Second, func() bool {
			m = s.metrics()
			return m["lookout_gelf_datagrams_received_total"]+cause("kernel") == float64(*sentFirst+*sentSecond)
		})
		drops = map[string]float64{}
		pending = m["lookout_gelf_datagrams_pending"]
		sum := m["lookout_gelf_datagrams_decoded_total"] + pending
		for _, name := range []string{"refused", "too_large", "bad_chunk", "duplicate", "expired", "evicted", "bomb", "bad_compression", "bad_json", "not_an_object", "overflow", "pressure"} {
			drops[name] = cause(name)
			sum += cause(name)
		}
		if got := m["lookout_gelf_datagrams_received_total"]; got != sum {
			t.Errorf("received %v, but decoded %v + pending %v + drops %v is %v", got, m["lookout_gelf_datagrams_decoded_total"], pending, drops, sum)
		}
		return drops, pending
	}

	// Each of these once or a few times: none is lost in the kernel.
	for _, encoding := range []string{"gzip", "deflate", "zstd"} {
		first(compressed(t, encoding, endless(`{"short_message":"`, 5<<20)))
		first(compressed(t, encoding, strings.NewReader(`{"short_message":"cut"}`))[:15])
	}
	for _, p := range [][]byte{
		chunk(1, 0, 0, "{}"), chunk(1, 0, 129, "{}"), chunk(1, 0, 255, "{}"), chunk(1, 2, 2, "{}"), chunk(1, 255, 128, "{}"), {0x1e, 0x0f}, {0x1e, 0x0f, 1, 2, 3},
	} {
		first(p)
	}
	first(nil)
	first([]byte(`[{"short_message":"x"}]`))
	first([]byte(`{"short_message":NaN}`))
	first([]byte(`{"short_message":"x"`))
	// Two senders with one id, a chunk twice, and one that says another count.
	first(chunk(7, 0, 2, `{"host":"two","short_message":"by `))
	second(chunk(7, 0, 2, `{"host":"two","short_message":"of `))
	second(chunk(7, 0, 2, `{"host":"two","short_message":"no `))
	first(chunk(7, 1, 3, `no"}`))
	second(chunk(7, 1, 2, `the second"}`))
	first(chunk(7, 1, 2, `the first"}`))
	drops, pending := settled()
	for name, want := range map[string]float64{"bomb": 3, "bad_compression": 3, "bad_chunk": 8, "duplicate": 1, "not_an_object": 2, "bad_json": 2} {
		if drops[name] != want {
			t.Errorf("%s: %v, want %v of %v", name, drops[name], want, drops)
		}
	}
	if pending != 0 {
		t.Errorf("%v pending", pending)
	}
	eventually(t, "the messages of two senders", 10*time.Second, func() bool { return len(s.query("service:two")) == 2 })
	for _, r := range s.query("service:two") {
		if m := r.Event.Message; m != "by the first" && m != "of the second" {
			t.Errorf("mixed: %q", m)
		}
	}

	part := strings.Repeat("x", 1000)
	for i := range 100_000 {
		first(chunk(uint64(i)<<20, 0, 128, part))
	}
	eventually(t, "those that lack chunks are given up", 10*time.Second, func() bool { // at once, or after 5 s when the kernel dropped nearly all
		if drops, pending = settled(); pending > 4096 {
			t.Errorf("%v pending, %v", pending, drops)
		}
		return drops["evicted"]+drops["expired"] > 0
	})
	for range 1000 {
		first([]byte("\xff\xfe\x00 no GELF at all\n"))
	}
	settled()
	first([]byte(`{"host":"honest","short_message":"after the flood"}`))
	eventually(t, "an honest message behind a flood", 10*time.Second, func() bool { return len(s.query(`"after the flood"`)) == 1 })
	settled()
	if n := strings.Count(s.log.String(), "\n"); n > 60 {
		t.Errorf("%d lines of our own log: a flood writes them", n)
	}
}

// 3: what is in the lines.
func TestBadJSON(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	const n = 100_000
	keys := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"service":"odd","message":"many keys"`)
		for i := range n {
			fmt.Fprintf(&b, `,"%s":1`, strconv.FormatInt(int64(i), 36))
		}
		return b.String() + "}"
	}
	for _, c := range []struct{ name, line, why string }{
		{"deep arrays", `{"service":"odd","message":"deep arrays","a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`, ""},
		{"deep objects", `{"service":"odd","message":"deep objects","o":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + `}`, ""},
		{"deep and open", `{"service":"odd","a":` + strings.Repeat(`[{"a":`, n), "byte"},
		{"50,000 keys", keys(50_000), ""},
		{"300,000 keys", keys(300_000), "fields"},
		{"a million keys", keys(1_000_000), "longer than 4 MiB"},
		{"duplicate keys", `{"service":"odd","message":"duplicate","k":1,"k":"two","k":null}`, ""},
		{"NaN", `{"service":"odd","message":"NaN","k":NaN}`, "byte"},
		{"Infinity", `{"service":"odd","message":"Infinity","k":-Infinity}`, "byte"},
		{"a great number", `{"service":"odd","message":"a great number","k":1e400,"l":1` + strings.Repeat("0", 400) + `}`, ""},
		{"invalid UTF-8", "{\"service\":\"odd\",\"message\":\"invalid \xff\xc3( \xed\xa0\x80\",\"\xfe\":\"\xff\"}", ""},
		{"NUL", `{"service":"odd","message":"NUL \u0000.","\u0000":"\u0000"}`, ""},
		{"a lone surrogate", `{"service":"odd","message":"surrogate \ud800.","k":"\udc00\ud800"}`, ""},
		{"a BOM", "\ufeff" + `{"service":"odd","message":"BOM"}`, ""},
		{"types", `{"service":"odd","message":"types","time":[1],"level":{"a":1},"host":true,"env":{},"container":[[]],"stream":1e3,"id":"7"}`, ""},
		{"nothing", `{}`, "without fields"},
		{"two on a line", `{"message":"a"}{"message":"b"}`, "one event a line"},
	} {
		status, got, text := s.post(strings.NewReader(c.line))
		switch {
		case c.why == "" && (status != 200 || got.Accepted != 1):
			t.Errorf("%s: %d %.300s", c.name, status, text)
		case c.why != "":
			refused(t, c.name, status, text, 400)
			if got.Rejected != 1 || len(got.Errors) != 1 || !strings.Contains(got.Errors[0].Message, c.why) {
				t.Errorf("%s: %.300s, want %q", c.name, text, c.why)
			}
		}
	}
	resp, answer := s.do(s.request("GET", "/api/v1/query?q=service:odd", nil))
	if resp.StatusCode != 200 || !utf8.ValidString(answer) {
		t.Errorf("query: %d, valid UTF-8 %v", resp.StatusCode, utf8.ValidString(answer))
	}
	messages := map[string]row{}
	for line := range strings.Lines(answer) {
		var r row
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber() // 1e400 is JSON, but no float64
		if err := d.Decode(&r); err != nil || !json.Valid([]byte(line)) {
			t.Errorf("%v in %.300s", err, line)
		}
		messages[r.Event.Message] = r
	}
	for _, want := range []string{"deep arrays", "deep objects", "many keys", "duplicate", "a great number", "invalid \ufffd\ufffd( \ufffd\ufffd\ufffd", "NUL \x00.", "surrogate \ufffd.", "BOM", "types"} {
		if _, ok := messages[want]; !ok {
			t.Errorf("no event %q", want)
		}
	}
	if f := messages["duplicate"].Event.Fields; fmt.Sprint(f["k"]) != "[1 two <nil>]" {
		t.Errorf("duplicate keys: %v", f)
	}
	if out, stderr, code := s.cli("", "grep", "service:odd"); code != 0 || strings.Count(out, "\n") != 10 || !strings.Contains(out, "k=1e400") {
		t.Errorf("grep: %d, %d events, %s", code, strings.Count(out, "\n"), stderr)
	}
}

// 4: a line without an end. Another sender is served while it comes.
func TestBadLongLine(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	resp, text, err := s.upload(s.request("POST", "/api/v1/events", io.MultiReader(strings.NewReader(`{"message":"`), endless("0123456789", 100<<20))))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "100 MB in chunks", resp.StatusCode, text, 413)

	out, in := io.Pipe()
	r := s.request("POST", "/api/v1/events", out)
	answer := make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		answer <- fmt.Sprint(resp.StatusCode, string(body), err)
	}()
	if _, err := io.Copy(in, io.MultiReader(strings.NewReader(`{"message":"`), endless("0123456789", 30<<20))); err != nil {
		t.Fatal(err)
	}
	// It has come this far and waits.
	if status, got, text := s.post(strings.NewReader(`{"service":"second","message":"sender"}`)); status != 200 || got.Accepted != 1 {
		t.Errorf("the second sender: %d %s", status, text)
	}
	if len(s.query("service:second")) != 1 {
		t.Error("the second sender's event is not found")
	}
	if _, err := io.WriteString(in, "\"}\n"+`{"service":"first","message":"behind the long one"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if got := <-answer; !strings.HasPrefix(got, `200{"accepted":1,"rejected":1,"errors":[{"line":1,"message":"longer than 4 MiB"`) {
		t.Errorf("a line of 30 MB and one behind it: %s", got)
	}
	if len(s.query("service:first")) != 1 {
		t.Error("the line behind the long one is not found")
	}

	long := `{"service":"cut","message":"` + strings.Repeat("m", 3<<20) + `"}`
	if status, got, text := s.post(strings.NewReader(long)); status != 200 || got.Accepted != 1 {
		t.Errorf("3 MB: %d %s", status, text)
	}
	if rows := s.query("service:cut"); len(rows) != 1 || len(rows[0].Event.Message) > 1<<20 || !strings.HasSuffix(rows[0].Event.Message, event.TruncationMark) {
		t.Errorf("3 MB: %d rows, or not cut with a mark", len(rows))
	}
}

// 5: connections that say nothing, too little or something else than they announced.
func TestBadConnections(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	head := "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.token() + "\r\n"
	line := `{"service":"partly","message":"whole"}` + "\n" + `{"service":"partly","mess`
	for _, c := range []struct {
		name, text string
		want       []int
	}{
		{"a length that is too large", head + "Content-Length: 1000\r\n\r\n" + line, []int{400}},
		{"a chunk that is cut", head + "Transfer-Encoding: chunked\r\n\r\nffff\r\n" + line, []int{400}},
		{"a length above the limit", head + "Content-Length: 9999999999\r\n\r\n", []int{413}},
	} {
		status, body := s.raw(c.text)
		refused(t, c.name, status, body, c.want...)
	}
	if n := len(s.query("service:partly")); n != 2 {
		t.Errorf("%d whole lines before a body's false end, want 2", n)
	}
	for _, text := range []string{
		head + "Content-Length: -1\r\n\r\n", head + "Content-Length: 99999999999999999999\r\n\r\n", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
		head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}", head + "Transfer-Encoding: chunked\r\n\r\n-1\r\n{}", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01", strings.Repeat("\x00", 1000) + "\r\n\r\n",
		"GET /status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 200<<10) + "\r\n\r\n",
	} {
		if status, body := s.raw(text); status/100 == 2 {
			t.Errorf("%.200q: %d %s", text, status, body)
		}
	}

	// A header that does not come is given up, and idle connections with it: who waits behind the cap is served then.
	slow := s.dial()
	if _, err := io.WriteString(slow, "GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	idle := 5000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if room := int(min(files.Cur, 1<<20)) - 300; idle > room {
		t.Logf("%d instead of %d idle connections: ulimit -n is %d", room, idle, files.Cur)
		idle = room
	}
	for range idle {
		s.dial()
	}
	r := s.request("GET", "/api/v1/query?q=service:partly", nil)
	honest := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience * 30 * time.Second} // a connection of its own
	begin := time.Now()
	resp, err := honest.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(text), `"matched":2`) {
		t.Errorf("an honest request behind %d idle connections: %d %s %v", idle, resp.StatusCode, text, err)
	}
	t.Logf("an honest request behind %d idle connections took %v", idle, time.Since(begin).Round(time.Second))
	if answer, err := io.ReadAll(slow); err != nil || len(answer) != 0 {
		t.Errorf("a header that does not come: %q, %v", answer, err)
	}
}

// 6: times that are none.
func TestBadTimes(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	begin := time.Now().Add(-time.Minute)
	values := []string{
		`0`, `-1`, `9999`, `1e400`, `-1e400`, `"∞"`, `"-Infinity"`, `"9999-12-31T23:59:59Z"`, `"0000-00-00T00:00:00Z"`, `"-0001-01-01T00:00:00Z"`, `99999999999999999999999`, `253402300799`, `"2026-02-30T00:00:00Z"`,
		`-1795235739`, `"tomorrow"`, `true`, `1e-400`, `"1e18x"`,
	}
	send, _ := s.udp()
	for _, v := range values {
		if status, got, text := s.post(strings.NewReader(`{"service":"clock","message":` + strconv.Quote(v) + `,"time":` + v + `}`)); status != 200 || got.Accepted != 1 {
			t.Errorf("%s: %d %s", v, status, text)
		}
		send([]byte(`{"host":"clock","short_message":` + strconv.Quote("gelf "+v) + `,"timestamp":` + v + `}`))
	}
	var rows []row
	eventually(t, "the events", 10*time.Second, func() bool { rows = s.query("service:clock"); return len(rows) >= 2*len(values) })
	if len(rows) != 2*len(values) {
		t.Errorf("%d events of %d", len(rows), 2*len(values))
	}
	for _, r := range rows {
		at, err := time.Parse(time.RFC3339Nano, r.Event.Time)
		if err != nil || at.Before(begin) || at.After(time.Now().Add(time.Minute)) {
			t.Errorf("%s: time %s (%v), want the time of receipt", r.Event.Message, r.Event.Time, err)
		}
		name := "time_text"
		sent, gelf := strings.CutPrefix(r.Event.Message, "gelf ")
		if gelf {
			name = "timestamp"
		}
		if kept, err := json.Marshal(r.Event.Fields[name]); err != nil || r.Event.Fields[name] == nil || strings.Trim(string(kept), `"`) == "" {
			t.Errorf("%s: %s is not kept: %v", sent, name, r.Event.Fields)
		}
	}
	for _, v := range []string{"0", "-1", "9223372036854775807", "-9223372036854775808", "99999999999", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "-0.5", "65535d"} {
		for _, name := range []string{"since", "until"} {
			if resp, text := s.do(s.request("GET", "/api/v1/query?count=true&"+name+"="+url.QueryEscape(v), nil)); resp.StatusCode != 200 || !strings.Contains(text, `"complete":true`) {
				t.Errorf("%s=%s: %d %s", name, v, resp.StatusCode, text)
			}
		}
	}
	for _, v := range []string{"∞", "NaN", "1e400", "99999-01-01T00:00:00Z", "tomorrow", "-5m", "99999999d"} {
		resp, text := s.do(s.request("GET", "/api/v1/query?since="+url.QueryEscape(v), nil))
		refused(t, "since="+v, resp.StatusCode, text, 400)
	}
}

// 8: one reading of a path, for the router and the check of the token alike.
func TestBadPaths(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	if status, _, text := s.post(strings.NewReader(`{"message":"a secret event"}`)); status != 200 {
		t.Fatal(text)
	}
	for _, path := range []string{
		"/api/v1/../v1/query", "/status/../api/v1/query", "/./api/v1/query", "/api/v1/..", "/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/api/v1/query", "/status/%2e%2e/api/v1/query",
		"/%252e%252e/api/v1/query", "/status%252f..%252fapi", "/status%2f../api/v1/query", "/healthz%5c..%5capi", `/status\..\api`, "//api/v1/query", "/api//v1/query", "//", "/status%00", "/status%00/api/v1/query",
		"/api/v1/query%00", "/status%0d%0aX:%20y", "/status%ff", "/" + strings.Repeat("a", 4096),
	} {
		for _, header := range []string{"", "Authorization: Bearer " + s.token() + "\r\n"} {
			status, body := s.raw("GET " + path + "?q=secret HTTP/1.1\r\nHost: x\r\n" + header + "\r\n")
			refused(t, fmt.Sprintf("%.60s with %.13q", path, header), status, body, 400, 414)
		}
	}
	for _, target := range []string{"/api/v1/query?q=secret", "http://x/api/v1/query?q=secret", "/api/v1/%71uery?q=secret", "/API/v1/query", "/status/", "/status;/api/v1/query", "/metrics", "/debug/pprof/", "/token", "/data/token", "/.env",
		"/api/v1/query?q=secret&token=" + s.token(), "http://admin:" + s.token() + "@x/api/v1/query?q=secret"} {
		for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS", "TRACE", "PROPFIND"} {
			status, body := s.raw(method + " " + target + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\nX-Original-URL: /status\r\nX-HTTP-Method-Override: GET\r\n\r\n")
			if status != 401 || strings.Contains(body, "a secret event") {
				t.Errorf("%s %.60s without a token: %d %s", method, target, status, body)
			}
		}
	}
}

// 9: text is text, in events and in our own log.
func TestBadText(t *testing.T) {
	t.Parallel()
	s := serveWith(t, t.TempDir(), []string{"--verbose"})
	defer s.unharmed()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	called := make(chan struct{})
	go func() {
		if conn, err := l.Accept(); err == nil {
			close(called)
			conn.Close()
		}
	}()
	defer l.Close()
	forged := "\r\n" + `time=2026-11-21T00:00:00Z level=ERROR msg=forged` + "\n"
	texts := []string{"${jndi:ldap://" + l.Addr().String() + "/a}", "{{.}} {{constructor.constructor('x')()}}", "%s %n %[1]d %!v(PANIC)", "$(reboot) `reboot`", "a" + forged + `{"event":{"message":"forged"}}` + forged, "\x1b]52;c;cm0=\x07"}
	send, sent := s.udp()
	var body bytes.Buffer
	line := json.NewEncoder(&body)
	line.SetEscapeHTML(false)
	for _, text := range texts {
		if err := line.Encode(map[string]string{"service": "text", "message": text, "user" + forged: text, "level": text, "host": text}); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(map[string]string{"host": text, "_service": "text", "short_message": text, "_" + forged: text})
		if err != nil {
			t.Fatal(err)
		}
		send(b)
		send([]byte(text))
		send([]byte(`{"` + text))
	}
	if status, got, answer := s.post(&body); status != 200 || got.Accepted != len(texts) {
		t.Fatalf("%d %s", status, answer)
	}
	eventually(t, "the datagrams", 10*time.Second, func() bool {
		return s.metric("lookout_gelf_datagrams_received_total") == float64(*sent) && len(s.query("service:text")) == 2*len(texts)
	})
	found := map[string]int{}
	for _, r := range s.query("service:text") {
		found[r.Event.Message]++
		if r.Event.Service != "text" {
			t.Errorf("forged: %+v", r.Event)
		}
	}
	for _, text := range texts {
		if found[text] != 2 {
			t.Errorf("%q: %d events", text, found[text])
		}
	}
	// Everything of a request that might find its way into the log.
	evil := url.QueryEscape("x" + forged)
	for _, target := range []string{"/api/v1/query?q=" + evil, "/api/v1/query?" + evil + "=1", "/api/v1/query?limit=" + evil, "/nothing?" + evil, "/x" + url.PathEscape(forged), "/api/v1/tail?q=" + url.QueryEscape("("+forged)} {
		s.raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.token() + "\r\nX-Request-Id: %0aforged\r\nUser-Agent: ${jndi}\xff\r\n\r\n")
	}
	s.raw("GET /status HTTP/1.1\r\nHost: x\r\nUser-Agent: \x1b[31m\x00\r\n\r\n")
	s.raw("GET /status" + forged + " HTTP/1.1\r\n\r\n")
	s.raw("G\x1bET\rmsg=forged / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.raw("GET /api/v1/query?token=" + s.token() + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.token() + "\r\nX-Request-Id: " + s.token() + "\r\nReferer: http://x/?" + s.token() + "\r\n\r\n")
	s.post(strings.NewReader(`{"message":"x"}`), "Lookout-Producer", "${jndi:x}\tlevel=ERROR", "Lookout-First-Sequence", "1", "Lookout-Service", "%s%n")

	_, log, _ := strings.Cut(s.log.String(), s.gelf+"\n") // all that is kept of the welcome
	if !strings.Contains(log, "level=DEBUG") {
		t.Errorf("the log says nothing of what it did: %q", log)
	}
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "time=") || strings.HasPrefix(line, "time=2026-11-21T00:00:00Z") || strings.Count(line, " level=") > 1 && !strings.Contains(line, `"`) || strings.ContainsAny(line, "\r\x1b\x00") {
			t.Errorf("a line of our log: %q", line)
		}
	}
	select {
	case <-called:
		t.Error("an address in a line was called")
	default:
	}
}

// 10: parameters and bodies of the wrong type, everywhere.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir())
	defer s.unharmed()
	if status, _, text := s.post(strings.NewReader(`{"service":"a","message":"x 1","status":200}`)); status != 200 {
		t.Fatal(text)
	}
	for _, body := range []string{`"x"`, `1`, `null`, `true`, `[1]`, `[[{}]]`, `{"message":}`, `{`, `]`, `{"a":1,}`, `{'a':1}`, strings.Repeat("[", 100_000), strings.Repeat(`{"a":`, 100_000), "\xff\xfe{\x00}\x00", "message=x&level=y", "<event/>"} {
		status, _, text := s.post(strings.NewReader(body))
		refused(t, fmt.Sprintf("events: %.40q", body), status, text, 400)
	}
	for _, body := range []string{`"x"`, `1`, `null`, `true`, `[]`, `{"q":[]}`, `{"q":{}}`, `{"limit":"x"}`, `{"limit":1.5}`, `{"limit":-1}`, `{"limit":1e3}`, `{"count":"perhaps"}`, `{"count":7}`, `{"order":true}`, `{"since":false}`, `{"before":{}}`,
		`{"sequence":-1}`, `{"q":"a"}{"q":"b"}`, `{"q":`, `{`, strings.Repeat("[", 100_000), strings.Repeat(`{"q":`, 100_000), `{"q":"\ud800(`} {
		r := s.request("POST", "/api/v1/query", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		resp, text := s.do(r)
		refused(t, fmt.Sprintf("query: %.40q", body), resp.StatusCode, text, 400)
	}

	// Any value in any parameter is answered with rows or with 400.
	values := []string{"", "-1", "0", "1e9", "NaN", "null", "[]", "{}", "true", "\x00", "\xff", "99999999999999999999", "%", "*", "''; --", "a:", ":", "a:>", "status:>x", "status>1e999", "~", `~"("`, `"`, "(", ")", "NOT", "a AND", strings.Repeat("(", 8000), strings.Repeat("a ", 8000),
		strings.Repeat("NOT ", 5000) + "a", strings.Repeat("*", 5000), "level>=", "level:loud", "\u202e", "since:x"}
	params := map[string][]string{
		"/api/v1/query":    {"q", "since", "until", "limit", "order", "count", "before", "after", "sequence"},
		"/api/v1/tail":     {"q", "after", "last"},
		"/api/v1/services": {"q"},
	}
	for path, names := range params {
		for _, name := range names {
			for _, v := range values {
				ctx, cancel := context.WithTimeout(t.Context(), patience*20*time.Second)
				resp, err := http.DefaultClient.Do(s.request("GET", path+"?"+name+"="+url.QueryEscape(v), nil).WithContext(ctx))
				if err != nil {
					t.Fatalf("%s?%s=%.40q: %v", path, name, v, err)
				}
				switch resp.StatusCode {
				case 200: // a tail does not end: its beginning is enough
				case 400:
					text, err := io.ReadAll(resp.Body)
					if err != nil {
						t.Fatal(err)
					}
					refused(t, fmt.Sprintf("%s?%s=%.40q", path, name, v), 400, string(text), 400)
				default:
					t.Errorf("%s?%s=%.40q: %d", path, name, v, resp.StatusCode)
				}
				cancel()
				resp.Body.Close()
			}
		}
	}

	var slowest time.Duration // of the server's own time: what else the machine does is not counted
	for _, q := range []string{
		`~"` + strings.Repeat("(", 100_000), strings.Repeat("(", 100_000), `~"` + strings.Repeat("(", 8000) + `"`, `~"` + strings.Repeat("(", 4000) + "a" + strings.Repeat(")", 4000) + `"`, `~"(x{1000}){1000}"`, `~"((x{100}){100}){100}"`, `~"x{1000000}"`,
		`~"(?i)` + strings.Repeat(`\\pL`, 2000) + `"`, strings.Repeat(`~"(x{30}){30}" OR `, 1000) + "x", `~"` + strings.Repeat("(a*)*", 1600) + `"`, `~"[` + strings.Repeat("a-z", 5000) + `]"`,
	} {
		r := s.request("POST", "/api/v1/query", strings.NewReader(url.Values{"q": {q}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		before := cpu(t, s.cmd.Process.Pid)
		resp, text := s.do(r)
		slowest = max(slowest, cpu(t, s.cmd.Process.Pid)-before)
		refused(t, fmt.Sprintf("q=%.40s", q), resp.StatusCode, text, 400)
	}
	t.Logf("the slowest refusal of a query took %v of CPU time", slowest)
	if slowest > 2*time.Second { // 10 ms are usual
		t.Errorf("the slowest refusal of a query took %v of CPU time", slowest)
	}
}

// sips reads a little now and then until it is free: who takes nothing for 30 s is cut off.
type sips struct {
	io.Reader
	free <-chan struct{}
}

func (s sips) Read(p []byte) (int, error) {
	select {
	case <-s.free:
	case <-time.After(100 * time.Millisecond):
		p = p[:min(len(p), 4<<10)]
	}
	return s.Reader.Read(p)
}

// 10: a hundred searches at once: so many run, so many wait, the others are told to come again.
func TestBadCrowd(t *testing.T) {
	t.Parallel()
	s := serve(t, t.TempDir(), "LOOKOUT_LIMITS_QUERY_TIMEOUT=1h") // the wait is of this test's making
	defer s.unharmed()
	const events = 1600 // an answer of 16 MB does not fit what a connection buffers
	line := `{"service":"crowd","message":"` + strings.Repeat("crowd ", 1700) + `"}` + "\n"
	if status, got, text := s.post(endless(line, int64(events*len(line)))); status != 200 || got.Accepted != events {
		t.Fatalf("%d %.300s", status, text)
	}
	token := s.token()
	var asked atomic.Int64
	// ask begins a search and reads nothing yet but the beginning of the answer. One client may have a part of the queue: the
	// requests come from different addresses.
	ask := func() (*http.Response, error) {
		var d net.Dialer
		if runtime.GOOS == "linux" { // where all of 127.0.0.0/8 is there
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+asked.Add(1)%8))}
		}
		conn, err := d.Dial("tcp", strings.TrimPrefix(s.http, "http://"))
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintf(conn, "GET /api/v1/query?q=crowd HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", token); err != nil {
			return nil, err
		}
		return http.ReadResponse(bufio.NewReader(conn), nil)
	}
	complete := func(resp *http.Response, from io.Reader) {
		body, err := io.ReadAll(from)
		if n := bytes.Count(body, []byte("\n")); err != nil || n != events+1 || !bytes.Contains(body[max(0, len(body)-1000):], []byte(`"complete":true`)) {
			t.Errorf("%d, %d lines, %v", resp.StatusCode, n, err)
		}
	}
	var running sync.WaitGroup
	free := make(chan struct{})
	for range 4 { // these run for minutes, or until they are free
		resp, err := ask()
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		running.Go(func() { complete(resp, sips{resp.Body, free}) })
	}
	// One client alone gets as far as this.
	most := 16
	if runtime.GOOS != "linux" {
		most = 12
	}
	var waiting sync.WaitGroup
	for range most {
		waiting.Go(func() {
			if resp, err := ask(); err != nil || resp.StatusCode != 200 {
				t.Error("waiting:", resp, err)
			} else {
				complete(resp, resp.Body)
			}
		})
	}
	eventually(t, "4 searches that run and others that wait", 10*time.Second, func() bool {
		m := s.metrics()
		return m["lookout_searches_running"] == 4 && m["lookout_searches_waiting"] == float64(most)
	})
	var others sync.WaitGroup
	for range 80 {
		others.Go(func() {
			resp, err := ask()
			if err != nil {
				t.Error(err)
				return
			}
			text, err := io.ReadAll(resp.Body)
			if resp.Header.Get("Retry-After") == "" || err != nil {
				t.Errorf("%d without Retry-After, %v", resp.StatusCode, err)
			}
			refused(t, "one too many", resp.StatusCode, string(text), 429)
		})
	}
	others.Wait()
	// What reads little does not wait behind them, and who sends is not held up.
	for _, path := range []string{"/api/v1/explain?q=crowd", "/api/v1/services", "/api/v1/values?field=service"} {
		if resp, text := s.do(s.request("GET", path, nil)); resp.StatusCode != 200 {
			t.Errorf("%s meanwhile: %d %s", path, resp.StatusCode, text)
		}
	}
	if status, _, text := s.post(strings.NewReader(`{"message":"meanwhile"}`)); status != 200 {
		t.Errorf("an event meanwhile: %d %s", status, text)
	}
	close(free)
	running.Wait()
	waiting.Wait()
	if n := s.metric("lookout_searches_refused_total"); n != 80 {
		t.Errorf("%v refused", n)
	}
}
