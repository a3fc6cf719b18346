package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// serve answers every request by fn, without a network, so that it works in a synctest bubble.
type serve func(*http.Request) (status int, header http.Header, body io.ReadCloser, err error)

func (fn serve) RoundTrip(r *http.Request) (*http.Response, error) {
	status, header, body, err := fn(r)
	if err != nil {
		return nil, err
	}
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{Status: fmt.Sprint(status, " ", http.StatusText(status)), StatusCode: status, Header: header, Body: body, Request: r}, nil
}

func text(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

// script answers one request after the other by the given texts; a text that begins with a number is that status.
func script(t *testing.T, answers ...string) (*Client, *[]*http.Request) {
	var seen []*http.Request
	c, err := New(Options{URL: "http://logs:7171/", Token: "secret", HTTP: &http.Client{Transport: serve(
		func(r *http.Request) (int, http.Header, io.ReadCloser, error) {
			if r.Body != nil {
				body, _ := io.ReadAll(r.Body)
				r.Body = text(string(body))
			}
			seen = append(seen, r)
			if len(seen) > len(answers) {
				t.Fatalf("request %d was not expected: %s", len(seen), r.URL) // an error would be tried again for ever
			}
			answer := answers[len(seen)-1]
			if answer == "lost" {
				return 0, nil, nil, io.ErrUnexpectedEOF
			}
			header := http.Header{}
			status := 200
			if n, rest, ok := strings.Cut(answer, " "); ok {
				if k, err := strconv.Atoi(n); err == nil {
					status, answer = k, rest
				}
			}
			if after, rest, ok := strings.Cut(answer, "|"); ok {
				header.Set("Retry-After", after)
				answer = rest
			}
			return status, header, text(answer), nil
		})}})
	if err != nil {
		t.Fatal(err)
	}
	return c, &seen
}

const done = `{"summary":{"searched":{"events":3,"bytes":40,"blocks":2,"pruned":1},"matched":2,"complete":true,"reasons":null,"sequence":9,"took_ms":1.5,"services":{"a":2},"warnings":["w"]}}` + "\n"

func event(id int, message string) string {
	return fmt.Sprintf(`{"event":{"id":"%d","time":"2026-11-21T11:22:33.5Z","message":%q}}`+"\n", id, message)
}

func TestNewRefusesWhatIsNoAddress(t *testing.T) {
	for _, u := range []string{"localhost:7171", "ftp://x", "http://", "http://x/?a=b", "http://x/#y", "::"} {
		if _, err := New(Options{URL: u}); err == nil || !strings.Contains(err.Error(), "not a server's address") {
			t.Errorf("%q: %v", u, err)
		}
	}
	c, err := New(Options{})
	if err != nil || c.URL() != DefaultURL {
		t.Fatal(c, err)
	}
}

func TestQuery(t *testing.T) {
	c, seen := script(t, `{"event":{"id":"7","time":"2026-11-21T11:22:33.123456789Z","received":"2026-11-21T11:22:34Z","level":"error","service":"s","env":"e","host":"h","container":"c","stream":"stdout","message":"a\nb","fields":{"status":200,"user":"u1","tags":["a",1,null,true],"o":{"a":[]},"n":1e400}},"context":true,"group":2}`+"\n"+
		event(8, "x")+done)
	since := time.Date(2026, 11, 21, 12, 0, 0, 1, time.FixedZone("", 3600))
	rows, err := c.Query(t.Context(), QueryRequest{Query: "a b", Since: since, Until: since.Add(time.Hour), Limit: 5, Newest: true, Before: 1, After: 2, AfterSequence: 7, MaxSequence: 77})
	if err != nil {
		t.Fatal(err)
	}
	var got []Row
	for row, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, *row)
	}
	want := Row{
		Event: Event{
			ID: "7", Time: time.Date(2026, 11, 21, 11, 22, 33, 123456789, time.UTC), Received: time.Date(2026, 11, 21, 11, 22, 34, 0, time.UTC),
			Level: "error", Service: "s", Env: "e", Host: "h", Container: "c", Stream: "stdout", Message: "a\nb",
			Fields: []Field{{"status", json.Number("200")}, {"user", "u1"}, {"tags", []any{"a", json.Number("1"), nil, true}}, {"o", json.RawMessage(`{"a":[]}`)}, {"n", json.Number("1e400")}},
		},
		Context: true, Group: 2, JSON: got[0].JSON,
	}
	if d := cmp.Diff(want, got[0]); d != "" {
		t.Error(d)
	}
	if len(got) != 2 || got[1].Message != "x" || got[1].Context || got[1].Fields != nil || got[1].JSON != strings.TrimSuffix(strings.TrimPrefix(event(8, "x"), `{"event":`), "}\n") {
		t.Errorf("%+v", got)
	}
	if d := cmp.Diff(Summary{Matched: 2, Events: 3, Bytes: 40, Blocks: 2, Pruned: 1, Sequence: 9, Took: 1500 * time.Microsecond, Services: map[string]int64{"a": 2}, Warnings: []string{"w"}}, rows.Summary()); d != "" {
		t.Error(d)
	}
	r := (*seen)[0]
	if r.URL.String() != "http://logs:7171/api/v1/query" || r.Header.Get("Authorization") != "Bearer secret" {
		t.Error(r.URL, r.Header)
	}
	body, _ := io.ReadAll(r.Body)
	if want := "after=2&after_sequence=7&before=1&limit=5&order=newest&q=a+b&sequence=77&since=2026-11-21T11%3A00%3A00.000000001Z&until=2026-11-21T12%3A00%3A00.000000001Z"; string(body) != want {
		t.Errorf("got %s\nwant %s", body, want)
	}
}

