package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/lookoutlog/lookout/index/query"
	"github.com/lookoutlog/lookout/index/tail"
	"github.com/lookoutlog/lookout/internal/event"
)

// tailLine is one line of a live tail; exactly one part is set.
type tailLine struct {
	Event    *struct{ ID, Message string }
	Position *struct {
		Sequence uint64
		Warnings []string
	}
	Skipped *struct {
		Events    int
		After, To uint64
		Complete  *bool
	}
	Error *struct{ Code, Message, Mend string }
}

func (l tailLine) String() string {
	switch {
	case l.Event != nil:
		return "event " + l.Event.ID
	case l.Position != nil:
		return fmt.Sprintf("position %d%s", l.Position.Sequence, strings.Join(l.Position.Warnings, ""))
	case l.Skipped != nil:
		text := fmt.Sprintf("skipped %d of (%d,%d]", l.Skipped.Events, l.Skipped.After, l.Skipped.To)
		if l.Skipped.Complete != nil {
			text += fmt.Sprintf(" complete %v", *l.Skipped.Complete)
		}
		return text
	case l.Error != nil:
		return "error " + l.Error.Code
	}
	return "nothing"
}

// tailer reads a live tail line by line.
type tailer struct {
	t    testing.TB
	next func() (string, error)
}

func (r tailer) read() tailLine {
	r.t.Helper()
	text, err := r.next()
	var l tailLine
	if err == nil {
		err = json.Unmarshal([]byte(text), &l)
	}
	if err != nil {
		r.t.Fatalf("%q: %v", text, err)
	}
	return l
}

// want reads as many lines as there are words, and compares.
func (r tailer) want(words ...string) {
	r.t.Helper()
	for _, w := range words {
		if got := r.read().String(); got != w {
			r.t.Fatalf("%s, want %s", got, w)
		}
	}
}

// event reads until the next event and returns its id.
func (r tailer) event() string {
	r.t.Helper()
	for {
		switch l := r.read(); {
		case l.Event != nil:
			return l.Event.ID
		case l.Position == nil:
			r.t.Fatalf("%v", l)
		}
	}
}

func (f *fixture) open(t testing.TB, s *httptest.Server, params string) tailer {
	t.Helper()
	resp := f.get(t, t.Context(), s.URL+"/api/v1/tail?"+params)
	if resp.StatusCode != 200 {
		t.Fatalf("%s", resp.Status)
	}
	b := bufio.NewReader(resp.Body)
	return tailer{t, func() (string, error) { return b.ReadString('\n') }}
}

func (f *fixture) dial(t testing.TB, s *httptest.Server, params string) (tailer, *websocket.Conn) {
	t.Helper()
	dialer := websocket.Dialer{WriteBufferSize: 4 * maxFromClient} // a message is one frame
	return dialTail(t, dialer, "ws"+strings.TrimPrefix(s.URL, "http"), params, http.Header{"Authorization": {"Bearer " + token}, "Origin": {s.URL}})
}

// dialTail follows over a WebSocket.
func dialTail(t testing.TB, dialer websocket.Dialer, address, params string, header http.Header) (tailer, *websocket.Conn) {
	t.Helper()
	conn, resp, err := dialer.Dial(address+"/api/v1/tail?"+params, header)
	if err != nil {
		t.Fatal(err, resp)
	}
	t.Cleanup(func() { conn.Close() })
	return tailer{t, func() (string, error) {
		_, p, err := conn.ReadMessage()
		if strings.Contains(string(p), "\n") {
			t.Errorf("a message with a newline: %q", p)
		}
		return string(p), err
	}}, conn
}

// ways are the two ways to follow, in a bubble: between the lines that a test wants no position is said, and none is cut off, however slow
// the machine is.
func ways(t *testing.T, test func(t *testing.T, f *fixture, open func(params string) tailer)) {
	t.Run("lines", func(t *testing.T) {
		piped(t, &http.Server{}, func(*Options) {}, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
			client := clientOver(t, dial)
			test(t, f, func(params string) tailer {
				r, err := http.NewRequestWithContext(t.Context(), "GET", "http://x/api/v1/tail?"+params, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+token)
				return linesOf(t, client, r)
			})
		})
	})
	t.Run("socket", func(t *testing.T) {
		piped(t, &http.Server{}, func(*Options) {}, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
			test(t, f, func(params string) tailer {
				r, _ := dialTail(t, websocket.Dialer{NetDial: dial}, "ws://x", params, http.Header{"Authorization": {"Bearer " + token}, "Origin": {"http://x"}})
				return r
			})
		})
	})
}

