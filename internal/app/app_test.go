package app

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lookoutlog/lookout/internal/config"
	"github.com/lookoutlog/lookout/internal/leak"
)

func TestMain(m *testing.M) {
	lookEvery = time.Hour
	stopWithin = 5 * time.Minute // the disk may be slow
	leak.VerifyTestMain(m)
}

func options(t *testing.T, env map[string]string) Options {
	t.Helper()
	values := map[string]string{"LOOKOUT_DATA": filepath.Join(t.TempDir(), "data"), "LOOKOUT_HTTP": "127.0.0.1:0", "LOOKOUT_GELF": "127.0.0.1:0", "LOOKOUT_DOCKER": "off"}
	for k, v := range env {
		values[k] = v
	}
	c, _, err := config.Load("", func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	return Options{Config: c, Version: "test", Log: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T, o Options) *App {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return a
}

func get(t *testing.T, a *App, path string, withToken bool) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", a.Listening()[0].Address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if withToken {
		token, err := os.ReadFile(a.opened.Path)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestStartAndStop(t *testing.T) {
	o := options(t, map[string]string{"LOOKOUT_SLACK_TOKEN": "xoxb-1", "LOOKOUT_SLACK_CHANNEL": "#x", "LOOKOUT_SLACK_API": "http://127.0.0.1:1/"})
	for range 2 { // the second start finds what the first has left
		a := start(t, o)
		if code, _ := get(t, a, "/status", false); code != 200 {
			t.Errorf("/status: %d", code)
		}
		if code, _ := get(t, a, "/metrics", false); code != 401 {
			t.Errorf("/metrics without a token: %d", code)
		}
		code, metrics := get(t, a, "/metrics", true)
		for _, name := range []string{"lookout_build_info", "lookout_store_sequence", "lookout_gelf_dropped_total", "lookout_ndjson_accepted_total", "lookout_alerting_rules 8", "lookout_alerting_oldest_undelivered_seconds", "go_goroutines"} {
			if !strings.Contains(metrics, name) {
				t.Errorf("metrics (%d) without %s", code, name)
			}
		}
		if strings.Contains(metrics, "xoxb") {
			t.Error("the Slack token is in the metrics")
		}
		if a.Alerts() != "8 rules into Slack" {
			t.Error(a.Alerts())
		}
		if err := a.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAgent(t *testing.T) {
	server := start(t, options(t, map[string]string{"LOOKOUT_WRITE_TOKEN": "w-1"}))
	env := map[string]string{"LOOKOUT_FORWARD_URL": server.Listening()[0].Address, "LOOKOUT_FORWARD_TOKEN": "w-1", "LOOKOUT_HTTP": "", "LOOKOUT_GELF": ""}
	quiet := start(t, options(t, env))
	if l := quiet.Listening(); len(l) != 0 || quiet.LoginAddress() != "" {
		t.Errorf("an agent listens at %v", l)
	}
	if path, _ := quiet.TokenFile(); path != "" {
		t.Errorf("an agent without HTTP has a token: %s", path)
	}
	env["LOOKOUT_HTTP"] = "127.0.0.1:0"
	a := start(t, options(t, env))
	if code, _ := get(t, a, "/metrics", true); code != 200 {
		t.Errorf("/metrics of an agent: %d", code)
	}
	if code, text := get(t, a, "/api/v1/query", true); code != 501 || !strings.Contains(text, "ask its server") {
		t.Errorf("a search in an agent: %d %s", code, text)
	}
	if err := a.Reload(a.o.Config); err != nil {
		t.Error("an agent has probes to reload:", err)
	}
}

func TestWhatCannotStartLeavesNothingOpen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	o := options(t, map[string]string{"LOOKOUT_HTTP": taken.Addr().String()})
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err == nil || !strings.Contains(err.Error(), "LOOKOUT_HTTP") {
		t.Errorf("a taken address: %v", err)
	}
	if _, err := New(o); err == nil || !strings.Contains(err.Error(), "LOOKOUT_DATA") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := a.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(options(t, map[string]string{"LOOKOUT_DATA": file})); err == nil {
		t.Error("a file as data folder")
	}
}

func TestConnectionsAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limitConns(inner, 2)
	accepted := make(chan net.Conn)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection")
	case <-time.After(20 * time.Millisecond): // nothing can be waited for when nothing must happen
	}
	first.Close()
	first.Close() // twice gives back one
	third := <-accepted
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	second.Close()
	third.Close()
}