func TestCount(t *testing.T) {
	c, seen := script(t, done)
	s, err := c.Count(t.Context(), QueryRequest{})
	if err != nil || s.Matched != 2 {
		t.Error(s, err)
	}
	if body, _ := io.ReadAll((*seen)[0].Body); string(body) != "count=true&q=" {
		t.Error(string(body))
	}
}

// An answer that is not all there always ends with an error.
func TestAnswersThatAreNotWhole(t *testing.T) {
	for name, c := range map[string]struct {
		answer, want string
		rows         int
	}{
		"nothing":           {"", "broke off: it ended without a summary; the result is incomplete", 0},
		"no summary":        {event(1, "a"), "broke off: it ended without a summary", 1},
		"cut in a row":      {event(1, "a") + `{"event":{"id":"2"`, "broke off: unexpected EOF", 1},
		"cut in summary":    {event(1, "a") + strings.TrimSuffix(done, "}\n"), "broke off: unexpected EOF", 1},
		"summary, no end":   {strings.TrimSuffix(done, "\n"), "broke off: unexpected EOF", 0},
		"error line":        {event(1, "a") + `{"error":{"code":"internal","message":"block 3 is corrupt","mend":"run verify"}}` + "\n", "block 3 is corrupt; run verify", 1},
		"incomplete":        {event(1, "a") + `{"summary":{"complete":false,"reasons":["x","y"]}}` + "\n", "the result is incomplete: x; y", 1},
		"incomplete, blank": {`{"summary":{}}` + "\n", "the result is incomplete", 0},
		"html":              {"<html>\n", "not the API's; is this the address", 0},
		"two in one":        {`{"event":{},"summary":{}}` + "\n", "not the API's", 0},
		"none in one":       {"{}\n", "not the API's", 0},
		"position":          {`{"position":{"sequence":1}}` + "\n", "does not belong into the answer of a search", 0},
	} {
		client, _ := script(t, c.answer)
		rows, err := client.Query(t.Context(), QueryRequest{})
		if err != nil {
			t.Fatal(name, err)
		}
		n := 0
		for rows.Next() {
			n++
		}
		if err := rows.Err(); n != c.rows || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d rows, %v", name, n, err)
		}
		if rows.Next() {
			t.Error(name, "goes on after its end")
		}
	}
}

func TestErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		want   Error
	}{
		"query": {`400 {"error":{"code":"bad_query","message":"a lone \")\"","position":7,"end":8,"mend":"quote it","text":"foo ba )"}}`,
			Error{Status: 400, Code: "bad_query", Message: `a lone ")"`, Mend: "quote it", Text: "foo ba )", Position: 7, End: 8}},
		"place outside": {`400 {"error":{"code":"bad_query","message":"m","position":70,"end":-8,"text":"foo"}}`,
			Error{Status: 400, Code: "bad_query", Message: "m", Text: "foo", Position: 3, End: 3}},
		"token":   {`401 {"error":{"code":"unauthorized","message":"no token"}}`, Error{Status: 401, Code: "unauthorized", Message: "no token"}},
		"html":    {`404 <html>`, Error{Status: 404, Code: CodeNotLookout, Message: "http://logs:7171 answered 404 Not Found", Mend: "is this the address of a lookout server?"}},
		"gateway": {`502 bad`, Error{Status: 502, Code: CodeNotLookout, Message: "http://logs:7171 answered 502 Bad Gateway"}},
		"lost":    {`lost`, Error{Code: CodeNoAnswer, Message: "no answer from http://logs:7171: unexpected EOF", Err: io.ErrUnexpectedEOF}},
	} {
		client, _ := script(t, c.answer)
		_, err := client.Query(t.Context(), QueryRequest{})
		var e *Error
		if !errors.As(err, &e) {
			t.Fatal(name, err)
		}
		if *e != c.want {
			t.Errorf("%s: got %#v", name, *e)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	s := httptest.NewServer(nil)
	defer s.Close()
	// The near end of a connection: nobody listens there, and nobody else can get the port.
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	address := "http://" + conn.LocalAddr().String()
	c, err := New(Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Services(t.Context())
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUnreachable || !strings.Contains(err.Error(), "is `lookout serve` running there? set LOOKOUT_URL") || !strings.Contains(err.Error(), address) {
		t.Error(err)
	}
	for range c.Tail(t.Context(), TailRequest{After: new(uint64(1))}) { // does not try for ever
	}
}

func TestClosingRowsStopsTheServer(t *testing.T) {
	stopped := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, event(1, "a"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		close(stopped)
	}))
	defer s.Close()
	c, _ := New(Options{URL: s.URL})
	rows, err := c.Query(t.Context(), QueryRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range rows.All() {
		break
	}
	<-stopped
	if rows.Next() || rows.Err() != nil {
		t.Error("closed rows", rows.Err())
	}
}

func TestContextEndsAnAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, event(1, "a"))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer s.Close()
	c, _ := New(Options{URL: s.URL})
	rows, err := c.Query(ctx, QueryRequest{})
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
	}
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A server under pressure is asked again when it said, for as long as patience lasts.
func TestRetryUnderPressure(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		wait    time.Duration
		err     string
	}{
		"seconds":        {[]string{"429 7|{}", "503 3|{}", done}, 10 * time.Second, ""},
		"own pace":       {[]string{"429 {}", "429 {}", "503 {}", done}, 1400 * time.Millisecond, ""},
		"a date":         {[]string{"503 Sat, 01 Jan 2000 00:00:05 GMT|{}", done}, 5 * time.Second, ""},
		"too long":       {[]string{`429 100|{"error":{"code":"busy","message":"busy"}}`}, 0, "busy"},
		"not for others": {[]string{"500 {}"}, 0, "500"},
		"not when lost":  {[]string{"lost"}, 0, "no answer"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, seen := script(t, c.answers...)
			start := time.Now()
			_, err := client.Count(t.Context(), QueryRequest{})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Error(name, err)
			}
			if waited := time.Since(start); waited != c.wait || len(*seen) != len(c.answers) {
				t.Error(name, waited, len(*seen))
			}
		})
	}
}

