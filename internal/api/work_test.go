package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// In a bubble: what is too soon to be said is so on a slow machine, too.
func TestWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Registry: prometheus.NewRegistry()})
		ask := func(do workFunc) (int, string) {
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader("x=1"))
			out := newResponse(w, r)
			a.work(out, r, do)
			out.finish()
			return w.Code, w.Body.String()
		}
		status, body := ask(func(_ context.Context, progress func(int64, int64, string)) (any, error) {
			progress(1, 3, "bytes")
			time.Sleep(progressEvery - 1)
			progress(2, 3, "bytes") // too soon to be said
			time.Sleep(time.Nanosecond)
			progress(3, 3, "bytes")
			return map[string]int{"files": 3}, nil
		})
		want := `{"progress":{"done":1,"total":3,"unit":"bytes"}}` + "\n" + `{"progress":{"done":3,"total":3,"unit":"bytes"}}` + "\n" + `{"summary":{"files":3}}` + "\n"
		if status != 200 || body != want {
			t.Error(status, body)
		}
		status, body = ask(func(context.Context, func(int64, int64, string)) (any, error) {
			return nil, badParameter("to", "is missing", "say where")
		})
		if status != 400 || !strings.Contains(body, "to is missing") {
			t.Error(status, body)
		}
		status, body = ask(func(_ context.Context, progress func(int64, int64, string)) (any, error) {
			progress(1, 2, "bytes")
			return nil, errors.New("no space")
		})
		if status != 200 || !strings.HasSuffix(body, "\n") || !strings.Contains(body, `{"error":{"code":"store","message":"the store failed: no space"`) {
			t.Error(status, body)
		}
	})
}

// It ends with its client, and with the server.
func TestWorkEnds(t *testing.T) {
	a := New(Options{Registry: prometheus.NewRegistry()})
	started, ended := make(chan bool), make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := newResponse(w, r)
		_, _ = io.ReadAll(r.Body)
		a.work(out, r, func(ctx context.Context, progress func(int64, int64, string)) (any, error) {
			progress(1, 2, "bytes")
			started <- true
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		out.finish()
	}))
	defer server.Close()
	ask := func(ctx context.Context) (string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("x=1"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := ask(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on without its client")
	}
	go func() { <-started; a.Close() }()
	if body, err := ask(t.Context()); err != nil || !strings.Contains(body, `"code":"stopping"`) {
		t.Error(body, err)
	}
}
