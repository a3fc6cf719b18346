package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestWork(t *testing.T) {
	a := New(Options{Registry: prometheus.NewRegistry()})
	var do workFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := newResponse(w, r)
		_, _ = io.ReadAll(r.Body)
		a.work(out, r, do)
		out.finish()
	}))
	defer server.Close()
	ask := func(ctx context.Context) (int, string, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader("x=1"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), err
	}
	do = func(_ context.Context, progress func(int64, int64, string)) (any, error) {
		progress(1, 2, "bytes")
		progress(2, 2, "bytes") // too soon to be said
		return map[string]int{"files": 3}, nil
	}
	if status, body, err := ask(t.Context()); status != 200 || err != nil || body != `{"progress":{"done":1,"total":2,"unit":"bytes"}}`+"\n"+`{"summary":{"files":3}}`+"\n" {
		t.Error(status, body, err)
	}
	do = func(context.Context, func(int64, int64, string)) (any, error) {
		return nil, badParameter("to", "is missing", "say where")
	}
	if status, body, _ := ask(t.Context()); status != 400 || !strings.Contains(body, "to is missing") {
		t.Error(status, body)
	}
	do = func(_ context.Context, progress func(int64, int64, string)) (any, error) {
		progress(1, 2, "bytes")
		return nil, errors.New("no space")
	}
	if status, body, _ := ask(t.Context()); status != 200 || !strings.HasSuffix(body, "\n") || !strings.Contains(body, `{"error":{"code":"store","message":"the store failed: no space"`) {
		t.Error(status, body)
	}

	// It ends with its client, and with the server.
	started, ended := make(chan bool), make(chan error, 1)
	do = func(ctx context.Context, progress func(int64, int64, string)) (any, error) {
		progress(1, 2, "bytes")
		started <- true
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, _, err := ask(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it goes on without its client")
	}
	go func() { <-started; a.Close() }()
	if _, body, err := ask(t.Context()); err != nil || !strings.Contains(body, `"code":"stopping"`) {
		t.Error(body, err)
	}
}