func TestServices(t *testing.T) {
	c, _ := script(t, `{"services":[{"name":"a","hosts":["h1","h2"],"events":3,"bytes":40,"first_seen":"2026-01-02T03:04:05Z","last_seen":"2026-01-02T03:04:06Z","levels":{"error":2}}]}`)
	got, err := c.Services(t.Context())
	first := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := []Service{{"a", []string{"h1", "h2"}, 3, 40, first, first.Add(time.Second), map[string]int64{"error": 2}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
	for _, answer := range []string{"{}", "[]", "<html>", ""} {
		c, _ := script(t, answer)
		if _, err := c.Services(t.Context()); err == nil || !strings.Contains(err.Error(), "is this the address") {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A GET is repeated after a lost answer, a POST is not: it may have done what it does.
		c, seen := script(t, "lost", `{"n":1}`, `{"n":2}`, "lost", "404 {}", "no JSON")
		var answer struct{ N int }
		if err := c.Call(t.Context(), "GET", "/api/v1/x", url.Values{"a": {"b c"}}, &answer); err != nil || answer.N != 1 || (*seen)[1].URL.String() != "http://logs:7171/api/v1/x?a=b+c" {
			t.Error(answer, err, (*seen)[1].URL)
		}
		if err := c.Call(t.Context(), "POST", "/api/v1/y", url.Values{"a": {"b c"}}, &answer); err != nil || answer.N != 2 || bodies(t, (*seen)[2:])[0] != "a=b+c" {
			t.Error(answer, err)
		}
		for _, code := range []string{CodeNoAnswer, CodeNotLookout, CodeNotLookout} {
			var e *Error
			if err := c.Call(t.Context(), "POST", "/api/v1/y", nil, &answer); !errors.As(err, &e) || e.Code != code {
				t.Errorf("%v, want %s", err, code)
			}
		}
		if len(*seen) != 6 {
			t.Errorf("%d requests", len(*seen))
		}
	})
}

func bodies(t *testing.T, seen []*http.Request) []string {
	t.Helper()
	var all []string
	for _, r := range seen {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

func TestSend(t *testing.T) {
	c, seen := script(t, `{"accepted":2,"rejected":0,"errors":[]}`)
	got, err := c.Send(t.Context(), []Event{
		{Time: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), Level: "warn", Service: "s", Env: "e", Host: "h", Container: "c", Stream: "x", Message: "a\"\\\n\t\x01\xff<é",
			Fields: []Field{{"n", 1.5}, {"s", "x\n"}, {"a", []int{1, 2}}, {"null", nil}, {"raw", json.RawMessage(`{"a":1}`)}}},
		{Message: ""},
	}, SendOptions{Service: "default"})
	if err != nil || got.Accepted != 2 || got.Next != 0 {
		t.Error(got, err)
	}
	want := `{"time":"2026-01-02T02:04:05.000000006Z","service":"s","env":"e","host":"h","container":"c","stream":"x","level":"warn","message":"a\"\\\n\t\u0001` + "\xff" + `<é","n":1.5,"s":"x\n","a":[1,2],"null":null,"raw":{"a":1}}` + "\n" + `{"message":""}` + "\n"
	if b := bodies(t, *seen); b[0] != want {
		t.Errorf("got %s\nwant %s", b[0], want)
	}
	if h := (*seen)[0].Header; h.Get("Lookout-Service") != "default" || h.Get("Lookout-Producer") != "" || h.Get("Lookout-First-Sequence") != "" {
		t.Error(h)
	}

	c, _ = script(t)
	if _, err := c.Send(t.Context(), []Event{{}, {Fields: []Field{{"f", func() {}}}}}, SendOptions{}); err == nil || !strings.Contains(err.Error(), `event 2: field "f"`) {
		t.Error(err)
	}
	if got, err := c.Send(t.Context(), nil, SendOptions{}); err != nil || got.Accepted != 0 {
		t.Error(got, err)
	}
}

func TestSendIsCutIntoRequests(t *testing.T) {
	c, seen := script(t, `{"accepted":10000}`, `{"accepted":1}`)
	if got, err := c.Send(t.Context(), make([]Event, batchEvents+1), SendOptions{}); err != nil || got.Accepted != 10001 || len(*seen) != 2 {
		t.Error(got, err, len(*seen))
	}
	c, seen = script(t, `{"accepted":4}`, `{"accepted":1}`)
	big := strings.Repeat("x", 1<<20)
	if got, err := c.Send(t.Context(), []Event{{Message: big}, {Message: big}, {Message: big}, {Message: big}, {Message: "1"}}, SendOptions{}); err != nil || got.Accepted != 5 || len(*seen) != 2 {
		t.Error(got, err, len(*seen))
	}
}

// With a producer a lost answer is harmless: the same events go out under the same count.
func TestSendAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, seen := script(t, "lost", "502 {}", `{"accepted":2,"rejected":1,"errors":[{"line":2,"message":"bad"}]}`)
		// All in whole lines, which are read at once: what is read while nothing waits makes the next request.
		got, err := c.SendNDJSON(t.Context(), strings.NewReader("{1}\n\n{2}\n{3}\n"), SendOptions{Producer: "p", First: 5})
		if d := cmp.Diff(SendResult{Accepted: 2, Rejected: 1, Errors: []LineError{{3, "bad"}}, Next: 8}, got); err != nil || d != "" {
			t.Error(err, d)
		}
		for i, body := range bodies(t, *seen) {
			if h := (*seen)[i].Header; body != "{1}\n{2}\n{3}\n" || h.Get("Lookout-Producer") != "p" || h.Get("Lookout-First-Sequence") != "5" {
				t.Error(i, body, h)
			}
		}
	})
	// The last line needs no end.
	c, seen := script(t, `{"accepted":1,"rejected":0,"errors":[]}`)
	if got, err := c.SendNDJSON(t.Context(), strings.NewReader("{1}"), SendOptions{}); err != nil || got.Accepted != 1 || bodies(t, *seen)[0] != "{1}\n" {
		t.Error(got, err)
	}
	c, _ = script(t, "lost")
	if _, err := c.SendNDJSON(t.Context(), strings.NewReader("{}"), SendOptions{}); err == nil {
		t.Error("a lost answer was taken for one")
	}
	c, _ = script(t, `{}`)
	if _, err := c.SendNDJSON(t.Context(), strings.NewReader("{}"), SendOptions{}); err == nil {
		t.Error("an answer without a count was taken for one")
	}
}

