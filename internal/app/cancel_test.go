package app

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// RELIABILITY.md, bad input 10: a client that closes its connection ends the work for it, whatever it asked for: the store's
// own count of searches under way goes back to none, and what was canceled is counted.
func TestCancellationOfAServer(t *testing.T) {
	a := start(t, options(t, nil))
	// An answer that no connection buffers, so that each search is under way until it is ended.
	line := `{"service":"much","message":"` + strings.Repeat("much ", 100_000) + `"}` + "\n"
	for range 8 {
		if status, body := send(t, a, "/api/v1/events", strings.Repeat(line, 8)); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
	}
	admin, err := os.ReadFile(a.opened.Path)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(admin))}}
	base := a.Listening()[0].Address
	metric := func(name string) string {
		_, text := get(t, a, "/metrics", true)
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				return strings.TrimSpace(value)
			}
		}
		return "none"
	}
	eventually := func(name, want string) {
		t.Helper()
		for begin := time.Now(); metric(name) != want; {
			if time.Since(begin) > 5*time.Minute {
				t.Fatalf("%s is %s, not %s", name, metric(name), want)
			}
		}
	}
	begins := func(path string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			r, err := http.NewRequestWithContext(ctx, "GET", base+path, nil)
			if err != nil {
				return err
			}
			r.Header = header
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}).Do(r)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if _, err := bufio.NewReader(resp.Body).ReadByte(); err != nil {
				return err
			}
			eventually("lookout_searches_running", "1")
			return nil
		}
	}
	for i, ask := range []func(ctx context.Context) error{
		begins("/api/v1/query?q=much"),
		begins("/api/v1/query?limit=50000&q=much"), // as `lookout export` asks
		begins("/api/v1/export?q=much"),
		func(ctx context.Context) error { // the history of a tail
			conn, resp, err := websocket.DefaultDialer.DialContext(ctx, strings.Replace(base, "http", "ws", 1)+"/api/v1/tail?last=1000&q=much", header)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			defer conn.Close()
			eventually("lookout_tails_open", "1")
			_, _, err = conn.ReadMessage()
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if err := ask(ctx); err != nil {
			t.Fatal(i, err)
		}
		cancel()
		eventually("lookout_searches_running", "0")
		eventually("lookout_tails_open", "0")
	}
	if n := metric(`lookout_searches_ended_total{cause="canceled"}`); n == "0" || n == "none" {
		t.Errorf("%s searches are counted as canceled", n)
	}
}