// clientOver is a client that reaches a server through dial.
func clientOver(t *testing.T, dial func(string, string) (net.Conn, error)) *http.Client {
	transport := &http.Transport{DialContext: func(_ context.Context, network, addr string) (net.Conn, error) { return dial(network, addr) }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// linesOf reads the answer to a request line by line.
func linesOf(t testing.TB, client *http.Client, r *http.Request) tailer {
	t.Helper()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 {
		t.Fatalf("%s", resp.Status)
	}
	b := bufio.NewReader(resp.Body)
	return tailer{t, func() (string, error) { return b.ReadString('\n') }}
}

// closing begins to close the API, and returns what waits for that: a client at a pipe has to read what a stop has to say.
func (f *fixture) closing() (closed func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Close()
	}()
	return func() { <-done }
}

func TestTail(t *testing.T) {
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		f.store.append(line("a", "old x", 1), line("a", "old y", 2))
		now := open("q=x")
		now.want("position 2")
		f.store.append(line("a", "new x", 3), line("a", "new y", 4), line("a", "new x", 5))
		now.want("event 3", "event 5")

		after := open("after=1")
		after.want("position 1", "event 2", "event 3", "event 4", "event 5", "position 5")
		f.store.append(line("a", "newer", 6))
		after.want("event 6")

		all := open("after=0&q=x")
		all.want("position 0", "event 1", "event 3", "event 5", "position 6")

		last := open("last=2&q=y")
		last.want("event 2", "event 4", "position 6")
		f.store.append(line("a", "y", 7))
		last.want("event 7")
	})
}

func TestTailOfNothing(t *testing.T) {
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		// What arrives before the search for the last ones is not among them: following has it.
		f.store.hook = func(context.Context, query.Request) error {
			f.store.append(line("a", "too early", 1))
			return nil
		}
		r := open("last=10")
		r.want("position 0")
		f.store.append(line("a", "first", 1))
		r.want("event 1")
		closed := f.closing()
		r.want("position 1")
		if _, err := r.next(); err == nil {
			t.Error("it goes on")
		}
		closed()
	})
}

// An event that arrives between the search for the last ones and the following is neither left out nor there twice.
func TestLastAndLiveMeet(t *testing.T) {
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		for i := range 5 {
			f.store.append(line("a", "x", int64(i)))
		}
		f.store.hook = func(context.Context, query.Request) error {
			f.store.append(line("a", "x", 2), line("a", "x", 100)) // one of them sorts among the old ones
			return nil
		}
		r := open("last=3")
		r.want("event 3", "event 4", "event 5", "position 5", "event 6", "event 7", "position 7")
	})
}

// While events pour in, each comes exactly once and in order, whatever the tail begins with.
func TestNoGapAndNoDouble(t *testing.T) {
	const total = 500
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		var pour sync.WaitGroup
		pour.Go(func() {
			for i := range total {
				f.store.append(line("a", "x", int64(i)))
			}
		})
		r := open("last=10000")
		pour.Wait()
		for i := range total {
			if got := r.event(); got != fmt.Sprint(i+1) {
				t.Fatalf("event %s, want %d", got, i+1)
			}
		}
	})
}

func TestGap(t *testing.T) {
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		for range 9 {
			f.store.append(line("a", "x", 1))
		}
		f.store.gap = &query.GapError{From: 3, To: 5, Err: errors.New("a page is corrupt")}
		r := open("after=2")
		r.want("position 2", "position 5") // a client that comes back goes on behind the gap
		l := r.read()
		if l.Error == nil || l.Error.Code != "gap" || !strings.Contains(l.Error.Message, "3 to 5 cannot be read: a page is corrupt") || !strings.Contains(l.Error.Mend, "after=5") {
			t.Errorf("%v", l)
		}
		if text, err := r.next(); err == nil {
			t.Errorf("it goes on: %s", text)
		}
	})
}