// What the server took before it turned the rest away is not sent again.
func TestSendTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for producer, first := range map[string][]string{"": {"", "", "", ""}, "p": {"1", "3", "4", "4"}} {
			c, seen := script(t, `429 1|{"error":{"code":"overloaded","message":"m"},"accepted":1,"rejected":1,"errors":[{"line":2,"message":"bad"}]}`,
				`503 1|{"error":{"code":"disk_full","message":"m"},"accepted":1,"rejected":0,"errors":[]}`,
				`429 1|{"error":{"code":"overloaded","message":"m"},"accepted":0,"rejected":0,"errors":[]}`,
				`{"accepted":0,"rejected":1,"errors":[{"line":1,"message":"bad too"}]}`)
			got, err := c.SendNDJSON(t.Context(), strings.NewReader("{1}\n\n  \n{2}\n{3}\n\n{4}\n"), SendOptions{Producer: producer})
			want := SendResult{Accepted: 2, Rejected: 2, Errors: []LineError{{4, "bad"}, {7, "bad too"}}}
			if producer != "" {
				want.Next = 5
			}
			if d := cmp.Diff(want, got); err != nil || d != "" {
				t.Error(err, d)
			}
			if d := cmp.Diff([]string{"{1}\n{2}\n{3}\n{4}\n", "{3}\n{4}\n", "{4}\n", "{4}\n"}, bodies(t, *seen)); d != "" {
				t.Error(d)
			}
			for i, want := range first {
				if got := (*seen)[i].Header.Get("Lookout-First-Sequence"); got != want {
					t.Errorf("request %d of %q begins at %q", i, producer, got)
				}
			}
		}
	})
	c, _ := script(t, `500 {"error":{"code":"not_stored","message":"not stored"},"accepted":1,"rejected":0,"errors":[]}`)
	if got, err := c.SendNDJSON(t.Context(), strings.NewReader("{1}\n{2}\n"), SendOptions{}); err == nil || got.Accepted != 1 {
		t.Error(got, err)
	}
	for _, answer := range []string{`{"accepted":1,"rejected":0}`, `{"accepted":3,"rejected":0}`, `{"rejected":2}`} {
		c, _ := script(t, answer)
		if _, err := c.SendNDJSON(t.Context(), strings.NewReader("{1}\n{2}\n"), SendOptions{}); err == nil {
			t.Errorf("%s was taken for an answer about two events", answer)
		}
	}
}

