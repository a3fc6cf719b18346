package native

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/event"
)

// live is a store that takes nothing from a request that has ended.
type live struct{ *store }

func (l live) Append(ctx context.Context, b *event.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.store.Append(ctx, b)
}

// net/http ends a request's context with the first error of reading its body: what came whole is stored all the same, and
// the answer says how far it came.
func TestBodyThatBreaksOff(t *testing.T) {
	s := &store{}
	h := New(Options{Sink: live{s}})
	var late atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if late.Load() { // what came with the header is in the server's buffer, the rest is too late
			if err := http.NewResponseController(rw).SetReadDeadline(time.Unix(1, 0)); err != nil {
				t.Error(err)
			}
		}
		h.ServeHTTP(rw, r)
	}))
	defer srv.Close()
	for i, c := range []struct {
		header, body string
		late         bool
		status       int
		code         string
	}{
		{"Content-Length: 1000", "{\"message\":\"a\"}\n{\"mess", false, 400, "bad_body"},
		{"Content-Length: 1000", "{\"message\":\"a\"}\n{\"mess", true, 408, "too_slow"},
		{"Transfer-Encoding: chunked", "100\r\n{\"message\":\"a\"}\n{\"mess", false, 400, "bad_body"},
	} {
		late.Store(c.late)
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", c.header, c.body)
		if !c.late {
			conn.(*net.TCPConn).CloseWrite()
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		var a reply
		if err := json.NewDecoder(resp.Body).Decode(&struct {
			*counts
			Error any
		}{&a.counts, &a.Error}); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if resp.StatusCode != c.status || a.Error.Code != c.code || a.Accepted != 1 || len(s.events) != i+1 {
			t.Errorf("%s, %d: %d %+v, %d events", c.header, c.status, resp.StatusCode, a, len(s.events))
		}
	}
}