func TestLastIsBounded(t *testing.T) {
	f := newFixture(t)
	big := strings.Repeat("x", 1<<20)
	for i := range 18 {
		f.store.append(line("a", big, int64(i)))
	}
	s := f.server(t)
	r := f.open(t, s, "last=18")
	for i := range 15 {
		if got := r.event(); got != fmt.Sprint(i+4) {
			t.Fatalf("event %s, want %d", got, i+4)
		}
	}
	if l := r.read(); l.Position == nil || len(l.Position.Warnings) != 1 || !strings.Contains(l.Position.Warnings[0], "only the newest 15 events") {
		t.Errorf("%v", l)
	}
}

func TestLastWarns(t *testing.T) {
	f := newFixture(t)
	f.store.append(line("a", "timeo*", 1))
	f.store.scan.Reasons = []string{"a block is corrupt"}
	r := f.open(t, f.server(t), "last=1&q=timeo*")
	r.want("event 1")
	if l := r.read(); l.Position == nil || len(l.Position.Warnings) != 2 {
		t.Errorf("%v", l)
	}
}

// An error before the first line is an answer with a status.
func TestTailRefused(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Limits.Tails = 1 })
	f.store.append(line("a", "x", 1))
	s := f.server(t)
	f.store.hook = func(context.Context, query.Request) error { return errors.New("disk gone") }
	if resp := f.get(t, t.Context(), s.URL+"/api/v1/tail?last=1"); resp.StatusCode != 500 {
		t.Errorf("a broken store: %s", resp.Status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := f.get(t, ctx, s.URL+"/api/v1/tail")
	if resp := f.get(t, t.Context(), s.URL+"/api/v1/tail"); first.StatusCode != 200 || resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%s, then %s", first.Status, resp.Status)
	}
	if _, resp, err := websocket.DefaultDialer.Dial("ws"+s.URL[4:]+"/api/v1/tail", http.Header{"Authorization": {"Bearer " + token}}); err == nil || resp.StatusCode != 429 {
		t.Errorf("a WebSocket beyond the limit: %v, %v", resp, err)
	}
	cancel() // the client goes, and its place is free when its handler has seen it
	f.API.open.Wait()
	if resp := f.get(t, t.Context(), s.URL+"/api/v1/tail"); resp.StatusCode != 200 {
		t.Errorf("after the first was closed: %s", resp.Status)
	}
}

// Close ends the tails with their positions, and nothing is left open in the store.
func TestClose(t *testing.T) {
	ways(t, func(t *testing.T, f *fixture, open func(string) tailer) {
		r := open("")
		r.want("position 0")
		f.store.append(line("a", "x", 1))
		r.want("event 1")
		closed := f.closing()
		r.want("position 1")
		text, err := r.next()
		if err == nil {
			t.Errorf("it goes on: %s", text)
		}
		closed()
		if ce := (*websocket.CloseError)(nil); errors.As(err, &ce) && ce.Code != websocket.CloseGoingAway {
			t.Errorf("%v", err)
		}
		if f.store.opened != 0 || f.openTails() != 0 {
			t.Errorf("%d followers are open, %d tails", f.store.opened, f.openTails())
		}
		if w := f.do("GET", "/api/v1/tail", ""); w.Code != 503 || errorOf(t, w.Body.Bytes()).Error.Code != "stopping" {
			t.Errorf("a tail after the end: %d", w.Code)
		}
		if w := f.do("GET", "/api/v1/query", ""); w.Code != 200 {
			t.Errorf("a search after the end of tails: %d", w.Code)
		}
	})
}

// much is a store whose followers soon have more than anything on the way to a client holds.
type much struct{ *memory }

type muchFollower struct {
	query.Follower
	at uint64
}

func (m much) Follow(after uint64) query.Follower {
	return &muchFollower{m.memory.Follow(after), after}
}

func (f *muchFollower) Position() uint64 { return f.at }

func (f *muchFollower) Next(ctx context.Context) ([]event.Event, error) {
	if f.at == 50 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.at++
	return []event.Event{{Seq: f.at, Message: make([]byte, 100_000)}}, nil
}