// One unusable request does not keep the others back, and lines are numbered over the whole call.
func TestSendLinesNumbers(t *testing.T) {
	var sent []string
	first := make(chan struct{})
	c, err := New(Options{HTTP: &http.Client{Transport: serve(func(r *http.Request) (int, http.Header, io.ReadCloser, error) {
		body, err := io.ReadAll(r.Body)
		sent = append(sent, string(body))
		if len(sent) == 1 {
			close(first)
			return 400, nil, text(`{"error":{"code":"no_events","message":"none"},"accepted":0,"rejected":1,"errors":[{"line":1,"message":"no good"}]}`), err
		}
		return 200, nil, text(`{"accepted":0,"rejected":1,"errors":[{"line":1,"message":"bad"}]}`), err
	})}})
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	go func() {
		io.WriteString(w, "\r\nfirst\n")
		<-first
		io.WriteString(w, strings.Repeat("\n", 10000))
		io.WriteString(w, "\nsecond")
		w.CloseWithError(io.ErrClosedPipe)
	}()
	got, err := c.SendLines(t.Context(), r, Event{Service: "s", Fields: []Field{{"n", 1}}}, SendOptions{})
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	want := SendResult{Rejected: 2, Errors: []LineError{{2, "no good"}, {10004, "bad"}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{`{"service":"s","message":"first","n":1}` + "\n", `{"service":"s","message":"second","n":1}` + "\n"}, sent); d != "" {
		t.Error(d)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	c, _ := script(t)
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	cancel()
	if _, err := c.SendNDJSON(ctx, r, SendOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func position(n int) string { return fmt.Sprintf(`{"position":{"sequence":%d}}`+"\n", n) }

// Tail goes on where it was, whatever breaks, and delivers nothing twice.
func TestTailResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, seen := script(t,
			done,                          // where are we? 9
			event(10, "a")+event(12, "b"), // breaks
			"lost",                        // the server restarts
			`503 2|{}`,
			event(11, "old")+event(12, "b")+event(13, "c")+position(20)+`{"event":{"id":"2`,  // repeats, breaks in a line
			position(30)+`{"error":{"code":"gap","message":"21 to 30 cannot be read"}}`+"\n", // goes on behind it
			event(31, "d")+`{"error":{"code":"stopping","message":"stops"}}`+"\n",
			`{"error":{"code":"store","message":"failed"}}`+"\n", // no progress, three times: given up
			`{"error":{"code":"store","message":"failed"}}`+"\n",
			`{"error":{"code":"store","message":"failed for good"}}`+"\n",
		)
		var got, notes []string
		for row, err := range c.Tail(ctx, TailRequest{Query: "q", OnReconnect: func(err error, wait time.Duration) { notes = append(notes, wait.String()) }}) {
			if err != nil {
				got = append(got, err.Error())
				continue
			}
			got = append(got, row.Message)
		}
		cancel()
		if d := cmp.Diff([]string{"a", "b", "c", "the result is incomplete: 21 to 30 cannot be read", "d", "failed for good"}, got); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff([]string{"200ms", "400ms", "2s", "200ms", "200ms", "400ms", "800ms"}, notes); d != "" {
			t.Error(d)
		}
		var after []string
		for _, r := range (*seen)[1:] {
			after = append(after, r.URL.RawQuery)
		}
		if d := cmp.Diff([]string{"after=9&q=q", "after=12&q=q", "after=12&q=q", "after=12&q=q", "after=20&q=q", "after=30&q=q", "after=31&q=q", "after=31&q=q", "after=31&q=q"}, after); d != "" {
			t.Error(d)
		}
	})
}

// What the server has left out is told in its place, and a lost connection goes on behind it.
func TestTailSkips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		skipped := `{"skipped":{"events":3,"after":6,"to":9}}` + "\n"
		c, seen := script(t, event(6, "a")+skipped+event(10, "b")+`{"skipped":{"events":1,"after":10,"to":20,"complete":false}}`+"\n", skipped+event(21, "c"))
		var got []string
		for row, err := range c.Tail(ctx, TailRequest{After: new(uint64(5)), OnSkip: func(s Skipped) { got = append(got, fmt.Sprint(s)) }}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, row.Message); row.Message == "c" {
				break
			}
		}
		cancel()
		if d := cmp.Diff([]string{"a", "{3 6 9 false}", "b", "{1 10 20 true}", "c"}, got); d != "" {
			t.Error(d)
		}
		for i, want := range []string{"after=5&q=&slow=skip", "after=20&q=&slow=skip"} {
			if got := (*seen)[i].URL.RawQuery; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	})
}

func TestTailGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		want    string
	}{
		"bad query":      {[]string{`400 {"error":{"code":"bad_query","message":"bad"}}`}, "bad"},
		"first try":      {[]string{"lost"}, "no answer"},
		"first pressure": {[]string{`503 {"error":{"code":"busy","message":"busy"}}`}, "busy"},
		"token":          {[]string{event(6, "a"), `401 {"error":{"code":"unauthorized","message":"no"}}`}, "no"},
		"revoked":        {[]string{event(6, "a") + `{"error":{"code":"token_revoked","message":"no more"}}` + "\n"}, "no more"},
		"not built":      {[]string{event(6, "a"), `501 {"error":{"code":"not_implemented","message":"not yet"}}`}, "not yet"},
		"id":             {[]string{`{"event":{"id":"x"}}` + "\n"}, "not a sequence"},
		"summary":        {[]string{done}, "does not belong"},
		"skipped":        {[]string{`{"skipped":{"events":3,"after":6,"to":9}}` + "\n"}, "not asked for"},
		"another store":  {[]string{event(6, "a"), `400 {"error":{"code":"bad_parameter","message":"after is beyond the newest event"}}`}, "beyond the newest"},
		"html":           {[]string{"<html>\n"}, "not the API's"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, _ := script(t, c.answers...)
			var last error
			for _, err := range client.Tail(t.Context(), TailRequest{After: new(uint64(5))}) {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), c.want) {
				t.Error(name, last)
			}
		})
	}
}

// A connection on which nothing comes, not even a position, is taken for dead; a slow reader's is not.
func TestTailNoticesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var asked []url.Values
		c, _ := New(Options{HTTP: &http.Client{Transport: serve(func(r *http.Request) (int, http.Header, io.ReadCloser, error) {
			asked = append(asked, r.URL.Query())
			pr, pw := io.Pipe()
			go func() {
				io.WriteString(pw, event(len(asked), "m"))
				<-r.Context().Done()
				pw.CloseWithError(r.Context().Err())
			}()
			return 200, nil, pr, nil
		})}})
		var why error
		start := time.Now()
		n := 0
		for _, err := range c.Tail(ctx, TailRequest{After: new(uint64(0)), OnReconnect: func(err error, _ time.Duration) { why = err }}) {
			if err != nil {
				t.Error(err)
				break
			}
			if n++; n == 2 {
				break
			}
			time.Sleep(time.Hour)
		}
		if n != 2 || why == nil || !strings.Contains(why.Error(), "silent for 35s") || time.Since(start) != time.Hour+silence+200*time.Millisecond {
			t.Error(n, why, time.Since(start))
		}
		if asked[0].Get("after") != "0" || asked[1].Get("after") != "1" {
			t.Error(asked)
		}
	})
}

func TestTailEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c, _ := script(t, event(6, "a"))
		var last error
		for _, err := range c.Tail(ctx, TailRequest{After: new(uint64(5)), OnReconnect: func(error, time.Duration) { cancel() }}) {
			last = err
		}
		if !errors.Is(last, context.Canceled) {
			t.Error(last)
		}
	})
}

func TestParseLine(t *testing.T) {
	for _, text := range []string{
		``, `{`, `[]`, `{"event":{}} x`, `{"event":{},}`, `{"event":{"id":1}}`, `{"event":{"id":"1}}`, `{"event":{"time":"yesterday"}}`,
		`{"event":{"message":"` + "\n" + `"}}`, `{"event":{"message":"a\` + "\x01" + `"}}`, `{"event":{"message":"\x"}}`, `{"event":{"message":"\u12g4"}}`, `{"event":{"message":"\u12"}}`,
		`{"event":{"fields":{"a":01}}}`, `{"event":{"fields":{"a":-}}}`, `{"event":{"fields":{"a":1.}}}`, `{"event":{"fields":{"a":1e}}}`, `{"event":{"fields":{"a":nul}}}`,
		`{"event":{"fields":{"a":[1,]}}}`, `{"event":{"fields":{"a":[1 2]}}}`, `{"event":{"fields":{"a":}}}`, `{"event":{"fields":[]}}`, `{"event":{},"context":1}`, `{"event":{},"group":"1"}`,
		`{"event":{},"group":1e99}`, `{"skipped":{}}`, `{"skipped":{"events":1,"after":3,"to":3}}`, `{"position":{}}`, `{"position":3}`, `{"event":{"fields":{"a":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}}}`,
	} {
		if err := parseLine(text, new(line)); err == nil {
			t.Errorf("taken: %.80s", text)
		}
	}
	for text, want := range map[string]string{
		`{"event":{"message":"\ud83d\ude00"}}`:                              "😀",
		`{"event":{"message":"\ud83d"}}`:                                    "\uFFFD",
		`{"event":{"message":"\ud83d\u0041"}}`:                              "\uFFFDA",
		`{"event":{"message":"\ude00x"}}`:                                   "\uFFFDx",
		`{"event":{"message":"\"\\\/\b\f\n\r\tx\u00e9y"}}`:                  "\"\\/\b\f\n\r\txéy",
		` { "new" : [ { } ] , "event" : { "new" : 1 , "message" : "m" } } `: "m",
	} {
		var l line
		if err := parseLine(text, &l); err != nil || l.row.Message != want {
			t.Errorf("%s: %q %v", text, l.row.Message, err)
		}
	}
}

// Whatever parseLine takes is JSON, and says the same to encoding/json.
func FuzzParseLine(f *testing.F) {
	for _, s := range []string{event(1, "a"), done, position(3), `{"event":{"fields":{"a":[1,{"b":null}],"c":"\ud83d\ude00","d":-0.5e+7}},"group":3}`, `{"error":{"message":"m"}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var l line
		if parseLine(text, &l) != nil {
			return
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("taken though it is not JSON: %q", text)
		}
		if !l.isRow || strings.Count(text, `"message"`) > 1 || strings.Count(text, "event") > 1 {
			return
		}
		var want struct {
			Event struct{ Message *string }
		}
		if json.Unmarshal([]byte(strings.ToValidUTF8(text, "\uFFFD")), &want) == nil && want.Event.Message != nil && strings.Contains(text, `"message"`) &&
			strings.ToValidUTF8(l.row.Message, "\uFFFD") != *want.Event.Message {
			t.Fatalf("%q\ngot  %q\nwant %q", text, l.row.Message, *want.Event.Message)
		}
	})
}

func BenchmarkParseLine(b *testing.B) {
	text := `{"event":{"id":"123","time":"2026-11-21T11:22:33.123456789Z","received":"2026-11-21T11:22:33.223456789Z","level":"error","service":"payments","env":"prod","host":"web-1","container":"payments-1","stream":"stdout","message":"connection to \"db\" refused after 3 tries","fields":{"status":200,"user":"u1","tags":["a","b"]}}}`
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var l line
	for b.Loop() {
		if err := parseLine(text, &l); err != nil {
			b.Fatal(err)
		}
	}
}