// closer is a client with whose first event the server begins to stop.
type closer struct {
	recorder
	close func()
}

func (c *closer) Write(p []byte) (int, error) {
	if strings.Contains(string(p), `"event"`) {
		c.close()
	}
	return c.recorder.Write(p)
}

// Events that came as the server began to stop are delivered before their position is said.
func TestCloseLosesNothing(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.store.append(line("a", strings.Repeat("x", flushBytes-10_000), 1)) // each second one is written at once
	}
	out := &closer{recorder{http.Header{}, make(chan string, 100)}, f.API.close}
	r := httptest.NewRequest("GET", "/api/v1/tail?after=0", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	f.ServeHTTP(out, r)
	close(out.lines)
	tail := tailer{t, func() (string, error) { return <-out.lines, nil }}
	tail.want("position 0", "event 1", "event 2", "event 3", "position 3")
}

// pipes is a listener of connections that hold nothing: what is not read blocks its writer.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p <- server
	return client, nil
}

// piped runs test in a bubble of fake time, with a server that is reached through dial.
func piped(t *testing.T, server *http.Server, change func(*Options), test func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error))) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, change)
		server.Handler = f
		listener := make(pipes)
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(listener)
		}()
		var clients []net.Conn
		test(t, f, func(network, addr string) (net.Conn, error) {
			conn, err := listener.dial(network, addr)
			clients = append(clients, conn)
			return conn, err
		})
		for _, c := range clients {
			c.Close()
		}
		close(listener)
		server.Close()
		<-served
	})
}

// begin sends the head of a request.
func begin(t *testing.T, conn net.Conn, request string, header ...string) {
	t.Helper()
	lines := append([]string{request + " HTTP/1.1", "Host: x", "Authorization: Bearer " + token}, header...)
	if _, err := io.WriteString(conn, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

// A client that does not read does not hold up the stop, and without a stop is cut off after a while.
func TestClientsThatDoNotRead(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(f *fixture)
		want time.Duration
	}{
		"stop": {func(f *fixture) { f.Close() }, stopTime},
		"on":   {func(*fixture) {}, writeTime},
	} {
		t.Run(name, func(t *testing.T) {
			endless := func(o *Options) { o.Store = much{o.Store.(*memory)} }
			piped(t, &http.Server{}, endless, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
				lines, err := dial("", "")
				if err != nil {
					t.Fatal(err)
				}
				begin(t, lines, "GET /api/v1/tail")
				if text, err := bufio.NewReaderSize(lines, 16).ReadString('\n'); err != nil || !strings.Contains(text, "200") {
					t.Fatal(text, err)
				}
				dialer := websocket.Dialer{NetDial: dial}
				if _, _, err := dialer.Dial("ws://x/api/v1/tail", http.Header{"Authorization": {"Bearer " + token}}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // both are stuck in a write
				began := time.Now()
				c.end(f)
				f.API.open.Wait()
				if took := time.Since(began); took != c.want {
					t.Errorf("ended after %v, want %v", took, c.want)
				}
			})
		})
	}
}

// A server's ReadTimeout is for requests: it does not end a tail. net/http sees to it, and the API relies on it.
func TestReadTimeout(t *testing.T) {
	piped(t, &http.Server{ReadTimeout: positionEvery / 2}, func(*Options) {}, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
		conn, err := dial("", "")
		if err != nil {
			t.Fatal(err)
		}
		begin(t, conn, "GET /api/v1/tail")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(resp.Body)
		r := tailer{t, func() (string, error) { return b.ReadString('\n') }}
		r.want("position 0", "position 0", "position 0")
		f.store.append(line("a", "x", 1))
		r.want("event 1")
	})
}

// A body that does not come is not waited for long, whether somebody reads it or not.
func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		request string
		status  int
		after   time.Duration
	}{
		{"POST /api/v1/query", 400, 2 * bodyTime}, // once by the handler, once by net/http
		{"POST /api/v1/services", 405, bodyTime},
		{"POST /status", 405, bodyTime},
		{"POST /nothing", 404, bodyTime},
		{"GET /api/v1/query", 200, bodyTime},
		{"GET /api/v1/tail", 200, bodyTime},
	} {
		piped(t, &http.Server{}, func(*Options) {}, func(t *testing.T, _ *fixture, dial func(string, string) (net.Conn, error)) {
			conn, err := dial("", "")
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			begin(t, conn, c.request, "Content-Length: 5")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != c.status || time.Since(began) != c.after {
				t.Errorf("%s: %v, %v after %v", c.request, resp, err, time.Since(began))
			}
		})
	}
}

// The write deadline of one request does not reach into the connection's next one. net/http sees to it, and the API relies
// on it.
func TestDeadlineEndsWithItsRequest(t *testing.T) {
	piped(t, &http.Server{}, func(*Options) {}, func(t *testing.T, f *fixture, dial func(string, string) (net.Conn, error)) {
		conn, err := dial("", "")
		if err != nil {
			t.Fatal(err)
		}
		b := bufio.NewReader(conn)
		answer := func(status int) {
			t.Helper()
			resp, err := http.ReadResponse(b, nil)
			if err != nil || resp.StatusCode != status {
				t.Fatal(resp, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				t.Fatal(err)
			}
		}
		begin(t, conn, "GET /status")
		answer(200)
		<-time.After(2 * writeTime)
		begin(t, conn, "POST /api/v1/events", "Expect: 100-continue", "Content-Length: 5")
		answer(100) // the first thing written, and not by the handler
		if _, err := conn.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		answer(200)
	})
}

func TestSocketOrigin(t *testing.T) {
	f := newFixture(t)
	s := f.server(t)
	for _, c := range []struct {
		origin string
		status int
	}{
		{"", 101}, {s.URL, 101}, {strings.ToUpper(s.URL), 101}, {"https://" + s.Listener.Addr().String(), 101},
		{"https://evil.example", 403}, {s.URL + ".evil.example", 403}, {"null", 403}, {"http://localhost:1", 403}, {"http://" + s.Listener.Addr().String() + "@evil.example", 403}, {"%", 403},
	} {
		header := http.Header{"Authorization": {"Bearer " + token}}
		if c.origin != "" {
			header["Origin"] = []string{c.origin}
		}
		conn, resp, err := websocket.DefaultDialer.Dial("ws"+s.URL[4:]+"/api/v1/tail", header)
		if err == nil {
			conn.Close()
		}
		if resp == nil || resp.StatusCode != c.status {
			t.Errorf("Origin %q: %v, %v", c.origin, resp, err)
		}
	}
	// And without a token none at all.
	if _, resp, err := websocket.DefaultDialer.Dial("ws"+s.URL[4:]+"/api/v1/tail", http.Header{"Origin": {s.URL}}); err == nil || resp.StatusCode != 401 {
		t.Errorf("without a token: %v, %v", resp, err)
	}
	if resp := f.get(t, t.Context(), s.URL+"/api/v1/tail?q=("); resp.StatusCode != 400 {
		t.Error(resp.Status)
	}
	// A WebSocket of another version is refused in the API's own words.
	w := f.do("GET", "/api/v1/tail", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "8")
	if errorOf(t, w.Body.Bytes()).Error.Code != "bad_websocket" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A client has nothing to say: what is too long ends the connection, what is short is passed over.
func TestSocketFromClient(t *testing.T) {
	f := newFixture(t)
	s := f.server(t)
	r, conn := f.dial(t, s, "")
	r.want("position 0")
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"drop":"tables"}`)); err != nil {
		t.Fatal(err)
	}
	f.store.append(line("a", "x", 1))
	r.want("event 1")
	if err := conn.WriteMessage(websocket.TextMessage, make([]byte, maxFromClient+1)); err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, websocket.CloseMessageTooBig, websocket.CloseGoingAway) {
				t.Errorf("%v", err)
			}
			break
		}
	}
	f.API.open.Wait()
	if f.store.opened != 0 {
		t.Error("the follower is still open")
	}
}

// recorder is the other end of a tail without a network: lines go to a channel.
type recorder struct {
	header http.Header
	lines  chan string
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}
func (r *recorder) Flush()              {}
func (r *recorder) Write(p []byte) (int, error) {
	for l := range strings.Lines(string(p)) {
		r.lines <- l
	}
	return len(p), nil
}

// slowClient follows with a client that reads a line when it is told to, and a queue of ten events.
func slowClient(t *testing.T, params string, test func(f *fixture, tail tailer)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.API.hub = tail.New(tail.Options{Source: f.store, QueueEvents: 10})
		ctx, cancel := context.WithCancel(t.Context())
		out := &recorder{http.Header{}, make(chan string)}
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/tail?"+params, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.ServeHTTP(out, r)
		}()
		defer func() {
			cancel()
			for {
				select {
				case <-out.lines:
				case <-done:
					return
				}
			}
		}()
		test(f, tailer{t, func() (string, error) {
			select {
			case l := <-out.lines:
				return l, nil
			case <-time.After(positionEvery / 2):
				return "", errors.New("nothing came")
			}
		}})
	})
}

// pour appends so many events at once, each second of which is an x. A follower has up to three of them as one batch: then it is certain
// which ones a tail has that is stuck.
func (f *fixture) pour(n int) {
	var events []event.Event
	for i := range n {
		events = append(events, line("a", []string{"y", "x"}[(len(f.store.events)+i)%2], 1))
	}
	f.store.append(events...)
	synctest.Wait()
}

// A tail that skips is told exactly how many events it would have got, and goes on with what is new.
func TestSlowSkips(t *testing.T) {
	slowClient(t, "q=x&slow=skip", func(f *fixture, tail tailer) {
		tail.want("position 0")
		f.pour(3)
		f.pour(27) // the tail is stuck with the first ones
		tail.want("event 2", "skipped 14 of (3,30]")
		f.pour(2)
		tail.want("event 32")
		metrics := f.do("GET", "/metrics", "").Body.String()
		for _, want := range []string{"lookout_tail_skipped_events_total 14\n", "lookout_tail_events_total 2\n", "lookout_tail_lag_events 0\n", "lookout_tails_behind 0\n", "lookout_tails_open 1\n"} {
			if !strings.Contains(metrics, "\n"+want) {
				t.Errorf("/metrics lacks %s", want)
			}
		}
		n := 0
		for range strings.Lines(f.do("GET", "/api/v1/query?q=x&after_sequence=3&sequence=30", "").Body.String()) {
			n++
		}
		if n != 15 {
			t.Errorf("a search of the range returns %d lines, 15 with its summary are right", n)
		}
	})
}

// What is left out and would not have been shown is not worth a word.
func TestSlowSkipsNothing(t *testing.T) {
	slowClient(t, "q=x&slow=skip", func(f *fixture, tail tailer) {
		tail.want("position 0")
		f.pour(2)
		for range 30 {
			f.store.append(line("a", "y", 1))
		}
		synctest.Wait()
		tail.want("event 2")
		synctest.Wait()
		f.pour(2)
		tail.want("event 34")
	})
}

func TestSlowSkipsWhatCannotBeRead(t *testing.T) {
	slowClient(t, "q=x&slow=skip", func(f *fixture, tail tailer) {
		tail.want("position 0")
		f.pour(2)
		f.store.scan.Reasons = []string{"a block is corrupt"}
		f.pour(28)
		tail.want("event 2", "skipped 14 of (2,30] complete false")
	})
}

// A tail that waits gets everything, as late as may be.
func TestSlowWaits(t *testing.T) {
	slowClient(t, "q=x", func(f *fixture, tail tailer) {
		tail.want("position 0")
		f.pour(3)
		f.pour(27)
		if s := f.API.hub.Stats(); s.Behind != 1 || s.Lag != 27 {
			t.Errorf("%+v", s)
		}
		for i := range 15 {
			tail.want(fmt.Sprint("event ", 2*i+2))
		}
		f.pour(2)
		tail.want("event 32")
		if s := f.API.hub.Stats(); s.Behind != 0 || s.Lag != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Programs that read lines wait unless they say otherwise, WebSockets skip.
func TestSlowByDefault(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		params, upgrade string
		want            bool
	}{{"", "", false}, {"", "websocket", true}, {"slow=wait", "websocket", false}, {"slow=skip", "", true}} {
		r := httptest.NewRequest("GET", "/api/v1/tail?"+c.params, nil)
		if c.upgrade != "" {
			r.Header.Set("Connection", "upgrade")
			r.Header.Set("Upgrade", c.upgrade)
		}
		if got, err := f.API.readFollow(httptest.NewRecorder(), r); err != nil || got.skip != c.want {
			t.Errorf("%v: %v, %v", c, got.skip, err)
		}
	}
	if w := f.do("GET", "/api/v1/tail?slow=never", ""); w.Code != 400 || errorOf(t, w.Body.Bytes()).Error.Field != "slow" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A quiet tail says its position every 10 s, a busy one too when nothing of it matches.
func TestPositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ctx, cancel := context.WithCancel(t.Context())
		out := &recorder{http.Header{}, make(chan string, 1000)}
		r := httptest.NewRequestWithContext(ctx, "GET", "/api/v1/tail?q=never", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.ServeHTTP(out, r)
		}()
		tail := tailer{t, func() (string, error) { return <-out.lines, nil }}
		began := time.Now()
		at := func(want time.Duration, words ...string) {
			t.Helper()
			tail.want(words...)
			if got := time.Since(began); got != want {
				t.Errorf("%v after %v, want %v", words, got, want)
			}
		}
		at(0, "position 0")
		at(10*time.Second, "position 0")
		f.store.append(line("a", "x", 1), line("a", "y", 2))
		at(20*time.Second, "position 2")
		for range 25 { // an event each second, until second 45
			<-time.After(time.Second)
			f.store.append(line("a", "x", 1))
		}
		synctest.Wait()
		var got []string
		for len(out.lines) > 0 {
			got = append(got, tail.read().String())
		}
		// At 30 s and 40 s; whether the event of that very second is in it is open.
		if len(got) != 2 || !slices.Contains([]string{"position 11", "position 12"}, got[0]) {
			t.Errorf("%q", got)
		}
		cancel()
		<-done
	})
}

// Rows that come close together are written together, after 50 ms at most.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		for i := range 100 {
			m.append(line("a", "x", int64(i)))
		}
		next := make(chan struct{})
		f := newFixture(t, func(o *Options) { o.Store = paced{m, next} })
		out := &counted{header: http.Header{}}
		r := httptest.NewRequest("GET", "/api/v1/query", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.ServeHTTP(out, r)
		}()
		synctest.Wait()
		writes := func(want ...int) {
			t.Helper()
			synctest.Wait()
			if got := out.rows(); !slices.Equal(got, want) {
				t.Fatalf("rows of each write: %v, want %v", got, want)
			}
		}
		writes(1) // the first at once
		for range 9 {
			next <- struct{}{}
		}
		writes(1)
		<-time.After(flushAge)
		writes(1, 9)
		next <- struct{}{}
		<-time.After(flushAge - 1)
		writes(1, 9)
		<-time.After(1)
		writes(1, 9, 1)
		for range 90 {
			next <- struct{}{}
		}
		<-done
		if got := out.rows(); len(got) != 4 || got[3] != 90 { // with the summary
			t.Errorf("rows of each write: %v", got)
		}
	})
}

// counted notes the lines of each write.
type counted struct {
	header http.Header
	mu     sync.Mutex
	writes []int
}

func (c *counted) Header() http.Header { return c.header }
func (c *counted) WriteHeader(int)     {}
func (c *counted) Flush()              {}
func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, strings.Count(string(p), "\n"))
	return len(p), nil
}

func (c *counted) rows() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.writes)
}

// A long answer is written piece by piece and does not gather in memory.
func TestFlushBySize(t *testing.T) {
	f := newFixture(t)
	for range 300 {
		f.store.append(event.Event{Time: start, Message: []byte(strings.Repeat("x", 1000))})
	}
	out := &counted{header: http.Header{}}
	r := httptest.NewRequest("GET", "/api/v1/query", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	f.ServeHTTP(out, r)
	if got := out.rows(); len(got) < 3 || slices.Max(got) > flushBytes/1000 {
		t.Errorf("lines of each write: %v", got)
	}
}
